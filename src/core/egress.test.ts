import { describe, expect, test } from "bun:test";
import { type Egress, encodeEgress, isRestricted, parseEgress, parsePublications, parseResolvers } from "./egress.ts";
import { RuntimeError } from "./errors.ts";

/** Rules as one line each, to compare. */
function lines({ rules }: Egress): string[] {
  return rules.map(({ deny, protocol, firstPort, lastPort, target }) => {
    const what =
      target.kind === "all"
        ? "all"
        : target.kind === "prefix"
          ? `${target.address.bytes.join(".")}/${target.bits}`
          : `${target.kind} ${target.name}`;
    return `${deny ? "deny" : "allow"} ${protocol} ${what} ${firstPort}-${lastPort}`;
  });
}

const ONE_V6 = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1";
const READ: [text: string, ...rules: string[]][] = [
  [""],
  ["   "],
  ["all", "allow any all 0-65535"],
  ["*", "allow any all 0-65535"],
  ["ALL:443", "allow any all 443-443"],
  ["example.com", "allow any name example.com 0-65535"],
  ["Example.COM.:443", "allow any name example.com 443-443"],
  ["*.example.com", "allow any suffix example.com 0-65535"],
  ["*.example.com:*", "allow any suffix example.com 0-65535"],
  ["bücher.example:80-90", "allow any name xn--bcher-kva.example 80-90"],
  ["_x._tcp.example.com", "allow any name _x._tcp.example.com 0-65535"],
  ["10.0.0.0/8", "allow any 10.0.0.0/8 0-65535"],
  ["192.0.2.1:53", "allow any 192.0.2.1/32 53-53"],
  ["0.0.0.0/0:443", "allow any 0.0.0.0/0 443-443"],
  ["[::1]", `allow any ${ONE_V6}/128 0-65535`],
  ["[2001:db8::]/32:443", "allow any 32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.0/32 443-443"],
  ["[2001:db8::/32]:443", "allow any 32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.0/32 443-443"],
  ["[1:2:3:4:5:6:7:8]", "allow any 0.1.0.2.0.3.0.4.0.5.0.6.0.7.0.8/128 0-65535"],
  ["[64:ff9b::192.0.2.1]", "allow any 0.100.255.155.0.0.0.0.0.0.0.0.192.0.2.1/128 0-65535"],
  ["[::ffff:192.0.2.1]:80", "allow any 192.0.2.1/32 80-80"],
  ["[::ffff:10.0.0.0]/104", "allow any 10.0.0.0/8 0-65535"],
  ["[::]/0", "allow any 0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0/0 0-65535"],
  ["udp:example.com:53", "allow udp name example.com 53-53"],
  ["TCP:all:1-1024", "allow tcp all 1-1024"],
  ["icmp", "allow icmp all 0-65535"],
  ["icmp:192.0.2.1", "allow icmp 192.0.2.1/32 0-65535"],
  ["localhost:80", "allow any 127.0.0.1/32 80-80", `allow any ${ONE_V6}/128 80-80`],
  [
    "all, !10.0.0.0/8 ,! evil.example",
    "allow any all 0-65535",
    "deny any 10.0.0.0/8 0-65535",
    "deny any name evil.example 0-65535",
  ],
];

test.each(READ)("egress %p", (text, ...rules) => {
  expect(lines(parseEgress(text))).toEqual(rules);
});

