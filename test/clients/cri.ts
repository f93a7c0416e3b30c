/**
 * Pods as Kubernetes makes them: containerd's `cri` plugin, told by its socket what a kubelet tells it, with runts as a
 * runtime handler. Each test has a pod of its own, and leaves nothing.
 *
 * RUNTS_CRI_RUNTIME=runc runs the same with another runtime; what only holds where a pod is one sandbox is left out then.
 *
 * Contract: rows 17 and 20, 3.1-create, 3.1-exec, 3.1-delete-kill, 3.1-update, 3.2-pid, 3.2-console-socket.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { platforms } from "../harness/sandbox.ts";
import type { Case } from "../harness/suite.ts";
import type { Resources } from "./cri/api.ts";
import { type Container, Node, type Pod } from "./cri/node.ts";
import type { Expect } from "./expect.ts";
import { rootfsPackages } from "./rootfs.ts";
import { isOurs } from "./runtime-under-test.ts";
import { asTest, clientCases, type Test } from "./session.ts";
import { typist, useShell } from "./shell.ts";

const MIB = 1 << 20;
/** Ends on TERM with 5, and says that it waits. */
const WAITING = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done";
/** Does not care for TERM. */
const STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done";

const limited = (resources: Resources) => ({ linux: { resources } });

/** A service that answers on the pod's loopback, and the answer to a neighbour. */
async function talks(expect: Expect, from: Container, to: Container, port: number): Promise<void> {
  await to.background(`nc -l -p ${port} -e echo hello from ${port}`);
  let answer = "";
  await expect.eventually(`a connection to port ${port}`, async () => {
    answer = await from.sh(`nc -w 5 127.0.0.1 ${port} </dev/null`);
    return answer !== "";
  });
  expect.equal("what came over localhost", answer, `hello from ${port}\n`);
}

