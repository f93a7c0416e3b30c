/**
 * The runner: a case is a name and a function that says how it went; groups run one after the other, the cases of a
 * group several at a time.
 *
 * Invariant: a case never throws past the runner, and every case is counted exactly once.
 */
export type Outcome = { kind: "pass" } | { kind: "fail"; detail: string } | { kind: "skip"; reason: string };

export interface Case {
  /** group/topic, and @platform where there is one: what a filter is matched against. */
  name: string;
  /** Cases that want the machine for themselves (stress) run one at a time. */
  alone?: boolean;
  run(): Promise<Outcome>;
}

export interface Group {
  name: string;
  cases: Case[];
}

export interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

export const pass: Outcome = { kind: "pass" };
export const fail = (detail: string): Outcome => ({ kind: "fail", detail });
export const skip = (reason: string): Outcome => ({ kind: "skip", reason });

/** With RUNTS_SKIPS=fail a case that skips itself has failed. */
const skipsFail = process.env["RUNTS_SKIPS"] === "fail";

/** Does a case match one of the words on the command line? Without words every case does. */
export const matches = (name: string, filters: readonly string[]): boolean =>
  filters.length === 0 || filters.some((word) => name.includes(word));

async function runCase(one: Case): Promise<Outcome> {
  try {
    const outcome = await one.run();
    return outcome.kind === "skip" && skipsFail ? fail(`must not skip itself here: ${outcome.reason}`) : outcome;
  } catch (error) {
    return fail(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

export async function runGroup(group: Group, jobs: number, verbose: boolean): Promise<Totals> {
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
  const reasons = new Map<string, string[]>();
  const start = performance.now();
  const queue = group.cases.filter((c) => !c.alone);
  const alone = group.cases.filter((c) => c.alone);
  const work = async (next: () => Case | undefined): Promise<void> => {
    for (let one = next(); one; one = next()) {
      const begun = performance.now();
      const outcome = await runCase(one);
      if (outcome.kind === "pass") {
        totals.passed++;
        if (verbose) console.log(`  ok    ${one.name} (${seconds(performance.now() - begun)})`);
      } else if (outcome.kind === "skip") {
        totals.skipped++;
        reasons.set(outcome.reason, [...(reasons.get(outcome.reason) ?? []), one.name]);
      } else {
        totals.failed++;
        console.log(`  FAIL  ${one.name} (${seconds(performance.now() - begun)})`);
        console.log(outcome.detail.replace(/^/gm, "        "));
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, () => work(() => queue.shift())));
  await work(() => alone.shift());
  for (const [reason, names] of reasons)
    console.log(`  skip  ${reason}: ${names.length > 4 ? `${names.slice(0, 4).join(", ")}, …` : names.join(", ")}`);
  console.log(
    `${group.name}: ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped (${seconds(performance.now() - start)})`,
  );
  return totals;
}
