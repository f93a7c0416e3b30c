/**
 * What carries internet traffic: the seam between sockets and networks.
 *
 * Sockets (net/inet) ask a NetworkStack about devices, addresses and routes. LoopbackStack knows the loopback device
 * only; OutsideStack (net/outside/stack.ts) knows what is in the sandbox's network namespace on the host.
 *
 * Source: netdevice(7), ip(7), rtnetlink(7). The loopback device as on Linux: 127.0.0.0/8 and ::1/128, MTU 65536.
 */

import { ENETUNREACH } from "../abi/errno.ts";
import { getU64, setU64 } from "../mm/mm.ts";
import { persistent } from "../state/registry.ts";
import { AF_INET, AF_INET6 } from "./abi.ts";
import { ANY4, type Ip, isAny, isLoopback, LOOPBACK4, LOOPBACK6 } from "./inet/ip.ts";

/** Attributes of netlink messages that are shown as they came, by type. */
export type Attributes = ReadonlyMap<number, Uint8Array>;

export interface DeviceAddress {
  ip: Ip;
  prefix: number;
  /** RT_SCOPE_*: 0 the world, 253 the link, 254 this host. */
  scope: number;
  /** IFA_F_*; IFA_F_PERMANENT by default. */
  flags?: number;
  /** IPv4: the name of the device, or one beginning with it and a colon. */
  label?: string;
  broadcast?: Ip;
  /** The other end of a point-to-point link. */
  peer?: Ip;
  attributes?: Attributes;
}

export interface NetDevice {
  index: number;
  name: string;
  /** ARPHRD_*: 1 Ethernet, 772 loopback. */
  hardwareType: number;
  /** IFF_*. */
  flags: number;
  mtu: number;
  hardwareAddress: Uint8Array;
  broadcast: Uint8Array;
  addresses: DeviceAddress[];
  /** What else RTM_NEWLINK tells of it; without: all of it as of a loopback device. */
  attributes?: Attributes;
}

/** One of several ways of a route (RTA_MULTIPATH). */
export interface NextHop {
  device: number;
  gateway: Ip | null;
  flags: number;
  weight: number;
}

export interface Route {
  /** AF_INET or AF_INET6. */
  family: number;
  /** null: the default route. */
  destination: Ip | null;
  prefix: number;
  /** 0: none (unreachable and its kind, several ways). */
  device: number;
  gateway: Ip | null;
  source: Ip | null;
  /** RT_TABLE_*: 253 default, 254 main, 255 local. */
  table: number;
  /** RTN_*: 1 unicast, 2 local, 3 broadcast… */
  type: number;
  scope: number;
  priority: number;
  /** RTPROT_*; RTPROT_KERNEL by default. */
  protocol?: number;
  tos?: number;
  /** RTNH_F_*. */
  flags?: number;
  /** Prefix of sources that it is for. */
  from?: { ip: Ip; prefix: number };
  hops?: readonly NextHop[];
  attributes?: Attributes;
}

export interface Neighbour {
  ip: Ip;
  device: number;
  /** NUD_*. */
  state: number;
  /** NTF_*. */
  flags: number;
  type: number;
  hardwareAddress: Uint8Array;
  attributes: Attributes;
}

/** The way of a packet. */
export interface Way {
  route: Route;
  device: number;
  gateway: Ip | null;
  source: Ip;
}

export interface NetworkStack {
  readonly devices: readonly NetDevice[];
  readonly routes: readonly Route[];
  readonly neighbours: readonly Neighbour[];
  deviceByName(name: string): NetDevice | null;
  deviceByIndex(index: number): NetDevice | null;
  /** Is it an address of this host (bind may take it, packets to it stay here)? */
  isLocal(ip: Ip): boolean;
  /** The address that packets to `ip` come from; null: unreachable. */
  sourceFor(ip: Ip): Ip | null;
  /** The way that packets to `ip` take, by `device` unless it is 0; -ENETUNREACH, or what an unreachable route says. */
  wayTo(ip: Ip, device?: number): Way | number;
}

export const IFF_UP = 0x1;
export const IFF_BROADCAST = 0x2;
export const IFF_LOOPBACK = 0x8;
export const IFF_POINTOPOINT = 0x10;
export const IFF_RUNNING = 0x40;
export const IFF_MULTICAST = 0x1000;
export const IFF_LOWER_UP = 0x10000;
export const IFA_F_PERMANENT = 0x80;

export const TABLE_DEFAULT = 253;
export const TABLE_MAIN = 254;
export const TABLE_LOCAL = 255;
export const RTN_UNICAST = 1;
export const RTN_LOCAL = 2;
export const RTN_BROADCAST = 3;
export const RTN_BLACKHOLE = 6;
export const RTN_UNREACHABLE = 7;
export const RTN_PROHIBIT = 8;

export const ARPHRD_LOOPBACK = 772;
/** The loopback device has this index in every network namespace. */
export const LO = 1;

// Attributes of links (IFLA_*).
export const IFLA_LINK = 5;
export const IFLA_QDISC = 6;
export const IFLA_MASTER = 10;
export const IFLA_TXQLEN = 13;
export const IFLA_OPERSTATE = 16;
export const IFLA_LINKMODE = 17;
export const IFLA_STATS64 = 23;
export const IFLA_GROUP = 27;
export const IFLA_CARRIER = 33;
export const IFLA_CARRIER_CHANGES = 35;
export const IFLA_PROTO_DOWN = 39;
export const IFLA_CARRIER_UP_COUNT = 47;
export const IFLA_CARRIER_DOWN_COUNT = 48;

