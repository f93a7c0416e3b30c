/**
 * The opener beside a process in namespaces of its own, as a sandbox process is. What an ordinary user's opens is tried by
 * the containers of one: test/adding.ts and others, run by test/user.ts.
 */
import { afterAll, describe, expect, test } from "bun:test";
import {
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeCString } from "../kernel/abi/bytes.ts";
import { ENOENT, EROFS } from "../kernel/abi/errno.ts";
import { closeFd, openat2 } from "../native/host.ts";
import { startTimeOf } from "./handle.ts";
import { MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, Opener } from "./opener.ts";

const O_WRONLY_CREATE = 0o101;
const ATTRIBUTES = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

const directory = mkdtempSync(join(tmpdir(), "runts-opener-"));
mkdirSync(join(directory, "tree/below"), { recursive: true });
writeFileSync(join(directory, "tree/file"), "text");
// A process whose namespaces the opener shall have: what a sandbox process is to a command.
const model = Bun.spawn(["unshare", "--user", "--map-root-user", "--mount", "--fork", "--kill-child", "sleep", "300"]);
afterAll(async () => {
  model.kill("SIGKILL");
  await model.exited;
  rmSync(directory, { recursive: true, force: true });
});

/** The process that `unshare` has forked, when it has its ids. */
async function inside(): Promise<number> {
  for (let tries = 0; tries < 500; tries++) {
    const [child] = readFileSync(`/proc/${model.pid}/task/${model.pid}/children`, "latin1").trim().split(" ");
    if (child && readFileSync(`/proc/${child}/comm`, "latin1").trim() === "sleep") return Number(child);
    await Bun.sleep(10);
  }
  throw new Error("unshare has started nothing");
}
async function withOpener<T>(use: (opener: Opener) => T): Promise<T> {
  const pid = await inside();
  const opener = Opener.start({ pid, isAlive: () => true }, startTimeOf);
  try {
    return use(opener);
  } finally {
    await opener.close();
  }
}
const make = (tree: number, name: string): number => {
  const fd = openat2(tree, encodeCString(name), O_WRONLY_CREATE, 0o600, 0);
  if (fd >= 0) closeFd(fd);
  return Math.min(fd, 0);
};

describe("the opener", () => {
  test("opens a tree that outlives it, and can be written", async () => {
    const tree = await withOpener((opener) => opener.tree(join(directory, "tree"), ATTRIBUTES));
    expect(tree).toBeGreaterThanOrEqual(0);
    expect(fstatSync(tree).ino).toBe(statSync(join(directory, "tree")).ino);
    expect(make(tree, "made")).toBe(0);
    expect(readdirSync(join(directory, "tree")).sort()).toEqual(["below", "file", "made"]);
    closeSync(tree);
  });

  test("a read-only one cannot be written, whoever tries", async () => {
    const tree = await withOpener((opener) => opener.tree(join(directory, "tree"), ATTRIBUTES | MOUNT_ATTR_RDONLY));
    expect(make(tree, "refused")).toBe(-EROFS);
    expect(make(tree, "below/refused")).toBe(-EROFS);
    closeSync(tree);
  });

  test("one that is sealed later is read-only from then on, and the host's own directory is not", async () => {
    await withOpener((opener) => {
      const tree = opener.tree(join(directory, "tree"), ATTRIBUTES);
      expect(make(tree, "before")).toBe(0);
      expect(opener.seal(tree, MOUNT_ATTR_RDONLY)).toBe(0);
      expect(make(tree, "after")).toBe(-EROFS);
      closeSync(tree);
    });
    writeFileSync(join(directory, "tree/outside"), "");
  });

  test("a single file is opened for use: for writing, or for reading where it is read-only", async () => {
    const file = join(directory, "tree/file");
    const [rw, ro] = await withOpener((opener) => [
      opener.forUse(file, ATTRIBUTES),
      opener.forUse(file, ATTRIBUTES | MOUNT_ATTR_RDONLY),
    ]);
    expect(writeSync(rw!, "TEXT")).toBe(4);
    expect(() => writeSync(ro!, "no")).toThrow("EBADF");
    expect(readFileSync(ro!, "utf8")).toBe("TEXT");
    for (const fd of [rw!, ro!]) closeSync(fd);
    const tree = await withOpener((opener) => opener.forUse(join(directory, "tree"), ATTRIBUTES));
    expect(make(tree, "of-a-tree")).toBe(0);
    closeSync(tree);
  });

  test("what is not there is an error, and it goes on", async () => {
    await withOpener((opener) => {
      expect(opener.tree(join(directory, "nothing"), ATTRIBUTES)).toBe(-ENOENT);
      expect(opener.tree(`/${"x".repeat(5000)}`, ATTRIBUTES)).toBeLessThan(0);
      const tree = opener.tree(directory, ATTRIBUTES);
      expect(tree).toBeGreaterThanOrEqual(0);
      closeSync(tree);
    });
  });

  test("neither it nor a descriptor is left behind", async () => {
    await inside();
    const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, "latin1").trim().split(" ").length;
    const before = [readdirSync("/proc/self/fd").length, children()];
    for (let i = 0; i < 10; i++) await withOpener((opener) => closeSync(opener.tree(directory, ATTRIBUTES)));
    expect([readdirSync("/proc/self/fd").length, children()]).toEqual(before);
  });

  test("beside a process that is gone it is not started", () => {
    expect(() => Opener.start({ pid: 2 ** 22 - 1, isAlive: () => false }, startTimeOf)).toThrow("is gone");
    // Or by one that is another now.
    expect(() => Opener.start({ pid: model.pid, isAlive: () => false }, startTimeOf)).toThrow("is gone");
  });
});
