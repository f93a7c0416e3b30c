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

/** A switch or number that is only kept. */
export function kept(socket: Socket, name: number): number {
  return socket.kept?.get(name) ?? 0;
}

interface Option {
  /** `number`: the first four bytes of `value`, signed. 0 or -errno; without: it cannot be set. */
  set?(socket: Socket, number: number, task: Task, value: OptionValue): number;
  /** The value or -errno, with room for `length` bytes; without: it cannot be read. */
  get?(socket: Socket, length: number): Uint8Array | number;
}
type Row = readonly [name: number, option: Option];

/** May it be set to that? 0 or -errno. */
type Check = (socket: Socket, number: number, task: Task) => number;
const always: Check = () => 0;
const byAdministrator: Check = (_socket, _number, task) => (capable(task.cred, CAP_NET_ADMIN) ? 0 : -EPERM);

/** On or off, kept and shown. */
const onOff = (name: number, check = always): Row => [
  name,
  {
    set: (socket, number, task) => check(socket, number, task) || keep(socket, name, number !== 0 ? 1 : 0),
    get: (socket) => intOption(kept(socket, name)),
  },
];
/** A number, kept and shown; `unset` is what it shows before. */
const numeric = (name: number, check = always, unset = 0): Row => [
  name,
  {
    set: (socket, number, task) => check(socket, number, task) || keep(socket, name, number),
    get: (socket) => intOption(socket.kept?.get(name) ?? unset),
  },
];
const readOnly = (name: number, get: (socket: Socket) => number): Row => [
  name,
  { get: (socket) => intOption(get(socket)) },
];
const bufferSize = (name: number, forced: number, send: boolean): readonly Row[] => [
  [
    name,
    {
      // Compared as unsigned: a negative size is a huge one.
      set: (socket, number) => setBuffer(socket, send, number >>> 0),
      get: (socket) => intOption(send ? socket.sndbuf : socket.rcvbuf),
    },
  ],
  [
    forced,
    {
      set: (socket, number, task) =>
        byAdministrator(socket, number, task) || setBuffer(socket, send, Math.max(0, number)),
    },
  ],
];
const timeLimit = (name: number, receive: boolean): Row => [
  name,
  {
    set: (socket, _number, _task, value) => setTimeout(socket, receive, value),
    get: (socket) => timeoutBytes(receive ? socket.readTimeoutNs : socket.writeTimeoutNs),
  },
];
/** Of families that have it, which answer for themselves. */
const unsupported = (name: number): Row => [name, { set: () => -EOPNOTSUPP, get: () => -EOPNOTSUPP }];
const zeros = (name: number, bytes: number): Row => [name, { get: () => new Uint8Array(bytes) }];

const linger: Option = {
  set(socket, _number, _task, value) {
    if (value.length < 8) return -EINVAL;
    const bytes = value.bytes(8);
    if (bytes === null) return -EFAULT;
    const view = new DataView(bytes.buffer);
    socket.linger = { on: view.getInt32(0, true) !== 0, seconds: view.getInt32(4, true) };
    return 0;
  },
  get: ({ linger }) => new Uint8Array(Int32Array.of(linger?.on ? 1 : 0, linger?.seconds ?? 0).buffer),
};

const maxPacingRate: Option = {
  set: (socket, number) => keep(socket, SO_MAX_PACING_RATE, number),
  get(socket, length) {
    const rate = socket.kept?.get(SO_MAX_PACING_RATE) ?? -1;
    if (length < 8) return intOption(rate);
    return rate === -1 ? new Uint8Array(8).fill(255) : u64Option(rate >>> 0);
  },
};

