/**
 * What a sandbox may reach outside and what may be reached of it: from the texts that people write to the file that the
 * broker reads (src/native/broker-rules.h, where the format and what it means are written down).
 *
 * Egress, separated by commas:
 *
 *   all                     everything ("*" is the same)
 *   example.com             a name, for all that it resolves to
 *   *.example.com           the names below it, at any depth, but not the name itself
 *   10.0.0.0/8, 192.0.2.1   addresses of IPv4
 *   [2001:db8::]/32         addresses of IPv6
 *   …:443, …:8000-8100      one port, or a range, of TCP and UDP; without, or with :*, all ports and protocols
 *   tcp:…, udp:…, icmp:…    that protocol only; "icmp" alone: with everybody
 *   !…                      refused, whatever else is allowed
 *   raw                     raw sockets are allowed (to the same addresses)
 *
 * No text at all allows nothing. `localhost` is the two loopback addresses, since that is what whoever writes it means,
 * and an address is what opens loopback. What could be read in two ways (010.0.0.1, 10.1, 0x7f000001, addresses with
 * bits beyond their prefix) is an error, not a guess.
 */
import { isIPv6 } from "node:net";
import { domainToASCII } from "node:url";
import { RuntimeError } from "./errors.ts";

export interface IpAddress {
  readonly family: 4 | 6;
  /** 4 or 16. */
  readonly bytes: readonly number[];
  readonly scope?: number;
}

export type EgressTarget =
  | { readonly kind: "all" }
  | { readonly kind: "prefix"; readonly address: IpAddress; readonly bits: number }
  /** In ASCII and lower case; of a suffix without "*.". */
  | { readonly kind: "name" | "suffix"; readonly name: string };

export interface EgressRule {
  /** As it was written, for messages: the broker tells of rules by their numbers. */
  readonly text: string;
  readonly deny: boolean;
  readonly protocol: "any" | "tcp" | "udp" | "icmp";
  readonly firstPort: number;
  readonly lastPort: number;
  readonly target: EgressTarget;
}

export interface Egress {
  readonly rules: readonly EgressRule[];
  readonly raw: boolean;
}

export interface Resolver {
  readonly address: IpAddress;
  readonly port: number;
}

/** A port of the guest, and where on the host it is reached; without an address: at the one that the guest binds. */
export interface Publication {
  readonly address: IpAddress | null;
  readonly port: number;
  readonly guestPort: number;
  readonly protocol: "tcp" | "udp";
}

export interface EgressFile {
  readonly egress: Egress;
  readonly resolvers: readonly Resolver[];
  /** null: whatever the guest binds. */
  readonly publications: readonly Publication[] | null;
  /** Is the network namespace one in which the host (or the caller) lives too? Then its loopback is not the guest's. */
  readonly shared: boolean;
}

const MAGIC = 0x52554c45;
const VERSION = 1;
const RESTRICTED = 1;
const RAW = 2;
const SHARED = 4;
const PUBLISH_RESTRICTED = 8;
const KINDS = { all: 1, prefix: 2, name: 3, suffix: 4 } as const;
const PROTOCOLS = { any: 0, tcp: 6, udp: 17, icmp: 1 } as const;
const FAMILIES = { 4: 2, 6: 10 } as const;
const LAST_PORT = 65535;
const MAX_RULES = 1024;
const MAX_PUBLICATIONS = 256;
const MAX_RESOLVERS = 8;
const MAX_NAME = 253;

/** What is wrong with one rule, whose text is put in front. */
class BadRule extends Error {}

function within<T>(what: string, text: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof BadRule)) throw error;
    throw new RuntimeError("usage", `${what} "${text}": ${error.message}`);
  }
}

/** `deny`: rules of which each one is a refusal. */
export function parseEgress(text: string, deny = ""): Egress {
  const rules: EgressRule[] = [];
  let raw = false;
  for (const [list, denied] of [
    [text, false],
    [deny, true],
  ] as const) {
    for (const item of items(list)) {
      within("egress rule", item, () => {
        if (item === "") throw new BadRule("there is nothing between two commas");
        if (denied && item.startsWith("!")) throw new BadRule("it is refused already, without a !");
        const refused = denied || item.startsWith("!");
        const rest = item.startsWith("!") ? item.slice(1).trim() : item;
        if (rest.toLowerCase() === "raw") {
          if (refused) throw new BadRule("raw sockets are refused as long as nothing allows them");
          raw = true;
        } else rules.push(...parseRule(rest).map((rule) => ({ ...rule, text: item, deny: refused })));
      });
    }
  }
  if (rules.length > MAX_RULES)
    throw new RuntimeError("usage", `too many egress rules: ${rules.length}, and ${MAX_RULES} is the most`);
  return { rules, raw };
}

