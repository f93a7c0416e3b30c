/**
 * File systems written by plugins: the kernel's inodes over an interface of paths (`FileSystem` in core/plugin.ts).
 *
 * A node knows its parent and its name, and tells the plugin the path that follows from them, so a rename moves all that
 * is below. Nothing of the plugin's answers is kept, unless its `cacheSeconds` says so.
 * Invariants: what the plugin throws or answers wrongly is EIO for this one call (guard.ts); set-user-id bits, devices
 * and links with several names do not exist here.
 * Known gaps: an open file whose name was removed gives ESTALE; inode numbers follow the path; no extended attributes.
 */
import type { NodeAttributes, FileSystem as PluginFileSystem } from "../../../core/plugin.ts";
import {
  EACCES,
  EEXIST,
  EINVAL,
  EIO,
  EISDIR,
  ELOOP,
  ENAMETOOLONG,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EPERM,
  EROFS,
  ESTALE,
  EXDEV,
  errnoName,
} from "../../abi/errno.ts";
import { RENAME_NOREPLACE } from "../../abi/fcntl.ts";
import { S_IFDIR, S_IFLNK, S_IFREG } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Restore } from "../../state/restore.ts";
import type { Task } from "../../task/task.ts";
import { realtimeNow } from "../../time/clock.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import {
  type AttrChanges,
  FileSystem,
  Inode,
  type NewNode,
  type Stat,
  type StatFs,
  type Timespec,
  uncounted,
} from "../../vfs/inode.ts";
import { PluginDirectoryFile, PluginFile } from "./file.ts";
import type { PluginGuard } from "./guard.ts";

/** statfs f_type: "runt". */
const MAGIC = 0x72756e74;
const BLOCK = 4096;
/** A path that a plugin is asked for, at most (PATH_MAX). */
const PATH_MAX = 4096;
const KINDS: Readonly<Record<string, number>> = { file: S_IFREG, directory: S_IFDIR, symlink: S_IFLNK };
const PERMISSIONS = 0o1777;

function isAttributes(value: unknown): value is NodeAttributes {
  if (typeof value !== "object" || value === null) return false;
  const { kind, size } = value as NodeAttributes;
  return Object.hasOwn(KINDS, kind) && Number.isSafeInteger(size) && size >= 0;
}
const isText = (value: unknown): value is string => typeof value === "string";
const isNames = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((name) => typeof name === "string" && name !== "" && !name.includes("/"));

/** Inode numbers: the same path has the same one, in listings as in stat. FNV-1a over two halves, 52 bits. */
function inodeNumber(path: string): number {
  let low = 0x811c9dc5;
  let high = 0x01000193;
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    low = Math.imul(low ^ code, 0x01000193);
    high = Math.imul(high ^ code ^ (low >>> 13), 0x85ebca6b);
  }
  return (high & 0xfffff) * 4294967296 + (low >>> 0) + 2;
}

export class PluginFs extends FileSystem {
  override readonly root: PluginNode;
  override readonly revalidates = true;
  readonly cacheNs: number;
  /** What a node without times of its own shows. */
  readonly mountTime: Timespec = realtimeNow();

  /** What it was made for, which it is made for again in a restored kernel. */
  private madeFor: MountedAs | null = null;

  private constructor(
    readonly kernel: Kernel,
    override readonly type: string,
    readonly own: PluginFileSystem,
    readonly guard: PluginGuard,
  ) {
    super();
    this.dev = kernel.devices.anonymous();
    this.cacheNs = Math.max(0, Number(own.cacheSeconds ?? 0) || 0) * 1e9;
    this.root = new PluginNode(this, null, "", S_IFDIR);
  }

  /** -errno when its root is no directory. */
  static make(
    kernel: Kernel,
    type: string,
    own: PluginFileSystem,
    guard: PluginGuard,
    madeFor: MountedAs | null = null,
  ): PluginFs | number {
    const fs = new PluginFs(kernel, type, own, guard);
    fs.madeFor = madeFor;
    const attributes = fs.root.attributes();
    if (typeof attributes === "number") return attributes;
    return attributes.kind === "directory" ? fs : -ENOTDIR;
  }

  what(operation: string, path: string): string {
    return `file system ${this.type}, ${operation} of ${path}`;
  }

  attributesOf(path: string): NodeAttributes | number {
    return this.guard.value(this.what("attributes", path), () => this.own.attributes(path), isAttributes);
  }

  override statfs(): StatFs {
    return uncounted(MAGIC, BLOCK);
  }

