/**
 * Inodes and file systems: the interface that every file system (host directory, tmpfs, overlay, proc, dev, a plugin's)
 * implements. Callers (vfs/walk.ts, vfs/names.ts, vfs/open.ts, syscalls) have checked permissions, name lengths and mount flags before.
 *
 * Expected failure is a negative errno. Times are seconds and nanoseconds apart, since 2^53 ns is too short for dates.
 */
import { EINVAL, ENODATA, ENOTDIR, EOPNOTSUPP, EPERM } from "../abi/errno.ts";
import type { Pipe } from "../ipc/pipe.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { Dentry, DentryCache, type Path } from "./dentry.ts";
import type { File } from "./file.ts";
import type { LockTable } from "./locks.ts";
import type { Watches } from "./watches.ts";

export interface Timespec {
  sec: number;
  nsec: number;
}

/** What stat(2) and statx(2) show. */
export interface Stat {
  dev: number;
  ino: number;
  /** Type and permission bits. */
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  /** Device number of a device node, Linux' encoding (major << 8 | minor for small ones), see makedev in vfs/devices.ts. */
  rdev: number;
  size: number;
  blksize: number;
  /** 512-byte units. */
  blocks: number;
  atime: Timespec;
  mtime: Timespec;
  ctime: Timespec;
  /** Birth time, where known. */
  btime?: Timespec;
}

/** Changes that setattr makes; absent fields stay. Times: "now" is the kernel's clock. ctime moves by itself. */
export interface AttrChanges {
  /** Permission bits only. */
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  atime?: Timespec;
  mtime?: Timespec;
}

/** Who owns what is being created (fsuid, fsgid or the directory's group) and the mode after umask. */
export interface NewNode {
  mode: number;
  uid: number;
  gid: number;
}

export interface StatFs {
  type: number;
  bsize: number;
  blocks: number;
  bfree: number;
  bavail: number;
  files: number;
  ffree: number;
  namelen: number;
  flags: number;
}

/** Of a file system that counts neither blocks nor inodes. */
export const uncounted = (type: number, bsize = 4096): StatFs => ({
  type,
  bsize,
  blocks: 0,
  bfree: 0,
  bavail: 0,
  files: 0,
  ffree: 0,
  namelen: 255,
  flags: 0,
});

/** Permission bits and owner. */
export interface Ownership {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** One mounted instance of a file system. */
export abstract class FileSystem {
  /** st_dev of its inodes; given by the kernel. */
  dev = 0;
  /** As in /proc/self/mounts. */
  abstract readonly type: string;
  /** Source shown in /proc/self/mounts. */
  source = "none";
  abstract readonly root: Inode;
  abstract statfs(): StatFs;
  /** Cached child dentries must be looked up again (host directories that others change, proc). */
  readonly revalidates: boolean = false;
  /** Where it revalidates: for how long a directory found in the middle of a path may be trusted, ns. */
  readonly trustDirectoriesNs: number = 0;
  /** What was to be trusted until this time is not: another file system has changed the same directories. */
  distrustedUntil(): number {
    return 0;
  }
  /** Bounded cache of the dentries of a file system that revalidates. */
  readonly dentries = new DentryCache();
  private top: Dentry | null = null;
  /** The dentry of `root`, shared by all mounts of this file system. */
  get rootDentry(): Dentry {
    this.top ??= new Dentry("", null, this.root);
    return this.top;
  }
  sync(): number {
    return 0;
  }
  /** The last mount is gone. */
  release(): void {}
}

/** What the kernel knows of a file by whichever inode it is reached: several may show one file of the host. */
export class FileState {
  locks: LockTable | null = null;
  fifo: Pipe | null = null;
  watches: Watches | null = null;
  socket: unknown = null;
  writers = 0;
  denyWrite = 0;
  /** Of all inodes that have this state. */
  holders = 0;
  /** Is it as it was made? */
  get isEmpty(): boolean {
    const { locks, fifo, watches, socket, writers, denyWrite, holders } = this;
    return !(locks ?? fifo ?? watches ?? socket) && writers === 0 && denyWrite === 0 && holders === 0;
  }
}

export abstract class Inode {
  abstract readonly fs: FileSystem;
  abstract readonly ino: number;
  /** S_IFMT bits; never changes. */
  abstract readonly type: number;
  /** Open files, watches and the like: while there are any, the file system keeps this object for this file. */
  holders = 0;
  protected state: FileState | null = null;
  /** The file's state, if there is any. */
  protected findState(): FileState | null {
    return this.state;
  }
  protected makeState(): FileState {
    this.state ??= new FileState();
    return this.state;
  }
  /** Holders of the file by whichever inode. */
  get allHolders(): number {
    return this.holders;
  }
  /** What is one object for one file: what a futex in it is known by. */
  get identity(): object {
    return this;
  }

