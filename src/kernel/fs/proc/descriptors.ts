/**
 * /proc/PID/{fd,fdinfo}, and the magic links exe, cwd, root: from a process to what it holds.
 *
 * Source: proc_pid_fd(5), proc_pid_fdinfo(5), symlink(7) "Magic links". Following a link leads to the very file, by no
 * path: it works for what was deleted and for what never had a name.
 */

import { EACCES, ENOENT, ENXIO, ESRCH } from "../../abi/errno.ts";
import { O_CLOEXEC, O_PATH } from "../../abi/fcntl.ts";
import { ANON_INODE_FS_MAGIC, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../../abi/stat.ts";
import { openFifo, PipeFile } from "../../ipc/pipe.ts";
import { persistent } from "../../state/registry.ts";
import { RUN_ZOMBIE, type Task } from "../../task/task.ts";
import { Dentry, Mount, type Path } from "../../vfs/dentry.ts";
import type { FdTable } from "../../vfs/fd-table.ts";
import type { File } from "../../vfs/file.ts";
import { FileSystem, Inode, type Ownership, type Stat, type StatFs, uncounted } from "../../vfs/inode.ts";
import { pathString } from "../../vfs/namei.ts";
import { type ComputedEntry, PseudoDirectory } from "../pseudo/directory.ts";
import type { Owner } from "../pseudo/node.ts";
import type { Content } from "../pseudo/text.ts";
import { entries, type FileEntry, type LinkEntry, ProcessFile, ProcessLink, processTime } from "./process-entry.ts";
import { mayInspect, type Target } from "./target.ts";

/** What a link to an open file shows. */
export function fileName(reader: Task, file: File): string {
  return file.path === null ? file.description() : pathString(reader, file.path);
}

/** Where files without a name live: a file system that is mounted nowhere. */
class AnonymousFs extends FileSystem {
  override readonly type = "anon_inodefs";
  override readonly revalidates = true;
  override readonly root: Inode;
  constructor(file: File) {
    super();
    this.dev = 14;
    this.root = new AnonymousInode(this, file);
  }
  override statfs(): StatFs {
    return uncounted(ANON_INODE_FS_MAGIC);
  }
}

/** Stands for the inode of a file that has none: shows its attributes. Only pipes can be opened anew. */
class AnonymousInode extends Inode {
  readonly ino: number;
  readonly type: number;
  constructor(
    readonly fs: FileSystem,
    readonly file: File,
  ) {
    super();
    const attr = file.getattr();
    this.ino = typeof attr === "number" ? 0 : attr.ino;
    this.type = typeof attr === "number" ? 0 : attr.mode & S_IFMT;
    if (file instanceof PipeFile) this.fifo = file.pipe;
  }
  override getattr(): Stat | number {
    return this.file.getattr();
  }
  override open(_path: Path, flags: number, task: Task): File | number {
    return this.fifo === null ? -ENXIO : openFifo(this, flags, task);
  }
}

/** The place of an open file, made up for those that have no path. */
export function placeOf(file: File): Path {
  if (file.path !== null) return file.path;
  const inode = file.inode ?? new AnonymousFs(file).root;
  const dentry = new Dentry(file.description(), null, inode);
  dentry.parent = dentry;
  return { mount: new Mount(0, inode.fs, dentry, null, null, 0), dentry };
}

/** The descriptor table of a process that still has one. */
function tableOf(target: Target): FdTable | null {
  const task = target.task;
  return task === null || task.runState >= RUN_ZOMBIE ? null : task.files;
}

/** Inode numbers below: see ino.ts. */
export class DescriptorDirectory extends PseudoDirectory {
  constructor(
    readonly target: Target,
    /** Links to the files (fd), or texts about them (fdinfo). */
    readonly asLinks: boolean,
    ino: number,
  ) {
    super(target.fs, asLinks ? 0o500 : 0o555, ino);
  }
  override owner(): Owner {
    return this.target.owner();
  }
  /** A process always gets at its own descriptors, whoever owns the directory by now. */
  override ownership(): Ownership | number {
    const reader = this.target.fs.kernel.current;
    if (reader === null || reader.process !== this.target.task?.process) return super.ownership();
    return { mode: S_IFDIR | 0o500, uid: reader.cred.fsuid, gid: reader.cred.fsgid };
  }
  override time() {
    return processTime(this.target);
  }
  override size(): number {
    return this.asLinks ? (tableOf(this.target)?.count ?? 0) : 0;
  }
  private allowed(reader: Task): number {
    const task = this.target.task;
    if (task === null) return -ESRCH;
    return mayInspect(reader, task) ? 0 : -EACCES;
  }
  protected override checkOpen(task: Task): number {
    return this.allowed(task);
  }
  protected override lookupComputed(name: string, reader: Task): Inode | number {
    if (!/^(0|[1-9]\d{0,9})$/.test(name)) return -ENOENT;
    const denied = this.allowed(reader);
    if (denied < 0) return denied;
    const fd = Number(name);
    const table = tableOf(this.target);
    const file = table?.get(fd);
    if (table === null || file === undefined) return -ENOENT;
    const ino = this.ino + 1 + fd;
    if (!this.asLinks) return new DescriptorText(this.target, fd, ino);
    const mode = file.flags & O_PATH ? 0 : (file.readable ? 0o500 : 0) | (file.writable ? 0o300 : 0);
    return new DescriptorLink(this.target, fd, ino, mode);
  }
  protected override *listComputed(_task: Task, from: number): Iterable<ComputedEntry> {
    const table = tableOf(this.target);
    if (table === null) return;
    for (const [fd] of table.entries())
      if (fd >= from)
        yield { key: fd, name: String(fd), ino: this.ino + 1 + fd, type: this.asLinks ? S_IFLNK : S_IFREG };
  }
}

/** What all of them have in common; what differs is the descriptor. */
const { text: TEXT, link: LINK } = entries<FileEntry | LinkEntry>("proc/fd", {
  text: { mode: 0o444, read: () => -ENOENT },
  link: { size: 64, readlink: () => -ENOENT, follow: () => -ENOENT },
}) as { text: FileEntry; link: LinkEntry };

/** /proc/PID/fdinfo/FD. */
class DescriptorText extends ProcessFile {
  constructor(
    target: Target,
    readonly fd: number,
    ino: number,
  ) {
    super(target, TEXT, ino);
  }
  override content(reader: Task): Content {
    return this.target.task === null ? -ESRCH : fdInfo(this.target, this.fd, reader);
  }
}

/** /proc/PID/fd/FD. */
class DescriptorLink extends ProcessLink {
  constructor(
    target: Target,
    readonly fd: number,
    ino: number,
    mode: number,
  ) {
    super(target, LINK, ino, mode);
  }
  private file(reader: Task): File | number {
    const task = this.reach(reader);
    return typeof task === "number" ? task : (tableOf(this.target)?.get(this.fd) ?? -ENOENT);
  }
  override readlink(reader: Task): string | number {
    const file = this.file(reader);
    return typeof file === "number" ? file : fileName(reader, file);
  }
  override followMagic(reader: Task): Path | number {
    const file = this.file(reader);
    return typeof file === "number" ? file : placeOf(file);
  }
}

function fdInfo(target: Target, fd: number, reader: Task): string | number {
  const table = tableOf(target);
  const file = table?.get(fd);
  if (table === null || file === undefined) return -ENOENT;
  const flags = (file.flags | (table.isCloexec(fd) ? O_CLOEXEC : 0)) >>> 0;
  const attr = file.getattr();
  return (
    `pos:\t${file.pos}\nflags:\t0${flags.toString(8)}\nmnt_id:\t${file.path?.mount.id ?? 15}\n` +
    `ino:\t${typeof attr === "number" ? 0 : attr.ino}\n${file.fdInfo(reader)}`
  );
}

/** exe, cwd and root: a Path that the process holds. */
function held(get: (task: Task) => Path | null): LinkEntry {
  return {
    readlink(task, reader) {
      const path = task.runState >= RUN_ZOMBIE ? null : get(task);
      return path === null ? -ENOENT : pathString(reader, path);
    },
    follow(task) {
      const path = task.runState >= RUN_ZOMBIE ? null : get(task);
      return path === null ? -ENOENT : path;
    },
  };
}
export const exe = held((task) => task.process.executable);
export const cwd = held((task) => task.fs.cwd);
export const root = held((task) => task.fs.root);

persistent("anonymous-fs", AnonymousFs);
persistent("anonymous-inode", AnonymousInode);
persistent("descriptor-directory", DescriptorDirectory);
persistent("descriptor-text", DescriptorText);
persistent("descriptor-link", DescriptorLink);
