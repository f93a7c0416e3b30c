/**
 * sockaddr_in and sockaddr_in6: reading and writing, and what an address of one family means to a socket of another.
 *
 * Source: ip(7), ipv6(7).
 */
import { EAFNOSUPPORT, EINVAL } from "../../abi/errno.ts";
import { AF_INET, AF_INET6, AF_UNSPEC } from "../abi.ts";
import { ANY4, type Ip, ipFromBytes, ipToBytes } from "./ip.ts";

export interface Endpoint {
  ip: Ip;
  port: number;
}

export const familyOf = (addr: Uint8Array): number => (addr.length < 2 ? -1 : addr[0]! | (addr[1]! << 8));

/** The device that a link-local sockaddr_in6 names; 0: none. */
export const scopeOf = (addr: Uint8Array): number =>
  familyOf(addr) !== AF_INET6 || addr.length < SIN6_SIZE
    ? 0
    : new DataView(addr.buffer, addr.byteOffset).getUint32(24, true);

const SIN_SIZE = 16;
/** sockaddr_in6 as of RFC 2133, without the scope: the least that Linux takes. */
const SIN6_LEAST = 24;
const SIN6_SIZE = 28;

/**
 * The endpoint that a guest's address names for a socket of `family`; -EINVAL, -EAFNOSUPPORT. IPv6 sockets take
 * sockaddr_in for sending (`mixed`), as Linux does.
 */
export function parseAddress(addr: Uint8Array, family: number, mixed: boolean): Endpoint | number {
  const given = familyOf(addr);
  if (family === AF_INET || (mixed && given === AF_INET)) {
    if (addr.length < SIN_SIZE) return -EINVAL;
    if (given !== AF_INET) {
      // bind(2) has always taken "any" without a family.
      if (given !== AF_UNSPEC || ipFromBytes(addr, 4, 4) !== ANY4) return -EAFNOSUPPORT;
    }
    return { ip: ipFromBytes(addr, 4, 4), port: (addr[2]! << 8) | addr[3]! };
  }
  if (addr.length < SIN6_LEAST) return -EINVAL;
  if (given !== AF_INET6) return -EAFNOSUPPORT;
  return { ip: ipFromBytes(addr, 8, 16), port: (addr[2]! << 8) | addr[3]! };
}

/** The address of an endpoint as a socket of `family` shows it. */
export function formatEndpoint(ip: Ip, port: number, family: number): Uint8Array {
  const bytes = new Uint8Array(family === AF_INET ? SIN_SIZE : SIN6_SIZE);
  bytes[0] = family;
  bytes[2] = port >>> 8;
  bytes[3] = port;
  if (family === AF_INET) ipToBytes(ip, bytes, 4, 4);
  // An IPv6 socket shows "any" of either family as ::.
  else if (ip !== ANY4) ipToBytes(ip, bytes, 8, 16);
  return bytes;
}
