import { describe, expect, test } from "bun:test";
import { EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH } from "../../abi/errno.ts";
import { ip as bytesOf, Rtnetlink, usualNetwork } from "../../testing/rtnetlink.ts";
import { formatIp, type Ip, ipFromBytes } from "../inet/ip.ts";
import { commonBits, prefixOf } from "../inet/prefix.ts";
import { LoopbackStack, type NetworkStack } from "../stack.ts";
import { OutsideStack } from "./stack.ts";

const ip = (text: string): Ip => {
  const bytes = bytesOf(text);
  return ipFromBytes(bytes, 0, bytes.length);
};

function told(...dumps: Uint8Array[]): OutsideStack {
  const stack = new OutsideStack();
  for (const dump of dumps) stack.applyRoutes(dump);
  stack.dumped();
  return stack;
}

/** "source by device via gateway", or the error. */
function way(stack: NetworkStack, to: string, device = 0): string | number {
  const found = stack.wayTo(ip(to), device);
  if (typeof found === "number") return found;
  const by = stack.deviceByIndex(found.device)!.name;
  return `${formatIp(found.source)} ${by}${found.gateway === null ? "" : ` via ${formatIp(found.gateway)}`}`;
}

describe("prefixes", () => {
  test("of both families", () => {
    expect(prefixOf(ip("10.1.2.3"), 8)).toBe(ip("10.0.0.0"));
    expect(prefixOf(ip("10.1.2.3"), 0)).toBe(0);
    expect(prefixOf(ip("255.255.255.255"), 32)).toBe(0xffffffff);
    expect(prefixOf(ip("fe80::ffff"), 10)).toBe(ip("fe80::"));
    expect(prefixOf(ip("febf::1"), 10)).toBe(ip("fe80::"));
    expect(prefixOf(ip("fd00::5"), 127)).toBe(ip("fd00::4"));
    expect(prefixOf(ip("fd00::5"), 128)).toBe(ip("fd00::5"));
    expect(commonBits(ip("fd00::4"), ip("fd00::5"))).toBe(127);
    expect(commonBits(ip("10.0.0.0"), ip("10.128.0.0"))).toBe(8);
  });
});

describe("a container's network", () => {
  const stack = told(usualNetwork(1234));

  test("devices and their addresses", () => {
    expect(stack.devices.map(({ name, mtu }) => `${name} ${mtu}`)).toEqual(["lo 65536", "eth0 1500"]);
    expect(stack.deviceByName("eth0")!.addresses.map((one) => `${formatIp(one.ip)}/${one.prefix}`)).toEqual([
      "10.88.0.5/16",
      "fd00::5/64",
      "fe80::42:aff:fe00:2/64",
    ]);
    expect(formatIp(stack.deviceByName("eth0")!.addresses[0]!.broadcast!)).toBe("10.88.255.255");
    expect(stack.deviceByIndex(3)).toBeNull();
  });

  test("own addresses", () => {
    for (const own of ["127.0.0.1", "127.9.9.9", "::1", "10.88.0.5", "fd00::5"])
      expect(stack.isLocal(ip(own))).toBe(true);
    for (const other of ["10.88.0.6", "10.88.255.255", "8.8.8.8", "fd00::6", "0.0.0.0"])
      expect(stack.isLocal(ip(other))).toBe(false);
  });

  test("ways and sources", () => {
    expect(way(stack, "8.8.8.8")).toBe("10.88.0.5 eth0 via 10.88.0.1");
    expect(way(stack, "10.88.3.4")).toBe("10.88.0.5 eth0");
    expect(way(stack, "10.88.0.5")).toBe("10.88.0.5 lo");
    expect(way(stack, "127.0.0.9")).toBe("127.0.0.1 lo");
    expect(way(stack, "2001:db8::1")).toBe("fd00::5 eth0 via fd00::1");
    expect(way(stack, "fe80::1")).toBe("fe80::42:aff:fe00:2 eth0");
    expect(way(stack, "fd00::5")).toBe("fd00::5 lo");
    expect(way(stack, "8.8.8.8", 1)).toBe(-ENETUNREACH);
    expect(stack.sourceFor(0)).toBe(0x7f000001);
  });
});

