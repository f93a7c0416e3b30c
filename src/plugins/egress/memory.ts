/**
 * The file that remembers: a line for each answer that is for always, `allow tcp 192.0.2.1:443  # registry.example, …`.
 * People may edit it; the last line about a place holds. It is read anew for each question.
 */
import { appendFileSync, closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { type Place, placeText } from "./place.ts";

const LINE = /^(allow|deny) (\S+ \S+)$/;

export class Memory {
  constructor(private readonly path: string) {}

  /** What is remembered of a place; null: nothing. Throws when the file cannot be trusted or read. */
  of(place: Place): boolean | null {
    const wanted = placeText(place);
    let found: boolean | null = null;
    for (const line of this.lines()) {
      const match = LINE.exec(line.replace(/\s*(#.*)?$/, ""));
      if (match !== null && match[2] === wanted) found = match[1] === "allow";
    }
    return found;
  }

  private lines(): string[] {
    let fd: number;
    try {
      fd = openSync(this.path, "r");
    } catch (error) {
      if ((error as { code?: unknown }).code === "ENOENT") return [];
      throw error;
    }
    try {
      const { uid, mode } = fstatSync(fd);
      if ((uid !== 0 && uid !== process.geteuid!()) || (mode & 0o022) !== 0)
        throw new Error(`${this.path} belongs to somebody else or can be written by others`);
      return readFileSync(fd, "utf8").split("\n");
    } finally {
      closeSync(fd);
    }
  }

  add(place: Place, allow: boolean, comment: string): void {
    const line = `${allow ? "allow" : "deny"} ${placeText(place)}  # ${comment.replaceAll("\n", " ")}\n`;
    appendFileSync(this.path, line, { mode: 0o600 });
  }
}
