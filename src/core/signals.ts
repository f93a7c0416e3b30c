/** Signal names and numbers of Linux x86-64, as `kill` and the exit statuses of commands use them. */
import { constants } from "node:os";
import { RuntimeError } from "./errors.ts";

/** "TERM", "SIGTERM", "sigterm", "15", "RTMIN+2" → the number. */
export function parseSignal(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number >= 0 && number <= 64) return number;
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const realTime = /^RT(MIN|MAX)([+-]\d+)?$/.exec(name);
  if (realTime) {
    const number = (realTime[1] === "MIN" ? 34 : 64) + Number(realTime[2] ?? 0);
    if (number >= 34 && number <= 64) return number;
  }
  const number = (constants.signals as Record<string, number | undefined>)[`SIG${name}`];
  if (number === undefined) throw new RuntimeError("usage", `unknown signal "${text}"`, { action: "runts kill" });
  return number;
}

/** What a shell makes of the way a process ended. */
export function exitCodeOf(status: { exitCode: number; signal: number }): number {
  return status.signal !== 0 ? 128 + status.signal : status.exitCode;
}

/** Those that an attached command passes on. The ones that tell of the command itself (SIGCHLD, SIGPIPE, SIGTSTP…) stay. */
const FORWARDED = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT"] as const;

/** Hands the signals that this command gets to `send`, until the returned function is called. */
export function forwardSignals(send: (signal: number) => void): () => void {
  const handlers = FORWARDED.map((name) => {
    const handler = () => send(constants.signals[name]);
    process.on(name, handler);
    return [name, handler] as const;
  });
  return () => {
    for (const [name, handler] of handlers) process.off(name, handler);
  };
}