function items(list: string): string[] {
  return list.trim() === "" ? [] : list.split(",").map((item) => item.trim());
}

function parseRule(text: string): Omit<EgressRule, "text" | "deny">[] {
  if (text === "") throw new BadRule("there is nothing behind the !");
  const [, word, rest] = /^(tcp|udp|icmp)(?::(.*))?$/i.exec(text) ?? [];
  const protocol = (word?.toLowerCase() ?? "any") as EgressRule["protocol"];
  if (word !== undefined && rest === undefined && protocol !== "icmp")
    throw new BadRule(`"${word}" needs a target behind it, like ${protocol}:all`);
  const { host, bits, port } = splitTarget(word === undefined ? text : (rest ?? "all"));
  const [firstPort, lastPort] = port === undefined ? [0, LAST_PORT] : parsePorts(port, host);
  if (protocol === "icmp" && lastPort - firstPort !== LAST_PORT) throw new BadRule("icmp has no ports");
  return parseTargets(host, bits).map((target) => ({ protocol, firstPort, lastPort, target }));
}

/** host: an address of IPv6 still has its brackets. */
function splitTarget(text: string): { host: string; bits: string | undefined; port: string | undefined } {
  if (text.startsWith("[")) {
    const match = /^(\[[^\]/]*)(?:\/([^\]]*))?\](?:\/([^:]*))?(?::(.*))?$/.exec(text);
    if (match === null) throw new BadRule("an IPv6 address is written [ADDRESS], [ADDRESS]/BITS or [ADDRESS]:PORT");
    if (match[2] !== undefined && match[3] !== undefined) throw new BadRule("there are two prefixes");
    return { host: `${match[1]}]`, bits: match[2] ?? match[3], port: match[4] };
  }
  const [front = "", port, ...more] = text.split(":");
  if (more.length > 0) {
    if (/^[0-9a-f:.]+(%\w+)?(\/\d+)?$/i.test(text)) throw new BadRule("an IPv6 address must stand in brackets");
    throw new BadRule(`unknown protocol "${front}": there are tcp, udp and icmp`);
  }
  const slash = front.indexOf("/");
  return slash < 0
    ? { host: front, bits: undefined, port }
    : { host: front.slice(0, slash), bits: front.slice(slash + 1), port };
}

function parsePorts(text: string, host: string): [number, number] {
  if (text === "*") return [0, LAST_PORT];
  const match = /^([^-]*)(?:-([^-]*))?$/.exec(text);
  if (match === null || /[^\d-]/.test(text)) {
    const instead = /^[a-z]+$/i.test(host) ? ` (and "${host}" is no protocol: there are tcp, udp and icmp)` : "";
    throw new BadRule(`bad port "${text}": it is a number, a range like 8000-8100, or *${instead}`);
  }
  const first = parsePort(match[1]!);
  const last = match[2] === undefined ? first : parsePort(match[2]);
  if (first > last) throw new BadRule(`bad port "${text}": the range ends before it begins`);
  return [first, last];
}

function parsePort(text: string): number {
  const port = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > LAST_PORT) throw new BadRule(`bad port "${text}": ports are numbers from 1 to ${LAST_PORT}`);
  return port;
}

function parseTargets(host: string, bits: string | undefined): EgressTarget[] {
  const address = parseAddress(host);
  if (address !== null) return [parsePrefix(address, bits)];
  if (bits !== undefined) throw new BadRule(`"${host}" is no address, so that it has no prefix`);
  if (host === "") throw new BadRule("the name is empty");
  if (host === "*" || host.toLowerCase() === "all") return [{ kind: "all" }];
  if (host.startsWith("*.")) return [{ kind: "suffix", name: parseName(host.slice(2)) }];
  if (host.includes("*")) throw new BadRule(`a * stands for the first labels of a name only, like *.example.com`);
  const name = parseName(host);
  if (name !== "localhost") return [{ kind: "name", name }];
  return ["127.0.0.1", "[::1]"].map((own) => parsePrefix(parseAddress(own)!, undefined));
}

