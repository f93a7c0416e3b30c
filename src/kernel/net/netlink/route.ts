/**
 * NETLINK_ROUTE: devices, addresses, routes, neighbours and rules for those who ask (getifaddrs, ip, language runtimes), and
 * news of them for those who listen.
 *
 * Source: rtnetlink(7), Linux net/core/rtnetlink.c, net/ipv4/{devinet,fib_frontend,route}.c, net/ipv6/{addrconf,route}.c. Answers
 * come from the network stack; what would change it gives EPERM without CAP_NET_ADMIN, else EOPNOTSUPP, save for setting a
 * device up that is up. Gaps: queueing disciplines, bridges, address labels and the like: their dumps are empty.
 */
import { EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM } from "../../abi/errno.ts";
import { CAP_NET_ADMIN, capable } from "../../task/credentials.ts";
import type { Task } from "../../task/task.ts";
import { AF_INET, AF_INET6, AF_UNSPEC } from "../abi.ts";
import { ANY4, ANY6, type Ip, ipFromBytes, isAny, isMulticast } from "../inet/ip.ts";
import type { Network } from "../network.ts";
import type { Change } from "../outside/rtnetlink.ts";
import {
  deviceNumber,
  IFF_UP,
  IFLA_MASTER,
  LO,
  type NetDevice,
  type NetworkStack,
  RTN_BROADCAST,
  RTN_LOCAL,
  TABLE_DEFAULT,
  TABLE_LOCAL,
  TABLE_MAIN,
  type Way,
} from "../stack.ts";
import { HEADER_SIZE, MessageWriter, NLM_F_DUMP_FILTERED, readAttributes } from "./message.ts";
import type { NetlinkRequest } from "./protocols.ts";
import {
  familyOf,
  ipBytes,
  writeAddress,
  writeGateway,
  writeLink,
  writeNeighbour,
  writeRoute,
  writeRule,
} from "./route-messages.ts";

const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const RTM_NEWNEIGH = 28;
const RTM_GETNEIGH = 30;
const RTM_NEWRULE = 32;
const RTM_GETRULE = 34;
const RTM_NEWNSID = 88;
const RTM_GETNSID = 90;
/** Types come in fours: new, delete, get, set. */
const RTM_GET = 2;
const RTM_FIRST = 16;
const RTM_LAST = 127;

/** Of structures that requests begin with, after the netlink header. */
const IFINFOMSG = 16;
const IFADDRMSG = 8;
const RTMSG = 12;
const NDMSG = 12;

const RTM_F_CLONED = 0x200;
const RTM_F_LOOKUP_TABLE = 0x1000;
const RTM_F_FIB_MATCH = 0x2000;
const RTCF_LOCAL = 0x80000000;
const RTCF_BROADCAST = 0x10000000;
const RTCF_MULTICAST = 0x20000000;
const RTN_MULTICAST = 5;
const NTF_PROXY = 8;
const SKIP_STATISTICS = 8;

// Groups (RTNLGRP_*).
const GROUP_LINK = 1;
const GROUP_NEIGH = 3;
const GROUP_ADDRESS: Readonly<Record<number, number>> = { [AF_INET]: 5, [AF_INET6]: 9 };
const GROUP_ROUTE: Readonly<Record<number, number>> = { [AF_INET]: 7, [AF_INET6]: 11 };

