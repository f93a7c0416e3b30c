/** Files without a place in the tree: memfd_create(2), and shared memory that shows as a deleted file. */

import { S_IFREG } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { Dentry } from "../../vfs/dentry.ts";
import { TmpfsFile } from "./file.ts";
import { Tmpfs } from "./tmpfs.ts";

/**
 * A nameless file, open; /proc/PID/fd shows "/NAME (deleted)". `flags` are O_*; `seals` is what the file starts with
 * (F_SEAL_SEAL: cannot be sealed). Its node is `file.node`. -ENOSPC when the kernel's own tmpfs is full.
 */
export function createMemoryFile(
  kernel: Kernel,
  name: string,
  flags: number,
  owner: { mode: number; uid: number; gid: number },
  seals: number,
): TmpfsFile | number {
  const mount = kernel.mounts.internal("shmem", () => new Tmpfs(kernel));
  const fs = mount.fs as Tmpfs;
  const node = fs.newNode(S_IFREG, owner, 0);
  if (typeof node === "number") return node;
  node.nlink = 0;
  node.seals = seals;
  const dentry = new Dentry(name, mount.root, node);
  dentry.deleted = true;
  return new TmpfsFile(flags, { mount, dentry }, node);
}
