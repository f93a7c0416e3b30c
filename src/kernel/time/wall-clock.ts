/**
 * The wall clock is another than it was: a kernel that was saved runs again, later, while CLOCK_MONOTONIC goes on as if no
 * time had passed. Who waits for a date waits for that date.
 *
 * Source: timer_settime(2), clock_nanosleep(2), futex(2). Relative times of CLOCK_REALTIME are not concerned, as on Linux.
 * Gap: timers with TFD_TIMER_CANCEL_ON_SET are not cancelled.
 */
import type { Kernel } from "../kernel.ts";

/** It has been set forward by `ns` against CLOCK_MONOTONIC; negative: back. */
export function wallClockMoved(kernel: Kernel, ns: number): void {
  kernel.timers.wallClockMoved(ns);
  for (const task of kernel.tasks) {
    const { restart } = task;
    if (restart?.onWall !== true || restart.deadline === undefined) continue;
    restart.deadline -= ns;
    task.moveDeadline(restart.deadline);
  }
}
