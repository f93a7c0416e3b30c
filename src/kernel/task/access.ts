/**
 * May one task look into another (ptrace access mode checks)?
 *
 * Source: ptrace(2), "Ptrace access mode checking" (real credentials); capabilities(7).
 */
import { CAP_SYS_PTRACE, type CapSet, capable } from "./credentials.ts";
import type { Task } from "./task.ts";

const SUID_DUMP_USER = 1;

export function isSubset(a: CapSet, b: CapSet): boolean {
  return (a.lo & ~b.lo) === 0 && (a.hi & ~b.hi) === 0;
}

export function mayAccess(task: Task, target: Task): boolean {
  if (task.process === target.process) return true;
  // Stricter than Linux: a pidfd, which any peer of a socket may get, opens no way into another pid space.
  if (task.pids !== target.pids) return false;
  const mine = task.cred;
  const theirs = target.cred;
  const sameUser = mine.uid === theirs.uid && mine.uid === theirs.euid && mine.uid === theirs.suid;
  const sameGroup = mine.gid === theirs.gid && mine.gid === theirs.egid && mine.gid === theirs.sgid;
  const trusted = capable(mine, CAP_SYS_PTRACE);
  if (!(sameUser && sameGroup) && !trusted) return false;
  if (target.process.dumpable !== SUID_DUMP_USER && !trusted) return false;
  return isSubset(theirs.permitted, mine.permitted) || trusted;
}
