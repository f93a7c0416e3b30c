import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { dup, waitChild } from "../../native/host.ts";
import { MESSAGES, RuntimeError } from "../errors.ts";
import type { HostEvents, Plugin } from "../plugin.ts";
import { ControlError } from "../sandbox.ts";
import { Bench } from "../testing.ts";
import type { Containers } from "./lifecycle.ts";
import { isAlive, readStat } from "./process-ref.ts";

let bench: Bench;
let containers: Containers;
/** Events in the order of their coming. */
let events: string[];
/** Makes the hook of an event fail. */
let failing: Partial<Record<keyof HostEvents, string>>;

const recorder: Plugin = {
  name: "recorder",
  host(host) {
    const names: (keyof HostEvents)[] = [
      "container:creating",
      "container:create-runtime",
      "container:create-container",
      "container:created",
      "container:starting",
      "container:started",
      "container:paused",
      "container:resumed",
      "container:exec",
      "container:deleted",
    ];
    for (const name of names)
      host.on(name, (event) => {
        const { container } = event as { container: { status: string; sandboxPid: number } };
        events.push(`${name} ${container.status}`);
        if (failing[name] !== undefined) throw new RuntimeError("hook", failing[name]);
        return undefined as never;
      });
  },
};

beforeEach(async () => {
  bench = new Bench();
  events = [];
  failing = {};
  containers = await bench.open(recorder);
});
afterEach(() => bench.close());

const create = (id = "c", more: object = {}) =>
  containers.create({ id, bundle: bench.bundle, detached: true, ...more });
const status = (id = "c") => containers.get(id).status;
const requested = () => bench.launcher.last.requests.map((each) => each.method);
/** No process, no directory. */
const nothingLeft = () => {
  for (const sandbox of bench.launcher.sandboxes.values()) expect(isAlive(sandbox.ref)).toBe(false);
  expect(existsSync(bench.root) ? readdirSync(bench.root) : []).toEqual([]);
};

describe("create", () => {
  test("creating, then created; the sandbox is committed; owner and time are set (rows 11, 12)", async () => {
    const before = Date.now();
    await create();
    expect(events).toEqual([
      "container:creating creating",
      "container:create-runtime creating",
      "container:create-container creating",
      "container:created created",
    ]);
    expect(requested()).toEqual(["commit"]);
    const { metadata, pid } = containers.get("c");
    expect(status()).toBe("created");
    expect(pid).toBe(bench.launcher.last.ref.pid);
    expect(Date.parse(metadata.created)).toBeGreaterThanOrEqual(before);
    expect(metadata.owner).toBe(process.env["USER"] ?? "");
  });
  test("the pid file is written last: decimal, no newline, 0644 (row 14)", async () => {
    const pidFile = join(bench.directory, "pid");
    failing["container:created"] = "too late";
    await expect(create("c", { pidFile })).rejects.toThrow("too late");
    expect(existsSync(pidFile)).toBe(false);
    failing = {};
    await create("c", { pidFile });
    expect(readFileSync(pidFile, "utf8")).toBe(String(bench.launcher.last.ref.pid));
    expect(statSync(pidFile).mode & 0o777).toBe(0o644);
  });
  test("a pid file that cannot be written destroys the container (row 15)", async () => {
    await expect(create("c", { pidFile: "/proc/nope/pid" })).rejects.toThrow(
      "cannot write the pid file /proc/nope/pid",
    );
    nothingLeft();
  });
  test("twice: an error, the first is untouched (row 10)", async () => {
    await create();
    await expect(create()).rejects.toThrow(MESSAGES.alreadyExists);
    expect(bench.launcher.sandboxes.size).toBe(1);
    expect(status()).toBe("created");
  });
  for (const event of ["container:creating", "container:create-runtime", "container:create-container"] as const)
    test(`a failure of ${event} leaves nothing behind (row 16)`, async () => {
      failing[event] = "no";
      await expect(create()).rejects.toThrow("no");
      nothingLeft();
      // poststop hooks run if there was an environment to undo.
      expect(events.includes("container:deleted stopped")).toBe(event !== "container:creating");
    });
  test("a launch that fails leaves nothing behind (row 16)", async () => {
    bench.launcher.onLaunch = () => {
      throw new RuntimeError("sandbox", "no kernel today");
    };
    await expect(create()).rejects.toThrow("no kernel today");
    nothingLeft();
  });
  test("a program that is not there: Docker's words, found at create", async () => {
    bench.launcher.onLaunch = () => {
      throw new ControlError('exec: "true": executable file not found in $PATH', 2);
    };
    await expect(create()).rejects.toThrow(
      'unable to start container process: exec: "true": executable file not found in $PATH',
    );
    nothingLeft();
  });
  test("a terminal needs a console socket", async () => {
    bench.writeSpec({ process: { terminal: true, cwd: "/", args: ["true"] } });
    await expect(create()).rejects.toThrow(MESSAGES.needsConsoleSocket);
    nothingLeft();
  });
  test("a console socket needs a terminal", async () => {
    await expect(create("c", { consoleSocket: "/x" })).rejects.toThrow(MESSAGES.uselessConsoleSocket);
  });
  test("descriptors to preserve must be open", async () => {
    await expect(create("c", { preserveFds: 150 })).rejects.toThrow("is not open");
    nothingLeft();
  });
});

