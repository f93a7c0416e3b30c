import { describe, expect, test } from "bun:test";
import { EAGAIN, ECHILD, EINVAL, ESRCH } from "../abi/errno.ts";
import { type Guest, GuestWorld, MEM, type Part } from "../testing/scripted-guest.ts";

const SIGHUP = 1;
const SIGKILL = 9;
const SIGUSR1 = 10;
const SIGTERM = 15;
const SIGCHLD = 17;
const SIGCONT = 18;
const SIGSTOP = 19;
const SIGTSTP = 20;
const WNOHANG = 1;
const WUNTRACED = 2;
const WCONTINUED = 8;

describe("processes", () => {
  test("exit status, wait, no children left", () => {
    const seen: unknown[] = [];
    const world = new GuestWorld();
    const status = world.run(function* (g) {
      const pid = yield* g.fork(function* (c) {
        yield* c.sys("exit_group", 0x1ff);
      });
      seen.push(pid);
      seen.push(yield* g.wait());
      seen.push(yield* g.wait());
      yield* g.sys("exit_group", 7);
    });
    expect(seen).toEqual([2, [2, 0xff00], [-ECHILD, 0xff00]]);
    expect(status).toBe(0x700);
    expect(world.kernel.tasks.size).toBe(0);
    expect(world.container.pids.processes.size).toBe(0);
    expect(world.container.pids.groups.size).toBe(0);
    expect(world.container.pids.sessions.size).toBe(0);
  });

  test("the parent sleeps until the child ends; SIGCHLD says who and how", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.handle(
        SIGCHLD,
        function* (h, signo, info) {
          seen.push([signo, h.u32(info + 8), h.u32(info + 16), h.u32(info + 24)]);
          yield* h.sys("getpid");
        },
        4,
      );
      yield* g.fork(function* (c) {
        for (let i = 0; i < 5; i++) yield* c.sys("sched_yield");
        yield* c.exit(3);
      });
      // The child is found before the signal is looked at.
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual([
      [SIGCHLD, 1, 2, 3],
      [2, 0x300],
    ]);
  });

  test("SA_RESTART runs the wait again", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.handle(
        SIGCHLD,
        function* (h) {
          seen.push("handler");
          yield* h.sys("getpid");
        },
        0x10000000,
      );
      yield* g.fork(function* (c) {
        for (let i = 0; i < 5; i++) yield* c.sys("sched_yield");
        yield* c.exit(3);
      });
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual(["handler", [2, 0x300]]);
  });

  test("ignored SIGCHLD reaps by itself", () => {
    const seen: unknown[] = [];
    const world = new GuestWorld();
    world.run(function* (g) {
      yield* g.ignore(SIGCHLD);
      yield* g.fork(function* (c) {
        yield* c.exit(3);
      });
      seen.push((yield* g.wait())[0]);
      seen.push(world.container.pids.processes.size);
    });
    expect(seen).toEqual([-ECHILD, 1]);
  });

  test("orphans go to init, or to the nearest subreaper", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.fork(function* (reaper) {
        yield* reaper.sys("prctl", 36, 1, 0, 0, 0);
        yield* reaper.fork(function* (middle) {
          yield* middle.fork(function* (leaf) {
            yield* leaf.spin(() => leaf.task.process.parent?.pid === 2);
            seen.push(yield* leaf.sys("getppid"));
            yield* leaf.exit(5);
          });
          yield* middle.exit(1);
        });
        seen.push(yield* reaper.wait(3));
        seen.push(yield* reaper.wait());
        yield* reaper.fork(function* (last) {
          yield* last.spin(() => last.task.process.parent?.pid === 1);
          yield* last.exit(6);
        });
        yield* reaper.exit(0);
      });
      seen.push(yield* g.wait());
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual([[3, 0x100], 2, [4, 0x500], [2, 0], [5, 0x600]]);
  });

  test("PR_SET_PDEATHSIG", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.fork(function* (parent) {
        yield* parent.fork(function* (child) {
          yield* child.sys("prctl", 1, SIGTERM, 0, 0, 0);
          yield* child.sys("pause");
        });
        yield* parent.spin(() => parent.task.pids.processes.get(3)!.leader.parentDeathSignal !== 0);
        yield* parent.exit(0);
      });
      seen.push(yield* g.wait());
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual([
      [2, 0],
      [3, SIGTERM],
    ]);
  });

  test("a busy process is killed", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const pid = yield* g.fork(function* (c) {
        yield* c.spin(() => false);
      });
      seen.push(yield* g.sys("kill", pid, SIGKILL));
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual([0, [2, SIGKILL]]);
  });

  test("init takes everyone along", () => {
    const world = new GuestWorld();
    const status = world.run(function* (g) {
      for (let i = 0; i < 3; i++)
        yield* g.fork(function* (c) {
          if (i === 1) yield* c.spin(() => false);
          yield* c.sys("pause");
        });
      yield* g.sys("sched_yield");
      yield* g.sys("exit_group", 2);
    });
    expect(status).toBe(0x200);
    expect(world.container.pids.processes.size).toBe(0);
    expect(world.container.users.size).toBe(0);
  });

  test("vfork holds the parent until the child is done", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const pid = yield* g.vfork(function* (c) {
        for (let i = 0; i < 3; i++) {
          seen.push("child");
          yield* c.sys("sched_yield");
        }
        yield* c.exit(1);
      });
      seen.push(pid);
      seen.push(yield* g.wait(pid));
    });
    expect(seen).toEqual(["child", "child", "child", 2, [2, 0x100]]);
  });

  test("RLIMIT_NPROC counts per user, root is exempt", () => {
    const seen: unknown[] = [];
    const sleeper = function* (c: Guest) {
      yield* c.sys("pause");
    };
    const limited = function* (g: Guest) {
      g.put64(MEM.scratch, 3, 3);
      yield* g.sys("setrlimit", 6, MEM.scratch);
    };
    new GuestWorld().run(function* (g) {
      yield* limited(g);
      for (let i = 0; i < 4; i++) seen.push(yield* g.fork(sleeper));
      yield* g.fork(function* (c) {
        yield* limited(c);
        yield* c.sys("setresuid", 1000, 1000, 1000);
        seen.push(yield* c.fork(sleeper));
        seen.push(yield* c.fork(sleeper));
        seen.push(yield* c.fork(sleeper));
      });
      yield* g.wait();
    });
    expect(seen).toEqual([2, 3, 4, 5, 7, 8, -EAGAIN]);
  });
});

