/**
 * The spec's `linux` section as far as it is about the container's tree: masked and read-only paths, devices, sysctls.
 *
 * Source: OCI config-linux.md. What cannot be done is a warning to the command, as runc's for what a host lacks; but a
 * path that cannot be masked or made read-only ends the start.
 */
import type { Spec } from "../core/spec/schema.ts";
import { encodeName } from "../kernel/abi/bytes.ts";
import { EINVAL, ENOENT, EPERM, errnoName } from "../kernel/abi/errno.ts";
import { AT_FDCWD, O_WRONLY } from "../kernel/abi/fcntl.ts";
import { makedev, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO } from "../kernel/abi/stat.ts";
import { DevFs } from "../kernel/fs/dev/dev-fs.ts";
import { Tmpfs } from "../kernel/fs/tmpfs/tmpfs.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Task } from "../kernel/task/task.ts";
import { Dentry, MNT_RDONLY, type Path } from "../kernel/vfs/dentry.ts";
import { KernelIo } from "../kernel/vfs/io.ts";
import { LOOKUP_FOLLOW, openAt, pathString, resolve } from "../kernel/vfs/namei.ts";
import { makeNode } from "../kernel/vfs/names.ts";
import { changeMode, changeOwner } from "../kernel/vfs/permission.ts";
import { findInRoot, makeInRoot, type Place } from "./in-root.ts";

const TYPES: Readonly<Record<string, number>> = { c: S_IFCHR, u: S_IFCHR, b: S_IFBLK, p: S_IFIFO };

/** Applies the section; `task` has all capabilities and sees the container's tree. */
export function applyLinux(kernel: Kernel, task: Task, spec: Spec, report: (text: string) => void): void {
  const { linux } = spec;
  if (linux !== undefined) kernel.workOn(task, () => apply(kernel, task, linux, report));
}

function apply(kernel: Kernel, task: Task, linux: NonNullable<Spec["linux"]>, report: (text: string) => void): void {
  const warn = (what: string, errno: number) => report(`${what}: ${errnoName(-errno)}`);
  for (const device of linux.devices ?? []) {
    const problem = makeDevice(kernel, task, device);
    if (problem < 0) warn(`device ${device.path}`, problem);
  }
  for (const [name, value] of Object.entries(linux.sysctl ?? {})) {
    const problem = writeSysctl(task, name, value);
    if (problem < 0) warn(`sysctl ${name}`, problem);
  }
  // What cannot be covered must not be left open.
  const fail = (what: string, errno: number): never => {
    throw new Error(`${what}: ${errnoName(-errno)}`);
  };
  for (const path of linux.readonlyPaths ?? []) {
    const problem = overPath(task, path, (place) =>
      kernel.mounts.mount(place.mount.fs, place, place.mount.flags | MNT_RDONLY, place.dentry),
    );
    if (problem < 0) fail(`can't make ${path} read-only`, problem);
  }
  const nothing = linux.maskedPaths === undefined ? null : nullDevice(kernel, task);
  for (const path of linux.maskedPaths ?? []) {
    const problem = overPath(task, path, (place) => mask(kernel, nothing!, place));
    if (problem < 0) fail(`can't mask path ${path}`, problem);
  }
}

/** Mounts something over a path; one that is not there needs nothing. */
function overPath(task: Task, path: string, mount: (place: Path) => unknown): number {
  const place = resolve(task, AT_FDCWD, path, LOOKUP_FOLLOW);
  if (typeof place === "number") return place === -ENOENT ? 0 : place;
  const result = mount(place);
  return typeof result === "number" ? result : 0;
}

/**
 * A null device of our own: what the container's /dev/null is may be somebody else's choice (CVE-2025-31133), an image's or
 * that of a directory mounted on /dev.
 */
function nullDevice(kernel: Kernel, task: Task): Dentry {
  const { rootDentry } = new DevFs(kernel);
  const inode = rootDentry.inode.lookup("null", task);
  if (typeof inode === "number") throw new Error(`cannot make a null device: ${errnoName(-inode)}`);
  const dentry = new Dentry("null", rootDentry, inode);
  rootDentry.attach(dentry);
  return dentry;
}

/** An empty directory over a directory, a null device over anything else. */
function mask(kernel: Kernel, nothing: Dentry, place: Path): unknown {
  if (place.dentry.inode.type === S_IFDIR)
    return kernel.mounts.mount(new Tmpfs(kernel, { mode: 0o555, inodes: 1 }), place, MNT_RDONLY);
  return kernel.mounts.mount(nothing.inode.fs, place, MNT_RDONLY, nothing);
}

function mountDevice(kernel: Kernel, task: Task, place: Place, mode: number, rdev: number): Path | number {
  const fs = new Tmpfs(kernel, { type: "devtmpfs", mode: 0o755, inodes: 2 });
  const inode = fs.root.mknod("device", { mode, uid: 0, gid: 0 }, rdev);
  if (typeof inode === "number") return inode;
  const at = makeInRoot(task, place, false);
  if (typeof at === "number") return at;
  const dentry = new Dentry("device", fs.rootDentry, inode);
  fs.rootDentry.attach(dentry);
  const mount = kernel.mounts.mount(fs, at, 0, dentry);
  return typeof mount === "number" ? mount : { mount, dentry };
}

function makeDevice(
  kernel: Kernel,
  task: Task,
  device: NonNullable<NonNullable<Spec["linux"]>["devices"]>[number],
): number {
  const type = TYPES[device.type];
  if (type === undefined) return -22;
  const place = findInRoot(task, device.path);
  if (typeof place === "number") return place;
  const name = place.missing.at(-1);
  // What is there already stays.
  if (name === undefined) return 0;
  const directory = makeInRoot(task, { path: place.path, missing: place.missing.slice(0, -1) }, true);
  if (typeof directory === "number") return directory;
  const mode = (device.fileMode ?? 0o666) & 0o7777;
  const rdev = makedev(device.major ?? 0, device.minor ?? 0);
  const path = `${pathString(task, directory).replace(/\/$/, "")}/${name}`;
  let made = makeNode(task, AT_FDCWD, path, type | mode, rdev);
  // The host lets nobody make devices in a user namespace: as runc there, one is mounted over a file.
  if (made === -EPERM) made = mountDevice(kernel, task, { path: directory, missing: [name] }, type | mode, rdev);
  if (typeof made === "number") return made;
  const { inode } = made.dentry;
  const owned = changeOwner(task, inode, device.uid ?? 0, device.gid ?? 0);
  return owned < 0 ? owned : changeMode(task, inode, mode);
}

function writeSysctl(task: Task, name: string, value: string): number {
  const file = openAt(task, AT_FDCWD, `/proc/sys/${name.replaceAll(".", "/")}`, O_WRONLY, 0);
  if (typeof file === "number") return file;
  // Nothing else than our own /proc may take it.
  if (file.path?.mount.fs.type !== "proc") {
    file.release();
    return -EINVAL;
  }
  const written = file.write(task, new KernelIo(encodeName(value)), 0);
  file.release();
  return written < 0 ? written : 0;
}
