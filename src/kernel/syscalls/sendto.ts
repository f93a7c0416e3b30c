/**
 * sendto, sendmsg, sendmmsg.
 *
 * Manual pages: send(2), sendmmsg(2). Linux: net/socket.c.
 */
import { EFAULT } from "../abi/errno.ts";
import { addr, fd, inBuffer, int, size, uint } from "../args.ts";
import { inAddress, messageFlags } from "../net/args.ts";
import { callProgress, callSocket, earlierProgress, readAddress, sendAll } from "../net/calls.ts";
import { dropFiles, MMSGHDR_SIZE, MSGHDR_SIZE, readHeader, readSendInfo } from "../net/message.ts";
import type { SendInfo, Socket } from "../net/socket.ts";
import { Slice } from "../slice.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { IOV_MAX, MAX_RW_COUNT, UserIo, userRange } from "../vfs/io.ts";

export const sendto = syscall(
  "sendto",
  { fd, buf: inBuffer("len"), len: size, flags: messageFlags, addr: inAddress("addrlen"), addrlen: int },
  (task, call) => {
    if (!userRange(call.buf, call.len)) return -EFAULT;
    const socket = callSocket(task, call.fd);
    if (typeof socket === "number") return socket;
    let info: SendInfo | null = null;
    if (call.addr !== 0) {
      const name = readAddress(task, call.addr, call.addrlen);
      if (typeof name === "number") return name;
      // An empty address is none.
      if (name.length > 0) info = { name, files: null, creds: null, control: null };
    }
    const io = UserIo.single(task.mm, call.buf, Math.min(call.len, MAX_RW_COUNT));
    return sendAll(task, socket, io, call.flags, info);
  },
);

export const sendmsg = syscall("sendmsg", { fd, msg: addr, flags: messageFlags }, (task, call) => {
  const socket = callSocket(task, call.fd);
  return typeof socket === "number" ? socket : sendMessage(task, socket, call.msg, call.flags);
});

function sendMessage(task: Task, socket: Socket, at: number, flags: number): number {
  const header = readHeader(task, at);
  if (typeof header === "number") return header;
  // What goes along went with the first bytes, in an earlier run.
  const first = (task.restart?.moved ?? 0) === 0;
  const info = first ? readSendInfo(task, socket, header) : null;
  if (typeof info === "number") return info;
  const result = sendAll(task, socket, header.io, flags, info);
  dropFiles(info);
  return result;
}

export const sendmmsg = syscall("sendmmsg", { fd, msgvec: addr, vlen: uint, flags: messageFlags }, (task, call) => {
  const socket = callSocket(task, call.fd);
  if (typeof socket === "number") return socket;
  const count = Math.min(call.vlen, IOV_MAX);
  let done = earlierProgress(task)?.index ?? 0;
  const slice = new Slice(task.kernel);
  while (done < count) {
    const at = call.msgvec + done * MMSGHDR_SIZE;
    const result = sendMessage(task, socket, at, call.flags);
    if (result === BLOCKED) {
      callProgress(task).index = done;
      return BLOCKED;
    }
    if (result < 0) return done > 0 ? done : result;
    if (task.mm.writeU32(at + MSGHDR_SIZE, result) < 0) return done > 0 ? done : -EFAULT;
    done++;
    if (task.restart !== null) {
      task.restart.moved = undefined;
      task.restart.deadline = undefined;
    }
    if (done < count && slice.over) {
      callProgress(task).index = done;
      const waits = task.giveWay();
      return waits === BLOCKED ? waits : done;
    }
  }
  return done;
});
