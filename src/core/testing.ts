/**
 * For unit tests of the host half: a sandbox that lives in memory (but for the process that stands for it, a `sleep`),
 * and a context to run commands in.
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dup } from "../native/host.ts";
import { hostCalls } from "../native/host-calls.ts";
import type { CommandContext } from "./command.ts";
import { builtInCommands } from "./commands/index.ts";
import { Containers } from "./container/lifecycle.ts";
import { isAlive, processRef } from "./container/process-ref.ts";
import { isErrno, RuntimeError } from "./errors.ts";
import type { Globals } from "./global-flags.ts";
import type { Log } from "./log.ts";
import { NO_NETWORK_CONFIG } from "./network.ts";
import type { Plugin } from "./plugin.ts";
import { Registry } from "./registry.ts";
import {
  type ContainerOptions,
  ControlError,
  type ControlMethods,
  type ExitStatus,
  type ProcessRef,
  type RestoreImage,
  type SandboxHandle,
  type SandboxLauncher,
  type SandboxOptions,
} from "./sandbox.ts";

/** One that has not ended. */
interface FakeContainer {
  options: ContainerOptions;
  /** Its end of the waiter's channel. */
  channel: number | null;
  committed: boolean;
  ended: PromiseWithResolvers<ExitStatus>;
}

export class FakeSandbox {
  readonly requests: { method: string; params: unknown; fds: readonly number[] }[] = [];
  /** What a method answers; a function may throw. Absent: see `answer`. */
  readonly answers: {
    [M in keyof ControlMethods]?: (params: ControlMethods[M]["params"], fds: readonly number[]) => unknown;
  } = {};
  private readonly child = Bun.spawn(["sleep", "300"], { stdio: ["ignore", "ignore", "ignore"] });
  readonly ref: ProcessRef = processRef(this.child.pid);
  /** Its containers, in the order in which they were added; those that have ended, too. */
  readonly containers: ContainerOptions[] = [];
  /** Images that its containers were restored from. */
  readonly restored: RestoreImage[] = [];
  private readonly living = new Map<string, FakeContainer>();
  /** It neither takes connections nor answers. */
  silent = false;

  constructor(readonly options: SandboxOptions) {}

  add(options: ContainerOptions): void {
    if (this.living.has(options.id)) throw new ControlError(`there is a container ${options.id} already`, 17);
    this.containers.push(options);
    const channel = options.waiter === null ? null : dup(options.waiter);
    this.living.set(options.id, { options, channel, committed: false, ended: Promise.withResolvers() });
  }

  /** Whether a container of it listens in that directory. */
  listensIn(directory: string): boolean {
    return [...this.living.values()].some(({ options }) => options.stateDirectory === directory);
  }

  /** The first process of a container ends: of the first container, the sandbox with it. */
  async end(id: string, status: ExitStatus): Promise<void> {
    if (id === this.options.id) await this.exit(status);
    else this.endOne(id, status, true);
  }

  private endOne(id: string, status: ExitStatus, told: boolean): void {
    const container = this.living.get(id);
    if (container === undefined) return;
    this.living.delete(id);
    const { options, channel, ended } = container;
    if (told && options.stateDirectory !== null && existsSync(options.stateDirectory))
      writeFileSync(join(options.stateDirectory, "exit.json"), JSON.stringify(status));
    if (channel !== null) {
      try {
        if (told) writeSync(channel, Uint8Array.of(status.exitCode));
      } catch (error) {
        // The waiter was killed.
        if (!isErrno(error, "EPIPE")) throw error;
      }
      closeSync(channel);
    }
    ended.resolve(status);
  }

  /** The guest's first process ends, and with it the sandbox. */
  async exit(status: ExitStatus): Promise<void> {
    for (const id of [...this.living.keys()].reverse())
      this.endOne(id, id === this.options.id ? status : { exitCode: 137, signal: 9 }, true);
    await this.endProcess();
  }

  /** Somebody kills it: it has no last words, but for those of its first container's state directory. */
  async kill(): Promise<void> {
    const status = { exitCode: 137, signal: 9 };
    for (const id of [...this.living.keys()].reverse()) this.endOne(id, status, id === this.options.id);
    await this.endProcess();
  }

