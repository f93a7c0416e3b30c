/** Host memory files that are much longer than what is in them, in a saved kernel: piece by piece. */
import { dataExtents } from "../../native/extents.ts";
import { lseek, pread } from "../../native/host.ts";
import type { HostSink, Stored } from "./host.ts";
import { checked, copyBytes } from "./memory-file.ts";

const SEEK_END = 2;
const PIECE = 1 << 20;

/** Bytes of a file: where they are in it, and where in the image. */
export interface Piece extends Stored {
  readonly offset: number;
}

export function storePieces(fd: number, sink: HostSink): Piece[] {
  const pieces: Piece[] = [];
  const buffer = new Uint8Array(PIECE);
  for (const [data, end] of dataExtents(fd, 0, checked(lseek(fd, 0, SEEK_END))))
    for (let at = data; at < end; ) {
      const n = checked(pread(fd, buffer, Math.min(PIECE, end - at), at));
      if (n === 0) break;
      pieces.push({ offset: at, ...sink.storeBytes(buffer.subarray(0, n)) });
      at += n;
    }
  return pieces;
}

export function loadPieces(fd: number, pieces: readonly Piece[], pages: number): void {
  const buffer = new Uint8Array(PIECE);
  for (const { offset, at, length } of pieces) copyBytes(pages, at, fd, offset, length, buffer);
}
