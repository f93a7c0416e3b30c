import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, openSync, readdirSync } from "node:fs";
import type { Kernel } from "../kernel/kernel.ts";
import { closeFd, listen, recvmsg, sendmsg, socketpair, unixBind, unixConnect, unixSocket } from "../native/host.ts";
import { HostPoller } from "../native/poller.ts";
import { type Answer, ControlServer } from "./control.ts";
import { MESSAGE_MAX, MessageReader } from "./wire.ts";

const SOCK_STREAM = 1;
const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;

let poller: HostPoller;
let server: ControlServer;
let warnings: string[];
let closed: number;
let received: number[][];
const ours: number[] = [];

beforeEach(() => {
  poller = new HostPoller();
  warnings = [];
  closed = 0;
  received = [];
  const log = { warn: (text: string) => warnings.push(text) };
  server = new ControlServer({ poller, log } as unknown as Kernel);
  server.methods.set("echo", (params: unknown) => ({ params }));
  server.methods.set("big", () => ({ text: "y".repeat(4 << 20) }));
  server.methods.set("keep", (_params: never, _fds: number[], _answer: Answer) => undefined);
  server.methods.set("take", (_params: never, fds: number[]) => {
    received.push(fds.splice(0));
    return {};
  });
  server.methods.set("throw", () => {
    throw new Error("no");
  });
});
afterEach(() => {
  for (const fd of ours.splice(0)) closeFd(fd);
  // The server's ends see that.
  turn(10);
  poller.close();
});

/** Turns of the kernel's loop. None of them may wait. */
function turn(count = 50): void {
  for (let i = 0; i < count; i++) poller.dispatch();
}
function client(): number {
  const pair = new Int32Array(2);
  socketpair(SOCK_STREAM, pair);
  ours.push(pair[0]!);
  server.serve(pair[1]!).onClosed.push(() => closed++);
  return pair[0]!;
}
const bytesOf = (message: unknown): Buffer => {
  const body = Buffer.from(typeof message === "string" ? message : JSON.stringify(message));
  const header = Buffer.alloc(4);
  header.writeUInt32LE(body.length);
  return Buffer.concat([header, body]);
};
const send = (fd: number, bytes: Buffer, fds: number[] = []) =>
  sendmsg(fd, bytes, bytes.length, Int32Array.from(fds), fds.length, MSG_DONTWAIT);
/** What has come for a client by now. */
function answers(fd: number): unknown[] {
  const reader = new MessageReader();
  while (reader.fill(fd, false) === 1) turn(1);
  const found: unknown[] = [];
  for (let next = reader.next(); next !== null; next = reader.next()) found.push(next.message);
  return found;
}
/** A bystander is served, whatever others do. */
function bystanderIsServed(): void {
  const fd = client();
  send(fd, bytesOf({ seq: 7, method: "echo", params: "hello" }));
  const start = performance.now();
  turn(5);
  expect(answers(fd)).toEqual([{ seq: 7, result: { params: "hello" } }]);
  expect(performance.now() - start).toBeLessThan(200);
}

test("a caller that sends nothing, or half a message", () => {
  client();
  const half = client();
  const whole = bytesOf({ seq: 1, method: "echo", params: 1 });
  send(half, whole.subarray(0, 2));
  turn();
  bystanderIsServed();
  send(half, whole.subarray(2, 9));
  turn();
  bystanderIsServed();
  send(half, whole.subarray(9));
  turn();
  expect(answers(half)).toEqual([{ seq: 1, result: { params: 1 } }]);
  expect(closed).toBe(0);
});

for (const [what, bytes] of [
  ["no JSON", bytesOf("{nonsense")],
  ["an empty message", bytesOf("")],
  ["null", bytesOf("null")],
  ["a number", bytesOf("3")],
  ["no seq", bytesOf({ method: "echo" })],
  ["a seq that is none", bytesOf({ seq: "x", method: "echo" })],
  ["descriptors that did not come", bytesOf({ seq: 1, method: "echo", fds: 3 })],
  ["a negative number of descriptors", bytesOf({ seq: 1, method: "echo", fds: -1 })],
  ["a text for descriptors", bytesOf({ seq: 1, method: "echo", fds: "2" })],
  ["a message of a gigabyte", Buffer.from([0, 0, 0, 0x40])],
  [
    "one byte more than a message may have",
    (() => {
      const header = Buffer.alloc(4);
      header.writeUInt32LE(MESSAGE_MAX + 1);
      return header;
    })(),
  ],
  ["noise", Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919 + 13) & 0xff))],
] as const)
  test(`cut off: ${what}`, () => {
    const fd = client();
    send(fd, bytes);
    turn();
    expect(closed).toBe(1);
    expect(warnings.length).toBe(1);
    expect(recvmsg(fd, Buffer.alloc(8), 8, new Int32Array(1), new Int32Array([1]), MSG_DONTWAIT)).toBeLessThanOrEqual(
      0,
    );
    bystanderIsServed();
  });

