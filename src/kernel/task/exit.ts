/**
 * The end of threads and processes: what they hold is released, parents are told, children find a new parent.
 *
 * Source: exit(2), exit_group(2), wait(2), prctl(2) (PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG), signal(7).
 *
 * A thread ends by `retire`, from one of: its own exit; the way back to the guest, when its process is exiting or execve
 * killed it; another thread's exit_group, when this thread does not run guest code or the whole address space goes.
 * Invariant: a context is destroyed only when it is stopped, or together with its address space.
 */

import { memoryUse } from "../fs/proc/usage.ts";
import { abandonFutexes, clearTid } from "../futex/futex.ts";
import { abandonLocks } from "../futex/pi.ts";
import { exitRobustList, robustListEmpty } from "../futex/robust.ts";
import { SIG_IGN } from "../signal/actions.ts";
import { CLD_DUMPED, CLD_EXITED, CLD_KILLED, SA_NOCLDWAIT, SIGCHLD, SIGKILL } from "../signal/numbers.ts";
import { flushQueue } from "../signal/queue.ts";
import { kernelInfo, retargetPending, sendSignal, userInfo } from "../signal/send.ts";
import { finishStop, wakeStopped } from "../signal/stop.ts";
import { keepCpuTime } from "../time/cpu-time.ts";
import { leaderGone, leaveGroup, orphanCheck } from "./jobs.ts";
import type { Process } from "./process.ts";
import { RUN_DEAD, RUN_GUEST, RUN_ZOMBIE, type Task } from "./task.ts";
import { userCounts } from "./users.ts";

/** One clock tick, the unit of si_utime. */
const TICK_NS = 1e7;

/** Status of wait(2) for a normal exit. */
export const exitedStatus = (code: number): number => (code & 0xff) << 8;

/** exit(2): ends this thread. `status` in wait(2) encoding. */
export function exitTask(task: Task, status: number): void {
  if (!task.process.exiting && livingTasks(task.process) === 1) {
    task.process.exiting = true;
    task.process.exitStatus = status;
  }
  retire(task, status, true);
}

/** exit_group(2), or a fatal signal taken by `task`: ends the whole process. */
export function exitGroup(task: Task, status: number): void {
  const { process } = task;
  if (!process.exiting) {
    process.exiting = true;
    process.exitStatus = status;
  }
  endOthers(task);
  retire(task, process.exitStatus, true);
}

/** Ends a process from outside: SIGKILL, the death of init. `status` in wait(2) encoding. */
export function killProcess(process: Process, status: number): void {
  if (process.zombie || process.exiting) return;
  process.exiting = true;
  process.exitStatus = status;
  const { current } = process.kernel;
  // A task that is in the middle of a call must not lose its context under the handler's hands.
  if (current?.process === process || !canEndAtOnce(process)) {
    for (const task of process.tasks) {
      wakeStopped(task);
      task.kick();
    }
    return;
  }
  for (const task of [...process.tasks]) retire(task, status, task.runState !== RUN_GUEST);
}

/** The host took a guest thread away: its process dies as by SIGKILL. */
export function onContextGone(task: Task): void {
  const { process } = task;
  process.kernel.log.debug(`pid ${task.tid} (${task.comm}): its host thread is gone`);
  if (!process.exiting) {
    process.exiting = true;
    process.exitStatus = SIGKILL;
  }
  for (const other of [...process.tasks]) retire(other, process.exitStatus, false);
}

/** Threads that have not ended. */
export function livingTasks(process: Process): number {
  let n = 0;
  for (const task of process.tasks) if (task.runState < RUN_ZOMBIE) n++;
  return n;
}

/** True when nobody else shares the process' memory, so that it can be destroyed under running threads. */
function ownsMemory(process: Process): boolean {
  const { mm } = process.leader.runState < RUN_ZOMBIE ? process.leader : firstLiving(process);
  return mm.users === livingTasks(process);
}
function firstLiving(process: Process): Task {
  return process.tasks.find((task) => task.runState < RUN_ZOMBIE) ?? process.leader;
}

