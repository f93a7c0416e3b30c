/**
 * Writes down a kernel: everything that can be reached from a root, each object once, in the order in which it is first
 * referred to (breadth first). So the lines depend on nothing but the graph and the order of its fields, and a restored kernel
 * is written down as the same bytes.
 *
 * In two steps, since the kernel must stand still for the first: `save` finds every object and takes its fields as they are,
 * then the lines are made of that while the kernel goes on.
 *
 * What may be in the graph: primitives but symbols and bigints, arrays, plain objects, maps, sets, buffers and their views,
 * objects of declared classes, and code by its name (registry.ts). Anything else is an error with the way to it.
 */
import type { Kernel } from "../kernel.ts";
import {
  codeText,
  holes,
  isHidden,
  NESTED_MAX,
  numberText,
  STORED_MIN,
  TRANSIENT,
  UNDEFINED,
  type View,
  viewOf,
  writtenMember,
  writtenName,
} from "./encode.ts";
import type { HostSink } from "./host.ts";
import {
  type Class,
  codeName,
  type Declared,
  declaredOf,
  type Form,
  isPerCall,
  rulesOf,
  versionsOf,
} from "./registry.ts";

/** Something in the graph that cannot be saved. */
export class SaveError extends Error {
  override name = "SaveError";
}

/** A reference to another object, for what rules make of a field: what is a plain object or an array is copied otherwise. */
export class Reference {
  constructor(readonly text: string) {}
}

const ARRAY = 0;
const PLAIN = 1;
const MAP = 2;
const SET = 3;
const BUFFER = 4;
const BYTES = 5;
const INSTANCE = 6;

type Key = string | symbol;
type Special = Form<object> | "transient" | undefined;

/** How objects with these fields in this order are written. */
interface Shape {
  readonly keys: readonly Key[];
  /** `,"name":` of each. */
  readonly parts: readonly string[];
  /** What is not plain about each. */
  readonly special: readonly Special[];
}

/** Of one class, remembered. */
const SHAPES_MAX = 64;

/** What objects with this prototype are written by. */
class Plan {
  readonly kind: number;
  readonly name: string;
  /** `,"type":"name","v":1`. */
  readonly head: string;
  readonly remaking: Declared["remaking"];
  /** Why no object of it can be saved, or null. */
  readonly refusal: string | null;
  readonly special = new Map<string, Form<object> | "transient">();
  /** That of the object before, which most others have too. */
  private shape: Shape | null = null;
  private readonly shapes: Shape[] = [];

  constructor(readonly prototype: object | null) {
    const declared = prototype === null ? undefined : declaredOf(prototype);
    this.kind = kindOf(prototype);
    this.refusal = this.kind === INSTANCE ? whyNot(prototype!, declared !== undefined) : null;
    this.remaking = declared?.remaking ?? null;
    this.name = declared?.name ?? prototype?.constructor?.name ?? "object";
    if (this.kind !== INSTANCE || prototype === null) {
      this.head = `,"type":"${prototype === null ? "dictionary" : "object"}"`;
      return;
    }
    this.head = `,"type":${JSON.stringify(this.name)},"v":${JSON.stringify(versionsOf(prototype))}`;
    for (const rules of rulesOf(prototype).reverse()) {
      for (const [name, form] of Object.entries(rules.as ?? {})) this.special.set(name, form);
      for (const name of Object.keys(rules.transient ?? {})) this.special.set(name, "transient");
    }
  }

  shapeOf(keys: readonly Key[]): Shape {
    if (this.shape !== null && sameKeys(this.shape.keys, keys)) return this.shape;
    let shape = this.shapes.find((known) => sameKeys(known.keys, keys));
    if (shape === undefined) {
      const names = keys.map((key) => key.toString());
      shape = {
        keys,
        parts: names.map((name) => `,${JSON.stringify(writtenName(name))}:`),
        special: names.map((name) => this.special.get(name)),
      };
      if (this.shapes.length < SHAPES_MAX) this.shapes.push(shape);
    }
    this.shape = shape;
    return shape;
  }

