/** Prefixes of internet addresses, as routes and rules have them. */
import type { Ip } from "./ip.ts";

/** The address without what is behind its first `bits`. */
export function prefixOf(ip: Ip, bits: number): Ip {
  if (typeof ip === "number") return bits === 0 ? 0 : (ip & (-1 << (32 - bits))) >>> 0;
  const digits = bits >> 2;
  if (digits >= 32) return ip;
  const rest = bits & 3;
  const digit = (Number.parseInt(ip[digits]!, 16) & (15 << (4 - rest)) & 15).toString(16);
  return (ip.slice(0, digits) + digit).padEnd(32, "0");
}

/** How many bits two addresses of one family have in common at their beginnings. */
export function commonBits(a: Ip, b: Ip): number {
  if (typeof a === "number" || typeof b === "number")
    return typeof a === "number" && typeof b === "number" ? Math.clz32(a ^ b) : 0;
  for (let at = 0; at < 32; at++) {
    const differing = Number.parseInt(a[at]!, 16) ^ Number.parseInt(b[at]!, 16);
    if (differing !== 0) return 4 * at + Math.clz32(differing) - 28;
  }
  return 128;
}

/** The netmask of an IPv4 prefix. */
export const netmask = (bits: number): number => (bits === 0 ? 0 : (-1 << (32 - bits)) >>> 0);
