/**
 * Types into a program in a terminal, and keeps its answers.
 *
 * Each step sends keys and waits for the next prompt, so that nothing is typed ahead of the line editor. What is
 * compared is the text between, without escape sequences, carriage returns and process ids.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unifiedDiff } from "../harness/diff.ts";
import { cleanEnv, killGroup } from "../harness/process.ts";
import { fail, type Outcome, pass } from "../harness/suite.ts";
import { handOver, prefixed } from "../harness/user.ts";

export const bash = ["/bin/bash", "--norc", "--noprofile", "-i"];
export const prompt = "ready> ";

export interface Step {
  /** What is typed. */
  keys?: string;
  /** A change of the terminal's size, before any keys. */
  resize?: [columns: number, rows: number];
  /** Waits this long after the text, for a program to get going. */
  pauseMs?: number;
  /** Waits for this text instead of the next prompt. */
  until?: string;
}

export const ctrl = (letter: string): string => String.fromCharCode(letter.charCodeAt(0) & 31);

/** Takes out what may differ between two runs of the same thing. */
const clean = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: terminals speak in control characters
    .replace(/\x1b\[[0-9;?]*[a-zA-Z]|\r|\x07/g, "")
    .replace(/(\[\d+\]) \d+/g, "$1 PID");

export interface Transcript {
  answers: string[];
  status: number;
  problem?: string;
}

interface Seat {
  child: Bun.Subprocess;
  terminal: Bun.Terminal;
}

export class Typist {
  readonly answers: string[] = [];
  private readonly dir = join(tmpdir(), `runts-interactive-${process.pid}-${Math.random().toString(36).slice(2)}`);
  /** Of the program; of a command that brings it into a sandbox, too, where it passes them on. */
  readonly env: Record<string, string> = {
    ...cleanEnv,
    INPUTRC: join(this.dir, "inputrc"),
    PS1: prompt,
    HISTFILE: "/dev/null",
    TERM: "xterm",
  };
  private seat: Seat | undefined;
  private seen = "";
  private changed: () => void = () => undefined;

  constructor() {
    mkdirSync(this.dir);
    writeFileSync(join(this.dir, "inputrc"), "set enable-bracketed-paste off\nset bell-style none\n");
    handOver(this.dir);
  }

  /** In front of a new terminal, in which a command is run. What was seen before stays. */
  sitDown(command: string[]): void {
    const child = Bun.spawn(prefixed(command), {
      cwd: this.dir,
      env: this.env,
      terminal: {
        cols: 80,
        rows: 24,
        data: (_terminal, chunk) => {
          this.seen += Buffer.from(chunk).toString("latin1");
          this.changed();
        },
      },
    });
    this.seat = { child, terminal: child.terminal! };
  }
  /** Waits for the command's end; its status, or -2. */
  async getUp(ms = 5000): Promise<number> {
    const { child, terminal } = this.seat!;
    const status = await Promise.race([child.exited, Bun.sleep(ms).then(() => -2)]);
    if (status !== -2) {
      terminal.close();
      this.seat = undefined;
    }
    return status;
  }

  async waitFor(text: string, ms: number): Promise<boolean> {
    const end = performance.now() + ms;
    for (;;) {
      const at = this.seen.indexOf(text);
      if (at >= 0) {
        this.answers.push(clean(this.seen.slice(0, at + text.length)));
        this.seen = this.seen.slice(at + text.length);
        return true;
      }
      const left = end - performance.now();
      if (left <= 0) return false;
      await Promise.race([
        new Promise<void>((resolve) => {
          this.changed = resolve;
        }),
        Bun.sleep(Math.min(left, 200)),
      ]);
    }
  }

  /** Waits for the first prompt. What went wrong, or undefined. */
  async begin(): Promise<string | undefined> {
    return (await this.waitFor(prompt, 15_000)) ? undefined : `no prompt; seen: ${clean(this.seen)}`;
  }
  /** What went wrong, or undefined. */
  async type(steps: readonly Step[]): Promise<string | undefined> {
    for (const [at, step] of steps.entries()) {
      const { terminal } = this.seat!;
      if (step.resize) terminal.resize(...step.resize);
      if (step.keys) terminal.write(step.keys);
      if (!(await this.waitFor(step.until ?? prompt, 10_000)))
        return `step ${at + 1} (${JSON.stringify(step.keys)}): no answer within 10 s; seen: ${JSON.stringify(clean(this.seen))}`;
      if (step.pauseMs) await Bun.sleep(step.pauseMs);
    }
    return undefined;
  }

  async end(): Promise<Transcript> {
    const status = await this.getUp();
    return { answers: this.answers, status, ...(status === -2 ? { problem: "no end after exit" } : {}) };
  }
  /** What was seen and is nobody's answer yet. */
  get rest(): string {
    return clean(this.seen);
  }
  brokenOff(problem: string): Transcript {
    return { answers: this.answers, status: -1, problem };
  }

  close(): void {
    if (this.seat !== undefined) {
      killGroup(this.seat.child.pid);
      this.seat.child.kill("SIGKILL");
      this.seat.terminal.close();
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Did it go in the sandbox as on the host? */
export function compareTranscripts(expected: Transcript, actual: Transcript): Outcome {
  const problems: string[] = [];
  if (actual.problem) problems.push(actual.problem);
  if (actual.status !== expected.status) problems.push(`status ${actual.status}, on the host ${expected.status}`);
  const a = expected.answers.slice(0, actual.problem ? actual.answers.length : undefined).join("\n");
  const b = actual.answers.join("\n");
  if (a !== b) problems.push(unifiedDiff(a, b));
  return problems.length ? fail(problems.join("\n")) : pass;
}
