/**
 * What the host tells of a network namespace: rtnetlink messages, as the broker passes them on, and tables of what they say.
 *
 * Source: rtnetlink(7), netlink(7), linux/if_link.h, if_addr.h, rtnetlink.h, neighbour.h. Nothing of it is believed: lengths
 * are checked, tables are bounded, and a message that is not as it should be is left out.
 */
import { AF_INET, AF_INET6, AF_UNSPEC } from "../abi.ts";
import { ANY4, ANY6, type Ip, ipFromBytes } from "../inet/ip.ts";
import { align4, HEADER_SIZE, readAttributes } from "../netlink/message.ts";
import type { Attributes, DeviceAddress, Neighbour, NetDevice, NextHop, Route } from "../stack.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;

export const NLM_F_MULTI = 2;
const NLM_F_REPLACE = 0x100;
const RTM_F_CLONED = 0x200;

/** What is kept of a namespace, at most; more is left out. */
const LINKS_MAX = 1024;
const ADDRESSES_MAX = 8192;
const ROUTES_MAX = 65536;
const NEIGHBOURS_MAX = 16384;
const HOPS_MAX = 256;
/** Attributes that are longer are left out. */
const ATTRIBUTE_MAX = 4096;
const HARDWARE_ADDRESS_MAX = 32;

/** Attributes that are shown as they came: what does not lead out of the namespace, or means the same in it. */
const LINK_ATTRIBUTES = new Set([
  5, // IFLA_LINK
  6, // IFLA_QDISC
  7, // IFLA_STATS
  10, // IFLA_MASTER
  13, // IFLA_TXQLEN
  16, // IFLA_OPERSTATE
  17, // IFLA_LINKMODE
  18, // IFLA_LINKINFO
  20, // IFLA_IFALIAS
  23, // IFLA_STATS64
  26, // IFLA_AF_SPEC
  27, // IFLA_GROUP
  30, // IFLA_PROMISCUITY
  31, // IFLA_NUM_TX_QUEUES
  32, // IFLA_NUM_RX_QUEUES
  33, // IFLA_CARRIER
  35, // IFLA_CARRIER_CHANGES
  37, // IFLA_LINK_NETNSID
  39, // IFLA_PROTO_DOWN
  40, // IFLA_GSO_MAX_SEGS
  41, // IFLA_GSO_MAX_SIZE
  47, // IFLA_CARRIER_UP_COUNT
  48, // IFLA_CARRIER_DOWN_COUNT
  50, // IFLA_MIN_MTU
  51, // IFLA_MAX_MTU
  52, // IFLA_PROP_LIST
  54, // IFLA_PERM_ADDRESS
  58, // IFLA_GRO_MAX_SIZE
  59, // IFLA_TSO_MAX_SIZE
  60, // IFLA_TSO_MAX_SEGS
  61, // IFLA_ALLMULTI
  63, // IFLA_GSO_IPV4_MAX_SIZE
  64, // IFLA_GRO_IPV4_MAX_SIZE
]);
const ADDRESS_ATTRIBUTES = new Set([6, 9, 11]); // IFA_CACHEINFO, IFA_RT_PRIORITY, IFA_PROTO
const ROUTE_ATTRIBUTES = new Set([8, 12, 20, 23]); // RTA_METRICS, RTA_CACHEINFO, RTA_PREF, RTA_EXPIRES
const NEIGHBOUR_ATTRIBUTES = new Set([3, 4, 12, 15]); // NDA_CACHEINFO, NDA_PROBES, NDA_PROTOCOL, NDA_FLAGS_EXT
/** What has counters and times in it, which change without being news: IFLA_STATS, IFLA_STATS64, IFLA_LINKINFO, IFLA_AF_SPEC. */
const ALWAYS_MOVING = new Set([7, 23, 18, 26]);

/** An address with the device that has it. */
export interface PlacedAddress extends DeviceAddress {
  device: number;
}

export interface Tables {
  /** By index; their `addresses` are empty. */
  readonly links: Map<number, NetDevice>;
  readonly addresses: Map<string, PlacedAddress>;
  readonly routes: Map<string, Route>;
  readonly neighbours: Map<string, Neighbour>;
}
export const emptyTables = (): Tables => ({
  links: new Map(),
  addresses: new Map(),
  routes: new Map(),
  neighbours: new Map(),
});

export type Change =
  | { kind: "link"; gone: boolean; link: NetDevice }
  | { kind: "address"; gone: boolean; address: PlacedAddress }
  | { kind: "route"; gone: boolean; route: Route }
  | { kind: "neighbour"; gone: boolean; neighbour: Neighbour };

