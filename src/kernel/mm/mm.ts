/**
 * A guest address space: the VMA list, and everything that reads or changes guest memory on a task's behalf.
 *
 * The kernel decides (placement, limits, permission), the platform's AddressSpace carries it out. Untrusted addresses
 * reach memory only through here. Source: mmap(2), brk(2), mremap(2).
 */

import type { AddressSpace, HostMemory } from "../../platform/platform.ts";
import { decodeName } from "../abi/bytes.ts";
import { EFAULT, ENAMETOOLONG, ENOMEM } from "../abi/errno.ts";
import { spaceForm } from "../state/memory.ts";
import { later, persistent } from "../state/registry.ts";
import type { File } from "../vfs/file.ts";
import type { Inode } from "../vfs/inode.ts";
import { notifyIfGone } from "../vfs/watches.ts";
import { PAGE_SIZE, PROT_EXEC, PROT_READ, PROT_WRITE, VMA_DONTFORK, VMA_NEVER_WRITE, Vma, VmaList } from "./vma.ts";

export const pageDown = (addr: number): number => addr - (addr % PAGE_SIZE);
export const pageUp = (addr: number): number => Math.ceil(addr / PAGE_SIZE) * PAGE_SIZE;

/** Areas in one address space, at most (vm.max_map_count). */
const MAX_MAP_COUNT = 65530;
/** With so many it takes the host milliseconds to take an address space down: a guest may have thousands end at once. */
const MANY_AREAS = 1024;

interface Scratch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}
function scratch(): Scratch {
  const bytes = new Uint8Array(8192);
  return { bytes, view: new DataView(bytes.buffer) };
}

export class Mm {
  /** Tasks that share it. */
  users = 1;
  vmas = new VmaList();
  /** Bytes mapped, for RLIMIT_AS. */
  total = 0;
  brkStart = 0;
  brk = 0;
  /** mmap placement goes down from here. */
  mmapTop = 0;
  stackStart = 0;
  argStart = 0;
  argEnd = 0;
  envStart = 0;
  envEnd = 0;
  /** auxv as given to the program, for /proc/PID/auxv. */
  auxv = new Uint8Array(0);

  /** The file of the program that runs here: it cannot be opened for writing meanwhile (ETXTBSY). */
  private program: Inode | null = null;

  /** For small structures on their way. One for each address space: others are served while a copy waits for its stub. */
  private readonly small = scratch();

  constructor(public space: AddressSpace) {
    this.mmapTop = space.maxAddress;
  }

  setProgram(inode: Inode | null): void {
    const old = this.program;
    this.program = inode;
    if (inode !== null) {
      inode.hold();
      inode.denyWrite++;
    }
    if (old === null) return;
    old.denyWrite--;
    old.letGo();
    if (old.watches !== null) notifyIfGone(old);
  }

  // Copying.

  /** How many bytes from addr on may be read or written, at most `length`. */
  accessible(addr: number, length: number, write: boolean): number {
    if (length <= 0) return 0;
    const need = write ? PROT_WRITE : PROT_READ | PROT_EXEC | PROT_WRITE;
    return this.vmas.reach(addr, addr + length, need) - addr;
  }

  /** Guest → dst. Bytes copied (short at a bad page), -EFAULT when none. */
  copyIn(addr: number, dst: Uint8Array, offset: number, length: number): number {
    if (length === 0) return 0;
    const usable = this.accessible(addr, length, false);
    if (usable === 0) return -EFAULT;
    return this.space.read(addr, dst, offset, usable);
  }

  /** src → guest. The same result. */
  copyOut(addr: number, src: Uint8Array, offset: number, length: number): number {
    if (length === 0) return 0;
    const usable = this.accessible(addr, length, true);
    if (usable === 0) return -EFAULT;
    return this.space.write(addr, src, offset, usable);
  }

  /** Copies a whole structure in: 0 or -EFAULT. */
  readBytes(addr: number, dst: Uint8Array, length = dst.length): number {
    return this.copyIn(addr, dst, 0, length) === length ? 0 : -EFAULT;
  }
  /** Copies a whole structure out: 0 or -EFAULT; nothing is written unless all of it can be. */
  writeBytes(addr: number, src: Uint8Array, length = src.length): number {
    if (length === 0) return 0;
    if (this.accessible(addr, length, true) < length) return -EFAULT;
    return this.copyOut(addr, src, 0, length) === length ? 0 : -EFAULT;
  }

  /** A structure of up to 8192 bytes as a DataView, valid until the next readStruct; null: EFAULT. */
  readStruct(addr: number, length: number): DataView | null {
    if (this.copyIn(addr, this.small.bytes, 0, length) !== length) return null;
    return this.small.view;
  }

