/**
 * Leaks: a thousand small programs come and go in one sandbox (test/leaks/churn.c), and afterwards it holds what it held
 * before: objects of the kernel by class, cells of the engine's heap (test/leaks/census, a plugin that counts both from
 * within), and descriptors of the sandbox process.
 *
 * The first rounds fill what is kept on purpose (caches, pools, one of each). A leak of one object in a run of one kind
 * is forty objects at the end, or a third of it when only one of the three ways to end leaks.
 *
 * The same for containers that join a sandbox and leave it (test/leaks/joiners), where what is on the host counts too: the
 * descriptors of the sandbox process and of the command, stubs, zygotes, spares and waiters.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileGuest } from "./guest.ts";
import { cleanEnv, killGroup, run } from "./harness/process.ts";
import { isRoot, platforms, runts } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";
import { SandboxWatch } from "./harness/watch.ts";

const folder = join(import.meta.dir, "leaks");
/** Rounds of all kinds before the first count, and between the two: 25 kinds make it 1000 runs. */
const WARM_UP = 6;
const ROUNDS = 40;
/** Some ten seconds on a quiet machine. */
const TIMEOUT_MS = 240_000;
/** By so many may a class of the kernel grow, and descriptors that lead to one kind of thing. */
const CLASS_SLACK = 8;
const DESCRIPTOR_SLACK = 4;
/** Cells of the heap: the engine and its library make some of these for themselves. */
const CELL_SLACK = 20;
const COMMON_CELL_SLACK = 400;
const COMMON_CELLS = ["Array", "Function", "Object"];

/** Containers before the first count, and between the two. A leak in one of four ways to end is 25 objects. */
const JOINERS_BEFORE = 12;
const JOINERS = 100;
const APPLETS = ["sh", "sleep", "cat", "dd", "touch", "test"];

/** What the plugin says. */
interface Census {
  reachable: Record<string, number>;
  heap: Record<string, number>;
  paths: Record<string, string[]>;
}

const countOf = (words: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
};

function* growth(before: Record<string, number>, after: Record<string, number>, slack: (name: string) => number) {
  for (const [name, count] of Object.entries(after)) {
    const grown = count - (before[name] ?? 0);
    if (grown > slack(name)) yield { name, count, grown };
  }
}

/** What is more than before, by class of the kernel and by kind of cell. */
function grownCensus(before: Census, after: Census): string[] {
  const problems: string[] = [];
  for (const { name, count, grown } of growth(before.reachable, after.reachable, () => CLASS_SLACK))
    problems.push(`${grown} objects more of the class ${name}, ${count} in all:`, ...(after.paths[name] ?? []));
  const cellSlack = (name: string) => (COMMON_CELLS.includes(name) ? COMMON_CELL_SLACK : CELL_SLACK);
  for (const { name, count, grown } of growth(before.heap, after.heap, cellSlack))
    problems.push(`${grown} cells ${name} more in the heap, ${count} in all`);
  return problems;
}

/** `onHost`: their files are in a directory of the host, not in the overlay's memory. */
async function check(platform: string, onHost: boolean): Promise<Outcome> {
  const program = await compileGuest("churn", folder);
  const dir = mkdtempSync(join(tmpdir(), "runts-leaks-"));
  cpSync(join(folder, "census"), join(dir, "plugins/census"), { recursive: true });
  writeFileSync(join(dir, "config.toml"), '[plugins]\ndirectories = ["plugins"]\nenable = ["census"]\n');
  mkdirSync(join(dir, "files"));
  const flags = ["--config", join(dir, "config.toml"), "do", "--platform", platform];
  if (onHost) flags.push("--volume", `${join(dir, "files")}:/tmp`);
  const child = Bun.spawn([runts, ...flags, "--", program, String(WARM_UP), String(ROUNDS), "all"], {
    cwd: "/tmp",
    env: cleanEnv,
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child.pid);
  }, TIMEOUT_MS);
  const watch = new SandboxWatch(child.pid);
  const descriptors: Record<string, number>[] = [];
  const stderr = new Response(child.stderr).text();
  let printed = "";
  let seen = 0;
  for await (const part of child.stdout) {
    printed += Buffer.from(part).toString("latin1");
    for (let at = printed.indexOf("\nready\n", seen); at >= 0; at = printed.indexOf("\nready\n", seen)) {
      seen = at + 1;
      descriptors.push(countOf(watch.descriptors));
      child.stdin.write("go on\n");
      child.stdin.flush();
    }
  }
  const status = await child.exited;
  clearTimeout(timer);
  rmSync(dir, { recursive: true, force: true });

  const lines = printed.split("\n").filter((line) => line !== "");
  const [before, after] = lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Census);
  const problems = lines.filter((line) => !line.startsWith("{") && line !== "census" && line !== "ready");
  if (timedOut) problems.push(`no end within ${TIMEOUT_MS / 1000} s`);
  if (status !== 0) problems.push(`status ${status}`);
  if (before === undefined || after === undefined || descriptors.length !== 2)
    return fail([...problems, "it was not counted twice", await stderr].join("\n"));
  problems.push(...grownCensus(before, after));
  for (const { name, count, grown } of growth(descriptors[0]!, descriptors[1]!, () => DESCRIPTOR_SLACK))
    problems.push(`${grown} descriptors of the host more that lead to ${name}, ${count} in all`);
  if (Object.keys(descriptors[0]!).length === 0) problems.push("the descriptors of the sandbox process were not seen");
  if (!("Task" in after.reachable) || !("Mount" in after.reachable))
    problems.push(`what was counted is not the kernel: ${Object.keys(after.reachable).join(" ")}`);
  return problems.length === 0 ? pass : fail(problems.join("\n"));
}

