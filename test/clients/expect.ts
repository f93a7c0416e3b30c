/** Expectations that are collected: a test of a client says everything that is wrong, not the first thing alone. */
import type { Result } from "../harness/process.ts";

export interface Wanted {
  status?: number;
  stdout?: string | RegExp;
  stderr?: string | RegExp;
}

const fits = (got: string, want: string | RegExp): boolean =>
  typeof want === "string" ? got === want : want.test(got);

/** What was wanted; of what is long, where it differs. */
function difference(got: string, want: string): string {
  if (want.length <= 600) return JSON.stringify(want);
  let at = 0;
  while (at < got.length && got[at] === want[at]) at++;
  const from = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 20), at + 100));
  return `right: ${got.length} of ${want.length} characters, from ${at} on ${from(got)} instead of ${from(want)}`;
}

export class Expect {
  readonly problems: string[] = [];

  /** A command's end. Status 0 unless told otherwise; output counts where a wish is given. */
  result(what: string, got: Result, want: Wanted = {}): Result {
    const wrong: string[] = [];
    if (got.timedOut) wrong.push("no end within its time");
    if (got.status !== (want.status ?? 0)) wrong.push(`status ${got.status}, not ${want.status ?? 0}`);
    for (const stream of ["stdout", "stderr"] as const) {
      const wish = want[stream];
      if (wish !== undefined && !fits(got[stream], wish))
        wrong.push(`${stream} is not ${typeof wish === "string" ? difference(got[stream], wish) : wish}`);
    }
    if (wrong.length > 0)
      this.problems.push(
        `${what}: ${wrong.join("; ")}\n  stdout: ${JSON.stringify(got.stdout.slice(0, 600))}\n  stderr: ${JSON.stringify(got.stderr.slice(0, 600))}`,
      );
    return got;
  }

  equal(what: string, got: unknown, want: unknown): void {
    if (!Bun.deepEquals(got, want)) this.problems.push(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(want)}`);
  }

  fits(what: string, got: string, want: RegExp): void {
    if (!want.test(got)) this.problems.push(`${what}: ${JSON.stringify(got.slice(0, 600))} is not ${want}`);
  }

  that(what: string, holds: boolean): void {
    if (!holds) this.problems.push(what);
  }

  /** Tries until the check holds; gives whether it did. */
  async eventually(what: string, check: () => boolean | Promise<boolean>, ms = 10_000): Promise<boolean> {
    const end = performance.now() + ms;
    while (!(await check())) {
      if (performance.now() > end) {
        this.problems.push(`${what}: not within ${ms / 1000} s`);
        return false;
      }
      await Bun.sleep(30);
    }
    return true;
  }
}
