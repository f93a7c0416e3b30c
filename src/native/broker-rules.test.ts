/** What the rules of the broker let through: broker-rules.h in a program of its own (testing/rules.c), under sanitizers. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeEgress, type IpAddress, parseEgress, parsePublications, type Resolver } from "../core/egress.ts";
import {
  A,
  AAAA,
  address,
  addresses,
  CNAME,
  type DnsRecord,
  FakeResolver,
  message,
  type Reply,
  SOA,
} from "./testing/dns.ts";

const cc = process.env["CC"] ?? "cc";
const source = join(import.meta.dir, "testing/rules.c");
let directory = "";
let program = "";

function compile(out: string, file: string, flags: string[]): { ok: boolean; said: string } {
  const warnings = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-std=gnu11"];
  const done = spawnSync(cc, [...warnings, ...flags, "-o", out, file], { encoding: "utf8" });
  return { ok: done.status === 0, said: `${done.error ?? ""}${done.stderr}` };
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "runts-rules-"));
  program = join(directory, "rules");
  const sanitizers = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
  const first = compile(program, source, ["-O1", ...sanitizers]);
  const done = first.ok ? first : compile(program, source, ["-O1"]);
  if (!done.ok) throw new Error(done.said);
}, 120_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** The program, and what it answers, line by line. */
class Rules {
  private readonly child = Bun.spawn([program], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  private readonly reader = this.child.stdout.getReader();
  private text = "";

  async ask(...words: (string | number)[]): Promise<string> {
    this.child.stdin.write(`${words.join(" ")}\n`);
    await this.child.stdin.flush();
    for (;;) {
      const end = this.text.indexOf("\n");
      if (end >= 0) {
        const line = this.text.slice(0, end);
        this.text = this.text.slice(end + 1);
        return line;
      }
      const { value, done } = await this.reader.read();
      if (done) throw new Error(`it ended: ${this.text}${await new Response(this.child.stderr).text()}`);
      this.text += Buffer.from(value).toString();
    }
  }
  async learn(reply: Reply): Promise<void> {
    expect(await this.ask("learn", hex(message(reply)))).toBe("ok");
  }
  async verdict(how: "egress" | "wait", attempt: string): Promise<string> {
    const [protocol = "", to = "", port = "0"] = attempt.split(" ");
    const [verdict] = (await this.ask(how, PROTOCOLS[protocol]!, to, port)).split(" ");
    return ["no", "yes", "later"][Number(verdict)]!;
  }
  async end(): Promise<void> {
    this.child.stdin.end();
    expect(await this.child.exited).toBe(0);
  }
}
async function withRules(file: Uint8Array, body: (rules: Rules) => Promise<void>): Promise<void> {
  const rules = new Rules();
  expect(await rules.ask("load", hex(file))).toBe("0");
  await body(rules);
  await rules.end();
}

const PROTOCOLS: Record<string, number> = { tcp: 6, udp: 17, icmp: 1, icmp6: 58, gre: 47, raw: 255 };
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

interface Options {
  deny?: string;
  shared?: boolean;
  publish?: string;
  resolvers?: string[];
}
function ip(text: string): IpAddress {
  const [plain = "", scope] = text.split("%");
  return { family: plain.includes(":") ? 6 : 4, bytes: address(plain), scope: Number(scope ?? 0) };
}
function file(text: string, { deny = "", shared = false, publish, resolvers = [] }: Options = {}): Uint8Array {
  const servers = resolvers.map((server): Resolver => {
    const [, host = "", port] = /^\[?([^\]]*?)\]?#(\d+)$/.exec(server) ?? [];
    return { address: ip(host), port: Number(port) };
  });
  const publications = publish === undefined ? null : parsePublications(publish);
  return encodeEgress({ egress: parseEgress(text, deny), resolvers: servers, publications, shared });
}

interface Row extends Options {
  what: string;
  rules: string;
  /** What the guest saw in replies before. */
  replies?: Reply[];
  yes?: string[];
  no?: string[];
}
const of = (name: string, list: string[], extra: Partial<Reply> = {}): Reply => ({
  name,
  type: list[0]?.includes(":") ? AAAA : A,
  answers: addresses(name, list),
  ...extra,
});

