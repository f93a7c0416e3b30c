/**
 * UDP and UDP-Lite within this kernel: datagrams between sockets here.
 *
 * Source: udp(7), udplite(7), ip(7), Linux net/ipv4/udp.c. A datagram to a port that nobody has comes back as ECONNREFUSED to a
 * connected sender; one that finds the receiver's buffer full is lost, as on Linux. Known gaps: no multicast or
 * broadcast delivery, no error queue (IP_RECVERR), no segmentation offload.
 */
import {
  EACCES,
  EAFNOSUPPORT,
  EAGAIN,
  ECONNREFUSED,
  EDESTADDRREQ,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENETUNREACH,
  ENOTCONN,
  EOPNOTSUPP,
  EPIPE,
} from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM } from "../../vfs/file.ts";
import type { Timespec } from "../../vfs/inode.ts";
import type { Io } from "../../vfs/io.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  IPPROTO_UDPLITE,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
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
} from "../abi.ts";
import { countUdp } from "../counters.ts";
import { kept } from "../options.ts";
import type { ReceiveInfo, SendInfo } from "../socket.ts";
import { addTimestamp, arrivalTime } from "../timestamps.ts";
import { type Endpoint, familyOf, formatEndpoint, parseAddress } from "./address.ts";
import { InetSocket } from "./inet-socket.ts";
import { type Ip, ipFromBytes, ipToBytes, isAny } from "./ip.ts";
import { mostExact, type PortTable } from "./ports.ts";

const CAN_READ = POLLIN | POLLRDNORM;
const CAN_WRITE = POLLOUT | POLLWRNORM | POLLWRBAND;

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

interface Datagram {
  data: Uint8Array;
  from: Ip;
  fromPort: number;
  to: Ip;
  /** Time to live and type of service, for the control messages that show them. */
  ttl: number;
  tos: number;
  arrived: Timespec | null;
}

/** What a datagram costs of the receiver's buffer (see unix/truesize.ts for where such figures come from). */
const cost = (length: number): number => (length <= 128 ? 768 : 1024 + length);

export class UdpSocket extends InetSocket {
  private queue: Datagram[] = [];
  private first = 0;
  private used = 0;
  /** connect(2) has named a peer. */
  private connected = false;

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

