/**
 * sched_*: policies, parameters, affinity, yield; getcpu.
 *
 * Manual pages: sched(7), sched_setscheduler(2), sched_setattr(2), sched_setaffinity(2), getcpu(2).
 * Gap: values are checked and kept, but the host's scheduler does not hear of them; SCHED_DEADLINE is refused.
 */
import { E2BIG, EFAULT, EINVAL, EPERM, ESRCH } from "../abi/errno.ts";
import { addr, inStruct, int, oneOf, outStruct, pid, uint } from "../args.ts";
import { setU64 } from "../mm/mm.ts";
import { syscall } from "../syscall.ts";
import { CAP_SYS_NICE, capable } from "../task/credentials.ts";
import { RLIMIT_RTPRIO } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";

const SCHED_OTHER = 0;
const SCHED_FIFO = 1;
const SCHED_RR = 2;
const SCHED_BATCH = 3;
const SCHED_IDLE = 5;
const SCHED_DEADLINE = 6;
const policy = oneOf({ SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE });
const SCHED_RESET_ON_FORK = 0x40000000;

const isRealtime = (value: number): boolean => value === SCHED_FIFO || value === SCHED_RR;
const isKnown = (value: number): boolean =>
  value === SCHED_OTHER || isRealtime(value) || value === SCHED_BATCH || value === SCHED_IDLE;

function find(task: Task, id: number): Task | number {
  if (id < 0) return -EINVAL;
  return id === 0 ? task : (task.pids.tasks.get(id) ?? -ESRCH);
}

function owns(task: Task, target: Task): boolean {
  const { euid } = task.cred;
  return euid === target.cred.uid || euid === target.cred.euid || capable(task.cred, CAP_SYS_NICE);
}

function setPolicy(task: Task, target: Task, wanted: number, priority: number): number {
  const reset = (wanted & SCHED_RESET_ON_FORK) !== 0;
  const value = wanted & ~SCHED_RESET_ON_FORK;
  if (!isKnown(value)) return -EINVAL;
  if (isRealtime(value) ? priority < 1 || priority > 99 : priority !== 0) return -EINVAL;
  if (!capable(task.cred, CAP_SYS_NICE)) {
    if (!owns(task, target)) return -EPERM;
    if (isRealtime(value) && priority > target.process.rlimits[RLIMIT_RTPRIO]!.soft) return -EPERM;
    if (target.sched.resetOnFork && !reset) return -EPERM;
  }
  target.sched = { ...target.sched, policy: value, priority, resetOnFork: reset };
  return 0;
}

const withReset = (target: Task): number => target.sched.policy | (target.sched.resetOnFork ? SCHED_RESET_ON_FORK : 0);

export const sched_yield = syscall("sched_yield", {}, () => 0);

export const sched_getscheduler = syscall("sched_getscheduler", { pid }, (task, call) => {
  const target = find(task, call.pid);
  return typeof target === "number" ? target : withReset(target);
});

export const sched_setscheduler = syscall("sched_setscheduler", { pid, policy, param: inStruct(4) }, (task, call) => {
  if (call.policy < 0 || call.param === 0) return -EINVAL;
  const view = task.mm.readStruct(call.param, 4);
  if (view === null) return -EFAULT;
  const priority = view.getInt32(0, true);
  const target = find(task, call.pid);
  return typeof target === "number" ? target : setPolicy(task, target, call.policy, priority);
});

export const sched_setparam = syscall("sched_setparam", { pid, param: inStruct(4) }, (task, call) => {
  if (call.param === 0) return -EINVAL;
  const view = task.mm.readStruct(call.param, 4);
  if (view === null) return -EFAULT;
  const priority = view.getInt32(0, true);
  const target = find(task, call.pid);
  return typeof target === "number" ? target : setPolicy(task, target, withReset(target), priority);
});

export const sched_getparam = syscall("sched_getparam", { pid, param: outStruct() }, (task, call) => {
  if (call.param === 0) return -EINVAL;
  const target = find(task, call.pid);
  if (typeof target === "number") return target;
  return task.mm.writeU32(call.param, isRealtime(target.sched.policy) ? target.sched.priority : 0) < 0 ? -EFAULT : 0;
});

export const sched_get_priority_max = syscall("sched_get_priority_max", { policy }, (_task, call) =>
  isRealtime(call.policy) ? 99 : isKnown(call.policy) || call.policy === SCHED_DEADLINE ? 0 : -EINVAL,
);
export const sched_get_priority_min = syscall("sched_get_priority_min", { policy }, (_task, call) =>
  isRealtime(call.policy) ? 1 : isKnown(call.policy) || call.policy === SCHED_DEADLINE ? 0 : -EINVAL,
);

/** The slice of SCHED_RR. */
const RR_INTERVAL_NS = 100_000_000;

export const sched_rr_get_interval = syscall("sched_rr_get_interval", { pid, tp: outStruct() }, (task, call) => {
  const target = find(task, call.pid);
  if (typeof target === "number") return target;
  const bytes = new Uint8Array(16);
  if (target.sched.policy === SCHED_RR) setU64(new DataView(bytes.buffer), 8, RR_INTERVAL_NS);
  return task.mm.writeBytes(call.tp, bytes);
});

const ATTR_SIZE_VER0 = 48;
const ATTR_SIZE = 56;

