/** struct stat and struct statx as x86-64 programs expect them. Source: stat(2), statx(2). */
import { EFAULT } from "../abi/errno.ts";
import { majorOf, minorOf } from "../abi/stat.ts";
import { setU64 } from "../mm/mm.ts";
import type { Task } from "../task/task.ts";
import type { Stat, Timespec } from "./inode.ts";

export const STAT_SIZE = 144;
export const STATX_SIZE = 256;

export const STATX_BASIC_STATS = 0x7ff;
export const STATX_BTIME = 0x800;
export const STATX_MNT_ID = 0x1000;
export const STATX_MNT_ID_UNIQUE = 0x4000;
export const STATX_ATTR_MOUNT_ROOT = 0x2000;

const bytes = new Uint8Array(STATX_SIZE);
const view = new DataView(bytes.buffer);

function setS64(at: number, value: number): void {
  setU64(view, at, value);
}
function setTime(at: number, time: Timespec): void {
  setS64(at, time.sec);
  view.setUint32(at + 8, time.nsec, true);
  view.setUint32(at + 12, 0, true);
}

/** Writes a struct stat to guest memory: 0 or -EFAULT. */
export function writeStat(task: Task, addr: number, stat: Stat): number {
  setU64(view, 0, stat.dev);
  setU64(view, 8, stat.ino);
  setU64(view, 16, stat.nlink);
  view.setUint32(24, stat.mode, true);
  view.setUint32(28, stat.uid, true);
  view.setUint32(32, stat.gid, true);
  view.setUint32(36, 0, true);
  setU64(view, 40, stat.rdev);
  setS64(48, stat.size);
  setS64(56, stat.blksize);
  setS64(64, stat.blocks);
  setTime(72, stat.atime);
  setTime(88, stat.mtime);
  setTime(104, stat.ctime);
  for (let at = 120; at < STAT_SIZE; at += 4) view.setUint32(at, 0, true);
  return task.mm.writeBytes(addr, bytes, STAT_SIZE) < 0 ? -EFAULT : 0;
}

/** Writes a struct statx: 0 or -EFAULT. */
export function writeStatx(task: Task, addr: number, stat: Stat, mountId: number, mountRoot: boolean): number {
  bytes.fill(0);
  let mask = STATX_BASIC_STATS;
  if (stat.btime !== undefined) {
    mask |= STATX_BTIME;
    setTime(80, stat.btime);
  }
  if (mountId > 0) {
    mask |= STATX_MNT_ID;
    setU64(view, 144, mountId);
    setU64(view, 16 - 8, mountRoot ? STATX_ATTR_MOUNT_ROOT : 0);
    setU64(view, 56, STATX_ATTR_MOUNT_ROOT);
  }
  view.setUint32(0, mask, true);
  view.setUint32(4, stat.blksize, true);
  view.setUint32(16, stat.nlink, true);
  view.setUint32(20, stat.uid, true);
  view.setUint32(24, stat.gid, true);
  view.setUint16(28, stat.mode, true);
  setU64(view, 32, stat.ino);
  setU64(view, 40, stat.size);
  setU64(view, 48, stat.blocks);
  setTime(64, stat.atime);
  setTime(96, stat.ctime);
  setTime(112, stat.mtime);
  view.setUint32(128, majorOf(stat.rdev), true);
  view.setUint32(132, minorOf(stat.rdev), true);
  view.setUint32(136, majorOf(stat.dev), true);
  view.setUint32(140, minorOf(stat.dev), true);
  return task.mm.writeBytes(addr, bytes, STATX_SIZE) < 0 ? -EFAULT : 0;
}
