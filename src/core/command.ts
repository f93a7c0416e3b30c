/** What a command is, and what it is given. One file per command in src/core/commands; plugins add theirs. */
import type { Containers } from "./container/lifecycle.ts";
import type { Flags, FlagValues } from "./flags.ts";
import type { Globals } from "./global-flags.ts";
import type { HostCalls } from "./host-calls.ts";
import type { Log } from "./log.ts";
import type { NetworkConfig } from "./network.ts";
import type { Registry } from "./registry.ts";
import type { SandboxLauncher } from "./sandbox.ts";

export interface CommandContext {
  readonly globals: Globals;
  readonly log: Log;
  readonly plugins: Registry;
  /** What the configuration file says of networks. */
  readonly network: NetworkConfig;
  /** Loaded on first use, so that commands that need none start faster. */
  launcher(): Promise<SandboxLauncher>;
  hostCalls(): Promise<HostCalls>;
  containers(): Promise<Containers>;
  /** Writes to standard output, completely. */
  out(text: string): void;
}

/** Exit status; nothing means 0. */
export type CommandResult = Promise<number | undefined> | number | undefined | Promise<void> | void;

export interface CommandDeclaration<F extends Flags = Flags> {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Operands in cac's words: "<id>" is needed, "[signal]" is not, "[...id]" and "<...id>" stand for any number. */
  readonly args?: string;
  /** More for the command's own help. */
  readonly description?: string;
  /** Command lines for its help, each whole: "runts exec c1 ls -la". */
  readonly examples?: readonly string[];
  readonly flags?: F;
  /** exec, run, do: what follows the first positional belongs to the program. */
  readonly stopAtPositional?: boolean;
  readonly hidden?: boolean;
  run(context: CommandContext, flags: FlagValues<F>, args: string[]): CommandResult;
}

/** The operands that a command takes, one by one; "[id...]" is an older spelling of "[...id]". Throws for anything else. */
export function operandsOf({ name, args = "" }: Pick<CommandDeclaration, "name" | "args">): string[] {
  const words = args.split(" ").filter((word) => word !== "");
  return words.map((word) => {
    const brackets = `${word.at(0)}${word.at(-1)}`;
    const inner = word.slice(1, -1);
    const many = inner.startsWith("...") || inner.endsWith("...");
    const text = inner.replace("...", "");
    if ((brackets !== "<>" && brackets !== "[]") || text === "" || "<>[]".split("").some((each) => text.includes(each)))
      throw new Error(`command "${name}": expected <operand>, [operand] or [...operand], got "${word}"`);
    return `${brackets[0]}${many ? "..." : ""}${text}${brackets[1]}`;
  });
}

/** A command known by name and summary, whose file is loaded when it is used. */
export interface LazyCommand {
  readonly name: string;
  readonly summary: string;
  readonly hidden?: boolean;
  load(): Promise<CommandDeclaration>;
}

export type SimpleAction = (context: CommandContext, args: string[]) => CommandResult;

/** Keeps the type of the flags inside the declaration, forgets it outside. */
export function command<F extends Flags>(declaration: CommandDeclaration<F>): CommandDeclaration {
  return declaration as unknown as CommandDeclaration;
}
