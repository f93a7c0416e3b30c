/**
 * Inodes of a host directory file system: a host inode number, and the place (directory and name) to reach it by.
 * `ino` is what guests see: the host's number as of when the node was made, which it keeps when the kernel is restored where
 * the file has another one.
 *
 * Invariant: while a node is held it is the only one for its host inode (HostDevice.nodes). `fd` is a directory's O_PATH
 * descriptor, which the file system may close at any time to open another; `readFd` and `writeFd` of a regular file live
 * as long as somebody has it open.
 */

import { chmodHost, createRegular, openDirectory, openRegular, reopen } from "../../../native/files.ts";
import { closeOfUser, guestMemfd, ofUser, ownerOf } from "../../../native/guest-descriptors.ts";
import {
  closeFd,
  fchownat,
  fgetxattr,
  flistxattr,
  fremovexattr,
  fsetxattr,
  ftruncate,
  linkat,
  mkdirat,
  mknodat,
  readlinkat,
  renameat2,
  symlinkat,
  unlinkat,
  utimensat,
} from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { decodeName, encodeCString } from "../../abi/bytes.ts";
import {
  EACCES,
  EINVAL,
  EISDIR,
  ENODATA,
  ENOENT,
  ENOTDIR,
  ENOTSUP,
  ENXIO,
  EOPNOTSUPP,
  EROFS,
  ESTALE,
  EXDEV,
  errnoName,
} from "../../abi/errno.ts";
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  RENAME_EXCHANGE,
  UTIME_OMIT,
} from "../../abi/fcntl.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from "../../abi/stat.ts";
import { openFifo } from "../../ipc/pipe.ts";
import type { Stored } from "../../state/host.ts";
import { loadMemoryFile } from "../../state/memory-file.ts";
import { persistent } from "../../state/registry.ts";
import type { Restore } from "../../state/restore.ts";
import type { Save } from "../../state/save.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { openDevice } from "../../vfs/devices.ts";
import type { File } from "../../vfs/file.ts";
import type { HostStat } from "../../vfs/host-stat.ts";
import {
  type AttrChanges,
  FileState,
  Inode,
  type NewNode,
  type Ownership,
  type Stat,
  type Timespec,
} from "../../vfs/inode.ts";
import { ReadOnlyTwin } from "../../vfs/read-only-twin.ts";
import { HostDirectoryFile, HostFile } from "./file.ts";
import type { HostDevice } from "./host-device.ts";
import { cname, EMPTY_NAME, type HostFs } from "./host-fs.ts";

const XATTR_MAX = 65536;
/** In a restored kernel, of what nobody has looked at yet: its name leads to it. */
const UNKNOWN = -1;
/** In a restored kernel, of what no name leads to. */
const GONE = -2;

/** Of a path in a message. */
const PATH_SHOWN = 4096;
const isName = (name: string): boolean =>
  name !== "" && name !== "." && name !== ".." && name.length <= NAME_MAX && !/[/\0]/.test(name);

/** What a saved kernel has of a held file. */
interface SavedFile {
  /** Of an open one. */
  readonly size?: number;
  readonly mtime?: Timespec;
  /** No name led to it. */
  readonly gone?: { readonly attributes?: Stat; readonly content?: Stored };
}
/** In a restored kernel, until they have been opened again. */
const savedFiles = new WeakMap<HostNode, SavedFile>();
const owners = new WeakMap<Mapped, number>();
const NAME_MAX = 255;
const MFD_CLOEXEC = 1;
const MEMORY_NAME = encodeCString("runts-file");

/** A host descriptor that guests may map. */
class Mapped implements HostMemory {
  private readonly twin: ReadOnlyTwin | null;
  constructor(
    public fd: number,
    writes: boolean,
  ) {
    this.twin = writes ? new ReadOnlyTwin() : null;
  }
  get readFd(): number {
    return this.twin === null ? this.fd : this.twin.of(this.fd);
  }
  /** In a restored kernel, once: the user whose descriptor this was. */
  takeOwner(): number {
    const uid = owners.get(this) ?? 0;
    owners.delete(this);
    return uid;
  }
  /** `own`: the descriptor too, not only what was made of it. */
  close(own: boolean): void {
    if (own && this.fd >= 0) closeOfUser(this.fd);
    this.twin?.close();
  }
}

