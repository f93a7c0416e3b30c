/**
 * A guest thread on systrap: what it stopped with, the answer that lets it run on, and the commands that it carries out for
 * the kernel meanwhile. See systrap.ts for who may be trusted with what.
 */
import { EINVAL, ESRCH, ETIMEDOUT } from "../../kernel/abi/errno.ts";
import { schedSetaffinity, vmWrite } from "../../native/host.ts";
import { signalThread, waitForCommands, wakeStub } from "../../native/systrap.ts";
import { cpuFeatures } from "../cpu-features.ts";
import { fits } from "../fp-image.ts";
import {
  type Context,
  type ContextState,
  type Fault,
  REG,
  REG_COUNT,
  STOP_FAULT,
  STOP_INTERRUPT,
  STOP_STARTED,
  STOP_SYSCALL,
} from "../platform.ts";
import { adoptable } from "../saved-registers.ts";
import { asAddress, asCount, asStatus, type Decode } from "./answers.ts";
import * as M from "./mailbox.ts";
import type { SystrapSpace } from "./space.ts";
import { put, type Window } from "./window.ts";

/** The host signal that interrupts guest code, see the stub. */
const SIGUSR1 = 10;
const FAULT_SIGNALS = new Set([4, 5, 7, 8, 11]);
const SIGTRAP = 5;
/** si_code of SIGTRAP after one instruction. */
const TRAP_TRACE = 2;
/** Of the flags: stops after each instruction. */
const TRAP_FLAG = 0x100;
const EVENT_FAULT = 2;
const EVENT_INTERRUPT = 3;
/** One instruction takes no time, on a machine that is not busy. */
const STEP_MAX_NS = 5e9;

/** Where strings that were brought along are copied to: as long as the longest path. */
const TEXT = new Uint8Array(4096);

export class SystrapContext implements Context {
  stop = STOP_STARTED;
  readonly fault: Fault = { signo: 0, code: 0, addr: 0, trapno: 0, errorCode: 0 };
  owner: unknown = null;
  /** Place in the platform's list of running threads, or -1. */
  activeAt = -1;
  /** Host thread id, for tgkill: harmless when wrong, since the process is named too. */
  tid = 0;
  /** Output queued for the stub to copy. */
  outs = 0;
  outUsed = 0;

  constructor(
    readonly addressSpace: SystrapSpace,
    readonly window: Window,
    readonly slot: number,
  ) {}

  /** Registers of the stop: the kernel's own copy, taken once. */
  readonly regs = new Uint32Array(REG_COUNT * 2);
  /**
   * Made, but not yet seen at its mailbox: `regs` are what its maker staged. Waiting for it would cost a wake-up on
   * another CPU; its maker goes on meanwhile.
   */
  private unseen = false;
  private stagedFsBase = -1;
  /** A command that it did not carry out in time and that nobody waits for: not to be disturbed before it is done. */
  late = false;
  /** A call waits for its answer, see SystrapPlatform.outlast. */
  owes = false;
  /** It runs guest code, but is not looked at: a call of another thread of its process waits for an answer. */
  held = false;
  /** To be told to end as soon as it comes to its mailbox. */
  dismissed = false;
  /** What it stopped with has been taken, and has not been reported: see Platform.quiesce. */
  kept = false;

  /** `regs` are what its maker gave it, and count until it runs. */
  private staged = false;

  stage(regs: Uint32Array): void {
    this.regs.set(regs);
    this.staged = true;
    this.unseen = true;
  }

