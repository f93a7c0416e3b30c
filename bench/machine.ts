/**
 * A description of the machine that says what figures depend on, and nothing that identifies it:
 * no host name, no path. No known gaps.
 */
import { readFileSync } from "node:fs";
import { availableParallelism, loadavg, release, totalmem } from "node:os";
import { $ } from "bun";

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return otherwise;
  }
}

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
    `Load average when the benchmark began: ${loadavg()[0]!.toFixed(2)}`,
  ];
}
