/**
 * Compiles micro.c and runs it in each target, in interleaved rounds.
 *
 * Source: micro.c describes the cases and the format of a line.
 * Invariant: a case that hangs or kills the program costs that case alone: it is named as failed,
 * and the run goes on behind it.
 * Known gaps: none known.
 */
import { mkdirSync } from "node:fs";
import { QUIET, quietMoment } from "./machine.ts";
import { run } from "./process.ts";
import { median, type Sample } from "./stats.ts";
import type { Target } from "./targets.ts";

/** Returns an error message, or undefined when the program stands at `output`. */
export async function compile(source: string, output: string): Promise<string | undefined> {
  const compiler = process.env["CC"] || "cc";
  const path = Bun.which(compiler);
  if (!path) return `no C compiler: "${compiler}" is not on PATH (install gcc, or set CC=)`;
  mkdirSync(output.slice(0, output.lastIndexOf("/")), { recursive: true });
  const built = await run([path, "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-o", output, source], {
    timeoutMs: 60_000,
  });
  return built.status === 0 ? undefined : `${compiler} failed: ${built.stderr.trim() || built.failure}`;
}

/** Results of one case in one target: a sample in nanoseconds, or the reason that there is none. */
export type Result = Sample | string;
/** By target name, then by case. */
export type Results = Map<string, Map<string, Result>>;

interface Pass {
  figures: Map<string, Sample>;
  failures: Map<string, string>;
  /** What is wrong with the guest's idea of elapsed time, if anything is. */
  clock: string | undefined;
}

/** The guest counts from its program's start, the host from the sandbox's: allow a second for that. */
function clockRemark(guestMs: number, hostMs: number): string | undefined {
  if (guestMs <= hostMs + 1 && guestMs >= (hostMs - 1000) * 0.95) return undefined;
  return `the guest's clock saw ${guestMs.toFixed(0)} ms of the host's ${hostMs.toFixed(0)} ms: doubt the figures`;
}

/** One run over all cases, restarted behind each case that ends the program. */
async function pass(target: Target, program: string, cases: string[], milliseconds: number): Promise<Pass> {
  const figures = new Map<string, Sample>();
  const failures = new Map<string, string>();
  let clock: string | undefined;
  let left = cases;
  while (left.length > 0) {
    const outcome = await run([...target.prefix, program, "-t", String(milliseconds), ...left], {
      timeoutMs: 20_000 + cases.length * milliseconds * 20,
      stallMs: 15_000 + milliseconds * 4,
    });
    for (const line of outcome.stdout.split("\n").slice(0, -1)) {
      const [name = "", first = "", second = ""] = line.split("\t");
      if (name === "#clock") clock ??= clockRemark(Number(first) / 1e6, outcome.elapsedMs);
      else if (first === "failed") failures.set(name, second);
      else if (cases.includes(name)) figures.set(name, { min: Number(first), median: Number(second) });
    }
    left = left.filter((name) => !figures.has(name) && !failures.has(name));
    if (left.length > 0) {
      failures.set(left[0]!, outcome.failure || "printed no result");
      left = left.slice(1);
    }
  }
  return { figures, failures, clock };
}

export interface MicroOptions {
  program: string;
  cases: string[];
  rounds: number;
  milliseconds: number;
  /** How long to wait for a quiet machine before each pass. */
  waitMs: number;
  progress: (text: string) => void;
}

/**
 * Runs `rounds` passes over the targets in turn, so that a disturbance of the machine meets all of
 * them, each pass beginning with another target. Returns results and remarks on their worth.
 */
export async function microbenchmark(targets: Target[], options: MicroOptions): Promise<[Results, string[]]> {
  const samples = new Map<string, Map<string, Sample[]>>();
  const failures = new Map<string, Map<string, string>>();
  const remarks = new Set<string>();
  const others: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    for (let at = 0; at < targets.length; at++) {
      const target = targets[(at + round) % targets.length]!;
      options.progress(`round ${round + 1} of ${options.rounds}: ${target.name}`);
      others.push(await quietMoment(options.waitMs));
      // What failed once is not tried again: a hang costs its whole time limit.
      const failed = failures.get(target.name) ?? new Map<string, string>();
      failures.set(target.name, failed);
      const cases = options.cases.filter((name) => !failed.has(name));
      const done = await pass(target, options.program, cases, options.milliseconds);
      const known = samples.get(target.name) ?? new Map<string, Sample[]>();
      samples.set(target.name, known);
      for (const [name, figure] of done.figures) known.set(name, [...(known.get(name) ?? []), figure]);
      for (const [name, why] of done.failures) failed.set(name, why);
      if (done.clock !== undefined) remarks.add(`${target.name}: ${done.clock}`);
    }
  }
  const results: Results = new Map();
  for (const target of targets) {
    const column = new Map<string, Result>();
    for (const name of options.cases) {
      const figures = samples.get(target.name)?.get(name) ?? [];
      const why = failures.get(target.name)?.get(name);
      if (why !== undefined) column.set(name, why);
      else if (figures.length > 0)
        column.set(name, {
          min: Math.min(...figures.map((figure) => figure.min)),
          median: median(figures.map((figure) => figure.median)),
        });
    }
    results.set(target.name, column);
  }
  const busy = others.filter((share) => share >= QUIET);
  if (busy.length > 0)
    remarks.add(
      `other work used ${Math.round(median(busy) * 100)} % of the machine before ${busy.length} of ${others.length} passes`,
    );
  return [results, [...remarks]];
}
