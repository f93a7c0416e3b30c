/**
 * Inodes of tmpfs: every type of file, in memory.
 *
 * Source: tmpfs(5), inode(7). Invariant: `nlink` of a directory is 2 plus its subdirectories, of others the number of
 * their names; contents are freed when a node has neither names nor holders.
 * Known gap: times of files written through a shared mapping do not move.
 */

import { clockGet } from "../../../native/host.ts";
import { encodeName } from "../../abi/bytes.ts";
import {
  EEXIST,
  EINVAL,
  EISDIR,
  ENODATA,
  ENOENT,
  ENOSPC,
  ENOTDIR,
  ENOTEMPTY,
  ENXIO,
  EOPNOTSUPP,
  EPERM,
} from "../../abi/errno.ts";
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, XATTR_CREATE, XATTR_REPLACE } from "../../abi/fcntl.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from "../../abi/stat.ts";
import { openFifo } from "../../ipc/pipe.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { openDevice } from "../../vfs/devices.ts";
import type { File } from "../../vfs/file.ts";
import { type AttrChanges, Inode, type NewNode, type Ownership, type Stat } from "../../vfs/inode.ts";
import type { Io } from "../../vfs/io.ts";
import { MemoryContent, PAGE } from "./content.ts";
import { TmpfsDirectoryFile, TmpfsFile } from "./file.ts";
import type { Tmpfs } from "./tmpfs.ts";

/** Bytes that the xattrs of one file may take. */
const XATTRS_MAX = 128 * 1024;
/** A link's target of up to this many characters is not counted. */
const SHORT_TARGET = 128;
/** What a directory entry counts in st_size. */
const DIRENT_SIZE = 20;

export const F_SEAL_SEAL = 1;
export const F_SEAL_SHRINK = 2;
export const F_SEAL_GROW = 4;
export const F_SEAL_WRITE = 8;
export const F_SEAL_FUTURE_WRITE = 16;

/** One name in a directory. `cookie` is its place in listings; it never comes again. */
export interface TmpfsEntry {
  node: TmpfsNode;
  cookie: number;
}

const clock = new Float64Array(2);
const CLOCK_REALTIME = 0;
const DAY = 86400;

export class TmpfsNode extends Inode implements Ownership {
  readonly type: number;
  /** Type and permission bits. */
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  /** Directories: the one above (the root: itself), null once removed. */
  parent: TmpfsNode | null = null;
  readonly entries: Map<string, TmpfsEntry> | null = null;
  nextCookie = 2;
  readonly content: MemoryContent | null = null;
  /** F_SEAL_*; a file that was not made for sealing carries F_SEAL_SEAL. */
  seals = F_SEAL_SEAL;
  target = "";
  private xattrs: Map<string, Uint8Array> | null = null;
  /** Pages charged for extended attributes, or for a link's target. */
  private xattrPages = 0;
  /** Names beyond the first that count as inodes. */
  private moreNames = 0;
  private freed = false;
  atimeSec = 0;
  atimeNsec = 0;
  mtimeSec = 0;
  mtimeNsec = 0;
  ctimeSec = 0;
  ctimeNsec = 0;
  btimeSec: number;
  btimeNsec: number;

  constructor(
    readonly fs: Tmpfs,
    readonly ino: number,
    type: number,
    node: NewNode,
    readonly rdev = 0,
  ) {
    super();
    this.type = type;
    this.mode = type | (node.mode & 0o7777);
    this.uid = node.uid;
    this.gid = node.gid;
    this.nlink = type === S_IFDIR ? 2 : 1;
    if (type === S_IFDIR) this.entries = new Map();
    else if (type === S_IFREG) this.content = new MemoryContent(fs);
    clockGet(CLOCK_REALTIME, clock);
    this.atimeSec = this.mtimeSec = this.ctimeSec = this.btimeSec = clock[0]!;
    this.atimeNsec = this.mtimeNsec = this.ctimeNsec = this.btimeNsec = clock[1]!;
  }

  override ownership(): Ownership {
    return this;
  }

  get size(): number {
    if (this.content !== null) return this.content.size;
    if (this.entries !== null) return (this.entries.size + 2) * DIRENT_SIZE;
    return this.type === S_IFLNK ? encodeName(this.target).length : 0;
  }

