/**
 * Counts what the running kernel holds: every object that can be reached from it by properties, elements of arrays, maps
 * and sets, by class; and what the engine's heap has after a collection, which takes in what modules and closures keep.
 *
 * /dev/census is read as JSON. The second time it names, of each class that has grown, some of the new objects, by the
 * way that leads to them.
 */
import { heapStats } from "bun:jsc";
import { definePlugin } from "runts";

/** New objects of a class that are named. */
const NAMED_MAX = 3;
/** Kinds of the heap's cells that are made by code; the rest is the engine's own (structures, code, strings). */
const CELLS = [
  "Array",
  "ArrayBuffer",
  "Function",
  "Map",
  "Object",
  "Promise",
  "Set",
  "Uint8Array",
  "WeakMap",
  "WeakRef",
];

interface Census {
  /** Objects by class. */
  reachable: Record<string, number>;
  heap: Record<string, number>;
  /** By class: ways to objects that were not there the last time. */
  paths: Record<string, string[]>;
}

interface Step {
  object: object;
  from: Step | null;
  by: string;
}

/** The bundler may have put an underscore before it. */
const className = (object: object): string => {
  const name: unknown = Object.getPrototypeOf(object)?.constructor?.name;
  return typeof name === "string" && name !== "" ? name.replace(/^_+/, "") : "without a class";
};

function way(step: Step): string {
  const parts: string[] = [];
  for (let at: Step | null = step; at !== null; at = at.from) parts.unshift(`${at.by}<${className(at.object)}>`);
  return parts.join(" ");
}

function children(object: object, add: (value: unknown, by: string) => void): void {
  if (object instanceof Map) {
    let n = 0;
    for (const [key, value] of object) {
      add(key, `.key(${n})`);
      add(value, typeof key === "object" ? `.value(${n})` : `.get(${String(key)})`);
      n++;
    }
  } else if (object instanceof Set) {
    let n = 0;
    for (const value of object) add(value, `.member(${n++})`);
  }
  // Bytes are no objects, and too many.
  if (ArrayBuffer.isView(object) || object instanceof ArrayBuffer) return;
  for (const key of Object.getOwnPropertyNames(object)) {
    const property = Object.getOwnPropertyDescriptor(object, key);
    if (property !== undefined && "value" in property) add(property.value, `.${key}`);
  }
}

class Counter {
  private known = new WeakSet<object>();
  private before: Census | null = null;

  constructor(private readonly root: object) {}

  take(): Census {
    const census: Census = { reachable: {}, heap: {}, paths: {} };
    const { before } = this;
    const seen = new Set<object>();
    const fresh: Step[] = [];
    const queue: Step[] = [{ object: this.root, from: null, by: "kernel" }];
    seen.add(this.root);
    for (let at = 0; at < queue.length; at++) {
      const step = queue[at]!;
      const name = className(step.object);
      census.reachable[name] = (census.reachable[name] ?? 0) + 1;
      if (!this.known.has(step.object)) fresh.push(step);
      children(step.object, (value, by) => {
        if (typeof value !== "object" || value === null || seen.has(value)) return;
        seen.add(value);
        queue.push({ object: value, from: step, by });
      });
    }
    for (const step of fresh) {
      const name = className(step.object);
      if (before !== null && census.reachable[name]! > (before.reachable[name] ?? 0)) {
        census.paths[name] ??= [];
        if (census.paths[name].length < NAMED_MAX) census.paths[name].push(way(step));
      }
      this.known.add(step.object);
    }
    Bun.gc(true);
    const counts = heapStats().objectTypeCounts;
    for (const cell of CELLS) census.heap[cell] = counts[cell] ?? 0;
    this.before = census;
    return census;
  }
}

export default definePlugin({
  name: "census",
  description: "counts the kernel's objects",
  sandbox(kernel) {
    const counter = new Counter(kernel.internals as object);
    let text: Buffer = Buffer.of();
    kernel.device(
      "census",
      { major: 241, minor: 1, mode: 0o444 },
      {
        read(into, offset) {
          if (offset === 0) text = Buffer.from(JSON.stringify(counter.take()));
          const part = text.subarray(offset, offset + into.length);
          into.set(part);
          return part.length;
        },
      },
    );
  },
});
