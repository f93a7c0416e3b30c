/**
 * close, close_range.
 *
 * Manual pages: close(2), close_range(2). Linux: fs/open.c, fs/file.c.
 */
import { EINVAL } from "../abi/errno.ts";
import { fd, flags, uint } from "../args.ts";
import { syscall } from "../syscall.ts";
import { closeFile } from "../vfs/close-file.ts";
import type { FdTable } from "../vfs/fd-table.ts";

const CLOSE_RANGE = { CLOSE_RANGE_UNSHARE: 2, CLOSE_RANGE_CLOEXEC: 4 };

export const close = syscall("close", { fd }, (task, call) => {
  const file = task.files.remove(call.fd);
  return typeof file === "number" ? file : closeFile(task, task.files, file);
});

export const close_range = syscall(
  "close_range",
  { first: uint, last: uint, flags: flags(CLOSE_RANGE) },
  (task, call) => {
    const { CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC } = CLOSE_RANGE;
    if (call.flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) || call.first > call.last) return -EINVAL;
    if (call.flags & CLOSE_RANGE_UNSHARE && task.files.users > 1) {
      const own: FdTable = task.files.copy();
      task.files.users--;
      task.files = own;
    }
    const { files } = task;
    if (call.flags & CLOSE_RANGE_CLOEXEC) {
      const last = Math.min(call.last, files.end - 1);
      for (let number = call.first; number <= last; number++)
        if (files.get(number) !== undefined) files.setCloexec(number, true);
    } else files.removeRange(call.first, call.last, false, (file) => closeFile(task, files, file));
    return 0;
  },
);
