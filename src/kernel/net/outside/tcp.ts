/**
 * The host's socket behind a TCP socket that reaches outside: made, bound and connected by the broker, used from here.
 *
 * A connection's socket is the truth: what poll, recv, send, shutdown and getsockopt show is what it says, so that resets,
 * ends and errors are Linux' own. Bytes go straight between it and guest memory. A listener's socket stands beside the
 * queue of connections from inside. Readiness comes edge-triggered from the kernel's poller and is kept in `mask`; after a
 * call that may have used it up, the host is asked once before the mask is believed again.
 *
 * Source: tcp(7), Linux net/ipv4/tcp.c. Known gaps: close(2) does not wait for SO_LINGER; TCP_MAXSEG set before connecting
 * comes too late for the first segment; MSG_PEEK looks at 256 KiB at most.
 */
import { closeOfUser, forGuest, ofUser } from "../../../native/guest-descriptors.ts";
import {
  acceptFrom,
  closeFd,
  getSocketOption,
  ioctl as hostIoctl,
  shutdown as hostShutdown,
  poll1,
  receiveFrom,
  sendTo,
  setSocketOption,
  socketName,
} from "../../../native/host.ts";
import type { HostWatcher } from "../../../native/poller.ts";
import {
  EADDRINUSE,
  EAGAIN,
  ECONNREFUSED,
  EFAULT,
  EINPROGRESS,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
} from "../../abi/errno.ts";
import { signalOwner } from "../../ipc/async-io.ts";
import { SIGURG } from "../../signal/numbers.ts";
import { kernelInfo } from "../../signal/send.ts";
import { persistent } from "../../state/registry.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRNORM } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import {
  AF_INET,
  IPPROTO_TCP,
  MSG_DONTROUTE,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SIOCATMARK,
  SIOCINQ,
  SO_ERROR,
  SO_LINGER,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
} from "../abi.ts";
import type { Endpoint } from "../inet/address.ts";
import { ipFromBytes } from "../inet/ip.ts";
import type { TcpSocket } from "../inet/tcp.ts";
import { kept } from "../options.ts";
import type { ReceiveInfo } from "../socket.ts";
import type { BrokerWaiter } from "./broker.ts";
import {
  type Answer,
  OP_BIND,
  OP_CONNECT,
  OP_LISTEN,
  type Place,
  WITH_REUSEADDR,
  WITH_REUSEPORT,
  WITH_V6ONLY,
} from "./protocol.ts";
import { scratch } from "./scratch.ts";
import { hostTakes, hostValue, lingerValue, SOCKET_OPTIONS } from "./socket-options.ts";

/** What is being waited for, or the socket is. */
const TO_ASK = 0;
const BINDING = 1;
const ASKED = 2;
const CONNECTING = 3;
const CONNECTED = 4;
const LISTEN_BINDING = 5;
const LISTEN_ASKED = 6;
const LISTENING = 7;
/** A listen that has failed: `error` is what it is to return. */
const FAILED = 8;

const EPOLLET = 1 << 31;
const WATCHED = POLLIN | POLLOUT | POLLPRI | POLLRDHUP;
const CAN_READ = POLLIN | POLLRDNORM;
const CAN_WRITE = POLLOUT | POLLWRNORM;
const ENDED = POLLRDHUP | POLLHUP | POLLERR;
/** One receive gives so much at most, before others have their turn. */
const RECEIVED_MAX = 4 << 20;
/** What Linux copies at once of what is sent. */
const FRAGMENT = 32768;
/** Ports that a listen without bind tries. */
const PORTS_TRIED = 16;
const TCP_INFO = 11;

const name = new Uint8Array(28);
const nameView = new DataView(name.buffer);
const number = new Int32Array(1);

const spread = (events: number): number =>
  (events & (WATCHED | POLLERR | POLLHUP)) | (events & POLLIN ? POLLRDNORM : 0) | (events & POLLOUT ? POLLWRNORM : 0);

