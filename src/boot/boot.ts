/**
 * The sandbox process: takes from the host what every sandbox needs, closes its jail, and then adds the containers that it
 * is told of, by descriptors, and runs them.
 *
 * Order matters: nothing of a container is known before the jail is closed, and no path of the host is opened after
 * that. Descriptors at start: see launch.ts.
 */
import type { BuiltIn } from "../core/plugin-loader.ts";
import type { SandboxOptions } from "../core/sandbox.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { pipe2, readFd } from "../native/host.ts";
import type { HostWatcher } from "../native/poller.ts";
import { catchSignals, exitProcess, setStubIds, shortSlices, useHelper } from "../native/sandbox.ts";
import { ControlServer, Refusal } from "./control.ts";
import { logSink, takeFromHost } from "./from-host.ts";
import { closeJail } from "./jail.ts";
import { CONTROL_FD, HELPER_FD } from "./launch.ts";
import { loadPluginHalves } from "./plugins.ts";
import { Requests } from "./requests.ts";
import { titleStubs } from "./titles.ts";
import { MessageReader, sendMessage } from "./wire.ts";

const POLLIN = 1;
const O_NONBLOCK = 0o4000;
/** The least that Linux grants. */
const SLICE_NS = 100_000;

/** `args`: the id, then the stubs' user and group, and whether they leave the caller's groups. */
export async function boot(args: readonly string[], builtIns: readonly BuiltIn[]): Promise<void> {
  useHelper(HELPER_FD);
  setStubIds(Number(args[1]), Number(args[2]), args[3] === "leave" ? 1 : 0);
  const reader = new MessageReader();
  let first = reader.next();
  while (first === null) {
    if (reader.fill(CONTROL_FD, true) !== 1) exitProcess(125);
    first = reader.next();
  }
  const options = first.message.params as SandboxOptions;
  const seq = first.message.seq;
  sendMessage(CONTROL_FD, { seq, later: true });
  let kernel: Kernel;
  try {
    kernel = await start(options, builtIns, reader);
    sendMessage(CONTROL_FD, { seq, result: {} });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    sendMessage(CONTROL_FD, { seq, error: { message, errno: error instanceof Refusal ? error.errno : 0 } });
    if (options.debug && error instanceof Error) logSink(2)(`${error.stack}\n`);
    exitProcess(125);
    return;
  }
  // While a plugin's asynchronous work is outstanding, the kernel returns for the event loop to turn.
  while (!kernel.run()) await new Promise<void>((resolve) => setImmediate(resolve));
  exitProcess(0);
}

/** A sandbox without a container, its jail closed. `reader`: what of the control connection has been read already. */
async function start(options: SandboxOptions, builtIns: readonly BuiltIn[], reader: MessageReader): Promise<Kernel> {
  const taken = takeFromHost(options, await loadPluginHalves(options.plugins, builtIns));
  const { kernel, plugins } = taken;
  closeJail(taken);
  titleStubs(kernel);
  const server = new ControlServer(kernel);
  const requests = new Requests(taken, server);
  plugins.addMethods(server);
  new HostSignals(kernel, requests);
  shortSlices(SLICE_NS);
  requests.dieWith(server.serve(CONTROL_FD, reader));
  return kernel;
}

/** What the host's terminal or another process sends to the sandbox process, by a pipe. */
class HostSignals implements HostWatcher {
  readonly essential = true;
  constructor(
    kernel: Kernel,
    private readonly requests: Requests,
  ) {
    const pipe = new Int32Array(2);
    pipe2(pipe, O_NONBLOCK);
    catchSignals(pipe[1]!);
    kernel.poller.watch(pipe[0]!, POLLIN, this);
  }
  hostReady(fd: number): void {
    const bytes = new Uint8Array(64);
    const n = readFd(fd, bytes, bytes.length);
    for (let i = 0; i < n; i++) this.requests.hostSignal(bytes[i]!);
  }
}
