/**
 * Virtual memory areas: the kernel's own list of what a guest address space maps, the truth on every platform.
 *
 * Invariant: sorted by start, no two overlap, start and end page-aligned. Source: mmap(2), proc_pid_maps(5).
 *
 * A process may have 65,530 areas, and fork: what is copied then must not grow with them. So the list consists of
 * chunks, which parent and child share until one of them changes an area in it; that one gets a copy of this chunk.
 */
import type { HostMemory } from "../../platform/platform.ts";
import { persistent } from "../state/registry.ts";
import type { File } from "../vfs/file.ts";

export const PAGE_SIZE = 4096;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const PROT_NONE = 0;

export class Vma {
  constructor(
    public start: number,
    public end: number,
    public prot: number,
    /** MAP_SHARED. */
    public shared: boolean,
    /** What is mapped; null: private anonymous memory. Retained by the area. */
    public file: File | null,
    public memory: HostMemory | null,
    /** Offset of `start` in the file, bytes. */
    public offset: number,
    /** "[heap]", "[stack]", "[vdso]"… for /proc/PID/maps. */
    public name: string = "",
    /** VM_LOCKED, VM_DONTCOPY…: VMA_*. */
    public flags: number = 0,
  ) {}
  get length(): number {
    return this.end - this.start;
  }
}

export const VMA_DONTFORK = 1;
export const VMA_WIPEONFORK = 2;
export const VMA_LOCKED = 4;
export const VMA_GROWSDOWN = 8;
/** Without VM_MAYWRITE though the file is open for writing: sealed memory. */
export const VMA_NEVER_WRITE = 16;

/** Areas in a chunk, at most: what a change after a fork copies. A small program's are all in one. */
const CHUNK_MAX = 256;

/** Areas in a row, never none. Shared by lists that have forked: then neither it nor its areas change. */
class Chunk {
  /** Lists that have it. */
  users = 1;
  constructor(readonly areas: Vma[]) {}
}

/** What readers get: an area may be another process' as well. `VmaList.change` changes some. */
export type Area = Readonly<Vma>;

export class VmaList {
  private chunks: Chunk[] = [];
  /** Areas. */
  length = 0;

  // Looking.

