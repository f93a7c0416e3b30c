/**
 * Bytes between host files and guests: through one buffer, straight from the host's page cache to guest memory.
 *
 * Invariant: nothing in the buffer survives a call.
 */

import { pread, pwrite } from "../../native/host.ts";
import { addressOf } from "../../native/library.ts";
import type { Io } from "./io.ts";

const SCRATCH_SIZE = 1 << 20;
let scratchBytes: Uint8Array | null = null;
let scratchAddress = 0;
function makeScratch(): Uint8Array {
  scratchBytes = new Uint8Array(SCRATCH_SIZE);
  scratchAddress = addressOf(scratchBytes);
  return scratchBytes;
}

/** Moves host file bytes to io; the count, or -errno. */
export function readHost(fd: number, io: Io, offset: number, length: number): number {
  const scratch = scratchBytes ?? makeScratch();
  let done = 0;
  while (done < length) {
    const want = Math.min(length - done, SCRATCH_SIZE);
    const n = pread(fd, scratchAddress, want, offset + done);
    if (n <= 0) return done > 0 ? done : n;
    const put = io.put(scratch, 0, n);
    if (put < 0) return done > 0 ? done : put;
    done += put;
    if (put < n || n < want) break;
  }
  return done;
}

/** Moves bytes of io to a host file; the count, or -errno. */
export function writeHost(fd: number, io: Io, offset: number, length: number): number {
  const scratch = scratchBytes ?? makeScratch();
  let done = 0;
  while (done < length) {
    const want = Math.min(length - done, SCRATCH_SIZE);
    const got = io.take(scratch, 0, want);
    if (got < 0) return done > 0 ? done : got;
    const n = pwrite(fd, scratchAddress, got, offset + done);
    if (n < 0) return done > 0 ? done : n;
    done += n;
    if (n < want) break;
  }
  return done;
}
