/** Files, file systems and mounts of a saved kernel, before and after; and what their host has changed meanwhile. */
import { afterEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EAGAIN, EEXIST, ENOENT, ESTALE } from "../abi/errno.ts";
import { AT_FDCWD, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } from "../abi/fcntl.ts";
import type { HostFs } from "../fs/host/host-fs.ts";
import { OverlayFs } from "../fs/overlay/overlay.ts";
import { Tmpfs } from "../fs/tmpfs/tmpfs.ts";
import { fcntl } from "../syscalls/fcntl.ts";
import { flock } from "../syscalls/flock.ts";
import { inotify_add_watch, inotify_init1 } from "../syscalls/inotify.ts";
import type { Task } from "../task/task.ts";
import { readText, worldOn } from "../testing/file-world.ts";
import {
  closeAll,
  exists,
  fileAt,
  hostFs,
  list,
  mounted,
  move,
  moveLoosely,
  names,
  open,
  openFd,
  place,
  put,
  read,
  stat,
  TestHost,
  write,
} from "../testing/moving-files.ts";
import { obstacles, savedLines } from "../testing/saving.ts";
import { MEMORY, type TaskKit } from "../testing/task-kit.ts";
import type { Stat } from "../vfs/inode.ts";
import { KernelIo } from "../vfs/io.ts";
import { openAt, pathString } from "../vfs/namei.ts";
import {
  makeDirectory,
  makeLink,
  makeNode,
  makeSymlink,
  removeDirectory,
  removeFile,
  renameName,
} from "../vfs/names.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;
const F_SETLK = 6;
const F_WRLCK = 1;
const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const O_NONBLOCK = 0o4000;
const IN_MODIFY = 2;
const IN_CREATE = 0x100;
const IN_DELETE_SELF = 0x400;
const RENAME_EXCHANGE = 2;

const made: string[] = [];
afterEach(() => {
  closeAll();
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});
function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), "saved-"));
  made.push(dir);
  return dir;
}
/** The same files elsewhere, with the same times and other inode numbers. */
function copied(dir: string): string {
  const copy = directory();
  for (let i = 0; i < 30; i++) writeFileSync(join(copy, `.keep${i}`), "");
  execFileSync("cp", ["-a", `${dir}/.`, copy]);
  for (let i = 0; i < 30; i++) rmSync(join(copy, `.keep${i}`));
  execFileSync("touch", ["-r", dir, copy]);
  return copy;
}

/** F_SETLK on bytes [start, start + length). */
function lock(kit: TaskKit, task: Task, fd: number, start: number, length: number): number {
  task.mm.writeU32(MEMORY, F_WRLCK);
  task.mm.writeU64(MEMORY + 8, start);
  task.mm.writeU64(MEMORY + 16, length);
  return kit.callAs(task, fcntl, fd, F_SETLK, MEMORY);
}
/** Another process of the restored kernel, with descriptors of its own. */
const other = (task: Task): Task => [...task.kernel.tasks].find((each) => each !== task)!;
/** A slice that is over after so many looks. */
function looks(count: number): { readonly over: boolean } {
  let left = count;
  return {
    get over() {
      return left-- <= 0;
    },
  };
}

