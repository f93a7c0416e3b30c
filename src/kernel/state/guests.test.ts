/**
 * What guests notice of their kernel being saved and restored: nothing. Each scene is played once as it is, and then with a
 * move to a restored kernel after every turn, and after every fourth.
 */
import { describe, expect, test } from "bun:test";
import { EADDRINUSE, EAGAIN, ECONNRESET, EINPROGRESS, EINTR, ESRCH } from "../abi/errno.ts";
import { Tmpfs } from "../fs/tmpfs/tmpfs.ts";
import { Decision, NetworkHooks } from "../net/hooks.ts";
import { obstacles } from "../testing/saving.ts";
import {
  get,
  internet,
  others,
  pair,
  portOf,
  put,
  read,
  receiveDescriptor,
  sendDescriptor,
  write,
} from "../testing/scenes.ts";
import { type Guest, GuestWorld, MEM, type Part, type Script } from "../testing/scripted-guest.ts";
import { openMaster, type PtyMasterFile } from "../tty/pty.ts";
import { FsContext } from "../vfs/fs-context.ts";
import { WaitQueue } from "../wait-queue.ts";

type Say = (who: string, ...what: unknown[]) => void;
type Said = Record<string, unknown[]>;

const SIGHUP = 1;
const SIGUSR1 = 10;
const SIGALRM = 14;
const SIGTTIN = 21;
const SIGIO = 29;
const SIGRTMIN = 34;
const SIG_BLOCK = 0;
const WUNTRACED = 2;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_NETLINK = 16;
const STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const DATAGRAM = 2;
const SEQPACKET = 5;
const A = MEM.free;

interface Play {
  world: GuestWorld;
  said: Said;
}
/** Plays a scene with moves after so many turns. `prepare` may add to the world before it begins. */
function play(
  every: number,
  scene: (g: Guest, say: Say) => ReturnType<Script>,
  prepare?: (play: Play, say: Say) => void,
): Said {
  GuestWorld.moveEvery = every;
  try {
    const world = new GuestWorld();
    const said: Said = {};
    const say: Say = (who, ...what) => {
      said[who] ??= [];
      said[who].push(...what);
    };
    if (every === 4) world.prepare((kernel) => expect(obstacles(kernel)).toEqual([]));
    prepare?.({ world, said }, say);
    const mount = world.kernel.mounts.mount(new Tmpfs(world.kernel), null, 0);
    if (typeof mount === "number") throw new Error(`cannot mount: ${mount}`);
    const root = { mount, dentry: mount.root };
    world.container.root = root;
    say(
      "status",
      world.run((g) => scene(g, say), { fs: new FsContext(root, root, 0o022) }),
    );
    expect(world.log.filter((line) => line.includes("error: "))).toEqual([]);
    return said;
  } finally {
    GuestWorld.moveEvery = 0;
  }
}
function unnoticed(
  name: string,
  expected: Said,
  scene: (g: Guest, say: Say) => ReturnType<Script>,
  prepare?: (play: Play, say: Say) => void,
): void {
  test(name, () => {
    expect(play(0, scene, prepare)).toEqual({ ...expected, status: [0] });
    for (const every of [1, 4]) {
      GuestWorld.moves = 0;
      expect(play(every, scene, prepare)).toEqual({ ...expected, status: [0] });
      expect(GuestWorld.moves).toBeGreaterThan(0);
    }
  });
}

describe("pipes", () => {
  unnoticed(
    "half read, with a reader that waits",
    { parent: ["half ", 3], child: ["read", "more", ""] },
    function* (g, say) {
      const [r, w] = yield* pair(g, "pipe2", 0);
      yield* write(g, w, "half read");
      say("parent", yield* read(g, r, 5));
      yield* g.fork(function* (c) {
        yield* c.sys("close", w);
        for (;;) {
          const got = yield* read(c, r);
          say("child", got);
          if (got === "") yield* c.exit(3);
        }
      });
      yield* others(g);
      yield* write(g, w, "more");
      yield* others(g);
      yield* g.sys("close", w);
      say("parent", (yield* g.wait())[1] >> 8);
    },
  );

  unnoticed("full, with a writer that waits", { reader: [100000, true], writer: [100000] }, function* (g, say) {
    const [r, w] = yield* pair(g, "pipe2", 0);
    const pattern = Uint8Array.from({ length: 100000 }, (_, i) => i % 251);
    yield* g.fork(function* (c) {
      put(c, A + 0x10000, pattern);
      say("writer", yield* c.sys("write", w, A + 0x10000, pattern.length));
      yield* c.exit(0);
    });
    yield* g.sys("close", w);
    yield* others(g);
    let all = "";
    for (;;) {
      const n = yield* g.sys("read", r, A + 0x10000, 7777);
      if (n <= 0) break;
      all += get(g, A + 0x10000, n);
      yield* g.sys("sched_yield");
    }
    say("reader", all.length, Buffer.from(all, "latin1").equals(pattern));
  });

  unnoticed(
    "packets stay apart, and what does not block does not",
    { all: [-EAGAIN, "one", "two", -EAGAIN] },
    function* (g, say) {
      const O_DIRECT = 0o40000;
      const O_NONBLOCK = 0o4000;
      const [r, w] = yield* pair(g, "pipe2", O_DIRECT | O_NONBLOCK);
      say("all", yield* read(g, r));
      yield* write(g, w, "one");
      yield* write(g, w, "two");
      say("all", yield* read(g, r), yield* read(g, r), yield* read(g, r));
    },
  );
});

