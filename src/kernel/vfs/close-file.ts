/** Getting and letting go of descriptors: what close(2), dup2(2), execve(2) and exit(2) share. Source: Linux filp_close. */
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import type { FdTable } from "./fd-table.ts";
import type { File } from "./file.ts";

/** `file` has been taken out of `table`: drops the table's POSIX locks on it, flushes it, drops the reference. */
export function closeFile(task: Task, table: FdTable, file: File): number {
  // First: whatever a flush comes to, nobody waits for these.
  file.inode?.locks?.releasePosix(table, task.kernel.lockWaits);
  const result = file.flush(task);
  file.release();
  return result;
}

/** Gives a new file the lowest free descriptor; on failure (EMFILE) the file is dropped. */
export function installFile(task: Task, file: File, closeOnExec: boolean): number {
  const fd = task.files.install(file, closeOnExec, task.process.rlimits[RLIMIT_NOFILE]!.soft);
  if (fd < 0) file.release();
  return fd;
}
