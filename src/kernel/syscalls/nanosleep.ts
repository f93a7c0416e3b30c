/**
 * nanosleep, clock_nanosleep.
 *
 * Manual pages: nanosleep(2), clock_nanosleep(2). Linux: kernel/time/hrtimer.c. Stopped and continued, a sleep goes on to
 * the deadline that it had; interrupted by a handler, it tells what was left.
 */
import { EFAULT, EINVAL, EOPNOTSUPP, EPERM, ERESTART_RESTARTBLOCK, ERESTARTNOHAND } from "../abi/errno.ts";
import { flags, inStruct, oneOf, outStruct } from "../args.ts";
import { BLOCKED, syscall } from "../syscall.ts";
import { capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import {
  CLOCK_BOOTTIME_ALARM,
  CLOCK_MONOTONIC,
  CLOCK_MONOTONIC_COARSE,
  CLOCK_MONOTONIC_RAW,
  CLOCK_REALTIME_ALARM,
  CLOCK_REALTIME_COARSE,
  CLOCKS,
  isWallClock,
  untilOnClock,
} from "../time/clock.ts";
import { type CpuClock, checkAfterNs, cpuClock, readCpuClock } from "../time/cpu-time.ts";
import { keepDeadline } from "../time/timeout.ts";
import { fromNs, readTimespec, spanNs, writeTimespec } from "../time/timespec.ts";

const TIMER_ABSTIME = 1;
const CAP_WAKE_ALARM = 35;

export const nanosleep = syscall("nanosleep", { req: inStruct(16), rem: outStruct() }, (task, call) =>
  sleepFor(task, CLOCK_MONOTONIC, call.req, call.rem, false),
);

export const clock_nanosleep = syscall(
  "clock_nanosleep",
  { clockid: oneOf(CLOCKS), flags: flags({ TIMER_ABSTIME }), req: inStruct(16), rem: outStruct() },
  (task, call) => {
    const { clockid } = call;
    const absolute = (call.flags & TIMER_ABSTIME) !== 0;
    if (clockid === 3) return -EOPNOTSUPP;
    const cpu = cpuClock(task, clockid);
    if (cpu !== null) return sleepOnCpu(task, cpu, call.req, call.rem, absolute);
    if (!isWallClock(clockid)) return -EINVAL;
    if (clockid === CLOCK_MONOTONIC_RAW || clockid === CLOCK_REALTIME_COARSE || clockid === CLOCK_MONOTONIC_COARSE)
      return -EOPNOTSUPP;
    if ((clockid === CLOCK_REALTIME_ALARM || clockid === CLOCK_BOOTTIME_ALARM) && !capable(task.cred, CAP_WAKE_ALARM))
      return -EPERM;
    return sleepFor(task, clockid, call.req, call.rem, absolute);
  },
);

function sleepFor(task: Task, clock: number, at: number, remainAt: number, absolute: boolean): number {
  let deadline = task.restart?.deadline;
  if (deadline === undefined) {
    const time = readTimespec(task.mm, at);
    if (typeof time === "number") return time;
    const left = absolute ? untilOnClock(clock, time) : spanNs(time);
    // Read after the other clock: the host may keep us waiting in between, and nobody wakes early.
    deadline = task.kernel.now() + left;
  }
  const now = task.kernel.now();
  if (now >= deadline) return 0;
  keepDeadline(task, deadline, absolute ? clock : CLOCK_MONOTONIC);
  const result = task.sleep(deadline);
  if (result === BLOCKED) return BLOCKED;
  if (absolute) return -ERESTARTNOHAND;
  if (remainAt !== 0 && writeTimespec(task.mm, remainAt, fromNs(deadline - now)) < 0) return -EFAULT;
  return -ERESTART_RESTARTBLOCK;
}

function sleepOnCpu(task: Task, clock: CpuClock, at: number, remainAt: number, absolute: boolean): number {
  if (clock.task === task) return -EINVAL;
  const restart = task.progress();
  let target = restart.data?.kind === "cpu-sleep" ? restart.data.target : undefined;
  const now = readCpuClock(clock);
  if (target === undefined) {
    const time = readTimespec(task.mm, at);
    if (typeof time === "number") return time;
    target = absolute ? spanNs(time) : now + spanNs(time);
    restart.data = { kind: "cpu-sleep", target };
  }
  if (now >= target || clock.process.zombie) return 0;
  const result = task.sleep(task.kernel.now() + checkAfterNs(clock.process, now, target));
  if (result === BLOCKED) return BLOCKED;
  if (absolute) return -ERESTARTNOHAND;
  if (remainAt !== 0 && writeTimespec(task.mm, remainAt, fromNs(target - now)) < 0) return -EFAULT;
  return -ERESTART_RESTARTBLOCK;
}
