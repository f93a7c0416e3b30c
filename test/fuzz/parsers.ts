/**
 * Parsers that read what a stranger wrote, fuzzed in a process of their own: each input is refused with an error that
 * says so, or accepted; never an exception of the engine's own kinds, never without end, never with much memory.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { run } from "../harness/process.ts";

const source = join(import.meta.dir, "parsers");

export const parserKinds = (): string[] =>
  readdirSync(source)
    .filter((f) => f.endsWith(".ts"))
    .map((f) => f.slice(0, -3))
    .sort();

export interface ParserResult {
  inputs: number;
  findings: { signature: string; detail: string }[];
}

const INPUTS = 2000;

export async function runParser(kind: string, seed: number, inputs = INPUTS): Promise<ParserResult> {
  const runner = join(import.meta.dir, "parser-run.ts");
  const done = await run([process.execPath, runner, kind, `${seed}`, `${inputs}`], { timeoutMs: 120_000 });
  if (done.timedOut)
    return { inputs, findings: [{ signature: "no end", detail: done.stderr.trim().split("\n").slice(-5).join("\n") }] };
  try {
    return JSON.parse(done.stdout.trim().split("\n").at(-1) ?? "") as ParserResult;
  } catch {
    const detail = `status ${done.status}\n${done.stderr.slice(-2000)}`;
    return { inputs, findings: [{ signature: "the process died", detail }] };
  }
}