const MATRIX: Row[] = [
  {
    what: "nothing is allowed by nothing, the resolver included",
    rules: "",
    resolvers: ["10.0.0.2#53"],
    no: [
      "tcp 192.0.2.1 443",
      "udp 10.0.0.2 53",
      "tcp 10.0.0.2 53",
      "icmp 192.0.2.1",
      "tcp 127.0.0.1 80",
      "raw 192.0.2.1",
    ],
  },
  {
    what: "all, in a namespace of its own, is all",
    rules: "all",
    yes: [
      "tcp 192.0.2.1 443",
      "udp 169.254.169.254 80",
      "tcp 127.0.0.1 80",
      "tcp 0.0.0.0 80",
      "raw 192.0.2.1",
      "gre 192.0.2.1",
    ],
  },
  {
    what: "all, where the host lives too, is not the host's loopback, nor what tells secrets",
    rules: "all",
    shared: true,
    yes: ["tcp 192.0.2.1 443", "udp 2001:db8::1 53", "icmp 192.0.2.1", "tcp ::ffff:192.0.2.1 443"],
    no: [
      "tcp 127.0.0.1 80",
      "udp 127.255.0.1 80",
      "tcp 0.0.0.0 80",
      "tcp :: 80",
      "tcp ::1 80",
      "icmp6 ::1",
      "tcp ::ffff:127.0.0.1 80",
      "tcp ::ffff:0.0.0.0 80",
      "tcp 169.254.169.254 80",
      "tcp 169.254.170.2 80",
      "tcp ::ffff:169.254.169.254 80",
      "tcp 100.100.100.200 80",
      "tcp fd00:ec2::254 80",
      "tcp fe80::a9fe:a9fe 80",
      "tcp 64:ff9b::169.254.169.254 80",
      "tcp 64:ff9b:1::169.254.169.254 80",
      "tcp 2002:a9fe:a9fe::1 80",
      "tcp ::169.254.169.254 80",
      "tcp ::ffff:0:169.254.169.254 80",
      "tcp 64:ff9b::127.0.0.1 80",
      "raw 192.0.2.1",
    ],
  },
  {
    what: "a rule that names loopback opens it, at its port",
    rules: "localhost:5432,127.0.0.5",
    shared: true,
    yes: [
      "tcp 127.0.0.1 5432",
      "tcp ::1 5432",
      "tcp 0.0.0.0 5432",
      "tcp :: 5432",
      "tcp ::ffff:127.0.0.1 5432",
      "udp 127.0.0.5 1",
    ],
    no: ["tcp 127.0.0.1 5433", "tcp 127.0.0.2 5432", "tcp ::1 80", "icmp 127.0.0.1"],
  },
  {
    what: "a range does not name the addresses in it that tell secrets",
    rules: "169.254.0.0/16,0.0.0.0/0:80,100.64.0.0/10,[fd00::]/8",
    yes: ["tcp 169.254.7.7 1", "tcp 192.0.2.1 80", "tcp 100.100.100.201 5", "tcp fd00::1 443", "tcp 127.0.0.1 80"],
    no: [
      "tcp 169.254.169.254 80",
      "tcp 100.100.100.200 80",
      "tcp fd00:ec2::254 80",
      "tcp 168.63.129.16 80",
      "tcp 192.0.2.1 81",
    ],
  },
  {
    what: "the very address opens what tells secrets",
    rules: "169.254.169.254:80,all",
    yes: ["tcp 169.254.169.254 80"],
    no: ["tcp 169.254.169.254 81", "tcp 169.254.169.253 80"],
    shared: true,
  },
  {
    what: "prefixes count bits",
    rules: "10.1.128.0/17,[2001:db8::]/29:443",
    yes: [
      "tcp 10.1.128.1 1",
      "udp 10.1.255.255 9",
      "tcp 2001:db8:1::1 443",
      "tcp 2001:dbf:ffff::1 443",
      "tcp ::ffff:10.1.128.1 1",
    ],
    no: [
      "tcp 10.1.127.255 1",
      "tcp 10.2.128.1 1",
      "tcp 2001:dc0::1 443",
      "tcp 2001:db8::1 444",
      "tcp 64:ff9b::10.1.128.1 1",
    ],
  },
  {
    what: "all of IPv6 is none of IPv4",
    rules: "[::]/0",
    yes: ["tcp 2001:db8::1 443"],
    no: ["tcp ::ffff:192.0.2.1 443", "tcp 192.0.2.1 443"],
  },
  {
    what: "protocols and ports",
    rules: "udp:192.0.2.1:53,tcp:192.0.2.2,icmp:192.0.2.3,192.0.2.4:10-20,192.0.2.5",
    yes: [
      "udp 192.0.2.1 53",
      "tcp 192.0.2.2 1",
      "icmp 192.0.2.3",
      "tcp 192.0.2.4 10",
      "udp 192.0.2.4 20",
      "gre 192.0.2.5",
      "icmp 192.0.2.5",
    ],
    no: [
      "tcp 192.0.2.1 53",
      "udp 192.0.2.1 54",
      "udp 192.0.2.2 1",
      "icmp 192.0.2.2",
      "tcp 192.0.2.3 7",
      "tcp 192.0.2.4 21",
      "icmp 192.0.2.4 10",
      "gre 192.0.2.4 10",
      "raw 192.0.2.5",
    ],
  },
  {
    what: "a refusal wins, wherever it stands",
    rules: "all,!192.0.2.0/24,!tcp:198.51.100.1:25,10.0.0.1",
    deny: "10.0.0.0/8",
    yes: ["tcp 203.0.113.1 1", "tcp 198.51.100.1 26", "udp 198.51.100.1 25", "tcp 127.0.0.1 5"],
    no: [
      "tcp 192.0.2.1 443",
      "tcp ::ffff:192.0.2.1 443",
      "tcp 64:ff9b::192.0.2.1 443",
      "tcp 2002:c000:201::1 443",
      "tcp 198.51.100.1 25",
      "tcp 10.0.0.1 80",
    ],
  },
  {
    what: "a refused loopback is refused by its wildcard name, too",
    rules: "all,!127.0.0.0/8,![::1]",
    no: ["tcp 0.0.0.0 80", "tcp :: 80", "tcp ::1 80", "tcp 127.0.0.1 80", "tcp ::ffff:0.0.0.0 80"],
  },
  {
    what: "resolvers are allowed, unless their very address is refused",
    rules: "192.0.2.1,!10.0.0.0/8,!10.0.0.3",
    resolvers: ["10.0.0.2#53", "10.0.0.3#53", "127.0.0.53#53", "[2001:db8::53]#53", "[fe80::53%3]#53"],
    shared: true,
    yes: [
      "udp 10.0.0.2 53",
      "tcp 10.0.0.2 53",
      "udp ::ffff:10.0.0.2 53",
      "udp 127.0.0.53 53",
      "tcp 2001:db8::53 53",
      "udp fe80::53%3 53",
    ],
    no: [
      "udp 10.0.0.2 54",
      "icmp 10.0.0.2",
      "udp 10.0.0.3 53",
      "udp 127.0.0.54 53",
      "udp fe80::53%4 53",
      "udp fe80::53 53",
      "udp 10.0.0.4 53",
    ],
  },
  {
    what: "a name is what replies say",
    rules: "example.com:443,*.sub.example",
    replies: [
      of("EXAMPLE.com", ["192.0.2.1", "192.0.2.2"]),
      of("example.com", ["2001:db8::1"]),
      of("a.b.sub.example", ["192.0.2.3"]),
      of("sub.example", ["192.0.2.4"]),
      of("xsub.example", ["192.0.2.5"]),
      of("example.com.evil.example", ["192.0.2.6"]),
      of("www.example.com", ["192.0.2.7"]),
      of("com", ["192.0.2.8"]),
    ],
    yes: [
      "tcp 192.0.2.1 443",
      "tcp 192.0.2.2 443",
      "tcp ::ffff:192.0.2.2 443",
      "tcp 2001:db8::1 443",
      "udp 192.0.2.3 9",
      "icmp 192.0.2.3",
    ],
    no: [
      "tcp 192.0.2.1 80",
      "icmp 192.0.2.1",
      "tcp 192.0.2.4 443",
      "tcp 192.0.2.5 443",
      "tcp 192.0.2.6 443",
      "tcp 192.0.2.7 443",
      "tcp 192.0.2.8 443",
      "tcp 64:ff9b::192.0.2.1 443",
    ],
  },
  {
    what: "a name never stands for loopback, link-local, metadata or multicast, wherever it is pointed to",
    rules: "rebind.example,*.rebind.example",
    replies: [
      of("rebind.example", [
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
      ]),
      of("rebind.example", [
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "::",
        "ff02::1",
        "64:ff9b::a9fe:a9fe",
        "::ffff:10.0.0.1",
      ]),
      of("x.rebind.example", ["127.0.0.1"]),
    ],
    no: [
      "tcp 127.0.0.1 80",
      "tcp 0.0.0.0 80",
      "tcp 169.254.169.254 80",
      "udp 224.0.0.1 80",
      "udp 255.255.255.255 80",
      "tcp 100.100.100.200 80",
      "tcp ::1 80",
      "tcp :: 80",
      "tcp fe80::1 80",
      "tcp fd00:ec2::254 80",
      "udp ff02::1 80",
      "tcp 64:ff9b::a9fe:a9fe 80",
      "tcp 10.0.0.1 80",
      "tcp ::ffff:10.0.0.1 80",
    ],
  },
  {
    what: "a name may stand for a refused address, and does not open it",
    rules: "internal.example,!10.0.0.0/8",
    replies: [of("internal.example", ["10.0.0.1", "192.0.2.1"])],
    yes: ["tcp 192.0.2.1 80"],
    no: ["tcp 10.0.0.1 80"],
  },
  {
    what: "of a reply counts what CNAMEs lead to from the question",
    rules: "www.example",
    replies: [
      {
        name: "www.example",
        type: A,
        answers: [
          // Out of order, and with what is none of it.
          ...addresses("c.example", ["192.0.2.1"]),
          ...addresses("stranger.example", ["192.0.2.66"]),
          { name: "B.example", type: CNAME, data: "C.Example" },
          { name: "WWW.example", type: CNAME, data: "b.example" },
          ...addresses("b.example", ["192.0.2.67"]),
          { name: "c.example", type: A, class: 3, data: "192.0.2.68" },
          { name: "c.example", type: AAAA, data: "2001:db8::68" },
          { name: "c.example", type: A, data: Uint8Array.of(192, 0, 2, 69, 0) },
        ],
      },
      { name: "stranger.example", type: A, answers: [...addresses("www.example", ["192.0.2.70"])] },
      of("www.example", ["192.0.2.71"], { flags: 0x0100 }),
      of("www.example", ["192.0.2.72"], { flags: 0x8182 }),
      of("www.example", ["192.0.2.73"], { flags: 0x8580 | 0x0800 }),
      { name: "www.example", type: 255, answers: addresses("www.example", ["192.0.2.74"]) },
      { name: "www.example", type: A, authority: addresses("www.example", ["192.0.2.75"]) },
    ],
    yes: ["tcp 192.0.2.1 80"],
    no: [66, 67, 68, 69, 70, 71, 72, 73, 74, 75].map((last) => `tcp 192.0.2.${last} 80`).concat("tcp 2001:db8::68 80"),
  },
  {
    what: "a chain that goes round ends",
    rules: "a.example",
    replies: [
      {
        name: "a.example",
        type: A,
        answers: [
          { name: "a.example", type: CNAME, data: "b.example" },
          { name: "b.example", type: CNAME, data: "a.example" },
          ...addresses("c.example", ["192.0.2.1"]),
        ],
      },
    ],
    no: ["tcp 192.0.2.1 80"],
  },
  {
    what: "what is refused by a suffix is so through aliases",
    rules: "all,!*.evil.example",
    replies: [
      of("www.evil.example", ["192.0.2.1"]),
      {
        name: "alias.example",
        type: A,
        answers: [
          { name: "alias.example", type: CNAME, data: "x.evil.example" },
          ...addresses("x.evil.example", ["192.0.2.2"]),
        ],
      },
      of("good.example", ["192.0.2.3"]),
    ],
    yes: ["tcp 192.0.2.3 80"],
    no: ["tcp 192.0.2.1 80", "tcp 192.0.2.2 80", "tcp ::ffff:192.0.2.2 80"],
  },
  {
    what: "a refused name that cannot be resolved refuses what it might be",
    rules: "all,!evil.example:443",
    yes: ["tcp 192.0.2.1 80"],
    no: ["tcp 192.0.2.1 443"],
  },
  {
    what: "labels with dots in them are nobody's name",
    rules: "a.example,*.b.example",
    replies: [
      { name: "\u0000", type: A, answers: addresses("a.example", ["192.0.2.1"]) },
      of("a b.b.example", ["192.0.2.2"]),
    ],
    no: ["tcp 192.0.2.1 80", "tcp 192.0.2.2 80"],
  },
];

