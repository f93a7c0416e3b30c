/**
 * Makes a kernel from what `Save` has written, in steps that no constructor takes part in: every object made, empty; their
 * plain fields; objects that are remade; what refers to those; fields in other forms and transient ones; then what is opened
 * anew, and hooks. Fields have the order that they had.
 *
 * The lines may come from a stranger: they are believed in nothing. What can go wrong is an ImageError that names the line,
 * and what is made from it is as large as the image at most, times a constant. (That a kernel made from an edited image works
 * is not promised: only guests depend on that.)
 */
import { pread } from "../../native/host.ts";
import type { Kernel } from "../kernel.ts";
import {
  BUILT_IN,
  ImageError,
  isHidden,
  isObject,
  isOfLine,
  NESTED_MAX,
  nameOf,
  viewNamed,
  WORDS,
  writtenName,
} from "./encode.ts";
import type { HostSource } from "./host.ts";
import {
  codeNamed,
  type Declared,
  declaredAs,
  declaredOf,
  type Form,
  type Rules,
  rulesOf,
  versionsOf,
} from "./registry.ts";
import { FieldKinds, type Schema } from "./schema.ts";

type Fields = Record<string, unknown>;
type Made = (object: object, restore: Restore) => unknown;
type Hook = (object: object, restore: Restore) => void;

const LINE_MAX = 256 * 1024 * 1024;
const OBJECTS_MAX = 16 * 1024 * 1024;
/** Bytes in buffers, of all together. */
const BUFFERS_MAX = 1024 * 1024 * 1024;
/** Holes of all arrays together that take up memory: longer arrays than this have none for them. */
const SPARSE_MIN = 100_000;
const HOLES_MAX = 32 * 1024 * 1024;
const ARRAY_MAX = 1 << 24;
const PAGE = 4096;

const isCount = (value: unknown, max: number): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max && !Object.is(value, -0);

/** What members of a line, in this order, mean for a class. */
interface Shape {
  readonly members: readonly string[];
  /** Names of the fields; null: of the line. */
  readonly names: readonly (string | null)[];
  readonly special: readonly (Form<object> | Made | undefined)[];
  /** What the line could have too. */
  readonly absent: readonly (readonly [name: string, make: Made])[];
  /** What fields have to be, where that is known. */
  readonly kinds: readonly (FieldKinds | undefined)[];
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** What is known of a class when its objects are made. */
class Plan {
  readonly prototype: object;
  readonly special = new Map<string, Form<object> | Made>();
  /** What fields are that no line has: transient ones, and those that came later. */
  readonly missing = new Map<string, Made>();
  /** Of the class and those that it extends, nearest first. */
  readonly rules: readonly Rules<object>[];
  readonly versions: readonly number[];
  readonly reopen: readonly Hook[];
  readonly restored: readonly Hook[];
  /** That of the line before, which most others have too. */
  shape: Shape | null = null;
  constructor(readonly declared: Declared) {
    this.prototype = declared.type.prototype as object;
    this.rules = rulesOf(this.prototype);
    this.versions = [versionsOf(this.prototype)].flat();
    const farthestFirst = [...this.rules].reverse();
    this.reopen = farthestFirst.flatMap((rules) => rules.reopen?.bind(rules) ?? []);
    this.restored = farthestFirst.flatMap((rules) => rules.restored?.bind(rules) ?? []);
    for (const rules of farthestFirst) {
      for (const [name, form] of Object.entries(rules.as ?? {})) this.special.set(name, form);
      for (const [name, make] of Object.entries(rules.transient ?? {})) this.special.set(name, make);
      for (const [name, make] of Object.entries(rules.added ?? {})) this.missing.set(name, make);
    }
    for (const [name, special] of this.special) if (typeof special === "function") this.missing.set(name, special);
  }