/** 0: answered (a dump's end is the caller's); -errno. */
export function answerRoute(task: Task, request: NetlinkRequest): number {
  const { type, bytes, dump } = request;
  const { net } = task.kernel;
  if (type < RTM_FIRST || type > RTM_LAST) return -EOPNOTSUPP;
  if (bytes.length < HEADER_SIZE + 1) return 0;
  if ((type & 3) !== RTM_GET) return change(task, net.stack, request);
  switch (type) {
    case RTM_GETLINK:
      return dump ? dumpLinks(net, request) : getLink(net, request);
    case RTM_GETADDR:
      return dump ? dumpAddresses(net.stack, request) : getAddress(net.stack, request);
    case RTM_GETROUTE:
      return dump ? dumpRoutes(net.stack, request) : getRoute(task, net.stack, request);
    case RTM_GETNEIGH:
      return dump ? dumpNeighbours(net.stack, request) : getNeighbour(net.stack, request);
    case RTM_GETRULE:
      return dump ? dumpRules(request) : -EOPNOTSUPP;
    case RTM_GETNSID:
      return dump ? 0 : getNamespaceId(request);
    default:
      // Queueing disciplines, bridges…: there are none.
      return dump ? 0 : -EOPNOTSUPP;
  }
}

const familyIn = ({ bytes }: NetlinkRequest): number => bytes[HEADER_SIZE]!;
const viewOf = ({ bytes }: NetlinkRequest): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset + HEADER_SIZE, bytes.length - HEADER_SIZE);
const attributesOf = ({ bytes }: NetlinkRequest, header: number): Map<number, Uint8Array> =>
  readAttributes(bytes, HEADER_SIZE + header, bytes.length);
/** A number, of an attribute or 0. */
function u32(found: Map<number, Uint8Array>, type: number): number {
  const data = found.get(type);
  if (data === undefined || data.length < 4) return 0;
  return new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true);
}

/** The dump cannot be what was asked for: its end says so. */
function refuse(request: NetlinkRequest, error: number, problem: string): number {
  request.dumpError = -error;
  request.problem = problem;
  return 0;
}

/**
 * Of sockets that want it so: is the structure that a dump's request begins with there, with nothing in it but what `allowed`
 * names (offsets of bytes)? Then what else is wrong is `problem`'s to say.
 */
function checkDump(request: NetlinkRequest, header: number, what: string, allowed: readonly number[]): number | null {
  if (!request.strict) return null;
  const { bytes } = request;
  if (bytes.length < HEADER_SIZE + header) return refuse(request, EINVAL, `Invalid header for ${what} dump request`);
  for (let at = 1; at < header; at++)
    if (bytes[HEADER_SIZE + at] !== 0 && !allowed.includes(at))
      return refuse(request, EINVAL, `Invalid values in header for ${what} dump request`);
  return null;
}
const from4 = (at: number): number[] => [at, at + 1, at + 2, at + 3];

function change(task: Task, stack: NetworkStack, request: NetlinkRequest): number {
  if (!capable(task.cred, CAP_NET_ADMIN)) return -EPERM;
  if (request.type !== RTM_NEWLINK && request.type !== RTM_SETLINK) return -EOPNOTSUPP;
  const device = namedDevice(stack, request);
  if (typeof device === "number") return device;
  const view = viewOf(request);
  const flags = view.getUint32(8, true);
  const changed = view.getUint32(12, true);
  return changed === IFF_UP && (flags & IFF_UP) !== 0 && (device.flags & IFF_UP) !== 0 ? 0 : -EOPNOTSUPP;
}

// Links.

/** The device that an ifinfomsg names, by index or name. */
function namedDevice(stack: NetworkStack, request: NetlinkRequest): NetDevice | number {
  if (request.bytes.length < HEADER_SIZE + IFINFOMSG) return -EINVAL;
  const index = viewOf(request).getInt32(4, true);
  if (index < 0) return -EINVAL;
  if (index !== 0) return stack.deviceByIndex(index) ?? -ENODEV;
  const attributes = attributesOf(request, IFINFOMSG);
  const name = attributes.get(3) ?? attributes.get(53);
  if (name === undefined) return -EINVAL;
  return stack.deviceByName(Buffer.from(name).toString("latin1").split("\0")[0]!) ?? -ENODEV;
}

/** IFLA_EXT_MASK: what is left out or added. There is nothing to add. */
const wantsStatistics = (found: Map<number, Uint8Array>): boolean => (u32(found, 29) & SKIP_STATISTICS) === 0;