test.each(MATRIX.map((row) => [row.what, row] as const))("%s", async (_, row) => {
  await withRules(file(row.rules, row), async (rules) => {
    for (const reply of row.replies ?? []) await rules.learn(reply);
    const got: Record<string, string> = {};
    const wanted: Record<string, string> = {};
    for (const [word, attempts] of [
      ["yes", row.yes],
      ["no", row.no],
    ] as const)
      for (const attempt of attempts ?? []) {
        wanted[attempt] = word;
        got[attempt] = await rules.verdict("egress", attempt);
      }
    expect(got).toEqual(wanted);
  });
});

test("which rule decided is told", async () => {
  await withRules(file("all,!192.0.2.1,n.example", { shared: true, resolvers: ["192.0.2.53#53"] }), async (rules) => {
    const told = async (attempt: string) => await rules.ask("egress", PROTOCOLS["tcp"]!, ...attempt.split(" "));
    expect(await told("198.51.100.1 80")).toBe("1 0");
    expect(await told("192.0.2.1 80")).toBe("0 1");
    expect(await told("127.0.0.1 80")).toBe("0 -3");
    expect(await told("169.254.169.254 80")).toBe("0 -2");
    expect(await told("192.0.2.53 53")).toBe("1 -5");
  });
});

test("before a file has come, and after a bad one, nothing is allowed", async () => {
  const rules = new Rules();
  const good = file("all", { resolvers: ["192.0.2.53#53"] });
  const refused = async () => {
    expect(await rules.ask("flags")).toBe("1 0");
    expect(await rules.verdict("egress", "tcp 192.0.2.1 80")).toBe("no");
    expect(await rules.verdict("egress", "tcp 192.0.2.53 53")).toBe("no");
    expect(await rules.ask("publish", 6, "0.0.0.0", 80)).toBe("0 0.0.0.0 80");
  };
  await refused();
  for (let n = 0; n < good.length; n++) {
    expect(await rules.ask("load", hex(good))).toBe("0");
    expect(await rules.ask("load", hex(good.subarray(0, n)))).toBe("-22");
    if (n % 8 === 0) await refused();
  }
  expect(await rules.ask("load", hex(Uint8Array.from([...good, 0])))).toBe("-22");
  const bad: [at: number, value: number][] = [
    [0, 0],
    [4, 2],
    [6, 0x10],
    [14, 1],
    [16, 3],
    [18, 0],
    [40, 0],
    [40, 5],
    [41, 2],
    [42, 3],
    [43, 1],
    [45, 0xff],
    [48, 2],
    [72, 1],
  ];
  for (const [at, value] of bad) {
    const changed = Uint8Array.from(good);
    changed[at] = value;
    if (at === 18) changed[19] = 0;
    if (at === 45) changed[47] = 0;
    expect([at, await rules.ask("load", hex(changed))]).toEqual([at, "-22"]);
  }
  await refused();
  await rules.end();
});

