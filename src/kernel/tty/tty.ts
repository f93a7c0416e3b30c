/**
 * A terminal as its users see it: settings, window size, session and foreground group; the ioctls on them are in ioctls.ts.
 * Where the characters come from and go to is the work of the subclasses: PtySlave, HostTty.
 *
 * Source: tty(4), ioctl_tty(2), Linux drivers/tty/tty_io.c and tty_ioctl.c for the order of checks.
 */
import { EAGAIN, ENOTTY } from "../abi/errno.ts";
import type { Kernel } from "../kernel.ts";
import { SIGHUP, SIGWINCH } from "../signal/numbers.ts";
import { kernelInfo, sendToGroup } from "../signal/send.ts";
import { persistent } from "../state/registry.ts";
import type { ControllingTty, ProcessGroup, Session } from "../task/session.ts";
import type { Task } from "../task/task.ts";
import { Timer } from "../time/timers.ts";
import type { Path } from "../vfs/dentry.ts";
import type { File } from "../vfs/file.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "../vfs/file.ts";
import type { Io } from "../vfs/io.ts";
import { WaitQueue } from "../wait-queue.ts";
import { TTY_IOCTLS } from "./ioctls.ts";
import { hangupSession, releaseSession } from "./job-control.ts";
import { type Termios, VMIN, VTIME } from "./termios.ts";

export interface WindowSize {
  rows: number;
  columns: number;
  xPixels: number;
  yPixels: number;
}

/** When new settings take effect, and whether unread input is dropped. */
export type SetMode = "now" | "drain" | "flush";

/** A reader's VTIME. */
export interface VtimeWait {
  kind: "vtime";
  deadline: number;
  /** Bytes that were there when the clock started. */
  seen: number;
}

/** Lets waiting readers look at their clocks. */
class VtimeTimer extends Timer {
  constructor(private readonly waiters: WaitQueue) {
    super();
  }
  fire(): void {
    this.waiters.wake(POLLIN | POLLRDNORM, Number.POSITIVE_INFINITY);
  }
}

export const HUNG_UP = POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;

export abstract class Tty implements ControllingTty {
  session: Session | null = null;
  foreground: ProcessGroup | null = null;
  /** Readers, writers and pollers of this terminal. */
  readonly waiters = new WaitQueue();
  /** Open files now. */
  opens = 0;
  /** Goes up with each hang-up: files opened before it are dead. */
  generation = 0;
  /** TIOCEXCL. */
  exclusive = false;
  private vtimeTimer: VtimeTimer | null = null;

  constructor(
    readonly kernel: Kernel,
    /** Device number. */
    readonly rdev: number,
  ) {}

  /** Opens it once more; the caller has checked who may. */
  abstract open(path: Path, flags: number, task: Task): File | number;
  /** A file lets go of it. */
  abstract closed(): void;
  /** Its container is gone. */
  discard(): void {}
  /** Bytes read, 0 at the end of file, -EAGAIN. The reader is in the foreground. */
  abstract readInput(task: Task, io: Io, nonBlocking: boolean): number;
  abstract writeOutput(task: Task, io: Io): number;
  abstract poll(): number;
  /** The settings now; the caller does not change the object. */
  abstract getTermios(): Termios;
  abstract setTermios(termios: Termios, mode: SetMode): number;
  abstract getWindowSize(): WindowSize;
  abstract setWindowSize(size: WindowSize): number;
  /** TIOCINQ, TIOCOUTQ. */
  abstract inputCount(): number;
  outputCount(): number {
    return 0;
  }
  /** TCFLSH: drop what was not read, what was not sent. */
  abstract flushQueues(input: boolean, output: boolean): void;
  /** TCXONC: stop or start output; tell the other side to stop or start. */
  abstract flow(action: number): number;
  /** TIOCSTI: as if typed. */
  abstract inject(byte: number): number;
  /**
   * May a read of raw input go on, with `available` bytes there? 1: take them (none at all is the end of the wait by
   * VTIME); -EAGAIN: wait on. VMIN and VTIME as in termios(3); a task's deadline lives in its restart record.
   */
  protected rawReady(task: Task, available: number, wanted: number, nonBlocking: boolean): number {
    const { cc } = this.getTermios();
    const min = cc[VMIN]!;
    const timeNs = cc[VTIME]! * 1e8;
    if (available >= Math.min(Math.max(min, 1), wanted)) return 1;
    if (min === 0 && timeNs === 0) return 1;
    if (nonBlocking) return available > 0 ? 1 : -EAGAIN;
    if (timeNs === 0 || (min > 0 && available === 0)) return -EAGAIN;
    task.restart ??= {};
    const { restart } = task;
    const now = task.kernel.now();
    let wait = restart.data?.kind === "vtime" ? restart.data : undefined;
    // With VMIN the clock starts anew with each byte, without it runs from the call.
    if (wait === undefined || (min > 0 && wait.seen !== available))
      restart.data = wait = { kind: "vtime", deadline: now + timeNs, seen: available };
    if (now >= wait.deadline) return 1;
    this.vtimeTimer ??= new VtimeTimer(this.waiters);
    if (!this.vtimeTimer.armed || this.vtimeTimer.deadline > wait.deadline)
      this.kernel.timers.arm(this.vtimeTimer, wait.deadline);
    return -EAGAIN;
  }

  /** ControllingTty: the session leader has ended. */
  hangup(): void {
    const { foreground } = this;
    releaseSession(this);
    if (foreground !== null) sendToGroup(foreground, kernelInfo(SIGHUP));
  }

  /** The line is gone: every open file is dead, the session leader is told. */
  lineGone(): void {
    this.generation++;
    hangupSession(this);
    this.waiters.wake(HUNG_UP, Number.POSITIVE_INFINITY);
  }

  /** A signal from the terminal (^C and the like) to the foreground group. */
  signalForeground(signo: number): void {
    if (this.foreground !== null) sendToGroup(this.foreground, kernelInfo(signo));
  }

  /** The size changed on whichever side. */
  protected sizeChanged(): void {
    this.signalForeground(SIGWINCH);
  }

  /** `file` may be another end of the terminal (a pty master), whose ioctls act on this one. */
  ioctl(task: Task, file: File, request: number, arg: number, master = false): number {
    return TTY_IOCTLS.get(request)?.(this, task, arg, file, master) ?? -ENOTTY;
  }
}

persistent("vtime-timer", VtimeTimer);
persistent("terminal", Tty);
