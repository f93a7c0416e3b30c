/**
 * Containers that join a sandbox and leave it again, each with everything: own or shared pid space, cgroups, volumes, a
 * terminal, an exec, and one of four ways to end. By the command's own code, in one process, so that a hundred of them
 * take seconds.
 *
 * Twice it prints a line of JSON: the census (the plugin beside this one, read in the sandbox' first container), and what
 * there is of it on the host.
 */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { definePlugin } from "runts";

type Context = Parameters<
  Parameters<Parameters<Parameters<typeof definePlugin>[0]["host"] & object>[0]["command"]>[2]
>[0];

const SIGKILL = 9;
/** What ends in the background (stubs, spares, sockets that close) has this long. */
const SETTLE_MS = 1500;
/** No other test has cgroups of this name. */
const POD = `leaks-${process.pid}`;

function specOf(
  dir: string,
  id: string,
  args: readonly string[],
  more: { terminal?: boolean; ownPids?: boolean } = {},
) {
  const { terminal = false, ownPids = true } = more;
  const own = (ownPids ? ["pid", "mount", "ipc", "uts"] : ["mount"]) as ("pid" | "mount" | "ipc" | "uts")[];
  return {
    ociVersion: "1.0.2",
    root: { path: join(dir, "rootfs"), readonly: id !== POD },
    process: { terminal, cwd: "/", args: [...args], user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] },
    annotations: {
      "io.kubernetes.cri.container-type": id === POD ? "sandbox" : "container",
      "io.kubernetes.cri.sandbox-id": POD,
    },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "devtmpfs", source: "dev" },
      { destination: "/dev/pts", type: "devpts", source: "devpts" },
      { destination: "/tmp", type: "tmpfs", source: "tmpfs" },
      ...["volume", "other"].map((name) => ({
        destination: `/${name}`,
        type: "bind",
        source: join(dir, name),
        options: ["rbind", name === "other" ? "ro" : "rw"],
      })),
    ],
    linux: { namespaces: own.map((type) => ({ type })), resources: { memory: { limit: 256 << 20 } } },
  };
}

const countOf = (words: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
};

/** Where the descriptors of a process lead; without numbers, and without what says which container it was. */
function descriptorsOf(pid: number | "self"): Record<string, number> {
  const found: string[] = [];
  for (const fd of readdirSync(`/proc/${pid}/fd`))
    try {
      found.push(readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\d+/g, "N"));
    } catch {
      // That of the directory itself.
    }
  return countOf(found);
}

/** Names of the processes below one, without those that only wait to be reaped. */
function processesBelow(pid: number): Record<string, number> {
  const found: string[] = [];
  const queue = [pid];
  for (let next = queue.pop(); next !== undefined; next = queue.pop())
    try {
      for (const task of readdirSync(`/proc/${next}/task`))
        for (const child of readFileSync(`/proc/${next}/task/${task}/children`, "utf8").split(" ").filter(Boolean)) {
          queue.push(Number(child));
          const [, name = "", state = ""] = /\((.*)\) (\S)/s.exec(readFileSync(`/proc/${child}/stat`, "latin1")) ?? [];
          if (state !== "Z") found.push(name.replace(/\d+/g, "N"));
        }
    } catch {
      // Ended meanwhile.
    }
  return countOf(found);
}

async function joiners(context: Context, [dir = "", before = "", after = ""]: string[]): Promise<void> {
  const containers = await context.containers();
  const host = await context.hostCalls();
  const bundle = dir;
  for (const name of ["volume", "other"]) mkdirSync(join(dir, name));

  const pod = await containers.create({
    id: POD,
    bundle,
    detached: true,
    spec: specOf(dir, POD, ["sleep", "1000"]),
  });
  await containers.start(POD);

  /** `killed`: the container may end, and with it this program. */
  const exec = async (id: string, args: readonly string[], stdout: number, killed = false) => {
    const nothing = openSync("/dev/null", "r+");
    const { process } = specOf(dir, id, args);
    const options = { process, stdio: [nothing, stdout, 2], detached: true, ignorePaused: false };
    const session = await containers.exec(id, options);
    closeSync(nothing);
    const { exitCode } = (await session.sandbox.request("wait", { id, pid: session.pid })) as { exitCode: number };
    session.sandbox.close();
    if (exitCode !== 0 && !(killed && exitCode === 128 + SIGKILL))
      console.log(`wrong: ${args.join(" ")} in ${id}: ${exitCode}`);
  };

  let made = 0;
  const round = async () => {
    const at = made++;
    const id = `${POD}-${at}`;
    const terminal = at % 3 === 0;
    const ways = ["killed", "forced", "by itself", "never started"] as const;
    const way = ways[at % ways.length]!;
    const args = [
      "sh",
      "-c",
      way === "by itself" ? "sleep 1000 & while ! test -e /tmp/end; do sleep 0.01; done" : "sleep 1000 & sleep 1001",
    ];
    const pair = new Int32Array(2);
    if (terminal) host.openpty(pair);
    const { sandbox } = await containers.create({
      id,
      bundle,
      // Who serves its terminal itself stays connected.
      detached: !terminal,
      ...(terminal ? { terminal: pair[1]! } : {}),
      spec: specOf(dir, id, args, { terminal, ownPids: Math.floor(at / 2) % 2 === 0 }),
    });
    if (!terminal) sandbox.close();
    if (way !== "never started") {
      await containers.start(id);
      const works = "echo x > /volume/x; cat /volume/x > /tmp/y; cat /proc/1/stat; touch /tmp/end";
      await exec(id, ["sh", "-c", works], nullFd, way === "by itself");
      if (way === "killed") await containers.kill(id, SIGKILL);
      if (way === "by itself" || way === "killed") await containers.wait(id);
    }
    await containers.delete(id, way === "forced" || way === "never started");
    if (terminal) {
      sandbox.close();
      for (const fd of pair) closeSync(fd);
    }
  };
  const nullFd = openSync("/dev/null", "r+");
  const count = async () => {
    await Bun.sleep(SETTLE_MS);
    const path = join(dir, "census");
    writeFileSync(path, "");
    const file = openSync(path, "w");
    // Not by cat: busybox copies by sendfile(2), and each read from the start of that file is a new count.
    await exec(POD, ["dd", "if=/dev/census", "bs=65536", "status=none"], file);
    closeSync(file);
    await Bun.sleep(SETTLE_MS);
    const sandboxPid = pod.sandbox.pid;
    const onHost = {
      sandbox: descriptorsOf(sandboxPid),
      command: descriptorsOf("self"),
      stubs: processesBelow(sandboxPid),
      processes: processesBelow(process.pid),
    };
    console.log(JSON.stringify({ census: JSON.parse(readFileSync(path, "utf8")), onHost }));
  };

  try {
    for (let n = 0; n < Number(before); n++) await round();
    await count();
    for (let n = 0; n < Number(after); n++) await round();
    await count();
    console.log("done");
  } finally {
    await containers.delete(POD, true);
    pod.sandbox.close();
  }
}

export default definePlugin({
  name: "joiners",
  host(host) {
    host.command("leak-joiners <dir> <before> <after>", "containers that join a sandbox and leave it", joiners);
  },
});
