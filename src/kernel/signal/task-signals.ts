/**
 * Signal state of one task, and of a process (shared pending set): masks and queues.
 *
 * Source: signal(7), sigqueue(3). A set of the 64 signals is two u32 halves; signal n is bit n-1.
 * Bounded: at most RLIMIT_SIGPENDING queued entries per user, kept by signal/send.ts.
 */

import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";

export interface SigInfo {
  signo: number;
  errno: number;
  /** SI_USER, SI_QUEUE, SI_TIMER, CLD_*, SEGV_*… */
  code: number;
  pid?: number;
  uid?: number;
  /** sigval, as two u32 halves. */
  valueLo?: number;
  valueHi?: number;
  /** Faults: si_addr. */
  addr?: number;
  /** Child status, for SIGCHLD. */
  status?: number;
  utime?: number;
  stime?: number;
  /** SI_TIMER. */
  timerId?: number;
  overrun?: number;
  /** SIGPOLL. */
  band?: number;
  fd?: number;
  /** SIGSYS (seccomp). */
  callAddr?: number;
  syscall?: number;
  arch?: number;
  /** x86 vector and error code of a fault, for the ucontext. */
  trapno?: number;
  errorCode?: number;
  /** The user whose RLIMIT_SIGPENDING this entry counts against; kept by signal/queue.ts. */
  queuedFor?: number | undefined;
  /** Told when the signal leaves the queue (POSIX timers fill in the overrun then). */
  source?: SignalSource;
}

/** Who sent a queued signal and wants to know when it is taken. */
export interface SignalSource {
  signalTaken(info: SigInfo): void;
}

/** A set of signals 1..64. */
export class SigSet {
  constructor(
    public lo = 0,
    public hi = 0,
  ) {}
  has(signo: number): boolean {
    return signo <= 32 ? ((this.lo >>> (signo - 1)) & 1) === 1 : ((this.hi >>> (signo - 33)) & 1) === 1;
  }
  add(signo: number): void {
    if (signo <= 32) this.lo = (this.lo | (1 << (signo - 1))) >>> 0;
    else this.hi = (this.hi | (1 << (signo - 33))) >>> 0;
  }
  delete(signo: number): void {
    if (signo <= 32) this.lo = (this.lo & ~(1 << (signo - 1))) >>> 0;
    else this.hi = (this.hi & ~(1 << (signo - 33))) >>> 0;
  }
  assign(other: SigSet): void {
    this.lo = other.lo;
    this.hi = other.hi;
  }
  clone(): SigSet {
    return new SigSet(this.lo, this.hi);
  }
}

/** Pending signals with their details, in order of arrival. */
export class PendingSignals {
  readonly set = new SigSet();
  queue: SigInfo[] = [];
}

export class TaskSignals {
  readonly blocked = new SigSet();
  readonly pending = new PendingSignals();
  /** Mask to put back after a handler, while sigsuspend, ppoll… run with another (null: none). */
  savedMask: SigSet | null = null;
  /** sigaltstack. */
  altStack = { sp: 0, size: 0, flags: 2 /* SS_DISABLE */ };
  /** Signals that rt_sigtimedwait waits for, though they are blocked. */
  waitingFor: SigSet | null = null;
  /** Last processor exception, for the ucontext of signal frames. */
  trapno = 0;
  errorCode = 0;
  cr2 = 0;

  /** Is there anything to act on before guest code runs on: an unblocked pending signal, an exit, a stop? */
  hasDeliverable(task: Task): boolean {
    const shared = task.process.pending.set;
    const own = this.pending.set;
    return (
      (((own.lo | shared.lo) & ~this.blocked.lo) | ((own.hi | shared.hi) & ~this.blocked.hi)) !== 0 ||
      task.process.exiting ||
      task.killed ||
      task.process.stopping
    );
  }
}

persistent("signal-set", SigSet);
persistent("pending-signals", PendingSignals);
persistent("task-signals", TaskSignals);
