import { describe, expect, test } from "bun:test";
import type { Kernel } from "../kernel.ts";
import { difference, MemoryHost } from "../testing/saving.ts";
import { code, perCall, persistent, remade } from "./registry.ts";
import { Restore } from "./restore.ts";
import { obstaclesOf, Save, SaveError, sharedBy } from "./save.ts";

/** The engine does not look into it. */
const kernel = {} as Kernel;

const linesOf = (root: object, host = new MemoryHost()): string[] => [...new Save(kernel, host).save(root)];

/** Saved and restored; saving it again must give the same lines. */
function resaved<T extends object>(root: T): T {
  const host = new MemoryHost();
  const again = new MemoryHost();
  try {
    const lines = linesOf(root, host);
    const restored = new Restore(kernel, host).load(lines, null) as T;
    expect(difference(lines, linesOf(restored, again))).toBeNull();
    return restored;
  } finally {
    host.close();
    again.close();
  }
}

class Link {
  next: Link | null = null;
  constructor(readonly value: unknown) {}
}
persistent("test/link", Link);

describe("what comes back", () => {
  test("primitives, and values that JSON lacks", () => {
    const texts = ["", 'q"\\\n\u2028\ud800é', "__proto__", '{"@":1}', '{"$":"inf"}'];
    const numbers = [0, -0, 1.5, -1e300, 5e-324, 2 ** 53, Number.NaN, Infinity, -Infinity];
    const values = [...texts, ...numbers, true, false, null, undefined];
    const restored = resaved(new Link(values)).value as unknown[];
    expect(restored).toHaveLength(values.length);
    for (let i = 0; i < values.length; i++) expect(Object.is(restored[i], values[i])).toBe(true);
    const map = resaved(new Map(values.map((value, i) => [value, i])));
    expect([...map]).toEqual([...new Map(values.map((value, i) => [value, i]))]);
  });

  test("holes are holes, and undefined is not one", () => {
    const array: unknown[] = [];
    array[2] = 1;
    array[3] = undefined;
    array[9] = 2;
    array.length = 12;
    const restored = resaved(array);
    expect(Object.keys(restored)).toEqual(["2", "3", "9"]);
    expect(restored.length).toBe(12);
    const { only, none } = resaved({ only: new Array(3), none: [] as unknown[] });
    expect([only.length, Object.keys(only), none.length]).toEqual([3, [], 0]);
    const dense = Array.from({ length: 100_001 }, (_, i) => i);
    expect(resaved(dense).length).toBe(100_001);
    delete dense[5];
    dense.length++;
    const ones = resaved(dense);
    expect([ones.length, ones[4], 5 in ones, ones[6], ones[100_000], 100_001 in ones]).toEqual([
      100_002,
      4,
      false,
      6,
      100_000,
      false,
    ]);
    const sparse: unknown[] = [];
    sparse[1_000_000] = "far";
    sparse[3] = "near";
    const far = resaved(sparse);
    expect(far.length).toBe(1_000_001);
    expect(Object.entries(far)).toEqual([
      ["3", "near"],
      ["1000000", "far"],
    ]);
  });

  test("what is shared stays shared, and cycles close", () => {
    const shared = { name: "shared" };
    const map = new Map<unknown, unknown>();
    const set = new Set<unknown>([shared]);
    const root = { a: shared, b: [shared, [] as unknown[]], map, set, self: null as unknown };
    root.self = root;
    map.set(shared, set).set(map, root).set("self", map);
    set.add(set);
    const restored = resaved(root);
    expect(restored.self).toBe(restored);
    expect(restored.b[0]).toBe(restored.a);
    expect([...restored.set]).toEqual([restored.a, restored.set]);
    expect([...restored.map.keys()]).toEqual([restored.a, restored.map, "self"]);
    expect([...restored.map.values()]).toEqual([restored.set, restored, restored.map]);
  });

  test("names of fields that lines have themselves, or that begin with $", () => {
    const names = ["id", "type", "v", "remade", "$id", "$", "@", "$code", "$$x", "items", "", "7"];
    const root = Object.fromEntries(names.map((name, i) => [name, i]));
    const restored = resaved(root);
    expect(Object.entries(restored)).toEqual(Object.entries(root));
    expect(Object.getPrototypeOf(resaved(Object.create(null) as object))).toBeNull();
  });

  test("buffers with several views, small and large", () => {
    const small = new ArrayBuffer(64);
    const large = new ArrayBuffer(10_000);
    new Uint8Array(large).fill(7);
    new Uint8Array(large)[9_999] = 9;
    const root = {
      bytes: new Uint8Array(small, 8, 16),
      doubles: new Float64Array(small, 8, 2),
      words: new Int16Array(small),
      view: new DataView(small, 3, 5),
      text: Buffer.from(small, 1, 2),
      clamped: new Uint8ClampedArray(3),
      floats: new Float32Array([1.5, Number.NaN]),
      itself: small,
      large: new Uint32Array(large, 4, 10),
      end: new Uint8Array(large, 9_998),
      empty: new Uint8Array(0),
    };
    root.doubles[1] = -0;
    const restored = resaved(root);
    for (const name of ["bytes", "doubles", "words", "text", "clamped", "floats", "large", "end", "empty"] as const) {
      expect(Object.getPrototypeOf(restored[name])).toBe(Object.getPrototypeOf(root[name]));
      expect(restored[name].byteOffset).toBe(root[name].byteOffset);
      expect([...restored[name]]).toEqual([...root[name]]);
    }
    expect([restored.view.byteOffset, restored.view.byteLength]).toEqual([3, 5]);
    for (const view of [restored.bytes, restored.doubles, restored.words, restored.view, restored.text])
      expect(view.buffer).toBe(restored.itself);
    expect(restored.large.buffer).toBe(restored.end.buffer);
    restored.bytes[0] = 77;
    expect(new Uint8Array(restored.itself)[8]).toBe(77);
    expect(Buffer.isBuffer(restored.text)).toBe(true);
  });

  test("a list of 100,000 objects", () => {
    const first = new Link(0);
    let last = first;
    for (let i = 1; i < 100_000; i++) {
      last.next = new Link(i);
      last = last.next;
    }
    last.next = first;
    let at = resaved(first);
    const start = at;
    for (let i = 0; i < 100_000; i++) {
      expect(at.value === i).toBe(true);
      at = at.next!;
    }
    expect(at).toBe(start);
  });

  test("it is taken when it is saved, not when the lines are made", () => {
    const root = {
      list: [1],
      map: new Map([["a", 1]]),
      set: new Set([1]),
      link: new Link(1),
      bytes: new Uint8Array(2),
    };
    const before = linesOf(root);
    const taken = new Save(kernel, new MemoryHost()).save(root);
    root.list.push(2);
    root.map.set("b", 2);
    root.set.add(2);
    root.link.next = new Link(2);
    Object.assign(root.link, { more: 1 });
    root.bytes[0] = 2;
    expect(difference(before, [...taken])).toBeNull();
  });
});