  /** Why a field cannot be called so, or null. */
  refuses(key: Key): string | null {
    if (typeof key === "symbol") return "is named by a symbol";
    return isHidden(key, this.prototype) ? "has the name of something that its class has" : null;
  }
}

function kindOf(prototype: object | null): number {
  switch (prototype) {
    case Array.prototype:
      return ARRAY;
    case Object.prototype:
    case null:
      return PLAIN;
    case Map.prototype:
      return MAP;
    case Set.prototype:
      return SET;
    case ArrayBuffer.prototype:
      return BUFFER;
    default:
      return viewOf(prototype) === undefined ? INSTANCE : BYTES;
  }
}

function sameKeys(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

const NO_KEYS: readonly Key[] = [];
/** Arrays from this length on may be mostly holes (the reader makes them so). */
const SPARSE_MIN = 100_000;

export class Save {
  /** The objects that have been met, by id, from 1 on; those that are code, below 0. */
  protected readonly ids = new Map<object, number>();
  private readonly codes: string[] = [""];
  /** Objects in the order of their ids, and which of them, by which field or element, referred to each first. */
  protected readonly objects: object[] = [];
  protected readonly parents: number[] = [];
  private readonly places: number[] = [];
  /** Of each: names of fields, or a map's keys; what is in it. A text is its line, whole. */
  private readonly keys: (readonly unknown[])[] = [];
  private readonly contents: (readonly unknown[] | string)[] = [];
  /** Of arrays that may be mostly holes. */
  private readonly lengths = new Map<number, number>();
  private readonly plans = new Map<object | null, Plan>();
  private objectAt = -1;
  private placeAt = 0;

  constructor(
    readonly kernel: Kernel,
    readonly sink: HostSink,
  ) {}

  /**
   * Takes everything that can be reached from `root` as it is now. The lines, without line ends, are made when they are asked
   * for; by then the graph may have changed. Both throw a SaveError: here what is a function or of no class, there
   * the rest (symbols, names of fields). Once.
   */
  save(root: object): Generator<string, void> {
    this.meet(root);
    const { objects } = this;
    for (let at = 0; at < objects.length; at++) {
      this.objectAt = at;
      this.take(objects[at]!, at);
    }
    return this.lines();
  }
  /** How many lines there are. */
  get count(): number {
    return this.objects.length;
  }

  /** For forms and keys: refers to an object, which is saved as well. Those of classes are referred to without asking. */
  ref(object: object): Reference {
    this.see(object);
    return new Reference(this.value(object));
  }

  // Errors.

  /** Something that cannot be saved, where the traversal is; what is written in its place, if it goes on at all. */
  protected refuse(reason: string): string {
    throw new SaveError(`${this.way()} ${reason}`);
  }
  /** The same of an object as a whole. */
  protected refuseObject(reason: string): void {
    throw new SaveError(`${this.wayTo(this.objectAt)} ${reason}`);
  }
  /** What a form or a key makes. */
  protected made(make: () => unknown): unknown {
    try {
      return make();
    } catch (error) {
      if (error instanceof SaveError) throw error;
      throw new SaveError(`${this.way()}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** How the traversal got to an object, such as `kernel.net.tcp`. */
  protected wayTo(which: number): string {
    const names: string[] = [];
    let at = which;
    for (; at > 0 && names.length < WAY_MAX; at = this.parents[at]!)
      names.push(this.nameOf(this.parents[at]!, this.places[at]!));
    if (at > 0) names.push("…");
    names.push(this.planOf(this.objects[0]!).name);
    return names.reverse().join(".");
  }
  /** To where the traversal is. */
  protected way(): string {
    const { kind, name } = this.planOf(this.objects[this.objectAt]!);
    const type = this.objectAt === 0 || kind !== INSTANCE ? "" : ` (${name})`;
    return `${this.wayTo(this.objectAt)}${type}.${this.nameOf(this.objectAt, this.placeAt)}`;
  }
  /** The same for all objects of a class. */
  protected place(): string {
    const { kind, name } = this.planOf(this.objects[this.objectAt]!);
    return kind === INSTANCE ? `${name}.${this.nameOf(this.objectAt, this.placeAt)}` : this.wayTo(this.objectAt);
  }
  /** Of a field, an element, or what a map has. */
  private nameOf(at: number, place: number): string {
    const keys = this.keys[at] ?? NO_KEYS;
    const key = keys[place];
    switch (this.planOf(this.objects[at]!).kind) {
      case PLAIN:
      case INSTANCE:
        return place < 0 ? "<key>" : String(key as Key);
      case MAP: {
        if (place < keys.length) return `<key ${place}>`;
        const of = keys[place - keys.length];
        return typeof of === "object" ? `<value ${place - keys.length}>` : String(of);
      }
      case BYTES:
        return "buffer";
      case SET:
        return `<member ${place}>`;
      default:
        return String(key ?? place);
    }
  }

  // First: what is there.

  protected planOf(object: object): Plan {
    const prototype = Object.getPrototypeOf(object) as object | null;
    let plan = this.plans.get(prototype);
    if (plan === undefined) {
      plan = new Plan(prototype);
      this.plans.set(prototype, plan);
    }
    return plan;
  }

  private meet(object: object): void {
    const name = codeName(object);
    if (name === undefined) {
      this.parents.push(this.objectAt);
      this.places.push(this.placeAt);
      this.ids.set(object, this.objects.push(object));
    } else this.ids.set(object, 1 - this.codes.push(name));
  }
  private see(value: unknown): void {
    if (typeof value === "object") {
      if (value !== null && !this.ids.has(value)) this.meet(value);
    } else if (typeof value === "function" && !this.ids.has(value)) {
      if (codeName(value) === undefined) this.refuse("is a function");
      else this.meet(value);
    }
  }
  private seeAll(values: readonly unknown[], from: number): void {
    const { ids } = this;
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (typeof value === "object" ? value === null || ids.has(value) : typeof value !== "function") continue;
      this.placeAt = from + i;
      this.see(value);
    }
  }

  protected take(object: object, at: number): void {
    const plan = this.planOf(object);
    let keys: readonly unknown[] = NO_KEYS;
    let contents: readonly unknown[] | string;
    switch (plan.kind) {
      case INSTANCE:
        if (plan.refusal !== null) this.refuseObject(plan.refusal);
        this.takeInstance(object as Record<string, unknown>, at, plan);
        return;
      case PLAIN:
        keys = Reflect.ownKeys(object);
        contents = Object.values(object);
        break;
      case ARRAY: {
        const array = object as unknown[];
        if (array.length >= SPARSE_MIN) {
          keys = Object.keys(array);
          contents = keys.map((key) => array[key as number]);
          this.lengths.set(at, array.length);
        } else contents = array.slice();
        break;
      }
      case MAP:
        keys = [...(object as Map<unknown, unknown>).keys()];
        contents = [...(object as Map<unknown, unknown>).values()];
        break;
      case SET:
        contents = [...(object as Set<unknown>)];
        break;
      case BUFFER:
        contents = this.buffer(object as ArrayBuffer, at + 1);
        break;
      default:
        if (!((object as View).buffer instanceof ArrayBuffer)) this.refuseObject("is a view of memory that is shared");
        contents = [(object as View).buffer];
    }
    this.keys[at] = keys;
    this.contents[at] = contents;
    if (typeof contents === "string") return;
    if (plan.kind === MAP) this.seeAll(keys, 0);
    this.seeAll(contents, plan.kind === MAP ? keys.length : 0);
  }

  private takeInstance(object: Record<string, unknown>, at: number, plan: Plan): void {
    const { remaking } = plan;
    if (remaking !== null && at > 0) {
      this.placeAt = -1;
      const key = this.made(() => remaking.key(object, this));
      if (key !== null) {
        this.keys[at] = NO_KEYS;
        this.contents[at] = `{"id":${at + 1}${plan.head},"remade":${this.nested(key, 0)}}`;
        return;
      }
    }
    const keys = Reflect.ownKeys(object);
    this.keys[at] = keys;
    const contents: unknown[] = Object.values(object);
    this.contents[at] = contents;
    if (plan.special.size === 0) {
      this.seeAll(contents, 0);
      return;
    }
    const { special } = plan.shapeOf(keys);
    for (let i = 0; i < special.length; i++) {
      const form = special[i];
      this.placeAt = i;
      if (form === undefined) this.see(contents[i]);
      else if (form === "transient") contents[i] = TRANSIENT;
      else {
        const saved = this.made(() => form.save(contents[i] as never, object, this));
        contents[i] = this.nested(saved, 0);
      }
    }
  }

  private buffer(buffer: ArrayBuffer, id: number): string {
    if (buffer.resizable || buffer.detached) this.refuseObject("is a buffer that changes its size");
    const head = `{"id":${id},"type":"buffer","length":${buffer.byteLength}`;
    if (buffer.byteLength < STORED_MIN) return `${head},"base64":"${Buffer.from(buffer).toString("base64")}"}`;
    return `${head},"at":${this.sink.storeBytes(new Uint8Array(buffer)).at}}`;
  }

  /** What a form or a key is: plain data in its place, references to everything else. */
  private nested(value: unknown, depth: number): string {
    if (typeof value !== "object" || value === null) {
      this.see(value);
      return this.value(value);
    }
    if (value instanceof Reference) return value.text;
    const isArray = Array.isArray(value);
    if ((!isArray && Object.getPrototypeOf(value) !== Object.prototype) || codeName(value) !== undefined) {
      this.see(value);
      return this.value(value);
    }
    if (depth === NESTED_MAX) return this.refuse(`is saved as something that is nested deeper than ${NESTED_MAX}`);
    if (isArray) return `[${Array.from(value, (item: unknown) => this.nested(item, depth + 1)).join(",")}]`;
    const members = Object.entries(value).map(
      ([name, member]) => `${JSON.stringify(writtenMember(name))}:${this.nested(member, depth + 1)}`,
    );
    return `{${members.join(",")}}`;
  }

  // Then: how that is written.

  private *lines(): Generator<string, void> {
    for (let at = 0; at < this.objects.length; at++) {
      this.objectAt = at;
      const contents = this.contents[at]!;
      yield typeof contents === "string" ? contents : this.line(at, contents);
    }
  }

  private line(at: number, contents: readonly unknown[]): string {
    const object = this.objects[at]!;
    const plan = this.planOf(object);
    switch (plan.kind) {
      case ARRAY:
        return `{"id":${at + 1},"type":"array","items":[${this.lengths.has(at) ? this.sparse(at, contents) : this.items(contents)}]}`;
      case SET:
        return `{"id":${at + 1},"type":"set","items":[${this.items(contents)}]}`;
      case MAP: {
        let text = `{"id":${at + 1},"type":"map","entries":[`;
        const keys = this.keys[at]!;
        for (let i = 0; i < keys.length; i++) {
          this.placeAt = i;
          text += `${i === 0 ? "[" : ",["}${this.value(keys[i])},`;
          this.placeAt = keys.length + i;
          text += `${this.value(contents[i])}]`;
        }
        return `${text}]}`;
      }
      case BYTES: {
        const view = object as View;
        const { name, elementSize } = viewOf(plan.prototype!)!;
        const rest = `"offset":${view.byteOffset},"length":${view.byteLength / elementSize}`;
        return `{"id":${at + 1},"type":"bytes","kind":"${name}","of":${this.value(contents[0])},${rest}}`;
      }
      default:
        return this.fields(at, plan, contents);
    }
  }

  private items(items: readonly unknown[]): string {
    let text = "";
    for (let i = 0; i < items.length; ) {
      const item = items[i];
      if (i > 0) text += ",";
      if (item === undefined && !(i in items)) {
        const from = i;
        while (i < items.length && !(i in items)) i++;
        text += holes(i - from);
        continue;
      }
      this.placeAt = i;
      text += this.value(item);
      i++;
    }
    return text;
  }

  private sparse(at: number, items: readonly unknown[]): string {
    const parts: string[] = [];
    const indices = this.keys[at]!;
    let next = 0;
    for (let i = 0; i < items.length; i++) {
      const index = Number(indices[i]);
      if (index > next) parts.push(holes(index - next));
      this.placeAt = i;
      parts.push(this.value(items[i]));
      next = index + 1;
    }
    const length = this.lengths.get(at)!;
    if (length > next) parts.push(holes(length - next));
    return parts.join(",");
  }

  private fields(at: number, plan: Plan, contents: readonly unknown[]): string {
    const keys = this.keys[at] as readonly Key[];
    const { parts, special } = this.checkedShape(plan, keys);
    if (keys.length !== contents.length) this.refuseObject("has fields that cannot be enumerated");
    let text = `{"id":${at + 1}${plan.head}`;
    for (let i = 0; i < contents.length; i++) {
      this.placeAt = i;
      text += parts[i]! + (special[i] === undefined ? this.value(contents[i]) : (contents[i] as string));
    }
    return `${text}}`;
  }
  private readonly checked = new Set<Shape>();
  private checkedShape(plan: Plan, keys: readonly Key[]): Shape {
    const shape = plan.shapeOf(keys);
    if (this.checked.has(shape)) return shape;
    for (let i = 0; i < keys.length; i++) {
      const reason = plan.refuses(keys[i]!);
      this.placeAt = i;
      if (reason !== null) this.refuse(reason);
    }
    this.checked.add(shape);
    return shape;
  }

  private value(value: unknown): string {
    switch (typeof value) {
      case "number":
        return numberText(value);
      case "string":
        return JSON.stringify(value);
      case "boolean":
        return value ? "true" : "false";
      case "undefined":
        return UNDEFINED;
      case "bigint":
      case "symbol":
        return this.refuse(`is a ${typeof value}`);
      default: {
        if (value === null) return "null";
        const id = this.ids.get(value as object);
        if (id === undefined) return "null";
        return id > 0 ? `{"@":${id}}` : codeText(this.codes[-id]!);
      }
    }
  }
}

/** Names of a way to an object, of a list with very many for example. */
const WAY_MAX = 64;

/** Why objects of a class cannot be saved, or null. */
function whyNot(prototype: object, isDeclared: boolean): string | null {
  const name = prototype.constructor?.name ?? "?";
  if (isPerCall(prototype)) return `is a ${name}, which lives for one call only`;
  if (BUILT_IN_OBJECTS.has(prototype)) return `is a ${name}`;
  if (NOT_EXTENDED.some((type) => prototype instanceof (type as unknown as abstract new () => object)))
    return `is a ${name}, which extends what is no class of ours`;
  return isDeclared ? null : `is of the class ${name}, which is not declared (state/registry.ts)`;
}
/** What they have beside their fields is not saved. */
const NOT_EXTENDED: readonly Class[] = [
  Array,
  Map,
  Set,
  ArrayBuffer,
  Uint8Array,
  DataView,
  Promise,
  WeakMap,
  Error,
  Date,
];
const BUILT_IN_OBJECTS: ReadonlySet<object> = new Set(
  [Promise, WeakMap, WeakSet, WeakRef, Date, RegExp, Error, SharedArrayBuffer, BigInt64Array, BigUint64Array].map(
    (type) => type.prototype as object,
  ),
);

/** Everything that stands in the way of saving what can be reached from `root`, each with the way to it. */
export function obstaclesOf(kernel: Kernel, root: object): string[] {
  const survey = new Survey(kernel);
  for (const _line of survey.save(root));
  return survey.found();
}

/**
 * What of module state two kernels have in common, each with the way to it: constants that are compared by identity are to be
 * declared by `code`, and anything else belongs to a kernel.
 */
export function sharedBy(a: Kernel, b: Kernel): string[] {
  const one = new Survey(a);
  const other = new Survey(b);
  for (const survey of [one, other]) for (const _line of survey.save(survey.kernel));
  return one.common(other);
}

/** A save that goes on where something cannot be saved, and looks closer. */
class Survey extends Save {
  /** By what is the same about them: where the first is, and how many there are. */
  private readonly obstacles = new Map<string, { text: string; count: number }>();
  /** Fields with rules that nobody has had yet, by class. */
  private readonly unseen = new Map<Plan, Set<string>>();

  constructor(kernel: Kernel) {
    super(kernel, {
      storeBytes: ({ length }) => ({ at: 0, length }),
      storeFile: (_fd, length) => ({ at: 0, length }),
    });
  }

  private note(same: string, text: string): void {
    const known = this.obstacles.get(same);
    if (known === undefined) this.obstacles.set(same, { text, count: 1 });
    else known.count++;
  }
  protected override refuse(reason: string): string {
    this.note(`${this.place()} ${reason}`, `${this.way()} ${reason}`);
    return "null";
  }
  protected override refuseObject(reason: string): void {
    try {
      super.refuseObject(reason);
    } catch (error) {
      this.note(reason, (error as Error).message);
    }
  }
  protected override made(make: () => unknown): unknown {
    try {
      return super.made(make);
    } catch (error) {
      this.note(`${this.place()} ${(error as Error).message.replace(/.*: /, "")}`, (error as Error).message);
      return null;
    }
  }
  protected override take(object: object, at: number): void {
    super.take(object, at);
    const plan = this.planOf(object);
    let unseen = this.unseen.get(plan);
    if (unseen === undefined) {
      unseen = new Set(plan.special.keys());
      this.unseen.set(plan, unseen);
    }
    for (const name of unseen) if (Object.hasOwn(object, name)) unseen.delete(name);
    if (Object.isFrozen(object) && !ArrayBuffer.isView(object))
      this.refuseObject("is frozen: a constant that is to be declared by `code`?");
    if (!ArrayBuffer.isView(object)) this.lookAtFields(object, plan);
  }
  /** That there are no others than those that are saved, and that they are values. */
  private lookAtFields(object: object, { kind }: Plan): void {
    for (const key of Reflect.ownKeys(object)) {
      const { get, set, enumerable } = Object.getOwnPropertyDescriptor(object, key)!;
      if (get !== undefined || set !== undefined) this.refuseObject(`has an accessor of its own, ${key.toString()}`);
      if (kind === INSTANCE || kind === PLAIN) {
        if (!enumerable) this.refuseObject(`has a field that cannot be enumerated, ${key.toString()}`);
      } else if (kind !== ARRAY || (key !== "length" && !(Number(key) >= 0)))
        this.refuseObject(`has a field beside what is saved of it, ${key.toString()}`);
    }
  }

  common(other: Survey): string[] {
    // Only the topmost of what hangs together.
    const isCommon = this.objects.map((object) => other.ids.has(object));
    return [...isCommon.keys()]
      .filter((at) => isCommon[at] && !isCommon[this.parents[at]!])
      .map((at) => this.wayTo(at));
  }

  found(): string[] {
    const lines = [...this.obstacles.values()].map(({ text, count }) =>
      count === 1 ? text : `${text} (and ${count - 1} more such)`,
    );
    for (const [plan, names] of this.unseen)
      for (const name of names) lines.push(`${plan.name} has a rule for ${name}, and no object of it has such a field`);
    return lines;
  }
}
