/**
 * The stack that a program starts with: argument and environment strings, their addresses, the auxiliary vector.
 *
 * Source: execve(2), getauxval(3), fs/binfmt_elf.c (create_elf_tables) for the order.
 */
import { getauxval } from "../../native/host.ts";
import { encodeName } from "../abi/bytes.ts";
import { ENOMEM } from "../abi/errno.ts";
import { setU64 } from "../mm/mm.ts";
import type { Task } from "../task/task.ts";
import { type Elf, PT_LOAD } from "./elf.ts";

/** What a program is told by whoever starts it. */
export interface Told {
  argv: readonly Uint8Array[];
  envp: readonly Uint8Array[];
  /** AT_EXECFN. */
  name: string;
  /** AT_SECURE: 1 when it has more rights than its caller. */
  secure: number;
}

/** Where the program and its stack are. */
export interface Placement {
  /** The mapped stack: where it ends, and its bytes. */
  top: number;
  size: number;
  elf: Elf;
  bias: number;
  /** Of the dynamic linker; 0 without. */
  linkerBias: number;
  /** Eight random words: the last four are AT_RANDOM's, one before moves the stack a little. */
  random: Uint32Array;
}

const AT_NULL = 0;
const AT_PHDR = 3;
const AT_PHENT = 4;
const AT_PHNUM = 5;
const AT_PAGESZ = 6;
const AT_BASE = 7;
const AT_FLAGS = 8;
const AT_ENTRY = 9;
const AT_UID = 11;
const AT_EUID = 12;
const AT_GID = 13;
const AT_EGID = 14;
const AT_PLATFORM = 15;
const AT_HWCAP = 16;
const AT_CLKTCK = 17;
const AT_SECURE = 23;
const AT_RANDOM = 25;
const AT_HWCAP2 = 26;
const AT_EXECFN = 31;
const AT_SYSINFO_EHDR = 33;
const AT_MINSIGSTKSZ = 51;

/**
 * Puts strings, each with its NUL, into `block` from `at` on, and their addresses (`base` is that of the block) as pairs
 * of words into `pointers`; where the next one goes. By itself, since there may be hundreds of thousands.
 */
function placeStrings(
  block: Uint8Array,
  at: number,
  base: number,
  strings: readonly Uint8Array[],
  pointers: Uint32Array,
): number {
  let next = at;
  for (let i = 0; i < strings.length; i++) {
    const bytes = strings[i]!;
    const where = base + next;
    pointers[2 * i] = where >>> 0;
    pointers[2 * i + 1] = (where / 4294967296) | 0;
    if (bytes.length > 0) block.set(bytes, next);
    next += bytes.length + 1;
  }
  return next;
}

/** Addresses of what the auxiliary vector points to. */
interface Pointed {
  execfn: number;
  platform: number;
  random: number;
}

function auxiliaryVector(task: Task, secure: number, placement: Placement, at: Pointed): [number, number][] {
  const { elf, bias, linkerBias } = placement;
  const { cred } = task;
  const { vdso } = task.mm.space;
  const first = elf.segments.find((s) => s.type === PT_LOAD)!;
  const vector: [number, number][] = vdso === 0 ? [] : [[AT_SYSINFO_EHDR, vdso]];
  vector.push(
    [AT_MINSIGSTKSZ, getauxval(AT_MINSIGSTKSZ) || 2048],
    [AT_HWCAP, getauxval(AT_HWCAP)],
    [AT_PAGESZ, 4096],
    [AT_CLKTCK, 100],
    [AT_PHDR, bias + first.vaddr - first.offset + elf.phoff],
    [AT_PHENT, 56],
    [AT_PHNUM, elf.phnum],
    [AT_BASE, linkerBias],
    [AT_FLAGS, 0],
    [AT_ENTRY, bias + elf.entry],
    [AT_UID, cred.uid],
    [AT_EUID, cred.euid],
    [AT_GID, cred.gid],
    [AT_EGID, cred.egid],
    [AT_SECURE, secure],
    [AT_RANDOM, at.random],
    [AT_HWCAP2, getauxval(AT_HWCAP2)],
    [AT_EXECFN, at.execfn],
    [AT_PLATFORM, at.platform],
    [AT_NULL, 0],
  );
  return vector;
}

/** Strings, auxv, envp, argv, argc. The stack pointer, or -errno. */
export function buildStack(task: Task, told: Told, placement: Placement): number {
  const { argv, envp } = told;
  const { top, size, random } = placement;
  const { mm } = task;
  const execfn = encodeName(told.name);
  let stringBytes = 8 + execfn.length + 1;
  for (const s of argv) stringBytes += s.length + 1;
  for (const s of envp) stringBytes += s.length + 1;
  const platform = encodeName("x86_64");
  const vectors = 8 * (1 + argv.length + 1 + envp.length + 1) + 16 * 24;
  const total = stringBytes + vectors + platform.length + 64 + 8192;
  if (total > size - 4096) return -ENOMEM;

  const block = new Uint8Array(total);
  const base = top - total;
  // Strings at the very top, in Linux' order: argv, envp, execfn, eight bytes of zero.
  let at = total - stringBytes;
  const stringsAt = at;
  mm.argStart = base + at;
  const argPointers = new Uint32Array(2 * argv.length);
  at = placeStrings(block, at, base, argv, argPointers);
  mm.argEnd = mm.envStart = base + at;
  const envPointers = new Uint32Array(2 * envp.length);
  at = placeStrings(block, at, base, envp, envPointers);
  mm.envEnd = base + at;
  block.set(execfn, at);
  const execfnAt = base + at;

  at = stringsAt - platform.length - 1;
  block.set(platform, at);
  const platformAt = base + at;
  at = (at - 16) & ~15;
  block.set(new Uint8Array(random.buffer, 16, 16), at);
  const randomAt = base + at;
  // A little random room, as Linux leaves, keeps stacks of equal programs apart.
  at -= (random[3]! % 512) * 16;

  const pointed = { execfn: execfnAt, platform: platformAt, random: randomAt };
  const auxv = auxiliaryVector(task, told.secure, placement, pointed);
  const words = 1 + argv.length + 1 + envp.length + 1 + 2 * auxv.length;
  let sp = base + at - words * 8;
  sp -= sp % 16;
  const view = new DataView(block.buffer);
  at = sp - base;
  const push = (value: number): void => {
    setU64(view, at, value);
    at += 8;
  };
  const pushAll = (pointers: Uint32Array): void => {
    block.set(new Uint8Array(pointers.buffer), at);
    at += pointers.byteLength;
    push(0);
  };
  push(argv.length);
  pushAll(argPointers);
  pushAll(envPointers);
  const auxvAt = at;
  for (const [type, value] of auxv) {
    push(type);
    push(value);
  }
  mm.auxv = block.slice(auxvAt, at);
  mm.stackStart = sp;
  const from = sp - base;
  const written = mm.copyOut(sp, block, from, total - from);
  return written === total - from ? sp : -ENOMEM;
}
