/**
 * The container's life: every OCI verb, against the Sandbox interface, the state directory and the plugins' hooks.
 *
 * Sources: runtime-spec runtime.md and config.md (lifecycle, hooks), runc's behaviour where its callers depend on it.
 * Invariants: what changes a container holds its lock; `create` writes the pid file last; whatever fails on the way of
 * `create` undoes what was done; the sandbox dies with the command until it is committed, so a killed `create` leaves a
 * directory that reads as a stopped container and nothing else.
 */

import { closeSync, existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { CommandContext } from "../command.ts";
import { describe, MESSAGES, RuntimeError } from "../errors.ts";
import { programError, startFailure } from "../exec-error.ts";
import { checkRoot, inUserNamespace } from "../global-flags.ts";
import type { HostCalls } from "../host-calls.ts";
import { checkCpu, cpuFlags, type Restoring, restoreImage, savedContainers } from "../image.ts";
import { inheritedDescriptors } from "../inherited.ts";
import { checkJoinerRules, containerNetwork } from "../network.ts";
import { choosePlatform, straceNames } from "../platforms.ts";
import type { ContainerStatus } from "../plugin.ts";
import type {
  ContainerOptions,
  ExitStatus,
  GuestProcess,
  GuestStats,
  RestoreImage,
  SandboxHandle,
  SandboxLauncher,
  SandboxOptions,
} from "../sandbox.ts";
import { ControlError, KILLED } from "../sandbox.ts";
import { mergeResources } from "../spec/resources.ts";
import { earlyMounts, sandboxNamespaces } from "../spec/sandbox-part.ts";
import type { Process, Resources, Spec } from "../spec/schema.ts";
import {
  applyResources,
  type CgroupHost,
  cgroupDirectories,
  detectCgroups,
  existingAbove,
  frozenCgroup,
  makeCgroups,
  removeCgroups,
  requireThawed,
  thawCgroups,
} from "./cgroup.ts";
import { checkConsole } from "./console.ts";
import { Container, UNWANTED } from "./container.ts";
import { leaveExitStatus, readExitStatus } from "./exit-status.ts";
import { isJoiner, Joiners } from "./joiners.ts";
import { findPlace, type Place, SHARES_NOTHING } from "./joining.ts";
import { writePidFile } from "./pid-file.ts";
import { ended, isAlive, waitedFor } from "./process-ref.ts";
import { isLegal, requireState } from "./state.ts";
import { checkId, FORMAT, type LockedContainer, type Metadata, Store } from "./store.ts";

/** The sandbox's answer to a second start. */
const EBUSY = 16;
const SIGKILL = 9;
/** The sandbox' answers to a second pause and a second resume. */
const NOTHING_TO_DO = { pause: EBUSY, resume: 22 } as const;
/** How long a killed process may take to be gone. After the first of it, what is in its sandbox is thawed too. */
const END_TIMEOUT_MS = 10_000;
const END_SOON_MS = 500;
/** How long the process of a container that has ended may take to be gone; of one that has perhaps. */
const LAST_MOMENT_MS = 1000;
const MOMENT_MS = 300;
/** The answers of a sandbox that lacks the process, or the container, that it is asked about. */
const ESRCH = 3;
/** What a sandbox has to take on a SIGKILL, and then to carry it out; then it is killed itself. Less than 5 s together. */
const KILL_ANSWER_MS = 2000;
const KILL_DONE_MS = 2000;

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
  /** What the container is filled with, in place of being begun; `spec` is given, too. */
  restoring?: Restoring;
}

export interface CheckpointOptions {
  leaveRunning: boolean;
  /** Not with other containers in its sandbox. */
  alone?: boolean;
  directory: string;
  /** Writes the image: to `directory`, but for a branch. */
  save(container: Container, sandbox: SandboxHandle): Promise<void>;
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

export class Containers {
  private readonly joiners: Joiners;

  private constructor(
    private readonly context: CommandContext,
    readonly store: Store,
    private readonly host: HostCalls,
    private readonly launcher: () => Promise<SandboxLauncher>,
    private readonly cgroupHost: () => CgroupHost,
  ) {
    this.joiners = new Joiners(store, host, launcher, context.log);
  }