function getLink(net: Network, request: NetlinkRequest): number {
  const device = namedDevice(net.stack, request);
  if (typeof device === "number") return device;
  net.refreshRoutes();
  writeLink(net, request.begin(RTM_NEWLINK), device, wantsStatistics(attributesOf(request, IFINFOMSG)));
  return 0;
}

function dumpLinks(net: Network, request: NetlinkRequest): number {
  // Of families with links of their own (bridges) there are none.
  if (![AF_UNSPEC, AF_INET, AF_INET6, 17].includes(familyIn(request))) return 0;
  const bad = checkDump(request, IFINFOMSG, "link", from4(4));
  if (bad !== null) return bad;
  const full = request.bytes.length >= HEADER_SIZE + IFINFOMSG;
  if (request.strict && viewOf(request).getInt32(4, true) !== 0)
    return refuse(request, EINVAL, "Filter by device index not supported for link dumps");
  const found = full ? attributesOf(request, IFINFOMSG) : new Map<number, Uint8Array>();
  const master = u32(found, IFLA_MASTER);
  const kind = found.has(18) ? linkKind(found.get(18)!) : null;
  net.refreshRoutes();
  for (const device of net.stack.devices) {
    if (master !== 0 && deviceNumber(device, IFLA_MASTER, 0) !== master) continue;
    if (kind !== null && linkKind(device.attributes?.get(18)) !== kind) continue;
    const filtered = master !== 0 || kind !== null;
    writeLink(net, request.begin(RTM_NEWLINK, filtered ? NLM_F_DUMP_FILTERED : 0), device, wantsStatistics(found));
  }
  return 0;
}

/** IFLA_INFO_KIND in IFLA_LINKINFO: "veth", "bridge"…; null: none. */
function linkKind(info: Uint8Array | undefined): string | null {
  const kind = info === undefined ? undefined : readAttributes(info, 0, info.length).get(1);
  return kind === undefined ? null : Buffer.from(kind).toString("latin1").split("\0")[0]!;
}

// Addresses.

function dumpAddresses(stack: NetworkStack, request: NetlinkRequest): number {
  const bad = checkDump(request, IFADDRMSG, "address", from4(4));
  if (bad !== null) return bad;
  const index = request.strict ? viewOf(request).getInt32(4, true) : 0;
  if (index !== 0 && stack.deviceByIndex(index) === null) return refuse(request, ENODEV, "No such device");
  const family = familyIn(request);
  // IPv4 first, as Linux lists them.
  for (const wanted of [AF_INET, AF_INET6]) {
    if (family !== AF_UNSPEC && family !== wanted) continue;
    for (const device of stack.devices) {
      if (index !== 0 && device.index !== index) continue;
      for (const address of device.addresses)
        if (familyOf(address.ip) === wanted)
          writeAddress(request.begin(RTM_NEWADDR, index !== 0 ? NLM_F_DUMP_FILTERED : 0), device, address);
    }
  }
  return 0;
}

/** One address: of IPv6 alone, as on Linux. */
function getAddress(stack: NetworkStack, request: NetlinkRequest): number {
  if (familyIn(request) !== AF_INET6) return -EOPNOTSUPP;
  if (request.bytes.length < HEADER_SIZE + IFADDRMSG) return -EINVAL;
  const found = attributesOf(request, IFADDRMSG);
  const data = found.get(2) ?? found.get(1);
  if (data === undefined || data.length !== 16) return -EINVAL;
  const ip = Buffer.from(data).toString("hex");
  const index = viewOf(request).getInt32(4, true);
  for (const device of stack.devices) {
    if (index !== 0 && device.index !== index) continue;
    const address = device.addresses.find((one) => one.ip === ip);
    if (address === undefined) continue;
    writeAddress(request.begin(RTM_NEWADDR), device, address);
    return 0;
  }
  return -EADDRNOTAVAIL;
}

// Routes.

