/**
 * A node of Kubernetes without a kubelet: containerd with its `cri` plugin, the runtime under test as a runtime handler,
 * images made here, and CNI's bridge in the network namespace of the arena.
 */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileGuest } from "../../guest.ts";
import type { Result } from "../../harness/process.ts";
import type { Arena } from "../arena.ts";
import { startDaemon, tail } from "../daemon.ts";
import type { Expect } from "../expect.ts";
import { imageArchive } from "../image.ts";
import { busyboxRootfs } from "../rootfs.ts";
import { isOurs, platformFlags, runtimeUnderTest } from "../runtime-under-test.ts";
import type { Client } from "../session.ts";
import { TerminalProgram } from "../terminal.ts";
import {
  type ContainerConfig,
  type ContainerStatus,
  type NamespaceMode,
  type PodConfig,
  type PodStatus,
  RuntimeApi,
  type SecurityContext,
} from "./api.ts";

const SOCKET = "/run/containerd/containerd.sock";
const PAUSE = "localhost/pause:test";
export const IMAGE = "localhost/busybox:test";
const SUBNET = "10.89.0.0/24";

const config = (dir: string, binary: string): string => `
version = 2
root = "${dir}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "${SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE}"
  # Another runtime sets the value on the host, where tests may not have the right to lower it.
  restrict_oom_score_adj = ${!isOurs}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runts"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runts]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runts.options]
        BinaryName = "${binary}"
`;

const network = (addresses: string): string =>
  JSON.stringify({
    cniVersion: "0.4.0",
    name: "pods",
    plugins: [
      {
        type: "bridge",
        bridge: "pods0",
        isGateway: true,
        ipam: { type: "host-local", ranges: [[{ subnet: SUBNET }]], dataDir: addresses },
      },
    ],
  });

/** What a pod is made with, beyond what every pod of these tests has. */
export interface PodOptions {
  network?: NamespaceMode;
  pid?: NamespaceMode;
  hostname?: string;
  annotations?: Record<string, string>;
  sysctls?: Record<string, string>;
}

export interface ContainerOptions extends Partial<ContainerConfig> {
  security?: SecurityContext;
}

export class Node implements Client {
  readonly state: string[];
  private api!: RuntimeApi;
  private pods = 0;

  constructor(
    readonly arena: Arena,
    private readonly platform: string,
  ) {
    const { dir } = arena;
    const ofTasks = "io.containerd.runtime.v2.task/k8s.io";
    const ofPods = ["sandboxes", "containers"].map((name) => `io.containerd.grpc.v1.cri/${name}`);
    this.state = [
      "/run/containerd/runc/k8s.io",
      "/run/containerd/s",
      "/run/netns",
      "/run/runts",
      join(dir, "addresses/pods"),
      join(dir, "logs"),
      ...[ofTasks, ...ofPods].flatMap((name) => [join("/run/containerd", name), join(dir, "containerd", name)]),
    ];
  }

  /** Kept by CNI for its next address; nobody's. */
  readonly own = /^file \S+\/addresses\/pods\/(last_reserved_ip\.\d+|lock)$/;

  async start(): Promise<void> {
    const { dir } = this.arena;
    // Users of a container walk through it to what is mounted from below.
    chmodSync(dir, 0o755);
    for (const name of ["cni", "logs", "volumes"]) mkdirSync(join(dir, name));
    // CNI keeps what it did there, wherever its configuration is.
    const covered = await this.arena.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib"]);
    if (covered.status !== 0) throw new Error(covered.stderr);
    writeFileSync(join(dir, "cni/pods.conflist"), network(join(dir, "addresses")));
    writeFileSync(join(dir, "config.toml"), config(dir, this.executable()));
    this.api = new RuntimeApi(this.arena.path(SOCKET));
    await startDaemon(this.arena, {
      command: ["containerd", "--config", join(dir, "config.toml")],
      logFile: join(dir, "log"),
      answers: () =>
        this.api.call("Version", {}, 2000).then(
          () => true,
          () => false,
        ),
    });
    const pause = join(dir, "pause");
    mkdirSync(pause);
    copyFileSync(await compileGuest("pause", import.meta.dir), join(pause, "pause"));
    await this.import(await imageArchive(pause, PAUSE, { Entrypoint: ["/pause"] }), PAUSE);
    const busybox = await busyboxRootfs(join(dir, "busybox"));
    copyFileSync(await compileGuest("probe", import.meta.dir), join(busybox, "bin/probe"));
    await this.import(await imageArchive(busybox, IMAGE, { Env: ["PATH=/bin"], Cmd: ["sleep", "1000"] }), IMAGE);
    // What is made once and kept: the bridge, the parent of all cgroups.
    await this.removePod(await this.runPod());
  }