const REFUSED: [text: string, message: string][] = [
  ["a.example,,b.example", 'egress rule "": there is nothing between two commas'],
  ["!", 'egress rule "!": there is nothing behind the !'],
  ["example.com:0", 'egress rule "example.com:0": bad port "0": ports are numbers from 1 to 65535'],
  ["example.com:65536", 'bad port "65536"'],
  ["example.com:080", 'bad port "080"'],
  ["example.com:", 'bad port ""'],
  ["example.com:http", 'bad port "http": it is a number, a range like 8000-8100, or *'],
  ["example.com:90-80", 'bad port "90-80": the range ends before it begins'],
  ["example.com:1-2-3", 'bad port "1-2-3"'],
  ["example.com:-80", 'bad port ""'],
  ["sctp:example.com", '"sctp" is no protocol: there are tcp, udp and icmp'],
  ["sctp:example.com:80", 'unknown protocol "sctp": there are tcp, udp and icmp'],
  ["https://example.com", 'bad port "//example.com"'],
  ["tcp", '"tcp" needs a target behind it, like tcp:all'],
  ["tcp:", "the name is empty"],
  ["tcp:443", '"443" is ambiguous as an IPv4 address'],
  ["icmp:192.0.2.1:80", "icmp has no ports"],
  ["10.0.0.0/33", 'bad prefix "/33": here it is a number from 0 to 32'],
  ["10.0.0.0/08", 'bad prefix "/08"'],
  ["10.0.0.0/", 'bad prefix "/"'],
  ["[::]/129", 'bad prefix "/129": here it is a number from 0 to 128'],
  ["[2001:db8::/32]/32", "there are two prefixes"],
  ["10.1.2.3/8", "the address has bits set beyond its prefix of 8"],
  ["[2001:db8::1]/32", "the address has bits set beyond its prefix of 32"],
  ["example.com/24", '"example.com" is no address, so that it has no prefix'],
  ["2001:db8::1", "an IPv6 address must stand in brackets"],
  ["::1", "an IPv6 address must stand in brackets"],
  ["2001:db8::/32", "an IPv6 address must stand in brackets"],
  ["[2001:db8::zz]", '"2001:db8::zz" is no IPv6 address'],
  ["[192.0.2.1]", '"192.0.2.1" is no IPv6 address'],
  ["[fe80::1%eth0]", "has a zone"],
  ["[::1", "an IPv6 address is written [ADDRESS]"],
  ["010.0.0.1", '"010.0.0.1" is ambiguous as an IPv4 address'],
  ["10.1", '"10.1" is ambiguous as an IPv4 address'],
  ["0x7f.0.0.1", "ambiguous"],
  ["0x7f000001", "ambiguous"],
  ["2130706433", "ambiguous"],
  ["1.2.3.256", "ambiguous"],
  ["1.2.3.4.5", "ambiguous"],
  ["192.0.2.1.", "ambiguous"],
  ["１２７.0.0.1", "ambiguous"],
  ["１２７.０.０.１", '"１２７.０.０.１" would be the IPv4 address 127.0.0.1'],
  ["0.0.0.0", "nothing can be reached at the wildcard address"],
  ["[::]:80", "nothing can be reached at the wildcard address"],
  [":443", "the name is empty"],
  ["*.", "the name is empty"],
  [".example.com", "empty label"],
  ["a..example.com", "empty label"],
  ["a.*.example.com", "a * stands for the first labels"],
  ["*example.com", "a * stands for the first labels"],
  ["user@example.com", '"@" cannot be in a name'],
  ["ex%61mple.com", '"%" cannot be in a name'],
  ["exa mple.com", '" " cannot be in a name'],
  [`${"a".repeat(64)}.example`, "more than 63 characters"],
  [`${"abcdefg.".repeat(32)}example`, "more than 253 characters"],
  ["xn--\u00e4.example", "IDNA"],
  ["!raw", "raw sockets are refused as long as nothing allows them"],
];

test.each(REFUSED)("egress %p is refused", (text, message) => {
  expect(() => parseEgress(text)).toThrow(message);
  expect(() => parseEgress(text)).toThrow(RuntimeError);
});