type Counts = Record<string, number>;
interface JoinerCount {
  census: Census;
  onHost: { sandbox: Counts; command: Counts; stubs: Counts; processes: Counts };
}

/** Containers that join one sandbox. */
async function checkJoiners(platform: string): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), "runts-leaks-"));
  for (const name of ["census", "joiners"]) cpSync(join(folder, name), join(dir, "plugins", name), { recursive: true });
  writeFileSync(join(dir, "config.toml"), '[plugins]\ndirectories = ["plugins"]\nenable = ["census", "joiners"]\n');
  for (const name of ["bin", "proc", "dev", "tmp", "volume", "other"])
    mkdirSync(join(dir, "rootfs", name), { recursive: true });
  cpSync("/bin/busybox", join(dir, "rootfs/bin/busybox"));
  for (const name of APPLETS) symlinkSync("busybox", join(dir, "rootfs/bin", name));
  const flags = ["--config", join(dir, "config.toml"), "--root", join(dir, "state"), "--platform", platform];
  const command = [runts, ...flags, "leak-joiners", dir, String(JOINERS_BEFORE), String(JOINERS)];
  const done = await run(command, { cwd: dir, env: cleanEnv, timeoutMs: TIMEOUT_MS });
  if (done.timedOut)
    for (const id of readdirSync(join(dir, "state")))
      await run([runts, ...flags, "delete", "--force", id], { cwd: dir, env: cleanEnv, timeoutMs: 20_000 });
  rmSync(dir, { recursive: true, force: true });

  const lines = done.stdout.split("\n").filter((line) => line !== "");
  const counts = lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as JoinerCount);
  const problems = lines.filter((line) => !line.startsWith("{") && line !== "done");
  if (done.timedOut) problems.push(`no end within ${TIMEOUT_MS / 1000} s`);
  const [before, after] = counts;
  if (done.status !== 0 || before === undefined || after === undefined)
    return fail([...problems, `status ${done.status}: it was not counted twice`, done.stderr].join("\n"));
  problems.push(...grownCensus(before.census, after.census));
  for (const what of ["sandbox", "command", "stubs", "processes"] as const) {
    const kind = what === "sandbox" || what === "command" ? "descriptors that lead to" : "processes";
    if (Object.keys(before.onHost[what]).length === 0) problems.push(`nothing was seen of ${what}`);
    for (const { name, count, grown } of growth(before.onHost[what], after.onHost[what], () => DESCRIPTOR_SLACK))
      problems.push(`${what}: ${grown} ${kind} ${name} more, ${count} in all`);
  }
  if (after.census.reachable["Container"] !== 1)
    problems.push(`containers in the kernel: ${after.census.reachable["Container"]}`);
  return problems.length === 0 ? pass : fail(problems.join("\n"));
}

export function leakGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  for (const platform of platforms)
    for (const [topic, onHost] of [
      ["files-in-memory", false],
      ["files-on-the-host", true],
    ] as const) {
      const name = `leaks/${topic}@${platform}`;
      if (!matches(name, filters)) continue;
      const run = async () =>
        isRoot ? check(platform, onHost) : skip("the programs mount and change users: run as root");
      cases.push({ name, run });
    }
  for (const platform of platforms) {
    const name = `leaks/joiners@${platform}`;
    if (matches(name, filters))
      cases.push({ name, run: async () => (isRoot ? checkJoiners(platform) : skip("cgroups are made: run as root")) });
  }
  return { name: "leaks", cases };
}
