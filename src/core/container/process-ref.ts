/** Whether a host process still is the one that was noted: by number and start time, which no later process has. */
import { readFileSync } from "node:fs";
import type { ProcessRef } from "../sandbox.ts";

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
