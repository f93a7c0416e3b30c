/** A program in a pseudo-terminal, driven by keys and by what it has said so far. */
import { cleanEnv, killGroup } from "../harness/process.ts";

export class TerminalProgram {
  /** All that was printed, without carriage returns. */
  seen = "";
  private at = 0;
  private changed: () => void = () => undefined;

  private constructor(private readonly child: ReturnType<typeof Bun.spawn>) {}

  static start(command: string[], env: Record<string, string> = cleanEnv): TerminalProgram {
    let program: TerminalProgram | undefined;
    const early: string[] = [];
    const child = Bun.spawn(command, {
      cwd: "/",
      env,
      terminal: {
        cols: 90,
        rows: 30,
        data(_terminal, chunk) {
          const text = Buffer.from(chunk).toString("latin1").replaceAll("\r", "");
          if (program) program.take(text);
          else early.push(text);
        },
      },
    });
    program = new TerminalProgram(child);
    for (const text of early) program.take(text);
    return program;
  }

  private take(text: string): void {
    this.seen += text;
    this.changed();
  }

  type(keys: string): void {
    this.child.terminal!.write(keys);
  }

  resize(columns: number, rows: number): void {
    this.child.terminal!.resize(columns, rows);
  }

  /** Waits for a text after the one that was waited for last; gives whether it came. */
  async until(text: string, ms = 15_000): Promise<boolean> {
    const end = performance.now() + ms;
    for (;;) {
      const found = this.seen.indexOf(text, this.at);
      if (found >= 0) {
        this.at = found + text.length;
        return true;
      }
      const left = end - performance.now();
      if (left <= 0) return false;
      const news = new Promise<void>((resolve) => {
        this.changed = resolve;
      });
      await Promise.race([news, Bun.sleep(Math.min(left, 200))]);
    }
  }

  /** The exit status, or -1 when there is none within the time. Ends the program in any case. */
  async exit(ms = 10_000): Promise<number> {
    const status = await Promise.race([this.child.exited, Bun.sleep(ms).then(() => -1)]);
    killGroup(this.child.pid);
    this.child.kill("SIGKILL");
    this.child.terminal!.close();
    return status;
  }
}
