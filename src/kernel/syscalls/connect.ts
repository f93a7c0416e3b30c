/**
 * connect.
 *
 * Manual page: connect(2). Linux: net/socket.c. What connecting means is the family's; here is the waiting.
 */
import { EAGAIN, EINPROGRESS, EINVAL } from "../abi/errno.ts";
import { fd, int } from "../args.ts";
import { inAddress } from "../net/args.ts";
import { callSocket, readAddress } from "../net/calls.ts";
import { syscall } from "../syscall.ts";
import { WRITE_EVENTS, waitForFile } from "../vfs/read-write.ts";

export const connect = syscall("connect", { fd, addr: inAddress("addrlen"), addrlen: int }, (task, call) => {
  const socket = callSocket(task, call.fd);
  if (typeof socket === "number") return socket;
  const addr = readAddress(task, call.addr, call.addrlen);
  if (typeof addr === "number") return addr;
  if (addr.length < 2) return -EINVAL;
  const { networkHooks } = task.kernel;
  if (networkHooks !== null) {
    const verdict = networkHooks.connect(task, socket, addr);
    if (verdict !== 0) return verdict;
  }
  const result = socket.connect(task, addr, socket.nonBlocking);
  if ((result !== -EAGAIN && result !== -EINPROGRESS) || socket.nonBlocking) return result;
  const waited = waitForFile(task, socket, WRITE_EVENTS, socket.writeTimeoutNs);
  return waited === -EAGAIN ? result : waited;
});
