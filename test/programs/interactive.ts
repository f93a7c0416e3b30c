/**
 * An interactive bash in a terminal: prompt, line editing, Ctrl-C, Ctrl-Z, fg, bg, resize, driven through a pty on the
 * host and in the sandbox, and compared answer by answer.
 *
 * Each step sends keys and waits for the next prompt, so that nothing is typed ahead of the line editor. What is
 * compared is the text between, without escape sequences, carriage returns and process ids.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unifiedDiff } from "../harness/diff.ts";
import { cleanEnv, killGroup } from "../harness/process.ts";
import { inSandbox, platforms } from "../harness/sandbox.ts";
import { type Case, fail, matches, type Outcome, pass } from "../harness/suite.ts";

const prompt = "ready> ";

interface Step {
  /** What is typed. */
  keys?: string;
  /** A change of the terminal's size, before any keys. */
  resize?: [columns: number, rows: number];
  /** Waits this long after the text, for a program to get going. */
  pauseMs?: number;
  /** Waits for this text instead of the next prompt. */
  until?: string;
}

const ctrl = (letter: string): string => String.fromCharCode(letter.charCodeAt(0) & 31);

const steps: Step[] = [
  { keys: "echo hello\r" },
  { keys: "tty | sed 's/[0-9]*$//'; test -t 0 && test -t 1 && test -t 2 && echo all terminals\r" },
  { keys: "echo abX\x7fc\r" },
  { keys: "echo ac\x1b[Db\r" },
  { keys: `world${ctrl("A")}echo ${ctrl("E")}!\r` },
  { keys: `echo one two three${ctrl("W")}four\r` },
  { keys: `gone${ctrl("U")}echo kept\r` },
  { keys: "\x1b[A\x1b[A\r" },
  { keys: `${ctrl("R")}hello\r` },
  { keys: "echo typed; ech\tcompleted\r" },
  { keys: "half a line", until: "half a line", pauseMs: 150 },
  { keys: ctrl("C") },
  { keys: "echo status $?\r" },
  { keys: "sleep 100\r", until: "sleep 100\r\n", pauseMs: 400 },
  { keys: ctrl("C") },
  { keys: "echo status $?\r" },
  { keys: "sleep 50\r", until: "sleep 50\r\n", pauseMs: 400 },
  { keys: ctrl("Z") },
  { keys: "jobs\r" },
  { keys: "bg\r" },
  { keys: "jobs\r" },
  { keys: "fg\r", until: "fg\r\nsleep 50\r\n", pauseMs: 300 },
  { keys: ctrl("Z") },
  { keys: "fg\r", until: "fg\r\nsleep 50\r\n", pauseMs: 300 },
  { keys: ctrl("C") },
  { keys: "echo status $?; jobs\r" },
  { keys: "(sleep 60 & sleep 61 & jobs -r | wc -l; kill %1 %2; wait)\r" },
  { keys: "cat\r", until: "cat\r\n", pauseMs: 300 },
  { keys: "a line\r", until: "a line\r\na line\r\n" },
  { keys: ctrl("D") },
  { keys: "stty size\r" },
  // The line editor draws its prompt anew when the size changes.
  { resize: [100, 40] },
  { keys: "stty size; echo $COLUMNS $LINES\r" },
  { resize: [91, 31] },
  { keys: "stty size; echo $COLUMNS $LINES\r" },
  { keys: "cat & sleep 0.3\r" },
  { keys: "kill -9 %1; sleep 0.3\r" },
  { keys: "stty tostop; (echo from the background; echo never) & sleep 0.3; stty -tostop\r" },
  { keys: "fg\r" },
  { keys: "read -s -p 'secret: ' x; echo; echo \"got $x\"\r", until: "secret: ", pauseMs: 200 },
  { keys: "hidden\r" },
  { keys: "sleep 30 | cat\r", until: "cat\r\n", pauseMs: 400 },
  { keys: ctrl("\\") },
  { keys: "bash --norc --noprofile -c 'sleep 1; echo from a child; exit 5'; echo $?\r" },
  { keys: "stty -a | grep -o 'intr = ..'\r" },
  { keys: "python3 -c 'import os; print(os.get_terminal_size(), os.isatty(0))'\r" },
  { keys: "exit 7\r", until: "exit\r\n" },
];

