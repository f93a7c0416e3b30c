/**
 * The spec's `linux.resources` as far as the kernel keeps them itself: what guests see in their cgroup, the bound on
 * tasks and on memory. The host's cgroup of the sandbox is set by the command (core/container/cgroup.ts).
 */
import type { Resources } from "../core/spec/schema.ts";
import type { CgroupLimits } from "../kernel/cgroup.ts";
import type { Container } from "../kernel/container.ts";

/** A limit as the spec writes it; what is negative, or zero, is none. */
const orNone = (limit: number): number => (limit > 0 ? limit : Number.POSITIVE_INFINITY);

/** Takes over what is given; the rest stays as it is. */
export function applyLimits(container: Container, resources: Resources | undefined): void {
  const { limits } = container.cgroup;
  const { memory, cpu, pids } = resources ?? {};
  if (memory?.limit !== undefined && memory.limit !== 0) {
    limits.memory = orNone(memory.limit);
    container.memory.limit = limits.memory;
  }
  if (memory?.reservation !== undefined) limits.memoryLow = Math.max(0, memory.reservation);
  if (memory?.swap !== undefined && memory.swap !== 0)
    // The spec counts memory and swap together.
    limits.swap = memory.swap < 0 ? Number.POSITIVE_INFINITY : Math.max(0, memory.swap - limits.memory);
  if (pids?.limit !== undefined && pids.limit !== 0) limits.tasks = orNone(pids.limit);
  applyCpu(limits, cpu);
}

function applyCpu(limits: CgroupLimits, cpu: Resources["cpu"]): void {
  if (cpu?.quota !== undefined && cpu.quota !== 0) limits.cpuQuotaUs = orNone(cpu.quota);
  if (cpu?.period) limits.cpuPeriodUs = cpu.period;
  // From 2..262144 to 1..10000, as runc converts shares.
  if (cpu?.shares) limits.cpuWeight = 1 + Math.floor(((Math.max(2, cpu.shares) - 2) * 9999) / 262142);
  if (cpu?.cpus) limits.cpus = parseList(cpu.cpus);
}

/** "0-2,7" → [0, 1, 2, 7]. */
export function parseList(text: string): number[] {
  const cpus = new Set<number>();
  for (const part of text.split(",")) {
    const match = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part);
    if (match === null) continue;
    const last = Math.min(Number(match[2] ?? match[1]), 8191);
    for (let cpu = Number(match[1]); cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].sort((a, b) => a - b);
}
