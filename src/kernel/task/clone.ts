/**
 * New tasks: the first one of a container, and those that clone, clone3, fork and vfork make.
 *
 * Source: clone(2), fork(2), vfork(2), RLIMIT_NPROC in getrlimit(2).
 * Gaps: namespaces but those of mounts (CLONE_NEW*), CLONE_INTO_CGROUP and set_tid are refused; CLONE_IO and CLONE_SYSVSEM mean nothing here.
 */

import type { Context } from "../../platform/platform.ts";
import { REG } from "../../platform/platform.ts";
import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM, ERESTARTNOINTR } from "../abi/errno.ts";
import type { Container } from "../container.ts";
import { Mm } from "../mm/mm.ts";
import { SignalActions } from "../signal/actions.ts";
import { setReg } from "../signal/frame.ts";
import { SS_DISABLE } from "../signal/numbers.ts";
import type { FdTable } from "../vfs/fd-table.ts";
import type { FsContext } from "../vfs/fs-context.ts";
import { watchCpuLimit } from "./cpu-limit.ts";
import { CAP_SYS_ADMIN, CAP_SYS_RESOURCE, type Credentials, capable } from "./credentials.ts";
import { joinGroup, newSession } from "./jobs.ts";
import { PidFile } from "./pidfd.ts";
import { Process } from "./process.ts";
import { RLIMIT_NOFILE, RLIMIT_NPROC } from "./rlimits.ts";
import { Task } from "./task.ts";
import { userCounts } from "./users.ts";

/** Areas of memory in all processes; those with few are not counted at each fork. */
const AREAS_MAX = 1 << 20;
const FEW_AREAS = 1024;

export const CLONE_NEWTIME = 0x80;
export const CLONE_VM = 0x100;
export const CLONE_FS = 0x200;
export const CLONE_FILES = 0x400;
export const CLONE_SIGHAND = 0x800;
export const CLONE_PIDFD = 0x1000;
export const CLONE_PTRACE = 0x2000;
export const CLONE_VFORK = 0x4000;
export const CLONE_PARENT = 0x8000;
export const CLONE_THREAD = 0x10000;
export const CLONE_NEWNS = 0x20000;
export const CLONE_SYSVSEM = 0x40000;
export const CLONE_SETTLS = 0x80000;
export const CLONE_PARENT_SETTID = 0x100000;
export const CLONE_CHILD_CLEARTID = 0x200000;
export const CLONE_DETACHED = 0x400000;
export const CLONE_UNTRACED = 0x800000;
export const CLONE_CHILD_SETTID = 0x1000000;
export const CLONE_NEWCGROUP = 0x2000000;
export const CLONE_NEWUTS = 0x4000000;
export const CLONE_NEWIPC = 0x8000000;
export const CLONE_NEWUSER = 0x10000000;
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNET = 0x40000000;
export const CLONE_IO = 0x80000000;

export const NAMESPACE_FLAGS =
  CLONE_NEWNS |
  CLONE_NEWCGROUP |
  CLONE_NEWUTS |
  CLONE_NEWIPC |
  CLONE_NEWUSER |
  CLONE_NEWPID |
  CLONE_NEWNET |
  CLONE_NEWTIME;

export interface CloneRequest {
  /** CLONE_* of the low 32 bits. */
  flags: number;
  /** CLONE_CLEAR_SIGHAND. */
  clearSighand: boolean;
  exitSignal: number;
  /** The child's stack pointer; 0: the caller's. */
  stackPointer: number;
  parentTid: number;
  childTid: number;
  /** Where the pidfd goes. */
  pidfd: number;
  tls: number;
}

/** What the first task of a tree of processes starts with. */
export interface FirstTask {
  files: FdTable;
  fs: FsContext;
  cred: Credentials;
  comm: string;
  /** As pid 1 of its pid space it gets no signals that it left at their default, as a container's init. */
  unkillable?: boolean;
}

