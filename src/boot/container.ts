/**
 * One container of the sandbox, at the sandbox process' end: how it is set up inside the closed jail from descriptors, what
 * was asked of it, and its end.
 */
import {
  type ExecParams,
  type ExitStatus,
  exitStatus,
  type HookParams,
  type HookResult,
  type SavedPart,
} from "../core/sandbox.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import type { Container } from "../kernel/container.ts";
import { SIGKILL, SIGTSTP, SIGWINCH } from "../kernel/signal/numbers.ts";
import { kernelInfo, sendSignal, sendToGroup } from "../kernel/signal/send.ts";
import { exitGroup, killProcess } from "../kernel/task/exit.ts";
import type { Process } from "../kernel/task/process.ts";
import type { Task } from "../kernel/task/task.ts";
import type { File } from "../kernel/vfs/file.ts";
import { closeFd } from "../native/host.ts";
import { type AddParams, bindsOf } from "./add-params.ts";
import { type Answer, type ControlServer, Refusal } from "./control.ts";
import type { Taken } from "./from-host.ts";
import { hookProcess, RunningHook } from "./hooks.ts";
import { applyLimits } from "./limits.ts";
import { applyLinux } from "./linux.ts";
import { finishRoot, type HostTrees, mountAll, mountRoot } from "./rootfs.ts";
import { seccompOf } from "./seccomp-profile.ts";
import { checkProgram, makeTask, startProgram } from "./start.ts";
import { writeState } from "./state-directory.ts";
import { openStdio, reopenStdio } from "./stdio.ts";
import { WaiterChannel } from "./waiter.ts";

const EBUSY = 16;
const EINVAL = 22;
const ESRCH = 3;
/** How long a container has to stop after it was asked to: as long as Docker and Podman wait. */
export const STOP_NS = 10e9;

/** Whoever owns the container: the sandbox. */
export interface ContainerOwner {
  /** It has ended, with this status of its first process; null: that could not be started. */
  ended(container: SandboxContainer, status: number | null): void;
  /** Nothing of it is left. */
  gone(container: SandboxContainer): void;
}

export class SandboxContainer {
  /** What of the spec could not be done: for the command's log. */
  readonly warnings: string[] = [];
  /** From now on it outlives the connection that added it. */
  committed = false;
  /** Its program has been started, or could not be. */
  started = false;
  /** It comes from an image: its program runs already. */
  private restored = false;
  /** How many descriptors its first process was given. */
  private readonly stdio: number;
  /** When it was last sent a signal to stop, CLOCK_MONOTONIC ns. */
  askedToStop = Number.NEGATIVE_INFINITY;
  /** The first task, before its program is started. */
  private task: Task | null = null;
  /** Processes whose program is being started; the status of one that has ended meanwhile. */
  private readonly starting = new Map<Process, number | null>();
  private readonly waiters = new Map<number, Answer[]>();
  private readonly channels = new Map<number, WaiterChannel>();
  private readonly statuses = new Map<number, number>();
  /** The host process that stands for it, where that is not the sandbox. */
  private waiter: WaiterChannel | null = null;
  private removed = false;
  /** Those who want to know when it is gone. */
  private readonly goneAnswers: Answer[] = [];

  private constructor(
    readonly inner: Container,
    private readonly owner: ContainerOwner,
    private readonly server: ControlServer,
    private readonly taken: Taken,
    private readonly params: AddParams,
    private readonly descriptors: ContainerDescriptors,
  ) {
    this.stdio = params.descriptors.stdio;
  }

  /** Sets one up in the kernel's container. Whatever fails leaves nothing, and no descriptor open. */
  static add(
    inner: Container,
    owner: ContainerOwner,
    server: ControlServer,
    taken: Taken,
    params: AddParams,
    descriptors: ContainerDescriptors,
  ): SandboxContainer {
    const container = new SandboxContainer(inner, owner, server, taken, params, descriptors);
    taken.plugins.containerAdded({ id: params.id, spec: params.spec });
    try {
      container.setUp();
    } catch (error) {
      inner.onEnd = null;
      inner.killAll();
      if (inner.living().length === 0) container.remove(null);
      else container.removeSoon(null);
      throw error;
    }
    return container;
  }

