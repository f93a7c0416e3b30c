/** The host half: takes a sandbox's questions, puts each to who can answer it, and brings the answer back. */
import { spawn } from "node:child_process";
import type { HostApi, Person } from "../../core/runts.ts";
import { Memory } from "./memory.ts";
import type { Options } from "./options.ts";
import { placeText } from "./place.ts";
import { NOBODY, type Question, type Reply } from "./question.ts";

/** Commands that run at a time. */
const COMMANDS_MAX = 8;
/** What a command may print. */
const OUTPUT_MAX = 4096;

/** Exit codes of the command, where it prints nothing. */
const ALLOW = 0;
const ALLOW_ALWAYS = 10;
const DENY_ALWAYS = 11;

export interface Attended {
  id: string;
  request(method: string, params: unknown): Promise<unknown>;
  person: Person | null;
  log: HostApi["log"];
}

/** Until the sandbox is gone. `begun`: it has answered at least once; `error`: why it does not any more. */
export async function attend(who: Attended, options: Options): Promise<{ begun: boolean; error: unknown }> {
  const desk = new Desk(who, options);
  let begun = false;
  for (let after = 0; ; ) {
    let questions: readonly Question[];
    try {
      ({ questions } = (await who.request("egress.next", { after })) as { questions: readonly Question[] });
    } catch (error) {
      return { begun, error };
    }
    begun = true;
    for (const question of questions) {
      after = Math.max(after, question.id);
      void desk.settle(question);
    }
  }
}

class Desk {
  private readonly memory: Memory | null;
  private running = 0;
  private readonly queue: (() => void)[] = [];

  constructor(
    private readonly who: Attended,
    private readonly options: Options,
  ) {
    this.memory = options.remember === undefined ? null : new Memory(options.remember);
  }

  async settle(question: Question): Promise<void> {
    let reply: Reply = { allow: false, always: false, by: "an error" };
    try {
      reply = await this.reply(question);
    } catch (error) {
      this.warn(question, error);
    }
    // The sandbox may be gone, or the question's time over.
    await this.who.request("egress.answer", { id: question.id, ...reply }).catch(() => {});
  }

  private async reply(question: Question): Promise<Reply> {
    const known = this.memory?.of(question) ?? null;
    if (known !== null) return { allow: known, always: true, by: "remembered" };
    const reply = await this.ask(question);
    if (reply.always && this.memory !== null) {
      const { names, container, program } = question;
      const comment = [...names, container, program, new Date().toISOString()].join(", ");
      try {
        this.memory.add(question, reply.allow, comment);
      } catch (error) {
        this.warn(question, error);
      }
    }
    return reply;
  }

  private ask(question: Question): Promise<Reply> {
    if (this.options.ask !== undefined) return this.inTurn(() => this.askCommand(this.options.ask!, question));
    if (this.who.person !== null) return askPerson(this.who.person, question);
    return Promise.resolve({ allow: false, always: false, by: NOBODY });
  }

  private async inTurn(run: () => Promise<Reply>): Promise<Reply> {
    if (this.running >= COMMANDS_MAX) await new Promise<void>((resolve) => this.queue.push(resolve));
    this.running++;
    try {
      return await run();
    } finally {
      this.running--;
      this.queue.shift()?.();
    }
  }

  private askCommand(path: string, question: Question): Promise<Reply> {
    const { promise, resolve } = Promise.withResolvers<Reply>();
    const deny = (by: string) => resolve({ allow: false, always: false, by });
    // In a group of its own: with it goes what it has started.
    const child = spawn(path, [], { stdio: ["pipe", "pipe", "inherit"], detached: true });
    const timer = setTimeout(() => endGroup(child.pid), question.ms);
    let output = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text: string) => {
      if (output.length < OUTPUT_MAX) output += text;
    });
    child.on("error", (error) => {
      clearTimeout(timer);
      this.warn(question, error);
      deny("the command cannot be run");
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const reply = signal === null ? readReply(code ?? 1, output.trim()) : null;
      if (reply !== null) return resolve({ ...reply, by: "the command" });
      const what = signal === null ? `exit status ${code}, "${output.trim().slice(0, 60)}"` : signal;
      deny(`the command has no answer (${what})`);
    });
    // It need not read.
    child.stdin.on("error", () => {});
    const { id: _id, ms, ...about } = question;
    child.stdin.end(`${JSON.stringify({ ...about, seconds: Math.ceil(ms / 1000) })}\n`);
    return promise;
  }

  private warn(question: Question, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.who.log.warn(`egress: ${placeText(question)}: ${reason}`);
  }
}

function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // It is gone.
  }
}

/** A word, or where nothing is printed the exit code. null: it makes no sense. */
export function readReply(code: number, output: string): Pick<Reply, "allow" | "always"> | null {
  if (output === "") {
    return { allow: code === ALLOW || code === ALLOW_ALWAYS, always: code === ALLOW_ALWAYS || code === DENY_ALWAYS };
  }
  const match = /^(allow|deny)(?:\s+(once|always))?$/i.exec(output);
  if (match === null) return null;
  const allow = match[1]!.toLowerCase() === "allow";
  // Who says yes and fails has not said yes.
  return allow && code !== 0 ? null : { allow, always: match[2]?.toLowerCase() === "always" };
}

async function askPerson(person: Person, question: Question): Promise<Reply> {
  const { program, pid, names, container } = question;
  const named = names.length === 0 ? "" : `, said to be ${names.join(", ")}`;
  const text = `\n${program} (pid ${pid}) of ${container} wants to contact ${placeText(question)}${named}.
Allow it? [y]es, [a]lways, [n]o, ne[v]er: `;
  const line = await person.ask(text, question.ms);
  const by = line === null ? "no answer" : "a person";
  const word = line?.trim().toLowerCase() ?? "";
  return {
    allow: ["y", "yes", "a", "always"].includes(word),
    always: ["a", "always", "v", "never"].includes(word),
    by,
  };
}
