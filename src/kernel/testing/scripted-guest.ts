/**
 * Guests written in TypeScript, for unit tests of processes, threads and signals: a guest thread is a generator that
 * yields system calls and gets their results, on a platform that behaves like a real one as seen from the kernel
 * (contexts stop, are resumed, interrupted and destroyed; handlers run on frames in guest memory; calls restart by rip).
 *
 *   const world = new GuestWorld();
 *   world.run(function* (g) { const pid = yield* g.fork(function* (c) { yield* c.exit(3); }); … });
 */

import { syscallDeclarations } from "../../generated/syscalls.ts";
import { HostPoller } from "../../native/poller.ts";
import { type Context, REG, STOP_INTERRUPT, STOP_STARTED, STOP_SYSCALL } from "../../platform/platform.ts";
import { SYSCALL_NUMBERS, type SyscallName } from "../abi/syscall-numbers.ts";
import type { Container } from "../container.ts";
import { Kernel } from "../kernel.ts";
import { KernelLog } from "../log.ts";
import { PROT_READ, PROT_WRITE } from "../mm/vma.ts";
import { createFirstTask, type FirstTask } from "../task/clone.ts";
import { ALL_CAPS, makeCredentials } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import { FdTable } from "../vfs/fd-table.ts";
import { FsContext } from "../vfs/fs-context.ts";
import { FakeContext, FakePlatform, FakeSpace } from "./fake-platform.ts";
import { MemoryHost, resaved } from "./saving.ts";
import { NOWHERE } from "./task-kit.ts";

/** What a guest does next: a system call, or running its own code until something happens. */
type Step = { nr: number; args: readonly number[]; child?: Script } | { spin: () => boolean };
export type Script = (g: Guest) => Generator<Step, void, number>;
/** A piece of a script that gives a value: `const x = yield* …`. */
export type Part<T> = Generator<Step, T, number>;

/** rip after any system call of a script; two less runs the call again. */
const AFTER_CALL = 0x10002;
const MEMORY = 0x100000;
const MEMORY_SIZE = 0x100000;
const STACK = 0x400000;
const STACK_SIZE = 0x100000;
const HANDLERS = 0x700000;

class ScriptedContext extends FakeContext {
  /** Scripts under way: the main one, then handlers. */
  readonly stack: Generator<Step, void, number>[] = [];
  running = false;
  dead = false;
  interruptAsked = false;
  step: Step | null = null;
  result = 0;
  childScript: Script | null = null;
  constructor(
    readonly platform: ScriptedPlatform,
    space: ScriptedSpace,
  ) {
    super(space);
    this.regs[REG.rsp * 2] = STACK + STACK_SIZE - 0x1000;
    this.regs[REG.rip * 2] = AFTER_CALL;
    platform.contexts.push(this);
  }
  override resumeWithResult(result: number): void {
    if (this.running || this.dead) throw new Error("resumed a context that runs or is gone");
    this.running = true;
    this.step = null;
    this.result = result;
  }
  override resumeWithRegisters(): void {
    if (this.running || this.dead) throw new Error("resumed a context that runs or is gone");
    this.running = true;
    const rip = this.regs[REG.rip * 2]!;
    const handler = this.platform.handlers.get(rip);
    if (handler !== undefined) {
      const signo = this.regs[REG.rdi * 2]!;
      const info = this.regs[REG.rsi * 2]!;
      const frame = this.regs[REG.rsp * 2]!;
      this.stack.push(this.returning(handler(new Guest(this), signo, info), frame));
      this.step = null;
      this.regs[REG.rip * 2] = AFTER_CALL;
    } else if (rip === AFTER_CALL - 2) {
      // The call is to be run again: `step` still holds it.
      this.regs[REG.rip * 2] = AFTER_CALL;
      this.step = this.again;
    } else if (this.step !== null && !("spin" in this.step)) {
      this.step = null;
      this.result = this.regs[REG.rax * 2]! | 0;
    }
  }
  private again: Step | null = null;
  private readonly suspendedSteps: (Step | null)[] = [];
  /** A handler's script, then rt_sigreturn with the stack pointer where `ret` leaves it. */
  private *returning(script: Generator<Step, void, number>, frame: number): Generator<Step, void, number> {
    this.suspendedSteps.push(this.again);
    yield* script;
    this.regs[REG.rsp * 2] = frame + 8;
    this.again = this.suspendedSteps.pop()!;
    this.stack.pop();
    yield { nr: SYSCALL_NUMBERS.rt_sigreturn, args: [] };
  }
  override interrupt(): void {
    this.interruptAsked = true;
  }
  override destroy(): void {
    if (this.running && this.addressSpace.executor !== null) throw new Error("destroyed a context that runs");
    this.kill();
  }
  kill(): void {
    this.dead = true;
    this.running = false;
  }

