/**
 * Bytes of a regular file in memory: sparse chunks in JavaScript memory, or a host memory file once it is mapped.
 *
 * Invariant: bytes of a chunk beyond the file's size are zero, so that growing again shows zeros. A page counts as
 * allocated (a bit in its chunk's mask, a charge to the file system) from its first write on. A promoted file is charged
 * for its whole size, since guests touch its pages without our seeing it.
 */

import { giveShareBack, guestMemfd, takeShare } from "../../../native/guest-descriptors.ts";
import { closeFd, fallocate, fcntl, ftruncate, lseek, pread, pwrite } from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { EFBIG, ENOSPC, ENXIO, errnoName } from "../../abi/errno.ts";
import type { Slice } from "../../slice.ts";
import type { HostSink, Stored } from "../../state/host.ts";
import { loadMemoryFile } from "../../state/memory-file.ts";
import { perCall, persistent } from "../../state/registry.ts";
import { readHost, writeHost } from "../../vfs/host-io.ts";
import type { Io } from "../../vfs/io.ts";
import { ReadOnlyTwin } from "../../vfs/read-only-twin.ts";

export const PAGE = 4096;
const CHUNK = 65536;
const CHUNK_PAGES = CHUNK / PAGE;
const ALL_PAGES = (1 << CHUNK_PAGES) - 1;
/** Largest file. */
export const MAX_FILE_SIZE = 2 ** 46;

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_WRITE = 8;
const F_SEAL_FUTURE_WRITE = 16;
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
  private twin: ReadOnlyTwin | null = null;
  /** The user whose share the host memory file is of. */
  private uid = 0;
  /** A promotion under way: the host memory file, and the chunks that are not in it as they are here. */
  private moving: { fd: number; todo: Set<number> } | null = null;
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

  get readFd(): number {
    this.twin ??= new ReadOnlyTwin();
    return this.twin.of(this.fd);
  }

  /** Seals of a promoted file hold for the host as well: whoever still has a descriptor for writing. 0 or -errno. */
  seal(seals: number): number {
    const hold = seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
    return this.fd < 0 || hold === 0 ? 0 : Math.min(0, fcntl(this.fd, F_ADD_SEALS, hold));
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
      if (this.moving !== null) this.moving.todo.add(index);
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
    if (chunk.mask === 0 && from === 0 && to === CHUNK) {
      const granted = this.budget.charge(CHUNK_PAGES);
      this.pages += granted;
      chunk.mask = granted === CHUNK_PAGES ? ALL_PAGES : (1 << granted) - 1;
      return granted * PAGE;
    }
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
    this.stopMoving();
    const gone: number[] = [];
    for (const [index, chunk] of this.chunks()) {
      const start = index * CHUNK;
      if (start + CHUNK <= from || (!tail && start >= to)) continue;
      const a = Math.max(0, from - start);
      const b = tail ? CHUNK : Math.min(CHUNK, to - start);
      const whole = a === 0 && b === CHUNK;
      if (!whole && a < chunk.bytes.length) chunk.bytes.fill(0, a, b);
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
      if (whole || chunk.mask === 0) gone.push(index);
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

  /** Moves the bytes to a host memory file, for mmap, of the share of user `uid`. 0 or -errno. */
  promote(uid: number): number {
    return this.promoteSome(uid, null);
  }
  /** The same, as far as a slice goes: 0, -errno, or 1 when there is more to do. */
  promoteSome(uid: number, slice: Slice | null): number {
    if (this.fd >= 0) return 0;
    if (this.moving === null) {
      const shared = takeShare(uid);
      if (shared < 0) return shared;
      const fd = guestMemfd(MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
      if (fd < 0) {
        giveShareBack(uid);
        return fd;
      }
      this.uid = uid;
      this.moving = { fd, todo: new Set() };
      for (const [index] of this.chunks()) this.moving.todo.add(index);
    }
    const { fd, todo } = this.moving;
    let result = ftruncate(fd, this.size);
    for (const index of todo) {
      if (result < 0) break;
      if (slice?.over === true) return 1;
      todo.delete(index);
      result = this.copyChunk(index, fd);
    }
    const pages = Math.ceil(this.size / PAGE);
    if (result >= 0 && pages > this.pages) {
      const granted = this.budget.charge(pages - this.pages);
      this.pages += granted;
      if (this.pages < pages) result = -ENOSPC;
    }
    if (result < 0) {
      this.stopMoving();
      return result;
    }
    this.moving = null;
    this.fd = fd;
    this.first = null;
    this.rest = null;
    return 0;
  }
  /** Only allocated pages, so that holes stay holes. */
  private copyChunk(index: number, fd: number): number {
    const chunk = this.chunk(index);
    if (chunk === undefined) return 0;
    const end = Math.min(chunk.bytes.length, this.size - index * CHUNK);
    for (let at = 0; at < end; ) {
      let to = at;
      while (to < end && chunk.mask & (1 << (to / PAGE))) to = Math.min(end, to + PAGE);
      if (to > at) {
        const wrote = pwrite(fd, chunk.bytes.subarray(at, to), to - at, index * CHUNK + at);
        if (wrote < to - at) return wrote < 0 ? wrote : -ENOSPC;
        at = to;
      } else at += PAGE;
    }
    return 0;
  }
  /** Begins anew next time: what was moved may be wrong by now. */
  private stopMoving(): void {
    if (this.moving !== null) this.closeMemory(this.moving.fd);
    this.moving = null;
  }

  /** Seals of the host memory file. */
  get sealed(): number {
    return this.fd < 0 ? 0 : Math.max(0, fcntl(this.fd, F_GET_SEALS, 0));
  }
  /** In a restored kernel: its bytes are in the host memory file that it had, made anew. */
  takeUp(stored: Stored, seals: number, pages: number): number {
    const shared = takeShare(this.uid);
    if (shared < 0) throw new Error(`a memory file of user ${this.uid}: ${errnoName(-shared)}`);
    const fd = loadMemoryFile(MEMFD_NAME, stored, pages, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (seals !== 0) fcntl(fd, F_ADD_SEALS, seals);
    return fd;
  }

  private closeMemory(fd: number): void {
    closeFd(fd);
    giveShareBack(this.uid);
  }

  /** Nobody can reach it any more. */
  free(): void {
    this.budget.refund(this.pages);
    this.pages = 0;
    this.size = 0;
    this.first = null;
    this.rest = null;
    this.stopMoving();
    if (this.fd >= 0) this.closeMemory(this.fd);
    this.twin?.close();
    this.fd = -1;
  }
}

/** A chunk in an image: whole in its place, since there are many. */
interface SavedChunk {
  readonly mask: number;
  readonly length: number;
  /** Of a few bytes; of others, where they are in the image's pages. */
  readonly base64?: string;
  readonly at?: number;
}
function saveChunk({ mask, bytes }: Chunk, sink: HostSink): SavedChunk {
  const { length } = bytes;
  if (length < PAGE) return { mask, length, base64: Buffer.from(bytes).toString("base64") };
  return { mask, length, at: sink.storeBytes(bytes).at };
}
function loadChunk({ mask, length, base64, at }: SavedChunk, pages: number): Chunk {
  if (
    !(Number.isInteger(length) && length >= 0 && length <= CHUNK && Number.isInteger(mask) && (mask & ~ALL_PAGES) === 0)
  )
    throw new Error("is no part of a file");
  const chunk = new Chunk();
  chunk.mask = mask;
  chunk.bytes = new Uint8Array(length);
  if (base64 !== undefined) chunk.bytes.set(Buffer.from(base64, "base64").subarray(0, length));
  else if (pread(pages, chunk.bytes, length, at!) !== length) throw new Error("pages: shorter than the objects say");
  return chunk;
}

// In the image as its content says.
perCall(Chunk);
persistent("memory-content", MemoryContent, {
  // A promotion under way has changed nothing yet, and begins anew.
  transient: { moving: () => null },
  as: {
    first: {
      save: (first: Chunk | null, _content, { sink }) => first && saveChunk(first, sink),
      restore: (first: SavedChunk | null, _content, { host }) => first && loadChunk(first, host.pages),
    },
    rest: {
      save: (rest: Map<number, Chunk> | null, _content, { sink }) =>
        rest && [...rest].map(([index, chunk]) => [index, saveChunk(chunk, sink)]),
      restore: (rest: [number, SavedChunk][] | null, _content, { host }) =>
        rest && new Map(rest.map(([index, chunk]) => [index, loadChunk(chunk, host.pages)])),
    },
    fd: {
      save: (fd: number, content, { sink }) =>
        fd < 0 ? null : { ...sink.storeFile(fd, content.size), seals: content.sealed },
      restore: (saved: (Stored & { seals: number }) | null, content, { host }) =>
        saved === null ? -1 : content.takeUp(saved, saved.seals, host.pages),
    },
  },
});
