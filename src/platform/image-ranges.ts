/**
 * Anonymous memory of a restored guest lies in a file until it is written to: private mappings of the image's pages. Its
 * guest must not see the difference, so each address space knows where they are, and does here what the host would do
 * otherwise than with anonymous memory: forgotten pages are zero and not the file's again (MADV_DONTNEED, MADV_FREE), memory
 * grows by zeros and not by what comes next in the file, and moves though it is many mappings on the host.
 *
 * Invariant: ranges are sorted, disjoint, and within what is mapped; protections are those of the host's mappings.
 */
import { MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE, MADV_WIPEONFORK } from "../kernel/abi/mman.ts";
import type { AddressSpace, MapRun } from "./platform.ts";

export interface ImageRange {
  start: number;
  end: number;
  prot: number;
}

export class ImageRanges {
  private list: ImageRange[] = [];

  get empty(): boolean {
    return this.list.length === 0;
  }
  copy(): ImageRanges {
    const copy = new ImageRanges();
    copy.list = this.list.map((range) => ({ ...range }));
    return copy;
  }
  clear(): void {
    this.list = [];
  }
  add(range: ImageRange): void {
    const last = this.list.at(-1);
    if (last !== undefined && last.end === range.start && last.prot === range.prot) last.end = range.end;
    else if (last === undefined || last.end <= range.start) this.list.push({ ...range });
    else this.replace(range.start, range.end, range);
  }
  drop(start: number, end: number): void {
    if (!this.empty) this.replace(start, end, null);
  }
  protect(start: number, end: number, prot: number): void {
    for (const range of this.within(start, end))
      if (range.prot !== prot) this.replace(range.start, range.end, { ...range, prot });
  }
  /** What of them lies in a range. */
  within(start: number, end: number): ImageRange[] {
    const found: ImageRange[] = [];
    for (let i = this.firstAfter(start); i < this.list.length && this.list[i]!.start < end; i++) {
      const range = this.list[i]!;
      found.push({ start: Math.max(start, range.start), end: Math.min(end, range.end), prot: range.prot });
    }
    return found;
  }

  /** Index of the first one that ends behind an address. */
  private firstAfter(addr: number): number {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.list[middle]!.end <= addr) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  private replace(start: number, end: number, by: ImageRange | null): void {
    const first = this.firstAfter(start);
    let next = first;
    const kept: ImageRange[] = by === null ? [] : [{ ...by }];
    for (; next < this.list.length && this.list[next]!.start < end; next++) {
      const range = this.list[next]!;
      if (range.start < start) kept.unshift({ ...range, end: start });
      if (range.end > end) kept.push({ ...range, start: end });
    }
    this.list.splice(first, next - first, ...kept);
  }
}

/** An address space, and the host's own operations beneath those that follow. */
export interface ImageSpace extends AddressSpace {
  readonly image: ImageRanges;
  adviseHost(addr: number, length: number, advice: number): number;
  remapHost(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number;
}

/** Are all of them where guests may map? What an image says of it is a stranger's word, and the stub lies behind. */
export function placed({ minAddress, maxAddress }: AddressSpace, runs: readonly MapRun[]): boolean {
  return runs.every(
    ({ addr, length, offset, prot }) =>
      Number.isInteger(addr) &&
      length > 0 &&
      Number.isInteger(length) &&
      addr >= minAddress &&
      addr + length <= maxAddress &&
      offset >= 0 &&
      Number.isSafeInteger(offset) &&
      (prot & ~7) === 0,
  );
}

const READ = 1;
const WRITE = 2;
/** Bytes that are copied at once. */
const PART = 1 << 20;

/** madvise(2). */
export function adviseImage(space: ImageSpace, addr: number, length: number, advice: number): number {
  if (!space.image.empty) {
    const forgets = advice === MADV_DONTNEED || advice === MADV_FREE || advice === MADV_DONTNEED_LOCKED;
    if (forgets || advice === MADV_WIPEONFORK)
      for (const { start, end, prot } of space.image.within(addr, addr + length)) {
        const made = forgets ? space.map(start, end - start, prot, false, null, 0) : takeOut(space, start, end, prot);
        if (made < 0) return made;
      }
  }
  return space.adviseHost(addr, length, advice);
}

/** Makes it anonymous memory with what it holds: for what the host allows with no other. */
function takeOut(space: ImageSpace, start: number, end: number, prot: number): number {
  const bytes = new Uint8Array(Math.min(PART, end - start));
  for (let at = start; at < end; at += bytes.length) {
    const length = Math.min(bytes.length, end - at);
    const readable = space.protect(at, length, READ);
    if (readable < 0) return readable;
    const read = space.read(at, bytes, 0, length);
    if (read < 0) return read;
    const made = space.map(at, length, READ | WRITE, false, null, 0);
    if (made < 0) return made;
    const written = space.write(at, bytes, 0, read);
    if (written < 0) return written;
    space.flush?.();
    const protectedAgain = space.protect(at, length, prot);
    if (protectedAgain < 0) return protectedAgain;
  }
  return 0;
}

/** mremap(2) to exactly newAddr. */
export function remapImage(
  space: ImageSpace,
  oldAddr: number,
  oldLength: number,
  newAddr: number,
  newLength: number,
): number {
  const { image } = space;
  const length = Math.min(oldLength, newLength);
  const parts = image.empty ? [] : image.within(oldAddr, oldAddr + length);
  if (!image.empty && newAddr !== oldAddr) image.drop(newAddr, newAddr + newLength);
  if (parts.length === 0) {
    const result = space.remapHost(oldAddr, oldLength, newAddr, newLength);
    if (result === 0 && oldLength > newLength) image.drop(oldAddr + newLength, oldAddr + oldLength);
    return result;
  }
  if (oldLength > newLength) {
    const cut = space.unmap(oldAddr + newLength, oldLength - newLength);
    if (cut < 0) return cut;
  }
  const growth = newLength - length;
  const last = parts.at(-1)!;
  const end = oldAddr + length;
  // Growing by more of the file would show what is not the guest's.
  const inFile = last.end === end;
  if (newAddr !== oldAddr) {
    const edges = [oldAddr, ...parts.flatMap((part) => [part.start, part.end]), end];
    for (let i = 0; i + 1 < edges.length; i++) {
      const size = edges[i + 1]! - edges[i]!;
      if (size === 0) continue;
      const to = newAddr + edges[i]! - oldAddr;
      const moved = space.remapHost(edges[i]!, size, to, size);
      if (moved < 0) return moved;
    }
    image.drop(oldAddr, end);
    for (const { start, end, prot } of parts)
      image.add({ start: start - oldAddr + newAddr, end: end - oldAddr + newAddr, prot });
  }
  if (growth === 0) return 0;
  const tail = newAddr + length;
  if (inFile) return space.map(tail, growth, last.prot, false, null, 0);
  const before = end - last.end;
  return space.remapHost(tail - before, before, tail - before, before + growth);
}
