/** exit.json in a container's state directory: how it ended, as its sandbox says it, or who ended it in its sandbox' place. */
import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ExitStatus } from "../sandbox.ts";

/** null: the sandbox has not come to it (yet). */
export function readExitStatus(directory: string): ExitStatus | null {
  try {
    const value = JSON.parse(readFileSync(join(directory, "exit.json"), "utf8")) as ExitStatus;
    return typeof value.exitCode === "number" && typeof value.signal === "number" ? value : null;
  } catch {
    return null;
  }
}

/** Whole or not at all; what the sandbox has said itself stays. */
export function leaveExitStatus(directory: string, status: ExitStatus): void {
  const path = join(directory, "exit.json");
  const temporary = `${path}.${process.pid}`;
  try {
    writeFileSync(temporary, JSON.stringify(status), { mode: 0o640 });
    linkSync(temporary, path);
  } catch {
    // There is one, or the container is gone.
  } finally {
    rmSync(temporary, { force: true });
  }
}
