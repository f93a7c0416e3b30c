/**
 * The spec's `linux` section as far as it is about the container's tree: masked and read-only paths, devices, sysctls.
 *
 * Source: OCI config-linux.md. What cannot be done is a warning to the command, as runc's for what a host lacks.
 */
import type { Spec } from "../core/spec/schema.ts";
import { encodeName } from "../kernel/abi/bytes.ts";
import { ENOENT, errnoName } from "../kernel/abi/errno.ts";
import { makedev } from "../kernel/abi/stat.ts";
import { Tmpfs } from "../kernel/fs/tmpfs/tmpfs.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Task } from "../kernel/task/task.ts";
import { MNT_RDONLY, type Path } from "../kernel/vfs/dentry.ts";
import { KernelIo } from "../kernel/vfs/io.ts";
import { openAt, resolve } from "../kernel/vfs/namei.ts";
import { makeNode } from "../kernel/vfs/names.ts";
import { changeMode, changeOwner } from "../kernel/vfs/permission.ts";
import { mountpoint } from "./rootfs.ts";

const AT_FDCWD = -100;
const LOOKUP_FOLLOW = 1;
const O_WRONLY = 1;
const S_IFDIR = 0o040000;
const TYPES: Readonly<Record<string, number>> = { c: 0o020000, u: 0o020000, b: 0o060000, p: 0o010000 };
const EEXIST = 17;

/** Applies the section; `task` has all capabilities and sees the container's tree. */
export function applyLinux(kernel: Kernel, task: Task, spec: Spec, report: (text: string) => void): void {
  const { linux } = spec;
  if (linux === undefined) return;
  const warn = (what: string, errno: number) => report(`${what}: ${errnoName(-errno)}`);
  for (const device of linux.devices ?? []) {
    const problem = makeDevice(task, device);
    if (problem < 0) warn(`device ${device.path}`, problem);
  }
  for (const [name, value] of Object.entries(linux.sysctl ?? {})) {
    const problem = writeSysctl(task, name, value);
    if (problem < 0) warn(`sysctl ${name}`, problem);
  }
  for (const path of linux.readonlyPaths ?? []) {
    const problem = overPath(task, path, (place) =>
      kernel.mounts.mount(place.mount.fs, place, place.mount.flags | MNT_RDONLY, place.dentry),
    );
    if (problem < 0) warn(`read-only path ${path}`, problem);
  }
  for (const path of linux.maskedPaths ?? []) {
    const problem = overPath(task, path, (place) => mask(kernel, task, place));
    if (problem < 0) warn(`masked path ${path}`, problem);
  }
}

/** Mounts something over a path; one that is not there needs nothing. */
function overPath(task: Task, path: string, mount: (place: Path) => unknown): number {
  const place = resolve(task, AT_FDCWD, path, LOOKUP_FOLLOW);
  if (typeof place === "number") return place === -ENOENT ? 0 : place;
  const result = mount(place);
  return typeof result === "number" ? result : 0;
}

/** An empty directory over a directory, /dev/null over anything else. */
function mask(kernel: Kernel, task: Task, place: Path): unknown {
  if (place.dentry.inode.type === S_IFDIR)
    return kernel.mounts.mount(new Tmpfs(kernel, { mode: 0o555, inodes: 1 }), place, MNT_RDONLY);
  const nothing = resolve(task, AT_FDCWD, "/dev/null", LOOKUP_FOLLOW);
  if (typeof nothing === "number") return nothing;
  return kernel.mounts.mount(nothing.mount.fs, place, MNT_RDONLY, nothing.dentry);
}

function makeDevice(task: Task, device: NonNullable<NonNullable<Spec["linux"]>["devices"]>[number]): number {
  const type = TYPES[device.type];
  if (type === undefined) return -22;
  const parent = mountpoint(task, device.path.slice(0, device.path.lastIndexOf("/")) || "/", true);
  if (typeof parent === "number") return parent;
  const mode = (device.fileMode ?? 0o666) & 0o7777;
  const made = makeNode(task, AT_FDCWD, device.path, type | mode, makedev(device.major ?? 0, device.minor ?? 0));
  if (typeof made === "number") return made === -EEXIST ? 0 : made;
  const { inode } = made.dentry;
  const owned = changeOwner(task, inode, device.uid ?? 0, device.gid ?? 0);
  return owned < 0 ? owned : changeMode(task, inode, mode);
}

function writeSysctl(task: Task, name: string, value: string): number {
  const file = openAt(task, AT_FDCWD, `/proc/sys/${name.replaceAll(".", "/")}`, O_WRONLY, 0);
  if (typeof file === "number") return file;
  const written = file.write(task, new KernelIo(encodeName(value)), 0);
  file.release();
  return written < 0 ? written : 0;
}
