/** The pid file, by which a caller learns which process it has to reap. */
import { renameSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { RuntimeError } from "../errors.ts";

/** Decimal digits and nothing else, complete from the first moment on. */
export function writePidFile(path: string, pid: number): void {
  const temporary = join(dirname(path), `.${basename(path)}`);
  try {
    writeFileSync(temporary, String(pid), { mode: 0o644 });
    renameSync(temporary, path);
  } catch (cause) {
    throw new RuntimeError("host", `cannot write the pid file ${path}`, { path, cause });
  }
}
