/**
 * What one more container costs: in a sandbox of its own, and as one that joins a running sandbox, as those of a pod do.
 *
 *   bun bench/pod.ts [--rounds N] [--json] [--markdown]
 *
 * RUNTS=, RUNC= and RUNSC= name executables other than dist/runts and those on PATH; runsc joins by the same annotations,
 * those of containerd's CRI, and runc by paths of namespaces. --json prints every single figure, --markdown also writes
 * bench/POD.md.
 *
 * Invariants: runtimes and kinds take turns, one life each per round. Time is that of whole commands; `wait` is the time
 * until the process of the pid file can be reaped, `kill` that of the command that ends a program that sleeps and of its
 * reaping. Processor time is that of commands, sandbox and stubs, and says more on a busy machine. Memory is the PSS of everything below this process, so of all that a container adds: its stubs, its waiter, and
 * what the sandbox process grows by.
 * Known gaps: root only, no cgroup limits, one static program as root file system. PSS has no page tables and no memory of
 * the host's kernel. A page that a sandbox shares with another one of this bench is counted once, as it is in a machine.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeMachine, otherWork } from "./machine.ts";
import { memoryBelow } from "./memory.ts";
import { compile } from "./micro.ts";
import { withScratch } from "./process.ts";
import {
  awaitEnd,
  becomeSubreaper,
  findRuntimes,
  type Runtime,
  reapedCpu,
  reapOrphans,
  runningCpu,
  step,
} from "./runtimes.ts";
import { asMarkdown, asText, figure, median, type Table } from "./stats.ts";

const KINDS = ["own", "joiner"] as const;
type Kind = (typeof KINDS)[number];
const PROGRAMS = ["true", "sleep"] as const;
type Program = (typeof PROGRAMS)[number];
const STEPS = ["create", "start", "wait", "delete"] as const;
type Timing = Record<(typeof STEPS)[number] | "cpu", number>;
const COUNTS = [1, 5, 10];
const SETTLE_MS = 1500;
const SIGKILL = 9;
/** The aim: so many times cheaper is one that joins. */
const AIM = 5;

interface Result {
  runtime: Runtime;
  timings: Record<Kind, Record<Program, Timing[]>>;
  /** MiB by the number of containers beside the first. */
  memory: Record<Kind, Map<number, number>>;
  failure: string | null;
}

const total = (timing: Timing): number => STEPS.reduce((sum, name) => sum + timing[name], 0);

/** What makes a container one of the pod `of`, or, without it, the pod itself. */
function bundleConfig(program: Program | "pod", pod: { id: string; pid: number } | null, runtime: string) {
  const joins = program !== "pod" && pod !== null;
  const types = ["pid", "mount", "ipc", "uts", "network"];
  const namespaces = types.map((type) => {
    const path = `/proc/${pod?.pid}/ns/${type === "network" ? "net" : type}`;
    return joins && ["ipc", "uts", "network"].includes(type) ? { type, path } : { type };
  });
  const cri = {
    "io.kubernetes.cri.container-type": joins ? "container" : "sandbox",
    "io.kubernetes.cri.sandbox-id": pod?.id ?? "",
  };
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ["/micro", program === "true" ? "--exit" : "--pause"],
      env: ["PATH=/"],
      cwd: "/",
      noNewPrivileges: true,
    },
    root: { path: "rootfs", readonly: true },
    ...(joins ? {} : { hostname: "bench" }),
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    ...(pod === null || runtime === "runc" ? {} : { annotations: cri }),
    linux: { namespaces },
  };
}

class Bench {
  private made = 0;
  private readonly log: string;
  private readonly pidFile: string;
  private readonly bundle: string;

  constructor(scratch: string) {
    this.log = `${scratch}/log`;
    this.pidFile = `${scratch}/pid`;
    this.bundle = `${scratch}/bundle`;
  }

  newId = (): string => `bench-${process.pid}-${this.made++}`;

  private make(runtime: Runtime, id: string, config: object): { pid: number; create: number; start: number } {
    writeFileSync(`${this.bundle}/config.json`, JSON.stringify(config));
    const create = step(runtime, this.log, ["create", "--bundle", this.bundle, "--pid-file", this.pidFile, id]);
    const pid = Number(readFileSync(this.pidFile, "utf8"));
    if (!(pid > 0)) throw new Error("create: no process id in the pid file");
    return { pid, create, start: step(runtime, this.log, ["start", id]) };
  }
  /** The process in runsc's pid file is the sandbox', whose end is not that of one that joined: its command waits. */
  private await(runtime: Runtime, id: string, pid: number, joined: boolean, signal = 0): number {
    return runtime.name === "runsc" && joined ? step(runtime, this.log, ["wait", id]) : awaitEnd(pid, signal);
  }
  private end(runtime: Runtime, id: string, pid: number, joined: boolean): number {
    const taken = step(runtime, this.log, ["kill", id, "KILL"]);
    return taken + this.await(runtime, id, pid, joined, SIGKILL);
  }
  private remove(runtime: Runtime, id: string): number {
    const taken = step(runtime, this.log, ["delete", id]);
    reapOrphans();
    return taken;
  }
  force(runtime: Runtime, id: string): void {
    reapOrphans();
    try {
      step(runtime, this.log, ["delete", "--force", id]);
    } catch {
      // The first failure is the one to report.
    }
    reapOrphans();
  }

