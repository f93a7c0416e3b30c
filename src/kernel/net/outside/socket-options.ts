/**
 * Options that this process may set on sockets of the host that the broker has handed over: the jail's filter
 * (src/boot/seccomp.ts) lets exactly these pass. Whatever could reach further than the rules allow is not among them: other
 * sources and routes, devices, programs for filters, connecting by sending. docs/security.md.
 */
import {
  SO_BROADCAST,
  SO_DONTROUTE,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_MAX_PACING_RATE,
  SO_OOBINLINE,
  SO_PRIORITY,
  SO_RCVBUF,
  SO_RCVLOWAT,
  SO_RXQ_OVFL,
  SO_SNDBUF,
  SO_TIMESTAMP,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMPNS,
  SO_TIMESTAMPNS_NEW,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  SOL_UDP,
} from "../abi.ts";
import type { InetSocket } from "../inet/inet-socket.ts";
import { intOption } from "../socket.ts";

const SOCKET = [
  SO_BROADCAST,
  SO_DONTROUTE,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_MAX_PACING_RATE,
  SO_OOBINLINE,
  SO_PRIORITY,
  SO_RCVBUF,
  SO_RCVLOWAT,
  SO_RXQ_OVFL,
  SO_SNDBUF,
  SO_TIMESTAMP,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMPNS,
  SO_TIMESTAMPNS_NEW,
];
const IP = [
  1, // IP_TOS
  2, // IP_TTL
  6, // IP_RECVOPTS
  7, // IP_RETOPTS
  8, // IP_PKTINFO
  12, // IP_RECVTTL
  13, // IP_RECVTOS
  20, // IP_RECVORIGDSTADDR
  21, // IP_MINTTL
  23, // IP_CHECKSUM
  25, // IP_RECVFRAGSIZE
  33, // IP_MULTICAST_TTL
  34, // IP_MULTICAST_LOOP
  49, // IP_MULTICAST_ALL
];
const IPV6 = [
  2, // IPV6_2292PKTINFO
  8, // IPV6_2292HOPLIMIT
  16, // IPV6_UNICAST_HOPS
  18, // IPV6_MULTICAST_HOPS
  19, // IPV6_MULTICAST_LOOP
  29, // IPV6_MULTICAST_ALL
  49, // IPV6_RECVPKTINFO
  51, // IPV6_RECVHOPLIMIT
  53, // IPV6_RECVHOPOPTS
  56, // IPV6_RECVRTHDR
  58, // IPV6_RECVDSTOPTS
  60, // IPV6_RECVPATHMTU
  62, // IPV6_DONTFRAG
  66, // IPV6_RECVTCLASS
  67, // IPV6_TCLASS
  70, // IPV6_AUTOFLOWLABEL
  73, // IPV6_MINHOPCOUNT
  74, // IPV6_RECVORIGDSTADDR
  77, // IPV6_RECVFRAGSIZE
];
const TCP = [
  1, // TCP_NODELAY
  2, // TCP_MAXSEG
  3, // TCP_CORK
  4, // TCP_KEEPIDLE
  5, // TCP_KEEPINTVL
  6, // TCP_KEEPCNT
  7, // TCP_SYNCNT
  8, // TCP_LINGER2
  9, // TCP_DEFER_ACCEPT
  10, // TCP_WINDOW_CLAMP
  12, // TCP_QUICKACK
  13, // TCP_CONGESTION
  16, // TCP_THIN_LINEAR_TIMEOUTS
  17, // TCP_THIN_DUPACK
  18, // TCP_USER_TIMEOUT
  25, // TCP_NOTSENT_LOWAT
];
const UDP = [
  1, // UDP_CORK
  103, // UDP_SEGMENT
  104, // UDP_GRO
];

const of = (level: number, names: readonly number[]): (readonly [number, number])[] =>
  names.map((name) => [level, name] as const);

/** Pairs of level and name. */
export const SOCKET_OPTIONS: readonly (readonly [level: number, name: number])[] = [
  ...of(SOL_SOCKET, SOCKET),
  ...of(SOL_IP, IP),
  ...of(SOL_IPV6, IPV6),
  ...of(SOL_TCP, TCP),
  ...of(SOL_UDP, UDP),
];

const settable = new Set(SOCKET_OPTIONS.map(([level, name]) => level * 65536 + name));
/** May it be set on the host's socket, from here? */
export const hostTakes = (level: number, name: number): boolean => settable.has(level * 65536 + name);

/** What the program has set an option to, as the host's socket takes it; null: it is as it was. */
export function hostValue(socket: InetSocket, level: number, name: number): Uint8Array | null {
  if (level !== SOL_SOCKET) return socket.optionValues?.get(level * 256 + name) ?? null;
  switch (name) {
    // The host doubles what it is given, too.
    case SO_SNDBUF:
      return (socket.bufLock & 1) !== 0 ? intOption(socket.sndbuf >> 1) : null;
    case SO_RCVBUF:
      return (socket.bufLock & 2) !== 0 ? intOption(socket.rcvbuf >> 1) : null;
    case SO_RCVLOWAT:
      return intOption(socket.rcvlowat);
    case SO_LINGER:
      return socket.linger === null ? null : lingerValue(socket.linger.on && socket.linger.seconds === 0);
  }
  const value = socket.kept?.get(name);
  return value === undefined ? null : intOption(value);
}

/** Closing resets, or goes on behind the closed socket. A time to linger is never the host's: its close would wait for that. */
export const lingerValue = (reset: boolean): Uint8Array => new Uint8Array(Int32Array.of(reset ? 1 : 0, 0).buffer);
