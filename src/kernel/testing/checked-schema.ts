/**
 * Saved kernels of tests against state/schema.json. What it says is wrong is a test's failure; what the schema has not seen yet
 * is not: another way through a program shows other kinds of values.
 *
 * RUNTS_SCHEMA names a directory: there each process puts what it has seen, for `bun build.ts schema`.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compareSchemas, mergeSchemas, type Schema, SchemaCollector, schemaText } from "../state/schema.ts";

export const SCHEMA_FILE = join(import.meta.dirname, "../state/schema.json");

let known: Schema | undefined;
export function knownSchema(): Schema {
  known ??= existsSync(SCHEMA_FILE) ? (JSON.parse(readFileSync(SCHEMA_FILE, "utf8")) as Schema) : {};
  return known;
}

/** Of tests, whose classes are nobody's. */
const isOfTest = (name: string): boolean => name.startsWith("test/");

export function schemaOf(lines: Iterable<string>): Schema {
  const collector = new SchemaCollector();
  collector.add(lines);
  return Object.fromEntries(Object.entries(collector.schema()).filter(([name]) => !isOfTest(name)));
}

/** Null, or what is to be done before images of earlier versions can be read again. */
export function schemaProblem(seen: Schema): string | null {
  // Of what else there is, a test may not even have loaded the modules.
  const known = Object.fromEntries(Object.entries(knownSchema()).filter(([name]) => Object.hasOwn(seen, name)));
  const { wrong } = compareSchemas(known, seen);
  if (wrong.length === 0) return null;
  return `saved kernels are not what they were (docs/checkpoint-state.md):\n${wrong.map((line) => `  ${line}`).join("\n")}`;
}

let collected: Schema = {};
let written = "";
export function checkSchema(lines: readonly string[]): void {
  const directory = process.env["RUNTS_SCHEMA"];
  const seen = schemaOf(lines);
  if (directory !== undefined) {
    collected = mergeSchemas(collected, seen);
    // At once: test runners end without a word.
    const text = schemaText(collected);
    if (text !== written) writeFileSync(join(directory, `${process.pid}.json`), text);
    written = text;
    return;
  }
  const problem = schemaProblem(seen);
  if (problem !== null) throw new Error(problem);
}
