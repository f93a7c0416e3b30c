/**
 * What saving costs: how long a program stands still, how long the commands take, how much memory a branch adds, and how soon
 * a restored one answers.
 *
 *   bun bench/checkpoint.ts [--rounds N] [--sizes 16,256,2048] [--python MIB] [--markdown]
 *
 * RUNTS= and RUNSC= name executables other than dist/runts and that on PATH; runsc takes part where it has the verb.
 * --markdown also writes bench/CHECKPOINT.md.
 *
 * Invariants: runtimes take turns, in one run. The pause is what the program itself sees: the longest time between two looks
 * at the clock (bench/checkpoint.c) while the command ran, beside that of a moment before. "Answer" is the time from the
 * start of the command to the first line of the restored program. Images lie in memory (/dev/shm), so that no disk is measured.
 * Known gaps: root only. PSS has no page tables. A program with one thread.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeMachine, otherWork } from "./machine.ts";
import { memoryBelow } from "./memory.ts";
import { compile } from "./micro.ts";
import { environment, withScratch } from "./process.ts";
import { becomeSubreaper, findRuntimes, type Runtime, reapOrphans, step } from "./runtimes.ts";
import { asMarkdown, asText, figure, median, type Table } from "./stats.ts";
import { runtsPath } from "./targets.ts";

const READY_MS = 60_000;
const BRANCHES = 5;
const SETTLE_MS = 1500;

interface Life {
  /** ms: the longest pause before, and while it was saved. */
  before: number;
  pause: number;
  /** ms: whole commands. */
  command: number;
  /** MiB. */
  image: number;
  /** ms to the first line of the restored program; NaN where it was not restored. */
  answer: number;
}
type Verb = "checkpoint" | "branch";

function writeBundle(bundle: string, args: string[], shared: string): void {
  mkdirSync(`${bundle}/rootfs/proc`, { recursive: true });
  mkdirSync(`${bundle}/rootfs/shared`, { recursive: true });
  const config = {
    ociVersion: "1.0.2",
    process: { terminal: false, user: { uid: 0, gid: 0 }, args, env: ["PATH=/"], cwd: "/", noNewPrivileges: true },
    root: { path: "rootfs", readonly: true },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/shared", type: "bind", source: shared, options: ["rbind", "rw"] },
    ],
    linux: { namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })) },
  };
  writeFileSync(`${bundle}/config.json`, JSON.stringify(config));
}

/** Lines of the guest: what its clock showed, ms, and the longest time between two looks, ms. */
function looks(shared: string): { at: number; worst: number }[] {
  let text = "";
  try {
    text = readFileSync(`${shared}/pause`, "utf8");
  } catch {
    return [];
  }
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" ").map(Number))
    .map(([at, worst]) => ({ at: at!, worst: worst! / 1e6 }));
}

function awaitLooks(shared: string, count: number): void {
  const start = performance.now();
  while (looks(shared).length < count) {
    if (performance.now() - start > READY_MS) throw new Error("the program does not get to its work");
    Bun.sleepSync(2);
  }
}

const worstOf = (lines: { worst: number }[]): number => Math.max(...lines.map(({ worst }) => worst));

function sizeOf(directory: string): number {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(`${directory}/${name}`).blocks * 512, 0) / 2 ** 20;
}

let made = 0;

class Bench {
  private readonly log: string;
  constructor(
    private readonly scratch: string,
    private readonly images: string,
  ) {
    this.log = `${scratch}/log`;
  }

