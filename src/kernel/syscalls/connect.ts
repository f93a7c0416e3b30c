/**
 * connect.
 *
 * Manual page: connect(2). Linux: net/socket.c. What connecting means is the family's; here is the waiting.
 */
import { EAGAIN, EINPROGRESS, EINVAL } from "../abi/errno.ts";
import { fd, int } from "../args.ts";
import { inAddress } from "../net/args.ts";
import { callSocket, readAddress } from "../net/calls.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import { WRITE_EVENTS, waitForFile } from "../vfs/read-write.ts";
import { ALL_EVENTS } from "../wait-queue.ts";

/** How long a non-blocking connect waits to hear that it cannot begin; it takes some microseconds, but for names to look up. */
const ASKING_NS = 100e6;

export const connect = syscall("connect", { fd, addr: inAddress("addrlen"), addrlen: int }, (task, call) => {
  const socket = callSocket(task, call.fd);
  if (typeof socket === "number") return socket;
  const addr = readAddress(task, call.addr, call.addrlen);
  if (typeof addr === "number") return addr;
  if (addr.length < 2) return -EINVAL;
  // Run again, it has begun to connect without waiting, and waits only for the word that it may.
  const begun = socket.nonBlocking && task.restart?.file === socket;
  const { networkHooks } = task.kernel;
  if (networkHooks !== null && !begun) {
    const verdict = networkHooks.connect(task, socket, addr);
    if (verdict !== 0) return verdict;
  }
  const result = begun ? socket.connectBegun(task, addr) : socket.connect(task, addr, socket.nonBlocking);
  if (result === -EINPROGRESS && socket.nonBlocking && socket.asking) {
    const waited = waitForFile(task, socket, ALL_EVENTS, ASKING_NS);
    return waited === BLOCKED ? waited : result;
  }
  if ((result !== -EAGAIN && result !== -EINPROGRESS) || socket.nonBlocking) return result;
  const waited = waitForFile(task, socket, WRITE_EVENTS, socket.writeTimeoutNs);
  return waited === -EAGAIN ? result : waited;
});
