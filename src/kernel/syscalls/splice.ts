/**
 * splice, tee, vmsplice.
 *
 * Manual pages: splice(2), tee(2), vmsplice(2). Linux: fs/splice.c. Gap: pages are never moved, always copied.
 */
import { EAGAIN, EBADF, EFAULT, EINVAL, ESPIPE } from "../abi/errno.ts";
import { O_APPEND } from "../abi/fcntl.ts";
import { addr, fd, flags, size } from "../args.ts";
import { PipeFile } from "../ipc/pipe.ts";
import { syscall } from "../syscall.ts";
import { IOV_MAX, importIovec, KernelIo, MAX_RW_COUNT } from "../vfs/io.ts";
import { AT_POSITION, callFile, READ_EVENTS, readFile, WRITE_EVENTS, writeFile } from "../vfs/read-write.ts";
import { holdFiles, spliceFromPipe, spliceToPipe } from "../vfs/transfer.ts";
import { readOffset } from "./sendfile.ts";

const SPLICE = { SPLICE_F_MOVE: 1, SPLICE_F_NONBLOCK: 2, SPLICE_F_MORE: 4, SPLICE_F_GIFT: 8 };

export const splice = syscall(
  "splice",
  { fd_in: fd, off_in: addr, fd_out: fd, off_out: addr, len: size, flags: flags(SPLICE) },
  (task, call) => {
    if (call.len === 0) return 0;
    if (call.flags & ~15) return -EINVAL;
    const input = task.restart?.file ?? task.files.getOpen(call.fd_in);
    const output = task.restart?.file2 ?? task.files.getOpen(call.fd_out);
    if (input === undefined || output === undefined) return -EBADF;
    const fromPipe = input instanceof PipeFile ? input : null;
    const toPipe = output instanceof PipeFile ? output : null;
    if ((fromPipe !== null && call.off_in !== 0) || (toPipe !== null && call.off_out !== 0)) return -ESPIPE;
    let from = AT_POSITION;
    let to = AT_POSITION;
    if (call.off_out !== 0) {
      to = readOffset(task, call.off_out);
      if (Number.isNaN(to)) return -EFAULT;
    }
    if (call.off_in !== 0) {
      from = readOffset(task, call.off_in);
      if (Number.isNaN(from)) return -EFAULT;
    }
    if (!input.readable || !output.writable) return -EBADF;
    const length = Math.min(call.len, MAX_RW_COUNT);
    let nonBlocking = (call.flags & SPLICE.SPLICE_F_NONBLOCK) !== 0;
    if (fromPipe !== null) {
      if (fromPipe.pipe === toPipe?.pipe) return -EINVAL;
      if (toPipe !== null) {
        nonBlocking ||= input.nonBlocking || output.nonBlocking;
        return spliceFromPipe(task, fromPipe, toPipe, AT_POSITION, length, nonBlocking);
      }
      if (call.off_out !== 0 && !output.seekable) return -EINVAL;
      if ((call.off_out !== 0 && to < 0) || output.flags & O_APPEND) return -EINVAL;
      const n = spliceFromPipe(task, fromPipe, output, to, length, nonBlocking || input.nonBlocking);
      if (n > 0 && call.off_out !== 0 && task.mm.writeU64(call.off_out, to + n) < 0) return -EFAULT;
      return n;
    }
    if (toPipe === null) return -EINVAL;
    if (call.off_in !== 0 && !input.seekable) return -EINVAL;
    if (call.off_in !== 0 && from < 0) return -EINVAL;
    const n = spliceToPipe(task, input, from, toPipe, length, nonBlocking || output.nonBlocking);
    if (n > 0 && call.off_in !== 0 && task.mm.writeU64(call.off_in, from + n) < 0) return -EFAULT;
    return n;
  },
);

export const tee = syscall("tee", { fd_in: fd, fd_out: fd, len: size, flags: flags(SPLICE) }, (task, call) => {
  if (call.flags & ~15) return -EINVAL;
  if (call.len === 0) return 0;
  const input = task.restart?.file ?? task.files.getOpen(call.fd_in);
  const output = task.restart?.file2 ?? task.files.getOpen(call.fd_out);
  if (input === undefined || output === undefined || !input.readable || !output.writable) return -EBADF;
  if (!(input instanceof PipeFile) || !(output instanceof PipeFile) || input.pipe === output.pipe) return -EINVAL;
  const nonBlocking = (call.flags & SPLICE.SPLICE_F_NONBLOCK) !== 0 || input.nonBlocking || output.nonBlocking;
  const source = input.pipe;
  const target = output.pipe;
  if (source.empty && source.writers === 0) return 0;
  if (source.empty || (target.full && target.readers > 0)) {
    if (nonBlocking) return -EAGAIN;
    holdFiles(task, input, output);
    if (source.empty) task.waitOn(source.waiters, READ_EVENTS);
    else task.waitOn(target.waiters, WRITE_EVENTS);
    return task.sleep();
  }
  const bytes = source.copyFront(Math.min(call.len, Math.max(1, target.room)));
  return writeFile(task, output, new KernelIo(bytes), AT_POSITION, { noWaitHere: true });
});

export const vmsplice = syscall("vmsplice", { fd, iov: addr, nr_segs: size, flags: flags(SPLICE) }, (task, call) => {
  if (call.flags & ~15) return -EINVAL;
  const file = callFile(task, call.fd);
  if (file === undefined) return -EBADF;
  if (!(file instanceof PipeFile)) return -EBADF;
  const io = importIovec(task.mm, call.iov, Math.min(call.nr_segs, IOV_MAX + 1));
  if (typeof io === "number") return io;
  if (io.remaining === 0) return 0;
  const options = { nowait: (call.flags & SPLICE.SPLICE_F_NONBLOCK) !== 0 };
  return (file.writable ? writeFile : readFile)(task, file, io, AT_POSITION, options);
});
