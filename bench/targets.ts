/**
 * What is measured against what: this machine, runts on each platform, runsc.
 *
 * Invariant: a target is listed as usable only after a program ran in it here and now; each other
 * one is named with the reason, so that a missing column is never silent.
 * Known gaps: only `do` is used, so runsc's own networking and rootless modes play no part.
 */
import { accessSync, constants } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { run } from "./process.ts";

export interface Target {
  /** "native", "runts systrap", "runsc ptrace": also the column's title. */
  name: string;
  kind: "native" | "runts" | "runsc";
  platform: string;
  /** What stands before the program's own words. */
  prefix: string[];
}

export interface Targets {
  usable: Target[];
  skipped: { name: string; reason: string }[];
  /** Path of each runtime's executable, where there is one. */
  runts: string | undefined;
  runsc: string | undefined;
  runscVersion: string;
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A command from the environment variable, else from PATH, as an absolute path. */
export function findExecutable(name: string, variable: string): string | undefined {
  const given = process.env[variable];
  if (given) return isAbsolute(given) || given.includes("/") ? resolve(given) : (Bun.which(given) ?? undefined);
  return Bun.which(name) ?? undefined;
}

export const runtsPath = (): string => resolve(process.env["RUNTS"] || `${import.meta.dirname}/../dist/runts`);

/** Platform names that `features` reports, in whichever of the plausible shapes it does. */
function platformsIn(features: unknown): string[] {
  if (typeof features !== "object" || features === null) return [];
  const names: string[] = [];
  for (const [key, value] of Object.entries(features)) {
    if (key === "platforms" && Array.isArray(value)) {
      for (const entry of value) {
        const name: unknown = typeof entry === "object" && entry !== null ? entry.name : entry;
        if (typeof name === "string") names.push(name);
      }
    } else if (key === "platforms" && typeof value === "object" && value !== null) {
      names.push(...Object.keys(value));
    } else {
      names.push(...platformsIn(value));
    }
  }
  return names;
}

async function runtsPlatforms(runts: string): Promise<string[]> {
  const names = new Set(["systrap", "ptrace"]);
  const features = await run([runts, "features"], { timeoutMs: 10_000 });
  try {
    for (const name of platformsIn(JSON.parse(features.stdout))) names.add(name);
  } catch {
    // No `features` command, or not JSON: the two platforms that every build has remain.
  }
  return [...names];
}

export interface Wanted {
  /** Names of platforms to measure; all when empty. */
  platforms: string[];
  runscPtrace: boolean;
  /** A program that ends with status 0 at once. */
  trivial: string[];
}

export async function findTargets(wanted: Wanted): Promise<Targets> {
  const usable: Target[] = [{ name: "native", kind: "native", platform: "", prefix: [] }];
  const skipped: Targets["skipped"] = [];
  const candidates: Target[] = [];

  let runts: string | undefined = runtsPath();
  if (isExecutable(runts)) {
    for (const platform of await runtsPlatforms(runts))
      if (wanted.platforms.length === 0 || wanted.platforms.includes(platform))
        candidates.push({
          name: `runts ${platform}`,
          kind: "runts",
          platform,
          prefix: [runts, "do", "--platform", platform, "--"],
        });
  } else {
    runts = undefined;
    skipped.push({ name: "runts", reason: "dist/runts is not there: run `npm run build` first, or set RUNTS=" });
  }

  const runsc = findExecutable("runsc", "RUNSC");
  let runscVersion = "";
  if (runsc !== undefined) {
    runscVersion = /version (\S+)/.exec((await run([runsc, "--version"], { timeoutMs: 10_000 })).stdout)?.[1] ?? "?";
    const rootless = process.getuid?.() === 0 ? "--rootless=false" : "--rootless=true";
    for (const platform of wanted.runscPtrace ? ["systrap", "ptrace"] : ["systrap"])
      candidates.push({
        name: `runsc ${platform}`,
        kind: "runsc",
        platform,
        prefix: [runsc, rootless, "--network=none", `--platform=${platform}`, "do"],
      });
  } else {
    skipped.push({ name: "runsc", reason: "not on PATH: set RUNSC=, or RUNSC=$(bench/get-runsc.sh)" });
  }

  for (const target of candidates) {
    const probe = await run([...target.prefix, ...wanted.trivial], { timeoutMs: 15_000 });
    if (probe.status === 0) usable.push(target);
    else skipped.push({ name: target.name, reason: probe.failure });
  }
  return { usable, skipped, runts, runsc, runscVersion };
}
