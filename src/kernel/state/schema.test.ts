import { expect, test } from "bun:test";
import type { Kernel } from "../kernel.ts";
import { MemoryHost } from "../testing/saving.ts";
import { code, persistent, remade } from "./registry.ts";
import { Save } from "./save.ts";
import { compareSchemas, mergeSchemas, type Schema, SchemaCollector, schemaText } from "./schema.ts";

class File {
  position = 0;
  node: Node | null = null;
  handlers: unknown = null;
  host = {};
  owner = { id: 1 };
  readonly bytes = new Uint8Array(1);
  readonly list: unknown[] = [];
  constructor(readonly name: string | undefined) {}
}
class Node {
  constructor(readonly found: boolean) {}
}
persistent("test/schema-file", File, {
  transient: { host: () => ({}) },
  as: { owner: { save: ({ id }: { id: number }) => ({ id }), restore: (saved) => saved } },
  added: { later: () => 1 },
});
remade("test/schema-node", Node, { key: ({ found }) => (found ? {} : null), make: () => new Node(true) });
class Versioned {}
persistent("test/schema-versioned", Versioned, { version: 2, migrate() {} });
const table = code("test/schema-table", {});

const host = new MemoryHost();
function schemaOf(...roots: object[]): Schema {
  const collector = new SchemaCollector();
  for (const root of roots) collector.add(new Save({} as Kernel, host).save(root));
  return collector.schema();
}

const first = new File("name");
const second = new File(undefined);
second.node = new Node(false);
second.position = Number.NaN;
second.handlers = table;
const other = Object.assign(new File("third"), { only: 1, node: new Node(true) });
const schema = schemaOf(first, second, { other });
const file = schema["test/schema-file"]!;
const without = (field: string): Schema => {
  const { [field]: _, ...fields } = file.fields;
  return { "test/schema-file": { ...file, fields } };
};
const withField = (field: string, kinds: string[]): Schema => ({
  "test/schema-file": { ...file, fields: { ...file.fields, [field]: kinds } },
});

test("kinds of what was seen in fields", () => {
  expect(schema).toEqual({
    "test/schema-file": {
      v: 1,
      fields: {
        position: ["number"],
        node: ["@test/schema-node", "null"],
        handlers: ["code", "null"],
        host: ["transient"],
        owner: ["form"],
        bytes: ["bytes"],
        list: ["array"],
        name: ["string", "undefined"],
        only: ["absent", "number"],
      },
    },
    "test/schema-node": { v: 1, fields: { found: ["boolean"] } },
    "test/schema-node <remade>": { v: 1, fields: { key: ["form"] } },
  });
  expect(JSON.parse(schemaText(schema))).toEqual(schema);
  expect(schemaText(schema)).toContain('      "node": ["@test/schema-node", "null"],\n');
});

test("a new or changed field is a difference, and what is to be done is said", () => {
  expect(compareSchemas(schema, schema)).toEqual({ wrong: [], unknown: [] });
  expect(compareSchemas(without("position"), schema).wrong).toEqual([
    "test/schema-file: new field `position` (number): raise its version or give a default (`added`)",
  ]);
  expect(compareSchemas(withField("gone", ["string"]), schema).wrong).toEqual([
    "test/schema-file: field `gone` (string) is gone: raise its version",
  ]);
  expect(compareSchemas(withField("position", ["form"]), schema).wrong).toEqual([
    "test/schema-file: field `position` was form, and is number: raise its version",
  ]);
  expect(compareSchemas({ ...schema, ...withField("position", ["string"]) }, schema)).toEqual({
    wrong: [],
    unknown: [
      "test/schema-file: field `position` was string, and is number (if it could not always be that: raise its version)",
    ],
  });
});

test("what the schema has not seen yet", () => {
  expect(compareSchemas({ ...schema, ...withField("later2", ["absent"]) }, schema)).toEqual({ wrong: [], unknown: [] });
  expect(compareSchemas({}, schema).unknown).toHaveLength(3);
  const now = withField("later", ["number"]);
  expect(compareSchemas(schema, now)).toEqual({ wrong: [], unknown: ["test/schema-file: new field `later` (number)"] });
  expect(compareSchemas(without("host"), schema).wrong).toEqual([]);
});

test("versions, and classes that are gone", () => {
  const versions = (name: string, before: number, now: number) =>
    compareSchemas({ [name]: { v: before, fields: {} } }, { [name]: { v: now, fields: {} } });
  expect(versions("test/schema-versioned", 1, 2).unknown).toEqual([
    "test/schema-versioned: version 2, in the schema 1",
  ]);
  expect(versions("test/schema-file", 1, 2).wrong).toEqual([
    "test/schema-file: version 2, in the schema 1, and nothing that migrates the older one",
  ]);
  expect(compareSchemas({ "test/never-declared": { v: 1, fields: {} } }, {}).wrong).toEqual([
    "test/never-declared: in the schema, and no class has that name any more",
  ]);
});

test("merged: what both have seen, but for classes of another version", () => {
  const merged = mergeSchemas(schemaOf(first), schemaOf(second, { other }));
  expect(merged).toEqual(schema);
  const newer: Schema = { "test/schema-file": { v: 2, fields: { all: ["number"] } } };
  expect(mergeSchemas(schema, newer)["test/schema-file"]).toEqual(newer["test/schema-file"]);
  expect(mergeSchemas(schema, {})).toEqual(schema);
});
