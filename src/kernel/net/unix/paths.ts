/**
 * File-system names of unix sockets: making one, finding what is behind one.
 *
 * Source: unix(7), Linux net/unix/af_unix.c (unix_bind_bsd, unix_find_bsd).
 */
import { EADDRINUSE, EEXIST, EINVAL } from "../../abi/errno.ts";
import { AT_FDCWD, MAY_WRITE } from "../../abi/fcntl.ts";
import { S_IFSOCK } from "../../abi/stat.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { Inode } from "../../vfs/inode.ts";
import { LOOKUP_FOLLOW, makeNode, resolve } from "../../vfs/namei.ts";
import { removeFile } from "../../vfs/names.ts";
import { permission } from "../../vfs/permission.ts";

/** Makes a socket file. `alreadyNamed`: the socket has a name, so that bind fails, but after the checks of the path. */
export function bindPath(task: Task, name: string, alreadyNamed: boolean): Path | number {
  const path = makeNode(task, AT_FDCWD, name, S_IFSOCK | 0o777, 0);
  if (path === -EEXIST) return -EADDRINUSE;
  if (typeof path !== "number" && alreadyNamed) {
    removeFile(task, AT_FDCWD, name);
    return -EINVAL;
  }
  return path;
}

/** The inode that a path leads to, if the task may write to it. */
export function findPath(task: Task, name: string): Inode | number {
  const path = resolve(task, AT_FDCWD, name, LOOKUP_FOLLOW);
  if (typeof path === "number") return path;
  const denied = permission(task, path.dentry.inode, MAY_WRITE);
  return denied < 0 ? denied : path.dentry.inode;
}
