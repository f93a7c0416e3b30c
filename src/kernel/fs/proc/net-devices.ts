/**
 * Tables of /proc/net about devices, addresses, routes and neighbours.
 *
 * Source: proc_pid_net(5), Linux net/core/net-procfs.c, net/ipv4/{fib_trie,arp,igmp}.c, net/ipv6/{addrconf,ip6_fib,mcast}.c for the
 * columns. Gaps: groups that sockets have joined are not listed; fib_trie has the leaves of the trie, not its inner nodes.
 */
import type { Kernel } from "../../kernel.ts";
import { AF_INET, AF_INET6 } from "../../net/abi.ts";
import { deviceStatistics } from "../../net/counters.ts";
import { ANY6, formatIp, type Ip, ipToBytes } from "../../net/inet/ip.ts";
import { netmask } from "../../net/inet/prefix.ts";
import {
  IFF_LOOPBACK,
  IFF_UP,
  LO,
  type NetDevice,
  type Route,
  RTN_LOCAL,
  RTN_PROHIBIT,
  RTN_UNREACHABLE,
  TABLE_LOCAL,
  TABLE_MAIN,
} from "../../net/stack.ts";
import { hex } from "./units.ts";

const upper = (value: number, width: number): string => hex(value, width).toUpperCase();

export function deviceRows({ net }: Kernel): string {
  net.refreshRoutes();
  const widths = [7, 7, 4, 4, 4, 5, 10, 9, 8, 7, 4, 4, 4, 5, 7, 10];
  return net.stack.devices
    .map((device) => {
      const s = deviceStatistics(net, device);
      const cells = [
        s.rx_bytes,
        s.rx_packets,
        s.rx_errors,
        s.rx_dropped + s.rx_missed_errors,
        s.rx_fifo_errors,
        s.rx_length_errors + s.rx_over_errors + s.rx_crc_errors + s.rx_frame_errors,
        s.rx_compressed,
        s.multicast,
        s.tx_bytes,
        s.tx_packets,
        s.tx_errors,
        s.tx_dropped,
        s.tx_fifo_errors,
        s.collisions,
        s.tx_carrier_errors + s.tx_aborted_errors + s.tx_window_errors + s.tx_heartbeat_errors,
        s.tx_compressed,
      ];
      return `${device.name.padStart(6)}: ${cells.map((value, i) => String(value).padStart(widths[i]!)).join(" ")}\n`;
    })
    .join("");
}

const RTF_UP = 1;
const RTF_GATEWAY = 2;
const RTF_HOST = 4;
const RTF_REJECT = 0x200;
const RTF_NONEXTHOP = 0x200000;
const RTF_LOCAL = 0x80000000;
const RTAX_WINDOW = 3;
const RTAX_RTT = 4;
const RTAX_ADVMSS = 8;
const RTA_METRICS = 8;

/** One of the numbers in RTA_METRICS. */
function metric(route: Route, which: number): number {
  const data = route.attributes?.get(RTA_METRICS);
  if (data === undefined) return 0;
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  for (let at = 0; at + 8 <= data.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4) return 0;
    if (length >= 8 && view.getUint16(at + 2, true) === which) return view.getUint32(at + 4, true);
    at += (length + 3) & ~3;
  }
  return 0;
}

export function routeRows({ net: { stack } }: Kernel): string {
  const word = (ip: Ip | null) => {
    const bytes = new Uint8Array(4);
    if (typeof ip === "number") ipToBytes(ip, bytes, 0, 4);
    return upper(new DataView(bytes.buffer).getUint32(0, true), 8);
  };
  let out = "";
  for (const route of stack.routes) {
    if (route.table !== TABLE_MAIN || route.family !== AF_INET) continue;
    // Broadcasts and groups are not shown.
    if (route.type === 3 || route.type === 5) continue;
    let flags = RTF_UP;
    if (route.type === RTN_UNREACHABLE || route.type === RTN_PROHIBIT) flags = RTF_UP | RTF_REJECT;
    if (route.gateway !== null) flags |= RTF_GATEWAY;
    if (route.prefix === 32) flags |= RTF_HOST;
    const device = stack.deviceByIndex(route.device)?.name ?? "*";
    const advertised = metric(route, RTAX_ADVMSS);
    const cells = [
      device,
      word(route.destination),
      word(route.gateway),
      upper(flags, 4),
      0,
      0,
      route.priority,
      word(netmask(route.prefix)),
      advertised === 0 ? 0 : advertised + 40,
      metric(route, RTAX_WINDOW),
      metric(route, RTAX_RTT) >> 3,
    ];
    out += `${cells.join("\t").padEnd(127)}\n`;
  }
  return out;
}

export function route6Rows({ net: { stack } }: Kernel): string {
  const ip = (address: Ip | null | undefined) => (typeof address === "string" ? address : ANY6);
  let out = "";
  for (const route of stack.routes) {
    if (route.family !== AF_INET6) continue;
    let flags = RTF_UP;
    if (route.type === RTN_LOCAL) flags |= RTF_LOCAL | RTF_NONEXTHOP;
    else if (route.type >= 6 && route.type <= 8) flags = RTF_REJECT | RTF_NONEXTHOP;
    if (route.gateway !== null) flags |= RTF_GATEWAY;
    const cells = [
      ip(route.destination),
      hex(route.prefix, 2),
      ip(route.from?.ip),
      hex(route.from?.prefix ?? 0, 2),
      ip(route.gateway),
      hex(route.priority, 8),
      "00000001",
      "00000000",
      hex(flags >>> 0, 8),
      (stack.deviceByIndex(route.device)?.name ?? "lo").padStart(8),
    ];
    out += `${cells.join(" ")}\n`;
  }
  return out;
}

