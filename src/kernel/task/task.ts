/**
 * A task: one guest thread, and what Linux keeps per thread.
 *
 * The life of a system call: the kernel loop (kernel.ts) finds the context stopped and runs the call's handler; the result
 * goes back after signals have been delivered (signal/deliver.ts). A handler that must wait calls `block` and is run again
 * from its arguments when woken. The big aspects live beside: exit.ts, clone.ts, exec.ts, and in signal/.
 *
 * Invariant: `ctx` is stopped whenever kernel code touches its registers; a task is in exactly one RUN_* state.
 */

import { type Context, REG } from "../../platform/platform.ts";
import { ERESTARTSYS } from "../abi/errno.ts";
import type { Container } from "../container.ts";
import type { FutexWaiter } from "../futex/futex.ts";
import type { FifoWait } from "../ipc/pipe.ts";
import type { Kernel } from "../kernel.ts";
import type { ArgumentsRead } from "../loader/strings.ts";
import type { Mm } from "../mm/mm.ts";
import type { CallProgress } from "../net/calls.ts";
import { SIG_DFL } from "../signal/actions.ts";
import { ACT_IGNORE, ACT_STOP, defaultAction, SIGRTMAX } from "../signal/numbers.ts";
import { TaskSignals } from "../signal/task-signals.ts";
import { contextForm } from "../state/memory.ts";
import { later, persistent } from "../state/registry.ts";
import { BLOCKED } from "../syscall.ts";
import { threadCpuNs } from "../time/cpu-time.ts";
import { Timer } from "../time/timers.ts";
import type { VtimeWait } from "../tty/tty.ts";
import type { FdTable } from "../vfs/fd-table.ts";
import type { File } from "../vfs/file.ts";
import type { FsContext } from "../vfs/fs-context.ts";
import { ALL_EVENTS, WaitEntry, type Waiter, WaitQueue } from "../wait-queue.ts";
import type { Credentials } from "./credentials.ts";
import type { PidSpace } from "./pid-space.ts";
import type { Process } from "./process.ts";
import type { Seccomp } from "./seccomp.ts";

/** Running guest code (or about to). */
export const RUN_GUEST = 0;
/** In a blocking call, waits for a queue, a deadline or a signal. */
export const RUN_BLOCKED = 1;
/** Woken: its call will be run again from the run queue. */
export const RUN_READY = 2;
/** Stopped by job control (group stop). */
export const RUN_STOPPED = 3;
/** Exited; a leader waits here to be reaped. */
export const RUN_ZOMBIE = 4;
/** Gone. */
export const RUN_DEAD = 5;

/** Progress of a call that survives its being run again; cleared when the call ends. Plain data. */
export interface Restart {
  /** Absolute deadline, CLOCK_MONOTONIC nanoseconds. */
  deadline?: number;
  /** It was given as a time of the wall clock: see time/wall-clock.ts. */
  onWall?: boolean;
  /** Bytes already moved. */
  moved?: number;
  /** Where a transfer began that uses the file's position. */
  from?: number;
  /** The file that a blocked call works on, held: its descriptor may be closed or reused meanwhile. */
  file?: File;
  /** The second one, of calls that move data from file to file. */
  file2?: File;
  /** A handler's own. */
  data?: RestartData;
}

/** What handlers keep beyond that: each its own kind, so that none takes another's. Plain data. */
export type RestartData =
  | ArgumentsRead
  | CallProgress
  | FifoWait
  | VtimeWait
  /** clock_nanosleep on a processor-time clock: until it shows that. */
  | { kind: "cpu-sleep"; target: number }
  /** Asks to be saved: how many saves there were before. */
  | { kind: "save"; saves: number }
  /** vfork: the child that it waits for. */
  | { kind: "vfork"; child: Task };

/** In a restored kernel, in the place of what was kept of a call that plugins were asked about. */
export const ASKED = {};

class SleepTimer extends Timer {
  constructor(readonly task: Task) {
    super();
  }
  override get sleeper(): Task {
    return this.task;
  }
  fire(): void {
    this.task.timedOut = true;
    this.task.makeReady();
  }
}

