/**
 * For unit tests of the host half: a sandbox that lives in memory (but for the process that stands for it, a `sleep`),
 * and a context to run commands in.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostCalls } from "../native/host-calls.ts";
import type { CommandContext } from "./command.ts";
import { builtInCommands } from "./commands/index.ts";
import { Containers } from "./container/lifecycle.ts";
import { isAlive, processRef } from "./container/process-ref.ts";
import type { Globals } from "./global-flags.ts";
import type { Log } from "./log.ts";
import type { Plugin } from "./plugin.ts";
import { Registry } from "./registry.ts";
import type {
  ControlMethods,
  ExitStatus,
  LaunchOptions,
  ProcessRef,
  SandboxHandle,
  SandboxLauncher,
} from "./sandbox.ts";

export class FakeSandbox {
  readonly requests: { method: string; params: unknown; fds: readonly number[] }[] = [];
  /** What a method answers; a function may throw. Absent: {}. */
  readonly answers: { [M in keyof ControlMethods]?: (params: ControlMethods[M]["params"]) => unknown } = {};
  private readonly child = Bun.spawn(["sleep", "300"], { stdio: ["ignore", "ignore", "ignore"] });
  readonly ref: ProcessRef = processRef(this.child.pid);
  private readonly ended = Promise.withResolvers<ExitStatus>();

  constructor(readonly options: LaunchOptions) {
    this.answers.wait = () => this.ended.promise;
  }

  /** The guest's first process ends, and with it the sandbox. */
  async exit(status: ExitStatus): Promise<void> {
    if (this.options.stateDirectory !== null)
      writeFileSync(join(this.options.stateDirectory, "exit.json"), JSON.stringify(status));
    this.child.kill("SIGKILL");
    await this.child.exited;
    this.ended.resolve(status);
  }

  async kill(): Promise<void> {
    await this.exit({ exitCode: 137, signal: 9 });
  }

  handle(): SandboxHandle {
    const request = async (method: string, params: unknown, fds: readonly number[] = []): Promise<unknown> => {
      this.requests.push({ method, params, fds });
      const answer = this.answers[method as keyof ControlMethods] as ((params: unknown) => unknown) | undefined;
      return (await answer?.(params)) ?? {};
    };
    return {
      ...this.ref,
      request: request as SandboxHandle["request"],
      isAlive: () => isAlive(this.ref),
      kill: () => this.kill(),
      close() {},
    };
  }
}

export class FakeLauncher implements SandboxLauncher {
  readonly sandboxes = new Map<number, FakeSandbox>();
  /** Called with each new sandbox, to give it answers; may throw: the launch fails. */
  onLaunch: (sandbox: FakeSandbox) => void = () => {};

  async launch(options: LaunchOptions): Promise<SandboxHandle> {
    const sandbox = new FakeSandbox(options);
    this.sandboxes.set(sandbox.ref.pid, sandbox);
    try {
      this.onLaunch(sandbox);
    } catch (error) {
      await sandbox.kill();
      throw error;
    }
    return sandbox.handle();
  }

  async attach(_stateDirectory: string, { pid }: ProcessRef): Promise<SandboxHandle> {
    return this.sandboxes.get(pid)!.handle();
  }

  get last(): FakeSandbox {
    return [...this.sandboxes.values()].at(-1)!;
  }
  async killAll(): Promise<void> {
    for (const sandbox of this.sandboxes.values()) if (isAlive(sandbox.ref)) await sandbox.kill();
  }
}

export class FakeLog implements Log {
  readonly lines: string[] = [];
  debug(): void {}
  info(message: string): void {
    this.lines.push(`info: ${message}`);
  }
  warn(message: string): void {
    this.lines.push(`warning: ${message}`);
  }
  error(message: string): void {
    this.lines.push(`error: ${message}`);
  }
}

/** A platform that every host has. */
const anyPlatform: Plugin = {
  name: "fake-platform",
  host: (host) => host.platform({ name: "fake", summary: "for tests", missing: () => null }),
};

/** A state directory, a bundle, a fake launcher, and the commands around them. */
export class Bench {
  readonly directory = mkdtempSync(join(tmpdir(), "runts-unit-"));
  readonly root = join(this.directory, "root");
  readonly bundle = join(this.directory, "bundle");
  readonly launcher = new FakeLauncher();
  readonly log = new FakeLog();
  readonly registry = new Registry(this.log);
  output = "";
  readonly context: CommandContext;

  constructor() {
    const globals = { root: this.root, network: "sandbox", rootless: "auto", debug: false } as unknown as Globals;
    let containers: Promise<Containers> | undefined;
    this.context = {
      globals,
      log: this.log,
      plugins: this.registry,
      launcher: async () => this.launcher,
      hostCalls: async () => hostCalls,
      containers: () => {
        containers ??= Containers.open(this.context, () => ({ v1: new Map(), v2: null }));
        return containers;
      },
      out: (text) => {
        this.output += text;
      },
    };
  }

  async open(...plugins: Plugin[]): Promise<Containers> {
    await this.registry.setUp([anyPlatform, ...plugins].map((plugin) => ({ plugin, path: null, options: undefined })));
    for (const each of builtInCommands) this.registry.commands.set(each.name, each);
    this.writeSpec({});
    return this.context.containers();
  }

  /** config.json of the bundle: a minimal one with `changes` over its top level. */
  writeSpec(changes: object): void {
    mkdirSync(join(this.bundle, "rootfs"), { recursive: true });
    const spec = {
      ociVersion: "1.0.2",
      process: { cwd: "/", args: ["true"], user: { uid: 0, gid: 0 } },
      root: { path: "rootfs" },
      ...changes,
    };
    writeFileSync(join(this.bundle, "config.json"), JSON.stringify(spec));
  }

  async close(): Promise<void> {
    // Each by the book.
    const containers = await this.context.containers();
    for (const id of containers.store.ids()) await containers.delete(id, true);
    await this.launcher.killAll();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
