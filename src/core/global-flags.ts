/** The flags before the command. Plugins add theirs (`--strace` is one). */
import { type FlagValues, flag } from "./flags.ts";

export const globalFlags = {
  root: flag.string({
    value: "DIR",
    help: "state directory (default: /run/runts, or $XDG_RUNTIME_DIR/runts without root)",
  }),
  log: flag.string({ value: "FILE", help: "write messages to this file rather than to standard error" }),
  logFormat: flag.string({
    value: "FORMAT",
    default: "text",
    help: "text or json",
    schema: (v) => v.picklist(["text", "json"], 'expected "text" or "json"'),
  }),
  debug: flag.boolean({ help: "say what is being done, also inside the sandbox" }),
  debugLog: flag.string({ value: "FILE", help: "where --debug and --strace of the sandbox go" }),
  platform: flag.string({ value: "NAME", help: "how guest code is run, see `runts features`" }),
  network: flag.string({
    value: "KIND",
    default: "sandbox",
    help: "sandbox (own stack), none (loopback only) or host (not there yet: as sandbox, with a warning)",
    schema: (v) => v.picklist(["sandbox", "host", "none"], 'expected "sandbox", "host" or "none"'),
  }),
  overlay: flag.boolean({ help: "what a container writes to its root and volumes goes to memory, not to the host" }),
  config: flag.string({ value: "FILE", help: "read this configuration file, and no other" }),
  systemdCgroup: flag.boolean({ help: "cgroupsPath is systemd's slice:prefix:name" }),
  rootless: flag.string({
    value: "BOOL",
    default: "auto",
    help: "work without root's rights on the host: true, false or auto",
    schema: (v) => v.picklist(["auto", "true", "false", "1", "0"], 'expected "true", "false" or "auto"'),
  }),
  version: flag.boolean({ short: "v", help: "print the version" }),
  help: flag.boolean({ short: "h", help: "print help" }),
} as const;

/** Values of the global flags; those of plugins under their names. */
export type Globals = Omit<FlagValues<typeof globalFlags>, "root"> & { root: string } & Record<string, unknown>;

export function defaultRoot(): string {
  const runtimeDir = process.env["XDG_RUNTIME_DIR"];
  if (process.geteuid?.() !== 0 && runtimeDir) return `${runtimeDir}/runts`;
  return "/run/runts";
}
