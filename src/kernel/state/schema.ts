/**
 * What saved kernels have looked like: of each class its version, its fields and the kinds of values that were seen in them
 * (schema.json, written from the checkpoints of the test suite). A field that is new, gone or of another kind makes older
 * images unreadable without a word: compared with what is checked in, it makes a test fail instead.
 */
import { BUILT_IN, isObject, isOfLine, nameOf } from "./encode.ts";
import { declaredAs, type Rules, rulesOf } from "./registry.ts";

/**
 * In a field: `null`, `boolean`, `number`, `string`, `undefined`, `code`, `transient`; `form` for whatever its class's rules make
 * of it; of a reference the type of its line, with "@" before that of a class. `absent`: some objects have no such field.
 */
export type Kind = string;

export interface ClassSchema {
  readonly v: unknown;
  /** Of objects that are made again: what their keys are; else the fields. */
  readonly fields: Record<string, readonly Kind[]>;
}
export type Schema = Record<string, ClassSchema>;

interface Seen {
  readonly v: unknown;
  objects: number;
  /** Of each field, the kinds, and how many objects have it. */
  readonly fields: Map<string, { kinds: Set<Kind>; objects: number }>;
}

const REMADE = "<remade>";
const INSTANCE = "@";

/** Collects what is in any number of saved kernels. */
export class SchemaCollector {
  private readonly seen = new Map<string, Seen>();

  add(lines: Iterable<string>): void {
    const records: Record<string, unknown>[] = [];
    const types = new Map<unknown, string>();
    for (const line of lines) {
      const record = JSON.parse(line) as Record<string, unknown>;
      records.push(record);
      types.set(record["id"], String(record["type"]));
    }
    for (const record of records) {
      const type = String(record["type"]);
      // Neither those without a class, nor what an image has beside objects.
      if (BUILT_IN.has(type) || record["v"] === undefined) continue;
      // Some objects of a class are made again and others are saved: they have nothing in common.
      const isRemade = record["remade"] !== undefined;
      const seen = this.seenOf(isRemade ? `${type} ${REMADE}` : type, record["v"]);
      seen.objects++;
      if (isRemade) {
        note(seen, "key", kindOf(record["remade"], types));
        continue;
      }
      const forms = formsOf(type);
      for (const [written, value] of Object.entries(record)) {
        if (isOfLine(written)) continue;
        const name = nameOf(written);
        note(seen, name, forms.has(name) ? "form" : kindOf(value, types));
      }
    }
  }

  private seenOf(name: string, v: unknown): Seen {
    let seen = this.seen.get(name);
    if (seen === undefined || JSON.stringify(seen.v) !== JSON.stringify(v)) {
      seen = { v, objects: 0, fields: new Map() };
      this.seen.set(name, seen);
    }
    return seen;
  }

  schema(): Schema {
    const schema: Schema = {};
    for (const [name, { v, objects, fields }] of this.seen) {
      const kinds: Record<string, Kind[]> = {};
      for (const [field, found] of fields) {
        if (found.objects < objects) found.kinds.add("absent");
        kinds[field] = [...found.kinds].sort();
      }
      schema[name] = { v, fields: kinds };
    }
    return schema;
  }
}

function note({ fields }: Seen, name: string, kind: Kind): void {
  let found = fields.get(name);
  if (found === undefined) {
    found = { kinds: new Set(), objects: 0 };
    fields.set(name, found);
  }
  found.kinds.add(kind);
  found.objects++;
}

/** Fields of a class that have another form, which may be a plain value now and then. */
function formsOf(type: string): Set<string> {
  return new Set(rulesOfName(type).flatMap((rules) => Object.keys(rules.as ?? {})));
}

function kindOf(written: unknown, types: ReadonlyMap<unknown, string>): Kind {
  if (written === null) return "null";
  if (!isObject(written)) return Array.isArray(written) ? "form" : typeof written;
  const word = written["$"];
  if (word === "undefined" || word === "transient") return word;
  if (typeof word === "string") return "number";
  if (typeof written["$code"] === "string") return "code";
  if (written["@"] === undefined) return "form";
  const type = types.get(written["@"]) ?? "";
  return BUILT_IN.has(type) ? type : `${INSTANCE}${type}`;
}

/** What may stand in a field, by the kinds that were seen there: strict for what is no plain value, see `allows`. */
export class FieldKinds {
  private readonly kinds: ReadonlySet<Kind>;
  /** Of the classes that were seen: the farthest ones that they extend. */
  private readonly families = new Set<object>();
  /** Nothing was seen that says what the field is for. */
  private readonly anything: boolean;

  constructor(kinds: readonly Kind[]) {
    this.kinds = new Set(kinds.filter((kind) => !NOTHING.has(kind)));
    this.anything = this.kinds.size === 0;
    for (const kind of this.kinds) {
      const declared = kind.startsWith(INSTANCE) ? declaredAs(kind.slice(1)) : undefined;
      if (declared !== undefined) this.families.add(familyOf(declared.type.prototype as object));
    }
  }

