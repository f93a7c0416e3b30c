/**
 * What runs guest code, in a saved kernel: contexts, address spaces, and the pages in them.
 *
 * Tasks and address spaces are saved with the other objects, while every guest thread stands still. Pages are read
 * afterwards, from snapshots of the address spaces, while the guests go on: `memory` of the image has a line for each run.
 *
 * Source: proc(5) "maps". Invariant: the lists of areas say what is mapped; of private areas the pages that differ from
 * what is mapped there are kept, those that a restore has mapped from an image among them (platform/image-ranges.ts).
 */

import { pread } from "../../native/host.ts";
import { relocate } from "../../platform/fp-image.ts";
import type { AddressSpace, Context, ContextState, HostMemory, MapRun, Snapshot } from "../../platform/platform.ts";
import { REG, REG_COUNT, STOP_GONE, STOP_INTERRUPT, STOP_SYSCALL } from "../../platform/platform.ts";
import { leaveVdso } from "../../platform/vdso.ts";
import { EFAULT, EINVAL, ESRCH, errnoName } from "../abi/errno.ts";
import { MADV_DONTFORK, MADV_WIPEONFORK } from "../abi/mman.ts";
import type { Kernel } from "../kernel.ts";
import { type Mm, mayWriteThrough } from "../mm/mm.ts";
import { type Area, PAGE_SIZE, PROT_READ, PROT_WRITE, VMA_DONTFORK, VMA_WIPEONFORK } from "../mm/vma.ts";
import { RUN_GUEST, RUN_ZOMBIE, type Task } from "../task/task.ts";
import { ImageError } from "./encode.ts";
import type { Stored } from "./host.ts";
import { type Form, rulesOf } from "./registry.ts";
import type { Restore } from "./restore.ts";
import type { Save } from "./save.ts";

/** `syscall` is two bytes long. */
const SYSCALL_LENGTH = 2;

type RegisterName = keyof typeof REG;
const REGISTERS = Object.keys(REG) as RegisterName[];

/** A context as it is saved. */
interface SavedContext {
  /** By name, as hexadecimal numbers. */
  registers: Record<string, string>;
  /** Floating-point state as in a signal frame, base64. */
  fp: string;
}
/** An address space as it is saved: its number in the lines of pages, and the vDSO that its programs know. */
interface SavedSpace {
  space: number;
  vdso: Uint8Array;
}

/** The snapshots of a save, by the numbers of their address spaces. */
const snapshots = new WeakMap<Save, SpaceSnapshot[]>();
/** The states of all contexts, by their saves: they are asked for at once. */
const states = new WeakMap<Save, Map<Context, ContextState | number>>();
function statesOf(save: Save): Map<Context, ContextState | number> {
  let known = states.get(save);
  if (known === undefined) {
    const contexts: Context[] = [];
    for (const { ctx } of save.kernel.tasks) if (ctx !== null && ctx.stop !== STOP_GONE) contexts.push(ctx);
    for (const context of contexts) leaveVdso(context);
    const all = save.kernel.platform.states(contexts);
    known = new Map(contexts.map((context, i) => [context, all[i]!]));
    states.set(save, known);
  }
  return known;
}
/** What a restore has met of contexts and address spaces: they are made when all else is there. */
const met = new WeakMap<
  Restore,
  { contexts: Map<Task, SavedContext>; spaces: Map<number, { mm: Mm; vdso: unknown }> }
>();

interface SpaceSnapshot {
  snapshot: Snapshot;
  /** Private areas as they were. */
  areas: PrivateArea[];
}
interface PrivateArea {
  start: number;
  end: number;
  /** Pages that are not there are zero. */
  anonymous: boolean;
}

const metBy = (restore: Restore) => {
  let found = met.get(restore);
  if (found === undefined) {
    found = { contexts: new Map(), spaces: new Map() };
    met.set(restore, found);
  }
  return found;
};

/**
 * A task's context. One that stands at a call which nobody has begun to serve goes back to before the call; so does one
 * that was asked for by a plugin: it is run again from its arguments.
 */
