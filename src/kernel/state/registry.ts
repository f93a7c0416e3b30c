/**
 * What is known of the kernel's classes when its state is written down: one line for each class, beside it.
 *
 * `persistent` is the rule: every field is saved by its name, so a new field needs nothing. Only what is not plain is
 * declared: fields that are not saved, or in another form. `remade` objects are not saved at all, but made or looked up
 * again from a key. `code` is what the program itself brings along (functions, tables of functions): saved by its name.
 * `perCall` objects live within one turn of the kernel's loop and are never met between two.
 *
 * Names are given here and stay: those of classes do not survive bundling.
 */
import { BUILT_IN } from "./encode.ts";
import type { Restore } from "./restore.ts";
import type { Save } from "./save.ts";

/** A class, abstract or not, with whatever constructor: that is not called. */
export interface Class<T extends object = object> {
  readonly prototype: T;
  readonly name: string;
}

/** A field in another form. What `save` returns is saved in its place: plain data, and references to other objects. */
export interface Form<T> {
  save(value: never, object: T, save: Save): unknown;
  /** Called when every object is there, and its plain fields are filled. */
  restore(saved: never, object: T, restore: Restore): unknown;
}

/** A form whose module may need that of the class first. */
export function later<T>(form: () => Form<T>): Form<T> {
  return {
    save: (value, object, save) => form().save(value, object, save),
    restore: (saved, object, restore) => form().restore(saved, object, restore),
  };
}

/** What is not plain about a class. Fields by name: private ones too. Subclasses inherit it, and may add to it. */
export interface Rules<T> {
  /** Raised when fields change their meaning; 1 by default. */
  version?: number;
  /** Turns the fields of an older version into those of this one. */
  migrate?(fields: Record<string, unknown>, from: number): void;
  /** Not saved; what each has afterwards. */
  transient?: Record<string, (object: T, restore: Restore) => unknown>;
  as?: Record<string, Form<T>>;
  /** Fields that came later, without a new version: what they are where an older image has none. */
  added?: Record<string, (object: T, restore: Restore) => unknown>;
  /** What it depends on the host for is opened anew: after all fields are filled, in the order of the saved objects. */
  reopen?(object: T, restore: Restore): void;
  /** After everything has been reopened. */
  restored?(object: T, restore: Restore): void;
}

/** How an object that is not saved is found again. */
export interface Remaking<T, K> {
  /** Plain data and references to objects that are saved; null: this one is saved after all, as `persistent` says. */
  key(object: T, save: Save): K | null;
  /** Called when every object is there and its plain fields are filled. */
  make(key: K, restore: Restore): T;
}

export interface Declared {
  readonly name: string;
  readonly type: Class;
  readonly rules: Rules<object>;
  readonly remaking: Remaking<object, unknown> | null;
}

const byClass = new Map<object, Declared>();
const byName = new Map<string, Declared>();
const codeByName = new Map<string, object>();
const nameOfCode = new Map<object, string>();
const callClasses = new Set<object>();

function declare(name: string, type: Class, rules: Rules<object>, remaking: Remaking<object, unknown> | null): void {
  if (BUILT_IN.has(name)) throw new Error(`no class can be saved under the name ${name}: what is no class has it`);
  if (byName.has(name)) throw new Error(`two classes are saved under the name ${name}`);
  if (byClass.has(type.prototype)) throw new Error(`a class is saved under ${name} and another name`);
  const declared = { name, type, rules, remaking };
  byName.set(name, declared);
  byClass.set(type.prototype, declared);
}

/** Objects of the class are saved with all their fields, but for what the rules say. */
export function persistent<T extends object>(name: string, type: Class<T>, rules: Rules<T> = {}): void {
  declare(name, type, rules as Rules<object>, null);
}

/** Objects of the class are not saved, but made or looked up again. `rules` are for those whose key is null. */
export function remade<T extends object, K>(
  name: string,
  type: Class<T>,
  remaking: Remaking<T, K>,
  rules: Rules<T> = {},
): void {
  declare(name, type, rules as Rules<object>, remaking as unknown as Remaking<object, unknown>);
}

/** A function, or a table with functions in it, that the program brings along: the same after a restore. Returns it. */
export function code<T extends object>(name: string, value: T): T {
  if (codeByName.has(name)) throw new Error(`two pieces of code are saved under the name ${name}`);
  codeByName.set(name, value);
  nameOfCode.set(value, name);
  return value;
}

/** Objects of the class live for one turn of the kernel's loop. */
export function perCall(type: Class): void {
  callClasses.add(type.prototype);
}

export const declaredAs = (name: string): Declared | undefined => byName.get(name);
export const declaredOf = (prototype: object): Declared | undefined => byClass.get(prototype);
export const codeNamed = (name: string): object | undefined => codeByName.get(name);
export const codeName = (value: object): string | undefined => nameOfCode.get(value);
export const isPerCall = (prototype: object): boolean => callClasses.has(prototype);
export const everyDeclared = (): Iterable<Declared> => byName.values();

/** The rules of a class and of those that it extends, nearest first. */
export function rulesOf(prototype: object): Rules<object>[] {
  const found: Rules<object>[] = [];
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const declared = byClass.get(at);
    if (declared !== undefined) found.push(declared.rules);
  }
  return found;
}

/** The version of a class; where classes that it extends have others than 1, all of them, nearest first. */
export function versionsOf(prototype: object): number | number[] {
  const versions = rulesOf(prototype).map(({ version }) => version ?? 1);
  while (versions.length > 1 && versions.at(-1) === 1) versions.pop();
  return versions.length > 1 ? versions : (versions[0] ?? 1);
}
