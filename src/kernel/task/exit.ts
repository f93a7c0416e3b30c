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
import {
  CLD_DUMPED,
  CLD_EXITED,
  CLD_KILLED,
  SA_NOCLDWAIT,
  SIGCHLD,
  SIGKILL,
  SIGRTMAX,
  SIGSEGV,
} from "../signal/numbers.ts";
import { flushQueue } from "../signal/queue.ts";
import { kernelInfo, retargetPending, sendSignal, userInfo } from "../signal/send.ts";
import { finishStop, wakeStopped } from "../signal/stop.ts";
import type { Chore, Slice } from "../slice.ts";
import { persistent } from "../state/registry.ts";
import { keepCpuTime } from "../time/cpu-time.ts";
import { releaseTimers } from "../time/itimer.ts";
import { Timer } from "../time/timers.ts";
import { closeFile } from "../vfs/close-file.ts";
import type { FdTable } from "../vfs/fd-table.ts";
import { leaderGone, leaveGroup, orphanCheck } from "./jobs.ts";
import type { PidSpace } from "./pid-space.ts";
import type { Process } from "./process.ts";
import { RUN_DEAD, RUN_GUEST, RUN_ZOMBIE, type Task } from "./task.ts";
import { dropUser, userCounts } from "./users.ts";

/** Threads that are ended in one turn of the kernel loop; of more, each ends in a turn of its own. */
export const ENDED_PER_TURN = 32;
/** The same in time, for processes: the host may take milliseconds for each. */
const ENDING_NS = 2e6;
/** Open descriptors that are closed at once at the end of a process; of more, the kernel loop closes them in slices. */
const CLOSED_AT_ONCE = 1024;

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
  if (livingTasks(process) > 1) limitEnd(process);
  retire(task, process.exitStatus, true);
}

/** Ends a process from outside: SIGKILL, the death of init. `status` in wait(2) encoding. */
export function killProcess(process: Process, status: number): void {
  if (process.zombie || process.exiting) return;
  process.exiting = true;
  process.exitStatus = status;
  const { kernel, container } = process;
  // A task that is in the middle of a call must not lose its context under the handler's hands.
  const late = kernel.ended > 0 && kernel.now() - kernel.endedSince >= ENDING_NS;
  const full = kernel.ended >= ENDED_PER_TURN || process.tasks.length > ENDED_PER_TURN;
  const many = (full || late) && !process.leader.embryo;
  // Frozen threads end when they are thawed: what that takes of their memory is beyond reach.
  if (container.frozen || kernel.serving(process) || many || !canEndAtOnce(process)) {
    for (const task of process.tasks) {
      wakeStopped(task);
      task.kick();
    }
    limitEnd(process);
    return;
  }
  for (const task of [...process.tasks]) retire(task, status, task.runState !== RUN_GUEST);
}

/**
 * How long threads may take to come and end, before their host process is killed with all that it does: a guest that has
 * taken its stub over need not heed an interrupt. Where others share the memory they go with it, so they get longer.
 */
const END_OWNED_NS = 2e9;
const END_SHARED_NS = 5e9;

