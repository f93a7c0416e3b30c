/** Containers that join the sandbox of another (row 17). */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitChild } from "../../native/host.ts";
import multicontainer from "../../plugins/multicontainer/index.ts";
import { MESSAGES, RuntimeError } from "../errors.ts";
import type { FoundSandbox, HostEvents, Plugin } from "../plugin.ts";
import { ControlError } from "../sandbox.ts";
import { Bench } from "../testing.ts";
import type { Containers } from "./lifecycle.ts";
import { descendants, isAlive, processRef, readStat } from "./process-ref.ts";
import type { Metadata } from "./store.ts";

let bench: Bench;
let containers: Containers;
/** Makes the hook of an event fail. */
let failing: Partial<Record<keyof HostEvents, string>>;
/** What a plugin of somebody else answers to sandbox:find. */
let found: FoundSandbox | undefined;

const other: Plugin = {
  name: "other",
  host(host) {
    host.on("sandbox:find", () => found);
    for (const name of ["container:create-runtime", "container:starting", "container:created"] as const)
      host.on(name, ({ container }: { container: { id: string } }) => {
        if (failing[name] !== undefined && container.id !== "pod") throw new RuntimeError("hook", failing[name]);
      });
  },
};

beforeEach(async () => {
  bench = new Bench();
  failing = {};
  found = undefined;
  containers = await bench.open(multicontainer, other);
});
afterEach(() => bench.close());

const CRI = { type: "io.kubernetes.cri.container-type", sandbox: "io.kubernetes.cri.sandbox-id" };
const sandboxSpec = { annotations: { [CRI.type]: "sandbox", [CRI.sandbox]: "pod" } };
const joins = (id = "pod", more: object = {}) => ({
  annotations: { [CRI.type]: "container", [CRI.sandbox]: id },
  ...more,
});
const namespaces = (...list: { type: string; path?: string }[]) => ({ linux: { namespaces: list } });
async function create(id: string, spec: object, more: object = {}) {
  bench.writeSpec(spec);
  await containers.create({ id, bundle: bench.bundle, detached: true, ...more });
}
const createPod = () => create("pod", sandboxSpec);
const pod = () => [...bench.launcher.sandboxes.values()][0]!;
const status = (id: string) => containers.get(id).status;
const metadata = (id: string): Metadata => JSON.parse(readFileSync(join(bench.root, id, "meta.json"), "utf8"));
const overwrite = (id: string, changes: object) =>
  writeFileSync(join(bench.root, id, "meta.json"), JSON.stringify({ ...metadata(id), ...changes }));
const requests = () => pod().requests.map(({ method, params }) => `${method} ${(params as { id: string }).id}`);
async function exitCode(waiter: number): Promise<number> {
  while (readStat(waiter)?.state !== "Z") await Bun.sleep(1);
  const out = new Int32Array(2);
  expect(waitChild(waiter, 0, out)).toBe(1);
  return (out[1]! >> 8) & 0xff;
}
/** Waiters of this process that have not ended. */
const waiters = () =>
  descendants(process.pid).filter(
    (pid) => isAlive(processRef(pid)) && readFileSync(`/proc/${pid}/cmdline`, "utf8") === "runts-waiter\0",
  );
/** Of a joiner that failed: the pod is as it was. */
const podAlone = () => {
  expect(readdirSync(bench.root)).toEqual(["pod"]);
  expect(bench.launcher.sandboxes.size).toBe(1);
  expect(isAlive(pod().ref)).toBe(true);
  expect(waiters()).toEqual([]);
};

