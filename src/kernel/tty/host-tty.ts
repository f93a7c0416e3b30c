/**
 * A terminal of the host as a terminal of guests: stdio of `runts do`, or a console that a caller passed in.
 *
 * The host's line discipline does the editing and the echo; sessions, the foreground group and job control are ours, for
 * the host knows nothing of guest processes. What the host's terminal would do with a signal (^C, a new window size)
 * reaches the sandbox as a host signal, which boot passes to `signalForeground`.
 *
 * Needs: `fd` is non-blocking, opened for this alone (setting O_NONBLOCK on a descriptor that others share would change it
 * for them), and not the controlling terminal of the sandbox process' session, or that of its session leader.
 * Source: tty(4), ioctl_tty(2). Never passed on: TIOCSTI and everything else that is not listed here.
 */

import { closeFd, ioctl, ioctlValue, isatty, poll1, readFd, writeFd } from "../../native/host.ts";
import type { HostWatcher } from "../../native/poller.ts";
import { EAGAIN, EBUSY, EFAULT, EIO, ENOTTY, EPERM } from "../abi/errno.ts";
import { O_NOCTTY } from "../abi/fcntl.ts";
import { makedev } from "../abi/stat.ts";
import type { Container } from "../container.ts";
import { persistent } from "../state/registry.ts";
import { CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import type { Path } from "../vfs/dentry.ts";
import { type File, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "../vfs/file.ts";
import type { Io } from "../vfs/io.ts";
import {
  TCFLSH,
  TCGETS2,
  TCSETS2,
  TCSETSF2,
  TCSETSW2,
  TCXONC,
  TIOCGWINSZ,
  TIOCINQ,
  TIOCOUTQ,
  TIOCSWINSZ,
} from "./ioctl-numbers.ts";
import { adoptAtOpen } from "./job-control.ts";
import { PTY_SLAVE_MAJOR } from "./pty.ts";
import { TERMIOS2_SIZE, Termios } from "./termios.ts";
import { HUNG_UP, type SetMode, Tty, type WindowSize } from "./tty.ts";
import { TtyFile } from "./tty-file.ts";

const EPOLLET = 1 << 31;
const READABLE = POLLIN | POLLRDNORM;
const WRITABLE = POLLOUT | POLLWRNORM;

const SET_REQUEST: Record<SetMode, number> = { now: TCSETS2, drain: TCSETSW2, flush: TCSETSF2 };

const buffer = new Uint8Array(16384);
const small = new Uint8Array(64);
const smallView = new DataView(small.buffer);
const count = new Int32Array(1);

/** Settings and size of a terminal. */
interface Settings {
  readonly termios: Termios;
  readonly size: readonly number[];
}

export class HostTty extends Tty implements HostWatcher {
  /** Taken from a guest, and not yet taken by the host. */
  private unsent: Uint8Array | null = null;
  private gone = false;
  /** Owner and mode of its node in devpts. */
  uid = 0;
  gid = 0;
  mode = 0o620;
  /** devpts has not yet given it the group and mode of its mount. */
  fresh = true;

  private constructor(
    readonly container: Container,
    readonly index: number,
    public fd: number,
    /** As which descriptor the container's first process was given it; -1: it came some other way. */
    readonly inherited: number,
  ) {
    super(container.kernel, makedev(PTY_SLAVE_MAJOR, index));
  }

  /** Makes a host terminal known to guests as the next /dev/pts/N. Takes over `fd`. `inherited`: see there. */
  static attach(container: Container, fd: number, inherited = -1): HostTty | number {
    const tty = container.ptys.add((index) => new HostTty(container, index, fd, inherited));
    if (typeof tty === "number") return tty;
    tty.watch();
    return tty;
  }
  private watch(): void {
    this.kernel.poller.watch(this.fd, POLLIN | POLLOUT | POLLHUP | EPOLLET, this);
  }

  /** What a guest has set, for the terminal that takes this one's place. */
  private settings: Settings | null = null;
  currentSettings(): Settings | null {
    if (this.gone) return null;
    const { rows, columns, xPixels, yPixels } = this.getWindowSize();
    return { termios: this.getTermios(), size: [rows, columns, xPixels, yPixels] };
  }
  /** Goes on with another terminal of the host; -errno: with none, so that it reads as ended and takes nothing more. */
  continueOn(fd: number): void {
    if (fd < 0) {
      this.gone = true;
      this.generation++;
      return;
    }
    this.fd = fd;
    if (this.settings !== null) this.setTermios(this.settings.termios, "now");
    this.watch();
  }
  /** Readers and programs that draw look again. */
  afterContinuing(): void {
    const { settings } = this;
    this.settings = null;
    if (this.gone) this.waiters.wake(HUNG_UP, Number.POSITIVE_INFINITY);
    else if (settings !== null && settings.size.join() !== this.currentSettings()!.size.join()) this.sizeChanged();
  }

  /** HostWatcher. */
  hostReady(_fd: number, events: number): void {
    if (events & POLLOUT && this.flushUnsent() && this.opens === 0) {
      this.closed();
      return;
    }
    if (events & (POLLHUP | POLLERR)) this.lost();
    this.waiters.wake(events | (events & POLLIN ? READABLE : 0) | (events & POLLOUT ? WRITABLE : 0));
  }
  /** The host's side of the line is gone. */
  private lost(): void {
    if (this.gone) return;
    this.gone = true;
    this.kernel.poller.unwatch(this.fd);
    this.lineGone();
  }

  override open(path: Path, flags: number, task: Task): File | number {
    if (this.gone) return -EIO;
    if (this.exclusive && !capable(task.cred, CAP_SYS_ADMIN)) return -EBUSY;
    const file = new TtyFile(this, flags, path, path.dentry.inode);
    if ((flags & O_NOCTTY) === 0) adoptAtOpen(this, task, file.readable);
    return file;
  }
  /**
   * The last guest file is closed. The terminal is given back, so that whoever holds its other side sees the end; only
   * the console stays, since guests may open it again.
   */
  override closed(): void {
    if (this.opens > 0) return;
    this.exclusive = false;
    if (this.container.console !== this && this.flushUnsent()) this.giveBack();
  }
  private giveBack(): void {
    if (this.container.ptys.get(this.index) !== this) return;
    this.kernel.poller.unwatch(this.fd);
    this.container.ptys.remove(this.index);
    this.gone = true;
    if (this.fd >= 0) closeFd(this.fd);
  }

  override discard(): void {
    this.lost();
    this.giveBack();
  }

  override readInput(task: Task, io: Io, nonBlocking: boolean): number {
    const want = Math.min(io.remaining, buffer.length);
    if (want === 0) return 0;
    // What is read from the host must not be lost on a bad address.
    const usable = io.usable(want, true);
    if (usable === 0) return -EFAULT;
    if (!this.getTermios().canonical) {
      const available = this.inputCount();
      const ready = this.rawReady(task, available, io.remaining, nonBlocking);
      if (ready < 0) return this.gone ? 0 : ready;
      if (available === 0) return 0;
    }
    const n = readFd(this.fd, buffer, usable);
    return n <= 0 ? n : io.put(buffer, 0, n);
  }
  override writeOutput(_task: Task, io: Io): number {
    if (!this.flushUnsent()) return -EAGAIN;
    const n = io.take(buffer, 0, Math.min(io.remaining, buffer.length));
    if (n <= 0) return n;
    const written = writeFd(this.fd, buffer, n);
    if (written === n) return n;
    if (written < 0 && written !== -EAGAIN) return written;
    // The bytes have left the guest: they wait here until the host takes them.
    this.unsent = buffer.slice(Math.max(0, written), n);
    return n;
  }
  /** True when nothing waits. */
  private flushUnsent(): boolean {
    if (this.unsent === null) return true;
    const n = writeFd(this.fd, this.unsent, this.unsent.length);
    if (n === this.unsent.length || (n < 0 && n !== -EAGAIN)) this.unsent = null;
    else if (n > 0) this.unsent = this.unsent.slice(n);
    return this.unsent === null;
  }

  override poll(): number {
    const events = poll1(this.fd, POLLIN | POLLOUT, 0);
    if (events < 0) return POLLERR | POLLHUP;
    let out = events & (POLLERR | POLLHUP);
    if (events & POLLIN) out |= READABLE;
    if (events & POLLOUT && this.unsent === null) out |= WRITABLE;
    return out;
  }

  override getTermios(): Termios {
    const termios = new Termios();
    if (ioctl(this.fd, TCGETS2, small) >= 0) termios.decode(smallView, TERMIOS2_SIZE);
    return termios;
  }
  override setTermios(termios: Termios, mode: SetMode): number {
    termios.encode(smallView, TERMIOS2_SIZE);
    const result = ioctl(this.fd, SET_REQUEST[mode], small);
    // Readers look again: what is there may be whole lines now, or bytes.
    this.waiters.wake(READABLE);
    return result;
  }
  override getWindowSize(): WindowSize {
    small.fill(0, 0, 8);
    ioctl(this.fd, TIOCGWINSZ, small);
    return {
      rows: smallView.getUint16(0, true),
      columns: smallView.getUint16(2, true),
      xPixels: smallView.getUint16(4, true),
      yPixels: smallView.getUint16(6, true),
    };
  }
  override setWindowSize(size: WindowSize): number {
    const old = this.getWindowSize();
    small.set(new Uint8Array(Uint16Array.of(size.rows, size.columns, size.xPixels, size.yPixels).buffer));
    const result = ioctl(this.fd, TIOCSWINSZ, small);
    if (result >= 0 && (old.rows !== size.rows || old.columns !== size.columns)) this.sizeChanged();
    return result;
  }
  override inputCount(): number {
    return ioctl(this.fd, TIOCINQ, count) < 0 ? 0 : count[0]!;
  }
  override outputCount(): number {
    return ioctl(this.fd, TIOCOUTQ, count) < 0 ? 0 : count[0]!;
  }
  override flushQueues(input: boolean, output: boolean): void {
    if (output) this.unsent = null;
    ioctlValue(this.fd, TCFLSH, input && output ? 2 : output ? 1 : 0);
  }
  override flow(action: number): number {
    return ioctlValue(this.fd, TCXONC, action);
  }
  /** Nobody types on the host's terminal but its user. */
  override inject(): number {
    return -EPERM;
  }
}

persistent("host-terminal", HostTty, {
  as: {
    settings: { save: (_none: null, tty: HostTty) => tty.currentSettings(), restore: (settings: Settings) => settings },
  },
  transient: { fd: () => -1 },
  reopen(tty, { host }) {
    const fd = tty.inherited < 0 ? -ENOTTY : host.inherited(tty.container.id, tty.inherited);
    const usable = fd >= 0 && isatty(fd) === 1;
    if (fd >= 0 && !usable) closeFd(fd);
    tty.continueOn(usable ? fd : -ENOTTY);
  },
  restored: (tty) => tty.afterContinuing(),
});
