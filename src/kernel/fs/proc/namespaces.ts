/**
 * /proc/PID/ns: names of the namespaces a process is in. Containers have theirs, or share them.
 *
 * Source: namespaces(7), ioctl_ns(2). Gaps: opened, they are empty files; there is nothing else to enter.
 */
import { ENOENT } from "../../abi/errno.ts";
import { S_IFREG } from "../../abi/stat.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { Dentry, Mount } from "../../vfs/dentry.ts";
import { File } from "../../vfs/file.ts";
import type { Inode, Stat } from "../../vfs/inode.ts";
import { type PseudoFs, PseudoInode } from "../pseudo/node.ts";
import { entries, type LinkEntry } from "./process-entry.ts";

/** Entry → kind, and the number of the one that a task is in. */
const NAMESPACES: Record<string, [kind: string, number: (task: Task) => number]> = {
  cgroup: ["cgroup", ({ container }) => container.namespaces.cgroup],
  ipc: ["ipc", ({ container }) => container.ipc.namespace],
  mnt: ["mnt", ({ fs, container }) => fs.namespace?.number ?? container.namespaces.mnt],
  net: ["net", ({ kernel }) => kernel.namespaces.only("net")],
  pid: ["pid", ({ pids }) => pids.namespace],
  pid_for_children: ["pid", ({ pids }) => pids.namespace],
  time: ["time", ({ kernel }) => kernel.namespaces.only("time")],
  time_for_children: ["time", ({ kernel }) => kernel.namespaces.only("time")],
  user: ["user", ({ kernel }) => kernel.namespaces.only("user")],
  uts: ["uts", ({ container }) => container.uts.namespace],
};

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

/** The links of /proc/PID/ns, by name. */
export const namespaceLinks = entries(
  "proc/ns",
  Object.fromEntries(Object.entries(NAMESPACES).map(([name, [kind, number]]) => [name, namespaceLink(kind, number)])),
);

function namespaceLink(kind: string, number: (task: Task) => number): LinkEntry {
  const nameOf = (task: Task) => `${kind}:[${number(task)}]`;
  return {
    readlink: (task) => (task.process.zombie ? -ENOENT : nameOf(task)),
    follow(task, _reader, { fs }) {
      if (task.process.zombie) return -ENOENT;
      const name = nameOf(task);
      const inode = new NamespaceInode(fs, name, number(task));
      const dentry = new Dentry(name, null, inode);
      dentry.parent = dentry;
      return { mount: new Mount(0, fs, dentry, null, null, 0), dentry };
    },
  };
}

persistent("namespace-inode", NamespaceInode);
persistent("namespace-file", NamespaceFile);
