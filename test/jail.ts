/**
 * The jail as the host sees it, item by item as docs/security.md lists it: what the sandbox process (each of its threads)
 * and each stub (first, forked, spare) have and have not. The caller has all that should not be inherited: files, keys,
 * ignored signals, limits, a personality, a directory.
 */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withAdder } from "./adding.ts";
import { busyboxPath } from "./harness/packages.ts";
import { cleanEnv, killGroup, run } from "./harness/process.ts";
import { executable, inSandbox, isRoot, platforms, root } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";
import { currentUser, handOver, prefixed } from "./harness/user.ts";

/** A guest with threads, forked and executed children, and one that has a descriptor open for reading. */
const GUEST = `
import os, subprocess, threading, time
for i in range(3): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
if os.fork() == 0:
    time.sleep(100)
subprocess.Popen(["sleep", "100"])
open("/etc/passwd").read()
open("/mnt/file").read()
print("ready", flush=True)
time.sleep(100)
`;
/** What a caller may have about it. */
const CALLER = `cd /usr/share; umask 0; trap '' USR2 HUP; ulimit -c unlimited 2>/dev/null; exec 9</etc 8</etc/passwd
SECRET=1 exec setarch -R nice -n 3 "$@"`;

const CAPABILITIES = { files: 0x0800001fn, stubs: 0x00880020n };
/** Ids of sandboxes that root starts: see src/boot/identity.ts. */
const UNUSED_IDS = [0x70000000, 0x78000000] as const;

const text = (path: string): string => {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    return `(${(error as Error).message})`;
  }
};
const link = (path: string): string => {
  try {
    return readlinkSync(path);
  } catch (error) {
    return `(${(error as Error).message})`;
  }
};
const children = (pid: number): number[] =>
  readdirSync(`/proc/${pid}/task`)
    .flatMap((tid) => text(`/proc/${pid}/task/${tid}/children`).trim().split(" "))
    .filter((word) => /^\d+$/.test(word))
    .map(Number)
    .sort((a, b) => a - b);
/** Fields of /proc/PID/status. */
function status(path: string): (name: string) => string {
  const all = text(`${path}/status`);
  return (name) => new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(all)?.[1] ?? "(none)";
}
function stat(pid: number): { group: number; session: number; nice: number; policy: number } {
  const line = text(`/proc/${pid}/stat`);
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return { group: Number(fields[2]), session: Number(fields[3]), nice: Number(fields[16]), policy: Number(fields[38]) };
}
const limit = (pid: number, name: string): string =>
  new RegExp(`^${name}\\s+(\\w+)\\s+(\\w+)`, "m")
    .exec(text(`/proc/${pid}/limits`))
    ?.slice(1, 3)
    .join(" ") ?? "(none)";
/** Descriptors and their kinds. */
const openFiles = (pid: number): string =>
  readdirSync(`/proc/${pid}/fd`)
    .map((fd) => `${fd} ${link(`/proc/${pid}/fd/${fd}`).split(":")[0]}`)
    .join(", ");
const NAMESPACES = ["user", "mnt", "pid", "ipc", "uts", "net"];

/** Collects what is not as it should be. */
class Findings {
  readonly list: string[] = [];
  constructor(private readonly who: string) {}
  is(what: string, actual: unknown, expected: unknown): void {
    if (String(actual) !== String(expected)) this.list.push(`${this.who}: ${what} is ${actual}, expected ${expected}`);
  }
  that(what: string, holds: boolean, actual: unknown = ""): void {
    if (!holds) this.list.push(`${this.who}: not ${what}: ${actual}`);
  }
}

/** What stubs may have open: by platform, descriptor and kind. */
const STUB_DESCRIPTORS: Readonly<Record<string, string>> = {
  systrap: "3 socket, 4 anon_inode",
  ptrace: "3 socket",
};

interface Live {
  sandbox: number;
  stubs: number[];
}