/** Makes a process that nobody forked: init, or a command brought in from outside. null: the sandbox is full. */
export function createFirstTask(container: Container, ctx: Context, first: FirstTask): Task | null {
  const { kernel, pids } = container;
  const pid = pids.allocate();
  if (pid === 0) return null;
  const process = new Process(container, pid, new SignalActions());
  const task = new Task(kernel, pid, process, new Mm(ctx.addressSpace), first.files, first.fs, first.cred);
  task.comm = first.comm.slice(0, 15);
  process.unkillable = pid === 1 && (first.unkillable ?? false);
  addLeader(process, task);
  newSession(process);
  if (pid === 1) pids.init = process;
  container.first ??= process;
  attach(task, ctx);
  return task;
}

function addLeader(process: Process, task: Task): void {
  process.leader = task;
  process.tasks.push(task);
  process.pids.processes.set(process.pid, process);
  process.container.processes.add(process);
  addTask(task);
}
function addTask(task: Task): void {
  task.container.addTask(task);
  userCounts(task.container, task.cred.uid).tasks++;
}
function attach(task: Task, ctx: Context): void {
  task.ctx = ctx;
  ctx.owner = task;
}

/** Do the flags go together? 0 or -errno, in Linux' order. */
function checkFlags(task: Task, request: CloneRequest): number {
  const { flags } = request;
  if ((flags & (CLONE_NEWNS | CLONE_FS)) === (CLONE_NEWNS | CLONE_FS)) return -EINVAL;
  if ((flags & (CLONE_NEWUSER | CLONE_FS)) === (CLONE_NEWUSER | CLONE_FS)) return -EINVAL;
  if (flags & CLONE_THREAD && !(flags & CLONE_SIGHAND)) return -EINVAL;
  if (flags & CLONE_SIGHAND && !(flags & CLONE_VM)) return -EINVAL;
  if (flags & CLONE_PARENT && task.process.parent === null) return -EINVAL;
  if (flags & CLONE_THREAD && flags & (CLONE_NEWUSER | CLONE_NEWPID)) return -EINVAL;
  if (flags & CLONE_PIDFD && flags & CLONE_DETACHED) return -EINVAL;
  if (request.clearSighand && flags & CLONE_SIGHAND) return -EINVAL;
  return checkNamespaces(task, flags);
}