describe("bundles that are wrong are named before anything is made", () => {
  const cases: [string, () => void, string][] = [
    ["no config.json", () => rmSync(join(bench.bundle, "config.json")), "config.json not found"],
    ["broken JSON", () => writeFileSync(join(bench.bundle, "config.json"), "{"), "config.json: not valid JSON"],
    [
      "a wrong type deep inside",
      () => bench.writeSpec({ process: { cwd: "/", args: "sh" } }),
      "config.json: process.args: expected array, got string",
    ],
    [
      "deeper",
      () =>
        bench.writeSpec({
          linux: { seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: [1], action: "x" }] } },
        }),
      "linux.seccomp.syscalls.0.names.0: expected string, got number",
    ],
    ["no process (row 60)", () => bench.writeSpec({ process: undefined }), "process: is missing"],
    ["a missing rootfs", () => rmSync(join(bench.bundle, "rootfs"), { recursive: true }), "no such file or directory"],
    [
      "an unknown rlimit (row 61)",
      () => bench.writeSpec({ process: { cwd: "/", args: ["x"], rlimits: [{ type: "RLIMIT_X", soft: 1, hard: 1 }] } }),
      'process.rlimits.0.type: unknown limit "RLIMIT_X"',
    ],
    [
      "a relative hook",
      () => bench.writeSpec({ hooks: { poststop: [{ path: "x" }] } }),
      "hooks.poststop.0.path: must be an absolute path",
    ],
    [
      "a hook without time",
      () => bench.writeSpec({ hooks: { prestart: [{ path: "/x", timeout: 0 }] } }),
      "hooks.prestart.0.timeout: must be greater than zero",
    ],
  ];
  for (const [name, spoil, message] of cases)
    test(name, async () => {
      spoil();
      await expect(create()).rejects.toThrow(message);
      nothingLeft();
    });
  test("unknown properties are ignored, null is absent", async () => {
    bench.writeSpec({ future: { x: 1 }, hooks: null, linux: { resources: null, namespaces: null } });
    await create();
    expect(status()).toBe("created");
  });
  test("an unknown capability is a warning", async () => {
    bench.writeSpec({ process: { cwd: "/", args: ["x"], capabilities: { bounding: ["CAP_KILL", "CAP_WISH"] } } });
    await create();
    expect(bench.log.lines).toEqual(["warning: process.capabilities: ignoring unknown CAP_WISH"]);
    expect(bench.launcher.last.containers[0]!.spec.process!.capabilities!.bounding).toEqual(["CAP_KILL"]);
  });
});

