/**
 * A pod's life, broken off: kill -9 of a command, of the process that stands for a container, or of the sandbox, at a
 * random moment. What is shown: those whom it does not concern go on; everything that is left can be listed and deleted
 * by force, in any order; and then there is no process, mount, cgroup or file of it.
 *
 * Containers join their pod by the annotations of containerd's CRI. RUNTS_CHAOS=full takes the promised number of rounds,
 * and RUNTS_SEED begins the random moments.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Arena, killChildren } from "../clients/arena.ts";
import { Expect } from "../clients/expect.ts";
import { leftBehind, type Snapshot, snapshot } from "../clients/leftovers.ts";
import { type Result, run } from "../harness/process.ts";
import { runts } from "../harness/sandbox.ts";
import { fail, type Outcome, pass } from "../harness/suite.ts";
import { random } from "./random.ts";

const ROUNDS = process.env["RUNTS_CHAOS"] === "full" ? 200 : 30;
const COMMAND_TIMEOUT_MS = 60_000;
/** How long after its start a command is at work. */
const MOMENT_MS = 250;

/** The sandbox container, and two that join. */
type Name = "pod" | "a" | "b";
type Step = [name: Name, verb: string, ...words: string[]];
const NAMES: readonly Name[] = ["pod", "a", "b"];

/** A pod's life, from its beginning to any point; what comes next is broken off. */
const LIFE: readonly Step[] = [
  ["pod", "create"],
  ["pod", "start"],
  ["a", "create"],
  ["a", "start"],
  ["b", "create"],
  ["a", "exec", "-d", "ID", "/bin/sleep", "600"],
  ["b", "start"],
  ["a", "pause"],
  ["a", "resume"],
  ["b", "exec", "ID", "/bin/sleep", "0.1"],
  ["b", "kill", "ID", "KILL"],
  ["b", "delete"],
  ["b", "create"],
  ["a", "update", "--pids-limit", "50", "ID"],
  ["b", "start"],
  ["a", "ps"],
  ["b", "events", "--stats", "ID"],
  ["a", "delete", "--force", "ID"],
  ["a", "create"],
  ["a", "start"],
  ["pod", "kill", "ID", "KILL"],
  ["pod", "delete"],
];

const VICTIMS = ["command", "command", "command", "waiter", "waiter", "sandbox"] as const;

interface Listed {
  id: string;
  status: string;
  pid: number;
}

class Pods {
  readonly expect = new Expect();
  private readonly stateDirectory: string;
  private readonly next = random();

  constructor(private readonly arena: Arena) {
    this.stateDirectory = join(arena.dir, "root");
    mkdirSync(this.stateDirectory);
    for (const name of ["bin", "dev", "proc"]) mkdirSync(join(arena.dir, "rootfs", name), { recursive: true });
    const busybox = ["/bin/busybox", "/usr/bin/busybox"].find((path) => existsSync(path))!;
    copyFileSync(busybox, join(arena.dir, "rootfs/bin/sleep"));
  }

  private choose<T>(from: readonly T[]): T {
    return from[Math.floor(this.next() * from.length)]!;
  }

  private command(words: readonly string[]): string[] {
    return this.arena.inside([runts, "--root", this.stateDirectory, ...words]);
  }
  private run(...words: string[]): Promise<Result> {
    return run(this.command(words), { cwd: "/", timeoutMs: COMMAND_TIMEOUT_MS });
  }
  private async must(...words: string[]): Promise<Result> {
    return this.expect.result(words.join(" "), await this.run(...words));
  }
  async list(): Promise<Map<Name, Listed>> {
    const { stdout } = await this.must("list", "--format", "json");
    const all: Listed[] = stdout === "" ? [] : (JSON.parse(stdout) ?? []);
    return new Map(all.map((each) => [each.id.split("-")[0] as Name, each]));
  }

  /** What follows the global flags. The bundle is written when its pod's pid is known. */
  private words([name, verb, ...words]: Step, round: number, sharedPids: boolean): string[] {
    const id = `${name}-${round}`;
    if (verb === "create") return ["create", ...this.bundle(name, round, sharedPids), id];
    return [verb, ...(words.length === 0 ? [id] : words.map((word) => (word === "ID" ? id : word)))];
  }

  private bundle(name: Name, round: number, sharedPids: boolean): string[] {
    const dir = join(this.arena.dir, name);
    const pidFile = join(this.arena.dir, "pod/pid");
    mkdirSync(dir, { recursive: true });
    const type = name === "pod" ? "sandbox" : "container";
    const paths = new Map<string, string>();
    if (name !== "pod") {
      const pid = existsSync(pidFile) ? readFileSync(pidFile, "utf8") : "1";
      const shared = ["ipc", "uts", ...(sharedPids ? ["pid"] : [])];
      for (const namespace of shared) paths.set(namespace, `/proc/${pid}/ns/${namespace}`);
      paths.set("network", `/proc/${pid}/ns/net`);
    }
    const namespaces = ["pid", "ipc", "uts", "mount", "network"].map((kind) => {
      const path = paths.get(kind);
      return path === undefined ? { type: kind } : { type: kind, path };
    });
    const config = {
      ociVersion: "1.0.2",
      process: { cwd: "/", args: ["/bin/sleep", "600"], user: { uid: 0, gid: 0 } },
      root: { path: join(this.arena.dir, "rootfs"), readonly: true },
      mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
      annotations: {
        "io.kubernetes.cri.container-type": type,
        "io.kubernetes.cri.sandbox-id": `pod-${round}`,
      },
      linux: { namespaces, cgroupsPath: `/${this.arena.cgroup}/${name}-${round}` },
    };
    writeFileSync(join(dir, "config.json"), JSON.stringify(config));
    return ["--bundle", dir, ...(name === "pod" ? ["--pid-file", pidFile] : [])];
  }

