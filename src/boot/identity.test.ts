import { describe, expect, test } from "bun:test";
import { RuntimeError } from "../core/errors.ts";
import { sandboxNamespaces } from "../core/spec/sandbox-part.ts";
import type { Spec } from "../core/spec/schema.ts";
import { type Caller, chooseIds, mapText } from "./identity.ts";

const whole = [{ inside: 0, outside: 0, count: 4294967295 }];
const root: Caller = {
  uid: 0,
  gid: 0,
  uids: whole,
  gids: whole,
  maySetIds: true,
  maySetGroups: true,
  subUids: [],
  subGids: [],
};
const user: Caller = { ...root, uid: 1000, gid: 1001, maySetIds: false };
const sub = [{ inside: 100000, outside: 100000, count: 65536 }];
const mapped = (...mappings: [number, number, number][]): Spec => {
  const all = mappings.map(([containerID, hostID, size]) => ({ containerID, hostID, size }));
  return { ociVersion: "1.0.2", linux: { namespaces: [{ type: "user" }], uidMappings: all, gidMappings: all } };
};
const plain: Spec = { ociVersion: "1.0.2" };

/** As the launcher chooses for a spec; `bundle`: a container. */
const idsFor = (spec: Spec, bundle: boolean, from: Caller, draw?: (below: number) => number) =>
  chooseIds(sandboxNamespaces(spec, bundle ? "/bundle" : null), from, draw);

describe("root of the host", () => {
  test("maps every id to itself, and takes two that nobody has", () => {
    const ids = idsFor(plain, true, root, () => 21);
    expect(mapText(ids.uids)).toBe("0 0 4294967295");
    expect([ids.sandbox.uid, ids.stub.uid, ids.sandbox.gid, ids.stub.gid]).toEqual([
      0x7000002a, 0x7000002b, 0x7000002a, 0x7000002b,
    ]);
    expect(ids.changes).toBe(true);
  });
  test("keeps its own ids in reach when the spec maps others", () => {
    const ids = idsFor(mapped([0, 100000, 65536]), true, root, () => 0);
    expect(mapText(ids.uids)).toBe("0 100000 65536\n4294967280 0 1\n1879048192 1879048192 1\n1879048193 1879048193 1");
  });
});

describe("root of a user namespace", () => {
  const given = [
    { inside: 0, outside: 1000, count: 1 },
    { inside: 1, outside: 100000, count: 65535 },
  ];
  test("hands on what it has, and takes the last two", () => {
    const ids = idsFor(plain, true, { ...root, uids: given, gids: given });
    expect(mapText(ids.uids)).toBe("0 0 1\n1 1 65535");
    expect([ids.sandbox.uid, ids.stub.uid]).toEqual([65534, 65535]);
  });
  test("with a single id stays what it is", () => {
    const one = [{ inside: 0, outside: 1000, count: 1 }];
    const ids = idsFor(plain, true, { ...root, uids: one, gids: one, maySetGroups: false });
    expect(mapText(ids.uids)).toBe("0 0 1");
    expect([ids.sandbox.uid, ids.stub.uid, ids.changes, ids.mayLeaveGroups]).toEqual([0, 0, false, false]);
  });
});

describe("an ordinary user", () => {
  test("without subordinate ids maps itself", () => {
    const ids = idsFor(plain, false, user);
    expect([mapText(ids.uids), mapText(ids.gids)]).toEqual(["1000 1000 1", "1001 1001 1"]);
    expect([ids.sandbox, ids.stub]).toEqual([
      { uid: 1000, gid: 1001 },
      { uid: 1000, gid: 1001 },
    ]);
  });
  test("with subordinate ids sees them under their own numbers; stubs are the last", () => {
    const ids = idsFor(plain, false, { ...user, subUids: sub, subGids: sub });
    expect(mapText(ids.uids)).toBe("1000 1000 1\n100000 100000 65536");
    expect([ids.sandbox.uid, ids.stub.uid, ids.helpers]).toEqual([1000, 165535, true]);
  });
  test("is root of its containers", () => {
    expect(mapText(idsFor(plain, true, user).uids)).toBe("0 1000 1");
    const ids = idsFor(plain, true, { ...user, subUids: sub, subGids: sub });
    expect(mapText(ids.uids)).toBe("0 1000 1\n1 100000 65536");
    expect([ids.sandbox.uid, ids.stub.uid]).toEqual([0, 65536]);
  });
  test("cannot have mappings that the host does not give it", () => {
    expect(() => idsFor(mapped([0, 1000, 1], [1, 100000, 65536]), true, user)).toThrow(RuntimeError);
    expect(() => idsFor(mapped([0, 1000, 1], [1, 100000, 65536]), true, user)).toThrow("/etc/subuid");
  });
});
