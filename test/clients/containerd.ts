/**
 * containerd 1.6, driven by ctr: the shim io.containerd.runc.v2 runs the executable in runc's place, once because
 * `ctr run --runc-binary` names it, and once because it is what the daemon's PATH has for `runc`.
 *
 * Contract: 3.1-globals, 3.1-create, 3.1-exec, 3.1-delete-kill, 3.1-ps-list, 3.1-checkpoint, 3.1-restore, 3.2-pid, 3.2-parent-death, 3.2-log, 3.2-places,
 * 3.2-console-socket, 3.3-not-running.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnv, type Result } from "../harness/process.ts";
import { runts } from "../harness/sandbox.ts";
import type { Case } from "../harness/suite.ts";
import type { Arena } from "./arena.ts";
import { startDaemon, tail } from "./daemon.ts";
import type { Expect } from "./expect.ts";
import { imageArchive } from "./image.ts";
import { busyboxRootfs, rootfsPackages } from "./rootfs.ts";
import { asTest, type Client, clientCases, type Test } from "./session.ts";
import { useShell } from "./shell.ts";
import { TerminalProgram } from "./terminal.ts";

const socket = "/run/containerd/containerd.sock";

/** No Kubernetes, no snapshotters that want devices or file systems of their own. */
const config = (root: string): string => `
version = 2
root = "${root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "${socket}"
`;

class Containerd implements Client {
  readonly rootfs: string;
  readonly state: string[];

  constructor(readonly arena: Arena) {
    this.rootfs = join(arena.dir, "rootfs");
    this.state = [
      `/run/containerd/runc/${arena.cgroup}`,
      `/run/containerd/io.containerd.runtime.v2.task/${arena.cgroup}`,
      join(arena.dir, "root/io.containerd.runtime.v2.task", arena.cgroup),
      "/run/containerd/s",
    ];
  }

  async start(): Promise<void> {
    const { dir } = this.arena;
    await busyboxRootfs(this.rootfs);
    mkdirSync(join(dir, "bin"));
    symlinkSync(runts, join(dir, "bin/runc"));
    writeFileSync(join(dir, "config.toml"), config(join(dir, "root")));
    await startDaemon(this.arena, {
      command: ["containerd", "--config", join(dir, "config.toml")],
      env: { PATH: `${join(dir, "bin")}:${cleanEnv["PATH"]}` },
      logFile: join(dir, "log"),
      answers: async () => (await this.ctr("version")).status === 0,
    });
  }

  log(): string {
    return tail(join(this.arena.dir, "log"));
  }

  /** The namespace is the arena's own, since it is also the parent of the containers' cgroups. */
  command(...args: string[]): string[] {
    return ["ctr", "--address", socket, "--namespace", this.arena.cgroup, ...args];
  }
  ctr(...args: string[]): Promise<Result> {
    return this.arena.run(this.command(...args), { timeoutMs: 30_000 });
  }
  /** `ctr run`, told which executable to use, on the directory of busybox. ctr gives no PATH of its own. */
  runArgs(flags: string[], id: string, ...command: string[]): string[] {
    const own = ["--runc-binary", runts, "--env", "PATH=/bin:/usr/bin"];
    return ["run", ...own, ...flags, "--rootfs", this.rootfs, id, ...command];
  }
  run(flags: string[], id: string, ...command: string[]): Promise<Result> {
    return this.ctr(...this.runArgs(flags, id, ...command));
  }
  /** What `ctr task ls` says of one task: its status, or undefined. */
  async status(id: string): Promise<string | undefined> {
    const { stdout } = await this.ctr("task", "ls");
    return stdout.match(new RegExp(`^${id}\\s+\\d+\\s+(\\w+)`, "m"))?.[1];
  }
  exec(id: string, ...command: string[]): Promise<Result> {
    return this.ctr("task", "exec", "--exec-id", `e${Math.random().toString(36).slice(2)}`, id, ...command);
  }
  /** How far a container is that runs COUNTING. */
  async counted(id: string): Promise<number> {
    return Number((await this.exec(id, "cat", "/dev/shm/count")).stdout);
  }
  /** Ends a detached container and takes it away. */
  async remove(expect: Expect, id: string, exitStatus = 137): Promise<void> {
    if ((await this.status(id)) !== "STOPPED")
      expect.result(`kill ${id}`, await this.ctr("task", "kill", "-s", "KILL", id));
    await expect.eventually(`${id} stopped`, async () => (await this.status(id)) === "STOPPED");
    // ctr ends with the task's exit status and says it in a warning.
    const deleted = await this.ctr("task", "delete", id);
    expect.equal(`exit status that task delete ${id} sees`, exitOf(deleted), exitStatus);
    expect.result(`container rm ${id}`, await this.ctr("container", "rm", id));
  }
}

