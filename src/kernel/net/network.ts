/**
 * The network namespace of a kernel: abstract names, files in flight, the internet stack.
 *
 * One per kernel. A family is added by `registerFamily`.
 */
import { EAFNOSUPPORT, EINVAL, ENFILE, EOPNOTSUPP } from "../abi/errno.ts";
import type { Kernel } from "../kernel.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { AF_INET, AF_INET6, AF_MAX, AF_NETLINK, AF_UNIX, SOCK_MAX } from "./abi.ts";
import { Asking } from "./hooks.ts";
import { inetFamily } from "./inet/family.ts";
import { PortTable } from "./inet/ports.ts";
import { TcpState } from "./inet/tcp.ts";
import { interfaceIoctl } from "./interfaces.ts";
import { netlinkFamily } from "./netlink/netlink.ts";
import { NetlinkPorts } from "./netlink/ports.ts";
import type { Family, Socket } from "./socket.ts";
import { LoopbackStack, type NetworkStack } from "./stack.ts";
import { unixFamily } from "./unix/family.ts";
import { InFlight } from "./unix/in-flight.ts";
import { UnixNames } from "./unix/names.ts";

/** Sockets in one sandbox, at most. */
const SOCKETS_MAX = 262144;
/** Bytes in the queues of unix and datagram sockets, at most, beyond what single sockets may have. */
const BUFFERS_MAX = 256 << 20;

export class Network {
  /** Sockets there are, and what lies in their queues (TCP counts its own). */
  sockets = 0;
  buffered = 0;

  readonly unixNames = new UnixNames();
  readonly inFlight = new InFlight();
  readonly tcpPorts = new PortTable();
  readonly udpPorts = new PortTable();
  readonly udpLitePorts = new PortTable();
  readonly netlinkPorts = new NetlinkPorts();
  readonly tcp = new TcpState();
  /** What plugins are being asked about. */
  readonly asking = new Asking();
  /** Devices, addresses and routes. */
  stack: NetworkStack = new LoopbackStack();

  /** Settings below /proc/sys/net that were written, by path below /proc/sys. */
  readonly sysctls = new Map<string, string>();

  constructor(readonly kernel: Kernel) {
    this.registerFamily(AF_UNIX, unixFamily);
    this.registerFamily(AF_NETLINK, netlinkFamily);
    this.registerFamily(AF_INET, inetFamily(AF_INET));
    this.registerFamily(AF_INET6, inetFamily(AF_INET6));
  }

  /** No further socket can be made. */
  get full(): boolean {
    return this.sockets >= SOCKETS_MAX;
  }
  /** No further message can be queued. */
  get buffersFull(): boolean {
    return this.buffered >= BUFFERS_MAX;
  }

  registerFamily(family: number, what: Family): void {
    this.kernel.socketFamilies.set(family, what);
  }

  /** socket(2) after its flags have been checked. */
  create(task: Task, family: number, type: number, protocol: number, flags: number): Socket | number {
    const found = this.find(family, type);
    if (typeof found === "number") return found;
    return this.full ? -ENFILE : found.create(task, type, protocol, flags);
  }

  createPair(task: Task, family: number, type: number, protocol: number, flags: number): [Socket, Socket] | number {
    const found = this.find(family, type);
    if (typeof found === "number") return found;
    if (this.full) return -ENFILE;
    if (found.pair !== undefined) return found.pair(task, type, protocol, flags);
    // Linux makes both sockets before it finds that they cannot be connected.
    const socket = found.create(task, type, protocol, flags);
    if (typeof socket === "number") return socket;
    socket.release();
    return -EOPNOTSUPP;
  }

  private find(family: number, type: number): Family | number {
    if (family < 0 || family >= AF_MAX) return -EAFNOSUPPORT;
    if (type < 0 || type >= SOCK_MAX) return -EINVAL;
    return this.kernel.socketFamilies.get(family) ?? -EAFNOSUPPORT;
  }

  /** SIOCGIF* and kin, the same on every socket. */
  interfaceIoctl(task: Task, request: number, arg: number): number {
    return interfaceIoctl(task, this.stack, request, arg);
  }
}

persistent("network", Network, { added: { asking: () => new Asking() } });
