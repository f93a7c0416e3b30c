/**
 * The life of a container side by side: create, start, wait and delete of a program that ends at
 * once, by each runtime that is there, through the command line that containerd and Podman use.
 *
 *   bun bench/lifecycle.ts [--rounds N] [--markdown]
 *
 * RUNTS=, RUNC=, CRUN= and RUNSC= name executables other than dist/runts and those on PATH.
 * --markdown also writes bench/LIFECYCLE.md.
 *
 * Invariant: the runtimes take turns, one container each per round; "wait" is the time until the
 * process of the pid file can be reaped with status 0, by this process as the subreaper, which is
 * what containerd's shim and conmon do; a runtime that fails is named with its reason and leaves no
 * container behind.
 * Known gaps: root only; no networking, no cgroup limits and a root of one static program, so this
 * is the floor of what a container costs, not a typical one. `wait` is polled every 0.2 ms;
 * the end of a runtime's helper processes after it is in no figure.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeMachine } from "./machine.ts";
import { compile } from "./micro.ts";
import { withScratch } from "./process.ts";
import { awaitEnd, becomeSubreaper, findRuntimes, type Runtime, reapOrphans, step } from "./runtimes.ts";
import { asMarkdown, asText, figure, median, type Table } from "./stats.ts";

const STEPS = ["create", "start", "wait", "delete"] as const;
type Timing = Record<(typeof STEPS)[number], number>;

/** A bundle with a static program as its whole root; no cgroup path, no network but the loopback. */
function writeBundle(folder: string): void {
  const config = {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ["/micro", "--exit"],
      env: ["PATH=/"],
      cwd: "/",
      noNewPrivileges: true,
    },
    root: { path: "rootfs", readonly: true },
    hostname: "bench",
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    linux: { namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })) },
  };
  mkdirSync(`${folder}/rootfs/proc`, { recursive: true });
  writeFileSync(`${folder}/config.json`, JSON.stringify(config));
}

let containers = 0;

function live(runtime: Runtime, bundle: string, scratch: string): Timing {
  const id = `bench-${process.pid}-${containers++}`;
  const log = `${scratch}/log`;
  const pidFile = `${scratch}/pid`;
  try {
    const create = step(runtime, log, ["create", "--bundle", bundle, "--pid-file", pidFile, id]);
    const pid = Number(readFileSync(pidFile, "utf8"));
    if (!(pid > 0)) throw new Error("create: no process id in the pid file");
    const start = step(runtime, log, ["start", id]);
    const wait = awaitEnd(pid);
    reapOrphans();
    const remove = step(runtime, log, ["delete", id]);
    reapOrphans();
    return { create, start, wait, delete: remove };
  } catch (error) {
    reapOrphans();
    try {
      step(runtime, log, ["delete", "--force", id]);
    } catch {
      // The first failure is the one to report.
    }
    throw error;
  }
}

const total = (timing: Timing): number => STEPS.reduce((sum, name) => sum + timing[name], 0);

function lifecycleTable(runtimes: Runtime[], timings: Map<string, Timing[]>, failures: Map<string, string>): Table {
  const middle = (name: string): number | undefined => {
    const list = timings.get(name) ?? [];
    return list.length === 0 || failures.has(name) ? undefined : median(list.map(total));
  };
  const runts = middle("runts");
  return {
    title: "Life of a container",
    note: "milliseconds, medians; total is the median of whole lives (their minimum); the last column is runts over this runtime",
    head: ["runtime", ...STEPS, "total", "runts/this"],
    rows: runtimes.map(({ name }) => {
      const failure = failures.get(name);
      if (failure !== undefined) return [name, "", "", "", "", "failed", ""];
      const list = timings.get(name) ?? [];
      const whole = middle(name);
      const shown = whole === undefined ? "" : `${figure(whole)} (${figure(Math.min(...list.map(total)))})`;
      const compared = runts === undefined || whole === undefined || name === "runts" ? "" : figure(runts / whole);
      return [name, ...STEPS.map((key) => figure(median(list.map((timing) => timing[key])))), shown, compared];
    }),
    remarks: [...failures].map(([name, failure]) => `${name} failed: ${failure}`),
  };
}

async function main(rounds: number, markdown: boolean, scratch: string): Promise<number> {
  const bundle = `${scratch}/bundle`;
  writeBundle(bundle);
  const problem = await compile(`${import.meta.dirname}/micro.c`, `${bundle}/rootfs/micro`);
  if (problem !== undefined) {
    console.error(`bench: ${problem}`);
    return 1;
  }
  const machine = await describeMachine();
  const { found, missing } = findRuntimes(`${scratch}/state`);
  becomeSubreaper();
  const timings = new Map<string, Timing[]>();
  const failures = new Map<string, string>();
  for (let round = 0; round <= rounds; round++) {
    for (let at = 0; at < found.length; at++) {
      const runtime = found[(at + round) % found.length]!;
      if (failures.has(runtime.name)) continue;
      try {
        const timing = live(runtime, bundle, scratch);
        // The first round warms the page cache and is not counted.
        if (round > 0) timings.set(runtime.name, [...(timings.get(runtime.name) ?? []), timing]);
      } catch (error) {
        failures.set(runtime.name, error instanceof Error ? error.message.replaceAll(scratch, "…") : String(error));
      }
    }
  }
  const notes = missing.map((name) => `Not measured: ${name} is not there (on PATH, or ${name.toUpperCase()}=)`);
  const table = lifecycleTable(found, timings, failures);
  console.log([...machine, ...notes].join("\n"));
  console.log(`\n${asText(table)}`);
  if (markdown) {
    const lines = [...machine, ...notes].map((line) => `- ${line}`);
    const text = ["# The life of a container", "", ...lines, "", asMarkdown(table)].join("\n");
    writeFileSync(`${import.meta.dirname}/LIFECYCLE.md`, text);
    console.log("written: bench/LIFECYCLE.md");
  }
  return 0;
}

const { values } = parseArgs({ options: { rounds: { type: "string" }, markdown: { type: "boolean" } } });
const rounds = Number(values.rounds ?? 15);
if (process.getuid?.() !== 0) {
  console.error("bench: the life of a container is measured as root only");
  process.exitCode = 1;
} else if (!(rounds >= 1 && rounds <= 1000)) {
  console.error("bench: --rounds takes a number from 1 to 1000");
  process.exitCode = 2;
} else {
  await withScratch("runts-lifecycle", (scratch) => main(Math.floor(rounds), values.markdown ?? false, scratch));
}
