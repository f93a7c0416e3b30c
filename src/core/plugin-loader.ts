/**
 * From the built-in list and the configuration file to plugins that are set up, in both processes.
 *
 * A third-party plugin is found by its file's name (NAME.plugin.ts, or plugin.ts in a directory NAME), so that nothing of
 * a plugin that is not enabled is run. Its value imports of "runts" are answered from inside this executable.
 */
import { existsSync } from "node:fs";
import { basename, dirname } from "node:path";
import { type Config, readConfig } from "./config.ts";
import { describe, RuntimeError } from "./errors.ts";
import { camel, didYouMean, type Flags } from "./flags.ts";
import type { Log } from "./log.ts";
import type { KernelApi, Plugin } from "./plugin.ts";
import { type AnyCommand, type Candidate, checkShape, failureText, Registry } from "./registry.ts";
import type { SandboxPlugin } from "./sandbox.ts";

/** A module that takes longer to load hangs. */
const LOAD_TIMEOUT_MS = 10_000;

/** A plugin that comes along, and is there, and loaded, only where `plugins.enable` names it. */
export interface OptionalPlugin {
  readonly name: string;
  load(): Promise<Plugin>;
}
export type BuiltIn = Plugin | OptionalPlugin;
const isOptional = (plugin: BuiltIn): plugin is OptionalPlugin => "load" in plugin;

export interface Loaded {
  registry: Registry;
  config: Config;
}

/** In a command: reads the configuration and sets the host halves up. */
export async function loadPlugins(
  builtIns: readonly BuiltIn[],
  configPath: string | undefined,
  log: Log,
  core: { commands?: readonly AnyCommand[]; flags?: Flags } = {},
): Promise<Loaded> {
  const config = await readConfig(configPath);
  const registry = new Registry(log, core.commands, core.flags);
  const known = builtIns.map((plugin) => plugin.name);
  const always = builtIns.filter((plugin) => !isOptional(plugin)).map((plugin) => plugin.name);
  for (const name of config.disable)
    if (!known.includes(name) && !config.enable.includes(name))
      throw invalid(config, ["plugins", "disable"], `there is no plugin "${name}"${didYouMean(name, known)}`);
  for (const name of Object.keys(config.options))
    if (!always.includes(name) && !config.enable.includes(name))
      throw invalid(
        config,
        ["plugin", name],
        `no plugin "${name}" is enabled${didYouMean(name, [...known, ...config.enable])}`,
      );

  const candidates: Candidate[] = builtIns
    .filter((plugin): plugin is Plugin => !isOptional(plugin) && !config.disable.includes(plugin.name))
    .map((plugin) => ({ plugin, path: null, options: config.options[plugin.name] }));
  for (const name of config.enable) {
    if (always.includes(name) || config.disable.includes(name)) continue;
    let path: string | null = null;
    try {
      const optional = builtIns.filter(isOptional).find((each) => each.name === name);
      if (optional !== undefined) {
        candidates.push({ plugin: await optional.load(), path, options: config.options[name] });
        continue;
      }
      path = await find(name, config);
      candidates.push({ plugin: await importPlugin(name, path), path, options: config.options[name] });
    } catch (error) {
      registry.fail({ name, path }, describe(error));
    }
  }
  await registry.setUp(candidates);
  return { registry, config };
}

/** Values of `[flags]` for the flags of the command line that were not given. Throws on an unknown name or a wrong type. */
export function flagDefaults(config: Config, flags: Flags): Record<string, unknown> {
  const defaults: Record<string, unknown> = {};
  for (const [dashedName, value] of Object.entries(config.flags)) {
    const name = camel(dashedName);
    const declaration = flags[name];
    const at = ["flags", dashedName];
    if (declaration === undefined || ["config", "version", "help"].includes(name))
      throw invalid(config, at, `there is no such flag${didYouMean(dashedName, Object.keys(flags))}`);
    const expected = {
      boolean: typeof value === "boolean",
      string: typeof value === "string",
      integer: Number.isSafeInteger(value),
      list: Array.isArray(value) && value.every((each) => typeof each === "string"),
      optional: typeof value === "string" || typeof value === "boolean",
    }[declaration.type];
    const names = {
      boolean: "boolean",
      string: "string",
      integer: "whole number",
      list: "array of strings",
      optional: "string or boolean",
    };
    if (!expected) throw invalid(config, at, `expected ${names[declaration.type]}`);
    if (!(declaration.type === "optional" && value === false)) defaults[name] = value;
  }
  return defaults;
}

