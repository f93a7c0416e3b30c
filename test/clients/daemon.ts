/** A daemon in an arena: its output goes to a file, and it is there when it answers. */
import { existsSync, openSync, readFileSync } from "node:fs";
import { cleanEnv } from "../harness/process.ts";
import type { Arena } from "./arena.ts";

const START_TIMEOUT_MS = 40_000;

export interface Daemon {
  command: string[];
  env?: Record<string, string>;
  logFile: string;
  answers(): Promise<boolean>;
}

export async function startDaemon(arena: Arena, daemon: Daemon): Promise<Bun.Subprocess> {
  const log = openSync(daemon.logFile, "a");
  const child = Bun.spawn(arena.inside(daemon.command), {
    cwd: "/",
    env: { ...cleanEnv, ...daemon.env },
    stdio: ["ignore", log, log],
    detached: true,
  });
  const end = performance.now() + START_TIMEOUT_MS;
  while (child.exitCode === null && performance.now() < end) {
    if (await daemon.answers()) return child;
    await Bun.sleep(100);
  }
  throw new Error(`${daemon.command[0]} does not answer`);
}

/** The end of a log, for a report. */
export const tail = (file: string, lines = 15): string =>
  existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n").slice(-lines).join("\n") : "";
