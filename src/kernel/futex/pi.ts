/**
 * Priority-inheritance futexes: the kernel hands the lock over to the first waiter, so that it is never free in between.
 *
 * Source: futex(2), FUTEX_LOCK_PI and following. The word holds the owner's tid, FUTEX_WAITERS and FUTEX_OWNER_DIED.
 * Gap: priorities are not boosted (scheduling is the host's), waiters are served in order of arrival; requeueing to a
 * PI futex (FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI) is not there.
 */
import { EAGAIN, EDEADLK, EFAULT, EPERM, ERESTARTNOINTR, ESRCH, ETIMEDOUT } from "../abi/errno.ts";
import { BLOCKED } from "../syscall.ts";
import { RUN_ZOMBIE, type Task } from "../task/task.ts";
import {
  abandonFutexes,
  addWaiter,
  FUTEX_BITSET_ALL,
  FUTEX_OWNER_DIED,
  FUTEX_TID_MASK,
  FUTEX_WAITERS,
  type FutexQueue,
  FutexWaiter,
  futexKey,
  loadWord,
  lookUp,
  removeWaiter,
  wakeWaiter,
} from "./futex.ts";

/** FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI. */
export function lockPi(task: Task, addr: number, shared: boolean, deadline: number, tryOnly: boolean): number {
  const { mm, kernel } = task;
  const waits = task.futexWaits;
  if (waits !== null) {
    if (waits[0]!.woken) {
      abandonFutexes(task);
      return 0;
    }
    if (task.timedOut) {
      abandonFutexes(task);
      return -ETIMEDOUT;
    }
    return sleep(task, deadline);
  }
  const key = futexKey(task, mm, addr, shared, true);
  if (typeof key === "number") return key;
  for (;;) {
    const value = loadWord(mm, addr);
    if (value < 0) return value;
    const holder = value & FUTEX_TID_MASK;
    if (holder === task.tid) return -EDEADLK;
    if (holder === 0) {
      const waiting = (lookUp(key)?.waiters.length ?? 0) > 0 ? FUTEX_WAITERS : 0;
      const mine = (task.tid | (value & FUTEX_OWNER_DIED) | waiting) >>> 0;
      const old = mm.space.compareExchangeU32(addr, value, mine, true);
      if (old < 0) return -EFAULT;
      if (old === value) return 0;
      continue;
    }
    if (tryOnly) return -EAGAIN;
    const owner = task.pids.tasks.get(holder);
    if (owner === undefined || owner.runState >= RUN_ZOMBIE) return -ESRCH;
    if ((value & FUTEX_WAITERS) === 0) {
      const old = mm.space.compareExchangeU32(addr, value, (value | FUTEX_WAITERS) >>> 0, true);
      if (old < 0) return -EFAULT;
      if (old !== value) continue;
    }
    const waiter = new FutexWaiter(task, FUTEX_BITSET_ALL, addr, true);
    addWaiter(key, waiter);
    waiter.queue!.owner = owner;
    kernel.futexes.owned.add(waiter.queue!);
    task.futexWaits = [waiter];
    return sleep(task, deadline);
  }
}

function sleep(task: Task, deadline: number): number {
  const result = task.sleep(deadline);
  if (result === BLOCKED) return BLOCKED;
  abandonFutexes(task);
  return -ERESTARTNOINTR;
}

/** FUTEX_UNLOCK_PI. */
export function unlockPi(task: Task, addr: number, shared: boolean): number {
  const { mm } = task;
  const key = futexKey(task, mm, addr, shared, true);
  if (typeof key === "number") return key;
  for (;;) {
    const value = loadWord(mm, addr);
    if (value < 0) return value;
    if ((value & FUTEX_TID_MASK) !== task.tid) return -EPERM;
    const next = lookUp(key)?.waiters.find((waiter) => waiter.pi);
    const desired = next === undefined ? 0 : (next.task.tid | FUTEX_WAITERS) >>> 0;
    const old = mm.space.compareExchangeU32(addr, value, desired, true);
    if (old < 0) return -EFAULT;
    if (old !== value) continue;
    if (next !== undefined) give(next);
    return 0;
  }
}

/** The waiter is the owner now. */
function give(waiter: FutexWaiter): void {
  const { queue } = waiter;
  const { owned } = waiter.task.kernel.futexes;
  wakeWaiter(waiter);
  if (queue === null) return;
  if (queue.waiters.length > 0) {
    queue.owner = waiter.task;
    owned.add(queue);
  } else {
    queue.owner = null;
    owned.delete(queue);
  }
}

/** A thread dies: the PI locks with waiters that it holds go to the first of them. */
export function abandonLocks(task: Task): void {
  const { owned } = task.kernel.futexes;
  if (owned.size === 0) return;
  for (const queue of [...owned]) if (queue.owner === task) inherit(queue);
}

function inherit(queue: FutexQueue): void {
  for (const waiter of queue.waiters.slice()) {
    if (waiter.task.container.frozen) {
      // It cannot take the lock over now; it finds the owner gone (ESRCH) when it is thawed.
      removeWaiter(waiter);
      waiter.task.makeReady();
      continue;
    }
    const { space } = waiter.task.mm;
    // The waiter sleeps, so its context is one that can carry out the atomic operation.
    const executor = space.executor;
    space.executor = waiter.task.ctx;
    const written = takeOver(waiter);
    space.executor = executor;
    if (written) {
      give(waiter);
      return;
    }
    removeWaiter(waiter);
  }
}

function takeOver(waiter: FutexWaiter): boolean {
  const { mm, tid } = waiter.task;
  for (;;) {
    const value = loadWord(mm, waiter.addr);
    if (value < 0) return false;
    const desired = (tid | FUTEX_WAITERS | FUTEX_OWNER_DIED) >>> 0;
    const old = mm.space.compareExchangeU32(waiter.addr, value, desired, true);
    if (old < 0) return false;
    if (old === value) return true;
  }
}
