/** Datagrams with their addresses and control data, bound to src/native/datagram.c; nothing here waits. */
import { bind, i32, pointer } from "./library.ts";

const symbols = bind({
  d_receive: { args: [i32, pointer, i32, pointer, i32], returns: i32, sized: [1, 2] },
  d_send: { args: [i32, pointer, i32, pointer, i32], returns: i32, sized: [1, 2] },
});

/** What goes with the bytes of one datagram. */
export interface Envelope {
  /** A socket address: whose it is, or where it goes to; null: none. */
  name: Uint8Array | null;
  /** Control messages. */
  control: ControlMessage[] | null;
  /** MSG_* flags of what came. */
  flags: number;
}
export interface ControlMessage {
  level: number;
  type: number;
  data: Uint8Array;
}

/** struct datagram: lengths of name and control data, flags, then both. */
const NAME = 16;
const NAME_MAX = 128;
const CONTROL = NAME + NAME_MAX;
const CONTROL_MAX = 1024;
const record = new Uint8Array(CONTROL + CONTROL_MAX);
const view = new DataView(record.buffer);
const CMSGHDR = 16;
const align8 = (n: number): number => (n + 7) & ~7;
const EINVAL = 22;

/** Takes a datagram: its length (with MSG_TRUNC in `flags` the whole one's), or -errno. */
export function receiveDatagram(fd: number, bytes: Uint8Array, length: number, flags: number, out: Envelope): number {
  const n = symbols.d_receive(fd, bytes, length, record, flags);
  out.name = null;
  out.control = null;
  out.flags = 0;
  if (n < 0) return n;
  const nameLength = Math.min(view.getUint32(0, true), NAME_MAX);
  const end = CONTROL + Math.min(view.getUint32(4, true), CONTROL_MAX);
  out.flags = view.getUint32(8, true);
  if (nameLength > 0) out.name = record.slice(NAME, NAME + nameLength);
  for (let at = CONTROL; at + CMSGHDR <= end; ) {
    const size = view.getUint32(at, true);
    if (size < CMSGHDR || size > end - at) break;
    const type = view.getInt32(at + 12, true);
    if (type >= 0) {
      out.control ??= [];
      out.control.push({ level: view.getInt32(at + 8, true), type, data: record.slice(at + CMSGHDR, at + size) });
    }
    at += align8(size);
  }
  return n;
}

/** Sends one: its length, or -errno. */
export function sendDatagram(
  fd: number,
  bytes: Uint8Array,
  length: number,
  flags: number,
  name: Uint8Array | null,
  control: readonly ControlMessage[] | null,
): number {
  if (name !== null && name.length > NAME_MAX) return -EINVAL;
  view.setUint32(0, name?.length ?? 0, true);
  if (name !== null) record.set(name, NAME);
  let used = 0;
  for (const { level, type, data } of control ?? []) {
    if (used + align8(CMSGHDR + data.length) > CONTROL_MAX) return -EINVAL;
    view.setUint32(CONTROL + used, CMSGHDR + data.length, true);
    view.setUint32(CONTROL + used + 4, 0, true);
    view.setInt32(CONTROL + used + 8, level, true);
    view.setInt32(CONTROL + used + 12, type, true);
    record.set(data, CONTROL + used + CMSGHDR);
    used += align8(CMSGHDR + data.length);
  }
  view.setUint32(4, used, true);
  return symbols.d_send(fd, bytes, length, record, flags);
}
