/**
 * Inodes of an overlay: a lower file, what was changed about it, or a file that is new.
 *
 * `upper` holds the attributes once any has changed, and the contents once `dataInUpper`. A directory's `entries` say
 * what differs from the lower directory: a node that stands there, or null where a lower name is hidden.
 *
 * Invariant: a node with changes is pinned: its directory's entries lead to it, and theirs up to the root, and its lower
 * inode is held, so that other lower names of the same file lead to it too (`front`).
 */
import { EEXIST, EINVAL, EISDIR, ENOENT, ENOTEMPTY, ENXIO, EXDEV } from "../../abi/errno.ts";
import { RENAME_EXCHANGE, RENAME_WHITEOUT } from "../../abi/fcntl.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from "../../abi/stat.ts";
import { openFifo } from "../../ipc/pipe.ts";
import { Slice } from "../../slice.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { openDevice } from "../../vfs/devices.ts";
import type { File } from "../../vfs/file.ts";
import { type AttrChanges, Inode, type NewNode, type Ownership, type Stat } from "../../vfs/inode.ts";
import { KernelIo } from "../../vfs/io.ts";
import type { TmpfsNode } from "../tmpfs/node.ts";
import { OverlayDirectoryFile, OverlayFile } from "./file.ts";
import type { OverlayFs } from "./overlay.ts";

/** What a directory of an ordinary file system shows. */
const DIRECTORY_SIZE = 4096;
const DIRECTORY_BLOCKS = 8;
const COPY_SIZE = 1 << 20;
let copyBuffer: Uint8Array | null = null;

export class OverlayNode extends Inode {
  /** Regular files: the contents are the upper's. */
  dataInUpper = false;
  /** While they are being copied up: so many bytes are there. */
  private copiedUp = 0;
  /** Directories: differences from the lower directory. */
  entries: Map<string, OverlayNode | null> | null = null;
  /** It is where `parent.entries` leads to, or has no place any more: looking up its old name is not enough. */
  pinned = false;
  /** Where an unpinned node was found. */
  private parent: OverlayNode | null = null;
  private name = "";
  private lowerHeld = false;

  constructor(
    readonly fs: OverlayFs,
    readonly ino: number,
    readonly type: number,
    /** st_dev. */
    private dev: number,
    readonly lower: Inode | null,
    public upper: TmpfsNode | null,
  ) {
    super();
    if (lower !== null) lower.front = this;
    else this.dataInUpper = true;
  }

  // Identity.

  protected override onHeld(): void {
    this.lower?.hold();
    this.upper?.hold();
  }
  override evict(): void {
    this.lower?.letGo();
    this.upper?.letGo();
    this.letLowerGo();
  }
  override forgotten(): void {
    if (this.lower !== null && this.lower.holders === 0) this.lower.forgotten();
  }
  /** A file whose last name and holder are gone needs its lower one no more. */
  private letLowerGo(): void {
    if (!this.lowerHeld || this.holders > 0 || this.upper === null || this.upper.nlink > 0) return;
    this.lowerHeld = false;
    this.lower!.letGo();
  }

  override get isComplete(): boolean {
    return this.upper !== null && this.type !== S_IFDIR && (this.dataInUpper || this.type !== S_IFREG);
  }
  override get revalidates(): boolean {
    return this.lower !== null && this.fs.revalidates;
  }

  /** Makes sure that walking by names leads here. */
  private pin(): void {
    if (this.pinned) return;
    this.pinned = true;
    const { parent } = this;
    if (parent === null) return;
    parent.pin();
    parent.entries ??= new Map();
    parent.entries.set(this.name, this);
  }

  /** Copies the attributes up; contents stay below. 0 or -errno. */
  copyUp(): number {
    if (this.upper !== null) return 0;
    const lower = this.lower!;
    const stat = lower.getattr();
    if (typeof stat === "number") return stat;
    const made = this.fs.upper.newNode(this.type, stat, stat.rdev, this.ino);
    if (typeof made === "number") return made;
    made.nlink = stat.nlink;
    made.atimeSec = stat.atime.sec;
    made.atimeNsec = stat.atime.nsec;
    made.mtimeSec = stat.mtime.sec;
    made.mtimeNsec = stat.mtime.nsec;
    made.ctimeSec = stat.ctime.sec;
    made.ctimeNsec = stat.ctime.nsec;
    if (stat.btime !== undefined) {
      made.btimeSec = stat.btime.sec;
      made.btimeNsec = stat.btime.nsec;
    }
    if (this.type === S_IFLNK) {
      const target = lower.readlink(this.fs.actor);
      if (typeof target === "number") return target;
      made.target = target;
    } else if (this.type === S_IFREG || this.type === S_IFDIR) {
      const names = lower.listXattr();
      if (typeof names !== "number")
        for (const name of names) {
          const value = lower.getXattr(name);
          if (typeof value !== "number") made.setXattr(name, value, 0);
        }
      made.ctimeSec = stat.ctime.sec;
      made.ctimeNsec = stat.ctime.nsec;
    }
    this.dev = stat.dev;
    this.upper = made;
    lower.hold();
    this.lowerHeld = true;
    if (this.holders > 0) made.hold();
    this.pin();
    return 0;
  }

