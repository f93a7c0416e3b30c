/**
 * What a task shares with CLONE_FS: root, working directory, umask; and the mount namespace that these are in.
 *
 * Source: clone(2), mount_namespaces(7).
 */
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
  ) {}
  release(): void {
    if (--this.users === 0) this.mounts.dropTree(this.top);
  }
}

export class FsContext {
  users = 1;
  constructor(
    public root: Path,
    public cwd: Path,
    public umask: number,
    /** null: the mounts that the container started with, which stay. */
    public namespace: MountNamespace | null = null,
  ) {}
  copy(): FsContext {
    if (this.namespace !== null) this.namespace.users++;
    return new FsContext(this.root, this.cwd, this.umask, this.namespace);
  }
  /** One task less uses it. */
  release(): void {
    if (--this.users === 0) this.namespace?.release();
  }
}
