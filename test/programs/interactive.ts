/**
 * An interactive bash in a terminal: prompt, line editing, Ctrl-C, Ctrl-Z, fg, bg, resize, driven through a pty on the
 * host and in the sandbox, and compared answer by answer.
 */
import { inSandbox, platforms } from "../harness/sandbox.ts";
import { type Case, fail, matches, type Outcome } from "../harness/suite.ts";
import { bash, compareTranscripts, ctrl, type Step, type Transcript, Typist } from "./typist.ts";

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

async function drive(command: string[]): Promise<Transcript> {
  const typist = new Typist();
  try {
    typist.sitDown(command);
    const problem = (await typist.begin()) ?? (await typist.type(steps));
    return problem === undefined ? await typist.end() : typist.brokenOff(problem);
  } finally {
    typist.close();
  }
}

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
          return compareTranscripts(expected, actual);
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
