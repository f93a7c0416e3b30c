/**
 * The tests of one client: they share what is dear to set up (a daemon, an image), run one after the other, and after
 * each nothing may be left. The client gets its arena and starts with its first test, and stops after its last.
 */
import { whyMissing } from "../harness/packages.ts";
import { isRoot } from "../harness/sandbox.ts";
import { type Case, fail, matches, type Outcome, pass, skip } from "../harness/suite.ts";
import { Arena } from "./arena.ts";
import { Expect } from "./expect.ts";
import { leftBehind, snapshot } from "./leftovers.ts";

export interface Client {
  readonly arena: Arena;
  /** Directories whose entries must be the same before and after a test. */
  state: readonly string[];
  /** What the client itself makes and takes away when it likes, as leftovers.ts names it. */
  own?: RegExp;
  /** Appended to a failure: the end of a daemon's log. */
  log?(): string;
  /** Gets it ready for its tests; throws when it cannot be. */
  start(): Promise<void>;
  /** Before its arena goes, with all that is left in it. */
  stop?(): Promise<void>;
}

export interface ClientTest<T extends Client> {
  name: string;
  /** Gives what is wrong, one line or more each. */
  run(client: T): Promise<string[]>;
}

/** A test that says what it expects. One that cannot go on may throw. */
export type Test<T extends Client> = [name: string, run: (client: T, expect: Expect) => Promise<void>];

export const asTest = <T extends Client>([name, run]: Test<T>): ClientTest<T> => ({
  name,
  async run(client) {
    const expect = new Expect();
    try {
      await run(client, expect);
    } catch (error) {
      expect.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    return expect.problems;
  },
});

export interface ClientTests<T extends Client> {
  name: string;
  /** Debian packages. */
  needs: readonly string[];
  make(arena: Arena): T;
  tests: readonly ClientTest<T>[];
}

async function open<T extends Client>({ name, make }: ClientTests<T>): Promise<T> {
  const client = make(await Arena.open(name));
  try {
    await client.start();
    return client;
  } catch (error) {
    const log = client.log?.();
    await close(client);
    throw new Error(`${error instanceof Error ? error.message : error}${log ? `\nits log ends with\n${log}` : ""}`);
  }
}

async function close(client: Client): Promise<void> {
  await client.stop?.();
  await client.arena.close();
}

export function clientCases<T extends Client>(client: ClientTests<T>, filters: readonly string[]): Case[] {
  let opened: Promise<T> | undefined;
  let queue: Promise<unknown> = Promise.resolve();
  const wanted = client.tests
    .map((test) => ({ name: `clients/${client.name}/${test.name}`, test }))
    .filter(({ name }) => matches(name, filters));
  let left = wanted.length;

  const one = async (test: ClientTest<T>): Promise<Outcome> => {
    if (!isRoot) return skip("a daemon of the test's own needs root");
    const missing = whyMissing(client.needs);
    if (missing) return skip(missing);
    opened ??= open(client);
    const ready = await opened;
    const before = snapshot(ready.arena, ready.state, ready.own);
    const problems = await test.run(ready);
    const remains = await leftBehind(before);
    if (remains.length > 0) problems.push(`left behind:\n  ${remains.join("\n  ")}`);
    if (problems.length === 0) return pass;
    const log = ready.log?.();
    return fail(problems.join("\n") + (log ? `\nthe client's log:\n${log}` : ""));
  };

  return wanted.map(({ name, test }) => ({
    name,
    run() {
      const turn = queue.then(async () => {
        try {
          return await one(test);
        } finally {
          if (--left === 0 && opened) await opened.then(close).catch(() => undefined);
        }
      });
      queue = turn.catch(() => undefined);
      return turn;
    },
  }));
}
