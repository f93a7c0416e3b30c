/**
 * The ioctls on a terminal, by their numbers; those of a pty master alone are in pty.ts.
 *
 * Source: ioctl_tty(2), Linux drivers/tty/tty_io.c and tty_ioctl.c for the order of checks.
 */
import { EBUSY, EFAULT, EINVAL, EIO, ENOTTY, EPERM, ESRCH } from "../abi/errno.ts";
import { SIGTTOU } from "../signal/numbers.ts";
import { CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import type { File } from "../vfs/file.ts";
import {
  TCFLSH,
  TCGETA,
  TCGETS,
  TCGETS2,
  TCSBRK,
  TCSBRKP,
  TCSETA,
  TCSETAF,
  TCSETAW,
  TCSETS,
  TCSETS2,
  TCSETSF,
  TCSETSF2,
  TCSETSW,
  TCSETSW2,
  TCXONC,
  TIOCCBRK,
  TIOCCONS,
  TIOCEXCL,
  TIOCGDEV,
  TIOCGETD,
  TIOCGEXCL,
  TIOCGPGRP,
  TIOCGSID,
  TIOCGSOFTCAR,
  TIOCGWINSZ,
  TIOCINQ,
  TIOCNOTTY,
  TIOCNXCL,
  TIOCOUTQ,
  TIOCSBRK,
  TIOCSCTTY,
  TIOCSETD,
  TIOCSPGRP,
  TIOCSSOFTCAR,
  TIOCSTI,
  TIOCSWINSZ,
  TIOCVHANGUP,
} from "./ioctl-numbers.ts";
import { checkForeground, controllingTty, giveUp, setControlling } from "./job-control.ts";
import { CLOCAL, TERMIO_SIZE, TERMIOS_SIZE, TERMIOS2_SIZE, takeSpeeds } from "./termios.ts";
import type { SetMode, Tty } from "./tty.ts";

/** `file` is what the call was made on; `master`: it is the other end of the terminal. */
type TtyIoctl = (tty: Tty, task: Task, arg: number, file: File, master: boolean) => number;

const getTermios =
  (size: number): TtyIoctl =>
  (tty, task, arg) => {
    const view = new DataView(new ArrayBuffer(size));
    if (size === TERMIO_SIZE) tty.getTermios().encodeOld(view);
    else tty.getTermios().encode(view, size);
    return task.mm.writeBytes(arg, new Uint8Array(view.buffer));
  };

const setTermios =
  (size: number, mode: SetMode): TtyIoctl =>
  (tty, task, arg) => {
    const stopped = checkForeground(tty, task, SIGTTOU);
    if (stopped < 0) return stopped;
    const view = task.mm.readStruct(arg, size);
    if (view === null) return -EFAULT;
    const termios = tty.getTermios().clone();
    if (size === TERMIO_SIZE) termios.decodeOld(view);
    else termios.decode(view, size);
    takeSpeeds(termios);
    return tty.setTermios(termios, mode);
  };

const getWindowSize: TtyIoctl = (tty, task, arg) => {
  const { rows, columns, xPixels, yPixels } = tty.getWindowSize();
  return task.mm.writeBytes(arg, new Uint8Array(Uint16Array.of(rows, columns, xPixels, yPixels).buffer));
};

const setWindowSize: TtyIoctl = (tty, task, arg) => {
  const view = task.mm.readStruct(arg, 8);
  if (view === null) return -EFAULT;
  return tty.setWindowSize({
    rows: view.getUint16(0, true),
    columns: view.getUint16(2, true),
    xPixels: view.getUint16(4, true),
    yPixels: view.getUint16(6, true),
  });
};

const getForeground: TtyIoctl = (tty, task, arg, _file, master) => {
  if (!master && controllingTty(task.process) !== tty) return -ENOTTY;
  return task.mm.writeU32(arg, task.pids.idOf(tty.foreground));
};

const setForeground: TtyIoctl = (tty, task, arg) => {
  const stopped = checkForeground(tty, task, SIGTTOU);
  if (stopped < 0) return stopped === -EIO ? -ENOTTY : stopped;
  const id = task.mm.readU32(arg);
  if (id < 0) return -EFAULT;
  if (id > 0x7fffffff) return -EINVAL;
  const { session } = task.process.group;
  if (controllingTty(task.process) !== tty || tty.session !== session) return -ENOTTY;
  const group = task.pids.groups.get(id);
  if (group === undefined) return -ESRCH;
  if (group.session !== session) return -EPERM;
  tty.foreground = group;
  return 0;
};

const getSession: TtyIoctl = (tty, task, arg, _file, master) => {
  if ((!master && controllingTty(task.process) !== tty) || tty.session === null) return -ENOTTY;
  return task.mm.writeU32(arg, task.pids.idOf(tty.session));
};

const flush: TtyIoctl = (tty, task, selector) => {
  const stopped = checkForeground(tty, task, SIGTTOU);
  if (stopped < 0) return stopped;
  if (selector > 2) return -EINVAL;
  tty.flushQueues(selector !== 1, selector !== 0);
  return 0;
};

/** Breaks mean nothing here, nor does waiting for output; but the background may ask for neither. */
const sendBreak: TtyIoctl = (tty, task) => checkForeground(tty, task, SIGTTOU);

const setExclusive =
  (exclusive: boolean): TtyIoctl =>
  (tty) => {
    tty.exclusive = exclusive;
    return 0;
  };

const setLineDiscipline: TtyIoctl = (tty, task, arg) => {
  const discipline = task.mm.readU32(arg);
  if (discipline < 0) return -EFAULT;
  return checkForeground(tty, task, SIGTTOU) || (discipline === 0 ? 0 : -EINVAL);
};

/** As on Linux with dev.tty.legacy_tiocsti=0: only the administrator may put words into somebody's mouth. */
const typeAhead: TtyIoctl = (tty, task, arg) => {
  if (!capable(task.cred, CAP_SYS_ADMIN)) return -EIO;
  const view = task.mm.readStruct(arg, 1);
  return view === null ? -EFAULT : tty.inject(view.getUint8(0));
};

const setSoftCarrier: TtyIoctl = (tty, task, arg) => {
  const on = task.mm.readU32(arg);
  if (on < 0) return -EFAULT;
  const termios = tty.getTermios().clone();
  termios.cflag = on ? termios.cflag | CLOCAL : termios.cflag & ~CLOCAL;
  return tty.setTermios(termios, "now");
};

const hangUp: TtyIoctl = (tty, task) => {
  if (!capable(task.cred, CAP_SYS_ADMIN)) return -EPERM;
  tty.lineGone();
  return 0;
};

export const TTY_IOCTLS: ReadonlyMap<number, TtyIoctl> = new Map<number, TtyIoctl>([
  [TCGETS, getTermios(TERMIOS_SIZE)],
  [TCGETS2, getTermios(TERMIOS2_SIZE)],
  [TCGETA, getTermios(TERMIO_SIZE)],
  [TCSETS, setTermios(TERMIOS_SIZE, "now")],
  [TCSETSW, setTermios(TERMIOS_SIZE, "drain")],
  [TCSETSF, setTermios(TERMIOS_SIZE, "flush")],
  [TCSETS2, setTermios(TERMIOS2_SIZE, "now")],
  [TCSETSW2, setTermios(TERMIOS2_SIZE, "drain")],
  [TCSETSF2, setTermios(TERMIOS2_SIZE, "flush")],
  [TCSETA, setTermios(TERMIO_SIZE, "now")],
  [TCSETAW, setTermios(TERMIO_SIZE, "drain")],
  [TCSETAF, setTermios(TERMIO_SIZE, "flush")],
  [TIOCGSOFTCAR, (tty, task, arg) => task.mm.writeU32(arg, tty.getTermios().cflag & CLOCAL ? 1 : 0)],
  [TIOCSSOFTCAR, setSoftCarrier],
  [TIOCGWINSZ, getWindowSize],
  [TIOCSWINSZ, setWindowSize],
  [TIOCGPGRP, getForeground],
  [TIOCSPGRP, setForeground],
  [TIOCGSID, getSession],
  [TIOCSCTTY, (tty, task, arg, file) => setControlling(tty, task, arg === 1, file.readable)],
  [TIOCNOTTY, giveUp],
  [TIOCINQ, (tty, task, arg) => task.mm.writeU32(arg, tty.inputCount())],
  [TIOCOUTQ, (tty, task, arg) => task.mm.writeU32(arg, tty.outputCount())],
  [TCFLSH, flush],
  [TCXONC, (tty, task, arg) => checkForeground(tty, task, SIGTTOU) || (arg > 3 ? -EINVAL : tty.flow(arg))],
  [TCSBRK, sendBreak],
  [TCSBRKP, sendBreak],
  [TIOCSBRK, sendBreak],
  [TIOCCBRK, sendBreak],
  [TIOCEXCL, setExclusive(true)],
  [TIOCNXCL, setExclusive(false)],
  [TIOCGEXCL, (tty, task, arg) => task.mm.writeU32(arg, tty.exclusive ? 1 : 0)],
  [TIOCGETD, (_tty, task, arg) => task.mm.writeU32(arg, 0)],
  [TIOCSETD, setLineDiscipline],
  [TIOCSTI, typeAhead],
  [TIOCCONS, (_tty, task) => (capable(task.cred, CAP_SYS_ADMIN) ? -EBUSY : -EPERM)],
  [TIOCGDEV, (tty, task, arg) => task.mm.writeU32(arg, tty.rdev)],
  [TIOCVHANGUP, hangUp],
]);
