/**
 * `runts do PROGRAM …`: one program of this host in a sandbox of its own, without a bundle.
 *
 * The root is the host's file system, read-only under an overlay in memory; the same working directory, environment and
 * user; the exit status is the program's as a shell gives it. Nothing is kept: there is no state directory, and the
 * sandbox dies with this command.
 */

import { resolve } from "node:path";
import { isatty } from "node:tty";
import { afterSandbox, endSilentSandbox, passSignals } from "../attached.ts";
import { type CommandContext, command } from "../command.ts";
import { RuntimeError } from "../errors.ts";
import { programError } from "../exec-error.ts";
import { type FlagValues, flag, usage } from "../flags.ts";
import type { Restoring } from "../image.ts";
import { programNetwork } from "../network.ts";
import { choosePlatform, straceNames } from "../platforms.ts";
import type { ContainerOptions, ExitStatus, SandboxHandle, SandboxLauncher, SandboxOptions } from "../sandbox.ts";
import { exitCodeOf } from "../signals.ts";
import { allCapabilities } from "../spec/capabilities.ts";
import { earlyMounts, sandboxNamespaces } from "../spec/sandbox-part.ts";
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
  allowNet: flag.optional({
    value: "RULES",
    help: "let the program reach the network: all of it, or only example.com:443,*.example.org,10.0.0.0/8",
  }),
  denyNet: flag.list({ value: "RULES", help: "with --allow-net: but not these" }),
  publish: flag.list({
    value: "[ADDR:]PORT:PORT",
    short: "p",
    help: "let a port of this host lead to one of the program's; /udp behind it for UDP",
  }),
  readOnly: flag.boolean({ help: "no overlay: writes to the root fail" }),
  noTty: flag.boolean({ short: "T", help: "no terminal of its own, even if this command has one" }),
  save: flag.string({
    value: "DIR",
    help: "write an image there whenever the program writes to /proc/runts/checkpoint",
  }),
  from: flag.string({ value: "DIR", help: "go on from such an image, in place of beginning a program" }),
  allowChanged: flag.boolean({ help: "with --from: even if files of the host have changed" }),
};

export default command({
  name: "do",
  summary: "run a program of this host in a sandbox of its own",
  args: "[...program]",
  description: `
The program sees this host's files, and may change them for itself only: writes
go to memory and are gone with it. Flags end at the first argument that is none.`,
  examples: [
    "runts do -- python3 app.py",
    "runts --strace=openat do ls -la",
    "runts do --save warm.img -- python3 server.py",
    "runts do --from warm.img",
    "runts do --allow-net=pypi.org:443,files.pythonhosted.org:443 -- pip install x",
    "runts do --publish 8080:80 -- python3 -m http.server 80",
  ],
  flags,
  stopAtPositional: true,
  run,
});

async function run(context: CommandContext, values: FlagValues<typeof flags>, args: string[]): Promise<number> {
  context.plugins.requireAll();
  if (values.from === undefined) {
    if (args.length === 0) throw usage("runts do", '"do" requires a minimum of 1 argument(s)');
    const terminal = !values.noTty && isatty(0) && isatty(1);
    const size = terminal ? TerminalBridge.size(await context.hostCalls()) : undefined;
    const overlay = values.readOnly ? "none" : "memory";
    return runProgram(context, values, { spec: makeSpec(values, args, size, terminal), overlay });
  }
  refuseWithFrom(values, args);
  const { openImage, checkCpu, cpuFlags } = await import("../image.ts");
  const image = await openImage(context, values.from);
  try {
    const { spec, overlay, bundle, id } = image.container;
    if (bundle !== null)
      throw new RuntimeError("image", `image ${values.from}: it is of the container ${id}: see \`runts restore\``);
    checkCpu(image.manifest, await cpuFlags());
    const restoring: Restoring = { image, part: 0, allowChanged: values.allowChanged, as: "restored" };
    return await runProgram(context, values, { spec, overlay, restoring });
  } finally {
    image.close();
  }
}