describe("a container that joins", () => {
  test("is added to the sandbox that is there, and a process of its own stands for it", async () => {
    await createPod();
    const pidFile = join(bench.directory, "pid");
    await create("c", joins(), { pidFile });
    expect(bench.launcher.sandboxes.size).toBe(1);
    const [first, second] = pod().containers;
    expect([first!.id, first!.waiter]).toEqual(["pod", null]);
    expect([second!.id, second!.stateDirectory]).toEqual(["c", join(bench.root, "c")]);
    expect(second!.waiter).toBeGreaterThan(2);
    expect(requests()).toEqual(["commit pod", "commit c"]);
    const { pid, sandboxId, sandboxPid, state } = containers.get("c");
    expect([sandboxId, sandboxPid]).toEqual(["pod", pod().ref.pid]);
    expect(state).toMatchObject({ status: "created", pid });
    expect(readFileSync(pidFile, "utf8")).toBe(String(pid));
    expect(waiters()).toEqual([pid]);
    expect(readdirSync(`/proc/${pid}/fd`)).toEqual(["0"]);
  });
  test("ends with its code, and the sandbox and the others live on; it can be made anew", async () => {
    await createPod();
    for (const id of ["a", "b"]) await create(id, joins());
    for (let code = 1; code <= 3; code++) {
      await containers.start("a");
      const { pid } = containers.get("a");
      const waiting = containers.wait("a");
      await pod().end("a", { exitCode: code, signal: 0 });
      expect(await waiting).toEqual({ exitCode: code, signal: 0 });
      expect(await exitCode(pid)).toBe(code);
      expect([status("a"), status("b"), status("pod")]).toEqual(["stopped", "created", "created"]);
      expect(containers.get("a").pid).toBe(0);
      expect(await containers.wait("a")).toEqual({ exitCode: code, signal: 0 });
      await expect(containers.start("a")).rejects.toThrow(MESSAGES.stoppedStart);
      await containers.delete("a", false);
      expect(pod().requests.map((each) => each.method)).not.toContain("destroy");
      await create("a", joins());
    }
    expect(bench.log.lines).toEqual([]);
  });
  test("each command names it, and goes by its own directory", async () => {
    await createPod();
    await create("c", joins());
    pod().requests.length = 0;
    pod().answers.processes = () => ({ processes: [] });
    await containers.start("c");
    await containers.exec("c", {
      process: { cwd: "/", args: ["ls"], user: { uid: 0, gid: 0 } },
      stdio: [0, 1, 2],
      detached: true,
      ignorePaused: false,
    });
    await containers.pause("c");
    expect([status("c"), status("pod")]).toEqual(["paused", "created"]);
    await containers.resume("c");
    await containers.update("c", { pids: { limit: 5 } });
    await containers.processes("c");
    await containers.stats(containers.get("c"));
    await containers.kill("c", 15);
    await containers.kill("c", 10, { all: true });
    const verbs = ["start", "exec", "pause", "resume", "update", "processes", "stats", "signal", "signal"];
    expect(requests()).toEqual(verbs.map((verb) => `${verb} c`));
    expect(metadata("pod").spec.linux?.resources).toBeUndefined();
  });
  test("KILL ends it alone", async () => {
    await createPod();
    await create("c", joins());
    await containers.start("c");
    const { pid } = containers.get("c");
    await containers.kill("c", 9);
    expect(await exitCode(pid)).toBe(137);
    expect([status("c"), status("pod")]).toEqual(["stopped", "created"]);
    expect(await containers.wait("c")).toEqual({ exitCode: 137, signal: 9 });
    await expect(containers.kill("c", 9)).rejects.toThrow(MESSAGES.notRunning);
    await containers.kill("c", 9, { all: true });
  });
  test("whose waiter was killed has ended", async () => {
    await createPod();
    await create("c", joins());
    process.kill(containers.get("c").pid, "SIGKILL");
    while (status("c") !== "stopped") await Bun.sleep(1);
    expect(await containers.wait("c")).toEqual({ exitCode: 137, signal: 9 });
    expect(isAlive(pod().ref)).toBe(true);
    await containers.delete("c", false);
    expect(existsSync(join(bench.root, "c"))).toBe(false);
  });
});