/** The endpoint in `name`. */
function endpoint(): Endpoint {
  const v4 = nameView.getUint16(0, true) === AF_INET;
  return { ip: ipFromBytes(name, v4 ? 4 : 8, v4 ? 4 : 16), port: nameView.getUint16(2, false) };
}

export class OutsideTcp implements HostWatcher, BrokerWaiter {
  /** The host's socket; -1: not here yet. */
  private fd = -1;
  private phase = TO_ASK;
  /** POLL* bits as they were last told or asked. */
  private mask = 0;
  /** Something has been taken or put in since. */
  private stale = false;
  /** A send found no room; until the host says that there is some. */
  private full = false;
  /** Urgent data has come: receives look for its mark. */
  private urgent = false;
  /** Of a listener: whose turn it is, of connections from inside and outside. */
  private insideNext = false;
  private error = 0;
  /** Listen without bind: ports that are left to try. */
  private portsLeft = 0;

  constructor(
    readonly socket: TcpSocket,
    /** Device of a link-local destination. */
    private readonly scope = 0,
  ) {}

  // The broker.

  /** Begins to connect to the socket's remote endpoint. */
  connect(): void {
    if (this.socket.hasPort) this.bind(BINDING);
    else this.askToConnect();
  }
  /** Begins to listen at the socket's own address. `anyPort`: another one will do. */
  listen(anyPort: boolean): void {
    this.portsLeft = anyPort ? PORTS_TRIED : 0;
    this.bind(LISTEN_BINDING);
  }
  setBacklog(backlog: number): void {
    if (this.phase === LISTENING) this.ask(OP_LISTEN, backlog);
  }

  private bind(phase: number): void {
    const { family, localIp, localPort, boundScope } = this.socket;
    this.phase = phase;
    this.ask(OP_BIND, 0, { family, ip: localIp, port: localPort, scope: boundScope });
  }
  private askToConnect(): void {
    const { family, remoteIp, remotePort } = this.socket;
    this.phase = ASKED;
    this.ask(OP_CONNECT, 0, { family, ip: remoteIp, port: remotePort, scope: this.scope });
  }
  private ask(op: number, arg: number, place?: Place): void {
    const { socket } = this;
    const { broker, stack } = socket.kernel.net;
    // It was there when this began, in another sandbox.
    if (broker === null) return this.failed(stack.isLocal(socket.remoteIp) ? ECONNREFUSED : ENETUNREACH);
    const { family } = socket;
    let flags = kept(socket, SO_REUSEADDR) !== 0 ? WITH_REUSEADDR : 0;
    if (kept(socket, SO_REUSEPORT) !== 0) flags |= WITH_REUSEPORT;
    if (socket.v6only) flags |= WITH_V6ONLY;
    const request = { op, family, type: SOCK_STREAM, protocol: IPPROTO_TCP, arg, flags };
    broker.request(place === undefined ? request : { ...request, place }, this.fd, this);
  }

  /** Does the broker have to say something before it goes on? */
  get asking(): boolean {
    const { phase } = this;
    return phase === BINDING || phase === ASKED || phase === LISTEN_BINDING || phase === LISTEN_ASKED;
  }
  /** Is it the host's socket that counts? */
  get connected(): boolean {
    return this.phase === CONNECTED;
  }
  /** The errno of a listen that has failed, or 0. */
  get listenError(): number {
    return this.phase === FAILED ? this.error : 0;
  }

