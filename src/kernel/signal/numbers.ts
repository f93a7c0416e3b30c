/**
 * Signal numbers, flags and codes of x86-64, and what each signal does by default.
 *
 * Source: signal(7), sigaction(2).
 */
export const SIGHUP = 1;
export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGILL = 4;
export const SIGTRAP = 5;
export const SIGABRT = 6;
export const SIGBUS = 7;
export const SIGFPE = 8;
export const SIGKILL = 9;
export const SIGUSR1 = 10;
export const SIGSEGV = 11;
export const SIGUSR2 = 12;
export const SIGPIPE = 13;
export const SIGALRM = 14;
export const SIGTERM = 15;
export const SIGSTKFLT = 16;
export const SIGCHLD = 17;
export const SIGCONT = 18;
export const SIGSTOP = 19;
export const SIGTSTP = 20;
export const SIGTTIN = 21;
export const SIGTTOU = 22;
export const SIGURG = 23;
export const SIGXCPU = 24;
export const SIGXFSZ = 25;
export const SIGVTALRM = 26;
export const SIGPROF = 27;
export const SIGWINCH = 28;
export const SIGIO = 29;
export const SIGPWR = 30;
export const SIGSYS = 31;
export const SIGRTMIN = 32;
export const SIGRTMAX = 64;

export const SA_NOCLDSTOP = 0x1;
export const SA_NOCLDWAIT = 0x2;
export const SA_SIGINFO = 0x4;
export const SA_RESTORER = 0x04000000;
export const SA_ONSTACK = 0x08000000;
export const SA_RESTART = 0x10000000;
export const SA_NODEFER = 0x40000000;
export const SA_RESETHAND = 0x80000000;

export const SI_USER = 0;
export const SI_KERNEL = 0x80;
export const SI_QUEUE = -1;
export const SI_TIMER = -2;
export const SI_MESGQ = -3;
export const SI_ASYNCIO = -4;
export const SI_SIGIO = -5;
export const SI_TKILL = -6;

export const CLD_EXITED = 1;
export const CLD_KILLED = 2;
export const CLD_DUMPED = 3;
export const CLD_TRAPPED = 4;
export const CLD_STOPPED = 5;
export const CLD_CONTINUED = 6;

export const SS_ONSTACK = 1;
export const SS_DISABLE = 2;
export const SS_AUTODISARM = 0x80000000;

/** Default actions. */
export const ACT_TERM = 0;
export const ACT_CORE = 1;
export const ACT_IGNORE = 2;
export const ACT_STOP = 3;

const CORE = [SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS];
const IGNORED = [SIGCONT, SIGCHLD, SIGWINCH, SIGURG];
const STOPS = [SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU];

const ACTIONS = new Uint8Array(65);
for (const signo of CORE) ACTIONS[signo] = ACT_CORE;
for (const signo of IGNORED) ACTIONS[signo] = ACT_IGNORE;
for (const signo of STOPS) ACTIONS[signo] = ACT_STOP;

export function defaultAction(signo: number): number {
  return ACTIONS[signo]!;
}
export const isStopSignal = (signo: number): boolean => ACTIONS[signo] === ACT_STOP;
/** Signals that the processor raises: delivered before all others. */
export const isSynchronous = (signo: number): boolean =>
  signo === SIGSEGV ||
  signo === SIGBUS ||
  signo === SIGILL ||
  signo === SIGTRAP ||
  signo === SIGFPE ||
  signo === SIGSYS;

const NAMES = (
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG " +
  "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split(" ");

/** "SIGSEGV", "SIGRT_3". */
export function signalName(signo: number): string {
  const name = NAMES[signo - 1];
  return name ? `SIG${name}` : signo >= SIGRTMIN ? `SIGRT_${signo - SIGRTMIN}` : String(signo);
}
