/**
 * accept, accept4.
 *
 * Manual page: accept(2). Linux: net/socket.c. A descriptor must be free before the wait begins; of several tasks that
 * wait, a connection wakes one.
 */
import { EAGAIN, EINTR, EINVAL, EMFILE, ERESTARTSYS } from "../abi/errno.ts";
import { fd, flags } from "../args.ts";
import { SOCK_CLOEXEC, SOCK_NONBLOCK } from "../net/abi.ts";
import { lengthPointer, outAddress } from "../net/args.ts";
import { callSocket, descriptorLimit, writeAddress } from "../net/calls.ts";
import type { Socket } from "../net/socket.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { READ_EVENTS } from "../vfs/read-write.ts";

export const accept = syscall("accept", { fd, addr: outAddress("addrlen"), addrlen: lengthPointer }, (task, call) =>
  acceptConnection(task, call.fd, call.addr, call.addrlen, 0),
);

export const accept4 = syscall(
  "accept4",
  { fd, addr: outAddress("addrlen"), addrlen: lengthPointer, flags: flags({ "0": 0, SOCK_NONBLOCK, SOCK_CLOEXEC }) },
  (task, call) => acceptConnection(task, call.fd, call.addr, call.addrlen, call.flags),
);

function acceptConnection(task: Task, number: number, addr: number, addrlen: number, options: number): number {
  if (options & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) return -EINVAL;
  const socket = callSocket(task, number);
  if (typeof socket === "number") return socket;
  const limit = descriptorLimit(task);
  if (task.files.countFree(limit, 1) < 1) return -EMFILE;
  const { networkHooks } = task.kernel;
  const mode = options & SOCK_NONBLOCK;
  const made = networkHooks === null ? socket.accept(task, mode) : networkHooks.accept(task, socket, mode);
  if (typeof made === "number") return made === -EAGAIN && !socket.nonBlocking ? wait(task, socket) : made;
  if (addr !== 0) {
    const peer = made.getName(true);
    const result = typeof peer === "number" ? peer : writeAddress(task, peer, addr, addrlen);
    if (result < 0) {
      made.release();
      return result;
    }
  }
  return task.files.install(made, (options & SOCK_CLOEXEC) !== 0, limit);
}

function wait(task: Task, socket: Socket): number {
  const restart = task.progress();
  restart.file ??= socket.retain();
  let deadline = Number.POSITIVE_INFINITY;
  if (socket.readTimeoutNs !== Number.POSITIVE_INFINITY) {
    const now = task.kernel.now();
    deadline = restart.deadline ??= now + socket.readTimeoutNs;
    if (now >= deadline) return -EAGAIN;
  }
  task.waitOn(socket.waiters, READ_EVENTS, true);
  const result = task.sleep(deadline);
  return result === -ERESTARTSYS && deadline !== Number.POSITIVE_INFINITY ? -EINTR : result;
}