describe("files", () => {
  const AT_FDCWD = 2 ** 32 - 100;

  unnoticed(
    "a FIFO whose opening waits for the other side",
    { parent: [true, "through it"], child: [true, 10] },
    function* (g, say) {
      put(g, A, "/fifo\0");
      yield* g.sys("mknodat", AT_FDCWD, A, 0o10600, 0);
      yield* g.fork(function* (c) {
        yield* others(c);
        const w = yield* c.sys("openat", AT_FDCWD, A, 1);
        say("child", w >= 0, yield* write(c, w, "through it"));
        yield* c.exit(0);
      });
      const r = yield* g.sys("openat", AT_FDCWD, A, 0);
      say("parent", r >= 0, yield* read(g, r));
      yield* g.wait();
    },
  );

  unnoticed(
    "a lock that waits for another, and positions that are shared",
    { parent: [0, "abc"], child: [-EAGAIN, 0, "def", "ghi"] },
    function* (g, say) {
      const F_SETLK = 6;
      const F_SETLKW = 7;
      put(g, A, "/file\0");
      const fd = yield* g.sys("openat", AT_FDCWD, A, 0o102, 0o600);
      yield* write(g, fd, "abcdefghi");
      yield* g.sys("lseek", fd, 0, 0);
      // struct flock: a write lock on everything.
      g.put64(A + 64, 1, 0, 0, 0);
      say("parent", yield* g.sys("fcntl", fd, F_SETLK, A + 64), yield* read(g, fd, 3));
      yield* g.fork(function* (c) {
        say("child", yield* c.sys("fcntl", fd, F_SETLK, A + 64), yield* c.sys("fcntl", fd, F_SETLKW, A + 64));
        say("child", yield* read(c, fd, 3), yield* read(c, fd, 3));
        yield* c.exit(0);
      });
      yield* others(g);
      g.put64(A + 128, 2, 0, 0, 0);
      yield* g.sys("fcntl", fd, F_SETLK, A + 128);
      yield* g.wait();
    },
  );
});