  /** What the shim runs: it has no place for flags. */
  private executable(): string {
    const path = join(this.arena.dir, "runtime");
    const command = [runtimeUnderTest, ...platformFlags(this.platform)].join(" ");
    writeFileSync(path, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
    return path;
  }

  private async import(file: string, name: string): Promise<void> {
    const ctr = ["ctr", "--address", SOCKET, "--namespace", "k8s.io"];
    const imported = await this.arena.run([...ctr, "images", "import", file]);
    if (imported.status !== 0) throw new Error(`ctr images import: ${imported.stderr}`);
    // The plugin hears of it from an event.
    for (let tries = 0; tries < 200; tries++) {
      if ((await this.call("ImageStatus", { image: { image: name } })).image !== null) return;
      await Bun.sleep(50);
    }
    throw new Error(`the cri plugin does not know ${name}`);
  }

  async stop(): Promise<void> {
    this.api?.close();
  }

  log(): string {
    return tail(join(this.arena.dir, "log"));
  }

  readonly call: RuntimeApi["call"] = (method, request, timeoutMs) => this.api.call(method, request, timeoutMs);

  /** A directory of the host that containers mount. */
  volume(name: string): string {
    const path = join(this.arena.dir, "volumes", name);
    mkdirSync(path, { recursive: true, mode: 0o777 });
    return path;
  }

  async runPod(options: PodOptions = {}): Promise<Pod> {
    const uid = `u${++this.pods}`;
    const { network = "POD", pid = "CONTAINER", hostname = uid, ...more } = options;
    const config: PodConfig = {
      metadata: { name: uid, uid, namespace: "test", attempt: 0 },
      // On the node's network the node's name is the pod's.
      ...(network === "NODE" ? {} : { hostname }),
      logDirectory: join(this.arena.dir, "logs", uid),
      ...(more.annotations === undefined ? {} : { annotations: more.annotations }),
      linux: {
        cgroupParent: `/${this.arena.cgroup}`,
        securityContext: { namespaceOptions: { network, pid, ipc: "POD" } },
        ...(more.sysctls === undefined ? {} : { sysctls: more.sysctls }),
      },
    };
    mkdirSync(config.logDirectory);
    const { podSandboxId } = await this.call("RunPodSandbox", { config, runtimeHandler: "runts" });
    return new Pod(this, podSandboxId, config);
  }

  async removePod(pod: Pod): Promise<void> {
    await this.call("StopPodSandbox", { podSandboxId: pod.id });
    await this.call("RemovePodSandbox", { podSandboxId: pod.id });
    const gone = await this.arena.run(["rm", "-r", pod.config.logDirectory]);
    if (gone.status !== 0) throw new Error(gone.stderr);
  }

  /** Runs what needs a pod, and takes the pod away, come what may. */
  async inPod(options: PodOptions, use: (pod: Pod) => Promise<void>): Promise<void> {
    const pod = await this.runPod(options);
    try {
      await use(pod);
    } finally {
      await this.removePod(pod);
    }
  }
}

export class Pod {
  private attempts = 0;

  constructor(
    readonly node: Node,
    readonly id: string,
    readonly config: PodConfig,
  ) {}

  async status(): Promise<PodStatus> {
    return (await this.node.call("PodSandboxStatus", { id: this.id })).status;
  }

  /** The host's pid of its sandbox container. */
  async pid(): Promise<number> {
    const { info } = await this.node.call("PodSandboxStatus", { id: this.id, verbose: true });
    return JSON.parse(info["info"]!).pid;
  }

  async create(name: string, args: string[], options: ContainerOptions = {}): Promise<Container> {
    const { security = {}, linux = {}, ...more } = options;
    const attempt = this.attempts++;
    const { namespaceOptions } = this.config.linux.securityContext;
    const config: ContainerConfig = {
      metadata: { name, attempt },
      image: { image: IMAGE },
      args,
      logPath: `${name}-${attempt}.log`,
      ...more,
      linux: { ...linux, securityContext: { namespaceOptions, ...security } },
    };
    const { containerId } = await this.node.call("CreateContainer", {
      podSandboxId: this.id,
      config,
      sandboxConfig: this.config,
    });
    return new Container(this, containerId, join(this.config.logDirectory, config.logPath!));
  }

  /** Creates one and starts it. */
  async run(name: string, args: string[], options: ContainerOptions = {}): Promise<Container> {
    const container = await this.create(name, args, options);
    await container.start();
    return container;
  }

  /** Runs a script of the shell, without end unless the script ends. */
  script(name: string, script: string, options: ContainerOptions = {}): Promise<Container> {
    return this.run(name, ["sh", "-c", script], options);
  }
}

export class Container {
  constructor(
    readonly pod: Pod,
    readonly id: string,
    private readonly logFile: string,
  ) {}

