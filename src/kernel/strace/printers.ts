/**
 * How `--strace` shows what an argument points to: printers by call and argument name, tried before the argument type's
 * own format. Structures follow the kernel's layout on x86-64.
 *
 * Invariant: printers only read, and a bad address is shown as the address.
 */

import { decodeName } from "../abi/bytes.ts";
import { majorOf, minorOf, S_IFBLK, S_IFCHR, S_IFMT } from "../abi/stat.ts";
import { getS64, getU64 } from "../mm/mm.ts";
import { signalName } from "../signal/numbers.ts";
import type { Task } from "../task/task.ts";
import { formatMode } from "./mode.ts";
import { quote } from "./quote.ts";

/** `call` holds the arguments by name; `result` is NaN before the call. Null: print the address. */
export type Printer = (
  at: number,
  task: Task,
  call: Readonly<Record<string, unknown>>,
  result: number,
) => string | null;

const STRINGS_MAX = 32;
const ARRAY_MAX = 32;

const num = (value: unknown): number => (typeof value === "number" ? value : 0);

/** A printer of a structure of `size` bytes. */
function struct(size: number, show: (view: DataView, task: Task) => string): Printer {
  return (at, task) => {
    const view = at === 0 ? null : readView(task, at, size);
    return view === null ? null : show(view, task);
  };
}
function readView(task: Task, at: number, size: number): DataView | null {
  const bytes = new Uint8Array(size);
  return task.mm.readBytes(at, bytes) < 0 ? null : new DataView(bytes.buffer);
}

function text(task: Task, at: number, length: number): string {
  const shown = Math.min(length, STRINGS_MAX);
  const bytes = new Uint8Array(Math.max(0, shown));
  if (shown > 0 && task.mm.copyIn(at, bytes, 0, shown) < 0) return address(at);
  return quote(Buffer.from(bytes).toString("latin1"), true) + (length > shown ? "..." : "");
}

export const address = (at: number): string => (at === 0 ? "NULL" : `0x${at.toString(16)}`);

const timespecAt = (view: DataView, at: number): string =>
  `{tv_sec=${getS64(view, at)}, tv_nsec=${getS64(view, at + 8)}}`;
const timevalAt = (view: DataView, at: number): string =>
  `{tv_sec=${getS64(view, at)}, tv_usec=${getS64(view, at + 8)}}`;
const timespec = struct(16, (view) => timespecAt(view, 0));
const timeval = struct(16, (view) => timevalAt(view, 0));
const itimerspec = struct(32, (view) => `{it_interval=${timespecAt(view, 0)}, it_value=${timespecAt(view, 16)}}`);
const itimerval = struct(32, (view) => `{it_interval=${timevalAt(view, 0)}, it_value=${timevalAt(view, 16)}}`);
const timezone = struct(
  8,
  (view) => `{tz_minuteswest=${view.getInt32(0, true)}, tz_dsttime=${view.getInt32(4, true)}}`,
);

const stat = struct(144, (view) => {
  const mode = view.getUint32(24, true);
  const device = (mode & S_IFMT) === S_IFCHR || (mode & S_IFMT) === S_IFBLK;
  const rdev = view.getUint32(40, true);
  const what = device
    ? `st_rdev=makedev(0x${majorOf(rdev).toString(16)}, 0x${minorOf(rdev).toString(16)})`
    : `st_size=${getU64(view, 48)}`;
  return `{st_mode=${formatMode(mode)}, ${what}, ...}`;
});
const statx = struct(256, (view) => {
  const mode = view.getUint16(28, true);
  return `{stx_mask=0x${view.getUint32(0, true).toString(16)}, stx_attributes=${getU64(view, 8)}, stx_mode=${formatMode(mode)}, stx_size=${getU64(view, 40)}, ...}`;
});

