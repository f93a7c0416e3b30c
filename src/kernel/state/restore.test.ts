import { afterAll, describe, expect, test } from "bun:test";
import type { Kernel } from "../kernel.ts";
import { MemoryHost } from "../testing/saving.ts";
import { ImageError } from "./encode.ts";
import { code, persistent, remade } from "./registry.ts";
import { Restore } from "./restore.ts";
import { Save } from "./save.ts";
import type { Schema } from "./schema.ts";

const kernel = {} as Kernel;
const host = new MemoryHost();
afterAll(() => host.close());

const restored = (lines: Iterable<string>, schema: Schema | null = null): unknown =>
  new Restore(kernel, host, schema).load(lines, null);
const lines = (...records: object[]): string[] => records.map((record) => JSON.stringify(record));
const refusal = (image: Iterable<string>, schema: Schema | null = null): string => {
  try {
    restored(image, schema);
  } catch (error) {
    if (error instanceof ImageError) return error.message;
    throw error;
  }
  return "restored";
};

class Socket {
  peer: Socket | null = null;
  port = 80;
  host: object | null = null;
  data: { bytes: number[] } | null = { bytes: [1] };
  get closed(): boolean {
    return this.port === 0;
  }
  set closed(value: boolean) {
    this.port = value ? 0 : 1;
  }
  send(): void {}
}
persistent("test/socket", Socket, {
  transient: { host: () => null },
  as: {
    data: {
      save: (data: { bytes: number[] } | null) => data,
      restore: (saved: { bytes: number[] }) => ({ bytes: saved.bytes.map((byte) => byte + 0) }),
    },
  },
});
class Node {
  constructor(
    readonly of: unknown,
    readonly name: string,
  ) {}
}
remade("test/looked-up", Node, {
  key: ({ of, name }) => ({ of, name }),
  make({ of, name }: { of: unknown; name: string }) {
    if (name.length > 10) throw new Error("no such node");
    return new Node(of, name);
  },
});
code("test/some-code", () => 1);

describe("versions", () => {
  class Old {
    count = 0;
    unit = "pages";
    node: Node | null = null;
    extra: unknown = null;
    late = 0;
  }
  persistent("test/old", Old, {
    version: 3,
    migrate(fields, from) {
      if (from === 1) {
        fields["count"] = Number(fields["bytes"]) / 4096;
        delete fields["bytes"];
      }
      fields["unit"] = `pages, once version ${from}`;
      fields["node"] = fields["found"];
      delete fields["found"];
    },
    as: { extra: { save: (value: unknown) => value, restore: (saved: unknown) => ({ saved }) } },
    added: { late: (object) => object.count + 1 },
  });

  test("an older one is migrated: plain fields, references to what is remade, and other forms", () => {
    const old = { id: 1, type: "test/old", v: 1, bytes: 8192, found: { "@": 2 }, extra: { node: [{ "@": 2 }] } };
    const node = { id: 2, type: "test/looked-up", v: 1, remade: { of: { "@": 1 }, name: "n" } };
    const made = restored(lines(old, node)) as Old;
    expect(made).toBeInstanceOf(Old);
    expect(Object.keys(made)).toEqual(["extra", "count", "unit", "node", "late"]);
    expect(made.count).toBe(2);
    expect(made.unit).toBe("pages, once version 1");
    expect(made.node).toEqual(new Node(made, "n"));
    expect(made.extra).toEqual({ saved: { node: [made.node] } });
    expect(made.late).toBe(3);
  });
  test("fields that came later have their defaults, and only where there are none", () => {
    const now = { id: 1, type: "test/old", v: 3, count: 1, unit: "", node: null, extra: null };
    expect((restored(lines(now)) as Old).late).toBe(2);
    expect((restored(lines({ ...now, late: 7 })) as Old).late).toBe(7);
  });
  test("a newer one is refused", () => {
    expect(refusal(lines({ id: 1, type: "test/old", v: 4 }))).toBe(
      "objects.jsonl line 1 (test/old 1): is of version 4, and here nothing newer is known than 3",
    );
    expect(refusal(lines({ id: 1, type: "test/socket", v: 2 }))).toContain("newer");
    for (const v of [0, -1, 1.5, "1", null, undefined, [1, 2], [[1]], {}])
      expect(refusal(lines({ id: 1, type: "test/socket", v: v }))).toContain("line 1");
  });
  test("a class that is extended has a version of its own", () => {
    class Extended {
      a = 1;
    }
    class Extending extends Extended {
      b = 2;
    }
    persistent("test/extended", Extended, { version: 2, migrate: (fields) => Object.assign(fields, { a: 10 }) });
    persistent("test/extending", Extending);
    expect([...new Save(kernel, host).save(new Extending())]).toEqual([
      '{"id":1,"type":"test/extending","v":[1,2],"a":1,"b":2}',
    ]);
    expect(restored(lines({ id: 1, type: "test/extending", v: [1, 2], a: 1, b: 3 }))).toEqual(
      Object.assign(new Extending(), { b: 3 }),
    );
    expect(restored(lines({ id: 1, type: "test/extending", v: 1, a: 1, b: 3 }))).toEqual(
      Object.assign(new Extending(), { a: 10, b: 3 }),
    );
    expect(refusal(lines({ id: 1, type: "test/extending", v: [1, 3] }))).toContain("newer");
  });
});

