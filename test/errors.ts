/**
 * What `runts do` says and leaves behind when something is wrong: one clear line on stderr, the status that a shell
 * gives, no process, mount or temporary file left, also after kill -9 of either side.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileGuest } from "./guest.ts";
import { cleanEnv, type Result, run } from "./harness/process.ts";
import { executable, inSandbox, isRoot, platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";
import { currentUser, prefixed } from "./harness/user.ts";

interface Bad {
  when: string;
  /** The command line after the name of the executable; {dir} is a directory with the bad files. */
  args: string[];
  status: number[];
  /** What the one line must speak of. */
  says: RegExp;
  /** Not once per platform. */
  once?: boolean;
}

const bad: Bad[] = [
  {
    when: "no such command",
    args: ["do", "no-such-command-anywhere"],
    status: [127],
    says: /no-such-command-anywhere.*not found/,
  },
  {
    when: "no such path",
    args: ["do", "/no/such/file"],
    status: [127],
    says: /\/no\/such\/file.*(not found|no such file)/i,
  },
  { when: "not executable", args: ["do", "{dir}/plain"], status: [126], says: /plain.*permission denied/i },
  { when: "a directory", args: ["do", "{dir}"], status: [126], says: /(permission denied|is a directory)/i },
  { when: "neither ELF nor script", args: ["do", "{dir}/text"], status: [126], says: /text.*exec format error/i },
  { when: "an empty file", args: ["do", "{dir}/empty"], status: [126], says: /empty.*exec format error/i },
  { when: "a truncated ELF", args: ["do", "{dir}/truncated"], status: [126], says: /truncated.*exec format error/i },
  { when: "a corrupt ELF", args: ["do", "{dir}/corrupt"], status: [126], says: /corrupt.*exec format error/i },
  { when: "another architecture", args: ["do", "{dir}/aarch64"], status: [126], says: /aarch64.*exec format error/i },
  { when: "a missing loader", args: ["do", "{dir}/no-loader"], status: [127], says: /no-loader|no such file/i },
  {
    when: "a script without its interpreter",
    args: ["do", "{dir}/script"],
    status: [127],
    says: /script|no such file/i,
  },
  {
    when: "an unknown flag",
    args: ["do", "--no-such-flag", "true"],
    status: [1],
    says: /no-such-flag/,
    once: true,
  },
  {
    when: "an unknown platform",
    args: ["--platform", "no-such", "do", "true"],
    status: [1],
    says: /platform.*no-such|no-such.*platform/i,
    once: true,
  },
  {
    when: "an unknown platform after do",
    args: ["do", "--platform", "no-such", "true"],
    status: [1],
    says: /platform.*no-such|no-such.*platform/i,
    once: true,
  },
  { when: "an unknown command", args: ["no-such-verb"], status: [1], says: /no-such-verb/, once: true },
  { when: "nothing to do", args: ["do"], status: [1], says: /argument|command/i, once: true },
];

const good: { when: string; script: string; status: number; stdout?: string }[] = [
  { when: "a status", script: "exit 42", status: 42 },
  { when: "a signal", script: "kill -TERM $$", status: 143 },
  { when: "a fault", script: "kill -SEGV $$", status: 139 },
  { when: "children left behind", script: "sleep 1000 & sleep 1000 & exit 3", status: 3 },
  {
    when: "children in sessions of their own",
    script: "setsid sleep 1000 & setsid sh -c 'trap \"\" HUP TERM; sleep 1000' & sleep 0.2; exit 4",
    status: 4,
  },
  {
    when: "files written in /tmp and elsewhere",
    script: "echo x > /tmp/runts-test-file; echo x > /etc/runts-test-file; ls /tmp /etc | grep -c runts-test-file",
    status: 0,
    stdout: "2\n",
  },
];

let directory: string | undefined;