describe("sockets", () => {
  unnoticed("a descriptor in flight that nobody else has", { all: ["with it", "in the pipe", ""] }, function* (g, say) {
    const [r, w] = yield* pair(g, "pipe2", 0);
    const [a, b] = yield* pair(g, "socketpair", AF_UNIX, STREAM, 0);
    yield* write(g, w, "in the pipe");
    yield* sendDescriptor(g, a, "with it", r);
    yield* g.sys("close", r);
    yield* g.sys("close", w);
    yield* g.sys("sched_yield");
    const got = yield* receiveDescriptor(g, b);
    if (typeof got === "number") throw new Error(`nothing received: ${got}`);
    say("all", got[0], yield* read(g, got[1]), yield* read(g, got[1]));
  });

  for (const [name, type] of [
    ["datagrams", DATAGRAM],
    ["sequenced packets", SEQPACKET],
  ] as const)
    unnoticed(
      `${name}: half taken, with a receiver that waits and one whose time runs out`,
      {
        parent: ["fi", 2, "se", "second"],
        child: ["third", -EAGAIN],
      },
      function* (g, say) {
        const MSG_PEEK = 2;
        const [a, b] = yield* pair(g, "socketpair", AF_UNIX, type, 0);
        yield* write(g, a, "first");
        yield* write(g, a, "second");
        say(
          "parent",
          yield* read(g, b, 2),
          yield* g.sys("recvfrom", b, A, 2, MSG_PEEK, 0, 0),
          get(g, A, 2),
          yield* read(g, b),
        );
        yield* g.fork(function* (c) {
          say("child", yield* read(c, b));
          c.put64(A, 0, 20_000);
          yield* c.sys("setsockopt", b, 1, 20, A, 16);
          say("child", yield* read(c, b));
          yield* c.exit(0);
        });
        yield* others(g);
        yield* write(g, a, "third");
        yield* g.wait();
      },
    );

  unnoticed(
    "a listener by an abstract name, a connection that waits for accept and an accept that waits",
    {
      server: ["from 1", "from 2", -EADDRINUSE],
      client: [0, 0, "answer 1", "answer 2"],
    },
    function* (g, say) {
      const listener = yield* g.sys("socket", AF_UNIX, STREAM, 0);
      const length = put(g, A, "\x01\x00\x00name");
      yield* g.sys("bind", listener, A, length);
      yield* g.sys("listen", listener, 5);
      yield* g.fork(function* (c) {
        const sockets: number[] = [];
        for (let i = 1; i <= 2; i++) {
          const socket = yield* c.sys("socket", AF_UNIX, STREAM, 0);
          put(c, A, "\x01\x00\x00name");
          say("client", yield* c.sys("connect", socket, A, length));
          yield* write(c, socket, `from ${i}`);
          sockets.push(socket);
        }
        for (const socket of sockets) say("client", yield* read(c, socket));
        yield* c.exit(0);
      });
      // The clients have come.
      yield* others(g);
      for (let i = 1; i <= 2; i++) {
        const socket = yield* g.sys("accept4", listener, 0, 0, 0);
        say("server", yield* read(g, socket));
        yield* write(g, socket, `answer ${i}`);
      }
      const other = yield* g.sys("socket", AF_UNIX, STREAM, 0);
      put(g, A, "\x01\x00\x00name");
      say("server", yield* g.sys("bind", other, A, length));
      yield* g.wait();
    },
  );

  unnoticed(
    "TCP: accept waits, data lies in both directions, one side is shut down",
    {
      server: ["hello", "", -EADDRINUSE],
      client: [0, "wel", "come", ""],
    },
    function* (g, say) {
      const SHUT_WR = 1;
      const listener = yield* g.sys("socket", AF_INET, STREAM, 0);
      yield* g.sys("bind", listener, A, internet(g, A, 0));
      yield* g.sys("listen", listener, 5);
      const port = yield* portOf(g, listener);
      yield* g.fork(function* (c) {
        yield* others(c);
        const socket = yield* c.sys("socket", AF_INET, STREAM, 0);
        say("client", yield* c.sys("connect", socket, A, internet(c, A, port)));
        yield* write(c, socket, "hello");
        yield* c.sys("shutdown", socket, SHUT_WR);
        say("client", yield* read(c, socket, 3));
        yield* c.sys("sched_yield");
        say("client", yield* read(c, socket), yield* read(c, socket));
        yield* c.exit(0);
      });
      const socket = yield* g.sys("accept4", listener, 0, 0, 0);
      yield* others(g);
      say("server", yield* read(g, socket), yield* read(g, socket));
      yield* write(g, socket, "welcome");
      yield* g.sys("sched_yield");
      yield* g.sys("close", socket);
      const other = yield* g.sys("socket", AF_INET, STREAM, 0);
      say("server", yield* g.sys("bind", other, A, internet(g, A, port)));
      yield* g.wait();
    },
  );

  unnoticed(
    "UDP: datagrams queued with their senders, and a receiver that waits",
    {
      parent: ["one", true, "two"],
      child: ["three"],
    },
    function* (g, say) {
      const one = yield* g.sys("socket", AF_INET, DATAGRAM, 0);
      yield* g.sys("bind", one, A, internet(g, A, 0));
      const port = yield* portOf(g, one);
      const two = yield* g.sys("socket", AF_INET, DATAGRAM, 0);
      yield* g.sys("connect", two, A, internet(g, A, port));
      yield* write(g, two, "one");
      yield* write(g, two, "two");
      g.put32(A, 16);
      const n = yield* g.sys("recvfrom", one, A + 64, 100, 0, A + 16, A);
      const from = get(g, A + 18, 2);
      say("parent", get(g, A + 64, n), from.charCodeAt(0) * 256 + from.charCodeAt(1) === (yield* portOf(g, two)));
      say("parent", yield* read(g, one));
      yield* g.fork(function* (c) {
        say("child", yield* read(c, one));
        yield* c.exit(0);
      });
      yield* others(g);
      yield* write(g, two, "three");
      yield* g.wait();
    },
  );

  unnoticed("netlink: an answer that nobody has fetched", { all: [20, 16, true] }, function* (g, say) {
    const RTM_GETLINK = 18;
    const socket = yield* g.sys("socket", AF_NETLINK, 3, 0);
    g.put32(A, 20);
    g.put32(A + 4, (0x301 << 16) | RTM_GETLINK);
    g.put32(A + 8, 7);
    g.put32(A + 12, 0);
    g.put32(A + 16, 0);
    say("all", yield* g.sys("sendto", socket, A, 20, 0, 0, 0));
    yield* g.sys("sched_yield");
    const first = yield* read(g, socket, 8000);
    say("all", String(first).charCodeAt(4), String(first).length > 100);
  });
});

