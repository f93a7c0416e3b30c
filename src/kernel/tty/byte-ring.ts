/** A bounded queue of bytes: what is on its way between the two sides of a pseudo terminal. Grows up to its limit. */

import { persistent } from "../state/registry.ts";
import type { Io } from "../vfs/io.ts";

export class ByteRing {
  private buffer = new Uint8Array(1024);
  private head = 0;
  length = 0;

  constructor(readonly limit: number) {}

  get room(): number {
    return this.limit - this.length;
  }

  /** Adds a byte; false when it is full. */
  push(byte: number): boolean {
    if (this.length >= this.limit) return false;
    if (this.length === this.buffer.length) this.grow();
    this.buffer[(this.head + this.length) & (this.buffer.length - 1)] = byte;
    this.length++;
    return true;
  }

  /** The byte that comes next; -1 when there is none. */
  shift(): number {
    if (this.length === 0) return -1;
    const byte = this.buffer[this.head]!;
    this.head = (this.head + 1) & (this.buffer.length - 1);
    this.length--;
    return byte;
  }

  /** Moves bytes to a reader; the count, or -EFAULT when none could be moved. */
  moveTo(io: Io): number {
    let moved = 0;
    while (this.length > 0 && io.remaining > 0) {
      const run = Math.min(this.length, this.buffer.length - this.head, io.remaining);
      const n = io.put(this.buffer, this.head, run);
      if (n < 0) return moved > 0 ? moved : n;
      this.head = (this.head + n) & (this.buffer.length - 1);
      this.length -= n;
      moved += n;
      if (n < run) break;
    }
    return moved;
  }

  /** Drops everything but the first `keep` bytes. */
  truncate(keep: number): void {
    this.length = Math.min(this.length, keep);
  }

  private grow(): void {
    const bigger = new Uint8Array(this.buffer.length * 2);
    for (let i = 0; i < this.length; i++) bigger[i] = this.buffer[(this.head + i) & (this.buffer.length - 1)]!;
    this.buffer = bigger;
    this.head = 0;
  }
}

persistent("byte-ring", ByteRing);