export class HostNode extends Inode implements Ownership {
  readonly ino: number;
  readonly type: number;
  mode = 0;
  uid = 0;
  gid = 0;
  /** Directories: O_PATH descriptor, -1 when closed. */
  fd = -1;
  fdRecent = false;
  /** A directory that has been removed: its descriptor goes when nobody is in it. */
  private removed = false;
  /** Regular files: descriptors for reading and for reading and writing, with what is mapped through them. */
  private read: Mapped | null = null;
  private write: Mapped | null = null;
  private writeOnly = false;
  /** Open files that use them. */
  private users = 0;
  /** The host's inode number, or UNKNOWN, or GONE. */
  private hostIno: number;
  /** Attributes of what no name of the host leads to since a restore; contents are in a memory file. */
  private kept: Stat | null = null;
  /** What was open was not there any more at a restore: it is stale. */
  lost = false;

  constructor(
    readonly fs: HostFs,
    public device: HostDevice,
    public parent: HostNode | null,
    public name: string,
    seen: HostStat,
  ) {
    super();
    this.hostIno = seen.ino;
    this.ino = device.inoOf(seen.ino);
    this.type = seen.type;
    this.update(seen);
  }

  private update(seen: HostStat): void {
    this.mode = seen.mode;
    this.uid = seen.uid;
    this.gid = seen.gid;
  }

  // Identity.

  /** In a restored kernel: what was looked at last is what it stands for. */
  adopt(): void {
    const { fs } = this;
    this.device = fs.deviceSeen(this.device);
    this.hostIno = fs.seen.ino;
    this.device.show(this.hostIno, this.ino);
    this.update(fs.seen);
  }
  /** There it stands for what has its name now. 0 or -errno. */
  private identify(): number {
    if (this.hostIno >= 0) return 0;
    if (this.hostIno === GONE || this.parent === null) return -ENOENT;
    const above = this.parent.directory();
    if (above < 0) return above;
    const { seen } = this.fs;
    const result = seen.read(above, cname(this.name));
    if (result < 0) return result;
    if (seen.type !== this.type) return -ENOENT;
    this.adopt();
    return 0;
  }

  override hold(): void {
    super.hold();
    this.state!.holders++;
  }
  override letGo(): void {
    const state = this.state!;
    if (--state.holders === 0) this.device.files?.drop(this.hostIno, state);
    super.letGo();
  }
  protected override onHeld(): void {
    if (this.identify() === 0) this.device.nodes.set(this.hostIno, this);
    this.state = this.makeState();
  }
  protected override findState(): FileState | null {
    return this.state ?? (this.identify() < 0 ? null : this.device.files!.find(this.hostIno));
  }
  protected override makeState(): FileState {
    this.state ??= this.identify() < 0 ? new FileState() : null;
    return this.state ?? this.device.files!.make(this.hostIno);
  }
  override get allHolders(): number {
    return this.findState()?.holders ?? 0;
  }
  override get identity(): object {
    return this.state ?? this;
  }
  override forgotten(): void {
    this.evict();
  }
  override evict(): void {
    this.state = null;
    if (this.users === 0) this.closeFiles();
    if (this.device.nodes.get(this.hostIno) === this) this.device.nodes.delete(this.hostIno);
    if (this.removed) this.fs.forget(this);
  }
  /** Its last name is going, and no descriptor keeps it: attributes for those who still hold it; null: it is not so. */
  private beforeRemoval(): Stat | null {
    if (this.type === S_IFDIR || this.identify() < 0) return null;
    const held = this.device.files!.heldNodes(this.hostIno);
    if (held.length === 0 || held.some(({ read, write }) => read !== null || write !== null)) return null;
    const stat = this.getattr();
    return typeof stat === "number" || stat.nlink > 1 ? null : { ...stat, nlink: 0 };
  }
  /** Its name has been removed. `left`: what `beforeRemoval` said. */
  private onRemoved(left: Stat | null): void {
    if (left !== null) {
      const files = this.device.files!;
      // Those who watch it are still to be told.
      this.state = files.find(this.hostIno);
      for (const node of new Set([this, ...files.heldNodes(this.hostIno)])) node.lose(left);
    }
    if (this.type !== S_IFDIR) return;
    this.removed = true;
    if (this.holders === 0) this.fs.forget(this);
  }

