/** Registers the terminal devices: /dev/tty, /dev/console, /dev/ptmx, /dev/pts/N. Source: tty(4), console(4), pts(4). */

import { EIO, ENXIO } from "../abi/errno.ts";
import { O_NOCTTY } from "../abi/fcntl.ts";
import { minorOf } from "../abi/stat.ts";
import type { Kernel } from "../kernel.ts";
import { controllingTty } from "./job-control.ts";
import { openMaster, PTY_SLAVE_MAJOR } from "./pty.ts";
import { Tty } from "./tty.ts";

export function registerTerminals(kernel: Kernel): void {
  const { devices } = kernel;
  devices.registerChar(5, 0, (path, flags, task) => {
    const tty = controllingTty(task.process);
    return tty instanceof Tty ? tty.open(path, flags | O_NOCTTY, task) : -ENXIO;
  });
  devices.registerChar(5, 1, (path, flags, task) =>
    task.container.console === null ? -ENXIO : task.container.console.open(path, flags | O_NOCTTY, task),
  );
  devices.registerChar(5, 2, (path, flags, task) => openMaster(task.container.ptys, path, flags, task));
  devices.registerCharMajor(PTY_SLAVE_MAJOR, (path, flags, task) => {
    const attr = path.dentry.inode.getattr();
    if (typeof attr === "number") return attr;
    return task.container.ptys.get(minorOf(attr.rdev))?.open(path, flags, task) ?? -EIO;
  });
}
