import { describe, expect, test } from "bun:test";
import {
  EADDRINUSE,
  EAFNOSUPPORT,
  EAGAIN,
  EBADF,
  ECONNREFUSED,
  ECONNRESET,
  EFAULT,
  EINVAL,
  EISCONN,
  EMFILE,
  EMSGSIZE,
  ENOENT,
  ENOTCONN,
  ENOTSOCK,
  EPIPE,
  EPROTONOSUPPORT,
  EPROTOTYPE,
  ESOCKTNOSUPPORT,
} from "../../abi/errno.ts";
import { Tmpfs } from "../../fs/tmpfs/tmpfs.ts";
import { BLOCKED } from "../../syscall.ts";
import { accept4 } from "../../syscalls/accept.ts";
import { bind, getpeername, getsockname, listen } from "../../syscalls/bind.ts";
import { close } from "../../syscalls/close.ts";
import { connect } from "../../syscalls/connect.ts";
import { read } from "../../syscalls/read.ts";
import { recvfrom, recvmsg } from "../../syscalls/recvfrom.ts";
import { sendmsg, sendto } from "../../syscalls/sendto.ts";
import { shutdown } from "../../syscalls/shutdown.ts";
import { socket, socketpair } from "../../syscalls/socket.ts";
import { getsockopt, setsockopt } from "../../syscalls/sockopt.ts";
import { write } from "../../syscalls/write.ts";
import { RLIMIT_NOFILE } from "../../task/rlimits.ts";
import { worldOn } from "../../testing/file-world.ts";
import { BAD, MEMORY, type TaskKit } from "../../testing/task-kit.ts";
import { POLLHUP, POLLIN, POLLOUT, POLLRDHUP } from "../../vfs/file.ts";
import {
  AF_UNIX,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SHUT_WR,
  SO_ERROR,
  SO_PASSCRED,
  SO_SNDBUF,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../abi.ts";

/** Places in the kit's memory. */
const DATA = MEMORY;
const ADDR = MEMORY + 0x100000;
const LEN = MEMORY + 0x100100;
const HDR = MEMORY + 0x100200;
const IOV = MEMORY + 0x100300;
const CTRL = MEMORY + 0x100400;
const PAIR = MEMORY + 0x100f00;

const world = (): TaskKit => worldOn(({ kernel }) => new Tmpfs(kernel, { mode: 0o755 }));

function pair(kit: TaskKit, type: number): [number, number] {
  expect(kit.call(socketpair, AF_UNIX, type, 0, PAIR)).toBe(0);
  return [kit.get32(PAIR), kit.get32(PAIR + 4)];
}
function put(kit: TaskKit, fd: number, text: string): number {
  return kit.call(write, fd, DATA, kit.put(DATA, text));
}
function take(kit: TaskKit, fd: number, size = 100, flags = 0): string | number {
  const n = kit.call(recvfrom, fd, DATA, size, flags | MSG_DONTWAIT, 0, 0);
  return n < 0 ? n : kit.get(DATA, Math.min(n, size));
}
/** sockaddr_un of a path, or of an abstract name that starts with "@". */
function address(kit: TaskKit, name: string): number {
  const bytes = Buffer.from(`\x01\0${name.replace(/^@/, "\0")}`, "latin1");
  kit.put(ADDR, Buffer.concat([bytes, Buffer.of(0)]));
  return bytes.length + (name.startsWith("@") ? 0 : 1);
}
const bindTo = (kit: TaskKit, fd: number, name: string): number => kit.call(bind, fd, ADDR, address(kit, name));
const connectTo = (kit: TaskKit, fd: number, name: string): number => kit.call(connect, fd, ADDR, address(kit, name));
const make = (kit: TaskKit, type: number): number => kit.call(socket, AF_UNIX, type, 0);
const poll = (kit: TaskKit, fd: number): number => kit.task.files.get(fd)!.poll();

/** sendmsg with one cmsg of descriptors. */
function sendFiles(kit: TaskKit, fd: number, text: string, fds: number[]): number {
  header(kit, kit.put(DATA, text), 16 + 4 * fds.length);
  kit.put64(CTRL, 16 + 4 * fds.length);
  kit.put32(CTRL + 8, SOL_SOCKET, 1, ...fds);
  return kit.call(sendmsg, fd, HDR, MSG_DONTWAIT | MSG_NOSIGNAL);
}
function header(kit: TaskKit, size: number, control: number): void {
  kit.put64(IOV, DATA, size);
  kit.put64(HDR, 0, 0, IOV, 1, CTRL, control, 0);
}
function receive(kit: TaskKit, fd: number, size: number, control: number, flags = 0) {
  header(kit, size, control);
  const n = kit.call(recvmsg, fd, HDR, flags | MSG_DONTWAIT);
  const used = kit.get32(HDR + 40);
  const fds: number[] = [];
  if (used >= 20) for (let at = 16; at + 4 <= kit.get32(CTRL); at += 4) fds.push(kit.get32(CTRL + at));
  return { n, text: n > 0 ? kit.get(DATA, n) : "", flags: kit.get32(HDR + 48), used, fds };
}

describe("socket(2) and socketpair(2)", () => {
  const cases: [string, number[], number][] = [
    ["family 99", [99, SOCK_STREAM, 0], -EAFNOSUPPORT],
    ["family that nobody registered", [38, SOCK_STREAM, 0], -EAFNOSUPPORT],
    ["type 12", [AF_UNIX, 12, 0], -EINVAL],
    ["unknown type flags", [AF_UNIX, SOCK_STREAM | 0x100, 0], -EINVAL],
    ["unix type SOCK_RDM", [AF_UNIX, 4, 0], -ESOCKTNOSUPPORT],
    ["unix protocol 5", [AF_UNIX, SOCK_STREAM, 5], -EPROTONOSUPPORT],
  ];
  for (const [what, args, result] of cases)
    test(`${what}: ${result}`, () => {
      const kit = world();
      expect(kit.call(socket, ...args)).toBe(result);
      expect(kit.call(socketpair, ...args, PAIR)).toBe(result);
      expect(kit.task.files.count).toBe(0);
    });
  test("no room for two descriptors, bad pointer", () => {
    const kit = world();
    expect(kit.call(socketpair, AF_UNIX, SOCK_STREAM, 0, BAD)).toBe(-EFAULT);
    kit.task.process.rlimits[RLIMIT_NOFILE]!.soft = 1;
    expect(kit.call(socketpair, AF_UNIX, SOCK_STREAM, 0, PAIR)).toBe(-EMFILE);
    expect(kit.task.files.count).toBe(0);
  });
});

describe("stream", () => {
  test("bytes go both ways, reads coalesce and split", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    expect(put(kit, a, "hello ")).toBe(6);
    expect(put(kit, a, "world")).toBe(5);
    expect(take(kit, b, 8)).toBe("hello wo");
    expect(take(kit, b, 8)).toBe("rld");
    expect(put(kit, b, "back")).toBe(4);
    expect(take(kit, a, 100, MSG_PEEK)).toBe("back");
    expect(take(kit, a)).toBe("back");
    expect(take(kit, a)).toBe(-EAGAIN);
  });

  test("a reader waits and is woken; close gives the end", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    const other = kit.thread();
    expect(kit.callAs(other, read, b, DATA + 1000, 10)).toBe(BLOCKED);
    expect(put(kit, a, "x")).toBe(1);
    expect(kit.again(other, read)).toBe(1);
    expect(kit.callAs(other, read, b, DATA + 1000, 10)).toBe(BLOCKED);
    kit.call(close, a);
    expect(kit.again(other, read)).toBe(0);
    expect(poll(kit, b) & (POLLHUP | POLLRDHUP | POLLIN)).toBe(POLLHUP | POLLRDHUP | POLLIN);
  });

  test("a full buffer blocks the writer, who goes on where it stopped", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    const other = kit.thread();
    const size = 600000;
    expect(kit.callAs(other, write, a, MEMORY, size)).toBe(BLOCKED);
    let got = 0;
    let result: number | undefined;
    for (let i = 0; i < 100 && got < size; i++) {
      const n = kit.call(recvfrom, b, MEMORY + 0x80000, 50000, MSG_DONTWAIT, 0, 0);
      if (n > 0) got += n;
      result = kit.again(other, write) ?? result;
    }
    expect(got).toBe(size);
    expect(result).toBe(size);
  });

  test("what fits into a buffer is what Linux fits", () => {
    for (const [size, messages] of [
      [1, 278],
      [500, 167],
      [1000, 93],
      [4096, 44],
      [8192, 24],
      [100000, 3],
    ]) {
      const kit = world();
      const [a] = pair(kit, SOCK_STREAM | SOCK_NONBLOCK);
      let count = 0;
      while (kit.call(write, a, MEMORY, size!) > 0) count++;
      expect([size, count]).toEqual([size!, messages!]);
    }
  });

  test("EPIPE with SIGPIPE, unless MSG_NOSIGNAL", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    kit.call(close, b);
    expect(kit.call(sendto, a, DATA, 1, MSG_NOSIGNAL, 0, 0)).toBe(-EPIPE);
    expect(kit.task.signals.pending.set.has(13)).toBe(false);
    expect(put(kit, a, "x")).toBe(-EPIPE);
    expect(kit.task.signals.pending.set.has(13)).toBe(true);
  });

  test("close with unread data resets the peer", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    put(kit, a, "x");
    kit.call(close, b);
    expect(take(kit, a)).toBe(-ECONNRESET);
    expect(take(kit, a)).toBe("");
  });

  test("shutdown of a half", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    put(kit, a, "last");
    expect(kit.call(shutdown, a, SHUT_WR)).toBe(0);
    expect(kit.call(shutdown, a, 3)).toBe(-EINVAL);
    expect(kit.call(sendto, a, DATA, 1, MSG_NOSIGNAL, 0, 0)).toBe(-EPIPE);
    expect(take(kit, b)).toBe("last");
    expect(take(kit, b)).toBe("");
    expect(put(kit, b, "still")).toBe(5);
    expect(take(kit, a)).toBe("still");
    expect(poll(kit, b) & (POLLHUP | POLLRDHUP | POLLOUT)).toBe(POLLRDHUP | POLLOUT);
  });

  test("MSG_WAITALL waits for all, but not over the end", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    const other = kit.thread();
    put(kit, a, "abc");
    expect(kit.callAs(other, recvfrom, b, DATA + 1000, 6, MSG_WAITALL, 0, 0)).toBe(BLOCKED);
    put(kit, a, "de");
    expect(kit.again(other, recvfrom)).toBe(BLOCKED);
    kit.call(close, a);
    expect(kit.again(other, recvfrom)).toBe(5);
    expect(kit.get(DATA + 1000, 5)).toBe("abcde");
  });

  test("a bad pointer moves nothing", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    expect(kit.call(write, a, BAD, 5)).toBe(-EFAULT);
    expect(take(kit, b)).toBe(-EAGAIN);
    put(kit, a, "keep");
    expect(kit.call(recvfrom, b, BAD, 5, 0, 0, 0)).toBe(-EFAULT);
    expect(take(kit, b)).toBe("keep");
  });

  test("not a socket, not open, not connected", () => {
    const kit = world();
    expect(kit.call(listen, 7, 1)).toBe(-EBADF);
    const s = make(kit, SOCK_STREAM);
    expect(kit.call(recvfrom, s, DATA, 1, 0, 0, 0)).toBe(-EINVAL);
    expect(kit.call(sendto, s, DATA, 1, 0, 0, 0)).toBe(-ENOTCONN);
    expect(poll(kit, s)).toBe(POLLHUP | POLLOUT | 256 | 512);
    expect(ENOTSOCK).toBe(88);
  });
});