const LOCAL = { device: LO, gateway: null, table: TABLE_LOCAL, scope: 254, priority: 0 };

/** Why `sourceFor` knows no source. */
export function whyUnreachable(stack: NetworkStack, ip: Ip): number {
  const way = stack.wayTo(ip);
  return typeof way === "number" ? way : -ENETUNREACH;
}

/** The loopback device, which every stack has. */
export const loopbackDevice = (): NetDevice => ({
  index: LO,
  name: "lo",
  hardwareType: ARPHRD_LOOPBACK,
  flags: IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP,
  mtu: 65536,
  hardwareAddress: new Uint8Array(6),
  broadcast: new Uint8Array(6),
  addresses: [
    { ip: LOOPBACK4, prefix: 8, scope: 254 },
    { ip: LOOPBACK6, prefix: 128, scope: 254 },
  ],
});

export const loopbackRoutes = (): Route[] => [
  { ...LOCAL, family: AF_INET, destination: 0x7f000000, prefix: 8, source: LOOPBACK4, type: RTN_LOCAL },
  { ...LOCAL, family: AF_INET, destination: LOOPBACK4, prefix: 32, source: LOOPBACK4, type: RTN_LOCAL },
  {
    ...LOCAL,
    family: AF_INET,
    destination: 0x7fffffff,
    prefix: 32,
    source: LOOPBACK4,
    type: RTN_BROADCAST,
    scope: 253,
  },
  { ...LOCAL, family: AF_INET6, destination: LOOPBACK6, prefix: 128, source: null, type: RTN_LOCAL, scope: 0 },
];

/** Does the device have another end that is there (IFLA_CARRIER)? */
export function hasCarrier(device: NetDevice): boolean {
  const told = device.attributes?.get(IFLA_CARRIER)?.[0];
  return told === undefined ? (device.flags & IFF_LOWER_UP) !== 0 : told !== 0;
}

/** A number among the attributes of a device. */
export function deviceNumber(device: NetDevice, type: number, otherwise: number): number {
  const data = device.attributes?.get(type);
  if (data === undefined) return otherwise;
  if (data.length >= 4) return new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true);
  return data[0] ?? otherwise;
}

/** Counters of struct rtnl_link_stats64, in its order. */
export const STATISTICS = [
  "rx_packets",
  "tx_packets",
  "rx_bytes",
  "tx_bytes",
  "rx_errors",
  "tx_errors",
  "rx_dropped",
  "tx_dropped",
  "multicast",
  "collisions",
  "rx_length_errors",
  "rx_over_errors",
  "rx_crc_errors",
  "rx_frame_errors",
  "rx_fifo_errors",
  "rx_missed_errors",
  "tx_aborted_errors",
  "tx_carrier_errors",
  "tx_fifo_errors",
  "tx_heartbeat_errors",
  "tx_window_errors",
  "rx_compressed",
  "tx_compressed",
  "rx_nohandler",
  "rx_otherhost_dropped",
] as const;
export type Statistics = Record<(typeof STATISTICS)[number], number>;

/** What a device other than lo has counted on the host, as of its last news. */
export function statisticsOf(device: NetDevice): Statistics {
  const data = device.attributes?.get(IFLA_STATS64) ?? new Uint8Array(0);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  return Object.fromEntries(
    STATISTICS.map((name, i) => [name, 8 * i + 8 <= data.length ? getU64(view, 8 * i) : 0]),
  ) as Statistics;
}

/** struct rtnl_link_stats64. */
export function statistics64(statistics: Statistics): Uint8Array {
  const bytes = new Uint8Array(8 * STATISTICS.length);
  const view = new DataView(bytes.buffer);
  for (const [i, name] of STATISTICS.entries()) setU64(view, 8 * i, statistics[name]);
  return bytes;
}
/** struct rtnl_link_stats: the same with less room, without the last one. */
export function statistics32(statistics: Statistics): Uint8Array {
  return new Uint8Array(Uint32Array.from(STATISTICS.slice(0, -1), (name) => statistics[name] % 4294967296).buffer);
}

export class LoopbackStack implements NetworkStack {
  readonly devices: readonly NetDevice[] = [loopbackDevice()];
  readonly routes: readonly Route[] = loopbackRoutes();
  readonly neighbours: readonly Neighbour[] = [];

  deviceByName(name: string): NetDevice | null {
    return this.devices.find((device) => device.name === name) ?? null;
  }
  deviceByIndex(index: number): NetDevice | null {
    return this.devices.find((device) => device.index === index) ?? null;
  }
  isLocal(ip: Ip): boolean {
    return isLoopback(ip);
  }
  sourceFor(ip: Ip): Ip | null {
    if (isAny(ip)) return ip === ANY4 ? LOOPBACK4 : LOOPBACK6;
    if (!isLoopback(ip)) return null;
    return typeof ip === "number" ? LOOPBACK4 : ip;
  }
  wayTo(ip: Ip, device = 0): Way | number {
    const source = device > LO ? null : this.sourceFor(ip);
    if (source === null) return -ENETUNREACH;
    const route = this.routes.find(({ family }) => family === (typeof ip === "number" ? AF_INET : AF_INET6))!;
    return { route, device: LO, gateway: null, source };
  }
}

// The same in every kernel; older images have fewer fields in it.
persistent("loopback-stack", LoopbackStack, {
  transient: {
    devices: () => [loopbackDevice()],
    routes: () => loopbackRoutes(),
    neighbours: () => [],
  },
});
