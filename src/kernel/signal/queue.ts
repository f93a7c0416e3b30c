/**
 * Pending signals: putting them into and taking them out of the queues of tasks and processes.
 *
 * Source: signal(7), sigqueue(3), RLIMIT_SIGPENDING in getrlimit(2). Bounded: a standard signal is queued once; entries
 * count against the receiving user's RLIMIT_SIGPENDING, and there are SIGNALS_MAX at most.
 */
import { EAGAIN } from "../abi/errno.ts";
import type { Process } from "../task/process.ts";
import { RLIMIT_SIGPENDING } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { dropUser, userCounts } from "../task/users.ts";
import { isSynchronous, SI_USER, SIGKILL, SIGRTMIN } from "./numbers.ts";
import type { PendingSignals, SigInfo, SigSet } from "./task-signals.ts";

/** Queued signals of one user, whatever root has made of the limit. */
const SIGNALS_MAX = 1 << 17;

/** Adds a signal to a queue. 0, or -EAGAIN when a queued signal finds no room. `owner` is a task of the receiver. */
export function enqueue(owner: Task, pending: PendingSignals, info: SigInfo): number {
  const { signo } = info;
  if (signo < SIGRTMIN && pending.set.has(signo)) return 0;
  if (signo !== SIGKILL) {
    const counts = userCounts(owner.container, owner.cred.uid);
    const mayExceed = signo < SIGRTMIN && info.code >= 0;
    if (mayExceed || counts.signals < Math.min(SIGNALS_MAX, owner.process.rlimits[RLIMIT_SIGPENDING]!.soft)) {
      counts.signals++;
      info.queuedFor = owner.cred.uid;
      pending.queue.push(info);
    } else if (signo >= SIGRTMIN && info.code !== SI_USER) return -EAGAIN;
    // Else the signal is kept without its details, as Linux does.
  }
  pending.set.add(signo);
  return 0;
}

/** Takes signal `signo` out of a queue. */
function take(owner: Task, pending: PendingSignals, signo: number): SigInfo {
  let found: SigInfo | null = null;
  let more = false;
  for (let i = 0; i < pending.queue.length; i++) {
    if (pending.queue[i]!.signo !== signo) continue;
    if (found !== null) {
      more = true;
      break;
    }
    found = pending.queue[i]!;
    pending.queue.splice(i--, 1);
  }
  if (!more) pending.set.delete(signo);
  if (found === null) return { signo, errno: 0, code: SI_USER, pid: 0, uid: 0 };
  uncount(owner, found);
  found.source?.signalTaken(found);
  return found;
}

function uncount(owner: Task, info: SigInfo): void {
  if (info.queuedFor === undefined) return;
  userCounts(owner.container, info.queuedFor).signals--;
  dropUser(owner.container, info.queuedFor);
  info.queuedFor = undefined;
}

/** Lowest signal of `pending` in `lo`/`hi`; those that the processor raises first. 0: none. */
function pick(lo: number, hi: number): number {
  if (lo === 0 && hi === 0) return 0;
  const synchronous = lo & SYNCHRONOUS;
  if (synchronous !== 0) return lowestBit(synchronous);
  return lo !== 0 ? lowestBit(lo) : lowestBit(hi) + 32;
}
const lowestBit = (bits: number): number => 32 - Math.clz32(bits & -bits);
let SYNCHRONOUS = 0;
for (let signo = 1; signo <= 31; signo++) if (isSynchronous(signo)) SYNCHRONOUS |= 1 << (signo - 1);

/** Takes the next signal that is not in `blocked`: the task's own first, then the process'. */
export function dequeueSignal(task: Task, blocked: SigSet): SigInfo | null {
  const own = task.signals.pending;
  let signo = pick(own.set.lo & ~blocked.lo, own.set.hi & ~blocked.hi);
  if (signo !== 0) return take(task, own, signo);
  const shared = task.process.pending;
  signo = pick(shared.set.lo & ~blocked.lo, shared.set.hi & ~blocked.hi);
  return signo !== 0 ? take(task, shared, signo) : null;
}

/** Takes the next pending signal that is in `wanted` (sigwait, signalfd). */
export function dequeueWanted(task: Task, wanted: SigSet): SigInfo | null {
  const blocked = wanted.clone();
  blocked.lo = ~blocked.lo >>> 0;
  blocked.hi = ~blocked.hi >>> 0;
  return dequeueSignal(task, blocked);
}

/** Is a signal of `wanted` pending for the task (its own or its process')? */
export function hasWanted(task: Task, wanted: SigSet): boolean {
  const own = task.signals.pending.set;
  const shared = task.process.pending.set;
  return (((own.lo | shared.lo) & wanted.lo) | ((own.hi | shared.hi) & wanted.hi)) !== 0;
}

/** Forgets pending signals for which `drop` says yes. */
export function flushQueue(owner: Task, pending: PendingSignals, drop: (signo: number) => boolean): void {
  for (let signo = 1; signo <= 64; signo++) if (pending.set.has(signo) && drop(signo)) pending.set.delete(signo);
  if (pending.queue.length === 0) return;
  const kept: SigInfo[] = [];
  for (const info of pending.queue) {
    if (drop(info.signo)) uncount(owner, info);
    else kept.push(info);
  }
  pending.queue = kept;
}

/** The same in every queue of a process. */
export function flushProcess(process: Process, drop: (signo: number) => boolean): void {
  flushQueue(process.leader, process.pending, drop);
  for (const task of process.tasks) flushQueue(task, task.signals.pending, drop);
}