  /** The thread has stopped, and is at its mailbox. */
  stopped(): void {
    this.late = false;
    if (!this.staged) {
      // As far as the stub fills them in. A loop is quicker than `set` for so few.
      const { regs } = this;
      const theirs = this.window.regs;
      for (let i = 0; i < M.REGS_USED; i++) regs[i] = theirs[i]!;
    } else this.arrived();
  }
  /** Takes what it has stopped with out of its mailbox. */
  takeStop(): void {
    const { u32, i32 } = this.window;
    this.outs = 0;
    this.outUsed = 0;
    this.brought = 0;
    this.stopped();
    switch (u32[M.W_EVENT]) {
      case 1:
        this.stop = STOP_SYSCALL;
        this.takeBrought();
        break;
      case 2:
        this.stop = STOP_FAULT;
        this.fault.signo = u32[M.W_FAULT_SIGNO]! & 63;
        this.fault.code = i32[M.W_FAULT_CODE]!;
        this.fault.addr = u32[M.W_FAULT_ADDR]! + u32[M.W_FAULT_ADDR + 1]! * 4294967296;
        this.fault.trapno = u32[M.W_FAULT_TRAPNO]!;
        this.fault.errorCode = u32[M.W_FAULT_ERROR]!;
        if (!FAULT_SIGNALS.has(this.fault.signo)) this.fault.signo = 11;
        break;
      case 4:
        this.stop = STOP_STARTED;
        break;
      default:
        this.stop = STOP_INTERRUPT;
    }
  }
  /** It is at its mailbox, and the platform is to stand still: what it stopped with is kept, to be reported later. */
  keep(): void {
    if (this.deferred !== 0) this.takeBack(this.deferred, this.deferredResult);
    else if (!this.kept) this.takeStop();
    this.kept = true;
    // It stays there for longer than is worth looking.
    this.window.u32[M.W_PARK] = 1;
  }
  /** It was let run, and has not: it looks as if it had been interrupted before its next instruction. */
  private takeBack(kind: number, result: number): void {
    this.deferred = 0;
    if (kind === M.REPLY_RESULT) this.setResult(result);
    this.staged = true;
    this.stop = STOP_INTERRUPT;
    this.kept = true;
    this.flushOuts();
  }
  private setResult(result: number): void {
    this.regs[REG.rax * 2] = result >>> 0;
    this.regs[REG.rax * 2 + 1] = Math.floor(result / 4294967296) >>> 0;
  }
  /** A kept stop is reported. */
  report(): void {
    this.kept = false;
    this.late = false;
    this.arrived();
  }

  /** A new thread has come to its mailbox. */
  arrived(): void {
    if (!this.unseen) return;
    this.unseen = false;
    const fsBase = this.stagedFsBase;
    this.stagedFsBase = -1;
    if (fsBase >= 0) this.setFsBase(fsBase);
  }

  // What was brought along with a call: where it lies, checked once; the bytes are read once each.

  brought = 0;
  /** Address, offset in the slot, length of each. */
  private readonly broughtAt = new Float64Array(3 * M.PREFETCH_MAX);

  takeBrought(): void {
    const { u32 } = this.window;
    const count = Math.min(u32[M.W_NPREFETCH]!, M.PREFETCH_MAX);
    for (let i = 0; i < count; i++) {
      const at = M.W_PREFETCH + i * M.SEGMENT_WORDS;
      const from = u32[at + 2]!;
      const size = u32[at + 3]!;
      if (from < M.IN_OFFSET || size === 0 || from + size > M.OUT_OFFSET) continue;
      const to = 3 * this.brought++;
      this.broughtAt[to] = u32[at]! + u32[at + 1]! * 4294967296;
      this.broughtAt[to + 1] = from;
      this.broughtAt[to + 2] = size;
    }
  }
  /** `length` if all of it was brought along, else 0. */
  readBrought(addr: number, dst: Uint8Array, offset: number, length: number): number {
    for (let i = 0; i < this.brought; i++) {
      const skip = addr - this.broughtAt[3 * i]!;
      if (skip < 0 || skip + length > this.broughtAt[3 * i + 2]!) continue;
      const from = this.broughtAt[3 * i + 1]! + skip;
      this.take(from, dst, offset, length);
      return length;
    }
    return 0;
  }
  /** A buffer that begins with a copy of the string at addr and its NUL, valid until the next call. */
  broughtString(addr: number): Uint8Array | null {
    for (let i = 0; i < this.brought; i++) {
      if (this.broughtAt[3 * i] !== addr) continue;
      const size = this.broughtAt[3 * i + 2]!;
      if (size > TEXT.length) return null;
      const from = this.broughtAt[3 * i + 1]!;
      const { u8 } = this.window;
      // Paths are short: a loop costs less than views of them.
      if (size <= 64) for (let at = 0; at < size; at++) TEXT[at] = u8[from + at]!;
      else TEXT.set(u8.subarray(from, from + size));
      return TEXT[size - 1] === 0 ? TEXT : null;
    }
    return null;
  }

  setAffinity(mask: Uint8Array): void {
    schedSetaffinity(this.tid, mask, mask.length);
  }
  get hostTid(): number {
    return this.tid;
  }
  get fpStateSize(): number {
    return this.addressSpace.platform.fpStateSize;
  }

  private reply(kind: number, result: number): void {
    this.staged = false;
    this.adopted = false;
    const { u32, i32 } = this.window;
    if (kind === M.REPLY_RESULT) put(u32, M.W_RESULT, result);
    else if (kind === M.REPLY_REGS) this.window.regs.set(this.regs);
    u32[M.W_REPLY] = kind;
    u32[M.W_NOUTS] = this.outs;
    Atomics.store(i32, M.W_STATE, M.STATE_REPLY);
    if (Atomics.load(i32, M.W_STUB_SLEEPING) !== 0) wakeStub(this.window.address);
  }

