/**
 * Whether the caller's resource limits leave room for a sandbox. They are raised as far as the caller may (raise_limits in
 * src/native/sandbox.c); what is still too low is named before the start, since it would fail anywhere later.
 *
 * Gap: a stack below 192 KiB (`ulimit -s`) is too small for the JavaScript engine, which ends before any of our code.
 */
import { readFileSync } from "node:fs";
import { RuntimeError } from "../core/errors.ts";

interface Need {
  /** As /proc/PID/limits names it. */
  limit: string;
  /** As a shell sets it, and the size of its unit. */
  option: string;
  unit: number;
  least: number;
  what: string;
}

const MiB = 1024 * 1024;
const NEEDS: Readonly<Record<string, readonly Need[]>> = {
  systrap: [
    // Each address space has a mailbox for all its threads, mostly holes: a file, and part of an address space.
    { limit: "Max file size", option: "-f", unit: 512, least: 512 * MiB, what: "bytes in a file" },
    { limit: "Max address space", option: "-v", unit: 1024, least: 8192 * MiB, what: "bytes of address space" },
  ],
  ptrace: [{ limit: "Max address space", option: "-v", unit: 1024, least: 4096 * MiB, what: "bytes of address space" }],
};
const ALWAYS: readonly Need[] = [{ limit: "Max open files", option: "-n", unit: 1, least: 256, what: "open files" }];

/** Throws when a hard limit in `limits`, the text of /proc/self/limits, is too low. */
export function checkLimits(platform: string, limits = readFileSync("/proc/self/limits", "latin1")): void {
  for (const { limit, option, unit, least, what } of [...ALWAYS, ...(NEEDS[platform] ?? [])]) {
    const hard = new RegExp(`^${limit}\\s+\\w+\\s+(\\d+)\\s`, "m").exec(limits)?.[1];
    if (hard === undefined || Number(hard) >= least) continue;
    throw new RuntimeError(
      "host",
      `the host allows this process ${hard} ${what} (ulimit ${option} ${Number(hard) / unit}), and a sandbox needs ${least} (ulimit ${option} ${least / unit})`,
    );
  }
}