/** The bad files, made once. Outside /tmp, which leftovers.sh covers with a memory of its own. */
async function files(): Promise<string> {
  if (directory) return directory;
  const base = join(import.meta.dir, "../build");
  mkdirSync(base, { recursive: true });
  const dir = mkdtempSync(join(base, "errors-"));
  chmodSync(dir, 0o755);
  const put = (name: string, data: string | Uint8Array, mode = 0o755): void => {
    writeFileSync(join(dir, name), data);
    chmodSync(join(dir, name), mode);
  };
  const elf = readFileSync(await compileGuest("getrandom"));
  const dynamic = readFileSync(await compileGuest("dynamic"));
  const changed = (edit: (b: Buffer) => void, from = elf): Buffer => {
    const copy = Buffer.from(from);
    edit(copy);
    return copy;
  };
  put("plain", "#!/bin/sh\necho no\n", 0o644);
  put("text", "this is no program\n");
  put("empty", "");
  put("truncated", elf.subarray(0, 40));
  put(
    "corrupt",
    changed((b) => b.writeBigUInt64LE(0x7fff_ffff_ffffn, 32)),
  );
  put(
    "aarch64",
    changed((b) => b.writeUInt16LE(183, 18)),
  );
  put(
    "no-loader",
    changed((b) => b.write("/lib64/no-such-loader.so.2", b.indexOf("/lib64/ld-linux")), dynamic),
  );
  put("script", "#!/no/such/interpreter\n");
  directory = dir;
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Runs a command and says what it left behind. */
async function watched(command: string[], timeoutMs = 20_000): Promise<{ result: Result; left: string[] }> {
  const report = join(await files(), `report-${Math.random().toString(36).slice(2)}`);
  const script = join(import.meta.dir, "errors/leftovers.sh");
  const around = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "/bin/sh", script, report];
  const result = await run([...around, ...prefixed(command)], { timeoutMs, cwd: "/", asSelf: true });
  const left = existsSync(report) ? readFileSync(report, "utf8").trim().split("\n").filter(Boolean) : [];
  rmSync(report, { force: true });
  return { result, left };
}

const leftProblem = (left: string[]): string[] => (left.length ? [`left behind:\n  ${left.join("\n  ")}`] : []);

function withPlatform(args: string[], platform: string): string[] {
  return args[0] === "do" ? [executable(), "do", "--platform", platform, ...args.slice(1)] : [executable(), ...args];
}

async function checkBad(one: Bad, platform: string): Promise<Outcome> {
  const dir = await files();
  const args = one.args.map((a) => a.replace("{dir}", dir));
  const { result, left } = await watched(one.once ? [executable(), ...args] : withPlatform(args, platform));
  const problems: string[] = [];
  if (result.timedOut) problems.push("no end");
  if (!one.status.includes(result.status)) problems.push(`status ${result.status}, not ${one.status.join(" or ")}`);
  // A mistake on the command line may be followed by the hint where to look.
  const lines = result.stderr
    .trimEnd()
    .replace(/\nTry '.*'\.$/, "")
    .split("\n");
  if (lines.length !== 1 || !one.says.test(lines[0]!))
    problems.push(`stderr is not one line like ${one.says}:\n${result.stderr}`);
  if (result.stdout !== "") problems.push(`stdout: ${result.stdout}`);
  return problems.concat(leftProblem(left)).length ? fail(problems.concat(leftProblem(left)).join("\n")) : pass;
}

/** kill -9 of the command line or of the process below it, in the middle of a program with children. */
async function checkKill(whom: "command" | "sandbox" | "both", platform: string): Promise<Outcome> {
  const program = "sleep 1000 & (sleep 1000 & sleep 1000) & echo started; wait";
  const victim = {
    command: '"$c"',
    sandbox: "$(cat /proc/$c/task/$c/children)",
    both: '$(cat /proc/$c/task/$c/children) "$c"',
  }[whom];
  const driver = `mkfifo /tmp/driver; "$@" > /tmp/driver & c=$!; read line < /tmp/driver; echo "$line"; sleep 0.2; kill -9 ${victim}; wait $c; s=$?; rm /tmp/driver; exit $s`;
  const { result, left } = await watched([
    "/bin/sh",
    "-c",
    driver,
    "sh",
    ...inSandbox(platform, ["/bin/sh", "-c", program]),
  ]);
  const problems = leftProblem(left);
  if (result.timedOut) problems.push("no end");
  if (result.stdout !== "started\n") problems.push(`stdout ${JSON.stringify(result.stdout)}, stderr ${result.stderr}`);
  if (whom === "command" && result.status !== 137) problems.push(`status ${result.status}, not 137`);
  if (whom === "sandbox" && (result.status === 0 || result.status > 255)) problems.push(`status ${result.status}`);
  return problems.length ? fail(problems.join("\n")) : pass;
}

