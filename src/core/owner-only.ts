/**
 * Refuses files that somebody other than their owner could change: configuration and plugins decide what runs with the
 * rights of the caller, often root.
 */
import { lstatSync, readdirSync, realpathSync, type Stats, statSync } from "node:fs";
import { dirname, join } from "node:path";

const STICKY = 0o1000;
/** Entries of a plugin's directory that are looked at; more is refused rather than trusted. */
const ENTRIES_MAX = 20_000;

/** Why the file cannot be trusted, or null. */
export function whyNotTrusted(path: string): string | null {
  const real = realpathSync(path);
  const own = problem(real, statSync(real)) ?? problem(dirname(real), statSync(dirname(real)));
  if (own !== null) return own;
  // Further up a sticky directory will do (/tmp): what is in it cannot be replaced by others.
  for (let at = dirname(dirname(real)); ; at = dirname(at)) {
    const stats = statSync(at);
    if ((stats.mode & STICKY) === 0) {
      const up = problem(at, stats);
      if (up !== null) return up;
    }
    if (at === dirname(at)) return null;
  }
}

/** The same for everything below a directory: what a plugin in it may import. */
export function whyTreeNotTrusted(directory: string): string | null {
  const queue = [realpathSync(directory)];
  let seen = 0;
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    for (const entry of readdirSync(at, { withFileTypes: true })) {
      if (++seen > ENTRIES_MAX) return `${directory} has more than ${ENTRIES_MAX} files`;
      const path = join(at, entry.name);
      if (entry.isSymbolicLink()) continue;
      const found = problem(path, lstatSync(path));
      if (found !== null) return found;
      if (entry.isDirectory()) queue.push(path);
    }
  }
  return null;
}

function problem(path: string, { mode, uid }: Stats): string | null {
  if (uid !== 0 && uid !== process.geteuid!()) return `${path} belongs to another user (uid ${uid})`;
  if ((mode & 0o022) !== 0)
    return `${path} may be written by others than its owner (mode ${(mode & 0o7777).toString(8)})`;
  return null;
}
