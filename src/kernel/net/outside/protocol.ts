/**
 * What the sandbox and its network broker say to each other, as bytes: src/native/broker.h is the other end.
 *
 * One message each on a SEQPACKET socket, little-endian. Nothing that comes is trusted: what does not have exactly the form
 * of an answer is null here, and whoever sent it is not listened to any more (outside/broker.ts).
 */
import { AF_INET, AF_INET6, AF_UNSPEC } from "../abi.ts";
import { type Ip, ipFromBytes, ipToBytes } from "../inet/ip.ts";

export const OP_BIND = 1;
export const OP_CONNECT = 2;
export const OP_LISTEN = 3;
export const OP_OPEN = 4;
export const OP_OPTION = 5;
export const OP_NETWORK = 6;
export const OP_DISCONNECT = 7;
export const OP_PING = 8;

/** Flags of a request: options that the socket has before it is bound. */
export const WITH_REUSEADDR = 1;
export const WITH_REUSEPORT = 2;
export const WITH_V6ONLY = 4;
export const WITH_BROADCAST = 8;
export const WITH_FREEBIND = 16;

/** Kinds of answers. */
export const KIND_ANSWER = 0;
export const KIND_ROUTES = 1;
export const KIND_REFUSAL = 2;

/** Flags of an answer: a descriptor comes along; it is the end of a relay, not the socket itself. */
export const HAS_DESCRIPTOR = 1;
export const IS_RELAY = 2;

export const PLACE_SIZE = 24;
const REQUEST_SIZE = 56;
/** The longest option that is set (struct group_source_req). */
export const REQUEST_DATA_MAX = 264;
const ANSWER_SIZE = 48;
const ANSWER_DATA_MAX = 32 << 10;
export const ANSWER_MAX = ANSWER_SIZE + ANSWER_DATA_MAX;
const ERRNO_MAX = 4095;

/** An address with a port, of a socket of `family`: an IPv6 socket's IPv4 addresses are mapped. */
export interface Place {
  readonly family: number;
  readonly ip: Ip;
  readonly port: number;
  /** The device of a link-local address. */
  readonly scope: number;
}

export interface Request {
  readonly op: number;
  readonly family: number;
  /** SOCK_STREAM, SOCK_DGRAM, SOCK_RAW; 0 where it does not matter. */
  readonly type: number;
  readonly protocol: number;
  readonly arg?: number;
  readonly flags?: number;
  readonly place?: Place;
  readonly level?: number;
  readonly name?: number;
  readonly data?: Uint8Array;
}

export interface Answer {
  readonly seq: number;
  /** 0 or -errno. */
  readonly result: number;
  readonly kind: number;
  readonly flags: number;
  /** The socket's own address; null: none. */
  readonly place: Place | null;
  readonly data: Uint8Array;
  /** The descriptor that came along, whoever gets the answer closes it; -1: none. */
  readonly fd: number;
}

export function writePlace(view: DataView, at: number, place: Place): void {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  view.setUint16(at, place.family, true);
  view.setUint16(at + 2, place.port, true);
  view.setUint32(at + 4, place.scope, true);
  bytes.fill(0, at + 8, at + PLACE_SIZE);
  ipToBytes(place.ip, bytes, at + 8, place.family === AF_INET ? 4 : 16);
}

/** null: none is there (family 0); undefined: no place at all. */
export function readPlace(view: DataView, at: number): Place | null | undefined {
  const family = view.getUint16(at, true);
  if (family === AF_UNSPEC) return null;
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const ip = ipFromBytes(bytes, at + 8, family === AF_INET ? 4 : 16);
  return { family, ip, port: view.getUint16(at + 2, true), scope: view.getUint32(at + 4, true) };
}

export function encodeRequest(seq: number, request: Request): Uint8Array {
  const data = request.data ?? new Uint8Array(0);
  if (data.length > REQUEST_DATA_MAX) throw new RangeError(`a request with ${data.length} bytes of data`);
  const bytes = new Uint8Array(REQUEST_SIZE + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, seq, true);
  view.setUint16(4, request.op, true);
  view.setUint16(6, request.family, true);
  view.setUint16(8, request.type, true);
  view.setUint16(10, request.protocol, true);
  view.setInt32(12, request.arg ?? 0, true);
  view.setUint32(16, request.flags ?? 0, true);
  if (request.place !== undefined) writePlace(view, 20, request.place);
  view.setUint16(44, request.level ?? 0, true);
  view.setUint16(46, request.name ?? 0, true);
  view.setUint32(52, data.length, true);
  bytes.set(data, REQUEST_SIZE);
  return bytes;
}

/** The answer in the first `length` bytes, or null when that is none. `fd`: the descriptor that came with it, or -1. */
export function decodeAnswer(bytes: Uint8Array, length: number, fd: number): Answer | null {
  if (length < ANSWER_SIZE || length > ANSWER_MAX || length > bytes.length) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  const seq = view.getUint32(0, true);
  const result = view.getInt32(4, true);
  const kind = view.getUint16(8, true);
  const flags = view.getUint16(10, true);
  const place = readPlace(view, 12);
  if (place === undefined || view.getUint32(44, true) !== length - ANSWER_SIZE) return null;
  if (kind > KIND_REFUSAL || result > 0 || result < -ERRNO_MAX) return null;
  if ((flags & ~(HAS_DESCRIPTOR | IS_RELAY)) !== 0 || flags === IS_RELAY) return null;
  // A descriptor that was announced may be missing: there was no number for it here.
  if (fd >= 0 && (flags & HAS_DESCRIPTOR) === 0) return null;
  // Only what was asked for has a result and a descriptor.
  if (kind === KIND_ANSWER ? seq === 0 : flags !== 0) return null;
  return { seq, result, kind, flags, place, data: bytes.slice(ANSWER_SIZE, length), fd };
}

// What the broker's end does: for doubles of it in tests.

export function decodeRequest(
  bytes: Uint8Array,
): (Required<Omit<Request, "place">> & { seq: number; place: Place | null }) | null {
  if (bytes.length < REQUEST_SIZE) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const place = readPlace(view, 20);
  if (place === undefined || view.getUint32(52, true) !== bytes.length - REQUEST_SIZE) return null;
  return {
    seq: view.getUint32(0, true),
    op: view.getUint16(4, true),
    family: view.getUint16(6, true),
    type: view.getUint16(8, true),
    protocol: view.getUint16(10, true),
    arg: view.getInt32(12, true),
    flags: view.getUint32(16, true),
    place,
    level: view.getUint16(44, true),
    name: view.getUint16(46, true),
    data: bytes.slice(REQUEST_SIZE),
  };
}

export function encodeAnswer(answer: Partial<Omit<Answer, "fd">>): Uint8Array {
  const data = answer.data ?? new Uint8Array(0);
  const bytes = new Uint8Array(ANSWER_SIZE + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, answer.seq ?? 0, true);
  view.setInt32(4, answer.result ?? 0, true);
  view.setUint16(8, answer.kind ?? KIND_ANSWER, true);
  view.setUint16(10, answer.flags ?? 0, true);
  if (answer.place !== undefined && answer.place !== null) writePlace(view, 12, answer.place);
  view.setUint32(44, data.length, true);
  bytes.set(data, ANSWER_SIZE);
  return bytes;
}