describe("names and connections", () => {
  for (const name of ["/sock", "@abstract"])
    test(`bind, listen, connect, accept by ${name}`, () => {
      const kit = world();
      const s = make(kit, SOCK_STREAM);
      const c = make(kit, SOCK_STREAM);
      expect(connectTo(kit, c, name)).toBe(name === "/sock" ? -ENOENT : -ECONNREFUSED);
      expect(bindTo(kit, s, name)).toBe(0);
      expect(bindTo(kit, s, "/other")).toBe(-EINVAL);
      expect(bindTo(kit, c, name)).toBe(-EADDRINUSE);
      expect(connectTo(kit, c, name)).toBe(-ECONNREFUSED);
      const d = make(kit, SOCK_DGRAM);
      expect(connectTo(kit, d, name)).toBe(name === "/sock" ? -EPROTOTYPE : -ECONNREFUSED);
      expect(kit.call(listen, s, 1)).toBe(0);
      const other = kit.thread();
      expect(kit.callAs(other, accept4, s, ADDR, LEN, 0)).toBe(BLOCKED);
      expect(connectTo(kit, c, name)).toBe(0);
      expect(connectTo(kit, c, name)).toBe(-EISCONN);
      kit.put32(LEN, 110);
      const a = kit.again(other, accept4)!;
      expect(a).toBeGreaterThan(d);
      expect(kit.get32(LEN)).toBe(2);
      kit.put32(LEN, 110);
      expect(kit.call(getpeername, c, ADDR, LEN)).toBe(0);
      expect(kit.get(ADDR + 2, kit.get32(LEN) - 2)).toBe(name === "/sock" ? "/sock\0" : "\0abstract");
      put(kit, c, "ping");
      expect(take(kit, a)).toBe("ping");
    });

  test("a full backlog makes connect wait", () => {
    const kit = world();
    const s = make(kit, SOCK_STREAM);
    bindTo(kit, s, "@b");
    kit.call(listen, s, 1);
    expect(connectTo(kit, make(kit, SOCK_STREAM), "@b")).toBe(0);
    expect(connectTo(kit, make(kit, SOCK_STREAM), "@b")).toBe(0);
    expect(connectTo(kit, make(kit, SOCK_STREAM | SOCK_NONBLOCK), "@b")).toBe(-EAGAIN);
    const other = kit.thread();
    const late = make(kit, SOCK_STREAM);
    expect(kit.callAs(other, connect, late, ADDR, address(kit, "@b"))).toBe(BLOCKED);
    expect(kit.call(accept4, s, 0, 0, 0)).toBeGreaterThan(0);
    expect(kit.again(other, connect)).toBe(0);
  });

  test("closing a listener resets who was not accepted and frees the name", () => {
    const kit = world();
    const s = make(kit, SOCK_STREAM);
    bindTo(kit, s, "@gone");
    kit.call(listen, s, 5);
    const c = make(kit, SOCK_STREAM);
    connectTo(kit, c, "@gone");
    kit.call(close, s);
    expect(take(kit, c)).toBe(-ECONNRESET);
    expect(bindTo(kit, make(kit, SOCK_STREAM), "@gone")).toBe(0);
  });

  test("autobind gives five hexadecimal digits", () => {
    const kit = world();
    const s = make(kit, SOCK_DGRAM);
    kit.put(ADDR, Uint8Array.of(1, 0));
    expect(kit.call(bind, s, ADDR, 2)).toBe(0);
    kit.put32(LEN, 110);
    kit.call(getsockname, s, ADDR, LEN);
    expect(kit.get(ADDR + 2, kit.get32(LEN) - 2)).toMatch(/^\0[0-9a-f]{5}$/);
  });
});

