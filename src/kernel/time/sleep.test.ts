/** Sleeps until a time on a clock. */
import { expect, test } from "bun:test";
import { clockMonotonicNs } from "../../native/host.ts";
import { GuestWorld, MEM } from "../testing/scripted-guest.ts";
import { CLOCK_MONOTONIC, CLOCK_REALTIME, readClock } from "./clock.ts";

const ABSTIME = 1;
/** The host lets somebody else run so long, after the first look at the time. */
const AWAY_NS = 3e6;
const SLEEP_NS = 10e6;

test.each([
  ["CLOCK_MONOTONIC", CLOCK_MONOTONIC],
  ["CLOCK_REALTIME", CLOCK_REALTIME],
])("nobody wakes before the time, however long the host has the kernel wait between two clocks (%s)", (_, clock) => {
  const world = new GuestWorld();
  const slept: number[] = [];
  world.run(function* (g) {
    const { kernel } = world;
    const late = () => {
      const now = clockMonotonicNs();
      while (clockMonotonicNs() < now + AWAY_NS);
      kernel.now = clockMonotonicNs;
      return now;
    };
    const begun = readClock(clock);
    const nsec = begun.nsec + SLEEP_NS;
    g.put64(MEM.free, begun.sec + Math.floor(nsec / 1e9), nsec % 1e9);
    kernel.now = late;
    expect(yield* g.sys("clock_nanosleep", clock, ABSTIME, MEM.free, 0)).toBe(0);
    const ended = readClock(clock);
    slept.push((ended.sec - begun.sec) * 1e9 + (ended.nsec - begun.nsec));
    yield* g.sys("exit_group", 0);
  });
  expect(slept[0]).toBeGreaterThanOrEqual(SLEEP_NS);
});
