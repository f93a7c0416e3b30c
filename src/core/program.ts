/**
 * The command line from its first word to the exit status: global flags, configuration, plugins, the command.
 *
 * Heavy modules (schemas, TOML, launcher, native library) are loaded where they are first needed; `--version` and
 * `--help` of a command load none of them.
 */

import type { CommandContext, CommandDeclaration } from "./command.ts";
import { builtInCommands } from "./commands/index.ts";
import { describe, RuntimeError } from "./errors.ts";
import {
  checkFlags,
  didYouMean,
  type Flag,
  type Flags,
  flagHelp,
  type ParsedFlags,
  parseFlags,
  table,
  usage,
} from "./flags.ts";
import { defaultRoot, type Globals, globalFlags } from "./global-flags.ts";
import type { HostCalls } from "./host-calls.ts";
import "./inherited.ts";
import type { Log, LogOptions } from "./log.ts";
import type { Plugin } from "./plugin.ts";
import { type AnyCommand, failureText, type Registry } from "./registry.ts";
import type { SandboxLauncher } from "./sandbox.ts";
import { writeFd } from "./stdio.ts";
import { versionText } from "./version.ts";

/** What `src/main.ts` ties to the core. */
export interface Program {
  /** Words after the executable. */
  argv: readonly string[];
  builtIns: readonly Plugin[];
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
    const [{ createLog }, { flagDefaults, loadPlugins }] = await Promise.all([
      import("./log.ts"),
      import("./plugin-loader.ts"),
    ]);
    // Callers read the log file for whatever goes wrong, a mistake in the configuration too.
    let logOptions = logOptionsOf(look.values);
    log = createLog(logOptions);
    const { registry, config } = await loadPlugins(program.builtIns, look.values["config"] as string | undefined, log, {
      commands: builtInCommands,
      flags: globalFlags,
    });
    watchForHang(registry, () => log);

    const flags: Flags = registry.flags;
    const parsed = parseFlags(flags, program.argv, { stopAtPositional: true, who: "runts" });
    for (const [name, value] of Object.entries(flagDefaults(config, flags))) {
      if (parsed.given.has(name)) continue;
      parsed.values[name] = value;
      parsed.given.add(name);
    }
    await checkFlags(flags, parsed, "runts");
    const chosen = await chooseCommand(registry, flags, parsed);
    if (typeof chosen === "string") {
      writeOut(chosen);
      return 0;
    }
    if (!parsed.values["root"]) parsed.values["root"] = defaultRoot();
    const finalLog = logOptionsOf(parsed.values);
    if (!Bun.deepEquals(finalLog, logOptions)) {
      logOptions = finalLog;
      log = createLog(logOptions);
    }
    const context: CommandContext = {
      globals: parsed.values as Globals,
      log,
      plugins: registry,
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
    const result = await chosen.declaration.run(context, chosen.values as never, chosen.positionals);
    return typeof result === "number" ? result : 0;
  } catch (error) {
    report(log, error);
    return error instanceof RuntimeError ? error.exitCode : 1;
  }
}

interface Chosen {
  declaration: CommandDeclaration;
  values: Record<string, unknown>;
  positionals: string[];
}

/**
 * The command with its flags, or a text to print instead. Global flags are also taken after the command, where it has
 * none of that name itself; they go into `parsed`.
 */
async function chooseCommand(registry: Registry, flags: Flags, parsed: ParsedFlags): Promise<Chosen | string> {
  const { commands } = registry;
  const [name, ...rest] = parsed.positionals;
  if (name === undefined || name === "help" || name === "h")
    return name === undefined || rest[0] === undefined
      ? programHelp(commands, flags)
      : commandHelp(await load(find(commands, rest[0])));
  const declaration = await load(find(commands, name));
  if (parsed.values["help"] === true) return commandHelp(declaration);

  const who = `runts ${declaration.name}`;
  const ownFlags = declaration.flags ?? {};
  const also = Object.fromEntries(
    Object.entries(flags)
      .filter(([each]) => !Object.hasOwn(ownFlags, each) && each !== "version" && each !== "config")
      .map(([each, { short, ...declared }]) => [each, { ...declared, ...(each === "help" ? { short } : {}) } as Flag]),
  );
  const stopAtPositional = declaration.stopAtPositional === true;
  const own = parseFlags({ ...ownFlags, ...also }, rest, { stopAtPositional, who });
  if (own.values["help"] === true) return commandHelp(declaration);
  await checkFlags({ ...ownFlags, ...also }, own, who);
  for (const each of own.given) if (Object.hasOwn(also, each)) parsed.values[each] = own.values[each];
  for (const each of Object.keys(also)) delete own.values[each];
  checkCount(declaration, own.positionals);
  return { declaration, values: own.values, positionals: own.positionals };
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

function find(commands: ReadonlyMap<string, AnyCommand>, name: string): AnyCommand {
  const found = commands.get(name);
  if (found !== undefined) return found;
  const names = [...commands.values()].filter((each) => !each.hidden).map((each) => each.name);
  throw usage("runts", `unknown command "${name}"${didYouMean(name, names)}`);
}

async function load(known: AnyCommand): Promise<CommandDeclaration> {
  return "load" in known ? await known.load() : known;
}

/** runc's words for a wrong number of arguments. */
function checkCount({ name, args }: CommandDeclaration, given: readonly string[]): void {
  const words = (args ?? "").split(" ").filter((word) => word !== "");
  const least = words.filter((word) => word.startsWith("<")).length;
  const most = words.some((word) => word.includes("...")) ? Number.POSITIVE_INFINITY : words.length;
  if (given.length >= least && given.length <= most) return;
  const expected =
    least === most ? `exactly ${least}` : given.length < least ? `a minimum of ${least}` : `a maximum of ${most}`;
  throw usage(`runts ${name}`, `"${name}" requires ${expected} argument(s)`);
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

function programHelp(commands: ReadonlyMap<string, AnyCommand>, flags: Flags): string {
  const rows = [...commands.values()]
    .filter((each) => !each.hidden)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((each) => [each.name, each.summary] as const);
  return [
    "runts runs containers, and single programs, on its own user-space Linux kernel.\n",
    "Usage: runts [global flags] COMMAND [flags] [arguments]",
    "       runts do [flags] [--] PROGRAM [arguments]\n",
    `Commands:\n${table(rows)}`,
    `Global flags (before the command):\n${flagHelp(flags)}`,
    "`runts help COMMAND` tells more of each.\n",
  ].join("\n");
}

function commandHelp(declaration: CommandDeclaration): string {
  const flags = Object.values(declaration.flags ?? {}).some((each) => !each.hidden);
  const parts = [
    `${declaration.summary}\n`,
    `Usage: runts ${declaration.name}${flags ? " [flags]" : ""}${declaration.args ? ` ${declaration.args}` : ""}\n`,
  ];
  if (declaration.description !== undefined) parts.push(`${declaration.description.replace(/^\n|\s+$/g, "")}\n`);
  if (flags) parts.push(`Flags:\n${flagHelp(declaration.flags ?? {})}`);
  return parts.join("\n");
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
