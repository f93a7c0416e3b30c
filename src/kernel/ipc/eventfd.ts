/**
 * eventfd: a counter that one reads and writes.
 *
 * Source: eventfd(2), Linux fs/eventfd.c. The counter is a u64 kept as two halves, so that no value is rounded.
 */

import { EAGAIN, EFAULT, EINVAL } from "../abi/errno.ts";
import { O_RDWR } from "../abi/fcntl.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from "../vfs/file.ts";
import type { Io } from "../vfs/io.ts";
import { AnonFile } from "./anon-file.ts";

const TOP = 0xffffffff;
const bytes = new Uint8Array(8);
const view = new DataView(bytes.buffer);

export class EventFile extends AnonFile {
  override readonly kind = "[eventfd]";
  override readonly wakesOne = true;
  private hi = 0;

  constructor(
    flags: number,
    private lo: number,
    /** EFD_SEMAPHORE: a read takes one. */
    readonly semaphore: boolean,
  ) {
    super(flags | O_RDWR);
  }

  override fdInfo(): string {
    const count = (this.hi * (TOP + 1) + this.lo).toString(16).padStart(16);
    return `eventfd-count: ${count}\neventfd-id: 0\neventfd-semaphore: ${this.semaphore ? 1 : 0}\n`;
  }

  override read(_task: Task, io: Io): number {
    if (io.remaining < 8) return -EINVAL;
    if (this.lo === 0 && this.hi === 0) return -EAGAIN;
    view.setUint32(0, this.semaphore ? 1 : this.lo, true);
    view.setUint32(4, this.semaphore ? 0 : this.hi, true);
    if (io.put(bytes, 0, 8) < 8) return -EFAULT;
    if (!this.semaphore) this.lo = this.hi = 0;
    else if (this.lo > 0) this.lo--;
    else {
      this.lo = TOP;
      this.hi--;
    }
    this.waiters.wake(POLLOUT | POLLWRNORM);
    if (this.lo !== 0 || this.hi !== 0) this.waiters.wakeExclusive(POLLIN | POLLRDNORM);
    return 8;
  }

  override write(_task: Task, io: Io): number {
    if (io.remaining < 8) return -EINVAL;
    if (io.take(bytes, 0, 8) < 8) return -EFAULT;
    const lo = view.getUint32(0, true);
    const hi = view.getUint32(4, true);
    if (lo === TOP && hi === TOP) return -EINVAL;
    let sumLo = this.lo + lo;
    let sumHi = this.hi + hi;
    if (sumLo > TOP) {
      sumLo -= TOP + 1;
      sumHi++;
    }
    // The counter ends at 2^64 - 2.
    if (sumHi > TOP || (sumHi === TOP && sumLo === TOP)) return -EAGAIN;
    this.lo = sumLo;
    this.hi = sumHi;
    this.waiters.wake(POLLIN | POLLRDNORM);
    return 8;
  }

  override poll(): number {
    let events = 0;
    if (this.lo !== 0 || this.hi !== 0) events |= POLLIN | POLLRDNORM;
    if (this.hi !== TOP || this.lo < TOP - 1) events |= POLLOUT | POLLWRNORM;
    if (this.hi === TOP && this.lo === TOP) events |= POLLERR;
    return events;
  }
}

persistent("eventfd", EventFile);
