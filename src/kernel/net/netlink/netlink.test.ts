import { beforeEach, describe, expect, test } from "bun:test";
import { EAGAIN, EINVAL, ENOBUFS, ENODEV, ENOENT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT } from "../../abi/errno.ts";
import { bind, listen } from "../../syscalls/bind.ts";
import { close } from "../../syscalls/close.ts";
import { connect } from "../../syscalls/connect.ts";
import { ioctl } from "../../syscalls/ioctl.ts";
import { recvfrom } from "../../syscalls/recvfrom.ts";
import { sendto } from "../../syscalls/sendto.ts";
import { socket } from "../../syscalls/socket.ts";
import { getsockopt, setsockopt } from "../../syscalls/sockopt.ts";
import { makeCredentials, NO_CAPS } from "../../task/credentials.ts";
import { ip, Rtnetlink, usualNetwork } from "../../testing/rtnetlink.ts";
import { resaved } from "../../testing/saving.ts";
import { MEMORY, TaskKit } from "../../testing/task-kit.ts";
import { messagesIn } from "../outside/rtnetlink.ts";
import { align4, MessageWriter, readAttributes } from "./message.ts";

const DATA = MEMORY;
const ADDR = MEMORY + 0x100000;
const SOL_NETLINK = 270;
const REQUEST = 1;
const DUMP = 0x301;
const DONTWAIT = 0x40;

let kit: TaskKit;
beforeEach(() => {
  kit = new TaskKit();
});
function tell(bytes: Uint8Array): void {
  kit.kernel.net.routesCame(bytes);
  kit.kernel.net.routesComplete();
}

const netlink = (protocol = 0): number => kit.call(socket, 16, 3, protocol);
function option(fd: number, name: number, value: number): number {
  kit.put32(ADDR, value);
  return kit.call(setsockopt, fd, SOL_NETLINK, name, ADDR, 4);
}
function ask(fd: number, type: number, flags: number, body: (out: MessageWriter) => MessageWriter): number {
  const bytes = body(new MessageWriter().begin(type, flags, 7, 0))
    .end()
    .finish();
  return kit.call(sendto, fd, DATA, kit.put(DATA, bytes), 0, 0, 0);
}

interface Heard {
  type: number;
  flags: number;
  body: Uint8Array;
  /** The datagram that it came in. */
  datagram: number;
}
function hear(fd: number): Heard[] {
  const heard: Heard[] = [];
  for (let datagram = 0; ; datagram++) {
    const n = kit.call(recvfrom, fd, DATA, 65536, DONTWAIT, 0, 0);
    if (n < 0) {
      expect(n).toBe(-EAGAIN);
      return heard;
    }
    expect(n).toBeLessThanOrEqual(4096);
    for (const message of messagesIn(kit.bytes(DATA, n))) heard.push({ ...message, datagram });
  }
}
const errorOf = ({ body }: Heard): number => new DataView(body.buffer, body.byteOffset).getInt32(0, true);
/** An attribute as text, a number or bytes in hexadecimal. */
function attribute({ body }: Heard, header: number, type: number): string {
  const data = readAttributes(body, header, body.length).get(type);
  return data === undefined ? "-" : Buffer.from(data).toString("hex");
}
const nameOf = (message: Heard): string =>
  Buffer.from(attribute(message, 16, 3), "hex")
    .toString("latin1")
    .replace("\0", "");
const header = (size: number) => (out: MessageWriter) => out.raw(new Uint8Array(size));