  /** Is that the version of the class and of those that it extends? */
  isCurrent(v: unknown): boolean {
    if (typeof v === "number") return v === this.versions[0] && this.versions.length === 1;
    return (
      Array.isArray(v) &&
      v.every((version, i) => version === (this.versions[i] ?? 1)) &&
      v.length >= this.versions.length
    );
  }
}

/** One line. */
interface Entry {
  readonly line: number;
  readonly id: number;
  readonly type: string;
  readonly record: Fields;
  /** Of a class. */
  readonly plan: Plan | null;
  /** Null until it has been made. */
  object: object | null;
  /** What stands for it until then. */
  readonly pending: Pending | null;
}

/** Stands for an object that is still to be remade. */
class Pending {
  entry!: Entry;
  /** Its key is being found out: who needs it meanwhile needs himself. */
  begun = false;
}

/** A field that gets its value later. */
interface Later {
  readonly entry: Entry;
  readonly object: Fields;
  readonly name: string;
}

export class Restore {
  private readonly entries: Entry[] = [];
  private readonly byId = new Map<number, Entry>();
  private readonly buffers: Entry[] = [];
  private readonly views: Entry[] = [];
  private readonly pendings: Pending[] = [];
  private readonly plans = new Map<string, Plan>();
  /** What refers to remade objects: fields and elements, and whole maps and sets. */
  private readonly references: (Later & { readonly pending: Pending })[] = [];
  private readonly collections: Entry[] = [];
  /** `written` as the line has it; null: `saved` was taken from an older version. */
  private readonly forms: (Later & {
    readonly form: Form<object>;
    readonly written: unknown;
    readonly saved: unknown;
  })[] = [];
  private readonly transients: (Later & { readonly make: Made })[] = [];
  /** The line that is looked at, for errors. */
  private at: Entry | null = null;
  private line = 0;
  private field: string | number | null = null;
  private bufferBytes = 0;
  private storedBytes = 0;
  private holes = 0;
  /** Objects that are still to be remade, to which a key refers that is decoded now. */
  private met: Pending[] | null = null;
  /** Where older versions had something nested, in which such references may be. */
  private fresh: Set<object> | null = null;

  constructor(
    readonly kernel: Kernel,
    readonly host: HostSource,
    /** What is known of the fields of this version's classes (schema.ts). */
    private readonly schema: Schema | null = null,
  ) {}

  /** The object of the first line, with all that it refers to. `into` takes its place if given: it gets the fields. Once. */
  load(lines: Iterable<string>, into: object | null = this.kernel): object {
    try {
      return this.steps(lines, into);
    } catch (error) {
      if (error instanceof ImageError) throw error;
      throw this.error(error instanceof Error ? error.message : String(error), error);
    }
  }

  private error(reason: string, cause?: unknown): ImageError {
    const { at } = this;
    let where = this.line === 0 ? "" : ` line ${this.line}`;
    if (at !== null) where += ` (${at.type} ${at.id})${this.field === null ? "" : `, ${this.field}`}`;
    return new ImageError(`objects.jsonl${where}: ${reason}`, cause === undefined ? {} : { cause });
  }
  private fail(reason: string): never {
    throw this.error(reason);
  }
  private look(entry: Entry): void {
    this.at = entry;
    this.line = entry.line;
    this.field = null;
  }

  private steps(lines: Iterable<string>, into: object | null): object {
    this.read(lines, into);
    const { entries } = this;
    for (const entry of this.buffers) this.makeBuffer(entry);
    for (const entry of this.views) this.makeView(entry);
    for (const entry of entries) this.fill(entry);
    for (const pending of this.pendings) this.remake(pending);
    for (const { entry, object, name, pending } of this.references) {
      this.look(entry);
      object[name] = pending.entry.object;
    }
    for (const entry of this.collections) {
      this.look(entry);
      this.fillCollection(entry);
    }
    for (const { entry, object, name, form, written, saved } of this.forms) {
      this.look(entry);
      this.field = name;
      object[name] = form.restore(
        (written === null ? this.resolved(saved) : this.nested(written, 0)) as never,
        object,
        this,
      );
    }
    for (const { entry, object, name, make } of this.transients) {
      this.look(entry);
      this.field = name;
      object[name] = make(object, this);
    }
    this.hooks("reopen");
    this.hooks("restored");
    return entries[0]!.object!;
  }

