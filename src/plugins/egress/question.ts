/** What the two halves say to each other. */
import type { Place } from "./place.ts";

/** As the command reads it, too. Program names are the guest's to choose; they have no control characters. */
export interface Question extends Place {
  id: number;
  container: string;
  pid: number;
  uid: number;
  program: string;
  family: 4 | 6;
  names: readonly string[];
  /** How long an answer is waited for, from now on. */
  ms: number;
}

export interface Reply {
  allow: boolean;
  /** For all further attempts, too. */
  always: boolean;
  /** Who says so, for the log: "a person", "the command", "remembered". */
  by: string;
}
export const NOBODY = "nobody can be asked";