describe("links", () => {
  test("all of them, and one by name and index", () => {
    tell(usualNetwork(777));
    const fd = netlink();
    ask(fd, 18, DUMP, header(16));
    const all = hear(fd);
    expect(all.map(({ type }) => type)).toEqual([16, 16, 3]);
    expect(all.slice(0, 2).map(nameOf)).toEqual(["lo", "eth0"]);
    expect(attribute(all[1]!, 16, 1)).toBe("02420a000002");
    expect(attribute(all[1]!, 16, 23).slice(32, 48)).toBe("0903000000000000");
    ask(fd, 18, REQUEST, (out) => out.raw(new Uint8Array(16)).attributeText(3, "eth0").attribute32(29, 9));
    const [one] = hear(fd);
    expect(nameOf(one!)).toBe("eth0");
    // IFLA_EXT_MASK said: no statistics.
    expect(attribute(one!, 16, 23)).toBe("-");
    ask(fd, 18, REQUEST, (out) => out.raw(new Uint8Array(16)).attributeText(3, "eth9"));
    expect(hear(fd).map(errorOf)).toEqual([-ENODEV]);
  });

  test("lo's own counters move", () => {
    const a = kit.call(socket, 2, 2, 0);
    kit.put(ADDR, Uint8Array.of(2, 0, 0x30, 0x39, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0));
    kit.call(bind, a, ADDR, 16);
    kit.call(sendto, a, DATA, 100, 0, ADDR, 16);
    const fd = netlink();
    ask(fd, 18, DUMP, header(16));
    // rx_packets, tx_packets, rx_bytes.
    expect(attribute(hear(fd)[0]!, 16, 23).slice(0, 48)).toBe("010000000000000001000000000000008000000000000000");
  });

  test("cannot be changed", () => {
    const fd = netlink();
    const set = (task = kit.task) => {
      const bytes = new MessageWriter().begin(19, 5, 1, 0).u8(0, 0).u16(0).u32(1, 0, 1).end().finish();
      kit.put(DATA, bytes);
      kit.callAs(task, sendto, fd, DATA, bytes.length, 0, 0, 0);
      return hear(fd).map(errorOf);
    };
    expect(set()).toEqual([-EOPNOTSUPP]);
    const other = kit.fork();
    other.cred = makeCredentials(1000, 1000, [], NO_CAPS);
    expect(set(other)).toEqual([-EPERM]);
  });

  test("strict requests", () => {
    const fd = netlink();
    option(fd, 12, 1);
    ask(fd, 18, DUMP, (out) => out.u8(0, 0).u16(9).u32(0, 0, 0));
    const [end] = hear(fd);
    expect(end).toMatchObject({ type: 3 });
    expect(errorOf(end!)).toBe(-EINVAL);
    option(fd, 11, 1);
    ask(fd, 18, DUMP, (out) => out.u8(0));
    const [told] = hear(fd);
    expect(attribute(told!, 4, 1)).toBe(Buffer.from("Invalid header for link dump request\0").toString("hex"));
  });

  test("long dumps come in pieces, as they are read", () => {
    const many = new Rtnetlink();
    for (let i = 2; i < 900; i++) many.link(i, `eth${i}`);
    tell(many.bytes);
    const fd = netlink();
    ask(fd, 18, DUMP, header(16));
    // One dump at a time.
    ask(fd, 18, DUMP, header(16));
    const all = hear(fd);
    expect(all.filter(({ type }) => type === 16).length).toBe(899);
    expect(all.at(-1)!.type).toBe(3);
    expect(all.at(-1)!.datagram).toBeGreaterThan(50);
    kit.call(close, fd);
    expect(kit.kernel.net.buffered).toBe(0);
  });
});

