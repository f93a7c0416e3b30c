/**
 * Hostile guests: each program in test/hostile attacks the sandbox beside a bystander, whose calls must stay right and
 * quick. test/hostile/README.md says how to add one.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { compileGuest } from "./guest.ts";
import { cleanEnv, killGroup } from "./harness/process.ts";
import { inSandbox, isRoot, platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";
import { inNamespace, SandboxWatch } from "./harness/watch.ts";

const folder = join(import.meta.dir, "hostile");
/** The longest that a call of the bystander may take on a quiet machine. */
const BOUND_MS = 200;
/**
 * On a busy one: so many times what its longest took before the attack, or the lateness of a timer of ours while the
 * attack ran (whoever else wants the processors), but never more than the last.
 */
const BUSY_FACTOR = 10;
const LATE_FACTOR = 5;
const BOUND_MAX_MS = 2000;
const TICK_MS = 10;
/** Start, the bystander's moments alone, and the end, besides the attack's own time. */
const AROUND_MS = 20_000;

/** The "key: value" lines of an attack's first comment. */
interface Attack {
  name: string;
  expect: string[];
  prints: RegExp | null;
  variants: string[];
  platforms: string[];
  seconds: number;
  user: number;
  growthMiB: number | null;
  kernelBug: boolean;
}

const KEYS = ["expect", "prints", "variants", "platforms", "seconds", "user", "growth", "log"];

function readAttack(file: string): Attack {
  const comment = /^\/\*([\s\S]*?)\*\//.exec(readFileSync(join(folder, file), "utf8"))?.[1] ?? "";
  const values = new Map<string, string>();
  for (const [, key, value] of comment.matchAll(/^ \* ([a-z]+): (.+)$/gm)) {
    if (!KEYS.includes(key!)) throw new Error(`${file}: unknown key "${key}"`);
    values.set(key!, value!.trim());
  }
  const words = (key: string) => values.get(key)?.split(/\s+/) ?? [];
  const prints = values.get("prints");
  const growth = values.get("growth");
  return {
    name: basename(file, ".c"),
    expect: (values.get("expect") ?? "exit 0").split(" or "),
    prints: prints === undefined ? null : new RegExp(prints),
    variants: words("variants"),
    platforms: values.has("platforms") ? words("platforms") : ["systrap", "ptrace"],
    seconds: Number(values.get("seconds") ?? 20),
    user: Number(values.get("user") ?? 0),
    growthMiB: growth === undefined ? null : Number(growth),
    kernelBug: values.get("log") === "kernel bug",
  };
}

/** What bystander.c reports. */
interface Phase {
  calls: number;
  worst: number;
  call: string;
}
interface Report {
  how: string;
  took: number;
  alive: number;
  wrong: number;
  what: string;
  before: Phase;
  during: Phase;
  after: Phase;
}

/**
 * What the attack does to the bystander it does each time; what the rest of the machine does to it comes and goes. So a
 * call that took too long, and nothing else, is looked at again, and counts when it is there three times.
 */
const ATTEMPTS = 3;
async function attempts(attack: Attack, variant: string, platform: string): Promise<Outcome> {
  for (let n = 1; ; n++) {
    const { outcome, onlyLate } = await attempt(attack, variant, platform);
    if (!onlyLate || n === ATTEMPTS) return outcome;
  }
}

