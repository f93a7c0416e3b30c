/**
 * select, pselect6.
 *
 * Manual page: select(2). Linux: fs/select.c. The sets are bitmaps of 64-bit words; only the first `nfds` bits count, and
 * of those only what the descriptor table has room for.
 */
import { EBADF, EFAULT, EINVAL, ERESTARTNOHAND, ERESTARTSYS } from "../abi/errno.ts";
import { addr, inStruct, int } from "../args.ts";
import { readSigSet, useMask } from "../signal/mask.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { AT_ONCE, deadlineOf, FOREVER, keepDeadline, readTimeout, timeLeft, writeTimeLeft } from "../time/timeout.ts";
import { fromNs, writeTimeval } from "../time/timespec.ts";
import {
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDBAND,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
} from "../vfs/file.ts";

/** Events that make a descriptor readable, writable, exceptional. */
const READABLE = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR;
const WRITABLE = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR;
const EXCEPTIONAL = POLLPRI;
const SETS = [READABLE, WRITABLE, EXCEPTIONAL];

export const select = syscall(
  "select",
  { nfds: int, readfds: addr, writefds: addr, exceptfds: addr, timeout: inStruct(16) },
  (task, call) => {
    let timeoutNs = FOREVER;
    if (call.timeout !== 0) {
      const view = task.mm.readStruct(call.timeout, 16);
      if (view === null) return -EFAULT;
      const sec = view.getUint32(0, true) + view.getInt32(4, true) * 4294967296;
      const usec = view.getUint32(8, true) + view.getInt32(12, true) * 4294967296;
      if (sec < 0 || usec < 0) return -EINVAL;
      timeoutNs = sec * 1e9 + usec * 1000;
    }
    const deadline = deadlineOf(task, timeoutNs);
    const sets = [call.readfds, call.writefds, call.exceptfds];
    const result = selectFiles(task, call.nfds, sets, timeoutNs === 0 ? AT_ONCE : deadline);
    if (result !== BLOCKED && timeoutNs !== FOREVER)
      writeTimeval(task.mm, call.timeout, fromNs(timeLeft(task, deadline)));
    return result === -ERESTARTSYS ? -ERESTARTNOHAND : result;
  },
);

export const pselect6 = syscall(
  "pselect6",
  { nfds: int, readfds: addr, writefds: addr, exceptfds: addr, timeout: inStruct(16), sigmask: inStruct(16) },
  (task, call) => {
    const timeoutNs = readTimeout(task, call.timeout);
    if (timeoutNs < 0) return timeoutNs;
    if (call.sigmask !== 0 && task.restart === null) {
      // A pair of a pointer to the mask and its size.
      const maskAt = task.mm.readU64(call.sigmask);
      const length = task.mm.readU64(call.sigmask + 8);
      if (maskAt < 0 || length < 0) return -EFAULT;
      if (maskAt !== 0) {
        const mask = readSigSet(task, maskAt, length);
        if (typeof mask === "number") return mask;
        useMask(task, mask);
      }
    }
    const deadline = deadlineOf(task, timeoutNs);
    const sets = [call.readfds, call.writefds, call.exceptfds];
    const result = selectFiles(task, call.nfds, sets, timeoutNs === 0 ? AT_ONCE : deadline);
    if (result !== BLOCKED) writeTimeLeft(task, call.timeout, deadline);
    return result === -ERESTARTSYS ? -ERESTARTNOHAND : result;
  },
);

function selectFiles(task: Task, asked: number, sets: readonly number[], deadline: number): number {
  if (asked < 0) return -EINVAL;
  const count = Math.min(asked, task.files.capacity);
  const length = Math.ceil(count / 64) * 8;
  const wanted = sets.map(() => new Uint8Array(length));
  for (let i = 0; i < 3; i++)
    if (sets[i] !== 0 && length > 0 && task.mm.readBytes(sets[i]!, wanted[i]!, length) < 0) return -EFAULT;
  const found = sets.map(() => new Uint8Array(length));
  const waits: [number, number][] = [];
  let ready = 0;
  for (let fd = 0; fd < count; fd++) {
    const at = fd >> 3;
    const bit = 1 << (fd & 7);
    if (((wanted[0]![at]! | wanted[1]![at]! | wanted[2]![at]!) & bit) === 0) continue;
    const file = task.files.getOpen(fd);
    if (file === undefined) return -EBADF;
    const events = file.poll(task);
    let mask = 0;
    for (let i = 0; i < 3; i++) {
      if ((wanted[i]![at]! & bit) === 0) continue;
      mask |= SETS[i]!;
      if ((events & SETS[i]!) === 0) continue;
      found[i]![at]! |= bit;
      ready++;
    }
    waits.push([fd, mask]);
  }
  if (ready === 0 && deadline !== AT_ONCE && (deadline === FOREVER || task.kernel.now() < deadline)) {
    for (const [fd, mask] of waits) task.waitOn(task.files.getOpen(fd)!.queueFor(task), mask);
    keepDeadline(task, deadline);
    return task.sleep(deadline);
  }
  for (let i = 0; i < 3; i++)
    if (sets[i] !== 0 && length > 0 && task.mm.writeBytes(sets[i]!, found[i]!) < 0) return -EFAULT;
  return ready;
}
