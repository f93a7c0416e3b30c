/**
 * Which ids a sandbox has: the map of its user namespace, the ids of the sandbox process, and those of its stubs.
 *
 * One rule for everybody. What the guest sees of the host's files has the numbers that the host uses, or those of the
 * spec's mappings, for as many ids as the caller may map; a container of an ordinary user without mappings gets those of
 * `runts spec --rootless`, and its subordinate ids after them. The processes themselves have ids of their own where there are
 * any to be had, so that they own nothing:
 *
 * - root maps all ids; sandbox process and stubs are two of the range that no host uses, drawn for each sandbox;
 * - root of a user namespace (a container) maps what it has been given; they are the last two of that;
 * - an ordinary user maps itself, and its subordinate ids with newuidmap(1) where it has some. The sandbox process stays
 *   the user, whose files it must reach as the user does, by its groups too; stubs are the last subordinate id, or
 *   the user where there is none.
 *
 * Source: user_namespaces(7), subuid(5).
 */
import { existsSync, readFileSync } from "node:fs";
import { RuntimeError } from "../core/errors.ts";
import type { IdMapping, SandboxNamespaces } from "../core/sandbox.ts";
import { userName } from "../native/host.ts";

/** `count` ids from `inside` in the new namespace are those from `outside` in ours. */
export interface Extent {
  inside: number;
  outside: number;
  count: number;
}

export interface Ids {
  uids: Extent[];
  gids: Extent[];
  /** Ids as the new user namespace numbers them. */
  sandbox: { uid: number; gid: number };
  stub: { uid: number; gid: number };
  /** The sandbox process changes its ids at its start. */
  changes: boolean;
  /** The host lets the processes of the new namespace leave the caller's groups. */
  mayLeaveGroups: boolean;
  /** The maps are written by newuidmap and newgidmap. */
  helpers: boolean;
}

/** What there is to choose from: tests make their own. */
export interface Caller {
  uid: number;
  gid: number;
  /** Ids of our namespace, from /proc/self/uid_map. */
  uids: Extent[];
  gids: Extent[];
  /** CAP_SETUID, CAP_SETGID: may map what is not its own. */
  maySetIds: boolean;
  /** /proc/self/setgroups: what a user namespace forbids, those in it forbid too. */
  maySetGroups: boolean;
  /** Subordinate ids that newuidmap and newgidmap would map. */
  subUids: Extent[];
  subGids: Extent[];
}

/** Ids that are neither given to users nor to containers (systemd's UIDS-GIDS): 2^27 pairs from here. */
const UNUSED = 0x70000000;
const UNUSED_PAIRS = 2 ** 26;
/** Numbers inside for ids that the spec's mappings leave out. */
const EXTRA = 0xfffffff0;
const CAP_SETGID = 6;
const CAP_SETUID = 7;
const CAP_SYS_RESOURCE = 24;

function has(cap: number): boolean {
  const caps = /^CapEff:\s*(\w+)/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0";
  return ((BigInt(`0x${caps}`) >> BigInt(cap)) & 1n) === 1n;
}

/** CAP_SYS_RESOURCE over the host: that over a user namespace does not count here. */
export function mayRaiseLimits(): boolean {
  const [whole] = parseMap(readFileSync("/proc/self/uid_map", "latin1"));
  return has(CAP_SYS_RESOURCE) && whole!.count === 0xffffffff;
}

export function caller(): Caller {
  const uid = process.geteuid!();
  const gid = process.getegid!();
  const maySetIds = has(CAP_SETUID) && has(CAP_SETGID);
  const helped = !maySetIds && existsSync("/usr/bin/newuidmap") && existsSync("/usr/bin/newgidmap");
  return {
    uid,
    gid,
    uids: parseMap(readFileSync("/proc/self/uid_map", "latin1")),
    gids: parseMap(readFileSync("/proc/self/gid_map", "latin1")),
    maySetIds,
    maySetGroups: readFileSync("/proc/self/setgroups", "latin1").trim() === "allow",
    subUids: helped ? subordinate("/etc/subuid", uid) : [],
    subGids: helped ? subordinate("/etc/subgid", uid) : [],
  };
}

/** Of /proc/PID/uid_map. */
export function parseMap(text: string): Extent[] {
  const lines = text.trim().split("\n");
  return lines.map((line) => {
    const [inside, outside, count] = line.trim().split(/\s+/).map(Number);
    return { inside: inside!, outside: outside!, count: count! };
  });
}

/** Lines "NAME:FIRST:COUNT" of the user, by name or number. */
function subordinate(path: string, uid: number): Extent[] {
  // Not os.userInfo(), which here believes $USER: newuidmap asks the host's databases too.
  const bytes = Buffer.alloc(256);
  const length = userName(uid, bytes, bytes.length);
  const name = length > 0 ? bytes.toString("latin1", 0, length) : String(uid);
  let text = "";
  try {
    text = readFileSync(path, "latin1");
  } catch {}
  const fields = text.split("\n").map((line) => line.split(":"));
  return fields
    .filter(([who, first, count]) => (who === name || who === String(uid)) && Number(count) > 0 && Number(first) > 0)
    .map(([, first, count]) => ({ inside: Number(first), outside: Number(first), count: Number(count) }));
}