  /** One container's life. `pod`: that which it joins. */
  live(runtime: Runtime, program: Program, pod: { id: string; pid: number } | null): Timing {
    const id = this.newId();
    const used = () => reapedCpu() + (pod === null ? 0 : runningCpu(pod.pid));
    const before = used();
    try {
      const { pid, create, start } = this.make(runtime, id, bundleConfig(program, pod, runtime.name));
      const wait =
        program === "true" ? this.await(runtime, id, pid, pod !== null) : this.end(runtime, id, pid, pod !== null);
      reapOrphans();
      const remove = this.remove(runtime, id);
      return { create, start, wait, delete: remove, cpu: used() - before };
    } catch (error) {
      this.force(runtime, id);
      throw error;
    }
  }

  /** With a pod running. */
  withPod<T>(runtime: Runtime, use: (pod: { id: string; pid: number }) => T): T {
    const id = this.newId();
    let made = false;
    try {
      const { pid } = this.make(runtime, id, bundleConfig("pod", { id, pid: 0 }, runtime.name));
      made = true;
      const result = use({ id, pid });
      this.end(runtime, id, pid, false);
      this.remove(runtime, id);
      made = false;
      return result;
    } catch (error) {
      if (made) this.force(runtime, id);
      throw error;
    }
  }

  /** Memory with more and more containers. */
  memory(runtime: Runtime, pod: { id: string; pid: number } | null): Map<number, number> {
    const found = new Map<number, number>();
    const running: { id: string; pid: number }[] = [];
    const measure = (count: number) => {
      Bun.sleepSync(SETTLE_MS);
      found.set(count, memoryBelow(process.pid));
    };
    try {
      if (pod === null) running.push(this.sleeper(runtime, null));
      measure(0);
      for (let count = 1; count <= COUNTS.at(-1)!; count++) {
        running.push(this.sleeper(runtime, pod));
        if (COUNTS.includes(count)) measure(count);
      }
      for (let each = running.pop(); each !== undefined; each = running.pop()) {
        this.end(runtime, each.id, each.pid, pod !== null);
        this.remove(runtime, each.id);
      }
      return found;
    } catch (error) {
      for (const { id } of running) this.force(runtime, id);
      throw error;
    }
  }
  private sleeper(runtime: Runtime, pod: { id: string; pid: number } | null): { id: string; pid: number } {
    const id = this.newId();
    try {
      return { id, pid: this.make(runtime, id, bundleConfig("sleep", pod, runtime.name)).pid };
    } catch (error) {
      this.force(runtime, id);
      throw error;
    }
  }
}

function timeTable(results: Result[], program: Program, of: (values: number[]) => number, what: string): Table {
  const rows = results
    .filter(({ failure }) => failure === null)
    .flatMap(({ runtime, timings }) => {
      const whole = (kind: Kind) => of(timings[kind][program].map(total));
      const cpu = (kind: Kind) => of(timings[kind][program].map((timing) => timing.cpu));
      return KINDS.map((kind) => {
        const more = kind === "joiner" ? figure(cpu("own") / cpu("joiner")) : "";
        const list = timings[kind][program];
        const columns = STEPS.map((name) => figure(of(list.map((timing) => timing[name]))));
        const ratio = kind === "joiner" ? figure(whole("own") / whole("joiner")) : "";
        return [`${runtime.name}, ${kind}`, ...columns, figure(whole(kind)), ratio, figure(cpu(kind)), more];
      });
    });
  const wait = program === "true" ? "wait" : "kill, wait";
  return {
    title: program === "true" ? `A program that ends at once: ${what}` : `A program that sleeps: ${what}`,
    note: "milliseconds of whole commands, and of the processor (commands, sandbox and stubs); own/joiner: a sandbox of its own over one that joins",
    head: ["runtime, kind", "create", "start", wait, "delete", "total", "own/joiner", "processor", "own/joiner"],
    rows,
    remarks: [],
  };
}

