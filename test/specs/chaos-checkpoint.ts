/**
 * Checkpoints and restores, broken off: kill -9 of the command, or of the sandbox, at a random moment. What is shown: the
 * container goes on when it was told to, or when there is no new image; at the image's place is a whole image, old or new, or
 * none; what is beside it the next checkpoint clears away; and in the end there is no process, mount, cgroup or file.
 *
 * Contract: row 71. RUNTS_CHAOS=full takes the promised number of rounds, and RUNTS_SEED begins the random moments.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Arena, killChildren } from "../clients/arena.ts";
import { Expect } from "../clients/expect.ts";
import { leftBehind, snapshot } from "../clients/leftovers.ts";
import { busyboxPath } from "../harness/packages.ts";
import { type Result, run } from "../harness/process.ts";
import { platforms, runts } from "../harness/sandbox.ts";
import { fail, type Outcome, pass } from "../harness/suite.ts";
import { random } from "./random.ts";

const ROUNDS = process.env["RUNTS_CHAOS"] === "full" ? 100 : 10;
const COMMAND_TIMEOUT_MS = 60_000;
/** Of what is saved beside a small program: some writing must be going on when it is broken off. */
const BALLAST = "32M";

/** Says how far it is in a file of the host, and holds some memory. */
const PROGRAM = `head -c ${BALLAST} /dev/urandom > /m/ballast; i=0; while :; do i=$((i + 1)); echo $i > /v/count; sleep 0.02; done`;

interface Kind {
  verb: "checkpoint" | "restore";
  victim: "command" | "sandbox";
  leaveRunning: boolean;
  compression: "none" | "zstd";
}

class Saved {
  readonly expect = new Expect();
  private readonly root: string;
  private readonly images: string;
  private readonly volume: string;
  private readonly next = random();
  /** How long a command takes that nobody breaks off. */
  private usualMs = 500;

