/**
 * Virtual memory areas: the kernel's own list of what a guest address space maps, the truth on every platform.
 *
 * Invariant: sorted by start, no two overlap, start and end page-aligned. Source: mmap(2), proc_pid_maps(5).
 */
import type { HostMemory } from "../../platform/platform.ts";
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

export class VmaList {
  list: Vma[] = [];

  /** Index of the first area that ends above addr. */
  indexAbove(addr: number): number {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (this.list[mid]!.end <= addr) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  /** The area that contains addr. */
  find(addr: number): Vma | undefined {
    const vma = this.list[this.indexAbove(addr)];
    return vma !== undefined && vma.start <= addr ? vma : undefined;
  }

  /** Areas that overlap [start, end). */
  overlapping(start: number, end: number): Vma[] {
    const found: Vma[] = [];
    for (let i = this.indexAbove(start); i < this.list.length && this.list[i]!.start < end; i++)
      found.push(this.list[i]!);
    return found;
  }

  /** Splits areas so that none crosses addr. */
  splitAt(addr: number): void {
    const at = this.indexAbove(addr);
    const vma = this.list[at];
    if (vma === undefined || vma.start >= addr) return;
    const upper = new Vma(
      addr,
      vma.end,
      vma.prot,
      vma.shared,
      vma.file?.retain() ?? null,
      vma.memory,
      vma.memory || vma.file ? vma.offset + (addr - vma.start) : 0,
      vma.name,
      vma.flags,
    );
    vma.end = addr;
    this.list.splice(at + 1, 0, upper);
  }

  /** Takes everything in [start, end) out, splitting at the edges; the areas taken still hold their files. */
  cut(start: number, end: number): Vma[] {
    this.splitAt(start);
    this.splitAt(end);
    const from = this.indexAbove(start);
    let to = from;
    while (to < this.list.length && this.list[to]!.start < end) to++;
    return this.list.splice(from, to - from);
  }

  /** Puts an area in, merging with equal neighbours. The range must be free. */
  insert(vma: Vma): Vma {
    const at = this.indexAbove(vma.start);
    this.list.splice(at, 0, vma);
    return this.mergeAround(at);
  }

  /** Merges the area at index with its neighbours where they continue it. */
  mergeAround(at: number): Vma {
    let index = at;
    if (index > 0 && mergeable(this.list[index - 1]!, this.list[index]!)) {
      this.list[index - 1]!.end = this.list[index]!.end;
      this.list[index]!.file?.release();
      this.list.splice(index, 1);
      index--;
    }
    if (index + 1 < this.list.length && mergeable(this.list[index]!, this.list[index + 1]!)) {
      this.list[index]!.end = this.list[index + 1]!.end;
      this.list[index + 1]!.file?.release();
      this.list.splice(index + 1, 1);
    }
    return this.list[index]!;
  }

  /** A free range of `length` bytes, the highest below `top` and not below `bottom`; -1 when there is none. */
  findGapTopDown(length: number, bottom: number, top: number): number {
    let end = top;
    for (let i = this.indexAbove(top); i >= 0; i--) {
      const vma = i < this.list.length ? this.list[i]! : null;
      if (vma === null || vma.start >= top) continue;
      if (vma.end <= end && end - vma.end >= length) return end - length;
      end = Math.min(end, vma.start);
    }
    return end - length >= bottom ? end - length : -1;
  }
}

function mergeable(a: Vma, b: Vma): boolean {
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