/** null: it is none, and does not look like one. An address of IPv6 in brackets. */
function parseAddress(text: string): IpAddress | null {
  if (text.startsWith("[")) {
    const inner = text.slice(1, -1);
    if (inner.includes("%")) throw new BadRule(`"${inner}" has a zone, which rules cannot tell apart`);
    if (!isIPv6(inner)) throw new BadRule(`"${inner}" is no IPv6 address`);
    return { family: 6, bytes: ipv6Bytes(inner) };
  }
  // What the host's resolver, inet_aton or a browser would take for an address, in whichever way.
  if (!/(^|\.)(\d+|0x[\da-f]*)\.?$/i.test(text)) return null;
  const bytes = ipv4Bytes(text);
  if (bytes === null)
    throw new BadRule(
      `"${text}" is ambiguous as an IPv4 address: write four decimal numbers from 0 to 255 without leading zeros`,
    );
  return { family: 4, bytes };
}

function ipv4Bytes(text: string): number[] | null {
  if (!/^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/.test(text)) return null;
  const bytes = text.split(".").map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : null;
}

/** Of what isIPv6 has called one. */
function ipv6Bytes(text: string): number[] {
  const groups = (part: string): number[] =>
    part === ""
      ? []
      : part.split(":").flatMap((group) => {
          if (group.includes(".")) return group.split(".").map(Number);
          const value = Number.parseInt(group, 16);
          return [value >> 8, value & 0xff];
        });
  const [head = "", tail] = text.split("::");
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  return [...front, ...new Array<number>(16 - front.length - back.length).fill(0), ...back];
}

function parsePrefix(written: IpAddress, bitsText: string | undefined): EgressTarget {
  let address = written;
  let most = address.family === 4 ? 32 : 128;
  let bits = most;
  if (bitsText !== undefined) {
    bits = /^(0|[1-9]\d{0,2})$/.test(bitsText) ? Number(bitsText) : -1;
    if (bits < 0 || bits > most) throw new BadRule(`bad prefix "/${bitsText}": here it is a number from 0 to ${most}`);
  }
  // IPv4 by another name: to the broker such addresses are IPv4's.
  if (address.family === 6 && bits >= 96 && address.bytes.slice(0, 12).join() === "0,0,0,0,0,0,0,0,0,0,255,255") {
    address = { family: 4, bytes: address.bytes.slice(12) };
    bits -= 96;
    most = 32;
  }
  const beyond = address.bytes.some((byte, i) => (byte & (0xff >> Math.min(8, Math.max(0, bits - i * 8)))) !== 0);
  if (beyond) throw new BadRule(`the address has bits set beyond its prefix of ${bits}`);
  if (bits === most && address.bytes.every((byte) => byte === 0))
    throw new BadRule(
      "nothing can be reached at the wildcard address; all of a family is prefix /0, oneself is loopback",
    );
  return { kind: "prefix", address, bits };
}

function parseName(text: string): string {
  const bare = text.endsWith(".") ? text.slice(0, -1) : text;
  if (bare === "") throw new BadRule("the name is empty");
  // Before node would read an escape, a path or a port in it.
  const odd = /[^\w.\-\u0080-\u{10ffff}]/u.exec(bare);
  if (odd !== null) throw new BadRule(`"${odd[0]}" cannot be in a name`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII as a whole is meant
  const ascii = /^[\x00-\x7f]*$/.test(bare) ? bare.toLowerCase() : domainToASCII(bare);
  if (ascii === "") throw new BadRule(`"${bare}" is no name that has an ASCII form (IDNA)`);
  if (ascii.length > MAX_NAME) throw new BadRule(`the name has more than ${MAX_NAME} characters`);
  for (const label of ascii.split(".")) {
    if (label === "") throw new BadRule("the name has an empty label: two dots, or one at its beginning");
    if (label.length > 63) throw new BadRule(`the label "${label}" has more than 63 characters`);
    if (!/^[a-z0-9_-]+$/.test(label)) throw new BadRule(`"${label}" cannot be a label of a name`);
  }
  if (/(^|\.)(\d+|0x[\da-f]*)$/.test(ascii))
    throw new BadRule(`"${text}" would be the IPv4 address ${ascii}: write that`);
  return ascii;
}

/** `[ADDR:]PORT:PORT[/udp]`, the host's port first; separated by commas. */
export function parsePublications(text: string): Publication[] {
  const found = items(text).map((item) => within("publication", item, () => parsePublication(item)));
  if (found.length > MAX_PUBLICATIONS)
    throw new RuntimeError("usage", `too many publications: ${found.length}, and ${MAX_PUBLICATIONS} is the most`);
  return found;
}

function parsePublication(text: string): Publication {
  const match = /^(?:(\[[^\]]*\]|[^:]*):)?([^:]*):([^:/]*)(?:\/(.*))?$/.exec(text);
  if (match === null)
    throw new BadRule("it is to be [ADDRESS:]HOST-PORT:GUEST-PORT[/udp], an IPv6 address in brackets");
  const [, host, port, guestPort, protocol = "tcp"] = match;
  if (protocol !== "tcp" && protocol !== "udp")
    throw new BadRule(`unknown protocol "${protocol}": there are tcp and udp`);
  const address = host === undefined ? null : parseAddress(host);
  if (host !== undefined && address === null) throw new BadRule(`"${host}" is no address of the host`);
  return { address, port: parsePort(port!), guestPort: parsePort(guestPort!), protocol };
}

