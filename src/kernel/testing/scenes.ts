/** Pieces of scripts for guests that do things with files: strings in and out, descriptors, waiting for others to sleep. */
import { RUN_BLOCKED } from "../task/task.ts";
import { type Guest, MEM, type Part } from "./scripted-guest.ts";

/** Places for these pieces; each guest process has its own, threads share them. */
const NUMBERS = MEM.free + 0x8000;
const BYTES = MEM.free + 0x9000;
const BYTES_MAX = 0x4000;
const HEADER = MEM.free + 0x7000;

export function put(g: Guest, at: number, text: string | Uint8Array): number {
  const bytes = typeof text === "string" ? Buffer.from(text, "latin1") : text;
  g.ctx.addressSpace.write(at, bytes, 0, bytes.length);
  return bytes.length;
}
export function get(g: Guest, at: number, length: number): string {
  const bytes = new Uint8Array(length);
  g.ctx.addressSpace.read(at, bytes, 0, length);
  return Buffer.from(bytes).toString("latin1");
}

/** What is read, or the negative result. */
export function* read(g: Guest, fd: number, length = 1000): Part<string | number> {
  const n = yield* g.sys("read", fd, BYTES, length);
  return n < 0 ? n : get(g, BYTES, n);
}
export function* write(g: Guest, fd: number, text: string): Part<number> {
  return yield* g.sys("write", fd, BYTES, put(g, BYTES, text.slice(0, BYTES_MAX)));
}
export function* pair(g: Guest, name: "pipe2" | "socketpair", ...args: number[]): Part<[number, number]> {
  const result = yield* g.sys(name, ...(name === "pipe2" ? [NUMBERS, ...args] : [...args, NUMBERS]));
  if (result < 0) throw new Error(`${name} failed: ${result}`);
  return [g.u32(NUMBERS), g.u32(NUMBERS + 4)];
}

/** A message with a descriptor. */
export function* sendDescriptor(g: Guest, socket: number, text: string, fd: number): Part<number> {
  messageHeader(g, put(g, BYTES, text), 24);
  g.put64(HEADER + 256, 20);
  g.put32(HEADER + 264, 1);
  g.put32(HEADER + 268, 1);
  g.put32(HEADER + 272, fd);
  return yield* g.sys("sendmsg", socket, HEADER, 0);
}
/** Bytes, and the descriptor that came along or -1; a negative result. */
export function* receiveDescriptor(g: Guest, socket: number): Part<[string, number] | number> {
  messageHeader(g, 100, 64);
  const n = yield* g.sys("recvmsg", socket, HEADER, 0);
  if (n < 0) return n;
  return [get(g, BYTES, n), g.u32(HEADER + 40) >= 20 ? g.u32(HEADER + 272) : -1];
}
function messageHeader(g: Guest, length: number, control: number): void {
  g.put64(HEADER, 0, 0, HEADER + 128, 1, HEADER + 256, control, 0);
  g.put64(HEADER + 128, BYTES, length);
}

/** A socket address of IPv4. */
export function internet(g: Guest, at: number, port: number): number {
  return put(g, at, Uint8Array.of(2, 0, port >> 8, port & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0));
}
export function* portOf(g: Guest, socket: number): Part<number> {
  g.put32(NUMBERS, 16);
  yield* g.sys("getsockname", socket, NUMBERS + 16, NUMBERS);
  const bytes = get(g, NUMBERS + 18, 2);
  return bytes.charCodeAt(0) * 256 + bytes.charCodeAt(1);
}

/** Until so many threads of the kernel wait in calls. */
export function* others(g: Guest, count = 1): Part<void> {
  yield* g.spin(() => [...g.task.kernel.tasks].filter(({ runState }) => runState === RUN_BLOCKED).length >= count);
}
