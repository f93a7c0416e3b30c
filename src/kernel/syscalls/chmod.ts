/**
 * chmod, fchmod, fchmodat, fchmodat2; chown, fchown, lchown, fchownat.
 *
 * Manual pages: chmod(2), chown(2). Linux: fs/open.c, fs/attr.c. Gaps: the owner of a pipe or socket without a name
 * cannot be changed; such calls succeed and have no effect.
 */
import { EBADF, EINVAL, EOPNOTSUPP } from "../abi/errno.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW } from "../abi/fcntl.ts";
import { S_IFLNK } from "../abi/stat.ts";
import { cstring, fd, flags, mode, uid } from "../args.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import type { Path } from "../vfs/dentry.ts";
import { resolve } from "../vfs/namei.ts";
import { changeMode, changeOwner, writable } from "../vfs/permission.ts";
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from "../vfs/walk.ts";
import { IN_ATTRIB, notifyDentry, watching } from "../vfs/watches.ts";

const AT = { AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH };

function lookupOf(at: number): number {
  return (at & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (at & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
}

function told(place: Path, result: number): number {
  if (result === 0 && watching.count > 0) notifyDentry(place.dentry, IN_ATTRIB);
  return result;
}

function chmodPlace(task: Task, place: Path, bits: number): number {
  const readonly = writable(place);
  if (readonly < 0) return readonly;
  if (place.dentry.inode.type === S_IFLNK) return -EOPNOTSUPP;
  return told(place, changeMode(task, place.dentry.inode, bits));
}
function chmodPath(task: Task, dirfd: number, path: string, bits: number, at: number): number {
  const place = resolve(task, dirfd, path, lookupOf(at));
  return typeof place === "number" ? place : chmodPlace(task, place, bits);
}

export const chmod = syscall("chmod", { path: cstring, mode }, (task, call) =>
  chmodPath(task, AT_FDCWD, call.path, call.mode, 0),
);
export const fchmodat = syscall("fchmodat", { dirfd: fd, path: cstring, mode }, (task, call) =>
  chmodPath(task, call.dirfd, call.path, call.mode, 0),
);
export const fchmodat2 = syscall("fchmodat2", { dirfd: fd, path: cstring, mode, flags: flags(AT) }, (task, call) => {
  if (call.flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return -EINVAL;
  return chmodPath(task, call.dirfd, call.path, call.mode, call.flags);
});
export const fchmod = syscall("fchmod", { fd, mode }, (task, call) => {
  const file = task.files.getOpen(call.fd);
  if (file === undefined) return -EBADF;
  if (file.path !== null) return chmodPlace(task, file.path, call.mode);
  return file.inode === null ? 0 : changeMode(task, file.inode, call.mode);
});

function chownPlace(task: Task, place: Path, owner: number, group: number): number {
  const readonly = writable(place);
  if (readonly < 0) return readonly;
  return told(place, changeOwner(task, place.dentry.inode, owner, group));
}
/** -1 leaves an id as it is. */
const id = (value: number): number => (value === 0xffffffff ? -1 : value);

function chownPath(task: Task, dirfd: number, path: string, owner: number, group: number, at: number): number {
  const place = resolve(task, dirfd, path, lookupOf(at));
  return typeof place === "number" ? place : chownPlace(task, place, id(owner), id(group));
}
function chownFile(task: Task, number: number, owner: number, group: number, pathOnly: boolean): number {
  const file = pathOnly ? task.files.get(number) : task.files.getOpen(number);
  if (file === undefined) return -EBADF;
  if (file.path !== null) return chownPlace(task, file.path, id(owner), id(group));
  return file.inode === null ? 0 : changeOwner(task, file.inode, id(owner), id(group));
}

export const chown = syscall("chown", { path: cstring, owner: uid, group: uid }, (task, call) =>
  chownPath(task, AT_FDCWD, call.path, call.owner, call.group, 0),
);
export const lchown = syscall("lchown", { path: cstring, owner: uid, group: uid }, (task, call) =>
  chownPath(task, AT_FDCWD, call.path, call.owner, call.group, AT_SYMLINK_NOFOLLOW),
);
export const fchown = syscall("fchown", { fd, owner: uid, group: uid }, (task, call) =>
  chownFile(task, call.fd, call.owner, call.group, false),
);
export const fchownat = syscall(
  "fchownat",
  { dirfd: fd, path: cstring, owner: uid, group: uid, flags: flags(AT) },
  (task, call) => {
    if (call.flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return -EINVAL;
    if (call.path.length === 0 && call.flags & AT_EMPTY_PATH && call.dirfd !== AT_FDCWD)
      return chownFile(task, call.dirfd, call.owner, call.group, true);
    return chownPath(task, call.dirfd, call.path, call.owner, call.group, call.flags);
  },
);
