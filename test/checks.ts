/** Types, lint and format: what `bun build.ts check` runs, and with what the suite begins. */
import { join } from "node:path";
import { run } from "./harness/process.ts";
import { root } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, pass } from "./harness/suite.ts";

const TIMEOUT_MS = 120_000;

export const CHECKS: { topic: string; command: string[] }[] = [
  { topic: "types", command: [join(root, "node_modules/.bin/tsc")] },
  { topic: "lint and format", command: [join(root, "node_modules/@biomejs/cli-linux-x64/biome"), "check", "."] },
];

export function checkGroup(filters: readonly string[]): Group {
  const cases = CHECKS.map(({ topic, command }): Case => {
    return {
      name: `check/${topic}`,
      async run() {
        const env = { ...process.env } as Record<string, string>;
        const done = await run(command, { timeoutMs: TIMEOUT_MS, cwd: root, env });
        if (done.timedOut) return fail(`no end within ${TIMEOUT_MS / 1000} s`);
        return done.status === 0 ? pass : fail(`${done.stdout}${done.stderr}`.trimEnd());
      },
    };
  });
  return { name: "check", cases: cases.filter(({ name }) => matches(name, filters)) };
}
