/** AF_UNIX: its types, and socketpair. Source: unix(7). */
import { EPROTONOSUPPORT, ESOCKTNOSUPPORT } from "../../abi/errno.ts";
import type { Task } from "../../task/task.ts";
import { AF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM } from "../abi.ts";
import type { Family } from "../socket.ts";
import { UnixConnection } from "./connection.ts";
import { UnixDatagram } from "./datagram.ts";
import { UnixSeqpacket } from "./seqpacket.ts";
import { UnixStream } from "./stream.ts";
import { connectionCreds, type UnixSocket } from "./unix-socket.ts";

function create(task: Task, type: number, protocol: number, flags: number): UnixSocket | number {
  if (protocol !== 0 && protocol !== AF_UNIX) return -EPROTONOSUPPORT;
  switch (type) {
    case SOCK_STREAM:
      return new UnixStream(task.kernel, flags);
    case SOCK_DGRAM:
    case SOCK_RAW:
      return new UnixDatagram(task.kernel, flags);
    case SOCK_SEQPACKET:
      return new UnixSeqpacket(task.kernel, flags);
    default:
      return -ESOCKTNOSUPPORT;
  }
}

export const unixFamily: Family = {
  create,
  pair(task, type, protocol, flags) {
    const a = create(task, type, protocol, flags);
    if (typeof a === "number") return a;
    const b = create(task, type, protocol, flags) as UnixSocket;
    if (a instanceof UnixConnection && b instanceof UnixConnection) {
      a.join(b);
      b.join(a);
    } else {
      (a as UnixDatagram).reconnect(b as UnixDatagram);
      (b as UnixDatagram).reconnect(a as UnixDatagram);
    }
    const creds = connectionCreds(task);
    a.notePeer(creds, task.cred.groups);
    b.notePeer(creds, task.cred.groups);
    return [a, b];
  },
};
