/**
 * Timers that send signals: setitimer, alarm and POSIX timers.
 *
 * Source: setitimer(2), timer_create(2), Linux kernel/time/itimer.c, posix-timers.c. An interval timer whose signal is
 * still queued is armed again when the signal is taken; what passed meanwhile is its overrun. So a short interval costs
 * no more than the signals that the guest takes. ITIMER_VIRTUAL and ITIMER_PROF both run on the process' CPU time (see
 * time/cpu-time.ts: the host does not tell user and system time of a guest apart).
 *
 * Bounded: TIMERS_MAX POSIX timers in a process, about ALL_TIMERS_MAX in all. Processes start without timers (fork does not pass them on); execve
 * drops the POSIX ones.
 */
import { EAGAIN, EINVAL } from "../abi/errno.ts";
import type { Kernel } from "../kernel.ts";
import { sendSignal, sendSignalToTask } from "../signal/send.ts";
import type { SigInfo, SignalSource } from "../signal/task-signals.ts";
import { persistent } from "../state/registry.ts";
import type { Process } from "../task/process.ts";
import type { Task } from "../task/task.ts";
import { type CpuClock, checkAfterNs, readCpuClock } from "./cpu-time.ts";
import { Timer } from "./timers.ts";

export const ITIMER_REAL = 0;
export const ITIMER_VIRTUAL = 1;
export const ITIMER_PROF = 2;
const SIGNALS = [14, 26, 27];

export const SIGEV_SIGNAL = 0;
export const SIGEV_NONE = 1;
export const SIGEV_THREAD_ID = 4;

const SI_KERNEL = 0x80;
const SI_TIMER = -2;
const TIMERS_MAX = 4096;
/** POSIX timers of all processes, of which Linux bounds a user's by RLIMIT_SIGPENDING. */
const ALL_TIMERS_MAX = 65536;
/** An interval timer whose signal nobody wants is not looked at more often than this. */
const IGNORED_MIN_NS = 1e6;
/** timer_getoverrun's largest answer. */
const DELAYTIMER_MAX = 0x7fffffff;

/** A timer on CLOCK_MONOTONIC or a CPU clock that raises a signal. */
abstract class SignalTimer extends Timer implements SignalSource {
  intervalNs = 0;
  /** When it goes off next, on its clock. */
  target = 0;
  /** It is set. */
  active = false;
  /** Its signal waits in a queue. */
  queued = false;

  constructor(
    readonly process: Process,
    readonly cpu: CpuClock | null,
  ) {
    super();
  }

  protected clockNow(): number {
    return this.cpu === null ? this.process.kernel.now() : readCpuClock(this.cpu);
  }

  /** Sets it to go off at `target` on its clock, or switches it off (NaN). */
  set(target: number, intervalNs: number, onWall = false): void {
    const { timers } = this.process.kernel;
    timers.cancel(this);
    this.active = !Number.isNaN(target);
    timers.followWall(this, onWall && this.active);
    this.intervalNs = intervalNs;
    if (this.active) this.aim(target);
  }
  /** As `set`, from now. `onWall`: at the date that it will be then. */
  setAfter(delayNs: number, intervalNs: number, onWall = false): void {
    this.set(this.clockNow() + delayNs, intervalNs, onWall);
  }
  override bringForward(ns: number): void {
    super.bringForward(ns);
    this.target -= ns;
  }

  protected aim(target: number): void {
    this.target = target;
    const { kernel } = this.process;
    if (this.cpu === null) kernel.timers.arm(this, target);
    else kernel.timers.arm(this, kernel.now() + checkAfterNs(this.process, this.clockNow(), target));
  }

  /** Nanoseconds to go; 0 when it is off. */
  remainingNs(): number {
    if (!this.active) return 0;
    const now = this.clockNow();
    if (this.target > now || this.intervalNs === 0) return Math.max(1, this.target - now);
    // Waits for its signal to be taken: as if it had gone on.
    return this.intervalNs - ((now - this.target) % this.intervalNs);
  }

  fire(): void {
    const now = this.clockNow();
    if (now < this.target) {
      this.aim(this.target);
      return;
    }
    const repeats = this.intervalNs > 0 && Number.isFinite(this.intervalNs);
    if (!repeats) this.active = false;
    this.queued = this.send();
    if (repeats && !this.queued) this.aim(Math.max(now + IGNORED_MIN_NS, this.after(now)));
  }

  /** The first of target + n intervals that lies beyond `now`. */
  private after(now: number): number {
    return this.target + (Math.floor(Math.max(0, now - this.target) / this.intervalNs) + 1) * this.intervalNs;
  }

