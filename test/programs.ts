/**
 * Real programs: each file in test/programs/scripts runs on the host and in the sandbox, and must print the same and
 * end alike. Its first lines say how:
 *
 *   # run: bash                 the interpreter and its arguments
 *   # needs: git gcc            Debian packages; the case is skipped when one is missing
 *   # ends: 6                   the status that it ends with, where that is not 0
 *   # timeout: 60               seconds in the sandbox, 120 without it: bounds for a busy machine
 *
 * A case works in an empty directory of its own under /tmp, which in the sandbox is memory over the host's.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { compareResults } from "./harness/compare.ts";
import { whyMissing } from "./harness/packages.ts";
import { type Result, run } from "./harness/process.ts";
import { inSandbox, platforms } from "./harness/sandbox.ts";
import { type Case, type Group, matches, skip } from "./harness/suite.ts";
import { currentUser } from "./harness/user.ts";
import { interactiveCases } from "./programs/interactive.ts";

const scripts = join(import.meta.dir, "programs/scripts");

/** Makes and removes the working directory around the command. */
const wrapper = 'd=$(mktemp -d /tmp/programs-XXXXXX) && cd "$d" || exit 99; "$@"; s=$?; cd /; rm -rf "$d"; exit $s';

interface Program {
  name: string;
  command: string[];
  needs: string[];
  status: number;
  timeoutMs: number;
}

function load(file: string): Program {
  const text = readFileSync(join(scripts, file), "utf8");
  const field = (key: string): string | undefined => text.match(new RegExp(`^(?:#|//) ${key}: (.*)$`, "m"))?.[1];
  const interpreter = field("run");
  if (!interpreter) throw new Error(`${file} has no "run:" line`);
  return {
    name: basename(file).replace(/\.[^.]+$/, ""),
    command: ["/bin/sh", "-c", wrapper, "sh", ...interpreter.split(" "), join(scripts, file)],
    needs: field("needs")?.split(" ") ?? [],
    status: Number(field("ends") ?? 0),
    timeoutMs: Number(field("timeout") ?? 120) * 1000,
  };
}

const oracle = new Map<string, Promise<Result>>();

function onHost(program: Program): Promise<Result> {
  // What it prints may depend on who runs it.
  const key = `${program.name} ${currentUser()?.name ?? ""}`;
  let result = oracle.get(key);
  if (!result) {
    result = run(program.command, { timeoutMs: program.timeoutMs });
    oracle.set(key, result);
  }
  return result;
}

export function programGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  for (const file of readdirSync(scripts).sort()) {
    const program = load(file);
    for (const platform of platforms) {
      const name = `programs/${program.name}@${platform}`;
      if (!matches(name, filters)) continue;
      cases.push({
        name,
        async run() {
          const missing = whyMissing(program.needs);
          if (missing) return skip(missing);
          const host = await onHost(program);
          const guest = await run(inSandbox(platform, program.command), { timeoutMs: program.timeoutMs });
          return compareResults(`programs/${program.name}`, platform, host, guest, program.status);
        },
      });
    }
  }
  cases.push(...interactiveCases(filters));
  return { name: "programs", cases };
}