  /** The host may give its number to another file now. */
  private lose(left: Stat): void {
    if (this.state !== null) this.device.files!.drop(this.hostIno, this.state);
    if (this.device.nodes.get(this.hostIno) === this) this.device.nodes.delete(this.hostIno);
    this.hostIno = GONE;
    this.kept = { ...left, dev: this.device.guest, ino: this.ino };
  }

  // Descriptors.

  /** The directory's descriptor, opened if need be; -errno. */
  directory(): number {
    if (this.fd >= 0) {
      this.fdRecent = true;
      return this.fd;
    }
    if (this.type !== S_IFDIR) return -ENOTDIR;
    if (this.parent === null || this.hostIno === GONE) return -ENOENT;
    const above = this.parent.directory();
    if (above < 0) return above;
    const fd = openDirectory(above, cname(this.name), O_PATH);
    if (fd < 0) return fd;
    // The name may stand for another directory by now.
    const result = this.fs.seen.read(fd);
    if (result === 0 && this.hostIno === UNKNOWN) this.adopt();
    if (result < 0 || this.fs.seen.ino !== this.hostIno) {
      closeFd(fd);
      return result < 0 ? result : -ENOENT;
    }
    this.fd = fd;
    this.fs.keep(this);
    return fd;
  }
  dropDirectory(): void {
    if (this.fd >= 0 && this.parent !== null) {
      closeFd(this.fd);
      this.fd = -1;
    }
  }

  /** Opens the regular file on the host for a user, for writing too if asked; 0 or -errno. Undone by `closeHost`. */
  openHost(forWrite: boolean, uid: number): number {
    if (forWrite ? this.write === null : this.read === null && (this.write === null || this.writeOnly)) {
      if (this.parent === null) return this.openRoot(forWrite);
      const known = this.identify();
      if (known < 0) return known;
      const above = this.parent.directory();
      if (above < 0) return above;
      let fd = openRegular(above, cname(this.name), forWrite ? O_RDWR : O_RDONLY, this.hostIno);
      const writeOnly = fd === -EACCES && forWrite;
      if (writeOnly) fd = openRegular(above, cname(this.name), O_WRONLY, this.hostIno);
      fd = ofUser(uid, fd);
      if (fd < 0) return fd === -ESTALE ? -ENOENT : fd;
      if (forWrite) {
        this.write = new Mapped(fd, true);
        this.writeOnly = writeOnly;
      } else this.read = new Mapped(fd, false);
    }
    this.users++;
    return 0;
  }
  /** The file system shows a single file: its descriptor is the one that was given. */
  private openRoot(forWrite: boolean): number {
    const memory = new Mapped(this.fs.rootFd, true);
    if (forWrite) this.write = memory;
    else this.read = memory;
    this.users++;
    return 0;
  }
  get inUse(): boolean {
    return this.users > 0;
  }
  closeHost(): void {
    if (--this.users === 0) this.closeFiles();
  }
  private closeFiles(): void {
    const { read, write } = this;
    this.read = null;
    this.write = null;
    const own = this.parent !== null;
    read?.close(own);
    write?.close(own);
    if (!own && this.fs.released) this.fs.closeRoot();
  }
  memory(forWrite: boolean): HostMemory | null {
    return forWrite ? this.write : (this.read ?? this.write);
  }

  // Attributes.

  override ownership(): Ownership {
    return this;
  }