/** No namespaces but those of mounts yet: what a kernel says that was built without the others. */
export function checkNamespaces(task: Task, flags: number): number {
  if ((flags & NAMESPACE_FLAGS) === 0) return 0;
  if ((flags & CLONE_NEWUSER) === 0 && !capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
  return (flags & NAMESPACE_FLAGS & ~CLONE_NEWNS) === 0 ? 0 : -EINVAL;
}

/** A copy of its areas would be too much: forks of a process with tens of thousands of areas fill the kernel's memory. */
function tooManyAreas(task: Task): boolean {
  const own = task.mm.vmas.length;
  if (own < FEW_AREAS) return false;
  let all = own;
  for (const { zombie, leader } of task.kernel.processes()) if (!zombie) all += leader.mm.vmas.length;
  return all > AREAS_MAX;
}

/** Makes the task. Its tid, or -errno. The parent of a vfork is left running: the caller blocks it. */
export function cloneTask(task: Task, request: CloneRequest): Task | number {
  const { kernel, process, container } = task;
  const { flags } = request;
  const bad = checkFlags(task, request);
  if (bad < 0) return bad;
  // A signal sent before the fork is for the parent alone.
  if (task.signals.hasDeliverable(task)) return -ERESTARTNOINTR;
  if (
    userCounts(container, task.cred.uid).tasks >= process.rlimits[RLIMIT_NPROC]!.soft &&
    task.cred.uid !== 0 &&
    !capable(task.cred, CAP_SYS_RESOURCE) &&
    !capable(task.cred, CAP_SYS_ADMIN)
  )
    return -EAGAIN;
  if (container.cgroup.full() || kernel.fullFor(container)) return -EAGAIN;
  if (!(flags & CLONE_FILES) && !task.files.mayCopy) return -ENOMEM;
  if (!(flags & CLONE_VM) && tooManyAreas(task)) return -ENOMEM;
  const tid = task.pids.allocate();
  if (tid === 0) return -EAGAIN;
  const thread = (flags & CLONE_THREAD) !== 0;

  let pidfd = -1;
  let pidFile: PidFile | null = null;
  if (flags & CLONE_PIDFD) {
    pidFile = new PidFile(null, null, 0);
    pidfd = task.files.install(pidFile, true, process.rlimits[RLIMIT_NOFILE]!.soft);
    if (pidfd < 0) return pidfd;
    if (task.mm.writeU32(request.pidfd, pidfd) < 0) return dropPidfd(task, pidfd, -EFAULT);
  }

  const fs = flags & CLONE_FS ? task.fs : task.fs.copy();
  if (flags & CLONE_FS) fs.users++;
  const unshared = flags & CLONE_NEWNS ? kernel.mounts.unshare(fs) : 0;
  const { space } = task.mm;
  const ctx = unshared < 0 ? unshared : flags & CLONE_VM ? space.createContext() : space.fork();
  if (typeof ctx === "number") {
    fs.release();
    return pidFile !== null ? dropPidfd(task, pidfd, ctx) : ctx;
  }

  let mm = task.mm;
  if (flags & CLONE_VM) mm.users++;
  else {
    mm = new Mm(ctx.addressSpace);
    task.mm.copyAreasTo(mm);
  }
  const files = flags & CLONE_FILES ? task.files : task.files.copy();
  if (flags & CLONE_FILES) files.users++;

  const owner = thread ? process : childProcess(task, request, tid);
  const child = new Task(kernel, tid, owner, mm, files, fs, task.cred);
  inheritTask(task, child, flags);
  if (thread) {
    process.actions.users++;
    process.tasks.push(child);
    process.threaded = true;
    addTask(child);
  } else {
    addLeader(owner, child);
    if (process.cpuLimit !== null) watchCpuLimit(owner);
  }
  pidFile?.bind(owner, thread ? child : null);

  attach(child, ctx);
  setReg(ctx.regs, REG.rax, 0);
  if (request.stackPointer !== 0) setReg(ctx.regs, REG.rsp, request.stackPointer);
  if (flags & CLONE_SETTLS) ctx.setFsBase(request.tls);
  if (flags & CLONE_PARENT_SETTID) task.mm.publishU32(request.parentTid, tid);
  if (flags & CLONE_CHILD_SETTID) mm.publishU32(request.childTid, tid);
  if (flags & CLONE_CHILD_CLEARTID) child.clearChildTid = request.childTid;
  if (flags & CLONE_VFORK) {
    child.vforkParent = task;
    child.vforkPid = tid;
  }
  return child;
}

function dropPidfd(task: Task, fd: number, error: number): number {
  const file = task.files.remove(fd);
  if (typeof file !== "number") file.release();
  return error;
}

function childProcess(task: Task, request: CloneRequest, pid: number): Process {
  const { process } = task;
  const { flags } = request;
  const actions = flags & CLONE_SIGHAND ? process.actions : process.actions.copy();
  if (flags & CLONE_SIGHAND) actions.users++;
  if (request.clearSighand) actions.reset();
  const child = new Process(process.container, pid, actions, process.rlimits);
  const siblings = (flags & CLONE_PARENT) !== 0;
  child.parent = siblings ? process.parent : process;
  child.parentTask = siblings ? process.parentTask : task;
  child.exitSignal = siblings ? process.exitSignal : request.exitSignal;
  child.parent?.children.add(child);
  child.dumpable = process.dumpable;
  child.executable = process.executable;
  child.oomScoreAdj = process.oomScoreAdj;
  joinGroup(child, process.group);
  return child;
}

function inheritTask(task: Task, child: Task, flags: number): void {
  child.comm = task.comm;
  child.signals.blocked.assign(task.signals.blocked);
  // A thread or vfork child on the same memory must not run on the parent's alternate stack.
  child.signals.altStack =
    (flags & (CLONE_VM | CLONE_VFORK)) === CLONE_VM
      ? { sp: 0, size: 0, flags: SS_DISABLE }
      : { ...task.signals.altStack };
  child.sched = { ...task.sched };
  if (task.sched.resetOnFork) {
    child.sched.resetOnFork = false;
    child.sched.policy = 0;
    child.sched.priority = 0;
    child.sched.nice = Math.max(0, task.sched.nice);
  }
  child.personality = task.personality;
  child.seccomp = task.seccomp;
  child.timerSlackNs = task.timerSlackNs;
}
