/** UDP, ping and raw sockets with a life outside: with the real broker in a namespace of the test's own, and with doubles of it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeFd, poll1, recvmsg, sendmsg, socketpair } from "../../../native/host.ts";
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAGAIN,
  ECONNREFUSED,
  EDESTADDRREQ,
  EINVAL,
  EMSGSIZE,
  ENETDOWN,
  ENETUNREACH,
  EPERM,
  EPROTONOSUPPORT,
} from "../../abi/errno.ts";
import { BLOCKED } from "../../syscall.ts";
import { bind, getpeername, getsockname } from "../../syscalls/bind.ts";
import { close } from "../../syscalls/close.ts";
import { connect } from "../../syscalls/connect.ts";
import { recvmsg as receiveMessage, recvfrom } from "../../syscalls/recvfrom.ts";
import { sendmsg as sendMessage, sendto } from "../../syscalls/sendto.ts";
import { socket } from "../../syscalls/socket.ts";
import { getsockopt, setsockopt } from "../../syscalls/sockopt.ts";
import { write } from "../../syscalls/write.ts";
import { RUN_READY } from "../../task/task.ts";
import { complete, finish, pump, TestNetwork } from "../../testing/outside-kit.ts";
import { resaved } from "../../testing/saving.ts";
import { MEMORY, TaskKit } from "../../testing/task-kit.ts";
import { POLLERR, POLLIN, POLLOUT } from "../../vfs/file.ts";
import { KernelIo } from "../../vfs/io.ts";
import {
  AF_INET,
  AF_INET6,
  IPPROTO_ICMP,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_PEEK,
  MSG_TRUNC,
  SO_BROADCAST,
  SO_ERROR,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_TIMESTAMP,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_UDP,
} from "../abi.ts";
import type { InetDatagramSocket } from "../inet/datagram.ts";
import { formatIp, type Ip, ipFromBytes, ipToBytes, LOOPBACK4, LOOPBACK6 } from "../inet/ip.ts";
import { ReceiveInfo } from "../socket.ts";
import { decodeRequest, encodeAnswer, HAS_DESCRIPTOR, IS_RELAY, OP_BIND, PLACE_SIZE, writePlace } from "./protocol.ts";

const DATA = MEMORY;
const ADDR = MEMORY + 0x180000;
const LEN = MEMORY + 0x180100;
const MSG = MEMORY + 0x180200;
const CONTROL = MEMORY + 0x180400;
const SEQPACKET = 5;
/** An address that is nobody's, and to which there is no route. */
const ELSEWHERE = "192.0.2.1";
const SELF = "127.0.0.1";

/** sockaddr_in or sockaddr_in6 of text; its length. */
function address(kit: TaskKit, ip: string, port: number): number {
  if (!ip.includes(":")) {
    kit.put(
      ADDR,
      Uint8Array.from([AF_INET, 0, port >> 8, port & 255, ...ip.split(".").map(Number), ...new Uint8Array(8)]),
    );
    return 16;
  }
  const bytes = new Uint8Array(28);
  bytes.set([AF_INET6, 0, port >> 8, port & 255]);
  if (ip === "::1") ipToBytes(LOOPBACK6, bytes, 8, 16);
  else if (ip === "::ffff:127.0.0.1") ipToBytes(LOOPBACK4, bytes, 8, 16);
  else expect(ip).toBe("::");
  kit.put(ADDR, bytes);
  return 28;
}
const udp = (kit: TaskKit, family = AF_INET, flags = 0): number => kit.call(socket, family, SOCK_DGRAM | flags, 0);
const bindTo = (kit: TaskKit, fd: number, ip: string, port: number): number =>
  complete(kit, bind, fd, ADDR, address(kit, ip, port));
const connectTo = (kit: TaskKit, fd: number, ip: string, port: number): number =>
  complete(kit, connect, fd, ADDR, address(kit, ip, port));
const send = (kit: TaskKit, fd: number, text: string, ip: string, port: number, flags = 0): number =>
  complete(kit, sendto, fd, DATA, kit.put(DATA, text), flags, ADDR, address(kit, ip, port));
const put = (kit: TaskKit, fd: number, text: string): number => complete(kit, write, fd, DATA, kit.put(DATA, text));
const option = (kit: TaskKit, fd: number, level: number, name: number, ...values: number[]): number => {
  kit.put32(LEN, ...values);
  return complete(kit, setsockopt, fd, level, name, LEN, values.length * 4);
};
const poll = (kit: TaskKit, fd: number): number => kit.task.files.get(fd)!.poll();

function endpoint(kit: TaskKit): string {
  const bytes = kit.bytes(ADDR, 28);
  const v6 = bytes[0] === AF_INET6;
  return `${formatIp(ipFromBytes(bytes, v6 ? 8 : 4, v6 ? 16 : 4))}:${(bytes[2]! << 8) | bytes[3]!}`;
}
function name(kit: TaskKit, fd: number, peer = false): string | number {
  kit.put32(LEN, 28);
  const result = kit.call(peer ? getpeername : getsockname, fd, ADDR, LEN);
  return result < 0 ? result : endpoint(kit);
}
const portOf = (kit: TaskKit, fd: number): number => Number(String(name(kit, fd)).split(":").at(-1));

