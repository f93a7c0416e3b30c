/**
 * UDP and UDP-Lite: datagrams between sockets here, and of UDP to and from the network outside (outside/datagrams.ts).
 *
 * Source: udp(7), udplite(7), ip(7), Linux net/ipv4/udp.c. A datagram to a port that nobody has comes back as ECONNREFUSED to a
 * connected sender; one that finds the receiver's buffer full is lost, as on Linux. A socket may live in both: what goes to
 * an own address where a socket of ours is bound stays here, all else goes outside; it receives from both in the order in
 * which they came. Known gaps: without an outside no multicast or broadcast delivery; no error queue (IP_RECVERR) of what
 * stays here; a relay tells no time to live, and has no error queue.
 */

import type { ControlMessage } from "../../../native/datagram.ts";
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EAGAIN,
  ECONNREFUSED,
  EDESTADDRREQ,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENETDOWN,
  ENETUNREACH,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
  EPIPE,
} from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLERR, POLLHUP, POLLIN, POLLRDHUP, POLLRDNORM } from "../../vfs/file.ts";
import type { Timespec } from "../../vfs/inode.ts";
import { type Io, KernelIo } from "../../vfs/io.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  MSG_CONFIRM,
  MSG_DONTROUTE,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SHUTDOWN_MASK,
  SIOCINQ,
  SIOCOUTQ,
  SO_BROADCAST,
  SOCK_DGRAM,
  SOL_IP,
  SOL_IPV6,
  SOL_UDP,
} from "../abi.ts";
import { countUdp } from "../counters.ts";
import { kept } from "../options.ts";
import type { Place } from "../outside/protocol.ts";
import type { ReceiveInfo, SendInfo } from "../socket.ts";
import { addTimestamp, arrivalTime } from "../timestamps.ts";
import { type Endpoint, familyOf, formatEndpoint, parseAddress, scopeOf } from "./address.ts";
import { InetDatagramSocket } from "./datagram.ts";
import { ANY4, type Ip, ipFromBytes, ipToBytes, isAny, isLoopback, isMulticast } from "./ip.ts";
import { mostExact, type PortTable } from "./ports.ts";

const CAN_READ = POLLIN | POLLRDNORM;

/** The largest datagram. */
const UDP_MAX = 65507;
const UDP6_MAX = 65527;

const IP_PKTINFO = 8;
const IP_TTL = 2;
const IP_RECVTTL = 12;
const IP_TOS = 1;
const IP_RECVTOS = 13;
const IPV6_RECVPKTINFO = 49;
const IPV6_PKTINFO = 50;
const IPV6_RECVHOPLIMIT = 51;
const IPV6_HOPLIMIT = 52;
const IPV6_UNICAST_HOPS = 16;
const IPV6_RECVTCLASS = 66;
const IPV6_TCLASS = 67;
const UDP_SEGMENT = 103;

/** Ports below it are refused for want of a capability. */
const UNPRIVILEGED_PORT = 1024;

/** Flags of a send that mean something outside. */
const PASSED = MSG_CONFIRM | MSG_DONTROUTE | MSG_MORE;

interface Datagram {
  data: Uint8Array;
  from: Ip;
  fromPort: number;
  to: Ip;
  /** Time to live and type of service, for the control messages that show them. */
  ttl: number;
  tos: number;
  arrived: Timespec | null;
  /** Of one that came from outside: the sender as it is shown, the host's control messages, or the sender's address. */
  came?: { name: Uint8Array | null; control: ControlMessage[] | null; from: Ip | null };
}

/** What a datagram costs of the receiver's buffer (see unix/truesize.ts for where such figures come from). */
const cost = (length: number): number => (length <= 128 ? 768 : 1024 + length);

export class UdpSocket extends InetDatagramSocket {
  private queue: Datagram[] = [];
  private first = 0;
  private used = 0;
  /** Its port may not be had outside. */
  private hereOnly = false;

  constructor(kernel: Kernel, family: number, protocol: number, flags: number, uid: number) {
    super(kernel, family, SOCK_DGRAM, protocol, flags, uid);
  }

  protected override get ports(): PortTable {
    const { net } = this.kernel;
    return this.protocol === IPPROTO_UDPLITE ? net.udpLitePorts : net.udpPorts;
  }
  protected override get takesMulticast(): boolean {
    return true;
  }
  protected override get hasPeer(): boolean {
    return this.connected;
  }

