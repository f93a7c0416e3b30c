/**
 * Wait queues: who wants to know when something changes.
 *
 * A queue belongs to the thing that changes (a pipe, a socket, a process); entries belong to those who wait (a task in
 * a blocking call, an epoll item). Waking only tells: the woken look again. Plain data, so that a checkpoint can walk it.
 *
 * Source: the roles of wait queues in Linux (include/linux/wait.h), poll(2) event bits as masks.
 */
import { persistent } from "./state/registry.ts";

/** Gets told. */
export interface Waiter {
  /** `mask`: POLL* bits of what happened, or all bits. False: an exclusive wake-up was of no use here, try the next. */
  // biome-ignore lint/suspicious/noConfusingVoidType: most waiters have nothing to say.
  wake(entry: WaitEntry, mask: number): void | boolean;
}

/** One registration of a waiter in a queue. */
export class WaitEntry {
  queue: WaitQueue | null = null;
  /** Neighbours in the queue; the queue's own. */
  next: WaitEntry | null = null;
  previous: WaitEntry | null = null;
  constructor(
    readonly waiter: Waiter,
    /** Only wake-ups that share a bit with this mask count. */
    public mask: number = ALL_EVENTS,
    /** Exclusive entries are woken one at a time (futex-like, accept). */
    readonly exclusive: boolean = false,
  ) {}
}

export const ALL_EVENTS = 0xffffffff | 0;

/** Invariant: a list through its entries, in the order of their coming: thousands may wait, and leave in any order. */
export class WaitQueue {
  private first: WaitEntry | null = null;
  private last: WaitEntry | null = null;

  add(entry: WaitEntry): void {
    entry.queue = this;
    entry.previous = this.last;
    if (this.last === null) this.first = entry;
    else this.last.next = entry;
    this.last = entry;
  }

  remove(entry: WaitEntry): void {
    if (entry.queue !== this) return;
    if (entry.previous === null) this.first = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === null) this.last = entry.previous;
    else entry.next.previous = entry.previous;
    entry.queue = null;
    entry.next = null;
    entry.previous = null;
  }

  /** Wakes everyone whose mask fits, but of the exclusive ones only the first `exclusive`. Entries stay registered. */
  wake(mask: number = ALL_EVENTS, exclusive = 1): void {
    const only = this.first;
    if (only === null) return;
    if (only === this.last) {
      if ((only.mask & mask) !== 0) only.waiter.wake(only, mask);
      return;
    }
    // A waiter may remove itself or others while it is told.
    const entries: WaitEntry[] = [];
    for (let entry: WaitEntry | null = only; entry !== null; entry = entry.next) entries.push(entry);
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
    for (let entry = this.first; entry !== null; entry = entry.next) {
      if (!entry.exclusive || (entry.mask & mask) === 0) continue;
      entry.waiter.wake(entry, mask);
      return;
    }
  }

  get empty(): boolean {
    return this.first === null;
  }
}

persistent("wait-entry", WaitEntry);
persistent("wait-queue", WaitQueue);
