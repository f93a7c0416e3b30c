/**
 * epoll: a set of files to watch, and the list of those that are ready.
 *
 * Source: epoll(7), epoll_ctl(2), Linux fs/eventpoll.c. An item sits in its file's wait queue and puts itself on the
 * ready list when told; epoll_wait asks each listed file again. Level-triggered items stay listed as long as they are
 * ready, edge-triggered ones leave with their report, one-shot ones are then switched off. An item holds no reference to
 * its file and goes with it. Invariant: `queued` is true exactly while an item is in `ready`.
 *
 * Bounded: ITEMS_MAX items in all (max_user_watches), nesting NESTING_MAX deep. One event goes
 * through each instance once, however many ways lead there.
 */
import { EEXIST, EINVAL, ELOOP, ENOENT, ENOSPC } from "../abi/errno.ts";
import type { Kernel } from "../kernel.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { type File, type FileObserver, POLLERR, POLLHUP, POLLIN, POLLRDNORM } from "../vfs/file.ts";
import { WaitEntry, type Waiter, type WaitQueue } from "../wait-queue.ts";
import { AnonFile } from "./anon-file.ts";

export const EPOLLEXCLUSIVE = 1 << 28;
export const EPOLLWAKEUP = 1 << 29;
export const EPOLLONESHOT = 1 << 30;
export const EPOLLET = 1 << 31;
/** Bits of an item's events that say how, not what. */
const PRIVATE = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET;
/** What may accompany EPOLLEXCLUSIVE: IN, OUT, ERR, HUP, WAKEUP, ET. */
const WITH_EXCLUSIVE = 1 | 4 | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
const ALWAYS = POLLERR | POLLHUP;

const ITEMS_MAX = 1 << 20;
const NESTING_MAX = 5;
/** Listed items that one look goes through. */
const LOOKS_MAX = 4096;
/** struct epoll_event: u32 events, u64 data, packed. */
export const EVENT_SIZE = 12;

class EpollItem implements Waiter, FileObserver {
  queued = false;
  gone = false;
  readonly entry: WaitEntry;
  readonly queue: WaitQueue;

  constructor(
    readonly epoll: EpollFile,
    readonly file: File,
    readonly fd: number,
    public events: number,
    public dataLo: number,
    public dataHi: number,
    task: Task,
  ) {
    this.entry = new WaitEntry(this, events & ~PRIVATE, (events & EPOLLEXCLUSIVE) !== 0);
    this.queue = file.queueFor(task);
    this.queue.add(this.entry);
    file.observers ??= new Set();
    file.observers.add(this);
  }

  wake(_entry: WaitEntry, _mask: number): boolean {
    return this.epoll.enqueue(this);
  }
  fileReleased(_file: File): void {
    this.epoll.drop(this);
  }
  /** What of the asked-for events is the case. */
  ready(task: Task | undefined): number {
    return this.file.poll(task) & this.entry.mask;
  }
}

export class EpollFile extends AnonFile {
  override readonly kind = "[eventpoll]";
  readonly items = new Set<EpollItem>();
  /** The same by file and descriptor, since one file may be watched under thousands. */
  private readonly byFile = new Map<File, Map<number, EpollItem>>();
  /** Those of them that watch epoll instances. */
  private readonly nested = new Set<EpollItem>();
  /** Ready, as far as anybody has told: first come, first looked at. */
  private readonly list = new Set<EpollItem>();
  /** The event that this instance's waiters have been told of last. */
  private toldIn = 0;

  constructor(private readonly kernel: Kernel) {
    super(2);
  }

  override fdInfo(): string {
    let out = "";
    for (const { fd, file, events, dataLo, dataHi } of this.items) {
      const data = ((dataHi >>> 0) * 4294967296 + (dataLo >>> 0)).toString(16).padStart(16);
      const attr = file.getattr();
      const place = typeof attr === "number" ? "" : ` ino:${attr.ino.toString(16)} sdev:${attr.dev.toString(16)}`;
      out += `tfd: ${String(fd).padStart(8)} events: ${(events >>> 0).toString(16).padStart(8)} data: ${data}  pos:${file.pos}${place}\n`;
    }
    return out;
  }

  private find(file: File, fd: number): EpollItem | null {
    return this.byFile.get(file)?.get(fd) ?? null;
  }

  add(task: Task, file: File, fd: number, asked: number, dataLo: number, dataHi: number): number {
    if (asked & EPOLLEXCLUSIVE && (file instanceof EpollFile || asked & ~WITH_EXCLUSIVE)) return -EINVAL;
    if (
      file instanceof EpollFile &&
      (file.reaches(this) || this.depth((e) => e.above()) + file.depth((e) => e.below()) > NESTING_MAX)
    )
      return -ELOOP;
    if (this.find(file, fd) !== null) return -EEXIST;
    if (this.kernel.counts.epollItems >= ITEMS_MAX) return -ENOSPC;
    this.kernel.counts.epollItems++;
    const item = new EpollItem(this, file, fd, asked | ALWAYS, dataLo, dataHi, task);
    this.items.add(item);
    let items = this.byFile.get(file);
    if (items === undefined) {
      items = new Map();
      this.byFile.set(file, items);
    }
    items.set(fd, item);
    if (file instanceof EpollFile) this.nested.add(item);
    if (item.ready(task) !== 0) this.enqueue(item);
    return 0;
  }

