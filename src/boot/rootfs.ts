/**
 * The container's mount tree: the root from the spec, then its mounts in order.
 *
 * Host directories are taken as detached copies of host mounts (open_tree) before the jail closes; from then on the
 * sandbox reaches nothing of the host but these. Source: OCI config.md "Mounts", CONTRACT rows 54 to 58.
 */
import { dirname } from "node:path";
import type { LaunchOptions } from "../core/sandbox.ts";
import type { Mount as OciMount } from "../core/spec/schema.ts";
import { encodeCString } from "../kernel/abi/bytes.ts";
import { errnoName } from "../kernel/abi/errno.ts";
import { DevFs } from "../kernel/fs/dev/dev-fs.ts";
import { HostFs } from "../kernel/fs/host/host-fs.ts";
import { OverlayFs } from "../kernel/fs/overlay/overlay.ts";
import { tmpfsOptions } from "../kernel/fs/register.ts";
import { Tmpfs } from "../kernel/fs/tmpfs/tmpfs.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Task } from "../kernel/task/task.ts";
import {
  MNT_NOATIME,
  MNT_NODEV,
  MNT_NOEXEC,
  MNT_NOSUID,
  MNT_RDONLY,
  type Mount,
  type Path,
} from "../kernel/vfs/dentry.ts";
import type { FileSystem } from "../kernel/vfs/inode.ts";
import { resolve } from "../kernel/vfs/namei.ts";
import { makeDirectory, makeNode } from "../kernel/vfs/names.ts";
import { ST, ST_LENGTH, statHost } from "../native/files.ts";
import { closeFd, openat2 } from "../native/host.ts";
import { openTree, setMountAttributes } from "../native/sandbox.ts";

const AT_FDCWD = -100;
const LOOKUP_FOLLOW = 1;
const ENOENT = 2;
const O_RDWR = 2;
const O_CLOEXEC = 0o2000000;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const MOUNT_ATTR_RDONLY = 1;
const MOUNT_ATTR_NOSUID = 2;
const MOUNT_ATTR_NODEV = 4;
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

/** Host directories and files of a spec, opened before the jail: source path → descriptor. */
export interface HostTrees {
  root: number;
  binds: Map<OciMount, number>;
  /** File systems of plugins, made while they can reach the host. */
  made: Map<OciMount, FileSystem>;
}

function isBind(mount: OciMount): boolean {
  return mount.type === "bind" || (mount.options ?? []).some((o) => o === "bind" || o === "rbind");
}

/** Opens everything of the host that the container may see. */
export function openHostTrees(options: LaunchOptions): HostTrees {
  // A root that shall be read-only becomes so when the mount points in it have been made (finishRoot).
  const readonly = options.overlay === "memory";
  const attributes = (ro: boolean) => (ro ? MOUNT_ATTR_RDONLY : 0) | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  const path = options.spec.root?.path ?? "/";
  const root = openTree(encodeCString(path), attributes(readonly));
  if (root < 0) throw new Error(`rootfs ${path}: ${errnoName(-root)}`);
  const binds = new Map<OciMount, number>();
  for (const mount of options.spec.mounts ?? []) {
    if (!isBind(mount)) continue;
    const source = mount.source ?? "";
    const ro = options.overlay === "memory" && options.bundle !== null ? true : (mount.options ?? []).includes("ro");
    const fd = usable(openTree(encodeCString(source), attributes(ro)));
    if (fd < 0) throw new Error(`mount ${source} to ${mount.destination}: ${errnoName(-fd)}`);
    binds.set(mount, fd);
  }
  return { root, binds, made: new Map() };
}

/**
 * A descriptor of a tree that is a single file, opened for use: inside the jail it could not be opened any more. For
 * writing too if that may be; the mount's flags go with it.
 */
function usable(tree: number): number {
  if (tree < 0) return tree;
  const result = statHost(tree, EMPTY_NAME, attributesOut);
  if (result < 0 || (attributesOut[ST.mode]! & S_IFMT) !== S_IFREG) return tree;
  const path = encodeCString(`/proc/self/fd/${tree}`);
  const writable = openat2(AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0, 0);
  const fd = writable >= 0 ? writable : openat2(AT_FDCWD, path, O_CLOEXEC, 0, 0);
  closeFd(tree);
  return fd;
}
const attributesOut = new Float64Array(ST_LENGTH);
const EMPTY_NAME = encodeCString("");

/** Makes the file systems of a mount's type for which `wanted` is true. One that is refused ends the start. */
export function makeEarly(
  kernel: Kernel,
  options: LaunchOptions,
  trees: HostTrees,
  wanted: (type: string | undefined) => boolean,
): void {
  for (const mount of options.spec.mounts ?? []) {
    if (isBind(mount)) continue;
    if (options.bundle === null && !kernel.fileSystemTypes.has(mount.type ?? ""))
      throw new Error(`mount on ${mount.destination}: there is no file system type "${mount.type}"`);
    if (!wanted(mount.type)) continue;
    const fs = kernel.fileSystemTypes.get(mount.type!)!.make(kernel, mount.source ?? "none", ownOptions(mount).own);
    if (typeof fs === "number")
      throw new Error(`mount of type ${mount.type} on ${mount.destination}: ${errnoName(-fs)}`);
    trees.made.set(mount, fs);
  }
}

