/**
 * Options at the socket level (SOL_SOCKET), the same for every family.
 *
 * Source: socket(7), Linux net/core/sock.c. Options that only matter to a real network are checked and kept.
 * Known gaps: no BPF filters (SO_ATTACH_FILTER and kin: ENOPROTOOPT), time stamps
 * only of datagrams and only of their arrival.
 */
import {
  EACCES,
  EDOM,
  EFAULT,
  EINVAL,
  ENODATA,
  ENODEV,
  ENOENT,
  ENOPROTOOPT,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
} from "../abi/errno.ts";
import { getS64, setU64 } from "../mm/mm.ts";
import { CAP_NET_ADMIN, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import {
  AF_UNIX,
  IPPROTO_TCP,
  SO_ACCEPTCONN,
  SO_ATTACH_FILTER,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_BPF_EXTENSIONS,
  SO_BROADCAST,
  SO_BSDCOMPAT,
  SO_BUF_LOCK,
  SO_BUSY_POLL,
  SO_COOKIE,
  SO_DEBUG,
  SO_DETACH_FILTER,
  SO_DOMAIN,
  SO_DONTROUTE,
  SO_ERROR,
  SO_INCOMING_CPU,
  SO_INCOMING_NAPI_ID,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_LOCK_FILTER,
  SO_MARK,
  SO_MAX_PACING_RATE,
  SO_MEMINFO,
  SO_NETNS_COOKIE,
  SO_NO_CHECK,
  SO_NOFCS,
  SO_OOBINLINE,
  SO_PASSCRED,
  SO_PASSPIDFD,
  SO_PASSRIGHTS,
  SO_PASSSEC,
  SO_PEEK_OFF,
  SO_PEERCRED,
  SO_PEERGROUPS,
  SO_PEERNAME,
  SO_PEERPIDFD,
  SO_PREFER_BUSY_POLL,
  SO_PRIORITY,
  SO_PROTOCOL,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_RCVLOWAT,
  SO_RCVMARK,
  SO_RCVTIMEO,
  SO_RCVTIMEO_NEW,
  SO_RESERVE_MEM,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_RXQ_OVFL,
  SO_SELECT_ERR_QUEUE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SO_SNDLOWAT,
  SO_SNDTIMEO,
  SO_SNDTIMEO_NEW,
  SO_TIMESTAMP,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMPING,
  SO_TIMESTAMPING_NEW,
  SO_TIMESTAMPNS,
  SO_TIMESTAMPNS_NEW,
  SO_TXREHASH,
  SO_TXTIME,
  SO_TYPE,
  SO_WIFI_STATUS,
  SO_ZEROCOPY,
  SOL_SOCKET,
} from "./abi.ts";
import type { OptionValue } from "./option-value.ts";
import { intOption, type Socket } from "./socket.ts";

/** net.core.{w,r}mem_max. */
const BUFFER_MAX = 4194304;
const SNDBUF_MIN = 4608;
const RCVBUF_MIN = 2304;

/** Time limits are kept in ticks of Linux' usual 250 Hz, rounded up, and shown so. */
const TICK_US = 4000;

/** On or off, kept and shown. */
const SWITCHES = new Set([
  SO_DEBUG,
  SO_REUSEADDR,
  SO_DONTROUTE,
  SO_BROADCAST,
  SO_KEEPALIVE,
  SO_OOBINLINE,
  SO_NO_CHECK,
  SO_REUSEPORT,
  SO_TIMESTAMP,
  SO_TIMESTAMPNS,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMPNS_NEW,
  SO_RXQ_OVFL,
  SO_SELECT_ERR_QUEUE,
  SO_LOCK_FILTER,
  SO_RCVMARK,
]);
/** Numbers, kept and shown. */
const NUMBERS = new Set([SO_PRIORITY, SO_MARK, SO_BUSY_POLL, SO_MAX_PACING_RATE, SO_INCOMING_CPU, SO_ZEROCOPY]);

/** A switch or number that is only kept. */
export function kept(socket: Socket, name: number): number {
  return socket.kept?.get(name) ?? 0;
}

export function setOption(task: Task, socket: Socket, level: number, name: number, value: OptionValue): number {
  const own = socket.setOption(task, level, name, value);
  if (own !== null) return own;
  if (level !== SOL_SOCKET) return -ENOPROTOOPT;
  if (name === SO_BINDTODEVICE) return bindToDevice(socket, value);
  if (value.length < 4) return -EINVAL;
  const number = value.int();
  if (number === null) return -EFAULT;
  switch (name) {
    case SO_TYPE:
    case SO_PROTOCOL:
    case SO_DOMAIN:
    case SO_ERROR:
    case SO_ACCEPTCONN:
    case SO_PEERCRED:
    case SO_SNDLOWAT:
      return -ENOPROTOOPT;
    case SO_BSDCOMPAT:
    case SO_DETACH_FILTER:
      return name === SO_DETACH_FILTER ? -ENOENT : 0;
    case SO_PASSCRED:
    case SO_PASSPIDFD:
    case SO_PASSSEC:
    case SO_PASSRIGHTS:
    case SO_PEEK_OFF:
      return -EOPNOTSUPP;
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
      if (!capable(task.cred, CAP_NET_ADMIN)) return -EPERM;
      setBuffer(socket, name === SO_SNDBUFFORCE, Math.max(0, number));
      return 0;
    case SO_SNDBUF:
    case SO_RCVBUF:
      // Compared as unsigned: a negative size is a huge one.
      setBuffer(socket, name === SO_SNDBUF, number >>> 0);
      return 0;
    case SO_BUF_LOCK:
      if (number & ~3) return -EINVAL;
      socket.bufLock = number;
      return 0;
    case SO_LINGER: {
      if (value.length < 8) return -EINVAL;
      const bytes = value.bytes(8);
      if (bytes === null) return -EFAULT;
      const view = new DataView(bytes.buffer);
      socket.linger = { on: view.getInt32(0, true) !== 0, seconds: view.getInt32(4, true) };
      return 0;
    }
    case SO_RCVLOWAT:
      socket.rcvlowat = number < 0 ? 0x7fffffff : number || 1;
      return 0;
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
      return setTimeout(socket, name === SO_RCVTIMEO || name === SO_RCVTIMEO_NEW, value);
    case SO_BINDTOIFINDEX:
      if (number < 0 || number > 1) return -ENODEV;
      keep(socket, name, number);
      return 0;
    case SO_PRIORITY:
      if ((number < 0 || number > 6) && !capable(task.cred, CAP_NET_ADMIN)) return -EPERM;
      break;
    case SO_MARK:
    case SO_RCVMARK:
      if (!capable(task.cred, CAP_NET_ADMIN)) return -EPERM;
      break;
    case SO_DEBUG:
      if (number !== 0 && !capable(task.cred, CAP_NET_ADMIN)) return -EACCES;
      break;
    case SO_ZEROCOPY:
      if (socket.family === AF_UNIX) return -EOPNOTSUPP;
      if (number < 0 || number > 1) return -EINVAL;
      break;
    case SO_REUSEPORT:
      if (number !== 0 && socket.family === AF_UNIX) return -EOPNOTSUPP;
      break;
  }
  if (SWITCHES.has(name)) keep(socket, name, number !== 0 ? 1 : 0);
  else if (NUMBERS.has(name)) keep(socket, name, number);
  else return -ENOPROTOOPT;
  return 0;
}

function keep(socket: Socket, name: number, value: number): void {
  socket.kept ??= new Map();
  socket.kept.set(name, value);
}

function setBuffer(socket: Socket, send: boolean, size: number): void {
  const doubled = Math.min(size, BUFFER_MAX) * 2;
  if (send) socket.sndbuf = Math.max(doubled, SNDBUF_MIN);
  else socket.rcvbuf = Math.max(doubled, RCVBUF_MIN);
  socket.bufLock |= send ? 1 : 2;
  socket.onBufferChange();
}

function setTimeout(socket: Socket, receive: boolean, value: OptionValue): number {
  if (value.length < 16) return -EINVAL;
  const bytes = value.bytes(16);
  if (bytes === null) return -EFAULT;
  const view = new DataView(bytes.buffer);
  const sec = getS64(view, 0);
  const usec = getS64(view, 8);
  if (usec < 0 || usec >= 1000000) return -EDOM;
  let ns = sec * 1e9 + Math.ceil(usec / TICK_US) * TICK_US * 1000;
  if (sec < 0) ns = 0;
  else if (ns === 0) ns = Number.POSITIVE_INFINITY;
  if (receive) socket.readTimeoutNs = ns;
  else socket.writeTimeoutNs = ns;
  return 0;
}

/** There is one device, "lo"; an empty name takes the binding off. */
function bindToDevice(socket: Socket, value: OptionValue): number {
  if (value.length < 0) return -EINVAL;
  const bytes = value.bytes(Math.min(value.length, 15));
  if (bytes === null) return -EFAULT;
  const name = Buffer.from(bytes).toString("latin1").split("\0")[0]!;
  const device = socket.kernel.net.stack.deviceByName(name);
  if (name !== "" && device === null) return -ENODEV;
  keep(socket, SO_BINDTOIFINDEX, device?.index ?? 0);
  return 0;
}

/** The value, or -errno. `length` is the room that the guest gives. */
export function getOption(
  task: Task,
  socket: Socket,
  level: number,
  name: number,
  length: number,
): Uint8Array | number {
  const own = socket.getOption(task, level, name, length);
  if (own !== null) return own;
  if (level !== SOL_SOCKET) return -ENOPROTOOPT;
  if (SWITCHES.has(name) || NUMBERS.has(name)) {
    if (name === SO_INCOMING_CPU) return intOption(socket.kept?.get(name) ?? -1);
    if (name === SO_MAX_PACING_RATE && length >= 8) {
      const rate = socket.kept?.get(name) ?? -1;
      return rate === -1 ? new Uint8Array(8).fill(255) : u64Option(rate >>> 0);
    }
    if (name === SO_MAX_PACING_RATE) return intOption(socket.kept?.get(name) ?? -1);
    return intOption(kept(socket, name));
  }
  switch (name) {
    case SO_TYPE:
      return intOption(socket.sockType);
    case SO_DOMAIN:
      return intOption(socket.family);
    case SO_PROTOCOL:
      return intOption(socket.protocol);
    case SO_ERROR:
      return intOption(-socket.takeError());
    case SO_ACCEPTCONN:
      return intOption(socket.listening ? 1 : 0);
    case SO_SNDBUF:
      return intOption(socket.sndbuf);
    case SO_RCVBUF:
      return intOption(socket.rcvbuf);
    case SO_BUF_LOCK:
      return intOption(socket.bufLock);
    case SO_RCVLOWAT:
      return intOption(socket.rcvlowat);
    case SO_SNDLOWAT:
      return intOption(1);
    case SO_BSDCOMPAT:
    case SO_INCOMING_NAPI_ID:
    case SO_WIFI_STATUS:
    case SO_NOFCS:
    case SO_PREFER_BUSY_POLL:
    case SO_RESERVE_MEM:
      return intOption(0);
    case SO_TIMESTAMPING:
    case SO_TIMESTAMPING_NEW:
    case SO_TXTIME:
      return new Uint8Array(8);
    case SO_PASSCRED:
    case SO_PASSPIDFD:
    case SO_PASSSEC:
    case SO_PASSRIGHTS:
      return -EOPNOTSUPP;
    case SO_BPF_EXTENSIONS:
      return intOption(64);
    case SO_TXREHASH:
      return socket.protocol === IPPROTO_TCP ? intOption(1) : -EOPNOTSUPP;
    case SO_ATTACH_FILTER:
      return new Uint8Array(0);
    case SO_PEERGROUPS:
    case SO_PEERPIDFD:
      return -ENODATA;
    case SO_BINDTOIFINDEX:
      return intOption(kept(socket, name));
    case SO_BINDTODEVICE: {
      const device = socket.kernel.net.stack.deviceByIndex(kept(socket, SO_BINDTOIFINDEX));
      if (device === null) return new Uint8Array(0);
      if (length < 16) return -EINVAL;
      return Uint8Array.from(Buffer.from(`${device.name}\0`));
    }
    case SO_LINGER: {
      const bytes = new Uint8Array(8);
      const view = new DataView(bytes.buffer);
      view.setInt32(0, socket.linger?.on ? 1 : 0, true);
      view.setInt32(4, socket.linger?.seconds ?? 0, true);
      return bytes;
    }
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
      return timeoutBytes(socket.readTimeoutNs);
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
      return timeoutBytes(socket.writeTimeoutNs);
    case SO_PEERCRED: {
      // Families without credentials: nobody.
      return new Uint8Array(Int32Array.of(0, -1, -1).buffer);
    }
    case SO_PEERNAME: {
      const name = socket.getName(true);
      if (typeof name === "number") return -ENOTCONN;
      return name.length < length ? -EINVAL : name;
    }
    case SO_COOKIE:
      return length < 8 ? -EINVAL : u64Option(socket.serial);
    case SO_NETNS_COOKIE:
      return length !== 8 ? -EINVAL : u64Option(1);
    case SO_MEMINFO:
      return new Uint8Array(Uint32Array.of(0, socket.rcvbuf, 0, socket.sndbuf, 0, 0, 0, 0, 0).buffer);
    case SO_PEEK_OFF:
      return intOption(-1);
    default:
      return -ENOPROTOOPT;
  }
}

function timeoutBytes(ns: number): Uint8Array {
  const bytes = new Uint8Array(16);
  if (ns === Number.POSITIVE_INFINITY) return bytes;
  const view = new DataView(bytes.buffer);
  setU64(view, 0, Math.floor(ns / 1e9));
  setU64(view, 8, Math.floor((ns % 1e9) / 1000));
  return bytes;
}

function u64Option(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  setU64(new DataView(bytes.buffer), 0, value);
  return bytes;
}
