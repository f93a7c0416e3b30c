import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import multicontainer from "../../plugins/multicontainer/index.ts";
import type { CommandDeclaration } from "../command.ts";
import { parseFlags } from "../go-flags.ts";
import type { GuestProcess } from "../sandbox.ts";
import type { Spec } from "../spec/schema.ts";
import { Bench } from "../testing.ts";
import doCommand, { makeSpec } from "./do.ts";
import { statsEvent } from "./events.ts";
import execCommand, { execProcess } from "./exec.ts";
import { psTable } from "./ps.ts";
import updateCommand, { bytes, fromFlags } from "./update.ts";

let bench: Bench;
beforeEach(async () => {
  bench = new Bench();
  await bench.open(multicontainer);
});
afterEach(() => bench.close());

/** Runs a command as the program would; its output. */
async function run(name: string, ...argv: string[]): Promise<string> {
  const known = bench.registry.commands.get(name)!;
  const declaration = "load" in known ? await known.load() : known;
  const { values, positionals } = parse(declaration, argv);
  bench.output = "";
  await declaration.run(bench.context, values as never, positionals);
  return bench.output;
}
const parse = (declaration: CommandDeclaration, argv: string[]) =>
  parseFlags(declaration.flags ?? {}, argv, { who: "test", stopAtPositional: declaration.stopAtPositional === true });
const values = (declaration: CommandDeclaration, ...argv: string[]) => parse(declaration, argv).values as never;

describe("state and list have runc's shapes (rows 8, 9, 31)", () => {
  test("state", async () => {
    bench.writeSpec({ annotations: { a: "b" } });
    await run("create", "--bundle", bench.bundle, "c");
    const { pid } = bench.launcher.last.ref;
    const text = await run("state", "c");
    const state = JSON.parse(text);
    expect(Object.keys(state)).toEqual([
      "ociVersion",
      "id",
      "pid",
      "status",
      "bundle",
      "rootfs",
      "created",
      "annotations",
      "owner",
    ]);
    expect(state).toMatchObject({ id: "c", pid, status: "created", bundle: bench.bundle, annotations: { a: "b" } });
    expect(text.split("\n")[1]).toBe('  "ociVersion": "1.0.2",');
    await bench.launcher.last.kill();
    expect(JSON.parse(await run("state", "c"))).toMatchObject({ pid: 0, status: "stopped" });
  });
  test("list", async () => {
    expect(await run("list", "--format", "json")).toBe("[]\n");
    await run("create", "--bundle", bench.bundle, "one");
    await run("create", "--bundle", bench.bundle, "two");
    expect(await run("list", "-q")).toBe("one\ntwo\n");
    const [head, first] = (await run("list")).split("\n");
    expect(head).toMatch(/^ID {10}PID {9}STATUS {6}BUNDLE +CREATED +OWNER$/);
    expect(first).toMatch(/^one +\d+ +created +\/.*\/bundle +\d{4}-\d\d-\d\dT[\d:.]+Z/);
    expect(JSON.parse(await run("list", "-f", "json")).map((each: { id: string }) => each.id)).toEqual(["one", "two"]);
  });
});

