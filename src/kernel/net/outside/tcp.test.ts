/** TCP through real brokers, in a network namespace of its own: two kernels there, as two sandboxes on a host. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import {
  EADDRINUSE,
  EAGAIN,
  EALREADY,
  ECONNREFUSED,
  ECONNRESET,
  EFAULT,
  EINPROGRESS,
  EISCONN,
  ENETDOWN,
  ENETUNREACH,
  ENOTCONN,
  EPIPE,
} from "../../abi/errno.ts";
import { BLOCKED } from "../../syscall.ts";
import { accept4 } from "../../syscalls/accept.ts";
import { bind, getpeername, getsockname, listen } from "../../syscalls/bind.ts";
import { close } from "../../syscalls/close.ts";
import { connect } from "../../syscalls/connect.ts";
import { ioctl } from "../../syscalls/ioctl.ts";
import { read } from "../../syscalls/read.ts";
import { recvfrom } from "../../syscalls/recvfrom.ts";
import { sendto } from "../../syscalls/sendto.ts";
import { shutdown } from "../../syscalls/shutdown.ts";
import { socket } from "../../syscalls/socket.ts";
import { getsockopt, setsockopt } from "../../syscalls/sockopt.ts";
import { write } from "../../syscalls/write.ts";
import { RUN_GUEST, RUN_READY } from "../../task/task.ts";
import { complete, finish, pump, TestNetwork } from "../../testing/outside-kit.ts";
import { resaved } from "../../testing/saving.ts";
import { BAD, MEMORY, TaskKit } from "../../testing/task-kit.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP } from "../../vfs/file.ts";
import {
  AF_INET,
  AF_INET6,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SHUT_RD,
  SHUT_WR,
  SIOCATMARK,
  SIOCINQ,
  SIOCOUTQ,
  SO_ERROR,
  SO_LINGER,
  SO_RCVBUF,
  SO_RCVLOWAT,
  SO_REUSEADDR,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
} from "../abi.ts";
import { formatIp, ipFromBytes } from "../inet/ip.ts";

const DATA = MEMORY;
const ADDR = MEMORY + 0x180000;
const LEN = MEMORY + 0x180100;
const TCP_NODELAY = 1;
const TCP_INFO = 11;

let network: TestNetwork;
let a: TaskKit;
let b: TaskKit;
let sockets: number[];
let port = 7000;

beforeAll(async () => {
  network = await new TestNetwork().ready();
});
afterAll(async () => {
  await network.end();
});
beforeEach(() => {
  port++;
  a = new TaskKit();
  b = new TaskKit();
  sockets = [a, b].map((kit) => {
    const fd = network.broker();
    kit.kernel.net.useBroker(fd);
    return fd;
  });
});
afterEach(() => {
  for (const { task, kernel } of [a, b]) {
    task.endCall();
    task.files.removeRange(0, Number.POSITIVE_INFINITY, false, (file) => file.release());
    kernel.net.broker?.close();
    kernel.poller.close();
  }
});

function address(kit: TaskKit, ip: string, to: number): number {
  kit.put(ADDR, Uint8Array.from([AF_INET, 0, to >> 8, to & 255, ...ip.split(".").map(Number), 0, 0, 0, 0, 0, 0, 0, 0]));
  return 16;
}
const make = (kit: TaskKit, flags = 0): number => kit.call(socket, AF_INET, SOCK_STREAM | flags, 0);
const connectTo = (kit: TaskKit, fd: number, to = port, ip = "127.0.0.1"): number =>
  complete(kit, connect, fd, ADDR, address(kit, ip, to));
function listener(kit: TaskKit, at = port, ip = "0.0.0.0", backlog = 5): number {
  const fd = make(kit);
  kit.put32(ADDR, 1);
  expect(kit.call(setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, ADDR, 4)).toBe(0);
  expect(kit.call(bind, fd, ADDR, address(kit, ip, at))).toBe(0);
  expect(complete(kit, listen, fd, backlog)).toBe(0);
  return fd;
}
const poll = (kit: TaskKit, fd: number): number => kit.task.files.get(fd)!.poll();
/** Waits for readiness. */
const until = (kit: TaskKit, fd: number, events: number): void => {
  const there = pump([kit], () => (poll(kit, fd) & events) === events);
  if (!there) throw new Error(`${fd} has ${poll(kit, fd)}, not ${events}`);
};
/** b listens, a connects. */
function connection(ip = "127.0.0.1"): [number, number, number] {
  const l = listener(b);
  const c = make(a);
  expect(connectTo(a, c, port, ip)).toBe(0);
  const s = complete(b, accept4, l, 0, 0, 0);
  expect(s).toBeGreaterThan(l);
  return [c, s, l];
}
const put = (kit: TaskKit, fd: number, text: string, flags = 0): number =>
  complete(kit, sendto, fd, DATA, kit.put(DATA, text), flags, 0, 0);