describe("epoll and poll", () => {
  const EPOLLIN = 1;
  const EPOLLET = 2 ** 31;
  const EPOLLONESHOT = 2 ** 30;
  const SIZE = 12;
  function* watch(g: Guest, epoll: number, fd: number, events: number): Part<void> {
    g.put32(A, events);
    g.put64(A + 4, fd);
    yield* g.sys("epoll_ctl", epoll, 1, fd, A);
  }
  /** Data of the events, in their order. */
  function* told(g: Guest, epoll: number, timeout = 0): Part<number[]> {
    const n = yield* g.sys("epoll_pwait", epoll, A + 64, 10, timeout, 0, 8);
    return Array.from({ length: n }, (_, i) => g.u32(A + 64 + i * SIZE + 4));
  }

  unnoticed(
    "edges that are due are told once, levels again, one-shots not after they were told",
    {
      level: [[true], [true], [true]],
      edge: [[true], [false], [true]],
      once: [[true], [false], [false]],
      inner: [[true], [true], [true]],
    },
    function* (g, say) {
      const epoll = yield* g.sys("epoll_create1", 0);
      const inner = yield* g.sys("epoll_create1", 0);
      const pipes: [number, number][] = [];
      for (let i = 0; i < 4; i++) pipes.push(yield* pair(g, "pipe2", 0));
      const [level, edge, once, within] = pipes as [
        [number, number],
        [number, number],
        [number, number],
        [number, number],
      ];
      yield* watch(g, epoll, level[0], EPOLLIN);
      yield* watch(g, epoll, edge[0], EPOLLIN + EPOLLET);
      yield* watch(g, epoll, once[0], EPOLLIN + EPOLLONESHOT);
      yield* watch(g, inner, within[0], EPOLLIN);
      yield* watch(g, epoll, inner, EPOLLIN);
      for (const [, w] of pipes) yield* write(g, w, "x");
      for (let round = 0; round < 3; round++) {
        if (round === 2) for (const [, w] of pipes) yield* write(g, w, "y");
        yield* g.sys("sched_yield");
        const events = yield* told(g, epoll);
        say("level", [events.includes(level[0])]);
        say("edge", [events.includes(edge[0])]);
        say("once", [events.includes(once[0])]);
        say("inner", [events.includes(inner)]);
      }
    },
  );

  unnoticed(
    "waits in epoll_wait end with an event, or with their time",
    { waiter: [[0], [], true] },
    function* (g, say) {
      const [r, w] = yield* pair(g, "pipe2", 0);
      const epoll = yield* g.sys("epoll_create1", 0);
      yield* watch(g, epoll, r, EPOLLIN);
      yield* g.fork(function* (c) {
        say("waiter", yield* told(c, epoll, -1));
        yield* read(c, r);
        const before = c.task.kernel.now();
        say("waiter", yield* told(c, epoll, 30));
        say("waiter", c.task.kernel.now() - before >= 30e6);
        yield* c.exit(0);
      });
      yield* others(g);
      yield* write(g, w, "x");
      yield* g.wait();
    },
  );

  unnoticed("poll and select", { poller: [1, 1, 0, true], selector: [1] }, function* (g, say) {
    const [r, w] = yield* pair(g, "pipe2", 0);
    yield* g.fork(function* (c) {
      c.put32(A, r);
      c.put32(A + 4, 1);
      say("poller", yield* c.sys("poll", A, 1, -1), c.u32(A + 4) >>> 16);
      yield* c.spin(() => c.task.process.parent!.children.size === 1);
      yield* read(c, r);
      const before = c.task.kernel.now();
      say("poller", yield* c.sys("poll", A, 1, 30), c.task.kernel.now() - before >= 30e6);
      yield* c.exit(0);
    });
    yield* g.fork(function* (c) {
      c.put64(A, 1 << r);
      say("selector", yield* c.sys("select", r + 1, A, 0, 0, 0));
      yield* c.exit(0);
    });
    yield* others(g, 2);
    yield* write(g, w, "x");
    yield* g.wait();
    yield* g.wait();
  });

  unnoticed("eventfd and pidfd", { waiter: [8, 5], parent: [1, 4, -ESRCH] }, function* (g, say) {
    const event = yield* g.sys("eventfd2", 0, 0);
    const pid = yield* g.fork(function* (c) {
      say("waiter", yield* c.sys("read", event, A, 8), c.u32(A));
      yield* others(c);
      yield* c.exit(4);
    });
    const pidfd = yield* g.sys("pidfd_open", pid, 0);
    yield* others(g);
    g.put64(A, 5);
    yield* g.sys("write", event, A, 8);
    g.put32(A, pidfd);
    g.put32(A + 4, 1);
    say(
      "parent",
      yield* g.sys("poll", A, 1, -1),
      (yield* g.wait(pid))[1] >> 8,
      yield* g.sys("pidfd_send_signal", pidfd, 0, 0, 0),
    );
  });
});

