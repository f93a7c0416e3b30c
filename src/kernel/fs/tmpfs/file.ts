/** Open files and directories of tmpfs. Source: read(2), write(2), getdents(2), fallocate(2). */

import type { HostMemory } from "../../../platform/platform.ts";
import { ENODEV, EPERM } from "../../abi/errno.ts";
import { O_NOATIME } from "../../abi/fcntl.ts";
import { directoryType } from "../../abi/stat.ts";
import { Slice } from "../../slice.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { MNT_NOATIME, type Path } from "../../vfs/dentry.ts";
import { DirectoryFile } from "../../vfs/directory-file.ts";
import { type EmitEntry, File } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { stripPrivileges } from "../../vfs/permission.ts";
import { F_SEAL_FUTURE_WRITE, F_SEAL_SEAL, F_SEAL_WRITE, type TmpfsEntry, type TmpfsNode } from "./node.ts";

function keepsAccessTime(file: File): boolean {
  return (file.flags & O_NOATIME) !== 0 || (file.path !== null && (file.path.mount.flags & MNT_NOATIME) !== 0);
}

/** Brings a file's bytes to where they can be mapped: 0, -errno, or BLOCKED with a part of it done. */
export function promoteInSlices(task: Task, { content, uid }: TmpfsNode): number {
  const result = content === null ? 0 : content.promoteSome(uid, new Slice(task.kernel));
  return result > 0 ? task.giveWay() : result;
}

export class TmpfsFile extends File {
  override readonly seekable = true;
  constructor(
    flags: number,
    path: Path | null,
    readonly node: TmpfsNode,
  ) {
    super(flags, path, node);
  }
  override read(_task: Task, io: Io, offset: number): number {
    const n = this.node.read(io, offset);
    if (n > 0 && !keepsAccessTime(this)) this.node.touchAccessed();
    return n;
  }
  override write(task: Task, io: Io, offset: number): number {
    if (this.node.mode & 0o6000) stripPrivileges(task, this.node);
    return this.node.write(io, offset);
  }
  override size(): number {
    return this.node.size;
  }
  override seekData(offset: number, hole: boolean): number {
    return this.node.content!.seek(offset, hole);
  }
  override truncate(size: number): number {
    return this.node.resize(size);
  }
  override fallocate(mode: number, offset: number, length: number): number {
    return this.node.fallocate(mode, offset, length);
  }
  override fsync(): number {
    return 0;
  }
  override seals(): number {
    return this.node.seals;
  }
  override addSeals(seals: number): number {
    if (this.node.seals & F_SEAL_SEAL) return -EPERM;
    const sealed = this.node.content?.seal(seals) ?? 0;
    if (sealed < 0) return sealed;
    this.node.seals |= seals;
    return 0;
  }
  override prepareMapping(task: Task): number {
    return promoteInSlices(task, this.node);
  }
  override mapMemory(shared: boolean, writable: boolean): HostMemory | number {
    if (shared && writable && this.node.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) return -EPERM;
    const content = this.node.content;
    if (content === null) return -ENODEV;
    const result = content.promote(this.node.uid);
    return result < 0 ? result : content;
  }
}

/** A directory being read: its position is the cookie of the next entry. */
export class TmpfsDirectoryFile extends DirectoryFile {
  /** Entries made after the listing began do not appear, so that renaming what one reads comes to an end. */
  private limit = 0;
  /** Where the iterator stands: it is only a short cut, `pos` is the truth. */
  private iterator: Iterator<[string, TmpfsEntry]> | null = null;
  private peeked: [string, TmpfsEntry] | null = null;
  private iteratorPos = -1;

  constructor(
    flags: number,
    path: Path,
    readonly node: TmpfsNode,
  ) {
    super(flags, path, node);
    this.limit = node.nextCookie;
  }
  override size(): number {
    return this.node.size;
  }
  override readdir(_task: Task, emit: EmitEntry): number {
    const node = this.node;
    if (this.pos === 0) {
      this.limit = node.nextCookie;
      this.iterator = null;
    }
    if (!this.emitDots(emit, node.ino, (node.parent ?? node).ino)) return 0;
    if (this.iterator === null || this.iteratorPos !== this.pos) {
      this.iterator = node.entries!.entries();
      this.peeked = null;
    }
    for (;;) {
      let next: [string, TmpfsEntry] | null = this.peeked;
      this.peeked = null;
      // What was peeked at may have been removed since.
      if (next !== null && node.entries!.get(next[0]) !== next[1]) next = null;
      if (next === null) {
        const step = this.iterator.next();
        if (step.done) break;
        next = step.value;
      }
      const [name, entry] = next;
      if (entry.cookie < this.pos) continue;
      if (entry.cookie >= this.limit) break;
      if (!emit(name, entry.node.ino, directoryType(entry.node.mode), entry.cookie + 1)) {
        this.peeked = next;
        break;
      }
      this.pos = entry.cookie + 1;
    }
    this.iteratorPos = this.pos;
    if (!keepsAccessTime(this)) node.touchAccessed();
    return 0;
  }
}

persistent("tmpfs-file", TmpfsFile);
// Where the iterator stands is but a short cut: it goes on from its position without one.
persistent("tmpfs-directory-file", TmpfsDirectoryFile, {
  transient: { iterator: () => null, peeked: () => null, iteratorPos: () => -1 },
});