/** Counts in memory and says how far it is; ends on TERM with 9. */
const COUNTING =
  "trap 'exit 9' TERM; mkdir -p /dev/shm; i=0; while :; do i=$((i + 1)); echo $i > /dev/shm/count; sleep 0.05; done";

/** How many it has asleep, as soon as there is one: between two there is none. */
const SLEEPS = "until pidof sleep > /dev/shm/sleeps; do :; done; wc -w < /dev/shm/sleeps";

const exitOf = (deleted: Result): number =>
  Number(deleted.stderr.match(/exit with non-zero exit code (\d+)/)?.[1] ?? deleted.status);

const tests: Test<Containerd>[] = [
  [
    "run-attached",
    async (c, expect) => {
      const hello = await c.run(["--rm"], "hello", "sh", "-c", "echo out; echo err >&2");
      expect.result("echo", hello, { stdout: "out\n", stderr: "err\n" });
      expect.result("exit 42", await c.run(["--rm"], "exit", "sh", "-c", "exit 42"), { status: 42 });
      const term = await c.run(["--rm"], "signal", "sh", "-c", "sh -c 'kill -SEGV $$'; exit $?");
      expect.result("a child's signal", term, { status: 139 });
      const large = await c.run(["--rm"], "large", "sh", "-c", "seq 1 100000");
      expect.result("much output", large, {
        stdout: `${Array.from({ length: 100_000 }, (_, i) => i + 1).join("\n")}\n`,
      });
      expect.result("nothing is listed", await c.ctr("container", "ls", "-q"), { stdout: "" });
    },
  ],
  [
    "run-as-runc-of-the-path",
    async (c, expect) => {
      const got = await c.ctr(
        "run",
        "--rm",
        "--rootfs",
        c.rootfs,
        "plain",
        "/bin/sh",
        "-c",
        "dmesg 2>&1 | head -1; uname -s",
      );
      expect.result("run", got, { stdout: /Linux\n$/ });
    },
  ],
  [
    "run-stdin",
    async (c, expect) => {
      const command = c.command(...c.runArgs(["--rm"], "stdin", "sh", "-c", "wc -c; echo end"));
      const got = await c.arena.run(command, { timeoutMs: 30_000, stdin: "x".repeat(300_000) });
      expect.result("wc", got, { stdout: "300000\nend\n" });
    },
  ],
  [
    "run-options",
    async (c, expect) => {
      const show = "id -u; id -g; pwd; echo $A; cat /mark; touch /no 2>&1; touch /data/new; cat /data/old";
      const data = join(c.arena.dir, "data");
      mkdirSync(data, { recursive: true });
      writeFileSync(join(data, "old"), "from the host\n");
      writeFileSync(join(c.rootfs, "mark"), "mark\n");
      const flags = ["--rm", "--env", "A=b c", "--cwd", "/home", "--read-only"];
      const mount = ["--mount", `type=bind,src=${data},dst=/data,options=rbind:rw`];
      const got = await c.run([...flags, ...mount], "options", "sh", "-c", show);
      expect.result("run", got, {
        stdout: "0\n0\n/home\nb c\nmark\ntouch: /no: Read-only file system\nfrom the host\n",
      });
      expect.equal("a file made in the bind mount", readFileSync(join(data, "new"), "utf8"), "");
      const seccomp = await c.run(["--rm", "--seccomp"], "seccomp", "sh", "-c", "unshare -m true; echo $?");
      expect.result("--seccomp", seccomp, { stdout: /^1\n$/ });
    },
  ],
  [
    "run-limits",
    async (c, expect) => {
      const flags = ["--detach", "--memory-limit", `${64 << 20}`, "--cpus", "0.5"];
      expect.result("run", await c.run(flags, "limits", "sleep", "100"));
      const metrics = await c.ctr("task", "metrics", "limits");
      // The host counts the sandbox as well, for which there is room on top of what the container may have.
      expect.result("metrics", metrics, { stdout: /memory\.limit_in_bytes\s+134217728\b/ });
      const hog = await c.exec("limits", "sh", "-c", "tail /dev/zero; echo $?");
      expect.result("a program that takes more", hog, { stdout: "137\n" });
      expect.equal("the container then", await c.status("limits"), "RUNNING");
      await c.remove(expect, "limits");
    },
  ],
  [
    "run-tty",
    async (c, expect) => {
      const command = c.command(...c.runArgs(["--rm", "--tty"], "tty", "sh"));
      const terminal = TerminalProgram.start(c.arena.inside(command));
      await useShell(expect, terminal);
      terminal.type("exit 7\r");
      expect.equal("exit status", await terminal.exit(), 7);
    },
  ],
  [
    "detached",
    async (c, expect) => {
      expect.result("run", await c.run(["--detach"], "detached", "sleep", "100"), { stdout: "" });
      expect.equal("status", await c.status("detached"), "RUNNING");
      const { stdout } = await c.ctr("task", "ls");
      const pid = stdout.match(/^detached\s+(\d+)/m)?.[1];
      const alive = await c.arena.run(["kill", "-0", pid ?? "none"]);
      expect.result("the task's pid is a process", alive);
      const info = JSON.parse((await c.ctr("container", "info", "detached")).stdout || "{}");
      expect.equal("runtime", info?.Runtime?.Name, "io.containerd.runc.v2");
      const again = await c.run(["--detach"], "detached", "true");
      expect.result("the same id again", again, { status: 1, stderr: /already exists/ });
      const running = await c.ctr("task", "delete", "detached");
      expect.result("delete of a running task", running, { status: 1, stderr: /running|failed precondition/ });
      const held = await c.ctr("container", "rm", "detached");
      expect.result("rm of its container", held, { status: 1, stderr: /cannot delete a non stopped container/ });
      await c.remove(expect, "detached");
      const gone = await c.ctr("task", "kill", "detached");
      expect.result("kill afterwards", gone, { status: 1, stderr: /not found/ });
    },
  ],
  [
    "exec",
    async (c, expect) => {
      expect.result("run", await c.run(["--detach", "--env", "A=b"], "exec", "sleep", "100"));
      const got = await c.exec("exec", "sh", "-c", "echo in $A; echo err >&2; ps | grep -c 'sleep 100$'; exit 7");
      expect.result("exec", got, { status: 7, stdout: "in b\n1\n", stderr: "err\n" });
      const user = await c.ctr(
        "task",
        "exec",
        "--exec-id",
        "u",
        "--user",
        "1000",
        "--cwd",
        "/etc",
        "exec",
        "sh",
        "-c",
        "id -u; pwd",
      );
      expect.result("exec --user --cwd", user, { stdout: "1000\n/etc\n" });
      expect.result("a signal", await c.exec("exec", "sh", "-c", "kill -TERM $$"), { status: 143 });
      const missing = await c.exec("exec", "/no/such");
      expect.result("exec of nothing", missing, { status: 1, stderr: /exec failed.*\/no\/such.*no such file/ });
      const name = await c.exec("exec", "no-such-name");
      expect.result("exec of a name that is not in PATH", name, {
        status: 1,
        stderr: /"no-such-name": executable file not found in \$PATH/,
      });
      const plain = await c.exec("exec", "/etc/plain");
      expect.result("exec of no program", plain, { status: 1, stderr: /\/etc\/plain.*permission denied/ });
      const detached = await c.ctr(
        "task",
        "exec",
        "--detach",
        "--exec-id",
        "d",
        "exec",
        "sh",
        "-c",
        "echo x > /tmp/done; sleep 50",
      );
      expect.result("exec --detach", detached);
      await expect.eventually("what it did", async () => (await c.exec("exec", "cat", "/tmp/done")).stdout === "x\n");
      const killed = await c.ctr("task", "kill", "-s", "KILL", "--exec-id", "d", "exec");
      expect.result("kill of it", killed);
      const many = await Promise.all([1, 2, 3, 4, 5].map((n) => c.exec("exec", "sh", "-c", `echo ${n}; exit ${n}`)));
      expect.equal(
        "five at once",
        many.map((each) => `${each.status}:${each.stdout}`),
        ["1:1\n", "2:2\n", "3:3\n", "4:4\n", "5:5\n"],
      );
      expect.equal("the container meanwhile", await c.status("exec"), "RUNNING");
      await c.remove(expect, "exec");
    },
  ],
  [
    "exec-tty",
    async (c, expect) => {
      expect.result("run", await c.run(["--detach"], "exec-tty", "sleep", "100"));
      const exec = c.command("task", "exec", "--tty", "--exec-id", "t", "exec-tty", "sh");
      const terminal = TerminalProgram.start(c.arena.inside(exec));
      expect.that(`no prompt: ${terminal.seen}`, await terminal.until("# "));
      terminal.type("tty; stty size\r");
      expect.that(`no terminal: ${terminal.seen}`, await terminal.until("/dev/pts/0\n30 90\n"));
      terminal.type("exit 9\r");
      expect.equal("exit status", await terminal.exit(), 9);
      await c.remove(expect, "exec-tty");
    },
  ],
  [
    "kill",
    async (c, expect) => {
      const trap =
        "trap 'exit 5' TERM; trap 'echo usr1 >> /tmp/got' USR1; echo ready > /tmp/got; while :; do sleep 0.1; done";
      expect.result("run", await c.run(["--detach"], "trap", "sh", "-c", trap));
      const said = (text: string) => async () => (await c.exec("trap", "cat", "/tmp/got")).stdout === text;
      await expect.eventually("trap is ready", said("ready\n"));
      expect.result("kill USR1", await c.ctr("task", "kill", "-s", "USR1", "trap"));
      await expect.eventually("USR1 arrives", said("ready\nusr1\n"));
      expect.equal("still", await c.status("trap"), "RUNNING");
      expect.result("kill", await c.ctr("task", "kill", "trap"));
      await expect.eventually("stopped", async () => (await c.status("trap")) === "STOPPED");
      const again = await c.ctr("task", "kill", "trap");
      expect.result("kill of a stopped task", again, { status: 1, stderr: /not found|already finished/ });
      await c.remove(expect, "trap", 5);

      // ctr run passes the signals that it gets on to the task, and ends as the task does.
      const attached = Bun.spawn(c.arena.inside(c.command(...c.runArgs(["--rm"], "proxy", "sh", "-c", trap))), {
        stdio: ["ignore", "ignore", "ignore"],
      });
      await expect.eventually(
        "proxy is ready",
        async () => (await c.exec("proxy", "cat", "/tmp/got")).stdout === "ready\n",
      );
      expect.result("kill of ctr itself", await c.arena.run(["pkill", "-TERM", "-f", "^ctr .* proxy "]));
      expect.equal("exit status", await attached.exited, 5);
    },
  ],
  [
    "pause-resume",
    async (c, expect) => {
      const tick = "while :; do date +%s%N > /tmp/tick; sleep 0.05; done";
      expect.result("run", await c.run(["--detach"], "pause", "sh", "-c", tick));
      await expect.eventually("it runs", async () => (await c.exec("pause", "cat", "/tmp/tick")).stdout !== "");
      expect.result("pause", await c.ctr("task", "pause", "pause"));
      expect.equal("status", await c.status("pause"), "PAUSED");
      expect.result("resume", await c.ctr("task", "resume", "pause"));
      expect.equal("status", await c.status("pause"), "RUNNING");
      const first = (await c.exec("pause", "cat", "/tmp/tick")).stdout;
      await expect.eventually(
        "it runs again",
        async () => (await c.exec("pause", "cat", "/tmp/tick")).stdout !== first,
      );
      expect.result("resume of a running task", await c.ctr("task", "resume", "pause"), {
        status: 1,
        stderr: /cannot resume a running/,
      });
      await c.remove(expect, "pause");
    },
  ],
  [
    "metrics",
    async (c, expect) => {
      expect.result("run", await c.run(["--detach"], "metrics", "sh", "-c", "sleep 100 & sleep 100"));
      const got = await c.ctr("task", "metrics", "--format", "json", "metrics");
      expect.result("metrics", got, { stdout: /"usage"/ });
      const table = await c.ctr("task", "metrics", "metrics");
      const value = (name: string): number => Number(table.stdout.match(new RegExp(`^${name}\\s+(\\d+)`, "m"))?.[1]);
      expect.that(`memory in use: ${table.stdout}`, value("memory.usage_in_bytes") > 100_000);
      expect.that(`processor time: ${table.stdout}`, value("cpuacct.usage") > 1_000_000);
      expect.that(`processes: ${table.stdout}`, value("pids.current") >= 2);
      await c.remove(expect, "metrics");
    },
  ],
  [
    "ps",
    async (c, expect) => {
      expect.result("run", await c.run(["--detach"], "ps", "sh", "-c", "sleep 100 & sleep 101 & wait"));
      const count = async (): Promise<number> => (await c.ctr("task", "ps", "ps")).stdout.trim().split("\n").length - 1;
      await expect.eventually("three processes", async () => (await count()) === 3);
      const { stdout } = await c.ctr("task", "ps", "ps");
      for (const [, pid] of stdout.matchAll(/^(\d+)/gm))
        expect.result(`process ${pid} is there for the host`, await c.arena.run(["kill", "-0", pid!]));
      await c.remove(expect, "ps");
    },
  ],
  [
    "bad-commands",
    async (c, expect) => {
      const bad: [command: string, says: RegExp][] = [
        ["/no/such", /OCI runtime (create|start) failed: .*exec: "\/no\/such": .*no such file or directory/],
        ["no-such-name", /exec: "no-such-name": executable file not found in \$PATH/],
        ["/etc/plain", /exec: "\/etc\/plain": permission denied/],
        ["/etc/garbage", /\/etc\/garbage"?: exec format error/],
        ["/etc", /exec: "\/etc": (is a directory|permission denied)/],
      ];
      for (const [command, says] of bad) {
        const got = await c.run(["--rm"], "bad", command);
        expect.result(command, got, { status: 1, stdout: "", stderr: says });
        expect.that(`more than one line: ${got.stderr}`, got.stderr.trimEnd().split("\n").length === 1);
      }
      const cwd = await c.run(["--rm", "--cwd", "/etc/passwd"], "bad", "true");
      expect.result("a working directory that is none", cwd, { status: 1, stderr: /not a directory/ });
      expect.result("nothing is listed", await c.ctr("container", "ls", "-q"), { stdout: "" });
    },
  ],
  [
    "init-killed-from-outside",
    async (c, expect) => {
      expect.result("run", await c.run(["--detach"], "crash", "sleep", "100"));
      const pid = (await c.ctr("task", "ls")).stdout.match(/^crash\s+(\d+)/m)?.[1] ?? "none";
      expect.result("kill -9 of the task's pid", await c.arena.run(["kill", "-9", pid]));
      await expect.eventually("stopped", async () => (await c.status("crash")) === "STOPPED");
      await c.remove(expect, "crash", 137);
    },
  ],
  [
    "image",
    async (c, expect) => {
      const file = await imageArchive(c.rootfs, "local/busybox:test", {
        Cmd: ["sh", "-c", 'echo "$FROM, $PWD"; exit 3'],
        Env: ["PATH=/bin:/usr/bin", "FROM=from the image"],
        WorkingDir: "/home",
      });
      expect.result("import", await c.ctr("image", "import", "--snapshotter", "native", file), {
        stdout: /local\/busybox/,
      });
      const flags = ["--rm", "--snapshotter", "native", "--runc-binary", runts];
      const got = await c.ctr("run", ...flags, "docker.io/local/busybox:test", "image");
      expect.result("the image's own command, variables and directory", got, {
        stdout: "from the image, /home\n",
        status: 3,
      });
      const write = await c.ctr(
        "run",
        ...flags,
        "docker.io/local/busybox:test",
        "image",
        "sh",
        "-c",
        "echo x > /home/f; cat /home/f",
      );
      expect.result("a file written", write, { stdout: "x\n" });
      expect.result("image rm", await c.ctr("image", "rm", "--sync", "docker.io/local/busybox:test"));
      const snapshots = await c.ctr("snapshots", "--snapshotter", "native", "ls");
      expect.equal("snapshots left", snapshots.stdout.trim().split("\n").slice(1), []);
    },
  ],
  [
    "checkpoint-task",
    async (c, expect) => {
      expect.result("run", await c.run(["--detach"], "saved", "sh", "-c", COUNTING));
      await expect.eventually("it counts", async () => (await c.counted("saved")) > 3);
      // Into containerd's store, as an image of its own; the shim gives a directory that is gone afterwards.
      const stored = await c.ctr("task", "checkpoint", "saved");
      const name = expect
        .result("task checkpoint", stored, { stdout: /^containerd\.io\/checkpoint\/saved:/ })
        .stdout.trim();
      const before = await c.counted("saved");
      await expect.eventually("it goes on", async () => (await c.counted("saved")) > before);
      expect.result("rm of the stored", await c.ctr("image", "rm", "--sync", name));
      // Into a directory that is kept, and the task ends as one that was killed.
      const kept = join(c.arena.dir, "kept");
      const work = join(c.arena.dir, "work");
      const saved = await c.ctr("task", "checkpoint", "--exit", "--image-path", kept, "--work-path", work, "saved");
      expect.result("task checkpoint --exit --image-path", saved);
      await expect.eventually("stopped", async () => (await c.status("saved")) === "STOPPED");
      expect.result("image check", await c.arena.run([runts, "image", "check", kept]), { stdout: /is whole/ });
      const again = await c.ctr("task", "checkpoint", "saved");
      expect.result("checkpoint of a stopped task", again, { status: 1, stderr: /stopped|not running/ });
      // Not as by CRIU, which kills (137): whoever restarts what has failed leaves alone what was saved.
      await c.remove(expect, "saved", 0);
    },
  ],
  [
    "checkpoint-restore",
    async (c, expect) => {
      const file = await imageArchive(c.rootfs, "local/counting:test", {
        Cmd: ["sh", "-c", COUNTING],
        Env: ["PATH=/bin:/usr/bin"],
      });
      const native = ["--snapshotter", "native"];
      expect.result("import", await c.ctr("image", "import", ...native, file));
      const image = "docker.io/local/counting:test";
      const run = await c.ctr("run", "--detach", ...native, "--runc-binary", runts, image, "one");
      expect.result("run", run);
      await expect.eventually("it counts", async () => (await c.counted("one")) > 3);
      await c.exec("one", "sh", "-c", "echo kept > /dev/shm/file");
      // ctr pauses the task for it.
      const options = ["--image", "--rw", "--task"];
      const saved = await c.ctr("container", "checkpoint", ...options, "one", "local/checkpoint:one");
      expect.result("container checkpoint", saved);
      expect.equal("the task afterwards", await c.status("one"), "RUNNING");
      const before = await c.counted("one");
      await expect.eventually("it goes on", async () => (await c.counted("one")) > before);
      await c.remove(expect, "one");

      const restored = Bun.spawn(
        c.arena.inside(c.command("container", "restore", "--rw", "--live", "two", "local/checkpoint:one")),
        { stdio: ["ignore", "ignore", "pipe"] },
      );
      await expect.eventually("restored", async () => (await c.status("two")) === "RUNNING");
      const from = await c.counted("two");
      expect.that(`it goes on from ${before}: ${from}`, from > 3);
      await expect.eventually("it counts on", async () => (await c.counted("two")) > from);
      const inside = await c.exec("two", "sh", "-c", `cat /dev/shm/file /proc/runts/checkpoint; ${SLEEPS}`);
      expect.result("exec into it", inside, { stdout: "kept\nrestored\n1\n" });
      expect.result("pause", await c.ctr("task", "pause", "two"));
      expect.result("resume", await c.ctr("task", "resume", "two"));
      expect.result("metrics", await c.ctr("task", "metrics", "two"), { stdout: /memory\.usage_in_bytes\s+\d{6}/ });
      expect.result("kill", await c.ctr("task", "kill", "-s", "TERM", "two"));
      // ctr has left the task alone since it went on, and takes away with the container what has stopped, not what still ends.
      expect.equal("what ctr ended with", await restored.exited, 0);
      expect.equal("what it said", await new Response(restored.stderr).text(), "");
      await expect.eventually("stopped", async () => (await c.status("two")) === "STOPPED");
      expect.result("container rm two", await c.ctr("container", "rm", "two"));
      for (const name of ["local/checkpoint:one", image])
        expect.result(`image rm ${name}`, await c.ctr("image", "rm", "--sync", name));
    },
  ],
  [
    "twenty-in-a-row",
    async (c, expect) => {
      for (let n = 0; n < 20; n++) {
        const got = await c.run(["--rm"], `row-${n}`, "sh", "-c", `echo ${n}; exit ${n}`);
        expect.result(`run ${n}`, got, { status: n, stdout: `${n}\n` });
      }
    },
  ],
];

export const containerdCases = (filters: readonly string[]): Case[] =>
  clientCases(
    {
      name: "containerd",
      needs: ["containerd", ...rootfsPackages],
      make: (arena) => new Containerd(arena),
      tests: tests.map(asTest),
    },
    filters,
  );
