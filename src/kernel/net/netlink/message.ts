/**
 * Netlink messages as bytes: headers and attributes.
 *
 * Source: netlink(7), rtnetlink(7). All integers are in host order; everything is aligned to four bytes.
 */
import { perCall } from "../../state/registry.ts";
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLM_F_REQUEST = 1;
export const NLM_F_MULTI = 2;
export const NLM_F_ACK = 4;
export const NLM_F_DUMP = 0x300;
/** Of a message in a dump: not everything was wanted. */
export const NLM_F_DUMP_FILTERED = 0x20;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
export const HEADER_SIZE = 16;

export const align4 = (n: number): number => (n + 3) & ~3;

/** Builds one datagram of one or more messages. */
export class MessageWriter {
  private bytes = new Uint8Array(1024);
  private view = new DataView(this.bytes.buffer);
  private at = 0;
  private start = 0;

  get length(): number {
    return this.at;
  }

  /** Beginnings of the messages that are in it. */
  private starts: number[] = [];

  private reserve(more: number): void {
    if (this.at + more <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.at + more));
    grown.set(this.bytes);
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }

  begin(type: number, flags: number, seq: number, pid: number): this {
    this.reserve(HEADER_SIZE);
    this.start = this.at;
    this.starts.push(this.at);
    this.view.setUint16(this.at + 4, type, true);
    this.view.setUint16(this.at + 6, flags, true);
    this.view.setUint32(this.at + 8, seq, true);
    this.view.setUint32(this.at + 12, pid, true);
    this.at += HEADER_SIZE;
    return this;
  }
  end(): this {
    this.view.setUint32(this.start, this.at - this.start, true);
    return this.pad();
  }

  addFlags(flags: number): this {
    this.view.setUint16(this.start + 6, this.view.getUint16(this.start + 6, true) | flags, true);
    return this;
  }
  /** Up to the next multiple of four. */
  pad(): this {
    const padded = align4(this.at);
    this.reserve(padded - this.at);
    this.bytes.fill(0, this.at, padded);
    this.at = padded;
    return this;
  }

  u8(...values: number[]): this {
    this.reserve(values.length);
    for (const value of values) this.bytes[this.at++] = value;
    return this;
  }
  u16(value: number): this {
    this.reserve(2);
    this.view.setUint16(this.at, value, true);
    this.at += 2;
    return this;
  }
  u32(...values: number[]): this {
    this.reserve(4 * values.length);
    for (const value of values) {
      this.view.setUint32(this.at, value >>> 0, true);
      this.at += 4;
    }
    return this;
  }
  raw(data: Uint8Array): this {
    this.reserve(data.length);
    this.bytes.set(data, this.at);
    this.at += data.length;
    return this;
  }
  attribute(type: number, data: Uint8Array): this {
    this.u16(4 + data.length)
      .u16(type)
      .raw(data);
    return this.pad();
  }
  attribute32(type: number, value: number): this {
    return this.attribute(type, new Uint8Array(Uint32Array.of(value).buffer));
  }
  attribute8(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value));
  }
  attributeText(type: number, text: string): this {
    return this.attribute(type, Buffer.from(`${text}\0`, "latin1"));
  }

  /** An attribute that consists of attributes, which `fill` writes. */
  nested(type: number, fill: () => void): this {
    const start = this.at;
    this.u16(0).u16(type);
    fill();
    this.view.setUint16(start, this.at - start, true);
    return this;
  }

  /** A structure that begins with its length in 16 bits, aligned like an attribute (struct rtnexthop). */
  sized(fill: () => void): this {
    const start = this.at;
    this.u16(0);
    fill();
    this.view.setUint16(start, this.at - start, true);
    return this.pad();
  }

  /** Takes out as many of the whole messages as have room in `size` bytes, one at least. */
  takeWhole(size: number): Uint8Array {
    const ends = [...this.starts.slice(1), this.at];
    const count = Math.max(1, ends.filter((end) => end <= size).length);
    const end = ends[count - 1] ?? 0;
    const part = this.bytes.slice(0, end);
    this.bytes.copyWithin(0, end, this.at);
    this.starts = this.starts.slice(count).map((start) => start - end);
    this.at -= end;
    this.start -= end;
    return part;
  }

  finish(): Uint8Array {
    return this.bytes.slice(0, this.at);
  }
}

/** Attributes from `at` to `end`, by type (without its flag bits). */
export function readAttributes(bytes: Uint8Array, at: number, end: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  while (at + 4 <= end) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > end) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += align4(length);
  }
  return found;
}

perCall(MessageWriter);
