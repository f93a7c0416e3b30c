/** One directory of the host in two containers: one file system for both. */
import { afterEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openat2 } from "../../../native/host.ts";
import { encodeCString } from "../../abi/bytes.ts";
import { EAGAIN, EBADF, EINVAL, ENODEV, ENOENT, EROFS, ETXTBSY } from "../../abi/errno.ts";
import { AT_FDCWD, O_CREAT, O_DIRECTORY, O_PATH, O_RDWR } from "../../abi/fcntl.ts";
import { bind, listen } from "../../syscalls/bind.ts";
import { connect } from "../../syscalls/connect.ts";
import { fcntl } from "../../syscalls/fcntl.ts";
import { flock } from "../../syscalls/flock.ts";
import { inotify_add_watch, inotify_init1 } from "../../syscalls/inotify.ts";
import { mount, umount2 } from "../../syscalls/mount.ts";
import { socket } from "../../syscalls/socket.ts";
import type { Task } from "../../task/task.ts";
import { readText, worldOn } from "../../testing/file-world.ts";
import { MEMORY, type TaskKit } from "../../testing/task-kit.ts";
import type { Dentry } from "../../vfs/dentry.ts";
import { PathFile } from "../../vfs/file.ts";
import { KernelIo } from "../../vfs/io.ts";
import { openAt, resolve } from "../../vfs/namei.ts";
import { makeDirectory, removeDirectory, removeFile, renameName } from "../../vfs/names.ts";
import { writeFile } from "../../vfs/read-write.ts";
import { ProcFs } from "../proc/proc-fs.ts";
import { HostFs } from "./host-fs.ts";
import type { HostNode } from "./node.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const F_GETLK = 5;
const F_SETLK = 6;
const F_WRLCK = 1;
const O_NONBLOCK = 0o4000;
const O_WRONLY = 1;
const IN_MODIFY = 2;
const IN_MOVED_FROM = 0x40;
const IN_MOVED_TO = 0x80;
const IN_CREATE = 0x100;
const IN_DELETE = 0x200;
const IN_DELETE_SELF = 0x400;

const made: string[] = [];
afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

interface World {
  kit: TaskKit;
  /** In the kit's container, and in another. */
  a: Task;
  b: Task;
  dir: string;
}
const hostFs = (kit: TaskKit, dir: string, readonly = false) =>
  new HostFs(kit.kernel, openat2(AT_FDCWD, encodeCString(dir), O_PATH | O_DIRECTORY, 0, 0), { readonly });

/** `below`: what of the directory the other container has. */
function world(below = "", readonly = false): World {
  const dir = mkdtempSync(join(tmpdir(), "volume-"));
  made.push(dir);
  mkdirSync(join(dir, "sub"));
  writeFileSync(join(dir, "file"), "contents");
  writeFileSync(join(dir, "sub/file"), "below");
  execFileSync("mkfifo", [join(dir, "fifo")]);
  const kit = worldOn((kit) => hostFs(kit, dir));
  const other = kit.kernel.addContainer("other");
  const mounted = kit.kernel.mounts.mount(hostFs(kit, join(dir, below), readonly), null, 0);
  if (typeof mounted === "number") throw new Error("no mount");
  other.root = { mount: mounted, dentry: mounted.root };
  const b = kit.stranger(other);
  b.fs.root = b.fs.cwd = other.root;
  return { kit, a: kit.task, b, dir };
}

function open(task: Task, path: string, flags = O_RDWR): number {
  const file = openAt(task, AT_FDCWD, path, flags, 0o644);
  return typeof file === "number" ? file : task.files.install(file, false, 1024);
}
function close(task: Task, fd: number): void {
  const file = task.files.remove(fd);
  if (typeof file !== "number") file.release();
}
function put(task: Task, path: string, text: string, flags = O_RDWR | O_CREAT): number {
  const file = openAt(task, AT_FDCWD, path, flags, 0o644);
  if (typeof file === "number") return file;
  const n = file.write(task, new KernelIo(Buffer.from(text)), 0);
  file.release();
  return n;
}

function openedDentry(task: Task, path: string): Dentry {
  const found = resolve(task, AT_FDCWD, path, 0);
  if (typeof found === "number") throw new Error(`${path}: ${found}`);
  return found.dentry;
}