  /** In the order of the lines; of one object, those of classes that its own extends first. */
  private hooks(which: "reopen" | "restored"): void {
    for (const entry of this.entries) {
      const { plan } = entry;
      if (plan === null || plan[which].length === 0 || entry.pending !== null) continue;
      this.look(entry);
      for (const hook of plan[which]) hook(entry.object!, this);
    }
  }

  // The lines, and an empty object for each.

  private read(lines: Iterable<string>, into: object | null): void {
    for (const text of lines) {
      this.line++;
      this.at = null;
      if (text.length > LINE_MAX) this.fail(`is longer than ${LINE_MAX} characters`);
      let record: unknown;
      try {
        record = JSON.parse(text);
      } catch (error) {
        this.fail(`is not JSON: ${(error as Error).message}`);
      }
      if (!isObject(record)) this.fail("is not an object");
      const { id, type, v } = record;
      if (!isCount(id, Number.MAX_SAFE_INTEGER)) this.fail("has no id that is a number");
      if (typeof type !== "string") this.fail("has no type");
      if (this.byId.has(id)) this.fail(`has the id ${id}, as another line has`);
      if (this.entries.length >= OBJECTS_MAX) this.fail(`there are more than ${OBJECTS_MAX} objects`);
      const isFirst = this.entries.length === 0;
      const plan = BUILT_IN.has(type) ? null : this.planOf(type);
      const remade = plan !== null && plan.declared.remaking !== null && Object.hasOwn(record, "remade");
      const pending = remade ? new Pending() : null;
      const entry: Entry = { line: this.line, id, type, record, plan, object: null, pending };
      this.at = entry;
      if (plan !== null) this.checkVersion(plan, v);
      if (Object.hasOwn(record, "remade") && !remade) this.fail("is not of a type whose objects are made again");
      if (pending !== null) {
        pending.entry = entry;
        this.pendings.push(pending);
      }
      if (isFirst && into !== null) {
        if (plan === null || remade || plan.declared !== declaredOf(Object.getPrototypeOf(into) as object))
          this.fail(`is the first line, but no ${declaredOf(Object.getPrototypeOf(into) as object)?.name}`);
        entry.object = into;
      } else if (isFirst && remade) this.fail("is the first line, and nothing that could be made again");
      else if (!remade) entry.object = this.emptyOf(type, plan);
      if (type === "buffer") this.buffers.push(entry);
      else if (type === "bytes") this.views.push(entry);
      this.entries.push(entry);
      this.byId.set(id, entry);
    }
    this.at = null;
    if (this.entries.length === 0) this.fail("is empty");
  }

  private planOf(type: string): Plan {
    let plan = this.plans.get(type);
    if (plan === undefined) {
      const declared = declaredAs(type);
      if (declared === undefined) this.fail(`is of a type that is not known here: ${type.slice(0, 100)}`);
      plan = new Plan(declared);
      this.plans.set(type, plan);
    }
    return plan;
  }

  private checkVersion({ versions }: Plan, v: unknown): void {
    const found: unknown[] = Array.isArray(v) ? v : [v];
    for (let i = 0; i < Math.max(found.length, versions.length); i++) {
      const version = i < found.length ? found[i] : 1;
      if (!isCount(version, Number.MAX_SAFE_INTEGER) || version < 1) this.fail("has no version that is a number");
      const known = versions[i] ?? 1;
      if (version > known) this.fail(`is of version ${version}, and here nothing newer is known than ${known}`);
    }
  }

