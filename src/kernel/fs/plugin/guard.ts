/**
 * Runs a plugin's code so that its faults stay its own: what it throws, and results that mean nothing, become EIO and a
 * line in the log that names the plugin and what it was doing.
 *
 * Invariant: a plugin that fails all the time does not fill the log: the 1st, 2nd, 4th, 8th… failure of one kind is told.
 */
import { EIO } from "../../abi/errno.ts";
import type { KernelLog } from "../../log.ts";
import { perCall } from "../../state/registry.ts";

/** Lines of a stack that are worth printing. */
const STACK_LINES = 4;
/** Kinds of failures that are counted. */
const FAILURES_MAX = 1024;

export class PluginGuard {
  private readonly failures = new Map<string, number>();

  constructor(
    readonly plugin: string,
    private readonly log: KernelLog,
  ) {}

  /** Notes a failure. `what`: "interceptor of openat"; `outcome`: what became of the call. */
  report(what: string, error: unknown, outcome: string): void {
    // Some are named after what a guest asked for.
    if (this.failures.size >= FAILURES_MAX) this.failures.clear();
    const count = (this.failures.get(what) ?? 0) + 1;
    this.failures.set(what, count);
    if ((count & (count - 1)) !== 0) return;
    const times = count > 1 ? ` (${count} times)` : "";
    this.log.error(`plugin "${this.plugin}", ${what}: ${explain(error)}; ${outcome}${times}`);
  }

  /** A result `>= 0` or `-errno`. */
  number(what: string, run: () => number): number {
    try {
      const result = run();
      if (Number.isSafeInteger(result) && result >= -4095) return result;
      this.report(what, new Error(`returned ${String(result)}, expected a number >= 0 or -errno`), "EIO");
    } catch (error) {
      this.report(what, error, "EIO");
    }
    return -EIO;
  }

  /** A result of another kind, or `-errno`. `check` says whether it is of that kind. */
  value<T>(what: string, run: () => T | number, check: (value: unknown) => value is T): T | number {
    try {
      const result = run();
      if (check(result)) return result;
      if (Number.isSafeInteger(result) && (result as number) < 0 && (result as number) >= -4095)
        return result as number;
      this.report(what, new Error(`returned ${String(result)}`), "EIO");
    } catch (error) {
      this.report(what, error, "EIO");
    }
    return -EIO;
  }

  /** For its effect alone. */
  effect(what: string, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.report(what, error, "ignored");
    }
  }
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Our own frames say nothing to the plugin's author.
  const frames = (error.stack ?? "").split("\n").filter((line) => /^\s*at /.test(line) && !line.includes("/$bunfs/"));
  const where = frames.slice(0, STACK_LINES).map((line) => line.trim());
  return [`${error.name}: ${error.message}`, ...where].join(" ");
}

// A plugin's own: whoever has one gets it from the plugin again.
perCall(PluginGuard);
