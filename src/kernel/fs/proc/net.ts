/**
 * /proc/net: tables of sockets, devices and routes, as netstat, ss and lsof read them. A table is one line in TABLES.
 *
 * Source: proc_pid_net(5), Linux net/ipv4/tcp_ipv4.c, udp.c, raw.c, ping.c, net/unix/af_unix.c, net/netlink/af_netlink.c for the
 * columns. Gaps: no timers and no reference counts; there are no packet sockets.
 */
import { decodeName } from "../../abi/bytes.ts";
import type { Kernel } from "../../kernel.ts";
import { AF_INET, AF_INET6 } from "../../net/abi.ts";
import { type Ip, ipToBytes } from "../../net/inet/ip.ts";
import { type InetKind, inetListing, inetSockets, openSockets, TCP_LISTEN, unixSockets } from "../../net/listing.ts";
import { NetlinkSocket } from "../../net/netlink/netlink.ts";
import { LISTENING } from "../../net/unix/unix-socket.ts";
import type { PseudoDirectory } from "../pseudo/directory.ts";
import { GeneratedFile } from "../pseudo/text.ts";
import { netstat, protocols, snmp, snmp6, sockstat, sockstat6 } from "./net-counters.ts";
import {
  arpRows,
  deviceRows,
  fibTrie,
  igmp6Rows,
  igmpRows,
  inet6Rows,
  multicastRows,
  route6Rows,
  routeRows,
} from "./net-devices.ts";
import type { ProcFs } from "./proc-fs.ts";
import { hex } from "./units.ts";

const upper = (value: number, width: number): string => hex(value, width).toUpperCase();
/** Kernel addresses, which nobody gets to see. */
const NO_ADDRESS = "0000000000000000";

/** An address as the kernel's words in the machine's byte order, and the port. */
function endpoint(ip: Ip, port: number, family: number): string {
  const length = family === AF_INET ? 4 : 16;
  const bytes = new Uint8Array(length);
  ipToBytes(ip, bytes, 0, length);
  const view = new DataView(bytes.buffer);
  let text = "";
  for (let at = 0; at < length; at += 4) text += upper(view.getUint32(at, true), 8);
  return `${text}:${upper(port, 4)}`;
}

function inetRows(kernel: Kernel, family: number, kind: InetKind): string {
  let out = "";
  let row = 0;
  const tcp = kind === "tcp";
  for (const socket of inetSockets(kernel, kind)) {
    if (socket.family !== family) continue;
    const { state, received, sent } = inetListing(socket);
    const listens = state === TCP_LISTEN;
    const connected = socket.remotePort !== 0;
    // A raw socket has the number of its protocol for a port.
    const own = kind === "raw" ? socket.protocol : socket.localPort;
    const places = `${endpoint(socket.localIp, own, family)} ${endpoint(connected ? socket.remoteIp : socket.anyIp, socket.remotePort, family)}`;
    const end = !tcp ? " 0" : listens || !connected ? " 100 0 0 10 0" : " 20 4 30 10 -1";
    const line =
      `${String(row++).padStart(tcp || kind === "raw" ? 4 : 5)}: ${places} ${upper(state, 2)} ` +
      `${upper(listens ? 0 : sent, 8)}:${upper(received, 8)} 00:00000000 00000000 ` +
      `${String(socket.ownerUid).padStart(5)} ${"0".padStart(8)} ${socket.serial} 1 ${NO_ADDRESS}${end}`;
    out += `${line.padEnd(tcp ? 149 : 127)}\n`;
  }
  return out;
}

/** A bound name: a path, or with "@" for each NUL an abstract one. */
function unixName(addr: Uint8Array): string {
  const name = addr.subarray(2);
  if (name[0] === 0) return ` ${decodeName(name).replaceAll("\0", "@")}`;
  const end = name.indexOf(0);
  return ` ${decodeName(name, 0, end < 0 ? name.length : end)}`;
}

