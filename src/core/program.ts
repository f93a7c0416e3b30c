/**
 * The command line from its first word to the exit status: global flags, configuration, plugins, the command.
 *
 * Heavy modules (schemas, TOML, launcher, native library) are loaded where they are first needed; `--version` and
 * `--help` of a command load none of them.
 */

import { resolve } from "node:path";
import type { CommandContext } from "./command.ts";
import { builtInCommands } from "./commands/index.ts";
import { describe, RuntimeError } from "./errors.ts";
import { checkFlags } from "./flags.ts";
import { defaultRoot, type Globals, globalFlags } from "./global-flags.ts";
import { parseFlags } from "./go-flags.ts";
import type { HostCalls } from "./host-calls.ts";
import "./inherited.ts";
import type { Log, LogOptions } from "./log.ts";
import type { BuiltIn } from "./plugin-loader.ts";
import type { Registry } from "./registry.ts";
import type { SandboxLauncher } from "./sandbox.ts";
import { writeFd } from "./stdio.ts";
import { versionText } from "./version.ts";

/** What `src/main.ts` ties to the core. */
export interface Program {
  /** Words after the executable. */
  argv: readonly string[];
  builtIns: readonly BuiltIn[];
  launcher(): Promise<SandboxLauncher>;
  hostCalls(): Promise<HostCalls>;
}

/** Runs the command line; the exit status. Never throws. */
export async function runProgram(program: Program): Promise<number> {
  let log: Log | undefined;
  try {
    // A first look: enough to answer --version, and to find the configuration file that says which flags there are.
    const look = parseFlags(globalFlags, program.argv, { stopAtPositional: true, tolerant: true, who: "runts" });
    if (look.values["version"] === true) {
      writeOut(versionText());
      return 0;
    }
    const { Cli, createLog, failureText, flagDefaults, loadPlugins } = await import("./every-command.ts");
    // Callers read the log file for whatever goes wrong, a mistake in the configuration too.
    let logOptions = logOptionsOf(look.values);
    log = createLog(logOptions);
    const { registry, config } = await loadPlugins(program.builtIns, look.values["config"] as string | undefined, log, {
      commands: builtInCommands,
      flags: globalFlags,
    });
    watchForHang(registry, () => log);

    const cli = new Cli(registry.commands, registry.flags, writeOut);
    const invocation = await cli.read(program.argv);
    if (invocation === null) return 0;
    const { declaration, globals, own } = invocation;
    for (const [name, value] of Object.entries(flagDefaults(config, registry.flags))) {
      if (globals.given.has(name)) continue;
      globals.values[name] = value;
      globals.given.add(name);
    }
    await checkFlags(registry.flags, globals, "runts");
    await checkFlags(declaration.flags ?? {}, own, `runts ${declaration.name}`);
    if (!globals.values["root"]) globals.values["root"] = defaultRoot();
    registry.inherited = ["root", "config"].flatMap((name) => {
      const value = globals.values[name] as string | undefined;
      return value ? [`--${name}`, resolve(value)] : [];
    });
    const finalLog = logOptionsOf(globals.values);
    if (!Bun.deepEquals(finalLog, logOptions)) {
      logOptions = finalLog;
      log = createLog(logOptions);
    }
    const context: CommandContext = {
      globals: globals.values as Globals,
      log,
      plugins: registry,
      network: config.network,
      launcher: once(() => program.launcher()),
      hostCalls: once(() => program.hostCalls()),
      containers: once(async () => {
        const { Containers } = await import("./container/lifecycle.ts");
        return Containers.open(context);
      }),
      out: writeOut,
    };
    // A command that would run guest code refuses later (requireAll); the others are told, and work.
    for (const failure of registry.failures) log.warn(failureText(failure));
    const result = await cli.run(context);
    return typeof result === "number" ? result : 0;
  } catch (error) {
    report(log, error);
    return error instanceof RuntimeError ? error.exitCode : 1;
  }
}

function logOptionsOf(values: Record<string, unknown>): LogOptions {
  return {
    path: values["log"] as string | undefined,
    format: values["logFormat"] === "json" ? "json" : "text",
    debug: values["debug"] === true,
  };
}

/** The event loop has nothing left to do and the command has not ended: a hook waits for what never comes. */
function watchForHang(registry: Registry, log: () => Log | undefined): void {
  process.on("beforeExit", () => {
    const waiting = [...registry.pending];
    log()?.error(`${waiting.length > 0 ? waiting.join(" and ") : "the command"} never came to an end`);
    process.exit(1);
  });
}

function report(log: Log | undefined, error: unknown): void {
  const text = describe(error);
  if (log === undefined) writeErr(`runts: ${text}\n`);
  else log.error(text);
  if (error instanceof RuntimeError) {
    for (const failure of error.cleanup) log?.warn(`cleaning up: ${describe(failure)}`);
    if (error.code === "usage" && error.action !== undefined) writeErr(`Try '${error.action} --help'.\n`);
  } else if (error instanceof Error && log !== undefined) log.debug(error.stack ?? "");
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

function writeOut(text: string): void {
  writeFd(1, text);
}
function writeErr(text: string): void {
  writeFd(2, text);
}
