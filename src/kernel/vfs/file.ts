/**
 * Open file descriptions: what a descriptor points to. Subclasses are the regular file, directory, pipe end, socket,
 * eventfd, epoll… of their file system or family.
 *
 * Reading and writing: a call that cannot go on now returns -EAGAIN; the syscall layer (syscalls/read.ts) then blocks on
 * `waiters` unless O_NONBLOCK is set. Every change that could make a call go on wakes `waiters` with POLL* bits.
 */
import { EBADF, EINVAL, EISDIR, ENODEV, ENOTDIR, ENOTTY, ESPIPE } from "../abi/errno.ts";
import type { HostMemory } from "../../platform/platform.ts";
import type { Task } from "../task/task.ts";
import { WaitQueue } from "../wait-queue.ts";
import type { Path } from "./dentry.ts";
import type { Inode } from "./inode.ts";
import type { Io } from "./io.ts";

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

/** Receives one directory entry; false when there is no room for it (it will be asked for again). */
export type EmitEntry = (name: string, ino: number, type: number, nextOffset: number) => boolean;

export abstract class File {
  /** Descriptors and other holders. `FdTable` and `task` code count through retain/release. */
  refs = 1;
  /** File position, for those that have one. */
  pos = 0;
  /** F_SETOWN, F_SETSIG. */
  owner = 0;
  ownerSignal = 0;
  /** Woken with POLL* bits whenever readiness may have changed. */
  readonly waiters: WaitQueue = new WaitQueue();

  constructor(
    /** Access mode and status flags (O_ACCMODE, O_APPEND, O_NONBLOCK, O_DIRECT, O_PATH…); not O_CLOEXEC. */
    public flags: number,
    /** Where it was opened; null for pipes, sockets and anonymous inodes. */
    readonly path: Path | null,
    readonly inode: Inode | null,
  ) {}

  get readable(): boolean {
    return (this.flags & 3) !== 1 && (this.flags & 0o10000000) === 0;
  }
  get writable(): boolean {
    return (this.flags & 3) !== 0 && (this.flags & 0o10000000) === 0;
  }
  get nonBlocking(): boolean {
    return (this.flags & 0o4000) !== 0;
  }

  /** True for files with a position (pread allowed). */
  readonly seekable: boolean = false;

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
  /** Ready events (POLL* bits) now. */
  poll(): number {
    return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
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
  fsync(_dataOnly: boolean): number {
    return -EINVAL;
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

  retain(): this {
    this.refs++;
    return this;
  }
  release(): void {
    if (--this.refs === 0) this.onRelease();
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

/** What reading and writing a directory returns. */
export const DIRECTORY_IO = -EISDIR;
