/**
 * NETLINK_ROUTE: devices, addresses and routes for those who ask (getifaddrs, ip, language runtimes).
 *
 * Source: rtnetlink(7), Linux net/core/rtnetlink.c. Answers come from the network stack; what would change it gives
 * EPERM without CAP_NET_ADMIN, else EOPNOTSUPP, save for setting a device up that is up.
 */
import { EINVAL, ENETUNREACH, ENODEV, EOPNOTSUPP, EPERM } from "../../abi/errno.ts";
import { CAP_NET_ADMIN, capable } from "../../task/credentials.ts";
import type { Task } from "../../task/task.ts";
import { AF_INET, AF_INET6, AF_UNSPEC } from "../abi.ts";
import { type Ip, ipFromBytes, ipToBytes } from "../inet/ip.ts";
import type { NetDevice, NetworkStack, Route } from "../stack.ts";
import { HEADER_SIZE, type MessageWriter, readAttributes } from "./message.ts";

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
/** Types come in fours: new, delete, get, set. */
const RTM_GET = 2;
const RTM_FIRST = 16;
const RTM_LAST = 127;

const IFF_UP = 1;

/** One request, in full. */
export interface RouteRequest {
  type: number;
  dump: boolean;
  bytes: Uint8Array;
  /** Starts a message of the answer. */
  begin(type: number): MessageWriter;
}

/** 0: answered (a dump's end is the caller's); -errno. */
export function answerRoute(task: Task, stack: NetworkStack, request: RouteRequest): number {
  const { type, bytes, dump } = request;
  if (type < RTM_FIRST || type > RTM_LAST) return -EOPNOTSUPP;
  if (bytes.length < HEADER_SIZE + 1) return 0;
  const family = bytes[HEADER_SIZE]!;
  if ((type & 3) !== RTM_GET) return change(task, stack, request);
  switch (type) {
    case RTM_GETLINK:
      return dump ? dumpLinks(stack, request) : getLink(stack, request);
    case RTM_GETADDR:
      if (!dump) return -EOPNOTSUPP;
      for (const device of stack.devices) addresses(device, family, request);
      return 0;
    case RTM_GETROUTE:
      return dump ? dumpRoutes(stack, family, request) : getRoute(stack, family, request);
    default:
      // Neighbours, rules, queueing disciplines…: there are none.
      return dump ? 0 : -EOPNOTSUPP;
  }
}

function change(task: Task, stack: NetworkStack, request: RouteRequest): number {
  if (!capable(task.cred, CAP_NET_ADMIN)) return -EPERM;
  if (request.type !== RTM_NEWLINK && request.type !== RTM_SETLINK) return -EOPNOTSUPP;
  const device = namedDevice(stack, request);
  if (typeof device === "number") return device;
  const view = new DataView(request.bytes.buffer, request.bytes.byteOffset);
  const flags = view.getUint32(HEADER_SIZE + 8, true);
  const changed = view.getUint32(HEADER_SIZE + 12, true);
  return changed === IFF_UP && (flags & IFF_UP) !== 0 ? 0 : -EOPNOTSUPP;
}

/** The device that an ifinfomsg names, by index or name. */
function namedDevice(stack: NetworkStack, request: RouteRequest): NetDevice | number {
  const { bytes } = request;
  if (bytes.length < HEADER_SIZE + 16) return -EINVAL;
  const index = new DataView(bytes.buffer, bytes.byteOffset).getInt32(HEADER_SIZE + 4, true);
  if (index !== 0) return stack.deviceByIndex(index) ?? -ENODEV;
  const attributes = readAttributes(bytes, HEADER_SIZE + 16, bytes.length);
  const name = attributes.get(3) ?? attributes.get(53);
  if (name === undefined) return -EINVAL;
  return stack.deviceByName(Buffer.from(name).toString("latin1").split("\0")[0]!) ?? -ENODEV;
}

function getLink(stack: NetworkStack, request: RouteRequest): number {
  const device = namedDevice(stack, request);
  if (typeof device === "number") return device;
  link(device, request);
  return 0;
}

function dumpLinks(stack: NetworkStack, request: RouteRequest): number {
  for (const device of stack.devices) link(device, request);
  return 0;
}