describe("one that ends between the look and the question", () => {
  beforeEach(async () => {
    await createPod();
    await create("c", joins());
    await containers.start("c");
  });
  const endsAt = (method: "wait" | "signal" | "exec" | "pause") => {
    pod().answers[method] = async () => {
      await pod().end("c", { exitCode: 3, signal: 0 });
      throw new ControlError('there is no container "c" in this sandbox', 3);
    };
  };
  test("wait: its status", async () => {
    endsAt("wait");
    expect(await containers.wait("c")).toEqual({ exitCode: 3, signal: 0 });
  });
  test("others: it does not run", async () => {
    endsAt("signal");
    await expect(containers.kill("c", 15)).rejects.toThrow(MESSAGES.notRunning);
  });
  test("and a process that is not there is another matter", async () => {
    pod().answers.signal = () => {
      throw new ControlError("no such process", 3);
    };
    await expect(containers.kill("c", 15, { pid: 7 })).rejects.toThrow("no such process");
  });
});

describe("which sandbox is said by annotations", () => {
  const families: [string, object, object][] = [
    ["containerd", sandboxSpec.annotations, joins().annotations],
    [
      "CRI-O",
      { "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.SandboxID": "pod" },
      { "io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": "pod" },
    ],
    [
      "Podman",
      { "io.container.manager": "libpod" },
      {
        "io.container.manager": "libpod",
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.SandboxID": "pod",
      },
    ],
  ];
  // Podman: a pod that shares nothing has no sandbox.
  const linux = { namespaces: [{ type: "ipc", path: "/proc/self/ns/ipc" }] };
  for (const [name, sandbox, container] of families)
    test(name, async () => {
      await create("pod", { annotations: sandbox });
      await create("c", { annotations: container, linux });
      expect(pod().containers.map(({ id }) => id)).toEqual(["pod", "c"]);
    });
  test("without: one of its own", async () => {
    await createPod();
    await create("c", {});
    expect(bench.launcher.sandboxes.size).toBe(2);
    expect(containers.get("c").sandboxId).toBe("c");
    expect(bench.log.lines).toEqual([]);
  });
  test("by another plugin, which also says what is shared", async () => {
    await create("pod", {});
    found = { id: "pod", share: { ipc: null } };
    await create("c", {});
    expect(pod().containers[1]!.share).toEqual({ pid: "pod", ipc: null, uts: "pod" });
  });
});

test("without the plugin a container gets a sandbox of its own, with a warning", async () => {
  await bench.close();
  bench = new Bench();
  containers = await bench.open();
  await createPod();
  await create("c", joins("pod", namespaces({ type: "pid", path: `/proc/${process.pid}/ns/pid` })));
  expect(bench.launcher.sandboxes.size).toBe(2);
  expect(bench.log.lines).toEqual([
    "warning: no plugin can join the sandbox pod: the container gets a sandbox of its own",
    "warning: linux.namespaces.0: a guest kernel cannot join the host's pid namespace, it has its own",
  ]);
});

