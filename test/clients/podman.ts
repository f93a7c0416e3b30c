/**
 * Podman 4.3, as root, with cgroupfs and no systemd. Its conmon runs create, reaps the pid that the pid file names, and
 * takes that process' status for the container's; Podman itself runs start, kill, pause, update and delete.
 *
 * Podman finds the runtime by path (--runtime) and by name (containers.conf), and reads its errors as JSON only when
 * containers.conf counts the name among `runtime_supports_json`. All three are shown.
 *
 * Contract: 3.1-conmon-create, 3.1-conmon-exec, 3.1-podman, 3.2-pid, 3.2-log, 3.2-console-socket, 3.3-podman, 3.3-name.
 * Gap: `podman top` without options of ps looks for /proc/stat in the container's mount namespace on the host, which is the
 * jail and has none; `podman top NAME -ef` runs ps inside and works.
 * Gap: `podman cp` with a running container is not: Podman enters its mount namespace on the host, which is empty.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnv, type Result } from "../harness/process.ts";
import { runts } from "../harness/sandbox.ts";
import type { Case } from "../harness/suite.ts";
import type { Arena } from "./arena.ts";
import type { Expect } from "./expect.ts";
import { archive, busyboxRootfs, debianRootfs, rootfsPackages } from "./rootfs.ts";
import { asTest, type Client, clientCases, type Test } from "./session.ts";
import { TerminalProgram } from "./terminal.ts";

const image = "localhost/busybox:test";
const debian = "localhost/debian:test";

const config = (readsJson: boolean, dir: string): string => `
[network]
network_backend = "cni"
cni_plugin_dirs = ["/usr/lib/cni"]
network_config_dir = "${dir}/cni"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
${readsJson ? 'runtime_supports_json = ["runts"]' : "runtime_supports_json = []"}
[engine.runtimes]
runts = ["${runts}"]
`;

export class Podman implements Client {
  readonly state: string[];
  /** Its storage mounts its own directory on itself while a command uses it, and takes that away when none does. */
  readonly own: RegExp = /^mount \S+\/root\/overlay \(/;

  constructor(
    readonly arena: Arena,
    private readonly runtime: readonly string[] = [runts],
  ) {
    const { dir } = arena;
    // Not libpod/exits: conmon writes there when a container has ended, be it that podman has just removed it.
    this.state = [
      "/run/runts",
      "/run/podman/storage/overlay-containers",
      join(dir, "root/overlay-containers"),
      join(dir, "root/overlay"),
    ];
  }

  async start(): Promise<void> {
    const { dir } = this.arena;
    // Users of a container walk through it to what is mounted from below.
    chmodSync(dir, 0o755);
    writeFileSync(join(dir, "containers.conf"), config(true, dir));
    writeFileSync(join(dir, "no-json.conf"), config(false, dir));
    await this.import(await busyboxRootfs(join(dir, "busybox")), image);
    // What Podman makes once: locks, its conmons' cgroup.
    const first = await this.run([], image, "true");
    if (first.status !== 0) throw new Error(`podman does not run: ${first.stderr}`);
  }

  async import(rootfs: string, name: string, ...flags: string[]): Promise<void> {
    const file = await archive(rootfs, `${rootfs}.tar`);
    const imported = await this.podman("import", "--quiet", ...flags, file, name);
    if (imported.status !== 0) throw new Error(`podman import: ${imported.stderr}`);
  }

  command(args: readonly string[], [runtime, ...flags] = this.runtime): string[] {
    const places = ["--root", join(this.arena.dir, "root"), "--runroot", "/run/podman/storage"];
    const more = ["--tmpdir", "/run/podman/libpod", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"];
    const ofRuntime = flags.map((flag) => `--runtime-flag=${flag}`);
    return ["podman", ...places, ...more, "--runtime", runtime!, ...ofRuntime, ...args];
  }
  environment(file = "containers.conf"): Record<string, string> {
    return { ...cleanEnv, HOME: this.arena.dir, CONTAINERS_CONF: join(this.arena.dir, file) };
  }
  podman(...args: string[]): Promise<Result> {
    return this.arena.run(this.command(args), { timeoutMs: 40_000, env: this.environment() });
  }
  /** Flags of `run`: no network, and the arena's name above the container's cgroup. */
  runFlags(flags: readonly string[]): string[] {
    const network = flags.includes("--network") ? [] : ["--network", "none"];
    return ["--cgroup-parent", `/${this.arena.cgroup}`, ...network, ...flags];
  }
  /** `podman run --rm`. */
  run(flags: string[], name: string, ...command: string[]): Promise<Result> {
    return this.podman("run", "--rm", ...this.runFlags(flags), name, ...command);
  }
  /** `podman run -d`, with a name. */
  async detached(expect: Expect, name: string, flags: string[], ...command: string[]): Promise<void> {
    const flagsWithName = this.runFlags(["--name", name, ...flags]);
    const got = await this.podman("run", "--detach", ...flagsWithName, image, ...command);
    expect.result(`run --detach ${name}`, got, { stdout: /^[0-9a-f]{64}\n$/ });
  }
  async inspect(name: string, format: string): Promise<string> {
    return (await this.podman("inspect", "--format", format, name)).stdout.trim();
  }
}

/** Runs until it is told to end, and says that it has begun. */
const waiting = "trap 'exit 5' TERM; trap 'echo usr1' USR1; echo started; while :; do sleep 0.1; done";

const tests: Test<Podman>[] = [
  [
    "run",
    async (p, expect) => {
      const both = await p.run([], image, "sh", "-c", "echo out; echo err >&2");
      expect.result("run", both, { stdout: "out\n", stderr: "err\n" });
      expect.result("status 42", await p.run([], image, "sh", "-c", "exit 42"), { status: 42 });
      const killed = await p.run([], image, "sh", "-c", "sh -c 'kill -9 $$'; exit $?");
      expect.result("a child killed", killed, { status: 137 });
      const large = await p.run([], image, "seq", "1", "50000");
      expect.that("the whole of much output", large.stdout.split("\n").length === 50_001);
      const host = await p.run(["--network", "host"], image, "cat", "/proc/net/dev");
      expect.result("--network host", host, { stdout: /lo:/ });
      expect.result("nothing is listed", await p.podman("ps", "--all", "--quiet"), { stdout: "" });
    },
  ],
  [
    "run-stdin",
    async (p, expect) => {
      const command = p.command([
        "run",
        "--rm",
        "--interactive",
        ...p.runFlags([]),
        image,
        "sh",
        "-c",
        "wc -c; echo end",
      ]);
      const env = p.environment();
      const got = await p.arena.run(command, { stdin: "x".repeat(200_000), env });
      expect.result("wc", got, { stdout: "200000\nend\n" });
    },
  ],
  [
    "cannot-be-run",
    async (p, expect) => {
      const bad: [command: string, status: number, says: RegExp][] = [
        ["/no/such", 127, /exec: "\/no\/such": .*no such file or directory.*command that was not found/],
        ["no-such-name", 127, /executable file not found in \$PATH.*command that was not found/],
        ["/etc/plain", 126, /exec: "\/etc\/plain": permission denied: OCI permission denied/],
        ["/etc", 126, /exec: "\/etc": permission denied: OCI permission denied/],
        ["/etc/garbage", 126, /\/etc\/garbage"?: exec format error/],
      ];
      for (const [command, status, says] of bad)
        expect.result(command, await p.run([], image, command), { status, stdout: "", stderr: says });
      expect.result("nothing is listed", await p.podman("ps", "--all", "--quiet"), { stdout: "" });
    },
  ],
  [
    "runtime-by-name",
    async (p, expect) => {
      const run = ["run", "--rm", ...p.runFlags([]), image];
      const named = (args: string[], file?: string): Promise<Result> =>
        p.arena.run(p.command([...run, ...args], ["runts"]), { env: p.environment(file) });
      expect.result("run", await named(["echo", "by name"]), { stdout: "by name\n" });
      expect.result("no such program", await named(["/no/such"]), { status: 127, stderr: /no such file or directory/ });
      const plain = await named(["/no/such"], "no-json.conf");
      expect.result("without JSON", plain, { status: 127, stderr: /exec: "\/no\/such": no such file or directory/ });
      const denied = await named(["/etc/plain"], "no-json.conf");
      expect.result("without JSON", denied, { status: 126, stderr: /permission denied/ });
    },
  ],
  [
    "run-options",
    async (p, expect) => {
      const data = join(p.arena.dir, "data");
      mkdirSync(data, { recursive: true });
      chmodSync(data, 0o777);
      writeFileSync(join(data, "old"), "from the host\n");
      const show = [
        "hostname; id -u; id -g; pwd; echo $A; cat /ro/old; touch /ro/new; touch /data/new; touch /new",
        "touch /tmp/new && echo temporary; df /tt | tail -1 | tr -s ' ' | cut -d' ' -f2; grep -c guest-name /etc/hosts",
      ];
      const flags = ["-v", `${data}:/ro:ro`, "-v", `${data}:/data`, "-e", "A=b c", "-w", "/home", "-u", "1000:2000"];
      const more = ["--hostname", "guest-name", "--read-only", "--tmpfs", "/tt:size=1m"];
      const got = await p.run([...flags, ...more], image, "sh", "-c", show.join("; "));
      expect.result("run", got, {
        stdout: "guest-name\n1000\n2000\n/home\nb c\nfrom the host\ntemporary\n1024\n1\n",
        stderr: "touch: /ro/new: Read-only file system\ntouch: /new: Read-only file system\n",
      });
      expect.that("a file made in the volume", existsSync(join(data, "new")));
      const cwd = await p.run(["-w", "/etc/passwd"], image, "true");
      expect.result("a working directory that is none", cwd, { status: 126, stderr: /not a directory/ });
    },
  ],
  [
    "run-limits",
    async (p, expect) => {
      const show =
        "grep CapEff /proc/self/status; ulimit -n; cat /proc/sys/net/ipv4/ip_forward; tail /dev/zero; echo $?";
      const flags = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "30", "--cap-drop", "all"];
      const more = ["--ulimit", "nofile=100:200", "--sysctl", "net.ipv4.ip_forward=1"];
      const got = await p.run([...flags, ...more], image, "sh", "-c", show);
      expect.result("run", got, { stdout: "CapEff:\t0000000000000000\n100\n1\n137\n" });
    },
  ],
  [
    "detached",
    async (p, expect) => {
      await p.detached(expect, "detached", ["-e", "A=b"], "sh", "-c", waiting);
      const logs = async (text: string): Promise<boolean> =>
        expect.eventually(`logs ${text}`, async () => (await p.podman("logs", "detached")).stdout === text);
      await logs("started\n");
      const list = await p.podman("ps", "--format", "{{.Names}} {{.Status}}");
      expect.result("ps", list, { stdout: /^detached Up .*\n$/ });
      expect.equal("inspect", await p.inspect("detached", "{{.State.Status}} {{.State.ExitCode}}"), "running 0");
      const pid = await p.inspect("detached", "{{.State.Pid}}");
      expect.result("its pid is a process", await p.arena.run(["kill", "-0", pid]));
      expect.result("top", await p.podman("top", "detached", "pid"), { stdout: /^PID\n1\n/ });
      expect.result("rm of a running one", await p.podman("rm", "detached"), { status: 2, stderr: /without force/ });
      expect.result("kill USR1", await p.podman("kill", "--signal", "USR1", "detached"));
      await logs("started\nusr1\n");
      const stats = await p.podman("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "detached");
      expect.result("stats", stats, { stdout: /^detached [1-9]\d*\n$/ });
      expect.result("stop", await p.podman("stop", "--time", "10", "detached"), { stdout: "detached\n" });
      expect.equal("inspect", await p.inspect("detached", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
      expect.result("rm", await p.podman("rm", "detached"));
    },
  ],
  [
    "exec",
    async (p, expect) => {
      await p.detached(expect, "exec", ["-e", "A=b"], "sleep", "100");
      const got = await p.podman("exec", "exec", "sh", "-c", "echo in $A; echo err >&2; exit 7");
      expect.result("exec", got, { status: 7, stdout: "in b\n", stderr: "err\n" });
      const flags = ["-e", "X=y", "-w", "/etc", "-u", "1000"];
      const user = await p.podman("exec", ...flags, "exec", "sh", "-c", "echo $X; pwd; id -u; id -G");
      expect.result("exec -e -w -u", user, { stdout: "y\n/etc\n1000\n1000 2000\n" });
      expect.result("killed", await p.podman("exec", "exec", "sh", "-c", "kill -9 $$"), { status: 137 });
      const bad: [command: string, status: number, says: RegExp][] = [
        ["/no/such", 127, /exec: "\/no\/such": .*no such file or directory.*command that was not found/],
        ["no-such-name", 127, /executable file not found in \$PATH.*command that was not found/],
        ["/etc/plain", 126, /permission denied: OCI permission denied/],
      ];
      for (const [command, status, says] of bad)
        expect.result(command, await p.podman("exec", "exec", command), { status, stderr: says });
      const stdin = p.command(["exec", "--interactive", "exec", "wc", "-c"]);
      const counted = await p.arena.run(stdin, { env: p.environment(), stdin: "x".repeat(100_000) });
      expect.result("exec --interactive", counted, { stdout: "100000\n" });
      expect.result("exec --detach", await p.podman("exec", "--detach", "exec", "sh", "-c", "echo x > /tmp/done"));
      const done = async (): Promise<boolean> => (await p.podman("exec", "exec", "cat", "/tmp/done")).stdout === "x\n";
      await expect.eventually("what it did", done);
      expect.result("rm --force", await p.podman("rm", "--force", "--time", "0", "exec"));
    },
  ],
  [
    "terminal",
    async (p, expect) => {
      const run = p.command([
        "run",
        "--rm",
        "--interactive",
        "--tty",
        ...p.runFlags(["--name", "terminal"]),
        image,
        "sh",
      ]);
      const terminal = TerminalProgram.start(p.arena.inside(run), p.environment());
      expect.that(`no prompt: ${terminal.seen}`, await terminal.until("# "));
      terminal.type("tty; stty size; test -t 0 && test -t 2 && echo ter''minal\r");
      expect.that(`no terminal: ${terminal.seen}`, await terminal.until("/dev/pts/0\n30 90\nterminal\n"));
      const exec = TerminalProgram.start(
        p.arena.inside(p.command(["exec", "--interactive", "--tty", "terminal", "sh"])),
        p.environment(),
      );
      expect.that(`no prompt of exec: ${exec.seen}`, await exec.until("# "));
      exec.type("tty; exit 9\r");
      expect.that(`no terminal of exec: ${exec.seen}`, await exec.until("/dev/pts/1\n"));
      expect.equal("status of exec", await exec.exit(), 9);
      terminal.type("sleep 100\r");
      await terminal.until("sleep 100\n");
      await Bun.sleep(300);
      terminal.type("\x03");
      await terminal.until("# ");
      terminal.type("echo status $?; exit 7\r");
      expect.that(`Ctrl-C: ${terminal.seen}`, await terminal.until("status 130\n"));
      expect.equal("status", await terminal.exit(), 7);
    },
  ],
  [
    "kill-wait-restart",
    async (p, expect) => {
      await p.detached(expect, "kill", [], "sh", "-c", waiting);
      expect.result("kill", await p.podman("kill", "kill"));
      expect.result("wait", await p.podman("wait", "kill"), { stdout: "137\n" });
      expect.result("start", await p.podman("start", "kill"));
      expect.equal("inspect", await p.inspect("kill", "{{.State.Status}}"), "running");
      expect.result("restart", await p.podman("restart", "--time", "5", "kill"));
      expect.equal("inspect", await p.inspect("kill", "{{.State.Status}}"), "running");
      const pid = await p.inspect("kill", "{{.State.Pid}}");
      expect.result("kill -9 of its pid on the host", await p.arena.run(["kill", "-9", pid]));
      expect.result("wait", await p.podman("wait", "kill"), { stdout: "137\n" });
      expect.result("rm", await p.podman("rm", "kill"));
    },
  ],
  [
    "pause",
    async (p, expect) => {
      await p.detached(expect, "pause", [], "sleep", "100");
      expect.result("pause", await p.podman("pause", "pause"));
      expect.equal("status", await p.inspect("pause", "{{.State.Status}}"), "paused");
      const exec = await p.podman("exec", "pause", "true");
      expect.result("exec in a paused one", exec, { status: 255, stderr: /running containers/ });
      expect.result("unpause", await p.podman("unpause", "pause"));
      expect.equal("status", await p.inspect("pause", "{{.State.Status}}"), "running");
      expect.result("exec", await p.podman("exec", "pause", "echo", "again"), { stdout: "again\n" });
      expect.result("pause", await p.podman("pause", "pause"));
      expect.result("rm --force of a paused one", await p.podman("rm", "--force", "--time", "0", "pause"));
    },
  ],
  [
    "create-cp-start",
    async (p, expect) => {
      const flags = p.runFlags(["--name", "cp"]);
      const created = await p.podman("create", ...flags, image, "sh", "-c", "cat /in > /out");
      expect.result("create", created, { stdout: /^[0-9a-f]{64}\n$/ });
      const file = join(p.arena.dir, "copied");
      writeFileSync(file, "copied\n");
      expect.result("cp in", await p.podman("cp", file, "cp:/in"));
      expect.result("start --attach", await p.podman("start", "--attach", "cp"));
      expect.result("cp out", await p.podman("cp", "cp:/out", `${file}-back`));
      expect.equal("what came back", readFileSync(`${file}-back`, "utf8"), "copied\n");
      expect.result("rm", await p.podman("rm", "cp"));
    },
  ],
  [
    "debian",
    async (p, expect) => {
      await p.import(await debianRootfs(join(p.arena.dir, "debian")), debian);
      const script =
        "import json, os, subprocess; print(json.dumps([os.getpid(), subprocess.getoutput('ls /etc/hosts')]))";
      const got = await p.run([], debian, "bash", "-c", `python3 -c "${script}" | sort; exit 9`);
      expect.result("bash and python3", got, { status: 9, stdout: /^\[\d+, "\/etc\/hosts"\]\n$/ });
      expect.result("rmi", await p.podman("rmi", debian));
    },
  ],
  [
    "ten-at-once",
    async (p, expect) => {
      const numbers = Array.from({ length: 10 }, (_, n) => n);
      const got = await Promise.all(numbers.map((n) => p.run([], image, "sh", "-c", `echo ${n}; exit ${n}`)));
      for (const [n, one] of got.entries()) expect.result(`run ${n}`, one, { status: n, stdout: `${n}\n` });
    },
  ],
];

export const podmanCases = (filters: readonly string[]): Case[] =>
  clientCases(
    {
      name: "podman",
      needs: ["podman", "conmon", ...rootfsPackages],
      make: (arena) => new Podman(arena),
      tests: tests.map(asTest),
    },
    filters,
  );