test("a method that is none, one that throws, parameters that are none: answers", () => {
  const fd = client();
  send(fd, bytesOf({ seq: 1, method: "no such" }));
  send(fd, bytesOf({ seq: 2 }));
  send(fd, bytesOf({ seq: 3, method: "throw" }));
  send(fd, bytesOf({ seq: 4, method: { a: 1 } }));
  send(fd, bytesOf({ seq: 5, method: "constructor" }));
  send(fd, bytesOf({ seq: 6, method: "keep" }));
  send(fd, bytesOf({ seq: 7, method: "ping" }));
  turn();
  const found = answers(fd) as { seq: number; error?: { errno: number } }[];
  expect(found.map((each) => [each.seq, each.error?.errno])).toEqual([
    [1, 38],
    [2, 38],
    [3, 0],
    [4, 38],
    [5, 38],
    [6, undefined],
    [7, undefined],
  ]);
  expect(found[5]).toEqual({ seq: 6, later: true } as never);
  expect(closed).toBe(0);
});

test("a caller that does not read its answers is kept waiting, and costs one answer", () => {
  const fd = client();
  const question = bytesOf({ seq: 1, method: "big" });
  for (let sent = 0; sent < 30; sent++) {
    if (send(fd, question) === -EAGAIN) break;
    turn(2);
  }
  const before = process.memoryUsage().rss;
  turn(200);
  bystanderIsServed();
  expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
  // It is not cut off as long as what is kept is bounded: it gets all when it reads.
  expect(closed).toBe(0);
  const found = answers(fd);
  expect(found.length).toBeGreaterThan(1);
});

test("answers that come later and are not read: cut off at a bound", () => {
  const kept: Answer[] = [];
  server.methods.set("keep", (_params: never, _fds: number[], answer: Answer) => {
    kept.push(answer);
    return undefined;
  });
  const fd = client();
  for (let i = 0; i < 40; i++) send(fd, bytesOf({ seq: i, method: "keep" }));
  turn();
  expect(kept.length).toBe(40);
  for (const each of kept) each.resolve({ text: "z".repeat(1 << 20) });
  expect(closed).toBe(1);
  expect(kept.every((each) => each.gone)).toBe(true);
  expect(warnings.join()).toContain("does not read its answers");
  bystanderIsServed();
});

test("a flood of requests is served in portions", () => {
  const fd = client();
  const flood = Buffer.concat(Array.from({ length: 1000 }, (_, seq) => bytesOf({ seq, method: "echo", params: seq })));
  send(fd, flood);
  poller.dispatch();
  bystanderIsServed();
  turn(500);
  expect(answers(fd).length).toBe(1000);
});

test("a large message in single bytes costs little", () => {
  const fd = client();
  const whole = bytesOf({ seq: 1, method: "echo", params: "x".repeat(20_000) });
  const start = performance.now();
  for (let at = 0; at < whole.length; at++) {
    send(fd, whole.subarray(at, at + 1));
    poller.dispatch();
  }
  turn();
  expect(answers(fd).length).toBe(1);
  expect(performance.now() - start).toBeLessThan(5000);
});

test("descriptors that nobody takes are closed", () => {
  const count = () => readdirSync("/proc/self/fd").length;
  const before = count();
  const file = openSync("/dev/null", "r");
  const fd = client();
  // In a message that takes none, in one that is refused, in one that names fewer, in half a message.
  send(fd, bytesOf({ seq: 1, method: "echo", fds: 2 }), [file, file]);
  send(fd, bytesOf({ seq: 2, method: "no such", fds: 1 }), [file]);
  send(fd, bytesOf({ seq: 3, method: "take", fds: 1 }), [file]);
  send(fd, bytesOf({ seq: 4, method: "echo" }), [file, file, file]);
  send(fd, Buffer.from([1, 0]), [file]);
  turn();
  expect(received.length).toBe(1);
  for (const each of received.flat()) closeFd(each);
  closeFd(ours.pop()!);
  turn();
  closeSync(file);
  expect(count()).toBe(before);
});

test("too many descriptors without a message: cut off", () => {
  const file = openSync("/dev/null", "r");
  const before = readdirSync("/proc/self/fd").length;
  const fd = client();
  for (let i = 0; i < 5; i++) {
    send(
      fd,
      Buffer.from([i === 0 ? 200 : 0]),
      Array.from({ length: 30 }, () => file),
    );
    turn(2);
  }
  expect(closed).toBe(1);
  closeFd(ours.pop()!);
  expect(readdirSync("/proc/self/fd").length).toBe(before);
  closeSync(file);
});

test("more connections than there may be: the longest idle one makes room, one that waits stays", () => {
  const listening = unixSocket(SOCK_STREAM);
  const name = Buffer.from(`\0runts-control-test-${process.pid}`);
  expect(unixBind(listening, name, name.length)).toBe(0);
  listen(listening, 64);
  server.listen(listening);
  const connect = () => {
    const fd = unixSocket(SOCK_STREAM);
    ours.push(fd);
    expect(unixConnect(fd, name, name.length)).toBe(0);
    turn(2);
    return fd;
  };
  const waiting = connect();
  send(waiting, bytesOf({ seq: 1, method: "keep" }));
  turn(2);
  for (let i = 0; i < 400; i++) connect();
  const last = connect();
  send(last, bytesOf({ seq: 2, method: "echo", params: 2 }));
  turn();
  expect(answers(last)).toEqual([{ seq: 2, result: { params: 2 } }]);
  expect(answers(waiting)).toEqual([{ seq: 1, later: true }]);
  send(waiting, bytesOf({ seq: 3, method: "echo", params: 3 }));
  turn();
  expect(answers(waiting)).toEqual([{ seq: 3, result: { params: 3 } }]);
  const gone = ours.filter((fd) => new MessageReader().fill(fd, false) === 0);
  expect(gone.length).toBeGreaterThan(100);
  closeFd(listening);
});
