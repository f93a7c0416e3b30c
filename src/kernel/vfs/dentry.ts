/**
 * Dentries, mounts and paths: the name tree over inodes.
 *
 * A dentry ties a name in a parent to an inode; a mount shows a file system's tree (or a part of it, for bind mounts)
 * at a dentry of another mount; a Path is the pair that names one place. Walking is vfs/walk.ts' work.
 *
 * Invariant: a dentry that is in its parent's `children` has that parent; a name has at most one dentry there. There are
 * no negative dentries. In a file system that revalidates, the number of dentries kept is bounded by DentryCache.
 */
import { persistent } from "../state/registry.ts";
import type { Save } from "../state/save.ts";
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
  /** Where the cache has it, -1 when it does not. */
  place = -1;
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

  /** Takes `child` out for good, if it is the one known by its name: nothing below it can be found any more. */
  detach(child: Dentry): void {
    if (this.children?.get(child.name) !== child) return;
    this.children.delete(child.name);
    const { dentries } = this.inode.fs;
    const gone = [child];
    for (let dentry = gone.pop(); dentry !== undefined; dentry = gone.pop()) {
      dentries.remove(dentry);
      if (dentry.children !== null && this.inode.fs.revalidates) gone.push(...dentry.children.values());
    }
  }

  /** Moves it to another directory and name (rename). What had that name before does not have it any more. */
  move(parent: Dentry, name: string): void {
    const siblings = this.parent?.children;
    if (siblings?.get(this.name) === this) siblings.delete(this.name);
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
    if (dentry.place >= 0) return;
    if (this.ring.length < this.max) {
      dentry.place = this.ring.length;
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
    this.ring[this.hand]!.place = -1;
    this.ring[this.hand] = dentry;
    dentry.place = this.hand;
  }

  /** In a restored kernel, which has no more of them. */
  addAgain(dentry: Dentry): void {
    if (this.ring.length < this.max) this.add(dentry);
  }

  /** It is in the tree no more: what it leads to must not stay until the hand comes by. */
  remove(dentry: Dentry): void {
    const { place } = dentry;
    if (place < 0) return;
    dentry.place = -1;
    const last = this.ring.pop()!;
    if (last === dentry) return;
    this.ring[place] = last;
    last.place = place;
  }
}

/** MS_* bits that a mount keeps. */
export const MNT_RDONLY = 1;
export const MNT_NOSUID = 2;
export const MNT_NODEV = 4;
export const MNT_NOEXEC = 8;
export const MNT_NOATIME = 1024;

export class Mount {
  constructor(
    readonly id: number,
    readonly fs: FileSystem,
    /** What this mount shows at its top: fs.root's dentry, or another for a bind mount. */
    readonly root: Dentry,
    /** Where in the parent it sits (null: nowhere, a root). */
    public parent: Mount | null,
    public mountpoint: Dentry | null,
    /** MNT_* bits. */
    public flags: number,
  ) {}
}

/** What a mount's tree hangs below. */
export function topOf(mount: Mount): Mount {
  let top = mount;
  while (top.parent !== null) top = top.parent;
  return top;
}

/** One place in the tree. */
export interface Path {
  mount: Mount;
  dentry: Dentry;
}

/** Dentries that are looked at by one save: is there anything at the place or below that must stay? */
const needed = new WeakMap<Save, Map<Dentry, boolean>>();

/** Others are found again when somebody looks, as those are that the cache has forgotten. */
function isNeeded(top: Dentry, save: Save): boolean {
  let known = needed.get(save);
  if (known === undefined) {
    known = new Map();
    needed.set(save, known);
  }
  const way = [top];
  for (let dentry = way.at(-1); dentry !== undefined; dentry = way.at(-1)) {
    if (known.has(dentry)) {
      way.pop();
      continue;
    }
    let need = dentry.holders > 0 || dentry.mountedHere > 0 || dentry.inode.holders > 0;
    const depth = way.length;
    if (!need && dentry.children !== null)
      for (const child of dentry.children.values()) {
        const below = known.get(child);
        if (below === undefined) way.push(child);
        else if (below) need = true;
      }
    if (need || way.length === depth) known.set(dentry, need);
    if (need) way.length = depth;
  }
  return known.get(top)!;
}

/** Can it be found from the top of the tree? A directory that was detached keeps what is below it. */
function isAttached(dentry: Dentry): boolean {
  for (let at = dentry; ; ) {
    const { parent } = at;
    if (parent === at) return true;
    if (parent?.children?.get(at.name) !== at) return false;
    at = parent;
  }
}

persistent("dentry", Dentry, {
  transient: {
    // Directories of the host may be others by then.
    trustedUntil: () => 0,
    recent: () => false,
    place: () => -1,
  },
  as: {
    children: {
      save: (children: Map<string, Dentry> | null, _dentry, save) =>
        children === null ? null : [...children.values()].filter((child) => isNeeded(child, save)),
      restore: (children: Dentry[] | null) => children && new Map(children.map((child) => [child.name, child])),
    },
  },
  reopen(dentry) {
    const { fs } = dentry.inode;
    if (dentry.parent !== dentry && fs.revalidates && isAttached(dentry)) fs.dentries.addAgain(dentry);
  },
});
persistent("dentry-cache", DentryCache, { transient: { ring: () => [], hand: () => 0 } });
persistent("mount", Mount);
