/** A guest thread on ptrace: what it stopped with, and how it runs on. */
import { EINVAL, EPERM, ESRCH } from "../../kernel/abi/errno.ts";
import { SYSCALL_NUMBERS } from "../../kernel/abi/syscall-numbers.ts";
import { clockMonotonicNs, schedSetaffinity } from "../../native/host.ts";
import * as P from "../../native/ptrace.ts";
import { cpuFeatures } from "../cpu-features.ts";
import { fits } from "../fp-image.ts";
import {
  type Context,
  type Fault,
  REG,
  REG_COUNT,
  STOP_FAULT,
  STOP_INTERRUPT,
  STOP_STARTED,
  STOP_SYSCALL,
} from "../platform.ts";
import { adoptable } from "../saved-registers.ts";
import { MAX_HOST_ADDRESS, SCRATCH_ALTSTACK } from "./layout.ts";
import type { PtraceSpace } from "./space.ts";

const SIGTRAP = 5;
const SIGBUS = 7;
const SIGSEGV = 11;
const USER_CS = 0x33;
/** Of the flags: stops after each instruction. */
const TRAP_FLAG = 0x100;

/**
 * A round trip costs 8 µs when guest and kernel are on one CPU and 50 µs when one must wake the other's (measured on a
 * virtual machine). So a thread that calls often is kept on the CPU that the kernel runs on, and one that computes is
 * let go, to run beside others.
 */
const SHORT_RUN_NS = 200_000;
export const LONG_RUN_NS = 1e6;
/** Short runs in a row that make a thread one that calls often. */
const HOT = 3;

/** x86 exception vectors of signals that have but one, mostly: #UD, #BP, #DE. */
const TRAPS: Record<number, number> = { 4: 6, 5: 3, 8: 0 };

export class PtraceContext implements Context {
  stop = STOP_STARTED;
  readonly fault: Fault = { signo: 0, code: 0, addr: 0, trapno: 0, errorCode: 0 };
  owner: unknown = null;
  readonly regs = new Uint32Array(REG_COUNT * 2);
  /** Segment bases and selectors, which programs own and the kernel leaves alone. */
  private readonly segments = new Uint32Array((REG_COUNT - REG.fsBase) * 2);
  running = false;
  /** The list that it waits in, to be reported or resumed. */
  listed: PtraceContext[] | null = null;
  /** It was told to end. */
  leaving = false;
  /** Its host registers are not those of the stop: it was sent through the stub, or has not run yet. */
  displaced = true;
  hasSignalStack = false;
  /** The CPU that it is kept on, or -1; its latest short runs; when it was last let run. */
  private cpu = -1;
  private heat = 1;
  /** The guest has chosen CPUs itself. */
  private bound = false;
  resumedAt = 0;

  constructor(
    readonly addressSpace: PtraceSpace,
    readonly tid: number,
  ) {}

  get hostTid(): number {
    return this.tid;
  }
  get fpStateSize(): number {
    return this.addressSpace.platform.fpStateSize;
  }

  /** A system call made by this thread. A thread that is gone gives -ESRCH. */
  call(name: keyof typeof SYSCALL_NUMBERS, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    const { args } = this.addressSpace.platform;
    args[0] = SYSCALL_NUMBERS[name];
    args[1] = a0;
    args[2] = a1;
    args[3] = a2;
    args[4] = a3;
    args[5] = a4;
    args[6] = a5;
    this.displaced = true;
    const result = P.callIn(this.tid, args);
    return result === P.LOST ? -ESRCH : result;
  }

  /** Puts it at the end of one list, and of no other. */
  list(where: PtraceContext[]): void {
    this.unlist();
    this.listed = where;
    where.push(this);
  }
  unlist(): void {
    const at = this.listed?.indexOf(this) ?? -1;
    if (at >= 0) this.listed!.splice(at, 1);
    this.listed = null;
  }

  /** As a new thread has it of its maker. */
  inherit(from: PtraceContext): void {
    this.regs.set(from.regs);
    this.segments.set(from.segments);
    this.cpu = from.cpu;
    this.bound = from.bound;
    if (this.cpu >= 0) this.addressSpace.platform.pinned.add(this);
  }
  forgetSegments(): void {
    this.segments.fill(0);
  }

