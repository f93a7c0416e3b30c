/**
 * What the socket system calls have in common: finding the socket, addresses in and out, sending and receiving with
 * waiting.
 *
 * Source: socket(2), recv(2), send(2), Linux net/socket.c. A call that waits is run again from its arguments; how far it
 * had come is in `task.restart` (`moved`, and `data` as CallProgress).
 */
import { EAGAIN, EBADF, EFAULT, EINVAL, ENOTSOCK } from "../abi/errno.ts";
import { BLOCKED } from "../syscall.ts";
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import type { Io } from "../vfs/io.ts";
import { callFile, READ_EVENTS, WRITE_EVENTS, waitForFile } from "../vfs/read-write.ts";
import {
  AF_UNIX,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_PEEK,
  MSG_WAITALL,
  RCV_SHUTDOWN,
  SOCK_STREAM,
  SOCKADDR_MAX,
} from "./abi.ts";
import type { ReceiveInfo, SendInfo } from "./socket.ts";
import { Socket } from "./socket.ts";

/** `task.restart.data` of a socket call that is run again. */
export interface CallProgress {
  kind: "messages";
  /** What a receive has gathered besides bytes. */
  info: ReceiveInfo | null;
  /** Messages done, of sendmmsg and recvmmsg. */
  index: number;
  /** When recvmmsg began, CLOCK_MONOTONIC. */
  started: number;
}

export function callProgress(task: Task): CallProgress {
  const before = earlierProgress(task);
  if (before !== undefined) return before;
  const progress: CallProgress = { kind: "messages", info: null, index: 0, started: 0 };
  task.progress().data = progress;
  return progress;
}
/** The same, if there is one. */
export function earlierProgress(task: Task): CallProgress | undefined {
  const data = task.restart?.data;
  return data?.kind === "messages" ? data : undefined;
}

/** The socket of a call, -EBADF or -ENOTSOCK. */
export function callSocket(task: Task, fd: number): Socket | number {
  const file = callFile(task, fd);
  if (file === undefined) return -EBADF;
  return file instanceof Socket ? file : -ENOTSOCK;
}

/** The limit on descriptor numbers. */
export function descriptorLimit(task: Task): number {
  return task.process.rlimits[RLIMIT_NOFILE]!.soft;
}

/** Reads a socket address of the guest; `length` is an int. */
export function readAddress(task: Task, addr: number, length: number): Uint8Array | number {
  if (length < 0 || length > SOCKADDR_MAX) return -EINVAL;
  const bytes = new Uint8Array(length);
  return length > 0 && task.mm.readBytes(addr, bytes) < 0 ? -EFAULT : bytes;
}

/** Writes an address out, cut to what *lengthAddr allows, and its whole length to *lengthAddr. */
export function writeAddress(task: Task, name: Uint8Array | null, addr: number, lengthAddr: number): number {
  const view = task.mm.readStruct(lengthAddr, 4);
  if (view === null) return -EFAULT;
  const room = view.getInt32(0, true);
  if (room < 0) return -EINVAL;
  if (name !== null && room > 0 && task.mm.writeBytes(addr, name, Math.min(room, name.length)) < 0) return -EFAULT;
  return task.mm.writeU32(lengthAddr, name === null ? 0 : name.length);
}

/** Sends all of io, waiting for room unless told not to. `io` starts at the call's first byte on every run. */
export function sendAll(task: Task, socket: Socket, io: Io, flags: number, info: SendInfo | null): number {
  let moved = task.restart?.moved ?? 0;
  if (moved > 0) io.skip(moved);
  const { networkHooks } = task.kernel;
  if (networkHooks !== null) {
    const verdict = networkHooks.send(task, socket, flags, info);
    if (verdict !== 0) return verdict;
  }
  const nonBlocking = socket.nonBlocking || (flags & MSG_DONTWAIT) !== 0;
  for (;;) {
    const n = socket.send(task, io, nonBlocking ? flags | MSG_DONTWAIT : flags, info);
    if (n >= 0) {
      moved += n;
      if (n > 0 && io.remaining > 0) continue;
      return moved;
    }
    if (n !== -EAGAIN || nonBlocking) return moved > 0 ? moved : n;
    if (moved > 0) task.progress().moved = moved;
    const result = waitForFile(task, socket, WRITE_EVENTS, socket.writeTimeoutNs);
    return result === BLOCKED || moved === 0 ? result : moved;
  }
}

/** Receives into io, waiting unless told not to. */
export function receiveSome(task: Task, socket: Socket, io: Io, flags: number, info: ReceiveInfo): number {
  let moved = task.restart?.moved ?? 0;
  if (moved > 0) io.skip(moved);
  // The error queue is never waited for.
  const errors = (flags & MSG_ERRQUEUE) !== 0 && socket.family !== AF_UNIX;
  const nonBlocking = socket.nonBlocking || errors || (flags & MSG_DONTWAIT) !== 0;
  const size = moved + io.remaining;
  const stream = socket.sockType === SOCK_STREAM;
  const { networkHooks } = task.kernel;
  const target = !stream ? 1 : (flags & MSG_WAITALL) !== 0 ? size : Math.min(socket.rcvlowat, size);
  for (;;) {
    const how = nonBlocking ? flags | MSG_DONTWAIT : flags;
    const n =
      networkHooks === null ? socket.receive(task, io, how, info) : networkHooks.receive(task, socket, io, how, info);
    if (n > 0) {
      moved += n;
      if (moved >= target || info.stop || io.remaining === 0) return moved;
      if ((flags & MSG_PEEK) === 0) continue;
      // Looking for more than there is: wait for the rest, then look again from the start.
      if (nonBlocking || socket.error !== 0 || (socket.shutdownMask & RCV_SHUTDOWN) !== 0) return moved;
      const result = waitForFile(task, socket, READ_EVENTS, socket.readTimeoutNs);
      if (result !== BLOCKED) return moved;
      info.drop();
      return BLOCKED;
    }
    if (n !== -EAGAIN || nonBlocking) return moved > 0 ? moved : n;
    if (moved > 0) {
      task.progress().moved = moved;
      callProgress(task).info = info;
    }
    const result = waitForFile(task, socket, READ_EVENTS, socket.readTimeoutNs);
    return result === BLOCKED || moved === 0 ? result : moved;
  }
}
