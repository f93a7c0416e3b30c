/**
 * utime, utimes, futimesat, utimensat: times of files.
 *
 * Manual pages: utime(2), utimensat(2). Linux: fs/utimes.c. Gaps: none known.
 */
import { EBADF, EFAULT, EINVAL, EPERM } from "../abi/errno.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, MAY_WRITE, UTIME_NOW, UTIME_OMIT } from "../abi/fcntl.ts";
import { cstring, fd, flags, inStruct, optionalCstring } from "../args.ts";
import { getS64 } from "../mm/mm.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import { realtimeNow } from "../time/clock.ts";
import type { Dentry, Path } from "../vfs/dentry.ts";
import type { AttrChanges, Inode, Timespec } from "../vfs/inode.ts";
import { resolve } from "../vfs/namei.ts";
import { ownerOrCapable, permission, writable } from "../vfs/permission.ts";
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from "../vfs/walk.ts";
import { IN_ACCESS, IN_ATTRIB, IN_MODIFY, notifyDentry, watching } from "../vfs/watches.ts";

/** Access and modification time; null: both now. */
type Times = { atime: Timespec; mtime: Timespec } | null;

function setTimes(task: Task, inode: Inode, dentry: Dentry | null, given: Times): number {
  const now = given === null || (given.atime.nsec === UTIME_NOW && given.mtime.nsec === UTIME_NOW);
  const attr = inode.ownership();
  if (typeof attr === "number") return attr;
  if (!ownerOrCapable(task.cred, attr)) {
    if (!now) return -EPERM;
    // Who may write may set the times to now.
    const denied = permission(task, inode, MAY_WRITE);
    if (denied < 0) return denied;
  }
  const clock = realtimeNow();
  const changes: AttrChanges = {};
  const pick = (time: Timespec): Timespec | undefined =>
    time.nsec === UTIME_OMIT ? undefined : time.nsec === UTIME_NOW ? clock : time;
  const atime = given === null ? clock : pick(given.atime);
  const mtime = given === null ? clock : pick(given.mtime);
  if (atime !== undefined) changes.atime = atime;
  if (mtime !== undefined) changes.mtime = mtime;
  const result = inode.setattr(changes);
  if (result === 0 && dentry !== null && watching.count > 0)
    notifyDentry(dentry, atime && mtime ? IN_ATTRIB : atime ? IN_ACCESS : IN_MODIFY);
  return result;
}

function timesOfPlace(task: Task, place: Path, given: Times): number {
  const readonly = writable(place);
  return readonly < 0 ? readonly : setTimes(task, place.dentry.inode, place.dentry, given);
}

function timesOfPath(task: Task, dirfd: number, path: string | null, given: Times, at: number): number {
  if (at & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return -EINVAL;
  if (path === null && dirfd !== AT_FDCWD) {
    if (at !== 0) return -EINVAL;
    const file = task.files.getOpen(dirfd);
    if (file === undefined) return -EBADF;
    if (file.path !== null) return timesOfPlace(task, file.path, given);
    return file.inode === null ? 0 : setTimes(task, file.inode, null, given);
  }
  if (path === null) return -EFAULT;
  const lookup = (at & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (at & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
  const place = resolve(task, dirfd, path, lookup);
  return typeof place === "number" ? place : timesOfPlace(task, place, given);
}

const validNsec = (nsec: number): boolean => (nsec >= 0 && nsec < 1e9) || nsec === UTIME_NOW || nsec === UTIME_OMIT;

export const utimensat = syscall(
  "utimensat",
  { dirfd: fd, path: optionalCstring, times: inStruct(32), flags: flags({ AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH }) },
  (task, call) => {
    let given: Times = null;
    if (call.times !== 0) {
      const view = task.mm.readStruct(call.times, 32);
      if (view === null) return -EFAULT;
      given = {
        atime: { sec: getS64(view, 0), nsec: getS64(view, 8) },
        mtime: { sec: getS64(view, 16), nsec: getS64(view, 24) },
      };
      if (given.atime.nsec === UTIME_OMIT && given.mtime.nsec === UTIME_OMIT) return 0;
      if (!validNsec(given.atime.nsec) || !validNsec(given.mtime.nsec)) return -EINVAL;
    }
    return timesOfPath(task, call.dirfd, call.path, given, call.flags);
  },
);

/** Two struct timeval: null stands for now. */
function timevals(task: Task, addr: number): Times | number {
  if (addr === 0) return null;
  const view = task.mm.readStruct(addr, 32);
  if (view === null) return -EFAULT;
  const times: number[] = [getS64(view, 0), getS64(view, 8), getS64(view, 16), getS64(view, 24)];
  if (times[1]! < 0 || times[1]! >= 1e6 || times[3]! < 0 || times[3]! >= 1e6) return -EINVAL;
  return {
    atime: { sec: times[0]!, nsec: times[1]! * 1000 },
    mtime: { sec: times[2]!, nsec: times[3]! * 1000 },
  };
}
export const utimes = syscall("utimes", { path: cstring, times: inStruct(32) }, (task, call) => {
  const given = timevals(task, call.times);
  return typeof given === "number" ? given : timesOfPath(task, AT_FDCWD, call.path, given, 0);
});
export const futimesat = syscall(
  "futimesat",
  { dirfd: fd, path: optionalCstring, times: inStruct(32) },
  (task, call) => {
    const given = timevals(task, call.times);
    return typeof given === "number" ? given : timesOfPath(task, call.dirfd, call.path, given, 0);
  },
);
export const utime = syscall("utime", { path: cstring, times: inStruct(16) }, (task, call) => {
  let given: Times = null;
  if (call.times !== 0) {
    const view = task.mm.readStruct(call.times, 16);
    if (view === null) return -EFAULT;
    given = { atime: { sec: getS64(view, 0), nsec: 0 }, mtime: { sec: getS64(view, 8), nsec: 0 } };
  }
  return timesOfPath(task, AT_FDCWD, call.path, given, 0);
});
