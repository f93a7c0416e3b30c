import { describe, expect, test } from "bun:test";
import { CAC } from "cac";
import { Cli, type Invocation } from "./cli.ts";
import { type CommandContext, type CommandDeclaration, command, operandsOf } from "./command.ts";
import { builtInCommands } from "./commands/index.ts";
import { flag } from "./flags.ts";
import { globalFlags } from "./global-flags.ts";
import type { AnyCommand } from "./registry.ts";
import { versionText } from "./version.ts";

let seen: unknown[] = [];
const probe = command({
  name: "probe",
  summary: "look at something",
  args: "<id> [...more]",
  description: "\nLooks, and\nsays nothing.\n",
  examples: ["runts probe c1"],
  flags: {
    noDepth: flag.boolean({ short: "n", help: "shallow" }),
    format: flag.string({ value: "FORMAT", default: "table", help: "table or json" }),
    filter: flag.list({ value: "A=B", help: `what to look at, ${"and more of it ".repeat(5).trim()}` }),
    trace: flag.optional({ value: "<NAMES>", help: "tell" }),
    secret: flag.boolean({ help: "not shown", hidden: true }),
  },
  run(_context, values, args) {
    seen = [values, args];
    return 7;
  },
});
const hidden: AnyCommand = { name: "inner", summary: "not shown", hidden: true, load: async () => probe };

class Bench {
  readonly written: string[] = [];
  readonly cli: Cli;
  constructor(extra: readonly AnyCommand[] = [probe, hidden]) {
    const known = new Map([...builtInCommands, ...extra].map((each) => [each.name, each]));
    this.cli = new Cli(known, globalFlags, (text) => this.written.push(text));
  }
}
async function read(...argv: string[]): Promise<Invocation> {
  const invocation = await new Bench().cli.read(argv);
  expect(invocation).not.toBeNull();
  return invocation!;
}
async function run(...argv: string[]): Promise<unknown> {
  const { cli } = new Bench();
  await cli.read(argv);
  return cli.run({} as CommandContext);
}
async function printed(...argv: string[]): Promise<string> {
  const { cli, written } = new Bench();
  expect(await cli.read(argv)).toBeNull();
  expect(written).toHaveLength(1);
  return written[0]!;
}

describe("the seam: every reading of words that cac does is ours", () => {
  test("cac has it, as a method that its parse calls", () => {
    expect(Object.hasOwn(CAC.prototype, "mri")).toBe(true);
    const asked: string[][] = [];
    class Probe extends CAC {}
    Object.assign(Probe.prototype, {
      mri(argv: string[]) {
        asked.push(argv);
        return { args: ["x", "y"], options: { own: 1 } };
      },
    });
    const cli = new Probe("probe");
    cli.command("x [...rest]").allowUnknownOptions();
    expect(cli.parse(["", "", "-x", "y"], { run: false })).toEqual({ args: ["y"], options: { own: 1 } });
    expect(asked).toEqual([["-x", "y"]]);
  });
  test("without it, words are read otherwise", () => {
    const cli = new CAC("probe");
    cli.command("exec <id> [...program]").option("--cwd <DIR>", "");
    const { args, options } = cli.parse(["", "", "exec", "--cwd=007", "c1", "ls", "-la"], { run: false });
    expect([args, options]).toEqual([["c1", "ls"], { "--": [], cwd: 7, l: true, a: true }]);
  });
});