export const sched_getattr = syscall(
  "sched_getattr",
  { pid, attr: outStruct(), size: uint, flags: uint },
  (task, call) => {
    if (call.attr === 0 || call.pid < 0 || call.size > 4096 || call.size < ATTR_SIZE_VER0 || call.flags !== 0)
      return -EINVAL;
    const target = find(task, call.pid);
    if (typeof target === "number") return target;
    const { sched } = target;
    const bytes = new Uint8Array(ATTR_SIZE);
    const view = new DataView(bytes.buffer);
    const size = Math.min(call.size, ATTR_SIZE);
    view.setUint32(0, size, true);
    view.setUint32(4, sched.policy, true);
    if (sched.resetOnFork) view.setUint32(8, 1, true);
    if (isRealtime(sched.policy)) view.setUint32(20, sched.priority, true);
    else view.setInt32(16, sched.nice, true);
    view.setUint32(52, 1024, true);
    return task.mm.writeBytes(call.attr, bytes, size) < 0 ? -EFAULT : 0;
  },
);

export const sched_setattr = syscall("sched_setattr", { pid, attr: addr, flags: uint }, (task, call) => {
  if (call.attr === 0 || call.pid < 0 || call.flags !== 0) return -EINVAL;
  const size = task.mm.readU32(call.attr);
  if (size < 0) return -EFAULT;
  const length = size === 0 ? ATTR_SIZE_VER0 : size;
  if (length < ATTR_SIZE_VER0 || length > 4096) return task.mm.writeU32(call.attr, ATTR_SIZE) < 0 ? -EFAULT : -E2BIG;
  const bytes = new Uint8Array(Math.max(length, ATTR_SIZE));
  if (task.mm.readBytes(call.attr, bytes, length) < 0) return -EFAULT;
  for (let i = ATTR_SIZE; i < length; i++) if (bytes[i] !== 0) return -E2BIG;
  const view = new DataView(bytes.buffer);
  const wanted = view.getInt32(4, true);
  const flagBits = view.getUint32(8, true);
  if (wanted < 0 || flagBits & ~0x7f) return -EINVAL;
  const target = find(task, call.pid);
  if (typeof target === "number") return target;
  const nice = Math.max(-20, Math.min(19, view.getInt32(16, true)));
  if (nice < target.sched.nice && !capable(task.cred, CAP_SYS_NICE) && !isRealtime(wanted)) return -EPERM;
  const result = setPolicy(task, target, wanted | (flagBits & 1 ? SCHED_RESET_ON_FORK : 0), view.getUint32(20, true));
  if (result === 0 && !isRealtime(wanted)) target.sched.nice = nice;
  return result;
});

/** Bytes of a CPU mask: what a kernel for 256 processors has. */
const CPUMASK_SIZE = 32;

function cpuCount(task: Task): number {
  return Math.min(task.kernel.hostInfo.cpuCount, CPUMASK_SIZE * 8);
}

export const sched_getaffinity = syscall(
  "sched_getaffinity",
  { pid, cpusetsize: uint, mask: outStruct() },
  (task, call) => {
    if (call.cpusetsize * 8 < cpuCount(task) || call.cpusetsize % 8 !== 0) return -EINVAL;
    const target = call.pid < 0 ? -ESRCH : find(task, call.pid);
    if (typeof target === "number") return target;
    const size = Math.min(call.cpusetsize, CPUMASK_SIZE);
    const bytes = new Uint8Array(size);
    for (const cpu of target.container.cgroup.cpusOf(target)) bytes[cpu >> 3]! |= 1 << (cpu & 7);
    return task.mm.writeBytes(call.mask, bytes) < 0 ? -EFAULT : size;
  },
);

export const sched_setaffinity = syscall("sched_setaffinity", { pid, cpusetsize: uint, mask: addr }, (task, call) => {
  const size = Math.min(call.cpusetsize, CPUMASK_SIZE);
  const bytes = new Uint8Array(CPUMASK_SIZE);
  if (size > 0 && task.mm.readBytes(call.mask, bytes, size) < 0) return -EFAULT;
  const target = call.pid < 0 ? -ESRCH : find(task, call.pid);
  if (typeof target === "number") return target;
  if (!owns(task, target)) return -EPERM;
  const cpus = target.container.cgroup.cpus().filter((cpu) => (bytes[cpu >> 3]! >> (cpu & 7)) & 1);
  if (cpus.length === 0) return -EINVAL;
  target.sched = { ...target.sched, affinity: cpus };
  // The host schedules, and its vDSO tells where a thread runs.
  const mask = new Uint8Array(CPUMASK_SIZE);
  for (const cpu of cpus) mask[cpu >> 3]! |= 1 << (cpu & 7);
  target.ctx?.setAffinity?.(mask);
  return 0;
});

/** Where it really runs is the host's to know; this is a processor that the task may run on. */
export const getcpu = syscall("getcpu", { cpu: outStruct(), node: outStruct(), tcache: int }, (task, call) => {
  if (call.cpu !== 0 && task.mm.writeU32(call.cpu, task.container.cgroup.cpusOf(task)[0]!) < 0) return -EFAULT;
  if (call.node !== 0 && task.mm.writeU32(call.node, 0) < 0) return -EFAULT;
  return 0;
});
