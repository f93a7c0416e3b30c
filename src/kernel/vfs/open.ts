/**
 * Opening files: open(2) and its relatives after their flags have been decoded.
 *
 * Source: open(2), openat2(2), Linux fs/namei.c (path_openat, do_open, may_open) for the order of checks.
 */
import { EACCES, EEXIST, EISDIR, ELOOP, ENOENT, ENOTDIR, EPERM, ETXTBSY } from "../abi/errno.ts";
import {
  __O_TMPFILE,
  MAY_EXEC,
  MAY_READ,
  MAY_WRITE,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_LARGEFILE,
  O_NOATIME,
  O_NOCTTY,
  O_NOFOLLOW,
  O_PATH,
  O_TRUNC,
} from "../abi/fcntl.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_ISVTX } from "../abi/stat.ts";
import type { Task } from "../task/task.ts";
import { Dentry, MNT_NODEV, MNT_NOEXEC, type Path } from "./dentry.ts";
import { type File, PathFile } from "./file.ts";
import type { Inode } from "./inode.ts";
import { newNode, ownerOrCapable, permission, stripPrivileges, writable } from "./permission.ts";
import { LAST_NORM, LOOKUP_DIRECTORY, LOOKUP_FOLLOW, Walk } from "./walk.ts";
import { IN_CREATE, IN_MODIFY, IN_OPEN, notifyDentry, notifyName, watching } from "./watches.ts";

/** Internal flag: opened to be executed, which needs execute permission instead of read permission. */
export const O_EXEC = 0x20;

/**
 * Opens what a path names; an open file with one reference, -errno, or BLOCKED (a FIFO waits for its other end).
 * `flags`: valid O_* flags; `mode`: permission bits of a new file; `lookup`: further LOOKUP_* flags (openat2).
 */
export function openAt(
  task: Task,
  dirfd: number,
  path: string,
  flags: number,
  mode: number,
  lookup = 0,
): File | number {
  // A name that must not exist is never followed.
  const exclusive = (flags & (O_CREAT | O_EXCL)) === (O_CREAT | O_EXCL);
  if ((flags & O_NOFOLLOW) === 0 && !exclusive) lookup |= LOOKUP_FOLLOW;
  if (flags & O_DIRECTORY) lookup |= LOOKUP_DIRECTORY;
  if ((flags & (O_PATH | __O_TMPFILE)) !== 0 || (flags & O_CREAT) === 0) {
    const walk = new Walk(task, lookup);
    let result = walk.begin(dirfd, path);
    if (result === 0) result = walk.toEnd();
    if (result < 0) return result;
    if (flags & O_PATH) return new PathFile(flags, walk.path);
    if (flags & __O_TMPFILE) return openNameless(task, walk.path, flags, mode);
    return openPlace(task, walk.path, flags);
  }
  return openOrCreate(task, dirfd, path, flags, mode, lookup);
}

/** O_CREAT: the last component may be missing, also at the end of a chain of links. */
function openOrCreate(task: Task, dirfd: number, path: string, flags: number, mode: number, lookup: number) {
  const walk = new Walk(task, lookup);
  let result = walk.begin(dirfd, path);
  if (result < 0) return result;
  for (;;) {
    result = walk.toParent();
    if (result < 0) return result;
    if (walk.kind !== LAST_NORM) {
      result = walk.toEndOfDots();
      if (result < 0) return result;
      return flags & O_EXCL ? -EEXIST : -EISDIR;
    }
    if (walk.trailing) return -EISDIR;
    const child = walk.child(walk.name, true);
    if (typeof child === "number") {
      if (child !== -ENOENT) return child;
      return createAndOpen(task, walk, flags, mode);
    }
    const dir = walk.inode;
    if (child.inode.type === S_IFLNK && (lookup & LOOKUP_FOLLOW) !== 0) {
      result = walk.follow(child);
      if (result < 0) return result;
      if (result === 0) continue;
    } else {
      result = walk.enter(child);
      if (result < 0) return result;
    }
    if (flags & O_EXCL) return -EEXIST;
    if (walk.inode.type === S_IFDIR) return -EISDIR;
    if (strangersNode(task, dir, walk.inode)) return -EACCES;
    return openPlace(task, walk.path, flags);
  }
}

/**
 * O_CREAT does not open what a stranger has put into a sticky directory that everyone may write to. Regular files and
 * FIFOs are let through (fs.protected_regular and fs.protected_fifos are 0).
 */