  /** Copies up to `length` bytes of contents up. 0 or -errno: then nothing has changed. */
  copyUpData(length = Number.POSITIVE_INFINITY): number {
    return this.copyUpSome(length, null);
  }
  /** The same for a task, in slices: 0, -errno or BLOCKED. */
  private copyUpInSlices(task: Task, length = Number.POSITIVE_INFINITY): number {
    const result = this.copyUpSome(length, new Slice(task.kernel));
    return result > 0 ? task.giveWay() : result;
  }
  override prepareResize(task: Task, size: number): number {
    return this.type === S_IFREG ? this.copyUpInSlices(task, size) : 0;
  }

  /** As far as a slice goes: 0, -errno, or 1 when there is more to do. */
  private copyUpSome(length: number, slice: Slice | null): number {
    if (this.dataInUpper) return 0;
    const copied = this.copyUp();
    if (copied < 0) return copied;
    if (length > 0) {
      const result = this.copyContents(length, slice);
      if (result > 0) return result;
      if (result < 0) {
        this.copiedUp = 0;
        this.upper!.content!.truncate(0);
        return result;
      }
    } else this.upper!.content!.truncate(0);
    this.dataInUpper = true;
    return 0;
  }
  private copyContents(length: number, slice: Slice | null): number {
    const task = this.fs.actor;
    const file = this.lower!.open(this.fs.placeOf(this.lower!), 0, task);
    if (typeof file === "number") return file;
    const content = this.upper!.content!;
    copyBuffer ??= new Uint8Array(COPY_SIZE);
    const end = Math.min(file.size(), length);
    let result = Math.min(0, end);
    let at = this.copiedUp;
    while (at < end && result >= 0) {
      if (slice?.over === true) {
        this.copiedUp = at;
        file.release();
        return 1;
      }
      // Holes stay holes; a file system that cannot tell has none.
      const data = file.seekData(at, false);
      if (data === -ENXIO) break;
      if (data > at) at = data;
      const n = file.read(task, new KernelIo(copyBuffer, 0, Math.min(COPY_SIZE, end - at)), at);
      if (n <= 0) {
        result = n;
        break;
      }
      const wrote = content.write(new KernelIo(copyBuffer, 0, n), at);
      if (wrote < 0) result = wrote;
      at += wrote;
    }
    if (result >= 0) result = content.truncate(Math.max(0, end));
    file.release();
    return result;
  }

  // Attributes.

  override ownership(): Ownership | number {
    return this.upper ?? this.lower!.ownership();
  }
  override getattr(): Stat | number {
    if (this.upper === null) return this.lower!.getattr();
    const stat = this.upper.getattr();
    stat.ino = this.ino;
    stat.dev = this.dev;
    if (this.type === S_IFDIR) {
      stat.size = DIRECTORY_SIZE;
      stat.blocks = DIRECTORY_BLOCKS;
    } else if (!this.dataInUpper && this.type === S_IFREG) {
      const below = this.lower!.getattr();
      if (typeof below === "number") return below;
      stat.size = below.size;
      stat.blocks = below.blocks;
    }
    return stat;
  }
  override getattrFresh(): Stat | number {
    return this.upper === null ? this.lower!.getattrFresh() : this.getattr();
  }
  override setattr(changes: AttrChanges): number {
    if (changes.size !== undefined) {
      const resized = this.resize(changes.size);
      if (resized < 0) return resized;
    }
    const result = this.copyUp();
    if (result < 0) return result;
    const { size: _, ...rest } = changes;
    return this.upper!.setattr(rest);
  }
  resize(size: number): number {
    if (this.type !== S_IFREG) return this.type === S_IFDIR ? -EISDIR : -EINVAL;
    if (size < 0) return -EINVAL;
    const result = this.copyUpData(size);
    return result < 0 ? result : this.upper!.resize(size);
  }

