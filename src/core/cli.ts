/**
 * The command line: cac declares commands and options, matches them, checks operands and prints version and help. What
 * the words mean is Go's reading (go-flags.ts), since that is what runc's callers type: cac asks one method for it, `mri`,
 * and here that method is ours. cli.test.ts guards the seam.
 */
import { CAC, type Command } from "cac";
import { type CommandContext, type CommandDeclaration, type CommandResult, operandsOf } from "./command.ts";
import { dashed, didYouMean, type Flag, type Flags, usage } from "./flags.ts";
import { type ParsedFlags, parseFlags } from "./go-flags.ts";
import { helpSections, type Option, type Subject } from "./help.ts";
import type { AnyCommand } from "./registry.ts";
import { versionText } from "./version.ts";

/** A command line as it was read. */
export interface Invocation {
  readonly declaration: CommandDeclaration;
  /** Global flags, whether they stood before the command or after it. */
  readonly globals: ParsedFlags;
  /** The command's flags, and its operands. */
  readonly own: ParsedFlags;
}

// @ts-expect-error: cac's types call `mri` private. With a cac that has no such method this line is an error of its own.
export class Cli extends CAC {
  private readonly declared = new Map<Command, AnyCommand>();
  private globals: ParsedFlags | null = null;
  private invocation: Invocation | null = null;

  /** `out` is given version and help, each whole. */
  constructor(
    private readonly known: ReadonlyMap<string, AnyCommand>,
    private readonly flags: Flags,
    private readonly out: (text: string) => void,
  ) {
    super("runts");
    this.usage("[global flags] COMMAND [flags] [arguments]\n       runts do [flags] [--] PROGRAM [arguments]");
    // Not by help() and version(), which declare their flags themselves.
    this.showHelpOnExit = true;
    this.showVersionOnExit = true;
    this.globalCommand.helpCallback = (sections) => helpSections(sections, this.subject());
  }

  /** Reads a command line. Null: help or version was asked for, and has been printed. */
  async read(argv: readonly string[]): Promise<Invocation | null> {
    const globals = parseFlags(this.flags, argv, { stopAtPositional: true, who: "runts" });
    const [name, ...rest] = globals.positionals;
    if (name === "help" || name === "h") return this.read(["--help", ...argv.slice(0, -rest.length - 1), ...rest]);
    if (name !== undefined) this.declare(await this.load(name));
    else for (const each of this.known.values()) this.declare(each);
    if (name === undefined && globals.values["version"] !== true) globals.values["help"] = true;
    this.globals = globals;
    this.parse(["", "", ...argv], { run: false });
    return this.matchedCommand === undefined ? null : this.invocation;
  }

  /** Checks the operands of what was read, and runs it. */
  run(context: CommandContext): CommandResult {
    const { declaration, own } = this.invocation!;
    this.matchedCommand!.action(() => declaration.run(context, own.values as never, own.positionals));
    try {
      return this.runMatchedCommand() as CommandResult;
    } catch (error) {
      // cac's errors have a name; their class is not exported.
      throw error instanceof Error && error.name === "CACError" ? this.misuse(error.message) : error;
    }
  }

  /**
   * Every reading of words that cac does comes through here. Global flags stand before the command, or after it where it
   * has none of that name itself.
   */
  override mri(_argv: readonly string[], command?: Command): { args: string[]; options: Record<string, unknown> } {
    // The same words for each command: `read` has gone through the global flags.
    const globals = this.globals!;
    const [name, ...rest] = globals.positionals;
    const declaration = name !== undefined && command?.isMatched(name) ? this.declared.get(command) : undefined;
    if (declaration === undefined || "load" in declaration)
      return { args: globals.positionals, options: globals.values };

    const { flags = {}, stopAtPositional = false } = declaration;
    const also = alsoAfter(this.flags, flags);
    const own = parseFlags({ ...flags, ...also }, rest, { stopAtPositional, who: `runts ${declaration.name}` });
    for (const each of Object.keys(also)) {
      if (own.given.delete(each)) {
        globals.values[each] = own.values[each];
        globals.given.add(each);
      }
      delete own.values[each];
    }
    this.invocation = { declaration, globals, own };
    return { args: [declaration.name, ...own.positionals], options: { ...globals.values, ...own.values } };
  }

