import { describe, expect, test } from "bun:test";
import { EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, EPERM, ESRCH } from "../abi/errno.ts";
import { type Guest, GuestWorld, MEM } from "../testing/scripted-guest.ts";

const SIGHUP = 1;
const SIGINT = 2;
const SIGKILL = 9;
const SIGUSR1 = 10;
const SIGSEGV = 11;
const SIGUSR2 = 12;
const SIGTERM = 15;
const SIGCHLD = 17;
const SIGRT = 40;
const SIG_BLOCK = 0;
const SIG_UNBLOCK = 1;
const bit = (signo: number): number => 2 ** (signo - 1);
const SA_SIGINFO = 4;
const SA_ONSTACK = 0x08000000;
const SA_RESTART = 0x10000000;
const SA_NODEFER = 0x40000000;
const SA_RESETHAND = 0x80000000;

/** Sends a signal to the calling process. */
function* raise(g: Guest, signo: number) {
  return yield* g.sys("kill", g.task.process.pid, signo);
}

describe("handlers", () => {
  test("the interrupted code gets its result after the handler", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.handle(SIGUSR1, function* (h, signo) {
        seen.push(signo, yield* h.sys("gettid"));
      });
      seen.push(yield* raise(g, SIGUSR1), "after");
    });
    expect(seen).toEqual([SIGUSR1, 1, 0, "after"]);
  });

  test("blocked while handled, unless SA_NODEFER; sa_mask is added; the old mask comes back", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const handler = function* (h: Guest, signo: number) {
        seen.push(signo);
        if (seen.length < 3) {
          yield* raise(h, SIGUSR1);
          yield* raise(h, SIGUSR2);
        }
        seen.push(-signo);
      };
      yield* g.handle(SIGUSR1, handler, 0, bit(SIGUSR2));
      yield* g.handle(SIGUSR2, handler);
      yield* raise(g, SIGUSR1);
      seen.push(g.task.signals.blocked.lo);
    });
    expect(seen).toEqual([SIGUSR1, -SIGUSR1, SIGUSR1, -SIGUSR1, SIGUSR2, -SIGUSR2, 0]);
  });

  test("SA_NODEFER nests, SA_RESETHAND works once", () => {
    const seen: unknown[] = [];
    const status = new GuestWorld().run(function* (g) {
      let depth = 0;
      yield* g.handle(
        SIGUSR1,
        function* (h) {
          seen.push(++depth);
          if (depth < 3) yield* raise(h, SIGUSR1);
        },
        SA_NODEFER,
      );
      yield* raise(g, SIGUSR1);
      yield* g.handle(
        SIGUSR2,
        function* (h) {
          seen.push("once");
          yield* h.sys("getpid");
        },
        SA_RESETHAND,
      );
      yield* raise(g, SIGUSR2);
      yield* raise(g, SIGUSR2);
    });
    expect(seen).toEqual([1, 2, 3, "once"]);
    expect(status).toBe(SIGUSR2);
  });

  test("pending signals of one process: lowest first, synchronous before all, queued ones in order", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const handler = function* (h: Guest, signo: number, info: number) {
        seen.push(signo === SIGRT ? h.u32(info + 24) : signo);
        yield* h.sys("getpid");
      };
      const all = bit(SIGHUP) + bit(SIGUSR1) + bit(SIGSEGV) + bit(SIGRT);
      for (const signo of [SIGHUP, SIGUSR1, SIGSEGV, SIGRT]) yield* g.handle(signo, handler, SA_SIGINFO, all);
      yield* g.mask(SIG_BLOCK, all);
      for (const value of [7, 8]) {
        g.put64(MEM.free, 0, 0xffffffff, 0, value);
        expect(yield* g.sys("rt_sigqueueinfo", 1, SIGRT, MEM.free)).toBe(0);
      }
      for (const signo of [SIGUSR1, SIGSEGV, SIGHUP, SIGUSR1]) yield* raise(g, signo);
      yield* g.sys("rt_sigpending", MEM.free, 8);
      seen.push(g.u32(MEM.free) + g.u32(MEM.free + 4) * 2 ** 32 === all);
      yield* g.mask(SIG_UNBLOCK, all);
    });
    expect(seen).toEqual([true, SIGSEGV, SIGHUP, SIGUSR1, 7, 8]);
  });
});

