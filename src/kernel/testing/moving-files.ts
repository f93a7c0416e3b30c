/** For unit tests of files in a kernel that is saved and restored: hosts with directories, and short words for what is done. */
import { expect } from "bun:test";
import { statSync } from "node:fs";
import { openat2 } from "../../native/host.ts";
import { encodeCString } from "../abi/bytes.ts";
import { ENOENT } from "../abi/errno.ts";
import { AT_FDCWD, O_CREAT, O_DIRECTORY, O_PATH, O_RDONLY, O_RDWR } from "../abi/fcntl.ts";
import { HostFs } from "../fs/host/host-fs.ts";
import { registerFileSystems } from "../fs/register.ts";
import type { Kernel } from "../kernel.ts";
import type { Task } from "../task/task.ts";
import { type Dentry, type Path, topOf } from "../vfs/dentry.ts";
import type { File } from "../vfs/file.ts";
import type { FileSystem, Stat } from "../vfs/inode.ts";
import { KernelIo } from "../vfs/io.ts";
import { openAt, resolve } from "../vfs/namei.ts";
import { readFile, writeFile } from "../vfs/read-write.ts";
import { FakePlatform } from "./fake-platform.ts";
import { MemoryHost, obstacles, resaved } from "./saving.ts";
import type { TaskKit } from "./task-kit.ts";

/** Has directories and files of the host as its trees, and descriptors by their number. */
export class TestHost extends MemoryHost {
  /** What has changed, where that is allowed. */
  readonly told: string[] = [];
  private readonly descriptors: number[];
  /** `id`: of the container that has them. Each is given once. */
  constructor(
    trees: Readonly<Record<string | number, string>> = {},
    private readonly allowChanged = false,
    descriptors: readonly number[] = [],
    private readonly id = "kit",
  ) {
    super(({ container, which }) => {
      const path = container === id ? trees[which] : undefined;
      return path === undefined ? -ENOENT : openTree(path);
    });
    this.descriptors = [...descriptors];
  }
  override inherited(container = "", fd = -1): number {
    const given = container === this.id ? this.descriptors[fd] : undefined;
    if (given === undefined) return super.inherited();
    delete this.descriptors[fd];
    return given;
  }
  override changed(text: string): void {
    if (!this.allowChanged) super.changed(text);
    this.told.push(text);
  }
}
function openTree(path: string): number {
  const flags = statSync(path).isDirectory() ? O_PATH | O_DIRECTORY : O_RDWR;
  return openat2(AT_FDCWD, encodeCString(path), flags, 0, 0);
}

/** Kernels of the test, and what they were restored from. */
const kernels = new Set<Kernel>();
const hosts = new Set<MemoryHost>();
/** After each test: what these kernels have open is closed. */
export function closeAll(): void {
  for (const kernel of kernels) {
    kernel.current = null;
    const tables = new Set([...kernel.tasks].map(({ files }) => files));
    for (const table of tables) table.removeRange(0, Number.POSITIVE_INFINITY, false, (file) => file.release());
    for (const { fs } of kernel.tasks) fs.release();
    for (const { root } of kernel.containers.values()) if (root !== null) kernel.mounts.releaseTree(topOf(root.mount));
    kernel.poller.close();
  }
  for (const host of hosts) host.close();
  kernels.clear();
  hosts.clear();
}

type Saved = Pick<TaskKit, "kernel" | "task">;

/**
 * The kernel's task in a kernel that was restored from it. `prepare`: what plugins would do. `same`: saved again, it gives the
 * same.
 */
export function move(
  { kernel, task }: Saved,
  host: MemoryHost = new TestHost(),
  prepare: (kernel: Kernel) => void = () => {},
  same = true,
): Task {
  kernel.current = null;
  kernels.add(kernel);
  hosts.add(host);
  try {
    expect(obstacles(kernel)).toEqual([]);
    const fresh = resaved(kernel, new FakePlatform(), host, [], same, (fresh) => {
      kernels.add(fresh);
      registerFileSystems(fresh);
      prepare(fresh);
    });
    fresh.current = [...fresh.tasks].find(({ tid }) => tid === task.tid)!;
    return fresh.current;
  } finally {
    kernel.current = task;
  }
}
/** The same to a host that is another one than it was. */
export const moveLoosely = (saved: Saved, host: MemoryHost): Task => move(saved, host, () => {}, false);

/** Like a tree of the container: which one it is is known. */
export function hostFs(
  { kernel, container }: TaskKit,
  path: string,
  which: "root" | number = "root",
  readonly = false,
): HostFs {
  const fs = new HostFs(kernel, openTree(path), { readonly });
  fs.tree = { container, which };
  return fs;
}
export function place(task: Task, path: string, flags = 0): Path {
  const found = resolve(task, AT_FDCWD, path, flags);
  if (typeof found === "number") throw new Error(`no ${path}: ${found}`);
  return found;
}
export const exists = (task: Task, path: string): boolean => typeof resolve(task, AT_FDCWD, path, 0) !== "number";
export function mounted({ kernel, task }: Saved, fs: FileSystem, path: string, root: Dentry = fs.rootDentry): void {
  const mount = kernel.mounts.mount(fs, place(task, path, 1), 0, root);
  if (typeof mount === "number") throw new Error(`cannot mount: ${mount}`);
}
export function open(task: Task, path: string, flags = O_RDWR): File {
  const file = openAt(task, AT_FDCWD, path, flags, 0o644);
  if (typeof file === "number") throw new Error(`cannot open ${path}: ${file}`);
  return file;
}
/** Opens it under a descriptor. */
export const openFd = (task: Task, path: string, flags = O_RDWR): number =>
  task.files.install(open(task, path, flags), false, 1024);
export const fileAt = (task: Task, fd: number): File => task.files.get(fd)!;
/** Reads on; -errno. */
export function read(task: Task, file: File, length: number): string | number {
  const bytes = new Uint8Array(length);
  const n = readFile(task, file, new KernelIo(bytes), -1);
  return n < 0 ? n : Buffer.from(bytes.subarray(0, n)).toString("latin1");
}
export const write = (task: Task, file: File, text: string): number =>
  writeFile(task, file, new KernelIo(Buffer.from(text)), -1);
/** Writes to the beginning of a file, which is made if it is not there. */
export function put(task: Task, path: string, text: string): void {
  const file = open(task, path, O_RDWR | O_CREAT);
  expect(write(task, file, text)).toBe(text.length);
  file.release();
}
/** Entries of an open directory from where it is, at most so many. */
export function names(task: Task, file: File, most = Number.POSITIVE_INFINITY): string[] {
  const found: string[] = [];
  expect(file.readdir(task, (name) => found.length < most && found.push(name) > 0)).toBe(0);
  return found;
}
export function list(task: Task, path: string): string[] {
  const file = open(task, path, O_RDONLY);
  const found = names(task, file).sort();
  file.release();
  return found;
}
export function stat(task: Task, path: string): Stat {
  const attr = place(task, path).dentry.inode.getattr();
  if (typeof attr === "number") throw new Error(`no attributes of ${path}: ${attr}`);
  return attr;
}