/** What the image says already. */
function refuseWithFrom(values: FlagValues<typeof flags>, args: string[]): void {
  const { cwd, env, user, root, hostname, volume, mount, readOnly } = values;
  const own = [cwd, user, hostname, ...env, ...volume, ...mount].some((each) => each !== undefined);
  if (args.length > 0 || own || root !== "/" || readOnly)
    throw usage("runts do", "flag --from: the program, and what it runs with, is the image's");
}

interface Program {
  spec: Spec;
  overlay: ContainerOptions["overlay"];
  restoring?: Restoring;
}

async function runProgram(
  context: CommandContext,
  values: FlagValues<typeof flags>,
  { spec, overlay, restoring }: Program,
): Promise<number> {
  const { globals, log, plugins } = context;
  const platform = choosePlatform(context);
  // What had a terminal of its own has one again, whatever this command has.
  const terminal = spec.process?.terminal === true;
  const bridge = terminal ? TerminalBridge.open(await context.hostCalls()) : undefined;
  const stdio = [0, 1, 2].map((fd) => (bridge !== undefined && (fd < 2 || isatty(fd)) ? bridge.slave : fd));
  const options: SandboxOptions = {
    id: `do-${process.pid}`,
    platform,
    ...programNetwork(globals, values, context.network),
    debug: globals.debug,
    strace: straceNames(globals["strace"]),
    debugLog: globals.debugLog ?? null,
    plugins: plugins.sandboxPlugins(),
    earlyMounts: earlyMounts(spec),
    namespaces: sandboxNamespaces(spec, null),
    terminal: terminal ? stdio[0]! : null,
    cgroups: [],
    dieWithParent: true,
    clock: restoring?.image.manifest.clock ?? null,
  };
  const container: ContainerOptions = {
    id: options.id,
    bundle: null,
    spec,
    overlay,
    stdio,
    terminal,
    stateDirectory: null,
    cgroups: [],
    share: { pid: null, ipc: null, uts: null },
    waiter: null,
  };
  try {
    const launcher = await context.launcher();
    const sandbox = await launch(launcher, options, container, restoring, log);
    bridge?.closeSlave();
    bridge?.connect();
    const stopForwarding = passSignals({
      send: (signal) => sandbox.request("signal", { id: options.id, signal, foreground: true }),
      giveUp: () => endSilentSandbox(sandbox, log, () => sandbox.kill()),
      log,
    });
    if (plugins.listens("do:starting")) {
      const { personAt } = await import("../person.ts");
      const person = personAt(await context.hostCalls(), bridge);
      await plugins.run("do:starting", { id: options.id, sandbox, person });
    }
    const { save } = values;
    const saver =
      save === undefined ? undefined : new (await import("./do-save.ts")).Saver(context, sandbox, container, save);
    try {
      const status = await programStatus(sandbox, options.id);
      await saver?.finish();
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

async function launch(
  launcher: SandboxLauncher,
  options: SandboxOptions,
  container: ContainerOptions,
  restoring: Restoring | undefined,
  log: CommandContext["log"],
): Promise<SandboxHandle> {
  const files = restoring?.image.files();
  files?.catch(() => {});
  const sandbox = await launcher.launch(options);
  try {
    if (restoring === undefined) await launcher.addContainer(sandbox, container);
    else {
      const { restoreImage } = await import("../image.ts");
      const image = restoreImage(restoring, await files!);
      for (const warning of (await launcher.restoreContainer(sandbox, container, image)).warnings) log.warn(warning);
    }
  } catch (error) {
    await sandbox.kill();
    throw error;
  }
  return sandbox;
}

async function programStatus(sandbox: SandboxHandle, id: string): Promise<ExitStatus> {
  // Asked before the start: a short program may have taken the sandbox with it before a later question arrives.
  const waiting = sandbox.request("wait", { id });
  waiting.catch(() => {});
  try {
    await sandbox.request("start", { id });
    return await waiting;
  } catch (error) {
    return afterSandbox(sandbox, error);
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