describe("words are read as runc reads them (3.1-spellings, 3.1-globals)", () => {
  const cases: [line: string, flags: Record<string, unknown>, operands: string[], globals?: Record<string, unknown>][] =
    [
      ["create -bundle /b c1", { bundle: "/b" }, ["c1"]],
      ["create -bundle=/b c1", { bundle: "/b" }, ["c1"]],
      ["create -b /b c1", { bundle: "/b" }, ["c1"]],
      ["create --bundle= c1", { bundle: "" }, ["c1"]],
      ["create --bundle - c1", { bundle: "-" }, ["c1"]],
      ["create --bundle --pid-file c1", { bundle: "--pid-file", pidFile: undefined }, ["c1"]],
      ["create --no-pivot c1", { noPivot: true }, ["c1"]],
      ["create c1", { noPivot: false, bundle: "" }, ["c1"]],
      ["create c1 --pid-file 0123", { pidFile: "0123" }, ["c1"]],
      ["create --preserve-fds 3 c1", { preserveFds: 3 }, ["c1"]],
      ["exec --cwd=007 c1 true", { cwd: "007" }, ["c1", "true"]],
      ["exec c1 ls -la", { cwd: undefined }, ["c1", "ls", "-la"]],
      ["exec -t c1 sh -- -t", { tty: true, detach: false }, ["c1", "sh", "--", "-t"]],
      ["exec -- c1 -x", {}, ["c1", "-x"]],
      ["exec --env=A= c1 true", { env: ["A="] }, ["c1", "true"]],
      ["exec -e A=1 --env B=2 c1 true", { env: ["A=1", "B=2"] }, ["c1", "true"]],
      ["exec -td c1 true", { tty: true, detach: true }, ["c1", "true"]],
      ["kill c1 0", {}, ["c1", "0"]],
      ["kill --all=false c1 KILL", { all: false }, ["c1", "KILL"]],
      ["--root /r create c1", {}, ["c1"], { root: "/r" }],
      ["-root=/r -systemd-cgroup --rootless=false list -q", { quiet: true }, [], { root: "/r", systemdCgroup: true }],
      ["--log 1e3 state c1", {}, ["c1"], { log: "1e3" }],
      ["state --debug c1", {}, ["c1"], { debug: true }],
      ["exec --log /l c1 ls --log x", {}, ["c1", "ls", "--log", "x"], { log: "/l" }],
    ];
  for (const [line, flags, operands, globals = {}] of cases)
    test(line, async () => {
      const found = await read(...line.split(" "));
      expect(found.declaration.name).toBe(line.match(/create|exec|kill|list|state/)![0]);
      expect(found.own.values).toMatchObject(flags);
      expect(found.own.positionals).toEqual(operands);
      expect(found.globals.values).toMatchObject(globals);
    });
  test("a flag of the command goes before a global one of that name", async () => {
    const own = command({ name: "own", summary: "", flags: { root: flag.string({ help: "" }) }, run() {} });
    const found = await new Bench([own]).cli.read(["--root", "/r", "own", "--root", "/mine"]);
    expect([found!.globals.values["root"], found!.own.values]).toEqual(["/r", { root: "/mine" }]);
  });
  test("what was given after the command counts as given", async () => {
    const { globals, own } = await read("state", "--log", "/l", "c1");
    expect([globals.given.has("log"), own.given.size]).toEqual([true, 0]);
  });
});

describe("running", () => {
  test("the command gets its own flags and operands; its result comes back", async () => {
    expect(await run("--debug", "probe", "-n", "a", "b", "c")).toBe(7);
    expect(seen).toEqual([
      { noDepth: true, format: "table", filter: [], trace: undefined, secret: false },
      ["a", "b", "c"],
    ]);
  });
  test("optional values and hidden flags", async () => {
    expect(await run("probe", "--trace", "--secret", "a")).toBe(7);
    expect(seen).toMatchObject([{ trace: true, secret: true }, ["a"]]);
  });
  test("operands that are not there are none", async () => {
    const { own } = await read("exec", "c1");
    expect(own.positionals).toEqual(["c1"]);
  });
  const wrong: [string, string][] = [
    ["state", '"state" requires exactly 1 argument(s)'],
    ["state a b", '"state" requires exactly 1 argument(s)'],
    ["kill", '"kill" requires a minimum of 1 argument(s)'],
    ["kill a b c", '"kill" requires a maximum of 2 argument(s)'],
    ["probe", '"probe" requires a minimum of 1 argument(s)'],
    ["list x", '"list" requires exactly 0 argument(s)'],
  ];
  for (const [line, message] of wrong)
    test(line, async () =>
      expect(run(...line.split(" "))).rejects.toMatchObject({
        code: "usage",
        message,
        action: `runts ${line.split(" ")[0]}`,
      }),
    );
  test("a command's own failure stays what it is", async () => {
    const failure = new Error("boom");
    const bad: CommandDeclaration = {
      name: "bad",
      summary: "",
      run() {
        throw failure;
      },
    };
    const { cli } = new Bench([bad]);
    await cli.read(["bad"]);
    expect(() => cli.run({} as CommandContext)).toThrow(failure);
  });
});

