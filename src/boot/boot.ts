/**
 * The sandbox process: reads what to do from the control connection, closes its jail, builds the kernel and runs it.
 *
 * Order matters: everything of the host that will be needed is opened first, then the jail closes, then the first guest
 * instruction may run. Descriptors at start: see launch.ts.
 */

import { hostname } from "node:os";
import type { Plugin } from "../core/plugin.ts";
import type { LaunchOptions } from "../core/sandbox.ts";
import { syscallDeclarations } from "../generated/syscalls.ts";
import { encodeCString } from "../kernel/abi/bytes.ts";
import { collectHostInfo } from "../kernel/fs/proc/host-info.ts";
import { registerFileSystems } from "../kernel/fs/register.ts";
import { Kernel } from "../kernel/kernel.ts";
import { KernelLog } from "../kernel/log.ts";
import { MemoryBound } from "../kernel/mm/oom.ts";
import { Tracer } from "../kernel/strace/tracer.ts";
import { listen, openat2, pipe2, readFd, unixBind, unixSocket, writeFd } from "../native/host.ts";
import { closeLibraryFile } from "../native/library.ts";
import { HostPoller, type HostWatcher } from "../native/poller.ts";
import {
  catchSignals,
  dropCapabilities,
  emptyRoot,
  exitProcess,
  privateMounts,
  shortSlices,
} from "../native/sandbox.ts";
import type { Platform } from "../platform/platform.ts";
import { PtracePlatform } from "../platform/ptrace/ptrace.ts";
import { SystrapPlatform } from "../platform/systrap/systrap.ts";
import { ControlServer, Refusal } from "./control.ts";
import { CONTROL_FD, FIRST_GUEST_FD } from "./launch.ts";
import { applyLimits } from "./limits.ts";
import { applyLinux } from "./linux.ts";
import { loadPluginHalves, SandboxPlugins } from "./plugins.ts";
import { Requests } from "./requests.ts";
import { finishRoot, makeEarly, mountAll, mountRoot, openHostTrees } from "./rootfs.ts";
import { closeFilter } from "./seccomp.ts";
import { makeTask } from "./start.ts";
import { reopenStdio } from "./stdio.ts";
import { titleStubs } from "./titles.ts";
import { MessageReader, sendMessage } from "./wire.ts";

const POLLIN = 1;
const SOCK_STREAM = 1;
const O_NONBLOCK = 0o4000;
const O_DIRECTORY = 0o200000;
/** The least that Linux grants. */
const SLICE_NS = 100_000;
/** Part of the host's memory that guests of a sandbox without a limit may use. */
const DEFAULT_MEMORY_PART = 0.75;

/** A line to the log descriptor, whole. */
function logSink(fd: number): (line: string) => void {
  return (line) => {
    const bytes = Buffer.from(line);
    writeFd(fd, bytes, bytes.length);
  };
}

export async function boot(_args: readonly string[], builtIns: readonly Plugin[]): Promise<void> {
  const reader = new MessageReader();
  let first = reader.next();
  while (first === null) {
    if (reader.fill(CONTROL_FD, true) !== 1) exitProcess(125);
    first = reader.next();
  }
  const options = first.message.params as LaunchOptions;
  const seq = first.message.seq;
  try {
    const sandbox = new Sandbox(options, await loadPluginHalves(options, builtIns));
    sendMessage(CONTROL_FD, { seq, result: { warnings: sandbox.warnings } });
    await sandbox.run();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    sendMessage(CONTROL_FD, { seq, error: { message, errno: error instanceof Refusal ? error.errno : 0 } });
    if (options.debug && error instanceof Error) logSink(2)(`${error.stack}\n`);
    exitProcess(125);
  }
}

class Sandbox implements HostWatcher {
  private readonly kernel: Kernel;
  private readonly requests: Requests;
  private readonly signals = new Int32Array(2);
  /** What of the spec could not be done: for the launching command's log. */
  readonly warnings: string[] = [];

