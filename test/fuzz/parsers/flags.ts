/** Command lines: global flags and those of every command, as people and programs type them, and spoiled. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Cli } from "../../../src/core/cli.ts";
import type { CommandContext, CommandDeclaration } from "../../../src/core/command.ts";
import { parseDuration } from "../../../src/core/duration.ts";
import { RuntimeError } from "../../../src/core/errors.ts";
import { checkFlags, dashed, type Flags } from "../../../src/core/flags.ts";
import { globalFlags } from "../../../src/core/global-flags.ts";
import { parseFlags } from "../../../src/core/go-flags.ts";
import { parseSignal } from "../../../src/core/signals.ts";
import type { ParserFuzzer } from "../parser-run.ts";

const folder = join(import.meta.dir, "../../../src/core/commands");
const tables: Flags[] = [globalFlags];
for (const file of readdirSync(folder))
  if (file.endsWith(".ts") && !file.endsWith(".test.ts"))
    for (const value of Object.values((await import(join(folder, file))) as Record<string, unknown>))
      if (typeof value === "object" && value !== null && "flags" in value && "run" in value)
        tables.push((value as { flags?: Flags }).flags ?? {});

let text = "";
const VALUES = [
  "",
  "1",
  "0",
  "-1",
  "true",
  "T",
  "x",
  "9007199254740993",
  "1e3",
  "0x10",
  " 1",
  "json",
  "/",
  "..",
  "=",
  "--",
  "-",
  "\u0000",
  "a=b",
  "1:2",
  "constructor",
  "__proto__",
  "toString",
  "🙂",
  "1s",
  "1h1m",
  "5d",
  "99999999999999999999h",
];

export const fuzzer: ParserFuzzer = {
  async one(random) {
    const flags = random.pick(tables);
    const names = [
      ...Object.keys(flags).map(dashed),
      "__proto__",
      "constructor",
      "toString",
      "h",
      "it",
      "x",
      "",
      "hasOwnProperty",
    ];
    const argv: string[] = [];
    for (let k = random.below(8); k > 0; k--) {
      const dashes = random.pick(["-", "--", "---", ""]);
      const name = random.pick(names);
      argv.push(random.oneIn(2) ? `${dashes}${name}` : `${dashes}${name}=${random.pick(VALUES)}`);
      if (random.oneIn(2)) argv.push(random.pick(VALUES));
    }
    if (random.oneIn(4)) argv.push(random.pick(["--", "-", "id"]));
    text = JSON.stringify(argv);
    const some = random.pick(VALUES) + random.pick(VALUES);
    parseDuration(some);
    if (random.oneIn(8)) {
      text = some;
      parseSignal(some);
    }
    const stopAtPositional = random.oneIn(2);
    if (random.oneIn(2)) {
      const probe = { name: "probe", summary: "", args: "<id> [...more]", flags, stopAtPositional, run: () => 0 };
      const cli = new Cli(new Map([["probe", probe as CommandDeclaration]]), globalFlags, () => {});
      if ((await cli.read(["probe", ...argv])) !== null) cli.run({} as CommandContext);
    }
    const parsed = parseFlags(flags, argv, { who: "runts", stopAtPositional, tolerant: random.oneIn(4) });
    await checkFlags(flags, parsed, "runts");
  },
  last: () => text,
  meant: (error) => error instanceof RuntimeError,
};