/**
 * The name servers of a resolv.conf, as many as the broker takes. `scopeOf`: the number of an interface in the network
 * namespace of the sandbox; a link-local server behind an unknown one is left out.
 */
export function parseResolvers(
  text: string,
  scopeOf: (zone: string) => number | undefined = () => undefined,
): Resolver[] {
  const found: Resolver[] = [];
  for (const line of text.split("\n")) {
    const [, server] = /^\s*nameserver\s+([^\s#;]+)/.exec(line) ?? [];
    if (server === undefined) continue;
    const address = serverAddress(server, scopeOf);
    if (address !== null && found.length < MAX_RESOLVERS) found.push({ address, port: 53 });
  }
  return found;
}

function serverAddress(server: string, scopeOf: (zone: string) => number | undefined): IpAddress | null {
  const ipv4 = ipv4Bytes(server);
  if (ipv4 !== null) return { family: 4, bytes: ipv4 };
  const [plain = "", zone] = server.split("%");
  if (!isIPv6(plain)) return null;
  const bytes = ipv6Bytes(plain);
  if (zone === undefined) return { family: 6, bytes };
  const scope = /^\d+$/.test(zone) ? Number(zone) : scopeOf(zone);
  return scope === undefined || scope > 0xffffffff ? null : { family: 6, bytes, scope };
}

/** Is anything refused at all? */
export function isRestricted({ rules }: Egress): boolean {
  const everything = ({ deny, protocol, firstPort, lastPort, target }: EgressRule) =>
    !deny && protocol === "any" && target.kind === "all" && lastPort - firstPort === LAST_PORT;
  return rules.some(({ deny }) => deny) || !rules.some(everything);
}

/** The file for the broker. Its rules have the numbers of `egress.rules`. */
export function encodeEgress({ egress, resolvers, publications, shared }: EgressFile): Uint8Array {
  const servers = resolvers.slice(0, MAX_RESOLVERS);
  const published = publications ?? [];
  const names = egress.rules.map(({ target }) =>
    new TextEncoder().encode(target.kind === "name" || target.kind === "suffix" ? target.name : ""),
  );
  const sizes = names.map((name) => (34 + name.length + 3) & ~3);
  const size = 16 + servers.length * 24 + published.length * 28 + sizes.reduce((sum, n) => sum + n, 0);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const flags =
    (isRestricted(egress) ? RESTRICTED : 0) |
    (egress.raw ? RAW : 0) |
    (shared ? SHARED : 0) |
    (publications !== null ? PUBLISH_RESTRICTED : 0);
  view.setUint32(0, MAGIC, true);
  for (const [i, value] of [VERSION, flags, egress.rules.length, published.length, servers.length].entries())
    view.setUint16(4 + i * 2, value, true);
  let at = 16;
  for (const { address, port } of servers) {
    writePlace(view, at, address, port);
    at += 24;
  }
  for (const { address, port, guestPort, protocol } of published) {
    writePlace(view, at, address, port);
    view.setUint16(at + 24, PROTOCOLS[protocol], true);
    view.setUint16(at + 26, guestPort, true);
    at += 28;
  }
  for (const [i, { deny, protocol, firstPort, lastPort, target }] of egress.rules.entries()) {
    view.setUint8(at, KINDS[target.kind]);
    view.setUint8(at + 1, deny ? 1 : 0);
    view.setUint8(at + 2, PROTOCOLS[protocol]);
    view.setUint16(at + 4, firstPort, true);
    view.setUint16(at + 6, lastPort, true);
    if (target.kind === "prefix") {
      view.setUint8(at + 3, target.bits);
      writePlace(view, at + 8, target.address, 0);
    }
    view.setUint16(at + 32, names[i]!.length, true);
    bytes.set(names[i]!, at + 34);
    at += sizes[i]!;
  }
  return bytes;
}

function writePlace(view: DataView, at: number, address: IpAddress | null, port: number): void {
  view.setUint16(at, address === null ? 0 : FAMILIES[address.family], true);
  view.setUint16(at + 2, port, true);
  view.setUint32(at + 4, address?.scope ?? 0, true);
  for (const [i, byte] of (address?.bytes ?? []).entries()) view.setUint8(at + 8 + i, byte);
}
