/**
 * Pipes and FIFOs.
 *
 * Source: pipe(7), fifo(7), Linux fs/pipe.c. As on Linux a pipe is a ring of page-sized slots: a write fills the tail
 * of the last slot if all of its odd bytes fit there, and otherwise takes fresh slots; that gives the atomicity of
 * PIPE_BUF and the exact point at which a pipe is full. The slots lie side by side in one buffer, so that a long
 * transfer is one copy. Invariant: slots head..head+used-1 (modulo) hold data, none of them empty.
 *
 * Bounded: 16 slots, up to 256 by F_SETPIPE_SZ; beyond SLOTS_SOFT slots in the sandbox new pipes get two.
 */

import { EAGAIN, EBUSY, EFAULT, EINVAL, ENOTTY, ENXIO, EPERM, EPIPE } from "../abi/errno.ts";
import { O_DIRECT, O_NONBLOCK, O_WRONLY } from "../abi/fcntl.ts";
import type { Kernel } from "../kernel.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import type { Path } from "../vfs/dentry.ts";
import { File, nextAnonymousIno, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "../vfs/file.ts";
import type { Inode } from "../vfs/inode.ts";
import type { Io } from "../vfs/io.ts";
import { WaitQueue } from "../wait-queue.ts";

const PAGE = 4096;
const DEFAULT_SLOTS = 16;
/** /proc/sys/fs/pipe-max-size: 1 MiB. */
export const PIPE_MAX_SIZE = 1 << 20;
/** /proc/sys/fs/pipe-user-pages-soft. */
const SLOTS_SOFT = 16384;
/** Capacity of a pipe when there are too many. */
const FEW_SLOTS = 2;
const NOTHING = new Uint8Array(0);

const READABLE = POLLIN | POLLRDNORM;
const WRITABLE = POLLOUT | POLLWRNORM;

export class Pipe {
  private ring = NOTHING;
  /** Slots that the buffer has room for, at most `slots`; it grows with what is written. */
  private physical = 0;
  private start: number[] = [];
  private length: number[] = [];
  /** Slots that end a packet (O_DIRECT): nothing is appended, and a read takes no more. */
  private packet: boolean[] = [];
  private head = 0;
  private used = 0;
  /** Capacity in slots. */
  private slots: number;
  /** Open ends, and how often each side has been opened (fifo opens wait for a change). */
  readers = 0;
  writers = 0;
  readerOpens = 0;
  writerOpens = 0;
  readonly waiters = new WaitQueue();
  readonly serial = nextAnonymousIno();

  constructor(
    private readonly kernel: Kernel,
    /** Made by pipe(2): opening it anew (/proc/self/fd/N) never waits for the other side. */
    readonly anonymous = false,
    /** Who made it by pipe(2): whoever else opens it anew needs the rights. */
    readonly owner = { uid: 0, gid: 0 },
  ) {
    this.slots = this.kernel.counts.pipeSlots + DEFAULT_SLOTS > SLOTS_SOFT ? FEW_SLOTS : DEFAULT_SLOTS;
    this.kernel.counts.pipeSlots += this.slots;
  }

  get empty(): boolean {
    return this.used === 0;
  }
  get full(): boolean {
    return this.used >= this.slots;
  }
  /** Bytes in it (FIONREAD). */
  get bytes(): number {
    let total = 0;
    for (let i = 0; i < this.used; i++) total += this.length[(this.head + i) % this.physical]!;
    return total;
  }
  /** Bytes that fresh slots can take. */
  get room(): number {
    return (this.slots - this.used) * PAGE;
  }
  get capacity(): number {
    return this.slots * PAGE;
  }

  /** Bytes moved; 0 at the end of file, -EAGAIN when it is empty, -EFAULT. */
  read(io: Io): number {
    if (io.remaining === 0) return 0;
    if (this.used === 0) return this.writers === 0 ? 0 : -EAGAIN;
    const wasFull = this.used >= this.slots;
    let moved = 0;
    while (this.used > 0 && io.remaining > 0) {
      const head = this.head;
      const isPacket = this.packet[head]!;
      const run = this.runLength(head, io.remaining);
      const want = Math.min(run, io.remaining);
      const n = io.put(this.ring, head * PAGE + this.start[head]!, want);
      if (n < 0) {
        if (moved === 0) moved = n;
        break;
      }
      moved += n;
      this.consume(n);
      if (n < want) break;
      if (isPacket) {
        // The rest of the packet is lost.
        if (want < run) this.consume(run - want);
        break;
      }
    }
    if (moved > 0) {
      if (wasFull && this.used < this.slots) this.waiters.wake(WRITABLE);
      if (this.used > 0) this.waiters.wakeExclusive(READABLE);
    }
    return moved;
  }

  /** Bytes from slot `at` on that lie side by side in the buffer; no need to look further than `wanted`. */
  private runLength(at: number, wanted: number): number {
    let total = this.length[at]!;
    if (this.packet[at]) return total;
    let end = this.start[at]! + total;
    const last = Math.min(this.physical, this.head + this.used);
    for (let next = at + 1; next < last && total < wanted && end === PAGE; next++) {
      if (this.start[next] !== 0 || this.packet[next]) break;
      total += this.length[next]!;
      end = this.length[next]!;
    }
    return total;
  }

  /** Drops the first n bytes. */
  private consume(n: number): void {
    while (n > 0) {
      const head = this.head;
      const have = this.length[head]!;
      if (n < have) {
        this.start[head]! += n;
        this.length[head] = have - n;
        return;
      }
      n -= have;
      this.length[head] = 0;
      this.head = head + 1 === this.physical ? 0 : head + 1;
      this.used--;
    }
    if (this.used === 0) this.head = 0;
  }

  /** Bytes moved, short when it became full; -EAGAIN when nothing fits, -EPIPE without readers, -EFAULT. */
  write(io: Io, packets = false): number {
    if (io.remaining === 0) return 0;
    if (this.readers === 0) return -EPIPE;
    let moved = 0;
    const odd = io.remaining % PAGE;
    if (odd > 0 && this.used > 0 && !packets) {
      const last = (this.head + this.used - 1) % this.physical;
      const end = this.start[last]! + this.length[last]!;
      if (!this.packet[last] && end + odd <= PAGE) {
        const n = io.take(this.ring, last * PAGE + end, odd);
        if (n < 0) return n;
        this.length[last]! += n;
        moved = n;
        if (n < odd) {
          this.waiters.wake(READABLE);
          return moved;
        }
      }
    }
    let failed = 0;
    while (io.remaining > 0 && this.used < this.slots) {
      if (this.used === this.physical) this.grow(io.remaining);
      const tail = (this.head + this.used) % this.physical;
      const free = tail < this.head ? this.head - tail : this.physical - tail;
      const room = Math.min(free, this.slots - this.used) * PAGE;
      const want = Math.min(io.remaining, packets ? PAGE : room);
      const n = io.take(this.ring, tail * PAGE, want);
      if (n < 0) {
        failed = n;
        break;
      }
      let at = tail;
      for (let left = n; left > 0; left -= PAGE, at++) {
        this.start[at] = 0;
        this.length[at] = Math.min(left, PAGE);
        this.packet[at] = packets;
        this.used++;
      }
      moved += n;
      if (n < want) break;
    }
    if (moved === 0) return failed < 0 ? failed : -EAGAIN;
    this.waiters.wake(READABLE);
    if (this.used < this.slots) this.waiters.wakeExclusive(WRITABLE);
    return moved;
  }

  /** Makes room for `bytes` more, or as much as capacity allows. */
  private grow(bytes: number): void {
    const wanted = Math.max(this.physical * 2, this.used + Math.ceil(bytes / PAGE));
    this.resize(Math.min(this.slots, wanted));
  }

  /** Moves everything to a buffer of `physical` slots, in order. */
  private resize(physical: number): void {
    const ring = new Uint8Array(physical * PAGE);
    const start: number[] = [];
    const length: number[] = [];
    const packet: boolean[] = [];
    for (let i = 0; i < physical; i++) {
      const from = (this.head + i) % this.physical;
      const live = i < this.used;
      start.push(live ? this.start[from]! : 0);
      length.push(live ? this.length[from]! : 0);
      packet.push(live && this.packet[from]!);
      if (live) {
        const at = from * PAGE + start[i]!;
        ring.set(this.ring.subarray(at, at + length[i]!), i * PAGE + start[i]!);
      }
    }
    this.ring = ring;
    this.physical = physical;
    this.start = start;
    this.length = length;
    this.packet = packet;
    this.head = 0;
  }

  /** F_SETPIPE_SZ: the new capacity in bytes. */
  setCapacity(bytes: number): number {
    if (bytes > 0x80000000) return -EINVAL;
    let slots = 1;
    while (slots * PAGE < bytes) slots *= 2;
    if (
      slots > this.slots &&
      (slots * PAGE > PIPE_MAX_SIZE || this.kernel.counts.pipeSlots - this.slots + slots > SLOTS_SOFT * 4)
    )
      return -EPERM;
    if (slots < this.used) return -EBUSY;
    const wasFull = this.full;
    this.kernel.counts.pipeSlots += slots - this.slots;
    this.slots = slots;
    if (this.physical > slots) this.resize(slots);
    if (wasFull && !this.full) this.waiters.wake(WRITABLE);
    return slots * PAGE;
  }

  /** The first bytes, side by side in a view that is valid until the pipe changes (splice); empty when there are none. */
  peek(limit: number): Uint8Array {
    if (this.used === 0) return this.ring.subarray(0, 0);
    const at = this.head * PAGE + this.start[this.head]!;
    return this.ring.subarray(at, at + Math.min(limit, this.runLength(this.head, limit)));
  }
  /** A copy of up to `limit` bytes from the front (tee). */
  copyFront(limit: number): Uint8Array {
    const out = new Uint8Array(Math.min(limit, this.bytes));
    let done = 0;
    for (let i = 0; i < this.used && done < out.length; i++) {
      const slot = (this.head + i) % this.physical;
      const n = Math.min(this.length[slot]!, out.length - done);
      const at = slot * PAGE + this.start[slot]!;
      out.set(this.ring.subarray(at, at + n), done);
      done += n;
    }
    return out;
  }
  /** Drops bytes that `peek` has shown. */
  drop(n: number): void {
    const wasFull = this.full;
    this.consume(n);
    if (wasFull && !this.full) this.waiters.wake(WRITABLE);
  }

  addEnd(flags: number): void {
    const access = flags & 3;
    if (access !== O_WRONLY) {
      this.readers++;
      this.readerOpens++;
    }
    if (access !== 0) {
      this.writers++;
      this.writerOpens++;
    }
  }
  removeEnd(flags: number): void {
    const access = flags & 3;
    if (access !== O_WRONLY) this.readers--;
    if (access !== 0) this.writers--;
    if (this.readers === 0 && this.writers === 0) {
      this.kernel.counts.pipeSlots -= this.slots;
      this.slots = 0;
      this.used = 0;
      this.ring = NOTHING;
      this.physical = 0;
    } else if (this.readers === 0 || this.writers === 0) {
      this.waiters.wake(READABLE | WRITABLE | POLLERR | POLLHUP, Number.POSITIVE_INFINITY);
    }
  }
}

export class PipeFile extends File {
  override readonly waiters: WaitQueue;
  override readonly wakesOne = true;
  override readonly anonymousMode = 0o010600;
  /** Writers had come this often when a FIFO was opened: hang-up shows only after one more has come and gone. */
  private readonly writerOpensSeen: number;

  constructor(
    readonly pipe: Pipe,
    flags: number,
    path: Path | null = null,
    inode: Inode | null = null,
  ) {
    super(flags, path, inode);
    this.waiters = pipe.waiters;
    this.writerOpensSeen = !pipe.anonymous && pipe.writers === 0 ? pipe.writerOpens : -1;
  }

  override get serial(): number {
    return this.pipe.serial;
  }
  override get anonymousOwner(): { uid: number; gid: number } {
    return this.pipe.owner;
  }
  override read(_task: Task, io: Io): number {
    return this.pipe.read(io);
  }
  override write(_task: Task, io: Io): number {
    return this.pipe.write(io, (this.flags & O_DIRECT) !== 0);
  }
  override poll(): number {
    const pipe = this.pipe;
    let events = 0;
    if (this.readable) {
      if (!pipe.empty) events |= READABLE;
      if (pipe.writers === 0 && this.writerOpensSeen !== pipe.writerOpens) events |= POLLHUP;
    }
    if (this.writable) {
      if (!pipe.full) events |= WRITABLE;
      if (pipe.readers === 0) events |= POLLERR;
    }
    return events;
  }
  override ioctl(task: Task, request: number, arg: number): number {
    const FIONREAD = 0x541b;
    if (request !== FIONREAD) return -ENOTTY;
    return task.mm.writeU32(arg, this.pipe.bytes) < 0 ? -EFAULT : 0;
  }
  override onRelease(): void {
    this.pipe.removeEnd(this.flags);
    if (this.inode !== null && this.pipe.readers === 0 && this.pipe.writers === 0) this.inode.fifo = null;
  }
  override description(): string {
    return `pipe:[${this.serial}]`;
  }
}

/** pipe2(2): the reading and the writing end. `flags`: O_NONBLOCK, O_DIRECT. */
export function makePipe(task: Task, flags: number): [PipeFile, PipeFile] {
  const pipe = new Pipe(task.kernel, true, { uid: task.cred.fsuid, gid: task.cred.fsgid });
  pipe.addEnd(0);
  pipe.addEnd(O_WRONLY);
  const kept = flags & (O_NONBLOCK | O_DIRECT);
  return [new PipeFile(pipe, kept), new PipeFile(pipe, kept | O_WRONLY)];
}

/** A FIFO open that waits for the other side. Its file (task.restart.file) counts as an open end meanwhile. */
export interface FifoWait {
  kind: "fifo";
  /** readerOpens or writerOpens when it began to wait. */
  seen: number;
}

/** Event of a pipe's queue that poll does not show: one side has been opened. */
const FIFO_OPENED = 1 << 20;

/** Opens a FIFO: a file, or -ENXIO, BLOCKED, -ERESTARTSYS. Call it again with the same arguments when run again. */
export function openFifo(inode: Inode, flags: number, task: Task, path: Path | null = null): PipeFile | number {
  const access = flags & 3;
  const { file: waiting, data } = task.restart ?? {};
  if (waiting instanceof PipeFile && waiting.inode === inode && data?.kind === "fifo")
    return waitForOtherEnd(task, waiting, data);
  if (inode.fifo?.anonymous) {
    inode.fifo.addEnd(access);
    return new PipeFile(inode.fifo, flags, path, inode);
  }
  const nonBlocking = (flags & O_NONBLOCK) !== 0;
  if (access === O_WRONLY && nonBlocking && (inode.fifo === null || inode.fifo.readers === 0)) return -ENXIO;
  inode.fifo ??= new Pipe(task.kernel);
  const pipe = inode.fifo;
  pipe.addEnd(access);
  // Whoever waits in open for this side may go on.
  pipe.waiters.wake(FIFO_OPENED, Number.POSITIVE_INFINITY);
  const file = new PipeFile(pipe, flags, path, inode);
  const alone = access === 0 ? pipe.writers === 0 : access === O_WRONLY && pipe.readers === 0;
  if (!alone || nonBlocking) return file;
  const wait: FifoWait = { kind: "fifo", seen: access === 0 ? pipe.writerOpens : pipe.readerOpens };
  const record = task.progress();
  record.file = file;
  record.data = wait;
  return waitForOtherEnd(task, file, wait);
}

function waitForOtherEnd(task: Task, file: PipeFile, wait: FifoWait): PipeFile | number {
  const { pipe } = file;
  const opens = (file.flags & 3) === 0 ? pipe.writerOpens : pipe.readerOpens;
  // The record keeps its own reference until the call ends.
  return opens !== wait.seen ? file.retain() : task.block(pipe.waiters, FIFO_OPENED);
}

persistent("pipe", Pipe);
persistent("pipe-file", PipeFile);
