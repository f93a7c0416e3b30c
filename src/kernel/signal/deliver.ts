/**
 * The way back to the guest: exits, stops, signals, restarted calls, in the order Linux has them; and faults as signals.
 *
 * Source: signal(7) ("Interruption of system calls…"), sigaction(2). `returnToGuest` is the only place that resumes a
 * context after anything but a plain result. A call that a signal interrupted without a handler is run again from its
 * arguments by the run queue, which keeps `task.restart` and with it absolute deadlines.
 * Gap: no core files are written, so no wait status carries the core bit.
 */

import { type Fault, REG } from "../../platform/platform.ts";
import { EINTR, ERESTARTNOINTR, ERESTARTSYS } from "../abi/errno.ts";
import { exitGroup, exitTask } from "../task/exit.ts";
import { isOrphaned } from "../task/jobs.ts";
import { RUN_READY, type Task } from "../task/task.ts";
import { SIG_DFL, SIG_IGN } from "./actions.ts";
import { getReg, pushFrame, setReg } from "./frame.ts";
import { restoreMask, setBlocked } from "./mask.ts";
import {
  ACT_CORE,
  ACT_IGNORE,
  ACT_STOP,
  defaultAction,
  SA_NODEFER,
  SA_RESETHAND,
  SA_RESTART,
  SI_KERNEL,
  SIGSEGV,
  SIGSTOP,
  signalName,
} from "./numbers.ts";
import { dequeueSignal, enqueue } from "./queue.ts";
import { sparesInit } from "./send.ts";
import { enterStop, startStop } from "./stop.ts";
import type { SigInfo } from "./task-signals.ts";

/** `syscall` is two bytes long: going back to it runs it again. */
const SYSCALL_LENGTH = 2;

/**
 * Sends a stopped task back to the guest.
 *
 * @param result the call's result (may be -ERESTART*); only with `inSyscall`.
 * @param inSyscall the task is in a call that ends with `result`; otherwise its registers hold all there is to know.
 */
export function returnToGuest(task: Task, result: number, inSyscall: boolean): void {
  const { process, signals } = task;
  let framed = false;
  let value = result;
  let calling = inSyscall;
  for (;;) {
    if (task.ctx === null) return;
    if (process.exiting || task.killed) {
      if (process.exiting) exitGroup(task, process.exitStatus);
      else exitTask(task, 0);
      return;
    }
    task.ctx.addressSpace.executor = task.ctx;
    task.notify = false;
    if (process.stopping) {
      if (framed) {
        // The registers hold the handler's frame already.
        enterStop(task, 0, false);
      } else enterStop(task, value, calling);
      return;
    }
    // A call that succeeded puts its mask back before any signal is looked at, one that was interrupted after.
    const interrupted = calling && (value <= -ERESTARTSYS || value === -EINTR);
    if (signals.savedMask !== null && !interrupted) restoreMask(task);

    const info = dequeueSignal(task, signals.blocked);
    if (info === null) {
      // A call that is run again keeps its temporary mask.
      if (signals.savedMask === null || (calling && value <= -ERESTARTSYS)) break;
      restoreMask(task);
      if (!task.notify) break;
      continue;
    }
    const action = process.actions.actions[info.signo]!;
    if (action.handler === SIG_IGN) continue;
    if (task.kernel.tracer !== null) task.kernel.tracer.onSignal(task, info);
    if (action.handler === SIG_DFL) {
      applyDefault(task, info);
      continue;
    }

    if (calling) {
      calling = false;
      finishCall(task, value, (action.flags & SA_RESTART) !== 0);
    }
    value = 0;
    const mask = signals.savedMask ?? signals.blocked.clone();
    const { flags } = action;
    if (flags & SA_RESETHAND) process.actions.setDefault(info.signo);
    if (!pushFrame(task, action, info, mask)) {
      // No stack for the handler: as if the access had faulted, and fatal if it was SIGSEGV's own.
      if (info.signo === SIGSEGV) process.actions.setDefault(SIGSEGV);
      forceSignal(task, { signo: SIGSEGV, errno: 0, code: SI_KERNEL });
      continue;
    }
    framed = true;
    signals.savedMask = null;
    const blocked = signals.blocked.clone();
    blocked.lo = (blocked.lo | action.mask.lo) >>> 0;
    blocked.hi = (blocked.hi | action.mask.hi) >>> 0;
    if ((flags & SA_NODEFER) === 0) blocked.add(info.signo);
    setBlocked(task, blocked);
  }

  if (!calling) {
    task.endCall();
    task.syscallNr = -1;
    task.ctx!.resumeWithRegisters();
  } else if (value <= -ERESTARTSYS) {
    // Nobody handled the signal: the call goes on where it was.
    task.runState = RUN_READY;
    task.kernel.runQueue.push(task);
  } else {
    task.endCall();
    task.syscallNr = -1;
    task.ctx!.resumeWithResult(value);
  }
}