const OPTIONS: ReadonlyMap<number, Option> = new Map<number, Option>([
  readOnly(SO_TYPE, (socket) => socket.sockType),
  readOnly(SO_DOMAIN, (socket) => socket.family),
  readOnly(SO_PROTOCOL, (socket) => socket.protocol),
  readOnly(SO_ERROR, (socket) => -socket.takeError()),
  readOnly(SO_ACCEPTCONN, (socket) => (socket.listening ? 1 : 0)),
  onOff(SO_DEBUG, (_socket, number, task) => (number !== 0 && !capable(task.cred, CAP_NET_ADMIN) ? -EACCES : 0)),
  onOff(SO_REUSEADDR),
  onOff(SO_REUSEPORT, ({ family }, number) => (number !== 0 && family === AF_UNIX ? -EOPNOTSUPP : 0)),
  onOff(SO_DONTROUTE),
  onOff(SO_BROADCAST),
  onOff(SO_KEEPALIVE),
  onOff(SO_OOBINLINE),
  onOff(SO_NO_CHECK),
  onOff(SO_RXQ_OVFL),
  onOff(SO_SELECT_ERR_QUEUE),
  onOff(SO_LOCK_FILTER),
  onOff(SO_TIMESTAMP),
  onOff(SO_TIMESTAMPNS),
  onOff(SO_TIMESTAMP_NEW),
  onOff(SO_TIMESTAMPNS_NEW),
  zeros(SO_TIMESTAMPING, 8),
  zeros(SO_TIMESTAMPING_NEW, 8),
  zeros(SO_TXTIME, 8),
  onOff(SO_RCVMARK, byAdministrator),
  numeric(SO_MARK, byAdministrator),
  numeric(SO_PRIORITY, (_socket, number, task) =>
    (number < 0 || number > 6) && !capable(task.cred, CAP_NET_ADMIN) ? -EPERM : 0,
  ),
  numeric(SO_BUSY_POLL),
  numeric(SO_INCOMING_CPU, always, -1),
  numeric(SO_ZEROCOPY, ({ family }, number) =>
    family === AF_UNIX ? -EOPNOTSUPP : number < 0 || number > 1 ? -EINVAL : 0,
  ),
  [SO_MAX_PACING_RATE, maxPacingRate],
  ...bufferSize(SO_SNDBUF, SO_SNDBUFFORCE, true),
  ...bufferSize(SO_RCVBUF, SO_RCVBUFFORCE, false),
  [
    SO_BUF_LOCK,
    {
      set(socket, number) {
        if (number & ~3) return -EINVAL;
        socket.bufLock = number;
        return 0;
      },
      get: (socket) => intOption(socket.bufLock),
    },
  ],
  [SO_LINGER, linger],
  [
    SO_RCVLOWAT,
    {
      set(socket, number) {
        socket.rcvlowat = number < 0 ? 0x7fffffff : number || 1;
        return 0;
      },
      get: (socket) => intOption(socket.rcvlowat),
    },
  ],
  readOnly(SO_SNDLOWAT, () => 1),
  timeLimit(SO_RCVTIMEO, true),
  timeLimit(SO_RCVTIMEO_NEW, true),
  timeLimit(SO_SNDTIMEO, false),
  timeLimit(SO_SNDTIMEO_NEW, false),
  numeric(SO_BINDTOIFINDEX, ({ kernel }, number) =>
    number !== 0 && kernel.net.stack.deviceByIndex(number) === null ? -ENODEV : 0,
  ),
  [SO_BINDTODEVICE, { get: boundDevice }],
  [SO_BSDCOMPAT, { set: () => 0, get: () => intOption(0) }],
  zeros(SO_INCOMING_NAPI_ID, 4),
  zeros(SO_WIFI_STATUS, 4),
  zeros(SO_NOFCS, 4),
  zeros(SO_PREFER_BUSY_POLL, 4),
  zeros(SO_RESERVE_MEM, 4),
  zeros(SO_ATTACH_FILTER, 0),
  [SO_DETACH_FILTER, { set: () => -ENOENT }],
  readOnly(SO_BPF_EXTENSIONS, () => 64),
  [SO_TXREHASH, { get: ({ protocol }) => (protocol === IPPROTO_TCP ? intOption(1) : -EOPNOTSUPP) }],
  unsupported(SO_PASSCRED),
  unsupported(SO_PASSPIDFD),
  unsupported(SO_PASSSEC),
  unsupported(SO_PASSRIGHTS),
  [SO_PEEK_OFF, { set: () => -EOPNOTSUPP, get: () => intOption(-1) }],
  // Families without credentials: nobody.
  [SO_PEERCRED, { get: () => new Uint8Array(Int32Array.of(0, -1, -1).buffer) }],
  [SO_PEERGROUPS, { get: () => -ENODATA }],
  [SO_PEERPIDFD, { get: () => -ENODATA }],
  [
    SO_PEERNAME,
    {
      get(socket, length) {
        const name = socket.getName(true);
        if (typeof name === "number") return -ENOTCONN;
        return name.length < length ? -EINVAL : name;
      },
    },
  ],
  [SO_COOKIE, { get: (socket, length) => (length < 8 ? -EINVAL : u64Option(socket.serial)) }],
  [SO_NETNS_COOKIE, { get: (_socket, length) => (length !== 8 ? -EINVAL : u64Option(1)) }],
  [
    SO_MEMINFO,
    { get: ({ rcvbuf, sndbuf }) => new Uint8Array(Uint32Array.of(0, rcvbuf, 0, sndbuf, 0, 0, 0, 0, 0).buffer) },
  ],
]);

export function setOption(task: Task, socket: Socket, level: number, name: number, value: OptionValue): number {
  const result = setAndKeep(task, socket, level, name, value);
  return result < 0 ? result : socket.optionSet(level, name, task);
}

function setAndKeep(task: Task, socket: Socket, level: number, name: number, value: OptionValue): number {
  const own = socket.setOption(task, level, name, value);
  if (own !== null) return own;
  if (level !== SOL_SOCKET) return -ENOPROTOOPT;
  if (name === SO_BINDTODEVICE) return bindToDevice(socket, value);
  if (value.length < 4) return -EINVAL;
  const number = value.int();
  if (number === null) return -EFAULT;
  return OPTIONS.get(name)?.set?.(socket, number, task, value) ?? -ENOPROTOOPT;
}

function keep(socket: Socket, name: number, value: number): number {
  socket.kept ??= new Map();
  socket.kept.set(name, value);
  return 0;
}

function setBuffer(socket: Socket, send: boolean, size: number): number {
  const doubled = Math.min(size, BUFFER_MAX) * 2;
  if (send) socket.sndbuf = Math.max(doubled, SNDBUF_MIN);
  else socket.rcvbuf = Math.max(doubled, RCVBUF_MIN);
  socket.bufLock |= send ? 1 : 2;
  socket.onBufferChange();
  return 0;
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

/** An empty name takes the binding off. */
function bindToDevice(socket: Socket, value: OptionValue): number {
  if (value.length < 0) return -EINVAL;
  const bytes = value.bytes(Math.min(value.length, 15));
  if (bytes === null) return -EFAULT;
  const name = Buffer.from(bytes).toString("latin1").split("\0")[0]!;
  const device = socket.kernel.net.stack.deviceByName(name);
  if (name !== "" && device === null) return -ENODEV;
  return keep(socket, SO_BINDTOIFINDEX, device?.index ?? 0);
}
function boundDevice(socket: Socket, length: number): Uint8Array | number {
  const device = socket.kernel.net.stack.deviceByIndex(kept(socket, SO_BINDTOIFINDEX));
  if (device === null) return new Uint8Array(0);
  if (length < 16) return -EINVAL;
  return Uint8Array.from(Buffer.from(`${device.name}\0`));
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
  return OPTIONS.get(name)?.get?.(socket, length) ?? -ENOPROTOOPT;
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
