/**
 * prctl: what programs set about themselves.
 *
 * Manual page: prctl(2). Gaps: no speculation control (it is the host's), no PR_SET_MM, no PR_SET_PTRACER
 * (as without Yama); options that only other processors know give EINVAL, as there.
 */

import { decodeName, encodeName } from "../abi/bytes.ts";
import { EBADF, EFAULT, EINVAL, ENOMEM, EPERM } from "../abi/errno.ts";
import { addr, oneOf } from "../args.ts";
import { pageUp } from "../mm/mm.ts";
import { SIGRTMAX } from "../signal/numbers.ts";
import { syscall } from "../syscall.ts";
import {
  CAP_LAST,
  CAP_SETPCAP,
  CAP_SYS_RESOURCE,
  type CapSet,
  type Credentials,
  capable,
  hasCap,
  NO_CAPS,
} from "../task/credentials.ts";
import { SECCOMP_MODE_FILTER, SECCOMP_MODE_STRICT } from "../task/seccomp.ts";
import { SECURE_KEEP_CAPS, SECURE_NO_CAP_AMBIENT_RAISE } from "../task/set-ids.ts";
import type { Task } from "../task/task.ts";
import { setFilter, setStrict } from "./seccomp.ts";

const OPTIONS = {
  PR_SET_PDEATHSIG: 1,
  PR_GET_PDEATHSIG: 2,
  PR_GET_DUMPABLE: 3,
  PR_SET_DUMPABLE: 4,
  PR_GET_KEEPCAPS: 7,
  PR_SET_KEEPCAPS: 8,
  PR_GET_TIMING: 13,
  PR_SET_TIMING: 14,
  PR_SET_NAME: 15,
  PR_GET_NAME: 16,
  PR_GET_SECCOMP: 21,
  PR_SET_SECCOMP: 22,
  PR_CAPBSET_READ: 23,
  PR_CAPBSET_DROP: 24,
  PR_GET_TSC: 25,
  PR_SET_TSC: 26,
  PR_GET_SECUREBITS: 27,
  PR_SET_SECUREBITS: 28,
  PR_SET_TIMERSLACK: 29,
  PR_GET_TIMERSLACK: 30,
  PR_TASK_PERF_EVENTS_DISABLE: 31,
  PR_TASK_PERF_EVENTS_ENABLE: 32,
  PR_MCE_KILL: 33,
  PR_MCE_KILL_GET: 34,
  PR_SET_MM: 35,
  PR_SET_CHILD_SUBREAPER: 36,
  PR_GET_CHILD_SUBREAPER: 37,
  PR_SET_NO_NEW_PRIVS: 38,
  PR_GET_NO_NEW_PRIVS: 39,
  PR_GET_TID_ADDRESS: 40,
  PR_SET_THP_DISABLE: 41,
  PR_GET_THP_DISABLE: 42,
  PR_CAP_AMBIENT: 47,
  PR_SET_IO_FLUSHER: 57,
  PR_GET_IO_FLUSHER: 58,
  PR_SET_VMA: 0x53564d41,
  PR_GET_AUXV: 0x41555856,
} as const;

const putInt = (task: Task, at: number, value: number): number => (task.mm.writeU32(at, value) < 0 ? -EFAULT : 0);

