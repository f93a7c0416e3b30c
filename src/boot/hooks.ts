/**
 * startContainer hooks: executables of the container, run in it before its own program.
 *
 * Source: runtime-spec config.md "startContainer Hooks"; who they run as is runc's way: as the container's process would,
 * with its user, capabilities, limits, directory and seccomp profile, but with the arguments and the environment of the
 * hook alone. Input is the container's state; of what it prints the beginning is kept, for the message of a failure.
 */
import type { HookParams, HookResult } from "../core/sandbox.ts";
import type { Process as OciProcess } from "../core/spec/schema.ts";
import { EFAULT } from "../kernel/abi/errno.ts";
import { O_RDONLY, O_WRONLY } from "../kernel/abi/fcntl.ts";
import { S_IFIFO } from "../kernel/abi/stat.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { SIGKILL } from "../kernel/signal/numbers.ts";
import { killProcess } from "../kernel/task/exit.ts";
import type { Process } from "../kernel/task/process.ts";
import type { Task } from "../kernel/task/task.ts";
import { Timer } from "../kernel/time/timers.ts";
import { File, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "../kernel/vfs/file.ts";
import type { Io } from "../kernel/vfs/io.ts";

const S_IFIFO_READ = S_IFIFO | 0o400;
const S_IFIFO_WRITE = S_IFIFO | 0o200;
/** What is kept of a hook's output. */
const OUTPUT_MAX = 16 * 1024;

/** A text to be read once, from its beginning to its end. */
class TextFile extends File {
  override readonly anonymousMode = S_IFIFO_READ;
  private done = 0;
  constructor(private readonly bytes: Uint8Array) {
    super(O_RDONLY, null, null);
  }
  override read(_task: Task, io: Io): number {
    const length = Math.min(io.remaining, this.bytes.length - this.done);
    if (length === 0) return 0;
    const n = io.put(this.bytes, this.done, length);
    if (n > 0) this.done += n;
    return n;
  }
  override poll(): number {
    return POLLIN | POLLRDNORM;
  }
  override description(): string {
    return "anon_inode:[hook]";
  }
}

/** Takes everything, keeps the beginning. */
class OutputFile extends File {
  override readonly anonymousMode = S_IFIFO_WRITE;
  private readonly kept = new Uint8Array(OUTPUT_MAX);
  private length = 0;
  constructor() {
    super(O_WRONLY, null, null);
  }
  get text(): string {
    return Buffer.from(this.kept.subarray(0, this.length)).toString("utf8");
  }
  override write(_task: Task, io: Io): number {
    const want = Math.min(io.remaining, OUTPUT_MAX - this.length);
    let n = 0;
    if (want > 0) {
      n = io.take(this.kept, this.length, want);
      if (n < 0) return -EFAULT;
      this.length += n;
      if (n < want) return n;
    }
    const rest = io.remaining;
    io.skip(rest);
    return n + rest;
  }
  override poll(): number {
    return POLLOUT | POLLWRNORM;
  }
  override description(): string {
    return "anon_inode:[hook]";
  }
}

/** The process that a hook is, made from the container's own. */
export function hookProcess(own: OciProcess, { path, args, env }: HookParams["hook"]): OciProcess {
  return { ...own, terminal: false, args: args === undefined || args.length === 0 ? [path] : args, env: env ?? [] };
}

class Deadline extends Timer {
  passed = false;
  constructor(private readonly process: Process) {
    super();
  }
  fire(): void {
    this.passed = true;
    if (!this.process.zombie) killProcess(this.process, SIGKILL);
  }
}

/** One hook at work. */
export class RunningHook {
  private readonly stdout = new OutputFile();
  private readonly stderr = new OutputFile();
  /** For its descriptors 0 to 2; the process' table takes these over. */
  readonly files: readonly File[];
  private deadline: Deadline | null = null;

  constructor(
    private readonly kernel: Kernel,
    params: HookParams,
  ) {
    this.files = [new TextFile(Buffer.from(params.state)), this.stdout, this.stderr];
  }

  /** It runs: its time, if it is limited, begins. */
  started(process: Process, timeoutSeconds: number | undefined): void {
    if (timeoutSeconds === undefined) return;
    this.deadline = new Deadline(process);
    this.kernel.timers.arm(this.deadline, this.kernel.now() + timeoutSeconds * 1e9);
  }

  ended(status: HookResult["status"]): HookResult {
    if (this.deadline !== null) this.kernel.timers.cancel(this.deadline);
    return {
      status,
      timedOut: this.deadline?.passed ?? false,
      stdout: this.stdout.text,
      stderr: this.stderr.text,
    };
  }
}
