/**
 * The outside life of a datagram socket (UDP, ping, raw): a socket of the host's network that the broker made and handed
 * over, or the end of a relay, behind which the broker keeps it (src/native/broker.h).
 *
 * Making, binding and connecting it takes the broker's answer: `begin` starts such steps for a call, which waits and is run
 * again; `claim` then gives the result. Everything else happens at once. No datagram is queued here: what is taken from the
 * host goes to whoever asked. Readiness comes from the host by edges and is remembered; `poll` asks the host before it says
 * that something is there.
 */
import { type ControlMessage, type Envelope, receiveDatagram, sendDatagram } from "../../../native/datagram.ts";
import { closeOfUser, ofUser } from "../../../native/guest-descriptors.ts";
import { closeFd, getSocketOption, poll1, setSocketOption } from "../../../native/host.ts";
import type { HostWatcher } from "../../../native/poller.ts";
import {
  EADDRINUSE,
  EAFNOSUPPORT,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EFAULT,
  EINTR,
  EMSGSIZE,
  ENETDOWN,
  EPERM,
  EPIPE,
} from "../../abi/errno.ts";
import { perCall } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import {
  AF_INET,
  AF_INET6,
  MSG_ERRQUEUE,
  MSG_PEEK,
  MSG_TRUNC,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_BROADCAST,
  SO_DONTROUTE,
  SO_ERROR,
  SO_NO_CHECK,
  SO_PRIORITY,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_RXQ_OVFL,
  SO_SELECT_ERR_QUEUE,
  SO_SNDBUF,
  SO_TIMESTAMP,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMPNS,
  SO_TIMESTAMPNS_NEW,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_UDP,
} from "../abi.ts";
import { formatEndpoint } from "../inet/address.ts";
import type { InetDatagramSocket } from "../inet/datagram.ts";
import { ANY4, ANY6, type Ip, isAny } from "../inet/ip.ts";
import { kept } from "../options.ts";
import {
  type Answer,
  IS_RELAY,
  OP_BIND,
  OP_CONNECT,
  OP_DISCONNECT,
  OP_OPEN,
  OP_OPTION,
  PLACE_SIZE,
  type Place,
  type Request,
  readPlace,
  WITH_BROADCAST,
  WITH_FREEBIND,
  WITH_REUSEADDR,
  WITH_REUSEPORT,
  WITH_V6ONLY,
  writePlace,
} from "./protocol.ts";
import { scratch } from "./scratch.ts";
import { hostTakes, hostValue } from "./socket-options.ts";

const EPOLLET = 1 << 31;
/** Family of a relay's message that is an error, no datagram. */
const RELAY_ERROR = 0xffff;
const ERRNO_MAX = 4095;
/** Room for any datagram, behind the place that a relay's messages begin with. */
const ROOM = 65536;
const scratchView = new DataView(scratch.buffer);
const envelope: Envelope = { name: null, control: null, flags: 0 };
const int = new Uint8Array(4);
/** Datagrams that are thrown away in one go, at most: others come while that is done. */
const DRAIN_MAX = 4096;
/** Other ports are asked for so many times when the host's choice is taken here. */
const PORT_TRIES = 16;

const IP_FREEBIND = 15;
const IPV6_FREEBIND = 78;