/** Receives, waiting: the text and whom it is from, or -errno. */
function take(kit: TaskKit, fd: number, flags = 0, size = 2000, kits = [kit]): string | number {
  kit.put32(LEN, 28);
  const first = kit.call(recvfrom, fd, DATA, size, flags, ADDR, LEN);
  const n = finish(kit, kit.task, recvfrom, first, kits);
  return n < 0 ? n : `${kit.get(DATA, Math.min(n, size))} from ${endpoint(kit)}`;
}
/** Receives a message: the text, MSG_* flags, and control messages as "level/type". */
function message(kit: TaskKit, fd: number, flags = 0) {
  kit.put64(MSG, ADDR, 28, MSG + 0x100, 1, CONTROL, 512, 0);
  kit.put64(MSG + 0x100, DATA, 2000);
  const n = finish(kit, kit.task, receiveMessage, kit.call(receiveMessage, fd, MSG, flags));
  const control = new Map<string, Uint8Array>();
  if (n < 0) return { n, text: "", flags: 0, control };
  const view = kit.view(MSG, 56);
  const end = view.getUint32(40, true);
  for (let at = 0; at + 16 <= end; ) {
    const head = kit.view(CONTROL + at, 16);
    const length = head.getUint32(0, true);
    control.set(`${head.getInt32(8, true)}/${head.getInt32(12, true)}`, kit.bytes(CONTROL + at + 16, length - 16));
    at += (length + 7) & ~7;
  }
  return { n, text: kit.get(DATA, n), flags: view.getUint32(48, true), control };
}

let network: TestNetwork;
beforeAll(async () => {
  network = await new TestNetwork().ready();
});
afterAll(() => network.end());

type RulesAsked = Uint8Array | undefined;
/** Rules that only let prefixes be spoken to, as bytes (src/native/broker-rules.h). */
function only(...prefixes: [ip: Ip, bits: number][]): Uint8Array {
  const bytes = new Uint8Array(16 + 36 * prefixes.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x52554c45, true);
  view.setUint16(4, 1, true);
  // Restricted; raw sockets are allowed.
  view.setUint16(6, 3, true);
  view.setUint16(8, prefixes.length, true);
  prefixes.forEach(([ip, bits], i) => {
    const at = 16 + 36 * i;
    bytes.set([2, 0, 0, bits], at);
    view.setUint16(at + 6, 65535, true);
    writePlace(view, at + 8, { family: typeof ip === "number" ? AF_INET : AF_INET6, ip, port: 0, scope: 0 });
  });
  return bytes;
}
const LOOPBACK_AND_ELSEWHERE = only([0x7f000000, 8], [LOOPBACK6, 128], [0xc0000200, 24]);
function outsider(rules?: RulesAsked): TaskKit {
  const kit = new TaskKit();
  kit.kernel.net.useBroker(network.broker(rules));
  return kit;
}
function closeAll(kit: TaskKit): void {
  for (const [fd] of [...kit.task.files.entries()]) kit.call(close, fd);
  kit.kernel.net.broker?.close();
}