  /** Reply that waits for the thread to come to its mailbox, 0 for none. */
  deferred = 0;
  private deferredResult = 0;

  /** It runs again: nothing more may be done on its hands. */
  private leave(kind: number, result: number): void {
    const space = this.addressSpace;
    if (space.executor === this) space.executor = null;
    // Destroyed under the hands of a call that waited: its window may be another's.
    if (space.contexts[this.slot] !== this) return;
    if (space.platform.quiet) {
      this.takeBack(kind, result);
      return;
    }
    if (space.home.paused) space.freeze();
    if (this.unseen || this.late) {
      this.deferred = kind;
      this.deferredResult = result;
    } else this.reply(kind, result);
    space.platform.activate(this);
  }
  resumeDeferred(): void {
    const kind = this.deferred;
    this.deferred = 0;
    this.late = false;
    this.arrived();
    this.reply(kind, this.deferredResult);
    this.addressSpace.platform.activate(this);
  }

  atMailbox(): boolean {
    return Atomics.load(this.window.i32, M.W_STATE) === M.STATE_EVENT;
  }

  /** Waits until the thread is at its mailbox. False: it does not come, and has been killed. */
  private arrive(): boolean {
    const space = this.addressSpace;
    if (space.condemned) return false;
    const waited = waitForCommands(this.window.address, space.hostPid, space.platform.patience);
    if (waited === -ETIMEDOUT && !this.owes) {
      if (!space.platform.slow.outlast(this)) return false;
    } else if (waited < 0) {
      space.condemn("its process has ended");
      return false;
    }
    this.late = false;
    this.arrived();
    return true;
  }

  /** The thread's own registers are not those in `regs`, which it has not loaded yet. */
  private adopted = false;

  resumeWithResult(result: number): void {
    if (this.adopted) {
      this.setResult(result);
      this.leave(M.REPLY_REGS, 0);
    } else this.leave(M.REPLY_RESULT, result);
  }

  resumeWithRegisters(): void {
    this.leave(M.REPLY_REGS, 0);
  }

  interrupt(): void {
    if ((this.activeAt < 0 && !this.held) || this.owes) return;
    signalThread(this.addressSpace.hostPid, this.tid, SIGUSR1);
  }

  singleStep(): boolean {
    const space = this.addressSpace;
    const { regs, window } = this;
    const flags = REG.eflags * 2;
    if (space.condemned || space.frozen || this.owes || !this.ready()) return false;
    // It does so by itself.
    if ((regs[flags]! & TRAP_FLAG) !== 0) return false;
    for (let tries = 0; tries < 2; tries++) {
      regs[flags]! |= TRAP_FLAG;
      this.reply(M.REPLY_REGS, 0);
      regs[flags]! &= ~TRAP_FLAG;
      if (waitForCommands(window.address, space.hostPid, STEP_MAX_NS) < 0) {
        space.condemn("a thread of it does not stop");
        return false;
      }
      const { u32, i32 } = window;
      // An interrupt that had come before.
      if (u32[M.W_EVENT] === EVENT_INTERRUPT) continue;
      if (u32[M.W_EVENT] !== EVENT_FAULT || u32[M.W_FAULT_SIGNO] !== SIGTRAP || i32[M.W_FAULT_CODE] !== TRAP_TRACE)
        return false;
      this.stopped();
      regs[flags]! &= ~TRAP_FLAG;
      return true;
    }
    return false;
  }

  /** The same as a part of standing still: it will not be answered soon. */
  callIn(): void {
    this.window.u32[M.W_PARK] = 1;
    // Who is on its way to the mailbox comes without.
    if (this.deferred === 0 && !this.unseen) this.interrupt();
  }

  parked(): void {
    if (this.outs > 0) this.flushOuts();
    if (this.addressSpace.executor === this) this.addressSpace.executor = null;
    if (!this.addressSpace.condemned) this.window.u32[M.W_PARK] = 1;
  }

  /**
   * Runs one command on this stopped thread and waits for its result, as `decode` understands it. A stub that does not
   * answer, or answers what `decode` refuses, is killed: -ESRCH.
   */
  command(decode: Decode, limit: number, op: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    const space = this.addressSpace;
    if (space.condemned || this.owes || !this.ready()) return -ESRCH;
    this.order(op, a0, a1, a2, a3, a4, a5);
    return this.arrive() ? this.answer(decode, limit) : -ESRCH;
  }