  // Directories.

  override lookup(name: string, task: Task, known?: Inode | null): Inode | number {
    const entry = this.entries?.get(name);
    if (entry !== undefined) return entry ?? -ENOENT;
    if (this.lower === null || this.upper?.nlink === 0) return -ENOENT;
    const before = known instanceof OverlayNode ? known.lower : null;
    const found = this.lower.lookup(name, task, before);
    if (typeof found === "number") return found;
    return this.over(name, found);
  }
  /** The overlay's node for what was found below. */
  private over(name: string, found: Inode): OverlayNode {
    let node = found.front as OverlayNode | null;
    if (node === null) node = new OverlayNode(this.fs, found.ino, found.type, this.dev, found, null);
    if (!node.pinned) {
      node.parent = this;
      node.name = name;
    }
    return node;
  }

  /** A change in this directory: its attributes come up, its times move. */
  private changing(): number {
    if (this.upper?.nlink === 0) return -ENOENT;
    const result = this.copyUp();
    if (result < 0) return result;
    this.entries ??= new Map();
    this.upper!.touchModified();
    return 0;
  }
  private put(name: string, node: OverlayNode): void {
    this.entries!.set(name, node);
    node.pinned = true;
    node.parent = this;
    node.name = name;
    if (node.type === S_IFDIR) this.upper!.nlink++;
  }
  /** Takes a name out; a lower one of that name stays hidden. */
  private hide(name: string, node: OverlayNode): void {
    const below = this.lower === null ? -ENOENT : this.lower.lookup(name, this.fs.actor);
    if (below === -ENOENT) this.entries!.delete(name);
    else this.entries!.set(name, null);
    node.pinned = true;
    if (node.type === S_IFDIR) this.upper!.nlink--;
  }

  private add(name: string, type: number, node: NewNode, rdev: number): OverlayNode | number {
    if (this.entries?.get(name)) return -EEXIST;
    const result = this.changing();
    if (result < 0) return result;
    const ino = this.fs.nextIno();
    const upper = this.fs.upper.newNode(type, node, rdev, ino);
    if (typeof upper === "number") return upper;
    const made = new OverlayNode(this.fs, ino, type, this.dev, null, upper);
    this.put(name, made);
    return made;
  }
  override create(name: string, node: NewNode): Inode | number {
    return this.add(name, S_IFREG, node, 0);
  }
  override mkdir(name: string, node: NewNode): Inode | number {
    return this.add(name, S_IFDIR, node, 0);
  }
  override mknod(name: string, node: NewNode, rdev: number): Inode | number {
    return this.add(name, node.mode & S_IFMT, node, rdev);
  }
  override symlink(name: string, target: string, node: NewNode): Inode | number {
    const made = this.add(name, S_IFLNK, node, 0);
    if (typeof made === "number") return made;
    const room = made.upper!.setTarget(target);
    if (room < 0) {
      this.hide(name, made);
      made.dropName();
      return room;
    }
    return made;
  }
  override tmpfile(node: NewNode): Inode | number {
    if (this.upper?.nlink === 0) return -ENOENT;
    const ino = this.fs.nextIno();
    const upper = this.fs.upper.newNode(S_IFREG, node, 0, ino);
    if (typeof upper === "number") return upper;
    upper.nlink = 0;
    const made = new OverlayNode(this.fs, ino, S_IFREG, this.dev, null, upper);
    made.pinned = true;
    return made;
  }

  override link(name: string, inode: Inode): number {
    if (!(inode instanceof OverlayNode) || inode.fs !== this.fs) return -EXDEV;
    let result = inode.copyUp();
    if (result === 0) result = this.changing();
    if (result < 0) return result;
    const room = inode.upper!.addName();
    if (room < 0) return room;
    inode.upper!.touchChanged();
    this.put(name, inode);
    return 0;
  }

  override unlink(name: string, inode: Inode): number {
    const victim = inode as OverlayNode;
    let result = victim.prepareDrop();
    if (result === 0) result = this.changing();
    if (result < 0) return result;
    this.hide(name, victim);
    victim.dropName();
    return 0;
  }
  override rmdir(name: string, inode: Inode): number {
    const empty = (inode as OverlayNode).isEmpty();
    return empty < 0 ? empty : this.unlink(name, inode);
  }