describe("tmpfs", () => {
  test("contents, attributes, names, offsets; a listing goes on where it was", () => {
    const kit = worldOn(({ kernel }) => new Tmpfs(kernel));
    const { task } = kit;
    put(task, "/small", "0123456789");
    put(task, "/big", "x".repeat(100_000));
    const sparse = open(task, "/sparse", O_RDWR | O_CREAT);
    for (const at of [0, 1_000_000, 70_000_000]) {
      sparse.pos = at;
      write(task, sparse, `at ${at}`);
    }
    sparse.release();
    makeDirectory(task, AT_FDCWD, "/d", 0o700);
    for (let i = 0; i < 10; i++) put(task, `/d/f${i}`, `${i}`);
    makeSymlink(task, "/small", AT_FDCWD, "/link");
    makeLink(task, place(task, "/small"), AT_FDCWD, "/second");
    place(task, "/small").dentry.inode.setXattr("user.x", Buffer.from("value"), 0);
    const reading = openFd(task, "/small");
    expect(read(task, fileAt(task, reading), 4)).toBe("0123");
    const unlinked = openFd(task, "/d/f3");
    removeFile(task, AT_FDCWD, "/d/f3");
    const listing = openFd(task, "/d", O_RDONLY);
    const before = names(task, fileAt(task, listing), 5);
    const paths = ["/small", "/big", "/sparse", "/d", "/link", "/d/f9"];
    const stats = paths.map((path) => stat(task, path));
    const { usedPages, usedInodes } = task.fs.root.mount.fs as Tmpfs;
    const { pages } = kit.kernel.memoryFiles;

    const there = move(kit);
    const fs = there.fs.root.mount.fs as Tmpfs;
    expect([fs.usedPages, fs.usedInodes, there.kernel.memoryFiles.pages]).toEqual([usedPages, usedInodes, pages]);
    expect(paths.map((path) => stat(there, path))).toEqual(stats);
    expect([readText(there, "/second"), read(there, fileAt(there, reading), 100)]).toEqual(["0123456789", "456789"]);
    const value = place(there, "/second").dentry.inode.getXattr("user.x") as Uint8Array;
    expect(Buffer.from(value).toString()).toBe("value");
    const holes = open(there, "/sparse");
    expect(holes.seek(there, 4096, SEEK_DATA)).toBe(999424);
    expect(holes.seek(there, 999424, SEEK_HOLE)).toBe(1003520);
    expect([holes.seek(there, 70_000_000, SEEK_SET), read(there, holes, 100)]).toEqual([70_000_000, "at 70000000"]);
    expect(read(there, fileAt(there, unlinked), 10)).toBe("3");
    expect(fileAt(there, unlinked).getattr()).toMatchObject({ nlink: 0, size: 1 });
    fileAt(there, unlinked).release();
    expect(fs.usedInodes).toBe(usedInodes - 1);
    expect([...before, ...names(there, fileAt(there, listing))].sort()).toEqual(list(there, "/d"));
    put(there, "/d/new", "new");
    expect([exists(there, "/d/new"), exists(task, "/d/new")]).toEqual([true, false]);
  });

  test("a file that is mapped, and one that is about to be", () => {
    const kit = worldOn(({ kernel }) => new Tmpfs(kernel));
    const { task } = kit;
    const files = ["/mapped", "/half"];
    for (const name of files) {
      const file = open(task, name, O_RDWR | O_CREAT);
      for (let at = 0; at < 1 << 20; at += 1 << 18) {
        file.pos = at;
        write(task, file, `${name} at ${at}`);
      }
      file.release();
    }
    interface Promotable {
      readonly fd: number;
      promoteSome(uid: number, slice: object | null): number;
    }
    const content = (of: Task, path: string) =>
      (place(of, path).dentry.inode as unknown as { content: Promotable }).content;
    expect(content(task, "/mapped").promoteSome(0, null)).toBe(0);
    expect(content(task, "/half").promoteSome(0, looks(2))).toBe(1);
    const { usedPages } = task.fs.root.mount.fs as Tmpfs;

    const there = move(kit);
    expect((there.fs.root.mount.fs as Tmpfs).usedPages).toBe(usedPages);
    expect(content(there, "/mapped").fd).toBeGreaterThanOrEqual(0);
    expect(content(there, "/mapped").fd).not.toBe(content(task, "/mapped").fd);
    expect(content(there, "/half").fd).toBe(-1);
    expect(content(there, "/half").promoteSome(0, null)).toBe(0);
    for (const name of files) {
      const file = open(there, name);
      for (let at = 0; at < 1 << 20; at += 1 << 18) {
        const text = `${name} at ${at}`;
        file.pos = at;
        expect(read(there, file, text.length)).toBe(text);
      }
      expect(file.seek(there, 8192, SEEK_DATA)).toBe(1 << 18);
      file.pos = 0;
      expect(write(there, file, "changed")).toBe(7);
      file.release();
      expect(readText(task, name)).toStartWith(`${name} at 0`);
    }
    expect(content(task, "/half").promoteSome(0, null)).toBe(0);
    expect(readText(task, "/half")).toStartWith("/half at 0");
  });
});

