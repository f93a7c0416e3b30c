/**
 * Hosts of a test's own: network namespaces on one bridge, with private addresses. No address outside is ever used, and
 * the machine's own network is neither seen nor changed.
 *
 *   peer 10.77.0.1 fd77::1       what is outside for the program under test
 *   guest 10.77.0.2 fd77::2      where the program under test is, natively or in a container
 *   third 10.77.0.3 fd77::3      another outside
 *
 * peer and guest have routes that lead nowhere, each in its way (hosts/hosts.h): 10.98/16 is never answered.
 *
 * A namespace lives as long as its keeper, a shell that reads from the tests: it ends with them, however they end, and
 * devices, addresses and routes with it. close() says what is still there of what was started.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { describe } from "../clients/arena.ts";
import { cleanEnv, killGroup, type Result, type RunOptions, run } from "../harness/process.ts";
import { executable, isRoot } from "../harness/sandbox.ts";

export type HostName = "peer" | "guest" | "third";
export const ADDRESS: Record<HostName, { v4: string; v6: string; mac: string }> = {
  peer: { v4: "10.77.0.1", v6: "fd77::1", mac: "02:00:0a:4d:00:01" },
  guest: { v4: "10.77.0.2", v6: "fd77::2", mac: "02:00:0a:4d:00:02" },
  third: { v4: "10.77.0.3", v6: "fd77::3", mac: "02:00:0a:4d:00:03" },
};
export const PEER = ADDRESS.peer;
export const GUEST = ADDRESS.guest;
export const THIRD = ADDRESS.third;
/** Where a packet is lost. */
export const SILENT = "10.98.0.1";

/** Debian packages that every case here needs. */
export const wirePackages = ["util-linux", "iproute2"];

/** What a container has here: what servers need, and ping. */
const CAPABILITIES = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FOWNER",
  "KILL",
  "NET_BIND_SERVICE",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SYS_CHROOT",
].map((name) => `CAP_${name}`);

const limitMs = 30_000;

/** A program that runs while a test goes on. */
export class Running {
  stdout = "";
  stderr = "";
  readonly exited: Promise<number>;
  private readonly child: Bun.Subprocess<"ignore" | "pipe", "pipe", "pipe">;
  private readonly read: Promise<unknown>;

