/**
 * Which verb is legal in which state, and runc's words where it is not (callers match them, see MESSAGES).
 *
 *   creating → created → running → stopped        paused: from created or running
 */
import { MESSAGES, RuntimeError } from "../errors.ts";
import type { ContainerStatus } from "../plugin.ts";

export type Verb =
  | "start"
  | "exec"
  | "kill"
  | "pause"
  | "resume"
  | "delete"
  | "ps"
  | "events"
  | "update"
  | "checkpoint"
  | "port-forward";

const LEGAL: Readonly<Record<Verb, readonly ContainerStatus[]>> = {
  start: ["created"],
  exec: ["created", "running"],
  kill: ["created", "running", "paused"],
  pause: ["created", "running"],
  resume: ["paused"],
  delete: ["created", "stopped"],
  ps: ["created", "running", "paused"],
  events: ["created", "running", "paused"],
  update: ["created", "running", "paused"],
  checkpoint: ["running", "paused"],
  "port-forward": ["running", "paused"],
};

export function isLegal(verb: Verb, status: ContainerStatus): boolean {
  return LEGAL[verb].includes(status);
}

/** Throws RuntimeError "wrong-state" if `verb` may not be done to a container of that status. */
export function requireState(verb: Verb, id: string, status: ContainerStatus): void {
  if (!isLegal(verb, status)) throw new RuntimeError("wrong-state", refusal(verb, id, status), { action: verb, id });
}

function refusal(verb: Verb, id: string, status: ContainerStatus): string {
  switch (verb) {
    case "start":
      if (status === "running") return MESSAGES.alreadyStarted;
      if (status === "stopped") return MESSAGES.stoppedStart;
      return `cannot start a container in the ${status} state`;
    case "exec":
      if (status === "paused") return "cannot exec in a paused container (use --ignore-paused to override)";
      return `cannot exec in a ${status} container`;
    case "resume":
      return MESSAGES.notPaused;
    case "delete":
      return `cannot delete container ${id} that is not stopped: ${status}`;
    case "events":
      return `container with id ${id} is not running`;
    case "kill":
    case "pause":
    case "ps":
    case "update":
    case "checkpoint":
    case "port-forward":
      return MESSAGES.notRunning;
  }
}