/** Has a sandbox running while `look` looks. */
async function withSandbox(platform: string, look: (live: Live, dir: string) => Promise<string[]>): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), "runts-jail-"));
  writeFileSync(join(dir, "file"), "volume\n");
  handOver(dir);
  const command = inSandbox(platform, ["python3", "-c", GUEST], ["-v", `${dir}:/mnt`]);
  const child = Bun.spawn(prefixed(["/bin/bash", "-c", CALLER, "bash", ...command]), {
    env: cleanEnv,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  const timer = setTimeout(() => killGroup(child.pid), 60_000);
  try {
    const reader = child.stdout.getReader();
    const first = await reader.read();
    if (
      !Buffer.from(first.value ?? new Uint8Array())
        .toString()
        .startsWith("ready")
    )
      return fail(`the guest did not start: ${await new Response(child.stderr).text()}`);
    const sandbox = children(child.pid).at(-1);
    if (sandbox === undefined) return fail("the command has no child");
    // The spare address space is made when there is nothing else to do.
    for (let tries = 0; tries < 100 && children(sandbox).length < 5; tries++) await Bun.sleep(20);
    // The last program is still being loaded: its stub has a file open for each mapping, for as long as that takes.
    const busy = () => children(sandbox).some((pid) => openFiles(pid) !== STUB_DESCRIPTORS[platform]);
    for (let tries = 0; tries < 200 && busy(); tries++) await Bun.sleep(20);
    const problems = await look({ sandbox, stubs: children(sandbox) }, dir);
    return problems.length === 0 ? pass : fail(problems.slice(0, 30).join("\n"));
  } finally {
    clearTimeout(timer);
    killGroup(child.pid);
    await child.exited;
    rmSync(dir, { recursive: true, force: true });
  }
}

const ids = (pid: number): string[] => ["Uid", "Gid"].map((name) => status(`/proc/${pid}`)(name));
const four = (id: number | string): string => Array.from({ length: 4 }, () => id).join("\t");

function sandboxProcess({ sandbox, stubs }: Live): string[] {
  const it = new Findings("sandbox process");
  const user = currentUser();
  const [uid, gid] = ids(sandbox);
  const own = Number(uid!.split("\t")[0]);
  if (user !== undefined) {
    it.is("Uid", uid, four(user.uid));
    it.is("Gid", gid, four(user.gid));
  } else {
    it.that("of an unused id", own >= UNUSED_IDS[0] && own < UNUSED_IDS[1], uid);
    it.is("Uid", uid, four(own));
    it.is("Gid", gid, four(own));
    it.is("Groups", status(`/proc/${sandbox}`)("Groups").trim(), "");
  }
  const apart = ids(stubs[0]!)[0] !== uid;
  it.that("of other ids than its stubs", apart || user !== undefined, uid);
  const capabilities = CAPABILITIES.files | (apart ? CAPABILITIES.stubs : 0n);
  const threads = readdirSync(`/proc/${sandbox}/task`);
  it.that("of several threads", threads.length > 1, threads.length);
  for (const tid of threads) {
    const path = `/proc/${sandbox}/task/${tid}`;
    const thread = new Findings(`sandbox process, thread ${text(`${path}/comm`).trim()}`);
    const field = status(path);
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
      thread.is(set, BigInt(`0x${field(set)}`).toString(16), capabilities.toString(16));
    thread.is("Uid", field("Uid"), uid);
    thread.is("NoNewPrivs", field("NoNewPrivs"), 1);
    thread.is("Seccomp", field("Seccomp"), 2);
    thread.is("Seccomp_filters", field("Seccomp_filters"), 1);
    thread.is("root", link(`${path}/root`), "/");
    thread.is("directory", link(`${path}/cwd`), "/");
    it.list.push(...thread.list);
  }
  for (const name of NAMESPACES)
    it.that(`in a ${name} namespace of its own`, link(`/proc/${sandbox}/ns/${name}`) !== link(`/proc/self/ns/${name}`));
  it.is("NSpid", status(`/proc/${sandbox}`)("NSpid").split("\t").at(-1), 1);
  const mounts = text(`/proc/${sandbox}/mountinfo`).trim().split("\n");
  const kinds = mounts.map((line) => {
    const [left, right] = line.split(" - ");
    const fields = left!.split(" ");
    return `${fields[4]} ${fields[5]} ${right!.split(" ")[0]} ${right!.split(" ")[2]!.split(",").slice(1).sort().join(",")}`;
  });
  it.that("with two mounts", kinds.length === 2, kinds.join("; "));
  it.that("on a read-only root", /^\/ ro,nosuid,nodev,noexec\S* tmpfs /.test(kinds[0] ?? ""), kinds[0]);
  it.is("/proc", kinds[1], "/proc ro,nosuid,nodev,noexec,relatime proc hidepid=ptraceable,subset=pid");
  const environment = text(`/proc/${sandbox}/environ`).split("\0").filter(Boolean);
  it.that(
    "without the caller's environment",
    environment.every((each) => /^(PATH|BUN_JSC_)/.test(each)),
    environment,
  );
  it.that("undumpable", statSync(`/proc/${sandbox}/environ`).uid !== own || own === 0, own);
  it.is("limit of core files", limit(sandbox, "Max core file size"), "1 1");
  it.is("personality", text(`/proc/${sandbox}/personality`).trim(), "00000000");
  it.is("timer slack", text(`/proc/${sandbox}/timerslack_ns`).trim(), 50000);
  const ignored = BigInt(`0x${status(`/proc/${sandbox}`)("SigIgn")}`);
  it.that("taking the signals that its caller ignores", (ignored & ((1n << 11n) | 1n)) === 0n, ignored.toString(16));
  it.is("session", stat(sandbox).session, sandbox);
  it.is("group", stat(sandbox).group, sandbox);
  return it.list;
}

function eachStub({ sandbox, stubs }: Live, platform: string): string[] {
  const problems: string[] = [];
  const titles = stubs.map((pid) => text(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim());
  const unused = titles.filter((title) => title === "runts-stub").length;
  if (unused < (platform === "systrap" ? 2 : 1)) problems.push(`no first or spare stub among ${titles.join("; ")}`);
  if (titles.filter((title) => title.startsWith("python3")).length < 2)
    problems.push(`no forked stub: ${titles.join("; ")}`);
  const user = currentUser();
  const [sandboxUid] = ids(sandbox);
  const group = stat(stubs[0]!).group;
  const ownProcessors = BigInt(`0x${status("/proc/self")("Cpus_allowed").replaceAll(",", "")}`);
  for (const [i, pid] of stubs.entries()) {
    const it = new Findings(`stub ${i} (${titles[i]?.slice(0, 30)})`);
    const field = status(`/proc/${pid}`);
    const [uid, gid] = ids(pid);
    const own = Number(uid!.split("\t")[0]);
    it.is("Uid", uid, four(own));
    if (user === undefined) {
      it.is("Uid", own, Number(sandboxUid!.split("\t")[0]) + 1);
      it.is("Gid", gid, four(own));
      it.is("Groups", field("Groups").trim(), "");
    } else if (own !== user.uid) it.is("Groups", field("Groups").trim(), "");
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const thread = status(`/proc/${pid}/task/${tid}`);
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) it.is(set, Number(`0x${thread(set)}`), 0);
      it.is("NoNewPrivs", thread("NoNewPrivs"), 1);
      it.is("Seccomp", thread("Seccomp"), 2);
      it.is("Seccomp_filters", thread("Seccomp_filters"), 1);
      it.is("SigIgn", Number(`0x${thread("SigIgn")}`), 0);
      it.is("root", link(`/proc/${pid}/task/${tid}/root`), "/empty");
      it.is("directory", link(`/proc/${pid}/task/${tid}/cwd`), "/empty");
    }
    for (const name of NAMESPACES)
      it.is(`${name} namespace`, link(`/proc/${pid}/ns/${name}`), link(`/proc/${sandbox}/ns/${name}`));
    it.is("descriptors", openFiles(pid), STUB_DESCRIPTORS[platform]);
    it.is("environment", text(`/proc/${pid}/environ`), "");
    it.is("limit of core files", limit(pid, "Max core file size"), "1 1");
    it.is("limit of open files", limit(pid, "Max open files"), "32 32");
    it.is("limit of processes", limit(pid, "Max processes"), "8192 8192");
    it.is("limit of message queues", limit(pid, "Max msgqueue size"), "0 0");
    it.is("umask", field("Umask"), "0077");
    it.is("oom_score_adj", text(`/proc/${pid}/oom_score_adj`).trim(), 1000);
    it.is("personality", text(`/proc/${pid}/personality`).trim(), "00000000");
    it.is("timer slack", text(`/proc/${pid}/timerslack_ns`).trim(), 50000);
    it.is("session", stat(pid).session, sandbox);
    it.that("in a group of the stubs' own", stat(pid).group !== sandbox && stat(pid).group >= group, stat(pid).group);
    it.is("nice value", stat(pid).nice, 3);
    it.is("scheduling policy", stat(pid).policy, 0);
    const elsewhere = BigInt(`0x${field("Cpus_allowed").replaceAll(",", "")}`) & ~ownProcessors;
    it.is("processors that the caller has not", elsewhere, 0);
    it.is("cgroup", text(`/proc/${pid}/cgroup`), text(`/proc/${sandbox}/cgroup`));
    problems.push(...it.list);
  }
  return problems;
}