describe("a set of rules", () => {
  test("has refusals of their own", () => {
    expect(lines(parseEgress("all", "evil.example,10.0.0.0/8"))).toEqual([
      "allow any all 0-65535",
      "deny any name evil.example 0-65535",
      "deny any 10.0.0.0/8 0-65535",
    ]);
    expect(() => parseEgress("all", "!evil.example")).toThrow("refused already");
  });

  test("is restricted unless everything is allowed", () => {
    for (const text of ["all", "example.com,all", "*:*"]) expect(isRestricted(parseEgress(text))).toBe(false);
    for (const text of ["", "all:443", "tcp:all", "all,!192.0.2.1", "0.0.0.0/0,[::]/0"])
      expect(isRestricted(parseEgress(text))).toBe(true);
  });

  test("is bounded", () => {
    expect(parseEgress(new Array(1024).fill("a.example").join()).rules).toHaveLength(1024);
    expect(() => parseEgress(new Array(1025).fill("a.example").join())).toThrow("too many egress rules: 1025");
  });

  test("may allow raw sockets", () => {
    expect(parseEgress("all,raw")).toMatchObject({ raw: true, rules: [{ text: "all" }] });
    expect(parseEgress("all").raw).toBe(false);
  });
});

test("publications", () => {
  expect(parsePublications("8080:80, 127.0.0.1:53:5353/udp,[::1]:1:2/tcp")).toEqual([
    { address: null, port: 8080, guestPort: 80, protocol: "tcp" },
    { address: { family: 4, bytes: [127, 0, 0, 1] }, port: 53, guestPort: 5353, protocol: "udp" },
    { address: { family: 6, bytes: [...new Array(15).fill(0), 1] }, port: 1, guestPort: 2, protocol: "tcp" },
  ]);
  expect(parsePublications("")).toEqual([]);
  const refused: [text: string, message: string][] = [
    ["80", 'publication "80": it is to be [ADDRESS:]HOST-PORT:GUEST-PORT[/udp]'],
    ["80:0", 'bad port "0"'],
    ["80:", 'bad port ""'],
    ["80:90/sctp", 'unknown protocol "sctp"'],
    ["localhost:80:90", '"localhost" is no address of the host'],
    [":80:90", '"" is no address of the host'],
    ["::1:80:90", "an IPv6 address in brackets"],
    ["10.1:80:90", "ambiguous"],
  ];
  for (const [text, message] of refused) expect(() => parsePublications(text)).toThrow(message);
  expect(() => parsePublications(new Array(257).fill("1:1").join())).toThrow("too many publications: 257");
});

test("resolvers", () => {
  const text = `# nameserver 192.0.2.9
search example.com
nameserver 192.0.2.1
 nameserver\t2001:db8::1 # that one
;nameserver 192.0.2.8
nameserver fe80::1%3
nameserver fe80::1%eth0
nameserver fe80::1%eth9
nameserver example.com
nameserver 010.0.0.1
nameserver
nameservers 192.0.2.7
options ndots:5`;
  const found = parseResolvers(text, (zone) => (zone === "eth0" ? 7 : undefined));
  expect(
    found.map(({ address }) => `${address.bytes.filter((byte) => byte !== 0).join(".")} ${address.scope}`),
  ).toEqual(["192.2.1 undefined", "32.1.13.184.1 undefined", "254.128.1 3", "254.128.1 7"]);
  expect(parseResolvers(new Array(20).fill("nameserver 192.0.2.1").join("\n"))).toHaveLength(8);
  expect(parseResolvers("")).toEqual([]);
});

test("the file has the layout that the broker reads", () => {
  const bytes = encodeEgress({
    egress: parseEgress("udp:ab.example:53-54,!10.0.0.0/8"),
    resolvers: parseResolvers("nameserver 192.0.2.1"),
    publications: parsePublications("127.0.0.1:8080:80"),
    shared: true,
  });
  expect(Buffer.from(bytes).toString("hex")).toBe(
    [
      "454c5552 0100 0d00 0200 0100 0100 0000",
      "0200 3500 00000000 c0000201 000000000000000000000000",
      "0200 901f 00000000 7f000001 000000000000000000000000 0600 5000",
      "03 00 11 00 3500 3600 0000 0000 00000000 00000000000000000000000000000000 0a00 61622e6578616d706c65",
      "02 01 00 08 0000 ffff 0200 0000 00000000 0a000000000000000000000000000000 0000 0000",
    ]
      .join("")
      .replaceAll(" ", ""),
  );
});
