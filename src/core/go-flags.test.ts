import { describe, expect, test } from "bun:test";
import { checkFlags, didYouMean, flag } from "./flags.ts";
import { parseFlags } from "./go-flags.ts";

const flags = {
  bundle: flag.string({ help: "", short: "b", default: "." }),
  pidFile: flag.string({ help: "" }),
  detach: flag.boolean({ help: "", short: "d" }),
  tty: flag.boolean({ help: "", short: "t" }),
  env: flag.list({ help: "", short: "e" }),
  preserveFds: flag.integer({ help: "", default: 0, schema: (v) => v.pipe(v.number(), v.maxValue(9, "too many")) }),
  strace: flag.optional({ help: "" }),
};
const parse = (argv: string[], stopAtPositional = false) =>
  parseFlags(flags, argv, { who: "runts test", stopAtPositional });
const failure = (argv: string[]): string => {
  try {
    parse(argv);
  } catch (error) {
    return (error as Error).message;
  }
  return "no error";
};

describe("the four spellings of runc's callers (3.1-spellings)", () => {
  for (const argv of [["--bundle", "/b"], ["--bundle=/b"], ["-bundle", "/b"], ["-bundle=/b"], ["-b", "/b"], ["-b=/b"]])
    test(argv.join(" "), () => expect(parse(argv).values["bundle"]).toBe("/b"));
  test("a value may start with a dash", () => expect(parse(["--bundle", "-"]).values["bundle"]).toBe("-"));
  test("an empty value", () => expect(parse(["--bundle="]).values["bundle"]).toBe(""));
  test("dashes in the name", () => expect(parse(["-pid-file", "p"]).values["pidFile"]).toBe("p"));
});

describe("kinds of flags", () => {
  test("defaults", () =>
    expect(parse([]).values).toEqual({
      bundle: ".",
      pidFile: undefined,
      detach: false,
      tty: false,
      env: [],
      preserveFds: 0,
    }));
  test("booleans take =false", () => expect(parse(["--detach=false"]).values["detach"]).toBe(false));
  test("booleans do not take the next word", () => expect(parse(["--detach", "false"]).positionals).toEqual(["false"]));
  test("a boolean that is neither", () => expect(failure(["--detach=maybe"])).toContain("neither true nor false"));
  test("lists collect", () => expect(parse(["-e", "A=1", "--env=B=2"]).values["env"]).toEqual(["A=1", "B=2"]));
  test("integers", () => expect(parse(["--preserve-fds", "3"]).values["preserveFds"]).toBe(3));
  for (const bad of ["x", "1.5", "", "99999999999999999999"])
    test(`"${bad}" is no integer`, () => expect(failure([`--preserve-fds=${bad}`])).toContain("not a whole number"));
  test("optional alone", () => expect(parse(["--strace", "ls"]).values["strace"]).toBe(true));
  test("optional with value", () => expect(parse(["--strace=read,write"]).values["strace"]).toBe("read,write"));
  test("letters of booleans together", () => expect(parse(["-dt"]).values).toMatchObject({ detach: true, tty: true }));
  test("letters of others are not taken apart", () => expect(failure(["-db"])).toContain("unknown flag -db"));
  test("a missing value", () => expect(failure(["--bundle"])).toBe("flag --bundle needs a value"));
});

describe("where flags end", () => {
  test("at --", () => expect(parse(["a", "--", "-d"]).positionals).toEqual(["a", "-d"]));
  test("flags after positionals count", () => {
    const { values, positionals } = parse(["id", "--detach"]);
    expect([values["detach"], positionals]).toEqual([true, ["id"]]);
  });
  test("not when the command stops at the first positional", () => {
    const { values, positionals } = parse(["-t", "c1", "ls", "-la", "--", "-d"], true);
    expect([values["tty"], values["detach"], positionals]).toEqual([true, false, ["c1", "ls", "-la", "--", "-d"]]);
  });
  test("-- before the program", () => expect(parse(["--", "-x"], true).positionals).toEqual(["-x"]));
  test("a lone dash is a positional", () => expect(parse(["-"]).positionals).toEqual(["-"]));
});

describe("help for the mistaken", () => {
  test("a letter swapped", () =>
    expect(failure(["--bunlde", "x"])).toBe("unknown flag --bunlde, did you mean --bundle?"));
  test("the value is not repeated", () => expect(failure(["--bunlde=secret"])).not.toContain("secret"));
  test("nothing near", () => expect(failure(["--quux"])).toBe("unknown flag --quux"));
  test("commands", () => expect(didYouMean("lits", ["list", "kill"])).toBe(", did you mean list?"));
});

test("schemas check values that were given", async () => {
  const parsed = parse(["--preserve-fds", "10"]);
  await expect(checkFlags(flags, parsed, "runts test")).rejects.toThrow("flag --preserve-fds: too many");
  await checkFlags(flags, parse(["--preserve-fds", "9"]), "runts test");
});
