/**
 * A scenario is a test of a program on the host `guest`, told by what the other hosts see of it. It runs natively first,
 * once, which shows that the expectations are Linux', and then in a container on each platform.
 *
 * RUNTS_NETWORK=native runs it natively alone.
 */
import { Expect } from "../clients/expect.ts";
import { whyMissing } from "../harness/packages.ts";
import { isRoot, platforms } from "../harness/sandbox.ts";
import { type Case, fail, matches, type Outcome, pass, skip } from "../harness/suite.ts";
import { type Place, Wire, wirePackages } from "./wire.ts";

export const nativeOnly = process.env["RUNTS_NETWORK"] === "native";
/** Longer and larger. */
export const full = process.env["RUNTS_NETWORK"] === "full";

export interface Scenario {
  name: string;
  /** Debian packages. */
  needs?: readonly string[];
  /** Does not run natively: it is about the sandbox. */
  ours?: boolean;
  alone?: boolean;
  run(wire: Wire, place: Place, expect: Expect): Promise<void>;
}

/** Gives what is wrong. */
export async function play(scenario: Scenario, platform: string): Promise<string[]> {
  const wire = await Wire.open();
  const expect = new Expect();
  let log = "";
  try {
    await scenario.run(wire, wire.place(platform), expect);
  } catch (error) {
    expect.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    log = wire.log();
    const left = await wire.close();
    if (left.length > 0) expect.problems.push(`left behind:\n  ${left.join("\n  ")}`);
  }
  if (expect.problems.length > 0 && log !== "") expect.problems.push(`the runtime's log: ${log.slice(-2000)}`);
  return expect.problems;
}

export function scenarioCases(kind: string, scenarios: readonly Scenario[], filters: readonly string[]): Case[] {
  const cases: Case[] = [];
  for (const scenario of scenarios) {
    let native: Promise<string[]> | undefined;
    const one = async (platform: string): Promise<Outcome> => {
      if (!isRoot) return skip("network namespaces of the test's own need root");
      const missing = whyMissing([...wirePackages, ...(scenario.needs ?? [])]);
      if (missing) return skip(missing);
      if (!scenario.ours) {
        native ??= play(scenario, "native");
        const problems = await native;
        if (problems.length > 0) return fail(`the oracle could not run:\n${problems.join("\n")}`);
      }
      if (platform === "native") return pass;
      const problems = await play(scenario, platform);
      return problems.length === 0 ? pass : fail(problems.join("\n"));
    };
    const places = nativeOnly ? (scenario.ours ? [] : ["native"]) : platforms;
    for (const platform of places) {
      const name = `network/${kind}/${scenario.name}@${platform}`;
      if (!matches(name, filters)) continue;
      cases.push({ name, ...(scenario.alone ? { alone: true } : {}), run: () => one(platform) });
    }
  }
  return cases;
}
