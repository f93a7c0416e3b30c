/**
 * The vDSO of guests: code of the host's kernel that reads clocks without a call.
 *
 * Programs keep the addresses of its functions, and another host's kernel has them elsewhere. So one that is restored
 * there finds the image that it knows, at the address that it knows, whose functions are jumps to the host's, which lie
 * elsewhere then. What the host has no function for becomes a system call. So does getrandom, whatever the host has: its
 * state in guest memory has a format of the host's own, and would give the same numbers to all that are restored from
 * one image.
 *
 * A thread can have been stopped inside the old code (or a signal handler returns there). The old image stands whole but
 * for five bytes at each entry, and in place of the old host's data pages are empty ones, in which the code sees no clock
 * that it knows: it makes a system call. Gap: the coarse clocks and time(2), which look for no clock, read 0 when they
 * are between their first and last instruction; and a thread within the five bytes is lost. `leaveVdso` keeps threads
 * from that, but for those that a handler returns to.
 *
 * An image may be a stranger's. Nothing here relies on what it says: it becomes code and data of the guest that brings
 * it.
 *
 * Source: vdso(7), elf(5).
 */
import { EINVAL } from "../kernel/abi/errno.ts";
import { type AddressSpace, type Context, REG, STOP_INTERRUPT } from "./platform.ts";

/** Where the image is, in every guest on every host, above what guests may map. The host's data pages are below it. */
export const VDSO_BASE = 0x7fe020000000;
/** Where the host's own is while another image has that place: within reach of a jump. */
const ASIDE = 0x7fe030000000 - VDSO_BASE;
/** Room for data pages below an image. */
const DATA_ROOM = 0x10000;
const PAGE = 4096;
const IMAGE_MAX = 16 * PAGE;
const SYMBOLS_MAX = 256;
const DYNAMIC_MAX = 64;
const NAME_MAX = 32;

const PROT_READ = 1;
const PROT_WRITE = 2;
const PROT_EXEC = 4;

/** Its functions and the calls that they save. Each has two names: with `__vdso_` before it, too. */
const CALLS = { clock_gettime: 228, gettimeofday: 96, time: 201, getcpu: 309, clock_getres: 229, getrandom: 318 };
type FunctionName = keyof typeof CALLS;
const NAMES = Object.keys(CALLS) as FunctionName[];
const CALL_SIZE = 32;

/** One of the host's mappings that belong together, from VDSO_BASE on. */
export interface VdsoRange {
  offset: number;
  size: number;
}

/** Throws when it is no image of a vDSO. */
class ElfReader {
  private readonly view: DataView;
  constructor(private readonly image: Uint8Array) {
    this.view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  }
  private at(offset: number, size: number): number {
    if (!Number.isInteger(offset) || offset < 0 || offset + size > this.image.length) throw new RangeError("vdso");
    return offset;
  }
  u16(offset: number): number {
    return this.view.getUint16(this.at(offset, 2), true);
  }
  u32(offset: number): number {
    return this.view.getUint32(this.at(offset, 4), true);
  }
  u64(offset: number): number {
    return this.u32(offset) + this.u32(offset + 4) * 4294967296;
  }
  name(offset: number): string {
    let end = this.at(offset, 1);
    while (end < this.image.length && end - offset < NAME_MAX && this.image[end] !== 0) end++;
    return Buffer.from(this.image.subarray(offset, end)).toString("latin1");
  }
}

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_HASH = 4;
const DT_STRTAB = 5;
const DT_SYMTAB = 6;
const DT_GNU_HASH = 0x6ffffef5;

/** Entries of the symbol table, as the hash tables tell: the image has no other word for it. */
function symbolCount(elf: ElfReader, hash: number, gnuHash: number): number {
  if (hash >= 0) return elf.u32(hash + 4);
  if (gnuHash < 0) return 0;
  const buckets = elf.u32(gnuHash);
  const first = elf.u32(gnuHash + 4);
  const bucketsAt = gnuHash + 16 + elf.u32(gnuHash + 8) * 8;
  const chains = bucketsAt + buckets * 4;
  let last = 0;
  for (let i = 0; i < Math.min(buckets, SYMBOLS_MAX); i++) last = Math.max(last, elf.u32(bucketsAt + i * 4));
  if (last < first) return 0;
  while (last < SYMBOLS_MAX && (elf.u32(chains + (last - first) * 4) & 1) === 0) last++;
  return last + 1;
}