describe("publications", () => {
  const resolvers = ["192.0.2.53#53", "127.0.0.53#53"];

  test("without a list are free, but nobody poses as the resolver", async () => {
    await withRules(file("example.com", { resolvers }), async (rules) => {
      const tries: [at: string, answer: number][] = [
        ["0.0.0.0 80", 1],
        [":: 0", 1],
        ["127.0.0.53 54", 1],
        ["127.0.0.53 53", 0],
        ["::ffff:127.0.0.53 53", 0],
        ["192.0.2.53 53", 0],
        // One of the resolvers is at an address of the namespace.
        ["0.0.0.0 53", 0],
        [":: 53", 0],
        ["127.0.0.1 53", 1],
      ];
      for (const [at, answer] of tries) {
        for (const protocol of [6, 17])
          expect([at, await rules.ask("publish", protocol, ...at.split(" "))]).toEqual([at, `${answer} ${at}`]);
        expect([at, await rules.ask("listen", 6, ...at.split(" "))]).toEqual([at, `${answer}`]);
      }
    });
    // Where nothing hangs on names the port is anybody's; and so it is where the resolver is elsewhere.
    for (const free of [file("all", { resolvers }), file("example.com", { resolvers: ["192.0.2.53#53"] })])
      await withRules(free, async (rules) =>
        expect(await rules.ask("publish", 17, "0.0.0.0", 53)).toBe("1 0.0.0.0 53"),
      );
  });

  test("with a list are those of the list, where it says", async () => {
    const publish =
      "8080:80,127.0.0.1:8443:443,[::1]:9000:9000,0.0.0.0:7000:7000,[::]:7001:7001,5353:53/udp,192.0.2.9:25:25";
    await withRules(file("all", { publish }), async (rules) => {
      const tries: [at: string, answer: string][] = [
        ["6 0.0.0.0 80", "1 0.0.0.0 8080"],
        ["6 :: 80", "1 :: 8080"],
        ["6 127.0.0.1 80", "1 127.0.0.1 8080"],
        ["17 0.0.0.0 80", "0 0.0.0.0 80"],
        ["6 0.0.0.0 8080", "0 0.0.0.0 8080"],
        ["6 0.0.0.0 443", "1 127.0.0.1 8443"],
        ["6 :: 443", "1 ::ffff:127.0.0.1 8443"],
        ["6 127.0.0.1 443", "1 127.0.0.1 8443"],
        ["6 192.0.2.9 443", "0 192.0.2.9 443"],
        ["6 :: 9000", "1 ::1 9000"],
        ["6 0.0.0.0 9000", "0 0.0.0.0 9000"],
        ["6 :: 7000", "1 ::ffff:0.0.0.0 7000"],
        ["6 192.0.2.1 7000", "1 192.0.2.1 7000"],
        ["6 2001:db8::1 7000", "0 2001:db8::1 7000"],
        ["6 :: 7001", "1 :: 7001"],
        ["6 0.0.0.0 7001", "0 0.0.0.0 7001"],
        ["17 0.0.0.0 53", "1 0.0.0.0 5353"],
        ["6 0.0.0.0 0", "1 0.0.0.0 0"],
        ["6 0.0.0.0 81", "0 0.0.0.0 81"],
      ];
      for (const [at, answer] of tries)
        expect([at, await rules.ask("publish", ...at.split(" "))]).toEqual([at, answer]);
      expect(await rules.ask("listen", 6, "0.0.0.0", 8080)).toBe("1");
      expect(await rules.ask("listen", 17, "0.0.0.0", 8080)).toBe("0");
      expect(await rules.ask("listen", 6, "0.0.0.0", 40000)).toBe("0");
    });
  });
});

