/**
 * TCP within this kernel: connections between two sockets here, with what programs can see of the protocol.
 *
 * There are no segments: bytes go straight into the other socket's queue, a close or reset takes effect at once. What is
 * kept of TCP are its states as the socket calls show them: FIN (the end of one half), RST (close with unread data,
 * sending to a closed socket), the accept queue, a non-blocking connect that is "in progress" though it is done.
 *
 * Source: tcp(7), socket(7), Linux net/ipv4/tcp.c and af_inet.c. Bounds: BUFFER per direction, MEMORY_* for all
 * connections. Known gaps: no TIME_WAIT, no simultaneous connect, no fast open.
 */
import {
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EFAULT,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENETUNREACH,
  ENOTCONN,
  EOPNOTSUPP,
  EPIPE,
} from "../../abi/errno.ts";
import { O_NONBLOCK } from "../../abi/fcntl.ts";
import { signalOwner } from "../../ipc/async-io.ts";
import type { Kernel } from "../../kernel.ts";
import { SIGURG } from "../../signal/numbers.ts";
import { kernelInfo } from "../../signal/send.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import {
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDBAND,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRNORM,
} from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import {
  AF_INET6,
  AF_UNSPEC,
  IPPROTO_TCP,
  MSG_ERRQUEUE,
  MSG_FASTOPEN,
  MSG_NOSIGNAL,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SHUTDOWN_MASK,
  SIOCATMARK,
  SIOCINQ,
  SIOCOUTQ,
  SO_OOBINLINE,
  SOCK_STREAM,
} from "../abi.ts";
import { ByteQueue } from "../byte-queue.ts";
import { kept } from "../options.ts";
import type { ReceiveInfo, SendInfo, Socket } from "../socket.ts";
import { familyOf, parseAddress } from "./address.ts";
import { InetSocket } from "./inet-socket.ts";
import { isAny, isMulticast } from "./ip.ts";
import { mostExact, type PortTable } from "./ports.ts";

const CLOSED = 0;
/** Waits for room in a listener's queue. */
const CONNECTING = 1;
const CONNECTED = 2;
const LISTENING = 3;

/** What connect(2) remembers, apart from the connection itself (SS_*). */
const SS_UNCONNECTED = 0;
const SS_CONNECTING = 1;
const SS_CONNECTED = 2;

const CAN_READ = POLLIN | POLLRDNORM;
const CAN_WRITE = POLLOUT | POLLWRNORM;

/** What one direction of a connection holds unless the program sets buffer sizes (Linux grows buffers about as far). */
const BUFFER = 3939840;
/** The same when all connections together hold more than MEMORY_LOW; beyond MEMORY_HIGH only MINIMUM. */
const BUFFER_PRESSED = 262144;
const MINIMUM = 16384;
/** Beyond twice MEMORY_HIGH. Not nothing, so that every connection moves on. */
const LEAST = 4096;
const MEMORY_LOW = 64 << 20;
const MEMORY_HIGH = 256 << 20;

/** A byte sent with MSG_OOB. */
interface Urgent {
  byte: number;
  /** Bytes before it in the queue. */
  before: number;
  /** The byte has been received, or is inline: only the mark is left. */
  taken: boolean;
}

/** What is the same for all TCP sockets of a kernel. */
export class TcpState {
  readonly listeners = new Map<number, Set<TcpSocket>>();
  /** Bytes in all queues. */
  bytes = 0;
  /** Picks among sockets with SO_REUSEPORT. */
  spread = 0;
}

export class TcpSocket extends InetSocket {
  private state = CLOSED;
  private progress = SS_UNCONNECTED;
  private peer: TcpSocket | null = null;
  private readonly received = new ByteQueue();
  /** The peer has ended its half; this side has. */
  private finReceived = false;
  private finSent = false;
  private dead = false;
  private urgent: Urgent | null = null;
  /** A send found no room, or poll said so. */
  private wantsRoom = false;
  /** Of a listener: connections to accept, and connects that wait for a place among them. */
  private backlog: TcpSocket[] = [];
  private waiting: TcpSocket[] = [];
  private maxBacklog = 0;
  /** Of a connecting socket: whose place it waits for. */
  private target: TcpSocket | null = null;

