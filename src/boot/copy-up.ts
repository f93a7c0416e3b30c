/**
 * tmpcopyup: what the image has in a directory goes into the tmpfs that is mounted over it.
 *
 * Bounded by the size of the tmpfs and a number of files. Directories, regular files, links and nodes with owner, mode
 * and time; not: extended attributes, and hard links, which become copies. Mounts below are not entered.
 */
import { ENOSPC } from "../kernel/abi/errno.ts";
import { O_DIRECTORY, O_WRONLY } from "../kernel/abi/fcntl.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../kernel/abi/stat.ts";
import type { Task } from "../kernel/task/task.ts";
import { Dentry, type Path } from "../kernel/vfs/dentry.ts";
import type { Inode, Stat } from "../kernel/vfs/inode.ts";
import { KernelIo } from "../kernel/vfs/io.ts";
import { Walk } from "../kernel/vfs/walk.ts";

const ENTRIES_MAX = 100_000;
const BLOCK = 1 << 20;

/** 0, or -errno. */
export function copyUp(task: Task, from: Path, to: Path): number {
  const walk = new Walk(task, 0);
  const pending: [Path, Path][] = [[from, to]];
  let entries = 0;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [source, target] = next;
    const names = namesIn(task, source, ENTRIES_MAX - entries);
    if (typeof names === "number") return names;
    entries += names.length;
    for (const name of names) {
      walk.mount = source.mount;
      walk.dentry = source.dentry;
      const dentry = walk.child(name, true);
      if (typeof dentry === "number") return dentry;
      const original = { mount: source.mount, dentry };
      const copied = copyOne(task, original, target);
      if (typeof copied === "number") return copied;
      if (dentry.inode.type === S_IFDIR)
        pending.push([original, { mount: target.mount, dentry: new Dentry(name, target.dentry, copied) }]);
    }
  }
  return 0;
}

function namesIn(task: Task, place: Path, max: number): string[] | number {
  const directory = place.dentry.inode.open(place, O_DIRECTORY, task);
  if (typeof directory === "number") return directory;
  const names: string[] = [];
  try {
    for (let before = -1; before < names.length; ) {
      before = names.length;
      const result = directory.readdir(task, (name) => {
        if (name !== "." && name !== "..") names.push(name);
        return names.length <= max;
      });
      if (result < 0) return result;
      if (names.length > max) return -ENOSPC;
    }
  } finally {
    directory.release();
  }
  return names;
}

function copyOne(task: Task, original: Path, target: Path): Inode | number {
  const { inode, name } = original.dentry;
  const stat = inode.getattr();
  if (typeof stat === "number") return stat;
  const node = { mode: stat.mode, uid: stat.uid, gid: stat.gid };
  const directory = target.dentry.inode;
  switch (stat.mode & S_IFMT) {
    case S_IFDIR:
      return directory.mkdir(name, node);
    case S_IFLNK: {
      const text = inode.readlink(task);
      return typeof text === "number" ? text : directory.symlink(name, text, node);
    }
    case S_IFREG: {
      const made = directory.create(name, node);
      if (typeof made === "number") return made;
      const copy = { mount: target.mount, dentry: new Dentry(name, target.dentry, made) };
      const copied = copyContent(task, original, copy, stat);
      return copied < 0 ? copied : made;
    }
    default:
      return directory.mknod(name, node, stat.rdev);
  }
}

function copyContent(task: Task, from: Path, to: Path, { mtime, mode }: Stat): number {
  const source = from.dentry.inode.open(from, 0, task);
  if (typeof source === "number") return source;
  const target = to.dentry.inode.open(to, O_WRONLY, task);
  if (typeof target === "number") {
    source.release();
    return target;
  }
  try {
    const block = new Uint8Array(BLOCK);
    for (let at = 0; ; ) {
      const got = source.read(task, new KernelIo(block), at);
      if (got <= 0) {
        if (got < 0) return got;
        break;
      }
      for (let done = 0; done < got; ) {
        const put = target.write(task, new KernelIo(block.subarray(done, got)), at + done);
        if (put <= 0) return put < 0 ? put : -ENOSPC;
        done += put;
      }
      at += got;
    }
  } finally {
    source.release();
    target.release();
  }
  // Writing may have taken set-id bits away.
  return to.dentry.inode.setattr({ mtime, mode: mode & 0o7777 });
}
