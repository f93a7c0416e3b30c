import { afterEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openat2 } from "../../../native/host.ts";
import { encodeCString } from "../../abi/bytes.ts";
import { ENOENT, ENXIO, EROFS } from "../../abi/errno.ts";
import { AT_FDCWD, O_CREAT, O_DIRECTORY, O_PATH, O_RDWR, O_TRUNC } from "../../abi/fcntl.ts";
import type { Task } from "../../task/task.ts";
import { readText, worldOn } from "../../testing/file-world.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import type { Stat } from "../../vfs/inode.ts";
import { KernelIo } from "../../vfs/io.ts";
import { LISTED_MAX, Listed } from "../../vfs/listed.ts";
import { LOOKUP_FOLLOW, openAt, pathString, resolve } from "../../vfs/namei.ts";
import {
  makeDirectory,
  makeLink,
  makeNode,
  makeSymlink,
  removeDirectory,
  removeFile,
  renameName,
} from "../../vfs/names.ts";
import { HostFs } from "./host-fs.ts";
import type { HostNode } from "./node.ts";

const made: string[] = [];
afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

function world(readonly = false): { task: Task; dir: string; outside: string } {
  const top = mkdtempSync(join(tmpdir(), "hostfs-"));
  made.push(top);
  const dir = join(top, "root");
  mkdirSync(join(dir, "a/b"), { recursive: true });
  writeFileSync(join(top, "secret"), "secret");
  writeFileSync(join(dir, "a/f"), "contents");
  symlinkSync("/a/f", join(dir, "abs"));
  symlinkSync("../secret", join(dir, "out"));
  execFileSync("mkfifo", [join(dir, "fifo")]);
  const fd = openat2(AT_FDCWD, encodeCString(dir), O_PATH | O_DIRECTORY, 0, 0);
  const { task } = worldOn(({ kernel }) => new HostFs(kernel, fd, { readonly }));
  return { task, dir, outside: top };
}
function write(task: Task, path: string, text: string): number {
  const file = openAt(task, AT_FDCWD, path, O_CREAT | O_RDWR | O_TRUNC, 0o640);
  if (typeof file === "number") return file;
  const n = file.write(task, new KernelIo(Buffer.from(text)), 0);
  file.release();
  return n;
}
function names(task: Task, path: string): string[] {
  const file = openAt(task, AT_FDCWD, path, O_DIRECTORY, 0);
  if (typeof file === "number") throw new Error(String(file));
  const found: string[] = [];
  file.readdir(task, (name) => {
    found.push(name);
    return true;
  });
  file.release();
  return found.sort();
}
const place = (task: Task, path: string): Path => resolve(task, AT_FDCWD, path, 0) as Path;
const stat = (task: Task, path: string): Stat => place(task, path).dentry.inode.getattr() as Stat;

