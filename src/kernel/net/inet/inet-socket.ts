/**
 * What TCP and UDP sockets share: local and remote endpoints, binding, names, the options of ip(7) and ipv6(7).
 *
 * Source: ip(7), ipv6(7), Linux net/ipv4/af_inet.c and net/ipv6/af_inet6.c. Everything stays in this kernel: the
 * NetworkStack says which addresses are here.
 */
import { EACCES, EADDRINUSE, EADDRNOTAVAIL, EINVAL, ENOPROTOOPT, ENOTCONN } from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import { CAP_NET_BIND_SERVICE, capable } from "../../task/credentials.ts";
import type { Task } from "../../task/task.ts";
import { AF_INET, AF_INET6, SOL_SOCKET } from "../abi.ts";
import type { OptionValue } from "../option-value.ts";
import { Socket } from "../socket.ts";
import { formatEndpoint, parseAddress, scopeOf } from "./address.ts";
import { getInetOption, setInetOption } from "./inet-options.ts";
import { ANY4, ANY6, type Ip, isAny, isMulticast } from "./ip.ts";
import type { PortTable } from "./ports.ts";

/** Ports below need CAP_NET_BIND_SERVICE. */
export const UNPRIVILEGED_PORT = 1024;

export abstract class InetSocket extends Socket {
  localIp: Ip;
  localPort: number = 0;
  /** Stands in the port table. */
  hasPort = false;
  /** bind(2) gave the address, the port: they stay when a connection ends. */
  boundIp = false;
  boundPort = false;
  remoteIp: Ip = ANY4;
  remotePort = 0;
  v6only = false;
  /** Real uid of the creator (SO_REUSEPORT). */
  readonly ownerUid: number;
  /** Options above the socket level that the program has set; made on first use. */
  optionValues: Map<number, Uint8Array> | null = null;

  constructor(kernel: Kernel, family: number, type: number, protocol: number, flags: number, uid: number) {
    super(kernel, family, type, protocol, flags);
    this.ownerUid = uid;
    this.localIp = this.anyIp;
  }

  protected abstract get ports(): PortTable;

  get anyIp(): Ip {
    return this.family === AF_INET ? ANY4 : ANY6;
  }

  override bind(task: Task, addr: Uint8Array): number {
    const place = parseAddress(addr, this.family, false);
    if (typeof place === "number") return place;
    const { ip, port } = place;
    if (this.family === AF_INET6 && typeof ip === "number" && this.v6only) return -EINVAL;
    if (!isAny(ip) && !this.mayBind(ip)) return -EADDRNOTAVAIL;
    if (port !== 0 && port < UNPRIVILEGED_PORT && !capable(task.cred, CAP_NET_BIND_SERVICE)) return -EACCES;
    if (this.hasPort || !this.bindable) return -EINVAL;
    // An IPv6 socket bound to mapped "any" takes IPv4 only.
    return this.bindTo(task, ip, port, scopeOf(addr));
  }

  /** Is it an address to bind to? */
  protected mayBind(ip: Ip): boolean {
    return this.kernel.net.stack.isLocal(ip) || (isMulticast(ip) && this.takesMulticast);
  }

  /** The part of bind(2) after its checks. */
  protected bindTo(_task: Task, ip: Ip, port: number, _scope: number): number {
    const result = this.takePort(ip, port);
    if (result < 0) return result;
    this.boundIp = !isAny(ip);
    this.boundPort = port !== 0;
    return 0;
  }

  /** Would connect(2) begin something new now? */
  get mayConnect(): boolean {
    return true;
  }
  /** A plugin is asked about a connect that does not wait: until it answers, that looks like one under way. */
  connectHeld(): void {}
  /** It goes on. */
  connectAllowed(_task: Task, _addr: Uint8Array): void {}
  /** It has failed with `error`, a positive errno. */
  connectRefused(_error: number): void {}

  /** struct tcp_info, or -errno where there is none. */
  tcpInfo(): Uint8Array | number {
    return -ENOPROTOOPT;
  }

  /** In a state in which bind(2) makes sense. */
  protected get bindable(): boolean {
    return true;
  }
  protected get takesMulticast(): boolean {
    return false;
  }

  /** Takes a port, an ephemeral one for 0. */
  protected takePort(ip: Ip, wanted: number): number {
    let port = wanted;
    if (port === 0) {
      port = this.ports.ephemeral();
      if (port === 0) return -EADDRINUSE;
    } else if (!this.ports.free(this, ip, port)) return -EADDRINUSE;
    this.localIp = ip;
    this.ports.take(this, port);
    return 0;
  }

  /** Before sending or listening without bind(2). */
  protected autobind(): number {
    return this.hasPort ? 0 : this.takePort(this.localIp, 0);
  }

  protected get hasPeer(): boolean {
    return this.remotePort !== 0;
  }

  override getName(peer: boolean): Uint8Array | number {
    if (!peer) return formatEndpoint(this.localIp, this.localPort, this.family);
    if (!this.hasPeer) return -ENOTCONN;
    return formatEndpoint(this.remoteIp, this.remotePort, this.family);
  }

  override setOption(task: Task, level: number, name: number, value: OptionValue): number | null {
    return level === SOL_SOCKET ? null : setInetOption(task, this, level, name, value);
  }
  override getOption(_task: Task, level: number, name: number, length: number): Uint8Array | number | null {
    return level === SOL_SOCKET ? null : getInetOption(this, level, name, length);
  }

  /** An option's value as a number, `otherwise` when the program has not set it. */
  option(level: number, name: number, otherwise: number): number {
    const value = this.optionValues?.get(level * 256 + name);
    return value === undefined ? otherwise : new DataView(value.buffer).getInt32(0, true);
  }

  override onRelease(): void {
    super.onRelease();
    this.ports.drop(this);
  }
}

persistent("inet-socket", InetSocket);