function take(kit: TaskKit, fd: number, size = 100, flags = 0): string | number {
  const n = complete(kit, recvfrom, fd, DATA, size, flags, 0, 0);
  return n < 0 ? n : kit.get(DATA, n);
}
function name(kit: TaskKit, fd: number, peer = false): string | number {
  kit.put32(LEN, 28);
  const result = kit.call(peer ? getpeername : getsockname, fd, ADDR, LEN);
  if (result < 0) return result;
  const bytes = kit.bytes(ADDR, kit.get32(LEN));
  const v4 = bytes[0] === AF_INET;
  return `${formatIp(ipFromBytes(bytes, v4 ? 4 : 8, v4 ? 4 : 16))}:${(bytes[2]! << 8) | bytes[3]!}`;
}
function option(kit: TaskKit, fd: number, level: number, what: number): number {
  kit.put32(LEN, 4);
  expect(kit.call(getsockopt, fd, level, what, ADDR, LEN)).toBe(0);
  return kit.get32(ADDR);
}
function set(kit: TaskKit, fd: number, level: number, what: number, ...values: number[]): number {
  kit.put32(ADDR, ...values);
  return kit.call(setsockopt, fd, level, what, ADDR, 4 * values.length);
}
function asked(kit: TaskKit, fd: number, request: number): number {
  expect(kit.call(ioctl, fd, request, ADDR)).toBe(0);
  return kit.get32(ADDR);
}