  /** Looks at it anew: through a descriptor, or by name. */
  private stat(): number {
    const { seen } = this.fs;
    const open = this.read ?? this.write;
    let result: number;
    if (open !== null) result = this.lost ? -ESTALE : seen.read(open.fd);
    else if (this.fd >= 0) result = seen.read(this.fd);
    else {
      if (this.parent === null) return -ENOENT;
      const above = this.parent.directory();
      if (above < 0) return above;
      result = seen.read(above, cname(this.name));
      if (result === 0 && this.hostIno === UNKNOWN && seen.type === this.type) this.adopt();
      if (result === 0 && seen.ino !== this.hostIno) result = -ENOENT;
    }
    if (result === 0) this.update(seen);
    return result;
  }
  override getattr(): Stat | number {
    if (this.kept !== null && !this.lost) return this.attributesKept(this.kept);
    const result = this.stat();
    return result < 0 ? result : this.decode();
  }
  override getattrFresh(): Stat | number {
    return this.fs.seen.owner === this ? this.decode() : this.getattr();
  }
  private decode(): Stat {
    const { seen } = this.fs;
    const stat = seen.show(this.device.guest);
    stat.ino = this.ino;
    const { btime } = seen;
    if (btime !== null) stat.btime = btime;
    return stat;
  }

  /** Of what no name leads to since a restore. */
  private attributesKept(kept: Stat): Stat {
    const stat = { ...kept, mode: this.mode, uid: this.uid, gid: this.gid };
    const { seen } = this.fs;
    const memory = this.read ?? this.write;
    if (memory === null || seen.read(memory.fd) < 0) return stat;
    const { size, blocks, atime, mtime } = seen.show(kept.dev);
    return { ...stat, size, blocks: size === kept.size ? kept.blocks : blocks, atime, mtime };
  }

  /** Runs `change` with a descriptor and a name that lead here: its own if it has one, which outlives the name. */
  private at(change: (dirfd: number, name: number, flags: number) => number): number {
    if (this.fs.readonly) return -EROFS;
    this.fs.seen.owner = null;
    const own = this.read?.fd ?? this.write?.fd ?? this.fd;
    if (own >= 0) return change(own, EMPTY_NAME, AT_EMPTY_PATH);
    if (this.parent === null) return change(this.fs.rootFd, EMPTY_NAME, AT_EMPTY_PATH);
    const above = this.parent.directory();
    return above < 0 ? above : change(above, cname(this.name), AT_SYMLINK_NOFOLLOW);
  }

  override setattr(changes: AttrChanges): number {
    if (this.fs.readonly) return -EROFS;
    let result = 0;
    if (changes.size !== undefined) result = this.resize(changes.size);
    if (result === 0 && this.kept !== null) {
      const { mode = this.mode, uid = this.uid, gid = this.gid } = changes;
      this.mode = this.type | (mode & 0o7777);
      this.uid = uid;
      this.gid = gid;
    } else if (result === 0 && (changes.uid !== undefined || changes.gid !== undefined)) {
      const uid = changes.uid ?? 0xffffffff;
      const gid = changes.gid ?? 0xffffffff;
      result = this.at((dirfd, name, flags) => fchownat(dirfd, name, uid, gid, flags));
    }
    if (result === 0 && this.kept === null && changes.mode !== undefined) {
      const mode = changes.mode & 0o7777;
      result = this.at((dirfd, name) => chmodHost(dirfd, name, mode));
    }
    if (result === 0 && (changes.atime !== undefined || changes.mtime !== undefined)) {
      const { atime, mtime } = changes;
      const times = new Float64Array([
        atime?.sec ?? 0,
        atime?.nsec ?? UTIME_OMIT,
        mtime?.sec ?? 0,
        mtime?.nsec ?? UTIME_OMIT,
      ]);
      result = this.at((dirfd, name, flags) => utimensat(dirfd, name, times, flags));
    }
    if (result === 0 && this.kept === null) this.stat();
    if (this.type === S_IFDIR) this.device.files?.directoriesChanged(this.fs);
    return result;
  }
  /** The host takes set-id bits away from what the sandbox writes to; the guest may have the right to keep them. */
  keepPrivileges(): void {
    if (this.type === S_IFREG && this.mode & 0o6000) this.setattr({ mode: this.mode & 0o7777 });
  }
  /** truncate(2) and ftruncate(2). */
  resize(size: number): number {
    if (this.fs.readonly) return -EROFS;
    if (this.type === S_IFDIR) return -EISDIR;
    if (this.type !== S_IFREG) return -EINVAL;
    let result = this.openHost(true, 0);
    if (result < 0) return result;
    result = ftruncate(this.write!.fd, size);
    this.keepPrivileges();
    this.closeHost();
    return result;
  }

