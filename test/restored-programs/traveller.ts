/** A program in a container that is saved while it works, and restored as another container, on whatever platform. */
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { cleanEnv, type Result, run } from "../harness/process.ts";
import { executable } from "../harness/sandbox.ts";
import { handOver, prefixed } from "../harness/user.ts";

const COMMAND_MS = 60_000;
const BEGIN_MS = 60_000;
const END_MS = 120_000;
/** So long a program works on the host. */
const WORK_MS = 500;

export interface End {
  output: string;
  errors: string;
  status: number;
}

/** In a directory that is made first. */
const inDirectory = (dir: string, command: string[]): string[] => [
  "/bin/sh",
  "-c",
  'mkdir -p "$0" && cd "$0" && exec "$@"',
  dir,
  ...command,
];

const capabilities = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL", "SYS_PTRACE"].map(
  (name) => `CAP_${name}`,
);

class Output {
  readonly path: string;
  constructor(dir: string, name: string) {
    this.path = join(dir, name);
    writeFileSync(this.path, "");
  }
  get text(): string {
    return readFileSync(this.path, "latin1");
  }
  async until(text: string, ms: number, gone: () => boolean): Promise<boolean> {
    for (const end = performance.now() + ms; performance.now() < end; await Bun.sleep(20)) {
      if (this.text.includes(text)) return true;
      if (gone()) return this.text.includes(text);
    }
    return false;
  }
}

/** On the host, where it works for a moment and is told to stop. */
const oracle = new Map<string, Promise<End>>();
export function atHome(name: string, command: string[]): Promise<End> {
  let end = oracle.get(name);
  if (end === undefined) {
    end = workAtHome(name, command);
    oracle.set(name, end);
  }
  return end;
}

