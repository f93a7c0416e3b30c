/** flock: advisory locks of whole files. Manual page: flock(2). Linux: fs/locks.c. */
import { EAGAIN, EBADF, EINVAL } from "../abi/errno.ts";
import { fd, flags } from "../args.ts";
import { syscall } from "../syscall.ts";
import { callFile } from "../vfs/read-write.ts";
import { lockTable } from "./fcntl.ts";

const LOCK = { LOCK_SH: 1, LOCK_EX: 2, LOCK_NB: 4, LOCK_UN: 8 };

export const flock = syscall("flock", { fd, operation: flags(LOCK) }, (task, call) => {
  const what = call.operation & ~LOCK.LOCK_NB;
  if (what !== LOCK.LOCK_SH && what !== LOCK.LOCK_EX && what !== LOCK.LOCK_UN) return -EINVAL;
  const file = callFile(task, call.fd);
  if (file === undefined) return -EBADF;
  const table = lockTable(file);
  if (what === LOCK.LOCK_UN) {
    table.funlock(file);
    return 0;
  }
  const result = table.flock(file, what === LOCK.LOCK_EX);
  if (result !== -EAGAIN || call.operation & LOCK.LOCK_NB) return result;
  task.progress().file ??= file.retain();
  return task.block(table.waiters);
});
