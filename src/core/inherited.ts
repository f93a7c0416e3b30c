/**
 * Descriptors from 3 on that this program was started with: what `--preserve-fds` may hand on.
 *
 * Looked at before the program opens anything: later, a number that the caller has left free may be the log file, or a
 * lock. The close-on-exec flag does not tell, since Bun sets it on what was inherited, too.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { usage } from "./flags.ts";

/** Bun has these before any of our code runs. Of no use to a guest if they were the caller's. */
const OF_THE_RUNTIME = /^anon_inode:\[(eventpoll|eventfd|timerfd|io_uring)\]$/;

const inherited = new Set(readdirSync("/proc/self/fd").map(Number).filter(isInherited));

function isInherited(fd: number): boolean {
  try {
    return fd > 2 && !OF_THE_RUNTIME.test(readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    // That of reading the directory.
    return false;
  }
}

/** Descriptors 3 to 3+n-1. `action` is for the message: "runts create". */
export function inheritedDescriptors(n: number, action: string): number[] {
  const wanted = Array.from({ length: n }, (_, i) => 3 + i);
  const missing = wanted.find((fd) => !inherited.has(fd));
  if (missing !== undefined) throw usage(action, `flag --preserve-fds: descriptor ${missing} is not open`);
  return wanted;
}