describe("waitid", () => {
  test("WNOWAIT leaves the child, options are checked", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const pid = yield* g.fork(function* (c) {
        yield* c.exit(9);
      });
      seen.push(yield* g.sys("waitid", 0, 0, MEM.free, 0, 0));
      seen.push(yield* g.sys("waitid", 1, pid, MEM.free, 4 | 0x1000000, 0));
      seen.push([g.u32(MEM.free), g.u32(MEM.free + 8), g.u32(MEM.free + 16), g.u32(MEM.free + 24)]);
      seen.push(yield* g.sys("waitid", 1, pid, MEM.free, 4, 0));
      seen.push(yield* g.sys("waitid", 1, pid, MEM.free, 4, 0));
      seen.push(yield* g.sys("wait4", -0x80000000, 0, 0, 0));
    });
    expect(seen).toEqual([-EINVAL, 0, [SIGCHLD, 1, 2, 9], 0, -ECHILD, -ESRCH]);
  });
});

describe("job control", () => {
  test("stop and continue are reported once each", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const pid = yield* g.fork(function* (c) {
        yield* c.spin(() => false);
      });
      yield* g.sys("kill", pid, SIGSTOP);
      seen.push(yield* g.wait(-1, WUNTRACED));
      seen.push((yield* g.wait(-1, WUNTRACED | WNOHANG))[0]);
      yield* g.sys("kill", pid, SIGCONT);
      seen.push(yield* g.wait(-1, WCONTINUED));
      seen.push((yield* g.wait(-1, WCONTINUED | WNOHANG))[0]);
      yield* g.sys("kill", pid, SIGSTOP);
      yield* g.sys("kill", pid, SIGKILL);
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual([[2, 0x137f], 0, [2, 0xffff], 0, [2, SIGKILL]]);
  });

  test("a stopped sleeper goes on with its sleep", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      g.put32(MEM.free, 0);
      const pid = yield* g.fork(function* (c) {
        // A wait with a time limit: stopping must not start it anew nor end it early.
        c.put64(MEM.scratch, 0, 400_000_000);
        const from = performance.now();
        seen.push(yield* c.sys("futex", MEM.free, 128, 0, MEM.scratch, 0, 0));
        // Anew after the stop it would take 700 ms and more.
        const took = performance.now() - from;
        seen.push(took >= 399 && took < 690 ? "the time that was left" : took);
      });
      yield* g.sys("sched_yield");
      yield* g.sys("kill", pid, SIGSTOP);
      seen.push((yield* g.wait(-1, WUNTRACED))[1]);
      g.put64(MEM.scratch, 0, 300_000_000);
      yield* g.sys("futex", MEM.free, 128, 0, MEM.scratch, 0, 0);
      yield* g.sys("kill", pid, SIGCONT);
      seen.push((yield* g.wait())[1]);
    });
    expect(seen).toEqual([0x137f, -110, "the time that was left", 0]);
  });

  test("terminal stops are dropped in an orphaned group; a newly orphaned one is hung up", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      // Init's children are orphaned groups: nobody outside of the group but in the session is their parent.
      yield* g.fork(function* (leader) {
        yield* leader.sys("setsid");
        const job = yield* leader.fork(function* (c) {
          yield* c.sys("setpgid", 0, 0);
          yield* c.sys("kill", 3, SIGTSTP);
          yield* c.spin(() => false);
        });
        seen.push([job, (yield* leader.wait(-1, WUNTRACED))[1]]);
        yield* leader.sys("kill", 2, SIGTSTP);
        seen.push("not stopped");
        yield* leader.exit(0);
      });
      seen.push(yield* g.wait());
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual([[3, 0x147f], "not stopped", [2, 0], [3, SIGHUP]]);
  });

  test("SIGCONT discards pending stops, also when ignored", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const pid = yield* g.fork(function* (c) {
        yield* c.ignore(SIGCONT);
        yield* c.sys("kill", 2, SIGSTOP);
        yield* c.exit(4);
      });
      yield* g.wait(-1, WUNTRACED);
      yield* g.sys("kill", pid, SIGCONT);
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual([[2, 0x400]]);
  });
});