export const contextForm: Form<Task> = {
  save(context: Context | null, task, save): SavedContext | null {
    if (context === null) return null;
    if (context.stop === STOP_GONE) throw new Error(`thread ${task.tid} (${task.comm}) is just ending`);
    const state = statesOf(save).get(context);
    if (state === undefined || typeof state === "number")
      throw new Error(
        `the state of thread ${task.tid} (${task.comm}) cannot be read: ${errnoName(-(state ?? -ESRCH))}`,
      );
    const { regs, fp } = state;
    if (task.runState === RUN_GUEST && context.stop === STOP_SYSCALL) {
      const rip = regs[REG.rip * 2]! + regs[REG.rip * 2 + 1]! * 2 ** 32 - SYSCALL_LENGTH;
      setRegister(regs, REG.rip, rip);
      for (const half of [0, 1]) regs[REG.rax * 2 + half] = regs[REG.origRax * 2 + half]!;
    }
    const registers: Record<string, string> = {};
    for (const name of REGISTERS) {
      const at = REG[name] * 2;
      registers[name] = `0x${((BigInt(regs[at + 1]!) << 32n) | BigInt(regs[at]!)).toString(16)}`;
    }
    return { registers, fp: Buffer.from(fp).toString("base64") };
  },
  restore(saved: SavedContext | null, task, restore): null {
    if (saved !== null) metBy(restore).contexts.set(task, saved);
    return null;
  },
};

/** An address space, with a snapshot of it for the pages. */
export const spaceForm: Form<Mm> = {
  save(space: AddressSpace, mm, save): SavedSpace | null {
    // Everybody who lived in it has ended.
    if (mm.users <= 0) return null;
    let list = snapshots.get(save);
    if (list === undefined) {
      list = [];
      snapshots.set(save, list);
    }
    const left: number[] = [];
    const wiped: number[] = [];
    const areas: PrivateArea[] = [];
    for (const area of mm.vmas) {
      if (area.flags & VMA_DONTFORK) left.push(area.start, area.end);
      if (area.flags & VMA_WIPEONFORK) wiped.push(area.start, area.end);
      if (!isPrivate(area, space)) continue;
      areas.push({ start: area.start, end: area.end, anonymous: area.memory === null });
    }
    const snapshot = space.snapshot({ left, wiped });
    if (typeof snapshot === "number") throw new Error(`a process cannot be copied: ${errnoName(-snapshot)}`);
    list.push({ snapshot, areas });
    return { space: list.length - 1, vdso: space.vdsoImage() };
  },
  restore(saved: SavedSpace | null, mm, restore): unknown {
    if (saved === null) return null;
    const { spaces } = metBy(restore);
    if (!Number.isInteger(saved.space) || spaces.has(saved.space))
      throw new ImageError(`objects: two address spaces have the number ${saved.space}`);
    spaces.set(saved.space, { mm, vdso: saved.vdso });
    return null;
  },
};

function setRegister(regs: Uint32Array, index: number, value: number): void {
  regs[index * 2] = value >>> 0;
  regs[index * 2 + 1] = Math.floor(value / 2 ** 32) >>> 0;
}

const isVdso = (area: Area, space: AddressSpace): boolean => space.vdso !== 0 && area.start === space.vdso;
const isPrivate = (area: Area, space: AddressSpace): boolean => !area.shared && !isVdso(area, space);

// ---- Pages, written ----

/** A run of pages: an address, a length, and where its bytes lie in the file of its address space. */
export interface Run {
  space: number;
  addr: number;
  length: number;
  at: number;
}

const PAGES_TYPE = "pages";

