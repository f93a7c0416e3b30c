import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Containers } from "../../core/container/lifecycle.ts";
import { isAlive } from "../../core/container/process-ref.ts";
import { Bench } from "../../core/testing.ts";
import hooks from "./index.ts";

let bench: Bench;
let containers: Containers;
beforeEach(async () => {
  bench = new Bench();
  containers = await bench.open(hooks as never);
});
afterEach(() => bench.close());

/** An executable of the test's own. */
function script(name: string, text: string): string {
  const path = join(bench.directory, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}
const out = (name: string) => join(bench.directory, name);
const written = (name: string) => readFileSync(out(name), "utf8");
const create = () => containers.create({ id: "c", bundle: bench.bundle, detached: true });
const gone = () => {
  expect(existsSync(join(bench.root, "c"))).toBe(false);
  expect(isAlive(bench.launcher.last.ref)).toBe(false);
};

const KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;
const passed = { status: { exitCode: 0, signal: 0 }, timedOut: false, stdout: "", stderr: "" };
/** What startContainer hooks in the sandbox answer. */
const inside = (result: object) => {
  bench.launcher.onLaunch = (sandbox) => {
    sandbox.answers.hook = () => ({ ...passed, ...result });
  };
};
const hookRequests = () =>
  bench.launcher.last.requests
    .filter(({ method }) => method === "hook")
    .map(({ params }) => params as { hook: { path: string; args: string[] }; state: string });

describe("runtime-spec: hooks", () => {
  test("each kind at its point, in order, with the state of that moment (row 19)", async () => {
    const path = script("hook", `printf '%s ' "$1" >> ${out("order")}; cat > ${out("state")}-$1`);
    const all = Object.fromEntries(
      KINDS.map((kind) => [
        kind,
        [
          { path, args: ["hook", `${kind}1`] },
          { path, args: ["hook", `${kind}2`] },
        ],
      ]),
    );
    bench.writeSpec({ hooks: all, annotations: { key: "value" } });
    inside({});
    await create();
    expect(written("order")).toBe(
      "prestart1 prestart2 createRuntime1 createRuntime2 createContainer1 createContainer2 ",
    );
    await containers.start("c");
    expect(written("order")).toEndWith("createContainer2 poststart1 poststart2 ");
    // Those are the sandbox's to run.
    expect(hookRequests().map(({ hook }) => [hook.path, ...hook.args])).toEqual([
      [path, "hook", "startContainer1"],
      [path, "hook", "startContainer2"],
    ]);
    expect(bench.launcher.last.requests.at(-1)?.method).toBe("start");
    await bench.launcher.last.kill();
    await containers.delete("c", false);
    expect(written("order")).toEndWith("poststop1 poststop2 ");

    const { pid } = bench.launcher.last.ref;
    const common = { ociVersion: "1.0.2", id: "c", bundle: bench.bundle, annotations: { key: "value" } };
    const states = KINDS.map((kind) =>
      JSON.parse(kind === "startContainer" ? hookRequests()[0]!.state : written(`state-${kind}1`)),
    );
    expect(states).toEqual([
      { ...common, status: "creating", pid },
      { ...common, status: "creating", pid },
      { ...common, status: "creating", pid },
      { ...common, status: "created", pid: 1 },
      { ...common, status: "running", pid },
      { ...common, status: "stopped", pid: 0 },
    ]);
  });

  test("args are the whole argv, env is exactly what is given (row 39)", async () => {
    bench.writeSpec({
      hooks: {
        prestart: [
          {
            path: "/bin/sh",
            args: ["renamed", "-c", `echo "$0 $1" > ${out("args")}; env > ${out("env")}`, "zero", "one"],
            env: ["A=1", "B=x=y"],
          },
        ],
      },
    });
    await create();
    expect(written("args")).toBe("zero one\n");
    // The shell itself adds PWD and the like; nothing of ours is there.
    const env = written("env").split("\n");
    expect(env).toContain("A=1");
    expect(env).toContain("B=x=y");
    expect(env.some((each) => each.startsWith("PATH=") || each.startsWith("HOME="))).toBe(false);
  });

  const failures: [string, object, string][] = [
    [
      "exits with a status",
      { status: { exitCode: 3, signal: 0 }, stdout: "out\n", stderr: "err\n" },
      "exit status 3, stdout: out, stderr: err",
    ],
    ["is killed", { status: { exitCode: 137, signal: 9 } }, "signal: 9, stdout: , stderr: "],
    [
      "takes too long",
      { status: { exitCode: 137, signal: 9 }, timedOut: true },
      "timeout executing hook: it took longer than 7 s, stdout: , stderr: ",
    ],
  ];
  for (const [what, result, message] of failures)
    test(`a startContainer hook that ${what} destroys the container and is the error (rows 19, 40)`, async () => {
      const poststop = script("stop-hook", `touch ${out("stopped")}`);
      const hook = { path: "/in/the/container", timeout: 7 };
      bench.writeSpec({ hooks: { startContainer: [hook, hook], poststop: [{ path: poststop }] } });
      inside(result);
      await create();
      await expect(containers.start("c")).rejects.toThrow(
        `error running startContainer hook #0 (/in/the/container): ${message}`,
      );
      gone();
      expect(hookRequests().length).toBe(1);
      expect(bench.launcher.last.requests.some(({ method }) => method === "start")).toBe(false);
      expect(existsSync(out("stopped"))).toBe(true);
    });

  for (const kind of ["prestart", "createRuntime", "createContainer"] as const)
    test(`a failing ${kind} destroys the container and is the error, with its output (rows 19, 40)`, async () => {
      const path = script("bad", `echo to-stdout; echo to-stderr >&2; exit 3`);
      const after = script("after-hook", `touch ${out("after")}`);
      const poststop = script("stop-hook", `touch ${out("stopped")}`);
      bench.writeSpec({ hooks: { [kind]: [{ path }, { path: after }], poststop: [{ path: poststop }] } });
      const life = (async () => {
        await create();
        await containers.start("c");
      })();
      await expect(life).rejects.toThrow(
        `error running ${kind} hook #0 (${path}): exit status 3, stdout: to-stdout, stderr: to-stderr`,
      );
      gone();
      expect(existsSync(out("after"))).toBe(false);
      expect(existsSync(out("stopped"))).toBe(true);
    });

  test("one that hangs is killed after its timeout, with what it started (row 40)", async () => {
    const path = script("hang", `sleep 300 & echo $! > ${out("child")}; wait`);
    bench.writeSpec({ hooks: { createRuntime: [{ path, timeout: 1, env: ["PATH=/bin:/usr/bin"] }] } });
    const before = Date.now();
    await expect(create()).rejects.toThrow("timeout executing hook");
    expect(Date.now() - before).toBeLessThan(3000);
    gone();
    expect(
      existsSync(`/proc/${written("child").trim()}/exe`) && readlinkSync(`/proc/${written("child").trim()}/exe`),
    ).toBe(false);
  });

  test("one that is not there, or not executable, is named", async () => {
    bench.writeSpec({ hooks: { prestart: [{ path: "/nowhere/hook" }] } });
    await expect(create()).rejects.toThrow("error running prestart hook #0 (/nowhere/hook)");
    gone();
  });

  test("one that does not read its input is no failure", async () => {
    bench.writeSpec({ hooks: { prestart: [{ path: "/bin/true" }] }, annotations: { big: "x".repeat(300_000) } });
    await create();
  });

  test("a daemon that it leaves behind does not hold us up", async () => {
    const path = script("daemon", "sleep 3 &");
    bench.writeSpec({ hooks: { prestart: [{ path, env: ["PATH=/bin:/usr/bin"] }] } });
    const before = Date.now();
    await create();
    expect(Date.now() - before).toBeLessThan(2000);
  });

  test("a failing poststop is a warning, and the rest still run (row 34)", async () => {
    const path = script("last-hook", `touch ${out("last")}`);
    bench.writeSpec({ hooks: { poststop: [{ path: "/bin/false" }, { path }] } });
    await create();
    await containers.delete("c", false);
    gone();
    expect(bench.log.lines).toEqual([
      "warning: error running poststop hook #0 (/bin/false): exit status 1, stdout: , stderr: ",
    ]);
    expect(existsSync(out("last"))).toBe(true);
  });

  test("a failing poststart is a warning below 1.3 (row 21)", async () => {
    bench.writeSpec({ hooks: { poststart: [{ path: "/bin/false" }] } });
    await create();
    await containers.start("c");
    expect(containers.get("c").status).toBe("running");
    expect(bench.log.lines[0]).toContain("error running poststart hook #0");
  });
});

test.if(process.geteuid!() === 0)(
  "createContainer hooks are in the sandbox's network namespace, others are not",
  async () => {
    // The sandbox of this test is a process in namespaces of its own.
    const inside = Bun.spawn(["unshare", "--net", "--uts", "--ipc", "sleep", "300"]);
    await Bun.sleep(100);
    bench.launcher.onLaunch = (sandbox) => {
      sandbox.ref.pid = inside.pid;
      sandbox.ref.startTime = Number(readFileSync(`/proc/${inside.pid}/stat`, "latin1").split(") ")[1]!.split(" ")[19]);
    };
    const path = script("where", `readlink /proc/self/ns/net > ${out("ns")}-$1`);
    const hook = (name: string) => [{ path, args: ["where", name], env: ["PATH=/bin:/usr/bin"] }];
    bench.writeSpec({ hooks: { createRuntime: hook("runtime"), createContainer: hook("container") } });
    await create();
    const ours = readlinkSync("/proc/self/ns/net");
    expect(written("ns-runtime").trim()).toBe(ours);
    expect(written("ns-container").trim()).toBe(readlinkSync(`/proc/${inside.pid}/ns/net`));
    expect(written("ns-container").trim()).not.toBe(ours);
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(ours);
    inside.kill("SIGKILL");
    await inside.exited;
  },
);
