/**
 * `runts exec ID PROGRAM …`: another process in a running container, from flags or from a process.json.
 *
 * What the flags do not say is as in the container's own process. Fails with status 255, as runc's.
 */
import { passSignals } from "../attached.ts";
import { type CommandContext, command } from "../command.ts";
import { checkConsole } from "../container/console.ts";
import type { Containers, ExecOptions } from "../container/lifecycle.ts";
import { describe, RuntimeError } from "../errors.ts";
import { type FlagValues, flag, usage } from "../flags.ts";
import { inheritedDescriptors } from "../inherited.ts";
import { type ExitStatus, KILLED, type SandboxHandle } from "../sandbox.ts";
import { exitCodeOf } from "../signals.ts";
import type { Process, Spec } from "../spec/schema.ts";
import { TerminalBridge } from "../terminal.ts";
import { preservedFds } from "./bundle-flags.ts";

const EXEC_FAILED = 255;

const flags = {
  process: flag.string({ value: "FILE", short: "p", help: "take the whole process from this process.json" }),
  detach: flag.boolean({ short: "d", help: "return when the program has been started" }),
  tty: flag.boolean({ short: "t", help: "give the program a terminal" }),
  consoleSocket: flag.string({ value: "SOCKET", help: "unix socket that gets the master of that terminal" }),
  pidFile: flag.string({ value: "FILE", help: "write the process id of the program's host process to this file" }),
  cwd: flag.string({ value: "DIR", help: "working directory in the container" }),
  env: flag.list({ value: "NAME=VALUE", short: "e", help: "set a variable" }),
  user: flag.string({ value: "UID[:GID]", short: "u", help: "run as this user" }),
  additionalGids: flag.list({ value: "GID", short: "g", help: "a further group" }),
  cap: flag.list({ value: "CAP", short: "c", help: "a further capability" }),
  noNewPrivs: flag.boolean({ help: "forbid gaining privileges by executing files" }),
  preserveFds: flag.integer({ value: "N", default: 0, help: "hand N descriptors on, from 3" }),
  ignorePaused: flag.boolean({ help: "also in a paused container" }),
  internalPidFile: flag.string({ help: "accepted, without effect", hidden: true }),
  processLabel: flag.string({ help: "accepted, does not apply", hidden: true }),
  apparmor: flag.string({ help: "accepted, does not apply", hidden: true }),
  cgroup: flag.list({ help: "accepted, without effect", hidden: true }),
  pidfdSocket: flag.string({ help: "accepted, without effect", hidden: true }),
};
export type ExecFlags = FlagValues<typeof flags>;

export default command({
  name: "exec",
  summary: "run a program in a container",
  args: "<container-id> [program] [...argument]",
  examples: [
    "runts exec c1 ls -la",
    "runts exec -t -e TERM=xterm c1 sh",
    "runts exec --process process.json --detach --pid-file pid c1",
  ],
  flags,
  stopAtPositional: true,
  async run(context, values, args) {
    try {
      return await run(context, values, args);
    } catch (error) {
      const action = error instanceof RuntimeError && error.code === "usage" ? error.action : undefined;
      throw new RuntimeError(action === undefined ? "exec" : "usage", `exec failed: ${describe(error)}`, {
        exitCode: EXEC_FAILED,
        ...(action === undefined ? {} : { action }),
      });
    }
  },
});

async function run(context: CommandContext, values: ExecFlags, [id, ...args]: string[]): Promise<number> {
  const containers = await context.containers();
  const process = await execProcess(containers.get(id!).spec, values, args);
  const { detach: detached, consoleSocket } = values;
  const terminal = process.terminal === true;
  checkConsole(terminal, { detached, consoleSocket });
  const options = { process, pidFile: values.pidFile, detached, ignorePaused: values.ignorePaused };
  const extra = inheritedDescriptors(preservedFds(values.preserveFds), "runts exec");
  if (detached) {
    await runDetached(containers, id!, options, extra, consoleSocket);
    return 0;
  }
  return runAttached(context, containers, id!, options, extra);
}

type Options = Omit<ExecOptions, "stdio">;

async function runDetached(
  containers: Containers,
  id: string,
  options: Options,
  extra: number[],
  consoleSocket: string | undefined,
): Promise<void> {
  const opened: number[] = [];
  const console = options.process.terminal === true ? containers.openConsole(options.process, opened) : undefined;
  const stdio = console === undefined ? [0, 1, 2] : [console.slave, console.slave, console.slave];
  const { sandbox } = await containers.exec(id, { ...options, stdio: [...stdio, ...extra] });
  if (console !== undefined) containers.sendConsole(consoleSocket!, console.master);
  sandbox.close();
}

