/**
 * Dentries, mounts and paths: the name tree over inodes.
 *
 * A dentry ties a name in a parent to an inode; a mount shows a file system's tree (or a part of it, for bind mounts)
 * at a dentry of another mount; a Path is the pair that names one place. Walking is vfs/namei.ts' work.
 */
import type { FileSystem, Inode } from "./inode.ts";

export class Dentry {
  /** Known children; null values are negative (known not to exist). Not used where the file system revalidates. */
  children: Map<string, Dentry> | null = null;
  /** How many mounts sit on this dentry: a quick test before looking in the mount table. */
  mountedHere = 0;
  /** True once unlinked or removed: shown as "(deleted)". */
  deleted = false;
  constructor(
    public name: string,
    /** The root of a file system is its own parent. */
    public parent: Dentry | null,
    public inode: Inode,
  ) {}
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
    public parent: Mount | null,
    /** Where in the parent it sits. */
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
