/**
 * `npm run fuzz -- [options] [kind…]`: rounds of fuzzing until the time is over, and figures at the end. README.md tells
 * the options.
 *
 * A finding is written to build/fuzz/findings, with the shrunk list of calls, and counted once however often it comes.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { platforms as allPlatforms, root, runtsExists } from "../harness/sandbox.ts";
import { isKnown } from "./known-findings.ts";
import { listing, minimise } from "./minimise.ts";
import { parserKinds, runParser } from "./parsers.ts";
import { folder, guestKinds } from "./programs.ts";
import { type Finding, type RoundOptions, runRound } from "./round.ts";

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    platform: { type: "string" },
    minutes: { type: "string" },
    rounds: { type: "string" },
    seed: { type: "string" },
    jobs: { type: "string", default: "1" },
    batches: { type: "string", default: "40" },
    batch: { type: "string" },
    count: { type: "string", default: "150" },
    steps: { type: "string" },
    latency: { type: "string", default: "5000" },
    strace: { type: "boolean", default: false },
    known: { type: "boolean", default: false },
    replay: { type: "string" },
    list: { type: "boolean", default: false },
    "no-minimise": { type: "boolean", default: false },
  },
});

/** Everything that is needed to see a finding again. */
interface Report extends RoundOptions {
  signature: string;
  detail: string;
  batch: number;
  times: number;
  /** It stands in known-findings.ts. */
  standing?: boolean;
}

const reports = join(folder, "findings");
const known = new Map<string, Report>();
const totals = new Map<
  string,
  { rounds: number; batches: number; calls: number; worstMs: number; memoryMiB: number }
>();
const slug = (text: string): string => text.replace(/[^A-Za-z0-9]+/g, "-").slice(0, 60);

function replayLine(r: Report): string {
  const only = r.steps === undefined ? "" : ` --steps ${r.steps}`;
  const where = r.batch >= 0 ? ` --batch ${r.batch} --count ${r.count}${only}` : "";
  const on = r.platform === "" ? "" : ` --platform ${r.platform}`;
  const traced = r.strace ? " --strace" : "";
  return `npm run fuzz -- ${r.kind}${on} --seed ${r.seed}${where}${traced} --rounds 1`;
}

async function report(options: RoundOptions, finding: Finding): Promise<void> {
  const key = `${options.kind}@${options.platform}: ${finding.signature}`;
  const before = known.get(key);
  if (before) {
    before.times++;
    return;
  }
  const made: Report = { ...options, ...finding, times: 1 };
  known.set(key, made);
  // Those that stand are counted only, unless they are what somebody wants to look into.
  const standing = isKnown(options.kind, options.platform, finding.signature);
  if (standing !== undefined && !values.known) {
    made.standing = true;
    console.log(`\nknown since ${standing.since}: ${key}`);
    return;
  }
  console.log(`\nFINDING ${key}\n  ${finding.detail.split("\n").join("\n  ")}`);
  let text = "";
  const guest = options.platform !== "";
  if (guest && !values["no-minimise"]) {
    const small = await minimise(options, finding, 150, 3, (line) => console.log(`  shrinking: ${line}`));
    if (small.shown) {
      made.steps = small.steps;
      text = await listing(options, finding.batch, small.steps);
      console.log(`  shrunk in ${small.runs} runs to:\n    ${text.trimEnd().split("\n").join("\n    ")}`);
    } else console.log("  batch alone does not show it again; replay the whole round");
    if (!small.shown) made.batch = -1;
  }
  console.log(`  ${replayLine(made)}`);
  mkdirSync(reports, { recursive: true });
  const name = join(reports, `${options.kind}${guest ? `@${options.platform}` : ""}-${slug(finding.signature)}`);
  writeFileSync(`${name}.json`, `${JSON.stringify(made, null, 1)}\n`);
  if (text !== "") writeFileSync(`${name}.c.txt`, text);
}

async function guestRound(kind: string, platform: string, seed: number): Promise<void> {
  const batches = Number(values.batches);
  const one = values.batch === undefined ? undefined : Number(values.batch);
  const options: RoundOptions = {
    kind,
    platform,
    seed,
    first: one ?? 0,
    last: one === undefined ? batches : one + 1,
    count: Number(values.count),
    latencyMs: Number(values.latency),
    strace: values.strace,
    ...(values.steps === undefined ? {} : { steps: values.steps }),
  };
  const got = await runRound(options);
  const name = `${kind}@${platform}`;
  const sum = totals.get(name) ?? { rounds: 0, batches: 0, calls: 0, worstMs: 0, memoryMiB: 0 };
  totals.set(name, sum);
  sum.rounds++;
  sum.batches += got.batches;
  sum.calls += got.calls;
  sum.worstMs = Math.max(sum.worstMs, got.worstMs);
  sum.memoryMiB = Math.max(sum.memoryMiB, got.memoryMiB);
  for (const finding of got.findings) await report(options, finding);
}

