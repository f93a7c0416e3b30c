/**
 * The sandbox process: reads what to do from the control connection, closes its jail, builds the kernel and runs it.
 *
 * Order matters: everything of the host that will be needed is opened first, then the jail closes, then the first guest
 * instruction may run. Descriptors at start: see launch.ts.
 */

import type { Plugin } from "../core/plugin.ts";
import type { ControlMethods, ExecParams, LaunchOptions } from "../core/sandbox.ts";
import { syscallDeclarations } from "../generated/syscalls.ts";
import { encodeCString } from "../kernel/abi/bytes.ts";
import { collectHostInfo } from "../kernel/fs/proc/host-info.ts";
import { registerFileSystems } from "../kernel/fs/register.ts";
import { Kernel } from "../kernel/kernel.ts";
import { KernelLog } from "../kernel/log.ts";
import { MemoryBound } from "../kernel/mm/oom.ts";
import { kernelInfo, sendSignal, sendToGroup } from "../kernel/signal/send.ts";
import { Tracer } from "../kernel/strace/tracer.ts";
import { killProcess } from "../kernel/task/exit.ts";
import type { Process } from "../kernel/task/process.ts";
import type { Path } from "../kernel/vfs/dentry.ts";
import { closeFd, listen, openat2, pipe2, readFd, unixBind, unixSocket, writeFd } from "../native/host.ts";
import { closeLibraryFile } from "../native/library.ts";
import { HostPoller, type HostWatcher } from "../native/poller.ts";
import { catchSignals, dropCapabilities, emptyRoot, exitProcess, privateMounts } from "../native/sandbox.ts";
import type { Platform } from "../platform/platform.ts";
import { PtracePlatform } from "../platform/ptrace/ptrace.ts";
import { SystrapPlatform } from "../platform/systrap/systrap.ts";
import { type Answer, ControlServer, Refusal } from "./control.ts";
import { CONTROL_FD, FIRST_GUEST_FD } from "./launch.ts";
import { mountAll, mountRoot, openHostTrees } from "./rootfs.ts";
import { closeFilter } from "./seccomp.ts";
import { makeTask, startProgram } from "./start.ts";
import { openStdio, reopenStdio } from "./stdio.ts";
import { MessageReader, sendMessage } from "./wire.ts";

/** Part of the host's memory that guests of a sandbox without a limit may use. */
const DEFAULT_MEMORY_PART = 0.75;
const SIGWINCH = 28;
const SIGTSTP = 20;
const POLLIN = 1;

/** A line to the log descriptor, whole. */
function logSink(fd: number): (line: string) => void {
  return (line) => {
    const bytes = Buffer.from(line);
    writeFd(fd, bytes, bytes.length);
  };
}

export async function boot(_args: readonly string[], _builtIns: readonly Plugin[]): Promise<void> {
  const reader = new MessageReader();
  let first = reader.next();
  while (first === null) {
    if (reader.fill(CONTROL_FD, true) !== 1) exitProcess(125);
    first = reader.next();
  }
  const options = first.message.params as LaunchOptions;
  const seq = first.message.seq;
  try {
    const sandbox = new Sandbox(options);
    sendMessage(CONTROL_FD, { seq, result: {} });
    sandbox.run();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    sendMessage(CONTROL_FD, { seq, error: { message, errno: error instanceof Refusal ? error.errno : 0 } });
    if (options.debug && error instanceof Error) logSink(2)(`${error.stack}\n`);
    exitProcess(125);
  }
}

/** How a wait(2) status looks to the host half. */
function exitStatus(status: number): ControlMethods["wait"]["result"] {
  const signal = status & 0x7f;
  return signal !== 0 ? { exitCode: 128 + signal, signal } : { exitCode: (status >> 8) & 0xff, signal: 0 };
}

class Sandbox implements HostWatcher {
  private readonly kernel: Kernel;
  private readonly server: ControlServer;
  private readonly root: Path;
  private readonly task;
  private started = false;
  private committed = false;
  private readonly waiters = new Map<number, Answer[]>();
  private readonly statuses = new Map<number, number>();
  private readonly signals = new Int32Array(2);
  private readonly stdio: number[];

  constructor(private readonly options: LaunchOptions) {
    const log = new KernelLog(logSink(options.debugLog === null ? 2 : openLog(options.debugLog)), options.debug);
    const poller = new HostPoller();
    if (privateMounts() < 0) throw new Error("cannot make the sandbox's mounts private");
    const trees = openHostTrees(options);
    const hostInfo = collectHostInfo();
    const listening = options.stateDirectory === null ? -1 : listenOn(options.stateDirectory);
    const platform = makePlatform(options.platform, poller);
    pipe2(this.signals, 0o4000);
    this.stdio = reopenStdio(options.stdio.map((_, i) => FIRST_GUEST_FD + i));
    closeLibraryFile();
    closeJail(log, options.platform);
    hostInfo.procFd = Math.max(-1, openat2(-100, encodeCString("/proc"), 0o200000, 0, 0));

    this.kernel = new Kernel(platform, poller, log, syscallDeclarations);
    const kernel = this.kernel;
    kernel.hostInfo = hostInfo;
    kernel.hostname = options.spec.hostname ?? "runts";
    if (options.spec.domainname !== undefined) kernel.domainname = options.spec.domainname;
    if (options.strace !== null) kernel.tracer = new Tracer(kernel, logSink(2), options.strace);
    registerFileSystems(kernel);
    this.root = mountRoot(kernel, options, trees);
    this.task = makeTask(kernel, this.root, options.id, "init");
    mountAll(kernel, this.task, options, trees);
    const memory = options.spec.linux?.resources?.memory?.limit;
    new MemoryBound(
      kernel,
      memory !== undefined && memory > 0 ? memory : hostInfo.memTotal * 1024 * DEFAULT_MEMORY_PART,
    );
    kernel.onRootExit = (process, status) => this.onExit(process, status);
    catchSignals(this.signals[1]!);
    poller.watch(this.signals[0]!, POLLIN, this);

    this.server = new ControlServer(kernel);
    this.addMethods();
    this.server.onClosed = (socket) => {
      // The launching command is gone: without `commit` it meant us to go with it.
      if (socket === CONTROL_FD && !this.committed) exitProcess(137);
    };
    this.server.serve(CONTROL_FD);
    if (listening >= 0) this.server.listen(listening);
  }