  /** Number of the first chunk with an area that ends above addr. */
  private chunkAbove(addr: number): number {
    const { chunks } = this;
    let low = 0;
    let high = chunks.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      const { areas } = chunks[mid]!;
      if (areas[areas.length - 1]!.end <= addr) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  /** The first area that ends above addr. */
  firstAbove(addr: number): Area | undefined {
    const areas = this.chunks[this.chunkAbove(addr)]?.areas;
    return areas?.[indexAbove(areas, addr)];
  }

  /** The area that contains addr. */
  find(addr: number): Area | undefined {
    const vma = this.firstAbove(addr);
    return vma !== undefined && vma.start <= addr ? vma : undefined;
  }

  /** Is nothing in [start, end)? */
  free(start: number, end: number): boolean {
    const vma = this.firstAbove(start);
    return vma === undefined || vma.start >= end;
  }

  /** Where what begins at `start` and has one of the rights `need` throughout comes to its end, at most `end`. */
  reach(start: number, end: number, need: number): number {
    let at = start;
    for (let c = this.chunkAbove(start); c < this.chunks.length; c++) {
      const { areas } = this.chunks[c]!;
      for (let i = at === start ? indexAbove(areas, start) : 0; i < areas.length; i++) {
        const vma = areas[i]!;
        if (vma.start > at || (vma.prot & need) === 0) return at;
        at = vma.end;
        if (at >= end) return end;
      }
    }
    return at;
  }

  /** Areas that overlap [start, end). */
  overlapping(start: number, end: number): Area[] {
    const found: Area[] = [];
    for (let c = this.chunkAbove(start); c < this.chunks.length; c++) {
      const { areas } = this.chunks[c]!;
      for (let i = found.length === 0 ? indexAbove(areas, start) : 0; i < areas.length; i++) {
        if (areas[i]!.start >= end) return found;
        found.push(areas[i]!);
      }
    }
    return found;
  }

  *[Symbol.iterator](): Generator<Area> {
    for (const { areas } of this.chunks) yield* areas;
  }
  first(): Area | undefined {
    return this.chunks[0]?.areas[0];
  }
  last(): Area | undefined {
    return this.chunks.at(-1)?.areas.at(-1);
  }

  /** A free range of `length` bytes, the highest below `top` and not below `bottom`; -1 when there is none. */
  findGapTopDown(length: number, bottom: number, top: number): number {
    let end = top;
    for (let c = Math.min(this.chunkAbove(top), this.chunks.length - 1); c >= 0; c--) {
      const { areas } = this.chunks[c]!;
      for (let i = areas.length - 1; i >= 0; i--) {
        const vma = areas[i]!;
        if (vma.start >= top) continue;
        if (vma.end <= end && end - vma.end >= length) return end - length;
        end = Math.min(end, vma.start);
      }
    }
    return end - length >= bottom ? end - length : -1;
  }

  // Changing.

  /** The areas of a chunk, for this list to change. */
  private own(c: number): Vma[] {
    const chunk = this.chunks[c]!;
    if (chunk.users === 1) return chunk.areas;
    chunk.users--;
    const areas = chunk.areas.map((vma) => copyOf(vma, vma.flags));
    this.chunks[c] = new Chunk(areas);
    return areas;
  }
  /** Takes areas out of a chunk that is this list's own. */
  private drop(c: number, from: number, count: number): void {
    const { areas } = this.chunks[c]!;
    this.length -= count;
    if (count === areas.length) this.chunks.splice(c, 1);
    else areas.splice(from, count);
  }
  private put(c: number, at: number, vma: Vma): void {
    this.length++;
    if (this.chunks.length === 0) {
      this.chunks.push(new Chunk([vma]));
      return;
    }
    // Behind all others.
    if (c === this.chunks.length) at = this.chunks[--c]!.areas.length;
    const areas = this.own(c);
    areas.splice(at, 0, vma);
    if (areas.length > CHUNK_MAX) this.chunks.splice(c + 1, 0, new Chunk(areas.splice(areas.length >>> 1)));
  }

  /** A list of the same areas for a child process: without VMA_DONTFORK, and VMA_WIPEONFORK counts once. */
  fork(): VmaList {
    const child = new VmaList();
    for (const chunk of this.chunks) {
      if (chunk.areas.every(({ flags }) => (flags & (VMA_DONTFORK | VMA_WIPEONFORK)) === 0)) {
        chunk.users++;
        child.chunks.push(chunk);
        child.length += chunk.areas.length;
        continue;
      }
      const kept = chunk.areas.filter(({ flags }) => (flags & VMA_DONTFORK) === 0);
      if (kept.length === 0) continue;
      child.chunks.push(new Chunk(kept.map((vma) => copyOf(vma, vma.flags & ~VMA_WIPEONFORK))));
      child.length += kept.length;
    }
    return child;
  }

  /** Drops all areas. */
  clear(): void {
    const { chunks } = this;
    this.chunks = [];
    this.length = 0;
    for (const chunk of chunks) if (--chunk.users === 0) for (const vma of chunk.areas) vma.file?.release();
  }

  /** Changes every area that overlaps [start, end), but for where it lies. */
  change(start: number, end: number, how: (vma: Vma) => void): void {
    for (let c = this.chunkAbove(start); c < this.chunks.length; c++) {
      if (this.chunks[c]!.areas[0]!.start >= end) return;
      const areas = this.own(c);
      for (let i = indexAbove(areas, start); i < areas.length && areas[i]!.start < end; i++) how(areas[i]!);
    }
  }

  /** Moves the end of the area that contains addr; what it grows over must be free. */
  resize(addr: number, end: number): void {
    const c = this.chunkAbove(addr);
    const areas = this.own(c);
    areas[indexAbove(areas, addr)]!.end = end;
  }

  /** Splits areas so that none crosses addr. */
  splitAt(addr: number): void {
    const c = this.chunkAbove(addr);
    const shared = this.chunks[c]?.areas;
    if (shared === undefined) return;
    const at = indexAbove(shared, addr);
    if (shared[at]!.start >= addr) return;
    const vma = this.own(c)[at]!;
    const upper = copyOf(vma, vma.flags);
    upper.start = addr;
    if (vma.memory || vma.file) upper.offset += addr - vma.start;
    vma.end = addr;
    this.put(c, at + 1, upper);
  }

  /** Takes everything in [start, end) out, splitting at the edges, and drops the files. How many bytes that were. */
  cut(start: number, end: number): number {
    if (this.free(start, end)) return 0;
    this.splitAt(start);
    this.splitAt(end);
    let bytes = 0;
    for (let c = this.chunkAbove(start); c < this.chunks.length; ) {
      const chunk = this.chunks[c]!;
      const from = indexAbove(chunk.areas, start);
      let to = from;
      for (; to < chunk.areas.length && chunk.areas[to]!.start < end; to++) bytes += chunk.areas[to]!.length;
      const more = to === chunk.areas.length;
      if (to - from === chunk.areas.length && chunk.users > 1) {
        chunk.users--;
        this.length -= to;
        this.chunks.splice(c, 1);
      } else if (to > from) {
        const gone = this.own(c).slice(from, to);
        const left = chunk.areas.length - gone.length;
        this.drop(c, from, to - from);
        for (const vma of gone) vma.file?.release();
        if (left > 0) c++;
      } else c++;
      if (!more) break;
    }
    return bytes;
  }

  /** Puts an area in, merging with equal neighbours. The range must be free. */
  insert(vma: Vma): void {
    const c = this.chunkAbove(vma.start);
    const areas = this.chunks[c]?.areas;
    const at = areas === undefined ? 0 : indexAbove(areas, vma.start);
    const before = at > 0 ? areas![at - 1] : this.chunks[c - 1]?.areas.at(-1);
    const behind = areas?.[at];
    if ((before && mergeable(before, vma)) || (behind && mergeable(vma, behind))) {
      this.put(c, at, vma);
      this.mergeBetween(vma.start, vma.end);
    } else this.put(c, at, vma);
  }

  /** Merges what has become alike from the neighbour before `start` to the one behind `end`, in one pass. */
  mergeBetween(start: number, end: number): void {
    /** Where the area is that the next one may continue. */
    let lastChunk = -1;
    let last = 0;
    for (let c = this.chunkAbove(start - 1); c < this.chunks.length; c++) {
      let { areas } = this.chunks[c]!;
      let next = lastChunk < 0 ? indexAbove(areas, start - 1) : 0;
      let kept = next;
      for (; next < areas.length && areas[next]!.start <= end; next++) {
        if (lastChunk >= 0 && mergeable(this.chunks[lastChunk]!.areas[last]!, areas[next]!)) {
          areas = this.own(c);
          const vma = areas[next]!;
          this.own(lastChunk)[last]!.end = vma.end;
          vma.file?.release();
          continue;
        }
        // In a chunk of one's own, since something has been merged.
        if (kept < next) areas[kept] = areas[next]!;
        lastChunk = c;
        last = kept++;
      }
      const over = next < areas.length;
      if (kept < next) {
        const all = next - kept === areas.length;
        this.drop(c, kept, next - kept);
        if (all) c--;
      }
      if (over) return;
    }
  }
}

/** Index of the first area that ends above addr. */
function indexAbove(areas: readonly Area[], addr: number): number {
  let low = 0;
  let high = areas.length;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (areas[mid]!.end <= addr) low = mid + 1;
    else high = mid;
  }
  return low;
}

function copyOf(vma: Area, flags: number): Vma {
  const { start, end, prot, shared, memory, offset, name } = vma;
  return new Vma(start, end, prot, shared, vma.file?.retain() ?? null, memory, offset, name, flags);
}

function mergeable(a: Area, b: Area): boolean {
  return (
    a.end === b.start &&
    a.prot === b.prot &&
    a.shared === b.shared &&
    a.file === b.file &&
    a.memory === b.memory &&
    a.flags === b.flags &&
    a.name === b.name &&
    (a.memory === null || a.offset + a.length === b.offset)
  );
}

persistent("area", Vma);
persistent("area-chunk", Chunk);
persistent("area-list", VmaList);
