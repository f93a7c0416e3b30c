/**
 * Processor time of guests, and the CPU-time clocks.
 *
 * Source: clock_getcpuclockid(3), times(2), getrusage(2). A guest process' time is that of its stub process, as the host
 * counts it; that of one thread of several comes from the host's /proc, where the sandbox has it (else the process'
 * time stands for it). Gaps: all of it counts as user time, and what the kernel does for a guest counts as nobody's.
 *
 * Timers on these clocks look at the clock when it could be due at the earliest: with n threads that is after 1/n of
 * what is missing, and not more often than every CHECK_MIN_NS.
 */

import { readStubFile, stubCpuTime } from "../fs/proc/usage.ts";
import type { Process } from "../task/process.ts";
import { RUN_ZOMBIE, type Task } from "../task/task.ts";

const CHECK_MIN_NS = 4e6;

/** Nanoseconds that the process has used. */
export function processCpuNs(process: Process): number {
  const task =
    process.leader.runState < RUN_ZOMBIE ? process.leader : process.tasks.find((t) => t.runState < RUN_ZOMBIE);
  if (task === undefined) return process.userTime + process.systemTime;
  // What earlier address spaces of the process used (execve may start a new stub) is in userTime.
  return process.userTime + process.systemTime + stubCpuTime(task.mm);
}

/** Nanoseconds that one thread has used. */
export function threadCpuNs(task: Task): number {
  const { process } = task;
  if (process.threaded && task.ctx?.hostTid) {
    const text = readStubFile(task.kernel, task.mm.space.hostPid, `task/${task.ctx.hostTid}/schedstat`, 128);
    if (text !== "") return task.earlierCpuNs + Number(text.slice(0, text.indexOf(" ")));
  }
  return processCpuNs(process);
}

/** An address space of the process is about to go for good: keeps the time that was used in it. */
export function keepCpuTime(task: Task): void {
  if (task.mm.users === 1) task.process.userTime += stubCpuTime(task.mm);
}

/** How long until a CPU clock that shows `now` may reach `target`, at the earliest: when to look again. */
export function checkAfterNs(process: Process, now: number, target: number): number {
  return Math.max(CHECK_MIN_NS, (target - now) / Math.max(1, process.tasks.length));
}

/** A CPU-time clock: whose, and of what. */
export interface CpuClock {
  process: Process;
  /** Null: of the whole process. */
  task: Task | null;
}

/** What a clock id says about CPU time, or null when it is no (valid) CPU-time clock. */
export function cpuClock(task: Task, clock: number): CpuClock | null {
  if (clock === 2) return { process: task.process, task: null };
  if (clock === 3) return { process: task.process, task };
  if (clock >= 0) return null;
  const which = clock & 3;
  const perThread = (clock & 4) !== 0;
  if (which === 3) return null;
  const id = ~(clock >> 3);
  if (perThread) {
    const other = id === 0 ? task : task.pids.tasks.get(id);
    return other !== undefined && other.process === task.process ? { process: task.process, task: other } : null;
  }
  const process = id === 0 ? task.process : task.pids.processes.get(id);
  return process === undefined ? null : { process, task: null };
}

export function readCpuClock(clock: CpuClock): number {
  return clock.task === null ? processCpuNs(clock.process) : threadCpuNs(clock.task);
}
