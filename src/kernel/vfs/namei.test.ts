import { describe, expect, test } from "bun:test";
import {
  EACCES,
  EEXIST,
  EINVAL,
  EISDIR,
  ELOOP,
  ENAMETOOLONG,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EXDEV,
} from "../abi/errno.ts";
import { AT_FDCWD, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDWR, O_TRUNC, O_WRONLY } from "../abi/fcntl.ts";
import { Tmpfs } from "../fs/tmpfs/tmpfs.ts";
import { NO_CAPS } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import { readText, worldOn } from "../testing/file-world.ts";
import type { Path } from "./dentry.ts";
import { KernelIo } from "./io.ts";
import { LOOKUP_BENEATH, LOOKUP_FOLLOW, LOOKUP_IN_ROOT, openAt, pathString, resolve } from "./namei.ts";
import { makeDirectory, makeLink, makeSymlink, removeDirectory, removeFile, renameName } from "./names.ts";

function world(): Task {
  const { task } = worldOn(({ kernel }) => new Tmpfs(kernel, { mode: 0o755 }));
  for (const dir of ["/a", "/a/b", "/a/b/c", "/mnt", "/tmp"]) makeDirectory(task, AT_FDCWD, dir, 0o755);
  for (const file of ["/a/f", "/a/b/g"]) put(task, file, file);
  for (const [link, target] of [
    ["/abs", "/a/b"],
    ["/rel", "a/b"],
    ["/a/up", "../a/f"],
    ["/dangling", "a/new"],
    ["/loop", "loop"],
    ["/slash", "a/"],
    ["/root", "/"],
  ])
    makeSymlink(task, target!, AT_FDCWD, link!);
  return task;
}

function put(task: Task, path: string, text: string): void {
  const file = openAt(task, AT_FDCWD, path, O_CREAT | O_RDWR | O_TRUNC, 0o644);
  if (typeof file === "number") throw new Error(`${path}: ${file}`);
  expect(file.write(task, new KernelIo(Buffer.from(text)), 0)).toBe(text.length);
  file.release();
}
/** Where a path leads, or the errno. */
function where(task: Task, path: string, flags = LOOKUP_FOLLOW): string | number {
  const place = resolve(task, AT_FDCWD, path, flags);
  return typeof place === "number" ? place : pathString(task, place);
}
function asUser(task: Task, uid: number, groups: number[] = []): void {
  task.cred = { ...task.cred, fsuid: uid, fsgid: uid, euid: uid, groups, effective: NO_CAPS };
}

describe("path walking", () => {
  const cases: [string, string | number][] = [
    ["/", "/"],
    ["//a///b/", "/a/b"],
    ["/a/./b/..", "/a"],
    ["/../..", "/"],
    ["a/b", "/a/b"],
    ["/abs/g", "/a/b/g"],
    ["/rel/..", "/a"],
    ["/a/up", "/a/f"],
    ["/slash/f", "/a/f"],
    ["/root/a/b", "/a/b"],
    ["/root", "/"],
    ["/loop", -ELOOP],
    ["/loop/x", -ELOOP],
    ["", -ENOENT],
    ["/a/f/", -ENOTDIR],
    ["/a/f/.", -ENOTDIR],
    ["/a/f/..", -ENOTDIR],
    ["/a/f/x", -ENOTDIR],
    ["/none/../a", -ENOENT],
    [`/${"n".repeat(256)}`, -ENAMETOOLONG],
    [`/${"n".repeat(255)}`, -ENOENT],
    [`/${"é".repeat(128)}`, -ENAMETOOLONG],
    [`/a/f/${"n".repeat(256)}`, -ENOTDIR],
  ];
  for (const [path, expected] of cases)
    test(`${path.length > 40 ? `${path.slice(0, 10)}…` : path} leads to ${expected}`, () =>
      expect(where(world(), path)).toBe(expected));

  test("follows 40 links, not 41", () => {
    const task = world();
    makeSymlink(task, "a/f", AT_FDCWD, "/l1");
    for (let i = 2; i <= 41; i++) makeSymlink(task, `l${i - 1}`, AT_FDCWD, `/l${i}`);
    expect(where(task, "/l40")).toBe("/a/f");
    expect(where(task, "/l41")).toBe(-ELOOP);
  });

  test("walks as many components as the longest path has, and ends a chain of links of thousands", () => {
    const task = world();
    const long = "a/../".repeat(800);
    expect(where(task, `/${"a/../".repeat(818)}`)).toBe("/");
    expect(where(task, "/.".repeat(2047))).toBe("/");
    makeSymlink(task, `${long}a`, AT_FDCWD, "/long0");
    for (let i = 1; i < 40; i++) makeSymlink(task, `${long}long${i - 1}`, AT_FDCWD, `/long${i}`);
    expect(where(task, "/long1")).toBe("/a");
    expect(where(task, "/long2")).toBe(-ELOOP);
    expect(where(task, "/long39")).toBe(-ELOOP);
  });

  test("a last link is left alone without LOOKUP_FOLLOW, unless a slash follows", () => {
    const task = world();
    expect(where(task, "/rel", 0)).toBe("/rel");
    expect(where(task, "/rel/", 0)).toBe("/a/b");
  });

  test("search permission is needed for every directory on the way, before names count", () => {
    const task = world();
    (resolve(task, AT_FDCWD, "/a/b", 0) as Path).dentry.inode.setattr({ mode: 0o700 });
    asUser(task, 1000);
    expect(where(task, "/a/b")).toBe("/a/b");
    expect(where(task, "/a/b/g")).toBe(-EACCES);
    expect(where(task, "/a/b/none")).toBe(-EACCES);
    expect(where(task, `/a/b/${"n".repeat(300)}`)).toBe(-EACCES);
  });

  test("RESOLVE_BENEATH and RESOLVE_IN_ROOT keep a walk in its directory", () => {
    const task = world();
    task.fs.cwd = resolve(task, AT_FDCWD, "/a", 0) as Path;
    expect(where(task, "b/../f", LOOKUP_BENEATH)).toBe("/a/f");
    expect(where(task, "../a", LOOKUP_BENEATH)).toBe(-EXDEV);
    expect(where(task, "/a", LOOKUP_BENEATH)).toBe(-EXDEV);
    expect(where(task, "up", LOOKUP_BENEATH | LOOKUP_FOLLOW)).toBe(-EXDEV);
    expect(where(task, "/../../f", LOOKUP_IN_ROOT)).toBe("/a/f");
  });
});