/** A run as a line of objects.jsonl. */
export function runText(id: number, { space, addr, length, at }: Run): string {
  return JSON.stringify({ id, type: PAGES_TYPE, space, addr: `0x${addr.toString(16)}`, length, at });
}
/** The run of a line; null when it is another line. */
export function parseRun(line: string): Run | null {
  if (!RUN_LINE.test(line)) return null;
  const wrong = () => new ImageError(`objects.jsonl: a run of pages is not as it should be: ${line.slice(0, 128)}`);
  let record: Record<string, unknown>;
  try {
    record = JSON.parse(line) as Record<string, unknown>;
  } catch {
    throw wrong();
  }
  const { space, addr, length, at } = record;
  const start = typeof addr === "string" && HEX.test(addr) ? Number(addr) : -1;
  if (!isPlace(space) || !isPlace(start) || !isPlace(length) || !isPlace(at)) throw wrong();
  if ([start, length, at].some((n) => n % PAGE_SIZE !== 0)) throw wrong();
  return { space, addr: start, length, at };
}
const RUN_LINE = /^\{"id":\d+,"type":"pages"/;
const isPlace = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Runs with less than this between them are one: a run is a mapping of the host's, of which there are so many. */
const GAP_MAX = 16 * PAGE_SIZE;
/** What is copied between two looks at the time. */
const BLOCK = 1 << 20;

/** Lets go of what was taken for the pages. */
export function dropSnapshots(save: Save): void {
  for (const { snapshot } of snapshots.get(save) ?? []) snapshot.destroy();
  snapshots.delete(save);
}

/** A file of pages: places in it are zero until something is copied there. */
export interface PageFile {
  readonly fd: number;
  reserve(length: number): Stored;
}

/** How many address spaces were saved. */
export const spacesOf = (save: Save): number => snapshots.get(save)?.length ?? 0;

/**
 * Writes the pages of an address space, some at each step: yields between them. Each has a file of its own, since whoever
 * takes over a stub can read the whole file that it has mapped.
 */
export function* writePages(save: Save, space: number, file: PageFile, runs: Run[]): Generator<void> {
  const { snapshot, areas } = snapshots.get(save)![space]!;
  for (const { start, end, anonymous } of areas) {
    const changed = snapshot.changed(start, end - start);
    if (typeof changed === "number") throw new Error(`the pages of a process cannot be told: ${errnoName(-changed)}`);
    for (const [from, to] of joined(pairsOf(changed), anonymous)) {
      const { at } = file.reserve(to - from);
      runs.push({ space, addr: from, length: to - from, at });
      for (let addr = from; addr < to; addr += BLOCK) {
        const copied = snapshot.copyTo(file.fd, at + (addr - from), addr, Math.min(BLOCK, to - addr));
        if (copied < 0) throw new Error(`memory at 0x${addr.toString(16)} cannot be saved: ${errnoName(-copied)}`);
        yield;
      }
    }
    yield;
  }
  snapshot.destroy();
}

type Range = [number, number];
const pairsOf = (flat: readonly number[]): Range[] => {
  const pairs: Range[] = [];
  for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i]!, flat[i + 1]!]);
  return pairs;
};
/** Ranges that follow each other; `gaps`: also with small gaps between them. */
function joined(ranges: Range[], gaps: boolean): Range[] {
  const runs: Range[] = [];
  for (const [from, to] of ranges) {
    const last = runs.at(-1);
    if (last !== undefined && from <= last[1] + (gaps ? GAP_MAX : 0)) last[1] = Math.max(last[1], to);
    else runs.push([from, to]);
  }
  return runs;
}

// ---- Made again ----

/** Pages of the image as host memory, to be mapped privately. */
class ImagePages implements HostMemory {
  constructor(readonly fd: number) {}
  get readFd(): number {
    return this.fd;
  }
}

/**
 * Makes the address spaces and threads that a restore has met, when everything else is there. `files`: the pages of each
 * address space, as host descriptors. `saved`: the processor that they ran on. Threads that ran guest code are held by their
 * containers, as if they had just been interrupted.
 */