  /**
   * Options are declared here: only a help text needs cac's, and they cost time at the start. cac prints by `console.info`,
   * which need not have written all of it when the process exits.
   */
  override outputHelp(): void {
    const { info } = console;
    this.globalCommand.options.push(...optionsOf(this.flags));
    for (const [command, declaration] of this.declared)
      if (!("load" in declaration)) command.options.push(...optionsOf(declaration.flags ?? {}));
    console.info = (text: string) => this.out(`${text}\n`);
    try {
      super.outputHelp();
    } finally {
      console.info = info;
    }
  }

  override outputVersion(): void {
    this.out(versionText());
  }

  private async load(name: string): Promise<CommandDeclaration> {
    const found = this.known.get(name);
    if (found !== undefined) return "load" in found ? found.load() : found;
    const names = [...this.known.values()].filter((each) => !each.hidden).map((each) => each.name);
    throw usage("runts", `unknown command "${name}"${didYouMean(name, names)}`);
  }

  private declare(declaration: AnyCommand): void {
    const { name, summary } = declaration;
    if ("load" in declaration) {
      this.declared.set(this.command(name, summary), declaration);
      return;
    }
    const { flags = {}, examples = [] } = declaration;
    const operands = operandsOf(declaration);
    const command = this.command([name, ...operands].join(" "), summary);
    const shown = Object.values(flags).some((each) => !each.hidden);
    command.usage([name, ...(shown ? ["[flags]"] : []), ...operands].join(" "));
    // What is unknown the parser has refused, and has said what may have been meant.
    command.allowUnknownOptions();
    for (const example of examples) command.example(example);
    this.declared.set(command, declaration);
  }

  /** What help was asked for. */
  private subject(): Subject {
    const command = this.matchedCommand;
    const declaration = command && this.declared.get(command);
    const flags = declaration === undefined ? this.flags : "load" in declaration ? {} : (declaration.flags ?? {});
    return {
      declaration,
      options: (command ?? this.globalCommand).options.filter(({ name }) => !flags[name]!.hidden),
      commands: this.commands.filter((each) => !this.declared.get(each)!.hidden),
    };
  }

  /** runc's words for a wrong number of operands: of the mistakes that cac finds, the parser has left no other. */
  private misuse(cacsWords: string): Error {
    const { name, args } = this.matchedCommand!;
    const given = this.args.length;
    const least = args.filter((each) => each.required).length;
    const most = args.some((each) => each.variadic) ? Number.POSITIVE_INFINITY : args.length;
    if (given >= least && given <= most) return usage(`runts ${name}`, cacsWords);
    const expected =
      least === most ? `exactly ${least}` : given < least ? `a minimum of ${least}` : `a maximum of ${most}`;
    return usage(`runts ${name}`, `"${name}" requires ${expected} argument(s)`);
  }
}

/** The global flags that a command with these flags of its own takes too; -h keeps its letter, others lose theirs. */
function alsoAfter(globals: Flags, own: Flags): Flags {
  return Object.fromEntries(
    Object.entries(globals)
      .filter(([each]) => !Object.hasOwn(own, each) && each !== "version" && each !== "config")
      .map(([each, { short, ...declared }]) => [each, { ...declared, ...(each === "help" ? { short } : {}) } as Flag]),
  );
}

const optionsOf = (flags: Flags): Option[] => Object.entries(flags).map(([name, each]) => optionOf(name, each));

/**
 * A flag as cac's option: "-b, --bundle <DIR>", with room for the letter where there is none. Not by `option()`, which
 * concludes from the text what is for cac's own parser: --no-pivot, say, would be the denial of --pivot.
 */
function optionOf(name: string, declared: Flag): Option {
  const { type, value = "VALUE", short, help } = declared;
  const suffix = type === "boolean" ? "" : type === "optional" ? `[=${value}]` : ` <${value}>`;
  return {
    name,
    names: [name],
    rawName: `${short === undefined ? "    " : `-${short}, `}--${dashed(name)}${suffix}`,
    description: type === "list" ? `${help} (may be repeated)` : help,
    isBoolean: type === "boolean",
    negated: false,
    config: { default: "default" in declared ? declared.default : undefined },
  };
}