  /** Null: buffers and their views, which need more than one line. */
  private emptyOf(type: string, plan: Plan | null): object | null {
    if (plan !== null) return Object.create(plan.prototype) as object;
    switch (type) {
      case "array":
        return [];
      case "object":
        return {};
      case "dictionary":
        return Object.create(null) as object;
      case "map":
        return new Map();
      case "set":
        return new Set();
      default:
        return null;
    }
  }

  private makeBuffer(entry: Entry): void {
    this.look(entry);
    const { length, at, base64 } = entry.record;
    this.only(entry, ["length", at === undefined ? "base64" : "at"]);
    if (!isCount(length, BUFFERS_MAX)) this.fail("has no length that can be");
    this.bufferBytes += length;
    if (this.bufferBytes > BUFFERS_MAX) this.fail(`buffers have more than ${BUFFERS_MAX} bytes together`);
    if (at === undefined) {
      // Looked at before anything of that size is made.
      if (typeof base64 !== "string" || base64.length !== 4 * Math.ceil(length / 3))
        this.fail("is not as long as it says");
      const bytes = Buffer.from(base64, "base64");
      if (bytes.length !== length || bytes.toString("base64") !== base64) this.fail("has bytes that are no base64");
      entry.object = Uint8Array.from(bytes).buffer;
      return;
    }
    if (!isCount(at, Number.MAX_SAFE_INTEGER - length) || at % PAGE !== 0)
      this.fail("does not lie at a page of the image");
    // Each has pages of its own: together they are no larger than the image.
    this.storedBytes += length;
    const end = Math.max(at + length, this.storedBytes);
    if (length > 0 && pread(this.host.pages, new Uint8Array(1), 1, end - 1) !== 1)
      this.fail("lies beyond the end of the image's pages");
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const n = pread(this.host.pages, bytes.subarray(done), length - done, at + done);
      if (n <= 0) this.fail(`cannot be read from the image's pages (${n})`);
      done += n;
    }
    entry.object = bytes.buffer;
  }

  private makeView(entry: Entry): void {
    this.look(entry);
    this.only(entry, ["kind", "of", "offset", "length"]);
    const { kind, of, offset, length } = entry.record;
    const view = viewNamed(kind);
    if (view === undefined) this.fail("is a view of a kind that is not known");
    const buffer = this.value(of);
    if (!(buffer instanceof ArrayBuffer)) this.fail("is a view of something that is no buffer");
    if (!isCount(offset, buffer.byteLength) || offset % view.elementSize !== 0) this.fail("has no offset that can be");
    if (!isCount(length, (buffer.byteLength - offset) / view.elementSize)) this.fail("has no length that can be");
    entry.object = view.make(buffer, offset, length);
  }

  /** Nothing but these, and what every line has. */
  private only({ record }: Entry, names: readonly string[]): void {
    for (const name of Object.keys(record))
      if (!names.includes(name) && name !== "id" && name !== "type")
        this.fail(`has a member that it cannot have: ${name.slice(0, 100)}`);
  }

  // Values.

  private entryOf(id: unknown): Entry | undefined {
    if (typeof id !== "number") return undefined;
    // Nobody has edited it: the ids are the numbers of the lines.
    const entry = this.entries[id - 1];
    return entry?.id === id ? entry : this.byId.get(id);
  }

  /** What is written as an object with one member; undefined is a value. */
  private value(written: unknown): unknown {
    if (typeof written !== "object" || written === null) return written;
    const keys = Object.keys(written);
    if (keys.length !== 1) this.fail("is no value");
    const value = (written as Fields)[keys[0]!];
    switch (keys[0]) {
      case "@": {
        const entry = this.entryOf(value);
        if (entry === undefined) this.fail(`refers to object ${String(value).slice(0, 20)}, which is not there`);
        if (entry.object !== null) return entry.object;
        if (entry.pending === null) this.fail(`refers to object ${entry.id}, which is no buffer`);
        this.met?.push(entry.pending);
        return entry.pending;
      }
      case "$":
        if (!WORDS.has(value)) this.fail(`is no value: ${String(value).slice(0, 20)}`);
        return WORDS.get(value);
      case "$code": {
        const code = typeof value === "string" ? codeNamed(value) : undefined;
        if (code === undefined) this.fail(`is code that is not known here: ${String(value).slice(0, 100)}`);
        return code;
      }
      default:
        return this.fail("is no value");
    }
  }

