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
  type Home,
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
import { Container, type Shared } from "./container.ts";
import { HostFileTable } from "./fs/host/host-device.ts";
import { type HostInfo, NO_HOST_INFO } from "./fs/proc/host-info.ts";
import type { FileSystemTypes } from "./fs/types.ts";
import { Futexes } from "./futex/futex.ts";
import type { KernelLog } from "./log.ts";
import { MemoryBound } from "./mm/oom.ts";
import { NamespaceNumbers } from "./namespaces.ts";
import type { NetworkHooks } from "./net/hooks.ts";
import { Network } from "./net/network.ts";
import type { Family } from "./net/socket.ts";
import { onFault, resumeSuspended, returnToGuest } from "./signal/deliver.ts";
import { type Chore, Slice } from "./slice.ts";
import { persistent } from "./state/registry.ts";
import { SavePoint } from "./state/save-point.ts";
import { CallHistory } from "./strace/history.ts";
import type { Tracer } from "./strace/tracer.ts";
import { BLOCKED, NO_RETURN, type SyscallDeclaration } from "./syscall.ts";
import { endByBug, onContextGone } from "./task/exit.ts";
import { TRANSFERS } from "./task/io-counts.ts";
import type { Process } from "./task/process.ts";
import { checkCall, type Seccomp } from "./task/seccomp.ts";
import { ASKED, RUN_GUEST, RUN_READY, type Task } from "./task/task.ts";
import { LoadAverage } from "./time/load-average.ts";
import { type Timer, TimerQueue } from "./time/timers.ts";
import { DeviceRegistry } from "./vfs/devices.ts";
import type { LockWaits } from "./vfs/locks.ts";
import { MountTable } from "./vfs/mounts.ts";
import { serials } from "./vfs/serials.ts";
import { WaitQueue } from "./wait-queue.ts";

/** Wraps a handler: gets the decoded arguments by name, may answer itself or go on with `next()`. */
export type Interceptor = (task: Task, call: Record<string, unknown>, next: () => number) => number;

/** A slice of the loop while asynchronous work is outstanding: short at first, longer while nothing happens. */
const SLICE_MIN_NS = 50_000;
const SLICE_MAX_NS = 2_000_000;

/** Guest threads in one sandbox, at most: a fork bomb ends here with EAGAIN, at about 1 GiB of the host's memory. */
const TASKS_MAX = 4096;
/** Of those, the last ones are for containers that have few, where there are several. */
const TASKS_FOR_OTHERS = 256;
const FEW_TASKS = 32;
/** How long woken tasks may run one after the other while a guest may be waiting. */
const RUN_QUEUE_NS = 2e6;
/** Guests that are served between two slices of long calls and of ends. */
const SERVED_PER_SLICE = 32;
/** How often the platform may throw in a row before the sandbox ends. */
const PLATFORM_FAILURES_MAX = 16;
/** Unknown system calls that the log names. */
const UNIMPLEMENTED_MAX = 256;

