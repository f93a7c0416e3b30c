/**
 * Where a read puts its bytes and a write takes them from: guest memory (an iovec list) or a kernel buffer.
 *
 * Invariant: `remaining` only shrinks; a short `put`/`take` means that guest memory ended (EFAULT) there.
 */
import { EFAULT } from "../abi/errno.ts";
import type { Mm } from "../mm/mm.ts";

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
}

/** Guest memory: address and length pairs. */
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
}