export function invalid(config: Config, path: readonly string[], message: string): RuntimeError {
  return new RuntimeError("invalid-config", `${config.where(path)}: ${message}`);
}

/** The file of a plugin. The first directory that has one wins. */
async function find(name: string, { directories }: Config): Promise<string> {
  const [{ globSync }, { whyNotTrusted, whyTreeNotTrusted }] = await Promise.all([
    import("tinyglobby"),
    import("./owner-only.ts"),
  ]);
  if (!/^[a-z][a-z0-9-]*$/.test(name)) throw new Error("its name has other than lower case letters, digits and dashes");
  for (const directory of directories) {
    if (!existsSync(directory)) continue;
    const [path] = globSync([`${name}.plugin.{ts,js,mjs}`, `${name}/plugin.{ts,js,mjs}`], {
      cwd: directory,
      absolute: true,
      onlyFiles: true,
      expandDirectories: false,
    });
    if (path === undefined) continue;
    const untrusted = whyNotTrusted(directory) ?? whyNotTrusted(path) ?? whyTreeNotTrusted(dirname(path));
    if (untrusted !== null) throw new Error(`refused: ${untrusted}`);
    return path;
  }
  throw new Error(
    directories.length === 0
      ? "plugins.directories names no directory to look for it"
      : `there is no ${name}.plugin.ts or ${name}/plugin.ts in ${directories.join(", ")}`,
  );
}

let provided = false;
/** Answers `import … from "runts"` of plugins, once per process. */
async function provideModule(): Promise<void> {
  if (provided) return;
  provided = true;
  const exports = await import("./runts.ts");
  Bun.plugin({
    name: "runts",
    setup(build) {
      build.module("runts", () => ({ exports: { ...exports }, loader: "object" }));
    },
  });
}

async function importPlugin(name: string, path: string): Promise<Plugin> {
  await provideModule();
  const loading = import(path) as Promise<{ default?: unknown }>;
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`loading it takes longer than ${LOAD_TIMEOUT_MS / 1000} s`)),
      LOAD_TIMEOUT_MS,
    );
  });
  try {
    const { default: plugin } = await Promise.race([loading, late]);
    const problem = checkShape(plugin);
    if (problem !== null) throw new Error(problem);
    const found = plugin as Plugin;
    if (found.name !== name) throw new Error(`${basename(path)} calls itself "${found.name}", expected "${name}"`);
    return found;
  } catch (error) {
    throw new Error(loadProblem(error));
  } finally {
    clearTimeout(timer);
  }
}

/** A syntax error with its place; anything else by its message. */
function loadProblem(error: unknown): string {
  const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  const { message, position } = (first ?? error) as {
    message?: string;
    position?: { file: string; line: number; column: number } | null;
  };
  if (position) return `${position.file}:${position.line}:${position.column}: ${message}`;
  return message ?? String(error);
}

/** A sandbox half, loaded and its options checked, waiting for the kernel. */
export interface SandboxHalf {
  readonly name: string;
  /** Throws RuntimeError "plugin", named, if the plugin's own code does. */
  setUp(kernel: KernelApi): void;
}

/** In the sandbox process, before the jail closes: loads what the launch options name. Throws on the first failure. */
export async function loadSandboxHalves(
  plugins: readonly SandboxPlugin[],
  builtIns: readonly BuiltIn[],
): Promise<SandboxHalf[]> {
  const halves: SandboxHalf[] = [];
  for (const { name, path, options } of plugins) {
    const fail = (reason: string) => new RuntimeError("plugin", failureText({ name, path, reason }));
    let plugin: Plugin | undefined;
    try {
      const builtIn = path === null ? builtIns.find((each) => each.name === name) : await importPlugin(name, path);
      plugin = builtIn !== undefined && isOptional(builtIn) ? await builtIn.load() : builtIn;
    } catch (error) {
      throw fail(describe(error));
    }
    if (plugin === undefined) throw fail("it is not built in");
    let checked: unknown;
    if (plugin.options !== undefined) {
      const { parse } = await import("valibot");
      // The command has checked them; the schema may also have changed them.
      checked = parse(plugin.options, options ?? {});
    }
    let half: Pick<Plugin, "sandbox">;
    try {
      half = (await plugin.sandboxModule?.()) ?? plugin;
    } catch (error) {
      throw fail(describe(error));
    }
    halves.push({
      name,
      setUp(kernel) {
        try {
          half.sandbox?.(kernel, checked);
        } catch (error) {
          throw fail(describe(error));
        }
      },
    });
  }
  return halves;
}