  modify(task: Task, file: File, fd: number, asked: number, dataLo: number, dataHi: number): number {
    if (asked & EPOLLEXCLUSIVE) return -EINVAL;
    const item = this.find(file, fd);
    if (item === null) return -ENOENT;
    if (item.events & EPOLLEXCLUSIVE) return -EINVAL;
    item.events = asked | ALWAYS;
    item.dataLo = dataLo;
    item.dataHi = dataHi;
    item.entry.mask = item.events & ~PRIVATE;
    if (item.ready(task) !== 0) this.enqueue(item);
    return 0;
  }

  remove(file: File, fd: number): number {
    const item = this.find(file, fd);
    if (item === null) return -ENOENT;
    this.drop(item);
    return 0;
  }

  /** Takes an item out for good. */
  drop(item: EpollItem): void {
    if (item.gone) return;
    item.gone = true;
    this.kernel.counts.epollItems--;
    item.queue.remove(item.entry);
    item.file.observers?.delete(item);
    this.items.delete(item);
    this.nested.delete(item);
    const items = this.byFile.get(item.file);
    if (items?.get(item.fd) === item) items.delete(item.fd);
    if (items?.size === 0) this.byFile.delete(item.file);
    item.queued = false;
    this.list.delete(item);
  }

  /** Puts an item on the ready list and tells who waits; true when somebody did. */
  enqueue(item: EpollItem): boolean {
    if (!item.queued) {
      item.queued = true;
      this.list.add(item);
    }
    const { telling } = this.kernel;
    if (this.waiters.empty || this.toldIn === telling.round) return false;
    this.toldIn = telling.round;
    telling.depth++;
    try {
      this.waiters.wake(POLLIN | POLLRDNORM);
    } finally {
      if (--telling.depth === 0) telling.round++;
    }
    return true;
  }

  get hasListed(): boolean {
    return this.list.size > 0;
  }

  /**
   * Reports up to `max` ready items as struct epoll_event into `view`; how many. Looks at LOOKS_MAX items at most: none
   * found while `hasListed` means that one has to look on.
   */
  harvest(task: Task, view: DataView, max: number): number {
    const again: EpollItem[] = [];
    let n = 0;
    let looks = Math.min(this.list.size, LOOKS_MAX);
    for (const item of this.list) {
      if (n >= max || looks-- === 0) break;
      this.unlist(item);
      const events = item.ready(task);
      if (events === 0) continue;
      const where = n * EVENT_SIZE;
      view.setUint32(where, events, true);
      view.setUint32(where + 4, item.dataLo, true);
      view.setUint32(where + 8, item.dataHi, true);
      n++;
      if (item.events & EPOLLONESHOT) {
        item.events &= PRIVATE;
        item.entry.mask = 0;
      } else if ((item.events & EPOLLET) === 0) again.push(item);
    }
    for (const item of again) {
      if (item.queued || item.gone) continue;
      item.queued = true;
      this.list.add(item);
    }
    // Something is left: the next one who waits may have it.
    if (n > 0 && this.list.size > 0) this.waiters.wakeExclusive(POLLIN);
    return n;
  }
  private unlist(item: EpollItem): void {
    item.queued = false;
    this.list.delete(item);
  }

  override poll(task?: Task): number {
    // What is listed but no longer ready leaves the list.
    let looks = LOOKS_MAX;
    for (const item of this.list) {
      if (item.ready(task) !== 0 || looks-- === 0) return POLLIN | POLLRDNORM;
      this.unlist(item);
    }
    return 0;
  }

  override onRelease(): void {
    for (const item of [...this.items]) this.drop(item);
  }

  /** Epoll instances that watch this one, and those that it watches. */
  private above(): EpollFile[] {
    const found: EpollFile[] = [];
    if (this.observers !== null)
      for (const item of this.observers) if (item instanceof EpollItem) found.push(item.epoll);
    return found;
  }
  private below(): EpollFile[] {
    return [...this.nested].map((item) => item.file as EpollFile);
  }

  /** Does this instance watch `target`, itself or through others? */
  private reaches(target: EpollFile, seen: Set<EpollFile> = new Set()): boolean {
    if (this === target) return true;
    if (seen.has(this)) return false;
    seen.add(this);
    return this.below().some((epoll) => epoll.reaches(target, seen));
  }
  /** Epoll instances in the longest chain from here, this one included; each is looked at once. */
  private depth(next: (epoll: EpollFile) => EpollFile[], known = new Map<EpollFile, number>()): number {
    const before = known.get(this);
    if (before !== undefined) return before;
    let deepest = 0;
    for (const epoll of next(this)) deepest = Math.max(deepest, epoll.depth(next, known));
    known.set(this, deepest + 1);
    return deepest + 1;
  }
}

persistent("epoll-item", EpollItem);
persistent("epoll", EpollFile);
