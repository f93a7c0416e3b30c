/**
 * Memory bounds, of a container, and of all those together that have none: when these guests use more host memory than allowed, the
 * largest process among them is killed, as Linux' OOM killer does in a memory cgroup.
 *
 * Guest memory is the stubs' own, so the host only tells by /proc; it is asked a few times a second, and only while the
 * areas mapped could pass the bound at all. Source: proc_pid_oom_score_adj(5). A container's cgroup, where there is
 * one, is the hard bound; this one is for sandboxes without.
 */
import { memoryUse } from "../fs/proc/usage.ts";
import type { Kernel } from "../kernel.ts";
import { SIGKILL } from "../signal/numbers.ts";
import { persistent } from "../state/registry.ts";
import { killProcess } from "../task/exit.ts";
import type { Process } from "../task/process.ts";
import { Timer } from "../time/timers.ts";
import type { Mm } from "./mm.ts";

const INTERVAL_NS = 100e6;
/** oom_score_adj of a process that is never killed. */
const NEVER = -1000;

export class MemoryBound extends Timer {
  private bytes = Number.POSITIVE_INFINITY;

  constructor(
    private readonly kernel: Kernel,
    /** Whom it bounds; null: everybody whose container has no bound. */
    private readonly processes: ReadonlySet<Process> | null,
  ) {
    super();
  }

  /** Bytes; Infinity is none. */
  get limit(): number {
    return this.bytes;
  }
  set limit(bytes: number) {
    this.bytes = bytes;
    if (bytes === Number.POSITIVE_INFINITY) this.stop();
    else if (!this.armed) this.kernel.timers.arm(this, this.kernel.now() + INTERVAL_NS);
  }
  stop(): void {
    if (this.armed) this.kernel.timers.cancel(this);
  }

  private *unbounded(): Generator<Process> {
    for (const { memory, processes } of this.kernel.containers.values())
      if (memory.limit === Number.POSITIVE_INFINITY) yield* processes;
  }

  override fire(): void {
    this.kernel.timers.arm(this, this.kernel.now() + INTERVAL_NS);
    const spaces = new Map<Mm, Process>();
    let mapped = 0;
    for (const process of this.processes ?? this.unbounded()) {
      // What is frozen could not end, and asks for no more.
      const mm = process.zombie || process.container.frozen ? null : process.leader.mm;
      if (mm === null || spaces.has(mm)) continue;
      spaces.set(mm, process);
      mapped += mm.total;
    }
    if (mapped <= this.limit) return;
    let used = 0;
    let worst: Process | null = null;
    let worstScore = 0;
    for (const [mm, process] of spaces) {
      const { resident } = memoryUse(this.kernel, mm, null);
      used += resident;
      const score = resident + (process.oomScoreAdj / 1000) * this.limit;
      if (process.oomScoreAdj > NEVER && score > worstScore && !process.exiting) {
        worst = process;
        worstScore = score;
      }
    }
    if (used <= this.limit || worst === null) return;
    this.kernel.log.warn(
      `out of memory: guests use ${Math.round(used / 2 ** 20)} of ${Math.round(this.limit / 2 ** 20)} MiB: killed pid ${worst.pid} (${worst.leader.comm})`,
    );
    killProcess(worst, SIGKILL);
  }
}

persistent("memory-bound", MemoryBound);
