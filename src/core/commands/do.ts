/**
 * `runts do PROGRAM …`: one program of this host in a sandbox of its own, without a bundle.
 *
 * The root is the host's file system, read-only under an overlay in memory; the same working directory, environment and
 * user; the exit status is the program's as a shell gives it. Nothing is kept: there is no state directory, and the
 * sandbox dies with this command.
 */

import { resolve } from "node:path";
import { isatty } from "node:tty";
import { type CommandContext, command } from "../command.ts";
import { programError } from "../exec-error.ts";
import { type FlagValues, flag, usage } from "../flags.ts";
import { chooseNetwork } from "../network.ts";
import { choosePlatform, straceNames } from "../platforms.ts";
import type { LaunchOptions } from "../sandbox.ts";
import { exitCodeOf, forwardSignals } from "../signals.ts";
import { allCapabilities } from "../spec/capabilities.ts";
import type { Mount, Spec } from "../spec/schema.ts";
import { TerminalBridge } from "../terminal.ts";
import { SPEC_VERSION } from "../version.ts";

const flags = {
  cwd: flag.string({ value: "DIR", short: "w", help: "working directory (default: this one)" }),
  env: flag.list({ value: "NAME=VALUE", short: "e", help: "set a variable; NAME alone takes this one's value" }),
  user: flag.string({ value: "UID[:GID]", short: "u", help: "run as this user (default: the caller)" }),
  root: flag.string({ value: "DIR", default: "/", help: "directory that the program sees as /" }),
  hostname: flag.string({ value: "NAME", help: "host name inside" }),
  volume: flag.list({ value: "FROM:TO[:ro]", short: "v", help: "let the program see, and write, a host directory" }),
  mount: flag.list({
    value: "TYPE:SOURCE:TO[:OPTION,...]",
    help: "mount a file system of this kernel or of a plugin, for example tmpfs:none:/scratch:size=1m",
  }),
  readOnly: flag.boolean({ help: "no overlay: writes to the root fail" }),
  noTty: flag.boolean({ short: "T", help: "no terminal of its own, even if this command has one" }),
};

export default command({
  name: "do",
  summary: "run a program of this host in a sandbox of its own",
  args: "<program> [argument...]",
  description: `
The program sees this host's files, and may change them for itself only: writes
go to memory and are gone with it. Flags end at the first argument that is none.

  runts do -- python3 app.py
  runts --strace=openat do ls -la`,
  flags,
  stopAtPositional: true,
  run,
});

async function run(context: CommandContext, values: FlagValues<typeof flags>, args: string[]): Promise<number> {
  const { globals, log, plugins } = context;
  plugins.requireAll();
  const platform = choosePlatform(context);
  const host = await context.hostCalls();
  const terminal = !values.noTty && isatty(0) && isatty(1);
  const spec = makeSpec(values, args, terminal ? TerminalBridge.size(host) : undefined, terminal);
  const bridge = terminal ? TerminalBridge.open(host) : undefined;
  const stdio = [0, 1, 2].map((fd) => (bridge !== undefined && isatty(fd) ? bridge.slave : fd));
  const options: LaunchOptions = {
    id: `do-${process.pid}`,
    bundle: null,
    spec,
    overlay: values.readOnly ? "none" : "memory",
    platform,
    network: chooseNetwork(globals, log),
    debug: globals.debug,
    strace: straceNames(globals["strace"]),
    debugLog: globals.debugLog ?? null,
    stateDirectory: null,
    stdio,
    terminal,
    plugins: plugins.sandboxPlugins(),
    dieWithParent: true,
  };
  try {
    const launcher = await context.launcher();
    const sandbox = await launcher.launch(options);
    bridge?.closeSlave();
    bridge?.connect();
    const stopForwarding = forwardSignals((signal) => {
      sandbox.request("signal", { id: options.id, signal, foreground: true }).catch((error: unknown) => {
        log.debug(`signal ${signal} was not passed on: ${String(error)}`);
      });
    });
    try {
      // Asked before the start: a short program may have taken the sandbox with it before a later question arrives.
      const waiting = sandbox.request("wait", { id: options.id });
      waiting.catch(() => {});
      await sandbox.request("start", { id: options.id });
      const status = await waiting;
      await bridge?.finish();
      if (status.explanation !== undefined) log.warn(status.explanation);
      return exitCodeOf(status);
    } finally {
      stopForwarding();
      await sandbox.kill();
    }
  } catch (error) {
    throw programError(error);
  } finally {
    bridge?.restore();
  }
}