  /** BrokerWaiter. */
  answered({ result, place, fd }: Answer): void {
    const { phase } = this;
    if (!this.asking) {
      // A backlog that was changed: nobody waits for that.
      if (fd >= 0) closeFd(fd);
      return;
    }
    if (fd >= 0) this.take(fd);
    if (result < 0 && result !== -EINPROGRESS) return this.failed(-result);
    if (this.fd < 0) return this.failed(ENFILE);
    switch (phase) {
      case BINDING:
        this.askToConnect();
        break;
      case ASKED:
        this.applyOptions();
        if (!this.watch()) return this.failed(ENOBUFS);
        this.phase = CONNECTING;
        this.socket.outsideBegun(place);
        if (result === 0) this.finishConnect();
        else this.socket.waiters.wake(ALL_EVENTS);
        break;
      case LISTEN_BINDING:
        this.applyOptions();
        this.phase = LISTEN_ASKED;
        this.ask(OP_LISTEN, this.socket.backlogLimit);
        break;
      case LISTEN_ASKED:
        if (!this.watch()) return this.failed(ENOBUFS);
        this.phase = LISTENING;
        this.socket.outsideListens();
    }
  }

  /** A descriptor that is ours from now on. */
  private take(fd: number): void {
    const counted = ofUser(this.socket.ownerUid, fd);
    if (counted < 0) return;
    this.closeDescriptor();
    this.fd = counted;
  }

  /** A connection that a listener has accepted. */
  adopt(fd: number): boolean {
    this.fd = fd;
    this.phase = CONNECTED;
    return this.watch();
  }

  private failed(error: number): void {
    const { phase } = this;
    this.close();
    if (phase !== LISTEN_BINDING && phase !== LISTEN_ASKED) return this.socket.outsideFailed(error);
    if (error === EADDRINUSE && this.portsLeft > 0) {
      this.portsLeft--;
      if (this.socket.takeOtherPort()) return this.bind(LISTEN_BINDING);
    }
    this.phase = FAILED;
    this.error = error;
    this.socket.outsideListenFailed(error);
  }

  /** A restored kernel's connect that was in flight: begun anew, or it fails. */
  settle(): void {
    if (this.phase === TO_ASK) this.connect();
  }

  // Readiness.

  private watch(): boolean {
    const { poller } = this.socket.kernel;
    if (poller.watch(this.fd, WATCHED | EPOLLET, this) < 0) return false;
    this.look();
    return true;
  }
  private look(): void {
    const events = poll1(this.fd, WATCHED, 0);
    this.mask = events < 0 ? POLLERR : spread(events);
    this.stale = false;
  }

  /** HostWatcher. */
  hostReady(_fd: number, events: number): void {
    const before = this.mask;
    // Somebody was told that there is no room, and waits for it, even if the host has been asked since for another reason.
    const told = this.full;
    this.mask = spread(events);
    this.stale = false;
    if ((events & (POLLOUT | POLLERR | POLLHUP)) !== 0) this.full = false;
    const { socket } = this;
    if (this.phase === CONNECTING) {
      if ((events & (POLLOUT | POLLERR | POLLHUP)) !== 0) this.finishConnect();
      return;
    }
    if (this.phase === LISTENING) {
      // One for each connection would be right; who takes one hands on to the next.
      socket.waiters.wake(this.mask);
      return;
    }
    if ((events & POLLPRI) !== 0) {
      this.urgent = true;
      if ((before & POLLPRI) === 0) signalOwner(socket, kernelInfo(SIGURG));
    }
    // Room is news when there was none; bytes may always be more bytes.
    const news = this.mask & ~(told ? 0 : before & CAN_WRITE);
    if ((events & ENDED) !== 0) socket.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    else if (news !== 0) socket.waiters.wake(news);
  }

  private finishConnect(): void {
    const error = this.takeHostError();
    if (error !== 0) return this.failed(error);
    this.phase = CONNECTED;
    this.look();
    this.socket.outsideConnected();
  }

  poll(): number {
    if (this.stale && (this.mask & (CAN_READ | CAN_WRITE | POLLPRI)) !== 0) this.look();
    return this.mask;
  }

  // Listening.