  // Directories.

  override lookup(name: string, _task: Task | null, known?: Inode | null): HostNode | number {
    const dir = this.directory();
    if (dir < 0) return dir;
    const result = this.fs.seen.read(dir, cname(name));
    if (result < 0) return result;
    return this.found(name, known);
  }
  /** The node of what was looked at last. */
  private found(name: string, known?: Inode | null): HostNode {
    const { fs } = this;
    const { seen } = fs;
    const before = known instanceof HostNode ? known : null;
    const device = fs.deviceSeen(before?.device);
    const { ino, type } = seen;
    let node: HostNode | undefined;
    if (device.nodes.size > 0) {
      node = device.nodes.get(ino);
      if (node !== undefined && node.type !== type) node = undefined;
    }
    if (node === undefined && before !== null && before.type === type) {
      if (before.hostIno === UNKNOWN) before.adopt();
      if (before.hostIno === ino && before.device === device) node = before;
    }
    if (node === undefined) node = new HostNode(fs, device, this, name, seen);
    else {
      node.update(seen);
      if (node.parent !== null && (node.parent !== this || node.name !== name)) {
        node.parent = this;
        node.name = name;
      }
    }
    if (seen.nlink > 1 && type !== S_IFDIR) device.nodes.set(ino, node);
    seen.owner = node;
    return node;
  }

  /** Something has been made on the host: gives it its owner and mode, and looks at it. */
  private made(name: string, node: NewNode, result: number, chmod: boolean): HostNode | number {
    if (result < 0) return result;
    const dir = this.directory();
    if (dir < 0) return dir;
    // Without the right to give files away they belong to the sandbox's user.
    const owned = fchownat(dir, cname(name), node.uid, node.gid, AT_SYMLINK_NOFOLLOW);
    if (owned < 0) this.fs.kernel.log.debug(`cannot chown a new host file to ${node.uid}:${node.gid}`);
    // chown takes set-id bits away, so the mode comes last.
    if (chmod) chmodHost(dir, cname(name), node.mode & 0o7777);
    return this.lookup(name, null);
  }

