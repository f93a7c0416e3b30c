/**
 * A process (thread group): what Linux keeps in signal_struct and for the group leader.
 *
 * Source: credentials(7), wait(2), setpgid(2), getrlimit(2).
 */
import type { Container } from "../container.ts";
import type { Kernel } from "../kernel.ts";
import type { SignalActions } from "../signal/actions.ts";
import { PendingSignals } from "../signal/task-signals.ts";
import { persistent } from "../state/registry.ts";
import { processCpuNs } from "../time/cpu-time.ts";
import type { ProcessTimers } from "../time/itimer.ts";
import type { Timer } from "../time/timers.ts";
import { WaitQueue } from "../wait-queue.ts";
import type { CpuLimit } from "./cpu-limit.ts";
import { IoCounts } from "./io-counts.ts";
import type { PidSpace } from "./pid-space.ts";
import { defaultRlimits, type Rlimit } from "./rlimits.ts";
import type { ProcessGroup } from "./session.ts";
import { RUN_DEAD, type Task } from "./task.ts";

export class Process {
  /** Living threads; the leader is tasks[0] as long as it lives, and stays here as a zombie until reaped. */
  tasks: Task[] = [];
  /** The task whose tid is the pid. */
  leader!: Task;
  parent: Process | null = null;
  children = new Set<Process>();
  /** Signal sent to the parent when the process ends (CSIGNAL of clone). */
  exitSignal = 17;
  /** Shared pending signals. */
  readonly pending = new PendingSignals();
  /** exit_group or a fatal signal is under way: every thread is to end. */
  exiting = false;
  /** Its threads have so long to end: task/exit.ts. */
  endLimit: Timer | null = null;
  /** A group stop is under way or in force. */
  stopping = false;
  /** The signal that stopped it. */
  stopSignal = 0;
  /** Every thread has stopped, and the parent has been told. */
  stopped = false;
  /** Status in wait(2) encoding once the process is a zombie. */
  exitStatus = 0;
  zombie = false;
  /** Stop and continue reports not yet fetched by wait. */
  stopReport = 0;
  continueReport = false;
  /** Woken when a child changes state. */
  readonly childWait = new WaitQueue();
  /** The thread of `parent` that made it (PR_SET_PDEATHSIG, __WNOTHREAD). */
  parentTask: Task | null = null;
  /** Signals with default disposition are dropped, as for a container's init. */
  unkillable = false;
  /** Woken for each signal that becomes pending (signalfd). */
  readonly signalWait = new WaitQueue();
  /** The thread that waits in execve for the others to be gone, and where it waits: woken when one thread is left. */
  execTask: Task | null = null;
  readonly threadWait = new WaitQueue();
  /** Woken on exit (pidfd). */
  readonly exitWait = new WaitQueue();
  group!: ProcessGroup;
  /** prctl(PR_SET_CHILD_SUBREAPER). */
  subreaper = false;
  /** What read, write and their kin have moved (/proc/PID/io). */
  readonly io = new IoCounts();
  dumpable = 1;
  /** prctl(PR_SET_THP_DISABLE): kept, nothing more. */
  thpDisabled = false;
  /** Has had more than one thread: its processor time is not that of its leader. */
  threaded = false;
  /** Has called execve since fork (setpgid's EACCES). */
  execed = false;
  readonly rlimits: Rlimit[];
  /** Watches over RLIMIT_CPU, where there is one. */
  cpuLimit: CpuLimit | null = null;
  /** Most memory that it had at its end, in bytes. Measured only for parents that ask for resource usage. */
  maxResident = 0;
  asksForUsage = false;
  /** CPU time of this process, in ns: final once it is a zombie. */
  userTime = 0;
  systemTime = 0;
  /** CPU time of reaped children, in ns. */
  childrenUserTime = 0;
  childrenSystemTime = 0;
  /** Path of the program, for /proc/PID/exe. Its mapped areas hold the file, this does not. */
  executable: import("../vfs/dentry.ts").Path | null = null;
  /** Interval timers and POSIX timers: time/itimer.ts keeps its state here. */
  timers: ProcessTimers | null = null;
  oomScoreAdj = 0;
  /** Mounts of proc in which it was looked up: they are told when it is reaped. */
  readonly shownBy = new Set<{ processGone(process: Process): void }>();
  readonly kernel: Kernel;
  /** Where its number is known. */
  readonly pids: PidSpace;

  constructor(
    readonly container: Container,
    readonly pid: number,
    public actions: SignalActions,
    rlimits?: readonly Rlimit[],
  ) {
    this.kernel = container.kernel;
    this.pids = container.pids;
    this.rlimits = rlimits ? rlimits.map((limit) => ({ ...limit })) : defaultRlimits();
  }

  /** It has been waited for: its number may be somebody else's by now. */
  get reaped(): boolean {
    return this.leader.runState === RUN_DEAD;
  }
}

persistent("process", Process, {
  as: {
    // With what the host has counted so far: it starts anew with another stub.
    userTime: {
      save: (_before: number, process: Process) => processCpuNs(process) - process.systemTime,
      restore: (ns: number) => ns,
    },
  },
  restored(process) {
    // Whoever looks for a reaper goes from parent to parent to the end.
    let generations = 0;
    for (let at = process.parent; at !== null; at = at.parent)
      if (++generations > GENERATIONS_MAX) throw new Error(`process ${process.pid} is among its own ancestors`);
  },
});
/** More than there can be processes. */
const GENERATIONS_MAX = 1 << 13;
