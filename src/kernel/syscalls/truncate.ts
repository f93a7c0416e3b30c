/**
 * truncate, ftruncate.
 *
 * Manual page: truncate(2). Linux: fs/open.c. Gaps: none known.
 */
import { EBADF, EFBIG, EINVAL, EISDIR, ETXTBSY } from "../abi/errno.ts";
import { AT_FDCWD, MAY_WRITE } from "../abi/fcntl.ts";
import { S_IFDIR, S_IFREG } from "../abi/stat.ts";
import { cstring, fd, off } from "../args.ts";
import { syscall } from "../syscall.ts";
import { RLIMIT_FSIZE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { MAX_OFFSET } from "../vfs/file.ts";
import type { Inode } from "../vfs/inode.ts";
import { resolve } from "../vfs/namei.ts";
import { permission, stripPrivileges, writable } from "../vfs/permission.ts";
import { exceedsFileSize } from "../vfs/read-write.ts";
import { LOOKUP_FOLLOW } from "../vfs/walk.ts";
import { IN_MODIFY, notifyDentry, notifyFile, watching } from "../vfs/watches.ts";

/** Is the new size allowed? Growing beyond RLIMIT_FSIZE raises SIGXFSZ. */
function checkSize(task: Task, inode: Inode, length: number): number {
  if (length > MAX_OFFSET) return -EFBIG;
  const limit = task.process.rlimits[RLIMIT_FSIZE]!.soft;
  if (length <= limit) return 0;
  const stat = inode.getattr();
  if (typeof stat === "number") return stat;
  return length > stat.size ? exceedsFileSize(task) : 0;
}

export const truncate = syscall("truncate", { path: cstring, length: off }, (task, call) => {
  if (call.length < 0) return -EINVAL;
  const place = resolve(task, AT_FDCWD, call.path, LOOKUP_FOLLOW);
  if (typeof place === "number") return place;
  const { inode } = place.dentry;
  if (inode.type === S_IFDIR) return -EISDIR;
  if (inode.type !== S_IFREG) return -EINVAL;
  let result = writable(place);
  if (result === 0) result = permission(task, inode, MAY_WRITE);
  if (result === 0 && inode.denyWrite > 0) result = -ETXTBSY;
  if (result === 0) result = checkSize(task, inode, call.length);
  if (result === 0) result = inode.prepareResize(task, call.length);
  if (result < 0) return result;
  stripPrivileges(task, inode);
  result = inode.setattr({ size: call.length });
  if (result === 0 && watching.count > 0) notifyDentry(place.dentry, IN_MODIFY);
  return result;
});

export const ftruncate = syscall("ftruncate", { fd, length: off }, (task, call) => {
  if (call.length < 0) return -EINVAL;
  const file = task.files.getOpen(call.fd);
  if (file === undefined) return -EBADF;
  const { inode } = file;
  if (inode === null || inode.type !== S_IFREG || !file.writable) return -EINVAL;
  let result = checkSize(task, inode, call.length);
  if (result < 0) return result;
  stripPrivileges(task, inode);
  result = file.truncate(call.length);
  if (result === 0 && watching.count > 0) notifyFile(file, IN_MODIFY);
  return result;
});