for (const [kind, rules] of [
  ["handed over", undefined],
  ["relayed", LOOPBACK_AND_ELSEWHERE],
] as const)
  describe(`UDP outside, ${kind}`, () => {
    let a: TaskKit;
    let b: TaskKit;
    beforeAll(() => {
      a = outsider(rules);
      b = outsider(rules);
    });
    afterAll(() => {
      closeAll(a);
      closeAll(b);
    });

    test("two kernels speak with each other, and replies find their way", () => {
      const server = udp(a);
      expect(bindTo(a, server, "0.0.0.0", 5000)).toBe(0);
      const client = udp(b);
      expect(send(b, client, "hello", SELF, 5000)).toBe(5);
      expect(take(a, server)).toBe(`hello from ${SELF}:${portOf(b, client)}`);
      expect(send(a, server, "", SELF, portOf(b, client))).toBe(0);
      expect(take(b, client)).toBe(` from ${SELF}:5000`);
      expect(send(a, server, "more", SELF, portOf(b, client))).toBe(4);
      expect(pump([b], () => (poll(b, client) & POLLIN) !== 0)).toBe(true);
      expect(take(b, client, MSG_PEEK)).toBe(`more from ${SELF}:5000`);
      expect(b.call(recvfrom, client, DATA, 2, MSG_TRUNC, 0, 0)).toBe(4);
      expect(b.call(recvfrom, client, DATA, 2, MSG_DONTWAIT, 0, 0)).toBe(-EAGAIN);
      expect(poll(b, client) & (POLLIN | POLLOUT)).toBe(POLLOUT);
      a.call(close, server);
      b.call(close, client);
    });

    test("bind fails as the host says, and binds what it chose", () => {
      const one = udp(a);
      const two = udp(b);
      expect(bindTo(a, one, "0.0.0.0", 5001)).toBe(0);
      expect(bindTo(b, two, "0.0.0.0", 5001)).toBe(-EADDRINUSE);
      expect(bindTo(b, two, ELSEWHERE, 5001)).toBe(-EADDRNOTAVAIL);
      expect(bindTo(b, two, "0.0.0.0", 0)).toBe(0);
      expect(portOf(b, two)).toBeGreaterThan(1023);
      expect(bindTo(b, two, "0.0.0.0", 0)).toBe(-EINVAL);
      a.call(close, one);
      b.call(close, two);
    });

    test("what is here stays here, in one order with what comes from outside", () => {
      const server = udp(a);
      expect(bindTo(a, server, "0.0.0.0", 5002)).toBe(0);
      const near = udp(a);
      const far = udp(b);
      expect(send(b, far, "1 far", SELF, 5002)).toBe(5);
      expect(pump([a], () => (poll(a, server) & POLLIN) !== 0)).toBe(true);
      expect(send(a, near, "2 near", SELF, 5002)).toBe(6);
      expect(send(b, far, "3 far", SELF, 5002)).toBe(5);
      expect(String(take(a, server))).toStartWith("1 far");
      expect(String(take(a, server))).toStartWith("2 near");
      expect(String(take(a, server))).toStartWith("3 far");
      // The socket that has only spoken to one here speaks to the outside too.
      const there = udp(b);
      expect(bindTo(b, there, SELF, 5003)).toBe(0);
      expect(send(a, near, "out", SELF, 5003)).toBe(3);
      expect(String(take(b, there))).toStartWith("out from ");
      expect(send(b, there, "reply", SELF, Number(endpoint(b).split(":")[1]))).toBe(5);
      expect(take(a, near)).toBe(`reply from ${SELF}:5003`);
      for (const fd of [server, near]) a.call(close, fd);
      for (const fd of [far, there]) b.call(close, fd);
    });

    test("connected: only the peer is heard, and a port where nobody is refuses", () => {
      const server = udp(a);
      expect(bindTo(a, server, "0.0.0.0", 5004)).toBe(0);
      const client = udp(b);
      expect(connectTo(b, client, SELF, 5004)).toBe(0);
      expect(name(b, client, true)).toBe(`${SELF}:5004`);
      const port = portOf(b, client);
      expect(name(b, client)).toBe(`${SELF}:${port}`);
      expect(put(b, client, "to you")).toBe(6);
      expect(take(a, server)).toBe(`to you from ${SELF}:${port}`);
      const other = udp(a);
      expect(send(a, other, "not from the peer", SELF, port)).toBe(17);
      expect(send(a, server, "from the peer", SELF, port)).toBe(13);
      expect(take(b, client)).toBe(`from the peer from ${SELF}:5004`);
      a.call(close, server);
      // The host's socket closes when the broker of a relay gets to it.
      const refused = (): boolean => {
        for (let tries = 0; tries < 50; tries++) {
          expect(put(b, client, "anybody?")).toBe(8);
          if (pump([b], () => (poll(b, client) & POLLERR) !== 0, 50)) return true;
        }
        return false;
      };
      expect(refused()).toBe(true);
      expect(b.call(recvfrom, client, DATA, 9, MSG_DONTWAIT, 0, 0)).toBe(-ECONNREFUSED);
      expect(poll(b, client) & POLLERR).toBe(0);
      expect(refused()).toBe(true);
      b.put32(LEN, 4);
      expect(b.call(getsockopt, client, SOL_SOCKET, SO_ERROR, ADDR, LEN)).toBe(0);
      expect(b.get32(ADDR)).toBe(ECONNREFUSED);
      // Disconnected it hears everybody, and has another port.
      expect(complete(b, connect, client, ADDR, b.put(ADDR, new Uint8Array(16)))).toBe(0);
      expect(name(b, client)).toBe("0.0.0.0:0");
      a.call(close, other);
      b.call(close, client);
    });

    test("IPv6, and IPv4 by a socket for both", () => {
      const server = udp(a, AF_INET6);
      expect(bindTo(a, server, "::", 5005)).toBe(0);
      const six = udp(b, AF_INET6);
      expect(send(b, six, "six", "::1", 5005)).toBe(3);
      expect(take(a, server)).toBe(`six from ::1:${portOf(b, six)}`);
      const four = udp(b);
      expect(send(b, four, "four", SELF, 5005)).toBe(4);
      expect(take(a, server)).toBe(`four from ${SELF}:${portOf(b, four)}`);
      expect(send(a, server, "back", "::ffff:127.0.0.1", portOf(b, four))).toBe(4);
      expect(take(b, four)).toBe(`back from ${SELF}:5005`);
      const only = udp(a, AF_INET6);
      expect(option(a, only, SOL_IPV6, 26, 1)).toBe(0);
      expect(bindTo(a, only, "::", 5006)).toBe(0);
      const beside = udp(b);
      expect(bindTo(b, beside, "0.0.0.0", 5006)).toBe(0);
      for (const fd of [server, only]) a.call(close, fd);
      for (const fd of [six, four, beside]) b.call(close, fd);
    });

    test("a large datagram passes, a larger one does not", () => {
      const server = udp(a);
      expect(bindTo(a, server, "0.0.0.0", 5007)).toBe(0);
      const client = udp(b);
      expect(send(b, client, "x".repeat(60000), SELF, 5007)).toBe(60000);
      expect(String(take(a, server, 0, 65536))).toStartWith("x".repeat(60000));
      expect(send(b, client, "x".repeat(65508), SELF, 5007)).toBe(-EMSGSIZE);
      // In pieces (UDP_SEGMENT).
      expect(option(b, client, SOL_UDP, 103, 1000)).toBe(0);
      expect(send(b, client, "y".repeat(2500), SELF, 5007)).toBe(2500);
      const sizes = [1, 2, 3].map(() => String(take(a, server)).indexOf(" "));
      expect(sizes).toEqual([1000, 1000, 500]);
      a.call(close, server);
      b.call(close, client);
    });

    test("groups: joined outside, spoken to and left", () => {
      const [one, two] = [udp(a), udp(b)];
      for (const [kit, fd] of [
        [a, one],
        [b, two],
      ] as const) {
        expect(option(kit, fd, SOL_SOCKET, SO_REUSEADDR, 1)).toBe(0);
        expect(bindTo(kit, fd, "0.0.0.0", 5353)).toBe(0);
      }
      if (kind === "relayed") {
        // The rules do not let it speak there.
        expect(option(b, two, SOL_IP, 35, 0xfb0000e0, 0x0100007f)).toBe(-EPERM);
      } else {
        expect(option(b, two, SOL_IP, 35, 0xfb0000e0, 0x0100007f)).toBe(0);
        expect(option(b, two, SOL_IP, 35, 0xfb0000e0, 0x0100007f)).toBe(-EADDRINUSE);
        expect(option(a, one, SOL_IP, 32, 0x0100007f)).toBe(0);
        expect(send(a, one, "to all", "224.0.0.251", 5353)).toBe(6);
        expect(String(take(b, two))).toStartWith("to all");
        expect(option(b, two, SOL_IP, 36, 0xfb0000e0, 0x0100007f)).toBe(0);
        expect(option(b, two, SOL_IP, 36, 0xfb0000e0, 0x0100007f)).toBe(-EADDRNOTAVAIL);
        // By its source: struct group_source_req, the longest of all options.
        const request = new Uint32Array(66);
        request.set([1, 0, AF_INET, 0xfc0000e0]);
        request.set([AF_INET, 0x0100007f], 34);
        const bySource = (optionName: number, source: number): number => {
          request[35] = source;
          return option(b, two, SOL_IP, optionName, ...request);
        };
        expect(bySource(46, 0x0500007f)).toBe(0);
        expect(send(a, one, "unheard", "224.0.0.252", 5353)).toBe(7);
        expect(bySource(46, 0x0100007f)).toBe(0);
        expect(send(a, one, "of this source", "224.0.0.252", 5353)).toBe(14);
        expect(String(take(b, two))).toStartWith("of this source");
        expect(bySource(47, 0x0100007f)).toBe(0);
      }
      a.call(close, one);
      b.call(close, two);
    });

    test("a killed task's answer is dropped, and nothing stays behind", () => {
      const before = a.kernel.net.udpPorts;
      const fd = udp(a);
      expect(a.call(bind, fd, ADDR, address(a, "0.0.0.0", 5008))).toBe(BLOCKED);
      a.task.cancelWaits();
      a.call(close, fd);
      expect(pump([a], () => false, 100)).toBe(false);
      expect([...before.on(5008)]).toEqual([]);
      const again = udp(b);
      expect(bindTo(b, again, "0.0.0.0", 5008)).toBe(0);
      b.call(close, again);
    });
  });

