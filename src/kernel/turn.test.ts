/**
 * Exceptions in every part of a turn of the kernel loop: whom it happened to dies and its parent hears of it; everybody
 * else lives. Each place is made to throw by an object that somebody has broken, as a bug would have.
 */
import { describe, expect, test } from "bun:test";
import { pipe2, writeFd } from "../native/host.ts";
import type { HostWatcher } from "../native/poller.ts";
import { STOP_FAULT, STOP_GONE } from "../platform/platform.ts";
import type { Task } from "./task/task.ts";
import { type Guest, GuestWorld, MEM, type Part } from "./testing/scripted-guest.ts";
import { Timer } from "./time/timers.ts";

const SIGSEGV = 11;
const SIGUSR1 = 10;

/** Breaks one method or property of an object: it throws from now on, or only `times`. */
function breakIt(object: object, name: string, times = Number.POSITIVE_INFINITY): void {
  const own = (object as Record<string, unknown>)[name];
  let left = times;
  Object.defineProperty(object, name, {
    configurable: true,
    get() {
      if (left-- > 0) throw new Error(`broken: ${name}`);
      return own;
    },
    set() {
      if (left-- > 0) throw new Error(`broken: ${name}`);
    },
  });
}

/** What the victim does, and how it is to end (a wait status). */
interface Accident {
  where: string;
  victim(g: Guest, world: GuestWorld): Part<void>;
  /** Default: it dies of SIGSEGV. */
  status?: number;
}

const accidents: Accident[] = [
  {
    where: "a handler",
    *victim(g, world) {
      world.kernel.intercept("getuid", () => {
        throw new Error("broken");
      });
      yield* g.sys("getuid");
    },
  },
  {
    where: "a handler, though SIGSEGV is handled and blocked",
    *victim(g, world) {
      yield* g.handle(SIGSEGV, function* (h) {
        yield* h.exit(5);
      });
      yield* g.mask(0, 2 ** (SIGSEGV - 1));
      world.kernel.intercept("getuid", () => {
        throw new Error("broken");
      });
      yield* g.sys("getuid");
    },
  },
  {
    where: "a call that is run again",
    *victim(g, world) {
      let runs = 0;
      world.kernel.intercept("sched_yield", (task) => {
        if (runs++ > 0) throw new Error("broken");
        return task.giveWay();
      });
      yield* g.sys("sched_yield");
    },
  },
  {
    where: "an interceptor, after the call",
    *victim(g, world) {
      world.kernel.intercept("getuid", (_task, _call, next) => {
        next();
        throw new Error("broken");
      });
      yield* g.sys("getuid");
    },
  },
  {
    where: "the tracer, before the call",
    *victim(g, world) {
      const { task } = g;
      world.kernel.tracer = {
        onCall: (who: Task) => {
          if (who === task) throw new Error("broken");
        },
        onResult() {},
        onExit() {},
        onSignal() {},
        onBlocked() {},
        onStopped() {},
      } as never;
      yield* g.sys("getuid");
    },
  },
  {
    where: "the tracer, after the call and at the exit",
    *victim(g, world) {
      const { task } = g;
      const broken = (who: Task) => {
        if (who === task) throw new Error("broken");
      };
      world.kernel.tracer = {
        onCall() {},
        onResult: broken,
        onExit: broken,
        onSignal: broken,
        onBlocked: broken,
        onStopped: broken,
      } as never;
      yield* g.sys("getuid");
    },
  },
  {
    where: "the way back with a result",
    *victim(g) {
      breakIt(g.ctx, "resumeWithResult");
      yield* g.sys("getuid");
    },
  },
  {
    where: "the way back with registers",
    *victim(g) {
      yield* g.handle(SIGUSR1, function* () {});
      breakIt(g.ctx, "resumeWithRegisters");
      yield* g.sys("kill", g.task.process.pid, SIGUSR1);
    },
  },
  {
    where: "the delivery of a signal",
    *victim(g) {
      breakIt(g.task.signals, "savedMask");
      yield* g.sys("kill", g.task.process.pid, SIGUSR1);
    },
  },
  {
    where: "a fault",
    *victim(g, world) {
      world.stopAs(g.ctx, STOP_FAULT);
      breakIt(g.ctx, "fault");
      yield* g.sys("getuid");
    },
  },
  {
    where: "the loss of the host's thread",
    *victim(g, world) {
      const { log } = world.kernel;
      const debug = log.debug.bind(log);
      log.debug = () => {
        log.debug = debug;
        throw new Error("broken");
      };
      world.stopAs(g.ctx, STOP_GONE);
      yield* g.sys("getuid");
    },
  },
  {
    where: "the end of a sleep",
    *victim(g) {
      breakIt(g.task, "makeReady");
      g.put64(MEM.scratch, 0, 1e6);
      yield* g.sys("nanosleep", MEM.scratch, 0);
    },
  },
  {
    where: "the end of a stop",
    *victim(g, world) {
      const { task, process } = { task: g.task, process: g.task.process };
      world.kernel.timers.arm(new Continue(task), world.kernel.now() + 20e6);
      yield* g.sys("kill", process.pid, 19);
    },
  },
];