describe("the reader", () => {
  test("refuses nonsense, and says where it is", () => {
    const list = (...items: unknown[]) => lines({ id: 1, type: "array", items });
    for (const [image, reason] of [
      [[], "objects.jsonl: is empty"],
      [["{"], "objects.jsonl line 1: is not JSON"],
      [["["], "is not JSON"],
      [["null"], "objects.jsonl line 1: is not an object"],
      [["[]"], "is not an object"],
      [['"x"'], "is not an object"],
      [["[".repeat(1_000_000)], "is not JSON"],
      [[`{"id":1,"type":"array","items":${"[".repeat(100_000)}${"]".repeat(100_000)}}`], "line 1"],
      [lines({ type: "array" }), "has no id that is a number"],
      [lines({ id: "1", type: "array" }), "has no id that is a number"],
      [lines({ id: 1.5, type: "array" }), "has no id that is a number"],
      [lines({ id: 1 }), "has no type"],
      [lines({ id: 1, type: "unknown" }), "line 1: is of a type that is not known here: unknown"],
      [lines({ id: 1, type: "__proto__" }), "not known here"],
      [lines({ id: 1, type: "array", items: [] }, { id: 1, type: "array", items: [] }), "line 2: has the id 1"],
      [lines({ id: 1, type: "array" }), "line 1 (array 1): has no items"],
      [lines({ id: 1, type: "array", items: {} }), "has no items"],
      [lines({ id: 1, type: "array", items: [], more: 1 }), "has a member that it cannot have: more"],
      [lines({ id: 1, type: "array", items: [], v: 1 }), "has a member that it cannot have: v"],
      [list({ "@": 2 }), "line 1 (array 1), 0: refers to object 2, which is not there"],
      [list({ "@": "1" }), "refers to object 1"],
      [list({ "@": null }), "refers to object null"],
      [list({ "@": 0 }), "refers to object 0"],
      [list({ "@": -1 }), "refers to object -1"],
      [list({ "@": 1, b: 2 }), "is no value"],
      [list({}), "is no value"],
      [list([]), "is no value"],
      [list({ a: 1 }), "is no value"],
      [list({ $: "transient" }), "is no value: transient"],
      [list({ $: "toString" }), "is no value: toString"],
      [list({ $code: "eval" }), "is code that is not known here: eval"],
      [list({ $code: "constructor" }), "not known here"],
      [list({ $holes: 1 }), "has holes without a number"],
      [list({ $holes: -1 }), "has holes without a number"],
      [list({ $holes: 1e10 }), "has holes without a number"],
      [list({ $holes: 1 << 24 }, 1), "is longer than"],
      [['{"id":1,"type":"object","__proto__":{"@":1}}'], "would hide"],
      [lines({ id: 1, type: "object", constructor: 1 }), "would hide"],
      [lines({ id: 1, type: "object", toString: 1 }), "would hide"],
      [lines({ id: 1, type: "object", $x: 1 }), "has a member that it cannot have: $x"],
      [['{"id":1,"type":"dictionary","__proto__":1}'], "would hide"],
      [lines({ id: 1, type: "map", entries: [[1]] }), "has something else than pairs"],
      [lines({ id: 1, type: "map", entries: [1] }), "has something else than pairs"],
      [
        lines({
          id: 1,
          type: "map",
          entries: [
            [1, 2],
            [1, 3],
          ],
        }),
        "has a key twice",
      ],
      [lines({ id: 1, type: "set", items: [1, 1] }), "has an item twice"],
      [lines({ id: 1, type: "buffer", length: 3, base64: "AAAAAA==" }), "is not as long as it says"],
      [lines({ id: 1, type: "buffer", length: 1e9, base64: "" }), "is not as long as it says"],
      [lines({ id: 1, type: "buffer", length: 3, base64: "!!!!" }), "has bytes that are no base64"],
      [lines({ id: 1, type: "buffer", length: -1, base64: "" }), "has no length that can be"],
      [lines({ id: 1, type: "buffer", length: 1e12, at: 0 }), "has no length that can be"],
      [lines({ id: 1, type: "buffer", length: 1 << 29, at: 0 }), "lies beyond the end"],
      [lines({ id: 1, type: "buffer", length: 5000, at: 1 }), "does not lie at a page"],
      [lines({ id: 1, type: "buffer", length: 5000, at: -4096 }), "does not lie at a page"],
      [lines({ id: 1, type: "bytes", kind: "Array", of: { "@": 1 }, offset: 0, length: 0 }), "of a kind"],
      [lines({ id: 1, type: "bytes", kind: "Uint8Array", of: { "@": 1 }, offset: 0, length: 0 }), "is no buffer"],
      [lines({ id: 1, type: "bytes", kind: "Uint8Array", of: 5, offset: 0, length: 0 }), "is no buffer"],
      [lines({ id: 1, type: "test/socket", v: 1, send: 1 }), "would hide what the type itself has: send"],
      [lines({ id: 1, type: "test/socket", v: 1, closed: true }), "would hide what the type itself has: closed"],
      [lines({ id: 1, type: "test/socket", v: 1, remade: {} }), "is not of a type whose objects are made again"],
      [lines({ id: 1, type: "test/socket", v: 1, data: { "@": 7 } }), "data: refers to object 7"],
      [lines({ id: 1, type: "test/socket", v: 1, data: 5 }), "line 1 (test/socket 1), data: "],
      [lines({ id: 1, type: "test/looked-up", v: 1, remade: {} }), "is the first line"],
    ] as [string[], string][]) {
      const found = refusal(image);
      expect(found).toStartWith("objects.jsonl");
      expect(found).toContain(reason);
    }
  });

  test("views outside their buffers", () => {
    const buffer = { id: 2, type: "buffer", length: 8, base64: "AAAAAAAAAAA=" };
    const view = (kind: string, offset: unknown, length: unknown) =>
      refusal(lines({ id: 1, type: "bytes", kind, of: { "@": 2 }, offset, length }, buffer));
    expect(view("Uint32Array", 4, 1)).toBe("restored");
    expect(view("DataView", 3, 5)).toBe("restored");
    for (const [kind, offset, length] of [
      ["Uint32Array", 4, 2],
      ["Uint32Array", 2, 1],
      ["Uint8Array", 9, 0],
      ["Uint8Array", 0, 9],
      ["Uint8Array", -1, 1],
      ["Uint8Array", 0, 1.5],
      ["Uint8Array", 0, null],
      ["Buffer", 4, 5],
      ["DataView", 4, 5],
      ["Float64Array", 0, 2],
    ] as const)
      expect(view(kind, offset, length)).toContain("has no");
  });

  test("objects that are to be made again from themselves, or cannot be", () => {
    const list = { id: 1, type: "array", items: [{ "@": 2 }] };
    const node = (id: number, key: unknown) => ({ id, type: "test/looked-up", v: 1, remade: key });
    expect(refusal(lines(list, node(2, { of: { "@": 2 }, name: "x" })))).toBe(
      "objects.jsonl line 2 (test/looked-up 2): is made again from itself, by way of object 2",
    );
    expect(
      refusal(lines(list, node(2, { of: { "@": 3 }, name: "x" }), node(3, { of: [{ "@": 2 }], name: "y" }))),
    ).toContain("is made again from itself");
    expect(refusal(lines(list, node(2, { of: null, name: "longer than that" })))).toBe(
      "objects.jsonl line 2 (test/looked-up 2): no such node",
    );
    expect(refusal(lines(list, node(2, null)))).toStartWith("objects.jsonl line 2 (test/looked-up 2): ");
    // Each needs all that come after it, and a chain of them is not a matter of the stack.
    const many = Array.from({ length: 300 }, (_, i) =>
      node(i + 2, { of: Array.from({ length: 300 - i - 1 }, (_, k) => ({ "@": i + 3 + k })), name: "x" }),
    );
    expect(refusal(lines(list, ...many))).toBe("restored");
    const chain = Array.from({ length: 50_000 }, (_, i) =>
      node(i + 2, { of: i === 49_999 ? null : { "@": i + 3 }, name: "x" }),
    );
    expect(refusal(lines(list, ...chain))).toBe("restored");
  });

  test("takes no more memory than a few times what the image has", () => {
    const before = process.memoryUsage().rss;
    const sparse = Array.from({ length: 2000 }, (_, i) => ({
      id: i + 1,
      type: "array",
      items: [1, { $holes: 16e6 }, 2],
    }));
    expect(refusal(lines(...sparse))).toBe("restored");
    const filled = Array.from({ length: 2000 }, (_, i) => ({ id: i + 1, type: "array", items: [{ $holes: 99e3 }] }));
    expect(refusal(lines(...filled))).toContain("holes together");
    const views = Array.from({ length: 20_000 }, (_, i) => ({
      id: i + 2,
      type: "bytes",
      kind: "Uint8Array",
      of: { "@": 1 },
      offset: 0,
      length: 1 << 20,
    }));
    host.storeBytes(new Uint8Array(1 << 20));
    expect(refusal(lines({ id: 1, type: "buffer", length: 1 << 20, at: 0 }, ...views))).toBe("restored");
    const buffers = Array.from({ length: 2000 }, (_, i) => ({ id: i + 1, type: "buffer", length: 1 << 20, at: 0 }));
    expect(refusal(lines(...buffers))).toContain("lies beyond the end");
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 30);
  }, 60_000);

  test("by the schema: fields that are new, gone, or of another type", () => {
    const schema: Schema = {
      "test/socket": {
        v: 1,
        fields: {
          peer: ["@test/socket", "null"],
          port: ["number"],
          host: ["transient"],
          data: ["form", "null"],
          note: ["absent", "string"],
        },
      },
    };
    const socket = { id: 1, type: "test/socket", v: 1, peer: null, port: 80, host: null, data: { bytes: [] } };
    expect(refusal(lines(socket), schema)).toBe("restored");
    expect(refusal(lines({ ...socket, port: { $: "inf" } }), schema)).toBe("restored");
    expect(refusal(lines({ ...socket, port: undefined }), schema)).toContain("has no field port");
    expect(refusal(lines({ ...socket, port: "80" }), schema)).toContain("port: is no number");
    expect(refusal(lines({ ...socket, port: { "@": 1 } }), schema)).toContain("port: is no number");
    expect(refusal(lines({ ...socket, peer: { "@": 2 } }, { id: 2, type: "object", fd: 7 }), schema)).toContain(
      "peer: is no @test/socket",
    );
    expect(refusal(lines({ ...socket, peer: { "@": 1 } }), schema)).toBe("restored");
    expect(refusal(lines({ ...socket, hasOwnProperty2: 1 }), schema)).toContain("has a field that its class has not");
    expect(refusal(lines(socket, { ...socket, id: 2, port: true }), schema)).toContain("line 2");
  });
});

