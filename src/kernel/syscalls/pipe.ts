/**
 * pipe, pipe2.
 *
 * Manual page: pipe(2). Gaps: O_NOTIFICATION_PIPE is refused.
 */
import { EFAULT, EINVAL, ENOPKG } from "../abi/errno.ts";
import { O_CLOEXEC, O_DIRECT, O_NONBLOCK } from "../abi/fcntl.ts";
import { addr, flags } from "../args.ts";
import { makePipe } from "../ipc/pipe.ts";
import { syscall } from "../syscall.ts";
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";

const PIPE = { O_CLOEXEC, O_NONBLOCK, O_DIRECT };
const O_NOTIFICATION_PIPE = 0o200;

export const pipe = syscall("pipe", { pipefd: addr }, (task, call) => create(task, call.pipefd, 0));

export const pipe2 = syscall("pipe2", { pipefd: addr, flags: flags(PIPE) }, (task, call) =>
  create(task, call.pipefd, call.flags),
);

function create(task: Task, at: number, asked: number): number {
  if (asked & O_NOTIFICATION_PIPE) return -ENOPKG;
  if (asked & ~(PIPE.O_CLOEXEC | PIPE.O_NONBLOCK | PIPE.O_DIRECT)) return -EINVAL;
  const [reader, writer] = makePipe(task, asked);
  const closeOnExec = (asked & PIPE.O_CLOEXEC) !== 0;
  const limit = task.process.rlimits[RLIMIT_NOFILE]!.soft;
  const first = task.files.install(reader, closeOnExec, limit);
  const second = first < 0 ? first : task.files.install(writer, closeOnExec, limit);
  let result = Math.min(second, 0);
  if (result === 0) {
    const bytes = new Uint8Array(8);
    const view = new DataView(bytes.buffer);
    view.setInt32(0, first, true);
    view.setInt32(4, second, true);
    if (task.mm.writeBytes(at, bytes) === 0) return 0;
    task.files.remove(second);
    result = -EFAULT;
  }
  if (first >= 0) task.files.remove(first);
  reader.release();
  writer.release();
  return result;
}