describe("names that the broker resolves", () => {
  const resolvers: FakeResolver[] = [];
  let ports: number[] = [];
  beforeAll(async () => {
    for (let i = 0; i < 2; i++) resolvers.push(new FakeResolver());
    ports = await Promise.all(resolvers.map((resolver) => resolver.listen()));
  });
  afterAll(() => {
    for (const resolver of resolvers) resolver.close();
  });
  /** With as many resolvers as there are behaviours. */
  async function resolving(
    text: string,
    behaviours: FakeResolver["behave"][],
    body: (rules: Rules, asked: FakeResolver["asked"]) => Promise<void>,
  ): Promise<void> {
    for (const [i, behave] of behaviours.entries()) {
      resolvers[i]!.behave = behave;
      resolvers[i]!.asked.length = 0;
    }
    const servers = behaviours.map((_, i) => `127.0.0.1#${ports[i]}`);
    await withRules(file(text, { resolvers: servers }), (rules) => body(rules, resolvers[0]!.asked));
  }
  /** The usual answer: the addresses of that type. */
  const answer =
    (list: string[], ttl = 60): FakeResolver["behave"] =>
    ({ id, name, type }) =>
      message({ id, name, type, answers: addresses(name, list, ttl).filter((record) => record.type === type) });

  test("decide later, and both families by themselves", async () => {
    await resolving("n.example:443", [answer(["192.0.2.1", "192.0.2.2", "2001:db8::1"])], async (rules, asked) => {
      expect(await rules.verdict("egress", "tcp 192.0.2.1 80")).toBe("no");
      expect(asked).toEqual([]);
      expect(await rules.verdict("egress", "tcp 192.0.2.1 443")).toBe("later");
      expect(await rules.ask("descriptors")).toBe("1");
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("yes");
      expect(await rules.ask("descriptors")).toBe("0");
      expect(await rules.verdict("egress", "tcp 192.0.2.2 443")).toBe("yes");
      expect(await rules.verdict("egress", "tcp 192.0.2.3 443")).toBe("no");
      expect(asked).toMatchObject([{ name: "n.example", type: A, edns: true, tcp: false }]);
      expect(await rules.verdict("wait", "tcp 2001:db8::2 443")).toBe("no");
      expect(await rules.verdict("egress", "tcp 2001:db8::1 443")).toBe("yes");
      expect(asked).toHaveLength(2);
    });
  });

  test("are asked with ids and ports that nobody guesses", async () => {
    const names = Array.from({ length: 60 }, (_, i) => `n${i}.example`);
    await resolving(names.join(), [answer(["192.0.2.1"])], async (rules, asked) => {
      expect(await rules.verdict("wait", "tcp 192.0.2.2 443")).toBe("no");
      expect(new Set(asked.map(({ name }) => name)).size).toBe(60);
      expect(new Set(asked.map(({ id }) => id)).size).toBeGreaterThan(55);
      expect(new Set(asked.map(({ from }) => from)).size).toBeGreaterThan(30);
    });
  });

  test("change their addresses: the new one counts, the old one for a while", async () => {
    let list = ["192.0.2.1"];
    await resolving("n.example", [(q) => answer(list, 10)(q)], async (rules, asked) => {
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("yes");
      list = ["192.0.2.2"];
      expect(await rules.verdict("wait", "tcp 192.0.2.2 443")).toBe("no");
      expect(asked).toHaveLength(1);
      await rules.ask("pass", 11_000);
      expect(await rules.verdict("wait", "tcp 192.0.2.2 443")).toBe("yes");
      expect(await rules.verdict("egress", "tcp 192.0.2.1 443")).toBe("yes");
      await rules.ask("pass", 50_000);
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("no");
      expect(await rules.verdict("wait", "tcp 192.0.2.2 443")).toBe("yes");
    });
  });

  test("are kept no shorter than 5 s, and no longer than an hour", async () => {
    await resolving("n.example", [answer(["192.0.2.1"], 0)], async (rules, asked) => {
      for (const [after, count] of [
        [0, 1],
        [4_000, 1],
        [2_000, 2],
      ] as const) {
        await rules.ask("pass", after);
        expect(await rules.verdict("wait", "tcp 192.0.2.9 443")).toBe("no");
        expect(asked).toHaveLength(count);
      }
    });
    for (const ttl of [1_000_000, 0x7fffffff])
      await resolving("n.example", [answer(["192.0.2.1"], ttl)], async (rules) => {
        expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("yes");
        resolvers[0]!.behave = answer(["192.0.2.2"]);
        await rules.ask("pass", 3_590_000);
        expect(await rules.verdict("egress", "tcp 192.0.2.1 443")).toBe("yes");
        await rules.ask("pass", 11_000);
        expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("no");
      });
  });

  test("may have none, for as long as their zone says", async () => {
    const soa = Uint8Array.from([1, 97, 0, 1, 98, 0, ...new Array(16).fill(0), 0, 0, 0, 20]);
    const authority: DnsRecord[] = [{ name: "example", type: SOA, ttl: 900, data: soa }];
    for (const flags of [0x8183, 0x8180])
      await resolving(
        "n.example",
        [({ id, name, type }) => message({ id, name, type, flags, authority })],
        async (rules, asked) => {
          for (const [after, count] of [
            [0, 1],
            [19_000, 1],
            [2_000, 2],
          ] as const) {
            await rules.ask("pass", after);
            expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("no");
            expect(asked).toHaveLength(count);
          }
        },
      );
  });

  test("are what their aliases are", async () => {
    const behave: FakeResolver["behave"] = ({ id, name, type }) => {
      const answers = [{ name, type: CNAME, data: "cdn.example" }, ...addresses("cdn.example", ["192.0.2.1"])];
      return message({
        id,
        name: name.toUpperCase(),
        type,
        answers: [...answers, ...addresses("other.example", ["192.0.2.2"])],
      });
    };
    await resolving("n.example", [behave], async (rules) => {
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("yes");
      expect(await rules.verdict("wait", "tcp 192.0.2.2 443")).toBe("no");
    });
  });

  test("are not what a reply to another question says", async () => {
    const behave: FakeResolver["behave"] = ({ id, name, type }) => {
      const evil = addresses(name, ["192.0.2.66"]);
      return [
        Uint8Array.of(),
        Uint8Array.of(id >> 8, id & 0xff, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0),
        message({ id: id ^ 1, name, type, answers: evil }),
        message({ id, name: "m.example", type, answers: addresses("m.example", ["192.0.2.66"]) }),
        message({ id, name, type: AAAA, answers: evil }),
        message({ id, name, type, flags: 0x0180, answers: evil }),
        message({ id, name, type, answers: evil }).subarray(0, -1),
        message({ id, name, type, answers: addresses(name, ["192.0.2.1"]) }),
        message({ id, name, type, answers: evil }),
      ];
    };
    await resolving("n.example", [behave], async (rules) => {
      expect(await rules.verdict("wait", "tcp 192.0.2.66 443")).toBe("no");
      expect(await rules.verdict("egress", "tcp 192.0.2.1 443")).toBe("yes");
    });
  });

  test("are asked of the next resolver when one fails, or says nothing", async () => {
    const refusing: FakeResolver["behave"] = ({ id, name, type }) => message({ id, name, type, flags: 0x8182 });
    for (const first of [refusing, (() => []) as FakeResolver["behave"]])
      await resolving("n.example,m.example", [first, answer(["192.0.2.1"])], async (rules, asked) => {
        expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("yes");
        expect(asked.length).toBe(2);
        // The one that answered is the first from then on.
        expect(await rules.verdict("wait", "tcp 2001:db8::1 443")).toBe("no");
        expect(asked.length).toBe(2);
      });
  });

  test("are asked for again and again, and given up in time", async () => {
    let silent = 2;
    await resolving("n.example", [(q) => (silent-- > 0 ? [] : answer(["192.0.2.1"])(q))], async (rules, asked) => {
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("yes");
      expect(asked).toHaveLength(3);
      expect(new Set(asked.map(({ id, from }) => `${id} ${from}`)).size).toBe(1);
    });
    await resolving("n.example", [() => []], async (rules, asked) => {
      const begun = performance.now();
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("no");
      expect(performance.now() - begun).toBeGreaterThan(4_000);
      const count = asked.length;
      expect(await rules.verdict("egress", "tcp 192.0.2.1 443")).toBe("no");
      await rules.ask("pass", 6_000);
      expect(await rules.verdict("egress", "tcp 192.0.2.1 443")).toBe("later");
      expect(asked.length).toBeLessThanOrEqual(count + 1);
    });
  }, 30_000);

  test("that nobody can be asked for decide at once", async () => {
    await withRules(file("n.example", { resolvers: ["127.0.0.1#1"] }), async (rules) => {
      const begun = performance.now();
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("no");
      expect(performance.now() - begun).toBeLessThan(3_000);
    });
  });

  test("are asked for by TCP when the reply was cut, and without EDNS when that is not understood", async () => {
    const many = Array.from({ length: 100 }, (_, i) => `192.0.2.${i + 100}`);
    const cut: FakeResolver["behave"] = (q) =>
      q.tcp ? answer(many)(q) : message({ id: q.id, name: q.name, type: q.type, flags: 0x8380 });
    await resolving("n.example", [cut], async (rules, asked) => {
      expect(await rules.verdict("wait", "tcp 192.0.2.199 443")).toBe("yes");
      expect(asked.map(({ tcp }) => tcp)).toEqual([false, true]);
    });
    const old: FakeResolver["behave"] = (q) =>
      q.edns ? Uint8Array.of(q.id >> 8, q.id & 0xff, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0) : answer(["192.0.2.1"])(q);
    await resolving("n.example", [old], async (rules, asked) => {
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("yes");
      expect(asked.map(({ edns }) => edns)).toEqual([true, false]);
    });
  });

  test("that are refused are resolved before anything is allowed", async () => {
    await resolving("all,!evil.example", [answer(["192.0.2.66"])], async (rules) => {
      expect(await rules.verdict("egress", "tcp 192.0.2.1 443")).toBe("later");
      expect(await rules.verdict("wait", "tcp 192.0.2.66 443")).toBe("no");
      expect(await rules.verdict("egress", "tcp 192.0.2.1 443")).toBe("yes");
      // What it has been is remembered for longer than its time to live.
      resolvers[0]!.behave = answer(["192.0.2.67"]);
      await rules.ask("pass", 100_000);
      expect(await rules.verdict("wait", "tcp 192.0.2.67 443")).toBe("no");
      expect(await rules.verdict("wait", "tcp 192.0.2.66 443")).toBe("no");
    });
    const failing: FakeResolver["behave"] = ({ id, name, type }) => message({ id, name, type, flags: 0x8182 });
    await resolving("all,!evil.example", [failing], async (rules) => {
      expect(await rules.verdict("wait", "tcp 192.0.2.1 443")).toBe("no");
    });
  });
});