describe("locks, watches and FIFOs", () => {
  for (const kind of ["tmpfs", "a host directory"] as const)
    test(`on ${kind}`, () => {
      const dir = directory();
      const kit = worldOn((kit) => (kind === "tmpfs" ? new Tmpfs(kit.kernel) : hostFs(kit, dir)));
      const { task } = kit;
      put(task, "/file", "contents");
      makeNode(task, AT_FDCWD, "/fifo", 0o010644, 0);
      const child = kit.fork();
      child.fs.root = child.fs.cwd = task.fs.root;
      const mine = openFd(task, "/file");
      const theirs = openFd(child, "/file");
      expect(lock(kit, task, mine, 10, 10)).toBe(0);
      expect(kit.callAs(task, flock, mine, LOCK_EX | LOCK_NB)).toBe(0);
      const reading = openFd(task, "/fifo", O_RDONLY | O_NONBLOCK);
      const writing = openFd(child, "/fifo", O_WRONLY | O_NONBLOCK);
      write(child, fileAt(child, writing), "in the pipe");
      const watcher = kit.callAs(task, inotify_init1, O_NONBLOCK);
      const watch = (path: string, mask: number) => {
        kit.put(MEMORY, `${path}\0`);
        return kit.callAs(task, inotify_add_watch, watcher, MEMORY, mask);
      };
      const wds = [watch("/", IN_CREATE), watch("/file", IN_MODIFY | IN_DELETE_SELF)];
      put(task, "/queued", "");

      const there = move(kit, new TestHost({ root: dir }));
      const second = other(there);
      expect(lock(kit, second, theirs, 15, 1)).toBe(-EAGAIN);
      expect(lock(kit, second, theirs, 0, 10)).toBe(0);
      expect(kit.callAs(second, flock, theirs, LOCK_EX | LOCK_NB)).toBe(-EAGAIN);
      fileAt(there, mine).inode!.locks!.releasePosix(there.files, new Map());
      expect(lock(kit, second, theirs, 15, 1)).toBe(0);
      expect(read(there, fileAt(there, reading), 100)).toBe("in the pipe");
      write(second, fileAt(second, writing), "after");
      expect(read(there, fileAt(there, reading), 100)).toBe("after");
      write(second, fileAt(second, theirs), "x");
      put(second, "/later", "");
      const events: unknown[] = [];
      const bytes = new Uint8Array(4096);
      const n = fileAt(there, watcher).read(there, new KernelIo(bytes), 0);
      const view = new DataView(bytes.buffer);
      for (let at = 0; at < n; ) {
        const length = view.getUint32(at + 12, true);
        const name = Buffer.from(bytes.subarray(at + 16, at + 16 + length)).toString();
        events.push([view.getInt32(at, true), view.getUint32(at + 4, true), name.replace(/\0+$/, "")]);
        at += 16 + length;
      }
      expect(events).toEqual([
        [wds[0], IN_CREATE, "queued"],
        [wds[1], IN_MODIFY, ""],
        [wds[0], IN_CREATE, "later"],
      ]);
    });
});

