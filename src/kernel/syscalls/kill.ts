/**
 * kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_open, pidfd_send_signal, pidfd_getfd.
 *
 * Manual pages: kill(2), tkill(2), rt_sigqueueinfo(2), pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).
 */
import { EBADF, EFAULT, EINVAL, ENOENT, EPERM, ESRCH } from "../abi/errno.ts";
import { O_NONBLOCK } from "../abi/fcntl.ts";
import { fd, flags, inStruct, int, pid, uint } from "../args.ts";
import { ProcessDirectory } from "../fs/proc/process-directory.ts";
import { SI_TKILL, SIGRTMAX } from "../signal/numbers.ts";
import { mayKill, sendSignal, sendSignalToTask, userInfo } from "../signal/send.ts";
import { decodeSigInfo, SIGINFO_SIZE } from "../signal/siginfo.ts";
import type { SigInfo } from "../signal/task-signals.ts";
import { syscall } from "../syscall.ts";
import { mayAccess } from "../task/access.ts";
import { PidFile } from "../task/pidfd.ts";
import type { Process } from "../task/process.ts";
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import { RUN_ZOMBIE, type Task } from "../task/task.ts";
import { signal } from "./rt_sigaction.ts";

const validSignal = (signo: number): boolean => signo >= 0 && signo <= SIGRTMAX;

function sendTo(task: Task, process: Process, info: SigInfo): number {
  const allowed = mayKill(task, process, info.signo);
  return allowed < 0 || info.signo === 0 ? allowed : sendSignal(process, info);
}

/** Sends to each of several processes: 0 when one was reached, else the last error. */
function sendToAll(task: Task, targets: readonly Process[], signo: number): number {
  let result = -ESRCH;
  let success = false;
  for (const process of targets) {
    result = sendTo(task, process, userInfo(signo, task));
    if (result === 0) success = true;
  }
  return success ? 0 : result;
}

export const kill = syscall("kill", { pid, sig: signal }, (task, { pid, sig }) => {
  const { pids } = task;
  if (pid > 0) {
    const process = pids.tasks.get(pid)?.process;
    if (process === undefined) return -ESRCH;
    return validSignal(sig) ? sendTo(task, process, userInfo(sig, task)) : -EINVAL;
  }
  if (pid === -0x80000000) return -ESRCH;
  if (pid === -1) {
    let found = false;
    let result = 0;
    for (const process of [...pids.processes.values()]) {
      if (process.pid === 1 || process === task.process) continue;
      found = true;
      if (!validSignal(sig)) return -EINVAL;
      const sent = sendTo(task, process, userInfo(sig, task));
      if (sent !== -EPERM) result = sent;
    }
    return found ? result : -ESRCH;
  }
  const group = pid === 0 ? task.process.group : pids.groups.get(-pid);
  if (group === undefined) return -ESRCH;
  return validSignal(sig) ? sendToAll(task, [...group.members], sig) : -EINVAL;
});

/** A living (or not yet reaped) thread, of process `tgid` if that is given. */
function findThread(task: Task, tgid: number, tid: number): Task | undefined {
  const target = task.pids.tasks.get(tid);
  return target !== undefined && (tgid === 0 || target.process.pid === tgid) ? target : undefined;
}

function sendToThread(task: Task, tgid: number, tid: number, info: SigInfo): number {
  const target = findThread(task, tgid, tid);
  if (target === undefined) return -ESRCH;
  if (!validSignal(info.signo)) return -EINVAL;
  const allowed = mayKill(task, target.process, info.signo);
  if (allowed < 0 || info.signo === 0) return allowed;
  return target.runState >= RUN_ZOMBIE ? 0 : sendSignalToTask(target, info);
}

export const tkill = syscall("tkill", { tid: pid, sig: signal }, (task, { tid, sig }) =>
  tid <= 0 ? -EINVAL : sendToThread(task, 0, tid, userInfo(sig, task, SI_TKILL)),
);

export const tgkill = syscall("tgkill", { tgid: pid, tid: pid, sig: signal }, (task, { tgid, tid, sig }) =>
  tgid <= 0 || tid <= 0 ? -EINVAL : sendToThread(task, tgid, tid, userInfo(sig, task, SI_TKILL)),
);

/** The siginfo that a program brings along; it may not pretend to be the kernel or kill(2) towards others. */
function readInfo(task: Task, at: number, signo: number, toSelf: boolean): SigInfo | number {
  const view = task.mm.readStruct(at, SIGINFO_SIZE);
  if (view === null) return -EFAULT;
  const info = decodeSigInfo(view, 0);
  info.signo = signo;
  return (info.code >= 0 || info.code === SI_TKILL) && !toSelf ? -EPERM : info;
}

