/**
 * The whole test suite: `bun build.ts test [word…]` builds and then comes here.
 *
 * Groups, in order: check (types, lint, format), unit (beside the code), guest (conformance programs), restored (the same, moved in
 * their middle), images (of earlier versions, and edited ones), programs (real ones), restored-programs (some of them, moved), moments (one, moved
 * again and again), errors (bad input), jail (what the host sees of a sandbox), adding (containers to a sandbox), clock (clocks of its own),
 * network (hosts outside), user (some of those
 * before once more, as an ordinary user), clients (containerd, Docker, Podman), hostile (attacks beside a bystander), hostile-pod
 * (attacks on another container of the sandbox), leaks
 * (what a sandbox keeps), stress, fuzz. A word selects the cases whose name contains it, as in
 * `bun build.ts test futex` or `guest/pipe@ptrace`.
 * RUNTS_PLATFORMS selects platforms, RUNTS_JOBS how many cases run at once, RUNTS_VERBOSE=1 names each that passed,
 * RUNTS_SKIPS=fail lets a test that skips itself fail: where everything should be there, as in continuous integration.
 */
import { availableParallelism } from "node:os";
import { addingGroup } from "./adding.ts";
import { checkGroup } from "./checks.ts";
import { clientGroup } from "./clients/clients.ts";
import { clockGroup } from "./clock.ts";
import { errorGroup } from "./errors.ts";
import { fuzzGroup } from "./fuzz/group.ts";
import { guestGroup } from "./guest.ts";
import { installPackages } from "./harness/packages.ts";
import { killAllRunning } from "./harness/process.ts";
import { platforms, runts, runtsExists } from "./harness/sandbox.ts";
import { type Group, runGroup, type Totals } from "./harness/suite.ts";
import { removeUser } from "./harness/user.ts";
import { hostileGroup } from "./hostile.ts";
import { hostilePodGroup } from "./hostile-pod.ts";
import { imageGroup } from "./images.ts";
import { jailGroup } from "./jail.ts";
import { leakGroup } from "./leaks.ts";
import { momentsGroup } from "./moments.ts";
import { networkGroup } from "./network.ts";
import { pluginGroup } from "./plugins/plugins.ts";
import { programGroup } from "./programs.ts";
import { restoredGroup } from "./restored.ts";
import { restoredProgramGroup } from "./restored-programs.ts";
import { chaosGroup } from "./specs/chaos.ts";
import { specsGroup } from "./specs/specs.ts";
import { stressGroup } from "./stress.ts";
import { unitGroup } from "./unit.ts";
import { userGroup } from "./user.ts";

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
    removeUser();
    process.exit(130);
  });

await installPackages();
console.log(`testing ${runts} on ${platforms.join(" and ")}, ${jobs} at a time`);
const groups: Group[] = [
  checkGroup(filters),
  unitGroup(filters, jobs),
  specsGroup(filters),
  pluginGroup(filters),
  chaosGroup(filters),
  guestGroup(filters),
  restoredGroup(filters),
  imageGroup(filters),
  programGroup(filters),
  restoredProgramGroup(filters),
  momentsGroup(filters),
  errorGroup(filters),
  jailGroup(filters),
  addingGroup(filters),
  clockGroup(filters),
  networkGroup(filters),
  userGroup(filters),
  clientGroup(filters),
  hostileGroup(filters),
  hostilePodGroup(filters),
  leakGroup(filters),
  stressGroup(filters),
  fuzzGroup(filters),
];
const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
for (const group of groups) {
  if (group.cases.length === 0) continue;
  const one = await runGroup(group, jobs, verbose);
  totals.passed += one.passed;
  totals.failed += one.failed;
  totals.skipped += one.skipped;
}
removeUser();
if (totals.passed + totals.failed + totals.skipped === 0) {
  console.error(`no test matches ${filters.join(" ")}`);
  process.exit(1);
}
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exit(totals.failed ? 1 : 0);
