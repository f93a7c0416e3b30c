/**
 * sendfile, copy_file_range.
 *
 * Manual pages: sendfile(2), copy_file_range(2). Linux: fs/read_write.c. Gap: copy_file_range copies the bytes; it shares
 * no extents, and holes become zeros.
 */
import { EBADF, EFAULT, EINVAL, EISDIR, EOVERFLOW, ESPIPE } from "../abi/errno.ts";
import { O_APPEND } from "../abi/fcntl.ts";
import { S_IFDIR, S_IFREG } from "../abi/stat.ts";
import { addr, fd, size, uint } from "../args.ts";
import { PipeFile } from "../ipc/pipe.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import type { File } from "../vfs/file.ts";
import { MAX_RW_COUNT } from "../vfs/io.ts";
import { AT_POSITION } from "../vfs/read-write.ts";
import { copyFromFile, spliceFromPipe } from "../vfs/transfer.ts";

export const sendfile = syscall("sendfile", { out_fd: fd, in_fd: fd, offset: addr, count: size }, (task, call) => {
  const input = task.restart?.file ?? task.files.getOpen(call.in_fd);
  const output = task.restart?.file2 ?? task.files.getOpen(call.out_fd);
  let at = AT_POSITION;
  if (call.offset !== 0) {
    at = readOffset(task, call.offset);
    if (Number.isNaN(at)) return -EFAULT;
  }
  if (input === undefined || !input.readable) return -EBADF;
  if (call.offset !== 0) {
    if (!input.seekable) return -ESPIPE;
    if (at < 0) return -EINVAL;
  }
  if (output === undefined || !output.writable) return -EBADF;
  if (input.inode !== null && input.inode.type === S_IFDIR) return -EINVAL;
  if (output.flags & O_APPEND) return -EINVAL;
  const count = Math.min(call.count, MAX_RW_COUNT);
  if (count < 0) return -EINVAL;
  if (input instanceof PipeFile) return spliceFromPipe(task, input, output, AT_POSITION, count, input.nonBlocking);
  if (!input.seekable) return -EINVAL;
  if (count === 0) return 0;
  const from = at === AT_POSITION ? input.seek(task, 0, 1) : at;
  const n = copyFromFile(task, input, from, output, AT_POSITION, count);
  if (n > 0 && advance(task, input, from + n, call.offset) < 0) return -EFAULT;
  return n;
});

export const copy_file_range = syscall(
  "copy_file_range",
  { fd_in: fd, off_in: addr, fd_out: fd, off_out: addr, len: size, flags: uint },
  (task, call) => {
    const input = task.restart?.file ?? task.files.getOpen(call.fd_in);
    const output = task.restart?.file2 ?? task.files.getOpen(call.fd_out);
    if (input === undefined || output === undefined) return -EBADF;
    let from = AT_POSITION;
    let to = AT_POSITION;
    if (call.off_in !== 0) {
      from = readOffset(task, call.off_in);
      if (Number.isNaN(from)) return -EFAULT;
    } else if (input.seekable) from = input.seek(task, 0, 1);
    if (call.off_out !== 0) {
      to = readOffset(task, call.off_out);
      if (Number.isNaN(to)) return -EFAULT;
    } else if (output.seekable) to = output.seek(task, 0, 1);
    if (call.flags !== 0) return -EINVAL;
    const types = [input, output].map((file) => (file.inode === null ? 0 : file.inode.type));
    if (types.includes(S_IFDIR)) return -EISDIR;
    if (types[0] !== S_IFREG || types[1] !== S_IFREG) return -EINVAL;
    if (!input.readable || !output.writable || output.flags & O_APPEND) return -EBADF;
    // Linux adds as unsigned 64-bit numbers: cp(1) asks for nearly 2^63 bytes, and -1 is the largest offset there is.
    if (unsigned(from) + call.len >= 2 ** 64 || unsigned(to) + call.len >= 2 ** 64) return -EOVERFLOW;
    if (from < 0 || to < 0) return -EINVAL;
    const length = Math.min(call.len, MAX_RW_COUNT, Math.max(0, input.size() - from));
    if (input.inode === output.inode && to + length > from && to < from + length) return -EINVAL;
    if (length === 0) return 0;
    const n = copyFromFile(task, input, from, output, to, length);
    if (n <= 0 || n === BLOCKED) return n;
    const moved = advance(task, input, from + n, call.off_in) < 0 || advance(task, output, to + n, call.off_out) < 0;
    return moved ? -EFAULT : n;
  },
);

function unsigned(value: number): number {
  return value < 0 ? value + 2 ** 64 : value;
}

/** A loff_t of the guest; NaN: EFAULT. */
export function readOffset(task: Task, at: number): number {
  const view = task.mm.readStruct(at, 8);
  return view === null ? Number.NaN : view.getUint32(0, true) + view.getInt32(4, true) * 4294967296;
}

/** Writes the new offset back, or moves the file's position when the call gave none. */
export function advance(task: Task, file: File, to: number, offsetAt: number): number {
  return offsetAt !== 0 ? task.mm.writeU64(offsetAt, to) : file.seek(task, to, 0);
}
