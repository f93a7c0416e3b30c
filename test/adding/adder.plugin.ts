/**
 * Commands of the tests: sandboxes and containers by the launcher itself, without a container's life around them.
 *
 * `empty` launches a sandbox and adds nothing; `many` adds several containers to one; `bad` sends requests `add` that are
 * none. Each prints what it found, a line each, and "done" at the end.
 */
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { definePlugin } from "runts";

type Context = Parameters<
  Parameters<Parameters<Parameters<typeof definePlugin>[0]["host"] & object>[0]["command"]>[2]
>[0];

const SIGKILL = 9;
const PLAIN = { pid: null, ipc: null, uts: null };

function sandboxOptions(context: Context, id: string, platform: string) {
  return {
    id,
    platform,
    network: "sandbox" as const,
    outside: null,
    debug: false,
    strace: null,
    debugLog: null,
    plugins: context.plugins.sandboxPlugins(),
    earlyMounts: [],
    namespaces: { uidMappings: [], gidMappings: [], usualIds: "container" as "container" | "caller", network: null },
    terminal: null,
    cgroups: [],
    dieWithParent: true,
    clock: null,
  };
}

const specOf = (root: string, args: readonly string[], more: object = {}) => ({
  ociVersion: "1.0.2",
  root: { path: root },
  process: { cwd: "/", args: [...args], user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] },
  linux: { namespaces: [{ type: "pid" as const }, { type: "uts" as const }] },
  ...more,
});

/** Prints what does not hold. */
function check(what: string, holds: boolean, found: unknown = ""): void {
  if (!holds) console.log(`wrong: ${what}: ${typeof found === "string" ? found : JSON.stringify(found)}`);
}

async function refused(what: string, work: Promise<unknown>, words: RegExp): Promise<void> {
  const outcome = await work.then(
    () => "it was accepted",
    (error: Error) => error.message,
  );
  check(what, words.test(outcome), outcome);
}

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
/** The same when nothing comes or goes any more: spare stubs are made while nobody waits for them. */
async function settled(pid: number): Promise<number> {
  let last = descriptors(pid);
  for (let same = 0, tries = 0; same < 20 && tries < 500; tries++) {
    await Bun.sleep(10);
    const now = descriptors(pid);
    same = now === last ? same + 1 : 0;
    last = now;
  }
  return last;
}

async function empty(context: Context, [platform]: string[]): Promise<void> {
  const launcher = await context.launcher();
  const options = sandboxOptions(context, "empty", platform!);
  // As for `do`, so that user 0 of the sandbox is not who started it: then /proc tells who may look into it.
  options.namespaces.usualIds = "caller";
  // Its connection alone tells it that we are gone.
  options.dieWithParent = false;
  const sandbox = await launcher.launch(options);
  // The launch has been answered when the jail is closed; what is asked after that, too.
  await sandbox.request("ping", {});
  console.log(`sandbox ${sandbox.pid}`);
  readSync(0, Buffer.alloc(1));
  await sandbox.kill();
  console.log("done");
}