  /** In a restored kernel: the plugin makes its part anew. */
  makeAgain({ kernel, host }: Restore): void {
    const { type, madeFor } = this;
    const what = `file system ${type}, mount of ${madeFor?.source}`;
    const known = kernel.fileSystemTypes.get(type);
    if (known === undefined) throw new Error(`${what}: its plugin is not here`);
    const { source, options } = madeFor!;
    const made =
      host.fileSystem?.(type, source, options) ??
      kernel.devices.withoutNumber(() => known.make(kernel, source, options, null));
    if (!(made instanceof PluginFs))
      throw new Error(`${what}: ${typeof made === "number" ? errnoName(-made) : "it is no plugin's here"}`);
    const self = this as { -readonly [K in "own" | "guard"]: this[K] };
    self.own = made.own;
    self.guard = made.guard;
  }
}

/** Source and options of a mount, as its factory got them. */
export interface MountedAs {
  readonly source: string;
  readonly options: readonly string[];
}

export class PluginNode extends Inode {
  readonly ino: number;
  private known: NodeAttributes | null = null;
  private knownUntil = 0;
  /** Its name is gone. */
  removed = false;

  constructor(
    override readonly fs: PluginFs,
    public parent: PluginNode | null,
    public name: string,
    override readonly type: number,
  ) {
    super();
    this.ino = parent === null ? 1 : inodeNumber(this.path);
  }

  /** Absolute in its file system. */
  get path(): string {
    const { parent } = this;
    if (parent === null) return "/";
    return parent.parent === null ? `/${this.name}` : `${parent.path}/${this.name}`;
  }
  private child(name: string): string | number {
    const path = this.parent === null ? `/${name}` : `${this.path}/${name}`;
    return path.length > PATH_MAX ? -ENAMETOOLONG : path;
  }

  forget(): void {
    this.knownUntil = 0;
  }

  attributes(): NodeAttributes | number {
    const { fs } = this;
    if (this.removed) return -ESTALE;
    if (fs.cacheNs > 0 && this.known !== null && fs.kernel.now() < this.knownUntil) return this.known;
    const found = fs.attributesOf(this.path);
    if (typeof found === "number") return found === -ENOENT && this.holders > 0 ? -ESTALE : found;
    if (KINDS[found.kind] !== this.type) return -ESTALE;
    this.remember(found);
    return found;
  }
  private remember(found: NodeAttributes): void {
    if (this.fs.cacheNs === 0) return;
    this.known = found;
    this.knownUntil = this.fs.kernel.now() + this.fs.cacheNs;
  }

  override getattr(): Stat | number {
    const found = this.attributes();
    if (typeof found === "number") return found;
    const { mode = this.type === S_IFDIR ? 0o755 : this.type === S_IFLNK ? 0o777 : 0o644, uid = 0, gid = 0 } = found;
    const time = found.mtime === undefined ? this.fs.mountTime : timespec(found.mtime);
    return {
      dev: this.fs.dev,
      ino: this.ino,
      mode: this.type | (mode & PERMISSIONS),
      nlink: this.type === S_IFDIR ? 2 : 1,
      uid,
      gid,
      rdev: 0,
      size: found.size,
      blksize: BLOCK,
      blocks: Math.ceil(found.size / 512),
      atime: time,
      mtime: time,
      ctime: time,
    };
  }

  override setattr(changes: AttrChanges): number {
    const { fs } = this;
    if (this.removed) return -ESTALE;
    this.forget();
    if (changes.size !== undefined) {
      const result = this.truncate(changes.size);
      if (result < 0) return result;
    }
    const { mode, uid, gid, mtime } = changes;
    if (mode === undefined && uid === undefined && gid === undefined && mtime === undefined) return 0;
    if (fs.own.setAttributes === undefined) {
      // Times come from the plugin; whoever only sets them (touch, cp -p) is not told off.
      return mode === undefined && uid === undefined && gid === undefined ? 0 : -EPERM;
    }
    const { path } = this;
    return Math.min(
      0,
      fs.guard.number(fs.what("setAttributes", path), () =>
        fs.own.setAttributes!(path, {
          ...(mode === undefined ? {} : { mode: mode & PERMISSIONS }),
          ...(uid === undefined ? {} : { uid }),
          ...(gid === undefined ? {} : { gid }),
          ...(mtime === undefined ? {} : { mtime: mtime.sec + mtime.nsec / 1e9 }),
        }),
      ),
    );
  }

  truncate(size: number): number {
    const { fs, path } = this;
    if (this.type === S_IFDIR) return -EISDIR;
    if (size < 0) return -EINVAL;
    if (fs.own.truncate === undefined) return -EROFS;
    this.forget();
    return Math.min(
      0,
      fs.guard.number(fs.what("truncate", path), () => fs.own.truncate!(path, size)),
    );
  }

  // Directories.

  override lookup(name: string, _task: Task, known: Inode | null = null): Inode | number {
    if (this.type !== S_IFDIR) return -ENOTDIR;
    const { fs } = this;
    const same = known instanceof PluginNode && known.parent === this && known.name === name && !known.removed;
    if (same && fs.cacheNs > 0 && fs.kernel.now() < known.knownUntil) return known;
    const path = this.child(name);
    if (typeof path === "number") return path;
    const found = fs.attributesOf(path);
    if (typeof found === "number") return found;
    const type = KINDS[found.kind]!;
    const node = same && known.type === type ? known : new PluginNode(fs, this, name, type);
    node.remember(found);
    return node;
  }

