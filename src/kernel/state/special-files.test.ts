/** Files of the kernel's own making, devices, inherited descriptors and plugins' files in a saved kernel, before and after. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CharacterDevice, FileSystem as PluginFileSystem } from "../../core/plugin.ts";
import { closeFd, pipe2, pread, pwrite, readFd, writeFd } from "../../native/host.ts";
import { EBADF, EPIPE, ESPIPE, ESTALE } from "../abi/errno.ts";
import { AT_FDCWD, O_CREAT, O_PATH, O_RDONLY, O_RDWR } from "../abi/fcntl.ts";
import { CgroupFs } from "../fs/cgroup/cgroup-fs.ts";
import { DevFs } from "../fs/dev/dev-fs.ts";
import { DevPts } from "../fs/devpts/devpts.ts";
import { openHostFd } from "../fs/hostfd/node.ts";
import { PluginDeviceFile } from "../fs/plugin/device.ts";
import { PluginGuard } from "../fs/plugin/guard.ts";
import { PluginFs } from "../fs/plugin/plugin-fs.ts";
import { ProcFs } from "../fs/proc/proc-fs.ts";
import { registerFileSystems } from "../fs/register.ts";
import { SysFs } from "../fs/sys/sys-fs.ts";
import { Tmpfs } from "../fs/tmpfs/tmpfs.ts";
import type { Kernel } from "../kernel.ts";
import { BLOCKED } from "../syscall.ts";
import { inotify_add_watch, inotify_init1 } from "../syscalls/inotify.ts";
import { read as readCall } from "../syscalls/read.ts";
import { reap } from "../task/exit.ts";
import type { Task } from "../task/task.ts";
import { readText, worldOn } from "../testing/file-world.ts";
import {
  closeAll,
  exists,
  fileAt,
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
import { obstacles } from "../testing/saving.ts";
import { MEMORY, type TaskKit } from "../testing/task-kit.ts";
import { openMaster } from "../tty/pty.ts";
import { POLLERR, POLLHUP, POLLIN } from "../vfs/file.ts";
import { KernelIo } from "../vfs/io.ts";
import { pathString } from "../vfs/namei.ts";
import { makeDirectory, removeFile } from "../vfs/names.ts";

const O_NONBLOCK = 0o4000;
const IN_MODIFY = 2;

const made: string[] = [];
afterEach(() => {
  closeAll();
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

/** A root in memory with every file system of the kernel's own. */
function world(prepare: (kernel: Kernel) => void = () => {}): TaskKit {
  const kit = worldOn(({ kernel }) => {
    registerFileSystems(kernel);
    prepare(kernel);
    return new Tmpfs(kernel);
  });
  const { kernel, container, task } = kit;
  for (const name of ["proc", "sys", "dev", "cgroup", "plugin"]) makeDirectory(task, AT_FDCWD, `/${name}`, 0o755);
  mounted(kit, new ProcFs(kernel, container.pids), "/proc");
  mounted(kit, new SysFs(kernel), "/sys");
  mounted(kit, new DevFs(kernel), "/dev");
  mounted(kit, new DevPts(container, { gid: 5 }), "/dev/pts");
  mounted(kit, new CgroupFs(container), "/cgroup");
  return kit;
}

/** Every file below a directory, with its number, mode and links. */
function tree(task: Task, top: string): string[] {
  const lines: string[] = [];
  const walk = (path: string) => {
    for (const name of list(task, path)) {
      if (name === "." || name === "..") continue;
      const at = `${path}/${name}`;
      const { ino, mode, nlink, dev } = stat(task, at);
      lines.push(`${at} ${dev}:${ino} ${mode.toString(8)} ${nlink}`);
      if ((mode & 0o170000) === 0o040000) walk(at);
    }
  };
  walk(top);
  return lines;
}

