/**
 * Host cgroups for the sandbox process and its stubs: version 1, version 2, or none where there is none.
 *
 * Sources: kernel docs cgroup-v1/*, cgroup-v2; runtime-spec config-linux.md; where cgroupsPath points follows runc.
 * A sandbox needs memory and threads of its own beside the guest's, which the limits must leave room for: SANDBOX_*.
 * The guest kernel enforces the pids limit on guest tasks itself. Gaps: device rules do not apply (a guest has only the
 * devices that its kernel implements); with --systemd-cgroup the directories are made where systemd would make them,
 * without asking it.
 */
import { existsSync, mkdirSync, promises, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { isErrno, RuntimeError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Resources } from "../spec/schema.ts";

/** Room for the kernel process itself, on top of a memory limit. */
export const SANDBOX_MEMORY = 64 * 1024 * 1024;
/** Threads of the sandbox process and helpers, on top of a limit of guest tasks. */
export const SANDBOX_THREADS = 64;
/** How long the directory of a cgroup whose processes were killed may stay busy. */
const REMOVE_TIMEOUT_MS = 5000;

/** The controllers that hold something of ours; others are left where they are. */
const V1 = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd"];

export interface CgroupHost {
  /** Mount point and own path of each v1 controller, or of "" for the v2 hierarchy. */
  v1: Map<string, { mount: string; own: string }>;
  v2: { mount: string; own: string } | null;
}

/** What this host has, as this process sees it. */
export function detectCgroups(
  mountinfo = readFileSync("/proc/self/mountinfo", "utf8"),
  own = readFileSync("/proc/self/cgroup", "utf8"),
): CgroupHost {
  const paths = new Map<string, string>();
  for (const line of own.split("\n")) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    if (match === null) continue;
    for (const name of match[1]!.split(",")) paths.set(name, match[2]!);
  }
  const host: CgroupHost = { v1: new Map(), v2: null };
  for (const line of mountinfo.split("\n")) {
    const [left, right] = line.split(" - ");
    if (right === undefined) continue;
    const [, , , root, mount] = left!.split(" ");
    const [type, , options] = right.split(" ");
    // A hierarchy that is mounted from below its root shows our path relative to that.
    const below = (path: string) => (root !== "/" && path.startsWith(root!) ? path.slice(root!.length) || "/" : path);
    if (type === "cgroup2" && host.v2 === null) host.v2 = { mount: mount!, own: below(paths.get("") ?? "/") };
    if (type !== "cgroup") continue;
    for (const name of options!.split(","))
      if (V1.includes(name) && !host.v1.has(name))
        host.v1.set(name, { mount: mount!, own: below(paths.get(name) ?? "/") });
  }
  return host;
}

/** The directories for a container, one per hierarchy. */
export function cgroupDirectories(host: CgroupHost, cgroupsPath: string, id: string, systemd: boolean): string[] {
  const asked = systemd ? systemdPath(cgroupsPath, id) : cgroupsPath;
  // normalize of an absolute path cannot climb above the root.
  const clean = normalize(`/${asked === "" ? id : asked}`);
  const place = (mount: string, own: string, inner: boolean) =>
    join(mount, asked.startsWith("/") ? clean : join(inner ? dirname(own) : own, clean));
  if (host.v1.size > 0) {
    const found = [...host.v1.values()].map(({ mount, own }) => place(mount, own, false));
    return [...new Set(found)];
  }
  // In version 2 a group with processes in it cannot hand controllers on: ours goes beside, not below.
  return host.v2 === null ? [] : [place(host.v2.mount, host.v2.own, host.v2.own !== "/")];
}

/** "slice:prefix:name" → "/a.slice/a-b.slice/prefix-name.scope". */
function systemdPath(text: string, id: string): string {
  const [slice = "", prefix = "runts", name = id] = text === "" ? ["system.slice", "runts", id] : text.split(":");
  const parts = (slice === "" ? "system.slice" : slice).replace(/\.slice$/, "").split("-");
  const slices = slice === "-.slice" ? [] : parts.map((_, i) => `${parts.slice(0, i + 1).join("-")}.slice`);
  const unit = name.endsWith(".slice") ? name : `${prefix === "" ? "" : `${prefix}-`}${name}.scope`;
  return `/${[...slices, unit].join("/")}`;
}

/**
 * Makes the directories and sets the limits. `required`: a failure is an error; otherwise the container goes without
 * (rootless). The directories that exist now come back, for the sandbox to join and for `remove`.
 */
