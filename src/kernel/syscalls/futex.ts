/**
 * futex, futex_waitv, set_robust_list, get_robust_list, set_tid_address.
 *
 * Manual pages: futex(2), get_robust_list(2), set_tid_address(2). Gaps: FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI
 * and FUTEX_FD give ENOSYS; futex_waitv takes 32-bit futexes only (as Linux does).
 */
import {
  EAGAIN,
  EFAULT,
  EINVAL,
  ENOSYS,
  EPERM,
  ERESTART_RESTARTBLOCK,
  ERESTARTSYS,
  ESRCH,
  ETIMEDOUT,
} from "../abi/errno.ts";
import { addr, int, oneOf, outStruct, pid, size, uint } from "../args.ts";
import {
  abandonFutexes,
  enqueueWait,
  FUTEX_BITSET_ALL,
  type FutexKey,
  futexKey,
  loadWord,
  requeueFutex,
  wakeFutex,
} from "../futex/futex.ts";
import { lockPi, unlockPi } from "../futex/pi.ts";
import { getS64, getU64 } from "../mm/mm.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import { CAP_SYS_PTRACE, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import { readClock } from "../time/clock.ts";
import { keepDeadline } from "../time/timeout.ts";

const WAIT = 0;
const WAKE = 1;
const REQUEUE = 3;
const CMP_REQUEUE = 4;
const WAKE_OP = 5;
const LOCK_PI = 6;
const UNLOCK_PI = 7;
const TRYLOCK_PI = 8;
const WAIT_BITSET = 9;
const WAKE_BITSET = 10;
const WAIT_REQUEUE_PI = 11;
const LOCK_PI2 = 13;
const PRIVATE = 128;
const CLOCK_REALTIME_FLAG = 256;

const OPS: Record<string, number> = {};
for (const [name, op] of Object.entries({
  FUTEX_WAIT: WAIT,
  FUTEX_WAKE: WAKE,
  FUTEX_REQUEUE: REQUEUE,
  FUTEX_CMP_REQUEUE: CMP_REQUEUE,
  FUTEX_WAKE_OP: WAKE_OP,
  FUTEX_LOCK_PI: LOCK_PI,
  FUTEX_UNLOCK_PI: UNLOCK_PI,
  FUTEX_TRYLOCK_PI: TRYLOCK_PI,
  FUTEX_WAIT_BITSET: WAIT_BITSET,
  FUTEX_WAKE_BITSET: WAKE_BITSET,
  FUTEX_LOCK_PI2: LOCK_PI2,
})) {
  OPS[name] = op;
  OPS[`${name}_PRIVATE`] = op | PRIVATE;
  OPS[`${name}|FUTEX_CLOCK_REALTIME`] = op | CLOCK_REALTIME_FLAG;
  OPS[`${name}_PRIVATE|FUTEX_CLOCK_REALTIME`] = op | PRIVATE | CLOCK_REALTIME_FLAG;
}

const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;

const INFINITE = Number.POSITIVE_INFINITY;

/** Deadline (CLOCK_MONOTONIC ns) of a timespec at `at`; Infinity for NULL; -EFAULT, -EINVAL. */
function readDeadline(task: Task, at: number, clock: number, absolute: boolean): number {
  if (at === 0) return INFINITE;
  const view = task.mm.readStruct(at, 16);
  if (view === null) return -EFAULT;
  const sec = getS64(view, 0);
  const nsec = getS64(view, 8);
  if (sec < 0 || nsec < 0 || nsec >= 1e9) return -EINVAL;
  if (!absolute) return task.kernel.now() + sec * 1e9 + nsec;
  if (clock === CLOCK_MONOTONIC) return sec * 1e9 + nsec;
  const now = readClock(clock);
  // Subtracted before scaling: nanoseconds since 1970 do not fit a double exactly.
  return Math.max(0, task.kernel.now() + (sec - now.sec) * 1e9 + (nsec - now.nsec));
}

/** The call's deadline, read once and kept while it is run again. */
function deadlineOf(task: Task, at: number, clock: number, absolute: boolean): number {
  const restart = task.progress();
  if (restart.deadline !== undefined) return restart.deadline;
  const deadline = readDeadline(task, at, clock, absolute);
  if (deadline >= 0) keepDeadline(task, deadline, absolute ? clock : CLOCK_MONOTONIC);
  return deadline;
}

