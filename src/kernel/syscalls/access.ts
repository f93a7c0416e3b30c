/**
 * access, faccessat, faccessat2: may the real user do this?
 *
 * Manual page: access(2). Linux: fs/open.c (do_faccessat). Gaps: none known.
 */
import { EACCES, EBADF, EINVAL, EROFS } from "../abi/errno.ts";
import {
  AT_EACCESS,
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  MAY_EXEC,
  MAY_READ,
  MAY_WRITE,
} from "../abi/fcntl.ts";
import { S_IFDIR, S_IFLNK, S_IFREG } from "../abi/stat.ts";
import { cstring, fd, flags } from "../args.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { MNT_NOEXEC } from "../vfs/dentry.ts";
import { resolve } from "../vfs/namei.ts";
import { permissionAs, realCredentials, writable } from "../vfs/permission.ts";
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from "../vfs/walk.ts";

const accessMode = flags({ F_OK: 0, R_OK: MAY_READ, W_OK: MAY_WRITE, X_OK: MAY_EXEC });

function check(task: Task, dirfd: number, path: string, mask: number, at: number): number {
  if (mask & ~7) return -EINVAL;
  if (at & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return -EINVAL;
  const cred = at & AT_EACCESS ? task.cred : realCredentials(task.cred);
  if (path.length === 0 && at & AT_EMPTY_PATH && dirfd !== AT_FDCWD) {
    // Pipes and the like have no place, but an owner: whoever holds the descriptor.
    const file = task.files.get(dirfd);
    if (file === undefined) return -EBADF;
    if (file.path === null) return 0;
  }
  const lookup = (at & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (at & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
  const place = resolve(task, dirfd, path, lookup, cred);
  if (typeof place === "number") return place;
  const { inode } = place.dentry;
  if (mask & MAY_EXEC && inode.type === S_IFREG && place.mount.flags & MNT_NOEXEC) return -EACCES;
  const denied = permissionAs(cred, inode, mask);
  if (denied < 0) return denied;
  const changeable = inode.type === S_IFREG || inode.type === S_IFDIR || inode.type === S_IFLNK;
  if (mask & MAY_WRITE && changeable && writable(place) < 0) return -EROFS;
  return 0;
}

export const access = syscall("access", { path: cstring, mode: accessMode }, (task, call) =>
  check(task, AT_FDCWD, call.path, call.mode, 0),
);
export const faccessat = syscall("faccessat", { dirfd: fd, path: cstring, mode: accessMode }, (task, call) =>
  check(task, call.dirfd, call.path, call.mode, 0),
);
export const faccessat2 = syscall(
  "faccessat2",
  { dirfd: fd, path: cstring, mode: accessMode, flags: flags({ AT_EACCESS, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH }) },
  (task, call) => check(task, call.dirfd, call.path, call.mode, call.flags),
);
