/**
 * The sandbox's end of the control connection: requests come in through the kernel's poller, are served inside the
 * kernel loop, and answered at once or when what they wait for happens.
 *
 * A caller may do what it wants, also nothing, without keeping the kernel or other callers: a turn reads and serves a
 * bounded part; answers that the caller does not read are kept up to a bound, beyond which it is dropped, and while some
 * are kept no more of its requests are read; there are so many connections at most, the longest idle one making room.
 */
import { F_SETFL, O_NONBLOCK } from "../kernel/abi/fcntl.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { accept, closeFd, dup, fcntl } from "../native/host.ts";
import type { HostWatcher } from "../native/poller.ts";
import { CONNECTION_SEQ, MESSAGE_MAX, MessageReader, MessageWriter, type WireMessage } from "./wire.ts";

const POLLIN = 1;
const POLLOUT = 4;
const POLLERR = 8;
const POLLHUP = 16;
const EAGAIN = 11;
const ENFILE = 23;
const EMFILE = 24;
const ENOSYS = 38;
/** Any open descriptor, to be copied: /dev/null. */
const NULL_FD = 0;
/** Requests of one connection that are served in one turn. */
const REQUESTS_PER_TURN = 16;
/** Answers that are kept for a caller that does not read. */
const UNSENT_MAX = MESSAGE_MAX;
const CONNECTIONS_MAX = 256;

/** A request that cannot be carried out; `errno` is positive. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly errno = 0,
  ) {
    super(message);
  }
}

/** The connection that a request came by. */
export interface Caller {
  /** Descriptors that it has sent for a later request; closed with it. */
  readonly held: number[];
  /** Called when it has ended. */
  readonly onClosed: (() => void)[];
}

/** Answers one request later. */
export interface Answer {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  /** Tells the caller that it is being worked on, before work that keeps everybody. */
  acknowledge(): void;
  /** The caller has gone: nobody hears the answer. */
  readonly gone: boolean;
  readonly caller: Caller;
}

/**
 * Returns the result, or undefined when it has kept `answer` for later. Descriptors that it leaves in `fds` are closed
 * with the answer.
 */
export type Method = (params: never, fds: number[], answer: Answer) => unknown;

class Connection implements HostWatcher, Caller {
  readonly essential = true;
  readonly held: number[] = [];
  readonly onClosed: (() => void)[] = [];
  private readonly writer = new MessageWriter();
  private open = true;
  private events = POLLIN | POLLHUP;
  /** Requests without an answer yet. */
  outstanding = 0;
  /** Number of the turn in which it last sent something. */
  heard = 0;

  constructor(
    private readonly server: ControlServer,
    readonly socket: number,
    /** What has been read already is in it. */
    private readonly reader: MessageReader,
  ) {
    this.server.kernel.poller.watch(socket, this.events, this);
    this.updateEvents();
  }

  hostReady(_fd: number, events: number): void {
    if (this.writer.pending > 0) {
      this.flush();
      // A caller that does not read gets no more work done; that it is gone must be seen all the same.
      if (this.open && this.writer.pending > 0 && (events & (POLLHUP | POLLERR)) !== 0) this.close();
      return;
    }
    if (!this.reader.ready) {
      const got = this.reader.fill(this.socket, false);
      if (got === -EAGAIN) return;
      if (got <= 0) return this.close();
      this.heard = ++this.server.turn;
    }
    try {
      for (let i = 0; i < REQUESTS_PER_TURN && this.open && this.writer.pending === 0; i++) {
        const next = this.reader.next();
        if (next === null) break;
        this.serve(next.message, next.fds);
      }
    } catch (error) {
      this.server.kernel.log.warn(`control connection dropped: ${error instanceof Error ? error.message : error}`);
      return this.close();
    }
    this.updateEvents();
  }

  /** What is served or sent later makes the socket's readiness for writing the next turn. */
  private updateEvents(): void {
    if (!this.open) return;
    const unsent = this.writer.pending > 0;
    const events = POLLHUP | (unsent ? POLLOUT : this.reader.ready ? POLLIN | POLLOUT : POLLIN);
    if (events === this.events) return;
    this.events = events;
    this.server.kernel.poller.watch(this.socket, events, this);
  }