export function makeCgroups(
  directories: readonly string[],
  resources: Resources | undefined,
  required: boolean,
  log: Log,
): string[] {
  const made: string[] = [];
  for (const directory of directories) {
    try {
      if (isV2(directory)) enableControllers(directory);
      mkdirSync(directory, { recursive: true, mode: 0o755 });
      inheritCpuset(directory);
      made.push(directory);
    } catch (cause) {
      if (required) {
        removeNow(made);
        throw new RuntimeError("host", `cannot make the cgroup ${directory}`, { path: directory, cause });
      }
      log.debug(`no cgroup ${directory}: ${String(cause)}`);
    }
  }
  if (resources !== undefined) {
    try {
      applyResources(made, resources, log);
    } catch (error) {
      removeNow(made);
      throw error;
    }
  }
  return made;
}

function isV2(directory: string): boolean {
  for (let at = directory; at.length > 1; at = dirname(at))
    if (existsSync(at)) return existsSync(join(at, "cgroup.controllers"));
  return false;
}

function enableControllers(directory: string): void {
  const chain: string[] = [];
  for (let at = dirname(directory); existsSync(join(at, "cgroup.controllers")) || !existsSync(at); at = dirname(at))
    chain.unshift(at);
  for (const at of chain) {
    mkdirSync(at, { recursive: true, mode: 0o755 });
    for (const controller of ["cpuset", "cpu", "io", "memory", "pids"]) {
      // One that is not there, or busy, is missed only when a limit needs it, and is named then.
      try {
        writeFileSync(join(at, "cgroup.subtree_control"), `+${controller}`);
      } catch {}
    }
  }
}

/** A v1 cpuset takes no process before it has processors and memory nodes. */
function inheritCpuset(directory: string): void {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    const path = join(directory, file);
    if (!existsSync(path) || isV2(directory) || readFileSync(path, "utf8").trim() !== "") continue;
    const parent = dirname(directory);
    inheritCpuset(parent);
    writeFileSync(path, readFileSync(join(parent, file), "utf8").trim());
  }
}

/** Sets limits in directories that exist. Also the work of `update`. */
export function applyResources(directories: readonly string[], resources: Resources, log: Log): void {
  const settings = isV2(directories[0] ?? "") ? settingsV2(resources) : settingsV1(resources);
  // The kernel refuses a memory limit above that of memory and swap, also for a moment: which of the two goes first
  // depends on what is set now, so what is refused once is tried again after the others.
  const again: Setting[] = [];
  const queue = [...settings];
  for (let next = queue.shift(); next !== undefined; next = queue.shift() ?? again.shift()) {
    const [file, value, controller] = next;
    const directory = directories.find((each) => existsSync(join(each, file)));
    if (directory === undefined) {
      log.warn(`the host has no ${controller} cgroup: ${file}=${value} has no effect`);
      continue;
    }
    try {
      writeFileSync(join(directory, file), value);
    } catch (cause) {
      if (file.startsWith("memory.") && isErrno(cause, "EINVAL") && queue.length > 0) {
        again.push(next);
        continue;
      }
      throw new RuntimeError("host", `cannot set ${file} to ${value}`, { path: join(directory, file), cause });
    }
  }
  if (resources.hugepageLimits !== undefined && resources.hugepageLimits.length > 0)
    log.warn("hugepage limits are not supported and have no effect");
  if (resources.rdma !== undefined) log.warn("rdma limits are not supported and have no effect");
  if (resources.network !== undefined) log.warn("network class and priorities are not supported and have no effect");
}

type Setting = readonly [file: string, value: string, controller: string];

/** A limit with room for the sandbox; -1 means none. */
const withRoom = (limit: number): number => (limit < 0 ? -1 : limit + SANDBOX_MEMORY);
const given = (value: number | undefined): value is number => value !== undefined && value !== 0;