class Continue extends Timer {
  constructor(readonly task: Task) {
    super();
  }
  fire(): void {
    breakIt(this.task.process.pending, "set", 1);
    this.task.process.stopping = false;
    this.task.runState = 2;
    this.task.kernel.runQueue.push(this.task);
  }
}

/** Parts of an exit, each broken by itself: the parent hears the real status. */
const exits: { where: string; break(task: Task): void }[] = [
  { where: "wait queues", break: (task) => breakIt(task, "cancelWaits") },
  { where: "futexes", break: (task) => breakIt(task, "futexWaits") },
  { where: "the call's record", break: (task) => breakIt(task, "endCall") },
  { where: "robust locks", break: (task) => breakIt(task, "robustList") },
  { where: "the thread id's word", break: (task) => breakIt(task, "clearChildTid") },
  { where: "the vfork parent", break: (task) => breakIt(task, "vforkParent") },
  { where: "memory", break: (task) => breakIt(task.mm, "release") },
  { where: "descriptors", break: (task) => breakIt(task.files, "end") },
  { where: "the working directory", break: (task) => breakIt(task.fs, "release") },
  { where: "counts of the user", break: (task) => breakIt(task.container.users, "get", 1) },
  { where: "pending signals", break: (task) => breakIt(task.signals, "pending") },
  { where: "children", break: (task) => breakIt(task.process, "children") },
  { where: "shared pending signals", break: (task) => breakIt(task.process, "pending") },
  { where: "the CPU limit", break: (task) => breakIt(task.process, "cpuLimit") },
  {
    where: "a plugin's observer",
    break: (task) =>
      task.kernel.processCleanups.push(() => {
        task.kernel.processCleanups.pop();
        throw new Error("broken");
      }),
  },
  { where: "who waits for the exit", break: (task) => breakIt(task.process.exitWait, "wake") },
  { where: "the signal to the parent", break: (task) => breakIt(task.process.parent!.actions.actions, "17", 1) },
];

/** Runs a victim below init, which must hear of its end and go on as if nothing had been; the log. */
function below(victim: Accident["victim"], status: number): string {
  const world = new GuestWorld();
  let seen: [number, number] = [0, 0];
  let after: [number, number] = [0, 0];
  const end = world.run(function* (g) {
    const pid = yield* g.fork(function* (v) {
      yield* victim(v, world);
      yield* v.exit(99);
    });
    seen = yield* g.wait(pid);
    expect(seen[0]).toBe(pid);
    expect(world.container.pids.processes.has(pid)).toBe(false);
    const next = yield* g.fork(function* (c) {
      yield* c.exit(3);
    });
    after = yield* g.wait(next);
    expect(after[0]).toBe(next);
    yield* g.exit(7);
  });
  expect(seen[1]).toBe(status);
  expect(after[1]).toBe(3 << 8);
  expect(end).toBe(7 << 8);
  expect(world.kernel.tasks.size).toBe(0);
  return world.log.join("");
}

