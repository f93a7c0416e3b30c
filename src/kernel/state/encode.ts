/**
 * How a saved kernel is written down, for its writer (save.ts) and its reader (restore.ts): one line of JSON for each
 * object, `{"id":12,"type":"tcp-socket","v":1, …fields}`, the root first.
 *
 * Values are JSON's; what that lacks is an object with one member: `{"@":13}` refers to another line, `{"$":"inf"}` is one of
 * the words below, `{"$holes":3}` stands for holes of an array, `{"$code":"name"}` for what the program brings along.
 * Fields have their own names, but for those that a line needs itself, and those that begin with "$": one more "$" before.
 *
 * Arrays, plain objects, maps, sets, buffers and views of them are lines too, so that what is shared stays shared. Only what
 * a class's rules make of a field, and the keys of remade objects, are written in their place: there a member that begins
 * with "@" or "$" gets one more "$".
 */

/** An image that cannot be restored: which part of it, and why. */
export class ImageError extends Error {
  override name = "ImageError";
}

/** Types of lines that are no class. */
export const BUILT_IN: ReadonlySet<string> = new Set([
  "array",
  "object",
  "dictionary",
  "map",
  "set",
  "buffer",
  "bytes",
]);

/** Members of a line that are not fields of the object. `remade` has the key of one that is made again. */
const OF_LINE: ReadonlySet<string> = new Set(["id", "type", "v", "remade"]);
export const isOfLine = (written: string): boolean => OF_LINE.has(written);
export const writtenName = (name: string): string => (name[0] === "$" || OF_LINE.has(name) ? `$${name}` : name);
export const nameOf = (written: string): string => (written[0] === "$" ? written.slice(1) : written);

export const writtenMember = (name: string): string => (name[0] === "$" || name[0] === "@" ? `$${name}` : name);

export const UNDEFINED = '{"$":"undefined"}';
export const TRANSIENT = '{"$":"transient"}';
export const HOLE = '{"$":"hole"}';
export const holes = (count: number): string => (count === 1 ? HOLE : `{"$holes":${count}}`);
export const codeText = (name: string): string => `{"$code":${JSON.stringify(name)}}`;

export function numberText(value: number): string {
  if (value === 0) return Object.is(value, -0) ? '{"$":"-0"}' : "0";
  if (Number.isFinite(value)) return `${value}`;
  return Number.isNaN(value) ? '{"$":"nan"}' : value > 0 ? '{"$":"inf"}' : '{"$":"-inf"}';
}

/** Values by the words that stand for them; holes and transient fields are no values. */
export const WORDS: ReadonlyMap<unknown, unknown> = new Map<unknown, unknown>([
  ["inf", Number.POSITIVE_INFINITY],
  ["-inf", Number.NEGATIVE_INFINITY],
  ["nan", Number.NaN],
  ["-0", -0],
  ["undefined", undefined],
]);

/** How deep values may be nested that are written in their place. */
export const NESTED_MAX = 32;
/** Bytes of buffers from here on lie in the image's pages. */
export const STORED_MIN = 4096;

export type View = ArrayBufferView<ArrayBuffer>;

interface ViewKind {
  readonly name: string;
  readonly prototype: object;
  readonly elementSize: number;
  make(buffer: ArrayBuffer, offset: number, length: number): View;
}

/** Length is in elements. */
const VIEWS: readonly ViewKind[] = [
  ...[
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
  ].map((type) => ({
    name: type.name,
    prototype: type.prototype,
    elementSize: type.BYTES_PER_ELEMENT,
    make: (buffer: ArrayBuffer, offset: number, length: number): View => new type(buffer, offset, length),
  })),
  {
    name: "Buffer",
    prototype: Buffer.prototype,
    elementSize: 1,
    make: (buffer, offset, length) => Buffer.from(buffer, offset, length),
  },
  {
    name: "DataView",
    prototype: DataView.prototype,
    elementSize: 1,
    make: (buffer, offset, length) => new DataView(buffer, offset, length),
  },
];
export const viewNamed = (name: unknown): ViewKind | undefined => VIEWS.find((kind) => kind.name === name);
export const viewOf = (prototype: object): ViewKind | undefined => VIEWS.find((kind) => kind.prototype === prototype);

/** A field of this name would hide what the class or every object has: a saved one is never called so. */
export const isHidden = (name: string, prototype: object | null): boolean =>
  name === "__proto__" || (prototype !== null && name in prototype);

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
