/**
 * TCP: connections between two sockets of this kernel, with what programs can see of the protocol, and to the outside.
 *
 * A connection to an address of ours where somebody listens stays here; all others go through the broker, if there is one, to
 * a socket of the host's that then stands behind ours (outside/tcp.ts). Listeners listen here and there.
 *
 * Within this kernel there are no segments: bytes go straight into the other socket's queue, a close or reset takes effect at once. What is
 * kept of TCP are its states as the socket calls show them: FIN (the end of one half), RST (close with unread data,
 * sending to a closed socket), the accept queue, a non-blocking connect that is "in progress" though it is done.
 *
 * Source: tcp(7), socket(7), Linux net/ipv4/tcp.c and af_inet.c. Bounds: BUFFER per direction, MEMORY_* for all
 * connections. Known gaps: no TIME_WAIT and no simultaneous connect inside, no fast open.
 */
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EFAULT,
  EHOSTUNREACH,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENETDOWN,
  ENETUNREACH,
  ENOBUFS,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
  EPIPE,
  ETIMEDOUT,
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
import { waitForFile } from "../../vfs/read-write.ts";
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
  SO_ERROR,
  SO_OOBINLINE,
  SO_RCVBUF,
  SO_SNDBUF,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../abi.ts";
import { ByteQueue } from "../byte-queue.ts";
import { countTcp } from "../counters.ts";
import { kept } from "../options.ts";
import type { Place } from "../outside/protocol.ts";
import { hostTakes } from "../outside/socket-options.ts";
import { OutsideTcp } from "../outside/tcp.ts";
import { intOption, type ReceiveInfo, type SendInfo, type Socket } from "../socket.ts";
import { whyUnreachable } from "../stack.ts";
import { type Endpoint, familyOf, parseAddress, scopeOf } from "./address.ts";
import { InetSocket, UNPRIVILEGED_PORT } from "./inet-socket.ts";
import { type Ip, isAny, isMulticast } from "./ip.ts";
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