describe("interrupted calls", () => {
  test("EINTR without SA_RESTART, run again with it", () => {
    for (const [flags, result] of [
      [0, -EINTR],
      [SA_RESTART, 0],
    ] as const) {
      const seen: unknown[] = [];
      new GuestWorld().run(function* (g) {
        yield* g.handle(
          SIGUSR1,
          function* (h) {
            seen.push("handler");
            h.put32(MEM.free, 0);
            yield* h.sys("getpid");
          },
          flags,
        );
        g.put32(MEM.free, 5);
        yield* g.thread(function* (t) {
          yield* t.spin(() => t.task.process.leader.runState === 1);
          yield* t.sys("tgkill", 1, 1, SIGUSR1);
          yield* t.sys("sched_yield");
          // The handler changed the word: a wait that is run again sees that.
          yield* t.exit(0);
        }, MEM.free + 16);
        seen.push((yield* g.sys("futex", MEM.free, 128, 5, 0, 0, 0)) === -EAGAIN ? 0 : -EINTR);
      });
      expect(seen).toEqual(["handler", result]);
    }
  });

  test("sigsuspend swaps the mask and puts it back", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.handle(SIGUSR1, function* (h) {
        seen.push(h.task.signals.blocked.lo);
        yield* h.sys("getpid");
      });
      yield* g.mask(SIG_BLOCK, bit(SIGUSR1) + bit(SIGTERM));
      yield* raise(g, SIGUSR1);
      g.put64(MEM.free, bit(SIGHUP));
      seen.push(yield* g.sys("rt_sigsuspend", MEM.free, 8), g.task.signals.blocked.lo);
      seen.push(yield* g.sys("rt_sigsuspend", MEM.free, 7), yield* g.sys("rt_sigsuspend", 8, 8));
    });
    expect(seen).toEqual([bit(SIGHUP) + bit(SIGUSR1), -EINTR, bit(SIGUSR1) + bit(SIGTERM), -EINVAL, -EFAULT]);
  });

  test("sigtimedwait takes a signal, times out, is interrupted by others", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.handle(SIGUSR2, function* (h) {
        yield* h.sys("getpid");
      });
      yield* g.mask(SIG_BLOCK, bit(SIGUSR1));
      g.put64(MEM.free, bit(SIGUSR1));
      g.put64(MEM.free + 16, 0, 5_000_000);
      seen.push(yield* g.sys("rt_sigtimedwait", MEM.free, 0, MEM.free + 16, 8));
      yield* g.fork(function* (c) {
        yield* c.spin(() => c.task.process.parent!.leader.runState === 1);
        yield* c.sys("kill", 1, SIGUSR1);
        yield* c.spin(() => seen.length > 1);
        yield* c.spin(() => c.task.process.parent!.leader.runState === 1);
        yield* c.sys("kill", 1, SIGUSR2);
        yield* c.sys("pause");
      });
      const got = yield* g.sys("rt_sigtimedwait", MEM.free, MEM.free + 64, 0, 8);
      seen.push([got, g.u32(MEM.free + 64), g.u32(MEM.free + 80)]);
      seen.push(yield* g.sys("rt_sigtimedwait", MEM.free, 0, 0, 8));
    });
    expect(seen).toEqual([-EAGAIN, [SIGUSR1, SIGUSR1, 2], -EINTR]);
  });
});