export class Kernel {
  readonly timers = new TimerQueue();
  /** Tasks whose blocked call is to be run again. */
  readonly runQueue: Task[] = [];
  /** Tasks in long calls, each with a slice of it done (slice.ts). */
  readonly longCalls: Task[] = [];
  /** Tasks that were woken to end: thousands may be at once, and nobody else's call waits for more than a slice of them. */
  readonly endings: Task[] = [];
  /** What is left to do for nobody's call. */
  readonly chores: Chore[] = [];
  /** Threads that have been ended in this turn (task/exit.ts). */
  ended = 0;
  /** When the first of them was, CLOCK_MONOTONIC ns. */
  endedSince = 0;
  /** The guests, by the ids of their containers. */
  readonly containers = new Map<string, Container>();
  /** Every thread of every container. */
  readonly tasks = new Set<Task>();
  readonly namespaces = new NamespaceNumbers();
  /** The bound on the memory of all containers together that have none of their own. */
  readonly memory = new MemoryBound(this, null);
  /** What answers each number: the bare handler, or the chain of its interceptors. */
  private readonly handlers: (((task: Task) => number) | undefined)[] = [];
  private readonly declarations: (SyscallDeclaration | undefined)[] = [];
  private readonly interceptors = new Map<number, Interceptor[]>();
  /** Numbers of calls without a handler that the log has named; bounded, since guests choose them. */
  private readonly unimplemented = new Set<number>();
  readonly history = new CallHistory();
  tracer: Tracer | null = null;
  /** What /proc and sysinfo tell of the machine; boot collects it before the jail. */
  hostInfo: HostInfo = NO_HOST_INFO;
  readonly devices = new DeviceRegistry();
  /** What all file systems in memory hold (fs/tmpfs/tmpfs.ts). */
  readonly memoryFiles = { pages: 0 };
  readonly mounts = new MountTable(this.namespaces);
  /** Kinds of sockets that there are, by address family. */
  readonly socketFamilies = new Map<number, Family>();
  /** The network namespace. */
  readonly net = new Network(this);
  /** What plugins are asked about the network; null where none wants to be. */
  networkHooks: NetworkHooks | null = null;
  /** What can be mounted, by type name. */
  readonly fileSystemTypes: FileSystemTypes = new Map();
  /** The task whose call, fault or resumption is being served. */
  current: Task | null = null;
  /** That call was begun before and is run again. */
  rerunning = false;
  /** Futexes with waiters. */
  readonly futexes = new Futexes();
  /** Told of each process whose last thread has ended, to release what they keep for it. */
  readonly processCleanups: ((process: Process) => void)[] = [];
  /** Told of each successful execve. */
  readonly execObservers: ((task: Task, argv: readonly Uint8Array[]) => void)[] = [];
  /** Thread ids given out so far. */
  tasksMade = 0;
  /** The serial number given out last. */
  lastTask = 0;
  private platformFailures = 0;
  private running = false;
  /** It has been restored, and has not run since. */
  private restored = false;
  private stopped = false;
  /** Promises of plugins that have not settled. */
  private outstanding = 0;
  private sliceNs = SLICE_MIN_NS;
  /** CLOCK_MONOTONIC at boot. */
  readonly bootTime = clockMonotonicNs();
  /** /proc/loadavg, and /proc/sys/kernel/random/boot_id once somebody has asked for it. */
  readonly load = new LoadAverage(this.bootTime);
  bootId = "";
  /** What readers of syslog(2) have taken: by READ, and by READ_CLEAR and CLEAR; and where those wait who want more. */
  readonly logTaken = { read: 0, cleared: 0 };
  /** Nobody ever wakes it: nothing is written to that log. */
  readonly logSilence = new WaitQueue();
  /** Where guests say that they want to be saved. */
  readonly savePoint = new SavePoint();
  readonly lockWaits: LockWaits = new Map();
  /** What there is of things of which there may be so many: watched files, and slots promised to pipes. */
  readonly counts = { epollItems: 0, pipeSlots: 0 };
  /** The event that epoll instances tell of: each has a number, and may be on its way up through several of them. */
  readonly telling = { round: 1, depth: 0 };
  /** What is kept of the host's files. */
  readonly hostFiles = new HostFileTable();
  readonly serials = serials;

  platform!: Platform;

  constructor(
    platform: Platform | null,
    readonly poller: HostPoller,
    readonly log: KernelLog,
    declarations: readonly SyscallDeclaration[],
  ) {
    for (const declaration of declarations) {
      if (this.declarations[declaration.nr]) throw new Error(`system call ${declaration.name} is declared twice`);
      this.declarations[declaration.nr] = declaration;
      this.handlers[declaration.nr] = declaration.invoke;
    }
    if (platform !== null) this.usePlatform(platform);
    this.timers.onError = (timer, error) => this.timerFailed(timer, error);
    poller.onError = (fd, error) => this.failed(`a watch of host descriptor ${fd}`, null, error);
  }

