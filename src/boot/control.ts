/**
 * The sandbox's end of the control connection: requests come in through the kernel's poller, are served inside the
 * kernel loop, and answered at once or when what they wait for happens.
 */
import type { Kernel } from "../kernel/kernel.ts";
import { accept, closeFd } from "../native/host.ts";
import type { HostWatcher } from "../native/poller.ts";
import { MessageReader, sendMessage } from "./wire.ts";

const POLLIN = 1;
const POLLHUP = 16;
const EAGAIN = 11;

/** A request that cannot be carried out; `errno` is positive. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly errno = 0,
  ) {
    super(message);
  }
}

/** Answers one request later. */
export interface Answer {
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** Returns the result, or undefined when it has kept `answer` for later. */
export type Method = (params: never, fds: number[], answer: Answer) => unknown;

class Connection implements HostWatcher {
  private readonly reader = new MessageReader();
  private open = true;
  constructor(
    private readonly server: ControlServer,
    readonly socket: number,
  ) {}

  hostReady(): void {
    for (;;) {
      const got = this.reader.fill(this.socket, false);
      if (got === -EAGAIN) return;
      if (got <= 0) return this.close();
      try {
        for (let next = this.reader.next(); next !== null; next = this.reader.next())
          this.serve(next.message.seq, next.message.method ?? "", next.message.params, next.fds);
      } catch (error) {
        this.server.kernel.log.warn(`control connection dropped: ${error instanceof Error ? error.message : error}`);
        return this.close();
      }
    }
  }

  private serve(seq: number, name: string, params: unknown, fds: number[]): void {
    const answer: Answer = {
      resolve: (result) => this.send({ seq, result: result ?? {} }),
      reject: (error) =>
        this.send({
          seq,
          error: {
            message: error instanceof Error ? error.message : String(error),
            errno: error instanceof Refusal ? error.errno : 0,
          },
        }),
    };
    const method = this.server.methods.get(name);
    if (method === undefined) {
      for (const fd of fds) closeFd(fd);
      return answer.reject(new Refusal(`the sandbox knows no request "${name}"`, 38));
    }
    try {
      const result = method(params as never, fds, answer);
      if (result !== undefined) answer.resolve(result);
    } catch (error) {
      answer.reject(error);
    }
  }

  private send(message: Parameters<typeof sendMessage>[1]): void {
    if (this.open && sendMessage(this.socket, message) < 0) this.close();
  }

  private close(): void {
    if (!this.open) return;
    this.open = false;
    this.server.kernel.poller.unwatch(this.socket);
    closeFd(this.socket);
    this.server.onClosed(this.socket);
  }
}

export class ControlServer implements HostWatcher {
  readonly methods = new Map<string, Method>();
  /** Told when a connection has ended. */
  onClosed: (socket: number) => void = () => {};

  constructor(readonly kernel: Kernel) {}

  /** Serves a connected socket. */
  serve(socket: number): void {
    const connection = new Connection(this, socket);
    this.kernel.poller.watch(socket, POLLIN | POLLHUP, connection);
  }

  /** Accepts connections on a listening socket. */
  listen(socket: number): void {
    this.kernel.poller.watch(socket, POLLIN, this);
  }
  hostReady(fd: number): void {
    const socket = accept(fd, 0);
    if (socket >= 0) this.serve(socket);
  }
}