  /** Runs the script to its next stop; false: it has none now. */
  advance(): boolean {
    if (!this.running || this.dead) return false;
    if (this.interruptAsked) {
      this.interruptAsked = false;
      return this.stopAs(STOP_INTERRUPT);
    }
    if (this.step !== null && "spin" in this.step) {
      if (!this.step.spin()) return false;
      this.step = null;
      this.result = 0;
    }
    if (this.step === null) {
      const next = this.stack.at(-1)!.next(this.result);
      this.step = next.done ? { nr: SYSCALL_NUMBERS.exit_group, args: [0] } : next.value;
    }
    const { step } = this;
    if ("spin" in step) return this.advance();
    if (step.nr !== SYSCALL_NUMBERS.rt_sigreturn) this.again = step;
    const registers = [REG.rdi, REG.rsi, REG.rdx, REG.r10, REG.r8, REG.r9];
    registers.forEach((reg, i) => {
      const value = step.args[i] ?? 0;
      this.regs[reg * 2] = value >>> 0;
      this.regs[reg * 2 + 1] = Math.floor(value / 4294967296) >>> 0;
    });
    this.regs[REG.origRax * 2] = step.nr;
    this.childScript = step.child ?? null;
    return this.stopAs(STOP_SYSCALL);
  }
  private stopAs(stop: number): boolean {
    this.stop = stop;
    this.running = false;
    return true;
  }
}

class ScriptedSpace extends FakeSpace {
  constructor(readonly platform: ScriptedPlatform) {
    super();
  }
  private start(space: ScriptedSpace): ScriptedContext {
    const parent = this.executor as ScriptedContext;
    const child = new ScriptedContext(this.platform, space);
    child.regs.set(parent.regs);
    const script = parent.childScript;
    if (script === null) throw new Error("a clone without a script for the child");
    child.stack.push(script(new Guest(child)));
    this.executor = parent;
    this.platform.starting.push(child);
    return child;
  }
  override fork(): Context {
    const space = new ScriptedSpace(this.platform);
    this.copyTo(space);
    return this.start(space);
  }
  override createContext(): Context {
    return this.start(this);
  }
  override destroy(): void {
    for (const ctx of this.platform.contexts) if (ctx.addressSpace === this) ctx.kill();
    super.destroy();
  }
}

class ScriptedPlatform extends FakePlatform {
  readonly contexts: ScriptedContext[] = [];
  readonly starting: ScriptedContext[] = [];
  readonly handlers = new Map<number, Handler>();
  private turn = 0;
  override createAddressSpace(): ScriptedContext {
    return new ScriptedContext(this, new ScriptedSpace(this));
  }
  override wait(timeoutNs: number): Context | null {
    const started = this.starting.shift();
    if (started !== undefined && !started.dead) {
      started.stop = STOP_STARTED;
      return started;
    }
    for (let i = 0; i < this.contexts.length; i++) {
      const ctx = this.contexts[this.turn++ % this.contexts.length]!;
      if (ctx.advance()) return ctx;
    }
    if (timeoutNs < 0 && !this.contexts.some((ctx) => ctx.running))
      throw new Error("every guest thread sleeps for ever");
    if (timeoutNs > 0) Bun.sleepSync(Math.min(timeoutNs / 1e6, 5));
    return null;
  }
}

