/** The comparison at the heart of the suite: the host's output and status against runts', and a list of known gaps. */
import { knownDifferences } from "../known-differences.ts";
import { unifiedDiff } from "./diff.ts";
import type { Result } from "./process.ts";
import { fail, type Outcome, pass } from "./suite.ts";

/** What a person needs to see of stderr: the last lines. */
const tail = (text: string, lines = 12): string => {
  const all = text.trimEnd().split("\n");
  return all.slice(-lines).join("\n");
};

export function compareResults(name: string, platform: string, host: Result, guest: Result): Outcome {
  const known = knownDifferences.find((d) => d.name === name && (!d.platform || d.platform === platform));
  const expectedOut = known?.host ? known.host(host.stdout) : host.stdout;
  const actualOut = known?.runts ? known.runts(guest.stdout) : guest.stdout;
  const problems: string[] = [];
  if (host.timedOut) problems.push("the oracle itself ran into the time limit on the host");
  if (guest.timedOut) problems.push(`no end within ${(guest.ms / 1000).toFixed(0)} s`);
  if (guest.status !== host.status) problems.push(`status ${guest.status}, on the host ${host.status}`);
  if (actualOut !== expectedOut) problems.push(unifiedDiff(expectedOut, actualOut));
  if (problems.length === 0) return pass;
  if (guest.stderr.trim() !== "" && guest.stderr !== host.stderr) problems.push(`stderr: ${tail(guest.stderr)}`);
  return fail(problems.join("\n"));
}