  /** One that has been restored: its threads are held until `start`. */
  static restored(
    inner: Container,
    owner: ContainerOwner,
    server: ControlServer,
    taken: Taken,
    params: AddParams,
    descriptors: ContainerDescriptors,
    ended: SavedPart["ended"],
  ): SandboxContainer {
    const container = new SandboxContainer(inner, owner, server, taken, params, descriptors);
    taken.plugins.containerAdded({ id: params.id, spec: params.spec });
    container.restored = true;
    container.task = inner.first!.leader;
    for (const [pid, status] of Object.entries(ended)) container.statuses.set(Number(pid), status);
    container.connect();
    return container;
  }

  private setUp(): void {
    const { inner, params, descriptors, taken } = this;
    const { kernel } = inner;
    const { spec, bundle } = params;
    const hasHostName = bundle !== null && spec.linux?.namespaces?.some(({ type }) => type === "uts") !== true;
    // In a namespace that it shares it has the names that are there.
    if (spec.hostname) inner.uts.hostname = spec.hostname;
    else if (hasHostName && params.share.uts === null) inner.uts.hostname = taken.hostName;
    if (spec.domainname) inner.uts.domainname = spec.domainname;
    inner.seccomp = seccompOf(spec);
    const warn = (text: string) => {
      this.warnings.push(text);
      kernel.log.warn(text);
    };
    const binds = bindsOf(spec);
    const trees: HostTrees = {
      take: (which) => descriptors.takeTree(which),
      numberOf: (mount) => binds.indexOf(mount),
      early: taken.early,
    };
    mountRoot(inner, params, trees);
    const task = makeTask(inner, "init", bundle !== null);
    this.task = task;
    mountAll(kernel, task, params, trees, warn);
    applyLinux(kernel, task, spec, warn);
    finishRoot(inner, params);
    applyLimits(inner, spec.linux?.resources);
    descriptors.reopenStdio();
    this.connect();
  }

  /** With the kernel's container, and with whoever is outside. */
  private connect(): void {
    const { inner, descriptors, first } = this;
    inner.onExit = (process, status) => this.onExit(process, status);
    inner.onEnd = (status) => this.onExit(first, status);
    const channel = descriptors.takeWaiter();
    if (channel >= 0) this.waiter = this.waiterFor(first, channel, () => this.kill());
    if (descriptors.listening >= 0) this.server.listen(descriptors.listening);
  }

  get id(): string {
    return this.params.id;
  }
  private get first(): Process {
    return this.task!.process;
  }

  /** Its first process is gone: nothing can be begun in it any more. */
  get ending(): boolean {
    return this.removed || this.first.zombie;
  }

  // ---- What is asked of it ----

  requireUnstarted(): void {
    if (this.started) throw new Refusal("the first process has been started already", EBUSY);
  }

  start(): void {
    const { params, inner } = this;
    const task = this.task!;
    this.requireUnstarted();
    const oci = params.spec.process;
    if (this.restored) {
      this.started = true;
      inner.thaw();
      return;
    }
    if (oci === undefined) throw new Refusal("the spec has no process", EINVAL);
    this.started = true;
    try {
      this.begin(task, () =>
        startProgram(task, oci, openStdio(task, this.descriptors.takeStdio(), params.terminal), inner.seccomp),
      );
    } catch (error) {
      this.owner.ended(this, null);
      throw error;
    }
  }

  /** Callers read create's error for a program that is not there (Podman and Docker take their status from it). */
  commit(): void {
    const { process } = this.params.spec;
    if (process !== undefined && !this.started && !this.restored) checkProgram(this.task!, process);
    this.committed = true;
  }

  /** What an image says of it. */
  get saved(): SavedPart {
    return {
      id: this.id,
      trees: 1 + bindsOf(this.params.spec).length,
      stdio: this.stdio,
      ended: Object.fromEntries([...this.statuses].map(([pid, status]) => [String(pid), status])),
    };
  }

  /** The status of a process that has ended already; else the answer comes later. */
  wait(pid: number | undefined, answer: Answer): ExitStatus | undefined {
    const target = pid ?? this.first.pid;
    const known = this.statuses.get(target);
    if (known !== undefined) return exitStatus(known);
    this.processOf(target);
    // Callers that have gone meanwhile are forgotten: a container that lives long sees many.
    const list = (this.waiters.get(target) ?? []).filter((each) => !each.gone);
    this.waiters.set(target, [...list, answer]);
    return undefined;
  }

  /** One of its processes; without a number the first. */
  processOf(pid: number | undefined): Process {
    const process = pid === undefined ? this.first : this.inner.pids.processes.get(pid);
    if (process === undefined || process.zombie || process.container !== this.inner)
      throw new Refusal("no such process", ESRCH);
    return process;
  }

