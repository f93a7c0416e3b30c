import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Bench } from "../testing.ts";
import { defaultSpec } from "./default.ts";
import { loadProcess, loadSpec, parseResources } from "./load.ts";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

const PROCESS = { cwd: "/", args: ["sh"] };
const load = (changes: object) => {
  bench.writeSpec(changes);
  return loadSpec(bench.bundle);
};
const failure = (changes: object): string => {
  try {
    load(changes);
  } catch (error) {
    return (error as Error).message.replace(`${bench.bundle}/config.json: `, "");
  }
  return "no error";
};

describe("a wrong value is an error that names its path", () => {
  const cases: [object, string][] = [
    [{ ociVersion: undefined }, "ociVersion: is missing"],
    [{ ociVersion: "one" }, 'ociVersion: expected a version like 1.3.0, got "one"'],
    [{ ociVersion: "2.0.0" }, "ociVersion: 2.0.0 is not supported, this is 1.3.0"],
    [{ root: undefined }, "root: is missing"],
    [{ root: {} }, "root.path: is missing"],
    [{ process: { ...PROCESS, args: [] } }, "process.args: must not be empty"],
    [{ process: { ...PROCESS, cwd: "tmp" } }, "process.cwd: must be an absolute path"],
    [{ process: { ...PROCESS, env: ["A", 1] } }, "process.env.1: expected string, got number"],
    [{ process: { ...PROCESS, env: ["A\0B"] } }, "process.env.0: must not contain a NUL byte"],
    [{ process: { ...PROCESS, user: { uid: -1 } } }, "process.user.uid: invalid value: Expected >=0 but received -1"],
    [{ process: { ...PROCESS, user: { uid: 1.5 } } }, "process.user.uid: expected a whole number, got 1.5"],
    [{ process: { ...PROCESS, oomScoreAdj: 2000 } }, "process.oomScoreAdj: expected -1000 to 1000, got 2000"],
    [
      { process: { ...PROCESS, rlimits: [{ type: "RLIMIT_CPU", soft: 2, hard: 1 }] } },
      "process.rlimits.0: soft 2 is above hard 1",
    ],
    [{ mounts: [{ destination: "/x" }] }, "mounts.0.type: is missing"],
    [{ mounts: [{ destination: "/x", type: "bind" }] }, "mounts.0.source: is missing (a bind mount needs one)"],
    [{ linux: { namespaces: [{ type: "net" }] } }, 'linux.namespaces.0.type: unknown namespace "net"'],
    [{ linux: { namespaces: [{ type: "pid" }, { type: "pid" }] } }, "linux.namespaces.1.type: pid is given twice"],
    [
      { linux: { sysctl: { "kernel.panic": "1" } } },
      'linux.sysctl: "kernel.panic" is not in a separate kernel namespace',
    ],
    [
      { linux: { devices: [{ type: "x", path: "/dev/x" }] } },
      'linux.devices.0.type: expected "c", "b", "u" or "p", got "x"',
    ],
    [{ linux: { maskedPaths: ["proc"] } }, "linux.maskedPaths.0: must be an absolute path"],
    [{ linux: { rootfsPropagation: "up" } }, 'linux.rootfsPropagation: "up" is not supported'],
    [{ linux: { seccomp: { defaultAction: "ALLOW" } } }, 'linux.seccomp.defaultAction: unknown "ALLOW"'],
    [
      {
        linux: {
          seccomp: {
            defaultAction: "SCMP_ACT_ALLOW",
            syscalls: [{ names: ["x"], action: "SCMP_ACT_ERRNO", args: [{ index: 6, value: 0, op: "SCMP_CMP_EQ" }] }],
          },
        },
      },
      "linux.seccomp.syscalls.0.args.0.index: expected 0 to 5, got 6",
    ],
    [{ annotations: { a: 1 } }, "annotations.a: expected string, got number"],
  ];
  for (const [changes, message] of cases) test(message, () => expect(failure(changes)).toBe(message));
});

describe("what does not apply is a warning", () => {
  const cases: [object, string][] = [
    [{ ociVersion: "1.9.0" }, "ociVersion 1.9.0 is newer than 1.3.0"],
    [{ process: { ...PROCESS, apparmorProfile: "docker-default" } }, "process.apparmorProfile does not apply"],
    [{ process: { ...PROCESS, selinuxLabel: "x" } }, "process.selinuxLabel does not apply"],
    [{ mounts: [{ destination: "tmp", type: "tmpfs" }] }, 'mounts.0.destination: "tmp" is not absolute'],
    [
      { linux: { namespaces: [{ type: "time", path: "/proc/1/ns/time" }] } },
      "linux.namespaces.0: a guest kernel cannot join",
    ],
  ];
  for (const [changes, start] of cases)
    test(start, () => {
      const { warnings } = load(changes);
      expect(warnings.length).toBe(1);
      expect(warnings[0]!).toStartWith(start);
    });
});

test("root and bind sources become absolute", () => {
  const { spec } = load({ mounts: [{ destination: "/d", type: "bind", source: "data" }] });
  expect(spec.root!.path).toBe(join(bench.bundle, "rootfs"));
  expect(spec.mounts![0]!.source).toBe(join(bench.bundle, "data"));
});
test("64-bit limits are taken", () => {
  const infinity = 18446744073709551615n;
  bench.writeSpec({});
  const text = `{"cwd":"/","args":["x"],"rlimits":[{"type":"RLIMIT_AS","soft":${infinity},"hard":${infinity}}]}`;
  writeFileSync(join(bench.directory, "process.json"), text);
  expect(loadProcess(join(bench.directory, "process.json")).rlimits![0]!.hard).toBe(2 ** 64);
});
test("what spec writes is a good bundle, with and without root", () => {
  for (const rootless of [false, true]) expect(load(defaultSpec(rootless, 1000, 1000)).warnings).toEqual([]);
});
test("resources name their source", () =>
  expect(() => parseResources('{"memory":{"limit":"1"}}', "standard input")).toThrow(
    "standard input: memory.limit: expected number, got string",
  ));
