/** Sessions and process groups. Source: setsid(2), setpgid(2), credentials(7). */

import { persistent } from "../state/registry.ts";
import type { PidSpace } from "./pid-space.ts";
import type { Process } from "./process.ts";

/** A controlling terminal, as job control sees it; ttys implement it. */
export interface ControllingTty {
  session: Session | null;
  foreground: ProcessGroup | null;
  /** The session leader is gone. */
  hangup(): void;
}

export class Session {
  groups = new Map<number, ProcessGroup>();
  tty: ControllingTty | null = null;
  /** Members that have given the terminal up for themselves (TIOCNOTTY). */
  readonly withoutTty = new Set<Process>();
  /** The foreground group of a terminal that was hung up: told when the leader ends. */
  oldForeground: ProcessGroup | null = null;
  constructor(
    /** Where its number, and those of its groups, are known. */
    readonly pids: PidSpace,
    readonly id: number,
    public leader: Process | null,
  ) {}
}

export class ProcessGroup {
  members = new Set<Process>();
  get pids(): PidSpace {
    return this.session.pids;
  }
  constructor(
    readonly id: number,
    readonly session: Session,
  ) {}
}

persistent("session", Session);
persistent("process-group", ProcessGroup);