describe("a sandbox that cannot be joined is an error that says which and why", () => {
  const refused = async (spec: object, message: string, more: object = {}) => {
    const before = readdirSync(bench.root);
    const standing = waiters();
    const error = await create("c", spec, more).catch((each: unknown) => each);
    expect((error as { message: string; cause?: Error }).message).toContain(message);
    expect(readdirSync(bench.root)).toEqual(before);
    expect(waiters()).toEqual(standing);
  };
  test("not there", async () => {
    await createPod();
    await refused(joins("nobody"), "cannot join the sandbox nobody: it does not exist");
  });
  test("no id at all", async () => {
    await createPod();
    const error = await create("c", joins("../pod")).catch((each: unknown) => each);
    expect(((error as Error).cause as Error).message).toContain(MESSAGES.invalidId);
    podAlone();
  });
  test("itself", async () => {
    await createPod();
    found = { id: "c" };
    await refused({}, "cannot join the sandbox c: it is the container itself");
  });
  test("stopped", async () => {
    await createPod();
    await pod().kill();
    await refused(joins(), "cannot join the sandbox pod: it has stopped");
  });
  test("still being made", async () => {
    await createPod();
    overwrite("pod", { status: "creating" });
    const locked = await containers.store.lock("pod");
    await refused(joins(), "cannot join the sandbox pod: it is still being made");
    locked.unlock();
  });
  test("no sandbox container by its annotations", async () => {
    await create("pod", {});
    const error = await create("c", joins()).catch((each: unknown) => each);
    expect(((error as Error).cause as Error).message).toBe(
      "container pod, named as its sandbox, is none by its annotations",
    );
    podAlone();
  });
  test("one that has joined itself", async () => {
    await createPod();
    await create("a", joins());
    found = { id: "a" };
    await refused({}, "cannot join the sandbox a: that container lives in the sandbox pod itself");
  });
  test("of another platform", async () => {
    await createPod();
    overwrite("pod", { platform: "ptrace" });
    Object.assign(bench.context.globals, { platform: "fake" });
    await refused(joins(), "cannot join the sandbox pod: it runs on the platform ptrace, and fake is asked for");
    // Who asks for none takes what is there.
    Object.assign(bench.context.globals, { platform: undefined });
    await create("c", joins());
    expect(metadata("c").platform).toBe("ptrace");
  });
  test("made by an older version", async () => {
    await createPod();
    overwrite("pod", { format: 1 });
    await refused(joins(), "cannot join the sandbox pod: it was made by an older version of runts");
    expect(status("pod")).toBe("created");
  });
});

describe("what is shared is said by linux.namespaces", () => {
  const shareOf = async (...list: { type: string; path?: string }[]) => {
    await create("c", joins("pod", namespaces(...list)));
    return pod().containers.at(-1)!.share;
  };
  const ofPid = (kind: string, pid: number) => ({ type: kind, path: `/proc/${pid}/ns/${kind}` });
  test("no path: its own", async () => {
    await createPod();
    expect(await shareOf({ type: "pid" }, { type: "ipc" }, { type: "uts" })).toEqual({
      pid: null,
      ipc: null,
      uts: null,
    });
  });
  test("not named: what is there already, the sandbox's", async () => {
    await createPod();
    expect(await shareOf({ type: "mount" })).toEqual({ pid: "pod", ipc: "pod", uts: "pod" });
  });
  test("that of the sandbox' process", async () => {
    await createPod();
    const { pid } = pod().ref;
    expect(await shareOf({ type: "pid" }, ofPid("ipc", pid), ofPid("uts", pid))).toEqual({
      pid: null,
      ipc: "pod",
      uts: "pod",
    });
  });
  test("that of another container's process", async () => {
    await createPod();
    await create("a", joins("pod", namespaces({ type: "pid" })));
    expect(await shareOf(ofPid("pid", containers.get("a").pid), { type: "ipc" }, { type: "uts" })).toEqual({
      pid: "a",
      ipc: null,
      uts: null,
    });
  });
  test("that of a process which is none of its containers' is an error", async () => {
    await createPod();
    await create("elsewhere", {});
    for (const pid of [process.pid, containers.get("elsewhere").pid])
      await expect(shareOf(ofPid("pid", pid))).rejects.toThrow(
        `cannot join the sandbox pod: the pid namespace /proc/${pid}/ns/pid is that of none of its containers`,
      );
    await containers.delete("elsewhere", true);
  });
  test("a file that holds it is the pod's", async () => {
    // Any path to a namespace will do that is not one by the number of a process.
    const pinned = "/proc/self/ns/uts";
    await create("pod", { ...sandboxSpec, ...namespaces({ type: "uts", path: pinned }) });
    bench.log.lines.length = 0;
    expect(await shareOf({ type: "pid" }, { type: "ipc" }, { type: "uts", path: pinned })).toEqual({
      pid: null,
      ipc: null,
      uts: "pod",
    });
    expect(bench.log.lines).toEqual([]);
    await containers.delete("c", true);
    await expect(shareOf({ type: "uts", path: "/proc/self/ns/ipc" })).rejects.toThrow(
      "the uts namespace /proc/self/ns/ipc is not that of the sandbox, which is /proc/self/ns/uts",
    );
    for (const path of ["/nowhere/uts", "/proc/self/status"])
      await expect(shareOf({ type: "uts", path })).rejects.toThrow(`there is no uts namespace ${path}`);
  });
});

