/**
 * Images of containers as they come from elsewhere: those of earlier versions, which are restored for ever after (images/VERSION,
 * made by images/make.ts), and those that somebody has edited, by thought and at random (images/edits.ts): a restore may refuse
 * them, and guests that it makes may do what they like, but it ends, leaves nothing behind, and gives them nothing of the host's.
 *
 * RUNTS_IMAGES=1000 tries as many random edits, RUNTS_IMAGES=17-40 those with these numbers.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Random } from "./fuzz/random.ts";
import { platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass } from "./harness/suite.ts";
import { handOver } from "./harness/user.ts";
import { atRandom, type Edit, THOUGHT } from "./images/edits.ts";
import { edit, privateCopy, RESTORED, restore, saveTo, withDirectory } from "./images/restore.ts";

const folder = join(import.meta.dir, "images");
const versions = (): string[] => readdirSync(folder).filter((name) => /^\d+\.\d+\.\d+$/.test(name));
const SEED = 1;
/** Random edits on each platform, by default. */
const RANDOM = 10;

async function earlier(version: string, platform: string): Promise<Outcome> {
  return withDirectory(async (directory) => {
    const image = join(directory, "image");
    privateCopy(join(folder, version), image);
    handOver(directory);
    const { status, stdout, stderr, wrong } = await restore(image, platform);
    if (status === 0 && stdout === RESTORED && stderr === "" && wrong.length === 0) return pass;
    return fail(`status ${status}, ${wrong.join(", ")}\n${stdout}\n${stderr}`);
  });
}

async function edited(edits: readonly Edit[], platform: string): Promise<Outcome> {
  return withDirectory(async (directory) => {
    const good = join(directory, "good");
    await saveTo(good, platform);
    const problems: string[] = [];
    for (const { name, apply, refused } of edits) {
      const image = join(directory, "image");
      privateCopy(good, image);
      await edit(image, apply);
      handOver(directory);
      const { status, stdout, stderr, wrong } = await restore(image, platform);
      rmSync(image, { recursive: true });
      if (refused === true && (status !== 1 || stdout !== "" || !/^runts: \S/.test(stderr)))
        wrong.push(`was not refused: status ${status}: ${stdout}${stderr}`);
      for (const each of wrong) problems.push(`${name}: ${each}`);
    }
    return problems.length === 0 ? pass : fail(problems.join("\n"));
  });
}

function randomEdits(platform: string): Edit[] {
  const words = process.env["RUNTS_IMAGES"] ?? "";
  const offset = platform === "systrap" ? 0 : RANDOM;
  const [from, to] = /^\d+-\d+$/.test(words)
    ? (words.split("-").map(Number) as [number, number])
    : [offset, offset + Number(words || RANDOM)];
  return Array.from({ length: to - from }, (_, i) => ({
    name: `edit ${from + i}`,
    apply: atRandom(new Random(SEED, from + i)),
  }));
}

/** Those of one kind on one platform, since they are many. */
const half = (platform: string): Edit[] => THOUGHT.filter((_, i) => (i % 2 === 0) === (platform === platforms[0]));

export function imageGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  const add = (name: string, run: () => Promise<Outcome>): void => {
    if (matches(name, filters)) cases.push({ name, run });
  };
  for (const platform of platforms) {
    for (const version of versions()) add(`images/${version}@${platform}`, () => earlier(version, platform));
    add(`images/crafted@${platform}`, () => edited(half(platform), platform));
    add(`images/random@${platform}`, () => edited(randomEdits(platform), platform));
  }
  return { name: "images", cases };
}
