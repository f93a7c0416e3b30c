/** A busybox shell in a terminal of 30 rows and 90 columns, used as its user does. */
import type { Expect } from "./expect.ts";
import type { TerminalProgram } from "./terminal.ts";

/** Types, and expects that answer. */
export type Typist = (keys: string, answer: string) => Promise<void>;
export const typist =
  (expect: Expect, terminal: TerminalProgram): Typist =>
  async (keys, answer) => {
    terminal.type(keys);
    if (!(await terminal.until(answer))) expect.problems.push(`no ${JSON.stringify(answer)}: ${terminal.seen}`);
  };

/** Which terminal it is, a new size, ^C. The shell goes on. */
export async function useShell(expect: Expect, terminal: TerminalProgram): Promise<void> {
  const type = typist(expect, terminal);
  expect.that(`no prompt: ${terminal.seen}`, await terminal.until("# "));
  await type("tty; test -t 0 && test -t 2 && echo ter''minal\r", "/dev/pts/0\nterminal\n");
  await type("stty size\r", "30 90\n");
  terminal.resize(101, 41);
  // Whoever is between passes the size on when it hears of it, which is not at once.
  await expect.eventually("the new size", async () => {
    terminal.type("stty size\r");
    return terminal.until("41 101\n", 300);
  });
  await type("sleep 100\r", "sleep 100\n");
  await Bun.sleep(300);
  await type("\x03", "# ");
  await type("echo status $?\r", "status 130\n");
}
