/**
 * Directories of pseudo file systems: children that stay, and children that are computed when somebody looks.
 *
 * Source: readdir(2). Invariant: an entry's offset depends on the entry alone (its place among the fixed ones, or its
 * key), so listing goes on correctly while computed entries come and go.
 */
import { EACCES, ENOENT, ENOTDIR, EPERM } from "../../abi/errno.ts";
import { directoryType, S_IFDIR } from "../../abi/stat.ts";
import { persistent, remade } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { DirectoryFile } from "../../vfs/directory-file.ts";
import type { EmitEntry, File } from "../../vfs/file.ts";
import type { Inode } from "../../vfs/inode.ts";
import { byPlace, type PseudoFs, PseudoInode } from "./node.ts";

/** One computed entry. `key` orders the listing and must not change while the entry lives. */
export interface ComputedEntry {
  key: number;
  name: string;
  ino: number;
  /** S_IF* bits. */
  type: number;
}

export class PseudoDirectory extends PseudoInode {
  protected readonly children = new Map<string, PseudoInode>();

  constructor(fs: PseudoFs, mode = 0o555, ino?: number) {
    super(fs, S_IFDIR, mode, ino);
  }

  add<N extends PseudoInode>(name: string, node: N): N {
    this.children.set(name, node);
    return node;
  }
  /** The directory at a relative path, made as needed. */
  directory(path: string): PseudoDirectory {
    let at: PseudoDirectory = this;
    for (const name of path.split("/")) {
      const next = at.children.get(name);
      at = next instanceof PseudoDirectory ? next : at.add(name, new PseudoDirectory(this.fs));
    }
    return at;
  }

  override get fixedChildren(): ReadonlyMap<string, PseudoInode> {
    return this.children;
  }

  override links(): number {
    let n = 2;
    for (const child of this.children.values()) if (child.type === S_IFDIR) n++;
    return n;
  }

  override lookup(name: string, task: Task, known: Inode | null = null): Inode | number {
    const found = this.fixed(task).get(name) ?? this.lookupComputed(name, task) ?? -ENOENT;
    return known instanceof PseudoInode && typeof found !== "number" && known.standsFor(found) ? known : found;
  }
  override create(): number {
    return this.fs.namesAppear ? -EACCES : -ENOENT;
  }
  override mkdir(): number {
    return this.fs.namesAppear ? -EPERM : -ENOENT;
  }
  override mknod(): number {
    return this.mkdir();
  }
  override symlink(): number {
    return this.mkdir();
  }
  override link(): number {
    return this.mkdir();
  }

  /** The children that have a fixed order; a subclass may choose them by what the directory stands for. */
  protected fixed(_task: Task): ReadonlyMap<string, PseudoInode> {
    return this.children;
  }
  protected lookupComputed(_name: string, _task: Task): Inode | number | null {
    return null;
  }
  /** Entries with key >= from, ascending. */
  protected listComputed(_task: Task, _from: number): Iterable<ComputedEntry> {
    return [];
  }
  /** -errno when the directory's subject is gone or the task may not look. */
  protected checkOpen(_task: Task): number {
    return 0;
  }

  override open(path: Path, flags: number, task: Task): File | number {
    const denied = this.checkOpen(task);
    return denied < 0 ? denied : new PseudoDirectoryFile(flags, path, this);
  }

  /** Emits from `pos` on and returns the new position, or -errno. */
  emitFrom(task: Task, pos: number, parentIno: number, emit: EmitEntry): number {
    const gone = this.checkOpen(task);
    if (gone < 0) return gone;
    if (pos === 0) {
      if (!emit(".", this.ino, directoryType(S_IFDIR), 1)) return pos;
      pos = 1;
    }
    if (pos === 1) {
      if (!emit("..", parentIno, directoryType(S_IFDIR), 2)) return pos;
      pos = 2;
    }
    if (pos < COMPUTED) {
      let at = 2;
      for (const [name, node] of this.fixed(task)) {
        if (at >= pos) {
          if (!emit(name, node.ino, directoryType(node.type), at + 1)) return pos;
          pos = at + 1;
        }
        at++;
      }
      pos = COMPUTED;
    }
    for (const entry of this.listComputed(task, pos - COMPUTED)) {
      const next = COMPUTED + entry.key + 1;
      if (!emit(entry.name, entry.ino, directoryType(entry.type), next)) return pos;
      pos = next;
    }
    return pos;
  }
}

/** Offsets of computed entries start here; no directory has as many fixed ones. */
const COMPUTED = 0x10000;

export class PseudoDirectoryFile extends DirectoryFile {
  constructor(
    flags: number,
    path: Path,
    readonly directory: PseudoDirectory,
  ) {
    super(flags, path, directory);
  }
  override readdir(task: Task, emit: EmitEntry): number {
    const parent = this.path!.dentry.parent?.inode.ino ?? this.directory.ino;
    const pos = this.directory.emitFrom(task, this.pos, parent, emit);
    if (pos < 0) return pos === -ENOTDIR ? -ENOENT : pos;
    this.pos = pos;
    return 0;
  }
}

remade("pseudo-directory", PseudoDirectory, byPlace());
persistent("pseudo-directory-file", PseudoDirectoryFile);
