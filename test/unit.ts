/**
 * The unit tests beside the code and the harness's own: one case per file. One `bun test` runs the files of all cases, in
 * processes that take one file after the other, each file with globals of its own; each case reads its part of the report.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { globSync } from "tinyglobby";
import { run } from "./harness/process.ts";
import { root } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";

/** For all files together, on a busy machine. */
const TIMEOUT_MS = 300_000;
/** For one test that does not say how long it takes: those are quick, the machine may not be. */
const TEST_TIMEOUT_MS = 30_000;

/** Of one file's tests, as the report has them. */
interface Counts {
  tests: number;
  failures: number;
  skipped: number;
}

interface Run {
  /** By path below the root of the source tree. */
  files: Map<string, Counts>;
  status: number;
  output: string;
}

/** The outer `<testsuite>` elements, which are files; those inside, with a line, are `describe`. */
export function readReport(xml: string): Map<string, Counts> {
  const files = new Map<string, Counts>();
  for (const [, attributes] of xml.matchAll(/<testsuite ([^>]*)>/g)) {
    const value = (name: string): string => attributes!.match(new RegExp(`(?:^| )${name}="([^"]*)"`))?.[1] ?? "";
    if (value("name") !== value("file")) continue;
    const count = (name: string): number => Number(value(name));
    files.set(value("file"), { tests: count("tests"), failures: count("failures"), skipped: count("skipped") });
  }
  return files;
}

async function runFiles(files: readonly string[], jobs: number): Promise<Run> {
  const dir = mkdtempSync(join(tmpdir(), "runts-unit-"));
  const report = join(dir, "report.xml");
  const flags = [
    `--parallel=${jobs}`,
    `--timeout=${TEST_TIMEOUT_MS}`,
    "--reporter=junit",
    `--reporter-outfile=${report}`,
  ];
  try {
    const done = await run([process.execPath, "test", ...flags, ...files.map((file) => `./${file}`)], {
      timeoutMs: TIMEOUT_MS,
      cwd: root,
      env: { ...process.env } as Record<string, string>,
    });
    const output = `${done.stdout}${done.stderr}${done.timedOut ? `\nno end within ${TIMEOUT_MS / 1000} s` : ""}`;
    let xml = "";
    try {
      xml = readFileSync(report, "utf8");
    } catch {
      // It did not come to that: every case says so.
    }
    return { files: readReport(xml), status: done.status, output };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What was printed for one file, but for what passed: several files take turns, each part below the file's name. */
function printedFor(file: string, output: string): string {
  let own = false;
  const lines: string[] = [];
  for (const line of output.split("\n")) {
    if (/^\S+\.test\.ts:$/.test(line)) own = line === `${file}:`;
    else if (own && line !== "" && !line.startsWith("(pass)")) lines.push(line);
  }
  return lines.length === 0 ? output : lines.join("\n");
}

const tail = (text: string): string => text.trimEnd().split("\n").slice(-60).join("\n");

export function outcomeOf(file: string, { files, status, output }: Run): Outcome {
  const counts = files.get(file);
  if (counts === undefined) return fail(`not in the report of bun test, which ended with ${status}\n${tail(output)}`);
  if (counts.failures > 0) return fail(tail(printedFor(file, output)));
  // Something failed that belongs to no test: to none of them can be said that it passed.
  if (status !== 0 && ![...files.values()].some(({ failures }) => failures > 0))
    return fail(`bun test ended with ${status}\n${tail(output)}`);
  if (counts.tests === 0) return fail("no test in it");
  return counts.skipped > 0 ? skip(`${counts.skipped} of ${counts.tests} tests skip themselves`) : pass;
}

export function unitGroup(filters: readonly string[], jobs: number): Group {
  const files = globSync(["src/**/*.test.ts", "test/**/*.test.ts", "bench/**/*.test.ts"], { cwd: root })
    .sort()
    .filter((file) => matches(`unit/${file}`, filters));
  let all: Promise<Run> | undefined;
  const cases = files.map((file): Case => {
    return {
      name: `unit/${file}`,
      async run() {
        all ??= runFiles(files, jobs);
        return outcomeOf(file, await all);
      },
    };
  });
  return { name: "unit", cases };
}
