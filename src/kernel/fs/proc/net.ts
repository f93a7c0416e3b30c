/**
 * /proc/net: tables of sockets, devices and routes, as netstat, ss and lsof read them.
 *
 * Source: proc_pid_net(5), Linux net/ipv4/tcp_ipv4.c, udp.c, net/unix/af_unix.c for the columns. Sockets are found
 * through the descriptors of all processes. Gaps: connections that nobody has accepted yet are not listed; byte counts
 * of TCP queues and of devices are 0.
 */
import { decodeName } from "../../abi/bytes.ts";
import type { Kernel } from "../../kernel.ts";
import { AF_INET, AF_INET6 } from "../../net/abi.ts";
import { InetSocket } from "../../net/inet/inet-socket.ts";
import { type Ip, ipToBytes } from "../../net/inet/ip.ts";
import { UdpSocket } from "../../net/inet/udp.ts";
import { Socket } from "../../net/socket.ts";
import { LISTENING, UnixSocket } from "../../net/unix/unix-socket.ts";
import type { PseudoDirectory } from "../pseudo/directory.ts";
import { GeneratedFile } from "../pseudo/text.ts";
import type { ProcFs } from "./proc-fs.ts";
import { hex } from "./units.ts";

const upper = (value: number, width: number): string => hex(value, width).toUpperCase();
/** Kernel addresses, which nobody gets to see. */
const NO_ADDRESS = "0000000000000000";

/** Every socket that some process has open, once. */
function openSockets(kernel: Kernel): Set<Socket> {
  const sockets = new Set<Socket>();
  const tables = new Set<object>();
  for (const task of kernel.tasks) {
    if (tables.has(task.files)) continue;
    tables.add(task.files);
    for (const [, file] of task.files.entries()) if (file instanceof Socket) sockets.add(file);
  }
  return sockets;
}

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

const TCP_CLOSE = 7;
const TCP_ESTABLISHED = 1;

function inetRows(kernel: Kernel, family: number, udp: boolean): string {
  let out = "";
  let row = 0;
  for (const socket of openSockets(kernel)) {
    if (!(socket instanceof InetSocket) || socket.family !== family || socket instanceof UdpSocket !== udp) continue;
    if (!socket.hasPort) continue;
    const info = socket.tcpInfo();
    const state = typeof info !== "number" ? info[0]! : socket.remotePort !== 0 ? TCP_ESTABLISHED : TCP_CLOSE;
    const received = socket instanceof UdpSocket ? socket.queued : 0;
    const places = `${endpoint(socket.localIp, socket.localPort, family)} ${endpoint(socket.remotePort === 0 ? socket.anyIp : socket.remoteIp, socket.remotePort, family)}`;
    const line =
      `${String(row++).padStart(udp ? 5 : 4)}: ${places} ${upper(state, 2)} 00000000:${upper(received, 8)} 00:00000000 00000000 ` +
      `${String(socket.ownerUid).padStart(5)} ${"0".padStart(8)} ${socket.serial} 1 ${NO_ADDRESS}${udp ? " 0" : " 100 0 0 10 0"}`;
    out += `${line.padEnd(udp ? 127 : 149)}\n`;
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
  for (const socket of openSockets(kernel)) {
    if (!(socket instanceof UnixSocket)) continue;
    const flags = socket.state === LISTENING ? 0x10000 : 0;
    const state = socket.peer !== null ? 3 : 1;
    out +=
      `${NO_ADDRESS}: 00000002 00000000 ${upper(flags, 8)} ${upper(socket.sockType, 4)} ${upper(state, 2)} ` +
      `${String(socket.serial).padStart(5)}${socket.addr === null ? "" : unixName(socket.addr)}\n`;
  }
  return out;
}

function deviceRows(kernel: Kernel): string {
  const zeroes = (widths: readonly number[]) => widths.map((width) => "0".padStart(width)).join(" ");
  return kernel.net.stack.devices
    .map(
      ({ name }) => `${name.padStart(6)}: ${zeroes([7, 7, 4, 4, 4, 5, 10, 9])} ${zeroes([8, 7, 4, 4, 4, 5, 7, 10])}\n`,
    )
    .join("");
}

const RTF_UP = 1;
const RTF_GATEWAY = 2;
const TABLE_MAIN = 254;

function routeRows(kernel: Kernel): string {
  const { stack } = kernel.net;
  const word = (ip: Ip | null) => {
    const bytes = new Uint8Array(4);
    if (typeof ip === "number") ipToBytes(ip, bytes, 0, 4);
    return upper(new DataView(bytes.buffer).getUint32(0, true), 8);
  };
  let out = "";
  for (const route of stack.routes) {
    if (route.table !== TABLE_MAIN || typeof (route.destination ?? route.gateway ?? 0) !== "number") continue;
    const mask = route.prefix === 0 ? 0 : (0xffffffff << (32 - route.prefix)) >>> 0;
    const flags = RTF_UP | (route.gateway === null ? 0 : RTF_GATEWAY);
    const device = stack.deviceByIndex(route.device)?.name ?? "*";
    out += `${`${device}\t${word(route.destination)}\t${word(route.gateway)}\t${upper(flags, 4)}\t0\t0\t${route.priority}\t${word(mask)}\t0\t0\t0`.padEnd(127)}\n`;
  }
  return out;
}

function inet6Rows(kernel: Kernel): string {
  let out = "";
  for (const device of kernel.net.stack.devices)
    for (const { ip, prefix, scope } of device.addresses)
      if (typeof ip === "string") {
        // IPV6_ADDR_LOOPBACK, IPV6_ADDR_LINKLOCAL; permanent.
        const kind = scope === 254 ? 0x10 : scope === 253 ? 0x20 : 0;
        out += `${ip} ${hex(device.index, 2)} ${hex(prefix, 2)} ${hex(kind, 2)} 80 ${device.name.padStart(8)}\n`;
      }
  return out;
}

const TCP_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const IPV6_HEADER =
  "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const UDP_HEADER =
  "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
const DEV_HEADER =
  "Inter-|   Receive                                                |  Transmit\n" +
  " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed";

/** Heading and rows of each table. */
const TABLES: Readonly<Record<string, [heading: string, rows: (kernel: Kernel) => string]>> = {
  arp: ["IP address       HW type     Flags       HW address            Mask     Device", () => ""],
  dev: [DEV_HEADER, deviceRows],
  if_inet6: ["", inet6Rows],
  packet: ["sk               RefCnt Type Proto  Iface R Rmem   User   Inode", () => ""],
  raw: [UDP_HEADER, () => ""],
  raw6: [`${IPV6_HEADER} ref pointer drops`, () => ""],
  route: ["Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT".padEnd(127), routeRows],
  tcp: [TCP_HEADER.padEnd(149), (kernel) => inetRows(kernel, AF_INET, false)],
  tcp6: [IPV6_HEADER, (kernel) => inetRows(kernel, AF_INET6, false)],
  udp: [UDP_HEADER.padEnd(127), (kernel) => inetRows(kernel, AF_INET, true)],
  udp6: [`${IPV6_HEADER} ref pointer drops`, (kernel) => inetRows(kernel, AF_INET6, true)],
  unix: ["Num       RefCount Protocol Flags    Type St Inode Path", unixRows],
};

export function addNetFiles(fs: ProcFs, directory: PseudoDirectory): void {
  for (const [name, [heading, rows]] of Object.entries(TABLES))
    directory.add(name, new GeneratedFile(fs, ({ kernel }) => (heading === "" ? "" : `${heading}\n`) + rows(kernel)));
}
