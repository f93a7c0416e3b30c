/**
 * ELF64 headers of x86-64 programs and interpreters.
 *
 * Source: elf(5). Parsing checks everything that loading relies on; what Linux refuses is refused with its errno.
 */
import { EINVAL, ENOEXEC } from "../abi/errno.ts";
import { getU64 } from "../mm/mm.ts";

export const PT_LOAD = 1;
export const PT_INTERP = 3;
export const PT_GNU_STACK = 0x6474e551;
const ET_EXEC = 2;
const ET_DYN = 3;
const EM_X86_64 = 62;
const PHDR_SIZE = 56;
/** Program headers of one page, as in Linux. */
const MAX_PHDRS = 65536 / PHDR_SIZE;

export interface Segment {
  type: number;
  flags: number;
  offset: number;
  vaddr: number;
  filesz: number;
  memsz: number;
  align: number;
}

export interface Elf {
  /** ET_DYN: may be loaded anywhere. */
  relocatable: boolean;
  entry: number;
  phoff: number;
  phnum: number;
  segments: Segment[];
}

/** Is this the beginning of an ELF file? */
export function isElf(head: Uint8Array): boolean {
  return head[0] === 0x7f && head[1] === 0x45 && head[2] === 0x4c && head[3] === 0x46;
}

/** Reads the headers through `readAt` (bytes read, or -errno). An Elf, or -errno. */
export function parseElf(head: Uint8Array, readAt: (dst: Uint8Array, offset: number) => number): Elf | number {
  if (head.length < 64 || !isElf(head)) return -ENOEXEC;
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  // Linux looks at the machine only, not at class and byte order.
  if (view.getUint16(18, true) !== EM_X86_64) return -ENOEXEC;
  const type = view.getUint16(16, true);
  if (type !== ET_EXEC && type !== ET_DYN) return -ENOEXEC;
  const phnum = view.getUint16(56, true);
  if (view.getUint16(54, true) !== PHDR_SIZE || phnum < 1 || phnum > MAX_PHDRS) return -ENOEXEC;
  const phoff = getU64(view, 32);
  const table = new Uint8Array(phnum * PHDR_SIZE);
  const got = readAt(table, phoff);
  if (got < 0) return got;
  if (got < table.length) return -ENOEXEC;
  const segments: Segment[] = [];
  const phdrs = new DataView(table.buffer);
  for (let i = 0; i < phnum; i++) {
    const at = i * PHDR_SIZE;
    segments.push({
      type: phdrs.getUint32(at, true),
      flags: phdrs.getUint32(at + 4, true),
      offset: getU64(phdrs, at + 8),
      vaddr: getU64(phdrs, at + 16),
      filesz: getU64(phdrs, at + 32),
      memsz: getU64(phdrs, at + 40),
      align: getU64(phdrs, at + 48),
    });
  }
  for (const segment of segments) {
    if (segment.type !== PT_LOAD) continue;
    if (segment.filesz > segment.memsz || segment.vaddr + segment.memsz > 2 ** 47) return -EINVAL;
    if (segment.vaddr % 4096 !== segment.offset % 4096) return -EINVAL;
  }
  if (!segments.some((s) => s.type === PT_LOAD)) return -ENOEXEC;
  return { relocatable: type === ET_DYN, entry: getU64(view, 24), phoff, phnum, segments };
}

/** Pages from the lowest to the highest loaded address: [start, end). */
export function loadSpan(elf: Elf): { start: number; end: number; align: number } {
  let start = Number.POSITIVE_INFINITY;
  let end = 0;
  let align = 4096;
  for (const s of elf.segments) {
    if (s.type !== PT_LOAD) continue;
    start = Math.min(start, s.vaddr - (s.vaddr % 4096));
    end = Math.max(end, s.vaddr + s.memsz);
    if (s.align > align && s.align <= 1 << 30 && (s.align & (s.align - 1)) === 0) align = s.align;
  }
  return { start, end: Math.ceil(end / 4096) * 4096, align };
}
