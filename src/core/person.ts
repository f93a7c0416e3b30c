/**
 * A person at the terminal of a command that runs a program there: asked for plugins, while the program goes on.
 *
 * What is typed must go either to the program or to the question, key by key. A native thread reads the terminal all the
 * time; it writes to a descriptor whose meaning is changed for a question (TerminalBridge.divert). Where the program has
 * no terminal of its own, but its standard input from elsewhere, the command's controlling terminal is used, which nobody
 * else reads then.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { isatty } from "node:tty";
import type { Socket } from "bun";
import type { HostCalls } from "./host-calls.ts";
import type { Person } from "./plugin.ts";
import type { TerminalBridge } from "./terminal.ts";

/** Characters of an answer. */
const ANSWER_MAX = 256;
/** Written by native threads at any time. */
const done = new Int32Array(1);

const CTRL_C = 3;
const CTRL_D = 4;
const BACKSPACE = 8;
const ESCAPE = 27;
const DELETE = 127;

/** Whoever sits at the terminal, or null when there is none that can be asked. */
export function personAt(host: HostCalls, bridge: TerminalBridge | undefined): Person | null {
  if (bridge !== undefined) return new TerminalPerson(host, (fd) => bridge.divert(fd), 1, true);
  // The program reads it itself.
  if (isatty(0)) return null;
  const terminal = ownTerminal();
  return terminal < 0 ? null : new TerminalPerson(host, listenTo(host, terminal), terminal, false);
}

/** The controlling terminal, if we are in its foreground: -1 when not. */
function ownTerminal(): number {
  try {
    const stat = readFileSync("/proc/self/stat", "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // Its foreground group (field 8), and ours (field 5).
    return fields[5] === fields[2] ? openSync("/dev/tty", "r+") : -1;
  } catch {
    return -1;
  }
}

/** Reads from the first question on; what is typed between two is nobody's. */
function listenTo(host: HostCalls, terminal: number): (fd: number) => () => void {
  let input = -1;
  let nobody = -1;
  return (fd) => {
    if (input < 0) {
      nobody = openSync("/dev/null", "w");
      input = host.dup(fd);
      host.copy(terminal, input, done);
    } else host.dupTo(fd, input);
    return () => host.dupTo(nobody, input);
  };
}

export class TerminalPerson implements Person {
  private last: Promise<unknown> = Promise.resolve();

  /** `raw`: the terminal shows nothing by itself, and gives each key at once. */
  constructor(
    private readonly host: HostCalls,
    private readonly divert: (fd: number) => () => void,
    private readonly output: number,
    private readonly raw: boolean,
  ) {}

  ask(text: string, ms: number): Promise<string | null> {
    const until = performance.now() + ms;
    const answer = this.last.then(() => this.askNow(text, until));
    this.last = answer.catch(() => {});
    return answer;
  }

  private async askNow(text: string, until: number): Promise<string | null> {
    const left = until - performance.now();
    if (left <= 0) return null;
    const pair = new Int32Array(2);
    if (this.host.socketPair(pair) < 0) return null;
    const line = new Line(this.raw, (shown) => this.show(shown));
    const socket = (await Bun.connect({
      fd: pair[0]!,
      socket: {
        data: (_socket: Socket, bytes: Uint8Array) => line.type(bytes),
        close: () => line.end(null),
        error: () => line.end(null),
      },
    } as unknown as Parameters<typeof Bun.connect>[0])) as Socket;
    const restore = this.divert(pair[1]!);
    const timer = setTimeout(() => line.end(null), left);
    try {
      this.show(text);
      return await line.typed;
    } finally {
      clearTimeout(timer);
      restore();
      closeSync(pair[1]!);
      socket.terminate();
    }
  }

  private show(text: string): void {
    try {
      writeSync(this.output, this.raw ? text.replaceAll("\n", "\r\n") : text);
    } catch {
      // It is gone, or does not take more now: the question runs into its limit.
    }
  }
}

/** One line that is being typed. */
export class Line {
  private text = "";
  private inEscape = false;
  private readonly result = Promise.withResolvers<string | null>();
  readonly typed = this.result.promise;

  constructor(
    private readonly raw: boolean,
    private readonly show: (text: string) => void,
  ) {}

  end(text: string | null): void {
    this.result.resolve(text);
  }

  type(bytes: Uint8Array): void {
    for (const byte of bytes) this.key(byte);
  }

  private key(byte: number): void {
    if (this.inEscape) {
      // An arrow, say: from ESC to the letter that ends it.
      if ((byte >= 64 && byte < 91) || (byte >= 97 && byte < 127)) this.inEscape = false;
    } else if (byte === ESCAPE) this.inEscape = true;
    else if (byte === 10 || byte === 13) {
      this.echo("\n");
      this.end(this.text);
    } else if (byte === CTRL_C || (byte === CTRL_D && this.text === "")) {
      this.echo("\n");
      this.end(null);
    } else if (byte === BACKSPACE || byte === DELETE) {
      if (this.text === "") return;
      this.text = this.text.slice(0, -1);
      this.echo("\b \b");
    } else if (byte >= 32 && byte < DELETE && this.text.length < ANSWER_MAX) {
      this.text += String.fromCharCode(byte);
      this.echo(String.fromCharCode(byte));
    }
  }

  private echo(text: string): void {
    if (this.raw) this.show(text);
  }
}
