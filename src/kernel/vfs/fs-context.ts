/**
 * What a task shares with CLONE_FS: root, working directory, umask; and the mount namespace that these are in.
 *
 * Source: clone(2), mount_namespaces(7).
 */

import { persistent } from "../state/registry.ts";
import type { Mount, Path } from "./dentry.ts";
import type { MountTable } from "./mounts.ts";

/** A copy of the mount tree that some processes have for themselves. It goes with the last of them. */
export class MountNamespace {
  /** Contexts in it. */
  users = 1;
  constructor(
    readonly mounts: MountTable,
    /** The mount at its top; pivot_root changes it. */
    public top: Mount,
    /** Inode number in /proc/PID/ns. */
    readonly number: number,
  ) {}
  release(): void {
    if (--this.users === 0) this.mounts.dropTree(this.top);
  }
}

/** Invariant: the inodes of both places count it as a holder, so that they last when their names are removed. */
export class FsContext {
  users = 1;
  constructor(
    private rootPath: Path,
    private cwdPath: Path,
    public umask: number,
    /** null: the mounts that the container started with, which stay. */
    public namespace: MountNamespace | null = null,
  ) {
    rootPath.dentry.inode.hold();
    cwdPath.dentry.inode.hold();
  }
  get root(): Path {
    return this.rootPath;
  }
  set root(path: Path) {
    path.dentry.inode.hold();
    this.rootPath.dentry.inode.letGo();
    this.rootPath = path;
  }
  get cwd(): Path {
    return this.cwdPath;
  }
  set cwd(path: Path) {
    path.dentry.inode.hold();
    this.cwdPath.dentry.inode.letGo();
    this.cwdPath = path;
  }
  copy(): FsContext {
    if (this.namespace !== null) this.namespace.users++;
    return new FsContext(this.root, this.cwd, this.umask, this.namespace);
  }
  /** One task less uses it. */
  release(): void {
    if (--this.users > 0) return;
    this.rootPath.dentry.inode.letGo();
    this.cwdPath.dentry.inode.letGo();
    this.namespace?.release();
  }
}

persistent("mount-namespace", MountNamespace);
persistent("fs-context", FsContext);
