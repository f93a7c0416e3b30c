/**
 * Open file descriptions: what a descriptor points to. Subclasses are the regular file, directory, pipe end, socket,
 * eventfd, epoll… of their file system or family.
 *
 * Reading and writing: a call that cannot go on now returns -EAGAIN; the syscall layer (syscalls/read.ts) then blocks on
 * `waiters` unless O_NONBLOCK is set. Every change that could make a call go on wakes `waiters` with POLL* bits.
 */

import type { HostMemory } from "../../platform/platform.ts";
import { EBADF, EINVAL, ENODEV, ENOTDIR, ENOTTY, ESPIPE } from "../abi/errno.ts";
import { O_NONBLOCK, O_PATH } from "../abi/fcntl.ts";
import { S_IFDIR, S_IFREG } from "../abi/stat.ts";
import type { AsyncNotifier } from "../ipc/async-io.ts";
import { persistent } from "../state/registry.ts";
import type { Credentials } from "../task/credentials.ts";
import type { PidSpace } from "../task/pid-space.ts";
import type { Task } from "../task/task.ts";
import { WaitQueue } from "../wait-queue.ts";
import type { Path } from "./dentry.ts";
import type { Inode, Stat } from "./inode.ts";
import type { Io } from "./io.ts";
import type { LockTable } from "./locks.ts";
import { serials } from "./serials.ts";
import { notifyClose, notifyIfGone, watching } from "./watches.ts";

export const POLLIN = 1;
export const POLLPRI = 2;
export const POLLOUT = 4;
export const POLLERR = 8;
export const POLLHUP = 16;
export const POLLNVAL = 32;
export const POLLRDNORM = 64;
export const POLLRDBAND = 128;
export const POLLWRNORM = 256;
export const POLLWRBAND = 512;
export const POLLRDHUP = 0x2000;

/** The largest file position (Linux has 2^63 - 1; a number holds whole bytes up to here). */
export const MAX_OFFSET = Number.MAX_SAFE_INTEGER;

/** Receives one directory entry; false when there is no room for it (it will be asked for again). */
export type EmitEntry = (name: string, ino: number, type: number, nextOffset: number) => boolean;

/** Told when the last reference to a file goes: epoll items, which hold none. */
export interface FileObserver {
  fileReleased(file: File): void;
}

/** Inode numbers of files that have no inode: pipes, sockets, anonymous inodes. */
export function nextAnonymousIno(): number {
  return ++serials.lastIno;
}
const ROOT = { uid: 0, gid: 0 };
const NEVER = { sec: 0, nsec: 0 };

/** Open files there are; FdTable refuses more than it has room for (fs.file-max). */
export const openFiles = { count: 0 };

export abstract class File {
  /** Descriptors and other holders. `FdTable` and `task` code count through retain/release. */
  refs = 1;
  /** File position, for those that have one. */
  pos = 0;
  /** F_SETOWN (negative: a process group), F_SETSIG. */
  owner = 0;
  ownerSignal = 0;
  /** F_SETOWN_EX: F_OWNER_TID 0, F_OWNER_PID 1, F_OWNER_PGRP 2. */
  ownerType = 1;
  /** Where its number means something. */
  ownerPids: PidSpace | null = null;
  /** Who called F_SETOWN: signals go only where these credentials may send them. */
  ownerCred: Credentials | null = null;
  /** Sends signals while O_ASYNC is set. */
  async: AsyncNotifier | null = null;
  /** F_SET_RW_HINT. */
  writeHint = 0;
  /** Locks, when there is no inode to keep them. */
  locks: LockTable | null = null;
  /** SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds: how long a blocking read or write waits before it gives EAGAIN. */
  readTimeoutNs = Number.POSITIVE_INFINITY;
  writeTimeoutNs = Number.POSITIVE_INFINITY;
  /** Epoll items that watch it; made on first use. */
  observers: Set<FileObserver> | null = null;
  /** What fstat shows for files without an inode: type and permission bits. */
  readonly anonymousMode: number = 0o600;
  /** Whose an open file without an inode is: of pipes their maker's, else root's. Gap: sockets too are root's. */
  get anonymousOwner(): { uid: number; gid: number } {
    return ROOT;
  }
  private anonymousIno = 0;
  /** st_ino of a file without an inode. */
  get serial(): number {
    this.anonymousIno ||= nextAnonymousIno();
    return this.anonymousIno;
  }
  /** Woken with POLL* bits whenever readiness may have changed. */
  readonly waiters: WaitQueue = new WaitQueue();

