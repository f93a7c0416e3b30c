/**
 * Places that the spec names in the container's tree, whose links are the image's: they are followed inside of the root
 * and never out of it, and what is missing is made, also behind a link that leads nowhere.
 *
 * Source: runc's use of filepath-securejoin. Everything happens in our own tree: nobody can exchange a name between look
 * and use, and the host's files below it are reached component by component without following links (fs/host).
 * A name that does not exist is taken for a directory to be: ".." after it leads back. Magic links of /proc are refused.
 */
import { ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR } from "../kernel/abi/errno.ts";
import type { Task } from "../kernel/task/task.ts";
import type { Path } from "../kernel/vfs/dentry.ts";
import { makeDirectory, makeNode } from "../kernel/vfs/names.ts";
import { openPlace } from "../kernel/vfs/open.ts";
import { Walk } from "../kernel/vfs/walk.ts";

const AT_FDCWD = -100;
const O_RDONLY = 0;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
/** Links followed on the way, as securejoin has it. */
const LINKS_MAX = 255;
/** Components walked on the way: an image cannot keep us busy with long links to long links. */
const STEPS_MAX = 65536;

/** How far a path exists, and the names that are missing behind that. */
export interface Place {
  readonly path: Path;
  readonly missing: readonly string[];
}

/** Where `path` leads for `task`, which is at the container's root; -errno. Makes nothing. */
export function findInRoot(task: Task, path: string): Place | number {
  const walk = new Walk(task, 0);
  const begun = walk.begin(AT_FDCWD, "/");
  if (begun < 0) return begun;
  const root = walk.path;
  let here = root;
  const above: Path[] = [];
  const missing: string[] = [];
  // The next component is the last of the list.
  const rest = path.split("/").reverse();
  let links = 0;
  for (let steps = 0; rest.length > 0; steps++) {
    if (steps > STEPS_MAX) return -ENAMETOOLONG;
    const name = rest.pop()!;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (missing.pop() === undefined) here = above.pop() ?? root;
      continue;
    }
    if (missing.length > 0) {
      missing.push(name);
      continue;
    }
    if (here.dentry.inode.type !== S_IFDIR) return -ENOTDIR;
    walk.mount = here.mount;
    walk.dentry = here.dentry;
    const child = walk.child(name, true);
    if (typeof child === "number") {
      if (child !== -ENOENT) return child;
      missing.push(name);
      continue;
    }
    if (child.inode.type === S_IFLNK) {
      if (++links > LINKS_MAX || child.inode.followMagic(task) !== null) return -ELOOP;
      const target = child.inode.readlink(task);
      if (typeof target === "number") return target;
      if (target.startsWith("/")) {
        above.length = 0;
        here = root;
      }
      rest.push(...target.split("/").reverse());
      continue;
    }
    above.push(here);
    const entered = walk.enter(child);
    if (entered < 0) return entered;
    here = walk.path;
  }
  return { path: here, missing };
}

/** Makes what is missing: directories (0755), at the end a directory or an empty file. */
export function makeInRoot(task: Task, { path, missing }: Place, directory: boolean): Path | number {
  const { cwd } = task.fs;
  let here = path;
  try {
    for (const [i, name] of missing.entries()) {
      task.fs.cwd = here;
      const isDirectory = directory || i < missing.length - 1;
      const made = isDirectory
        ? makeDirectory(task, AT_FDCWD, name, 0o755)
        : makeNode(task, AT_FDCWD, name, S_IFREG | 0o755, 0);
      if (typeof made === "number") return made;
      if (!isDirectory) letGo(task, made);
      here = made;
    }
  } finally {
    task.fs.cwd = cwd;
  }
  return here;
}

/**
 * A file system may keep a file that was just made open for its maker to write. Nobody will: and a mount that somebody may
 * write through cannot become read-only.
 */
function letGo(task: Task, made: Path): void {
  const file = openPlace(task, made, O_RDONLY);
  if (typeof file !== "number") file.release();
}
