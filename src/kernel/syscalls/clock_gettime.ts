/**
 * clock_gettime, clock_getres, clock_settime, clock_adjtime, adjtimex, gettimeofday, settimeofday, time.
 *
 * Manual pages: clock_getres(2), gettimeofday(2), adjtimex(2). Most programs read the clocks in the vDSO and never come
 * here. Guests cannot set the host's clocks: EPERM. Gap: adjtimex shows an unsynchronised clock, not the host's state.
 */
import { EFAULT, EINVAL, EPERM } from "../abi/errno.ts";
import { addr, inStruct, oneOf, outStruct } from "../args.ts";
import { syscall } from "../syscall.ts";
import type { Task } from "../task/task.ts";
import {
  CLOCK_MONOTONIC_COARSE,
  CLOCK_REALTIME,
  CLOCK_REALTIME_COARSE,
  CLOCKS,
  isWallClock,
  readClock,
  realtimeNow,
} from "../time/clock.ts";
import { cpuClock, readCpuClock } from "../time/cpu-time.ts";
import { fromNs, readTimespec, writeTimespec, writeTimeval } from "../time/timespec.ts";

const clockid = oneOf(CLOCKS);
/** Nanoseconds of a tick (CONFIG_HZ=250), the resolution of the coarse clocks. */
const TICK_NS = 4e6;

export const clock_gettime = syscall("clock_gettime", { clockid, tp: outStruct() }, (task, call) => {
  if (isWallClock(call.clockid)) return writeTimespec(task.mm, call.tp, readClock(call.clockid));
  const cpu = cpuClock(task, call.clockid);
  if (cpu === null) return -EINVAL;
  return writeTimespec(task.mm, call.tp, fromNs(readCpuClock(cpu)));
});

export const clock_getres = syscall("clock_getres", { clockid, res: outStruct() }, (task, call) => {
  if (!isWallClock(call.clockid) && cpuClock(task, call.clockid) === null) return -EINVAL;
  if (call.res === 0) return 0;
  const coarse = call.clockid === CLOCK_REALTIME_COARSE || call.clockid === CLOCK_MONOTONIC_COARSE;
  return writeTimespec(task.mm, call.res, { sec: 0, nsec: coarse ? TICK_NS : 1 });
});

export const clock_settime = syscall("clock_settime", { clockid, tp: inStruct(16) }, (task, call) => {
  if (call.clockid !== CLOCK_REALTIME) return cpuClock(task, call.clockid) !== null ? -EPERM : -EINVAL;
  const time = readTimespec(task.mm, call.tp);
  return typeof time === "number" ? time : -EPERM;
});

export const gettimeofday = syscall("gettimeofday", { tv: outStruct(), tz: outStruct() }, (task, call) => {
  if (call.tv !== 0 && writeTimeval(task.mm, call.tv, realtimeNow()) < 0) return -EFAULT;
  return call.tz !== 0 && task.mm.writeBytes(call.tz, new Uint8Array(8)) < 0 ? -EFAULT : 0;
});

export const settimeofday = syscall("settimeofday", { tv: inStruct(16), tz: inStruct(8) }, (task, call) => {
  if (call.tv !== 0) {
    const view = task.mm.readStruct(call.tv, 16);
    if (view === null) return -EFAULT;
    if (view.getUint32(12, true) !== 0 || view.getUint32(8, true) >= 1000000) return -EINVAL;
  }
  if (call.tz !== 0 && task.mm.readStruct(call.tz, 8) === null) return -EFAULT;
  return -EPERM;
});

export const time = syscall("time", { tloc: addr }, (task, call) => {
  const { sec } = realtimeNow();
  return call.tloc !== 0 && task.mm.writeU64(call.tloc, sec) < 0 ? -EFAULT : sec;
});

/** struct timex; TIME_ERROR: the clock is not synchronised. */
const TIMEX = 208;
const TIME_ERROR = 5;
const STA_UNSYNC = 0x40;

export const adjtimex = syscall("adjtimex", { buf: addr }, (task, call) => adjust(task, call.buf));

export const clock_adjtime = syscall("clock_adjtime", { clockid, buf: addr }, (task, call) =>
  call.clockid === CLOCK_REALTIME ? adjust(task, call.buf) : -EINVAL,
);

function adjust(task: Task, at: number): number {
  const view = task.mm.readStruct(at, TIMEX);
  if (view === null) return -EFAULT;
  if (view.getUint32(0, true) !== 0) return -EPERM;
  const bytes = new Uint8Array(TIMEX);
  const out = new DataView(bytes.buffer);
  const now = realtimeNow();
  out.setInt32(40, STA_UNSYNC, true);
  out.setUint32(72, now.sec >>> 0, true);
  out.setUint32(76, Math.floor(now.sec / 4294967296), true);
  out.setUint32(80, Math.floor(now.nsec / 1000), true);
  // tick: microseconds of a clock tick.
  out.setUint32(88, 10000, true);
  return task.mm.writeBytes(at, bytes) < 0 ? -EFAULT : TIME_ERROR;
}
