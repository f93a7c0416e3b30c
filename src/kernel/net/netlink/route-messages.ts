/**
 * Devices, addresses, routes, neighbours and rules as messages of rtnetlink: the same in answers and in news.
 *
 * Source: rtnetlink(7), Linux net/core/rtnetlink.c, net/ipv4/devinet.c, fib_semantics.c, net/ipv6/addrconf.c, route.c.
 */
import { AF_INET, AF_INET6, AF_UNSPEC } from "../abi.ts";
import { deviceStatistics } from "../counters.ts";
import { type Ip, ipToBytes } from "../inet/ip.ts";
import type { Network } from "../network.ts";
import {
  type DeviceAddress,
  IFA_F_PERMANENT,
  type Neighbour,
  type NetDevice,
  type Route,
  statistics32,
  statistics64,
} from "../stack.ts";
import type { MessageWriter } from "./message.ts";

const RTPROT_KERNEL = 2;
const IFLA_STATS = 7;
const IFLA_STATS64 = 23;
const FOREVER = new Uint8Array(Uint32Array.of(0xffffffff, 0xffffffff, 0, 0).buffer);

export function ipBytes(ip: Ip, length = typeof ip === "number" ? 4 : 16): Uint8Array {
  const bytes = new Uint8Array(length);
  ipToBytes(ip, bytes, 0, bytes.length);
  return bytes;
}
export const familyOf = (ip: Ip): number => (typeof ip === "number" ? AF_INET : AF_INET6);

/** RTM_NEWLINK, RTM_DELLINK. */
export function writeLink(net: Network, out: MessageWriter, device: NetDevice, withStatistics: boolean): void {
  out
    .u8(AF_UNSPEC, 0)
    .u16(device.hardwareType)
    .u32(device.index, device.flags, 0)
    .attributeText(3, device.name)
    .attribute32(4, device.mtu);
  if (device.attributes === undefined) {
    out
      .attribute32(13, 1000) // transmit queue length
      .attribute8(16, 0) // operational state: unknown, as of every loopback device
      .attribute8(17, 0) // link mode
      .attribute32(50, 0) // least and greatest MTU
      .attribute32(51, 0)
      .attribute32(27, 0) // group
      .attribute32(30, 0) // promiscuity
      .attribute32(31, 1) // queues
      .attribute32(32, 1)
      .attribute8(33, 1) // carrier
      .attribute32(35, 0) // how often that has changed, and to what
      .attribute32(47, 0)
      .attribute32(48, 0)
      .attribute32(40, 65535) // what it takes at once
      .attribute32(41, 65536)
      .attribute32(58, 65536)
      .attribute32(59, 524280)
      .attribute32(60, 65535)
      .attribute32(61, 0) // takes all groups
      .nested(26, () => out.nested(AF_INET6, () => out.attribute8(8, 0))) // addresses from EUI-64
      .attributeText(6, "noqueue");
  } else
    for (const [type, data] of device.attributes)
      if (type !== IFLA_STATS && type !== IFLA_STATS64) out.attribute(type, data);
  if (device.hardwareAddress.length > 0) out.attribute(1, device.hardwareAddress);
  if (device.broadcast.length > 0) out.attribute(2, device.broadcast);
  if (withStatistics) {
    const statistics = deviceStatistics(net, device);
    out.attribute(IFLA_STATS, statistics32(statistics)).attribute(IFLA_STATS64, statistics64(statistics));
  }
  out.end();
}

/** RTM_NEWADDR, RTM_DELADDR. */
export function writeAddress(out: MessageWriter, device: NetDevice, address: DeviceAddress): void {
  const { ip, prefix, scope, flags = IFA_F_PERMANENT, peer, broadcast, attributes } = address;
  const family = familyOf(ip);
  out.u8(family, prefix, flags & 255, scope).u32(device.index);
  if (family === AF_INET) {
    out.attribute(1, ipBytes(peer ?? ip)).attribute(2, ipBytes(ip));
    if (broadcast !== undefined) out.attribute(4, ipBytes(broadcast));
    out.attributeText(3, address.label ?? device.name);
  } else {
    if (peer !== undefined) out.attribute(2, ipBytes(ip));
    out.attribute(1, ipBytes(peer ?? ip));
  }
  out.attribute32(8, flags);
  if (attributes?.has(6) !== true) out.attribute(6, FOREVER);
  for (const [type, data] of attributes ?? []) out.attribute(type, data);
  out.end();
}

/** RTM_NEWROUTE, RTM_DELROUTE. */
export function writeRoute(out: MessageWriter, route: Route): void {
  const { family, destination, prefix, from, table, scope, type, gateway } = route;
  const length = family === AF_INET ? 4 : 16;
  out
    .u8(family, prefix, from?.prefix ?? 0, route.tos ?? 0)
    .u8(table < 256 ? table : 252, route.protocol ?? RTPROT_KERNEL, scope, type)
    .u32(route.flags ?? 0)
    .attribute32(15, table);
  if (destination !== null && prefix > 0) out.attribute(1, ipBytes(destination, length));
  if (from !== undefined) out.attribute(2, ipBytes(from.ip, length));
  if (route.priority !== 0 || family === AF_INET6) out.attribute32(6, route.priority);
  if (route.source !== null) out.attribute(7, ipBytes(route.source, length));
  if (route.hops === undefined) {
    if (gateway !== null) writeGateway(out, gateway, family);
    if (route.device !== 0) out.attribute32(4, route.device);
  } else
    out.nested(9, () => {
      for (const hop of route.hops!)
        out.sized(() => {
          out.u8(hop.flags, hop.weight - 1).u32(hop.device);
          if (hop.gateway !== null) writeGateway(out, hop.gateway, family);
        });
    });
  for (const [kind, data] of route.attributes ?? []) out.attribute(kind, data);
  // Medium preference.
  if (family === AF_INET6 && route.attributes?.has(20) !== true) out.attribute8(20, 0);
  out.end();
}

/** RTA_GATEWAY, or RTA_VIA where it is of the other family. */
export function writeGateway(out: MessageWriter, gateway: Ip, family: number): void {
  const own = familyOf(gateway);
  if (own === family) out.attribute(5, ipBytes(gateway));
  else out.attribute(18, Uint8Array.from([own, 0, ...ipBytes(gateway)]));
}

/** RTM_NEWNEIGH, RTM_DELNEIGH. */
export function writeNeighbour(out: MessageWriter, neighbour: Neighbour): void {
  const { ip, device, state, flags, type, hardwareAddress } = neighbour;
  out.u8(familyOf(ip), 0).u16(0).u32(device).u16(state).u8(flags, type).attribute(1, ipBytes(ip));
  if (hardwareAddress.length > 0) out.attribute(2, hardwareAddress);
  for (const [kind, data] of neighbour.attributes) out.attribute(kind, data);
  out.end();
}

/** A rule that sends everything to a table (RTM_NEWRULE). */
export function writeRule(out: MessageWriter, family: number, priority: number, table: number): void {
  const ALWAYS_THERE = 1;
  const TO_TABLE = 1;
  out
    .u8(family, 0, 0, 0, table, 0, 0, TO_TABLE)
    .u32(priority === 0 ? ALWAYS_THERE : 0)
    .attribute32(15, table)
    .attribute32(14, 0xffffffff); // no shortest prefix
  if (priority !== 0) out.attribute32(6, priority);
  out.attribute8(21, RTPROT_KERNEL).end();
}
