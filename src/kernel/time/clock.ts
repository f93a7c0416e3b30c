/** The clocks that guests see. CLOCK_MONOTONIC and CLOCK_REALTIME are the host's, as in the vDSO. */
import { clockGet } from "../../native/host.ts";
import type { Timespec } from "../vfs/inode.ts";

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
