/**
 * Robust futexes: locks that a dying thread still holds are marked and their waiters woken.
 *
 * Source: get_robust_list(2), Linux Documentation/locking/robust-futex-ABI. The list is the guest's: every word of it
 * is checked by the memory layer, and the walk is bounded.
 */
import type { Task } from "../task/task.ts";
import { FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, futexKey, wakeFutex } from "./futex.ts";

/** Entries walked at most. */
const ROBUST_LIST_LIMIT = 2048;

/** Has the thread no robust lock to give back? A list that cannot be read counts as empty. */
export function robustListEmpty(task: Task): boolean {
  const head = task.robustList;
  if (head === 0) return true;
  const view = task.mm.readStruct(head, 24);
  if (view === null) return true;
  const next = view.getUint32(0, true) + view.getUint32(4, true) * 4294967296;
  const pending = view.getUint32(16, true) + view.getUint32(20, true) * 4294967296;
  return (next - (next % 2) === head || next === 0) && pending === 0;
}

/** Walks the list of a thread that ends or calls execve. Its context is stopped and is the executor. */
export function exitRobustList(task: Task): void {
  const head = task.robustList;
  task.robustList = 0;
  const { mm } = task;
  const view = mm.readStruct(head, 24);
  if (view === null) return;
  let entry = view.getUint32(0, true) + view.getUint32(4, true) * 4294967296;
  const offset = view.getUint32(8, true) + view.getInt32(12, true) * 4294967296;
  const pending = view.getUint32(16, true) + view.getUint32(20, true) * 4294967296;
  const pendingAt = untag(pending);
  for (let n = 0; n < ROBUST_LIST_LIMIT && untag(entry) !== head; n++) {
    const next = mm.readU64(untag(entry));
    // The lock being taken or given back is looked at last, and only once.
    if (untag(entry) !== pendingAt && !markDead(task, untag(entry) + offset, isPi(entry), false)) return;
    if (next < 0) return;
    entry = next;
  }
  if (pendingAt !== 0) markDead(task, pendingAt + offset, isPi(pending), true);
}

const untag = (entry: number): number => entry - (entry % 2);
const isPi = (entry: number): boolean => entry % 2 === 1;

/** Marks one lock as left by a dead owner. False when the list cannot be trusted any further. */
function markDead(task: Task, addr: number, pi: boolean, pending: boolean): boolean {
  const { mm } = task;
  if (addr % 4 !== 0 || mm.accessible(addr, 4, true) < 4) return false;
  for (;;) {
    const value = mm.space.loadU32(addr);
    if (value < 0) return false;
    const owner = value & FUTEX_TID_MASK;
    // Dying between unlocking and waking: the next waiter must not sleep for ever.
    if (pending && !pi && owner === 0) {
      wake(task, addr);
      return true;
    }
    if (owner !== task.tid) return true;
    const desired = ((value & FUTEX_WAITERS) | FUTEX_OWNER_DIED) >>> 0;
    const old = mm.space.compareExchangeU32(addr, value, desired);
    if (old < 0) return false;
    if (old !== value) continue;
    // Waiters of a PI lock are served by `abandonLocks`.
    if (!pi && (value & FUTEX_WAITERS) !== 0) wake(task, addr);
    return true;
  }
}

/** Robust locks may be private or shared; waiters of either kind are woken. */
function wake(task: Task, addr: number): void {
  const key = futexKey(task, task.mm, addr, true, true);
  if (typeof key !== "number") wakeFutex(key, 1);
}
