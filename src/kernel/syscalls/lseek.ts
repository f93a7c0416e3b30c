/** lseek: moves the position of an open file. Manual page: lseek(2). */
import { EBADF, EINVAL } from "../abi/errno.ts";
import { fd, off, oneOf } from "../args.ts";
import { syscall } from "../syscall.ts";

const SEEK = { SEEK_SET: 0, SEEK_CUR: 1, SEEK_END: 2, SEEK_DATA: 3, SEEK_HOLE: 4 };

export const lseek = syscall("lseek", { fd, offset: off, whence: oneOf(SEEK) }, (task, call) => {
  const file = task.files.getOpen(call.fd);
  if (file === undefined) return -EBADF;
  if (call.whence >>> 0 > SEEK.SEEK_HOLE) return -EINVAL;
  return file.seek(task, call.offset, call.whence);
});