  constructor(kernel: Kernel, family: number, flags: number, uid: number) {
    super(kernel, family, SOCK_STREAM, IPPROTO_TCP, flags, uid);
    this.sndbuf = 16384;
    this.rcvbuf = 131072;
  }

  protected override get ports(): PortTable {
    return this.kernel.net.tcpPorts;
  }
  protected override get bindable(): boolean {
    return this.state === CLOSED;
  }
  override get listening(): boolean {
    return this.state === LISTENING;
  }
  protected override get hasPeer(): boolean {
    return this.state === CONNECTED && !(this.finSent && this.finReceived);
  }

  // Listening.

  override listen(_task: Task, backlog: number): number {
    if (this.state === LISTENING) {
      this.maxBacklog = backlog;
      this.admitWaiting();
      return 0;
    }
    if (this.state !== CLOSED || this.progress !== SS_UNCONNECTED) return -EINVAL;
    if (!this.hasPort) {
      const bound = this.autobind();
      if (bound < 0) return bound;
    } else if (!this.ports.free(this, this.localIp, this.localPort)) return -EADDRINUSE;
    this.state = LISTENING;
    this.maxBacklog = backlog;
    this.shutdownMask = 0;
    const { listeners } = this.kernel.net.tcp;
    const there = listeners.get(this.localPort);
    if (there === undefined) listeners.set(this.localPort, new Set([this]));
    else there.add(this);
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    return 0;
  }

  /** Stops listening: who is connected and not accepted is reset, who waits is refused. */
  private stopListening(): void {
    const { listeners } = this.kernel.net.tcp;
    const there = listeners.get(this.localPort);
    there?.delete(this);
    if (there?.size === 0) listeners.delete(this.localPort);
    this.state = CLOSED;
    const { backlog, waiting } = this;
    this.backlog = [];
    this.waiting = [];
    for (const child of backlog) {
      child.linger = { on: true, seconds: 0 };
      child.release();
    }
    for (const socket of waiting) socket.connectFailed(ECONNREFUSED);
  }

  override accept(_task: Task, flags: number): Socket | number {
    if (this.state !== LISTENING) return -EINVAL;
    const child = this.backlog.shift();
    if (child === undefined) return -EAGAIN;
    child.flags = (child.flags & ~O_NONBLOCK) | flags;
    this.admitWaiting();
    return child;
  }

  private get backlogFull(): boolean {
    return this.backlog.length > this.maxBacklog;
  }

  private admitWaiting(): void {
    while (this.waiting.length > 0 && !this.backlogFull) {
      const client = this.waiting.shift()!;
      client.target = null;
      client.join(this);
      client.waiters.wake(ALL_EVENTS);
    }
  }

  // Connecting.

  override connect(task: Task, addr: Uint8Array, nonBlocking: boolean): number {
    if (familyOf(addr) === AF_UNSPEC) return this.disconnect();
    switch (this.progress) {
      case SS_CONNECTED:
        return -EISCONN;
      case SS_CONNECTING:
        if (this.state === CONNECTING) return nonBlocking ? -EALREADY : -EINPROGRESS;
        if (this.state === CLOSED) {
          this.progress = SS_UNCONNECTED;
          return this.takeError() || -ECONNABORTED;
        }
        this.progress = SS_CONNECTED;
        return 0;
    }
    if (this.state !== CLOSED) return -EISCONN;
    const result = this.startConnect(addr);
    if (result < 0) return result;
    this.progress = SS_CONNECTING;
    // As over a real network, what becomes of it is seen later.
    if (nonBlocking || (this.state as number) === CONNECTING) return -EINPROGRESS;
    return this.connect(task, addr, false);
  }