/** Can every thread be ended without its help? Not when a running one holds robust futexes: they need its memory. */
function canEndAtOnce(process: Process): boolean {
  const owned = ownsMemory(process);
  for (const task of process.tasks) {
    if (task.runState !== RUN_GUEST) continue;
    if (!owned || !robustListEmpty(task)) return false;
  }
  return true;
}

/** Ends all threads of the process but `task`, which is stopped. Those that cannot be ended now will see `exiting`. */
function endOthers(task: Task): void {
  const { process } = task;
  if (process.tasks.length === 1) return;
  const owned = ownsMemory(process);
  for (const other of [...process.tasks]) {
    if (other === task || other.runState >= RUN_ZOMBIE) continue;
    // With the memory going, a running thread goes with it, and a stopped one needs no ending of its own.
    if (owned) retire(other, process.exitStatus, false);
    else if (other.runState !== RUN_GUEST) retire(other, process.exitStatus, true);
    else other.kick();
  }
}

/** Ends one thread. `stopped`: its context is stopped, and is to be destroyed if its address space lives on. */
export function retire(task: Task, status: number, stopped: boolean): void {
  if (task.runState >= RUN_ZOMBIE) return;
  const { process, kernel, mm } = task;
  if (kernel.tracer !== null) kernel.tracer.onExit(task, status);
  task.cancelWaits();
  abandonFutexes(task);
  task.endCall();
  task.suspended = null;
  task.notify = false;
  task.exitStatus = status;

  const { ctx } = task;
  if (ctx !== null && stopped) ctx.addressSpace.executor = ctx;
  if (task.robustList !== 0) exitRobustList(task);
  abandonLocks(task);
  clearTid(task);
  keepCpuTime(task);
  if (process.parent?.asksForUsage && mm.users === 1)
    process.maxResident = Math.max(process.maxResident, memoryUse(kernel, mm, null).resident);
  task.runState = task === process.leader ? RUN_ZOMBIE : RUN_DEAD;
  releaseVfork(task);
  if (ctx !== null) {
    ctx.owner = null;
    task.ctx = null;
    if (mm.users > 1 && stopped) {
      if (ctx.addressSpace.executor === ctx) ctx.addressSpace.executor = null;
      ctx.destroy();
    }
  }
  mm.release();
  releaseFiles(task);
  task.fs.release();
  process.actions.users--;
  userCounts(kernel, task.cred.uid).tasks--;
  flushQueue(task, task.signals.pending, () => true);

  adoptChildren(task);
  if (task !== process.leader) {
    process.tasks.splice(process.tasks.indexOf(task), 1);
    kernel.tasks.delete(task.tid);
  }
  if (livingTasks(process) === 0) endProcess(process);
  else {
    finishStop(process);
    retargetPending(process);
    process.threadWait.wake();
    // A pidfd may stand for this thread alone.
    process.exitWait.wake();
  }
}

/** The parent of a vfork child goes on. */
export function releaseVfork(task: Task): void {
  if (task.vforkParent === null) return;
  task.vforkParent = null;
  task.vforkDone.wake();
}

/** One user less of the descriptor table; the last one closes everything. */
function releaseFiles(task: Task): void {
  const { files } = task;
  if (--files.users > 0) return;
  for (const [fd, file] of [...files.entries()]) {
    files.remove(fd);
    file.inode?.locks?.releasePosix(files);
    file.flush(task);
    file.release();
  }
}

/** The last thread is gone. */
function endProcess(process: Process): void {
  const { kernel } = process;
  if (!process.exiting) {
    process.exiting = true;
    process.exitStatus = process.leader.exitStatus;
  }
  process.stopping = false;
  process.stopped = false;
  process.stopReport = 0;
  process.continueReport = false;
  flushQueue(process.leader, process.pending, () => true);
  process.cpuLimit?.stop();
  for (const cleanup of kernel.processCleanups) cleanup(process);
  leaderGone(process);
  orphanCheck(process, process.parent, process);
  process.zombie = true;
  if (process === kernel.init) endInit(process);
  process.exitWait.wake();
  notifyParent(process);
}

