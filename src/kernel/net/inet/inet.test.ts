import { describe, expect, test } from "bun:test";
import {
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EDESTADDRREQ,
  EINPROGRESS,
  ENETUNREACH,
  ENOTCONN,
  EPIPE,
} from "../../abi/errno.ts";
import { BLOCKED } from "../../syscall.ts";
import { accept4 } from "../../syscalls/accept.ts";
import { bind, getpeername, getsockname, listen } from "../../syscalls/bind.ts";
import { close } from "../../syscalls/close.ts";
import { connect } from "../../syscalls/connect.ts";
import { read } from "../../syscalls/read.ts";
import { recvfrom } from "../../syscalls/recvfrom.ts";
import { sendto } from "../../syscalls/sendto.ts";
import { socket } from "../../syscalls/socket.ts";
import { getsockopt, setsockopt } from "../../syscalls/sockopt.ts";
import { write } from "../../syscalls/write.ts";
import { MEMORY, TaskKit } from "../../testing/task-kit.ts";
import { POLLHUP, POLLIN, POLLOUT, POLLRDHUP } from "../../vfs/file.ts";
import {
  AF_INET,
  AF_INET6,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SO_ERROR,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../abi.ts";
import { formatIp, ipFromBytes, ipToBytes } from "./ip.ts";

const DATA = MEMORY;
const ADDR = MEMORY + 0x180000;
const LEN = MEMORY + 0x180100;

/** sockaddr_in of dotted text. */
function address(kit: TaskKit, ip: string, port: number): number {
  kit.put(
    ADDR,
    Uint8Array.from([AF_INET, 0, port >> 8, port & 255, ...ip.split(".").map(Number), 0, 0, 0, 0, 0, 0, 0, 0]),
  );
  return 16;
}
const make = (kit: TaskKit, type: number): number => kit.call(socket, AF_INET, type, 0);
const bindTo = (kit: TaskKit, fd: number, ip: string, port: number): number =>
  kit.call(bind, fd, ADDR, address(kit, ip, port));
const connectTo = (kit: TaskKit, fd: number, ip: string, port: number): number =>
  kit.call(connect, fd, ADDR, address(kit, ip, port));
const poll = (kit: TaskKit, fd: number): number => kit.task.files.get(fd)!.poll();
const put = (kit: TaskKit, fd: number, text: string): number => kit.call(write, fd, DATA, kit.put(DATA, text));
function take(kit: TaskKit, fd: number, size = 100): string | number {
  const n = kit.call(recvfrom, fd, DATA, size, MSG_DONTWAIT, 0, 0);
  return n < 0 ? n : kit.get(DATA, n);
}
function name(kit: TaskKit, fd: number, peer = false): string | number {
  kit.put32(LEN, 28);
  const result = kit.call(peer ? getpeername : getsockname, fd, ADDR, LEN);
  if (result < 0) return result;
  const bytes = kit.bytes(ADDR, kit.get32(LEN));
  return `${formatIp(ipFromBytes(bytes, 4, 4))}:${(bytes[2]! << 8) | bytes[3]!}`;
}
function option(kit: TaskKit, fd: number, what: number): number {
  kit.put32(LEN, 4);
  expect(kit.call(getsockopt, fd, SOL_SOCKET, what, ADDR, LEN)).toBe(0);
  return kit.get32(ADDR);
}
function listener(kit: TaskKit, port: number, backlog = 5): number {
  const fd = make(kit, SOCK_STREAM);
  expect(bindTo(kit, fd, "127.0.0.1", port)).toBe(0);
  expect(kit.call(listen, fd, backlog)).toBe(0);
  return fd;
}
function connection(kit: TaskKit): [number, number] {
  const l = listener(kit, 7000);
  const c = make(kit, SOCK_STREAM);
  expect(connectTo(kit, c, "127.0.0.1", 7000)).toBe(0);
  const s = kit.call(accept4, l, 0, 0, 0);
  kit.call(close, l);
  return [c, s];
}

describe("addresses", () => {
  const cases: [string, string][] = [
    ["00000000000000000000000000000001", "::1"],
    ["00000000000000000000000000000000", "::"],
    ["20010db8000000000001000000000001", "2001:db8::1:0:0:1"],
    ["20010db8000100000001000000010001", "2001:db8:1:0:1:0:1:1"],
    ["00000000000000000000ffff7f000001", "127.0.0.1"],
  ];
  for (const [hex, text] of cases)
    test(text, () => {
      const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
      const ip = ipFromBytes(bytes, 0, 16);
      expect(formatIp(ip)).toBe(text);
      const back = new Uint8Array(16);
      ipToBytes(ip, back, 0, 16);
      expect(back).toEqual(bytes);
    });
});

describe("TCP", () => {
  test("connect, names, data, end", () => {
    const kit = new TaskKit();
    const [c, s] = connection(kit);
    expect(name(kit, c, true)).toBe("127.0.0.1:7000");
    expect(name(kit, s)).toBe("127.0.0.1:7000");
    expect(name(kit, s, true)).toBe(name(kit, c));
    put(kit, c, "ping");
    expect(take(kit, s)).toBe("ping");
    kit.call(close, c);
    expect(poll(kit, s) & (POLLIN | POLLRDHUP | POLLHUP)).toBe(POLLIN | POLLRDHUP);
    expect(take(kit, s)).toBe("");
    expect(put(kit, s, "x")).toBe(1);
    expect(kit.call(sendto, s, DATA, 1, MSG_NOSIGNAL, 0, 0)).toBe(-EPIPE);
  });

  test("refused: at once when blocking, by SO_ERROR when not", () => {
    const kit = new TaskKit();
    expect(connectTo(kit, make(kit, SOCK_STREAM), "127.0.0.1", 7001)).toBe(-ECONNREFUSED);
    const c = make(kit, SOCK_STREAM | SOCK_NONBLOCK);
    expect(connectTo(kit, c, "127.0.0.1", 7001)).toBe(-EINPROGRESS);
    expect([option(kit, c, SO_ERROR), option(kit, c, SO_ERROR)]).toEqual([ECONNREFUSED, 0]);
  });

  test("only this host can be reached", () => {
    const kit = new TaskKit();
    expect(connectTo(kit, make(kit, SOCK_STREAM), "192.0.2.1", 80)).toBe(-ENETUNREACH);
    expect(bindTo(kit, make(kit, SOCK_STREAM), "192.0.2.1", 80)).toBe(-EADDRNOTAVAIL);
  });

  test("a full backlog: connect waits for a place, accept gives one", () => {
    const kit = new TaskKit();
    const l = listener(kit, 7000, 0);
    expect(connectTo(kit, make(kit, SOCK_STREAM), "127.0.0.1", 7000)).toBe(0);
    const other = kit.thread();
    const late = make(kit, SOCK_STREAM);
    expect(kit.callAs(other, connect, late, ADDR, address(kit, "127.0.0.1", 7000))).toBe(BLOCKED);
    const impatient = make(kit, SOCK_STREAM | SOCK_NONBLOCK);
    expect(connectTo(kit, impatient, "127.0.0.1", 7000)).toBe(-EINPROGRESS);
    expect(poll(kit, impatient)).toBe(0);
    expect(kit.call(accept4, l, 0, 0, 0)).toBeGreaterThan(0);
    expect(kit.again(other, connect)).toBe(0);
    expect(poll(kit, impatient)).toBe(0);
    kit.call(close, l);
    expect(option(kit, impatient, SO_ERROR)).toBe(ECONNREFUSED);
    expect(take(kit, late)).toBe(-ECONNRESET);
  });

  test("a full connection blocks the writer until the reader has made room", () => {
    const kit = new TaskKit();
    const [c, s] = connection(kit);
    const other = kit.thread();
    let sent = 0;
    while (poll(kit, c) & POLLOUT) sent += kit.call(write, c, MEMORY, 0x100000);
    expect(sent).toBeGreaterThan(1 << 20);
    let n = kit.callAs(other, write, c, MEMORY, 0x180000);
    while (n > 0) {
      sent += n;
      n = kit.callAs(other, write, c, MEMORY, 0x180000);
    }
    expect(n).toBe(BLOCKED);
    let got = 0;
    let result: number | undefined;
    for (let i = 0; i < 1000 && result === undefined; i++) {
      got += kit.call(read, s, MEMORY, 0x40000);
      const again = kit.again(other, write);
      if (again !== BLOCKED) result = again;
    }
    expect(result).toBe(0x180000);
    for (n = 1; n > 0; got += Math.max(n, 0)) n = kit.call(recvfrom, s, MEMORY, 0x100000, MSG_DONTWAIT, 0, 0);
    expect(got).toBe(sent + 0x180000);
    expect(kit.kernel.net.tcp.bytes).toBe(0);
  });

  test("ports: taken, shared by SO_REUSEADDR but not with a listener, free again", () => {
    const kit = new TaskKit();
    const l = listener(kit, 7000);
    expect(bindTo(kit, make(kit, SOCK_STREAM), "0.0.0.0", 7000)).toBe(-EADDRINUSE);
    expect(bindTo(kit, make(kit, SOCK_STREAM), "127.0.0.2", 7000)).toBe(0);
    const six = kit.call(socket, AF_INET6, SOCK_STREAM, 0);
    kit.put(ADDR, Uint8Array.from([AF_INET6, 0, 7000 >> 8, 7000 & 255, ...new Array(24).fill(0)]));
    expect(kit.call(bind, six, ADDR, 28)).toBe(-EADDRINUSE);
    kit.call(close, l);
    const [a, b] = [make(kit, SOCK_STREAM), make(kit, SOCK_STREAM)];
    kit.put32(LEN, 1);
    for (const fd of [a, b]) kit.call(setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, LEN, 4);
    expect([bindTo(kit, a, "127.0.0.1", 7000), bindTo(kit, b, "127.0.0.1", 7000)]).toEqual([0, 0]);
    expect([kit.call(listen, a, 1), kit.call(listen, b, 1)]).toEqual([0, -EADDRINUSE]);
  });
});

describe("UDP", () => {
  test("datagrams find their port; a connected sender hears that there is none", () => {
    const kit = new TaskKit();
    const r = make(kit, SOCK_DGRAM);
    const s = make(kit, SOCK_DGRAM);
    expect(put(kit, s, "x")).toBe(-EDESTADDRREQ);
    expect(bindTo(kit, r, "0.0.0.0", 7000)).toBe(0);
    expect(connectTo(kit, s, "127.0.0.1", 7000)).toBe(0);
    expect(put(kit, s, "one")).toBe(3);
    expect(put(kit, s, "")).toBe(0);
    expect([take(kit, r), take(kit, r), take(kit, r)]).toEqual(["one", "", -EAGAIN]);
    kit.call(close, r);
    expect(put(kit, s, "gone")).toBe(4);
    expect(put(kit, s, "gone")).toBe(-ECONNREFUSED);
    expect(name(kit, r, true)).toBe(-9);
    expect(kit.call(getpeername, make(kit, SOCK_DGRAM), ADDR, LEN)).toBe(-ENOTCONN);
  });

  test("what lies unread is bounded and given back", () => {
    const kit = new TaskKit();
    const r = make(kit, SOCK_DGRAM);
    bindTo(kit, r, "127.0.0.1", 7000);
    const s = make(kit, SOCK_DGRAM);
    connectTo(kit, s, "127.0.0.1", 7000);
    for (let i = 0; i < 5000; i++) kit.call(write, s, MEMORY, 1000);
    expect(kit.kernel.net.buffered).toBeLessThan(300000);
    kit.call(close, r);
    expect(kit.kernel.net.buffered).toBe(0);
  });
});