describe("UDP outside, of sockets that were handed over", () => {
  let a: TaskKit;
  let b: TaskKit;
  beforeAll(() => {
    a = outsider();
    b = outsider();
  });
  afterAll(() => {
    closeAll(a);
    closeAll(b);
  });

  test("control messages are the host's", () => {
    const server = udp(a);
    expect(option(a, server, SOL_IP, 8, 1)).toBe(0);
    expect(bindTo(a, server, "0.0.0.0", 5100)).toBe(0);
    for (const name of [12, 13]) expect(option(a, server, SOL_IP, name, 1)).toBe(0);
    expect(option(a, server, SOL_SOCKET, SO_TIMESTAMP, 1)).toBe(0);
    const client = udp(b);
    expect(option(b, client, SOL_IP, 2, 7)).toBe(0);
    expect(option(b, client, SOL_IP, 1, 0x10)).toBe(0);
    expect(send(b, client, "with all", "127.0.0.2", 5100)).toBe(8);
    const { text, flags, control } = message(a, server);
    expect([text, flags]).toEqual(["with all", 0]);
    expect([...control.keys()].sort()).toEqual(["0/1", "0/2", "0/8", `${SOL_SOCKET}/${SO_TIMESTAMP}`]);
    expect(control.get("0/2")![0]).toBe(7);
    expect(control.get("0/1")![0]).toBe(0x10);
    expect([...control.get("0/8")!.subarray(8)]).toEqual([127, 0, 0, 2]);
    // And sent with: from that address.
    const port = portOf(b, client);
    a.put64(MSG, ADDR, address(a, SELF, port), MSG + 0x100, 1, CONTROL, 32, 0);
    a.put64(MSG + 0x100, DATA, a.put(DATA, "answer"));
    a.put64(CONTROL, 28);
    a.put32(CONTROL + 8, SOL_IP, 8, 0, 0x0200007f, 0);
    expect(complete(a, sendMessage, server, MSG, 0)).toBe(6);
    expect(take(b, client)).toBe("answer from 127.0.0.2:5100");
    a.call(close, server);
    b.call(close, client);
  });

  test("the queue of errors", () => {
    const client = udp(b);
    expect(connectTo(b, client, SELF, 5101)).toBe(0);
    expect(option(b, client, SOL_IP, 11, 1)).toBe(0);
    expect(put(b, client, "nobody")).toBe(6);
    expect(pump([b], () => (poll(b, client) & POLLERR) !== 0)).toBe(true);
    const { text, flags, control } = message(b, client, MSG_ERRQUEUE);
    expect([text, flags & MSG_ERRQUEUE]).toEqual(["nobody", MSG_ERRQUEUE]);
    expect(control.get("0/11")![0]).toBe(ECONNREFUSED);
    expect(message(b, client, MSG_ERRQUEUE).n).toBe(-EAGAIN);
    b.call(close, client);
  });

  test("ports for several, and errors of sending", () => {
    const [one, two] = [udp(a), udp(b)];
    for (const [kit, fd] of [
      [a, one],
      [b, two],
    ] as const) {
      expect(option(kit, fd, SOL_SOCKET, SO_REUSEPORT, 1)).toBe(0);
      expect(bindTo(kit, fd, "0.0.0.0", 5102)).toBe(0);
    }
    const three = udp(b, AF_INET, SOCK_NONBLOCK);
    // Also non-blocking calls wait for the broker, who answers soon.
    expect(send(b, three, "x", ELSEWHERE, 9)).toBe(-ENETUNREACH);
    expect(send(b, three, "x", "255.255.255.255", 9)).toBe(-EACCES);
    expect(connectTo(b, three, ELSEWHERE, 9)).toBe(-ENETUNREACH);
    expect(put(b, three, "x")).toBe(-EDESTADDRREQ);
    expect(option(b, three, SOL_SOCKET, SO_BROADCAST, 1)).toBe(0);
    expect(send(b, three, "x", "127.255.255.255", 9)).toBe(1);
    a.call(close, one);
    for (const fd of [two, three]) b.call(close, fd);
  });

  test("another's socket for a device, and one that there is none of", () => {
    const fd = udp(a);
    a.put(LEN, "lo\0");
    expect(complete(a, setsockopt, fd, SOL_SOCKET, 25, LEN, 3)).toBe(0);
    expect(bindTo(a, fd, "0.0.0.0", 5103)).toBe(0);
    const client = udp(b);
    expect(send(b, client, "by lo", SELF, 5103)).toBe(5);
    expect(String(take(a, fd))).toStartWith("by lo");
    a.put(LEN, "eth7\0");
    expect(complete(a, setsockopt, fd, SOL_SOCKET, 25, LEN, 5)).toBe(-19);
    a.call(close, fd);
    b.call(close, client);
  });

  test("a connection here is left for one outside, and back", () => {
    const near = udp(a);
    expect(bindTo(a, near, SELF, 5104)).toBe(0);
    const far = udp(b);
    expect(bindTo(b, far, SELF, 5105)).toBe(0);
    const fd = udp(a);
    expect(bindTo(a, fd, "0.0.0.0", 5106)).toBe(0);
    for (let turn = 0; turn < 2; turn++) {
      expect(connectTo(a, fd, SELF, 5104)).toBe(0);
      // Not from its peer.
      expect(send(b, far, "unheard", SELF, 5106)).toBe(7);
      expect(put(a, fd, "near")).toBe(4);
      expect(take(a, near)).toBe(`near from ${SELF}:5106`);
      expect(send(a, near, "and back", SELF, 5106)).toBe(8);
      expect(take(a, fd)).toBe(`and back from ${SELF}:5104`);
      expect(connectTo(a, fd, SELF, 5105)).toBe(0);
      expect(put(a, fd, "far")).toBe(3);
      expect(take(b, far)).toBe(`far from ${SELF}:5106`);
      expect(send(b, far, "and back", SELF, 5106)).toBe(8);
      expect(take(a, fd)).toBe(`and back from ${SELF}:5105`);
    }
    for (const each of [near, fd]) a.call(close, each);
    b.call(close, far);
  });

  test("without its broker: what it was given lives on, nothing new is had", () => {
    const socketFd = network.broker();
    const c = new TaskKit();
    c.kernel.net.useBroker(socketFd);
    const fd = udp(c);
    expect(bindTo(c, fd, "0.0.0.0", 5107)).toBe(0);
    const client = udp(b);
    expect(connectTo(b, client, SELF, 5107)).toBe(0);
    network.kill(socketFd);
    expect(pump([c], () => !c.kernel.net.outside)).toBe(true);
    expect(put(b, client, "still")).toBe(5);
    expect(String(take(c, fd))).toStartWith("still");
    const late = udp(c);
    expect(bindTo(c, late, "0.0.0.0", 5108)).toBe(0);
    expect(send(c, late, "x", ELSEWHERE, 9)).toBe(-ENETDOWN);
    closeAll(c);
    b.call(close, client);
  });
});

