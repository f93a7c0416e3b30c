/**
 * recvfrom, recvmsg, recvmmsg.
 *
 * Manual pages: recv(2), recvmmsg(2). Linux: net/socket.c. As there, the timeout of recvmmsg is looked at only after
 * each message.
 */
import { EAGAIN, EFAULT, EINVAL } from "../abi/errno.ts";
import { addr, fd, outBuffer, size, uint } from "../args.ts";
import { getS64, setU64 } from "../mm/mm.ts";
import { MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_WAITFORONE } from "../net/abi.ts";
import { lengthPointer, messageFlags, outAddress } from "../net/args.ts";
import { callProgress, callSocket, earlierProgress, receiveSome, writeAddress } from "../net/calls.ts";
import { MMSGHDR_SIZE, MSGHDR_SIZE, readHeader, writeControl } from "../net/message.ts";
import { ReceiveInfo, type Socket } from "../net/socket.ts";
import { Slice } from "../slice.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { MAX_RW_COUNT, UserIo, userRange } from "../vfs/io.ts";

/** What an earlier run of this call has gathered, or nothing yet. */
function infoOf(task: Task): ReceiveInfo {
  return earlierProgress(task)?.info ?? new ReceiveInfo();
}

export const recvfrom = syscall(
  "recvfrom",
  {
    fd,
    buf: outBuffer(),
    len: size,
    flags: messageFlags,
    addr: outAddress("addrlen"),
    addrlen: lengthPointer,
  },
  (task, call) => {
    if (!userRange(call.buf, call.len)) return -EFAULT;
    const socket = callSocket(task, call.fd);
    if (typeof socket === "number") return socket;
    const info = infoOf(task);
    const io = UserIo.single(task.mm, call.buf, Math.min(call.len, MAX_RW_COUNT));
    const result = receiveSome(task, socket, io, call.flags, info);
    if (result === BLOCKED) return BLOCKED;
    info.drop();
    if (result < 0 || call.addr === 0) return result;
    const written = writeAddress(task, info.name, call.addr, call.addrlen);
    return written < 0 ? written : result;
  },
);

export const recvmsg = syscall("recvmsg", { fd, msg: addr, flags: messageFlags }, (task, call) => {
  const socket = callSocket(task, call.fd);
  return typeof socket === "number" ? socket : receiveMessage(task, socket, call.msg, call.flags);
});

function receiveMessage(task: Task, socket: Socket, at: number, flags: number): number {
  const header = readHeader(task, at);
  if (typeof header === "number") return header;
  const info = infoOf(task);
  const result = receiveSome(task, socket, header.io, flags, info);
  if (result < 0) {
    if (result !== BLOCKED) info.drop();
    return result;
  }
  const control = writeControl(task, socket, header, flags, info);
  if (header.name !== 0) {
    const written = writeAddress(task, info.name, header.name, at + 8);
    if (written < 0) return written;
  }
  if (task.mm.writeU32(at + 48, info.flags | (flags & MSG_CMSG_CLOEXEC)) < 0) return -EFAULT;
  return task.mm.writeU64(at + 40, control) < 0 ? -EFAULT : result;
}

export const recvmmsg = syscall(
  "recvmmsg",
  { fd, msgvec: addr, vlen: uint, flags: messageFlags, timeout: addr },
  (task, call) => {
    let limit = Number.POSITIVE_INFINITY;
    if (call.timeout !== 0) {
      const view = task.mm.readStruct(call.timeout, 16);
      if (view === null) return -EFAULT;
      const sec = getS64(view, 0);
      const nsec = getS64(view, 8);
      if (sec < 0 || nsec < 0 || nsec >= 1e9) return -EINVAL;
      limit = sec * 1e9 + nsec;
    }
    const socket = callSocket(task, call.fd);
    if (typeof socket === "number") return socket;
    const error = socket.takeError();
    if (error < 0) return error;
    const before = earlierProgress(task);
    const started = before !== undefined && before.started > 0 ? before.started : task.kernel.now();
    let done = before?.index ?? 0;
    let { flags } = call;
    if (done > 0 && (flags & MSG_WAITFORONE) !== 0) flags |= MSG_DONTWAIT;
    let failed = 0;
    const slice = new Slice(task.kernel);
    while (done < call.vlen) {
      const at = call.msgvec + done * MMSGHDR_SIZE;
      const result = receiveMessage(task, socket, at, flags & ~MSG_WAITFORONE);
      if (result === BLOCKED) {
        const progress = callProgress(task);
        progress.index = done;
        progress.started = started;
        return BLOCKED;
      }
      if (result < 0 || task.mm.writeU32(at + MSGHDR_SIZE, result) < 0) {
        failed = result < 0 ? result : -EFAULT;
        break;
      }
      done++;
      if (task.restart !== null) {
        task.restart.moved = undefined;
        task.restart.deadline = undefined;
        const gathered = earlierProgress(task);
        if (gathered !== undefined) gathered.info = null;
      }
      if ((flags & MSG_WAITFORONE) !== 0) flags |= MSG_DONTWAIT;
      if (limit !== Number.POSITIVE_INFINITY && task.kernel.now() - started >= limit) break;
      if (done < call.vlen && slice.over) {
        const progress = callProgress(task);
        progress.index = done;
        progress.started = started;
        if (task.giveWay() === BLOCKED) return BLOCKED;
        break;
      }
    }
    if (call.timeout !== 0 && (failed === 0 || done > 0)) {
      const left = Math.max(0, limit - (task.kernel.now() - started));
      const view = new DataView(new ArrayBuffer(16));
      setU64(view, 0, Math.floor(left / 1e9));
      setU64(view, 8, left % 1e9);
      if (task.mm.writeBytes(call.timeout, new Uint8Array(view.buffer)) < 0) return -EFAULT;
    }
    if (done === 0) return failed;
    // The error is kept for the next call.
    if (failed < 0 && failed !== -EAGAIN && failed > -512) socket.error = -failed;
    return done;
  },
);
