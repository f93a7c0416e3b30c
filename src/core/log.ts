/**
 * Messages of the host half. With `--log FILE` they are lines that runc's callers read (containerd takes the last "error"
 * from it, Podman parses it): JSON `{level, msg, time}` or logrus' text. Without, they are for people, on stderr.
 *
 * consola does levels and fan-out; the two reporters are ours, since both formats are contracts. Everything is written
 * synchronously: the last line before an exit is the one that matters.
 */
import { openSync } from "node:fs";
import { type ConsolaInstance, type ConsolaReporter, createConsola, LogLevels } from "consola/core";
import { RuntimeError } from "./errors.ts";
import { writeFd } from "./stdio.ts";

export interface Log {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

export interface LogOptions {
  path: string | undefined;
  format: "text" | "json";
  debug: boolean;
}

type LogrusLevel = "debug" | "info" | "warning" | "error";

function logrusLevel(level: number): LogrusLevel {
  if (level <= LogLevels.error) return "error";
  if (level === LogLevels.warn) return "warning";
  return level >= LogLevels.debug ? "debug" : "info";
}

/** One line as logrus would write it. */
export function formatLine(format: "text" | "json", level: LogrusLevel, message: string, date: Date): string {
  const time = date.toISOString().replace(/\.\d+Z$/, "Z");
  if (format === "json") return `${JSON.stringify({ level, msg: message, time })}\n`;
  return `time="${time}" level=${level} msg=${JSON.stringify(message)}\n`;
}

function fileReporter(fd: number, format: "text" | "json"): ConsolaReporter {
  return {
    log: ({ level, args, date }) => writeFd(fd, formatLine(format, logrusLevel(level), args.join(" "), date)),
  };
}

const personReporter: ConsolaReporter = {
  log({ level, args }) {
    const kind = logrusLevel(level);
    writeFd(2, `runts: ${kind === "error" || kind === "info" ? "" : `${kind}: `}${args.join(" ")}\n`);
  },
};

export function createLog(options: LogOptions): Log {
  const reporters: ConsolaReporter[] = [];
  if (options.path === undefined || options.path === "") reporters.push(personReporter);
  else {
    // crun's spelling of a plain file.
    const path = options.path.replace(/^file:/, "");
    try {
      reporters.push(fileReporter(openSync(path, "a", 0o644), options.format));
    } catch (cause) {
      throw new RuntimeError("host", `cannot open the log file ${path}`, { path, cause });
    }
  }
  let made: ConsolaInstance | undefined;
  // With the first message: most commands have none.
  const consola = (): ConsolaInstance => {
    made ??= createConsola({ level: options.debug ? LogLevels.debug : LogLevels.info, reporters, throttle: 0 });
    return made;
  };
  return {
    debug: (message) => consola().debug(message),
    info: (message) => consola().info(message),
    warn: (message) => consola().warn(message),
    error: (message) => {
      consola().error(message);
      // The command's own error is shown to a person too, as runc's `fatal` does.
      if (options.path !== undefined && options.path !== "") writeFd(2, `runts: ${message}\n`);
    },
  };
}
