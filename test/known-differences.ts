/**
 * Differences from Linux that are known and accepted: the one list, each with its date and its reason.
 *
 * An entry names the case and gives functions that take the accepted difference out of the outputs before they are
 * compared, so that everything else in that program is still checked. Remove an entry as soon as it is not needed.
 */
export interface KnownDifference {
  /** As the runner prints it, without the platform: "guest/pipe-partial". */
  name: string;
  /** Only on this platform; everywhere without it. */
  platform?: string;
  /** The day it was accepted, as YYYY-MM-DD. */
  date: string;
  /** Why runts differs, and what would remove the difference. */
  reason: string;
  host?: (output: string) => string;
  runts?: (output: string) => string;
}

export const knownDifferences: KnownDifference[] = [
  {
    name: "guest/vsyscall",
    platform: "systrap",
    date: "2026-11-28",
    reason:
      "A call through the vsyscall page arrives as any other call, and the bad pointer of one is EFAULT; Linux' emulation " +
      "raises SIGSEGV instead. Nothing has called through that page for ten years.",
    runts: (output) => output.replace("bad pointer -14\nbad pointer: exited 0\n", "bad pointer: SIGSEGV\n"),
  },
];