/** Takes out what may differ between two runs of the same thing. */
const clean = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: terminals speak in control characters
    .replace(/\x1b\[[0-9;?]*[a-zA-Z]|\r|\x07/g, "")
    .replace(/(\[\d+\]) \d+/g, "$1 PID");

interface Transcript {
  answers: string[];
  status: number;
  problem?: string;
}

async function drive(command: string[]): Promise<Transcript> {
  const dir = join(tmpdir(), `runts-interactive-${process.pid}-${Math.random().toString(36).slice(2)}`);
  mkdirSync(dir);
  writeFileSync(join(dir, "inputrc"), "set enable-bracketed-paste off\nset bell-style none\n");
  let seen = "";
  let changed: () => void = () => undefined;
  const answers: string[] = [];
  const child = Bun.spawn(command, {
    cwd: dir,
    env: { ...cleanEnv, INPUTRC: join(dir, "inputrc"), PS1: prompt, HISTFILE: "/dev/null", TERM: "xterm" },
    terminal: {
      cols: 80,
      rows: 24,
      data(_terminal, chunk) {
        seen += Buffer.from(chunk).toString("latin1");
        changed();
      },
    },
  });
  const terminal = child.terminal!;
  const waitFor = async (text: string, ms: number): Promise<boolean> => {
    const end = performance.now() + ms;
    for (;;) {
      const at = seen.indexOf(text);
      if (at >= 0) {
        answers.push(clean(seen.slice(0, at + text.length)));
        seen = seen.slice(at + text.length);
        return true;
      }
      const left = end - performance.now();
      if (left <= 0) return false;
      await Promise.race([
        new Promise<void>((resolve) => {
          changed = resolve;
        }),
        Bun.sleep(Math.min(left, 200)),
      ]);
    }
  };
  try {
    if (!(await waitFor(prompt, 15_000))) return { answers, status: -1, problem: `no prompt; seen: ${clean(seen)}` };
    for (const [at, step] of steps.entries()) {
      if (step.resize) terminal.resize(...step.resize);
      if (step.keys) terminal.write(step.keys);
      if (!(await waitFor(step.until ?? prompt, 10_000)))
        return {
          answers,
          status: -1,
          problem: `step ${at + 1} (${JSON.stringify(step.keys)}): no answer within 10 s; seen: ${JSON.stringify(clean(seen))}`,
        };
      if (step.pauseMs) await Bun.sleep(step.pauseMs);
    }
    const status = await Promise.race([child.exited, Bun.sleep(5000).then(() => -2)]);
    return { answers, status, ...(status === -2 ? { problem: "no end after exit" } : {}) };
  } finally {
    killGroup(child.pid);
    child.kill("SIGKILL");
    terminal.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

const bash = ["/bin/bash", "--norc", "--noprofile", "-i"];
let host: Promise<Transcript> | undefined;

export function interactiveCases(filters: readonly string[]): Case[] {
  return platforms
    .map((platform): Case => {
      return {
        name: `programs/interactive-bash@${platform}`,
        alone: true,
        async run(): Promise<Outcome> {
          host ??= drive(bash);
          const expected = await host;
          if (expected.problem) return fail(`on the host: ${expected.problem}`);
          const actual = await drive(inSandbox(platform, bash));
          const problems: string[] = [];
          if (actual.problem) problems.push(actual.problem);
          if (actual.status !== expected.status)
            problems.push(`status ${actual.status}, on the host ${expected.status}`);
          const a = expected.answers.slice(0, actual.problem ? actual.answers.length : undefined).join("\n");
          const b = actual.answers.join("\n");
          if (a !== b) problems.push(unifiedDiff(a, b));
          return problems.length ? fail(problems.join("\n")) : pass;
        },
      };
    })
    .filter((one) => matches(one.name, filters));
}

if (import.meta.main) {
  const transcript = await drive(process.argv.length > 2 ? process.argv.slice(2) : bash);
  console.log(transcript.answers.join("|\n"));
  console.log(transcript.status, transcript.problem ?? "");
}