async function many(context: Context, [platform, dir]: string[]): Promise<void> {
  const host = await context.hostCalls();
  const launcher = await context.launcher();
  const root = join(dir!, "rootfs");
  const sandbox = await launcher.launch(sandboxOptions(context, "pod", platform!));
  const output = (name: string) => openSync(join(dir!, name), "w");

  /** The end of the pair that the container's host process would hold. */
  const add = async (
    id: string,
    args: readonly string[],
    pid: string | null,
    { descriptors = 0, ...more }: { descriptors?: number; [field: string]: unknown } = {},
  ) => {
    const pair = new Int32Array(2);
    if (id !== "pod") host.socketPair(pair);
    const state = mkdtempSync(join(dir!, `state-${id}-`));
    const out = output(`out-${id}`);
    const nothing = openSync("/dev/null", "r+");
    const { warnings } = await launcher.addContainer(sandbox, {
      id,
      bundle: dir!,
      spec: specOf(root, args, more),
      overlay: "none",
      stdio: [nothing, out, out, ...Array.from({ length: descriptors }, () => nothing)],
      terminal: false,
      stateDirectory: state,
      cgroups: [],
      share: { ...PLAIN, pid },
      waiter: id === "pod" ? null : pair[1]!,
    });
    check(`warnings of ${id}`, warnings.length === 0, warnings);
    for (const fd of [nothing, out]) closeSync(fd);
    if (id !== "pod") closeSync(pair[1]!);
    return { id, state, waiter: pair[0]! };
  };
  const told = (waiter: number): number => {
    const byte = Buffer.alloc(1);
    const n = readSync(waiter, byte);
    closeSync(waiter);
    return n === 1 ? byte[0]! : -1;
  };
  const exitOf = (state: string) => JSON.parse(readFileSync(join(state, "exit.json"), "utf8"));
  const pids = async (id: string) =>
    (await sandbox.request("processes", { id })).processes.map(({ pid }) => pid).sort((a, b) => a - b);
  const exec = async (id: string, command: string) => {
    const name = `exec-${id}`;
    const out = output(name);
    const nothing = openSync("/dev/null", "r+");
    const process = specOf(root, ["/bin/sh", "-c", command]).process;
    const params = { id, process, terminal: false, notify: false, ignorePaused: false };
    const { pid } = (await sandbox.request("exec", params, [nothing, out, out])) as { pid: number };
    for (const fd of [nothing, out]) closeSync(fd);
    const { exitCode } = (await sandbox.request("wait", { id, pid })) as { exitCode: number };
    return `${readFileSync(join(dir!, name), "utf8").trim()} (${exitCode})`;
  };

  const pod = await add("pod", ["/bin/sleep", "1000"], null, { hostname: "the-pod" });
  await sandbox.request("start", { id: "pod" });
  await sandbox.request("commit", { id: "pod" });
  // Of the host descriptors whatever one container has is gone with it: asked when two have come and gone.
  let one = await add("one", ["/bin/sleep", "1001"], "pod");
  // Volumes of all kinds, more descriptors than a message carries, a root that becomes read-only.
  mkdirSync(join(dir!, "volume"));
  for (const name of ["rw", "ro"]) writeFileSync(join(dir!, name), name);
  const bind = (source: string, destination: string, ...options: string[]) => ({
    source: join(dir!, source),
    destination,
    type: "bind",
    options: ["rbind", ...options],
  });
  const two = await add("two", ["/bin/sleep", "1002"], null, {
    hostname: "two",
    root: { path: root, readonly: true },
    mounts: [bind("volume", "/volume"), bind("rw", "/rw"), bind("ro", "/ro", "ro"), bind("volume", "/still", "ro")],
    descriptors: 100,
  });
  for (const id of ["one", "two"]) await sandbox.request("start", { id });
  for (const id of ["one", "two"]) await sandbox.request("commit", { id });

  check("pids of the pod", `${await pids("pod")}` === "1", await pids("pod"));
  check("pids of one, in the pod's space", `${await pids("one")}` === "2", await pids("one"));
  check("pids of two, in its own", `${await pids("two")}` === "1", await pids("two"));
  check("host name of two", (await exec("two", "hostname")) === "two (0)", await exec("two", "hostname"));
  const seen = await exec("one", "cat /proc/1/cmdline | tr '\\0' ' '; kill -0 1 && echo reached");
  check("one sees the pod's first process", seen === "/bin/sleep 1000 reached (0)", seen);
  const unseen = await exec("two", "cat /proc/1/cmdline | tr '\\0' ' '; ls -d /proc/2 2>&1");
  check("two sees itself alone", /^\/bin\/sleep 1002 ls: \/proc\/2/.test(unseen), unseen);
  const written = await exec(
    "two",
    "for to in /volume/made /rw /ro /still/made /made; do echo new 2>/dev/null >$to && echo $to; done; true",
  );
  check("what two can write", written === "/volume/made\n/rw (0)", written);
  check("a volume that is a single file", readFileSync(join(dir!, "rw"), "utf8") === "new\n");
  check("a volume", readdirSync(join(dir!, "volume")).join() === "made");
  const numbers = (await exec("two", "ls /proc/1/fd")).split("\n").length;
  check("descriptors that two was given", numbers === 103, numbers);
  await refused(
    "a process of another container of the same pid space",
    sandbox.request("signal", { id: "pod", signal: SIGKILL, pid: 2 }),
    /no such process/,
  );

  // Each has a control socket of its own, by which every one of them can be reached.
  for (const each of [one, two]) {
    const attached = await launcher.attach(each.state, sandbox);
    const { processes } = await attached.request("processes", { id: each.id });
    check(`${each.id} by its socket`, processes.length === 1, processes);
    attached.close();
  }

  // Pausing one leaves the others alone.
  await sandbox.request("pause", { id: "one" });
  check("another one runs meanwhile", (await exec("two", "echo yes")) === "yes (0)");
  await refused("a second pause", sandbox.request("pause", { id: "one" }), /paused already/);
  await sandbox.request("resume", { id: "one" });

  const before = await settled(sandbox.pid);
  for (let round = 0; round < 3; round++) {
    await refused("an id that is there", add("one", ["/bin/true"], null), /there is a container "one"/);
    const waiting = sandbox.request("wait", { id: "one" });
    await sandbox.request("signal", { id: "one", signal: SIGKILL });
    check("status of one that was killed", (await waiting).exitCode === 137, await waiting);
    check("its waiter", told(one.waiter) === 137);
    check("exit.json", exitOf(one.state).exitCode === 137, exitOf(one.state));
    await refused("what is asked of it then", sandbox.request("stats", { id: "one" }), /no container "one"/);
    check("the others", (await pids("two")).length === 1 && (await pids("pod")).length === 1);
    one = await add("one", ["/bin/sh", "-c", `exit ${round}`], round % 2 === 0 ? null : "pod");
    await sandbox.request("start", { id: "one" });
    check("the status of one that ended by itself", told(one.waiter) === round);
    one = await add("one", ["/bin/sleep", "1001"], "pod");
    await sandbox.request("start", { id: "one" });
  }
  const after = await settled(sandbox.pid);
  check("descriptors of the sandbox process", after === before, `${before}, ${after}`);

  // One whose program is not there, one that is destroyed before its start, one whose host process is killed.
  let gone = await add("gone", ["/bin/not-there"], null);
  await refused("a program that is not there", sandbox.request("commit", { id: "gone" }), /no such file/);
  await refused("its start", sandbox.request("start", { id: "gone" }), /no such file/);
  check("its waiter", told(gone.waiter) === -1);
  gone = await add("gone", ["/bin/sleep", "1"], "pod");
  await sandbox.request("destroy", { id: "gone" });
  check("the waiter of one that was destroyed", told(gone.waiter) === 137);
  gone = await add("gone", ["/bin/sleep", "1000"], null);
  await sandbox.request("start", { id: "gone" });
  const events = (await sandbox.request("adder.events", {})) as string[];
  const expected = [
    "gone: /bin/not-there",
    "gone is gone",
    "gone: /bin/sleep 1",
    "gone is gone",
    "gone: /bin/sleep 1000",
  ];
  check("what plugins hear", events.filter((each) => each.startsWith("gone")).join() === expected.join(), events);
  check("the first container is told of, too", events[0] === "pod: /bin/sleep 1000", events[0]);
  closeSync(gone.waiter);
  for (let tries = 0; tries < 500 && !existsSync(join(gone.state, "exit.json")); tries++) await Bun.sleep(10);
  check("one whose host process was killed", exitOf(gone.state).exitCode === 137);

  // One that was added by a connection that is gone before its commit.
  const attached = await launcher.attach(two.state, sandbox);
  const state = join(dir!, "state-left");
  mkdirSync(state);
  await launcher.addContainer(attached, {
    id: "left",
    bundle: dir!,
    spec: specOf(root, ["/bin/sleep", "1000"]),
    overlay: "memory",
    stdio: [],
    terminal: false,
    stateDirectory: state,
    cgroups: [],
    share: PLAIN,
    waiter: null,
  });
  await attached.request("start", { id: "left" });
  attached.close();
  for (let tries = 0; tries < 500 && !existsSync(join(state, "exit.json")); tries++) await Bun.sleep(10);
  check("one whose command has gone before its commit", exitOf(state).signal === SIGKILL);

  // The end of the root container is everybody's.
  await sandbox.request("signal", { id: "pod", signal: SIGKILL }).catch(() => {});
  check("the waiter of another one", told(two.waiter) === 137);
  // The last word of each container is written before the sandbox ends, in no order that others could rely on.
  const ended = await sandbox.exitStatus!();
  for (const { id, state } of [pod, one, two]) check(`exit.json of ${id}`, exitOf(state).exitCode === 137);
  check("the sandbox' own status", ended?.exitCode === 137, ended);
  console.log("done");
}

