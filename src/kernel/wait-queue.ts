/**
 * Wait queues: who wants to know when something changes.
 *
 * A queue belongs to the thing that changes (a pipe, a socket, a process); entries belong to those who wait (a task in
 * a blocking call, an epoll item). Waking only tells: the woken look again. Plain data, so that a checkpoint can walk it.
 *
 * Source: the roles of wait queues in Linux (include/linux/wait.h), poll(2) event bits as masks.
 */

/** Gets told. */
export interface Waiter {
  /** `mask`: POLL* bits of what happened, or all bits. False: an exclusive wake-up was of no use here, try the next. */
  // biome-ignore lint/suspicious/noConfusingVoidType: most waiters have nothing to say.
  wake(entry: WaitEntry, mask: number): void | boolean;
}

/** One registration of a waiter in a queue. */
export class WaitEntry {
  queue: WaitQueue | null = null;
  constructor(
    readonly waiter: Waiter,
    /** Only wake-ups that share a bit with this mask count. */
    public mask: number = ALL_EVENTS,
    /** Exclusive entries are woken one at a time (futex-like, accept). */
    readonly exclusive: boolean = false,
  ) {}
}

export const ALL_EVENTS = 0xffffffff | 0;

export class WaitQueue {
  entries: WaitEntry[] = [];

  add(entry: WaitEntry): void {
    entry.queue = this;
    this.entries.push(entry);
  }

  remove(entry: WaitEntry): void {
    const at = this.entries.indexOf(entry);
    if (at >= 0) this.entries.splice(at, 1);
    entry.queue = null;
  }

  /** Wakes everyone whose mask fits, but of the exclusive ones only the first `exclusive`. Entries stay registered. */
  wake(mask: number = ALL_EVENTS, exclusive = 1): void {
    if (this.entries.length === 0) return;
    if (this.entries.length === 1) {
      const only = this.entries[0]!;
      if ((only.mask & mask) !== 0) only.waiter.wake(only, mask);
      return;
    }
    // A waiter may remove itself or others while it is told.
    const entries = this.entries.slice();
    // As on Linux: first those who all are woken, the latest first; then the others in the order of their coming.
    for (let i = entries.length - 1; i >= 0; i--) {
      const entry = entries[i]!;
      if (!entry.exclusive && entry.queue === this && (entry.mask & mask) !== 0) entry.waiter.wake(entry, mask);
    }
    let left = exclusive;
    for (let i = 0; i < entries.length && left > 0; i++) {
      const entry = entries[i]!;
      if (!entry.exclusive || entry.queue !== this || (entry.mask & mask) === 0) continue;
      if (entry.waiter.wake(entry, mask) !== false) left--;
    }
  }

  /** Hands a wake-up on to the next exclusive entry: something is left for it. The others have been told. */
  wakeExclusive(mask: number): void {
    if (this.entries.length === 0) return;
    for (const entry of this.entries) {
      if (!entry.exclusive || (entry.mask & mask) === 0) continue;
      entry.waiter.wake(entry, mask);
      return;
    }
  }

  get empty(): boolean {
    return this.entries.length === 0;
  }
}