describe("an exception in a turn", () => {
  for (const { where, victim, status } of accidents)
    test(where, () => {
      const log = below(victim, status ?? SIGSEGV);
      expect(log).toMatch(/kernel bug in .* of pid 2 \(.*\): Error: broken/);
    });

  test("in a call with several threads ends them all", () => {
    below(function* (g, world) {
      yield* g.thread(function* (t) {
        yield* t.spin(() => false);
      }, MEM.free);
      breakIt(g.ctx, "resumeWithResult");
      void world;
      yield* g.sys("getuid");
    }, SIGSEGV);
  });

  test("and a second one while its threads are being ended", () => {
    const log = below(function* (g) {
      yield* g.thread(function* (t) {
        yield* t.spin(() => false);
      }, MEM.free);
      const [, other] = g.task.process.tasks;
      // Shared with nobody, so threads are ended one by one; counting them fails, too.
      breakIt(g.task.process.leader.mm, "users", 1);
      void other;
      breakIt(g.ctx, "resumeWithResult");
      yield* g.sys("getuid");
    }, SIGSEGV);
    expect(log).toContain("after a kernel bug");
  });

  test("of the first process ends the sandbox, and does not hang", () => {
    const world = new GuestWorld();
    const end = world.run(function* (g) {
      yield* g.fork(function* (c) {
        yield* c.spin(() => false);
      });
      breakIt(g.ctx, "resumeWithResult");
      yield* g.sys("getuid");
    });
    expect(end).toBe(SIGSEGV);
  });

  test("in what is done at the end of the first process", () => {
    const world = new GuestWorld();
    world.run(function* (g) {
      g.task.container.onEnd = () => {
        throw new Error("broken");
      };
      yield* g.exit(0);
    });
    expect(world.log.join("")).toMatch(/kernel bug .*end of container world: Error: broken/);
  });
});

describe("an exception in an exit", () => {
  for (const each of exits)
    test(each.where, () => {
      const log = below(function* (g) {
        each.break(g.task);
        yield* g.exit(4);
      }, 4 << 8);
      expect(log).toMatch(/kernel bug in .*2/);
    });

  test("everything at once", () => {
    below(function* (g) {
      const { task } = g;
      for (const name of ["cancelWaits", "endCall", "robustList", "clearChildTid", "vforkParent"]) breakIt(task, name);
      for (const name of ["children", "pending", "cpuLimit", "exitWait"]) breakIt(task.process, name);
      breakIt(task.mm, "release");
      yield* g.exit(4);
    }, 4 << 8);
  });
});

class Throwing extends Timer {
  fired = 0;
  fire(): void {
    this.fired++;
    throw new Error("broken");
  }
}

test("a timer that throws is lost, the others go off", () => {
  const world = new GuestWorld();
  const broken = new Throwing();
  world.run(function* (g) {
    world.kernel.timers.arm(broken, world.kernel.now() + 1e6);
    g.put64(MEM.scratch, 0, 20e6);
    expect(yield* g.sys("nanosleep", MEM.scratch, 0)).toBe(0);
    yield* g.exit(0);
  });
  expect(broken.fired).toBe(1);
  expect(broken.armed).toBe(false);
  expect(world.log.join("")).toMatch(/kernel bug in a timer: Error: broken/);
});

test("a watch of a host descriptor that throws is lost, an essential one is not, the others are told", () => {
  const world = new GuestWorld();
  const told = { broken: 0, essential: 0, other: 0 };
  const pipes = [0, 1, 2].map(() => {
    const pair = new Int32Array(2);
    pipe2(pair, 0);
    writeFd(pair[1]!, new Uint8Array(1), 1);
    return pair[0]!;
  });
  const watchers: HostWatcher[] = [
    {
      hostReady: () => {
        told.broken++;
        throw new Error("broken");
      },
    },
    {
      essential: true,
      hostReady: () => {
        told.essential++;
        throw new Error("broken");
      },
    },
    {
      hostReady: () => {
        told.other++;
      },
    },
  ];
  world.run(function* (g) {
    watchers.forEach((watcher, i) => {
      world.kernel.poller.watch(pipes[i]!, 1, watcher);
    });
    g.put64(MEM.scratch, 0, 20e6);
    // On a busy machine a sleep may be over before the second look.
    for (let i = 0; i < 200 && (told.essential < 2 || told.other < 2); i++) yield* g.sys("nanosleep", MEM.scratch, 0);
    yield* g.exit(0);
  });
  expect(told.broken).toBe(1);
  expect(told.essential).toBeGreaterThan(1);
  expect(told.other).toBeGreaterThan(1);
});
