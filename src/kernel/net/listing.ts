/**
 * The sockets of a kernel, for those who list them: /proc/net and NETLINK_SOCK_DIAG.
 *
 * Internet sockets are found by their ports, connections that nobody has accepted yet among them; others through the
 * descriptors of all processes. Gap: of those what is only in flight (SCM_RIGHTS) is not found.
 */
import type { Kernel } from "../kernel.ts";
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  SO_BINDTOIFINDEX,
  SOCK_RAW,
} from "./abi.ts";
import type { InetSocket } from "./inet/inet-socket.ts";
import { kept } from "./options.ts";
import { Socket } from "./socket.ts";
import { LISTENING, UnixSocket } from "./unix/unix-socket.ts";

export const TCP_ESTABLISHED = 1;
export const TCP_CLOSE = 7;
export const TCP_LISTEN = 10;

/** Every socket that some process has open, once. */
export function openSockets(kernel: Kernel): Set<Socket> {
  const sockets = new Set<Socket>();
  const tables = new Set<object>();
  for (const task of kernel.tasks) {
    if (tables.has(task.files)) continue;
    tables.add(task.files);
    for (const [, file] of task.files.entries()) if (file instanceof Socket) sockets.add(file);
  }
  return sockets;
}

/** Kinds of internet sockets, as they are listed. "ping": those of SOCK_DGRAM that send echo requests. */
export type InetKind = "tcp" | "udp" | "udplite" | "raw" | "ping";

export function inetSockets(kernel: Kernel, kind: InetKind): Iterable<InetSocket> {
  const { net } = kernel;
  switch (kind) {
    case "tcp":
      return net.tcpPorts.all();
    case "udp":
      return net.udpPorts.all();
    case "udplite":
      return net.udpLitePorts.all();
    default:
      return [...net.rawSockets.all()].filter((socket) => kindOf(socket) === kind);
  }
}

export function kindOf({ sockType, protocol }: InetSocket): InetKind {
  if (sockType === SOCK_RAW) return "raw";
  switch (protocol) {
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return "ping";
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDPLITE:
      return "udplite";
    default:
      return "udp";
  }
}
export const protocolOf: Readonly<Record<Exclude<InetKind, "raw" | "ping">, number>> = {
  tcp: IPPROTO_TCP,
  udp: IPPROTO_UDP,
  udplite: IPPROTO_UDPLITE,
};

/** What is shown of an internet socket. */
export interface InetListing {
  state: number;
  /** Bytes to read; connections to accept. */
  received: number;
  /** Bytes that have not left; the greatest number of connections to accept. */
  sent: number;
  /** The device that it is bound to; 0: any. */
  device: number;
}

export function inetListing(socket: InetSocket): InetListing {
  const info = socket.tcpInfo();
  const device = kept(socket, SO_BINDTOIFINDEX);
  if (typeof info === "number")
    return {
      state: socket.remotePort !== 0 ? TCP_ESTABLISHED : TCP_CLOSE,
      received: numberOf(socket, "queued"),
      sent: numberOf(socket, "unsent"),
      device,
    };
  const state = info[0]!;
  if (state !== TCP_LISTEN)
    return { state, received: numberOf(socket, "queued"), sent: numberOf(socket, "unsent"), device };
  const view = new DataView(info.buffer, info.byteOffset, info.length);
  return { state, received: view.getUint32(24, true), sent: view.getUint32(28, true), device };
}

/** What a kind of socket has to tell, or 0. */
function numberOf(socket: InetSocket, field: "queued" | "unsent"): number {
  const value: unknown = field in socket ? (socket as unknown as Record<string, unknown>)[field] : 0;
  return typeof value === "number" ? value : 0;
}

export function* unixSockets(kernel: Kernel): Iterable<UnixSocket> {
  const shown = new Set<UnixSocket>();
  for (const socket of openSockets(kernel)) if (socket instanceof UnixSocket) shown.add(socket);
  for (const socket of kernel.net.unixNames.sockets()) shown.add(socket);
  yield* shown;
}

/** State of a unix socket, numbered as those of TCP. */
export function unixState(socket: UnixSocket): number {
  if (socket.state === LISTENING) return TCP_LISTEN;
  return socket.peer !== null ? TCP_ESTABLISHED : TCP_CLOSE;
}
