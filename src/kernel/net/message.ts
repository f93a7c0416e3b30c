/**
 * Messages of sendmsg(2) and recvmsg(2): the header, control messages in and out, files that travel.
 *
 * Source: sendmsg(2), recvmsg(2), cmsg(3), unix(7); Linux net/core/scm.c for what is checked in which order.
 */
import { EBADF, EFAULT, EINVAL, EMSGSIZE, ENOBUFS, EPERM, ESRCH } from "../abi/errno.ts";
import { getU64, setU64 } from "../mm/mm.ts";
import { perCall } from "../state/registry.ts";
import { CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import { PidFile } from "../task/pidfd.ts";
import type { Process } from "../task/process.ts";
import type { Task } from "../task/task.ts";
import { IOV_MAX, importIovec, type UserIo } from "../vfs/io.ts";
import {
  AF_UNIX,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  SCM_CREDENTIALS,
  SCM_PIDFD,
  SCM_RIGHTS,
  SOCKADDR_MAX,
  SOL_SOCKET,
} from "./abi.ts";
import { descriptorLimit } from "./calls.ts";
import type { ReceiveInfo, SendInfo, Socket, Ucred } from "./socket.ts";

export const MSGHDR_SIZE = 56;
export const MMSGHDR_SIZE = 64;
/** Files in one message, at most (SCM_MAX_FD). */
const SCM_MAX_FD = 253;
/** Control bytes of one send, at most (net.core.optmem_max). */
const CONTROL_MAX = 131072;
const CMSGHDR_SIZE = 16;

/** struct msghdr as the guest gave it. */
export interface MessageHeader {
  /** Where it lies. */
  at: number;
  name: number;
  nameLength: number;
  io: UserIo;
  control: number;
  controlLength: number;
}

const align8 = (n: number): number => Math.ceil(n / 8) * 8;

export function readHeader(task: Task, at: number): MessageHeader | number {
  const view = task.mm.readStruct(at, MSGHDR_SIZE);
  if (view === null) return -EFAULT;
  const name = getU64(view, 0);
  let nameLength = view.getInt32(8, true);
  const iov = getU64(view, 16);
  const iovLength = getU64(view, 24);
  const control = getU64(view, 32);
  const controlLength = getU64(view, 40);
  if (name === 0) nameLength = 0;
  if (nameLength < 0) return -EINVAL;
  if (nameLength > SOCKADDR_MAX) nameLength = SOCKADDR_MAX;
  if (iovLength > IOV_MAX) return -EMSGSIZE;
  const io = importIovec(task.mm, iov, iovLength);
  if (typeof io === "number") return io;
  return { at, name, nameLength, io, control, controlLength };
}

/** Name and control messages of a send. On failure nothing is held. */
export function readSendInfo(task: Task, socket: Socket, header: MessageHeader): SendInfo | null | number {
  if (header.nameLength === 0 && header.controlLength === 0) return null;
  const info: SendInfo = { name: null, files: null, creds: null, control: null };
  if (header.nameLength > 0) {
    info.name = new Uint8Array(header.nameLength);
    if (task.mm.readBytes(header.name, info.name) < 0) return -EFAULT;
  }
  if (header.controlLength > CONTROL_MAX) return -ENOBUFS;
  if (header.controlLength > 0) {
    const bytes = new Uint8Array(header.controlLength);
    if (task.mm.readBytes(header.control, bytes) < 0) return -EFAULT;
    const result = parseControl(task, socket, bytes, info);
    if (result < 0) {
      dropFiles(info);
      return result;
    }
  }
  return info;
}

/** Lets go of files that were not sent. */
export function dropFiles(info: SendInfo | null): void {
  if (info === null || info.files === null) return;
  for (const file of info.files) file.release();
  info.files = null;
}

function parseControl(task: Task, socket: Socket, bytes: Uint8Array, info: SendInfo): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + CMSGHDR_SIZE <= bytes.length; ) {
    const length = getU64(view, at);
    if (length < CMSGHDR_SIZE || length > bytes.length - at) return -EINVAL;
    const level = view.getInt32(at + 8, true);
    const type = view.getInt32(at + 12, true);
    const start = at + CMSGHDR_SIZE;
    const dataLength = length - CMSGHDR_SIZE;
    if (level === SOL_SOCKET && socket.family === AF_UNIX) {
      let result: number;
      if (type === SCM_RIGHTS) result = takeFiles(task, view, start, dataLength, info);
      else if (type === SCM_CREDENTIALS) result = takeCreds(task, view, start, dataLength, info);
      else result = -EINVAL;
      if (result < 0) return result;
    } else if (socket.family !== AF_UNIX) {
      info.control ??= [];
      info.control.push({ level, type, data: bytes.subarray(start, start + dataLength) });
    }
    at += align8(length);
  }
  return 0;
}

function takeFiles(task: Task, view: DataView, start: number, length: number, info: SendInfo): number {
  const count = Math.floor(length / 4);
  if (count === 0) return 0;
  if ((info.files?.length ?? 0) + count > SCM_MAX_FD) return -EINVAL;
  for (let i = 0; i < count; i++) {
    const file = task.files.get(view.getInt32(start + 4 * i, true));
    if (file === undefined) return -EBADF;
    info.files ??= [];
    info.files.push(file.retain());
  }
  return 0;
}