/** Continues a task that job control or a kill took off its call. */
export function resumeSuspended(task: Task): void {
  const how = task.suspended;
  task.suspended = null;
  if (how === null) returnToGuest(task, 0, false);
  else returnToGuest(task, how.result, how.inSyscall);
}

/** A handler is about to run: puts the call's outcome into the registers that it will return to. */
function finishCall(task: Task, result: number, restart: boolean): void {
  const { regs } = task.ctx!;
  let value = result;
  if (value <= -ERESTARTSYS) {
    const again = value === -ERESTARTNOINTR || (value === -ERESTARTSYS && restart);
    if (again) {
      setReg(regs, REG.rax, task.syscallNr);
      setReg(regs, REG.rip, getReg(regs, REG.rip) - SYSCALL_LENGTH);
      task.endCall();
      task.syscallNr = -1;
      return;
    }
    value = -EINTR;
  }
  setReg(regs, REG.rax, value);
  task.endCall();
  task.syscallNr = -1;
}

/** What a signal without a handler does. */
function applyDefault(task: Task, info: SigInfo): void {
  const { process } = task;
  const { signo } = info;
  const action = defaultAction(signo);
  if (action === ACT_IGNORE) return;
  if (sparesInit(process, info)) return;
  if (action === ACT_STOP) {
    // Nobody could continue an orphaned group: terminal stops are dropped there.
    if (signo !== SIGSTOP && isOrphaned(process.group)) return;
    startStop(process, signo);
    return;
  }
  explain(task, info, action === ACT_CORE);
  exitGroup(task, signo);
}

/** Says in the log why a guest died. */
function explain(task: Task, info: SigInfo, crash: boolean): void {
  const { log } = task.kernel;
  if (!log.debugging) return;
  const name = signalName(info.signo);
  if (!crash) {
    log.info(`pid ${task.tid} (${task.comm}) is ended by ${name}`);
    return;
  }
  const rip = task.ctx === null ? 0 : getReg(task.ctx.regs, REG.rip);
  const where = task.mm.vmas.find(rip);
  const place =
    where === undefined
      ? "not mapped"
      : `${where.name || (where.file?.path?.dentry.name ?? "anonymous")}+0x${(rip - where.start + where.offset).toString(16)}`;
  const fault = info.addr !== undefined && info.code > 0 ? `, address 0x${info.addr.toString(16)}` : "";
  log.info(
    `pid ${task.tid} (${task.comm}) crashed: ${name} (code ${info.code})${fault}, rip 0x${rip.toString(16)} (${place})`,
  );
  for (const line of task.kernel.history.of(task.serial, 10)) log.info(`  ${line}`);
}

/** Queues a signal that cannot be refused: blocked or ignored, it takes the default action. */
export function forceSignal(task: Task, info: SigInfo): void {
  const { process, signals } = task;
  const { handler } = process.actions.actions[info.signo]!;
  const refused = signals.blocked.has(info.signo) || handler === SIG_IGN;
  if (refused) {
    process.actions.setDefault(info.signo);
    signals.blocked.delete(info.signo);
  }
  if (refused || handler === SIG_DFL) process.unkillable = false;
  enqueue(task, signals.pending, info);
  task.notify = true;
}

/** Queues the signal of a processor exception. */
export function forceFault(task: Task, fault: Fault): void {
  task.signals.trapno = fault.trapno;
  task.signals.errorCode = fault.errorCode;
  if (fault.trapno === 14) task.signals.cr2 = fault.addr;
  forceSignal(task, { signo: fault.signo, errno: 0, code: fault.code, addr: fault.addr });
}

/** A guest thread stopped at a processor exception. */
export function onFault(task: Task, fault: Fault): void {
  task.syscallNr = -1;
  forceFault(task, fault);
  returnToGuest(task, 0, false);
}