  /** `cgroupHost`: where cgroups are made; unit tests have none, since ids are the same in all of them. */
  static async open(context: CommandContext, cgroupHost: () => CgroupHost = detectCgroups): Promise<Containers> {
    const host = await context.hostCalls();
    checkRoot(context.globals.root);
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

  /** What the metadata says, unless the process that it speaks of is gone, or its sandbox or its maker is. */
  private currentStatus(metadata: Metadata): ContainerStatus {
    const { status, process: ref, sandbox } = metadata;
    if (status === "stopped") return status;
    if (isJoiner(metadata) && sandbox !== null && !isAlive(sandbox)) return "stopped";
    if (ref !== null) return isAlive(ref) && (status !== "creating" || this.beingMade(metadata)) ? status : "stopped";
    return this.beingMade(metadata) ? status : "stopped";
  }

  private beingMade({ id, status }: Metadata): boolean {
    return status === "creating" && !this.store.isUnlocked(id);
  }

  /** The sandbox of a container that is not stopped. */
  private async attach(container: Container): Promise<SandboxHandle> {
    const { sandbox } = container.metadata;
    if (sandbox === null || !isAlive(sandbox))
      throw new RuntimeError("wrong-state", MESSAGES.notRunning, { id: container.id });
    return (await this.launcher()).attach(this.store.directory(container.id), sandbox);
  }

  private async withSandbox<T>(container: Container, use: (sandbox: SandboxHandle) => Promise<T>): Promise<T> {
    return this.explained(container.metadata, async () => {
      const sandbox = await this.attach(container);
      try {
        return await use(sandbox);
      } finally {
        sandbox.close();
      }
    });
  }

  /** A sandbox that does not answer: why, as far as it is known, and what its owner can do. */
  private async explained<T>(metadata: Metadata, use: () => Promise<T>): Promise<T> {
    try {
      return await use();
    } catch (error) {
      const { id, sandboxId, process: ref } = metadata;
      // Its sandbox lives on when a joiner has ended between the look and the question.
      const gone = error instanceof ControlError ? error.errno === ESRCH : isRuntimeError(error, "sandbox");
      if (gone && isJoiner(metadata) && ref !== null && (await ended(ref, MOMENT_MS)))
        throw new RuntimeError("wrong-state", MESSAGES.notRunning, { id });
      if (!isRuntimeError(error, "no-answer")) throw error;
      const frozen = frozenCgroup(this.cgroupsOfSandbox(metadata));
      const why = frozen === undefined ? error.message : `${error.message}, its cgroup ${frozen} is frozen`;
      const end = `"runts kill ${sandboxId} KILL" or "runts delete --force ${sandboxId}" ends it`;
      throw new RuntimeError("no-answer", `${why}; ${end}`, { id });
    }
  }

  private cgroupsOfSandbox(metadata: Metadata): readonly string[] {
    if (!isJoiner(metadata)) return metadata.cgroups;
    try {
      return this.store.read(metadata.sandboxId).cgroups;
    } catch {
      return [];
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
    if (options.restoring !== undefined) checkCpu(options.restoring.image.manifest, await cpuFlags());
    const locked = this.store.create({
      format: FORMAT,
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
      ...(this.isOverlaid(options.restoring) ? { overlay: "memory" } : {}),
      ...(options.restoring === undefined ? {} : { restored: true }),
    });
    const { metadata } = locked;
    let sandbox: SandboxHandle | undefined;
    const closeLater: number[] = [];
    try {
      await plugins.run("container:creating", { container: this.seen(locked), spec });
      const place = await this.findPlace(locked);
      requirePart(options.id, options.restoring, place);
      const planned = this.planCgroups(spec, options.id);
      // Before they are ours: undoing removes those, and somebody else's frozen one is not to be removed.
      requireThawed(options.id, planned.map(existingAbove));
      metadata.cgroups = planned;
      locked.save();
      metadata.cgroups = makeCgroups(metadata.cgroups, spec.linux?.resources, this.cgroupsRequired(spec), log);
      locked.save();

      const stdio = this.openStdio(terminal, options, spec, closeLater);
      const own = this.containerOptions(locked, stdio.descriptors, terminal);
      sandbox =
        place === null
          ? await this.launch(locked, own, options.detached, options.restoring)
          : await this.join(locked, own, place.share, options.restoring);
      if (stdio.master !== undefined) this.sendConsole(options.consoleSocket!, stdio.master);

      await plugins.run("container:create-runtime", { container: this.seen(locked) });
      if (options.restoring === undefined)
        await plugins.run("container:create-container", { container: this.seen(locked) });
      metadata.status = "created";
      locked.save();
      if (options.detached) await sandbox.request("commit", { id: options.id });
      await plugins.run("container:created", { container: this.seen(locked) });
      // Last: callers take it as the sign that create is complete.
      if (options.pidFile !== undefined) writePidFile(options.pidFile, metadata.process!.pid);
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
    // Root of somebody's user namespace has no more of the host's cgroups than who made that.
    const mayNot = process.geteuid!() !== 0 || inUserNamespace();
    const isRootless = rootless === "auto" ? mayNot : rootless === "true" || rootless === "1";
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

  /** Where the container goes; one that joins is of its sandbox from now on. */
  private async findPlace(locked: LockedContainer): Promise<Place | null> {
    const { metadata } = locked;
    const place = await findPlace(this.context, this.store, this.seen(locked), (id) => this.lookUp(id));
    if (place === null) return null;
    const { id, sandbox, platform, network } = place.sandbox;
    checkJoinerRules(metadata.id, metadata.spec, id, place.sandbox.spec);
    Object.assign(metadata, { sandboxId: id, sandbox, platform, network });
    return place;
  }

  /** A container by its exact id; null when there is none. */
  private lookUp(id: string): Container | null {
    checkId(id);
    try {
      return this.look(this.store.read(id));
    } catch (error) {
      if (error instanceof RuntimeError && error.code === "not-found") return null;
      throw error;
    }
  }

  private containerOptions(locked: LockedContainer, stdio: number[], terminal: boolean): ContainerOptions {
    const { id, bundle, spec } = locked.metadata;
    return {
      id,
      bundle,
      spec,
      overlay: locked.metadata.overlay ?? "none",
      stdio,
      terminal,
      stateDirectory: locked.directory,
      cgroups: [],
      share: SHARES_NOTHING,
      waiter: null,
    };
  }

  /** As it was saved, or as is asked for. */
  private isOverlaid(restoring: Restoring | undefined): boolean {
    if (restoring === undefined) return this.context.globals.overlay;
    return savedContainers(restoring.image)[restoring.part]!.overlay === "memory";
  }

  /** A sandbox of the container's own, which also stands for it. */
  private async launch(
    locked: LockedContainer,
    own: ContainerOptions,
    detached: boolean,
    restoring: Restoring | undefined,
  ): Promise<SandboxHandle> {
    const { globals, plugins } = this.context;
    const { metadata } = locked;
    const network = containerNetwork(globals, metadata.spec, this.context.network);
    metadata.network = network.network;
    const options: SandboxOptions = {
      id: metadata.id,
      platform: metadata.platform,
      ...network,
      debug: globals.debug,
      strace: straceNames(globals["strace"]),
      // The container's standard error is its own: the kernel writes to it only when somebody wants to watch.
      debugLog: globals.debugLog ?? (globals.debug || globals["strace"] !== undefined ? null : "/dev/null"),
      plugins: plugins.sandboxPlugins(),
      earlyMounts: earlyMounts(metadata.spec),
      namespaces: sandboxNamespaces(metadata.spec, metadata.bundle),
      terminal: own.terminal ? own.stdio[0]! : null,
      cgroups: metadata.cgroups,
      dieWithParent: !detached,
      clock: restoring?.image.manifest.clock ?? null,
    };
    const container = this.seen(locked);
    await plugins.run("sandbox:launching", { container, options });
    await plugins.run("container:adding", { container, options: own });
    const launcher = await this.launcher();
    // Pages are looked through while the sandbox starts.
    const files = restoring?.image.files();
    files?.catch(() => {});
    const sandbox = await launcher.launch(options);
    try {
      const image = restoring === undefined ? null : restoreImage(restoring, await files!);
      await this.add(launcher, sandbox, own, image);
    } catch (error) {
      await sandbox.kill();
      throw error;
    }
    metadata.sandbox = { pid: sandbox.pid, startTime: sandbox.startTime };
    metadata.process = metadata.sandbox;
    locked.save();
    return sandbox;
  }

  /** The container goes into a sandbox that is there, and a waiter stands for it. */
  private async join(
    locked: LockedContainer,
    own: ContainerOptions,
    share: ContainerOptions["share"],
    restoring: Restoring | undefined,
  ): Promise<SandboxHandle> {
    const { metadata } = locked;
    const { sandboxId, sandbox: ref } = metadata;
    if (straceNames(this.context.globals["strace"]) !== null)
      this.context.log.warn(`--strace has no effect here: the sandbox ${sandboxId} traces as it was started`);
    let sandbox: SandboxHandle | undefined;
    try {
      // First, since its way into the cgroups takes a while; the sandbox' own into the same is short after that.
      const waiter = this.joiners.startWaiter(metadata.cgroups, own.terminal ? own.stdio[0]! : -1, ref!);
      try {
        metadata.process = waiter.process;
        locked.save();
        const launcher = await this.launcher();
        const handle = await launcher.attach(this.store.directory(sandboxId), ref!);
        sandbox = handle;
        const options = { ...own, cgroups: metadata.cgroups, share, waiter: waiter.channel };
        await this.context.plugins.run("container:adding", { container: this.seen(locked), options });
        const image = restoring === undefined ? null : restoreImage(restoring, null);
        await this.explained(metadata, () => this.add(launcher, handle, options, image, waiter.joined));
        return handle;
      } finally {
        closeQuietly(waiter.channel);
      }
    } catch (error) {
      // Closed, the connection takes with it what of the container there may be.
      sandbox?.close();
      await this.joiners.endByForce(metadata);
      throw error;
    }
  }

  private async add(
    launcher: SandboxLauncher,
    sandbox: SandboxHandle,
    options: ContainerOptions,
    image: RestoreImage | null,
    ready?: Promise<void>,
  ): Promise<void> {
    const { warnings } =
      image === null
        ? await launcher.addContainer(sandbox, options, ready)
        : await launcher.restoreContainer(sandbox, options, image, ready);
    this.warn(warnings);
  }

  private warn(warnings: readonly string[]): void {
    for (const warning of warnings) this.context.log.warn(warning);
  }

  /** Takes down what a failed create or start has made. Failures on the way are kept with the error. */
  private async undo(locked: LockedContainer, sandbox: SandboxHandle | undefined, error: unknown): Promise<void> {
    const problems: unknown[] = error instanceof RuntimeError ? error.cleanup : [];
    const { metadata } = locked;
    try {
      if (sandbox !== undefined) await this.endProcesses(metadata, sandbox);
      else if (metadata.sandbox !== null) await this.untilEnded(metadata);
    } catch (problem) {
      problems.push(problem);
    }
    if (isJoiner(metadata)) sandbox?.close();
    await this.forget(locked, problems);
    // The spec has poststop hooks run after a failed hook too: the runtime environment had been made.
    if (sandbox !== undefined) await this.tellDeleted(metadata);
  }

  /** Ends the container's processes; the sandbox, too, when it is this container's own. */
  private async endProcesses(metadata: Metadata, sandbox: SandboxHandle | null): Promise<void> {
    if (isJoiner(metadata)) await this.joiners.end(metadata, sandbox);
    else {
      this.killSandbox(metadata);
      await sandbox?.kill();
    }
    await this.untilEnded(metadata);
  }

  /** SIGKILL to a container's own sandbox, which need not answer any more. What is frozen can only die when thawed. */
  private killSandbox({ sandbox, cgroups }: Metadata): void {
    if (sandbox !== null) this.host.signalProcess(sandbox, SIGKILL);
    thawCgroups(cgroups, this.context.log);
  }

  private async untilEnded(metadata: Metadata): Promise<void> {
    const { id, process: ref, cgroups } = metadata;
    if (ref === null || (await ended(ref, END_SOON_MS))) return;
    // A sandbox process ends after all that is in it, and what is frozen there does not.
    if (!isJoiner(metadata)) for (const each of this.store.joiners(id)) thawCgroups(each.cgroups, this.context.log);
    if (await ended(ref, END_TIMEOUT_MS)) return;
    const frozen = frozenCgroup(cgroups);
    const why = frozen === undefined ? "" : `: its cgroup ${frozen} is frozen from above`;
    throw new RuntimeError("sandbox", `process ${ref.pid} of container ${id} does not end${why}`, { id });
  }

  /** Removes cgroups and state directory. */
  private async forget(locked: LockedContainer, problems: unknown[]): Promise<void> {
    const { metadata } = locked;
    const left = await removeCgroups(isJoiner(metadata) ? this.joiners.ownGroups(metadata) : metadata.cgroups);
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
      requireThawed(container.id, metadata.cgroups);
      const sandbox = attached ?? (await this.explained(metadata, () => this.attach(container)));
      try {
        if (metadata.restored === undefined) await plugins.run("container:starting", { container, sandbox });
        try {
          await this.explained(metadata, () => sandbox.request("start", { id: container.id }));
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
        // A sandbox that does not answer may still do it, and can be asked again.
        const unknown = error instanceof RuntimeError && error.code === "no-answer";
        if (unknown && attached === undefined) sandbox.close();
        else if (metadata.status !== "running") {
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
    if (locked.metadata.restored !== undefined) {
      const errors = await this.context.plugins.runAll("container:restored", { container: this.seen(locked) });
      this.warn(errors.map(describe));
      return;
    }
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
        const status = await this.withSandbox(container, (sandbox) =>
          sandbox.request("wait", { id: container.id, ...(pid === undefined ? {} : { pid }) }),
        );
        // Who is told of the end finds the container stopped.
        const { process: ref } = container.metadata;
        if (pid === undefined && ref !== null) await ended(ref, LAST_MOMENT_MS);
        return status;
      } catch (error) {
        // It may have ended between our look and our question, or died with its answer unsent.
        if (pid !== undefined || !(error instanceof RuntimeError) || error.code === "no-answer") throw error;
      }
    }
    const status = this.exitStatus(container);
    if (pid !== undefined || status === null)
      throw new RuntimeError("wrong-state", MESSAGES.notRunning, { id: container.id });
    return status;
  }

  /** How a container ended; null while it has not, or when nobody knows: it may be deleted. */
  endOf(id: string): ExitStatus | null {
    const container = this.lookUp(id);
    return container === null ? null : this.exitStatus(container);
  }

  private exitStatus({ metadata }: Container): ExitStatus | null {
    const said = readExitStatus(this.store.directory(metadata.id));
    if (said !== null || !isJoiner(metadata)) return said;
    // Killed with its sandbox, or its waiter was, and the sandbox has not come to it yet.
    return metadata.process !== null && this.currentStatus(metadata) === "stopped" ? KILLED : null;
  }

  // ---- exec, kill, pause, resume, update ----

  async exec(text: string, options: ExecOptions): Promise<ExecSession> {
    const { plugins } = this.context;
    plugins.requireAll();
    const container = this.get(text);
    if (!(options.ignorePaused && container.status === "paused")) requireState("exec", container.id, container.status);
    requireThawed(container.id, container.metadata.cgroups);
    return this.execIn(container, options);
  }

  private async execIn(container: Container, options: ExecOptions): Promise<ExecSession> {
    const { plugins } = this.context;
    const sandbox = await this.explained(container.metadata, () => this.attach(container));
    const pair = new Int32Array(2);
    // The process that stands for this one on the host: callers reap it and take its exit code, its terminal tells it of ^C.
    const terminal = options.process.terminal === true ? options.stdio[0]! : -1;
    const needsWaiter = options.detached || options.pidFile !== undefined || terminal >= 0;
    try {
      if (needsWaiter) {
        const result = this.host.socketPair(pair);
        if (result < 0) throw new RuntimeError("host", `cannot make a socket pair (errno ${-result})`);
      }
      const params = {
        id: container.id,
        process: options.process,
        terminal: options.process.terminal === true,
        notify: needsWaiter,
        ignorePaused: options.ignorePaused,
      };
      const { pid } = await this.explained(container.metadata, () =>
        sandbox.request("exec", params, needsWaiter ? [...options.stdio, pair[1]!] : options.stdio),
      );
      if (needsWaiter) {
        const waiter = this.host.spawnWaiter(pair[0]!, terminal, container.metadata.sandbox?.pid ?? 0);
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
    if (signal === SIGKILL && options.pid === undefined) await this.end(container, options.all ?? false);
    else await this.explained(container.metadata, () => this.signal(container, signal, options));
  }

  private async signal(
    container: Container,
    signal: number,
    { all, pid }: { all?: boolean; pid?: number },
    limitMs?: number,
  ): Promise<void> {
    const sandbox = await this.attachRunning(container);
    try {
      const params = {
        id: container.id,
        signal,
        ...(all === undefined ? {} : { all }),
        ...(pid === undefined ? {} : { pid }),
      };
      await sandbox.request("signal", params, [], limitMs);
    } catch (error) {
      // A deadly signal may take the sandbox before it can answer.
      if (error instanceof ControlError || sandbox.isAlive()) throw error;
    } finally {
      sandbox.close();
    }
  }

  /** SIGKILL to the container as a whole: by its kernel's hand, or by the host's where that does nothing. */
  private async end(container: Container, all: boolean): Promise<void> {
    const { metadata } = container;
    thawCgroups(metadata.cgroups, this.context.log);
    await this.explained(metadata, async () => {
      try {
        await this.signal(container, SIGKILL, { all }, KILL_ANSWER_MS);
        if (metadata.process === null || (await ended(metadata.process, KILL_DONE_MS))) return;
      } catch (error) {
        if (error instanceof RuntimeError && error.code === "wrong-state") throw error;
        // To say that it has ended while stubs of it may run would not be true.
        if (isJoiner(metadata) && this.joiners.ownGroups(metadata).length === 0) throw error;
        this.context.log.debug(describe(error));
      }
      // Without a cgroup of its own it is left to its kernel, which has taken the signal.
      if (!isJoiner(metadata) || this.joiners.ownGroups(metadata).length > 0) await this.endByForce(container.id);
    });
  }

  /** Ends a container without asking its kernel: with its sandbox when that is its own, else by what is its own. */
  async endByForce(id: string): Promise<void> {
    const metadata = this.store.read(id);
    if (isJoiner(metadata)) await this.joiners.endByForce(metadata);
    else {
      leaveExitStatus(this.store.directory(id), KILLED);
      this.killSandbox(metadata);
    }
    await this.untilEnded(metadata);
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
      try {
        await this.withSandbox(container, (sandbox) => sandbox.request(verb, { id: container.id }));
      } catch (error) {
        // Done by a command that was killed, or that had given up, before it could note it.
        if (!(error instanceof ControlError && error.errno === NOTHING_TO_DO[verb])) throw error;
      }
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

  // ---- checkpoint ----

  /** Saves a container. It goes on with `leaveRunning`, or when it could not be saved; else it is stopped then. */
  async checkpoint(text: string, options: CheckpointOptions): Promise<void> {
    const locked = await this.store.lock(this.store.resolve(text));
    const { metadata } = locked;
    try {
      const container = this.look(metadata);
      requireState("checkpoint", container.id, container.status);
      this.requireFirst(metadata);
      if (options.alone === true) this.requireAlone(metadata);
      requireThawed(container.id, metadata.cgroups);
      await this.withSandbox(container, async (sandbox) => {
        try {
          await options.save(container, sandbox);
        } catch (error) {
          if (!options.leaveRunning) await this.goOn(sandbox, container.id);
          // What became of it says more than that nobody answers any more.
          if (this.look(metadata).status === "stopped")
            throw new RuntimeError(
              "wrong-state",
              `container ${container.id} ended while it was saved: nothing is saved`,
            );
          throw error;
        }
        if (!options.leaveRunning) await this.endSaved(locked, sandbox);
      });
      const { directory } = options;
      const event = { container: this.seen(locked), directory };
      this.warn((await this.context.plugins.runAll("container:checkpointed", event)).map(describe));
    } finally {
      locked.unlock();
    }
  }

  /** What is saved is a sandbox, with all its containers. */
  private requireFirst({ id, sandboxId }: Metadata): void {
    if (sandboxId !== id)
      throw new RuntimeError(
        "unsupported",
        `container ${id} lives in the sandbox ${sandboxId}, which is saved as a whole: "runts checkpoint ${sandboxId}"`,
        { id },
      );
  }

  private requireAlone({ id }: Metadata): void {
    const others = this.store.joiners(id).filter((each) => this.currentStatus(each) !== "stopped");
    if (others.length > 0)
      throw new RuntimeError(
        "unsupported",
        `other containers live in the sandbox of ${id} (${others.map((each) => each.id).join(", ")}): pods cannot be branched`,
        { id },
      );
  }

  private async goOn(sandbox: SandboxHandle, id: string): Promise<void> {
    try {
      await sandbox.request("checkpointed", { id, keep: true });
    } catch (error) {
      // When the connection is closed it goes on all the same.
      this.context.log.debug(describe(error));
    }
  }

  /** The image is whole: the container ends. */
  private async endSaved(locked: LockedContainer, sandbox: SandboxHandle): Promise<void> {
    const { metadata, directory } = locked;
    leaveExitStatus(directory, { exitCode: 0, signal: 0 });
    try {
      await sandbox.request("checkpointed", { id: metadata.id, keep: false });
    } catch (error) {
      // It may be gone before it has answered.
      this.context.log.debug(describe(error));
    }
    if (!(await ended(metadata.process!, END_SOON_MS))) this.killSandbox(metadata);
    await this.untilEnded(metadata);
    metadata.status = "stopped";
    locked.save();
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

  // ---- ps, events, port-forward ----

  /** A connection to a running container's sandbox, for requests again and again; the caller's to close. */
  async connect(text: string, verb: "port-forward"): Promise<{ container: Container; sandbox: SandboxHandle }> {
    const container = this.get(text);
    requireState(verb, container.id, container.status);
    const sandbox = await this.explained(container.metadata, () => this.attachRunning(container));
    return { container, sandbox };
  }

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
      await this.endProcesses(metadata, null);
      await this.forget(locked, problems);
      for (const problem of problems) this.context.log.warn(describe(problem));
      await this.tellDeleted(metadata);
      // Still listed: who is told that it is gone makes it anew, and cannot.
      if (existsSync(locked.directory))
        throw new RuntimeError("host", `the state of container ${id} cannot be removed`, { id });
    } finally {
      locked.unlock();
    }
    return true;
  }

  /** A command that holds the lock while a hook hangs learns that nobody wants the container any more, and lets go. */
  private killFirst(id: string): void {
    try {
      writeFileSync(join(this.store.directory(id), UNWANTED), "");
      const metadata = this.store.read(id);
      if (!isJoiner(metadata)) this.killSandbox(metadata);
      else if (metadata.process !== null) this.host.signalProcess(metadata.process, SIGKILL);
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

/** The first container of an image begins a sandbox; others go into one that waits for them. */
function requirePart(id: string, restoring: Restoring | undefined, place: Place | null): void {
  if (restoring === undefined) return;
  const { image, part } = restoring;
  if (place !== null && part === 0)
    throw new RuntimeError(
      "unsupported",
      `${id} cannot go into the sandbox ${place.sandbox.id}: in the image it had one of its own`,
      { id },
    );
  if (place === null && part !== 0)
    throw new RuntimeError(
      "unsupported",
      `${id} cannot have a sandbox of its own: in the image it lived in that of ${image.container.id}; the annotations of its bundle are to name the restored one`,
      { id },
    );
}

const isRuntimeError = (error: unknown, code: RuntimeError["code"]): error is RuntimeError =>
  error instanceof RuntimeError && error.code === code;

function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // Closed already, by whom it was handed to.
  }
}
