/**
 * TCP, UDP and raw sockets as NETLINK_SOCK_DIAG tells of them, by state and by programs of conditions.
 *
 * Source: sock_diag(7), linux/inet_diag.h, Linux net/ipv4/inet_diag.c. Gap: no timers, since nothing is sent again here.
 */
import { EINVAL, ENOENT } from "../../abi/errno.ts";
import type { Task } from "../../task/task.ts";
import { AF_INET, AF_INET6, AF_UNSPEC, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, SOL_IP, SOL_IPV6 } from "../abi.ts";
import type { InetSocket } from "../inet/inet-socket.ts";
import { type Ip, ipFromBytes, ipToBytes } from "../inet/ip.ts";
import { prefixOf } from "../inet/prefix.ts";
import { type InetKind, type InetListing, inetListing, inetSockets, TCP_CLOSE, TCP_LISTEN } from "../listing.ts";
import { SOCK_DIAG_BY_FAMILY } from "./diag.ts";
import { HEADER_SIZE, type MessageWriter, NLM_F_DUMP_FILTERED, readAttributes } from "./message.ts";
import type { NetlinkRequest } from "./protocols.ts";

/** struct inet_diag_req_v2. */
const REQUEST = 56;
const IPPROTO_RAW = 255;
const KINDS: ReadonlyMap<number, InetKind> = new Map([
  [IPPROTO_TCP, "tcp"],
  [IPPROTO_UDP, "udp"],
  [IPPROTO_UDPLITE, "udplite"],
  [IPPROTO_RAW, "raw"],
]);
const BYTECODE = 1;

const IP_TOS = 1;
const IPV6_TCLASS = 67;

export function answerInet(task: Task, request: NetlinkRequest): number {
  const { bytes, dump } = request;
  if (bytes.length < HEADER_SIZE + REQUEST) return -EINVAL;
  const view = new DataView(bytes.buffer, bytes.byteOffset + HEADER_SIZE, bytes.length - HEADER_SIZE);
  const family = view.getUint8(0);
  const kind = KINDS.get(view.getUint8(1));
  if (kind === undefined) {
    if (!dump) return -ENOENT;
    request.dumpError = -ENOENT;
    return 0;
  }
  const extensions = view.getUint8(2);
  const states = view.getUint32(4, true);
  if (!dump) return one(task, request, view, family, kind, extensions);
  const program = readAttributes(bytes, HEADER_SIZE + REQUEST, bytes.length).get(BYTECODE) ?? null;
  if (program !== null && !isProgram(program)) return -EINVAL;
  // Ports that are asked for by number rather than by program.
  const sport = view.getUint16(8, false);
  const dport = view.getUint16(10, false);
  for (const socket of inetSockets(task.kernel, kind)) {
    if (socket.family !== family) continue;
    if ((sport !== 0 && socket.localPort !== sport) || (dport !== 0 && socket.remotePort !== dport)) continue;
    const listing = inetListing(socket);
    if ((states & (1 << listing.state)) === 0) continue;
    if (program !== null && !runProgram(program, socket, listing)) continue;
    write(request.begin(SOCK_DIAG_BY_FAMILY, program !== null ? NLM_F_DUMP_FILTERED : 0), socket, listing, extensions);
  }
  return 0;
}

/** The one socket with those ends. */
function one(
  task: Task,
  request: NetlinkRequest,
  view: DataView,
  family: number,
  kind: InetKind,
  extensions: number,
): number {
  const { bytes } = request;
  const size = family === AF_INET ? 4 : 16;
  const sport = view.getUint16(8, false);
  const dport = view.getUint16(10, false);
  const source = ipFromBytes(bytes, HEADER_SIZE + 12, size);
  const destination = ipFromBytes(bytes, HEADER_SIZE + 28, size);
  const cookie = [view.getUint32(48, true), view.getUint32(52, true)];
  const anyCookie = cookie[0] === 0xffffffff && cookie[1] === 0xffffffff;
  let found: InetSocket | null = null;
  for (const socket of inetSockets(task.kernel, kind)) {
    if (socket.localPort !== sport || socket.family !== family) continue;
    if (socket.remotePort === dport && socket.remoteIp === destination && socket.localIp === source) {
      found = socket;
      break;
    }
    if (socket.remotePort === 0) found ??= socket;
  }
  if (found === null) return -ENOENT;
  if (!anyCookie && (cookie[0] !== found.serial >>> 0 || cookie[1] !== Math.floor(found.serial / 4294967296)))
    return -ENOENT;
  write(request.begin(SOCK_DIAG_BY_FAMILY), found, inetListing(found), extensions);
  return 0;
}

function ends(socket: InetSocket): Uint8Array {
  const bytes = new Uint8Array(48);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, socket.localPort, false);
  view.setUint16(2, socket.remotePort, false);
  const size = socket.family === AF_INET ? 4 : 16;
  const ip = (at: number, address: Ip): void => {
    if (address !== 0) ipToBytes(address, bytes, at, size);
  };
  ip(4, socket.localIp);
  if (socket.remotePort !== 0) ip(20, socket.remoteIp);
  return bytes;
}

