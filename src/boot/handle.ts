/**
 * The command's end of a control connection: requests to a sandbox, and what is done when it does not answer.
 *
 * Nothing here waits without an end, since the other side may be stopped, frozen or stuck:
 * - the socket is non-blocking. Answers come through the runtime's event loop: an open handle costs a descriptor or two
 *   and no thread, and `close` leaves nothing behind;
 * - a request has ANSWER_MS to be answered, or to be acknowledged when its answer takes longer by its nature. After that
 *   the sandbox is asked from time to time whether it still lives, but for `wait`, which may take for ever: who waits for a
 *   program outlasts a sandbox that is stopped for a while.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import type { Socket } from "bun";
import { RuntimeError } from "../core/errors.ts";
import {
  ControlError,
  type ExitStatus,
  exitStatus,
  type ProcessRef,
  type SandboxHandle,
  type SandboxOptions,
} from "../core/sandbox.ts";
import { EAGAIN, EINTR } from "../kernel/abi/errno.ts";
import { SIGKILL } from "../kernel/signal/numbers.ts";
import { closeFd, dup, unixConnect, unixSocket, waitChild } from "../native/host.ts";
import { signalProcess } from "../native/host-calls.ts";
import type { StartedBroker } from "./broker.ts";
import { CONNECTION_SEQ, MessageReader, MessageWriter } from "./wire.ts";

const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const WNOHANG = 1;
/** How long a request may go without an answer or an acknowledgement. */
const ANSWER_MS = 5000;
/** The same for a sandbox that is being launched: its runtime starts first, maybe beside many others. */
const LAUNCH_MS = 60_000;
/** How long a sandbox that was killed may take to be gone: its guests' memory is given back. */
const KILL_MS = 10_000;
/** Between two attempts to send to a peer that does not read. */
const RETRY_MS = 10;
/** What has come, but not been looked at, has its turn before a request is given up. */
const LAST_LOOK_MS = 20;

/** Requests that keep the sandbox process until they are answered. */
const SET_UP = new Set(["launch", "add", "restore", "checkpoint"]);
/** Requests that wait for what a program does, if it ever does. */
const OPEN_ENDED = new Set(["wait", "checkpointWanted"]);

