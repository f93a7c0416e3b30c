/**
 * fork, vfork, clone, clone3.
 *
 * Manual pages: fork(2), vfork(2), clone(2). Gaps: see task/clone.ts.
 */
import { E2BIG, EBADF, EFAULT, EINVAL, EPERM } from "../abi/errno.ts";
import { addr, flags, inStruct, size } from "../args.ts";
import { getU64 } from "../mm/mm.ts";
import { SIGCHLD } from "../signal/numbers.ts";
import { syscall } from "../syscall.ts";
import {
  CLONE_CHILD_CLEARTID,
  CLONE_CHILD_SETTID,
  CLONE_DETACHED,
  CLONE_FILES,
  CLONE_FS,
  CLONE_NEWTIME,
  CLONE_PARENT,
  CLONE_PARENT_SETTID,
  CLONE_PIDFD,
  CLONE_SETTLS,
  CLONE_SIGHAND,
  CLONE_SYSVSEM,
  CLONE_THREAD,
  CLONE_VFORK,
  CLONE_VM,
  type CloneRequest,
  cloneTask,
} from "../task/clone.ts";
import type { Task } from "../task/task.ts";

const CSIGNAL = 0xff;
const CLONE_FLAGS = {
  CLONE_VM,
  CLONE_FS,
  CLONE_FILES,
  CLONE_SIGHAND,
  CLONE_PIDFD,
  CLONE_VFORK,
  CLONE_PARENT,
  CLONE_THREAD,
  CLONE_SYSVSEM,
  CLONE_SETTLS,
  CLONE_PARENT_SETTID,
  CLONE_CHILD_CLEARTID,
  CLONE_DETACHED,
  CLONE_CHILD_SETTID,
  SIGCHLD,
};

/** Clones, and with CLONE_VFORK waits until the child has called execve or ended. The handler's second run comes back here. */
function doClone(task: Task, request: CloneRequest): number {
  const made = cloneTask(task, request);
  if (typeof made === "number") return made;
  if (made.vforkParent === null) return made.tid;
  task.restart = { data: { kind: "vfork", child: made } };
  return waitForVfork(task, made);
}

/** Only the death of the process ends this wait: a signal's handler would run on memory that the child is using. */
function waitForVfork(task: Task, child: Task): number {
  if (child.vforkParent !== task) return child.vforkPid;
  task.waitOn(child.vforkDone);
  return task.sleepKillable();
}

/** The child that a vfork in progress waits for. */
function vforkChild(task: Task): Task | null {
  const made = task.restart?.data;
  return made?.kind === "vfork" ? made.child : null;
}

function request(flagBits: number, exitSignal: number): CloneRequest {
  return {
    flags: flagBits,
    clearSighand: false,
    exitSignal,
    stackPointer: 0,
    parentTid: 0,
    childTid: 0,
    pidfd: 0,
    tls: 0,
  };
}

export const fork = syscall("fork", {}, (task) => doClone(task, request(0, SIGCHLD)));

export const vfork = syscall("vfork", {}, (task) => {
  const child = vforkChild(task);
  return child !== null ? waitForVfork(task, child) : doClone(task, request(CLONE_VFORK | CLONE_VM, SIGCHLD));
});

export const clone = syscall(
  "clone",
  { flags: flags(CLONE_FLAGS), stack: addr, parent_tid: addr, child_tid: addr, tls: addr },
  (task, { flags, stack, parent_tid, child_tid, tls }) => {
    const child = vforkChild(task);
    if (child !== null) return waitForVfork(task, child);
    // Both want the same argument.
    if (flags & CLONE_PIDFD && flags & CLONE_PARENT_SETTID) return -EINVAL;
    return doClone(task, {
      flags: (flags & ~CSIGNAL) >>> 0,
      clearSighand: false,
      exitSignal: flags & CSIGNAL,
      stackPointer: stack,
      parentTid: parent_tid,
      childTid: child_tid,
      pidfd: parent_tid,
      tls,
    });
  },
);

const CLONE_ARGS_SIZE_VER0 = 64;
const CLONE_ARGS_SIZE = 88;
const CLONE_CLEAR_SIGHAND_HI = 1;
const CLONE_INTO_CGROUP_HI = 2;

export const clone3 = syscall("clone3", { cl_args: inStruct(CLONE_ARGS_SIZE), size }, (task, { cl_args, size }) => {
  const child = vforkChild(task);
  if (child !== null) return waitForVfork(task, child);
  if (size > 4096) return -E2BIG;
  if (size < CLONE_ARGS_SIZE_VER0) return -EINVAL;
  const bytes = new Uint8Array(Math.max(size, CLONE_ARGS_SIZE));
  if (task.mm.readBytes(cl_args, bytes, size) < 0) return -EFAULT;
  for (let i = CLONE_ARGS_SIZE; i < size; i++) if (bytes[i] !== 0) return -E2BIG;
  const view = new DataView(bytes.buffer);
  const flagBits = view.getUint32(0, true);
  const high = view.getUint32(4, true);
  const exitSignal = getU64(view, 32);
  const stack = getU64(view, 40);
  const stackSize = getU64(view, 48);
  const setTid = getU64(view, 64);
  const setTidSize = getU64(view, 72);
  if (setTidSize > 32 || (setTid === 0) !== (setTidSize === 0)) return -EINVAL;
  if (exitSignal > 64) return -EINVAL;
  if (high & ~(CLONE_CLEAR_SIGHAND_HI | CLONE_INTO_CGROUP_HI)) return -EINVAL;
  if (flagBits & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME))) return -EINVAL;
  if (flagBits & (CLONE_THREAD | CLONE_PARENT) && exitSignal !== 0) return -EINVAL;
  if ((stack === 0) !== (stackSize === 0)) return -EINVAL;
  if (stack !== 0 && !task.mm.validRange(stack, stackSize)) return -EINVAL;
  if (high & CLONE_INTO_CGROUP_HI) return -EBADF;
  // Choosing pids is for checkpoint tools, with rights that are not given out here.
  if (setTidSize > 0) return -EPERM;
  return doClone(task, {
    flags: flagBits,
    clearSighand: (high & CLONE_CLEAR_SIGHAND_HI) !== 0,
    exitSignal,
    stackPointer: stack + stackSize,
    parentTid: getU64(view, 24),
    childTid: getU64(view, 16),
    pidfd: getU64(view, 8),
    tls: getU64(view, 56),
  });
});
