/** What tests of plugins share: a directory with plugins and a configuration file, commands run with it, and judging them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cleanEnv, type Result, run } from "../harness/process.ts";
import { executable } from "../harness/sandbox.ts";
import { fail, type Outcome, pass } from "../harness/suite.ts";
import { handOver } from "../harness/user.ts";

export const TIMEOUT_MS = 30_000;
export const HEADER = 'import { definePlugin, errno, v } from "runts";\n';

/** What a program printed, and what the sandbox said. */
export interface Expected {
  stdout?: string | RegExp;
  stderr?: RegExp[];
  /** Must not be said. */
  silent?: RegExp;
  status?: number;
}

export function judge(got: Result, expected: Expected): Outcome {
  const { stdout = "", stderr = [], silent, status = 0 } = expected;
  const problems: string[] = [];
  if (got.timedOut) problems.push("timed out");
  if (got.status !== status) problems.push(`status ${got.status}, expected ${status}`);
  if (typeof stdout === "string" ? got.stdout !== stdout : !stdout.test(got.stdout))
    problems.push(`expected on stdout: ${String(stdout)}`);
  for (const each of stderr) if (!each.test(got.stderr)) problems.push(`expected on stderr: ${String(each)}`);
  if (silent?.test(got.stderr)) problems.push(`not expected on stderr: ${String(silent)}`);
  if (problems.length === 0) return pass;
  return fail(`${problems.join("\n")}\nstdout: ${got.stdout}\nstderr: ${got.stderr}`);
}

/** A directory with plugins and a configuration file, gone afterwards. */
export async function within(use: (dir: string) => Promise<Outcome>): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), "runts-plugins-"));
  handOver(dir);
  try {
    return await use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export const command = (dir: string, ...args: string[]) =>
  run([executable(), "--config", join(dir, "config.toml"), ...args], {
    cwd: dir,
    env: cleanEnv,
    timeoutMs: TIMEOUT_MS,
  });

export function configure(dir: string, name: string, options = ""): void {
  writeFileSync(
    join(dir, "config.toml"),
    `[plugins]\ndirectories = ["plugins"]\nenable = ["${name}"]\n${options === "" ? "" : `[plugin.${name}]\n${options}\n`}`,
  );
}
