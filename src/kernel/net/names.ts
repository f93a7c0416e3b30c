/**
 * What names the guests of a container have had resolved, as far as replies of name servers passed through its sockets.
 *
 * These are hints for people and logs: a guest that has a name server of its own answer it can put any name here. A rule
 * that must hold looks at addresses.
 *
 * Source: RFC 1035 (messages, compression of names), RFC 3596 (AAAA). Bounds: ADDRESSES_MAX, NAMES_MAX, RECORDS_MAX.
 */
import { perCall } from "../state/registry.ts";
import { type Ip, ipFromBytes } from "./inet/ip.ts";

/** Addresses of one container; those that were heard of least lately go first. */
const ADDRESSES_MAX = 1024;
/** Names of one address, the latest. */
const NAMES_MAX = 8;
/** Records of one reply that are looked at. */
const RECORDS_MAX = 64;
const NAME_MAX = 253;
const HEADER = 12;
const TYPE_A = 1;
const TYPE_AAAA = 28;
const CLASS_IN = 1;

/** A reply: the name that was asked for, and the addresses that it has; null when it is none, or tells of none. */
export function readReply(bytes: Uint8Array): { name: string; addresses: Ip[] } | null {
  if (bytes.length < HEADER) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const flags = view.getUint16(2);
  // A reply (QR) to a standard query without an error, about one question.
  if ((flags & 0x8000) === 0 || (flags & 0x780f) !== 0 || view.getUint16(4) !== 1) return null;
  const name = readName(bytes, HEADER);
  if (name === null) return null;
  let at = skipName(bytes, HEADER) + 4;
  const addresses: Ip[] = [];
  for (let left = Math.min(view.getUint16(6), RECORDS_MAX); left > 0; left--) {
    at = skipName(bytes, at);
    if (at + 10 > bytes.length) break;
    const type = view.getUint16(at);
    const inInternet = view.getUint16(at + 2) === CLASS_IN;
    const length = view.getUint16(at + 8);
    at += 10;
    if (at + length > bytes.length) break;
    // Whoever the record belongs to: aliases lead from the name that was asked for to it.
    if (inInternet && type === TYPE_A && length === 4) addresses.push(ipFromBytes(bytes, at, 4));
    else if (inInternet && type === TYPE_AAAA && length === 16) addresses.push(ipFromBytes(bytes, at, 16));
    at += length;
  }
  return addresses.length === 0 ? null : { name, addresses };
}

/** A name that a host can have, in lower case; null for others. Questions are not compressed. */
function readName(bytes: Uint8Array, at: number): string | null {
  const labels: string[] = [];
  let length = 0;
  for (;;) {
    const size = bytes[at++];
    if (size === undefined || size > 63) return null;
    if (size === 0) break;
    if (at + size > bytes.length) return null;
    length += size + 1;
    const label = Buffer.from(bytes.buffer, bytes.byteOffset + at, size)
      .toString("latin1")
      .toLowerCase();
    if (length > NAME_MAX + 1 || !/^[a-z0-9_-]+$/.test(label)) return null;
    labels.push(label);
    at += size;
  }
  return labels.length === 0 ? null : labels.join(".");
}

/** Where what follows a name begins; beyond the end when that is nowhere. */
function skipName(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const size = bytes[at];
    if (size === undefined) return bytes.length + 1;
    if (size >= 0xc0) return at + 2;
    if (size > 63) return bytes.length + 1;
    at += size + 1;
    if (size === 0) return at;
  }
}

export class ResolvedNames {
  /** In the order in which they were heard of last. */
  private readonly names = new Map<Ip, string[]>();

  learn(bytes: Uint8Array): void {
    const reply = readReply(bytes);
    if (reply === null) return;
    for (const ip of reply.addresses) {
      const before = this.names.get(ip) ?? [];
      this.names.delete(ip);
      this.names.set(ip, [reply.name, ...before.filter((name) => name !== reply.name)].slice(0, NAMES_MAX));
    }
    for (const ip of this.names.keys()) {
      if (this.names.size <= ADDRESSES_MAX) break;
      this.names.delete(ip);
    }
  }

  /** The latest first. */
  of(ip: Ip): readonly string[] {
    return this.names.get(ip) ?? [];
  }
}

// Learned anew after a restore.
perCall(ResolvedNames);
