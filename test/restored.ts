/**
 * Guest conformance programs that are moved in their middle: each is saved at its k-th system call, on either platform, and
 * restored on the other one. All parts together must print what the host's run prints, and end with its status. Their files
 * are in the memory of the sandbox in one direction, and in a directory of the host in the other.
 *
 * The k: from the number of calls that a program makes (restored/calls.json; of one that is not there it is counted first),
 * half of it in one direction; in the other one there and back. RUNTS_RESTORE=full tries some more, RUNTS_RESTORE=7,30+5
 * what is said: a run that is saved at call 7, and one that is at call 30, and again five calls later.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { schemaOf, schemaProblem } from "../src/kernel/testing/checked-schema.ts";
import { loadEveryClass } from "../src/kernel/testing/every-class.ts";
import { compileGuest, guestNames, onHost } from "./guest.ts";
import { compareResults } from "./harness/compare.ts";
import { cleanEnv, type Result, run } from "./harness/process.ts";
import { executable, isRoot, platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";

const TIMEOUT_MS = 60_000;
const DIRECTIONS = [
  ["systrap", "ptrace"],
  ["ptrace", "systrap"],
] as const;
const plugins = join(import.meta.dir, "restored");

/** Calls that a program makes, about: those of several threads are not the same number each time. */
export const counts = JSON.parse(readFileSync(join(plugins, "calls.json"), "utf8")) as Record<string, number>;

/** Programs whose files are in memory whatever the direction: of the host's directories they cannot have what they want. */
const IN_MEMORY: Record<string, string> = {
  "dev-nodes": "there are no device nodes on a bind mount",
  mounts: "pivot_root, where the parent of a mount is another one",
  "o-tmpfile": "there is no O_TMPFILE in directories of the host",
};

/** What a program sees of the time in which it was nowhere: real time has passed, and for the other clocks it has not. */
const CLOCKS: Record<string, { why: string; without(output: string): string }> = {
  "nanosleep-eintr": {
    why: "it sleeps until some real time, which passes meanwhile, and looks at the monotonic clock",
    without: (output) => output.replace(/^(now_ns\(\) - begun >= 15000000:) no$/gm, "$1 yes"),
  },
};

/**
 * All parts of a run, with the same standard output: one more where the one before has left an image, on the other platform.
 * Each is saved as save0.toml, save1.toml … say; the last one has no such file.
 */
const SCRIPT = `
part=0
"$RUNTS" --config "$DIR/save0.toml" --platform "$FROM" do --save "$DIR/image0" \${VOLUME:+-v "$VOLUME:/tmp"} -- "$PROGRAM"
status=$?
while [ -e "$DIR/image$part/manifest.json" ]; do
  echo moved >&2
  image="$DIR/image$part" platform="$TO" TO="$FROM" FROM="$platform" part=$((part + 1))
  [ -e "$DIR/save$part.toml" ] || exec "$RUNTS" --platform "$platform" do --from "$image"
  "$RUNTS" --config "$DIR/save$part.toml" --platform "$platform" do --from "$image" --save "$DIR/image$part"
  status=$?
  rm -rf "$image"
done
exit $status
`;

/** A run that is saved, restored, and saved at once: two images. */
const AGAIN = `
"$RUNTS" --config "$DIR/save0.toml" --platform "$FROM" do --save "$DIR/image" -- "$PROGRAM"
[ -e "$DIR/image/manifest.json" ] || exit 1
exec "$RUNTS" --config "$DIR/again.toml" --platform "$TO" do --from "$DIR/image" --save "$DIR/second"
`;
/** Programs for that, of all kinds of objects. */
const SAVED_AGAIN = [
  "epoll-nested",
  "fcntl-locks",
  "fork-threaded",
  "futex-pi",
  "inet-tcp",
  "inotify",
  "memfd",
  "memory-later",
  "mounts",
  "pty",
  "signals-queue",
  "socketpair-scm",
  "timerfd",
  "vfork-exec",
];