describe("an image edited at random", () => {
  function sample(): string[] {
    const socket = new Socket();
    socket.peer = new Socket();
    socket.peer.peer = socket;
    const node = new Node([], "node");
    const bytes = new Uint8Array(40).fill(5);
    const array: unknown[] = [1, "two", null, undefined, -0, Number.NaN, socket, new Node(node, "other"), bytes];
    array[20] = new Float64Array(bytes.buffer, 8, 2);
    const root = {
      socket,
      array,
      node,
      map: new Map<unknown, unknown>([
        [socket, node],
        ["key", array],
        [node, 1],
      ]),
      set: new Set<unknown>([1, socket, node]),
      large: new Uint8Array(5000),
      text: 'a "text"',
    };
    return [...new Save(kernel, host).save(root)];
  }

  /** Numbers that depend on the seed alone (xorshift). */
  function numbers(seed: number): (below: number) => number {
    let state = seed * 2654435761 + 1;
    return (below) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
  }

  const PIECES = [
    '{"@":1}',
    '{"@":3}',
    '{"@":99}',
    '{"$":"hole"}',
    '{"$holes":16000000}',
    '{"$":"nan"}',
    '{"$":"transient"}',
    '{"$code":"test/some-code"}',
    "null",
    "[]",
    "{}",
    "-1",
    "1e308",
    "4294967296",
    '"__proto__"',
    '"constructor"',
    '"prototype"',
    '"test/looked-up"',
    '"test/socket"',
    '"map"',
    '"remade":{}',
    '"__proto__":{"polluted":1}',
  ];
  /** Whole values, tokens, bytes and lines: changed, moved, doubled, left out. */
  function edited(image: readonly string[], random: (below: number) => number): string[] {
    const made = [...image];
    for (let n = 1 + random(4); n > 0; n--) {
      const at = random(made.length);
      const line = made[at] ?? "";
      const tokens = [...line.matchAll(/"(?:[^"\\]|\\.)*"|-?[0-9][0-9.e+-]*|\{"[@$][^{}]*\}|[a-z]+|[[\]{},:]/g)];
      const token = tokens[random(Math.max(1, tokens.length))];
      switch (random(9)) {
        case 0:
          made.splice(at, 1);
          break;
        case 1:
          made.splice(random(made.length + 1), 0, line);
          break;
        case 2:
          [made[at], made[0]] = [made[0] ?? "", line];
          break;
        case 3:
          made[at] = line.slice(0, random(line.length + 1));
          break;
        case 4:
          made[at] = line.replace(/"id":\d+/, `"id":${random(30)}`);
          break;
        case 5:
          made[at] = line.replace(/\{"@":\d+\}/g, (found) => (random(3) === 0 ? `{"@":${random(24)}}` : found));
          break;
        case 6: {
          const i = random(line.length + 1);
          made[at] = line.slice(0, i) + String.fromCharCode(32 + random(95)) + line.slice(i + 1);
          break;
        }
        default:
          if (token !== undefined)
            made[at] =
              line.slice(0, token.index) + PIECES[random(PIECES.length)] + line.slice(token.index + token[0].length);
      }
    }
    return made;
  }

  test("is restored, or refused with an ImageError; nothing else happens", () => {
    const image = sample();
    expect(refusal(image)).toBe("restored");
    const before = JSON.stringify(
      [Object.prototype, Array.prototype, Socket.prototype, Map.prototype].map(propertiesOf),
    );
    const outcomes = { restored: 0, refused: 0 };
    const reasons = new Set<string>();
    for (let seed = 1; seed <= 6000; seed++) {
      const lines = edited(image, numbers(seed));
      const since = performance.now();
      let outcome: string;
      try {
        outcome = refusal(lines);
      } catch (error) {
        throw new Error(`seed ${seed}: ${error}\n${lines.join("\n")}`, { cause: error });
      }
      if (performance.now() - since > 5000) throw new Error(`seed ${seed} took too long\n${lines.join("\n")}`);
      if (outcome === "restored") outcomes.restored++;
      else {
        outcomes.refused++;
        reasons.add(outcome.replace(/.*?: /, "").slice(0, 12));
      }
    }
    expect(JSON.stringify([Object.prototype, Array.prototype, Socket.prototype, Map.prototype].map(propertiesOf))).toBe(
      before,
    );
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    // It does try what it is there for.
    expect(outcomes.restored).toBeGreaterThan(200);
    expect(reasons.size).toBeGreaterThan(20);
  }, 120_000);

  const propertiesOf = (object: object): unknown[] =>
    Reflect.ownKeys(object).map((key) => [key.toString(), typeof Object.getOwnPropertyDescriptor(object, key)?.value]);
});