  /** It has stopped: takes its registers. False: it has been killed meanwhile, and its end will be reported. */
  take(stop: number): boolean {
    const { regs } = this;
    if (P.getRegs(this.tid, regs) < 0) return false;
    this.stop = stop;
    this.displaced = false;
    for (let i = 0; i < this.segments.length; i++) this.segments[i] = regs[REG.fsBase * 2 + i]!;
    return true;
  }

  onSyscall(): boolean {
    if (!this.take(STOP_SYSCALL)) return false;
    const { regs } = this;
    // The `syscall` instruction leaves its return address in rcx. Without it this was int 0x80 or the like, whose
    // numbers mean other calls.
    if (
      regs[REG.rcx * 2] !== regs[REG.rip * 2] ||
      regs[REG.rcx * 2 + 1] !== regs[REG.rip * 2 + 1] ||
      regs[REG.cs * 2] !== USER_CS
    ) {
      regs[REG.origRax * 2] = 0xffffffff;
      regs[REG.origRax * 2 + 1] = 0xffffffff;
    }
    return true;
  }

  /** A signal of the processor's; the platform has its siginfo. False: nobody need hear of it. */
  onFault(signo: number): boolean {
    const { platform } = this.addressSpace;
    const { fault } = this;
    fault.signo = signo;
    fault.code = platform.info[1]!;
    fault.addr = platform.info[2]!;
    if (!this.take(STOP_FAULT)) return false;
    if (signo !== SIGSEGV && signo !== SIGBUS) {
      fault.trapno = TRAPS[signo]!;
      if (signo === SIGTRAP && (fault.code === 2 || fault.code === 4)) fault.trapno = 1;
      if (signo === 8 && fault.code !== 1) fault.trapno = this.simdFault() ? 19 : 16;
      fault.errorCode = 0;
      return true;
    }
    if (!this.hasSignalStack) {
      // Given its signal stack it runs into the same fault again, which can then be told whole.
      this.hasSignalStack = true;
      this.call("sigaltstack", platform.scratch + SCRATCH_ALTSTACK, 0);
      this.resumeWithRegisters();
      return false;
    }
    this.displaced = true;
    const told = P.trapInfo(this.tid, signo, platform.info);
    if (told === P.LOST) return false;
    fault.trapno = told === 0 ? platform.info[0]! : 14;
    fault.errorCode = told === 0 ? platform.info[1]! : 4;
    return true;
  }
  /** Is an SSE instruction at rip, rather than one of x87? */
  private simdFault(): boolean {
    const { regs } = this;
    const code = new Uint8Array(1);
    const at = regs[REG.rip * 2]! + regs[REG.rip * 2 + 1]! * 4294967296;
    return this.addressSpace.read(at, code, 0, 1) === 1 && (code[0]! & 0xf8) !== 0xd8 && code[0] !== 0x9b;
  }

  /** Many things are to be done in it: it is kept on our CPU, until it runs guest code for longer. */
  comeNear(): void {
    const { platform } = this.addressSpace;
    if (platform.cpus < 2 || this.bound) return;
    const cpu = P.currentCpu();
    if (cpu === this.cpu) return;
    this.cpu = cpu;
    P.pinThread(this.tid, cpu);
    platform.pinned.add(this);
  }