  run(): void {
    this.kernel.run();
    exitProcess(0);
  }

  /** The signal pipe: what the host's terminal or another process sent to the sandbox process. */
  hostReady(fd: number): void {
    const bytes = new Uint8Array(64);
    const n = readFd(fd, bytes, bytes.length);
    for (let i = 0; i < n; i++) this.signal(bytes[i]!, true);
  }

  private signal(signo: number, foreground: boolean): void {
    const init = this.kernel.init;
    if (init === null) return;
    const group = foreground ? (this.kernel.console?.foreground ?? null) : null;
    if (group !== null) sendToGroup(group, kernelInfo(signo));
    else if (signo !== SIGWINCH && signo !== SIGTSTP) sendSignal(init, kernelInfo(signo));
  }

  private onExit(process: Process, status: number): void {
    this.statuses.set(process.pid, status);
    for (const answer of this.waiters.get(process.pid) ?? []) answer.resolve(exitStatus(status));
    this.waiters.delete(process.pid);
    if (process === this.task.process) {
      this.kernel.log.debug(`init ended with status 0x${status.toString(16)}`);
      exitProcess(exitStatus(status).exitCode);
    }
  }

  private processOf(pid: number | undefined): Process {
    const process = pid === undefined ? this.task.process : this.kernel.processes.get(pid);
    if (process === undefined) throw new Refusal("no such process", 3);
    return process;
  }

  private addMethods(): void {
    const { methods } = this.server;
    methods.set("start", () => {
      if (this.started) throw new Refusal("the first process has been started already", 16);
      this.started = true;
      const oci = this.options.spec.process;
      if (oci === undefined) throw new Refusal("the spec has no process", 22);
      startProgram(this.task, oci, openStdio(this.kernel, this.task, this.stdio, this.options.terminal));
      return {};
    });
    methods.set("wait", ({ pid }: ControlMethods["wait"]["params"], _fds, answer) => {
      const target = pid ?? this.task.process.pid;
      const known = this.statuses.get(target);
      if (known !== undefined) return exitStatus(known);
      this.processOf(target);
      const list = this.waiters.get(target) ?? [];
      list.push(answer);
      this.waiters.set(target, list);
      return undefined;
    });
    methods.set("signal", ({ signal, pid, all, foreground }: ControlMethods["signal"]["params"]) => {
      if (all) {
        for (const process of [...this.kernel.processes.values()])
          if (!process.zombie) sendSignal(process, kernelInfo(signal));
      } else if (foreground) this.signal(signal, true);
      else sendSignal(this.processOf(pid), kernelInfo(signal));
      return {};
    });
    methods.set("commit", () => {
      this.committed = true;
      return {};
    });
    methods.set("destroy", () => {
      killProcess(this.task.process, 9);
      return {};
    });
    methods.set("exec", (params: ExecParams, fds) => {
      const task = makeTask(this.kernel, this.root, params.id, "exec");
      startProgram(task, params.process, openStdio(this.kernel, task, reopenStdio(fds), params.terminal));
      return { pid: task.process.pid, waiter: null };
    });
  }
}

function openLog(path: string): number {
  const fd = openat2(-100, encodeCString(path), 0o2101, 0o644, 0);
  return fd < 0 ? 2 : fd;
}

function listenOn(directory: string): number {
  const socket = unixSocket(1);
  const dir = openat2(-100, encodeCString(directory), 0o200000, 0, 0);
  const path = encodeCString(`/proc/self/fd/${dir}/control.sock`);
  const bound = unixBind(socket, path, path.length);
  closeFd(dir);
  if (bound < 0 || listen(socket, 64) < 0) throw new Error(`cannot listen in ${directory} (errno ${-bound})`);
  return socket;
}

function makePlatform(name: string, poller: HostPoller): Platform {
  const options = { emptyRoot: -1, namespaces: 0, pollerFd: poller.fd };
  if (name === "systrap") return new SystrapPlatform(options);
  if (name === "ptrace") return new PtracePlatform(options);
  throw new Error(`unknown platform "${name}"`);
}

/** Capabilities that file access for guests needs: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, MKNOD. */
const KEPT_CAPABILITIES = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 27);

/** From here on the process sees an empty root and can do little. */
function closeJail(log: KernelLog, platform: string): void {
  const scratch = ["/tmp", "/run", "/mnt", "/var"].find((dir) => emptyRoot(encodeCString(dir)) === 0);
  if (scratch === undefined) throw new Error("cannot enter an empty root (pivot_root was refused)");
  const dropped = dropCapabilities(KEPT_CAPABILITIES, 0);
  if (dropped < 0) throw new Error(`cannot drop capabilities (errno ${-dropped})`);
  const filtered = closeFilter(platform);
  if (filtered < 0) throw new Error(`cannot install the sandbox's system call filter (errno ${-filtered})`);
  log.debug("jail closed");
}
