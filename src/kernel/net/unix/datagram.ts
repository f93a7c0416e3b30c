/**
 * AF_UNIX SOCK_DGRAM: messages to any socket that has a name, or to the one connected to.
 *
 * Source: unix(7), Linux net/unix/af_unix.c. A receiver's queue takes max_dgram_qlen messages and one more; a connected
 * pair is bounded by the sender's buffer only. Datagrams are never lost.
 */
import {
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EFAULT,
  EMSGSIZE,
  ENOBUFS,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
  EPIPE,
} from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLERR } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import {
  AF_UNSPEC,
  MSG_DONTWAIT,
  MSG_OOB,
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SHUTDOWN_MASK,
  SIOCINQ,
  SIOCOUTQ,
  SOCK_DGRAM,
} from "../abi.ts";
import type { ReceiveInfo, SendInfo } from "../socket.ts";
import { arrivalTime } from "../timestamps.ts";
import type { Cargo } from "./in-flight.ts";
import { MessageQueue, takeMessage } from "./message-queue.ts";
import { checkAddress } from "./names.ts";
import { datagramTruesize } from "./truesize.ts";
import { CAN_READ, CAN_WRITE, CLOSED, CONNECTED, UnixSocket } from "./unix-socket.ts";

export class UnixDatagram extends UnixSocket {
  private readonly queue = new MessageQueue();

  constructor(kernel: Kernel, flags: number) {
    super(kernel, SOCK_DGRAM, flags);
  }

  private get full(): boolean {
    return this.queue.length > this.maxBacklog;
  }
  /** May `other` be sent to: is it free, or connected to this socket? */
  private maySend(other: UnixDatagram): boolean {
    return other.peer === null || other.peer === this;
  }

  override connect(task: Task, addr: Uint8Array): number {
    let other: UnixDatagram | null = null;
    if ((addr[0]! | (addr[1]! << 8)) !== AF_UNSPEC) {
      const checked = checkAddress(addr);
      if (checked < 0) return checked;
      const named = this.autobindForCreds();
      if (named < 0) return named;
      const found = this.findOther(task, addr);
      if (typeof found === "number") return found;
      other = found as UnixDatagram;
      if (!this.maySend(other)) return -EPERM;
    }
    this.reconnect(other);
    return 0;
  }

  /** Takes another peer, or none. Messages from the old one are dropped, and it is told if it was connected back. */
  reconnect(other: UnixDatagram | null): void {
    const old = this.peer as UnixDatagram | null;
    this.peer = other;
    this.state = other === null ? CLOSED : CONNECTED;
    if (old !== null && old !== other) this.disconnected(old);
    this.waiters.wake(CAN_WRITE);
  }

  private disconnected(old: UnixDatagram): void {
    if (this.queue.length === 0) return;
    this.queue.purge(this.kernel.net.inFlight);
    this.roomMade();
    if (!old.dead && old.peer === this) {
      old.error = ECONNRESET;
      old.waiters.wake(POLLERR);
    }
  }

  override shutdown(how: number): number {
    this.shutdownMask |= how;
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    this.roomMade();
    return 0;
  }

  override send(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const name = info?.name ?? null;
    if (name !== null) {
      const checked = checkAddress(name);
      if (checked < 0) return checked;
    } else if (this.peer === null) return -ENOTCONN;
    const named = this.autobindForCreds();
    if (named < 0) return named;
    const length = io.remaining;
    if (length > this.sndbuf - 32) return -EMSGSIZE;
    const error = this.takeError();
    if (error < 0) return error;
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) return -EPIPE;
    if (this.wmem >= this.sndbuf) return -EAGAIN;
    if (this.kernel.net.buffersFull) return -ENOBUFS;
    if (length > 0 && io.usable(length, false) < length) return -EFAULT;
    let other = this.peer as UnixDatagram | null;
    if (name !== null) {
      const found = this.findOther(task, name);
      if (typeof found === "number") return found;
      other = found as UnixDatagram;
    } else if (other!.dead) {
      this.reconnect(null);
      return -ECONNREFUSED;
    }
    if (other === null || !this.maySend(other)) return -EPERM;
    if ((other.shutdownMask & RCV_SHUTDOWN) !== 0) return -EPIPE;
    if (other !== this && other.peer !== this && other.full) {
      if ((flags & MSG_DONTWAIT) === 0 || this.peer === other) other.awaitRoom(this);
      return -EAGAIN;
    }
    const data = takeMessage(io);
    if (data === null) return -EFAULT;
    const cargo = this.load(task, other, info);
    if (typeof cargo === "number") return cargo;
    const truesize = datagramTruesize(length);
    this.charge(truesize);
    const creds = this.credsFor(task, other, info);
    other.queue.push({ data, sender: this, truesize, creds, cargo, arrived: arrivalTime(other) });
    other.waiters.wake(CAN_READ);
    return length;
  }

  override receive(task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const error = this.takeError();
    if (error < 0) return error;
    if (!this.queue.hasFor(flags, this.peekOffset)) {
      // A socket that does not block says EAGAIN even after shutdown; one that blocks gets the end.
      if ((this.shutdownMask & RCV_SHUTDOWN) !== 0 && !this.nonBlocking && (flags & MSG_DONTWAIT) === 0) return 0;
      return -EAGAIN;
    }
    const n = this.queue.receive(task, this, this.kernel.net.inFlight, io, flags, info);
    this.roomMade();
    return n;
  }

  override poll(): number {
    let mask = this.pollState();
    if (this.queue.length > 0) mask |= CAN_READ;
    if (this.hasSendRoom) {
      const peer = this.peer as UnixDatagram | null;
      if (peer !== null && !peer.dead && peer !== this && peer.peer !== this && peer.full) peer.awaitRoom(this);
      else mask |= CAN_WRITE;
    }
    return mask;
  }

  override onRelease(): void {
    super.onRelease();
    this.state = CLOSED;
    this.shutdownMask = SHUTDOWN_MASK;
    this.peer = null;
    this.queue.purge(this.kernel.net.inFlight);
    this.roomMade();
  }

  override queuedCargo(): Iterable<Cargo> {
    return this.queue.cargo();
  }
  override takeCargo(): Cargo[] {
    return this.queue.takeCargo();
  }

  override get queuedBytes(): number {
    return this.queue.next?.data.length ?? 0;
  }

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return task.mm.writeU32(arg, this.queuedBytes);
    if (request === SIOCOUTQ) return task.mm.writeU32(arg, this.wmem);
    return super.ioctl(task, request, arg);
  }
}

persistent("unix-datagram", UnixDatagram);