export function makeSpaces(
  restore: Restore,
  runs: readonly Run[],
  files: readonly number[],
  saved: { readonly areas: readonly number[] },
): void {
  const { kernel } = restore;
  const { contexts, spaces } = metBy(restore);
  met.delete(restore);
  const here = kernel.platform.cpuFeatures();
  const isSame = JSON.stringify(saved.areas) === JSON.stringify(here.areas);
  const fpOf = (fp: Uint8Array): Uint8Array | null => (isSame ? fp : relocate(fp, saved.areas, here));
  const tasksOf = new Map<Mm, Task[]>();
  for (const task of contexts.keys()) {
    if (task.runState >= RUN_ZOMBIE) throw new ImageError(`objects: thread ${task.tid} has ended and has a context`);
    const list = tasksOf.get(task.mm);
    if (list === undefined) tasksOf.set(task.mm, [task]);
    else list.push(task);
  }
  const runsOf = new Map<number, Run[]>();
  for (const run of runs) {
    const list = runsOf.get(run.space);
    if (list === undefined) runsOf.set(run.space, [run]);
    else list.push(run);
  }
  for (const [number, { mm, vdso }] of spaces) {
    const tasks = tasksOf.get(mm);
    if (tasks === undefined) throw new ImageError(`objects: nobody lives in address space ${number}`);
    tasksOf.delete(mm);
    const file = files[number];
    if (file === undefined) throw new ImageError(`objects.jsonl: address space ${number} has no pages`);
    makeSpace(kernel, mm, vdso, tasks, contexts, runsOf.get(number) ?? [], new ImagePages(file), fpOf);
  }
  if (tasksOf.size > 0) throw new ImageError("objects: a thread has no address space");
}

/** Programs keep the addresses of its functions. */
function placeVdso(space: AddressSpace, image: unknown): void {
  if (!(image instanceof Uint8Array)) throw new ImageError("objects.jsonl: a vDSO is no bytes");
  if (image.length === 0 || Buffer.compare(image, space.vdsoImage()) === 0) return;
  const result = space.placeVdso(Uint8Array.from(image));
  if (result < 0) throw new ImageError(`objects.jsonl: a vDSO cannot be placed: ${errnoName(-result)}`);
}

function makeSpace(
  kernel: Kernel,
  mm: Mm,
  vdso: unknown,
  tasks: readonly Task[],
  saved: ReadonlyMap<Task, SavedContext>,
  runs: readonly Run[],
  pages: HostMemory,
  fpOf: (fp: Uint8Array) => Uint8Array | null,
): void {
  const first = kernel.platform.createAddressSpace(tasks[0]!.container.home);
  if (typeof first === "number") throw new Error(`a process cannot be made: ${errnoName(-first)}`);
  const space = first.addressSpace;
  mm.space = space;
  space.executor = first;
  // Before the areas, of which it is one: the host's own may be elsewhere, or nowhere.
  placeVdso(space, vdso);
  checkAreas(mm);
  for (const area of mm.vmas) mapArea(mm, area);
  const mappings: MapRun[] = [];
  for (const run of runs) bringPages(mm, run, mappings, pages);
  check(space.mapMany(mappings, pages), "the image's pages cannot be mapped");
  for (const area of mm.vmas) {
    if (area.flags & VMA_DONTFORK) space.advise(area.start, area.length, MADV_DONTFORK);
    if (area.flags & VMA_WIPEONFORK) space.advise(area.start, area.length, MADV_WIPEONFORK);
  }
  for (const [i, task] of tasks.entries()) {
    const context = i === 0 ? first : space.createContext();
    if (typeof context === "number") throw new Error(`a thread cannot be made: ${errnoName(-context)}`);
    context.owner = task;
    adopt(task, context, saved.get(task)!, fpOf);
    task.ctx = context;
    if (task.runState !== RUN_GUEST) continue;
    context.stop = STOP_INTERRUPT;
    task.container.heldStops.push(context);
  }
}

function check(result: number, what: string): void {
  if (result < 0) throw new Error(`${what}: ${errnoName(-result)}`);
}