  /** A NUL-terminated string of fewer than `max` bytes; -EFAULT, -ENAMETOOLONG. */
  readString(addr: number, max: number): string | number {
    const brought = this.space.prefetchedString?.(addr);
    if (brought) {
      const nul = brought.indexOf(0);
      if (nul >= 0 && nul < max) return decodeName(brought, 0, nul);
    }
    const buffer = max <= this.small.bytes.length ? this.small.bytes : new Uint8Array(max);
    let have = 0;
    while (have < max) {
      // Up to the page end first: the string may end before an unmapped page.
      const want = Math.min(max - have, PAGE_SIZE - ((addr + have) % PAGE_SIZE));
      const n = this.copyIn(addr + have, buffer, have, want);
      if (n <= 0) return -EFAULT;
      const nul = buffer.subarray(have, have + n).indexOf(0);
      if (nul >= 0) return decodeName(buffer, 0, have + nul);
      have += n;
    }
    return -ENAMETOOLONG;
  }

  readU32(addr: number): number {
    const view = this.readStruct(addr, 4);
    return view === null ? -EFAULT : view.getUint32(0, true);
  }
  writeU32(addr: number, value: number): number {
    this.small.view.setUint32(0, value >>> 0, true);
    return this.writeBytes(addr, this.small.bytes, 4);
  }
  /** writeU32 that other threads see at once, whatever the caller does next. */
  publishU32(addr: number, value: number): number {
    const result = this.writeU32(addr, value);
    this.space.flush?.();
    return result;
  }
  /** A pointer or size; -EFAULT. */
  readU64(addr: number): number {
    const view = this.readStruct(addr, 8);
    return view === null ? -EFAULT : view.getUint32(0, true) + view.getUint32(4, true) * 4294967296;
  }
  writeU64(addr: number, value: number): number {
    setU64(this.small.view, 0, value);
    return this.writeBytes(addr, this.small.bytes, 8);
  }

  // Mapping.

  /** Is [addr, addr+length) inside what a guest may map? */
  validRange(addr: number, length: number): boolean {
    return addr >= 0 && length >= 0 && addr + length <= this.space.maxAddress;
  }

  /** A place for `length` bytes: at `hint` if free, else the highest gap. -ENOMEM. */
  findPlace(hint: number, length: number): number {
    const lowest = this.space.minAddress;
    if (hint >= lowest && this.validRange(hint, length)) {
      const at = pageDown(hint);
      if (this.vmas.free(at, at + length)) return at;
    }
    let at = this.vmas.findGapTopDown(length, lowest, this.mmapTop);
    if (at < 0) at = this.vmas.findGapTopDown(length, lowest, this.space.maxAddress);
    return at < 0 ? -ENOMEM : at;
  }

  /** A place for MAP_32BIT: in the second GiB, so that addresses fit 31 bits. -ENOMEM. */
  findLowPlace(length: number): number {
    const at = this.vmas.findGapTopDown(length, 0x40000000, 0x80000000);
    return at < 0 ? -ENOMEM : at;
  }

  /** Shows the platform's vDSO in the list of areas; it lies above what guests may map. */
  showVdso(): void {
    const { vdso } = this.space;
    const end = vdso + this.space.vdsoImage().length;
    if (vdso !== 0) this.vmas.insert(new Vma(vdso, end, PROT_READ | PROT_EXEC, false, null, null, 0, "[vdso]"));
  }

  /**
   * Maps [addr, addr+length), replacing what is there. Takes over the caller's reference to `file`.
   * 0 or -errno; on failure the range is unmapped and the reference dropped.
   */
  mapFixed(
    addr: number,
    length: number,
    prot: number,
    shared: boolean,
    file: File | null,
    memory: HostMemory | null,
    offset: number,
    name = "",
    flags = 0,
  ): number {
    if (this.vmas.length >= MAX_MAP_COUNT) {
      file?.release();
      return -ENOMEM;
    }
    this.forget(addr, addr + length);
    const mayWrite = mayWriteThrough(shared, file, flags);
    const result = this.space.map(addr, length, prot, shared, memory, offset, mayWrite);
    if (result < 0) {
      this.space.unmap(addr, length);
      file?.release();
      return result;
    }
    this.total += length;
    this.vmas.insert(new Vma(addr, addr + length, prot, shared, file, memory, offset, name, flags));
    return 0;
  }

  unmap(addr: number, length: number): number {
    const end = addr + length;
    if (this.vmas.free(addr, end)) return 0;
    const result = this.space.unmap(addr, length);
    if (result < 0) return result;
    this.forget(addr, end);
    return 0;
  }

  /** Drops the areas of a range from the list. */
  private forget(start: number, end: number): void {
    this.total -= this.vmas.cut(start, end);
  }

