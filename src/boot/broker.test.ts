import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";
import type { OutsideNetwork, SandboxOptions } from "../core/sandbox.ts";
import { decodeAnswer, encodeRequest, KIND_ANSWER, OP_NETWORK, OP_PING } from "../kernel/net/outside/protocol.ts";
import { recvmsg, sendmsg } from "../native/host.ts";
import { type StartedBroker, startBroker } from "./broker.ts";

const EVERYTHING: OutsideNetwork = {
  egress: "all,raw",
  deny: null,
  publish: null,
  resolvers: [],
  shared: false,
  required: false,
};
const isRoot = process.geteuid!() === 0;

/** A process in namespaces of its own, as a sandbox is. */
async function standIn(...flags: string[]) {
  const child = Bun.spawn(["unshare", ...flags, "sh", "-c", "echo; exec sleep 60"], { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  expect(value).toBeDefined();
  return child;
}

function options(network: SandboxOptions["network"], changes: Partial<SandboxOptions> = {}): SandboxOptions {
  const namespaces = { uidMappings: [], gidMappings: [], usualIds: "container" as const, network: null };
  return { id: "unit", network, outside: EVERYTHING, namespaces, cgroups: [], ...changes } as unknown as SandboxOptions;
}

function ask(socket: number, op: number): { kinds: number[]; result: number | null; text: string } {
  const bytes = encodeRequest(7, { op, family: 0, type: 0, protocol: 0 });
  expect(sendmsg(socket, bytes, bytes.length, new Int32Array(0), 0, 0)).toBe(bytes.length);
  const buffer = new Uint8Array(40000);
  const kinds: number[] = [];
  let text = "";
  for (;;) {
    const n = recvmsg(socket, buffer, buffer.length, new Int32Array(1), new Int32Array([1]), 0);
    const answer = decodeAnswer(buffer, n, -1);
    if (answer === null) return { kinds, result: null, text };
    kinds.push(answer.kind);
    text += Buffer.from(answer.data).toString("latin1");
    if (answer.kind === KIND_ANSWER) return { kinds, result: answer.result, text };
  }
}

const pidOf = (broker: StartedBroker): number => (broker as unknown as { pid: number }).pid;
const stateOf = (pid: number): string => /^State:\s*(\w)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]!;

describe("the broker of a sandbox (CONTRACT 64, 65)", () => {
  const children: { kill(signal?: number): void }[] = [];
  const brokers: StartedBroker[] = [];
  const warnings: string[] = [];
  afterEach(async () => {
    for (const broker of brokers.splice(0)) await broker.end();
    for (const child of children.splice(0)) child.kill(9);
    warnings.length = 0;
  });
  async function start(wanted: SandboxOptions, ...flags: string[]) {
    const child = await standIn(...flags);
    children.push(child);
    const sandbox = { pid: child.pid, isAlive: () => true };
    const broker = startBroker(wanted, sandbox, isRoot, (text) => warnings.push(text));
    if (broker !== null) brokers.push(broker);
    return { child, broker };
  }

  test("is in the sandbox's network namespace, whose loopback is up", async () => {
    const { child, broker } = await start(options("sandbox"), "--user", "--map-root-user", "--net");
    expect(warnings).toEqual([]);
    expect(readlinkSync(`/proc/${pidOf(broker!)}/ns/net`)).toBe(readlinkSync(`/proc/${child.pid}/ns/net`));
    const { kinds, result, text } = ask(broker!.descriptor, OP_NETWORK);
    expect(result).toBe(0);
    expect(kinds.length).toBeGreaterThan(1);
    expect(text).toContain("lo\0");
    // ::1 is there as soon as the device is up.
    expect(text).toContain(`${"\0".repeat(15)}\x01`);
  });

  test("is in ours for the host's network", async () => {
    const { broker } = await start(options("host"), "--user", "--map-root-user", "--net");
    expect(readlinkSync(`/proc/${pidOf(broker!)}/ns/net`)).toBe(readlinkSync("/proc/self/ns/net"));
    expect(ask(broker!.descriptor, OP_PING)).toMatchObject({ kinds: [KIND_ANSWER], result: 0 });
  });

  test("is not there for none, nor for who asks for nothing", async () => {
    expect((await start(options("none"), "--net", "--user")).broker).toBeNull();
    expect((await start(options("sandbox", { outside: null }), "--net", "--user")).broker).toBeNull();
  });

  test("ends when nobody has its socket any more", async () => {
    const { broker } = await start(options("sandbox"), "--user", "--map-root-user", "--net");
    const pid = pidOf(broker!);
    expect(ask(broker!.descriptor, OP_PING).result).toBe(0);
    broker!.release();
    // Not reaped yet: it is our child.
    for (let i = 0; i < 200 && stateOf(pid) !== "Z"; i++) await Bun.sleep(5);
    expect(stateOf(pid)).toBe("Z");
  });

  test("that cannot be started is a warning, and an error where somebody relies on it", async () => {
    const missing = options("sandbox", { cgroups: ["/nowhere/cgroup"] });
    expect((await start(missing, "--user", "--net")).broker).toBeNull();
    expect(warnings).toEqual([
      "cannot start the network broker: cannot put it into the container's cgroup: ENOENT: the container has a loopback network only",
    ]);
    expect(
      start({ ...missing, outside: { ...EVERYTHING, required: true } }, "--user", "--net"),
    ).rejects.toThrow("cannot put it into the container's cgroup: ENOENT");
  });

  test("of a sandbox that is gone is an error of that", async () => {
    const child = await standIn("--user", "--net");
    child.kill(9);
    await child.exited;
    const gone = { pid: child.pid, isAlive: () => false };
    expect(() =>
      startBroker(options("sandbox", { outside: { ...EVERYTHING, required: true } }), gone, isRoot, () => {}),
    ).toThrow("is gone");
  });
});
