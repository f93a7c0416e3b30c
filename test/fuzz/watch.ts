/**
 * What is looked at while a sandbox runs, from the host: its processes, the memory and descriptors of the one that runs
 * the kernel, and which of them are still there afterwards.
 */
import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { descendants, residentMiB, SandboxWatch } from "../harness/watch.ts";

/** A process and when it began, so that a number that was given away again is not taken for it. */
interface Seen {
  pid: number;
  began: string;
}

const began = (pid: number): string | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
};

/** How much longer than on a quiet machine something may take. */
export const slowness = (): number => Math.max(1, (loadavg()[0] ?? 0) / 2);

export class Watch {
  readonly seen = new Map<number, Seen>();
  /** MiB of resident memory and number of descriptors of the sandbox process, in the order they were looked at. */
  readonly memory: number[] = [];
  readonly descriptors: number[] = [];
  /** Of all processes of the sandbox together, in MiB. */
  peak = 0;
  private readonly process: SandboxWatch;

  constructor(private readonly command: number) {
    this.process = new SandboxWatch(command);
  }

  /** Looks at everything. `settled`: between two batches, when the guest should hold nothing. */
  look(settled: boolean): void {
    let all = 0;
    for (const pid of descendants(this.command)) {
      const start = began(pid);
      if (start === undefined) continue;
      this.seen.set(pid, { pid, began: start });
      const resident = residentMiB(pid, "RssAnon");
      all += resident;
      if (!settled || pid !== this.process.sandbox?.pid) continue;
      const descriptors = this.process.descriptors.length;
      // It ends just now.
      if (descriptors === 0 || resident === 0) continue;
      this.descriptors.push(descriptors);
      this.memory.push(resident);
    }
    this.peak = Math.max(this.peak, all);
  }

  /** Processes of the sandbox that are still there. */
  leftOver(): number[] {
    return [...this.seen.values()].filter((p) => began(p.pid) === p.began).map((p) => p.pid);
  }
}