describe("the mistaken are told", () => {
  for (const [line, message] of [
    ["crate x", 'unknown command "crate", did you mean create?'],
    ["innr", 'unknown command "innr"'],
    ["create --bundel /b c1", "unknown flag --bundel, did you mean --bundle?"],
    ["--platfrom x list", "unknown flag --platfrom, did you mean --platform?"],
    ["create c1 --bundle", "flag --bundle needs a value"],
    ["create --config x c1", "unknown flag --config"],
    ["help crate", 'unknown command "crate", did you mean create?'],
  ] as const)
    test(line, async () => expect(new Bench().cli.read(line.split(" "))).rejects.toThrow(message));
});

describe("help and version", () => {
  const PROBE = `look at something

Usage: runts probe [flags] <id> [...more]

Looks, and
says nothing.

Flags:
  -n, --no-depth         shallow
      --format <FORMAT>  table or json (default: table)
      --filter <A=B>     what to look at, and more of it and more of it and more
                         of it and more of it and more of it (may be repeated)
      --trace[=<NAMES>]  tell

Examples:
  runts probe c1

Global flags: \`runts --help\`.
`;
  for (const line of [
    "help probe",
    "h probe",
    "probe --help",
    "probe -h",
    "probe a -h",
    "--help probe",
    "--debug help probe",
    "probe a b --help=true",
  ])
    test(line, async () => expect(await printed(...line.split(" "))).toBe(PROBE));
  for (const line of ["", "help", "h", "--help", "-h", "--debug", "help help", "help --debug"])
    test(`"${line}" is the program's`, async () => {
      const text = await printed(...line.split(" ").filter(Boolean));
      expect(text).toStartWith(
        "runts runs containers, and single programs, on its own user-space Linux kernel.\n\nUsage:",
      );
      expect(text).toContain("\n  kill          send a signal to a container\n");
      expect(text).toContain("\n      --log-format <FORMAT>  text or json (default: text)\n");
      expect(text).toEndWith("\n\n`runts help COMMAND` tells more of each.\n");
      expect(text).not.toContain("inner");
      expect(Math.max(...text.split("\n").map((each) => each.length))).toBeLessThanOrEqual(80);
    });
  test("every command has one, of 80 columns", async () => {
    for (const { name, summary } of builtInCommands) {
      const text = await printed("help", name);
      expect(text).toStartWith(`${summary}\n\nUsage: runts ${name}`);
      expect(Math.max(...text.split("\n").map((each) => each.length))).toBeLessThanOrEqual(80);
    }
  });
  test("a program's own --help is not ours", async () =>
    expect((await read("exec", "c1", "ls", "--help")).own.positionals).toEqual(["c1", "ls", "--help"]));
  test("console is left as it was", async () => {
    const { info } = console;
    await printed("--help");
    expect(console.info).toBe(info);
  });
  test("version", async () => {
    expect(await printed("--version")).toBe(versionText());
    expect(await printed("--debug", "-v")).toBe(versionText());
  });
});

describe("operands", () => {
  const of = (args: string) => operandsOf({ name: "x", args });
  test("cac's words", () => expect(of("<id> [signal] [...more]")).toEqual(["<id>", "[signal]", "[...more]"]));
  test("an older spelling of any number", () => expect(of("<id> [id...]")).toEqual(["<id>", "[...id]"]));
  test("none", () => expect(operandsOf({ name: "x" })).toEqual([]));
  for (const bad of ["ID", "<id", "<id]", "[]", "<a><b>", "[a|<b>]"])
    test(`${bad} is none`, () => expect(() => of(bad)).toThrow(`command "x": expected <operand>`));
});