export const rt_sigqueueinfo = syscall(
  "rt_sigqueueinfo",
  { tgid: pid, sig: signal, uinfo: inStruct(SIGINFO_SIZE) },
  (task, { tgid, sig, uinfo }) => {
    const info = readInfo(task, uinfo, sig, tgid === task.process.pid);
    if (typeof info === "number") return info;
    const process = task.pids.tasks.get(tgid)?.process;
    if (process === undefined) return -ESRCH;
    return validSignal(sig) ? sendTo(task, process, info) : -EINVAL;
  },
);

export const rt_tgsigqueueinfo = syscall(
  "rt_tgsigqueueinfo",
  { tgid: pid, tid: pid, sig: signal, uinfo: inStruct(SIGINFO_SIZE) },
  (task, { tgid, tid, sig, uinfo }) => {
    const info = readInfo(task, uinfo, sig, tid === task.tid);
    if (typeof info === "number") return info;
    return tgid <= 0 || tid <= 0 ? -EINVAL : sendToThread(task, tgid, tid, info);
  },
);

const PIDFD_NONBLOCK = O_NONBLOCK;
const PIDFD_THREAD = 0o200;

export const pidfd_open = syscall(
  "pidfd_open",
  { pid, flags: flags({ PIDFD_NONBLOCK, PIDFD_THREAD }) },
  (task, { pid, flags }) => {
    if (flags & ~(PIDFD_NONBLOCK | PIDFD_THREAD) || pid <= 0) return -EINVAL;
    const target = task.pids.tasks.get(pid);
    if (target === undefined) return -ESRCH;
    const thread = (flags & PIDFD_THREAD) !== 0;
    if (!thread && target !== target.process.leader) return -ENOENT;
    const file = new PidFile(target.process, thread ? target : null, flags & PIDFD_NONBLOCK);
    const at = task.files.install(file, true, task.process.rlimits[RLIMIT_NOFILE]!.soft);
    if (at < 0) file.release();
    return at;
  },
);

const PIDFD_SIGNAL_THREAD = 1;
const PIDFD_SIGNAL_THREAD_GROUP = 2;
const PIDFD_SIGNAL_PROCESS_GROUP = 4;

export const pidfd_send_signal = syscall(
  "pidfd_send_signal",
  {
    pidfd: fd,
    sig: signal,
    info: inStruct(SIGINFO_SIZE),
    flags: flags({ PIDFD_SIGNAL_THREAD, PIDFD_SIGNAL_THREAD_GROUP, PIDFD_SIGNAL_PROCESS_GROUP }),
  },
  (task, { pidfd, sig, info, flags }) => {
    if (flags !== 0 && flags !== 1 && flags !== 2 && flags !== 4) return -EINVAL;
    const file = task.files.get(pidfd);
    // A directory /proc/PID will do as well, as it did before there were pidfds.
    const inode = file?.inode;
    const named = inode instanceof ProcessDirectory && inode.target.thread === null ? inode.target.process : null;
    if (!(file instanceof PidFile) && named === null) return -EBADF;
    const process = file instanceof PidFile ? file.process : named;
    const own = file instanceof PidFile ? file.thread : null;
    if (process === null || process.reaped) return -ESRCH;
    // A descriptor may have come from a container with other numbers.
    if (process.pids !== task.pids) return -EINVAL;
    const thread = flags === PIDFD_SIGNAL_THREAD || (flags === 0 && own !== null);
    let sent = userInfo(sig, task, thread ? SI_TKILL : 0);
    if (info !== 0) {
      const read = readInfo(task, info, sig, process === task.process);
      if (typeof read === "number") return read;
      const view = task.mm.readStruct(info, 4);
      if (view === null || view.getInt32(0, true) !== sig) return -EINVAL;
      sent = read;
    }
    if (!validSignal(sig)) return -EINVAL;
    if (flags === PIDFD_SIGNAL_PROCESS_GROUP) return sendToAll(task, [...process.group.members], sig);
    if (thread) return sendToThread(task, process.pid, (own ?? process.leader).tid, sent);
    return sendTo(task, process, sent);
  },
);

export const pidfd_getfd = syscall(
  "pidfd_getfd",
  { pidfd: fd, targetfd: int, flags: uint },
  (task, { pidfd, targetfd, flags }) => {
    if (flags !== 0) return -EINVAL;
    const file = task.files.get(pidfd);
    if (!(file instanceof PidFile)) return -EBADF;
    const target = file.thread ?? file.process?.leader;
    if (target === undefined || target.runState >= RUN_ZOMBIE) return -ESRCH;
    if (!mayAccess(task, target)) return -EPERM;
    const wanted = target.files.get(targetfd);
    if (wanted === undefined) return -EBADF;
    const at = task.files.install(wanted.retain(), true, task.process.rlimits[RLIMIT_NOFILE]!.soft);
    if (at < 0) wanted.release();
    return at;
  },
);