  private startConnect(addr: Uint8Array): number {
    const to = parseAddress(addr, this.family, false);
    if (typeof to === "number") return to;
    let { ip } = to;
    const { stack, tcp } = this.kernel.net;
    if (typeof ip === "string" && isMulticast(ip)) return -ENETUNREACH;
    if (this.family === AF_INET6 && typeof ip === "number" && this.v6only) return -ENETUNREACH;
    if (typeof ip === "string" && typeof this.localIp === "number") return -EAFNOSUPPORT;
    const source = stack.sourceFor(ip);
    if (source === null) return -ENETUNREACH;
    if (isAny(ip)) ip = source;
    if (!isAny(this.localIp) && typeof this.localIp !== typeof ip) return -ENETUNREACH;
    const local = isAny(this.localIp) ? source : this.localIp;
    if (!this.hasPort) {
      const port = this.ports.ephemeral();
      if (port === 0) return -EADDRNOTAVAIL;
      this.ports.take(this, port);
    }
    this.localIp = local;
    this.remoteIp = ip;
    this.remotePort = to.port;
    this.error = 0;
    this.shutdownMask = 0;
    const listener = mostExact(tcp.listeners.get(to.port) ?? [], ip, ++tcp.spread, () => 1);
    if (listener === null) {
      this.connectFailed(ECONNREFUSED);
      return 0;
    }
    if (listener.backlogFull || this.kernel.net.full) {
      this.state = CONNECTING;
      this.target = listener;
      listener.waiting.push(this);
      return 0;
    }
    this.join(listener);
    return 0;
  }

  /** Makes the other end of the connection, and queues it with the listener. */
  private join(listener: TcpSocket): void {
    const child = new TcpSocket(this.kernel, listener.family, 0, listener.ownerUid);
    child.localIp = this.remoteIp;
    child.remoteIp = this.localIp;
    child.remotePort = this.localPort;
    child.ports.take(child, this.remotePort);
    child.boundIp = true;
    child.boundPort = true;
    child.inherit(listener);
    child.establish(this);
    this.establish(child);
    listener.backlog.push(child);
    listener.waiters.wake(CAN_READ);
  }

  private inherit(listener: TcpSocket): void {
    this.v6only = listener.v6only;
    this.sndbuf = listener.sndbuf;
    this.rcvbuf = listener.rcvbuf;
    this.bufLock = listener.bufLock;
    this.rcvlowat = listener.rcvlowat;
    this.linger = listener.linger;
    this.readTimeoutNs = listener.readTimeoutNs;
    this.writeTimeoutNs = listener.writeTimeoutNs;
    this.owner = listener.owner;
    this.ownerPids = listener.ownerPids;
    this.ownerType = listener.ownerType;
    this.ownerCred = listener.ownerCred;
    if (listener.kept !== null) this.kept = new Map(listener.kept);
    if (listener.optionValues !== null) this.optionValues = new Map(listener.optionValues);
    this.progress = SS_CONNECTED;
  }

  private establish(peer: TcpSocket): void {
    this.peer = peer;
    this.state = CONNECTED;
    this.finReceived = false;
    this.finSent = false;
    if ((this.bufLock & 1) === 0) this.sndbuf = BUFFER;
    this.waiters.wake(CAN_WRITE);
  }

  override get mayConnect(): boolean {
    return this.state === CLOSED && this.progress === SS_UNCONNECTED;
  }
  override connectHeld(): void {
    this.state = CONNECTING;
    this.progress = SS_CONNECTING;
  }
  override connectAllowed(task: Task, addr: Uint8Array): void {
    if (!this.held) return;
    this.state = CLOSED;
    this.progress = SS_UNCONNECTED;
    const result = this.connect(task, addr, true);
    if (result >= 0 || result === -EINPROGRESS) return;
    this.state = CONNECTING;
    this.progress = SS_CONNECTING;
    this.connectRefused(-result);
  }
  override connectRefused(error: number): void {
    if (this.held) this.connectFailed(error);
  }
  /** Its connect waits for a plugin. */
  private get held(): boolean {
    return this.state === CONNECTING && this.target === null;
  }

