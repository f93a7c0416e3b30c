/** `runts image inspect`: what is in an image. */
import { fstatSync } from "node:fs";
import type { SavedProcess } from "../../core/sandbox.ts";
import { MANIFEST, MEMORY, OBJECTS, type SparsePart } from "./format.ts";
import { countTypes } from "./objects.ts";
import { size } from "./progress.ts";
import type { Image, StoredPart } from "./read.ts";

const STAT_BLOCK = 512;
/** Types of objects in the text; JSON has all. */
const TYPES_SHOWN = 12;

/** Printable: what comes from an image may be a stranger's, and ends on a terminal. */
export const plain = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029]/gu, (each) => `\\u{${each.codePointAt(0)!.toString(16)}}`);

export function inspectJson(image: Image): object {
  const { contents, directory } = image;
  const { runts, created, format, container, sandbox, parts } = contents;
  const { packed, memory, ...others } = parts;
  return {
    directory,
    format,
    created,
    runts,
    container,
    sandbox,
    parts: { ...others, ...(packed === undefined ? {} : { packed: short(packed) }), memory: memory.map(short) },
    bytesOnDisk: {
      [OBJECTS]: onDisk(image.objects),
      [image.pagesPart.name]: onDisk(image.pagesPart.fd),
      [MEMORY]: storedAs(image.memoryParts).disk,
    },
    objects: Object.fromEntries(sorted(countTypes(image.objects))),
  };
}

/** Where packed blocks lie is of no use to anybody. */
function short({ content, ...part }: SparsePart): object {
  if (content === undefined) return part;
  const { extents: _, ...rest } = content;
  return { ...part, content: rest };
}

/** Sums. */
function storedAs(parts: readonly StoredPart[]): { bytes: number; unpacked: number; disk: number } {
  const sum = (of: (part: StoredPart) => number) => parts.reduce((all, part) => all + of(part), 0);
  return {
    bytes: sum(({ part }) => part.bytes),
    unpacked: sum(({ part }) => (part.content ?? part).bytes),
    disk: sum(({ fd }) => onDisk(fd)),
  };
}

const onDisk = (fd: number): number => fstatSync(fd).blocks * STAT_BLOCK;
const sorted = (counts: Map<string, number>) => [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));

export function inspectText(image: Image): string {
  const { contents, directory } = image;
  const { container, sandbox, parts } = contents;
  const { summary } = sandbox;
  const stored = (each: readonly StoredPart[]) => {
    const { bytes, unpacked, disk } = storedAs(each);
    const packed = parts.packed === undefined ? "" : ` (${size(unpacked)} unpacked)`;
    return `${size(bytes)}${packed}, ${size(disk)} on disk`;
  };
  const types = sorted(countTypes(image.objects));
  const objects = types.reduce((sum, [, n]) => sum + n, 0);
  const lines = [
    `image       ${directory}`,
    `container   ${container.id}${container.bundle === null ? " (runts do)" : `, bundle ${container.bundle}`}`,
    `created     ${contents.created}, by runts ${contents.runts} on ${sandbox.platform}`,
    `uptime      ${duration(sandbox.clock.boottimeNs)}`,
    `processor   ${sandbox.arch}, ${sandbox.cpu.words.length} features`,
    ...(sandbox.containers.length > 1 ? [`containers  ${sandbox.containers.map((each) => each.id).join(", ")}`] : []),
    "",
    "PID     THREADS  COMMAND",
    ...processTree(summary.processes),
    "",
    ...section(
      "memory",
      Object.entries(summary.memoryBytes).map(([kind, bytes]) => [kind, size(bytes)]),
    ),
    ...section("open files", Object.entries(summary.openFiles)),
    ...section("sockets", Object.entries(summary.sockets)),
    ...section("parts", [
      [MANIFEST, `format ${contents.format}`],
      [OBJECTS, `${size(parts.objects.bytes)}, ${objects} objects`],
      [image.pagesPart.name, stored([image.pagesPart])],
      [MEMORY, `${stored(image.memoryParts)}, ${sandbox.spaces} address space${sandbox.spaces === 1 ? "" : "s"}`],
    ]),
    ...section("objects", types.slice(0, TYPES_SHOWN)),
  ];
  return `${lines.map(plain).join("\n").trimEnd()}\n`;
}

function section(title: string, rows: readonly (readonly [string, unknown])[]): string[] {
  if (rows.length === 0) return [];
  const width = Math.max(...rows.map(([name]) => name.length));
  return [title, ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`), ""];
}

/** Children below their parents; each process once, whatever the parents say. */
export function processTree(processes: readonly SavedProcess[]): string[] {
  const lines: string[] = [];
  const shown = new Set<SavedProcess>();
  const pids = new Set(processes.map(({ pid }) => pid));
  const children = Map.groupBy(processes, ({ ppid, pid }) => (pids.has(ppid) && ppid !== pid ? ppid : null));
  const show = (start: readonly SavedProcess[]) => {
    const stack = start.map((process) => ({ process, depth: 0 })).reverse();
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const { process, depth } = next;
      if (shown.has(process)) continue;
      shown.add(process);
      const command = process.args.length > 0 ? process.args.join(" ") : `[${process.comm}]`;
      const indented = `${"  ".repeat(Math.min(depth, 20))}${command.slice(0, 200)}`;
      lines.push(`${`${process.pid}`.padEnd(8)}${`${process.threads}`.padEnd(9)}${indented}`);
      const below = children.get(process.pid) ?? [];
      stack.push(...below.map((each) => ({ process: each, depth: depth + 1 })).reverse());
    }
  };
  show(children.get(null) ?? []);
  // Rings of parents, which no kernel makes.
  show(processes);
  return lines;
}

function duration(ns: number): string {
  const seconds = Math.floor(ns / 1e9);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.map((each) => `${each}`.padStart(2, "0")).join(":");
}
