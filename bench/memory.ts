/**
 * Resident memory of an idle sandbox: all processes below the command, while `sleep` runs in it.
 *
 * Source: proc_pid_smaps_rollup(5). PSS shares a page's cost among the processes that map it, so
 * its sum is what the sandbox costs; the sum of RSS counts shared pages once per process.
 * Known gaps: a process that left the tree is not counted; page cache that nobody maps neither.
 */
import { readdirSync, readFileSync } from "node:fs";
import { run } from "./process.ts";
import type { Target } from "./targets.ts";

export interface Footprint {
  processes: number;
  pssMb: number;
  rssMb: number;
}

/** Process ids of `root` and of everything below it. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
      // The name in parentheses may hold anything: the fields are counted from its end.
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
    } catch {
      // Ended while we looked.
    }
  }
  const found: number[] = [];
  const pending = [root];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    found.push(pid);
    pending.push(...(children.get(pid) ?? []));
  }
  return found;
}

function footprint(root: number): Footprint | string {
  const sum: Footprint = { processes: 0, pssMb: 0, rssMb: 0 };
  for (const pid of processTree(root)) {
    try {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      const kilobytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? 0);
      sum.processes++;
      sum.pssMb += kilobytes("Pss") / 1024;
      sum.rssMb += kilobytes("Rss") / 1024;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : "";
      if (code === "EACCES" || code === "EPERM") return "not permitted to read a process's memory map: run as root";
    }
  }
  return sum.processes === 0 ? "ended before it could be measured" : sum;
}

/** MiB (PSS) of everything below a process, without itself. */
export function memoryBelow(root: number): number {
  let sum = 0;
  for (const pid of processTree(root).slice(1)) {
    try {
      sum += Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? 0) / 1024;
    } catch {
      // Ended while we looked, or a zombie.
    }
  }
  return sum;
}

const SLEEP_S = 5;
const SETTLE_MS = 2500;

/** The footprint in the middle of an idle `sleep`, or the reason that there is none. */
export async function idleFootprint(target: Target): Promise<Footprint | string> {
  let result: Footprint | string = "did not start";
  let timer: ReturnType<typeof setTimeout> | undefined;
  const outcome = await run([...target.prefix, "sleep", String(SLEEP_S)], {
    timeoutMs: 20_000,
    onStart: (pid) => {
      timer = setTimeout(() => {
        result = footprint(pid);
      }, SETTLE_MS);
    },
  });
  clearTimeout(timer);
  if (outcome.status !== 0) return outcome.failure;
  // A sandbox that did not really sleep would be measured while it goes away.
  if (outcome.elapsedMs < SLEEP_S * 1000 - 50) return `sleep ${SLEEP_S} ended after ${outcome.elapsedMs.toFixed(0)} ms`;
  return result;
}
