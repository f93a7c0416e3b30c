/**
 * Reading and writing open files: what read(2), pwritev2(2), sendfile(2) and the rest have in common.
 *
 * Position, O_APPEND, RLIMIT_FSIZE, SIGPIPE and waiting are dealt with here; files only move bytes. A blocked call
 * keeps its file (task.restart.file) and the bytes it has moved, so that closing the descriptor meanwhile changes
 * nothing for it. Source: read(2), write(2), Linux fs/read_write.c.
 */
import { EAGAIN, EBADF, EFBIG, EINTR, EPIPE, ERESTARTSYS } from "../abi/errno.ts";
import { sendSignalToTask } from "../signal/send.ts";
import { BLOCKED } from "../syscall.ts";
import { RLIMIT_FSIZE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { type File, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "./file.ts";
import type { Io } from "./io.ts";
import { IN_ACCESS, IN_MODIFY, notifyFile, watching } from "./watches.ts";

const SIGPIPE = 13;
const SIGXFSZ = 25;
const O_APPEND = 0o2000;

/** What a blocked reader and a blocked writer wait for. */
export const READ_EVENTS = POLLIN | POLLRDNORM | POLLERR | POLLHUP;
export const WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLERR | POLLHUP;

/** Offset that stands for the file's own position. */
export const AT_POSITION = -1;

export interface TransferOptions {
  /** RWF_NOWAIT: never block. */
  nowait?: boolean;
  /** RWF_APPEND and RWF_NOAPPEND; undefined: as O_APPEND says. */
  append?: boolean;
  /** Splice and sendfile: the caller waits by itself. */
  noWaitHere?: boolean;
}

const NO_OPTIONS: TransferOptions = {};

/** The open file of a call's descriptor: the one that it has blocked on, if it is being run again. */
export function callFile(task: Task, fd: number): File | undefined {
  const restart = task.restart;
  if (restart !== null && restart.file !== undefined) return restart.file;
  return task.files.getOpen(fd);
}

/** Blocks until something of `mask` happens to the file; see Task.sleep for the result. */
export function waitForFile(task: Task, file: File, mask: number, timeoutNs = Number.POSITIVE_INFINITY): number {
  const restart = task.progress();
  if (restart.file === undefined) restart.file = file.retain();
  let deadline = Number.POSITIVE_INFINITY;
  if (timeoutNs !== Number.POSITIVE_INFINITY) {
    const now = task.kernel.now();
    restart.deadline ??= now + timeoutNs;
    deadline = restart.deadline;
    if (now >= deadline) return -EAGAIN;
  }
  task.waitOn(file.queueFor(task), mask, file.wakesOne);
  const result = task.sleep(deadline);
  // With a time limit a call is not started again (signal(7)).
  return result === -ERESTARTSYS && deadline !== Number.POSITIVE_INFINITY ? -EINTR : result;
}

/** Reads into io at `offset`, or at the file's position (AT_POSITION), which then moves. */
export function readFile(task: Task, file: File, io: Io, offset: number, options = NO_OPTIONS): number {
  if (!file.readable) return -EBADF;
  const own = offset === AT_POSITION && file.seekable && !file.sharedPosition;
  const n = file.read(task, io, own ? file.pos : offset);
  if (own && n > 0) file.pos += n;
  if (n > 0 && watching.count > 0) notifyFile(file, IN_ACCESS);
  if (n !== -EAGAIN || file.nonBlocking || options.nowait || options.noWaitHere) return n;
  return waitForFile(task, file, READ_EVENTS, file.readTimeoutNs);
}

/** Writes from io at `offset` or at the file's position. `io` starts at the call's first byte on every run. */
export function writeFile(task: Task, file: File, io: Io, offset: number, options = NO_OPTIONS): number {
  if (!file.writable) return -EBADF;
  if (file.seekable) return writeSeekable(task, file, io, offset, options);
  let moved = 0;
  if (task.restart !== null && task.restart.moved !== undefined && !options.noWaitHere) {
    moved = task.restart.moved;
    io.skip(moved);
  }
  for (;;) {
    const n = file.write(task, io, offset);
    if (n > 0) {
      moved += n;
      if (watching.count > 0) notifyFile(file, IN_MODIFY);
      if (io.remaining > 0) continue;
      return moved;
    }
    if (n === -EPIPE && file.raisesSigpipe) raise(task, SIGPIPE);
    if (n !== -EAGAIN || file.nonBlocking || options.nowait || options.noWaitHere) return moved > 0 ? moved : n;
    if (moved > 0) task.progress().moved = moved;
    const result = waitForFile(task, file, WRITE_EVENTS, file.writeTimeoutNs);
    return result === BLOCKED || moved === 0 ? result : moved;
  }
}

function writeSeekable(task: Task, file: File, io: Io, offset: number, options: TransferOptions): number {
  let at = offset === AT_POSITION && !file.sharedPosition ? file.pos : offset;
  const append = options.append ?? (file.flags & O_APPEND) !== 0;
  if (append && !file.sharedPosition) {
    at = file.size();
    if (at < 0) return at;
  }
  const limit = task.process.rlimits[RLIMIT_FSIZE]!.soft;
  if (limit !== Number.POSITIVE_INFINITY && io.remaining > 0) {
    const from = at === AT_POSITION ? Math.max(0, file.size()) : at;
    if (from >= limit) return exceedsFileSize(task);
    io.limit(limit - from);
  }
  const n = file.write(task, io, at);
  if (n > 0 && offset === AT_POSITION && !file.sharedPosition) file.pos = at + n;
  if (n > 0 && watching.count > 0) notifyFile(file, IN_MODIFY);
  if (n === -EAGAIN && !file.nonBlocking && !options.nowait && !options.noWaitHere)
    return waitForFile(task, file, WRITE_EVENTS, file.writeTimeoutNs);
  return n;
}

/** A signal that a task brings on itself; it looks as if sent by itself (Linux send_sig). */
function raise(task: Task, signo: number): void {
  sendSignalToTask(task, { signo, errno: 0, code: 0, pid: task.process.pid, uid: task.cred.uid });
}

/** A file would grow beyond RLIMIT_FSIZE: SIGXFSZ, and the errno. */
export function exceedsFileSize(task: Task): number {
  raise(task, SIGXFSZ);
  return -EFBIG;
}
