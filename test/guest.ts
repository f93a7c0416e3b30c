/**
 * Guest conformance: each program in test/guest runs on the host and in the sandbox, on every platform, and must print
 * the same and end with status 0.
 *
 * The host's run is done once per program and kept for the other platforms. Programs are compiled when their text or
 * the shared header changed.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { compareResults } from "./harness/compare.ts";
import { type Result, run } from "./harness/process.ts";
import { inSandbox, isRoot, platforms, root } from "./harness/sandbox.ts";
import { type Case, type Group, matches, skip } from "./harness/suite.ts";

const source = join(import.meta.dir, "guest");
const output = join(root, "build/guest");
const timeoutMs = 20_000;
const warnings = [
  "-Wall",
  "-Wextra",
  "-Wno-unused-result",
  "-Wno-nonnull",
  "-Wno-stringop-overflow",
  "-Wno-stringop-overread",
];
const flags = ["-O1", "-pthread", "-D_GNU_SOURCE", ...warnings];

export const guestNames = (): string[] =>
  readdirSync(source)
    .filter((f) => f.endsWith(".c"))
    .map((f) => basename(f, ".c"))
    .sort();

const compiled = new Map<string, Promise<string>>();

/** The path of the compiled program; its name carries the hash of everything that went into it. */
export function compileGuest(name: string, folder = source): Promise<string> {
  const key = join(folder, name);
  let program = compiled.get(key);
  if (!program) {
    program = compile(name, folder);
    compiled.set(key, program);
  }
  return program;
}

async function compile(name: string, folder: string): Promise<string> {
  const file = join(folder, `${name}.c`);
  const text = readFileSync(file, "utf8");
  const linking = /^.*build: dynamic/.test(text) ? [] : ["-static"];
  const headers = [source, folder, join(folder, "..")].flatMap((dir) =>
    readdirSync(dir)
      .filter((f) => f.endsWith(".h"))
      .map((f) => readFileSync(join(dir, f), "utf8")),
  );
  const hash = createHash("sha256")
    .update(JSON.stringify([flags, linking, headers, text]))
    .digest("hex")
    .slice(0, 12);
  const program = join(output, `${name}-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(output, { recursive: true });
  const unfinished = `${program}.${process.pid}.tmp`;
  const done = await run([process.env["CC"] ?? "gcc", ...flags, ...linking, "-o", unfinished, file, "-lm"], {
    timeoutMs: 60_000,
    // What it makes serves all cases, whoever's comes first.
    asSelf: true,
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C.UTF-8", TMPDIR: "/tmp" },
  });
  if (done.status !== 0) throw new Error(`${name}.c does not compile:\n${done.stderr}`);
  renameSync(unfinished, program);
  return program;
}

const oracle = new Map<string, Promise<Result>>();

export function onHost(program: string): Promise<Result> {
  let result = oracle.get(program);
  if (!result) {
    result = run([program], { timeoutMs });
    oracle.set(program, result);
  }
  return result;
}

export function guestGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  for (const topic of guestNames())
    for (const platform of platforms) {
      const name = `guest/${topic}@${platform}`;
      if (!matches(name, filters)) continue;
      cases.push({
        name,
        async run() {
          if (!isRoot) return skip("the guest programs change users and make devices: run as root");
          const program = await compileGuest(topic);
          const host = await onHost(program);
          return compareResults(
            `guest/${topic}`,
            platform,
            host,
            await run(inSandbox(platform, [program]), { timeoutMs }),
          );
        },
      });
    }
  return { name: "guest", cases };
}