describe("a host directory", () => {
  function world(): { kit: TaskKit; task: Task; dir: string; host: () => TestHost } {
    const dir = directory();
    mkdirSync(join(dir, "a/b"), { recursive: true });
    writeFileSync(join(dir, "file"), "contents of the file");
    writeFileSync(join(dir, "a/b/deep"), "deep");
    for (let i = 0; i < 20; i++) writeFileSync(join(dir, `a/n${i}`), "");
    const kit = worldOn((kit) => hostFs(kit, dir));
    return { kit, task: kit.task, dir, host: () => new TestHost({ root: dir }) };
  }

  test("open files and directories go on, and what is new is seen", () => {
    const { kit, task, dir, host } = world();
    const fd = openFd(task, "/file");
    const deep = openFd(task, "/a/b/deep", O_RDONLY);
    const listing = openFd(task, "/a", O_RDONLY);
    expect(read(task, fileAt(task, fd), 9)).toBe("contents ");
    const before = names(task, fileAt(task, listing), 7);
    task.fs.cwd = place(task, "/a/b");
    expect(renameName(task, AT_FDCWD, "/a", AT_FDCWD, "/moved", 0)).toBe(0);
    const paths = ["/file", "/moved/b/deep", "/moved"];
    // Times of reading move when the image is written.
    const attributesIn = (of: Task) => paths.map((path) => ({ ...stat(of, path), atime: null }));
    const attributes = attributesIn(task);

    const there = move(kit, host());
    expect(attributesIn(there)).toEqual(attributes);
    expect(read(there, fileAt(there, fd), 100)).toBe("of the file");
    expect(write(there, fileAt(there, fd), "!")).toBe(1);
    expect(readFileSync(join(dir, "file"), "utf8")).toBe("contents of the file!");
    expect(["deep", "../b/deep", "/a/b/deep"].map((path) => readText(there, path))).toEqual(["deep", "deep", -ENOENT]);
    expect(pathString(there, there.fs.cwd)).toBe("/moved/b");
    expect(read(there, fileAt(there, deep), 100)).toBe("deep");
    writeFileSync(join(dir, "new"), "new");
    expect(readText(there, "/new")).toBe("new");
    const all = [...before, ...names(there, fileAt(there, listing))].sort();
    expect(all).toEqual(list(there, "/moved"));
    fileAt(there, listing).pos = 0;
    expect(names(there, fileAt(there, listing)).sort()).toEqual(all);
    // The saved kernel has lost nothing of its own listing either.
    expect([...before, ...names(task, fileAt(task, listing))].sort()).toEqual(all);
  });

  test("elsewhere, files keep the numbers that guests know, by whichever name they are reached", () => {
    const { kit, task, dir } = world();
    const paths = ["/", "/file", "/a/b/deep", "/a"];
    const fds = paths.map((path) => openFd(task, path, O_RDONLY));
    const inos = paths.map((path) => stat(task, path).ino);
    const copy = copied(dir);
    const there = move(kit, new TestHost({ root: copy }));
    expect(inos[1]).not.toBe(statSync(join(copy, "file")).ino);
    expect(paths.map((path) => stat(there, path).ino)).toEqual(inos);
    expect(fds.map((fd) => (fileAt(there, fd).getattr() as Stat).ino)).toEqual(inos);
    const listed: Record<string, number> = {};
    open(there, "/", O_RDONLY).readdir(there, (name, ino) => {
      listed[name] = ino;
      return true;
    });
    expect([listed["file"], listed["a"]]).toEqual([inos[1]!, inos[3]!]);
    // It is the very same file, as far as the kernel is concerned.
    expect(open(there, "/file").inode).toBe(fileAt(there, fds[1]!).inode);
    put(there, "/file", "CONTENTS");
    expect(read(there, fileAt(there, fds[1]!), 8)).toBe("CONTENTS");
    expect(readFileSync(join(dir, "file"), "utf8")).toStartWith("contents");
    expect(list(there, "/a")).toEqual(list(task, "/a"));
  });

  test("open files without a name are in the image, with their attributes", () => {
    const { kit, task, dir, host } = world();
    const both = openFd(task, "/file");
    const reader = openFd(task, "/file", O_RDONLY);
    const replaced = openFd(task, "/a/b/deep", O_RDONLY);
    removeFile(task, AT_FDCWD, "/file");
    renameSync(join(dir, "a/n1"), join(dir, "a/b/deep"));
    const child = kit.fork();
    child.fs.root = task.fs.root;
    makeDirectory(task, AT_FDCWD, "/left", 0o755);
    child.fs.cwd = place(task, "/left");
    removeDirectory(task, AT_FDCWD, "/left");
    mkdirSync(join(dir, "left"));
    expect(read(task, fileAt(task, reader), 9)).toBe("contents ");
    const before = fileAt(task, both).getattr() as Stat;
    const cwdBefore = child.fs.cwd.dentry.inode.getattr();

    let there = move(kit, host());
    const { atime: _, ...attributes } = before;
    expect(fileAt(there, both).getattr()).toMatchObject(attributes);
    expect(read(there, fileAt(there, reader), 100)).toBe("of the file");
    fileAt(there, both).pos = 12;
    expect(write(there, fileAt(there, both), "FILE, longer")).toBe(12);
    expect(fileAt(there, both).getattr()).toMatchObject({ nlink: 0, size: 24, ino: before.ino, mode: before.mode });
    fileAt(there, reader).pos = 0;
    expect(read(there, fileAt(there, reader), 100)).toBe("contents of FILE, longer");
    expect(fileAt(there, both).truncate(8)).toBe(0);
    expect(fileAt(there, both).inode!.setattr({ mode: 0o600, uid: 5 })).toBe(0);
    expect(read(there, fileAt(there, replaced), 10)).toBe("deep");
    expect(exists(there, "/file")).toBe(false);
    const { cwd } = other(there).fs;
    expect(cwd.dentry.inode.getattr()).toEqual(cwdBefore);
    // The new directory of that name is another one.
    expect(openAt(other(there), AT_FDCWD, "x", O_RDWR | O_CREAT, 0o644)).toBe(-ENOENT);
    expect(existsSync(join(dir, "left/x"))).toBe(false);

    there = move({ kernel: there.kernel, task: there }, host());
    fileAt(there, reader).pos = 0;
    expect(read(there, fileAt(there, reader), 100)).toBe("contents");
    expect(fileAt(there, both).getattr()).toMatchObject({ nlink: 0, size: 8, uid: 5, mode: 0o100600, ino: before.ino });
  });

  describe("which is not as it was", () => {
    const changes: Record<string, (deep: string) => void> = {
      "has another size": (deep) => {
        writeFileSync(deep, "deeper");
      },
      "has another time": (deep) => {
        utimesSync(deep, 1, 1);
      },
    };
    for (const [name, change] of Object.entries(changes))
      test(`an open file that ${name} is told by its path, and goes on where that is allowed`, () => {
        const { kit, task, dir } = world();
        const fd = openFd(task, "/a/b/deep", O_RDONLY);
        const copy = copied(dir);
        change(join(copy, "a/b/deep"));
        expect(() => move(kit, new TestHost({ root: copy }))).toThrow("root/a/b/deep of kit: it has changed");
        const host = new TestHost({ root: copy }, true);
        const there = moveLoosely(kit, host);
        expect(host.told).toEqual(["root/a/b/deep of kit: it has changed"]);
        expect(read(there, fileAt(there, fd), 10)).toBe(readFileSync(join(copy, "a/b/deep"), "utf8"));
      });

    const losses: Record<string, { lose: (dir: string) => void; told: string[] }> = {
      "an open file that is gone": {
        lose: (dir) => rmSync(join(dir, "a/b/deep")),
        told: ["root/a/b/deep of kit: ENOENT"],
      },
      "an open file in whose place is a directory": {
        lose(dir) {
          rmSync(join(dir, "a/b/deep"));
          mkdirSync(join(dir, "a/b/deep"));
        },
        told: ["root/a/b/deep of kit: ENOENT"],
      },
      "a directory that is gone, with an open file": {
        lose: (dir) => rmSync(join(dir, "a"), { recursive: true }),
        told: ["root/a of kit: ENOENT", "root/a/b/deep of kit: ENOENT"],
      },
    };
    for (const [name, { lose, told }] of Object.entries(losses))
      test(`${name}: told by path, and stale where that is allowed`, () => {
        const { kit, task, dir } = world();
        const fd = openFd(task, "/a/b/deep");
        const above = openFd(task, "/a", O_RDONLY);
        const copy = copied(dir);
        lose(copy);
        expect(() => move(kit, new TestHost({ root: copy }))).toThrow(told[0]!);
        const host = new TestHost({ root: copy }, true);
        const there = moveLoosely(kit, host);
        expect(host.told.sort()).toEqual(told);
        expect(read(there, fileAt(there, fd), 10)).toBe(-ESTALE);
        expect(write(there, fileAt(there, fd), "x")).toBe(-ESTALE);
        expect(fileAt(there, fd).getattr()).toBe(-ESTALE);
        expect(typeof fileAt(there, above).getattr()).toBe(told.length === 1 ? "object" : "number");
        expect(exists(there, "/file")).toBe(true);
        fileAt(there, fd).release();
      });
  });

  test("what nobody has open may change as it likes", () => {
    const { kit, task, dir } = world();
    expect(readText(task, "/a/b/deep")).toBe("deep");
    expect(readText(task, "/file")).toStartWith("contents");
    expect(list(task, "/a/b")).toEqual([".", "..", "deep"]);
    const copy = copied(dir);
    writeFileSync(join(copy, "a/b/deep"), "another");
    rmSync(join(copy, "file"));
    const there = move(kit, new TestHost({ root: copy }));
    expect([readText(there, "/a/b/deep"), readText(there, "/file")]).toEqual(["another", -ENOENT]);
  });

  test("names that nobody is at are looked up again, those on the way to somebody stay", () => {
    const { kit, task, dir } = world();
    mkdirSync(join(dir, "c/d"), { recursive: true });
    const volume = directory();
    writeFileSync(join(volume, "shared"), "shared");
    mounted(kit, hostFs(kit, volume, 0), "/c/d");
    const fd = openFd(task, "/a/b/deep", O_RDONLY);
    for (let i = 0; i < 20; i++) readText(task, `/a/n${i}`);
    readText(task, "/c/d/shared");
    kit.kernel.current = null;
    const saved = savedLines(kit.kernel).filter(({ type }) => type === "dentry");
    expect(saved.map(({ name }) => name).sort()).toEqual(["", "", "a", "b", "c", "d", "deep"]);
    const there = move(kit, new TestHost({ root: dir, 0: volume }));
    expect([readText(there, "/c/d/shared"), readText(there, "/a/n7")]).toEqual(["shared", ""]);
    expect(open(there, "/a/b/deep", O_RDONLY).path!.dentry).toBe(fileAt(there, fd).path!.dentry);
  });

  test("an image's names lead nowhere but into the tree", () => {
    for (const name of ["..", ".", "", "a/b", "x\0y", "n".repeat(256)]) {
      const { kit, task, host } = world();
      openFd(task, "/a/b/deep");
      (place(task, "/a").dentry.inode as unknown as { name: string }).name = name;
      expect(() => moveLoosely(kit, host())).toThrow("a name that no file can have");
    }
    const { kit, task, dir } = world();
    const volume = directory();
    mounted(kit, hostFs(kit, volume, 0), "/a/b");
    openFd(task, "/file");
    (place(task, "/file").dentry.inode as unknown as { parent: unknown }).parent = place(task, "/a/b").dentry.inode;
    expect(() => moveLoosely(kit, new TestHost({ root: dir, 0: volume }))).toThrow("in no directory");
  });

  test("a container that has another name since is found by that", () => {
    const { kit, task, dir, host } = world();
    const fd = openFd(task, "/file", O_RDONLY);
    const there = move(kit, host());
    there.container.rename("renamed");
    expect(() => move({ kernel: there.kernel, task: there }, host())).toThrow("root of renamed: ENOENT");
    const again = move({ kernel: there.kernel, task: there }, new TestHost({ root: dir }, false, [], "renamed"));
    expect(read(again, fileAt(again, fd), 8)).toBe("contents");
  });

  test("a tree of no container stands in the way; one that is not there ends the restore", () => {
    const { kit, dir } = world();
    expect(() => move(kit, new TestHost({}))).toThrow("root of kit: ENOENT");
    expect(() => move(kit, new TestHost({ root: join(dir, "file") }))).toThrow("root of kit: it was a directory");
    (kit.task.fs.root.mount.fs as HostFs).tree = null;
    expect(obstacles(kit.kernel).join()).toContain("is a host directory of none of the container's trees");
  });

  test("a volume of two is one again; a single file is one, mounted or not", () => {
    const { kit, task, dir } = world();
    const volume = directory();
    writeFileSync(join(volume, "shared"), "shared");
    const single = join(directory(), "single");
    writeFileSync(single, "alone");
    mounted(kit, hostFs(kit, volume, 0), "/a/b");
    mounted(kit, hostFs(kit, single, 1), "/file");
    makeDirectory(task, AT_FDCWD, "/v", 0o755);
    mounted(kit, hostFs(kit, volume, 2), "/v");
    const fd = openFd(task, "/file");
    expect(read(task, fileAt(task, fd), 2)).toBe("al");
    const child = kit.fork();
    child.fs.root = child.fs.cwd = task.fs.root;
    const [mine, theirs] = [openFd(task, "/v/shared"), openFd(child, "/a/b/shared")];
    expect(kit.callAs(task, flock, mine, LOCK_EX | LOCK_NB)).toBe(0);
    const trees = { root: dir, 0: volume, 1: single, 2: volume };

    const there = move(kit, new TestHost(trees));
    const second = other(there);
    expect(kit.callAs(second, flock, theirs, LOCK_EX | LOCK_NB)).toBe(-EAGAIN);
    put(second, "/a/b/shared", "SHARED");
    expect(readText(there, "/v/shared")).toBe("SHARED");
    expect(there.kernel.hostFiles.size).toBe(1);
    expect(read(there, fileAt(there, fd), 100)).toBe("one");
    expect([readText(there, "/file"), readFileSync(join(dir, "file"), "utf8")]).toEqual([
      "alone",
      "contents of the file",
    ]);
    expect(there.kernel.mounts.umount(place(there, "/file").mount)).toBe(0);
    expect(readText(there, "/file")).toBe("contents of the file");
    fileAt(there, fd).pos = 0;
    expect(read(there, fileAt(there, fd), 100)).toBe("alone");

    // Still open, of a file system that is mounted nowhere.
    const last = move({ kernel: there.kernel, task: there }, new TestHost(trees));
    fileAt(last, fd).pos = 0;
    expect(read(last, fileAt(last, fd), 100)).toBe("alone");
    const fs = fileAt(last, fd).inode!.fs as HostFs;
    expect(fs.rootFd).toBeGreaterThanOrEqual(0);
    for (const { files } of [last, other(last)]) files.get(fd)!.release();
    expect(fs.rootFd).toBe(-1);
  });
});

