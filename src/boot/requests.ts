/**
 * What the sandbox answers: each request of core/sandbox.ts' ControlMethods, on the kernel's tables.
 */
import type { ControlMethods, ExecParams, GuestProcess, LaunchOptions } from "../core/sandbox.ts";
import { decodeName, encodeCString } from "../kernel/abi/bytes.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { MemoryBound } from "../kernel/mm/oom.ts";
import { kernelInfo, sendSignal, sendToGroup } from "../kernel/signal/send.ts";
import { killProcess } from "../kernel/task/exit.ts";
import type { Process } from "../kernel/task/process.ts";
import type { Seccomp } from "../kernel/task/seccomp.ts";
import { RUN_ZOMBIE, type Task } from "../kernel/task/task.ts";
import { readClock } from "../kernel/time/clock.ts";
import { processCpuNs } from "../kernel/time/cpu-time.ts";
import type { Path } from "../kernel/vfs/dentry.ts";
import { closeFd, dupTo, openat2, renameat2, writeFd } from "../native/host.ts";
import type { HostWatcher } from "../native/poller.ts";
import { exitProcess } from "../native/sandbox.ts";
import { type Answer, type ControlServer, Refusal } from "./control.ts";
import { applyLimits } from "./limits.ts";
import { seccompOf } from "./seccomp-profile.ts";
import { checkProgram, makeTask, startProgram } from "./start.ts";
import { openStdio, reopenStdio } from "./stdio.ts";

/** /dev/null, see launch.ts. */
const NULL_FD = 0;
const STDERR_FD = 2;
const SIGKILL = 9;
const SIGTSTP = 20;
const SIGWINCH = 28;
const POLLIN = 1;
const POLLHUP = 16;
const EBUSY = 16;
const EINVAL = 22;
const ESRCH = 3;
const CLOCK_REALTIME = 0;
const O_WRONLY_CREATE = 0o1101;

/** How a wait(2) status looks to the host half. */
function exitStatus(status: number): ControlMethods["wait"]["result"] {
  const signal = status & 0x7f;
  return signal !== 0 ? { exitCode: 128 + signal, signal } : { exitCode: (status >> 8) & 0xff, signal: 0 };
}

/** The other end of an exec's waiter: when it closes before the process has ended, the process is killed. */
class WaiterChannel implements HostWatcher {
  constructor(
    readonly kernel: Kernel,
    readonly fd: number,
    readonly process: Process,
  ) {
    kernel.poller.watch(fd, POLLIN | POLLHUP, this);
  }
  hostReady(): void {
    this.close();
    if (!this.process.zombie) killProcess(this.process, SIGKILL);
  }
  tell(code: number): void {
    writeFd(this.fd, Uint8Array.of(code), 1);
    this.close();
  }
  private open = true;
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.kernel.poller.unwatch(this.fd);
    closeFd(this.fd);
  }
}

export interface RequestContext {
  kernel: Kernel;
  options: LaunchOptions;
  root: Path;
  /** The container's first task, before its program is started. */
  task: Task;
  /** Guest descriptors of the first process. */
  stdio: readonly number[];
  bound: MemoryBound;
  /** The state directory, or -1. */
  stateFd: number;
}

export class Requests {
  /** The launching command asked for a sandbox that outlives it. */
  committed = false;
  private started = false;
  private starting = false;
  private readonly waiters = new Map<number, Answer[]>();
  private readonly channels = new Map<number, WaiterChannel>();
  private readonly statuses = new Map<number, number>();

  /** The container's profile, for its first process and those of exec. */
  private readonly seccomp: Seccomp | null;

  constructor(private readonly context: RequestContext) {
    this.seccomp = seccompOf(context.options.spec);
    context.kernel.onRootExit = (process, status) => this.onExit(process, status);
  }

