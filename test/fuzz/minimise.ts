/**
 * Shrinks the steps of a batch to few that still show a finding (delta debugging), then their arguments to 0.
 *
 * Threads and signals make a run not quite repeatable: a list counts as showing the finding when one of some tries does.
 */

import { run } from "../harness/process.ts";
import { compileFuzzer } from "./programs.ts";
import { type Finding, type RoundOptions, runRound } from "./round.ts";

interface Step {
  index: number;
  /** Bits of arguments that are 0 instead. */
  zeroed: number;
}

const asText = (steps: readonly Step[]): string =>
  steps.map((s) => (s.zeroed ? `${s.index}:${s.zeroed}` : `${s.index}`)).join(",");

export function parseSteps(text: string): Step[] {
  return text
    .split(",")
    .filter(Boolean)
    .map((part) => {
      const [index, zeroed] = part.split(":").map(Number);
      return { index: index ?? 0, zeroed: zeroed ?? 0 };
    });
}

export interface Minimised {
  steps: string;
  runs: number;
  /** False: the batch alone did not show it again; nothing was shrunk. */
  shown: boolean;
}

export async function minimise(
  options: RoundOptions,
  finding: Finding,
  maxRuns = 150,
  tries = 3,
  onProgress: (text: string) => void = () => undefined,
): Promise<Minimised> {
  const base = { ...options, first: finding.batch, last: finding.batch + 1 };
  let runs = 0;
  const shows = async (steps: readonly Step[], times = tries): Promise<boolean> => {
    for (let i = 0; i < times && runs < maxRuns; i++) {
      runs++;
      const got = await runRound({ ...base, steps: asText(steps) });
      if (got.findings.some((f) => f.signature === finding.signature)) return true;
    }
    return false;
  };
  let steps: Step[] = options.steps
    ? parseSteps(options.steps)
    : Array.from({ length: options.count }, (_, index) => ({ index, zeroed: 0 }));
  if (!(await shows(steps, tries * 3))) return { steps: asText(steps), runs, shown: false };
  let parts = 2;
  while (steps.length > 1 && runs < maxRuns) {
    const size = Math.ceil(steps.length / parts);
    let less: Step[] | undefined;
    for (let at = 0; at < steps.length && less === undefined; at += size) {
      const without = [...steps.slice(0, at), ...steps.slice(at + size)];
      if (without.length > 0 && (await shows(without))) less = without;
    }
    if (less !== undefined) {
      steps = less;
      parts = Math.max(2, parts - 1);
      onProgress(`${steps.length} steps after ${runs} runs`);
    } else if (size === 1) break;
    else parts = Math.min(steps.length, parts * 2);
  }
  for (let at = 0; at < steps.length && steps.length < 12; at++)
    for (let arg = 0; arg < 6 && runs < maxRuns; arg++) {
      const changed = steps.map((s, i) => (i === at ? { ...s, zeroed: s.zeroed | (1 << arg) } : s));
      if (await shows(changed)) steps = changed;
    }
  return { steps: asText(steps), runs, shown: true };
}

/** The steps of a batch as they would stand in C. */
export async function listing(options: RoundOptions, batch: number, steps: string): Promise<string> {
  const program = await compileFuzzer(options.kind);
  const args = [program, "list", `${options.seed}`, `${batch}`, `${options.count}`, steps];
  return (await run(args, { timeoutMs: 20_000 })).stdout;
}
