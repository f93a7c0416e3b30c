/**
 * One round: a sandbox in which a guest program makes its batches, and what was found meanwhile.
 *
 * A finding has a signature, by which the same fault is known again: when a list of calls is shrunk, and when an hour's
 * run is counted.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { cleanEnv, run } from "../harness/process.ts";
import { runts } from "../harness/sandbox.ts";
import { descendants } from "../harness/watch.ts";
import { writeBundle } from "./bundle.ts";
import { compileFuzzer, folder } from "./programs.ts";
import { slowness, Watch } from "./watch.ts";

export interface RoundOptions {
  kind: string;
  platform: string;
  seed: number;
  first: number;
  last: number;
  /** Steps of a batch. */
  count: number;
  /** "3,7:1": only these steps. */
  steps?: string;
  /** The sandbox prints each call, as `--strace` does: the printers read what the guest gave. */
  strace?: boolean;
  /** The bystander's worst call may take this long on a quiet machine. */
  latencyMs: number;
}

export interface Finding {
  signature: string;
  detail: string;
  batch: number;
}

export interface RoundResult {
  calls: number;
  batches: number;
  worstMs: number;
  memoryMiB: number;
  findings: Finding[];
}

/** All processes of a sandbox together. */
const MEMORY_MAX = 6144;
/** What the sandbox process may keep, from the tenth batch to the last: files that the guest has left behind are in it. */
const GROWTH_MAX = 150;
const DESCRIPTORS_MAX = 150;

/** A "kernel bug" of the log. Its signature is the message and where it was thrown, whatever call led there. */
function bugsOf(log: string): { signature: string; detail: string }[] {
  const lines = log.split("\n");
  const found: { signature: string; detail: string }[] = [];
  lines.forEach((line, i) => {
    if (!line.includes("kernel bug")) return;
    const stack = lines.slice(i + 1, i + 12).filter((l) => /^\s+at /.test(l));
    const frames = stack.slice(0, 2).map((frame) => frame.trim().replace(/\s*\(.*$/, ""));
    const message = line
      .replace(/^.*?kernel bug.*?\): /, "")
      .replace(/\d+/g, "N")
      .slice(0, 120);
    found.push({ signature: `kernel bug: ${[message, ...frames].join(" ")}`, detail: [line, ...stack].join("\n") });
  });
  return found;
}

