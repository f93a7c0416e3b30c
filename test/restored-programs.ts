/**
 * Real programs that are saved in the middle of their work, and go on elsewhere: each in test/restored-programs is begun on
 * one platform, moved to the other, and moved back, at random moments. It must end as it does on the host, where nothing
 * of that happens.
 *
 * The first lines say how, as those of test/programs/scripts do. A program prints "working" when there is something to be
 * saved. Most go on in rounds, which they check themselves, until there is a file "stop" in their directory; others have so
 * much to do.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { unifiedDiff } from "./harness/diff.ts";
import { whyMissing } from "./harness/packages.ts";
import { platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";
import { interactiveMoves } from "./restored-programs/interactive.ts";
import { atHome, Traveller } from "./restored-programs/traveller.ts";
import { random } from "./specs/random.ts";

const scripts = join(import.meta.dir, "restored-programs");
/** How long after it has said so a program is at work. */
const MOMENT_MS = 400;

interface Program {
  name: string;
  command: string[];
  needs: string[];
}

function load(file: string): Program {
  const text = readFileSync(join(scripts, file), "utf8");
  const field = (key: string): string | undefined => text.match(new RegExp(`^(?:#|//) ${key}: (.*)$`, "m"))?.[1];
  const interpreter = field("run");
  if (!interpreter) throw new Error(`${file} has no "run:" line`);
  return {
    name: basename(file).replace(/\.[^.]+$/, ""),
    command: [...interpreter.split(" "), join(scripts, file)],
    needs: field("needs")?.split(" ") ?? [],
  };
}

const next = random();
const aMoment = (): Promise<void> => Bun.sleep(next() * MOMENT_MS);

async function moved(program: Program, platform: string): Promise<Outcome> {
  const missing = whyMissing(program.needs);
  if (missing) return skip(missing);
  const host = await atHome(program.name, program.command);
  if (host.status !== 0) return fail(`the oracle could not run: status ${host.status}\n${host.output}\n${host.errors}`);
  const traveller = new Traveller(program.name, program.command);
  try {
    await traveller.begin(platform);
    await aMoment();
    for (const to of [...platforms.filter((each) => each !== platform), platform]) {
      await traveller.move(to);
      await aMoment();
    }
    const guest = await traveller.end();
    if (guest.status === host.status && guest.output === host.output) return pass;
    return fail(
      `status ${guest.status}, on the host ${host.status}\n${unifiedDiff(host.output, guest.output)}\n${guest.errors}`,
    );
  } catch (error) {
    return fail(`${(error as Error).message}\n${traveller.printed()}`);
  } finally {
    await traveller.close();
  }
}

export function restoredProgramGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  for (const file of readdirSync(scripts)
    .filter((file) => !file.endsWith(".ts"))
    .sort()) {
    const program = load(file);
    for (const platform of platforms) {
      const name = `restored-programs/${program.name}@${platform}`;
      if (matches(name, filters)) cases.push({ name, run: () => moved(program, platform) });
    }
  }
  cases.push(...interactiveMoves(filters));
  return { name: "restored-programs", cases };
}