describe("threads", () => {
  test("exit_group ends sleeping and busy threads", () => {
    const seen: unknown[] = [];
    const world = new GuestWorld();
    world.run(function* (g) {
      yield* g.fork(function* (c) {
        yield* c.thread(function* (t) {
          yield* t.sys("pause");
        }, MEM.free);
        yield* c.thread(function* (t) {
          yield* t.spin(() => false);
        }, MEM.free + 4);
        yield* c.sys("sched_yield");
        yield* c.sys("exit_group", 5);
      });
      seen.push(yield* g.wait());
      seen.push(world.kernel.tasks.size);
    });
    expect(seen).toEqual([[2, 0x500], 1]);
  });

  test("the process lives on without its first thread, and its last one gives the status", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.fork(function* (c) {
        yield* c.thread(function* (t) {
          yield* t.spin(() => t.task.process.leader.runState >= 4);
          seen.push([yield* t.sys("getpid"), yield* t.sys("gettid")]);
          yield* t.exit(8);
        }, MEM.free);
        yield* c.exit(1);
      });
      seen.push(yield* g.wait());
    });
    expect(seen).toEqual([
      [2, 3],
      [2, 0x800],
    ]);
  });

  test("a dying thread clears its tid word and wakes its joiner", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const tid = yield* g.thread(function* (t) {
        for (let i = 0; i < 5; i++) yield* t.sys("sched_yield");
        yield* t.exit(0);
      }, MEM.free);
      seen.push(g.u32(MEM.free) === tid);
      seen.push(yield* g.sys("futex", MEM.free, 0, tid, 0, 0, 0));
      seen.push(g.u32(MEM.free));
    });
    expect(seen).toEqual([true, 0, 0]);
  });
});

describe("many threads that are to end", () => {
  /** How many of 200 threads are left when a bystander's call goes on that was woken after them. */
  function leftBeside(end: (g: Guest, victim: number) => Part<void>): number[] {
    const seen: number[] = [];
    const world = new GuestWorld();
    const living = (pid: number): number => world.container.pids.processes.get(pid)?.tasks.length ?? 0;
    world.run(function* (g) {
      const victim = yield* g.fork(function* (c) {
        yield* c.handle(SIGTERM, function* (h) {
          yield* h.sys("exit_group", 5);
        });
        for (let i = 0; i < 200; i++)
          yield* c.thread(function* (t) {
            yield* t.sys("pause");
          }, MEM.free);
        yield* c.sys("pause");
      });
      const bystander = yield* g.fork(function* (c) {
        yield* c.handle(SIGUSR1, function* (h) {
          seen.push(living(victim));
          yield* h.sys("getpid");
        });
        yield* c.sys("pause");
      });
      while (living(victim) <= 200) yield* g.sys("sched_yield");
      for (let i = 0; i < 10; i++) yield* g.sys("sched_yield");
      yield* end(g, victim);
      yield* g.sys("kill", bystander, SIGUSR1);
      yield* g.wait(bystander);
      seen.push((yield* g.wait(victim))[1], living(victim));
    });
    return seen;
  }

  test("after a kill", () => {
    const [left, status, after] = leftBeside(function* (g, victim) {
      yield* g.sys("kill", victim, SIGKILL);
    });
    expect(left).toBeGreaterThan(100);
    expect([status, after]).toEqual([SIGKILL, 0]);
  });

  test("after an exit_group of one of them", () => {
    const [left, status, after] = leftBeside(function* (g, victim) {
      const process = g.task.container.pids.processes.get(victim)!;
      yield* g.sys("kill", victim, SIGTERM);
      while (!process.exiting) yield* g.sys("sched_yield");
    });
    expect(left).toBeGreaterThan(100);
    expect([status, after]).toEqual([5 << 8, 0]);
  });
});

describe("sessions and groups", () => {
  test("setpgid's rules", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.fork(function* (c) {
        seen.push(yield* c.sys("setsid"));
        seen.push(yield* c.sys("setsid"), yield* c.sys("setpgid", 0, 0), yield* c.sys("getsid", 0));
        const kid = yield* c.fork(function* (k) {
          yield* k.sys("pause");
        });
        seen.push(yield* c.sys("setpgid", kid, kid), yield* c.sys("getpgid", kid));
        seen.push(yield* c.sys("setpgid", kid, 77), yield* c.sys("setpgid", 77, 0), yield* c.sys("setpgid", kid, -1));
        seen.push(yield* c.sys("kill", -kid, SIGUSR1));
        seen.push((yield* c.wait())[1], yield* c.sys("kill", -kid, 0));
      });
      yield* g.wait();
    });
    expect(seen).toEqual([2, -1, -1, 2, 0, 3, -1, -ESRCH, -EINVAL, 0, SIGUSR1, -ESRCH]);
  });
});