describe("a host directory", () => {
  test("shows files with their attributes", () => {
    const { task, dir } = world();
    const real = statSync(join(dir, "a/f"));
    const seen = stat(task, "/a/f");
    expect([seen.ino, seen.mode, seen.size, seen.nlink, seen.uid]).toEqual([
      real.ino,
      real.mode,
      real.size,
      real.nlink,
      real.uid,
    ]);
    expect(seen.mtime.sec).toBe(Math.floor(real.mtimeMs / 1000));
    expect(readText(task, "/a/f")).toBe("contents");
    expect(names(task, "/")).toEqual([".", "..", "a", "abs", "fifo", "out"]);
  });

  test("links are walked inside the root, and never lead out of it", () => {
    const { task } = world();
    expect(readText(task, "/abs")).toBe("contents");
    expect(readText(task, "/out")).toBe(-ENOENT);
    expect(readText(task, "/../../secret")).toBe(-ENOENT);
  });

  test("a directory that the host swaps for a link to the outside does not help", () => {
    const { task, dir, outside } = world();
    mkdirSync(join(outside, "elsewhere"));
    writeFileSync(join(outside, "elsewhere/f"), "outside");
    expect(readText(task, "/a/f")).toBe("contents");
    renameSync(join(dir, "a"), join(dir, "was-a"));
    symlinkSync("../elsewhere", join(dir, "a"));
    // The directory is trusted for a second: the old one, or an error, never the outside.
    expect([readText(task, "/a/f")]).toEqual(["contents"]);
    task.kernel.now = () => 1e18;
    expect(readText(task, "/a/f")).toBe(-ENOENT);
  });

  test("changes on the host show at once", () => {
    const { task, dir } = world();
    expect(stat(task, "/a/f").size).toBe(8);
    writeFileSync(join(dir, "a/f"), "longer than before");
    expect(stat(task, "/a/f").size).toBe(18);
    renameSync(join(dir, "a/f"), join(dir, "a/g"));
    expect(resolve(task, AT_FDCWD, "/a/f", LOOKUP_FOLLOW)).toBe(-ENOENT);
    expect(readText(task, "/a/g")).toBe("longer than before");
  });

  test("an open file stays what it was, whatever happens to its name", () => {
    const { task, dir } = world();
    const file = openAt(task, AT_FDCWD, "/a/f", O_RDWR, 0);
    if (typeof file === "number") throw new Error(String(file));
    rmSync(join(dir, "a/f"));
    writeFileSync(join(dir, "a/f"), "another file");
    expect((file.getattr() as Stat).nlink).toBe(0);
    expect(file.size()).toBe(8);
    expect(readText(task, "/a/f")).toBe("another file");
    file.release();
  });

  test("two names of one file are one inode while it is open", () => {
    const { task, dir } = world();
    linkSync(join(dir, "a/f"), join(dir, "a/g"));
    expect(place(task, "/a/f").dentry.inode).toBe(place(task, "/a/g").dentry.inode);
  });

  test("the host's devices and FIFOs are never opened", () => {
    const { task, dir } = world();
    expect(openAt(task, AT_FDCWD, "/fifo", O_RDWR | 0o4000, 0)).toBeInstanceOf(Object);
    // A device number without a driver, if this host lets us make one.
    try {
      execFileSync("mknod", [join(dir, "dev"), "c", "1", "3"], { stdio: "ignore" });
    } catch {
      return;
    }
    expect(openAt(task, AT_FDCWD, "/dev", 0, 0)).toBe(-ENXIO);
  });

  test("a thousand directories do not need a thousand descriptors for long", () => {
    const { task, dir } = world();
    for (let i = 0; i < 5000; i++) mkdirSync(join(dir, `a/d${i}`));
    // Other tests of this process have some open, too.
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 5000; i++) expect(names(task, `/a/d${i}`)).toEqual([".", ".."]);
    expect(readdirSync("/proc/self/fd").length - before).toBeLessThan(4200);
    expect(names(task, "/a/d0")).toEqual([".", ".."]);
  });
});

describe("a writable host directory", () => {
  test("files, directories, links, nodes appear on the host with owner and mode", () => {
    const { task, dir } = world();
    expect(write(task, "/a/new", "new")).toBe(3);
    expect(readFileSync(join(dir, "a/new"), "utf8")).toBe("new");
    expect(statSync(join(dir, "a/new")).mode & 0o7777).toBe(0o640);
    task.cred = { ...task.cred, fsuid: 1234, fsgid: 5678 };
    makeDirectory(task, AT_FDCWD, "/d", 0o1777);
    const st = statSync(join(dir, "d"));
    expect([st.mode & 0o7777, st.uid, st.gid]).toEqual([0o1755, 1234, 5678]);
    expect(typeof makeSymlink(task, "nowhere", AT_FDCWD, "/d/l")).toBe("object");
    expect(lstatSync(join(dir, "d/l")).uid).toBe(1234);
    expect(typeof makeNode(task, AT_FDCWD, "/d/p", 0o010600, 0)).toBe("object");
    expect(lstatSync(join(dir, "d/p")).isFIFO()).toBe(true);
    const unopened = makeNode(task, AT_FDCWD, "/d/f", 0o100640, 0);
    expect(lstatSync(join(dir, "d/f")).mode).toBe(0o100640);
    // It may lie on a mount that becomes read-only, which no file open for writing may.
    expect(typeof unopened === "object" && (unopened.dentry.inode as HostNode).memory(true)).toBeNull();
    expect(makeLink(task, place(task, "/a/new"), AT_FDCWD, "/d/new2")).toBe(0);
    expect(statSync(join(dir, "a/new")).nlink).toBe(2);
    expect(stat(task, "/d/new2").nlink).toBe(2);
  });

  test("removing and renaming", () => {
    const { task, dir } = world();
    const file = openAt(task, AT_FDCWD, "/a/f", O_RDWR, 0);
    if (typeof file === "number") throw new Error(String(file));
    expect(renameName(task, AT_FDCWD, "/a", AT_FDCWD, "/z", 0)).toBe(0);
    expect(pathString(task, file.path!)).toBe("/z/f");
    expect(existsSync(join(dir, "z/f"))).toBe(true);
    expect(removeFile(task, AT_FDCWD, "/z/f")).toBe(0);
    expect(pathString(task, file.path!)).toBe("/z/f (deleted)");
    expect(removeDirectory(task, AT_FDCWD, "/z/b")).toBe(0);
    expect(removeDirectory(task, AT_FDCWD, "/z")).toBe(0);
    expect(existsSync(join(dir, "z"))).toBe(false);
    file.release();
  });

  test("chmod and chown do not follow a link that the host puts there", () => {
    const { task, dir, outside } = world();
    const inode = place(task, "/a/f").dentry.inode;
    chmodSync(join(outside, "secret"), 0o600);
    rmSync(join(dir, "a/f"));
    symlinkSync("../../secret", join(dir, "a/f"));
    inode.setattr({ mode: 0o666, uid: 99 });
    const st = statSync(join(outside, "secret"));
    expect([st.mode & 0o777, st.uid]).toEqual([0o600, process.getuid!()]);
  });

  test("read-only: nothing changes", () => {
    const { task, dir } = world(true);
    expect(write(task, "/a/new", "x")).toBe(-EROFS);
    expect(write(task, "/a/f", "x")).toBe(-EROFS);
    expect(removeFile(task, AT_FDCWD, "/a/f")).toBe(-EROFS);
    expect(place(task, "/a/f").dentry.inode.setattr({ mode: 0 })).toBe(-EROFS);
    expect(readFileSync(join(dir, "a/f"), "utf8")).toBe("contents");
  });
});

