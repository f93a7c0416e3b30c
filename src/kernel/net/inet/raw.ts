/**
 * Ping sockets (SOCK_DGRAM with ICMP or ICMPv6) and raw sockets: all of their life is outside (outside/datagrams.ts).
 *
 * Source: icmp(7), raw(7), Linux net/ipv4/ping.c, raw.c, net/ipv6/raw.c. Who may have which is said here, as Linux does: ping
 * sockets by net.ipv4.ping_group_range, raw ones by CAP_NET_RAW; and by the broker, whose rules may not let raw ones be, and
 * whose own group the host looks at for ping sockets. socket(2) itself waits for that. Also what goes to the own addresses goes by
 * way of the host, whose kernel answers it. Without a network outside there are none of either kind.
 *
 * Known gaps: IP_HDRINCL needs the broker's leave; filters by program (SO_ATTACH_FILTER) are refused as for any socket.
 */
import {
  EACCES,
  EAFNOSUPPORT,
  EAGAIN,
  EDESTADDRREQ,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENETDOWN,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
  EPIPE,
  EPROTONOSUPPORT,
} from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import { CAP_NET_RAW, capable } from "../../task/credentials.ts";
import type { Task } from "../../task/task.ts";
import { POLLERR, POLLHUP, POLLIN, POLLRDHUP, POLLRDNORM } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IP,
  MSG_CONFIRM,
  MSG_DONTROUTE,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_OOB,
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SHUTDOWN_MASK,
  SIOCINQ,
  SIOCOUTQ,
  SOCK_DGRAM,
  SOCK_RAW,
  SOL_IP,
  SOL_IPV6,
} from "../abi.ts";
import type { OptionValue } from "../option-value.ts";
import type { Arrival } from "../outside/datagrams.ts";
import type { ReceiveInfo, SendInfo, Socket } from "../socket.ts";
import { addTimestamp } from "../timestamps.ts";
import { familyOf, parseAddress, scopeOf } from "./address.ts";
import { InetDatagramSocket } from "./datagram.ts";
import { type Ip, isAny } from "./ip.ts";
import type { PortTable } from "./ports.ts";

const SOL_RAW = 255;
const ICMP_FILTER = 1;
const IPV6_CHECKSUM = 7;
const SOL_ICMPV6 = 58;
const ICMPV6_FILTER = 1;
const ICMPV6_FILTER_SIZE = 32;
/** Where an ICMPv6 header has its checksum, which is always made for it. */
const ICMPV6_CHECKSUM_AT = 2;
const DATAGRAM_MAX = 65535;
/** Protocols of raw sockets have a byte. */
const PROTOCOL_MAX = 255;
const PASSED = MSG_CONFIRM | MSG_DONTROUTE;

export class RawSocket extends InetDatagramSocket {
  constructor(kernel: Kernel, family: number, type: number, protocol: number, flags: number, uid: number) {
    super(kernel, family, type, protocol, flags, uid);
    // Raw sockets show their protocol as their port.
    this.ports.take(this, type === SOCK_RAW ? protocol : 0);
  }

  /** Of no use for ports: a list of all. */
  protected override get ports(): PortTable {
    return this.kernel.net.rawSockets;
  }
  protected override get hasPeer(): boolean {
    return this.connected;
  }

  /** Asks for the socket outside: 0, -errno, or BLOCKED for socket(2), which is run again with it as its file. */
  open(task: Task): number {
    return this.claim(task) ?? this.life.begin(task, (finish) => this.life.opened(finish));
  }

  override bind(task: Task, addr: Uint8Array): number {
    const before = this.claim(task);
    if (before !== undefined) return before;
    const place = parseAddress(addr, this.family, false);
    if (typeof place === "number") return place;
    if (this.outsideBound && this.sockType === SOCK_DGRAM) return -EINVAL;
    return this.life.begin(task, (finish) => this.bindOutside(place.ip, place.port, scopeOf(addr), finish));
  }
  private bindOutside(ip: Ip, port: number, scope: number, finish: (result: number) => void): void {
    this.life.bind(
      ip,
      port,
      scope,
      () => true,
      (result, own) => {
        if (result === 0) {
          this.localIp = ip;
          this.boundIp = !isAny(ip);
          this.outsideBound = true;
          if (this.sockType === SOCK_DGRAM && own !== null) this.localPort = own.port;
          this.boundPort = this.sockType === SOCK_DGRAM && port !== 0;
        }
        finish(result);
      },
    );
  }

