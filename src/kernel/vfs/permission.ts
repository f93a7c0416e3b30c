/**
 * Who may do what to a file: mode bits, owners, capabilities, the sticky bit, set-id bits that fall.
 *
 * Source: path_resolution(7), capabilities(7), inode(7), Linux fs/namei.c and fs/attr.c for the order of checks.
 * Known gap: no POSIX access control lists; user namespaces have no effect on who owns what.
 */
import { EACCES, EPERM, EROFS } from "../abi/errno.ts";
import { MAY_EXEC, MAY_READ, MAY_WRITE } from "../abi/fcntl.ts";
import { S_IFDIR, S_IFMT, S_IFREG, S_ISGID, S_ISUID, S_ISVTX } from "../abi/stat.ts";
import {
  CAP_CHOWN,
  CAP_DAC_OVERRIDE,
  CAP_DAC_READ_SEARCH,
  CAP_FOWNER,
  CAP_FSETID,
  type Credentials,
  capable,
  NO_CAPS,
} from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import { MNT_RDONLY, type Path } from "./dentry.ts";
import type { AttrChanges, Inode, NewNode, Ownership } from "./inode.ts";

/** Is the group among those that count for file access? */
export function inGroup(cred: Credentials, gid: number): boolean {
  return cred.fsgid === gid || cred.groups.includes(gid);
}

/** May `cred` do `mask` (MAY_*) to the inode? 0, -EACCES. */
export function permissionAs(cred: Credentials, inode: Inode, mask: number): number {
  const override = capable(cred, CAP_DAC_OVERRIDE);
  // Root and directories, root and plain reading and writing: no need to look.
  if (override && (inode.type === S_IFDIR || (mask & MAY_EXEC) === 0)) return 0;
  const attr = inode.ownership();
  if (typeof attr === "number") return attr;
  return allowed(cred, attr, inode.type === S_IFDIR, mask);
}

function allowed(cred: Credentials, attr: Ownership, directory: boolean, mask: number): number {
  let bits = attr.mode;
  if (cred.fsuid === attr.uid) bits >>= 6;
  else if (inGroup(cred, attr.gid)) bits >>= 3;
  if ((mask & ~bits & 7) === 0) return 0;
  if (directory) {
    if ((mask & MAY_WRITE) === 0 && capable(cred, CAP_DAC_READ_SEARCH)) return 0;
    return capable(cred, CAP_DAC_OVERRIDE) ? 0 : -EACCES;
  }
  if ((mask & 7) === MAY_READ && capable(cred, CAP_DAC_READ_SEARCH)) return 0;
  if (((mask & MAY_EXEC) === 0 || (attr.mode & 0o111) !== 0) && capable(cred, CAP_DAC_OVERRIDE)) return 0;
  return -EACCES;
}

/** May the task do `mask` to the inode, with its file system ids? */
export function permission(task: Task, inode: Inode, mask: number): number {
  return permissionAs(task.cred, inode, mask);
}

/** The same for access(2): with real ids, and the capabilities that a program of the real user would have. */
export function realCredentials(cred: Credentials): Credentials {
  const held = cred.effective;
  const wanted = cred.uid === 0 ? cred.permitted : NO_CAPS;
  if (cred.fsuid === cred.uid && cred.fsgid === cred.gid && held.lo === wanted.lo && held.hi === wanted.hi) return cred;
  return {
    ...cred,
    fsuid: cred.uid,
    fsgid: cred.gid,
    effective: wanted,
  };
}

/** 0, or -EROFS where the mount is read-only. */
export function writable(path: Path): number {
  return path.mount.flags & MNT_RDONLY ? -EROFS : 0;
}

/** Owner of the file, or CAP_FOWNER. */
export function ownerOrCapable(cred: Credentials, attr: Ownership): boolean {
  return cred.fsuid === attr.uid || capable(cred, CAP_FOWNER);
}