describe("datagrams and packets", () => {
  for (const type of [SOCK_DGRAM, SOCK_SEQPACKET])
    test(`borders are kept, type ${type}`, () => {
      const kit = world();
      const [a, b] = pair(kit, type);
      put(kit, a, "one");
      put(kit, a, "");
      put(kit, a, "three");
      expect(take(kit, b)).toBe("one");
      expect(kit.call(recvfrom, b, DATA, 10, MSG_DONTWAIT, 0, 0)).toBe(0);
      const r = receive(kit, b, 2, 0);
      expect([r.n, r.text, r.flags & MSG_TRUNC]).toEqual([2, "th", MSG_TRUNC]);
      put(kit, a, "three");
      expect(kit.call(recvfrom, b, DATA, 2, MSG_TRUNC | MSG_DONTWAIT, 0, 0)).toBe(5);
      expect(take(kit, b)).toBe(-EAGAIN);
      expect(kit.call(sendto, a, MEMORY, 0x70000, 0, 0, 0)).toBe(-EMSGSIZE);
    });

  test("a receiver's queue is bounded; who waits is woken", () => {
    const kit = world();
    const r = make(kit, SOCK_DGRAM);
    bindTo(kit, r, "@r");
    const s = make(kit, SOCK_DGRAM);
    connectTo(kit, s, "@r");
    for (let i = 0; i < 11; i++) expect(put(kit, s, "m")).toBe(1);
    expect(poll(kit, s) & POLLOUT).toBe(0);
    const other = kit.thread();
    expect(kit.callAs(other, write, s, DATA, 1)).toBe(BLOCKED);
    expect(take(kit, r)).toBe("m");
    expect(kit.again(other, write)).toBe(1);
    kit.call(close, r);
    expect(put(kit, s, "m")).toBe(-ECONNREFUSED);
    expect(put(kit, s, "m")).toBe(-ENOTCONN);
  });

  test("the sender's name comes along", () => {
    const kit = world();
    const r = make(kit, SOCK_DGRAM);
    bindTo(kit, r, "@r");
    const s = make(kit, SOCK_DGRAM);
    bindTo(kit, s, "@sender");
    kit.put(DATA, "x");
    expect(kit.call(sendto, s, DATA, 1, 0, ADDR, address(kit, "@r"))).toBe(1);
    kit.put32(LEN, 110);
    expect(kit.call(recvfrom, r, DATA, 10, 0, ADDR, LEN)).toBe(1);
    expect(kit.get(ADDR + 2, kit.get32(LEN) - 2)).toBe("\0sender");
  });

  test("packets: EPIPE without SIGPIPE, and the end", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_SEQPACKET);
    kit.call(close, b);
    expect(put(kit, a, "x")).toBe(-EPIPE);
    expect(kit.task.signals.pending.set.has(13)).toBe(false);
    expect(take(kit, a)).toBe("");
  });
});

