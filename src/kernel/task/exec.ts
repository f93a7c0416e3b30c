/**
 * What execve does to the thread group, apart from the new image: one thread remains, and takes the process' pid;
 * handlers, alternate stack, close-on-exec descriptors and the tie to a vfork parent go.
 *
 * Source: execve(2) ("Effect on process attributes"), signal(7).
 */

import { decodeName, encodeName } from "../abi/bytes.ts";
import { EAGAIN } from "../abi/errno.ts";
import { clearTid } from "../futex/futex.ts";
import { abandonLocks } from "../futex/pi.ts";
import { exitRobustList } from "../futex/robust.ts";
import { SIGCHLD, SS_DISABLE } from "../signal/numbers.ts";
import { wakeStopped } from "../signal/stop.ts";
import { timersOnExec } from "../time/itimer.ts";
import { closeFile } from "../vfs/close-file.ts";
import type { ExecCredentials } from "./exec-credentials.ts";
import { ENDED_PER_TURN, livingTasks, releaseVfork, retire } from "./exit.ts";
import { RUN_DEAD, RUN_GUEST, RUN_ZOMBIE, type Task } from "./task.ts";

/**
 * The point of no return: ends the other threads of the process, makes `task` its leader, and lets go of what the old
 * address space holds for it (robust locks, tid word). Call with the old mm still in place; afterwards the mm may be
 * replaced. 0, -errno, or BLOCKED (the handler is run again when the other threads are gone).
 */
export function prepareExec(task: Task): number {
  const { process } = task;
  if (process.exiting || task.killed || (process.execTask !== null && process.execTask !== task)) return -EAGAIN;
  if (livingTasks(process) > 1) {
    process.execTask = task;
    for (const other of [...process.tasks]) {
      if (other === task || other.killed || other.runState >= RUN_ZOMBIE) continue;
      other.killed = true;
      if (other.runState !== RUN_GUEST && task.kernel.ended < ENDED_PER_TURN) {
        wakeStopped(other);
        retire(other, 0, true);
      } else {
        wakeStopped(other);
        other.kick();
      }
    }
    if (livingTasks(process) > 1) {
      task.waitOn(process.threadWait);
      return task.sleepKillable();
    }
  }
  process.execTask = null;
  becomeLeader(task);
  if (task.ctx !== null) task.ctx.addressSpace.executor = task.ctx;
  if (task.robustList !== 0) exitRobustList(task);
  abandonLocks(task);
  clearTid(task);
  return 0;
}

/** A thread that is not the leader takes over pid and place of the leader, which has ended. */
function becomeLeader(task: Task): void {
  const { process, container } = task;
  const old = process.leader;
  if (old === task) return;
  container.removeTask(task);
  container.removeTask(old);
  task.tid = process.pid;
  task.startTime = old.startTime;
  container.addTask(task);
  old.runState = RUN_DEAD;
  process.leader = task;
  process.tasks = [task];
}

/** The new image is in place: the rest of execve's effects. */
export function finishExec(task: Task, comm: string, rights: ExecCredentials): void {
  const { process, signals } = task;
  task.comm = decodeName(encodeName(comm).subarray(0, 15));
  closeOnExec(task);
  if (process.actions.users > 1) {
    process.actions.users--;
    process.actions = process.actions.copy();
  }
  process.actions.reset();
  signals.altStack = { sp: 0, size: 0, flags: SS_DISABLE };
  process.execed = true;
  // Whoever runs with rights that are not their own is not to be looked into.
  const { uid, euid, gid, egid } = task.cred;
  const own = uid === euid && gid === egid;
  process.dumpable = own && !rights.gained && !rights.unreadable ? 1 : 0;
  if (rights.secure || rights.gained) task.parentDeathSignal = 0;
  process.exitSignal = SIGCHLD;
  timersOnExec(process);
  releaseVfork(task);
}

/** A descriptor table shared with another process stays as it is: this one gets its own, then closes. */
function closeOnExec(task: Task): void {
  if (task.files.users > 1) {
    task.files.users--;
    task.files = task.files.copy();
  }
  const { files } = task;
  files.removeRange(0, files.end - 1, true, (file) => closeFile(task, files, file));
}
