/**
 * Podman's pods, as root: an infra container (Podman's own pause image, which it builds from catatonit) and those that share
 * its namespaces; by hand and from Kubernetes' YAML. Podman marks a container of a pod with CRI-O's annotations.
 *
 * RUNTS_CRI_RUNTIME=runc runs the same with another runtime.
 *
 * Contract: row 17, 3.1-podman.
 */
import { mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { platforms } from "../harness/sandbox.ts";
import type { Case } from "../harness/suite.ts";
import { type Arena, cgroupsBelow, hierarchies } from "./arena.ts";
import type { Expect } from "./expect.ts";
import { Podman } from "./podman.ts";
import { rootfsPackages } from "./rootfs.ts";
import { isOurs, platformFlags, runtimeUnderTest } from "./runtime-under-test.ts";
import { asTest, clientCases, type Test } from "./session.ts";

/** With a PATH, unlike that of podman.ts: `kube play` gives none of its own. */
const IMAGE = "localhost/busybox:path";
/** Podman's parent of all pods that are told no other; `kube play` has no way to tell. */
const PARENT = "libpod_parent";
const WAITING = "trap 'exit 5' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done";

/** Hierarchies in which Podman, which looks after a pod's own cgroup, does not, and runtimes make it all the same. */
const UNTENDED = "/sys/fs/cgroup/(?:systemd|unified)";

function removeCgroup(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Not there, or in use.
  }
}

class PodmanPods extends Podman {
  override readonly own = new RegExp(
    `^mount (\\S+/root/overlay|/run/netns) \\(|^cgroup ${UNTENDED}/runts-podman-pods-\\w+/[0-9a-f]{64}$`,
  );
  /** Ids of pods below PARENT. */
  readonly played: string[] = [];

  constructor(arena: Arena, platform: string) {
    super(arena, [runtimeUnderTest, ...platformFlags(platform).map((flag) => flag.replace(/^--/, ""))]);
  }

  override async start(): Promise<void> {
    await super.start();
    await this.import(join(this.arena.dir, "busybox"), IMAGE, "--change", "ENV PATH=/bin:/usr/bin");
    // Its pause image, made once.
    const made = await this.createPod("first");
    if (made.status !== 0) throw new Error(`podman pod create: ${made.stderr}`);
    await this.podman("pod", "rm", "--force", "first");
  }

  async stop(): Promise<void> {
    const ofPods = () => cgroupsBelow(PARENT).filter((path) => this.played.some((id) => path.endsWith(`/${id}`)));
    // One with a process in it that is not quite gone cannot be removed yet.
    for (let tries = 0; tries < 50 && ofPods().length > 0; tries++) {
      ofPods().forEach(removeCgroup);
      await Bun.sleep(20);
    }
    for (const hierarchy of hierarchies()) removeCgroup(join(hierarchy, PARENT));
  }
  /** `kube play`; gives the pod's id. */
  async play(expect: Expect, ...words: string[]): Promise<string> {
    const played = await this.podman("kube", "play", "--network", "none", ...words);
    expect.result(`kube play ${words.join(" ")}`, played);
    const id = played.stdout.match(/^Pod:\n([0-9a-f]{64})$/m)?.[1] ?? "none";
    this.played.push(id);
    return id;
  }
  /** Cgroups of such a pod. */
  cgroups(id: string): string[] {
    return cgroupsBelow(PARENT).filter((path) => path.includes(id) && !new RegExp(`^${UNTENDED}/.*/${id}$`).test(path));
  }

