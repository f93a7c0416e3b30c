/**
 * Group stops: a process stops when all of its threads have, goes on with SIGCONT, and its parent is told of both.
 *
 * Source: signal(7), wait(2) (WUNTRACED, WCONTINUED), sigaction(2) (SA_NOCLDSTOP).
 * Invariant: `stopped` implies `stopping` and every living thread in RUN_STOPPED.
 */
import type { Process } from "../task/process.ts";
import { RUN_READY, RUN_STOPPED, RUN_ZOMBIE, type Task } from "../task/task.ts";
import { SIG_IGN } from "./actions.ts";
import { CLD_CONTINUED, CLD_STOPPED, SA_NOCLDSTOP, SIGCHLD, SIGCONT } from "./numbers.ts";
import { sendSignal } from "./send.ts";

/** Starts a group stop; each thread joins it on its way back to the guest. */
export function startStop(process: Process, signo: number): void {
  if (!process.stopping) {
    process.stopping = true;
    process.stopped = false;
  }
  process.stopSignal = signo;
  process.continueReport = false;
  for (const task of process.tasks) if (task.runState < RUN_STOPPED) task.kick();
}

/** Parks a thread in the stop. `result` and `inSyscall` are what returnToGuest goes on with. */
export function enterStop(task: Task, result: number, inSyscall: boolean): void {
  if (task.kernel.tracer !== null) task.kernel.tracer.onStopped(task, task.process.stopSignal);
  task.suspended = { result, inSyscall };
  task.runState = RUN_STOPPED;
  task.ctx?.parked();
  finishStop(task.process);
}

/** Reports the stop once the last thread has joined it (or has ended). */
export function finishStop(process: Process): void {
  if (!process.stopping || process.stopped || process.exiting) return;
  let any = false;
  for (const task of process.tasks) {
    if (task.runState < RUN_STOPPED) return;
    if (task.runState < RUN_ZOMBIE) any = true;
  }
  if (!any) return;
  process.stopped = true;
  process.stopReport = process.stopSignal;
  notifyStop(process, CLD_STOPPED, process.stopSignal);
}

/** SIGCONT was sent: goes on, whether or not the signal itself is blocked or ignored. */
export function continueProcess(process: Process): void {
  if (!process.stopping) return;
  const wasStopped = process.stopped;
  process.stopping = false;
  process.stopped = false;
  process.stopReport = 0;
  for (const task of process.tasks) wakeStopped(task);
  if (wasStopped) {
    process.continueReport = true;
    notifyStop(process, CLD_CONTINUED, SIGCONT);
  } else notifyStop(process, CLD_STOPPED, process.stopSignal);
}

/** Lets a stopped thread look again at what it should do. */
export function wakeStopped(task: Task): void {
  if (task.runState !== RUN_STOPPED) return;
  task.runState = RUN_READY;
  task.kernel.runQueue.push(task);
}

/** Tells the parent of a stop or continuation: SIGCHLD unless it does not want that, and its waiters always. */
function notifyStop(process: Process, code: number, status: number): void {
  const parent = process.parent;
  if (parent === null || parent.zombie) return;
  const action = parent.actions.actions[SIGCHLD]!;
  if (action.handler !== SIG_IGN && (action.flags & SA_NOCLDSTOP) === 0)
    sendSignal(parent, {
      signo: SIGCHLD,
      errno: 0,
      code,
      pid: process.pid,
      uid: process.leader.cred.uid,
      status,
      utime: 0,
      stime: 0,
    });
  parent.childWait.wake();
}
