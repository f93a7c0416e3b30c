/**
 * Sandboxes whose clocks go on from given values (SandboxOptions.clock): what programs see of them, and that commands
 * outside are not confused by it. With a time namespace, and where the host has none.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { compileGuest } from "./guest.ts";
import { cleanEnv, type Result, run } from "./harness/process.ts";
import { executable, platforms } from "./harness/sandbox.ts";
import { type Case, fail, type Group, matches, type Outcome, pass } from "./harness/suite.ts";
import { handOver } from "./harness/user.ts";

const TIMEOUT_MS = 60_000;
/** Seconds that may pass from the start of a sandbox to any look at its clocks. */
const LATER = 60;

/** A plugin that chooses the clocks, in seconds, as restoring would. */
const plugin = (monotonic: number, boottime: number): string => `
import { definePlugin } from "runts";
export default definePlugin({
  name: "clock",
  description: "chooses the clocks of sandboxes",
  host(host) {
    host.on("sandbox:launching", ({ options }) => {
      options.clock = { monotonicNs: ${monotonic * 1e9}, boottimeNs: ${boottime * 1e9} };
    });
  },
});
`;

class Workshop {
  readonly dir = mkdtempSync(join(tmpdir(), "runts-clock-"));
  readonly id = basename(this.dir);
  constructor(program: string, monotonic: number, boottime: number) {
    const rootfs = join(this.dir, "bundle/rootfs");
    for (const each of ["plugins", ...["proc", "dev", "tmp"].map((name) => join("bundle/rootfs", name))])
      mkdirSync(join(this.dir, each), { recursive: true });
    copyFileSync(program, join(rootfs, "clocks"));
    writeFileSync(join(this.dir, "plugins/clock.plugin.ts"), plugin(monotonic, boottime));
    writeFileSync(join(this.dir, "config.toml"), '[plugins]\ndirectories = ["plugins"]\nenable = ["clock"]\n');
    const config = {
      ociVersion: "1.1.0",
      process: {
        args: ["/clocks", `${monotonic}`, `${boottime}`, `${LATER}`],
        cwd: "/",
        user: { uid: 0, gid: 0 },
        env: ["PATH=/"],
      },
      root: { path: "rootfs" },
      mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    };
    writeFileSync(join(this.dir, "bundle/config.json"), JSON.stringify(config));
    handOver(this.dir);
  }
  /** `around`: a command in which it runs. */
  runts(platform: string, args: string[], around: string[] = []): Promise<Result> {
    const globals = [
      "--config",
      join(this.dir, "config.toml"),
      "--root",
      join(this.dir, "root"),
      "--platform",
      platform,
    ];
    return run([...around, executable(), ...globals, ...args], { cwd: this.dir, env: cleanEnv, timeoutMs: TIMEOUT_MS });
  }
  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

async function within(
  [monotonic, boottime]: readonly [number, number],
  use: (workshop: Workshop) => Promise<Outcome>,
): Promise<Outcome> {
  const program = await compileGuest("clocks", join(import.meta.dir, "clock"));
  const workshop = new Workshop(program, monotonic, boottime);
  try {
    return await use(workshop);
  } finally {
    workshop.remove();
  }
}

const told = ({ status, stdout, stderr, timedOut }: Result): string =>
  `status ${status}${timedOut ? ", timed out" : ""}\nstdout: ${stdout}\nstderr: ${stderr}`;
const agreed = (got: Result): boolean => got.status === 0 && got.stdout === "the clocks agree\n";

/** Later and earlier than the host's. */
const VALUES = { later: [5_000_000.25, 6_000_000.75], earlier: [1.5, 2.5] } as const;

const shows = (platform: string, values: readonly [number, number]): Promise<Outcome> =>
  within(values, async (workshop) => {
    const got = await workshop.runts(platform, ["run", "--bundle", "bundle", workshop.id]);
    return agreed(got) && got.stderr === "" ? pass : fail(told(got));
  });

/** In a user namespace in which no namespace of that kind may be made. */
function runWithout(kind: "time" | "user", workshop: Workshop, platform: string): Promise<Result> {
  const script = `echo 0 > /proc/sys/user/max_${kind}_namespaces && exec "$@"`;
  const args = ["run", "--bundle", "bundle", workshop.id];
  return workshop.runts(platform, args, ["unshare", "-Ur", "sh", "-c", script, "sh"]);
}

/** A host without time namespaces: programs see the same, by another way, and the command says so. */
const without = (platform: string): Promise<Outcome> =>
  within(VALUES.later, async (workshop) => {
    const got = await runWithout("time", workshop, platform);
    const warned = /^runts: warning: the host gives the sandbox no time namespace.*\n$/.test(got.stderr);
    return agreed(got) && warned ? pass : fail(told(got));
  });

/** A host that allows no user namespaces: root makes the time namespace in its own. */
const withoutUsers = (platform: string): Promise<Outcome> =>
  within(VALUES.earlier, async (workshop) => {
    const got = await runWithout("user", workshop, platform);
    return agreed(got) && got.stderr === "" ? pass : fail(told(got));
  });

/** Commands look at the sandbox from the host's time: it lives, is signalled, and is not taken for another process. */
const seenFromOutside = (platform: string): Promise<Outcome> =>
  within(VALUES.later, async (workshop) => {
    const { id } = workshop;
    const say = async (...args: string[]): Promise<string> => {
      const got = await workshop.runts(platform, args);
      if (got.status !== 0) throw new Error(`${args[0]}: ${told(got)}`);
      return got.stdout;
    };
    try {
      await say("create", "--bundle", "bundle", "--pid-file", "pid", id);
      const pid = readFileSync(join(workshop.dir, "pid"), "utf8").trim();
      // As an ordinary user we may not look at it once it is not dumpable; then its clocks must do.
      let namespace = "";
      try {
        namespace = readlinkSync(`/proc/${pid}/ns/time`);
      } catch {}
      if (namespace === readlinkSync("/proc/self/ns/time")) return fail("it is in our time namespace");
      const status = JSON.parse(await say("state", id)).status;
      const executed = await workshop.runts(platform, ["exec", id, "/clocks", ...VALUES.later.map(String), `${LATER}`]);
      if (!agreed(executed)) return fail(`exec: ${told(executed)}`);
      const list = JSON.parse(await say("list", "--format", "json"))[0];
      if (status !== "created" || list.status !== "created") return fail(`state ${status}, list ${list.status}`);
      await say("kill", id, "KILL");
      for (let tries = 0; JSON.parse(await say("state", id)).status !== "stopped"; tries++)
        if (tries > 50) return fail("it does not stop");
      return pass;
    } catch (error) {
      return fail(String(error));
    } finally {
      await workshop.runts(platform, ["delete", "--force", id]);
    }
  });

export function clockGroup(filters: readonly string[]): Group {
  const cases: Case[] = [];
  const add = (name: string, run: (platform: string) => Promise<Outcome>) => {
    for (const platform of platforms) {
      const one = { name: `clock/${name}@${platform}`, run: () => run(platform) };
      if (matches(one.name, filters)) cases.push(one);
    }
  };
  for (const [name, values] of Object.entries(VALUES)) add(name, (platform) => shows(platform, values));
  add("without-namespace", without);
  add("without-user-namespace", withoutUsers);
  add("seen-from-outside", seenFromOutside);
  return { name: "clock", cases };
}
