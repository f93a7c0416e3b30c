/**
 * Character devices written by plugins. Their reads and writes never wait: -EAGAIN reaches the guest as it is.
 *
 * Source: the behaviour of simple drivers: a position that only counts, lseek that has no effect (null_lseek).
 */
import type { CharacterDevice } from "../../../core/plugin.ts";
import { EINVAL, EIO, ENODEV, ENOTTY } from "../../abi/errno.ts";
import { persistent } from "../../state/registry.ts";
import type { Restore } from "../../state/restore.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { File } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import type { PluginGuard } from "./guard.ts";

/** Bytes moved by one call to the plugin. */
const CHUNK = 1 << 16;

/** What a plugin has registered. */
export interface PluginDriver {
  readonly device: CharacterDevice;
  readonly guard: PluginGuard;
}

export class PluginDeviceFile extends File {
  override readonly seekable = true;
  /** A device may have its own idea of what one read is. */
  override get divisible(): boolean {
    return false;
  }

  constructor(
    flags: number,
    path: Path,
    readonly name: string,
    private readonly device: CharacterDevice,
    private readonly guard: PluginGuard,
  ) {
    super(flags, path, path.dentry.inode);
  }

  /** In a restored kernel: the plugin's device of that name. */
  findAgain({ kernel: { devices } }: Restore): void {
    const { name } = this;
    const driver = devices.named.find((each) => each.name === name)?.driver;
    if (driver === undefined) throw new Error(`device ${name}: its plugin is not here`);
    const { device, guard } = driver as PluginDriver;
    Object.assign(this, { device, guard });
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

persistent("plugin-device-file", PluginDeviceFile, {
  transient: { guard: () => null },
  as: {
    device: {
      save(device: CharacterDevice, { name }) {
        if (device.restorable === false) throw new Error(`device ${name}, which its plugin could not restore`);
        return null;
      },
      restore: () => null,
    },
  },
  reopen: (file, restore) => file.findAgain(restore),
});