  live(runtime: Runtime, verb: Verb, mib: number): Life {
    const id = `bench-${process.pid}-${made++}`;
    const bundle = `${this.scratch}/bundle`;
    const shared = `${this.scratch}/shared-${id}`;
    const image = `${this.images}/${id}`;
    mkdirSync(shared);
    writeBundle(bundle, ["/checkpoint", String(mib)], shared);
    const ids = [id];
    try {
      step(runtime, this.log, ["create", "--bundle", bundle, id]);
      step(runtime, this.log, ["start", id]);
      awaitLooks(shared, 6);
      const quiet = looks(shared).slice(2);
      const seen = looks(shared).length;
      let command: number;
      if (verb === "branch") {
        ids.push(`${id}-b`);
        command = step(runtime, this.log, ["branch", id, `${id}-b`]);
      } else {
        mkdirSync(image, { recursive: true });
        command = step(runtime, this.log, ["checkpoint", "--leave-running", "--image-path", image, id]);
      }
      awaitLooks(shared, seen + 3);
      const life: Life = {
        before: worstOf(quiet),
        // A branch writes to the same file, from its own beginning on.
        pause: worstOf(looks(shared).slice(seen)),
        command,
        image: verb === "branch" ? Number.NaN : sizeOf(image),
        answer: Number.NaN,
      };
      if (verb === "checkpoint") {
        step(runtime, this.log, ["delete", "--force", id]);
        const before = looks(shared).length;
        const start = performance.now();
        ids.push(`${id}-r`);
        const words = ["restore", "--detach", "--bundle", bundle, "--image-path", image];
        // Its file has grown on after it was saved.
        if (runtime.name === "runts") words.push("--allow-changed");
        step(runtime, this.log, [...words, `${id}-r`]);
        awaitLooks(shared, before + 1);
        life.answer = performance.now() - start;
      }
      return life;
    } finally {
      for (const each of ids)
        try {
          step(runtime, this.log, ["delete", "--force", each]);
        } catch {
          // It is gone, or the first failure is the one to report.
        }
      reapOrphans();
      rmSync(image, { recursive: true, force: true });
      rmSync(shared, { recursive: true, force: true });
    }
  }
}

function pauseTable(
  lives: Map<string, Life[]>,
  sizes: readonly number[],
  failures: ReadonlyMap<string, string>,
): Table {
  const rows: string[][] = [];
  for (const mib of sizes)
    for (const name of ["runts checkpoint", "runts branch", "runsc checkpoint"]) {
      const all = lives.get(`${name} ${mib}`) ?? [];
      if (all.length === 0) continue;
      const middle = (of: keyof Life) => median(all.map((life) => life[of]));
      const shown = (value: number) => (Number.isNaN(value) ? "" : figure(value));
      rows.push([
        `${name}, ${mib} MiB`,
        figure(middle("before")),
        figure(middle("pause")),
        figure(middle("command")),
        shown(middle("answer")),
        shown(middle("image")),
        shown(middle("image") / mib),
      ]);
    }
  return {
    title: "A running program is saved: medians",
    note: "milliseconds; the longest pause that the program saw before and while it was saved, the whole command, and to the first line of the restored one; MiB of the image, and over those in use",
    head: ["what", "before", "pause", "command", "answer", "image", "image/used"],
    rows,
    remarks: [...failures].map(([name, why]) => `${name}: ${why}`),
  };
}

/** A warm interpreter: so many MiB of objects, saved where it says so. */
const WARM = (mib: number) => `
import json, sys
objects = [{"n": i, "text": "object %d" % i, "list": [i] * 8} for i in range(${mib} * 2200)]
import asyncio, sqlite3, http.server, unittest, xml.dom.minidom, email, ssl, decimal, logging, multiprocessing
open("/proc/runts/checkpoint", "w").write("here")
print("ready", len(objects), flush=True)
if sys.stdin.readline() == "": sys.exit(0)
`;

interface Warm {
  cold: number;
  hot: number;
  plain: number;
  branch: number;
}