describe("mounts", () => {
  test("a mount hides what is below, and .. leads out of it", () => {
    const task = world();
    const { kernel } = task;
    put(task, "/mnt/hidden", "x");
    const at = resolve(task, AT_FDCWD, "/mnt", 0) as Path;
    kernel.mounts.mount(new Tmpfs(kernel), at, 0);
    expect(where(task, "/mnt/hidden")).toBe(-ENOENT);
    makeDirectory(task, AT_FDCWD, "/mnt/d", 0o755);
    expect(where(task, "/mnt/d")).toBe("/mnt/d");
    expect(where(task, "/mnt/d/../..")).toBe("/");
    expect(renameName(task, AT_FDCWD, "/a/f", AT_FDCWD, "/mnt/f", 0)).toBe(-EXDEV);
    const top = resolve(task, AT_FDCWD, "/mnt", 0) as Path;
    expect(kernel.mounts.umount(top.mount)).toBe(0);
    expect(where(task, "/mnt/hidden")).toBe("/mnt/hidden");
  });

  test("a second mount on the same place covers the first", () => {
    const task = world();
    const { kernel } = task;
    for (const name of ["one", "two"]) {
      kernel.mounts.mount(new Tmpfs(kernel), resolve(task, AT_FDCWD, "/mnt", 0) as Path, 0);
      makeDirectory(task, AT_FDCWD, `/mnt/${name}`, 0o755);
    }
    expect(where(task, "/mnt/one")).toBe(-ENOENT);
    kernel.mounts.umount((resolve(task, AT_FDCWD, "/mnt", 0) as Path).mount);
    expect(where(task, "/mnt/one")).toBe("/mnt/one");
    expect(kernel.mounts.seenFrom(task.fs.root).map((m) => m.path)).toEqual(["/", "/mnt"]);
  });
});

