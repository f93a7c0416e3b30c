/**
 * What the attached commands (`do`, `run`, `exec`) share: their signals are the program's, and they end when it does, or
 * when the sandbox does.
 *
 * The program may ignore or handle what it is sent as often as it wants: `trap '' INT` holds, and an interpreter that
 * takes many INTs gets them. What ends a sandbox is that its kernel does not *take* a signal that asks the program to end
 * (HUP, INT, QUIT, TERM): after 5 s by itself, or when a second one is sent and the first has been waiting for 1 s.
 */
import { constants } from "node:os";
import { describe, RuntimeError } from "./errors.ts";
import type { Log } from "./log.ts";
import type { ExitStatus, SandboxHandle } from "./sandbox.ts";
import { forwardSignals } from "./signals.ts";

const { SIGHUP, SIGINT, SIGQUIT, SIGTERM } = constants.signals;
const ENDING: readonly number[] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/** How long the first signal must have been waiting for the second one to end the sandbox. */
const INSIST_MS = 1000;

export interface Forwarding {
  /** `send` resolves when the sandbox has taken the signal. */
  send: (signal: number) => Promise<unknown>;
  /** The sandbox does not take the signals that ask for the end. Called once. */
  giveUp: () => void;
  log: Log;
}

/** Hands this command's signals on, until the returned function is called. */
export function passSignals({ send, giveUp, log }: Forwarding): () => void {
  /** When signals were sent that have not been taken yet, oldest first. */
  const untaken = new Set<{ since: number }>();
  const timers = new Set<ReturnType<typeof setTimeout>>();
  let stopped = false;
  const end = () => {
    if (!stopped) giveUp();
    stop();
  };
  const insist = () => {
    const [first] = untaken;
    if (first === undefined) return;
    const timer = setTimeout(
      () => {
        if (untaken.has(first)) end();
      },
      Math.max(0, first.since + INSIST_MS - performance.now()),
    );
    timers.add(timer);
  };
  const stopForwarding = forwardSignals((signal) => {
    const ending = ENDING.includes(signal);
    const mark = { since: performance.now() };
    if (ending) {
      insist();
      untaken.add(mark);
    }
    send(signal).then(
      () => untaken.delete(mark),
      (error: unknown) => {
        log.debug(`signal ${signal} was not passed on: ${describe(error)}`);
        if (ending && error instanceof RuntimeError && error.code === "no-answer") end();
        untaken.delete(mark);
      },
    );
  });
  function stop(): void {
    stopped = true;
    stopForwarding();
    for (const timer of timers) clearTimeout(timer);
  }
  return stop;
}

/** Those that were ended, and of which that has been said. */
const silent = new WeakSet<SandboxHandle>();

/** Ends a sandbox that does not take its signals. Who waits for it learns of its end. */
export function endSilentSandbox(sandbox: SandboxHandle, log: Log, kill: () => Promise<void>): void {
  silent.add(sandbox);
  log.warn(`the sandbox process ${sandbox.pid} does not answer: it is killed`);
  kill().catch((error: unknown) => log.warn(describe(error)));
}

/** How the program ended when the sandbox was killed under it, by us or by others; other errors are thrown again. */
export async function afterSandbox(sandbox: SandboxHandle, error: unknown): Promise<ExitStatus> {
  if (error instanceof RuntimeError && error.code === "sandbox") {
    // The connection ends a moment before the process.
    const status = await sandbox.exitStatus?.();
    if (status?.signal === constants.signals.SIGKILL) {
      const explanation = `the sandbox process ${sandbox.pid} was killed`;
      return silent.has(sandbox) ? status : { ...status, explanation };
    }
  }
  throw error;
}
