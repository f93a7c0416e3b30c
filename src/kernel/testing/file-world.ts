/** A task in a file system of its own, for unit tests of what works on paths. */
import { AT_FDCWD, O_RDONLY } from "../abi/fcntl.ts";
import type { Task } from "../task/task.ts";
import type { FileSystem } from "../vfs/inode.ts";
import { KernelIo } from "../vfs/io.ts";
import { openAt } from "../vfs/namei.ts";
import { TaskKit } from "./task-kit.ts";

/** A kit whose task has the file system made by `make` as its root and working directory. */
export function worldOn(make: (kit: TaskKit) => FileSystem): TaskKit {
  const kit = new TaskKit();
  const mount = kit.kernel.mounts.mount(make(kit), null, 0);
  if (typeof mount === "number") throw new Error(`cannot mount: ${mount}`);
  kit.container.root = { mount, dentry: mount.root };
  kit.task.fs.root = { mount, dentry: mount.root };
  kit.task.fs.cwd = { mount, dentry: mount.root };
  return kit;
}

/** The beginning of a file, as a text; -errno. */
export function readText(task: Task, path: string): string | number {
  const file = openAt(task, AT_FDCWD, path, O_RDONLY, 0);
  if (typeof file === "number") return file;
  const bytes = new Uint8Array(1000);
  const n = file.read(task, new KernelIo(bytes), 0);
  file.release();
  return n < 0 ? n : Buffer.from(bytes.subarray(0, n)).toString();
}
