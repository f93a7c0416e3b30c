/**
 * The whole test suite: `bun build.ts test [word…]` builds and then comes here.
 *
 * Groups, in order: unit (beside the code), guest (conformance programs), programs (real ones), errors (bad input),
 * clients (containerd, Docker, Podman), stress. A word selects the cases whose name contains it, as in
 * `bun build.ts test futex` or `guest/pipe@ptrace`.
 * RUNTS_PLATFORMS selects platforms, RUNTS_JOBS how many cases run at once, RUNTS_VERBOSE=1 names each that passed.
 */
import { availableParallelism } from "node:os";
import { clientGroup } from "./clients/clients.ts";
import { errorGroup } from "./errors.ts";
import { guestGroup } from "./guest.ts";
import { installPackages } from "./harness/packages.ts";
import { killAllRunning } from "./harness/process.ts";
import { platforms, runts, runtsExists } from "./harness/sandbox.ts";
import { type Group, runGroup, type Totals } from "./harness/suite.ts";
import { pluginGroup } from "./plugins/plugins.ts";
import { programGroup } from "./programs.ts";
import { chaosGroup } from "./specs/chaos.ts";
import { specsGroup } from "./specs/specs.ts";
import { stressGroup } from "./stress.ts";
import { unitGroup } from "./unit.ts";

const filters = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const verbose = process.env["RUNTS_VERBOSE"] === "1";
const jobs = Number(process.env["RUNTS_JOBS"] ?? availableParallelism());

if (!runtsExists()) {
  console.error(`${runts} does not exist: build it first with "npm run build"`);
  process.exit(1);
}

for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => {
    killAllRunning();
    process.exit(130);
  });

await installPackages();
console.log(`testing ${runts} on ${platforms.join(" and ")}, ${jobs} at a time`);
const groups: Group[] = [
  unitGroup(filters),
  specsGroup(filters),
  pluginGroup(filters),
  chaosGroup(filters),
  guestGroup(filters),
  programGroup(filters),
  errorGroup(filters),
  clientGroup(filters),
  stressGroup(filters),
];
const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
for (const group of groups) {
  if (group.cases.length === 0) continue;
  const one = await runGroup(group, jobs, verbose);
  totals.passed += one.passed;
  totals.failed += one.failed;
  totals.skipped += one.skipped;
}
if (totals.passed + totals.failed + totals.skipped === 0) {
  console.error(`no test matches ${filters.join(" ")}`);
  process.exit(1);
}
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exit(totals.failed ? 1 : 0);
