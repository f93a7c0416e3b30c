/** The unit tests beside the code and the harness's own: one case per file, run by `bun test`. */
import { join } from "node:path";
import { globSync } from "tinyglobby";
import { run } from "./harness/process.ts";
import { root } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, pass } from "./harness/suite.ts";

export function unitGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  for (const file of globSync(["src/**/*.test.ts", "test/**/*.test.ts", "bench/**/*.test.ts"], { cwd: root }).sort()) {
    const name = `unit/${file}`;
    if (!matches(name, filters)) continue;
    cases.push({
      name,
      async run() {
        const env = { ...process.env } as Record<string, string>;
        const done = await run([process.execPath, "test", join(root, file)], { timeoutMs: 60_000, cwd: root, env });
        return done.status === 0
          ? pass
          : fail(`${done.stdout}${done.stderr}`.trimEnd().split("\n").slice(-60).join("\n"));
      },
    });
  }
  return { name: "unit", cases };
}
