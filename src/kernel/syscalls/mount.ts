/**
 * mount, umount2, pivot_root.
 *
 * Manual pages: mount(2), umount(2), pivot_root(2). Linux: fs/namespace.c for the order of checks. Gaps: propagation
 * types are accepted and have no effect; the newer calls (fsopen, move_mount, mount_setattr…) are not implemented, which
 * mount(8) expects of older kernels.
 */
import { EBUSY, EFAULT, EINVAL, ENODEV, ENOENT, ENOTDIR, EPERM } from "../abi/errno.ts";
import { AT_FDCWD } from "../abi/fcntl.ts";
import { S_IFDIR } from "../abi/stat.ts";
import { addr, cstring, flags, optionalCstring } from "../args.ts";
import { syscall } from "../syscall.ts";
import { CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import {
  type Dentry,
  MNT_NOATIME,
  MNT_NODEV,
  MNT_NOEXEC,
  MNT_NOSUID,
  MNT_RDONLY,
  type Mount,
  type Path,
  topOf,
} from "../vfs/dentry.ts";
import { resolve } from "../vfs/namei.ts";
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW } from "../vfs/walk.ts";

const MS = {
  MS_RDONLY: 1,
  MS_NOSUID: 2,
  MS_NODEV: 4,
  MS_NOEXEC: 8,
  MS_SYNCHRONOUS: 16,
  MS_REMOUNT: 32,
  MS_MANDLOCK: 64,
  MS_DIRSYNC: 128,
  MS_NOSYMFOLLOW: 256,
  MS_NOATIME: 1024,
  MS_NODIRATIME: 2048,
  MS_BIND: 4096,
  MS_MOVE: 8192,
  MS_REC: 16384,
  MS_SILENT: 32768,
  MS_UNBINDABLE: 1 << 17,
  MS_PRIVATE: 1 << 18,
  MS_SLAVE: 1 << 19,
  MS_SHARED: 1 << 20,
  MS_RELATIME: 1 << 21,
  MS_STRICTATIME: 1 << 24,
  MS_LAZYTIME: 1 << 25,
} as const;
const MS_MGC_VAL = 0xc0ed0000;
const PROPAGATION = MS.MS_UNBINDABLE | MS.MS_PRIVATE | MS.MS_SLAVE | MS.MS_SHARED;
/** What a mount keeps of the flags: the numbers are the same. */
const KEPT = MNT_RDONLY | MNT_NOSUID | MNT_NODEV | MNT_NOEXEC | MNT_NOATIME;

/** Is the mount in the caller's tree? What a descriptor from elsewhere leads to can be used, but not rearranged. */
function isOurs(task: Task, mount: Mount): boolean {
  const top = task.fs.namespace?.top ?? task.container.root?.mount;
  return top === undefined || topOf(mount) === topOf(top);
}

const isMountRoot = (place: Path): boolean => place.dentry === place.mount.root;