/** Options at the socket level that the host's socket has too. */
const SOCKET_OPTIONS = [
  SO_BROADCAST,
  SO_DONTROUTE,
  SO_NO_CHECK,
  SO_PRIORITY,
  SO_TIMESTAMP,
  SO_TIMESTAMPNS,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMPNS_NEW,
  SO_RXQ_OVFL,
  SO_SELECT_ERR_QUEUE,
];
/** Options above it, by level. Those that only say how something is bound go along with that. */
const HOST_OPTIONS: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  // TOS, TTL, HDRINCL, ROUTER_ALERT, RECVOPTS, RETOPTS, PKTINFO, MTU_DISCOVER, RECVERR, RECVTTL, RECVTOS, RECVORIGDSTADDR,
  // MINTTL, CHECKSUM, RECVFRAGSIZE, RECVERR_RFC4884, MULTICAST_TTL, _LOOP, _ALL, UNICAST_IF
  [SOL_IP, new Set([1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 20, 21, 23, 25, 26, 33, 34, 49, 50])],
  // UNICAST_HOPS, MULTICAST_HOPS, _LOOP, MTU_DISCOVER, RECVERR, MULTICAST_ALL, RECVERR_RFC4884, FLOWINFO_SEND, RECVPKTINFO,
  // RECVHOPLIMIT, RECVHOPOPTS, RECVRTHDR, RECVDSTOPTS, RECVPATHMTU, DONTFRAG, RECVTCLASS, TCLASS, AUTOFLOWLABEL,
  // ADDR_PREFERENCES, MINHOPCOUNT, RECVORIGDSTADDR, UNICAST_IF, RECVFRAGSIZE, 2292PKTINFO, 2292HOPLIMIT, FLOWINFO
  [
    SOL_IPV6,
    new Set([2, 8, 11, 16, 18, 19, 23, 25, 29, 31, 33, 49, 51, 53, 56, 58, 60, 62, 66, 67, 70, 72, 73, 74, 76, 77]),
  ],
  // CORK, NO_CHECK6_TX, NO_CHECK6_RX, SEGMENT, GRO
  [SOL_UDP, new Set([1, 101, 102, 103, 104])],
]);

/** Tells the result of steps that take the broker's answers. */
export type Finish = (result: number) => void;

/** A call, or the kernel itself (`task` null), that such steps are done for. */
interface Call {
  readonly task: Task | null;
  result: number | null;
}

/** A datagram that was taken; its bytes lie in `bytes` until the next one is. */
export interface Arrival {
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly length: number;
  /** The sender, as a guest is shown it; null: of errors whose place is not told. */
  readonly name: Uint8Array | null;
  /** null: there is none, or a relay says none: see `InetDatagramSocket.describe`. */
  readonly control: ControlMessage[] | null;
  /** The sender's address, of relays only. */
  readonly from: Ip | null;
  /** MSG_ERRQUEUE, MSG_CTRUNC. */
  readonly flags: number;
}

export class OutsideDatagrams implements HostWatcher {
  private fd = -1;
  /** What is at `fd` is the end of a relay. */
  relay = false;
  /** Of the host's socket: AF_INET for an IPv6 one where the host has no IPv6. */
  private family: number;
  /** POLLIN, POLLOUT and POLLERR as the host told of them last, less what was found to be over. */
  private ready = 0;
  private closed = false;
  private call: Call | null = null;

  constructor(readonly owner: InetDatagramSocket) {
    this.family = owner.family;
  }

  /** There is a socket outside. */
  get open(): boolean {
    return this.fd >= 0;
  }
  /** Something may be there. */
  get stirred(): boolean {
    return (this.ready & (POLLIN | POLLERR)) !== 0;
  }

  // Steps that wait for the broker.

  /** The result of what an earlier run of the task's call began, BLOCKED while there is none; undefined: it began nothing. */
  claim(task: Task): number | undefined {
    const { call } = this;
    if (call === null || call.task !== task) return undefined;
    if (call.result === null) return this.wait(task);
    this.call = null;
    return call.result;
  }

  /** Begins steps for a task's call, or with `task` null for nobody: the result, or BLOCKED. Those of others come first. */
  begin(task: Task | null, steps: (finish: Finish) => void): number {
    if (this.call !== null && this.call.result === null) return task === null ? -EAGAIN : this.wait(task);
    const call: Call = { task, result: null };
    this.call = call;
    this.owner.waitsOutside = task !== null;
    steps((result) => {
      if (call.result !== null) return;
      call.result = result;
      this.owner.waitsOutside = false;
      if (task === null) this.call = null;
      this.owner.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    });
    if (task === null) return call.result ?? 0;
    if (call.result === null) return this.wait(task);
    this.call = null;
    return call.result;
  }

  /** Only the end of the process ends it: the broker answers soon, and what it does is done. */
  private wait(task: Task): number {
    task.progress().file ??= this.owner.retain();
    task.waitOn(this.owner.waiters);
    return task.sleepKillable();
  }

