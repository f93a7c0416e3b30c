/** The commands of the core, by name and summary; a command's file is loaded when it is used. */
import type { LazyCommand } from "../command.ts";

export const builtInCommands: readonly LazyCommand[] = [];