export const mount = syscall(
  "mount",
  {
    source: optionalCstring,
    target: cstring,
    filesystemtype: optionalCstring,
    flags: flags(MS),
    data: addr,
  },
  (task, call) => {
    let bits = call.flags | 0;
    if (((bits & 0xffff0000) | 0) === (MS_MGC_VAL | 0)) bits &= 0xffff;
    let data = "";
    if (call.data !== 0) {
      const text = task.mm.readString(call.data, 4096);
      // Binary data of old file systems may have no end: none of ours takes any.
      if (text === -EFAULT) return -EFAULT;
      if (typeof text === "string") data = text;
    }
    const place = resolve(task, AT_FDCWD, call.target, LOOKUP_FOLLOW);
    if (typeof place === "number") return place;
    if (!capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
    if (!isOurs(task, place.mount)) return -EINVAL;
    if (bits & MS.MS_REMOUNT) return remount(task, place, bits, data);
    if (bits & MS.MS_BIND) return bind(task, place, call.source, (bits & MS.MS_REC) !== 0);
    if (bits & PROPAGATION) {
      const kind = bits & PROPAGATION;
      return (kind & (kind - 1)) !== 0 || !isMountRoot(place) ? -EINVAL : 0;
    }
    if (bits & MS.MS_MOVE) return move(task, place, call.source);
    if (call.filesystemtype === null) return -EINVAL;
    const type = task.kernel.fileSystemTypes.get(call.filesystemtype);
    if (type === undefined) return -ENODEV;
    const source = call.source ?? "none";
    const fs = type.make(
      task.kernel,
      source,
      data.split(",").filter((option) => option !== ""),
      task.container,
    );
    if (typeof fs === "number") return fs;
    fs.source = source === "" ? "none" : source;
    const made = task.kernel.mounts.mount(fs, place, bits & KEPT);
    if (typeof made !== "number") return 0;
    fs.release();
    return made;
  },
);

function remount(task: Task, place: Path, bits: number, data: string): number {
  if (!isMountRoot(place)) return -EINVAL;
  const { mount } = place;
  const { fs } = mount;
  // With MS_BIND only the mount changes, else its file system too.
  if ((bits & MS.MS_BIND) === 0) {
    const options = data.split(",").filter((option) => option !== "");
    const result = task.kernel.fileSystemTypes.get(fs.type)?.remount?.(task.kernel, fs, options) ?? 0;
    if (result < 0) return result;
  }
  mount.flags = (mount.flags & ~KEPT) | (bits & KEPT);
  return 0;
}

function bind(task: Task, at: Path, source: string | null, recursive: boolean): number {
  if (source === null || source === "") return source === null ? -EINVAL : -ENOENT;
  const from = resolve(task, AT_FDCWD, source, LOOKUP_FOLLOW);
  if (typeof from === "number") return from;
  const { mounts } = task.kernel;
  if (!isOurs(task, from.mount)) return -EINVAL;
  if (from.dentry.deleted) return -ENOENT;
  // The copy of the tree is taken before the new mount can be part of it.
  const below = recursive ? mounts.tree(from.mount).slice(1) : [];
  const made = mounts.mount(from.mount.fs, at, from.mount.flags & KEPT, from.dentry);
  if (typeof made === "number") return made;
  const copies = new Map<Mount, Mount>([[from.mount, made]]);
  for (const old of below) {
    const parent = copies.get(old.parent!);
    // Only what sits below the directory that is bound.
    if (parent === undefined || !parent.root.contains(old.mountpoint!)) continue;
    const copy = mounts.mount(old.fs, null, old.flags & KEPT, old.root);
    if (typeof copy === "number") return copy;
    mounts.attach(copy, { mount: parent, dentry: old.mountpoint! });
    copies.set(old, copy);
  }
  return 0;
}

function move(task: Task, to: Path, source: string | null): number {
  if (source === null || source === "") return source === null ? -EINVAL : -ENOENT;
  const from = resolve(task, AT_FDCWD, source, LOOKUP_FOLLOW);
  if (typeof from === "number") return from;
  if (!isMountRoot(from) || !isOurs(task, from.mount)) return -EINVAL;
  return task.kernel.mounts.move(from.mount, to);
}

const UMOUNT = { MNT_FORCE: 1, MNT_DETACH: 2, MNT_EXPIRE: 4, UMOUNT_NOFOLLOW: 8 } as const;

/** Is something of the mount in use: a working directory, a root, an open file, a running program? */
function inUse(task: Task, mount: Mount): boolean {
  for (const other of task.kernel.tasks) {
    if (other.fs === undefined || other.ctx === null) continue;
    if (other.fs.cwd.mount === mount || other.fs.root.mount === mount) return true;
    for (const [, file] of other.files.entries()) if (file.path?.mount === mount) return true;
    for (const area of other.mm.vmas) if (area.file?.path?.mount === mount) return true;
  }
  return false;
}

export const umount2 = syscall("umount2", { target: cstring, flags: flags(UMOUNT) }, (task, call) => {
  const { MNT_FORCE, MNT_DETACH, MNT_EXPIRE, UMOUNT_NOFOLLOW } = UMOUNT;
  const bits = call.flags;
  if (bits & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW)) return -EINVAL;
  const found = resolve(task, AT_FDCWD, call.target, bits & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW);
  if (typeof found === "number") return found;
  if (!capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
  const { mounts } = task.kernel;
  // "." may be below what has been mounted on it since.
  const place = mounts.topmost(found);
  if (!isMountRoot(place) || !isOurs(task, place.mount)) return -EINVAL;
  if (bits & MNT_EXPIRE && bits & (MNT_FORCE | MNT_DETACH)) return -EINVAL;
  const { mount } = place;
  const lazy = (bits & MNT_DETACH) !== 0;
  if (mount.mountpoint === null) return -EINVAL;
  if (mount === task.fs.root.mount) return lazy ? -EINVAL : -EBUSY;
  if (!lazy && inUse(task, mount)) return -EBUSY;
  return mounts.umount(mount, lazy);
});

export const pivot_root = syscall("pivot_root", { new_root: cstring, put_old: cstring }, (task, call) => {
  if (!capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
  const next = resolve(task, AT_FDCWD, call.new_root, LOOKUP_FOLLOW | LOOKUP_DIRECTORY);
  if (typeof next === "number") return next;
  const put = resolve(task, AT_FDCWD, call.put_old, LOOKUP_FOLLOW | LOOKUP_DIRECTORY);
  if (typeof put === "number") return put;
  const { kernel } = task;
  const { mounts } = kernel;
  const old = { ...task.fs.root };
  if (!isOurs(task, next.mount) || !isOurs(task, put.mount) || !isOurs(task, old.mount)) return -EINVAL;
  if (put.dentry.deleted || next.dentry.deleted) return -ENOENT;
  if (next.mount === old.mount || put.mount === old.mount) return -EBUSY;
  if (!isMountRoot(old) || !isMountRoot(next) || next.mount.mountpoint === null) return -EINVAL;
  if (put.dentry.inode.type !== S_IFDIR) return -ENOTDIR;
  if (!isBelow(put, next) || !isBelow(next, old)) return -EINVAL;
  const above = old.mount.parent;
  const place: Dentry | null = old.mount.mountpoint;
  mounts.detach(next.mount);
  mounts.detach(old.mount);
  mounts.attach(old.mount, mounts.topmost(put));
  if (above !== null && place !== null) mounts.attach(next.mount, { mount: above, dentry: place });
  const { container } = task;
  if (container.root?.mount === old.mount) container.root = { mount: next.mount, dentry: next.mount.root };
  const { namespace } = task.fs;
  if (namespace !== null && namespace.top === old.mount) namespace.top = next.mount;
  // Whoever had the old root as root or working directory gets the new one.
  for (const other of kernel.tasks) {
    const { fs } = other;
    if (fs === undefined) continue;
    if (fs.root.mount === old.mount && fs.root.dentry === old.dentry) fs.root = next;
    if (fs.cwd.mount === old.mount && fs.cwd.dentry === old.dentry) fs.cwd = next;
  }
  return 0;
});

/** Is a place the other one or below it? */
function isBelow(place: Path, top: Path): boolean {
  let mount: Mount | null = place.mount;
  let dentry = place.dentry;
  while (mount !== null && mount !== top.mount) {
    if (mount.mountpoint === null) return false;
    dentry = mount.mountpoint;
    mount = mount.parent;
  }
  return mount !== null && top.dentry.contains(dentry);
}
