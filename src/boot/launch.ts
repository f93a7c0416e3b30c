/**
 * Starts sandboxes and speaks to them: the command's end of the control connection.
 *
 * The sandbox process is this executable, run as the hidden command `boot` in new namespaces (src/native/sandbox.c).
 * Descriptors there: 0 and 1 /dev/null, 2 the command's standard error, 3 the control connection, from 4 on the guest's.
 */
import { closeSync, openSync, read, readFileSync } from "node:fs";
import { RuntimeError } from "../core/errors.ts";
import {
  ControlError,
  type LaunchOptions,
  type ProcessRef,
  type SandboxHandle,
  type SandboxLauncher,
} from "../core/sandbox.ts";
import { closeFd, killProcess, socketpair, unixConnect, unixSocket, waitChild } from "../native/host.ts";
import { launchProcess, openNetworkNamespace } from "../native/sandbox.ts";
import { MessageReader, sendMessage } from "./wire.ts";

const CLONE_NEWNS = 0x20000;
const CLONE_NEWUTS = 0x04000000;
const CLONE_NEWIPC = 0x08000000;
const CLONE_NEWUSER = 0x10000000;
const CLONE_NEWPID = 0x20000000;
const CLONE_NEWNET = 0x40000000;
const EPERM = 1;
const EINVAL = 22;
const ENOSPC = 28;
const SOCK_STREAM = 1;
const SIGKILL = 9;
/** Descriptors before the guest's, see above. */
export const FIRST_GUEST_FD = 4;
export const CONTROL_FD = 3;

/** Field 22 of /proc/PID/stat: tells a process from a later one of the same number. */
function startTimeOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
}

class Handle implements SandboxHandle {
  private readonly reader = new MessageReader();
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private seq = 0;
  warnings: readonly string[] = [];
  private gone = false;
  private readonly buffer = Buffer.alloc(65536);
  private closed = false;

  constructor(
    private readonly socket: number,
    readonly pid: number,
    readonly startTime: number,
    private readonly child: boolean,
  ) {
    this.pump();
  }

  // biome-ignore lint/suspicious/noExplicitAny: the overloads of SandboxHandle.request are the real type.
  request(method: string, params: unknown, fds: readonly number[] = []): Promise<any> {
    if (this.gone) return Promise.reject(new RuntimeError("sandbox", "the sandbox process is gone"));
    const seq = ++this.seq;
    const answer = new Promise<unknown>((resolve, reject) => this.waiting.set(seq, { resolve, reject }));
    if (sendMessage(this.socket, { seq, method, params }, fds) < 0) this.lost();
    return answer;
  }

  /** Reads answers in the background; the read is a blocking one of the runtime's thread pool. */
  private pump(): void {
    read(this.socket, this.buffer, 0, this.buffer.length, null, (error, count) => {
      if (error?.code === "EINTR" || error?.code === "EAGAIN") return this.pump();
      if (error || count === 0) return this.lost();
      this.reader.push(this.buffer.subarray(0, count));
      for (let got = this.reader.next(); got !== null; got = this.reader.next()) {
        const { seq, result, error: refused } = got.message;
        const waiter = this.waiting.get(seq);
        this.waiting.delete(seq);
        if (refused) waiter?.reject(new ControlError(refused.message, refused.errno ?? 0));
        else waiter?.resolve(result);
      }
      this.pump();
    });
  }

  private lost(): void {
    this.gone = true;
    for (const { reject } of this.waiting.values())
      reject(new RuntimeError("sandbox", "the sandbox process ended unexpectedly"));
    this.waiting.clear();
    if (this.closed) closeFd(this.socket);
  }

