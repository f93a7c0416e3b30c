/**
 * The benchmark of `npm run bench`: the same program natively, in runts on each platform and in
 * runsc, in one run, as ratios; then the start of a command and the memory of an idle sandbox.
 *
 *   bun bench/run.ts [--rounds N] [--ms N] [--quick] [--only CASE,…] [--platform NAME,…]
 *                    [--runsc-ptrace] [--skip micro,start,memory] [--wait S] [--markdown]
 *
 * --wait gives the machine up to S seconds to become quiet before each pass of the micro-benchmark;
 * work of others during the passes is not seen, work before them is remarked on.
 * RUNTS= and RUNSC= name executables other than dist/runts and the runsc on PATH. --markdown also
 * writes bench/RESULTS.md. The exit status says whether the benchmark could run, never how fast
 * anything was.
 *
 * Known gaps: nothing is pinned to a CPU; one machine's figures are not another's, hence ratios.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { doAim, idleAimMb, microAims, verdict, versionAim } from "./aims.ts";
import { describeMachine } from "./machine.ts";
import { type Footprint, idleFootprint } from "./memory.ts";
import { compile, microbenchmark, type Result, type Results } from "./micro.ts";
import { run, withScratch } from "./process.ts";
import { buildEmptyProgram, type Command, measureStarts } from "./start.ts";
import { asMarkdown, asText, figure, type Sample, type Table } from "./stats.ts";
import { findTargets, type Target, type Targets } from "./targets.ts";

const DEFAULT_PLATFORM = "runts systrap";
const YARDSTICK = "runsc systrap";

const ratio = (value: number | undefined, to: number | undefined): number | undefined =>
  value === undefined || to === undefined || to === 0 ? undefined : value / to;
const asRatio = (value: number | undefined): string => (value === undefined ? "" : figure(value));

interface Settings {
  rounds: number;
  ms: number;
  startRounds: number;
  only: string[];
  platforms: string[];
  skip: string[];
  waitMs: number;
  runscPtrace: boolean;
  markdown: boolean;
}

function parse(argv: string[]): Settings | string {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        rounds: { type: "string" },
        ms: { type: "string" },
        only: { type: "string" },
        platform: { type: "string" },
        skip: { type: "string" },
        wait: { type: "string" },
        quick: { type: "boolean" },
        "runsc-ptrace": { type: "boolean" },
        markdown: { type: "boolean" },
      },
    });
    const list = (text: string | undefined) => (text ? text.split(",") : []);
    const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
    const ms = Number(values.ms ?? (values.quick ? 40 : 150));
    if (!(rounds >= 1 && rounds <= 100)) return "--rounds takes a number from 1 to 100";
    if (!(ms >= 1 && ms <= 5000)) return "--ms takes a number from 1 to 5000";
    const wait = Number(values.wait ?? 0);
    if (!(wait >= 0 && wait <= 600)) return "--wait takes a number of seconds from 0 to 600";
    return {
      rounds: Math.floor(rounds),
      ms: Math.floor(ms),
      startRounds: values.quick ? 5 : 15,
      only: list(values.only),
      platforms: list(values.platform),
      skip: list(values.skip),
      waitMs: wait * 1000,
      runscPtrace: values["runsc-ptrace"] ?? false,
      markdown: values.markdown ?? false,
    };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function microTable(targets: Target[], cases: string[], results: Results, remarks: string[]): Table {
  const result = (target: string, name: string): Result | undefined => results.get(target)?.get(name);
  const best = (target: string, name: string): number | undefined => {
    const found = result(target, name);
    return typeof found === "object" ? found.min : undefined;
  };
  const middle = (target: string, name: string): number | undefined => {
    const found = result(target, name);
    return typeof found === "object" ? found.median : undefined;
  };
  const shown = (found: Result | undefined): string => {
    if (found === undefined) return "";
    return typeof found === "string" ? "failed" : `${figure(found.min / 1000)} (${figure(found.median / 1000)})`;
  };
  const head = ["case"];
  for (const { name, kind } of targets) {
    head.push(name);
    if (kind !== "native") head.push("/native");
    if (kind === "runts" && targets.some((target) => target.name === YARDSTICK)) head.push("/runsc");
  }
  head.push("aim (/runsc)");
  const rows = cases.map((name) => {
    const row = [name];
    for (const target of targets) {
      row.push(shown(result(target.name, name)));
      if (target.kind !== "native") row.push(asRatio(ratio(best(target.name, name), best("native", name))));
      if (target.kind === "runts" && results.has(YARDSTICK))
        row.push(asRatio(ratio(best(target.name, name), best(YARDSTICK, name))));
    }
    const aim = microAims[name];
    const byMedians = ratio(middle(DEFAULT_PLATFORM, name), middle(YARDSTICK, name));
    row.push(
      aim === undefined
        ? ""
        : verdict(ratio(best(DEFAULT_PLATFORM, name), best(YARDSTICK, name)), aim) +
            (byMedians === undefined ? "" : `, by medians ${figure(byMedians)}`),
    );
    return row;
  });
  return {
    title: "System calls and memory",
    note: "microseconds per operation: the minimum over all rounds (their median); ratios are of the minima",
    head,
    rows,
    remarks: [...remarks, ...failureList(targets, results)],
  };
}

function failureList(targets: Target[], results: Results): string[] {
  const lines: string[] = [];
  for (const { name } of targets)
    for (const [caseName, result] of results.get(name) ?? [])
      if (typeof result === "string") lines.push(`${name} failed in ${caseName}: ${result}`);
  return lines;
}

function startTable(commands: Command[], results: Map<string, Sample | string>): Table {
  const middle = (name: string): number | undefined => {
    const found = results.get(name);
    return typeof found === "object" ? found.median : undefined;
  };
  const aims: Record<string, string> = {
    [`${DEFAULT_PLATFORM}: true`]: `/runsc ${verdict(ratio(middle(`${DEFAULT_PLATFORM}: true`), middle(`${YARDSTICK}: true`)), doAim)}`,
    "runts --version": `/empty ${verdict(ratio(middle("runts --version"), middle("empty Bun program")), versionAim)}`,
  };
  return {
    title: "Start of a command",
    note: "milliseconds from start to exit status, median (minimum); ratios are of the medians",
    head: ["command", "ms", "/native", "/runsc", "/empty", "aim"],
    rows: commands.map(({ name }) => {
      const found = results.get(name);
      const shown = typeof found === "object" ? `${figure(found.median)} (${figure(found.min)})` : "failed";
      const to = (other: string) => (other === name ? "" : asRatio(ratio(middle(name), middle(other))));
      const isDo = name.endsWith(": true");
      return [
        name,
        shown,
        isDo ? to("native: true") : "",
        isDo && name.startsWith("runts") ? to(`${YARDSTICK}: true`) : "",
        isDo ? "" : to("empty Bun program"),
        aims[name] ?? "",
      ];
    }),
    remarks: commands.flatMap(({ name }) => {
      const found = results.get(name);
      return typeof found === "string" ? [`${name} failed: ${found}`] : [];
    }),
  };
}

async function start(targets: Targets, rounds: number, scratch: string): Promise<Table> {
  const commands: Command[] = targets.usable.map(({ name, prefix }) => ({
    name: `${name}: true`,
    command: [...prefix, "/bin/true"],
  }));
  const empty = await buildEmptyProgram(scratch);
  if (empty !== undefined) commands.push({ name: "empty Bun program", command: [empty] });
  if (targets.runts !== undefined) commands.push({ name: "runts --version", command: [targets.runts, "--version"] });
  return startTable(commands, measureStarts(commands, rounds));
}

async function memory(targets: Target[]): Promise<Table> {
  const rows: string[][] = [];
  const remarks: string[] = [];
  for (const target of targets) {
    if (target.kind === "native") continue;
    const found: Footprint | string = await idleFootprint(target);
    if (typeof found === "string") {
      rows.push([target.name, "", "failed", "", ""]);
      remarks.push(`${target.name} failed: ${found}`);
    } else
      rows.push([
        target.name,
        String(found.processes),
        found.pssMb.toFixed(1),
        found.rssMb.toFixed(1),
        target.name === DEFAULT_PLATFORM ? `PSS ${verdict(found.pssMb, idleAimMb)}` : "",
      ]);
  }
  return {
    title: "Memory of an idle sandbox",
    note: "MiB in all processes from the command down, while `sleep` runs; the sum of PSS counts a shared page once",
    head: ["sandbox", "processes", "PSS", "RSS", "aim"],
    rows,
    remarks,
  };
}

async function bench(settings: Settings, scratch: string): Promise<number> {
  const program = `${scratch}/micro`;
  const problem = await compile(`${import.meta.dirname}/micro.c`, program);
  if (problem !== undefined) {
    console.error(`bench: ${problem}`);
    return 1;
  }
  const known = (await run([program, "--list"], { timeoutMs: 10_000 })).stdout.trim().split("\n");
  const unknown = settings.only.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    console.error(`bench: no case named ${unknown}; there are: ${known.join(" ")}`);
    return 2;
  }
  const cases = settings.only.length > 0 ? settings.only : known;
  const machine = await describeMachine();
  const targets = await findTargets({ ...settings, trivial: [program, "--exit"] });

  const progress = (text: string) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  };
  const notes: string[] = [];
  if (targets.runsc !== undefined) notes.push(`runsc is ${targets.runscVersion}.`);
  for (const { name, reason } of targets.skipped) notes.push(`Not measured: ${name}: ${reason}`);
  const tables: Table[] = [];
  if (!settings.skip.includes("micro")) {
    const [results, remarks] = await microbenchmark(targets.usable, {
      program,
      cases,
      rounds: settings.rounds,
      milliseconds: settings.ms,
      waitMs: settings.waitMs,
      progress,
    });
    tables.push(microTable(targets.usable, cases, results, remarks));
  }
  if (!settings.skip.includes("start")) {
    progress("start of a command");
    tables.push(await start(targets, settings.startRounds, scratch));
  }
  if (!settings.skip.includes("memory") && targets.usable.length > 1) {
    progress("memory of an idle sandbox");
    tables.push(await memory(targets.usable));
  }
  progress("");

  console.log([...machine, ...notes].join("\n"));
  for (const table of tables) console.log(`\n${asText(table)}`);
  if (settings.markdown) {
    const path = `${import.meta.dirname}/RESULTS.md`;
    const hide = (text: string) => text.replaceAll(scratch, "…").replaceAll(targets.runts ?? "\0", "runts");
    writeFileSync(path, hide(markdown(settings, machine, notes, tables)));
    console.log("written: bench/RESULTS.md");
  }
  return 0;
}

function markdown(settings: Settings, machine: string[], notes: string[], tables: Table[]): string {
  return [
    "# Benchmark results",
    "",
    `Written by \`npm run bench -- --markdown\` on ${new Date().toISOString().slice(0, 10)}:`,
    `${settings.rounds} interleaved rounds, about ${settings.ms} ms for each case in each round.`,
    "What each case does stands in [micro.c](micro.c); `_host` cases use a file of the host's tree,",
    "the others a file in /tmp, which is the host's file system natively and memory in the sandboxes.",
    "The absolute figures hold for one machine: read the ratios.",
    "",
    ...machine.map((line) => `- ${line}`),
    "",
    ...notes.map((line) => `- ${line}`),
    ...(notes.length > 0 ? [""] : []),
    ...tables.map(asMarkdown),
  ].join("\n");
}

const settings = parse(Bun.argv.slice(2));
if (typeof settings === "string") {
  console.error(`bench: ${settings}`);
  process.exitCode = 2;
} else {
  await withScratch("runts-bench", (scratch) => bench(settings, scratch));
}
