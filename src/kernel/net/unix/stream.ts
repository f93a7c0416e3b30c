/**
 * AF_UNIX SOCK_STREAM: bytes in order, with files and credentials attached to where they were sent.
 *
 * Source: unix(7), Linux net/unix/af_unix.c (unix_stream_sendmsg, unix_stream_read_generic). Bytes lie in one queue;
 * beside it stands a list of records, one per buffer that Linux would have made, for accounting, for files and for
 * credentials. A receive goes over record borders, but ends after a record that brought files and, with SO_PASSCRED,
 * before one from someone else.
 *
 * Known gap: no out-of-band data (MSG_OOB gives EOPNOTSUPP).
 */
import { EAGAIN, EFAULT, EINVAL, EISCONN, ENOBUFS, ENOTCONN, EOPNOTSUPP, EPIPE } from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import type { Task } from "../../task/task.ts";
import type { Io } from "../../vfs/io.ts";
import {
  MSG_NOSIGNAL,
  MSG_OOB,
  MSG_PEEK,
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SIOCINQ,
  SIOCOUTQ,
  SOCK_STREAM,
} from "../abi.ts";
import { ByteQueue } from "../byte-queue.ts";
import type { ReceiveInfo, SendInfo, Ucred } from "../socket.ts";
import { UnixConnection } from "./connection.ts";
import type { Cargo } from "./in-flight.ts";
import { STREAM_CHUNK, streamTruesize } from "./truesize.ts";
import { CAN_READ, CONNECTED, LISTENING, NOBODY } from "./unix-socket.ts";

/** What a record carries besides bytes. */
interface Extra {
  creds: Ucred | null;
  cargo: Cargo | null;
}

function withoutCargo(extra: Extra | null): Extra | null {
  return extra === null || extra.creds === null ? null : { creds: extra.creds, cargo: null };
}

export class UnixStream extends UnixConnection {
  /** What this socket has received. */
  private readonly queue = new ByteQueue();
  /** Lengths and extras of the records in `queue`; the first `first` have been read. */
  private lengths: number[] = [];
  private extras: (Extra | null)[] = [];
  private first = 0;
  /** Bytes of the first record that are still there. */
  private firstLeft = 0;

  constructor(kernel: Kernel, flags: number) {
    super(kernel, SOCK_STREAM, flags);
  }

  protected override makeChild(): UnixStream {
    return new UnixStream(this.kernel, 0);
  }

  protected override get hasUnread(): boolean {
    return this.first < this.lengths.length;
  }

  override send(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
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
        if (creds !== null || cargo !== null) extra = { creds, cargo };
      } else extra = withoutCargo(extra);
      this.charge(streamTruesize(chunk));
      if (peer.first === peer.lengths.length) peer.firstLeft = chunk;
      peer.lengths.push(chunk);
      peer.extras.push(extra);
      moved += chunk;
      if (moved === total) break;
    }
    if (moved === 0) return -EAGAIN;
    peer.waiters.wake(CAN_READ);
    return moved;
  }

  override receive(_task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if (this.state !== CONNECTED) return -EINVAL;
    if ((flags & MSG_OOB) !== 0) return -EINVAL;
    if (this.first === this.lengths.length) {
      const error = this.takeError();
      if (error < 0) return error;
      return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? 0 : -EAGAIN;
    }
    if (info !== null) info.name = this.peer?.addr ?? null;
    if ((flags & MSG_PEEK) !== 0 && this.peekOffset > 0) return this.peekAtOffset(io);
    const size = io.remaining;
    const peek = (flags & MSG_PEEK) !== 0;
    // How far this receive goes: `span` bytes, the records before `last` as a whole or in part.
    let creds = info?.creds ?? null;
    let span = 0;
    let last = this.first;
    let cargo: Cargo | null = null;
    while (last < this.lengths.length) {
      const extra = this.extras[last]!;
      if (this.wantsCreds) {
        const from = extra?.creds ?? NOBODY;
        if (creds === null) creds = from;
        else if (creds.pid !== from.pid || creds.uid !== from.uid || creds.gid !== from.gid) {
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
      const n = this.queue.peek(io, 0, span);
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
    if (this.hasUnread) this.consume(this.queue.bytes);
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

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return this.state === LISTENING ? -EINVAL : task.mm.writeU32(arg, this.queue.bytes);
    if (request === SIOCOUTQ) return task.mm.writeU32(arg, this.wmem);
    return super.ioctl(task, request, arg);
  }
}
