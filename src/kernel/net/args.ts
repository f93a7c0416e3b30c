/** Argument types of socket calls: families, types, flags and addresses, as strace prints them. */

import { decodeName } from "../abi/bytes.ts";
import { addr, flags, inBuffer, oneOf } from "../args.ts";
import { quote } from "../strace/quote.ts";
import type { ArgType } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import * as abi from "./abi.ts";
import { AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCKADDR_MAX } from "./abi.ts";
import { formatIp, ipFromBytes } from "./inet/ip.ts";

export const domainArg = oneOf({ AF_UNSPEC: 0, AF_UNIX: 1, AF_INET: 2, AF_INET6: 10, AF_NETLINK: 16, AF_PACKET: 17 });

const TYPES = ["0", "SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW", "SOCK_RDM", "SOCK_SEQPACKET"];
const TYPE_FLAGS = flags({ SOCK_CLOEXEC, SOCK_NONBLOCK });

export const socketTypeArg: ArgType<number> = {
  kind: "socketType",
  decode: (task, i) => task.argLo(i) | 0,
  format(value, task, call, result) {
    const type = TYPES[value & 15] ?? String(value & 15);
    return value & ~15 ? `${type}|${TYPE_FLAGS.format!((value & ~15) >>> 0, task, call, result)}` : type;
  },
};

export const messageFlags = flags({
  "0": 0,
  MSG_OOB: 1,
  MSG_PEEK: 2,
  MSG_DONTROUTE: 4,
  MSG_CTRUNC: 8,
  MSG_TRUNC: 0x20,
  MSG_DONTWAIT: 0x40,
  MSG_EOR: 0x80,
  MSG_WAITALL: 0x100,
  MSG_CONFIRM: 0x800,
  MSG_ERRQUEUE: 0x2000,
  MSG_NOSIGNAL: 0x4000,
  MSG_MORE: 0x8000,
  MSG_WAITFORONE: 0x10000,
  MSG_FASTOPEN: 0x20000000,
  MSG_CMSG_CLOEXEC: 0x40000000,
});

export const optionLevel = oneOf({
  SOL_IP: 0,
  SOL_SOCKET: 1,
  SOL_TCP: 6,
  SOL_UDP: 17,
  SOL_IPV6: 41,
  SOL_UDPLITE: 136,
  SOL_NETLINK: 270,
});

/** {sa_family=AF_INET, …} */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length < 2) return `{sa_data=${quote(Buffer.from(bytes).toString("latin1"), true)}}`;
  const family = bytes[0]! | (bytes[1]! << 8);
  const port = bytes.length >= 4 ? (bytes[2]! << 8) | bytes[3]! : 0;
  if (family === AF_UNIX) {
    if (bytes.length === 2) return "{sa_family=AF_UNIX}";
    if (bytes[2] === 0) return `{sa_family=AF_UNIX, sun_path=@${quote(decodeName(bytes, 3))}}`;
    const nul = bytes.indexOf(0, 2);
    return `{sa_family=AF_UNIX, sun_path=${quote(decodeName(bytes, 2, nul < 0 ? bytes.length : nul))}}`;
  }
  if (family === AF_INET && bytes.length >= 8)
    return `{sa_family=AF_INET, sin_port=htons(${port}), sin_addr=inet_addr("${formatIp(ipFromBytes(bytes, 4, 4))}")}`;
  if (family === AF_INET6 && bytes.length >= 24)
    return `{sa_family=AF_INET6, sin6_port=htons(${port}), sin6_addr="${formatIp(ipFromBytes(bytes, 8, 16))}"}`;
  if (family === AF_NETLINK && bytes.length >= 12) {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return `{sa_family=AF_NETLINK, nl_pid=${view.getUint32(4, true)}, nl_groups=${view.getUint32(8, true)}}`;
  }
  return `{sa_family=${family}, …}`;
}

function show(task: Task, at: number, length: number): string {
  if (at === 0) return "NULL";
  const bytes = new Uint8Array(Math.max(0, Math.min(length, SOCKADDR_MAX)));
  return task.mm.readBytes(at, bytes) < 0 ? `0x${at.toString(16)}` : formatAddress(bytes);
}

/** A socket address that the kernel reads; its size is the argument named `lengthArg`. */
export function inAddress(lengthArg: string): ArgType<number> {
  return {
    ...inBuffer(lengthArg),
    kind: "inAddress",
    format: (value, task, call) => show(task, value, Number(call[lengthArg])),
  };
}

/** A socket address that the kernel writes; `lengthArg` names the argument that points to its size. */
export function outAddress(lengthArg: string): ArgType<number> {
  return {
    kind: "outAddress",
    out: true,
    decode: (task, i) => task.arg(i),
    format(value, task, call, result) {
      if (result < 0 || value === 0) return addr.format!(value, task, call, result);
      const length = task.mm.readU32(Number(call[lengthArg]));
      return length < 0 ? addr.format!(value, task, call, result) : show(task, value, length);
    },
  };
}

/** A pointer to an int that the kernel reads and writes. */
export const lengthPointer: ArgType<number> = {
  kind: "lengthPointer",
  out: true,
  decode: (task, i) => task.arg(i),
  format(value, task, call, result) {
    const length = value === 0 ? -1 : task.mm.readU32(value);
    return length < 0 ? addr.format!(value, task, call, result) : `[${length}]`;
  },
};

/** Two descriptors that the kernel writes. */
export const descriptorPair: ArgType<number> = {
  kind: "descriptorPair",
  out: true,
  decode: (task, i) => task.arg(i),
  format(value, task, call, result) {
    const view = result < 0 ? null : task.mm.readStruct(value, 8);
    if (view === null) return addr.format!(value, task, call, result);
    return `[${view.getInt32(0, true)}, ${view.getInt32(4, true)}]`;
  },
};

/** An option value: an int as a number, others as an address. `size` tells how long it is. */
function optionValue(size: (task: Task, call: Readonly<Record<string, unknown>>) => number, out: boolean) {
  return (value: number, task: Task, call: Readonly<Record<string, unknown>>, result: number): string => {
    const view = (out && result < 0) || size(task, call) !== 4 ? null : task.mm.readStruct(value, 4);
    return view === null ? addr.format!(value, task, call, result) : `[${view.getInt32(0, true)}]`;
  };
}
export const inOption: ArgType<number> = {
  ...inBuffer("optlen"),
  kind: "inOption",
  format: optionValue((_task, call) => Number(call["optlen"]), false),
};
export const outOption: ArgType<number> = {
  kind: "outOption",
  out: true,
  decode: (task, i) => task.arg(i),
  format: optionValue((task, call) => task.mm.readU32(Number(call["optlen"])), true),
};

const SOCKET_OPTIONS = new Map<number, string>(
  Object.entries(abi).flatMap(([name, value]) =>
    name.startsWith("SO_") && typeof value === "number" ? [[value, name] as const] : [],
  ),
);
/** An option's number, by name at the socket level. */
export const optionName: ArgType<number> = {
  kind: "optionName",
  decode: (task, i) => task.argLo(i) | 0,
  format: (value, _task, call) => (call["level"] === abi.SOL_SOCKET && SOCKET_OPTIONS.get(value)) || String(value),
};