describe("control messages", () => {
  test("files travel, with data, and end a read", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    const [c, d] = pair(kit, SOCK_STREAM);
    put(kit, a, "before ");
    expect(sendFiles(kit, a, "with", [c])).toBe(4);
    put(kit, a, "after");
    kit.call(close, c);
    const r = receive(kit, b, 100, 64);
    expect(r.text).toBe("before with");
    expect(r.fds.length).toBe(1);
    put(kit, d, "through");
    expect(take(kit, r.fds[0]!)).toBe("through");
    expect(take(kit, b)).toBe("after");
  });

  test("room for one of three: MSG_CTRUNC, the rest is closed", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    const [c, d] = pair(kit, SOCK_STREAM);
    expect(sendFiles(kit, a, "x", [c, c, c])).toBe(1);
    kit.call(close, c);
    const before = kit.task.files.count;
    const r = receive(kit, b, 10, 20);
    expect([r.fds.length, r.flags & MSG_CTRUNC]).toEqual([1, MSG_CTRUNC]);
    expect(kit.task.files.count).toBe(before + 1);
    kit.call(close, r.fds[0]!);
    expect(take(kit, d)).toBe("");
  });

  test("plain read closes files", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    const [c, d] = pair(kit, SOCK_STREAM);
    sendFiles(kit, a, "x", [c]);
    kit.call(close, c);
    expect(take(kit, b)).toBe("x");
    expect(take(kit, d)).toBe("");
  });

  test("bad descriptor, bad length", () => {
    const kit = world();
    const [a] = pair(kit, SOCK_STREAM);
    expect(sendFiles(kit, a, "x", [99])).toBe(-EBADF);
    header(kit, 1, 24);
    kit.put64(CTRL, 8);
    expect(kit.call(sendmsg, a, HDR, 0)).toBe(-EINVAL);
  });

  test("a cycle of sockets in flight is collected", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    const [x, y] = pair(kit, SOCK_STREAM);
    // a's queue holds a and y: nobody can reach them once both are closed here.
    sendFiles(kit, b, "1", [a]);
    sendFiles(kit, b, "2", [y]);
    kit.call(close, y);
    expect(take(kit, x)).toBe(-EAGAIN);
    kit.call(close, b);
    kit.call(close, a);
    expect(take(kit, x)).toBe("");
  });

  test("files in flight are bounded", () => {
    const kit = world();
    const [a] = pair(kit, SOCK_STREAM);
    const fds = new Array(253).fill(a);
    let sent = 0;
    for (let i = 0; i < 400; i++) {
      const n = sendFiles(kit, pair(kit, SOCK_STREAM)[0], "x", fds);
      if (n < 0) {
        expect(n).toBe(-109);
        break;
      }
      sent++;
    }
    expect(sent).toBe(Math.floor(65536 / 253));
  });

  test("SO_PASSCRED shows who sent", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    kit.put32(LEN, 1);
    expect(kit.call(setsockopt, b, SOL_SOCKET, SO_PASSCRED, LEN, 4)).toBe(0);
    put(kit, a, "x");
    const r = receive(kit, b, 10, 64);
    expect(r.used).toBe(32);
    expect([kit.get32(CTRL + 12), kit.get32(CTRL + 16)]).toEqual([2, kit.task.process.pid]);
  });
});

describe("options", () => {
  test("buffer sizes are doubled and bounded; SO_ERROR reports once", () => {
    const kit = world();
    const [a, b] = pair(kit, SOCK_STREAM);
    const set = (value: number): number => {
      kit.put32(LEN, value);
      expect(kit.call(setsockopt, a, SOL_SOCKET, SO_SNDBUF, LEN, 4)).toBe(0);
      return get(SO_SNDBUF);
    };
    const get = (name: number): number => {
      kit.put32(LEN, 4);
      expect(kit.call(getsockopt, a, SOL_SOCKET, name, ADDR, LEN)).toBe(0);
      return kit.get32(ADDR);
    };
    expect([set(1), set(10000), set(1 << 30)]).toEqual([4608, 20000, 8388608]);
    put(kit, a, "x");
    kit.call(close, b);
    expect([get(SO_ERROR), get(SO_ERROR)]).toEqual([ECONNRESET, 0]);
  });
});
