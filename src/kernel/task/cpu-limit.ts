/**
 * RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one.
 *
 * Source: getrlimit(2). Guest code runs outside of the kernel's sight, so a timer looks at the processor time used when
 * the limit could be reached at the earliest. Seconds are of the whole process; a child starts anew.
 */
import { SIGKILL, SIGXCPU } from "../signal/numbers.ts";
import { kernelInfo, sendSignal } from "../signal/send.ts";
import { persistent } from "../state/registry.ts";
import { checkAfterNs, processCpuNs } from "../time/cpu-time.ts";
import { Timer } from "../time/timers.ts";
import type { Process } from "./process.ts";
import { RLIMIT_CPU } from "./rlimits.ts";

const SECOND_NS = 1e9;

export class CpuLimit extends Timer {
  /** Seconds of processor time at which SIGXCPU is due next. */
  private nextWarning: number;
  constructor(readonly process: Process) {
    super();
    this.nextWarning = process.rlimits[RLIMIT_CPU]!.soft;
    this.look();
  }

  fire(): void {
    this.look();
  }

  stop(): void {
    this.process.kernel.timers.cancel(this);
  }

  private look(): void {
    const { process } = this;
    const { kernel } = process;
    const { hard } = process.rlimits[RLIMIT_CPU]!;
    const used = processCpuNs(process);
    if (used >= hard * SECOND_NS) {
      sendSignal(process, kernelInfo(SIGKILL));
      return;
    }
    if (used >= this.nextWarning * SECOND_NS) {
      this.nextWarning++;
      sendSignal(process, kernelInfo(SIGXCPU));
    }
    const due = Math.min(hard, this.nextWarning) * SECOND_NS;
    kernel.timers.arm(this, kernel.now() + checkAfterNs(process, used, due));
  }
}

/** Starts, changes or ends the watch over a process' limit, after setrlimit or fork. */
export function watchCpuLimit(process: Process): void {
  process.cpuLimit?.stop();
  process.cpuLimit = null;
  const { soft, hard } = process.rlimits[RLIMIT_CPU]!;
  if (soft !== Number.POSITIVE_INFINITY || hard !== Number.POSITIVE_INFINITY) process.cpuLimit = new CpuLimit(process);
}

persistent("cpu-limit", CpuLimit);
