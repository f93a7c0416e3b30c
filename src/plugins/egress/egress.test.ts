import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errno, type KernelApi, type NetworkAttempt, type NetworkHook, v } from "../../core/runts.ts";
import { attend, readReply } from "./attend.ts";
import { Gate } from "./gate.ts";
import { Memory } from "./memory.ts";
import { type Options, options } from "./options.ts";
import { matches, parsePlace, placeText } from "./place.ts";
import type { Question } from "./question.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "runts-egress-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("places", () => {
  const place = { protocol: "tcp", address: "192.0.2.1", port: 443 };
  test("as text", () => {
    expect(placeText(place)).toBe("tcp 192.0.2.1:443");
    expect(placeText({ ...place, protocol: "udp", address: "2001:db8::1" })).toBe("udp [2001:db8::1]:443");
  });
  const cases: [string, boolean | null][] = [
    ["192.0.2.1", true],
    ["192.0.2.1:443", true],
    ["192.0.2.1:*", true],
    ["tcp:192.0.2.1:443", true],
    ["[::ffff:192.0.2.1]:443", true],
    ["*:443", true],
    ["udp:192.0.2.1:443", false],
    ["192.0.2.1:80", false],
    ["192.0.2.2", false],
    ["*", null],
    ["*:*", null],
    ["example.org:443", null],
    ["192.0.2.1:65536", null],
    ["192.0.2.300", null],
    ["2001:db8::1", null],
    ["[2001:db8::g]", null],
    ["", null],
  ];
  for (const [text, expected] of cases)
    test(`"${text}"`, () => {
      const rule = parsePlace(text);
      expect(rule === null ? null : matches(rule, place)).toBe(expected);
    });
  test("one address, however it is written", () => {
    const rule = parsePlace("[2001:0DB8:0::1]:53")!;
    expect(matches(rule, { protocol: "udp", address: "2001:db8::1", port: 53 })).toBe(true);
  });
});

test("what a command may say", () => {
  const cases: [number, string, ReturnType<typeof readReply>][] = [
    [0, "", { allow: true, always: false }],
    [10, "", { allow: true, always: true }],
    [11, "", { allow: false, always: true }],
    [1, "", { allow: false, always: false }],
    [0, "allow", { allow: true, always: false }],
    [0, "Allow  always", { allow: true, always: true }],
    [0, "deny once", { allow: false, always: false }],
    [3, "deny always", { allow: false, always: true }],
    [3, "allow always", null],
    [0, "allowed", null],
    [0, "yes", null],
  ];
  for (const [code, output, reply] of cases) expect(readReply(code, output)).toEqual(reply);
});

describe("the file that remembers", () => {
  const place = { protocol: "tcp", address: "192.0.2.1", port: 443 };
  test("the last line about a place holds; comments and nonsense do not matter", () => {
    const path = join(dir, "remembered");
    const memory = new Memory(path);
    expect(memory.of(place)).toBeNull();
    memory.add(place, true, "a\nname");
    expect(memory.of(place)).toBe(true);
    expect(memory.of({ ...place, port: 44 })).toBeNull();
    writeFileSync(path, `${readFileSync(path, "utf8")}nonsense\n# deny tcp 192.0.2.1:443\n`);
    expect(memory.of(place)).toBe(true);
    memory.add(place, false, "");
    expect(memory.of(place)).toBe(false);
  });
  test("one that others may write is not believed", () => {
    const path = join(dir, "remembered");
    const memory = new Memory(path);
    memory.add(place, true, "");
    chmodSync(path, 0o622);
    expect(() => memory.of(place)).toThrow("can be written by others");
  });
});

/** A gate without a kernel. */
class World {
  readonly lines: string[] = [];
  readonly methods = new Map<string, (params: unknown) => unknown>();
  private connect!: NetworkHook;
  private send!: NetworkHook;

  constructor(given: Partial<Options> = {}) {
    const say = (line: string) => this.lines.push(line);
    const kernel = {
      log: { debug: say, info: say, warn: say, error: say },
      onConnect: (hook: NetworkHook) => {
        this.connect = hook;
      },
      onSend: (hook: NetworkHook) => {
        this.send = hook;
      },
      control: (name: string, handler: (params: unknown) => unknown) => this.methods.set(name, handler),
    };
    new Gate(kernel as unknown as KernelApi, v.parse(options, given)).guard();
  }