  createPod(name: string, ...flags: string[]) {
    const network = flags.includes("--network") ? [] : ["--network", "none"];
    const usual = ["--cgroup-parent", `/${this.arena.cgroup}`, ...network];
    return this.podman("pod", "create", "--name", name, ...usual, ...flags);
  }
  /** Runs a script in a pod, in the background. */
  async script(expect: Expect, pod: string, name: string, script: string, ...flags: string[]): Promise<void> {
    const got = await this.podman("run", "-d", "--pod", pod, "--name", name, ...flags, IMAGE, "sh", "-c", script);
    expect.result(`run ${name}`, got, { stdout: /^[0-9a-f]{64}\n$/ });
  }
  async sh(name: string, script: string): Promise<string> {
    return (await this.podman("exec", name, "sh", "-c", script)).stdout;
  }
  async logs(expect: Expect, name: string, want: string): Promise<void> {
    let seen = "";
    const fits = async () => {
      seen = (await this.podman("logs", name)).stdout;
      return seen === want;
    };
    if (!(await expect.eventually(`logs of ${name}`, fits))) expect.problems.push(`they are ${JSON.stringify(seen)}`);
  }
  async states(...names: string[]): Promise<string[]> {
    return Promise.all(names.map((name) => this.inspect(name, "{{.State.Status}}")));
  }
  /** One listens, the other asks, over the pod's loopback. */
  async talk(expect: Expect, from: string, to: string, port: number): Promise<void> {
    const listening = ["exec", "-d", to, "nc", "-l", "-p", `${port}`, "-e", "echo", "hello"];
    expect.result("exec -d", await this.podman(...listening));
    let answer = "";
    await expect.eventually("a connection", async () => {
      answer = await this.sh(from, `nc -w 5 127.0.0.1 ${port} </dev/null`);
      return answer !== "";
    });
    expect.equal("what came over localhost", answer, "hello\n");
  }
  async removePod(expect: Expect, name: string): Promise<void> {
    expect.result(`pod rm ${name}`, await this.podman("pod", "rm", "--force", "--time", "0", name));
  }
}

/** Kubernetes' YAML for a pod of two containers with a volume, wrapped as a Deployment when it is to be one. */
const pod = (name: string, volume: string, indent = ""): string =>
  `metadata:
  name: ${name}
  labels: {app: ${name}}
  annotations: {example.test/note: kept}
spec:
  hostname: ${name}-host
  volumes:
  - name: shared
    hostPath: {path: ${volume}, type: Directory}
  containers:
  - name: writer
    image: ${IMAGE}
    imagePullPolicy: Never
    command: ["/bin/sh", "-c", "echo $GREETING > /v/said; ${WAITING}"]
    env:
    - {name: GREETING, value: hello}
    volumeMounts:
    - {name: shared, mountPath: /v}
    resources: {limits: {memory: 64Mi}}
  - name: reader
    image: ${IMAGE}
    imagePullPolicy: Never
    command: ["/bin/sh", "-c", "while [ ! -e /v/said ]; do sleep 0.1; done; cat /v/said; ${WAITING}"]
    volumeMounts:
    - {name: shared, mountPath: /v}
`.replaceAll("\n", `\n${indent}`);