  isAlive(): boolean {
    try {
      const stat = readFileSync(`/proc/${this.pid}/stat`, "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return fields[0] !== "Z" && fields[0] !== "X" && Number(fields[19]) === this.startTime;
    } catch {
      return false;
    }
  }

  async kill(): Promise<void> {
    if (this.isAlive()) killProcess(this.pid, SIGKILL);
    while (this.isAlive()) await Bun.sleep(1);
    if (this.child) reap(this.pid);
    this.closed = true;
  }

  close(): void {
    this.closed = true;
    if (this.gone) closeFd(this.socket);
  }
}

function reap(pid: number): void {
  waitChild(pid, 0, new Int32Array(2));
}

async function launch(options: LaunchOptions): Promise<SandboxHandle> {
  const pair = new Int32Array(2);
  if (socketpair(SOCK_STREAM, pair) < 0) throw new RuntimeError("host", "cannot make a socket pair");
  const [ours, theirs] = [pair[0]!, pair[1]!];
  const devNull = openSync("/dev/null", "r+");
  const fds = Int32Array.from([devNull, devNull, 2, theirs, ...options.stdio]);
  try {
    const pid = startProcess(options, fds);
    closeFd(theirs);
    const handle = new Handle(ours, pid, startTimeOf(pid), true);
    try {
      ({ warnings: handle.warnings } = await handle.request("launch" as never, options as never));
    } catch (error) {
      await handle.kill();
      throw error instanceof ControlError ? new RuntimeError("sandbox", error.message) : error;
    }
    return handle;
  } finally {
    closeSync(devNull);
  }
}

/** The sandbox process' pid. With a user namespace where the host allows it. */
function startProcess(options: LaunchOptions, fds: Int32Array): number {
  const compiled = Bun.main.startsWith("/$bunfs/");
  const argv = compiled ? ["runts", "boot", options.id] : [process.argv[0]!, Bun.main, "boot", options.id];
  // Nothing of the caller's environment reaches the sandbox: the runtime would obey some of it.
  const env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", ...RUNTIME_ENVIRONMENT];
  const text = (strings: readonly string[]) => Buffer.from(strings.map((s) => `${s}\0`).join(""));
  const uid = process.geteuid!();
  const gid = process.getegid!();
  const root = uid === 0;
  const netns = networkNamespaceOf(options);
  const base = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | (netns >= 0 ? 0 : CLONE_NEWNET);
  const attempt = (flags: number): number =>
    launchProcess(
      Buffer.from("/proc/self/exe\0"),
      text(argv),
      argv.length,
      text(env),
      env.length,
      fds,
      fds.length,
      flags,
      Buffer.from(root ? "0 0 4294967295\0" : `${uid} ${uid} 1\0`),
      Buffer.from(root ? "0 0 4294967295\0" : `${gid} ${gid} 1\0`),
      root ? 0 : 1,
      netns,
      options.terminal ? FIRST_GUEST_FD : 0,
      options.dieWithParent ? 1 : 0,
    );
  let pid = attempt(base | CLONE_NEWUSER);
  if ((pid === -EPERM || pid === -ENOSPC || pid === -EINVAL) && root) pid = attempt(base);
  if (netns >= 0) closeFd(netns);
  if (pid < 0)
    throw new RuntimeError(
      "host",
      `cannot create the sandbox process (errno ${-pid})${pid === -EPERM ? ": the host forbids user namespaces to this user" : ""}`,
    );
  return pid;
}

/** A descriptor of the network namespace that the spec has the container join, or -1. */
function networkNamespaceOf({ spec, network }: LaunchOptions): number {
  const path = spec.linux?.namespaces?.find(({ type }) => type === "network")?.path;
  if (!path || network !== "sandbox") return -1;
  const fd = openNetworkNamespace(Buffer.from(`${path}\0`));
  if (fd < 0) throw new RuntimeError("host", `cannot open the network namespace ${path} (errno ${-fd})`, { path });
  return fd;
}

/** Keeps the kernel process small: one collector thread, a modest heap growth. */
const RUNTIME_ENVIRONMENT = ["BUN_JSC_numberOfGCMarkers=1", "BUN_JSC_useConcurrentGC=0"];

async function attach(stateDirectory: string, ref: ProcessRef): Promise<SandboxHandle> {
  const socket = unixSocket(SOCK_STREAM);
  const path = Buffer.from(`${stateDirectory}/control.sock\0`);
  // sun_path is short: go through a descriptor of the directory when the path is long.
  let result: number;
  if (path.length <= 108) result = unixConnect(socket, path, path.length);
  else {
    const dir = openSync(stateDirectory, "r");
    const short = Buffer.from(`/proc/self/fd/${dir}/control.sock\0`);
    result = unixConnect(socket, short, short.length);
    closeSync(dir);
  }
  if (result < 0) {
    closeFd(socket);
    throw new RuntimeError("sandbox", `cannot reach the sandbox process ${ref.pid} (errno ${-result})`);
  }
  return new Handle(socket, ref.pid, ref.startTime, false);
}

export const launcher: SandboxLauncher = { launch, attach };
