/** The executable under test: where it is, which platforms to try, and the command line that runs a program in it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { currentUser } from "./user.ts";

export const root = join(import.meta.dir, "../..");

/** RUNTS names another executable; RUNTS_DIST another output directory, as build.ts takes it. */
export const runts = process.env["RUNTS"] ?? join(process.env["RUNTS_DIST"] ?? join(root, "dist"), "runts");

export const platforms: string[] = (process.env["RUNTS_PLATFORMS"] ?? "systrap,ptrace").split(",").filter(Boolean);

export const runtsExists = (): boolean => existsSync(runts);

export const isRoot = process.getuid?.() === 0;

/** The executable as the user of the current case finds it. */
export const executable = (): string => currentUser()?.runts ?? runts;

export const inSandbox = (platform: string, command: string[], flags: string[] = []): string[] => [
  executable(),
  "do",
  "--platform",
  platform,
  ...flags,
  "--",
  ...command,
];