  private ask(what: Pick<Request, "op"> & Partial<Request>, then: (result: number, own: Place | null) => void): void {
    const { owner } = this;
    const request: Request = { family: this.family, type: owner.sockType, protocol: owner.protocol, ...what };
    const answered = ({ result, place, fd, flags }: Answer): void => {
      let problem = result;
      if (fd >= 0) {
        if (this.closed || result < 0) closeFd(fd);
        else problem = this.adopt(fd, (flags & IS_RELAY) !== 0);
      }
      if (this.closed) return;
      // A socket that was promised and did not come is none.
      then(problem === 0 && this.fd < 0 ? -ENETDOWN : problem, place);
    };
    const { broker } = owner.kernel.net;
    if (broker === null) then(-ENETDOWN, null);
    else broker.request(request, this.fd, { answered });
  }

  /** The same about a place; an IPv6 socket where the host has no IPv6 becomes one of IPv4, if that is what it is used for. */
  private askPlace(op: number, ip: Ip, port: number, scope: number, then: (result: number, own: Place | null) => void) {
    const flags = this.flags();
    const place = (): Place => ({
      family: this.family,
      ip: this.family === AF_INET && ip === ANY6 ? ANY4 : ip,
      port,
      scope,
    });
    this.ask({ op, place: place(), flags }, (result, own) => {
      const narrow = result === -EAFNOSUPPORT && this.family === AF_INET6 && this.fd < 0 && !this.owner.v6only;
      if (!narrow || (typeof ip !== "number" && ip !== ANY6)) return then(result, own);
      this.family = AF_INET;
      this.ask({ op, place: place(), flags: flags & ~WITH_V6ONLY }, then);
    });
  }

  private flags(): number {
    const { owner } = this;
    const free = owner.option(SOL_IP, IP_FREEBIND, 0) !== 0 || owner.option(SOL_IPV6, IPV6_FREEBIND, 0) !== 0;
    return (
      (kept(owner, SO_REUSEADDR) !== 0 ? WITH_REUSEADDR : 0) |
      (kept(owner, SO_REUSEPORT) !== 0 ? WITH_REUSEPORT : 0) |
      (owner.v6only && owner.family === AF_INET6 ? WITH_V6ONLY : 0) |
      (kept(owner, SO_BROADCAST) !== 0 ? WITH_BROADCAST : 0) |
      (free ? WITH_FREEBIND : 0)
    );
  }

  /** Makes a socket that is not bound, if there is none yet, with the options of its owner. */
  opened(then: Finish): void {
    if (this.fd >= 0) return then(0);
    this.ask({ op: OP_OPEN, flags: this.flags() }, (result) => {
      if (result < 0) then(result);
      else this.applyAll(() => then(0));
    });
  }

  /** Before it is bound or connected: a socket, where one has to be there first. */
  private prepared(then: Finish): void {
    const { owner } = this;
    if (owner.groups !== null || kept(owner, SO_BINDTOIFINDEX) !== 0) this.opened(then);
    else then(0);
  }

  /** Binds it: 0 and where to, or -errno. With port 0, to one that `free` takes; a published port may be another outside. */
  bind(
    ip: Ip,
    port: number,
    scope: number,
    free: (port: number) => boolean,
    then: (result: number, own: Place | null) => void,
  ): void {
    let tries = PORT_TRIES;
    const once = (): void =>
      this.prepared((prepared) => {
        if (prepared < 0) return then(prepared, null);
        const fresh = this.fd < 0;
        this.askPlace(OP_BIND, ip, port, scope, (result, own) => {
          if (result < 0) return then(result, null);
          if (port === 0 && own !== null && !free(own.port)) {
            this.drop();
            if (--tries === 0) return then(-EADDRINUSE, null);
            return once();
          }
          if (fresh) this.applyAll(() => then(0, own));
          else then(0, own);
        });
      });
    once();
  }

  connect(ip: Ip, port: number, scope: number, then: (result: number, own: Place | null) => void): void {
    this.prepared((prepared) => {
      if (prepared < 0) return then(prepared, null);
      const fresh = this.fd < 0;
      this.askPlace(OP_CONNECT, ip, port, scope, (result, own) => {
        if (result === 0 && fresh) this.applyAll(() => then(0, own));
        else then(result, own);
      });
    });
  }