  private connectFailed(error: number): void {
    this.target = null;
    this.toClosed(error);
    if (!this.boundIp) this.localIp = this.anyIp;
    this.remotePort = 0;
  }

  /** The connection is gone. */
  private toClosed(error: number): void {
    this.state = CLOSED;
    this.error = error;
    this.shutdownMask = SHUTDOWN_MASK;
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
  }

  /** connect(2) with AF_UNSPEC: back to an unconnected socket. */
  private disconnect(): number {
    if (this.state === LISTENING) this.stopListening();
    else if (this.state === CONNECTING) this.leaveQueue();
    else if (this.state === CONNECTED) this.hangUp(true);
    const wasConnected = this.state === CONNECTED || this.state === CONNECTING;
    this.state = CLOSED;
    this.progress = SS_UNCONNECTED;
    this.peer = null;
    this.clearReceived();
    this.remotePort = 0;
    this.error = wasConnected ? ECONNRESET : 0;
    this.shutdownMask = 0;
    if (!this.boundPort) this.ports.drop(this);
    if (!this.boundIp) this.localIp = this.anyIp;
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    return 0;
  }

  private leaveQueue(): void {
    const { target } = this;
    if (target === null) return;
    const at = target.waiting.indexOf(this);
    if (at >= 0) target.waiting.splice(at, 1);
    this.target = null;
  }

  // Ending.

  /** The peer has ended its half (FIN). */
  private onFin(): void {
    this.finReceived = true;
    this.shutdownMask |= RCV_SHUTDOWN;
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
  }

  /** The peer has broken the connection (RST). What has been received can still be read. */
  private onReset(): void {
    if (this.state !== CONNECTED || (this.finReceived && this.finSent)) return;
    this.toClosed(this.finReceived ? EPIPE : ECONNRESET);
  }

  /** Ends the connection from here: with a reset, or the usual way. */
  private hangUp(reset: boolean): void {
    const { peer } = this;
    if (peer === null || peer.dead || peer.peer !== this) return;
    if (reset) peer.onReset();
    else if (!this.finSent) {
      this.finSent = true;
      peer.onFin();
    }
  }

  override shutdown(how: number): number {
    if (this.state === CLOSED) {
      this.shutdownMask |= how;
      this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
      return -ENOTCONN;
    }
    if (this.state === LISTENING) {
      if ((how & RCV_SHUTDOWN) !== 0) {
        this.stopListening();
        this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
      }
      return 0;
    }
    if (this.state === CONNECTING) return this.disconnect();
    if (this.finSent && this.finReceived) return -ENOTCONN;
    this.shutdownMask |= how;
    if ((how & SEND_SHUTDOWN) !== 0 && !this.finSent) this.hangUp(false);
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    return 0;
  }

  override onRelease(): void {
    super.onRelease();
    if (this.state === LISTENING) this.stopListening();
    else if (this.state === CONNECTING) this.leaveQueue();
    else if (this.state === CONNECTED) {
      const abort = this.linger?.on === true && this.linger.seconds === 0;
      this.hangUp(this.received.bytes > 0 || abort);
    }
    this.dead = true;
    this.state = CLOSED;
    this.clearReceived();
  }

  private clearReceived(): void {
    this.kernel.net.tcp.bytes -= this.received.bytes;
    this.received.clear();
    this.urgent = null;
  }

  // Data.

  /** How much this side may have on its way. */
  private get capacity(): number {
    const { bytes } = this.kernel.net.tcp;
    if (bytes > MEMORY_HIGH) return bytes > 2 * MEMORY_HIGH ? LEAST : MINIMUM;
    const peer = this.peer!;
    const send = (this.bufLock & 1) !== 0 ? this.sndbuf >> 1 : BUFFER;
    const receive = (peer.bufLock & 2) !== 0 ? peer.rcvbuf >> 1 : 65536;
    return bytes > MEMORY_LOW ? Math.min(BUFFER_PRESSED, send + receive) : send + receive;
  }

