/**
 * timer_create, timer_settime, timer_gettime, timer_getoverrun, timer_delete.
 *
 * Manual pages: timer_create(2) and its neighbours. Linux: kernel/time/posix-timers.c. Gap: after the process has set
 * its clock, absolute CLOCK_REALTIME timers keep the instant that they were set for.
 */
import { EFAULT, EINVAL, EOPNOTSUPP, EPERM } from "../abi/errno.ts";
import { addr, flags, inStruct, int, oneOf, outStruct } from "../args.ts";
import { syscall } from "../syscall.ts";
import { capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import {
  CLOCK_BOOTTIME_ALARM,
  CLOCK_MONOTONIC_COARSE,
  CLOCK_MONOTONIC_RAW,
  CLOCK_REALTIME_ALARM,
  CLOCK_REALTIME_COARSE,
  CLOCKS,
  isWallClock,
  tellsDate,
  untilOnClock,
} from "../time/clock.ts";
import { cpuClock } from "../time/cpu-time.ts";
import { PosixTimer, SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD_ID, timersOf } from "../time/itimer.ts";
import { readItimerspec, spanNs, writeItimerspec } from "../time/timespec.ts";

/** struct sigevent: u64 value, int signo, int notify, int tid. */
const SIGEVENT = 64;
const SIGALRM = 14;
const TIMER_ABSTIME = 1;
const CAP_WAKE_ALARM = 35;

export const timer_create = syscall(
  "timer_create",
  { clockid: oneOf(CLOCKS), sevp: inStruct(SIGEVENT), timerid: addr },
  (task, call) => {
    const { clockid } = call;
    const cpu = cpuClock(task, clockid);
    if (cpu === null && !isWallClock(clockid)) return -EINVAL;
    if (clockid === CLOCK_MONOTONIC_RAW || clockid === CLOCK_REALTIME_COARSE || clockid === CLOCK_MONOTONIC_COARSE)
      return -EOPNOTSUPP;
    const timers = timersOf(task.process);
    let notify = SIGEV_SIGNAL;
    let signo = SIGALRM;
    let valueLo = -1;
    let valueHi = 0;
    let thread: Task | null = null;
    if (call.sevp !== 0) {
      const view = task.mm.readStruct(call.sevp, SIGEVENT);
      if (view === null) return -EFAULT;
      valueLo = view.getUint32(0, true);
      valueHi = view.getUint32(4, true);
      signo = view.getInt32(8, true);
      notify = view.getInt32(12, true);
      const tid = view.getInt32(16, true);
      if (notify & SIGEV_THREAD_ID) {
        thread = task.pids.tasks.get(tid) ?? null;
        if (thread === null || thread.process !== task.process) return -EINVAL;
      }
      if (notify !== SIGEV_NONE && notify !== SIGEV_SIGNAL && notify !== SIGEV_THREAD_ID) return -EINVAL;
      if (notify !== SIGEV_NONE && (signo <= 0 || signo > 64)) return -EINVAL;
    }
    if ((clockid === CLOCK_REALTIME_ALARM || clockid === CLOCK_BOOTTIME_ALARM) && !capable(task.cred, CAP_WAKE_ALARM))
      return -EPERM;
    const id = timers.allocateId();
    if (id < 0) return id;
    if (valueLo === -1) valueLo = id;
    if (task.mm.writeU32(call.timerid, id) < 0) return -EFAULT;
    timers.posix.set(id, new PosixTimer(task.process, cpu, id, clockid, notify, signo, valueLo, valueHi, thread));
    return 0;
  },
);

export const timer_settime = syscall(
  "timer_settime",
  { timerid: int, flags: flags({ TIMER_ABSTIME }), new_value: inStruct(32), old_value: outStruct() },
  (task, call) => {
    const spec = call.new_value === 0 ? -EINVAL : readItimerspec(task.mm, call.new_value);
    if (typeof spec === "number") return spec;
    const timer = timersOf(task.process).posix.get(call.timerid);
    if (timer === undefined) return -EINVAL;
    const interval = timer.intervalNs;
    const remaining = timer.remainingNs();
    const { value } = spec;
    const again = spanNs(spec.interval);
    if (value.sec === 0 && value.nsec === 0) timer.set(Number.NaN, again);
    else if (!(call.flags & TIMER_ABSTIME)) timer.setAfter(spanNs(value), again);
    else if (timer.cpu !== null) timer.set(spanNs(value), again);
    else timer.setAfter(untilOnClock(timer.clock, value), again, tellsDate(timer.clock));
    timer.overrun = 0;
    if (call.old_value === 0) return 0;
    return writeItimerspec(task.mm, call.old_value, interval, remaining);
  },
);

export const timer_gettime = syscall("timer_gettime", { timerid: int, curr_value: outStruct() }, (task, call) => {
  const timer = timersOf(task.process).posix.get(call.timerid);
  if (timer === undefined) return -EINVAL;
  return writeItimerspec(task.mm, call.curr_value, timer.intervalNs, timer.remainingNs());
});

export const timer_getoverrun = syscall("timer_getoverrun", { timerid: int }, (task, call) => {
  const timer = timersOf(task.process).posix.get(call.timerid);
  return timer === undefined ? -EINVAL : timer.overrun;
});

export const timer_delete = syscall("timer_delete", { timerid: int }, (task, call) => {
  const timers = timersOf(task.process);
  const timer = timers.posix.get(call.timerid);
  if (timer === undefined) return -EINVAL;
  timer.stop();
  timers.posix.delete(call.timerid);
  return 0;
});