function link(device: NetDevice, request: RouteRequest): void {
  request
    .begin(RTM_NEWLINK)
    .u8(AF_UNSPEC, 0)
    .u16(device.hardwareType)
    .u32(device.index, device.flags, 0)
    .attributeText(3, device.name)
    .attribute32(13, 1000) // transmit queue length
    .attribute8(16, 0) // operational state: unknown, as of every loopback device
    .attribute8(17, 0) // link mode
    .attribute32(4, device.mtu)
    .attribute32(50, 0) // least and greatest MTU
    .attribute32(51, 0)
    .attribute32(27, 0) // group
    .attribute32(30, 0) // promiscuity
    .attribute32(31, 1) // queues
    .attribute32(32, 1)
    .attribute8(33, 1) // carrier
    .attributeText(6, "noqueue")
    .attribute(1, device.hardwareAddress)
    .attribute(2, device.broadcast)
    .attribute(7, new Uint8Array(96)) // statistics, in 32 and in 64 bits
    .attribute(23, new Uint8Array(200))
    .end();
}

function ipBytes(ip: Ip): Uint8Array {
  const bytes = new Uint8Array(typeof ip === "number" ? 4 : 16);
  ipToBytes(ip, bytes, 0, bytes.length);
  return bytes;
}
const familyOf = (ip: Ip): number => (typeof ip === "number" ? AF_INET : AF_INET6);

function addresses(device: NetDevice, family: number, request: RouteRequest): void {
  const forever = new Uint8Array(Uint32Array.of(0xffffffff, 0xffffffff, 0, 0).buffer);
  // IPv4 first, as Linux lists them.
  for (const wanted of [AF_INET, AF_INET6]) {
    if (family !== AF_UNSPEC && family !== wanted) continue;
    for (const { ip, prefix, scope } of device.addresses) {
      if (familyOf(ip) !== wanted) continue;
      const out = request.begin(RTM_NEWADDR).u8(wanted, prefix, 0x80, scope).u32(device.index);
      out.attribute(1, ipBytes(ip));
      if (wanted === AF_INET) out.attribute(2, ipBytes(ip)).attributeText(3, device.name);
      out.attribute32(8, 0x80).attribute(6, forever).end();
    }
  }
}

function dumpRoutes(stack: NetworkStack, family: number, request: RouteRequest): number {
  for (const route of stack.routes) {
    const of = familyOf(route.destination ?? route.gateway ?? 0);
    if (family !== AF_UNSPEC && family !== of) continue;
    writeRoute(route, of, route.destination, route.prefix, request);
  }
  return 0;
}

function writeRoute(route: Route, family: number, to: Ip | null, prefix: number, request: RouteRequest): void {
  const out = request
    .begin(RTM_NEWROUTE)
    .u8(family, prefix, 0, 0, route.table & 255, 2, route.scope, route.type)
    .u32(0)
    .attribute32(15, route.table);
  if (to !== null && prefix > 0) out.attribute(1, ipBytes(to));
  if (route.gateway !== null) out.attribute(5, ipBytes(route.gateway));
  if (route.priority !== 0) out.attribute32(6, route.priority);
  if (route.source !== null) out.attribute(7, ipBytes(route.source));
  out.attribute32(4, route.device).end();
}

/** The route that a packet to one address takes. */
function getRoute(stack: NetworkStack, family: number, request: RouteRequest): number {
  const { bytes } = request;
  if (bytes.length < HEADER_SIZE + 12) return -EINVAL;
  const to = readAttributes(bytes, HEADER_SIZE + 12, bytes.length).get(1);
  const size = family === AF_INET ? 4 : 16;
  if (to === undefined || to.length < size) return -EINVAL;
  const ip = ipFromBytes(to, 0, size);
  const source = stack.sourceFor(ip);
  if (source === null) return -ENETUNREACH;
  const local = stack.isLocal(ip);
  const route = { device: 1, gateway: null, table: local ? 255 : 254, type: local ? 2 : 1, scope: 0, priority: 0 };
  writeRoute({ ...route, destination: ip, prefix: size * 8, source }, family, ip, size * 8, request);
  return 0;
}
