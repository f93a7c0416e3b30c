/**
 * Pseudo terminals: a master for the program that plays the terminal, and a slave that is one.
 *
 * Source: pty(7), ptmx(4), ioctl_tty(2) (TIOCPKT, TIOCGPTPEER), Linux drivers/tty/pty.c.
 * Bounded: each direction holds as many bytes as on Linux, the number of pairs is PTY_MAX.
 */

import { EAGAIN, EBUSY, EFAULT, EINVAL, EIO, ENOTTY } from "../abi/errno.ts";
import { O_CLOEXEC, O_NOCTTY } from "../abi/fcntl.ts";
import { makedev } from "../abi/stat.ts";
import type { Kernel } from "../kernel.ts";
import { persistent } from "../state/registry.ts";
import { CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import type { Path } from "../vfs/dentry.ts";
import { File, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDNORM, POLLWRNORM } from "../vfs/file.ts";
import type { Io } from "../vfs/io.ts";
import { WaitQueue } from "../wait-queue.ts";
import { ByteRing } from "./byte-ring.ts";
import {
  TCFLSH,
  TCXONC,
  TIOCGPKT,
  TIOCGPTLCK,
  TIOCGPTN,
  TIOCGPTPEER,
  TIOCINQ,
  TIOCOUTQ,
  TIOCPKT,
  TIOCSIG,
  TIOCSPTLCK,
} from "./ioctl-numbers.ts";
import { adoptAtOpen } from "./job-control.ts";
import { type Line, LineDiscipline } from "./line-discipline.ts";
import type { PtyTable } from "./pty-table.ts";
import { CREAD, CS8, CSIZE, EXTPROC, IXON, OPOST, PARENB, Termios, VSTART, VSTOP } from "./termios.ts";
import { type SetMode, Tty, type WindowSize } from "./tty.ts";
import { TtyFile } from "./tty-file.ts";

/** Bytes on the way to the slave, beyond what its line discipline holds. */
const INPUT_MAX = 8192;
/** Bytes written by the slave and not yet read by the master; echo may go beyond by ECHO_SLACK. */
const OUTPUT_MAX = 8192 + 4095;
const ECHO_SLACK = 4096;
/** What a flush of output leaves: it has reached the master already. */
const DELIVERED = 4095;

export const PTY_MASTER_MAJOR = 128;
export const PTY_SLAVE_MAJOR = 136;

const READABLE = POLLIN | POLLRDNORM;
const WRITABLE = POLLOUT | POLLWRNORM;

// What packet mode tells of.
const PKT_FLUSHREAD = 1;
const PKT_FLUSHWRITE = 2;
const PKT_STOP = 4;
const PKT_START = 8;
const PKT_NOSTOP = 16;
const PKT_DOSTOP = 32;
const PKT_IOCTL = 64;

/** The pair, seen from the slave: it holds the terminal's state. */
export class PtySlave extends Tty implements Line {
  termios = new Termios();
  private size: WindowSize = { rows: 0, columns: 0, xPixels: 0, yPixels: 0 };
  readonly discipline = new LineDiscipline(this);
  readonly toSlave = new ByteRing(INPUT_MAX);
  readonly toMaster = new ByteRing(OUTPUT_MAX + ECHO_SLACK);
  readonly masterWaiters = new WaitQueue();
  masterOpen = true;
  /** TIOCSPTLCK: no opening of the slave until the master has unlocked it. */
  locked = true;
  /** The slave has been opened, and nobody has it open any more. */
  slaveGone = false;
  packet = false;
  packetStatus = 0;
  /** Owner and mode of its node in devpts. */
  uid: number;
  gid: number;
  mode = 0o620;
  /** devpts has not yet given it the group and mode of its mount. */
  fresh = true;

  constructor(
    /** Where its number is given out. */
    readonly ptys: PtyTable,
    readonly index: number,
    task: Task,
  ) {
    super(task.kernel, makedev(PTY_SLAVE_MAJOR, index));
    this.uid = task.cred.fsuid;
    this.gid = task.cred.fsgid;
  }

  override open(path: Path, flags: number, task: Task): File | number {
    if (this.locked || !this.masterOpen) return -EIO;
    if (this.exclusive && !capable(task.cred, CAP_SYS_ADMIN)) return -EBUSY;
    const file = new TtyFile(this, flags, path, path.dentry.inode);
    this.slaveGone = false;
    if ((flags & O_NOCTTY) === 0) adoptAtOpen(this, task, file.readable);
    return file;
  }
  override closed(): void {
    if (this.opens > 0) return;
    this.exclusive = false;
    this.slaveGone = true;
    if (this.masterOpen) this.masterWaiters.wake(READABLE | WRITABLE | POLLHUP, Number.POSITIVE_INFINITY);
    else this.ptys.remove(this.index);
  }
  masterClosed(): void {
    this.masterOpen = false;
    this.packet = false;
    this.lineGone();
    if (this.opens === 0) this.ptys.remove(this.index);
  }

  // Input: master → line discipline → reader.

  /** Feeds the line discipline as much as it takes. */
  private pump(): void {
    let fed = false;
    while (this.toSlave.length > 0 && this.discipline.room > 0) {
      this.discipline.receive(this.toSlave.shift());
      fed = true;
    }
    if (fed && !this.termios.canonical) this.inputReady();
  }
  /** The master wrote. */
  take(io: Io): number {
    let moved = 0;
    while (io.remaining > 0 && this.toSlave.room > 0) {
      const want = Math.min(io.remaining, this.toSlave.room, chunk.length);
      const n = io.take(chunk, 0, want);
      if (n < 0) return moved > 0 ? moved : n;
      for (let i = 0; i < n; i++) this.toSlave.push(chunk[i]!);
      moved += n;
      this.pump();
      if (n < want) break;
    }
    return moved > 0 || io.remaining === 0 ? moved : -EAGAIN;
  }
  override readInput(task: Task, io: Io, nonBlocking: boolean): number {
    if (io.remaining === 0) return 0;
    const { discipline } = this;
    let n: number;
    if (this.termios.canonical) {
      if (!discipline.inputAvailable(false)) return -EAGAIN;
      n = discipline.readLine(io);
    } else {
      const ready = this.rawReady(task, discipline.length, io.remaining, nonBlocking);
      if (ready < 0) return ready;
      n = discipline.readRaw(io);
    }
    if (this.toSlave.length > 0) {
      this.pump();
      this.masterWaiters.wake(WRITABLE);
    }
    return n;
  }
  override inputCount(): number {
    return this.discipline.count;
  }

  // Output: writer → output processing → master.

  override writeOutput(_task: Task, io: Io): number {
    if (!this.masterOpen) return -EIO;
    const { oflag } = this.termios;
    const expansion = oflag & OPOST ? LineDiscipline.EXPANSION : 1;
    let moved = 0;
    while (io.remaining > 0 && !this.discipline.flowStopped) {
      const room = OUTPUT_MAX - this.toMaster.length;
      if (room <= 0) break;
      const want = Math.min(io.remaining, Math.max(1, Math.floor(room / expansion)), chunk.length);
      const n = io.take(chunk, 0, want);
      if (n < 0) {
        if (moved === 0) return n;
        break;
      }
      for (let i = 0; i < n; i++) this.discipline.output(chunk[i]!);
      moved += n;
      if (n < want) break;
    }
    if (moved > 0) this.masterWaiters.wake(READABLE);
    return moved > 0 || io.remaining === 0 ? moved : -EAGAIN;
  }

  override poll(): number {
    let events = 0;
    if (this.discipline.inputAvailable(true)) events |= READABLE;
    if (!this.masterOpen) events |= POLLHUP;
    if (!this.discipline.flowStopped && this.toMaster.length < OUTPUT_MAX) events |= WRITABLE;
    return events;
  }

  // Line: what the discipline asks of the terminal.

  send(byte: number): void {
    if (this.toMaster.length === 0) this.masterWaiters.wake(READABLE);
    this.toMaster.push(byte);
  }
  signal(signo: number): void {
    this.signalForeground(signo);
  }
  dropOutput(): void {
    this.toMaster.truncate(DELIVERED);
    this.tellMaster(PKT_FLUSHWRITE);
    this.waiters.wake(WRITABLE);
  }
  inputDropped(): void {
    this.tellMaster(PKT_FLUSHREAD);
  }
  inputReady(): void {
    this.waiters.wake(READABLE, Number.POSITIVE_INFINITY);
  }
  stopped(on: boolean): void {
    if (this.packet) {
      this.packetStatus &= ~(on ? PKT_START : PKT_STOP);
      this.tellMaster(on ? PKT_STOP : PKT_START);
    }
    if (!on) this.waiters.wake(WRITABLE);
  }
  private tellMaster(status: number): void {
    if (!this.packet) return;
    this.packetStatus |= status;
    this.masterWaiters.wake(READABLE | POLLPRI);
  }

  // Settings.

  override getTermios(): Termios {
    return this.termios;
  }
  override setTermios(termios: Termios, mode: SetMode): number {
    const old = this.termios;
    if (mode === "flush") this.flushQueues(true, false);
    termios.cflag = (termios.cflag & ~(CSIZE | PARENB)) | CS8 | CREAD;
    this.termios = termios;
    this.discipline.settingsChanged(old);
    if (this.packet) {
      const flow = usualFlow(termios);
      const external = ((old.lflag | termios.lflag) & EXTPROC) !== 0;
      if (flow !== usualFlow(old)) {
        this.packetStatus &= ~(PKT_DOSTOP | PKT_NOSTOP);
        this.tellMaster(flow ? PKT_DOSTOP : PKT_NOSTOP);
      }
      if (external) this.tellMaster(PKT_IOCTL);
    }
    this.pump();
    if ((old.lflag ^ termios.lflag) !== 0) this.waiters.wake();
    return 0;
  }
  override getWindowSize(): WindowSize {
    return this.size;
  }
  override setWindowSize(size: WindowSize): number {
    const old = this.size;
    this.size = size;
    if (
      old.rows !== size.rows ||
      old.columns !== size.columns ||
      old.xPixels !== size.xPixels ||
      old.yPixels !== size.yPixels
    )
      this.sizeChanged();
    return 0;
  }
  override flushQueues(input: boolean, output: boolean): void {
    if (input) {
      this.toSlave.truncate(0);
      this.discipline.flushInput();
      this.masterWaiters.wake(WRITABLE);
    }
    if (output) this.dropOutput();
  }
  override flow(action: number): number {
    // TCOOFF, TCOON, TCIOFF, TCION: the latter two send the other side a stop or start character.
    if (action === 0) this.discipline.stop();
    else if (action === 1) this.discipline.start();
    else {
      const character = this.termios.cc[action === 2 ? VSTOP : VSTART]!;
      if (character !== 0) this.send(character);
    }
    return 0;
  }
  override inject(byte: number): number {
    this.toSlave.push(byte);
    this.pump();
    return 0;
  }
}

/** Would ^S stop output? */
const usualFlow = (termios: Termios): boolean =>
  (termios.iflag & IXON) !== 0 && termios.cc[VSTOP] === 0x13 && termios.cc[VSTART] === 0x11;

const chunk = new Uint8Array(4096);
const status = new Uint8Array(1);

/** The master's open file; there is one per pair, however often it is duplicated. */
export class PtyMasterFile extends File {
  override readonly waiters: WaitQueue;

  constructor(
    readonly slave: PtySlave,
    flags: number,
    path: Path,
  ) {
    super(flags, path, path.dentry.inode);
    this.waiters = slave.masterWaiters;
  }

  override read(_task: Task, io: Io): number {
    const { slave } = this;
    if (io.remaining === 0) return 0;
    if (slave.packet && slave.packetStatus !== 0) {
      status[0] = slave.packetStatus;
      const n = io.put(status, 0, 1);
      if (n === 1) slave.packetStatus = 0;
      return n;
    }
    if (slave.toMaster.length === 0) return slave.slaveGone ? -EIO : -EAGAIN;
    let head = 0;
    if (slave.packet) {
      status[0] = 0;
      head = io.put(status, 0, 1);
      if (head < 1) return head;
    }
    const n = slave.toMaster.moveTo(io);
    if (n < 0) return head > 0 ? head : n;
    if (slave.toMaster.length < OUTPUT_MAX) slave.waiters.wake(WRITABLE);
    return head + n;
  }
  override write(_task: Task, io: Io): number {
    return this.slave.slaveGone ? -EIO : this.slave.take(io);
  }
  override poll(): number {
    const { slave } = this;
    let events = 0;
    if (slave.toMaster.length > 0) events |= READABLE;
    if (slave.packet && slave.packetStatus !== 0) events |= READABLE | POLLPRI;
    if (slave.slaveGone) events |= POLLHUP;
    if (slave.toSlave.room > 0) events |= WRITABLE;
    return events;
  }
  override ioctl(task: Task, request: number, arg: number): number {
    const { slave } = this;
    const { mm } = task;
    switch (request) {
      case TIOCGPTN:
        return mm.writeU32(arg, slave.index);
      case TIOCSPTLCK: {
        const on = mm.readU32(arg);
        if (on < 0) return -EFAULT;
        slave.locked = on !== 0;
        return 0;
      }
      case TIOCGPTLCK:
        return mm.writeU32(arg, slave.locked ? 1 : 0);
      case TIOCPKT: {
        const on = mm.readU32(arg);
        if (on < 0) return -EFAULT;
        if (on !== 0 && !slave.packet) slave.packetStatus = 0;
        slave.packet = on !== 0;
        return 0;
      }
      case TIOCGPKT:
        return mm.writeU32(arg, slave.packet ? 1 : 0);
      case TIOCSIG:
        if (arg < 1 || arg > 64) return -EINVAL;
        slave.signalForeground(arg);
        return 0;
      case TIOCGPTPEER:
        return this.openPeer(task, arg);
      case TIOCINQ:
        return mm.writeU32(arg, slave.toMaster.length);
      case TIOCOUTQ:
        return mm.writeU32(arg, 0);
      case TCFLSH:
        if (arg > 2) return -EINVAL;
        if (arg !== 1) slave.toMaster.truncate(0);
        if (arg !== 0) slave.toSlave.truncate(0);
        slave.waiters.wake(WRITABLE);
        this.waiters.wake(WRITABLE);
        return 0;
      case TCXONC:
        return arg > 3 ? -EINVAL : 0;
      default:
        return slave.ioctl(task, this, request, arg, true);
    }
  }
  /** TIOCGPTPEER: a descriptor of the slave, wherever devpts may be seen from. */
  private openPeer(task: Task, flags: number): number {
    const path = placeOf(task.kernel, this.slave);
    if (path === null) return -ENOTTY;
    const file = this.slave.open(path, flags & ~O_CLOEXEC, task);
    if (typeof file === "number") return file;
    const fd = task.files.install(file, (flags & O_CLOEXEC) !== 0, task.process.rlimits[RLIMIT_NOFILE]!.soft);
    if (fd < 0) file.release();
    return fd;
  }
  override onRelease(): void {
    this.slave.masterClosed();
  }
  override description(): string {
    return "/dev/ptmx";
  }
}

/** Where a devpts file system shows a terminal; devpts provides `place`. */
function placeOf(kernel: Kernel, { ptys, index }: PtySlave): Path | null {
  for (const mount of kernel.mounts.all) {
    const fs = mount.fs as { ptys?: PtyTable; place?: (mount: Path["mount"], index: number) => Path | null };
    if (fs.ptys !== ptys) continue;
    const path = fs.place?.(mount, index) ?? null;
    if (path !== null) return path;
  }
  return null;
}

/** /dev/ptmx: a new pair. */
export function openMaster(ptys: PtyTable, path: Path, flags: number, task: Task): File | number {
  const slave = ptys.add((index) => new PtySlave(ptys, index, task));
  return typeof slave === "number" ? slave : new PtyMasterFile(slave, flags, path);
}

persistent("pty-slave", PtySlave);
persistent("pty-master-file", PtyMasterFile);
