import { describe, expect, test } from "bun:test";
import { EAGAIN, ECHILD, EINVAL, EPERM, ESRCH } from "./abi/errno.ts";
import type { Container, Shared } from "./container.ts";
import { CgroupFs } from "./fs/cgroup/cgroup-fs.ts";
import { DevPts } from "./fs/devpts/devpts.ts";
import { namespaceLinks } from "./fs/proc/namespaces.ts";
import { ProcFs } from "./fs/proc/proc-fs.ts";
import type { ProcessFile } from "./fs/proc/process-entry.ts";
import { Tmpfs } from "./fs/tmpfs/tmpfs.ts";
import { kernelInfo, sendSignal } from "./signal/send.ts";
import { makeCredentials, NO_CAPS } from "./task/credentials.ts";
import { PidFile } from "./task/pidfd.ts";
import type { Process } from "./task/process.ts";
import type { Task } from "./task/task.ts";
import { wayTo } from "./testing/reachable.ts";
import { type Guest, GuestWorld, MEM, type Script } from "./testing/scripted-guest.ts";
import { TaskKit } from "./testing/task-kit.ts";
import { openMaster, PtyMasterFile } from "./tty/pty.ts";

const SIGKILL = 9;
const SIGTERM = 15;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_PASSCRED = 16;
const SO_PEERCRED = 17;
const SCM_CREDENTIALS = 2;

/** A world with a container "world", whose first process waits for `over`, and another, "other". */
class Two extends GuestWorld {
  readonly other: Container;
  over = false;
  ended: number | null = null;
  constructor(shares: (one: Container) => Shared = () => ({})) {
    super();
    this.other = this.kernel.addContainer("other", shares(this.container));
    this.other.onEnd = (status) => {
      this.ended = status;
      this.over = true;
    };
  }
  /** The other's program, beside a first one that does nothing, or `one`. */
  runBoth(other: Script, one: Script = (g) => this.waitForOther(g)): number {
    this.start(one);
    this.start(other, {}, this.other);
    return this.runAll();
  }
  *waitForOther(g: Guest): ReturnType<Script> {
    yield* g.spin(() => this.over);
  }
}
const sharedPids = (one: Container): Shared => ({ pids: one.pids });

/** Names of processes in a /proc that `task` has mounted, as it sees them. */
function listed(task: Task, proc = new ProcFs(task.kernel, task.pids)): string[] {
  const names: string[] = [];
  const file = proc.root.open({ mount: null as never, dentry: proc.rootDentry }, 0, task);
  if (typeof file === "number") throw new Error(`cannot open /proc: ${file}`);
  file.readdir(task, (name) => {
    if (/^\d/.test(name)) names.push(name);
    return true;
  });
  return names;
}

