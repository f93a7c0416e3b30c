/**
 * overlay: a read-only file system below, changes in memory above.
 *
 * The lower one is never written. A change of attributes copies the attributes up, opening for writing copies the
 * contents up; directories keep, by name, only what differs from below. Renaming and linking move or share the overlay's
 * own inodes, which know their lower file wherever they are: nothing is copied for it, and nothing gives EXDEV.
 *
 * Identity: a file keeps the inode number and device of its lower file for ever; new files take the device of their
 * directory and numbers from 2^48 up, which host file systems do not reach.
 *
 * Source: the behaviour of Linux overlayfs where a guest could tell, made less surprising: a file that was open for
 * reading before its contents were copied up goes on with the changed contents.
 * Known gap: memory that was mapped before a copy-up keeps showing the lower file.
 */
import { OVERLAYFS_SUPER_MAGIC } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { Dentry, Mount, type Path } from "../../vfs/dentry.ts";
import { FileSystem, type Inode, type StatFs } from "../../vfs/inode.ts";
import type { Tmpfs } from "../tmpfs/tmpfs.ts";
import { OverlayNode } from "./node.ts";

const FIRST_OWN_INO = 2 ** 48;

export class OverlayFs extends FileSystem {
  override readonly type = "overlay";
  override readonly revalidates: boolean;
  override readonly trustDirectoriesNs: number;
  override readonly root: OverlayNode;
  private lastIno = FIRST_OWN_INO;
  private readonly lowerMount: Mount;

  constructor(
    readonly kernel: Kernel,
    readonly lower: FileSystem,
    /** Where changes are kept; its own tree is not used. */
    readonly upper: Tmpfs,
  ) {
    super();
    this.source = "overlay";
    this.dev = lower.dev;
    this.revalidates = lower.revalidates;
    this.trustDirectoriesNs = lower.trustDirectoriesNs;
    this.lowerMount = new Mount(0, lower, lower.rootDentry, null, null, 0);
    this.root = new OverlayNode(this, lower.root.ino, lower.root.type, this.dev, lower.root, null);
    this.root.pinned = true;
  }

  nextIno(): number {
    return ++this.lastIno;
  }

  /** A place for opening a lower file that has none in a tree. */
  placeOf(lower: Inode): Path {
    return { mount: this.lowerMount, dentry: new Dentry("", null, lower) };
  }
  /** For whom something is being done: lower files are read in its name. Set-up works for a task too (Kernel.workOn). */
  get actor(): Task {
    const { current } = this.kernel;
    if (current === null) throw new Error("an overlay changes in somebody's call alone");
    return current;
  }

  override distrustedUntil(): number {
    return this.lower.distrustedUntil();
  }
  override statfs(): StatFs {
    return { ...this.upper.statfs(), type: OVERLAYFS_SUPER_MAGIC };
  }
  override release(): void {
    this.lower.release();
    this.upper.release();
  }
}

persistent("overlay-fs", OverlayFs);
