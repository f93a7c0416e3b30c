/**
 * name_to_handle_at, open_by_handle_at: file handles, which our file systems do not have.
 *
 * Manual page: open_by_handle_at(2). Linux: fs/fhandle.c. Gaps: no file system makes handles (EOPNOTSUPP), which
 * programs must expect.
 */
import { EBADF, EFAULT, EINVAL, EOPNOTSUPP, EPERM, ESTALE } from "../abi/errno.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW } from "../abi/fcntl.ts";
import { addr, cstring, fd, flags, uint } from "../args.ts";
import { syscall } from "../syscall.ts";
import { CAP_DAC_READ_SEARCH, capable } from "../task/credentials.ts";
import { resolve } from "../vfs/namei.ts";
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from "../vfs/walk.ts";

const AT_HANDLE_FID = 0x200;
const AT_HANDLE_MNT_ID_UNIQUE = 1;
const AT_HANDLE_CONNECTABLE = 2;

export const name_to_handle_at = syscall(
  "name_to_handle_at",
  { dirfd: fd, path: cstring, handle: addr, mount_id: addr, flags: flags({ AT_SYMLINK_FOLLOW, AT_EMPTY_PATH }) },
  (task, call) => {
    const known = AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID | AT_HANDLE_MNT_ID_UNIQUE | AT_HANDLE_CONNECTABLE;
    if (call.flags & ~known) return -EINVAL;
    const lookup =
      (call.flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) | (call.flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    const place = resolve(task, call.dirfd, call.path, lookup);
    return typeof place === "number" ? place : -EOPNOTSUPP;
  },
);

export const open_by_handle_at = syscall(
  "open_by_handle_at",
  { mount_fd: fd, handle: addr, flags: uint },
  (task, call) => {
    if (!capable(task.cred, CAP_DAC_READ_SEARCH)) return -EPERM;
    if (call.mount_fd !== AT_FDCWD && task.files.get(call.mount_fd) === undefined) return -EBADF;
    return task.mm.readStruct(call.handle, 8) === null ? -EFAULT : -ESTALE;
  },
);
