/** signalfd, signalfd4. Manual page: signalfd(2). */
import { EBADF, EINVAL } from "../abi/errno.ts";
import { O_CLOEXEC, O_NONBLOCK } from "../abi/fcntl.ts";
import { fd, flags, inStruct, size } from "../args.ts";
import { SignalFile } from "../ipc/signalfd.ts";
import { readSigSet } from "../signal/mask.ts";
import { SIGKILL, SIGSTOP } from "../signal/numbers.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { installFile } from "../vfs/close-file.ts";

const SFD = { SFD_CLOEXEC: O_CLOEXEC, SFD_NONBLOCK: O_NONBLOCK };

export const signalfd = syscall("signalfd", { fd, mask: inStruct(8), sizemask: size }, (task, call) =>
  create(task, call.fd, call.mask, call.sizemask, 0),
);

export const signalfd4 = syscall(
  "signalfd4",
  { fd, mask: inStruct(8), sizemask: size, flags: flags(SFD) },
  (task, call) => create(task, call.fd, call.mask, call.sizemask, call.flags),
);

function create(task: Task, number: number, at: number, length: number, asked: number): number {
  const mask = readSigSet(task, at, length);
  if (typeof mask === "number") return mask;
  if (asked & ~(SFD.SFD_CLOEXEC | SFD.SFD_NONBLOCK)) return -EINVAL;
  mask.delete(SIGKILL);
  mask.delete(SIGSTOP);
  if (number === -1)
    return installFile(task, new SignalFile(task, asked & SFD.SFD_NONBLOCK, mask), (asked & SFD.SFD_CLOEXEC) !== 0);
  const file = task.files.getOpen(number);
  if (file === undefined) return -EBADF;
  if (!(file instanceof SignalFile)) return -EINVAL;
  file.mask = mask;
  task.process.signalWait.wake();
  return number;
}
