/**
 * The clocks that guests see. CLOCK_MONOTONIC and CLOCK_REALTIME are the host's, as in the vDSO.
 *
 * Source: clock_gettime(2), clock_getcpuclockid(3). Timers of every clock run on CLOCK_MONOTONIC: an absolute time of
 * another clock is converted when the timer is set. Gap: setting the host's clock does not move such timers (restoring a
 * saved kernel does: time/wall-clock.ts).
 * CPU-time clocks: see time/cpu-time.ts.
 */
import { clockGet } from "../../native/host.ts";
import type { Timespec } from "../vfs/inode.ts";

export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
export const CLOCK_PROCESS_CPUTIME_ID = 2;
export const CLOCK_THREAD_CPUTIME_ID = 3;
export const CLOCK_MONOTONIC_RAW = 4;
export const CLOCK_REALTIME_COARSE = 5;
export const CLOCK_MONOTONIC_COARSE = 6;
export const CLOCK_BOOTTIME = 7;
export const CLOCK_REALTIME_ALARM = 8;
export const CLOCK_BOOTTIME_ALARM = 9;
export const CLOCK_TAI = 11;

/** For printing. */
export const CLOCKS = {
  CLOCK_REALTIME,
  CLOCK_MONOTONIC,
  CLOCK_PROCESS_CPUTIME_ID,
  CLOCK_THREAD_CPUTIME_ID,
  CLOCK_MONOTONIC_RAW,
  CLOCK_REALTIME_COARSE,
  CLOCK_MONOTONIC_COARSE,
  CLOCK_BOOTTIME,
  CLOCK_REALTIME_ALARM,
  CLOCK_BOOTTIME_ALARM,
  CLOCK_TAI,
};

const out = new Float64Array(2);

/** A host clock (CLOCK_* number) as seconds and nanoseconds. */
export function readClock(clock: number): Timespec {
  clockGet(clock, out);
  return { sec: out[0]!, nsec: out[1]! };
}

/** CLOCK_REALTIME, for file times. */
export function realtimeNow(): Timespec {
  return readClock(0);
}

/** Is it a clock of the host that guests may read (not a CPU-time clock)? */
export function isWallClock(clock: number): boolean {
  return (
    clock === CLOCK_REALTIME ||
    clock === CLOCK_MONOTONIC ||
    (clock >= CLOCK_MONOTONIC_RAW && clock <= 9) ||
    clock === 11
  );
}

/** Is it a clock that tells the date, which can be set? */
export function tellsDate(clock: number): boolean {
  return clock === CLOCK_REALTIME || clock === CLOCK_REALTIME_ALARM || clock === CLOCK_TAI;
}

/** Nanoseconds from now until `at` on a wall clock; negative when it has passed. */
export function untilOnClock(clock: number, at: Timespec): number {
  clockGet(clock, out);
  return (at.sec - out[0]!) * 1e9 + (at.nsec - out[1]!);
}
