import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostCalls } from "../../native/host-calls.ts";
import { MESSAGES } from "../errors.ts";
import { type Metadata, Store } from "./store.ts";

let root: string;
let store: Store;
beforeEach(() => {
  root = join(mkdtempSync(join(tmpdir(), "runts-store-")), "root");
  store = new Store(root, hostCalls, 200);
});
afterEach(() => rmSync(join(root, ".."), { recursive: true, force: true }));

const metadata = (id: string): Metadata => ({
  format: 2,
  id,
  status: "created",
  bundle: "/b",
  spec: { ociVersion: "1.0.2" },
  created: "2026-01-01T00:00:00Z",
  owner: "root",
  sandboxId: id,
  sandbox: null,
  process: null,
  cgroups: [],
  platform: "systrap",
  network: "sandbox",
});
const make = (id: string) => store.create(metadata(id)).unlock();
const failure = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return (error as Error).message;
  }
  return "no error";
};

describe("ids (CONTRACT row 1)", () => {
  for (const id of ["a", "A.b-c_d+1", "0", "..a", "a".repeat(200)])
    test(`"${id.slice(0, 20)}" is fine`, () => {
      make(id);
      expect(store.ids()).toEqual([id]);
    });
  for (const id of ["", ".", "..", "../x", "a/b", "a,b", "a b", "ä", "@new", "a\n", "a\0", "a".repeat(2000)])
    test(`${JSON.stringify(id.slice(0, 20))} is refused`, () =>
      expect(failure(() => make(id))).toContain(MESSAGES.invalidId));
});

describe("names and prefixes (CONTRACT rows 2 to 4)", () => {
  beforeEach(() => {
    make("abc");
    make("abcd");
    make("xyz");
  });
  test("exact before prefix", () => expect(store.resolve("abc")).toBe("abc"));
  test("a unique prefix", () => expect(store.resolve("x")).toBe("xyz"));
  test("an ambiguous prefix names the matches", () =>
    expect(failure(() => store.resolve("ab"))).toBe('"ab" names several containers: abc, abcd'));
  test("none", () => expect(failure(() => store.resolve("q"))).toBe("container does not exist"));
});

describe("files (CONTRACT row 13)", () => {
  test("modes, whatever the umask", () => {
    const old = process.umask(0o777);
    try {
      mkdirSync(root, { recursive: true });
      Bun.spawnSync(["chmod", "711", root]);
      make("c");
    } finally {
      process.umask(old);
    }
    expect((statSync(join(root, "c")).mode & 0o777).toString(8)).toBe("711");
    expect((statSync(join(root, "c/meta.json")).mode & 0o777).toString(8)).toBe("640");
  });
  test("nothing but meta.json is left after saves", () => {
    const container = store.create(metadata("c"));
    container.save();
    container.save();
    container.unlock();
    expect(readdirSync(join(root, "c"))).toEqual(["meta.json"]);
  });
});

describe("corrupt metadata is an error that names the file (CONTRACT row 5)", () => {
  const cases: [string, string][] = [
    ["", "not valid JSON"],
    ["{", "not valid JSON"],
    ["null", "expected an object"],
    ["{}", "format undefined is not 2"],
    [JSON.stringify({ ...metadata("c"), id: "other" }), "it is that of other"],
    [JSON.stringify({ ...metadata("c"), status: 1 }), "status: expected string"],
    [JSON.stringify({ ...metadata("c"), process: { pid: "1" } }), "process: expected pid and startTime"],
  ];
  for (const [text, problem] of cases)
    test(problem, () => {
      make("c");
      writeFileSync(join(root, "c/meta.json"), text);
      expect(failure(() => store.read("c"))).toBe(
        `the state of container c is corrupt: ${join(root, "c/meta.json")}: ${problem}`,
      );
    });
  test("a directory without meta.json", () => {
    mkdirSync(join(root, "c"), { recursive: true });
    expect(failure(() => store.read("c"))).toBe("cannot read the state of container c");
  });
});

describe("create (CONTRACT row 10)", () => {
  test("twice: the first is untouched", () => {
    make("c");
    const before = readFileSync(join(root, "c/meta.json"), "utf8");
    expect(failure(() => store.create({ ...metadata("c"), bundle: "/other" }))).toBe(MESSAGES.alreadyExists);
    expect(readFileSync(join(root, "c/meta.json"), "utf8")).toBe(before);
    expect(readdirSync(root)).toEqual(["c"]);
  });
  test("a crashed create's leftovers go, young ones stay", () => {
    make("c");
    mkdirSync(join(root, "@new-x-1-1"));
    mkdirSync(join(root, "@old-y-1-1/deep"), { recursive: true });
    make("d");
    expect(readdirSync(root).length).toBe(4);
    const real = Date.now;
    Date.now = () => real() + 60_000;
    try {
      make("e");
    } finally {
      Date.now = real;
    }
    expect(readdirSync(root).sort()).toEqual(["c", "d", "e"]);
  });
});

describe("locks (CONTRACT row 75)", () => {
  test("one at a time, and the waiting one gets it", async () => {
    const first = store.create(metadata("c"));
    const order: string[] = [];
    const second = store.lock("c").then((container) => {
      order.push("second");
      container.unlock();
    });
    await Bun.sleep(30);
    order.push("first lets go");
    first.unlock();
    await second;
    expect(order).toEqual(["first lets go", "second"]);
  });
  test("a lock that is held too long is an error that names the holder", async () => {
    const held = store.create(metadata("c"));
    await expect(store.lock("c")).rejects.toThrow(`container c is busy: process ${process.pid}`);
    held.unlock();
  });
  test("who waits for a container that is deleted learns that it does not exist", async () => {
    const held = store.create(metadata("c"));
    const waiting = store.lock("c");
    await Bun.sleep(10);
    held.remove();
    held.unlock();
    await expect(waiting).rejects.toThrow(MESSAGES.notFound);
  });
  test("who waits for a container that is deleted and made anew gets the new one", async () => {
    const held = store.create(metadata("c"));
    const waiting = store.lock("c");
    await Bun.sleep(5);
    held.remove();
    const anew = store.create({ ...metadata("c"), bundle: "/new" });
    held.unlock();
    await Bun.sleep(20);
    anew.unlock();
    const got = await waiting;
    expect(got.metadata.bundle).toBe("/new");
    got.unlock();
  });
  test("kill -9 of the holder frees it", async () => {
    make("c");
    const script = `
      const { Store } = await import(${JSON.stringify(join(import.meta.dir, "store.ts"))});
      const { hostCalls } = await import(${JSON.stringify(join(import.meta.dir, "../../native/host-calls.ts"))});
      await new Store(${JSON.stringify(root)}, hostCalls).lock("c");
      console.log("held");
      setInterval(() => {}, 1000);`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
    for await (const _ of child.stdout) break;
    await expect(store.lock("c")).rejects.toThrow("is busy");
    child.kill("SIGKILL");
    await child.exited;
    (await store.lock("c")).unlock();
  });
  test("of twenty creates of one id, one succeeds", async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, async () => {
        await Bun.sleep(1);
        return failure(() => make("c"));
      }),
    );
    expect(results.filter((each) => each === "no error").length).toBe(1);
    expect(results.filter((each) => each === MESSAGES.alreadyExists).length).toBe(19);
  });
  test("remove takes the name away before the contents", () => {
    const container = store.create(metadata("c"));
    container.remove();
    expect(existsSync(join(root, "c"))).toBe(false);
    expect(readdirSync(root)).toEqual([]);
    container.unlock();
  });
});