/** A set of signals the way strace shows it: `[INT CHLD]`, or `~[…]` when most are in it. */
function signalSet(lo: number, hi: number): string {
  const has = (signo: number) => ((signo <= 32 ? lo >>> (signo - 1) : hi >>> (signo - 33)) & 1) === 1;
  const members: number[] = [];
  const others: number[] = [];
  for (let signo = 1; signo <= 64; signo++) (has(signo) ? members : others).push(signo);
  const names = (list: number[]) => `[${list.map(shortSignal).join(" ")}]`;
  return members.length > 40 ? `~${names(others)}` : names(members);
}
const shortSignal = (signo: number): string =>
  signo === 32 ? "RTMIN" : signo > 32 ? `RT_${signo - 32}` : signalName(signo).replace(/^SIG/, "");
export const signalText = (signo: number): string =>
  signo === 32 ? "SIGRTMIN" : signo > 32 ? `SIGRT_${signo - 32}` : signalName(signo);

const sigset: Printer = struct(8, (view) => signalSet(view.getUint32(0, true), view.getUint32(4, true)));

const SA_FLAGS: readonly [string, number][] = [
  ["SA_RESTORER", 0x04000000],
  ["SA_ONSTACK", 0x08000000],
  ["SA_RESTART", 0x10000000],
  ["SA_NODEFER", 0x40000000],
  ["SA_RESETHAND", 0x80000000],
  ["SA_SIGINFO", 4],
  ["SA_NOCLDWAIT", 2],
  ["SA_NOCLDSTOP", 1],
];
function names(value: number, table: readonly [string, number][], zero = "0"): string {
  const out: string[] = [];
  let rest = value >>> 0;
  for (const [name, bit] of table)
    if ((rest & bit) >>> 0 === bit >>> 0) {
      out.push(name);
      rest = (rest & ~bit) >>> 0;
    }
  if (rest !== 0) out.push(`0x${rest.toString(16)}`);
  return out.length === 0 ? zero : out.join("|");
}
const sigaction = struct(32, (view) => {
  const handler = getU64(view, 0);
  const flags = view.getUint32(8, true);
  const shown = handler === 0 ? "SIG_DFL" : handler === 1 ? "SIG_IGN" : address(handler);
  const restorer = flags & 0x04000000 ? `, sa_restorer=${address(getU64(view, 16))}` : "";
  const mask = signalSet(view.getUint32(24, true), view.getUint32(28, true));
  return `{sa_handler=${shown}, sa_mask=${mask}, sa_flags=${names(flags, SA_FLAGS)}${restorer}}`;
});
const sigaltstack = struct(24, (view) => {
  const flags = names(view.getUint32(8, true), [
    ["SS_ONSTACK", 1],
    ["SS_DISABLE", 2],
    ["SS_AUTODISARM", 0x80000000],
  ]);
  return `{ss_sp=${address(getU64(view, 0))}, ss_flags=${flags}, ss_size=${getU64(view, 16)}}`;
});

const rlimit = struct(16, (view) => {
  const show = (at: number) => {
    if (view.getUint32(at, true) === 0xffffffff && view.getUint32(at + 4, true) === 0xffffffff)
      return "RLIM64_INFINITY";
    const value = getU64(view, at);
    return value > 1024 && value % 1024 === 0 ? `${value / 1024}*1024` : String(value);
  };
  return `{rlim_cur=${show(0)}, rlim_max=${show(8)}}`;
});

const POLL_BITS: readonly [string, number][] = [
  ["POLLIN", 1],
  ["POLLPRI", 2],
  ["POLLOUT", 4],
  ["POLLERR", 8],
  ["POLLHUP", 16],
  ["POLLNVAL", 32],
  ["POLLRDNORM", 64],
  ["POLLRDBAND", 128],
  ["POLLWRNORM", 256],
  ["POLLWRBAND", 512],
  ["POLLRDHUP", 0x2000],
];
const pollfds: Printer = (at, task, call) => {
  const count = Math.min(num(call["nfds"]), ARRAY_MAX);
  const view = at === 0 ? null : readView(task, at, count * 8);
  if (view === null) return null;
  const list: string[] = [];
  for (let i = 0; i < count; i++)
    list.push(`{fd=${view.getInt32(8 * i, true)}, events=${names(view.getUint16(8 * i + 4, true), POLL_BITS)}}`);
  return `[${list.join(", ")}${num(call["nfds"]) > count ? ", ..." : ""}]`;
};