describe("the network is the sandbox's", () => {
  const network = (path?: string) => namespaces({ type: "network", ...(path === undefined ? {} : { path }) });
  test("by the path that the sandbox was given, by that of a process of the pod, or not named", async () => {
    await create("pod", { ...sandboxSpec, ...network("/run/netns/of-the-pod") });
    await create("a", joins("pod", network("/run/netns/of-the-pod")));
    await create("b", joins("pod", network(`/proc/${pod().ref.pid}/ns/net`)));
    await create("c", joins("pod", network(`/proc/${containers.get("a").pid}/ns/net`)));
    await create("d", joins("pod", namespaces({ type: "pid" })));
    expect(pod().containers.length).toBe(5);
    expect(bench.log.lines).toEqual([]);
  });
  test("one of its own is a warning", async () => {
    await createPod();
    await create("c", joins("pod", network()));
    expect(pod().containers.length).toBe(2);
    expect(bench.log.lines).toEqual(["warning: the network is that of the sandbox pod, not one of its own"]);
  });
  test("that of somebody else is not shared with the pod: a sandbox of its own, with a warning", async () => {
    await createPod();
    await create("c", joins("pod", network("/run/netns/another")));
    expect(bench.launcher.sandboxes.size).toBe(2);
    expect(containers.get("c").sandboxId).toBe("c");
    expect(bench.log.lines[0]).toContain("/run/netns/another is not that of pod");
  });
});

test("ids are mapped as in the sandbox: a spec that wants it otherwise is told so", async () => {
  const mapped = (hostID: number, path?: string) => ({
    linux: {
      namespaces: [{ type: "user", ...(path === undefined ? {} : { path }) }],
      uidMappings: [{ containerID: 0, hostID, size: 10 }],
      gidMappings: [{ containerID: 0, hostID, size: 10 }],
    },
  });
  await create("pod", { ...sandboxSpec, ...mapped(1000) });
  await create("a", joins("pod", mapped(1000)));
  await create("b", joins("pod", mapped(9999, `/proc/${pod().ref.pid}/ns/user`)));
  expect(bench.log.lines).toEqual([]);
  await create("c", joins("pod", mapped(9999)));
  expect(bench.log.lines[0]).toContain("ids are mapped as in the sandbox pod");
});

describe("what fails on the way takes nothing of the pod with it", () => {
  beforeEach(createPod);
  test("the sandbox refuses it", async () => {
    bench.launcher.onAdd = () => {
      throw new ControlError("no such root", 2);
    };
    await expect(create("c", joins())).rejects.toThrow("no such root");
    podAlone();
  });
  test("a hook fails after it was added", async () => {
    failing["container:create-runtime"] = "no";
    await expect(create("c", joins())).rejects.toThrow("no");
    expect(requests().at(-1)).toBe("destroy c");
    podAlone();
  });
  test("the pid file cannot be written", async () => {
    await expect(create("c", joins(), { pidFile: "/proc/nope/pid" })).rejects.toThrow("cannot write the pid file");
    podAlone();
  });
  test("its program is not there", async () => {
    pod().answers.commit = () => {
      throw new ControlError('exec: "x": executable file not found in $PATH', 2);
    };
    await expect(create("c", joins())).rejects.toThrow("executable file not found");
    podAlone();
  });
  test("it cannot be started", async () => {
    await create("c", joins());
    pod().answers.start = () => {
      throw new ControlError('exec: "x": permission denied', 13);
    };
    await expect(containers.start("c")).rejects.toThrow("permission denied");
    podAlone();
  });
  test("a hook before its start fails", async () => {
    await create("c", joins());
    failing["container:starting"] = "no";
    await expect(containers.start("c")).rejects.toThrow("no");
    podAlone();
  });
  test("the sandbox does not answer: said with what can be done", async () => {
    pod().silent = true;
    await expect(create("c", joins())).rejects.toThrow("does not answer");
    podAlone();
  });
  test("the sandbox goes meanwhile", async () => {
    failing["container:created"] = "killed meanwhile";
    bench.launcher.onAdd = (sandbox) => void sandbox.kill();
    await expect(create("c", joins())).rejects.toThrow();
    expect(readdirSync(bench.root)).toEqual(["pod"]);
    expect(waiters()).toEqual([]);
  });
});

