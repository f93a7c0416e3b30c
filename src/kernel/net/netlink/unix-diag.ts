/**
 * Unix sockets as NETLINK_SOCK_DIAG tells of them.
 *
 * Source: sock_diag(7), linux/unix_diag.h, Linux net/unix/diag.c.
 */
import { EINVAL, ENOENT } from "../../abi/errno.ts";
import type { Task } from "../../task/task.ts";
import { AF_UNIX } from "../abi.ts";
import { unixSockets, unixState } from "../listing.ts";
import { UnixConnection } from "../unix/connection.ts";
import type { UnixSocket } from "../unix/unix-socket.ts";
import { SOCK_DIAG_BY_FAMILY } from "./diag.ts";
import { HEADER_SIZE, type MessageWriter } from "./message.ts";
import type { NetlinkRequest } from "./protocols.ts";

/** struct unix_diag_req. */
const REQUEST = 24;
const SHOW_NAME = 1;
const SHOW_VFS = 2;
const SHOW_PEER = 4;
const SHOW_ICONS = 8;
const SHOW_RQLEN = 16;
const SHOW_MEMINFO = 32;
const SHOW_UID = 64;

const NAME = 0;
const VFS = 1;
const PEER = 2;
const ICONS = 3;
const RQLEN = 4;
const MEMINFO = 5;
const SHUTDOWN = 6;
const UID = 7;

export function answerUnix(task: Task, request: NetlinkRequest): number {
  const { bytes, dump } = request;
  if (bytes.length < HEADER_SIZE + REQUEST) return -EINVAL;
  const view = new DataView(bytes.buffer, bytes.byteOffset + HEADER_SIZE, bytes.length - HEADER_SIZE);
  const states = view.getUint32(4, true);
  const inode = view.getUint32(8, true);
  const show = view.getUint32(12, true);
  if (!dump && inode === 0) return -EINVAL;
  let found = false;
  for (const socket of unixSockets(task.kernel)) {
    if (dump ? (states & (1 << unixState(socket))) === 0 : socket.serial !== inode) continue;
    write(request.begin(SOCK_DIAG_BY_FAMILY), socket, show);
    found = true;
    if (!dump) break;
  }
  return dump || found ? 0 : -ENOENT;
}

function write(out: MessageWriter, socket: UnixSocket, show: number): void {
  const { serial, addr, boundPath, peer } = socket;
  const waiting = socket instanceof UnixConnection ? socket.waiting : null;
  out.u8(AF_UNIX, socket.sockType, unixState(socket), 0).u32(serial, serial, Math.floor(serial / 4294967296));
  if ((show & SHOW_NAME) !== 0 && addr !== null) out.attribute(NAME, addr.subarray(2));
  if ((show & SHOW_VFS) !== 0 && boundPath !== null) {
    const attr = boundPath.dentry.inode.getattr();
    if (typeof attr !== "number") out.attribute(VFS, words(attr.ino, attr.dev));
  }
  if ((show & SHOW_PEER) !== 0 && peer !== null) out.attribute32(PEER, peer.serial);
  if ((show & SHOW_ICONS) !== 0 && waiting !== null)
    out.attribute(ICONS, words(...waiting.map((connection) => connection.peer?.serial ?? 0)));
  if ((show & SHOW_RQLEN) !== 0)
    out.attribute(
      RQLEN,
      waiting !== null ? words(waiting.length, socket.maxBacklog) : words(socket.queuedBytes, socket.wmem),
    );
  if ((show & SHOW_MEMINFO) !== 0)
    out.attribute(MEMINFO, words(0, socket.rcvbuf, socket.wmem, socket.sndbuf, 0, 0, 0, 0, 0));
  out.attribute8(SHUTDOWN, socket.shutdownMask);
  if ((show & SHOW_UID) !== 0 && socket.boundPath !== null) {
    const attr = socket.boundPath.dentry.inode.getattr();
    if (typeof attr !== "number") out.attribute32(UID, attr.uid);
  }
  out.end();
}
const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
