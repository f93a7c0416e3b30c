/**
 * inotify instances: queues of events that a program reads.
 *
 * Source: inotify(7), Linux fs/notify/inotify. Bounded: instances (max_user_instances), watches (max_user_watches), queued
 * events (max_queued_events, then IN_Q_OVERFLOW) of one and of all.
 */
import { encodeName } from "../abi/bytes.ts";
import { EAGAIN, EEXIST, EFAULT, EINVAL, EMFILE, ENOSPC, ENOTTY } from "../abi/errno.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { File, POLLIN, POLLRDNORM } from "./file.ts";
import type { Inode } from "./inode.ts";
import type { Io } from "./io.ts";
import {
  addMark,
  IN_ALL_EVENTS,
  IN_EXCL_UNLINK,
  IN_IGNORED,
  IN_MASK_ADD,
  IN_MASK_CREATE,
  IN_ONESHOT,
  IN_Q_OVERFLOW,
  Mark,
  removeMark,
  type WatchGroup,
  watching,
} from "./watches.ts";

/** Events waiting in one instance. */
export const MAX_QUEUED_EVENTS = 16384;
/** Watches in all (Linux: of a user). */
export const MAX_WATCHES = 65536;
/** Instances in all (Linux: of a user), and events waiting in them: beyond these an instance has overflown. */
export const MAX_INSTANCES = 1024;
const MAX_EVENTS = 1 << 18;
/** What there is of both. */
const inUse = { instances: 0, events: 0 };
const HEADER = 16;
const FIONREAD = 0x541b;
/** Bits of a watch that are kept. */
const KEPT = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT;

interface Event {
  wd: number;
  mask: number;
  cookie: number;
  name: string;
  /** With header and padding. */
  size: number;
}

export class InotifyFile extends File implements WatchGroup {
  private readonly marks = new Map<number, Mark>();
  private readonly queue: Event[] = [];
  private queuedBytes = 0;
  private lastWd = 0;

  private constructor(flags: number) {
    super(flags, null, null);
    inUse.instances++;
  }
  /** -EMFILE when there are too many. */
  static make(flags: number): InotifyFile | number {
    return inUse.instances >= MAX_INSTANCES ? -EMFILE : new InotifyFile(flags);
  }
  override description(): string {
    return "anon_inode:inotify";
  }

  /** inotify_add_watch: the watch descriptor, or -errno. */
  watch(inode: Inode, mask: number): number {
    for (const mark of inode.watches?.marks ?? []) {
      if (mark.group !== this) continue;
      if (mask & IN_MASK_CREATE) return -EEXIST;
      mark.mask = mask & IN_MASK_ADD ? mark.mask | (mask & KEPT) : mask & KEPT;
      return mark.wd;
    }
    if (watching.count >= MAX_WATCHES) return -ENOSPC;
    const mark = new Mark(this, ++this.lastWd, inode, mask & KEPT);
    this.marks.set(mark.wd, mark);
    addMark(mark);
    return mark.wd;
  }
  /** inotify_rm_watch. */
  unwatch(wd: number): number {
    const mark = this.marks.get(wd);
    if (mark === undefined) return -EINVAL;
    this.markGone(mark);
    return 0;
  }
  /** What /proc/PID/fdinfo shows. */
  watched(): Iterable<Mark> {
    return this.marks.values();
  }

  event(mark: Mark, mask: number, cookie: number, name: string): void {
    this.enqueue(mark.wd, mask, cookie, name);
  }
  markGone(mark: Mark): void {
    if (!this.marks.delete(mark.wd)) return;
    this.enqueue(mark.wd, IN_IGNORED, 0, "");
    removeMark(mark);
  }

  private enqueue(wd: number, mask: number, cookie: number, name: string): void {
    const { queue } = this;
    const last = queue[queue.length - 1];
    if (last !== undefined && last.wd === wd && last.mask === mask && last.cookie === cookie && last.name === name)
      return;
    if (queue.length > MAX_QUEUED_EVENTS) return;
    if (last?.wd === -1) return;
    const overflow = queue.length === MAX_QUEUED_EVENTS || inUse.events >= MAX_EVENTS;
    inUse.events++;
    const length = name === "" || overflow ? 0 : encodeName(name).length + 1;
    const size = HEADER + Math.ceil(length / HEADER) * HEADER;
    queue.push(
      overflow ? { wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: "", size } : { wd, mask, cookie, name, size },
    );
    this.queuedBytes += size;
    this.waiters.wake(POLLIN | POLLRDNORM);
  }

  override read(_task: Task, io: Io): number {
    const { queue } = this;
    if (queue.length === 0) return -EAGAIN;
    let done = 0;
    let count = 0;
    for (const event of queue) {
      if (event.size > io.remaining) break;
      const bytes = new Uint8Array(event.size);
      const view = new DataView(bytes.buffer);
      view.setInt32(0, event.wd, true);
      view.setUint32(4, event.mask >>> 0, true);
      view.setUint32(8, event.cookie, true);
      view.setUint32(12, event.size - HEADER, true);
      bytes.set(encodeName(event.name), HEADER);
      if (io.usable(event.size, true) < event.size) {
        if (count > 0) break;
        // As on Linux the event is lost with the bad pointer.
        queue.shift();
        inUse.events--;
        this.queuedBytes -= event.size;
        return -EFAULT;
      }
      io.put(bytes, 0, event.size);
      done += event.size;
      count++;
    }
    // Not even the first event fits.
    if (count === 0) return -EINVAL;
    queue.splice(0, count);
    inUse.events -= count;
    this.queuedBytes -= done;
    return done;
  }
  override poll(): number {
    return this.queue.length > 0 ? POLLIN | POLLRDNORM : 0;
  }
  override ioctl(task: Task, request: number, arg: number): number {
    if (request !== FIONREAD) return -ENOTTY;
    return task.mm.writeU32(arg, this.queuedBytes) < 0 ? -EFAULT : 0;
  }
  /** In a restored kernel. */
  countAgain(): void {
    if (this.refs > 0) inUse.instances++;
    inUse.events += this.queue.length;
  }
  override onRelease(): void {
    for (const mark of this.marks.values()) removeMark(mark);
    this.marks.clear();
    inUse.instances--;
    inUse.events -= this.queue.length;
    this.queue.length = 0;
  }
}

persistent("inotify", InotifyFile, { reopen: (file) => file.countAgain() });
