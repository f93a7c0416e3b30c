/** Whoever has typed `runts egress ID`: the terminal is this command's alone. */
import { createInterface, type Interface } from "node:readline/promises";
import { isatty } from "node:tty";
import type { Person } from "../../core/runts.ts";

export function personAtStandardInput(): Person | null {
  if (!isatty(0) || !isatty(1)) return null;
  let lines: Interface | undefined;
  let last: Promise<unknown> = Promise.resolve();
  return {
    ask(text, ms) {
      const signal = AbortSignal.timeout(ms);
      const answer = last.then(async () => {
        if (signal.aborted) return null;
        lines ??= createInterface({ input: process.stdin, output: process.stdout }).on("SIGINT", () =>
          process.exit(130),
        );
        try {
          return await lines.question(text, { signal });
        } catch {
          // Its time is over, or the terminal is gone.
          return null;
        }
      });
      last = answer;
      return answer;
    },
  };
}
