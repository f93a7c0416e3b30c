/**
 * close, close_range.
 *
 * Manual pages: close(2), close_range(2). Linux: fs/open.c, fs/file.c.
 */
import { EINVAL, ENOMEM } from "../abi/errno.ts";
import { fd, flags, uint } from "../args.ts";
import { Slice } from "../slice.ts";
import { BLOCKED, syscall } from "../syscall.ts";
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
    if (call.flags & CLOSE_RANGE_UNSHARE && task.files.users > 1 && task.restart === null) {
      if (!task.files.mayCopy) return -ENOMEM;
      const own: FdTable = task.files.copy();
      task.files.users--;
      task.files = own;
    }
    const { files } = task;
    const slice = new Slice(task.kernel);
    const last = Math.min(call.last, files.end - 1);
    for (let number = Math.max(call.first, task.restart?.moved ?? 0); number <= last; number++) {
      if (number % 64 === 0 && slice.over) {
        task.progress().moved = number;
        const result = task.giveWay();
        if (result === BLOCKED) return result;
      }
      const file = files.get(number);
      if (file === undefined) continue;
      if (call.flags & CLOSE_RANGE_CLOEXEC) files.setCloexec(number, true);
      else {
        files.remove(number);
        closeFile(task, files, file);
      }
    }
    return 0;
  },
);
