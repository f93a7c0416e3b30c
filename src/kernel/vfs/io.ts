/**
 * Where a read puts its bytes and a write takes them from: guest memory (an iovec list) or a kernel buffer.
 *
 * Invariant: `remaining` only shrinks; a short `put`/`take` means that guest memory ended (EFAULT) there.
 */
import { EFAULT, EINVAL } from "../abi/errno.ts";
import type { Mm } from "../mm/mm.ts";
import { perCall } from "../state/registry.ts";

export interface Io {
  /** Bytes still wanted (read) or still to be had (write). */
  remaining: number;
  /** Moves up to `length` bytes of src to the reader; the count moved, or -EFAULT when none could be. */
  put(src: Uint8Array, offset: number, length: number): number;
  /** Moves up to `length` bytes of the writer to dst; the count moved, or -EFAULT when none could be. */
  take(dst: Uint8Array, offset: number, length: number): number;
  /**
   * How many of the next `length` bytes can be put (write access) or taken: lets a consuming source (pipe, socket) find
   * a bad pointer before it gives bytes away.
   */
  usable(length: number, forPut: boolean): number;
  /** Leaves out the next `length` bytes: an earlier run of the same call has moved them. */
  skip(length: number): void;
  /** Gives back the last `length` bytes: the receiver took them and could not use them. */
  rewind(length: number): void;
  /** Ends the transfer at most `length` bytes from here. */
  limit(length: number): void;
}

/** The most that one call moves (MAX_RW_COUNT). */
export const MAX_RW_COUNT = 0x7ffff000;
/** Entries of an iovec array, at most. */
export const IOV_MAX = 1024;
/** User addresses end here (TASK_SIZE_MAX). */
const USER_END = 0x7ffffffff000;

/** access_ok: could this range be user memory at all? */
export function userRange(addr: number, length: number): boolean {
  return addr + length <= USER_END;
}

/** Reads an iovec array of the guest; its total is cut to MAX_RW_COUNT. EINVAL, EFAULT as import_iovec has them. */
export function importIovec(mm: Mm, addr: number, count: number): UserIo | number {
  if (count < 0 || count > IOV_MAX) return -EINVAL;
  if (count === 0) return new UserIo(mm, []);
  const view = iovecView;
  if (mm.readBytes(addr, iovecBytes, count * 16) < 0) return -EFAULT;
  const segments: number[] = new Array(count * 2);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const at = view.getUint32(i * 16, true) + view.getUint32(i * 16 + 4, true) * 4294967296;
    let length = view.getUint32(i * 16 + 8, true) + view.getUint32(i * 16 + 12, true) * 4294967296;
    if (length >= 0x8000000000000000) return -EINVAL;
    if (!userRange(at, length)) return -EFAULT;
    if (length > MAX_RW_COUNT - total) length = MAX_RW_COUNT - total;
    total += length;
    segments[2 * i] = at;
    segments[2 * i + 1] = length;
  }
  return new UserIo(mm, segments);
}

const iovecBytes = new Uint8Array(IOV_MAX * 16);
const iovecView = new DataView(iovecBytes.buffer);

/** Guest memory: address and length pairs. A list where a step fails moves what lies before it. */
export class UserIo implements Io {
  remaining = 0;
  private segment = 0;
  private done = 0;

  constructor(
    readonly mm: Mm,
    /** [address, length, address, length, …] */
    readonly segments: number[],
  ) {
    for (let i = 1; i < segments.length; i += 2) this.remaining += segments[i]!;
  }

  static single(mm: Mm, addr: number, length: number): UserIo {
    return new UserIo(mm, [addr, length]);
  }

  put(src: Uint8Array, offset: number, length: number): number {
    return this.move(src, offset, length, true);
  }
  take(dst: Uint8Array, offset: number, length: number): number {
    return this.move(dst, offset, length, false);
  }

  private move(buffer: Uint8Array, offset: number, length: number, put: boolean): number {
    let moved = 0;
    if (length > this.remaining) length = this.remaining;
    while (moved < length && this.segment < this.segments.length) {
      const left = this.segments[this.segment + 1]! - this.done;
      if (left === 0) {
        this.segment += 2;
        this.done = 0;
        continue;
      }
      const want = Math.min(left, length - moved);
      const at = this.segments[this.segment]! + this.done;
      const n = put
        ? this.mm.copyOut(at, buffer, offset + moved, want)
        : this.mm.copyIn(at, buffer, offset + moved, want);
      if (n <= 0) break;
      moved += n;
      this.done += n;
      this.remaining -= n;
      if (n < want) break;
    }
    return moved === 0 && length > 0 ? -EFAULT : moved;
  }

  skip(length: number): void {
    let left = Math.min(length, this.remaining);
    this.remaining -= left;
    while (left > 0) {
      const step = Math.min(left, this.segments[this.segment + 1]! - this.done);
      left -= step;
      this.done += step;
      if (this.done === this.segments[this.segment + 1]!) {
        this.segment += 2;
        this.done = 0;
      }
    }
  }

  rewind(length: number): void {
    this.remaining += length;
    let left = length;
    while (left > 0) {
      if (this.done === 0) {
        this.segment -= 2;
        this.done = this.segments[this.segment + 1]!;
        continue;
      }
      const step = Math.min(left, this.done);
      this.done -= step;
      left -= step;
    }
  }

  limit(length: number): void {
    if (length < this.remaining) this.remaining = length;
  }

  usable(length: number, forPut: boolean): number {
    let total = 0;
    let done = this.done;
    for (let i = this.segment; i < this.segments.length && total < length; i += 2) {
      const want = Math.min(this.segments[i + 1]! - done, length - total);
      const n = this.mm.accessible(this.segments[i]! + done, want, forPut);
      total += n;
      if (n < want) break;
      done = 0;
    }
    return total;
  }
}

/** A kernel buffer. */
export class KernelIo implements Io {
  remaining: number;
  private at: number;
  constructor(
    readonly buffer: Uint8Array,
    offset = 0,
    length = buffer.length - offset,
  ) {
    this.at = offset;
    this.remaining = length;
  }
  put(src: Uint8Array, offset: number, length: number): number {
    const n = Math.min(length, this.remaining);
    this.buffer.set(src.subarray(offset, offset + n), this.at);
    this.at += n;
    this.remaining -= n;
    return n;
  }
  take(dst: Uint8Array, offset: number, length: number): number {
    const n = Math.min(length, this.remaining);
    dst.set(this.buffer.subarray(this.at, this.at + n), offset);
    this.at += n;
    this.remaining -= n;
    return n;
  }
  usable(length: number): number {
    return Math.min(length, this.remaining);
  }
  skip(length: number): void {
    const n = Math.min(length, this.remaining);
    this.at += n;
    this.remaining -= n;
  }
  rewind(length: number): void {
    this.at -= length;
    this.remaining += length;
  }
  limit(length: number): void {
    if (length < this.remaining) this.remaining = length;
  }
  /** Where the next byte goes to or comes from. */
  get position(): number {
    return this.at;
  }
}

perCall(UserIo);
perCall(KernelIo);
