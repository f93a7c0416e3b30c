/**
 * open, creat, openat, openat2.
 *
 * Manual pages: open(2), openat2(2). Linux: fs/open.c (build_open_flags). Gaps: RESOLVE_CACHED always gives EAGAIN.
 */

import { E2BIG, EAGAIN, EFAULT, EINVAL } from "../abi/errno.ts";
import {
  __O_TMPFILE,
  AT_FDCWD,
  FASYNC,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_EXCL,
  O_LARGEFILE,
  O_NOATIME,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
  OPEN_FLAGS,
  RESOLVE_BENEATH,
  RESOLVE_CACHED,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
} from "../abi/fcntl.ts";
import { cstring, fd, flags, inStruct, mode, size } from "../args.ts";
import { syscall } from "../syscall.ts";
import { RLIMIT_NOFILE } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { openAt } from "../vfs/open.ts";
import {
  LOOKUP_BENEATH,
  LOOKUP_CACHED,
  LOOKUP_IN_ROOT,
  LOOKUP_NO_MAGICLINKS,
  LOOKUP_NO_SYMLINKS,
  LOOKUP_NO_XDEV,
} from "../vfs/walk.ts";

const VALID_FLAGS =
  O_ACCMODE |
  O_CREAT |
  O_EXCL |
  O_NOCTTY |
  O_TRUNC |
  O_APPEND |
  O_NONBLOCK |
  O_SYNC |
  FASYNC |
  O_DIRECT |
  O_LARGEFILE |
  O_DIRECTORY |
  O_NOFOLLOW |
  O_NOATIME |
  O_CLOEXEC |
  O_PATH |
  __O_TMPFILE;
const PATH_FLAGS = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
const MODE_BITS = 0o7777;
const OPEN_HOW_SIZE = 24;

/** What open(2) ignores, openat2(2) refuses. */
function plain(task: Task, dirfd: number, path: string, given: number, fileMode: number): number {
  let bits = given & VALID_FLAGS;
  if (bits & O_PATH) bits &= PATH_FLAGS;
  const creates = (bits & (O_CREAT | __O_TMPFILE)) !== 0;
  return open_(task, dirfd, path, bits, creates ? fileMode & MODE_BITS : 0, 0);
}

function open_(task: Task, dirfd: number, path: string, bits: number, fileMode: number, lookup: number): number {
  if ((bits & (O_DIRECTORY | O_CREAT)) === (O_DIRECTORY | O_CREAT)) return -EINVAL;
  if (bits & __O_TMPFILE && ((bits & O_DIRECTORY) === 0 || (bits & O_ACCMODE) === 0)) return -EINVAL;
  const file = openAt(task, dirfd, path, bits & ~O_CLOEXEC, fileMode, lookup);
  if (typeof file === "number") return file;
  const number = task.files.install(file, (bits & O_CLOEXEC) !== 0, task.process.rlimits[RLIMIT_NOFILE]!.soft);
  if (number < 0) file.release();
  return number;
}

export const open = syscall("open", { path: cstring, flags: flags(OPEN_FLAGS), mode }, (task, call) =>
  plain(task, AT_FDCWD, call.path, call.flags, call.mode),
);

export const creat = syscall("creat", { path: cstring, mode }, (task, call) =>
  plain(task, AT_FDCWD, call.path, O_CREAT | O_WRONLY | O_TRUNC, call.mode),
);

export const openat = syscall("openat", { dirfd: fd, path: cstring, flags: flags(OPEN_FLAGS), mode }, (task, call) =>
  plain(task, call.dirfd, call.path, call.flags, call.mode),
);

const RESOLVE_FLAGS: readonly (readonly [number, number])[] = [
  [RESOLVE_NO_XDEV, LOOKUP_NO_XDEV],
  [RESOLVE_NO_MAGICLINKS, LOOKUP_NO_MAGICLINKS],
  [RESOLVE_NO_SYMLINKS, LOOKUP_NO_SYMLINKS],
  [RESOLVE_BENEATH, LOOKUP_BENEATH],
  [RESOLVE_IN_ROOT, LOOKUP_IN_ROOT],
  [RESOLVE_CACHED, LOOKUP_CACHED],
];

export const openat2 = syscall(
  "openat2",
  { dirfd: fd, path: cstring, how: inStruct(OPEN_HOW_SIZE), size },
  (task, call) => {
    if (call.size < OPEN_HOW_SIZE) return -EINVAL;
    if (call.size > 4096) return -E2BIG;
    const how = task.mm.readStruct(call.how, call.size);
    if (how === null) return -EFAULT;
    // What a later Linux may have added must be zero.
    for (let at = OPEN_HOW_SIZE; at < call.size; at++) if (how.getUint8(at) !== 0) return -E2BIG;
    const bits = how.getUint32(0, true) | 0;
    const fileMode = how.getUint32(8, true);
    const resolve = how.getUint32(16, true);
    if (how.getUint32(4, true) !== 0 || bits & ~VALID_FLAGS) return -EINVAL;
    if (how.getUint32(20, true) !== 0) return -EINVAL;
    let lookup = 0;
    let known = 0;
    for (const [bit, flag] of RESOLVE_FLAGS) {
      known |= bit;
      if (resolve & bit) lookup |= flag;
    }
    if (resolve & ~known) return -EINVAL;
    if ((resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) === (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) return -EINVAL;
    const creates = (bits & (O_CREAT | __O_TMPFILE)) !== 0;
    if (how.getUint32(12, true) !== 0 || fileMode & ~(creates ? MODE_BITS : 0)) return -EINVAL;
    if (bits & O_PATH && bits & ~PATH_FLAGS) return -EINVAL;
    if (resolve & RESOLVE_CACHED && bits & (O_TRUNC | O_CREAT | __O_TMPFILE)) return -EAGAIN;
    return open_(task, call.dirfd, call.path, bits, fileMode, lookup);
  },
);