/** SIGINT and SIGTERM sent to the command line reach the guest, whose answer is the status. */
/** A fatal signal at any moment of the start ends program, sandbox and command. */
async function checkEarlySignals(platform: string): Promise<Outcome> {
  const one = async (signal: NodeJS.Signals, ms: number): Promise<string> => {
    const child = Bun.spawn(inSandbox(platform, ["sleep", "60"]), {
      env: cleanEnv,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
    });
    await Bun.sleep(ms);
    child.kill(signal);
    const ended = await Promise.race([child.exited, Bun.sleep(30_000).then(() => null)]);
    if (ended !== null) return "";
    child.kill("SIGKILL");
    return `${signal} after ${ms} ms: no end`;
  };
  const problems: string[] = [];
  for (let round = 0; round < 8; round++)
    problems.push(
      ...(await Promise.all([0, 1, 2, 3].map((k) => one(k % 2 ? "SIGTERM" : "SIGQUIT", 40 + round * 40 + k * 11)))),
    );
  const found = problems.filter((problem) => problem !== "");
  return found.length > 0 ? fail(found.join("\n")) : pass;
}

async function checkSignal(signal: "INT" | "TERM" | "HUP", platform: string): Promise<Outcome> {
  const program = `trap 'echo caught; exit 5' ${signal}; echo started; while :; do sleep 0.1; done`;
  const driver = `mkfifo /tmp/driver; "$@" > /tmp/driver & c=$!; exec 3< /tmp/driver; read line <&3; echo "$line"; kill -${signal} $c; cat <&3; wait $c; s=$?; exec 3<&-; rm /tmp/driver; exit $s`;
  const { result, left } = await watched([
    "/bin/bash",
    "-c",
    driver,
    "bash",
    ...inSandbox(platform, ["/bin/sh", "-c", program]),
  ]);
  const problems = leftProblem(left);
  if (result.stdout !== "started\ncaught\n" || result.status !== 5)
    problems.push(`status ${result.status}, stdout ${JSON.stringify(result.stdout)}, stderr ${result.stderr}`);
  return problems.length ? fail(problems.join("\n")) : pass;
}

/**
 * A sandbox whose kernel takes nothing (it is stopped): the signals that ask for the end, sent to the command line, end it
 * all the same: one by itself after 5 s, a second one after the first has been waiting for a second.
 */
async function checkSilent(signals: readonly string[], withinMs: number, platform: string): Promise<Outcome> {
  const sends = signals.map((signal) => `kill -${signal} $c`).join("; sleep 1.2; ");
  const driver = `mkfifo /run/driver; "$@" > /run/driver & c=$!; exec 3< /run/driver; read line <&3; kill -STOP $(cat /proc/$c/task/$c/children); a=$(date +%s%N); ${sends}; wait $c; s=$?; echo $(( ($(date +%s%N) - a) / 1000000 )); exec 3<&-; rm /run/driver; exit $s`;
  const program = "sleep 1000 & echo started; while :; do sleep 1; done";
  const { result, left } = await watched(
    ["/bin/bash", "-c", driver, "bash", ...inSandbox(platform, ["/bin/sh", "-c", program])],
    30_000,
  );
  const problems = leftProblem(left);
  if (result.timedOut) problems.push("no end");
  if (result.status !== 137) problems.push(`status ${result.status}, not 137`);
  if (!(Number(result.stdout) < withinMs)) problems.push(`it took ${result.stdout.trim()} ms, not ${withinMs}`);
  if (!/^runts: .*the sandbox process \d+ does not answer: it is killed\n$/.test(result.stderr))
    problems.push(`stderr ${result.stderr}`);
  return problems.length ? fail(problems.join("\n")) : pass;
}

/** As many INTs as it is sent go to a program that handles them, and TERM to one that ignores it. */
async function checkManySignals(platform: string): Promise<Outcome> {
  const program = `n=0; trap 'n=$((n+1)); echo INT $n' INT; trap '' TERM HUP; trap 'exit 6' USR1; echo started; while :; do sleep 0.05; done`;
  const sends = [1, 2, 3, 4].map(() => `kill -INT $c; read line <&3; echo "$line"; kill -TERM $c`).join("; ");
  const driver = `mkfifo /run/driver; "$@" > /run/driver & c=$!; exec 3< /run/driver; read line <&3; ${sends}; kill -HUP $c; sleep 1.2; kill -TERM $c; sleep 0.3; kill -USR1 $c; wait $c; s=$?; exec 3<&-; rm /run/driver; exit $s`;
  const { result, left } = await watched(
    ["/bin/bash", "-c", driver, "bash", ...inSandbox(platform, ["/bin/sh", "-c", program])],
    30_000,
  );
  const problems = leftProblem(left);
  if (result.stdout !== "INT 1\nINT 2\nINT 3\nINT 4\n" || result.status !== 6 || result.stderr !== "")
    problems.push(`status ${result.status}, stdout ${JSON.stringify(result.stdout)}, stderr ${result.stderr}`);
  return problems.length ? fail(problems.join("\n")) : pass;
}

