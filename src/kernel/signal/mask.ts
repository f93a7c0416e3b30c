/**
 * Signal masks: changing a task's own, and the temporary masks of sigsuspend, ppoll, pselect, epoll_pwait.
 *
 * Source: sigprocmask(2), sigsuspend(2), pselect(2). SIGKILL and SIGSTOP can never be blocked.
 */
import { EFAULT, EINVAL } from "../abi/errno.ts";
import type { Task } from "../task/task.ts";
import { SIGKILL, SIGSTOP } from "./numbers.ts";
import { maskChanged, retargetPending } from "./send.ts";
import { SigSet } from "./task-signals.ts";

/** Bytes of the kernel's sigset_t. */
export const SIGSET_SIZE = 8;

/** Sets the mask of blocked signals. */
export function setBlocked(task: Task, mask: SigSet): void {
  const { blocked } = task.signals;
  const more = (mask.lo & ~blocked.lo) | (mask.hi & ~blocked.hi);
  blocked.assign(mask);
  blocked.delete(SIGKILL);
  blocked.delete(SIGSTOP);
  if (more !== 0 && task.process.tasks.length > 1) retargetPending(task.process);
  maskChanged(task);
}

/**
 * Blocks `mask` until the current call ends; call it each time the handler runs. The old mask comes back by itself: when
 * the call ends without a signal, or after the handler of the signal that ended it.
 */
export function useMask(task: Task, mask: SigSet): void {
  task.signals.savedMask ??= task.signals.blocked.clone();
  setBlocked(task, mask);
  task.notify = true;
}

/** Puts the mask back that `useMask` replaced. */
export function restoreMask(task: Task): void {
  const saved = task.signals.savedMask;
  if (saved === null) return;
  task.signals.savedMask = null;
  setBlocked(task, saved);
}

/** Reads a sigset_t argument: the set, -EFAULT, or -EINVAL for a wrong size. */
export function readSigSet(task: Task, addr: number, size: number): SigSet | number {
  if (size !== SIGSET_SIZE) return -EINVAL;
  const view = task.mm.readStruct(addr, SIGSET_SIZE);
  if (view === null) return -EFAULT;
  return new SigSet(view.getUint32(0, true), view.getUint32(4, true));
}

/** Writes a sigset_t. 0 or -EFAULT. */
export function writeSigSet(task: Task, addr: number, set: SigSet): number {
  const bytes = new Uint8Array(SIGSET_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, set.lo, true);
  view.setUint32(4, set.hi, true);
  return task.mm.writeBytes(addr, bytes);
}