  constructor(options: LaunchOptions, halves: Awaited<ReturnType<typeof loadPluginHalves>>) {
    const sink = logSink(options.debugLog === null ? 2 : openLog(options.debugLog));
    const log = new KernelLog(sink, options.debug);
    const poller = new HostPoller();
    if (privateMounts() < 0) throw new Error("cannot make the sandbox's mounts private");
    const trees = openHostTrees(options);
    const hostInfo = collectHostInfo();
    const stateFd =
      options.stateDirectory === null ? -1 : openat2(-100, encodeCString(options.stateDirectory), O_DIRECTORY, 0, 0);
    const listening = stateFd < 0 ? -1 : listenIn(stateFd);
    const platform = makePlatform(options.platform, poller);
    pipe2(this.signals, O_NONBLOCK);
    const stdio = reopenStdio(options.stdio.map((_, i) => FIRST_GUEST_FD + i));
    this.kernel = new Kernel(platform, poller, log, syscallDeclarations);
    const kernel = this.kernel;
    kernel.hostInfo = hostInfo;
    kernel.hostname = options.spec.hostname ?? (sharesHostName(options) ? hostname() : "runts");
    if (options.spec.domainname !== undefined) kernel.domainname = options.spec.domainname;
    if (options.strace !== null) kernel.tracer = new Tracer(kernel, sink, options.strace);
    registerFileSystems(kernel);
    const plugins = new SandboxPlugins(kernel, options, halves);
    makeEarly(kernel, options, trees, (type) => plugins.hasFileSystem(type));

    closeLibraryFile();
    enterEmptyRoot();
    hostInfo.procFd = Math.max(-1, openat2(-100, encodeCString("/proc"), O_DIRECTORY, 0, 0));
    const root = mountRoot(kernel, options, trees);
    const task = makeTask(kernel, root, options.id, "init", options.bundle !== null);
    const warn = (text: string) => {
      this.warnings.push(text);
      log.warn(text);
    };
    mountAll(kernel, task, options, trees, warn);
    applyLinux(kernel, task, options.spec, warn);
    finishRoot(options, trees, root);
    titleStubs(kernel);
    closeJail(log, options.platform);
    const bound = new MemoryBound(kernel, hostInfo.memTotal * 1024 * DEFAULT_MEMORY_PART);
    applyLimits(kernel, bound, options.spec.linux?.resources);
    catchSignals(this.signals[1]!);
    shortSlices(SLICE_NS);
    poller.watch(this.signals[0]!, POLLIN, this);

    this.requests = new Requests({ kernel, options, root, task, stdio, bound, stateFd });
    const server = new ControlServer(kernel);
    this.requests.add(server);
    plugins.addMethods(server);
    server.onClosed = (socket) => {
      // The launching command is gone: without `commit` it meant us to go with it.
      if (socket === CONTROL_FD && !this.requests.committed) exitProcess(137);
    };
    server.serve(CONTROL_FD);
    if (listening >= 0) server.listen(listening);
  }

  async run(): Promise<void> {
    // While a plugin's asynchronous work is outstanding, the kernel returns for the event loop to turn.
    while (!this.kernel.run()) await new Promise<void>((resolve) => setImmediate(resolve));
    exitProcess(0);
  }

  /** The signal pipe: what the host's terminal or another process sent to the sandbox process. */
  hostReady(fd: number): void {
    const bytes = new Uint8Array(64);
    const n = readFd(fd, bytes, bytes.length);
    for (let i = 0; i < n; i++) this.requests.signal(bytes[i]!, true);
  }
}

/** A container without a UTS namespace of its own has the host's name. */
function sharesHostName({ spec, bundle }: LaunchOptions): boolean {
  return bundle !== null && spec.linux?.namespaces?.some(({ type }) => type === "uts") !== true;
}

function openLog(path: string): number {
  const fd = openat2(-100, encodeCString(path), 0o2101, 0o644, 0);
  return fd < 0 ? 2 : fd;
}

/** A control socket in the state directory. */
function listenIn(directory: number): number {
  const socket = unixSocket(SOCK_STREAM);
  const path = encodeCString(`/proc/self/fd/${directory}/control.sock`);
  // For its owner alone, whatever the umask of who called: it says what runs in the container.
  const umask = process.umask(0o177);
  const bound = unixBind(socket, path, path.length);
  process.umask(umask);
  const result = bound < 0 ? bound : listen(socket, 64);
  if (result < 0) throw new Error(`cannot listen in the state directory (errno ${-result})`);
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

/** From here on the process sees nothing of the host but what it holds open. */
function enterEmptyRoot(): void {
  if (!["/tmp", "/run", "/mnt", "/var"].some((dir) => emptyRoot(encodeCString(dir)) === 0))
    throw new Error("cannot enter an empty root (pivot_root was refused)");
}

/** Gives up what only setting up needed. Nothing of the guest has run before. */
function closeJail(log: KernelLog, platform: string): void {
  const dropped = dropCapabilities(KEPT_CAPABILITIES, 0);
  if (dropped < 0) throw new Error(`cannot drop capabilities (errno ${-dropped})`);
  const filtered = closeFilter(platform);
  if (filtered < 0) throw new Error(`cannot install the sandbox's system call filter (errno ${-filtered})`);
  log.debug("jail closed");
}
