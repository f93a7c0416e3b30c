/**
 * A container's control group as its guests have it: limits that the runtime set, and what is used of them.
 *
 * Source: cgroups(7), Linux Documentation/admin-guide/cgroup-v2.rst. The number of tasks is bounded here; memory and
 * processor time are bounded by the host's cgroups and by mm/oom.ts. Gap: one group, without children.
 */

import type { Container } from "./container.ts";
import { memoryUse } from "./fs/proc/usage.ts";
import type { Mm } from "./mm/mm.ts";
import { persistent } from "./state/registry.ts";
import type { Task } from "./task/task.ts";
import { processCpuNs } from "./time/cpu-time.ts";

const NONE = Number.POSITIVE_INFINITY;

/** Infinity stands for "max". */
export interface CgroupLimits {
  /** Bytes. */
  memory: number;
  memoryLow: number;
  /** Bytes, beyond memory. */
  swap: number;
  /** Tasks, threads included. */
  tasks: number;
  /** Microseconds of processor time in each period of `cpuPeriodUs`. */
  cpuQuotaUs: number;
  cpuPeriodUs: number;
  /** 1 to 10000. */
  cpuWeight: number;
  /** Processors that may be used, ascending; null: all. */
  cpus: readonly number[] | null;
}

export class Cgroup {
  readonly limits: CgroupLimits = {
    memory: NONE,
    memoryLow: 0,
    swap: NONE,
    tasks: NONE,
    cpuQuotaUs: NONE,
    cpuPeriodUs: 100_000,
    cpuWeight: 100,
    cpus: null,
  };
  /** The most memory that anybody has seen in use, in bytes. */
  memoryPeak = 0;
  /** Forks that the bound on tasks refused. */
  tasksRefused = 0;

  constructor(private readonly container: Container) {}

  /** Is there no room for one more task? */
  full(): boolean {
    if (this.container.tasks < this.limits.tasks) return false;
    this.tasksRefused++;
    return true;
  }

  /** The processors that tasks may use, ascending. */
  cpus(): number[] {
    const { cpuCount } = this.container.kernel.hostInfo;
    const all = Array.from({ length: cpuCount }, (_, cpu) => cpu);
    const allowed = this.limits.cpus?.filter((cpu) => cpu < cpuCount) ?? all;
    return allowed.length > 0 ? [...allowed] : all;
  }

  /** Those that one task may use. */
  cpusOf(task: Task): readonly number[] {
    return task.sched.affinity ?? this.cpus();
  }

  /** Bytes of resident guest memory. */
  memoryUsed(): number {
    const seen = new Set<Mm>();
    let used = 0;
    for (const process of this.container.processes) {
      const { mm } = process.leader;
      if (process.zombie || seen.has(mm)) continue;
      seen.add(mm);
      used += memoryUse(this.container.kernel, mm, null).resident;
    }
    this.memoryPeak = Math.max(this.memoryPeak, used);
    return used;
  }

  /** Nanoseconds that its guests have run, those that have ended included. */
  cpuTimeNs(): number {
    let used = this.container.endedCpuNs;
    for (const process of this.container.processes) if (!process.zombie) used += processCpuNs(process);
    return used;
  }
}

persistent("cgroup", Cgroup);