/** The numbers of calls after which it is saved: of one run, or of several. */
function moments(topic: string, total: number, second: boolean): number[][] {
  const words = process.env["RUNTS_RESTORE"] ?? "";
  if (/^[0-9,+]+$/.test(words)) return words.split(",").map((run) => run.split("+").map(Number));
  const part = (share: number) => Math.floor(total * share);
  const fixed = [3, 30, 300].filter((k) => k < total * 0.8);
  if (words === "full") {
    const once = [...new Set([...fixed, ...[0.25, 0.5, 0.75, 0.9].map(part)])].sort((a, b) => a - b);
    return [...once.map((k) => [k]), Array.from({ length: 6 }, () => part(1 / 7))];
  }
  // There and back: some early, some late.
  const others = [...fixed, part(0.6)];
  return [second ? [others[topic.length % others.length]!, part(0.3)] : [part(0.5)]];
}

async function callsOf(program: string, dir: string): Promise<number> {
  configure(dir, [0]);
  const done = await run([executable(), "--config", join(dir, "save0.toml"), "do", "--", program], {
    timeoutMs: TIMEOUT_MS,
  });
  const told = CALLS.exec(done.stderr)?.[1];
  if (told === undefined) throw new Error(`its calls cannot be counted: ${done.stderr}`);
  return Number(told);
}
const CALLS = /(\d+) calls$/m;

/** The command's configurations, by which it is saved at these calls, one after the other. */
export function configure(dir: string, moments: readonly number[]): void {
  for (const [i, at] of moments.entries()) writeFileSync(join(dir, `save${i}.toml`), configuration(`at = ${at}`));
}
const configuration = (option: string): string =>
  `[plugins]\ndirectories = [${JSON.stringify(plugins)}]\nenable = ["mover"]\n[plugin.mover]\n${option}\n`;

const environment = (dir: string, program: string, from: string, to: string): Record<string, string> => ({
  ...cleanEnv,
  PATH: process.env["PATH"] ?? "/usr/bin:/bin",
  RUNTS: executable(),
  DIR: dir,
  FROM: from,
  TO: to,
  PROGRAM: program,
});

async function moved(topic: string, from: string, to: string, second: boolean): Promise<Outcome> {
  const program = await compileGuest(topic);
  const host = await onHost(program);
  const counting = mkdtempSync(join(tmpdir(), "runts-restored-"));
  const total = counts[topic] ?? (await callsOf(program, counting));
  rmSync(counting, { recursive: true });
  for (const at of moments(topic, total, second)) {
    const outcome = await movedAt(topic, program, host, { from, to, at, inVolume: second });
    if (outcome.kind === "fail") return fail(`at call ${at.join(" + ")}: ${outcome.detail}`);
  }
  return pass;
}

/** Whether its objects have fields that the schema of saved kernels has not, or the other way round. */
async function schemaProblemOf(image: string): Promise<string | null> {
  if (!existsSync(image)) return null;
  await loadEveryClass();
  return schemaProblem(schemaOf(objectsOf(image)));
}

/** The lines of an image. */
export const objectsOf = (image: string): string[] =>
  readFileSync(join(image, "objects.jsonl"), "utf8").trimEnd().split("\n");

interface Move {
  from: string;
  to: string;
  at: readonly number[];
  inVolume: boolean;
}

