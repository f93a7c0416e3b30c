/**
 * The fuzzer in the test run: fixed seeds, a fixed number of batches and inputs, some two minutes in all. Hours of it:
 * `npm run fuzz`, see README.md.
 */
import { isRoot, platforms } from "../harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "../harness/suite.ts";
import { isKnown } from "./known-findings.ts";
import { parserKinds, runParser } from "./parsers.ts";
import { type RoundOptions, runRound } from "./round.ts";

/** Batches and steps of a round, by kind of guest program. */
const rounds: Readonly<Record<string, { batches: number; count: number; seeds: number[] }>> = {
  calls: { batches: 40, count: 150, seeds: [1, 2, 3, 4] },
  images: { batches: 12, count: 20, seeds: [1, 2] },
  mailbox: { batches: 25, count: 150, seeds: [1] },
};
/** The bystander's call on a quiet machine; the machine of a test run is none, and what is slower is a standstill. */
const LATENCY_MS = 5000;
const PARSER_INPUTS = 3000;

async function checkGuest(kind: string, platform: string): Promise<Outcome> {
  if (!isRoot) return skip("the fuzzer's container is made as root");
  const { batches, count, seeds } = rounds[kind]!;
  const problems: string[] = [];
  for (const seed of seeds) {
    const options: RoundOptions = { kind, platform, seed, first: 0, last: batches, count, latencyMs: LATENCY_MS };
    // The printers of --strace read what the guest gave, too.
    if (kind === "calls" && seed === 2) options.strace = true;
    const got = await runRound(options);
    const news = got.findings.filter((f) => isKnown(kind, platform, f.signature) === undefined);
    for (const f of news)
      problems.push(
        `${f.signature}\n${f.detail}\nshrink it: npm run fuzz -- ${kind} --platform ${platform} --seed ${seed} --rounds 1 --batches ${batches} --count ${count}${options.strace ? " --strace" : ""}`,
      );
    if (got.findings.length === 0 && got.batches < batches)
      problems.push(`only ${got.batches} of ${batches} batches were made`);
  }
  return problems.length > 0 ? fail(problems.join("\n")) : pass;
}

async function checkParser(kind: string): Promise<Outcome> {
  const { findings } = await runParser(kind, 1, PARSER_INPUTS);
  const news = findings.filter((f) => isKnown(kind, "", f.signature) === undefined);
  return news.length > 0 ? fail(news.map((f) => `${f.signature}\n${f.detail}`).join("\n")) : pass;
}

export function fuzzGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  const add = (name: string, run: () => Promise<Outcome>): void => {
    if (matches(name, filters)) cases.push({ name, run });
  };
  for (const kind of parserKinds()) add(`fuzz/${kind}`, () => checkParser(kind));
  for (const kind of Object.keys(rounds))
    for (const platform of platforms) add(`fuzz/${kind}@${platform}`, () => checkGuest(kind, platform));
  return { name: "fuzz", cases };
}