async function attempt(
  attack: Attack,
  variant: string,
  platform: string,
): Promise<{ outcome: Outcome; onlyLate: boolean }> {
  if (!isRoot) return { outcome: skip("the attacks take users of their own: run as root"), onlyLate: false };
  const [bystander, program] = await Promise.all([
    compileGuest("bystander", folder),
    compileGuest(attack.name, folder),
  ]);
  const guest = [bystander, String(attack.seconds), String(attack.user), program];
  // No more host descriptors than most machines allow, so that using them all up takes a while, not minutes.
  const limited = ["sh", "-c", 'ulimit -n 65536 2>/dev/null; exec "$@"', "sh"];
  const child = Bun.spawn([...limited, ...inSandbox(platform, variant === "" ? guest : [...guest, variant])], {
    cwd: "/tmp",
    env: cleanEnv,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  let timedOut = false;
  const timer = setTimeout(
    () => {
      timedOut = true;
      killGroup(child.pid);
    },
    attack.seconds * 1000 + AROUND_MS,
  );

  const watch = new SandboxWatch(child.pid);
  let begun = false;
  let residentBefore = 0;
  let residentMost = 0;
  const sampler = setInterval(() => {
    const resident = watch.residentMiB;
    if (begun) residentMost = Math.max(residentMost, resident);
    else residentBefore = resident;
  }, 50);
  let ticked = performance.now();
  let late = 0;
  const ticker = setInterval(() => {
    const now = performance.now();
    if (begun) late = Math.max(late, now - ticked - TICK_MS);
    ticked = now;
  }, TICK_MS);
  const readStdout = async (): Promise<string> => {
    let text = "";
    for await (const part of child.stdout) {
      text += Buffer.from(part).toString("latin1");
      begun ||= text.includes("attack begins\n");
      if (text.length > 1 << 20) text = text.slice(-(1 << 19));
    }
    return text;
  };
  const [stdout, stderr] = await Promise.all([readStdout(), new Response(child.stderr).text()]);
  const status = await child.exited;
  clearTimeout(timer);
  clearInterval(sampler);
  clearInterval(ticker);

  const problems: string[] = [];
  if (timedOut) problems.push("no end: the sandbox hangs");
  else if (status !== 0) problems.push(`the sandbox ended with status ${status}`);
  const line = /^report: (\{.*\})$/m.exec(stdout)?.[1];
  const printed = stdout.slice(
    stdout.indexOf("attack begins\n") + 14,
    line ? stdout.lastIndexOf("\nreport: ") : undefined,
  );
  if (attack.prints !== null && !attack.prints.test(printed)) problems.push(`must print ${attack.prints}`);
  const report = line === undefined ? null : (JSON.parse(line) as Report);
  if (report === null) problems.push("no report of the bystander");
  else problems.push(...judge(attack, report));
  if (/kernel bug/.test(stderr) !== attack.kernelBug)
    problems.push(attack.kernelBug ? "no kernel bug in the log" : "a kernel bug is in the log");
  const grown = residentMost - residentBefore;
  if (attack.growthMiB !== null && grown > attack.growthMiB)
    problems.push(`the sandbox process grew by ${grown.toFixed(0)} MiB, more than ${attack.growthMiB}`);
  const left = await leftovers(watch.sandbox);
  if (left !== "") problems.push(left);
  const tooLate = report === null ? [] : lateness(report, late);
  if (process.env["RUNTS_VERBOSE"] === "1" && report !== null)
    console.log(
      `        ${attack.name}${variant && `-${variant}`}@${platform}: ${report.how} after ${report.took} ms; worst call ` +
        `${report.before.worst} ms before, ${report.during.worst} during (${report.during.call}), ` +
        `${report.after.worst} after; our own timer ${late.toFixed(0)} ms late; grown ${grown.toFixed(0)} MiB`,
    );
  if (problems.length + tooLate.length === 0) return { outcome: pass, onlyLate: false };
  const text = [...problems, ...tooLate].join("\n");
  const outcome = fail(`${text}\nprinted: ${printed.trim().slice(0, 400)}\nstderr: ${stderr.slice(-1200)}`);
  return { outcome, onlyLate: problems.length === 0 };
}

function judge(attack: Attack, report: Report): string[] {
  const problems: string[] = [];
  if (!attack.expect.includes(report.how))
    problems.push(`the attack: ${report.how}, expected ${attack.expect.join(" or ")}`);
  if (!report.alive) problems.push("the bystander did not live to the end");
  if (report.wrong !== 0) problems.push(`${report.wrong} wrong results for the bystander, the last: ${report.what}`);
  return problems;
}

/** Calls of the bystander that took too long. */
function lateness(report: Report, late: number): string[] {
  const problems: string[] = [];
  const bound = Math.min(BOUND_MAX_MS, Math.max(BOUND_MS, BUSY_FACTOR * report.before.worst, LATE_FACTOR * late));
  for (const phase of [report.during, report.after])
    if (phase.worst > bound)
      problems.push(`a ${phase.call} of the bystander took ${phase.worst} ms, more than ${bound.toFixed(0)} ms`);
  return problems;
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "(gone meanwhile)";
  }
}

/** Names the sandbox's processes that outlive it. */
async function leftovers(sandbox: SandboxWatch["sandbox"]): Promise<string> {
  if (sandbox === null) return "the sandbox process was not seen";
  let left: number[] = [];
  for (let i = 0; i < 50; i++) {
    left = inNamespace(sandbox.namespace);
    if (left.length === 0) return "";
    await Bun.sleep(100);
  }
  return `processes are left: ${left.map((pid) => `${pid} ${commandOf(pid)}`).join(", ")}`;
}

export function hostileGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  const files = readdirSync(folder).filter((name) => name.endsWith(".c") && name !== "bystander.c");
  for (const file of files.sort()) {
    const attack = readAttack(file);
    for (const variant of attack.variants.length > 0 ? attack.variants : [""])
      for (const platform of platforms.filter((each) => attack.platforms.includes(each))) {
        const name = `hostile/${attack.name}${variant && `-${variant}`}@${platform}`;
        // Alone: what is measured are milliseconds.
        if (matches(name, filters)) cases.push({ name, alone: true, run: () => attempts(attack, variant, platform) });
      }
  }
  return { name: "hostile", cases };
}
