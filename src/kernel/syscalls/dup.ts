/**
 * dup, dup2, dup3: give an open file another descriptor.
 *
 * Manual page: dup(2). Linux: fs/file.c. Gaps: none known.
 */

import { EBADF, EINVAL } from "../abi/errno.ts";
import { O_CLOEXEC } from "../abi/fcntl.ts";
import { fd, flags } from "../args.ts";
import { syscall } from "../syscall.ts";
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { closeFile } from "../vfs/close-file.ts";

export const dup = syscall("dup", { oldfd: fd }, (task, call) => {
  const file = task.files.get(call.oldfd);
  if (file === undefined) return -EBADF;
  const number = task.files.install(file, false, task.process.rlimits[RLIMIT_NOFILE]!.soft);
  if (number >= 0) file.retain();
  return number;
});

export const dup2 = syscall("dup2", { oldfd: fd, newfd: fd }, (task, call) => {
  if (call.oldfd === call.newfd) return task.files.get(call.oldfd) === undefined ? -EBADF : call.newfd;
  return putAt(task, call.oldfd, call.newfd, false);
});

export const dup3 = syscall("dup3", { oldfd: fd, newfd: fd, flags: flags({ O_CLOEXEC }) }, (task, call) => {
  if (call.flags & ~O_CLOEXEC || call.oldfd === call.newfd) return -EINVAL;
  return putAt(task, call.oldfd, call.newfd, (call.flags & O_CLOEXEC) !== 0);
});

function putAt(task: Task, oldfd: number, newfd: number, closeOnExec: boolean): number {
  if (newfd < 0 || newfd >= task.process.rlimits[RLIMIT_NOFILE]!.soft) return -EBADF;
  const file = task.files.get(oldfd);
  if (file === undefined) return -EBADF;
  const old = task.files.replace(newfd, file.retain(), closeOnExec);
  if (old !== undefined) closeFile(task, task.files, old);
  return newfd;
}