describe("addresses, routes, neighbours and rules", () => {
  beforeEach(() => tell(usualNetwork()));

  test("addresses of a family", () => {
    const fd = netlink();
    ask(fd, 22, DUMP, (out) => out.u8(2, 0, 0, 0).u32(0));
    const all = hear(fd);
    expect(all.slice(0, -1).map((one) => attribute(one, 8, 2))).toEqual(["7f000001", "0a580005"]);
    expect(attribute(all[1]!, 8, 4)).toBe("0a58ffff");
    option(fd, 12, 1);
    ask(fd, 22, DUMP, (out) => out.u8(0, 0, 0, 0).u32(2));
    const some = hear(fd);
    expect(some.length).toBe(4);
    expect(some[0]!.flags & 0x20).toBe(0x20);
  });

  test("routes of a table", () => {
    const fd = netlink();
    option(fd, 12, 1);
    ask(fd, 26, DUMP, (out) => out.u8(2, 0, 0, 0, 0, 0, 0, 0).u32(0).attribute32(15, 254));
    expect(
      hear(fd)
        .slice(0, -1)
        .map((one) => `${attribute(one, 12, 1)} ${attribute(one, 12, 5)}`),
    ).toEqual(["- 0a580001", "0a580000 -"]);
    ask(fd, 26, DUMP, (out) => out.u8(2, 0, 0, 0, 0, 0, 0, 0).u32(0).attribute32(15, 77));
    expect(hear(fd).map(errorOf)).toEqual([-ENOENT]);
  });

  test("the way to an address", () => {
    const fd = netlink();
    const get = (to: string, more: (out: MessageWriter) => MessageWriter = (out) => out) => {
      const bytes = ip(to);
      ask(fd, 26, REQUEST, (out) =>
        more(
          out
            .u8(bytes.length === 4 ? 2 : 10, 8 * bytes.length, 0, 0, 0, 0, 0, 0)
            .u32(0x1000)
            .attribute(1, bytes),
        ),
      );
      const [answer] = hear(fd);
      if (answer!.type === 2) return errorOf(answer!);
      return [4, 5, 7, 15].map((type) => attribute(answer!, 12, type)).join(" ");
    };
    expect(get("8.8.8.8")).toBe("02000000 0a580001 0a580005 fe000000");
    expect(get("10.88.0.5")).toBe("01000000 - 0a580005 fe000000");
    expect(get("2001:db8::1")).toBe(
      "02000000 fd000000000000000000000000000001 fd000000000000000000000000000005 fe000000",
    );
    expect(get("8.8.8.8", (out) => out.attribute32(4, 9))).toBe(-ENODEV);
  });

  test("neighbours and rules", () => {
    const fd = netlink();
    ask(fd, 30, DUMP, header(12));
    const all = hear(fd);
    expect(all.map(({ type }) => type)).toEqual([28, 3]);
    expect(`${attribute(all[0]!, 12, 1)} ${attribute(all[0]!, 12, 2)}`).toBe("0a580001 02420a580001");
    ask(fd, 34, DUMP, (out) => out.u8(2).raw(new Uint8Array(11)));
    expect(
      hear(fd)
        .slice(0, -1)
        .map((one) => attribute(one, 12, 15)),
    ).toEqual(["ff000000", "fe000000", "fd000000"]);
  });
});

describe("news", () => {
  const added = () => new Rtnetlink(false).address(2, "10.88.0.9", 16).bytes;

  test("go to those who listen to the group", () => {
    tell(usualNetwork());
    const fd = netlink();
    kit.put(ADDR, new Uint8Array(12));
    kit.put32(ADDR, 16, 0, 1 | (1 << 4));
    expect(kit.call(bind, fd, ADDR, 12)).toBe(0);
    const deaf = netlink();
    kit.kernel.net.routesCame(added());
    const [news] = hear(fd);
    expect(news!.type).toBe(20);
    expect(attribute(news!, 8, 2)).toBe("0a580009");
    expect(hear(deaf)).toEqual([]);
    kit.kernel.net.routesCame(new Rtnetlink(false).link(2, "eth0", { mtu: 1400, kind: "veth" }).bytes);
    expect(hear(fd).map(({ type }) => type)).toEqual([16]);
    kit.kernel.net.routesCame(new Rtnetlink(false).link(2, "eth0", { gone: true }).bytes);
    expect(hear(fd).map(({ type }) => type)).toEqual([17]);
  });

  test("also of what has come since it was last asked", () => {
    const fd = netlink();
    expect(option(fd, 1, 1)).toBe(0);
    expect(option(fd, 1, 7)).toBe(0);
    tell(usualNetwork());
    const types = hear(fd).map(({ type }) => type);
    expect(types.filter((type) => type === 16).length).toBe(2);
    expect(types.filter((type) => type === 24).length).toBe(6);
  });

  test("memberships", () => {
    tell(usualNetwork());
    const fd = netlink();
    expect(option(fd, 1, 5)).toBe(0);
    expect(option(fd, 1, 33)).toBe(0);
    expect(option(fd, 1, 0)).toBe(-EINVAL);
    expect(option(fd, 1, 99)).toBe(-EINVAL);
    kit.put32(ADDR + 64, 8);
    expect(kit.call(getsockopt, fd, SOL_NETLINK, 9, ADDR, ADDR + 64)).toBe(0);
    expect([kit.get32(ADDR), kit.get32(ADDR + 4)]).toEqual([16, 1]);
    option(fd, 2, 5);
    kit.kernel.net.routesCame(added());
    expect(hear(fd)).toEqual([]);
    kit.call(close, fd);
    expect(kit.kernel.net.netlinkListeners.size).toBe(0);
  });

  test("that find no room are told of", () => {
    tell(usualNetwork());
    const fd = netlink();
    option(fd, 1, 1);
    for (let mtu = 1000; mtu < 2000; mtu++)
      kit.kernel.net.routesCame(new Rtnetlink(false).link(2, "eth0", { mtu, kind: "veth" }).bytes);
    expect(kit.call(recvfrom, fd, DATA, 65536, DONTWAIT, 0, 0)).toBe(-ENOBUFS);
    expect(hear(fd).length).toBeGreaterThan(100);
  });
});

