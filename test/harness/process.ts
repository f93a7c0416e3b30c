/**
 * Run one program to its end: bounded in time and output, in a session of its own, nothing left behind.
 *
 * Gap: a process that leaves its session is out of reach of the final kill; the guest programs clean up after
 * themselves, and the sandbox's processes die with the command, which the tests in test/errors check.
 */
import { prefixed } from "./user.ts";

export interface Result {
  stdout: string;
  stderr: string;
  /** As a shell gives it: the exit code, or 128 + the signal that ended it. */
  status: number;
  timedOut: boolean;
  ms: number;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  stdin?: string;
  /** By who runs the tests, even in a case of an ordinary user. */
  asSelf?: boolean;
  timeoutMs: number;
}

const outputLimit = 8 << 20;
const running = new Set<number>();

/** A small environment of our own, so that no test depends on who runs it. */
export const cleanEnv: Record<string, string> = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/tmp",
  LANG: "C.UTF-8",
  LC_ALL: "C.UTF-8",
  TZ: "UTC",
  TERM: "xterm",
};

const signalNumbers: Record<string, number> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSYS: 31,
};

export function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Already gone.
  }
}

/** Ends what still runs when the runner itself is interrupted. */
export function killAllRunning(): void {
  for (const pid of running) killGroup(pid);
}

async function readAll(stream: ReadableStream<Uint8Array>, stop: Promise<void>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = stream.getReader();
  const stopped = stop.then(() => ({ done: true as const, value: undefined }));
  for (;;) {
    const part = await Promise.race([reader.read(), stopped]);
    if (part.done || !part.value) break;
    if (size < outputLimit) chunks.push(part.value);
    size += part.value.length;
  }
  reader.cancel().catch(() => undefined);
  const text = Buffer.concat(chunks).toString("latin1");
  return size > outputLimit ? `${text}\n[output cut at ${outputLimit} bytes]` : text;
}

export async function run(command: string[], options: RunOptions): Promise<Result> {
  const start = performance.now();
  const child = Bun.spawn(options.asSelf ? command : prefixed(command), {
    cwd: options.cwd ?? "/tmp",
    env: options.env ?? cleanEnv,
    stdin: options.stdin === undefined ? "ignore" : Buffer.from(options.stdin, "latin1"),
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  running.add(child.pid);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child.pid);
  }, options.timeoutMs);
  // A grandchild that keeps the pipe open must not hold the runner: after the exit, wait for the rest only a moment.
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const output = Promise.all([readAll(child.stdout, released), readAll(child.stderr, released)]);
  await child.exited;
  clearTimeout(timer);
  const grace = setTimeout(release, 2000);
  const [stdout, stderr] = await output;
  clearTimeout(grace);
  killGroup(child.pid);
  running.delete(child.pid);
  const status = child.signalCode ? 128 + (signalNumbers[child.signalCode] ?? 0) : (child.exitCode ?? -1);
  return { stdout, stderr, status, timedOut, ms: performance.now() - start };
}