/** A sender may give its own ids, with capabilities any. */
function takeCreds(task: Task, view: DataView, start: number, length: number, info: SendInfo): number {
  if (length !== 12) return -EINVAL;
  const pid = view.getInt32(start, true);
  const uid = view.getUint32(start + 4, true);
  const gid = view.getUint32(start + 8, true);
  const { cred, process } = task;
  if (pid !== process.pid && !capable(cred, CAP_SYS_ADMIN)) return -EPERM;
  if (uid !== cred.uid && uid !== cred.euid && uid !== cred.suid && !capable(cred, CAP_SETUID)) return -EPERM;
  if (gid !== cred.gid && gid !== cred.egid && gid !== cred.sgid && !capable(cred, CAP_SETGID)) return -EPERM;
  const named = pid === process.pid ? process : task.pids.processes.get(pid);
  if (named === undefined) return -ESRCH;
  info.creds = { pid, uid, gid, process: named };
  return 0;
}

/** Control messages on their way to the guest, cut to the room it gave. */
class ControlWriter {
  readonly bytes: Uint8Array;
  private readonly view: DataView;
  used = 0;
  truncated = false;

  constructor(room: number) {
    // A larger buffer than any set of messages needs would only cost memory.
    this.bytes = new Uint8Array(Math.min(room, 4096));
    this.view = new DataView(this.bytes.buffer);
  }

  get room(): number {
    return this.bytes.length - this.used;
  }

  /** put_cmsg: writes what fits of a message. */
  put(level: number, type: number, data: Uint8Array): void {
    if (this.room < CMSGHDR_SIZE) {
      this.truncated = true;
      return;
    }
    let length = CMSGHDR_SIZE + data.length;
    if (length > this.room) {
      this.truncated = true;
      length = this.room;
    }
    this.header(length, level, type);
    this.bytes.set(data.subarray(0, length - CMSGHDR_SIZE), this.used + CMSGHDR_SIZE);
    this.used += Math.min(align8(CMSGHDR_SIZE + data.length), this.room);
  }

  header(length: number, level: number, type: number): void {
    setU64(this.view, this.used, length);
    this.view.setInt32(this.used + 8, level, true);
    this.view.setInt32(this.used + 12, type, true);
  }

  /** SCM_RIGHTS: as many numbers as fit. */
  putNumbers(numbers: number[]): void {
    this.header(CMSGHDR_SIZE + 4 * numbers.length, SOL_SOCKET, SCM_RIGHTS);
    numbers.forEach((fd, i) => {
      this.view.setInt32(this.used + CMSGHDR_SIZE + 4 * i, fd, true);
    });
    this.used += Math.min(align8(CMSGHDR_SIZE + 4 * numbers.length), this.room);
  }
}

/** struct ucred, as `reader` sees it: a process that it has no number for is 0. */
export function credBytes(creds: Ucred, reader: Task): Uint8Array {
  const pid = creds.process === null || creds.process.pids === reader.pids ? creds.pid : 0;
  return new Uint8Array(Int32Array.of(pid, creds.uid, creds.gid).buffer);
}

/** A descriptor of `process`, close-on-exec; -EMFILE. */
export function installPidfd(task: Task, process: Process): number {
  const file = new PidFile(process, null, 0);
  const fd = task.files.install(file, true, descriptorLimit(task));
  if (fd < 0) file.release();
  return fd;
}

/**
 * Writes what a receive gave besides bytes to the guest's control buffer and installs the files; returns the control
 * bytes written and puts MSG_CTRUNC into `info.flags`. Files that find no place are closed.
 */
export function writeControl(
  task: Task,
  socket: Socket,
  header: MessageHeader,
  flags: number,
  info: ReceiveInfo,
): number {
  const { files } = info;
  info.files = null;
  const creds = socket.credsShown(info);
  const process = socket.pidfdShown(info);
  if (creds === null && files === null && process === null && info.control === null) return 0;
  let room = header.control === 0 ? 0 : header.controlLength;
  if (room > 0 && task.mm.accessible(header.control, Math.min(room, 4096), true) < Math.min(room, 4096)) room = 0;
  const out = new ControlWriter(room);
  if (creds !== null) out.put(SOL_SOCKET, SCM_CREDENTIALS, credBytes(creds, task));
  if (files !== null) {
    const fits = out.room <= CMSGHDR_SIZE ? 0 : Math.floor((out.room - CMSGHDR_SIZE) / 4);
    const numbers: number[] = [];
    for (const file of files) {
      if (numbers.length >= fits) break;
      const fd = task.files.install(file, (flags & MSG_CMSG_CLOEXEC) !== 0, descriptorLimit(task));
      if (fd < 0) break;
      numbers.push(fd);
    }
    for (let i = numbers.length; i < files.length; i++) files[i]!.release();
    if (numbers.length > 0) out.putNumbers(numbers);
    if (numbers.length < files.length) out.truncated = true;
  }
  if (process !== null) {
    const fd = out.room < CMSGHDR_SIZE + 4 ? -1 : installPidfd(task, process);
    if (fd < 0) out.truncated = true;
    else out.put(SOL_SOCKET, SCM_PIDFD, new Uint8Array(Int32Array.of(fd).buffer));
  }
  if (info.control !== null) for (const message of info.control) out.put(message.level, message.type, message.data);
  if (out.truncated) info.flags |= MSG_CTRUNC;
  if (out.used > 0) task.mm.writeBytes(header.control, out.bytes, out.used);
  return out.used;
}

perCall(ControlWriter);