describe("start", () => {
  test("running is saved after the sandbox has answered (row 22)", async () => {
    await create();
    let during = "";
    bench.launcher.last.answers.start = () => {
      during = status();
    };
    await containers.start("c");
    expect([during, status()]).toEqual(["created", "running"]);
    expect(events.slice(-2)).toEqual(["container:starting created", "container:started running"]);
  });
  test("twice (row 18)", async () => {
    await create();
    await containers.start("c");
    await expect(containers.start("c")).rejects.toThrow(MESSAGES.alreadyStarted);
    expect(status()).toBe("running");
  });
  test("after one that was killed on its way: it runs, and says so", async () => {
    await create();
    bench.launcher.last.answers.start = () => {
      throw new ControlError("the first process has been started already", 16);
    };
    await expect(containers.start("c")).rejects.toThrow(MESSAGES.alreadyStarted);
    expect(status()).toBe("running");
  });
  test("of a stopped one", async () => {
    await create();
    await bench.launcher.last.kill();
    await expect(containers.start("c")).rejects.toThrow(MESSAGES.stoppedStart);
  });
  test("a failing startContainer hook destroys the container", async () => {
    await create();
    failing["container:starting"] = "no";
    await expect(containers.start("c")).rejects.toThrow("no");
    nothingLeft();
  });
  test("a program that cannot be executed destroys it too", async () => {
    await create();
    bench.launcher.last.answers.start = () => {
      throw new ControlError('exec: "true": permission denied', 13);
    };
    await expect(containers.start("c")).rejects.toThrow('exec: "true": permission denied');
    nothingLeft();
  });
  test("poststart: a warning below OCI 1.3 (row 21)", async () => {
    await create();
    failing["container:started"] = "late";
    await containers.start("c");
    expect(bench.log.lines).toEqual(["warning: late"]);
    expect(status()).toBe("running");
  });
  test("poststart: an error from OCI 1.3 on, and the container goes (row 21)", async () => {
    bench.writeSpec({ ociVersion: "1.3.0" });
    await create();
    failing["container:started"] = "late";
    await expect(containers.start("c")).rejects.toThrow("late");
    nothingLeft();
  });
});

describe("status follows the sandbox (row 6)", () => {
  for (const stage of ["created", "running", "paused"])
    test(`${stage}, and the sandbox dies`, async () => {
      await create();
      if (stage !== "created") await containers.start("c");
      if (stage === "paused") await containers.pause("c");
      expect(status()).toBe(stage as never);
      await bench.launcher.last.kill();
      expect(status()).toBe("stopped");
      expect(containers.get("c").pid).toBe(0);
    });
  test("a create that was killed reads as stopped and can be deleted", async () => {
    await create();
    const path = join(bench.root, "c/meta.json");
    const metadata = JSON.parse(readFileSync(path, "utf8"));
    await bench.launcher.last.kill();
    for (const change of [{ status: "creating" }, { status: "creating", sandbox: null, process: null }]) {
      writeFileSync(path, JSON.stringify({ ...metadata, ...change }));
      expect(status()).toBe("stopped");
    }
    expect(await containers.delete("c", true)).toBe(true);
    nothingLeft();
  });
  test("one that is being made is creating for others", async () => {
    let seen = "";
    bench.launcher.onLaunch = () => {
      seen = status();
    };
    await create();
    expect(seen).toBe("creating");
  });
});

describe("kill", () => {
  test("passes signal and all on (row 70)", async () => {
    await create();
    await containers.kill("c", 10, { all: true });
    expect(bench.launcher.last.requests.at(-1)).toEqual({
      method: "signal",
      params: { id: "c", signal: 10, all: true },
      fds: [],
    });
  });
  test("a stopped container is an error, but not with --all (row 28)", async () => {
    await create();
    await bench.launcher.last.kill();
    await expect(containers.kill("c", 9)).rejects.toThrow(MESSAGES.notRunning);
    await containers.kill("c", 9, { all: true });
  });
  test("a signal that takes the sandbox before it has answered is a success", async () => {
    await create();
    bench.launcher.last.answers.signal = async () => {
      await bench.launcher.last.kill();
      throw new RuntimeError("sandbox", "gone");
    };
    await containers.kill("c", 9);
    expect(status()).toBe("stopped");
  });
  test("a sandbox that refuses is the error", async () => {
    await create();
    bench.launcher.last.answers.signal = () => {
      throw new ControlError("no such process", 3);
    };
    await expect(containers.kill("c", 9, { pid: 99 })).rejects.toThrow("no such process");
  });
  test("a missing container", async () => {
    await expect(containers.kill("nope", 9)).rejects.toThrow(MESSAGES.notFound);
  });
});

