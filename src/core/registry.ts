/**
 * Sets plugins up and runs their hooks.
 *
 * Invariants: a plugin is checked (name, API version, requirements, options) before a line of it runs; what its `host`
 * half adds counts only if all of it succeeded, so nothing half-loaded is used; a failure names plugin and reason and
 * leaves the others alone. Built-in plugins come through here like any other.
 */
import { type CommandDeclaration, type LazyCommand, operandsOf, type SimpleAction } from "./command.ts";
import { describe, RuntimeError } from "./errors.ts";
import type { Flag, Flags } from "./flags.ts";
import type { Log } from "./log.ts";
import {
  API_VERSION,
  type HookOptions,
  type HostApi,
  type HostEvents,
  type HostHook,
  type PlatformDeclaration,
  type Plugin,
} from "./plugin.ts";
import type { SandboxPlugin } from "./sandbox.ts";

/**
 * How the hooks of an event run. series: one after the other, the first failure is the event's; keep-going: failures are
 * collected and the rest still run; first: until one gives an answer.
 */
export type EventKind = "series" | "keep-going" | "first";
export const EVENT_KINDS = {
  "container:creating": "series",
  "sandbox:find": "first",
  "sandbox:launching": "series",
  "container:adding": "series",
  "container:create-runtime": "series",
  "container:create-container": "series",
  "container:created": "series",
  "container:starting": "series",
  "container:started": "series",
  "container:paused": "keep-going",
  "container:resumed": "keep-going",
  "container:checkpointed": "keep-going",
  "container:restored": "keep-going",
  "do:starting": "series",
  "image:open": "first",
  "image:save": "first",
  "container:exec": "keep-going",
  "container:deleted": "keep-going",
} as const satisfies Record<keyof HostEvents, EventKind>;

/** A plugin value and where it comes from. */
export interface Candidate {
  plugin: Plugin;
  /** Path of its file; null for a built-in one. */
  path: string | null;
  /** Its table of the configuration file, unchecked; undefined when there is none. */
  options: unknown;
}

export interface LoadedPlugin {
  readonly name: string;
  readonly description: string;
  readonly path: string | null;
  readonly options: unknown;
  readonly commands: readonly string[];
  readonly flags: readonly string[];
  readonly platforms: readonly string[];
  readonly events: readonly string[];
  readonly hasSandboxHalf: boolean;
}
export interface PluginFailure {
  readonly name: string;
  readonly path: string | null;
  readonly reason: string;
}

interface RegisteredHook {
  plugin: string;
  order: number;
  run: (event: unknown) => unknown;
}
export type AnyCommand = LazyCommand | CommandDeclaration;

/** What a host half adds, kept apart until it has succeeded. */
interface Additions {
  commands: AnyCommand[];
  flags: [string, Flag][];
  platforms: PlatformDeclaration[];
  hooks: [keyof HostEvents, RegisteredHook][];
}

export class Registry {
  readonly commands = new Map<string, AnyCommand>();
  readonly flags: Record<string, Flag> = {};
  readonly platforms: PlatformDeclaration[] = [];
  readonly plugins: LoadedPlugin[] = [];
  readonly failures: PluginFailure[] = [];
  private readonly hooks = new Map<keyof HostEvents, RegisteredHook[]>();
  /** Hooks that have been called and have not answered, for the message at exit. */
  readonly pending = new Set<string>();
  /** Global flags that a command which a plugin starts is to be given, too. */
  inherited: readonly string[] = [];

  /** `commands` and `flags` are the core's own, which no plugin may replace. */
  constructor(
    private readonly log: Log,
    commands: readonly AnyCommand[] = [],
    flags: Flags = {},
  ) {
    for (const command of commands) this.commands.set(command.name, command);
    Object.assign(this.flags, flags);
  }

  /** Sets all candidates up, each after those it requires. */
  async setUp(candidates: readonly Candidate[]): Promise<void> {
    for (const candidate of this.order(candidates)) {
      try {
        await this.setUpOne(candidate);
      } catch (error) {
        this.fail(candidate, describe(error));
      }
    }
  }

  /** Notes a plugin that could not be used. */
  fail(candidate: { plugin?: Plugin; path: string | null; name?: string }, reason: string): void {
    const name = candidate.name ?? candidate.plugin?.name ?? "?";
    this.failures.push({ name, path: candidate.path, reason });
  }

  /** For commands that run guest code: a plugin that was asked for and is not there is an error, not a remark. */
  requireAll(): void {
    const failure = this.failures[0];
    if (failure === undefined) return;
    throw new RuntimeError("plugin", failureText(failure), failure.path === null ? {} : { path: failure.path });
  }