/** One message of rtnetlink, its header taken off. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
}

/** The messages in `bytes`, up to the first that is none. */
export function* messagesIn(bytes: Uint8Array): Iterable<Message> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + HEADER_SIZE <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < HEADER_SIZE || length > bytes.length - at) return;
    yield {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      body: bytes.subarray(at + HEADER_SIZE, at + length),
    };
    at += align4(length);
  }
}

/** Takes a message into the tables; what has changed, or null. */
export function applyMessage(tables: Tables, message: Message): Change | null {
  const { type, flags, body } = message;
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return applyLink(tables, body, type === RTM_DELLINK);
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return applyAddress(tables, body, type === RTM_DELADDR);
    case RTM_NEWROUTE:
      // More than is kept, as a router has: not even looked at.
      if ((flags & NLM_F_MULTI) !== 0 && tables.routes.size >= ROUTES_MAX) return null;
      return applyRoute(tables, body, false, (flags & (NLM_F_REPLACE | NLM_F_MULTI)) === NLM_F_REPLACE);
    case RTM_DELROUTE:
      return applyRoute(tables, body, true, false);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return applyNeighbour(tables, body, type === RTM_DELNEIGH);
    default:
      return null;
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** An attribute as a number; undefined when there is none of that size. */
function u32(found: Attributes, type: number): number | undefined {
  const data = found.get(type);
  return data === undefined || data.length < 4 ? undefined : viewOf(data).getUint32(0, true);
}
/** An address of a family; undefined when there is none. Those of IPv6 stay such even where they are mapped ones. */
function address(data: Uint8Array | undefined, family: number): Ip | undefined {
  if (data === undefined || data.length !== (family === AF_INET ? 4 : 16)) return undefined;
  return family === AF_INET ? ipFromBytes(data, 0, 4) : Buffer.from(data).toString("hex");
}
const text = (data: Uint8Array): string => Buffer.from(data).toString("latin1").split("\0")[0]!;

/** Of the attributes those that are kept, as copies. */
function kept(found: Attributes, wanted: ReadonlySet<number>): Map<number, Uint8Array> {
  const some = new Map<number, Uint8Array>();
  for (const [type, data] of found) if (wanted.has(type) && data.length <= ATTRIBUTE_MAX) some.set(type, data.slice());
  return some;
}

/** Names of devices as Linux takes them. */
const isName = (name: string): boolean => /^[^\s/:\0]{1,15}$/.test(name) && name !== "." && name !== "..";

function applyLink(tables: Tables, body: Uint8Array, gone: boolean): Change | null {
  if (body.length < 16 || body[0] !== AF_UNSPEC) return null;
  const view = viewOf(body);
  const index = view.getInt32(4, true);
  const found = readAttributes(body, 16, body.length);
  const name = text(found.get(3) ?? new Uint8Array(0));
  if (index < 1) return null;
  if (gone) {
    const link = tables.links.get(index);
    if (link === undefined) return null;
    tables.links.delete(index);
    for (const [key, other] of tables.addresses) if (other.device === index) tables.addresses.delete(key);
    for (const [key, other] of tables.neighbours) if (other.device === index) tables.neighbours.delete(key);
    dropRoutes(tables, index, false);
    return { kind: "link", gone, link };
  }
  const hardwareAddress = found.get(1) ?? new Uint8Array(0);
  const broadcast = found.get(2) ?? new Uint8Array(0);
  const longest = Math.max(hardwareAddress.length, broadcast.length);
  if (!isName(name) || longest > HARDWARE_ADDRESS_MAX) return null;
  const before = tables.links.get(index);
  if (before === undefined && tables.links.size >= LINKS_MAX) return null;
  const link: NetDevice = {
    index,
    name,
    hardwareType: view.getUint16(2, true),
    flags: view.getUint32(8, true),
    mtu: u32(found, 4) ?? 0,
    hardwareAddress: hardwareAddress.slice(),
    broadcast: broadcast.slice(),
    addresses: [],
    attributes: kept(found, LINK_ATTRIBUTES),
  };
  tables.links.set(index, link);
  // Linux says nothing of IPv4 routes that go with their device.
  if (before !== undefined && (before.flags & 1) !== 0 && (link.flags & 1) === 0) dropRoutes(tables, index, true);
  return before !== undefined && same(before, link) ? null : { kind: "link", gone, link };
}

/** The IPv4 routes by a device; when it only goes down those to own addresses stay. */
function dropRoutes(tables: Tables, device: number, down: boolean): void {
  for (const [key, route] of tables.routes)
    if (route.device === device && (down ? route.family === AF_INET && route.type !== 2 : true))
      tables.routes.delete(key);
}

function applyAddress(tables: Tables, body: Uint8Array, gone: boolean): Change | null {
  if (body.length < 8) return null;
  const view = viewOf(body);
  const family = body[0]!;
  const prefix = body[1]!;
  const device = view.getInt32(4, true);
  if ((family !== AF_INET && family !== AF_INET6) || prefix > (family === AF_INET ? 32 : 128)) return null;
  const found = readAttributes(body, 8, body.length);
  const other = address(found.get(1), family);
  const ip = address(found.get(2), family) ?? other;
  if (ip === undefined || device < 1) return null;
  const key = `${device}|${ip}/${prefix}|${other}`;
  const before = tables.addresses.get(key);
  if (gone) {
    if (before === undefined) return null;
    tables.addresses.delete(key);
    return { kind: "address", gone, address: before };
  }
  if (before === undefined && tables.addresses.size >= ADDRESSES_MAX) return null;
  const label = text(found.get(3) ?? new Uint8Array(0));
  const broadcast = address(found.get(4), family);
  const placed: PlacedAddress = {
    device,
    ip,
    prefix,
    scope: body[3]!,
    flags: u32(found, 8) ?? body[2]!,
    attributes: kept(found, ADDRESS_ATTRIBUTES),
  };
  if (/^[^\s/\0]{1,15}$/.test(label)) placed.label = label;
  if (broadcast !== undefined) placed.broadcast = broadcast;
  if (other !== undefined && other !== ip) placed.peer = other;
  tables.addresses.set(key, placed);
  return before !== undefined && same(before, placed) ? null : { kind: "address", gone, address: placed };
}

const routeKey = (route: Route): string =>
  `${routeGroup(route)}|${route.type}|${route.device}|${route.gateway}|${route.source}|` +
  `${(route.hops ?? []).map((hop) => `${hop.device}-${hop.gateway}`).join()}`;
/** What a replaced route has in common with the one that replaces it. */
const routeGroup = (route: Route): string =>
  `${route.family}|${route.table}|${route.destination}/${route.prefix}|${route.from?.ip}/${route.from?.prefix}|` +
  `${route.tos}|${route.priority}`;

function applyRoute(tables: Tables, body: Uint8Array, gone: boolean, replaces: boolean): Change | null {
  const route = parseRoute(body);
  if (route === null) return null;
  const key = routeKey(route);
  const before = tables.routes.get(key);
  if (gone) {
    if (before === undefined) return null;
    tables.routes.delete(key);
    return { kind: "route", gone, route: before };
  }
  if (replaces) {
    const group = routeGroup(route);
    for (const other of tables.routes.keys())
      if (other !== key && other.startsWith(`${group}|`)) {
        tables.routes.delete(other);
        break;
      }
  }
  if (before === undefined && tables.routes.size >= ROUTES_MAX) return null;
  tables.routes.set(key, route);
  return before !== undefined && same(before, route) ? null : { kind: "route", gone, route };
}

function parseRoute(body: Uint8Array): Route | null {
  if (body.length < 12) return null;
  const view = viewOf(body);
  const family = body[0]!;
  const bits = family === AF_INET ? 32 : 128;
  const prefix = body[1]!;
  const from = body[2]!;
  const flags = view.getUint32(8, true);
  if ((family !== AF_INET && family !== AF_INET6) || prefix > bits || from > bits) return null;
  if ((flags & RTM_F_CLONED) !== 0) return null;
  const found = readAttributes(body, 12, body.length);
  const destination = address(found.get(1), family);
  if (destination === undefined && prefix > 0) return null;
  const hops = nextHops(found.get(9), family);
  const first = hops[0];
  const route: Route = {
    family,
    destination: prefix === 0 ? null : destination!,
    prefix,
    device: u32(found, 4) ?? first?.device ?? 0,
    gateway: address(found.get(5), family) ?? via(found.get(18)) ?? first?.gateway ?? null,
    source: address(found.get(7), family) ?? null,
    table: u32(found, 15) ?? body[4]!,
    type: body[7]!,
    scope: body[6]!,
    priority: u32(found, 6) ?? 0,
    protocol: body[5]!,
    tos: body[3]!,
    flags,
    attributes: kept(found, ROUTE_ATTRIBUTES),
  };
  if (from > 0) route.from = { ip: address(found.get(2), family) ?? (family === AF_INET ? ANY4 : ANY6), prefix: from };
  if (hops.length > 0) route.hops = hops;
  return route;
}

/** RTA_VIA: a gateway of the other family. */
function via(data: Uint8Array | undefined): Ip | undefined {
  if (data === undefined || data.length < 2) return undefined;
  const family = viewOf(data).getUint16(0, true);
  return family === AF_INET || family === AF_INET6 ? address(data.subarray(2), family) : undefined;
}

function nextHops(data: Uint8Array | undefined, family: number): NextHop[] {
  const hops: NextHop[] = [];
  if (data === undefined) return hops;
  const view = viewOf(data);
  for (let at = 0; at + 8 <= data.length && hops.length < HOPS_MAX; ) {
    const length = view.getUint16(at, true);
    if (length < 8 || length > data.length - at) break;
    const found = readAttributes(data, at + 8, at + length);
    hops.push({
      flags: data[at + 2]!,
      weight: data[at + 3]! + 1,
      device: view.getInt32(at + 4, true),
      gateway: address(found.get(5), family) ?? via(found.get(18)) ?? null,
    });
    at += align4(length);
  }
  return hops;
}

function applyNeighbour(tables: Tables, body: Uint8Array, gone: boolean): Change | null {
  if (body.length < 12) return null;
  const view = viewOf(body);
  const family = body[0]!;
  const device = view.getInt32(4, true);
  const found = readAttributes(body, 12, body.length);
  const ip = family === AF_INET || family === AF_INET6 ? address(found.get(1), family) : undefined;
  const hardwareAddress = found.get(2) ?? new Uint8Array(0);
  if (ip === undefined || device < 1 || hardwareAddress.length > HARDWARE_ADDRESS_MAX) return null;
  const key = `${device}|${ip}`;
  const before = tables.neighbours.get(key);
  if (gone) {
    if (before === undefined) return null;
    tables.neighbours.delete(key);
    return { kind: "neighbour", gone, neighbour: before };
  }
  if (before === undefined && tables.neighbours.size >= NEIGHBOURS_MAX) return null;
  const neighbour: Neighbour = {
    ip,
    device,
    state: view.getUint16(8, true),
    flags: body[10]!,
    type: body[11]!,
    hardwareAddress: hardwareAddress.slice(),
    attributes: kept(found, NEIGHBOUR_ATTRIBUTES),
  };
  tables.neighbours.set(key, neighbour);
  return before !== undefined && same(before, neighbour) ? null : { kind: "neighbour", gone, neighbour };
}

/** What is in `after` and not in `before`, or otherwise there, and what is gone. */
export function differences(before: Tables, after: Tables): Change[] {
  const changes: Change[] = [];
  const compare = <K, V extends NetDevice | PlacedAddress | Route | Neighbour>(
    old: Map<K, V>,
    now: Map<K, V>,
    change: (gone: boolean, value: V) => Change,
  ): void => {
    for (const [key, value] of old) if (!now.has(key)) changes.push(change(true, value));
    for (const [key, value] of now) {
      const known = old.get(key);
      if (known === undefined || !same(known, value)) changes.push(change(false, value));
    }
  };
  compare(before.links, after.links, (gone, link) => ({ kind: "link", gone, link }));
  compare(before.addresses, after.addresses, (gone, address) => ({ kind: "address", gone, address }));
  compare(before.routes, after.routes, (gone, route) => ({ kind: "route", gone, route }));
  compare(before.neighbours, after.neighbours, (gone, neighbour) => ({ kind: "neighbour", gone, neighbour }));
  return changes;
}

/** Are two entries the same, but for what always moves? */
function same<T extends NetDevice | PlacedAddress | Route | Neighbour>(a: T, b: T): boolean {
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (key === "attributes") {
      // Of all but links they are lifetimes.
      if ("hardwareType" in a && !sameAttributes(a.attributes, b.attributes)) return false;
    } else if (!equal(a[key as keyof T], b[key as keyof T])) return false;
  }
  return true;
}
function sameAttributes(a: Attributes = new Map(), b: Attributes = new Map()): boolean {
  for (const type of new Set([...a.keys(), ...b.keys()]))
    if (!ALWAYS_MOVING.has(type) && !equal(a.get(type), b.get(type))) return false;
  return true;
}
function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (a instanceof Uint8Array || b instanceof Uint8Array)
    return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
  return typeof a === "object" && typeof b === "object" && JSON.stringify(a) === JSON.stringify(b);
}
