/**
 * Go's reading of a command line, as runc's callers rely on it (Go's package `flag`, urfave/cli): `-flag`, `--flag`,
 * `--flag=value` and `--flag value` are the same, a value is any word, also one that begins with a dash or is empty, and
 * stays the text that it is; where a command asks for it, the first operand ends the flags.
 */
import { dashed, didYouMean, type Flags, usage } from "./flags.ts";

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