function time(words: string[]): number {
  const start = performance.now();
  const child = Bun.spawnSync([runtsPath(), ...words], {
    cwd: "/",
    env: environment,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  if (child.exitCode !== 0) throw new Error(`runts ${words[0]}: ${child.stderr.toString().trim()}`);
  return performance.now() - start;
}

function warmRound(program: string, image: string): Warm {
  const python = Bun.which("python3")!;
  rmSync(image, { recursive: true, force: true });
  const cold = time(["do", "--save", image, "--", python, program]);
  const hot = time(["do", "--from", image]);
  const plain = time(["do", "true"]);
  return { cold, hot, plain, branch: Number.NaN };
}

/** MiB that each of so many copies of a warm interpreter adds. */
async function copies(image: string): Promise<number> {
  const children: ReturnType<typeof Bun.spawn>[] = [];
  const begin = async () => {
    const child = Bun.spawn([runtsPath(), "do", "--from", image], {
      cwd: "/",
      env: environment,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    children.push(child);
    await child.stdout.getReader().read();
  };
  try {
    await begin();
    Bun.sleepSync(SETTLE_MS);
    const one = memoryBelow(process.pid);
    for (let n = 0; n < BRANCHES; n++) await begin();
    Bun.sleepSync(SETTLE_MS);
    return (memoryBelow(process.pid) - one) / BRANCHES;
  } finally {
    for (const child of children) child.kill("SIGKILL");
    for (const child of children) await child.exited;
  }
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    sizes: { type: "string", default: "16,256,2048" },
    python: { type: "string", default: "200" },
    markdown: { type: "boolean", default: false },
  },
});

await withScratch("runts-bench-checkpoint", async (scratch) => {
  becomeSubreaper();
  const rounds = Number(values.rounds);
  const sizes = values.sizes.split(",").map(Number);
  mkdirSync(`${scratch}/bundle/rootfs`, { recursive: true });
  const failure = await compile(`${import.meta.dir}/checkpoint.c`, `${scratch}/bundle/rootfs/checkpoint`);
  if (failure !== undefined) throw new Error(failure);
  const images = `/dev/shm/runts-bench-${process.pid}`;
  mkdirSync(images, { mode: 0o700 });
  const busy = await otherWork(1000);
  const { found, missing } = findRuntimes(`${scratch}/state`);
  const lives = new Map<string, Life[]>();
  const failures = new Map<string, string>();
  const tables: Table[] = [];
  try {
    const bench = new Bench(scratch, images);
    for (let round = 0; round < rounds; round++)
      for (const mib of sizes)
        for (const runtime of found)
          for (const verb of ["checkpoint", "branch"] as const) {
            const name = `${runtime.name} ${verb}`;
            if (!["runts", "runsc"].includes(runtime.name) || (runtime.name === "runsc" && verb === "branch")) continue;
            if (failures.has(`${name} ${mib}`)) continue;
            try {
              const life = bench.live(runtime, verb, mib);
              lives.set(`${name} ${mib}`, [...(lives.get(`${name} ${mib}`) ?? []), life]);
            } catch (error) {
              failures.set(`${name} ${mib}`, (error as Error).message);
            }
          }
    tables.push(pauseTable(lives, sizes, failures));
    const program = `${scratch}/warm.py`;
    writeFileSync(program, WARM(Number(values.python)));
    const image = `${images}/warm`;
    const warm: Warm[] = [];
    for (let round = 0; round < rounds; round++) warm.push(warmRound(program, image));
    const each = await copies(image);
    const middle = (of: keyof Warm) => median(warm.map((one) => one[of]));
    tables.push({
      title: "A warm Python that is restored",
      note: `milliseconds of whole commands, medians: begun and saved, restored to its end, and \`do true\`; MiB (PSS) that each of ${BRANCHES} copies adds`,
      head: ["objects", "begun", "restored", "do true", "restored/true", "MiB a copy", "image MiB"],
      rows: [
        [
          `${values.python} MiB`,
          figure(middle("cold")),
          figure(middle("hot")),
          figure(middle("plain")),
          figure(middle("hot") / middle("plain")),
          figure(each),
          figure(sizeOf(image)),
        ],
      ],
      remarks: [],
    });
  } finally {
    rmSync(images, { recursive: true, force: true });
  }
  const machine = [
    ...(await describeMachine()),
    `${rounds} rounds; other work took ${(busy * 100).toFixed(0)} % of the machine when they began`,
    ...missing.filter((name) => name === "runsc").map((name) => `Not measured: ${name} is not there`),
  ];
  console.log([...machine, "", ...tables.map(asText)].join("\n"));
  if (values.markdown)
    writeFileSync(
      `${import.meta.dir}/CHECKPOINT.md`,
      [
        "# What saving and restoring cost",
        "",
        ...machine.map((line) => `- ${line}`),
        "",
        ...tables.map(asMarkdown),
      ].join("\n"),
    );
  return 0;
});
