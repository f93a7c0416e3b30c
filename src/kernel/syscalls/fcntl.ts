/**
 * fcntl: descriptor and status flags, record locks, owners of I/O signals, pipe sizes, seals.
 *
 * Manual pages: fcntl(2), memfd_create(2). Linux: fs/fcntl.c, fs/locks.c. Gaps: leases (F_SETLEASE) and directory
 * notification (F_NOTIFY) are refused with EINVAL; read-write hints are kept per open file only.
 */
import {
  EAGAIN,
  EBADF,
  EBUSY,
  EDEADLK,
  EFAULT,
  EINTR,
  EINVAL,
  EMFILE,
  EOVERFLOW,
  EPERM,
  ERESTARTSYS,
} from "../abi/errno.ts";
import { FASYNC, O_APPEND, O_DIRECT, O_NOATIME, O_NONBLOCK, O_PATH } from "../abi/fcntl.ts";
import { fd, long, oneOf } from "../args.ts";
import { OWNER_PGRP, OWNER_PID, OWNER_TID, ownerFor, setAsync, setOwner } from "../ipc/async-io.ts";
import { PipeFile } from "../ipc/pipe.ts";
import { VMA_NEVER_WRITE } from "../mm/vma.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import { CAP_FOWNER, capable } from "../task/credentials.ts";
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import type { File } from "../vfs/file.ts";
import { F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EOF, LockTable, lockRange, type RecordLock } from "../vfs/locks.ts";

const F = {
  F_DUPFD: 0,
  F_GETFD: 1,
  F_SETFD: 2,
  F_GETFL: 3,
  F_SETFL: 4,
  F_GETLK: 5,
  F_SETLK: 6,
  F_SETLKW: 7,
  F_SETOWN: 8,
  F_GETOWN: 9,
  F_SETSIG: 10,
  F_GETSIG: 11,
  F_SETOWN_EX: 15,
  F_GETOWN_EX: 16,
  F_OFD_GETLK: 36,
  F_OFD_SETLK: 37,
  F_OFD_SETLKW: 38,
  F_SETLEASE: 1024,
  F_GETLEASE: 1025,
  F_DUPFD_QUERY: 1027,
  F_CREATED_QUERY: 1028,
  F_DUPFD_CLOEXEC: 1030,
  F_SETPIPE_SZ: 1031,
  F_GETPIPE_SZ: 1032,
  F_ADD_SEALS: 1033,
  F_GET_SEALS: 1034,
  F_GET_RW_HINT: 1035,
  F_SET_RW_HINT: 1036,
  F_GET_FILE_RW_HINT: 1037,
  F_SET_FILE_RW_HINT: 1038,
};
const FD_CLOEXEC = 1;
/** What F_SETFL may change. */
const SETTABLE = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | FASYNC;
/** What an O_PATH descriptor can be asked. */
const PATH_COMMANDS = new Set([F.F_DUPFD, F.F_DUPFD_CLOEXEC, F.F_GETFD, F.F_SETFD, F.F_GETFL, F.F_DUPFD_QUERY]);

