/**
 * Who has which port, per protocol: conflicts between binds, ephemeral ports, who gets what comes in.
 *
 * Source: ip(7), socket(7) (SO_REUSEADDR, SO_REUSEPORT), Linux net/ipv4/inet_connection_sock.c and udp.c.
 * Known gap: a port is free as soon as its sockets are closed; there is no TIME_WAIT.
 */

import { persistent } from "../../state/registry.ts";
import { SO_REUSEADDR, SO_REUSEPORT } from "../abi.ts";
import { kept } from "../options.ts";
import type { InetSocket } from "./inet-socket.ts";
import { ANY4, ANY6, type Ip } from "./ip.ts";

/** net.ipv4.ip_local_port_range. */
const EPHEMERAL_FIRST = 32768;
const EPHEMERAL_LAST = 60999;

/** Does a socket that is bound to `own` get what is sent to `ip`? */
function covers(socket: InetSocket, own: Ip, ip: Ip): boolean {
  if (own === ANY4) return typeof ip === "number";
  if (own === ANY6) return typeof ip === "string" || !socket.v6only;
  return own === ip;
}

/** Would two sockets with these addresses compete for something? */
function overlap(a: InetSocket, aIp: Ip, b: InetSocket, bIp: Ip): boolean {
  if (covers(a, aIp, bIp) || covers(b, bIp, aIp)) return true;
  // :: that takes IPv4 meets 0.0.0.0 there.
  return (aIp === ANY6 && bIp === ANY4 && !a.v6only) || (aIp === ANY4 && bIp === ANY6 && !b.v6only);
}

export class PortTable {
  private readonly ports = new Map<number, Set<InetSocket>>();
  private lastEphemeral = EPHEMERAL_FIRST + Math.floor(Math.random() * (EPHEMERAL_LAST - EPHEMERAL_FIRST));

  /** Sockets that have a port, in order of binding. */
  on(port: number): Iterable<InetSocket> {
    return this.ports.get(port) ?? [];
  }

  /** May `socket` have `port` on `ip`? */
  free(socket: InetSocket, ip: Ip, port: number): boolean {
    const others = this.ports.get(port);
    if (others === undefined) return true;
    const reuse = kept(socket, SO_REUSEADDR) !== 0;
    const reusePort = kept(socket, SO_REUSEPORT) !== 0;
    for (const other of others) {
      if (other === socket) continue;
      if (reusePort && kept(other, SO_REUSEPORT) !== 0 && other.ownerUid === socket.ownerUid) continue;
      if (reuse && kept(other, SO_REUSEADDR) !== 0 && !other.listening) continue;
      if (overlap(socket, ip, other, other.localIp)) return false;
    }
    return true;
  }

  take(socket: InetSocket, port: number): void {
    const there = this.ports.get(port);
    if (there === undefined) this.ports.set(port, new Set([socket]));
    else there.add(socket);
    socket.localPort = port;
    socket.hasPort = true;
  }

  /** An ephemeral port that nobody has; 0 when there is none. */
  ephemeral(): number {
    for (let tries = 0; tries <= EPHEMERAL_LAST - EPHEMERAL_FIRST; tries++) {
      this.lastEphemeral = this.lastEphemeral >= EPHEMERAL_LAST ? EPHEMERAL_FIRST : this.lastEphemeral + 1;
      if (!this.ports.has(this.lastEphemeral)) return this.lastEphemeral;
    }
    return 0;
  }

  drop(socket: InetSocket): void {
    if (!socket.hasPort) return;
    socket.hasPort = false;
    const there = this.ports.get(socket.localPort);
    if (there === undefined) return;
    there.delete(socket);
    if (there.size === 0) this.ports.delete(socket.localPort);
  }

  *all(): Iterable<InetSocket> {
    for (const sockets of this.ports.values()) yield* sockets;
  }
}

/**
 * Who of `candidates` gets what is sent to `ip`: of those for which `score` is highest (0: not at all) and whose
 * address is most exact, the one that `spread` picks.
 */
export function mostExact<S extends InetSocket>(
  candidates: Iterable<S>,
  ip: Ip,
  spread: number,
  score: (socket: S) => number,
): S | null {
  let best: S[] = [];
  let bestPoints = 0;
  for (const socket of candidates) {
    if (!covers(socket, socket.localIp, ip)) continue;
    let points = score(socket);
    if (points === 0) continue;
    points *= 4;
    if (socket.localIp === ip) points += 2;
    else if (socket.localIp === ANY4) points += 1;
    if (points > bestPoints) {
      best = [socket];
      bestPoints = points;
    } else if (points === bestPoints) best.push(socket);
  }
  return best.length === 0 ? null : best[spread % best.length]!;
}

persistent("port-table", PortTable);