/** Offsets in the image of the functions that are known here; null when it is no image of a vDSO. */
export function vdsoFunctions(image: Uint8Array): [FunctionName, number][] | null {
  try {
    return readFunctions(new ElfReader(image));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
function readFunctions(elf: ElfReader): [FunctionName, number][] | null {
  // ELF, 64 bits, little-endian, for x86-64.
  if (elf.u32(0) !== 0x464c457f || elf.u16(4) !== 0x0102 || elf.u16(18) !== 62) return null;
  const headers = elf.u64(32);
  const count = Math.min(elf.u16(56), DYNAMIC_MAX);
  let bias: number | null = null;
  let dynamic = -1;
  for (let i = 0; i < count; i++) {
    const at = headers + i * 56;
    const type = elf.u32(at);
    if (type === PT_LOAD) bias ??= elf.u64(at + 8) - elf.u64(at + 16);
    else if (type === PT_DYNAMIC) dynamic = elf.u64(at + 8);
  }
  if (bias === null || dynamic < 0) return null;
  const tables = new Map<number, number>();
  for (let i = 0; i < DYNAMIC_MAX && elf.u64(dynamic + i * 16) !== 0; i++)
    tables.set(elf.u64(dynamic + i * 16), elf.u64(dynamic + i * 16 + 8) + bias);
  const symbols = tables.get(DT_SYMTAB);
  const strings = tables.get(DT_STRTAB);
  if (symbols === undefined || strings === undefined) return null;
  const entries = Math.min(symbolCount(elf, tables.get(DT_HASH) ?? -1, tables.get(DT_GNU_HASH) ?? -1), SYMBOLS_MAX);
  const found: [FunctionName, number][] = [];
  for (let i = 0; i < entries; i++) {
    const at = symbols + i * 24;
    // Undefined ones have no section.
    if (elf.u16(at + 6) === 0) continue;
    const name = elf.name(strings + elf.u32(at)).replace(/^__vdso_/, "") as FunctionName;
    if (Object.hasOwn(CALLS, name)) found.push([name, elf.u64(at + 8) + bias]);
  }
  return found;
}

/** Bytes that the headers of an image account for, in whole pages; 0 when it is none. `head`: its first page at least. */
export function vdsoSize(head: Uint8Array): number {
  try {
    const elf = new ElfReader(head);
    let end = elf.u64(40) + elf.u16(58) * elf.u16(60);
    for (let i = 0; i < Math.min(elf.u16(56), DYNAMIC_MAX); i++) {
      const at = elf.u64(32) + i * 56;
      if (elf.u32(at) === PT_LOAD) end = Math.max(end, elf.u64(at + 8) + elf.u64(at + 32));
    }
    const size = Math.ceil(end / PAGE) * PAGE;
    return size <= IMAGE_MAX ? size : 0;
  } catch {
    return 0;
  }
}

const bytes32 = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >> 24) & 255];
/** Machine code of a function that makes the call. */
function callCode(name: FunctionName): number[] {
  // mov $nr, %eax; syscall; ret
  const call = [0xb8, ...bytes32(CALLS[name]), 0x0f, 0x05, 0xc3];
  if (name !== "getrandom") return call;
  // Asked for the size of its state (a fifth argument of -1) it says that it has none:
  // cmp $-1, %r8; jne call; mov $-ENOSYS, %rax; ret
  return [0x49, 0x83, 0xf8, 0xff, 0x75, 0x08, 0x48, 0xc7, 0xc0, ...bytes32(-38), 0xc3, ...call];
}

/** `syscall`. */
const SYSCALL = [0x0f, 0x05];
/** Instructions of a function there: some hundreds, in getrandom many more. */
const STEPS_MAX = 4096;

function inside(address: number): boolean {
  const offset = address - VDSO_BASE;
  return (offset >= 0 && offset <= IMAGE_MAX) || (offset >= ASIDE && offset < ASIDE + IMAGE_MAX);
}
/**
 * Before a save: takes a thread that was interrupted inside the vDSO out of it. False when it stays there, at a call or a
 * fault or since it takes long: it comes out of it on the other host, too, but for the gap above.
 */
export function leaveVdso(ctx: Context): boolean {
  const space = ctx.addressSpace;
  const code = new Uint8Array(2);
  for (let steps = 0; steps <= STEPS_MAX; steps++) {
    const rip = ctx.regs[REG.rip * 2]! + ctx.regs[REG.rip * 2 + 1]! * 4294967296;
    if (!inside(rip)) return true;
    if (ctx.stop !== STOP_INTERRUPT || space.read(rip, code, 0, 2) !== 2) return false;
    if ((code[0] === SYSCALL[0] && code[1] === SYSCALL[1]) || !ctx.singleStep()) return false;
  }
  return false;
}

