/**
 * Reads argv and envp of execve: pointer arrays and the strings they point to.
 *
 * Source: execve(2) on limits. Memory is read page by page, since the strings usually lie side by side.
 */
import { E2BIG, EFAULT } from "../abi/errno.ts";
import type { Mm } from "../mm/mm.ts";
import type { Slice } from "../slice.ts";
import { persistent } from "../state/registry.ts";

/** One string may have this many bytes (MAX_ARG_STRLEN). */
const MAX_STRING = 131072;
const PAGE = 4096;

/** Strings between two looks at the clock. */
const STEP = 64;
const NOTHING = new Uint8Array(0);

/** An array while it is being read. */
class StringArray {
  readonly pointers: number[] = [];
  /** All of its pointers have been read. */
  counted = false;
  readonly strings: Uint8Array[] = [];
}

/** execve that is run again: what it has read. */
export interface ArgumentsRead {
  kind: "arguments";
  strings: GuestStrings;
}

/** Invariant: what has been read stays as it is when the reading goes on, whatever the guest does meanwhile. */
export class GuestStrings {
  readonly argv = new StringArray();
  readonly envp = new StringArray();
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
      if (nul === 0 && total === 0) {
        this.budget--;
        return this.budget < 0 ? -E2BIG : NOTHING;
      }
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

  /**
   * Reads the NULL-terminated arrays argv and envp and what they point to (a NULL array counts as an empty one), as far
   * as the slice goes: 0 when `argv` and `envp` are there, 1 when there is more to read, or -errno.
   */
  read(argvAt: number, envpAt: number, slice: Slice): number {
    const argv = this.readArray(argvAt, this.argv, slice);
    return argv !== 0 ? argv : this.readArray(envpAt, this.envp, slice);
  }

  private readArray(at: number, into: StringArray, slice: Slice): number {
    if (at === 0) into.counted = true;
    while (!into.counted) {
      const pointer = this.pointer(at + 8 * into.pointers.length);
      if (pointer < 0) return pointer;
      if (pointer === 0) {
        into.counted = true;
        break;
      }
      this.budget -= 8;
      if (this.budget < 0) return -E2BIG;
      into.pointers.push(pointer);
      if (into.pointers.length % STEP === 0 && slice.over) return 1;
    }
    while (into.strings.length < into.pointers.length) {
      const string = this.string(into.pointers[into.strings.length]!);
      if (typeof string === "number") return string;
      into.strings.push(string);
      if (into.strings.length % STEP === 0 && slice.over) return 1;
    }
    return 0;
  }

  private pointer(addr: number): number {
    const within = addr % PAGE;
    if (addr - within !== this.pageAt) this.window(addr);
    if (addr - within !== this.pageAt || within + 8 > this.pageLength) return this.mm.readU64(addr);
    return wordAt(this.page, within) + wordAt(this.page, within + 4) * 4294967296;
  }
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

persistent("guest-string-array", StringArray);
persistent("guest-strings", GuestStrings, {
  // The page is read again.
  transient: { page: () => new Uint8Array(PAGE), pageAt: () => -1, pageLength: () => 0 },
});
