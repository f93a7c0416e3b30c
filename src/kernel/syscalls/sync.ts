/**
 * sync, syncfs: everything to the disk, where there is one.
 *
 * Manual page: sync(2). Linux: fs/sync.c. Gaps: none known.
 */
import { EBADF } from "../abi/errno.ts";
import { fd } from "../args.ts";
import { syscall } from "../syscall.ts";

export const sync = syscall("sync", {}, (task) => {
  const done = new Set<unknown>();
  for (const { fs } of task.kernel.mounts.all) {
    if (!done.has(fs)) fs.sync();
    done.add(fs);
  }
  return 0;
});

export const syncfs = syscall("syncfs", { fd }, (task, call) => {
  const file = task.files.getOpen(call.fd);
  if (file === undefined) return -EBADF;
  return file.inode === null ? 0 : file.inode.fs.sync();
});
