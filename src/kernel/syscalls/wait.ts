/**
 * wait4, waitid.
 *
 * Manual page: wait(2). Gap: of struct rusage only the CPU times and ru_maxrss are filled in, the latter for
 * children that ended after the parent first asked.
 */
import { EAGAIN, EBADF, ECHILD, EFAULT, EINVAL, ESRCH } from "../abi/errno.ts";
import { addr, flags, int, oneOf, outStruct, pid } from "../args.ts";
import { setU64 } from "../mm/mm.ts";
import { SIGCHLD } from "../signal/numbers.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import { PidFile } from "../task/pidfd.ts";
import type { Task } from "../task/task.ts";
import {
  type ChildReport,
  findChild,
  WALL,
  type WaitFor,
  WCLONE,
  WCONTINUED,
  WEXITED,
  WNOHANG,
  WNOTHREAD,
  WNOWAIT,
  WSTOPPED,
  WUNTRACED,
} from "../task/wait.ts";

const RUSAGE_SIZE = 144;

/** Writes a struct rusage with the CPU times of a child. 0 or -EFAULT. */
function writeRusage(task: Task, at: number, report: ChildReport): number {
  const bytes = new Uint8Array(RUSAGE_SIZE);
  const view = new DataView(bytes.buffer);
  setU64(view, 0, Math.floor(report.userTime / 1e9));
  setU64(view, 8, Math.floor((report.userTime % 1e9) / 1e3));
  setU64(view, 16, Math.floor(report.systemTime / 1e9));
  setU64(view, 24, Math.floor((report.systemTime % 1e9) / 1e3));
  setU64(view, 32, Math.floor(report.maxResident / 1024));
  return task.mm.writeBytes(at, bytes);
}

/** Finds a child with news, or waits for one. 0: none, with WNOHANG. */
function wait(task: Task, which: WaitFor, options: number, usage: boolean): ChildReport | number {
  if (usage) task.process.asksForUsage = true;
  const found = findChild(task, which, options);
  if (found !== 0 || options & WNOHANG) return found;
  return task.block(task.process.childWait);
}

const WAIT4_OPTIONS = { WNOHANG, WUNTRACED, WCONTINUED, __WNOTHREAD: WNOTHREAD, __WCLONE: WCLONE, __WALL: WALL };
const WAIT4_MASK = WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL;

export const wait4 = syscall(
  "wait4",
  { pid, wstatus: outStruct(), options: flags(WAIT4_OPTIONS), rusage: outStruct() },
  (task, { pid, wstatus, options, rusage }) => {
    if (options & ~WAIT4_MASK) return -EINVAL;
    if (pid === -0x80000000) return -ESRCH;
    let which: WaitFor;
    if (pid === -1) which = { kind: "all" };
    else if (pid > 0) which = { kind: "pid", pid };
    else which = { kind: "group", id: pid === 0 ? task.process.group.id : -pid };
    const report = wait(task, which, options | WEXITED, rusage !== 0);
    if (typeof report === "number") return report;
    if (rusage !== 0 && writeRusage(task, rusage, report) < 0) return -EFAULT;
    if (wstatus !== 0 && task.mm.writeU32(wstatus, report.waitStatus) < 0) return -EFAULT;
    return report.pid;
  },
);

const P_ALL = 0;
const P_PID = 1;
const P_PGID = 2;
const P_PIDFD = 3;
const WAITID_OPTIONS = { ...WAIT4_OPTIONS, WEXITED, WSTOPPED, WNOWAIT };
const WAITID_MASK = WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL;

export const waitid = syscall(
  "waitid",
  {
    idtype: oneOf({ P_ALL, P_PID, P_PGID, P_PIDFD }),
    id: int,
    infop: outStruct(),
    options: flags(WAITID_OPTIONS),
    rusage: addr,
  },
  (task, { idtype, id, infop, options, rusage }) => {
    if (options & ~WAITID_MASK) return -EINVAL;
    if ((options & (WEXITED | WSTOPPED | WCONTINUED)) === 0) return -EINVAL;
    const which = waitFor(task, idtype, id);
    if (typeof which === "number") return which;
    // A pidfd opened without blocking never waits.
    const nonBlocking = idtype === P_PIDFD && (task.files.get(id)?.nonBlocking ?? false);
    const report = wait(task, which, nonBlocking ? options | WNOHANG : options, rusage !== 0);
    if (report === BLOCKED || (typeof report === "number" && report < 0)) return report;
    if (report === 0 && nonBlocking && !(options & WNOHANG)) return -EAGAIN;
    if (typeof report !== "number" && rusage !== 0 && writeRusage(task, rusage, report) < 0) return -EFAULT;
    if (infop === 0) return 0;
    return writeInfo(task, infop, typeof report === "number" ? null : report);
  },
);

function waitFor(task: Task, idtype: number, id: number): WaitFor | number {
  switch (idtype) {
    case P_ALL:
      return { kind: "all" };
    case P_PID:
      return id <= 0 ? -EINVAL : { kind: "pid", pid: id };
    case P_PGID:
      return id < 0 ? -EINVAL : { kind: "group", id: id === 0 ? task.process.group.id : id };
    case P_PIDFD: {
      if (id < 0) return -EINVAL;
      const file = task.files.get(id);
      if (!(file instanceof PidFile)) return -EBADF;
      return file.process === null ? -ECHILD : { kind: "pid", pid: file.process.pid };
    }
    default:
      return -EINVAL;
  }
}

/** The six fields of siginfo that waitid sets; all zero when there was no child to report. The rest stays as it was. */
function writeInfo(task: Task, at: number, report: ChildReport | null): number {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  if (report !== null) {
    view.setInt32(0, SIGCHLD, true);
    view.setInt32(8, report.code, true);
  }
  if (task.mm.writeBytes(at, bytes) < 0) return -EFAULT;
  view.setInt32(0, report?.pid ?? 0, true);
  view.setUint32(4, report?.uid ?? 0, true);
  view.setInt32(8, report?.infoStatus ?? 0, true);
  return task.mm.writeBytes(at + 16, bytes);
}