  /** UDP-Lite stays here. */
  protected override get reachesOut(): boolean {
    return this.protocol === IPPROTO_UDP && super.reachesOut;
  }
  /** The host knows which addresses there are. */
  protected override mayBind(ip: Ip): boolean {
    return this.reachesOut || super.mayBind(ip);
  }

  override bind(task: Task, addr: Uint8Array): number {
    return this.claim(task) ?? super.bind(task, addr);
  }

  /** Both here and outside: the call waits for the host's word. What may only be had here is had here. */
  protected override bindTo(task: Task, ip: Ip, port: number, scope: number): number {
    if (!this.reachesOut) return super.bindTo(task, ip, port, scope);
    const free = (wanted: number) => this.ports.free(this, ip, wanted);
    if (port !== 0 && !free(port)) return -EADDRINUSE;
    const { life } = this;
    return life.begin(task, (finish) =>
      life.bind(ip, port, scope, free, (result, own) => {
        // Another task has sent meanwhile, and it got a port by that.
        if (this.hasPort) {
          this.life.drop();
          return finish(-EINVAL);
        }
        // What the rules do not publish is heard here alone, as is loopback where that is the host's.
        const refused = result === -EACCES || result === -EPERM;
        const here = result === -ENETDOWN || (refused && (isLoopback(ip) || port >= UNPRIVILEGED_PORT));
        if (here) this.hereOnly = true;
        if (here) return finish(super.mayBind(ip) || isAny(ip) ? super.bindTo(task, ip, port, scope) : -EADDRNOTAVAIL);
        if (result < 0) return finish(result);
        this.outsideBound = true;
        this.localIp = ip;
        this.ports.take(this, own?.port || port || this.ports.ephemeral());
        this.boundIp = !isAny(ip);
        this.boundPort = port !== 0;
        finish(0);
      }),
    );
  }

  /**
   * An address outside for a socket that has none. What nobody may have there, or a port that nobody chose, is another
   * one there: replies find it all the same.
   */
  private bindOutside(port: number, then: (result: number) => void): void {
    if (this.outsideBound) return then(0);
    const ip = this.boundIp ? this.localIp : this.anyIp;
    const free = (wanted: number) => this.hasPort || this.ports.free(this, ip, wanted);
    const bound = (result: number, own: Place | null): void => {
      if (result < 0) return then(result);
      this.outsideBound = true;
      if (!this.hasPort) this.takeOutsidePort(own);
      then(0);
    };
    this.life.bind(ip, port, 0, free, bound);
  }
  /** The port that it asks for outside. */
  private get portOutside(): number {
    return this.boundPort && !this.hereOnly ? this.localPort : 0;
  }
  private takeOutsidePort(own: Place | null): void {
    const port = own?.port || this.ports.ephemeral();
    if (port !== 0) this.ports.take(this, port);
  }

  private connectOutside(ip: Ip, port: number, scope: number, then: (result: number) => void): void {
    const connect = (): void => {
      // What has come while its peer was here was not for it.
      if (this.connected && !this.outsideConnected) this.life.drain();
      this.life.connect(ip, port, scope, (result, own) => {
        if (result < 0) return then(result);
        if (own !== null && isAny(this.localIp)) this.localIp = own.ip;
        if (!this.hasPort) this.takeOutsidePort(own);
        this.outsideBound = true;
        this.outsideConnected = true;
        this.remoteIp = ip;
        this.remotePort = port;
        this.connected = true;
        then(0);
      });
    };
    if (!this.hasPort) return connect();
    this.bindOutside(this.portOutside, (result) => (result < 0 ? then(result) : connect()));
  }

  override renew(): void {
    const { outsideBound, outsideConnected } = this;
    this.outsideBound = false;
    this.outsideConnected = false;
    if (!outsideBound && !outsideConnected) return;
    const { localPort } = this;
    // The same port, if that can be, since others know it.
    const bind = (finish: (result: number) => void): void =>
      this.bindOutside(this.hereOnly ? 0 : localPort, (result) => {
        if (result < 0 && !this.boundPort) this.bindOutside(0, finish);
        else finish(result);
      });
    const again = (finish: (result: number) => void): void =>
      bind((result) => {
        if (result < 0 || !outsideConnected) finish(result);
        else this.connectOutside(this.remoteIp, this.remotePort, 0, finish);
      });
    // Without a bound address the new network's is as good.
    if (!this.boundIp) this.localIp = this.anyIp;
    this.life.begin(null, (finish) =>
      again((result) => {
        if (result < 0) {
          this.error = -result;
          this.kernel.log.warn(
            `network: a restored UDP socket has no port ${this.localPort} outside (errno ${-result})`,
          );
        }
        finish(result);
      }),
    );
  }