describe("a container that lives in the sandbox of another (row 17)", () => {
  const annotations = (type: string) => ({
    "io.kubernetes.cri.container-type": type,
    "io.kubernetes.cri.sandbox-id": "pod",
  });
  beforeEach(async () => {
    bench.writeSpec({ annotations: annotations("sandbox") });
    await run("create", "--bundle", bench.bundle, "pod");
    bench.writeSpec({ annotations: annotations("container") });
  });
  test("state and list say in which; where there is none, their shapes are runc's", async () => {
    expect((await run("list")).split("\n")[0]).toMatch(/OWNER *$/);
    await run("create", "--bundle", bench.bundle, "c");
    expect(JSON.parse(await run("state", "c"))).toMatchObject({ id: "c", sandbox: "pod", status: "created" });
    expect(JSON.parse(await run("state", "pod"))).not.toHaveProperty("sandbox");
    const [c, pod] = JSON.parse(await run("list", "-f", "json"));
    expect([c.id, c.sandbox, pod.id, pod.sandbox]).toEqual(["c", "pod", "pod", undefined]);
    const rows = (await run("list")).trimEnd().split("\n");
    expect(rows.map((row) => row.trim().split(/ +/).at(-1))).toEqual(["SANDBOX", "pod", "pod"]);
  });
  test("ps --format json: its own process stands for it where there are no others", async () => {
    await run("create", "--bundle", bench.bundle, "c");
    bench.launcher.last.answers.processes = () => ({ processes: [] });
    const { pid } = (await bench.context.containers()).get("c");
    expect(JSON.parse(await run("ps", "--format", "json", "c"))).toEqual([pid]);
  });

  const status = async () => {
    const declaration = (await (bench.registry.commands.get("run") as { load(): Promise<CommandDeclaration> }).load())!;
    return declaration.run(bench.context, parse(declaration, ["--bundle", bench.bundle, "c"]).values as never, ["c"]);
  };
  const running = async () => {
    const containers = await bench.context.containers();
    while (!containers.store.ids().includes("c") || containers.get("c").status !== "running") await Bun.sleep(1);
  };
  test("run, attached: its status, and the sandbox lives on", async () => {
    const done = status();
    await running();
    await bench.launcher.last.end("c", { exitCode: 7, signal: 0 });
    expect(await done).toBe(7);
    const containers = await bench.context.containers();
    expect(containers.list().map(({ id, container }) => `${id} ${container!.status}`)).toEqual(["pod created"]);
  });
  test("run, attached, and the sandbox is killed", async () => {
    const done = status();
    await running();
    await bench.launcher.last.kill();
    expect(await done).toBe(137);
  });
  test("run, attached, and somebody deletes it by force", async () => {
    const done = status();
    await running();
    await (await bench.context.containers()).delete("c", true);
    expect(await done).toBe(137);
  });
  test("run, attached, and the sandbox does not take its signals: the container is ended, the sandbox is not", async () => {
    const done = status();
    await running();
    bench.launcher.last.silent = true;
    process.kill(process.pid, "SIGTERM");
    expect(await done).toBe(137);
    expect(bench.log.lines.join("\n")).toContain("does not answer: the container is ended without it");
    expect((await bench.context.containers()).get("pod").status).toBe("created");
  });
});

describe("delete takes several ids (row 35)", () => {
  test("each gets its turn, with --force missing ones do not end it (row 38)", async () => {
    await run("create", "--bundle", bench.bundle, "a");
    await run("create", "--bundle", bench.bundle, "b");
    await run("delete", "--force", "a", "missing", "b");
    expect(await run("list", "-q")).toBe("");
  });
  test("without --force the missing one is the error, the others are deleted", async () => {
    await run("create", "--bundle", bench.bundle, "a");
    await expect(run("delete", "missing", "a")).rejects.toThrow("container does not exist");
    expect(await run("list", "-q")).toBe("");
  });
});