  override connect(task: Task, addr: Uint8Array): number {
    const before = this.claim(task);
    if (before !== undefined) return before;
    const { life } = this;
    if (familyOf(addr) === AF_UNSPEC)
      return life.begin(task, (finish) =>
        life.disconnect((result) => {
          this.connected = false;
          this.outsideConnected = false;
          this.remotePort = 0;
          if (!this.boundIp) this.localIp = this.anyIp;
          finish(result);
        }),
      );
    const to = parseAddress(addr, this.family, false);
    if (typeof to === "number") return to;
    return life.begin(task, (finish) => this.connectOutside(to.ip, to.port, scopeOf(addr), finish));
  }
  private connectOutside(ip: Ip, port: number, scope: number, finish: (result: number) => void): void {
    this.life.connect(ip, port, scope, (result, own) => {
      if (result === 0) {
        if (own !== null && isAny(this.localIp)) this.localIp = own.ip;
        if (own !== null && this.sockType === SOCK_DGRAM) this.localPort = own.port;
        this.remoteIp = ip;
        this.remotePort = port;
        this.connected = true;
        this.outsideConnected = true;
      }
      finish(result);
    });
  }

  override renew(): void {
    const { outsideBound, outsideConnected, localIp, localPort } = this;
    this.outsideBound = false;
    this.outsideConnected = false;
    const { life } = this;
    const failed = (result: number): void => {
      if (result < 0) this.error = -result;
    };
    if (!this.boundIp) this.localIp = this.anyIp;
    life.begin(null, (finish) => {
      const end = (result: number): void => {
        failed(result);
        finish(result);
      };
      const connect = (result: number): void => {
        if (result < 0 || !outsideConnected) end(result);
        else this.connectOutside(this.remoteIp, this.remotePort, 0, end);
      };
      const port = this.sockType === SOCK_DGRAM ? localPort : 0;
      if (outsideBound) this.bindOutside(this.boundIp ? localIp : this.anyIp, port, 0, connect);
      else life.opened(connect);
    });
  }

  override shutdown(how: number): number {
    this.shutdownMask |= how;
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    return this.connected ? 0 : -ENOTCONN;
  }

