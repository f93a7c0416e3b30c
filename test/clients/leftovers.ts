/**
 * What a test left behind in its arena: processes, mounts, cgroups, and entries of the directories in which client and
 * runtime keep their state. A picture before, the differences after.
 *
 * Tearing down goes on for a moment after a client has answered, so the second look is repeated until nothing is left
 * or the patience ends. It only ever ends early when everything is gone.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type Arena, cgroupsBelow, describe } from "./arena.ts";

export interface Snapshot {
  arena: Arena;
  /** Directories inside the arena, whose entries count. */
  state: readonly string[];
  /** What the client itself makes and takes away when it likes. */
  own: RegExp | undefined;
  seen: Set<string>;
}

const patienceMs = 5000;

function look(arena: Arena, state: readonly string[]): string[] {
  const found = arena.processes().map((pid) => `process ${pid}`);
  found.push(...arena.mounts().map((mount) => `mount ${mount}`));
  // The parent itself is the client's, made with the first container and kept.
  const groups = cgroupsBelow(arena.cgroup).filter((path) => !path.endsWith(`/${arena.cgroup}`));
  found.push(...groups.map((path) => `cgroup ${path}`));
  for (const dir of state) {
    try {
      found.push(...readdirSync(arena.path(dir)).map((name) => `file ${join(dir, name)}`));
    } catch {
      // Not there, so nothing in it.
    }
  }
  return found;
}

export const snapshot = (arena: Arena, state: readonly string[], own?: RegExp): Snapshot => ({
  arena,
  state,
  own,
  seen: new Set(look(arena, state)),
});

/** One line per thing that was not there before and is there now. */
export async function leftBehind(before: Snapshot): Promise<string[]> {
  const end = performance.now() + patienceMs;
  for (;;) {
    const left = look(before.arena, before.state).filter((one) => !before.seen.has(one) && !before.own?.test(one));
    if (left.length === 0 || performance.now() > end)
      return left.map((one) => (one.startsWith("process ") ? describe(Number(one.slice(8))) : one));
    await Bun.sleep(25);
  }
}