/** The number inside of an id outside; added to the map when it has none. */
function ensure(map: Extent[], outside: number): number {
  const has = map.find((e) => outside >= e.outside && outside < e.outside + e.count);
  if (has !== undefined) return has.inside + outside - has.outside;
  let inside = map.some((e) => outside >= e.inside && outside < e.inside + e.count) ? EXTRA : outside;
  while (map.some((e) => inside >= e.inside && inside < e.inside + e.count)) inside--;
  map.push({ inside, outside, count: 1 });
  return inside;
}

const given = (mappings: readonly IdMapping[]): Extent[] =>
  mappings.map(({ containerID, hostID, size }) => ({ inside: containerID, outside: hostID, count: size }));

/** What a sandbox needs to know of its namespaces. */
export type WantedIds = Pick<SandboxNamespaces, "uidMappings" | "gidMappings" | "usualIds">;

export function chooseIds(wanted: WantedIds, from: Caller, draw: (below: number) => number = random): Ids {
  const uids = given(wanted.uidMappings);
  const gids = given(wanted.gidMappings);
  const bundle = wanted.usualIds === "container";
  return from.maySetIds ? forRoot(uids, gids, from, draw) : forUser(uids, gids, bundle, from);
}

const random = (below: number) => Math.floor(Math.random() * below);
const identity = (extents: readonly Extent[]) =>
  extents.map(({ inside, count }) => ({ inside, outside: inside, count }));

function forRoot(givenUids: Extent[], givenGids: Extent[], from: Caller, draw: (below: number) => number): Ids {
  const uids = givenUids.length > 0 ? givenUids : identity(from.uids);
  const gids = givenGids.length > 0 ? givenGids : identity(from.gids);
  const unused = UNUSED + 2 * draw(UNUSED_PAIRS);
  const covers = (extents: readonly Extent[]) =>
    extents.some((e) => e.inside <= unused && e.inside + e.count > unused + 1);
  const pair = (extents: readonly Extent[], own: number): [number, number] => {
    if (covers(from.uids) && covers(from.gids)) return [unused, unused + 1];
    const last = Math.max(...extents.map((e) => e.inside + e.count)) - 1;
    const count = extents.reduce((sum, e) => sum + e.count, 0);
    if (count < 3) return [own, own];
    const before = extents.some((e) => last - 1 >= e.inside && last - 1 < e.inside + e.count) ? last - 1 : own;
    return [before, last];
  };
  if (givenUids.length > 0) {
    // What the caller may reach on the host must stay within reach of capabilities: they need the owner's id.
    ensure(uids, from.uid);
    ensure(gids, from.gid);
  }
  const [uid, stubUid] = pair(from.uids, from.uid);
  const [gid, stubGid] = pair(from.gids, from.gid);
  return {
    uids,
    gids,
    sandbox: { uid: ensure(uids, uid), gid: ensure(gids, gid) },
    stub: { uid: ensure(uids, stubUid), gid: ensure(gids, stubGid) },
    changes: uid !== from.uid && gid !== from.gid,
    mayLeaveGroups: from.maySetGroups,
    helpers: false,
  };
}

/** A container's root is the user, and its other ids are the subordinate ones; a single program sees what the host has. */
function usual(own: number, sub: readonly Extent[], bundle: boolean): Extent[] {
  if (!bundle) return [{ inside: own, outside: own, count: 1 }, ...identity(sub)];
  let next = 1;
  const rest = sub.map(({ inside, count }) => {
    const extent = { inside: next, outside: inside, count };
    next += count;
    return extent;
  });
  return [{ inside: 0, outside: own, count: 1 }, ...rest];
}

function forUser(givenUids: Extent[], givenGids: Extent[], bundle: boolean, from: Caller): Ids {
  const helpers = from.subUids.length > 0 && from.subGids.length > 0;
  const subUids = helpers ? from.subUids : [];
  const subGids = helpers ? from.subGids : [];
  const uids = givenUids.length > 0 ? givenUids : usual(from.uid, subUids, bundle);
  const gids = givenGids.length > 0 ? givenGids : usual(from.gid, subGids, bundle);
  if (!helpers && (uids.length > 1 || uids[0]!.count > 1 || gids.length > 1 || gids[0]!.count > 1))
    throw new RuntimeError(
      "host",
      "linux.uidMappings: an ordinary user may map only its own id, unless /etc/subuid and /etc/subgid give it more and newuidmap is installed (Debian package uidmap)",
    );
  const last = (extents: readonly Extent[], own: number) => {
    const end = extents.at(-1);
    return end === undefined ? own : end.inside + end.count - 1;
  };
  const sandbox = { uid: ensure(uids, from.uid), gid: ensure(gids, from.gid) };
  const stub = { uid: ensure(uids, last(subUids, from.uid)), gid: ensure(gids, last(subGids, from.gid)) };
  return { uids, gids, sandbox, stub, changes: false, mayLeaveGroups: helpers && from.maySetGroups, helpers };
}

/** As /proc/PID/uid_map and newuidmap(1) want it. */
export function mapText(extents: readonly Extent[]): string {
  return extents.map(({ inside, outside, count }) => `${inside} ${outside} ${count}`).join("\n");
}
