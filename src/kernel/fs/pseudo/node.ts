/**
 * Pseudo file systems: trees of nodes whose contents the kernel makes up when they are read (proc, sys).
 *
 * Source: proc(5), sysfs(5); the reading rules are those of seq_file in Linux: a file has size 0, reading from the start
 * makes the text anew, reading on continues in the text of that moment.
 * Invariant: nodes hold no state of their own beyond names and modes. So those that are always there are not saved with a
 * kernel but made again with their file system, and found by their place; those about processes, which a look-up makes, are
 * saved with what they are about.
 */
import { EPERM } from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent, type Remaking } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { realtimeNow } from "../../time/clock.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import {
  type AttrChanges,
  type FileState,
  FileSystem,
  Inode,
  type Stat,
  type StatFs,
  type Timespec,
  uncounted,
} from "../../vfs/inode.ts";
import type { PseudoDirectory } from "./directory.ts";

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
  abstract override readonly root: PseudoDirectory;
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

  /** Makes the nodes that are always there, `root` and what is below. Their numbers follow from the order. */
  protected abstract grow(): void;
  /** The tops of the trees that they form. */
  get trees(): readonly PseudoDirectory[] {
    return [this.root];
  }
  /** In a restored kernel: before the first of them is needed. */
  growAgain(): this {
    if (this.root === undefined) {
      this.lastIno = 0;
      this.grow();
    }
    return this;
  }
  /** The number that was given out last. */
  get nodesMade(): number {
    return this.lastIno;
  }

  /** Numbers for the nodes that live as long as the file system. */
  nextIno(): number {
    return ++this.lastIno;
  }

  override statfs(): StatFs {
    return uncounted(this.magic);
  }
}

/** Owner of a node. */
export interface Owner {
  uid: number;
  gid: number;
}
const NO_CHILDREN: ReadonlyMap<string, PseudoInode> = new Map();
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

  /** The children of a directory that are always there, by name. */
  get fixedChildren(): ReadonlyMap<string, PseudoInode> {
    return NO_CHILDREN;
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

  /** What a saved kernel has of a node that is always there; null for any other. */
  get kept(): FixedNode | null {
    const { fs, ino, holders, state } = this;
    const place = placesIn(fs).get(this);
    return place === undefined ? null : { fs, ...place, ino, holders, state: state?.isEmpty ? null : state };
  }
  /** It is that node of a restored kernel. */
  takeUp({ ino, holders, state }: FixedNode): void {
    // Another version of the program may number its nodes otherwise; guests have seen this number.
    (this as { ino: number }).ino = ino;
    this.holders = holders;
    this.state = state;
  }
}

/** A node that is always there: its place in the tree of that number, and what is known of it. */
export interface FixedNode {
  readonly fs: PseudoFs;
  readonly tree: number;
  readonly path: readonly string[];
  readonly ino: number;
  readonly holders: number;
  readonly state: FileState | null;
}

type Place = Pick<FixedNode, "tree" | "path">;
/** Trees stay as they are made: places of their nodes, once somebody has asked. */
const places = new WeakMap<PseudoFs, Map<PseudoInode, Place>>();

function placesIn(fs: PseudoFs): Map<PseudoInode, Place> {
  let found = places.get(fs);
  if (found === undefined) {
    found = new Map();
    for (const [tree, top] of fs.trees.entries()) {
      found.set(top, { tree, path: [] });
      for (const [node, { path }] of found)
        for (const [name, child] of node.fixedChildren)
          if (!found.has(child)) found.set(child, { tree, path: [...path, name] });
    }
    places.set(fs, found);
  }
  return found;
}

/** Saves nodes of a class by their place, where they are always there. */
export function byPlace<T extends PseudoInode>(): Remaking<T, FixedNode> {
  return {
    key: (node) => node.kept,
    make(key) {
      const { fs, tree, path } = key;
      let node: PseudoInode | undefined = fs.growAgain().trees[tree];
      for (const name of path) node = node?.fixedChildren.get(name);
      if (node === undefined) throw new Error(`there is no ${path.join("/")} in the file system ${fs.type}`);
      node.takeUp(key);
      return node as T;
    },
  };
}

persistent("pseudo-fs", PseudoFs, {
  transient: {
    root: (fs) => fs.growAgain().root,
    lastIno: (fs) => fs.growAgain().nodesMade,
  },
});
persistent("pseudo-inode", PseudoInode);