interface Pending {
  method: string;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class Handle implements SandboxHandle {
  private readonly reader = new MessageReader();
  private readonly writer = new MessageWriter();
  private readonly waiting = new Map<number, Pending>();
  private readonly socketOpen: Promise<Socket | null>;
  private seq = 0;
  /** Of one that this process launched, until the sandbox has its socket. */
  broker: StartedBroker | null = null;
  /** For whoever adds the first container. */
  readonly warnings: string[] = [];
  /** The jail has been closed; rejects with what kept the sandbox from being made. Of one that this process launched. */
  launched: Promise<void> = Promise.resolve();
  private gone = false;
  /** Why the sandbox did not take the connection. */
  private refused: Error | null = null;
  private closed = false;
  private sending = false;
  private status: ExitStatus | null = null;

  /** `child`: the sandbox process is this process' own, to be reaped. Owns `socket`, which must be non-blocking. */
  constructor(
    private readonly socket: number,
    readonly pid: number,
    readonly startTime: number,
    private readonly child: boolean,
  ) {
    // The runtime closes what it polls; ours stays for sending, which must be able to carry descriptors.
    this.socketOpen = Bun.connect({
      fd: dup(socket),
      socket: {
        data: (_socket: Socket, bytes: Uint8Array) => this.receive(bytes),
        close: () => this.lost(),
        error: () => this.lost(),
      },
    } as unknown as Parameters<typeof Bun.connect>[0]).catch(() => {
      this.lost();
      return null;
    }) as Promise<Socket | null>;
  }

  /** The first message of all: what the sandbox is made by. */
  launch(options: SandboxOptions): void {
    this.launched = this.request("launch", options).then(
      () => {},
      (error: Error) => {
        // Whatever else is asked of it fails for this reason.
        this.refused = error instanceof ControlError ? new RuntimeError("sandbox", error.message) : error;
        throw this.refused;
      },
    );
    this.launched.catch(() => {});
  }

  // biome-ignore lint/suspicious/noExplicitAny: the overloads of SandboxHandle.request are the real type.
  request(method: string, params: unknown, fds: readonly number[] = [], limitMs = ANSWER_MS): Promise<any> {
    if (this.gone || this.closed)
      return Promise.reject(this.refused ?? new RuntimeError("sandbox", `the sandbox process ${this.pid} is gone`));
    const seq = ++this.seq;
    const answer = new Promise<unknown>((resolve, reject) => {
      const timer = this.after(seq, method === "launch" ? LAUNCH_MS : limitMs, () => this.giveUp(seq));
      this.waiting.set(seq, { method, resolve, reject, timer });
    });
    this.writer.push({ seq, method, params }, fds);
    this.send();
    return answer;
  }

  private after(seq: number, ms: number, then: () => void): Pending["timer"] {
    return setTimeout(() => {
      if (this.waiting.has(seq)) then();
    }, ms);
  }

  private send(): void {
    if (this.sending || this.closed) return;
    const result = this.writer.flush(this.socket);
    if (result === -EAGAIN) {
      this.sending = true;
      setTimeout(() => {
        this.sending = false;
        this.send();
      }, RETRY_MS);
    } else if (result < 0) this.lost();
  }

  private receive(bytes: Uint8Array): void {
    try {
      this.reader.push(bytes);
      for (let got = this.reader.next(); got !== null; got = this.reader.next()) {
        const { seq, result, error, later } = got.message;
        if (seq === CONNECTION_SEQ) {
          if (error) this.refused = new ControlError(error.message, error.errno ?? 0);
          this.lost();
        } else if (later) this.acknowledged(seq);
        else if (error) this.settle(seq)?.reject(new ControlError(error.message, error.errno ?? 0));
        else this.settle(seq)?.resolve(result);
      }
    } catch {
      // It does not keep to the format: nothing that follows could be understood.
      this.lost();
    }
  }

  private settle(seq: number): Pending | undefined {
    const pending = this.waiting.get(seq);
    if (pending === undefined) return undefined;
    this.waiting.delete(seq);
    clearTimeout(pending.timer);
    return pending;
  }

  /** From now on only the sandbox' life is watched. */
  private acknowledged(seq: number): void {
    const pending = this.waiting.get(seq);
    if (pending === undefined) return;
    clearTimeout(pending.timer);
    if (SET_UP.has(pending.method)) this.watchSetUp(seq, pending);
    else if (!OPEN_ENDED.has(pending.method)) this.watch(seq, pending);
  }

  /** There is nobody who could be asked meanwhile: set-up may take long, but not by a process that is stopped. */
  private watchSetUp(seq: number, pending: Pending): void {
    pending.timer = this.after(seq, ANSWER_MS, () => {
      const state = statOf(this.pid)?.state;
      if (state === "T" || state === "t") this.giveUp(seq);
      else this.watchSetUp(seq, pending);
    });
  }

  private watch(seq: number, pending: Pending): void {
    pending.timer = this.after(seq, ANSWER_MS, () => {
      this.request("ping", {}).then(
        () => {
          if (this.waiting.has(seq)) this.watch(seq, pending);
        },
        (error: Error) => this.settle(seq)?.reject(error),
      );
    });
  }

  private giveUp(seq: number): void {
    setTimeout(() => this.settle(seq)?.reject(noAnswer(this.pid)), LAST_LOOK_MS);
  }

  private lost(): void {
    this.gone = true;
    this.rejectAll(this.refused ?? new RuntimeError("sandbox", "the sandbox process ended unexpectedly"));
  }

  private rejectAll(error: Error): void {
    for (const seq of [...this.waiting.keys()]) this.settle(seq)?.reject(error);
  }

  isAlive(): boolean {
    const stat = statOf(this.pid);
    return stat !== null && stat.state !== "Z" && stat.state !== "X" && stat.startTime === this.startTime;
  }

  async kill(): Promise<void> {
    signalProcess(this, SIGKILL);
    if ((await this.end(KILL_MS)) === false)
      throw new RuntimeError("sandbox", `the sandbox process ${this.pid} does not end: ${stateOf(this.pid)}`);
    await this.broker?.end();
    this.close();
  }

  async exitStatus(): Promise<ExitStatus | null> {
    await this.end(ANSWER_MS);
    return this.status;
  }

  /** Waits until the process is gone, and reaps it where it is ours. False when it is not. */
  private async end(ms: number): Promise<boolean> {
    const deadline = Date.now() + ms;
    for (;;) {
      if (!this.isAlive() && this.reap()) return true;
      if (Date.now() > deadline) return false;
      await Bun.sleep(1);
    }
  }

  private reaped = false;
  private reap(): boolean {
    if (!this.child || this.reaped) return true;
    const out = new Int32Array(2);
    const result = waitChild(this.pid, WNOHANG, out);
    // Of a process with threads the first may be a zombie before the others have ended.
    if (result === 0) return false;
    this.reaped = true;
    if (result > 0) this.status = exitStatus(out[1]!);
    return true;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.broker?.release();
    this.rejectAll(new RuntimeError("sandbox", "the connection to the sandbox process was closed"));
    this.reader.close();
    closeFd(this.socket);
    // Closed as soon as it is open, so that the other end sees it even then.
    void this.socketOpen.then((socket) => socket?.terminate());
  }
}

/** Names the process and what keeps it, as far as that can be seen. */
function noAnswer(pid: number): RuntimeError {
  return new RuntimeError("no-answer", `the sandbox process ${pid} does not answer: ${stateOf(pid)}`);
}

/** State letter and start time (fields 3 and 22 of /proc/PID/stat). */
function statOf(pid: number): { state: string; startTime: number } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0]!, startTime: Number(fields[19]) };
  } catch {
    return null;
  }
}