describe("exec's process (row 66)", () => {
  const spec = {
    ociVersion: "1.0.2",
    process: {
      terminal: true,
      consoleSize: { height: 1, width: 1 },
      cwd: "/home",
      args: ["init"],
      env: ["PATH=/bin", "A=1"],
      user: { uid: 5, gid: 6, additionalGids: [7] },
      capabilities: { bounding: ["CAP_KILL"], effective: ["CAP_KILL"] },
      noNewPrivileges: false,
    },
  } as Spec;
  const make = (...argv: string[]) => execProcess(spec, values(execCommand, ...argv), ["ls", "-la"]);
  test("as the container's own, but without its terminal", async () =>
    expect(await make()).toEqual({
      ...spec.process!,
      terminal: false,
      args: ["ls", "-la"],
      consoleSize: undefined,
    } as never));
  test("env is merged, the last wins", async () =>
    expect((await make("-e", "A=2", "--env", "B=3", "-e", "B=4")).env).toEqual(["PATH=/bin", "A=2", "B=4"]));
  test("user, groups, cwd", async () => {
    const { user, cwd } = await make("-u", "9:8", "-g", "1", "--additional-gids", "2", "--cwd", "/x");
    expect([user, cwd]).toEqual([{ uid: 9, gid: 8, additionalGids: [7, 1, 2] }, "/x"]);
  });
  test("a user alone keeps the group", async () => expect((await make("-u", "9")).user.gid).toBe(6));
  test("capabilities go into bounding, effective and permitted", async () => {
    const { capabilities } = await make("--cap", "CAP_SYS_ADMIN", "-c", "net_raw");
    expect(capabilities).toEqual({
      bounding: ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_NET_RAW"],
      effective: ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_NET_RAW"],
      permitted: ["CAP_SYS_ADMIN", "CAP_NET_RAW"],
    });
  });
  test("into ambient too where the container has inheritable ones, never into inheritable (CVE-2022-29162)", async () => {
    const given = structuredClone(spec);
    given.process!.capabilities!.inheritable = ["CAP_KILL"];
    const { capabilities } = await execProcess(given, values(execCommand, "--cap", "CAP_CHOWN"), ["ls"]);
    expect([capabilities!.inheritable, capabilities!.ambient]).toEqual([["CAP_KILL"], ["CAP_CHOWN"]]);
  });
  test("--process is taken whole, with the container's capabilities where it says nothing of them", async () => {
    const path = join(bench.directory, "process.json");
    const process = { cwd: "/", args: ["x"], user: { uid: 1, gid: 1 } };
    writeFileSync(path, JSON.stringify(process));
    const { capabilities } = spec.process!;
    expect(await make("--process", path)).toEqual({ ...process, capabilities } as never);
    const own = { ...process, capabilities: { bounding: [] } };
    writeFileSync(path, JSON.stringify(own));
    expect(await make("--process", path)).toEqual(own as never);
    writeFileSync(path, JSON.stringify({ cwd: "/", args: [1] }));
    await expect(make("-p", path)).rejects.toThrow(`${path}: args.0: expected string, got number`);
  });
  for (const [flag, value, message] of [
    ["--user", "root", "expected UID or UID:GID"],
    ["-g", "x", "is not a group number"],
    ["--cap", "CAP_WISH", "unknown capability"],
  ] as const)
    test(`${flag} ${value}`, async () => await expect(make(flag, value)).rejects.toThrow(message));
  test("a failure has status 255, as runc's", async () => {
    const error = await run("exec", "missing", "ls").catch((each: unknown) => each);
    expect(error).toMatchObject({ exitCode: 255, message: "exec failed: container does not exist" });
  });
});

describe("do's spec", () => {
  const make = (...argv: string[]) => makeSpec(values(doCommand, ...argv), ["ls"], undefined, false);
  test("this host's root, directory, environment and user", () => {
    const { root, process: made } = make();
    expect(root).toEqual({ path: "/", readonly: false });
    expect(made).toMatchObject({ cwd: process.cwd(), args: ["ls"], user: { uid: process.getuid!() } });
    expect(made!.env).toContain(`PATH=${process.env["PATH"]}`);
  });
  test("flags", () => {
    const { process: made, mounts } = make("-w", "/x", "-e", "A=1", "-u", "7:8", "-v", "/tmp:/data:ro");
    expect(made).toMatchObject({ cwd: "/x", user: { uid: 7, gid: 8, additionalGids: [] } });
    expect(made!.env!.at(-1)).toBe("A=1");
    expect(made!.capabilities!.effective).toEqual([]);
    expect(mounts!.at(-1)).toEqual({ destination: "/data", type: "bind", source: "/tmp", options: ["rbind", "ro"] });
  });
  for (const bad of [
    ["-v", "x"],
    ["-v", "/a:b"],
    ["-v", "/a:/b:rx"],
    ["-u", "me"],
    ["-e", "=1"],
  ])
    test(`${bad.join(" ")} is refused`, () => expect(() => make(...bad)).toThrow("flag --"));
});