  private nested(written: unknown, depth: number): unknown {
    if (typeof written !== "object" || written === null) return written;
    if (depth > NESTED_MAX) this.fail(`is nested deeper than ${NESTED_MAX}`);
    if (Array.isArray(written)) {
      const array = written.map((item) => this.nested(item, depth + 1));
      this.fresh?.add(array);
      return array;
    }
    const object: Fields = {};
    this.fresh?.add(object);
    for (const [member, value] of Object.entries(written)) {
      if (member === "@" || member === "$" || member === "$code") return this.value(written);
      const name = nameOf(member);
      if (member[0] === "@" || (member[0] === "$" && name[0] !== "$" && name[0] !== "@"))
        this.fail(`is no value: ${member.slice(0, 20)}`);
      if (isHidden(name, Object.prototype)) this.fail(`has a member with a name that every object has: ${name}`);
      object[name] = this.nested(value, depth + 1);
    }
    return object;
  }
  /** With remade objects in the places of those that stood for them. */
  private resolved(value: unknown): unknown {
    if (value instanceof Pending) return value.entry.object;
    if (typeof value !== "object" || value === null || !this.fresh?.delete(value)) return value;
    const object = value as Fields;
    for (const name of Object.keys(object)) object[name] = this.resolved(object[name]);
    return object;
  }

  // Fields.

  private fill(entry: Entry): void {
    if (entry.pending !== null || entry.object === null) return;
    this.look(entry);
    const { type, plan } = entry;
    if (plan !== null) this.fillInstance(entry, plan);
    else if (type === "array") this.fillArray(entry);
    else if (type === "object" || type === "dictionary") this.fillPlain(entry);
    else if (type === "map" || type === "set") {
      if (!this.fillCollection(entry)) this.collections.push(entry);
    }
  }

  private fillArray(entry: Entry): void {
    this.only(entry, ["items"]);
    const { items } = entry.record;
    if (!Array.isArray(items)) this.fail("has no items");
    const array = entry.object as unknown[];
    // Long ones with holes are made sparse at once.
    let length = 0;
    for (const item of items) length += this.holesAt(item) || 1;
    if (length > ARRAY_MAX) this.fail(`is longer than ${ARRAY_MAX}`);
    if (length !== items.length) {
      if (length < SPARSE_MIN) this.holes += length - items.length;
      if (this.holes > HOLES_MAX) this.fail(`arrays have more than ${HOLES_MAX} holes together`);
      array.length = length;
    }
    let at = 0;
    for (const item of items as unknown[]) {
      const holes = this.holesAt(item);
      if (holes > 0) {
        at += holes;
        continue;
      }
      this.field = at;
      this.assign(entry, array as unknown as Fields, at as unknown as string, this.value(item));
      at++;
    }
    if (array.length < at) array.length = at;
  }
  /** How many holes an item stands for; 0: it is none. */
  private holesAt(item: unknown): number {
    if (!isObject(item)) return 0;
    if (item["$"] === "hole") return 1;
    const count = item["$holes"];
    if (count === undefined) return 0;
    if (!isCount(count, ARRAY_MAX) || count < 2) this.fail("has holes without a number");
    return count;
  }

  private assign(entry: Entry, object: Fields, name: string, value: unknown): void {
    if (value instanceof Pending) {
      object[name] = undefined;
      this.references.push({ entry, object, name, pending: value });
    } else object[name] = value;
  }