describe("file systems of the kernel's own making", () => {
  for (const top of ["/proc", "/sys", "/dev", "/cgroup"])
    test(`${top} has the same files with the same numbers, whatever of it has been looked at`, () => {
      const seen = world();
      const before = tree(seen.task, top);
      expect(before.length).toBeGreaterThan(15);
      expect(tree(move(seen), top)).toEqual(before);
      expect(tree(move(world()), top)).toEqual(before);
    });

  test("texts that are half read, directories half listed, and what was set", () => {
    const kit = world();
    const { task } = kit;
    const paths = ["/proc/self/status", "/proc/self/mountinfo", "/proc/version", "/sys/devices/system/cpu/online"];
    paths.push("/cgroup/memory.max", "/proc/sys/kernel/ostype", "/proc/self/fdinfo/0", "/proc/net/tcp");
    task.files.install(open(task, "/dev/null"), false, 99);
    const halves = paths.map((path) => {
      const file = open(task, path, O_RDONLY);
      const whole = read(task, file, 5000) as string;
      file.release();
      const fd = openFd(task, path, O_RDONLY);
      return { path, whole, fd, first: read(task, fileAt(task, fd), 2) as string };
    });
    put(task, "/proc/sys/kernel/hostname", "elsewhere\n");
    put(task, "/proc/sys/vm/swappiness", "7\n");
    const bootId = readText(task, "/proc/sys/kernel/random/boot_id");
    const listings = ["/proc", "/proc/self/task", "/proc/self", "/proc/self/ns", "/sys/devices", "/dev/pts"].map(
      (path) => {
        const all = list(task, path);
        const fd = openFd(task, path, O_RDONLY);
        return { path, all, fd, first: names(task, fileAt(task, fd), 3) };
      },
    );
    const fds = openFd(task, "/proc/self/fd", O_RDONLY);
    const links = ["/proc/self/exe", "/proc/self/ns/uts", "/proc/self/ns/mnt", "/proc/self/fd/0", "/proc/mounts"];
    const readLinks = (of: Task) => links.map((path) => place(of, path).dentry.inode.readlink(of));
    const targets = readLinks(task);
    const handle = openFd(task, "/proc/self", O_PATH);
    task.fs.cwd = place(task, "/proc/sys/kernel");

    const there = move(kit);
    for (const { path, whole, fd, first } of halves)
      expect([path, first + read(there, fileAt(there, fd), 5000)]).toEqual([path, whole]);
    for (const { path, all, fd, first } of listings)
      expect([path, ...[...first, ...names(there, fileAt(there, fd))].sort()]).toEqual([path, ...all]);
    expect(readLinks(there)).toEqual(targets);
    expect(readText(there, "hostname")).toBe("elsewhere\n");
    expect(readText(there, "/proc/sys/vm/swappiness")).toBe("7\n");
    expect(readText(there, "/proc/sys/kernel/random/boot_id")).toBe(bootId);
    expect(pathString(there, there.fs.cwd)).toBe("/proc/sys/kernel");
    expect(names(there, fileAt(there, fds)).length).toBeGreaterThan(listings.length);
    expect(fileAt(there, handle).inode!.lookup("comm", there)).toBe(place(there, "/proc/self/comm").dentry.inode);
    put(there, "/proc/self/comm", "renamed");
    expect(readText(there, "/proc/self/comm")).toBe("renamed\n");
    expect(readText(there, "/proc/self/fdinfo/0")).toStartWith("pos:\t0\n");
  });

  test("who is gone is gone, and who comes is seen", () => {
    const kit = world();
    const child = kit.fork();
    const pid = child.process.pid;
    expect(exists(kit.task, `/proc/${pid}/status`)).toBe(true);
    const fd = openFd(kit.task, `/proc/${pid}/status`, O_RDONLY);
    const there = move(kit);
    const moved = [...there.kernel.tasks].find(({ process }) => process.pid === pid)!;
    expect(moved.process.shownBy.size).toBe(1);
    moved.process.zombie = true;
    reap(moved.process);
    expect(exists(there, `/proc/${pid}/status`)).toBe(false);
    expect(typeof read(there, fileAt(there, fd), 10)).toBe("number");
  });

  test("a file that is open when its process is gone keeps that no longer than it is open itself", () => {
    const kit = world();
    const { process } = kit.fork();
    const fd = openFd(kit.task, `/proc/${process.pid}/status`, O_RDONLY);
    process.zombie = true;
    reap(process);
    const held = (task: Task) => {
      const { ring } = (place(task, "/proc").mount.fs as ProcFs).dentries as unknown as { ring: { name: string }[] };
      return ring.filter(({ name }) => name === "status").length;
    };
    expect(held(kit.task)).toBe(0);
    const there = move(kit);
    expect(held(there)).toBe(0);
    expect(typeof read(there, fileAt(there, fd), 10)).toBe("number");
  });

  test("a watch and a lock on such a file", () => {
    const kit = world();
    const watcher = kit.call(inotify_init1, O_NONBLOCK);
    kit.put(MEMORY, "/proc/self/comm\0");
    kit.call(inotify_add_watch, watcher, MEMORY, IN_MODIFY);
    kit.put(MEMORY, "/proc/sys/kernel/hostname\0");
    const wd = kit.call(inotify_add_watch, watcher, MEMORY, IN_MODIFY);
    const there = move(kit);
    put(there, "/proc/sys/kernel/hostname", "x");
    const bytes = new Uint8Array(100);
    expect(fileAt(there, watcher).read(there, new KernelIo(bytes), 0)).toBe(16);
    expect(new DataView(bytes.buffer).getInt32(0, true)).toBe(wd);
  });

  test("terminals: both ends, by their names", () => {
    const kit = world();
    const { task, container } = kit;
    const master = openMaster(container.ptys, place(task, "/dev/pts/ptmx"), O_RDWR, task);
    if (typeof master === "number") throw new Error("no terminal");
    const fd = task.files.install(master, false, 99);
    master.ioctl(task, 0x40045431, zero(kit));
    const slave = openFd(task, "/dev/pts/0", O_RDWR | O_NONBLOCK);
    write(task, fileAt(task, fd), "typed\n");
    const before = stat(task, "/dev/pts/0");
    const there = move(kit);
    expect(stat(there, "/dev/pts/0")).toEqual(before);
    expect(read(there, fileAt(there, slave), 100)).toBe("typed\n");
    expect(open(there, "/dev/pts/0", O_RDWR | O_NONBLOCK).inode).toBe(fileAt(there, slave).inode);
    fileAt(there, fd).release();
    expect(exists(there, "/dev/pts/0")).toBe(false);
  });
  function zero(kit: TaskKit): number {
    kit.put32(MEMORY, 0);
    return MEMORY;
  }
});