describe("hostile input", () => {
  const THOUSANDS = 100_000;

  test("of files", async () => {
    const rules = new Rules();
    const resolvers = ["10.0.0.1#53", "[2001:db8::1]#53"];
    const publish = "8080:80,127.0.0.1:443:443";
    const files = [
      file("all"),
      file("", { shared: true, resolvers }),
      file("all,!10.0.0.0/8", { shared: true, publish, resolvers }),
      file("10.0.0.0/8:443,[2001:db8::]/32,udp:192.0.2.1:53,icmp", { resolvers }),
      file("a.example:80,*.b.example,!c.example,192.0.2.0/24,!192.0.2.1", { publish }),
      file("169.254.169.254,127.0.0.1:80", { shared: true }),
    ];
    for (const bytes of files) await rules.ask("corpus", hex(bytes));
    const said = await rules.ask("fuzz-rules", THOUSANDS, 1);
    expect(said).toMatch(/^ok \d+ loaded$/);
    // Were nearly all refused, this would be no test of what is allowed.
    expect(Number(said.split(" ")[1])).toBeGreaterThan(THOUSANDS / 20);
    await rules.end();
  }, 300_000);

  test("of replies", async () => {
    const rules = new Rules();
    // Nobody is there.
    await rules.ask(
      "load",
      hex(file("a.example,*.b.example,!evil.example", { shared: true, resolvers: ["127.0.0.1#1"] })),
    );
    const chain: DnsRecord[] = [
      { name: "a.example", type: CNAME, data: "x.b.example" },
      { name: "x.b.example", type: CNAME, data: "evil.example" },
      ...addresses("evil.example", ["203.0.113.9", "127.0.0.1"]),
    ];
    const compressed = [...message({ name: "a.example", type: A })];
    compressed[7] = 2;
    for (let i = 0; i < 2; i++) compressed.push(0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, i + 1);
    const replies = [
      Uint8Array.from(compressed),
      message(of("a.example", ["192.0.2.1", "169.254.169.254", "127.0.0.1"])),
      message(of("x.b.example", ["2001:db8::1", "::1", "fe80::1"])),
      message(of("stranger.example", ["198.51.100.7"])),
      message({ name: "a.example", type: A, answers: chain }),
      message({
        name: "a.example",
        type: A,
        flags: 0x8183,
        authority: [{ name: "example", type: SOA, data: new Uint8Array(22) }],
      }),
    ];
    for (const bytes of replies) await rules.ask("corpus", hex(bytes));
    const said = await rules.ask("fuzz-replies", THOUSANDS, 2);
    expect(said).toMatch(/^ok \d+ learned$/);
    expect(Number(said.split(" ")[1])).toBeGreaterThan(THOUSANDS / 20);
    await rules.end();
  }, 300_000);

  test("of pointers that lead round, ahead, or far", async () => {
    await withRules(file("a.example"), async (rules) => {
      const head = [0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
      const name = [1, 97, 7, 101, 120, 97, 109, 112, 108, 101, 0];
      const rest = [0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];
      const owners = [
        [0xc0, 27],
        [0xc0, 0xff],
        [0xff, 0xff],
        [1, 97, 0xc0, 27],
        [0xc0, 29, 0xc0, 27],
        [0x40, 1],
        [0x80],
        [63],
      ];
      for (const owner of owners) {
        await rules.ask("learn", hex(Uint8Array.from([...head, ...name, 0, 1, 0, 1, ...owner, ...rest])));
        expect(await rules.verdict("egress", "tcp 192.0.2.1 80")).toBe("no");
      }
      // The question itself as a pointer, to itself and into the head.
      for (const pointer of [12, 13, 0, 4]) {
        await rules.ask("learn", hex(Uint8Array.from([...head, 0xc0, pointer, 0, 1, 0, 1, 0xc0, 12, ...rest])));
        expect(await rules.verdict("egress", "tcp 192.0.2.1 80")).toBe("no");
      }
      // As large as a datagram gets: records and a chain without an end.
      const answers = Array.from(
        { length: 1500 },
        (_, i): DnsRecord => ({ name: `${i}.x.example`, type: CNAME, data: `${i + 1}.x.example` }),
      );
      const begun = performance.now();
      await rules.learn({
        name: "a.example",
        type: A,
        answers: [{ name: "a.example", type: CNAME, data: "0.x.example" }, ...answers],
      });
      expect(performance.now() - begun).toBeLessThan(1_000);
      await rules.learn(of("a.example", ["192.0.2.1"]));
      expect(await rules.verdict("egress", "tcp 192.0.2.1 80")).toBe("yes");
    });
  });

  test("of more addresses than there is room for: the last ones count", async () => {
    await withRules(file("a.example"), async (rules) => {
      for (let i = 0; i < 40; i++) {
        const list = Array.from({ length: 25 }, (_, n) => `10.0.${i}.${n}`);
        await rules.learn({ name: "a.example", type: A, answers: addresses("a.example", list, 61 + i) });
      }
      expect(await rules.verdict("egress", "tcp 10.0.39.24 80")).toBe("yes");
      expect(await rules.verdict("egress", "tcp 10.0.0.0 80")).toBe("no");
    });
  });
});

test("it is a freestanding program's: without a library, and with general registers alone", () => {
  const stub = join(directory, "free.stub.c");
  const uses = `#include "${join(import.meta.dir, "broker-rules.h")}"
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}
void *memset(void *to, int byte, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)byte;
	return to;
}
void _start(void) { for (;;) rules_call(__NR_exit_group, rules_tick(0), 0, 0, 0, 0, 0); }
`;
  writeFileSync(stub, uses);
  const flags =
    "-O2 -ffreestanding -nostdlib -static -fno-pie -no-pie -fno-stack-protector -mgeneral-regs-only -mno-red-zone";
  const out = join(directory, "free");
  expect(compile(out, stub, flags.split(" "))).toEqual({ ok: true, said: "" });
  // The tables are not in the file.
  expect(readFileSync(out).length).toBeLessThan(65_536);
});