  getattr(): Stat {
    return {
      dev: this.fs.dev,
      ino: this.ino,
      mode: this.mode,
      nlink: this.nlink,
      uid: this.uid,
      gid: this.gid,
      rdev: this.rdev,
      size: this.size,
      blksize: PAGE,
      blocks: this.content === null ? 0 : this.content.pages * (PAGE / 512),
      atime: { sec: this.atimeSec, nsec: this.atimeNsec },
      mtime: { sec: this.mtimeSec, nsec: this.mtimeNsec },
      ctime: { sec: this.ctimeSec, nsec: this.ctimeNsec },
      btime: { sec: this.btimeSec, nsec: this.btimeNsec },
    };
  }

  override setattr(changes: AttrChanges): number {
    if (changes.size !== undefined) {
      const result = this.resize(changes.size);
      if (result < 0) return result;
    }
    if (changes.mode !== undefined) this.mode = this.type | (changes.mode & 0o7777);
    if (changes.uid !== undefined) this.uid = changes.uid;
    if (changes.gid !== undefined) this.gid = changes.gid;
    if (changes.atime !== undefined) {
      this.atimeSec = changes.atime.sec;
      this.atimeNsec = changes.atime.nsec;
    }
    this.touchChanged();
    if (changes.mtime !== undefined) {
      this.mtimeSec = changes.mtime.sec;
      this.mtimeNsec = changes.mtime.nsec;
    }
    return 0;
  }

  // Times.

  touchChanged(): void {
    clockGet(CLOCK_REALTIME, clock);
    this.ctimeSec = clock[0]!;
    this.ctimeNsec = clock[1]!;
  }
  touchModified(): void {
    clockGet(CLOCK_REALTIME, clock);
    this.mtimeSec = this.ctimeSec = clock[0]!;
    this.mtimeNsec = this.ctimeNsec = clock[1]!;
  }
  /** It was read: the access time follows as "relatime" says. */
  touchAccessed(): void {
    clockGet(CLOCK_REALTIME, clock);
    const sec = this.atimeSec;
    const nsec = this.atimeNsec;
    const old =
      sec < this.mtimeSec ||
      (sec === this.mtimeSec && nsec <= this.mtimeNsec) ||
      sec < this.ctimeSec ||
      (sec === this.ctimeSec && nsec <= this.ctimeNsec) ||
      clock[0]! - sec >= DAY;
    if (!old) return;
    this.atimeSec = clock[0]!;
    this.atimeNsec = clock[1]!;
  }

  // Contents.

  read(io: Io, offset: number): number {
    return this.content!.read(io, offset);
  }
  write(io: Io, offset: number): number {
    const content = this.content!;
    if (this.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) return -EPERM;
    if (this.seals & F_SEAL_GROW && offset + io.remaining > content.size) return -EPERM;
    const n = content.write(io, offset);
    if (n > 0) this.touchModified();
    return n;
  }
  /** truncate and ftruncate. */
  resize(size: number): number {
    const content = this.content;
    if (content === null) return this.type === S_IFDIR ? -EISDIR : -EINVAL;
    if (size < 0) return -EINVAL;
    if (size < content.size && this.seals & F_SEAL_SHRINK) return -EPERM;
    if (size > content.size && this.seals & F_SEAL_GROW) return -EPERM;
    const result = content.truncate(size);
    if (result === 0) this.touchModified();
    return result;
  }
  fallocate(mode: number, offset: number, length: number): number {
    const content = this.content!;
    const punch = (mode & 2) !== 0;
    if (mode & ~3 || (punch && (mode & 1) === 0)) return -EOPNOTSUPP;
    if (punch && this.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) return -EPERM;
    if (!punch && this.seals & F_SEAL_GROW && offset + length > content.size) return -EPERM;
    const pagesBefore = content.pages;
    const sizeBefore = content.size;
    const result = content.fallocate(mode, offset, length);
    if (result < 0) return result;
    if (punch || content.size !== sizeBefore) this.touchModified();
    else if (content.pages !== pagesBefore) this.touchChanged();
    return 0;
  }

