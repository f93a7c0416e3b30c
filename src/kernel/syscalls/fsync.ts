/**
 * fsync, fdatasync, sync_file_range.
 *
 * Manual pages: fsync(2), sync_file_range(2). Linux: fs/sync.c. sync and syncfs: sync.ts.
 */
import { EBADF, EINVAL, ESPIPE } from "../abi/errno.ts";
import { S_IFBLK, S_IFDIR, S_IFREG } from "../abi/stat.ts";
import { fd, flags, off } from "../args.ts";
import { syscall } from "../syscall.ts";

const SYNC_FILE_RANGE = {
  SYNC_FILE_RANGE_WAIT_BEFORE: 1,
  SYNC_FILE_RANGE_WRITE: 2,
  SYNC_FILE_RANGE_WAIT_AFTER: 4,
};

export const fsync = syscall("fsync", { fd }, (task, call) => {
  const file = task.files.getOpen(call.fd);
  return file === undefined ? -EBADF : file.fsync(false);
});

export const fdatasync = syscall("fdatasync", { fd }, (task, call) => {
  const file = task.files.getOpen(call.fd);
  return file === undefined ? -EBADF : file.fsync(true);
});

export const sync_file_range = syscall(
  "sync_file_range",
  { fd, offset: off, nbytes: off, flags: flags(SYNC_FILE_RANGE) },
  (task, call) => {
    const file = task.files.getOpen(call.fd);
    if (file === undefined) return -EBADF;
    if (call.flags & ~7 || call.offset < 0 || call.nbytes < 0) return -EINVAL;
    const type = file.inode === null ? 0 : file.inode.type;
    if (type !== S_IFREG && type !== S_IFBLK && type !== S_IFDIR) return -ESPIPE;
    return call.flags === 0 ? 0 : Math.min(0, file.fsync(true));
  },
);
