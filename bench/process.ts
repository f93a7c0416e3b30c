/**
 * Starting programs for the benchmarks, so that none outlives them.
 *
 * Invariant: every child runs in a process group of its own that is killed when it is late, has a
 * time limit, and sees an environment made here (a Bun-built executable obeys BUN_* variables).
 * Known gaps: a child that leaves its process group and survives its parent is not found.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";

export const environment: Record<string, string> = {
  PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/",
  LC_ALL: "C",
};

export interface Outcome {
  /** Exit status; null when a signal ended the program or it could not be started. */
  status: number | null;
  /** Why there is no useful result, or "" when the program ended with 0. */
  failure: string;
  stdout: string;
  stderr: string;
  elapsedMs: number;
}

export interface RunOptions {
  timeoutMs: number;
  /** Ends the program when it has printed nothing for so long. */
  stallMs?: number;
  /** Called with the process id, once there is one. */
  onStart?: (pid: number) => void;
}

/** Process groups that are running now. */
const running = new Set<number>();

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Already gone.
  }
}

/**
 * Makes a folder for one run of a benchmark, calls `work` with it, and takes folder and programs
 * away afterwards, also when the benchmark is interrupted. The result is the exit status.
 */
export async function withScratch(name: string, work: (scratch: string) => Promise<number>): Promise<void> {
  const scratch = mkdtempSync(`${tmpdir()}/${name}-`);
  const clean = () => {
    for (const pid of running) killGroup(pid);
    rmSync(scratch, { recursive: true, force: true });
  };
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)
    process.once(signal, () => {
      clean();
      process.exit(status);
    });
  try {
    process.exitCode = await work(scratch);
  } finally {
    clean();
  }
}

const OUTPUT_LIMIT = 1 << 20;

/** The one line of a program's complaint that says most. */
function complaint(stderr: string): string {
  return (
    stderr
      .split("\n")
      .map((line) => line.trim())
      .find((line) => line !== "") ?? ""
  );
}

export function run(command: string[], options: RunOptions): Promise<Outcome> {
  const [file = "", ...args] = command;
  const start = performance.now();
  return new Promise((resolve) => {
    let stdout = "";
    let stderr = "";
    let late = "";
    let settled = false;
    const child = spawn(file, args, {
      cwd: "/",
      env: environment,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const kill = (why: string) => {
      late = why;
      if (child.pid !== undefined) killGroup(child.pid);
    };
    const limit = setTimeout(() => kill(`not done after ${options.timeoutMs / 1000} s`), options.timeoutMs);
    const { stallMs } = options;
    const onStall = () => kill(`printed nothing for ${(stallMs ?? 0) / 1000} s`);
    let stall = stallMs === undefined ? undefined : setTimeout(onStall, stallMs);
    const settle = (status: number | null, signal: string | null, error?: Error) => {
      if (settled) return;
      settled = true;
      if (child.pid !== undefined) running.delete(child.pid);
      clearTimeout(limit);
      clearTimeout(stall);
      const said = complaint(stderr);
      const ended = signal === null ? `exit status ${status}` : `killed by ${signal}`;
      const failure = status === 0 ? "" : error ? error.message : late || (said ? `${ended}: ${said}` : ended);
      resolve({ status, failure, stdout, stderr, elapsedMs: performance.now() - start });
    };
    child.stdout.on("data", (data: Buffer) => {
      if (stdout.length < OUTPUT_LIMIT) stdout += data.toString();
      if (stall !== undefined) {
        clearTimeout(stall);
        stall = setTimeout(onStall, stallMs);
      }
    });
    child.stderr.on("data", (data: Buffer) => {
      if (stderr.length < OUTPUT_LIMIT) stderr += data.toString();
    });
    child.on("error", (error) => settle(null, null, error));
    child.on("close", (status, signal) => settle(status, signal));
    if (child.pid !== undefined) {
      running.add(child.pid);
      options.onStart?.(child.pid);
    }
  });
}

/**
 * Milliseconds from starting a program to having its exit status, or what went wrong. Output goes
 * nowhere, and the call is synchronous: the event loop has no part in the figure.
 */
export function time(command: string[], timeoutMs = 20_000): number | string {
  const start = performance.now();
  const child = Bun.spawnSync(command, {
    cwd: "/",
    env: environment,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const elapsed = performance.now() - start;
  if (child.exitCode === 0) return elapsed;
  return child.exitedDueToTimeout ? `not done after ${timeoutMs / 1000} s` : `exit status ${child.exitCode}`;
}