const EPOLL_BITS: readonly [string, number][] = [
  ...POLL_BITS.map(([name, bit]): [string, number] => [`E${name}`, bit]),
  ["EPOLLEXCLUSIVE", 1 << 28],
  ["EPOLLWAKEUP", 1 << 29],
  ["EPOLLONESHOT", 1 << 30],
  ["EPOLLET", 0x80000000],
];
function epollEventAt(view: DataView, at: number): string {
  const lo = view.getUint32(at + 4, true);
  const hi = view.getUint32(at + 8, true);
  const data = hi === 0 ? String(lo) : `0x${hi.toString(16)}${lo.toString(16).padStart(8, "0")}`;
  return `{events=${names(view.getUint32(at, true), EPOLL_BITS)}, data=${data}}`;
}
const epollEvent = struct(12, (view) => epollEventAt(view, 0));
/** Filled in by the call. */
const epollEvents: Printer = (at, task, _call, result) => {
  if (!(result >= 0)) return null;
  const count = Math.min(result, ARRAY_MAX);
  const view = readView(task, at, count * 12);
  if (view === null) return null;
  const list = Array.from({ length: count }, (_, i) => epollEventAt(view, 12 * i));
  return `[${list.join(", ")}${result > count ? ", ..." : ""}]`;
};

/** An iovec list; `filled`: by the call, with as many bytes as it returned. */
function iovec(countArg: string, filled: boolean): Printer {
  return (at, task, call, result) => {
    const whole = num(call[countArg]);
    const count = Math.min(whole, ARRAY_MAX);
    if (at === 0 || count < 0) return null;
    const view = readView(task, at, count * 16);
    return view === null ? null : iovecs(view, 0, count, whole, task, filled ? result : Number.POSITIVE_INFINITY);
  };
}
function iovecs(view: DataView, from: number, count: number, whole: number, task: Task, bytes: number): string {
  let left = Number.isNaN(bytes) || bytes < 0 ? 0 : bytes;
  const list: string[] = [];
  for (let i = 0; i < count; i++) {
    const base = getU64(view, from + 16 * i);
    const length = getU64(view, from + 16 * i + 8);
    const shown = Math.min(length, left);
    left -= shown;
    const data = shown === 0 && length > 0 ? address(base) : text(task, base, shown);
    list.push(`{iov_base=${data}, iov_len=${length}}`);
  }
  return `[${list.join(", ")}${whole > count ? ", ..." : ""}]`;
}

function message(filled: boolean): Printer {
  return (at, task, _call, result) => {
    const view = at === 0 ? null : readView(task, at, 56);
    if (view === null) return null;
    const iov = getU64(view, 16);
    const whole = getU64(view, 24);
    const count = Math.min(whole, ARRAY_MAX);
    const list = count === 0 ? null : readView(task, iov, count * 16);
    const parts = [
      `msg_name=${address(getU64(view, 0))}`,
      `msg_namelen=${view.getUint32(8, true)}`,
      `msg_iov=${list === null ? address(iov) : iovecs(list, 0, count, whole, task, filled ? result : Number.POSITIVE_INFINITY)}`,
      `msg_iovlen=${whole}`,
    ];
    const control = getU64(view, 40);
    if (control > 0) parts.push(`msg_control=${address(getU64(view, 32))}`);
    parts.push(`msg_controllen=${control}`, `msg_flags=${view.getUint32(48, true)}`);
    return `{${parts.join(", ")}}`;
  };
}

