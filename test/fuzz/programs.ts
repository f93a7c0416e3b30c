/** The guest programs of the fuzzer, compiled when their text or the kernel's declarations changed. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../harness/process.ts";
import { root } from "../harness/sandbox.ts";
import { tableText } from "./table.ts";

const source = join(import.meta.dir, "guest");
export const folder = join(root, "build/fuzz");
const flags = ["-O1", "-pthread", "-D_GNU_SOURCE", "-static", "-Wall", "-Wextra", "-Wno-unused-result", "-Wno-nonnull"];

/** Every guest program is a kind of fuzzing. */
export const guestKinds = (): string[] =>
  readdirSync(source)
    .filter((f) => f.endsWith(".c"))
    .map((f) => f.slice(0, -2))
    .sort();

const compiled = new Map<string, Promise<string>>();

export function compileFuzzer(kind: string): Promise<string> {
  let program = compiled.get(kind);
  if (!program) {
    program = compile(kind);
    compiled.set(kind, program);
  }
  return program;
}

async function compile(kind: string): Promise<string> {
  const table = tableText();
  const headers = readdirSync(source).filter((f) => f.endsWith(".h"));
  const texts = [`${kind}.c`, ...headers.sort()].map((f) => readFileSync(join(source, f), "utf8"));
  const hash = createHash("sha256")
    .update(JSON.stringify([flags, table, texts]))
    .digest("hex")
    .slice(0, 12);
  const program = join(folder, `${kind}-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const header = `${program}.h`;
  writeFileSync(header, table);
  const unfinished = `${program}.${process.pid}.tmp`;
  const define = `-DTABLE="${header}"`;
  const cc = process.env["CC"] ?? "gcc";
  const done = await run([cc, ...flags, define, "-o", unfinished, join(source, `${kind}.c`)], { timeoutMs: 120_000 });
  if (done.status !== 0) throw new Error(`test/fuzz/guest/${kind}.c does not compile:\n${done.stderr}`);
  renameSync(unfinished, program);
  return program;
}