  /** Starts a command and kills somebody soon after. */
  private async breakOff(step: Step, words: string[]): Promise<(typeof VICTIMS)[number]> {
    let victim = this.choose(VICTIMS);
    const before = await this.list();
    const pids = victim === "waiter" ? [before.get("a")?.pid, before.get("b")?.pid] : [before.get("pod")?.pid];
    const pid = this.choose(pids.filter((each) => each !== undefined && each !== 0));
    if (victim !== "command" && pid === undefined) victim = "command";
    const child = Bun.spawn(this.command(words), { cwd: "/", stdio: ["ignore", "ignore", "ignore"] });
    await Bun.sleep(this.next() * MOMENT_MS);
    if (victim === "command") killChildren(child.pid);
    else await this.arena.run(["kill", "-9", `${pid}`]);
    // What was not killed comes to an end of its own: nobody waits for ever for one that is gone.
    const ended = await Promise.race([child.exited, Bun.sleep(COMMAND_TIMEOUT_MS).then(() => undefined)]);
    if (ended === undefined) this.expect.problems.push(`${step.join(" ")} does not end when its ${victim} is killed`);
    killChildren(child.pid);
    child.kill("SIGKILL");
    const left = await this.list();
    this.concerned(victim, step, before, left, pid);
    return victim;
  }

  /** Who lived before and has nothing to do with the victim lives on. */
  private concerned(
    victim: (typeof VICTIMS)[number],
    [name]: Step,
    before: Map<Name, Listed>,
    after: Map<Name, Listed>,
    pid: number | undefined,
  ): void {
    for (const each of NAMES) {
      const [was, is] = [before.get(each), after.get(each)];
      if (is !== undefined && !["creating", "created", "running", "paused", "stopped"].includes(is.status))
        this.expect.problems.push(`${each} is ${is.status}`);
      const meant =
        each === name || name === "pod" || (victim === "waiter" && was?.pid === pid) || victim === "sandbox";
      if (was?.status === "running" && !meant && is?.status !== "running")
        this.expect.problems.push(`${each} was running and is ${is?.status}, though it was not concerned`);
    }
  }

  async round(number: number): Promise<void> {
    const sharedPids = this.next() < 0.3;
    const at = Math.floor(this.next() * LIFE.length);
    const problems = this.expect.problems.length;
    const before: Snapshot = snapshot(this.arena, [this.stateDirectory]);
    for (const step of LIFE.slice(0, at)) {
      await this.must(...this.words(step, number, sharedPids));
      if (step[1] === "kill") await this.ended(step[0]);
    }
    const last = LIFE[at]!;
    const victim = await this.breakOff(last, this.words(last, number, sharedPids));
    if (victim === "sandbox")
      await this.expect.eventually("the end of all with their sandbox", async () =>
        [...(await this.list()).values()].every((each) => each.status === "stopped"),
      );
    else await this.answers(number);
    for (const name of [...NAMES].sort(() => this.next() - 0.5))
      await this.must("delete", "--force", `${name}-${number}`);
    const left = [...(await this.list()).keys()];
    if (left.length > 0) this.expect.problems.push(`listed in the end: ${left.join(", ")}`);
    const remains = await leftBehind(before);
    if (remains.length > 0) this.expect.problems.push(`left behind:\n  ${remains.join("\n  ")}`);
    if (this.expect.problems.length > problems)
      this.expect.problems.push(`(round ${number}: a ${victim} killed at ${last.slice(0, 2).join(" ")})`);
  }

  /** Those that run do run. */
  private async answers(round: number): Promise<void> {
    for (const [name, { status }] of await this.list())
      if (status === "running") {
        const got = await this.run("exec", `${name}-${round}`, "/bin/sleep", "0");
        // One whose end is under way may be running in the list, and gone now.
        if (got.status !== 0 && (await this.list()).get(name)?.status === "running")
          this.expect.result(`exec in ${name}, which is running`, got);
      }
  }

  private async ended(name: Name): Promise<void> {
    await this.expect.eventually(`the end of ${name}`, async () => (await this.list()).get(name)?.status === "stopped");
  }
}

export async function podsBrokenOff(): Promise<Outcome> {
  const arena = await Arena.open("chaos-pods");
  try {
    const pods = new Pods(arena);
    for (let number = 0; number < ROUNDS && pods.expect.problems.length < 20; number++) await pods.round(number);
    return pods.expect.problems.length === 0 ? pass : fail(pods.expect.problems.slice(0, 40).join("\n"));
  } finally {
    await arena.close();
  }
}
