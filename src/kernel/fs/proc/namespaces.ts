/**
 * /proc/PID/ns: names of the namespaces a process is in. There is one of each kind.
 *
 * Source: namespaces(7), ioctl_ns(2). Gaps: opened, they are empty files; there is nothing else to enter.
 */
import { ENOENT } from "../../abi/errno.ts";
import { S_IFREG } from "../../abi/stat.ts";
import type { Path } from "../../vfs/dentry.ts";
import { Dentry, Mount } from "../../vfs/dentry.ts";
import { File } from "../../vfs/file.ts";
import type { Inode, Stat } from "../../vfs/inode.ts";
import { type PseudoFs, PseudoInode } from "../pseudo/node.ts";
import type { LinkEntry } from "./process-entry.ts";

/** Entry → kind and inode number: those of Linux' initial namespaces. */
const NAMESPACES: Record<string, [kind: string, ino: number]> = {
  cgroup: ["cgroup", 4026531835],
  ipc: ["ipc", 4026531839],
  mnt: ["mnt", 4026531841],
  net: ["net", 4026531840],
  pid: ["pid", 4026531836],
  pid_for_children: ["pid", 4026531836],
  time: ["time", 4026531834],
  time_for_children: ["time", 4026531834],
  user: ["user", 4026531837],
  uts: ["uts", 4026531838],
};
export const namespaceNames = Object.keys(NAMESPACES);

class NamespaceInode extends PseudoInode {
  constructor(
    fs: PseudoFs,
    readonly name: string,
    ino: number,
  ) {
    super(fs, S_IFREG, 0o444, ino);
  }
  override getattr(): Stat | number {
    const attr = super.getattr();
    // Namespaces of one kind are told apart by device and number: nsfs has a device of its own.
    return typeof attr === "number" ? attr : { ...attr, dev: 4, blksize: 4096 };
  }
  override standsFor(other: Inode): boolean {
    return other instanceof NamespaceInode && other.ino === this.ino;
  }
  override open(path: Path, flags: number): File {
    return new NamespaceFile(flags, path, this);
  }
}

class NamespaceFile extends File {
  override description(): string {
    return this.path!.dentry.name;
  }
}

export function namespaceLink(fs: PseudoFs, entry: string): LinkEntry {
  const [kind, ino] = NAMESPACES[entry]!;
  const name = `${kind}:[${ino}]`;
  return {
    readlink: (task) => (task.process.zombie ? -ENOENT : name),
    follow() {
      const inode = new NamespaceInode(fs, name, ino);
      const dentry = new Dentry(name, null, inode);
      dentry.parent = dentry;
      return { mount: new Mount(0, fs, dentry, null, null, 0), dentry };
    },
  };
}