export type Handler = (g: Guest, signo: number, info: number) => Generator<Step, void, number>;

/** What a script has in hand. */
export class Guest {
  constructor(readonly ctx: ScriptedContext) {}

  get task(): Task {
    return this.ctx.owner as Task;
  }

  *sys(name: SyscallName, ...args: number[]): Part<number> {
    return yield { nr: SYSCALL_NUMBERS[name], args };
  }
  /** Runs guest code until `done`, without a system call. */
  *spin(done: () => boolean): Part<void> {
    yield { spin: done };
  }
  *fork(child: Script, flags = 17): Part<number> {
    return yield { nr: SYSCALL_NUMBERS.clone, args: [flags, 0, 0, 0, 0], child };
  }
  *vfork(child: Script): Part<number> {
    return yield { nr: SYSCALL_NUMBERS.vfork, args: [], child };
  }
  *clone(child: Script, ...args: number[]): Part<number> {
    return yield { nr: SYSCALL_NUMBERS.clone, args, child };
  }
  /** A thread as pthread_create makes it; its tid word is at `clearTid`. */
  *thread(child: Script, clearTid: number): Part<number> {
    const stack = STACK + STACK_SIZE / 2 - 0x4000 * (this.ctx.platform.contexts.length % 16);
    return yield { nr: SYSCALL_NUMBERS.clone, args: [0x3d0f00, stack, clearTid, clearTid, 0], child };
  }
  *exit(status: number): Part<void> {
    yield { nr: SYSCALL_NUMBERS.exit, args: [status] };
  }
  /** wait4 into MEM.status: [pid or -errno, status]. */
  *wait(pid = -1, options = 0): Part<[number, number]> {
    const result = yield* this.sys("wait4", pid, MEM.status, options, 0);
    return [result, this.u32(MEM.status)];
  }
  /** Installs a handler written as a script. */
  *handle(signo: number, handler: Handler, flags = 0, mask = 0): Part<number> {
    const at = HANDLERS + 16 * this.ctx.platform.handlers.size;
    this.ctx.platform.handlers.set(at, handler);
    this.put64(MEM.scratch, at, 0x4000000 + flags, HANDLERS - 16, mask);
    return yield* this.sys("rt_sigaction", signo, MEM.scratch, 0, 8);
  }
  *ignore(signo: number, how = 1, flags = 0): Part<number> {
    this.put64(MEM.scratch, how, 0x4000000 + flags, HANDLERS - 16, 0);
    return yield* this.sys("rt_sigaction", signo, MEM.scratch, 0, 8);
  }
  /** sigprocmask; the mask has bit n-1 for signal n (1..53). */
  *mask(how: number, mask: number): Part<number> {
    this.put64(MEM.scratch, mask);
    return yield* this.sys("rt_sigprocmask", how, MEM.scratch, 0, 8);
  }

  u32(at: number): number {
    const bytes = new Uint8Array(4);
    this.ctx.addressSpace.read(at, bytes, 0, 4);
    return new DataView(bytes.buffer).getUint32(0, true);
  }
  put32(at: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.ctx.addressSpace.write(at, bytes, 0, 4);
  }
  put64(at: number, ...values: number[]): void {
    values.forEach((value, i) => {
      this.put32(at + 8 * i, value >>> 0);
      this.put32(at + 8 * i + 4, Math.floor(value / 4294967296) >>> 0);
    });
  }
}

/** Places in guest memory. */
export const MEM = { scratch: MEMORY, status: MEMORY + 0x1000, free: MEMORY + 0x2000 } as const;

/** With more threads than this a kernel is not moved: that would take too long, turn after turn. */
const MOVED_TASKS_MAX = 64;

export class GuestWorld {
  /**
   * After so many turns the kernel is saved, and the guests go on under one that is restored, again and again; 0: never.
   * `kernel` and `container` are those of the last one.
   */
  static moveEvery = 0;
  /** How often that was. */
  static moves = 0;
  readonly platform = new ScriptedPlatform();
  readonly log: string[] = [];
  kernel: Kernel;
  container: Container;
  constructor() {
    const log = new KernelLog((line) => this.log.push(line), true);
    this.kernel = new Kernel(this.platform, new HostPoller(), log, syscallDeclarations);
    this.container = this.kernel.addContainer("world");
  }

