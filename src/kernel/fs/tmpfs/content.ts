/**
 * Bytes of a regular file in memory: sparse chunks in JavaScript memory, or a host memory file once it is mapped.
 *
 * Invariant: bytes of a chunk beyond the file's size are zero, so that growing again shows zeros. A page counts as
 * allocated (a bit in its chunk's mask, a charge to the file system) from its first write on. A promoted file is charged
 * for its whole size, since guests touch its pages without our seeing it.
 */

import { closeFd, fallocate, ftruncate, lseek, memfdCreate, pwrite } from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { EFBIG, ENOSPC, ENXIO } from "../../abi/errno.ts";
import { readHost, writeHost } from "../../vfs/host-io.ts";
import type { Io } from "../../vfs/io.ts";

export const PAGE = 4096;
const CHUNK = 65536;
const CHUNK_PAGES = CHUNK / PAGE;
const ALL_PAGES = (1 << CHUNK_PAGES) - 1;
/** Largest file. */
export const MAX_FILE_SIZE = 2 ** 46;

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/** Grants pages; a file system with a size limit. */
export interface PageBudget {
  /** Takes up to `pages`; how many were granted. */
  charge(pages: number): number;
  refund(pages: number): void;
}

class Chunk {
  /** At most CHUNK bytes; what is missing at the end is zero. */
  bytes = EMPTY;
  /** Allocated pages. */
  mask = 0;
}
const EMPTY = new Uint8Array(0);
const ZEROS = new Uint8Array(CHUNK);

const MEMFD_NAME = Buffer.from("runts\0");

export class MemoryContent implements HostMemory {
  size = 0;
  /** Pages charged. */
  pages = 0;
  /** The host memory file, once promoted. */
  fd = -1;
  private first: Chunk | null = null;
  private rest: Map<number, Chunk> | null = null;

  constructor(private readonly budget: PageBudget) {}

  private chunk(index: number): Chunk | undefined {
    return index === 0 ? (this.first ?? undefined) : this.rest?.get(index);
  }
  private make(index: number): Chunk {
    const chunk = new Chunk();
    if (index === 0) this.first = chunk;
    else {
      this.rest ??= new Map();
      this.rest.set(index, chunk);
    }
    return chunk;
  }
  private *chunks(): Generator<[number, Chunk]> {
    if (this.first !== null) yield [0, this.first];
    if (this.rest !== null) yield* this.rest;
  }

  read(io: Io, offset: number): number {
    const length = Math.min(io.remaining, this.size - offset);
    if (length <= 0) return 0;
    if (this.fd >= 0) return readHost(this.fd, io, offset, length);
    let done = 0;
    while (done < length) {
      const at = offset + done;
      const within = at % CHUNK;
      const chunk = this.chunk((at - within) / CHUNK);
      let want = Math.min(length - done, CHUNK - within);
      let n: number;
      if (chunk !== undefined && chunk.bytes.length > within) {
        want = Math.min(want, chunk.bytes.length - within);
        n = io.put(chunk.bytes, within, want);
      } else n = io.put(ZEROS, 0, want);
      if (n < 0) return done > 0 ? done : n;
      done += n;
      if (n < want) break;
    }
    return done;
  }

  write(io: Io, offset: number): number {
    if (offset >= MAX_FILE_SIZE) return -EFBIG;
    let length = Math.min(io.remaining, MAX_FILE_SIZE - offset);
    if (length === 0) return 0;
    if (this.fd >= 0) {
      length = this.chargeTo(offset + length) - offset;
      if (length <= 0) return -ENOSPC;
      const n = writeHost(this.fd, io, offset, length);
      if (n > 0) this.size = Math.max(this.size, offset + n);
      return n;
    }
    let done = 0;
    while (done < length) {
      const at = offset + done;
      const within = at % CHUNK;
      const index = (at - within) / CHUNK;
      const chunk = this.chunk(index) ?? this.make(index);
      const want = this.allocate(chunk, index, within, Math.min(length - done, CHUNK - within));
      if (want === 0) return done > 0 ? done : -ENOSPC;
      const n = io.take(chunk.bytes, within, want);
      if (n < 0) return done > 0 ? done : n;
      done += n;
      if (at + n > this.size) this.size = at + n;
      if (n < want) break;
    }
    return done;
  }

  /** Makes [within, within+length) of a chunk writable; how many bytes of it the budget allows. */
  private allocate(chunk: Chunk, index: number, within: number, length: number): number {
    const end = within + length;
    const granted = this.chargePages(chunk, within, end);
    if (granted <= within) return 0;
    if (chunk.bytes.length < granted) {
      // Small files get small buffers; everything else whole chunks.
      let capacity = CHUNK;
      if (index === 0 && granted <= CHUNK / 2) for (capacity = 256; capacity < granted; ) capacity *= 2;
      const bytes = new Uint8Array(capacity);
      bytes.set(chunk.bytes);
      chunk.bytes = bytes;
    }
    return granted - within;
  }

  /** Charges the unallocated pages of [from, to); up to where that went well. */
  private chargePages(chunk: Chunk, from: number, to: number): number {
    if (chunk.mask === ALL_PAGES) return to;
    const last = Math.floor((to - 1) / PAGE);
    for (let page = Math.floor(from / PAGE); page <= last; page++) {
      if (chunk.mask & (1 << page)) continue;
      if (this.budget.charge(1) === 0) return page * PAGE;
      chunk.mask |= 1 << page;
      this.pages++;
    }
    return to;
  }