  private add(operation: "create" | "makeDirectory", name: string, type: number, node: NewNode): Inode | number {
    const { fs } = this;
    if (this.removed) return -ENOENT;
    if (fs.own[operation] === undefined) return -EROFS;
    const path = this.child(name);
    if (typeof path === "number") return path;
    const result = fs.guard.number(fs.what(operation, path), () => fs.own[operation]!(path, node.mode & PERMISSIONS));
    this.forget();
    return result < 0 ? result : new PluginNode(fs, this, name, type);
  }
  override create(name: string, node: NewNode): Inode | number {
    return this.add("create", name, S_IFREG, node);
  }
  override mkdir(name: string, node: NewNode): Inode | number {
    return this.add("makeDirectory", name, S_IFDIR, node);
  }

  private take(name: string, inode: Inode): number {
    const { fs } = this;
    if (fs.own.remove === undefined) return -EROFS;
    const path = this.child(name);
    if (typeof path === "number") return path;
    const result = fs.guard.number(fs.what("remove", path), () => fs.own.remove!(path));
    if (result < 0) return result;
    this.forget();
    if (inode instanceof PluginNode) inode.removed = true;
    return 0;
  }
  override unlink(name: string, inode: Inode): number {
    return inode.type === S_IFDIR ? -EISDIR : this.take(name, inode);
  }
  override rmdir(name: string, inode: Inode): number {
    if (inode.type !== S_IFDIR) return -ENOTDIR;
    const names = (inode as PluginNode).list();
    if (typeof names === "number") return names;
    return names.length > 0 ? -ENOTEMPTY : this.take(name, inode);
  }

  override rename(
    name: string,
    newDir: Inode,
    newName: string,
    flags: number,
    moved: Inode,
    replaced: Inode | null,
  ): number {
    const { fs } = this;
    if (!(newDir instanceof PluginNode) || newDir.fs !== fs) return -EXDEV;
    if (flags & ~RENAME_NOREPLACE) return -EINVAL;
    if (fs.own.rename === undefined) return -EROFS;
    if (replaced !== null) {
      if (flags & RENAME_NOREPLACE) return -EEXIST;
      if (replaced.type === S_IFDIR) {
        const names = (replaced as PluginNode).list();
        if (typeof names === "number") return names;
        if (names.length > 0) return -ENOTEMPTY;
      }
    }
    const from = this.child(name);
    const to = newDir.child(newName);
    if (typeof from === "number") return from;
    if (typeof to === "number") return to;
    const result = fs.guard.number(fs.what("rename", `${from} to ${to}`), () => fs.own.rename!(from, to));
    if (result < 0) return result;
    this.forget();
    newDir.forget();
    if (replaced instanceof PluginNode) replaced.removed = true;
    if (moved instanceof PluginNode) {
      moved.parent = newDir;
      moved.name = newName;
      moved.forget();
    }
    return 0;
  }

  list(): readonly string[] | number {
    const { fs, path } = this;
    return fs.guard.value(fs.what("list", path), () => fs.own.list(path), isNames);
  }
  /** Inode number of a name in it, without asking the plugin. */
  inoOf(name: string): number {
    return inodeNumber(this.parent === null ? `/${name}` : `${this.path}/${name}`);
  }

  override readlink(): string | number {
    const { fs, path } = this;
    if (this.type !== S_IFLNK) return -EINVAL;
    if (fs.own.readLink === undefined) return -EIO;
    return fs.guard.value(fs.what("readLink", path), () => fs.own.readLink!(path), isText);
  }

  override open(path: Path, flags: number): File | number {
    if (this.type === S_IFLNK) return -ELOOP;
    if (this.type === S_IFDIR) return new PluginDirectoryFile(flags, path, this);
    if ((flags & 3) !== 0 && this.fs.own.write === undefined) return (flags & 3) === 3 ? -EACCES : -EROFS;
    return new PluginFile(flags, path, this);
  }
}

function timespec(seconds: number): Timespec {
  const sec = Math.floor(seconds);
  return { sec, nsec: Math.min(999_999_999, Math.round((seconds - sec) * 1e9)) };
}

persistent("plugin-fs", PluginFs, {
  transient: { own: () => null, guard: () => null },
  as: {
    madeFor: {
      save(madeFor: MountedAs | null, { type, own }) {
        if (madeFor === null || own.restorable === false)
          throw new Error(`a file system of type ${type} that its plugin could not make again`);
        return { source: madeFor.source, options: [...madeFor.options] };
      },
      restore: (madeFor: MountedAs) => madeFor,
    },
  },
  reopen: (fs, restore) => fs.makeAgain(restore),
});
persistent("plugin-node", PluginNode);
