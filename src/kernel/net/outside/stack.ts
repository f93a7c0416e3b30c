/**
 * Devices, addresses and routes of the sandbox's network namespace on the host, as its broker tells of them.
 *
 * What is asked for comes as messages that say NLM_F_MULTI, and takes the place of all that was known when it is complete;
 * others are changes. The loopback device is the sandbox's own: it is up whatever the host's is, and has what the host's has
 * besides. Source: rtnetlink(7), Linux net/ipv4/fib_semantics.c and devinet.c, RFC 6724 for sources.
 * Known gaps: of rules of policy routing the three that are always there, of several next hops the first.
 */
import { EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH } from "../../abi/errno.ts";
import { remade } from "../../state/registry.ts";
import { AF_INET, AF_INET6 } from "../abi.ts";
import { ANY4, ANY6, type Ip, isAny, isLoopback, isMulticast, LOOPBACK4, LOOPBACK6 } from "../inet/ip.ts";
import { commonBits, prefixOf } from "../inet/prefix.ts";
import { readAttributes } from "../netlink/message.ts";
import {
  type DeviceAddress,
  IFF_UP,
  LO,
  loopbackDevice,
  loopbackRoutes,
  type Neighbour,
  type NetDevice,
  type NetworkStack,
  type Route,
  RTN_BLACKHOLE,
  RTN_LOCAL,
  RTN_PROHIBIT,
  RTN_UNREACHABLE,
  TABLE_DEFAULT,
  TABLE_LOCAL,
  TABLE_MAIN,
  type Way,
} from "../stack.ts";
import {
  applyMessage,
  type Change,
  differences,
  emptyTables,
  messagesIn,
  NLM_F_MULTI,
  type Tables,
} from "./rtnetlink.ts";

/** Of changes that come while everything is being told anew, at most this much is kept. */
const MEANWHILE_MAX = 1 << 20;
/** Ways that are remembered until something changes. */
const WAYS_MAX = 1024;

const RTN_THROW = 9;
const RTNH_F_DEAD = 1;
const IFA_F_SECONDARY = 1;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;
const SCOPE_LINK = 253;
const RTA_CACHEINFO = 12;
const IFLA_PROP_LIST = 52;
const IFLA_ALT_IFNAME = 53;

/** Routes of one table and family by the length of their prefixes, longest first, and by those. */
type Trie = [bits: number, byPrefix: Map<Ip, Route[]>][];

export class OutsideStack implements NetworkStack {
  private tables = emptyTables();
  /** What is being told anew, and changes that come meanwhile. */
  private incoming: Tables | null = null;
  private meanwhile: Uint8Array[] = [];
  private meanwhileBytes = 0;
  /** Everything was told at least once. */
  complete = false;
  /** Something may have gone without a word: ask again. */
  stale = false;
  /** Made when they are asked for, after a change. */
  private view: View | null = null;

  /** Messages have come. What has changed by them. */
  applyRoutes(bytes: Uint8Array): Change[] {
    const changes: Change[] = [];
    for (const message of messagesIn(bytes)) {
      if ((message.flags & NLM_F_MULTI) !== 0) {
        this.incoming ??= emptyTables();
        applyMessage(this.incoming, message);
        continue;
      }
      if (this.incoming !== null && this.meanwhileBytes < MEANWHILE_MAX) {
        // Told of in full: that it is a change is all that the flags would add.
        const copy = new Uint8Array(16 + message.body.length);
        const header = new DataView(copy.buffer);
        header.setUint32(0, copy.length, true);
        header.setUint16(4, message.type, true);
        header.setUint16(6, message.flags, true);
        copy.set(message.body, 16);
        this.meanwhile.push(copy);
        this.meanwhileBytes += copy.length;
      }
      const change = this.complete ? applyMessage(this.tables, message) : null;
      if (change === null) continue;
      changes.push(change);
      if (change.kind !== "neighbour") this.view = null;
      if (change.kind === "link" && (change.gone || (change.link.flags & IFF_UP) === 0)) this.stale = true;
    }
    return changes;
  }

  /** Everything that was asked for has come. What is otherwise than before. */
  dumped(): Change[] {
    const { incoming } = this;
    if (incoming === null) return [];
    // Their last word on anything is at least as new as what was asked for.
    for (const bytes of this.meanwhile) for (const message of messagesIn(bytes)) applyMessage(incoming, message);
    this.stale = this.meanwhileBytes >= MEANWHILE_MAX;
    this.forgetIncoming();
    const changes = differences(this.tables, incoming);
    this.tables = incoming;
    this.complete = true;
    this.view = null;
    return changes;
  }

  /** What was asked for does not come, or not all of it. */
  forgetIncoming(): void {
    this.incoming = null;
    this.meanwhile = [];
    this.meanwhileBytes = 0;
  }