  /** Is a connection there? */
  get acceptable(): boolean {
    return this.phase === LISTENING && (this.poll() & POLLIN) !== 0;
  }
  /** Of connections that wait inside and out: is it one from outside that comes next? */
  takesTurn(inside: boolean): boolean {
    if (!inside || !this.insideNext) return this.acceptable && this.turn(true);
    return this.turn(false);
  }
  private turn(outside: boolean): boolean {
    this.insideNext = outside;
    return outside;
  }
  /** The next connection's descriptor and the address that it comes from; -EAGAIN. */
  accept(): { fd: number; from: Endpoint; at: Endpoint } | number {
    const fd = ofUser(this.socket.ownerUid, forGuest(acceptFrom(this.fd, name, name.length)));
    this.stale = true;
    if (fd === -EAGAIN) this.mask = 0;
    if (fd < 0) return fd;
    const from = endpoint();
    const at =
      socketName(fd, 0, name, name.length) < 0 ? { ip: this.socket.localIp, port: this.socket.localPort } : endpoint();
    return { fd, from, at };
  }

  // Data.

  receive(io: Io, flags: number, info: ReceiveInfo | null): number {
    if ((flags & MSG_ERRQUEUE) !== 0) return -EAGAIN;
    const { socket } = this;
    const pending = socket.takeError();
    if (pending < 0) return pending;
    // Waits for so much to be there, without taking what is less.
    if (socket.rcvlowat > 1 && (flags & MSG_DONTWAIT) === 0) {
      this.look();
      if ((this.mask & (POLLIN | ENDED)) === 0) return -EAGAIN;
    }
    const passed = flags & (MSG_OOB | MSG_PEEK | MSG_TRUNC);
    let moved = 0;
    for (;;) {
      const want = Math.min(io.remaining, scratch.length);
      // What has been taken from the host's socket is gone from there.
      const room = (flags & MSG_TRUNC) !== 0 ? want : io.usable(want, true);
      if (room === 0 && want > 0) return moved > 0 ? moved : this.unusable(passed);
      const n = receiveFrom(this.fd, scratch, room, passed);
      this.stale = true;
      if (n <= 0) {
        if (n === -EAGAIN) this.mask &= ~CAN_READ;
        else if (n < 0 && moved > 0) socket.error = -n;
        return moved > 0 ? moved : n;
      }
      if ((flags & MSG_TRUNC) !== 0) io.skip(n);
      else if (io.put(scratch, 0, n) < n) return moved > 0 ? moved : -EFAULT;
      moved += n;
      if (info !== null) info.stop ||= this.stops(flags);
      if (n < scratch.length || (flags & (MSG_PEEK | MSG_OOB)) !== 0 || moved >= RECEIVED_MAX) return moved;
      if (info?.stop) return moved;
    }
  }
  /** A receive into memory that is none: an error when there is something to receive. */
  private unusable(flags: number): number {
    const n = receiveFrom(this.fd, scratch, 1, (flags & MSG_OOB) | MSG_PEEK);
    return n > 0 ? -EFAULT : n;
  }
  /** Does a receive that waits for more end here: at urgent data, or since nothing more will come to look at? */
  private stops(flags: number): boolean {
    if ((flags & MSG_PEEK) !== 0 && (flags & MSG_WAITALL) !== 0) {
      this.look();
      if ((this.mask & ENDED) !== 0) return true;
    }
    if (!this.urgent) return false;
    return this.ioctl(SIOCATMARK) > 0;
  }

  send(io: Io, flags: number): number {
    const { socket } = this;
    const pending = socket.takeError();
    if (pending < 0) return pending;
    if (this.full) return -EAGAIN;
    const whole = io.remaining;
    const want = Math.min(whole, scratch.length);
    let taken = want === 0 ? 0 : Math.max(0, io.take(scratch, 0, want));
    if (taken < want) {
      // Memory ends here. As on Linux the fragment that it ends in is not sent, and what is wrong with the connection comes first.
      const rest = taken % FRAGMENT;
      io.rewind(rest);
      taken -= rest;
      if (taken === 0) {
        const n = sendTo(this.fd, scratch, 0, 0);
        return n < 0 ? n : -EFAULT;
      }
    }
    let passed = flags & (MSG_DONTROUTE | MSG_MORE);
    // The last byte of the whole is the urgent one.
    if (taken === whole) passed |= flags & MSG_OOB;
    const n = sendTo(this.fd, scratch, taken, passed);
    this.stale = true;
    if (n < taken) {
      io.rewind(taken - Math.max(0, n));
      if (n >= 0 || n === -EAGAIN) {
        this.full = true;
        this.mask &= ~CAN_WRITE;
      }
    }
    return n;
  }