describe("listings", () => {
  const COUNT = 2500;
  function many(): { task: Task; dir: string } {
    const made = world();
    mkdirSync(join(made.dir, "many"));
    for (let i = 0; i < COUNT; i++) writeFileSync(join(made.dir, "many", `file-${i}`), "");
    return made;
  }
  function open(task: Task): File {
    const file = openAt(task, AT_FDCWD, "/many", O_DIRECTORY, 0);
    if (typeof file === "number") throw new Error(`open: ${file}`);
    return file;
  }
  /** Some entries, as one call reads them, with the position behind each. */
  function next(task: Task, file: File, most: number): [string, number][] {
    const got: [string, number][] = [];
    const result = file.readdir(task, (name, _ino, _type, position) => {
      if (got.length === most) return false;
      got.push([name, position]);
      return true;
    });
    expect(result).toBe(0);
    return got;
  }

  test("every entry comes once, and positions lead back to the same entries", () => {
    const { task, dir } = many();
    const file = open(task);
    const all: [string, number][] = [];
    for (let got = next(task, file, 600); got.length > 0; got = next(task, file, 600)) all.push(...got);
    expect(all.map(([name]) => name).sort()).toEqual([".", "..", ...readdirSync(join(dir, "many"))].sort());
    for (const at of [COUNT - 3, 3, 2000, 1, 1250]) {
      file.pos = all[at]![1];
      expect(next(task, file, 2)).toEqual(all.slice(at + 1, at + 3));
    }
    file.pos = all.at(-1)![1];
    expect(next(task, file, 1)).toEqual([]);
    file.pos = 0;
    expect(next(task, file, COUNT + 2)).toEqual(all);
    file.release();
  });

  test("files may be removed while their directory is read", () => {
    const { task, dir } = many();
    const file = open(task);
    for (let got = next(task, file, 300); got.length > 0; got = next(task, file, 300))
      for (const [name] of got) if (name.startsWith("file")) rmSync(join(dir, "many", name));
    expect(readdirSync(join(dir, "many"))).toEqual([]);
    file.release();
  }, 30_000);

  test("however many descriptors read, few entries are kept, and nobody is refused", () => {
    const { task } = many();
    const rest = new Listed();
    expect(rest.add(0, LISTED_MAX - 20_000)).toBe(0);
    const files = Array.from({ length: 100 }, () => open(task));
    for (const file of files) expect(next(task, file, 1000).length).toBe(1000);
    // They have used up what there was: the later ones have small windows.
    expect(rest.add(0, 2000)).toBeLessThan(0);
    for (const file of files) expect(next(task, file, COUNT).length).toBe(COUNT + 2 - 1000);
    // Who has come to the end keeps nothing.
    expect(rest.add(0, 20_000)).toBe(0);
    for (const file of files) file.release();
    rest.clear();
  }, 30_000);
});