  constructor(command: readonly string[], env: Record<string, string>, input: "ignore" | "pipe" = "ignore") {
    this.child = Bun.spawn([...command], {
      cwd: "/",
      env,
      stdin: input,
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
    const keep = async (stream: ReadableStream<Uint8Array>, add: (text: string) => void): Promise<void> => {
      const decoder = new TextDecoder();
      for await (const part of stream) add(decoder.decode(part, { stream: true }));
    };
    this.read = Promise.all([
      keep(this.child.stdout, (text) => {
        this.stdout += text;
      }),
      keep(this.child.stderr, (text) => {
        this.stderr += text;
      }),
    ]);
    this.exited = this.child.exited.then(() => this.status);
  }

  get pid(): number {
    return this.child.pid;
  }
  /** As a shell has it; -1 while it runs. */
  private get status(): number {
    if (this.child.signalCode !== null) return 128 + (this.child.signalCode === "SIGKILL" ? 9 : 15);
    return this.child.exitCode ?? -1;
  }
  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  write(text: string): void {
    const { stdin } = this.child;
    if (stdin === undefined || typeof stdin === "number") throw new Error("it reads nothing");
    stdin.write(text);
    stdin.flush();
  }
  closeInput(): void {
    const { stdin } = this.child;
    if (stdin !== undefined && typeof stdin !== "number") stdin.end();
  }

  /** Waits until it has printed this (either stream); throws with all that it has printed instead. */
  async until(pattern: RegExp, ms = 15_000): Promise<void> {
    const end = performance.now() + ms;
    while (!pattern.test(this.stdout + this.stderr)) {
      if (this.ended) await Promise.race([this.read, Bun.sleep(500)]);
      if (pattern.test(this.stdout + this.stderr)) return;
      if (this.ended || performance.now() > end) throw new Error(`not ${pattern}: ${this.report()}`);
      await Bun.sleep(20);
    }
  }
  report(): string {
    const state = this.ended ? `ended with ${this.status}` : "it runs";
    return `${state}\n  stdout: ${JSON.stringify(this.stdout.slice(-800))}\n  stderr: ${JSON.stringify(this.stderr.slice(-800))}`;
  }
  /** Its end, of itself; killed when it is late. */
  async end(ms = limitMs): Promise<Result> {
    const start = performance.now();
    const timedOut = (await Promise.race([this.exited, Bun.sleep(ms).then(() => "late" as const)])) === "late";
    if (timedOut) await this.kill();
    await Promise.race([this.read, Bun.sleep(1000)]);
    const { stdout, stderr, status } = this;
    return { stdout, stderr, status, timedOut, ms: performance.now() - start };
  }
  signal(name: "SIGTERM" | "SIGINT"): void {
    this.child.kill(name);
  }
  async kill(): Promise<void> {
    killGroup(this.pid);
    await this.child.exited;
  }
}

/** Where the program under test runs. */
export interface Place {
  readonly name: string;
  readonly platform: string;
  start(command: readonly string[], options?: PlaceOptions): Running;
  run(command: readonly string[], options?: PlaceOptions): Promise<Result>;
}
export interface PlaceOptions {
  timeoutMs?: number;
  input?: "pipe";
  annotations?: Record<string, string>;
  capabilities?: readonly string[];
  /** A root of its own with the host's directories in it: not every runtime takes the host's root itself. */
  ownRoot?: boolean;
}

class Host {
  constructor(
    readonly name: HostName,
    private readonly child: Bun.Subprocess<"pipe", "pipe", "pipe">,
  ) {}
  get pid(): number {
    return this.child.pid;
  }
  /** A path that names its namespace. */
  get path(): string {
    return `/proc/${this.pid}/ns/net`;
  }
  inside(command: readonly string[]): string[] {
    return ["nsenter", `--target=${this.pid}`, "--net", "--mount", "--", ...command];
  }
  async end(): Promise<void> {
    this.child.stdin.end();
    const late = setTimeout(() => this.child.kill("SIGKILL"), 2000);
    await this.child.exited;
    clearTimeout(late);
  }
  kill(): void {
    this.child.kill("SIGKILL");
  }
}

/** A keeper's shell: files of the test's own in /etc, the loopback up, ping sockets for everybody. */
const keeperScript = `
for each in resolv.conf hosts passwd nsswitch.conf; do mount --bind "$1/etc/$each" "/etc/$each" || exit 1; done
ip link set lo up && echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range || exit 1
echo ready
cat > /dev/null
`;

async function keeper(name: HostName, dir: string): Promise<Host> {
  const child = Bun.spawn(["unshare", "--net", "--mount", "/bin/sh", "-c", keeperScript, "keeper", dir], {
    cwd: "/",
    env: cleanEnv,
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  const first = await child.stdout.getReader().read();
  if (!first.value) {
    child.kill("SIGKILL");
    throw new Error(`no network namespace for the test: ${(await new Response(child.stderr).text()).trim()}`);
  }
  return new Host(name, child);
}

const netnsOf = (pid: number | string): string => {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return "";
  }
};

export class Wire {
  readonly peer: Host;
  readonly guest: Host;
  readonly third: Host;
  private readonly started: Running[] = [];
  private readonly containers: { id: string; prefix: readonly string[] }[] = [];
  private readonly namespaces: string[];
  private made = 0;

  private constructor(
    /** Of the test's own, at the same place for everybody. */
    readonly dir: string,
    private readonly hosts: Host[],
    private readonly stopNow: () => void,
  ) {
    [this.peer, this.guest, this.third] = hosts as [Host, Host, Host];
    this.namespaces = hosts.map((host) => netnsOf(host.pid));
  }

  static async open(): Promise<Wire> {
    if (!isRoot) throw new Error("network namespaces need root");
    // Not below /tmp: a container has one of its own over the same root, and some runtimes would not find it any more.
    const dir = mkdtempSync("/var/tmp/runts-network-");
    mkdirSync(join(dir, "etc"));
    mkdirSync(join(dir, "home"), { mode: 0o700 });
    const names = Object.entries(ADDRESS).map(([name, { v4, v6 }]) => `${v4} ${name}\n${v6} ${name}\n`);
    const users = readFileSync("/etc/passwd", "utf8").replace(/^root:.*$/m, `root:x:0:0:root:${dir}/home:/bin/sh`);
    const put = (name: string, text: string): void => writeFileSync(join(dir, "etc", name), text);
    put("resolv.conf", `nameserver ${PEER.v4}\noptions timeout:2 attempts:2\n`);
    put("hosts", `127.0.0.1 localhost\n::1 localhost\n${names.join("")}`);
    put("passwd", users);
    put("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    const hosts: Host[] = [];
    const stopNow = (): void => {
      for (const host of hosts) host.kill();
      rmSync(dir, { recursive: true, force: true });
    };
    process.on("exit", stopNow);
    try {
      for (const name of ["peer", "guest", "third"] as const) hosts.push(await keeper(name, dir));
      const wire = new Wire(dir, hosts, stopNow);
      await wire.connect();
      return wire;
    } catch (error) {
      process.off("exit", stopNow);
      stopNow();
      throw error;
    }
  }

  /** The bridge is in third's namespace: it is a host like the others, by an address of the bridge itself. */
  private async connect(): Promise<void> {
    const { peer, guest, third } = this;
    const addresses = (host: Host, device: string): string => {
      const { v4, v6, mac } = ADDRESS[host.name];
      return [
        `ip link set ${device} address ${mac}`,
        `ip address add ${v4}/24 broadcast + dev ${device}`,
        `ip address add ${v6}/64 dev ${device} nodad`,
        `ip link set ${device} addrgenmode none`,
        `ip link set ${device} up`,
      ].join(" && ");
    };
    const silent = [
      "ip route add unreachable 10.99.1.0/24",
      "ip route add prohibit 10.99.2.0/24",
      `ip route add 10.98.0.0/16 via ${THIRD.v4}`,
    ].join(" && ");
    const bridge = [
      "ip link add bridge0 type bridge stp_state 0 mcast_snooping 0",
      ...[peer, guest].flatMap((host) => [
        `ip link add ${host.name} type veth peer name eth0 netns ${host.pid}`,
        `ip link set ${host.name} master bridge0 up`,
      ]),
      addresses(third, "bridge0"),
      "ip route add blackhole 10.98.0.0/16",
      "echo 1 > /proc/sys/net/ipv4/ip_forward",
    ].join(" && ");
    await this.must("third", ["sh", "-ec", bridge]);
    for (const host of [peer, guest])
      await this.must(host.name, ["sh", "-ec", `${addresses(host, "eth0")} && ${silent}`]);
  }

  /** Natively on one of the hosts. */
  run(host: HostName, command: readonly string[], options: Partial<RunOptions> = {}): Promise<Result> {
    return run(this[host].inside(command), { timeoutMs: limitMs, cwd: "/", ...options });
  }
  async must(host: HostName, command: readonly string[]): Promise<string> {
    const done = await this.run(host, command);
    if (done.status !== 0) throw new Error(`${command.join(" ")}: status ${done.status}: ${done.stderr}${done.stdout}`);
    return done.stdout;
  }
  start(host: HostName, command: readonly string[], input?: "pipe"): Running {
    return this.keep(new Running(this[host].inside(command), cleanEnv, input));
  }
  private keep(running: Running): Running {
    this.started.push(running);
    return running;
  }

  /** A file of the test's own. */
  file(name: string, text: string | Uint8Array, mode = 0o644): string {
    const path = join(this.dir, name);
    writeFileSync(path, text, { mode });
    return path;
  }

  /** Waits until a port of a host is listened at, without a connection to it. */
  async listening(port: number, host: HostName = "guest", running?: Running): Promise<void> {
    const hex = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
    const end = performance.now() + 20_000;
    for (;;) {
      const tables = ["tcp", "tcp6"].map((name) => readFileSync(`/proc/${this[host].pid}/net/${name}`, "utf8"));
      if (tables.some((text) => text.split("\n").some((line) => line.includes(hex) && / 0A /.test(line)))) return;
      if (running?.ended || performance.now() > end)
        throw new Error(`nothing listens at port ${port} of ${host}: ${running?.report() ?? ""}`);
      await Bun.sleep(20);
    }
  }

  /** "native", or a platform: a container in the namespace of `guest`. */
  place(platform: string): Place {
    if (platform === "native") {
      const start = (command: readonly string[], options: PlaceOptions = {}) =>
        this.start("guest", command, options.input);
      return {
        name: "native",
        platform,
        start,
        run: (command, options) => start(command, options).end(options?.timeoutMs),
      };
    }
    const prefix = [executable(), "--root", this.state, "--platform", platform, "--log", join(this.dir, "log")];
    const start = (command: readonly string[], options: PlaceOptions = {}) => this.container(prefix, command, options);
    return {
      name: platform,
      platform,
      start,
      run: (command, options = {}) => start(command, options).end(options.timeoutMs),
    };
  }

  /** The place's last container, to be looked at from outside. */
  get lastContainer(): string {
    return this.containers.at(-1)?.id ?? "";
  }
  get state(): string {
    return join(this.dir, "state");
  }
  runts(platform: string, words: readonly string[], options: Partial<RunOptions> = {}): Promise<Result> {
    const command = [executable(), "--root", this.state, "--platform", platform, ...words];
    return run(command, { timeoutMs: limitMs, cwd: "/", ...options });
  }
  /** A container in the namespace of `guest`, by any runtime that is called with these words first. */
  container(prefix: readonly string[], command: readonly string[], options: PlaceOptions = {}): Running {
    const id = `n${basename(this.dir).slice(-6)}-${++this.made}`;
    const bundle = join(this.dir, id);
    mkdirSync(bundle);
    const capabilities = options.capabilities ?? CAPABILITIES;
    const bind = (destination: string, source: string, how: string) => ({
      destination,
      type: "bind",
      source,
      options: ["rbind", how],
    });
    const parts = options.ownRoot ? ["/usr", "/etc", "/var"].map((path) => bind(path, path, "ro")) : [];
    if (options.ownRoot) {
      const names = ["proc", "dev", "run", "tmp", "sys", "usr", "etc", "var"];
      for (const name of names) mkdirSync(join(bundle, "rootfs", name), { recursive: true });
      for (const name of ["bin", "sbin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(bundle, "rootfs", name));
    }
    const config = {
      ociVersion: "1.0.2",
      process: {
        terminal: false,
        user: { uid: 0, gid: 0 },
        args: command,
        env: Object.entries(cleanEnv).map(([key, value]) => `${key}=${value}`),
        cwd: "/",
        capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
        rlimits: [{ type: "RLIMIT_NOFILE", soft: 20_000, hard: 20_000 }],
      },
      root: { path: options.ownRoot ? "rootfs" : "/", readonly: true },
      hostname: "guest",
      mounts: [
        ...parts,
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/dev", type: "tmpfs", source: "tmpfs" },
        { destination: "/run", type: "tmpfs", source: "tmpfs" },
        { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["mode=1777"] },
        bind(this.dir, this.dir, "rw"),
        ...["resolv.conf", "hosts", "passwd", "nsswitch.conf"].map((name) =>
          bind(`/etc/${name}`, join(this.dir, "etc", name), "ro"),
        ),
      ],
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
      linux: {
        namespaces: [
          ...["pid", "mount", "ipc", "uts"].map((type) => ({ type })),
          { type: "network", path: this.guest.path },
        ],
      },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
    this.containers.push({ id, prefix });
    return this.keep(new Running([...prefix, "run", "--bundle", bundle, id], cleanEnv, options.input));
  }

  /** What the runtime has logged about its containers. */
  log(): string {
    try {
      return readFileSync(join(this.dir, "log"), "utf8");
    } catch {
      return "";
    }
  }

  /** `runts do` where the caller is on the host `guest`. */
  doing(platform: string, flags: readonly string[], command: readonly string[], timeoutMs = limitMs): Promise<Result> {
    const words = [executable(), "--platform", platform, "do", ...flags, "--", ...command];
    return this.keep(new Running(this.guest.inside(words), cleanEnv)).end(timeoutMs);
  }

  /** Processes in the namespaces, but for the keepers' own. */
  processes(): number[] {
    const keepers = new Set(this.hosts.map((host) => host.pid));
    const isKeepers = (pid: string): boolean =>
      keepers.has(Number(/^PPid:\s+(\d+)/m.exec(statusOf(pid))?.[1])) && /^Name:\s+cat$/m.test(statusOf(pid));
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && !keepers.has(Number(name)))
      .filter((name) => this.namespaces.includes(netnsOf(name)) && !isKeepers(name))
      .map(Number);
  }

  /** Takes everything away; gives what should have ended with the programs and has not. */
  async close(): Promise<string[]> {
    for (const running of this.started.reverse()) {
      if (running.ended) continue;
      running.signal("SIGTERM");
      await Promise.race([running.exited, Bun.sleep(300)]);
      if (!running.ended) await running.kill();
    }
    for (const { id, prefix } of this.containers)
      if (prefix[0] !== executable() || readdirIn(this.state).includes(id))
        await run([...prefix, "delete", "--force", id], { timeoutMs: limitMs, cwd: "/" });
    const end = performance.now() + 5000;
    while (this.processes().length > 0 && performance.now() < end) await Bun.sleep(50);
    const left = this.processes().map(describe);
    for (const pid of this.processes()) killGroup(pid);
    for (const host of this.hosts) await host.end();
    process.off("exit", this.stopNow);
    rmSync(this.dir, { recursive: true, force: true });
    return left;
  }
}

const statusOf = (pid: string): string => {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return "";
  }
};
const readdirIn = (dir: string): string[] => {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
};
