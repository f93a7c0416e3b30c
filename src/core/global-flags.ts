/** The flags before the command. Plugins add theirs (`--strace` is one). */
import { accessSync, constants, lstatSync, mkdirSync, readFileSync } from "node:fs";
import { isErrno, RuntimeError } from "./errors.ts";
import { type FlagValues, flag } from "./flags.ts";

export const globalFlags = {
  root: flag.string({
    value: "DIR",
    help: "state directory (default: /run/runts; without root $XDG_RUNTIME_DIR/runts or /tmp/runts-UID)",
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
    help: "what containers reach: sandbox (the network of their spec), host (this one), none (a loopback only)",
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

/**
 * Where containers are kept when nobody says where. Root of the host has /run; whoever else may not write there has its
 * own runtime directory, or one in /tmp that nobody else can look into.
 */
export function defaultRoot(): string {
  const uid = process.geteuid!();
  if (uid === 0 && (!inUserNamespace() || canWrite("/run"))) return "/run/runts";
  const runtimeDir = process.env["XDG_RUNTIME_DIR"];
  return runtimeDir ? `${runtimeDir}/runts` : temporaryRoot();
}

/** Not all of the host's ids: we are root of somebody's namespace. */
export function inUserNamespace(): boolean {
  return !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "latin1"));
}

function canWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const temporaryRoot = () => `/tmp/runts-${process.geteuid!()}`;

/** Others could have made the one in /tmp first: what is in it is believed, so it must be ours. */
export function checkRoot(path: string): void {
  if (path !== temporaryRoot()) return;
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!isErrno(error, "EEXIST"))
      throw new RuntimeError("host", `cannot make the state directory ${path}`, { cause: error });
  }
  const { uid, mode } = lstatSync(path);
  const isDirectory = (mode & constants.S_IFMT) === constants.S_IFDIR;
  if (!isDirectory || uid !== process.geteuid!() || (mode & 0o077) !== 0)
    throw new RuntimeError(
      "host",
      `${path} is not a directory of this user's alone: remove it, or name another with --root or XDG_RUNTIME_DIR`,
      { path },
    );
}