  /** It is about to run guest code. */
  leave(): void {
    const { platform } = this.addressSpace;
    if (this.addressSpace.executor === this) this.addressSpace.executor = null;
    this.unlist();
    this.running = true;
    if (platform.cpus < 2) return;
    if (this.heat >= HOT && !this.bound) {
      const cpu = P.currentCpu();
      if (cpu !== this.cpu) {
        this.cpu = cpu;
        P.pinThread(this.tid, cpu);
        platform.pinned.add(this);
      }
    }
    if (this.cpu >= 0) platform.pinnedRunning++;
    this.resumedAt = clockMonotonicNs();
  }
  /** It has stopped running guest code. */
  halted(): void {
    if (!this.running) return;
    this.running = false;
    const { platform } = this.addressSpace;
    if (platform.cpus < 2) return;
    if (this.cpu >= 0) platform.pinnedRunning--;
    const ran = clockMonotonicNs() - this.resumedAt;
    if (ran < SHORT_RUN_NS) {
      if (this.heat < HOT) this.heat++;
    } else this.heat = ran < LONG_RUN_NS ? this.heat >> 1 : 0;
  }
  setAffinity(mask: Uint8Array): void {
    if (this.cpu >= 0) this.unpin();
    let count = 0;
    for (const byte of mask) for (let bits = byte; bits !== 0; bits &= bits - 1) count++;
    this.bound = schedSetaffinity(this.tid, mask, mask.length) === 0 && count < this.addressSpace.platform.cpus;
  }
  /** It computes: it may run anywhere. */
  unpin(): void {
    const { platform } = this.addressSpace;
    platform.pinned.delete(this);
    if (this.running) platform.pinnedRunning--;
    this.cpu = -1;
    this.heat = 0;
    P.pinThread(this.tid, -1);
  }
  resumeWithResult(result: number): void {
    if (this.displaced || this.addressSpace.held) {
      this.regs[REG.rax * 2] = result >>> 0;
      this.regs[REG.rax * 2 + 1] = Math.floor(result / 4294967296) >>> 0;
      this.resumeWithRegisters();
      return;
    }
    this.leave();
    P.resumeResult(this.tid, result);
  }
  resumeWithRegisters(): void {
    const { home, held } = this.addressSpace;
    if (held) {
      this.parked();
      if (this.addressSpace.platform.quiet) {
        this.stop = STOP_INTERRUPT;
        this.list(home.stopped);
      } else this.list(home.resumed);
      return;
    }
    this.leave();
    P.resumeWith(this.tid, this.whole());
  }
  /** All registers as the guest is to have them. */
  private whole(): Uint32Array {
    const { regs, segments } = this;
    for (let i = 0; i < segments.length; i++) regs[REG.fsBase * 2 + i] = segments[i]!;
    return regs;
  }
  singleStep(): boolean {
    const { regs } = this;
    // Who has the trap flag set does so by itself.
    if (this.running || (regs[REG.eflags * 2]! & TRAP_FLAG) !== 0) return false;
    this.displaced = true;
    return P.stepThread(this.tid, this.whole()) === 1 && P.getRegs(this.tid, regs) >= 0;
  }
  interrupt(): void {
    const { home } = this.addressSpace;
    if (this.running) P.interruptThread(this.tid);
    else if (this.listed === home.resumed) {
      this.stop = STOP_INTERRUPT;
      this.list(home.stopped);
    }
  }
  parked(): void {
    if (this.addressSpace.executor === this) this.addressSpace.executor = null;
  }

  saveFpState(addr: number): number {
    return P.fpSave(this.tid, addr);
  }
  restoreFpState(addr: number): number {
    return P.fpLoad(this.tid, addr);
  }
  resetFpState(): void {
    P.fpReset(this.tid);
  }

  fp(): Uint8Array | number {
    const image = new Uint8Array(this.addressSpace.platform.fpImageSize);
    const got = P.fpGet(this.tid, image, image.length);
    return got < 0 ? got : image;
  }
  setFp(image: Uint8Array): number {
    if (!fits(image, this.addressSpace.platform.fpImageSize, cpuFeatures())) return -EINVAL;
    return P.fpPut(this.tid, image, image.length);
  }
  adopt(saved: Uint32Array, fp: Uint8Array): number {
    const regs = adoptable(saved);
    if (typeof regs === "number") return regs;
    const loaded = this.setFp(fp);
    if (loaded < 0) return loaded;
    this.regs.set(regs);
    for (let i = 0; i < this.segments.length; i++) this.segments[i] = regs[REG.fsBase * 2 + i]!;
    this.displaced = true;
    this.stop = STOP_STARTED;
    this.unlist();
    return 0;
  }

  private setBase(at: number, value: number): number {
    if (value >= MAX_HOST_ADDRESS) return -EPERM;
    this.segments[at] = value >>> 0;
    this.segments[at + 1] = Math.floor(value / 4294967296);
    this.displaced = true;
    return 0;
  }
  setFsBase(value: number): number {
    return this.setBase(0, value);
  }
  setGsBase(value: number): number {
    return this.setBase(2, value);
  }
  getFsBase(): number {
    return this.segments[0]! + this.segments[1]! * 4294967296;
  }
  getGsBase(): number {
    return this.segments[2]! + this.segments[3]! * 4294967296;
  }

  destroy(): void {
    const space = this.addressSpace;
    if (!space.contexts.has(this)) return;
    space.platform.forget(this);
    this.leaving = true;
    this.owner = null;
    if (this.tid === space.hostPid) space.leaderLeft = true;
    P.exitThread(this.tid);
  }
}
