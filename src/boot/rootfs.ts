/**
 * A container's mount tree: the root from the spec, then its mounts in order.
 *
 * Host directories are detached copies of host mounts that the command has opened (opener.ts); the sandbox reaches nothing
 * of the host but these. Source: OCI config.md "Mounts", CONTRACT rows 54 to 58.
 */
import { normalize } from "node:path";
import { isBind } from "../core/spec/sandbox-part.ts";
import type { Mount as OciMount } from "../core/spec/schema.ts";
import { EACCES, ENOTDIR, errnoName } from "../kernel/abi/errno.ts";
import type { Container } from "../kernel/container.ts";
import { DevFs } from "../kernel/fs/dev/dev-fs.ts";
import { HostFs } from "../kernel/fs/host/host-fs.ts";
import { OverlayFs } from "../kernel/fs/overlay/overlay.ts";
import { tmpfsOptions } from "../kernel/fs/register.ts";
import { Tmpfs } from "../kernel/fs/tmpfs/tmpfs.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Task } from "../kernel/task/task.ts";
import { MNT_NOATIME, MNT_NODEV, MNT_NOEXEC, MNT_NOSUID, MNT_RDONLY, type Mount } from "../kernel/vfs/dentry.ts";
import { FileSystem } from "../kernel/vfs/inode.ts";
import { pathString, resolve } from "../kernel/vfs/namei.ts";
import type { AddParams } from "./add-params.ts";
import { copyUp } from "./copy-up.ts";
import type { EarlyFileSystems } from "./early.ts";
import { findInRoot, makeInRoot, type Place } from "./in-root.ts";

const AT_FDCWD = -100;
const LOOKUP_FOLLOW = 1;
const ENOENT = 2;
const S_IFDIR = 0o040000;
const FLAGS: Readonly<Record<string, number>> = {
  ro: MNT_RDONLY,
  nosuid: MNT_NOSUID,
  nodev: MNT_NODEV,
  noexec: MNT_NOEXEC,
  noatime: MNT_NOATIME,
};
const CLEARS: Readonly<Record<string, number>> = {
  rw: MNT_RDONLY,
  suid: MNT_NOSUID,
  dev: MNT_NODEV,
  exec: MNT_NOEXEC,
  atime: MNT_NOATIME,
  relatime: MNT_NOATIME,
};
/** Options that say how the host would mount: nothing to do for a file system of our own. */
const IGNORED = new Set([
  "bind",
  "rbind",
  "private",
  "rprivate",
  "shared",
  "rshared",
  "slave",
  "rslave",
  "unbindable",
  "runbindable",
  "defaults",
  "strictatime",
  "nostrictatime",
  "norelatime",
  "nodiratime",
  "diratime",
  "sync",
  "async",
  "newinstance",
  "tmpcopyup",
]);

/** What every container has, whether its spec says so or not (default devices and file systems of config-linux.md). */
const ALWAYS: readonly OciMount[] = [
  { destination: "/proc", type: "proc" },
  { destination: "/sys", type: "sysfs", options: ["ro", "nosuid", "noexec", "nodev"] },
  { destination: "/dev", type: "tmpfs", options: ["nosuid", "mode=755"] },
  { destination: "/dev/pts", type: "devpts", options: ["nosuid", "noexec", "mode=0620", "ptmxmode=0666", "gid=5"] },
];

/** The host directories and files of a container. */
export interface HostTrees {
  /** Takes the descriptor of the root, or of a bind mount, over. */
  take(which: "root" | OciMount): number;
  /** The number of a bind mount among those of its spec. */
  numberOf(mount: OciMount): number;
  /** File systems of plugins that were made while the host was in reach. */
  early: EarlyFileSystems;
}

/** What of `add` is about the tree. */
export type TreeParams = Pick<AddParams, "bundle" | "spec" | "overlay">;

/** The flags of a mount, and the options that are its file system's own. */
export function ownOptions(options: readonly string[] = []): { flags: number; own: string[] } {
  let flags = 0;
  const own: string[] = [];
  for (const option of options) {
    if (FLAGS[option] !== undefined) flags |= FLAGS[option];
    else if (CLEARS[option] !== undefined) flags &= ~CLEARS[option];
    else if (!IGNORED.has(option)) own.push(option);
  }
  return { flags, own };
}

