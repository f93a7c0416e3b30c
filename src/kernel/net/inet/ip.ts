/**
 * Internet addresses: an IPv4 address is a number (u32), an IPv6 address a string of 32 hexadecimal digits. An IPv4
 * address mapped into IPv6 is the number, so that both families meet in one space.
 */
export type Ip = number | string;

export const ANY4 = 0;
export const LOOPBACK4 = 0x7f000001;
export const ANY6 = "0".repeat(32);
export const LOOPBACK6 = `${"0".repeat(31)}1`;
const MAPPED = `${"0".repeat(20)}ffff`;

/** `length` 4 or 16, network byte order. Mapped addresses come out as IPv4. */
export function ipFromBytes(bytes: Uint8Array, at: number, length: number): Ip {
  if (length === 4) return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  let hex = "";
  for (let i = 0; i < 16; i++) hex += (bytes[at + i]! + 256).toString(16).slice(1);
  return hex.startsWith(MAPPED) ? Number.parseInt(hex.slice(24), 16) : hex;
}

/** Writes 4 bytes, or 16 (IPv4 as mapped). */
export function ipToBytes(ip: Ip, bytes: Uint8Array, at: number, length: number): void {
  if (length === 4) {
    const value = ip as number;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
    return;
  }
  const hex = typeof ip === "number" ? MAPPED + ip.toString(16).padStart(8, "0") : ip;
  for (let i = 0; i < 16; i++) bytes[at + i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
}

export function isAny(ip: Ip): boolean {
  return ip === ANY4 || ip === ANY6;
}
export function isLoopback(ip: Ip): boolean {
  return typeof ip === "number" ? ip >>> 24 === 127 : ip === LOOPBACK6;
}
export function isMulticast(ip: Ip): boolean {
  return typeof ip === "number" ? ip >>> 28 === 14 : ip.startsWith("ff");
}

/** "127.0.0.1", "::1". */
export function formatIp(ip: Ip): string {
  if (typeof ip === "number") return `${ip >>> 24}.${(ip >>> 16) & 255}.${(ip >>> 8) & 255}.${ip & 255}`;
  const groups = [];
  for (let i = 0; i < 32; i += 4) groups.push(Number.parseInt(ip.slice(i, i + 4), 16).toString(16));
  // The longest run of zero groups, of two or more, becomes "::".
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === "0") n++;
    if (n > bestLength) {
      best = i;
      bestLength = n;
    }
  }
  if (best < 0) return groups.join(":");
  return `${groups.slice(0, best).join(":")}::${groups.slice(best + bestLength).join(":")}`;
}
