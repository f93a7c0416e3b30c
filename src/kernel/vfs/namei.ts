/**
 * Paths to places and back: what system calls use to find files.
 *
 * Source: path_resolution(7), getcwd(3). The walk itself is in walk.ts, opening in open.ts, rights in permission.ts.
 */
import type { Credentials } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import type { Dentry, Mount, Path } from "./dentry.ts";
import { LAST_NORM, Walk } from "./walk.ts";

export { makeNode } from "./names.ts";
export { openAt } from "./open.ts";
export { permission } from "./permission.ts";
export {
  LOOKUP_BENEATH,
  LOOKUP_DIRECTORY,
  LOOKUP_EMPTY,
  LOOKUP_FOLLOW,
  LOOKUP_IN_ROOT,
  LOOKUP_NO_MAGICLINKS,
  LOOKUP_NO_SYMLINKS,
  LOOKUP_NO_XDEV,
} from "./walk.ts";

/** The place that a path names. `flags`: LOOKUP_*. */
export function resolve(task: Task, dirfd: number, path: string, flags: number, cred?: Credentials): Path | number {
  const walk = new Walk(task, flags, cred);
  let result = walk.begin(dirfd, path);
  if (result === 0) result = walk.toEnd();
  return result < 0 ? result : walk.path;
}

/** The directory of a path's last component. */
export interface ParentOf {
  parent: Path;
  name: string;
  /** LAST_NORM, or LAST_DOT, LAST_DOTDOT, LAST_ROOT when the last component is no name. */
  kind: number;
  /** Slashes follow the name. */
  trailing: boolean;
}

/** Where a name is to be made or removed: the directory that it is in (which exists) and the name (which may not). */
export function resolveParent(task: Task, dirfd: number, path: string, flags = 0): ParentOf | number {
  const walk = new Walk(task, flags);
  let result = walk.begin(dirfd, path);
  if (result === 0) result = walk.toParent();
  if (result < 0) return result;
  return {
    parent: walk.path,
    name: walk.kind === LAST_NORM ? walk.name : "",
    kind: walk.kind,
    trailing: walk.trailing,
  };
}

/** The path of a place below `root`, and whether it is below. */
export function pathFrom(root: Path, path: Path): { text: string; reached: boolean } {
  let text = "";
  let mount: Mount = path.mount;
  let dentry: Dentry = path.dentry;
  for (;;) {
    if (mount === root.mount && dentry === root.dentry) return { text: text === "" ? "/" : text, reached: true };
    if (dentry === mount.root || dentry.parent === null) {
      if (mount.parent === null) return { text: text === "" ? "/" : text, reached: false };
      dentry = mount.mountpoint!;
      mount = mount.parent;
    } else {
      text = `/${dentry.name}${text}`;
      dentry = dentry.parent;
    }
  }
}

/** How a place is called as seen by the task: as /proc/PID/fd shows it. */
export function pathString(task: Task, path: Path): string {
  const { text } = pathFrom(task.fs.root, path);
  return path.dentry.deleted ? `${text} (deleted)` : text;
}

/** The same, with "(unreachable)" in front of places that cannot be reached from the task's root. */
export function pathStringReachable(task: Task, path: Path): string {
  const { text, reached } = pathFrom(task.fs.root, path);
  const marked = reached ? text : `(unreachable)${text}`;
  return path.dentry.deleted ? `${marked} (deleted)` : marked;
}
