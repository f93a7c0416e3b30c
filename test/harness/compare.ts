/**
 * The comparison at the heart of the suite: the host's output and status against runts', and a list of known gaps.
 *
 * What fails on the host shows nothing, even when it fails alike in runts: a program that could not begin there (a file
 * that is missing, a right) ends the same way here.
 */
import { knownDifferences } from "../known-differences.ts";
import { unifiedDiff } from "./diff.ts";
import type { Result } from "./process.ts";
import { fail, type Outcome, pass } from "./suite.ts";

/** What a person needs to see of stderr: the last lines. */
const tail = (text: string, lines = 12): string => {
  const all = text.trimEnd().split("\n");
  return all.slice(-lines).join("\n");
};

/** `status`: what the program ends with where all is well. */
export function compareResults(name: string, platform: string, host: Result, guest: Result, status = 0): Outcome {
  const known = knownDifferences.find((d) => d.name === name && (!d.platform || d.platform === platform));
  const expectedOut = known?.host ? known.host(host.stdout) : host.stdout;
  const actualOut = known?.runts ? known.runts(guest.stdout) : guest.stdout;
  const problems: string[] = [];
  if (host.timedOut) return fail("the oracle could not run: no end on the host within the time limit");
  if (host.status !== status)
    return fail(`the oracle could not run: status ${host.status} on the host\n${tail(host.stderr)}`);
  if (guest.timedOut) problems.push(`no end within ${(guest.ms / 1000).toFixed(0)} s`);
  if (guest.status !== host.status) problems.push(`status ${guest.status}, on the host ${host.status}`);
  if (actualOut !== expectedOut) problems.push(unifiedDiff(expectedOut, actualOut));
  if (problems.length === 0) return pass;
  if (guest.stderr.trim() !== "" && guest.stderr !== host.stderr) problems.push(`stderr: ${tail(guest.stderr)}`);
  return fail(problems.join("\n"));
}