describe("in a restored kernel", () => {
  test("sockets outside are made anew: bound, connected, in their groups; raw ones too", () => {
    const kit = outsider();
    const other = outsider();
    const [server, client, member] = [udp(kit), udp(kit), udp(kit)];
    expect(bindTo(kit, server, "0.0.0.0", 5301)).toBe(0);
    const peer = udp(other);
    expect(bindTo(other, peer, SELF, 5302)).toBe(0);
    expect(connectTo(kit, client, SELF, 5302)).toBe(0);
    const port = portOf(kit, client);
    expect(bindTo(kit, member, "0.0.0.0", 5303)).toBe(0);
    expect(option(kit, member, SOL_IP, 35, 0xfa0000e0, 0x0100007f)).toBe(0);
    const raw = complete(kit, socket, AF_INET, SOCK_RAW, IPPROTO_ICMP);
    // One that had come, with the host's control messages, and before one from here.
    expect(option(kit, server, SOL_IP, 12, 1)).toBe(0);
    expect(send(other, peer, "before", SELF, 5301)).toBe(6);
    expect(pump([kit], () => (poll(kit, server) & POLLIN) !== 0)).toBe(true);
    const near = udp(kit);
    expect(send(kit, near, "near", SELF, 5301)).toBe(4);
    // One that waits for its answer.
    const waiting = udp(kit);
    const task = kit.thread();
    expect(kit.callAs(task, bind, waiting, ADDR, address(kit, "0.0.0.0", 5304))).toBe(BLOCKED);

    const fresh = resaved(kit.kernel, undefined, undefined, undefined, false);
    closeAll(kit);
    fresh.net.useBroker(network.broker());
    const [restored, waiter] = [...fresh.tasks];
    const files = restored!.files;
    expect(waiter!.runState).toBe(RUN_READY);
    const settle = (done: () => boolean): void => {
      for (const until = Date.now() + 5000; !done() && Date.now() < until; ) fresh.poller.wait(5);
      expect(done()).toBe(true);
    };
    const sockets = [server, client, member, raw].map((fd) => files.get(fd) as InetDatagramSocket);
    settle(
      () =>
        sockets.every(({ outside }) => outside?.open) &&
        sockets.slice(0, 3).every(({ outsideBound }) => outsideBound) &&
        sockets[1]!.outsideConnected,
    );
    expect(sockets.map(({ error }) => error)).toEqual([0, 0, 0, 0]);
    const buffer = new Uint8Array(100);
    const receive = (at: number): string | number => {
      const info = new ReceiveInfo();
      const n = sockets[at]!.receive(restored!, new KernelIo(buffer), MSG_DONTWAIT, info);
      const text = n < 0 ? n : Buffer.from(buffer.subarray(0, n)).toString();
      if (text === "before") expect(info.control?.map(({ level, type }) => `${level}/${type}`)).toEqual(["0/2"]);
      return text;
    };
    expect([receive(0), receive(0), receive(0)]).toEqual(["before", "near", -EAGAIN]);
    expect(send(other, peer, "to the server", SELF, 5301)).toBe(13);
    settle(() => (sockets[0]!.poll() & POLLIN) !== 0);
    expect(receive(0)).toBe("to the server");
    expect(send(other, peer, "to the client", SELF, port)).toBe(13);
    settle(() => (sockets[1]!.poll() & POLLIN) !== 0);
    expect(receive(1)).toBe("to the client");
    expect(option(other, peer, SOL_IP, 32, 0x0100007f)).toBe(0);
    expect(send(other, peer, "to the group", "224.0.0.250", 5303)).toBe(12);
    settle(() => (sockets[2]!.poll() & POLLIN) !== 0);
    expect(receive(2)).toBe("to the group");
    for (const [, file] of [...files.entries()]) file.release();
    fresh.net.broker?.close();
    closeAll(other);
  });
});

