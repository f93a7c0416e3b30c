import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseDevices } from "./commands/events.ts";
import { parseForwarded } from "./commands/port-forward.ts";
import { readConfig } from "./config.ts";
import type { Globals } from "./global-flags.ts";
import {
  checkJoinerRules,
  containerNetwork,
  encodeRules,
  NO_NETWORK_CONFIG,
  type NetworkFlags,
  programNetwork,
} from "./network.ts";
import type { Spec } from "./spec/schema.ts";

const globals = (network: string) => ({ network }) as unknown as Globals;
const spec = (namespaces: object[] | undefined, more: object = {}): Spec =>
  ({ ociVersion: "1.0.2", linux: namespaces === undefined ? undefined : { namespaces }, ...more }) as unknown as Spec;
const OWN = [{ type: "network" }];

describe("the network of a container (CONTRACT 64, 65)", () => {
  test.each([
    ["sandbox", OWN, "sandbox"],
    ["sandbox", [{ type: "network", path: "/nowhere/net" }], "sandbox"],
    // Docker's --network host.
    ["sandbox", [{ type: "network", path: "/proc/self/ns/net" }], "host"],
    ["sandbox", [{ type: "pid" }], "host"],
    ["sandbox", undefined, "host"],
    ["host", OWN, "host"],
    ["none", OWN, "none"],
    ["none", undefined, "none"],
  ] as const)("--network %s, namespaces %p: %s", (flag, namespaces, kind) => {
    const { network, outside } = containerNetwork(
      globals(flag),
      spec(namespaces as object[] | undefined),
      NO_NETWORK_CONFIG,
    );
    expect(network).toBe(kind);
    if (kind === "none") expect(outside).toBeNull();
    else
      expect(outside).toMatchObject({
        egress: "all,raw",
        deny: null,
        publish: null,
        shared: kind === "host",
        required: false,
      });
  });

  test("annotations stand in for the configuration, whose refusals stay", () => {
    const config = { egress: "a.example", deny: "10.0.0.0/8", publish: "80:80" };
    const annotations = { "dev.runts.egress": "b.example", "dev.runts.deny": "b.example:25" };
    const of = (more: object) => containerNetwork(globals("sandbox"), spec(OWN, more), config).outside;
    expect(of({})).toMatchObject({ egress: "a.example", deny: "10.0.0.0/8", publish: "80:80", required: true });
    expect(of({ annotations })).toMatchObject({
      egress: "b.example",
      deny: "10.0.0.0/8,b.example:25",
      publish: "80:80",
      required: true,
    });
    // Nothing at all is something.
    expect(of({ annotations: { "dev.runts.egress": "" } })).toMatchObject({ egress: "" });
  });

  test("resolvers are those of the resolv.conf that the container was given", () => {
    const directory = mkdtempSync(join(tmpdir(), "runts-network-"));
    const source = join(directory, "resolv.conf");
    writeFileSync(source, "search x\nnameserver 192.0.2.53\n  nameserver 2001:db8::53 # two\n#nameserver 192.0.2.54\n");
    const mounts = [{ destination: "/etc/resolv.conf", source, type: "bind" }];
    const of = (more: object) => containerNetwork(globals("sandbox"), spec(OWN, more), NO_NETWORK_CONFIG).outside;
    expect(of({ mounts })?.resolvers).toEqual(["192.0.2.53", "2001:db8::53"]);
    expect(of({ mounts: [{ destination: "/etc/resolv.conf", source: directory }] })?.resolvers).toEqual([]);
    rmSync(directory, { recursive: true });
  });

  test.each([
    ["dev.runts.egress", "a..b"],
    ["dev.runts.deny", "!a"],
    ["dev.runts.publish", "1"],
  ])("annotation %s: %p is an error that names it", (name, text) => {
    const bad = spec(OWN, { annotations: { [name]: text } });
    for (const flag of ["sandbox", "none"])
      expect(() => containerNetwork(globals(flag), bad, NO_NETWORK_CONFIG)).toThrow(`annotations.${name}: `);
  });

  test("who joins has the sandbox' rules, or says nothing", () => {
    const pod = spec(OWN, { annotations: { "dev.runts.egress": "a.example" } });
    const check = (annotations: object) => checkJoinerRules("b", spec(OWN, { annotations }), "a", pod);
    check({});
    check({ "dev.runts.egress": " a.example" });
    expect(() => check({ "dev.runts.egress": "all" })).toThrow('"all" is not what the sandbox a was made with');
    expect(() => check({ "dev.runts.deny": "all" })).toThrow("(nothing)");
  });
});

