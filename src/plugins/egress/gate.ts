/**
 * The sandbox half: lets attempts through, refuses them, or keeps them waiting until somebody has answered.
 *
 * Bounds: OPEN_MAX questions, KNOWN_MAX places, WAITING_MAX who want to be told. Many attempts at one place of one
 * container are one question.
 */
import { errno, type KernelApi, type NetworkAttempt, type NetworkVerdict } from "../../core/runts.ts";
import type { Options } from "./options.ts";
import { matches, type PlaceRule, parsePlace, placeText } from "./place.ts";
import { NOBODY, type Question, type Reply } from "./question.ts";

const OPEN_MAX = 64;
const KNOWN_MAX = 4096;
const WAITING_MAX = 16;

interface Open {
  question: Question;
  key: string;
  refusal: number;
  until: number;
  timer: ReturnType<typeof setTimeout>;
  verdict: PromiseWithResolvers<NetworkVerdict>;
}
type Waiting = (answer: { questions: readonly Question[] }) => void;

export class Gate {
  private readonly allow: readonly PlaceRule[];
  private readonly deny: readonly PlaceRule[];
  /** What was answered for always: allowed or not. */
  private readonly known = new Map<string, boolean>();
  private readonly open = new Map<number, Open>();
  private readonly waiting: Waiting[] = [];
  /** Somebody has asked for questions, or will: an empty room is no reason to wait. */
  private attended: boolean;
  private last = 0;

  constructor(
    private readonly kernel: KernelApi,
    private readonly options: Options,
  ) {
    const rules = (texts: readonly string[]) => texts.map(parsePlace).filter((rule) => rule !== null);
    this.allow = rules(options.allow);
    this.deny = rules(options.deny);
    this.attended = options.ask !== undefined || options.remember !== undefined;
  }

  guard(): void {
    const { kernel } = this;
    const { ECONNREFUSED, EACCES } = errno;
    // A connect for datagrams sends nothing: programs use it to learn their own address.
    kernel.onConnect((attempt) => (attempt.protocol === "tcp" ? this.decide(attempt, -ECONNREFUSED) : "continue"));
    kernel.onSend((attempt) => this.decide(attempt, -EACCES));
    // Everything that is open and younger than what the caller has seen.
    kernel.control("egress.next", (params) => this.next((params as { after?: unknown }).after), { idle: true });
    kernel.control("egress.answer", (params) => {
      const { id, allow, always, by } = params as Partial<Reply> & { id?: number };
      const open = this.open.get(Number(id));
      // Somebody else was faster, or its time is over.
      if (open === undefined) return { taken: false };
      this.answer(open, { allow: allow === true, always: always === true, by: String(by) });
      return { taken: true };
    });
  }

  private decide(attempt: NetworkAttempt, refusal: number): NetworkVerdict | Promise<NetworkVerdict> {
    if (attempt.inside) return "continue";
    if (this.deny.some((rule) => matches(rule, attempt))) return this.refused(attempt, refusal, "the configuration");
    if (this.allow.some((rule) => matches(rule, attempt))) return "continue";
    const key = `${attempt.task.container} ${placeText(attempt)}`;
    const known = this.known.get(key);
    if (known !== undefined) return known ? "continue" : this.refused(attempt, refusal, "an earlier answer");
    for (const open of this.open.values()) if (open.key === key) return open.verdict.promise;
    if (!this.attended) return this.refused(attempt, refusal, NOBODY);
    if (this.open.size >= OPEN_MAX) return this.refused(attempt, refusal, "too many questions");
    return this.ask(attempt, key, refusal);
  }

  private refused(attempt: NetworkAttempt, refusal: number, why: string): NetworkVerdict {
    this.tell(describe(attempt), false, why);
    return refusal;
  }

  private ask(attempt: NetworkAttempt, key: string, refusal: number): Promise<NetworkVerdict> {
    const ms = this.options.seconds * 1000;
    const question: Question = { id: ++this.last, ms, ...describe(attempt) };
    const open: Open = {
      question,
      key,
      refusal,
      until: performance.now() + ms,
      timer: setTimeout(() => this.late(open), ms),
      verdict: Promise.withResolvers(),
    };
    this.open.set(question.id, open);
    this.tellWaiting();
    return open.verdict.promise;
  }

  /** Whoever has been asked may be gone, and the one after would wait in vain. */
  private late(open: Open): void {
    this.answer(open, { allow: false, always: false, by: `no answer in ${this.options.seconds} s` });
    this.attended = false;
    for (const tell of this.waiting.splice(0)) tell({ questions: [] });
  }

  private answer(open: Open, { allow, always, by }: Reply): void {
    clearTimeout(open.timer);
    this.open.delete(open.question.id);
    if (always) {
      this.known.set(open.key, allow);
      for (const key of this.known.keys()) {
        if (this.known.size <= KNOWN_MAX) break;
        this.known.delete(key);
      }
    }
    this.tell(open.question, allow, always ? `${by}, for always` : by);
    open.verdict.resolve(allow ? "continue" : open.refusal);
  }

  private next(after: unknown): Promise<{ questions: readonly Question[] }> | { questions: readonly Question[] } {
    this.attended = true;
    const questions = this.younger(Number(after) || 0);
    if (questions.length > 0) return { questions };
    const { promise, resolve } = Promise.withResolvers<{ questions: readonly Question[] }>();
    this.waiting.push(resolve);
    if (this.waiting.length > WAITING_MAX) this.waiting.shift()!({ questions: [] });
    return promise;
  }

  private younger(than: number): Question[] {
    const now = performance.now();
    return [...this.open.values()]
      .filter(({ question }) => question.id > than)
      .map(({ question, until }) => ({ ...question, ms: Math.max(1, Math.round(until - now)) }));
  }

  /** Who waits has seen all that was open before. */
  private tellWaiting(): void {
    const questions = this.younger(this.last - 1);
    for (const tell of this.waiting.splice(0)) tell({ questions });
  }

  private tell(about: Omit<Question, "id" | "ms">, allow: boolean, why: string): void {
    const { container, program, pid, names } = about;
    const named = names.length > 0 ? ` (${names.join(", ")})` : "";
    const text = `${allow ? "allowed" : "denied"}: ${container}, ${program} (pid ${pid}) to ${placeText(about)}${named}: ${why}`;
    this.kernel.log.warn(text);
  }
}

function describe({ task, family, address, port, protocol, names }: NetworkAttempt): Omit<Question, "id" | "ms"> {
  return {
    container: task.container,
    pid: task.pid,
    uid: task.uid,
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they would mean something to a terminal.
    program: task.comm.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, "?"),
    protocol,
    family,
    address,
    port,
    names,
  };
}
