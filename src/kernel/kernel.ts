/**
 * The kernel: owns every table, and the loop that serves stopped guest threads.
 *
 * One JavaScript thread is the big kernel lock. The loop: run what was woken, fire what is due, wait for a guest thread
 * to stop or a host descriptor to be ready, serve it. Nothing in here awaits.
 *
 * How a system call travels: platform.wait → serve → dispatch (table by number) → handler → finish → signal delivery if
 * the task has something pending → context.resume*.
 */

import { clockMonotonicNs } from "../native/host.ts";
import type { HostPoller } from "../native/poller.ts";
import {
  type Context,
  type Platform,
  REG,
  STOP_FAULT,
  STOP_GONE,
  STOP_INTERRUPT,
  STOP_STARTED,
  STOP_SYSCALL,
} from "../platform/platform.ts";
import { ENOSYS } from "./abi/errno.ts";
import { SYSCALL_NAMES } from "./abi/syscall-numbers.ts";
import { Cgroup } from "./cgroup.ts";
import { type HostInfo, NO_HOST_INFO } from "./fs/proc/host-info.ts";
import type { FileSystemTypes } from "./fs/types.ts";
import { Futexes } from "./futex/futex.ts";
import type { KernelLog } from "./log.ts";
import { Network } from "./net/network.ts";
import { forceFault, onFault, resumeSuspended, returnToGuest } from "./signal/deliver.ts";
import { CallHistory } from "./strace/history.ts";
import type { Tracer } from "./strace/tracer.ts";
import { BLOCKED, NO_RETURN, type SyscallDeclaration } from "./syscall.ts";
import { onContextGone } from "./task/exit.ts";
import { TRANSFERS } from "./task/io-counts.ts";
import type { Process } from "./task/process.ts";
import { checkCall, type Seccomp } from "./task/seccomp.ts";
import type { ProcessGroup, Session } from "./task/session.ts";
import { RUN_GUEST, RUN_READY, type Task } from "./task/task.ts";
import type { UserCounts } from "./task/users.ts";
import { TimerQueue } from "./time/timers.ts";
import { PtyTable } from "./tty/pty-table.ts";
import type { Tty } from "./tty/tty.ts";
import type { Mount } from "./vfs/dentry.ts";
import { DeviceRegistry } from "./vfs/devices.ts";
import { MountTable } from "./vfs/mounts.ts";

/** Wraps a handler: gets the decoded arguments by name, may answer itself or go on with `next()`. */
export type Interceptor = (task: Task, call: Record<string, unknown>, next: () => number) => number;

/** A slice of the loop while asynchronous work is outstanding: short at first, longer while nothing happens. */
const SLICE_MIN_NS = 50_000;
const SLICE_MAX_NS = 2_000_000;

/** PIDs and TIDs go up to this, then start again (kernel.pid_max). */
const PID_MAX = 4194304;
/** Guest threads in one sandbox, at most: a fork bomb ends here with EAGAIN, at about 1 GiB of the host's memory. */
const TASKS_MAX = 4096;

export class Kernel {
  readonly timers = new TimerQueue();
  /** Tasks whose blocked call is to be run again. */
  readonly runQueue: Task[] = [];
  readonly tasks = new Map<number, Task>();
  readonly processes = new Map<number, Process>();
  /** What answers each number: the bare handler, or the chain of its interceptors. */
  private readonly handlers: (((task: Task) => number) | undefined)[] = [];
  private readonly declarations: (SyscallDeclaration | undefined)[] = [];
  private readonly interceptors = new Map<number, Interceptor[]>();
  /** Counts of calls that have no handler. */
  readonly unimplemented = new Map<number, number>();
  readonly history = new CallHistory();
  tracer: Tracer | null = null;
  hostname = "runts";
  domainname = "(none)";
  /** What /proc and sysinfo tell of the machine; boot collects it before the jail. */
  hostInfo: HostInfo = NO_HOST_INFO;
  /** Settings of /proc/sys that were written, by path below it. */
  readonly sysctls = new Map<string, string>();
  /** The terminal behind /dev/console, if the sandbox has one. */
  console: Tty | null = null;
  /** Pseudo terminals, by number. */
  readonly ptys = new PtyTable();
  /** Limits of the container, and what is used of them. */
  readonly cgroup = new Cgroup(this);
  readonly devices = new DeviceRegistry();
  readonly mounts = new MountTable();
  /** Socket families and the network namespace. */
  readonly net = new Network(this);
  /** What can be mounted, by type name. */
  readonly fileSystemTypes: FileSystemTypes = new Map();
  /** Root of the mount tree; set up by boot. */
  rootMount!: Mount;
  /** Process groups and sessions by id. */
  readonly groups = new Map<number, ProcessGroup>();
  readonly sessions = new Map<number, Session>();
  /** The sandbox's first process, until it has ended. */
  init: Process | null = null;
  /** The task whose call, fault or resumption is being served. */
  current: Task | null = null;
  /** That call was begun before and is run again. */
  rerunning = false;
  /** Futexes with waiters. */
  readonly futexes = new Futexes();
  /** What is counted per real user id. */
  readonly users = new Map<number, UserCounts>();
  /** Told of each process whose last thread has ended, to release what they keep for it (timers). */
  readonly processCleanups: ((process: Process) => void)[] = [];
  /** Told of each successful execve. */
  readonly execObservers: ((task: Task, argv: readonly Uint8Array[]) => void)[] = [];
  /** Told of the end of processes that have no parent (init, and those brought in from outside). */
  onRootExit: ((process: Process, status: number) => void) | null = null;
  private lastPid = 0;
  /** Thread ids given out so far. */
  tasksMade = 0;
  private running = false;
  private stopped = false;
  /** Promises of plugins that have not settled. */
  private outstanding = 0;
  private sliceNs = SLICE_MIN_NS;
  /** Called when the first process (init) has ended, with its wait status. */
  onInitExit: ((status: number) => void) | null = null;
  /** CLOCK_MONOTONIC at boot. */
  readonly bootTime = clockMonotonicNs();

