/** SO_TIMESTAMP and SO_TIMESTAMPNS: when a datagram came in. Source: socket(7). */
import { setU64 } from "../mm/mm.ts";
import { realtimeNow } from "../time/clock.ts";
import type { Timespec } from "../vfs/inode.ts";
import { SO_TIMESTAMP, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW, SOL_SOCKET } from "./abi.ts";
import { kept } from "./options.ts";
import type { ReceiveInfo, Socket } from "./socket.ts";

/** The time now, if `receiver` wants to know when what comes in came in. */
export function arrivalTime(receiver: Socket): Timespec | null {
  if (receiver.kept === null) return null;
  for (const name of [SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW])
    if (kept(receiver, name) !== 0) return realtimeNow();
  return null;
}

/** Adds the control message. One that came in before the option was set shows the time now, as on Linux. */
export function addTimestamp(socket: Socket, arrived: Timespec | null, info: ReceiveInfo): void {
  const time = arrived ?? arrivalTime(socket);
  if (time === null) return;
  const nanoseconds = kept(socket, SO_TIMESTAMPNS) !== 0 || kept(socket, SO_TIMESTAMPNS_NEW) !== 0;
  const view = new DataView(new ArrayBuffer(16));
  setU64(view, 0, time.sec);
  setU64(view, 8, nanoseconds ? time.nsec : Math.floor(time.nsec / 1000));
  info.control ??= [];
  info.control.push({
    level: SOL_SOCKET,
    type: nanoseconds ? SO_TIMESTAMPNS : SO_TIMESTAMP,
    data: new Uint8Array(view.buffer),
  });
}