  disconnect(then: Finish): void {
    if (this.fd < 0) then(0);
    else this.ask({ op: OP_DISCONNECT }, then);
  }

  /** An option that only the broker may set, or whose result matters. */
  option(level: number, name: number, data: Uint8Array, then: Finish): void {
    this.opened((result) => {
      if (result < 0) then(result);
      else this.set(level, name, data, then);
    });
  }

  /** Sets it here if this process may, else through the broker. */
  private set(level: number, name: number, data: Uint8Array, then: Finish): void {
    const direct =
      this.relay || !hostTakes(level, name) ? -EPERM : setSocketOption(this.fd, level, name, data, data.length);
    if (direct !== -EPERM) return then(direct);
    this.ask({ op: OP_OPTION, level, name, data }, then);
  }

  /** Is it one that the host's socket has too? */
  shares(level: number, name: number): boolean {
    if (level !== SOL_SOCKET) return HOST_OPTIONS.get(level)?.has(name) === true;
    return SOCKET_OPTIONS.includes(name) || name === SO_RCVBUF || name === SO_SNDBUF || name === SO_BINDTOIFINDEX;
  }

  /** The owner's value of a shared option, as the host takes it: name and bytes; null: as it is by default. */
  private valueOf(level: number, name: number): [name: number, value: Uint8Array] | null {
    const { owner } = this;
    const value = hostValue(owner, level, name);
    if (value === null || name !== SO_BINDTOIFINDEX || level !== SOL_SOCKET)
      return value === null ? null : [name, value];
    const device = owner.kernel.net.stack.deviceByIndex(kept(owner, name));
    return [SO_BINDTODEVICE, Buffer.from(`${device?.name ?? ""}\0`)];
  }

  /** Brings a shared option of the owner's to the socket outside. */
  apply(level: number, name: number, then: Finish): void {
    const value = this.fd < 0 ? null : this.valueOf(level, name);
    if (value === null) then(0);
    else this.set(level, value[0], value[1], then);
  }

  /** Brings all of them there: to a socket that was just made. What the host refuses stays as it is by default. */
  private applyAll(then: () => void): void {
    const { owner } = this;
    let left = 1;
    const done = (): void => {
      if (--left === 0) then();
    };
    const set = (level: number, name: number, data: Uint8Array): void => {
      left++;
      this.set(level, name, data, done);
    };
    const shared = (level: number, name: number): void => {
      const value = this.valueOf(level, name);
      if (value !== null) set(level, value[0], value[1]);
    };
    shared(SOL_SOCKET, SO_BINDTOIFINDEX);
    if (owner.kept !== null) for (const name of SOCKET_OPTIONS) shared(SOL_SOCKET, name);
    shared(SOL_SOCKET, SO_RCVBUF);
    shared(SOL_SOCKET, SO_SNDBUF);
    for (const key of owner.optionValues?.keys() ?? [])
      if (this.shares(key >> 8, key & 255)) shared(key >> 8, key & 255);
    for (const { level, name, data } of owner.groups ?? []) set(level, name, data);
    done();
  }

  /** Takes a socket over: 0, or -errno, and it is closed. */
  private adopt(fd: number, relay: boolean): number {
    if (this.fd >= 0) this.drop();
    const counted = ofUser(this.owner.ownerUid, fd);
    if (counted < 0) return counted;
    const watched = this.owner.kernel.poller.watch(fd, POLLIN | POLLOUT | EPOLLET, this);
    if (watched < 0) {
      closeOfUser(fd);
      return watched;
    }
    this.fd = fd;
    this.relay = relay;
    this.ready = POLLOUT;
    return 0;
  }

  /** Lets go of the socket outside; another one may follow. */
  drop(): void {
    if (this.fd < 0) return;
    this.owner.kernel.poller.unwatch(this.fd);
    closeOfUser(this.fd);
    this.fd = -1;
    this.relay = false;
    this.ready = 0;
    this.owner.outsideBound = false;
    this.owner.outsideConnected = false;
  }