const tests: Test<Node>[] = [
  [
    "life-of-a-pod",
    async (node, expect) => {
      const pod = await node.runPod({ annotations: { "example.test/note": "kept" } });
      const ready = await pod.status();
      expect.equal("the pod", [ready.state, ready.runtimeHandler], ["SANDBOX_READY", "runts"]);
      expect.fits("its address", ready.network?.ip ?? "", /^10\.89\.0\.\d+$/);
      const options = { workingDir: "/etc", envs: [{ key: "A", value: "b c" }] };
      // containerd notes the start when it has heard of it: a program that has ended by then has ended before its start.
      const script = "echo $A in $PWD; echo err >&2; sleep 0.5; exit 7";
      const container = await pod.create("one", [], { ...options, command: ["sh"], args: ["-c", script] });
      const created = await container.status();
      expect.equal("created", [created.state, created.startedAt], ["CONTAINER_CREATED", 0]);
      await container.start();
      expect.equal("its exit code", await container.exitCode(expect), 7);
      const ended = await container.status();
      expect.equal("its reason", ended.reason, "Error");
      expect.that(
        `its times: ${JSON.stringify(ended)}`,
        ended.createdAt <= ended.startedAt && ended.startedAt <= ended.finishedAt,
      );
      await container.logs(expect, "its output", "b c in /etc\n");
      expect.equal("its errors", container.logged("stderr"), "err\n");
      const well = await pod.script("well", "exit 0");
      expect.equal("another's exit code", await well.exitCode(expect), 0);
      expect.equal("its reason", (await well.status()).reason, "Completed");
      const listed = async (): Promise<number> => (await node.call("ListContainers", {})).containers.length;
      expect.equal("containers listed", await listed(), 2);
      await container.remove();
      await container.remove();
      expect.equal("containers listed then", await listed(), 1);
      await node.call("StopPodSandbox", { podSandboxId: pod.id });
      expect.equal("the pod, stopped", (await pod.status()).state, "SANDBOX_NOTREADY");
      // A kubelet stops and removes more than once.
      await node.removePod(pod);
      await node.call("RemovePodSandbox", { podSandboxId: pod.id });
      expect.equal("pods listed", (await node.call("ListPodSandbox", {})).items, []);
      expect.equal("containers of a removed pod", await listed(), 0);
    },
  ],
  [
    "network-of-the-node",
    (node, expect) =>
      node.inPod({ network: "NODE" }, async (pod) => {
        const one = await pod.script("one", WAITING);
        const two = await pod.script("two", WAITING);
        await talks(expect, one, two, 7001);
      }),
  ],
  [
    "network-of-the-pod",
    (node, expect) =>
      node.inPod({ hostname: "together" }, async (pod) => {
        const one = await pod.script("one", WAITING);
        const two = await pod.script("two", WAITING);
        await talks(expect, one, two, 7001);
        await talks(expect, two, one, 7002);
        // What is bound is bound for all, and abstract sockets are the network namespace's.
        await two.background("nc -l -p 7003 -e true");
        await expect.eventually("a port in use", async () => /:7003 /.test(await two.sh("netstat -ltn")));
        expect.fits(
          "a port that is taken",
          (await one.exec(["nc", "-l", "-p", "7003"])).stderr,
          /Address already in use/,
        );
        await two.background("probe abstract-listen pod", "/tmp/abstract");
        await expect.eventually(
          "an abstract socket",
          async () => (await two.sh("cat /tmp/abstract")) === "listening\n",
        );
        expect.equal("an abstract socket", await one.sh("probe abstract-say pod hello"), "hello\n");
        for (const each of [one, two]) expect.equal("the host name", await each.sh("hostname"), "together\n");
        const other = await node.runPod({ hostname: "apart" });
        try {
          const apart = await other.script("one", WAITING);
          expect.equal("the host name of another pod", await apart.sh("hostname"), "apart\n");
          const refused = await apart.exec(["probe", "abstract-say", "pod", "hello"]);
          expect.fits("an abstract socket of another pod", refused.stdout, /Connection refused/);
        } finally {
          await node.removePod(other);
        }
      }),
  ],
  [
    "pods-and-the-node-talk",
    async (node, expect) => {
      const here = await node.runPod({ hostname: "here" });
      const there = await node.runPod({ hostname: "there" });
      try {
        const address = async (pod: Pod): Promise<string> => (await pod.status()).network?.ip ?? "";
        const [server, client] = [await there.script("server", WAITING), await here.script("client", WAITING)];
        const [to, from] = [await address(there), await address(here)];
        const listening = (port: number) => async (): Promise<boolean> =>
          new RegExp(`:${port} .*LISTEN`).test(await server.sh("netstat -ltn"));
        for (const [port, ask] of [
          [7001, async () => client.sh(`nc -w 5 ${to} 7001 </dev/null`)],
          [7002, async () => (await node.arena.run(["busybox", "nc", "-w", "5", to, "7002"])).stdout],
        ] as const) {
          await server.background(`nc -l -p ${port} -e sh -c 'netstat -tn | grep :${port}'`);
          await expect.eventually(`a server at ${port}`, listening(port));
          const got = await ask();
          const asker = port === 7001 ? from : "10\\.89\\.0\\.1";
          expect.fits(
            "both addresses, as the server has them",
            got,
            new RegExp(`${to}:${port} +(::ffff:)?${asker}:\\d+ +(ESTABLISHED|CLOSE_WAIT)`),
          );
        }
        expect.fits("its device", await client.sh("ip -4 -o addr show eth0"), new RegExp(`inet ${from}/24 `));
        expect.fits("a ping", await client.sh(`ping -c 1 -W 3 ${to}`), /1 packets received/);
        expect.fits("a port without a server", (await client.exec(["nc", "-w", "5", to, "7003"])).stderr, /refused/);
      } finally {
        await node.removePod(here);
        await node.removePod(there);
      }
    },
  ],
  [
    "volumes",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const volume = node.volume("shared");
        const mounts = [{ containerPath: "/v", hostPath: volume }];
        const one = await pod.script("one", WAITING, { mounts });
        const two = await pod.script("two", WAITING, { mounts: [{ ...mounts[0]!, containerPath: "/elsewhere" }] });
        const reader = await pod.script("reader", WAITING, { mounts: [{ ...mounts[0]!, readonly: true }] });
        // Each write is seen by the next reader, whichever of the two it is.
        for (let n = 0; n < 10; n++) {
          await one.sh(`echo ${n} from one > /v/file`);
          expect.equal("a file in the other", await two.sh("cat /elsewhere/file"), `${n} from one\n`);
          await two.sh(`echo ${n} from two >> /elsewhere/file`);
          expect.equal("what was appended", await one.sh("cat /v/file"), `${n} from one\n${n} from two\n`);
          expect.equal("the size", await reader.sh("stat -c %s /v/file"), "22\n");
        }
        expect.equal("on the node", readFileSync(join(volume, "file"), "utf8"), "9 from one\n9 from two\n");
        writeFileSync(join(volume, "file"), "from the node\n");
        expect.equal("from the node", await one.sh("cat /v/file"), "from the node\n");
        const denied = await reader.exec(["touch", "/v/file"]);
        expect.fits("a write by who may only read", denied.stderr, /Read-only file system/);
        // An open file stays what it was when another container renames and deletes.
        await one.background(
          "exec 3</v/file; touch /v/open; while [ ! -e /v/go ]; do sleep 0.05; done; cat <&3 >/v/kept",
        );
        await expect.eventually(
          "an open file",
          async () => (await two.exec(["test", "-e", "/elsewhere/open"])).status === 0,
        );
        await two.sh("cd /elsewhere; echo new > other; mv other file; touch go");
        await expect.eventually(
          "the file kept open",
          async () => (await two.sh("cat /elsewhere/kept")) === "from the node\n",
        );
        expect.equal("the file renamed to", await reader.sh("cat /v/file"), "new\n");

        await one.background("exec probe lock /v/lock", "/tmp/lock");
        await expect.eventually("a lock held", async () => (await one.sh("cat /tmp/lock")) === "locked\n");
        expect.equal("a lock that another container holds", await two.sh("probe lock /elsewhere/lock"), "busy\n");
        await one.sh("kill $(pidof probe)");
        await expect.eventually("the lock let go", async () =>
          (await two.sh("timeout 1 probe lock /elsewhere/lock")).startsWith("locked"),
        );

        await two.background("probe watch /elsewhere", "/tmp/watch");
        await expect.eventually("a watch", async () => (await two.sh("cat /tmp/watch")) === "watching\n");
        await one.sh("echo x > /v/watched; rm /v/watched");
        await expect.eventually("what inotify tells", async () =>
          /watching\nmade watched\nwritten watched\ndeleted watched\n$/.test(await two.sh("cat /tmp/watch")),
        );
        await one.sh("printf a > /v/mapped");
        await two.background("probe map /elsewhere/mapped", "/tmp/map");
        await expect.eventually("a file mapped", async () => (await two.sh("cat /tmp/map")) === "a\n");
        await one.sh("printf b > /v/mapped.new; cat /v/mapped.new | dd of=/v/mapped conv=notrunc 2>/dev/null");
        await expect.eventually("memory mapped from a file", async () => (await two.sh("cat /tmp/map")) === "a\nb\n");

        // What is no volume is each one's own, but /dev/shm is the pod's.
        await one.sh("echo mine > /tmp/mine; echo ours > /dev/shm/ours");
        expect.equal("a file of the other", (await two.exec(["cat", "/tmp/mine"])).status, 1);
        expect.equal("shared memory", await two.sh("cat /dev/shm/ours"), "ours\n");
      }),
  ],
  [
    "processes-of-the-pod",
    (node, expect) =>
      node.inPod({ pid: "POD" }, async (pod) => {
        const one = await pod.script("one", WAITING);
        const two = await pod.script("two", "sleep 1234 & echo $!; wait; echo ended; sleep 1000");
        await one.logs(expect, "the first one's start", "ready\n");
        expect.equal("pid 1", await one.sh("cat /proc/1/comm"), "pause\n");
        await expect.eventually("the other's processes", async () => /sleep 1234/.test(await one.sh("ps")));
        expect.equal("what is not its own pid", await two.sh("echo $(( $$ > 2 ))"), "1\n");
        expect.equal(
          "the namespace",
          await one.sh("readlink /proc/self/ns/pid"),
          await two.sh("readlink /proc/1/ns/pid"),
        );
        const sleeper = two.logged().trim();
        expect.fits("a process of the other", await one.sh(`cat /proc/${sleeper}/cmdline`), /^sleep.1234.$/);
        await one.sh(`kill ${sleeper}`);
        await two.logs(expect, "a signal from the other container", `${sleeper}\nended\n`);
        // Orphans are the pause container's, which reaps them.
        await one.sh("sh -c 'sleep 0.2 >/dev/null 2>&1 & echo $! > /tmp/orphan'");
        await expect.eventually(
          "an orphan reaped",
          async () => (await one.sh("test -e /proc/$(cat /tmp/orphan) || echo gone")) === "gone\n",
        );
        const three = await pod.script("three", "sleep 777 & exit 3");
        expect.equal("the third's end", await three.exitCode(expect), 3);
        await expect.eventually(
          "what it left in the pod's pid space",
          async () => !/sleep 777/.test(await one.sh("ps")),
        );
        expect.that("the others meanwhile", (await one.running()) && (await two.running()));
        await one.stop(10);
        expect.equal("the exit code on TERM", (await one.status()).exitCode, 5);
        expect.that("the other goes on", await two.running());
      }),
  ],
  [
    "processes-apart",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const one = await pod.script("one", WAITING);
        const two = await pod.run("two", ["sleep", "1234"]);
        expect.equal("pid 1 of one", await one.sh("tr '\\0' ' ' < /proc/1/cmdline | cut -c1-3"), "sh \n");
        expect.equal("pid 1 of two", await two.sh("cat /proc/1/comm"), "sleep\n");
        expect.that("the other's processes are seen", !/1234|pause/.test(await one.sh("ps")));
        const names = ["mnt", "pid", "cgroup"];
        for (const name of ["net", "ipc", "uts", ...names.slice(0, 2)]) {
          const inodes = [one, two].map((each) => each.sh(`readlink /proc/self/ns/${name}`));
          const [first, second] = await Promise.all(inodes);
          expect.equal(`the ${name} namespace is the same`, first === second, !names.includes(name));
        }
        // As kubectl debug does it: a container that looks at another's processes.
        const namespaceOptions = { network: "POD", pid: "TARGET", ipc: "POD", targetId: two.id } as const;
        const debug = await pod.script("debug", WAITING, { security: { namespaceOptions } });
        expect.fits("processes of the target", await debug.sh("ps"), /1 root +sleep 1234/);
        expect.that("and no others", !/pause/.test(await debug.sh("ps")));
        await debug.stop();
        expect.that("the target goes on", await two.running());
      }),
  ],
  [
    "exec",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const one = await pod.script("one", WAITING, { envs: [{ key: "A", value: "b" }] });
        await pod.script("two", WAITING);
        const got = await one.exec(["sh", "-c", "echo in $A; echo err >&2; exit 7"]);
        expect.equal("ExecSync", got, { stdout: "in b\n", stderr: "err\n", status: 7 });
        const large = await one.exec(["seq", "1", "100000"]);
        expect.equal("much output", large.stdout.length, 588895);
        for (const [cmd, says] of [
          [["/no/such"], /no such file or directory/],
          [["no-such-name"], /executable file not found in \$PATH/],
          [["/etc/plain"], /permission denied/],
        ] as const)
          await one.exec([...cmd]).then(
            () => expect.problems.push(`${cmd}: no error`),
            (error: Error) => expect.fits(`${cmd}`, error.message, says),
          );
        const begun = performance.now();
        await one.exec(["sleep", "100"], 1).then(
          () => expect.problems.push("a command that takes too long: no error"),
          (error: Error) => expect.fits("a command that takes too long", error.message, /timeout 1s exceeded/),
        );
        expect.that("its end took long", performance.now() - begun < 10_000);
        await expect.eventually("its process is gone", async () => !/sleep 100/.test(await one.sh("ps")));
        const piped = await one.execPipes(["sh", "-c", "echo out; echo err >&2; test -t 0 || exit 9"]);
        expect.result("Exec with pipes", piped, { stdout: "out\n", stderr: "err\n", status: 9 });
        const terminal = await one.execTerminal(["sh"]);
        await useShell(expect, terminal);
        terminal.type("exit 6\r");
        expect.equal("its exit status", await terminal.exit(), 6);
        expect.that("the container goes on", await one.running());
      }),
  ],
  [
    "attach",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const shell = await pod.run("shell", ["sh"], { stdin: true, tty: true });
        const neighbour = await pod.run("neighbour", ["sh"], { stdin: true, tty: true });
        const terminal = await shell.attachTerminal();
        const type = typist(expect, terminal);
        await type("tty; ls -l /dev/console | cut -c1\r", "/dev/pts/0\nc\n");
        await type("stty size\r", "30 90\n");
        const other = await neighbour.attachTerminal();
        other.type("tty; echo from the neigh''bour\r");
        expect.that(`its neighbour: ${other.seen}`, await other.until("/dev/pts/0\nfrom the neighbour\n"));
        other.type("exit 4\r");
        expect.equal("the neighbour's exit code", await neighbour.exitCode(expect), 4);
        await other.exit();
        await type("sleep 100\r", "sleep 100\n");
        await Bun.sleep(300);
        await type("\x03", "# ");
        terminal.type("exit 3\r");
        expect.equal("its exit code", await shell.exitCode(expect), 3);
        await terminal.exit();

        const pipes = await pod.script("pipes", "read a; echo got $a; echo err >&2; exit 2", {
          stdin: true,
          stdinOnce: true,
        });
        const attached = await pipes.attachPipes("typed\n");
        expect.equal("what came back", [attached.stdout, attached.stderr], ["got typed\n", "err\n"]);
        expect.equal("its exit code", await pipes.exitCode(expect), 2);
      }),
  ],
  [
    "limits-and-statistics",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const resources = { memoryLimitInBytes: 96 * MIB, cpuQuota: 50_000, cpuPeriod: 100_000 };
        const small = await pod.script("small", WAITING, limited(resources));
        const large = await pod.script("large", "head -c 20m /dev/zero | tail -c 20m | (sleep 1000; cat)");
        const read = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
        expect.equal("its memory", await small.sh(read), `${96 * MIB}\n`);
        expect.that("the other's memory", (await large.sh(read)) !== `${96 * MIB}\n`);
        const of = async (container: Container) => {
          const { stats } = await node.call("ListContainerStats", { filter: { podSandboxId: pod.id } });
          expect.equal("containers with statistics", stats.length, 2);
          const found = stats.find((each) => each.attributes.id === container.id);
          return {
            memory: found?.memory?.workingSetBytes?.value ?? 0,
            cpu: found?.cpu?.usageCoreNanoSeconds?.value ?? 0,
          };
        };
        // Each has what it uses counted as its own.
        await expect.eventually("the large one's memory", async () => (await of(large)).memory > 20 * MIB);
        expect.that("the small one's memory", (await of(small)).memory < 20 * MIB);
        const before = await of(small);
        await large.sh("timeout 1 sh -c 'while :; do :; done'");
        expect.that("processor time of who worked", (await of(large)).cpu > 100e6);
        expect.that("processor time of who did not", (await of(small)).cpu - before.cpu < 300e6);
        await node.call("UpdateContainerResources", {
          containerId: small.id,
          linux: { memoryLimitInBytes: 128 * MIB, cpuQuota: 80_000, cpuPeriod: 100_000 },
        });
        expect.equal("its memory, updated", await small.sh(read), `${128 * MIB}\n`);
        expect.that("the other's memory", (await large.sh(read)) !== `${128 * MIB}\n`);
      }),
  ],
  [
    "out-of-memory",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const bystander = await pod.script("bystander", WAITING);
        const limits = limited({ memoryLimitInBytes: 64 * MIB });
        const hog = await pod.run("hog", ["sh", "-c", "sleep 1; exec tail /dev/zero"], limits);
        expect.equal("the exit code of who took too much", await hog.exitCode(expect, "the hog", 60_000), 137);
        if (!isOurs) expect.equal("its reason", (await hog.status()).reason, "OOMKilled");
        expect.that("the bystander goes on", await bystander.running());
        expect.equal("and answers", await bystander.sh("echo well"), "well\n");
        await hog.remove();
        const again = await pod.script("hog", "echo again; exit 0", limits);
        expect.equal("made anew", await again.exitCode(expect), 0);
      }),
  ],
  [
    "stop",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const bystander = await pod.script("bystander", WAITING);
        const timed = async (container: Container, grace: number): Promise<[code: number, seconds: number]> => {
          await container.logs(expect, "its start", "ready\n");
          const begun = performance.now();
          await container.stop(grace);
          return [(await container.status()).exitCode, (performance.now() - begun) / 1000];
        };
        const [polite, soon] = await timed(await pod.script("polite", WAITING), 30);
        expect.that(`who ends on TERM: ${polite} after ${soon} s`, polite === 5 && soon < 15);
        const [stubborn, late] = await timed(await pod.script("stubborn", STUBBORN), 2);
        expect.that(`who does not: ${stubborn} after ${late} s`, stubborn === 137 && late >= 1.9 && late < 17);
        const [at, once] = await timed(await pod.script("at-once", STUBBORN), 0);
        expect.that(`without grace: ${at} after ${once} s`, at === 137 && once < 10);
        expect.that("the bystander goes on", await bystander.running());
      }),
  ],
  [
    "killed-and-made-anew",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const mounts = [{ containerPath: "/v", hostPath: node.volume("anew") }];
        const neighbour = await pod.script("neighbour", WAITING, { mounts });
        const { startedAt } = await neighbour.status();
        for (let n = 0; n < 3; n++) {
          const container = await pod.script("killed", `echo ${n} > /v/turn; sleep 1000`, { mounts });
          await expect.eventually(`start ${n}`, async () => (await neighbour.sh("cat /v/turn")) === `${n}\n`);
          await killed(node, expect, await container.pid());
          expect.equal("the exit code of who was killed", await container.exitCode(expect), 137);
          expect.that("its neighbour goes on", await neighbour.running());
          await container.remove();
          await talks(expect, neighbour, neighbour, 7100 + n);
        }
        expect.equal("its neighbour's start", (await neighbour.status()).startedAt, startedAt);
      }),
  ],
  [
    "users-and-rights",
    (node, expect) =>
      node.inPod({ sysctls: { "net.ipv4.ip_unprivileged_port_start": "0" } }, async (pod) => {
        const user = await pod.script("user", WAITING, {
          security: {
            runAsUser: { value: 1000 },
            readonlyRootfs: true,
            noNewPrivs: true,
            capabilities: { dropCapabilities: ["ALL"] },
            seccomp: { profileType: "RuntimeDefault" },
            maskedPaths: ["/proc/keys", "/proc/timer_list"],
            readonlyPaths: ["/proc/sys"],
          },
        });
        const root = await pod.script("root", WAITING, {
          security: { capabilities: { addCapabilities: ["SYS_ADMIN"] } },
        });
        const rights = "id -u; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; touch /x 2>&1; echo $?";
        expect.equal(
          "a user's",
          await user.sh(rights),
          "1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\ntouch: /x: Read-only file system\n1\n",
        );
        expect.fits(
          "root's",
          await root.sh(rights),
          /^0\nCapEff:\t00000000a82425fb\nNoNewPrivs:\t0\nSeccomp:\t0\n0\n$/,
        );
        expect.equal("a mount", await root.sh("mount -t tmpfs none /home && echo mounted"), "mounted\n");
        expect.equal("is not seen by the other", await user.sh("grep -c ' /home ' /proc/mounts"), "0\n");
      }),
  ],
  [
    "ten-containers",
    (node, expect) =>
      node.inPod({}, async (pod) => {
        const numbers = Array.from({ length: 10 }, (_, n) => n);
        const mounts = [{ containerPath: "/v", hostPath: node.volume("ten") }];
        const all = await Promise.all(numbers.map((n) => pod.script(`c${n}`, `echo ${n}; ${WAITING}`, { mounts })));
        for (const [n, one] of all.entries()) await one.logs(expect, `the start of ${n}`, `${n}\nready\n`);
        const said = await Promise.all(all.map((one, n) => one.sh(`echo ${n} >> /v/all; hostname; echo ${n}`)));
        for (const [n, text] of said.entries()) expect.equal(`what ${n} says`, text, `${pod.config.hostname}\n${n}\n`);
        const lines = (await all[0]!.sh("sort -n /v/all")).trim().split("\n").map(Number);
        expect.equal("what all have written", lines, numbers);
        const { stats } = await node.call("ListContainerStats", { filter: { podSandboxId: pod.id } });
        expect.equal("containers with statistics", stats.length, 10);
        const pids = new Set(await Promise.all(all.map((one) => one.pid())));
        expect.equal("pids on the node", pids.size, 10);
        await Promise.all(all.slice(0, 5).map((one) => one.stop(10)));
        for (const one of all.slice(0, 5)) expect.equal("exit code", (await one.status()).exitCode, 5);
        for (const one of all.slice(5)) expect.that("the others go on", await one.running());
        await node.call("StopPodSandbox", { podSandboxId: pod.id });
        for (const one of all.slice(5)) expect.that("the end of the pod ends all", !(await one.running()));
      }),
  ],
  [
    "sandbox-container-killed",
    async (node, expect) => {
      // Where each container has a kernel's namespaces to itself, the others live on.
      if (!isOurs) return;
      const pod = await node.runPod();
      const one = await pod.script("one", STUBBORN);
      const two = await pod.script("two", STUBBORN);
      await killed(node, expect, await pod.pid());
      for (const each of [one, two]) expect.equal("exit code", await each.exitCode(expect), 137);
      await expect.eventually("the pod's end", async () => (await pod.status()).state === "SANDBOX_NOTREADY");
      await pod.create("late", ["true"]).then(
        async (late) => {
          await late.start().then(
            () => expect.problems.push("a container started in a pod that has ended"),
            () => undefined,
          );
        },
        () => undefined,
      );
      await node.removePod(pod);
    },
  ],
];