function dumpRoutes(stack: NetworkStack, request: NetlinkRequest): number {
  // Of families with routes of their own (of groups) there are none.
  if (![AF_UNSPEC, AF_INET, AF_INET6].includes(familyIn(request))) return 0;
  // Table, protocol and type are what a strict dump may be filtered by.
  const bad = checkDump(request, RTMSG, "FIB", [4, 5, 7, ...from4(8)]);
  if (bad !== null) return bad;
  const family = familyIn(request);
  const full = request.bytes.length >= HEADER_SIZE + RTMSG;
  const view = full ? viewOf(request) : null;
  // Routes that were found before are kept nowhere.
  if (view !== null && (view.getUint32(8, true) & RTM_F_CLONED) !== 0) return 0;
  const found = full && request.strict ? attributesOf(request, RTMSG) : new Map<number, Uint8Array>();
  const table = request.strict ? u32(found, 15) || view!.getUint8(4) : 0;
  const protocol = request.strict ? view!.getUint8(5) : 0;
  const type = request.strict ? view!.getUint8(7) : 0;
  const device = u32(found, 4);
  if (device !== 0 && stack.deviceByIndex(device) === null) return refuse(request, ENODEV, "Unable to find interface");
  const filtered = table !== 0 || protocol !== 0 || type !== 0 || device !== 0;
  let tableThere = table === 0 || table === TABLE_MAIN || table === TABLE_LOCAL || family === AF_UNSPEC;
  for (const wanted of [AF_INET, AF_INET6]) {
    if (family !== AF_UNSPEC && family !== wanted) continue;
    for (const route of stack.routes) {
      if (route.family !== wanted || (table !== 0 && route.table !== table)) continue;
      tableThere = true;
      if (protocol !== 0 && (route.protocol ?? 2) !== protocol) continue;
      if (type !== 0 && route.type !== type) continue;
      if (device !== 0 && route.device !== device && !route.hops?.some((hop) => hop.device === device)) continue;
      writeRoute(request.begin(RTM_NEWROUTE, filtered ? NLM_F_DUMP_FILTERED : 0), route);
    }
  }
  if (!tableThere) return refuse(request, ENOENT, `${family === AF_INET ? "ipv4" : "ipv6"}: FIB table does not exist`);
  return 0;
}

/** The route that a packet to one address takes. */
function getRoute(task: Task, stack: NetworkStack, request: NetlinkRequest): number {
  const family = familyIn(request);
  if (request.bytes.length < HEADER_SIZE + RTMSG) return -EINVAL;
  if (family !== AF_INET && family !== AF_INET6) return -EOPNOTSUPP;
  const view = viewOf(request);
  const flags = view.getUint32(8, true);
  const found = attributesOf(request, RTMSG);
  const size = family === AF_INET ? 4 : 16;
  const address = (type: number): Ip | null | undefined => {
    const data = found.get(type);
    return data === undefined ? null : data.length < size ? undefined : ipFromBytes(data, 0, size);
  };
  const to = address(1);
  const from = address(2);
  if (to === undefined || from === undefined) return -EINVAL;
  const device = u32(found, 4);
  if (device !== 0 && stack.deviceByIndex(device) === null) return -ENODEV;
  if (u32(found, 3) !== 0) return -EOPNOTSUPP;
  // Without an address it is that of this host.
  const ip = to ?? (family === AF_INET ? ANY4 : ANY6);
  if (isAny(ip) && to === null && device === 0 && family === AF_INET) return -EINVAL;
  const way = stack.wayTo(isAny(ip) ? (stack.sourceFor(ip) ?? ip) : ip, device);
  if (typeof way === "number") return way;
  if (family === AF_INET && from !== null && !isAny(from) && !stack.isLocal(from)) return -EINVAL;
  const out = request.begin(RTM_NEWROUTE);
  // Without rules Linux has the local table in the main one, and says so.
  const table = family === AF_INET && way.route.table === TABLE_LOCAL ? TABLE_MAIN : way.route.table;
  if ((flags & RTM_F_FIB_MATCH) !== 0) writeRoute(out, { ...way.route, table });
  else {
    const shown = (flags & RTM_F_LOOKUP_TABLE) !== 0 || family === AF_INET6 ? table : TABLE_MAIN;
    writeWay(out, way, { ip, from, table: shown, mark: u32(found, 16), uid: task.cred.euid });
  }
  return 0;
}

