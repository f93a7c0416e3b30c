/**
 * link, linkat, symlink, symlinkat, readlink, readlinkat.
 *
 * Manual pages: link(2), symlink(2), readlink(2). Linux: fs/namei.c, fs/stat.c. Gaps: linkat with AT_EMPTY_PATH does not
 * ask whether the descriptor was opened with the same credentials.
 */
import { encodeName } from "../abi/bytes.ts";
import { EFAULT, EINVAL, ENOENT } from "../abi/errno.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW } from "../abi/fcntl.ts";
import { S_IFLNK } from "../abi/stat.ts";
import { cstring, fd, flags, int, outBuffer } from "../args.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { resolve } from "../vfs/namei.ts";
import { makeLink, makeSymlink } from "../vfs/names.ts";
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from "../vfs/walk.ts";

function linkPaths(task: Task, fromDir: number, from: string, toDir: number, to: string, at: number): number {
  if (at & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) return -EINVAL;
  const lookup = (at & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) | (at & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
  const old = resolve(task, fromDir, from, lookup);
  return typeof old === "number" ? old : makeLink(task, old, toDir, to);
}

export const link = syscall("link", { oldpath: cstring, newpath: cstring }, (task, call) =>
  linkPaths(task, AT_FDCWD, call.oldpath, AT_FDCWD, call.newpath, 0),
);
export const linkat = syscall(
  "linkat",
  {
    olddirfd: fd,
    oldpath: cstring,
    newdirfd: fd,
    newpath: cstring,
    flags: flags({ AT_SYMLINK_FOLLOW, AT_EMPTY_PATH }),
  },
  (task, call) => linkPaths(task, call.olddirfd, call.oldpath, call.newdirfd, call.newpath, call.flags),
);

function symlinkTo(task: Task, target: string, dirfd: number, path: string): number {
  const made = makeSymlink(task, target, dirfd, path);
  return typeof made === "number" ? made : 0;
}
export const symlink = syscall("symlink", { target: cstring, linkpath: cstring }, (task, call) =>
  symlinkTo(task, call.target, AT_FDCWD, call.linkpath),
);
export const symlinkat = syscall("symlinkat", { target: cstring, newdirfd: fd, linkpath: cstring }, (task, call) =>
  symlinkTo(task, call.target, call.newdirfd, call.linkpath),
);

function readLink(task: Task, dirfd: number, path: string, buffer: number, size: number): number {
  if (size <= 0) return -EINVAL;
  const place = resolve(task, dirfd, path, LOOKUP_EMPTY);
  if (typeof place === "number") return place;
  const { inode } = place.dentry;
  // An empty path is only good for a descriptor of a link.
  if (inode.type !== S_IFLNK) return path.length === 0 ? -ENOENT : -EINVAL;
  const target = inode.readlink(task);
  if (typeof target === "number") return target;
  const bytes = encodeName(target);
  const length = Math.min(size, bytes.length);
  return task.mm.writeBytes(buffer, bytes, length) < 0 ? -EFAULT : length;
}
export const readlink = syscall("readlink", { path: cstring, buffer: outBuffer(), size: int }, (task, call) =>
  readLink(task, AT_FDCWD, call.path, call.buffer, call.size),
);
export const readlinkat = syscall(
  "readlinkat",
  { dirfd: fd, path: cstring, buffer: outBuffer(), size: int },
  (task, call) => readLink(task, call.dirfd, call.path, call.buffer, call.size),
);
