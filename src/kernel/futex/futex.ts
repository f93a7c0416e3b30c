/**
 * Futexes: queues of waiters on words of guest memory.
 *
 * Source: futex(2), futex_waitv in the Linux documentation. A futex is named by (address space, address), or for shared
 * mappings by (inode or memory object, offset), so that processes that map it at different addresses meet.
 * Invariant: a waiter is in at most one queue; it is either queued or `woken`. The loaded value and the queue change
 * together because the kernel is one thread: no wake-up can fall between. Values are loaded afresh, never prefetched.
 * Bounded: a thread has at most 128 waiters (futex_waitv).
 */
import { EAGAIN, EFAULT, EINVAL } from "../abi/errno.ts";
import type { Mm } from "../mm/mm.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";

export const FUTEX_BITSET_ALL = 0xffffffff;
/** Bits of the word of a PI or robust lock; the rest is the holder's tid. */
export const FUTEX_WAITERS = 0x80000000;
export const FUTEX_OWNER_DIED = 0x40000000;
export const FUTEX_TID_MASK = 0x3fffffff;

/** One task waiting on one futex. Plain data. */
export class FutexWaiter {
  queue: FutexQueue | null = null;
  woken = false;
  constructor(
    readonly task: Task,
    readonly bitset: number,
    /** Where the waiter's own address space has the word. */
    readonly addr: number,
    /** Waits for a priority-inheritance lock (futex/pi.ts). */
    readonly pi = false,
  ) {}
}

/** The waiters of one futex, in order of arrival. */
export class FutexQueue {
  /** Holder of the lock, for priority-inheritance futexes with waiters. */
  owner: Task | null = null;
  readonly waiters: FutexWaiter[] = [];
  constructor(
    readonly space: object,
    readonly offset: number,
    readonly table: FutexTable,
  ) {}
}

type FutexTable = Map<object, Map<number, FutexQueue>>;

/** Futexes of one address space (FUTEX_PRIVATE_FLAG), and all others: Linux never lets the two meet. */
export class Futexes {
  readonly privates: FutexTable = new Map();
  readonly shared: FutexTable = new Map();
  /** Queues that have an owner. */
  readonly owned = new Set<FutexQueue>();
}

/** Names a futex. */
export interface FutexKey {
  space: object;
  offset: number;
  table: FutexTable;
}

/** The key of a word, or -EINVAL (misaligned), -EFAULT. `write`: the word will be changed. */
export function futexKey(task: Task, mm: Mm, addr: number, shared: boolean, write = false): FutexKey | number {
  if (addr % 4 !== 0) return -EINVAL;
  if (!mm.validRange(addr, 4)) return -EFAULT;
  const futexes = task.kernel.futexes;
  if (!shared) return { space: mm, offset: addr, table: futexes.privates };
  const vma = mm.vmas.find(addr);
  if (vma === undefined || mm.accessible(addr, 4, write) < 4) return -EFAULT;
  if (!vma.shared) return { space: mm, offset: addr, table: futexes.shared };
  const space = vma.file?.inode?.identity ?? vma.memory ?? vma.file ?? mm;
  return { space, offset: vma.offset + (addr - vma.start), table: futexes.shared };
}

export const sameKey = (a: FutexKey, b: FutexKey): boolean =>
  a.space === b.space && a.offset === b.offset && a.table === b.table;

export function lookUp(key: FutexKey): FutexQueue | undefined {
  return key.table.get(key.space)?.get(key.offset);
}

/** The queue of a futex, made on demand. */
export function queueOf(key: FutexKey): FutexQueue {
  let offsets = key.table.get(key.space);
  if (offsets === undefined) {
    offsets = new Map();
    key.table.set(key.space, offsets);
  }
  let queue = offsets.get(key.offset);
  if (queue === undefined) {
    queue = new FutexQueue(key.space, key.offset, key.table);
    offsets.set(key.offset, queue);
  }
  return queue;
}

