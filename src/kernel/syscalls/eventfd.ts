/** eventfd, eventfd2. Manual page: eventfd(2). */
import { EINVAL } from "../abi/errno.ts";
import { O_CLOEXEC, O_NONBLOCK } from "../abi/fcntl.ts";
import { flags, uint } from "../args.ts";
import { EventFile } from "../ipc/eventfd.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { installFile } from "../vfs/close-file.ts";

const EFD = { EFD_SEMAPHORE: 1, EFD_CLOEXEC: O_CLOEXEC, EFD_NONBLOCK: O_NONBLOCK };

export const eventfd = syscall("eventfd", { initval: uint }, (task, call) => create(task, call.initval, 0));

export const eventfd2 = syscall("eventfd2", { initval: uint, flags: flags(EFD) }, (task, call) =>
  create(task, call.initval, call.flags),
);

function create(task: Task, value: number, asked: number): number {
  if (asked & ~(EFD.EFD_SEMAPHORE | EFD.EFD_CLOEXEC | EFD.EFD_NONBLOCK)) return -EINVAL;
  const file = new EventFile(asked & EFD.EFD_NONBLOCK, value, (asked & EFD.EFD_SEMAPHORE) !== 0);
  return installFile(task, file, (asked & EFD.EFD_CLOEXEC) !== 0);
}
