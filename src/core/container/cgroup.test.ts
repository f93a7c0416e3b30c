import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeLog } from "../testing.ts";
import {
  applyResources,
  cgroupDirectories,
  cgroupStats,
  detectCgroups,
  makeCgroups,
  SANDBOX_MEMORY,
} from "./cgroup.ts";

const V1 = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`;
const V1_OWN = "4:memory:/job/1\n2:cpu,cpuacct:/\n0::/";
const V2 = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";

describe("where cgroupsPath points", () => {
  const cases: [string, string, string, string, boolean, string[]][] = [
    [
      "absolute, v1",
      V1,
      V1_OWN,
      "/docker/c",
      false,
      ["/sys/fs/cgroup/cpu,cpuacct/docker/c", "/sys/fs/cgroup/memory/docker/c"],
    ],
    [
      "relative, v1",
      V1,
      V1_OWN,
      "docker/c",
      false,
      ["/sys/fs/cgroup/cpu,cpuacct/docker/c", "/sys/fs/cgroup/memory/job/1/docker/c"],
    ],
    ["none, v1", V1, V1_OWN, "", false, ["/sys/fs/cgroup/cpu,cpuacct/c", "/sys/fs/cgroup/memory/job/1/c"]],
    ["absolute, v2", V2, "0::/user/x", "/docker/c", false, ["/sys/fs/cgroup/docker/c"]],
    ["relative, v2: beside ours", V2, "0::/user/x", "c", false, ["/sys/fs/cgroup/user/c"]],
    ["climbing", V2, "0::/", "/../../etc", false, ["/sys/fs/cgroup/etc"]],
    [
      "climbing, relative",
      V1,
      V1_OWN,
      "../../../x",
      false,
      ["/sys/fs/cgroup/cpu,cpuacct/x", "/sys/fs/cgroup/memory/job/1/x"],
    ],
    ["systemd", V2, "0::/", "a-b.slice:docker:c", true, ["/sys/fs/cgroup/a.slice/a-b.slice/docker-c.scope"]],
    ["systemd, no slice", V2, "0::/", ":docker:c", true, ["/sys/fs/cgroup/system.slice/docker-c.scope"]],
    ["systemd, nothing", V2, "0::/", "", true, ["/sys/fs/cgroup/system.slice/runts-c.scope"]],
    ["no cgroups at all", "", "", "/docker/c", false, []],
  ];
  for (const [name, mountinfo, own, path, systemd, expected] of cases)
    test(name, () => expect(cgroupDirectories(detectCgroups(mountinfo, own), path, "c", systemd)).toEqual(expected));
});

describe("limits", () => {
  let root: string;
  let log: FakeLog;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "runts-cgroup-"));
    log = new FakeLog();
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));
  const files = (...names: string[]) => {
    for (const name of names) writeFileSync(join(root, name), "");
  };
  const read = (name: string) => readFileSync(join(root, name), "utf8");

  test("version 1", () => {
    files("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cpu.cfs_quota_us", "cpu.shares", "pids.max");
    applyResources(
      [root],
      { memory: { limit: 1000, swap: -1 }, cpu: { quota: 5000, shares: 512 }, pids: { limit: 10 } },
      log,
    );
    expect(read("memory.limit_in_bytes")).toBe(String(1000 + SANDBOX_MEMORY));
    expect(read("memory.memsw.limit_in_bytes")).toBe("");
    expect([read("cpu.cfs_quota_us"), read("cpu.shares"), read("pids.max")]).toEqual(["5000", "512", "74"]);
    expect(log.lines).toEqual([]);
  });
  test("version 2", () => {
    files("cgroup.controllers", "memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max");
    applyResources(
      [root],
      { memory: { limit: 1000, swap: 3000 }, cpu: { quota: 5000, shares: 1024 }, pids: { limit: -1 } },
      log,
    );
    expect(["memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max"].map(read)).toEqual([
      String(1000 + SANDBOX_MEMORY),
      "2000",
      "5000 100000",
      "39",
      "max",
    ]);
  });
  test("a controller that is not there is said", () => {
    applyResources([root], { pids: { limit: 5 } }, log);
    expect(log.lines).toEqual(["warning: the host has no pids cgroup: pids.max=69 has no effect"]);
  });
  test("one that cannot be made: an error if it was asked for, else without", () => {
    const blocked = join(root, "file/below");
    writeFileSync(join(root, "file"), "");
    mkdirSync(join(root, "ok"));
    expect(() => makeCgroups([join(root, "made"), blocked], undefined, true, log)).toThrow("cannot make the cgroup");
    expect(existsSync(join(root, "made"))).toBe(false);
    expect(makeCgroups([join(root, "made"), blocked], undefined, false, log)).toEqual([join(root, "made")]);
  });
  test("statistics of both versions", () => {
    writeFileSync(join(root, "cpuacct.usage"), "123\n");
    writeFileSync(join(root, "cpuacct.stat"), "user 2\nsystem 3\n");
    writeFileSync(join(root, "memory.usage_in_bytes"), "77\n");
    writeFileSync(join(root, "pids.max"), "max\n");
    expect(cgroupStats([root])).toEqual({ cpuTotalNs: 123, cpuUserNs: 2e7, cpuKernelNs: 3e7, memoryBytes: 77 });
    rmSync(root, { recursive: true });
    mkdirSync(root);
    writeFileSync(join(root, "cpu.stat"), "usage_usec 5\nuser_usec 2\nsystem_usec 3\n");
    writeFileSync(join(root, "memory.current"), "9\n");
    writeFileSync(join(root, "memory.events"), "oom 1\noom_kill 2\n");
    expect(cgroupStats([root])).toEqual({
      cpuTotalNs: 5000,
      cpuUserNs: 2000,
      cpuKernelNs: 3000,
      memoryBytes: 9,
      oomKills: 2,
    });
  });
});
