/**
 * AF_UNIX SOCK_STREAM: bytes in order, with files and credentials attached to where they were sent.
 *
 * Source: unix(7), Linux net/unix/af_unix.c (unix_stream_sendmsg, unix_stream_read_generic). Bytes lie in one queue;
 * beside it stands a list of records, one per buffer that Linux would have made, for accounting, for files and for
 * credentials. A receive goes over record borders, but ends after a record that brought files and, with SO_PASSCRED,
 * before one from someone else.
 * MSG_OOB sends a byte that ordinary receives stop before and then pass over; it lies in the queue as a record.
 */
import { EAGAIN, EFAULT, EINVAL, EISCONN, ENOBUFS, ENOTCONN, EOPNOTSUPP, EPIPE } from "../../abi/errno.ts";
import { signalOwner } from "../../ipc/async-io.ts";
import type { Kernel } from "../../kernel.ts";
import { SIGURG } from "../../signal/numbers.ts";
import { kernelInfo } from "../../signal/send.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLPRI } from "../../vfs/file.ts";
import { type Io, KernelIo } from "../../vfs/io.ts";
import {
  MSG_NOSIGNAL,
  MSG_OOB,
  MSG_PEEK,
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SIOCATMARK,
  SIOCINQ,
  SIOCOUTQ,
  SO_OOBINLINE,
  SOCK_STREAM,
} from "../abi.ts";
import { ByteQueue } from "../byte-queue.ts";
import { kept } from "../options.ts";
import type { ReceiveInfo, SendInfo, Ucred } from "../socket.ts";
import { UnixConnection } from "./connection.ts";
import type { Cargo } from "./in-flight.ts";
import { STREAM_CHUNK, streamTruesize } from "./truesize.ts";
import { CAN_READ, CONNECTED, LISTENING, NOBODY } from "./unix-socket.ts";

/** What a record carries besides bytes. */
interface Extra {
  creds: Ucred | null;
  cargo: Cargo | null;
  /** A byte sent with MSG_OOB: NO, THERE, or TAKEN by MSG_OOB, when only its mark is left in the stream. */
  urgent: number;
}

const NO = 0;
const THERE = 1;
const TAKEN = 2;

function withoutCargo(extra: Extra | null): Extra | null {
  if (extra === null || (extra.creds === null && extra.urgent === NO)) return null;
  return { ...extra, cargo: null };
}

export class UnixStream extends UnixConnection {
  /** What this socket has received. */
  private readonly queue = new ByteQueue();
  /** Lengths and extras of the records in `queue`; the first `first` have been read. */
  private lengths: number[] = [];
  private extras: (Extra | null)[] = [];
  private first = 0;
  /** The extra of the urgent byte that can be received with MSG_OOB. */
  private urgent: Extra | null = null;
  /** Bytes of the first record that are still there. */
  private firstLeft = 0;

  constructor(kernel: Kernel, flags: number) {
    super(kernel, SOCK_STREAM, flags);
  }

  protected override makeChild(): UnixStream {
    return new UnixStream(this.kernel, 0);
  }

  protected override get hasUnread(): boolean {
    const taken = this.extras[this.first]?.urgent === TAKEN ? 1 : 0;
    return this.first + taken < this.lengths.length;
  }

  override poll(): number {
    const mask = super.poll();
    if (this.lengths.length === 0) return mask;
    return this.urgent !== null ? mask | CAN_READ | POLLPRI : mask | CAN_READ;
  }

