/**
 * Options of ip(7), ipv6(7), tcp(7) and udp(7): most only matter to a real network and are checked, kept and shown.
 *
 * Source: the manual pages; defaults and ranges as Linux 6.18 shows them. A table row says what an option takes.
 * Known gaps: no multicast membership beyond being accepted on the loopback device, no IP options, no TCP-AO/MD5.
 */
import { EFAULT, EINVAL, ENODEV, ENOENT, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPERM } from "../../abi/errno.ts";
import { CAP_NET_ADMIN, CAP_NET_RAW, capable } from "../../task/credentials.ts";
import type { Task } from "../../task/task.ts";
import {
  AF_INET6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  SOL_IP,
  SOL_IPV6,
  SOL_TCP,
  SOL_UDP,
  SOL_UDPLITE,
} from "../abi.ts";
import type { OptionValue } from "../option-value.ts";
import { intOption } from "../socket.ts";
import type { InetSocket } from "./inet-socket.ts";

interface Row {
  /** What an unset option shows. */
  initial: number;
  min: number;
  max: number;
  /** Any non-zero value is shown as 1. */
  flag?: boolean;
  /** A capability that setting it needs. */
  needs?: number;
}

const INT_MAX = 0x7fffffff;
const any = (initial = 0): Row => ({ initial, min: -INT_MAX - 1, max: INT_MAX });
const flag = (initial = 0): Row => ({ ...any(initial), flag: true });
const range = (initial: number, min: number, max: number): Row => ({ initial, min, max });

const IP_ROWS: Record<number, Row> = {
  1: range(0, -INT_MAX - 1, INT_MAX), // IP_TOS
  2: range(64, -1, 255), // IP_TTL
  3: flag(), // IP_HDRINCL
  5: flag(), // IP_ROUTER_ALERT
  6: flag(), // IP_RECVOPTS
  7: flag(), // IP_RETOPTS
  8: flag(), // IP_PKTINFO
  10: range(1, 0, 5), // IP_MTU_DISCOVER
  11: flag(), // IP_RECVERR
  12: flag(), // IP_RECVTTL
  13: flag(), // IP_RECVTOS
  15: flag(), // IP_FREEBIND
  18: flag(), // IP_PASSSEC
  19: { ...flag(), needs: CAP_NET_ADMIN }, // IP_TRANSPARENT
  20: flag(), // IP_RECVORIGDSTADDR
  21: range(0, 0, 255), // IP_MINTTL
  22: flag(), // IP_NODEFRAG
  23: flag(), // IP_CHECKSUM
  24: flag(), // IP_BIND_ADDRESS_NO_PORT
  25: flag(), // IP_RECVFRAGSIZE
  26: flag(), // IP_RECVERR_RFC4884
  33: range(1, -1, 255), // IP_MULTICAST_TTL
  34: flag(1), // IP_MULTICAST_LOOP
  49: range(1, 0, 1), // IP_MULTICAST_ALL
  50: any(), // IP_UNICAST_IF
  51: any(), // IP_LOCAL_PORT_RANGE
};
const IPV6_ROWS: Record<number, Row> = {
  2: flag(), // IPV6_2292PKTINFO
  3: flag(),
  4: flag(),
  5: flag(),
  8: flag(), // IPV6_2292HOPLIMIT
  11: flag(), // IPV6_FLOWINFO
  16: range(64, -1, 255), // IPV6_UNICAST_HOPS
  18: range(1, -1, 255), // IPV6_MULTICAST_HOPS
  19: flag(1), // IPV6_MULTICAST_LOOP
  23: range(1, 0, 5), // IPV6_MTU_DISCOVER
  25: flag(), // IPV6_RECVERR
  26: flag(), // IPV6_V6ONLY
  29: range(1, 0, 1), // IPV6_MULTICAST_ALL
  31: flag(),
  33: flag(), // IPV6_FLOWINFO_SEND
  49: flag(), // IPV6_RECVPKTINFO
  51: flag(), // IPV6_RECVHOPLIMIT
  53: flag(),
  56: flag(),
  58: flag(),
  60: flag(), // IPV6_RECVPATHMTU
  62: flag(), // IPV6_DONTFRAG
  66: flag(), // IPV6_RECVTCLASS
  67: range(0, -1, 255), // IPV6_TCLASS
  70: flag(1), // IPV6_AUTOFLOWLABEL
  72: any(0x500), // IPV6_ADDR_PREFERENCES
  73: range(0, 0, 255), // IPV6_MINHOPCOUNT
  74: flag(), // IPV6_RECVORIGDSTADDR
  75: { ...flag(), needs: CAP_NET_RAW }, // IPV6_TRANSPARENT
  76: any(), // IPV6_UNICAST_IF
  77: flag(),
  78: flag(), // IPV6_FREEBIND
};
const TCP_ROWS: Record<number, Row> = {
  1: flag(), // TCP_NODELAY
  3: flag(), // TCP_CORK
  4: range(7200, 1, 32767), // TCP_KEEPIDLE
  5: range(75, 1, 32767), // TCP_KEEPINTVL
  6: range(9, 1, 127), // TCP_KEEPCNT
  7: range(6, 1, 127), // TCP_SYNCNT
  8: any(60), // TCP_LINGER2
  9: any(), // TCP_DEFER_ACCEPT
  10: range(0, 0, INT_MAX), // TCP_WINDOW_CLAMP
  12: any(1), // TCP_QUICKACK
  16: flag(), // TCP_THIN_LINEAR_TIMEOUTS
  17: flag(), // TCP_THIN_DUPACK
  18: range(0, 0, INT_MAX), // TCP_USER_TIMEOUT
  19: range(0, 0, 1), // TCP_REPAIR
  23: range(0, 0, INT_MAX), // TCP_FASTOPEN
  24: any(), // TCP_TIMESTAMP
  25: any(), // TCP_NOTSENT_LOWAT
  27: any(), // TCP_SAVE_SYN
  30: range(0, 0, 1), // TCP_FASTOPEN_CONNECT
  34: range(0, 0, 1), // TCP_FASTOPEN_NO_COOKIE
  36: range(0, 0, 1), // TCP_INQ
  37: any(), // TCP_TX_DELAY
};
const UDP_ROWS: Record<number, Row> = {
  1: flag(), // UDP_CORK
  100: any(), // UDP_ENCAP
  101: flag(), // UDP_NO_CHECK6_TX
  102: flag(), // UDP_NO_CHECK6_RX
  103: range(0, 0, 65535), // UDP_SEGMENT
  104: flag(), // UDP_GRO
};

