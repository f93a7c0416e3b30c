/** The executable: ties core, plugins and sandbox together. `bun build --compile` seals this file. */
import type { BuiltIn } from "./core/plugin-loader.ts";
import { runProgram } from "./core/program.ts";
import checkpoint from "./plugins/checkpoint/index.ts";
import doPlugin from "./plugins/do/index.ts";
import hooks from "./plugins/hooks/index.ts";
import multicontainer from "./plugins/multicontainer/index.ts";
import { ptrace, systrap } from "./plugins/platforms/index.ts";
import strace from "./plugins/strace/index.ts";

/** Only where the configuration file enables it. */
const egress = { name: "egress", load: async () => (await import("./plugins/egress/index.ts")).default };
/** Set up in this order. Each can be disabled in the configuration file. */
const builtIns: readonly BuiltIn[] = [systrap, ptrace, hooks, multicontainer, strace, checkpoint, doPlugin, egress];

// No top-level await: while one is pending the runtime waits for ever, even with nothing left that could end it.
const argv = process.argv.slice(2);
if (argv[0] === "boot") {
  // The sandbox process: this executable, run by the launcher.
  void import("./boot/boot.ts").then(({ boot }) => boot(argv.slice(1), builtIns));
} else {
  void runProgram({
    argv,
    builtIns,
    launcher: async () => (await import("./boot/launch.ts")).launcher,
    hostCalls: async () => (await import("./native/host-calls.ts")).hostCalls,
  }).then((exitCode) => process.exit(exitCode));
}
