/** `runts spec`: a config.json to begin with. An existing one is not touched. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "../command.ts";
import { RuntimeError } from "../errors.ts";
import { flag } from "../flags.ts";
import { defaultSpec } from "../spec/default.ts";

export default command({
  name: "spec",
  summary: "write a config.json to begin with",
  description: `
It runs sh in a terminal, from the directory rootfs beside it. Arguments after
-- are run instead.`,
  args: "[program] [...argument]",
  flags: {
    bundle: flag.string({ value: "DIR", short: "b", default: "", help: "directory to write to (default: this one)" }),
    rootless: flag.boolean({ help: "for a user without root's rights" }),
    noTty: flag.boolean({ help: "without a terminal" }),
  },
  stopAtPositional: true,
  run(context, { bundle, rootless, noTty }, args) {
    const path = join(bundle || ".", "config.json");
    if (existsSync(path))
      throw new RuntimeError("already-exists", `File ${bundle ? path : "config.json"} exists. Remove it first`, {
        path,
      });
    const spec = defaultSpec(rootless, process.geteuid!(), process.getegid!());
    if (args.length > 0) spec.process!.args = args;
    if (noTty) spec.process!.terminal = false;
    writeFileSync(path, JSON.stringify(spec, null, "\t"), { mode: 0o666, flag: "wx" });
    context.log.debug(`wrote ${path}`);
  },
});