describe("timers", () => {
  unnoticed(
    "sleeps have their remaining time, also when a signal ends them",
    {
      sleeper: [0, true, -EINTR, true],
    },
    function* (g, say) {
      yield* g.handle(SIGUSR1, function* (h) {
        yield* h.sys("getpid");
      });
      const pid = g.task.tid;
      const before = g.task.kernel.now();
      g.put64(A, 0, 40e6);
      say("sleeper", yield* g.sys("nanosleep", A, 0));
      say("sleeper", g.task.kernel.now() - before >= 40e6);
      yield* g.fork(function* (c) {
        yield* others(c);
        yield* c.sys("kill", pid, SIGUSR1);
        yield* c.sys("pause");
      });
      g.put64(A, 100, 0);
      say("sleeper", yield* g.sys("nanosleep", A, A + 16), g.u32(A + 16) > 60 && g.u32(A + 16) < 100);
    },
  );

  unnoticed(
    "each kind of timer goes off in its time",
    {
      itimer: [true],
      posix: [77, 77],
      timerfd: [true, true],
      alarm: [true],
    },
    function* (g, say) {
      let ticks = 0;
      yield* g.handle(SIGALRM, function* (h) {
        // It ends here: moves may take longer than the interval, so that nothing else has its turn any more.
        if (++ticks === 3) {
          h.put64(A, 0, 0, 0, 0);
          yield* h.sys("setitimer", 0, A, 0);
        } else yield* h.sys("getpid");
      });
      // Longer than a move takes: else the next signal is always there first.
      g.put64(A, 0, 30000, 0, 30000);
      yield* g.sys("setitimer", 0, A, 0);
      g.put64(A + 32, 0, 1e6);
      while (ticks < 3) yield* g.sys("nanosleep", A + 32, 0);
      say("itimer", ticks >= 3);

      // A POSIX timer with a value, whose signal is taken by sigtimedwait.
      yield* g.mask(SIG_BLOCK, 2 ** (SIGRTMIN - 1));
      g.put64(A, 77);
      g.put32(A + 8, SIGRTMIN);
      g.put32(A + 12, 0);
      yield* g.sys("timer_create", 1, A, A + 64);
      g.put64(A, 0, 5e6, 0, 5e6);
      yield* g.sys("timer_settime", g.u32(A + 64), 0, A, 0);
      for (let i = 0; i < 2; i++) {
        g.put64(A, 2 ** (SIGRTMIN - 1));
        yield* g.sys("rt_sigtimedwait", A, A + 128, 0, 8);
        say("posix", g.u32(A + 128 + 24));
      }
      yield* g.sys("timer_delete", g.u32(A + 64));

      const fd = yield* g.sys("timerfd_create", 1, 0);
      g.put64(A, 0, 10e6, 0, 10e6);
      yield* g.sys("timerfd_settime", fd, 0, A, 0);
      for (let i = 0; i < 2; i++) {
        yield* g.sys("read", fd, A, 8);
        say("timerfd", g.u32(A) >= 1);
      }
      yield* g.sys("alarm", 100);
      yield* g.sys("sched_yield");
      const left = yield* g.sys("alarm", 0);
      say("alarm", left > 60 && left <= 100);
    },
  );

  unnoticed("a limit on processor time stays armed", { all: [0, 5, true] }, function* (g, say) {
    const RLIMIT_CPU = 0;
    g.put64(A, 5, 10);
    say("all", yield* g.sys("prlimit64", 0, RLIMIT_CPU, A, 0));
    for (let i = 0; i < 6; i++) yield* g.sys("sched_yield");
    yield* g.sys("prlimit64", 0, RLIMIT_CPU, 0, A);
    say("all", g.u32(A), g.task.process.cpuLimit!.armed);
  });
});