  constructor(
    /** Access mode and status flags (O_ACCMODE, O_APPEND, O_NONBLOCK, O_DIRECT, O_PATH…); not O_CLOEXEC. */
    public flags: number,
    /** Where it was opened; null for pipes, sockets and anonymous inodes. */
    readonly path: Path | null,
    readonly inode: Inode | null,
  ) {
    openFiles.count++;
    if (path !== null) path.dentry.holders++;
    if (inode !== null) {
      inode.hold();
      if (this.writable) inode.writers++;
    }
  }

  /** This writer does not keep the file from being executed. */
  private mayRunMeanwhile = false;
  /** Linux does not count the descriptor that memfd_create(2) gave. */
  allowExecution(): void {
    if (this.mayRunMeanwhile || !this.writable || this.inode === null) return;
    this.mayRunMeanwhile = true;
    this.inode.writers--;
  }

  get readable(): boolean {
    return (this.flags & 3) !== 1 && (this.flags & 3) !== 3 && (this.flags & O_PATH) === 0;
  }
  get writable(): boolean {
    return (this.flags & 3) !== 0 && (this.flags & 3) !== 3 && (this.flags & O_PATH) === 0;
  }
  get nonBlocking(): boolean {
    return (this.flags & O_NONBLOCK) !== 0;
  }

  /** True for files with a position (pread allowed). */
  readonly seekable: boolean = false;
  /** True when the position lives elsewhere: read and write get offset -1 for "at the position", and move it. */
  readonly sharedPosition: boolean = false;
  /**
   * True when a reader that leaves something behind, and a writer that leaves room, wakes the next one by itself: then
   * of the tasks blocked in read or write only one is woken at a time.
   */
  readonly wakesOne: boolean = false;

  /** A write that fails with EPIPE raises SIGPIPE; files that decide for themselves (sockets) say no. */
  readonly raisesSigpipe: boolean = true;

