/**
 * Reading and writing open files: what read(2), pwritev2(2), sendfile(2) and the rest have in common.
 *
 * Position, O_APPEND, RLIMIT_FSIZE, SIGPIPE and waiting are dealt with here; files only move bytes. A blocked call
 * keeps its file (task.restart.file) and the bytes it has moved, so that closing the descriptor meanwhile changes
 * nothing for it. Source: read(2), write(2), Linux fs/read_write.c.
 */

import { EAGAIN, EBADF, EFBIG, EINTR, EPIPE, ERESTARTSYS } from "../abi/errno.ts";
import { O_APPEND } from "../abi/fcntl.ts";
import { sendSignalToTask } from "../signal/send.ts";
import { Slice } from "../slice.ts";
import { BLOCKED } from "../syscall.ts";
import { RLIMIT_FSIZE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { type File, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "./file.ts";
import type { Io } from "./io.ts";
import { IN_ACCESS, IN_MODIFY, notifyFile, watching } from "./watches.ts";

const SIGPIPE = 13;
const SIGXFSZ = 25;

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

/** A transfer of more than this is done in parts (slice.ts). */
const PART = 1 << 17;

/** Reads into io at `offset`, or at the file's position (AT_POSITION), which then moves. */
export function readFile(task: Task, file: File, io: Io, offset: number, options = NO_OPTIONS): number {
  if (!file.readable) return -EBADF;
  const own = offset === AT_POSITION && file.seekable && !file.sharedPosition;
  if (io.remaining > PART && file.divisible && !options.noWaitHere) {
    const n = inParts(task, file, io, own ? (task.restart?.from ?? file.pos) : offset, readPart);
    if (n === BLOCKED && own) task.restart!.from ??= file.pos;
    if (n > 0 && own) file.pos = (task.restart?.from ?? file.pos) + n;
    if (n > 0 && watching.count > 0) notifyFile(file, IN_ACCESS);
    return n;
  }
  const n = file.read(task, io, own ? file.pos : offset);
  if (own && n > 0) file.pos += n;
  if (n > 0 && watching.count > 0) notifyFile(file, IN_ACCESS);
  if (n !== -EAGAIN || file.nonBlocking || options.nowait || options.noWaitHere) return n;
  return waitForFile(task, file, READ_EVENTS, file.readTimeoutNs);
}

const readPart = (task: Task, file: File, io: Io, at: number): number => file.read(task, io, at);

/**
 * A long transfer of a file that gives the same in parts as at once: the bytes moved over all runs of the call, -errno
 * when there were none, or BLOCKED. `io` starts at the call's first byte on every run.
 */
function inParts(
  task: Task,
  file: File,
  io: Io,
  offset: number,
  part: (task: Task, file: File, io: Io, at: number) => number,
): number {
  const slice = new Slice(task.kernel);
  let moved = task.restart?.moved ?? 0;
  io.skip(moved);
  for (;;) {
    const whole = io.remaining;
    const want = Math.min(PART, whole);
    io.remaining = want;
    const n = part(task, file, io, offset === AT_POSITION ? AT_POSITION : offset + moved);
    io.remaining += whole - want;
    if (n <= 0) return moved > 0 ? moved : n;
    moved += n;
    if (n < want || io.remaining === 0) return moved;
    if (!slice.over) continue;
    const restart = task.progress();
    restart.moved = moved;
    restart.file ??= file.retain();
    const result = task.giveWay();
    return result === BLOCKED ? result : moved;
  }
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
  const append = (options.append ?? (file.flags & O_APPEND) !== 0) && !file.sharedPosition;
  const own = offset === AT_POSITION && !file.sharedPosition;
  const from = task.restart?.from ?? (append ? file.size() : own ? file.pos : offset);
  if (append && from < 0) return from;
  const limit = task.process.rlimits[RLIMIT_FSIZE]!.soft;
  if (limit !== Number.POSITIVE_INFINITY && io.remaining > 0) {
    const moved = task.restart?.moved ?? 0;
    const start = from === AT_POSITION ? Math.max(0, file.size() - moved) : from;
    if (start >= limit && moved === 0) return exceedsFileSize(task);
    io.limit(Math.max(0, limit - start));
  }
  const part = append ? appendPart : writePart;
  let n: number;
  if (io.remaining > PART && file.divisible && !options.noWaitHere) {
    n = inParts(task, file, io, from, part);
    if (n === BLOCKED) {
      task.restart!.from ??= from;
      return n;
    }
  } else n = part(task, file, io, from);
  // What was appended ends at the end.
  if (n > 0 && own) file.pos = append ? file.size() : from + n;
  if (n > 0 && watching.count > 0) notifyFile(file, IN_MODIFY);
  if (n === -EAGAIN && !file.nonBlocking && !options.nowait && !options.noWaitHere)
    return waitForFile(task, file, WRITE_EVENTS, file.writeTimeoutNs);
  return n;
}

const writePart = (task: Task, file: File, io: Io, at: number): number => file.write(task, io, at);
/** Others may append between two parts: none of it is overwritten. */
function appendPart(task: Task, file: File, io: Io): number {
  const end = file.size();
  return end < 0 ? end : file.write(task, io, end);
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