  /** Before a name goes: attributes must be above if anyone could still look at the link count. */
  private prepareDrop(): number {
    if (this.upper !== null) return 0;
    if (this.type === S_IFDIR || this.holders > 0) return this.copyUp();
    const stat = this.lower!.getattr();
    if (typeof stat === "number") return stat === -ENOENT ? 0 : stat;
    return stat.nlink > 1 ? this.copyUp() : 0;
  }
  private dropName(): void {
    this.upper?.dropName();
    this.letLowerGo();
  }

  /** 0, -ENOTEMPTY or another errno. */
  private isEmpty(): number {
    if (this.entries !== null) for (const entry of this.entries.values()) if (entry !== null) return -ENOTEMPTY;
    if (this.lower === null) return 0;
    let found = 0;
    const result = this.listLower((name) => {
      if (name !== "." && name !== ".." && !this.entries?.has(name)) found++;
      return found === 0;
    });
    return result < 0 ? result : found > 0 ? -ENOTEMPTY : 0;
  }
  /** Gives the lower directory's entries to `emit` until it says false. */
  listLower(emit: (name: string, ino: number, type: number) => boolean): number {
    const { fs } = this;
    const task = fs.actor;
    const file = this.lower!.open(fs.placeOf(this.lower!), 0, task);
    if (typeof file === "number") return file === -ENOENT ? 0 : file;
    const result = file.readdir(task, emit);
    file.release();
    return result;
  }

  override rename(
    name: string,
    newDir: Inode,
    newName: string,
    flags: number,
    moved: Inode,
    replaced: Inode | null,
  ): number {
    if (!(newDir instanceof OverlayNode) || newDir.fs !== this.fs) return -EXDEV;
    const node = moved as OverlayNode;
    const old = replaced as OverlayNode | null;
    const exchange = (flags & RENAME_EXCHANGE) !== 0;
    let result = node.copyUp();
    if (result === 0 && old !== null) {
      if (exchange) result = old.copyUp();
      else {
        if (old.type === S_IFDIR) result = old.isEmpty();
        if (result === 0) result = old.prepareDrop();
      }
    }
    if (result === 0) result = this.changing();
    if (result === 0) result = newDir.changing();
    if (result < 0) return result;
    if (exchange) {
      this.hide(name, node);
      newDir.hide(newName, old!);
      this.put(name, old!);
      newDir.put(newName, node);
      old!.upper!.touchChanged();
    } else {
      let whiteout: OverlayNode | null = null;
      if (flags & RENAME_WHITEOUT) {
        const ino = this.fs.nextIno();
        const upper = this.fs.upper.newNode(S_IFCHR, { mode: 0, uid: 0, gid: 0 }, 0, ino);
        if (typeof upper === "number") return upper;
        whiteout = new OverlayNode(this.fs, ino, S_IFCHR, this.dev, null, upper);
      }
      if (old !== null) {
        newDir.hide(newName, old);
        old.dropName();
      }
      this.hide(name, node);
      newDir.put(newName, node);
      if (whiteout !== null) this.put(name, whiteout);
    }
    node.upper!.touchChanged();
    return 0;
  }

  override readlink(task: Task): string | number {
    if (this.type !== S_IFLNK) return -EINVAL;
    return this.upper === null ? this.lower!.readlink(task) : this.upper.target;
  }

  override open(path: Path, flags: number, task: Task): File | number {
    switch (this.type) {
      case S_IFREG: {
        if ((flags & 3) !== 0) {
          const result = this.copyUpInSlices(task);
          if (result !== 0) return result;
        }
        return OverlayFile.open(flags, path, this, task);
      }
      case S_IFDIR:
        return new OverlayDirectoryFile(flags, path, this);
      case S_IFIFO:
        return openFifo(this, flags, task, path);
      case S_IFCHR:
      case S_IFBLK: {
        const stat = this.getattr();
        if (typeof stat === "number") return stat;
        return openDevice(this.fs.kernel, stat.rdev, this.type === S_IFBLK, path, flags, task);
      }
      default:
        return -ENXIO;
    }
  }

  // Extended attributes.

  override getXattr(name: string): Uint8Array | number {
    return (this.upper ?? this.lower!).getXattr(name);
  }
  override listXattr(): string[] | number {
    return (this.upper ?? this.lower!).listXattr();
  }
  override setXattr(name: string, value: Uint8Array, flags: number): number {
    const result = this.copyUp();
    return result < 0 ? result : this.upper!.setXattr(name, value, flags);
  }
  override removeXattr(name: string): number {
    const result = this.copyUp();
    return result < 0 ? result : this.upper!.removeXattr(name);
  }
}

persistent("overlay-node", OverlayNode);
