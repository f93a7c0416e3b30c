/** The configuration file. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../../../src/core/config.ts";
import { RuntimeError } from "../../../src/core/errors.ts";
import type { ParserFuzzer } from "../parser-run.ts";

const folder = mkdtempSync(join(tmpdir(), "runts-fuzz-config-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "config.toml");
const SAMPLE = `# defaults
[flags]
platform = "ptrace"
debug = true
"log-format" = 'json'
[plugins]
directories = ["/usr/local/lib/runts", "./x"]
enable = ["audit"]
disable = []
[plugin.audit]
deny = ["/etc/shadow"]
limits = { soft = 1, hard = 0x10 }
when = 1979-05-27T07:32:00Z
[[plugin.list]]
a.b.c = 1.5e3
text = """
several
lines"""
`;
const PIECES = [
  "[",
  "]",
  "[[",
  "]]",
  "=",
  '"',
  "'",
  '"""',
  "\n",
  "{",
  "}",
  ",",
  ".",
  "#",
  "\\u0000",
  "\\uD800",
  "[flags]\n",
  "__proto__",
  "constructor",
  "nan",
  "inf",
  "1e999",
  "0b2",
  "9999999999999999999",
  "\u0000",
  "plugin.audit = 1\n",
  "[plugin]\n",
  "[".repeat(5000),
  "{a=".repeat(3000),
  "a.".repeat(5000),
  "x = [\n",
];
let text = "";

export const fuzzer: ParserFuzzer = {
  async one(random) {
    text = SAMPLE;
    for (let k = 1 + random.below(4); k > 0; k--) {
      const at = random.below(text.length);
      const piece = random.oneIn(3) ? "" : random.pick(PIECES);
      text = text.slice(0, at) + piece + text.slice(at + (random.oneIn(2) ? 0 : random.below(12)));
    }
    if (random.oneIn(8)) text = Buffer.from(random.spoil(Buffer.from(text))).toString("latin1");
    writeFileSync(path, text, { mode: 0o600 });
    const config = await readConfig(path);
    config.where(["plugin", "audit", "deny"]);
    config.where(["__proto__"]);
  },
  last: () => text,
  meant: (error) => error instanceof RuntimeError,
};