/** Tells a process from a later one of the same number. */
export function startTimeOf(pid: number): number {
  return statOf(pid)?.startTime ?? 0;
}

function stateOf(pid: number): string {
  switch (statOf(pid)?.state) {
    case undefined:
    case "Z":
    case "X":
      return "it has ended";
    case "T":
      return "it is stopped (SIGCONT lets it go on)";
    case "t":
      return "it is stopped by a debugger";
    case "D":
      return "it waits in the kernel of the host";
    case "R":
      return "it is busy";
    default:
      return "it sleeps";
  }
}

/** Connects to the control socket in a state directory. */
export async function attach(stateDirectory: string, ref: ProcessRef): Promise<Handle> {
  // sun_path is short: go through a descriptor of the directory when the path is long.
  const direct = Buffer.from(`${stateDirectory}/control.sock\0`);
  const directory = direct.length <= 108 ? -1 : openSync(stateDirectory, "r");
  const path = directory < 0 ? direct : Buffer.from(`/proc/self/fd/${directory}/control.sock\0`);
  const socket = unixSocket(SOCK_STREAM | SOCK_NONBLOCK);
  try {
    const deadline = Date.now() + ANSWER_MS;
    for (;;) {
      const result = unixConnect(socket, path, path.length);
      if (result >= 0) return new Handle(socket, ref.pid, ref.startTime, false);
      // A queue of callers that nobody takes on is a sandbox that does not answer.
      if (result !== -EAGAIN && result !== -EINTR)
        throw new RuntimeError("sandbox", `cannot reach the sandbox process ${ref.pid} (errno ${-result})`);
      if (Date.now() > deadline) throw noAnswer(ref.pid);
      await Bun.sleep(RETRY_MS);
    }
  } catch (error) {
    closeFd(socket);
    throw error;
  } finally {
    if (directory >= 0) closeSync(directory);
  }
}
