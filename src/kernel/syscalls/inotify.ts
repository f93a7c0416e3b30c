/**
 * inotify_init, inotify_init1, inotify_add_watch, inotify_rm_watch.
 *
 * Manual page: inotify(7). Linux: fs/notify/inotify/inotify_user.c. The events come from vfs/watches.ts. Gaps: changes
 * that the host makes to a host directory are not noticed.
 */
import { EBADF, EINVAL, ENOTDIR } from "../abi/errno.ts";
import { AT_FDCWD, MAY_READ, O_CLOEXEC, O_NONBLOCK } from "../abi/fcntl.ts";
import { S_IFDIR } from "../abi/stat.ts";
import { cstring, fd, flags, int } from "../args.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { installFile } from "../vfs/close-file.ts";
import { InotifyFile } from "../vfs/inotify.ts";
import { permission, resolve } from "../vfs/namei.ts";
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW } from "../vfs/walk.ts";
import {
  IN_ALL_EVENTS,
  IN_DONT_FOLLOW,
  IN_EXCL_UNLINK,
  IN_MASK_ADD,
  IN_MASK_CREATE,
  IN_ONESHOT,
  IN_ONLYDIR,
} from "../vfs/watches.ts";

function make(task: Task, given: number): number {
  if (given & ~(O_CLOEXEC | O_NONBLOCK)) return -EINVAL;
  const file = InotifyFile.make(given & O_NONBLOCK);
  return typeof file === "number" ? file : installFile(task, file, (given & O_CLOEXEC) !== 0);
}
export const inotify_init = syscall("inotify_init", {}, (task) => make(task, 0));
export const inotify_init1 = syscall(
  "inotify_init1",
  { flags: flags({ IN_CLOEXEC: O_CLOEXEC, IN_NONBLOCK: O_NONBLOCK }) },
  (task, call) => make(task, call.flags),
);

const MASK = flags({
  IN_ALL_EVENTS,
  IN_ACCESS: 1,
  IN_MODIFY: 2,
  IN_ATTRIB: 4,
  IN_CLOSE_WRITE: 8,
  IN_CLOSE_NOWRITE: 0x10,
  IN_OPEN: 0x20,
  IN_MOVED_FROM: 0x40,
  IN_MOVED_TO: 0x80,
  IN_CREATE: 0x100,
  IN_DELETE: 0x200,
  IN_DELETE_SELF: 0x400,
  IN_MOVE_SELF: 0x800,
  IN_ONLYDIR,
  IN_DONT_FOLLOW,
  IN_EXCL_UNLINK,
  IN_MASK_CREATE,
  IN_MASK_ADD,
  IN_ONESHOT,
});

export const inotify_add_watch = syscall("inotify_add_watch", { fd, pathname: cstring, mask: MASK }, (task, call) => {
  const mask = call.mask | 0;
  const known =
    IN_ALL_EVENTS | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ONESHOT;
  if ((mask & (known | 0x4000e000)) === 0) return -EINVAL;
  const file = task.files.getOpen(call.fd);
  if (file === undefined) return -EBADF;
  if ((mask & (IN_MASK_ADD | IN_MASK_CREATE)) === (IN_MASK_ADD | IN_MASK_CREATE)) return -EINVAL;
  if (!(file instanceof InotifyFile)) return -EINVAL;
  let lookup = mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW;
  if (mask & IN_ONLYDIR) lookup |= LOOKUP_DIRECTORY;
  const place = resolve(task, AT_FDCWD, call.pathname, lookup);
  if (typeof place === "number") return place;
  const { inode } = place.dentry;
  if (mask & IN_ONLYDIR && inode.type !== S_IFDIR) return -ENOTDIR;
  const denied = permission(task, inode, MAY_READ);
  return denied < 0 ? denied : file.watch(inode, mask);
});

export const inotify_rm_watch = syscall("inotify_rm_watch", { fd, wd: int }, (task, call) => {
  const file = task.files.getOpen(call.fd);
  if (file === undefined) return -EBADF;
  return file instanceof InotifyFile ? file.unwatch(call.wd) : -EINVAL;
});
