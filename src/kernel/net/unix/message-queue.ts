/**
 * The queue of a socket that keeps message borders, and what sending and receiving one message has in common for
 * datagrams and packets.
 *
 * Source: unix(7), Linux net/unix/af_unix.c (unix_dgram_sendmsg, unix_dgram_recvmsg).
 */

import { EFAULT } from "../../abi/errno.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Timespec } from "../../vfs/inode.ts";
import type { Io } from "../../vfs/io.ts";
import { MSG_PEEK, MSG_TRUNC } from "../abi.ts";
import type { ReceiveInfo, Ucred } from "../socket.ts";
import { addTimestamp } from "../timestamps.ts";
import type { Cargo, InFlight } from "./in-flight.ts";
import type { UnixSocket } from "./unix-socket.ts";

export interface Message {
  data: Uint8Array;
  sender: UnixSocket;
  /** What it costs of the sender's buffer. */
  truesize: number;
  creds: Ucred | null;
  cargo: Cargo | null;
  /** For SO_TIMESTAMP. */
  arrived: Timespec | null;
}

const EMPTY = new Uint8Array(0);

/** Takes a whole message from io; null: EFAULT. */
export function takeMessage(io: Io): Uint8Array | null {
  const length = io.remaining;
  if (length === 0) return EMPTY;
  // All of it is overwritten, or it is dropped.
  const data = Buffer.allocUnsafe(length);
  return io.take(data, 0, length) === length ? data : null;
}

export class MessageQueue {
  private messages: Message[] = [];
  /** Those before are read. */
  private first = 0;

  get length(): number {
    return this.messages.length - this.first;
  }
  get next(): Message | undefined {
    return this.messages[this.first];
  }

  push(message: Message): void {
    this.messages.push(message);
  }

  shift(): Message | undefined {
    const message = this.messages[this.first];
    if (message === undefined) return undefined;
    if (++this.first === this.messages.length) {
      this.messages.length = 0;
      this.first = 0;
    } else if (this.first >= 64 && this.first * 2 >= this.messages.length) {
      this.messages.splice(0, this.first);
      this.first = 0;
    }
    return message;
  }

  *[Symbol.iterator](): Iterator<Message> {
    for (let i = this.first; i < this.messages.length; i++) yield this.messages[i]!;
  }

  /** The message at a peek offset, and what of it comes before; undefined: nothing that far. */
  private at(offset: number): { message: Message; skip: number } | undefined {
    let skip = offset;
    for (const message of this) {
      if (skip < message.data.length || (skip === 0 && message.data.length === 0)) return { message, skip };
      skip -= message.data.length;
    }
    return undefined;
  }

  /** Is there something to receive with these flags? */
  hasFor(flags: number, peekOffset: number): boolean {
    if ((flags & MSG_PEEK) !== 0 && peekOffset > 0) return this.at(peekOffset) !== undefined;
    return this.length > 0;
  }

  /**
   * Receives the next message, which is there. Its bytes beyond io are lost, unless it is only looked at. As on Linux a
   * message that cannot be written to the receiver's memory is gone, too.
   */
  receive(
    _task: Task,
    socket: UnixSocket,
    inFlight: InFlight,
    io: Io,
    flags: number,
    info: ReceiveInfo | null,
  ): number {
    const peek = (flags & MSG_PEEK) !== 0;
    const place = peek && socket.peekOffset > 0 ? this.at(socket.peekOffset)! : { message: this.next!, skip: 0 };
    const { message, skip } = place;
    const there = message.data.length - skip;
    const size = Math.min(there, io.remaining);
    let result = (flags & MSG_TRUNC) !== 0 ? there : size;
    if (size > 0 && (io.usable(size, true) < size || io.put(message.data, skip, size) < size)) result = -EFAULT;
    else if (info !== null) {
      info.name = message.sender.addr;
      if (size < there) info.flags |= MSG_TRUNC;
      info.creds = message.creds;
      if (message.arrived !== null || socket.kept !== null) addTimestamp(socket, message.arrived, info);
      if (message.cargo !== null) {
        info.files = peek ? message.cargo.files.map((file) => file.retain()) : inFlight.land(message.cargo);
        if (!peek) message.cargo = null;
      }
    }
    if (peek) {
      if (socket.peekOffset >= 0 && result >= 0) socket.peekOffset += size;
      return result;
    }
    if (socket.peekOffset > 0) socket.peekOffset = Math.max(0, socket.peekOffset - message.data.length);
    this.shift();
    if (message.cargo !== null) inFlight.discard(message.cargo);
    message.sender.sent(message.truesize);
    return result;
  }

  /** Drops everything. */
  purge(inFlight: InFlight): void {
    for (let message = this.shift(); message !== undefined; message = this.shift()) {
      message.sender.sent(message.truesize);
      if (message.cargo !== null) inFlight.discard(message.cargo);
    }
  }

  *cargo(): Iterable<Cargo> {
    for (const message of this) if (message.cargo !== null) yield message.cargo;
  }

  takeCargo(): Cargo[] {
    const taken: Cargo[] = [];
    for (const message of this) {
      if (message.cargo !== null) taken.push(message.cargo);
      message.cargo = null;
    }
    return taken;
  }
}

persistent("message-queue", MessageQueue);