  constructor(private readonly arena: Arena) {
    const { dir } = arena;
    [this.root, this.images, this.volume] = ["root", "images", "volume"].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ];
    for (const each of [this.root, this.images, this.volume, join(dir, "bundle/rootfs/bin")])
      mkdirSync(each, { recursive: true });
    copyFileSync(busyboxPath()!, join(dir, "bundle/rootfs/bin/busybox"));
    const config = {
      ociVersion: "1.0.2",
      process: { cwd: "/", args: ["/bin/busybox", "sh", "-c", PROGRAM], user: { uid: 0, gid: 0 } },
      root: { path: "rootfs" },
      mounts: [
        { destination: "/v", type: "bind", source: this.volume, options: ["rbind"] },
        { destination: "/m", type: "tmpfs", source: "m" },
      ],
      linux: { cgroupsPath: `/${arena.cgroup}/c` },
    };
    writeFileSync(join(dir, "bundle/config.json"), JSON.stringify(config));
  }

  private command(words: readonly string[]): string[] {
    return this.arena.inside([runts, "--root", this.root, ...words]);
  }
  private run(...words: string[]): Promise<Result> {
    return run(this.command(words), { cwd: "/", timeoutMs: COMMAND_TIMEOUT_MS });
  }
  private async must(...words: string[]): Promise<Result> {
    return this.expect.result(words.join(" "), await this.run(...words));
  }
  private async find(): Promise<{ status: string; pid: number } | undefined> {
    const { stdout } = await this.must("list", "--format", "json");
    return (stdout === "" ? [] : (JSON.parse(stdout) ?? []))[0];
  }
  private count(): number {
    try {
      return Number(readFileSync(join(this.volume, "count"), "utf8"));
    } catch {
      return 0;
    }
  }
  private async goesOn(what: string): Promise<void> {
    let from = this.count();
    await this.expect.eventually(what, () => {
      // It is empty for a moment whenever it is written.
      if (from === 0) from = this.count();
      return from > 0 && this.count() > from;
    });
  }

  private readonly image = "images/img";
  private flags({ verb, leaveRunning, compression }: Kind): string[] {
    const path = ["--image-path", join(this.arena.dir, this.image)];
    return verb === "checkpoint"
      ? [verb, ...path, "--compression", compression, ...(leaveRunning ? ["--leave-running"] : []), "c"]
      : [verb, ...path, "--allow-changed", "--detach", "c"];
  }
  /** What tells one image from another; null: there is none. */
  private which(): string | null {
    const manifest = join(this.arena.dir, this.image, "manifest.json");
    return existsSync(manifest) ? (JSON.parse(readFileSync(manifest, "utf8")).created as string) : null;
  }
  private leftovers(): string[] {
    return readdirSync(this.images).filter((name) => name !== "img");
  }

  async begin(): Promise<void> {
    const platform = platforms[Math.floor(this.next() * platforms.length)]!;
    await this.must("--platform", platform, "run", "--detach", "--bundle", join(this.arena.dir, "bundle"), "c");
    await this.goesOn("it counts");
  }

  async round(number: number): Promise<void> {
    const choose = <T>(...from: T[]): T => from[Math.floor(this.next() * from.length)]!;
    const found = await this.find();
    const old = this.which();
    const restorable = old !== null && this.next() < 0.3;
    const kind: Kind = {
      verb: restorable ? "restore" : "checkpoint",
      victim: restorable ? "command" : choose("command", "command", "sandbox"),
      leaveRunning: choose(true, false),
      compression: choose("none", "none", "zstd"),
    };
    if (restorable || found?.status !== "running") {
      await this.must("delete", "--force", "c");
      if (!restorable) await this.begin();
    }
    const problems = this.expect.problems.length;
    await this.breakOff(kind, old);
    if (this.expect.problems.length > problems)
      this.expect.problems.push(
        `(round ${number}: ${JSON.stringify(kind)}, ${old === null ? "no" : "an"} image before)`,
      );
  }

  private async breakOff(kind: Kind, old: string | null): Promise<void> {
    const { verb, victim, leaveRunning } = kind;
    const sandbox = kind.verb === "checkpoint" ? (await this.find())?.pid : undefined;
    const began = performance.now();
    // A file: what is restored has it as its standard error, and would keep a pipe open for ever.
    const saying = join(this.arena.dir, "said");
    writeFileSync(saying, "");
    const child = Bun.spawn(this.command(this.flags(kind)), {
      cwd: "/",
      stdio: ["ignore", "ignore", Bun.file(saying)],
    });
    await Bun.sleep(this.next() * this.usualMs);
    if (victim === "sandbox") await this.arena.run(["kill", "-9", `${sandbox}`]);
    else killChildren(child.pid);
    const ended = await Promise.race([child.exited, Bun.sleep(COMMAND_TIMEOUT_MS).then(() => undefined)]);
    if (ended === 0) this.usualMs = (this.usualMs + performance.now() - began) / 2;
    if (ended === undefined) {
      this.expect.problems.push(`${verb} does not end when its ${victim} is killed`);
      killChildren(child.pid);
    }
    const said = readFileSync(saying, "utf8");
    if (victim === "sandbox" && ended !== 0) this.expect.that(`it says nothing (${ended})`, /runts: ./.test(said));

    const now = this.which();
    if (old !== null) this.expect.that("the old image is gone, and there is no new one", now !== null);
    if (now !== null) await this.must("image", "check", join(this.arena.dir, this.image));
    if (ended === 0 && verb === "checkpoint") this.expect.that("it ended well, without a new image", now !== old);
    // A command that is not killed itself takes its own away.
    if (victim === "sandbox") this.expect.equal("beside the image", this.leftovers(), []);

    if (verb === "restore") {
      // Whatever became of it can be deleted, and another one be made.
      const after = await this.find();
      if (after?.status === "running") await this.goesOn("what was restored goes on");
      await this.must("delete", "--force", "c");
      await this.must(...this.flags(kind));
      await this.goesOn("what was restored then goes on");
      return;
    }
    if (victim === "sandbox") {
      await this.expect.eventually("the container's end", async () => (await this.find())?.status === "stopped");
      return;
    }
    // Without a new image it goes on, whatever was told.
    const mayEnd = !leaveRunning && now !== old;
    if (!mayEnd || (await this.find())?.status === "running") {
      this.expect.equal("the container", (await this.find())?.status, "running");
      await this.goesOn("it goes on");
      await this.must("exec", "c", "/bin/busybox", "true");
      // The next one takes away what was left of this one.
      await this.must(...this.flags({ ...kind, leaveRunning: true }));
      this.expect.equal("beside the image then", this.leftovers(), []);
    }
  }

  async rounds(): Promise<void> {
    const before = snapshot(this.arena, [this.root]);
    for (let number = 0; number < ROUNDS && this.expect.problems.length < 20; number++) await this.round(number);
    await this.must("delete", "--force", "c");
    // A create or restore that was killed leaves what the next one takes away when it is not young any more.
    if (readdirSync(this.root).length > 0) {
      await Bun.sleep(5500);
      await this.begin();
      await this.must("delete", "--force", "c");
    }
    const remains = await leftBehind(before);
    if (remains.length > 0) this.expect.problems.push(`left behind:\n  ${remains.join("\n  ")}`);
  }
}

export async function checkpointsBrokenOff(): Promise<Outcome> {
  const arena = await Arena.open("chaos-checkpoint");
  try {
    const saved = new Saved(arena);
    await saved.rounds();
    return saved.expect.problems.length === 0 ? pass : fail(saved.expect.problems.slice(0, 40).join("\n"));
  } finally {
    await arena.close();
  }
}