/** Begins the tree. */
export function mountRoot(container: Container, options: TreeParams, trees: HostTrees): void {
  const { kernel } = container;
  const overlaid = options.overlay === "memory";
  const host = new HostFs(kernel, trees.take("root"), { readonly: overlaid });
  host.tree = { container, which: "root" };
  if (host.root.type !== S_IFDIR) {
    host.release();
    throw new Error(`root: ${errnoName(ENOTDIR)}`);
  }
  const fs: FileSystem = overlaid ? new OverlayFs(kernel, host, new Tmpfs(kernel, { mode: 0o755 })) : host;
  fs.source = overlaid ? "overlay" : "root";
  const mount = kernel.mounts.mount(fs, null, 0);
  if (typeof mount === "number") throw new Error(`root: ${errnoName(-mount)}`);
  container.root = { mount, dentry: mount.root };
}

/** After all mounts: makes the root read-only for guests if the spec says so. The host's mount is the command's (add.ts). */
export function finishRoot(container: Container, options: TreeParams): void {
  if (options.spec.root?.readonly === true) container.root!.mount.flags |= MNT_RDONLY;
}

/** The destination of a mount as it is compared: absolute, without dots, doubled slashes and one at the end. */
const cleaned = ({ destination }: OciMount): string => normalize(`/${destination}`).replace(/(?<=.)\/+$/, "");

/**
 * The spec's mounts with those that every container has. A /dev/pts of ours comes after the /dev that it is in; where
 * the caller has put a directory of its own there, that is left alone, as runc does.
 */
function withDefaults(given: readonly OciMount[]): OciMount[] {
  const missing = ALWAYS.filter(({ destination }) => !given.some((mount) => cleaned(mount) === destination));
  const mounts = [...missing.filter(({ destination }) => destination !== "/dev/pts"), ...given];
  const pts = missing.find(({ destination }) => destination === "/dev/pts");
  const dev = mounts.findLastIndex((mount) => cleaned(mount) === "/dev");
  if (pts !== undefined && !isBind(mounts[dev]!)) mounts.splice(dev + 1, 0, pts);
  return mounts;
}

/** What may be mounted inside of /proc, as runc has it: files that lxcfs makes up. */
const OVER_PROC = new Set([
  "cpuinfo",
  "diskstats",
  "meminfo",
  "stat",
  "swaps",
  "uptime",
  "loadavg",
  "slabinfo",
  "sys/kernel/ns_last_pid",
  "sys/crypto/fips_enabled",
]);

/**
 * Mounts the spec's mounts, as `task` (with all capabilities) sees the paths. One that cannot be mounted ends the start:
 * what is written to its place would be lost, what it covers would show. But a file system that we do not have is left
 * out with a warning, and so are our own additions where the image has something else.
 */
export function mountAll(
  kernel: Kernel,
  task: Task,
  options: TreeParams,
  trees: HostTrees,
  warn: (text: string) => void,
): void {
  kernel.workOn(task, () => mountEach(kernel, task, options, trees, warn));
}

function mountEach(
  kernel: Kernel,
  task: Task,
  options: TreeParams,
  trees: HostTrees,
  warn: (text: string) => void,
): void {
  const overlaid = options.overlay === "memory" && options.bundle !== null;
  for (const mount of withDefaults(options.spec.mounts ?? [])) {
    if (options.bundle === null && !isBind(mount) && !kernel.fileSystemTypes.has(mount.type ?? ""))
      throw new Error(`mount on ${mount.destination}: there is no file system type "${mount.type}"`);
    const problem = mountOne(kernel, task, mount, trees, overlaid);
    if (problem === null) continue;
    const text = `mount on ${mount.destination}: ${problem.text}`;
    if (!problem.leftOut && !ALWAYS.includes(mount)) throw new Error(text);
    warn(text);
  }
  if (options.bundle !== null) makeWorkingDirectory(task, options.spec.process?.cwd ?? "/");
}

/** runc makes the first process' directory when it is missing. What cannot be made is told by who wants to go there. */
function makeWorkingDirectory(task: Task, cwd: string): void {
  if (resolve(task, AT_FDCWD, cwd, LOOKUP_FOLLOW) !== -ENOENT) return;
  const place = findInRoot(task, cwd);
  if (typeof place !== "number") makeInRoot(task, place, true);
}

interface Problem {
  text: string;
  /** Nothing is lost without it. */
  leftOut?: boolean;
}
const problem = (errno: number): Problem => ({ text: errnoName(-errno) });
/** An ordinary user's container may have a root that is somebody else's. */
const unmakable = (errno: number): Problem =>
  errno === -EACCES
    ? { text: "EACCES: the root has no such place, and whoever starts the container may not make it there" }
    : problem(errno);