/** Init is gone: so is everyone else. */
function endInit(process: Process): void {
  const { kernel } = process;
  kernel.init = null;
  for (const other of [...kernel.processes.values()]) if (other !== process) killProcess(other, SIGKILL);
  kernel.onInitExit?.(process.exitStatus);
}

/** Finds new parents for the children that `task` made. */
function adoptChildren(task: Task): void {
  const { process } = task;
  if (process.children.size === 0) return;
  const sibling = process.tasks.find((other) => other.runState < RUN_ZOMBIE);
  if (sibling !== undefined) {
    for (const child of [...process.children])
      if (child.parentTask === task) {
        child.parentTask = sibling;
        parentDied(child, process);
      }
    return;
  }
  const reaper = findReaper(process);
  for (const child of [...process.children]) {
    process.children.delete(child);
    child.parent = reaper;
    child.parentTask = reaper === null ? null : firstLiving(reaper);
    reaper?.children.add(child);
    parentDied(child, reaper);
    // Whatever it was cloned with, the new parent expects SIGCHLD.
    child.exitSignal = SIGCHLD;
    if (child.zombie) notifyParent(child);
    orphanCheck(child, process, process);
  }
}

/** PR_SET_PDEATHSIG of every thread of the child. */
function parentDied(child: Process, newParent: Process | null): void {
  for (const task of [...child.tasks])
    if (task.parentDeathSignal !== 0 && task.runState < RUN_ZOMBIE)
      sendSignal(
        child,
        newParent === null
          ? kernelInfo(task.parentDeathSignal)
          : userInfo(task.parentDeathSignal, firstLiving(newParent)),
      );
}

/** The nearest living ancestor that adopts orphans, else init. */
function findReaper(process: Process): Process | null {
  for (let at = process.parent; at !== null; at = at.parent) if (at.subreaper && !at.exiting) return at;
  const { init } = process.kernel;
  return init !== null && init !== process && !init.exiting ? init : null;
}

/** Tells the parent that a child has ended; reaps it at once where nobody will. */
function notifyParent(process: Process): void {
  const { parent } = process;
  if (parent === null || parent.zombie) {
    process.kernel.onRootExit?.(process, process.exitStatus);
    reap(process);
    return;
  }
  let signo = process.exitSignal;
  let unwanted = false;
  if (signo === SIGCHLD) {
    const action = parent.actions.actions[SIGCHLD]!;
    if (action.handler === SIG_IGN || (action.flags & SA_NOCLDWAIT) !== 0) {
      unwanted = true;
      if (action.handler === SIG_IGN) signo = 0;
    }
  }
  if (signo > 0) sendSignal(parent, childInfo(process, signo));
  if (unwanted) reap(process);
  parent.childWait.wake();
}

/** The siginfo of a child's end. */
export function childInfo(process: Process, signo: number = SIGCHLD) {
  const status = process.exitStatus;
  const killed = (status & 0x7f) !== 0;
  return {
    signo,
    errno: 0,
    code: killed ? ((status & 0x80) !== 0 ? CLD_DUMPED : CLD_KILLED) : CLD_EXITED,
    pid: process.pid,
    uid: process.leader.cred.uid,
    status: killed ? status & 0x7f : (status >> 8) & 0xff,
    utime: Math.floor(process.userTime / TICK_NS),
    stime: Math.floor(process.systemTime / TICK_NS),
  };
}

/** Removes a zombie for good. */
export function reap(process: Process): void {
  const { kernel, leader } = process;
  const { parent } = process;
  if (parent !== null) {
    parent.children.delete(process);
    parent.childrenUserTime += process.userTime + process.childrenUserTime;
    parent.childrenSystemTime += process.systemTime + process.childrenSystemTime;
  }
  leaveGroup(kernel, process);
  kernel.processes.delete(process.pid);
  kernel.tasks.delete(leader.tid);
  leader.runState = RUN_DEAD;
}