  private nameOfField(written: string, prototype: object | null): string {
    const name = nameOf(written);
    if (written !== writtenName(name)) this.fail(`has a member that it cannot have: ${written.slice(0, 100)}`);
    if (isHidden(name, prototype)) this.fail(`has a field that would hide what the type itself has: ${name}`);
    return name;
  }

  private fillPlain(entry: Entry): void {
    const { record } = entry;
    const prototype = entry.type === "object" ? Object.prototype : null;
    for (const written of Object.keys(record)) {
      if (written === "id" || written === "type") continue;
      this.field = null;
      const name = this.nameOfField(written, prototype);
      this.field = name;
      this.assign(entry, entry.object as Fields, name, this.value(record[written]));
    }
  }

  /** False: something in it is still to be remade. */
  private fillCollection(entry: Entry): boolean {
    const { object } = entry;
    if (object instanceof Set) {
      this.only(entry, ["items"]);
      const { items } = entry.record;
      if (!Array.isArray(items)) this.fail("has no items");
      for (const item of items as unknown[]) {
        const value = this.value(item);
        if (value instanceof Pending) {
          object.clear();
          return false;
        }
        object.add(value);
      }
      if (object.size !== items.length) this.fail("has an item twice");
      return true;
    }
    const map = object as Map<unknown, unknown>;
    this.only(entry, ["entries"]);
    const { entries } = entry.record;
    if (!Array.isArray(entries)) this.fail("has no entries");
    for (const pair of entries as unknown[]) {
      if (!Array.isArray(pair) || pair.length !== 2) this.fail("has something else than pairs");
      const key = this.value(pair[0]);
      const value = this.value(pair[1]);
      if (key instanceof Pending || value instanceof Pending) {
        map.clear();
        return false;
      }
      map.set(key, value);
    }
    if (map.size !== entries.length) this.fail("has a key twice");
    return true;
  }

  private fillInstance(entry: Entry, plan: Plan): void {
    const object = entry.object as Fields;
    const { record } = entry;
    if (!plan.isCurrent(record["v"])) {
      for (const [name, value] of this.migrated(entry, plan)) {
        const special = plan.special.get(name);
        if (special === undefined) this.assign(entry, object, name, value);
        else this.setSpecial(entry, object, name, special, null, value);
      }
      const absent = [...plan.missing].filter(([name]) => !Object.hasOwn(object, name));
      for (const [name, make] of absent) this.makeLater(entry, object, name, make);
      return;
    }
    const members = Object.keys(record);
    let { shape } = plan;
    if (shape === null || !isSame(shape.members, members)) {
      shape = this.shapeOf(members, plan);
      plan.shape = shape;
    }
    const { names, special, absent, kinds } = shape;
    for (let i = 0; i < members.length; i++) {
      const name = names[i] ?? null;
      if (name === null) continue;
      const written = record[members[i]!];
      this.field = name;
      if (special[i] === undefined) {
        if (kinds[i]?.allows(written, this.typeOf, this.hasNumber) === false) this.fail(`is no ${kinds[i]}`);
        if (typeof written !== "object" || written === null) object[name] = written;
        else this.assign(entry, object, name, this.value(written));
      } else {
        this.setSpecial(entry, object, name, special[i]!, written, null);
      }
    }
    for (const [name, make] of absent) this.makeLater(entry, object, name, make);
  }

  /** A transient field, or one that came later. It has its place among the fields from now on. */
  private makeLater(entry: Entry, object: Fields, name: string, make: Made): void {
    if (!Object.hasOwn(object, name)) object[name] = undefined;
    this.transients.push({ entry, object, name, make });
  }

