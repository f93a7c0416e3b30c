/** Sessions and process groups. Source: setsid(2), setpgid(2), credentials(7). */
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
    readonly id: number,
    public leader: Process | null,
  ) {}
}

export class ProcessGroup {
  members = new Set<Process>();
  constructor(
    readonly id: number,
    readonly session: Session,
  ) {}
}