  private get node(): Node {
    return this.pod.node;
  }

  async start(): Promise<void> {
    await this.node.call("StartContainer", { containerId: this.id });
  }
  async stop(timeout = 0): Promise<void> {
    await this.node.call("StopContainer", { containerId: this.id, timeout });
  }
  async remove(): Promise<void> {
    await this.node.call("RemoveContainer", { containerId: this.id });
  }
  async status(): Promise<ContainerStatus> {
    return (await this.node.call("ContainerStatus", { id: this.id })).status;
  }
  async running(): Promise<boolean> {
    return (await this.status()).state === "CONTAINER_RUNNING";
  }
  /** The host's pid of its first process. */
  async pid(): Promise<number> {
    const { info } = await this.node.call("ContainerStatus", { id: this.id, verbose: true });
    return JSON.parse(info["info"]!).pid;
  }

  /** Its exit code, when it has ended by itself. */
  async exitCode(expect: Expect, what = "a container", ms = 15_000): Promise<number> {
    await expect.eventually(`the end of ${what}`, async () => (await this.status()).state === "CONTAINER_EXITED", ms);
    return (await this.status()).exitCode;
  }

  /** What it has written so far, as the log on the node has it: each line with its time, its stream, and F or P. */
  logged(stream = "stdout"): string {
    return readFileSync(this.logFile, "utf8")
      .split("\n")
      .map((line) => /^\S+ (\S+) ([FP]) (.*)$/.exec(line))
      .filter((found) => found?.[1] === stream)
      .map((found) => found![3]! + (found![2] === "F" ? "\n" : ""))
      .join("");
  }
  /** Waits until its log is this. */
  async logs(expect: Expect, what: string, want: string | RegExp): Promise<void> {
    const fits = (): boolean => (typeof want === "string" ? this.logged() === want : want.test(this.logged()));
    if (!(await expect.eventually(what, fits))) expect.problems.push(`its log is ${JSON.stringify(this.logged())}`);
  }

  /** A command in it, as probes and hooks of a kubelet do it: what it printed, and its status. */
  async exec(cmd: string[], timeout = 20): Promise<{ stdout: string; stderr: string; status: number }> {
    const got = await this.node.call("ExecSync", { containerId: this.id, cmd, timeout }).catch((error: Error) => {
      throw new Error(`${error.message} (${cmd.join(" ")})`);
    });
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
    return { stdout: text(got.stdout), stderr: text(got.stderr), status: got.exitCode };
  }
  /** What a script prints there. */
  async sh(script: string): Promise<string> {
    return (await this.exec(["sh", "-c", script])).stdout;
  }

  /** Leaves a program running there; what it prints goes to a file, since a command's answer waits for its pipes. */
  async background(script: string, output = "/dev/null"): Promise<void> {
    await this.sh(`(${script}) </dev/null >${output} 2>&1 &`);
  }

  private streamed(url: string, ...flags: string[]): string[] {
    return [process.execPath, join(import.meta.dir, "stream.ts"), url, ...flags];
  }
  /** A command in it with a terminal, as `kubectl exec -it`. */
  async execTerminal(cmd: string[]): Promise<TerminalProgram> {
    const how = { tty: true, stdin: true, stdout: true, stderr: false };
    const { url } = await this.node.call("Exec", { containerId: this.id, cmd, ...how });
    return TerminalProgram.start(this.node.arena.inside(this.streamed(url, "tty")));
  }
  /** A command in it with pipes, as `kubectl exec`. */
  async execPipes(cmd: string[]): Promise<Result> {
    const how = { tty: false, stdin: false, stdout: true, stderr: true };
    const { url } = await this.node.call("Exec", { containerId: this.id, cmd, ...how });
    return this.node.arena.run(this.streamed(url), { timeoutMs: 20_000 });
  }
  /** Its own terminal, as `kubectl attach -it`. */
  async attachTerminal(): Promise<TerminalProgram> {
    const how = { tty: true, stdin: true, stdout: true, stderr: false };
    const { url } = await this.node.call("Attach", { containerId: this.id, ...how });
    return TerminalProgram.start(this.node.arena.inside(this.streamed(url, "tty")));
  }
  /** Its own output and input, as `kubectl attach -i`, until it ends. */
  async attachPipes(stdin: string): Promise<Result> {
    const how = { tty: false, stdin: true, stdout: true, stderr: true };
    const { url } = await this.node.call("Attach", { containerId: this.id, ...how });
    return this.node.arena.run(this.streamed(url), { timeoutMs: 20_000, stdin });
  }
}
