/**
 * What every sandbox needs of the host, taken before its jail closes: figures of the machine, the jail's root, the first
 * stub, and what plugins open for themselves. Nothing of a container is among it, but file systems of plugins that the
 * first one will mount.
 */
import { readlinkSync } from "node:fs";
import { hostname } from "node:os";
import type { SandboxOptions } from "../core/sandbox.ts";
import { syscallDeclarations } from "../generated/syscalls.ts";
import { encodeCString } from "../kernel/abi/bytes.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import { collectHostInfo, type HostInfo } from "../kernel/fs/proc/host-info.ts";
import { registerFileSystems } from "../kernel/fs/register.ts";
import { Kernel } from "../kernel/kernel.ts";
import { KernelLog } from "../kernel/log.ts";
import { Tracer } from "../kernel/strace/tracer.ts";
import { closeFd, openat2, writeFd } from "../native/host.ts";
import { HostPoller } from "../native/poller.ts";
import { makeRoot, openTree } from "../native/sandbox.ts";
import { goOnFrom, withholdClock } from "./clock.ts";
import { EarlyFileSystems } from "./early.ts";
import { LOG_FD } from "./launch.ts";
import { type PluginHalf, SandboxPlugins } from "./plugins.ts";

const MOUNT_ATTR_RDONLY = 1;
/** Part of the host's memory that all guests of a sandbox together may use. */
const MEMORY_PART = 0.75;

/** A sandbox's kernel, and what was taken for it. */
export interface Taken {
  kernel: Kernel;
  plugins: SandboxPlugins;
  hostInfo: HostInfo;
  /** For containers without a UTS namespace of their own. */
  hostName: string;
  early: EarlyFileSystems;
  /** Our /proc/self/fd, for a jail without /proc; -1. */
  ownDescriptors: number;
  /** For whoever adds the first container. */
  warnings: string[];
}

/** A line to the log descriptor, whole. */
export function logSink(fd: number): (line: string) => void {
  return (line) => {
    const bytes = Buffer.from(line);
    writeFd(fd, bytes, bytes.length);
  };
}

export function takeFromHost(options: SandboxOptions, halves: readonly PluginHalf[]): Taken {
  if (options.clock !== null) goOnFrom(options.clock);
  const sink = logSink(LOG_FD);
  const log = new KernelLog(sink, options.debug);
  const poller = new HostPoller();
  const hostInfo = collectHostInfo();
  hostInfo.meminfoFd = forReading("/proc/meminfo", hostInfo.meminfoFd);
  const ownDescriptors = openOwnDescriptors();
  const made = makeRoot();
  if (made < 0)
    throw new Error(`cannot make an empty root (${errnoName(-made)}): does the host allow mounts to user namespaces?`);
  const kernel = new Kernel(null, poller, log, syscallDeclarations);
  kernel.hostInfo = hostInfo;
  kernel.memory.limit = hostInfo.memTotal * 1024 * MEMORY_PART;
  if (options.strace !== null) kernel.tracer = new Tracer(kernel, sink, options.strace);
  registerFileSystems(kernel);
  const plugins = new SandboxPlugins(kernel, options.plugins, halves);
  const platform = plugins.platforms.make(options.platform, poller.fd);
  const warnings = options.clock === null ? [] : [withholdClock(platform)];
  kernel.usePlatform(platform);
  const early = new EarlyFileSystems();
  early.make(kernel, options.earlyMounts, (type) => plugins.hasFileSystem(type));
  return { kernel, plugins, hostInfo, hostName: hostname(), early, ownDescriptors, warnings };
}

/** Our /proc/self/fd by a detached mount, for a jail without /proc: memory files are opened anew by it. -1 without. */
function openOwnDescriptors(): number {
  let self = "";
  try {
    // Our number in the pid namespace of the caller's /proc.
    self = readlinkSync("/proc/self");
  } catch {}
  return self === "" ? -1 : Math.max(-1, openTree(encodeCString(`/proc/${self}/fd`), MOUNT_ATTR_RDONLY));
}

/** The file by a read-only mount of its own: a descriptor for reading can be opened anew for writing, by /proc/self/fd. */
function forReading(path: string, fd: number): number {
  const tree = fd < 0 ? -1 : openTree(encodeCString(path), MOUNT_ATTR_RDONLY);
  const again = tree < 0 ? -1 : openat2(-100, encodeCString(`/proc/self/fd/${tree}`), 0, 0, 0);
  if (tree >= 0) closeFd(tree);
  if (fd >= 0) closeFd(fd);
  return Math.max(-1, again);
}
