/**
 * An interactive bash in a terminal that is saved with a job stopped, another in the background and a line half typed, and
 * goes on in another terminal, on the other platform. What it answers must be what it answers on the host in one piece.
 */
import { platforms } from "../harness/sandbox.ts";
import { type Case, fail, matches, type Outcome } from "../harness/suite.ts";
import { bash, compareTranscripts, ctrl, type Step, type Transcript, Typist } from "../programs/typist.ts";
import { Traveller } from "./traveller.ts";

/** Before each move, and after the last. */
const parts: readonly (readonly Step[])[] = [
  [
    { keys: "x=kept; f() { echo \"$x $1\"; }; cd /usr; trap 'echo got usr1' USR1\r" },
    { keys: "sleep 50\r", until: "sleep 50\r\n", pauseMs: 400 },
    { keys: ctrl("Z") },
    { keys: "sleep 60 &\r" },
    { keys: "jobs\r" },
    { keys: "f half a li", until: "f half a li", pauseMs: 200 },
  ],
  [
    { keys: "ne\r" },
    { keys: "jobs; pwd\r" },
    { keys: "\x1b[A\x1b[A\r" },
    { keys: "tty | sed 's/[0-9]*$//'; test -t 0 && test -t 2 && echo terminals; stty size\r" },
    { keys: "kill -USR1 $$\r" },
    { keys: "fg %2\r", until: "fg %2\r\nsleep 60\r\n", pauseMs: 300 },
    { keys: ctrl("Z") },
    { keys: "cat\r", until: "cat\r\n", pauseMs: 300 },
    { keys: "a line\r", until: "a line\r\na line\r\n" },
  ],
  [
    { keys: "another\r", until: "another\r\nanother\r\n" },
    { keys: ctrl("D"), until: "ready> " },
    { keys: "fg %1\r", until: "fg %1\r\nsleep 50\r\n", pauseMs: 300 },
    { keys: ctrl("C") },
    { keys: "echo status $?; jobs\r" },
    { resize: [91, 31] },
    { keys: "stty size\r" },
    { keys: "kill -9 %2; sleep 0.3\r" },
    { keys: "jobs\r" },
    { keys: "exit 7\r", until: "exit\r\n" },
  ],
];

async function atHome(): Promise<Transcript> {
  const typist = new Typist();
  try {
    typist.sitDown(bash);
    const problem = (await typist.begin()) ?? (await typist.type(parts.flat()));
    return problem === undefined ? await typist.end() : typist.brokenOff(problem);
  } finally {
    typist.close();
  }
}

async function moved(platform: string): Promise<Transcript> {
  const typist = new Typist();
  const traveller = new Traveller("interactive", bash, typist.env, true);
  try {
    typist.sitDown(traveller.attached(platform));
    let problem = await typist.begin();
    for (const [i, part] of parts.entries()) {
      if (i > 0) {
        const to = platforms[(platforms.indexOf(platform) + i) % platforms.length]!;
        const next = await traveller.moveAttached(to);
        const status = await typist.getUp();
        if (status !== 0)
          problem ??= `the command ends with ${status} when its container has been saved: ${typist.rest}`;
        if (problem === undefined) {
          typist.sitDown(next);
          // What is typed before is the terminal's to echo.
          await traveller.untilAttached();
        }
      }
      problem ??= await typist.type(part);
      if (problem !== undefined) return typist.brokenOff(`part ${i + 1}: ${problem}`);
    }
    return await typist.end();
  } finally {
    typist.close();
    await traveller.close();
  }
}

let host: Promise<Transcript> | undefined;

export function interactiveMoves(filters: readonly string[]): Case[] {
  return platforms
    .map((platform): Case => {
      return {
        name: `restored-programs/interactive-bash@${platform}`,
        alone: true,
        async run(): Promise<Outcome> {
          host ??= atHome();
          const expected = await host;
          if (expected.problem) return fail(`on the host: ${expected.problem}`);
          return compareTranscripts(expected, await moved(platform));
        },
      };
    })
    .filter((one) => matches(one.name, filters));
}
