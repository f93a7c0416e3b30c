/** Getting and letting go of descriptors: what close(2), dup2(2), execve(2) and exit(2) share. Source: Linux filp_close. */
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import type { FdTable } from "./fd-table.ts";
import type { File } from "./file.ts";

/** `file` has been taken out of `table`: flushes it, drops the table's POSIX locks on it, drops the reference. */
export function closeFile(task: Task, table: FdTable, file: File): number {
  const result = file.flush(task);
  const locks = file.inode?.locks;
  if (locks) locks.releasePosix(table);
  file.release();
  return result;
}

/** A task leaves its descriptor table (exit, execve or unshare made it another); the last one closes everything. */
export function leaveTable(task: Task, table: FdTable): void {
  if (--table.users > 0) return;
  table.removeRange(0, Number.POSITIVE_INFINITY, false, (file) => closeFile(task, table, file));
}

/** execve: closes what is marked close-on-exec. */
export function closeOnExec(task: Task): void {
  const { files } = task;
  files.removeRange(0, Number.POSITIVE_INFINITY, true, (file) => closeFile(task, files, file));
}

/** Gives a new file the lowest free descriptor; on failure (EMFILE) the file is dropped. */
export function installFile(task: Task, file: File, closeOnExec: boolean): number {
  const fd = task.files.install(file, closeOnExec, task.process.rlimits[RLIMIT_NOFILE]!.soft);
  if (fd < 0) file.release();
  return fd;
}