  /** What the sandbox process is told to load. */
  sandboxPlugins(): SandboxPlugin[] {
    return this.plugins
      .filter((plugin) => plugin.hasSandboxHalf)
      .map(({ name, path, options }) => ({ name, path, options }));
  }

  /** True if anybody listens: saves preparing what nobody reads. */
  listens(event: keyof HostEvents): boolean {
    return this.hooks.has(event);
  }

  /** Runs an event of kind series. Throws the first failure. */
  async run<E extends keyof HostEvents>(event: E, ...args: Parameters<HostEvents[E]>): Promise<void> {
    for (const hook of this.hooks.get(event) ?? []) await this.call(event, hook, args[0]);
  }

  /** Runs every hook of the event; the failures come back. */
  async runAll<E extends keyof HostEvents>(event: E, ...args: Parameters<HostEvents[E]>): Promise<Error[]> {
    const errors: Error[] = [];
    for (const hook of this.hooks.get(event) ?? []) {
      try {
        await this.call(event, hook, args[0]);
      } catch (error) {
        errors.push(error as Error);
      }
    }
    return errors;
  }

  /** The first answer that is not undefined. */
  async first<E extends keyof HostEvents>(
    event: E,
    ...args: Parameters<HostEvents[E]>
  ): Promise<ReturnType<HostEvents[E]> | undefined> {
    for (const hook of this.hooks.get(event) ?? []) {
      const answer = await this.call(event, hook, args[0]);
      if (answer !== undefined) return answer as ReturnType<HostEvents[E]>;
    }
    return undefined;
  }

  private async call(event: keyof HostEvents, hook: RegisteredHook, payload: unknown): Promise<unknown> {
    const name = `plugin "${hook.plugin}", hook ${event}`;
    this.pending.add(name);
    try {
      return await hook.run(payload);
    } catch (cause) {
      // An OCI hook's failure says all there is to say, and so does who was asked for an image; all else is named after its plugin.
      if (cause instanceof RuntimeError && (cause.code === "hook" || event.startsWith("image:"))) throw cause;
      throw new RuntimeError("plugin", name, { cause });
    } finally {
      this.pending.delete(name);
    }
  }

  /** Requirements first, otherwise as given. Loops and missing ones are failures. */
  private order(candidates: readonly Candidate[]): Candidate[] {
    const byName = new Map<string, Candidate>();
    for (const candidate of candidates) {
      const { name } = candidate.plugin;
      const problem = checkShape(candidate.plugin);
      if (problem !== null) this.fail(candidate, problem);
      else if (byName.has(name)) this.fail(candidate, "another plugin has this name already");
      else byName.set(name, candidate);
    }
    const ordered: Candidate[] = [];
    const state = new Map<string, "visiting" | "done" | "failed">();
    const visit = (candidate: Candidate): boolean => {
      const { name } = candidate.plugin;
      const known = state.get(name);
      if (known !== undefined) return known === "done";
      state.set(name, "visiting");
      for (const required of candidate.plugin.requires ?? []) {
        const other = byName.get(required);
        if (other === undefined || state.get(required) === "visiting" || !visit(other)) {
          const why =
            other === undefined
              ? "is not there"
              : state.get(required) === "visiting"
                ? "requires this one in turn"
                : "cannot be used itself";
          this.fail(candidate, `requires plugin "${required}", which ${why}`);
          state.set(name, "failed");
          return false;
        }
      }
      state.set(name, "done");
      ordered.push(candidate);
      return true;
    };
    for (const candidate of byName.values()) visit(candidate);
    return ordered;
  }

