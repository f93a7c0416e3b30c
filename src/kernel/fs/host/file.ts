/** Open files and directories of the host. Reading goes straight from the host's page cache to guest memory. */

import { openDirectory } from "../../../native/files.ts";
import { closeOfUser, ofUser } from "../../../native/guest-descriptors.ts";
import { fallocate, fdatasync, fsync, getdents64, lseek } from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { decodeName } from "../../abi/bytes.ts";
import { ENODEV, ESTALE } from "../../abi/errno.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { DirectoryFile } from "../../vfs/directory-file.ts";
import { type EmitEntry, File } from "../../vfs/file.ts";
import { readHost, writeHost } from "../../vfs/host-io.ts";
import type { Io } from "../../vfs/io.ts";
import { Listed } from "../../vfs/listed.ts";
import { stripPrivileges } from "../../vfs/permission.ts";
import { cname, foldIno } from "./host-fs.ts";
import type { HostNode } from "./node.ts";

const SEEK_SET = 0;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

export class HostFile extends File {
  override readonly seekable = true;
  private readonly memory: HostMemory;
  constructor(
    flags: number,
    path: Path | null,
    readonly node: HostNode,
  ) {
    super(flags, path, node);
    this.memory = node.memory(this.writable)!;
  }
  get fd(): number {
    return this.memory.fd;
  }
  override read(_task: Task, io: Io, offset: number): number {
    return this.node.lost ? -ESTALE : readHost(this.memory.fd, io, offset, io.remaining);
  }
  override write(task: Task, io: Io, offset: number): number {
    const { node } = this;
    if (node.lost) return -ESTALE;
    if ((node.mode & 0o6000) === 0) return writeHost(this.memory.fd, io, offset, io.remaining);
    stripPrivileges(task, node);
    const n = writeHost(this.memory.fd, io, offset, io.remaining);
    node.keepPrivileges();
    return n;
  }
  override size(): number {
    return lseek(this.memory.fd, 0, SEEK_END);
  }
  override seekData(offset: number, hole: boolean): number {
    return lseek(this.memory.fd, offset, hole ? SEEK_HOLE : SEEK_DATA);
  }
  override truncate(size: number): number {
    return this.node.resize(size);
  }
  override fallocate(mode: number, offset: number, length: number): number {
    return fallocate(this.memory.fd, mode, offset, length);
  }
  override fsync(dataOnly: boolean): number {
    return dataOnly ? fdatasync(this.memory.fd) : fsync(this.memory.fd);
  }
  override mapMemory(shared: boolean, writable: boolean): HostMemory | number {
    return this.node.memory(shared && writable) ?? -ENODEV;
  }
  override onRelease(): void {
    this.node.closeHost();
  }
}

/** Bytes of entries that are read at once, and when much is kept already: room for one entry at least. */
const WINDOW = 32768;
const SMALL_WINDOW = 512;
/** No window has as many entries. */
const WINDOW_ENTRIES = Math.floor(WINDOW / 24);

/** Entries of a host directory, in the order of the host: those that were read last, from number `base` on. */
export class HostListing {
  private fd = -1;
  private base = 0;
  private readonly names: string[] = [];
  private readonly inos: number[] = [];
  private readonly types: number[] = [];
  private done = false;
  private readonly kept = new Listed();

  /** Makes entry `index` one of those that are here: 1, 0 when there are fewer entries, or -errno. */
  reach(node: HostNode, index: number, uid: number): number {
    // It has gone by: from the start again.
    if (index < this.base) this.rewind();
    while (index >= this.base + this.names.length) {
      if (this.done) return 0;
      const result = this.more(node, uid);
      if (result < 0) return result;
    }
    return 1;
  }
  emit(index: number, to: EmitEntry, next: number): boolean {
    const at = index - this.base;
    return to(this.names[at]!, this.inos[at]!, this.types[at]!, next);
  }

  /** Reads on, in place of what is here; 0 or -errno. */
  private more(node: HostNode, uid: number): number {
    if (this.fd < 0) {
      const dir = node.directory();
      if (dir < 0) return dir;
      this.fd = ofUser(uid, openDirectory(dir, cname("."), 0));
      if (this.fd < 0) {
        const result = this.fd;
        this.fd = -1;
        return result;
      }
    }
    this.forget();
    const much = this.kept.add(uid, WINDOW_ENTRIES) < 0;
    const n = getdents64(this.fd, buffer, much ? SMALL_WINDOW : WINDOW);
    if (n <= 0) {
      this.done = true;
      this.close();
      return n;
    }
    this.take(node, n);
    if (!much) {
      this.kept.clear();
      this.kept.add(uid, this.names.length);
    }
    return 0;
  }
  /** Takes the entries that the host has given. */
  private take({ device }: HostNode, n: number): void {
    for (let at = 0; at < n; ) {
      const length = view.getUint16(at + 16, true);
      const start = at + 19;
      const end = buffer.indexOf(0, start);
      const first = buffer[start]!;
      const dots = first === 46 && (end - start === 1 || (end - start === 2 && buffer[start + 1] === 46));
      if (!dots) {
        this.inos.push(device.inoOf(foldIno(view.getUint32(at, true), view.getUint32(at + 4, true))));
        this.types.push(buffer[at + 18]!);
        this.names.push(decodeName(buffer, start, end));
      }
      at += length;
    }
  }
  /** Before the kernel is saved: what is not read yet could come in another order elsewhere. */
  readToEnd(node: HostNode): void {
    if (this.fd < 0) return;
    for (let n = 1; n > 0; ) {
      n = getdents64(this.fd, buffer, WINDOW);
      if (n > 0) this.take(node, n);
    }
    this.kept.set(this.names.length);
    this.done = true;
    closeOfUser(this.fd);
    this.fd = -1;
  }
  /** Goes on behind what is here. */
  private forget(): void {
    this.base += this.names.length;
    this.names.length = this.inos.length = this.types.length = 0;
    this.kept.clear();
  }
  close(): void {
    this.forget();
    if (this.fd >= 0) closeOfUser(this.fd);
    this.fd = -1;
  }
  rewind(): void {
    this.forget();
    this.base = 0;
    this.done = false;
    if (this.fd >= 0) lseek(this.fd, 0, SEEK_SET);
  }
}

const buffer = new Uint8Array(WINDOW);
const view = new DataView(buffer.buffer);

/** A directory being read: position N is entry N of what was read since the last rewind. */
export class HostDirectoryFile extends DirectoryFile {
  private readonly listing = new HostListing();
  constructor(
    flags: number,
    path: Path | null,
    readonly node: HostNode,
  ) {
    super(flags, path, node);
  }
  override readdir(task: Task, emit: EmitEntry): number {
    const { node, listing } = this;
    if (this.pos === 0) listing.rewind();
    if (!this.emitDots(emit, node.ino, this.path?.dentry.parent?.inode.ino ?? node.ino)) return 0;
    for (;;) {
      const index = this.pos - 2;
      const there = listing.reach(node, index, task.cred.fsuid);
      if (there <= 0) return there;
      if (!listing.emit(index, emit, this.pos + 1)) return 0;
      this.pos++;
    }
  }
  override onRelease(): void {
    this.listing.close();
  }
}

persistent("host-file", HostFile);
persistent("host-listing", HostListing, { transient: { fd: () => -1 } });
persistent("host-directory-file", HostDirectoryFile, {
  as: {
    listing: {
      save(listing: HostListing, file) {
        listing.readToEnd(file.node);
        return listing;
      },
      restore(listing: unknown) {
        if (!(listing instanceof HostListing)) throw new Error("is no listing");
        return listing;
      },
    },
  },
});