  /** To the terminal's foreground group if there is one and it is asked for, else to the first process. */
  signal(signo: number, foreground: boolean): void {
    const { inner } = this;
    const group = foreground ? (inner.console?.foreground ?? null) : null;
    if (group !== null) sendToGroup(group, kernelInfo(signo));
    else if (inner.first !== null && !inner.first.zombie && signo !== SIGWINCH && signo !== SIGTSTP)
      sendSignal(inner.first, kernelInfo(signo));
  }

  /** What comes from the terminal is for the foreground group of the session that the process has begun in. */
  private waiterFor(process: Process, channel: number, onClosed: () => void): WaiterChannel {
    return new WaiterChannel(this.inner.kernel, channel, onClosed, (signo) => {
      const group = process.zombie ? undefined : process.group.session.tty?.foreground;
      if (group) sendToGroup(group, kernelInfo(signo));
    });
  }

  /** Ends its first process, and with it all the others. */
  kill(): void {
    this.inner.thaw();
    if (!this.first.zombie) killProcess(this.first, SIGKILL);
  }

  /** The same; answered when nothing of it is left. */
  destroy(answer: Answer): void {
    this.goneAnswers.push(answer);
    if (!this.ending) this.kill();
  }

  /** Starts another process. What stays in `fds` is closed by the caller. */
  exec(params: ExecParams, fds: number[]): { pid: number } {
    const { inner } = this;
    if (inner.frozen && !params.ignorePaused) throw new Refusal("the container is paused", EBUSY);
    const task = makeTask(inner, "exec");
    const { process } = task;
    try {
      this.begin(task, () => {
        const channel = params.notify ? fds.pop() : undefined;
        if (channel !== undefined)
          this.channels.set(
            process.pid,
            this.waiterFor(process, channel, () => {
              if (!process.zombie) killProcess(process, SIGKILL);
            }),
          );
        startProgram(task, params.process, this.stdioOf(task, params, fds), inner.seccomp);
      });
    } catch (error) {
      this.channels.get(process.pid)?.close();
      this.channels.delete(process.pid);
      throw error;
    }
    return { pid: process.pid };
  }

  /** Takes the descriptors over. */
  private stdioOf(task: Task, { terminal }: ExecParams, fds: number[]): (File | null)[] {
    try {
      return openStdio(task, reopenStdio(fds.splice(0)), terminal);
    } catch (error) {
      if (task.ctx !== null) exitGroup(task, 0);
      throw error;
    }
  }

  hook(params: HookParams, answer: Answer): undefined {
    const { inner } = this;
    const own = this.params.spec.process;
    if (own === undefined || this.started) throw new Refusal("the container's program has been started", EINVAL);
    const running = new RunningHook(inner.kernel, params);
    const task = makeTask(inner, "hook");
    const { process } = task;
    this.begin(task, () =>
      startProgram(task, hookProcess(own, params.hook), running.files, inner.seccomp, params.hook.path),
    );
    const known = this.statuses.get(process.pid);
    if (known !== undefined) {
      answer.resolve(running.ended(exitStatus(known)));
      return undefined;
    }
    running.started(process, params.hook.timeout);
    this.waiters.set(process.pid, [
      {
        ...answer,
        resolve: (status) => answer.resolve(running.ended(status as HookResult["status"])),
        get gone() {
          return answer.gone;
        },
      },
    ]);
    return undefined;
  }

  // ---- Ends ----

  /** Starts a program. Others may be served from within, and may end; so may this one, of a signal right at its start. */
  private begin(task: Task, work: () => void): void {
    const { process } = task;
    this.starting.set(process, null);
    try {
      work();
    } catch (error) {
      this.starting.delete(process);
      throw error;
    }
    const status = this.starting.get(process) ?? null;
    this.starting.delete(process);
    if (status !== null) this.onExit(process, status);
  }

  private onExit(process: Process, status: number): void {
    // Told when the start is over: of a program that could not be started the answer says so.
    if (this.starting.has(process)) {
      this.starting.set(process, status);
      return;
    }
    this.statuses.set(process.pid, status);
    const result = exitStatus(status);
    const first = process === this.first;
    if (first) this.writeExit(result);
    for (const answer of this.waiters.get(process.pid) ?? []) answer.resolve(result);
    this.waiters.delete(process.pid);
    this.channels.get(process.pid)?.tell(result.exitCode);
    this.channels.delete(process.pid);
    if (!first) return;
    this.inner.kernel.log.debug(`container ${this.id}: its first process ended with status 0x${status.toString(16)}`);
    this.owner.ended(this, status);
  }

