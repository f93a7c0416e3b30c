/** timerfd_create, timerfd_settime, timerfd_gettime. Manual page: timerfd_create(2). */
import { EBADF, EFAULT, EINVAL, EPERM } from "../abi/errno.ts";
import { O_CLOEXEC, O_NONBLOCK } from "../abi/fcntl.ts";
import { fd, flags, inStruct, oneOf, outStruct } from "../args.ts";
import { TimerFile } from "../ipc/timerfd.ts";
import { syscall } from "../syscall.ts";
import { capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import {
  CLOCK_BOOTTIME,
  CLOCK_BOOTTIME_ALARM,
  CLOCK_MONOTONIC,
  CLOCK_REALTIME,
  CLOCK_REALTIME_ALARM,
  CLOCKS,
  tellsDate,
  untilOnClock,
} from "../time/clock.ts";
import { readItimerspec, spanNs, writeItimerspec } from "../time/timespec.ts";
import { installFile } from "../vfs/close-file.ts";

const TFD = { TFD_CLOEXEC: O_CLOEXEC, TFD_NONBLOCK: O_NONBLOCK };
const TFD_TIMER = { TFD_TIMER_ABSTIME: 1, TFD_TIMER_CANCEL_ON_SET: 2 };
const CAP_WAKE_ALARM = 35;

export const timerfd_create = syscall("timerfd_create", { clockid: oneOf(CLOCKS), flags: flags(TFD) }, (task, call) => {
  const { clockid } = call;
  if (call.flags & ~(TFD.TFD_CLOEXEC | TFD.TFD_NONBLOCK)) return -EINVAL;
  const alarm = clockid === CLOCK_REALTIME_ALARM || clockid === CLOCK_BOOTTIME_ALARM;
  if (!alarm && clockid !== CLOCK_REALTIME && clockid !== CLOCK_MONOTONIC && clockid !== CLOCK_BOOTTIME) return -EINVAL;
  if (alarm && !capable(task.cred, CAP_WAKE_ALARM)) return -EPERM;
  const file = new TimerFile(task.kernel, call.flags & TFD.TFD_NONBLOCK, clockid);
  return installFile(task, file, (call.flags & TFD.TFD_CLOEXEC) !== 0);
});

export const timerfd_settime = syscall(
  "timerfd_settime",
  { ufd: fd, flags: flags(TFD_TIMER), new_value: inStruct(32), old_value: outStruct() },
  (task, call) => {
    const spec = readItimerspec(task.mm, call.new_value);
    if (spec === -EFAULT) return -EFAULT;
    if (typeof spec === "number" || call.flags & ~3) return -EINVAL;
    const file = timerFile(task, call.ufd);
    if (typeof file === "number") return file;
    const oldValue = file.remainingNs();
    const oldInterval = file.intervalNs;
    const { value, interval } = spec;
    const disarm = value.sec === 0 && value.nsec === 0;
    const absolute = (call.flags & TFD_TIMER.TFD_TIMER_ABSTIME) !== 0;
    file.forget();
    const onWall = absolute && tellsDate(file.clock);
    const delay = disarm ? Number.NaN : absolute ? untilOnClock(file.clock, value) : spanNs(value);
    file.set(delay, spanNs(interval), onWall);
    if (call.old_value === 0) return 0;
    return writeItimerspec(task.mm, call.old_value, oldInterval, oldValue);
  },
);

export const timerfd_gettime = syscall("timerfd_gettime", { ufd: fd, otmr: outStruct() }, (task, call) => {
  const file = timerFile(task, call.ufd);
  if (typeof file === "number") return file;
  return writeItimerspec(task.mm, call.otmr, file.intervalNs, file.remainingNs());
});

function timerFile(task: Task, number: number): TimerFile | number {
  const file = task.files.getOpen(number);
  if (file === undefined) return -EBADF;
  return file instanceof TimerFile ? file : -EINVAL;
}
