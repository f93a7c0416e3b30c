/** What all guests together have used of the processors, as proc_stat(5) and proc_loadavg(5) tell it. */
import type { Kernel } from "../kernel.ts";
import { persistent } from "../state/registry.ts";
import { processCpuNs } from "./cpu-time.ts";

/** Processor time of every guest, alive or reaped, ns. */
export function totalCpuTime(kernel: Kernel): { user: number; system: number } {
  let user = 0;
  let system = 0;
  for (const process of kernel.processes()) {
    user += process.childrenUserTime + processCpuNs(process) - process.systemTime;
    system += process.childrenSystemTime + process.systemTime;
  }
  return { user, system };
}

/**
 * Load averages from the processor time that guests use: the mean number of busy processors, damped over 1, 5 and 15
 * minutes. Brought up to date by whoever looks.
 */
export class LoadAverage {
  private readonly averages = [0, 0, 0];
  private used = 0;
  constructor(
    /** When it was brought up to date, CLOCK_MONOTONIC ns. */
    private at: number,
  ) {}
  update(kernel: Kernel): readonly number[] {
    const now = kernel.now();
    const seconds = (now - this.at) / 1e9;
    if (seconds >= 1) {
      const { user, system } = totalCpuTime(kernel);
      const load = Math.max(0, user + system - this.used) / (now - this.at);
      this.used = user + system;
      this.at = now;
      [60, 300, 900].forEach((period, i) => {
        const keep = Math.exp(-seconds / period);
        this.averages[i] = this.averages[i]! * keep + load * (1 - keep);
      });
    }
    return this.averages;
  }
}

persistent("load-average", LoadAverage);