  /** The next time that this guest thread stops, it is for another reason. */
  stopAs(ctx: ScriptedContext, stop: number): void {
    const wait = this.platform.wait.bind(this.platform);
    this.platform.wait = (timeoutNs) => {
      const found = wait(timeoutNs);
      if (found === ctx) {
        this.platform.wait = wait;
        found.stop = stop;
      }
      return found;
    };
  }

  /** A process that nobody forked, of the world's container or of another one. */
  start(main: Script, options: Partial<FirstTask> = {}, container = this.container): Task {
    const ctx = this.platform.createAddressSpace();
    const task = createFirstTask(container, ctx, {
      files: new FdTable(),
      fs: new FsContext(NOWHERE, NOWHERE, 0o022),
      cred: makeCredentials(0, 0, [], ALL_CAPS),
      comm: "init",
      ...options,
    });
    if (task === null) throw new Error("no room for init");
    ctx.addressSpace.executor = ctx;
    task.mm.mapFixed(MEMORY, MEMORY_SIZE, PROT_READ | PROT_WRITE, false, null, null, 0);
    task.mm.mapFixed(STACK, STACK_SIZE, PROT_READ | PROT_WRITE, false, null, null, 0);
    ctx.stack.push(main(new Guest(ctx)));
    this.platform.starting.push(ctx);
    return task;
  }

  /** Runs `main` as init, with all that it starts; init's wait status. */
  run(main: Script, options: Partial<FirstTask> = {}): number {
    this.start(main, options);
    return this.runAll();
  }

  /** Runs what has been started, up to the end of the world's container; its status. */
  runAll(): number {
    let result = -1;
    this.container.onEnd = (status: number) => {
      result = status;
      this.kernel.stop();
    };
    const deadline = performance.now() + (GuestWorld.moveEvery > 0 ? 60_000 : 10_000);
    const expire = this.platform.wait.bind(this.platform);
    let turns = 0;
    let moving = false;
    // The kernel survives a platform that throws; a test whose script throws must not.
    let failure: { error: unknown } | null = null;
    this.platform.wait = (timeoutNs) => {
      moving =
        GuestWorld.moveEvery > 0 &&
        this.kernel.tasks.size <= MOVED_TASKS_MAX &&
        ++turns % (GuestWorld.moveEvery + 1) === 0;
      if (moving) {
        this.kernel.stop();
        return null;
      }
      try {
        if (performance.now() > deadline) throw new Error("the guests did not end in time");
        return expire(timeoutNs);
      } catch (error) {
        failure ??= { error };
        this.kernel.stop();
        return null;
      }
    };
    this.kernel.run();
    // Not when the last container has ended in that turn.
    while (moving && result === -1) {
      this.move();
      moving = false;
      this.kernel.run();
    }
    this.kernel.poller.close();
    if (failure !== null) throw (failure as { error: unknown }).error;
    return result;
  }

  /** Does something to the kernel, and to each that takes its place. */
  prepare(how: (kernel: Kernel) => void): void {
    how(this.kernel);
    this.preparations.push(how);
  }
  private readonly preparations: ((kernel: Kernel) => void)[] = [];

  /** The guests go on under a kernel that has been restored from this one. */
  private move(): void {
    const before = this.kernel;
    before.poller.close();
    const host = new MemoryHost();
    this.kernel = resaved(before, this.platform, host, syscallDeclarations);
    host.close();
    this.container = this.kernel.containers.get(this.container.id)!;
    // What the test itself has put there.
    for (const [id, { onEnd, onExit }] of before.containers) {
      const container = this.kernel.containers.get(id)!;
      container.onEnd = onEnd;
      container.onExit = onExit;
    }
    for (const how of this.preparations) how(this.kernel);
    GuestWorld.moves++;
  }
}
