/**
 * Time limits of blocking calls: reading them from the guest, keeping them over restarts.
 *
 * Source: poll(2), select(2), nanosleep(2). A relative limit becomes a deadline on CLOCK_MONOTONIC at the call's first
 * run, and stays in `task.restart.deadline`.
 */
import { EFAULT, EINVAL } from "../abi/errno.ts";
import { setU64 } from "../mm/mm.ts";
import type { Task } from "../task/task.ts";
import { CLOCK_MONOTONIC, tellsDate } from "./clock.ts";

/** The deadline of calls that do not wait. */
export const AT_ONCE = 0;
/** No time limit. */
export const FOREVER = Number.POSITIVE_INFINITY;

/**
 * The call's deadline on CLOCK_MONOTONIC; `timeoutNs` counts only on its first run. Keep it (`keepDeadline`) before
 * waiting.
 */
export function deadlineOf(task: Task, timeoutNs: number): number {
  const kept = task.restart?.deadline;
  if (kept !== undefined) return kept;
  return timeoutNs === FOREVER ? FOREVER : task.kernel.now() + timeoutNs;
}
/** Both in one. */
export function callDeadline(task: Task, timeoutNs: number): number {
  const deadline = deadlineOf(task, timeoutNs);
  keepDeadline(task, deadline);
  return deadline;
}
/**
 * The call is about to wait: its deadline stays the same when it is run again. `clock`: what an absolute one was given on.
 */
export function keepDeadline(task: Task, deadline: number, clock: number = CLOCK_MONOTONIC): void {
  const progress = task.progress();
  progress.deadline = deadline;
  if (tellsDate(clock)) progress.onWall = true;
}

/** A struct timespec as nanoseconds; FOREVER for NULL; -EFAULT, -EINVAL. */
export function readTimeout(task: Task, at: number): number {
  if (at === 0) return FOREVER;
  const view = task.mm.readStruct(at, 16);
  if (view === null) return -EFAULT;
  const sec = view.getUint32(0, true) + view.getInt32(4, true) * 4294967296;
  const nsec = view.getUint32(8, true) + view.getInt32(12, true) * 4294967296;
  if (sec < 0 || nsec < 0 || nsec >= 1e9) return -EINVAL;
  return sec * 1e9 + nsec;
}

/** Writes back how much of a timespec is left, as ppoll and pselect do. A bad address is ignored, as on Linux. */
export function writeTimeLeft(task: Task, at: number, deadline: number): void {
  if (at === 0 || deadline === FOREVER) return;
  const left = timeLeft(task, deadline);
  setU64(spanView, 0, Math.floor(left / 1e9));
  setU64(spanView, 8, left % 1e9);
  task.mm.writeBytes(at, span);
}

/** Nanoseconds until a deadline, at least 0. */
export function timeLeft(task: Task, deadline: number): number {
  return Math.max(0, deadline - task.kernel.now());
}

const span = new Uint8Array(16);
const spanView = new DataView(span.buffer);
