/**
 * Connections between unix sockets: listen, connect, accept, shutdown, close; for streams and for packets.
 *
 * Source: unix(7), Linux net/unix/af_unix.c. connect makes the other end at once and queues it with the listener;
 * accept only hands it out. There is no state in between, so connect never gives EINPROGRESS.
 */
import { EAGAIN, ECONNREFUSED, ECONNRESET, EINVAL, EISCONN, ENOMEM } from "../../abi/errno.ts";
import { O_NONBLOCK } from "../../abi/fcntl.ts";
import { persistent } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { POLLHUP } from "../../vfs/file.ts";
import { ALL_EVENTS } from "../../wait-queue.ts";
import { RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK } from "../abi.ts";
import type { Socket } from "../socket.ts";
import type { Cargo } from "./in-flight.ts";
import { checkAddress } from "./names.ts";
import { CAN_READ, CAN_WRITE, CLOSED, CONNECTED, connectionCreds, LISTENING, UnixSocket } from "./unix-socket.ts";

export abstract class UnixConnection extends UnixSocket {
  /** Connections not yet accepted; null unless listening. */
  private backlog: UnixConnection[] | null = null;
  /** Made by connect and not yet accepted: nobody can have read what is in its queue. */
  private embryo = false;

  /** A socket of the same type for the other end of a connection. */
  protected abstract makeChild(): UnixConnection;
  /** Has received what nobody has read? */
  protected abstract get hasUnread(): boolean;
  /** Empties the queue. */
  protected abstract purge(): void;

  override get listening(): boolean {
    return this.state === LISTENING;
  }
  /** Who waits to be accepted; null unless it listens. */
  get waiting(): readonly UnixConnection[] | null {
    return this.backlog;
  }

  override listen(task: Task, backlog: number): number {
    if (this.addr === null || this.state === CONNECTED) return -EINVAL;
    this.backlog ??= [];
    const before = this.maxBacklog;
    this.maxBacklog = backlog;
    this.state = LISTENING;
    this.notePeer(connectionCreds(task), task.cred.groups);
    if (backlog > before) this.roomMade();
    return 0;
  }

  override connect(task: Task, addr: Uint8Array): number {
    const checked = checkAddress(addr);
    if (checked < 0) return checked;
    const named = this.autobindForCreds();
    if (named < 0) return named;
    const other = this.findOther(task, addr);
    if (typeof other === "number") return other;
    if (!(other instanceof UnixConnection) || other.backlog === null || other.state !== LISTENING) return -ECONNREFUSED;
    if ((other.shutdownMask & RCV_SHUTDOWN) !== 0) return -ECONNREFUSED;
    if (other.backlog.length > other.maxBacklog) {
      other.awaitRoom(this);
      return -EAGAIN;
    }
    if (this.state === CONNECTED) return -EISCONN;
    if (this.state === LISTENING) return -EINVAL;
    if (this.kernel.net.full) return -ENOMEM;
    const child = other.makeChild();
    child.embryo = true;
    child.addr = other.addr;
    child.passCred = other.passCred;
    child.passPidfd = other.passPidfd;
    child.join(this);
    this.join(child);
    child.notePeer(connectionCreds(task), task.cred.groups);
    this.notePeer(other.peerCred, other.peerGroups);
    other.backlog.push(child);
    other.waiters.wake(CAN_READ);
    this.waiters.wake(CAN_WRITE);
    return 0;
  }

  /** Makes `other` the far end. */
  join(other: UnixConnection): void {
    this.peer = other;
    this.state = CONNECTED;
  }

  override accept(_task: Task, flags: number): Socket | number {
    if (this.state !== LISTENING) return -EINVAL;
    const child = this.backlog!.shift();
    if (child === undefined) return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? -EINVAL : -EAGAIN;
    this.roomMade();
    child.embryo = false;
    child.flags = (child.flags & ~O_NONBLOCK) | flags;
    return child;
  }

  override shutdown(how: number): number {
    this.shutdownMask |= how;
    this.waiters.wake(ALL_EVENTS, Number.POSITIVE_INFINITY);
    const peer = this.peer;
    if (peer !== null && !peer.dead) {
      if ((how & RCV_SHUTDOWN) !== 0) peer.shutdownMask |= SEND_SHUTDOWN;
      if ((how & SEND_SHUTDOWN) !== 0) peer.shutdownMask |= RCV_SHUTDOWN;
      peer.waiters.wake();
    }
    return 0;
  }

  override poll(): number {
    let mask = this.pollState();
    if (this.backlog !== null && this.backlog.length > 0) mask |= CAN_READ;
    if (this.hasUnread) mask |= CAN_READ;
    if (this.state === CLOSED) mask |= POLLHUP;
    if (this.hasSendRoom) mask |= CAN_WRITE;
    return mask;
  }

  override onRelease(): void {
    super.onRelease();
    const { peer } = this;
    const reset = this.hasUnread || this.embryo;
    this.state = CLOSED;
    this.shutdownMask = SHUTDOWN_MASK;
    if (peer !== null && !peer.dead) {
      peer.shutdownMask = SHUTDOWN_MASK;
      if (reset) peer.error = ECONNRESET;
      peer.waiters.wake();
    }
    const waiting = this.backlog;
    this.backlog = null;
    if (waiting !== null) for (const child of waiting) child.release();
    this.purge();
  }

  protected abstract ownCargo(): Iterable<Cargo>;
  protected abstract takeOwnCargo(): Cargo[];

  override *queuedCargo(): Iterable<Cargo> {
    yield* this.ownCargo();
    if (this.backlog !== null) for (const child of this.backlog) yield* child.ownCargo();
  }

  override takeCargo(): Cargo[] {
    const taken = this.takeOwnCargo();
    if (this.backlog !== null) for (const child of this.backlog) taken.push(...child.takeOwnCargo());
    return taken;
  }
}

persistent("unix-connection", UnixConnection);
