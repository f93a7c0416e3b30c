/**
 * read, readv, pread64, preadv, preadv2.
 *
 * Manual pages: read(2), readv(2). Linux: fs/read_write.c. Gaps: RWF_HIPRI is a hint and does nothing.
 */
import { EBADF, EFAULT, EINVAL, EOPNOTSUPP, ESPIPE } from "../abi/errno.ts";
import { addr, fd, flags, int, off, outBuffer, size } from "../args.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { type Io, importIovec, MAX_RW_COUNT, UserIo, userRange } from "../vfs/io.ts";
import { AT_POSITION, callFile, readFile } from "../vfs/read-write.ts";

export const RWF_FLAGS = {
  RWF_HIPRI: 1,
  RWF_DSYNC: 2,
  RWF_SYNC: 4,
  RWF_NOWAIT: 8,
  RWF_APPEND: 16,
  RWF_NOAPPEND: 32,
};

export const read = syscall("read", { fd, buf: outBuffer(), count: size }, (task, call) => {
  const file = callFile(task, call.fd);
  if (file === undefined || !file.readable) return -EBADF;
  if (!userRange(call.buf, call.count)) return -EFAULT;
  return readFile(task, file, UserIo.single(task.mm, call.buf, Math.min(call.count, MAX_RW_COUNT)), AT_POSITION);
});

export const readv = syscall("readv", { fd, iov: addr, iovcnt: int }, (task, call) => {
  const file = callFile(task, call.fd);
  if (file === undefined || !file.readable) return -EBADF;
  const io = importIovec(task.mm, call.iov, call.iovcnt);
  return typeof io === "number" ? io : readFile(task, file, io, AT_POSITION);
});

export const pread64 = syscall("pread64", { fd, buf: outBuffer(), count: size, offset: off }, (task, call) => {
  if (call.offset < 0) return -EINVAL;
  if (!userRange(call.buf, call.count)) return callFile(task, call.fd) === undefined ? -EBADF : -EFAULT;
  return readAt(task, call.fd, UserIo.single(task.mm, call.buf, Math.min(call.count, MAX_RW_COUNT)), call.offset);
});

export const preadv = syscall("preadv", { fd, iov: addr, iovcnt: int, offset: off }, (task, call) => {
  if (call.offset < 0) return -EINVAL;
  if (callFile(task, call.fd) === undefined) return -EBADF;
  const io = importIovec(task.mm, call.iov, call.iovcnt);
  return typeof io === "number" ? io : readAt(task, call.fd, io, call.offset);
});

export const preadv2 = syscall(
  "preadv2",
  { fd, iov: addr, iovcnt: int, offset: off, offsetHigh: off, flags: flags(RWF_FLAGS) },
  (task, call) => {
    const file = callFile(task, call.fd);
    if (call.offset < -1) return -EINVAL;
    if (file === undefined || !file.readable) return -EBADF;
    if (call.offset >= 0 && !file.seekable) return -ESPIPE;
    const io = importIovec(task.mm, call.iov, call.iovcnt);
    if (typeof io === "number") return io;
    if (call.flags & ~63) return -EOPNOTSUPP;
    if (call.flags & RWF_FLAGS.RWF_APPEND) return -EINVAL;
    return readFile(task, file, io, call.offset, { nowait: (call.flags & RWF_FLAGS.RWF_NOWAIT) !== 0 });
  },
);

function readAt(task: Task, number: number, io: Io, offset: number): number {
  const file = callFile(task, number);
  if (file === undefined) return -EBADF;
  if (!file.seekable) return -ESPIPE;
  if (!file.readable) return -EBADF;
  return readFile(task, file, io, offset);
}