describe("alternate stack", () => {
  test("handlers run on it, it cannot be changed meanwhile, and overflow is fatal", () => {
    const seen: unknown[] = [];
    const base = MEM.free + 0x10000;
    const status = new GuestWorld().run(function* (g) {
      g.put64(MEM.free, base, 0, 100);
      seen.push(yield* g.sys("sigaltstack", MEM.free, 0));
      g.put64(MEM.free, base, 7, 8192);
      seen.push(yield* g.sys("sigaltstack", MEM.free, 0));
      g.put64(MEM.free, base, 0, 8192);
      seen.push(yield* g.sys("sigaltstack", MEM.free, MEM.free + 64), g.u32(MEM.free + 72));
      yield* g.handle(
        SIGUSR1,
        function* (h) {
          const sp = h.ctx.regs[38]!;
          seen.push(sp >= base && sp < base + 8192);
          seen.push(yield* h.sys("sigaltstack", MEM.free, 0));
          seen.push(yield* h.sys("sigaltstack", 0, MEM.free + 64), h.u32(MEM.free + 72));
        },
        SA_ONSTACK,
      );
      yield* raise(g, SIGUSR1);
      seen.push(yield* g.sys("sigaltstack", 0, MEM.free + 64), g.u32(MEM.free + 72));
      yield* g.handle(
        SIGUSR2,
        function* (h) {
          yield* raise(h, SIGUSR2);
        },
        SA_ONSTACK | SA_NODEFER,
      );
      yield* raise(g, SIGUSR2);
    });
    expect(seen).toEqual([-ENOMEM, -EINVAL, 0, 2, true, -EPERM, 0, 1, 0, 0]);
    expect(status).toBe(SIGSEGV);
  });
});

describe("who may send what to whom", () => {
  test("permissions, targets, numbers", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      const other = yield* g.fork(function* (c) {
        yield* c.sys("setresuid", 1000, 1000, 1000);
        seen.push(yield* c.sys("kill", 1, 0), yield* c.sys("kill", 99, 0), yield* c.sys("kill", 2, 65));
        seen.push(yield* c.sys("tgkill", 2, 2, 0), yield* c.sys("tgkill", 1, 2, 0), yield* c.sys("tgkill", 2, -1, 0));
        c.put64(MEM.free, 0, 0, 0, 0);
        seen.push(yield* c.sys("rt_sigqueueinfo", 1, SIGUSR1, MEM.free));
        yield* c.exit(0);
      });
      yield* g.wait(other);
    });
    expect(seen).toEqual([-EPERM, -ESRCH, -EINVAL, 0, -ESRCH, -EINVAL, -EPERM]);
  });

  test("a container's init is spared what it left at default, but KILL from outside", () => {
    const seen: unknown[] = [];
    const world = new GuestWorld();
    const status = world.run(
      function* (g) {
        yield* g.fork(function* (c) {
          seen.push(yield* c.sys("kill", 1, SIGTERM), yield* c.sys("kill", 1, 9));
          yield* c.exit(0);
        });
        yield* g.wait();
        seen.push(yield* raise(g, SIGINT), "alive");
        const { sendSignal, kernelInfo } = require("./send.ts") as typeof import("./send.ts");
        sendSignal(world.container.first!, kernelInfo(SIGINT));
        seen.push(yield* g.sys("getpid"));
        sendSignal(world.container.first!, kernelInfo(SIGKILL));
        yield* g.sys("getpid");
        seen.push("not reached");
      },
      { unkillable: true },
    );
    expect(seen).toEqual([0, 0, 0, "alive", 1]);
    expect(status).toBe(SIGKILL);
  });

  test("a process signal goes to a thread that does not block it", () => {
    const seen: unknown[] = [];
    new GuestWorld().run(function* (g) {
      yield* g.handle(SIGUSR1, function* (h) {
        seen.push(yield* h.sys("gettid"));
      });
      yield* g.thread(function* (t) {
        yield* t.sys("pause");
        yield* t.exit(0);
      }, MEM.free);
      yield* g.mask(SIG_BLOCK, bit(SIGUSR1));
      yield* raise(g, SIGUSR1);
      yield* g.spin(() => seen.length > 0);
    });
    expect(seen).toEqual([2]);
  });

  test("RLIMIT_SIGPENDING bounds queued signals", () => {
    const seen: unknown[] = [];
    const world = new GuestWorld();
    world.run(function* (g) {
      g.put64(MEM.free, 3, 3);
      yield* g.sys("setrlimit", 11, MEM.free);
      yield* g.mask(SIG_BLOCK, bit(SIGRT) + bit(SIGCHLD));
      g.put64(MEM.free, 0, 0xffffffff, 0, 0);
      for (let i = 0; i < 4; i++) seen.push(yield* g.sys("rt_sigqueueinfo", 1, SIGRT, MEM.free));
    });
    expect(seen).toEqual([0, 0, 0, -EAGAIN]);
    expect(world.container.users.size).toBe(0);
  });
});
