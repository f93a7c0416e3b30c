/**
 * /proc/PID, /proc/PID/task and /proc/PID/task/TID.
 *
 * Inode numbers are made from the thread's id, so that every lookup of the same file gives the same number:
 * (id + 1) * 2^24 + area * 2^20 + index, where an area holds up to 2^20 entries (descriptors are the most).
 */
import { ENOENT, ESRCH } from "../../abi/errno.ts";
import { S_IFDIR } from "../../abi/stat.ts";
import { persistent } from "../../state/registry.ts";
import { RUN_DEAD, type Task } from "../../task/task.ts";
import type { Inode } from "../../vfs/inode.ts";
import { type ComputedEntry, PseudoDirectory } from "../pseudo/directory.ts";
import type { Owner, PseudoInode } from "../pseudo/node.ts";
import { DescriptorDirectory } from "./descriptors.ts";
import { namespaceLinks } from "./namespaces.ts";
import type { ProcFs } from "./proc-fs.ts";
import { type FileEntry, isLink, type LinkEntry, ProcessFile, ProcessLink, processTime } from "./process-entry.ts";
import { attributeFiles, processFiles } from "./process-files.ts";
import { Target } from "./target.ts";

const AREA_FILES = 0;
const AREA_FD = 1;
const AREA_FDINFO = 2;
const AREA_NS = 3;
const AREA_ATTR = 4;
const AREA_TASK = 5;
/** The same again for /proc/PID/task/PID. */
const AREA_THREAD = 8;

const areaIno = (id: number, area: number): number => (id + 1) * 2 ** 24 + area * 2 ** 20;

/** A directory about a process whose entries do not change while it lives. */
class TargetDirectory extends PseudoDirectory {
  constructor(
    readonly target: Target,
    mode: number,
    ino: number,
  ) {
    super(target.fs, mode, ino);
  }
  override owner(): Owner {
    return this.target.owner();
  }
  override time() {
    return processTime(this.target);
  }
  /** What looking for a name gives once the process is gone. */
  protected readonly goneError: number = -ENOENT;
  override standsFor(other: Inode): boolean {
    return other instanceof TargetDirectory && other.ino === this.ino && other.target.process === this.target.process;
  }
  override lookup(name: string, task: Task, known: Inode | null = null): Inode | number {
    return this.target.task === null ? this.goneError : super.lookup(name, task, known);
  }
  protected override checkOpen(): number {
    return this.target.task === null ? -ENOENT : 0;
  }
  protected addAll(entries: Readonly<Record<string, FileEntry | LinkEntry>>, area: number): void {
    let ino = area;
    for (const [name, entry] of Object.entries(entries)) {
      ino++;
      if (entry.only === (this.target.thread === null ? "thread" : "process")) continue;
      this.add(
        name,
        isLink(entry) ? new ProcessLink(this.target, entry, ino) : new ProcessFile(this.target, entry, ino),
      );
    }
  }
}

/** /proc/PID (target.thread null) or /proc/PID/task/TID. */
export class ProcessDirectory extends TargetDirectory {
  private filled = false;
  protected override readonly goneError = -ESRCH;

  constructor(target: Target) {
    const id = target.thread?.tid ?? target.process.pid;
    super(target, 0o555, areaIno(id, target.thread === null ? AREA_FILES : AREA_FILES + AREA_THREAD));
  }

  /** Most walks end in one file of one process: the nodes are made when first asked for. */
  protected override fixed(): ReadonlyMap<string, PseudoInode> {
    if (!this.filled) this.fill();
    return this.children;
  }

  private fill(): void {
    this.filled = true;
    const { target } = this;
    const id = target.thread?.tid ?? target.process.pid;
    const shift = target.thread === null ? 0 : AREA_THREAD;
    const area = (n: number) => areaIno(id, n + shift);
    if (target.thread === null) this.add("task", new TaskDirectory(target, area(AREA_TASK)));
    this.add("fd", new DescriptorDirectory(target, true, area(AREA_FD)));
    this.add("fdinfo", new DescriptorDirectory(target, false, area(AREA_FDINFO)));
    this.add("ns", new NamespaceDirectory(target, area(AREA_NS)));
    this.add("attr", new AttributeDirectory(target, area(AREA_ATTR)));
    this.add("net", (this.fs as ProcFs).net);
    this.addAll(processFiles, area(AREA_FILES));
  }

  override links(): number {
    // Subdirectories are counted without making them: fd, fdinfo, ns, attr, net, and task.
    return this.target.thread === null ? 8 : 7;
  }
}

class NamespaceDirectory extends TargetDirectory {
  constructor(target: Target, ino: number) {
    super(target, 0o511, ino);
    let at = ino;
    for (const [name, link] of Object.entries(namespaceLinks)) this.add(name, new ProcessLink(target, link, ++at));
  }
}

class AttributeDirectory extends TargetDirectory {
  constructor(target: Target, ino: number) {
    super(target, 0o555, ino);
    this.addAll(attributeFiles, ino);
  }
}

class TaskDirectory extends TargetDirectory {
  protected override readonly goneError = -ESRCH;
  constructor(target: Target, ino: number) {
    super(target, 0o555, ino);
  }
  private threads(): Task[] {
    return this.target.process.tasks.filter((task) => task.runState !== RUN_DEAD);
  }
  override links(): number {
    return 2 + this.threads().length;
  }
  protected override lookupComputed(name: string): Inode | number | null {
    if (!/^[1-9]\d*$/.test(name)) return null;
    const task = this.threads().find((thread) => thread.tid === Number(name));
    return task === undefined ? -ENOENT : new ProcessDirectory(new Target(this.fs, this.target.process, task));
  }
  protected override *listComputed(_task: Task, from: number): Iterable<ComputedEntry> {
    if (this.target.task === null) return;
    for (const { tid } of this.threads().sort((a, b) => a.tid - b.tid))
      if (tid >= from)
        yield { key: tid, name: String(tid), ino: areaIno(tid, AREA_FILES + AREA_THREAD), type: S_IFDIR };
  }
}

persistent("process-subdirectory", TargetDirectory);
// What is in it is made again for whoever looks, with the same numbers.
persistent("process-directory", ProcessDirectory, {
  transient: { children: () => new Map(), filled: () => false },
});
persistent("namespace-directory", NamespaceDirectory);
persistent("attribute-directory", AttributeDirectory);
persistent("task-directory", TaskDirectory);