  override create(name: string, node: NewNode): HostNode | number {
    if (this.fs.readonly) return -EROFS;
    const dir = this.directory();
    if (dir < 0) return dir;
    const fd = createRegular(dir, cname(name), 0o600);
    if (fd < 0) return fd;
    const made = this.made(name, node, 0, true);
    // Its maker may write to it whatever the mode says: the descriptor stays for the open that follows.
    if (typeof made === "number" || made.write !== null) closeFd(fd);
    else if (ofUser(node.uid, fd) >= 0) {
      made.write = new Mapped(fd, true);
      made.writeOnly = false;
    }
    return made;
  }
  override createUnopened(name: string, node: NewNode): HostNode | number {
    return this.mknod(name, node, 0);
  }
  override mkdir(name: string, node: NewNode): HostNode | number {
    if (this.fs.readonly) return -EROFS;
    const dir = this.directory();
    if (dir < 0) return dir;
    return this.made(name, node, mkdirat(dir, cname(name), 0o700), true);
  }
  override mknod(name: string, node: NewNode, rdev: number): HostNode | number {
    if (this.fs.readonly) return -EROFS;
    const dir = this.directory();
    if (dir < 0) return dir;
    return this.made(name, node, mknodat(dir, cname(name), (node.mode & S_IFMT) | 0o600, rdev), true);
  }
  override symlink(name: string, target: string, node: NewNode): HostNode | number {
    if (this.fs.readonly) return -EROFS;
    const dir = this.directory();
    if (dir < 0) return dir;
    return this.made(name, node, symlinkat(encodeCString(target), dir, cname(name)), false);
  }
  override link(name: string, inode: Inode): number {
    if (this.fs.readonly) return -EROFS;
    if (!(inode instanceof HostNode) || inode.fs !== this.fs) return -EXDEV;
    if (inode.parent === null) return -EXDEV;
    const result = this.withBoth(inode.parent, (from, to) =>
      linkat(from, encodeCString(inode.name), to, cname(name), 0),
    );
    if (result === 0 && inode.identify() === 0) this.device.nodes.set(inode.hostIno, inode);
    return result;
  }
  override unlink(name: string, inode: Inode): number {
    if (this.fs.readonly) return -EROFS;
    const left = inode instanceof HostNode ? inode.beforeRemoval() : null;
    const dir = this.directory();
    if (dir < 0) return dir;
    const result = unlinkat(dir, cname(name), 0);
    if (result === 0 && inode instanceof HostNode) inode.onRemoved(left);
    return result;
  }
  override rmdir(name: string, inode: Inode): number {
    if (this.fs.readonly) return -EROFS;
    const dir = this.directory();
    if (dir < 0) return dir;
    this.device.files?.directoriesChanged(this.fs);
    const result = unlinkat(dir, cname(name), AT_REMOVEDIR);
    if (result === 0 && inode instanceof HostNode) inode.onRemoved(null);
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
    if (this.fs.readonly) return -EROFS;
    if (!(newDir instanceof HostNode) || newDir.fs !== this.fs) return -EXDEV;
    const gone = replaced instanceof HostNode && !(flags & RENAME_EXCHANGE);
    const left = gone ? replaced.beforeRemoval() : null;
    const result = newDir.withBoth(this, (from, to) => renameat2(from, encodeCString(name), to, cname(newName), flags));
    if (result < 0) return result;
    if (moved.type === S_IFDIR || replaced?.type === S_IFDIR) this.device.files?.directoriesChanged(this.fs);
    if (moved instanceof HostNode) {
      moved.parent = newDir;
      moved.name = newName;
    }
    if (replaced instanceof HostNode) {
      if (flags & RENAME_EXCHANGE) {
        replaced.parent = this;
        replaced.name = name;
      } else replaced.onRemoved(left);
    }
    return 0;
  }
  /** Runs `change` with the descriptors of `other` and of this directory, both open. */
  private withBoth(other: HostNode, change: (other: number, own: number) => number): number {
    this.fs.seen.owner = null;
    for (let tries = 0; tries < 3; tries++) {
      const own = this.directory();
      if (own < 0) return own;
      const from = other.directory();
      if (from < 0) return from;
      // Opening the second may have cost the first its descriptor.
      if (this.fd === own) return change(from, own);
    }
    return -ENOENT;
  }

  override readlink(_task: Task | null): string | number {
    if (this.type !== S_IFLNK) return -EINVAL;
    if (this.parent === null) return -EINVAL;
    const above = this.parent.directory();
    if (above < 0) return above;
    const n = readlinkat(above, cname(this.name), linkBytes, linkBytes.length);
    return n < 0 ? n : decodeName(linkBytes, 0, n);
  }

