/**
 * `runts port-forward ID [ADDRESS:]LOCAL:REMOTE…`: listens here, and has each connection carried to whoever listens on a port in the
 * container.
 *
 * The accepted sockets themselves go to the sandbox, whose kernel connects them (src/kernel/net/carried.ts): so servers that
 * listen on the loopback only are reached too, with any network and none. They end with this command.
 */
import { closeSync } from "node:fs";
import { isIP } from "node:net";
import { type CommandContext, command } from "../command.ts";
import { describe, RuntimeError } from "../errors.ts";
import { usage } from "../flags.ts";
import type { HostCalls } from "../host-calls.ts";
import type { SandboxHandle } from "../sandbox.ts";

const WHO = "runts port-forward";
const EADDRINUSE = 98;
const EADDRNOTAVAIL = 99;
const EACCES = 13;
const PORT_MAX = 65535;

export interface Forwarded {
  address: string;
  /** 0: any that is free. */
  local: number;
  remote: number;
}

export default command({
  name: "port-forward",
  summary: "carry connections of this host into a container",
  args: "<container-id> <...port>",
  description: `
Each port is [ADDRESS:]LOCAL:REMOTE, or one number for both. Listens on LOCAL of
this host (127.0.0.1 unless ADDRESS says otherwise; 0: any that is free), and
carries each TCP connection to whoever listens on REMOTE in the container, if
only on its loopback. Ends with ^C, and when the container does.`,
  examples: ["runts port-forward web 8080:80", "runts port-forward db 0.0.0.0:5432:5432 [::1]:5433:5432"],
  async run(context, _flags, [id, ...ports]) {
    const wanted = ports.map(parseForwarded);
    const containers = await context.containers();
    const { container, sandbox } = await containers.connect(id!, "port-forward");
    const host = await context.hostCalls();
    const listeners: number[] = [];
    try {
      const stopped = untilStopped();
      const ended = sandbox.request("wait", { id: container.id });
      ended.catch(() => {});
      for (const each of wanted) listeners.push(listenFor(context, host, sandbox, container.id, each));
      // A sandbox that is gone ends it, too.
      const how = await Promise.race([stopped, ended.then(() => "ended" as const)]);
      if (how === "ended") throw new RuntimeError("wrong-state", "the container has ended", { id: container.id });
      return 0;
    } finally {
      for (const fd of listeners) closeSync(fd);
      sandbox.close();
    }
  },
});

function listenFor(
  { log, out }: CommandContext,
  host: HostCalls,
  sandbox: SandboxHandle,
  id: string,
  { address, local, remote }: Forwarded,
): number {
  const port = new Int32Array(1);
  const listener = host.listenTcp(address, local, port);
  if (listener < 0) throw cannotListen(address, local, -listener);
  const forward = async (fd: number): Promise<void> => {
    try {
      await sandbox.request("forward", { id, port: remote }, [fd]);
    } catch (error) {
      log.warn(`port ${remote}: ${describe(error)}`);
    } finally {
      closeSync(fd);
    }
  };
  const accepting = host.acceptConnections(listener, (fd) => void forward(fd));
  if (accepting < 0) throw new RuntimeError("host", `cannot accept connections (errno ${-accepting})`);
  out(`Forwarding ${address.includes(":") ? `[${address}]` : address}:${port[0]} -> ${remote}\n`);
  return listener;
}

function cannotListen(address: string, port: number, errno: number): RuntimeError {
  const why =
    errno === EADDRINUSE
      ? "somebody else listens there"
      : errno === EADDRNOTAVAIL
        ? "it is no address of this host"
        : errno === EACCES
          ? "this user may not"
          : `errno ${errno}`;
  return new RuntimeError("host", `cannot listen on ${address} port ${port}: ${why}`);
}

/** ^C, and what else asks a command to end. */
function untilStopped(): Promise<"stopped"> {
  return new Promise((resolve) => {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => resolve("stopped"));
  });
}

export function parseForwarded(text: string): Forwarded {
  const match = /^(?:(?:\[([^\]]*)\]|([^:[\]]*)):(?=\d*:))?(?:(\d*):)?(\d+)$/.exec(text);
  if (match === null) throw usage(WHO, `"${text}": expected [ADDRESS:]LOCAL:REMOTE or PORT`);
  const [, v6, v4, localText, remoteText] = match;
  const given = v6 ?? v4 ?? "localhost";
  const address = given === "localhost" ? "127.0.0.1" : given;
  const remote = Number(remoteText);
  const local = localText === undefined ? remote : Number(localText);
  if (isIP(address) === 0) throw usage(WHO, `"${text}": "${address}" is no address`);
  if (local > PORT_MAX || remote === 0 || remote > PORT_MAX) throw usage(WHO, `"${text}": ports are 1 to ${PORT_MAX}`);
  return { address, local, remote };
}
