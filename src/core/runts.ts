/** The module that plugins import as "runts": everything that is not only a type. */

export * as v from "valibot";
export * as errno from "../kernel/abi/errno.ts";
export type * from "../platform/platform.ts";
export * as platform from "../platform/platform.ts";
export type { CommandContext, CommandDeclaration, LazyCommand } from "./command.ts";
export { command } from "./command.ts";
export { RuntimeError } from "./errors.ts";
export { flag } from "./flags.ts";
export type * from "./plugin.ts";
export { API_VERSION, definePlugin } from "./plugin.ts";