describe("a create that was killed", () => {
  /** As it would have left things; its descriptors are closed. */
  const leave = async (changes: object) => {
    await createPod();
    await create("c", joins());
    await pod().end("c", { exitCode: 137, signal: 9 });
    overwrite("c", { status: "creating", ...changes });
  };
  for (const [when, changes] of [
    ["before its sandbox was found", { sandbox: null, process: null, sandboxId: "c" }],
    ["before its waiter was started", { process: null }],
    ["later", {}],
  ] as const)
    test(`${when}: it reads as stopped, and can be deleted`, async () => {
      await leave(changes);
      while (waiters().length > 0) await Bun.sleep(1);
      expect(status("c")).toBe("stopped");
      await containers.delete("c", true);
      podAlone();
      expect(bench.log.lines).toEqual([]);
    });
});

describe("delete", () => {
  test("of a running one needs --force, and leaves the others alone", async () => {
    await createPod();
    for (const id of ["a", "b"]) await create(id, joins());
    await containers.start("a");
    await expect(containers.delete("a", false)).rejects.toThrow("that is not stopped: running");
    const { pid } = containers.get("a");
    await containers.delete("a", true);
    expect(requests().at(-1)).toBe("destroy a");
    expect(await exitCode(pid)).toBe(137);
    expect(readdirSync(bench.root)).toEqual(["b", "pod"]);
    expect(status("b")).toBe("created");
  });
  test("of a created one", async () => {
    await createPod();
    await create("a", joins());
    await containers.delete("a", false);
    podAlone();
  });
  test("of one whose command hangs", async () => {
    const { promise: hanging, resolve: letGo } = Promise.withResolvers<void>();
    await bench.registry.setUp([
      {
        plugin: {
          name: "slow",
          host: (host) =>
            host.on("container:create-runtime", ({ container }) => (container.id === "c" ? hanging : undefined)),
        },
        path: null,
        options: undefined,
      },
    ]);
    await createPod();
    const creating = create("c", joins());
    creating.catch(() => {});
    while (waiters().length === 0) await Bun.sleep(1);
    const deleting = containers.delete("c", true);
    while (waiters().length > 0) await Bun.sleep(1);
    letGo();
    await creating.catch(() => {});
    await deleting;
    podAlone();
  });
  test("of the sandbox' container ends all; the others can then be deleted", async () => {
    await createPod();
    for (const id of ["a", "b"]) await create(id, joins());
    await containers.start("a");
    await containers.start("pod");
    await expect(containers.delete("pod", false)).rejects.toThrow("that is not stopped: running");
    const pids = ["a", "b"].map((id) => containers.get(id).pid);
    // The fake's process is killed from outside.
    const dying = pod().kill();
    await containers.delete("pod", true);
    await dying;
    for (const pid of pids) expect(await exitCode(pid)).toBe(137);
    expect(containers.list().map(({ id, container }) => `${id} ${container?.status}`)).toEqual([
      "a stopped",
      "b stopped",
    ]);
    expect(await containers.wait("a")).toEqual({ exitCode: 137, signal: 9 });
    for (const id of ["a", "b"]) await containers.delete(id, false);
    expect(readdirSync(bench.root)).toEqual([]);
  });
});