function settingsV1({ memory, cpu, pids, blockIO }: Resources): Setting[] {
  const settings: Setting[] = [];
  const set = (controller: string, file: string, value: number | string) =>
    settings.push([`${controller}.${file}`, String(value), controller]);
  if (given(memory?.limit)) set("memory", "limit_in_bytes", withRoom(memory.limit));
  if (given(memory?.swap) && memory.swap > 0) set("memory", "memsw.limit_in_bytes", withRoom(memory.swap));
  if (given(memory?.reservation)) set("memory", "soft_limit_in_bytes", withRoom(memory.reservation));
  if (memory?.swappiness !== undefined) set("memory", "swappiness", memory.swappiness);
  if (given(cpu?.shares)) set("cpu", "shares", cpu.shares);
  if (given(cpu?.period)) set("cpu", "cfs_period_us", cpu.period);
  if (given(cpu?.quota)) set("cpu", "cfs_quota_us", cpu.quota);
  if (given(cpu?.realtimePeriod)) set("cpu", "rt_period_us", cpu.realtimePeriod);
  if (given(cpu?.realtimeRuntime)) set("cpu", "rt_runtime_us", cpu.realtimeRuntime);
  if (cpu?.cpus) set("cpuset", "cpus", cpu.cpus);
  if (cpu?.mems) set("cpuset", "mems", cpu.mems);
  if (given(pids?.limit)) set("pids", "max", pids.limit < 0 ? "max" : pids.limit + SANDBOX_THREADS);
  if (given(blockIO?.weight)) set("blkio", "weight", blockIO.weight);
  return settings;
}

function settingsV2({ memory, cpu, pids, blockIO, unified }: Resources): Setting[] {
  const settings: Setting[] = [];
  const set = (controller: string, file: string, value: number | string) =>
    settings.push([`${controller}.${file}`, String(value), controller]);
  const bytes = (limit: number) => (limit < 0 ? "max" : String(limit + SANDBOX_MEMORY));
  if (given(memory?.limit)) set("memory", "max", bytes(memory.limit));
  // Version 2 counts swap apart; the spec's number has the memory in it.
  if (given(memory?.swap))
    set("memory", "swap.max", memory.swap < 0 ? "max" : Math.max(0, memory.swap - (memory.limit ?? 0)));
  if (given(memory?.reservation)) set("memory", "low", bytes(memory.reservation));
  if (given(cpu?.shares)) set("cpu", "weight", 1 + Math.floor(((cpu.shares - 2) * 9999) / 262142));
  if (given(cpu?.quota) || given(cpu?.period))
    set("cpu", "max", `${given(cpu?.quota) && cpu!.quota! > 0 ? cpu!.quota : "max"} ${cpu?.period || 100000}`);
  if (cpu?.cpus) set("cpuset", "cpus", cpu.cpus);
  if (cpu?.mems) set("cpuset", "mems", cpu.mems);
  if (given(pids?.limit)) set("pids", "max", pids.limit < 0 ? "max" : pids.limit + SANDBOX_THREADS);
  if (given(blockIO?.weight)) set("io", "weight", 1 + Math.floor(((blockIO.weight - 10) * 9999) / 990));
  for (const [file, value] of Object.entries(unified ?? {}))
    if (!file.includes("/")) settings.push([file, value, file.split(".")[0]!]);
  return settings;
}

/** Moves a process into the groups, by another thread: the host lets the first move after a while wait for 10 ms and more. */
export async function joinCgroups(directories: readonly string[], pid: number): Promise<void> {
  for (const directory of directories) {
    const path = join(directory, "cgroup.procs");
    try {
      await promises.writeFile(path, String(pid));
    } catch (cause) {
      throw new RuntimeError("host", `cannot put process ${pid} into the cgroup ${directory}`, { path, cause });
    }
  }
}

/** The group that is frozen, by itself or through one above it; undefined when none is. */
export function frozenCgroup(directories: readonly string[]): string | undefined {
  return directories.find((directory) => {
    // Version 1, FREEZING too: nothing runs that has not been stopped yet for long.
    const state = readOr(join(directory, "freezer.state"), "").trim();
    if (state !== "") return state !== "THAWED";
    // Version 2: what is asked, and what has come of it here or above.
    return (
      readOr(join(directory, "cgroup.freeze"), "").trim() === "1" ||
      /^frozen 1$/m.test(readOr(join(directory, "cgroup.events"), ""))
    );
  });
}

/** Lets go on what somebody has frozen. What is frozen from further above stays so. */
export function thawCgroups(directories: readonly string[], log: Log): void {
  for (const directory of directories)
    for (const [file, value] of [
      ["freezer.state", "THAWED"],
      ["cgroup.freeze", "0"],
    ] as const) {
      const path = join(directory, file);
      try {
        if (existsSync(path)) writeFileSync(path, value);
      } catch (cause) {
        log.debug(`cannot thaw ${path}: ${String(cause)}`);
      }
    }
}

/** Processes in the groups, by host pid. */
export function cgroupProcesses(directories: readonly string[]): number[] {
  const pids = new Set<number>();
  for (const directory of directories) {
    for (const line of readOr(join(directory, "cgroup.procs"), "").split("\n")) if (line !== "") pids.add(Number(line));
  }
  return [...pids];
}