function unixRows(kernel: Kernel): string {
  let out = "";
  for (const socket of unixSockets(kernel)) {
    const flags = socket.state === LISTENING ? 0x10000 : 0;
    const state = socket.peer !== null ? 3 : 1;
    out +=
      `${NO_ADDRESS}: 00000002 00000000 ${upper(flags, 8)} ${upper(socket.sockType, 4)} ${upper(state, 2)} ` +
      `${String(socket.serial).padStart(5)}${socket.addr === null ? "" : unixName(socket.addr)}\n`;
  }
  return out;
}

function netlinkRows(kernel: Kernel): string {
  let out = "";
  for (const socket of openSockets(kernel)) {
    if (!(socket instanceof NetlinkSocket)) continue;
    const { port, groups, queued } = socket.shown;
    const cells = [
      String(socket.protocol).padEnd(3),
      String(port).padEnd(10),
      hex(groups, 8),
      String(queued).padEnd(8),
      "0".padEnd(8),
      "0".padEnd(5),
      "2".padEnd(8),
      "0".padEnd(8),
      String(socket.serial).padEnd(8),
    ];
    out += `${NO_ADDRESS} ${cells.join(" ")}\n`;
  }
  return out;
}

const SOCKET_COLUMNS = "local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const TCP_HEADER = `  sl  ${SOCKET_COLUMNS}`.padEnd(149);
const IPV6_HEADER =
  "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const UDP6_HEADER = `${IPV6_HEADER} ref pointer drops`;
const UDP_HEADER = `   sl  ${SOCKET_COLUMNS} ref pointer drops`.padEnd(127);
const RAW_HEADER = `  sl  ${SOCKET_COLUMNS} ref pointer drops`;
const DEV_HEADER =
  "Inter-|   Receive                                                |  Transmit\n" +
  " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed";
const ROUTE_HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT".padEnd(127);
const NETLINK_HEADER = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode";

type Rows = (kernel: Kernel) => string;
const inet =
  (family: number, kind: InetKind): Rows =>
  (kernel) =>
    inetRows(kernel, family, kind);

/** Heading and rows of each table. */
const TABLES: Readonly<Record<string, [heading: string, rows: Rows]>> = {
  arp: ["IP address       HW type     Flags       HW address            Mask     Device", arpRows],
  dev: [DEV_HEADER, deviceRows],
  dev_mcast: ["", multicastRows],
  fib_trie: ["", fibTrie],
  icmp: [RAW_HEADER.padEnd(127), inet(AF_INET, "ping")],
  icmp6: [UDP6_HEADER, inet(AF_INET6, "ping")],
  if_inet6: ["", inet6Rows],
  igmp: ["Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter", igmpRows],
  igmp6: ["", igmp6Rows],
  ipv6_route: ["", route6Rows],
  netlink: [NETLINK_HEADER, netlinkRows],
  netstat: ["", netstat],
  packet: ["sk               RefCnt Type Proto  Iface R Rmem   User   Inode", () => ""],
  protocols: ["", protocols],
  raw: [RAW_HEADER, inet(AF_INET, "raw")],
  raw6: [UDP6_HEADER, inet(AF_INET6, "raw")],
  route: [ROUTE_HEADER, routeRows],
  snmp: ["", snmp],
  snmp6: ["", snmp6],
  sockstat: ["", sockstat],
  sockstat6: ["", sockstat6],
  tcp: [TCP_HEADER, inet(AF_INET, "tcp")],
  tcp6: [IPV6_HEADER, inet(AF_INET6, "tcp")],
  udp: [UDP_HEADER, inet(AF_INET, "udp")],
  udp6: [UDP6_HEADER, inet(AF_INET6, "udp")],
  udplite: [UDP_HEADER, inet(AF_INET, "udplite")],
  udplite6: [UDP6_HEADER, inet(AF_INET6, "udplite")],
  unix: ["Num       RefCount Protocol Flags    Type St Inode Path", unixRows],
};

export function addNetFiles(fs: ProcFs, directory: PseudoDirectory): void {
  for (const [name, [heading, rows]] of Object.entries(TABLES))
    directory.add(name, new GeneratedFile(fs, ({ kernel }) => (heading === "" ? "" : `${heading}\n`) + rows(kernel)));
}