function write(out: MessageWriter, socket: InetSocket, listing: InetListing, extensions: number): void {
  const { state, received, sent, device } = listing;
  const wants = (attribute: number): boolean => (extensions & (1 << (attribute - 1))) !== 0;
  const id = ends(socket);
  const view = new DataView(id.buffer);
  view.setUint32(36, device, true);
  view.setUint32(40, socket.serial >>> 0, true);
  view.setUint32(44, Math.floor(socket.serial / 4294967296), true);
  out
    .u8(socket.family, state, 0, 0)
    .raw(id)
    .u32(0, received, sent, socket.ownerUid, socket.serial)
    .attribute8(8, socket.shutdownMask); // INET_DIAG_SHUTDOWN
  const listens = state === TCP_LISTEN;
  const bytes = listens ? 0 : received;
  if (wants(5)) out.attribute8(5, socket.option(SOL_IP, IP_TOS, 0));
  if (socket.family === AF_INET6) {
    if (wants(6)) out.attribute8(6, Math.max(0, socket.option(SOL_IPV6, IPV6_TCLASS, 0)));
    if (listens || state === TCP_CLOSE) out.attribute8(11, socket.v6only ? 1 : 0); // INET_DIAG_SKV6ONLY
  }
  if (wants(1)) out.attribute(1, words(bytes, 0, 0, 0)); // INET_DIAG_MEMINFO
  if (wants(7)) out.attribute(7, words(bytes, socket.rcvbuf, 0, socket.sndbuf, 0, 0, 0, 0, 0)); // INET_DIAG_SKMEMINFO
  const info = socket.tcpInfo();
  if (typeof info !== "number") {
    if (wants(2)) out.attribute(2, info);
    if (wants(4)) out.attributeText(4, "cubic");
  }
  out.end();
}
const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

// Programs of conditions: struct inet_diag_bc_op { u8 code, yes; u16 no; }, both counts of bytes to go on by.

const JMP = 1;
const S_GE = 2;
const S_LE = 3;
const D_GE = 4;
const D_LE = 5;
const AUTO = 6;
const S_COND = 7;
const D_COND = 8;
const DEV_COND = 9;
const S_EQ = 11;
const D_EQ = 12;
const CODE_LAST = 12;
const MARK_COND = 10;

/** Does every way through it lead forwards, to an operation or the end, with what operations need behind them? */
function isProgram(program: Uint8Array): boolean {
  if (program.length < 4 || program.length % 4 !== 0) return false;
  const view = new DataView(program.buffer, program.byteOffset, program.length);
  for (let at = 0; at < program.length; ) {
    const code = program[at]!;
    const yes = program[at + 1]!;
    const no = view.getUint16(at + 2, true);
    const left = program.length - at;
    // "No" may lead four bytes beyond the end: that is a refusal.
    if (code > CODE_LAST || code === MARK_COND || yes < 4 || yes % 4 !== 0 || yes > left) return false;
    if (no < 4 || no % 4 !== 0 || no > left + 4) return false;
    if (operandSize(program, at) > left) return false;
    at += yes;
  }
  return true;
}

/** Bytes of an operation with what it works on. */
function operandSize(program: Uint8Array, at: number): number {
  switch (program[at]) {
    case S_COND:
    case D_COND: {
      if (at + 12 > program.length) return Number.POSITIVE_INFINITY;
      const family = program[at + 4];
      return 12 + (family === AF_INET ? 4 : family === AF_INET6 ? 16 : 0);
    }
    case S_GE:
    case S_LE:
    case D_GE:
    case D_LE:
    case S_EQ:
    case D_EQ:
    case DEV_COND:
      return 8;
    default:
      return 4;
  }
}

function runProgram(program: Uint8Array, socket: InetSocket, { device }: InetListing): boolean {
  const view = new DataView(program.buffer, program.byteOffset, program.length);
  let at = 0;
  while (at < program.length) {
    // A way that the check has not gone: "no" may lead between two operations.
    if (operandSize(program, at) > program.length - at) return false;
    const step = holds(program, view, at, socket, device) ? program[at + 1]! : view.getUint16(at + 2, true);
    if (step < 4) return false;
    at += step;
  }
  return at === program.length;
}

function holds(program: Uint8Array, view: DataView, at: number, socket: InetSocket, device: number): boolean {
  const { localPort, remotePort } = socket;
  const port = at + 8 <= program.length ? view.getUint16(at + 6, true) : 0;
  switch (program[at]) {
    case JMP:
      return false;
    case S_EQ:
      return localPort === port;
    case S_GE:
      return localPort >= port;
    case S_LE:
      return localPort <= port;
    case D_EQ:
      return remotePort === port;
    case D_GE:
      return remotePort >= port;
    case D_LE:
      return remotePort <= port;
    case AUTO:
      // Its port was chosen for it.
      return !socket.boundPort;
    case DEV_COND:
      return device === view.getUint32(at + 4, true);
    case S_COND:
      return isAt(program, view, at + 4, socket.localIp, localPort);
    case D_COND:
      return isAt(program, view, at + 4, socket.remoteIp, remotePort);
    default:
      return true;
  }
}

/** struct inet_diag_hostcond { u8 family, prefix_len; int port; be32 addr[]; }. */
function isAt(program: Uint8Array, view: DataView, at: number, ip: Ip, port: number): boolean {
  const family = program[at]!;
  const bits = program[at + 1]!;
  const wanted = view.getInt32(at + 4, true);
  if (wanted !== -1 && wanted !== port) return false;
  if (family === AF_UNSPEC || bits === 0)
    return family === AF_UNSPEC || (family === AF_INET) === (typeof ip === "number");
  if (bits > (family === AF_INET ? 32 : 128)) return false;
  const size = family === AF_INET ? 4 : 16;
  const net = ipFromBytes(program, at + 8, size);
  if (typeof net === "string" || family === AF_INET)
    return typeof net === typeof ip && prefixOf(net, bits) === prefixOf(ip, bits);
  // A mapped address among IPv6 ones.
  return typeof ip === "number" && bits >= 96 && prefixOf(net, bits - 96) === prefixOf(ip, bits - 96);
}