/** Sleeps on what is queued in `task.futexWaits`: index of the woken waiter, -ETIMEDOUT, BLOCKED or -ERESTARTSYS. */
function sleepOn(task: Task, deadline: number): number {
  const result = task.sleep(deadline);
  if (result !== BLOCKED) abandonFutexes(task);
  return result;
}

/** The second and later runs of a wait; null on the first. */
function resumeWait(task: Task, deadline: number): number | null {
  const waits = task.futexWaits;
  if (waits === null) return null;
  const woken = waits.findIndex((waiter) => waiter.woken);
  if (woken >= 0) {
    abandonFutexes(task);
    return woken;
  }
  if (task.timedOut) {
    abandonFutexes(task);
    return -ETIMEDOUT;
  }
  return sleepOn(task, deadline);
}

function wait(task: Task, at: number, shared: boolean, expected: number, deadline: number, bitset: number): number {
  if (bitset === 0) return -EINVAL;
  const again = resumeWait(task, deadline);
  let result: number;
  if (again !== null) result = again;
  else {
    const key = futexKey(task, task.mm, at, shared);
    if (typeof key === "number") return key;
    const queued = enqueueWait(task, [{ key, addr: at, expected, bitset }]);
    if (queued < 0) return queued;
    result = sleepOn(task, deadline);
  }
  return result === -ERESTARTSYS && deadline !== INFINITE ? -ERESTART_RESTARTBLOCK : result;
}

/** FUTEX_WAKE_OP: changes the second word, wakes on the first, and on the second if its old value compares true. */
function wakeOp(
  task: Task,
  from: FutexKey,
  at2: number,
  shared: boolean,
  count: number,
  count2: number,
  encoded: number,
) {
  const key2 = futexKey(task, task.mm, at2, shared, true);
  if (typeof key2 === "number") return key2;
  const op = (encoded >>> 28) & 7;
  const comparison = (encoded >>> 24) & 15;
  let operand = ((encoded << 8) >> 20) | 0;
  const against = (encoded << 20) >> 20;
  if (encoded >>> 31 === 1) operand = 1 << (operand & 31);
  if (op > 4) return -ENOSYS;
  if (task.mm.accessible(at2, 4, true) < 4) return -EFAULT;
  const old = task.mm.space.fetchOpU32(at2, op, operand >>> 0);
  if (old < 0) return -EFAULT;
  const holds = compare(old | 0, comparison, against);
  if (holds === null) return -ENOSYS;
  let woken = wakeFutex(from, Math.max(1, count));
  if (woken >= 0 && holds) {
    const more = wakeFutex(key2, Math.max(1, count2));
    woken = more < 0 ? more : woken + more;
  }
  return woken;
}

function compare(value: number, how: number, against: number): boolean | null {
  switch (how) {
    case 0:
      return value === against;
    case 1:
      return value !== against;
    case 2:
      return value < against;
    case 3:
      return value <= against;
    case 4:
      return value > against;
    case 5:
      return value >= against;
    default:
      return null;
  }
}

/** uaddr is not prefetched: a value copied before the kernel looked could hide a wake-up. */
export const futex = syscall(
  "futex",
  { uaddr: addr, op: oneOf(OPS), val: uint, timeout: addr, uaddr2: addr, val3: uint },
  (task, { uaddr, op, val, timeout, uaddr2, val3 }) => {
    const command = op & ~(PRIVATE | CLOCK_REALTIME_FLAG);
    const shared = (op & PRIVATE) === 0;
    const realtime = (op & CLOCK_REALTIME_FLAG) !== 0;
    if (realtime && command !== WAIT_BITSET && command !== WAIT_REQUEUE_PI && command !== LOCK_PI2) return -ENOSYS;
    let deadline = INFINITE;
    if (command === WAIT || command === WAIT_BITSET || command === LOCK_PI || command === LOCK_PI2) {
      const clock = realtime || command === LOCK_PI ? CLOCK_REALTIME : CLOCK_MONOTONIC;
      deadline = deadlineOf(task, timeout, clock, command !== WAIT);
      if (deadline < 0) return deadline;
    }
    switch (command) {
      case WAIT:
        return wait(task, uaddr, shared, val, deadline, FUTEX_BITSET_ALL);
      case WAIT_BITSET:
        return wait(task, uaddr, shared, val, deadline, val3);
      case LOCK_PI:
      case LOCK_PI2:
        return lockPi(task, uaddr, shared, deadline, false);
      case TRYLOCK_PI:
        return lockPi(task, uaddr, shared, INFINITE, true);
      case UNLOCK_PI:
        return unlockPi(task, uaddr, shared);
    }
    if (
      command !== WAKE &&
      command !== WAKE_BITSET &&
      command !== REQUEUE &&
      command !== CMP_REQUEUE &&
      command !== WAKE_OP
    )
      return -ENOSYS;
    const bits = command === WAKE_BITSET ? val3 : FUTEX_BITSET_ALL;
    if (bits === 0) return -EINVAL;
    const key = futexKey(task, task.mm, uaddr, shared);
    if (typeof key === "number") return key;
    // The kernel looks at the count after waking one: none means one.
    if (command === WAKE || command === WAKE_BITSET) return wakeFutex(key, Math.max(1, val | 0), bits);
    const count2 = task.argLo(3) | 0;
    if (command === WAKE_OP) return wakeOp(task, key, uaddr2, shared, val | 0, count2, val3);
    if ((val | 0) < 0 || count2 < 0) return -EINVAL;
    const key2 = futexKey(task, task.mm, uaddr2, shared);
    if (typeof key2 === "number") return key2;
    if (command === CMP_REQUEUE) {
      const value = loadWord(task.mm, uaddr);
      if (value < 0) return value;
      if (value !== val3) return -EAGAIN;
    }
    return requeueFutex(key, key2, val | 0, count2);
  },
);