describe("connections", () => {
  test("between two kernels: names, data both ways, the end", () => {
    const [c, s] = connection();
    expect(name(a, c, true)).toBe(`127.0.0.1:${port}`);
    expect(name(b, s)).toBe(`127.0.0.1:${port}`);
    expect(name(b, s, true)).toBe(name(a, c));
    expect(put(a, c, "ping")).toBe(4);
    expect(take(b, s)).toBe("ping");
    expect(put(b, s, "pong")).toBe(4);
    expect(take(a, c)).toBe("pong");
    a.call(close, c);
    until(b, s, POLLIN | POLLRDHUP);
    expect(poll(b, s) & POLLHUP).toBe(0);
    expect(take(b, s)).toBe("");
  });
  test("accept tells where it comes from; a waiting accept is woken", () => {
    const l = listener(b);
    b.put32(LEN, 16);
    const waiting = b.call(accept4, l, ADDR, LEN, SOCK_NONBLOCK);
    expect(waiting).toBe(BLOCKED);
    const c = make(a);
    expect(connectTo(a, c)).toBe(0);
    const s = finish(b, b.task, accept4, waiting);
    const bytes = b.bytes(ADDR, 16);
    expect(`127.0.0.1:${(bytes[2]! << 8) | bytes[3]!}`).toBe(name(a, c) as string);
    expect(b.task.files.get(s)!.nonBlocking).toBe(true);
  });
  test("refused: blocking, and by SO_ERROR, and by a second connect", () => {
    const c = make(a);
    expect(connectTo(a, c)).toBe(-ECONNREFUSED);
    expect(poll(a, c) & POLLHUP).toBe(POLLHUP);
    const d = make(a, SOCK_NONBLOCK);
    expect(connectTo(a, d)).toBe(-EINPROGRESS);
    until(a, d, POLLOUT | POLLERR | POLLHUP);
    expect(option(a, d, SOL_SOCKET, SO_ERROR)).toBe(ECONNREFUSED);
    expect(option(a, d, SOL_SOCKET, SO_ERROR)).toBe(0);
    const e = make(a, SOCK_NONBLOCK);
    expect(connectTo(a, e)).toBe(-EINPROGRESS);
    until(a, e, POLLERR);
    expect(connectTo(a, e)).toBe(-ECONNREFUSED);
    // And once more, to somebody who is there.
    listener(b);
    expect([0, -EINPROGRESS]).toContain(connectTo(a, e));
    until(a, e, POLLOUT);
    expect(option(a, e, SOL_SOCKET, SO_ERROR)).toBe(0);
    expect(put(a, e, "x")).toBe(1);
  });
  test("without waiting: in progress, already, connected", () => {
    // A full backlog leaves a connect in progress.
    listener(b, port, "0.0.0.0", 1);
    const first = make(a);
    expect(connectTo(a, first)).toBe(0);
    const fds: number[] = [];
    let stuck = -1;
    while (fds.length < 5 && stuck < 0) {
      const fd = make(a, SOCK_NONBLOCK);
      fds.push(fd);
      expect(connectTo(a, fd)).toBe(-EINPROGRESS);
      expect(name(a, fd)).toMatch(/^127\.0\.0\.1:[1-9]/);
      if (!pump([a], () => (poll(a, fd) & POLLOUT) !== 0, 200)) stuck = fd;
    }
    expect(stuck).toBeGreaterThan(0);
    expect(poll(a, stuck)).toBe(0);
    expect(connectTo(a, stuck)).toBe(-EALREADY);
    expect(name(a, stuck, true)).toBe(-ENOTCONN);
    expect(take(a, stuck, 10, MSG_DONTWAIT)).toBe(-EAGAIN);
    expect(connectTo(a, fds[0]!)).toBe(0);
    expect(connectTo(a, fds[0]!)).toBe(-EISCONN);
    expect(connectTo(a, first)).toBe(-EISCONN);
  });
  test("nowhere: unreachable at once", () => {
    const c = make(a, SOCK_NONBLOCK);
    expect(connectTo(a, c, port, "192.0.2.1")).toBe(-ENETUNREACH);
  });
  test("a listener of one's own is reached inside, others outside; both by one listener", () => {
    const l = listener(b);
    const inside = make(b);
    expect(connectTo(b, inside)).toBe(0);
    const outside = make(a);
    expect(connectTo(a, outside)).toBe(0);
    until(b, l, POLLIN);
    const names = [0, 1].map(() => name(b, complete(b, accept4, l, 0, 0, 0), true) as string);
    expect(names.sort()).toEqual([name(b, inside) as string, name(a, outside) as string].sort());
    expect(poll(b, l)).toBe(0);
  });
  test("bound before: the address stays", () => {
    listener(b);
    const c = make(a);
    expect(a.call(bind, c, ADDR, address(a, "127.0.0.9", port + 3000))).toBe(0);
    expect(connectTo(a, c)).toBe(0);
    expect(name(a, c)).toBe(`127.0.0.9:${port + 3000}`);
  });
  test("a port that another on the host has: listen says so", () => {
    listener(b);
    const l = make(a);
    expect(a.call(bind, l, ADDR, address(a, "0.0.0.0", port))).toBe(0);
    expect(complete(a, listen, l, 5)).toBe(-EADDRINUSE);
    expect(poll(a, l) & POLLHUP).toBe(POLLHUP);
    const c = make(a);
    expect(connectTo(a, c)).toBe(0);
  });
  test("listen without bind: a port, heard outside", () => {
    const l = make(b);
    expect(complete(b, listen, l, 5)).toBe(0);
    const own = Number((name(b, l) as string).split(":")[1]);
    const c = make(a);
    expect(connectTo(a, c, own)).toBe(0);
    expect(complete(b, accept4, l, 0, 0, 0)).toBeGreaterThan(0);
  });
  test("a listen that a signal has ended leaves nothing behind when the socket is used otherwise", () => {
    listener(b);
    const before = readdirSync("/proc/self/fd").length;
    const c = make(a);
    expect(a.call(bind, c, ADDR, address(a, "0.0.0.0", port + 6000))).toBe(0);
    expect(a.call(listen, c, 5)).toBe(BLOCKED);
    a.task.cancelWaits();
    a.task.runState = RUN_GUEST;
    a.task.endCall();
    // The broker still has the port, or does not any more.
    const result = connectTo(a, c);
    expect([0, -EADDRINUSE]).toContain(result);
    pump([a], () => false, 30);
    // Its own descriptor, once.
    expect(readdirSync("/proc/self/fd").length).toBe(before + (result === 0 ? 1 : 0));
    const d = make(b);
    expect(connectTo(b, d, port + 6000)).toBe(-ECONNREFUSED);
  });
  test("a closed listener is gone outside", () => {
    const l = listener(b);
    b.call(close, l);
    expect(connectTo(a, make(a))).toBe(-ECONNREFUSED);
    listener(b);
    expect(connectTo(a, make(a))).toBe(0);
  });
  test("IPv6, and IPv4 to an IPv6 listener", () => {
    const l = b.call(socket, AF_INET6, SOCK_STREAM, 0);
    const any = new Uint8Array(28);
    any.set([AF_INET6, 0, port >> 8, port & 255]);
    b.put(ADDR, any);
    expect(b.call(bind, l, ADDR, 28)).toBe(0);
    expect(complete(b, listen, l, 5)).toBe(0);
    const six = a.call(socket, AF_INET6, SOCK_STREAM, 0);
    any[23] = 1;
    a.put(ADDR, any);
    expect(complete(a, connect, six, ADDR, 28)).toBe(0);
    expect(name(a, six, true)).toBe(`::1:${port}`);
    const four = make(a);
    expect(connectTo(a, four)).toBe(0);
    const accepted = [0, 1].map(() => complete(b, accept4, l, 0, 0, 0));
    expect(name(b, accepted[0]!, true)).toBe(name(a, six));
    expect(name(b, accepted[1]!, true)).toBe(name(a, four));
    b.put32(LEN, 28);
    b.call(getpeername, accepted[1]!, ADDR, LEN);
    expect(b.get32(LEN)).toBe(28);
  });
  test("connect AF_UNSPEC resets and begins anew", () => {
    const [c, s, l] = connection();
    a.put(ADDR, new Uint8Array(16));
    expect(a.call(connect, c, ADDR, 16)).toBe(0);
    until(b, s, POLLERR | POLLHUP);
    expect(take(b, s)).toBe(-ECONNRESET);
    option(a, c, SOL_SOCKET, SO_ERROR);
    expect(connectTo(a, c)).toBe(0);
    expect(complete(b, accept4, l, 0, 0, 0)).toBeGreaterThan(0);
  });
});