describe("pid spaces", () => {
  test("apart: both have a pid 1, and nobody has a number for the other's", () => {
    const world = new Two();
    const seen: unknown[] = [];
    world.runBoth(
      function* (g) {
        seen.push(yield* g.sys("getpid"), yield* g.sys("kill", 2, SIGKILL), yield* g.sys("kill", -1, SIGKILL));
        seen.push(yield* g.sys("getpgid", 2), yield* g.sys("getsid", 3), yield* g.sys("sched_getscheduler", 2));
        seen.push(yield* g.sys("pidfd_open", 2, 0), yield* g.sys("prlimit64", 2, 7, 0, 0));
        g.put64(MEM.scratch, MEM.free, 1);
        seen.push(yield* g.sys("process_vm_readv", 2, MEM.scratch, 1, MEM.scratch, 1, 0));
        seen.push(listed(g.task));
      },
      function* (g) {
        yield* g.fork(function* (c) {
          yield* c.spin(() => world.over);
        });
        seen.push(yield* g.sys("getpid"));
        yield* world.waitForOther(g);
        seen.push((yield* g.wait())[1]);
      },
    );
    const none = -ESRCH;
    expect(seen).toEqual([1, 1, none, none, none, none, none, none, none, none, ["1"], 0]);
    expect(world.ended).toBe(0);
  });

  test("shared: numbers are common, and so is what may be done by them", () => {
    const world = new Two(sharedPids);
    const seen: unknown[] = [];
    let child = 0;
    world.start(function* (g) {
      child = yield* g.fork(function* (c) {
        yield* c.sys("pause");
      });
      seen.push((yield* g.wait(child))[1]);
      yield* world.waitForOther(g);
    });
    const user = makeCredentials(1000, 1000, [], NO_CAPS);
    world.start(
      function* (g) {
        yield* g.spin(() => child !== 0);
        seen.push(yield* g.sys("getpid"), listed(g.task));
        const stranger = yield* g.fork(function* (c) {
          c.task.cred = user;
          seen.push(yield* c.sys("kill", child, SIGTERM), yield* c.sys("kill", 1, 0));
          c.put64(MEM.scratch, MEM.free, 1);
          seen.push(yield* c.sys("process_vm_readv", child, MEM.scratch, 1, MEM.scratch, 1, 0));
          yield* c.exit(0);
        });
        yield* g.wait(stranger);
        seen.push(yield* g.sys("getpgid", child), yield* g.sys("kill", child, SIGTERM));
      },
      {},
      world.other,
    );
    world.runAll();
    expect(seen).toEqual([2, ["1", "2", "3"], -EPERM, -EPERM, -EPERM, 1, 0, SIGTERM]);
  });

  test("a pidfd from another space is of no use", () => {
    const world = new Two();
    const seen: unknown[] = [];
    const first = world.start((g) => world.waitForOther(g));
    world.start(
      function* (g) {
        const fd = g.task.files.install(new PidFile(first.process, null, 0), false, 100);
        seen.push(yield* g.sys("pidfd_send_signal", fd, SIGKILL, 0, 0), yield* g.sys("pidfd_getfd", fd, 0, 0));
        const file = g.task.files.get(fd)!;
        seen.push(file.fdInfo(g.task), file.fdInfo(first));
      },
      {},
      world.other,
    );
    expect(world.runAll()).toBe(0);
    expect(seen).toEqual([-EINVAL, -EPERM, "Pid:\t0\nNSpid:\t0\n", "Pid:\t1\nNSpid:\t1\n"]);
  });

  test("a /proc of another space shows its own, opens nothing of them and changes nothing", () => {
    const world = new Two();
    const first = world.start((g) => world.waitForOther(g));
    const theirs = new ProcFs(world.kernel, first.pids);
    let seen: unknown[] = [];
    world.start(
      function* (g) {
        const self = theirs.root.lookup("self", g.task);
        const directory = theirs.root.lookup("1", g.task);
        if (typeof self === "number" || typeof directory === "number") throw new Error("no such entry");
        const environ = directory.lookup("environ", g.task);
        const root = directory.lookup("root", g.task);
        const adjust = directory.lookup("oom_score_adj", g.task);
        if (typeof environ === "number" || typeof root === "number") throw new Error("no such entry");
        seen = [
          self.readlink(g.task),
          environ.open({ mount: null as never, dentry: theirs.rootDentry }, 0, g.task),
          root.followMagic(g.task),
          (adjust as ProcessFile).write(g.task, "500"),
        ];
        yield* g.sys("getpid");
      },
      {},
      world.other,
    );
    world.runAll();
    expect(seen).toEqual([-2, -13, -13, -EPERM]);
    expect(first.process.oomScoreAdj).toBe(0);
  });

  test("numbers of namespaces are equal where they are shared", () => {
    const world = new Two((one) => ({ uts: one.uts }));
    const third = world.kernel.addContainer("third", { pids: world.other.pids, ipc: world.container.ipc });
    const tasks = [world.container, world.other, third].map((container) =>
      world.start(
        function* (g) {
          yield* g.sys("getpid");
        },
        {},
        container,
      ),
    );
    const names = (kind: string) => tasks.map((task) => namespaceLinks[kind]!.readlink(task, task));
    const groups = (kind: string) => names(kind).map((name) => names(kind).indexOf(name));
    expect(groups("pid")).toEqual([0, 1, 1]);
    expect(groups("uts")).toEqual([0, 0, 2]);
    expect(groups("ipc")).toEqual([0, 1, 0]);
    expect(groups("mnt")).toEqual([0, 1, 2]);
    expect(groups("cgroup")).toEqual([0, 1, 2]);
    expect(groups("net")).toEqual([0, 0, 0]);
    expect(names("pid")[0]).toBe("pid:[4026531836]");
  });
});

/** A sockaddr_un of an abstract name. */
function address(g: Guest, name: string): [at: number, length: number] {
  const bytes = Buffer.from(`\x01\0\0${name}`, "latin1");
  g.task.mm.writeBytes(MEM.free, bytes);
  return [MEM.free, bytes.length];
}

