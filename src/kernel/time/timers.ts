/**
 * The kernel's timers: a binary heap of deadlines on CLOCK_MONOTONIC, in nanoseconds as plain numbers.
 *
 * Invariant: an armed timer knows its place in the heap, so that cancelling is O(log n).
 */

import { clockMonotonicNs } from "../../native/host.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";

/** Most time that `expire` takes before others get their turn: many may be due at once. */
const SLICE_NS = 2e6;

/** Something that happens at a time. Subclass and implement `fire`, so that it stays plain data. */
export abstract class Timer {
  /** Nanoseconds on CLOCK_MONOTONIC. */
  deadline = 0;
  /** Place in the heap, -1 when not armed. */
  heapIndex = -1;
  abstract fire(): void;
  /** Its time comes so much earlier. It is armed again afterwards, if it was. */
  bringForward(ns: number): void {
    this.deadline -= ns;
  }
  /** The task that waits for nothing else: it cannot go on when `fire` throws. */
  get sleeper(): Task | null {
    return null;
  }
  get armed(): boolean {
    return this.heapIndex >= 0;
  }
}

export class TimerQueue {
  private heap: Timer[] = [];
  /** Told when a timer has thrown; it is not armed any more, unless it had armed itself again before. */
  onError: (timer: Timer, error: unknown) => void = (_timer, error) => {
    throw error;
  };

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

  /** Timers that were set to a time of the wall clock, armed or not. */
  private readonly onWall = new Set<Timer>();
  /** A timer is set to a time of the wall clock, or (`wall` false) to something else, or not any more. */
  followWall(timer: Timer, wall: boolean): void {
    if (wall) this.onWall.add(timer);
    else this.onWall.delete(timer);
  }
  /** See time/wall-clock.ts. */
  wallClockMoved(ns: number): void {
    for (const timer of this.onWall) {
      const { armed } = timer;
      this.cancel(timer);
      timer.bringForward(ns);
      if (armed) this.arm(timer, timer.deadline);
    }
  }

  /** Fires what is due at `now`, or as much of it as fits a slice. A timer may arm itself again. */
  expire(now: number): void {
    for (let fired = 1; this.heap.length > 0 && this.heap[0]!.deadline <= now; fired++) {
      const timer = this.heap[0]!;
      this.cancel(timer);
      try {
        timer.fire();
      } catch (error) {
        this.onError(timer, error);
      }
      if (fired % 16 === 0 && clockMonotonicNs() - now > SLICE_NS) return;
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

persistent("timer", Timer);
persistent("timer-queue", TimerQueue, {
  transient: {
    onError:
      (_queue, { kernel }) =>
      (timer: Timer, error: unknown) =>
        kernel.timerFailed(timer, error),
  },
});
