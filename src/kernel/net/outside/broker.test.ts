import { afterEach, describe, expect, test } from "bun:test";
import { readlinkSync } from "node:fs";
import { closeFd, memfdCreate, poll1, recvmsg, sendmsg, socketpair } from "../../../native/host.ts";
import { HostPoller } from "../../../native/poller.ts";
import { ENETDOWN } from "../../abi/errno.ts";
import { Kernel } from "../../kernel.ts";
import { KernelLog } from "../../log.ts";
import { FakePlatform } from "../../testing/fake-platform.ts";
import { TaskKit } from "../../testing/task-kit.ts";
import { POLLHUP, POLLIN } from "../../vfs/file.ts";
import { AF_INET, AF_INET6, SOCK_SEQPACKET, SOCK_STREAM } from "../abi.ts";
import { LOOPBACK4, LOOPBACK6 } from "../inet/ip.ts";
import type { Broker } from "./broker.ts";
import {
  ANSWER_MAX,
  type Answer,
  decodeAnswer,
  decodeRequest,
  encodeAnswer,
  encodeRequest,
  HAS_DESCRIPTOR,
  IS_RELAY,
  KIND_REFUSAL,
  KIND_ROUTES,
  OP_CONNECT,
  OP_PING,
} from "./protocol.ts";

const PING = { op: OP_PING, family: 0, type: 0, protocol: 0 };