  private about(port: number, more: Partial<NetworkAttempt>): NetworkAttempt {
    const task = { container: "c", comm: "curl\u001b[2J", pid: 7, uid: 0 } as NetworkAttempt["task"];
    return { task, family: 4, address: "192.0.2.1", port, protocol: "tcp", inside: false, names: [], ...more };
  }
  connects = (port: number, more: Partial<NetworkAttempt> = {}) => this.connect(this.about(port, more));
  sends = (port: number) => this.send(this.about(port, { protocol: "udp" }));
  next = (after = 0) => this.methods.get("egress.next")!({ after }) as Promise<{ questions: Question[] }>;
  answer = (id: number, allow: boolean, always = false) =>
    this.methods.get("egress.answer")!({ id, allow, always, by: "a test" });
}

describe("the gate", () => {
  test("nobody there: no. Inside, and connects that send nothing: yes", () => {
    const world = new World();
    expect(world.connects(443)).toBe(-errno.ECONNREFUSED);
    expect(world.sends(53)).toBe(-errno.EACCES);
    expect(world.connects(443, { inside: true })).toBe("continue");
    expect(world.connects(443, { protocol: "udp" })).toBe("continue");
    expect(world.lines[0]).toBe("denied: c, curl?[2J (pid 7) to tcp 192.0.2.1:443: nobody can be asked");
  });

  test("attempts at one place are one question; answers for once and for always", async () => {
    const world = new World();
    const waiting = world.next();
    const [first, second] = [world.connects(443), world.connects(443)];
    const { questions } = await waiting;
    expect(questions).toHaveLength(1);
    expect(questions[0]).toMatchObject({
      container: "c",
      pid: 7,
      program: "curl?[2J",
      port: 443,
      address: "192.0.2.1",
    });
    expect(world.answer(questions[0]!.id, true)).toEqual({ taken: true });
    expect(world.answer(questions[0]!.id, false)).toEqual({ taken: false });
    expect([await first, await second]).toEqual(["continue", "continue"]);
    const again = world.connects(443);
    expect(again).toBeInstanceOf(Promise);
    const { questions: more } = await world.next(questions[0]!.id);
    world.answer(more[0]!.id, false, true);
    expect(await again).toBe(-errno.ECONNREFUSED);
    expect(world.connects(443)).toBe(-errno.ECONNREFUSED);
    // Another container's place is another question.
    const task = { container: "d", comm: "x", pid: 1, uid: 0 } as NetworkAttempt["task"];
    expect(world.connects(443, { task })).toBeInstanceOf(Promise);
  });

  test("no answer in time is no, and who comes later finds nobody there", async () => {
    const world = new World({ seconds: 1 });
    const waiting = world.next();
    const attempt = world.connects(443);
    await waiting;
    const gone = world.next(1);
    expect(await attempt).toBe(-errno.ECONNREFUSED);
    expect(await gone).toEqual({ questions: [] });
    expect(world.connects(443)).toBe(-errno.ECONNREFUSED);
    void world.next(1);
    expect(world.connects(443)).toBeInstanceOf(Promise);
  });

  test("questions are bounded, and so are those who wait for them", async () => {
    const world = new World();
    const first = world.next();
    for (let i = 0; i < 16; i++) void world.next();
    expect(await first).toEqual({ questions: [] });
    for (let port = 1; port <= 64; port++) expect(world.connects(port)).toBeInstanceOf(Promise);
    expect(world.connects(65)).toBe(-errno.ECONNREFUSED);
  });

  test("the host half brings them to a person", async () => {
    const world = new World();
    const texts: string[] = [];
    const answers = ["y", "always", "", null];
    let over!: (error: Error) => void;
    const end = new Promise<never>((_, reject) => {
      over = reject;
    });
    const request = (method: string, params: unknown) =>
      Promise.race([Promise.resolve(world.methods.get(method)!(params)), end]);
    const person = {
      ask(text: string) {
        texts.push(text);
        return Promise.resolve(answers.shift() ?? null);
      },
    };
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const attending = attend({ id: "c", request, person, log }, v.parse(options, {}));
    const no = -errno.ECONNREFUSED;
    expect(await world.connects(1, { names: ["a.example"] })).toBe("continue");
    expect([await world.connects(2), await world.connects(2)]).toEqual(["continue", "continue"]);
    expect([await world.connects(3), await world.connects(4)]).toEqual([no, no]);
    expect(texts).toHaveLength(4);
    expect(texts[0]).toContain("of c wants to contact tcp 192.0.2.1:1, said to be a.example.");
    over(new Error("gone"));
    expect((await attending).begun).toBe(true);
  });
});
