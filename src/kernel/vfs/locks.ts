/**
 * Advisory locks of one inode: POSIX record locks, open file description locks, flock.
 *
 * Source: fcntl(2) "Advisory record locking", flock(2), Linux fs/locks.c. POSIX locks belong to a descriptor table
 * (Linux: files_struct) and go with the first close of the file by it; OFD and flock locks belong to the open file.
 * Invariant: the record locks of one owner do not overlap, are sorted by start, and neighbours of one type are merged.
 * Bounded: LOCKS_MAX per inode.
 */
import { EAGAIN, EDEADLK, EINVAL, ENOLCK } from "../abi/errno.ts";
import { persistent } from "../state/registry.ts";
import type { PidSpace } from "../task/pid-space.ts";
import { WaitQueue } from "../wait-queue.ts";
import type { FdTable } from "./fd-table.ts";
import type { File } from "./file.ts";

export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

/** End of a lock that reaches to the end of the file, however it grows. */
export const LOCK_EOF = Number.POSITIVE_INFINITY;

/** Locks on one inode, at most. */
const LOCKS_MAX = 65536;
/** Record locks in all. */
const ALL_LOCKS_MAX = 1 << 18;
const inUse = { locks: 0 };

/** A descriptor table for POSIX locks, an open file for OFD locks. */
export type LockOwner = FdTable | File;

export interface RecordLock {
  owner: LockOwner;
  type: number;
  /** First byte. */
  start: number;
  /** Last byte, inclusive. */
  end: number;
  /** Process that took it, and where that is its number; -1 for OFD locks. */
  pid: number;
  pids: PidSpace;
}

/** POSIX locks that tasks are waiting for, by who wants them: the graph in which deadlocks are looked for. */
export type LockWaits = Map<LockOwner, { table: LockTable; want: RecordLock }>;

export class LockTable {
  records: RecordLock[] = [];
  /** flock: the open file that holds it, and whether alone. */
  flocks: { file: File; exclusive: boolean }[] = [];
  /** Woken when a lock goes or shrinks. */
  readonly waiters = new WaitQueue();

  /** A lock of someone else that stands in the way of `want`, or null. */
  conflict(want: RecordLock): RecordLock | null {
    for (const lock of this.records) {
      if (lock.owner === want.owner || lock.end < want.start || lock.start > want.end) continue;
      if (want.type === F_WRLCK || lock.type === F_WRLCK) return lock;
    }
    return null;
  }

  /** Does a lock of the same owner overlap `want` or lie beside it? */
  private touchesOwn(want: RecordLock): boolean {
    for (const lock of this.records)
      if (lock.owner === want.owner && lock.end >= want.start - 1 && lock.start <= want.end + 1) return true;
    return false;
  }

  /** Takes, changes or (F_UNLCK) drops a record lock. 0, -EAGAIN when another stands in the way, -ENOLCK. */
  set(want: RecordLock): number {
    if (want.type !== F_UNLCK) {
      if (this.conflict(want) !== null) return -EAGAIN;
      if (this.records.length >= LOCKS_MAX || inUse.locks >= ALL_LOCKS_MAX) return -ENOLCK;
    }
    if (want.type !== F_UNLCK && !this.touchesOwn(want)) {
      // The usual case of many: nothing changes but that one comes in at its place.
      let low = 0;
      let high = this.records.length;
      while (low < high) {
        const mid = (low + high) >>> 1;
        if (this.records[mid]!.start > want.start) high = mid;
        else low = mid + 1;
      }
      this.records.splice(low, 0, { ...want });
      inUse.locks++;
      return 0;
    }
    const kept: RecordLock[] = [];
    let { start, end } = want;
    let released = false;
    for (const lock of this.records) {
      if (lock.owner !== want.owner) {
        kept.push(lock);
        continue;
      }
      const touches = lock.end >= start - 1 && lock.start <= end + 1;
      if (lock.type === want.type && touches) {
        start = Math.min(start, lock.start);
        end = Math.max(end, lock.end);
        continue;
      }
      if (lock.end < want.start || lock.start > want.end) {
        kept.push(lock);
        continue;
      }
      if (lock.type === F_WRLCK || want.type === F_UNLCK) released = true;
      if (lock.start < want.start) kept.push({ ...lock, end: want.start - 1 });
      if (lock.end > want.end) kept.push({ ...lock, start: want.end + 1 });
    }
    if (want.type !== F_UNLCK) {
      const lock = { ...want, start, end };
      const at = kept.findIndex((other) => other.start > start);
      if (at < 0) kept.push(lock);
      else kept.splice(at, 0, lock);
    }
    inUse.locks += kept.length - this.records.length;
    this.records = kept;
    if (released) this.waiters.wake();
    return 0;
  }

