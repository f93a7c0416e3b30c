/**
 * The x86-64 signal frame: what a handler finds on its stack, and what rt_sigreturn reads back.
 *
 *   sp → pretcode | ucontext (304 bytes) | siginfo (128) | … | floating-point state, 64-byte aligned
 *
 * Source: sigaction(2), sigaltstack(2), the x86-64 psABI (red zone, stack alignment). Every byte read back is the
 * guest's to forge: segment selectors and flags are forced to what user mode may have.
 * Gap: fs/gs selectors are not restored (64-bit programs do not use them).
 */

import { REG } from "../../platform/platform.ts";
import { EFAULT } from "../abi/errno.ts";
import { getU64, setU64 } from "../mm/mm.ts";
import type { Task } from "../task/task.ts";
import type { SignalAction } from "./actions.ts";
import { setBlocked } from "./mask.ts";
import { SA_ONSTACK, SA_RESTORER, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK } from "./numbers.ts";
import { encodeSigInfo, SIGINFO_SIZE } from "./siginfo.ts";
import { type SigInfo, SigSet } from "./task-signals.ts";

const RED_ZONE = 128;
const UC = 8;
const UC_STACK = UC + 16;
const UC_MCONTEXT = UC + 40;
const UC_SIGMASK = UC + 296;
const INFO = UC + 304;
const FRAME_SIZE = INFO + SIGINFO_SIZE;

/** Offsets in sigcontext. */
const SC_CS = 144;
const SC_SS = 150;
const SC_ERR = 152;
const SC_TRAPNO = 160;
const SC_OLDMASK = 168;
const SC_CR2 = 176;
const SC_FPSTATE = 184;

const UC_FP_XSTATE = 1;
const UC_SIGCONTEXT_SS = 2;
const UC_STRICT_RESTORE_SS = 4;

const USER_CS = 0x33;
const USER_SS = 0x2b;
/** General protection fault. */
const TRAP_GP = 13;
const EFLAGS_TF = 0x100;
const EFLAGS_DF = 0x400;
const EFLAGS_RF = 0x10000;
/** The flags that a program may set through its frame: AC OF DF TF SF ZF AF PF CF RF. */
const EFLAGS_USER = 0x40000 | 0x800 | EFLAGS_DF | EFLAGS_TF | 0x80 | 0x40 | 0x10 | 4 | 1 | EFLAGS_RF;

/** sigcontext's order of general registers. */
const SC_REGS = [
  REG.r8,
  REG.r9,
  REG.r10,
  REG.r11,
  REG.r12,
  REG.r13,
  REG.r14,
  REG.r15,
  REG.rdi,
  REG.rsi,
  REG.rbp,
  REG.rbx,
  REG.rdx,
  REG.rax,
  REG.rcx,
  REG.rsp,
  REG.rip,
  REG.eflags,
];

const frame = new Uint8Array(FRAME_SIZE);
const view = new DataView(frame.buffer);

/** Register as an unsigned number (exact below 2^53). */
export function getReg(regs: Uint32Array, reg: number): number {
  return regs[reg * 2]! + regs[reg * 2 + 1]! * 4294967296;
}
export function setReg(regs: Uint32Array, reg: number, value: number): void {
  regs[reg * 2] = value >>> 0;
  regs[reg * 2 + 1] = Math.floor(value / 4294967296) >>> 0;
}

/** Is sp on the alternate stack? */
export function onAltStack(task: Task, sp: number): boolean {
  const alt = task.signals.altStack;
  if ((alt.flags & SS_AUTODISARM) !== 0) return false;
  return alt.size > 0 && sp > alt.sp && sp - alt.sp <= alt.size;
}
/** SS_* state of the alternate stack, as sigaltstack(2) reports it. */
export function altStackState(task: Task, sp: number): number {
  if (task.signals.altStack.size === 0) return SS_DISABLE;
  return onAltStack(task, sp) ? SS_ONSTACK : 0;
}

/**
 * Builds the frame and points the registers at the handler. `mask` is what rt_sigreturn puts back.
 * False when the stack cannot take it: the caller forces SIGSEGV.
 */