describe("open(2)", () => {
  const cases: [string, number, number | "ok"][] = [
    ["/a/none", 0, -ENOENT],
    ["/a", O_WRONLY, -EISDIR],
    ["/a", O_TRUNC, -EISDIR],
    ["/a", O_CREAT, -EISDIR],
    ["/a/.", O_CREAT, -EISDIR],
    ["/a/.", O_CREAT | O_EXCL, -EEXIST],
    ["/a/f", O_CREAT | O_EXCL, -EEXIST],
    ["/a/new/", O_CREAT | O_RDWR, -EISDIR],
    ["/none/new", O_CREAT | O_RDWR, -ENOENT],
    ["/a/f/new", O_CREAT | O_RDWR, -ENOTDIR],
    ["/a/f", O_DIRECTORY, -ENOTDIR],
    ["/rel", O_NOFOLLOW, -ELOOP],
    ["/rel", O_NOFOLLOW | O_DIRECTORY, -ENOTDIR],
    ["/rel", O_NOFOLLOW | O_PATH, "ok"],
    ["/dangling", 0, -ENOENT],
    ["/dangling", O_CREAT | O_EXCL | O_RDWR, -EEXIST],
    ["/dangling", O_CREAT | O_RDWR, "ok"],
    ["/loop", O_CREAT | O_RDWR, -ELOOP],
  ];
  for (const [path, flags, expected] of cases)
    test(`${path} with 0o${flags.toString(8)} gives ${expected}`, () => {
      const task = world();
      const file = openAt(task, AT_FDCWD, path, flags, 0o644);
      expect(typeof file === "number" ? file : "ok").toBe(expected);
      if (path === "/dangling" && expected === "ok") expect(where(task, "/a/new")).toBe("/a/new");
    });

  test("a created file may be written by its maker whatever its mode", () => {
    const task = world();
    asUser(task, 0);
    const file = openAt(task, AT_FDCWD, "/a/ro", O_CREAT | O_RDWR, 0o444);
    if (typeof file === "number") throw new Error(String(file));
    expect(file.write(task, new KernelIo(Buffer.from("x")), 0)).toBe(1);
  });
});

describe("names", () => {
  test("unlinked open files live on and say so", () => {
    const task = world();
    const file = openAt(task, AT_FDCWD, "/a/f", O_RDWR, 0);
    if (typeof file === "number") throw new Error(String(file));
    expect(removeFile(task, AT_FDCWD, "/a/f")).toBe(0);
    expect(where(task, "/a/f")).toBe(-ENOENT);
    expect(pathString(task, file.path!)).toBe("/a/f (deleted)");
    const bytes = new Uint8Array(4);
    expect(file.read(task, new KernelIo(bytes), 0)).toBe(4);
    expect((file.getattr() as { nlink: number }).nlink).toBe(0);
    const { fs } = file.inode as unknown as { fs: Tmpfs };
    const used = fs.usedPages;
    file.release();
    expect(fs.usedPages).toBe(used - 1);
  });

  test("rename replaces, exchanges, and refuses loops", () => {
    const task = world();
    put(task, "/x", "X");
    put(task, "/y", "Y");
    const mv = (a: string, b: string, flags = 0): number => renameName(task, AT_FDCWD, a, AT_FDCWD, b, flags);
    expect(mv("/x", "/y", 1)).toBe(-EEXIST);
    expect(mv("/x", "/y", 2)).toBe(0);
    expect([readText(task, "/x"), readText(task, "/y")]).toEqual(["Y", "X"]);
    expect(mv("/x", "/y")).toBe(0);
    expect([readText(task, "/x"), readText(task, "/y")]).toEqual([-ENOENT, "Y"]);
    expect(mv("/a", "/a/b/c/d")).toBe(-EINVAL);
    expect(mv("/a/b/g", "/a")).toBe(-ENOTEMPTY);
    expect(mv("/a", "/y")).toBe(-ENOTDIR);
    expect(mv("/y", "/a")).toBe(-EISDIR);
    expect(mv("/tmp", "/a")).toBe(-ENOTEMPTY);
    expect(mv("/a", "/tmp")).toBe(0);
    expect(where(task, "/tmp/b/c/../..")).toBe("/tmp");
    expect(readText(task, "/tmp/b/g")).toBe("/a/b/g");
  });

  test("removal and links", () => {
    const task = world();
    expect(removeDirectory(task, AT_FDCWD, "/a")).toBe(-ENOTEMPTY);
    expect(removeDirectory(task, AT_FDCWD, "/a/.")).toBe(-EINVAL);
    expect(removeDirectory(task, AT_FDCWD, "/a/..")).toBe(-ENOTEMPTY);
    expect(removeDirectory(task, AT_FDCWD, "/a/f")).toBe(-ENOTDIR);
    expect(removeFile(task, AT_FDCWD, "/a")).toBe(-EISDIR);
    const old = resolve(task, AT_FDCWD, "/a/f", 0) as Path;
    expect(makeLink(task, old, AT_FDCWD, "/g")).toBe(0);
    expect(makeLink(task, old, AT_FDCWD, "/g")).toBe(-EEXIST);
    put(task, "/g", "both");
    expect(readText(task, "/a/f")).toBe("both");
  });
});