  override send(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    if ((flags & MSG_OOB) !== 0) return this.sendUrgent(task, io, flags, info);
    if (info !== null && info.name !== null) return this.state === CONNECTED ? -EISCONN : -EOPNOTSUPP;
    const peer = this.peer as UnixStream | null;
    if (peer === null) return -ENOTCONN;
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) {
      if ((flags & MSG_NOSIGNAL) === 0) this.brokenPipe(task);
      return -EPIPE;
    }
    let extra: Extra | null = null;
    const total = io.remaining;
    if (total === 0) return 0;
    let moved = 0;
    if (this.kernel.net.buffersFull) return -ENOBUFS;
    while (this.wmem < this.sndbuf) {
      const chunk = Math.min(total - moved, (this.sndbuf >> 1) - 64, STREAM_CHUNK);
      const n = peer.queue.push(io, chunk);
      if (n < chunk) {
        if (n > 0) peer.queue.dropLast(n);
        if (moved === 0) return -EFAULT;
        break;
      }
      if (moved === 0) {
        const creds = this.credsFor(task, peer, info);
        const cargo = this.load(task, peer, info);
        if (typeof cargo === "number") {
          peer.queue.dropLast(n);
          return cargo;
        }
        if (creds !== null || cargo !== null) extra = { creds, cargo, urgent: NO };
      } else extra = withoutCargo(extra);
      this.charge(streamTruesize(chunk));
      peer.append(chunk, extra);
      moved += chunk;
      if (moved === total) break;
    }
    if (moved === 0) return -EAGAIN;
    peer.waiters.wake(CAN_READ);
    return moved;
  }

  /** Adds the record of bytes that are in the queue. */
  private append(length: number, extra: Extra | null): void {
    if (this.first === this.lengths.length) this.firstLeft = length;
    this.lengths.push(length);
    this.extras.push(extra);
  }

  /** MSG_OOB: the last byte is urgent. One that was before it becomes ordinary. */
  private sendUrgent(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    const length = io.remaining;
    if (length === 0) return -EOPNOTSUPP;
    let moved = 0;
    if (length > 1) {
      const body = new Uint8Array(length - 1);
      if (io.take(body, 0, length - 1) < length - 1) return -EFAULT;
      moved = this.send(task, new KernelIo(body), flags & ~MSG_OOB, info);
      if (moved < length - 1) return moved;
    }
    const result = this.sendUrgentByte(task, io, flags, info);
    return result < 0 && moved > 0 ? moved : result < 0 ? result : length;
  }

  private sendUrgentByte(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    if (info !== null && info.name !== null) return this.state === CONNECTED ? -EISCONN : -EOPNOTSUPP;
    const peer = this.peer as UnixStream | null;
    if (peer === null) return -ENOTCONN;
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) {
      if ((flags & MSG_NOSIGNAL) === 0) this.brokenPipe(task);
      return -EPIPE;
    }
    if (this.wmem >= this.sndbuf) return -EAGAIN;
    if (peer.queue.push(io, 1) < 1) return -EFAULT;
    const cargo = this.load(task, peer, info);
    if (typeof cargo === "number") {
      peer.queue.dropLast(1);
      return cargo;
    }
    this.charge(streamTruesize(1));
    const extra = { creds: this.credsFor(task, peer, info), cargo, urgent: THERE };
    if (peer.urgent !== null) peer.urgent.urgent = NO;
    peer.urgent = extra;
    peer.append(1, extra);
    signalOwner(peer, kernelInfo(SIGURG));
    peer.waiters.wake(CAN_READ | POLLPRI);
    return 1;
  }

  private receiveUrgent(io: Io, flags: number, info: ReceiveInfo | null): number {
    const extra = this.urgent;
    if (extra === null || kept(this, SO_OOBINLINE) !== 0) return -EINVAL;
    let at = 0;
    for (let i = this.first; this.extras[i] !== extra; i++) at += i === this.first ? this.firstLeft : this.lengths[i]!;
    if (this.queue.peek(io, at, 1) < 1) return -EFAULT;
    if (info !== null) info.flags |= MSG_OOB;
    if ((flags & MSG_PEEK) === 0) {
      extra.urgent = TAKEN;
      this.urgent = null;
    }
    return 1;
  }

  /**
   * Passes over an urgent byte, or the mark of one, at the head of the queue; returns how many records a look
   * (MSG_PEEK) has to leave out, while a receive drops them.
   */
  private passUrgent(peek: boolean): number {
    let out = 0;
    while (this.first + out < this.extras.length) {
      const extra = this.extras[this.first + out]!;
      if (extra === null || extra.urgent === NO) break;
      if (extra.urgent === THERE && kept(this, SO_OOBINLINE) !== 0) {
        if (!peek) {
          extra.urgent = NO;
          this.urgent = null;
        }
        break;
      }
      if (peek) out++;
      else {
        if (extra.urgent === THERE) this.urgent = null;
        if (extra.cargo !== null) this.kernel.net.inFlight.discard(extra.cargo);
        extra.cargo = null;
        this.consume(1);
      }
    }
    return out;
  }

  override receive(_task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if (this.state !== CONNECTED) return -EINVAL;
    if ((flags & MSG_OOB) !== 0) return this.receiveUrgent(io, flags, info);
    const peek = (flags & MSG_PEEK) !== 0;
    const leftOut = this.extras[this.first] ? this.passUrgent(peek) : 0;
    const from = this.first + leftOut;
    if (this.first === this.lengths.length || from === this.lengths.length) {
      const error = this.takeError();
      if (error < 0) return error;
      return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? 0 : -EAGAIN;
    }
    if (info !== null) info.name = this.peer?.addr ?? null;
    if ((flags & MSG_PEEK) !== 0 && this.peekOffset > 0) return this.peekAtOffset(io);
    const size = io.remaining;
    // How far this receive goes: `span` bytes, the records before `last` as a whole or in part.
    let creds = info?.creds ?? null;
    let span = 0;
    let last = from;
    let cargo: Cargo | null = null;
    while (last < this.lengths.length) {
      const extra = this.extras[last]!;
      if (span > 0 && extra !== null && extra.urgent !== NO) {
        if (info !== null) info.stop = true;
        break;
      }
      if (this.wantsCreds) {
        const sender = extra?.creds ?? NOBODY;
        if (creds === null) creds = sender;
        else if (creds.pid !== sender.pid || creds.uid !== sender.uid || creds.gid !== sender.gid) {
          if (info !== null) info.stop = true;
          break;
        }
      }
      const length = last === this.first ? this.firstLeft : this.lengths[last]!;
      const part = Math.min(length, size - span);
      span += part;
      last++;
      if (extra !== null && extra.cargo !== null) {
        cargo = extra.cargo;
        if (info !== null) info.stop = true;
        break;
      }
      if (span === size) break;
    }
    if (span > 0) {
      const n = this.queue.peek(io, leftOut, span);
      if (n < span) {
        span = this.wholeRecords(Math.max(n, 0), size);
        cargo = null;
        if (span === 0) return -EFAULT;
      }
    } else if (size > 0) return 0;
    if (info !== null) {
      info.creds = creds;
      if (cargo !== null) {
        if (peek) info.files = cargo.files.map((file) => file.retain());
        else info.files = this.kernel.net.inFlight.land(cargo);
      }
    } else if (cargo !== null && !peek) this.kernel.net.inFlight.discard(cargo);
    if (peek) {
      if (this.peekOffset >= 0) this.peekOffset += span;
    } else {
      if (cargo !== null) this.extras[last - 1] = withoutCargo(this.extras[last - 1]!);
      this.consume(span);
    }
    return span;
  }

  /** The longest run of whole parts that a receive of `size` bytes may take when only `usable` bytes can be written. */
  private wholeRecords(usable: number, size: number): number {
    let sum = 0;
    for (let i = this.first; i < this.lengths.length; i++) {
      const part = Math.min(i === this.first ? this.firstLeft : this.lengths[i]!, size - sum);
      if (sum + part > usable || part === 0) break;
      sum += part;
    }
    return sum;
  }

  /** MSG_PEEK beyond SO_PEEK_OFF: bytes only. */
  private peekAtOffset(io: Io): number {
    const there = this.queue.bytes - this.peekOffset;
    if (there <= 0) return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? 0 : -EAGAIN;
    const n = this.queue.peek(io, this.peekOffset, Math.min(there, io.remaining));
    if (n > 0) this.peekOffset += n;
    return n;
  }

  /** Takes `length` bytes and the records that end in them out of the queue, and gives the sender its room back. */
  private consume(length: number): void {
    this.queue.drop(length);
    if (this.peekOffset > 0) this.peekOffset = Math.max(0, this.peekOffset - length);
    let left = length;
    let freed = 0;
    while (left >= this.firstLeft) {
      left -= this.firstLeft;
      freed += streamTruesize(this.lengths[this.first]!);
      this.extras[this.first] = null;
      if (++this.first === this.lengths.length) {
        this.lengths.length = 0;
        this.extras.length = 0;
        this.first = 0;
        this.firstLeft = 0;
        break;
      }
      this.firstLeft = this.lengths[this.first]!;
    }
    if (this.lengths.length > 0) this.firstLeft -= left;
    if (this.first >= 512 && this.first * 2 >= this.lengths.length) {
      this.lengths.splice(0, this.first);
      this.extras.splice(0, this.first);
      this.first = 0;
    }
    if (freed > 0 && this.peer !== null) this.peer.sent(freed);
  }

  protected override purge(): void {
    for (const cargo of this.takeOwnCargo()) this.kernel.net.inFlight.discard(cargo);
    this.urgent = null;
    if (this.lengths.length > 0) this.consume(this.queue.bytes);
  }

  protected override *ownCargo(): Iterable<Cargo> {
    for (let i = this.first; i < this.extras.length; i++) {
      const cargo = this.extras[i]?.cargo;
      if (cargo) yield cargo;
    }
  }

  protected override takeOwnCargo(): Cargo[] {
    const taken = [...this.ownCargo()];
    if (taken.length > 0) this.extras = this.extras.map(withoutCargo);
    return taken;
  }

  /** What can be read, without marks of urgent bytes that were taken. */
  private get readableBytes(): number {
    let marks = 0;
    for (let i = this.first; i < this.extras.length; i++) if (this.extras[i]?.urgent === TAKEN) marks++;
    return this.queue.bytes - marks;
  }

  override get queuedBytes(): number {
    return this.readableBytes;
  }

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return this.state === LISTENING ? -EINVAL : task.mm.writeU32(arg, this.readableBytes);
    if (request === SIOCATMARK) return task.mm.writeU32(arg, this.extras[this.first]?.urgent ? 1 : 0);
    if (request === SIOCOUTQ) return task.mm.writeU32(arg, this.wmem);
    return super.ioctl(task, request, arg);
  }
}

persistent("unix-stream", UnixStream);