const UDPLITE_ROWS: Record<number, Row> = {
  ...UDP_ROWS,
  10: any(), // UDPLITE_SEND_CSCOV
  11: any(), // UDPLITE_RECV_CSCOV
};

/** Options that show nothing, since headers of that kind are never there. */
const EMPTY = new Set([SOL_IP * 256 + 4, SOL_IP * 256 + 9, ...[54, 55, 57, 59].map((name) => SOL_IPV6 * 256 + name)]);
/** Options of a connection only. */
const CONNECTION = new Set([SOL_IPV6 * 256 + 1, SOL_IPV6 * 256 + 61]);

const IP_MTU = 14;
const IP_MULTICAST_IF = 32;
const IP_ADD_MEMBERSHIP = 35;
const IP_DROP_MEMBERSHIP = 36;
const IPV6_MULTICAST_IF = 17;
const IPV6_ADD_MEMBERSHIP = 20;
const IPV6_DROP_MEMBERSHIP = 21;
const IPV6_MTU = 24;
const IPV6_V6ONLY = 26;
const TCP_MAXSEG = 2;
const TCP_INFO = 11;
const TCP_CONGESTION = 13;
const TCP_ULP = 31;

function rowsOf(socket: InetSocket, level: number): Record<number, Row> | null {
  if (level === SOL_IP) return IP_ROWS;
  if (level === SOL_IPV6) return socket.family === AF_INET6 ? IPV6_ROWS : null;
  if (level === SOL_TCP) return socket.protocol === IPPROTO_TCP ? TCP_ROWS : null;
  if (level === SOL_UDP) return socket.protocol === IPPROTO_UDP ? UDP_ROWS : null;
  if (level === SOL_UDPLITE) return socket.protocol === IPPROTO_UDPLITE ? UDPLITE_ROWS : null;
  return null;
}

function keep(socket: InetSocket, level: number, name: number, value: Uint8Array): number {
  socket.optionValues ??= new Map();
  socket.optionValues.set(level * 256 + name, value);
  return 0;
}