  private get hasRoom(): boolean {
    const { peer } = this;
    if (peer === null || peer.dead) return true;
    return peer.received.bytes * 3 <= this.capacity * 2;
  }

  override onBufferChange(): void {
    this.roomMade();
    if (this.peer !== null && !this.peer.dead) this.peer.roomMade();
  }

  private roomMade(): void {
    if (!this.wantsRoom || !this.hasRoom) return;
    this.wantsRoom = false;
    this.waiters.wake(CAN_WRITE);
  }

  override send(task: Task, io: Io, flags: number, _info: SendInfo | null): number {
    if ((flags & MSG_FASTOPEN) !== 0) return -EOPNOTSUPP;
    if (this.state === CONNECTING) return -EAGAIN;
    const { peer } = this;
    if (this.error !== 0 || (this.shutdownMask & SEND_SHUTDOWN) !== 0 || this.state !== CONNECTED || peer === null) {
      const error = this.takeError() || -EPIPE;
      if (error === -EPIPE && (flags & MSG_NOSIGNAL) === 0) this.brokenPipe(task);
      return error;
    }
    const length = io.remaining;
    if (length === 0) return 0;
    if (peer.dead) {
      // The bytes leave, a reset comes back.
      if (io.usable(length, false) === 0) return -EFAULT;
      io.skip(length);
      this.onReset();
      return length;
    }
    if ((flags & MSG_OOB) !== 0) return this.sendUrgent(peer, io, length);
    const room = this.capacity - peer.received.bytes;
    if (room <= 0) {
      this.wantsRoom = true;
      return -EAGAIN;
    }
    return this.deliver(peer, io, Math.min(room, length));
  }

  private deliver(peer: TcpSocket, io: Io, length: number): number {
    const n = peer.received.push(io, length);
    if (n <= 0) return n;
    this.kernel.net.tcp.bytes += n;
    peer.waiters.wake(CAN_READ);
    return n;
  }

  /** MSG_OOB: the last byte is urgent. */
  private sendUrgent(peer: TcpSocket, io: Io, length: number): number {
    let moved = 0;
    if (length > 1) {
      moved = this.deliver(peer, io, length - 1);
      if (moved < length - 1) return moved;
    }
    const byte = new Uint8Array(1);
    const inline = kept(peer, SO_OOBINLINE) !== 0;
    const before = peer.received.bytes;
    if (inline) {
      if (this.deliver(peer, io, 1) < 1) return moved > 0 ? moved : -EFAULT;
    } else if (io.take(byte, 0, 1) < 1) return moved > 0 ? moved : -EFAULT;
    peer.urgent = { byte: byte[0]!, before, taken: inline };
    peer.waiters.wake(POLLPRI | POLLRDBAND | CAN_READ);
    signalOwner(peer, kernelInfo(SIGURG));
    return length;
  }

  private receiveUrgent(io: Io, flags: number): number {
    const { urgent } = this;
    if (urgent === null || urgent.taken) return -EINVAL;
    if (io.remaining === 0) return 0;
    if (io.put(Uint8Array.of(urgent.byte), 0, 1) < 1) return -EFAULT;
    if ((flags & MSG_PEEK) === 0) urgent.taken = true;
    return 1;
  }

  override receive(_task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if ((flags & MSG_ERRQUEUE) !== 0) return -EAGAIN;
    if (this.state === LISTENING) return -ENOTCONN;
    if ((flags & MSG_OOB) !== 0) {
      if (kept(this, SO_OOBINLINE) !== 0) return -EINVAL;
      return this.receiveUrgent(io, flags);
    }
    const there = this.received.bytes;
    if (there === 0) {
      if (this.finReceived) return 0;
      const error = this.takeError();
      if (error < 0) return error;
      if ((this.shutdownMask & RCV_SHUTDOWN) !== 0) return 0;
      return this.state === CLOSED ? -ENOTCONN : -EAGAIN;
    }
    let size = Math.min(io.remaining, there);
    const { urgent } = this;
    // A receive stops at urgent data; the next one goes over it.
    if (urgent !== null && urgent.before > 0 && size > urgent.before) {
      size = urgent.before;
      if (info !== null) info.stop = true;
    }
    if (size === 0) return 0;
    let n = size;
    if ((flags & MSG_TRUNC) !== 0) io.skip(size);
    else {
      n = this.received.peek(io, 0, Math.max(1, io.usable(size, true)));
      if (n < 0) return n;
    }
    if ((flags & MSG_PEEK) === 0) this.consume(n);
    return n;
  }

