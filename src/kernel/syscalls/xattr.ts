/**
 * setxattr, getxattr, listxattr, removexattr, each with its l- and f- form.
 *
 * Manual pages: xattr(7), setxattr(2), getxattr(2), listxattr(2), removexattr(2). Linux: fs/xattr.c for the order of
 * checks. Gaps: no access control lists (system.posix_acl_*: EOPNOTSUPP).
 */
import { encodeName } from "../abi/bytes.ts";
import { E2BIG, EBADF, EFAULT, EINVAL, ENODATA, EOPNOTSUPP, EPERM, ERANGE } from "../abi/errno.ts";
import { AT_FDCWD, MAY_READ, MAY_WRITE, XATTR_CREATE, XATTR_REPLACE } from "../abi/fcntl.ts";
import { S_IFDIR, S_IFREG, S_ISVTX } from "../abi/stat.ts";
import { cstring, fd, flags, inBuffer, outBuffer, size } from "../args.ts";
import { syscall } from "../syscall.ts";
import { CAP_SETFCAP, CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import type { Path } from "../vfs/dentry.ts";
import type { Inode } from "../vfs/inode.ts";
import { resolve } from "../vfs/namei.ts";
import { ownerOrCapable, permission, writable } from "../vfs/permission.ts";
import { LOOKUP_FOLLOW } from "../vfs/walk.ts";
import { IN_ATTRIB, notifyDentry, watching } from "../vfs/watches.ts";

const NAME_MAX = 255;
const SIZE_MAX = 65536;
const XATTR_FLAGS = flags({ XATTR_CREATE, XATTR_REPLACE });

function badName(name: string): boolean {
  return name.length === 0 || encodeName(name).length > NAME_MAX;
}

/** May the task read or write this attribute? */
function allowed(task: Task, inode: Inode, name: string, mask: number): number {
  const write = mask === MAY_WRITE;
  if (name.startsWith("security.") || name.startsWith("system.")) return 0;
  if (name.startsWith("trusted.")) return capable(task.cred, CAP_SYS_ADMIN) ? 0 : write ? -EPERM : -ENODATA;
  if (name.startsWith("user.")) {
    if (inode.type !== S_IFREG && inode.type !== S_IFDIR) return write ? -EPERM : -ENODATA;
    if (inode.type === S_IFDIR && write) {
      const attr = inode.ownership();
      if (typeof attr === "number") return attr;
      if (attr.mode & S_ISVTX && !ownerOrCapable(task.cred, attr)) return -EPERM;
    }
  }
  return permission(task, inode, mask);
}

/** Is there such a namespace? 0, -EOPNOTSUPP, -EINVAL for a prefix alone. */
function namespaceOf(name: string): number {
  for (const prefix of ["user.", "trusted.", "security."])
    if (name.startsWith(prefix)) return name.length === prefix.length ? -EINVAL : 0;
  return -EOPNOTSUPP;
}

/** What a call works on: a place, or a file without one. */
interface Target {
  inode: Inode | null;
  place: Path | null;
}
function byPath(task: Task, path: string, follow: boolean): Target | number {
  const place = resolve(task, AT_FDCWD, path, follow ? LOOKUP_FOLLOW : 0);
  return typeof place === "number" ? place : { inode: place.dentry.inode, place };
}
function byFd(task: Task, number: number): Target | number {
  const file = task.files.getOpen(number);
  return file === undefined ? -EBADF : { inode: file.inode, place: file.path };
}

/** Rights to change an attribute, and the change. */
function change(task: Task, target: Target | number, name: string, apply: (inode: Inode) => number): number {
  if (typeof target === "number") return target;
  const { inode, place } = target;
  if (inode === null) return -EOPNOTSUPP;
  let result = place === null ? 0 : writable(place);
  if (result === 0) result = allowed(task, inode, name, MAY_WRITE);
  if (result === 0) result = namespaceOf(name);
  if (result < 0) return result;
  if (name.startsWith("security.")) {
    const cap = name === "security.capability" ? CAP_SETFCAP : CAP_SYS_ADMIN;
    if (!capable(task.cred, cap)) return -EPERM;
  }
  result = apply(inode);
  if (result === 0 && place !== null && watching.count > 0) notifyDentry(place.dentry, IN_ATTRIB);
  return result;
}

interface SetArgs {
  name: string;
  value: number;
  size: number;
  flags: number;
}
function set(task: Task, find: () => Target | number, call: SetArgs): number {
  if (call.flags & ~(XATTR_CREATE | XATTR_REPLACE)) return -EINVAL;
  if (badName(call.name)) return -ERANGE;
  if (call.size > SIZE_MAX) return -E2BIG;
  const value = new Uint8Array(call.size);
  if (task.mm.readBytes(call.value, value) < 0) return -EFAULT;
  return change(task, find(), call.name, (inode) => inode.setXattr(call.name, value, call.flags));
}
const setArgs = { name: cstring, value: inBuffer("size"), size, flags: XATTR_FLAGS };
export const setxattr = syscall("setxattr", { path: cstring, ...setArgs }, (task, call) =>
  set(task, () => byPath(task, call.path, true), call),
);
export const lsetxattr = syscall("lsetxattr", { path: cstring, ...setArgs }, (task, call) =>
  set(task, () => byPath(task, call.path, false), call),
);
export const fsetxattr = syscall("fsetxattr", { fd, ...setArgs }, (task, call) =>
  set(task, () => byFd(task, call.fd), call),
);

function remove(task: Task, find: () => Target | number, name: string): number {
  if (badName(name)) return -ERANGE;
  return change(task, find(), name, (inode) => inode.removeXattr(name));
}
export const removexattr = syscall("removexattr", { path: cstring, name: cstring }, (task, call) =>
  remove(task, () => byPath(task, call.path, true), call.name),
);
export const lremovexattr = syscall("lremovexattr", { path: cstring, name: cstring }, (task, call) =>
  remove(task, () => byPath(task, call.path, false), call.name),
);
export const fremovexattr = syscall("fremovexattr", { fd, name: cstring }, (task, call) =>
  remove(task, () => byFd(task, call.fd), call.name),
);

/** Gives out bytes, or their count when no room was offered. */
function giveOut(task: Task, addr: number, room: number, bytes: Uint8Array): number {
  if (room === 0) return bytes.length;
  if (bytes.length > room) return -ERANGE;
  return task.mm.writeBytes(addr, bytes) < 0 ? -EFAULT : bytes.length;
}

function get(task: Task, find: () => Target | number, call: { name: string; value: number; size: number }): number {
  if (badName(call.name)) return -ERANGE;
  const target = find();
  if (typeof target === "number") return target;
  const { inode } = target;
  if (inode === null) return -EOPNOTSUPP;
  let result = allowed(task, inode, call.name, MAY_READ);
  if (result === 0) result = namespaceOf(call.name);
  if (result < 0) return result;
  const value = inode.getXattr(call.name);
  return typeof value === "number" ? value : giveOut(task, call.value, call.size, value);
}
const getArgs = { name: cstring, value: outBuffer(), size };
export const getxattr = syscall("getxattr", { path: cstring, ...getArgs }, (task, call) =>
  get(task, () => byPath(task, call.path, true), call),
);
export const lgetxattr = syscall("lgetxattr", { path: cstring, ...getArgs }, (task, call) =>
  get(task, () => byPath(task, call.path, false), call),
);
export const fgetxattr = syscall("fgetxattr", { fd, ...getArgs }, (task, call) =>
  get(task, () => byFd(task, call.fd), call),
);

function list(task: Task, target: Target | number, addr: number, room: number): number {
  if (typeof target === "number") return target;
  if (target.inode === null) return 0;
  const names = target.inode.listXattr();
  if (typeof names === "number") return names;
  const admin = capable(task.cred, CAP_SYS_ADMIN);
  const shown = names.filter((name) => namespaceOf(name) === 0 && (admin || !name.startsWith("trusted.")));
  return giveOut(task, addr, room, Buffer.concat(shown.map((name) => Buffer.from([...encodeName(name), 0]))));
}
const listArgs = { list: outBuffer(), size };
export const listxattr = syscall("listxattr", { path: cstring, ...listArgs }, (task, call) =>
  list(task, byPath(task, call.path, true), call.list, call.size),
);
export const llistxattr = syscall("llistxattr", { path: cstring, ...listArgs }, (task, call) =>
  list(task, byPath(task, call.path, false), call.list, call.size),
);
export const flistxattr = syscall("flistxattr", { fd, ...listArgs }, (task, call) =>
  list(task, byFd(task, call.fd), call.list, call.size),
);
