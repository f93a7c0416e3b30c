/** OCI configurations: spoiled copies of what `spec` writes and of one that uses every part, as text and as JSON. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileProfile } from "../../../src/boot/seccomp-profile.ts";
import { RuntimeError } from "../../../src/core/errors.ts";
import { defaultSpec } from "../../../src/core/spec/default.ts";
import { loadProcess, loadSpec, parseResources } from "../../../src/core/spec/load.ts";
import type { ParserFuzzer } from "../parser-run.ts";
import { fullSpec } from "../samples.ts";

const bundle = mkdtempSync(join(tmpdir(), "runts-fuzz-spec-"));
mkdirSync(join(bundle, "rootfs"));
process.on("exit", () => rmSync(bundle, { recursive: true, force: true }));
let text = "";

export const fuzzer: ParserFuzzer = {
  one(random) {
    const sample = random.pick([defaultSpec(false, 0, 0), defaultSpec(true, 1000, 1000), fullSpec]);
    text = JSON.stringify(random.spoilJson(sample, 10 + random.below(60)));
    if (random.oneIn(6)) text = Buffer.from(random.spoil(Buffer.from(text))).toString("latin1");
    // Deep nesting, with which a recursive reader would leave its stack.
    if (random.oneIn(60)) text = `{"annotations":${"[".repeat(20_000)}${"]".repeat(20_000)},${text.slice(1)}`;
    const kind = random.below(6);
    if (kind === 0) {
      const path = join(bundle, "process.json");
      text = JSON.stringify(random.spoilJson((sample as { process: unknown }).process, 10));
      writeFileSync(path, text);
      return loadProcess(path);
    }
    if (kind === 1) {
      text = JSON.stringify(random.spoilJson(fullSpec.linux.resources, 8));
      return parseResources(text, "resources");
    }
    writeFileSync(join(bundle, "config.json"), text);
    const { spec } = loadSpec(bundle);
    if (spec.linux?.seccomp) compileProfile(spec.linux.seccomp);
    return spec;
  },
  last: () => text,
  meant: (error) =>
    error instanceof RuntimeError || (error instanceof Error && error.message.startsWith("linux.seccomp")),
};
