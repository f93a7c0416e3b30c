/**
 * rt_sigaction, rt_sigprocmask, rt_sigpending, rt_sigsuspend, rt_sigtimedwait, rt_sigreturn, sigaltstack, pause.
 *
 * Manual pages: sigaction(2), sigprocmask(2), sigpending(2), sigsuspend(2), sigwaitinfo(2), sigreturn(2),
 * sigaltstack(2), pause(2).
 */

import { REG } from "../../platform/platform.ts";
import { EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, EPERM, ERESTARTNOHAND } from "../abi/errno.ts";
import { inStruct, int, oneOf, outStruct, size } from "../args.ts";
import { getU64, setU64 } from "../mm/mm.ts";
import { SIG_DFL, SIG_IGN, type SignalAction } from "../signal/actions.ts";
import { forceSignal } from "../signal/deliver.ts";
import { altStackState, getReg, popFrame, setAltStack } from "../signal/frame.ts";
import { readSigSet, SIGSET_SIZE, setBlocked, useMask, writeSigSet } from "../signal/mask.ts";
import {
  ACT_IGNORE,
  defaultAction,
  SA_NOCLDSTOP,
  SA_NOCLDWAIT,
  SA_NODEFER,
  SA_ONSTACK,
  SA_RESETHAND,
  SA_RESTART,
  SA_RESTORER,
  SA_SIGINFO,
  SI_KERNEL,
  SIGKILL,
  SIGRTMAX,
  SIGSEGV,
  SIGSTOP,
  SS_AUTODISARM,
  signalName,
} from "../signal/numbers.ts";
import { dequeueWanted, flushProcess } from "../signal/queue.ts";
import { encodeSigInfo, SIGINFO_SIZE } from "../signal/siginfo.ts";
import { SigSet } from "../signal/task-signals.ts";
import { type ArgType, BLOCKED, NO_RETURN, syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { callDeadline, FOREVER, readTimeout } from "../time/timeout.ts";

/** A signal number, printed by name. */
export const signal: ArgType<number> = { ...int, kind: "signal", format: (value) => signalName(value) };

const ACTION_SIZE = 32;
const SA_EXPOSE_TAGBITS = 0x800;
const SA_KNOWN =
  SA_NOCLDSTOP |
  SA_NOCLDWAIT |
  SA_SIGINFO |
  SA_EXPOSE_TAGBITS |
  SA_RESTORER |
  SA_ONSTACK |
  SA_RESTART |
  SA_NODEFER |
  SA_RESETHAND;

function formatAction(at: number, task: Task): string {
  if (at === 0) return "NULL";
  const view = task.mm.readStruct(at, ACTION_SIZE);
  if (view === null) return `0x${at.toString(16)}`;
  const handler = getU64(view, 0);
  const name = handler === SIG_DFL ? "SIG_DFL" : handler === SIG_IGN ? "SIG_IGN" : `0x${handler.toString(16)}`;
  return `{sa_handler=${name}, sa_flags=0x${view.getUint32(8, true).toString(16)}}`;
}

export const rt_sigaction = syscall(
  "rt_sigaction",
  { signum: signal, act: inStruct(ACTION_SIZE, formatAction), oldact: outStruct(formatAction), sigsetsize: size },
  (task, { signum, act, oldact, sigsetsize }) => {
    if (sigsetsize !== SIGSET_SIZE) return -EINVAL;
    let wanted: SignalAction | null = null;
    if (act !== 0) {
      const view = task.mm.readStruct(act, ACTION_SIZE);
      if (view === null) return -EFAULT;
      wanted = {
        handler: getU64(view, 0),
        flags: (view.getUint32(8, true) & SA_KNOWN) >>> 0,
        restorer: getU64(view, 16),
        mask: new SigSet(view.getUint32(24, true), view.getUint32(28, true)),
      };
      wanted.mask.delete(SIGKILL);
      wanted.mask.delete(SIGSTOP);
    }
    if (signum < 1 || signum > SIGRTMAX) return -EINVAL;
    if (wanted !== null && (signum === SIGKILL || signum === SIGSTOP)) return -EINVAL;
    const { actions } = task.process.actions;
    const old = actions[signum]!;
    if (wanted !== null) {
      actions[signum] = wanted;
      // What is ignored from now on does not stay pending.
      if (wanted.handler === SIG_IGN || (wanted.handler === SIG_DFL && defaultAction(signum) === ACT_IGNORE))
        flushProcess(task.process, (pending) => pending === signum);
    }
    return oldact === 0 ? 0 : writeAction(task, oldact, old);
  },
);

function writeAction(task: Task, at: number, action: SignalAction): number {
  const bytes = new Uint8Array(ACTION_SIZE);
  const view = new DataView(bytes.buffer);
  setU64(view, 0, action.handler);
  view.setUint32(8, action.flags, true);
  setU64(view, 16, action.restorer);
  view.setUint32(24, action.mask.lo, true);
  view.setUint32(28, action.mask.hi, true);
  return task.mm.writeBytes(at, bytes);
}

const SIG_BLOCK = 0;
const SIG_UNBLOCK = 1;
const SIG_SETMASK = 2;

export const rt_sigprocmask = syscall(
  "rt_sigprocmask",
  { how: oneOf({ SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK }), set: inStruct(8), oldset: outStruct(), sigsetsize: size },
  (task, { how, set, oldset, sigsetsize }) => {
    if (sigsetsize !== SIGSET_SIZE) return -EINVAL;
    const { blocked } = task.signals;
    const { lo, hi } = blocked;
    if (set !== 0) {
      const view = task.mm.readStruct(set, SIGSET_SIZE);
      if (view === null) return -EFAULT;
      const setLo = view.getUint32(0, true);
      const setHi = view.getUint32(4, true);
      if (how === SIG_BLOCK) setBlocked(task, new SigSet((lo | setLo) >>> 0, (hi | setHi) >>> 0));
      else if (how === SIG_UNBLOCK) setBlocked(task, new SigSet((lo & ~setLo) >>> 0, (hi & ~setHi) >>> 0));
      else if (how === SIG_SETMASK) setBlocked(task, new SigSet(setLo, setHi));
      else return -EINVAL;
    }
    return oldset === 0 ? 0 : writeSigSet(task, oldset, new SigSet(lo, hi));
  },
);

export const rt_sigpending = syscall("rt_sigpending", { set: outStruct(), sigsetsize: size }, (task, call) => {
  if (call.sigsetsize > SIGSET_SIZE) return -EINVAL;
  const own = task.signals.pending.set;
  const shared = task.process.pending.set;
  const { blocked } = task.signals;
  const bytes = new Uint8Array(SIGSET_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, ((own.lo | shared.lo) & blocked.lo) >>> 0, true);
  view.setUint32(4, ((own.hi | shared.hi) & blocked.hi) >>> 0, true);
  return task.mm.writeBytes(call.set, bytes, call.sigsetsize);
});

/** Sleeps until a signal is delivered. */
function sleepForSignal(task: Task): number {
  return task.sleep() === BLOCKED ? BLOCKED : -ERESTARTNOHAND;
}

export const pause = syscall("pause", {}, sleepForSignal);

export const rt_sigsuspend = syscall("rt_sigsuspend", { mask: inStruct(8), sigsetsize: size }, (task, call) => {
  const mask = readSigSet(task, call.mask, call.sigsetsize);
  if (typeof mask === "number") return mask;
  useMask(task, mask);
  return sleepForSignal(task);
});

export const rt_sigtimedwait = syscall(
  "rt_sigtimedwait",
  { set: inStruct(8), info: outStruct(), timeout: inStruct(16), sigsetsize: size },
  (task, call) => {
    const { signals } = task;
    signals.waitingFor = null;
    const wanted = readSigSet(task, call.set, call.sigsetsize);
    if (typeof wanted === "number") return wanted;
    const timeoutNs = readTimeout(task, call.timeout);
    if (timeoutNs < 0) return timeoutNs;
    wanted.delete(SIGKILL);
    wanted.delete(SIGSTOP);
    const info = dequeueWanted(task, wanted);
    if (info !== null) {
      if (call.info === 0) return info.signo;
      const bytes = new Uint8Array(SIGINFO_SIZE);
      encodeSigInfo(new DataView(bytes.buffer), 0, info);
      return task.mm.writeBytes(call.info, bytes) < 0 ? -EFAULT : info.signo;
    }
    if (timeoutNs === 0 || (task.restart !== null && task.timedOut)) return -EAGAIN;
    const deadline = timeoutNs === FOREVER ? FOREVER : callDeadline(task, timeoutNs);
    signals.waitingFor = wanted;
    if (task.sleep(deadline) === BLOCKED) return BLOCKED;
    signals.waitingFor = null;
    return -EINTR;
  },
);

export const rt_sigreturn = syscall("rt_sigreturn", {}, (task) => {
  if (popFrame(task) < 0) forceSignal(task, { signo: SIGSEGV, errno: 0, code: SI_KERNEL });
  return NO_RETURN;
});

const STACK_SIZE = 24;

export const sigaltstack = syscall("sigaltstack", { ss: inStruct(STACK_SIZE), old_ss: outStruct() }, (task, call) => {
  const sp = getReg(task.ctx!.regs, REG.rsp);
  const { sp: oldSp, size: oldSize, flags: oldFlags } = task.signals.altStack;
  const oldState = (altStackState(task, sp) | (oldFlags & SS_AUTODISARM)) >>> 0;
  if (call.ss !== 0) {
    const view = task.mm.readStruct(call.ss, STACK_SIZE);
    if (view === null) return -EFAULT;
    switch (setAltStack(task, getU64(view, 0), view.getUint32(8, true), getU64(view, 16), sp)) {
      case "on-stack":
        return -EPERM;
      case "invalid":
        return -EINVAL;
      case "too-small":
        return -ENOMEM;
      case "set":
        break;
    }
  }
  if (call.old_ss === 0) return 0;
  const bytes = new Uint8Array(STACK_SIZE);
  const view = new DataView(bytes.buffer);
  setU64(view, 0, oldSp);
  view.setUint32(8, oldState, true);
  setU64(view, 16, oldSize);
  return task.mm.writeBytes(call.old_ss, bytes);
});