  /** POSIX, OFD and flock locks, made on first use. */
  get locks(): LockTable | null {
    return this.findState()?.locks ?? null;
  }
  set locks(locks: LockTable | null) {
    this.makeState().locks = locks;
  }
  /** The pipe behind a FIFO while it is open, see ipc/pipe.ts. */
  get fifo(): Pipe | null {
    return this.findState()?.fifo ?? null;
  }
  set fifo(fifo: Pipe | null) {
    this.makeState().fifo = fifo;
  }
  /** inotify watches, made on first use. */
  get watches(): Watches | null {
    return this.findState()?.watches ?? null;
  }
  set watches(watches: Watches | null) {
    this.makeState().watches = watches;
  }
  /** The socket bound to this S_IFSOCK inode (net/unix). */
  get socket(): unknown {
    return this.findState()?.socket ?? null;
  }
  set socket(socket: unknown) {
    this.makeState().socket = socket;
  }
  /** Open files that may write; and what forbids them (running programs): ETXTBSY. */
  get writers(): number {
    return this.findState()?.writers ?? 0;
  }
  set writers(count: number) {
    this.makeState().writers = count;
  }
  get denyWrite(): number {
    return this.findState()?.denyWrite ?? 0;
  }
  set denyWrite(count: number) {
    this.makeState().denyWrite = count;
  }
  /** A nameless file (O_TMPFILE without O_EXCL) that link(2) may name. */
  linkable = false;
  /** Of one that stands in front of another: it has all that there is to have of that. */
  get isComplete(): boolean {
    return false;
  }
  /** The overlay's inode that stands in front of this one. */
  front: Inode | null = null;

  /** What has to be done before its size is set and may take long (slice.ts): 0, -errno, or BLOCKED. */
  prepareResize(_task: Task, _size: number): number {
    return 0;
  }

  hold(): void {
    if (this.holders++ === 0) this.onHeld();
  }
  letGo(): void {
    if (--this.holders === 0) this.evict();
  }
  /** The first holder came. */
  protected onHeld(): void {}

  abstract getattr(): Stat | number;
  /** The same right after `lookup` has returned this inode: may use what the lookup saw. */
  getattrFresh(): Stat | number {
    return this.getattr();
  }
  /** What permission checks look at; cheaper than getattr where a file system can make it so. */
  ownership(): Ownership | number {
    return this.getattr();
  }
  setattr(_changes: AttrChanges): number {
    return -EPERM;
  }

  // Directories.
  /** Must names found here before be looked up again? */
  get revalidates(): boolean {
    return this.fs.revalidates;
  }
  /** `known`: what was found under this name before; to be returned if it still is the same. */
  lookup(_name: string, _task: Task, _known?: Inode | null): Inode | number {
    return -ENOTDIR;
  }
  create(_name: string, _node: NewNode): Inode | number {
    return -EPERM;
  }
  /** A regular file that no open follows, as mknod(2) and places for mounts make it. */
  createUnopened(name: string, node: NewNode): Inode | number {
    return this.create(name, node);
  }
  mkdir(_name: string, _node: NewNode): Inode | number {
    return -EPERM;
  }
  mknod(_name: string, _node: NewNode, _rdev: number): Inode | number {
    return -EPERM;
  }
  symlink(_name: string, _target: string, _node: NewNode): Inode | number {
    return -EPERM;
  }
  /** A nameless regular file (O_TMPFILE), which `link` may give a name. */
  tmpfile(_node: NewNode): Inode | number {
    return -EOPNOTSUPP;
  }
  link(_name: string, _inode: Inode): number {
    return -EPERM;
  }
  unlink(_name: string, _inode: Inode): number {
    return -EPERM;
  }
  rmdir(_name: string, _inode: Inode): number {
    return -EPERM;
  }
  /**
   * `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT. An existing target is replaced.
   * `moved` and `replaced` are what the walk found under the two names.
   */
  rename(
    _name: string,
    _newDir: Inode,
    _newName: string,
    _flags: number,
    _moved: Inode,
    _replaced: Inode | null,
  ): number {
    return -EPERM;
  }

  // Symbolic links.
  readlink(_task: Task): string | number {
    return -EINVAL;
  }
  /** Magic links of /proc: where they lead, without walking a path. null: an ordinary link, use readlink. */
  followMagic(_task: Task): Path | number | null {
    return null;
  }

  /** Opens; `flags` are O_* as given by the guest, already checked; O_TRUNC and O_CREAT have been dealt with. */
  abstract open(path: Path, flags: number, task: Task): File | number;

  getXattr(_name: string): Uint8Array | number {
    return -EOPNOTSUPP;
  }
  setXattr(_name: string, _value: Uint8Array, _flags: number): number {
    return -EOPNOTSUPP;
  }
  listXattr(): string[] | number {
    return [];
  }
  removeXattr(_name: string): number {
    return -ENODATA;
  }

  /** The last holder let go of it. */
  evict(): void {}
  /** Nobody holds it, and the dentry cache has dropped a name of it. */
  forgotten(): void {}
}

persistent("file-system", FileSystem);
persistent("file-state", FileState);
persistent("inode", Inode, {
  as: {
    // Most files have one that says nothing.
    state: {
      save: (state: FileState | null) => (state === null || state.isEmpty ? null : state),
      restore: (state: FileState | null) => state,
    },
  },
});
