/**
 * Starts the network broker of a sandbox: a process in the network namespace that the sandbox is to reach, which makes its
 * sockets there (src/native/broker.stub.c). The sandbox process, whose jail lets it make none, gets the other end of the
 * broker's socket with its first container.
 *
 * Nobody waits for the broker or keeps its number: it ends when nobody has the other end, be it that the sandbox is gone, or
 * this command before it could send it. It is in the container's cgroups, and in no pid namespace of the sandbox's.
 */
import { closeSync, openSync, readFileSync, readlinkSync } from "node:fs";
import { RuntimeError } from "../core/errors.ts";
import { encodeRules } from "../core/network.ts";
import type { SandboxHandle, SandboxOptions } from "../core/sandbox.ts";
import { encodeCString } from "../kernel/abi/bytes.ts";
import { EPERM, errnoName } from "../kernel/abi/errno.ts";
import { closeFd, pwrite, waitChild } from "../native/host.ts";
import { brokerFile, memoryFile } from "../native/host-calls.ts";
import { startBrokerProcess } from "../native/network.ts";
import { parseMap } from "./identity.ts";

const NOBODY = 65534;
const LOOPBACK_UP = 1;
const WNOHANG = 1;
/** How long the end of one may take that was told by its socket's end. */
const END_MS = 100;

/** What nw_start_broker was doing when it failed: see src/native/network.c. */
const STEPS = [
  "",
  "start the process",
  "put it into the container's cgroup",
  "enter the sandbox's user namespace",
  "enter the network namespace",
  "execute it",
];

type LiveProcess = Pick<SandboxHandle, "pid" | "isAlive">;

/** A broker that was started, until its socket is the sandbox's. */
export class StartedBroker {
  constructor(
    /** The sandbox's end; -1 when it is sent. */
    private socket: number,
    private readonly pid: number,
  ) {}

  /** To be sent; stays ours until `sent`. */
  get descriptor(): number {
    return this.socket;
  }
  /** The sandbox has it, or nobody shall. */
  release(): void {
    if (this.socket >= 0) closeFd(this.socket);
    this.socket = -1;
  }
  /** Of a sandbox that has ended: it ends, and is no child of ours any more. */
  async end(): Promise<void> {
    this.release();
    const out = new Int32Array(2);
    for (const until = Date.now() + END_MS; waitChild(this.pid, WNOHANG, out) === 0 && Date.now() < until; )
      await Bun.sleep(1);
  }
}

/**
 * For a sandbox that was just launched; null: it reaches nothing outside. Why that is so although it should be otherwise is said to
 * `warn`; where rules were asked for it is an error.
 */
export function startBroker(
  options: SandboxOptions,
  sandbox: LiveProcess,
  maySetIds: boolean,
  warn: (text: string) => void,
): StartedBroker | null {
  const { network, outside, namespaces } = options;
  if (outside === null || network === "none") return null;
  const rules = rulesFile(encodeRules(outside));
  const open: number[] = [rules];
  try {
    const own = network === "sandbox" && namespaces.network === null;
    // Over a namespace of the sandbox's own only its user namespace has rights, and an ordinary user has none in ours.
    const userns = own || !maySetIds ? namespaceOf(sandbox, "user", open) : -1;
    const netns = network === "sandbox" ? namespaceOf(sandbox, "net", open) : -1;
    const ids = idsOf(sandbox.pid, userns >= 0);
    return start(rules, { userns, netns, own, ids }, options, open);
  } catch (error) {
    if (outside.required || !(error instanceof RuntimeError)) throw error;
    warn(`${error.message}: the container has a loopback network only`);
    return null;
  } finally {
    for (const fd of open) closeFd(fd);
  }
}

interface Where {
  userns: number;
  netns: number;
  /** The network namespace has been made for the sandbox. */
  own: boolean;
  /** User and group. */
  ids: readonly [number, number];
}

function start(
  rules: number,
  { userns, netns, own, ids }: Where,
  { id, cgroups }: Pick<SandboxOptions, "id" | "cgroups">,
  open: number[],
): StartedBroker {
  const program = brokerFile();
  if (program < 0) throw new RuntimeError("host", `cannot start the network broker: ${errnoName(-program)}`);
  open.push(program);
  const out = new Int32Array(3);
  const procs = encodeCString(`${cgroups.map((directory) => `${directory}/cgroup.procs\0`).join("")}`);
  const words = encodeCString([`runts-broker: ${id}`, ...ids].join("\0"));
  const result = startBrokerProcess(program, rules, userns, netns, words, procs, own ? LOOPBACK_UP : 0, out);
  if (result === 0) return new StartedBroker(out[0]!, out[1]!);
  const step = STEPS[out[2]!] ?? `(${out[2]})`;
  const why = result === -EPERM ? ": this user has no rights over it" : "";
  throw new RuntimeError("host", `cannot start the network broker: cannot ${step}: ${errnoName(-result)}${why}`);
}

/** The rules as a file, to be read from its start. */
function rulesFile(bytes: Uint8Array): number {
  const fd = memoryFile("runts-rules");
  if (fd < 0 || pwrite(fd, bytes, bytes.length, 0) !== bytes.length) {
    if (fd >= 0) closeFd(fd);
    throw new RuntimeError("host", "cannot write the network rules to a file in memory");
  }
  return fd;
}

/**
 * The ids of the sandbox process, as its user namespace (`inside`) or ours numbers them: what the host counts by user (sockets on
 * their way, memory of theirs) is then the sandbox's own. It cannot name the broker: that is in none of its pid namespace.
 */
function idsOf(pid: number, inside: boolean): [number, number] {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const of = (kind: "uid" | "gid", line: RegExp): number => {
    const outside = Number(line.exec(status)?.[1] ?? NOBODY);
    if (!inside) return outside;
    for (const extent of parseMap(readFileSync(`/proc/${pid}/${kind}_map`, "latin1")))
      if (outside >= extent.outside && outside < extent.outside + extent.count)
        return extent.inside + outside - extent.outside;
    return NOBODY;
  };
  return [of("uid", /^Uid:\s*(\d+)/m), of("gid", /^Gid:\s*(\d+)/m)];
}

/** A descriptor of the process' namespace, also in `open`; -1 where it is ours. */
function namespaceOf(sandbox: LiveProcess, kind: "user" | "net", open: number[]): number {
  const { pid } = sandbox;
  const path = `/proc/${pid}/ns/${kind}`;
  try {
    if (readlinkSync(path) === readlinkSync(`/proc/self/ns/${kind}`)) return -1;
    const fd = openSync(path, "r");
    // A later process of that number must not be taken for it.
    if (sandbox.isAlive()) {
      open.push(fd);
      return fd;
    }
    closeSync(fd);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT")
      throw new RuntimeError("host", `cannot open the ${kind} namespace of the sandbox process ${pid}: ${code}`);
  }
  throw new RuntimeError("sandbox", `the sandbox process ${pid} is gone`);
}
