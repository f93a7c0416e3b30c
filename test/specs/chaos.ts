/**
 * The lifecycle under pressure: many containers at once, many one after the other, commands that are killed at random
 * moments. What is shown: each command happens or is a clear error; every state that is left can be listed and deleted
 * by force; and at the end there is no process, cgroup or file more than before.
 *
 * RUNTS_CHAOS=n makes it n times as long; the random moments come from RUNTS_SEED.
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
import { cleanEnv } from "../harness/process.ts";
import { isRoot, runts } from "../harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "../harness/suite.ts";

const FACTOR = Number(process.env["RUNTS_CHAOS"] ?? 1);
const COMMAND_TIMEOUT_MS = 60_000;
const BUSYBOX = ["/bin/busybox", "/usr/bin/busybox"].find((path) => existsSync(path));

/** A small generator of our own (mulberry32), so that a failure can be had again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Arena {
  readonly dir = mkdtempSync(join(tmpdir(), "runts-chaos-"));
  readonly root = join(this.dir, "root");
  readonly problems: string[] = [];
  private readonly log = join(this.dir, "log");

  constructor() {
    mkdirSync(join(this.dir, "bundle/rootfs/bin"), { recursive: true });
    copyFileSync(BUSYBOX!, join(this.dir, "bundle/rootfs/bin/sleep"));
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

  async list(): Promise<{ id: string; status: string }[]> {
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
    for (const name of existsSync(this.root) ? readdirSync(this.root) : []) await this.must("delete", "--force", name);
    await this.gone(prefix);
    const left = existsSync(this.root) ? readdirSync(this.root) : [];
    if (left.length > 0) this.problems.push(`left in the state directory: ${left.join(", ")}`);
    for (const hierarchy of ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/pids"]) {
      if (!existsSync(hierarchy)) continue;
      const groups = readdirSync(hierarchy).filter((name) => name.startsWith(prefix));
      if (groups.length > 0) this.problems.push(`cgroups left: ${groups.join(", ")}`);
    }
    rmSync(this.dir, { recursive: true, force: true });
    return this.problems.length === 0 ? pass : fail(this.problems.slice(0, 20).join("\n"));
  }
}

/** kill -9 of create, start, kill or delete at a random moment. */
async function injected(): Promise<Outcome> {
  const arena = new Arena();
  const prefix = `chaos-${process.pid}-`;
  const next = random(Number(process.env["RUNTS_SEED"] ?? 1));
  for (let i = 0; i < 25 * FACTOR; i++) {
    const id = `${prefix}${i}`;
    const steps = [
      ["create", id],
      ["start", id],
      ["kill", id, "KILL"],
      ["delete", id],
    ];
    const victim = Math.floor(next() * steps.length);
    for (const step of steps.slice(0, victim)) {
      await arena.must(...step);
      if (step[0] === "kill") await arena.gone(id);
    }
    const child = arena.start(...steps[victim]!);
    await Bun.sleep(next() * (victim === 0 ? 250 : 80));
    child.kill("SIGKILL");
    await child.exited;
    const found = await arena.list();
    if (found.some((each) => !["created", "running", "stopped"].includes(each.status)))
      arena.problems.push(`after a killed ${steps[victim]![0]}: ${JSON.stringify(found)}`);
    await arena.must("delete", "--force", id);
    await arena.gone(id);
  }
  return arena.finish(prefix);
}

async function together(): Promise<Outcome> {
  const arena = new Arena();
  const prefix = `together-${process.pid}-`;
  const ids = Array.from({ length: 50 }, (_, i) => `${prefix}${i}`);
  await Promise.all(ids.map((id) => arena.must("create", id)));
  await Promise.all(ids.map((id) => arena.must("start", id)));
  const states = await arena.list();
  if (states.length !== 50 || states.some((each) => each.status !== "running"))
    arena.problems.push(`expected 50 running, got ${JSON.stringify(states.map((each) => each.status))}`);
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
  for (let i = 0; i < 30 * FACTOR; i++) {
    await arena.must("create", id);
    await arena.must("start", id);
    await arena.must("kill", id, "KILL");
    await arena.gone(id);
    await arena.must("delete", id);
  }
  return arena.finish(prefix);
}

export function chaosGroup(filters: readonly string[]): Group {
  const tests: [string, () => Promise<Outcome>][] = [
    ["commands killed at random moments (CONTRACT 75)", injected],
    ["fifty at once", together],
    ["one after the other", inARow],
  ];
  const cases: Case[] = tests
    .map(([name, run]) => ({ name: `chaos/${name}`, run }))
    .filter(({ name }) => matches(name, filters))
    .map(({ name, run }) => ({
      name,
      alone: true,
      run: async () => (!isRoot ? skip("needs root") : BUSYBOX === undefined ? skip("no busybox") : run()),
    }));
  return { name: "chaos", cases };
}
