/**
 * pidfd: a process (or, with PIDFD_THREAD, a thread) as an open file.
 *
 * Source: pidfd_open(2), clone(2) (CLONE_PIDFD). Readable once the process has ended.
 */
import { O_RDWR } from "../abi/fcntl.ts";
import { persistent } from "../state/registry.ts";
import { File, POLLHUP, POLLIN, POLLRDNORM } from "../vfs/file.ts";
import { WaitQueue } from "../wait-queue.ts";
import type { Process } from "./process.ts";
import { RUN_DEAD, RUN_ZOMBIE, type Task } from "./task.ts";

export class PidFile extends File {
  /** The process' own queue, once there is a process. */
  override waiters: WaitQueue = new WaitQueue();
  constructor(
    public process: Process | null,
    /** The one thread it stands for; null: the whole process. */
    public thread: Task | null,
    flags: number,
  ) {
    super(flags | O_RDWR, null, null);
    if (process !== null) this.waiters = process.exitWait;
  }

  /** CLONE_PIDFD makes the file before the process. */
  bind(process: Process, thread: Task | null): void {
    this.process = process;
    this.thread = thread;
    this.waiters = process.exitWait;
  }

  override poll(): number {
    const { process, thread } = this;
    if (process === null) return 0;
    if (thread !== null && thread !== process.leader)
      return thread.runState >= RUN_ZOMBIE ? POLLIN | POLLRDNORM | POLLHUP : 0;
    if (!process.zombie) return 0;
    return POLLIN | POLLRDNORM | (process.leader.runState === RUN_DEAD ? POLLHUP : 0);
  }

  override fdInfo(reader: Task): string {
    const { process } = this;
    // 0 where the reader's space has no number for it; -1 when it is gone.
    const pid = process === null || process.reaped ? -1 : reader.pids.pidOf(process);
    return `Pid:\t${pid}\nNSpid:\t${pid}\n`;
  }
  override description(): string {
    return "anon_inode:[pidfd]";
  }
}

persistent("pidfd", PidFile);