/** What becomes of a connection once it is on its way, and not a reason why it could not begin. */
const LATER: ReadonlySet<number> = new Set([ECONNREFUSED, ECONNRESET, ETIMEDOUT, EHOSTUNREACH]);
/** Reasons for which a listener is not heard outside, and yet here. */
const INSIDE_ONLY: ReadonlySet<number> = new Set([EACCES, EPERM, ENETDOWN]);
const SIOCOUTQNSD = 0x894b;
const HOST_IOCTLS: ReadonlySet<number> = new Set([SIOCINQ, SIOCOUTQ, SIOCATMARK, SIOCOUTQNSD]);

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
  /** The host's socket: of a connection to the outside, and of a listener that is heard there. */
  private outside: OutsideTcp | null = null;
  /** bind(2) named a link-local address' device. */
  boundScope = 0;

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

  override listen(task: Task, backlog: number): number {
    if (this.state === LISTENING) {
      if (backlog !== this.maxBacklog) this.outside?.setBacklog(backlog);
      this.maxBacklog = backlog;
      this.admitWaiting();
      return 0;
    }
    if (this.outside?.asking) return waitForFile(task, this, ALL_EVENTS);
    const failed = this.outside?.listenError ?? 0;
    if (failed !== 0) {
      this.outside = null;
      // Of this call, or of one that a signal has ended.
      if (task.restart?.file === this) return -failed;
    }
    if (this.state !== CLOSED || this.progress !== SS_UNCONNECTED) return -EINVAL;
    const anyPort = !this.hasPort;
    if (anyPort) {
      const bound = this.autobind();
      if (bound < 0) return bound;
    } else if (!this.ports.free(this, this.localIp, this.localPort)) return -EADDRINUSE;
    this.maxBacklog = backlog;
    if (!this.kernel.net.outside) return this.startListening();
    this.listenOutside(anyPort);
    return (this.state as number) === LISTENING ? 0 : this.listen(task, backlog);
  }

  private startListening(): number {
    this.state = LISTENING;
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
    this.endOutside(false);
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
    if (this.outside?.takesTurn(this.backlog.length > 0)) {
      const child = this.acceptOutside(this.outside);
      if (child !== -EAGAIN) {
        if (typeof child !== "number") child.flags |= flags;
        return child;
      }
    }
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
        this.outside?.settle();
        if (this.state === CONNECTING) return nonBlocking ? -EALREADY : -EINPROGRESS;
        if (this.state === CLOSED) {
          this.progress = SS_UNCONNECTED;
          this.shutdownMask = 0;
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
    if (nonBlocking) return this.connectBegun();
    if ((this.state as number) === CONNECTING) return -EINPROGRESS;
    return this.connect(task, addr, false);
  }

  /** Errors that a non-blocking connect gives at once are those which it has before anything is sent. */
  override connectBegun(): number {
    const { error } = this;
    if (this.state !== CLOSED || error === 0 || LATER.has(error)) return -EINPROGRESS;
    this.progress = SS_UNCONNECTED;
    this.shutdownMask = 0;
    return this.takeError();
  }
  override get asking(): boolean {
    return this.outside?.asking === true;
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
    if (source === null) return whyUnreachable(stack, ip);
    if (isAny(ip)) ip = source;
    if (!isAny(this.localIp) && typeof this.localIp !== typeof ip) return -ENETUNREACH;
    const local = isAny(this.localIp) ? source : this.localIp;
    const { broker, outside } = this.kernel.net;
    const here = stack.isLocal(ip);
    const listener = here ? mostExact(tcp.listeners.get(to.port) ?? [], ip, ++tcp.spread, () => 1) : null;
    if (listener === null && broker !== null && (outside || !here)) {
      this.connectOutside({ ip, port: to.port }, scopeOf(addr));
      return 0;
    }
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
    this.kernel.net.counters.tcpActiveOpens++;
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
    child.boundIp = listener.boundIp;
    child.boundPort = true;
    child.inherit(listener);
    child.establish(this);
    this.establish(child);
    listener.backlog.push(child);
    this.kernel.net.counters.tcpPassiveOpens++;
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
    this.kernel.net.counters.tcpFailed++;
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

  // Outside.

  protected override bindTo(task: Task, ip: Ip, port: number, scope: number): number {
    const result = super.bindTo(task, ip, port, scope);
    if (result === 0) this.boundScope = scope;
    return result;
  }
  private connectOutside({ ip, port }: Endpoint, scope: number): void {
    // A listen that a signal has ended may still be asked about.
    this.endOutside(false);
    this.remoteIp = ip;
    this.remotePort = port;
    this.error = 0;
    this.shutdownMask = 0;
    this.state = CONNECTING;
    this.kernel.net.counters.tcpActiveOpens++;
    this.outside = new OutsideTcp(this, scope);
    this.outside.connect();
  }
  /** The host connects; `place` is what it has chosen for this end. */
  outsideBegun(place: Place | null): void {
    if (place === null) return;
    if (isAny(this.localIp)) this.localIp = place.ip;
    if (!this.hasPort) this.ports.take(this, place.port);
  }
  outsideConnected(): void {
    this.state = CONNECTED;
    this.waiters.wake(ALL_EVENTS);
  }
  outsideFailed(error: number): void {
    this.outside = null;
    // Its number is still shown, as on Linux.
    if (!this.boundPort) this.ports.drop(this);
    this.connectFailed(error);
  }
  /** The host that was connecting is no longer ours: what it had chosen for this end is nobody's. */
  outsideUnbegun(): void {
    if (!this.boundIp) this.localIp = this.anyIp;
    if (!this.boundPort) {
      this.ports.drop(this);
      this.localPort = 0;
    }
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
  }
  /** The connection was a host's that is no longer ours. */
  outsideReset(): void {
    this.outside = null;
    this.toClosed(ECONNRESET);
  }

  /** Listens outside, too. Afterwards it listens here, or waits for the broker, or has failed. */
  private listenOutside(anyPort: boolean): void {
    this.outside = new OutsideTcp(this);
    this.outside.listen(anyPort);
  }
  /** There is another outside than there was: who listens wants to be heard there. */
  listenAgain(): void {
    if (this.state !== LISTENING) return;
    this.endOutside(false);
    this.listenOutside(false);
  }
  get backlogLimit(): number {
    return this.maxBacklog;
  }
  outsideListens(): void {
    if (this.state !== LISTENING) this.startListening();
  }
  outsideListenFailed(error: number): void {
    // It may not be heard outside, or nobody can: then it is heard here.
    if (this.state === LISTENING || INSIDE_ONLY.has(error)) {
      this.outside = null;
      if (this.state !== LISTENING) this.startListening();
      // Of what rules refuse the broker tells by itself.
      if (!INSIDE_ONLY.has(error) || this.localPort < UNPRIVILEGED_PORT)
        this.kernel.log.warn(`network: port ${this.localPort} is not heard outside (errno ${error})`);
    }
    this.waiters.wake(ALL_EVENTS);
  }
  /** Another port for a listen that has none of its own; false: there is none. */
  takeOtherPort(): boolean {
    this.ports.drop(this);
    return this.takePort(this.localIp, 0) >= 0;
  }
  /** What was there outside has been left with another sandbox. */
  outsideGone(): void {
    this.outside = null;
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
  }
  private endOutside(reset: boolean): void {
    this.outside?.close(reset);
    this.outside = null;
  }

  private acceptOutside(outside: OutsideTcp): TcpSocket | number {
    if (this.kernel.net.full) return -ENOBUFS;
    const accepted = outside.accept();
    if (typeof accepted === "number") return accepted;
    const child = new TcpSocket(this.kernel, this.family, 0, this.ownerUid);
    child.localIp = accepted.at.ip;
    child.remoteIp = accepted.from.ip;
    child.remotePort = accepted.from.port;
    child.ports.take(child, accepted.at.port);
    child.boundIp = this.boundIp;
    child.boundPort = true;
    child.inherit(this);
    child.state = CONNECTED;
    this.kernel.net.counters.tcpPassiveOpens++;
    child.outside = new OutsideTcp(child);
    if (!child.outside.adopt(accepted.fd)) {
      child.release();
      return -ENOBUFS;
    }
    // Several may have come with one word of the host's.
    if (outside.acceptable) this.waiters.wakeExclusive(CAN_READ);
    return child;
  }

  override getName(peer: boolean): Uint8Array | number {
    return this.outside?.connected ? this.outside.getName(peer) : super.getName(peer);
  }
  override optionSet(level: number, name: number): number {
    return this.outside?.setOption(level, name) ?? 0;
  }
  override getOption(task: Task, level: number, name: number, length: number): Uint8Array | number | null {
    const own = super.getOption(task, level, name, length);
    const { outside } = this;
    if (outside === null || !outside.hasDescriptor) return own;
    if (level === SOL_SOCKET) {
      if (name === SO_ERROR) return intOption(-this.takeError() || (outside.connected ? outside.takeHostError() : 0));
      const locked = (this.bufLock & (name === SO_SNDBUF ? 1 : 2)) !== 0;
      return (name === SO_SNDBUF || name === SO_RCVBUF) && !locked ? outside.getOption(level, name, 4) : own;
    }
    // What the host does not take, and does not know, is only ours.
    if (this.optionValues?.has(level * 256 + name) && !hostTakes(level, name)) return own;
    if (typeof own === "number" && own !== -ENOTCONN) return own;
    return length === 0 ? own : outside.getOption(level, name, length);
  }

  /** connect(2) with AF_UNSPEC: back to an unconnected socket. */
  private disconnect(): number {
    if (this.outside !== null && this.state !== LISTENING) this.endOutside(this.state === CONNECTED);
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
    this.kernel.net.counters.tcpResets++;
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
    if (this.outside !== null) {
      const result = this.outside.shutdown(how - 1);
      if (result === 0) this.shutdownMask |= how;
      this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
      return result;
    }
    if (this.finSent && this.finReceived) return -ENOTCONN;
    this.shutdownMask |= how;
    if ((how & SEND_SHUTDOWN) !== 0 && !this.finSent) this.hangUp(false);
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    return 0;
  }

  override onRelease(): void {
    super.onRelease();
    if (this.state === LISTENING) this.stopListening();
    else if (this.outside !== null) this.endOutside(false);
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
    const { peer, outside } = this;
    if (outside !== null && this.state === CONNECTED) {
      const n = outside.send(io, flags);
      if (n === -EPIPE && (flags & MSG_NOSIGNAL) === 0) this.brokenPipe(task);
      return n;
    }
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
    countTcp(this.kernel.net, n);
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
    if (this.outside !== null && this.state === CONNECTED) return this.outside.receive(io, flags, info);
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
    const { outside } = this;
    if (this.state === LISTENING) return this.backlog.length > 0 || outside?.acceptable ? CAN_READ : 0;
    if (outside !== null) {
      if (this.state === CONNECTED) return outside.poll() | (this.error !== 0 ? POLLERR : 0);
      outside.settle();
    }
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
    if (this.outside !== null && this.state === CONNECTED && HOST_IOCTLS.has(request)) {
      const result = this.outside.ioctl(request);
      return result < 0 ? result : task.mm.writeU32(arg, result);
    }
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
    if (this.outside !== null && this.state === CONNECTED) return this.outside.tcpState;
    if (this.state === CLOSED || (this.finSent && this.finReceived)) return 7;
    if (this.finReceived) return 8;
    return this.finSent ? 5 : 1;
  }

  /** Bytes to read, and to accept for a listener. */
  get queued(): number {
    if (this.state === LISTENING) return this.backlog.length;
    return this.outside?.connected ? this.outside.queued : this.received.bytes;
  }

  /** Bytes that have not arrived: in here all have. */
  get unsent(): number {
    return this.outside?.connected ? Math.max(0, this.outside.ioctl(SIOCOUTQ)) : 0;
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
persistent("tcp-socket", TcpSocket, { added: { outside: () => null, boundScope: () => 0 } });
