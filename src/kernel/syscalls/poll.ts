/**
 * poll, ppoll.
 *
 * Manual page: poll(2). Linux: fs/select.c. Gap: every entry is written back whole, not only its revents.
 */
import { EFAULT, EINVAL, ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTSYS } from "../abi/errno.ts";
import { addr, inStruct, int, size, uint } from "../args.ts";
import { readSigSet, useMask } from "../signal/mask.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { AT_ONCE, deadlineOf, FOREVER, keepDeadline, readTimeout, writeTimeLeft } from "../time/timeout.ts";
import {
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  POLLRDBAND,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
} from "../vfs/file.ts";

/** What a pollfd may ask for. */
const POLLABLE =
  POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLRDHUP | POLLERR | POLLHUP;
const ENTRY = 8;

let bytes = new Uint8Array(64 * ENTRY);
let view = new DataView(bytes.buffer);

export const poll = syscall("poll", { fds: addr, nfds: uint, timeout: int }, (task, call) => {
  const deadline = call.timeout === 0 ? AT_ONCE : deadlineOf(task, call.timeout < 0 ? FOREVER : call.timeout * 1e6);
  const result = pollFiles(task, call.fds, call.nfds, deadline);
  return result === -ERESTARTSYS ? -ERESTART_RESTARTBLOCK : result;
});

export const ppoll = syscall(
  "ppoll",
  { fds: addr, nfds: uint, timeout: inStruct(16), sigmask: inStruct(8), sigsetsize: size },
  (task, call) => {
    const timeoutNs = readTimeout(task, call.timeout);
    if (timeoutNs < 0) return timeoutNs;
    if (call.sigmask !== 0 && task.restart === null) {
      const mask = readSigSet(task, call.sigmask, call.sigsetsize);
      if (typeof mask === "number") return mask;
      useMask(task, mask);
    }
    const deadline = deadlineOf(task, timeoutNs);
    const result = pollFiles(task, call.fds, call.nfds, timeoutNs === 0 ? AT_ONCE : deadline);
    if (result !== BLOCKED) writeTimeLeft(task, call.timeout, deadline);
    return result === -ERESTARTSYS ? -ERESTARTNOHAND : result;
  },
);

function pollFiles(task: Task, at: number, count: number, deadline: number): number {
  if (count > task.process.rlimits[RLIMIT_NOFILE]!.soft) return -EINVAL;
  const length = count * ENTRY;
  if (length > bytes.length) {
    bytes = new Uint8Array(length * 2);
    view = new DataView(bytes.buffer);
  }
  if (count > 0 && task.mm.readBytes(at, bytes, length) < 0) return -EFAULT;
  let ready = 0;
  for (let i = 0; i < length; i += ENTRY) {
    const fd = view.getInt32(i, true);
    let found = 0;
    if (fd >= 0) {
      const file = task.files.getOpen(fd);
      const wanted = (view.getUint16(i + 4, true) & POLLABLE) | POLLERR | POLLHUP;
      found = file === undefined ? POLLNVAL : file.poll(task) & wanted;
    }
    view.setUint16(i + 6, found, true);
    if (found !== 0) ready++;
  }
  if (ready === 0 && deadline !== AT_ONCE && (deadline === FOREVER || task.kernel.now() < deadline)) {
    for (let i = 0; i < length; i += ENTRY) {
      const fd = view.getInt32(i, true);
      if (fd < 0) continue;
      task.waitOn(task.files.getOpen(fd)!.queueFor(task), view.getUint16(i + 4, true) | POLLERR | POLLHUP);
    }
    keepDeadline(task, deadline);
    return task.sleep(deadline);
  }
  if (count > 0 && task.mm.writeBytes(at, bytes, length) < 0) return -EFAULT;
  return ready;
}