interface Shown {
  ip: Ip;
  /** Where from, if that was asked. */
  from: Ip | null;
  table: number;
  mark: number;
  uid: number;
}

/** What becomes of a packet, as an answer. */
function writeWay(out: MessageWriter, way: Way, { ip, from, table, mark, uid }: Shown): void {
  const { route, gateway } = way;
  const v4 = route.family === AF_INET;
  const size = v4 ? 4 : 16;
  let flags = v4 ? RTM_F_CLONED : 0;
  if (v4 && route.type === RTN_LOCAL) flags |= RTCF_LOCAL;
  if (v4 && route.type === RTN_BROADCAST) flags |= RTCF_LOCAL | RTCF_BROADCAST;
  const toGroup = v4 && isMulticast(ip);
  if (toGroup) flags |= RTCF_LOCAL | RTCF_MULTICAST;
  const shownFrom = v4 ? from : (from ?? ANY6);
  out
    .u8(route.family, 8 * size, shownFrom === null ? 0 : 8 * size, 0)
    .u8(table < 256 ? table : 252, v4 ? 0 : (route.protocol ?? 2), 0, toGroup ? RTN_MULTICAST : route.type)
    .u32(flags >>> 0)
    .attribute32(15, table)
    .attribute(1, ipBytes(ip, size));
  if (shownFrom !== null) out.attribute(2, ipBytes(shownFrom, size));
  out.attribute32(4, way.device);
  if (!v4 || from === null) out.attribute(7, ipBytes(way.source, size));
  if (gateway !== null) writeGateway(out, gateway, route.family);
  if (!v4) out.attribute32(6, route.priority);
  if (mark !== 0) out.attribute32(16, mark);
  if (v4) out.attribute32(25, uid);
  const metrics = route.attributes?.get(8);
  if (metrics !== undefined) out.attribute(8, metrics);
  out.attribute(12, new Uint8Array(32));
  if (!v4) out.attribute8(20, route.attributes?.get(20)?.[0] ?? 0);
  out.end();
}

// Neighbours and rules.

function dumpNeighbours(stack: NetworkStack, request: NetlinkRequest): number {
  const bad = checkDump(request, NDMSG, "neighbor", [...from4(4), 10]);
  if (bad !== null) return bad;
  const family = familyIn(request);
  const full = request.bytes.length >= HEADER_SIZE + NDMSG;
  // Addresses that are answered for: none.
  if (full && viewOf(request).getUint8(10) === NTF_PROXY) return 0;
  const found = full ? attributesOf(request, NDMSG) : new Map<number, Uint8Array>();
  const device = u32(found, 8) || (full && request.strict ? viewOf(request).getUint32(4, true) : 0);
  const master = u32(found, 9);
  for (const neighbour of stack.neighbours) {
    if (family !== AF_UNSPEC && familyOf(neighbour.ip) !== family) continue;
    if (device !== 0 && neighbour.device !== device) continue;
    const on = stack.deviceByIndex(neighbour.device);
    if (master !== 0 && (on === null || deviceNumber(on, IFLA_MASTER, 0) !== master)) continue;
    writeNeighbour(request.begin(RTM_NEWNEIGH, device + master !== 0 ? NLM_F_DUMP_FILTERED : 0), neighbour);
  }
  return 0;
}