  /** A signal for the container: to the terminal's foreground group if there is one and it is asked for, else to init. */
  signal(signo: number, foreground: boolean): void {
    const { kernel } = this.context;
    const group = foreground ? (kernel.console?.foreground ?? null) : null;
    if (group !== null) sendToGroup(group, kernelInfo(signo));
    else if (kernel.init !== null && signo !== SIGWINCH && signo !== SIGTSTP)
      sendSignal(kernel.init, kernelInfo(signo));
  }

  private onExit(process: Process, status: number): void {
    // A program that could not be started: the answer says so, and the caller takes the sandbox down.
    if (this.starting) return;
    this.statuses.set(process.pid, status);
    const result = exitStatus(status);
    const first = process === this.context.task.process;
    if (first) this.writeExit(result);
    for (const answer of this.waiters.get(process.pid) ?? []) answer.resolve(result);
    this.waiters.delete(process.pid);
    this.channels.get(process.pid)?.tell(result.exitCode);
    this.channels.delete(process.pid);
    if (first) {
      this.context.kernel.log.debug(`init ended with status 0x${status.toString(16)}`);
      exitProcess(result.exitCode);
    }
  }

  /** Leaves how the container ended in its state directory, whole or not at all. */
  private writeExit(result: ControlMethods["wait"]["result"]): void {
    const { stateFd } = this.context;
    if (stateFd < 0) return;
    const temporary = encodeCString(".exit.json");
    const fd = openat2(stateFd, temporary, O_WRONLY_CREATE, 0o640, 0);
    if (fd < 0) return;
    const text = Buffer.from(JSON.stringify(result));
    const written = writeFd(fd, text, text.length);
    closeFd(fd);
    if (written === text.length) renameat2(stateFd, temporary, stateFd, encodeCString("exit.json"), 0);
  }

  private processOf(pid: number | undefined): Process {
    const process = pid === undefined ? this.context.task.process : this.context.kernel.processes.get(pid);
    if (process === undefined || process.zombie) throw new Refusal("no such process", ESRCH);
    return process;
  }

  private living(): Process[] {
    return [...this.context.kernel.processes.values()].filter((process) => !process.zombie);
  }

  add(server: ControlServer): void {
    const { methods } = server;
    const { kernel, options, root, task, stdio, bound } = this.context;
    methods.set("start", () => {
      if (this.started) throw new Refusal("the first process has been started already", EBUSY);
      const oci = options.spec.process;
      if (oci === undefined) throw new Refusal("the spec has no process", EINVAL);
      this.started = true;
      this.starting = true;
      startProgram(task, oci, openStdio(kernel, task, stdio, options.terminal), this.seccomp);
      this.starting = false;
      return {};
    });
    methods.set("wait", ({ pid }: ControlMethods["wait"]["params"], _fds, answer) => {
      const target = pid ?? task.process.pid;
      const known = this.statuses.get(target);
      if (known !== undefined) return exitStatus(known);
      this.processOf(target);
      const list = this.waiters.get(target) ?? [];
      list.push(answer);
      this.waiters.set(target, list);
      return undefined;
    });
    methods.set("signal", ({ signal, pid, all, foreground }: ControlMethods["signal"]["params"]) => {
      // A frozen guest could not die: SIGKILL thaws, as runc's kill does.
      if (signal === 9 && kernel.paused) kernel.resume();
      if (all) for (const process of this.living()) sendSignal(process, kernelInfo(signal));
      else if (foreground) this.signal(signal, true);
      else sendSignal(this.processOf(pid), kernelInfo(signal));
      return {};
    });
    methods.set("commit", () => {
      // Callers read create's error for a program that is not there (Podman and Docker take their status from it).
      if (options.spec.process !== undefined && !this.started) checkProgram(task, options.spec.process);
      this.committed = true;
      // The launching command's standard error is not ours to keep: its callers wait until everybody has closed it.
      dupTo(NULL_FD, STDERR_FD);
      return {};
    });
    methods.set("destroy", () => {
      killProcess(task.process, SIGKILL);
      return {};
    });
    methods.set("exec", (params: ExecParams, fds) => this.exec(params, fds));
    methods.set("pause", () => {
      if (kernel.paused) throw new Refusal("the sandbox is paused already", EBUSY);
      kernel.pause();
      return {};
    });
    methods.set("resume", () => {
      if (!kernel.paused) throw new Refusal("the sandbox is not paused", EINVAL);
      kernel.resume();
      return {};
    });
    methods.set("processes", () => ({ processes: this.living().map((process) => this.describe(process)) }));
    methods.set("stats", () => this.stats());
    methods.set("update", ({ resources }: ControlMethods["update"]["params"]) => {
      applyLimits(kernel, bound, resources);
      return {};
    });
    void root;
  }

