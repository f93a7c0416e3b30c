/**
 * Sessions and process groups at work: membership, orphaned groups, loss of the session leader.
 *
 * Source: setsid(2), setpgid(2), credentials(7); POSIX "orphaned process group".
 */
import { SIGCONT, SIGHUP } from "../signal/numbers.ts";
import { kernelInfo, sendToGroup } from "../signal/send.ts";
import type { Process } from "./process.ts";
import { ProcessGroup, Session } from "./session.ts";

/** Makes a session with one group, both named after `process`, and puts it in. */
export function newSession(process: Process): Session {
  const { pids } = process;
  const session = new Session(pids, process.pid, process);
  pids.sessions.set(session.id, session);
  joinGroup(process, newGroup(process.pid, session));
  return session;
}

export function newGroup(id: number, session: Session): ProcessGroup {
  const group = new ProcessGroup(id, session);
  group.pids.groups.set(id, group);
  session.groups.set(id, group);
  return group;
}

/** Moves a process to a group; the one it leaves goes when it is empty. */
export function joinGroup(process: Process, group: ProcessGroup): void {
  const old = process.group as ProcessGroup | undefined;
  if (old === group) return;
  process.group = group;
  group.members.add(process);
  if (old !== undefined) leave(process, old);
}

/** A reaped process leaves its group. */
export function leaveGroup(process: Process): void {
  leave(process, process.group);
}

function leave(process: Process, group: ProcessGroup): void {
  group.members.delete(process);
  if (group.members.size > 0) return;
  const { session, pids } = group;
  if (pids.groups.get(group.id) === group) pids.groups.delete(group.id);
  session.groups.delete(group.id);
  if (session.tty?.foreground === group) session.tty.foreground = null;
  if (session.groups.size === 0 && pids.sessions.get(session.id) === session) pids.sessions.delete(session.id);
}

/**
 * Is the group orphaned: does no member have a living parent outside of the group but in its session?
 * `leaving` counts as gone already.
 */
export function isOrphaned(group: ProcessGroup, leaving: Process | null = null): boolean {
  for (const process of group.members) {
    if (process === leaving || process.zombie) continue;
    const { parent } = process;
    // A container's init counts as any other parent: only the host's own does not.
    if (parent === null) continue;
    if (parent.group !== group && parent.group.session === group.session) return false;
  }
  return true;
}

function hasStopped(group: ProcessGroup): boolean {
  for (const process of group.members) if (process.stopped) return true;
  return false;
}

/** The end of `process`, or its change of parent, may orphan its group: stopped members get SIGHUP and SIGCONT. */
export function orphanCheck(process: Process, parent: Process | null, leaving: Process | null): void {
  const { group } = process;
  if (parent === null || parent.group === group || parent.group.session !== group.session) return;
  if (!isOrphaned(group, leaving) || !hasStopped(group)) return;
  for (const signo of [SIGHUP, SIGCONT]) sendToGroup(group, kernelInfo(signo));
}

/** The session leader is gone: the session loses its terminal. */
export function leaderGone(process: Process): void {
  const { session } = process.group;
  if (session.leader !== process) return;
  const { tty } = session;
  tty?.hangup();
  if (tty === null && session.oldForeground !== null) {
    sendToGroup(session.oldForeground, kernelInfo(SIGHUP));
    sendToGroup(session.oldForeground, kernelInfo(SIGCONT));
  }
  session.oldForeground = null;
  session.tty = null;
  session.leader = null;
}
