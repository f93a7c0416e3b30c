/** Whether a host process still is the one that was noted: by number and start time, which no later process has. */
import { readdirSync, readFileSync } from "node:fs";
import type { ProcessRef } from "../sandbox.ts";

/** How long a start that failed leaves its caller to wait for the container's process. */
const REAP_TIMEOUT_MS = 500;

interface Stat {
  state: string;
  startTime: number;
}

/** State letter and start time (fields 3 and 22 of /proc/PID/stat), or null when there is no such process. */
export function readStat(pid: number): Stat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return null;
  }
  // The command name may contain spaces and parentheses: count from the last one.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0]!, startTime: Number(fields[19]) };
}

/** A zombie is gone: it waits to be reaped and runs nothing. */
export function isAlive(ref: ProcessRef): boolean {
  const stat = ref.pid > 0 ? readStat(ref.pid) : null;
  return stat !== null && stat.startTime === ref.startTime && stat.state !== "Z" && stat.state !== "X";
}

export function processRef(pid: number): ProcessRef {
  return { pid, startTime: readStat(pid)?.startTime ?? 0 };
}

/** Children of a process' threads, and theirs. */
export function descendants(pid: number): number[] {
  const found: number[] = [];
  const queue = [pid];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    try {
      for (const task of readdirSync(`/proc/${next}/task`)) {
        const children = readFileSync(`/proc/${next}/task/${task}/children`, "utf8");
        for (const child of children.split(" ").filter(Boolean).map(Number)) {
          found.push(child);
          queue.push(child);
        }
      }
    } catch {
      // Ended meanwhile.
    }
  }
  return found;
}

/** Waits until a process is gone. False: it is not. */
export async function ended(ref: ProcessRef, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  for (let pause = 1; isAlive(ref); pause = Math.min(pause * 2, 50)) {
    if (Date.now() > deadline) return false;
    await Bun.sleep(pause);
  }
  return true;
}

/**
 * Waits until the process' parent has waited for it, for a moment at most: not every parent does. A caller that is the
 * parent (containerd's shim) then knows of the end before it hears of the error, and lets the container be deleted.
 */
export async function waitedFor(ref: ProcessRef | null): Promise<void> {
  const deadline = Date.now() + REAP_TIMEOUT_MS;
  while (ref !== null && readStat(ref.pid)?.startTime === ref.startTime && Date.now() < deadline) await Bun.sleep(2);
}