  override send(task: Task, io: Io, flags: number, info: SendInfo | null): number {
    const before = this.claim(task);
    if (before !== undefined && before < 0) return before;
    if (io.remaining > DATAGRAM_MAX) return -EMSGSIZE;
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    let place: { ip: Ip; port: number; scope: number } | null = null;
    if (info !== null && info.name !== null) {
      const to = parseAddress(info.name, this.family, false);
      if (typeof to === "number") return to;
      if (this.family === AF_INET6 && typeof to.ip === "number") return -EAFNOSUPPORT;
      place = { ip: to.ip, port: to.port, scope: scopeOf(info.name) };
    } else if (!this.connected) return -EDESTADDRREQ;
    const error = this.takeError();
    if (error < 0) return error;
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) return -EPIPE;
    const { life } = this;
    if (!life.open) {
      const result = this.kernel.net.outside ? life.begin(task, (finish) => life.opened(finish)) : -ENETDOWN;
      if (result !== 0) return result;
    }
    const control = info?.control?.filter(({ level }) => level === SOL_IP || level === SOL_IPV6) ?? null;
    return life.send(io, flags & PASSED, place, control);
  }

  override receive(_task: Task, io: Io, flags: number, info: ReceiveInfo | null): number {
    if ((flags & MSG_ERRQUEUE) !== 0) return this.receiveOutside(io, flags, info);
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
    const error = this.takeError();
    if (error < 0) return error;
    const n = this.receiveOutside(io, flags, info);
    if (n !== -EAGAIN) return n;
    const ended = (this.shutdownMask & RCV_SHUTDOWN) !== 0;
    return ended && !this.nonBlocking && (flags & MSG_DONTWAIT) === 0 ? 0 : -EAGAIN;
  }

  protected override describe(_from: Ip, info: ReceiveInfo): void {
    if (this.kept !== null) addTimestamp(this, null, info);
  }

  /** ICMP_FILTER and ICMPV6_FILTER: types of which nothing is wanted. */
  protected override passes({ bytes, offset, length }: Arrival): boolean {
    if (this.optionValues === null || this.sockType !== SOCK_RAW) return true;
    if (this.protocol === IPPROTO_ICMP) {
      const mask = this.option(SOL_RAW, ICMP_FILTER, 0);
      const at = length > 0 ? (bytes[offset]! & 15) * 4 : 0;
      const type = at < length ? bytes[offset + at]! : 255;
      return type >= 32 || ((mask >>> type) & 1) === 0;
    }
    const filter = this.optionValues.get(SOL_ICMPV6 * 256 + ICMPV6_FILTER);
    if (this.protocol !== IPPROTO_ICMPV6 || filter === undefined || length === 0) return true;
    const type = bytes[offset]!;
    return ((new DataView(filter.buffer).getUint32((type >> 5) * 4, true) >>> (type & 31)) & 1) === 0;
  }

  override setOption(task: Task, level: number, name: number, value: OptionValue): number | null {
    if (level === SOL_RAW && name === ICMP_FILTER && this.family === AF_INET) {
      if (this.sockType !== SOCK_RAW || this.protocol !== IPPROTO_ICMP) return -EOPNOTSUPP;
      return this.keepFilter(level, name, value, 4);
    }
    if (level === SOL_ICMPV6 && name === ICMPV6_FILTER && this.protocol === IPPROTO_ICMPV6)
      return this.keepFilter(level, name, value, ICMPV6_FILTER_SIZE);
    if (name === IPV6_CHECKSUM && (level === SOL_RAW || level === SOL_IPV6) && this.family === AF_INET6)
      return this.setChecksum(task, level, value);
    return super.setOption(task, level, name, value);
  }
  private keepFilter(level: number, name: number, value: OptionValue, size: number): number {
    if (value.length < 0) return -EINVAL;
    const bytes = value.bytes(Math.min(value.length, size));
    if (bytes === null) return -EFAULT;
    const filter = new Uint8Array(size);
    filter.set(this.optionValues?.get(level * 256 + name) ?? []);
    filter.set(bytes);
    this.optionValues ??= new Map();
    this.optionValues.set(level * 256 + name, filter);
    return 0;
  }
  private setChecksum(task: Task, level: number, value: OptionValue): number {
    const before = this.claim(task);
    if (before !== undefined) return before;
    if (value.length < 4) return -EINVAL;
    const data = value.bytes(4);
    if (data === null) return -EFAULT;
    const at = new DataView(data.buffer).getInt32(0, true);
    if (this.protocol === IPPROTO_ICMPV6) return level === SOL_RAW && at === ICMPV6_CHECKSUM_AT ? 0 : -EINVAL;
    const { life } = this;
    return life.begin(task, (finish) => life.option(SOL_IPV6, IPV6_CHECKSUM, data, finish));
  }
  override getOption(task: Task, level: number, name: number, length: number): Uint8Array | number | null {
    const size = level === SOL_RAW && name === ICMP_FILTER ? 4 : level === SOL_ICMPV6 ? ICMPV6_FILTER_SIZE : 0;
    if (size === 0) return super.getOption(task, level, name, length);
    return this.optionValues?.get(level * 256 + name) ?? new Uint8Array(size);
  }

  override poll(): number {
    let mask = 0;
    if (this.error !== 0) mask |= POLLERR;
    if (this.shutdownMask === SHUTDOWN_MASK) mask |= POLLHUP;
    if ((this.shutdownMask & RCV_SHUTDOWN) !== 0) mask |= POLLRDHUP | POLLIN | POLLRDNORM;
    return mask | this.pollOutside();
  }

  override ioctl(task: Task, request: number, arg: number): number {
    if (request === SIOCINQ) return task.mm.writeU32(arg, this.nextOutside);
    if (request === SIOCOUTQ) return task.mm.writeU32(arg, 0);
    return super.ioctl(task, request, arg);
  }
}

/**
 * Is one of the task's groups in net.ipv4.ping_group_range? Where nobody here has set that, the namespace has its own, by
 * which the host answers the broker.
 */
function mayPing(task: Task): boolean {
  const range = task.container.sysctl("net/ipv4/ping_group_range");
  if (range === undefined) return true;
  const [first, last] = range.trim().split(/\s+/).map(Number);
  const within = (gid: number): boolean => gid >= first! && gid <= last!;
  return within(task.cred.egid) || task.cred.groups.some(within);
}

/** socket(2) of a ping or raw socket: the socket, -errno, or BLOCKED while the broker is asked. */
export function openRaw(task: Task, family: number, type: number, protocol: number, flags: number): Socket | number {
  const begun = task.restart?.file;
  if (begun instanceof RawSocket) {
    const result = begun.open(task);
    return result === 0 ? begun.retain() : result;
  }
  const echo = family === AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
  const { kernel, cred } = task;
  if (type === SOCK_DGRAM) {
    if (protocol !== echo) return -EPROTONOSUPPORT;
    if (!mayPing(task)) return -EACCES;
  } else {
    if (!capable(cred, CAP_NET_RAW)) return -EPERM;
    if (protocol === IPPROTO_IP || protocol > PROTOCOL_MAX) return -EPROTONOSUPPORT;
  }
  const { broker } = kernel.net;
  if (broker === null) return type === SOCK_DGRAM ? -EACCES : -EPROTONOSUPPORT;
  const socket = new RawSocket(kernel, family, type, protocol, flags, cred.uid);
  const result = socket.open(task);
  if (result === 0) return socket;
  // The call that waits has hold of it.
  socket.release();
  return result;
}

persistent("raw-socket", RawSocket);