describe("update", () => {
  test("flags to resources, only those given", () => {
    expect(fromFlags(values(updateCommand, "--memory", "64m", "--cpu-quota", "-1", "--cpuset-cpus", "0-1"))).toEqual({
      memory: { limit: 67108864 },
      cpu: { quota: -1, cpus: "0-1" },
    });
    expect(fromFlags(values(updateCommand))).toEqual({});
  });
  for (const [text, number] of [
    ["1", 1],
    ["-1", -1],
    ["2k", 2048],
    ["1.5G", 1610612736],
    ["3MiB", 3145728],
  ] as const)
    test(text, () => expect(bytes("memory", text)).toBe(number));
  test("nonsense", () => expect(() => bytes("memory", "lots")).toThrow('flag --memory: "lots" is no size'));
});

test("ps: the table, with C capped at 99 (row 69)", () => {
  const now = Date.parse("2026-03-04T12:00:00Z");
  const common = { stubPid: 1, gid: 0, threads: 1, tty: "" };
  const processes: GuestProcess[] = [
    {
      ...common,
      pid: 1,
      ppid: 0,
      uid: 0,
      startTime: now / 1000 - 10,
      cpuMs: 65_000,
      command: "sh",
      args: ["sh", "-c", "x"],
    },
    {
      ...common,
      pid: 2,
      ppid: 1,
      uid: 5,
      startTime: now / 1000 - 86400 * 3,
      cpuMs: 0,
      command: "kworker",
      args: [],
      tty: "pts/0",
    },
  ];
  const lines = psTable(processes, now).split("\n");
  expect(lines[0]!.split(/\s+/)).toEqual(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
  expect(lines[1]!).toMatch(/^0 +1 +0 +99 +\d\d:\d\d +\? +00:01:05 +sh -c x$/);
  expect(lines[2]!).toMatch(/^5 +2 +1 +0 +Mar0[01] +pts\/0 +00:00:00 +\[kworker\]$/);
});

test("events --stats: runc's object (row 68)", () => {
  const guest = {
    cpuUserNs: 1,
    cpuKernelNs: 2,
    memoryBytes: 3,
    memoryMaxBytes: 4,
    memoryCacheBytes: 5,
    processes: 6,
    interfaces: [
      {
        name: "eth0",
        rxBytes: 1,
        rxPackets: 2,
        rxErrors: 3,
        rxDropped: 4,
        txBytes: 5,
        txPackets: 6,
        txErrors: 7,
        txDropped: 8,
      },
    ],
  };
  expect(statsEvent("c", {}, guest)).toMatchObject({
    type: "stats",
    id: "c",
    data: {
      cpu: { usage: { total: 3, kernel: 2, user: 1 } },
      memory: { cache: 5, usage: { usage: 3, max: 4 } },
      pids: { current: 6 },
      network_interfaces: [{ Name: "eth0", RxBytes: 1, TxDropped: 8 }],
    },
  });
  expect(statsEvent("c", { memoryBytes: 30, pidsLimit: 74 }, guest)).toMatchObject({
    data: { memory: { usage: { usage: 30 } }, pids: { limit: 10 } },
  });
});

test("spec does not touch what exists", async () => {
  const path = join(bench.bundle, "config.json");
  const before = readFileSync(path, "utf8");
  await expect(run("spec", "--bundle", bench.bundle)).rejects.toThrow(`File ${path} exists. Remove it first`);
  expect(readFileSync(path, "utf8")).toBe(before);
});

test("uninstall leaves what is not ours", async () => {
  const path = join(bench.directory, "daemon.json");
  await run("uninstall", "--config-file", path);
  expect(existsSync(path)).toBe(false);
  writeFileSync(path, JSON.stringify({ debug: true, runtimes: { runts: { path: "/r" }, other: { path: "/o" } } }));
  await run("uninstall", "--config-file", path);
  expect(JSON.parse(readFileSync(path, "utf8"))).toEqual({ debug: true, runtimes: { other: { path: "/o" } } });
  writeFileSync(path, "{");
  await expect(run("uninstall", "--config-file", path)).rejects.toThrow("not valid JSON, it is left alone");
});
