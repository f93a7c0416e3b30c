/**
 * The container's life: every OCI verb, against the Sandbox interface, the state directory and the plugins' hooks.
 *
 * Sources: runtime-spec runtime.md and config.md (lifecycle, hooks), runc's behaviour where its callers depend on it.
 * Invariants: what changes a container holds its lock; `create` writes the pid file last; whatever fails on the way of
 * `create` undoes what was done; the sandbox dies with the command until it is committed, so a killed `create` leaves a
 * directory that reads as a stopped container and nothing else.
 */

import { closeSync, existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { CommandContext } from "../command.ts";
import { describe, MESSAGES, RuntimeError } from "../errors.ts";
import { programError } from "../exec-error.ts";
import type { HostCalls } from "../host-calls.ts";
import { inheritedDescriptors } from "../inherited.ts";
import { chooseNetwork } from "../network.ts";
import { choosePlatform, straceNames } from "../platforms.ts";
import type { ContainerStatus, ContainerView, OciState } from "../plugin.ts";
import type {
  ExitStatus,
  GuestProcess,
  GuestStats,
  LaunchOptions,
  ProcessRef,
  SandboxHandle,
  SandboxLauncher,
} from "../sandbox.ts";
import { ControlError } from "../sandbox.ts";
import { wantedSandbox } from "../spec/cri.ts";
import type { Process, Resources, Spec } from "../spec/schema.ts";
import {
  applyResources,
  type CgroupHost,
  cgroupDirectories,
  detectCgroups,
  joinCgroups,
  makeCgroups,
  removeCgroups,
} from "./cgroup.ts";
import { isAlive, readStat } from "./process-ref.ts";
import { isLegal, requireState } from "./state.ts";
import { checkId, type LockedContainer, type Metadata, Store } from "./store.ts";

/** The sandbox's answer to a second start. */
const EBUSY = 16;
/** File in the state directory: a forced delete waits for the lock. */
const UNWANTED = "unwanted";
/** How long a start that failed leaves its caller to wait for the container's process. */
const REAP_TIMEOUT_MS = 500;

export interface CreateOptions {
  id: string;
  bundle: string;
  pidFile?: string | undefined;
  /** Path of the socket that gets the pty's master. */
  consoleSocket?: string | undefined;
  /** Descriptors 3 to 3+n-1 are handed on. */
  preserveFds?: number;
  /** False for an attached `run`, which may use its own terminal and take the sandbox down with itself. */
  detached: boolean;
  /** The slave of a terminal that the caller serves itself (attached `run`). */
  terminal?: number | undefined;
  /** A spec that has been read already. */
  spec?: Spec;
}

export interface ExecOptions {
  process: Process;
  stdio: readonly number[];
  pidFile?: string | undefined;
  detached: boolean;
  ignorePaused: boolean;
}

/** A running exec, for `wait`. */
export interface ExecSession {
  sandbox: SandboxHandle;
  pid: number;
}

/** One line of `list`: the container, or why it cannot be read. */
export interface ListEntry {
  id: string;
  container: Container | null;
  error: Error | null;
}

/** A container as it is now. */
export class Container implements ContainerView {
  constructor(
    readonly metadata: Metadata,
    readonly status: ContainerStatus,
    /** The state directory. */
    private readonly directory: string,
  ) {}

  get id(): string {
    return this.metadata.id;
  }
  get bundle(): string {
    return this.metadata.bundle;
  }
  get spec(): Spec {
    return this.metadata.spec;
  }
  get sandboxPid(): number {
    return this.metadata.sandbox?.pid ?? 0;
  }
  get unwanted(): boolean {
    return existsSync(join(this.directory, UNWANTED));
  }
  /** The host process that stands for the container; 0 when it has ended. */
  get pid(): number {
    return this.status === "stopped" ? 0 : (this.metadata.process?.pid ?? 0);
  }
  get state(): OciState {
    return {
      ociVersion: this.spec.ociVersion,
      id: this.id,
      status: this.status,
      pid: this.pid,
      bundle: this.bundle,
      ...(this.spec.annotations === undefined ? {} : { annotations: this.spec.annotations }),
    };
  }
}

export class Containers {
  private constructor(
    private readonly context: CommandContext,
    readonly store: Store,
    private readonly host: HostCalls,
    private readonly launcher: () => Promise<SandboxLauncher>,
    private readonly cgroupHost: () => CgroupHost,
  ) {}

  /** `cgroupHost`: where cgroups are made; unit tests have none, since ids are the same in all of them. */
  static async open(context: CommandContext, cgroupHost: () => CgroupHost = detectCgroups): Promise<Containers> {
    const host = await context.hostCalls();
    return new Containers(context, new Store(resolve(context.globals.root), host), host, context.launcher, cgroupHost);
  }

  // ---- Looking ----

  /** A container by id or prefix, as it is now. */
  get(text: string): Container {
    return this.look(this.store.read(this.store.resolve(text)));
  }

  /** All of them; one that cannot be read is an error in its place. */
  list(): ListEntry[] {
    return this.store.ids().flatMap((id): ListEntry[] => {
      try {
        return [{ id, container: this.look(this.store.read(id)), error: null }];
      } catch (error) {
        // Deleted meanwhile.
        if (error instanceof RuntimeError && error.code === "not-found") return [];
        return [{ id, container: null, error: error as Error }];
      }
    });
  }

  private look(metadata: Metadata): Container {
    return new Container(metadata, this.currentStatus(metadata), this.store.directory(metadata.id));
  }

  /** What the metadata says, unless the process that it speaks of is gone, or its maker is. */
  private currentStatus(metadata: Metadata): ContainerStatus {
    const { status, process: ref } = metadata;
    if (status === "stopped") return status;
    if (ref !== null) return isAlive(ref) && (status !== "creating" || this.beingMade(metadata)) ? status : "stopped";
    return this.beingMade(metadata) ? status : "stopped";
  }

  private beingMade({ id, status }: Metadata): boolean {
    return status === "creating" && !this.store.isUnlocked(id);
  }

  /** The sandbox of a container that is not stopped. */
  private async attach(container: Container): Promise<SandboxHandle> {
    const { sandbox, sandboxId } = container.metadata;
    if (sandbox === null || !isAlive(sandbox))
      throw new RuntimeError("wrong-state", MESSAGES.notRunning, { id: container.id });
    return (await this.launcher()).attach(this.store.directory(sandboxId), sandbox);
  }

  private async withSandbox<T>(container: Container, use: (sandbox: SandboxHandle) => Promise<T>): Promise<T> {
    const sandbox = await this.attach(container);
    try {
      return await use(sandbox);
    } finally {
      sandbox.close();
    }
  }

  // ---- create ----

  /** Makes a container and leaves it created. With `detached: false` the handle stays open for the caller. */
  async create(options: CreateOptions): Promise<{ container: Container; sandbox: SandboxHandle }> {
    const { context } = this;
    const { log, plugins, globals } = context;
    checkId(options.id);
    plugins.requireAll();
    const bundle = resolve(options.bundle);
    const spec = options.spec ?? (await this.loadSpec(bundle));
    const terminal = spec.process?.terminal === true;
    checkConsole(terminal, options);
    const platform = choosePlatform(context);
    const locked = this.store.create({
      format: 1,
      id: options.id,
      status: "creating",
      bundle,
      spec,
      created: new Date().toISOString(),
      owner: process.env["USER"] ?? "",
      sandboxId: options.id,
      sandbox: null,
      process: null,
      cgroups: [],
      platform,
      network: globals.network,
    });
    const { metadata } = locked;
    let sandbox: SandboxHandle | undefined;
    const closeLater: number[] = [];
    try {
      await plugins.run("container:creating", { container: this.seen(locked), spec });
      metadata.cgroups = this.planCgroups(spec, options.id);
      locked.save();
      metadata.cgroups = makeCgroups(metadata.cgroups, spec.linux?.resources, this.cgroupsRequired(spec), log);
      locked.save();

      const stdio = this.openStdio(terminal, options, spec, closeLater);
      sandbox = await this.launchOrJoin(locked, stdio.descriptors, terminal, options.detached);
      metadata.sandbox ??= { pid: sandbox.pid, startTime: sandbox.startTime };
      metadata.process ??= metadata.sandbox;
      joinCgroups(metadata.cgroups, sandbox.pid);
      locked.save();
      if (stdio.master !== undefined) this.sendConsole(options.consoleSocket!, stdio.master);

      await plugins.run("container:create-runtime", { container: this.seen(locked) });
      await plugins.run("container:create-container", { container: this.seen(locked) });
      metadata.status = "created";
      locked.save();
      if (options.detached) await sandbox.request("commit", {});
      await plugins.run("container:created", { container: this.seen(locked) });
      // Last: callers take it as the sign that create is complete.
      if (options.pidFile !== undefined) writePidFile(options.pidFile, metadata.process.pid);
      return { container: this.seen(locked), sandbox };
    } catch (cause) {
      const error = programError(cause);
      const failed = error === cause ? error : startFailure(error as RuntimeError);
      await this.undo(locked, sandbox, failed);
      throw failed;
    } finally {
      for (const fd of closeLater) closeQuietly(fd);
      locked.unlock();
    }
  }

  private async loadSpec(bundle: string): Promise<Spec> {
    const { loadSpec } = await import("../spec/load.ts");
    const { spec, warnings } = loadSpec(bundle);
    for (const warning of warnings) this.context.log.warn(warning);
    return spec;
  }

  /** A locked container as hooks see it: nobody else changes it, so its status is what is written. */
  private seen({ metadata }: LockedContainer): Container {
    return new Container(metadata, metadata.status, this.store.directory(metadata.id));
  }

  private planCgroups(spec: Spec, id: string): string[] {
    const { globals } = this.context;
    return cgroupDirectories(this.cgroupHost(), spec.linux?.cgroupsPath ?? "", id, globals.systemdCgroup);
  }

  /** Without root's rights a container goes without cgroups, unless the spec asks for some. */
  private cgroupsRequired(spec: Spec): boolean {
    const { rootless } = this.context.globals;
    const isRootless = rootless === "auto" ? process.geteuid!() !== 0 : rootless === "true" || rootless === "1";
    return !isRootless && spec.linux?.cgroupsPath !== undefined;
  }

  private openStdio(
    terminal: boolean,
    options: CreateOptions,
    spec: Spec,
    closeLater: number[],
  ): { descriptors: number[]; master?: number } {
    const extra = inheritedDescriptors(options.preserveFds ?? 0, "runts create");
    if (!terminal) return { descriptors: [0, 1, 2, ...extra] };
    if (options.terminal !== undefined)
      return { descriptors: [options.terminal, options.terminal, options.terminal, ...extra] };
    const { master, slave } = this.openConsole(spec.process!, closeLater);
    return { descriptors: [slave, slave, slave, ...extra], master };
  }

  /** A pty of the size, and of the owner, that the process wants. */
  openConsole(process: Process, closeLater: number[]): { master: number; slave: number } {
    const pair = new Int32Array(2);
    const result = this.host.openpty(pair);
    if (result < 0) throw new RuntimeError("host", `cannot open a pseudo-terminal (errno ${-result})`);
    const [master, slave] = [pair[0]!, pair[1]!];
    closeLater.push(master, slave);
    const size = process.consoleSize;
    if (size !== undefined && size.height > 0 && size.width > 0)
      this.host.setWindowSize(master, size.height, size.width);
    return { master, slave };
  }

  sendConsole(socket: string, master: number): void {
    const result = this.host.sendDescriptor(socket, "/dev/ptmx", master);
    if (result < 0)
      throw new RuntimeError("host", `cannot send the terminal to the console socket ${socket} (errno ${-result})`, {
        path: socket,
      });
  }

  private async launchOrJoin(
    locked: LockedContainer,
    stdio: number[],
    terminal: boolean,
    detached: boolean,
  ): Promise<SandboxHandle> {
    const { globals, plugins } = this.context;
    const { metadata } = locked;
    const found = await plugins.first("sandbox:find", { container: this.seen(locked) });
    if (found !== undefined) return found;
    const wanted = wantedSandbox(metadata.spec);
    if (wanted !== null)
      this.context.log.warn(`no plugin can join the sandbox ${wanted}: the container gets a sandbox of its own`);
    const options: LaunchOptions = {
      id: metadata.id,
      bundle: metadata.bundle,
      spec: metadata.spec,
      overlay: globals.overlay ? "memory" : "none",
      platform: metadata.platform,
      network: chooseNetwork(globals, this.context.log),
      debug: globals.debug,
      strace: straceNames(globals["strace"]),
      // The container's standard error is its own: the kernel writes to it only when somebody wants to watch.
      debugLog: globals.debugLog ?? (globals.debug || globals["strace"] !== undefined ? null : "/dev/null"),
      stateDirectory: locked.directory,
      stdio,
      terminal,
      plugins: plugins.sandboxPlugins(),
      dieWithParent: !detached,
    };
    await plugins.run("sandbox:launching", { container: this.seen(locked), options });
    const sandbox = await (await this.launcher()).launch(options);
    for (const warning of sandbox.warnings ?? []) this.context.log.warn(warning);
    return sandbox;
  }

  /** Takes down what a failed create or start has made. Failures on the way are kept with the error. */
  private async undo(locked: LockedContainer, sandbox: SandboxHandle | undefined, error: unknown): Promise<void> {
    const problems: unknown[] = error instanceof RuntimeError ? error.cleanup : [];
    const { metadata } = locked;
    try {
      if (sandbox !== undefined) await this.endProcesses(metadata, sandbox);
      else if (metadata.sandbox !== null) await this.endProcesses(metadata, null);
    } catch (problem) {
      problems.push(problem);
    }
    await this.forget(locked, problems);
    // The spec has poststop hooks run after a failed hook too: the runtime environment had been made.
    if (sandbox !== undefined) await this.tellDeleted(metadata);
  }

  /** Ends the container's processes; the sandbox, too, when it is this container's own. */
  private async endProcesses(metadata: Metadata, sandbox: SandboxHandle | null): Promise<void> {
    const own = metadata.sandboxId === metadata.id;
    if (sandbox !== null && own) await sandbox.kill();
    else if (sandbox !== null) await sandbox.request("destroy", { id: metadata.id });
    else if (own && metadata.sandbox !== null && isAlive(metadata.sandbox)) this.host.kill(metadata.sandbox.pid, 9);
    const ref = metadata.process;
    if (ref === null) return;
    const deadline = Date.now() + 10_000;
    for (let pause = 1; isAlive(ref); pause = Math.min(pause * 2, 50)) {
      if (Date.now() > deadline)
        throw new RuntimeError("sandbox", `process ${ref.pid} of container ${metadata.id} does not end`, {
          id: metadata.id,
        });
      await Bun.sleep(pause);
    }
  }

  /** Removes cgroups and state directory. */
  private async forget(locked: LockedContainer, problems: unknown[]): Promise<void> {
    const { metadata } = locked;
    const left = await removeCgroups(metadata.cgroups);
    if (left.length > 0) problems.push(new Error(`cgroup ${left[0]} cannot be removed`));
    metadata.status = "stopped";
    try {
      locked.remove();
    } catch (problem) {
      problems.push(problem);
    }
  }

  private async tellDeleted(metadata: Metadata): Promise<void> {
    const container = new Container({ ...metadata, status: "stopped" }, "stopped", this.store.directory(metadata.id));
    for (const error of await this.context.plugins.runAll("container:deleted", { container }))
      this.context.log.warn(describe(error));
  }

  // ---- start, wait ----

  async start(text: string, attached?: SandboxHandle): Promise<void> {
    const { plugins } = this.context;
    const locked = await this.store.lock(this.store.resolve(text));
    const { metadata } = locked;
    try {
      const container = this.look(metadata);
      requireState("start", container.id, container.status);
      const sandbox = attached ?? (await this.attach(container));
      try {
        await plugins.run("container:starting", { container });
        try {
          await sandbox.request("start", { id: container.id });
        } catch (cause) {
          if (cause instanceof ControlError && cause.errno === EBUSY) {
            // An earlier start was killed after the sandbox had heard of it.
            metadata.status = "running";
            locked.save();
            requireState("start", container.id, "running");
          }
          const error = programError(cause);
          throw error === cause ? error : startFailure(error as RuntimeError);
        }
        metadata.status = "running";
        locked.save();
      } catch (error) {
        if (metadata.status !== "running") {
          await this.undo(locked, sandbox, error);
          if (attached === undefined) await waitedFor(metadata.process);
        }
        throw error;
      }
      await this.tellStarted(locked, sandbox);
      if (attached === undefined) sandbox.close();
    } finally {
      locked.unlock();
    }
  }

  /** A failing poststart hook ends the container since runtime-spec 1.3; before, it is a warning. */
  private async tellStarted(locked: LockedContainer, sandbox: SandboxHandle): Promise<void> {
    try {
      await this.context.plugins.run("container:started", { container: this.seen(locked) });
    } catch (error) {
      const [major, minor] = locked.metadata.spec.ociVersion.split(".").map(Number);
      if (major! > 1 || (major === 1 && minor! >= 3)) {
        await this.undo(locked, sandbox, error);
        throw error;
      }
      this.context.log.warn(describe(error));
    }
  }

  /** How the container, or the guest process `pid` in it, ended. */
  async wait(text: string, pid?: number): Promise<ExitStatus> {
    const container = this.get(text);
    if (container.status !== "stopped") {
      try {
        return await this.withSandbox(container, (sandbox) =>
          sandbox.request("wait", { id: container.id, ...(pid === undefined ? {} : { pid }) }),
        );
      } catch (error) {
        // It may have ended between our look and our question, or died with its answer unsent.
        if (pid !== undefined || !(error instanceof RuntimeError)) throw error;
      }
    }
    const status = this.exitStatus(container.id);
    if (pid !== undefined || status === null)
      throw new RuntimeError("wrong-state", MESSAGES.notRunning, { id: container.id });
    return status;
  }

  /** What the sandbox has left of how a container ended. */
  exitStatus(id: string): ExitStatus | null {
    try {
      const value = JSON.parse(readFileSync(join(this.store.directory(id), "exit.json"), "utf8")) as ExitStatus;
      return typeof value.exitCode === "number" && typeof value.signal === "number" ? value : null;
    } catch {
      return null;
    }
  }

  // ---- exec, kill, pause, resume, update ----

  async exec(text: string, options: ExecOptions): Promise<ExecSession> {
    const { plugins } = this.context;
    plugins.requireAll();
    const container = this.get(text);
    if (!(options.ignorePaused && container.status === "paused")) requireState("exec", container.id, container.status);
    const sandbox = await this.attach(container);
    const pair = new Int32Array(2);
    // The process that stands for this one on the host: callers reap it and take its exit code.
    const needsWaiter = options.detached || options.pidFile !== undefined;
    try {
      if (needsWaiter) {
        const result = this.host.socketPair(pair);
        if (result < 0) throw new RuntimeError("host", `cannot make a socket pair (errno ${-result})`);
      }
      const { pid } = await sandbox.request(
        "exec",
        {
          id: container.id,
          process: options.process,
          terminal: options.process.terminal === true,
          notify: needsWaiter,
          ignorePaused: options.ignorePaused,
        },
        needsWaiter ? [...options.stdio, pair[1]!] : options.stdio,
      );
      if (needsWaiter) {
        const waiter = this.host.spawnWaiter(pair[0]!);
        if (waiter < 0) throw new RuntimeError("host", `cannot start a waiting process (errno ${-waiter})`);
        if (options.pidFile !== undefined) writePidFile(options.pidFile, waiter);
      }
      for (const error of await plugins.runAll("container:exec", { container, args: options.process.args ?? [], pid }))
        this.context.log.warn(describe(error));
      return { sandbox, pid };
    } catch (cause) {
      sandbox.close();
      const error = programError(cause);
      throw error === cause ? error : startFailure(error as RuntimeError);
    } finally {
      if (pair[0] !== 0 || pair[1] !== 0) for (const fd of pair) closeQuietly(fd);
    }
  }

  async kill(text: string, signal: number, options: { all?: boolean; pid?: number } = {}): Promise<void> {
    const container = this.get(text);
    // Obsolete and silent on a container that has ended, as with runc.
    if (options.all === true && container.status === "stopped") return;
    requireState("kill", container.id, container.status);
    const { all, pid } = options;
    const sandbox = await this.attachRunning(container);
    try {
      await sandbox.request("signal", {
        id: container.id,
        signal,
        ...(all === undefined ? {} : { all }),
        ...(pid === undefined ? {} : { pid }),
      });
    } catch (error) {
      // A deadly signal may take the sandbox before it can answer.
      if (error instanceof ControlError || sandbox.isAlive()) throw error;
    } finally {
      sandbox.close();
    }
  }

  /** Like attach; a container that ends at this moment is one that does not run. */
  private async attachRunning(container: Container): Promise<SandboxHandle> {
    try {
      return await this.attach(container);
    } catch (cause) {
      if (this.currentStatus(container.metadata) !== "stopped") throw cause;
      throw new RuntimeError("wrong-state", MESSAGES.notRunning, { id: container.id });
    }
  }

  async pause(text: string): Promise<void> {
    await this.freeze(text, "pause", "paused");
  }
  async resume(text: string): Promise<void> {
    await this.freeze(text, "resume", "running");
  }

  private async freeze(text: string, verb: "pause" | "resume", after: ContainerStatus): Promise<void> {
    const locked = await this.store.lock(this.store.resolve(text));
    try {
      const container = this.look(locked.metadata);
      requireState(verb, container.id, container.status);
      await this.withSandbox(container, (sandbox) => sandbox.request(verb, { id: container.id }));
      // A container that was paused before its start goes back to created.
      const back = verb === "resume" && locked.metadata.pausedFrom === "created" ? "created" : after;
      if (verb === "pause") locked.metadata.pausedFrom = container.status;
      locked.metadata.status = back;
      locked.save();
      const event = verb === "pause" ? "container:paused" : "container:resumed";
      for (const error of await this.context.plugins.runAll(event, { container: this.seen(locked) }))
        this.context.log.warn(describe(error));
    } finally {
      locked.unlock();
    }
  }

  /** New limits, on the host's cgroups and in the guest kernel. What is not named stays. */
  async update(text: string, resources: Resources): Promise<void> {
    const locked = await this.store.lock(this.store.resolve(text));
    const { metadata } = locked;
    try {
      const container = this.look(metadata);
      requireState("update", container.id, container.status);
      applyResources(metadata.cgroups, resources, this.context.log);
      await this.withSandbox(container, (sandbox) => sandbox.request("update", { id: container.id, resources }));
      metadata.spec.linux ??= {};
      metadata.spec.linux.resources = mergeResources(metadata.spec.linux.resources, resources);
      locked.save();
    } finally {
      locked.unlock();
    }
  }

  // ---- ps, events ----

  /** A request of the container's sandbox: for the methods that plugins add (`kernel.control`). */
  async request(text: string, method: string, params: unknown): Promise<unknown> {
    return this.withSandbox(this.get(text), (sandbox) => sandbox.request(method, params));
  }

  async processes(text: string): Promise<GuestProcess[]> {
    const container = this.get(text);
    if (container.status === "stopped") return [];
    requireState("ps", container.id, container.status);
    const { processes } = await this.withSandbox(container, (sandbox) =>
      sandbox.request("processes", { id: container.id }),
    );
    return processes;
  }

  async stats(container: Container): Promise<GuestStats> {
    return this.withSandbox(container, (sandbox) => sandbox.request("stats", { id: container.id }));
  }

  // ---- delete ----

  /** False: there was none (only with `force`). */
  async delete(text: string, force: boolean): Promise<boolean> {
    let id: string;
    try {
      id = this.store.resolve(text);
    } catch (error) {
      if (force && error instanceof RuntimeError && error.code === "not-found") return false;
      throw error;
    }
    let locked: LockedContainer;
    try {
      locked = await this.store.lock(id, force ? () => this.killFirst(id) : undefined);
    } catch (error) {
      if (!force || !(error instanceof RuntimeError)) throw error;
      if (error.code === "not-found") return false;
      if (error.code !== "corrupt-state") throw error;
      await this.deleteCorrupt(id, error);
      return true;
    }
    const { metadata } = locked;
    try {
      const container = this.look(metadata);
      if (!force) requireState("delete", id, container.status);
      const problems: unknown[] = [];
      const sandbox =
        container.status === "stopped" || metadata.sandboxId === id
          ? null
          : await this.attach(container).catch(() => null);
      await this.endProcesses(metadata, sandbox);
      sandbox?.close();
      await this.forget(locked, problems);
      for (const problem of problems) this.context.log.warn(describe(problem));
      await this.tellDeleted(metadata);
    } finally {
      locked.unlock();
    }
    return true;
  }

  /** A command that holds the lock while a hook hangs learns that nobody wants the container any more, and lets go. */
  private killFirst(id: string): void {
    try {
      writeFileSync(join(this.store.directory(id), UNWANTED), "");
      const { sandbox, sandboxId } = this.store.read(id);
      if (sandboxId === id && sandbox !== null && isAlive(sandbox)) this.host.kill(sandbox.pid, 9);
    } catch (error) {
      this.context.log.debug(describe(error));
    }
  }

  /** What cannot be read cannot be undone by the book: the directory goes, the rest is said. */
  private async deleteCorrupt(id: string, error: RuntimeError): Promise<void> {
    this.context.log.warn(`${describe(error)}; its directory is removed, what it had started is not known`);
    const fd = await this.store.lockDirectory(id);
    this.store.removeDirectory(id);
    closeQuietly(fd);
  }

  /** Whether `verb` may be done now. */
  isLegal(verb: Parameters<typeof isLegal>[0], container: Container): boolean {
    return isLegal(verb, container.status);
  }
}

/** runc's rules for terminals and console sockets. */
export function checkConsole(
  terminal: boolean,
  options: { detached: boolean; consoleSocket?: string | undefined },
): void {
  if (options.detached && terminal && !options.consoleSocket)
    throw new RuntimeError("usage", MESSAGES.needsConsoleSocket);
  if ((!options.detached || !terminal) && options.consoleSocket)
    throw new RuntimeError("usage", MESSAGES.uselessConsoleSocket);
  if (options.consoleSocket) {
    const stat = statSync(options.consoleSocket, { throwIfNoEntry: false });
    if (!stat?.isSocket())
      throw new RuntimeError(
        "host",
        `console socket ${options.consoleSocket}: ${stat ? "not a socket" : "no such file"}`,
        {
          path: options.consoleSocket,
        },
      );
  }
}

/** runc's words around a program that cannot be started. */
function startFailure(error: RuntimeError): RuntimeError {
  return new RuntimeError(error.code, `unable to start container process: ${error.message}`, { exitCode: 1 });
}

/**
 * Waits until the process' parent has waited for it, for a moment at most: not every parent does. A caller that is the
 * parent (containerd's shim) then knows of the end before it hears of the error, and lets the container be deleted.
 */
async function waitedFor(ref: ProcessRef | null): Promise<void> {
  const deadline = Date.now() + REAP_TIMEOUT_MS;
  while (ref !== null && readStat(ref.pid)?.startTime === ref.startTime && Date.now() < deadline) await Bun.sleep(2);
}

/** Decimal digits and nothing else, complete from the first moment on. */
export function writePidFile(path: string, pid: number): void {
  const temporary = join(dirname(path), `.${basename(path)}`);
  try {
    writeFileSync(temporary, String(pid), { mode: 0o644 });
    renameSync(temporary, path);
  } catch (cause) {
    throw new RuntimeError("host", `cannot write the pid file ${path}`, { path, cause });
  }
}

/** Groups of `more` replace single fields of `old`. */
export function mergeResources(old: Resources | undefined, more: Resources): Resources {
  const merged: Record<string, unknown> = { ...old };
  for (const [group, fields] of Object.entries(more)) {
    const before = merged[group];
    merged[group] =
      typeof fields === "object" && !Array.isArray(fields) && typeof before === "object" && before !== null
        ? { ...before, ...fields }
        : fields;
  }
  return merged as Resources;
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // Closed already, by whom it was handed to.
  }
}