  private get now(): View {
    this.view ??= makeView(this.tables);
    return this.view;
  }
  get devices(): readonly NetDevice[] {
    return this.now.devices;
  }
  get routes(): readonly Route[] {
    return this.now.routes;
  }
  get neighbours(): readonly Neighbour[] {
    return [...this.tables.neighbours.values()];
  }

  deviceByName(name: string): NetDevice | null {
    return this.now.byName.get(name) ?? null;
  }
  deviceByIndex(index: number): NetDevice | null {
    return this.now.byIndex.get(index) ?? null;
  }

  isLocal(ip: Ip): boolean {
    if (isLoopback(ip)) return true;
    const way = this.wayTo(ip);
    return typeof way !== "number" && way.route.type === RTN_LOCAL;
  }

  sourceFor(ip: Ip): Ip | null {
    if (isAny(ip)) return ip === ANY4 ? LOOPBACK4 : LOOPBACK6;
    const way = this.wayTo(ip);
    return typeof way === "number" ? null : way.source;
  }

  wayTo(ip: Ip, device = 0): Way | number {
    const { now } = this;
    const known = device === 0 ? now.ways.get(ip) : undefined;
    if (known !== undefined) return known;
    const way = findWay(now, ip, device);
    if (device === 0) {
      if (now.ways.size >= WAYS_MAX) now.ways.clear();
      now.ways.set(ip, way);
    }
    return way;
  }
}

/** What follows from the tables. */
interface View {
  readonly devices: readonly NetDevice[];
  readonly byIndex: ReadonlyMap<number, NetDevice>;
  readonly byName: ReadonlyMap<string, NetDevice>;
  readonly routes: readonly Route[];
  /** By family and table. */
  readonly tries: ReadonlyMap<string, Trie>;
  readonly ways: Map<Ip, Way | number>;
}

function makeView(tables: Tables): View {
  const byIndex = new Map<number, NetDevice>();
  const own = loopbackDevice();
  const hosts = tables.links.get(LO);
  byIndex.set(LO, hosts !== undefined && (hosts.flags & IFF_UP) !== 0 ? { ...hosts, addresses: [] } : own);
  for (const [index, link] of [...tables.links].sort(([a], [b]) => a - b))
    if (index !== LO) byIndex.set(index, { ...link, addresses: [] });
  for (const address of tables.addresses.values()) byIndex.get(address.device)?.addresses.push(address);
  const lo = byIndex.get(LO)!;
  lo.addresses = [...own.addresses.filter(({ ip }) => !lo.addresses.some((other) => other.ip === ip)), ...lo.addresses];

  const byName = new Map<string, NetDevice>();
  const devices = [...byIndex.values()];
  for (const device of devices) for (const name of otherNames(device)) byName.set(name, device);
  for (const device of devices) byName.set(device.name, device);

  const routes = [...tables.routes.values()];
  for (const route of loopbackRoutes()) if (!routes.some((other) => isSamePlace(route, other))) routes.push(route);
  return {
    devices,
    byIndex,
    byName,
    routes,
    tries: makeTries(routes),
    ways: new Map(),
  };
}

const isSamePlace = (a: Route, b: Route): boolean =>
  a.family === b.family && a.table === b.table && a.destination === b.destination && a.prefix === b.prefix;

/** Alternative names of a device. */
function otherNames(device: NetDevice): string[] {
  const list = device.attributes?.get(IFLA_PROP_LIST);
  if (list === undefined) return [];
  const name = readAttributes(list, 0, list.length).get(IFLA_ALT_IFNAME);
  return name === undefined ? [] : [Buffer.from(name).toString("latin1").split("\0")[0]!];
}

function makeTries(routes: readonly Route[]): Map<string, Trie> {
  const tables = new Map<string, Map<number, Map<Ip, Route[]>>>();
  for (const route of routes) {
    // What is for some sources or types of service only is not for everybody.
    if (route.from !== undefined || (route.tos ?? 0) !== 0 || ((route.flags ?? 0) & RTNH_F_DEAD) !== 0) continue;
    const key = `${route.family}|${route.table}`;
    const lengths = tables.get(key) ?? new Map<number, Map<Ip, Route[]>>();
    tables.set(key, lengths);
    const prefixes = lengths.get(route.prefix) ?? new Map<Ip, Route[]>();
    lengths.set(route.prefix, prefixes);
    const prefix = route.destination ?? (route.family === AF_INET ? ANY4 : ANY6);
    const there = prefixes.get(prefix);
    if (there === undefined) prefixes.set(prefix, [route]);
    else there.push(route);
  }
  const tries = new Map<string, Trie>();
  for (const [key, lengths] of tables) {
    for (const prefixes of lengths.values())
      for (const there of prefixes.values()) there.sort((a, b) => a.priority - b.priority);
    tries.set(
      key,
      [...lengths].sort(([a], [b]) => b - a),
    );
  }
  return tries;
}

