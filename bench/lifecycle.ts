/**
 * The life of a container side by side: create, start, wait and delete of a program that ends at
 * once, by each runtime that is there, through the command line that containerd and Podman use.
 *
 *   bun bench/lifecycle.ts [--rounds N] [--markdown]
 *
 * RUNTS=, RUNC=, CRUN= and RUNSC= name executables other than dist/runts and those on PATH.
 * --markdown also writes bench/LIFECYCLE.md.
 *
 * Invariant: the runtimes take turns, one container each per round; "wait" is the time until the
 * process of the pid file can be reaped with status 0, by this process as the subreaper, which is
 * what containerd's shim and conmon do; a runtime that fails is named with its reason and leaves no
 * container behind.
 * Known gaps: root only; no networking, no cgroup limits and a root of one static program, so this
 * is the floor of what a container costs, not a typical one. `wait` is polled every 0.2 ms;
 * the end of a runtime's helper processes after it is in no figure.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeMachine } from "./machine.ts";
import { compile } from "./micro.ts";
import { environment, withScratch } from "./process.ts";
import { asMarkdown, asText, figure, median, type Table } from "./stats.ts";
import { findExecutable, isExecutable, runtsPath } from "./targets.ts";

interface Runtime {
  name: string;
  /** The executable and its global flags. */
  prefix: string[];
}

const STEPS = ["create", "start", "wait", "delete"] as const;
type Timing = Record<(typeof STEPS)[number], number>;

const STEP_LIMIT_MS = 20_000;

function findRuntimes(state: string): { found: Runtime[]; missing: string[] } {
  const found: Runtime[] = [];
  const missing: string[] = [];
  const add = (name: string, path: string | undefined, flags: string[]) => {
    if (path !== undefined && isExecutable(path))
      found.push({ name, prefix: [path, "--root", `${state}/${name}`, ...flags] });
    else missing.push(name);
  };
  add("runts", runtsPath(), []);
  add("runc", findExecutable("runc", "RUNC"), []);
  add("crun", findExecutable("crun", "CRUN"), []);
  add("runsc", findExecutable("runsc", "RUNSC"), ["--network=none", "--platform=systrap"]);
  return { found, missing };
}

/** A bundle with a static program as its whole root; no cgroup path, no network but the loopback. */
function writeBundle(folder: string): void {
  const config = {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ["/micro", "--exit"],
      env: ["PATH=/"],
      cwd: "/",
      noNewPrivileges: true,
    },
    root: { path: "rootfs", readonly: true },
    hostname: "bench",
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    linux: { namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })) },
  };
  mkdirSync(`${folder}/rootfs/proc`, { recursive: true });
  writeFileSync(`${folder}/config.json`, JSON.stringify(config));
}

/** Runs one command of a runtime; throws with its complaint when it fails. */
function step(runtime: Runtime, log: string, words: string[]): number {
  // Files, not pipes: a container inherits them and would hold a pipe open beyond `create`.
  writeFileSync(log, "");
  const start = performance.now();
  const child = Bun.spawnSync([...runtime.prefix, ...words], {
    cwd: "/",
    env: environment,
    stdin: "ignore",
    stdout: "ignore",
    stderr: Bun.file(log),
    timeout: STEP_LIMIT_MS,
    killSignal: "SIGKILL",
  });
  const elapsed = performance.now() - start;
  if (child.exitCode !== 0) {
    const said = readFileSync(log, "utf8").trim().split("\n").at(-1)?.slice(0, 300) ?? "";
    throw new Error(`${words[0]}: exit status ${child.exitCode}${said === "" ? "" : `: ${said}`}`);
  }
  return elapsed;
}

