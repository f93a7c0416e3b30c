/** Host cgroups for a test: one below its own in each hierarchy where it may make them. Source: cgroups(7). */
import { mkdirSync, openSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";

/** Hierarchies that are not of use here: moving into them asks for more than a directory (cpus and nodes of cpuset). */
const SKIPPED = new Set(["cpuset"]);

/** Directories of our own cgroups, one of each hierarchy that is mounted. */
function ownCgroups(): string[] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => {
      const [left, right] = line.split(" - ") as [string, string];
      const [, , , root, at] = left.split(" ");
      return { root: root!, at: at!, type: right.split(" ")[0]!, options: right.split(" ").at(-1)!.split(",") };
    });
  const found: string[] = [];
  for (const line of readFileSync("/proc/self/cgroup", "utf8").trim().split("\n")) {
    const [, controllers, ...rest] = line.split(":");
    const path = rest.join(":");
    const mount = mounts.find(({ type, options }) =>
      controllers === "" ? type === "cgroup2" : type === "cgroup" && options.includes(controllers!),
    );
    if (mount === undefined || SKIPPED.has(controllers!)) continue;
    if (mount.root !== "/" && !path.startsWith(mount.root)) continue;
    found.push(`${mount.at}/${mount.root === "/" ? path : path.slice(mount.root.length)}`);
  }
  return found;
}

let lastName = 0;
function makeEach(): string[] {
  const name = `runts-unit-${process.pid}-${lastName++}`;
  const made: string[] = [];
  for (const directory of ownCgroups()) {
    try {
      const path = join(directory, name);
      mkdirSync(path);
      made.push(path);
    } catch {}
  }
  return made;
}
/** Whoever has just ended may still be on the way out. */
function remove(directories: readonly string[]): void {
  const left = new Set(directories);
  for (const end = performance.now() + 10e3; left.size > 0; Bun.sleepSync(5))
    for (const directory of left) {
      try {
        rmdirSync(directory);
        left.delete(directory);
      } catch (error) {
        if (performance.now() > end) throw error;
      }
    }
}

export function mayMakeCgroups(): boolean {
  const made = makeEach();
  remove(made);
  return made.length > 0;
}

/**
 * Makes them, and removes them at the end, by when nobody may be in them. `open`: descriptors of their cgroup.procs.
 * `members`: those who are in all of them; whoever is in some only is an error.
 */
export function withCgroups(use: (open: () => number[], members: () => number[]) => void): void {
  const directories = makeEach();
  const membersOf = (directory: string): string =>
    readFileSync(`${directory}/cgroup.procs`, "utf8").trim().split("\n").sort().join(" ");
  const members = (): number[] => {
    // Whoever ends leaves one after the other.
    for (const end = performance.now() + 2e3; ; Bun.sleepSync(1)) {
      const each = [...new Set(directories.map(membersOf))];
      if (each.length === 1) return each[0]!.split(" ").filter(Boolean).map(Number);
      if (performance.now() > end) throw new Error(`not in the same of all cgroups: ${each.join("; ")}`);
    }
  };
  try {
    use(() => directories.map((directory) => openSync(`${directory}/cgroup.procs`, "w")), members);
  } catch (error) {
    for (const pid of members()) process.kill(pid, "SIGKILL");
    throw error;
  } finally {
    remove(directories);
  }
}
