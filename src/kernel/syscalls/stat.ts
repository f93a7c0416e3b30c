/**
 * stat, fstat, lstat, newfstatat, statx: attributes of files.
 *
 * Manual pages: stat(2), statx(2). Linux: fs/stat.c. Gaps: STATX_DIOALIGN and the other newer fields are not reported.
 */

import { EBADF, EINVAL } from "../abi/errno.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_FLAGS,
  AT_NO_AUTOMOUNT,
  AT_STATX_SYNC_TYPE,
  AT_SYMLINK_NOFOLLOW,
} from "../abi/fcntl.ts";
import { cstring, fd, flags, outStruct, uint } from "../args.ts";
import { type ArgType, syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import type { File } from "../vfs/file.ts";
import type { Stat } from "../vfs/inode.ts";
import { writeStat, writeStatx } from "../vfs/stat-structs.ts";
import { LOOKUP_EMPTY, LOOKUP_FOLLOW, Walk } from "../vfs/walk.ts";

/** `{st_mode=S_IFREG|0644, st_size=12, …}` */
const statBuffer: ArgType<number> = outStruct((addr, task) => {
  const view = task.mm.readStruct(addr, 144);
  if (view === null) return `0x${addr.toString(16)}`;
  return `{st_mode=0${view.getUint32(24, true).toString(8)}, st_size=${view.getUint32(48, true)}, ...}`;
});

/** What a path names: where the walk has ended, or the open file that an empty path means. */
function placeOf(task: Task, dirfd: number, path: string, lookup: number): Walk | File | number {
  if (path.length === 0 && lookup & LOOKUP_EMPTY && dirfd !== AT_FDCWD) return task.files.get(dirfd) ?? -EBADF;
  const walk = new Walk(task, lookup);
  let result = walk.begin(dirfd, path);
  if (result === 0) result = walk.toEnd();
  return result < 0 ? result : walk;
}

function attributesOf(place: Walk | File): Stat | number {
  if (!(place instanceof Walk)) return place.getattr();
  const { inode } = place;
  return place.fresh === inode ? inode.getattrFresh() : inode.getattr();
}

function statInto(task: Task, dirfd: number, path: string, lookup: number, buffer: number): number {
  const place = placeOf(task, dirfd, path, lookup);
  if (typeof place === "number") return place;
  const stat = attributesOf(place);
  return typeof stat === "number" ? stat : writeStat(task, buffer, stat);
}

export const stat = syscall("stat", { path: cstring, buffer: statBuffer }, (task, call) =>
  statInto(task, AT_FDCWD, call.path, LOOKUP_FOLLOW, call.buffer),
);

export const lstat = syscall("lstat", { path: cstring, buffer: statBuffer }, (task, call) =>
  statInto(task, AT_FDCWD, call.path, 0, call.buffer),
);

export const fstat = syscall("fstat", { fd, buffer: statBuffer }, (task, call) => {
  const file = task.files.get(call.fd);
  if (file === undefined) return -EBADF;
  const attributes = file.getattr();
  return typeof attributes === "number" ? attributes : writeStat(task, call.buffer, attributes);
});

function lookupFlags(given: number): number {
  return (given & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (given & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
}

/** With AT_EMPTY_PATH in argument `flagsAt` these calls take NULL for "". */
function pathOrNull(flagsAt: number): ArgType<string> {
  return {
    ...cstring,
    decode: (task, i) =>
      task.arg(i) === 0 && task.argLo(flagsAt) & AT_EMPTY_PATH ? "" : (cstring.decode(task, i) as string),
  };
}

export const newfstatat = syscall(
  "newfstatat",
  { dirfd: fd, path: pathOrNull(3), buffer: statBuffer, flags: flags(AT_FLAGS) },
  (task, call) => {
    if (call.flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) return -EINVAL;
    return statInto(task, call.dirfd, call.path, lookupFlags(call.flags), call.buffer);
  },
);

const STATX_RESERVED = 0x80000000;

export const statx = syscall(
  "statx",
  { dirfd: fd, path: pathOrNull(2), flags: flags(AT_FLAGS), mask: uint, buffer: outStruct() },
  (task, call) => {
    if (call.mask & STATX_RESERVED) return -EINVAL;
    if ((call.flags & AT_STATX_SYNC_TYPE) === AT_STATX_SYNC_TYPE) return -EINVAL;
    if (call.flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) return -EINVAL;
    const place = placeOf(task, call.dirfd, call.path, lookupFlags(call.flags));
    if (typeof place === "number") return place;
    const attributes = attributesOf(place);
    if (typeof attributes === "number") return attributes;
    const { path } = place;
    const mountRoot = path !== null && path.dentry === path.mount.root;
    return writeStatx(task, call.buffer, attributes, path === null ? 0 : path.mount.id, mountRoot);
  },
);
