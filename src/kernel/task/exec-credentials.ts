/**
 * What execve makes of a task's credentials: set-user-ID bits, root's capabilities, no_new_privs.
 *
 * Source: execve(2), capabilities(7) ("Transformation of capabilities during execve()", "Capabilities and execution of
 * programs by root"), Documentation/userspace-api/no_new_privs.rst, as of Linux 6.16 (what counts as a change of ids).
 * Gap: no file capabilities (security.capability); a file that has some runs as one without.
 */

import { MAY_READ } from "../abi/fcntl.ts";
import { S_ISUID } from "../abi/stat.ts";
import { MNT_NOSUID } from "../vfs/dentry.ts";
import type { File } from "../vfs/file.ts";
import { inGroup, permission } from "../vfs/permission.ts";
import { isSubset } from "./access.ts";
import { CAP_SETUID, type CapSet, type Credentials, capable, intersect, NO_CAPS, union } from "./credentials.ts";
import { isGain, SECURE_KEEP_CAPS, SECURE_NOROOT } from "./set-ids.ts";
import type { Task } from "./task.ts";

/** Set-group-ID counts only together with the right of the group to execute. */
const S_ISGID_EXEC = 0o2010;

export interface ExecCredentials {
  cred: Credentials;
  /** AT_SECURE: the program runs with rights that whoever started it need not have. */
  secure: boolean;
  /** Linux' test at a change of credentials (commit_creds): such a process is not to be looked into. */
  gained: boolean;
  /** Who executes it may not read the program or its linker: its memory must not show them. */
  unreadable: boolean;
}

/** What `task` will be after executing `file` (and `linker`). Changes nothing. */
export function execCredentials(task: Task, file: File, linker: File | null): ExecCredentials {
  const old = task.cred;
  let { euid, egid } = old;
  const stat = file.inode!.getattr();
  if (typeof stat !== "number" && !old.noNewPrivs && !(file.path!.mount.flags & MNT_NOSUID)) {
    if (stat.mode & S_ISUID) euid = stat.uid;
    if ((stat.mode & S_ISGID_EXEC) === S_ISGID_EXEC) egid = stat.gid;
  }

  let permitted: CapSet = NO_CAPS;
  let asRoot = false;
  if (!(old.securebits & SECURE_NOROOT)) {
    if (euid === 0 || old.uid === 0) permitted = union(old.bounding, old.inheritable);
    asRoot = euid === 0;
  }

  const changed = euid !== old.euid || !inGroup(old, egid);
  if ((changed || !isSubset(permitted, old.permitted)) && unsafe(task)) {
    // No more than it had, and maybe less.
    if (old.noNewPrivs || !capable(old, CAP_SETUID)) {
      euid = old.uid;
      egid = old.gid;
    }
    permitted = intersect(permitted, old.permitted);
  }

  const ambient = changed ? NO_CAPS : old.ambient;
  const grew = !isSubset(permitted, ambient);
  permitted = union(permitted, ambient);
  const cred = {
    ...old,
    euid,
    egid,
    suid: euid,
    sgid: egid,
    fsuid: euid,
    fsgid: egid,
    permitted,
    effective: asRoot ? permitted : ambient,
    ambient,
    securebits: old.securebits & ~SECURE_KEEP_CAPS,
  };
  const secure = changed || euid !== old.uid || egid !== old.gid || (old.uid !== 0 && (asRoot || grew));
  const gained = isGain(old, cred);
  const unreadable = [file, linker].some((each) => each !== null && permission(task, each.inode!, MAY_READ) < 0);
  return { cred, secure, gained, unreadable };
}

/**
 * Somebody who keeps the old rights could steer a program with new ones: a process that shares root and directory. Other
 * threads of its own process are gone by now.
 */
function unsafe({ cred, fs }: Task): boolean {
  return cred.noNewPrivs || fs.users > 1;
}
