/**
 * The lifecycle under pressure: many containers at once, many one after the other, commands that are killed at random
 * moments. What is shown: each command happens or is a clear error; every state that is left can be listed and deleted
 * by force; and at the end there is no process, cgroup, mount or file of ours; a sandbox that lives on through many execs
 * keeps its memory and its descriptors.
 *
 * RUNTS_CHAOS=full takes the counts that the project promises (a quarter of an hour); the random moments come from
 * RUNTS_SEED.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { globSync } from "tinyglobby";
import { busyboxPath } from "../harness/packages.ts";
import { cleanEnv } from "../harness/process.ts";
import { isRoot, runts } from "../harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "../harness/suite.ts";
import { checkpointsBrokenOff } from "./chaos-checkpoint.ts";
import { podsBrokenOff } from "./chaos-pods.ts";
import { random } from "./random.ts";

const COUNTS =
  process.env["RUNTS_CHAOS"] === "full"
    ? { inARow: 500, together: 50, injected: 200, execs: 500 }
    : { inARow: 30, together: 50, injected: 45, execs: 60 };
const COMMAND_TIMEOUT_MS = 60_000;
/** How much more memory a sandbox may take after many execs: its collector is lazy. */
const MEMORY_SLACK_KB = 32 * 1024;

class Arena {
  readonly dir = mkdtempSync(join(tmpdir(), "runts-chaos-"));
  readonly root = join(this.dir, "root");
  readonly problems: string[] = [];
  private readonly log = join(this.dir, "log");

  constructor() {
    mkdirSync(join(this.dir, "bundle/rootfs/bin"), { recursive: true });
    copyFileSync(busyboxPath()!, join(this.dir, "bundle/rootfs/bin/sleep"));
    const hook = [{ path: "/bin/true" }];
    const config = {
      ociVersion: "1.0.2",
      process: { cwd: "/", args: ["/bin/sleep", "600"], user: { uid: 0, gid: 0 } },
      root: { path: "rootfs" },
      hooks: { prestart: hook, poststop: hook },
    };
    writeFileSync(join(this.dir, "bundle/config.json"), JSON.stringify(config));
  }

  start(...args: string[]) {
    return Bun.spawn([runts, "--root", this.root, "--log", this.log, ...args], {
      cwd: join(this.dir, "bundle"),
      env: cleanEnv,
      stdio: ["ignore", "ignore", "ignore"],
      timeout: COMMAND_TIMEOUT_MS,
    });
  }
  run(...args: string[]): Promise<number> {
    return this.start(...args).exited;
  }
  async must(...args: string[]): Promise<void> {
    const status = await this.run(...args);
    if (status !== 0) this.problems.push(`${args.join(" ")}: status ${status}: ${this.lastError()}`);
  }
  private lastError(): string {
    return readFileSync(this.log, "utf8").trimEnd().split("\n").at(-1) ?? "";
  }