/** Processes with threads that compute and threads that sleep; memory that nobody may look at, and memory kept from forks. */
const MARKED = `
import ctypes, mmap, os, sys, threading, time
libc = ctypes.CDLL(None)
kept = []
def mark(text, prot):
    area = mmap.mmap(-1, 3 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area[4096:4096 + len(text)] = text
    at = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert libc.mprotect(ctypes.c_void_p(at), 3 * 4096, prot) == 0
    kept.append(area)
def spin():
    while True: pass
def threads():
    for i in range(2): threading.Thread(target=spin, daemon=True).start()
    for i in range(3): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
mark(b"marker:parent", 3)
mark(b"marker:hidden", 0)
ready, go = os.pipe()
if os.fork() == 0:
    mark(b"marker:child", 1)
    threads()
    os.write(go, b"x")
    time.sleep(100)
os.read(ready, 1)
threads()
time.sleep(0.2)
for i in range(3):
    print(open("/dev/snapshots").read(), flush=True)
    time.sleep(0.05)
`;

interface Marked {
  error?: string;
  processes: { threads: number; states: number; pages: number; markers: string[] }[];
}

/** What a checkpoint needs of the host works in the closed jail: test/jail/snapshots. */
async function snapshots(platform: string): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), "runts-jail-"));
  cpSync(join(import.meta.dir, "jail/snapshots"), join(dir, "plugins/snapshots"), { recursive: true });
  writeFileSync(join(dir, "config.toml"), '[plugins]\ndirectories = ["plugins"]\nenable = ["snapshots"]\n');
  handOver(dir);
  const words = ["--config", join(dir, "config.toml"), "do", "--platform", platform, "--", "python3", "-c", MARKED];
  try {
    const done = await run([executable(), ...words], { cwd: dir, timeoutMs: 60_000 });
    const lines = done.stdout.trim().split("\n");
    if (done.status !== 0 || lines.length !== 3) return fail(`status ${done.status}: ${done.stdout}${done.stderr}`);
    const problems = lines.flatMap((line) => {
      const { error, processes } = JSON.parse(line) as Marked;
      if (error !== undefined) return [error];
      const it = new Findings("snapshots");
      it.is("number of processes", processes.length, 2);
      const markers = processes.map((each) => each.markers.sort().join(", ")).sort();
      it.is(
        "what the processes' own pages hold",
        markers.join("; "),
        "child (protection 1), hidden (protection 0), parent (protection 3); hidden (protection 0), parent (protection 3)",
      );
      for (const { threads, states, pages } of processes) {
        it.is("threads of a process", threads, 6);
        it.is("threads with a state", states, 6);
        it.that("a process with pages of its own", pages > 300, pages);
      }
      return it.list;
    });
    return problems.length === 0 ? pass : fail(problems.join("\n"));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

let walker: Promise<string> | undefined;
/** test/jail/walk.c, compiled. */
async function walkProgram(): Promise<string> {
  const out = join(root, "build/jail-walk");
  mkdirSync(join(root, "build"), { recursive: true });
  const source = join(import.meta.dir, "jail/walk.c");
  const done = await run(["cc", "-O1", "-Wall", "-o", out, source], { timeoutMs: 60_000, asSelf: true });
  if (done.status !== 0) throw new Error(`cannot compile walk.c: ${done.stderr}`);
  return out;
}

const place = (path: string): string => `${statSync(path).dev}:${statSync(path).ino}`;

/** Everything that can be named in the jail, tried. `ours`: where directories may lead to, and how. */
async function walk(pid: number, ours: Readonly<Record<string, string>>): Promise<string[]> {
  walker ??= walkProgram();
  const done = await run([await walker, `${pid}`], { timeoutMs: 60_000, asSelf: true });
  if (done.status !== 0) return [`walk: status ${done.status}: ${done.stderr}`];
  const problems: string[] = [];
  const jail = text(`/proc/${pid}/mountinfo`).split(" ")[2];
  let above = 0;
  for (const line of done.stdout.trim().split("\n")) {
    const [what, fd, where, mode] = line.split(" ");
    if (what === "looked") {
      if (Number(fd) < 100) problems.push(`walk: only ${fd} paths tried`);
    } else if (what !== "above") problems.push(`walk: ${line}`);
    else if (ours[where!] !== undefined) {
      above++;
      if (ours[where!] !== mode) problems.push(`walk: descriptor ${fd} leads to ${where}, which is ${mode}`);
    } else {
      // The jail's own root, by way of its /proc.
      const dev = Number(where!.split(":")[0]);
      if (`${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}` !== jail || mode !== "ro")
        problems.push(`walk: descriptor ${fd} leads to ${where}, ${mode}`);
    }
  }
  if (above === 0 && Object.keys(ours).length > 0)
    problems.push(`walk: saw no descriptor of what the sandbox was given:\n${done.stdout}`);
  return problems;
}

/** A container: its state directory is in reach, and no more of the host; stubs are in its cgroups. */
async function container(platform: string): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), "runts-jail-"));
  const [rootfs, volume, state] = ["rootfs", "volume", "state"].map((name) => join(dir, name));
  for (const each of [join(rootfs!, "bin"), volume!]) mkdirSync(each, { recursive: true });
  cpSync(busyboxPath()!, join(rootfs!, "bin/sleep"));
  const id = `jail-${process.pid}-${platform}${currentUser() === undefined ? "" : "-user"}`;
  const config = {
    ociVersion: "1.0.2",
    process: { cwd: "/", args: ["/bin/sleep", "100"], user: { uid: 0, gid: 0 } },
    root: { path: rootfs, readonly: true },
    mounts: [{ destination: "/v", type: "bind", source: volume, options: ["rbind"] }],
  };
  writeFileSync(join(dir, "config.json"), JSON.stringify(config));
  handOver(dir);
  const runts = (...words: string[]) =>
    run([executable(), "--root", state!, "--platform", platform, ...words], { cwd: dir, timeoutMs: 30_000 });
  try {
    const started = await runts("run", "-d", id);
    if (started.status !== 0) return fail(`run: ${started.stderr}`);
    const { pid } = JSON.parse((await runts("state", id)).stdout) as { pid: number };
    const problems: string[] = [];
    const cgroups = text(`/proc/${pid}/cgroup`);
    if (currentUser() === undefined && !cgroups.includes(id))
      problems.push(`the sandbox is in no cgroup of its own: ${cgroups}`);
    for (const stub of children(pid))
      if (text(`/proc/${stub}/cgroup`) !== cgroups)
        problems.push(`a stub is in the cgroups ${text(`/proc/${stub}/cgroup`)}`);
    const ours = { [place(rootfs!)]: "ro", [place(volume!)]: "rw", [place(join(state!, id))]: "rw" };
    problems.push(...(await walk(pid, ours)));
    return problems.length === 0 ? pass : fail(problems.join("\n"));
  } finally {
    await runts("delete", "--force", id);
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What a sandbox process without a container has open: by its link in /proc, or what is wrong with it. */
function heldBeforeContainers(pid: number, command: number): string[] {
  const meminfo = place("/proc/meminfo");
  const output = [1, 2].map((fd) => link(`/proc/${command}/fd/${fd}`));
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    const path = `/proc/${pid}/fd/${fd}`;
    const leads = link(path);
    if (/^(socket|pipe|anon_inode):|^\/memfd:runts-/.test(leads) || leads === "/dev/null") return [];
    // Its own /proc, where the kernel's lines go, and one file of the host's /proc.
    if (leads === "/proc" || output.includes(leads) || place(path) === meminfo) return [];
    return [`a sandbox without a container has ${leads} open, as ${fd}`];
  });
}