  private disconnect(): void {
    this.connected = false;
    this.remotePort = 0;
    if (!this.boundIp) this.localIp = this.anyIp;
    if (!this.boundPort) {
      this.ports.drop(this);
      this.localPort = 0;
    }
  }

  /** Takes the connection off outside, then goes on here. */
  private leaveOutside(task: Task, then: () => number): number {
    const { outside } = this;
    if (outside === null || !outside.open) return then();
    if (!this.outsideConnected) {
      // What came meanwhile was not from its peer.
      if (this.connected) outside.drain();
      return then();
    }
    if (!this.boundPort) {
      outside.drop();
      return then();
    }
    return outside.begin(task, (finish) =>
      outside.disconnect((result) => {
        this.outsideConnected = false;
        finish(result < 0 ? result : then());
      }),
    );
  }

  override connect(task: Task, addr: Uint8Array): number {
    const before = this.claim(task);
    if (before !== undefined) return before;
    if (familyOf(addr) === AF_UNSPEC) {
      return this.leaveOutside(task, () => {
        this.disconnect();
        return 0;
      });
    }
    const to = parseAddress(addr, this.family, this.family === AF_INET6);
    if (typeof to === "number") return to;
    if (this.family === AF_INET6 && typeof to.ip === "number" && this.v6only) return -ENETUNREACH;
    if (isBroadcast(to.ip) && kept(this, SO_BROADCAST) === 0) return -EACCES;
    const inside = this.staysHere(to.ip, to.port, this.localIp);
    if (inside) return this.leaveOutside(task, () => this.connectHere(to));
    const ip = isAny(to.ip) ? (this.kernel.net.stack.sourceFor(to.ip) ?? to.ip) : to.ip;
    return this.life.begin(task, (finish) => this.connectOutside(ip, to.port, scopeOf(addr), finish));
  }

  /** Does what it sends there stay within this kernel? Own addresses are the namespace's, which others may be in. */
  private staysHere(ip: Ip, port: number, from: Ip): boolean {
    if (!this.reachesOut) return true;
    const { stack } = this.kernel.net;
    if (!isAny(ip) && !stack.isLocal(ip)) return false;
    const own = stack.sourceFor(ip);
    return own !== null && this.receiver(isAny(ip) ? own : ip, port, isAny(from) ? own : from) !== null;
  }

  /** The address that what stays here comes from; null: that place is not here. */
  private sourceHere(ip: Ip): Ip | null {
    const { stack } = this.kernel.net;
    return isAny(ip) || stack.isLocal(ip) ? stack.sourceFor(ip) : null;
  }

  private connectHere(to: Endpoint): number {
    const source = this.sourceHere(to.ip);
    if (source === null) return this.unreachable;
    const bound = this.autobind();
    if (bound < 0) return -EAGAIN;
    if (isAny(this.localIp)) this.localIp = source;
    this.remoteIp = isAny(to.ip) ? source : to.ip;
    this.remotePort = to.port;
    this.connected = true;
    return 0;
  }

  override shutdown(how: number): number {
    this.shutdownMask |= how;
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    return this.connected ? 0 : -ENOTCONN;
  }

  /** Where a send goes: the name given, or the peer. */
  private destination(info: SendInfo | null): Endpoint | number {
    if (info === null || info.name === null)
      return this.connected ? { ip: this.remoteIp, port: this.remotePort } : -EDESTADDRREQ;
    const to = parseAddress(info.name, this.family, this.family === AF_INET6);
    if (typeof to === "number") return to;
    if (to.port === 0) return -EINVAL;
    if (this.family === AF_INET6 && typeof to.ip === "number" && this.v6only) return -ENETUNREACH;
    if (typeof to.ip !== typeof this.localIp && !isAny(this.localIp)) return -EAFNOSUPPORT;
    return to;
  }

