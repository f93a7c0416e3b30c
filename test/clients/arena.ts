/**
 * A place of its own for a client of the runtime and all that it starts: pid, mount, network, IPC and UTS namespaces
 * with an empty /run, /dev/shm and /var/tmp, a directory, and one name for its cgroups.
 *
 * The first process in it, the keeper, does nothing but reap orphans. Whatever runs in the arena descends from it, so
 * what a test leaves behind can be told from whatever else runs on the machine (leftovers.ts), and its end is the end
 * of them all. It ends when its standard input does: with the tests, however they end.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { cleanEnv, type Result, type RunOptions, run } from "../harness/process.ts";

const keeperScript = `
mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=1777 tmpfs /dev/shm &&
mount -t tmpfs -o mode=1777 tmpfs /var/tmp || exit 1
busybox ip link set lo up || exit 1
echo ready
cat > /dev/null
`;

/** All cgroup hierarchies of the host, v1 and v2. */
export function hierarchies(): string[] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const found = mounts.filter((line) => / - cgroup2? /.test(line)).map((line) => line.split(" ")[4]!);
  return [...new Set(found)];
}

/** The cgroup of a name and those below it, in every hierarchy, children before parents. */
export function cgroupsBelow(name: string): string[] {
  const found: string[] = [];
  const walk = (dir: string): void => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      try {
        walk(join(dir, entry.name));
      } catch {
        // Removed meanwhile.
      }
    }
    found.push(dir);
  };
  for (const hierarchy of hierarchies()) {
    const top = join(hierarchy, name);
    try {
      if (existsSync(top)) walk(top);
    } catch {
      // Removed meanwhile.
    }
  }
  return found;
}

/** Gives whether there is none left: one with a process in it that is not quite gone cannot be removed yet. */
function removeCgroups(name: string): boolean {
  for (const cgroup of cgroupsBelow(name))
    try {
      rmdirSync(cgroup);
    } catch {
      // Busy, or gone.
    }
  return cgroupsBelow(name).length === 0;
}

function children(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

export class Arena {
  /** Of the host's file system, the same inside. */
  readonly dir: string;
  /** To be the name or the parent of every cgroup that the client makes. */
  readonly cgroup: string;

  private constructor(
    dir: string,
    private readonly child: { kill(signal: "SIGKILL"): void; exited: Promise<number> },
    /** The keeper's pid on the host. */
    readonly keeper: number,
  ) {
    this.dir = dir;
    this.cgroup = basename(dir);
  }

  static async open(name: string): Promise<Arena> {
    const dir = mkdtempSync(join(tmpdir(), `runts-${name}-`));
    const flags = ["--pid", "--mount", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"];
    const child = Bun.spawn(["unshare", ...flags, "/bin/sh", "-c", keeperScript], {
      cwd: "/",
      env: cleanEnv,
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    // When the tests are broken off: what can be done at once.
    const stopNow = (): void => {
      child.kill("SIGKILL");
      for (let tries = 0; tries < 50 && !removeCgroups(basename(dir)); tries++) Bun.sleepSync(20);
      rmSync(dir, { recursive: true, force: true });
    };
    process.on("exit", stopNow);
    child.exited.then(() => process.off("exit", stopNow));
    const first = await child.stdout.getReader().read();
    const keeper = children(child.pid)[0];
    if (!first.value || keeper === undefined) {
      child.kill("SIGKILL");
      rmSync(dir, { recursive: true, force: true });
      throw new Error(`no namespaces for the test: ${(await new Response(child.stderr).text()).trim()}`);
    }
    return new Arena(dir, child, keeper);
  }

  /** The command line that runs a program inside. The working directory is /. */
  inside(command: string[]): string[] {
    return ["nsenter", "--target", `${this.keeper}`, "--all", "--", ...command];
  }

  run(command: string[], options: Partial<RunOptions> = {}): Promise<Result> {
    return run(this.inside(command), { timeoutMs: 60_000, cwd: "/", ...options });
  }

  /** A path inside, as the host can open it. */
  path(inside: string): string {
    return `/proc/${this.keeper}/root${inside}`;
  }

  /** Every process inside but the keeper's own, by their pids on the host. */
  processes(): number[] {
    const found: number[] = [];
    const walk = (pid: number): void => {
      for (const child of children(pid)) {
        found.push(child);
        walk(child);
      }
    };
    walk(this.keeper);
    return found.filter((pid) => comm(pid) !== "cat" || parent(pid) !== this.keeper);
  }

  mounts(): string[] {
    return readFileSync(`/proc/${this.keeper}/mountinfo`, "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => {
        const [id, , , , place] = line.split(" ");
        return `${place} (${line.split(" - ")[1]?.split(" ")[0]}, mount ${id})`;
      });
  }

  /** Ends everything inside and takes the directory and the cgroups away. */
  async close(): Promise<void> {
    try {
      process.kill(this.keeper, "SIGKILL");
    } catch {
      // It is gone already.
    }
    await this.child.exited;
    for (let tries = 0; tries < 50 && !removeCgroups(this.cgroup); tries++) await Bun.sleep(20);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function status(pid: number, field: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8").match(new RegExp(`^${field}:\\s*(.*)$`, "m"))?.[1] ?? "";
  } catch {
    return "";
  }
}

const comm = (pid: number): string => status(pid, "Name");
const parent = (pid: number): number => Number(status(pid, "PPid"));

/** A process for a report: its state matters, since a zombie is one that nobody waited for. */
export function describe(pid: number): string {
  let line = "";
  try {
    line = readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").slice(0, 160);
  } catch {
    // Gone.
  }
  return `process ${pid} ${comm(pid)} (${status(pid, "State")}) ${line}`;
}

/** A command in an arena is the child of what has brought it there. */
export function killChildren(pid: number): void {
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`))
      for (const child of readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean))
        process.kill(Number(child), "SIGKILL");
  } catch {
    // It has ended.
  }
}