describe("pause and resume (row 27)", () => {
  beforeEach(() => create());
  test("from running and back", async () => {
    await containers.start("c");
    await containers.pause("c");
    expect(status()).toBe("paused");
    await expect(containers.pause("c")).rejects.toThrow(MESSAGES.notRunning);
    await containers.resume("c");
    expect(status()).toBe("running");
    await expect(containers.resume("c")).rejects.toThrow(MESSAGES.notPaused);
  });
  test("from created, back to created", async () => {
    await containers.pause("c");
    await containers.resume("c");
    expect(status()).toBe("created");
  });
});

describe("wait", () => {
  test("answers when the container ends", async () => {
    await create();
    await containers.start("c");
    const waiting = containers.wait("c");
    await bench.launcher.last.exit({ exitCode: 3, signal: 0 });
    expect(await waiting).toEqual({ exitCode: 3, signal: 0 });
  });
  test("answers afterwards too, from what the sandbox left", async () => {
    await create();
    await bench.launcher.last.exit({ exitCode: 0, signal: 15 });
    expect(await containers.wait("c")).toEqual({ exitCode: 0, signal: 15 });
  });
});

describe("exec (rows 25, 67)", () => {
  const exec = (more: object = {}) =>
    containers.exec("c", {
      process: { cwd: "/", args: ["ls"], user: { uid: 0, gid: 0 } },
      stdio: [0, 1, 2],
      detached: false,
      ignorePaused: false,
      ...more,
    });
  test("not in a stopped or paused container", async () => {
    await create();
    await containers.start("c");
    await containers.pause("c");
    await expect(exec()).rejects.toThrow("cannot exec in a paused container");
    await exec({ ignorePaused: true });
    await bench.launcher.last.kill();
    await expect(exec()).rejects.toThrow("cannot exec in a stopped container");
  });
  test("a program that is not there", async () => {
    await create();
    bench.launcher.last.answers.exec = () => {
      throw new ControlError('exec: "true": executable file not found in $PATH', 2);
    };
    await expect(exec()).rejects.toThrow('unable to start container process: exec: "true": executable file not found');
  });
  test("the pid file names a process that ends with the exit code that the sandbox sends", async () => {
    await create();
    const sandbox = bench.launcher.last;
    let channel = -1;
    sandbox.answers.exec = () => {
      channel = dup(sandbox.requests.at(-1)!.fds.at(-1)!);
      return { pid: 7 };
    };
    const pidFile = join(bench.directory, "pid");
    const { pid } = await exec({ detached: true, pidFile });
    const waiter = Number(readFileSync(pidFile, "utf8"));
    const state = () => readStat(waiter)?.state;
    expect(pid).toBe(7);
    expect(["R", "S"]).toContain(state()!);
    expect(readdirSync(`/proc/${waiter}/fd`)).toEqual(["0"]);
    writeSync(channel, new Uint8Array([42]));
    while (state() !== "Z") await Bun.sleep(1);
    const status = new Int32Array(2);
    expect(waitChild(waiter, 0, status)).toBe(1);
    expect(status[1]! >> 8).toBe(42);
    closeSync(channel);
  });
  test("the process ends with 137 when the sandbox is gone first", async () => {
    await create();
    const pidFile = join(bench.directory, "pid");
    await exec({ detached: true, pidFile });
    const waiter = Number(readFileSync(pidFile, "utf8"));
    while (readStat(waiter)?.state !== "Z") await Bun.sleep(1);
    const status = new Int32Array(2);
    waitChild(waiter, 0, status);
    expect(status[1]! >> 8).toBe(137);
  });
});