describe("relays", () => {
  test("what the rules refuse is told by the next call", () => {
    const kit = outsider(only([0x0a000000, 8]));
    const fd = udp(kit);
    expect(send(kit, fd, "x", SELF, 5200)).toBe(1);
    expect(pump([kit], () => (poll(kit, fd) & POLLERR) !== 0)).toBe(true);
    expect(kit.call(recvfrom, fd, DATA, 9, MSG_DONTWAIT, 0, 0)).toBe(-EACCES);
    const two = udp(kit);
    expect(connectTo(kit, two, SELF, 5200)).toBe(0);
    expect(put(kit, two, "x")).toBe(1);
    expect(pump([kit], () => (poll(kit, two) & POLLERR) !== 0)).toBe(true);
    expect(put(kit, two, "x")).toBe(-ECONNREFUSED);
    closeAll(kit);
  });

  test("the end of a relay is the end of the outside", () => {
    const socketFd = network.broker(only([0x7f000000, 8]));
    const kit = new TaskKit();
    kit.kernel.net.useBroker(socketFd);
    const fd = udp(kit);
    expect(bindTo(kit, fd, "0.0.0.0", 5201)).toBe(0);
    network.kill(socketFd);
    expect(pump([kit], () => (poll(kit, fd) & POLLERR) !== 0)).toBe(true);
    expect(kit.call(recvfrom, fd, DATA, 9, MSG_DONTWAIT, 0, 0)).toBe(-ENETDOWN);
    expect(kit.call(recvfrom, fd, DATA, 9, MSG_DONTWAIT, 0, 0)).toBe(-EAGAIN);
    expect(send(kit, fd, "x", ELSEWHERE, 9)).toBe(-ENETDOWN);
    closeAll(kit);
  });
});

