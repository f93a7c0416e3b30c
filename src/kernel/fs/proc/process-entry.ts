/** Nodes below /proc/PID: files and links described by a table entry and the process they are about. */
import { EACCES, EIO, ESRCH } from "../../abi/errno.ts";
import { S_IFLNK, S_IFREG } from "../../abi/stat.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import type { Inode, Timespec } from "../../vfs/inode.ts";
import { PseudoLinkBase } from "../pseudo/link.ts";
import type { Owner } from "../pseudo/node.ts";
import { type Content, PseudoFile } from "../pseudo/text.ts";
import { mayInspect, type Target } from "./target.ts";

/** A file of /proc/PID or /proc/PID/task/TID. */
export interface FileEntry {
  readonly mode: number;
  /** Only for those who may inspect the process: checked at open. */
  readonly guarded?: boolean;
  /** Not in /proc/PID/task/TID, or only there. */
  readonly only?: "process" | "thread";
  read(task: Task, reader: Task, target: Target): Content;
  write?(task: Task, text: string, writer: Task, target: Target): number;
  /** Files that are not text bring their own open file. */
  open?(path: Path, flags: number, task: Task, opener: Task): File | number;
}

/** A link of /proc/PID. */
export interface LinkEntry {
  readonly only?: "process" | "thread";
  /** st_size, where Linux shows one. */
  readonly size?: number;
  readlink(task: Task, reader: Task): string | number;
  follow(task: Task, reader: Task): Path | number;
}

export const isLink = (entry: FileEntry | LinkEntry): entry is LinkEntry => "follow" in entry;
export const entryType = (entry: FileEntry | LinkEntry): number => (isLink(entry) ? S_IFLNK : S_IFREG);

export class ProcessFile extends PseudoFile {
  constructor(
    readonly target: Target,
    readonly entry: FileEntry,
    ino: number,
  ) {
    super(target.fs, entry.mode, ino);
  }
  override standsFor(other: Inode): boolean {
    return other instanceof ProcessFile && other.ino === this.ino && other.target.process === this.target.process;
  }
  override owner(): Owner {
    return this.target.owner();
  }
  override time(): Timespec {
    return processTime(this.target);
  }
  override checkOpen(opener: Task, _flags: number): number {
    const task = this.target.task;
    if (task === null) return -ESRCH;
    return this.entry.guarded && !mayInspect(opener, task) ? -EACCES : 0;
  }
  override open(path: Path, flags: number, opener: Task): File | number {
    const denied = this.checkOpen(opener, flags);
    if (denied < 0) return denied;
    return this.entry.open ? this.entry.open(path, flags, this.target.task!, opener) : super.open(path, flags, opener);
  }
  override content(reader: Task): Content {
    const task = this.target.task;
    return task === null ? -ESRCH : this.entry.read(task, reader, this.target);
  }
  override write(writer: Task, text: string): number {
    const task = this.target.task;
    if (task === null) return -ESRCH;
    return this.entry.write ? this.entry.write(task, text, writer, this.target) : -EIO;
  }
}

export class ProcessLink extends PseudoLinkBase {
  constructor(
    readonly target: Target,
    readonly entry: LinkEntry,
    ino: number,
    mode = 0o777,
  ) {
    super(target.fs, mode, ino);
  }
  override standsFor(other: Inode): boolean {
    return other instanceof ProcessLink && other.ino === this.ino && other.target.process === this.target.process;
  }
  override owner(): Owner {
    return this.target.owner();
  }
  override time(): Timespec {
    return processTime(this.target);
  }
  override size(): number {
    return this.entry.size ?? 0;
  }
  private reach(reader: Task): Task | number {
    const task = this.target.task;
    if (task === null) return -ESRCH;
    return mayInspect(reader, task) ? task : -EACCES;
  }
  override readlink(reader: Task): string | number {
    const task = this.reach(reader);
    return typeof task === "number" ? task : this.entry.readlink(task, reader);
  }
  override followMagic(reader: Task): Path | number {
    const task = this.reach(reader);
    return typeof task === "number" ? task : this.entry.follow(task, reader);
  }
}

/** When the process began, on the realtime clock. */
export function processTime(target: Target): Timespec {
  const { mountTime, mountMonotonic } = target.fs;
  const total = mountTime.nsec + (target.task?.startTime ?? mountMonotonic) - mountMonotonic;
  const sec = Math.floor(total / 1e9);
  return { sec: mountTime.sec + sec, nsec: Math.floor(total - sec * 1e9) };
}