/** The flags of a mount, and the options that are its file system's own. */
function ownOptions(oci: OciMount): { flags: number; own: string[] } {
  let flags = 0;
  const own: string[] = [];
  for (const option of oci.options ?? []) {
    if (FLAGS[option] !== undefined) flags |= FLAGS[option];
    else if (CLEARS[option] !== undefined) flags &= ~CLEARS[option];
    else if (!IGNORED.has(option)) own.push(option);
  }
  return { flags, own };
}

/** Builds the tree; `task` is the one that will be the first process, still at "/" of nothing. Returns the root. */
export function mountRoot(kernel: Kernel, options: LaunchOptions, trees: HostTrees): Path {
  const overlaid = options.overlay === "memory";
  const host = new HostFs(kernel, trees.root, { readonly: overlaid });
  const fs: FileSystem = overlaid ? new OverlayFs(kernel, host, new Tmpfs(kernel, { mode: 0o755 })) : host;
  fs.source = overlaid ? "overlay" : "root";
  const mount = kernel.mounts.mount(fs, null, 0);
  if (typeof mount === "number") throw new Error(`root: ${errnoName(-mount)}`);
  kernel.rootMount = mount;
  return { mount, dentry: mount.root };
}

/** After all mounts: makes the root read-only if the spec says so, for the guest and for ourselves on the host. */
export function finishRoot(options: LaunchOptions, trees: HostTrees, root: Path): void {
  if (options.spec.root?.readonly !== true) return;
  root.mount.flags |= MNT_RDONLY;
  if (options.overlay === "memory") return;
  const sealed = setMountAttributes(trees.root, MOUNT_ATTR_RDONLY);
  if (sealed < 0) throw new Error(`cannot make the root read-only: ${errnoName(-sealed)}`);
}

/**
 * Mounts the spec's mounts, as `task` (with all capabilities) sees the paths. A volume that cannot be mounted ends the
 * start: what is written to its place would be lost. Of others the command is told.
 */
export function mountAll(
  kernel: Kernel,
  task: Task,
  options: LaunchOptions,
  trees: HostTrees,
  warn: (text: string) => void,
): void {
  const given = options.spec.mounts ?? [];
  const missing = ALWAYS.filter(({ destination }) => !given.some((mount) => mount.destination === destination));
  for (const mount of [...missing, ...given]) {
    const problem = mountOne(kernel, task, mount, trees, options.overlay === "memory" && options.bundle !== null);
    if (problem === null) continue;
    const text = `mount on ${mount.destination}: ${problem}`;
    if (isBind(mount)) throw new Error(text);
    warn(text);
  }
}

/** `overlaid`: what is written to a volume stays in memory. */
function mountOne(kernel: Kernel, task: Task, oci: OciMount, trees: HostTrees, overlaid: boolean): string | null {
  const { flags, own } = ownOptions(oci);
  const early = trees.made.get(oci);
  let fs: FileSystem;
  if (early !== undefined) fs = early;
  else if (oci.destination === "/dev" && !isBind(oci)) {
    // Whatever the spec says is mounted there, it has the devices that every container has.
    const settings = tmpfsOptions(kernel, own);
    if (typeof settings === "number") return errnoName(-settings);
    fs = new DevFs(kernel, { ...settings, mode: 0o755 });
  } else if (isBind(oci)) {
    const readonly = (flags & MNT_RDONLY) !== 0;
    const host = new HostFs(kernel, trees.binds.get(oci)!, { readonly: readonly || overlaid });
    fs = overlaid && !readonly ? new OverlayFs(kernel, host, new Tmpfs(kernel, { mode: 0o755 })) : host;
  } else {
    const type = kernel.fileSystemTypes.get(oci.type ?? "");
    if (type === undefined) return `unknown file system type "${oci.type ?? ""}", left out`;
    const made = type.make(kernel, oci.source ?? oci.type ?? "none", own);
    if (typeof made === "number") return errnoName(-made);
    fs = made;
  }
  fs.source = oci.source ?? fs.type;
  const at = mountpoint(task, oci.destination, fs.rootDentry.inode.type === S_IFDIR);
  if (typeof at === "number") return errnoName(-at);
  const mount: Mount | number = kernel.mounts.mount(fs, at, flags);
  return typeof mount === "number" ? errnoName(-mount) : null;
}

/** The place at an absolute path; directories (0755) on the way, and itself, are made when they are missing. */
export function mountpoint(task: Task, path: string, directory: boolean): Path | number {
  const found = resolve(task, AT_FDCWD, path, LOOKUP_FOLLOW);
  if (found !== -ENOENT) return found;
  if (path !== "/") {
    const parent = mountpoint(task, dirname(path), true);
    if (typeof parent === "number") return parent;
  }
  return directory ? makeDirectory(task, AT_FDCWD, path, 0o755) : makeNode(task, AT_FDCWD, path, S_IFREG | 0o755, 0);
}