export const prctl = syscall(
  "prctl",
  { option: oneOf(OPTIONS), arg2: addr, arg3: addr, arg4: addr, arg5: addr },
  (task, { option, arg2, arg3, arg4, arg5 }) => {
    const { process, cred } = task;
    const rest = arg3 !== 0 || arg4 !== 0 || arg5 !== 0;
    switch (option) {
      case OPTIONS.PR_SET_PDEATHSIG:
        if (arg2 > SIGRTMAX) return -EINVAL;
        task.parentDeathSignal = arg2;
        return 0;
      case OPTIONS.PR_GET_PDEATHSIG:
        return putInt(task, arg2, task.parentDeathSignal);
      case OPTIONS.PR_GET_DUMPABLE:
        return process.dumpable;
      case OPTIONS.PR_SET_DUMPABLE:
        if (arg2 > 1) return -EINVAL;
        process.dumpable = arg2;
        return 0;
      case OPTIONS.PR_GET_KEEPCAPS:
        return cred.securebits & SECURE_KEEP_CAPS ? 1 : 0;
      case OPTIONS.PR_SET_KEEPCAPS:
        if (arg2 > 1) return -EINVAL;
        if (cred.securebits & (SECURE_KEEP_CAPS << 1)) return -EPERM;
        task.cred = { ...cred, securebits: (cred.securebits & ~SECURE_KEEP_CAPS) | (arg2 ? SECURE_KEEP_CAPS : 0) };
        return 0;
      case OPTIONS.PR_GET_TIMING:
        return 0;
      case OPTIONS.PR_SET_TIMING:
        return arg2 === 0 ? 0 : -EINVAL;
      case OPTIONS.PR_SET_NAME:
        return setName(task, arg2);
      case OPTIONS.PR_GET_NAME: {
        const bytes = new Uint8Array(16);
        bytes.set(encodeName(task.comm).subarray(0, 15));
        return task.mm.writeBytes(arg2, bytes);
      }
      case OPTIONS.PR_GET_SECCOMP:
        return task.seccomp?.mode ?? 0;
      case OPTIONS.PR_SET_SECCOMP:
        if (arg2 === SECCOMP_MODE_STRICT) return setStrict(task);
        return arg2 === SECCOMP_MODE_FILTER ? setFilter(task, 0, arg3) : -EINVAL;
      case OPTIONS.PR_CAPBSET_READ:
        return arg2 > CAP_LAST ? -EINVAL : Number(hasCap(cred.bounding, arg2));
      case OPTIONS.PR_CAPBSET_DROP:
        if (!capable(cred, CAP_SETPCAP)) return -EPERM;
        if (arg2 > CAP_LAST) return -EINVAL;
        task.cred = { ...cred, bounding: dropCap(cred.bounding, arg2) };
        return 0;
      case OPTIONS.PR_GET_TSC:
        return putInt(task, arg2, 1);
      case OPTIONS.PR_SET_TSC:
        return arg2 === 1 ? 0 : -EINVAL;
      case OPTIONS.PR_GET_SECUREBITS:
        return cred.securebits;
      case OPTIONS.PR_SET_SECUREBITS:
        return setSecurebits(task, arg2);
      case OPTIONS.PR_SET_TIMERSLACK:
        task.timerSlackNs = arg2 > 0 && arg2 < 2 ** 63 ? arg2 : 50000;
        return 0;
      case OPTIONS.PR_GET_TIMERSLACK:
        return task.timerSlackNs;
      case OPTIONS.PR_TASK_PERF_EVENTS_DISABLE:
      case OPTIONS.PR_TASK_PERF_EVENTS_ENABLE:
        return 0;
      case OPTIONS.PR_MCE_KILL_GET:
        return arg2 !== 0 || rest ? -EINVAL : 2;
      case OPTIONS.PR_SET_MM:
        if (arg5 !== 0) return -EINVAL;
        return capable(cred, CAP_SYS_RESOURCE) ? -EINVAL : -EPERM;
      case OPTIONS.PR_SET_CHILD_SUBREAPER:
        process.subreaper = arg2 !== 0;
        return 0;
      case OPTIONS.PR_GET_CHILD_SUBREAPER:
        return putInt(task, arg2, Number(process.subreaper));
      case OPTIONS.PR_SET_NO_NEW_PRIVS:
        if (arg2 !== 1 || rest) return -EINVAL;
        task.cred = { ...cred, noNewPrivs: true };
        return 0;
      case OPTIONS.PR_GET_NO_NEW_PRIVS:
        return arg2 !== 0 || rest ? -EINVAL : Number(cred.noNewPrivs);
      case OPTIONS.PR_GET_TID_ADDRESS:
        return task.mm.writeU64(arg2, task.clearChildTid) < 0 ? -EFAULT : 0;
      case OPTIONS.PR_SET_THP_DISABLE:
        if (rest) return -EINVAL;
        process.thpDisabled = arg2 !== 0;
        return 0;
      case OPTIONS.PR_GET_THP_DISABLE:
        return arg2 !== 0 || rest ? -EINVAL : Number(process.thpDisabled);
      case OPTIONS.PR_CAP_AMBIENT:
        return arg4 !== 0 || arg5 !== 0 ? -EINVAL : ambient(task, arg2, arg3);
      case OPTIONS.PR_SET_IO_FLUSHER:
      case OPTIONS.PR_GET_IO_FLUSHER:
        return capable(cred, CAP_SYS_RESOURCE) ? -EINVAL : -EPERM;
      case OPTIONS.PR_SET_VMA:
        return arg2 === 0 ? nameArea(task, arg3, arg4, arg5) : -EINVAL;
      case OPTIONS.PR_GET_AUXV:
        if (arg4 !== 0 || arg5 !== 0) return -EINVAL;
        return task.mm.writeBytes(arg2, task.mm.auxv, Math.min(arg3, task.mm.auxv.length)) < 0
          ? -EFAULT
          : task.mm.auxv.length;
      default:
        return -EINVAL;
    }
  },
);

