/** An open terminal. After a hang-up it reads as ended and takes nothing any more. */
import { EIO, ENOTTY } from "../abi/errno.ts";
import { SIGTTIN, SIGTTOU } from "../signal/numbers.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import type { Path } from "../vfs/dentry.ts";
import { File, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "../vfs/file.ts";
import type { Inode } from "../vfs/inode.ts";
import type { Io } from "../vfs/io.ts";
import type { WaitQueue } from "../wait-queue.ts";
import { TIOCSPGRP } from "./ioctl-numbers.ts";
import { checkForeground, inBackground } from "./job-control.ts";
import { TOSTOP } from "./termios.ts";
import type { Tty } from "./tty.ts";

export class TtyFile extends File {
  override readonly waiters: WaitQueue;
  private readonly generation: number;

  constructor(
    readonly tty: Tty,
    flags: number,
    path: Path | null,
    inode: Inode | null,
  ) {
    super(flags, path, inode);
    this.waiters = tty.waiters;
    this.generation = tty.generation;
    tty.opens++;
  }

  private get hungUp(): boolean {
    return this.generation !== this.tty.generation;
  }

  override read(task: Task, io: Io): number {
    if (this.hungUp) return 0;
    return checkForeground(this.tty, task, SIGTTIN) || this.tty.readInput(task, io, this.nonBlocking);
  }
  override write(task: Task, io: Io): number {
    if (this.hungUp) return -EIO;
    // Only then do the settings matter, which for a host terminal are a host call away.
    if (inBackground(this.tty, task.process) && this.tty.getTermios().has(TOSTOP)) {
      const stopped = checkForeground(this.tty, task, SIGTTOU);
      if (stopped < 0) return stopped;
    }
    return this.tty.writeOutput(task, io);
  }
  override poll(): number {
    if (this.hungUp) return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;
    return this.tty.poll();
  }
  override ioctl(task: Task, request: number, arg: number): number {
    if (this.hungUp) return request === TIOCSPGRP ? -ENOTTY : -EIO;
    return this.tty.ioctl(task, this, request, arg);
  }
  override onRelease(): void {
    this.tty.opens--;
    this.tty.closed();
  }
  override description(): string {
    return "/dev/tty";
  }
}

persistent("terminal-file", TtyFile);