describe("routes", () => {
  const base = () =>
    new Rtnetlink().link(2, "eth0").link(3, "eth1").address(2, "10.0.0.2", 24).address(3, "10.1.0.2", 24);

  test("the longest prefix wins, then the least metric", () => {
    const stack = told(
      base()
        .route("0.0.0.0", 0, 3, { via: "10.1.0.1", metric: 200 })
        .route("0.0.0.0", 0, 2, { via: "10.0.0.1", metric: 100 })
        .route("192.168.0.0", 16, 3, { via: "10.1.0.9" })
        .route("192.168.7.0", 24, 2, { via: "10.0.0.9" }).bytes,
    );
    expect(way(stack, "1.1.1.1")).toBe("10.0.0.2 eth0 via 10.0.0.1");
    expect(way(stack, "1.1.1.1", 3)).toBe("10.1.0.2 eth1 via 10.1.0.1");
    expect(way(stack, "192.168.8.1")).toBe("10.1.0.2 eth1 via 10.1.0.9");
    expect(way(stack, "192.168.7.1")).toBe("10.0.0.2 eth0 via 10.0.0.9");
  });

  test("that say no", () => {
    const stack = told(
      base()
        .route("0.0.0.0", 0, 2, { via: "10.0.0.1" })
        .route("10.2.0.0", 16, 0, { type: 7 })
        .route("10.3.0.0", 16, 0, { type: 6 })
        .route("10.4.0.0", 16, 0, { type: 8 })
        .route("10.5.0.0", 16, 0, { type: 9 }).bytes,
    );
    expect(way(stack, "10.2.0.1")).toBe(-EHOSTUNREACH);
    expect(way(stack, "10.3.0.1")).toBe(-EINVAL);
    expect(way(stack, "10.4.0.1")).toBe(-EACCES);
    expect(way(stack, "10.5.0.1")).toBe(-ENETUNREACH);
    expect(way(stack, "fd00::1")).toBe(-ENETUNREACH);
    expect(stack.sourceFor(ip("10.2.0.1"))).toBeNull();
  });

  test("with several ways, and sources of their own", () => {
    const stack = told(
      base()
        .address(2, "10.0.0.7", 24)
        .route("172.16.0.0", 12, 0, {
          hops: [
            [3, "10.1.0.1"],
            [2, "10.0.0.1"],
          ],
        })
        .route("172.20.0.0", 16, 2, { via: "10.0.0.1", source: "10.0.0.7" }).bytes,
    );
    expect(way(stack, "172.17.0.1")).toBe("10.1.0.2 eth1 via 10.1.0.1");
    expect(way(stack, "172.20.0.1")).toBe("10.0.0.7 eth0 via 10.0.0.1");
  });

  test("to everything as if it were here", () => {
    const stack = told(base().route("10.77.0.0", 16, 1, { table: 255, type: 2, scope: 254 }).bytes);
    expect(stack.isLocal(ip("10.77.1.2"))).toBe(true);
  });
});

describe("lo", () => {
  test("is ours while the namespace's is down", () => {
    const down = new Rtnetlink().link(1, "lo", { type: 772, flags: 8, mtu: 1234, mac: [0, 0, 0, 0, 0, 0] });
    const stack = told(down.bytes);
    expect(stack.devices[0]).toMatchObject({ name: "lo", flags: 0x10049, mtu: 65536 });
    expect(way(stack, "127.0.0.1")).toBe("127.0.0.1 lo");
    expect(stack.routes.length).toBe(4);
  });

  test("has what the namespace's has besides", () => {
    const more = new Rtnetlink()
      .link(1, "lo", { type: 772, flags: 0x10049, mtu: 16384, mac: [0, 0, 0, 0, 0, 0] })
      .address(1, "127.0.0.1", 8, 254)
      .address(1, "192.0.2.1", 32)
      .route("192.0.2.1", 32, 1, { table: 255, type: 2, scope: 254, source: "192.0.2.1" });
    const stack = told(more.bytes);
    expect(stack.devices[0]!.mtu).toBe(16384);
    expect(stack.devices[0]!.addresses.map((one) => formatIp(one.ip))).toEqual(["::1", "127.0.0.1", "192.0.2.1"]);
    expect(stack.isLocal(ip("192.0.2.1"))).toBe(true);
  });
});

