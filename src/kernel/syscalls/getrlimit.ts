/**
 * getrlimit, setrlimit, prlimit64.
 *
 * Manual page: getrlimit(2). The limits are the sandbox's own; those on memory, descriptors, tasks and signals are kept.
 */
import { EFAULT, EINVAL, EPERM, ESRCH } from "../abi/errno.ts";
import { inStruct, oneOf, outStruct, pid } from "../args.ts";
import { syscall } from "../syscall.ts";
import { watchCpuLimit } from "../task/cpu-limit.ts";
import { CAP_SYS_RESOURCE, capable } from "../task/credentials.ts";
import type { Process } from "../task/process.ts";
import { RLIMIT_COUNT, RLIMIT_CPU, RLIMIT_NOFILE, type Rlimit } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";

const RESOURCES: Record<string, number> = {};
"CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
  .split(" ")
  .forEach((name, i) => {
    RESOURCES[`RLIMIT_${name}`] = i;
  });
const resource = oneOf(RESOURCES);
const SIZE = 16;
/** sysctl fs.nr_open. */
const NR_OPEN = 1048576;

const INFINITE = Number.POSITIVE_INFINITY;

function readWord(view: DataView, at: number): number {
  const lo = view.getUint32(at, true);
  const hi = view.getUint32(at + 4, true);
  return lo === 0xffffffff && hi === 0xffffffff ? INFINITE : lo + hi * 4294967296;
}
function writeWord(view: DataView, at: number, value: number): void {
  view.setUint32(at, value === INFINITE ? 0xffffffff : value >>> 0, true);
  view.setUint32(at + 4, value === INFINITE ? 0xffffffff : Math.floor(value / 4294967296), true);
}

function readLimit(task: Task, at: number): Rlimit | null {
  const view = task.mm.readStruct(at, SIZE);
  return view === null ? null : { soft: readWord(view, 0), hard: readWord(view, 8) };
}
function writeLimit(task: Task, at: number, limit: Rlimit): number {
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  writeWord(view, 0, limit.soft);
  writeWord(view, 8, limit.hard);
  return task.mm.writeBytes(at, bytes);
}

function change(task: Task, process: Process, which: number, limit: Rlimit): number {
  if (limit.soft > limit.hard) return -EINVAL;
  if (which === RLIMIT_NOFILE && limit.hard > NR_OPEN) return -EPERM;
  const old = process.rlimits[which]!;
  if (limit.hard > old.hard && !capable(task.cred, CAP_SYS_RESOURCE)) return -EPERM;
  old.hard = limit.hard;
  old.soft = which === RLIMIT_CPU && limit.soft === 0 ? 1 : limit.soft;
  if (which === RLIMIT_CPU) watchCpuLimit(process);
  return 0;
}

export const getrlimit = syscall("getrlimit", { resource, rlim: outStruct() }, (task, call) => {
  if (call.resource < 0 || call.resource >= RLIMIT_COUNT) return -EINVAL;
  return writeLimit(task, call.rlim, task.process.rlimits[call.resource]!);
});

export const setrlimit = syscall("setrlimit", { resource, rlim: inStruct(SIZE) }, (task, call) => {
  const limit = readLimit(task, call.rlim);
  if (limit === null) return -EFAULT;
  if (call.resource < 0 || call.resource >= RLIMIT_COUNT) return -EINVAL;
  return change(task, task.process, call.resource, limit);
});

export const prlimit64 = syscall(
  "prlimit64",
  { pid, resource, new_limit: inStruct(SIZE), old_limit: outStruct() },
  (task, call) => {
    if (call.resource < 0 || call.resource >= RLIMIT_COUNT) return -EINVAL;
    let limit: Rlimit | null = null;
    if (call.new_limit !== 0) {
      limit = readLimit(task, call.new_limit);
      if (limit === null) return -EFAULT;
    }
    const target = call.pid === 0 ? task : task.pids.tasks.get(call.pid);
    if (target === undefined) return -ESRCH;
    if (target.process !== task.process && !sameUser(task, target) && !capable(task.cred, CAP_SYS_RESOURCE))
      return -EPERM;
    const old = { ...target.process.rlimits[call.resource]! };
    if (limit !== null) {
      const result = change(task, target.process, call.resource, limit);
      if (result < 0) return result;
    }
    return call.old_limit === 0 ? 0 : writeLimit(task, call.old_limit, old);
  },
);

function sameUser(task: Task, target: Task): boolean {
  const mine = task.cred;
  const { uid, euid, suid, gid, egid, sgid } = target.cred;
  return (
    mine.uid === uid &&
    mine.uid === euid &&
    mine.uid === suid &&
    mine.gid === gid &&
    mine.gid === egid &&
    mine.gid === sgid
  );
}
