/** `runts ps ID`: the container's processes. The table shows the guest's numbers, the JSON those of the host. */
import { readFileSync } from "node:fs";
import { command } from "../command.ts";
import type { Container } from "../container/container.ts";
import { descendants } from "../container/process-ref.ts";
import { flag } from "../flags.ts";
import type { GuestProcess } from "../sandbox.ts";
import { columns, formatSchema } from "./format.ts";

export default command({
  name: "ps",
  summary: "list a container's processes",
  args: "<container-id> [...ps-option]",
  description: `
The table is numbered as in the container. JSON is an array of process ids of
the host, as runc prints it: those of the processes that hold the memory.`,
  flags: {
    format: flag.string({ value: "FORMAT", short: "f", default: "table", help: "table or json", schema: formatSchema }),
  },
  stopAtPositional: true,
  async run(context, { format }, [id]) {
    const containers = await context.containers();
    const processes = await containers.processes(id!);
    if (format === "json") {
      context.out(`${JSON.stringify(hostPids(processes, containers.get(id!)))}\n`);
    } else context.out(psTable(processes, Date.now()));
  },
});

export function psTable(processes: readonly GuestProcess[], nowMs: number): string {
  const rows = processes.map((each) => [
    String(each.uid),
    String(each.pid),
    String(each.ppid),
    String(share(each, nowMs)),
    startText(each.startTime * 1000, nowMs),
    each.tty === "" ? "?" : each.tty,
    duration(each.cpuMs),
    each.args.length > 0 ? each.args.join(" ") : `[${each.command}]`,
  ]);
  return columns([["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], ...rows]);
}

/** Percent of a processor over the process' life, 99 at most (two places are all that ps has). */
function share({ cpuMs, startTime }: GuestProcess, nowMs: number): number {
  const lifeMs = nowMs - startTime * 1000;
  return lifeMs <= 0 ? 0 : Math.min(99, Math.floor((cpuMs * 100) / lifeMs));
}

/** As ps does: the time today, the day this year, else the year. */
function startText(startMs: number, nowMs: number): string {
  const start = new Date(startMs);
  const now = new Date(nowMs);
  if (nowMs - startMs < 24 * 3600 * 1000) return start.toTimeString().slice(0, 5);
  if (start.getFullYear() === now.getFullYear())
    return start.toLocaleDateString("en-US", { month: "short", day: "2-digit" }).replace(" ", "");
  return String(start.getFullYear());
}

function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const part = (n: number) => String(n).padStart(2, "0");
  return `${part(Math.floor(seconds / 3600))}:${part(Math.floor(seconds / 60) % 60)}:${part(seconds % 60)}`;
}

/** Host pids of the stubs: the sandbox's children, known to it by the last number of NSpid. */
function hostPids(processes: readonly GuestProcess[], { sandboxPid, pid: own }: Container): number[] {
  const byInner = new Map<number, number>();
  for (const pid of descendants(sandboxPid)) {
    try {
      const line = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      const numbers = line?.split(/\s+/).map(Number) ?? [];
      if (numbers.length > 0) byInner.set(numbers.at(-1)!, pid);
    } catch {
      // Ended meanwhile.
    }
  }
  const found = processes.flatMap(({ stubPid }) => byInner.get(stubPid) ?? []);
  return found.length > 0 ? found : [own];
}
