/** `parser-run.ts KIND SEED INPUTS`: the process in which a parser is fuzzed; its last line is the result as JSON. */
import { join } from "node:path";
import type { ParserResult } from "./parsers.ts";
import { Random } from "./random.ts";

/** What a file of test/fuzz/parsers exports: `one` throws only what its parser means to. */
export interface ParserFuzzer {
  /** Parses one input, made from the random numbers. Errors that the parser means are thrown or returned. */
  one(random: Random): unknown | Promise<unknown>;
  /** The input of the last `one`, as text. */
  last(): string;
  /** Is this an error that says what is wrong? Those of the engine never are. */
  meant(error: unknown): boolean;
}

const [kind, seed, count] = process.argv.slice(2);
const { fuzzer } = (await import(join(import.meta.dir, "parsers", `${kind}.ts`))) as { fuzzer: ParserFuzzer };
const result: ParserResult = { inputs: 0, findings: [] };
/** Processor time that one input may take: whoever else uses the machine does not count. */
const SLOW_MS = 3000;
const MEMORY_MAX = 1200 << 20;

function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function find(signature: string, detail: string, index: number): void {
  if (result.findings.some((f) => f.signature === signature)) return;
  result.findings.push({ signature, detail: `input ${index}: ${fuzzer.last().slice(0, 1500)}\n${detail}` });
}

for (let i = 0; i < Number(count); i++) {
  const begun = processorMs();
  try {
    await fuzzer.one(new Random(Number(seed), i));
  } catch (error) {
    if (!fuzzer.meant(error)) {
      const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
      const frame =
        /at (\S+ \([^)]*\/src\/[^)]*\)|\S*\/src\/\S+)/.exec(stack)?.[1]?.replace(/\S*\/src\//, "src/") ?? "";
      const name = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      find(`${name.replace(/\d+/g, "N").slice(0, 100)} ${frame}`.trim(), stack, i);
    }
  }
  result.inputs++;
  const ms = processorMs() - begun;
  if (ms > SLOW_MS) find("slow", `${ms.toFixed(0)} ms`, i);
  if (i % 100 === 99 && process.memoryUsage().rss > MEMORY_MAX) {
    find("memory", `${(process.memoryUsage().rss / 1048576).toFixed(0)} MiB`, i);
    break;
  }
}
console.log(JSON.stringify(result));
process.exit(0);
