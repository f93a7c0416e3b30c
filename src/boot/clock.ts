/** The clocks of a sandbox that go on from saved values, where the host has no time namespaces: see SandboxOptions.clock. */
import type { ClockValues } from "../core/sandbox.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import { CLOCK_BOOTTIME } from "../kernel/time/clock.ts";
import { clockMonotonicNs, clockNs, shiftClocks } from "../native/host.ts";
import type { Platform } from "../platform/platform.ts";

/** All that reads a clock here shows these values from now on. Before anything has. */
export function goOnFrom({ monotonicNs, boottimeNs }: ClockValues): void {
  shiftClocks(monotonicNs - clockMonotonicNs(), boottimeNs - clockNs(CLOCK_BOOTTIME));
}

/** Guests, too. Returns what there is to say of it. */
export function withholdClock(platform: Platform): string {
  const result = platform.withholdClock();
  if (result < 0) throw new Error(`cannot keep guests from reading the host's clock (${errnoName(-result)})`);
  return "the host gives the sandbox no time namespace: programs read the clock by system calls, which takes longer";
}
