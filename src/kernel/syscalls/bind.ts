/**
 * bind, listen, getsockname, getpeername.
 *
 * Manual pages: bind(2), listen(2), getsockname(2), getpeername(2). Linux: net/socket.c.
 */
import { fd, int } from "../args.ts";
import { SOMAXCONN } from "../net/abi.ts";
import { inAddress, lengthPointer, outAddress } from "../net/args.ts";
import { callSocket, readAddress, writeAddress } from "../net/calls.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";

export const bind = syscall("bind", { fd, addr: inAddress("addrlen"), addrlen: int }, (task, call) => {
  const socket = callSocket(task, call.fd);
  if (typeof socket === "number") return socket;
  const addr = readAddress(task, call.addr, call.addrlen);
  if (typeof addr === "number") return addr;
  const { networkHooks } = task.kernel;
  if (networkHooks !== null) {
    const verdict = networkHooks.bind(task, socket, addr);
    if (verdict !== 0) return verdict;
  }
  return socket.bind(task, addr);
});

export const listen = syscall("listen", { fd, backlog: int }, (task, call) => {
  const socket = callSocket(task, call.fd);
  if (typeof socket === "number") return socket;
  // A negative backlog is a huge one, as on Linux.
  return socket.listen(task, Math.min(call.backlog >>> 0, SOMAXCONN));
});

export const getsockname = syscall(
  "getsockname",
  { fd, addr: outAddress("addrlen"), addrlen: lengthPointer },
  (task, call) => name(task, call.fd, call.addr, call.addrlen, false),
);

export const getpeername = syscall(
  "getpeername",
  { fd, addr: outAddress("addrlen"), addrlen: lengthPointer },
  (task, call) => name(task, call.fd, call.addr, call.addrlen, true),
);

function name(task: Task, number: number, addr: number, addrlen: number, peer: boolean): number {
  const socket = callSocket(task, number);
  if (typeof socket === "number") return socket;
  const bytes = socket.getName(peer);
  return typeof bytes === "number" ? bytes : writeAddress(task, bytes, addr, addrlen);
}
