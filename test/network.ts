/**
 * The network outside, between hosts of the test's own (network/wire.ts): sockets of each kind compared with two hosts natively
 * (conformance.ts), real programs, what a guest sees of its devices and routes, the rules, and faults.
 *
 * RUNTS_NETWORK=full takes larger transfers and more connections, RUNTS_NETWORK=native runs what can be without a sandbox.
 */
import type { Group } from "./harness/suite.ts";
import { conformanceCases } from "./network/conformance.ts";
import { networkFaultCases } from "./network/faults.ts";
import { networkLookCases } from "./network/looks.ts";
import { networkProgramCases } from "./network/programs.ts";
import { networkRuleCases } from "./network/rules.ts";

export const networkGroup = (filters: readonly string[]): Group => ({
  name: "network",
  cases: [conformanceCases, networkLookCases, networkProgramCases, networkRuleCases, networkFaultCases].flatMap(
    (cases) => cases(filters),
  ),
});