/** Standard input, output and error pass through: files, pipes, closed ends, large data. */
async function checkStdio(platform: string): Promise<Outcome> {
  const problems: string[] = [];
  const data = "0123456789abcdef".repeat(65536);
  const echo = await run(inSandbox(platform, ["cat"]), { timeoutMs: 20_000, stdin: data });
  if (echo.stdout !== data || echo.status !== 0)
    problems.push(`cat of 1 MiB gave ${echo.stdout.length} bytes, status ${echo.status}: ${echo.stderr}`);
  const both = await run(inSandbox(platform, ["sh", "-c", "echo out; echo err >&2; exit 3"]), { timeoutMs: 20_000 });
  if (both.stdout !== "out\n" || both.stderr !== "err\n" || both.status !== 3)
    problems.push(`out ${both.stdout} err ${both.stderr} status ${both.status}`);
  const piped = [
    "/bin/bash",
    "-c",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: bash's own
    '"$@" < /etc/passwd | head -1 | wc -l; echo "${PIPESTATUS[0]}"',
    "bash",
    ...inSandbox(platform, ["sh", "-c", "while :; do echo y; done"]),
  ];
  const pipe = await run(piped, { timeoutMs: 20_000 });
  if (pipe.stdout !== "1\n141\n") problems.push(`a closed pipe: ${pipe.stdout} ${pipe.stderr}`);
  const closed = await run(["/bin/bash", "-c", '"$@" <&-', "bash", ...inSandbox(platform, ["sh", "-c", "echo ok"])], {
    timeoutMs: 20_000,
  });
  if (closed.stdout !== "ok\n") problems.push(`closed stdin: ${closed.stdout} ${closed.stderr}`);
  const env = await run(inSandbox(platform, ["sh", "-c", 'echo "$MARK"; pwd; id -u']), {
    timeoutMs: 20_000,
    cwd: "/usr/share",
    env: { ...cleanEnv, MARK: "a b" },
  });
  if (env.stdout !== `a b\n/usr/share\n${currentUser()?.uid ?? process.getuid?.()}\n`)
    problems.push(`environment and directory: ${env.stdout} ${env.stderr}`);
  return problems.length ? fail(problems.join("\n")) : pass;
}

/** Limits of the caller: a low one is raised, or named in one line; a high one changes nothing. */
const limits: { option: string; value: string; low: boolean }[] = [
  { option: "-n", value: "64", low: true },
  { option: "-n", value: "300", low: false },
  { option: "-v", value: "2000000", low: true },
  { option: "-f", value: "100", low: true },
  { option: "-f", value: "2000000", low: false },
  { option: "-s", value: "256", low: false },
  { option: "-s", value: "unlimited", low: false },
  { option: "-c", value: "unlimited", low: false },
  { option: "-l", value: "0", low: false },
];

async function checkLimit({ option, value, low }: (typeof limits)[number], platform: string): Promise<Outcome> {
  const command = inSandbox(platform, ["sh", "-c", "echo works"]);
  const script = `ulimit ${option} ${value} || exit 99; exec "$@"`;
  const { result, left } = await watched(["/bin/bash", "-c", script, "bash", ...command]);
  const problems = leftProblem(left);
  if (result.status === 99) return skip(`the host does not let us set ulimit ${option} ${value}`);
  const named = result.status === 1 && new RegExp(`^runts: .*ulimit ${option}.*\\n$`).test(result.stderr);
  if (!(result.status === 0 && result.stdout === "works\n") && !(low && named))
    problems.push(`status ${result.status}, stdout ${result.stdout}, stderr ${result.stderr}`);
  return problems.length ? fail(problems.join("\n")) : pass;
}