describe("delete", () => {
  test("of a running container needs --force (rows 36, 37)", async () => {
    await create();
    await containers.start("c");
    await expect(containers.delete("c", false)).rejects.toThrow(
      "cannot delete container c that is not stopped: running",
    );
    expect(status()).toBe("running");
    expect(await containers.delete("c", true)).toBe(true);
    nothingLeft();
    expect(events.at(-1)).toBe("container:deleted stopped");
  });
  test("of a paused one, too", async () => {
    await create();
    await containers.start("c");
    await containers.pause("c");
    await expect(containers.delete("c", false)).rejects.toThrow("that is not stopped: paused");
  });
  test("of a created one kills it", async () => {
    await create();
    await containers.delete("c", false);
    nothingLeft();
  });
  test("of a stopped one runs poststop (row 34)", async () => {
    await create();
    await bench.launcher.last.kill();
    await containers.delete("c", false);
    expect(events.at(-1)).toBe("container:deleted stopped");
    nothingLeft();
  });
  test("a failing poststop is a warning (row 34)", async () => {
    await create();
    failing["container:deleted"] = "meh";
    await containers.delete("c", false);
    expect(bench.log.lines).toEqual(["warning: meh"]);
    nothingLeft();
  });
  test("of a missing one: an error, but not with --force (row 38)", async () => {
    await expect(containers.delete("nope", false)).rejects.toThrow(MESSAGES.notFound);
    expect(await containers.delete("nope", true)).toBe(false);
  });
  test("twice is once (row 33)", async () => {
    await create();
    const results = await Promise.allSettled([containers.delete("c", true), containers.delete("c", true)]);
    expect(results.map((each) => each.status)).toEqual(["fulfilled", "fulfilled"]);
    nothingLeft();
  });
  test("with corrupt metadata needs --force", async () => {
    await create();
    await bench.launcher.last.kill();
    writeFileSync(join(bench.root, "c/meta.json"), "{");
    await expect(containers.delete("c", false)).rejects.toThrow("corrupt");
    expect(await containers.delete("c", true)).toBe(true);
    nothingLeft();
  });
  test("--force ends a create whose hook hangs", async () => {
    const { promise: hanging, resolve: letGo } = Promise.withResolvers<void>();
    await bench.registry.setUp([
      {
        plugin: { name: "slow", host: (host) => host.on("container:create-runtime", () => hanging) },
        path: null,
        options: undefined,
      },
    ]);
    const creating = create();
    creating.catch(() => {});
    while (!existsSync(join(bench.root, "c")) || bench.launcher.sandboxes.size === 0) await Bun.sleep(1);
    const deleting = containers.delete("c", true);
    await Bun.sleep(20);
    expect(isAlive(bench.launcher.last.ref)).toBe(false);
    letGo();
    await creating.catch(() => {});
    await deleting;
    nothingLeft();
  });
});

describe("list", () => {
  test("one that cannot be read does not hide the others (row 7)", async () => {
    expect(containers.list()).toEqual([]);
    await create("a");
    mkdirSync(join(bench.root, "b"));
    await create("c");
    const entries = containers.list();
    expect(entries.map(({ id, container }) => `${id} ${container?.status}`)).toEqual([
      "a created",
      "b undefined",
      "c created",
    ]);
    expect(entries[1]!.error!.message).toContain("cannot read the state of container b");
  });
});

test("update merges limits and tells the sandbox", async () => {
  bench.writeSpec({ linux: { resources: { memory: { limit: 50_000_000, swap: -1 }, pids: { limit: 5 } } } });
  await create();
  await containers.update("c", { memory: { limit: 100 * 1024 * 1024 } });
  expect(requested()).toEqual(["commit", "update"]);
  expect(containers.get("c").spec.linux!.resources).toEqual({
    memory: { limit: 100 * 1024 * 1024, swap: -1 },
    pids: { limit: 5 },
  });
});