/** The exception that ended a process: its message and the two innermost places. */
function thrown(stderr: string): string | undefined {
  const lines = stderr.split("\n");
  const at = lines.findIndex((line) => /^\s+at /.test(line));
  if (at < 1) return undefined;
  const frames = lines.slice(at, at + 2).map((frame) => frame.trim().replace(/\s*\(.*$/, ""));
  return [lines[at - 1]!.trim().replace(/\d+/g, "N").slice(0, 120), ...frames].join(" ");
}

/** What has been added to a file since it was asked last. */
class Tail {
  private at = 0;
  text = "";
  constructor(private readonly path: string) {}
  more(): string {
    let added = "";
    try {
      added = readFileSync(this.path).subarray(this.at).toString("utf8");
    } catch {
      // Not there yet.
    }
    this.at += Buffer.byteLength(added);
    this.text += added;
    return added;
  }
}

export async function runRound(options: RoundOptions): Promise<RoundResult> {
  const program = await compileFuzzer(options.kind);
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(join(folder, "round-"));
  const log = join(work, "kernel.log");
  const guest = [program, options.seed, options.first, options.last, options.count].map(String);
  if (options.steps !== undefined) guest.push(options.steps);
  writeBundle(work, guest);
  const id = basename(work);
  const state = ["--root", join(work, "state")];
  const flags = [...state, "--platform", options.platform, "--overlay", "--debug", "--debug-log", log];
  if (options.strace) flags.push("--strace");
  const child = Bun.spawn([runts, ...flags, "run", "--bundle", work, id], {
    cwd: "/tmp",
    env: cleanEnv,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  const watch = new Watch(child.pid);
  const result: RoundResult = { calls: 0, batches: 0, worstMs: 0, memoryMiB: 0, findings: [] };
  const tail = new Tail(log);
  let batch = options.first;
  let ended = false;
  let moved = performance.now();
  let killed = "";
  const find = (signature: string, detail: string): void => {
    if (!result.findings.some((f) => f.signature === signature)) result.findings.push({ signature, detail, batch });
  };
  const kill = (why: string): void => {
    if (killed !== "") return;
    killed = why;
    for (const pid of [child.pid, ...descendants(child.pid)])
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone already.
      }
  };
  const timer = setInterval(() => {
    watch.look(false);
    if (watch.peak > MEMORY_MAX) {
      find("memory of the sandbox", `${watch.peak.toFixed(0)} MiB in batch ${batch}`);
      kill("too much memory");
    }
    const quiet = performance.now() - moved;
    if (quiet > 30_000 * slowness()) {
      find("standstill", `nothing more from batch ${batch} for ${(quiet / 1000).toFixed(0)} s`);
      kill("standstill");
    }
  }, 500);
  const onLine = (line: string): void => {
    moved = performance.now();
    const [word, number] = line.split(" ");
    if (word === "start") batch = Number(number);
    else if (word === "end") ended = true;
    else if (word === "unkillable") find("a process outlives SIGKILL", `batch ${batch}`);
    else if (word === "batch") {
      const got = line.match(/calls (\d+) ms (\d+) worst_us (\d+) at (\d+)/);
      if (!got) return;
      result.batches++;
      result.calls += Number(got[1]);
      const worst = Number(got[3]) / 1000;
      result.worstMs = Math.max(result.worstMs, worst);
      if (worst > options.latencyMs * slowness())
        find("bystander waits", `a call took ${worst.toFixed(0)} ms in batch ${batch}, about step ${got[4]}`);
      watch.look(true);
      for (const bug of bugsOf(tail.more())) find(bug.signature, bug.detail);
    }
  };
  const output = (async () => {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) onLine(line);
    }
  })();
  const errors = new Response(child.stderr).text();
  const status = await child.exited;
  clearInterval(timer);
  await Promise.race([output, Bun.sleep(2000)]);
  const stderr = await Promise.race([errors, Bun.sleep(2000).then(() => "")]);
  if (killed !== "") await run([runts, ...state, "delete", "--force", id], { timeoutMs: 60_000 });
  for (let i = 0; i < 40 && watch.leftOver().length > 0; i++) await Bun.sleep(50);
  const left = watch.leftOver();
  if (left.length > 0) {
    find("processes left on the host", `${left.length} of them, after batch ${batch}`);
    for (const pid of left)
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone in the meantime.
      }
  }
  for (const bug of bugsOf(`${tail.more()}\n${stderr}`)) find(bug.signature, bug.detail);
  if (!ended && killed === "") {
    const last = tail.text.trimEnd().split("\n").slice(-12).join("\n");
    const why = /pid 1 \([^)]*\) (is ended by \S+|crashed: \S+)/.exec(tail.text)?.[1]?.replace(/SIGRT_\d+/, "a signal");
    const said = thrown(stderr) ?? stderr.trim().split("\n").slice(-3).join(" ").replace(/\d+/g, "N").slice(0, 120);
    find(
      why ? `process 1 ${why}` : `the sandbox ended: ${said || `status ${status}`}`,
      `status ${status}, signal ${child.signalCode} in batch ${batch}\n${stderr.slice(-1500)}\n${last}`,
    );
  }
  growth(watch, find);
  result.memoryMiB = Math.max(0, ...watch.memory);
  rmSync(work, { recursive: true, force: true });
  return result;
}

function growth(watch: Watch, find: (signature: string, detail: string) => void): void {
  const grown = (list: number[]): number => (list.length < 20 ? 0 : (list.at(-1) ?? 0) - (list[9] ?? 0));
  const memory = grown(watch.memory);
  if (memory > GROWTH_MAX) find("memory grows", `${memory.toFixed(0)} MiB in ${watch.memory.length} batches`);
  const descriptors = grown(watch.descriptors);
  if (descriptors > DESCRIPTORS_MAX)
    find("descriptors grow", `by ${descriptors} in ${watch.descriptors.length} batches: ${watch.descriptors.at(-1)}`);
}