  constructor(
    readonly platform: Platform,
    readonly poller: HostPoller,
    readonly log: KernelLog,
    declarations: readonly SyscallDeclaration[],
  ) {
    for (const declaration of declarations) {
      if (this.declarations[declaration.nr]) throw new Error(`system call ${declaration.name} is declared twice`);
      this.declarations[declaration.nr] = declaration;
      this.handlers[declaration.nr] = declaration.invoke;
      platform.setPrefetch(declaration.nr, declaration.prefetch);
    }
  }

  /** CLOCK_MONOTONIC in nanoseconds. */
  now(): number {
    return clockMonotonicNs();
  }

  /** Declaration of a call, for tracing. */
  declaration(nr: number): SyscallDeclaration | undefined {
    return this.declarations[nr];
  }

  /** Puts an interceptor around a call; the last one added is asked first. Costs nothing for other calls. */
  intercept(name: string, interceptor: Interceptor): void {
    const nr = SYSCALL_NAMES.indexOf(name as (typeof SYSCALL_NAMES)[number]);
    if (nr < 0) throw new Error(`no system call is named ${name}`);
    const chain = this.interceptors.get(nr) ?? [];
    chain.push(interceptor);
    this.interceptors.set(nr, chain);
    const declaration = this.declarations[nr];
    this.handlers[nr] = (task) => {
      const decoded = declaration ? declaration.decode(task) : {};
      if (typeof decoded === "number") return decoded;
      if (!this.rerunning) task.interception = null;
      const step = (at: number): number => {
        if (at < 0) return declaration ? declaration.run(task, decoded) : -ENOSYS;
        return chain[at]!(task, decoded, () => step(at - 1));
      };
      return step(chain.length - 1);
    };
  }

  /** The thread id given out last. */
  get newestPid(): number {
    return this.lastPid;
  }

  /** A free thread id, or 0 when the sandbox is full. */
  allocatePid(): number {
    if (this.tasks.size >= TASKS_MAX) return 0;
    for (let tries = 0; tries < PID_MAX; tries++) {
      this.lastPid = this.lastPid >= PID_MAX - 1 ? 300 : this.lastPid + 1;
      if (!this.tasks.has(this.lastPid) && !this.processes.has(this.lastPid) && !this.pidInUse(this.lastPid)) {
        this.tasksMade++;
        return this.lastPid;
      }
    }
    return 0;
  }
  /** Group and session ids keep their number from being given out again. */
  pidInUse: (pid: number) => boolean = (pid) => this.groups.has(pid) || this.sessions.has(pid);

  /** Guests are frozen: only host descriptors (the control connection) are served. */
  paused = false;
  private pausedAt = 0;

  /** Freezes every guest. */
  pause(): void {
    this.paused = true;
    this.pausedAt = this.now();
    this.platform.pause?.();
  }
  resume(): void {
    this.paused = false;
    this.log.debug(`resumed after ${((this.now() - this.pausedAt) / 1e6).toFixed(1)} ms`);
    this.platform.resume?.();
  }

  /** Asynchronous work of a plugin begins: `run` returns soon, and again and again until `endAsync`. */
  beginAsync(): void {
    this.outstanding++;
    this.sliceNs = SLICE_MIN_NS;
    this.running = false;
  }
  endAsync(): void {
    this.outstanding--;
    this.sliceNs = SLICE_MIN_NS;
  }
  get asyncWork(): number {
    return this.outstanding;
  }

