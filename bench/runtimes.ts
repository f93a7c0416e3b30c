/**
 * Runtimes that are there, by the command line that containerd and Podman use, and this process as their caller: it is
 * the subreaper, so that it reaps a container's process as containerd's shim and conmon do.
 *
 * RUNTS=, RUNC=, CRUN= and RUNSC= name executables other than dist/runts and those on PATH.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { environment } from "./process.ts";
import { findExecutable, isExecutable, runtsPath } from "./targets.ts";

export interface Runtime {
  name: string;
  /** The executable and its global flags. */
  prefix: string[];
}

const STEP_LIMIT_MS = 120_000;

export function findRuntimes(state: string): { found: Runtime[]; missing: string[] } {
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

/** Runs one command of a runtime; throws with its complaint when it fails. */
export function step(runtime: Runtime, log: string, words: string[]): number {
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
  getrusage: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  waitpid: { args: [FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
}).symbols;
const RUSAGE_CHILDREN = -1;

/** Milliseconds of processor time of all processes that this one has reaped, and of those that they had reaped. */
export function reapedCpu(): number {
  const usage = new BigInt64Array(18);
  libc.getrusage(RUSAGE_CHILDREN, ptr(usage));
  const at = (word: number) => Number(usage[word]!) * 1000 + Number(usage[word + 1]!) / 1000;
  return at(0) + at(2);
}

/** The same of a process that still runs, with what it has reaped (that in units of 10 ms). */
export function runningCpu(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const own = threads.map(
    (tid) => Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, "utf8").split(" ")[0]) / 1e6,
  );
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return own.reduce((sum, each) => sum + each, 0) + (Number(fields[13]) + Number(fields[14])) * 10;
}

const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;

export const becomeSubreaper = (): void => {
  libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
};

/** Reaps the container's process as its caller would; throws unless it ended with 0, or by a signal with its code. */
export function awaitEnd(pid: number, signal = 0): number {
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
  // A runtime's own process may stand for the container's, and passes its code on.
  const expected = signal === 0 ? [0] : [signal, (128 + signal) << 8];
  if (!expected.includes(status[0]!)) throw new Error(`wait: the process ended with wait status ${status[0]}`);
  return elapsed;
}

const SETTLE_MS = 200;

/**
 * Other orphans of a runtime, such as runsc's file server, become ours too: `delete` of runsc waits
 * for it, and a zombie would keep it waiting. Only called while no command of a runtime runs.
 */
export function reapOrphans(): void {
  const start = performance.now();
  for (;;) {
    const reaped = libc.waitpid(-1, null, WNOHANG);
    if (reaped < 0 || (reaped === 0 && performance.now() - start > SETTLE_MS)) return;
    if (reaped === 0) Bun.sleepSync(0.2);
  }
}