  override open(path: Path, flags: number, task: Task): File | number {
    switch (this.type) {
      case S_IFREG: {
        const forWrite = (flags & 3) !== O_RDONLY;
        if (forWrite && this.fs.readonly) return -EROFS;
        const result = this.openHost(forWrite, task.cred.fsuid);
        return result < 0 ? result : new HostFile(flags, path, this);
      }
      case S_IFDIR: {
        const result = this.directory();
        return result < 0 ? result : new HostDirectoryFile(flags, path, this);
      }
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

  // A saved kernel.

  /** What it has of the host's file; null: nobody holds it, and whatever has its name is the file. */
  describeHost({ sink }: Save): SavedFile | null {
    if (this.holders === 0) return null;
    const { seen } = this.fs;
    const open = this.read ?? this.write;
    if (this.kept === null && this.hostIno !== GONE && this.leadsHere()) {
      if (open === null) return {};
      const { size, mtime } = seen.show(0);
      return { size, mtime };
    }
    // No name leads to it: what is left is what its descriptor leads to.
    const fd = open?.fd ?? this.fd;
    let attributes = this.kept === null ? null : this.attributesKept(this.kept);
    if (attributes === null && fd >= 0 && seen.read(fd) === 0) attributes = this.decode();
    if (attributes === null) return { gone: {} };
    if (open === null) return { gone: { attributes } };
    return { gone: { attributes, content: sink.storeFile(fd, attributes.size) } };
  }
  /** Does its name lead to it? Looks at it anew. */
  private leadsHere(): boolean {
    const { fs, parent } = this;
    const { seen } = fs;
    if (parent === null) return seen.read(fs.rootFd) === 0;
    const above = parent.directory();
    return (
      above >= 0 && seen.read(above, cname(this.name)) === 0 && seen.ino === this.hostIno && seen.type === this.type
    );
  }

  /** In a restored kernel: finds the host's file again, and opens what was open. */
  reopen(restore: Restore): void {
    const { fs, state, parent, name } = this;
    // What an image says must not lead out of the tree that its node is of.
    if (parent !== null && (parent.fs !== fs || parent.type !== S_IFDIR || !isName(name)))
      throw new Error("is a file of the host in no directory, or with a name that no file can have");
    fs.reopen(restore);
    if (this.parent === null && !fs.released) this.fd = fs.rootFd;
    const saved = savedFiles.get(this);
    savedFiles.delete(this);
    if (saved === undefined || this.holders === 0) return;
    if (saved.gone !== undefined) {
      this.keep(saved.gone, restore);
      return;
    }
    const found = this.parent === null ? 0 : this.identify();
    if (found < 0) {
      this.hostIno = GONE;
      this.missing(errnoName(-found), restore);
      return;
    }
    this.device.nodes.set(this.hostIno, this);
    if (state !== null) this.device.files!.takeUp(this.hostIno, state);
    for (const memory of [this.read, this.write]) {
      const result = memory === null ? 0 : this.openAgain(memory);
      if (result < 0) return this.missing(errnoName(-result), restore);
    }
    const open = this.read ?? this.write;
    if (open === null) return;
    const { seen } = fs;
    if (seen.read(open.fd) < 0) return;
    const { size, mtime } = seen.show(0);
    if (size !== saved.size || mtime.sec !== saved.mtime?.sec || mtime.nsec !== saved.mtime.nsec)
      restore.host.changed(`${this.hostPath}: it has changed`);
  }
  /** Opens the host's file as it was open. 0 or -errno. */
  private openAgain(memory: Mapped): number {
    const { fs, parent } = this;
    const uid = memory.takeOwner();
    if (parent === null) {
      memory.fd = fs.rootFd;
      return 0;
    }
    const above = parent.directory();
    if (above < 0) return above;
    const flags = memory !== this.write ? O_RDONLY : this.writeOnly ? O_WRONLY : O_RDWR;
    const fd = ofUser(uid, openRegular(above, cname(this.name), flags, this.hostIno));
    if (fd >= 0) memory.fd = fd;
    return Math.min(0, fd);
  }
  /** Goes on with what was left of it. */
  private keep({ attributes, content }: NonNullable<SavedFile["gone"]>, { host }: Restore): void {
    this.hostIno = GONE;
    this.kept = attributes ?? null;
    if (attributes === undefined || content === undefined) return;
    const { read, write } = this;
    const { atime, mtime } = attributes;
    const fd = loadMemoryFile(MEMORY_NAME, content, host.pages);
    utimensat(fd, EMPTY_NAME, new Float64Array([atime.sec, atime.nsec, mtime.sec, mtime.nsec]), AT_EMPTY_PATH);
    const first = (write ?? read)!;
    const shared = ofUser(first.takeOwner(), fd);
    if (shared < 0) throw new Error(`${this.hostPath}: ${errnoName(-shared)}`);
    first.fd = fd;
    if (read === null || read === first) return;
    const again = ofUser(read.takeOwner(), reopen(fd, O_RDONLY));
    if (again < 0) throw new Error(`${this.hostPath}: ${errnoName(-again)}`);
    read.fd = again;
  }
  /** What was held cannot be found: told, if anybody could miss it. */
  private missing(why: string, { host }: Restore): void {
    for (const memory of [this.read, this.write])
      if (memory !== null && memory.fd < 0) {
        // Whoever has mapped it finds nothing there; reading and writing say why.
        this.lost = true;
        memory.fd = guestMemfd(MEMORY_NAME, MFD_CLOEXEC);
        if (memory.fd < 0) throw new Error(`${this.hostPath}: ${errnoName(-memory.fd)}`);
      }
    if (this.front?.isComplete) return;
    if (this.users > 0 || this.type === S_IFDIR || this.front !== null) host.changed(`${this.hostPath}: ${why}`);
    else host.warn(`${this.hostPath}: ${why}`);
  }
  private get hostPath(): string {
    let path = "";
    for (let at: HostNode = this; at.parent !== null && path.length < PATH_SHOWN; at = at.parent)
      path = `/${at.name}${path}`;
    return this.fs.describe(path);
  }

  // Extended attributes: only of what can be opened, which links, devices and the like cannot.

  private withOpen(change: (fd: number) => number): number {
    if (this.type === S_IFREG) {
      const result = this.openHost(false, 0);
      if (result < 0) return result === -EACCES ? -ENODATA : result;
      const done = change((this.read ?? this.write)!.fd);
      this.closeHost();
      return done;
    }
    if (this.type !== S_IFDIR) return -ENODATA;
    const dir = this.directory();
    if (dir < 0) return dir;
    const fd = openDirectory(dir, cname("."), O_RDONLY);
    if (fd < 0) return fd === -EACCES ? -ENODATA : fd;
    const done = change(fd);
    closeFd(fd);
    return done;
  }
  override getXattr(name: string): Uint8Array | number {
    const key = encodeCString(name);
    let value = new Uint8Array(256);
    const n = this.withOpen((fd) => {
      const result = fgetxattr(fd, key, value, value.length);
      if (result !== -34) return result; // ERANGE
      value = new Uint8Array(XATTR_MAX);
      return fgetxattr(fd, key, value, value.length);
    });
    return n < 0 ? n : value.slice(0, n);
  }
  override setXattr(name: string, value: Uint8Array, flags: number): number {
    if (this.fs.readonly) return -EROFS;
    const key = encodeCString(name);
    const bytes = value.length === 0 ? null : value;
    const result = this.withOpen((fd) => fsetxattr(fd, key, bytes, value.length, flags));
    return result === -ENODATA && (flags & 2) === 0 ? -ENOTSUP : result;
  }
  override listXattr(): string[] | number {
    const bytes = new Uint8Array(XATTR_MAX);
    const n = this.withOpen((fd) => flistxattr(fd, bytes, bytes.length));
    if (n === -ENODATA || n === -EOPNOTSUPP) return [];
    if (n < 0) return n;
    const names: string[] = [];
    for (let at = 0; at < n; ) {
      const end = bytes.indexOf(0, at);
      names.push(decodeName(bytes, at, end));
      at = end + 1;
    }
    return names;
  }
  override removeXattr(name: string): number {
    if (this.fs.readonly) return -EROFS;
    const key = encodeCString(name);
    return this.withOpen((fd) => fremovexattr(fd, key));
  }
}

const linkBytes = new Uint8Array(4096);

persistent("host-memory", Mapped, {
  as: {
    fd: {
      save: (fd: number) => ownerOf(fd),
      restore(uid: number, memory) {
        owners.set(memory, uid);
        return -1;
      },
    },
  },
});

/** Descriptors that are open for nobody are not saved. */
const inUse = {
  save: (memory: Mapped | null, node: HostNode) => (node.inUse ? memory : null),
  restore(memory: unknown) {
    // What else has a descriptor does not get it from the tree.
    if (memory !== null && !(memory instanceof Mapped)) throw new Error("is no open file of the host");
    return memory;
  },
};
persistent("host-node", HostNode, {
  transient: { fd: () => -1, fdRecent: () => false, kept: () => null },
  as: {
    hostIno: {
      save: (_ino, node, save) => node.describeHost(save),
      restore(saved: SavedFile | null, node) {
        if (saved !== null) savedFiles.set(node, saved);
        return UNKNOWN;
      },
    },
    read: inUse,
    write: inUse,
  },
  reopen: (node, restore) => node.reopen(restore),
});
