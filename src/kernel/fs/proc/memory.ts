/**
 * /proc/PID/{maps,smaps,smaps_rollup,numa_maps,mem,cmdline,environ,auxv}: a guest's memory, listed and read.
 *
 * Source: proc_pid_maps(5), proc_pid_smaps(5), proc_pid_mem(5), proc_pid_cmdline(5).
 * Gaps: smaps takes page counts from the host where the host gives them; pages that the kernel shares between stubs
 * (memory files) may be counted as shared where Linux would count them private.
 */
import { EINVAL, EIO } from "../../abi/errno.ts";
import { majorOf, minorOf } from "../../abi/stat.ts";
import type { Mm } from "../../mm/mm.ts";
import {
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  VMA_DONTFORK,
  VMA_GROWSDOWN,
  VMA_LOCKED,
  VMA_WIPEONFORK,
  type Vma,
} from "../../mm/vma.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { File } from "../../vfs/file.ts";
import type { Inode } from "../../vfs/inode.ts";
import type { Io } from "../../vfs/io.ts";
import { fileName } from "./descriptors.ts";
import { liveMm } from "./target.ts";
import { escapeName, hex } from "./units.ts";
import { readStubFile } from "./usage.ts";

/** The part before the name: range, permission, offset, device, inode. */
function mapLine(vma: Vma, mm: Mm, reader: Task): string {
  const { prot } = vma;
  const bits =
    (prot & PROT_READ ? "r" : "-") +
    (prot & PROT_WRITE ? "w" : "-") +
    (prot & PROT_EXEC ? "x" : "-") +
    (vma.shared ? "s" : "p");
  let dev = 0;
  let ino = 0;
  if (vma.file !== null) {
    const attr = vma.file.getattr();
    if (typeof attr !== "number") {
      dev = attr.dev;
      ino = attr.ino;
    }
  }
  const offset = vma.file !== null ? vma.offset : 0;
  const head = `${hex(vma.start, 8)}-${hex(vma.end, 8)} ${bits} ${hex(offset, 8)} ${hex(majorOf(dev), 2)}:${hex(minorOf(dev), 2)} ${ino} `;
  const name = areaName(vma, mm, reader);
  return name === "" ? head : `${head.padEnd(73)}${name}`;
}

function areaName(vma: Vma, mm: Mm, reader: Task): string {
  if (vma.name !== "") return vma.name;
  if (vma.file !== null) return escapeName(fileName(reader, vma.file), "\n");
  if (mm.brkStart < mm.brk && vma.start < mm.brk && vma.end > mm.brkStart) return "[heap]";
  if (mm.stackStart !== 0 && vma.start <= mm.stackStart && mm.stackStart < vma.end) return "[stack]";
  return "";
}

/** A line of maps. */
export const mapsLine = (vma: Vma, mm: Mm, reader: Task): string => `${mapLine(vma, mm, reader)}\n`;

/** The numbers of smaps that add up; KiB. */
const COUNTED = [
  "Rss",
  "Pss",
  "Pss_Dirty",
  "Shared_Clean",
  "Shared_Dirty",
  "Private_Clean",
  "Private_Dirty",
  "Referenced",
  "Anonymous",
  "KSM",
  "LazyFree",
  "AnonHugePages",
  "ShmemPmdMapped",
  "FilePmdMapped",
  "Shared_Hugetlb",
  "Private_Hugetlb",
  "Swap",
  "SwapPss",
  "Locked",
] as const;
type Counts = Record<string, number>;

/** Areas of which the host is asked for counts: the text about many is long, for the host to make and for us to read. */
const COUNTED_AREAS_MAX = 1000;

/** The host's smaps of the stub: counts by start address. Host areas may be cut differently from ours. */
function hostCounts(task: Task, mm: Mm): { start: number; end: number; counts: Counts }[] {
  if (mm.vmas.length > COUNTED_AREAS_MAX) return [];
  const text = readStubFile(task.kernel, mm.space.hostPid, "smaps", 8 << 20);
  const areas: { start: number; end: number; counts: Counts }[] = [];
  for (const line of text.split("\n")) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (head) areas.push({ start: Number.parseInt(head[1]!, 16), end: Number.parseInt(head[2]!, 16), counts: {} });
    else {
      const value = /^(\w+): +(\d+) kB/.exec(line);
      if (value) areas.at(-1)!.counts[value[1]!] = Number(value[2]);
    }
  }
  return areas;
}