  /** Promoted files: charges for a size; the size that the budget allows. */
  private chargeTo(size: number): number {
    const pages = Math.ceil(size / PAGE);
    if (pages <= this.pages) return size;
    const granted = this.budget.charge(pages - this.pages);
    this.pages += granted;
    return granted > 0 && this.pages === pages ? size : Math.min(size, this.pages * PAGE);
  }
  private refundTo(pages: number): void {
    if (pages >= this.pages) return;
    this.budget.refund(this.pages - pages);
    this.pages = pages;
  }

  truncate(size: number): number {
    if (size > MAX_FILE_SIZE) return -EFBIG;
    if (this.fd >= 0) {
      if (size > this.size && this.chargeTo(size) < size) return -ENOSPC;
      const result = ftruncate(this.fd, size);
      if (result < 0) return result;
      this.size = size;
      this.refundTo(Math.ceil(size / PAGE));
      return 0;
    }
    // Even without a change of size: what fallocate reserved behind the end goes.
    if (size <= this.size) this.zero(size, this.size, true);
    this.size = size;
    return 0;
  }

  /** Zeroes a range; whole pages of it (with `tail`, everything behind it too) are given back. */
  private zero(from: number, to: number, tail: boolean): void {
    const gone: number[] = [];
    for (const [index, chunk] of this.chunks()) {
      const start = index * CHUNK;
      if (start + CHUNK <= from || (!tail && start >= to)) continue;
      const a = Math.max(0, from - start);
      const b = tail ? CHUNK : Math.min(CHUNK, to - start);
      if (a < chunk.bytes.length) chunk.bytes.fill(0, a, b);
      const firstPage = Math.ceil(a / PAGE);
      const endPage = Math.floor(b / PAGE);
      let freed = 0;
      for (let page = firstPage; page < endPage; page++)
        if (chunk.mask & (1 << page)) {
          chunk.mask &= ~(1 << page);
          freed++;
        }
      this.pages -= freed;
      if (freed > 0) this.budget.refund(freed);
      if (chunk.mask === 0) gone.push(index);
    }
    for (const index of gone) {
      if (index === 0) this.first = null;
      else this.rest!.delete(index);
    }
  }

  fallocate(mode: number, offset: number, length: number): number {
    const end = offset + length;
    if (end > MAX_FILE_SIZE) return -EFBIG;
    if (this.fd >= 0) {
      if ((mode & FALLOC_FL_PUNCH_HOLE) === 0 && this.chargeTo(end) < end) return -ENOSPC;
      const result = fallocate(this.fd, mode, offset, length);
      if (result < 0) return result;
    } else if (mode & FALLOC_FL_PUNCH_HOLE) {
      this.zero(offset, end, false);
    } else {
      for (let at = offset; at < end; ) {
        const within = at % CHUNK;
        const index = (at - within) / CHUNK;
        const want = Math.min(CHUNK, within + end - at);
        const chunk = this.chunk(index) ?? this.make(index);
        if (this.chargePages(chunk, within, want) < want) return -ENOSPC;
        at += want - within;
      }
    }
    if ((mode & (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) === 0 && end > this.size) this.size = end;
    return 0;
  }

  /** SEEK_DATA and SEEK_HOLE. */
  seek(offset: number, hole: boolean): number {
    if (offset < 0 || offset >= this.size) return -ENXIO;
    if (this.fd >= 0) return lseek(this.fd, offset, hole ? 4 : 3);
    if (this.isData(offset) !== hole) return offset;
    let next = this.size;
    if (hole) {
      let at = offset;
      while (at < this.size && this.isData(at)) at = (Math.floor(at / PAGE) + 1) * PAGE;
      next = Math.min(at, this.size);
      return next;
    }
    for (const [index, chunk] of this.chunks()) {
      const start = index * CHUNK;
      if (start + CHUNK <= offset || start >= next) continue;
      for (let page = 0; page < CHUNK_PAGES; page++) {
        const at = start + page * PAGE;
        if (at > offset && at < next && chunk.mask & (1 << page)) next = at;
      }
    }
    return next >= this.size ? -ENXIO : next;
  }
  private isData(offset: number): boolean {
    const within = offset % CHUNK;
    const chunk = this.chunk((offset - within) / CHUNK);
    return chunk !== undefined && (chunk.mask & (1 << Math.floor(within / PAGE))) !== 0;
  }

  /** Moves the bytes to a host memory file, for mmap. 0 or -errno. */
  promote(): number {
    if (this.fd >= 0) return 0;
    const fd = memfdCreate(MEMFD_NAME, 1);
    if (fd < 0) return fd;
    let result = ftruncate(fd, this.size);
    for (const [index, chunk] of this.chunks()) {
      // Only allocated pages, so that holes stay holes.
      const end = Math.min(chunk.bytes.length, this.size - index * CHUNK);
      for (let at = 0; at < end && result >= 0; ) {
        let to = at;
        while (to < end && chunk.mask & (1 << (to / PAGE))) to = Math.min(end, to + PAGE);
        if (to > at) {
          const wrote = pwrite(fd, chunk.bytes.subarray(at, to), to - at, index * CHUNK + at);
          if (wrote < to - at) result = wrote < 0 ? wrote : -ENOSPC;
          at = to;
        } else at += PAGE;
      }
    }
    const pages = Math.ceil(this.size / PAGE);
    if (result >= 0 && pages > this.pages) {
      const granted = this.budget.charge(pages - this.pages);
      this.pages += granted;
      if (this.pages < pages) result = -ENOSPC;
    }
    if (result < 0) {
      closeFd(fd);
      return result;
    }
    this.fd = fd;
    this.first = null;
    this.rest = null;
    return 0;
  }

  /** Nobody can reach it any more. */
  free(): void {
    this.budget.refund(this.pages);
    this.pages = 0;
    this.size = 0;
    this.first = null;
    this.rest = null;
    if (this.fd >= 0) closeFd(this.fd);
    this.fd = -1;
  }
}
