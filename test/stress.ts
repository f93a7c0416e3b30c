/**
 * Stress, bounded: many processes, threads and files at once, a gibibyte of memory, thousands of fork and exec, and two
 * bombs. The expected output stands here, since some of it would be no kindness to the host.
 *
 * Each case runs alone, and watches the resident memory of the processes that the sandbox consists of.
 */
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileGuest } from "./guest.ts";
import { cleanEnv, killGroup } from "./harness/process.ts";
import { inSandbox, platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";
import { SandboxWatch } from "./harness/watch.ts";

interface Stress {
  name: string;
  program: string;
  args?: string[];
  /** The command around the program in the guest. */
  before?: string[];
  /** What it must print. */
  prints: RegExp;
  status: number[];
  timeoutMs: number;
  /** How much the sandbox process may grow between the first tenth and the end, in MiB. */
  growthMiB?: number;
  /** Part of the run after which growth counts: before it the engine's heap finds its size. A tenth without. */
  growthFrom?: number;
  /** Memory of the whole sandbox, guest included, in a control group; skipped where there is none. */
  memoryMiB?: number;
}

const cases: Stress[] = [
  {
    name: "200-processes",
    program: "many-processes",
    args: ["200"],
    prints: /^alive 200, sum right\nfailed 0\n$/,
    status: [0],
    timeoutMs: 60_000,
  },
  {
    name: "500-threads",
    program: "many-threads",
    args: ["500"],
    prints: /^here 500, total 10000\n$/,
    status: [0],
    timeoutMs: 60_000,
  },
  {
    name: "10000-files",
    program: "many-files",
    args: ["10000"],
    prints: /^wrong 0, listed all\na child has them too: exited 0\nwrong 0\n$/,
    status: [0],
    timeoutMs: 60_000,
  },
  {
    name: "1-gib-touched",
    program: "touch-memory",
    args: ["1024"],
    prints: /^wrong 0\na child writes into some of it: exited 0\nwrong 0\nmunmap\(m, n\) = 0\n$/,
    status: [0],
    timeoutMs: 60_000,
    growthMiB: 64,
  },
  {
    name: "5000-fork-exec",
    program: "fork-exec",
    args: ["5000"],
    prints: /^(done \d+\n){10}failed 0\n$/,
    status: [0],
    timeoutMs: 120_000,
    growthMiB: 24,
    growthFrom: 1 / 3,
  },
  {
    name: "fork-bomb",
    program: "fork-bomb",
    prints: /^refused yes with EAGAIN\nafterwards fork works\n$/,
    status: [0],
    timeoutMs: 150_000,
    memoryMiB: 4096,
  },
  {
    name: "memory-bomb-address-space",
    program: "memory-bomb",
    before: ["/bin/bash", "-c", 'ulimit -v 1000000; "$@"; s=$?; echo "then $s"; exit $s', "bash"],
    prints: /^refused with ENOMEM\nthen 0\n$/,
    status: [0],
    timeoutMs: 60_000,
  },
  {
    // The host kills the guest's process or refuses it memory; sandbox and host live on, and the shell says how it was.
    name: "memory-bomb-control-group",
    program: "memory-bomb",
    before: ["/bin/bash", "-c", '"$@" 2>/dev/null; s=$?; echo "then $s"; exit $s', "bash"],
    prints: /^(refused with ENOMEM\nthen 0|then 137|then 139)\n$/,
    status: [0, 137, 139],
    timeoutMs: 60_000,
    memoryMiB: 1024,
  },
];

interface Control {
  command: string[];
  remove(): void;
}

/** A memory control group of either version, and the command that enters it. */
function memoryControl(limitMiB: number): Control | undefined {
  const name = `runts-test-${process.pid}-${Math.random().toString(36).slice(2, 8)}`;
  for (const [base, file] of [
    ["/sys/fs/cgroup/memory", "memory.limit_in_bytes"],
    ["/sys/fs/cgroup", "memory.max"],
  ] as const) {
    const dir = join(base, name);
    try {
      mkdirSync(dir);
      if (!existsSync(join(dir, file))) {
        rmdirSync(dir);
        continue;
      }
      writeFileSync(join(dir, file), `${limitMiB * 1048576}`);
      return {
        command: ["/bin/sh", "-c", `echo $$ > ${dir}/cgroup.procs && exec "$@"`, "sh"],
        remove() {
          for (let i = 0; i < 20; i++) {
            try {
              return rmdirSync(dir);
            } catch {
              Bun.sleepSync(50);
            }
          }
        },
      };
    } catch {
      // Not this version, or not ours to use.
    }
  }
  return undefined;
}

async function check(one: Stress, platform: string): Promise<Outcome> {
  const program = await compileGuest(one.program, join(import.meta.dir, "stress"));
  const control = one.memoryMiB ? memoryControl(one.memoryMiB) : undefined;
  if (one.memoryMiB && !control) return skip("no memory control group to keep the host safe");
  const guest = [...(one.before ?? []), program, ...(one.args ?? [])];
  const child = Bun.spawn([...(control?.command ?? []), ...inSandbox(platform, guest)], {
    cwd: "/tmp",
    env: cleanEnv,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  const begun = performance.now();
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child.pid);
  }, one.timeoutMs);
  const watch = new SandboxWatch(child.pid);
  const samples: number[] = [];
  const sampler = setInterval(() => {
    const resident = watch.residentMiB;
    if (resident > 0) samples.push(resident);
  }, 250);
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const code = await child.exited;
  clearTimeout(timer);
  clearInterval(sampler);
  control?.remove();
  const problems: string[] = [];
  if (timedOut) problems.push(`no end within ${one.timeoutMs / 1000} s`);
  if (!one.status.includes(code)) problems.push(`status ${code}`);
  if (!one.prints.test(stdout)) problems.push(`printed ${JSON.stringify(stdout.slice(0, 600))}, not ${one.prints}`);
  if (problems.length) problems.push(`stderr: ${stderr.slice(-800)}`);
  const early = samples[Math.floor(samples.length * (one.growthFrom ?? 0.1))];
  const last = samples.at(-1);
  const peak = Math.max(0, ...samples);
  if (one.growthMiB !== undefined && early !== undefined && last !== undefined) {
    const grown = last - early;
    if (grown > one.growthMiB) problems.push(`the sandbox grew by ${grown.toFixed(0)} MiB, more than ${one.growthMiB}`);
  }
  if (process.env["RUNTS_VERBOSE"] === "1")
    console.log(
      `        ${one.name}@${platform}: ${((performance.now() - begun) / 1000).toFixed(1)} s, sandbox at most ${peak.toFixed(0)} MiB, ${samples.length} samples`,
    );
  return problems.length ? fail(problems.join("\n")) : pass;
}

export function stressGroup(filters: readonly string[]): Group {
  const list: Case[] = [];
  for (const one of cases)
    for (const platform of platforms) {
      const name = `stress/${one.name}@${platform}`;
      if (matches(name, filters)) list.push({ name, alone: true, run: () => check(one, platform) });
    }
  return { name: "stress", cases: list };
}