describe("ping and raw sockets", () => {
  /** An echo request, with its checksum (ping sockets make their own, raw ones do not). */
  function echo(id: number): Uint8Array {
    const bytes = new Uint8Array(12);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, 8);
    view.setUint16(4, id);
    view.setUint16(6, 1);
    bytes.set(Buffer.from("ping"), 8);
    let sum = 0;
    for (let at = 0; at < 12; at += 2) sum += view.getUint16(at);
    view.setUint16(2, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
    return bytes;
  }

  for (const [kind, rules] of [
    ["handed over", undefined],
    ["relayed", only([0x7f000000, 8])],
  ] as const)
    test(`raw ICMP, ${kind}`, () => {
      const kit = outsider(rules);
      const fd = complete(kit, socket, AF_INET, SOCK_RAW, IPPROTO_ICMP);
      expect(fd).toBeGreaterThanOrEqual(0);
      // Of requests, which loopback brings back too, nothing is wanted.
      expect(option(kit, fd, 255, 1, 1 << 8)).toBe(0);
      const length = kit.put(DATA, echo(77));
      expect(complete(kit, sendto, fd, DATA, length, 0, ADDR, address(kit, SELF, 0))).toBe(length);
      kit.put32(LEN, 28);
      const n = complete(kit, recvfrom, fd, DATA, 100, 0, ADDR, LEN);
      expect(n).toBe(20 + length);
      expect([...kit.bytes(DATA + 20, 1)]).toEqual([0]);
      expect(endpoint(kit)).toBe(`${SELF}:0`);
      // Whoever writes IP headers writes addresses that no rule has seen.
      expect(option(kit, fd, SOL_IP, 3, 1)).toBe(kind === "relayed" ? -EPERM : 0);
      closeAll(kit);
    });

  test("ping sockets are for some groups", () => {
    const kit = outsider();
    kit.container.setSysctl("net/ipv4/ping_group_range", "1\t0");
    expect(complete(kit, socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP)).toBe(-EACCES);
    kit.container.setSysctl("net/ipv4/ping_group_range", "0\t2147483647");
    expect(complete(kit, socket, AF_INET, SOCK_DGRAM, 58)).toBe(-EPROTONOSUPPORT);
    // The namespace of the test has its own word in this.
    const fd = complete(kit, socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    expect([-EACCES, 0].includes(Math.min(fd, 0))).toBe(true);
    closeAll(kit);
  });

  test("without an outside there are none", () => {
    const kit = new TaskKit();
    expect(kit.call(socket, AF_INET, SOCK_RAW, IPPROTO_ICMP)).toBe(-EPROTONOSUPPORT);
    kit.container.setSysctl("net/ipv4/ping_group_range", "0\t2147483647");
    expect(kit.call(socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP)).toBe(-EACCES);
  });
});

describe("with a double of the broker", () => {
  /** The broker's end, and what it says to requests. */
  class Double {
    private readonly end: number;
    readonly kit = new TaskKit();
    private readonly bytes = new Uint8Array(70000);
    private readonly out = new Int32Array(2);
    constructor() {
      socketpair(SEQPACKET, this.out);
      this.end = this.out[1]!;
      this.kit.kernel.net.useBroker(this.out[0]!);
    }
    next() {
      expect(poll1(this.end, POLLIN, 1000)).toBe(POLLIN);
      const none = new Int32Array(4);
      const count = Int32Array.of(4);
      const n = recvmsg(this.end, this.bytes, this.bytes.length, none, count, MSG_DONTWAIT);
      for (let i = 0; i < count[0]!; i++) closeFd(none[i]!);
      return decodeRequest(this.bytes.slice(0, n))!;
    }
    /** With a relay: our end of it. */
    answer(seq: number, result: number, port: number, relay = true): number {
      const pair = new Int32Array(2);
      socketpair(SEQPACKET, pair);
      const place = { family: AF_INET, ip: LOOPBACK4, port, scope: 0 };
      const flags = result < 0 ? 0 : HAS_DESCRIPTOR | (relay ? IS_RELAY : 0);
      const bytes = encodeAnswer({ seq, result, flags, place });
      sendmsg(this.end, bytes, bytes.length, pair, result < 0 ? 0 : 1, 0);
      closeFd(pair[0]!);
      return pair[1]!;
    }
    close(): void {
      closeAll(this.kit);
      closeFd(this.end);
    }
  }
  const say = (fd: number, family: number, rest: number[], text = ""): void => {
    const bytes = new Uint8Array(PLACE_SIZE + text.length);
    const view = new DataView(bytes.buffer);
    writePlace(view, 0, { family: AF_INET, ip: LOOPBACK4, port: 99, scope: 0 });
    view.setUint16(0, family, true);
    rest.forEach((value, i) => {
      view.setInt32(8 + 4 * i, value, true);
    });
    bytes.set(Buffer.from(text), PLACE_SIZE);
    sendmsg(fd, bytes, bytes.length, null, 0, MSG_DONTWAIT);
  };
  function bound(double: Double, port: number): [fd: number, relay: number] {
    const { kit } = double;
    const fd = udp(kit);
    const first = kit.call(bind, fd, ADDR, address(kit, "0.0.0.0", port));
    expect(first).toBe(BLOCKED);
    const request = double.next();
    expect([request.op, request.family, request.type, request.place?.port]).toEqual([
      OP_BIND,
      AF_INET,
      SOCK_DGRAM,
      port,
    ]);
    const relay = double.answer(request.seq, 0, port || 40000);
    expect(finish(kit, kit.task, bind, first)).toBe(0);
    return [fd, relay];
  }

  test("errors come among datagrams, in their order", () => {
    const double = new Double();
    const { kit } = double;
    const [fd, relay] = bound(double, 0);
    expect(portOf(kit, fd)).toBe(40000);
    say(relay, AF_INET, [0x0100007f], "one");
    say(relay, 0xffff, [EACCES]);
    say(relay, AF_INET, [0x0100007f], "two");
    expect(pump([kit], () => (poll(kit, fd) & POLLIN) !== 0)).toBe(true);
    expect(take(kit, fd)).toBe(`one from ${SELF}:99`);
    expect(take(kit, fd, MSG_PEEK)).toBe(-EACCES);
    expect(take(kit, fd)).toBe(`two from ${SELF}:99`);
    expect(take(kit, fd, MSG_DONTWAIT)).toBe(-EAGAIN);
    closeFd(relay);
    double.close();
  });

  test("what is no datagram ends the relay, whatever it says", () => {
    for (const speak of [
      (relay: number) => say(relay, 77, []),
      (relay: number) => say(relay, 0, []),
      (relay: number) => void sendmsg(relay, Uint8Array.of(1, 2, 3), 3, null, 0, MSG_DONTWAIT),
      (relay: number) => void sendmsg(relay, new Uint8Array(0), 0, null, 0, MSG_DONTWAIT),
    ]) {
      const double = new Double();
      const { kit } = double;
      const [fd, relay] = bound(double, 4000);
      speak(relay);
      expect(pump([kit], () => (poll(kit, fd) & (POLLIN | POLLERR)) !== 0)).toBe(true);
      expect(take(kit, fd, MSG_DONTWAIT)).toBe(-ENETDOWN);
      expect(take(kit, fd, MSG_DONTWAIT)).toBe(-EAGAIN);
      closeFd(relay);
      double.close();
    }
    // An error that is none is one all the same.
    const double = new Double();
    const [fd, relay] = bound(double, 4000);
    say(relay, 0xffff, [-5]);
    expect(pump([double.kit], () => (poll(double.kit, fd) & POLLERR) !== 0)).toBe(true);
    expect(take(double.kit, fd, MSG_DONTWAIT)).toBe(-ECONNREFUSED);
    closeFd(relay);
    double.close();
  });

  test("a port of the host's choice that is taken here is not taken", () => {
    const double = new Double();
    const { kit } = double;
    const [taken, relay] = bound(double, 4001);
    const fd = udp(kit);
    const first = kit.call(bind, fd, ADDR, address(kit, "0.0.0.0", 0));
    closeFd(double.answer(double.next().seq, 0, 4001));
    kit.kernel.poller.wait(1000);
    const other = double.answer(double.next().seq, 0, 4002);
    expect(finish(kit, kit.task, bind, first)).toBe(0);
    expect([portOf(kit, taken), portOf(kit, fd)]).toEqual([4001, 4002]);
    for (const each of [relay, other]) closeFd(each);
    double.close();
  });

  test("a full relay takes no more until there is room", () => {
    const double = new Double();
    const { kit } = double;
    const [fd, relay] = bound(double, 4003);
    let sent = 0;
    while (send(kit, fd, "x".repeat(1000), ELSEWHERE, 9, MSG_DONTWAIT) === 1000) sent++;
    expect(sent).toBeGreaterThan(10);
    expect(poll(kit, fd) & POLLOUT).toBe(0);
    const first = kit.call(sendto, fd, DATA, kit.put(DATA, "last"), 0, ADDR, address(kit, ELSEWHERE, 9));
    expect(first).toBe(BLOCKED);
    const bytes = new Uint8Array(2000);
    for (let i = 0; i < sent; i++)
      expect(recvmsg(relay, bytes, bytes.length, null, new Int32Array(1), MSG_DONTWAIT)).toBe(PLACE_SIZE + 1000);
    expect(finish(kit, kit.task, sendto, first)).toBe(4);
    expect(recvmsg(relay, bytes, bytes.length, null, new Int32Array(1), MSG_DONTWAIT)).toBe(PLACE_SIZE + 4);
    const view = new DataView(bytes.buffer);
    expect([view.getUint16(0, true), view.getUint16(2, true), ...bytes.subarray(8, 12)]).toEqual([2, 9, 192, 0, 2, 1]);
    closeFd(relay);
    double.close();
  });

  test("who else uses the socket waits for its turn", () => {
    const double = new Double();
    const { kit } = double;
    const fd = udp(kit);
    const thread = kit.thread();
    const first = kit.call(bind, fd, ADDR, address(kit, "0.0.0.0", 4004));
    const second = kit.callAs(thread, bind, fd, ADDR, 16);
    expect([first, second]).toEqual([BLOCKED, BLOCKED]);
    const relay = double.answer(double.next().seq, 0, 4004);
    expect(finish(kit, kit.task, bind, first)).toBe(0);
    expect(finish(kit, thread, bind, second)).toBe(-EINVAL);
    closeFd(relay);
    double.close();
  });
});