export function inet6Rows({ net: { stack } }: Kernel): string {
  let out = "";
  for (const device of stack.devices)
    for (const { ip, prefix, scope, flags = 0x80 } of device.addresses)
      if (typeof ip === "string") {
        // IPV6_ADDR_LOOPBACK, IPV6_ADDR_LINKLOCAL, IPV6_ADDR_SITELOCAL.
        const kind = scope === 254 ? 0x10 : scope === 253 ? 0x20 : scope === 200 ? 0x40 : 0;
        out += `${ip} ${hex(device.index, 2)} ${hex(prefix, 2)} ${hex(kind, 2)} ${hex(flags & 255, 2)} ${device.name.padStart(8)}\n`;
      }
  return out;
}

const NUD_VALID = 0xde;
const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;
const ATF_COM = 2;
const ATF_PERM = 4;

export const hardwareText = (bytes: Uint8Array): string => Array.from(bytes, (byte) => hex(byte, 2)).join(":");

export function arpRows({ net: { stack } }: Kernel): string {
  let out = "";
  for (const { ip, device, state, hardwareAddress } of stack.neighbours) {
    const on = stack.deviceByIndex(device);
    if (typeof ip !== "number" || (state & NUD_NOARP) !== 0 || on === null) continue;
    const known = (state & NUD_VALID) !== 0;
    const flags = known ? ATF_COM | ((state & NUD_PERMANENT) !== 0 ? ATF_PERM : 0) : 0;
    const address = known && hardwareAddress.length > 0 ? hardwareText(hardwareAddress) : "00:00:00:00:00:00";
    out +=
      `${formatIp(ip).padEnd(16)} 0x${hex(on.hardwareType).padEnd(10)}0x${hex(flags).padEnd(10)}` +
      `${address.padEnd(17)}     *        ${on.name}\n`;
  }
  return out;
}

// Groups that every device is in: all hosts, and of IPv6 the solicited-node group of each of its addresses.

const isUp = ({ flags }: NetDevice): boolean => (flags & IFF_UP) !== 0;

function groups6(device: NetDevice): { group: string; flags: number }[] {
  const own = new Set<string>();
  for (const { ip } of device.addresses)
    if (typeof ip === "string" && device.index !== LO) own.add(`ff0200000000000000000001ff${ip.slice(26)}`);
  return [
    ...[...own].map((group) => ({ group, flags: 4 })),
    { group: `ff02${"0".repeat(27)}1`, flags: 0xc },
    { group: `ff01${"0".repeat(27)}1`, flags: 8 },
  ];
}

export function igmpRows({ net: { stack } }: Kernel): string {
  let out = "";
  for (const device of stack.devices) {
    const has4 = device.addresses.some(({ ip }) => typeof ip === "number");
    if (!isUp(device) || !has4) continue;
    out += `${device.index}\t${device.name.padEnd(10)}: ${"1".padStart(5)} ${"V3".padStart(7)}\n`;
    out += `\t\t\t\t010000E0 ${"1".padStart(5)} 0:00000000\t\t0\n`;
  }
  return out;
}

export function igmp6Rows({ net: { stack } }: Kernel): string {
  let out = "";
  for (const device of stack.devices) {
    for (const { group, flags } of groups6(device))
      out += `${String(device.index).padEnd(4)} ${device.name.padEnd(15)} ${group} ${"1".padStart(5)} ${upper(flags, 8)} 0\n`;
  }
  return out;
}

export function multicastRows({ net: { stack } }: Kernel): string {
  let out = "";
  for (const device of stack.devices) {
    if ((device.flags & IFF_LOOPBACK) !== 0 || device.hardwareAddress.length !== 6) continue;
    const own = ["333300000001"];
    if (isUp(device) && device.addresses.some(({ ip }) => typeof ip === "number")) own.push("01005e000001");
    for (const { group } of groups6(device).reverse())
      if (!/^ff0[12]0*1$/.test(group)) own.push(`3333${group.slice(24)}`);
    for (const address of own)
      out += `${String(device.index).padEnd(4)} ${device.name.padEnd(15)} ${"1".padEnd(5)} ${"0".padEnd(5)} ${address}\n`;
  }
  return out;
}

const SCOPES: Readonly<Record<number, string>> = {
  0: "universe",
  200: "site",
  253: "link",
  254: "host",
  255: "nowhere",
};
const TYPES = [
  "UNSPEC",
  "UNICAST",
  "LOCAL",
  "BROADCAST",
  "ANYCAST",
  "MULTICAST",
  "BLACKHOLE",
  "UNREACHABLE",
  "PROHIBIT",
  "THROW",
];

/** Both tables in one, as Linux has them until somebody adds rules. */
export function fibTrie({ net: { stack } }: Kernel): string {
  const leaves = new Map<number, Route[]>();
  for (const route of stack.routes) {
    if (route.family !== AF_INET || (route.table !== TABLE_MAIN && route.table !== TABLE_LOCAL)) continue;
    const at = (route.destination as number | null) ?? 0;
    leaves.set(at, [...(leaves.get(at) ?? []), route]);
  }
  let tree = `  +-- 0.0.0.0/0 0 ${leaves.size} 0\n`;
  for (const [ip, routes] of [...leaves].sort(([a], [b]) => a - b)) {
    tree += `     |-- ${formatIp(ip)}\n`;
    for (const { prefix, scope, type, tos } of routes.sort((a, b) => b.prefix - a.prefix))
      tree += `        /${prefix} ${SCOPES[scope] ?? `scope=${scope}`} ${TYPES[type] ?? `type ${type}`}${tos ? ` tos=${tos}` : ""}\n`;
  }
  return `Main:\n${tree}Local:\n${tree}`;
}
