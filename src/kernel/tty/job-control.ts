/**
 * Job control: which process may use a terminal, and how one becomes a session's controlling terminal.
 *
 * Source: credentials(7), ioctl_tty(2), POSIX XBD 11.1. A session has at most one controlling terminal, and the
 * terminal knows its session: both sides change together, here.
 */
import { EIO, ENOTTY, EPERM, ERESTARTSYS } from "../abi/errno.ts";
import { SIG_IGN } from "../signal/actions.ts";
import { SIGCONT, SIGHUP, SIGTTIN } from "../signal/numbers.ts";
import { kernelInfo, sendSignal, sendToGroup } from "../signal/send.ts";
import { CAP_SYS_ADMIN, capable } from "../task/credentials.ts";
import { isOrphaned } from "../task/jobs.ts";
import type { Process } from "../task/process.ts";
import type { ControllingTty, Session } from "../task/session.ts";
import type { Task } from "../task/task.ts";
import type { Tty } from "./tty.ts";

/** The controlling terminal of a process, null without. */
export function controllingTty(process: Process): ControllingTty | null {
  const { session } = process.group;
  return session.withoutTty.has(process) ? null : session.tty;
}

/** Is the terminal the process' own, and another group in its foreground? */
export function inBackground(tty: Tty, process: Process): boolean {
  return tty.foreground !== null && tty.foreground !== process.group && controllingTty(process) === tty;
}

/**
 * May `task` use the terminal now? 0, -ERESTARTSYS after a signal to its group (SIGTTIN for reading, SIGTTOU for writing
 * and changes), or -EIO where nobody could bring it to the foreground.
 */
export function checkForeground(tty: Tty, task: Task, signo: number): number {
  const { process } = task;
  const { group } = process;
  if (!inBackground(tty, process)) return 0;
  const ignored = task.signals.blocked.has(signo) || process.actions.actions[signo]!.handler === SIG_IGN;
  if (ignored) return signo === SIGTTIN ? -EIO : 0;
  if (isOrphaned(group)) return -EIO;
  sendToGroup(group, kernelInfo(signo));
  task.notify = true;
  return -ERESTARTSYS;
}

function adopt(tty: Tty, process: Process): void {
  const { session } = process.group;
  tty.session = session;
  tty.foreground = process.group;
  session.tty = tty;
  session.withoutTty.clear();
}

/** At open: a session leader without a terminal gets a free one that it opens for reading. */
export function adoptAtOpen(tty: Tty, task: Task, readable: boolean): void {
  const { process } = task;
  const { session } = process.group;
  if (readable && session.leader === process && session.tty === null && tty.session === null) adopt(tty, process);
}

/** TIOCSCTTY. */
export function setControlling(tty: Tty, task: Task, steal: boolean, readable: boolean): number {
  const { process } = task;
  const { session } = process.group;
  if (session.leader === process && session === tty.session) return 0;
  if (session.leader !== process || controllingTty(process) !== null) return -EPERM;
  const admin = capable(task.cred, CAP_SYS_ADMIN);
  if (tty.session !== null) {
    if (!steal || !admin) return -EPERM;
    tty.session.tty = null;
  }
  if (!readable && !admin) return -EPERM;
  adopt(tty, process);
  return 0;
}

/** The session has no terminal any more. */
export function releaseSession(tty: Tty): Session | null {
  const { session } = tty;
  if (session !== null) session.tty = null;
  tty.session = null;
  tty.foreground = null;
  return session;
}

/** TIOCNOTTY: the leader gives the terminal up for the whole session. */
export function giveUp(tty: Tty, task: Task): number {
  const { process } = task;
  if (controllingTty(process) !== tty) return -ENOTTY;
  const { session } = process.group;
  if (session.leader !== process) {
    session.withoutTty.add(process);
    return 0;
  }
  const { foreground } = tty;
  releaseSession(tty);
  if (foreground !== null) {
    sendToGroup(foreground, kernelInfo(SIGHUP));
    sendToGroup(foreground, kernelInfo(SIGCONT));
  }
  return 0;
}

/** The line is gone: the session leader gets SIGHUP; its foreground group will when the leader ends. */
export function hangupSession(tty: Tty): void {
  const { foreground } = tty;
  const session = releaseSession(tty);
  const leader = session?.leader ?? null;
  if (session === null || leader === null) return;
  session.oldForeground = foreground;
  sendSignal(leader, kernelInfo(SIGHUP));
  sendSignal(leader, kernelInfo(SIGCONT));
}