describe("changes", () => {
  const news = () => new Rtnetlink(false);

  test("are applied and told", () => {
    const stack = told(usualNetwork());
    const changes = stack.applyRoutes(
      news().address(2, "10.88.0.9", 16).route("10.88.0.9", 32, 2, { table: 255, type: 2, source: "10.88.0.9" }).bytes,
    );
    expect(changes.map(({ kind, gone }) => `${kind} ${gone}`)).toEqual(["address false", "route false"]);
    expect(stack.isLocal(ip("10.88.0.9"))).toBe(true);
    // The same again is no news; nor are counters.
    expect(stack.applyRoutes(news().address(2, "10.88.0.9", 16).bytes)).toEqual([]);
    expect(stack.applyRoutes(news().link(2, "eth0", { received: 5, kind: "veth" }).bytes)).toEqual([]);
    expect(stack.applyRoutes(news().address(2, "10.88.0.9", 16, 0, true).bytes)).toHaveLength(1);
  });

  test("a device that goes takes everything along", () => {
    const stack = told(usualNetwork());
    expect(stack.applyRoutes(news().link(2, "eth0", { gone: true }).bytes)).toHaveLength(1);
    expect(stack.devices.map(({ name }) => name)).toEqual(["lo"]);
    expect(way(stack, "8.8.8.8")).toBe(-ENETUNREACH);
    expect(stack.neighbours).toEqual([]);
    expect(stack.stale).toBe(true);
  });

  test("a device that goes down has no routes to others", () => {
    const stack = told(usualNetwork());
    stack.applyRoutes(news().link(2, "eth0", { flags: 0x1002, kind: "veth" }).bytes);
    expect(way(stack, "8.8.8.8")).toBe(-ENETUNREACH);
    expect(stack.isLocal(ip("10.88.0.5"))).toBe(true);
  });

  test("a route replaces another", () => {
    const stack = told(usualNetwork());
    stack.applyRoutes(news().route("0.0.0.0", 0, 2, { via: "10.88.0.77", replaces: true }).bytes);
    expect(way(stack, "8.8.8.8")).toBe("10.88.0.5 eth0 via 10.88.0.77");
    expect(stack.routes.filter(({ family, prefix }) => family === 2 && prefix === 0)).toHaveLength(1);
  });

  test("that come while everything is told anew are not lost", () => {
    const stack = told(usualNetwork());
    stack.applyRoutes(usualNetwork());
    stack.applyRoutes(news().address(2, "10.88.0.9", 16).bytes);
    stack.applyRoutes(news().route("0.0.0.0", 0, 2, { via: "10.88.0.1", gone: true }).bytes);
    expect(stack.dumped()).toEqual([]);
    expect(stack.deviceByIndex(2)!.addresses).toHaveLength(4);
    expect(way(stack, "8.8.8.8")).toBe(-ENETUNREACH);
  });

  test("what is otherwise the next time is told", () => {
    const stack = told(usualNetwork());
    stack.applyRoutes(new Rtnetlink().link(2, "eth0", { mtu: 1400 }).bytes);
    const kinds = stack.dumped().map(({ kind, gone }) => `${kind} ${gone}`);
    expect(kinds).toContain("link false");
    expect(kinds).toContain("address true");
    expect(kinds).toContain("route true");
    expect(stack.deviceByIndex(2)!.mtu).toBe(1400);
  });

  test("nothing is known before everything was told", () => {
    const stack = new OutsideStack();
    expect(stack.applyRoutes(news().link(2, "eth0").bytes)).toEqual([]);
    expect(stack.complete).toBe(false);
    expect(stack.dumped()).toEqual([]);
    expect(stack.complete).toBe(false);
  });
});

describe("hostile messages", () => {
  test("names, lengths and families that are none", () => {
    const stack = told(
      new Rtnetlink()
        .link(2, "../etc")
        .link(3, "two words")
        .link(4, "")
        .link(0, "zero")
        .link(5, "this-is-too-long-a-name")
        .link(6, "ok", { mac: new Array<number>(64).fill(1) })
        .link(7, "fine").bytes,
    );
    expect(stack.devices.map(({ name }) => name)).toEqual(["lo", "fine"]);
  });

  test("tables are bounded", () => {
    const many = new Rtnetlink();
    for (let i = 0; i < 1200; i++) many.link(i + 2, `d${i}`);
    expect(told(many.bytes).devices.length).toBeLessThanOrEqual(1025);
  });

  test("anything at all", () => {
    // A generator of its own: the same every time.
    let seed = 12345;
    const below = (n: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % n;
    };
    const good = usualNetwork();
    for (let round = 0; round < 300; round++) {
      const bytes = good.slice(0, below(8) === 0 ? below(good.length) : good.length);
      for (let k = below(40); k > 0; k--) bytes[below(bytes.length || 1)] = below(256);
      const stack = new OutsideStack();
      stack.applyRoutes(bytes);
      stack.dumped();
      stack.applyRoutes(bytes.map((byte, i) => (i % 4096 === 6 ? 0 : byte)));
      for (const to of ["8.8.8.8", "10.88.0.5", "fd00::9", "fe80::1", "ff02::1", "224.0.0.1"]) {
        const found = stack.wayTo(ip(to));
        expect(typeof found === "number" ? found < 0 : typeof found.source === typeof ip(to)).toBe(true);
      }
      expect(stack.devices.length).toBeGreaterThan(0);
      expect(stack.isLocal(0x7f000001)).toBe(true);
    }
  });
});

test("before anything was told there is the loopback device alone", () => {
  const nothing = new OutsideStack();
  const alone = new LoopbackStack();
  expect(nothing.devices).toEqual([...alone.devices]);
  expect(nothing.routes).toEqual([...alone.routes]);
  for (const to of ["127.0.0.1", "127.3.4.5", "::1", "8.8.8.8", "fe80::1", "ff02::1"]) {
    expect(nothing.isLocal(ip(to))).toBe(alone.isLocal(ip(to)));
    expect(nothing.sourceFor(ip(to))).toBe(alone.sourceFor(ip(to)));
  }
});
