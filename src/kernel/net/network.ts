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
import { newCounters } from "./counters.ts";
import { Asking } from "./hooks.ts";
import type { InetDatagramSocket } from "./inet/datagram.ts";
import { inetFamily } from "./inet/family.ts";
import { PortTable } from "./inet/ports.ts";
import { TcpState } from "./inet/tcp.ts";
import { interfaceIoctl } from "./interfaces.ts";
import { type NetlinkSocket, netlinkFamily } from "./netlink/netlink.ts";
import { NetlinkPorts } from "./netlink/ports.ts";
import { announce } from "./netlink/route.ts";
import { Broker, type BrokerWaiter } from "./outside/broker.ts";
import { RouteAsker } from "./outside/route-asker.ts";
import { OutsideStack } from "./outside/stack.ts";
import type { Family, Socket } from "./socket.ts";
import { LoopbackStack, type NetworkStack } from "./stack.ts";
import { unixFamily } from "./unix/family.ts";
import { InFlight } from "./unix/in-flight.ts";
import { UnixNames } from "./unix/names.ts";

/** Sockets in one sandbox, at most. */
const SOCKETS_MAX = 262144;
/** Bytes in the queues of unix and datagram sockets, at most, beyond what single sockets may have. */
const BUFFERS_MAX = 256 << 20;

/** What is outside is asked for at most this often. */
const REFRESH_MIN_NS = 1e8;
/** And for at most this part of the time. */
const REFRESH_PART = 20;

export class Network {
  /** Sockets there are, and what lies in their queues (TCP counts its own). */
  sockets = 0;
  buffered = 0;

  readonly unixNames = new UnixNames();
  readonly inFlight = new InFlight();
  readonly tcpPorts = new PortTable();
  readonly udpPorts = new PortTable();
  readonly udpLitePorts = new PortTable();
  /** All raw and ping sockets. */
  readonly rawSockets = new PortTable();
  readonly netlinkPorts = new NetlinkPorts();
  readonly tcp = new TcpState();
  /** What plugins are being asked about. */
  readonly asking = new Asking();
  /** Netlink sockets that listen to groups. */
  readonly netlinkListeners = new Set<NetlinkSocket>();
  /** Devices, addresses and routes: of the sandbox alone, until everything is known of those outside. */
  stack: NetworkStack = new LoopbackStack();
  /** The stack that is told of those outside. */
  private outsideStack: OutsideStack | null = null;
  /** When everything outside was asked for anew. */
  private askedRoutes = 0;
  /** What was done by sockets of this kernel (/proc/net/snmp, lo's statistics). */
  readonly counters = newCounters();

  /** Who makes sockets outside; null: there is no outside. It may be dead: then that is down. */
  broker: Broker | null = null;
  private asker: RouteAsker | null = null;

  /** Settings below /proc/sys/net that were written, by path below /proc/sys. */
  readonly sysctls = new Map<string, string>();

  constructor(readonly kernel: Kernel) {
    this.registerFamily(AF_UNIX, unixFamily);
    this.registerFamily(AF_NETLINK, netlinkFamily);
    this.registerFamily(AF_INET, inetFamily(AF_INET));
    this.registerFamily(AF_INET6, inetFamily(AF_INET6));
  }

  /** The network outside is there: its broker listens at `socketFd`, which is taken over. */
  useBroker(socketFd: number): void {
    this.broker = new Broker(this.kernel, socketFd);
    this.broker.onRoutes = (bytes) => this.routesCame(bytes);
    this.asker = new RouteAsker(this, this.broker);
    this.outsideStack = null;
    // Sockets that were there before, as in a restored kernel.
    for (const table of [this.udpPorts, this.rawSockets])
      for (const socket of [...table.all()]) (socket as InetDatagramSocket).renew();
    for (const listeners of [...this.tcp.listeners.values()]) for (const socket of [...listeners]) socket.listenAgain();
  }
  /** Is there an outside, and is it up? */
  get outside(): boolean {
    return this.broker?.alive === true;
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

  /** Messages of rtnetlink have come from outside: all that there is, in parts, or what has changed; none: some were lost. */
  routesCame(bytes: Uint8Array): void {
    this.outsideStack ??= new OutsideStack();
    announce(this, this.outsideStack.applyRoutes(bytes));
    if (bytes.length === 0) this.askRoutes(null);
    else if (this.outsideStack.stale) this.refreshRoutes(0);
  }
  /** All that was asked for has come. */
  routesComplete(): void {
    const { outsideStack } = this;
    if (outsideStack === null) return;
    const changes = outsideStack.dumped();
    if (outsideStack.complete) this.stack = outsideStack;
    announce(this, changes);
  }
  /** Not all of it has come. */
  routesFailed(): void {
    this.outsideStack?.forgetIncoming();
  }
  /** Asks for everything outside anew. `waiter` is told when it is known as of now, or will not be. */
  askRoutes(waiter: BrokerWaiter | null): void {
    this.askedRoutes = this.kernel.now();
    this.asker?.ask(waiter);
  }
  /**
   * Somebody looks at what moves without news (counters): it is asked for, if what is known is older than a second. Nobody
   * waits for it.
   */
  refreshRoutes(olderThanNs = 1e9): void {
    if (!this.outside || this.asker === null || this.asker.asking) return;
    // Where there is very much to tell, less often.
    const pause = Math.max(olderThanNs, REFRESH_MIN_NS, this.asker.took * REFRESH_PART);
    if (this.kernel.now() - this.askedRoutes >= pause) this.askRoutes(null);
  }

  /** SIOCGIF* and kin, the same on every socket. */
  interfaceIoctl(task: Task, request: number, arg: number): number {
    return interfaceIoctl(task, this.stack, request, arg);
  }
}

persistent("network", Network, {
  // The broker stays with its sandbox; a restored one is given another, which tells of what is outside there.
  transient: { broker: () => null, asker: () => null, outsideStack: () => null, askedRoutes: () => 0 },
  added: {
    asking: () => new Asking(),
    counters: () => newCounters(),
    netlinkListeners: () => new Set(),
    rawSockets: () => new PortTable(),
  },
});
