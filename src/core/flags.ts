/**
 * Flags: one declaration gives parsing (go-flags.ts), cac's options with their help (cli.ts), types and validation.
 *
 *   const flags = { bundle: flag.string({ short: "b", value: "PATH", help: "directory of the bundle" }) };
 *
 * A flag's `schema` is asked for only when the flag was given: valibot is loaded for nobody else.
 */
import type { GenericSchema } from "valibot";
import { RuntimeError } from "./errors.ts";
import type { ParsedFlags } from "./go-flags.ts";

export type Valibot = typeof import("valibot");

interface FlagCommon {
  /** One line for the help text. */
  readonly help: string;
  /** One-letter name. */
  readonly short?: string;
  /** Taken, not shown: what runc's callers type and means nothing here, or hidden aids. */
  readonly hidden?: boolean;
  /** Checks the value (after its type was read); its message is shown with the flag's name. */
  readonly schema?: (v: Valibot) => GenericSchema;
  /** Shown in the help text in place of the value: "PATH". */
  readonly value?: string;
}
export interface BooleanFlag extends FlagCommon {
  readonly type: "boolean";
}
export interface StringFlag<D extends string | undefined = string | undefined> extends FlagCommon {
  readonly type: "string";
  readonly default: D;
}
export interface IntegerFlag<D extends number | undefined = number | undefined> extends FlagCommon {
  readonly type: "integer";
  readonly default: D;
}
/** May be given several times. */
export interface ListFlag extends FlagCommon {
  readonly type: "list";
}
/** `--flag` or `--flag=value`; never takes the next word. */
export interface OptionalFlag extends FlagCommon {
  readonly type: "optional";
}
export type Flag = BooleanFlag | StringFlag | IntegerFlag | ListFlag | OptionalFlag;
export type Flags = Readonly<Record<string, Flag>>;

type FlagValue<F extends Flag> = F extends BooleanFlag
  ? boolean
  : F extends StringFlag<infer D>
    ? D extends string
      ? string
      : string | undefined
    : F extends IntegerFlag<infer D>
      ? D extends number
        ? number
        : number | undefined
      : F extends ListFlag
        ? string[]
        : string | true | undefined;
/** Values by the names of the declaration (camel case stands for the dashes of the command line). */
export type FlagValues<F extends Flags> = { [K in keyof F]: FlagValue<F[K]> };

type Declared<F extends Flag> = Omit<F, "type" | "default">;
export const flag = {
  boolean: (f: Declared<BooleanFlag>): BooleanFlag => ({ ...f, type: "boolean" }),
  string: <D extends string | undefined = undefined>(f: Declared<StringFlag> & { default?: D }): StringFlag<D> => ({
    ...f,
    type: "string",
    default: f.default as D,
  }),
  integer: <D extends number | undefined = undefined>(f: Declared<IntegerFlag> & { default?: D }): IntegerFlag<D> => ({
    ...f,
    type: "integer",
    default: f.default as D,
  }),
  list: (f: Declared<ListFlag>): ListFlag => ({ ...f, type: "list" }),
  optional: (f: Declared<OptionalFlag>): OptionalFlag => ({ ...f, type: "optional" }),
};

/** "pidFile" → "pid-file". */
export function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** "pid-file" → "pidFile". */
export function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Runs the schemas of the flags that were given; their outputs replace the values. */
export async function checkFlags(flags: Flags, parsed: ParsedFlags, who: string): Promise<void> {
  for (const name of parsed.given) {
    const schema = flags[name]!.schema;
    if (schema === undefined) continue;
    const v = await import("valibot");
    const result = v.safeParse(schema(v), parsed.values[name]);
    if (!result.success) throw usage(who, `flag --${dashed(name)}: ${result.issues[0].message}`);
    parsed.values[name] = result.output;
  }
}

export function usage(who: string, message: string): RuntimeError {
  return new RuntimeError("usage", message, { action: who });
}

/** ', did you mean --bundle?' or nothing. */
export function didYouMean(typed: string, known: readonly string[], prefix = ""): string {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.min(3, Math.floor(typed.length / 2)));
  for (const candidate of known) {
    if (typed.length > 1 && candidate.startsWith(typed)) {
      best = candidate;
      break;
    }
    const distance = editDistance(typed, candidate);
    if (distance <= bestDistance && (best === undefined || distance < bestDistance)) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best === undefined ? "" : `, did you mean ${prefix}${best}?`;
}

/** Insertions, deletions, replacements and swaps of neighbours between two words. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      let cost = Math.min(
        rows[i - 1]![j]! + 1,
        row[j - 1]! + 1,
        rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, rows[i - 2]![j - 2]! + 1);
      row.push(cost);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