describe("data", () => {
  test("much of it, both at once waiting: every byte once", () => {
    const [c, s] = connection();
    const size = 1 << 20;
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = (i * 7 + (i >> 11)) & 255;
    a.put(DATA, bytes);
    const got: Buffer[] = [];
    let total = 0;
    let writes = 1;
    let sent = a.call(write, c, DATA, size);
    const moved = pump([a, b], () => {
      if (sent === BLOCKED) sent = a.again(a.task, write) ?? BLOCKED;
      else if (writes < 4) {
        expect(sent).toBe(size);
        writes++;
        sent = a.call(write, c, DATA, size);
      }
      const n = b.call(recvfrom, s, DATA, size, MSG_DONTWAIT, 0, 0);
      if (n > 0) {
        got.push(Buffer.from(b.bytes(DATA, n)));
        total += n;
      } else expect(n).toBe(-EAGAIN);
      return total === 4 * size;
    });
    expect(moved).toBe(true);
    const all = Buffer.concat(got);
    for (let i = 0; i < 4; i++) expect(Buffer.compare(all.subarray(i * size, (i + 1) * size), bytes)).toBe(0);
  });
  test("a full connection: EAGAIN, not writable, then writable again", () => {
    const [c, s] = connection();
    let sent = 0;
    for (;;) {
      const n = a.call(sendto, c, DATA, 0x100000, MSG_DONTWAIT, 0, 0);
      if (n < 0) {
        expect(n).toBe(-EAGAIN);
        break;
      }
      sent += n;
    }
    expect(sent).toBeGreaterThan(100000);
    expect(poll(a, c) & POLLOUT).toBe(0);
    const waiting = a.call(write, c, DATA, 1000);
    expect(waiting).toBe(BLOCKED);
    let read = 0;
    expect(
      pump([b, a], () => {
        const n = b.call(recvfrom, s, DATA, 0x100000, MSG_DONTWAIT, 0, 0);
        if (n > 0) read += n;
        return read === sent;
      }),
    ).toBe(true);
    expect(finish(a, a.task, write, waiting)).toBe(1000);
    until(a, c, POLLOUT);
  });
  test("MSG_PEEK, MSG_TRUNC, MSG_WAITALL", () => {
    const [c, s] = connection();
    put(a, c, "hello world");
    until(b, s, POLLIN);
    expect(take(b, s, 5, MSG_PEEK)).toBe("hello");
    expect(take(b, s, 5, MSG_PEEK)).toBe("hello");
    expect(b.call(recvfrom, s, BAD, 6, MSG_TRUNC, 0, 0)).toBe(6);
    const waiting = b.call(recvfrom, s, DATA, 10, MSG_WAITALL, 0, 0);
    expect(waiting).toBe(BLOCKED);
    put(a, c, "-more");
    expect(finish(b, b.task, recvfrom, waiting)).toBe(10);
    expect(b.get(DATA, 10)).toBe("world-more");
    const short = b.call(recvfrom, s, DATA, 10, MSG_WAITALL, 0, 0);
    put(a, c, "end");
    a.call(close, c);
    expect(finish(b, b.task, recvfrom, short)).toBe(3);
  });
  test("MSG_PEEK and MSG_WAITALL ends with the connection", () => {
    const [c, s] = connection();
    put(a, c, "abc");
    until(b, s, POLLIN);
    const waiting = b.call(recvfrom, s, DATA, 10, MSG_WAITALL | MSG_PEEK, 0, 0);
    expect(waiting).toBe(BLOCKED);
    a.call(close, c);
    expect(finish(b, b.task, recvfrom, waiting)).toBe(3);
    expect(take(b, s)).toBe("abc");
  });
  test("a bad pointer takes nothing, and waits as a good one does", () => {
    const [c, s] = connection();
    expect(b.call(recvfrom, s, BAD, 10, MSG_DONTWAIT, 0, 0)).toBe(-EAGAIN);
    put(a, c, "kept");
    until(b, s, POLLIN);
    expect(b.call(recvfrom, s, BAD, 10, MSG_DONTWAIT, 0, 0)).toBe(-EFAULT);
    expect(b.call(read, s, BAD, 10)).toBe(-EFAULT);
    expect(a.call(write, c, BAD, 10)).toBe(-EFAULT);
    expect(take(b, s)).toBe("kept");
  });
  test("SO_RCVLOWAT: readable, and a receive, from so many bytes on", () => {
    const [c, s] = connection();
    expect(set(b, s, SOL_SOCKET, SO_RCVLOWAT, 5)).toBe(0);
    put(a, c, "abc");
    pump([b], () => false, 60);
    expect(poll(b, s) & POLLIN).toBe(0);
    const waiting = b.call(recvfrom, s, DATA, 100, 0, 0, 0);
    expect(waiting).toBe(BLOCKED);
    put(a, c, "def");
    expect(finish(b, b.task, recvfrom, waiting)).toBe(6);
  });
  test("urgent data: POLLPRI, the mark, MSG_OOB", () => {
    const [c, s] = connection();
    put(a, c, "ab");
    put(a, c, "!", MSG_OOB);
    put(a, c, "cd");
    until(b, s, POLLIN | POLLPRI);
    expect(pump([b], () => asked(b, s, SIOCINQ) >= 2)).toBe(true);
    expect(asked(b, s, SIOCATMARK)).toBe(0);
    // A receive that wants all stops at the mark.
    expect(take(b, s, 4, MSG_WAITALL)).toBe("ab");
    expect(asked(b, s, SIOCATMARK)).toBe(1);
    expect(take(b, s, 10, MSG_OOB)).toBe("!");
    expect(take(b, s)).toBe("cd");
    expect(poll(b, s) & POLLPRI).toBe(0);
  });
  test("SIOCINQ, SIOCOUTQ", () => {
    const [c, s] = connection();
    put(a, c, "12345");
    until(b, s, POLLIN);
    expect(asked(b, s, SIOCINQ)).toBe(5);
    expect(pump([a], () => asked(a, c, SIOCOUTQ) === 0)).toBe(true);
  });
});

