/** Nodes below /proc/PID: files and links described by a table entry and the process they are about. */
import { EACCES, EIO, EPERM, ESRCH } from "../../abi/errno.ts";
import { S_IFLNK, S_IFREG } from "../../abi/stat.ts";
import type { Mm } from "../../mm/mm.ts";
import type { Vma } from "../../mm/vma.ts";
import { code, persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import type { Inode, Timespec } from "../../vfs/inode.ts";
import { PseudoLinkBase } from "../pseudo/link.ts";
import type { Owner } from "../pseudo/node.ts";
import { type Content, PseudoFile } from "../pseudo/text.ts";
import { liveMm, mayInspect, type Target } from "./target.ts";

/** A file of /proc/PID or /proc/PID/task/TID. */
export interface FileEntry {
  readonly mode: number;
  /** Only for those who may inspect the process: checked at open. */
  readonly guarded?: boolean;
  /** Not in /proc/PID/task/TID, or only there. */
  readonly only?: "process" | "thread";
  read(task: Task, reader: Task, target: Target): Content;
  /** Of a long text, the part of one area of memory, in place of `read`. */
  area?(vma: Vma, mm: Mm, reader: Task): string;
  /** When to use `area` (always, without it). */
  areasIf?(mm: Mm): boolean;
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
  follow(task: Task, reader: Task, target: Target): Path | number;
}

export const isLink = (entry: FileEntry | LinkEntry): entry is LinkEntry => "follow" in entry;
export const entryType = (entry: FileEntry | LinkEntry): number => (isLink(entry) ? S_IFLNK : S_IFREG);

/** `table` is one of the program's: its entries are saved with a kernel as `name`/their own names. */
export function entries<E extends FileEntry | LinkEntry>(
  name: string,
  table: Readonly<Record<string, E>>,
): Readonly<Record<string, E>> {
  for (const [own, entry] of Object.entries(table)) code(`${name}/${own}`, entry);
  return table;
}

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
  override inParts(): boolean {
    const { area, areasIf } = this.entry;
    const task = this.target.task;
    const mm = area === undefined || task === null ? null : liveMm(task);
    return mm !== null && areasIf?.(mm) !== false;
  }
  /** The cursor is an address. */
  override part(reader: Task, cursor: number): { text: string; next: number } | null {
    const task = this.target.task;
    const mm = task === null ? null : liveMm(task);
    const vma = mm?.vmas.firstAbove(cursor);
    return mm && vma ? { text: this.entry.area!(vma, mm, reader), next: vma.end } : null;
  }
  override write(writer: Task, text: string): number {
    const task = this.target.task;
    if (task === null) return -ESRCH;
    // A descriptor of somebody else's /proc is no way to change processes that the writer has no number for.
    if (writer.pids !== task.pids) return -EPERM;
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
  protected reach(reader: Task): Task | number {
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
    return typeof task === "number" ? task : this.entry.follow(task, reader, this.target);
  }
}

/** When the process began, on the realtime clock. */
export function processTime(target: Target): Timespec {
  const { mountTime, mountMonotonic } = target.fs;
  const total = mountTime.nsec + (target.task?.startTime ?? mountMonotonic) - mountMonotonic;
  const sec = Math.floor(total / 1e9);
  return { sec: mountTime.sec + sec, nsec: Math.floor(total - sec * 1e9) };
}

persistent("process-file", ProcessFile);
persistent("process-link", ProcessLink);