describe("signals", () => {
  unnoticed(
    "what is pending and queued keeps its order, values and senders",
    {
      all: [[SIGHUP, 0], [SIGUSR1, 0], [SIGRTMIN, 3], [SIGRTMIN, 1], [SIGRTMIN + 1, 2], -EAGAIN],
      signalfd: [SIGRTMIN, 9],
    },
    function* (g, say) {
      const all = 2 ** (SIGHUP - 1) + 2 ** (SIGUSR1 - 1) + 2 ** (SIGRTMIN - 1) + 2 ** SIGRTMIN;
      yield* g.mask(SIG_BLOCK, all);
      function* queue(signo: number, value: number): Part<void> {
        g.put64(A, 0, 0, 0, 0, 0, 0);
        g.put32(A, signo);
        g.put32(A + 8, -1);
        g.put32(A + 16, g.task.tid);
        g.put64(A + 24, value);
        yield* g.sys("rt_sigqueueinfo", g.task.tid, signo, A);
      }
      yield* queue(SIGRTMIN, 3);
      yield* queue(SIGRTMIN + 1, 2);
      yield* queue(SIGRTMIN, 1);
      yield* g.sys("kill", g.task.tid, SIGUSR1);
      yield* g.sys("tgkill", g.task.tid, g.task.tid, SIGHUP);
      for (;;) {
        g.put64(A, all);
        g.put64(A + 16, 0, 0);
        g.put64(A + 64 + 24, 0);
        const signo = yield* g.sys("rt_sigtimedwait", A, A + 64, A + 16, 8);
        if (signo < 0) {
          say("all", signo);
          break;
        }
        say("all", [signo, g.u32(A + 64 + 24) & (signo >= SIGRTMIN ? -1 : 0)]);
      }
      g.put64(A, all);
      const fd = yield* g.sys("signalfd4", -1, A, 8, 0);
      yield* g.fork(function* (c) {
        yield* c.spin(() => c.task.process.parent!.leader.runState === 1);
        c.put64(A, 0, 0, 0, 0, 0, 0);
        c.put32(A, SIGRTMIN);
        c.put32(A + 8, -1);
        c.put64(A + 24, 9);
        yield* c.sys("rt_sigqueueinfo", 1, SIGRTMIN, A);
        yield* c.exit(0);
      });
      yield* g.sys("read", fd, A + 64, 128);
      say("signalfd", g.u32(A + 64), g.u32(A + 64 + 48));
      yield* g.wait();
    },
  );

  unnoticed("news of a file are told by a signal", { all: [SIGIO, 1] }, function* (g, say) {
    const F_SETFL = 4;
    const F_SETOWN = 8;
    const F_SETSIG = 10;
    const O_ASYNC = 0o20000;
    const [a, b] = yield* pair(g, "socketpair", AF_UNIX, STREAM, 0);
    yield* g.mask(SIG_BLOCK, 2 ** (SIGIO - 1));
    yield* g.sys("fcntl", b, F_SETOWN, g.task.tid);
    yield* g.sys("fcntl", b, F_SETSIG, SIGIO);
    yield* g.sys("fcntl", b, F_SETFL, O_ASYNC);
    yield* g.sys("sched_yield");
    yield* write(g, a, "x");
    g.put64(A, 2 ** (SIGIO - 1));
    say("all", yield* g.sys("rt_sigtimedwait", A, A + 64, 0, 8), g.u32(A + 64 + 8));
  });

  unnoticed(
    "zombies wait to be fetched, with who they were and how they ended",
    {
      parent: [[2, 3 << 8], [3, 9], 17, 1, 4, -10],
    },
    function* (g, say) {
      yield* g.fork(function* (c) {
        yield* c.exit(3);
      });
      yield* g.fork(function* (c) {
        yield* c.sys("kill", 3, 9);
      });
      yield* g.fork(function* (c) {
        yield* c.exit(4);
      });
      yield* g.spin(() => [...g.task.process.children].filter(({ zombie }) => zombie).length === 3);
      yield* g.sys("sched_yield");
      say("parent", yield* g.wait(2), yield* g.wait(3));
      const WEXITED = 4;
      yield* g.sys("waitid", 0, 0, A, WEXITED, 0);
      say("parent", g.u32(A), g.u32(A + 8), g.u32(A + 24), (yield* g.wait())[0]);
    },
  );
});