async function workAtHome(name: string, command: string[]): Promise<End> {
  const dir = mkdtempSync(join(tmpdir(), `runts-home-${name}-`));
  try {
    const timer = setTimeout(() => writeFileSync(join(dir, "stop"), ""), WORK_MS);
    const { stdout, stderr, status } = await run(inDirectory(dir, command), { timeoutMs: END_MS, asSelf: true });
    clearTimeout(timer);
    return { output: stdout, errors: stderr, status };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export class Traveller {
  readonly dir: string;
  private readonly output: Output;
  private readonly errors: Output;
  private readonly messages: Output;
  /** Of the container that it is now. */
  private moves = 0;

  constructor(
    name: string,
    private readonly program: string[],
    private readonly env: Record<string, string> = {},
    private readonly terminal = false,
  ) {
    this.dir = mkdtempSync(join(tmpdir(), `runts-restored-${name}-`));
    mkdirSync(join(this.dir, "bundle"));
    mkdirSync(join(this.dir, "root"));
    this.output = new Output(this.dir, "output");
    this.errors = new Output(this.dir, "errors");
    this.messages = new Output(this.dir, "messages");
    writeFileSync(join(this.dir, "bundle/config.json"), JSON.stringify(this.config()));
    handOver(this.dir);
  }

  /** The host's root, with memory over it, as for `do`; but /tmp is its own. */
  private config(): object {
    const sets = ["bounding", "effective", "permitted"].map((set) => [set, capabilities]);
    return {
      ociVersion: "1.1.0",
      process: {
        args: inDirectory(this.work, this.program),
        cwd: "/",
        terminal: this.terminal,
        user: { uid: 0, gid: 0 },
        env: Object.entries({ ...cleanEnv, ...this.env }).map(([key, value]) => `${key}=${value}`),
        capabilities: Object.fromEntries(sets),
      },
      root: { path: "/" },
      mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/dev", type: "tmpfs", source: "tmpfs" },
        { destination: "/dev/pts", type: "devpts", source: "devpts" },
        { destination: "/dev/shm", type: "tmpfs", source: "shm" },
      ],
    };
  }

  /** Where it works, in memory over the host's files. */
  private get work(): string {
    return join(tmpdir(), `work-${basename(this.dir)}`);
  }
  get id(): string {
    return `${basename(this.dir)}-${this.moves}`;
  }
  private command(words: string[], globals: string[]): string[] {
    return [executable(), "--root", join(this.dir, "root"), ...globals, ...words];
  }
  private runts(words: string[], globals: string[] = []): Promise<Result> {
    return run(this.command(words, globals), { cwd: "/", timeoutMs: COMMAND_MS });
  }
  async must(words: string[], globals: string[] = []): Promise<string> {
    const { status, stdout, stderr } = await this.runts(words, globals);
    if (status !== 0) throw new Error(`runts ${words.join(" ")}: status ${status}\n${stdout}\n${stderr}`);
    return stdout;
  }

  /** With standard output and error in the files. What detaches itself keeps them. */
  private async detach(words: string[], globals: string[]): Promise<void> {
    const fds = [this.output, this.errors, this.messages].map(({ path }) => openSync(path, "a"));
    const command = this.command(words, ["--log", this.messages.path, ...globals]);
    try {
      const child = Bun.spawn(prefixed(command), {
        cwd: "/",
        env: cleanEnv,
        stdio: ["ignore", fds[0]!, fds[1]!],
      });
      const status = await Promise.race([child.exited, Bun.sleep(COMMAND_MS).then(() => -1)]);
      if (status === 0) return;
      child.kill("SIGKILL");
      throw new Error(`runts ${words.join(" ")}: status ${status}\n${this.messages.text}`);
    } finally {
      for (const fd of fds) closeSync(fd);
    }
  }

  /** Returns when it works. */
  async begin(platform: string): Promise<void> {
    const globals = ["--platform", platform, "--overlay"];
    await this.detach(["run", "--detach", "--keep", "--bundle", join(this.dir, "bundle"), this.id], globals);
    if (!(await this.output.until("working\n", BEGIN_MS, () => false))) throw new Error("it does not begin its work");
  }

  /** To another sandbox, in the middle of what it does. */
  async move(platform: string): Promise<void> {
    const image = join(this.dir, "image");
    await this.must(["checkpoint", "--image-path", image, this.id]);
    await this.must(["delete", this.id]);
    this.moves++;
    await this.detach(["restore", "--detach", "--image-path", image, this.id], ["--platform", platform]);
    rmSync(image, { recursive: true });
  }

  /** The command that begins it attached. */
  attached(platform: string): string[] {
    const globals = ["--platform", platform, "--overlay"];
    return this.command(["run", "--bundle", join(this.dir, "bundle"), this.id], globals);
  }
  /** Saves one that is attached, which ends that command; the command that lets it go on attached elsewhere. */
  async moveAttached(platform: string): Promise<string[]> {
    const image = join(this.dir, `image-${this.moves}`);
    await this.must(["checkpoint", "--image-path", image, this.id]);
    this.moves++;
    return this.command(["restore", "--image-path", image, this.id], ["--platform", platform]);
  }

  /** Waits until the command that has it attached runs it. */
  async untilAttached(): Promise<void> {
    for (const end = performance.now() + BEGIN_MS; performance.now() < end; await Bun.sleep(50)) {
      const { status, stdout } = await this.runts(["state", this.id]);
      if (status === 0 && stdout.includes('"status": "running"')) return;
    }
    throw new Error("it does not go on");
  }

  /** Has it stop, and waits for that. */
  async end(): Promise<End> {
    // Detached: the program may see the file, and end all, before the one that made it has ended.
    await this.must(["exec", "--detach", this.id, "/usr/bin/touch", join(this.work, "stop")]);
    const { stdout, stderr, status, timedOut } = await run(this.command(["wait", this.id], []), {
      cwd: "/",
      timeoutMs: END_MS,
    });
    if (timedOut) throw new Error("it does not end");
    if (status !== 0) throw new Error(`runts wait: status ${status}\n${stderr}`);
    const { exitStatus } = JSON.parse(stdout) as { exitStatus: number };
    return { output: this.output.text, errors: this.errors.text, status: exitStatus };
  }

  printed(): string {
    return `it has printed: ${JSON.stringify(this.output.text.slice(-2000))}\n${this.errors.text.slice(-2000)}`;
  }

  async close(): Promise<void> {
    await this.runts(["delete", "--force", this.id]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