  override open(path: Path, flags: number, task: Task): File | number {
    switch (this.type) {
      case S_IFREG:
        return new TmpfsFile(flags, path, this);
      case S_IFDIR:
        return new TmpfsDirectoryFile(flags, path, this);
      case S_IFIFO:
        return openFifo(this, flags, task, path);
      case S_IFCHR:
      case S_IFBLK:
        return openDevice(this.fs.kernel, this.rdev, this.type === S_IFBLK, path, flags, task);
      default:
        // Sockets (and links, which the walker has dealt with) cannot be opened.
        return -ENXIO;
    }
  }

  // Directories.

  private insert(name: string, node: TmpfsNode): void {
    this.entries!.set(name, { node, cookie: this.nextCookie++ });
    if (node.type === S_IFDIR) {
      this.nlink++;
      node.parent = this;
    }
  }
  private take(name: string): TmpfsNode {
    const node = this.entries!.get(name)!.node;
    this.entries!.delete(name);
    if (node.type === S_IFDIR) {
      this.nlink--;
      node.parent = null;
    }
    return node;
  }

  private add(name: string, type: number, node: NewNode, rdev = 0): TmpfsNode | number {
    if (this.entries === null) return -ENOTDIR;
    if (this.nlink === 0) return -ENOENT;
    if (this.entries.has(name)) return -EEXIST;
    const made = this.fs.newNode(type, node, rdev);
    if (typeof made === "number") return made;
    this.insert(name, made);
    this.touchModified();
    return made;
  }

  override lookup(name: string): Inode | number {
    if (this.entries === null) return -ENOTDIR;
    return this.entries.get(name)?.node ?? -ENOENT;
  }
  override create(name: string, node: NewNode): Inode | number {
    return this.add(name, S_IFREG, node);
  }
  override mkdir(name: string, node: NewNode): Inode | number {
    return this.add(name, S_IFDIR, node);
  }
  override mknod(name: string, node: NewNode, rdev: number): Inode | number {
    return this.add(name, node.mode & S_IFMT, node, rdev);
  }
  override symlink(name: string, target: string, node: NewNode): Inode | number {
    const made = this.add(name, S_IFLNK, node);
    if (typeof made === "number") return made;
    const room = made.setTarget(target);
    if (room < 0) {
      this.take(name).dropName();
      return room;
    }
    return made;
  }
  override tmpfile(node: NewNode): Inode | number {
    const made = this.fs.newNode(S_IFREG, node, 0);
    if (typeof made !== "number") made.nlink = 0;
    return made;
  }

  override link(name: string, inode: Inode): number {
    if (!(inode instanceof TmpfsNode) || inode.fs !== this.fs || this.entries === null) return -EINVAL;
    if (this.nlink === 0) return -ENOENT;
    if (this.entries.has(name)) return -EEXIST;
    const room = inode.addName();
    if (room < 0) return room;
    inode.touchChanged();
    this.insert(name, inode);
    this.touchModified();
    return 0;
  }

  override unlink(name: string): number {
    const entry = this.entries?.get(name);
    if (entry === undefined) return -ENOENT;
    if (entry.node.type === S_IFDIR) return -EISDIR;
    this.take(name).dropName();
    this.touchModified();
    return 0;
  }

  override rmdir(name: string): number {
    const entry = this.entries?.get(name);
    if (entry === undefined) return -ENOENT;
    if (entry.node.entries === null) return -ENOTDIR;
    if (entry.node.entries.size > 0) return -ENOTEMPTY;
    this.take(name).dropName();
    this.touchModified();
    return 0;
  }

