/**
 * A program that could not be started. The sandbox says it in the words that runc's callers match (Docker takes status 127
 * or 126 from the text); here it gets the exit status that a shell would give.
 */
import { RuntimeError } from "./errors.ts";
import { ControlError } from "./sandbox.ts";

const ENOENT = 2;

/** `exec: "nope": executable file not found in $PATH`, status 127 or 126. Errors of another kind come back as they are. */
export function programError(error: unknown): unknown {
  if (!(error instanceof ControlError) || error.errno === 0) return error;
  return new RuntimeError("exec", error.message, { exitCode: error.errno === ENOENT ? 127 : 126 });
}

/** runc's words around a program that cannot be started. */
export function startFailure(error: RuntimeError): RuntimeError {
  return new RuntimeError(error.code, `unable to start container process: ${error.message}`, { exitCode: 1 });
}
