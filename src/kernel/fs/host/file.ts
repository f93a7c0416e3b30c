/** Open files and directories of the host. Reading goes straight from the host's page cache to guest memory. */

import { openDirectory } from "../../../native/files.ts";
import { closeFd, fallocate, fdatasync, fsync, getdents64, lseek } from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { decodeName } from "../../abi/bytes.ts";
import { EISDIR, ENODEV } from "../../abi/errno.ts";
import { DT_DIR } from "../../abi/stat.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { type EmitEntry, File } from "../../vfs/file.ts";
import { readHost, writeHost } from "../../vfs/host-io.ts";
import type { Io } from "../../vfs/io.ts";
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
    return readHost(this.memory.fd, io, offset, io.remaining);
  }
  override write(task: Task, io: Io, offset: number): number {
    const { node } = this;
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

/** Entries of a host directory as they were read, in the order of the host. */
export class HostListing {
  readonly names: string[] = [];
  readonly inos: number[] = [];
  readonly types: number[] = [];
  done = false;
  private fd = -1;

  /** Reads on; 0 or -errno. `done` tells the end. */
  more(node: HostNode): number {
    if (this.done) return 0;
    if (this.fd < 0) {
      const dir = node.directory();
      if (dir < 0) return dir;
      this.fd = openDirectory(dir, cname("."), 0);
      if (this.fd < 0) {
        const result = this.fd;
        this.fd = -1;
        return result;
      }
    }
    const n = getdents64(this.fd, buffer, buffer.length);
    if (n <= 0) {
      this.done = true;
      this.close();
      return n;
    }
    for (let at = 0; at < n; ) {
      const length = view.getUint16(at + 16, true);
      const start = at + 19;
      const end = buffer.indexOf(0, start);
      const first = buffer[start]!;
      const dots = first === 46 && (end - start === 1 || (end - start === 2 && buffer[start + 1] === 46));
      if (!dots) {
        this.inos.push(foldIno(view.getUint32(at, true), view.getUint32(at + 4, true)));
        this.types.push(buffer[at + 18]!);
        this.names.push(decodeName(buffer, start, end));
      }
      at += length;
    }
    return 0;
  }
  close(): void {
    if (this.fd >= 0) closeFd(this.fd);
    this.fd = -1;
  }
  rewind(): void {
    this.names.length = this.inos.length = this.types.length = 0;
    this.done = false;
    if (this.fd >= 0) lseek(this.fd, 0, SEEK_SET);
  }
}

const buffer = new Uint8Array(32768);
const view = new DataView(buffer.buffer);

/** A directory being read: position N is entry N of what was read since the last rewind. */
export class HostDirectoryFile extends File {
  override readonly seekable = true;
  private readonly listing = new HostListing();
  constructor(
    flags: number,
    path: Path | null,
    readonly node: HostNode,
  ) {
    super(flags, path, node);
  }
  override read(): number {
    return -EISDIR;
  }
  override write(): number {
    return -EISDIR;
  }
  override size(): number {
    return 0;
  }
  override fsync(): number {
    return 0;
  }
  override readdir(_task: Task, emit: EmitEntry): number {
    const { node, listing } = this;
    if (this.pos === 0) {
      listing.rewind();
      if (!emit(".", node.ino, DT_DIR, 1)) return 0;
      this.pos = 1;
    }
    if (this.pos === 1) {
      const above = this.path?.dentry.parent?.inode.ino ?? node.ino;
      if (!emit("..", above, DT_DIR, 2)) return 0;
      this.pos = 2;
    }
    for (;;) {
      const at = this.pos - 2;
      if (at >= listing.names.length) {
        if (listing.done) return 0;
        const result = listing.more(node);
        if (result < 0) return result;
        continue;
      }
      if (!emit(listing.names[at]!, listing.inos[at]!, listing.types[at]!, this.pos + 1)) return 0;
      this.pos++;
    }
  }
  override onRelease(): void {
    this.listing.close();
  }
}