export class Task implements Waiter {
  runState = RUN_GUEST;
  ctx: Context | null = null;
  /** Name as in /proc/PID/comm, at most 15 bytes. */
  comm = "";
  readonly signals: TaskSignals;
  /** Progress of the current call. */
  restart: Restart | null = null;
  /** True when the last sleep ended by its deadline. */
  timedOut = false;
  /** Set when something wants attention before guest code runs on: signals, stop, exit. */
  notify = false;
  /** Queues that the blocked call waits on. */
  private waits: WaitEntry[] = [];
  private sleepTimer: SleepTimer | null = null;
  /** The queue that woke this task and no other. */
  private handOn: WaitQueue | null = null;
  /** Made from outside, has no program yet: not to be run until boot/start.ts says so. */
  embryo = false;
  /** How often it had to wait in a call: its voluntary context switches. */
  blocks = 0;
  /** Number of the system call being served, -1 outside. */
  syscallNr = -1;
  /** Stopped by job control: how to go on. */
  suspended: { result: number; inSyscall: boolean } | null = null;
  /** This thread alone is to end (another one called execve). */
  killed = false;
  /** Futexes that the blocked call waits on. */
  futexWaits: FutexWaiter[] | null = null;
  /** personality(2), prctl(PR_SET_TIMERSLACK, PR_SET_THP_DISABLE). */
  personality = 0;
  timerSlackNs = 50000;
  /** What plugins' interceptors keep of the current call (boot/plugins.ts). */
  interception: object | null = null;
  /** The guest's own system call filters. */
  seccomp: Seccomp | null = null;
  /** set_tid_address / CLONE_CHILD_CLEARTID. */
  clearChildTid = 0;
  /** set_robust_list: head address. */
  robustList = 0;
  /** prctl(PR_SET_PDEATHSIG). */
  parentDeathSignal = 0;
  /** Parent waits in vfork until this task execs or exits. */
  vforkParent: Task | null = null;
  /** The pid that vfork returned for this task (its tid may change). */
  vforkPid = 0;
  /** Woken when a vfork child lets go. */
  readonly vforkDone = new WaitQueue();
  /** Scheduling attributes that the guest set; the host's scheduler does the work. */
  sched = { policy: 0, priority: 0, nice: 0, affinity: null as number[] | null, resetOnFork: false };
  /** Exit status in wait(2) encoding, once exiting. */
  exitStatus = 0;
  /** `retire` is at work on it. */
  retiring = false;
  /** Processor time that the host's thread behind it knows nothing of: from before a restore, ns. */
  earlierCpuNs = 0;
  /** CLOCK_MONOTONIC ns at creation. */
  startTime = 0;
  /** No other task of the kernel has it. */
  readonly serial: number;

  constructor(
    readonly kernel: Kernel,
    /** Changes only when a thread that is not the leader calls execve. */
    public tid: number,
    public process: Process,
    public mm: Mm,
    public files: FdTable,
    public fs: FsContext,
    public cred: Credentials,
  ) {
    this.signals = new TaskSignals();
    this.startTime = kernel.now();
    this.serial = ++kernel.lastTask;
  }

  get container(): Container {
    return this.process.container;
  }
  /** The numbers by which it knows others. */
  get pids(): PidSpace {
    return this.process.pids;
  }

  // Arguments of the current system call.

  /** Argument register `index` (0..5) as an unsigned number. */
  arg(index: number): number {
    const regs = this.ctx!.regs;
    const at = ARG_AT[index]!;
    return regs[at]! + regs[at + 1]! * 4294967296;
  }
  /** The low 32 bits. */
  argLo(index: number): number {
    return this.ctx!.regs[ARG_AT[index]!]!;
  }
  argHi(index: number): number {
    return this.ctx!.regs[ARG_AT[index]! + 1]!;
  }
  /** As a signed 64-bit value. */
  argSigned(index: number): number {
    const regs = this.ctx!.regs;
    const at = ARG_AT[index]!;
    return regs[at]! + (regs[at + 1]! | 0) * 4294967296;
  }

  // Blocking.

  /** Registers on a queue; follow with `sleep`. */
  waitOn(queue: WaitQueue, mask: number = ALL_EVENTS, exclusive = false): void {
    const entry = new WaitEntry(this, mask, exclusive);
    this.waits.push(entry);
    queue.add(entry);
  }

  /**
   * Blocks until a queue given to `waitOn` wakes it, the deadline (CLOCK_MONOTONIC ns) passes (`timedOut`) or a signal
   * comes. Return its result from the handler: BLOCKED, or -ERESTARTSYS when a signal is pending already.
   */
  sleep(deadline: number = Number.POSITIVE_INFINITY): number {
    if (this.signals.hasDeliverable(this)) {
      this.cancelWaits();
      return -ERESTARTSYS;
    }
    this.timedOut = false;
    this.handOn = null;
    this.runState = RUN_BLOCKED;
    if (deadline !== Number.POSITIVE_INFINITY) {
      this.sleepTimer ??= new SleepTimer(this);
      this.kernel.timers.arm(this.sleepTimer, deadline);
    }
    this.ctx?.parked();
    return BLOCKED;
  }

