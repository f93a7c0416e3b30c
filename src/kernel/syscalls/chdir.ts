/**
 * chdir, fchdir, getcwd, chroot, umask.
 *
 * Manual pages: chdir(2), getcwd(3), chroot(2), umask(2). Linux: fs/open.c, fs/d_path.c. Gaps: none known.
 */
import { encodeCString } from "../abi/bytes.ts";
import { EBADF, EFAULT, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM, ERANGE } from "../abi/errno.ts";
import { AT_FDCWD, MAY_EXEC, PATH_MAX } from "../abi/fcntl.ts";
import { S_IFDIR } from "../abi/stat.ts";
import { cstring, fd, mode, outBuffer, size } from "../args.ts";
import { syscall } from "../syscall.ts";
import { CAP_SYS_CHROOT, capable } from "../task/credentials.ts";
import { pathStringReachable, permission, resolve } from "../vfs/namei.ts";
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW } from "../vfs/walk.ts";

export const chdir = syscall("chdir", { path: cstring }, (task, call) => {
  const place = resolve(task, AT_FDCWD, call.path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY);
  if (typeof place === "number") return place;
  const denied = permission(task, place.dentry.inode, MAY_EXEC);
  if (denied < 0) return denied;
  task.fs.cwd = place;
  return 0;
});

export const fchdir = syscall("fchdir", { fd }, (task, call) => {
  const file = task.files.get(call.fd);
  if (file === undefined) return -EBADF;
  if (file.path === null || file.path.dentry.inode.type !== S_IFDIR) return -ENOTDIR;
  const denied = permission(task, file.path.dentry.inode, MAY_EXEC);
  if (denied < 0) return denied;
  task.fs.cwd = file.path;
  return 0;
});

export const chroot = syscall("chroot", { path: cstring }, (task, call) => {
  const place = resolve(task, AT_FDCWD, call.path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY);
  if (typeof place === "number") return place;
  const denied = permission(task, place.dentry.inode, MAY_EXEC);
  if (denied < 0) return denied;
  if (!capable(task.cred, CAP_SYS_CHROOT)) return -EPERM;
  task.fs.root = place;
  return 0;
});

export const getcwd = syscall("getcwd", { buffer: outBuffer(), size }, (task, call) => {
  const { cwd } = task.fs;
  if (cwd.dentry.deleted) return -ENOENT;
  const bytes = encodeCString(pathStringReachable(task, cwd));
  if (bytes.length > PATH_MAX) return -ENAMETOOLONG;
  if (bytes.length > call.size) return -ERANGE;
  return task.mm.writeBytes(call.buffer, bytes) < 0 ? -EFAULT : bytes.length;
});

export const umask = syscall("umask", { mask: mode }, (task, call) => {
  const old = task.fs.umask;
  task.fs.umask = call.mask & 0o777;
  return old;
});