describe("an overlay over a host directory", () => {
  const overlay = (dir: string) => (kit: TaskKit) =>
    new OverlayFs(kit.kernel, hostFs(kit, dir, "root", true), new Tmpfs(kit.kernel));

  test("changes above, names, a listing and a copy under way", () => {
    const dir = directory();
    mkdirSync(join(dir, "d"));
    for (let i = 0; i < 8; i++) writeFileSync(join(dir, `d/f${i}`), `lower ${i}`);
    writeFileSync(join(dir, "large"), "l".repeat(3 << 20));
    writeFileSync(join(dir, "attributes"), "as below");
    const kit = worldOn(overlay(dir));
    const { task } = kit;
    put(task, "/d/f0", "UPPER");
    put(task, "/d/new", "new");
    removeFile(task, AT_FDCWD, "/d/f1");
    expect(renameName(task, AT_FDCWD, "/d/f2", AT_FDCWD, "/renamed", 0)).toBe(0);
    expect(renameName(task, AT_FDCWD, "/d/f3", AT_FDCWD, "/d/f4", RENAME_EXCHANGE)).toBe(0);
    expect(place(task, "/attributes").dentry.inode.setattr({ mode: 0o600 })).toBe(0);
    const reading = openFd(task, "/d/f5", O_RDONLY);
    expect(read(task, fileAt(task, reading), 6)).toBe("lower ");
    const unlinked = openFd(task, "/d/f6", O_RDONLY);
    removeFile(task, AT_FDCWD, "/d/f6");
    const listing = openFd(task, "/d", O_RDONLY);
    const before = names(task, fileAt(task, listing), 3);
    const copyUp = (of: Task, slice: object | null) =>
      (
        place(of, "/large").dentry.inode as unknown as { copyUpSome(length: number, slice: object | null): number }
      ).copyUpSome(Number.POSITIVE_INFINITY, slice);
    expect(copyUp(task, looks(1))).toBe(1);
    const files = ["/d/f0", "/d/new", "/renamed", "/d/f3", "/d/f4", "/attributes", "/large"];
    const picture = (of: Task) => [
      list(of, "/"),
      list(of, "/d"),
      ...files.map((path) => {
        const { ino, dev, mode, nlink, size } = stat(of, path);
        return [path, ino, dev, mode, nlink, size, readText(of, path)];
      }),
    ];
    const looksLike = picture(task);

    const copy = copied(dir);
    const there = move(kit, new TestHost({ root: copy }));
    expect(picture(there)).toEqual(looksLike);
    expect(exists(there, "/d/f1")).toBe(false);
    expect(read(there, fileAt(there, reading), 100)).toBe("5");
    expect(read(there, fileAt(there, unlinked), 100)).toBe("lower 6");
    expect([...before, ...names(there, fileAt(there, listing))].sort()).toEqual(looksLike[1] as string[]);
    expect(copyUp(there, null)).toBe(0);
    put(there, "/large", "L");
    const whole = open(there, "/large", O_RDONLY);
    expect([whole.size(), read(there, whole, 3)]).toEqual([3 << 20, "Lll"]);
    whole.pos = (3 << 20) - 3;
    expect(read(there, whole, 10)).toBe("lll");
    put(there, "/d/f5", "LOWER");
    fileAt(there, reading).pos = 0;
    expect(read(there, fileAt(there, reading), 100)).toBe("LOWER 5");
    expect(renameName(there, AT_FDCWD, "/renamed", AT_FDCWD, "/d/f2", 0)).toBe(0);
    expect(readText(there, "/d/f2")).toBe("lower 2");
    expect(makeDirectory(there, AT_FDCWD, "/d/f1", 0o755)).toBeObject();
    expect(makeDirectory(there, AT_FDCWD, "/d/f7", 0o755)).toBe(-EEXIST);
    expect(readFileSync(join(copy, "d/f5"), "utf8")).toBe("lower 5");
  });

  test("what has been copied up does not need what was below; what has not, does", () => {
    const dir = directory();
    for (const name of ["copied", "attributes"]) writeFileSync(join(dir, name), "below");
    const kit = worldOn(overlay(dir));
    put(kit.task, "/copied", "above");
    expect(place(kit.task, "/attributes").dentry.inode.setattr({ mode: 0o600 })).toBe(0);
    const copy = directory();
    expect(() => move(kit, new TestHost({ root: copy }))).toThrow("root/attributes of kit: ENOENT");
    writeFileSync(join(copy, "attributes"), "below");
    const host = new TestHost({ root: copy });
    const there = moveLoosely(kit, host);
    expect([readText(there, "/copied"), readText(there, "/attributes"), host.told]).toEqual(["above", "below", []]);
  });
});