/** The host forbids user namespaces to who has no other rights: one line names the setting. With rights it goes without. */
async function checkNoNamespaces(platform: string): Promise<Outcome> {
  const command = inSandbox(platform, ["sh", "-c", "echo works"]);
  // Root of a namespace in which no further one may be made, with and without its capabilities.
  const script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"';
  const around = ["unshare", "-Ur", "sh", "-c", script, "sh"];
  const plain = await watched([...around, "setpriv", "--bounding-set=-all", "--inh-caps=-all", ...command]);
  const root = await watched([...around, ...command]);
  const problems = [...leftProblem(plain.left), ...leftProblem(root.left)];
  if (plain.result.status !== 1 || !/^runts: .*sysctl user\.max_user_namespaces\n$/.test(plain.result.stderr))
    problems.push(`status ${plain.result.status}, stderr ${plain.result.stderr}`);
  if (root.result.status !== 0 || root.result.stdout !== "works\n")
    problems.push(`with capabilities: status ${root.result.status}, stderr ${root.result.stderr}`);
  return problems.length ? fail(problems.join("\n")) : pass;
}

/** A host that hides parts of /proc, as containers do, lets nobody mount another: the sandbox goes without in its jail. */
async function checkMaskedProc(platform: string): Promise<Outcome> {
  const program =
    'read line </proc/self/statm && test -n "$line" && ps >/dev/null && cp /bin/true /tmp/t && /tmp/t && echo works';
  const script = 'mount --bind /dev/null /proc/interrupts && exec "$@"';
  const command = inSandbox(platform, ["sh", "-c", program]);
  const { result, left } = await watched(["unshare", "-Urm", "sh", "-c", script, "sh", ...command]);
  const problems = leftProblem(left);
  if (result.status !== 0 || result.stdout !== "works\n")
    problems.push(`status ${result.status}, stdout ${result.stdout}, stderr ${result.stderr}`);
  return problems.length ? fail(problems.join("\n")) : pass;
}

export function errorGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  const add = (name: string, check: () => Promise<Outcome>): void => {
    if (!matches(name, filters)) return;
    cases.push({
      name,
      run: async () => (isRoot ? await check() : skip("looking for what is left behind needs root")),
    });
  };
  const slug = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  for (const one of bad)
    for (const platform of one.once ? platforms.slice(0, 1) : platforms)
      add(`errors/${slug(one.when)}${one.once ? "" : `@${platform}`}`, () => checkBad(one, platform));
  for (const platform of platforms) {
    for (const one of good)
      add(`errors/${slug(one.when)}@${platform}`, async () => {
        const { result, left } = await watched(inSandbox(platform, ["/bin/sh", "-c", one.script]));
        const problems = leftProblem(left);
        if (result.timedOut) problems.push("no end");
        if (result.status !== one.status)
          problems.push(`status ${result.status}, not ${one.status}; stderr ${result.stderr}`);
        if (one.stdout !== undefined && result.stdout !== one.stdout)
          problems.push(`stdout ${JSON.stringify(result.stdout)}`);
        return problems.length ? fail(problems.join("\n")) : pass;
      });
    for (const whom of ["command", "sandbox", "both"] as const)
      add(`errors/kill-9-of-${whom}@${platform}`, () => checkKill(whom, platform));
    for (const signal of ["INT", "TERM", "HUP"] as const)
      add(`errors/signal-${signal}@${platform}`, () => checkSignal(signal, platform));
    for (const [signals, withinMs] of [
      [["TERM"], 9000],
      [["QUIT"], 9000],
      [["INT", "INT"], 4500],
      [["HUP", "TERM"], 9000],
    ] as const)
      add(`errors/silent-sandbox-${signals.join("-")}@${platform}`, () => checkSilent(signals, withinMs, platform));
    add(`errors/early-signals@${platform}`, () => checkEarlySignals(platform));
    add(`errors/many-signals@${platform}`, () => checkManySignals(platform));
    for (const one of limits)
      add(`errors/ulimit-${one.option.slice(1)}-${one.value}@${platform}`, () => checkLimit(one, platform));
    add(`errors/masked-proc@${platform}`, () => checkMaskedProc(platform));
    add(`errors/no-user-namespaces@${platform}`, () => checkNoNamespaces(platform));
    add(`errors/stdio@${platform}`, () => checkStdio(platform));
  }
  return { name: "errors", cases };
}