  /** By the schema; and that no field is new or gone. */
  private kindsOf(names: readonly (string | null)[], { declared, missing }: Plan): (FieldKinds | undefined)[] {
    const known = this.schema?.[declared.name];
    if (
      known === undefined ||
      JSON.stringify(known.v) !== JSON.stringify(versionsOf(declared.type.prototype as object))
    )
      return [];
    for (const [name, kinds] of Object.entries(known.fields))
      if (!names.includes(name) && !kinds.includes("absent") && !missing.has(name)) this.fail(`has no field ${name}`);
    return names.map((name) => {
      if (name === null) return undefined;
      if (!Object.hasOwn(known.fields, name)) this.fail(`has a field that its class has not: ${name}`);
      return new FieldKinds(known.fields[name]!);
    });
  }
  private readonly hasNumber = (id: unknown): boolean => {
    const entry = this.entryOf(id);
    return typeof entry?.record["fd"] === "number" && entry.plan?.special.has("fd") !== true;
  };
  private readonly typeOf = (id: unknown): string | undefined => this.entryOf(id)?.type;

  private shapeOf(members: readonly string[], plan: Plan): Shape {
    this.field = null;
    const names = members.map((member) => (isOfLine(member) ? null : this.nameOfField(member, plan.prototype)));
    const absent = [...plan.missing].filter(([name]) => !names.includes(name));
    return {
      members,
      names,
      special: names.map((name) => (name === null ? undefined : plan.special.get(name))),
      absent,
      kinds: this.kindsOf(names, plan),
    };
  }

  private setSpecial(
    entry: Entry,
    object: Fields,
    name: string,
    special: Form<object> | Made,
    written: unknown,
    saved: unknown,
  ): void {
    if (typeof special === "function") {
      this.makeLater(entry, object, name, special);
      return;
    }
    if (!Object.hasOwn(object, name)) object[name] = undefined;
    this.forms.push({ entry, object, name, form: special, written, saved });
  }

  /** The fields of an older version, as those of this one. */
  private migrated(entry: Entry, { rules, versions, prototype, special }: Plan): [name: string, value: unknown][] {
    const found = [entry.record["v"]].flat() as number[];
    const fields = Object.create(null) as Fields;
    this.fresh ??= new Set();
    for (const [written, value] of Object.entries(entry.record)) {
      if (isOfLine(written) || isTransient(value)) continue;
      const name = nameOf(written);
      this.field = name;
      // What has another form now may have had none, and the other way round.
      fields[name] = this.nested(value, 0);
    }
    this.field = null;
    for (let i = rules.length - 1; i >= 0; i--) {
      const from = found[i] ?? 1;
      if (from === (versions[i] ?? 1)) continue;
      const { migrate } = rules[i]!;
      if (migrate === undefined) this.fail(`is of version ${from}, which nobody knows any more`);
      migrate.call(rules[i], fields, from);
    }
    for (const name of Object.keys(fields))
      if (isHidden(name, prototype)) this.fail(`has a field that would hide what the type itself has: ${name}`);
    // What is transient now has its value from the rules.
    return Object.entries(fields).filter(([name]) => typeof special.get(name) !== "function");
  }

  // Objects that are made again.

  private remake(first: Pending): void {
    const stack = [first];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const { entry } = top;
      if (entry.object !== null) {
        stack.pop();
        continue;
      }
      this.look(entry);
      const met: Pending[] = [];
      this.met = met;
      const key = this.nested(entry.record["remade"], 0);
      this.met = null;
      if (met.length > 0) {
        // Those are made first. Whatever has begun and is not made is one of those that wait for this one.
        top.begun = true;
        for (const needed of met) {
          if (needed.begun) this.fail(`is made again from itself, by way of object ${needed.entry.id}`);
          stack.push(needed);
        }
        continue;
      }
      const { declared } = entry.plan!;
      const made = declared.remaking!.make(key, this);
      if (!(made instanceof (declared.type as abstract new () => object))) this.fail("could not be made again");
      entry.object = made;
      stack.pop();
    }
  }
}

const isTransient = (value: unknown): boolean => isObject(value) && value["$"] === "transient";
