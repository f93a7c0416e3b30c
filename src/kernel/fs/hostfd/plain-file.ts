/**
 * An inherited regular file (or directory) of the host.
 *
 * As inherited it has the position of the host's open file, so that what the caller's shell arranged (`>>`, a `{ …; } >f`
 * shared by several commands) holds. Opened anew it has its own. Blocking on a slow disk is accepted, as for host
 * directories.
 */
import { fallocate, fdatasync, fsync, lseek, readFd, writeFd } from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { EACCES, EFAULT, EISDIR, ENODEV } from "../../abi/errno.ts";
import { O_APPEND } from "../../abi/fcntl.ts";
import { S_IFREG } from "../../abi/stat.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { File } from "../../vfs/file.ts";
import { readHost, writeHost } from "../../vfs/host-io.ts";
import type { Io } from "../../vfs/io.ts";
import { ReadOnlyTwin } from "../../vfs/read-only-twin.ts";
import type { HostFdNode } from "./node.ts";
import { becomeRight } from "./restored.ts";

const SEEK_END = 2;
const buffer = new Uint8Array(1 << 17);

export class HostPlainFile extends File implements HostMemory {
  override readonly seekable: boolean = true;
  override readonly sharedPosition: boolean;

  constructor(
    readonly node: HostFdNode,
    flags: number,
    inherited: boolean,
  ) {
    super(flags, null, node);
    this.sharedPosition = inherited;
  }

  private readonly twin = new ReadOnlyTwin();
  get fd(): number {
    return this.node.fd;
  }
  get readFd(): number {
    return this.writable ? this.twin.of(this.fd) : this.fd;
  }

  override read(_task: Task, io: Io, offset: number): number {
    if (this.node.type !== S_IFREG) return -EISDIR;
    if (this.fd < 0) return 0;
    if (offset >= 0) return readHost(this.fd, io, offset, io.remaining);
    let done = 0;
    while (io.remaining > 0) {
      // The position moves by what is read: nothing may be read that cannot be delivered.
      const want = io.usable(Math.min(io.remaining, buffer.length), true);
      if (want === 0) return done > 0 ? done : -EFAULT;
      const n = readFd(this.fd, buffer, want);
      if (n <= 0) return done > 0 ? done : n;
      io.put(buffer, 0, n);
      done += n;
      if (n < want) break;
    }
    return done;
  }

  override write(_task: Task, io: Io, offset: number): number {
    if (offset >= 0) return writeHost(this.fd, io, offset, io.remaining);
    // The guest's own O_APPEND (fcntl) is not the host file's.
    if (this.flags & O_APPEND) lseek(this.fd, 0, SEEK_END);
    let done = 0;
    while (io.remaining > 0) {
      const want = io.take(buffer, 0, Math.min(io.remaining, buffer.length));
      if (want < 0) return done > 0 ? done : want;
      const n = writeFd(this.fd, buffer, want);
      if (n < 0) return done > 0 ? done : n;
      done += n;
      if (n < want) break;
    }
    return done;
  }

  override seek(task: Task, offset: number, whence: number): number {
    return this.sharedPosition ? lseek(this.fd, offset, whence) : super.seek(task, offset, whence);
  }
  override seekData(offset: number, hole: boolean): number {
    // SEEK_DATA, SEEK_HOLE.
    return lseek(this.fd, offset, hole ? 4 : 3);
  }
  override size(): number {
    return this.node.size();
  }
  override truncate(size: number): number {
    return this.node.setattr({ size });
  }
  override fallocate(mode: number, offset: number, length: number): number {
    return fallocate(this.fd, mode, offset, length);
  }
  override fsync(dataOnly: boolean): number {
    return dataOnly ? fdatasync(this.fd) : fsync(this.fd);
  }
  override mapMemory(shared: boolean, writable: boolean): HostMemory | number {
    if (this.node.type !== S_IFREG) return -ENODEV;
    return shared && writable && !this.writable ? -EACCES : this;
  }
  override onRelease(): void {
    this.twin.close();
  }
  override description(): string {
    return this.node.describe();
  }
}

persistent("hostfd-plain-file", HostPlainFile, { reopen: (file, restore) => becomeRight(file, restore) });