async function parserRound(kind: string, seed: number): Promise<void> {
  const got = await runParser(kind, seed);
  const sum = totals.get(kind) ?? { rounds: 0, batches: 0, calls: 0, worstMs: 0, memoryMiB: 0 };
  totals.set(kind, sum);
  sum.rounds++;
  sum.calls += got.inputs;
  const options = { kind, platform: "", seed, first: 0, last: 0, count: got.inputs, latencyMs: 0 };
  for (const finding of got.findings) await report(options, { ...finding, batch: -1 });
}

if (!runtsExists()) {
  console.error('dist/runts does not exist: build it first with "npm run build"');
  process.exit(1);
}

if (values.replay !== undefined) {
  const saved = JSON.parse(readFileSync(values.replay, "utf8")) as Report;
  values.platform = saved.platform;
  values.seed = `${saved.seed}`;
  values.count = `${saved.count}`;
  values.strace = saved.strace === true;
  values.rounds ??= "1";
  if (saved.batch >= 0) values.batch = `${saved.batch}`;
  if (saved.steps !== undefined) values.steps = saved.steps;
  values["no-minimise"] = true;
  positionals.push(saved.kind);
}

const every = [...guestKinds(), ...parserKinds()];
const kinds = positionals.length > 0 ? positionals : every;
for (const kind of kinds)
  if (!every.includes(kind)) {
    console.error(`no kind "${kind}"; there are ${every.join(", ")}`);
    process.exit(2);
  }
const firstSeed = Number(values.seed ?? Date.now() % 1_000_000_000);
if (values.list) {
  const options = {
    kind: kinds[0]!,
    platform: "",
    seed: firstSeed,
    first: 0,
    last: 0,
    count: Number(values.count),
    latencyMs: 0,
  };
  process.stdout.write(await listing(options, Number(values.batch ?? 0), values.steps ?? ""));
  process.exit(0);
}

/** What a round may be: a kind, and for guest programs a platform. */
const jobs: ((seed: number) => Promise<void>)[] = [];
for (const kind of kinds) {
  if (parserKinds().includes(kind)) jobs.push((seed) => parserRound(kind, seed));
  else
    for (const platform of values.platform ? [values.platform] : allPlatforms)
      jobs.push((seed) => guestRound(kind, platform, seed));
}
const minutes = Number(values.minutes ?? (values.rounds === undefined ? 10 : 0));
const rounds = Number(values.rounds ?? Number.POSITIVE_INFINITY);
const begun = performance.now();
const isOver = (round: number): boolean =>
  round >= rounds || (minutes > 0 && performance.now() - begun > minutes * 60_000);

process.on("SIGINT", () => {
  summary();
  process.exit(130);
});
console.log(`fuzzing ${kinds.join(", ")} from seed ${firstSeed}`);
const queue = (function* () {
  for (let round = 0; !isOver(round); round++)
    for (const job of jobs) {
      if (isOver(round)) return;
      yield () => job(firstSeed + round);
    }
})();
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (const work of queue) await work();
  }),
);
summary();
process.exit([...known.values()].some((made) => !made.standing) ? 1 : 0);

function summary(): void {
  console.log(`\n${((performance.now() - begun) / 60_000).toFixed(1)} minutes, seeds from ${firstSeed}`);
  for (const [name, t] of totals)
    console.log(
      t.batches > 0
        ? `${name}: ${t.rounds} rounds, ${t.batches} batches, ${t.calls} calls; bystander's worst ${t.worstMs.toFixed(0)} ms, sandbox process at most ${t.memoryMiB.toFixed(0)} MiB`
        : `${name}: ${t.rounds} rounds, ${t.calls} inputs`,
    );
  console.log(`${known.size} distinct findings${known.size > 0 ? `, in ${reports.slice(root.length + 1)}` : ""}`);
  for (const [key, made] of known)
    console.log(`  ${key} (${made.times} times${made.standing ? ", known" : ""})\n    ${replayLine(made)}`);
}