function noCounts(): Counts {
  const counts: Counts = {};
  for (const name of COUNTED) counts[name] = 0;
  return counts;
}
/** Where the host tells nothing: as if all of it were there. */
function estimate(vma: Vma): Counts {
  const counts = noCounts();
  if (vma.prot === 0) return counts;
  const size = vma.length / 1024;
  counts["Rss"] = counts["Pss"] = counts["Referenced"] = size;
  counts[vma.shared ? "Shared_Dirty" : vma.prot & PROT_WRITE ? "Private_Dirty" : "Private_Clean"] = size;
  if (vma.file === null) counts["Anonymous"] = size;
  return counts;
}

/** Counts of each area: the host's, shared out by size where its areas span several of ours. */
function countAreas(task: Task, mm: Mm): Map<Vma, Counts> {
  const result = new Map<Vma, Counts>();
  const host = hostCounts(task, mm);
  let at = 0;
  for (const vma of mm.vmas) {
    const counts = host.length === 0 ? estimate(vma) : noCounts();
    while (at < host.length && host[at]!.end <= vma.start) at++;
    for (let i = at; i < host.length && host[i]!.start < vma.end; i++) {
      const area = host[i]!;
      const overlap = Math.min(vma.end, area.end) - Math.max(vma.start, area.start);
      const part = overlap / (area.end - area.start);
      for (const name of COUNTED) counts[name]! += (area.counts[name] ?? 0) * part;
    }
    // Whole pages only, and never more than there is.
    for (const name of COUNTED) counts[name] = Math.min(vma.length / 1024, Math.round(counts[name]! / 4) * 4);
    result.set(vma, counts);
  }
  return result;
}

const countLine = (name: string, kib: number): string => `${`${name}:`.padEnd(16)}${String(kib).padStart(8)} kB\n`;

function smapsPart(vma: Vma, mm: Mm, reader: Task, counts: Counts): string {
  let out = `${mapLine(vma, mm, reader)}\n`;
  out += countLine("Size", vma.length / 1024) + countLine("KernelPageSize", 4) + countLine("MMUPageSize", 4);
  for (const name of COUNTED) out += countLine(name, counts[name]!);
  return `${out}THPeligible:           0\nVmFlags: ${vmFlags(vma)}\n`;
}

export function smaps(task: Task, reader: Task): string {
  const mm = liveMm(task);
  if (mm === null) return "";
  const all = countAreas(task, mm);
  let out = "";
  for (const vma of mm.vmas) out += smapsPart(vma, mm, reader, all.get(vma)!);
  return out;
}
/** Areas that are too many to ask the host about: their sizes stand for their counts. */
export const manyAreas = (mm: Mm): boolean => mm.vmas.length > COUNTED_AREAS_MAX;
export const smapsArea = (vma: Vma, mm: Mm, reader: Task): string => smapsPart(vma, mm, reader, estimate(vma));

function vmFlags(vma: Vma): string {
  const { prot, flags } = vma;
  let out = "";
  if (prot & PROT_READ) out += "rd ";
  if (prot & PROT_WRITE) out += "wr ";
  if (prot & PROT_EXEC) out += "ex ";
  if (vma.shared) out += "sh ";
  out += "mr mw me ";
  if (vma.shared) out += "ms ";
  if (flags & VMA_GROWSDOWN) out += "gd ";
  if (flags & VMA_LOCKED) out += "lo ";
  if (flags & VMA_DONTFORK) out += "dc ";
  if (flags & VMA_WIPEONFORK) out += "wf ";
  if (prot & PROT_WRITE && !vma.shared) out += "ac ";
  return out;
}

