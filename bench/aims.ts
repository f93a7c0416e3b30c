/**
 * What the project set out to reach, as ratios to runsc on its systrap platform in the same run
 * (and to an empty program for the start). They inform; nothing fails by them.
 */

/** Case of micro.c → largest ratio to runsc systrap. */
export const microAims: Record<string, number> = {
  null_syscall: 0.8,
  stat: 1.0,
  read_4k: 1.0,
  mmap_64k: 0.25,
  page_fault: 1.0,
  fork_exit: 0.1,
  fork_exec: 0.1,
};

/** `do true` over `runsc do true`. */
export const doAim = 0.5;
/** `runts --version` over an empty Bun-compiled program. */
export const versionAim = 2.0;
/** Megabytes of an idle sandbox, all its processes together. */
export const idleAimMb = 80;

export function verdict(value: number | undefined, aim: number): string {
  if (value === undefined) return `≤ ${aim}: not measured`;
  return `≤ ${aim}: ${value <= aim ? "reached" : "missed"}`;
}