describe("sockets", () => {
  const inet = (family: number, protocol: number, states: number, program?: number[]) => (out: MessageWriter) => {
    out.u8(family, protocol, 0, 0).u32(states).raw(new Uint8Array(48));
    return program === undefined ? out : out.attribute(1, Uint8Array.from(program));
  };
  const ports = (one: Heard): string => {
    const view = new DataView(one.body.buffer, one.body.byteOffset);
    return `${view.getUint8(1)} ${view.getUint16(4)} ${view.getUint16(6)}`;
  };
  function listener(port: number): number {
    const fd = kit.call(socket, 2, 1, 0);
    kit.put(ADDR, Uint8Array.of(2, 0, port >> 8, port & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0));
    expect(kit.call(bind, fd, ADDR, 16)).toBe(0);
    expect(kit.call(listen, fd, 5)).toBe(0);
    return fd;
  }

  test("TCP by state and by program", () => {
    listener(8080);
    listener(9090);
    const client = kit.call(socket, 2, 1, 0);
    kit.put(ADDR, Uint8Array.of(2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0));
    kit.call(connect, client, ADDR, 16);
    const fd = netlink(4);
    ask(fd, 20, DUMP, inet(2, 6, 1 << 10));
    expect(hear(fd).slice(0, -1).map(ports)).toEqual(["10 8080 0", "10 9090 0"]);
    ask(fd, 20, DUMP, inet(2, 6, 1 << 1));
    expect(hear(fd).slice(0, -1).length).toBe(2);
    // Source port equals 9090: code 11, 8 bytes on if so, beyond the end if not; the port behind it.
    ask(fd, 20, DUMP, inet(2, 6, 0xfff, [11, 8, 12, 0, 0, 0, 9090 & 255, 9090 >> 8]));
    expect(hear(fd).slice(0, -1).map(ports)).toEqual(["10 9090 0"]);
    // Ways backwards, beyond the end, between operations.
    for (const bad of [
      [11, 0, 4, 0],
      [11, 8, 12, 0],
      [0, 4, 12, 0],
      [99, 4, 4, 0],
      [7, 8, 8, 0, 2, 8, 0, 0],
    ]) {
      ask(fd, 20, DUMP, inet(2, 6, 0xfff, bad));
      expect(hear(fd).map(errorOf)).toEqual([-EINVAL]);
    }
    ask(fd, 20, DUMP, inet(10, 6, 0xfff));
    expect(hear(fd).map(({ type }) => type)).toEqual([3]);
  });

  test("families and protocols that there are not", () => {
    const fd = netlink(4);
    ask(fd, 20, DUMP, inet(2, 132, 0xfff));
    expect(hear(fd).map(errorOf)).toEqual([-ENOENT]);
    ask(fd, 20, DUMP, inet(17, 0, 0xfff));
    expect(hear(fd).map(errorOf)).toEqual([-ENOENT]);
    expect(netlink(31)).toBe(-EPROTONOSUPPORT);
  });

  test("unix sockets", () => {
    const one = kit.call(socket, 1, 1, 0);
    kit.put(ADDR, Uint8Array.from([1, 0, 0, ...Buffer.from("name")]));
    kit.call(bind, one, ADDR, 7);
    kit.call(listen, one, 3);
    kit.call(socket, 1, 2, 0);
    const fd = netlink(4);
    const unix = (states: number) => (out: MessageWriter) => out.u8(1, 0).u16(0).u32(states, 0, 0x7f, 0, 0);
    ask(fd, 20, DUMP, unix(1 << 10));
    const [found, end] = hear(fd);
    expect(end!.type).toBe(3);
    expect(attribute(found!, 16, 0)).toBe(Buffer.from("\0name").toString("hex"));
    expect(attribute(found!, 16, 4)).toBe("0000000003000000");
    ask(fd, 20, DUMP, unix(0xfff));
    expect(hear(fd).length).toBe(3);
  });
});

