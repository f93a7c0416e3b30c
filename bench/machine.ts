/**
 * A description of the machine that says what figures depend on, and nothing that identifies it:
 * no host name, no path. No known gaps.
 */
import { readFileSync } from "node:fs";
import { availableParallelism, release, totalmem } from "node:os";
import { $ } from "bun";

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return otherwise;
  }
}

/** Ticks that all processors spent busy, and in all, since boot. */
function processorTicks(): { busy: number; all: number } {
  const fields = readOr("/proc/stat", "").split("\n")[0]!.trim().split(/\s+/).slice(1, 9).map(Number);
  const all = fields.reduce((sum, ticks) => sum + ticks, 0);
  return { busy: all - (fields[3] ?? 0) - (fields[4] ?? 0), all };
}

/** The share of the machine that is in use while we do nothing: 0 to 1. Time stolen by the hypervisor counts. */
export async function otherWork(milliseconds: number): Promise<number> {
  const before = processorTicks();
  await Bun.sleep(milliseconds);
  const after = processorTicks();
  return after.all > before.all ? (after.busy - before.busy) / (after.all - before.all) : 0;
}

/** Waits for a quiet moment, at most `limitMs`; returns how busy the machine was in the end. */
export async function quietMoment(limitMs: number): Promise<number> {
  const start = performance.now();
  for (;;) {
    const share = await otherWork(300);
    if (share < QUIET || performance.now() - start >= limitMs) return share;
  }
}

/** Below this share of other work, figures are taken as undisturbed. */
export const QUIET = 0.05;

export async function describeMachine(): Promise<string[]> {
  const cpuinfo = readOr("/proc/cpuinfo", "");
  const model = /^model name\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? "unknown CPU";
  const family = /^cpu family\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? "?";
  const modelNumber = /^model\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? "?";
  const virtual = /^flags.*\bhypervisor\b/m.test(cpuinfo);
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(readOr("/etc/os-release", ""))?.[1] ?? "unknown system";
  const kernel = /^\d+(\.\d+)*/.exec(release())?.[0] ?? release();
  const hugePages = /\[(\w+)\]/.exec(readOr("/sys/kernel/mm/transparent_hugepage/enabled", ""))?.[1] ?? "unknown";
  const tmp = (await $`stat -f -c %T /tmp`.quiet().nothrow().text()).trim() || "unknown";
  return [
    `CPU: ${model} (family ${family}, model ${modelNumber}), ${availableParallelism()} cores${virtual ? ", in a virtual machine" : ""}`,
    `Memory: ${Math.round(totalmem() / 2 ** 30)} GiB, transparent huge pages: ${hugePages}`,
    `Kernel: Linux ${kernel}, ${system}`,
    `/tmp on the host: ${tmp}`,
    `Bun ${Bun.version}`,
  ];
}
