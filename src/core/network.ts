/** Which network a container reaches: what `--network` and its spec say. */
import type { Globals } from "./global-flags.ts";
import type { SandboxOptions } from "./sandbox.ts";
import type { Spec } from "./spec/schema.ts";

export type NetworkChoice = Pick<SandboxOptions, "network" | "outside">;

/** That of a container: without a network namespace in its spec it is the caller's, as with runc. */
export function chooseNetwork(globals: Globals, spec: Spec): NetworkChoice {
  if (globals.network === "none") return { network: "none", outside: null };
  const own = spec.linux?.namespaces?.some(({ type }) => type === "network") === true;
  const shared = globals.network === "host" || !own;
  return {
    network: shared ? "host" : "sandbox",
    outside: { egress: null, deny: null, publish: null, resolvers: [], shared, required: false },
  };
}
