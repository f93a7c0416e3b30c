/** setitimer, getitimer, alarm. Manual pages: getitimer(2), alarm(2). The work is time/itimer.ts'. */
import { EFAULT } from "../abi/errno.ts";
import { inStruct, oneOf, outStruct, uint } from "../args.ts";
import { syscall } from "../syscall.ts";
import { ITIMER_REAL, intervalTimer, timersOf } from "../time/itimer.ts";
import { readItimerval, spanNs, writeItimerval } from "../time/timespec.ts";

const which = oneOf({ ITIMER_REAL: 0, ITIMER_VIRTUAL: 1, ITIMER_PROF: 2 });

export const getitimer = syscall("getitimer", { which, curr_value: outStruct() }, (task, call) => {
  const timer = intervalTimer(task.process, call.which);
  if (typeof timer === "number") return timer;
  return writeItimerval(task.mm, call.curr_value, timer.intervalNs, timer.remainingNs());
});

export const setitimer = syscall(
  "setitimer",
  { which, new_value: inStruct(32), old_value: outStruct() },
  (task, call) => {
    // NULL switches the timer off, which Linux keeps for old programs.
    const zero = { sec: 0, nsec: 0 };
    const spec = call.new_value === 0 ? { interval: zero, value: zero } : readItimerval(task.mm, call.new_value);
    if (typeof spec === "number") return spec;
    const timer = intervalTimer(task.process, call.which);
    if (typeof timer === "number") return timer;
    const interval = timer.intervalNs;
    const remaining = timer.remainingNs();
    const delay = spanNs(spec.value);
    if (delay === 0) timer.set(Number.NaN, 0);
    else timer.setAfter(delay, spanNs(spec.interval));
    if (call.old_value === 0) return 0;
    return writeItimerval(task.mm, call.old_value, interval, remaining) < 0 ? -EFAULT : 0;
  },
);

export const alarm = syscall("alarm", { seconds: uint }, (task, call) => {
  const timer = timersOf(task.process).intervals[ITIMER_REAL]!;
  const left = timer.remainingNs();
  if (call.seconds === 0) timer.set(Number.NaN, 0);
  else timer.setAfter(call.seconds * 1e9, 0);
  // Rounded, but never to 0 while something is left.
  return left === 0 ? 0 : Math.max(1, Math.round(left / 1e9));
});