describe("devices", () => {
  test("those of memory go on, and so do their mappings", () => {
    const kit = world();
    const { task } = kit;
    const fds = ["null", "zero", "full", "random", "urandom"].map((name) => openFd(task, `/dev/${name}`));
    const memory = fileAt(task, fds[1]!).mapMemory(true, true);
    if (typeof memory === "number") throw new Error("no mapping");
    const places = [0, 5 * 4096, 2 ** 40 + 4096];
    for (const at of places) pwrite(memory.fd, Buffer.from(`at ${at}`), `at ${at}`.length, at);
    const there = move(kit);
    expect(fds.slice(0, 3).map((fd) => read(there, fileAt(there, fd), 2))).toEqual(["", "\0\0", "\0\0"]);
    expect(fds.slice(3).map((fd) => (read(there, fileAt(there, fd), 64) as string).length)).toEqual([64, 64]);
    const moved = (fileAt(there, fds[1]!) as unknown as { mapped: { fd: number }[] }).mapped[0]!;
    expect(moved.fd).not.toBe(memory.fd);
    const bytes = new Uint8Array(30);
    for (const at of places) {
      pread(moved.fd, bytes, bytes.length, at);
      expect(Buffer.from(bytes).toString()).toStartWith(`at ${at}\0`);
    }
    expect(typeof open(there, "/dev/zero").mapMemory(true, true)).toBe("object");
  });
});