class EndLimit extends Timer {
  constructor(readonly process: Process) {
    super();
  }
  fire(): void {
    const { process } = this;
    if (process.zombie) return;
    process.endLimit = null;
    // Threads that are stopped have come: it is for us to end them.
    const awaited = process.tasks.some((task) => task.runState === RUN_GUEST);
    if (process.container.frozen || !awaited) limitEnd(process);
    else firstLiving(process).mm.space.kill("it is to end, and does not");
  }
}
function limitEnd(process: Process): void {
  const { kernel } = process;
  if (process.endLimit !== null) return;
  process.endLimit = new EndLimit(process);
  kernel.timers.arm(process.endLimit, kernel.now() + (ownsMemory(process) ? END_OWNED_NS : END_SHARED_NS));
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

/**
 * What was being done for `task` has thrown: its process dies as by SIGSEGV, whatever it has made of that signal, since
 * nobody knows what state the call left behind. Nothing is thrown from here.
 */
export function endByBug(task: Task): void {
  const { process, kernel } = task;
  try {
    task.cancelWaits();
    if (task.runState < RUN_ZOMBIE) {
      task.runState = RUN_GUEST;
      process.exiting = true;
      process.exitStatus = SIGSEGV;
      exitGroup(task, SIGSEGV);
    }
  } catch (error) {
    kernel.logBug(`the end of pid ${task.tid} (${task.comm}) after a kernel bug`, error);
    process.exiting = true;
    for (const each of new Set([task, ...process.tasks])) retire(each, SIGSEGV, false);
  }
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
  const { kernel } = process;
  for (const other of [...process.tasks]) {
    if (other === task || other.runState >= RUN_ZOMBIE) continue;
    // The rest see for themselves that the process is exiting, each in its own turn.
    if (kernel.ended >= ENDED_PER_TURN) {
      wakeStopped(other);
      if (other.runState !== RUN_GUEST || !other.notify) other.kick();
      continue;
    }
    // With the memory going, a running thread goes with it, and a stopped one needs no ending of its own.
    if (owned) retire(other, process.exitStatus, false);
    else if (other.runState !== RUN_GUEST) retire(other, process.exitStatus, true);
    else other.kick();
  }
}

/** What ending one thread consists of, in this order. `stopped` as for `retire`. */
type ExitStep = (task: Task, stopped: boolean) => void;
const EXIT_STEPS: readonly ExitStep[] = [
  (task) => task.kernel.tracer?.onExit(task, task.exitStatus),
  (task) => task.cancelWaits(),
  abandonFutexes,
  (task) => task.endCall(),
  (task, stopped) => {
    if (task.ctx !== null && stopped) task.ctx.addressSpace.executor = task.ctx;
    if (task.robustList !== 0) exitRobustList(task);
  },
  abandonLocks,
  clearTid,
  keepCpuTime,
  ({ mm, process, kernel }) => {
    if (process.parent?.asksForUsage && mm.users === 1)
      process.maxResident = Math.max(process.maxResident, memoryUse(kernel, mm, null).resident);
  },
  (task) => {
    task.runState = task === task.process.leader ? RUN_ZOMBIE : RUN_DEAD;
  },
  releaseVfork,
  (task, stopped) => {
    const { ctx } = task;
    if (ctx === null) return;
    ctx.owner = null;
    task.ctx = null;
    if (task.mm.users > 1 && stopped) {
      if (ctx.addressSpace.executor === ctx) ctx.addressSpace.executor = null;
      ctx.destroy();
    }
  },
  (task) => task.mm.release(),
  releaseFiles,
  (task) => task.fs.release(),
  (task) => {
    task.process.actions.users--;
    userCounts(task.container, task.cred.uid).tasks--;
    dropUser(task.container, task.cred.uid);
  },
  (task) => flushQueue(task, task.signals.pending, () => true),
  adoptChildren,
  (task) => {
    const { process } = task;
    if (task === process.leader) return;
    process.tasks.splice(process.tasks.indexOf(task), 1);
    task.container.removeTask(task);
  },
  ({ process }) => {
    const living = livingTasks(process);
    if (living === 0) endProcess(process);
    else {
      finishStop(process);
      retargetPending(process);
      if (living === 1) process.threadWait.wake();
      // A pidfd may stand for this thread alone.
      process.exitWait.wake();
    }
  },
];

/**
 * Ends one thread. `stopped`: its context is stopped, and is to be destroyed if its address space lives on.
 *
 * Invariant: nothing can stop it half-way. A step that throws (a kernel bug) is logged and left out; the others run, so
 * that memory and descriptors go and the parent is told, whatever is broken. Who it was that another one ended, or that
 * a bug ended, makes no difference.
 */
export function retire(task: Task, status: number, stopped: boolean): void {
  if (task.runState >= RUN_ZOMBIE || task.retiring) return;
  task.retiring = true;
  task.suspended = null;
  task.notify = false;
  task.exitStatus = status;
  const { kernel } = task;
  if (kernel.ended++ === 0) kernel.endedSince = kernel.now();
  for (const step of EXIT_STEPS)
    try {
      step(task, stopped);
    } catch (error) {
      kernel.logBug(`the end of pid ${task.tid} (${task.comm})`, error);
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
  const chore = new CloseFiles(task, files);
  if (files.end > CLOSED_AT_ONCE) task.kernel.chores.push(chore);
  else chore.step(null);
}

/** Closes what a task has left open. */
class CloseFiles implements Chore {
  constructor(
    private readonly task: Task,
    private readonly files: FdTable,
  ) {}
  private next = 0;
  step(slice: Slice | null): boolean {
    const { files, task } = this;
    while (this.next < files.end) {
      const fd = this.next++;
      const file = files.get(fd);
      if (fd % 64 === 0 && slice?.over === true) {
        this.next = fd;
        return false;
      }
      if (file === undefined) continue;
      files.remove(fd);
      try {
        closeFile(task, files, file);
      } catch (error) {
        task.kernel.logBug(`the end of pid ${task.tid} (${task.comm}), descriptor ${fd}`, error);
      }
    }
    return true;
  }
}

/** What ending a process consists of, once its last thread is gone. */
const PROCESS_EXIT_STEPS: readonly ((process: Process) => void)[] = [
  (process) => flushQueue(process.leader, process.pending, () => true),
  (process) => process.cpuLimit?.stop(),
  releaseTimers,
  ({ kernel, endLimit }) => endLimit && kernel.timers.cancel(endLimit),
  (process) => {
    for (const cleanup of process.kernel.processCleanups)
      try {
        cleanup(process);
      } catch (error) {
        process.kernel.logBug(`what is done after the end of pid ${process.pid}`, error);
      }
  },
  leaderGone,
  (process) => orphanCheck(process, process.parent, process),
  (process) => {
    process.zombie = true;
  },
  (process) => {
    if (process === process.pids.init) endSpace(process.pids);
    process.container.processEnded(process);
  },
  (process) => process.exitWait.wake(),
  notifyParent,
  (process) => process.container.lookForEnd(),
];

/** The last thread is gone. As with `retire`, a step that throws does not keep the others from being done. */
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
  for (const step of PROCESS_EXIT_STEPS)
    try {
      step(process);
    } catch (error) {
      kernel.logBug(`the end of process ${process.pid}`, error);
    }
}

/** The init of a pid space is gone: so is everyone in it, and nobody can be born there any more. */
function endSpace(pids: PidSpace): void {
  pids.init = null;
  pids.dead = true;
  for (const other of [...pids.processes.values()]) {
    other.container.thaw();
    killProcess(other, SIGKILL);
  }
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
  const { init } = process.pids;
  return init !== null && init !== process && !init.exiting ? init : null;
}

/** Tells the parent that a child has ended; reaps it at once where nobody will. */
function notifyParent(process: Process): void {
  const { parent } = process;
  if (parent === null || parent.zombie) {
    try {
      const { container } = process;
      if (process !== container.first) container.onExit?.(process, process.exitStatus);
    } finally {
      reap(process);
    }
    return;
  }
  // clone(2) takes any byte for the signal; what is none is not sent.
  let signo = process.exitSignal <= SIGRTMAX ? process.exitSignal : 0;
  let unwanted = false;
  if (signo === SIGCHLD) {
    const action = parent.actions.actions[SIGCHLD]!;
    if (action.handler === SIG_IGN || (action.flags & SA_NOCLDWAIT) !== 0) {
      unwanted = true;
      if (action.handler === SIG_IGN) signo = 0;
    }
  }
  try {
    if (signo > 0) sendSignal(parent, childInfo(process, signo));
  } finally {
    if (unwanted) reap(process);
    parent.childWait.wake();
  }
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
  const { leader, parent, container, pids } = process;
  if (parent !== null) {
    parent.children.delete(process);
    parent.childrenUserTime += process.userTime + process.childrenUserTime;
    parent.childrenSystemTime += process.systemTime + process.childrenSystemTime;
  }
  leaveGroup(process);
  if (pids.processes.get(process.pid) === process) pids.processes.delete(process.pid);
  container.processes.delete(process);
  container.removeTask(leader);
  for (const fs of process.shownBy) fs.processGone(process);
  leader.runState = RUN_DEAD;
}

persistent("end-limit", EndLimit);
persistent("close-files", CloseFiles);
