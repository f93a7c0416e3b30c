/**
 * What `--network` asks for. Today every sandbox has a network stack of its own with a loopback device; sockets of the
 * host are not passed through, so "host" is told so and gets the same.
 */
import type { Globals } from "./global-flags.ts";
import type { Log } from "./log.ts";
import type { SandboxOptions } from "./sandbox.ts";

export function chooseNetwork(globals: Globals, log: Log): SandboxOptions["network"] {
  if (globals.network === "host")
    log.warn(
      "--network host: the host's sockets are not passed through yet; the guest has its own loopback network only",
    );
  return globals.network as SandboxOptions["network"];
}