describe("a volume of two containers", () => {
  test("has one content and one size", () => {
    const { a, b } = world();
    const fd = open(b, "/file");
    expect(put(a, "/file", "CONTENTS and more")).toBe(17);
    const file = b.files.get(fd)!;
    const bytes = new Uint8Array(40);
    expect([file.size(), file.read(b, new KernelIo(bytes), 0)]).toEqual([17, 17]);
    expect(put(b, "/new", "by b")).toBe(4);
    expect(readText(a, "/new")).toBe("by b");
    expect(removeFile(a, AT_FDCWD, "/new")).toBe(0);
    expect(readText(b, "/new")).toBe(-ENOENT);
  });

  test("directories that one moves and removes are not what the other remembers", () => {
    const { a, b } = world();
    expect(readText(b, "/sub/file")).toBe("below");
    expect(renameName(a, AT_FDCWD, "/sub", AT_FDCWD, "/moved", 0)).toBe(0);
    expect(readText(b, "/sub/file")).toBe(-ENOENT);
    expect(readText(b, "/moved/file")).toBe("below");
    expect(typeof makeDirectory(a, AT_FDCWD, "/sub", 0o755)).toBe("object");
    expect(put(a, "/sub/file", "another")).toBe(7);
    expect(readText(b, "/sub/file")).toBe("another");
    removeFile(b, AT_FDCWD, "/sub/file");
    expect(removeDirectory(b, AT_FDCWD, "/sub")).toBe(0);
    expect(readText(a, "/sub/file")).toBe(-ENOENT);
  });

  for (const below of ["", "sub"])
    test(`locks are seen across${below === "" ? "" : ", by one who has a part of it"}`, () => {
      const { kit, a, b } = world(below);
      const [mine, theirs] = [open(a, below === "" ? "/file" : "/sub/file"), open(b, "/file")];
      expect(kit.callAs(a, flock, mine, LOCK_EX | LOCK_NB)).toBe(0);
      expect(kit.callAs(b, flock, theirs, LOCK_EX | LOCK_NB)).toBe(-EAGAIN);
      expect(kit.callAs(a, flock, mine, LOCK_UN)).toBe(0);
      expect(kit.callAs(b, flock, theirs, LOCK_EX | LOCK_NB)).toBe(0);

      const lock = () => {
        kit.put32(MEMORY, F_WRLCK, 0);
        kit.put64(MEMORY + 8, 0, 10, 0);
        return MEMORY;
      };
      expect(kit.callAs(b, fcntl, theirs, F_SETLK, lock())).toBe(0);
      expect(kit.callAs(a, fcntl, mine, F_SETLK, lock())).toBe(-EAGAIN);
      expect(kit.callAs(a, fcntl, mine, F_GETLK, lock())).toBe(0);
      // Whoever has it is known to the other by no number.
      expect([kit.get32(MEMORY) & 0xffff, kit.get32(MEMORY + 24)]).toEqual([F_WRLCK, 0]);
      b.files.get(theirs)!.inode!.locks!.releasePosix(b.files, new Map());
      close(b, theirs);
      expect(kit.callAs(a, fcntl, mine, F_SETLK, lock())).toBe(0);
      close(a, mine);
      expect(open(a, below === "" ? "/file" : "/sub/file")).toBeGreaterThanOrEqual(0);
    });

  test("one watches what the other does", () => {
    const { kit, a, b } = world();
    const fd = kit.callAs(a, inotify_init1, O_NONBLOCK);
    const watch = (path: string, mask: number) => {
      kit.put(MEMORY, `${path}\0`);
      return kit.callAs(a, inotify_add_watch, fd, MEMORY, mask);
    };
    const directory = watch("/", IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO);
    const file = watch("/file", IN_MODIFY | IN_DELETE_SELF);
    const written = open(b, "/file");
    const io = new KernelIo(Buffer.from("x"));
    expect(writeFile(b, b.files.get(written)!, io, 0)).toBe(1);
    close(b, written);
    put(b, "/new", "");
    renameName(b, AT_FDCWD, "/new", AT_FDCWD, "/old", 0);
    removeFile(b, AT_FDCWD, "/old");
    removeFile(b, AT_FDCWD, "/file");
    const bytes = new Uint8Array(4096);
    const n = a.files.get(fd)!.read(a, new KernelIo(bytes), 0);
    const view = new DataView(bytes.buffer);
    const events: [number, number, string][] = [];
    for (let at = 0; at < n; at += 16 + view.getUint32(at + 12, true)) {
      const name = Buffer.from(bytes.subarray(at + 16, at + 16 + view.getUint32(at + 12, true))).toString();
      events.push([view.getInt32(at, true), view.getUint32(at + 4, true), name.replace(/\0+$/, "")]);
    }
    expect(events.filter(([, mask]) => mask !== 0x8000)).toEqual([
      [file, IN_MODIFY, ""],
      [directory, IN_CREATE, "new"],
      [directory, IN_MOVED_FROM, "new"],
      [directory, IN_MOVED_TO, "old"],
      [directory, IN_DELETE, "old"],
      [file, IN_DELETE_SELF, ""],
      [directory, IN_DELETE, "file"],
    ]);
  });

  test("FIFOs and sockets in it lead to each other", () => {
    const { kit, a, b } = world();
    const reading = openAt(a, AT_FDCWD, "/fifo", O_NONBLOCK, 0);
    const writing = openAt(b, AT_FDCWD, "/fifo", O_WRONLY | O_NONBLOCK, 0);
    if (typeof reading === "number" || typeof writing === "number") throw new Error("cannot open the FIFO");
    expect(writing.write(b, new KernelIo(Buffer.from("through")), 0)).toBe(7);
    const bytes = new Uint8Array(10);
    expect(reading.read(a, new KernelIo(bytes), 0)).toBe(7);

    const address = Buffer.from("\x01\0/socket\0", "latin1");
    const server = kit.callAs(a, socket, 1, 1, 0);
    kit.put(MEMORY, address);
    expect(kit.callAs(a, bind, server, MEMORY, address.length)).toBe(0);
    expect(kit.callAs(a, listen, server, 1)).toBe(0);
    expect(kit.callAs(b, connect, kit.callAs(b, socket, 1, 1, 0), MEMORY, address.length)).toBe(0);
  });

  test("a program that runs in one is not written to by the other; a futex in it is one", () => {
    const { a, b } = world();
    const file = openAt(a, AT_FDCWD, "/file", 0, 0);
    if (typeof file === "number") throw new Error("cannot open");
    a.mm.setProgram(file.inode);
    expect(open(b, "/file")).toBe(-ETXTBSY);
    a.mm.setProgram(null);
    const fd = open(b, "/file");
    expect(fd).toBeGreaterThanOrEqual(0);
    expect(b.files.get(fd)!.inode).not.toBe(file.inode);
    expect(b.files.get(fd)!.inode!.identity).toBe(file.inode!.identity);
  });

  test("who has it read-only writes nothing, whoever else may", () => {
    const { a, b, dir } = world("", true);
    const [mine, theirs] = [open(a, "/file"), open(b, "/file", 0)];
    expect(put(b, "/file", "no")).toBe(-EROFS);
    expect(put(b, "/new", "no")).toBe(-EROFS);
    expect(removeFile(b, AT_FDCWD, "/file")).toBe(-EROFS);
    const file = b.files.get(theirs)!;
    expect(file.write(b, new KernelIo(Buffer.from("no")), 0)).toBe(-EBADF);
    expect(file.truncate(0)).toBe(-EROFS);
    expect(a.files.get(mine)!.write(a, new KernelIo(Buffer.from("YES")), 0)).toBe(3);
    expect(put(a, "/file", "YES!")).toBe(4);
    expect(readText(b, "/file")).toBe("YES!ents");
    expect(readFileSync(join(dir, "file"), "utf8")).toBe("YES!ents");
  });

  test("a descriptor of the other's tree leads there, but rearranges nothing", () => {
    const { kit, a, b } = world("", true);
    const { kernel } = kit;
    const proc = new ProcFs(kernel, b.pids);
    const place = { mount: b.container.root!.mount, dentry: openedDentry(b, "/sub") };
    if (typeof kernel.mounts.mount(proc, place, 0) === "number") throw new Error("no /proc");
    const fd = a.files.install(
      new PathFile(O_PATH, { mount: a.container.root!.mount, dentry: openedDentry(a, "/sub") }),
      false,
      99,
    );
    const theirs = b.files.install(a.files.get(fd)!.retain(), false, 99);
    kit.put(MEMORY, `/sub/self/fd/${theirs}\0`);
    kit.put(MEMORY + 100, "/sub\0");
    kit.put(MEMORY + 200, "tmpfs\0");
    expect(resolve(b, AT_FDCWD, `/sub/self/fd/${theirs}/file`, 0)).toHaveProperty("dentry.name", "file");
    expect(kit.callAs(b, mount, MEMORY, MEMORY, MEMORY + 200, 0, 0)).toBe(-EINVAL);
    expect(kit.callAs(b, mount, MEMORY, MEMORY + 100, 0, 4096, 0)).toBe(-EINVAL);
    expect(kit.callAs(b, umount2, MEMORY, 2)).toBe(-EINVAL);
    expect(kit.callAs(b, mount, MEMORY + 200, MEMORY + 100, MEMORY + 200, 0, 0)).toBe(-ENODEV);
  });

  test("nothing is kept of it when nobody has it", () => {
    const { kit, a, b } = world();
    const { kernel } = kit;
    for (const task of [a, b]) close(task, open(task, "/file"));
    expect(kernel.hostFiles.size).toBe(1);
    const held = open(a, "/file");
    for (const { container, fs } of [b, a]) {
      // As the end of a process leaves them.
      for (const process of container.processes) process.zombie = true;
      fs.release();
      expect(kernel.removeContainer(container)).toBe(0);
    }
    // Still open: as if it had been sent to somebody.
    expect(kernel.hostFiles.size).toBe(1);
    expect(a.files.get(held)!.size()).toBe(8);
    close(a, held);
    expect(kernel.hostFiles.size).toBe(0);
  });

  test("a file that loses its last name is not the next one with its number, for nobody", () => {
    const { kit, a, b } = world();
    const files = () => kit.kernel.hostFiles.of((openedDentry(a, "/").inode as HostNode).device.number);
    const held = open(a, "/fifo", O_RDWR | O_NONBLOCK);
    const theirs = open(b, "/fifo", O_RDWR | O_NONBLOCK);
    const { ino } = openedDentry(a, "/fifo").inode;
    expect([files().heldNodes(ino).length, files().find(ino)?.holders]).toEqual([2, 2]);
    expect(removeFile(b, AT_FDCWD, "/fifo")).toBe(0);
    expect([files().heldNodes(ino).length, files().find(ino)]).toEqual([0, null]);
    for (const [task, fd] of [
      [a, held],
      [b, theirs],
    ] as const)
      expect(task.files.get(fd)!.getattr()).toMatchObject({ ino, nlink: 0, mode: 0o10644 });
    // It is one pipe still.
    const io = new KernelIo(new Uint8Array(5));
    expect(a.files.get(held)!.write(a, new KernelIo(Buffer.from("bytes")), 0)).toBe(5);
    expect(b.files.get(theirs)!.read(b, io, 0)).toBe(5);
    close(a, held);
    close(b, theirs);
  });

  test("one that has another name, or is open, is known as ever", () => {
    const { kit, a, dir } = world();
    const files = () => kit.kernel.hostFiles.of((openedDentry(a, "/").inode as HostNode).device.number);
    linkSync(join(dir, "fifo"), join(dir, "second"));
    const held = open(a, "/fifo", O_RDWR | O_NONBLOCK);
    const file = open(a, "/file");
    const { ino } = openedDentry(a, "/fifo").inode;
    const { ino: fileIno } = openedDentry(a, "/file").inode;
    expect([removeFile(a, AT_FDCWD, "/fifo"), removeFile(a, AT_FDCWD, "/file")]).toEqual([0, 0]);
    expect([files().heldNodes(ino).length, files().heldNodes(fileIno).length]).toEqual([1, 1]);
    close(a, held);
    close(a, file);
  });

  test("a single file that is still open outlives its mount", () => {
    const { kit, b, dir } = world();
    const fs = new HostFs(kit.kernel, openat2(AT_FDCWD, encodeCString(join(dir, "file")), 0, 0, 0), { readonly: true });
    const mounted = kit.kernel.mounts.mount(fs, null, 0);
    if (typeof mounted === "number") throw new Error("no mount");
    const file = fs.root.open({ mount: mounted, dentry: mounted.root }, 0, b);
    if (typeof file === "number") throw new Error("cannot open");
    kit.kernel.mounts.releaseTree(mounted);
    expect([file.size(), fs.rootFd >= 0]).toEqual([8, true]);
    file.release();
    expect(fs.rootFd).toBe(-1);
  });
});