  /** Would waiting for `want` close a circle of POSIX owners that wait for each other? */
  wouldDeadlock(want: RecordLock, waits: LockWaits): boolean {
    let blocker = this.conflict(want);
    // A chain is no longer than there are waiters.
    for (let steps = waits.size + 1; blocker !== null && steps > 0; steps--) {
      if (blocker.pid === -1) return false;
      const next = waits.get(blocker.owner);
      if (next === undefined) return false;
      blocker = next.table.conflict(next.want);
      if (blocker !== null && blocker.owner === want.owner) return true;
    }
    return false;
  }

  /** F_SETLKW found the lock taken: -EDEADLK, or 0 with the wait noted. */
  beginWait(want: RecordLock, waits: LockWaits): number {
    if (want.pid !== -1) {
      if (this.wouldDeadlock(want, waits)) return -EDEADLK;
      waits.set(want.owner, { table: this, want });
    }
    return 0;
  }
  endWait(owner: LockOwner, waits: LockWaits): void {
    waits.delete(owner);
  }

  /** flock(2). 0 or -EAGAIN. Changing a lock drops the old one first, as on Linux. */
  flock(file: File, exclusive: boolean): number {
    const own = this.flocks.findIndex((lock) => lock.file === file);
    if (own >= 0) {
      if (this.flocks[own]!.exclusive === exclusive) return 0;
      this.flocks.splice(own, 1);
      this.waiters.wake();
    }
    for (const lock of this.flocks) if (exclusive || lock.exclusive) return -EAGAIN;
    if (this.flocks.length >= LOCKS_MAX) return -ENOLCK;
    this.flocks.push({ file, exclusive });
    return 0;
  }
  funlock(file: File): void {
    const own = this.flocks.findIndex((lock) => lock.file === file);
    if (own < 0) return;
    this.flocks.splice(own, 1);
    this.waiters.wake();
  }

  /** A descriptor table has closed this file (any descriptor of it): its POSIX locks go. */
  releasePosix(owner: FdTable, waits: LockWaits): void {
    // Who was killed while it waited did not end its wait.
    if (waits.get(owner)?.table === this) waits.delete(owner);
    this.releaseRecords(owner);
  }
  /** The open file is gone: its OFD and flock locks go. */
  releaseFile(file: File): void {
    this.releaseRecords(file);
    this.funlock(file);
  }
  private releaseRecords(owner: LockOwner): void {
    const before = this.records.length;
    if (before === 0) return;
    this.records = this.records.filter((lock) => lock.owner !== owner);
    inUse.locks -= before - this.records.length;
    if (this.records.length !== before) this.waiters.wake();
  }
}

/** Range of a struct flock as first and last byte. `base` is what l_whence refers to. -EINVAL, -EOVERFLOW-like ranges too. */
export function lockRange(base: number, start: number, length: number): { start: number; end: number } | number {
  const first = base + start;
  if (first < 0) return -EINVAL;
  if (length > 0) return { start: first, end: first + length - 1 };
  if (length === 0) return { start: first, end: LOCK_EOF };
  if (first + length < 0) return -EINVAL;
  return { start: first + length, end: first - 1 };
}

persistent("lock-table", LockTable, {
  reopen({ records }) {
    inUse.locks += records.length;
  },
});