/** On one platform, since it says more of what is left behind than of how programs run. */
const fifty: Test<Node> = [
  "fifty-pods",
  async (node, expect) => {
    for (let n = 0; n < 50; n++) {
      const pod: Pod = await node.runPod({ network: n % 2 === 0 ? "POD" : "NODE" });
      const one = await pod.script("one", `echo ${n}; exit ${n}`);
      expect.equal(`exit code ${n}`, await one.exitCode(expect), n);
      await one.logs(expect, `output ${n}`, `${n}\n`);
      await node.removePod(pod);
    }
    expect.equal("pods listed", (await node.call("ListPodSandbox", {})).items, []);
  },
];

/** kill -9 of a process of the node, by its pid there. */
async function killed(node: Node, expect: Expect, pid: number): Promise<void> {
  expect.result(`kill -9 ${pid}`, await node.arena.run(["kill", "-9", `${pid}`]));
}

export const criCases = (filters: readonly string[]): Case[] =>
  platforms.flatMap((platform, at) =>
    clientCases(
      {
        name: "cri",
        needs: ["containerd", "containernetworking-plugins", "gcc", "libc6-dev", ...rootfsPackages],
        make: (arena) => new Node(arena, platform),
        tests: (at === 0 ? [...tests, fifty] : tests).map(([name, run]) => asTest([`${name}@${platform}`, run])),
      },
      filters,
    ),
  );
