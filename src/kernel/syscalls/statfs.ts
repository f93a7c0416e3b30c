/**
 * statfs, fstatfs: what a file system is and how full.
 *
 * Manual page: statfs(2). Linux: fs/statfs.c. Gaps: ustat is not implemented (ENOSYS).
 */
import { EBADF, EFAULT } from "../abi/errno.ts";
import { AT_FDCWD } from "../abi/fcntl.ts";
import { ANON_INODE_FS_MAGIC, PIPEFS_MAGIC, S_IFIFO, S_IFMT, S_IFSOCK, SOCKFS_MAGIC } from "../abi/stat.ts";
import { cstring, fd, outStruct } from "../args.ts";
import { setU64 } from "../mm/mm.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { MNT_NOATIME, MNT_NODEV, MNT_NOEXEC, MNT_NOSUID, MNT_RDONLY, type Mount } from "../vfs/dentry.ts";
import type { File } from "../vfs/file.ts";
import { type StatFs, uncounted } from "../vfs/inode.ts";
import { resolve } from "../vfs/namei.ts";
import { LOOKUP_FOLLOW } from "../vfs/walk.ts";

const STATFS_SIZE = 120;
const ST_VALID = 0x20;
const ST_NOATIME = 0x400;
const ST_RELATIME = 0x1000;
const bytes = new Uint8Array(STATFS_SIZE);
const view = new DataView(bytes.buffer);

/** Of files that are in no mounted file system. */
function anonymous(file: File): StatFs {
  const type = file.anonymousMode & S_IFMT;
  const magic = type === S_IFIFO ? PIPEFS_MAGIC : type === S_IFSOCK ? SOCKFS_MAGIC : ANON_INODE_FS_MAGIC;
  return uncounted(magic);
}

function write(task: Task, addr: number, stat: StatFs, mount: Mount | null): number {
  let flags = ST_VALID;
  let dev = 0;
  if (mount !== null) {
    flags |= mount.flags & (MNT_RDONLY | MNT_NOSUID | MNT_NODEV | MNT_NOEXEC);
    flags |= mount.flags & MNT_NOATIME ? ST_NOATIME : ST_RELATIME;
    dev = mount.fs.dev;
  }
  bytes.fill(0);
  [stat.type, stat.bsize, stat.blocks, stat.bfree, stat.bavail, stat.files, stat.ffree].forEach((value, i) => {
    setU64(view, i * 8, value);
  });
  setU64(view, 56, dev);
  setU64(view, 64, stat.namelen);
  setU64(view, 72, stat.bsize);
  setU64(view, 80, flags);
  return task.mm.writeBytes(addr, bytes) < 0 ? -EFAULT : 0;
}

export const statfs = syscall("statfs", { path: cstring, buffer: outStruct() }, (task, call) => {
  const place = resolve(task, AT_FDCWD, call.path, LOOKUP_FOLLOW);
  if (typeof place === "number") return place;
  return write(task, call.buffer, place.mount.fs.statfs(), place.mount);
});

export const fstatfs = syscall("fstatfs", { fd, buffer: outStruct() }, (task, call) => {
  const file = task.files.get(call.fd);
  if (file === undefined) return -EBADF;
  if (file.path === null) return write(task, call.buffer, anonymous(file), null);
  return write(task, call.buffer, file.path.mount.fs.statfs(), file.path.mount);
});
