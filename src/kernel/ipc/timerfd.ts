/**
 * timerfd: a timer that one reads.
 *
 * Source: timerfd_create(2), Linux fs/timerfd.c. After an expiry an interval timer is not armed again until somebody
 * reads it or asks for it: the expirations in between are counted then, so that a short interval costs nothing.
 * Gap: TFD_TIMER_CANCEL_ON_SET is accepted; the host's clock being set is not noticed.
 */
import { EAGAIN, EFAULT, EINVAL } from "../abi/errno.ts";
import type { Kernel } from "../kernel.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { Timer } from "../time/timers.ts";
import { POLLIN, POLLRDNORM } from "../vfs/file.ts";
import type { Io } from "../vfs/io.ts";
import { AnonFile } from "./anon-file.ts";

const bytes = new Uint8Array(8);
const view = new DataView(bytes.buffer);

class FdTimer extends Timer {
  constructor(readonly file: TimerFile) {
    super();
  }
  fire(): void {
    this.file.expired = true;
    this.file.waiters.wake(POLLIN | POLLRDNORM);
  }
}

export class TimerFile extends AnonFile {
  override readonly kind = "[timerfd]";
  private readonly timer = new FdTimer(this);
  /** Nanoseconds; 0: once. */
  intervalNs = 0;
  /** The timer has gone off and has not been read. */
  expired = false;
  /** Set, and still to go off (or an interval timer). */
  private active = false;

  constructor(
    readonly kernel: Kernel,
    flags: number,
    readonly clock: number,
  ) {
    super(flags | 2);
  }

  /** Sets it to go off `delayNs` from now (`onWall`: at that date); Infinity in effect never, and NaN disarms. */
  set(delayNs: number, intervalNs: number, onWall = false): void {
    this.kernel.timers.cancel(this.timer);
    this.kernel.timers.followWall(this.timer, onWall && !Number.isNaN(delayNs));
    this.expired = false;
    this.intervalNs = intervalNs;
    this.active = !Number.isNaN(delayNs);
    if (this.active) this.kernel.timers.arm(this.timer, this.kernel.now() + Math.max(0, delayNs));
  }

  /** Nanoseconds to the next expiry, 0 when disarmed. */
  remainingNs(): number {
    this.catchUp();
    if (!this.active || this.expired) return 0;
    return Math.max(1, this.timer.deadline - this.kernel.now());
  }

  /** Expirations that an interval timer has had without being armed again, carried on until it is read. */
  private backlog = 0;

  /** Counts what has passed since the last expiry and arms the next one; the expirations so far. */
  private catchUp(): number {
    if (!this.expired) return this.backlog;
    let passed = 1;
    if (this.intervalNs > 0 && Number.isFinite(this.intervalNs)) {
      const now = this.kernel.now();
      passed += Math.floor(Math.max(0, now - this.timer.deadline) / this.intervalNs);
      this.kernel.timers.arm(this.timer, this.timer.deadline + passed * this.intervalNs);
    } else this.active = false;
    this.expired = false;
    this.backlog += passed;
    return this.backlog;
  }

  override fdInfo(): string {
    const time = (ns: number) => `(${Math.floor(ns / 1e9)}, ${Math.floor(ns % 1e9)})`;
    const ticks = this.catchUp();
    return `clockid: ${this.clock}\nticks: ${ticks}\nsettime flags: 00\nit_value: ${time(this.remainingNs())}\nit_interval: ${time(this.intervalNs)}\n`;
  }

  override read(_task: Task, io: Io): number {
    if (io.remaining < 8) return -EINVAL;
    const count = this.catchUp();
    if (count === 0) return -EAGAIN;
    view.setUint32(0, count >>> 0, true);
    view.setUint32(4, Math.floor(count / 4294967296), true);
    if (io.put(bytes, 0, 8) < 8) return -EFAULT;
    this.backlog = 0;
    return 8;
  }
  override poll(): number {
    return this.expired || this.backlog > 0 ? POLLIN | POLLRDNORM : 0;
  }
  override onRelease(): void {
    this.kernel.timers.cancel(this.timer);
    this.kernel.timers.followWall(this.timer, false);
  }

  /** timerfd_settime throws away what has not been read. */
  forget(): void {
    this.backlog = 0;
  }
}

persistent("timerfd-timer", FdTimer);
persistent("timerfd", TimerFile);