  /** Waits until it is at its mailbox with nothing left to do: what lies in the slot is then ours. False: see arrive. */
  ready(): boolean {
    return (!this.unseen && !this.late) || this.arrive();
  }

  order(op: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): void {
    const { u32, i32 } = this.window;
    const at = M.W_COMMAND;
    u32[at] = op;
    put(u32, at + 2, a0);
    put(u32, at + 4, a1);
    put(u32, at + 6, a2);
    put(u32, at + 8, a3);
    put(u32, at + 10, a4);
    put(u32, at + 12, a5);
    u32[M.W_PARK] = 0;
    u32[M.W_REPLY] = M.REPLY_COMMAND;
    Atomics.store(i32, M.W_STATE, M.STATE_REPLY);
    if (Atomics.load(i32, M.W_STUB_SLEEPING) !== 0) wakeStub(this.window.address);
  }
  answer(decode: Decode, limit: number): number {
    const { u32 } = this.window;
    const at = M.W_COMMAND;
    const value = decode(u32[at + 14]!, u32[at + 15]!, limit);
    return value ?? this.addressSpace.condemn("its answer makes no sense");
  }

  /**
   * Has the thread copy guest memory to the mailbox: a count, or -errno. null when it takes too long: reading need not
   * wait for it, and so no call is left half done in the middle of a read.
   */
  copyIn(addr: number, dst: Uint8Array, offset: number, length: number): number | null {
    const space = this.addressSpace;
    if (space.condemned) return -ESRCH;
    if (this.unseen) return null;
    const from = M.OUT_OFFSET + this.outUsed;
    this.order(M.OP_COPY_IN, addr, length, from, 0, 0, 0);
    const waited = waitForCommands(this.window.address, space.hostPid, space.platform.patience);
    if (waited === -ETIMEDOUT) {
      this.late = true;
      return null;
    }
    if (waited < 0) return space.condemn("its process has ended");
    const n = this.answer(asCount, length);
    if (n > 0) this.take(from, dst, offset, n);
    return n;
  }
  /** Copies bytes out of the mailbox: few by a loop, which costs less than a view of them. */
  private take(from: number, dst: Uint8Array, offset: number, length: number): void {
    const { u8 } = this.window;
    if (length <= 32) for (let i = 0; i < length; i++) dst[offset + i] = u8[from + i]!;
    else dst.set(u8.subarray(from, from + length), offset);
  }

  /** Leaves output for the stub to copy with the reply; false when there is no room. */
  queueOut(addr: number, src: Uint8Array, offset: number, length: number): boolean {
    if (this.outs >= M.OUTS_MAX || this.outUsed + length > M.OUT_SIZE) return false;
    const from = M.OUT_OFFSET + this.outUsed;
    if (length <= 16) for (let i = 0; i < length; i++) this.window.u8[from + i] = src[offset + i]!;
    else this.window.u8.set(offset === 0 && src.length === length ? src : src.subarray(offset, offset + length), from);
    const at = M.W_OUTS + this.outs * M.SEGMENT_WORDS;
    const u32 = this.window.u32;
    put(u32, at, addr);
    u32[at + 2] = from;
    u32[at + 3] = length;
    this.outs++;
    this.outUsed = (this.outUsed + length + 7) & ~7;
    this.outRanges[2 * (this.outs - 1)] = addr;
    this.outRanges[2 * (this.outs - 1) + 1] = length;
    return true;
  }
  /** What is queued, in the kernel's own memory. */
  private readonly outRanges = new Float64Array(2 * M.OUTS_MAX);

  overlapsOuts(addr: number, length: number): boolean {
    for (let i = 0; i < this.outs; i++) {
      const start = this.outRanges[2 * i]!;
      if (addr < start + this.outRanges[2 * i + 1]! && start < addr + length) return true;
    }
    return false;
  }

  /** Writes queued output now. */
  flushOuts(): void {
    let used = 0;
    for (let i = 0; i < this.outs && !this.addressSpace.condemned; i++) {
      const length = this.outRanges[2 * i + 1]!;
      const from = M.OUT_OFFSET + used;
      vmWrite(this.addressSpace.hostPid, this.outRanges[2 * i]!, this.window.u8.subarray(from, from + length), length);
      used = (used + length + 7) & ~7;
    }
    this.outs = 0;
    this.outUsed = 0;
  }

