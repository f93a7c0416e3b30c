/**
 * Containers that are added to a sandbox, by the launcher itself: several in one, killed and made anew, sharing a pid space or
 * not; requests that are refused and leave nothing. The commands that do it are in adding/adder.plugin.ts.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cleanEnv, run } from "./harness/process.ts";
import { executable, platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass } from "./harness/suite.ts";
import { handOver, prefixed } from "./harness/user.ts";

const APPLETS = ["sh", "sleep", "true", "cat", "tr", "ls", "hostname", "kill"];

/** A directory with the plugin, its configuration, and a root of busybox alone; gone afterwards. */
export async function withAdder<T>(use: (dir: string, command: string[]) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "runts-adding-"));
  try {
    mkdirSync(join(dir, "plugins"));
    mkdirSync(join(dir, "rootfs/bin"), { recursive: true });
    cpSync("/bin/busybox", join(dir, "rootfs/bin/busybox"));
    for (const name of APPLETS) symlinkSync("busybox", join(dir, "rootfs/bin", name));
    cpSync(join(import.meta.dir, "adding/adder.plugin.ts"), join(dir, "plugins/adder.plugin.ts"));
    writeFileSync(join(dir, "config.toml"), '[plugins]\ndirectories = ["plugins"]\nenable = ["adder"]\n');
    handOver(dir);
    return await use(dir, [executable(), "--config", join(dir, "config.toml")]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function scenario(name: string, platform: string): Promise<Outcome> {
  return withAdder(async (dir, command) => {
    const done = await run([...command, `adder-${name}`, platform, dir], {
      cwd: dir,
      env: cleanEnv,
      timeoutMs: 120_000,
    });
    if (done.status === 0 && done.stdout === "done\n") return pass;
    return fail(`status ${done.status}${done.timedOut ? ", timed out" : ""}\n${done.stdout}\n${done.stderr}`);
  });
}

/** A sandbox to which nothing is added goes with the command that launched it. */
async function abandoned(platform: string): Promise<Outcome> {
  return withAdder(async (dir, command) => {
    const child = Bun.spawn(prefixed([...command, "adder-empty", platform]), {
      cwd: dir,
      env: cleanEnv,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    });
    const first = await child.stdout.getReader().read();
    const sandbox = /^sandbox (\d+)/.exec(Buffer.from(first.value ?? new Uint8Array()).toString())?.[1];
    const there = () => existsSync(`/proc/${sandbox}/exe`);
    if (sandbox === undefined || !there()) return fail("there is no sandbox");
    child.kill("SIGKILL");
    await child.exited;
    for (let tries = 0; tries < 1000 && there(); tries++) await Bun.sleep(10);
    return there() ? fail("it is still there") : pass;
  });
}

export function addingGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  const add = (name: string, run: (platform: string) => Promise<Outcome>) => {
    for (const platform of platforms) {
      const one = { name: `adding/${name}@${platform}`, run: () => run(platform) };
      if (matches(one.name, filters)) cases.push(one);
    }
  };
  for (const name of ["many", "bad"]) add(name, (platform) => scenario(name, platform));
  add("abandoned", abandoned);
  return { name: "adding", cases };
}
