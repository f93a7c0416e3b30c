/**
 * Inodes of a host directory file system: a host inode number, and the place (directory and name) to reach it by.
 *
 * Invariant: while a node is held it is the only one for its host inode (HostDevice.nodes). `fd` is a directory's O_PATH
 * descriptor, which the file system may close at any time to open another; `readFd` and `writeFd` of a regular file live
 * as long as somebody has it open.
 */

import { chmodHost, createRegular, openDirectory, openRegular, ST, statHost } from "../../../native/files.ts";
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
} from "../../abi/errno.ts";
import { AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, O_PATH, UTIME_OMIT } from "../../abi/fcntl.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from "../../abi/stat.ts";
import { openFifo } from "../../ipc/pipe.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { openDevice } from "../../vfs/devices.ts";
import type { File } from "../../vfs/file.ts";
import { type AttrChanges, Inode, type NewNode, type Ownership, type Stat } from "../../vfs/inode.ts";
import { HostDirectoryFile, HostFile } from "./file.ts";
import { cname, EMPTY_NAME, type HostDevice, type HostFs } from "./host-fs.ts";

const O_RDONLY = 0;
const O_WRONLY = 1;
const O_RDWR = 2;
const XATTR_MAX = 65536;

/** A host descriptor that guests may map. */
class Mapped implements HostMemory {
  constructor(readonly fd: number) {}
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
  /** Regular files: descriptors for reading and for reading and writing, with what is mapped through them. */
  private read: Mapped | null = null;
  private write: Mapped | null = null;
  private writeOnly = false;
  /** Open files that use them. */
  private users = 0;

  constructor(
    readonly fs: HostFs,
    readonly device: HostDevice,
    public parent: HostNode | null,
    public name: string,
    out: Float64Array,
  ) {
    super();
    this.ino = out[ST.ino]!;
    this.type = out[ST.mode]! & S_IFMT;
    this.update(out);
  }

  private update(out: Float64Array): void {
    this.mode = out[ST.mode]!;
    this.uid = out[ST.uid]!;
    this.gid = out[ST.gid]!;
  }

  // Identity.

  protected override onHeld(): void {
    this.device.nodes.set(this.ino, this);
  }
  override forgotten(): void {
    this.evict();
  }
  override evict(): void {
    if (this.users === 0) this.closeFiles();
    if (this.device.nodes.get(this.ino) === this) this.device.nodes.delete(this.ino);
  }

  // Descriptors.

