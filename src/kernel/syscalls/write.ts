/**
 * write, writev, pwrite64, pwritev, pwritev2.
 *
 * Manual pages: write(2), writev(2). Linux: fs/read_write.c. As on Linux, and against POSIX, pwrite on an O_APPEND file
 * appends. Gaps: RWF_HIPRI is a hint and does nothing.
 */

import { EBADF, EFAULT, EINVAL, EOPNOTSUPP, ESPIPE } from "../abi/errno.ts";
import { O_DSYNC, O_SYNC } from "../abi/fcntl.ts";
import { addr, fd, flags, inBuffer, int, off, size } from "../args.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import type { File } from "../vfs/file.ts";
import { type Io, importIovec, MAX_RW_COUNT, UserIo, userRange } from "../vfs/io.ts";
import { AT_POSITION, callFile, type TransferOptions, writeFile } from "../vfs/read-write.ts";
import { RWF_FLAGS } from "./read.ts";

export const write = syscall("write", { fd, buf: inBuffer("count"), count: size }, (task, call) => {
  const file = callFile(task, call.fd);
  if (file === undefined || !file.writable) return -EBADF;
  if (!userRange(call.buf, call.count)) return -EFAULT;
  return store(task, file, UserIo.single(task.mm, call.buf, Math.min(call.count, MAX_RW_COUNT)), AT_POSITION);
});

export const writev = syscall("writev", { fd, iov: addr, iovcnt: int }, (task, call) => {
  const file = callFile(task, call.fd);
  if (file === undefined || !file.writable) return -EBADF;
  const io = importIovec(task.mm, call.iov, call.iovcnt);
  return typeof io === "number" ? io : store(task, file, io, AT_POSITION);
});

export const pwrite64 = syscall("pwrite64", { fd, buf: inBuffer("count"), count: size, offset: off }, (task, call) => {
  if (call.offset < 0) return -EINVAL;
  const file = callFile(task, call.fd);
  if (file === undefined) return -EBADF;
  if (!file.seekable) return -ESPIPE;
  if (!file.writable) return -EBADF;
  if (!userRange(call.buf, call.count)) return -EFAULT;
  return store(task, file, UserIo.single(task.mm, call.buf, Math.min(call.count, MAX_RW_COUNT)), call.offset);
});

export const pwritev = syscall("pwritev", { fd, iov: addr, iovcnt: int, offset: off }, (task, call) => {
  if (call.offset < 0) return -EINVAL;
  const file = callFile(task, call.fd);
  if (file === undefined) return -EBADF;
  if (!file.seekable) return -ESPIPE;
  if (!file.writable) return -EBADF;
  const io = importIovec(task.mm, call.iov, call.iovcnt);
  return typeof io === "number" ? io : store(task, file, io, call.offset);
});

export const pwritev2 = syscall(
  "pwritev2",
  { fd, iov: addr, iovcnt: int, offset: off, offsetHigh: off, flags: flags(RWF_FLAGS) },
  (task, call) => {
    if (call.offset < -1) return -EINVAL;
    const file = callFile(task, call.fd);
    if (file === undefined) return -EBADF;
    if (call.offset >= 0 && !file.seekable) return -ESPIPE;
    if (!file.writable) return -EBADF;
    const io = importIovec(task.mm, call.iov, call.iovcnt);
    if (typeof io === "number") return io;
    const asked = call.flags;
    const { RWF_APPEND, RWF_NOAPPEND, RWF_NOWAIT, RWF_DSYNC, RWF_SYNC } = RWF_FLAGS;
    if (asked & ~63) return -EOPNOTSUPP;
    if (asked & RWF_APPEND && asked & RWF_NOAPPEND) return -EINVAL;
    const options: TransferOptions = { nowait: (asked & RWF_NOWAIT) !== 0 };
    if (asked & (RWF_APPEND | RWF_NOAPPEND)) options.append = (asked & RWF_APPEND) !== 0;
    const n = store(task, file, io, call.offset, options);
    if (n > 0 && asked & (RWF_DSYNC | RWF_SYNC)) file.fsync((asked & RWF_SYNC) === 0);
    return n;
  },
);

/** Writes, and makes it durable where the file was opened so. */
function store(task: Task, file: File, io: Io, offset: number, options?: TransferOptions): number {
  const n = writeFile(task, file, io, offset, options);
  if (n > 0 && (file.flags & O_SYNC) !== 0 && file.seekable) file.fsync((file.flags & O_SYNC) === O_DSYNC);
  return n;
}