  private async endProcess(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
  }

  private async answer(
    method: string,
    params: { id?: string; signal?: number; keep?: boolean },
    fds: readonly number[],
  ): Promise<unknown> {
    const own = this.answers[method as keyof ControlMethods] as
      | ((params: unknown, fds: readonly number[]) => unknown)
      | undefined;
    if (own !== undefined) return own(params, fds);
    const container = this.living.get(params.id ?? "");
    const killed = { exitCode: 137, signal: 9 };
    if (method === "wait") return container?.ended.promise;
    if (method === "commit" && container !== undefined) container.committed = true;
    if (method === "checkpointed" && params.keep === false) await this.exit({ exitCode: 0, signal: 0 });
    if (method === "destroy") await this.end(params.id!, killed);
    if (method === "signal" && params.signal === 9 && params.id !== this.options.id) await this.end(params.id!, killed);
    return undefined;
  }

  handle(): SandboxHandle {
    const request = async (method: string, params: unknown, fds: readonly number[] = []): Promise<unknown> => {
      if (this.silent) throw new RuntimeError("no-answer", `the sandbox process ${this.ref.pid} does not answer`);
      this.requests.push({ method, params, fds });
      return (await this.answer(method, params as object, fds)) ?? {};
    };
    return {
      ...this.ref,
      request: request as SandboxHandle["request"],
      isAlive: () => isAlive(this.ref),
      kill: () => this.kill(),
      // There is one connection at a time that adds.
      close: () => {
        for (const [id, { committed }] of this.living)
          if (!committed && id !== this.options.id) this.endOne(id, { exitCode: 137, signal: 9 }, true);
      },
    };
  }
}

export class FakeLauncher implements SandboxLauncher {
  readonly sandboxes = new Map<number, FakeSandbox>();
  /** Called with each new sandbox, to give it answers; may throw: the launch fails. */
  onLaunch: (sandbox: FakeSandbox) => void = () => {};
  /** Called with each container before it is added; may throw: it is not. */
  onAdd: (sandbox: FakeSandbox, options: ContainerOptions) => void = () => {};
  /** Called with each image before a container is restored from it; may throw: it is not. */
  onRestore: (image: RestoreImage) => void = () => {};
  /** What the next additions warn of. */
  warnings: readonly string[] = [];

  async launch(options: SandboxOptions): Promise<SandboxHandle> {
    const sandbox = new FakeSandbox(options);
    try {
      this.onLaunch(sandbox);
    } catch (error) {
      await sandbox.kill();
      throw error;
    }
    // A test may have another process stand for it.
    this.sandboxes.set(sandbox.ref.pid, sandbox);
    return sandbox.handle();
  }

  async addContainer({ pid }: SandboxHandle, options: ContainerOptions): Promise<{ warnings: readonly string[] }> {
    const sandbox = this.of(pid);
    if (sandbox.silent) throw new RuntimeError("no-answer", `the sandbox process ${pid} does not answer`);
    this.onAdd(sandbox, options);
    sandbox.add(options);
    return { warnings: this.warnings };
  }

  async restoreContainer(
    sandbox: SandboxHandle,
    options: ContainerOptions,
    image: RestoreImage,
  ): Promise<{ warnings: readonly string[] }> {
    this.of(sandbox.pid).restored.push(image);
    this.onRestore(image);
    return this.addContainer(sandbox, options);
  }

  async attach(stateDirectory: string, { pid }: ProcessRef): Promise<SandboxHandle> {
    const sandbox = this.of(pid);
    if (sandbox.silent) throw new RuntimeError("no-answer", `the sandbox process ${pid} does not answer`);
    if (!sandbox.listensIn(stateDirectory))
      throw new RuntimeError("sandbox", `cannot reach the sandbox process ${pid} (errno 111)`);
    return sandbox.handle();
  }

  /** A test may have put another process in its place. */
  private of(pid: number): FakeSandbox {
    return [...this.sandboxes.values()].find(({ ref }) => ref.pid === pid)!;
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
      network: NO_NETWORK_CONFIG,
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
