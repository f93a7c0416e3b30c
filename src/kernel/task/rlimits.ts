/** Resource limits: numbers and defaults. Source: getrlimit(2). Infinity stands for RLIM_INFINITY. */
export interface Rlimit {
  soft: number;
  hard: number;
}

export const RLIMIT_CPU = 0;
export const RLIMIT_FSIZE = 1;
export const RLIMIT_DATA = 2;
export const RLIMIT_STACK = 3;
export const RLIMIT_CORE = 4;
export const RLIMIT_RSS = 5;
export const RLIMIT_NPROC = 6;
export const RLIMIT_NOFILE = 7;
export const RLIMIT_MEMLOCK = 8;
export const RLIMIT_AS = 9;
export const RLIMIT_LOCKS = 10;
export const RLIMIT_SIGPENDING = 11;
export const RLIMIT_MSGQUEUE = 12;
export const RLIMIT_NICE = 13;
export const RLIMIT_RTPRIO = 14;
export const RLIMIT_RTTIME = 15;
export const RLIMIT_COUNT = 16;

const INF = Number.POSITIVE_INFINITY;

export function defaultRlimits(): Rlimit[] {
  const limits: Rlimit[] = [];
  for (let i = 0; i < RLIMIT_COUNT; i++) limits.push({ soft: INF, hard: INF });
  limits[RLIMIT_STACK] = { soft: 8 << 20, hard: INF };
  limits[RLIMIT_CORE] = { soft: 0, hard: INF };
  limits[RLIMIT_NPROC] = { soft: 16384, hard: 16384 };
  limits[RLIMIT_NOFILE] = { soft: 20000, hard: 1 << 20 };
  limits[RLIMIT_MEMLOCK] = { soft: 8 << 20, hard: 8 << 20 };
  limits[RLIMIT_SIGPENDING] = { soft: 16384, hard: 16384 };
  limits[RLIMIT_MSGQUEUE] = { soft: 819200, hard: 819200 };
  limits[RLIMIT_NICE] = { soft: 0, hard: 0 };
  limits[RLIMIT_RTPRIO] = { soft: 0, hard: 0 };
  return limits;
}
