/**
 * Time from starting a command to having its exit status.
 *
 * Invariant: the commands take turns, one each per round, so that a disturbance meets all of them.
 * Known gaps: the page cache is warm; a first start after boot is not measured.
 */
import { writeFileSync } from "node:fs";
import { environment, run, time } from "./process.ts";
import { type Sample, sample } from "./stats.ts";

export interface Command {
  name: string;
  command: string[];
}

/** Milliseconds per command, or the reason that there are none. */
export function measureStarts(commands: Command[], rounds: number): Map<string, Sample | string> {
  const taken = new Map<string, number[]>();
  const failed = new Map<string, string>();
  for (let round = 0; round <= rounds; round++) {
    for (const { name, command } of commands) {
      if (failed.has(name)) continue;
      const result = time(command);
      // The first round warms the page cache and is not counted.
      if (typeof result === "string") failed.set(name, result);
      else if (round > 0) taken.set(name, [...(taken.get(name) ?? []), result]);
    }
  }
  const results = new Map<string, Sample | string>();
  for (const { name } of commands) results.set(name, failed.get(name) ?? sample(taken.get(name) ?? []));
  return results;
}

/** Builds the yardstick for start-up: a Bun-compiled executable that does nothing. */
export async function buildEmptyProgram(folder: string): Promise<string | undefined> {
  const source = `${folder}/empty.ts`;
  const output = `${folder}/empty`;
  writeFileSync(source, "export {};\n");
  const flags = ["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"];
  const built = await run([process.execPath, "build", "--compile", ...flags, "--outfile", output, source], {
    timeoutMs: 60_000,
  });
  return built.status === 0 && Bun.spawnSync([output], { env: environment }).exitCode === 0 ? output : undefined;
}