export function pushFrame(task: Task, action: SignalAction, info: SigInfo, mask: SigSet): boolean {
  const ctx = task.ctx!;
  const { regs } = ctx;
  const alt = task.signals.altStack;
  // x86-64 has no return trampoline of the kernel's own: the C library must bring one.
  if ((action.flags & SA_RESTORER) === 0) return false;

  const oldSp = getReg(regs, REG.rsp);
  const nested = onAltStack(task, oldSp);
  let sp = oldSp - RED_ZONE;
  let entering = false;
  if ((action.flags & SA_ONSTACK) !== 0 && altStackState(task, oldSp) === 0) {
    sp = alt.sp + alt.size;
    entering = true;
  }
  sp -= ctx.fpStateSize;
  const fpAt = sp - (sp % 64);
  sp = fpAt - FRAME_SIZE;
  sp = sp - (sp % 16) - 8;
  if (sp < task.mm.space.minAddress) return false;
  // A frame that would run off the alternate stack is not written over what lies below it.
  if ((nested || entering) && !(sp > alt.sp && sp - alt.sp <= alt.size)) return false;
  if (task.mm.accessible(sp, FRAME_SIZE, true) < FRAME_SIZE) return false;
  if (task.mm.accessible(fpAt, ctx.fpStateSize, true) < ctx.fpStateSize) return false;
  if (ctx.saveFpState(fpAt) < 0) return false;

  frame.fill(0);
  setU64(view, 0, action.restorer);
  view.setUint32(UC, (ctx.fpStateSize > 512 ? UC_FP_XSTATE : 0) | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS, true);
  setU64(view, UC_STACK, alt.sp);
  view.setUint32(UC_STACK + 8, alt.flags, true);
  setU64(view, UC_STACK + 16, alt.size);
  for (let i = 0; i < SC_REGS.length; i++) {
    const at = SC_REGS[i]! * 2;
    view.setUint32(UC_MCONTEXT + i * 8, regs[at]!, true);
    view.setUint32(UC_MCONTEXT + i * 8 + 4, regs[at + 1]!, true);
  }
  view.setUint16(UC_MCONTEXT + SC_CS, USER_CS, true);
  view.setUint16(UC_MCONTEXT + SC_SS, USER_SS, true);
  setU64(view, UC_MCONTEXT + SC_ERR, task.signals.errorCode);
  setU64(view, UC_MCONTEXT + SC_TRAPNO, task.signals.trapno);
  view.setUint32(UC_MCONTEXT + SC_OLDMASK, mask.lo, true);
  view.setUint32(UC_MCONTEXT + SC_OLDMASK + 4, mask.hi, true);
  setU64(view, UC_MCONTEXT + SC_CR2, task.signals.cr2);
  setU64(view, UC_MCONTEXT + SC_FPSTATE, fpAt);
  view.setUint32(UC_SIGMASK, mask.lo, true);
  view.setUint32(UC_SIGMASK + 4, mask.hi, true);
  encodeSigInfo(view, INFO, info);
  if (task.mm.writeBytes(sp, frame) < 0) return false;
  if ((alt.flags & SS_AUTODISARM) !== 0) {
    alt.sp = 0;
    alt.size = 0;
    alt.flags = SS_DISABLE;
  }

  setReg(regs, REG.rsp, sp);
  setReg(regs, REG.rip, action.handler);
  setReg(regs, REG.rdi, info.signo);
  setReg(regs, REG.rsi, sp + INFO);
  setReg(regs, REG.rdx, sp + UC);
  setReg(regs, REG.rax, 0);
  setReg(regs, REG.cs, USER_CS);
  setReg(regs, REG.ss, USER_SS);
  regs[REG.eflags * 2] = regs[REG.eflags * 2]! & ~(EFLAGS_TF | EFLAGS_DF | EFLAGS_RF);
  return true;
}

/** rt_sigreturn: registers, mask, alternate stack and floating-point state from the frame at sp - 8. 0 or -EFAULT. */
export function popFrame(task: Task): number {
  const ctx = task.ctx!;
  const { regs } = ctx;
  const at = getReg(regs, REG.rsp) - 8;
  if (task.mm.readBytes(at, frame, INFO) < 0) return -EFAULT;
  const flags = view.getUint32(UC, true);
  const mask = new SigSet(view.getUint32(UC_SIGMASK, true), view.getUint32(UC_SIGMASK + 4, true));
  setBlocked(task, mask);

  // Only the selectors of 64-bit user code exist here; Linux finds others out when it returns to them.
  const cs = view.getUint16(UC_MCONTEXT + SC_CS, true) | 3;
  const ss = view.getUint16(UC_MCONTEXT + SC_SS, true) | 3;
  if (cs !== USER_CS || ((flags & UC_STRICT_RESTORE_SS) !== 0 && ss !== USER_SS)) {
    task.signals.trapno = TRAP_GP;
    task.signals.errorCode = (cs !== USER_CS ? cs : ss) & ~3;
    return -EFAULT;
  }
  const eflags = regs[REG.eflags * 2]!;
  for (let i = 0; i < SC_REGS.length; i++) {
    const reg = SC_REGS[i]! * 2;
    regs[reg] = view.getUint32(UC_MCONTEXT + i * 8, true);
    regs[reg + 1] = view.getUint32(UC_MCONTEXT + i * 8 + 4, true);
  }
  regs[REG.eflags * 2] = (eflags & ~EFLAGS_USER) | (regs[REG.eflags * 2]! & EFLAGS_USER);
  regs[REG.eflags * 2 + 1] = 0;
  setReg(regs, REG.cs, USER_CS);
  setReg(regs, REG.ss, USER_SS);
  regs[REG.origRax * 2] = 0xffffffff;
  regs[REG.origRax * 2 + 1] = 0xffffffff;

  const alt = {
    sp: getU64(view, UC_STACK),
    flags: view.getUint32(UC_STACK + 8, true),
    size: getU64(view, UC_STACK + 16),
  };
  const fpstate = getU64(view, UC_MCONTEXT + SC_FPSTATE);
  if (fpstate === 0) ctx.resetFpState();
  else if (fpstate % ((flags & UC_FP_XSTATE) !== 0 ? 64 : 16) !== 0 || ctx.restoreFpState(fpstate) < 0) return -EFAULT;
  // Errors here are Linux' to ignore: the frame may carry a stack that the program has since given up.
  setAltStack(task, alt.sp, alt.flags, alt.size, getReg(regs, REG.rsp));
  return 0;
}

/** Smallest alternate stack that sigaltstack(2) takes. */
export const MINSIGSTKSZ = 2048;

/** Sets the alternate stack, with sigaltstack's checks. */
export function setAltStack(task: Task, sp: number, flags: number, size: number, currentSp: number): AltStackResult {
  const alt = task.signals.altStack;
  if (onAltStack(task, currentSp)) return "on-stack";
  const mode = (flags & ~SS_AUTODISARM) >>> 0;
  if (mode !== SS_DISABLE && mode !== SS_ONSTACK && mode !== 0) return "invalid";
  if (mode === SS_DISABLE) {
    alt.sp = 0;
    alt.size = 0;
  } else {
    if (size < MINSIGSTKSZ) return "too-small";
    alt.sp = sp;
    alt.size = size;
  }
  alt.flags = flags >>> 0;
  return "set";
}
export type AltStackResult = "set" | "on-stack" | "invalid" | "too-small";
