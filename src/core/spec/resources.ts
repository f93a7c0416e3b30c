/** `linux.resources`, as `update` changes it. */
import type { Resources } from "./schema.ts";

/** Groups of `more` replace single fields of `old`. */
export function mergeResources(old: Resources | undefined, more: Resources): Resources {
  const merged: Record<string, unknown> = { ...old };
  for (const [group, fields] of Object.entries(more)) {
    const before = merged[group];
    merged[group] =
      typeof fields === "object" && !Array.isArray(fields) && typeof before === "object" && before !== null
        ? { ...before, ...fields }
        : fields;
  }
  return merged as Resources;
}