describe("what crosses over the network that both share", () => {
  /** What a server in one container sees of its peer in the other: SO_PEERCRED, and SCM_CREDENTIALS of a message. */
  function peers(shares: (one: Container) => Shared): { peer: number; message: number; uid: number } {
    const world = new Two(shares);
    const seen = { peer: -1, message: -1, uid: -1 };
    let listening = false;
    world.runBoth(
      function* (g) {
        yield* g.spin(() => listening);
        const fd = yield* g.sys("socket", AF_UNIX, SOCK_STREAM, 0);
        expect(yield* g.sys("connect", fd, ...address(g, "pod"))).toBe(0);
        expect(yield* g.sys("write", fd, MEM.scratch, 1)).toBe(1);
        expect(yield* g.sys("read", fd, MEM.scratch, 1)).toBe(0);
      },
      function* (g) {
        const server = yield* g.sys("socket", AF_UNIX, SOCK_STREAM, 0);
        expect(yield* g.sys("bind", server, ...address(g, "pod"))).toBe(0);
        yield* g.sys("listen", server, 1);
        g.put32(MEM.scratch, 1);
        yield* g.sys("setsockopt", server, SOL_SOCKET, SO_PASSCRED, MEM.scratch, 4);
        listening = true;
        const fd = yield* g.sys("accept", server, 0, 0);
        g.put32(MEM.scratch, 12);
        yield* g.sys("getsockopt", fd, SOL_SOCKET, SO_PEERCRED, MEM.free, MEM.scratch);
        seen.peer = g.u32(MEM.free);
        g.put64(MEM.free, MEM.free + 0x400, 1);
        g.put64(MEM.free + 0x100, 0, 0, MEM.free, 1, MEM.free + 0x200, 64, 0);
        expect(yield* g.sys("recvmsg", fd, MEM.free + 0x100, 0)).toBe(1);
        expect(g.u32(MEM.free + 0x20c)).toBe(SCM_CREDENTIALS);
        seen.message = g.u32(MEM.free + 0x210);
        seen.uid = g.u32(MEM.free + 0x214);
        yield* g.sys("close", fd);
        yield* world.waitForOther(g);
      },
    );
    return seen;
  }
  test("credentials have pid 0 for a process of another space", () => {
    expect(peers(() => ({}))).toEqual({ peer: 0, message: 0, uid: 0 });
  });
  test("and its number in a shared one", () => {
    expect(peers(sharedPids)).toEqual({ peer: 2, message: 2, uid: 0 });
  });
  test("the owner of a file's signals is nobody to those who have no number for it", () => {
    const world = new Two();
    const F_SETOWN = 8;
    const F_GETOWN = 9;
    const seen: number[] = [];
    let given: Task | null = null;
    let fd = -1;
    world.runBoth(
      function* (g) {
        yield* g.spin(() => given !== null);
        const file = given!.files.get(fd)!.retain();
        const mine = g.task.files.install(file, false, 100);
        seen.push(yield* g.sys("fcntl", mine, F_GETOWN, 0));
      },
      function* (g) {
        yield* g.sys("pipe2", MEM.scratch, 0);
        fd = g.u32(MEM.scratch);
        yield* g.sys("fcntl", fd, F_SETOWN, 1);
        seen.push(yield* g.sys("fcntl", fd, F_GETOWN, 0));
        given = g.task;
        yield* world.waitForOther(g);
      },
    );
    expect(seen).toEqual([1, 0]);
  });
});

