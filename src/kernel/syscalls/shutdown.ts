/** shutdown. Manual page: shutdown(2). Linux: net/socket.c. */
import { EINVAL } from "../abi/errno.ts";
import { fd, oneOf } from "../args.ts";
import { SHUT_RD, SHUT_RDWR, SHUT_WR } from "../net/abi.ts";
import { callSocket } from "../net/calls.ts";
import { syscall } from "../syscall.ts";

export const shutdown = syscall("shutdown", { fd, how: oneOf({ SHUT_RD, SHUT_WR, SHUT_RDWR }) }, (task, call) => {
  const socket = callSocket(task, call.fd);
  if (typeof socket === "number") return socket;
  if (call.how < SHUT_RD || call.how > SHUT_RDWR) return -EINVAL;
  return socket.shutdown(call.how + 1);
});