  private consume(length: number): void {
    this.received.drop(length);
    this.kernel.net.tcp.bytes -= length;
    const { urgent } = this;
    if (urgent !== null) {
      if (urgent.before === 0 && urgent.taken) this.urgent = null;
      else urgent.before = Math.max(0, urgent.before - length);
    }
    if (this.peer?.wantsRoom) this.peer.roomMade();
  }

  override poll(): number {
    if (this.state === LISTENING) return this.backlog.length > 0 ? CAN_READ : 0;
    let mask = 0;
    const bothEnded = this.finSent && this.finReceived;
    if (this.shutdownMask === SHUTDOWN_MASK || this.state === CLOSED || bothEnded) mask |= POLLHUP;
    if ((this.shutdownMask & RCV_SHUTDOWN) !== 0) mask |= CAN_READ | POLLRDHUP;
    if (this.state !== CONNECTING) {
      if (this.received.bytes >= Math.min(this.rcvlowat, BUFFER_PRESSED)) mask |= CAN_READ;
      if ((this.shutdownMask & SEND_SHUTDOWN) !== 0 || this.hasRoom) mask |= CAN_WRITE;
      else this.wantsRoom = true;
      if (this.urgent !== null && !this.urgent.taken) mask |= POLLPRI;
    }
    if (this.error !== 0) mask |= POLLERR;
    return mask;
  }

  override ioctl(task: Task, request: number, arg: number): number {
    switch (request) {
      case SIOCINQ:
        if (this.state === LISTENING) return -EINVAL;
        return task.mm.writeU32(arg, this.urgent?.before || this.received.bytes);
      case SIOCOUTQ:
        if (this.state === LISTENING) return -EINVAL;
        // Everything sent has arrived.
        return task.mm.writeU32(arg, 0);
      case SIOCATMARK:
        return task.mm.writeU32(arg, this.urgent !== null && this.urgent.before === 0 ? 1 : 0);
      default:
        return super.ioctl(task, request, arg);
    }
  }

  /** State as /proc/net/tcp and TCP_INFO number it. */
  get tcpState(): number {
    if (this.state === LISTENING) return 10;
    if (this.state === CONNECTING) return 2;
    if (this.state === CLOSED || (this.finSent && this.finReceived)) return 7;
    if (this.finReceived) return 8;
    return this.finSent ? 5 : 1;
  }

  /** Bytes to read, and to accept for a listener. */
  get queued(): number {
    return this.state === LISTENING ? this.backlog.length : this.received.bytes;
  }

  override tcpInfo(): Uint8Array {
    const view = new DataView(new ArrayBuffer(248));
    view.setUint8(0, this.tcpState);
    view.setUint32(8, 201000, true);
    view.setUint32(12, 40000, true);
    view.setUint32(16, 32768, true);
    view.setUint32(20, 32768, true);
    if (this.state === LISTENING) {
      view.setUint32(24, this.backlog.length, true);
      view.setUint32(28, this.maxBacklog, true);
    }
    view.setUint32(60, 65535, true);
    view.setUint32(68, 20, true);
    view.setUint32(72, 10, true);
    view.setUint32(80, 10, true);
    view.setUint32(84, 32768, true);
    return new Uint8Array(view.buffer);
  }
}

persistent("tcp-state", TcpState);
persistent("tcp-socket", TcpSocket);
