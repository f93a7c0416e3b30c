/**
 * O_ASYNC: signals to a file's owner when it becomes ready.
 *
 * Source: fcntl(2) (F_SETOWN, F_SETSIG, F_SETOWN_EX), Linux fs/fcntl.c send_sigio. Gap: the owner's right to be
 * signalled is checked with the ids of whoever called F_SETOWN, as on Linux, but not with security modules.
 */

import { ESRCH } from "../abi/errno.ts";
import { sendSignal, sendSignalToTask } from "../signal/send.ts";
import type { SigInfo } from "../signal/task-signals.ts";
import { persistent } from "../state/registry.ts";
import { CAP_KILL, capable } from "../task/credentials.ts";
import type { Process } from "../task/process.ts";
import type { Task } from "../task/task.ts";
import { type File, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDNORM, POLLWRNORM } from "../vfs/file.ts";
import { WaitEntry, type Waiter } from "../wait-queue.ts";

const SIGIO = 29;
const SI_SIGIO = -5;
/** Signals whose si_code has meanings of its own: ILL, TRAP, BUS, FPE, SEGV, CHLD, SYS. */
const OWN_CODES = new Set([4, 5, 7, 8, 11, 17, 31]);
const SI_KERNEL = 0x80;
const INPUT = POLLIN | POLLPRI | POLLRDNORM;
const OUTPUT = POLLOUT | POLLWRNORM;

/** Sits in the file's wait queue while O_ASYNC is set. */
export class AsyncNotifier implements Waiter {
  readonly entry: WaitEntry;
  constructor(
    readonly file: File,
    /** As given to F_SETFL; shown as si_fd. */
    readonly fd: number,
  ) {
    // The two ends of a pipe share one queue: only this end's events count.
    const events = (file.readable ? INPUT : 0) | (file.writable ? OUTPUT : 0) | POLLERR | POLLHUP;
    this.entry = new WaitEntry(this, events);
  }

  wake(_entry: WaitEntry, mask: number): void {
    const { file } = this;
    if (file.owner === 0) return;
    const signo = file.ownerSignal || SIGIO;
    const { code, band } = reason(mask);
    const queued = file.ownerSignal !== 0;
    const info: SigInfo = queued
      ? { signo, errno: 0, code: OWN_CODES.has(signo) ? SI_SIGIO : code, band, fd: this.fd }
      : { signo, errno: 0, code: SI_KERNEL };
    signalOwner(file, info);
  }
}

export const OWNER_TID = 0;
export const OWNER_PID = 1;
export const OWNER_PGRP = 2;

/** F_SETOWN and F_SETOWN_EX: who gets a file's signals; id 0 is nobody. */
export function setOwner(task: Task, file: File, type: number, id: number): number {
  const { pids } = task;
  if (id !== 0) {
    const known =
      type === OWNER_TID ? pids.tasks.has(id) : type === OWNER_PID ? pids.processes.has(id) : pids.groups.has(id);
    if (!known) return -ESRCH;
  }
  file.owner = id;
  file.ownerType = type;
  file.ownerPids = pids;
  file.ownerCred = task.cred;
  return 0;
}

/** The owner as F_GETOWN shows it: 0 to those who know it by no number. */
export function ownerFor(task: Task, file: File): number {
  return file.ownerPids === task.pids ? file.owner : 0;
}

/** Sends a signal to a file's owner, if it has one (SIGIO; SIGURG of sockets). */
export function signalOwner(file: File, info: SigInfo): void {
  const pids = file.ownerPids;
  if (file.owner === 0 || pids === null) return;
  if (file.ownerType === OWNER_TID) {
    const task = pids.tasks.get(file.owner);
    if (task !== undefined && may(file, task.process)) sendSignalToTask(task, info);
  } else if (file.ownerType === OWNER_PID) {
    const process = pids.processes.get(file.owner);
    if (process !== undefined && may(file, process)) sendSignal(process, info);
  } else {
    const group = pids.groups.get(file.owner);
    if (group === undefined) return;
    for (const process of [...group.members]) if (may(file, process)) sendSignal(process, { ...info });
  }
}

/** May whoever named the owner signal this process? */
function may(file: File, process: Process): boolean {
  const from = file.ownerCred;
  if (from === null) return false;
  const to = process.leader.cred;
  return (
    from.euid === 0 ||
    capable(from, CAP_KILL) ||
    from.euid === to.suid ||
    from.euid === to.uid ||
    from.uid === to.suid ||
    from.uid === to.uid
  );
}

/** si_code (POLL_IN…) and si_band for what happened. */
function reason(mask: number): { code: number; band: number } {
  if (mask & POLLHUP) return { code: 6, band: POLLHUP | POLLERR };
  if (mask & POLLERR) return { code: 4, band: POLLERR };
  if (mask & POLLPRI) return { code: 5, band: POLLPRI };
  if (mask & POLLOUT && !(mask & POLLIN)) return { code: 2, band: POLLOUT | POLLWRNORM | 0x200 };
  return { code: 1, band: POLLIN | POLLRDNORM };
}

/** Sets or clears O_ASYNC's notifier. `fd` is the descriptor that was used. */
export function setAsync(file: File, fd: number, on: boolean): void {
  if (file.async !== null) {
    file.waiters.remove(file.async.entry);
    file.async = null;
  }
  if (!on) return;
  file.async = new AsyncNotifier(file, fd);
  file.waiters.add(file.async.entry);
}

persistent("async-notifier", AsyncNotifier);