describe("the end", () => {
  for (const [how, shares] of [
    ["of one with a pid space of its own", () => ({})],
    ["of one in a shared pid space", sharedPids],
  ] as const)
    test(`${how} takes its processes and nobody else`, () => {
      const world = new Two(shares);
      const seen: unknown[] = [];
      let running = 0;
      world.runBoth(
        function* (g) {
          for (let i = 0; i < 3; i++)
            yield* g.fork(function* (c) {
              running++;
              if (i === 0) yield* c.spin(() => false);
              yield* c.sys("pause");
            });
          yield* g.spin(() => running === 4);
          yield* g.sys("exit_group", 5);
        },
        function* (g) {
          const child = yield* g.fork(function* (c) {
            running++;
            yield* c.spin(() => world.over);
            yield* c.exit(6);
          });
          yield* world.waitForOther(g);
          seen.push(world.ended, world.other.living().length, (yield* g.wait(child))[1]);
          // Whoever was orphaned into this one's care can be waited for.
          for (;;) {
            const [pid] = yield* g.wait(-1);
            if (pid === -ECHILD) break;
          }
        },
      );
      expect(seen).toEqual([5 << 8, 0, 6 << 8]);
      expect(world.other.processes.size).toBe(0);
      expect(world.kernel.removeContainer(world.other)).toBe(0);
      expect(world.kernel.tasks.size).toBe(0);
    });

  test("of the init of a shared pid space takes everybody in it", () => {
    const world = new Two(sharedPids);
    let running = false;
    world.runBoth(
      function* (g) {
        running = true;
        yield* g.sys("pause");
      },
      function* (g) {
        yield* g.spin(() => running);
        yield* g.exit(0);
      },
    );
    expect(world.ended).toBe(SIGKILL);
    expect(world.container.pids.allocate()).toBe(0);
  });

  test("is told of processes that were brought in, each by its container", () => {
    const world = new Two(sharedPids);
    const seen: [string, number, number][] = [];
    for (const container of [world.container, world.other])
      container.onExit = (process: Process, status) => seen.push([container.id, process.pid, status]);
    world.start((g) => world.waitForOther(g));
    world.start(
      function* (g) {
        yield* g.spin(() => seen.length === 1);
      },
      {},
      world.other,
    );
    const brought = world.start(
      function* (g) {
        yield* g.exit(9);
      },
      {},
      world.other,
    );
    world.runAll();
    expect(seen).toEqual([["other", brought.process.pid, 9 << 8]]);
  });

  test("KILL from outside reaches a container's first process, TERM only what it handles", () => {
    const world = new Two();
    const first = world.start(
      function* (g) {
        yield* g.sys("pause");
      },
      { unkillable: true },
      world.other,
    );
    world.start(function* (g) {
      yield* g.sys("sched_yield");
      sendSignal(first.process, kernelInfo(SIGTERM));
      for (let i = 0; i < 5; i++) yield* g.sys("sched_yield");
      expect(world.ended).toBe(null);
      sendSignal(first.process, kernelInfo(SIGKILL));
      yield* world.waitForOther(g);
    });
    world.runAll();
    expect(world.ended).toBe(SIGKILL);
  });

  test("a removed container is reachable from nowhere, and can be made anew", () => {
    const world = new Two();
    const { kernel } = world;
    const fs = new Tmpfs(kernel, { mode: 0o755 });
    const mount = kernel.mounts.mount(fs, null, 0);
    if (typeof mount === "number") throw new Error("no mount");
    world.other.root = { mount, dentry: mount.root };
    world.other.cgroup.limits.memory = 1e9;
    world.other.memory.limit = 1e9;
    let first: Task | null = null;
    world.runBoth(
      function* (g) {
        first = g.task;
        yield* g.fork(function* (c) {
          g.put64(MEM.scratch, 0, 0, 100, 0);
          yield* c.sys("setitimer", 0, MEM.scratch, 0);
          yield* c.sys("pause");
        });
        const fd = yield* g.sys("socket", AF_UNIX, SOCK_STREAM, 0);
        yield* g.sys("bind", fd, ...address(g, "gone"));
        yield* g.sys("listen", fd, 1);
        yield* g.sys("pipe2", MEM.scratch, 0);
        yield* g.sys("epoll_create1", 0);
        yield* g.sys("exit_group", 0);
      },
      function* (g) {
        yield* world.waitForOther(g);
        expect(wayTo(kernel, world.other)).not.toBe(null);
        expect(kernel.removeContainer(world.other)).toBe(0);
        // Not what the last call has left in the scripts' own hands.
        yield* g.sys("getpid");
      },
    );
    const { platform: _, ...rest } = kernel;
    for (const gone of [world.other, first!, first!.process, world.other.pids, mount])
      expect(wayTo(rest, gone)).toBe(null);
    const again = kernel.addContainer("other");
    expect(again.pids.allocate()).toBe(1);
    expect(() => kernel.addContainer("other")).toThrow(/already/);
  });

  for (const [how, shares] of [
    ["with a pid space of its own", () => ({})],
    ["in a shared pid space", sharedPids],
  ] as const)
    test(`removed when it ends, and made anew three times, ${how}`, () => {
      const world = new Two(shares);
      const { kernel } = world;
      const statuses: number[] = [];
      const begin = (container: Container, code: number) => {
        container.onEnd = (status) => {
          statuses.push(status >> 8);
          expect(kernel.removeContainer(container)).toBe(0);
          if (code < 3) begin(kernel.addContainer("other", shares(world.container)), code + 1);
          else world.over = true;
        };
        world.start(
          function* (g) {
            yield* g.fork(function* (c) {
              yield* c.fork(function* (d) {
                yield* d.sys("pause");
              });
              yield* c.spin(() => false);
            });
            yield* g.sys("exit_group", code);
          },
          {},
          container,
        );
      };
      world.start((g) => world.waitForOther(g));
      begin(world.other, 1);
      world.runAll();
      expect(statuses).toEqual([1, 2, 3]);
      expect([...kernel.containers.keys()]).toEqual(["world"]);
    });

  test("one that lives is not removed", () => {
    const world = new Two();
    world.start((g) => world.waitForOther(g), {}, world.other);
    expect(world.kernel.removeContainer(world.other)).toBe(-ESRCH);
    expect(world.kernel.containers.get("other")).toBe(world.other);
  });
});