describe("inherited descriptors", () => {
  const pipe = (): [number, number] => {
    const ends = new Int32Array(2);
    pipe2(ends, 0o2000000);
    return [ends[0]!, ends[1]!];
  };
  const inherit = ({ kernel, task, container }: TaskKit, fd: number, number: number | null): number =>
    task.files.install(
      openHostFd(kernel, fd, undefined, number === null ? null : { container, fd: number }),
      false,
      99,
    );

  test("others take their places, and whoever waits for them goes on with those", () => {
    const kit = world();
    const [r, w] = pipe();
    const [otherR, otherW] = pipe();
    const [newR, newW] = pipe();
    const [lastR, lastW] = pipe();
    const input = inherit(kit, r, 0);
    const output = inherit(kit, otherW, 1);
    const before = fileAt(kit.task, input).getattr();
    const reader = kit.thread();
    expect(kit.callAs(reader, readCall, input, MEMORY, 100)).toBe(BLOCKED);
    const there = move(kit, new TestHost({}, false, [newR, lastW]));
    expect(fileAt(there, input).getattr()).toMatchObject({ ino: (before as { ino: number }).ino });
    const moved = [...there.kernel.tasks].find(({ tid }) => tid === reader.tid)!;
    writeFd(newW, Buffer.from("hello"), 5);
    there.kernel.poller.dispatch();
    there.kernel.current = moved;
    expect(moved.runState).not.toBe(reader.runState);
    expect(readCall.invoke(moved)).toBe(5);
    expect(write(there, fileAt(there, output), "out")).toBe(3);
    const bytes = new Uint8Array(10);
    expect(readFd(lastR, bytes, 10)).toBe(3);
    for (const fd of [w, otherR, newW, lastR]) closeFd(fd);
  });

  test("one that is open twice is so again", () => {
    const kit = world();
    const [r, w] = pipe();
    const [newR, newW] = pipe();
    const input = inherit(kit, r, 0);
    const again = openFd(kit.task, `/proc/self/fd/${input}`, O_RDONLY);
    const there = move(kit, new TestHost({}, false, [newR]));
    writeFd(newW, Buffer.from("both"), 4);
    expect([input, again].map((fd) => read(there, fileAt(there, fd), 2))).toEqual(["bo", "th"]);
    fileAt(there, input).release();
    writeFd(newW, Buffer.from("!"), 1);
    expect(read(there, fileAt(there, again), 2)).toBe("!");
    for (const fd of [w, newW]) closeFd(fd);
  });

  test("those that are gone read end-of-file, which wakes who waits", () => {
    const kit = world();
    const [r, w] = pipe();
    const [otherR, otherW] = pipe();
    const input = inherit(kit, r, null);
    const output = inherit(kit, otherW, 1);
    const reader = kit.thread();
    expect(kit.callAs(reader, readCall, input, MEMORY, 100)).toBe(BLOCKED);
    const there = moveLoosely(kit, new TestHost());
    const moved = [...there.kernel.tasks].find(({ tid }) => tid === reader.tid)!;
    expect(there.kernel.runQueue).toContain(moved);
    expect([read(there, fileAt(there, input), 10), write(there, fileAt(there, output), "x")]).toEqual(["", -EPIPE]);
    expect([fileAt(there, input).poll() & (POLLIN | POLLHUP), fileAt(there, output).poll() & POLLERR]).toEqual([
      POLLIN | POLLHUP,
      POLLERR,
    ]);
    expect(fileAt(there, input).getattr()).toMatchObject({ mode: 0o010600 });
    for (const fd of [w, otherR]) closeFd(fd);
  });

  test("a pipe in the place of a file is a pipe, and a file in that of a pipe a file", () => {
    const kit = world();
    const dir = mkdtempSync(join(tmpdir(), "special-"));
    made.push(dir);
    writeFileSync(join(dir, "file"), "contents");
    const [r, w] = pipe();
    const [newR, newW] = pipe();
    const file = inherit(kit, openSync(join(dir, "file"), "r+"), 0);
    const input = inherit(kit, r, 1);
    expect(read(kit.task, fileAt(kit.task, file), 3)).toBe("con");
    const there = moveLoosely(kit, new TestHost({}, false, [newR, openSync(join(dir, "file"), "r+")]));
    writeFd(newW, Buffer.from("piped"), 5);
    expect(read(there, fileAt(there, file), 10)).toBe("piped");
    expect(fileAt(there, file).read(there, new KernelIo(new Uint8Array(1)), -1)).toBe(-11);
    expect(fileAt(there, file).seek(there, 0, 0)).toBe(-ESPIPE);
    expect(read(there, fileAt(there, input), 4)).toBe("cont");
    expect(fileAt(there, input).seek(there, 0, 2)).toBe(8);
    // It was the end for reading, and is.
    expect(write(there, fileAt(there, input), "!")).toBe(-EBADF);
    expect(readFileSync(join(dir, "file"), "utf8")).toBe("contents");
    for (const fd of [w, newW]) closeFd(fd);
  });
});