/** A list of strings ended by NULL: argv. */
const strings: Printer = (at, task) => {
  if (at === 0) return null;
  const list: string[] = [];
  for (let i = 0; i < ARRAY_MAX; i++) {
    const pointer = task.mm.readU64(at + 8 * i);
    if (pointer < 0) return null;
    if (pointer === 0) return `[${list.join(", ")}]`;
    const value = task.mm.readString(pointer, 4096);
    list.push(typeof value === "string" ? quote(value) : address(pointer));
  }
  return `[${list.join(", ")}, ...]`;
};
/** The environment: how much of it there is. */
const environment: Printer = (at, task) => {
  if (at === 0) return null;
  let count = 0;
  for (;;) {
    const pointer = task.mm.readU64(at + 8 * count);
    if (pointer < 0) return null;
    if (pointer === 0 || count > 10000) break;
    count++;
  }
  return `${address(at)} /* ${count} vars */`;
};

/** int[count]. */
function ints(count: number): Printer {
  return (at, task) => {
    const view = at === 0 ? null : readView(task, at, 4 * count);
    if (view === null) return null;
    const list = Array.from({ length: count }, (_, i) => view.getInt32(4 * i, true));
    return `[${list.join(", ")}]`;
  };
}
/** A pointer to a length and the like: `[16]`. */
const pointedInt = ints(1);
const pointedLong = struct(8, (view) => `[${getS64(view, 0)}]`);

function waitStatus(status: number): string {
  const signal = status & 0x7f;
  if (status === 0xffff) return "[{WIFCONTINUED(s)}]";
  if ((status & 0xff) === 0x7f) return `[{WIFSTOPPED(s) && WSTOPSIG(s) == ${signalText((status >> 8) & 0xff)}}]`;
  if (signal === 0) return `[{WIFEXITED(s) && WEXITSTATUS(s) == ${(status >> 8) & 0xff}}]`;
  return `[{WIFSIGNALED(s) && WTERMSIG(s) == ${signalText(signal)}${status & 0x80 ? " && WCOREDUMP(s)" : ""}}]`;
}
const wstatus: Printer = (at, task, _call, result) => {
  if (!(result > 0) || at === 0) return null;
  const status = task.mm.readU32(at);
  return status < 0 ? null : waitStatus(status);
};

const siginfo = struct(48, (view) => {
  const signo = view.getInt32(0, true);
  const code = view.getInt32(8, true);
  const child = signo === 17 ? `, si_status=${view.getInt32(24, true)}` : "";
  return `{si_signo=${signalText(signo)}, si_code=${code}, si_pid=${view.getInt32(16, true)}, si_uid=${view.getUint32(20, true)}${child}}`;
});

const uname = struct(390, (view) => {
  const field = (i: number) => {
    const bytes = new Uint8Array(view.buffer, 65 * i, 65);
    const end = bytes.indexOf(0);
    return quote(decodeName(bytes, 0, end < 0 ? 65 : end));
  };
  return `{sysname=${field(0)}, nodename=${field(1)}, ...}`;
});

function fdSet(countArg = "nfds"): Printer {
  return (at, task, call) => {
    const count = Math.min(Math.max(num(call[countArg]), 0), 1024);
    const view = at === 0 ? null : readView(task, at, Math.ceil(count / 64) * 8);
    if (view === null) return null;
    const members: number[] = [];
    for (let fd = 0; fd < count; fd++) if ((view.getUint8(fd >> 3) >> (fd & 7)) & 1) members.push(fd);
    return `[${members.join(" ")}]`;
  };
}

const openHow = struct(24, (view) => {
  const hex = (at: number) => `0x${getU64(view, at).toString(16)}`;
  return `{flags=${hex(0)}, mode=0${getU64(view, 8).toString(8)}, resolve=${hex(16)}}`;
});
const cloneArgs = struct(64, (view) => {
  const at = (offset: number) => address(getU64(view, offset));
  return `{flags=0x${getU64(view, 0).toString(16)}, child_tid=${at(16)}, parent_tid=${at(24)}, exit_signal=${getU64(view, 32)}, stack=${at(40)}, stack_size=${at(48)}, tls=${at(56)}}`;
});