  /** Leaves how the container ended in its state directory, whole or not at all. */
  private writeExit(result: ExitStatus): void {
    if (this.descriptors.state >= 0) writeState(this.descriptors.state, "exit.json", JSON.stringify(result));
  }

  /** Its program runs. */
  get running(): boolean {
    return this.started && !this.statuses.has(this.first.pid);
  }
  /** And was asked to stop. */
  get stopping(): boolean {
    return this.running && this.inner.kernel.now() - this.askedToStop < STOP_NS;
  }

  /** The sandbox ends, and takes it along: it has ended so. */
  endWithSandbox(result: ExitStatus): void {
    const status = this.statuses.get(this.first.pid);
    if (status === undefined) this.writeExit(result);
    // Of one that has ended already nothing but the removal, which says it otherwise, is missing.
    this.waiter?.tell(status === undefined ? result.exitCode : exitStatus(status).exitCode);
  }

  /** Takes it away, in a turn of its own: who ends is not in the middle of it then. `status`: see ContainerOwner. */
  removeSoon(status: number | null): void {
    this.inner.kernel.chores.push({
      step: () => {
        if (this.inner.living().length > 0) return false;
        this.remove(status);
        return true;
      },
    });
  }

  private remove(status: number | null): void {
    if (this.removed) return;
    this.removed = true;
    const { inner, descriptors } = this;
    const { kernel } = inner;
    if (descriptors.listening >= 0) this.server.unlisten(descriptors.listening);
    descriptors.listening = -1;
    const left = kernel.removeContainer(inner);
    if (left < 0) kernel.log.error(`container ${this.id} cannot be removed: ${errnoName(-left)}`);
    descriptors.close();
    for (const channel of this.channels.values()) channel.close();
    for (const list of this.waiters.values())
      for (const answer of list) answer.reject(new Refusal("the container has ended", ESRCH));
    this.taken.plugins.containerEnded({ id: this.id });
    this.owner.gone(this);
    // Whoever hears of the end may add it anew at once.
    if (status !== null) this.waiter?.tell(exitStatus(status).exitCode);
    this.waiter?.close();
    for (const answer of this.goneAnswers) answer.resolve({});
  }
}

/** The descriptors of an `add`, each until somebody takes it over. */
export class ContainerDescriptors {
  private root: number;
  private readonly binds = new Map<object, number>();
  readonly state: number;
  listening: number;
  private readonly cgroups: number[];
  private stdio: number[];
  waiter: number;
  private network: number;

  /** `fds` in the order of add-params.ts, as many as that says. */
  constructor({ descriptors }: AddParams, binds: readonly object[], fds: number[]) {
    this.root = fds.shift()!;
    for (const mount of binds) this.binds.set(mount, fds.shift()!);
    this.state = descriptors.state ? fds.shift()! : -1;
    this.listening = descriptors.state ? fds.shift()! : -1;
    this.cgroups = fds.splice(0, descriptors.cgroups);
    this.stdio = fds.splice(0, descriptors.stdio);
    this.waiter = descriptors.waiter ? fds.shift()! : -1;
    this.network = descriptors.network === 1 ? fds.shift()! : -1;
  }

  takeTree(which: object | "root"): number {
    const fd = which === "root" ? this.root : (this.binds.get(which as object) ?? -1);
    if (which === "root") this.root = -1;
    else this.binds.delete(which as object);
    return fd;
  }
  reopenStdio(): void {
    this.stdio = reopenStdio(this.stdio);
  }
  takeStdio(): number[] {
    return this.stdio.splice(0);
  }
  /** Open cgroup.procs files. */
  takeCgroups(): number[] {
    return this.cgroups.splice(0);
  }
  takeWaiter(): number {
    const fd = this.waiter;
    this.waiter = -1;
    return fd;
  }

  /** The network broker's socket, or -1. */
  takeNetwork(): number {
    const fd = this.network;
    this.network = -1;
    return fd;
  }

  /** Those that nobody has taken. */
  close(): void {
    const rest = [this.root, ...this.binds.values(), this.state, this.listening, ...this.cgroups, ...this.stdio];
    for (const fd of [...rest, this.waiter, this.network]) if (fd >= 0) closeFd(fd);
    this.root = this.listening = this.waiter = this.network = -1;
    this.binds.clear();
    this.cgroups.length = 0;
    this.stdio.length = 0;
  }
}
