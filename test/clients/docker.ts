/**
 * Docker 20.10: a daemon of the test's own, with runts as its default runtime (so `docker build` runs it too), and the
 * command line that people type.
 *
 * Contract: 3.1-checkpoint, 3.1-restore, 3.3-docker-126, 3.3-docker-127.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnv, type Result } from "../harness/process.ts";
import { runts } from "../harness/sandbox.ts";
import type { Case } from "../harness/suite.ts";
import type { Arena } from "./arena.ts";
import { startDaemon, tail } from "./daemon.ts";
import { archive, busyboxRootfs, debianRootfs, rootfsPackages } from "./rootfs.ts";
import { type Client, type ClientTest, clientCases } from "./session.ts";
import { TerminalProgram } from "./terminal.ts";

const DOCKER = "/usr/bin/docker";
const SOCKET = "unix:///run/docker-test.sock";

export class Docker implements Client {
  /** The daemon's directories of containers that run: whatever a test starts must be gone from them. */
  readonly state = [
    "/run/docker-test/runtime-runc/moby",
    "/run/docker-test/containerd/daemon/io.containerd.runtime.v2.task/moby",
  ];
  /** Of the test that runs, and what is wrong so far. */
  problems: string[] = [];

  private daemon: Bun.Subprocess | undefined;
  private readonly logFile: string;

  constructor(
    readonly arena: Arena,
    /** Of the daemon's configuration: no network but "none" and "host", unless told otherwise. */
    private readonly network: Record<string, unknown> = { bridge: "none", iptables: false, ip6tables: false },
  ) {
    this.logFile = join(arena.dir, "dockerd.log");
  }

  async start(): Promise<void> {
    const { dir } = this.arena;
    const config = join(dir, "daemon.json");
    writeFileSync(
      config,
      JSON.stringify({
        runtimes: { runts: { path: runts } },
        "default-runtime": "runts",
        "cgroup-parent": `/${this.arena.cgroup}`,
        ...this.network,
        // For checkpoints.
        experimental: true,
        "data-root": join(dir, "data"),
        "exec-root": "/run/docker-test",
        pidfile: join(dir, "pid"),
        hosts: [SOCKET],
      }),
    );
    this.daemon = await startDaemon(this.arena, {
      command: ["dockerd", "--config-file", config],
      logFile: this.logFile,
      answers: async () => (await this.run(["version"])).status === 0,
    });
    for (const [name, make] of [
      ["busybox", busyboxRootfs],
      ["debian", debianRootfs],
    ] as const) {
      const tar = await archive(await make(join(dir, name)), join(dir, `${name}.tar`));
      const path = "ENV PATH=/bin:/usr/bin";
      const made = await this.run(["import", "-c", 'CMD ["sh"]', "-c", path, tar, name]);
      if (made.status !== 0) throw new Error(`docker import: ${made.stderr}`);
    }
    // The parent of all cgroups is made with the first container and stays.
    const first = await this.run(["run", "--rm", "busybox", "true"]);
    if (first.status !== 0) throw new Error(`docker run: ${first.stderr}`);
  }

  log(): string {
    return tail(this.logFile, 12);
  }
  async stop(): Promise<void> {
    this.daemon?.kill("SIGTERM");
    await Promise.race([this.daemon?.exited, Bun.sleep(8000)]);
  }

  command(args: readonly string[]): string[] {
    return this.arena.inside([DOCKER, "--host", SOCKET, ...args]);
  }
  run(args: readonly string[], stdin?: string, env: Record<string, string> = {}): Promise<Result> {
    const options = { env: { ...cleanEnv, ...env }, ...(stdin === undefined ? {} : { stdin }) };
    return this.arena.run([DOCKER, "--host", SOCKET, ...args], options);
  }

  /** Runs docker; what it prints, with the ends of lines of the last cut off. Another status than this is a problem. */
  async does(args: readonly string[], status = 0, stdin?: string): Promise<string> {
    const result = await this.run(args, stdin);
    if (result.status !== status)
      this.problems.push(
        `docker ${args.join(" ")}: status ${result.status}, expected ${status}\n${result.stdout}${result.stderr}`,
      );
    return `${result.stdout}${status === 0 ? "" : result.stderr}`.trimEnd();
  }
  expect(what: string, got: string, wanted: string | RegExp): void {
    const fits = typeof wanted === "string" ? got === wanted : wanted.test(got);
    if (!fits) this.problems.push(`${what}: got ${JSON.stringify(got)}, expected ${wanted}`);
  }
  /** docker run --rm …, and what it must print. */
  async prints(args: readonly string[], wanted: string | RegExp, status = 0, stdin?: string): Promise<void> {
    this.expect(`docker run ${args.join(" ")}`, await this.does(["run", "--rm", ...args], status, stdin), wanted);
  }
  async inspect(name: string, template: string): Promise<string> {
    return (await this.run(["inspect", "-f", template, name])).stdout.trim();
  }
  async wait(what: string, done: () => Promise<boolean>, ms = 15_000): Promise<void> {
    const end = performance.now() + ms;
    while (!(await done())) {
      if (performance.now() > end) throw new Error(`${what}: not within ${ms} ms`);
      await Bun.sleep(100);
    }
  }
}

