/**
 * What can be reached from an object by properties, elements, keys and values: for tests that nothing of what has been
 * taken away is held. Weak references do not count.
 */

/** Typed arrays and the like hold nothing. */
const isPlain = (value: unknown): boolean =>
  ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof WeakMap || value instanceof WeakSet;

/** How `target` is reached from `root`, as ".field[3].name"; null: not at all. Breadth first, so one of the shortest ways. */
export function wayTo(root: object, target: object): string | null {
  const seen = new Set<object>([root]);
  let now: [at: object, way: string][] = [[root, ""]];
  while (now.length > 0) {
    const next: typeof now = [];
    const look = (value: unknown, way: string) => {
      if ((typeof value !== "object" && typeof value !== "function") || value === null) return;
      if (seen.has(value) || isPlain(value)) return;
      seen.add(value);
      next.push([value, way]);
    };
    for (const [at, way] of now) {
      if (at === target) return way;
      if (at instanceof Map)
        for (const [key, value] of at) {
          look(key, `${way}<key>`);
          look(value, `${way}[${String(typeof key === "object" ? "{}" : key)}]`);
        }
      else if (at instanceof Set) for (const value of at) look(value, `${way}<member>`);
      for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at))) look(value, `${way}.${key}`);
    }
    now = next;
  }
  return null;
}
