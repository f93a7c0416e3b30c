/**
 * AF_UNIX SOCK_SEQPACKET: connections that keep message borders.
 *
 * Source: unix(7), Linux net/unix/af_unix.c. As there, a broken connection gives EPIPE without SIGPIPE, and a read of
 * the end is 0 also for sockets that do not block.
 */
import { EAGAIN, EFAULT, EINVAL, EMSGSIZE, ENOBUFS, ENOTCONN, EOPNOTSUPP, EPIPE } from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Io } from "../../vfs/io.ts";
import { MSG_OOB, RCV_SHUTDOWN, SEND_SHUTDOWN, SIOCINQ, SIOCOUTQ, SOCK_SEQPACKET } from "../abi.ts";
import type { ReceiveInfo, SendInfo } from "../socket.ts";
import { arrivalTime } from "../timestamps.ts";
import { UnixConnection } from "./connection.ts";
import type { Cargo } from "./in-flight.ts";
import { MessageQueue, takeMessage } from "./message-queue.ts";
import { datagramTruesize } from "./truesize.ts";
import { CAN_READ, CONNECTED, LISTENING } from "./unix-socket.ts";

export class UnixSeqpacket extends UnixConnection {
  private readonly queue = new MessageQueue();

  constructor(kernel: Kernel, flags: number) {
    super(kernel, SOCK_SEQPACKET, flags);
  }

  protected override makeChild(): UnixSeqpacket {
    return new UnixSeqpacket(this.kernel, 0);
  }
  protected override get hasUnread(): boolean {
    return this.queue.length > 0;
  }
  protected override purge(): void {
    this.queue.purge(this.kernel.net.inFlight);
  }
  protected override ownCargo(): Iterable<Cargo> {
    return this.queue.cargo();
  }
  protected override takeOwnCargo(): Cargo[] {
    return this.queue.takeCargo();
  }

  override send(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    const error = this.takeError();
    if (error < 0) return error;
    const peer = this.peer as UnixSeqpacket | null;
    if (this.state !== CONNECTED || peer === null) return -ENOTCONN;
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const length = io.remaining;
    if (length > this.sndbuf - 32) return -EMSGSIZE;
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) return -EPIPE;
    if (this.wmem >= this.sndbuf) return -EAGAIN;
    if (this.kernel.net.buffersFull) return -ENOBUFS;
    const data = takeMessage(io);
    if (data === null) return -EFAULT;
    const cargo = this.load(task, peer, info);
    if (typeof cargo === "number") return cargo;
    const truesize = datagramTruesize(length);
    this.charge(truesize);
    const creds = this.credsFor(task, peer, info);
    peer.queue.push({ data, sender: this, truesize, creds, cargo, arrived: arrivalTime(peer) });
    peer.waiters.wake(CAN_READ);
    return length;
  }

  override receive(task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if (this.state !== CONNECTED) return -ENOTCONN;
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const error = this.takeError();
    if (error < 0) return error;
    if (!this.queue.hasFor(flags, this.peekOffset)) return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? 0 : -EAGAIN;
    return this.queue.receive(task, this, this.kernel.net.inFlight, io, flags, info);
  }

  override get queuedBytes(): number {
    let bytes = 0;
    for (const message of this.queue) bytes += message.data.length;
    return bytes;
  }

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return this.state === LISTENING ? -EINVAL : task.mm.writeU32(arg, this.queuedBytes);
    if (request === SIOCOUTQ) return task.mm.writeU32(arg, this.wmem);
    return super.ioctl(task, request, arg);
  }
}

persistent("unix-seqpacket", UnixSeqpacket);