  /** Once, before the first task: a platform may be a plugin's, whose sandbox half is given the kernel. */
  usePlatform(platform: Platform): void {
    this.platform = platform;
    platform.serveOthers = (timeoutNs) => this.serveOthers(timeoutNs);
    platform.onKill = (pid, why) => this.log.warn(`the guest process behind host process ${pid} is killed: ${why}`);
    for (const declaration of this.declarations)
      if (declaration !== undefined) platform.setPrefetch(declaration.nr, declaration.prefetch);
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

  /** A container without processes yet. `shared`: what it has in common with others. `home`: see Container. */
  addContainer(id: string, shared: Shared = {}, home?: Home): Container {
    if (this.containers.has(id)) throw new Error(`there is a container "${id}" already`);
    const container = new Container(this, id, shared, home);
    this.containers.set(id, container);
    return container;
  }
  /** Forgets a container and what it has: mounts, terminals, timers. -ESRCH while one of its processes lives. */
  removeContainer(container: Container): number {
    const released = container.release();
    if (released === 0) this.containers.delete(container.id);
    return released;
  }

  /** No more threads, in whichever container. */
  get full(): boolean {
    return this.tasks.size >= TASKS_MAX;
  }
  /** May a guest make one more in its container? One container alone cannot keep the others from making any. */
  fullFor(container: Container): boolean {
    const kept = this.containers.size > 1 && container.tasks >= FEW_TASKS ? TASKS_FOR_OTHERS : 0;
    return this.tasks.size >= TASKS_MAX - kept;
  }
  /** Every process of every container. */
  *processes(): Generator<Process> {
    for (const { processes } of this.containers.values()) yield* processes;
  }

  /** Stops that are to be served before the platform is asked for others. */
  private readonly stops: Context[] = [];
  /** A container is thawed: what came of it meanwhile has its turn now. */
  takeBack({ heldTasks, heldStops }: Container): void {
    this.runQueue.push(...heldTasks.splice(0));
    this.stops.push(...heldStops.splice(0));
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
    if (this.restored) this.askAgain();
    this.running = !this.stopped;
    const sliced = this.outstanding > 0;
    const sliceEnd = sliced ? this.now() + this.sliceNs : Number.POSITIVE_INFINITY;
    if (sliced) this.sliceNs = Math.min(SLICE_MAX_NS, this.sliceNs * 2);
    while (this.running) {
      try {
        this.turn(sliceEnd);
        this.failedTurns = 0;
      } catch (error) {
        // Not in anybody's call, fault or timer, which have nets of their own: in the loop itself.
        if (++this.failedTurns > PLATFORM_FAILURES_MAX) throw error;
        this.failed("the kernel's loop", null, error);
      }
      if (sliced && this.now() >= sliceEnd) break;
    }
    return this.stopped;
  }

  /** Calls about which plugins were asked before the kernel was saved are run again: they are asked anew. */
  private askAgain(): void {
    this.restored = false;
    this.net.asking.giveUp();
    for (const task of this.tasks) {
      if (task.interception !== ASKED) continue;
      task.interception = null;
      task.makeReady();
    }
  }

  /** Once round: what was woken, what stopped (waited for until `until`, CLOCK_MONOTONIC ns), what is due. */
  private turn(until: number): void {
    const bounded = until !== Number.POSITIVE_INFINITY;
    let since = 0;
    let crowded = false;
    for (let left = this.runQueue.length; left > 0 && this.mayServe(); left--) {
      const task = this.takeReady(this.runQueue);
      if (task === null) continue;
      if (task.killed || task.process.exiting) {
        this.endings.push(task);
        continue;
      }
      this.rerun(task);
      // Guest threads and timers get their turn even if tasks keep waking each other.
      crowded = (++this.turns & 63) === 0;
      if (crowded) break;
      // A call that is run again may have ended many.
      if ((this.turns & 7) !== 0 && this.ended === 0) continue;
      const now = this.now();
      if (since === 0) since = now;
      crowded = now - since > RUN_QUEUE_NS;
      if (crowded) break;
    }
    if (!this.mayServe()) return;
    const next = this.timers.next;
    let timeout = -1;
    if (this.servable(this.runQueue) || this.servable(this.longCalls) || this.servable(this.endings)) timeout = 0;
    else if (this.chores.length > 0 && this.nested === 0) timeout = 0;
    else if (next !== Number.POSITIVE_INFINITY) timeout = Math.max(0, next - this.now());
    if (bounded) {
      const left = Math.max(0, until - this.now());
      if (timeout < 0 || timeout > left) timeout = left;
    }
    const ctx = this.heldBack() ?? this.waitForGuest(timeout);
    if (ctx !== null) this.serve(ctx);
    let sliceDone = false;
    const long = this.longCalls.length + this.chores.length > 0;
    if ((long || this.endings.length > 0) && (ctx === null || ++this.served >= SERVED_PER_SLICE)) {
      this.served = 0;
      sliceDone = true;
      this.endsNext = this.endings.length > 0 && (this.endsNext || !long);
      if (this.endsNext) this.endSome();
      else this.doSlice();
      this.endsNext = !this.endsNext;
      if (!this.mayServe()) return;
    }
    if (ctx === null || sliceDone || crowded || (++this.turns & 63) === 0) {
      this.poller.dispatch();
      if (this.timers.next !== Number.POSITIVE_INFINITY) this.timers.expire(this.now());
    }
  }
  private turns = 0;
  /** In a row. */
  private failedTurns = 0;
  /** A plugin's asynchronous work ends `run`, but not a turn within a call that waits. */
  private mayServe(): boolean {
    return this.running || (this.nested > 0 && !this.stopped);
  }
  /** Guests served since a long call had a slice. */
  private served = 0;
  /** The next slice is one of ends: they and long calls take turns. */
  private endsNext = false;
  private servable(queue: readonly Task[]): boolean {
    return this.nested === 0 ? queue.length > 0 : queue.some((task) => !task.ctx?.addressSpace.busy);
  }

  /** Tasks in the middle of a call that waits for its stub, outermost first: their turn goes on when ours is over. */
  private readonly interrupted: Task[] = [];
  private nested = 0;
  /** A turn for others while the current task's call waits: see Platform.serveOthers. */
  private serveOthers(timeoutNs: number): void {
    if (this.stopped) {
      this.platform.abandon?.();
      return;
    }
    const { current, rerunning } = this;
    if (current !== null) this.interrupted.push(current);
    this.current = null;
    this.rerunning = false;
    this.nested++;
    try {
      this.turn(this.now() + timeoutNs);
    } catch (error) {
      this.failed("the kernel's loop", null, error);
    }
    this.nested--;
    if (current !== null) this.interrupted.pop();
    this.current = current;
    this.rerunning = rerunning;
  }
  /** Does something to a task that no stop of its brought: others may be served meanwhile, and must leave it alone. */
  workOn<T>(task: Task, work: () => T): T {
    const { current } = this;
    this.current = task;
    try {
      return work();
    } finally {
      this.current = current;
    }
  }
  /** Is a call of this process being served, so that its tasks must not lose their contexts under a handler's hands? */
  serving(process: Process): boolean {
    return this.current?.process === process || this.interrupted.some((task) => task.process === process);
  }

  stop(): void {
    this.stopped = true;
    this.running = false;
  }

  /** A slice of the long call, or of the chore, whose turn it is. */
  private doSlice(): void {
    const next = this.longCalls.findIndex((task) => !task.ctx?.addressSpace.busy);
    if (next >= 0) {
      const task = this.longCalls.splice(next, 1)[0]!;
      if (task.runState !== RUN_READY) return;
      if (task.container.frozen) task.container.heldTasks.push(task);
      else this.rerun(task);
      return;
    }
    // One that is under way is not entered again from within.
    const chore = this.nested === 0 ? this.chores[0] : undefined;
    if (chore === undefined) return;
    try {
      if (!chore.step(new Slice(this))) return;
    } catch (error) {
      this.failed("a chore", null, error);
    }
    this.chores.shift();
  }

  /** A slice of the ends that are due. */
  private endSome(): void {
    const slice = new Slice(this);
    for (let left = this.endings.length; left > 0 && this.mayServe() && !slice.over; left--) {
      const task = this.takeReady(this.endings);
      if (task !== null) this.rerun(task);
    }
  }
  /** The first of these tasks if it can go on now. */
  private takeReady(queue: Task[]): Task | null {
    const task = queue.shift();
    // A turn within the call of another one may have served the rest.
    if (task === undefined || task.runState !== RUN_READY) return null;
    if (task.container.frozen) task.container.heldTasks.push(task);
    else if (task.ctx?.addressSpace.busy) queue.push(task);
    else return task;
    return null;
  }

  /** The next of the stops that a frozen container kept. */
  private heldBack(): Context | null {
    if (this.stops.length === 0) return null;
    const next = this.stops.findIndex((ctx) => !ctx.addressSpace.busy);
    return next < 0 ? null : this.stops.splice(next, 1)[0]!;
  }

  /** A stopped guest thread, or null. A platform that throws once has lost nothing but that moment. */
  private waitForGuest(timeout: number): Context | null {
    try {
      const ctx = this.platform.wait(timeout);
      this.platformFailures = 0;
      return ctx;
    } catch (error) {
      if (++this.platformFailures > PLATFORM_FAILURES_MAX) throw error;
      this.failed("the platform's wait", null, error);
      return null;
    }
  }

  /**
   * The net. A turn (a stopped context, a call that is run again) ends in `failed` when anything in it throws: a handler,
   * an interceptor, the tracer, the way back to the guest, a fault, an exit. Timers and watchers of host descriptors have
   * the same in TimerQueue and HostPoller; the steps of an exit, in task/exit.ts, one each.
   */
  serve(ctx: Context): void {
    const task = ctx.owner as Task | null;
    if (task === null) return;
    if (ctx.stop !== STOP_GONE && task.container.frozen) {
      task.container.heldStops.push(ctx);
      return;
    }
    this.current = task;
    this.ended = 0;
    try {
      this.onStop(task, ctx);
    } catch (error) {
      this.failed(task.syscallNr, task, error);
    }
    this.current = null;
  }

  /** A task that was woken goes on. */
  private rerun(task: Task): void {
    task.runState = RUN_GUEST;
    this.current = task;
    this.ended = 0;
    try {
      if (task.suspended !== null || task.process.exiting || task.killed) resumeSuspended(task);
      else {
        this.rerunning = true;
        this.dispatch(task);
      }
    } catch (error) {
      this.failed(task.syscallNr, task, error);
    }
    this.rerunning = false;
    this.current = null;
  }

  /** A timer has thrown. */
  timerFailed(timer: Timer, error: unknown): void {
    this.failed("a timer", timer.sleeper, error);
  }

  /** A kernel bug: whom it happened to dies, everybody else lives. `what` may be the number of the call. */
  private failed(what: string | number, task: Task | null, error: unknown): void {
    const where = typeof what === "string" ? what : what < 0 ? "no call" : (SYSCALL_NAMES[what] ?? `call ${what}`);
    this.logBug(task === null ? where : `${where} of pid ${task.tid} (${task.comm})`, error);
    if (task !== null) endByBug(task);
  }

  /** Tells of an exception where none may be. */
  logBug(where: string, error: unknown): void {
    this.log.error(`kernel bug in ${where}: ${describe(error)}`);
  }

  private onStop(task: Task, ctx: Context): void {
    ctx.addressSpace.executor = ctx;
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
    const handler = this.handlers[nr];
    const result = handler === undefined ? this.noSuchCall(task, nr) : handler(task);
    if (result === BLOCKED) {
      task.blocks++;
      if (this.tracer !== null) this.tracer.onBlocked(task);
      return;
    }
    if (this.tracer !== null) this.tracer.onResult(task, nr, result);
    this.history.record(task.serial, nr, result);
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
    // It has ended while its call waited.
    if (task.ctx === null) return;
    if (task.notify || result <= -512) returnToGuest(task, result, true);
    else {
      if (task.restart !== null) task.endCall();
      task.syscallNr = -1;
      task.ctx.resumeWithResult(result);
    }
  }

  private noSuchCall(task: Task, nr: number): number {
    if (this.log.debugging && this.unimplemented.size < UNIMPLEMENTED_MAX && !this.unimplemented.has(nr)) {
      this.unimplemented.add(nr);
      this.log.debug(`unimplemented system call ${SYSCALL_NAMES[nr] ?? nr} (first by pid ${task.tid} ${task.comm})`);
    }
    return -ENOSYS;
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** What a new kernel has of itself, from its program and its host. */
const own = Object.fromEntries(
  (
    [
      "handlers",
      "declarations",
      "interceptors",
      "unimplemented",
      "history",
      "tracer",
      "hostInfo",
      "fileSystemTypes",
      "socketFamilies",
      "current",
      "rerunning",
      "processCleanups",
      "execObservers",
      "networkHooks",
      "platformFailures",
      "running",
      "stopped",
      "outstanding",
      "sliceNs",
      "platform",
      "poller",
      "log",
      "stops",
      "turns",
      "failedTurns",
      "served",
      "interrupted",
      "nested",
    ] as const
  ).map((field) => [field, (kernel: Kernel) => (kernel as unknown as Record<string, unknown>)[field]]),
);

persistent("kernel", Kernel, {
  transient: { ...own, restored: () => true },
  as: {
    // Its drivers are those of the program and its plugins; what is kept are the numbers that have been given out.
    devices: {
      save: ({ given }: DeviceRegistry) => given,
      restore: (given: number, { devices }: Kernel) => {
        devices.given = given;
        return devices;
      },
    },
  },
});
