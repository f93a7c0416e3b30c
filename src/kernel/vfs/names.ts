/**
 * Making, linking, removing and renaming names.
 *
 * Source: mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2), rename(2); the order of checks is that of Linux
 * fs/namei.c (filename_create, do_unlinkat, do_rmdir, do_renameat2, may_delete).
 */
import { EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EXDEV } from "../abi/errno.ts";
import { MAY_EXEC, MAY_READ, MAY_WRITE, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from "../abi/fcntl.ts";
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  S_ISGID,
  S_ISUID,
  S_ISVTX,
} from "../abi/stat.ts";
import { CAP_MKNOD, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import { Dentry, type Path } from "./dentry.ts";
import type { Inode } from "./inode.ts";
import { mayRemove, newNode, ownerOrCapable, permission, writable } from "./permission.ts";
import { LAST_DOT, LAST_DOTDOT, LAST_NORM, LAST_ROOT, Walk } from "./walk.ts";
import {
  IN_ATTRIB,
  IN_CREATE,
  IN_DELETE,
  notifyIfGone,
  notifyMove,
  notifyName,
  notifySelf,
  watching,
} from "./watches.ts";

/** A walk that has come to the directory of a name. */
function parentOf(task: Task, dirfd: number, path: string): Walk | number {
  const walk = new Walk(task, 0);
  let result = walk.begin(dirfd, path);
  if (result === 0) result = walk.toParent();
  return result < 0 ? result : walk;
}

/** A walk to the directory of a name that does not exist yet and may be made. */
function placeForNew(task: Task, dirfd: number, path: string, directory: boolean): Walk | number {
  const walk = parentOf(task, dirfd, path);
  if (typeof walk === "number") return walk;
  if (walk.kind !== LAST_NORM) return -EEXIST;
  const there = walk.child(walk.name, true);
  if (typeof there !== "number") return -EEXIST;
  if (there !== -ENOENT) return there;
  if (walk.trailing && !directory) return -ENOENT;
  const readonly = writable(walk.path);
  return readonly < 0 ? readonly : walk;
}

function mayCreate(task: Task, dir: Dentry): number {
  if (dir.deleted) return -ENOENT;
  return permission(task, dir.inode, MAY_WRITE | MAY_EXEC);
}

/** The new name is there: its dentry, and who watches is told. */
function appeared(walk: Walk, inode: Inode): Path {
  const dentry = new Dentry(walk.name, walk.dentry, inode);
  walk.dentry.attach(dentry);
  if (watching.count > 0) notifyName(walk.dentry, IN_CREATE, walk.name, inode);
  return { mount: walk.mount, dentry };
}

/** mknod(2): a file, device node, FIFO or socket; `mode` with type bits, before umask. */
export function makeNode(task: Task, dirfd: number, path: string, mode: number, rdev: number): Path | number {
  const type = mode & S_IFMT || S_IFREG;
  switch (type) {
    case S_IFREG:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      break;
    case S_IFDIR:
      return -EPERM;
    default:
      return -EINVAL;
  }
  const walk = placeForNew(task, dirfd, path, false);
  if (typeof walk === "number") return walk;
  const denied = mayCreate(task, walk.dentry);
  if (denied < 0) return denied;
  const device = type === S_IFCHR || type === S_IFBLK;
  if (device && rdev !== 0 && !capable(task.cred, CAP_MKNOD)) return -EPERM;
  const node = newNode(task, walk.inode, type | (mode & 0o7777));
  if (typeof node === "number") return node;
  const made =
    type === S_IFREG
      ? walk.inode.createUnopened(walk.name, node)
      : walk.inode.mknod(walk.name, node, device ? rdev : 0);
  return typeof made === "number" ? made : appeared(walk, made);
}

export function makeDirectory(task: Task, dirfd: number, path: string, mode: number): Path | number {
  const walk = placeForNew(task, dirfd, path, true);
  if (typeof walk === "number") return walk;
  const denied = mayCreate(task, walk.dentry);
  if (denied < 0) return denied;
  const node = newNode(task, walk.inode, S_IFDIR | (mode & (0o777 | S_ISVTX)));
  if (typeof node === "number") return node;
  const made = walk.inode.mkdir(walk.name, node);
  return typeof made === "number" ? made : appeared(walk, made);
}

export function makeSymlink(task: Task, target: string, dirfd: number, path: string): Path | number {
  if (target.length === 0) return -ENOENT;
  const walk = placeForNew(task, dirfd, path, false);
  if (typeof walk === "number") return walk;
  const denied = mayCreate(task, walk.dentry);
  if (denied < 0) return denied;
  const node = newNode(task, walk.inode, S_IFLNK);
  if (typeof node === "number") return node;
  const made = walk.inode.symlink(walk.name, target, { ...node, mode: S_IFLNK | 0o777 });
  return typeof made === "number" ? made : appeared(walk, made);
}

/** fs.protected_hardlinks=1, as everywhere: no links to what one neither owns nor may read and write. */
function mayLink(task: Task, inode: Inode): number {
  const attr = inode.ownership();
  if (typeof attr === "number") return attr;
  if (ownerOrCapable(task.cred, attr)) return 0;
  const setId = (attr.mode & S_ISUID) !== 0 || (attr.mode & (S_ISGID | 0o010)) === (S_ISGID | 0o010);
  if (inode.type !== S_IFREG || setId) return -EPERM;
  return permission(task, inode, MAY_READ | MAY_WRITE) < 0 ? -EPERM : 0;
}

/** link(2): another name for what `old` is. */
export function makeLink(task: Task, old: Path, dirfd: number, path: string): number {
  const walk = placeForNew(task, dirfd, path, false);
  if (typeof walk === "number") return walk;
  if (old.mount !== walk.mount) return -EXDEV;
  const inode = old.dentry.inode;
  const unsafe = mayLink(task, inode);
  if (unsafe < 0) return unsafe;
  const denied = mayCreate(task, walk.dentry);
  if (denied < 0) return denied;
  if (inode.fs !== walk.inode.fs) return -EXDEV;
  if (inode.type === S_IFDIR) return -EPERM;
  if (old.dentry.deleted && !inode.linkable) {
    // A file whose last name is gone cannot come back; one with other names can.
    const stat = inode.getattr();
    if (typeof stat === "number") return stat;
    if (stat.nlink === 0) return -ENOENT;
  }
  const result = walk.inode.link(walk.name, inode);
  if (result < 0) return result;
  inode.linkable = false;
  if (watching.count > 0) notifySelf(inode, IN_ATTRIB);
  appeared(walk, inode);
  return 0;
}

/** Rights and kinds, for removing the name `victim` from `dir` (or putting something in its place). */
function mayDelete(task: Task, dir: Dentry, victim: Dentry, asDirectory: boolean): number {
  const denied = mayRemove(task, dir.inode, victim.inode);
  if (denied < 0) return denied;
  const isDirectory = victim.inode.type === S_IFDIR;
  if (asDirectory && !isDirectory) return -ENOTDIR;
  if (!asDirectory && isDirectory) return -EISDIR;
  return dir.deleted ? -ENOENT : 0;
}

export function removeFile(task: Task, dirfd: number, path: string): number {
  const walk = parentOf(task, dirfd, path);
  if (typeof walk === "number") return walk;
  if (walk.kind !== LAST_NORM) return -EISDIR;
  const readonly = writable(walk.path);
  if (readonly < 0) return readonly;
  const victim = walk.child(walk.name, true);
  if (typeof victim === "number") return victim;
  if (walk.trailing) return victim.inode.type === S_IFDIR ? -EISDIR : -ENOTDIR;
  const denied = mayDelete(task, walk.dentry, victim, false);
  if (denied < 0) return denied;
  if (victim.mountedHere > 0) return -EBUSY;
  const inode = victim.inode;
  const result = walk.inode.unlink(walk.name, inode);
  if (result < 0) return result;
  vanished(walk.dentry, victim);
  if (watching.count > 0) {
    notifySelf(inode, IN_ATTRIB);
    notifyIfGone(inode);
    notifyName(walk.dentry, IN_DELETE, walk.name, inode);
  }
  return 0;
}

export function removeDirectory(task: Task, dirfd: number, path: string): number {
  const walk = parentOf(task, dirfd, path);
  if (typeof walk === "number") return walk;
  if (walk.kind === LAST_DOTDOT) return -ENOTEMPTY;
  if (walk.kind === LAST_DOT) return -EINVAL;
  if (walk.kind === LAST_ROOT) return -EBUSY;
  const readonly = writable(walk.path);
  if (readonly < 0) return readonly;
  const victim = walk.child(walk.name, true);
  if (typeof victim === "number") return victim;
  const denied = mayDelete(task, walk.dentry, victim, true);
  if (denied < 0) return denied;
  if (victim.mountedHere > 0) return -EBUSY;
  const inode = victim.inode;
  const result = walk.inode.rmdir(walk.name, inode);
  if (result < 0) return result;
  vanished(walk.dentry, victim);
  if (watching.count > 0) {
    notifyIfGone(inode);
    notifyName(walk.dentry, IN_DELETE, walk.name, inode);
  }
  return 0;
}

function vanished(dir: Dentry, victim: Dentry): void {
  victim.deleted = true;
  dir.detach(victim);
}

export function renameName(
  task: Task,
  fromDirfd: number,
  from: string,
  toDirfd: number,
  to: string,
  flags: number,
): number {
  const exchange = (flags & RENAME_EXCHANGE) !== 0;
  if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) return -EINVAL;
  if (exchange && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)) return -EINVAL;
  const source = parentOf(task, fromDirfd, from);
  if (typeof source === "number") return source;
  const target = parentOf(task, toDirfd, to);
  if (typeof target === "number") return target;
  if (source.mount !== target.mount) return -EXDEV;
  if (source.kind !== LAST_NORM) return -EBUSY;
  if (target.kind !== LAST_NORM) return flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
  const readonly = writable(source.path);
  if (readonly < 0) return readonly;
  const old = source.child(source.name, true);
  if (typeof old === "number") return old;
  const found = target.child(target.name, true);
  if (typeof found === "number" && found !== -ENOENT) return found;
  const there = typeof found === "number" ? null : found;
  const isDirectory = old.inode.type === S_IFDIR;
  if (there !== null && flags & RENAME_NOREPLACE) return -EEXIST;
  if (exchange) {
    if (there === null) return -ENOENT;
    if (there.inode.type !== S_IFDIR && target.trailing) return -ENOTDIR;
  }
  if (!isDirectory && (source.trailing || (!exchange && target.trailing))) return -ENOTDIR;
  const fromDir = source.dentry;
  const toDir = target.dentry;
  if (fromDir !== toDir) {
    if (old.contains(toDir)) return -EINVAL;
    if (there?.contains(fromDir)) return exchange ? -EINVAL : -ENOTEMPTY;
  }
  if (there !== null && there.inode === old.inode) return 0;
  let denied = mayDelete(task, fromDir, old, isDirectory);
  if (denied === 0)
    denied =
      there === null
        ? mayCreate(task, toDir)
        : mayDelete(task, toDir, there, exchange ? there.inode.type === S_IFDIR : isDirectory);
  if (denied < 0) return denied;
  if (fromDir !== toDir) {
    if (isDirectory) denied = permission(task, old.inode, MAY_WRITE);
    if (denied === 0 && exchange && there!.inode.type === S_IFDIR) denied = permission(task, there!.inode, MAY_WRITE);
    if (denied < 0) return denied;
  }
  if (flags & RENAME_WHITEOUT && !capable(task.cred, CAP_MKNOD)) return -EPERM;
  if (old.mountedHere > 0 || (there !== null && there.mountedHere > 0)) return -EBUSY;
  const result = fromDir.inode.rename(source.name, toDir.inode, target.name, flags, old.inode, there?.inode ?? null);
  if (result < 0) return result;
  const oldName = source.name;
  const newName = target.name;
  if (there !== null && exchange) {
    there.move(fromDir, oldName);
    old.move(toDir, newName);
  } else {
    if (there !== null) vanished(toDir, there);
    old.move(toDir, newName);
  }
  if (watching.count > 0) {
    notifyMove(fromDir, oldName, toDir, newName, old.inode);
    if (there !== null && exchange) notifyMove(toDir, newName, fromDir, oldName, there.inode);
    else if (there !== null) {
      if (there.inode.type !== S_IFDIR) notifySelf(there.inode, IN_ATTRIB);
      notifyIfGone(there.inode);
    }
  }
  return 0;
}