  saveFpState(addr: number): number {
    this.flushOuts();
    return this.command(asStatus, 0, M.OP_SAVE_FP, addr);
  }
  restoreFpState(addr: number): number {
    this.flushOuts();
    return this.command(asStatus, 0, M.OP_LOAD_FP, addr);
  }
  resetFpState(): void {
    this.command(asStatus, 0, M.OP_RESET_FP);
  }
  /** Asks for its whole state; 0, and `takeState` waits for the answer. -ESRCH. */
  orderState(): number {
    const space = this.addressSpace;
    if (space.condemned || this.owes || !this.ready()) return -ESRCH;
    this.flushOuts();
    this.order(M.OP_STATE);
    return 0;
  }
  takeState(): ContextState | number {
    const size = this.arrive() ? this.answer(asCount, M.STATE_BASES) : -ESRCH;
    if (size < 0) return size;
    const { platform } = this.addressSpace;
    const { u8, u32 } = this.window;
    const fp = u8.slice(M.OUT_OFFSET, M.OUT_OFFSET + platform.fpImageSize);
    const regs = this.regs.slice();
    for (const [i, reg] of [REG.fsBase, REG.gsBase].entries()) {
      const at = (M.OUT_OFFSET + M.STATE_BASES) / 4 + i * 2;
      regs.set([u32[at]!, u32[at + 1]!], reg * 2);
    }
    // What no honest stub says would be refused when it is to be loaded, with all that was saved beside it.
    if (!fits(fp, platform.fpImageSize, cpuFeatures()) || adoptable(regs) === -EINVAL)
      return this.addressSpace.condemn("its state makes no sense");
    return { regs, fp };
  }
  fp(): Uint8Array | number {
    const ordered = this.orderState();
    if (ordered < 0) return ordered;
    const state = this.takeState();
    return typeof state === "number" ? state : state.fp;
  }
  /** Where the stub has this slot's out area, through which a state passes that is not to go through guest memory. */
  private get outArea(): number {
    return M.MAILBOX_BASE + this.slot * M.SLOT_SIZE + M.OUT_OFFSET;
  }
  setFp(image: Uint8Array): number {
    if (!fits(image, this.addressSpace.platform.fpImageSize, cpuFeatures())) return -EINVAL;
    if (!this.ready()) return -ESRCH;
    this.flushOuts();
    this.window.u8.set(image, M.OUT_OFFSET);
    return this.restoreFpState(this.outArea);
  }
  adopt(saved: Uint32Array, fp: Uint8Array): number {
    const regs = adoptable(saved);
    if (typeof regs === "number") return regs;
    const loaded = this.setFp(fp);
    if (loaded < 0) return loaded;
    const base = (reg: number): number => regs[reg * 2]! + regs[reg * 2 + 1]! * 4294967296;
    const based = this.setFsBase(base(REG.fsBase));
    const set = based < 0 ? based : this.setGsBase(base(REG.gsBase));
    if (set < 0) return set;
    this.regs.set(regs);
    this.staged = true;
    this.adopted = true;
    this.stop = STOP_STARTED;
    this.addressSpace.platform.deactivate(this);
    return 0;
  }
  setFsBase(value: number): number {
    if (this.unseen) {
      this.stagedFsBase = value;
      return 0;
    }
    return this.command(asStatus, 0, M.OP_SET_FS, value);
  }
  setGsBase(value: number): number {
    return this.command(asStatus, 0, M.OP_SET_GS, value);
  }
  getFsBase(): number {
    return this.command(asAddress, 0, M.OP_GET_FS);
  }
  getGsBase(): number {
    return this.command(asAddress, 0, M.OP_GET_GS);
  }

  destroy(): void {
    const space = this.addressSpace;
    if (space.contexts[this.slot] !== this) return;
    space.contexts[this.slot] = null;
    if (space.executor === this) space.executor = null;
    if (space.dead) {
      space.platform.closeContext(this);
      return;
    }
    this.flushOuts();
    // It must have come to its mailbox to be told anything there.
    if (this.unseen || this.late || this.owes) {
      this.dismissed = true;
      this.owes = false;
      space.dismissed.add(this);
      space.platform.activate(this);
      space.leave(this);
      return;
    }
    space.leave(this);
    this.sendOff();
  }

  /** Tells it to end. */
  sendOff(): void {
    this.addressSpace.platform.forget(this);
    this.addressSpace.dismissed.delete(this);
    // The first thread stays, asleep, until the process goes: without it the process id leads to no memory any more.
    if (this.tid === this.addressSpace.hostPid) this.window.u32[M.W_PARK] = 1;
    else this.reply(M.REPLY_EXIT, 0);
  }
}
