/** Who waits for a date when the date jumps. */
import { expect, test } from "bun:test";
import { ETIMEDOUT } from "../abi/errno.ts";
import { RUN_BLOCKED } from "../task/task.ts";
import { type Guest, GuestWorld, MEM, type Part } from "../testing/scripted-guest.ts";
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TAI, readClock } from "./clock.ts";
import { wallClockMoved } from "./wall-clock.ts";

const ABSTIME = 1;
const WAIT_BITSET = 9 | 128;
const WAIT_REALTIME = WAIT_BITSET | 256;
const POLLIN = 1;
const SIGEV_NONE = 1;
/** Far off, until the date has jumped over it. */
const LATER = 1000;

/** Puts the time in so many seconds on a clock, or (absolute false) the span. */
function putTime(g: Guest, at: number, clock: number, absolute = true): void {
  g.put64(at, (absolute ? readClock(clock).sec : 0) + LATER, 0);
}

let words = 0;
/** Starts a thread that makes the call; its result is in `results` when it has one. */
function* waits(
  g: Guest,
  results: Map<string, number>,
  name: string,
  make: (t: Guest, scratch: number) => Part<number>,
): Part<void> {
  const scratch = MEM.free + 0x100 * ++words;
  const blocked = (): number => g.task.process.tasks.filter((task) => task.runState === RUN_BLOCKED).length;
  const before = blocked();
  yield* g.thread(function* (t) {
    results.set(name, yield* make(t, scratch));
    yield* t.exit(0);
  }, scratch + 0x80);
  yield* g.spin(() => blocked() > before);
}

const sleeps = (clock: number, absolute: boolean) =>
  function* (t: Guest, at: number): Part<number> {
    putTime(t, at, clock, absolute);
    return yield* t.sys("clock_nanosleep", clock, absolute ? ABSTIME : 0, at, 0);
  };
const futex = (op: number, clock: number) =>
  function* (t: Guest, at: number): Part<number> {
    putTime(t, at, clock);
    return yield* t.sys("futex", at + 0x40, op, 0, at, 0, -1);
  };

test("sleeps and futexes that wait for a date end with it, others do not", () => {
  const results = new Map<string, number>();
  const world = new GuestWorld();
  world.run(function* (g) {
    yield* waits(g, results, "sleep until", sleeps(CLOCK_REALTIME, true));
    yield* waits(g, results, "sleep until, in TAI", sleeps(CLOCK_TAI, true));
    yield* waits(g, results, "futex until", futex(WAIT_REALTIME, CLOCK_REALTIME));
    yield* waits(g, results, "sleep for", sleeps(CLOCK_REALTIME, false));
    yield* waits(g, results, "sleep until, since boot", sleeps(CLOCK_BOOTTIME, true));
    yield* waits(g, results, "sleep until, monotonic", sleeps(CLOCK_MONOTONIC, true));
    yield* waits(g, results, "futex until, monotonic", futex(WAIT_BITSET, CLOCK_MONOTONIC));
    // Not yet, and then.
    wallClockMoved(world.kernel, (LATER - 100) * 1e9);
    yield* g.sys("sched_yield");
    expect(results.size).toBe(0);
    wallClockMoved(world.kernel, 100e9);
    yield* g.spin(() => results.size >= 3);
    expect(Object.fromEntries(results)).toEqual({
      "sleep until": 0,
      "sleep until, in TAI": 0,
      "futex until": -ETIMEDOUT,
    });
    // Nothing of the others has moved.
    wallClockMoved(world.kernel, 1e15);
    yield* g.sys("sched_yield");
    expect(results.size).toBe(3);
    yield* g.sys("exit_group", 0);
  });
});

test("timers that are set to a date go off with it; set anew or closed they are forgotten", () => {
  const world = new GuestWorld();
  world.run(function* (g) {
    const { free: at, scratch } = MEM;
    const left = function* (fd: number): Part<number> {
      yield* g.sys("timerfd_gettime", fd, at + 64);
      return g.u32(at + 80);
    };
    const ready = function* (fd: number): Part<number> {
      g.put32(scratch, fd);
      g.put32(scratch + 4, POLLIN);
      return yield* g.sys("poll", scratch, 1, 0);
    };
    const set = function* (fd: number, clock: number, absolute: boolean): Part<void> {
      g.put64(at, 0, 0);
      putTime(g, at + 16, clock, absolute);
      expect(yield* g.sys("timerfd_settime", fd, absolute ? ABSTIME : 0, at, 0)).toBe(0);
    };
    const wall = yield* g.sys("timerfd_create", CLOCK_REALTIME, 0);
    const span = yield* g.sys("timerfd_create", CLOCK_REALTIME, 0);
    const boot = yield* g.sys("timerfd_create", CLOCK_BOOTTIME, 0);
    const anew = yield* g.sys("timerfd_create", CLOCK_REALTIME, 0);
    yield* set(wall, CLOCK_REALTIME, true);
    yield* set(span, CLOCK_REALTIME, false);
    yield* set(boot, CLOCK_BOOTTIME, true);
    yield* set(anew, CLOCK_REALTIME, true);
    yield* set(anew, CLOCK_REALTIME, false);
    g.put64(scratch, 0, 0);
    g.put32(scratch + 12, SIGEV_NONE);
    expect(yield* g.sys("timer_create", CLOCK_REALTIME, scratch, at + 128)).toBe(0);
    const timer = g.u32(at + 128);
    putTime(g, at + 16, CLOCK_REALTIME);
    expect(yield* g.sys("timer_settime", timer, ABSTIME, at, 0)).toBe(0);

    // Back, too: as long as it was, and ten seconds more.
    wallClockMoved(world.kernel, -10e9);
    expect(yield* left(wall)).toBeGreaterThan(LATER + 5);
    wallClockMoved(world.kernel, LATER * 1e9);
    const rest = yield* left(wall);
    expect([rest > 0, rest <= 10, yield* ready(wall)]).toEqual([true, true, 0]);
    yield* g.sys("timer_gettime", timer, at + 64);
    expect(g.u32(at + 80)).toBeLessThanOrEqual(10);
    wallClockMoved(world.kernel, 20e9);
    yield* g.sys("sched_yield");
    while ((yield* ready(wall)) !== 1) yield* g.sys("sched_yield");
    for (const fd of [span, boot, anew]) {
      expect(yield* ready(fd)).toBe(0);
      expect(yield* left(fd)).toBeGreaterThan(LATER - 100);
    }
    for (const fd of [wall, span, boot, anew]) yield* g.sys("close", fd);
    expect(yield* g.sys("timer_delete", timer)).toBe(0);
    expect((world.kernel.timers as unknown as { onWall: Set<unknown> }).onWall.size).toBe(0);
    yield* g.sys("exit_group", 0);
  });
});