// Classes with rules.

const made: string[] = [];
class Base {
  readonly host: object = { of: "this host" };
  level = 1;
  constructor() {
    made.push("Base");
  }
}
persistent("test/base", Base, {
  transient: { host: (object) => ({ of: object.level }) },
  reopen: (object) => void made.push(`reopen base ${object.level}`),
  restored: (object) => void made.push(`restored base ${object.level}`),
});
class Derived extends Base {
  opener: object | null = null;
  before = "before";
  clock = { ns: 5 };
  after = "after";
  get double(): number {
    return this.level * 2;
  }
}
persistent("test/derived", Derived, {
  transient: { opener: () => "opener" },
  as: {
    clock: {
      save: (clock: { ns: number }) => ({ ns: clock.ns, list: [1, { "@": 2, $code: "x", $: 0 }] }),
      restore: (saved: { ns: number }, object) => ({ ns: saved.ns, seen: object.after }),
    },
  },
  reopen: (object) => void made.push(`reopen derived ${object.level}`),
});

/** A tree of pseudo files: the root is saved, the others are looked up. */
class Tree {
  readonly nodes = new Map<string, Node>();
}
class Node {
  constructor(
    readonly parent: Node | null,
    readonly tree: Tree,
    readonly name: string,
  ) {}
  open = (): void => {};
}
persistent("test/tree", Tree, { transient: { nodes: () => new Map() } });
remade("test/node", Node, {
  key: ({ parent, tree, name }) => ({ parent, tree, name: [name] }),
  make: ({ parent, tree, name: [name] }: { parent: Node | null; tree: Tree; name: [string] }) =>
    new Node(parent, tree, name),
});
class Either {
  constructor(
    readonly found: boolean,
    readonly text: string,
  ) {}
}
remade("test/either", Either, {
  key: ({ found, text }) => (found ? text : null),
  make: (text: string) => new Either(true, text),
});

