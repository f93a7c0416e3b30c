/**
 * unlink, unlinkat, rmdir.
 *
 * Manual pages: unlink(2), rmdir(2). Linux: fs/namei.c. Gaps: none known.
 */
import { EINVAL } from "../abi/errno.ts";
import { AT_FDCWD, AT_REMOVEDIR } from "../abi/fcntl.ts";
import { cstring, fd, flags } from "../args.ts";
import { syscall } from "../syscall.ts";
import { removeDirectory, removeFile } from "../vfs/names.ts";

export const unlink = syscall("unlink", { path: cstring }, (task, call) => removeFile(task, AT_FDCWD, call.path));
export const rmdir = syscall("rmdir", { path: cstring }, (task, call) => removeDirectory(task, AT_FDCWD, call.path));
export const unlinkat = syscall(
  "unlinkat",
  { dirfd: fd, path: cstring, flags: flags({ AT_REMOVEDIR }) },
  (task, call) => {
    if (call.flags & ~AT_REMOVEDIR) return -EINVAL;
    return call.flags & AT_REMOVEDIR
      ? removeDirectory(task, call.dirfd, call.path)
      : removeFile(task, call.dirfd, call.path);
  },
);