const tests: Test<PodmanPods>[] = [
  [
    "life-of-a-pod",
    async (p, expect) => {
      expect.result("pod create", await p.createPod("pod"), { stdout: /^[0-9a-f]{64}\n$/ });
      for (const name of ["a", "b", "c"]) await p.script(expect, "pod", name, WAITING);
      for (const name of ["a", "b", "c"]) await p.logs(expect, name, "ready\n");
      const listed = await p.podman("pod", "ps", "--format", "{{.Name}} {{.Status}} {{.NumberOfContainers}}");
      expect.equal("pod ps", listed.stdout, "pod Running 4\n");
      await p.talk(expect, "a", "b", 7001);
      for (const name of ["a", "b", "c"]) expect.equal("the host name", await p.sh(name, "hostname"), "pod\n");
      await p.sh("a", "echo ours > /dev/shm/ours; echo mine > /tmp/mine");
      expect.equal("shared memory", await p.sh("b", "cat /dev/shm/ours"), "ours\n");
      expect.equal("a file of another", await p.sh("b", "cat /tmp/mine 2>/dev/null || echo none"), "none\n");
      expect.equal("pid 1", await p.sh("a", "cat /proc/1/comm"), "sh\n");
      // Podman enters the namespaces of a running container's process to copy: they are not the host's.
      const namespace = async (name: string) =>
        (await p.arena.run(["readlink", `/proc/${await p.inspect(name, "{{.State.Pid}}")}/ns/mnt`])).stdout;
      const infra = await p.podman("pod", "inspect", "--format", "{{.InfraContainerID}}", "pod");
      expect.equal("the mount namespace", await namespace("a"), await namespace(infra.stdout.trim()));
      expect.result("cp", await p.podman("cp", "a:/etc/passwd", "-"), { status: 125, stderr: /could not be found/ });
      const stats = await p.podman("pod", "stats", "--no-stream", "--format", "{{.Name}} {{.PIDS}}", "pod");
      expect.result("pod stats", stats, { stdout: /^a [1-9]/m });
      expect.result("pod pause", await p.podman("pod", "pause", "pod"));
      expect.equal("paused", await p.states("a", "b", "c"), ["paused", "paused", "paused"]);
      expect.result("pod unpause", await p.podman("pod", "unpause", "pod"));
      expect.result("pod kill", await p.podman("kill", "--signal", "USR1", "a", "b", "c"));
      for (const name of ["a", "b", "c"]) await p.logs(expect, name, "ready\nusr1\n");
      expect.result("pod stop", await p.podman("pod", "stop", "--time", "20", "pod"));
      expect.equal("stopped", await p.states("a", "b", "c"), ["exited", "exited", "exited"]);
      for (const name of ["a", "b", "c"]) expect.equal("exit code", await p.inspect(name, "{{.State.ExitCode}}"), "5");
      expect.result("pod start", await p.podman("pod", "start", "pod"));
      expect.equal("started", await p.states("a", "b", "c"), ["running", "running", "running"]);
      await p.talk(expect, "c", "a", 7002);
      expect.result("pod restart", await p.podman("pod", "restart", "pod"));
      expect.equal("started again", await p.states("a", "b", "c"), ["running", "running", "running"]);
      await p.talk(expect, "b", "c", 7003);
      await p.removePod(expect, "pod");
      expect.equal("pods listed", (await p.podman("pod", "ps", "-q")).stdout, "");
    },
  ],
  [
    "containers-come-and-go",
    async (p, expect) => {
      expect.result("pod create", await p.createPod("pod"));
      await p.script(expect, "pod", "stays", WAITING);
      for (let n = 0; n < 3; n++) {
        const status = await p.podman("run", "--rm", "--pod", "pod", IMAGE, "sh", "-c", `hostname; exit ${n}`);
        expect.result(`run --rm ${n}`, status, { status: n, stdout: "pod\n" });
      }
      await p.script(expect, "pod", "killed", "sleep 1000");
      const pid = await p.inspect("killed", "{{.State.Pid}}");
      expect.result("kill -9 of its pid on the host", await p.arena.run(["kill", "-9", pid]));
      expect.result("wait", await p.podman("wait", "killed"), { stdout: "137\n" });
      expect.result("start", await p.podman("start", "killed"));
      expect.equal("both", await p.states("killed", "stays"), ["running", "running"]);
      await p.talk(expect, "killed", "stays", 7001);
      expect.result("stop", await p.podman("stop", "--time", "0", "killed"));
      expect.result("rm", await p.podman("rm", "killed"));
      expect.equal("the other one", await p.states("stays"), ["running"]);
      await p.removePod(expect, "pod");
    },
  ],
  [
    "processes-of-the-pod",
    async (p, expect) => {
      expect.result("pod create", await p.createPod("pod", "--share", "net,ipc,uts,pid"));
      await p.script(expect, "pod", "a", WAITING);
      await p.script(expect, "pod", "b", "sleep 1234 & echo $!; wait; echo ended; sleep 1000");
      expect.equal("pid 1", await p.sh("a", "cat /proc/1/comm"), "catatonit\n");
      let pid = "";
      await expect.eventually("b's child", async () => {
        pid = (await p.podman("logs", "b")).stdout.trim();
        return pid !== "";
      });
      expect.equal("b's child, seen by a", await p.sh("a", `tr '\\0' ' ' < /proc/${pid}/cmdline`), "sleep 1234 ");
      await p.sh("a", `kill ${pid}`);
      await p.logs(expect, "b", `${pid}\nended\n`);
      expect.result("rm", await p.podman("rm", "--force", "--time", "0", "a"));
      expect.equal("the other one", await p.states("b"), ["running"]);
      await p.removePod(expect, "pod");
    },
  ],
  [
    "nothing-shared",
    async (p, expect) => {
      // Neither has an infra container that runs: each is a container by itself.
      for (const flags of [["--infra=false"], ["--share", ""]]) {
        const parent = ["--cgroup-parent", `/${p.arena.cgroup}`];
        const made = await p.podman("pod", "create", "--name", "loose", ...parent, ...flags);
        expect.result(`pod create ${flags.join(" ")}`, made);
        for (const name of ["a", "b"])
          await p.script(expect, "loose", name, WAITING, "--hostname", name, "--network", "none", ...parent);
        expect.equal("host names", [await p.sh("a", "hostname"), await p.sh("b", "hostname")], ["a\n", "b\n"]);
        await p.removePod(expect, "loose");
      }
    },
  ],
  [
    "infra-killed",
    async (p, expect) => {
      // With others, containers outlive the one whose namespaces they share.
      if (!isOurs) return;
      expect.result("pod create", await p.createPod("pod"));
      for (const name of ["a", "b"]) await p.script(expect, "pod", name, WAITING);
      const infra = await p.podman("pod", "inspect", "--format", "{{.InfraContainerID}}", "pod");
      const pid = await p.inspect(infra.stdout.trim(), "{{.State.Pid}}");
      expect.result("kill -9 of the infra container", await p.arena.run(["kill", "-9", pid]));
      for (const name of ["a", "b"]) expect.result("wait", await p.podman("wait", name), { stdout: "137\n" });
      expect.result("pod start", await p.podman("pod", "start", "pod"));
      expect.equal("started again", await p.states("a", "b"), ["running", "running"]);
      await p.removePod(expect, "pod");
    },
  ],
  [
    "bridge-and-published-ports",
    async (p, expect) => {
      expect.result("pod create", await p.createPod("pod", "--network", "podman", "--publish", "8080:7001"));
      await p.script(expect, "pod", "server", "while :; do echo hello | nc -l -p 7001; done");
      await p.script(expect, "pod", "client", WAITING);
      const infra = await p.podman("pod", "inspect", "--format", "{{.InfraContainerID}}", "pod");
      const ip = await p.inspect(infra.stdout.trim(), "{{.NetworkSettings.Networks.podman.IPAddress}}");
      expect.fits("its address", ip, /^10\.88\.0\.\d+$/);
      expect.fits("its device", await p.sh("client", "ip -4 -o addr show eth0"), new RegExp(`inet ${ip}/16 `));
      const from = async (...words: string[]): Promise<string> =>
        (await p.arena.run(["busybox", "nc", "-w", "3", ...words])).stdout;
      await expect.eventually("by its address", async () => (await from(ip, "7001")) === "hello\n");
      await expect.eventually("by the published port", async () => (await from("10.88.0.1", "8080")) === "hello\n");
      await expect.eventually(
        "within the pod",
        async () => (await p.sh("client", `nc -w 3 ${ip} 7001 </dev/null`)) === "hello\n",
      );
      expect.fits("the bridge", await p.sh("client", "ping -c 1 -W 3 10.88.0.1"), /1 packets received/);
      await p.removePod(expect, "pod");
    },
  ],
  [
    "kube-play",
    async (p, expect) => {
      const volume = join(p.arena.dir, "kube");
      mkdirSync(volume);
      const file = join(p.arena.dir, "kube.yaml");
      for (const [kind, name, yaml] of [
        ["Pod", "web", `apiVersion: v1\nkind: Pod\n${pod("web", volume)}`],
        [
          "Deployment",
          "shop-pod-0",
          `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: shop}}\n  template:\n    ${pod("shop", volume, "    ")}`,
        ],
      ] as const) {
        writeFileSync(file, yaml);
        const id = await p.play(expect, file);
        const listed = await p.podman("pod", "ps", "--format", "{{.Name}} {{.Status}}");
        expect.equal("pod ps", listed.stdout, `${name} Running\n`);
        await p.logs(expect, `${name}-reader`, "hello\nready\n");
        expect.equal("the host name", await p.sh(`${name}-reader`, "hostname"), `${name.split("-")[0]}-host\n`);
        await p.talk(expect, `${name}-reader`, `${name}-writer`, 7001);
        const limit = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
        expect.equal("its limit", await p.sh(`${name}-writer`, limit), `${64 << 20}\n`);
        const next = await p.play(expect, "--replace", file);
        const down = await p.podman("kube", "down", file);
        expect.result(`kube down of a ${kind}`, down, { stdout: new RegExp(next) });
        await expect.eventually("no cgroup of it", () => p.cgroups(id).length + p.cgroups(next).length === 0);
        expect.equal("pods listed", (await p.podman("pod", "ps", "-q")).stdout, "");
      }
    },
  ],
];

export const podmanPodCases = (filters: readonly string[]): Case[] =>
  platforms.flatMap((platform) =>
    clientCases(
      {
        name: "podman-pods",
        needs: ["podman", "conmon", "catatonit", "containernetworking-plugins", "iptables", ...rootfsPackages],
        make: (arena) => new PodmanPods(arena, platform),
        tests: tests.map(([name, run]) => asTest([`${name}@${platform}`, run])),
      },
      filters,
    ),
  );
