/** Open files and directories of an overlay. Source: the same as for the layers. */
import type { HostMemory } from "../../../platform/platform.ts";
import { O_NOATIME } from "../../abi/fcntl.ts";
import { directoryType } from "../../abi/stat.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { MNT_NOATIME, type Path } from "../../vfs/dentry.ts";
import { DirectoryFile } from "../../vfs/directory-file.ts";
import { type EmitEntry, File } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { Listed } from "../../vfs/listed.ts";
import { stripPrivileges } from "../../vfs/permission.ts";
import { promoteInSlices } from "../tmpfs/file.ts";
import type { OverlayNode } from "./node.ts";

export class OverlayFile extends File {
  override readonly seekable = true;

  /** `below`: the lower file, open, while contents are there; what was mapped of it stays open with this file. */
  private constructor(
    flags: number,
    path: Path,
    readonly node: OverlayNode,
    private readonly below: File | null,
  ) {
    super(flags, path, node);
  }

  static open(flags: number, path: Path, node: OverlayNode, task: Task): OverlayFile | number {
    if (node.dataInUpper) return new OverlayFile(flags, path, node, null);
    const below = node.lower!.open(path, flags, task);
    return typeof below === "number" ? below : new OverlayFile(flags, path, node, below);
  }

  override read(task: Task, io: Io, offset: number): number {
    const { node } = this;
    if (!node.dataInUpper) return this.below!.read(task, io, offset);
    const n = node.upper!.read(io, offset);
    if (n > 0 && (this.flags & O_NOATIME) === 0 && (this.path!.mount.flags & MNT_NOATIME) === 0)
      node.upper!.touchAccessed();
    return n;
  }
  override write(task: Task, io: Io, offset: number): number {
    const upper = this.node.upper!;
    if (upper.mode & 0o6000) stripPrivileges(task, this.node);
    return upper.write(io, offset);
  }
  override size(): number {
    return this.node.dataInUpper ? this.node.upper!.size : this.below!.size();
  }
  override seekData(offset: number, hole: boolean): number {
    return this.node.dataInUpper ? this.node.upper!.content!.seek(offset, hole) : this.below!.seekData(offset, hole);
  }
  override truncate(size: number): number {
    return this.node.resize(size);
  }
  override fallocate(mode: number, offset: number, length: number): number {
    return this.node.upper!.fallocate(mode, offset, length);
  }
  override fsync(): number {
    return 0;
  }
  override prepareMapping(task: Task): number {
    if (!this.node.dataInUpper) return this.below!.prepareMapping(task);
    return promoteInSlices(task, this.node.upper!);
  }
  override mapMemory(shared: boolean, writable: boolean): HostMemory | number {
    const { node } = this;
    if (!node.dataInUpper) return this.below!.mapMemory(shared, writable);
    const upper = node.upper!;
    const content = upper.content!;
    const result = content.promote(upper.uid);
    return result < 0 ? result : content;
  }
  override onRelease(): void {
    this.below?.release();
  }
}

interface Entry {
  name: string;
  ino: number;
  type: number;
}

/**
 * A directory being read. One without changes is read below; otherwise the two layers are merged when the reading
 * starts, and position N is entry N of that.
 */
export class OverlayDirectoryFile extends DirectoryFile {
  private below: File | null = null;
  private merged: Entry[] | null = null;
  private readonly kept = new Listed();
  /** How many entries there were, once all have been read: they are not kept longer. -1 before. */
  private ended = -1;

  constructor(
    flags: number,
    path: Path,
    readonly node: OverlayNode,
  ) {
    super(flags, path, node);
  }
  override readdir(task: Task, emit: EmitEntry): number {
    const { node } = this;
    if (this.ended >= 0 && this.pos - 2 >= this.ended) return 0;
    if (this.pos === 0 || (this.below === null && this.merged === null)) {
      const result = this.start(task);
      if (result < 0) return result;
    }
    const { below } = this;
    if (below !== null) {
      below.pos = this.pos;
      const result = below.readdir(task, emit);
      this.pos = below.pos;
      return result;
    }
    const merged = this.merged!;
    if (!this.emitDots(emit, node.ino, (this.path!.dentry.parent?.inode ?? node).ino)) return 0;
    while (this.pos - 2 < merged.length) {
      const entry = merged[this.pos - 2]!;
      if (!emit(entry.name, entry.ino, entry.type, this.pos + 1)) return 0;
      this.pos++;
    }
    this.drop();
    this.ended = merged.length;
    return 0;
  }
  private drop(): void {
    this.merged = null;
    this.kept.clear();
  }

  /** Chooses how to read, at the start and after each rewind. */
  private start(task: Task): number {
    const { node, kept } = this;
    this.drop();
    this.ended = -1;
    const changed = node.entries !== null && node.entries.size > 0;
    if (!changed && node.lower !== null && node.upper?.nlink !== 0) {
      if (this.below !== null) return 0;
      const below = node.lower.open(this.path!, this.flags, task);
      if (typeof below === "number") return below;
      this.below = below;
      return 0;
    }
    this.below?.release();
    this.below = null;
    const merged: Entry[] = [];
    const { fsuid } = task.cred;
    let full = 0;
    if (node.lower !== null && node.upper?.nlink !== 0) {
      const result = node.listLower((name, ino, type) => {
        if (name === "." || name === ".." || node.entries!.has(name)) return true;
        full = kept.add(fsuid, 1);
        if (full === 0) merged.push({ name, ino, type });
        return full === 0;
      });
      if (result < 0) full = result;
    }
    if (node.entries !== null && full === 0) full = kept.add(fsuid, node.entries.size);
    if (full < 0) {
      this.drop();
      return full;
    }
    if (node.entries !== null)
      for (const [name, entry] of node.entries)
        if (entry !== null) merged.push({ name, ino: entry.ino, type: directoryType(entry.type) });
    this.merged = merged;
    return 0;
  }
  override onRelease(): void {
    this.drop();
    this.below?.release();
  }
}

persistent("overlay-file", OverlayFile);
persistent("overlay-directory-file", OverlayDirectoryFile);
