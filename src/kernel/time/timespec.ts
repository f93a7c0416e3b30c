/** struct timespec, timeval, itimerspec and itimerval in guest memory. Source: timespec(3type), timeval(3type). */
import { EFAULT, EINVAL } from "../abi/errno.ts";
import type { Mm } from "../mm/mm.ts";
import type { Timespec } from "../vfs/inode.ts";

/** Largest span that is told apart, ns: 292 years, as on Linux (KTIME_MAX). */
const KTIME_MAX = 2 ** 63;

const bytes = new Uint8Array(32);
const view = new DataView(bytes.buffer);

function getS64(from: DataView, at: number): number {
  return from.getUint32(at, true) + from.getInt32(at + 4, true) * 4294967296;
}
function putU64(at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setInt32(at + 4, Math.floor(value / 4294967296), true);
}

/** A struct timespec; -EFAULT, or -EINVAL when it is not one. */
export function readTimespec(mm: Mm, at: number): Timespec | number {
  const from = mm.readStruct(at, 16);
  if (from === null) return -EFAULT;
  const sec = getS64(from, 0);
  const nsec = getS64(from, 8);
  return sec < 0 || nsec < 0 || nsec >= 1e9 ? -EINVAL : { sec, nsec };
}
export function writeTimespec(mm: Mm, at: number, time: Timespec): number {
  putU64(0, time.sec);
  putU64(8, time.nsec);
  return mm.writeBytes(at, bytes, 16);
}
export function writeTimeval(mm: Mm, at: number, time: Timespec): number {
  putU64(0, time.sec);
  putU64(8, Math.floor(time.nsec / 1000));
  return mm.writeBytes(at, bytes, 16);
}

/** Nanoseconds of a span; what is too long to count is for ever. */
export function spanNs(time: Timespec): number {
  const ns = time.sec * 1e9 + time.nsec;
  return ns >= KTIME_MAX ? Number.POSITIVE_INFINITY : ns;
}
export function fromNs(ns: number): Timespec {
  return { sec: Math.floor(ns / 1e9), nsec: Math.floor(ns % 1e9) };
}

/** An interval and a value, as timers have them. */
export interface TimerSpec {
  interval: Timespec;
  value: Timespec;
}

/** A struct itimerspec. */
export function readItimerspec(mm: Mm, at: number): TimerSpec | number {
  if (mm.readBytes(at, bytes, 32) < 0) return -EFAULT;
  const interval = { sec: getS64(view, 0), nsec: getS64(view, 8) };
  const value = { sec: getS64(view, 16), nsec: getS64(view, 24) };
  for (const time of [interval, value]) if (time.sec < 0 || time.nsec < 0 || time.nsec >= 1e9) return -EINVAL;
  return { interval, value };
}
export function writeItimerspec(mm: Mm, at: number, intervalNs: number, valueNs: number): number {
  putTimes(intervalNs, valueNs, 1);
  return mm.writeBytes(at, bytes, 32);
}

/** A struct itimerval. */
export function readItimerval(mm: Mm, at: number): TimerSpec | number {
  if (mm.readBytes(at, bytes, 32) < 0) return -EFAULT;
  const times = [0, 16].map((where) => ({ sec: getS64(view, where), usec: getS64(view, where + 8) }));
  for (const time of times) if (time.sec < 0 || time.usec < 0 || time.usec >= 1e6) return -EINVAL;
  const [interval, value] = times.map((time) => ({ sec: time.sec, nsec: time.usec * 1000 }));
  return { interval: interval!, value: value! };
}
export function writeItimerval(mm: Mm, at: number, intervalNs: number, valueNs: number): number {
  putTimes(intervalNs, valueNs, 1000);
  return mm.writeBytes(at, bytes, 32);
}

function putTimes(intervalNs: number, valueNs: number, unit: number): void {
  const interval = fromNs(Number.isFinite(intervalNs) ? intervalNs : KTIME_MAX);
  const value = fromNs(Number.isFinite(valueNs) ? valueNs : KTIME_MAX);
  putU64(0, interval.sec);
  putU64(8, Math.floor(interval.nsec / unit));
  putU64(16, value.sec);
  putU64(24, Math.floor(value.nsec / unit));
}
