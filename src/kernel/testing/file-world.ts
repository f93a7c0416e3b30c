/** A task in a file system of its own, for unit tests of what works on paths. */
import type { FileSystem } from "../vfs/inode.ts";
import { TaskKit } from "./task-kit.ts";

/** A kit whose task has the file system made by `make` as its root and working directory. */
export function worldOn(make: (kit: TaskKit) => FileSystem): TaskKit {
  const kit = new TaskKit();
  const mount = kit.kernel.mounts.mount(make(kit), null, 0);
  if (typeof mount === "number") throw new Error(`cannot mount: ${mount}`);
  kit.kernel.rootMount = mount;
  kit.task.fs.root = { mount, dentry: mount.root };
  kit.task.fs.cwd = { mount, dentry: mount.root };
  return kit;
}