function memoryTable(results: Result[]): Table {
  const rows = results
    .filter(({ failure }) => failure === null)
    .flatMap(({ runtime, memory }) => {
      const each = (kind: Kind, count: number) => (memory[kind].get(count)! - memory[kind].get(0)!) / count;
      return KINDS.map((kind) => [
        `${runtime.name}, ${kind}`,
        figure(memory[kind].get(0)!),
        ...COUNTS.map((count) => figure(each(kind, count))),
        kind === "joiner" ? COUNTS.map((count) => figure(each("own", count) / each("joiner", count))).join(", ") : "",
      ]);
    });
  return {
    title: "Memory that one more container costs",
    note: `MiB (PSS) for each of so many more, which sleep; the last column: a sandbox of its own over one that joins, for ${COUNTS.join(", ")}`,
    head: ["runtime, kind", "the first", ...COUNTS.map((count) => `of ${count}`), "own/joiner"],
    rows,
    remarks: [],
  };
}

async function main(rounds: number, options: { json: boolean; markdown: boolean }, scratch: string): Promise<number> {
  mkdirSync(`${scratch}/bundle/rootfs/proc`, { recursive: true });
  const problem = await compile(`${import.meta.dirname}/micro.c`, `${scratch}/bundle/rootfs/micro`);
  if (problem !== undefined) {
    console.error(`bench: ${problem}`);
    return 1;
  }
  const machine = await describeMachine();
  const busy = await otherWork(1000);
  const { found, missing } = findRuntimes(`${scratch}/state`);
  becomeSubreaper();
  const bench = new Bench(scratch);
  const results = found.map(
    (runtime): Result => ({
      runtime,
      timings: { own: { true: [], sleep: [] }, joiner: { true: [], sleep: [] } },
      memory: { own: new Map(), joiner: new Map() },
      failure: null,
    }),
  );
  const attempt = (result: Result, work: () => void) => {
    if (result.failure !== null) return;
    try {
      work();
    } catch (error) {
      result.failure = error instanceof Error ? error.message.replaceAll(scratch, "…") : String(error);
    }
  };
  for (let round = 0; round <= rounds; round++)
    for (let at = 0; at < results.length; at++) {
      const result = results[(at + round) % results.length]!;
      attempt(result, () =>
        bench.withPod(result.runtime, (pod) => {
          for (const program of PROGRAMS)
            for (const kind of round % 2 === 0 ? KINDS : KINDS.toReversed()) {
              const timing = bench.live(result.runtime, program, kind === "own" ? null : pod);
              // The first round warms the page cache and is not counted.
              if (round > 0) result.timings[kind][program].push(timing);
            }
        }),
      );
    }
  for (const result of results)
    attempt(result, () => {
      result.memory.own = bench.memory(result.runtime, null);
      result.memory.joiner = bench.withPod(result.runtime, (pod) => bench.memory(result.runtime, pod));
    });

  if (options.json) {
    const figures = results.map(({ runtime, timings, memory, failure }) => ({
      runtime: runtime.name,
      failure,
      timings,
      memory: { own: Object.fromEntries(memory.own), joiner: Object.fromEntries(memory.joiner) },
    }));
    console.log(JSON.stringify({ machine, busy, results: figures }, null, 2));
    return 0;
  }
  const minimum = (values: number[]) => Math.min(...values);
  const tables = [
    ...PROGRAMS.flatMap((program) => [
      timeTable(results, program, median, "medians"),
      timeTable(results, program, minimum, "minima"),
    ]),
    memoryTable(results),
  ];
  const notes = [
    ...machine,
    `${rounds} rounds; other work took ${(busy * 100).toFixed(0)} % of the machine when they began`,
    `Aim: one that joins is ${AIM} times cheaper than a sandbox of its own, in time and in memory`,
    ...missing.map((name) => `Not measured: ${name} is not there (on PATH, or ${name.toUpperCase()}=)`),
    ...results.flatMap(({ runtime, failure }) => (failure === null ? [] : [`${runtime.name} failed: ${failure}`])),
  ];
  console.log([...notes, "", ...tables.map(asText)].join("\n"));
  if (options.markdown) {
    const lines = notes.map((line) => `- ${line}`);
    const text = ["# What one more container costs", "", ...lines, "", ...tables.map(asMarkdown)].join("\n");
    writeFileSync(`${import.meta.dirname}/POD.md`, text);
    console.log("written: bench/POD.md");
  }
  return 0;
}

const { values } = parseArgs({
  options: { rounds: { type: "string" }, json: { type: "boolean" }, markdown: { type: "boolean" } },
});
const rounds = Number(values.rounds ?? 10);
if (process.getuid?.() !== 0) {
  console.error("bench: containers of a pod are measured as root only");
  process.exitCode = 1;
} else if (!(rounds >= 1 && rounds <= 1000)) {
  console.error("bench: --rounds takes a number from 1 to 1000");
  process.exitCode = 2;
} else {
  const options = { json: values.json ?? false, markdown: values.markdown ?? false };
  await withScratch("runts-pod", (scratch) => main(Math.floor(rounds), options, scratch));
}
