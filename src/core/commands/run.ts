/**
 * `runts run ID`: create, start, wait, delete.
 *
 * Attached (the default), the program has this command's input, output and terminal, gets its signals, and its exit
 * status is this command's. With --detach the command ends when the program runs.
 */
import { type CommandContext, command } from "../command.ts";
import { type Containers, checkConsole } from "../container/lifecycle.ts";
import { describe } from "../errors.ts";
import { type FlagValues, flag } from "../flags.ts";
import type { SandboxHandle } from "../sandbox.ts";
import { exitCodeOf, forwardSignals } from "../signals.ts";
import { TerminalBridge } from "../terminal.ts";
import { bundleFlags, preservedFds } from "./bundle-flags.ts";

const flags = {
  ...bundleFlags,
  detach: flag.boolean({ short: "d", help: "return when the program has been started" }),
  keep: flag.boolean({ help: "do not delete the container when it has ended" }),
  noSubreaper: flag.boolean({ help: "accepted, without effect", hidden: true }),
};

export default command({
  name: "run",
  summary: "make a container, start it, wait for it and delete it",
  args: "<container-id>",
  flags,
  stopAtPositional: true,
  run,
});

async function run(context: CommandContext, values: FlagValues<typeof flags>, [id]: string[]) {
  const containers = await context.containers();
  if (values.detach) {
    await runDetached(containers, values, id!);
    return 0;
  }
  return runAttached(context, containers, values, id!);
}

async function runDetached(containers: Containers, values: FlagValues<typeof flags>, id: string): Promise<void> {
  const { sandbox } = await containers.create({ ...createOptions(values, id), detached: true });
  await containers.start(id, sandbox);
  sandbox.close();
}

function createOptions(values: FlagValues<typeof flags>, id: string) {
  return {
    id,
    bundle: values.bundle || ".",
    pidFile: values.pidFile,
    consoleSocket: values.consoleSocket,
    preserveFds: preservedFds(values.preserveFds),
  };
}

async function runAttached(
  context: CommandContext,
  containers: Containers,
  values: FlagValues<typeof flags>,
  id: string,
): Promise<number> {
  const options = createOptions(values, id);
  const { loadSpec } = await import("../spec/load.ts");
  const { resolve } = await import("node:path");
  const { spec, warnings } = loadSpec(resolve(options.bundle));
  for (const warning of warnings) context.log.warn(warning);
  const terminal = spec.process?.terminal === true;
  checkConsole(terminal, { ...options, detached: false });
  const bridge = terminal ? TerminalBridge.open(await context.hostCalls(), spec.process?.consoleSize) : undefined;
  let sandbox: SandboxHandle | undefined;
  try {
    ({ sandbox } = await containers.create({ ...options, detached: false, spec, terminal: bridge?.slave }));
    bridge?.closeSlave();
    bridge?.connect();
    const handle = sandbox;
    const stopForwarding = forwardSignals((signal) => {
      handle.request("signal", { id, signal }).catch((error: unknown) => context.log.debug(describe(error)));
    });
    try {
      // Asked before the start: a short program may have taken the sandbox with it before a later question arrives.
      const waiting = handle.request("wait", { id });
      waiting.catch(() => {});
      await containers.start(id, handle);
      const status = await waiting;
      await bridge?.finish();
      if (status.explanation !== undefined) context.log.warn(status.explanation);
      return exitCodeOf(status);
    } finally {
      stopForwarding();
    }
  } finally {
    bridge?.restore();
    if (sandbox !== undefined && !values.keep) await containers.delete(id, true);
    sandbox?.close();
  }
}