  close(): void {
    this.closed = true;
    this.drop();
  }

  /** The broker behind a relay is gone. */
  private down(): number {
    this.drop();
    return -ENETDOWN;
  }

  // Readiness.

  /** HostWatcher. */
  hostReady(_fd: number, events: number): void {
    // An end that is hung up has something to say: that it is.
    const now = (events & (POLLIN | POLLOUT | POLLERR)) | ((events & POLLHUP) !== 0 ? POLLIN : 0);
    const writable = (now & ~this.ready & POLLOUT) !== 0;
    this.ready |= now;
    let mask = 0;
    if ((now & POLLIN) !== 0) mask |= POLLIN | POLLRDNORM;
    if ((now & POLLERR) !== 0) mask |= POLLERR;
    if (writable) mask |= POLLOUT | POLLWRNORM | POLLWRBAND;
    // Several may have come.
    if (mask !== 0) this.owner.waiters.wake(mask, Number.POSITIVE_INFINITY);
  }

  /** POLLIN, POLLOUT and POLLERR: as remembered, and where something is said to be there, as the host says. */
  poll(): number {
    if (this.fd < 0) return POLLOUT;
    if (!this.stirred) return this.ready;
    const events = poll1(this.fd, POLLIN | POLLOUT, 0);
    if (events < 0) return this.ready;
    this.ready = events & (POLLIN | POLLOUT | POLLERR);
    if ((events & POLLHUP) !== 0 && this.relay) this.ready |= POLLIN;
    if (this.relay && (this.ready & POLLIN) !== 0) {
      // An error among the datagrams is one of the socket.
      const n = receiveDatagram(this.fd, scratch, PLACE_SIZE, MSG_PEEK, envelope);
      if (n === 0 || n === -ECONNRESET || (n >= 2 && scratchView.getUint16(0, true) === RELAY_ERROR)) {
        const error = this.take(0);
        if (typeof error === "number" && error !== -EAGAIN) this.owner.error = -error;
        return this.ready | POLLERR;
      }
    }
    return this.ready;
  }

  // Datagrams.

  /** Takes the next datagram (MSG_PEEK: looks at it; MSG_ERRQUEUE: the next error); -EAGAIN: there is none. */
  take(flags: number): Arrival | number {
    for (;;) {
      // A relay has no queue of errors: they come among the datagrams.
      if (this.fd < 0 || (this.relay && (flags & MSG_ERRQUEUE) !== 0)) return -EAGAIN;
      const n = receiveDatagram(
        this.fd,
        scratch,
        PLACE_SIZE + ROOM,
        (flags & (MSG_PEEK | MSG_ERRQUEUE)) | MSG_TRUNC,
        envelope,
      );
      if (n === -EINTR) continue;
      if (n < 0) {
        if (n === -EAGAIN) this.ready &= (flags & MSG_ERRQUEUE) !== 0 ? ~POLLERR : ~POLLIN;
        return this.relay && n === -ECONNRESET ? this.down() : n;
      }
      const length = Math.min(n, PLACE_SIZE + ROOM);
      return this.relay ? this.takeRelayed(length, flags) : this.arrival(length);
    }
  }

  private arrival(length: number): Arrival {
    const { name, control, flags } = envelope;
    return {
      bytes: scratch,
      offset: 0,
      length,
      name: name === null || this.family === this.owner.family ? name : mapped(name),
      control,
      from: null,
      flags: flags & ~MSG_TRUNC,
    };
  }

  private takeRelayed(length: number, flags: number): Arrival | number {
    // An empty message is the end of the relay.
    if (length < PLACE_SIZE) return this.down();
    if (scratchView.getUint16(0, true) === RELAY_ERROR) {
      const error = scratchView.getInt32(8, true);
      if ((flags & MSG_PEEK) !== 0) receiveDatagram(this.fd, int, int.length, 0, envelope);
      return error > 0 && error <= ERRNO_MAX ? -error : -ECONNREFUSED;
    }
    const place = readPlace(scratchView, 0);
    if (place === null || place === undefined) return this.down();
    return {
      bytes: scratch,
      offset: PLACE_SIZE,
      length: length - PLACE_SIZE,
      name: socketAddress(place.ip, place.port, place.scope, this.owner.family),
      control: null,
      from: place.ip,
      flags: 0,
    };
  }