type Body = (docker: Docker) => Promise<void>;
export const dockerTest = (name: string, body: Body): ClientTest<Docker> => ({
  name,
  async run(docker) {
    docker.problems = [];
    try {
      await body(docker);
    } catch (error) {
      docker.problems.push(error instanceof Error ? error.message : String(error));
    }
    // A test that broke off must not disturb the next.
    const left = (await docker.run(["ps", "-aq"])).stdout.split("\n").filter(Boolean);
    if (left.length > 0) await docker.run(["rm", "-f", ...left]);
    return docker.problems;
  },
});

/** A container that says what it gets and ends on TERM. */
const SERVER =
  'trap "echo bye; exit 5" TERM; trap "echo usr1" USR1; echo out; echo err >&2; while :; do sleep 0.1; done';

const tests: ClientTest<Docker>[] = [
  dockerTest("run: output, input, exit status, --rm", async (d) => {
    await d.prints(["busybox", "echo", "hello"], "hello");
    await d.prints(["busybox", "uname", "-r"], /-runts$/);
    await d.prints(["busybox", "sh", "-c", "echo out; echo err >&2; exit 42"], /^out\nerr$/, 42);
    await d.prints(["busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"], "Killed", 137);
    await d.prints(["-i", "busybox", "wc", "-c"], "100000", 0, "x".repeat(100_000));
    await d.prints(["debian", "bash", "-c", "python3 -c 'print(6 * 7)' | tee /tmp/x; cat /tmp/x"], "42\n42");
    d.expect("containers that are left", await d.does(["ps", "-aq"]), "");
  }),
  dockerTest("run: programs that cannot be run are 127 and 126", async (d) => {
    await d.prints(["busybox", "nosuchcommand"], /executable file not found in \$PATH/, 127);
    await d.prints(["busybox", "/no/such/file"], /no such file or directory/, 127);
    await d.prints(["busybox", "/etc/plain"], /permission denied/, 126);
    await d.prints(["busybox", "/etc"], /permission denied|is a directory/, 126);
  }),
  dockerTest("run: -e, -u, -w, --hostname, --entrypoint, --add-host", async (d) => {
    await d.prints(["-e", "A=b c", "busybox", "sh", "-c", "echo $A $HOME"], "b c /root");
    await d.prints(["-u", "guest", "busybox", "id"], "uid=1000(guest) gid=1000(guest) groups=1000(guest),2000(extra)");
    await d.prints(
      ["-u", "77:88", "--group-add", "99", "busybox", "sh", "-c", "id; echo $HOME"],
      "uid=77 gid=88 groups=88,99\n/",
    );
    await d.prints(["-w", "/not/there", "busybox", "pwd"], "/not/there");
    await d.prints(
      ["--hostname", "box", "--domainname", "example.test", "busybox", "sh", "-c", "hostname; cat /etc/hostname"],
      "box\nbox",
    );
    await d.prints(["--entrypoint", "/bin/echo", "busybox", "a", "b"], "a b");
    await d.prints(["--add-host", "friend:10.1.2.3", "busybox", "grep", "friend", "/etc/hosts"], "10.1.2.3\tfriend");
  }),
  dockerTest("run: -v, --read-only, --tmpfs, --mount, --shm-size", async (d) => {
    const volume = join(d.arena.dir, "volume");
    mkdirSync(volume, { recursive: true });
    await d.prints(["-v", `${volume}:/v`, "busybox", "sh", "-c", "echo inside > /v/file; ls /v"], "file");
    d.expect("the file on the host", readFileSync(join(volume, "file"), "utf8"), "inside\n");
    await d.prints(
      ["-v", `${volume}:/v:ro`, "busybox", "sh", "-c", "cat /v/file; echo x > /v/other"],
      /^inside\n.*Read-only file system$/,
      1,
    );
    await d.prints(["-v", `${volume}/file:/etc/one:ro`, "busybox", "cat", "/etc/one"], "inside");
    await d.prints(["--read-only", "busybox", "touch", "/x"], /Read-only file system/, 1);
    await d.prints(
      [
        "--read-only",
        "--tmpfs",
        "/tmp:size=1m,mode=1770",
        "busybox",
        "sh",
        "-c",
        "touch /tmp/x && stat -c %a /tmp && df -k /tmp | tail -1",
      ],
      /^1770\ntmpfs +1024 /,
    );
    await d.prints(
      [
        "--mount",
        "type=tmpfs,dst=/m,tmpfs-size=200k",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero of=/m/x bs=1k count=300 2>&1 | head -1",
      ],
      /No space left/,
    );
    await d.prints(["--shm-size", "3m", "busybox", "sh", "-c", "df -k /dev/shm | tail -1"], / 3072 /);
  }),
  dockerTest("run: --cap-drop, --cap-add, --security-opt, --privileged", async (d) => {
    await d.prints(
      ["--cap-drop", "ALL", "busybox", "sh", "-c", "grep CapEff /proc/self/status; chown guest /etc/passwd"],
      /^CapEff:\t0{16}\n.*Operation not permitted$/,
      1,
    );
    await d.prints(
      ["--cap-add", "SYS_ADMIN", "busybox", "sh", "-c", "mount -t tmpfs none /tmp && touch /tmp/x && echo mounted"],
      "mounted",
    );
    await d.prints(["busybox", "sh", "-c", "mount -t tmpfs none /tmp"], /permission denied/i, 1);
    await d.prints(
      ["--security-opt", "no-new-privileges", "busybox", "grep", "NoNewPrivs", "/proc/self/status"],
      "NoNewPrivs:\t1",
    );
    // Docker's own seccomp profile is in force, and can be left out.
    await d.prints(["busybox", "grep", "Seccomp:", "/proc/self/status"], "Seccomp:\t2");
    await d.prints(
      ["--security-opt", "seccomp=unconfined", "busybox", "grep", "Seccomp:", "/proc/self/status"],
      "Seccomp:\t0",
    );
    await d.prints(["--privileged", "busybox", "sh", "-c", "mount -t tmpfs none /tmp && echo mounted"], "mounted");
  }),
  dockerTest("run: --memory, --cpus, --pids-limit, --ulimit", async (d) => {
    await d.prints(
      [
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "busybox",
        "sh",
        "-c",
        "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max",
      ],
      "67108864\n50000 100000\n50",
    );
    await d.prints(
      ["--memory", "64m", "debian", "sh", "-c", "python3 -c 'x = bytearray(300 << 20); print(len(x))'; echo $?"],
      /137$/,
    );
    await d.prints(
      ["--pids-limit", "10", "busybox", "sh", "-c", "for i in $(seq 30); do sleep 2 & done; echo through"],
      /can't fork: Resource temporarily unavailable/,
      2,
    );
    await d.prints(["--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn"], "100\n200");
    await d.prints(["--cpuset-cpus", "0", "busybox", "nproc"], "1");
  }),
  dockerTest("run -d: logs, exec, top, kill, stop, start", async (d) => {
    await d.does(["run", "-d", "--name", "server", "busybox", "sh", "-c", SERVER]);
    await d.wait("its first lines", async () => (await d.run(["logs", "server"])).stdout === "out\n");
    d.expect("exec", await d.does(["exec", "server", "echo", "hi"]), "hi");
    await d.does(["exec", "server", "sh", "-c", "exit 9"], 9);
    d.expect("exec with input", await d.does(["exec", "-i", "server", "cat"], 0, "text\n"), "text");
    d.expect(
      "exec as somebody",
      await d.does(["exec", "-u", "guest", "-w", "/tmp", "-e", "X=1", "server", "sh", "-c", "id -u; pwd; echo $X"]),
      "1000\n/tmp\n1",
    );
    d.expect("exec of nothing", await d.does(["exec", "server", "nosuch"], 126), /executable file not found/);
    await d.does(["exec", "-d", "server", "touch", "/tmp/detached"]);
    await d.wait(
      "the detached exec",
      async () => (await d.run(["exec", "server", "test", "-e", "/tmp/detached"])).status === 0,
    );
    d.expect("top", await d.does(["top", "server"]), /^UID +PID .*\n.* sh -c trap/);
    await d.does(["kill", "-s", "USR1", "server"]);
    await d.wait("the signal", async () => (await d.run(["logs", "server"])).stdout.includes("usr1"));
    await d.does(["stop", "-t", "10", "server"]);
    d.expect("stopped", await d.inspect("server", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    d.expect("logs", (await d.run(["logs", "server"])).stdout, "out\nusr1\nbye\n");
    d.expect("logs of standard error", (await d.run(["logs", "server"])).stderr, "err\n");
    await d.does(["start", "server"]);
    d.expect("started again", await d.inspect("server", "{{.State.Status}}"), "running");
    await d.does(["restart", "-t", "5", "server"]);
    d.expect("restarted", await d.inspect("server", "{{.State.Status}}"), "running");
    await d.does(["kill", "server"]);
    d.expect("wait", await d.does(["wait", "server"]), "137");
    await d.does(["rm", "server"]);
  }),
  dockerTest("pause, unpause, stats, update", async (d) => {
    await d.does([
      "run",
      "-d",
      "--name",
      "worker",
      "busybox",
      "sh",
      "-c",
      "while :; do date +%s%N > /tmp/now; sleep 0.05; done",
    ]);
    await d.does(["pause", "worker"]);
    d.expect("status", await d.inspect("worker", "{{.State.Status}}"), "paused");
    const frozen = await d.does(["cp", "worker:/tmp/now", "-"]);
    await Bun.sleep(300);
    d.expect("a frozen container's clock", await d.does(["cp", "worker:/tmp/now", "-"]), frozen);
    d.expect("exec while paused", await d.does(["exec", "worker", "true"], 1), /is paused/);
    await d.does(["unpause", "worker"]);
    d.expect("status", await d.inspect("worker", "{{.State.Status}}"), "running");
    d.expect(
      "stats",
      await d.does(["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "worker"]),
      /^worker [1-9][\d.]*[KM]iB \/ .* [1-9]\d*$/,
    );
    await d.does(["update", "--memory", "100m", "--memory-swap", "200m", "--pids-limit", "77", "worker"]);
    d.expect(
      "updated",
      await d.does(["exec", "worker", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max"]),
      "104857600\n77",
    );
    await d.does(["rm", "-f", "worker"]);
  }),
  dockerTest("cp, diff, commit, export", async (d) => {
    const file = join(d.arena.dir, "copied");
    writeFileSync(file, "from the host\n");
    await d.does(["run", "-d", "--name", "files", "busybox", "sleep", "1000"]);
    await d.does(["cp", file, "files:/tmp/in"]);
    d.expect("copied in", await d.does(["exec", "files", "cat", "/tmp/in"]), "from the host");
    await d.does(["exec", "files", "sh", "-c", "echo made > /root/out; rm /etc/plain"]);
    await d.does(["cp", "files:/root/out", `${file}.back`]);
    d.expect("copied out", readFileSync(`${file}.back`, "utf8"), "made\n");
    const diff = await d.does(["diff", "files"]);
    d.expect("diff", diff, /^A \/root\/out$/m);
    d.expect("diff", diff, /^D \/etc\/plain$/m);
    await d.does(["commit", "files", "committed"]);
    await d.prints(["committed", "cat", "/root/out"], "made");
    await d.does(["rm", "-f", "files"]);
    await d.does(["rmi", "committed"]);
  }),
  dockerTest("terminals: run -it, exec -it, resize, keys", async (d) => {
    const shell = TerminalProgram.start(d.command(["run", "-it", "--rm", "--name", "shell", "busybox", "sh"]));
    if (!(await shell.until("# "))) d.problems.push(`no prompt: ${JSON.stringify(shell.seen)}`);
    shell.type("tty; stty size\n");
    if (!(await shell.until("/dev/pts/0"))) d.problems.push("no terminal");
    if (!(await shell.until("30 90"))) d.problems.push(`not its size: ${JSON.stringify(shell.seen)}`);
    shell.resize(70, 20);
    await d.wait("the new size", async () => {
      shell.type("stty size\n");
      return shell.until("20 70", 500);
    });
    shell.type("sleep 1000\n");
    await Bun.sleep(300);
    shell.type("\x03");
    shell.type("echo st$?\n");
    if (!(await shell.until("st130"))) d.problems.push(`Ctrl-C did not arrive: ${JSON.stringify(shell.seen)}`);
    const inner = TerminalProgram.start(
      d.command(["exec", "-it", "shell", "sh", "-c", "tty; read x; echo got $x; exit 4"]),
    );
    if (!(await inner.until("/dev/pts/1"))) d.problems.push(`exec -it has no terminal: ${JSON.stringify(inner.seen)}`);
    inner.type("keys\n");
    if (!(await inner.until("got keys"))) d.problems.push("exec -it reads no keys");
    d.expect("status of exec -it", String(await inner.exit()), "4");
    shell.type("exit 7\n");
    d.expect("status of run -it", String(await shell.exit()), "7");
  }),
  dockerTest("checkpoint create, start --checkpoint", async (d) => {
    const volume = join(d.arena.dir, "kept");
    mkdirSync(volume, { recursive: true });
    const counting =
      "trap 'exit 9' TERM; exec 3>>/v/log; i=0; while :; do i=$((i + 1)); echo $i >&3; echo $i > /root/count; sleep 0.05; done";
    await d.does(["run", "-d", "--name", "saved", "-v", `${volume}:/v`, "busybox", "sh", "-c", counting]);
    const counted = async (): Promise<number> => Number((await d.run(["exec", "saved", "cat", "/root/count"])).stdout);
    await d.wait("it counts", async () => (await counted()) > 3);
    await d.does(["checkpoint", "create", "--leave-running", "saved", "first"]);
    d.expect("status", await d.inspect("saved", "{{.State.Status}}"), "running");
    const before = await counted();
    await d.wait("it goes on", async () => (await counted()) > before);
    await d.does(["checkpoint", "create", "saved", "second"]);
    await d.wait("the end", async () => (await d.inspect("saved", "{{.State.Status}}")) === "exited");
    d.expect("its checkpoints", await d.does(["checkpoint", "ls", "saved"]), /first\nsecond$/);

    await d.does(["start", "--checkpoint", "second", "saved"]);
    await d.wait("it counts on", async () => (await counted()) > before + 3);
    d.expect("what it is", await d.does(["exec", "saved", "cat", "/proc/runts/checkpoint"]), "restored");
    // No number is missing or there twice, in a file that was open all the time.
    const lines = readFileSync(join(volume, "log"), "utf8").trimEnd().split("\n");
    d.expect("its lines", String(lines.findIndex((line, i) => line !== `${i + 1}`)), "-1");
    await d.does(["pause", "saved"]);
    await d.does(["unpause", "saved"]);
    await d.does(["checkpoint", "rm", "saved", "first"]);
    // A restored one is saved again.
    await d.does(["checkpoint", "create", "saved", "third"]);
    await d.wait("the end", async () => (await d.inspect("saved", "{{.State.Status}}")) === "exited");
    await d.does(["start", "--checkpoint", "third", "saved"]);
    await d.does(["stop", "-t", "10", "saved"]);
    d.expect("stopped", await d.inspect("saved", "{{.State.ExitCode}}"), "9");
    await d.does(["rm", "saved"]);
  }),
  dockerTest("healthcheck, restart policy, --init", async (d) => {
    await d.does([
      "run",
      "-d",
      "--name",
      "health",
      "--health-cmd",
      "test -e /tmp/well",
      "--health-interval",
      "0.5s",
      "--health-retries",
      "2",
      "busybox",
      "sleep",
      "1000",
    ]);
    await d.wait("unhealthy", async () => (await d.inspect("health", "{{.State.Health.Status}}")) === "unhealthy");
    await d.does(["exec", "health", "touch", "/tmp/well"]);
    await d.wait("healthy", async () => (await d.inspect("health", "{{.State.Health.Status}}")) === "healthy");
    await d.does(["run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 3"]);
    await d.wait(
      "two restarts",
      async () => (await d.inspect("again", "{{.RestartCount}} {{.State.Status}}")) === "2 exited",
    );
    d.expect("exit code", await d.inspect("again", "{{.State.ExitCode}}"), "3");
    await d.prints(["--init", "busybox", "sh", "-c", "cat /proc/1/comm; exit 6"], /init/, 6);
    await d.does(["rm", "-f", "health", "again"]);
  }),
  dockerTest("build: RUN steps in the sandbox", async (d) => {
    const context = join(d.arena.dir, "context");
    mkdirSync(context, { recursive: true });
    writeFileSync(join(context, "hello.txt"), "hello\n");
    writeFileSync(
      join(context, "Dockerfile"),
      [
        "FROM busybox",
        "WORKDIR /app",
        "COPY hello.txt .",
        "RUN cat hello.txt > copy.txt && uname -r > kernel.txt && ln -s copy.txt link.txt",
        "RUN chown guest copy.txt && chmod 640 copy.txt",
        "USER guest",
        "ENV WORD=built",
        "RUN echo $WORD > /tmp/word && id -u >> /tmp/word",
        'CMD ["sh", "-c", "cat /app/link.txt /app/kernel.txt /tmp/word; stat -c %a,%U /app/copy.txt"]',
      ].join("\n"),
    );
    const built = await d.run(["build", "-t", "built", context], undefined, { DOCKER_BUILDKIT: "0" });
    if (built.status !== 0) d.problems.push(`docker build: ${built.stdout}${built.stderr}`);
    await d.prints(["built"], /^hello\n.*-runts\nbuilt\n1000\n640,guest$/);
    const broken = join(context, "Broken");
    writeFileSync(broken, "FROM busybox\nRUN exit 3\n");
    const failed = await d.run(["build", "-f", broken, context], undefined, { DOCKER_BUILDKIT: "0" });
    d.expect("a build that fails", failed.stdout + failed.stderr, /returned a non-zero code: 3/);
    await d.does(["rmi", "built"]);
    await d.does(["container", "prune", "-f"]);
  }),
  dockerTest("twenty containers at once, and none is left", async (d) => {
    const each = Array.from({ length: 20 }, (_, i) => i);
    const results = await Promise.all(
      each.map((i) => d.run(["run", "--rm", "busybox", "sh", "-c", `echo ${i}; exit ${i}`])),
    );
    for (const i of each) d.expect(`container ${i}`, `${results[i]!.status} ${results[i]!.stdout}`, `${i} ${i}\n`);
  }),
];

export const dockerCases = (filters: readonly string[]): Case[] =>
  clientCases<Docker>(
    {
      name: "docker",
      needs: ["docker.io", "containerd", ...rootfsPackages],
      make: (arena) => new Docker(arena),
      tests,
    },
    filters,
  );
