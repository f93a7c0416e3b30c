/**
 * objects.jsonl, for commands that look at an image: its lines, and references between them. Restoring has a reader of its
 * own (src/kernel/state), which knows the classes; here only a few of them are known, by name, and what else there is is
 * counted.
 */
import { readSync } from "node:fs";
import { imageError, OBJECTS } from "./format.ts";

const CHUNK = 1024 * 1024;
/** One line; larger buffers lie in the pages. */
const LINE_MAX = 256 * 1024 * 1024;
const NEWLINE = 10;

/** An object, as it is written. */
export type Line = Readonly<Record<string, unknown>> & { readonly id: number; readonly type: string };

/** Lines of an open file, each with its number. */
export function* textLines(fd: number): Generator<[string, number]> {
  let rest: Buffer[] = [];
  let pending = 0;
  let number = 1;
  for (let at = 0; ; ) {
    const chunk = Buffer.alloc(CHUNK);
    const n = readSync(fd, chunk, 0, CHUNK, at);
    if (n === 0) break;
    at += n;
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0 && end < n; end = chunk.indexOf(NEWLINE, from)) {
      yield [Buffer.concat([...rest, chunk.subarray(from, end)]).toString("utf8"), number++];
      rest = [];
      pending = 0;
      from = end + 1;
    }
    rest.push(chunk.subarray(from, n));
    pending += n - from;
    if (pending > LINE_MAX) throw imageError(OBJECTS, `line ${number}: longer than ${LINE_MAX} bytes`);
  }
  if (pending > 0) yield [Buffer.concat(rest).toString("utf8"), number];
}

export function* objectLines(fd: number): Generator<Line> {
  for (const [text, number] of textLines(fd)) {
    let value: Line;
    try {
      value = JSON.parse(text) as Line;
    } catch {
      throw imageError(OBJECTS, `line ${number}: not valid JSON`);
    }
    if (typeof value !== "object" || value === null || !Number.isInteger(value.id) || typeof value.type !== "string")
      throw imageError(OBJECTS, `line ${number}: expected an object with id and type`);
    yield value;
  }
}

/** How many objects there are of each type. */
export function countTypes(fd: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { type } of objectLines(fd)) counts.set(type, (counts.get(type) ?? 0) + 1);
  return counts;
}

/** The objects of some types, by their numbers. */
export class ObjectTable {
  private readonly byId = new Map<number, Line>();

  static read(fd: number, types: ReadonlySet<string>): ObjectTable {
    const table = new ObjectTable();
    for (const line of objectLines(fd)) if (types.has(line.type)) table.byId.set(line.id, line);
    return table;
  }

  *ofType(type: string): Generator<Line> {
    for (const line of this.byId.values()) if (line.type === type) yield line;
  }

  /** What a field refers to; null when that is null, or no object of the types that were read. */
  at(reference: unknown): Line | null {
    if (typeof reference !== "object" || reference === null) return null;
    return this.byId.get((reference as { "@": number })["@"]) ?? null;
  }

  entries(map: Line | null): readonly [unknown, unknown][] {
    const entries = map?.["entries"];
    return Array.isArray(entries) ? entries.filter((each): each is [unknown, unknown] => Array.isArray(each)) : [];
  }

  items(list: Line | null): readonly unknown[] {
    return Array.isArray(list?.["items"]) ? (list["items"] as unknown[]) : [];
  }
}