  private async setUpOne(candidate: Candidate): Promise<void> {
    const { plugin, path } = candidate;
    for (const required of plugin.requires ?? [])
      if (!this.plugins.some((each) => each.name === required))
        throw new Error(`requires plugin "${required}", which cannot be used itself`);

    let options: unknown;
    if (plugin.options !== undefined) {
      // Loaded only here: most plugins have no options, and most commands should start fast.
      const [{ safeParse }, { checkMessage }] = await Promise.all([import("valibot"), import("./check.ts")]);
      const result = safeParse(plugin.options, candidate.options ?? {});
      if (!result.success) throw new Error(`options: ${checkMessage(result.issues)}`);
      options = result.output;
    } else if (candidate.options !== undefined && Object.keys(candidate.options as object).length > 0)
      throw new Error(`options: it takes none, but "${Object.keys(candidate.options as object)[0]}" is given`);

    const additions: Additions = { commands: [], flags: [], platforms: [], hooks: [] };
    await plugin.host?.(this.apiFor(plugin.name, additions), options);
    this.checkAdditions(additions);

    for (const command of additions.commands) this.commands.set(command.name, command);
    for (const [name, declaration] of additions.flags) this.flags[name] = declaration;
    this.platforms.push(...additions.platforms);
    for (const [event, hook] of additions.hooks) {
      const list = this.hooks.get(event) ?? [];
      list.push(hook);
      // Stable: hooks of equal order stay in the order of their plugins.
      list.sort((a, b) => a.order - b.order);
      this.hooks.set(event, list);
    }
    this.plugins.push({
      name: plugin.name,
      description: plugin.description ?? "",
      path,
      options: candidate.options,
      commands: additions.commands.map((each) => each.name),
      flags: additions.flags.map(([name]) => name),
      platforms: additions.platforms.map((each) => each.name),
      events: [...new Set(additions.hooks.map(([event]) => event))],
      hasSandboxHalf: plugin.sandbox !== undefined || plugin.sandboxModule !== undefined,
    });
  }

  private checkAdditions(additions: Additions): void {
    for (const command of additions.commands) {
      const { name } = command;
      if (name === "" || name.startsWith("-") || [" ", "<", "["].some((each) => name.includes(each)))
        throw new Error(`command "${name}": expected a word for its name`);
      if (this.commands.has(name) || name === "help" || name === "h")
        throw new Error(`command "${name}" exists already`);
      if ("run" in command) operandsOf(command);
    }
    for (const [name] of additions.flags)
      if (Object.hasOwn(this.flags, name)) throw new Error(`global flag "${name}" exists already`);
    for (const { name } of additions.platforms)
      if (this.platforms.some((each) => each.name === name)) throw new Error(`platform "${name}" exists already`);
  }

  private apiFor(plugin: string, additions: Additions): HostApi {
    return {
      log: this.log,
      commandLine: (...words) => [process.execPath, ...this.inherited, ...words],
      command<F extends Flags>(
        what: string | LazyCommand | CommandDeclaration<F>,
        summary?: string,
        run?: SimpleAction,
      ) {
        if (typeof what !== "string") additions.commands.push(what as AnyCommand);
        else {
          const [name, ...args] = what.trim().split(/\s+/);
          additions.commands.push({
            name: name!,
            args: args.join(" "),
            summary: summary ?? "",
            run: (context, _flags, given) => run!(context, given),
          });
        }
      },
      flag(name, declaration) {
        additions.flags.push([name, declaration]);
      },
      on<E extends keyof HostEvents>(event: E, hook: HostHook<E>, options?: HookOptions) {
        if (!Object.hasOwn(EVENT_KINDS, event)) throw new Error(`there is no event "${event}"`);
        const order = options?.order === "pre" ? -1 : options?.order === "post" ? 1 : 0;
        additions.hooks.push([event, { plugin, order, run: hook as (event: unknown) => unknown }]);
      },
      platform(declaration) {
        additions.platforms.push(declaration);
      },
    };
  }
}

export function failureText({ name, path, reason }: PluginFailure): string {
  return `plugin "${name}"${path === null ? "" : ` (${path})`} cannot be used: ${reason}`;
}

/** What makes a value no plugin, or null. */
export function checkShape(plugin: unknown): string | null {
  if (typeof plugin !== "object" || plugin === null) return "its default export is not a plugin";
  const { name, apiVersion, requires, host, sandbox, sandboxModule, options } = plugin as Record<string, unknown>;
  if (typeof name !== "string" || !/^[a-z][a-z0-9-]*$/.test(name))
    return "name: expected lower case letters, digits and dashes";
  if (apiVersion !== undefined && apiVersion !== API_VERSION)
    return `apiVersion: this is ${API_VERSION}, the plugin is made for ${apiVersion}`;
  if (requires !== undefined && !(Array.isArray(requires) && requires.every((each) => typeof each === "string")))
    return "requires: expected names";
  if (host !== undefined && typeof host !== "function") return "host: expected a function";
  if (sandbox !== undefined && typeof sandbox !== "function") return "sandbox: expected a function";
  if (sandboxModule !== undefined && typeof sandboxModule !== "function") return "sandboxModule: expected a function";
  if (options !== undefined && (options as { kind?: unknown }).kind !== "schema") return "options: expected a schema";
  return null;
}
