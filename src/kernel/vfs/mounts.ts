/**
 * The mount table: which mounts sit where.
 *
 * Source: mount(2), mount_namespaces(7). A namespace, like a container's tree, is what hangs below a mount that has no
 * parent. Gaps: propagation types are accepted and have no effect (there is nothing to propagate to).
 *
 * Invariant: a mount's mountpoint is a dentry of its parent's file system and counts in that dentry's `mountedHere`; of
 * several mounts at one place each later one is mounted on the root of the one before.
 */
import { EBUSY, EINVAL, ELOOP, ENOSPC, ENOTDIR } from "../abi/errno.ts";
import { S_IFDIR } from "../abi/stat.ts";
import type { NamespaceNumbers } from "../namespaces.ts";
import { persistent } from "../state/registry.ts";
import { type Dentry, Mount, type Path, topOf } from "./dentry.ts";
import { type FsContext, MountNamespace } from "./fs-context.ts";
import type { FileSystem } from "./inode.ts";

/** Mounts at most (fs.mount-max). */
const MOUNTS_MAX = 100000;

export class MountTable {
  constructor(private readonly namespaces: NamespaceNumbers) {}

  /** In order of mounting. */
  readonly all = new Set<Mount>();
  private readonly at = new Map<Dentry, Mount[]>();
  private readonly users = new Map<FileSystem, number>();
  private readonly kernelMounts = new Map<string, Mount>();
  private lastId = 0;

  /** A mount that is in no tree, for files without a place (memfd). */
  internal(name: string, make: () => FileSystem): Mount {
    let mount = this.kernelMounts.get(name);
    if (mount === undefined) {
      const fs = make();
      mount = new Mount(++this.lastId, fs, fs.rootDentry, null, null, 0);
      this.kernelMounts.set(name, mount);
    }
    return mount;
  }

  /** Mounts `fs` (or the part of it under `root`) at a place, or as a new root. */
  mount(fs: FileSystem, at: Path | null, flags: number, root: Dentry = fs.rootDentry): Mount | number {
    if (this.all.size >= MOUNTS_MAX) return -ENOSPC;
    const mount = new Mount(++this.lastId, fs, root, null, null, flags);
    if (at !== null) {
      const place = this.topmost(at);
      if ((place.dentry.inode.type === S_IFDIR) !== (root.inode.type === S_IFDIR)) return -ENOTDIR;
      this.attach(mount, place);
    }
    this.all.add(mount);
    this.users.set(fs, (this.users.get(fs) ?? 0) + 1);
    return mount;
  }

  /** Puts a mount that is nowhere at a place. */
  attach(mount: Mount, at: Path): void {
    mount.parent = at.mount;
    mount.mountpoint = at.dentry;
    at.dentry.mountedHere++;
    const here = this.at.get(at.dentry);
    if (here === undefined) this.at.set(at.dentry, [mount]);
    else here.push(mount);
  }

  /** Takes a mount from its place, with all that is mounted in it. */
  detach(mount: Mount): void {
    const dentry = mount.mountpoint;
    if (dentry === null) return;
    const here = this.at.get(dentry)!;
    here.splice(here.indexOf(mount), 1);
    if (here.length === 0) this.at.delete(dentry);
    dentry.mountedHere--;
    mount.parent = null;
    mount.mountpoint = null;
  }

  /** The mount on this very place, not looking further up. */
  mountedOn(mount: Mount, dentry: Dentry): Mount | null {
    if (dentry.mountedHere === 0) return null;
    const here = this.at.get(dentry);
    if (here !== undefined) for (const m of here) if (m.parent === mount) return m;
    return null;
  }

  /** The place that a walker who comes to `path` is in: the root of the topmost mount there. */
  topmost(path: Path): Path {
    if (path.dentry.mountedHere === 0) return path;
    let { mount, dentry } = path;
    for (;;) {
      const next = this.mountedOn(mount, dentry);
      if (next === null) return { mount, dentry };
      mount = next;
      dentry = next.root;
    }
  }

  childrenOf(mount: Mount): Mount[] {
    const found: Mount[] = [];
    for (const m of this.all) if (m.parent === mount) found.push(m);
    return found;
  }