describe("plugins", () => {
  /** Files by path; what is made for a mount says for which. */
  class Texts implements PluginFileSystem {
    readonly files = new Map<string, string>();
    restorable = true;
    constructor(readonly source: string) {
      this.files.set("/named", `of ${source}`);
    }
    attributes(path: string) {
      if (path === "/") return { kind: "directory" as const, size: 0 };
      const text = this.files.get(path);
      return text === undefined ? -2 : { kind: "file" as const, size: text.length };
    }
    list() {
      return [...this.files.keys()].map((path) => path.slice(1));
    }
    read(path: string, offset: number, into: Uint8Array) {
      return into.length === 0 ? 0 : Buffer.from(this.files.get(path)!.slice(offset)).copy(into);
    }
    remove(path: string) {
      this.files.delete(path);
      return 0;
    }
  }
  const texts: Texts[] = [];
  const register = (kernel: Kernel) => {
    const guard = new PluginGuard("texts", kernel.log);
    kernel.fileSystemTypes.set("texts", {
      make(_kernel, source, options) {
        const own = new Texts(source);
        texts.push(own);
        return PluginFs.make(kernel, "texts", own, guard, { source, options });
      },
    });
    const device: CharacterDevice = { read: (into) => into.fill(97).length };
    const driver = { device, guard };
    kernel.devices.registerChar(240, 0, (path, flags) => new PluginDeviceFile(flags, path, "letters", device, guard));
    kernel.devices.named.push({ name: "letters", major: 240, minor: 0, mode: 0o666, driver });
  };
  function withPlugin(): TaskKit {
    const kit = world(register);
    const fs = kit.kernel.fileSystemTypes.get("texts")!.make(kit.kernel, "somewhere", ["x=1"], kit.container);
    if (typeof fs === "number") throw new Error("not made");
    mounted(kit, fs, "/plugin");
    return kit;
  }

  test("a file system is made again by its plugin, for the same; open files are found by their paths", () => {
    const kit = withPlugin();
    const { task } = kit;
    const fd = openFd(task, "/plugin/named", O_RDONLY);
    expect(read(task, fileAt(task, fd), 3)).toBe("of ");
    const copy = fileAt(task, fd).mapMemory(false, false);
    if (typeof copy === "number") throw new Error("no mapping");
    const listing = openFd(task, "/plugin", O_RDONLY);
    const first = names(task, fileAt(task, listing), 2);
    const before = stat(task, "/plugin/named");
    const { given } = kit.kernel.devices;
    texts.length = 0;
    const there = move(kit, new TestHost(), register);
    expect(texts.map(({ source }) => source)).toEqual(["somewhere"]);
    expect(there.kernel.devices.given).toBe(given);
    expect(stat(there, "/plugin/named")).toEqual(before);
    expect(read(there, fileAt(there, fd), 100)).toBe("somewhere");
    expect([...first, ...names(there, fileAt(there, listing))]).toEqual([".", "..", "named"]);
    const moved = (fileAt(there, fd) as unknown as { copies: { fd: number }[] }).copies[0]!;
    const bytes = new Uint8Array(20);
    expect([pread(moved.fd, bytes, 20, 0), Buffer.from(bytes).toString()]).toEqual([
      12,
      "of somewhere\0\0\0\0\0\0\0\0",
    ]);
    expect(moved.fd).not.toBe(copy.fd);
    expect(removeFile(there, AT_FDCWD, "/plugin/named")).toBe(0);
    fileAt(there, fd).pos = 0;
    expect(read(there, fileAt(there, fd), 100)).toBe(-ESTALE);
    expect(readText(task, "/plugin/named")).toBe("of somewhere");
  });

  test("one that says no stands in the way; a plugin that is not there ends the restore", () => {
    const kit = withPlugin();
    expect(() => move(kit)).toThrow("file system texts, mount of somewhere: its plugin is not here");
    texts.at(-1)!.restorable = false;
    expect(obstacles(kit.kernel).join()).toContain("a file system of type texts that its plugin could not make again");
  });

  test("an open device is the plugin's of that name", () => {
    const kit = world(register);
    const fd = openFd(kit.task, "/dev/letters", O_RDONLY);
    expect(read(kit.task, fileAt(kit.task, fd), 2)).toBe("aa");
    const there = move(kit, new TestHost(), register);
    expect(read(there, fileAt(there, fd), 2)).toBe("aa");
    expect(() => move(kit)).toThrow("device letters: its plugin is not here");
  });
});

