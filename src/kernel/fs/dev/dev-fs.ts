/**
 * devtmpfs: /dev with the devices that every container has; otherwise a tmpfs, so guests may add to it.
 *
 * Source: the default devices of the OCI runtime specification, null(4) and the pages of the others. A node that a
 * guest makes with mknod(2) opens only if a driver is registered for it (vfs/devices.ts).
 */
import { makedev, S_IFCHR } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { NewNode } from "../../vfs/inode.ts";
import { Tmpfs, type TmpfsOptions } from "../tmpfs/tmpfs.ts";

/** Debian's group tty. */
const TTY_GID = 5;

/** Name → major, minor, permission, group. */
const DEVICES: readonly [name: string, major: number, minor: number, mode: number, gid: number][] = [
  ["null", 1, 3, 0o666, 0],
  ["zero", 1, 5, 0o666, 0],
  ["full", 1, 7, 0o666, 0],
  ["random", 1, 8, 0o666, 0],
  ["urandom", 1, 9, 0o666, 0],
  ["tty", 5, 0, 0o666, TTY_GID],
  ["console", 5, 1, 0o620, TTY_GID],
];

const LINKS: Readonly<Record<string, string>> = {
  fd: "/proc/self/fd",
  stdin: "/proc/self/fd/0",
  stdout: "/proc/self/fd/1",
  stderr: "/proc/self/fd/2",
  core: "/proc/kcore",
  ptmx: "pts/ptmx",
};

const DIRECTORIES: Readonly<Record<string, number>> = { pts: 0o755, shm: 0o1777, mqueue: 0o1777 };

export class DevFs extends Tmpfs {
  constructor(kernel: Kernel, options: TmpfsOptions = {}) {
    super(kernel, { size: 64 << 10, mode: 0o755, type: "devtmpfs", ...options });
    const node = (mode: number, gid = 0): NewNode => ({ mode, uid: 0, gid });
    for (const [name, major, minor, mode, gid] of DEVICES)
      this.root.mknod(name, node(S_IFCHR | mode, gid), makedev(major, minor));
    for (const { name, major, minor, mode } of kernel.devices.named)
      this.root.mknod(name, node(S_IFCHR | mode), makedev(major, minor));
    for (const [name, target] of Object.entries(LINKS)) this.root.symlink(name, target, node(0o777));
    for (const [name, mode] of Object.entries(DIRECTORIES)) this.root.mkdir(name, node(mode));
  }
}

persistent("devfs", DevFs);
