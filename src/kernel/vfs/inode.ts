/**
 * Inodes and file systems: the interface that every file system (host directory, tmpfs, overlay, proc, dev, a plugin's)
 * implements. Callers (vfs/namei.ts, syscalls) have checked permissions, name lengths and mount flags before.
 *
 * Expected failure is a negative errno. Times are seconds and nanoseconds apart, since 2^53 ns is too short for dates.
 */
import { EINVAL, ENODATA, ENOTDIR, EOPNOTSUPP, EPERM } from "../abi/errno.ts";
import type { Pipe } from "../ipc/pipe.ts";
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

export abstract class Inode {
  abstract readonly fs: FileSystem;
  abstract readonly ino: number;
  /** S_IFMT bits; never changes. */
  abstract readonly type: number;
  /** POSIX, OFD and flock locks, made on first use. */
  locks: LockTable | null = null;
  /** The pipe behind a FIFO while it is open, see ipc/pipe.ts. */
  fifo: Pipe | null = null;
  /** inotify watches, made on first use. */
  watches: Watches | null = null;
  /** Open files, watches and the like: while there are any, the file system keeps this object for this file. */
  holders = 0;
  /** Open files that may write; and what forbids them (running programs): ETXTBSY. */
  writers = 0;
  denyWrite = 0;
  /** A nameless file (O_TMPFILE without O_EXCL) that link(2) may name. */
  linkable = false;
  /** The socket bound to this S_IFSOCK inode (net/unix). */
  socket: unknown = null;
  /** The overlay's inode that stands in front of this one. */
  front: Inode | null = null;

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