  /** The directory's descriptor, opened if need be; -errno. */
  directory(): number {
    if (this.fd >= 0) {
      this.fdRecent = true;
      return this.fd;
    }
    if (this.type !== S_IFDIR) return -ENOTDIR;
    if (this.parent === null) return -ENOENT;
    const above = this.parent.directory();
    if (above < 0) return above;
    const fd = openDirectory(above, cname(this.name), O_PATH);
    if (fd < 0) return fd;
    // The name may stand for another directory by now.
    const result = statHost(fd, EMPTY_NAME, this.fs.outAddress);
    this.fs.outOwner = null;
    if (result < 0 || this.fs.out[ST.ino] !== this.ino) {
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

  /** Opens the regular file on the host, for writing too if asked; 0 or -errno. Undone by `closeHost`. */
  openHost(forWrite: boolean): number {
    if (forWrite ? this.write === null : this.read === null && (this.write === null || this.writeOnly)) {
      if (this.parent === null) return this.openRoot(forWrite);
      const above = this.parent.directory();
      if (above < 0) return above;
      let fd = openRegular(above, cname(this.name), forWrite ? O_RDWR : O_RDONLY, this.ino);
      const writeOnly = fd === -EACCES && forWrite;
      if (writeOnly) fd = openRegular(above, cname(this.name), O_WRONLY, this.ino);
      if (fd < 0) return fd === -ESTALE ? -ENOENT : fd;
      if (forWrite) {
        this.write = new Mapped(fd);
        this.writeOnly = writeOnly;
      } else this.read = new Mapped(fd);
    }
    this.users++;
    return 0;
  }
  /** The file system shows a single file: its descriptor is the one that was given. */
  private openRoot(forWrite: boolean): number {
    const memory = new Mapped(this.fs.rootFd);
    if (forWrite) this.write = memory;
    else this.read = memory;
    this.users++;
    return 0;
  }
  closeHost(): void {
    if (--this.users === 0) this.closeFiles();
  }
  private closeFiles(): void {
    const { read, write } = this;
    this.read = null;
    this.write = null;
    if (this.parent === null) return;
    if (read !== null) closeFd(read.fd);
    if (write !== null) closeFd(write.fd);
  }
  memory(forWrite: boolean): HostMemory | null {
    return forWrite ? this.write : (this.read ?? this.write);
  }

  // Attributes.

  override ownership(): Ownership {
    return this;
  }

  /** Fills fs.out: through a descriptor, or by name. */
  private stat(): number {
    const { fs } = this;
    const open = this.read ?? this.write;
    let result: number;
    if (open !== null) result = statHost(open.fd, EMPTY_NAME, fs.outAddress);
    else if (this.fd >= 0) result = statHost(this.fd, EMPTY_NAME, fs.outAddress);
    else {
      if (this.parent === null) return -ENOENT;
      const above = this.parent.directory();
      if (above < 0) return above;
      result = statHost(above, cname(this.name), fs.outAddress);
      if (result === 0 && fs.out[ST.ino] !== this.ino) result = -ENOENT;
    }
    fs.outOwner = null;
    if (result === 0) this.update(fs.out);
    return result;
  }
  override getattr(): Stat | number {
    const result = this.stat();
    return result < 0 ? result : this.decode();
  }
  override getattrFresh(): Stat | number {
    return this.fs.outOwner === this ? this.decode() : this.getattr();
  }
  private decode(): Stat {
    const out = this.fs.out;
    const stat: Stat = {
      dev: this.device.guest,
      ino: this.ino,
      mode: out[ST.mode]!,
      nlink: out[ST.nlink]!,
      uid: out[ST.uid]!,
      gid: out[ST.gid]!,
      rdev: out[ST.rdev]!,
      size: out[ST.size]!,
      blksize: out[ST.blksize]!,
      blocks: out[ST.blocks]!,
      atime: { sec: out[ST.atime]!, nsec: out[ST.atime + 1]! },
      mtime: { sec: out[ST.mtime]!, nsec: out[ST.mtime + 1]! },
      ctime: { sec: out[ST.ctime]!, nsec: out[ST.ctime + 1]! },
    };
    if (out[ST.hasBtime] === 1) stat.btime = { sec: out[ST.btime]!, nsec: out[ST.btime + 1]! };
    return stat;
  }

  /** Runs `change` with a descriptor and a name that lead here: its own if it has one, which outlives the name. */
  private at(change: (dirfd: number, name: number, flags: number) => number): number {
    if (this.fs.readonly) return -EROFS;
    this.fs.outOwner = null;
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
    if (result === 0 && (changes.uid !== undefined || changes.gid !== undefined)) {
      const uid = changes.uid ?? 0xffffffff;
      const gid = changes.gid ?? 0xffffffff;
      result = this.at((dirfd, name, flags) => fchownat(dirfd, name, uid, gid, flags));
    }
    if (result === 0 && changes.mode !== undefined) {
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
    if (result === 0) this.stat();
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
    let result = this.openHost(true);
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
    const { fs } = this;
    fs.outOwner = null;
    const result = statHost(dir, cname(name), fs.outAddress);
    if (result < 0) return result;
    return this.found(name, known);
  }
  /** The node for the attributes in fs.out. */
  private found(name: string, known?: Inode | null): HostNode {
    const { fs } = this;
    const { out } = fs;
    const device = fs.deviceOfOut();
    const ino = out[ST.ino]!;
    const type = out[ST.mode]! & S_IFMT;
    let node: HostNode | undefined;
    if (device.nodes.size > 0) {
      node = device.nodes.get(ino);
      if (node !== undefined && node.type !== type) node = undefined;
    }
    if (node === undefined && known instanceof HostNode && known.ino === ino && known.type === type)
      if (known.device === device) node = known;
    if (node === undefined) node = new HostNode(fs, device, this, name, out);
    else {
      node.update(out);
      if (node.parent !== null && (node.parent !== this || node.name !== name)) {
        node.parent = this;
        node.name = name;
      }
    }
    if (out[ST.nlink]! > 1 && type !== S_IFDIR) device.nodes.set(ino, node);
    fs.outOwner = node;
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
    else {
      made.write = new Mapped(fd);
      made.writeOnly = false;
    }
    return made;
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
    if (result === 0) this.device.nodes.set(inode.ino, inode);
    return result;
  }
  override unlink(name: string): number {
    if (this.fs.readonly) return -EROFS;
    const dir = this.directory();
    return dir < 0 ? dir : unlinkat(dir, cname(name), 0);
  }
  override rmdir(name: string): number {
    if (this.fs.readonly) return -EROFS;
    const dir = this.directory();
    return dir < 0 ? dir : unlinkat(dir, cname(name), AT_REMOVEDIR);
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
    const result = newDir.withBoth(this, (from, to) => renameat2(from, encodeCString(name), to, cname(newName), flags));
    if (result < 0) return result;
    if (moved instanceof HostNode) {
      moved.parent = newDir;
      moved.name = newName;
    }
    if (flags & 2 && replaced instanceof HostNode) {
      replaced.parent = this;
      replaced.name = name;
    }
    return 0;
  }
  /** Runs `change` with the descriptors of `other` and of this directory, both open. */
  private withBoth(other: HostNode, change: (other: number, own: number) => number): number {
    this.fs.outOwner = null;
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
        const result = this.openHost(forWrite);
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

  // Extended attributes: only of what can be opened, which links, devices and the like cannot.

  private withOpen(change: (fd: number) => number): number {
    if (this.type === S_IFREG) {
      const result = this.openHost(false);
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