  override rename(name: string, newDir: Inode, newName: string, flags: number): number {
    if (!(newDir instanceof TmpfsNode) || newDir.entries === null || this.entries === null) return -EINVAL;
    if (newDir.nlink === 0) return -ENOENT;
    const entry = this.entries.get(name);
    if (entry === undefined) return -ENOENT;
    const old = newDir.entries.get(newName);
    if (flags & RENAME_EXCHANGE) {
      if (old === undefined) return -ENOENT;
      this.take(name);
      newDir.take(newName);
      this.insert(name, old.node);
      newDir.insert(newName, entry.node);
      old.node.touchChanged();
    } else {
      let whiteout: TmpfsNode | null = null;
      if (old !== undefined) {
        if (flags & RENAME_NOREPLACE) return -EEXIST;
        if (old.node === entry.node) return 0;
        if (old.node.entries !== null && old.node.entries.size > 0) return -ENOTEMPTY;
      }
      if (flags & RENAME_WHITEOUT) {
        const made = this.fs.newNode(S_IFCHR, { mode: 0, uid: this.uid, gid: this.gid }, 0);
        if (typeof made === "number") return made;
        whiteout = made;
      }
      if (old !== undefined) newDir.take(newName).dropName();
      this.take(name);
      newDir.insert(newName, entry.node);
      if (whiteout !== null) this.insert(name, whiteout);
    }
    entry.node.touchChanged();
    this.touchModified();
    if (newDir !== this) newDir.touchModified();
    return 0;
  }

  /** One name more: 0 or -ENOSPC. */
  addName(): number {
    if (this.nlink > 0) {
      if (!this.fs.takeInode()) return -ENOSPC;
      this.moreNames++;
    }
    this.nlink++;
    return 0;
  }
  /** One name less. */
  dropName(): void {
    if (this.moreNames > 0) {
      this.moreNames--;
      this.fs.giveInode();
    }
    this.nlink = this.type === S_IFDIR ? 0 : this.nlink - 1;
    this.touchChanged();
    this.freeIfUnused();
  }
  freeIfUnused(): void {
    if ((this.nlink > 0 && !this.fs.released) || this.holders > 0 || this.freed) return;
    this.freed = true;
    this.content?.free();
    this.fs.refund(this.xattrPages);
    this.xattrPages = 0;
    this.xattrs = null;
    this.fs.forget(this);
  }
  override evict(): void {
    this.freeIfUnused();
  }

  /** Of a link, once: a long one takes a page. 0 or -ENOSPC. */
  setTarget(target: string): number {
    if (target.length > SHORT_TARGET) {
      if (this.fs.charge(1) === 0) return -ENOSPC;
      this.xattrPages++;
    }
    this.target = target;
    return 0;
  }
  override readlink(_task: Task): string | number {
    if (this.type !== S_IFLNK) return -EINVAL;
    this.touchAccessed();
    return this.target;
  }

  // Extended attributes.

  override getXattr(name: string): Uint8Array | number {
    return this.xattrs?.get(name) ?? -ENODATA;
  }
  override setXattr(name: string, value: Uint8Array, flags: number): number {
    const old = this.xattrs?.get(name);
    if (flags & XATTR_CREATE && old !== undefined) return -EEXIST;
    if (flags & XATTR_REPLACE && old === undefined) return -ENODATA;
    let total = name.length + value.length + 64;
    if (this.xattrs !== null)
      for (const [other, bytes] of this.xattrs) if (other !== name) total += other.length + bytes.length + 64;
    if (total > XATTRS_MAX) return -ENOSPC;
    const pages = Math.ceil(total / PAGE);
    if (pages > this.xattrPages) {
      const more = pages - this.xattrPages;
      const granted = this.fs.charge(more);
      if (granted < more) {
        this.fs.refund(granted);
        return -ENOSPC;
      }
      this.xattrPages = pages;
    }
    this.xattrs ??= new Map();
    this.xattrs.set(name, value);
    this.touchChanged();
    return 0;
  }
  override listXattr(): string[] {
    return this.xattrs === null ? [] : [...this.xattrs.keys()];
  }
  override removeXattr(name: string): number {
    if (!this.xattrs?.delete(name)) return -ENODATA;
    this.touchChanged();
    return 0;
  }
}

type Entries = Map<string, TmpfsEntry>;
persistent("tmpfs-node", TmpfsNode, {
  as: {
    // Three values for each, one after the other, since there are many.
    entries: {
      save: (entries: Entries | null) =>
        entries && [...entries].flatMap(([name, { node, cookie }]) => [name, node, cookie]),
      restore(saved: (string | TmpfsNode | number)[] | null) {
        if (saved === null) return null;
        const entries: Entries = new Map();
        for (let i = 0; i < saved.length; i += 3)
          entries.set(saved[i] as string, { node: saved[i + 1] as TmpfsNode, cookie: saved[i + 2] as number });
        return entries;
      },
    },
  },
});
