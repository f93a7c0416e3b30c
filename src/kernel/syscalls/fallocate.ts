/**
 * fallocate, fadvise64, readahead.
 *
 * Manual pages: fallocate(2), posix_fadvise(2), readahead(2). Linux: fs/open.c, mm/fadvise.c. The advice is the host's
 * page cache's business: it is checked and has no effect.
 */
import { EBADF, EFBIG, EINVAL, EISDIR, ENODEV, EOPNOTSUPP, ESPIPE } from "../abi/errno.ts";
import { S_IFBLK, S_IFDIR, S_IFREG } from "../abi/stat.ts";
import { fd, flags, off, oneOf, size } from "../args.ts";
import { PipeFile } from "../ipc/pipe.ts";
import { Slice } from "../slice.ts";
import { syscall } from "../syscall.ts";
import { RLIMIT_FSIZE } from "../task/rlimits.ts";
import { MAX_OFFSET } from "../vfs/file.ts";
import { callFile, exceedsFileSize } from "../vfs/read-write.ts";

const FALLOC = {
  FALLOC_FL_KEEP_SIZE: 1,
  FALLOC_FL_PUNCH_HOLE: 2,
  FALLOC_FL_COLLAPSE_RANGE: 8,
  FALLOC_FL_ZERO_RANGE: 16,
  FALLOC_FL_INSERT_RANGE: 32,
  FALLOC_FL_UNSHARE_RANGE: 64,
};
const ADVICE = {
  POSIX_FADV_NORMAL: 0,
  POSIX_FADV_RANDOM: 1,
  POSIX_FADV_SEQUENTIAL: 2,
  POSIX_FADV_WILLNEED: 3,
  POSIX_FADV_DONTNEED: 4,
  POSIX_FADV_NOREUSE: 5,
};

export const fallocate = syscall("fallocate", { fd, mode: flags(FALLOC), offset: off, len: off }, (task, call) => {
  const { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } = FALLOC;
  const file = callFile(task, call.fd);
  if (file === undefined) return -EBADF;
  const { mode, offset, len } = call;
  if (offset < 0 || len <= 0) return -EINVAL;
  if (mode & ~(127 & ~4)) return -EOPNOTSUPP;
  const main = mode & ~FALLOC_FL_KEEP_SIZE;
  // One operation at a time; punching a hole never changes the size.
  if ((main & (main - 1)) !== 0) return -EOPNOTSUPP;
  if (mode & FALLOC_FL_PUNCH_HOLE && !(mode & FALLOC_FL_KEEP_SIZE)) return -EOPNOTSUPP;
  if (mode & FALLOC_FL_KEEP_SIZE && main !== 0 && !(main & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
    return -EINVAL;
  if (!file.writable) return -EBADF;
  if (file instanceof PipeFile) return -ESPIPE;
  const type = file.inode === null ? 0 : file.inode.type;
  if (type === S_IFDIR) return -EISDIR;
  if (type !== S_IFREG && type !== S_IFBLK) return -ENODEV;
  if (offset + len > MAX_OFFSET) return -EFBIG;
  const limit = task.process.rlimits[RLIMIT_FSIZE]!.soft;
  if (!(mode & FALLOC_FL_KEEP_SIZE) && offset + len > limit && offset + len > file.size()) return exceedsFileSize(task);
  // What can be done in parts is; a part that finds no room ends the call, and those before it stay.
  if (main !== 0 && main !== FALLOC_FL_PUNCH_HOLE) return file.fallocate(mode, offset, len);
  const slice = new Slice(task.kernel);
  for (let done = task.restart?.moved ?? 0; ; ) {
    const part = Math.min(PART, len - done);
    const result = file.fallocate(mode, offset + done, part);
    done += part;
    if (result < 0 || done >= len) return result;
    if (!slice.over) continue;
    const restart = task.progress();
    restart.moved = done;
    restart.file ??= file.retain();
    return task.giveWay();
  }
});
/** Bytes that are allocated or given back between two looks at the clock. */
const PART = 16 << 20;

export const fadvise64 = syscall("fadvise64", { fd, offset: off, len: off, advice: oneOf(ADVICE) }, (task, call) => {
  const file = task.files.getOpen(call.fd);
  if (file === undefined) return -EBADF;
  if (file instanceof PipeFile) return -ESPIPE;
  return call.len < 0 || call.advice >>> 0 > ADVICE.POSIX_FADV_NOREUSE ? -EINVAL : 0;
});

export const readahead = syscall("readahead", { fd, offset: off, count: size }, (task, call) => {
  const file = task.files.getOpen(call.fd);
  if (file === undefined || !file.readable) return -EBADF;
  const type = file.inode === null ? 0 : file.inode.type;
  return type === S_IFREG || type === S_IFBLK ? 0 : -EINVAL;
});