/** The list is what the platform is told, and it is a stranger's word. */
function checkAreas({ space, vmas }: Mm): void {
  let end = space.minAddress;
  for (const area of vmas) {
    const wrong = (what: string) => new ImageError(`memory: the area at 0x${area.start.toString(16)} ${what}`);
    const isWhole = [area.start, area.end, area.offset].every((n) => Number.isSafeInteger(n) && n % PAGE_SIZE === 0);
    if (!isWhole || area.offset < 0 || (area.prot & ~7) !== 0) throw wrong("is not as areas are");
    if (area.end <= area.start) throw wrong("has no length");
    if (area.start < end) throw wrong(`begins below 0x${end.toString(16)}, where the one before it ends`);
    if (area.end > space.maxAddress && !isVdso(area, space)) throw wrong("lies where none can lie");
    if (area.memory !== null && !isHostMemory(area.memory)) throw wrong("shows what cannot be mapped");
    end = area.end;
  }
}
/** Has it a descriptor that the restore has opened? One that is a number in the image is whatever this process has there. */
function isHostMemory(memory: object): boolean {
  if (!("fd" in memory) || !("readFd" in memory)) return false;
  if (!Object.hasOwn(memory, "fd")) return true;
  return rulesOf(Object.getPrototypeOf(memory) as object).some(
    ({ as, transient }) => Object.hasOwn(as ?? {}, "fd") || Object.hasOwn(transient ?? {}, "fd"),
  );
}

function mapArea({ space }: Mm, area: Area): void {
  if (isVdso(area, space)) return;
  const { start, length, prot, shared, memory, offset, file, flags } = area;
  const result = space.map(start, length, prot, shared, memory, offset, mayWriteThrough(shared, file, flags));
  check(result, `memory cannot be mapped at 0x${start.toString(16)}`);
}

/**
 * A run may go through several areas, each with rights of its own. Anonymous memory is mapped from the image; changed pages
 * of a file are copied, since the host would take all that is mapped from the image for anonymous memory.
 */
function bringPages({ space, vmas }: Mm, { addr, length, at }: Run, mappings: MapRun[], pages: HostMemory): void {
  for (const area of vmas.overlapping(addr, addr + length)) {
    if (!isPrivate(area, space))
      throw new ImageError(`objects.jsonl: pages at 0x${addr.toString(16)}, which is shared`);
    const from = Math.max(addr, area.start);
    const to = Math.min(addr + length, area.end);
    const offset = at + (from - addr);
    if (area.memory === null) mappings.push({ addr: from, length: to - from, prot: area.prot, offset });
    else
      check(copyPages(space, area, from, to, pages.fd, offset), `memory cannot be written at 0x${from.toString(16)}`);
  }
}

const COPIED_AT_ONCE = 1 << 16;
const copied = new Uint8Array(COPIED_AT_ONCE);
function copyPages(space: AddressSpace, area: Area, from: number, to: number, fd: number, offset: number): number {
  const writable = (area.prot & PROT_WRITE) !== 0;
  let result = writable ? 0 : space.protect(from, to - from, PROT_READ | PROT_WRITE);
  for (let addr = from; addr < to && result >= 0; addr += COPIED_AT_ONCE) {
    const length = Math.min(COPIED_AT_ONCE, to - addr);
    const got = pread(fd, copied, length, offset + (addr - from));
    if (got < 0) result = got;
    else if (got < length) throw new ImageError(`pages: they end before ${offset + (to - from)}`);
    else if (space.write(addr, copied, 0, length) < length) result = -EFAULT;
  }
  if (result < 0) return result;
  space.flush?.();
  return writable ? 0 : space.protect(from, to - from, area.prot);
}

const HEX = /^0x[0-9a-f]{1,16}$/;
function adopt(
  task: Task,
  context: Context,
  { registers, fp }: SavedContext,
  fpOf: (fp: Uint8Array) => Uint8Array | null,
): void {
  const regs = new Uint32Array(REG_COUNT * 2);
  for (const name of REGISTERS) {
    const text = registers[name];
    if (typeof text !== "string" || !HEX.test(text))
      throw new ImageError(`objects: thread ${task.tid}: register ${name} is no number`);
    const value = BigInt(text);
    regs[REG[name] * 2] = Number(value & 0xffffffffn);
    regs[REG[name] * 2 + 1] = Number(value >> 32n);
  }
  const state = fpOf(Buffer.from(fp, "base64"));
  const result = state === null ? -EINVAL : context.adopt(regs, state);
  if (result < 0)
    throw new ImageError(`objects: thread ${task.tid}: its registers or floating-point state: ${errnoName(-result)}`);
}
