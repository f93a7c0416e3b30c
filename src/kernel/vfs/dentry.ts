/**
 * Dentries, mounts and paths: the name tree over inodes.
 *
 * A dentry ties a name in a parent to an inode; a mount shows a file system's tree (or a part of it, for bind mounts)
 * at a dentry of another mount; a Path is the pair that names one place. Walking is vfs/namei.ts' work.
 *
 * Invariant: a dentry that is in its parent's `children` has that parent; a name has at most one dentry there. There are
 * no negative dentries. In a file system that revalidates, the number of dentries kept is bounded by DentryCache.
 */
import type { FileSystem, Inode } from "./inode.ts";

export class Dentry {
  /** Known children. */
  children: Map<string, Dentry> | null = null;
  /** How many mounts sit on this dentry: a quick test before looking in the mount table. */
  mountedHere = 0;
  /** True once unlinked or removed: shown as "(deleted)". */
  deleted = false;
  /** Open files at this place: it is not dropped from the cache. */
  holders = 0;
  /** A directory of a file system that revalidates is taken as it is until then (CLOCK_MONOTONIC ns). */
  trustedUntil = 0;
  /** Used since the cache's hand last came by. */
  recent = false;
  constructor(
    public name: string,
    /** The root of a file system is its own parent. */
    public parent: Dentry | null,
    public inode: Inode,
  ) {}

  /** Puts `child` among the known children, in place of an older one of that name. */
  attach(child: Dentry): void {
    this.children ??= new Map();
    this.children.set(child.name, child);
    if (this.inode.fs.revalidates) this.inode.fs.dentries.add(child);
  }

  /** Takes `child` out, if it is the one known by its name. */
  detach(child: Dentry): void {
    if (this.children?.get(child.name) === child) this.children.delete(child.name);
  }

  /** Moves it to another directory and name (rename). */
  move(parent: Dentry, name: string): void {
    this.parent?.detach(this);
    this.parent = parent;
    this.name = name;
    parent.attach(this);
  }

  /** Is `other` this dentry or below it? */
  contains(other: Dentry): boolean {
    for (let at = other; ; at = at.parent) {
      if (at === this) return true;
      if (at.parent === null || at.parent === at) return false;
    }
  }
}

/** Dentries kept per file system that revalidates. */
const CACHE_MAX = 16384;

/** Second-chance cache: forgets leaf dentries that nobody uses. */
export class DentryCache {
  /** A file system that makes its inodes out of nothing may keep fewer. */
  max = CACHE_MAX;
  private ring: Dentry[] = [];
  private hand = 0;

  add(dentry: Dentry): void {
    dentry.recent = true;
    if (this.ring.length < this.max) {
      this.ring.push(dentry);
      return;
    }
    // The place of the first dentry that may go; after some steps, of whichever is there: it stays attached, uncounted
    // by the ring, until its parent goes.
    for (let steps = 0; ; steps++) {
      this.hand = this.hand + 1 < this.ring.length ? this.hand + 1 : 0;
      const old = this.ring[this.hand]!;
      const parent = old.parent;
      if (parent?.children?.get(old.name) !== old) break;
      if (old.recent && steps < 32) {
        old.recent = false;
        continue;
      }
      if (old.holders === 0 && old.mountedHere === 0 && (old.children === null || old.children.size === 0)) {
        parent.children.delete(old.name);
        if (old.inode.holders === 0) old.inode.forgotten();
        break;
      }
      if (steps >= 256) break;
    }
    this.ring[this.hand] = dentry;
  }
}

/** MS_* bits that a mount keeps. */
export const MNT_RDONLY = 1;
export const MNT_NOSUID = 2;
export const MNT_NODEV = 4;
export const MNT_NOEXEC = 8;
export const MNT_NOATIME = 1024;

export class Mount {
  /** Where in the parent it sits (null: nowhere, a root). */
  constructor(
    readonly id: number,
    readonly fs: FileSystem,
    /** What this mount shows at its top: fs.root's dentry, or another for a bind mount. */
    readonly root: Dentry,
    public parent: Mount | null,
    public mountpoint: Dentry | null,
    /** MNT_* bits. */
    public flags: number,
  ) {}
}

/** One place in the tree. */
export interface Path {
  mount: Mount;
  dentry: Dentry;
}