test("mount namespaces, mounts on mounts, and numbers that have been given out", () => {
  const kit = world();
  const { kernel, task } = kit;
  const child = kit.fork();
  child.fs.root = child.fs.cwd = task.fs.root;
  makeDirectory(task, AT_FDCWD, "/below", 0o755);
  mounted(kit, new Tmpfs(kernel), "/below");
  put(task, "/below/one", "first");
  mounted(kit, new Tmpfs(kernel), "/below");
  put(task, "/below/two", "second");
  makeDirectory(task, AT_FDCWD, "/bound", 0o755);
  mounted(kit, task.fs.root.mount.fs, "/bound", place(task, "/proc").mount.mountpoint!);
  expect(kernel.mounts.unshare(child.fs)).toBe(0);
  expect(kernel.mounts.umount(place(child, "/below").mount)).toBe(0);
  const tables = [task, child].map((of) => readText(of, "/proc/self/mountinfo"));
  const { given } = kernel.devices;

  const there = move(kit);
  const second = [...there.kernel.tasks].find((each) => each !== there)!;
  there.kernel.current = there;
  expect([there, second].map((of) => readText(of, "/proc/self/mountinfo"))).toEqual(tables);
  expect([list(there, "/below"), list(second, "/below")]).toEqual([
    [".", "..", "two"],
    [".", "..", "one"],
  ]);
  expect(there.kernel.mounts.umount(place(there, "/below").mount)).toBe(0);
  expect(list(there, "/below")).toEqual([".", "..", "one"]);
  const fs = new Tmpfs(there.kernel);
  expect(fs.dev).toBe(given + 1);
  put(second, "/below/new", "x");
  expect(readText(there, "/below/new")).toBe("x");
  second.fs.release();
  expect(readText(there, "/below/new")).toBe("x");
  const file = open(there, "/below/one", O_RDWR | O_CREAT);
  expect(read(there, file, 10)).toBe("first");
});