describe("ends", () => {
  test("halves", () => {
    const [c, s] = connection();
    put(a, c, "last");
    expect(a.call(shutdown, c, SHUT_WR)).toBe(0);
    expect(a.call(sendto, c, DATA, 1, MSG_NOSIGNAL, 0, 0)).toBe(-EPIPE);
    until(b, s, POLLIN | POLLRDHUP);
    expect(take(b, s)).toBe("last");
    expect(take(b, s)).toBe("");
    expect(put(b, s, "still")).toBe(5);
    expect(take(a, c)).toBe("still");
    expect(b.call(shutdown, s, SHUT_WR)).toBe(0);
    until(a, c, POLLHUP);
    expect(poll(a, c) & (POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR)).toBe(
      POLLIN | POLLOUT | POLLRDHUP | POLLHUP,
    );
    expect(a.call(shutdown, c, SHUT_WR)).toBe(-ENOTCONN);
  });
  test("SHUT_RD: the end, though nothing was sent", () => {
    const [c] = connection();
    expect(a.call(shutdown, c, SHUT_RD)).toBe(0);
    expect(take(a, c)).toBe("");
    expect(poll(a, c) & (POLLIN | POLLRDHUP)).toBe(POLLIN | POLLRDHUP);
  });
  test("unread data and a close: a reset, shown once", () => {
    const [c, s] = connection();
    put(a, c, "unread");
    until(b, s, POLLIN);
    b.call(close, s);
    until(a, c, POLLERR | POLLHUP | POLLIN);
    expect(name(a, c, true)).toBe(-ENOTCONN);
    expect(take(a, c)).toBe(-ECONNRESET);
    expect(take(a, c)).toBe("");
    expect(a.call(sendto, c, DATA, 1, MSG_NOSIGNAL, 0, 0)).toBe(-EPIPE);
  });
  test("SO_LINGER of nothing: a reset, whose error SO_ERROR has", () => {
    const [c, s] = connection();
    expect(set(a, c, SOL_SOCKET, SO_LINGER, 1, 0)).toBe(0);
    a.call(close, c);
    until(b, s, POLLERR);
    expect(option(b, s, SOL_SOCKET, SO_ERROR)).toBe(ECONNRESET);
    expect(option(b, s, SOL_SOCKET, SO_ERROR)).toBe(0);
    expect(poll(b, s) & POLLERR).toBe(0);
  });
  test("SO_LINGER with a time does not hold the kernel", () => {
    const [c, s] = connection();
    expect(set(a, c, SOL_SOCKET, SO_LINGER, 1, 30)).toBe(0);
    while (a.call(sendto, c, DATA, 0x100000, MSG_DONTWAIT, 0, 0) > 0);
    const before = performance.now();
    a.call(close, c);
    expect(performance.now() - before).toBeLessThan(1000);
    // What was sent comes all the same.
    expect(typeof take(b, s, 10)).toBe("string");
  });
  test("a blocked reader hears the end", () => {
    const [c, s] = connection();
    const waiting = b.call(read, s, DATA, 10);
    expect(waiting).toBe(BLOCKED);
    a.call(close, c);
    expect(finish(b, b.task, read, waiting)).toBe(0);
  });
  test("a listener that closes resets who was not accepted", () => {
    const l = listener(b);
    const c = make(a);
    expect(connectTo(a, c)).toBe(0);
    b.call(close, l);
    until(a, c, POLLHUP);
    expect(take(a, c)).toBe(-ECONNRESET);
  });
});