describe("the sandbox' end is the end of all", () => {
  const both = async () => {
    await createPod();
    for (const id of ["a", "b"]) await create(id, joins());
    await containers.start("a");
    return ["a", "b"].map((id) => containers.get(id).pid);
  };
  const ended = async (pids: number[]) => {
    for (const pid of pids) expect(await exitCode(pid)).toBe(137);
    for (const id of ["a", "b", "pod"]) {
      expect(status(id)).toBe("stopped");
      expect(containers.get(id).pid).toBe(0);
    }
    for (const id of ["a", "b"]) expect(await containers.wait(id)).toEqual({ exitCode: 137, signal: 9 });
    for (const id of ["a", "b", "pod"]) await containers.delete(id, false);
    expect(readdirSync(bench.root)).toEqual([]);
    expect(bench.log.lines).toEqual([]);
  };
  test("by itself", async () => {
    const pids = await both();
    const waiting = containers.wait("a");
    await pod().exit({ exitCode: 0, signal: 0 });
    expect(await waiting).toEqual({ exitCode: 137, signal: 9 });
    expect(await containers.wait("pod")).toEqual({ exitCode: 0, signal: 0 });
    await ended(pids);
  });
  test("by force, without last words", async () => {
    const pids = await both();
    await pod().kill();
    await ended(pids);
  });
});

describe("a sandbox that does not answer", () => {
  beforeEach(async () => {
    await createPod();
    for (const id of ["a", "b"]) await create(id, joins());
    await containers.start("a");
    pod().silent = true;
  });
  test("commands say so, and what ends it", async () => {
    const message = 'does not answer; "runts kill pod KILL" or "runts delete --force pod" ends it';
    await expect(containers.kill("a", 15)).rejects.toThrow(message);
    await expect(containers.pause("a")).rejects.toThrow(message);
    await expect(containers.processes("a")).rejects.toThrow(message);
    await expect(containers.start("b")).rejects.toThrow(message);
    // What runs of it could not be stopped without a cgroup of its own.
    await expect(containers.kill("a", 9)).rejects.toThrow(message);
    expect([status("a"), status("b")]).toEqual(["running", "created"]);
  });
  test("delete --force does not hang, and says what may be left", async () => {
    const { pid } = containers.get("a");
    const before = Date.now();
    await containers.delete("a", true);
    expect(Date.now() - before).toBeLessThan(4000);
    expect(readStat(pid)?.state ?? "Z").toBe("Z");
    expect(bench.log.lines).toEqual([
      `warning: the sandbox process ${pod().ref.pid} does not answer: what may still run of a ends when it goes on; "runts delete --force pod" ends the sandbox`,
    ]);
    expect(readdirSync(bench.root)).toEqual(["b", "pod"]);
    expect([isAlive(pod().ref), status("b")]).toEqual([true, "created"]);
  });
});

test("what only a sandbox's start can turn on is said to have no effect", async () => {
  await createPod();
  Object.assign(bench.context.globals, { strace: "openat" });
  await create("c", joins("pod"));
  expect(bench.log.lines).toEqual(["warning: --strace has no effect here: the sandbox pod traces as it was started"]);
});

test("a pod's kernel does not get the weight of a program that sleeps", async () => {
  const linux = { resources: { cpu: { shares: 2, period: 100000 } } };
  await create("pod", { ...sandboxSpec, linux });
  await create("c", joins("pod", { linux }));
  await create("alone", { annotations: { "io.container.manager": "libpod" }, linux });
  const cpu = (id: string) => metadata(id).spec.linux!.resources!.cpu;
  expect(cpu("pod")).toEqual({ period: 100000 });
  for (const id of ["c", "alone"]) expect(cpu(id)).toEqual({ shares: 2, period: 100000 });
});

test("a directory that both mount stays a path of the host in each spec", async () => {
  const volume = join(bench.directory, "volume");
  mkdirSync(volume);
  const mounts = [{ destination: "/data", type: "bind", source: volume, options: ["rbind"] }];
  await create("pod", { ...sandboxSpec, mounts });
  await create("c", joins("pod", { mounts }));
  expect(pod().containers.map(({ spec }) => spec.mounts![0]!.source)).toEqual([volume, volume]);
});