  /** Sends the signal; true when it waits in a queue with `source` set to this timer. */
  protected abstract send(): boolean;

  /** The signal leaves its queue: the next round begins. */
  signalTaken(info: SigInfo): void {
    if (!this.queued) return;
    this.queued = false;
    let missed = 0;
    if (this.active && this.intervalNs > 0 && Number.isFinite(this.intervalNs)) {
      const now = this.clockNow();
      const next = this.after(now);
      missed = Math.round((next - this.target) / this.intervalNs) - 1;
      this.aim(next);
    }
    this.taken(info, missed);
  }
  protected taken(_info: SigInfo, _missed: number): void {}

  stop(): void {
    const { timers } = this.process.kernel;
    timers.cancel(this);
    timers.followWall(this, false);
    this.active = false;
  }
}

class IntervalTimer extends SignalTimer {
  constructor(
    process: Process,
    readonly which: number,
  ) {
    super(process, which === ITIMER_REAL ? null : { process, task: null });
  }
  protected override send(): boolean {
    const info: SigInfo = { signo: SIGNALS[this.which]!, errno: 0, code: SI_KERNEL, source: this };
    return sendSignal(this.process, info) === 0 && info.queuedFor !== undefined;
  }
}

export class PosixTimer extends SignalTimer {
  /** Overrun of the signal taken last. */
  overrun = 0;
  constructor(
    process: Process,
    cpu: CpuClock | null,
    readonly id: number,
    readonly clock: number,
    readonly notify: number,
    readonly signo: number,
    readonly valueLo: number,
    readonly valueHi: number,
    /** SIGEV_THREAD_ID: who gets the signal. */
    readonly thread: Task | null,
  ) {
    super(process, cpu);
  }
  protected override send(): boolean {
    if (this.notify === SIGEV_NONE) return false;
    const info: SigInfo = {
      signo: this.signo,
      errno: 0,
      code: SI_TIMER,
      timerId: this.id,
      overrun: 0,
      valueLo: this.valueLo,
      valueHi: this.valueHi,
      source: this,
    };
    const result = this.thread !== null ? sendSignalToTask(this.thread, info) : sendSignal(this.process, info);
    return result === 0 && info.queuedFor !== undefined;
  }
  protected override taken(info: SigInfo, missed: number): void {
    this.overrun = Math.min(missed, DELAYTIMER_MAX);
    info.overrun = this.overrun;
  }
}

function countTimers(kernel: Kernel): number {
  let count = 0;
  for (const process of kernel.processes()) count += process.timers?.posix.size ?? 0;
  return count;
}

/** The timers of a process. */
export class ProcessTimers {
  readonly intervals: IntervalTimer[];
  readonly posix = new Map<number, PosixTimer>();
  private lastId = -1;

  private readonly kernel: Kernel;

  constructor(process: Process) {
    this.kernel = process.kernel;
    this.intervals = [ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF].map((which) => new IntervalTimer(process, which));
  }

  /** A free timer id, or -EAGAIN. */
  allocateId(): number {
    if (this.posix.size >= TIMERS_MAX) return -EAGAIN;
    // Counting is only worth its while for those who have many.
    if (this.posix.size >= 64 && this.posix.size % 64 === 0 && countTimers(this.kernel) >= ALL_TIMERS_MAX)
      return -EAGAIN;
    do this.lastId = (this.lastId + 1) & 0x7fffffff;
    while (this.posix.has(this.lastId));
    return this.lastId;
  }
  dropPosix(): void {
    for (const timer of this.posix.values()) timer.stop();
    this.posix.clear();
  }
  dropAll(): void {
    for (const timer of this.intervals) timer.stop();
    this.dropPosix();
  }
}

/** The process' timers, made on first use. */
export function timersOf(process: Process): ProcessTimers {
  process.timers ??= new ProcessTimers(process);
  return process.timers;
}

/** The process has ended. */
export function releaseTimers(process: Process): void {
  process.timers?.dropAll();
  process.timers = null;
}

/** execve: POSIX timers go, interval timers stay. */
export function timersOnExec(process: Process): void {
  process.timers?.dropPosix();
}

/** setitimer's and getitimer's `which`; -EINVAL. */
export function intervalTimer(process: Process, which: number): IntervalTimer | number {
  return which >>> 0 > ITIMER_PROF ? -EINVAL : timersOf(process).intervals[which]!;
}

persistent("signal-timer", SignalTimer);
persistent("interval-timer", IntervalTimer);
persistent("posix-timer", PosixTimer);
persistent("process-timers", ProcessTimers);