export function addWaiter(key: FutexKey, waiter: FutexWaiter): void {
  const queue = queueOf(key);
  queue.waiters.push(waiter);
  waiter.queue = queue;
}

/** Takes a waiter out of its queue, and the queue out of its table when it is empty. */
export function removeWaiter(waiter: FutexWaiter): void {
  const { queue } = waiter;
  if (queue === null) return;
  waiter.queue = null;
  queue.waiters.splice(queue.waiters.indexOf(waiter), 1);
  if (queue.waiters.length > 0) return;
  if (queue.owner !== null) {
    queue.owner = null;
    waiter.task.kernel.futexes.owned.delete(queue);
  }
  const offsets = queue.table.get(queue.space)!;
  offsets.delete(queue.offset);
  if (offsets.size === 0) queue.table.delete(queue.space);
}

/** Loads the word afresh. -EFAULT. */
export function loadWord(mm: Mm, addr: number): number {
  if (mm.accessible(addr, 4, false) < 4) return -EFAULT;
  return mm.space.loadU32(addr);
}

/** Wakes at most `count` waiters that share a bit with `bitset`. How many, or -EINVAL when they wait for a PI lock. */
export function wakeFutex(key: FutexKey, count: number, bitset: number = FUTEX_BITSET_ALL): number {
  const queue = lookUp(key);
  if (queue === undefined) return 0;
  let woken = 0;
  for (const waiter of queue.waiters.slice()) {
    if (woken >= count) break;
    if (waiter.pi) return -EINVAL;
    if ((waiter.bitset & bitset) === 0) continue;
    wakeWaiter(waiter);
    woken++;
  }
  return woken;
}

export function wakeWaiter(waiter: FutexWaiter): void {
  removeWaiter(waiter);
  waiter.woken = true;
  waiter.task.makeReady();
}

/** Wakes `wakeCount` waiters and moves `moveCount` others to another futex. How many in all, or -EINVAL. */
export function requeueFutex(from: FutexKey, to: FutexKey, wakeCount: number, moveCount: number): number {
  const woken = wakeFutex(from, wakeCount);
  if (woken < 0) return woken;
  const queue = lookUp(from);
  if (queue === undefined || moveCount <= 0) return woken;
  let moved = 0;
  for (const waiter of queue.waiters.slice()) {
    if (moved >= moveCount) break;
    if (waiter.pi) return -EINVAL;
    if (!sameKey(from, to)) {
      removeWaiter(waiter);
      addWaiter(to, waiter);
    }
    moved++;
  }
  return woken + moved;
}

/** A thread stops waiting, or ends. */
export function abandonFutexes(task: Task): void {
  const waits = task.futexWaits;
  if (waits === null) return;
  task.futexWaits = null;
  for (const waiter of waits) removeWaiter(waiter);
}

/**
 * Starts waiting on words, all at once. `words` hold key, address and expected value. 0 when queued (go to sleep then),
 * or -EAGAIN, -EFAULT.
 */
export function enqueueWait(
  task: Task,
  words: readonly { key: FutexKey; addr: number; expected: number; bitset: number }[],
): number {
  for (const word of words) {
    const value = loadWord(task.mm, word.addr);
    if (value < 0) return -EFAULT;
    if (value !== word.expected) return -EAGAIN;
  }
  task.futexWaits = words.map(({ key, addr, bitset }) => {
    const waiter = new FutexWaiter(task, bitset, addr);
    addWaiter(key, waiter);
    return waiter;
  });
  return 0;
}

/** A thread ends or calls execve: its tid word becomes 0, and one joiner wakes. */
export function clearTid(task: Task): void {
  const addr = task.clearChildTid;
  if (addr === 0) return;
  task.clearChildTid = 0;
  if (task.mm.users <= 1) return;
  task.mm.publishU32(addr, 0);
  const key = futexKey(task, task.mm, addr, true, true);
  if (typeof key !== "number") wakeFutex(key, 1);
}

persistent("futex-waiter", FutexWaiter);
persistent("futex-queue", FutexQueue);
persistent("futexes", Futexes);