  /**
   * Runs until `stop()`: true. While a plugin's asynchronous work is outstanding, for a slice only: false; the caller
   * lets the event loop turn and calls again. Without such work, the loop pays nothing for this.
   */
  run(): boolean {
    this.running = !this.stopped;
    const sliced = this.outstanding > 0;
    const sliceEnd = sliced ? this.now() + this.sliceNs : Number.POSITIVE_INFINITY;
    if (sliced) this.sliceNs = Math.min(SLICE_MAX_NS, this.sliceNs * 2);
    let turns = 0;
    while (this.running) {
      if (this.paused) {
        this.poller.wait(sliced ? SLICE_MAX_NS / 1e6 : -1);
        if (sliced) break;
        continue;
      }
      while (this.runQueue.length > 0 && this.running) {
        const task = this.runQueue.shift()!;
        if (task.runState !== RUN_READY) continue;
        task.runState = RUN_GUEST;
        this.current = task;
        if (task.suspended !== null || task.process.exiting || task.killed) resumeSuspended(task);
        else {
          this.rerunning = true;
          this.dispatch(task);
          this.rerunning = false;
        }
        this.current = null;
        // Guest threads and timers get their turn even if tasks keep waking each other.
        if ((++turns & 63) === 0) break;
      }
      if (!this.running) break;
      const next = this.timers.next;
      let timeout = -1;
      if (this.runQueue.length > 0) timeout = 0;
      else if (next !== Number.POSITIVE_INFINITY) timeout = Math.max(0, next - this.now());
      if (sliced) {
        const left = Math.max(0, sliceEnd - this.now());
        if (timeout < 0 || timeout > left) timeout = left;
      }
      const ctx = this.platform.wait(timeout);
      if (ctx !== null) {
        this.serve(ctx);
        this.current = null;
      }
      if (ctx === null || (++turns & 63) === 0) {
        this.poller.dispatch();
        if (this.timers.next !== Number.POSITIVE_INFINITY) this.timers.expire(this.now());
        if (sliced && this.now() >= sliceEnd) break;
      }
    }
    return this.stopped;
  }

  stop(): void {
    this.stopped = true;
    this.running = false;
  }

  private serve(ctx: Context): void {
    const task = ctx.owner as Task | null;
    if (task === null) return;
    ctx.addressSpace.executor = ctx;
    this.current = task;
    switch (ctx.stop) {
      case STOP_SYSCALL:
        task.syscallNr = ctx.regs[REG.origRax * 2]!;
        if (task.restart !== null) task.endCall();
        if (this.tracer !== null) this.tracer.onCall(task, task.syscallNr);
        if (task.seccomp === null || this.passesSeccomp(task, task.seccomp)) this.dispatch(task);
        break;
      case STOP_FAULT:
        onFault(task, ctx.fault);
        break;
      case STOP_INTERRUPT:
      case STOP_STARTED:
        task.syscallNr = -1;
        if (!task.embryo) returnToGuest(task, 0, false);
        break;
      case STOP_GONE:
        onContextGone(task);
        break;
    }
  }

  /** Asks the guest's own filters; false: they have answered the call. */
  private passesSeccomp(task: Task, seccomp: Seccomp): boolean {
    const verdict = checkCall(task, seccomp);
    if (verdict === true) return true;
    if (typeof verdict === "number") {
      if (this.tracer !== null) this.tracer.onResult(task, task.syscallNr, verdict);
      this.finish(task, verdict);
    } else if (task.ctx !== null) returnToGuest(task, 0, false);
    return false;
  }

  /** Runs (or runs again) the task's current system call. */
  private dispatch(task: Task): void {
    if (task.ctx === null) return;
    task.ctx.addressSpace.executor = task.ctx;
    const nr = task.syscallNr;
    let result: number;
    try {
      const handler = this.handlers[nr];
      result = handler === undefined ? this.noSuchCall(task, nr) : handler(task);
    } catch (error) {
      result = this.bug(task, nr, error);
    }
    if (result === BLOCKED) {
      task.blocks++;
      if (this.tracer !== null) this.tracer.onBlocked(task);
      return;
    }
    if (this.tracer !== null) this.tracer.onResult(task, nr, result);
    this.history.record(task.tid, nr, result);
    const transfer = TRANSFERS[nr];
    if (transfer) task.process.io.count(transfer, result);
    this.finish(task, result);
  }

  /** Ends the current call: signals first, then back to the guest. */
  private finish(task: Task, result: number): void {
    if (result === NO_RETURN) {
      if (task.ctx !== null && task.runState === RUN_GUEST) returnToGuest(task, 0, false);
      return;
    }
    if (task.notify || result <= -512) returnToGuest(task, result, true);
    else {
      if (task.restart !== null) task.endCall();
      task.syscallNr = -1;
      task.ctx!.resumeWithResult(result);
    }
  }

  private noSuchCall(task: Task, nr: number): number {
    const seen = this.unimplemented.get(nr) ?? 0;
    this.unimplemented.set(nr, seen + 1);
    if (seen === 0)
      this.log.debug(`unimplemented system call ${SYSCALL_NAMES[nr] ?? nr} (first by pid ${task.tid} ${task.comm})`);
    return -ENOSYS;
  }

  /** A handler threw: a kernel bug. The task dies of SIGSEGV, the sandbox lives on. */
  private bug(task: Task, nr: number, error: unknown): number {
    task.cancelWaits();
    task.runState = RUN_GUEST;
    this.log.error(`kernel bug in ${SYSCALL_NAMES[nr] ?? nr} of pid ${task.tid} (${task.comm}): ${describe(error)}`);
    forceFault(task, { signo: 11, code: 128, addr: 0, trapno: 13, errorCode: 0 });
    return NO_RETURN;
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