function strangersNode(task: Task, dir: Inode, inode: Inode): boolean {
  if (inode.type === S_IFREG || inode.type === S_IFIFO) return false;
  const above = dir.ownership();
  if (typeof above === "number" || (above.mode & (S_ISVTX | 0o002)) !== (S_ISVTX | 0o002)) return false;
  const own = inode.ownership();
  return typeof own !== "number" && own.uid !== above.uid && own.uid !== task.cred.fsuid;
}

function createAndOpen(task: Task, walk: Walk, flags: number, mode: number): File | number {
  const parent = walk.dentry;
  const dir = parent.inode;
  if (parent.deleted) return -ENOENT;
  const readonly = writable(walk.path);
  if (readonly < 0) return readonly;
  const denied = permission(task, dir, MAY_WRITE | MAY_EXEC);
  if (denied < 0) return denied;
  const node = newNode(task, dir, S_IFREG | (mode & 0o7777));
  if (typeof node === "number") return node;
  const made = dir.create(walk.name, node);
  if (typeof made === "number") return made;
  const dentry = new Dentry(walk.name, parent, made);
  parent.attach(dentry);
  if (watching.count > 0) notifyName(parent, IN_CREATE, walk.name);
  // Whoever makes a file may use it as asked, whatever its mode says.
  return finishOpen(task, { mount: walk.mount, dentry }, flags);
}

/** O_TMPFILE. */
function openNameless(task: Task, path: Path, flags: number, mode: number): File | number {
  if (path.dentry.inode.type !== S_IFDIR) return -ENOTDIR;
  const readonly = writable(path);
  if (readonly < 0) return readonly;
  const dir = path.dentry.inode;
  const denied = permission(task, dir, MAY_WRITE | MAY_EXEC);
  if (denied < 0) return denied;
  const node = newNode(task, dir, S_IFREG | (mode & 0o7777));
  if (typeof node === "number") return node;
  const made = dir.tmpfile(node);
  if (typeof made === "number") return made;
  made.linkable = (flags & O_EXCL) === 0;
  const dentry = new Dentry(`#${made.ino}`, path.dentry, made);
  dentry.deleted = true;
  return finishOpen(task, { mount: path.mount, dentry }, flags);
}

/** Opens what has been found: rights, then truncation, then the file itself. */
export function openPlace(task: Task, path: Path, flags: number): File | number {
  const inode = path.dentry.inode;
  const access = flags & 3;
  let mask = access === 0 ? MAY_READ : access === 1 ? MAY_WRITE : MAY_READ | MAY_WRITE;
  if (flags & O_EXEC) mask = MAY_EXEC;
  if (flags & O_TRUNC) mask |= MAY_WRITE;
  const { mount } = path;
  let truncate = false;
  switch (inode.type) {
    case S_IFLNK:
      return -ELOOP;
    case S_IFDIR:
      if (mask & MAY_WRITE) return -EISDIR;
      if (mask & MAY_EXEC) return -EACCES;
      break;
    case S_IFREG:
      if (mask & MAY_EXEC && mount.flags & MNT_NOEXEC) return -EACCES;
      truncate = (flags & O_TRUNC) !== 0;
      if (truncate) {
        const readonly = writable(path);
        if (readonly < 0) return readonly;
      }
      break;
    default:
      if ((inode.type === S_IFCHR || inode.type === S_IFBLK) && mount.flags & MNT_NODEV) return -EACCES;
      if (mask & MAY_EXEC) return -EACCES;
  }
  const denied = permission(task, inode, mask);
  if (denied < 0) return denied;
  if (flags & O_NOATIME) {
    const attr = inode.ownership();
    if (typeof attr === "number") return attr;
    if (!ownerOrCapable(task.cred, attr)) return -EPERM;
  }
  if (mask & MAY_WRITE && inode.type === S_IFREG) {
    if (inode.denyWrite > 0) return -ETXTBSY;
    const readonly = writable(path);
    if (readonly < 0) return readonly;
  }
  if (truncate) {
    stripPrivileges(task, inode);
    const result = inode.setattr({ size: 0 });
    if (result < 0) return result;
    if (watching.count > 0) notifyDentry(path.dentry, IN_MODIFY);
  }
  return finishOpen(task, path, flags);
}

function finishOpen(task: Task, path: Path, flags: number): File | number {
  const kept = (flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_EXEC)) | O_LARGEFILE;
  const file = path.dentry.inode.open(path, flags & O_NOCTTY ? kept | O_NOCTTY : kept, task);
  if (typeof file === "number") return file;
  file.flags &= ~O_NOCTTY;
  if (watching.count > 0) notifyDentry(path.dentry, IN_OPEN);
  return file;
}