  /** What it sleeps for comes at another time. */
  moveDeadline(deadline: number): void {
    if (this.sleepTimer?.armed) this.kernel.timers.arm(this.sleepTimer, deadline);
  }

  /** waitOn + sleep. */
  block(queue: WaitQueue, mask: number = ALL_EVENTS, deadline: number = Number.POSITIVE_INFINITY): number {
    this.waitOn(queue, mask);
    return this.sleep(deadline);
  }

  /** Like `sleep`, but only the death of the process ends it early: signals run the handler again, which sleeps again. */
  sleepKillable(): number {
    if (this.process.exiting || this.killed) {
      this.cancelWaits();
      return -ERESTARTSYS;
    }
    this.timedOut = false;
    this.runState = RUN_BLOCKED;
    this.ctx?.parked();
    return BLOCKED;
  }

  /**
   * Lets others have their turn in a long call (see kernel/slice.ts): return its result, the handler is run again from
   * its arguments when the others have had theirs. -ERESTARTSYS when the task is to die: then end with what is done.
   */
  giveWay(): number {
    if (this.dying) return -ERESTARTSYS;
    this.runState = RUN_READY;
    this.kernel.longCalls.push(this);
    return BLOCKED;
  }

  /** It is to end: its process does, or a signal is pending that nobody handles and that is fatal. */
  get dying(): boolean {
    const { process, signals } = this;
    if (process.exiting || this.killed) return true;
    if (!signals.hasDeliverable(this)) return false;
    for (let signo = 1; signo <= SIGRTMAX; signo++) {
      if (signals.blocked.has(signo) || !(signals.pending.set.has(signo) || process.pending.set.has(signo))) continue;
      if (process.actions.actions[signo]!.handler !== SIG_DFL || process.unkillable) continue;
      const action = defaultAction(signo);
      if (action !== ACT_IGNORE && action !== ACT_STOP) return true;
    }
    return false;
  }

  /** Waiter: one of the queues has news. */
  wake(entry: WaitEntry, _mask: number): void {
    if (entry.exclusive && this.runState === RUN_BLOCKED) this.handOn = entry.queue;
    this.makeReady();
  }

  /** Leaves all queues and timers and lets the call run again soon. No-op unless blocked. */
  makeReady(): void {
    if (this.runState !== RUN_BLOCKED) return;
    this.cancelWaits();
    this.runState = RUN_READY;
    this.kernel.runQueue.push(this);
  }

  /** The current call's progress record, made when there is none. */
  progress(): Restart {
    this.restart ??= {};
    return this.restart;
  }

  /** The current call is over: drops its progress record. */
  endCall(): void {
    const restart = this.restart;
    if (restart === null) return;
    this.restart = null;
    restart.file?.release();
    restart.file2?.release();
  }

  cancelWaits(): void {
    // It ends before it could act on a wake-up that was for one only: that goes to the next.
    if (this.runState === RUN_READY && this.handOn !== null) {
      this.handOn.wakeExclusive(ALL_EVENTS);
      this.handOn = null;
    }
    for (const entry of this.waits) entry.queue?.remove(entry);
    if (this.waits.length > 0) this.waits = [];
    if (this.sleepTimer?.armed) this.kernel.timers.cancel(this.sleepTimer);
  }

  /** The pending signal set changed, or a stop or exit was asked for: get the task to look, wherever it is. */
  kick(): void {
    this.notify = true;
    if (this.runState === RUN_BLOCKED) this.makeReady();
    else if (this.runState === RUN_GUEST) this.ctx?.interrupt();
  }

  /** Shorthand for the descriptor's open file. */
  file(fd: number) {
    return this.files.get(fd);
  }
}

/** Index into Context.regs (u32 units) of each syscall argument. */
const ARG_AT = [REG.rdi * 2, REG.rsi * 2, REG.rdx * 2, REG.r10 * 2, REG.r8 * 2, REG.r9 * 2];

persistent("sleep-timer", SleepTimer);
persistent("task", Task, {
  as: {
    ctx: later(() => contextForm),
    earlierCpuNs: {
      save: (before: number, task: Task) => (task.runState < RUN_ZOMBIE ? threadCpuNs(task) : before),
      restore: (ns: number) => ns,
    },
    // What is kept of it is a plugin's: see ASKED.
    interception: {
      save: (interception: object | null) => interception !== null,
      restore: (asked: boolean) => (asked ? ASKED : null),
    },
  },
});