  /** Does a long transfer in parts give the same as one at once? Of seekable files; one that makes texts says no. */
  get divisible(): boolean {
    return this.seekable;
  }
  /** Reads at `offset` (a seekable file) into io; bytes, 0 at the end, -EAGAIN when it would block. */
  read(_task: Task, _io: Io, _offset: number): number {
    return -EINVAL;
  }
  /** Writes at `offset` (O_APPEND has been turned into the end by `appendOffset`). */
  write(_task: Task, _io: Io, _offset: number): number {
    return -EINVAL;
  }
  /** The size, for O_APPEND and SEEK_END. */
  size(): number {
    return -ESPIPE;
  }
  /** lseek's SEEK_DATA/SEEK_HOLE; others are done by the caller with pos and size. */
  seekData(_offset: number, _hole: boolean): number {
    return -EINVAL;
  }
  /** lseek(2). Overridden by files with another idea of position (directories, anonymous inodes). */
  seek(_task: Task, offset: number, whence: number): number {
    if (!this.seekable) return -ESPIPE;
    let to: number;
    if (whence === 0) to = offset;
    else if (whence === 1) to = this.pos + offset;
    else if (whence === 2) {
      const size = this.size();
      if (size < 0) return size;
      to = size + offset;
    } else if (whence === 3 || whence === 4) {
      to = this.seekData(offset, whence === 4);
      if (to < 0) return to;
    } else return -EINVAL;
    if (to < 0 || to > MAX_OFFSET) return -EINVAL;
    this.pos = to;
    return to;
  }
  /** What fstat(2) shows. */
  getattr(): Stat | number {
    if (this.inode !== null) return this.inode.getattr();
    return {
      dev: 14,
      ino: this.serial,
      mode: this.anonymousMode,
      nlink: 1,
      uid: this.anonymousOwner.uid,
      gid: this.anonymousOwner.gid,
      rdev: 0,
      size: 0,
      blksize: 4096,
      blocks: 0,
      atime: NEVER,
      mtime: NEVER,
      ctime: NEVER,
    };
  }
  /** Ready events (POLL* bits) now. `task` is who asks (signalfd shows that task's signals). */
  poll(_task?: Task): number {
    return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
  }
  /** What to wait on for `task` (a signalfd shows each task its own signals). */
  queueFor(_task: Task): WaitQueue {
    return this.waiters;
  }
  /** Can epoll watch it? Regular files and directories are always ready. */
  get pollable(): boolean {
    if (this.inode === null) return true;
    const { type } = this.inode;
    return type !== S_IFREG && type !== S_IFDIR;
  }
  ioctl(_task: Task, _request: number, _arg: number): number {
    return -ENOTTY;
  }
  /** Emits directory entries from `this.pos` on; 0, or -errno. Advances `pos` to the next entry not emitted. */
  readdir(_task: Task, _emit: EmitEntry): number {
    return -ENOTDIR;
  }
  truncate(_size: number): number {
    return -EINVAL;
  }
  fallocate(_mode: number, _offset: number, _length: number): number {
    return -ENODEV;
  }
  /** F_SETFL is about to change the status flags: 0, or the errno that refuses it. */
  flagsChanging(_next: number): number {
    return 0;
  }
  /** F_GET_SEALS and F_ADD_SEALS, for files in memory. */
  seals(): number {
    return -EINVAL;
  }
  addSeals(_seals: number): number {
    return -EINVAL;
  }
  fsync(_dataOnly: boolean): number {
    return -EINVAL;
  }
  /** What has to be done before it can be mapped and may take long (slice.ts): 0, -errno, or BLOCKED. */
  prepareMapping(_task: Task): number {
    return 0;
  }
  /** Memory to map for mmap: the host descriptor stays owned by the file and valid as long as the mapping's file is. */
  mapMemory(_shared: boolean, _writable: boolean): HostMemory | number {
    return -ENODEV;
  }
  /** A descriptor to it was closed (not the last): flush; POSIX locks are dropped by the caller. */
  flush(_task: Task): number {
    return 0;
  }
  /** The last reference is gone. */
  onRelease(): void {}

  /** What /proc/PID/fd/N shows when there is no path, for example "pipe:[12]". */
  description(): string {
    return "anon_inode:[unknown]";
  }

  /** Lines that /proc/PID/fdinfo/N shows beyond the common ones, each with its newline. */
  fdInfo(_reader: Task): string {
    return "";
  }

  retain(): this {
    this.refs++;
    return this;
  }
  release(): void {
    if (--this.refs !== 0) return;
    openFiles.count--;
    if (this.observers !== null) for (const observer of [...this.observers]) observer.fileReleased(this);
    if (this.inode !== null && this.inode.locks !== null) this.inode.locks.releaseFile(this);
    if (this.async !== null) this.waiters.remove(this.async.entry);
    if (watching.count > 0) notifyClose(this);
    this.onRelease();
    if (this.path !== null) this.path.dentry.holders--;
    if (this.inode !== null) {
      if (this.writable && !this.mayRunMeanwhile) this.inode.writers--;
      this.inode.letGo();
      if (this.inode.watches !== null) notifyIfGone(this.inode);
    }
  }
}

/** An O_PATH descriptor: names a place, opens nothing. */
export class PathFile extends File {
  constructor(flags: number, path: Path) {
    super(flags, path, path.dentry.inode);
  }
  override read(): number {
    return -EBADF;
  }
  override write(): number {
    return -EBADF;
  }
  override ioctl(): number {
    return -EBADF;
  }
  override size(): number {
    return -EBADF;
  }
}

persistent("file", File, {
  reopen(file) {
    if (file.refs > 0) openFiles.count++;
  },
});
persistent("path-file", PathFile);