describe("terminals", () => {
  const TCGETS = 0x5401;
  const TCSETS = 0x5402;
  const TIOCSCTTY = 0x540e;
  const TIOCSPGRP = 0x5410;
  /** A pair of a terminal: the master's descriptor and the slave's. */
  function* openPty(g: Guest): Part<[number, number]> {
    yield* g.sys("getpid");
    const { task } = g;
    const place = { mount: null as never, dentry: new Tmpfs(task.kernel).rootDentry };
    const master = openMaster(task.container.ptys, place, 2, task) as PtyMasterFile;
    master.slave.locked = false;
    const slave = master.slave.open(place, 2 | 0o400, task);
    if (typeof slave === "number") throw new Error(`no slave: ${slave}`);
    return [task.files.install(master, false, 100), task.files.install(slave, false, 100)];
  }

  unnoticed(
    "a line half typed, and a job in the background that has stopped for reading",
    {
      shell: [0, 0, [4, (SIGTTIN << 8) | 0x7f], "half a line\n"],
      master: ["half a line\r\n"],
      job: ["for the job\n"],
      parent: [2, 0],
    },
    function* (g, say) {
      const [master, slave] = yield* openPty(g);
      const [r, w] = yield* pair(g, "pipe2", 0);
      yield* g.fork(function* (shell) {
        yield* shell.ignore(22);
        yield* shell.sys("setsid");
        say("shell", yield* shell.sys("ioctl", slave, TIOCSCTTY, 0));
        // It gets the pid 3, and a group of its own in the background; the pid 4 is its child's.
        yield* shell.fork(function* (other) {
          yield* other.exit(0);
        });
        yield* shell.wait();
        const job = yield* shell.fork(function* (j) {
          yield* j.sys("setpgid", 0, 0);
          say("job", yield* read(j, slave));
          yield* j.exit(0);
        });
        say("shell", (yield* shell.wait(job, WUNTRACED)).length === 2 ? 0 : 1);
        say("shell", [job, shell.u32(MEM.status)]);
        yield* write(shell, w, "stopped");
        say("shell", yield* read(shell, slave));
        // The job is brought to the foreground and goes on.
        shell.put32(A, job);
        yield* shell.sys("ioctl", slave, TIOCSPGRP, A);
        yield* shell.sys("kill", -job, 18);
        yield* write(shell, w, "continued");
        yield* shell.wait(job);
        yield* shell.exit(0);
      });
      yield* read(g, r);
      yield* write(g, master, "half a ");
      yield* others(g);
      yield* write(g, master, "line\n");
      yield* read(g, r);
      say("master", yield* read(g, master));
      yield* write(g, master, "for the job\n");
      say("parent", ...(yield* g.wait()));
    },
  );

  unnoticed(
    "settings, and a read that waits for the time between characters",
    { all: ["abc", ""] },
    function* (g, say) {
      const [master, slave] = yield* openPty(g);
      yield* g.sys("ioctl", slave, TCGETS, A);
      g.put32(A + 12, 0);
      // c_cc begins at 17: VTIME is 5, VMIN 6.
      put(g, A + 17 + 5, Uint8Array.of(1, 0));
      yield* g.sys("ioctl", slave, TCSETS, A);
      yield* g.fork(function* (c) {
        yield* c.spin(() => c.task.process.parent!.leader.runState === 1);
        yield* write(c, master, "abc");
        yield* c.exit(0);
      });
      say("all", yield* read(g, slave), yield* read(g, slave));
      yield* g.wait();
    },
  );
});