describe("the network of a single program", () => {
  const of = (flags: Partial<NetworkFlags>, network = "sandbox", config = NO_NETWORK_CONFIG) =>
    programNetwork(globals(network), { allowNet: undefined, denyNet: [], publish: [], ...flags }, config);

  test("nothing, unless it is allowed", () => {
    expect(of({})).toEqual({ network: "none", outside: null });
    expect(of({ allowNet: true })).toMatchObject({
      network: "host",
      outside: { egress: "all", deny: null, publish: "", shared: true, required: true },
    });
    expect(of({ allowNet: "a.example:443", denyNet: ["b", "c"], publish: ["1:2", "3:4/udp"] }).outside).toMatchObject({
      egress: "a.example:443",
      deny: "b,c",
      publish: "1:2,3:4/udp",
    });
    expect(of({ publish: ["1:2"] }).outside).toMatchObject({ egress: "", publish: "1:2" });
    expect(of({}, "host").outside).toMatchObject({ egress: "all" });
    const config = { egress: "a.example", deny: "d", publish: "9:9" };
    expect(of({ allowNet: true, denyNet: ["b"] }, "sandbox", config).outside).toMatchObject({
      egress: "a.example",
      deny: "d,b",
      publish: "",
    });
    expect(of({}, "sandbox", config).outside).toBeNull();
  });

  test.each([
    [{ denyNet: ["a"] }, "sandbox", "--deny-net: nothing is allowed without --allow-net"],
    [{ allowNet: true }, "none", "--allow-net: --network is none"],
    [{ publish: ["1:2"] }, "none", "--publish: --network is none"],
    [{ allowNet: "a..b" }, "sandbox", "--allow-net: "],
    [{ allowNet: true, denyNet: ["a..b"] }, "sandbox", "--deny-net: "],
    [{ publish: ["x"] }, "sandbox", "--publish: "],
  ] as const)("%p with --network %s: %s", (flags, network, text) => {
    expect(() => of(flags as unknown as Partial<NetworkFlags>, network)).toThrow(text);
  });
});

test("rules as bytes: everything, and nothing", () => {
  const rules = { egress: "all", deny: null, publish: null, resolvers: ["192.0.2.53"], shared: true, required: false };
  const flags = (bytes: Uint8Array) => new DataView(bytes.buffer).getUint16(6, true);
  expect(flags(encodeRules(rules))).toBe(4);
  expect(flags(encodeRules({ ...rules, egress: "", publish: "" }))).toBe(1 | 4 | 8);
});

describe("the configuration file", () => {
  const read = async (text: string) => {
    const path = join(mkdtempSync(join(tmpdir(), "runts-config-")), "config.toml");
    writeFileSync(path, text, { mode: 0o600 });
    try {
      return (await readConfig(path)).network;
    } finally {
      rmSync(join(path, ".."), { recursive: true });
    }
  };
  test("texts and lists", async () => {
    expect(await read("")).toEqual(NO_NETWORK_CONFIG);
    expect(await read('[network]\negress = ["a.example", "b.example:443"]\ndeny = "10.0.0.0/8"\n')).toEqual({
      egress: "a.example,b.example:443",
      deny: "10.0.0.0/8",
      publish: null,
    });
  });
  test.each([
    ['[network]\negress = "a..b"', ":2: network.egress: egress rule"],
    ['[network]\n\npublish = ["x"]', ":3: network.publish: publication"],
    ["[network]\ndeny = 1", ":2: network.deny: expected"],
  ])("%p: %s", async (text, message) => {
    expect(read(text)).rejects.toThrow(message);
  });
});

describe("ports to forward", () => {
  test.each([
    ["80", { address: "127.0.0.1", local: 80, remote: 80 }],
    ["8080:80", { address: "127.0.0.1", local: 8080, remote: 80 }],
    ["0:80", { address: "127.0.0.1", local: 0, remote: 80 }],
    [":80", { address: "127.0.0.1", local: 0, remote: 80 }],
    ["0.0.0.0:8080:80", { address: "0.0.0.0", local: 8080, remote: 80 }],
    ["localhost::80", { address: "127.0.0.1", local: 0, remote: 80 }],
    ["[::1]:8080:80", { address: "::1", local: 8080, remote: 80 }],
  ])("%s", (text, wanted) => {
    expect(parseForwarded(text)).toEqual(wanted);
  });
  test.each(["", "x", "1:x", "1:2:3:4", "::1:80:80", "[::1]:80", "[x]:1:2", "1.2:1:2", "0", "1:0", "70000", "1:70000"])(
    "%p is refused",
    (text) => {
      expect(() => parseForwarded(text)).toThrow(`"${text}"`);
    },
  );
});

test("devices of a namespace, as events counts them", () => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       2    3    4    0     0          0         0        5       6    7    8    0     0       0          0
eth0.7:    1000      20    0    0    0     0          0         0     2000      30    0    0    0     0       0          0
`;
  expect(parseDevices(text)).toEqual([
    {
      name: "lo",
      rxBytes: 1,
      rxPackets: 2,
      rxErrors: 3,
      rxDropped: 4,
      txBytes: 5,
      txPackets: 6,
      txErrors: 7,
      txDropped: 8,
    },
    {
      name: "eth0.7",
      rxBytes: 1000,
      rxPackets: 20,
      rxErrors: 0,
      rxDropped: 0,
      txBytes: 2000,
      txPackets: 30,
      txErrors: 0,
      txDropped: 0,
    },
  ]);
});