  private exec(params: ExecParams, fds: number[]): ControlMethods["exec"]["result"] {
    const { kernel, root } = this.context;
    const channel = params.notify ? fds.pop() : undefined;
    let task: Task;
    try {
      if (kernel.paused && !params.ignorePaused) throw new Refusal("the container is paused", EBUSY);
      task = makeTask(kernel, root, params.id, "exec");
      if (channel !== undefined) this.channels.set(task.process.pid, new WaiterChannel(kernel, channel, task.process));
    } catch (error) {
      for (const fd of fds) closeFd(fd);
      if (channel !== undefined) closeFd(channel);
      throw error;
    }
    this.starting = true;
    try {
      startProgram(task, params.process, openStdio(kernel, task, reopenStdio(fds), params.terminal), this.seccomp);
    } catch (error) {
      this.channels.get(task.process.pid)?.close();
      this.channels.delete(task.process.pid);
      throw error;
    } finally {
      this.starting = false;
    }
    return { pid: task.process.pid };
  }

  private describe(process: Process): GuestProcess {
    const { kernel } = this.context;
    const { leader } = process;
    const task = process.tasks.find((t) => t.runState < RUN_ZOMBIE) ?? leader;
    const { mm } = task;
    const length = Math.max(0, Math.min(4096, mm.argEnd - mm.argStart));
    const bytes = new Uint8Array(length);
    const got = Math.max(0, mm.copyIn(mm.argStart, bytes, 0, length));
    const args = decodeName(bytes, 0, got).split("\0");
    if (args.at(-1) === "") args.pop();
    const age = kernel.now() - leader.startTime;
    const { tty } = process.group.session;
    const index = (tty as { index?: number } | null)?.index;
    return {
      pid: process.pid,
      stubPid: mm.space.hostPid,
      ppid: process.parent?.pid ?? 0,
      uid: task.cred.euid,
      gid: task.cred.egid,
      threads: process.tasks.length,
      tty: tty === null ? "?" : index === undefined ? "tty" : `pts/${index}`,
      startTime: readClock(CLOCK_REALTIME).sec - age / 1e9,
      cpuMs: processCpuNs(process) / 1e6,
      command: leader.comm,
      args,
    };
  }

  private stats(): ControlMethods["stats"]["result"] {
    const { kernel } = this.context;
    const { cgroup } = kernel;
    const memory = cgroup.memoryUsed();
    const kernelNs = readClock(2 /* CLOCK_PROCESS_CPUTIME_ID */);
    return {
      cpuUserNs: cgroup.cpuTimeNs(),
      cpuKernelNs: kernelNs.sec * 1e9 + kernelNs.nsec,
      memoryBytes: memory,
      memoryMaxBytes: cgroup.memoryPeak,
      memoryCacheBytes: 0,
      processes: this.living().reduce((n, process) => n + process.tasks.length, 0),
      interfaces: [
        {
          name: "lo",
          rxBytes: 0,
          rxPackets: 0,
          rxErrors: 0,
          rxDropped: 0,
          txBytes: 0,
          txPackets: 0,
          txErrors: 0,
          txDropped: 0,
        },
      ],
    };
  }
}
