/**
 * Flags: one declaration gives parsing, help and validation.
 *
 *   const flags = { bundle: flag.string({ short: "b", value: "PATH", help: "directory of the bundle" }) };
 *
 * The command line is runc's (Go's `flag` with urfave/cli): `-flag`, `--flag`, `--flag=value` and `--flag value` all
 * occur among its callers. cac's parser cannot serve: it reads `-bundle` as six letters, permutes arguments past the
 * first positional, and has no repeatable or optional values told apart; so this is a small parser of our own.
 *
 * A flag's `schema` is asked for only when the flag was given: valibot is loaded for nobody else.
 */
import type { GenericSchema } from "valibot";
import { RuntimeError } from "./errors.ts";

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

export interface ParsedFlags {
  values: Record<string, unknown>;
  /** Names (of the declaration) that were given. */
  given: Set<string>;
  positionals: string[];
}

export interface ParseOptions {
  /** Everything from the first positional on is positional. */
  stopAtPositional?: boolean;
  /** Unknown flags are skipped (as if they took no value) rather than refused. */
  tolerant?: boolean;
  /** For messages: "runts create". */
  who: string;
}

/** Reads `argv` by the declarations. Throws RuntimeError "usage". Schemas are checked by `checkFlags`. */
export function parseFlags(flags: Flags, argv: readonly string[], options: ParseOptions): ParsedFlags {
  const byName = new Map<string, string>();
  for (const [name, declaration] of Object.entries(flags)) {
    byName.set(dashed(name), name);
    if (declaration.short !== undefined) byName.set(declaration.short, name);
  }
  const values: Record<string, unknown> = {};
  for (const [name, declaration] of Object.entries(flags)) {
    if (declaration.type === "boolean") values[name] = false;
    else if (declaration.type === "list") values[name] = [];
    else if (declaration.type !== "optional") values[name] = declaration.default;
  }
  const given = new Set<string>();
  const positionals: string[] = [];

  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!;
    if (word === "--") {
      positionals.push(...argv.slice(i + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      if (options.stopAtPositional) {
        positionals.push(...argv.slice(i));
        break;
      }
      positionals.push(word);
      continue;
    }
    const text = word.startsWith("--") ? word.slice(2) : word.slice(1);
    const equals = text.indexOf("=");
    const typed = equals < 0 ? text : text.slice(0, equals);
    let value = equals < 0 ? undefined : text.slice(equals + 1);
    const name = byName.get(typed);
    if (name === undefined) {
      // -it for -i -t, as people are used to from elsewhere; only if every letter is a boolean of its own.
      const letters = [...typed].map((letter) => byName.get(letter));
      if (
        !word.startsWith("--") &&
        value === undefined &&
        typed.length > 1 &&
        letters.every((letter) => letter !== undefined && flags[letter]!.type === "boolean")
      ) {
        for (const letter of letters) {
          values[letter!] = true;
          given.add(letter!);
        }
        continue;
      }
      if (options.tolerant) continue;
      const known = Object.keys(flags).filter((each) => !flags[each]!.hidden);
      throw usage(options.who, `unknown flag ${word.split("=")[0]}${didYouMean(typed, known.map(dashed), "--")}`);
    }
    const declaration = flags[name]!;
    given.add(name);
    if (declaration.type === "boolean") {
      const on = value === undefined ? true : parseBoolean(value);
      if (on === undefined) throw usage(options.who, `flag --${dashed(name)}: "${value}" is neither true nor false`);
      values[name] = on;
      continue;
    }
    if (declaration.type === "optional") {
      values[name] = value ?? true;
      continue;
    }
    if (value === undefined) {
      if (i + 1 >= argv.length) throw usage(options.who, `flag --${dashed(name)} needs a value`);
      value = argv[++i]!;
    }
    if (declaration.type === "list") (values[name] as string[]).push(value);
    else if (declaration.type === "integer") {
      if (!/^[+-]?\d+$/.test(value) || !Number.isSafeInteger(Number(value)))
        throw usage(options.who, `flag --${dashed(name)}: "${value}" is not a whole number`);
      values[name] = Number(value);
    } else values[name] = value;
  }
  return { values, given, positionals };
}

/** What Go's strconv.ParseBool takes. */
function parseBoolean(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
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

/** The lines of a help text that list flags. */
export function flagHelp(flags: Flags): string {
  const rows = Object.entries(flags)
    .filter(([, declaration]) => !declaration.hidden)
    .map(([name, declaration]) => {
      const value = declaration.value ?? "VALUE";
      const suffix =
        declaration.type === "boolean" ? "" : declaration.type === "optional" ? `[=${value}]` : ` ${value}`;
      const short = declaration.short === undefined ? "" : `, -${declaration.short}`;
      const fallback =
        (declaration.type === "string" || declaration.type === "integer") && declaration.default !== undefined
          ? ` (default: ${declaration.default})`
          : "";
      const repeat = declaration.type === "list" ? " (may be repeated)" : "";
      return [`--${dashed(name)}${short}${suffix}`, `${declaration.help}${repeat}${fallback}`] as const;
    });
  return table(rows);
}

/** Two columns, the first as wide as needed up to a bound, the second wrapped at 80. */
export function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.min(28, Math.max(0, ...rows.map(([left]) => left.length)));
  const lines: string[] = [];
  for (const [left, right] of rows) {
    let line = `  ${left.padEnd(width)}  `;
    if (left.length > width) {
      lines.push(`  ${left}`);
      line = " ".repeat(width + 4);
    }
    for (const word of right.split(" ")) {
      if (line.length + word.length > 80 && line.trim() !== "") {
        lines.push(line.trimEnd());
        line = " ".repeat(width + 4);
      }
      line += `${word} `;
    }
    lines.push(line.trimEnd());
  }
  return lines.map((line) => `${line}\n`).join("");
}