/** Before its first container is added the jail is as closed as ever, and nothing of the host but figures is in it. */
async function beforeContainers(platform: string): Promise<Outcome> {
  return withAdder(async (dir, command) => {
    const child = Bun.spawn(prefixed(["/bin/bash", "-c", CALLER, "bash", ...command, "adder-empty", platform]), {
      cwd: dir,
      env: cleanEnv,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
    const timer = setTimeout(() => killGroup(child.pid), 60_000);
    try {
      const first = await child.stdout.getReader().read();
      const sandbox = Number(/^sandbox (\d+)/.exec(Buffer.from(first.value ?? new Uint8Array()).toString())?.[1]);
      if (!(sandbox > 0)) return fail(`no sandbox: ${await new Response(child.stderr).text()}`);
      const problems = sandboxProcess({ sandbox, stubs: children(sandbox) });
      problems.push(...heldBeforeContainers(sandbox, child.pid));
      // The root of the container that will be added is a directory like any other.
      problems.push(...(await walk(sandbox, {})));
      return problems.length === 0 ? pass : fail(problems.join("\n"));
    } finally {
      clearTimeout(timer);
      killGroup(child.pid);
      await child.exited;
    }
  });
}

export function jailGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  const add = (topic: string, platform: string, check: () => Promise<Outcome>): void => {
    const name = `jail/${topic}@${platform}`;
    if (!matches(name, filters)) return;
    cases.push({ name, run: async () => (isRoot ? await check() : skip("looking into the jail needs root")) });
  };
  for (const platform of platforms) {
    add("sandbox-process", platform, () => withSandbox(platform, async (live) => sandboxProcess(live)));
    add("stubs", platform, () => withSandbox(platform, async (live) => eachStub(live, platform)));
    add("before-containers", platform, () => beforeContainers(platform));
    add("container", platform, () => container(platform));
    add("snapshots", platform, () => snapshots(platform));
    add("walk", platform, () =>
      withSandbox(platform, async ({ sandbox }, dir) => walk(sandbox, { [place("/")]: "ro", [place(dir)]: "rw" })),
    );
  }
  return { name: "jail", cases };
}