async function bad(context: Context, [platform, dir]: string[]): Promise<void> {
  const launcher = await context.launcher();
  const sandbox = await launcher.launch(sandboxOptions(context, "bad", platform!));
  const root = join(dir!, "rootfs");
  const good = {
    id: "good",
    bundle: dir!,
    spec: specOf(root, ["/bin/true"]),
    overlay: "none",
    terminal: false,
    share: PLAIN,
    descriptors: { binds: 0, state: false, cgroups: 0, stdio: 0, waiter: false },
  };
  const rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  const file = openSync("/dev/null", "r+");
  await sandbox.request("ping", {});
  const counts = (changes: object) => ({ ...good, descriptors: { ...good.descriptors, ...changes } });
  const unmountable = { ...good.spec, mounts: [{ destination: "/x", type: "tmpfs", options: ["size=none"] }] };
  // The first address space of all leaves a spare one behind, when there is nothing else to do.
  await refused("a first one", sandbox.request("add", { ...good, spec: unmountable }, [rootFd]), /mount on \/x/);
  const before = await settled(sandbox.pid);
  const leaks = async (what: string) => {
    const after = await settled(sandbox.pid);
    check(`descriptors after ${what}`, after === before, `${before}, ${after}`);
  };
  const add = async (what: string, params: unknown, fds: number[], words: RegExp) => {
    await refused(what, sandbox.request("add", params, fds), words);
    await leaks(what);
  };

  await add("nothing", {}, [], /"id" is not a container's id/);
  await add("a list", [], [rootFd], /no object/);
  await add("an unknown field", { ...good, rights: "all" }, [rootFd], /"rights" is not known/);
  await add("an unknown count", counts({ more: 1 }), [rootFd], /"descriptors" is not an object in which "more"/);
  await add("an empty id", { ...good, id: "" }, [rootFd], /"id" is not/);
  await add("an id that is a number", { ...good, id: 7 }, [rootFd], /"id" is not/);
  await add("an overlay that is none", { ...good, overlay: "disk" }, [rootFd], /"overlay" is not "none" or "memory"/);
  await add("a spec that is none", { ...good, spec: "spec" }, [rootFd], /"spec" is not a spec/);
  await add("mounts that are none", { ...good, spec: { mounts: [7] } }, [rootFd], /its mounts are none/);
  await add("a process that is none", { ...good, spec: { process: {} } }, [rootFd], /its process is none/);
  await add("no descriptor", good, [], /0 descriptors came, 1 were announced/);
  await add("too many descriptors", good, [rootFd, file, file], /3 descriptors came, 1 were announced/);
  await add("too few", counts({ stdio: 3 }), [rootFd, file], /2 descriptors came, 4 were announced/);
  await add("a negative count", counts({ stdio: -1 }), [rootFd], /"stdio" is not a count/);
  await add("volumes that the spec has not", counts({ binds: 1 }), [rootFd, file], /1 bind mounts, the spec has 0/);
  await add("a terminal without one", { ...good, terminal: true }, [rootFd], /a terminal without a descriptor/);
  await add(
    "the pid space of nobody",
    { ...good, share: { ...PLAIN, pid: "nobody" } },
    [rootFd],
    /the pid namespace of "nobody": there is no such container/,
  );
  await add("a root that is a device", counts({ stdio: 1 }), [file, file], /./);
  for (let round = 0; round < 5; round++)
    await add("a mount that cannot be", { ...good, spec: unmountable }, [rootFd], /mount on \/x/);
  // By several messages: as many as there may be, and one more.
  for (let sent = 0; sent < 4096; sent += 32)
    await sandbox.request(
      "descriptors",
      {},
      Array.from({ length: 32 }, () => file),
    );
  await refused("more descriptors than there may be", sandbox.request("descriptors", {}, [file]), /more than 4096/);
  await leaks("too many of them");
  for (const method of ["start", "wait", "stats", "commit", "pause", "processes"] as const)
    await refused(`${method} of nobody`, sandbox.request(method, { id: "nobody" }), /no container "nobody"/);
  await refused("a signal that is none", sandbox.request("signal", { id: "nobody", signal: 99 }), /"signal" is not/);
  await leaks("requests that name nobody");
  // After all of that a good one, of which nothing is left either.
  await sandbox.request("descriptors", {}, [rootFd]);
  await sandbox.request("add", counts({ stdio: 2 }), [file, file]);
  await sandbox.request("start", { id: "good" }).catch(() => {});
  check("the status of the good one", (await sandbox.exitStatus!())?.exitCode === 0);
  console.log("done");
}

export default definePlugin({
  name: "adder",
  host(host) {
    host.command("adder-empty <platform>", "a sandbox without a container", empty);
    host.command("adder-many <platform> <dir>", "several containers in a sandbox", many);
    host.command("adder-bad <platform> <dir>", "containers that are refused", bad);
  },
  sandbox(kernel) {
    const events: string[] = [];
    kernel.on("container", ({ id, spec }) => events.push(`${id}: ${spec.process?.args?.join(" ")}`));
    kernel.on("container-end", ({ id }) => events.push(`${id} is gone`));
    kernel.control("adder.events", () => events);
  },
});