export function setInetOption(task: Task, socket: InetSocket, level: number, name: number, value: OptionValue): number {
  const rows = rowsOf(socket, level);
  if (rows === null) return -ENOPROTOOPT;
  if (level === SOL_TCP && (name === TCP_CONGESTION || name === TCP_ULP)) return setTcpName(socket, name, value);
  if (level === SOL_IP && (name === IP_ADD_MEMBERSHIP || name === IP_DROP_MEMBERSHIP)) return membership(value, 8);
  if (level === SOL_IPV6 && (name === IPV6_ADD_MEMBERSHIP || name === IPV6_DROP_MEMBERSHIP))
    return membership(value, 20);
  let number: number | null;
  if (level === SOL_IP && value.length > 0 && value.length < 4) {
    // ip(7) options take a char, too.
    const bytes = value.bytes(1);
    number = bytes === null ? null : bytes[0]!;
  } else {
    if (value.length < 4) return -EINVAL;
    number = value.int();
  }
  if (number === null) return -EFAULT;
  if (level === SOL_TCP && name === TCP_MAXSEG) {
    if (number !== 0 && (number < 88 || number > 32767)) return -EINVAL;
    return keep(socket, level, name, intOption(number));
  }
  if ((level === SOL_IP && name === IP_MULTICAST_IF) || (level === SOL_IPV6 && name === IPV6_MULTICAST_IF))
    return keep(socket, level, name, intOption(number));
  const row = rows[name];
  if (row === undefined) return -ENOPROTOOPT;
  if (row.needs !== undefined && number !== 0 && !capable(task.cred, row.needs)) return -EPERM;
  if (number < row.min || number > row.max) return -EINVAL;
  if (level === SOL_IP && name === 2 && number === 0) return -EINVAL;
  if (level === SOL_IPV6 && name === IPV6_V6ONLY) {
    if (socket.hasPort) return -EINVAL;
    socket.v6only = number !== 0;
  }
  // Checksum coverage: all, or at least the header.
  if (level === SOL_UDPLITE && name <= 11 && number !== 0) number = Math.min(Math.max(number, 8), 65535);
  if (number === -1 && row.min === -1) number = row.initial;
  return keep(socket, level, name, intOption(row.flag ? (number !== 0 ? 1 : 0) : number));
}

/** Congestion control is taken by name, though there is no congestion here; there are no upper layer protocols. */
function setTcpName(socket: InetSocket, name: number, value: OptionValue): number {
  if (value.length < 1) return -EINVAL;
  const bytes = value.bytes(Math.min(value.length, 15));
  if (bytes === null) return -EFAULT;
  const text = Buffer.from(bytes).toString("latin1").split("\0")[0]!;
  if (name === TCP_ULP) return -ENOENT;
  if (text !== "cubic" && text !== "reno") return -ENOENT;
  const padded = new Uint8Array(16);
  padded.set(Buffer.from(text, "latin1"));
  return keep(socket, SOL_TCP, name, padded);
}

/** Joining and leaving groups on the loopback device has no effect: nothing is ever sent to a group. */
function membership(value: OptionValue, size: number): number {
  if (value.length < size) return -EINVAL;
  const bytes = value.bytes(Math.min(value.length, size === 8 ? 12 : 20));
  if (bytes === null) return -EFAULT;
  const view = new DataView(bytes.buffer);
  if (size === 20) return view.getInt32(16, true) === 1 ? 0 : -ENODEV;
  if ((bytes[0]! & 0xf0) !== 0xe0) return -EINVAL;
  if (bytes.length >= 12) return view.getInt32(8, true) === 1 ? 0 : -ENODEV;
  return bytes[4] === 127 ? 0 : -ENODEV;
}

export function getInetOption(socket: InetSocket, level: number, name: number, length: number): Uint8Array | number {
  const rows = rowsOf(socket, level);
  if (rows === null) return socket.family === AF_INET6 ? -ENOPROTOOPT : -EOPNOTSUPP;
  const set = socket.optionValues?.get(level * 256 + name);
  if (set !== undefined) return shorten(set, level, length);
  if ((level === SOL_IP && name === IP_MTU) || (level === SOL_IPV6 && name === IPV6_MTU))
    return socket.remotePort === 0 ? -ENOTCONN : intOption(65536);
  if ((level === SOL_IP && name === IP_MULTICAST_IF) || (level === SOL_IPV6 && name === IPV6_MULTICAST_IF))
    return intOption(0);
  if (level === SOL_TCP) {
    if (name === TCP_MAXSEG) return intOption(socket.remotePort === 0 ? 536 : 32768);
    if (name === TCP_INFO) return socket.tcpInfo();
    if (name === TCP_CONGESTION) {
      const padded = new Uint8Array(16);
      padded.set(Buffer.from("cubic"));
      return padded;
    }
    if (name === TCP_ULP) return new Uint8Array(0);
  }
  if (EMPTY.has(level * 256 + name)) return new Uint8Array(0);
  if (CONNECTION.has(level * 256 + name) && socket.remotePort === 0) return -ENOTCONN;
  const row = rows[name];
  if (row === undefined) return -ENOPROTOOPT;
  if (level === SOL_IPV6 && name === IPV6_V6ONLY) return intOption(socket.v6only ? 1 : 0);
  return shorten(intOption(row.initial), level, length);
}

/** A small number asked for with less room than an int comes as a char (ip(7)). */
function shorten(value: Uint8Array, level: number, length: number): Uint8Array {
  if (level !== SOL_IP || length >= 4 || length === 0 || value.length !== 4) return value;
  const number = new DataView(value.buffer).getInt32(0, true);
  return number >= 0 && number <= 255 ? Uint8Array.of(number) : value;
}