describe("of its own", () => {
  test("names", () => {
    const world = new Two();
    world.runBoth(function* (g) {
      g.task.mm.writeBytes(MEM.scratch, Buffer.from("changed"));
      expect(yield* g.sys("sethostname", MEM.scratch, 7)).toBe(0);
    });
    expect([world.container.uts.hostname, world.other.uts.hostname]).toEqual(["runts", "changed"]);
  });

  test("settings, but for those of the network", () => {
    const world = new Two((one) => ({ ipc: one.ipc }));
    for (const path of ["kernel/shmmax", "vm/swappiness", "net/core/somaxconn"]) world.other.setSysctl(path, "7");
    const seen = ["kernel/shmmax", "vm/swappiness", "net/core/somaxconn"].map((path) => world.container.sysctl(path));
    expect(seen).toEqual(["7", undefined, "7"]);
  });

  test("terminals, each counting from 0", () => {
    const world = new Two();
    const tasks = [world.container, world.other].map((container) =>
      world.start((g) => world.waitForOther(g), {}, container),
    );
    const path = { mount: null as never, dentry: new Tmpfs(world.kernel).rootDentry };
    const masters = tasks.map((task) => openMaster(task.container.ptys, path, 2, task));
    for (const master of masters) expect(master).toBeInstanceOf(PtyMasterFile);
    expect(tasks.map(({ container }) => container.ptys.count)).toEqual([1, 1]);
    expect(world.container.ptys.get(0)).not.toBe(world.other.ptys.get(0));
    const pts = new DevPts(world.other);
    (masters[0] as PtyMasterFile).release();
    expect(world.container.ptys.count).toBe(0);
    expect(typeof pts.root.lookup("0", tasks[0]!)).toBe("object");
  });

  test("bounds on tasks", () => {
    const world = new Two(sharedPids);
    world.other.cgroup.limits.tasks = 2;
    const child: Script = function* (c) {
      yield* c.spin(() => world.over);
    };
    const seen: number[] = [];
    world.runBoth(
      function* (g) {
        const own = yield* g.fork(function* (c) {
          yield* c.sys("pause");
        });
        seen.push(Math.sign(own), yield* g.fork(child));
        const fs = new CgroupFs(world.other);
        const current = fs.root.lookup("pids.current", g.task) as unknown as { content(task: Task): string };
        expect(current.content(g.task)).toBe("2\n");
      },
      function* (g) {
        for (let i = 0; i < 3; i++) seen.push(Math.sign(yield* g.fork(child)));
        yield* world.waitForOther(g);
      },
    );
    expect(seen.filter((n) => n === 1)).toHaveLength(4);
    expect(seen).toContain(-EAGAIN);
    expect([world.container.cgroup.tasksRefused, world.other.cgroup.tasksRefused]).toEqual([0, 1]);
  });

  test("room for a few tasks, whatever the other takes", () => {
    const { kernel, container } = new TaskKit();
    const other = kernel.addContainer("other");
    const fill = (count: number) => {
      while (kernel.tasks.size < count) kernel.tasks.add({} as Task);
    };
    container.tasks = 3000;
    fill(3839);
    expect([kernel.fullFor(container), kernel.fullFor(other)]).toEqual([false, false]);
    fill(3840);
    expect([kernel.fullFor(container), kernel.fullFor(other)]).toEqual([true, false]);
    fill(4096);
    expect([kernel.fullFor(container), kernel.fullFor(other)]).toEqual([true, true]);
  });

  test("all tasks for a container that is alone", () => {
    const { kernel, container } = new TaskKit();
    container.tasks = 4000;
    while (kernel.tasks.size < 4095) kernel.tasks.add({} as Task);
    expect(kernel.fullFor(container)).toBe(false);
  });

  test("bounds on memory: who is over it loses a process of its own", () => {
    const world = new Two();
    const seen: unknown[] = [];
    world.runBoth(
      function* (g) {
        world.other.memory.limit = 4096;
        yield* g.sys("pause");
      },
      function* (g) {
        yield* world.waitForOther(g);
        seen.push(world.ended, "alive");
      },
    );
    expect(seen).toEqual([SIGKILL, "alive"]);
    expect(world.log.join("")).toMatch(/out of memory/);
  });

  test("counts per user", () => {
    const world = new Two();
    const counts: unknown[] = [];
    world.runBoth(
      function* (g) {
        yield* g.spin(() => counts.length > 0);
        yield* g.exit(0);
      },
      function* (g) {
        yield* g.fork(function* (c) {
          yield* c.spin(() => world.over);
        });
        for (const { users } of [world.container, world.other]) counts.push(users.get(0)?.tasks);
        yield* world.waitForOther(g);
      },
    );
    expect(counts).toEqual([2, 1]);
  });
});