function getNeighbour(stack: NetworkStack, request: NetlinkRequest): number {
  if (request.bytes.length < HEADER_SIZE + NDMSG) return -EINVAL;
  const family = familyIn(request);
  if (family !== AF_INET && family !== AF_INET6) return -EAFNOSUPPORT;
  const data = attributesOf(request, NDMSG).get(1);
  if (data === undefined || data.length !== (family === AF_INET ? 4 : 16)) return -EINVAL;
  const ip = family === AF_INET ? ipFromBytes(data, 0, 4) : Buffer.from(data).toString("hex");
  const device = viewOf(request).getInt32(4, true);
  if (device === 0) return -EINVAL;
  if (stack.deviceByIndex(device) === null) return -ENODEV;
  const neighbour = stack.neighbours.find((one) => one.ip === ip && one.device === device);
  if (neighbour === undefined) {
    request.problem = "Neighbour entry not found";
    return -ENOENT;
  }
  writeNeighbour(request.begin(RTM_NEWNEIGH), neighbour);
  return 0;
}

/** The rules that are always there. */
const RULES: readonly [family: number, priority: number, table: number][] = [
  [AF_INET, 0, TABLE_LOCAL],
  [AF_INET, 32766, TABLE_MAIN],
  [AF_INET, 32767, TABLE_DEFAULT],
  [AF_INET6, 0, TABLE_LOCAL],
  [AF_INET6, 32766, TABLE_MAIN],
];

function dumpRules(request: NetlinkRequest): number {
  const bad = checkDump(request, RTMSG, "fib rule", []);
  if (bad !== null) return bad;
  const family = familyIn(request);
  for (const [own, priority, table] of RULES)
    if (family === AF_UNSPEC || family === own) writeRule(request.begin(RTM_NEWRULE), own, priority, table);
  return 0;
}

/** The number that another network namespace has here: none has one. */
function getNamespaceId(request: NetlinkRequest): number {
  const RTGENMSG = 4;
  const found = attributesOf(request, RTGENMSG);
  // By a number, a process or a descriptor.
  if (![1, 2, 3].some((type) => found.has(type))) return -EINVAL;
  request.begin(RTM_NEWNSID).u8(0, 0, 0, 0).attribute32(1, 0xffffffff).end();
  return 0;
}

// News.

/** Tells those who listen what has changed outside. */
export function announce(net: Network, changes: readonly Change[]): void {
  if (net.netlinkListeners.size === 0) return;
  for (const change of changes) {
    const told = message(net, change);
    if (told === null) continue;
    const bytes = told.out.finish();
    for (const socket of net.netlinkListeners) socket.hear(NETLINK_ROUTE, told.group, bytes);
  }
}

function message(net: Network, change: Change): { group: number; out: MessageWriter } | null {
  const out = new MessageWriter();
  const { stack } = net;
  const begin = (type: number, gone: boolean): MessageWriter => out.begin(gone ? type + 1 : type, 0, 0, 0);
  switch (change.kind) {
    case "link": {
      const { index } = change.link;
      // The loopback device is ours, and never goes.
      if (index === LO && change.gone) return null;
      const device = change.gone ? change.link : (stack.deviceByIndex(index) ?? change.link);
      writeLink(net, begin(RTM_NEWLINK, change.gone), device, true);
      return { group: GROUP_LINK, out };
    }
    case "address": {
      const { address, gone } = change;
      const device = stack.deviceByIndex(address.device);
      if (gone && device?.addresses.some(({ ip }) => ip === address.ip)) return null;
      writeAddress(begin(RTM_NEWADDR, gone), device ?? nameless(address.device), address);
      return { group: GROUP_ADDRESS[familyOf(address.ip)]!, out };
    }
    case "route":
      writeRoute(begin(RTM_NEWROUTE, change.gone), change.route);
      return { group: GROUP_ROUTE[change.route.family]!, out };
    case "neighbour":
      writeNeighbour(begin(RTM_NEWNEIGH, change.gone), change.neighbour);
      return { group: GROUP_NEIGH, out };
  }
}

/** A device that is gone already. */
const nameless = (index: number): NetDevice => ({
  index,
  name: "",
  hardwareType: 1,
  flags: 0,
  mtu: 0,
  hardwareAddress: new Uint8Array(0),
  broadcast: new Uint8Array(0),
  addresses: [],
});
