/**
 * Character devices written by plugins. Their reads and writes never wait: -EAGAIN reaches the guest as it is.
 *
 * Source: the behaviour of simple drivers: a position that only counts, lseek that has no effect (null_lseek).
 */
import type { CharacterDevice } from "../../../core/plugin.ts";
import { EINVAL, EIO, ENODEV, ENOTTY } from "../../abi/errno.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { File } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import type { PluginGuard } from "./guard.ts";

/** Bytes moved by one call to the plugin. */
const CHUNK = 1 << 16;

export class PluginDeviceFile extends File {
  override readonly seekable = true;

  constructor(
    flags: number,
    path: Path,
    readonly name: string,
    private readonly device: CharacterDevice,
    private readonly guard: PluginGuard,
  ) {
    super(flags, path, path.dentry.inode);
  }

  /** The plugin has no way to tell of news: nobody waits here. */
  override get nonBlocking(): boolean {
    return true;
  }
  override size(): number {
    return 0;
  }
  override seek(): number {
    return this.pos;
  }
  override truncate(): number {
    return -EINVAL;
  }
  override fsync(): number {
    return 0;
  }
  override mapMemory(): number {
    return -ENODEV;
  }

  override read(_task: Task, io: Io, offset: number): number {
    const { device } = this;
    if (device.read === undefined) return -EINVAL;
    const chunk = new Uint8Array(Math.min(io.remaining, CHUNK));
    const n = this.bounded("read", chunk.length, () => device.read!(chunk, offset));
    return n <= 0 ? n : io.put(chunk, 0, n);
  }

  override write(_task: Task, io: Io, offset: number): number {
    const { device } = this;
    if (device.write === undefined) return -EINVAL;
    let done = 0;
    while (io.remaining > 0) {
      const chunk = new Uint8Array(Math.min(io.remaining, CHUNK));
      const got = io.take(chunk, 0, chunk.length);
      if (got < 0) return done > 0 ? done : got;
      const n = this.bounded("write", got, () => device.write!(chunk.subarray(0, got), offset + done));
      if (n < got) io.rewind(got - Math.max(0, n));
      if (n <= 0) return done > 0 ? done : n;
      done += n;
      if (n < got) break;
    }
    return done;
  }

  override ioctl(_task: Task, request: number, argument: number): number {
    const { device } = this;
    if (device.ioctl === undefined) return -ENOTTY;
    return this.guard.number(`device ${this.name}, ioctl`, () => device.ioctl!(request, argument));
  }

  private bounded(operation: string, length: number, run: () => number): number {
    const what = `device ${this.name}, ${operation}`;
    const n = this.guard.number(what, run);
    if (n <= length) return n;
    this.guard.report(what, new Error(`returned ${n} for ${length} bytes`), "EIO");
    return -EIO;
  }
}
