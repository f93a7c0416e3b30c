/**
 * Random moments: a program that checks its own arithmetic, files and messages is saved at a random system call, restored on
 * a random platform, saved again, and so on; in the end it is told to stop, and must find nothing wrong.
 *
 * Some ten moments; with RUNTS_CHAOS=full a thousand. RUNTS_SEED begins the random numbers, so that a failure can be had
 * again, as far as threads do not differ.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { whyMissing } from "./harness/packages.ts";
import { cleanEnv, type Result, run } from "./harness/process.ts";
import { executable, platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass, skip } from "./harness/suite.ts";
import { handOver } from "./harness/user.ts";
import { configure } from "./restored.ts";
import { random } from "./specs/random.ts";

const FULL = process.env["RUNTS_CHAOS"] === "full";
const CHAINS = FULL ? 40 : 2;
const MOVES = FULL ? 25 : 5;
/** Calls to the next moment, at most: few are as likely as many. */
const CALLS_MAX = 6000;
const PART_MS = 120_000;
const program = ["/usr/bin/python3", join(import.meta.dir, "moments/work.py")];

class Chain {
  readonly dir = mkdtempSync(join(tmpdir(), "runts-moments-"));
  /** For whoever looks into a failure. */
  readonly past: string[] = [];
  private readonly next: () => number;
  private moves = 0;

  constructor(seed: number) {
    this.next = random(seed);
    handOver(this.dir);
  }
  private get image(): string {
    return join(this.dir, `image${this.moves}`);
  }
  private runts(words: string[], stdin?: string): Promise<Result> {
    const platform = platforms[Math.floor(this.next() * platforms.length)]!;
    this.past.push(platform);
    return run([executable(), ...words.slice(0, 2), "--platform", platform, ...words.slice(2)], {
      cwd: "/",
      env: cleanEnv,
      timeoutMs: PART_MS,
      ...(stdin === undefined ? {} : { stdin }),
    });
  }

  /** On to the next moment. What went wrong, or null. */
  async move(): Promise<string | null> {
    const calls = Math.floor(CALLS_MAX ** this.next());
    configure(this.dir, [calls]);
    const from = this.moves === 0 ? [] : ["--from", this.image];
    const last = this.image;
    this.moves++;
    const words = ["do", ...from, "--save", this.image, ...(from.length === 0 ? ["--", ...program] : [])];
    const done = await this.runts(["--config", join(this.dir, "save0.toml"), ...words]);
    this.past.push(`${calls} calls`);
    if (from.length > 0) rmSync(last, { recursive: true });
    if (!existsSync(join(this.image, "manifest.json"))) return `it was not saved: ${describe(done)}`;
    return done.stdout === "" ? null : describe(done);
  }
  async end(): Promise<string | null> {
    const done = await this.runts(["--log-format", "text", "do", "--from", this.image], "stop\n");
    return done.status === 0 && done.stdout === "all is well\n" ? null : describe(done);
  }
  close(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const describe = ({ status, timedOut, stdout, stderr }: Result): string =>
  `status ${status}${timedOut ? ", no end within its time" : ""}\n${stdout.slice(-3000)}\n${stderr.slice(-3000)}`;

async function chain(seed: number): Promise<Outcome> {
  const missing = whyMissing(["python3"]);
  if (missing) return skip(missing);
  const one = new Chain(seed);
  try {
    for (let i = 0; i < MOVES; i++) {
      const problem = await one.move();
      if (problem !== null) return fail(`RUNTS_SEED ${seed}, ${one.past.join(", ")}: ${problem}`);
    }
    const problem = await one.end();
    return problem === null ? pass : fail(`RUNTS_SEED ${seed}, ${one.past.join(", ")}: ${problem}`);
  } finally {
    one.close();
  }
}

export function momentsGroup(filters: readonly string[]): Group {
  const first = Number(process.env["RUNTS_SEED"] ?? 1);
  const cases = Array.from({ length: CHAINS }, (_, i): Case => {
    return { name: `moments/${i + 1}`, run: () => chain(first + i) };
  });
  return { name: "moments", cases: cases.filter(({ name }) => matches(name, filters)) };
}
