/**
 * The control connection's wire format, both ends: see core/sandbox.ts. Descriptors travel with the first byte of the
 * message that names them.
 *
 * Neither end trusts the other to read or to keep to the format: what is kept for a peer is bounded, and nothing waits.
 */
import { EAGAIN, EINTR } from "../kernel/abi/errno.ts";
import { closeFd, recvmsg, sendmsg } from "../native/host.ts";

const MSG_DONTWAIT = 0x40;
/** A message may have this many bytes; a peer that sends more is cut off. */
export const MESSAGE_MAX = 16 << 20;
/** So many descriptors may wait for the message that names them: as many as one call can bring. */
const FDS_MAX = 64;
const HEADER = 4;
/** A buffer that a large message has made larger than this is given back. */
const KEPT_ROOM = 256 << 10;

/** An error with this number is about the connection: no request of it is answered. Requests count from 1. */
export const CONNECTION_SEQ = 0;

export interface WireMessage {
  seq: number;
  method?: string;
  params?: unknown;
  result?: unknown;
  error?: { message: string; errno?: number };
  /** The request has been taken; its answer comes when what it waits for has happened. */
  later?: true;
  fds?: number;
}

function encode(message: WireMessage, fds: number): Buffer {
  const body = Buffer.from(JSON.stringify(fds > 0 ? { ...message, fds } : message));
  const whole = Buffer.alloc(HEADER + body.length);
  whole.writeUInt32LE(body.length);
  body.copy(whole, HEADER);
  return whole;
}

/** Sends one message, waiting for room when the socket is full. 0 or -errno. */
export function sendMessage(socket: number, message: WireMessage): number {
  const whole = encode(message, 0);
  const none = new Int32Array(0);
  for (let done = 0; done < whole.length; ) {
    const n = sendmsg(socket, whole.subarray(done), whole.length - done, none, 0, 0);
    if (n === -EINTR) continue;
    if (n < 0) return n;
    done += n;
  }
  return 0;
}

/** Messages that have not gone out yet, for a socket whose peer may be slow. */
export class MessageWriter {
  private readonly queue: { bytes: Buffer; fds: readonly number[]; done: number }[] = [];
  /** Bytes that are kept. */
  pending = 0;

  /** `fds` must stay open until the message has gone out. */
  push(message: WireMessage, fds: readonly number[] = []): void {
    const bytes = encode(message, fds.length);
    this.queue.push({ bytes, fds, done: 0 });
    this.pending += bytes.length;
  }

  /** Sends what the socket takes now. 0: everything; -EAGAIN: the rest later; otherwise -errno. */
  flush(socket: number): number {
    for (let first = this.queue[0]; first !== undefined; first = this.queue[0]) {
      const { bytes, fds, done } = first;
      const rest = bytes.subarray(done);
      const list = Int32Array.from(done === 0 ? fds : []);
      const n = sendmsg(socket, rest, rest.length, list, list.length, MSG_DONTWAIT);
      if (n === -EINTR) continue;
      if (n < 0) return n;
      first.done += n;
      this.pending -= n;
      if (first.done === bytes.length) this.queue.shift();
    }
    return 0;
  }
}

/** Puts bytes and descriptors of a stream together to messages. */
export class MessageReader {
  /** What has come and was not taken yet lies from `start` to `end`. */
  private buffer: Buffer = Buffer.alloc(0);
  private start = 0;
  private end = 0;
  private readonly fds: number[] = [];
  private readonly chunk = Buffer.alloc(65536);
  private readonly gotFds = new Int32Array(FDS_MAX);
  private readonly gotCount = new Int32Array(1);

  /** Adds bytes that came without descriptors. Room grows by doubling: a message in small pieces is moved seldom. */
  push(bytes: Uint8Array): void {
    const held = this.end - this.start;
    if (this.end + bytes.length > this.buffer.length) {
      const room = held + bytes.length;
      const into = 2 * room <= this.buffer.length ? this.buffer : Buffer.alloc(Math.max(2 * room, 4096));
      this.buffer.copy(into, 0, this.start, this.end);
      this.buffer = into;
      this.start = 0;
      this.end = held;
    }
    this.buffer.set(bytes, this.end);
    this.end += bytes.length;
  }

  /** Reads what is there. 1: more may come; 0: the peer is gone, or sends too many descriptors; -EAGAIN: nothing now. */
  fill(socket: number, wait: boolean): number {
    this.gotCount[0] = FDS_MAX;
    const n = recvmsg(socket, this.chunk, this.chunk.length, this.gotFds, this.gotCount, wait ? 0 : MSG_DONTWAIT);
    if (n === -EINTR) return wait ? 1 : -EAGAIN;
    if (n === -EAGAIN) return n;
    if (n <= 0) return 0;
    for (let i = 0; i < this.gotCount[0]!; i++) this.fds.push(this.gotFds[i]!);
    if (this.fds.length > FDS_MAX) return 0;
    this.push(this.chunk.subarray(0, n));
    return 1;
  }

  /** True if `next` has something to say. */
  get ready(): boolean {
    const length = this.bodyLength();
    return length >= 0 && (length > MESSAGE_MAX || this.end - this.start >= HEADER + length);
  }

  /** The next whole message, or null. Throws when the peer does not keep to the format. */
  next(): { message: WireMessage; fds: number[] } | null {
    if (!this.ready) return null;
    const length = this.bodyLength();
    if (length > MESSAGE_MAX) throw new Error(`control message of ${length} bytes`);
    const body = this.buffer.toString("utf8", this.start + HEADER, this.start + HEADER + length);
    this.start += HEADER + length;
    if (this.start === this.end) {
      this.start = 0;
      this.end = 0;
      if (this.buffer.length > KEPT_ROOM) this.buffer = Buffer.alloc(0);
    }
    const message = check(JSON.parse(body));
    const fds = message.fds ?? 0;
    if (!(Number.isInteger(fds) && fds >= 0 && fds <= this.fds.length))
      throw new Error(`control message with ${fds} descriptors, ${this.fds.length} came`);
    return { message, fds: this.fds.splice(0, fds) };
  }

  /** -1 while the header is not there. */
  private bodyLength(): number {
    return this.end - this.start < HEADER ? -1 : this.buffer.readUInt32LE(this.start);
  }

  /** Closes descriptors that no message has named. */
  close(): void {
    for (const fd of this.fds.splice(0)) closeFd(fd);
  }
}

function check(message: unknown): WireMessage {
  if (typeof message !== "object" || message === null || !Number.isSafeInteger((message as WireMessage).seq))
    throw new Error("control message without a number");
  return message as WireMessage;
}
