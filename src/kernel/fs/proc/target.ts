/**
 * Whom a /proc/PID directory is about, and who may look.
 *
 * Source: proc(5), ptrace(2) "Ptrace access mode checking". Invariant: a target never outlives its process: once that is
 * reaped, `task` is null and every file below answers ESRCH.
 */
import type { Kernel } from "../../kernel.ts";
import type { Mm } from "../../mm/mm.ts";
import { persistent } from "../../state/registry.ts";
import { CAP_SYS_PTRACE, type Credentials, capable } from "../../task/credentials.ts";
import type { Process } from "../../task/process.ts";
import { RUN_DEAD, RUN_ZOMBIE, type Task } from "../../task/task.ts";
import type { PseudoFs } from "../pseudo/node.ts";

export class Target {
  readonly kernel: Kernel;
  constructor(
    readonly fs: PseudoFs,
    readonly process: Process,
    /** A thread of /proc/PID/task; null: the process as a whole, that is its leader of the moment. */
    readonly thread: Task | null,
  ) {
    this.kernel = fs.kernel;
  }

  /** The thread to show, null once it is gone. */
  get task(): Task | null {
    if (this.process.reaped) return null;
    if (this.thread === null) return this.process.leader;
    return this.thread.runState === RUN_DEAD || this.thread.process !== this.process ? null : this.thread;
  }

  /** Its memory; null for zombies, which have none. */
  get mm(): Mm | null {
    const task = this.task;
    return task === null ? null : liveMm(task);
  }

  /** Linux gives the files to the process' user, or to root when it is not dumpable. */
  owner(): { uid: number; gid: number } {
    const cred = this.task?.cred;
    return cred === undefined || this.process.dumpable !== 1 ? { uid: 0, gid: 0 } : { uid: cred.euid, gid: cred.egid };
  }
}

/** A zombie leader has no memory, but other threads of its process may still run in it. */
export function liveMm(task: Task): Mm | null {
  if (task.runState < RUN_ZOMBIE) return task.mm;
  for (const other of task.process.tasks) if (other.runState < RUN_ZOMBIE) return other.mm;
  return null;
}

/** PTRACE_MODE_READ with the reader's file system ids: may `reader` look into `task`? */
export function mayInspect(reader: Task, task: Task): boolean {
  if (reader.process === task.process) return true;
  // A descriptor of somebody else's /proc does not lead into processes that the reader has no number for.
  if (reader.pids !== task.pids) return false;
  const cred = reader.cred;
  if (capable(cred, CAP_SYS_PTRACE)) return true;
  return task.process.dumpable === 1 && sameUser(cred, task.cred) && capsContain(cred, task.cred);
}

function sameUser(reader: Credentials, target: Credentials): boolean {
  const { fsuid, fsgid } = reader;
  return (
    fsuid === target.euid &&
    fsuid === target.suid &&
    fsuid === target.uid &&
    fsgid === target.egid &&
    fsgid === target.sgid &&
    fsgid === target.gid
  );
}

/** The looker holds every capability that the target may use. */
function capsContain(reader: Credentials, target: Credentials): boolean {
  return (target.permitted.lo & ~reader.effective.lo) === 0 && (target.permitted.hi & ~reader.effective.hi) === 0;
}

persistent("proc-target", Target);