const TCGETS = 0x5401;
const TIOCGPGRP = 0x540f;
const TIOCSPGRP = 0x5410;
const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;
const FIONREAD = 0x541b;
const ioctlArg: Printer = (at, task, call, result) => {
  const failed = result < 0;
  switch (num(call["request"]) >>> 0) {
    case TIOCGPGRP:
    case FIONREAD:
      return failed ? null : pointedInt(at, task, call, result);
    case TIOCSPGRP:
      return pointedInt(at, task, call, result);
    case TIOCGWINSZ:
      if (failed) return null;
      return windowSize(at, task, call, result);
    case TIOCSWINSZ:
      return windowSize(at, task, call, result);
    case TCGETS:
    case TCGETS + 1:
    case TCGETS + 2:
    case TCGETS + 3:
      return failed ? null : termios(at, task, call, result);
    default:
      return null;
  }
};
const windowSize = struct(
  8,
  (view) =>
    `{ws_row=${view.getUint16(0, true)}, ws_col=${view.getUint16(2, true)}, ws_xpixel=${view.getUint16(4, true)}, ws_ypixel=${view.getUint16(6, true)}}`,
);
const termios = struct(36, (view) => {
  const hex = (at: number) => `0x${view.getUint32(at, true).toString(16)}`;
  return `{c_iflag=${hex(0)}, c_oflag=${hex(4)}, c_cflag=${hex(8)}, c_lflag=${hex(12)}, ...}`;
});

/** Call → argument → printer. Arguments that the call fills in are printed after it. */
export const printers: Readonly<Record<string, Readonly<Record<string, Printer>>>> = {
  stat: { buffer: stat },
  lstat: { buffer: stat },
  fstat: { buffer: stat },
  newfstatat: { buffer: stat },
  statx: { buffer: statx },
  nanosleep: { req: timespec, rem: timespec },
  clock_nanosleep: { req: timespec, rem: timespec },
  clock_gettime: { tp: timespec },
  clock_settime: { tp: timespec },
  clock_getres: { res: timespec },
  sched_rr_get_interval: { tp: timespec },
  gettimeofday: { tv: timeval, tz: timezone },
  settimeofday: { tv: timeval, tz: timezone },
  getitimer: { curr_value: itimerval },
  setitimer: { new_value: itimerval, old_value: itimerval },
  timer_gettime: { curr_value: itimerspec },
  timer_settime: { new_value: itimerspec, old_value: itimerspec },
  timerfd_gettime: { otmr: itimerspec },
  timerfd_settime: { new_value: itimerspec, old_value: itimerspec },
  futex: { timeout: timespec },
  rt_sigaction: { act: sigaction, oldact: sigaction },
  rt_sigprocmask: { set: sigset, oldset: sigset },
  rt_sigpending: { set: sigset },
  rt_sigsuspend: { mask: sigset },
  rt_sigtimedwait: { set: sigset, info: siginfo, timeout: timespec },
  rt_sigqueueinfo: { uinfo: siginfo },
  rt_tgsigqueueinfo: { uinfo: siginfo },
  pidfd_send_signal: { info: siginfo },
  signalfd: { mask: sigset },
  signalfd4: { mask: sigset },
  sigaltstack: { ss: sigaltstack, old_ss: sigaltstack },
  getrlimit: { rlim: rlimit },
  setrlimit: { rlim: rlimit },
  prlimit64: { new_limit: rlimit, old_limit: rlimit },
  poll: { fds: pollfds },
  ppoll: { fds: pollfds, timeout: timespec, sigmask: sigset },
  select: { readfds: fdSet(), writefds: fdSet(), exceptfds: fdSet(), timeout: timeval },
  pselect6: { readfds: fdSet(), writefds: fdSet(), exceptfds: fdSet(), timeout: timespec },
  epoll_ctl: { event: epollEvent },
  epoll_wait: { events: epollEvents },
  epoll_pwait: { events: epollEvents, sigmask: sigset },
  epoll_pwait2: { events: epollEvents, timeout: timespec, sigmask: sigset },
  readv: { iov: iovec("iovcnt", true) },
  preadv: { iov: iovec("iovcnt", true) },
  preadv2: { iov: iovec("iovcnt", true) },
  writev: { iov: iovec("iovcnt", false) },
  pwritev: { iov: iovec("iovcnt", false) },
  pwritev2: { iov: iovec("iovcnt", false) },
  vmsplice: { iov: iovec("nr_segs", false) },
  sendmsg: { msg: message(false) },
  recvmsg: { msg: message(true) },
  execve: { argv: strings, envp: environment },
  execveat: { argv: strings, envp: environment },
  pipe: { pipefd: ints(2) },
  pipe2: { pipefd: ints(2) },
  socketpair: { sv: ints(2) },
  wait4: { wstatus },
  waitid: { infop: siginfo },
  uname: { buf: uname },
  openat2: { how: openHow },
  clone3: { cl_args: cloneArgs },
  accept: { addrlen: pointedInt },
  accept4: { addrlen: pointedInt },
  getsockname: { addrlen: pointedInt },
  getpeername: { addrlen: pointedInt },
  getsockopt: { optval: pointedInt, optlen: pointedInt },
  recvfrom: { addrlen: pointedInt },
  sendfile: { offset: pointedLong },
  splice: { off_in: pointedLong, off_out: pointedLong },
  copy_file_range: { off_in: pointedLong, off_out: pointedLong },
  ioctl: { arg: ioctlArg },
};

