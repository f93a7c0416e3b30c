/** sysinfo: memory and uptime, as /proc/meminfo and /proc/uptime show them. Manual page: sysinfo(2). Gap: no load averages. */
import { outStruct } from "../args.ts";
import { readHostFile } from "../fs/proc/host-info.ts";
import { sinceBoot } from "../fs/proc/status.ts";
import type { Kernel } from "../kernel.ts";
import { setU64 } from "../mm/mm.ts";
import { syscall } from "../syscall.ts";

/** struct sysinfo. */
const SIZE = 112;
/** Fields in bytes and their names in meminfo, where they are in KiB. */
const MEMORY = [
  [32, "MemTotal"],
  [40, "MemFree"],
  [48, "Shmem"],
  [56, "Buffers"],
  [64, "SwapTotal"],
  [72, "SwapFree"],
] as const;

export const sysinfo = syscall("sysinfo", { info: outStruct() }, (task, call) => {
  const { kernel } = task;
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  setU64(view, 0, Math.ceil(sinceBoot(kernel.now()) / 1e9));
  const known = memory(kernel);
  for (const [at, name] of MEMORY) setU64(view, at, (known.get(name) ?? 0) * 1024);
  view.setUint16(80, Math.min(0xffff, kernel.tasks.size), true);
  view.setUint32(104, 1, true);
  return task.mm.writeBytes(call.info, bytes);
});

/** KiB by name: the host's meminfo, or what was learnt at start. */
function memory(kernel: Kernel): Map<string, number> {
  const { meminfoFd, memTotal } = kernel.hostInfo;
  const known = new Map([
    ["MemTotal", memTotal],
    ["MemFree", memTotal],
  ]);
  for (const line of readHostFile(meminfoFd).split("\n")) {
    const match = /^(\w+):\s+(\d+) kB$/.exec(line);
    if (match !== null) known.set(match[1]!, Number(match[2]));
  }
  return known;
}
