/**
 * Open files and directories of a plugin's file system. Source: read(2), write(2), getdents(2), mmap(2).
 *
 * Mapping copies the file as it is then: a private mapping may lag behind on Linux, too. Shared writable ones are ENODEV.
 */
import { closeFd, ftruncate, memfdCreate, pwrite } from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { encodeCString } from "../../abi/bytes.ts";
import { EFBIG, EINVAL, EIO, EISDIR, ENODEV, EROFS, ESTALE } from "../../abi/errno.ts";
import { DT_DIR } from "../../abi/stat.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { type EmitEntry, File } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import type { PluginNode } from "./plugin-fs.ts";

/** Bytes that a plugin is asked for at a time. */
const CHUNK = 1 << 18;
/** The largest file that can be mapped: it is copied. */
const MAPPED_MAX = 1 << 30;
const MFD_CLOEXEC = 1;
const MEMFD_NAME = encodeCString("plugin");
const DT_UNKNOWN = 0;

export class PluginFile extends File {
  override readonly seekable = true;
  /** Copies behind mappings; they are as long-lived as this file, which the mappings hold. */
  private copies: number[] | null = null;

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
    const fd = memfdCreate(MEMFD_NAME, MFD_CLOEXEC);
    if (fd < 0) return fd;
    const failed = this.copyTo(fd, size);
    if (failed < 0) {
      closeFd(fd);
      return failed;
    }
    this.copies ??= [];
    this.copies.push(fd);
    return { fd };
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
    for (const fd of this.copies ?? []) closeFd(fd);
    if (this.writable && !this.node.removed) this.tellFlush();
  }
}

/** A directory being read: its names are taken when the reading starts; position N is entry N of them. */
export class PluginDirectoryFile extends File {
  override readonly seekable = true;
  private names: readonly string[] | null = null;

  constructor(
    flags: number,
    path: Path,
    readonly node: PluginNode,
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
  override truncate(): number {
    return -EINVAL;
  }
  override fsync(): number {
    return 0;
  }
  override readdir(_task: Task, emit: EmitEntry): number {
    const { node } = this;
    if (this.pos === 0 || this.names === null) {
      const names = node.list();
      if (typeof names === "number") return names;
      this.names = names.filter((name) => name !== "." && name !== "..");
    }
    for (;;) {
      const at = this.pos;
      if (at === 0) {
        if (!emit(".", node.ino, DT_DIR, 1)) return 0;
      } else if (at === 1) {
        if (!emit("..", (node.parent ?? node).ino, DT_DIR, 2)) return 0;
      } else {
        const name = this.names[at - 2];
        if (name === undefined) return 0;
        if (!emit(name, node.inoOf(name), DT_UNKNOWN, at + 1)) return 0;
      }
      this.pos = at + 1;
    }
  }
}
