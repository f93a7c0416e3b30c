/**
 * epoll: a set of files to watch, and the list of those that are ready.
 *
 * Source: epoll(7), epoll_ctl(2), Linux fs/eventpoll.c. An item sits in its file's wait queue and puts itself on the
 * ready list when told; epoll_wait asks each listed file again. Level-triggered items stay listed as long as they are
 * ready, edge-triggered ones leave with their report, one-shot ones are then switched off. An item holds no reference to
 * its file and goes with it. Invariant: `queued` is true exactly while an item is in `ready`.
 *
 * Bounded: ITEMS_MAX items in all (max_user_watches), nesting NESTING_MAX deep.
 */
import { EEXIST, EINVAL, ELOOP, ENOENT, ENOSPC } from "../abi/errno.ts";
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
/** struct epoll_event: u32 events, u64 data, packed. */
export const EVENT_SIZE = 12;

let itemCount = 0;

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
  private list: EpollItem[] = [];
  private spare: EpollItem[] = [];

  constructor() {
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
    if (file.observers === null) return null;
    for (const item of file.observers)
      if (item instanceof EpollItem && item.epoll === this && item.fd === fd) return item;
    return null;
  }

  add(task: Task, file: File, fd: number, asked: number, dataLo: number, dataHi: number): number {
    if (asked & EPOLLEXCLUSIVE && (file instanceof EpollFile || asked & ~WITH_EXCLUSIVE)) return -EINVAL;
    if (file instanceof EpollFile && (file.reaches(this, 0) || this.depthAbove(0) + file.depthBelow(0) > NESTING_MAX))
      return -ELOOP;
    if (this.find(file, fd) !== null) return -EEXIST;
    if (itemCount >= ITEMS_MAX) return -ENOSPC;
    itemCount++;
    const item = new EpollItem(this, file, fd, asked | ALWAYS, dataLo, dataHi, task);
    this.items.add(item);
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
    itemCount--;
    item.queue.remove(item.entry);
    item.file.observers?.delete(item);
    this.items.delete(item);
    if (item.queued) {
      item.queued = false;
      const at = this.list.indexOf(item);
      if (at >= 0) this.list.splice(at, 1);
    }
  }

  /** Puts an item on the ready list and tells who waits; true when somebody did. */
  enqueue(item: EpollItem): boolean {
    if (!item.queued) {
      item.queued = true;
      this.list.push(item);
    }
    if (this.waiters.empty) return false;
    this.waiters.wake(POLLIN | POLLRDNORM);
    return true;
  }

  get hasListed(): boolean {
    return this.list.length > 0;
  }

  /** Reports up to `max` ready items as struct epoll_event into `view`; how many. */
  harvest(task: Task, view: DataView, max: number): number {
    const list = this.list;
    this.list = this.spare;
    let n = 0;
    let at = 0;
    for (; at < list.length && n < max; at++) {
      const item = list[at]!;
      item.queued = false;
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
      } else if ((item.events & EPOLLET) === 0 && !item.queued) {
        item.queued = true;
        this.list.push(item);
      }
    }
    if (at < list.length) this.list = list.slice(at).concat(this.list);
    list.length = 0;
    this.spare = this.list === list ? [] : list;
    // Something is left: the next one who waits may have it.
    if (n > 0 && this.list.length > 0) this.waiters.wakeExclusive(POLLIN);
    return n;
  }

  override poll(task?: Task): number {
    // What is listed but no longer ready leaves the list.
    while (this.list.length > 0) {
      if (this.list[0]!.ready(task) !== 0) return POLLIN | POLLRDNORM;
      this.list.shift()!.queued = false;
    }
    return 0;
  }

  override onRelease(): void {
    for (const item of [...this.items]) this.drop(item);
  }

  /** Does this instance watch `target`, itself or through others? */
  private reaches(target: EpollFile, depth: number): boolean {
    if (this === target) return true;
    if (depth > NESTING_MAX) return true;
    for (const item of this.items)
      if (item.file instanceof EpollFile && item.file.reaches(target, depth + 1)) return true;
    return false;
  }
  /** Epoll instances in the longest chain from here down, this one included. */
  private depthBelow(depth: number): number {
    let deepest = 0;
    if (depth <= NESTING_MAX)
      for (const item of this.items)
        if (item.file instanceof EpollFile) deepest = Math.max(deepest, item.file.depthBelow(depth + 1));
    return deepest + 1;
  }
  private depthAbove(depth: number): number {
    let deepest = 0;
    if (depth <= NESTING_MAX && this.observers !== null)
      for (const item of this.observers)
        if (item instanceof EpollItem) deepest = Math.max(deepest, item.epoll.depthAbove(depth + 1));
    return deepest + 1;
  }
}