  async list(): Promise<{ id: string; status: string; pid: number }[]> {
    const child = Bun.spawn([runts, "--root", this.root, "list", "--format", "json"], {
      env: cleanEnv,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: COMMAND_TIMEOUT_MS,
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    if (err !== "" || (await child.exited) !== 0) this.problems.push(`list: ${err}`);
    return out === "" ? [] : JSON.parse(out);
  }

  /** Live sandbox processes of containers whose id starts so. */
  sandboxes(id: string): number[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .filter((name) => {
        try {
          const stat = readFileSync(`/proc/${name}/stat`, "latin1");
          const zombie = stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z");
          return !zombie && readFileSync(`/proc/${name}/cmdline`, "utf8").includes(`\0boot\0${id}`);
        } catch {
          return false;
        }
      })
      .map(Number);
  }
  async gone(id: string): Promise<void> {
    for (let tries = 0; tries < 500; tries++) {
      if (this.sandboxes(id).length === 0) return;
      await Bun.sleep(10);
    }
    this.problems.push(`processes of ${id} are left: ${this.sandboxes(id).join(", ")}`);
  }

  async finish(prefix: string): Promise<Outcome> {
    const names = existsSync(this.root) ? readdirSync(this.root) : [];
    for (const name of names) if (!name.startsWith("@")) await this.must("delete", "--force", name);
    if (names.some((name) => name.startsWith("@"))) {
      // What a killed create or delete has left is the next create's to remove, when it is not young any more.
      await Bun.sleep(5500);
      await this.must("create", `${prefix}last`);
      await this.must("delete", "--force", `${prefix}last`);
    }
    await this.gone(prefix);
    const left = existsSync(this.root) ? readdirSync(this.root) : [];
    if (left.length > 0) this.problems.push(`left in the state directory: ${left.join(", ")}`);
    // A cgroup holds every process of its container: where there is none left, there is none of those.
    const groups = globSync([`**/${prefix}*`], { cwd: "/sys/fs/cgroup", onlyDirectories: true, deep: 5 });
    if (groups.length > 0) this.problems.push(`cgroups left: ${groups.join(", ")}`);
    if (readFileSync("/proc/self/mountinfo", "utf8").includes(this.dir)) this.problems.push("a mount is left");
    rmSync(this.dir, { recursive: true, force: true });
    return this.problems.length === 0 ? pass : fail(this.problems.slice(0, 20).join("\n"));
  }
}

/** A step: the sandbox is stopped, and answers nothing any more. */
const SILENCE = "(silence)";
/** Each victim, after what makes it possible. */
const VICTIMS: readonly (readonly (readonly [string, ...string[]])[])[] = [
  [["create"]],
  [["run"]],
  [["run", "-d"]],
  [["create"], ["start"]],
  [["create"], ["start"], ["exec", "-d", "/bin/sleep", "600"]],
  [["create"], ["start"], ["pause"]],
  [["create"], ["start"], ["pause"], ["resume"]],
  [["create"], ["start"], ["update", "--pids-limit", "50"]],
  [["create"], ["start"], ["kill", "KILL"]],
  [["create"], ["start"], ["kill", "KILL"], ["delete"]],
  [["create"], ["start"], ["delete", "--force"]],
  [["create"], ["start"], ["exec", "/bin/sleep", "600"]],
  [["create"], ["start"], ["events", "--interval=5ms"]],
  [["create"], ["start"], ["ps"]],
  [["create"], ["start"], ["wait"]],
  [["create"], ["start"], ["kill", "TERM"]],
  // Of a sandbox that does not answer, see SILENCE.
  [["create"], ["start"], [SILENCE], ["kill", "KILL"]],
  [["create"], ["start"], ["pause"], [SILENCE], ["delete", "--force"]],
  [["create"], [SILENCE], ["start"]],
  [["create"], ["start"], [SILENCE], ["exec", "-d", "/bin/sleep", "600"]],
];

/** The id comes after the flags and before what else there is. */
function commandLine([verb, ...words]: readonly [string, ...string[]], id: string): string[] {
  const at = words.findLastIndex((word) => word.startsWith("--") || word === "-d") + (verb === "update" ? 2 : 1);
  return [verb, ...words.slice(0, at), id, ...words.slice(at)];
}

/** kill -9 of a command at a random moment. */
async function injected(): Promise<Outcome> {
  const arena = new Arena();
  const prefix = `chaos-${process.pid}-`;
  const next = random();
  for (let i = 0; i < COUNTS.injected; i++) {
    const id = `${prefix}${i}`;
    const steps = VICTIMS[Math.floor(next() * VICTIMS.length)]!;
    const victim = steps.at(-1)!;
    for (const step of steps.slice(0, -1)) {
      if (step[0] === SILENCE) {
        for (const pid of arena.sandboxes(id)) process.kill(pid, "SIGSTOP");
        continue;
      }
      await arena.must(...commandLine(step, id));
      if (step[0] === "kill") await arena.gone(id);
    }
    const child = arena.start(...commandLine(victim, id));
    await Bun.sleep(next() * (steps.length === 1 ? 250 : 80));
    child.kill("SIGKILL");
    await child.exited;
    const found = await arena.list();
    if (found.some((each) => !["created", "running", "paused", "stopped"].includes(each.status)))
      arena.problems.push(`after a killed ${victim[0]}: ${JSON.stringify(found)}`);
    await arena.must("delete", "--force", id);
    await arena.gone(id);
  }
  return arena.finish(prefix);
}

async function together(): Promise<Outcome> {
  const arena = new Arena();
  const prefix = `together-${process.pid}-`;
  const ids = Array.from({ length: COUNTS.together }, (_, i) => `${prefix}${i}`);
  await Promise.all(ids.map((id) => arena.must("create", id)));
  await Promise.all(ids.map((id) => arena.must("start", id)));
  const states = await arena.list();
  if (states.length !== COUNTS.together || states.some((each) => each.status !== "running"))
    arena.problems.push(
      `expected ${COUNTS.together} running, got ${JSON.stringify(states.map((each) => each.status))}`,
    );
  // Several commands on one container: each happens or is an error, nothing is corrupted.
  const starts = await Promise.all(Array.from({ length: 10 }, () => arena.run("start", ids[0]!)));
  if (starts.some((status) => status !== 1)) arena.problems.push(`starting what runs: ${starts.join(" ")}`);
  const creates = await Promise.all(Array.from({ length: 10 }, () => arena.run("create", `${prefix}same`)));
  if (creates.filter((status) => status === 0).length !== 1)
    arena.problems.push(`ten creates of one id: ${creates.join(" ")}`);
  const deletes = await Promise.all(Array.from({ length: 10 }, () => arena.run("delete", "--force", ids[0]!)));
  if (deletes.some((status) => status !== 0)) arena.problems.push(`ten deletes by force: ${deletes.join(" ")}`);
  await Promise.all(ids.slice(1).map((id) => arena.must("delete", "--force", id)));
  return arena.finish(prefix);
}

async function inARow(): Promise<Outcome> {
  const arena = new Arena();
  const prefix = `row-${process.pid}-`;
  const id = `${prefix}0`;
  for (let i = 0; i < COUNTS.inARow; i++) {
    await arena.must("create", id);
    await arena.must("start", id);
    await arena.must("kill", id, "KILL");
    await arena.gone(id);
    await arena.must("delete", id);
  }
  return arena.finish(prefix);
}

/** What a sandbox has open and what it takes of memory. */
function holdings(pid: number): { descriptors: number; memoryKb: number } {
  const rss = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, memoryKb: Number(rss) };
}

/** Programs that come and go in one sandbox leave nothing in it. */
async function execs(): Promise<Outcome> {
  const arena = new Arena();
  const prefix = `execs-${process.pid}-`;
  const id = `${prefix}0`;
  await arena.must("create", id);
  await arena.must("start", id);
  const [pid] = arena.sandboxes(id);
  const some = async (count: number) => {
    for (let i = 0; i < count; i++) await arena.must("exec", ...(i % 2 === 0 ? ["-d"] : []), id, "/bin/sleep", "0");
    // Detached ones may still be on their way out.
    await Bun.sleep(500);
    return holdings(pid!);
  };
  const before = await some(20);
  const after = await some(COUNTS.execs);
  if (after.descriptors > before.descriptors)
    arena.problems.push(`the sandbox had ${before.descriptors} descriptors, and has ${after.descriptors}`);
  if (after.memoryKb > before.memoryKb + MEMORY_SLACK_KB)
    arena.problems.push(`the sandbox took ${before.memoryKb} KiB, and takes ${after.memoryKb}`);
  await arena.must("delete", "--force", id);
  return arena.finish(prefix);
}

export function chaosGroup(filters: readonly string[]): Group {
  /** Fifty at once need all that there is; the others mostly wait. */
  const tests: [string, () => Promise<Outcome>, boolean][] = [
    ["commands killed at random moments (CONTRACT 75)", injected, false],
    ["pods broken off at random moments (CONTRACT 17)", podsBrokenOff, false],
    ["checkpoints broken off at random moments (CONTRACT 71)", checkpointsBrokenOff, false],
    ["one after the other", inARow, false],
    ["many programs in one sandbox", execs, false],
    ["fifty at once (CONTRACT 10, 18, 38, 75)", together, true],
  ];
  const cases: Case[] = tests
    .map(([name, run, alone]) => ({ name: `chaos/${name}`, run, alone }))
    .filter(({ name }) => matches(name, filters))
    .map(({ name, run, alone }) => ({
      name,
      alone,
      run: async () => (!isRoot ? skip("needs root") : busyboxPath() === undefined ? skip("no busybox") : run()),
    }));
  return { name: "chaos", cases };
}