async function movedAt(topic: string, program: string, host: Result, move: Move): Promise<Outcome> {
  const { from, to, at, inVolume } = move;
  const dir = mkdtempSync(join(tmpdir(), "runts-restored-"));
  try {
    configure(dir, at);
    const volume = join(dir, "files");
    mkdirSync(volume);
    chmodSync(volume, 0o1777);
    const env = {
      ...environment(dir, program, from, to),
      VOLUME: inVolume && !(topic in IN_MEMORY) ? volume : "",
    };
    const got = await run(["sh", "-c", SCRIPT], { timeoutMs: TIMEOUT_MS, env });
    const expect = topic in CLOCKS ? { ...got, stdout: CLOCKS[topic]!.without(got.stdout) } : got;
    // What is known to differ may differ on one platform alone.
    const compared = [to, from].map((platform) => compareResults(`guest/${topic}`, platform, host, expect));
    if (compared.every(({ kind }) => kind !== "pass")) return compared[0]!;
    if (/^moved$/m.test(got.stderr)) {
      const problem = await schemaProblemOf(join(dir, `image${at.length - 1}`));
      return problem === null ? pass : fail(problem);
    }
    // Programs of several threads may make fewer calls than they did before.
    const made = Number(CALLS.exec(got.stderr)?.[1] ?? at[0]);
    if (made < at[0]!) return movedAt(topic, program, host, { ...move, at: [made >> 1] });
    return fail(`it was not saved:\n${got.stderr}`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * Lines of an image, without what each restore makes different: the container's name, what its guests can read of it, and
 * the processor time that making their threads anew took.
 */
function linesOf(image: string): string[] {
  return readFileSync(join(image, "objects.jsonl"), "utf8")
    .replaceAll(/"do-\d+"/g, '"do"')
    .replaceAll(/("type":"save-point".*?"state":)"\w+"(.*?"saves":)\d+/g, '$1""$20')
    .replaceAll(/"(earlierCpuNs|userTime|systemTime)":\d+/g, '"$1":0')
    .split("\n");
}

/** Of two lines, where they begin to differ. */
function difference(one: string, other: string): string {
  let at = 0;
  while (at < one.length && one[at] === other[at]) at++;
  const around = (line: string) => line.slice(Math.max(0, at - 80), at + 80);
  return `${one.slice(0, 40)} …\n  - ${around(one)}\n  + ${around(other)}`;
}

async function savedAgain(topic: string, from: string, to: string): Promise<Outcome> {
  const program = await compileGuest(topic);
  const dir = mkdtempSync(join(tmpdir(), "runts-restored-"));
  try {
    configure(dir, [counts[topic]! >> 1]);
    writeFileSync(join(dir, "again.toml"), configuration("again = true"));
    const got = await run(["sh", "-c", AGAIN], { timeoutMs: TIMEOUT_MS, env: environment(dir, program, from, to) });
    if (!existsSync(join(dir, "second/manifest.json")))
      return fail(`no second image: status ${got.status}\n${got.stderr}`);
    const first = linesOf(join(dir, "image"));
    const second = linesOf(join(dir, "second"));
    const differ = first.flatMap((line, i) => (line === second[i] ? [] : [difference(line, second[i] ?? "")]));
    if (differ.length === 0 && first.length === second.length) return pass;
    return fail(
      `${differ.length} of ${first.length} lines differ (${second.length})\n${differ.slice(0, 5).join("\n")}`,
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export function restoredGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  for (const topic of guestNames())
    for (const [i, [from, to]] of DIRECTIONS.entries()) {
      const name = `restored/${topic}@${from}`;
      if (!matches(name, filters) || !platforms.includes(from) || !platforms.includes(to)) continue;
      cases.push({
        name,
        async run() {
          if (!isRoot) return skip("the guest programs change users and make devices: run as root");
          return moved(topic, from, to, i === 1);
        },
      });
    }
  for (const topic of SAVED_AGAIN)
    for (const [from, to] of DIRECTIONS) {
      const name = `restored/again-${topic}@${from}`;
      if (!matches(name, filters) || !platforms.includes(from) || !platforms.includes(to)) continue;
      cases.push({
        name,
        async run() {
          if (!isRoot) return skip("the guest programs change users and make devices: run as root");
          return savedAgain(topic, from, to);
        },
      });
    }
  return { name: "restored", cases };
}