  override send(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    const before = this.claim(task);
    if (before !== undefined && before < 0) return before;
    const length = io.remaining;
    if (length > 65535) return -EMSGSIZE;
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const to = this.destination(info);
    if (typeof to === "number") return to;
    const error = this.takeError();
    if (error < 0) return error;
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) return -EPIPE;
    if (isBroadcast(to.ip) && kept(this, SO_BROADCAST) === 0) return -EACCES;
    if (length > (typeof to.ip === "number" ? UDP_MAX : UDP6_MAX)) return -EMSGSIZE;
    if (!this.staysHere(to.ip, to.port, this.localIp)) return this.sendOutside(task, io, flags, to, info);
    let source = this.sourceHere(to.ip);
    if (source === null) return this.unreachable;
    const bound = this.autobind();
    if (bound < 0) return -EAGAIN;
    const ip = isAny(to.ip) ? source : to.ip;
    if (!isAny(this.localIp)) source = this.localIp;
    const v4 = typeof ip === "number";
    const way: Way = {
      source: null,
      ttl: v4 ? this.option(SOL_IP, IP_TTL, 64) : this.option(SOL_IPV6, IPV6_UNICAST_HOPS, 64),
      tos: v4 ? this.option(SOL_IP, IP_TOS, 0) : this.option(SOL_IPV6, IPV6_TCLASS, 0),
      segment: this.option(SOL_UDP, UDP_SEGMENT, 0),
    };
    if (info !== null && info.control !== null) {
      const result = readWay(info.control, way);
      if (result < 0) return result;
    }
    if (way.source !== null && !isAny(way.source)) {
      if (!this.kernel.net.stack.isLocal(way.source)) return -EINVAL;
      source = way.source;
    }
    const data = new Uint8Array(length);
    if (length > 0 && io.take(data, 0, length) < length) return -EFAULT;
    const { ttl, tos, segment } = way;
    const header = { from: source, fromPort: this.localPort, to: ip, ttl, tos, arrived: null };
    const step = segment > 0 ? segment : Math.max(1, length);
    for (let at = 0; at < length || at === 0; at += step)
      this.deliver(ip, to.port, { ...header, data: step >= length ? data : data.slice(at, at + step) });
    return length;
  }

  private sendOutside(task: Task, io: Io, flags: number, to: Endpoint, info: SendInfo | null): number {
    const way: Way = { source: null, ttl: 0, tos: 0, segment: this.option(SOL_UDP, UDP_SEGMENT, 0) };
    const control = info?.control ?? null;
    const checked = control === null ? 0 : readWay(control, way);
    if (checked < 0) return checked;
    const { life } = this;
    const toPeer = info === null || info.name === null;
    if (toPeer && !this.outsideConnected) {
      // Nobody here has the port any more.
      const { remoteIp, remotePort } = this;
      const result = life.begin(task, (finish) => this.connectOutside(remoteIp, remotePort, 0, finish));
      if (result !== 0) return result;
    } else if (!toPeer && !this.outsideBound) {
      const result = life.begin(task, (finish) => this.bindOutside(this.portOutside, finish));
      if (result !== 0) return result;
    }
    const place = toPeer ? null : { ip: to.ip, port: to.port, scope: scopeOf(info.name!) };
    const known = control?.filter(({ level }) => level === SOL_IP || level === SOL_IPV6 || level === SOL_UDP) ?? null;
    const { segment } = way;
    if (!life.relay || segment === 0 || io.remaining <= segment) return life.send(io, flags & PASSED, place, known);
    // A relay carries single datagrams.
    const data = new Uint8Array(io.remaining);
    if (io.take(data, 0, data.length) < data.length) return -EFAULT;
    for (let at = 0; at < data.length; at += segment) {
      const part = new KernelIo(data, at, Math.min(segment, data.length - at));
      const sent = life.send(part, 0, place, null);
      // What a full relay does not take is lost, as in any queue on the way, but for the first.
      if (sent < 0) return at === 0 || sent !== -EAGAIN ? sent : data.length;
    }
    return data.length;
  }

  /** Who here gets what comes to that address from there. */
  private receiver(ip: Ip, port: number, from: Ip, fromPort = this.localPort): UdpSocket | null {
    return mostExact(this.ports.on(port) as Iterable<UdpSocket>, ip, this.kernel.net.tcp.spread, (socket) => {
      if (!socket.connected) return 1;
      return socket.remotePort === fromPort && socket.remoteIp === from ? 2 : 0;
    });
  }

  private deliver(ip: Ip, port: number, datagram: Datagram): void {
    const { net } = this.kernel;
    countUdp(net, datagram.data.length);
    net.tcp.spread++;
    const receiver = this.receiver(ip, port, datagram.from, datagram.fromPort);
    if (receiver === null) {
      net.counters.udpNoPort++;
      if (this.connected && this.remotePort === port && this.remoteIp === ip) {
        this.error = ECONNREFUSED;
        this.waiters.wake(ALL_EVENTS);
      }
      return;
    }
    // What came from outside before comes before.
    if (receiver.outside !== null) receiver.gatherOutside();
    if (!receiver.hasRoom || (receiver.shutdownMask & RCV_SHUTDOWN) !== 0) {
      net.counters.udpNoRoom++;
      return;
    }
    net.counters.udpReceived++;
    receiver.push(datagram);
    receiver.waiters.wake(CAN_READ);
  }

  private get hasRoom(): boolean {
    return this.used <= this.rcvbuf && !this.kernel.net.buffersFull;
  }
  private push(datagram: Datagram): void {
    const bytes = cost(datagram.data.length);
    datagram.arrived = arrivalTime(this);
    this.used += bytes;
    this.kernel.net.buffered += bytes;
    this.queue.push(datagram);
  }

  /** Puts what is there from outside into the queue. */
  private gatherOutside(): void {
    while (this.outside?.stirred && this.hasRoom && this.hearsOutside) {
      const arrival = this.outside.take(0);
      if (arrival === -EAGAIN) return;
      if (typeof arrival === "number") {
        this.error = -arrival;
        return;
      }
      const { bytes, offset, length, name, control, from } = arrival;
      const data = bytes.slice(offset, offset + length);
      const here = { from: ANY4, fromPort: 0, to: ANY4, ttl: 0, tos: 0, arrived: null };
      this.push({ ...here, data, came: { name, control, from } });
    }
  }

  /** Where a relay's datagram came to is not told: the address that is answered from. */
  protected override describe(from: Ip, info: ReceiveInfo): void {
    if (this.kept !== null) addTimestamp(this, null, info);
    const to = isAny(this.localIp) ? this.kernel.net.stack.sourceFor(from) : this.localIp;
    if (to !== null && !isMulticast(to)) this.addControl(to, null, info);
  }

  override receive(_task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if ((flags & MSG_ERRQUEUE) !== 0) return this.receiveOutside(io, flags, info);
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const error = this.takeError();
    if (error < 0) return error;
    const datagram = this.queue[this.first];
    if (datagram === undefined) {
      const n = this.outside === null ? -EAGAIN : this.receiveOutside(io, flags, info);
      if (n !== -EAGAIN) return n;
      const ended = (this.shutdownMask & RCV_SHUTDOWN) !== 0;
      return ended && !this.nonBlocking && (flags & MSG_DONTWAIT) === 0 ? 0 : -EAGAIN;
    }
    const there = datagram.data.length;
    const size = Math.min(there, io.remaining);
    const peek = (flags & MSG_PEEK) !== 0;
    const bad = size > 0 && (io.usable(size, true) < size || io.put(datagram.data, 0, size) < size);
    if (!peek) this.shift(datagram);
    if (bad) return -EFAULT;
    if (info !== null) {
      const { came } = datagram;
      if (size < there) info.flags |= MSG_TRUNC;
      if (came !== undefined) {
        info.name = came.name;
        this.tell(came.from, came.control, info);
      } else {
        info.name = formatEndpoint(datagram.from, datagram.fromPort, this.family);
        if (this.kept !== null) addTimestamp(this, datagram.arrived, info);
        this.addControl(datagram.to, datagram, info);
      }
    }
    return (flags & MSG_TRUNC) !== 0 ? there : size;
  }

  private shift(datagram: Datagram): void {
    const bytes = cost(datagram.data.length);
    this.used -= bytes;
    this.kernel.net.buffered -= bytes;
    if (++this.first === this.queue.length) {
      this.queue.length = 0;
      this.first = 0;
    } else if (this.first >= 64 && this.first * 2 >= this.queue.length) {
      this.queue.splice(0, this.first);
      this.first = 0;
    }
  }

  /** IP_PKTINFO and kin: where the datagram came in; `header` null: nobody knows what stood there. */
  private addControl(to: Ip, header: { ttl: number; tos: number } | null, info: ReceiveInfo): void {
    if (this.optionValues === null) return;
    const add = (level: number, type: number, data: Uint8Array): void => {
      info.control ??= [];
      info.control.push({ level, type, data });
    };
    const int = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);
    const device = this.deviceOf(to);
    if (typeof to === "number") {
      if (this.option(SOL_IP, IP_PKTINFO, 0) !== 0) {
        const data = new Uint8Array(12);
        new DataView(data.buffer).setInt32(0, device, true);
        ipToBytes(to, data, 4, 4);
        ipToBytes(to, data, 8, 4);
        add(SOL_IP, IP_PKTINFO, data);
      }
      if (header !== null && this.option(SOL_IP, IP_RECVTTL, 0) !== 0) add(SOL_IP, IP_TTL, int(header.ttl));
      if (header !== null && this.option(SOL_IP, IP_RECVTOS, 0) !== 0) add(SOL_IP, IP_TOS, Uint8Array.of(header.tos));
    }
    if (this.family === AF_INET) return;
    if (this.option(SOL_IPV6, IPV6_RECVPKTINFO, 0) !== 0) {
      const data = new Uint8Array(20);
      ipToBytes(to, data, 0, 16);
      new DataView(data.buffer).setInt32(16, device, true);
      add(SOL_IPV6, IPV6_PKTINFO, data);
    }
    if (typeof to === "number" || header === null) return;
    if (this.option(SOL_IPV6, IPV6_RECVHOPLIMIT, 0) !== 0) add(SOL_IPV6, IPV6_HOPLIMIT, int(header.ttl));
    if (this.option(SOL_IPV6, IPV6_RECVTCLASS, 0) !== 0) add(SOL_IPV6, IPV6_TCLASS, int(header.tos));
  }

  /** The device that has an address: what stays here comes in by the loopback device. */
  private deviceOf(ip: Ip): number {
    if (this.outside === null) return 1;
    const { devices } = this.kernel.net.stack;
    return devices.find(({ addresses }) => addresses.some((own) => own.ip === ip))?.index ?? 1;
  }

  override poll(): number {
    let mask = 0;
    if (this.error !== 0) mask |= POLLERR;
    if (this.shutdownMask === SHUTDOWN_MASK) mask |= POLLHUP;
    if ((this.shutdownMask & RCV_SHUTDOWN) !== 0) mask |= POLLRDHUP | CAN_READ;
    if (this.first < this.queue.length) mask |= CAN_READ;
    return mask | this.pollOutside();
  }

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return task.mm.writeU32(arg, this.queue[this.first]?.data.length ?? this.nextOutside);
    if (request === SIOCOUTQ) return task.mm.writeU32(arg, 0);
    return super.ioctl(task, request, arg);
  }

  /** Bytes of buffer in use, for /proc/net/udp. */
  get queued(): number {
    return this.used;
  }

  override onRelease(): void {
    super.onRelease();
    this.kernel.net.buffered -= this.used;
    this.used = 0;
    this.queue.length = 0;
    this.first = 0;
  }
}

