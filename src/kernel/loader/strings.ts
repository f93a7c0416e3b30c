/**
 * Reads argv and envp of execve: pointer arrays and the strings they point to.
 *
 * Source: execve(2) on limits. Memory is read page by page, since the strings usually lie side by side.
 */
import { E2BIG, EFAULT } from "../abi/errno.ts";
import type { Mm } from "../mm/mm.ts";

/** One string may have this many bytes (MAX_ARG_STRLEN). */
const MAX_STRING = 131072;
const PAGE = 4096;

export class GuestStrings {
  private readonly page = new Uint8Array(PAGE);
  private pageAt = -1;
  private pageLength = 0;
  constructor(
    private readonly mm: Mm,
    /** Bytes for all strings and pointers together. */
    private budget: number,
  ) {}

  /** The bytes at addr up to a page end, as far as they are mapped. */
  private window(addr: number): Uint8Array | null {
    const base = addr - (addr % PAGE);
    if (base !== this.pageAt) {
      const n = this.mm.copyIn(base, this.page, 0, PAGE);
      this.pageAt = n > 0 ? base : -1;
      this.pageLength = Math.max(0, n);
    }
    const at = addr - base;
    return at < this.pageLength ? this.page.subarray(at, this.pageLength) : null;
  }

  /** A string's bytes without the NUL; -EFAULT, -E2BIG. */
  private string(addr: number): Uint8Array | number {
    const parts: Uint8Array[] = [];
    let total = 0;
    for (let at = addr; ; ) {
      const window = this.window(at);
      if (window === null) return -EFAULT;
      const nul = window.indexOf(0);
      const part = window.slice(0, nul < 0 ? window.length : nul);
      total += part.length;
      if (total >= MAX_STRING) return -E2BIG;
      parts.push(part);
      if (nul >= 0) break;
      at += window.length;
    }
    this.budget -= total + 1;
    if (this.budget < 0) return -E2BIG;
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  /** The strings of a NULL-terminated array; NULL counts as an empty one. */
  array(addr: number): Uint8Array[] | number {
    const pointers: number[] = [];
    if (addr !== 0)
      for (let at = addr; ; at += 8) {
        const pointer = this.pointer(at);
        if (pointer < 0) return pointer;
        if (pointer === 0) break;
        this.budget -= 8;
        if (this.budget < 0) return -E2BIG;
        pointers.push(pointer);
      }
    const strings: Uint8Array[] = [];
    for (const pointer of pointers) {
      const string = this.string(pointer);
      if (typeof string === "number") return string;
      strings.push(string);
    }
    return strings;
  }

  private pointer(addr: number): number {
    const window = this.window(addr);
    if (window === null || window.length < 8) return this.mm.readU64(addr);
    const view = new DataView(window.buffer, window.byteOffset, 8);
    return view.getUint32(0, true) + view.getUint32(4, true) * 4294967296;
  }
}
