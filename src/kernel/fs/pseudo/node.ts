/**
 * Pseudo file systems: trees of nodes whose contents the kernel makes up when they are read (proc, sys).
 *
 * Source: proc(5), sysfs(5); the reading rules are those of seq_file in Linux: a file has size 0, reading from the start
 * makes the text anew, reading on continues in the text of that moment.
 * Invariant: nodes hold no state of their own beyond names and modes, so a checkpoint can drop and remake them.
 */
import { EPERM } from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import type { Task } from "../../task/task.ts";
import { realtimeNow } from "../../time/clock.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import { type AttrChanges, FileSystem, Inode, type Stat, type StatFs, type Timespec } from "../../vfs/inode.ts";

/** Dentries kept: their inodes hold what they tell of (processes, also ended ones), and are quickly made again. */
const DENTRIES_MAX = 256;

export abstract class PseudoFs extends FileSystem {
  /** What is found here depends on who looks and when. */
  override readonly revalidates = true;
  /** When it was mounted, on both clocks. */
  readonly mountTime: Timespec = realtimeNow();
  readonly mountMonotonic: number;
  /** False where Linux fails the look-up of a name that is not there even when it is to be made: ENOENT (proc). */
  readonly namesAppear: boolean = true;
  private lastIno = 0;

  constructor(
    readonly kernel: Kernel,
    override readonly type: string,
    /** statfs f_type. */
    readonly magic: number,
  ) {
    super();
    this.dentries.max = DENTRIES_MAX;
    this.dev = kernel.devices.anonymous();
    this.mountMonotonic = kernel.now();
    this.source = type;
  }

  /** Numbers for the nodes that live as long as the file system. */
  nextIno(): number {
    return ++this.lastIno;
  }

  override statfs(): StatFs {
    return {
      type: this.magic,
      bsize: 4096,
      blocks: 0,
      bfree: 0,
      bavail: 0,
      files: 0,
      ffree: 0,
      namelen: 255,
      flags: 0,
    };
  }
}

/** Owner of a node. */
export interface Owner {
  uid: number;
  gid: number;
}
const ROOT: Owner = { uid: 0, gid: 0 };

export abstract class PseudoInode extends Inode {
  constructor(
    override readonly fs: PseudoFs,
    override readonly type: number,
    /** Permission bits. */
    readonly mode: number,
    override readonly ino: number = fs.nextIno(),
  ) {
    super();
  }

  owner(): Owner {
    return ROOT;
  }
  time(): Timespec {
    return this.fs.mountTime;
  }
  links(): number {
    return 1;
  }
  size(): number {
    return 0;
  }

  /** Is this node, found earlier, the same as one just made for a lookup? Computed nodes override it. */
  standsFor(other: Inode): boolean {
    return this === other;
  }

  getattr(): Stat | number {
    const { uid, gid } = this.owner();
    const time = this.time();
    return {
      dev: this.fs.dev,
      ino: this.ino,
      mode: this.type | this.mode,
      nlink: this.links(),
      uid,
      gid,
      rdev: 0,
      size: this.size(),
      blksize: 1024,
      blocks: 0,
      atime: time,
      mtime: time,
      ctime: time,
    };
  }

  /** Truncation succeeds and changes nothing, so that `echo x > file` works; times may be "set". */
  override setattr(changes: AttrChanges): number {
    return changes.mode === undefined && changes.uid === undefined && changes.gid === undefined ? 0 : -EPERM;
  }

  abstract override open(path: Path, flags: number, task: Task): File | number;
}
