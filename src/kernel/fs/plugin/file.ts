/**
 * Open files and directories of a plugin's file system. Source: read(2), write(2), getdents(2), mmap(2).
 *
 * Mapping copies the file as it is then: a private mapping may lag behind on Linux, too. Shared writable ones are ENODEV.
 */
import { reopenReadOnly } from "../../../native/files.ts";
import { guestMemfd } from "../../../native/guest-descriptors.ts";
import { closeFd, ftruncate, lseek, pwrite } from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { encodeCString } from "../../abi/bytes.ts";
import { EFBIG, EIO, ENODEV, EROFS, ESTALE, errnoName } from "../../abi/errno.ts";
import { DT_UNKNOWN } from "../../abi/stat.ts";
import type { Stored } from "../../state/host.ts";
import { loadMemoryFile } from "../../state/memory-file.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { DirectoryFile } from "../../vfs/directory-file.ts";
import { type EmitEntry, File } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import type { PluginNode } from "./plugin-fs.ts";

/** Bytes that a plugin is asked for at a time. */
const CHUNK = 1 << 18;
/** The largest file that can be mapped: it is copied. */
const MAPPED_MAX = 1 << 30;
const MFD_CLOEXEC = 1;
const MEMFD_NAME = encodeCString("plugin");

/** A file as it was when it was mapped: a memory file that nobody may write to. */
class PluginCopy implements HostMemory {
  constructor(readonly fd: number) {}
  get readFd(): number {
    return this.fd;
  }
}

export class PluginFile extends File {
  override readonly seekable = true;
  /** Copies behind mappings; they are as long-lived as this file, which the mappings hold. */
  private copies: PluginCopy[] | null = null;

  constructor(
    flags: number,
    path: Path,
    readonly node: PluginNode,
  ) {
    super(flags, path, node);
  }

  /** What the plugin reads into `into`; a count, or -errno. */
  private fetch(offset: number, into: Uint8Array): number {
    const { fs, path, removed } = this.node;
    if (removed) return -ESTALE;
    const what = fs.what("read", path);
    const n = fs.guard.number(what, () => fs.own.read(path, offset, into));
    if (n <= into.length) return n;
    fs.guard.report(what, new Error(`returned ${n} for ${into.length} bytes`), "EIO");
    return -EIO;
  }

  override read(_task: Task, io: Io, offset: number): number {
    let done = 0;
    const chunk = new Uint8Array(Math.min(io.remaining, CHUNK));
    while (io.remaining > 0) {
      const want = Math.min(io.remaining, chunk.length);
      const got = this.fetch(offset + done, want === chunk.length ? chunk : chunk.subarray(0, want));
      if (got <= 0) return done > 0 ? done : got;
      const put = io.put(chunk, 0, got);
      if (put < 0) return done > 0 ? done : put;
      done += put;
      if (put < got || got < want) break;
    }
    return done;
  }

  override write(_task: Task, io: Io, offset: number): number {
    const { node } = this;
    const { fs, path } = node;
    if (node.removed) return -ESTALE;
    const write = fs.own.write;
    if (write === undefined) return -EROFS;
    const what = fs.what("write", path);
    let done = 0;
    while (io.remaining > 0) {
      const length = Math.min(io.remaining, CHUNK);
      // The plugin may keep the bytes: each time an array of its own.
      const bytes = new Uint8Array(length);
      const got = io.take(bytes, 0, length);
      if (got < 0) return done > 0 ? done : got;
      let n = fs.guard.number(what, () => write.call(fs.own, path, offset + done, bytes.subarray(0, got)));
      if (n > got) {
        fs.guard.report(what, new Error(`returned ${n} for ${got} bytes`), "EIO");
        n = -EIO;
      }
      node.forget();
      if (n < got) io.rewind(got - Math.max(0, n));
      if (n <= 0) return done > 0 ? done : n;
      done += n;
      if (n < length) break;
    }
    return done;
  }