const libc = dlopen("libc.so.6", {
  prctl: { args: [FFIType.i32, FFIType.u64, FFIType.u64, FFIType.u64, FFIType.u64], returns: FFIType.i32 },
  waitpid: { args: [FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
}).symbols;
const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;

/** Reaps the container's process as its caller would; throws unless it ended with 0. */
function awaitEnd(pid: number): number {
  const start = performance.now();
  const status = new Int32Array(1);
  for (;;) {
    const reaped = libc.waitpid(pid, ptr(status), WNOHANG);
    if (reaped === pid) break;
    if (reaped < 0) throw new Error("wait: the process of the pid file is not a descendant that can be reaped");
    if (performance.now() - start > STEP_LIMIT_MS) throw new Error(`wait: not ended after ${STEP_LIMIT_MS / 1000} s`);
    Bun.sleepSync(0.2);
  }
  const elapsed = performance.now() - start;
  if (status[0] !== 0) throw new Error(`wait: the process ended with wait status ${status[0]}, not 0`);
  return elapsed;
}

const SETTLE_MS = 200;

/**
 * Other orphans of a runtime, such as runsc's file server, become ours too: `delete` of runsc waits
 * for it, and a zombie would keep it waiting. Only called while no command of a runtime runs.
 */
function reapOrphans(): void {
  const start = performance.now();
  for (;;) {
    const reaped = libc.waitpid(-1, null, WNOHANG);
    if (reaped < 0 || (reaped === 0 && performance.now() - start > SETTLE_MS)) return;
    if (reaped === 0) Bun.sleepSync(0.2);
  }
}

let containers = 0;

function live(runtime: Runtime, bundle: string, scratch: string): Timing {
  const id = `bench-${process.pid}-${containers++}`;
  const log = `${scratch}/log`;
  const pidFile = `${scratch}/pid`;
  try {
    const create = step(runtime, log, ["create", "--bundle", bundle, "--pid-file", pidFile, id]);
    const pid = Number(readFileSync(pidFile, "utf8"));
    if (!(pid > 0)) throw new Error("create: no process id in the pid file");
    const start = step(runtime, log, ["start", id]);
    const wait = awaitEnd(pid);
    reapOrphans();
    const remove = step(runtime, log, ["delete", id]);
    reapOrphans();
    return { create, start, wait, delete: remove };
  } catch (error) {
    reapOrphans();
    try {
      step(runtime, log, ["delete", "--force", id]);
    } catch {
      // The first failure is the one to report.
    }
    throw error;
  }
}

const total = (timing: Timing): number => STEPS.reduce((sum, name) => sum + timing[name], 0);

function lifecycleTable(runtimes: Runtime[], timings: Map<string, Timing[]>, failures: Map<string, string>): Table {
  const middle = (name: string): number | undefined => {
    const list = timings.get(name) ?? [];
    return list.length === 0 || failures.has(name) ? undefined : median(list.map(total));
  };
  const runts = middle("runts");
  return {
    title: "Life of a container",
    note: "milliseconds, medians; total is the median of whole lives (their minimum); the last column is runts over this runtime",
    head: ["runtime", ...STEPS, "total", "runts/this"],
    rows: runtimes.map(({ name }) => {
      const failure = failures.get(name);
      if (failure !== undefined) return [name, "", "", "", "", "failed", ""];
      const list = timings.get(name) ?? [];
      const whole = middle(name);
      const shown = whole === undefined ? "" : `${figure(whole)} (${figure(Math.min(...list.map(total)))})`;
      const compared = runts === undefined || whole === undefined || name === "runts" ? "" : figure(runts / whole);
      return [name, ...STEPS.map((key) => figure(median(list.map((timing) => timing[key])))), shown, compared];
    }),
    remarks: [...failures].map(([name, failure]) => `${name} failed: ${failure}`),
  };
}

async function main(rounds: number, markdown: boolean, scratch: string): Promise<number> {
  const bundle = `${scratch}/bundle`;
  writeBundle(bundle);
  const problem = await compile(`${import.meta.dirname}/micro.c`, `${bundle}/rootfs/micro`);
  if (problem !== undefined) {
    console.error(`bench: ${problem}`);
    return 1;
  }
  const machine = await describeMachine();
  const { found, missing } = findRuntimes(`${scratch}/state`);
  libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const timings = new Map<string, Timing[]>();
  const failures = new Map<string, string>();
  for (let round = 0; round <= rounds; round++) {
    for (let at = 0; at < found.length; at++) {
      const runtime = found[(at + round) % found.length]!;
      if (failures.has(runtime.name)) continue;
      try {
        const timing = live(runtime, bundle, scratch);
        // The first round warms the page cache and is not counted.
        if (round > 0) timings.set(runtime.name, [...(timings.get(runtime.name) ?? []), timing]);
      } catch (error) {
        failures.set(runtime.name, error instanceof Error ? error.message.replaceAll(scratch, "…") : String(error));
      }
    }
  }
  const notes = missing.map((name) => `Not measured: ${name} is not there (on PATH, or ${name.toUpperCase()}=)`);
  const table = lifecycleTable(found, timings, failures);
  console.log([...machine, ...notes].join("\n"));
  console.log(`\n${asText(table)}`);
  if (markdown) {
    const lines = [...machine, ...notes].map((line) => `- ${line}`);
    const text = ["# The life of a container", "", ...lines, "", asMarkdown(table)].join("\n");
    writeFileSync(`${import.meta.dirname}/LIFECYCLE.md`, text);
    console.log("written: bench/LIFECYCLE.md");
  }
  return 0;
}

const { values } = parseArgs({ options: { rounds: { type: "string" }, markdown: { type: "boolean" } } });
const rounds = Number(values.rounds ?? 15);
if (process.getuid?.() !== 0) {
  console.error("bench: the life of a container is measured as root only");
  process.exitCode = 1;
} else if (!(rounds >= 1 && rounds <= 1000)) {
  console.error("bench: --rounds takes a number from 1 to 1000");
  process.exitCode = 2;
} else {
  await withScratch("runts-lifecycle", (scratch) => main(Math.floor(rounds), values.markdown ?? false, scratch));
}
