/**
 * A terminal as its users see it: settings, window size, session and foreground group, and the ioctls on them. Where the
 * characters come from and go to is the work of the subclasses: PtySlave, HostTty.
 *
 * Source: tty(4), ioctl_tty(2), Linux drivers/tty/tty_io.c and tty_ioctl.c for the order of checks.
 */
import { EAGAIN, EBUSY, EFAULT, EINVAL, EIO, ENOTTY, EPERM, ESRCH } from "../abi/errno.ts";
import type { Kernel } from "../kernel.ts";
import { SIGHUP, SIGTTOU, SIGWINCH } from "../signal/numbers.ts";
import { kernelInfo, sendToGroup } from "../signal/send.ts";
import { CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import type { ControllingTty, ProcessGroup, Session } from "../task/session.ts";
import type { Task } from "../task/task.ts";
import { Timer } from "../time/timers.ts";
import type { Path } from "../vfs/dentry.ts";
import type { File } from "../vfs/file.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "../vfs/file.ts";
import type { Io } from "../vfs/io.ts";
import { WaitQueue } from "../wait-queue.ts";
import {
  checkForeground,
  controllingTty,
  giveUp,
  hangupSession,
  releaseSession,
  setControlling,
} from "./job-control.ts";
import { CLOCAL, TERMIO_SIZE, TERMIOS_SIZE, TERMIOS2_SIZE, type Termios, takeSpeeds, VMIN, VTIME } from "./termios.ts";

export const TCGETS = 0x5401;
export const TCSETS = 0x5402;
export const TCSETSW = 0x5403;
export const TCSETSF = 0x5404;
export const TCGETA = 0x5405;
export const TCSETA = 0x5406;
export const TCSETAW = 0x5407;
export const TCSETAF = 0x5408;
export const TCSBRK = 0x5409;
export const TCXONC = 0x540a;
export const TCFLSH = 0x540b;
export const TIOCEXCL = 0x540c;
export const TIOCNXCL = 0x540d;
export const TIOCSCTTY = 0x540e;
export const TIOCGPGRP = 0x540f;
export const TIOCSPGRP = 0x5410;
export const TIOCOUTQ = 0x5411;
export const TIOCSTI = 0x5412;
export const TIOCGWINSZ = 0x5413;
export const TIOCSWINSZ = 0x5414;
export const TIOCGSOFTCAR = 0x5419;
export const TIOCSSOFTCAR = 0x541a;
export const TIOCINQ = 0x541b;
export const TIOCCONS = 0x541d;
export const TIOCPKT = 0x5420;
export const TIOCNOTTY = 0x5422;
export const TIOCSETD = 0x5423;
export const TIOCGETD = 0x5424;
export const TCSBRKP = 0x5425;
export const TIOCSBRK = 0x5427;
export const TIOCCBRK = 0x5428;
export const TIOCGSID = 0x5429;
export const TCGETS2 = 0x802c542a;
export const TCSETS2 = 0x402c542b;
export const TCSETSW2 = 0x402c542c;
export const TCSETSF2 = 0x402c542d;
export const TIOCGPTN = 0x80045430;
export const TIOCSPTLCK = 0x40045431;
export const TIOCGDEV = 0x80045432;
export const TIOCSIG = 0x40045436;
export const TIOCVHANGUP = 0x5437;
export const TIOCGPKT = 0x80045438;
export const TIOCGPTLCK = 0x80045439;
export const TIOCGEXCL = 0x80045440;
export const TIOCGPTPEER = 0x5441;

export interface WindowSize {
  rows: number;
  columns: number;
  xPixels: number;
  yPixels: number;
}

/** When new settings take effect, and whether unread input is dropped. */
export type SetMode = "now" | "drain" | "flush";

/** A reader's VTIME. */
interface VtimeWait {
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

const HUNG_UP = POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;

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
    let wait = restart.data as VtimeWait | undefined;
    // With VMIN the clock starts anew with each byte, without it runs from the call.
    if (wait === undefined || (min > 0 && wait.seen !== available))
      restart.data = wait = { deadline: now + timeNs, seen: available };
    if (now >= wait.deadline) return 1;
    this.vtimeTimer ??= new VtimeTimer(this.waiters);
    if (!this.vtimeTimer.armed || this.vtimeTimer.deadline > wait.deadline)
      this.kernel.timers.arm(this.vtimeTimer, wait.deadline);
    return -EAGAIN;
  }

  /** What a subclass adds. */
  extraIoctl(_task: Task, _file: File, _request: number, _arg: number): number {
    return -ENOTTY;
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
    switch (request) {
      case TCGETS:
        return this.putTermios(task, arg, TERMIOS_SIZE);
      case TCGETS2:
        return this.putTermios(task, arg, TERMIOS2_SIZE);
      case TCGETA: {
        const view = new DataView(new ArrayBuffer(TERMIO_SIZE));
        this.getTermios().encodeOld(view);
        return task.mm.writeBytes(arg, new Uint8Array(view.buffer));
      }
      case TCSETS:
        return this.takeTermios(task, arg, TERMIOS_SIZE, "now");
      case TCSETSW:
        return this.takeTermios(task, arg, TERMIOS_SIZE, "drain");
      case TCSETSF:
        return this.takeTermios(task, arg, TERMIOS_SIZE, "flush");
      case TCSETS2:
        return this.takeTermios(task, arg, TERMIOS2_SIZE, "now");
      case TCSETSW2:
        return this.takeTermios(task, arg, TERMIOS2_SIZE, "drain");
      case TCSETSF2:
        return this.takeTermios(task, arg, TERMIOS2_SIZE, "flush");
      case TCSETA:
        return this.takeTermios(task, arg, TERMIO_SIZE, "now");
      case TCSETAW:
        return this.takeTermios(task, arg, TERMIO_SIZE, "drain");
      case TCSETAF:
        return this.takeTermios(task, arg, TERMIO_SIZE, "flush");
      case TIOCGWINSZ:
        return this.putWindowSize(task, arg);
      case TIOCSWINSZ:
        return this.takeWindowSize(task, arg);
      case TIOCGPGRP:
        if (!master && controllingTty(task.process) !== this) return -ENOTTY;
        return task.mm.writeU32(arg, this.foreground?.id ?? 0);
      case TIOCSPGRP:
        return this.setForeground(task, arg);
      case TIOCGSID:
        if ((!master && controllingTty(task.process) !== this) || this.session === null) return -ENOTTY;
        return task.mm.writeU32(arg, this.session.id);
      case TIOCSCTTY:
        return setControlling(this, task, arg === 1, file.readable);
      case TIOCNOTTY:
        return giveUp(this, task);
      case TIOCINQ:
        return task.mm.writeU32(arg, this.inputCount());
      case TIOCOUTQ:
        return task.mm.writeU32(arg, this.outputCount());
      case TCFLSH:
        return checkForeground(this, task, SIGTTOU) || this.flushAs(arg);
      case TCXONC:
        return checkForeground(this, task, SIGTTOU) || (arg > 3 ? -EINVAL : this.flow(arg));
      case TCSBRK:
      case TCSBRKP:
      case TIOCSBRK:
        return checkForeground(this, task, SIGTTOU);
      case TIOCCBRK:
        return checkForeground(this, task, SIGTTOU);
      case TIOCEXCL:
        this.exclusive = true;
        return 0;
      case TIOCNXCL:
        this.exclusive = false;
        return 0;
      case TIOCGEXCL:
        return task.mm.writeU32(arg, this.exclusive ? 1 : 0);
      case TIOCGETD:
        return task.mm.writeU32(arg, 0);
      case TIOCSETD: {
        const discipline = task.mm.readU32(arg);
        if (discipline < 0) return -EFAULT;
        return checkForeground(this, task, SIGTTOU) || (discipline === 0 ? 0 : -EINVAL);
      }
      case TIOCSTI:
        return this.typeAhead(task, arg);
      case TIOCGSOFTCAR:
        return task.mm.writeU32(arg, this.getTermios().cflag & CLOCAL ? 1 : 0);
      case TIOCSSOFTCAR: {
        const on = task.mm.readU32(arg);
        if (on < 0) return -EFAULT;
        const termios = this.getTermios().clone();
        termios.cflag = on ? termios.cflag | CLOCAL : termios.cflag & ~CLOCAL;
        return this.setTermios(termios, "now");
      }
      case TIOCCONS:
        return capable(task.cred, CAP_SYS_ADMIN) ? -EBUSY : -EPERM;
      case TIOCGDEV:
        return task.mm.writeU32(arg, this.rdev);
      case TIOCVHANGUP:
        if (!capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
        this.lineGone();
        return 0;
      default:
        return this.extraIoctl(task, file, request, arg);
    }
  }

  private putTermios(task: Task, arg: number, size: number): number {
    const view = new DataView(new ArrayBuffer(size));
    this.getTermios().encode(view, size);
    return task.mm.writeBytes(arg, new Uint8Array(view.buffer));
  }

  private takeTermios(task: Task, arg: number, size: number, mode: SetMode): number {
    const stopped = checkForeground(this, task, SIGTTOU);
    if (stopped < 0) return stopped;
    const view = task.mm.readStruct(arg, size);
    if (view === null) return -EFAULT;
    const termios = this.getTermios().clone();
    if (size === TERMIO_SIZE) termios.decodeOld(view);
    else termios.decode(view, size);
    takeSpeeds(termios);
    return this.setTermios(termios, mode);
  }

  private putWindowSize(task: Task, arg: number): number {
    const { rows, columns, xPixels, yPixels } = this.getWindowSize();
    return task.mm.writeBytes(arg, new Uint8Array(Uint16Array.of(rows, columns, xPixels, yPixels).buffer));
  }

  private takeWindowSize(task: Task, arg: number): number {
    const view = task.mm.readStruct(arg, 8);
    if (view === null) return -EFAULT;
    return this.setWindowSize({
      rows: view.getUint16(0, true),
      columns: view.getUint16(2, true),
      xPixels: view.getUint16(4, true),
      yPixels: view.getUint16(6, true),
    });
  }

  private setForeground(task: Task, arg: number): number {
    const stopped = checkForeground(this, task, SIGTTOU);
    if (stopped < 0) return stopped === -EIO ? -ENOTTY : stopped;
    const id = task.mm.readU32(arg);
    if (id < 0) return -EFAULT;
    if (id > 0x7fffffff) return -EINVAL;
    const { session } = task.process.group;
    if (controllingTty(task.process) !== this || this.session !== session) return -ENOTTY;
    const group = this.kernel.groups.get(id);
    if (group === undefined) return -ESRCH;
    if (group.session !== session) return -EPERM;
    this.foreground = group;
    return 0;
  }

  private flushAs(selector: number): number {
    if (selector > 2) return -EINVAL;
    this.flushQueues(selector !== 1, selector !== 0);
    return 0;
  }

  /** As on Linux with dev.tty.legacy_tiocsti=0: only the administrator may put words into somebody's mouth. */
  private typeAhead(task: Task, arg: number): number {
    if (!capable(task.cred, CAP_SYS_ADMIN)) return -EIO;
    const view = task.mm.readStruct(arg, 1);
    return view === null ? -EFAULT : this.inject(view.getUint8(0));
  }
}