  override size(): number {
    const found = this.node.attributes();
    return typeof found === "number" ? found : found.size;
  }
  override seekData(offset: number, hole: boolean): number {
    const size = this.size();
    if (size < 0) return size;
    if (offset >= size) return -6; // ENXIO
    return hole ? size : offset;
  }
  override truncate(size: number): number {
    return this.node.truncate(size);
  }
  override fsync(): number {
    return this.node.removed ? 0 : this.tellFlush();
  }

  override mapMemory(shared: boolean, writable: boolean): HostMemory | number {
    if (shared && writable) return -ENODEV;
    const size = this.size();
    if (size < 0) return size;
    if (size > MAPPED_MAX) return -EFBIG;
    const fd = guestMemfd(MEMFD_NAME, MFD_CLOEXEC);
    if (fd < 0) return fd;
    const failed = this.copyTo(fd, size);
    if (failed < 0) {
      closeFd(fd);
      return failed;
    }
    // Nobody may write to the copy: it is mapped by whoever maps the file through this opening.
    const readFd = reopenReadOnly(fd);
    closeFd(fd);
    if (readFd < 0) return readFd;
    const copy = new PluginCopy(readFd);
    this.copies ??= [];
    this.copies.push(copy);
    return copy;
  }
  private copyTo(fd: number, size: number): number {
    const sized = ftruncate(fd, size);
    if (sized < 0) return sized;
    const chunk = new Uint8Array(Math.min(CHUNK, Math.max(1, size)));
    for (let at = 0; at < size; ) {
      const n = this.fetch(at, chunk.subarray(0, Math.min(chunk.length, size - at)));
      if (n < 0) return n;
      if (n === 0) break;
      const written = pwrite(fd, chunk, n, at);
      if (written < 0) return written;
      at += written;
    }
    return 0;
  }

  private tellFlush(): number {
    const { fs, path } = this.node;
    if (fs.own.flush === undefined) return 0;
    return Math.min(
      0,
      fs.guard.number(fs.what("flush", path), () => fs.own.flush!(path)),
    );
  }
  override onRelease(): void {
    for (const { fd } of this.copies ?? []) closeFd(fd);
    if (this.writable && !this.node.removed) this.tellFlush();
  }
}

/** A directory being read: its names are taken when the reading starts; position N is entry N of them. */
export class PluginDirectoryFile extends DirectoryFile {
  private names: readonly string[] | null = null;

  constructor(
    flags: number,
    path: Path,
    readonly node: PluginNode,
  ) {
    super(flags, path, node);
  }
  override readdir(_task: Task, emit: EmitEntry): number {
    const { node } = this;
    if (this.pos === 0 || this.names === null) {
      const names = node.list();
      if (typeof names === "number") return names;
      this.names = names.filter((name) => name !== "." && name !== "..");
    }
    if (!this.emitDots(emit, node.ino, (node.parent ?? node).ino)) return 0;
    for (;;) {
      const name = this.names[this.pos - 2];
      if (name === undefined) return 0;
      if (!emit(name, node.inoOf(name), DT_UNKNOWN, this.pos + 1)) return 0;
      this.pos++;
    }
  }
}

const SEEK_END = 2;
persistent("plugin-copy", PluginCopy, {
  as: {
    fd: {
      save: (fd: number, _copy, { sink }) => sink.storeFile(fd, lseek(fd, 0, SEEK_END)),
      restore(stored: Stored, _copy, { host }) {
        const fd = loadMemoryFile(MEMFD_NAME, stored, host.pages);
        const readFd = reopenReadOnly(fd);
        closeFd(fd);
        if (readFd < 0) throw new Error(`a mapped copy of a plugin's file: ${errnoName(-readFd)}`);
        return readFd;
      },
    },
  },
});
persistent("plugin-file", PluginFile);
persistent("plugin-directory-file", PluginDirectoryFile);