/** Removes the groups, waiting for the last processes in them. The ones that would not go come back. */
export async function removeCgroups(directories: readonly string[]): Promise<string[]> {
  const deadline = Date.now() + REMOVE_TIMEOUT_MS;
  let left = [...directories];
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    left = removeNow(left);
    if (left.length === 0 || Date.now() >= deadline) return left;
    await Bun.sleep(pause);
  }
}

function removeNow(directories: readonly string[]): string[] {
  return directories.filter((directory) => {
    try {
      // Groups that the container's own manager made below.
      for (const entry of readdirSync(directory, { withFileTypes: true }))
        if (entry.isDirectory()) removeNow([join(directory, entry.name)]);
      rmdirSync(directory);
      return false;
    } catch (error) {
      return !isErrno(error, "ENOENT");
    }
  });
}

function readOr<T>(path: string, fallback: T): string | T {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return fallback;
  }
}

/** The host's account of a container, for `events`. Nanoseconds and bytes; absent is what the host does not count. */
export interface CgroupStats {
  cpuTotalNs?: number;
  cpuUserNs?: number;
  cpuKernelNs?: number;
  cpuPerCpuNs?: number[];
  throttledPeriods?: number;
  periods?: number;
  throttledNs?: number;
  memoryBytes?: number;
  memoryMaxBytes?: number;
  memoryLimit?: number;
  memoryFailures?: number;
  memoryRaw?: Record<string, number>;
  pids?: number;
  pidsLimit?: number;
  oomKills?: number;
}

export function cgroupStats(directories: readonly string[]): CgroupStats {
  const text = (file: string): string | undefined => {
    for (const directory of directories) {
      const found = readOr(join(directory, file), undefined);
      if (found !== undefined) return found.trim();
    }
    return undefined;
  };
  const number = (file: string): number | undefined => {
    const found = text(file);
    return found === undefined || found === "max" || found === "" ? undefined : Number(found);
  };
  const pairs = (file: string): Record<string, number> =>
    Object.fromEntries(
      (text(file) ?? "")
        .split("\n")
        .filter(Boolean)
        .map((line) => [line.split(" ")[0]!, Number(line.split(" ")[1])]),
    );
  const cpu = pairs("cpu.stat");
  const acct = pairs("cpuacct.stat");
  const stats: CgroupStats = {};
  const put = <K extends keyof CgroupStats>(key: K, value: CgroupStats[K] | undefined) => {
    if (value !== undefined && !Number.isNaN(value)) stats[key] = value;
  };
  const times = (value: number | undefined, by: number) => (value === undefined ? undefined : value * by);
  // cpuacct counts in ticks of 10 ms, version 2 in microseconds.
  put("cpuTotalNs", number("cpuacct.usage") ?? times(cpu["usage_usec"], 1e3));
  put("cpuUserNs", times(acct["user"], 1e7) ?? times(cpu["user_usec"], 1e3));
  put("cpuKernelNs", times(acct["system"], 1e7) ?? times(cpu["system_usec"], 1e3));
  put("cpuPerCpuNs", text("cpuacct.usage_percpu")?.split(" ").map(Number));
  put("periods", cpu["nr_periods"]);
  put("throttledPeriods", cpu["nr_throttled"]);
  put("throttledNs", cpu["throttled_time"] ?? times(cpu["throttled_usec"], 1e3));
  put("memoryBytes", number("memory.usage_in_bytes") ?? number("memory.current"));
  put("memoryMaxBytes", number("memory.max_usage_in_bytes") ?? number("memory.peak"));
  put("memoryLimit", number("memory.limit_in_bytes") ?? number("memory.max"));
  put("memoryFailures", number("memory.failcnt"));
  const raw = pairs("memory.stat");
  if (Object.keys(raw).length > 0) stats.memoryRaw = raw;
  put("pids", number("pids.current"));
  put("pidsLimit", number("pids.max"));
  put("oomKills", pairs("memory.events")["oom_kill"] ?? pairs("memory.oom_control")["oom_kill"]);
  return stats;
}

/** As with runc, nothing is started where it could not run. */
export function requireThawed(id: string, cgroups: readonly string[]): void {
  const frozen = frozenCgroup(cgroups);
  if (frozen !== undefined)
    throw new RuntimeError("wrong-state", `container's cgroup unexpectedly frozen: ${frozen}`, { id });
}

/** The directory, or the closest one above it that is there. */
export function existingAbove(path: string): string {
  let at = path;
  while (!existsSync(at)) at = dirname(at);
  return at;
}