function setName(task: Task, at: number): number {
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 15; i++) {
    // Byte by byte: the name may end just before a page that cannot be read.
    if (task.mm.copyIn(at + i, bytes, i, 1) !== 1) return -EFAULT;
    if (bytes[i] === 0) break;
  }
  const end = bytes.indexOf(0);
  task.comm = decodeName(bytes, 0, end);
  return 0;
}

function dropCap(set: CapSet, cap: number): CapSet {
  return cap < 32 ? { lo: (set.lo & ~(1 << cap)) >>> 0, hi: set.hi } : { lo: set.lo, hi: set.hi & ~(1 << (cap - 32)) };
}
function addCap(set: CapSet, cap: number): CapSet {
  return cap < 32 ? { lo: (set.lo | (1 << cap)) >>> 0, hi: set.hi } : { lo: set.lo, hi: set.hi | (1 << (cap - 32)) };
}

const SECURE_ALL_LOCKS = 0xaaa;
const SECURE_ALL = 0xfff;
/** SECBIT_EXEC_RESTRICT_FILE, SECBIT_EXEC_DENY_INTERACTIVE, and their locks: programs restrict themselves by them. */
const SECURE_UNPRIVILEGED = 0xf00;

function setSecurebits(task: Task, want: number): number {
  const { cred } = task;
  const locked = (cred.securebits & SECURE_ALL_LOCKS) >> 1;
  if (want > SECURE_ALL) return -EPERM;
  const changed = cred.securebits ^ want;
  if ((changed & locked) !== 0) return -EPERM;
  if ((cred.securebits & SECURE_ALL_LOCKS & ~want) !== 0) return -EPERM;
  if (!capable(cred, CAP_SETPCAP) && (changed === 0 || (changed & ~SECURE_UNPRIVILEGED) !== 0)) return -EPERM;
  task.cred = { ...cred, securebits: want };
  return 0;
}

const PR_CAP_AMBIENT_IS_SET = 1;
const PR_CAP_AMBIENT_RAISE = 2;
const PR_CAP_AMBIENT_LOWER = 3;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;

function ambient(task: Task, what: number, cap: number): number {
  const { cred } = task;
  const change = (set: CapSet): number => {
    task.cred = { ...cred, ambient: set } satisfies Credentials;
    return 0;
  };
  if (what === PR_CAP_AMBIENT_CLEAR_ALL) return cap !== 0 ? -EINVAL : change(NO_CAPS);
  if (cap > CAP_LAST) return -EINVAL;
  switch (what) {
    case PR_CAP_AMBIENT_IS_SET:
      return Number(hasCap(cred.ambient, cap));
    case PR_CAP_AMBIENT_RAISE:
      if (!hasCap(cred.permitted, cap) || !hasCap(cred.inheritable, cap)) return -EPERM;
      if (cred.securebits & SECURE_NO_CAP_AMBIENT_RAISE) return -EPERM;
      return change(addCap(cred.ambient, cap));
    case PR_CAP_AMBIENT_LOWER:
      return change(dropCap(cred.ambient, cap));
    default:
      return -EINVAL;
  }
}

const ANON_NAME_MAX = 80;

/** PR_SET_VMA_ANON_NAME: names private anonymous memory, for /proc/PID/maps. */
function nameArea(task: Task, start: number, length: number, nameAt: number): number {
  let name = "";
  if (nameAt !== 0) {
    const read = task.mm.readString(nameAt, ANON_NAME_MAX);
    if (typeof read === "number") return read === -EFAULT ? -EFAULT : -EINVAL;
    if (/[^ -~]|[\\`$[\]]/.test(read)) return -EINVAL;
    name = `[anon:${read}]`;
  }
  if (start % 4096 !== 0) return -EINVAL;
  const end = start + pageUp(length);
  if (!task.mm.validRange(start, end - start)) return -EINVAL;
  if (end === start) return 0;
  const { vmas } = task.mm;
  let at = start;
  for (const vma of vmas.overlapping(start, end)) {
    if (vma.start > at) return -ENOMEM;
    if (vma.file !== null) return -EBADF;
    at = vma.end;
  }
  if (at < end) return -ENOMEM;
  vmas.splitAt(start);
  vmas.splitAt(end);
  vmas.change(start, end, (vma) => {
    if (!/^\[(heap|stack|v)/.test(vma.name)) vma.name = name;
  });
  task.mm.mergeRange(start, end);
  return 0;
}
