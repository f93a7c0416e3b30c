/**
 * signalfd: pending signals that one reads.
 *
 * Source: signalfd(2), Linux fs/signalfd.c. Whoever reads gets their own signals, not those of the descriptor's maker.
 */
import { EAGAIN, EFAULT, EINVAL } from "../abi/errno.ts";
import { SIGCHLD } from "../signal/numbers.ts";
import { dequeueWanted, hasWanted } from "../signal/queue.ts";
import type { SigInfo, SigSet } from "../signal/task-signals.ts";
import { persistent } from "../state/registry.ts";
import type { Task } from "../task/task.ts";
import { POLLIN } from "../vfs/file.ts";
import type { Io } from "../vfs/io.ts";
import type { WaitQueue } from "../wait-queue.ts";
import { AnonFile } from "./anon-file.ts";

/** struct signalfd_siginfo. */
const RECORD = 128;
const bytes = new Uint8Array(RECORD);
const view = new DataView(bytes.buffer);

export class SignalFile extends AnonFile {
  override readonly kind = "[signalfd]";

  constructor(
    /** Epoll asks without saying for whom: then it is the maker's signals. */
    private readonly maker: Task,
    flags: number,
    public mask: SigSet,
  ) {
    super(flags | 2);
  }

  override fdInfo(): string {
    const hex = (half: number) => half.toString(16).padStart(8, "0");
    return `sigmask:\t${hex(this.mask.hi)}${hex(this.mask.lo)}\n`;
  }

  override queueFor(task: Task): WaitQueue {
    return task.process.signalWait;
  }

  override read(task: Task, io: Io): number {
    if (io.remaining < RECORD) return -EINVAL;
    let moved = 0;
    while (io.remaining >= RECORD) {
      const room = io.usable(RECORD, true);
      if (room < RECORD) return moved > 0 ? moved : hasWanted(task, this.mask) ? -EFAULT : -EAGAIN;
      const info = dequeueWanted(task, this.mask);
      if (info === null) break;
      encode(info);
      if (io.put(bytes, 0, RECORD) < RECORD) return moved > 0 ? moved : -EFAULT;
      moved += RECORD;
    }
    return moved > 0 ? moved : -EAGAIN;
  }

  override poll(task?: Task): number {
    return hasWanted(task ?? this.maker, this.mask) ? POLLIN : 0;
  }
}

function encode(info: SigInfo): void {
  bytes.fill(0);
  view.setUint32(0, info.signo, true);
  view.setInt32(4, info.errno, true);
  view.setInt32(8, info.code, true);
  view.setUint32(12, info.timerId === undefined ? (info.pid ?? 0) : 0, true);
  view.setUint32(16, info.uid ?? 0, true);
  view.setInt32(20, info.fd ?? 0, true);
  view.setUint32(24, info.timerId ?? 0, true);
  view.setUint32(28, info.band ?? 0, true);
  view.setUint32(32, info.overrun ?? 0, true);
  view.setUint32(36, info.trapno ?? 0, true);
  view.setInt32(40, info.status ?? 0, true);
  view.setInt32(44, info.valueLo ?? 0, true);
  view.setUint32(48, info.valueLo ?? 0, true);
  view.setUint32(52, info.valueHi ?? 0, true);
  if (info.signo === SIGCHLD) {
    setU64(56, info.utime ?? 0);
    setU64(64, info.stime ?? 0);
  }
  setU64(72, info.addr ?? 0);
}
function setU64(at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 4294967296), true);
}

persistent("signalfd", SignalFile);