/** A kernel and the other end of its broker's socket. */
class World {
  readonly log: string[] = [];
  readonly kernel = new Kernel(
    new FakePlatform(),
    new HostPoller(),
    new KernelLog((line) => this.log.push(line), false),
    [],
  );
  readonly end: number;
  readonly broker: Broker;
  readonly answers: Answer[] = [];
  private readonly bytes = new Uint8Array(70000);
  constructor() {
    const pair = new Int32Array(2);
    socketpair(SOCK_SEQPACKET, pair);
    this.end = pair[1]!;
    this.kernel.net.useBroker(pair[0]!);
    this.broker = this.kernel.net.broker!;
    worlds.push(this);
  }
  ask(fd = -1): void {
    this.broker.request(PING, fd, { answered: (answer) => this.answers.push(answer) });
  }
  /** A request as the broker gets it, with how many descriptors. */
  next(): { request: NonNullable<ReturnType<typeof decodeRequest>>; fds: number[] } | null {
    const fds = new Int32Array(4);
    const count = Int32Array.of(4);
    const n = recvmsg(this.end, this.bytes, this.bytes.length, fds, count, 0x40);
    if (n < 0) return null;
    return { request: decodeRequest(this.bytes.slice(0, n))!, fds: [...fds.subarray(0, count[0])] };
  }
  say(bytes: Uint8Array, fds: number[] = []): void {
    expect(sendmsg(this.end, bytes, bytes.length, Int32Array.from(fds), fds.length, 0x40)).toBe(bytes.length);
  }
  hear(): void {
    this.kernel.poller.dispatch();
  }
  get alive(): boolean {
    return this.kernel.net.outside;
  }
}
const worlds: World[] = [];
afterEach(() => {
  for (const { broker, kernel, end } of worlds.splice(0)) {
    broker.close();
    kernel.poller.close();
    closeFd(end);
  }
});
const file = (name = "file"): number => memfdCreate(Buffer.from(`${name}\0`), 1);
const isOpen = (fd: number): boolean => {
  try {
    readlinkSync(`/proc/self/fd/${fd}`);
    return true;
  } catch {
    return false;
  }
};
/** How many descriptors of that name this process has. */
const open = (name: string): number => {
  let count = 0;
  for (let fd = 0; fd < 400; fd++) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`).includes(name)) count++;
    } catch {
      // Not open.
    }
  }
  return count;
};

describe("bytes", () => {
  test("requests", () => {
    const request = {
      op: OP_CONNECT,
      family: AF_INET6,
      type: SOCK_STREAM,
      protocol: 6,
      arg: -3,
      flags: 5,
      place: { family: AF_INET6, ip: LOOPBACK6, port: 65535, scope: 7 },
      level: 41,
      name: 26,
      data: Uint8Array.of(1, 2, 3),
    };
    const bytes = encodeRequest(0xfffffffe, request);
    expect(bytes.length).toBe(59);
    expect(decodeRequest(bytes)).toEqual({ ...request, seq: 0xfffffffe });
    expect(() => encodeRequest(1, { ...PING, data: new Uint8Array(265) })).toThrow();
  });
  test("IPv4 in an IPv6 socket is mapped, and comes back as IPv4", () => {
    const place = { family: AF_INET6, ip: LOOPBACK4, port: 80, scope: 0 };
    const bytes = encodeRequest(1, { ...PING, place });
    expect(Buffer.from(bytes.subarray(28, 44)).toString("hex")).toBe("00000000000000000000ffff7f000001");
    expect(decodeRequest(bytes)!.place).toEqual(place);
  });
  test("answers", () => {
    const place = { family: AF_INET, ip: LOOPBACK4, port: 40000, scope: 0 };
    const bytes = encodeAnswer({ seq: 9, result: -111, place, data: Uint8Array.of(5) });
    expect(decodeAnswer(bytes, bytes.length, -1)).toEqual({
      seq: 9,
      result: -111,
      kind: 0,
      flags: 0,
      place,
      data: Uint8Array.of(5),
      fd: -1,
    });
  });
  const good = encodeAnswer({ seq: 1 });
  const changed = (at: number, ...bytes: number[]): Uint8Array => {
    const copy = good.slice();
    copy.set(bytes, at);
    return copy;
  };
  const wrong: [string, Uint8Array, number?][] = [
    ["too short", good.subarray(0, 47)],
    ["empty", new Uint8Array(0)],
    ["too long", new Uint8Array(ANSWER_MAX + 1)],
    ["a length that is not its own", changed(44, 1)],
    ["a huge length", changed(44, 255, 255, 255, 255)],
    ["a result above 0", changed(4, 1)],
    ["a result that is no errno", changed(4, 0, 0, 0, 128)],
    ["an unknown kind", changed(8, 3)],
    ["unknown flags", changed(10, 4)],
    ["a relay without a descriptor", changed(10, IS_RELAY)],
    ["an unknown family", changed(12, 1)],
    ["no sequence number", changed(0, 0)],
    ["a descriptor that was not announced", good, 3],
    ["a refusal with a descriptor", encodeAnswer({ kind: KIND_REFUSAL, flags: HAS_DESCRIPTOR }), 3],
  ];
  for (const [what, bytes, fd] of wrong)
    test(`no answer: ${what}`, () => expect(decodeAnswer(bytes, bytes.length, fd ?? -1)).toBeNull());
});

describe("asking", () => {
  test("each gets its answer, in whatever order", () => {
    const world = new World();
    const got: string[] = [];
    for (const name of ["a", "b"])
      world.broker.request(PING, -1, { answered: ({ result }) => got.push(`${name} ${result}`) });
    const [a, b] = [world.next()!.request, world.next()!.request];
    world.say(encodeAnswer({ seq: b.seq }));
    world.say(encodeAnswer({ seq: a.seq, result: -13 }));
    world.hear();
    expect(got).toEqual(["b 0", "a -13"]);
  });
  test("descriptors go along and come back", () => {
    const world = new World();
    const fd = file("sent");
    world.ask(fd);
    expect(isOpen(fd)).toBe(true);
    const { request, fds } = world.next()!;
    expect(fds.length).toBe(1);
    world.say(encodeAnswer({ seq: request.seq, flags: HAS_DESCRIPTOR }), fds);
    world.hear();
    expect(readlinkSync(`/proc/self/fd/${world.answers[0]!.fd}`)).toContain("sent");
    for (const one of [fd, ...fds, world.answers[0]!.fd]) closeFd(one);
  });
  test("an announced descriptor that does not come is ENFILE, and no reason to give up", () => {
    const world = new World();
    world.ask();
    world.say(encodeAnswer({ seq: world.next()!.request.seq, flags: HAS_DESCRIPTOR }));
    world.hear();
    expect(world.answers[0]!.result).toBe(-23);
    expect(world.alive).toBe(true);
  });
  test("who does not wait any more leaves no descriptor", () => {
    const world = new World();
    const waiter = { answered: () => expect.unreachable() };
    world.broker.request(PING, -1, waiter);
    world.broker.forget(waiter);
    const fd = file("forgotten");
    world.say(encodeAnswer({ seq: world.next()!.request.seq, flags: HAS_DESCRIPTOR }), [fd]);
    closeFd(fd);
    world.hear();
    expect(world.alive).toBe(true);
    expect(open("forgotten")).toBe(0);
  });
  test("what finds no room goes later, in order, with its descriptor", () => {
    const world = new World();
    const fd = file("later");
    for (let i = 0; i < 2000; i++) world.ask(i === 1999 ? fd : -1);
    closeFd(fd);
    let last = 0;
    for (let seen = 0; seen < 2000; ) {
      const got = world.next();
      if (got === null) {
        world.hear();
        continue;
      }
      seen++;
      expect(got.request.seq).toBe(last + 1);
      last = got.request.seq;
      if (seen === 2000) expect(got.fds.length).toBe(1);
      for (const one of got.fds) closeFd(one);
      world.say(encodeAnswer({ seq: last }));
      world.hear();
    }
    expect(world.answers.length).toBe(2000);
    expect(open("later")).toBe(0);
  });
  test("a broker that does not read gets no more than has a bound", () => {
    const world = new World();
    for (let i = 0; i < 70000; i++) world.ask();
    expect(world.answers.length).toBeGreaterThan(60000);
    expect(new Set(world.answers.map(({ result }) => result))).toEqual(new Set([-105]));
  });
  test("routes and refusals come unasked", () => {
    const world = new World();
    const routes: string[] = [];
    world.broker.onRoutes = (bytes) => routes.push(Buffer.from(bytes).toString());
    world.say(encodeAnswer({ kind: KIND_ROUTES, data: Buffer.from("routes") }));
    world.say(encodeAnswer({ kind: KIND_REFUSAL, data: Buffer.from("tcp 10.0.0.1:25\nforged\x1b[31m") }));
    world.hear();
    expect(routes).toEqual(["routes"]);
    expect(world.log.length).toBe(1);
    expect(world.log[0]).toContain("network: refused tcp 10.0.0.1:25?forged?[31m\n");
  });
  test("a refusal names whose place it was", () => {
    const kit = new TaskKit();
    const { kernel } = kit;
    const pair = new Int32Array(2);
    socketpair(SOCK_SEQPACKET, pair);
    kernel.net.useBroker(pair[0]!);
    const broker = kernel.net.broker!;
    const texts: string[] = [];
    broker.onRefusal = (text) => texts.push(text);
    kit.task.comm = "curl";
    const place = { family: AF_INET6, ip: LOOPBACK4, port: 25, scope: 0 };
    broker.request({ ...PING, place }, -1, { answered: () => {} });
    for (let i = 0; i < 300; i++) broker.means(i, 80);
    const ips = [LOOPBACK4, 299, 0];
    for (const ip of ips) {
      const at = { family: AF_INET, ip, port: ip === LOOPBACK4 ? 25 : 80, scope: 0 };
      if (ip === 299) broker.means(LOOPBACK4, 25);
      const said = encodeAnswer({ kind: KIND_REFUSAL, place: at, data: Buffer.from("it") });
      sendmsg(pair[1]!, said, said.length, new Int32Array(1), 0, 0x40);
      kernel.poller.dispatch();
    }
    // The first was forgotten after so many others.
    expect(texts).toEqual(["it", `it (curl, process ${kit.task.process.pid} of kit)`, "it"]);
    broker.close();
    kernel.poller.close();
    closeFd(pair[1]!);
  });
  test("refusals in the log are few", () => {
    const world = new World();
    for (let i = 0; i < 200; i++) {
      world.say(encodeAnswer({ kind: KIND_REFUSAL, data: Buffer.from(`${i}`) }));
      world.hear();
    }
    expect(world.log.length).toBe(20);
  });
});

describe("the end", () => {
  const endings: [string, (world: World) => void][] = [
    ["it ends", ({ end }) => closeFd(end)],
    ["an empty message", (world) => world.say(new Uint8Array(0))],
    ["what nobody asked for", (world) => world.say(encodeAnswer({ seq: 77 }))],
    [
      "too many descriptors",
      (world) => {
        const fds = [file("many"), file("many")];
        world.say(encodeAnswer({ seq: 1, flags: HAS_DESCRIPTOR }), fds);
        for (const fd of fds) closeFd(fd);
      },
    ],
    [
      "a descriptor with what is no answer",
      (world) => {
        const fd = file("many");
        world.say(Uint8Array.of(1), [fd]);
        closeFd(fd);
      },
    ],
    ["more than an answer may have", (world) => world.say(new Uint8Array(60000))],
  ];
  for (const [what, end] of endings)
    test(`${what}: all are told, once, and there is one line in the log`, () => {
      const world = new World();
      world.ask();
      world.ask();
      if (what === "it ends") while (world.next() !== null);
      end(world);
      world.hear();
      world.hear();
      expect(world.alive).toBe(false);
      world.ask();
      expect(world.answers.map(({ result }) => result)).toEqual([-ENETDOWN, -ENETDOWN, -ENETDOWN]);
      expect(world.log.length).toBe(1);
      expect(world.log[0]).toContain("the network broker is gone");
      expect(open("many")).toBe(0);
      // The other end hears of it.
      if (what !== "it ends") expect(poll1(world.end, POLLIN, 1000) & POLLHUP).toBe(POLLHUP);
    });
  test("an answer twice", () => {
    const world = new World();
    world.ask();
    const { seq } = world.next()!.request;
    world.say(encodeAnswer({ seq }));
    world.say(encodeAnswer({ seq }));
    world.hear();
    expect(world.answers.map(({ result }) => result)).toEqual([0]);
    expect(world.alive).toBe(false);
  });
  test("a waiter's failure is not the others'", () => {
    const world = new World();
    const failures: unknown[] = [];
    world.kernel.poller.onError = (_fd, error) => failures.push(error);
    world.broker.request(PING, -1, {
      answered: () => {
        throw new Error("bug");
      },
    });
    world.ask();
    world.say(Uint8Array.of(0));
    world.hear();
    expect(failures.length).toBe(1);
    expect(world.answers.length).toBe(1);
  });
});

test("whatever a broker says, each waiter hears once, and no descriptor is left", () => {
  let seed = 12345;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >>> 8) % n;
  };
  for (let round = 0; round < 300; round++) {
    const world = new World();
    const heard = new Map<number, number>();
    const asked = random(6);
    for (let i = 0; i < asked; i++)
      world.broker.request(PING, -1, {
        answered({ fd }) {
          heard.set(i, (heard.get(i) ?? 0) + 1);
          if (fd >= 0) closeFd(fd);
        },
      });
    for (let i = 0; i < 8; i++) {
      const bytes = encodeAnswer({
        seq: random(7),
        result: random(2) * -random(5000),
        kind: random(4) === 0 ? random(4) : 0,
        flags: random(4) === 0 ? random(5) : 0,
        data: new Uint8Array(random(3) * random(40)),
      });
      const cut = random(5) === 0 ? bytes.slice(0, 1 + random(bytes.length)) : bytes;
      if (random(3) === 0) cut[random(cut.length)] = random(256);
      const fds = Array.from({ length: random(3) === 0 ? random(4) : 0 }, () => file("fuzzed"));
      sendmsg(world.end, cut, cut.length, Int32Array.from(fds), fds.length, 0x40);
      for (const fd of fds) closeFd(fd);
      world.hear();
    }
    closeFd(world.end);
    world.hear();
    expect([...heard.values()]).toEqual(new Array(asked).fill(1));
    worlds.splice(0);
    world.kernel.poller.close();
  }
  expect(open("fuzzed")).toBe(0);
});
