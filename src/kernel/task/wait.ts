/**
 * Waiting for children: wait4 and waitid find a child with news, report it, and reap.
 *
 * Source: wait(2), waitid(2). Children are looked for among all threads of the caller's process, with __WNOTHREAD only
 * among those that the calling thread made.
 */
import { ECHILD } from "../abi/errno.ts";
import { CLD_CONTINUED, CLD_STOPPED, SIGCHLD, SIGCONT } from "../signal/numbers.ts";
import { childInfo, livingTasks, reap } from "./exit.ts";
import type { Process } from "./process.ts";
import type { ProcessGroup } from "./session.ts";
import type { Task } from "./task.ts";

export const WNOHANG = 1;
export const WUNTRACED = 2;
export const WSTOPPED = 2;
export const WEXITED = 4;
export const WCONTINUED = 8;
export const WNOWAIT = 0x01000000;
export const WNOTHREAD = 0x20000000;
export const WALL = 0x40000000;
export const WCLONE = 0x80000000;

/** Which children. */
export type WaitFor = { kind: "all" } | { kind: "pid"; pid: number } | { kind: "group"; id: number };

/** What a child reports. */
export interface ChildReport {
  pid: number;
  uid: number;
  /** CLD_*. */
  code: number;
  /** As in siginfo: exit code or signal. */
  infoStatus: number;
  /** As wait4 gives it. */
  waitStatus: number;
  userTime: number;
  systemTime: number;
  /** Bytes. */
  maxResident: number;
}

function matches(child: Process, task: Task, which: WaitFor, options: number): boolean {
  if (which.kind === "pid" && child.pid !== which.pid) return false;
  if (which.kind === "group" && (child.group as ProcessGroup).id !== which.id) return false;
  if (options & WNOTHREAD && child.parentTask !== task) return false;
  if (options & WALL) return true;
  const cloned = child.exitSignal !== SIGCHLD;
  return cloned === ((options & WCLONE) !== 0);
}

/** A child with news (reaped or its report taken, unless WNOWAIT), 0 when none has any, or -ECHILD. */
export function findChild(task: Task, which: WaitFor, options: number): ChildReport | number {
  let any = false;
  for (const child of task.process.children) {
    if (!matches(child, task, which, options)) continue;
    any = true;
    const report = reportOf(child, options);
    if (report !== null) return report;
  }
  return any ? 0 : -ECHILD;
}

function reportOf(child: Process, options: number): ChildReport | null {
  const keep = (options & WNOWAIT) !== 0;
  const uid = child.leader.cred.uid;
  if (child.zombie) {
    if ((options & WEXITED) === 0) return null;
    const info = childInfo(child);
    const report = {
      pid: child.pid,
      uid,
      code: info.code,
      infoStatus: info.status,
      waitStatus: child.exitStatus,
      userTime: child.userTime + child.childrenUserTime,
      systemTime: child.systemTime + child.childrenSystemTime,
      maxResident: child.maxResident,
    };
    if (!keep) reap(child);
    return report;
  }
  const times = { userTime: child.userTime, systemTime: child.systemTime, maxResident: 0 };
  if (options & WSTOPPED && child.stopReport !== 0 && livingTasks(child) > 0) {
    const signo = child.stopReport;
    if (!keep) child.stopReport = 0;
    return { pid: child.pid, uid, code: CLD_STOPPED, infoStatus: signo, waitStatus: (signo << 8) | 0x7f, ...times };
  }
  if (options & WCONTINUED && child.continueReport) {
    if (!keep) child.continueReport = false;
    return { pid: child.pid, uid, code: CLD_CONTINUED, infoStatus: SIGCONT, waitStatus: 0xffff, ...times };
  }
  return null;
}
