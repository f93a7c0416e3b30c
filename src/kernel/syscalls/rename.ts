/**
 * rename, renameat, renameat2.
 *
 * Manual page: rename(2). Linux: fs/namei.c. Gaps: none known.
 */
import { AT_FDCWD, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from "../abi/fcntl.ts";
import { cstring, fd, flags } from "../args.ts";
import { syscall } from "../syscall.ts";
import { renameName } from "../vfs/names.ts";

export const rename = syscall("rename", { oldpath: cstring, newpath: cstring }, (task, call) =>
  renameName(task, AT_FDCWD, call.oldpath, AT_FDCWD, call.newpath, 0),
);
export const renameat = syscall(
  "renameat",
  { olddirfd: fd, oldpath: cstring, newdirfd: fd, newpath: cstring },
  (task, call) => renameName(task, call.olddirfd, call.oldpath, call.newdirfd, call.newpath, 0),
);
export const renameat2 = syscall(
  "renameat2",
  {
    olddirfd: fd,
    oldpath: cstring,
    newdirfd: fd,
    newpath: cstring,
    flags: flags({ RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT }),
  },
  (task, call) => renameName(task, call.olddirfd, call.oldpath, call.newdirfd, call.newpath, call.flags),
);