/** Arguments that a call fills in though their type does not say so: printed after the call, as an address if it failed. */
export const filledIn: Readonly<Record<string, readonly string[]>> = {
  epoll_wait: ["events"],
  epoll_pwait: ["events"],
  epoll_pwait2: ["events"],
  readv: ["iov"],
  preadv: ["iov"],
  preadv2: ["iov"],
  recvmsg: ["msg"],
  pipe: ["pipefd"],
  pipe2: ["pipefd"],
  getsockopt: ["optval"],
  ioctl: ["arg"],
};

const FUTEX_ARGUMENTS: Readonly<Record<number, number>> = { 0: 4, 1: 3, 2: 2, 6: 4, 7: 2, 8: 2, 10: 3, 13: 4 };
const modeCounts =
  (flagsAt: number) =>
  (call: Readonly<Record<string, unknown>>): number =>
    num(call["flags"]) & 0o20000100 ? flagsAt + 2 : flagsAt + 1;
/** Commands of fcntl without an argument: F_GETFD, F_GETFL, F_GETOWN, F_GETSIG, F_GETLEASE, F_GETPIPE_SZ, F_GET_SEALS. */
const FCNTL_SHORT = new Set([1, 3, 9, 11, 1025, 1032, 1034]);

/** How many arguments mean something, where that depends on the others. */
export const argumentCount: Readonly<Record<string, (call: Readonly<Record<string, unknown>>) => number>> = {
  open: modeCounts(1),
  openat: modeCounts(2),
  futex: (call) => FUTEX_ARGUMENTS[num(call["op"]) & 0x7f] ?? 6,
  fcntl: (call) => (FCNTL_SHORT.has(num(call["cmd"])) ? 2 : 3),
  preadv: () => 4,
  pwritev: () => 4,
  mremap: (call) => (num(call["flags"]) & 2 ? 5 : 4),
};

/** Calls whose result is an address. */
export const returnsAddress: ReadonlySet<string> = new Set(["mmap", "brk", "mremap", "shmat"]);