describe("options", () => {
  test("set before, they are the host's when it connects", () => {
    listener(b);
    const c = make(a);
    expect(set(a, c, SOL_TCP, TCP_NODELAY, 1)).toBe(0);
    expect(set(a, c, SOL_SOCKET, SO_RCVBUF, 50000)).toBe(0);
    expect(connectTo(a, c)).toBe(0);
    expect(option(a, c, SOL_TCP, TCP_NODELAY)).toBe(1);
    expect(option(a, c, SOL_SOCKET, SO_RCVBUF)).toBe(100000);
    expect(set(a, c, SOL_TCP, 4, 33)).toBe(0);
    expect(option(a, c, SOL_TCP, 4)).toBe(33);
  });
  test("TCP_INFO is the host's", () => {
    const [c, s] = connection();
    put(a, c, "hello");
    take(b, s);
    a.put32(LEN, 248);
    expect(a.call(getsockopt, c, SOL_TCP, TCP_INFO, ADDR, LEN)).toBe(0);
    const info = a.view(ADDR, a.get32(LEN));
    expect(info.getUint8(0)).toBe(1);
    // Its round trip time has been measured.
    expect(info.getUint32(68, true)).toBeGreaterThan(0);
    expect(info.getUint32(68, true)).toBeLessThan(100000);
  });
});

