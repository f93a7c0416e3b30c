/**
 * Sending signals: who gets them, which are dropped, what SIGCONT, SIGKILL and the stop signals do at once.
 *
 * Source: signal(7), kill(2), credentials of senders in kill(2). Rules as on Linux: a blocked signal is never dropped
 * as ignored; a container's init does not get what it left at its default, wherever that comes from, except KILL and STOP
 * from outside the container (pid_namespaces(7)).
 */
import { EPERM } from "../abi/errno.ts";
import { CAP_KILL, type Credentials, capable } from "../task/credentials.ts";
import { killProcess } from "../task/exit.ts";
import type { Process } from "../task/process.ts";
import type { ProcessGroup } from "../task/session.ts";
import { RUN_BLOCKED, RUN_STOPPED, RUN_ZOMBIE, type Task } from "../task/task.ts";
import { SIG_DFL, SIG_IGN } from "./actions.ts";
import { ACT_IGNORE, defaultAction, isStopSignal, SI_KERNEL, SI_USER, SIGCONT, SIGKILL, SIGSTOP } from "./numbers.ts";
import { enqueue, flushProcess } from "./queue.ts";
import { continueProcess } from "./stop.ts";
import type { SigInfo } from "./task-signals.ts";

/** A signal as kill(2) sends it. */
export function userInfo(signo: number, sender: Task, code: number = SI_USER): SigInfo {
  return { signo, errno: 0, code, pid: sender.process.pid, uid: sender.cred.uid };
}
/** A signal that the kernel sends. */
export function kernelInfo(signo: number): SigInfo {
  return { signo, errno: 0, code: SI_KERNEL };
}

/** Sends to a process: any of its threads may take the signal. 0 or -EAGAIN. */
export function sendSignal(process: Process, info: SigInfo): number {
  return send(process, null, info);
}

/** Sends to one thread. 0 or -EAGAIN. */
export function sendSignalToTask(task: Task, info: SigInfo): number {
  return send(task.process, task, info);
}

/** Sends to every process of a group. */
export function sendToGroup(group: ProcessGroup, info: SigInfo): void {
  for (const process of [...group.members]) send(process, null, { ...info });
}

/**
 * Does a signal that a process left at its default not reach it, since it is a container's init? KILL and STOP do, where
 * they are the kernel's own or from outside (`runts kill`), which here is the same.
 */
export function sparesInit(process: Process, info: SigInfo): boolean {
  if (!process.unkillable) return false;
  if (info.signo !== SIGKILL && info.signo !== SIGSTOP) return true;
  return info.code !== SI_KERNEL && (info.code !== SI_USER || info.pid !== 0);
}

/** Would the process drop it now? `task` is the thread whose mask counts. */
function isIgnored(process: Process, task: Task, info: SigInfo): boolean {
  const { signo } = info;
  if (task.signals.blocked.has(signo) || task.signals.waitingFor?.has(signo)) return false;
  const handler = process.actions.actions[signo]!.handler;
  if (handler === SIG_DFL && sparesInit(process, info)) return true;
  return handler === SIG_IGN || (handler === SIG_DFL && defaultAction(signo) === ACT_IGNORE);
}

function send(process: Process, target: Task | null, info: SigInfo): number {
  const { signo } = info;
  if (signo === 0 || process.zombie || process.exiting) return 0;
  if (isStopSignal(signo)) flushProcess(process, (pending) => pending === SIGCONT);
  else if (signo === SIGCONT) {
    flushProcess(process, isStopSignal);
    continueProcess(process);
  }
  if ((signo === SIGKILL || signo === SIGSTOP) && sparesInit(process, info)) return 0;
  if (signo === SIGKILL) {
    killProcess(process, SIGKILL);
    return 0;
  }
  const reference = target ?? process.leader;
  if (isIgnored(process, reference, info)) return 0;
  const pending = target !== null ? target.signals.pending : process.pending;
  const result = enqueue(reference, pending, info);
  if (result < 0) return result;
  process.signalWait.wake();
  if (target !== null) notifyTask(target, signo);
  else notifyProcess(process, signo);
  return 0;
}

/** Gets a thread to look at a signal, if it is one that it would take. */
function notifyTask(task: Task, signo: number): boolean {
  if (task.runState >= RUN_ZOMBIE) return false;
  if (task.signals.waitingFor?.has(signo)) {
    task.makeReady();
    return true;
  }
  if (task.signals.blocked.has(signo)) return false;
  if (task.runState === RUN_STOPPED) task.notify = true;
  else task.kick();
  return true;
}

function notifyProcess(process: Process, signo: number): void {
  // A thread that waits for this very signal, then one that sleeps or has nothing else to deliver, then any.
  const tasks = process.tasks;
  for (const task of tasks) if (task.signals.waitingFor?.has(signo) && notifyTask(task, signo)) return;
  for (const task of tasks) if ((!task.notify || task.runState === RUN_BLOCKED) && notifyTask(task, signo)) return;
  for (const task of tasks) if (notifyTask(task, signo)) return;
}

/** The signal mask of a task has changed: does it now have something to deliver? */
export function maskChanged(task: Task): void {
  if (task.signals.hasDeliverable(task)) task.notify = true;
}

/** After a thread blocked signals or ended: others may have to take what was meant for it. */
export function retargetPending(process: Process): void {
  const { lo, hi } = process.pending.set;
  if (lo === 0 && hi === 0) return;
  for (const task of process.tasks) {
    if (task.runState >= RUN_STOPPED || task.notify) continue;
    if (((lo & ~task.signals.blocked.lo) | (hi & ~task.signals.blocked.hi)) !== 0) task.kick();
  }
}

/** May `sender` send `signo` to `target`? 0 or -EPERM. */
export function mayKill(sender: Task, target: Process, signo: number): number {
  if (sender.process === target) return 0;
  const from: Credentials = sender.cred;
  const to: Credentials = target.leader.cred;
  if (from.euid === to.suid || from.euid === to.uid || from.uid === to.suid || from.uid === to.uid) return 0;
  if (capable(from, CAP_KILL)) return 0;
  if (signo === SIGCONT && sender.process.group.session === target.group.session) return 0;
  return -EPERM;
}