export const fcntl = syscall("fcntl", { fd, cmd: oneOf(F), arg: long }, (task, call) => {
  const { cmd } = call;
  const arg = task.argLo(2) | 0;
  const file = task.restart?.file ?? task.files.get(call.fd);
  if (file === undefined) return -EBADF;
  if ((file.flags & O_PATH) !== 0 && !PATH_COMMANDS.has(cmd)) return -EBADF;
  switch (cmd) {
    case F.F_DUPFD:
    case F.F_DUPFD_CLOEXEC:
      return duplicate(task, file, arg, cmd === F.F_DUPFD_CLOEXEC);
    case F.F_GETFD:
      return task.files.isCloexec(call.fd) ? FD_CLOEXEC : 0;
    case F.F_SETFD:
      task.files.setCloexec(call.fd, (arg & FD_CLOEXEC) !== 0);
      return 0;
    case F.F_GETFL:
      return file.flags;
    case F.F_SETFL:
      return setFlags(task, file, call.fd, arg);
    case F.F_GETLK:
    case F.F_OFD_GETLK:
      return getLock(task, file, call.arg, cmd === F.F_OFD_GETLK);
    case F.F_SETLK:
    case F.F_SETLKW:
    case F.F_OFD_SETLK:
    case F.F_OFD_SETLKW:
      return setLock(task, file, call.fd, call.arg, cmd >= F.F_OFD_GETLK, cmd === F.F_SETLKW || cmd === F.F_OFD_SETLKW);
    case F.F_SETOWN:
      return setOwner(task, file, arg < 0 ? OWNER_PGRP : OWNER_PID, Math.abs(arg));
    case F.F_GETOWN:
      return file.ownerType === OWNER_PGRP ? -ownerFor(task, file) : ownerFor(task, file);
    case F.F_SETOWN_EX: {
      const view = task.mm.readStruct(call.arg, 8);
      if (view === null) return -EFAULT;
      const type = view.getInt32(0, true);
      if (type < OWNER_TID || type > OWNER_PGRP) return -EINVAL;
      return setOwner(task, file, type, view.getInt32(4, true));
    }
    case F.F_GETOWN_EX:
      if (task.mm.writeU32(call.arg, file.ownerType) < 0) return -EFAULT;
      return task.mm.writeU32(call.arg + 4, ownerFor(task, file));
    case F.F_SETSIG:
      if (arg < 0 || arg > 64) return -EINVAL;
      file.ownerSignal = arg;
      return 0;
    case F.F_GETSIG:
      return file.ownerSignal;
    case F.F_GETLEASE:
      return F_UNLCK;
    case F.F_DUPFD_QUERY: {
      const other = task.files.getOpen(arg);
      return other === undefined ? -EBADF : other === file ? 1 : 0;
    }
    case F.F_SETPIPE_SZ:
      return file instanceof PipeFile ? file.pipe.setCapacity(task.argLo(2)) : -EBADF;
    case F.F_GETPIPE_SZ:
      return file instanceof PipeFile ? file.pipe.capacity : -EBADF;
    case F.F_ADD_SEALS:
      return addSeals(task, file, task.argLo(2));
    case F.F_GET_SEALS:
      return file.seals();
    case F.F_GET_RW_HINT:
    case F.F_GET_FILE_RW_HINT:
      return task.mm.writeU64(call.arg, file.writeHint);
    case F.F_SET_RW_HINT:
    case F.F_SET_FILE_RW_HINT: {
      const hint = task.mm.readU64(call.arg);
      if (hint < 0) return -EFAULT;
      if (hint > 5) return -EINVAL;
      file.writeHint = hint;
      return 0;
    }
    default:
      return -EINVAL;
  }
});

function duplicate(task: Task, file: File, min: number, closeOnExec: boolean): number {
  const limit = task.process.rlimits[RLIMIT_NOFILE]!.soft;
  if (min < 0 || min >= limit) return -EINVAL;
  const number = task.files.install(file, closeOnExec, limit, min);
  if (number === -EMFILE) return -EMFILE;
  file.retain();
  return number;
}

function setFlags(task: Task, file: File, number: number, arg: number): number {
  const inode = file.inode;
  if (arg & O_NOATIME && !(file.flags & O_NOATIME) && inode !== null) {
    const stat = inode.getattr();
    if (typeof stat !== "number" && stat.uid !== task.cred.fsuid && !capable(task.cred, CAP_FOWNER)) return -EPERM;
  }
  const result = file.flagsChanging((file.flags & ~SETTABLE) | (arg & SETTABLE));
  if (result < 0) return result;
  if ((arg & FASYNC) !== (file.flags & FASYNC)) setAsync(file, number, (arg & FASYNC) !== 0);
  file.flags = (file.flags & ~SETTABLE) | (arg & SETTABLE);
  return 0;
}

// Record locks.

/** struct flock: l_type 0, l_whence 2, l_start 8, l_len 16, l_pid 24; 32 bytes. */
const FLOCK = 32;