describe("freezing", () => {
  /** The other counts until it is told to stop; `one` freezes it. */
  function counting(one: (g: Guest, world: Two, count: () => number) => ReturnType<Script>, shares = sharedPids) {
    const world = new Two(shares);
    let count = 0;
    let enough = false;
    world.runBoth(
      function* (g) {
        while (!enough) {
          count++;
          yield* g.sys("sched_yield");
        }
        yield* g.exit(4);
      },
      function* (g) {
        yield* g.spin(() => count > 3);
        yield* one(g, world, () => count);
        enough = true;
        yield* world.waitForOther(g);
      },
    );
    return world;
  }
  function* turns(g: Guest) {
    for (let i = 0; i < 20; i++) yield* g.sys("sched_yield");
  }

  test("stops one container and not the other, until it is thawed", () => {
    const seen: unknown[] = [];
    const world = counting(function* (g, { other }, count) {
      other.freeze();
      yield* turns(g);
      const before = count();
      yield* turns(g);
      seen.push(count() - before);
      other.thaw();
      yield* turns(g);
      seen.push(count() > before);
    });
    expect(seen).toEqual([0, true]);
    expect(world.ended).toBe(4 << 8);
  });

  test("holds what is woken, and wakes it later", () => {
    const world = new Two();
    const seen: unknown[] = [];
    world.runBoth(
      function* (g) {
        g.put64(MEM.scratch, 0, 1e6);
        seen.push(yield* g.sys("nanosleep", MEM.scratch, 0));
        seen.push("woken");
      },
      function* (g) {
        yield* turns(g);
        world.other.freeze();
        g.put64(MEM.scratch, 0, 20e6);
        yield* g.sys("nanosleep", MEM.scratch, 0);
        seen.push("frozen");
        world.other.thaw();
        yield* world.waitForOther(g);
      },
    );
    expect(seen).toEqual(["frozen", 0, "woken"]);
  });

  test("KILL of one who shares the pid space ends a frozen process when it is thawed", () => {
    const seen: unknown[] = [];
    const world = counting(function* (g, { other }, count) {
      other.freeze();
      yield* turns(g);
      const before = count();
      seen.push(yield* g.sys("kill", other.first!.pid, SIGKILL));
      yield* turns(g);
      seen.push(other.status, count() - before);
      other.thaw();
      yield* g.spin(() => other.status !== null);
      seen.push(count() - before);
    });
    expect(seen).toEqual([0, null, 0, 0]);
    expect(world.ended).toBe(SIGKILL);
  });

  test("killAll thaws", () => {
    const world = counting(function* (g, { other }) {
      other.freeze();
      yield* turns(g);
      other.killAll();
      yield* g.spin(() => other.status !== null);
    });
    expect(world.ended).toBe(SIGKILL);
    expect(world.other.frozen).toBe(false);
  });
});