describe("ioctls", () => {
  const request = (code: number, name: string): number | Uint8Array => {
    const fd = kit.call(socket, 2, 2, 0);
    kit.put(ADDR, new Uint8Array(40));
    kit.put(ADDR, name);
    const result = kit.call(ioctl, fd, code, ADDR);
    return result < 0 ? result : kit.bytes(ADDR + 16, 24);
  };
  test("of a device outside", () => {
    tell(usualNetwork());
    const hex = (code: number, from: number, to: number): string =>
      Buffer.from((request(code, "eth0") as Uint8Array).subarray(from, to)).toString("hex");
    expect(hex(0x8915, 4, 8)).toBe("0a580005");
    expect(hex(0x891b, 4, 8)).toBe("ffff0000");
    expect(hex(0x8919, 4, 8)).toBe("0a58ffff");
    expect(hex(0x8927, 0, 8)).toBe("010002420a000002");
    expect(hex(0x8921, 0, 4)).toBe("dc050000");
    expect(hex(0x8933, 0, 4)).toBe("02000000");
    expect(hex(0x8942, 0, 4)).toBe("e8030000");
    expect(hex(0x8913, 0, 2)).toBe("4310");
    expect(request(0x8915, "eth1")).toBe(-ENODEV);
    expect(request(0x8946, "eth0")).toBe(-EOPNOTSUPP);
  });
});

test("messages are cut where they end", () => {
  const out = new MessageWriter();
  for (let i = 0; i < 5; i++)
    out
      .begin(16, 0, i, 0)
      .raw(new Uint8Array(96 + i))
      .end();
  const sizes = [];
  while (out.length > 0) sizes.push([...messagesIn(out.takeWhole(250))].length);
  expect(sizes).toEqual([2, 2, 1]);
  expect(align4(5)).toBe(8);
});

test("a restored kernel knows nothing of what was outside", () => {
  tell(usualNetwork());
  const fd = netlink();
  option(fd, 1, 5);
  option(fd, 1, 33);
  ask(fd, 18, DUMP, header(16));
  const kernel = resaved(kit.kernel, undefined, undefined, [], false);
  expect(kernel.net.stack.devices.map(({ name }) => name)).toEqual(["lo"]);
  expect(kernel.net.netlinkListeners.size).toBe(1);
  const socket = [...kernel.net.netlinkListeners][0]!;
  kernel.net.routesCame(usualNetwork());
  kernel.net.routesComplete();
  expect(kernel.net.stack.devices.map(({ name }) => name)).toEqual(["lo", "eth0"]);
  expect(socket.shown.groups).toBe(16);
});