const table = code("test/table", { read: () => 1, list: [] as unknown[] });
const callback = code("test/callback", () => 1);

describe("rules", () => {
  test("transient fields and other forms, inherited, in their places; no constructor runs", () => {
    const root = [new Base(), new Derived()];
    root[1]!.level = 2;
    made.length = 0;
    const [base, derived] = resaved(root) as [Base, Derived];
    expect(made).toEqual(["reopen base 1", "reopen base 2", "reopen derived 2", "restored base 1", "restored base 2"]);
    expect(base.host).toEqual({ of: 1 });
    expect(derived).toBeInstanceOf(Derived);
    expect(derived.host).toEqual({ of: 2 });
    expect(derived.double).toBe(4);
    expect(Object.entries(derived)).toEqual([
      ["host", { of: 2 }],
      ["level", 2],
      ["opener", "opener"],
      ["before", "before"],
      ["clock", { ns: 5, seen: "after" }],
      ["after", "after"],
    ]);
    expect(linesOf(new Derived())[0]).toBe(
      '{"id":1,"type":"test/derived","v":1,"host":{"$":"transient"},"level":1,"opener":{"$":"transient"},"before":"before",' +
        '"clock":{"ns":5,"list":[1,{"$@":2,"$$code":"x","$$":0}]},"after":"after"}',
    );
  });

  test("objects that are made again, from one another", () => {
    const tree = new Tree();
    let node: Node | null = null;
    const nodes: Node[] = [];
    for (let i = 0; i < 5000; i++) {
      node = new Node(node, tree, `n${i}`);
      nodes.push(node);
    }
    // The last one is met first.
    const root = { last: node!, by: new Map([[node!, node!.parent!]]), set: new Set(nodes.slice(0, 3)), tree };
    const restored = resaved(root);
    expect(restored.last.tree).toBe(restored.tree);
    const [[key, value]] = [...restored.by] as [[Node, Node]];
    expect(key).toBe(restored.last);
    expect(value).toBe(restored.last.parent!);
    let length = 0;
    for (let at: Node | null = restored.last; at !== null; at = at.parent) length++;
    expect(length).toBe(5000);
    expect([...restored.set].map(({ name }) => name)).toEqual(["n0", "n1", "n2"]);
  });

  test("some of a class are made again, others are saved", () => {
    const [found, kept] = resaved([new Either(true, "a"), new Either(false, "b")]) as [Either, Either];
    expect(found).toEqual(new Either(true, "a"));
    expect(kept).toEqual(new Either(false, "b"));
    expect(linesOf([new Either(true, "a")])[1]).toBe('{"id":2,"type":"test/either","v":1,"remade":"a"}');
  });

  test("code", () => {
    const restored = resaved({ table, callback, again: [table], map: new Map<unknown, unknown>([[table, callback]]) });
    expect(restored.table).toBe(table);
    expect(restored.again[0]).toBe(table);
    expect(restored.callback).toBe(callback);
    expect(restored.map.get(table)).toBe(callback);
  });

  test("forms refer to objects, and may say so of plain ones", () => {
    class Holder {
      constructor(readonly held: { list: unknown[]; link: Link }) {}
    }
    persistent("test/holder", Holder, {
      as: {
        held: {
          save: ({ list, link }: Holder["held"], _object, save) => ({ list: save.ref(list), link }),
          restore: (saved: Holder["held"]) => ({ ...saved }),
        },
      },
    });
    const list = [1];
    const link = new Link(list);
    const restored = resaved({ holder: new Holder({ list, link }), link });
    expect(restored.holder.held.link).toBe(restored.link);
    expect(restored.holder.held.list).toBe(restored.link.value as unknown[]);
  });

  test("the root may be there already: it gets the fields", () => {
    class Root {
      readonly platform: object = {};
      state = 0;
      list: unknown[] = [];
    }
    persistent("test/root", Root, { transient: { platform: (root) => root.platform } });
    const root = new Root();
    root.state = 5;
    root.list.push(root);
    const lines = linesOf(root);
    const into = new Root();
    const { platform } = into;
    expect(new Restore(kernel, new MemoryHost()).load(lines, into)).toBe(into);
    expect(into.platform).toBe(platform);
    expect(into.state).toBe(5);
    expect(into.list).toEqual([into]);
    expect(difference(lines, linesOf(into))).toBeNull();
    expect(() => new Restore(kernel, new MemoryHost()).load(linesOf(new Link(1)), into)).toThrow(
      "objects.jsonl line 1 (test/link 1): is the first line, but no test/root",
    );
  });
});

