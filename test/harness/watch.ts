/**
 * A sandbox seen from the host while it runs: which processes are below a command, which of them runs the kernel, and
 * what that one holds of memory and descriptors.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
function linkOr(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** The processes below this one, nearest first. Those that end meanwhile are left out. */
export function descendants(pid: number): number[] {
  const found = [pid];
  for (let at = 0; at < found.length; at++)
    for (const tid of namesIn(`/proc/${found[at]}/task`))
      found.push(...readOr(`/proc/${found[at]}/task/${tid}/children`).split(" ").filter(Boolean).map(Number));
  return found.slice(1);
}

/** Resident memory in MiB, 0 when it is gone. `what`: VmRSS is all of it, RssAnon without what is shared or a file's. */
export const residentMiB = (pid: number, what: "VmRSS" | "RssAnon" = "VmRSS"): number =>
  Number(new RegExp(`^${what}:\\s+(\\d+)`, "m").exec(readOr(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;

/** Where the descriptors of a process lead, one for each. Numbers in it say nothing: "socket:[N]". */
export const descriptorsOf = (pid: number): string[] =>
  namesIn(`/proc/${pid}/fd`).map((fd) => linkOr(`/proc/${pid}/fd/${fd}`).replace(/\d+/g, "N"));

/** The pid namespace of a process, "" when it is gone. */
export const pidNamespace = (pid: number): string => linkOr(`/proc/${pid}/ns/pid`);

/** Processes that are (still) in a pid namespace. */
export const inNamespace = (namespace: string): number[] =>
  namesIn("/proc")
    .filter((name) => /^\d+$/.test(name) && linkOr(`/proc/${name}/ns/pid`) === namespace)
    .map(Number);

/** The sandbox process below a command: it is the first process of a pid namespace of its own. */
export class SandboxWatch {
  private found: { pid: number; namespace: string } | null = null;

  constructor(private readonly command: number) {}

  /** Null as long as it has not been seen. */
  get sandbox(): { pid: number; namespace: string } | null {
    if (this.found === null) {
      const own = linkOr("/proc/self/ns/pid");
      for (const pid of descendants(this.command)) {
        const namespace = linkOr(`/proc/${pid}/ns/pid`);
        if (namespace === "" || namespace === own) continue;
        this.found = { pid, namespace };
        break;
      }
    }
    return this.found;
  }
  /** Resident memory of the sandbox process; 0 before and after it is there. */
  get residentMiB(): number {
    const { sandbox } = this;
    return sandbox === null ? 0 : residentMiB(sandbox.pid);
  }
  get descriptors(): string[] {
    const { sandbox } = this;
    return sandbox === null ? [] : descriptorsOf(sandbox.pid);
  }
}