describe("the broker's end", () => {
  test("connections live on, others cannot be made", () => {
    const [c, s] = connection();
    network.kill(sockets[0]!);
    expect(pump([a], () => !a.kernel.net.outside)).toBe(true);
    put(a, c, "alive");
    expect(take(b, s)).toBe("alive");
    expect(connectTo(a, make(a))).toBe(-ECONNREFUSED);
    const l = listener(a, port + 5000);
    expect(connectTo(a, make(a), port + 5000)).toBe(0);
    expect(complete(a, accept4, l, 0, 0, 0)).toBeGreaterThan(0);
  });
  test("whoever waits for it while it ends is told", () => {
    // It is asked, and does not answer any more.
    const c = make(a);
    const waiting = a.call(connect, c, ADDR, address(a, "127.0.0.1", port));
    expect(waiting).toBe(BLOCKED);
    network.kill(sockets[0]!);
    expect([-ENETDOWN, -ECONNREFUSED]).toContain(finish(a, a.task, connect, waiting));
  });
  test("a connect that is being asked about is told", () => {
    network.kill(sockets[0]!);
    const c = make(a);
    expect(connectTo(a, c)).toBe(-ENETDOWN);
  });
});

describe("a restored kernel", () => {
  test("a connect that was on its way begins anew, or fails where there is no outside", () => {
    for (const again of [true, false]) {
      const kit = new TaskKit();
      kit.kernel.net.useBroker(network.broker());
      const l = listener(b, port + (again ? 0 : 1));
      const c = make(kit);
      const waiting = kit.call(connect, c, ADDR, address(kit, "127.0.0.1", port + (again ? 0 : 1)));
      expect(waiting).toBe(BLOCKED);
      kit.kernel.current = null;
      const kernel = resaved(kit.kernel, undefined, undefined, [], false);
      kit.kernel.net.broker!.close();
      kit.kernel.poller.close();
      if (again) kernel.net.useBroker(network.broker());
      const task = [...kernel.tasks][0]!;
      expect(task.runState).toBe(RUN_READY);
      const moved = { kernel, task, again: kit.again.bind({ kernel }) } as unknown as TaskKit;
      kernel.current = task;
      const result = finish(moved, task, connect, BLOCKED);
      expect(result).toBe(again ? 0 : -ECONNREFUSED);
      if (again) expect(complete(b, accept4, l, 0, 0, 0)).toBeGreaterThan(0);
      task.files.removeRange(0, Number.POSITIVE_INFINITY, false, (file) => file.release());
      kernel.net.broker?.close();
      kernel.poller.close();
    }
  });
  test("its connections are reset, its listeners listen through another broker", () => {
    const [c, s, l] = connection();
    put(b, s, "unseen");
    const old = b;
    old.kernel.current = null;
    const kernel = resaved(old.kernel, undefined, undefined, [], false);
    old.kernel.net.broker!.close();
    const task = [...kernel.tasks][0]!;
    const restored = task.files.get(s)!;
    expect(restored.poll() & (POLLERR | POLLHUP)).toBe(POLLERR | POLLHUP);
    // What the old one had is closed with it.
    old.task.files.removeRange(0, Number.POSITIVE_INFINITY, false, (file) => file.release());
    until(a, c, POLLIN);
    kernel.net.useBroker(network.broker());
    const later = make(a);
    expect(
      pump([a], () => {
        kernel.poller.dispatch();
        return connectTo(a, make(a)) === 0;
      }),
    ).toBe(true);
    expect(connectTo(a, later)).toBe(0);
    kernel.poller.dispatch();
    expect(task.files.get(l)!.poll() & POLLIN).toBe(POLLIN);
    task.files.removeRange(0, Number.POSITIVE_INFINITY, false, (file) => file.release());
    kernel.net.broker?.close();
    kernel.poller.close();
  });
});
