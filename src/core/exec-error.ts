/** A program that could not be started, in the words that runc's callers match (Docker: status 127 or 126 by text). */
import { RuntimeError } from "./errors.ts";
import { ControlError } from "./sandbox.ts";

const ENOENT = 2;
const EACCES = 13;

/** 127 when there is no such program, 126 when it cannot be executed, as a shell has it. */
export function execExitCode(errno: number): number {
  return errno === ENOENT ? 127 : 126;
}

/** `exec: "nope": executable file not found in $PATH`. Errors of another kind come back as they are. */
export function programError(program: string, error: unknown): unknown {
  if (!(error instanceof ControlError) || error.errno === 0) return error;
  const { errno, message } = error;
  const text =
    errno === ENOENT && !program.includes("/")
      ? "executable file not found in $PATH"
      : errno === ENOENT
        ? "no such file or directory"
        : errno === EACCES
          ? "permission denied"
          : message;
  return new RuntimeError("exec", `exec: "${program}": ${text}`, { exitCode: execExitCode(errno), cause: undefined });
}