  /** `how`: SHUT_*. */
  shutdown(how: number): number {
    this.stale = true;
    const result = hostShutdown(this.fd, how);
    this.look();
    return result;
  }

  /** The number that it answers with, or -errno. */
  ioctl(request: number): number {
    const result = hostIoctl(this.fd, request, number);
    return result < 0 ? result : number[0]!;
  }

  // Names and options.

  /** Own or peer's address, as the host shows it; -errno. */
  getName(peer: boolean): Uint8Array | number {
    const length = socketName(this.fd, peer ? 1 : 0, name, name.length);
    return length < 0 ? length : name.slice(0, Math.min(length, name.length));
  }

  get hasDescriptor(): boolean {
    return this.fd >= 0;
  }

  /** The program has set an option: 0 or -errno. */
  setOption(level: number, option: number): number {
    if (this.fd < 0 || !hostTakes(level, option)) return 0;
    const value = hostValue(this.socket, level, option);
    return value === null ? 0 : setSocketOption(this.fd, level, option, value, value.length);
  }
  private applyOptions(): void {
    const { kept, optionValues, linger, bufLock, rcvlowat } = this.socket;
    if (kept === null && optionValues === null && linger === null && bufLock === 0 && rcvlowat === 1) return;
    // What the host does not take was set in vain: connecting does not fail for it.
    for (const [level, option] of SOCKET_OPTIONS) this.setOption(level, option);
  }
  /** What the host says; -errno. */
  getOption(level: number, option: number, length: number): Uint8Array | number {
    const value = new Uint8Array(Math.min(length, 512));
    const n = getSocketOption(this.fd, level, option, value, value.length);
    return n < 0 ? n : value.subarray(0, n);
  }
  takeHostError(): number {
    number[0] = 0;
    const n = getSocketOption(this.fd, SOL_SOCKET, SO_ERROR, number, 4);
    this.stale = true;
    return n < 0 ? -n : number[0]!;
  }
  /** As /proc/net/tcp numbers it. */
  get tcpState(): number {
    const info = this.getOption(SOL_TCP, TCP_INFO, 8);
    return typeof info === "number" ? 7 : info[0]!;
  }
  get queued(): number {
    return Math.max(0, this.ioctl(SIOCINQ));
  }

  // The end.

  /** Closes the host's socket. `reset`: the other end is told so. */
  close(reset = false): void {
    this.socket.kernel.net.broker?.forget(this);
    if (reset && this.fd >= 0) {
      const value = lingerValue(true);
      setSocketOption(this.fd, SOL_SOCKET, SO_LINGER, value, value.length);
    }
    this.closeDescriptor();
  }
  private closeDescriptor(): void {
    if (this.fd < 0) return;
    this.socket.kernel.poller.unwatch(this.fd);
    closeOfUser(this.fd);
    this.fd = -1;
    this.mask = 0;
  }

  /** In a restored kernel: connections are broken, all else is asked for anew. */
  restored(): void {
    const { socket, phase } = this;
    this.phase = TO_ASK;
    this.stale = false;
    this.full = false;
    if (phase === CONNECTED) socket.outsideReset();
    else if (phase >= LISTEN_BINDING) socket.outsideGone();
    else socket.outsideUnbegun();
  }
}

persistent("outside-tcp", OutsideTcp, {
  transient: { fd: () => -1, mask: () => 0 },
  restored: (outside) => outside.restored(),
});