const WAITV_MAX = 128;
const WAITV_SIZE = 24;
const FUTEX2_SIZE_U32 = 2;

export const futex_waitv = syscall(
  "futex_waitv",
  { waiters: addr, nr_futexes: uint, flags: uint, timeout: addr, clockid: int },
  (task, { waiters, nr_futexes, flags, timeout, clockid }) => {
    if (flags !== 0) return -EINVAL;
    if (nr_futexes === 0 || nr_futexes > WAITV_MAX || waiters === 0) return -EINVAL;
    if (timeout !== 0 && clockid !== CLOCK_REALTIME && clockid !== CLOCK_MONOTONIC) return -EINVAL;
    const deadline = deadlineOf(task, timeout, clockid, true);
    if (deadline < 0) return deadline;
    const again = resumeWait(task, deadline);
    if (again !== null) return again;
    const view = task.mm.readStruct(waiters, nr_futexes * WAITV_SIZE);
    if (view === null) return -EFAULT;
    const words: { at: number; expected: number; shared: boolean }[] = [];
    for (let i = 0; i < nr_futexes; i++) {
      const at = i * WAITV_SIZE;
      const kind = view.getUint32(at + 16, true);
      if ((kind & ~PRIVATE) !== FUTEX2_SIZE_U32 || view.getUint32(at + 20, true) !== 0) return -EINVAL;
      if (view.getUint32(at + 4, true) !== 0) return -EINVAL;
      words.push({ at: getU64(view, at + 8), expected: view.getUint32(at, true), shared: (kind & PRIVATE) === 0 });
    }
    const keyed: { key: FutexKey; addr: number; expected: number; bitset: number }[] = [];
    for (const word of words) {
      const key = futexKey(task, task.mm, word.at, word.shared);
      if (typeof key === "number") return key;
      keyed.push({ key, addr: word.at, expected: word.expected, bitset: FUTEX_BITSET_ALL });
    }
    const queued = enqueueWait(task, keyed);
    return queued < 0 ? queued : sleepOn(task, deadline);
  },
);

const ROBUST_HEAD_SIZE = 24;

export const set_robust_list = syscall("set_robust_list", { head: addr, len: size }, (task, { head, len }) => {
  if (len !== ROBUST_HEAD_SIZE) return -EINVAL;
  task.robustList = head;
  return 0;
});

export const get_robust_list = syscall(
  "get_robust_list",
  { pid, head_ptr: outStruct(), len_ptr: outStruct() },
  (task, { pid, head_ptr, len_ptr }) => {
    const target = pid === 0 ? task : task.pids.tasks.get(pid);
    if (target === undefined) return -ESRCH;
    if (target.process !== task.process && target.cred.uid !== task.cred.euid && !capable(task.cred, CAP_SYS_PTRACE))
      return -EPERM;
    if (task.mm.writeU64(len_ptr, ROBUST_HEAD_SIZE) < 0) return -EFAULT;
    return task.mm.writeU64(head_ptr, target.robustList);
  },
);

export const set_tid_address = syscall("set_tid_address", { tidptr: addr }, (task, { tidptr }) => {
  task.clearChildTid = tidptr;
  return task.tid;
});