/** The route to an address, through the tables in the order of the rules that are always there. */
function findRoute(view: View, ip: Ip, device: number): Route | null {
  const family = typeof ip === "number" ? AF_INET : AF_INET6;
  tables: for (const table of [TABLE_LOCAL, TABLE_MAIN, TABLE_DEFAULT]) {
    for (const [bits, prefixes] of view.tries.get(`${family}|${table}`) ?? [])
      for (const route of prefixes.get(prefixOf(ip, bits)) ?? []) {
        if (device !== 0 && route.device !== device && !(route.type === RTN_LOCAL && route.device === LO)) continue;
        if (route.type === RTN_THROW) continue tables;
        return route;
      }
  }
  return null;
}

function findWay(view: View, ip: Ip, device: number): Way | number {
  const route = findRoute(view, ip, device);
  if (route === null) return -ENETUNREACH;
  switch (route.type) {
    case RTN_BLACKHOLE:
      return -EINVAL;
    case RTN_PROHIBIT:
      return -EACCES;
    case RTN_UNREACHABLE:
      return toldError(route) || -EHOSTUNREACH;
  }
  // What goes to a group is handed to the link.
  const gateway = typeof ip === "number" && isMulticast(ip) ? null : route.gateway;
  const source = route.source ?? sourceOn(view, route, ip);
  return { route, device: route.type === RTN_LOCAL ? LO : route.device, gateway, source };
}

/** The error in rta_cacheinfo: of IPv6 routes that say no. */
function toldError(route: Route): number {
  const data = route.attributes?.get(RTA_CACHEINFO);
  if (data === undefined || data.length < 16) return 0;
  const error = new DataView(data.buffer, data.byteOffset, data.length).getInt32(12, true);
  return error < 0 && error >= -4095 ? error : 0;
}

function sourceOn(view: View, route: Route, ip: Ip): Ip {
  if (route.type === RTN_LOCAL) return ip;
  const device = view.byIndex.get(route.device);
  return typeof ip === "number" ? source4(view, device, route) : source6(view, device, ip);
}

/** As inet_select_addr of Linux: of the device, in the gateway's network if there is one; else of any. */
function source4(view: View, device: NetDevice | undefined, route: Route): Ip {
  const scope = Math.min(route.scope, SCOPE_LINK);
  const isPrimary = ({ ip, flags = 0 }: DeviceAddress): boolean =>
    typeof ip === "number" && (flags & IFA_F_SECONDARY) === 0;
  let first: Ip | null = null;
  for (const address of device?.addresses ?? []) {
    if (!isPrimary(address) || address.scope > scope) continue;
    const { gateway } = route;
    const net = address.peer ?? address.ip;
    if (typeof gateway !== "number" || prefixOf(net, address.prefix) === prefixOf(gateway, address.prefix))
      return address.ip;
    first ??= address.ip;
  }
  if (first !== null) return first;
  for (const { addresses } of view.devices)
    for (const address of addresses)
      if (isPrimary(address) && address.scope !== SCOPE_LINK && address.scope <= scope) return address.ip;
  return ANY4;
}

/** How far an IPv6 address reaches: larger is further (RFC 4007). */
function reach(ip: string): number {
  if (isMulticast(ip)) return Number.parseInt(ip[3]!, 16);
  if (ip === LOOPBACK6) return 1;
  const first = Number.parseInt(ip.slice(0, 3), 16);
  return first >= 0xfe8 && first <= 0xfeb ? 2 : 14;
}

/** RFC 6724, section 5: rules 1 (the same), 2 (scope), 3 (deprecated), 5 (device), 8 (longest prefix). */
function source6(view: View, device: NetDevice | undefined, ip: string): Ip {
  const wanted = reach(ip);
  // What reaches no further than the link is of that link.
  const devices = wanted <= 2 && device !== undefined ? [device] : view.devices;
  let best: DeviceAddress | null = null;
  let bestPoints: readonly number[] = [];
  for (const candidate of devices)
    for (const address of candidate.addresses) {
      const { flags = 0 } = address;
      if (typeof address.ip !== "string" || (flags & IFA_F_TENTATIVE) !== 0) continue;
      const far = reach(address.ip);
      const points = [
        Number(address.ip === ip),
        // The nearest that reaches far enough; if none does, the furthest.
        far >= wanted ? 100 - far : far - 100,
        Number((flags & IFA_F_DEPRECATED) === 0),
        Number(candidate === device),
        Math.min(commonBits(address.ip, ip), address.prefix),
      ];
      if (best === null || isMore(points, bestPoints)) {
        best = address;
        bestPoints = points;
      }
    }
  return best?.ip ?? ANY6;
}
function isMore(a: readonly number[], b: readonly number[]): boolean {
  for (const [i, value] of a.entries()) if (value !== b[i]) return value > b[i]!;
  return false;
}

// What was there when it was saved is not there now: until the new broker has told, there is the loopback device alone.
remade("outside-stack", OutsideStack, { key: () => [], make: () => new OutsideStack() });