  /** `mount` and everything mounted in it, deepest last. */
  tree(mount: Mount): Mount[] {
    const found = [mount];
    for (let i = 0; i < found.length; i++) found.push(...this.childrenOf(found[i]!));
    return found;
  }

  /** Takes a mount down: EBUSY when something is mounted in it, unless `lazy` takes the whole tree. */
  umount(mount: Mount, lazy = false): number {
    if (mount.mountpoint === null) return -EINVAL;
    const tree = this.tree(mount);
    if (tree.length > 1 && !lazy) return -EBUSY;
    for (let i = tree.length - 1; i >= 0; i--) {
      const gone = tree[i]!;
      // Inside a lazily detached tree the mounts stay on each other, for those who are in there.
      if (i === 0) this.detach(gone);
      this.all.delete(gone);
      const left = this.users.get(gone.fs)! - 1;
      if (left > 0) this.users.set(gone.fs, left);
      else {
        this.users.delete(gone.fs);
        if (!lazy) gone.fs.release();
      }
    }
    return 0;
  }

  /** CLONE_NEWNS: gives the context a copy of every mount that it could reach. */
  unshare(fs: FsContext): number {
    const top = topOf(fs.root.mount);
    const old = this.tree(top);
    if (this.all.size + old.length > MOUNTS_MAX) return -ENOSPC;
    const copies = new Map<Mount, Mount>();
    for (const mount of old) {
      const copy = this.mount(mount.fs, null, mount.flags, mount.root) as Mount;
      copies.set(mount, copy);
      if (mount !== top) this.attach(copy, { mount: copies.get(mount.parent!)!, dentry: mount.mountpoint! });
    }
    const translated = (path: Path): Path => ({ mount: copies.get(path.mount) ?? path.mount, dentry: path.dentry });
    fs.root = translated(fs.root);
    fs.cwd = translated(fs.cwd);
    fs.namespace?.release();
    fs.namespace = new MountNamespace(this, copies.get(top)!, this.namespaces.next("mnt"));
    return 0;
  }

  /** Takes a whole tree down, its top included. */
  dropTree(top: Mount): void {
    const tree = this.tree(top);
    for (let i = tree.length - 1; i >= 0; i--) this.drop(tree[i]!);
  }

  /** Takes the tree of a container down: its file systems go with it, but for those that others have mounted too. */
  releaseTree(top: Mount): void {
    const tree = this.tree(top);
    for (let i = tree.length - 1; i >= 0; i--) {
      const { fs } = tree[i]!;
      this.drop(tree[i]!);
      if (!this.users.has(fs)) fs.release();
    }
  }

  /** A mount is no longer in the table; what is open in it stays usable. */
  private drop(mount: Mount): void {
    this.detach(mount);
    this.all.delete(mount);
    const left = this.users.get(mount.fs)! - 1;
    if (left > 0) this.users.set(mount.fs, left);
    else this.users.delete(mount.fs);
  }

  /** Moves a mount to another place. */
  move(mount: Mount, to: Path): number {
    if (mount.mountpoint === null) return -EINVAL;
    const place = this.topmost(to);
    for (let at: Mount | null = place.mount; at !== null; at = at.parent) if (at === mount) return -ELOOP;
    if ((place.dentry.inode.type === S_IFDIR) !== (mount.root.inode.type === S_IFDIR)) return -ENOTDIR;
    this.detach(mount);
    this.attach(mount, place);
    return 0;
  }

  /** What is seen from `root`, in order of mounting, with the place of each as an absolute path. */
  seenFrom(root: Path): { mount: Mount; path: string }[] {
    const seen: { mount: Mount; path: string }[] = [];
    for (const mount of this.all) {
      const path = mount === root.mount ? "/" : pathBelow(root, mount);
      if (path !== null) seen.push({ mount, path });
    }
    return seen;
  }
}

/** The place of a mount as seen from root, or null. */
function pathBelow(root: Path, mount: Mount): string | null {
  let path = "";
  let m: Mount = mount;
  let d: Dentry = mount.root;
  for (;;) {
    if (m === root.mount && d === root.dentry) return path === "" ? "/" : path;
    if (d === m.root) {
      if (m.parent === null) return null;
      d = m.mountpoint!;
      m = m.parent;
    } else {
      path = `/${d.name}${path}`;
      d = d.parent!;
    }
  }
}

persistent("mount-table", MountTable);