/** May a name in `dir` be removed that leads to `victim`? -EACCES; -EPERM in a sticky directory of others. */
export function mayRemove(task: Task, dir: Inode, victim: Inode): number {
  const denied = permission(task, dir, MAY_WRITE | MAY_EXEC);
  if (denied < 0) return denied;
  const cred = task.cred;
  if (capable(cred, CAP_FOWNER)) return 0;
  const above = dir.ownership();
  if (typeof above === "number") return above;
  if ((above.mode & S_ISVTX) === 0 || cred.fsuid === above.uid) return 0;
  const own = victim.ownership();
  if (typeof own === "number") return own;
  return cred.fsuid === own.uid ? 0 : -EPERM;
}

/**
 * Owner and mode of a file made in `dir`; `mode` with type bits, umask not yet taken off.
 * A set-gid directory gives its group, and to directories the bit.
 */
export function newNode(task: Task, dir: Inode, mode: number): NewNode | number {
  const cred = task.cred;
  const above = dir.ownership();
  if (typeof above === "number") return above;
  const type = mode & S_IFMT;
  let bits = mode & ~task.fs.umask;
  let gid = cred.fsgid;
  if (above.mode & S_ISGID) {
    gid = above.gid;
    if (type === S_IFDIR) bits |= S_ISGID;
    else if ((bits & (S_ISGID | 0o010)) === (S_ISGID | 0o010) && !inGroup(cred, gid) && !capable(cred, CAP_FSETID))
      bits &= ~S_ISGID;
  }
  return { mode: bits, uid: cred.fsuid, gid };
}

/** The mode without the bits that a write or a change of owner takes from it; CAP_FSETID keeps them for writes. */
function droppedBits(cred: Credentials, attr: Ownership): number {
  let mode = attr.mode & ~S_ISUID;
  if (mode & S_ISGID && (mode & 0o010 || (!inGroup(cred, attr.gid) && !capable(cred, CAP_FSETID)))) mode &= ~S_ISGID;
  return mode;
}

/** Someone writes to the file: set-id bits go, unless CAP_FSETID. */
export function stripPrivileges(task: Task, inode: Inode): void {
  if (inode.type !== S_IFREG || capable(task.cred, CAP_FSETID)) return;
  const attr = inode.ownership();
  if (typeof attr === "number" || (attr.mode & (S_ISUID | S_ISGID)) === 0) return;
  const mode = droppedBits(task.cred, attr);
  if (mode !== attr.mode) inode.setattr({ mode: mode & 0o7777 });
}

/** chmod(2) after the path has been found. */
export function changeMode(task: Task, inode: Inode, mode: number): number {
  const attr = inode.ownership();
  if (typeof attr === "number") return attr;
  if (!ownerOrCapable(task.cred, attr)) return -EPERM;
  let bits = mode & 0o7777;
  if (bits & S_ISGID && !inGroup(task.cred, attr.gid) && !capable(task.cred, CAP_FSETID)) bits &= ~S_ISGID;
  return inode.setattr({ mode: bits });
}

/** chown(2) after the path has been found; -1 leaves an id as it is. */
export function changeOwner(task: Task, inode: Inode, uid: number, gid: number): number {
  const attr = inode.ownership();
  if (typeof attr === "number") return attr;
  const cred = task.cred;
  const own = cred.fsuid === attr.uid;
  if (uid !== -1 && !(own && uid === attr.uid) && !capable(cred, CAP_CHOWN)) return -EPERM;
  if (gid !== -1 && !(own && (gid === attr.gid || inGroup(cred, gid))) && !capable(cred, CAP_CHOWN)) return -EPERM;
  const changes: AttrChanges = {};
  if (uid !== -1) changes.uid = uid;
  if (gid !== -1) changes.gid = gid;
  if (inode.type !== S_IFDIR) {
    const mode = droppedBits(cred, attr);
    if (mode !== attr.mode) {
      // Taking set-id bits away is a change of mode, which -1 for both ids does not excuse.
      if (!ownerOrCapable(cred, attr)) return -EPERM;
      changes.mode = mode & 0o7777;
    }
  }
  return inode.setattr(changes);
}