  /** Sends what is in io, to where the socket is connected with `to` null: the count, -EAGAIN while there is no room. */
  send(
    io: Io,
    flags: number,
    to: { ip: Ip; port: number; scope: number } | null,
    control: ControlMessage[] | null,
  ): number {
    const length = io.remaining;
    if (length > ROOM) return -EMSGSIZE;
    const start = this.relay ? PLACE_SIZE : 0;
    if (length > 0) {
      const taken = io.take(scratch, start, length);
      if (taken < length) return taken < 0 ? taken : -EFAULT;
    }
    if (this.fd < 0) return -ENETDOWN;
    for (;;) {
      let n: number;
      if (this.relay) {
        scratch.fill(0, 0, PLACE_SIZE);
        if (to !== null) {
          writePlace(scratchView, 0, { family: this.family, ...to });
          this.owner.kernel.net.broker?.means(to.ip, to.port);
        }
        n = sendDatagram(this.fd, scratch, PLACE_SIZE + length, 0, null, null);
      } else {
        const name = to === null ? null : socketAddress(to.ip, to.port, to.scope, this.family);
        n = sendDatagram(this.fd, scratch, length, flags, name, control);
      }
      if (n === -EINTR) continue;
      if (n === -EAGAIN) this.ready &= ~POLLOUT;
      if (this.relay && (n === -EPIPE || n === -ECONNRESET)) return this.down();
      return n < 0 ? n : length;
    }
  }

  /** Throws away what has come: it is not for a socket that is now connected to another place. */
  drain(): void {
    for (let i = 0; i < DRAIN_MAX && this.fd >= 0; i++) {
      const taken = this.take(0);
      if (taken === -EAGAIN) return;
    }
  }

  /** Bytes of the next datagram, 0 for none. */
  next(): number {
    if (!this.stirred || this.fd < 0) return 0;
    const n = receiveDatagram(this.fd, scratch, 0, MSG_PEEK | MSG_TRUNC, envelope);
    return n < 0 ? 0 : this.relay ? Math.max(0, n - PLACE_SIZE) : n;
  }

  /** Takes the host's pending error: -errno, or 0. */
  takeError(): number {
    if (this.fd < 0 || this.relay || (this.ready & POLLERR) === 0) return 0;
    const got = getSocketOption(this.fd, SOL_SOCKET, SO_ERROR, int, 4);
    const error = got === 4 ? new DataView(int.buffer).getInt32(0, true) : 0;
    if (error > 0 && error <= ERRNO_MAX) return -error;
    // Unless errors are queued, it is over.
    this.poll();
    return 0;
  }

  /** An option's value as the host has it; -errno. */
  hostOption(level: number, name: number): Uint8Array | number {
    if (this.fd < 0 || this.relay) return -ENETDOWN;
    const result = getSocketOption(this.fd, level, name, int, 4);
    return result < 0 ? result : int.slice();
  }
}

/** A socket address of `family`; the device of a link-local one is its scope. */
function socketAddress(ip: Ip, port: number, scope: number, family: number): Uint8Array {
  const bytes = formatEndpoint(ip, port, family);
  if (family !== AF_INET6) return bytes;
  // 0.0.0.0 is shown as ::, but sent to as what it is.
  if (scope !== 0) new DataView(bytes.buffer).setUint32(24, scope, true);
  return bytes;
}

/** sockaddr_in as an IPv6 socket shows it. */
function mapped(name: Uint8Array): Uint8Array {
  if (name.length < 8) return name;
  const ip = ((name[4]! << 24) | (name[5]! << 16) | (name[6]! << 8) | name[7]!) >>> 0;
  return isAny(ip) ? name : formatEndpoint(ip, (name[2]! << 8) | name[3]!, AF_INET6);
}

// Never saved: a restored socket has another one, made anew (InetDatagramSocket.renew).
perCall(OutsideDatagrams);
