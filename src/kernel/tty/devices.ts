/** Registers the terminal devices: /dev/tty, /dev/console, /dev/ptmx, /dev/pts/N. Source: tty(4), console(4), pts(4). */
import { EIO, ENXIO } from "../abi/errno.ts";
import { minorOf } from "../abi/stat.ts";
import type { Kernel } from "../kernel.ts";
import { controllingTty } from "./job-control.ts";
import { openMaster, PTY_SLAVE_MAJOR } from "./pty.ts";
import { Tty } from "./tty.ts";

const O_NOCTTY = 0o400;

export function registerTerminals(kernel: Kernel): void {
  const { devices } = kernel;
  devices.registerChar(5, 0, (path, flags, task) => {
    const tty = controllingTty(task.process);
    return tty instanceof Tty ? tty.open(path, flags | O_NOCTTY, task) : -ENXIO;
  });
  devices.registerChar(5, 1, (path, flags, task) =>
    kernel.console === null ? -ENXIO : kernel.console.open(path, flags | O_NOCTTY, task),
  );
  devices.registerChar(5, 2, (path, flags, task) => openMaster(kernel, path, flags, task));
  devices.registerCharMajor(PTY_SLAVE_MAJOR, (path, flags, task) => {
    const attr = path.dentry.inode.getattr();
    if (typeof attr === "number") return attr;
    return kernel.ptys.get(minorOf(attr.rdev))?.open(path, flags, task) ?? -EIO;
  });
}
