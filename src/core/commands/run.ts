/**
 * `runts run ID`: create, start, wait, delete.
 *
 * Attached (the default), the program has this command's input, output and terminal, gets its signals, and its exit
 * status is this command's. With --detach the command ends when the program runs.
 */
import { afterSandbox, endSilentSandbox, passSignals } from "../attached.ts";
import { type CommandContext, command } from "../command.ts";
import { checkConsole } from "../container/console.ts";
import type { Container } from "../container/container.ts";
import type { Containers, CreateOptions } from "../container/lifecycle.ts";
import { describe, RuntimeError } from "../errors.ts";
import { type FlagValues, flag } from "../flags.ts";
import { type ExitStatus, KILLED, type SandboxHandle } from "../sandbox.ts";
import { exitCodeOf } from "../signals.ts";
import type { Spec } from "../spec/schema.ts";
import { TerminalBridge } from "../terminal.ts";
import { bundleFlags, preservedFds } from "./bundle-flags.ts";

/** How long the process of a container that has ended may take to be gone. */
const ENDING_MS = 1000;

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
  const options = createOptions(values, id!);
  if (values.detach) {
    await runDetached(containers, options);
    return 0;
  }
  const { loadSpec } = await import("../spec/load.ts");
  const { resolve } = await import("node:path");
  const { spec, warnings } = loadSpec(resolve(options.bundle));
  for (const warning of warnings) context.log.warn(warning);
  return runAttached(context, containers, { ...options, spec }, values.keep);
}

/** What `run` makes a container by, whether that begins or goes on from an image. */
export type RunOptions = Omit<CreateOptions, "detached" | "terminal">;

export async function runDetached(containers: Containers, options: RunOptions): Promise<void> {
  const { sandbox } = await containers.create({ ...options, detached: true });
  await containers.start(options.id, sandbox);
  sandbox.close();
}

function createOptions(values: FlagValues<typeof flags>, id: string): RunOptions {
  return {
    id,
    bundle: values.bundle || ".",
    pidFile: values.pidFile,
    consoleSocket: values.consoleSocket,
    preserveFds: preservedFds(values.preserveFds),
  };
}

export async function runAttached(
  context: CommandContext,
  containers: Containers,
  options: RunOptions & { spec: Spec },
  keep: boolean,
): Promise<number> {
  const { id, spec } = options;
  const terminal = spec.process?.terminal === true;
  checkConsole(terminal, { ...options, detached: false });
  const bridge = terminal ? TerminalBridge.open(await context.hostCalls(), spec.process?.consoleSize) : undefined;
  let sandbox: SandboxHandle | undefined;
  try {
    const created = await containers.create({ ...options, detached: false, terminal: bridge?.slave });
    ({ sandbox } = created);
    const { container } = created;
    bridge?.closeSlave();
    bridge?.connect();
    const handle = sandbox;
    const stopForwarding = passSignals({
      send: (signal) => handle.request("signal", { id, signal }),
      giveUp: () => endSilent(context, containers, handle, container),
      log: context.log,
    });
    try {
      const status = await programStatus(containers, handle, container);
      await bridge?.finish();
      if (status.explanation !== undefined) context.log.warn(status.explanation);
      return exitCodeOf(status);
    } finally {
      stopForwarding();
    }
  } finally {
    bridge?.restore();
    if (sandbox !== undefined && !keep) await containers.delete(id, true);
    sandbox?.close();
  }
}

async function programStatus(
  containers: Containers,
  sandbox: SandboxHandle,
  { id, sandboxId }: Container,
): Promise<ExitStatus> {
  // Asked before the start: a short program may have taken the sandbox with it before a later question arrives.
  const waiting = sandbox.request("wait", { id });
  waiting.catch(() => {});
  try {
    await containers.start(id, sandbox);
    return await waiting;
  } catch (error) {
    if (sandboxId !== id) return joinerStatus(containers, id, error);
    // Somebody has ended the container, or has saved it to go on elsewhere, and said so.
    const said = () => (error instanceof RuntimeError && error.code === "sandbox" ? containers.endOf(id) : null);
    const before = said();
    if (before !== null) return before;
    const status = await afterSandbox(sandbox, error);
    return said() ?? status;
  }
}

/** How a container has ended whose sandbox is not this command's, when that can be asked no more. */
async function joinerStatus(containers: Containers, id: string, error: unknown): Promise<ExitStatus> {
  if (!(error instanceof RuntimeError) || error.code !== "sandbox") throw error;
  // The connection ends a moment before the process.
  for (const end = Date.now() + ENDING_MS; Date.now() < end; await Bun.sleep(10)) {
    const status = containers.endOf(id);
    if (status !== null) return status;
    // Deleted by force.
    if (!containers.store.ids().includes(id)) return KILLED;
  }
  throw error;
}

/** Its sandbox does not take the signals: the container is ended, and with it, when that is its own, the sandbox. */
function endSilent(
  context: CommandContext,
  containers: Containers,
  sandbox: SandboxHandle,
  { id, sandboxId }: Container,
): void {
  const end = () => containers.endByForce(id);
  if (sandboxId === id) {
    endSilentSandbox(sandbox, context.log, end);
    return;
  }
  context.log.warn(`the sandbox process ${sandbox.pid} does not answer: the container is ended without it`);
  // Closed, so that who waits for an answer goes on.
  end()
    .catch((error: unknown) => context.log.warn(describe(error)))
    .finally(() => sandbox.close());
}