function readFlock(task: Task, file: File, at: number, ofd: boolean): RecordLock | number {
  const view = task.mm.readStruct(at, FLOCK);
  if (view === null) return -EFAULT;
  const type = view.getInt16(0, true);
  const whence = view.getInt16(2, true);
  const start = view.getUint32(8, true) + view.getInt32(12, true) * 4294967296;
  const length = view.getUint32(16, true) + view.getInt32(20, true) * 4294967296;
  const pid = view.getInt32(24, true);
  if (ofd && pid !== 0) return -EINVAL;
  let base = 0;
  if (whence === 1) base = file.seek(task, 0, 1);
  else if (whence === 2) {
    base = file.size();
    if (base < 0) return -EINVAL;
  } else if (whence !== 0) return -EINVAL;
  if (type !== F_RDLCK && type !== F_WRLCK && type !== F_UNLCK) return -EINVAL;
  if (base + start > OFFSET_MAX) return -EOVERFLOW;
  const range = lockRange(Math.max(0, base), start, length);
  if (typeof range === "number") return range;
  if (range.end !== LOCK_EOF && range.end > OFFSET_MAX) return -EOVERFLOW;
  return {
    owner: ofd ? file : task.files,
    type,
    start: range.start,
    // Up to the largest offset is up to the end, however it was asked for.
    end: range.end >= OFFSET_MAX ? LOCK_EOF : range.end,
    pid: ofd ? -1 : task.process.pid,
    pids: task.pids,
  };
}
/** 2^63 - 1, which a number rounds up. */
const OFFSET_MAX = 2 ** 63;

function getLock(task: Task, file: File, at: number, ofd: boolean): number {
  const want = readFlock(task, file, at, ofd);
  if (typeof want === "number") return want;
  if (want.type === F_UNLCK && !ofd) return -EINVAL;
  const found = lockTable(file).conflict(want);
  const view = task.mm.readStruct(at, FLOCK)!;
  if (found === null) view.setInt16(0, F_UNLCK, true);
  else {
    view.setInt16(0, found.type, true);
    view.setInt16(2, 0, true);
    setS64(view, 8, found.start);
    setS64(view, 16, found.end === LOCK_EOF ? 0 : found.end - found.start + 1);
    view.setInt32(24, found.pid === -1 || found.pids === task.pids ? found.pid : 0, true);
  }
  return task.mm.writeBytes(at, new Uint8Array(view.buffer, view.byteOffset, FLOCK));
}

function setLock(task: Task, file: File, number: number, at: number, ofd: boolean, wait: boolean): number {
  const want = readFlock(task, file, at, ofd);
  if (typeof want === "number") return want;
  if (want.type === F_RDLCK && !file.readable) return -EBADF;
  if (want.type === F_WRLCK && !file.writable) return -EBADF;
  const table = lockTable(file);
  const result = table.set(want);
  if (result !== -EAGAIN || !wait) {
    if (wait) table.endWait(want.owner, task.kernel.lockWaits);
    // Somebody closed the descriptor while this thread waited: the close must not have missed this lock.
    if (result === 0 && !ofd && want.type !== F_UNLCK && task.restart !== null && task.files.get(number) !== file) {
      table.set({ ...want, type: F_UNLCK });
      return -EBADF;
    }
    return result;
  }
  if (table.beginWait(want, task.kernel.lockWaits) < 0) return -EDEADLK;
  const restart = task.progress();
  restart.file ??= file.retain();
  const slept = task.block(table.waiters);
  if (slept !== BLOCKED) table.endWait(want.owner, task.kernel.lockWaits);
  return slept === -ERESTARTSYS && task.process.exiting ? -EINTR : slept;
}

/** The locks of what is open; pipes and the like have them per open file. */
export function lockTable(file: File): LockTable {
  const holder = file.inode ?? file;
  holder.locks ??= new LockTable();
  return holder.locks;
}

function setS64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setInt32(at + 4, Math.floor(value / 4294967296), true);
}

// Seals.

const F_SEAL_WRITE = 8;
/** SEAL, SHRINK, GROW, WRITE, FUTURE_WRITE, EXEC. */
const ALL_SEALS = 63;

function addSeals(task: Task, file: File, seals: number): number {
  if (seals & ~ALL_SEALS) return -EINVAL;
  if (!file.writable) return file.seals() < 0 ? -EINVAL : -EPERM;
  if (seals & F_SEAL_WRITE && file.inode !== null) {
    for (const process of task.kernel.processes())
      for (const vma of process.leader.mm.vmas)
        if (vma.shared && vma.file?.inode === file.inode && vma.file.writable && !(vma.flags & VMA_NEVER_WRITE))
          return -EBUSY;
  }
  return file.addSeals(seals);
}