async function runAttached(
  context: CommandContext,
  containers: Containers,
  id: string,
  options: Options,
  extra: number[],
): Promise<number> {
  const bridge =
    options.process.terminal === true
      ? TerminalBridge.open(await context.hostCalls(), options.process.consoleSize)
      : undefined;
  try {
    const stdio = bridge === undefined ? [0, 1, 2] : [bridge.slave, bridge.slave, bridge.slave];
    const { sandbox, pid } = await containers.exec(id, { ...options, stdio: [...stdio, ...extra] });
    bridge?.closeSlave();
    bridge?.connect();
    const full = containers.store.resolve(id);
    const silent = Promise.withResolvers<never>();
    silent.promise.catch(() => {});
    const stopForwarding = passSignals({
      send: (signal) => sandbox.request("signal", { id: full, signal, pid }),
      // The container is not this command's to end.
      giveUp: () =>
        silent.reject(
          new RuntimeError(
            "no-answer",
            `the sandbox process ${sandbox.pid} does not answer; the program is left alone`,
          ),
        ),
      log: context.log,
    });
    try {
      const status = await Promise.race([silent.promise, programStatus(sandbox, full, pid)]);
      await bridge?.finish();
      return exitCodeOf(status);
    } finally {
      stopForwarding();
      sandbox.close();
    }
  } finally {
    bridge?.restore();
  }
}

/** All of a sandbox' processes are killed with it. */
async function programStatus(sandbox: SandboxHandle, id: string, pid: number): Promise<ExitStatus> {
  try {
    return await sandbox.request("wait", { id, pid });
  } catch (error) {
    if (!(error instanceof RuntimeError) || error.code !== "sandbox") throw error;
    // The connection ends a moment before the process.
    for (let tries = 0; sandbox.isAlive() && tries < 100; tries++) await Bun.sleep(10);
    if (sandbox.isAlive()) throw error;
    return KILLED;
  }
}

/** The process to run: --process as it is, or the container's with what the flags change. */
export async function execProcess(spec: Spec, values: ExecFlags, args: readonly string[]): Promise<Process> {
  if (values.process !== undefined) {
    const { loadProcess } = await import("../spec/load.ts");
    const loaded = loadProcess(values.process);
    if (values.tty) loaded.terminal = true;
    // As runc: a process that says nothing of capabilities has the container's.
    if (loaded.capabilities === undefined && spec.process?.capabilities !== undefined)
      loaded.capabilities = spec.process.capabilities;
    return loaded;
  }
  if (args.length === 0) throw usage("runts exec", "a program is needed, or --process");
  const base = structuredClone(spec.process!);
  base.args = [...args];
  base.terminal = values.tty;
  delete base.consoleSize;
  if (values.cwd !== undefined) base.cwd = values.cwd;
  base.env = mergeEnv(base.env ?? [], values.env);
  if (values.noNewPrivs) base.noNewPrivileges = true;
  if (values.user !== undefined) {
    const match = /^(\d+)(?::(\d+))?$/.exec(values.user);
    if (match === null) throw usage("runts exec", `flag --user: expected UID or UID:GID, got "${values.user}"`);
    base.user.uid = Number(match[1]);
    if (match[2] !== undefined) base.user.gid = Number(match[2]);
  }
  const gids = values.additionalGids
    .flatMap((text) => text.split(","))
    .map((text) => {
      if (!/^\d+$/.test(text)) throw usage("runts exec", `flag --additional-gids: "${text}" is not a group number`);
      return Number(text);
    });
  if (gids.length > 0) base.user.additionalGids = [...(base.user.additionalGids ?? []), ...gids];
  if (values.cap.length > 0) await addCapabilities(base, values.cap);
  return base;
}

/**
 * As runc: inheritable capabilities are not added (CVE-2022-29162), and ambient ones, which cannot be without, only where
 * the container's process has inheritable ones.
 */
async function addCapabilities(base: Process, names: readonly string[]): Promise<void> {
  const { allCapabilities } = await import("../spec/capabilities.ts");
  const full = names.map((name) => {
    const upper = name.toUpperCase();
    const capability = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
    if (!(allCapabilities as readonly string[]).includes(capability))
      throw usage("runts exec", `flag --cap: unknown capability "${name}"`);
    return capability;
  });
  base.capabilities ??= {};
  const sets = ["bounding", "effective", "permitted"] as const;
  for (const set of base.capabilities.inheritable === undefined ? sets : ([...sets, "ambient"] as const))
    base.capabilities[set] = [...new Set([...(base.capabilities[set] ?? []), ...full])];
}

/** The last one of a name wins, in its first one's place. */
function mergeEnv(base: readonly string[], more: readonly string[]): string[] {
  const env = new Map<string, string>();
  for (const each of [...base, ...more]) env.set(each.split("=")[0]!, each);
  return [...env.values()];
}