  private serve({ seq, method: name = "", params }: WireMessage, fds: number[]): void {
    this.outstanding++;
    let answered = false;
    let acknowledged = false;
    const settle = (message: WireMessage): void => {
      if (answered) return;
      answered = true;
      this.outstanding--;
      for (const fd of fds.splice(0)) closeFd(fd);
      this.send(message);
    };
    const isGone = () => !this.open;
    const acknowledge = () => {
      if (!answered && !acknowledged) this.send({ seq, later: true });
      acknowledged = true;
    };
    const answer: Answer = {
      caller: this,
      acknowledge,
      get gone() {
        return isGone();
      },
      resolve: (result) => settle({ seq, result: result ?? {} }),
      reject: (error) =>
        settle({
          seq,
          error: {
            message: error instanceof Error ? error.message : String(error),
            errno: error instanceof Refusal ? error.errno : 0,
          },
        }),
    };
    const method = this.server.methods.get(name);
    try {
      if (method === undefined)
        throw new Refusal(`the sandbox knows no request "${String(name).slice(0, 64)}"`, ENOSYS);
      const result = method((params ?? {}) as never, fds, answer);
      if (result !== undefined) answer.resolve(result);
      // The caller can tell a sandbox that works on it from one that does nothing any more.
      else acknowledge();
    } catch (error) {
      answer.reject(error);
    }
  }

  private send(message: WireMessage): void {
    if (!this.open) return;
    this.writer.push(message);
    this.flush();
  }

  private flush(): void {
    const result = this.writer.flush(this.socket);
    if (result < 0 && result !== -EAGAIN) return this.close();
    if (this.writer.pending > UNSENT_MAX) {
      this.server.kernel.log.warn("control connection dropped: it does not read its answers");
      return this.close();
    }
    this.updateEvents();
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.server.kernel.poller.unwatch(this.socket);
    this.reader.close();
    for (const fd of this.held.splice(0)) closeFd(fd);
    closeFd(this.socket);
    this.server.closed(this);
    for (const tell of this.onClosed.splice(0)) tell();
  }
}

/** Tells a caller why nothing that it asks will be answered, and closes. */
function refuse(socket: number, message: string, errno: number): void {
  const writer = new MessageWriter();
  writer.push({ seq: CONNECTION_SEQ, error: { message, errno } });
  writer.flush(socket);
  closeFd(socket);
}

export class ControlServer implements HostWatcher {
  readonly essential = true;
  readonly methods = new Map<string, Method>([["ping", () => ({})]]);
  /** Counts what has come in, see Connection.heard. */
  turn = 0;
  /** Those that have been accepted; the launching command's is not among them. */
  private readonly accepted = new Set<Connection>();
  /** Given up for a moment when there are no more descriptors, so that a caller can be turned away. */
  private spare = -1;

  constructor(readonly kernel: Kernel) {}

  /** Serves a connected socket. `reader`: what has been read of it already. */
  serve(socket: number, reader = new MessageReader()): Caller {
    return new Connection(this, socket, reader);
  }

  closed(connection: Connection): void {
    this.accepted.delete(connection);
  }

  /** Accepts connections on a listening socket. */
  listen(socket: number): void {
    if (this.spare < 0) this.spare = dup(NULL_FD);
    // It may be another's too, who accepts before we do: nobody who has gone may be waited for.
    fcntl(socket, F_SETFL, O_NONBLOCK);
    this.kernel.poller.watch(socket, POLLIN, this);
  }
  /** Accepts no more there. */
  unlisten(socket: number): void {
    this.kernel.poller.unwatch(socket);
    closeFd(socket);
  }

  hostReady(fd: number): void {
    const socket = accept(fd, 0);
    if (socket >= 0) {
      if (this.accepted.size >= CONNECTIONS_MAX && !this.makeRoom())
        return refuse(socket, "the sandbox is busy with too many other requests", EAGAIN);
      const connection = new Connection(this, socket, new MessageReader());
      connection.heard = ++this.turn;
      this.accepted.add(connection);
    } else if (socket === -EMFILE || socket === -ENFILE) this.turnAway(fd);
  }

  /** Closes the connection that has been idle for longest. False when all wait for something. */
  private makeRoom(): boolean {
    let oldest: Connection | null = null;
    for (const each of this.accepted)
      if (each.outstanding === 0 && (oldest === null || each.heard < oldest.heard)) oldest = each;
    oldest?.close();
    return oldest !== null;
  }

  /** A caller that stayed in the queue would have us asked again and again. */
  private turnAway(fd: number): void {
    if (this.spare < 0) return;
    closeFd(this.spare);
    const socket = accept(fd, 0);
    if (socket >= 0) refuse(socket, "the sandbox process has no more file descriptors", EMFILE);
    this.spare = dup(NULL_FD);
  }
}