  /**
   * Another way through a program shows other values: another class, or a plain value where there was an object.
   * But what an edited image has must not be taken for what it is not: bytes for a number, which would be an address, or a
   * plain object for one that holds a descriptor.
   */
  allows(
    written: unknown,
    typeOf: (id: unknown) => string | undefined,
    /** Does the image say what its descriptor is? Such an object stands only where its like was seen. */
    hasNumber: (id: unknown) => boolean,
  ): boolean {
    if (written === null || this.anything) return true;
    if (!isObject(written)) return this.allowsPlain(typeof written);
    const word = written["$"];
    if (word !== undefined) return word === "undefined" || this.allowsPlain("number");
    if (written["$code"] !== undefined) return this.kinds.has("code") || this.families.size > 0;
    const type = typeOf(written["@"]);
    if (type === undefined || BUILT_IN.has(type)) return type === undefined || this.kinds.has(type);
    const declared = declaredAs(type);
    if (declared === undefined) return true;
    if (this.families.size === 0) return this.kinds.size === 1 && this.kinds.has("boolean");
    return this.families.has(familyOf(declared.type.prototype as object)) || !hasNumber(written["@"]);
  }
  private allowsPlain(type: Kind): boolean {
    return this.kinds.has(type) || this.families.size > 0;
  }
  toString(): string {
    return list([...this.kinds]);
  }
}
const NOTHING: ReadonlySet<Kind> = new Set(["null", "undefined", "absent", "transient"]);

/** The farthest class that it extends. */
function familyOf(prototype: object): object {
  let at = prototype;
  for (;;) {
    const above = Object.getPrototypeOf(at) as object | null;
    if (above === null || above === Object.prototype) return at;
    at = above;
  }
}

const list = (kinds: readonly Kind[]): string => kinds.join(" or ");
const isVersion = (a: ClassSchema, b: ClassSchema): boolean => JSON.stringify(a.v) === JSON.stringify(b.v);

export interface SchemaDifferences {
  /** Older images could not be read, or would be misunderstood: to be put right in the code. */
  readonly wrong: string[];
  /** What the schema does not know yet: it is to be written anew. */
  readonly unknown: string[];
}

/** What of images that were written by `schema` is otherwise in the kernel that `seen` comes from. */
export function compareSchemas(schema: Schema, seen: Schema): SchemaDifferences {
  const wrong: string[] = [];
  const unknown: string[] = [];
  for (const [name, now] of Object.entries(seen)) {
    const before = schema[name];
    if (before === undefined) unknown.push(`${name}: a class that the schema has not seen`);
    else if (!isVersion(before, now)) {
      const versions = `version ${JSON.stringify(now.v)}, in the schema ${JSON.stringify(before.v)}`;
      if (rulesOfName(name).some(({ migrate }) => migrate !== undefined)) unknown.push(`${name}: ${versions}`);
      else wrong.push(`${name}: ${versions}, and nothing that migrates the older one`);
    } else compareFields(name, before.fields, now.fields, wrong, unknown);
  }
  for (const name of Object.keys(schema))
    if (rulesOfName(name).length === 0) wrong.push(`${name}: in the schema, and no class has that name any more`);
  return { wrong, unknown };
}

function rulesOfName(name: string): Rules<object>[] {
  const declared = declaredAs(name.split(" ")[0]!);
  return declared === undefined ? [] : rulesOf(declared.type.prototype as object);
}

type Fields = ClassSchema["fields"];
function compareFields(name: string, before: Fields, now: Fields, wrong: string[], unknown: string[]): void {
  for (const [field, kinds] of Object.entries(now)) {
    const known = before[field];
    if (known === undefined) {
      const text = `${name}: new field \`${field}\` (${list(kinds)})`;
      const hasDefault = rulesOfName(name).some(({ added }) => added !== undefined && Object.hasOwn(added, field));
      if (hasDefault || list(kinds) === "transient" || kinds.includes("absent")) unknown.push(text);
      else wrong.push(`${text}: raise its version or give a default (\`added\`)`);
      continue;
    }
    const others = kinds.filter((kind) => !known.includes(kind));
    if (others.length === 0) continue;
    const text = `${name}: field \`${field}\` was ${list(known)}, and is ${list(others)}`;
    // A value is a value; another form, or none at all where there was one, is another meaning.
    if ([...known, ...others].some((kind) => kind === "form") || known.every((kind) => kind === "transient"))
      wrong.push(`${text}: raise its version`);
    else unknown.push(`${text} (if it could not always be that: raise its version)`);
  }
  for (const [field, kinds] of Object.entries(before))
    if (now[field] === undefined && !kinds.includes("absent") && list(kinds) !== "transient")
      wrong.push(`${name}: field \`${field}\` (${list(kinds)}) is gone: raise its version`);
}

/** What both have seen; of a class whose version has changed, what `seen` has. */
export function mergeSchemas(schema: Schema, seen: Schema): Schema {
  const merged: Schema = { ...schema };
  for (const [name, now] of Object.entries(seen)) {
    const before = schema[name];
    if (before === undefined || !isVersion(before, now)) {
      merged[name] = now;
      continue;
    }
    const fields: Record<string, readonly Kind[]> = {};
    for (const field of new Set([...Object.keys(before.fields), ...Object.keys(now.fields)])) {
      const kinds = [before.fields[field] ?? ["absent"], now.fields[field] ?? ["absent"]].flat();
      fields[field] = [...new Set(kinds)].sort();
    }
    merged[name] = { v: now.v, fields };
  }
  return merged;
}

/** As it is checked in: a line for each field, in the order of the alphabet. */
export function schemaText(schema: Schema): string {
  const classes = Object.keys(schema)
    .sort()
    .map((name) => {
      const { v, fields } = schema[name]!;
      const lines = Object.keys(fields)
        .sort()
        .map(
          (field) =>
            `      ${JSON.stringify(field)}: [${fields[field]!.map((kind) => JSON.stringify(kind)).join(", ")}]`,
        );
      const inner = lines.length === 0 ? "{}" : `{\n${lines.join(",\n")}\n    }`;
      return `  ${JSON.stringify(name)}: {\n    "v": ${JSON.stringify(v)},\n    "fields": ${inner}\n  }`;
    });
  return classes.length === 0 ? "{}\n" : `{\n${classes.join(",\n")}\n}\n`;
}