/** The OCI spec of a `do`. */
export function makeSpec(
  values: FlagValues<typeof flags>,
  args: readonly string[],
  consoleSize: { height: number; width: number } | undefined,
  terminal: boolean,
): Spec {
  const { uid, gid, additionalGids } = user(values.user);
  const capabilities = uid === 0 ? [...allCapabilities] : [];
  const mounts: Mount[] = [
    { destination: "/proc", type: "proc", source: "proc" },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["ro", "nosuid", "noexec", "nodev"] },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["newinstance", "ptmxmode=0666", "mode=0620"],
    },
    { destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "nodev", "mode=1777"] },
    ...values.volume.map(volume),
    ...values.mount.map(mountOf),
  ];
  return {
    ociVersion: SPEC_VERSION,
    root: { path: resolve(values.root), readonly: values.readOnly },
    process: {
      terminal,
      ...(consoleSize === undefined ? {} : { consoleSize }),
      user: { uid, gid, additionalGids, umask: process.umask() },
      args: [...args],
      env: environment(values.env),
      cwd: values.cwd ?? (values.root === "/" ? process.cwd() : "/"),
      capabilities: {
        bounding: capabilities,
        effective: capabilities,
        permitted: capabilities,
        inheritable: [],
        ambient: [],
      },
      noNewPrivileges: false,
    },
    ...(values.hostname === undefined ? {} : { hostname: values.hostname }),
    mounts,
    linux: {
      namespaces: [{ type: "pid" }, { type: "mount" }, { type: "ipc" }, { type: "uts" }, { type: "network" }],
    },
  };
}

function user(text: string | undefined): { uid: number; gid: number; additionalGids: number[] } {
  if (text === undefined)
    return {
      uid: process.getuid!(),
      gid: process.getgid!(),
      additionalGids: process.getgroups!().filter((gid) => gid !== process.getgid!()),
    };
  const match = /^(\d+)(?::(\d+))?$/.exec(text);
  if (match === null) throw usage("runts do", `flag --user: expected UID or UID:GID, got "${text}"`);
  const uid = Number(match[1]);
  return { uid, gid: match[2] === undefined ? uid : Number(match[2]), additionalGids: [] };
}

function environment(extra: readonly string[]): string[] {
  const env = new Map(Object.entries(process.env).map(([name, value]) => [name, value ?? ""]));
  for (const each of extra) {
    const equals = each.indexOf("=");
    if (equals > 0) env.set(each.slice(0, equals), each.slice(equals + 1));
    else if (equals === 0) throw usage("runts do", `flag --env: "${each}" has no name`);
    else if (process.env[each] !== undefined) env.set(each, process.env[each]);
  }
  return [...env].map(([name, value]) => `${name}=${value}`);
}

function mountOf(text: string): Mount {
  const [type, source, to, options, ...rest] = text.split(":");
  if (!type || source === undefined || !to?.startsWith("/") || rest.length > 0)
    throw usage("runts do", `flag --mount: expected TYPE:SOURCE:TO or TYPE:SOURCE:TO:OPTIONS, got "${text}"`);
  return {
    destination: to,
    type,
    source: source.startsWith(".") ? resolve(source) : source,
    ...(options ? { options: options.split(",") } : {}),
  };
}

function volume(text: string): Mount {
  const [from, to, mode, ...rest] = text.split(":");
  if (!from || !to?.startsWith("/") || rest.length > 0 || (mode !== undefined && mode !== "ro" && mode !== "rw"))
    throw usage("runts do", `flag --volume: expected FROM:TO or FROM:TO:ro, got "${text}"`);
  return { destination: to, type: "bind", source: resolve(from), options: ["rbind", mode ?? "rw"] };
}