/** What an address space keeps of this. */
export interface VdsoOwner extends AddressSpace {
  /** The image in place of the host's; null: the host's own. */
  placed: Uint8Array | null;
}

/** The host's vDSO, as the first stub has it. */
export class HostVdso {
  private readonly functions = new Map<FunctionName, number>();
  /** Its clocks are not those that guests are to see: clock_gettime is a call. */
  withheld = false;

  /** `image` is empty where the host has none. */
  constructor(
    readonly image: Uint8Array,
    private readonly ranges: readonly VdsoRange[],
  ) {
    for (const [name, offset] of vdsoFunctions(image) ?? []) this.functions.set(name, offset);
  }

  /** That of a stub whose mappings have been moved to VDSO_BASE. */
  static of(space: AddressSpace, ranges: readonly VdsoRange[]): HostVdso {
    const head = new Uint8Array(PAGE);
    const size = ranges.length > 0 && space.read(VDSO_BASE, head, 0, PAGE) === PAGE ? vdsoSize(head) : 0;
    const image = new Uint8Array(size);
    const whole = size > 0 && space.read(VDSO_BASE, image, 0, size) === size;
    return whole ? new HostVdso(image, ranges) : new HostVdso(new Uint8Array(0), []);
  }

  /** Where a guest has one: AT_SYSINFO_EHDR. */
  addressIn(space: VdsoOwner): number {
    return this.imageIn(space).length === 0 ? 0 : VDSO_BASE;
  }
  imageIn(space: VdsoOwner): Uint8Array {
    return space.placed ?? this.image;
  }

  /** See AddressSpace.placeVdso. */
  place(space: VdsoOwner, image: Uint8Array): number {
    const own = same(image, this.image);
    if (own && !this.withheld) return space.placed === null ? 0 : this.putBack(space);
    if (space.placed !== null && same(image, space.placed)) return 0;
    const code = image.length === 0 ? new Uint8Array(0) : this.patched(image);
    if (code === null) return -EINVAL;
    const cleared = space.placed === null ? this.move(space, 0, ASIDE) : this.clear(space);
    if (cleared < 0) return cleared;
    space.placed = image.slice();
    if (code.length === 0) return 0;
    let result = space.map(VDSO_BASE - DATA_ROOM, DATA_ROOM, PROT_READ, false, null, 0);
    if (result === 0) result = space.map(VDSO_BASE, code.length, PROT_READ | PROT_WRITE, false, null, 0);
    if (result === 0 && space.write(VDSO_BASE, code, 0, code.length) !== code.length) result = -EINVAL;
    space.flush?.();
    return result < 0 ? result : space.protect(VDSO_BASE, code.length, PROT_READ | PROT_EXEC);
  }
  private putBack(space: VdsoOwner): number {
    const cleared = this.clear(space);
    if (cleared === 0) space.placed = null;
    return cleared < 0 ? cleared : this.move(space, ASIDE, 0);
  }
  private clear(space: VdsoOwner): number {
    return space.unmap(VDSO_BASE - DATA_ROOM, DATA_ROOM + IMAGE_MAX + PAGE);
  }
  private move(space: AddressSpace, from: number, to: number): number {
    for (const { offset, size } of this.ranges) {
      const result = space.remap(VDSO_BASE + from + offset, size, VDSO_BASE + to + offset, size);
      if (result < 0) return result;
    }
    return 0;
  }

  /** The image with jumps at its functions, and a page of calls behind it; null when it cannot be made. */
  private patched(image: Uint8Array): Uint8Array | null {
    const functions = image.length > IMAGE_MAX || image.length % PAGE !== 0 ? null : vdsoFunctions(image);
    if (functions === null) return null;
    const code = new Uint8Array(image.length + PAGE);
    code.set(image);
    NAMES.forEach((name, i) => {
      code.set(callCode(name), image.length + i * CALL_SIZE);
    });
    for (const [name, offset] of functions) {
      if (offset < 0 || !(offset + 5 <= image.length)) return null;
      const theirs = this.functions.get(name);
      const byCall = theirs === undefined || name === "getrandom" || (this.withheld && name === "clock_gettime");
      const target = byCall ? image.length + NAMES.indexOf(name) * CALL_SIZE : ASIDE + theirs;
      code.set([0xe9, ...bytes32(target - (offset + 5))], offset);
    }
    return code;
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || Buffer.compare(a, b) === 0;
}
