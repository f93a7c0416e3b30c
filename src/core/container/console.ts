/** Which terminals and console sockets go together. */
import { statSync } from "node:fs";
import { MESSAGES, RuntimeError } from "../errors.ts";

/** runc's rules for terminals and console sockets. */
export function checkConsole(
  terminal: boolean,
  options: { detached: boolean; consoleSocket?: string | undefined },
): void {
  if (options.detached && terminal && !options.consoleSocket)
    throw new RuntimeError("usage", MESSAGES.needsConsoleSocket);
  if ((!options.detached || !terminal) && options.consoleSocket)
    throw new RuntimeError("usage", MESSAGES.uselessConsoleSocket);
  if (options.consoleSocket) {
    const stat = statSync(options.consoleSocket, { throwIfNoEntry: false });
    if (!stat?.isSocket())
      throw new RuntimeError(
        "host",
        `console socket ${options.consoleSocket}: ${stat ? "not a socket" : "no such file"}`,
        {
          path: options.consoleSocket,
        },
      );
  }
}
