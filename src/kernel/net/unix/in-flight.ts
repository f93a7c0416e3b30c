/**
 * Files in flight: sent with SCM_RIGHTS and not yet received.
 *
 * A message holds a reference to each of its files. Unix sockets in each other's queues can form cycles that nobody
 * can reach any more; `collect` finds those and empties their queues.
 *
 * Source: unix(7), Linux net/unix/garbage.c. Bounds: per container and user RLIMIT_NOFILE (unless privileged), and
 * IN_FLIGHT_MAX for the whole kernel.
 */
import { ETOOMANYREFS } from "../../abi/errno.ts";
import { persistent } from "../../state/registry.ts";
import { CAP_SYS_ADMIN, CAP_SYS_RESOURCE, capable } from "../../task/credentials.ts";
import { RLIMIT_NOFILE } from "../../task/rlimits.ts";
import type { Task } from "../../task/task.ts";
import type { File } from "../../vfs/file.ts";
import { UnixSocket } from "./unix-socket.ts";

/** Files in flight in all, whoever sends them. */
const IN_FLIGHT_MAX = 65536;

/** Files of one message, and who is charged for them. */
export interface Cargo {
  files: File[];
  user: string;
}

export class InFlight {
  private total = 0;
  /** By container and user: the users of one have nothing to do with those of another. */
  private readonly byUser = new Map<string, number>();
  /** How often each unix socket is in flight. */
  private readonly sockets = new Map<UnixSocket, number>();
  private collecting = false;
  /** Sockets that lost their last other reference since the last collection, and how many make the next one due. */
  private suspects = 0;
  private due = 1;

  /** Takes over the references to `files`; -ETOOMANYREFS leaves them with the caller. */
  send(task: Task, files: File[]): Cargo | number {
    const user = `${task.cred.uid} of ${task.container.id}`;
    const mine = this.byUser.get(user) ?? 0;
    const limit = task.process.rlimits[RLIMIT_NOFILE]!.soft;
    if (mine > limit && !capable(task.cred, CAP_SYS_RESOURCE) && !capable(task.cred, CAP_SYS_ADMIN))
      return -ETOOMANYREFS;
    if (this.total + files.length > IN_FLIGHT_MAX) return -ETOOMANYREFS;
    this.total += files.length;
    this.byUser.set(user, mine + files.length);
    for (const file of files) if (file instanceof UnixSocket) this.sockets.set(file, (this.sockets.get(file) ?? 0) + 1);
    return { files, user };
  }

  /** Lands a cargo: the caller has its references again. */
  land(cargo: Cargo): File[] {
    this.total -= cargo.files.length;
    const left = this.byUser.get(cargo.user)! - cargo.files.length;
    if (left === 0) this.byUser.delete(cargo.user);
    else this.byUser.set(cargo.user, left);
    for (const file of cargo.files) {
      if (!(file instanceof UnixSocket)) continue;
      const count = this.sockets.get(file)! - 1;
      if (count === 0) this.sockets.delete(file);
      else this.sockets.set(file, count);
    }
    return cargo.files;
  }

  /** A cargo that nobody will receive. */
  discard(cargo: Cargo): void {
    for (const file of this.land(cargo)) file.release();
  }

  /** A reference to a socket was dropped and others are left: are they all in messages? */
  suspect(socket: UnixSocket): void {
    if (this.collecting || this.sockets.get(socket) !== socket.refs) return;
    // Work grows with the number of candidates, so collect the more seldom the more there were.
    if (++this.suspects >= this.due) this.collect();
  }

  /** Finds sockets that only messages in unreachable queues refer to, and empties those queues. */
  private collect(): void {
    this.suspects = 0;
    // Candidates: nothing but messages refers to them. What a candidate's queue holds counts only if it is reachable.
    const outside = new Map<UnixSocket, number>();
    for (const [socket, count] of this.sockets) if (socket.refs === count) outside.set(socket, count);
    this.due = 1 + (outside.size >> 2);
    for (const socket of outside.keys())
      for (const cargo of socket.queuedCargo())
        for (const file of cargo.files) {
          const left = outside.get(file as UnixSocket);
          if (left !== undefined) outside.set(file as UnixSocket, left - 1);
        }
    // Those with a reference from outside are reachable, and so is all that they hold.
    const reachable: UnixSocket[] = [];
    for (const [socket, left] of outside) if (left > 0) reachable.push(socket);
    for (const socket of reachable) outside.delete(socket);
    for (let i = 0; i < reachable.length; i++)
      for (const cargo of reachable[i]!.queuedCargo())
        for (const file of cargo.files) if (outside.delete(file as UnixSocket)) reachable.push(file as UnixSocket);
    if (outside.size === 0) return;
    this.collecting = true;
    const cargoes: Cargo[] = [];
    for (const socket of outside.keys()) cargoes.push(...socket.takeCargo());
    for (const cargo of cargoes) this.discard(cargo);
    this.collecting = false;
  }
}

persistent("in-flight", InFlight);