function isBroadcast(ip: Ip): boolean {
  return ip === 0xffffffff || ip === 0x7fffffff;
}

/** What control messages of a send can set for one datagram. */
interface Way {
  source: Ip | null;
  ttl: number;
  tos: number;
  /** UDP_SEGMENT: it is cut into datagrams of so many bytes; 0: it is one. */
  segment: number;
}

/** Reads those control messages; 0 or -EINVAL. */
function readWay(control: NonNullable<SendInfo["control"]>, way: Way): number {
  for (const { level, type, data } of control) {
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    if (level === SOL_IP && type === IP_PKTINFO) {
      if (data.length !== 12) return -EINVAL;
      way.source = ipFromBytes(data, 4, 4);
    } else if (level === SOL_IPV6 && type === IPV6_PKTINFO) {
      if (data.length < 20) return -EINVAL;
      way.source = ipFromBytes(data, 0, 16);
    } else if (level === SOL_IP && type === IP_TTL) {
      if (data.length !== 4) return -EINVAL;
      way.ttl = view.getInt32(0, true);
      if (way.ttl < 1 || way.ttl > 255) return -EINVAL;
    } else if (level === SOL_IP && type === IP_TOS) {
      if (data.length !== 4 && data.length !== 1) return -EINVAL;
      way.tos = data[0]!;
    } else if (level === SOL_IPV6 && (type === IPV6_HOPLIMIT || type === IPV6_TCLASS)) {
      if (data.length !== 4) return -EINVAL;
      const value = view.getInt32(0, true);
      if (value < -1 || value > 255) return -EINVAL;
      if (value === -1) continue;
      if (type === IPV6_HOPLIMIT) way.ttl = value;
      else way.tos = value;
    } else if (level === SOL_UDP && type === UDP_SEGMENT) {
      if (data.length !== 2) return -EINVAL;
      way.segment = view.getUint16(0, true);
    } else if (level === SOL_IP || level === SOL_IPV6) return -EINVAL;
  }
  return 0;
}

persistent("udp-socket", UdpSocket, { added: { hereOnly: () => false } });