/** `overlaid`: what is written to a volume stays in memory. */
function mountOne(kernel: Kernel, task: Task, given: OciMount, trees: HostTrees, overlaid: boolean): Problem | null {
  const oci = ownKernels(given);
  const kernels = oci.type === "proc" || oci.type === "sysfs";
  if (kernels && !isOrdinary(task, oci))
    return { text: `filesystem "${oci.type}" must be mounted on ordinary directory` };
  const place = findInRoot(task, oci.destination);
  if (typeof place === "number") return problem(place);
  const refused = kernels ? null : overProc(task, oci, place);
  if (refused !== null) return refused;
  const fs = fileSystemOf(task.container, oci, trees, overlaid, place);
  if (!(fs instanceof FileSystem)) return fs;
  fs.source = oci.source ?? fs.type;
  const at = makeInRoot(task, place, fs.rootDentry.inode.type === S_IFDIR);
  if (typeof at === "number")
    // What the guest's own /proc and /sys do not have needs no cover.
    return { ...unmakable(at), leftOut: !isBind(oci) && /^\/(proc|sys)\//.test(cleaned(oci)) };
  const mount: Mount | number = kernel.mounts.mount(fs, at, ownOptions(oci.options).flags);
  if (typeof mount === "number") return problem(mount);
  if (oci.type !== "tmpfs" || place.missing.length > 0 || !oci.options?.includes("tmpcopyup")) return null;
  const copied = copyUp(task, at, { mount, dentry: mount.root });
  return copied < 0 ? { text: `tmpcopyup: ${errnoName(-copied)}` } : null;
}

/** The host's /proc and /sys in their own places mean those of the kernel that the container has. */
function ownKernels(oci: OciMount): OciMount {
  const at = cleaned(oci);
  if (!isBind(oci) || oci.source === undefined || normalize(oci.source).replace(/\/+$/, "") !== at) return oci;
  if (at !== "/proc" && at !== "/sys") return oci;
  return { ...oci, type: at === "/proc" ? "proc" : "sysfs", options: (oci.options ?? []).filter((o) => !BINDS.has(o)) };
}
const BINDS = new Set(["bind", "rbind"]);

/**
 * Is the place of a /proc or /sys a directory, or not there? The name itself counts, not what a link leads to
 * (CVE-2019-19921, CVE-2023-27561, CVE-2023-28642).
 */
function isOrdinary(task: Task, oci: OciMount): boolean {
  const there = resolve(task, AT_FDCWD, cleaned(oci), 0);
  return typeof there === "number" ? there === -ENOENT : there.dentry.inode.type === S_IFDIR;
}

/** What would have others see something else in /proc than the kernel's own files (CVE-2019-16884). */
function overProc(task: Task, oci: OciMount, place: Place): Problem | null {
  if (oci.type === "tmpfs" && !isBind(oci)) return null;
  const where = [pathString(task, place.path).replace(/\/$/, ""), ...place.missing].join("/");
  if (where !== "/proc" && !where.startsWith("/proc/")) return null;
  if (where === "/proc") return { text: "it cannot be mounted because it is not of type proc" };
  return OVER_PROC.has(where.slice("/proc/".length))
    ? null
    : { text: "it cannot be mounted because it is inside /proc" };
}

function fileSystemOf(
  container: Container,
  oci: OciMount,
  trees: HostTrees,
  overlaid: boolean,
  place: Place,
): FileSystem | Problem {
  const { kernel } = container;
  const early = trees.early.take(oci);
  if (early !== undefined) return early;
  const { flags, own } = ownOptions(oci.options);
  if (cleaned(oci) === "/dev" && !isBind(oci)) {
    // Whatever the spec says is mounted there, it has the devices that every container has.
    const settings = tmpfsOptions(kernel, own);
    return typeof settings === "number" ? problem(settings) : new DevFs(kernel, { ...settings, mode: 0o755 });
  }
  if (isBind(oci)) {
    const readonly = (flags & MNT_RDONLY) !== 0;
    const which = trees.numberOf(oci);
    const host = new HostFs(kernel, trees.take(oci), { readonly: readonly || overlaid });
    host.tree = { container, which };
    return overlaid && !readonly ? new OverlayFs(kernel, host, new Tmpfs(kernel, { mode: 0o755 })) : host;
  }
  const type = kernel.fileSystemTypes.get(oci.type ?? "");
  if (type === undefined) return { text: `unknown file system type "${oci.type ?? ""}", left out`, leftOut: true };
  if (oci.type === "tmpfs" && !own.some((option) => option.startsWith("mode="))) {
    // As the directory that it covers.
    const stat = place.missing.length === 0 ? place.path.dentry.inode.getattr() : -ENOENT;
    if (typeof stat !== "number") own.push(`mode=${(stat.mode & 0o7777).toString(8)}`);
  }
  const made = type.make(kernel, oci.source ?? oci.type ?? "none", own, container);
  return typeof made === "number" ? problem(made) : made;
}