describe("what cannot be saved", () => {
  class Undeclared {
    onData = (): void => {};
  }
  class Call {}
  perCall(Call);
  const refusal = (root: object): string => {
    try {
      linesOf(root);
    } catch (error) {
      if (error instanceof SaveError) return error.message;
      throw error;
    }
    return "saved";
  };

  test("each with the way to it", () => {
    const named = new Map<unknown, unknown>([[80, [new Link(() => 1)]]]);
    expect(refusal({ listeners: named })).toBe("Object.listeners.80.0 (test/link).value is a function");
    expect(refusal({ a: [1, Symbol("s")] })).toBe("Object.a.1 is a symbol");
    expect(refusal(new Link(1n))).toBe("test/link.value is a bigint");
    expect(refusal({ a: new Promise(() => {}) })).toBe("Object.a is a Promise");
    expect(refusal({ a: new Set([new WeakMap()]) })).toBe("Object.a.<member 0> is a WeakMap");
    expect(refusal({ a: new Map([[{}, new Call()]]) })).toBe(
      "Object.a.<value 0> is a Call, which lives for one call only",
    );
    expect(refusal({ a: new Undeclared() })).toBe(
      "Object.a is of the class Undeclared, which is not declared (state/registry.ts)",
    );
    expect(refusal({ a: new (class extends Map {})() })).toEndWith("which extends what is no class of ours");
    expect(refusal({ a: { toString: 1 } })).toBe("Object.a.toString has the name of something that its class has");
    expect(refusal({ [Symbol.iterator]: 1 })).toContain("is named by a symbol");
    expect(refusal({ a: new BigInt64Array(1) })).toBe("Object.a is a BigInt64Array");
    expect(refusal({ a: new Uint8Array(new SharedArrayBuffer(8)) })).toBe(
      "Object.a is a view of memory that is shared",
    );
    expect(refusal({ a: new ArrayBuffer(1, { maxByteLength: 2 }) })).toBe("Object.a is a buffer that changes its size");
    expect(refusal({ a: Object.defineProperty({}, "x", { value: 1 }) })).toBe(
      "Object.a has fields that cannot be enumerated",
    );
  });

  test("all at once, each kind once", () => {
    const root = {
      sockets: [new Undeclared(), new Undeclared()],
      when: new Date(),
      handlers: [() => 1, () => 2],
      constant: Object.freeze([]),
      extra: Object.assign([1], { length2: 2 }),
      getter: Object.defineProperty({}, "x", { get: () => 1, enumerable: true }),
    };
    const found = obstaclesOf(kernel, root);
    for (const expected of [
      "Object.sockets.0 is of the class Undeclared, which is not declared (state/registry.ts) (and 1 more such)",
      "Object.sockets.0 (Undeclared).onData is a function (and 1 more such)",
      "Object.when is a Date",
      "Object.handlers.0 is a function (and 1 more such)",
      "Object.constant is frozen: a constant that is to be declared by `code`?",
      "Object.extra has a field beside what is saved of it, length2",
      "Object.getter has an accessor of its own, x",
    ])
      expect(found).toContain(expected);
    expect(found).toHaveLength(7);
    expect(obstaclesOf(kernel, [new Base(), new Derived(), new Map([[1, new Uint8Array(1)]])])).toEqual([]);
  });

  test("rules that name fields which are not there", () => {
    class Mistaken {
      ring = 1;
    }
    persistent("test/mistaken", Mistaken, { transient: { rign: () => 1 } });
    expect(obstaclesOf(kernel, [new Mistaken()])).toEqual([
      "test/mistaken has a rule for rign, and no object of it has such a field",
    ]);
  });

  test("what two kernels share is found", () => {
    const state = { list: [{}] };
    const one = { table, a: [state], own: {} } as unknown as Kernel;
    const other = { b: state, table, own: {} } as unknown as Kernel;
    expect(sharedBy(one, other)).toEqual(["Object.a.0"]);
  });

  test("what a form throws has the way to it", () => {
    class Bad {
      space = {};
    }
    persistent("test/bad", Bad, {
      as: {
        space: {
          save(): unknown {
            throw new Error("not there yet");
          },
          restore: () => null,
        },
      },
    });
    expect(refusal({ mm: new Bad() })).toBe("Object.mm (test/bad).space: not there yet");
    expect(obstaclesOf(kernel, [new Bad(), new Bad()])).toEqual([
      "Array.0 (test/bad).space: not there yet (and 1 more such)",
    ]);
  });
});
