/**
 * The numbers by which processes, threads, groups and sessions are known to each other: a pid namespace.
 *
 * Source: pid_namespaces(7). Spaces are not nested: every process has exactly one number that guests can see, in the one
 * space that it is in; whoever is in another sees 0 where that number would be shown.
 */
import type { Kernel } from "../kernel.ts";
import { persistent } from "../state/registry.ts";
import type { Process } from "./process.ts";
import type { ProcessGroup, Session } from "./session.ts";
import type { Task } from "./task.ts";

/** PIDs and TIDs go up to this, then start again (kernel.pid_max). */
const PID_MAX = 4194304;
/** Where they start again. */
const PID_RESTART = 300;

export class PidSpace {
  readonly tasks = new Map<number, Task>();
  readonly processes = new Map<number, Process>();
  readonly groups = new Map<number, ProcessGroup>();
  readonly sessions = new Map<number, Session>();
  /** Its first process, until that has ended: who adopts orphans. */
  init: Process | null = null;
  /** Init has ended: nobody can be born here any more. */
  dead = false;
  private lastPid = 0;

  constructor(
    readonly kernel: Kernel,
    /** Inode number in /proc/PID/ns. */
    readonly namespace: number,
  ) {}

  /** The number given out last. */
  get newest(): number {
    return this.lastPid;
  }

  /** A free thread id, or 0 when the sandbox is full or the space has lost its init. */
  allocate(): number {
    if (this.dead || this.kernel.full) return 0;
    for (let tries = 0; tries < PID_MAX; tries++) {
      this.lastPid = this.lastPid >= PID_MAX - 1 ? PID_RESTART : this.lastPid + 1;
      if (!this.inUse(this.lastPid)) {
        this.kernel.tasksMade++;
        return this.lastPid;
      }
    }
    return 0;
  }

  /** Group and session ids keep their number from being given out again. */
  private inUse(pid: number): boolean {
    return this.tasks.has(pid) || this.processes.has(pid) || this.groups.has(pid) || this.sessions.has(pid);
  }

  /** The number of a process for those in here: 0 where it is in another space. */
  pidOf(process: Process | null | undefined): number {
    return process?.pids === this ? process.pid : 0;
  }
  tidOf(task: Task | null | undefined): number {
    return task?.process.pids === this ? task.tid : 0;
  }
  /** The number of a group or a session. */
  idOf(group: ProcessGroup | Session | null | undefined): number {
    return group?.pids === this ? group.id : 0;
  }
}

persistent("pid-space", PidSpace);