  override connect(_task: Task, addr: Uint8Array): number {
    if (familyOf(addr) === AF_UNSPEC) {
      this.connected = false;
      this.remotePort = 0;
      if (!this.boundIp) this.localIp = this.anyIp;
      if (!this.boundPort) {
        this.ports.drop(this);
        this.localPort = 0;
      }
      return 0;
    }
    const to = parseAddress(addr, this.family, this.family === AF_INET6);
    if (typeof to === "number") return to;
    const { stack } = this.kernel.net;
    if (this.family === AF_INET6 && typeof to.ip === "number" && this.v6only) return -ENETUNREACH;
    const source = stack.sourceFor(to.ip);
    if (source === null) return -ENETUNREACH;
    if (isBroadcast(to.ip) && kept(this, SO_BROADCAST) === 0) return -EACCES;
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

  override send(_task: Task, io: Io, flags: number, info: SendInfo | null): number {
    const length = io.remaining;
    if (length > 65535) return -EMSGSIZE;
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const to = this.destination(info);
    if (typeof to === "number") return to;
    const error = this.takeError();
    if (error < 0) return error;
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) return -EPIPE;
    let source = this.kernel.net.stack.sourceFor(to.ip);
    if (source === null) return -ENETUNREACH;
    if (isBroadcast(to.ip) && kept(this, SO_BROADCAST) === 0) return -EACCES;
    if (length > (typeof to.ip === "number" ? UDP_MAX : UDP6_MAX)) return -EMSGSIZE;
    const bound = this.autobind();
    if (bound < 0) return -EAGAIN;
    const ip = isAny(to.ip) ? source : to.ip;
    if (!isAny(this.localIp)) source = this.localIp;
    const v4 = typeof ip === "number";
    const way: Way = {
      source: null,
      ttl: v4 ? this.option(SOL_IP, IP_TTL, 64) : this.option(SOL_IPV6, IPV6_UNICAST_HOPS, 64),
      tos: v4 ? this.option(SOL_IP, IP_TOS, 0) : this.option(SOL_IPV6, IPV6_TCLASS, 0),
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
    this.deliver(ip, to.port, {
      data,
      from: source,
      fromPort: this.localPort,
      to: ip,
      ttl: way.ttl,
      tos: way.tos,
      arrived: null,
    });
    return length;
  }

  private deliver(ip: Ip, port: number, datagram: Datagram): void {
    const { net } = this.kernel;
    countUdp(net, datagram.data.length);
    const receiver = mostExact(this.ports.on(port) as Iterable<UdpSocket>, ip, ++net.tcp.spread, (socket) => {
      if (!socket.connected) return 1;
      return socket.remotePort === datagram.fromPort && socket.remoteIp === datagram.from ? 2 : 0;
    });
    if (receiver === null) {
      net.counters.udpNoPort++;
      if (this.connected && this.remotePort === port && this.remoteIp === ip) {
        this.error = ECONNREFUSED;
        this.waiters.wake(ALL_EVENTS);
      }
      return;
    }
    const bytes = cost(datagram.data.length);
    if (receiver.used > receiver.rcvbuf || net.buffersFull || (receiver.shutdownMask & RCV_SHUTDOWN) !== 0) {
      net.counters.udpNoRoom++;
      return;
    }
    net.counters.udpReceived++;
    datagram.arrived = arrivalTime(receiver);
    receiver.used += bytes;
    net.buffered += bytes;
    receiver.queue.push(datagram);
    receiver.waiters.wake(CAN_READ);
  }

  override receive(_task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if ((flags & MSG_ERRQUEUE) !== 0) return -EAGAIN;
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const error = this.takeError();
    if (error < 0) return error;
    const datagram = this.queue[this.first];
    if (datagram === undefined) {
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
      info.name = formatEndpoint(datagram.from, datagram.fromPort, this.family);
      if (size < there) info.flags |= MSG_TRUNC;
      if (this.kept !== null) addTimestamp(this, datagram.arrived, info);
      this.addControl(datagram, info);
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

  /** IP_PKTINFO and kin: where the datagram came in. */
  private addControl(datagram: Datagram, info: ReceiveInfo): void {
    if (this.optionValues === null) return;
    const add = (level: number, type: number, data: Uint8Array): void => {
      info.control ??= [];
      info.control.push({ level, type, data });
    };
    const int = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);
    const { to } = datagram;
    if (typeof to === "number") {
      if (this.option(SOL_IP, IP_PKTINFO, 0) !== 0) {
        const data = new Uint8Array(12);
        data[0] = 1;
        ipToBytes(to, data, 4, 4);
        ipToBytes(to, data, 8, 4);
        add(SOL_IP, IP_PKTINFO, data);
      }
      if (this.option(SOL_IP, IP_RECVTTL, 0) !== 0) add(SOL_IP, IP_TTL, int(datagram.ttl));
      if (this.option(SOL_IP, IP_RECVTOS, 0) !== 0) add(SOL_IP, IP_TOS, Uint8Array.of(datagram.tos));
    }
    if (this.family === AF_INET) return;
    if (this.option(SOL_IPV6, IPV6_RECVPKTINFO, 0) !== 0) {
      const data = new Uint8Array(20);
      ipToBytes(to, data, 0, 16);
      data[16] = 1;
      add(SOL_IPV6, IPV6_PKTINFO, data);
    }
    if (typeof to === "string" && this.option(SOL_IPV6, IPV6_RECVHOPLIMIT, 0) !== 0)
      add(SOL_IPV6, IPV6_HOPLIMIT, int(datagram.ttl));
    if (typeof to === "string" && this.option(SOL_IPV6, IPV6_RECVTCLASS, 0) !== 0)
      add(SOL_IPV6, IPV6_TCLASS, int(datagram.tos));
  }

  override poll(): number {
    let mask = 0;
    if (this.error !== 0) mask |= POLLERR;
    if (this.shutdownMask === SHUTDOWN_MASK) mask |= POLLHUP;
    if ((this.shutdownMask & RCV_SHUTDOWN) !== 0) mask |= POLLRDHUP | CAN_READ;
    if (this.first < this.queue.length) mask |= CAN_READ;
    return mask | CAN_WRITE;
  }

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return task.mm.writeU32(arg, this.queue[this.first]?.data.length ?? 0);
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
    } else if (level === SOL_IP || level === SOL_IPV6) return -EINVAL;
  }
  return 0;
}

persistent("udp-socket", UdpSocket);