  protect(addr: number, length: number, prot: number): number {
    const end = addr + length;
    const areas = this.vmas.overlapping(addr, end);
    let at = addr;
    for (const vma of areas) {
      if (vma.start > at) break;
      at = vma.end;
    }
    // Linux changes what comes before a hole, then fails.
    const reach = Math.min(at, end);
    if (reach > addr) {
      const result = this.space.protect(addr, reach - addr, prot);
      if (result < 0) return result;
      this.vmas.splitAt(addr);
      this.vmas.splitAt(reach);
      this.vmas.change(addr, reach, (vma) => {
        vma.prot = prot;
      });
      this.mergeRange(addr, reach);
    }
    return reach < end ? -ENOMEM : 0;
  }

  /** Merges what became alike in a range. */
  mergeRange(start: number, end: number): void {
    this.vmas.mergeBetween(start, end);
  }

  /**
   * mremap's move: [from, from+length) goes to `to` with a new length. With `keep` the old range stays mapped, empty.
   * The new address, or -errno.
   */
  move(from: number, length: number, to: number, newLength: number, keep: boolean): number {
    const moved = Math.min(length, newLength);
    const vma = this.vmas.find(from)!;
    const { prot, shared, memory, name, flags } = vma;
    const offset = memory !== null ? vma.offset + (from - vma.start) : 0;
    const file = vma.file?.retain() ?? null;
    this.forget(to, to + newLength);
    let result: number;
    if (length === 0) {
      // An old length of zero makes a second view of shared memory.
      result = this.space.map(to, newLength, prot, true, memory, offset, mayWriteThrough(true, file, flags));
    } else {
      if (newLength < length) this.unmap(from + newLength, length - newLength);
      this.space.unmap(to, newLength);
      result = this.space.remap(from, moved, to, newLength);
      if (result >= 0) this.forget(from, from + moved);
    }
    if (result < 0) {
      file?.release();
      return result;
    }
    this.total += newLength;
    this.vmas.insert(new Vma(to, to + newLength, prot, shared, file, memory, offset, name, flags));
    if (keep) {
      const again = this.mapFixed(from, length, prot, shared, file?.retain() ?? null, memory, offset, name, flags);
      if (again < 0) return again;
    }
    return to;
  }

  /** Every area, for fork: shares files, skips MADV_DONTFORK. */
  copyAreasTo(child: Mm): void {
    child.vmas = this.vmas.fork();
    child.total = this.total;
    if (child.vmas.length < this.vmas.length)
      for (const vma of this.vmas) if (vma.flags & VMA_DONTFORK) child.total -= vma.length;
    child.brkStart = this.brkStart;
    child.brk = this.brk;
    child.mmapTop = this.mmapTop;
    child.stackStart = this.stackStart;
    child.argStart = this.argStart;
    child.argEnd = this.argEnd;
    child.envStart = this.envStart;
    child.envEnd = this.envEnd;
    child.auxv = this.auxv;
    child.setProgram(this.program);
  }

  /** Sets the program break; the new break, unchanged when it cannot be had. */
  setBrk(want: number, dataLimit: number): number {
    if (want < this.brkStart || want - this.brkStart > dataLimit || !this.validRange(want, 0)) return this.brk;
    const from = pageUp(this.brk);
    const to = pageUp(want);
    if (to > from) {
      if (!this.vmas.free(from, to)) return this.brk;
      if (this.mapFixed(from, to - from, PROT_READ | PROT_WRITE, false, null, null, 0, "[heap]") < 0) return this.brk;
    } else if (to < from && this.unmap(to, from - to) < 0) return this.brk;
    this.brk = want;
    return want;
  }

  /** execve: drops everything. */
  clear(): void {
    this.setProgram(null);
    this.vmas.clear();
    this.total = 0;
  }

  /** One user less; the last one takes the address space down. */
  release(): void {
    if (--this.users > 0) return;
    const large = this.vmas.length >= MANY_AREAS;
    this.clear();
    this.space.destroy(large);
  }
}

/** May a guest write to what is mapped (VM_SHARED and VM_MAYWRITE)? Private mappings write to copies. */
export function mayWriteThrough(shared: boolean, file: File | null, flags: number): boolean {
  return shared && (file === null || file.writable) && (flags & VMA_NEVER_WRITE) === 0;
}

/** Writes a number as a little-endian u64 (negative numbers in two's complement). */
export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 4294967296) >>> 0, true);
}
export function getU64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 4294967296;
}
export function getS64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getInt32(at + 4, true) * 4294967296;
}

persistent("mm", Mm, { as: { space: later(() => spaceForm) }, transient: { small: scratch } });
