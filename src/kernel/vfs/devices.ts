/**
 * Device nodes: which driver opens a device number. Nodes themselves live in any file system; the host's own devices
 * are never opened.
 *
 * Source: mknod(2), makedev(3). A node whose number has no driver gives ENXIO, as Linux does.
 */
import { ENXIO } from "../abi/errno.ts";
import { majorOf, makedev, minorOf } from "../abi/stat.ts";
import type { Kernel } from "../kernel.ts";
import type { Task } from "../task/task.ts";
import type { Path } from "./dentry.ts";
import type { File } from "./file.ts";

/** Opens a device; `path` names the node, `flags` are O_*. */
export type DeviceOpener = (path: Path, flags: number, task: Task) => File | number;

export class DeviceRegistry {
  private readonly char = new Map<number, DeviceOpener>();
  private readonly block = new Map<number, DeviceOpener>();
  /** Openers for every minor of a major. */
  private readonly charMajors = new Map<number, DeviceOpener>();
  /** The last minor number of those that `anonymous` gives. */
  given = 20;
  /** Devices of plugins, which every /dev shows. `driver`: fs/plugin/device.ts */
  readonly named: { name: string; major: number; minor: number; mode: number; driver: object }[] = [];

  registerChar(major: number, minor: number, opener: DeviceOpener): void {
    this.char.set(makedev(major, minor), opener);
  }
  /** All minors of a major that have no opener of their own (pts). */
  registerCharMajor(major: number, opener: DeviceOpener): void {
    this.charMajors.set(major, opener);
  }
  registerBlock(major: number, minor: number, opener: DeviceOpener): void {
    this.block.set(makedev(major, minor), opener);
  }

  opener(rdev: number, isBlock: boolean): DeviceOpener | undefined {
    if (isBlock) return this.block.get(rdev);
    return this.char.get(rdev) ?? this.charMajors.get(majorOf(rdev));
  }

  /** A device number for a file system without a device (major 0). */
  anonymous(): number {
    return makedev(0, ++this.given);
  }
  /** Runs what makes a file system whose number is there already. */
  withoutNumber<T>(make: () => T): T {
    const { given } = this;
    const made = make();
    this.given = given;
    return made;
  }
}

/** Opens a device node. */
export function openDevice(
  kernel: Kernel,
  rdev: number,
  isBlock: boolean,
  path: Path,
  flags: number,
  task: Task,
): File | number {
  const opener = kernel.devices.opener(rdev, isBlock);
  if (opener === undefined) {
    kernel.log.debug(`no driver for ${isBlock ? "block" : "character"} device ${majorOf(rdev)}:${minorOf(rdev)}`);
    return -ENXIO;
  }
  return opener(path, flags, task);
}
