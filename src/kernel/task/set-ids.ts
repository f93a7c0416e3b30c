/**
 * What a change of user ids does to capabilities.
 *
 * Source: capabilities(7), "Effect of user ID changes on capabilities", "The securebits flags".
 */

import { isSubset } from "./access.ts";
import {
  CAP_CHOWN,
  CAP_MKNOD,
  type CapSet,
  type Credentials,
  intersect,
  NO_CAPS,
  union,
  without,
} from "./credentials.ts";
import type { Task } from "./task.ts";
import { setCredentials } from "./users.ts";

export const SECURE_NOROOT = 1;
export const SECURE_NO_SETUID_FIXUP = 4;
export const SECURE_KEEP_CAPS = 16;
export const SECURE_NO_CAP_AMBIENT_RAISE = 64;

/** CAP_CHOWN … CAP_FSETID, CAP_LINUX_IMMUTABLE, CAP_MKNOD, CAP_MAC_OVERRIDE: those that the file system uid governs. */
const FS_CAPS: CapSet = { lo: ((0x1f << CAP_CHOWN) | (1 << 9) | (1 << CAP_MKNOD)) >>> 0, hi: 1 };

/** Other effective ids, or a capability more: such a process is not to be looked into (commit_creds). */
export function isGain(before: Credentials, now: Credentials): boolean {
  return (
    before.euid !== now.euid ||
    before.egid !== now.egid ||
    before.fsuid !== now.fsuid ||
    before.fsgid !== now.fsgid ||
    !isSubset(now.permitted, before.permitted)
  );
}

/** Gives the task changed credentials. A gain or change of rights makes it undumpable and clears the death signal. 0. */
export function changeCredentials(task: Task, cred: Credentials): number {
  const old = task.cred;
  if (isGain(old, cred)) {
    task.process.dumpable = 0;
    task.parentDeathSignal = 0;
  }
  setCredentials(task, cred);
  return 0;
}

/** setuid and kin: new real, effective and saved ids; the file system uid follows the effective one. */
export function changeUids(task: Task, uid: number, euid: number, suid: number): number {
  const old = task.cred;
  const cred = { ...old, uid, euid, suid, fsuid: euid };
  if (!(old.securebits & SECURE_NO_SETUID_FIXUP)) {
    const hadRoot = old.uid === 0 || old.euid === 0 || old.suid === 0;
    const hasRoot = uid === 0 || euid === 0 || suid === 0;
    if (hadRoot && !hasRoot) {
      if (!(old.securebits & SECURE_KEEP_CAPS)) {
        cred.permitted = NO_CAPS;
        cred.effective = NO_CAPS;
      }
      cred.ambient = NO_CAPS;
    }
    if (old.euid === 0 && euid !== 0) cred.effective = NO_CAPS;
    if (old.euid !== 0 && euid === 0) cred.effective = cred.permitted;
  }
  return changeCredentials(task, cred);
}

/** setfsuid. */
export function changeFsUid(task: Task, fsuid: number): number {
  const old = task.cred;
  const cred = { ...old, fsuid };
  if (!(old.securebits & SECURE_NO_SETUID_FIXUP)) {
    if (old.fsuid === 0 && fsuid !== 0) cred.effective = without(old.effective, FS_CAPS);
    if (old.fsuid !== 0 && fsuid === 0) cred.effective = union(old.effective, intersect(old.permitted, FS_CAPS));
  }
  return changeCredentials(task, cred);
}
