/**
 * A first-in first-out queue of bytes between two sockets, in pieces taken from a pool: an idle queue holds no memory,
 * a long one grows and shrinks without copying.
 *
 * Invariant: every piece but the last is full or has been read from; `bytes` is the sum of what they hold. The caller
 * bounds how much is put in.
 */
import { EFAULT } from "../abi/errno.ts";
import { persistent } from "../state/registry.ts";
import type { Io } from "../vfs/io.ts";

/** Sizes of pieces; a piece is chosen by what is to go in. */
const SIZES = [4096, 16384, 65536];
/** Free pieces kept per size. */
const POOLED = [64, 32, 16];
const pool: Piece[][] = [[], [], []];

class Piece {
  start = 0;
  end = 0;
  next: Piece | null = null;
  readonly data: Uint8Array;
  constructor(readonly kind: number) {
    this.data = new Uint8Array(SIZES[kind]!);
  }
}

function newPiece(want: number): Piece {
  const kind = want <= 4096 ? 0 : want <= 16384 ? 1 : 2;
  return pool[kind]!.pop() ?? new Piece(kind);
}

function recycle(piece: Piece): void {
  const free = pool[piece.kind]!;
  if (free.length >= POOLED[piece.kind]!) return;
  piece.start = 0;
  piece.end = 0;
  piece.next = null;
  free.push(piece);
}

function recycleAll(first: Piece | null): void {
  for (let piece = first; piece !== null; ) {
    const { next } = piece;
    recycle(piece);
    piece = next;
  }
}

export class ByteQueue {
  bytes = 0;
  private head: Piece | null = null;
  private tail: Piece | null = null;

  /** Takes up to `length` bytes from io. The number taken (short where the writer's memory ends), -EFAULT for none. */
  push(io: Io, length: number): number {
    let moved = 0;
    while (moved < length) {
      let piece = this.tail;
      if (piece === null || piece.end === piece.data.length) {
        piece = newPiece(length - moved);
        if (this.tail === null) this.head = piece;
        else this.tail.next = piece;
        this.tail = piece;
      }
      const want = Math.min(piece.data.length - piece.end, length - moved);
      const n = io.take(piece.data, piece.end, want);
      if (n <= 0) break;
      piece.end += n;
      this.bytes += n;
      moved += n;
      if (n < want) break;
    }
    if (this.bytes === 0) this.clear();
    return moved === 0 && length > 0 ? -EFAULT : moved;
  }

  /** Gives up to `length` bytes, from `offset` on, to io without taking them out. The count, -EFAULT for none. */
  peek(io: Io, offset: number, length: number): number {
    let skip = offset;
    let moved = 0;
    for (let piece = this.head; piece !== null && moved < length; piece = piece.next) {
      const have = piece.end - piece.start;
      if (skip >= have) {
        skip -= have;
        continue;
      }
      const want = Math.min(have - skip, length - moved);
      const n = io.put(piece.data, piece.start + skip, want);
      skip = 0;
      if (n <= 0) break;
      moved += n;
      if (n < want) break;
    }
    return moved === 0 && length > 0 ? -EFAULT : moved;
  }

  /** Drops the first `length` bytes. */
  drop(length: number): void {
    let left = Math.min(length, this.bytes);
    this.bytes -= left;
    while (left > 0) {
      const piece = this.head!;
      const have = piece.end - piece.start;
      if (have > left) {
        piece.start += left;
        return;
      }
      left -= have;
      this.head = piece.next;
      if (this.head === null) this.tail = null;
      recycle(piece);
    }
  }

  /** Drops the last `length` bytes: what was pushed in vain. */
  dropLast(length: number): void {
    let keep = this.bytes - length;
    this.bytes = keep;
    if (keep === 0) {
      this.clear();
      return;
    }
    for (let piece = this.head; piece !== null; piece = piece.next) {
      const have = piece.end - piece.start;
      if (have < keep) {
        keep -= have;
        continue;
      }
      piece.end = piece.start + keep;
      const rest = piece.next;
      piece.next = null;
      this.tail = piece;
      recycleAll(rest);
      return;
    }
  }

  clear(): void {
    recycleAll(this.head);
    this.head = null;
    this.tail = null;
    this.bytes = 0;
  }
}

persistent("byte-queue", ByteQueue);
persistent("byte-queue-piece", Piece, {
  as: {
    // Only what is in it: the rest may be left over from earlier.
    data: {
      save: (data: Uint8Array, { start, end }: Piece): Uint8Array => data.slice(start, end),
      restore: (bytes: Uint8Array, { kind, start }: Piece): Uint8Array => {
        const data = new Uint8Array(SIZES[kind]!);
        data.set(bytes, start);
        return data;
      },
    },
  },
});
