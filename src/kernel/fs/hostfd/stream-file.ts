/**
 * An inherited pipe, socket or character device of the host (terminals: tty/host-tty.ts).
 *
 * It is read and written without waiting and without O_NONBLOCK, which others who share the open file would feel. The
 * poller watches it edge-triggered, from the first time that somebody has to wait.
 */
import { ioctl as hostIoctl, poll1, readNoWait, writeNoWait } from "../../../native/host.ts";
import type { HostWatcher } from "../../../native/poller.ts";
import { EAGAIN, EFAULT, EINVAL, ENOTTY, EPIPE, ESPIPE } from "../../abi/errno.ts";
import { S_IFCHR } from "../../abi/stat.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { File, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRNORM } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import type { WaitQueue } from "../../wait-queue.ts";
import type { HostFdNode } from "./node.ts";
import { becomeRight } from "./restored.ts";

const EPOLLET = 1 << 31;
const FIONREAD = 0x541b;
const ASKED = POLLIN | POLLOUT | POLLPRI | POLLRDHUP;
const buffer = new Uint8Array(65536);
const count = new Int32Array(1);

/** Not yet asked, asked and watched, always ready. */
type Watching = "no" | "yes" | "never";

export class HostStreamFile extends File implements HostWatcher {
  private watching: Watching = "no";

  constructor(
    readonly node: HostFdNode,
    flags: number,
  ) {
    super(flags, null, node);
  }
  get fd(): number {
    return this.node.fd;
  }
  /** In a restored kernel. */
  watchAgain(): void {
    if (this.fd < 0) this.waiters.wake(POLLIN | POLLHUP | POLLERR, Number.POSITIVE_INFINITY);
    if (this.watching !== "yes") return;
    this.watching = "no";
    this.watch();
  }

  private watch(): void {
    if (this.watching !== "no" || this.fd < 0) return;
    const result = this.node.kernel.poller.watch(this.fd, ASKED | EPOLLET, this);
    this.watching = result < 0 ? "never" : "yes";
  }
  /** HostWatcher. */
  hostReady(_fd: number, events: number): void {
    this.waiters.wake(spread(events), Number.POSITIVE_INFINITY);
  }
  override queueFor(_task: Task): WaitQueue {
    this.watch();
    return this.waiters;
  }
  override get pollable(): boolean {
    this.watch();
    return this.watching === "yes";
  }

  override read(_task: Task, io: Io): number {
    if (io.remaining === 0 || this.fd < 0) return 0;
    // What has been read is gone from the host's pipe.
    const want = io.usable(Math.min(io.remaining, buffer.length), true);
    if (want === 0) return -EFAULT;
    const n = readNoWait(this.fd, buffer, want);
    if (n === -EAGAIN) this.watch();
    return n <= 0 ? n : io.put(buffer, 0, n);
  }

  override write(_task: Task, io: Io): number {
    if (this.fd < 0) return -EPIPE;
    let done = 0;
    while (io.remaining > 0) {
      const want = io.take(buffer, 0, Math.min(io.remaining, buffer.length));
      if (want < 0) return done > 0 ? done : want;
      const n = writeNoWait(this.fd, buffer, want);
      if (n < want) io.rewind(want - Math.max(0, n));
      if (n < 0) {
        if (n === -EAGAIN) this.watch();
        return done > 0 ? done : n;
      }
      done += n;
    }
    return done;
  }

  override seek(_task: Task, _offset: number, _whence: number): number {
    return this.node.type === S_IFCHR && this.watching === "never" ? 0 : -ESPIPE;
  }
  override poll(): number {
    this.watch();
    if (this.watching === "never") return super.poll();
    if (this.fd < 0) return (POLLIN | POLLRDNORM | POLLHUP | POLLERR) & this.possible;
    const events = poll1(this.fd, ASKED, 0);
    return events < 0 ? POLLERR : spread(events) & this.possible;
  }
  /** An end that cannot be read is never readable, and so on. */
  private get possible(): number {
    let events = POLLERR | POLLHUP;
    if (this.readable) events |= POLLIN | POLLRDNORM | POLLPRI | POLLRDHUP;
    if (this.writable) events |= POLLOUT | POLLWRNORM;
    return events;
  }
  override ioctl(task: Task, request: number, arg: number): number {
    if (request !== FIONREAD) return -ENOTTY;
    if (this.fd < 0) return task.mm.writeU32(arg, 0);
    const result = hostIoctl(this.fd, FIONREAD, count);
    if (result < 0) return result === -EINVAL ? -ENOTTY : result;
    return task.mm.writeU32(arg, count[0]!);
  }
  override fsync(): number {
    return -EINVAL;
  }
  override onRelease(): void {
    if (this.watching === "yes") this.node.kernel.poller.unwatch(this.fd);
  }
  override description(): string {
    return this.node.describe();
  }
}

function spread(events: number): number {
  return events | (events & POLLIN ? POLLRDNORM : 0) | (events & POLLOUT ? POLLWRNORM : 0);
}

persistent("hostfd-stream-file", HostStreamFile, {
  reopen: (file, restore) => becomeRight(file, restore),
  restored(file) {
    if (file instanceof HostStreamFile) file.watchAgain();
    // It is a file now, which nobody waits for.
    else (file as File).waiters.wake(POLLIN | POLLOUT, Number.POSITIVE_INFINITY);
  },
});
