/**
 * The control connection's wire format, both ends: see core/sandbox.ts. Descriptors travel with the first byte of the
 * message that names them.
 */
import { recvmsg, sendmsg } from "../native/host.ts";

const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;
/** A message may have this many bytes; a peer that sends more is cut off. */
const MESSAGE_MAX = 16 << 20;

export interface WireMessage {
  seq: number;
  method?: string;
  params?: unknown;
  result?: unknown;
  error?: { message: string; errno?: number };
  fds?: number;
}

/** Sends one message, waiting for room when the socket is full. 0 or -errno. */
export function sendMessage(socket: number, message: WireMessage, fds: readonly number[] = []): number {
  const body = Buffer.from(JSON.stringify(fds.length > 0 ? { ...message, fds: fds.length } : message));
  const whole = Buffer.alloc(4 + body.length);
  whole.writeUInt32LE(body.length);
  body.copy(whole, 4);
  const list = Int32Array.from(fds);
  for (let done = 0; done < whole.length; ) {
    const n = sendmsg(socket, whole.subarray(done), whole.length - done, list, done === 0 ? fds.length : 0, 0);
    if (n < 0) return n;
    done += n;
  }
  return 0;
}

/** Puts bytes and descriptors of a stream together to messages. */
export class MessageReader {
  private pending: Buffer = Buffer.alloc(0);
  private readonly fds: number[] = [];
  private readonly chunk = Buffer.alloc(65536);
  private readonly gotFds = new Int32Array(64);
  private readonly gotCount = new Int32Array(1);

  /** Adds bytes that came without descriptors. */
  push(bytes: Uint8Array): void {
    this.pending = Buffer.concat([this.pending, bytes]);
  }

  /** Reads what is there. 1: more may come; 0: the peer is gone; -EAGAIN: nothing now. */
  fill(socket: number, wait: boolean): number {
    this.gotCount[0] = 64;
    const n = recvmsg(socket, this.chunk, this.chunk.length, this.gotFds, this.gotCount, wait ? 0 : MSG_DONTWAIT);
    if (n === -EAGAIN) return n;
    if (n <= 0) return 0;
    for (let i = 0; i < this.gotCount[0]!; i++) this.fds.push(this.gotFds[i]!);
    this.push(this.chunk.subarray(0, n));
    return 1;
  }

  /** The next whole message, or null. Throws when the peer does not keep to the format. */
  next(): { message: WireMessage; fds: number[] } | null {
    if (this.pending.length < 4) return null;
    const length = this.pending.readUInt32LE(0);
    if (length > MESSAGE_MAX) throw new Error(`control message of ${length} bytes`);
    if (this.pending.length < 4 + length) return null;
    const message = JSON.parse(this.pending.toString("utf8", 4, 4 + length)) as WireMessage;
    this.pending = this.pending.subarray(4 + length);
    return { message, fds: this.fds.splice(0, message.fds ?? 0) };
  }
}