describe("containers", () => {
  const two = ({ world }: Play, say: Say): void => {
    const other = world.kernel.addContainer("other");
    other.uts.hostname = "other-host";
    world.start(
      function* (o) {
        put(o, A, "\x01\x00\x00name");
        const socket = yield* o.sys("socket", AF_UNIX, DATAGRAM, 0);
        yield* o.sys("bind", socket, A, 7);
        yield* o.sys("uname", A);
        say("other", o.task.tid, get(o, A + 65, 10), yield* o.sys("kill", 2, 0));
        say("other", yield* read(o, socket), o.task.container.cgroup.limits.tasks);
        yield* o.exit(9);
      },
      {},
      other,
    );
    other.cgroup.limits.tasks = 7;
    other.onEnd = (status) => say("other", status);
  };
  unnoticed(
    "two in a pod, with their own numbers, names and limits, and one network",
    {
      one: [1, "runts", 0],
      other: [1, "other-host", -ESRCH, "to the other", 7, 9 << 8],
    },
    function* (g, say) {
      yield* g.fork(function* (c) {
        yield* c.sys("pause");
      });
      yield* others(g, 2);
      yield* g.sys("uname", A);
      say("one", g.task.tid, get(g, A + 65, 5), yield* g.sys("kill", 2, 0));
      put(g, A, "\x01\x00\x00name");
      const socket = yield* g.sys("socket", AF_UNIX, DATAGRAM, 0);
      yield* g.sys("connect", socket, A, 7);
      yield* write(g, socket, "to the other");
      yield* g.spin(() => g.task.kernel.containers.get("other")!.status !== null);
    },
    two,
  );

  unnoticed(
    "a frozen one stands still, and goes on from there",
    { one: [true], other: ["thawed", 0] },
    function* (g, say) {
      const other = () => g.task.kernel.containers.get("other")!;
      yield* others(g);
      other().freeze();
      g.put64(A, 0, 30e6);
      yield* g.sys("nanosleep", A, 0);
      // Its sleep is over, and its turn has not come.
      say("one", other().heldTasks.length === 1);
      other().thaw();
      yield* g.spin(() => other().status !== null);
    },
    ({ world }, say) => {
      const other = world.kernel.addContainer("other");
      world.start(
        function* (o) {
          o.put64(A, 0, 5e6);
          const result = yield* o.sys("nanosleep", A, 0);
          say("other", "thawed", result);
          yield* o.exit(0);
        },
        {},
        other,
      );
    },
  );
});

test("a plugin that has not answered is asked anew", () => {
  const asked: number[] = [];
  GuestWorld.moveEvery = 1;
  GuestWorld.moves = 0;
  try {
    const world = new GuestWorld();
    world.prepare((kernel) =>
      kernel.intercept("getuid", (task, _call, next) => {
        asked.push(GuestWorld.moves);
        if (asked.length > 1) return next();
        task.interception = { promise: Promise.resolve() };
        return task.block(new WaitQueue());
      }),
    );
    let uid = -1;
    world.run(function* (g) {
      uid = yield* g.sys("getuid");
    });
    expect(uid).toBe(0);
    expect(asked).toHaveLength(2);
    expect(asked[1]!).toBeGreaterThan(asked[0]!);
  } finally {
    GuestWorld.moveEvery = 0;
  }
});

test("plugins' questions about the network: who waits is asked about anew, who does not has failed", () => {
  const asked: Record<string, number[]> = { connect: [], accept: [] };
  GuestWorld.moveEvery = 1;
  GuestWorld.moves = 0;
  try {
    const world = new GuestWorld();
    world.prepare((kernel) => {
      kernel.networkHooks = new NetworkHooks(kernel);
      // Only what is asked about a second time is answered.
      const answer = (times: number[]) => (times.push(GuestWorld.moves) > 1 ? 0 : new Decision());
      kernel.networkHooks.add("connect", ({ port }) => (port === 9 ? new Decision() : answer(asked["connect"]!)));
      kernel.networkHooks.add("accept", () => answer(asked["accept"]!));
    });
    const said: unknown[] = [];
    world.run(function* (g) {
      const listener = yield* g.sys("socket", AF_INET, STREAM, 0);
      yield* g.sys("bind", listener, A, internet(g, A, 0));
      yield* g.sys("listen", listener, 5);
      const port = yield* portOf(g, listener);
      const late = yield* g.sys("socket", AF_INET, STREAM | SOCK_NONBLOCK, 0);
      said.push(yield* g.sys("connect", late, A, internet(g, A, 9)));
      const client = yield* g.sys("socket", AF_INET, STREAM, 0);
      said.push(yield* g.sys("connect", client, A, internet(g, A, port)));
      yield* write(g, client, "hello");
      const server = yield* g.sys("accept4", listener, 0, 0, 0);
      said.push(yield* read(g, server));
      said.push(yield* g.sys("connect", late, A, internet(g, A, 9)));
    });
    expect(said).toEqual([-EINPROGRESS, 0, "hello", -ECONNRESET]);
    for (const [first, second] of Object.values(asked) as [number, number][]) expect(second).toBeGreaterThan(first);
  } finally {
    GuestWorld.moveEvery = 0;
  }
});
