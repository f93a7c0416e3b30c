/**
 * The kernel's timers: a binary heap of deadlines on CLOCK_MONOTONIC, in nanoseconds as plain numbers.
 *
 * Invariant: an armed timer knows its place in the heap, so that cancelling is O(log n).
 */

/** Something that happens at a time. Subclass and implement `fire`, so that it stays plain data. */
export abstract class Timer {
  /** Nanoseconds on CLOCK_MONOTONIC. */
  deadline = 0;
  /** Place in the heap, -1 when not armed. */
  heapIndex = -1;
  abstract fire(): void;
  get armed(): boolean {
    return this.heapIndex >= 0;
  }
}

export class TimerQueue {
  private heap: Timer[] = [];

  /** Deadline of the next timer, or Infinity. */
  get next(): number {
    return this.heap.length === 0 ? Number.POSITIVE_INFINITY : this.heap[0]!.deadline;
  }

  arm(timer: Timer, deadline: number): void {
    if (timer.heapIndex >= 0) this.cancel(timer);
    timer.deadline = deadline;
    timer.heapIndex = this.heap.length;
    this.heap.push(timer);
    this.up(timer.heapIndex);
  }

  cancel(timer: Timer): void {
    const at = timer.heapIndex;
    if (at < 0) return;
    timer.heapIndex = -1;
    const last = this.heap.pop()!;
    if (last === timer) return;
    this.heap[at] = last;
    last.heapIndex = at;
    this.up(at);
    this.down(last.heapIndex);
  }

  /** Fires everything due at `now`. A timer may arm itself again. */
  expire(now: number): void {
    while (this.heap.length > 0 && this.heap[0]!.deadline <= now) {
      const timer = this.heap[0]!;
      this.cancel(timer);
      timer.fire();
    }
  }

  private up(at: number): void {
    const heap = this.heap;
    const timer = heap[at]!;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.deadline <= timer.deadline) break;
      heap[at] = heap[parent]!;
      heap[at]!.heapIndex = at;
      at = parent;
    }
    heap[at] = timer;
    timer.heapIndex = at;
  }

  private down(at: number): void {
    const heap = this.heap;
    const timer = heap[at]!;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.deadline < heap[child]!.deadline) child++;
      if (heap[child]!.deadline >= timer.deadline) break;
      heap[at] = heap[child]!;
      heap[at]!.heapIndex = at;
      at = child;
    }
    heap[at] = timer;
    timer.heapIndex = at;
  }
}