export function smapsRollup(task: Task): string {
  const mm = liveMm(task);
  if (mm === null || mm.vmas.length === 0) return "";
  const sum: Counts = {};
  for (const counts of countAreas(task, mm).values())
    for (const name of COUNTED) sum[name] = (sum[name] ?? 0) + counts[name]!;
  const first = mm.vmas.first()!;
  const last = mm.vmas.last()!;
  const anonymous = sum["Anonymous"]!;
  let out = `${`${hex(first.start, 8)}-${hex(last.end, 8)} ---p 00000000 00:00 0 `.padEnd(73)}[rollup]\n`;
  for (const name of COUNTED) {
    out += countLine(name, sum[name]!);
    if (name === "Pss_Dirty")
      out +=
        countLine("Pss_Anon", Math.min(anonymous, sum["Pss"]!)) +
        countLine("Pss_File", Math.max(0, sum["Pss"]! - anonymous)) +
        countLine("Pss_Shmem", 0);
  }
  return out;
}

export function numaMapsLine(vma: Vma, mm: Mm, reader: Task): string {
  const name = areaName(vma, mm, reader);
  const what = vma.file !== null ? ` file=${name}` : name === "[heap]" ? " heap" : name === "[stack]" ? " stack" : "";
  return `${hex(vma.start, 8)} default${what}\n`;
}

/** Bytes of [start, end) of the guest, as far as they can be read; at most 2 MiB, as much as argv and envp may have. */
function span(mm: Mm, start: number, end: number): Uint8Array {
  const length = Math.max(0, Math.min(end - start, 2 << 20));
  const bytes = new Uint8Array(length);
  const n = length === 0 ? 0 : mm.copyIn(start, bytes, 0, length);
  return bytes.subarray(0, Math.max(0, n));
}

export function cmdline(task: Task): Uint8Array {
  const mm = liveMm(task);
  if (mm === null || mm.argEnd === 0) return new Uint8Array(0);
  const args = span(mm, mm.argStart, mm.argEnd);
  // A program that wrote over its arguments without the final NUL has put its title there, which may run on into
  // the environment: setproctitle.
  if (args.length === 0 || args.at(-1) === 0) return args;
  const title = span(mm, mm.argStart, mm.envEnd);
  const nul = title.indexOf(0);
  return nul < 0 ? title : title.subarray(0, nul);
}

export function environ(task: Task): Uint8Array {
  const mm = liveMm(task);
  return mm === null ? new Uint8Array(0) : span(mm, mm.envStart, mm.envEnd);
}

export const auxv = (task: Task): Uint8Array => liveMm(task)?.auxv ?? new Uint8Array(0);

/** /proc/PID/mem: the file position is the address. */
export class MemFile extends File {
  override readonly seekable = true;
  constructor(
    flags: number,
    path: Path,
    inode: Inode,
    /** The memory as of opening: an execve later does not lead to another program's. */
    readonly mm: Mm,
  ) {
    super(flags, path, inode);
  }
  private move(io: Io, offset: number, write: boolean): number {
    if (this.mm.users <= 0) return 0;
    const chunk = new Uint8Array(Math.min(io.remaining, 65536));
    let done = 0;
    while (io.remaining > 0) {
      const want = Math.min(io.remaining, chunk.length);
      const usable = this.mm.accessible(offset + done, want, write);
      if (usable <= 0) break;
      let n: number;
      if (write) {
        n = io.take(chunk, 0, usable);
        if (n <= 0) return done || n;
        n = this.mm.copyOut(offset + done, chunk, 0, n);
      } else {
        n = this.mm.copyIn(offset + done, chunk, 0, usable);
        if (n > 0) n = io.put(chunk, 0, n);
      }
      if (n <= 0) break;
      done += n;
    }
    return done || (io.remaining === 0 ? 0 : -EIO);
  }
  override read(_task: Task, io: Io, offset: number): number {
    return this.move(io, offset, false);
  }
  override write(_task: Task, io: Io, offset: number): number {
    return this.move(io, offset, true);
  }
  override size(): number {
    return 0;
  }
  override seek(_task: Task, offset: number, whence: number): number {
    const to = whence === 0 ? offset : whence === 1 ? this.pos + offset : -EINVAL;
    if (whence > 1) return -EINVAL;
    this.pos = to;
    return to;
  }
}

persistent("proc-mem-file", MemFile);
