/**
 * Path walking: from a string to a place in the tree, component by component.
 *
 * Source: path_resolution(7), symlink(7), openat2(2); the order of errors is that of Linux fs/namei.c: a component's
 * directory must be searchable (EACCES) before its length (ENAMETOOLONG) and existence count, and what is walked through
 * must be a directory (ENOTDIR).
 *
 * Invariant: `mount` and `dentry` are always the topmost mount's view of the place reached. A walk holds no references;
 * it does not outlive the call.
 */

import { encodeName } from "../abi/bytes.ts";
import { EAGAIN, EBADF, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV } from "../abi/errno.ts";
import { AT_FDCWD, MAY_EXEC, NAME_MAX } from "../abi/fcntl.ts";
import { S_IFDIR, S_IFLNK } from "../abi/stat.ts";
import { perCall } from "../state/registry.ts";
import { CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, type Credentials, capable } from "../task/credentials.ts";
import type { Task } from "../task/task.ts";
import { Dentry, type Mount, type Path } from "./dentry.ts";
import type { Inode } from "./inode.ts";
import { permissionAs } from "./permission.ts";

/** Follow a symbolic link in the last component. */
export const LOOKUP_FOLLOW = 1;
/** What is found must be a directory. */
export const LOOKUP_DIRECTORY = 2;
/** An empty path means the starting point (AT_EMPTY_PATH). */
export const LOOKUP_EMPTY = 0x4000;
export const LOOKUP_NO_SYMLINKS = 0x10000;
export const LOOKUP_NO_MAGICLINKS = 0x20000;
export const LOOKUP_NO_XDEV = 0x40000;
export const LOOKUP_BENEATH = 0x80000;
export const LOOKUP_IN_ROOT = 0x100000;
export const LOOKUP_CACHED = 0x200000;
const LOOKUP_SCOPED = LOOKUP_BENEATH | LOOKUP_IN_ROOT;

/** Kinds of last components. */
export const LAST_NORM = 0;
/** There is none: "/" and links to it. */
export const LAST_ROOT = 1;
export const LAST_DOT = 2;
export const LAST_DOTDOT = 3;

/** Links followed in one walk, at most. */
const MAX_LINKS = 40;
/**
 * Components in one walk, at most, those of links included: a walk is done in one piece, and forty links of thousands of
 * components each would keep everybody waiting. A path as long as it may be has half as many.
 */
const MAX_STEPS = 4096;
const SLASH = 47;
const DOT = 46;

export function nameTooLong(name: string): boolean {
  if (name.length * 3 <= NAME_MAX) return false;
  return name.length > NAME_MAX || encodeName(name).length > NAME_MAX;
}

export class Walk {
  mount!: Mount;
  dentry!: Dentry;
  /** The last component, once `toParent` is done. */
  name = "";
  kind = LAST_NORM;
  /** The path demands a directory: slashes follow its last component. */
  trailing = false;
  /** The inode whose look-up was the last thing done: its attributes may be taken from there (`getattrFresh`). */
  fresh: Inode | null = null;
  private rootMount: Mount;
  private rootDentry: Dentry;
  private text = "";
  private pos = 0;
  /** What remains to be walked after the links that were followed. */
  private rests: string[] | null = null;
  private links = 0;
  private steps = 0;
  /** Linux finds out about the root only when it needs it, which RESOLVE_NO_XDEV lets programs see. */
  private rootKnown = false;
  /** Directories need no search permission check. */
  private readonly searchAll: boolean;
  private now = 0;

  constructor(
    readonly task: Task,
    readonly flags: number,
    readonly cred: Credentials = task.cred,
  ) {
    const root = task.fs.root;
    this.rootMount = root.mount;
    this.rootDentry = root.dentry;
    this.searchAll = capable(cred, CAP_DAC_OVERRIDE) || capable(cred, CAP_DAC_READ_SEARCH);
  }

  get path(): Path {
    return { mount: this.mount, dentry: this.dentry };
  }
  get inode(): Inode {
    return this.dentry.inode;
  }

  /** Sets the starting point. 0 or -errno. */
  begin(dirfd: number, path: string): number {
    const { task, flags } = this;
    if (flags & LOOKUP_CACHED) return -EAGAIN;
    this.text = path;
    if (path.length === 0 && (flags & LOOKUP_EMPTY) === 0) return -ENOENT;
    const absolute = path.charCodeAt(0) === SLASH;
    if (absolute && (flags & LOOKUP_IN_ROOT) === 0) {
      if (flags & LOOKUP_BENEATH) return -EXDEV;
      this.mount = this.rootMount;
      this.dentry = this.rootDentry;
      this.rootKnown = true;
      return 0;
    }
    if (dirfd === AT_FDCWD) {
      const cwd = task.fs.cwd;
      this.mount = cwd.mount;
      this.dentry = cwd.dentry;
    } else {
      const file = task.files.get(dirfd);
      if (file === undefined) return -EBADF;
      if (file.path === null) return -ENOTDIR;
      this.mount = file.path.mount;
      this.dentry = file.path.dentry;
      if (path.length > 0 && this.dentry.inode.type !== S_IFDIR) return -ENOTDIR;
    }
    if (flags & LOOKUP_SCOPED) {
      this.rootKnown = true;
      this.rootMount = this.mount;
      this.rootDentry = this.dentry;
    }
    return 0;
  }

  /** Walks to the directory that holds the last component, which is left in `name`, `kind` and `trailing`. */
  toParent(): number {
    for (;;) {
      const text = this.text;
      let pos = this.pos;
      while (text.charCodeAt(pos) === SLASH) pos++;
      if (pos >= text.length) {
        if (this.rests !== null && this.rests.length > 0) {
          this.text = this.rests.pop()!;
          this.pos = 0;
          continue;
        }
        this.kind = LAST_ROOT;
        return 0;
      }
      const inode = this.dentry.inode;
      if (inode.type !== S_IFDIR) return -ENOTDIR;
      if (!this.searchAll) {
        const denied = permissionAs(this.cred, inode, MAY_EXEC);
        if (denied < 0) return denied;
      }
      let end = text.indexOf("/", pos);
      if (end < 0) end = text.length;
      if (++this.steps > MAX_STEPS) return -ELOOP;
      let next = end;
      while (text.charCodeAt(next) === SLASH) next++;
      const length = end - pos;
      const name = pos === 0 && end === text.length ? text : text.substring(pos, end);
      const kind =
        length <= 2 && text.charCodeAt(pos) === DOT
          ? length === 1
            ? LAST_DOT
            : text.charCodeAt(pos + 1) === DOT
              ? LAST_DOTDOT
              : LAST_NORM
          : LAST_NORM;
      this.pos = next;
      if (next >= text.length && (this.rests === null || this.rests.length === 0)) {
        this.name = name;
        this.kind = kind;
        if (end < text.length) this.trailing = true;
        return 0;
      }
      if (kind === LAST_DOT) continue;
      const result = kind === LAST_DOTDOT ? this.up() : this.through(name);
      if (result < 0) return result;
    }
  }

  /** Goes into a component in the middle of the path. */
  private through(name: string): number {
    const child = this.child(name, false);
    if (typeof child === "number") return child;
    const type = child.inode.type;
    if (type === S_IFLNK) {
      return Math.min(0, this.follow(child));
    }
    if (type !== S_IFDIR) return -ENOTDIR;
    return this.enter(child);
  }

  /** Goes to a child, and into what is mounted there. */
  enter(child: Dentry): number {
    this.dentry = child;
    if (child.mountedHere === 0) return 0;
    return this.intoMounts();
  }
  private intoMounts(): number {
    const top = this.task.kernel.mounts.topmost({ mount: this.mount, dentry: this.dentry });
    if (top.mount !== this.mount) {
      if (this.flags & LOOKUP_NO_XDEV) return -EXDEV;
      this.mount = top.mount;
      this.dentry = top.dentry;
      this.fresh = null;
    }
    return 0;
  }

  /** The child of the directory reached, by name. `last`: it is what the walk is about, so it is looked up anew. */
  child(name: string, last: boolean): Dentry | number {
    const dir = this.dentry;
    const inode = dir.inode;
    const known = dir.children?.get(name);
    if (known !== undefined) {
      if (!inode.revalidates || known.mountedHere > 0) return known;
      known.recent = true;
      const until = known.trustedUntil;
      if (!last && until !== 0 && until > this.time() && until > inode.fs.distrustedUntil()) return known;
    }
    if (nameTooLong(name)) return -ENAMETOOLONG;
    const found = inode.lookup(name, this.task, known === undefined ? null : known.inode);
    if (typeof found === "number") {
      if (known !== undefined) {
        dir.detach(known);
        if (found === -ENOENT) known.deleted = true;
      }
      return found;
    }
    let child: Dentry;
    if (known !== undefined && known.inode === found) child = known;
    else {
      if (known !== undefined) {
        dir.detach(known);
        if (known.inode.ino !== found.ino) known.deleted = true;
        if (known.inode.holders === 0) known.inode.forgotten();
      }
      child = new Dentry(name, dir, found);
      dir.attach(child);
    }
    const trust = inode.fs.trustDirectoriesNs;
    if (trust > 0 && found.type === S_IFDIR) child.trustedUntil = this.time() + trust;
    if (last) this.fresh = found;
    return child;
  }

  /** Once per walk is often enough. */
  private time(): number {
    if (this.now === 0) this.now = this.task.kernel.now();
    return this.now;
  }

  /** "..": never above the root of the walk. */
  up(): number {
    this.rootKnown = true;
    for (;;) {
      const { mount, dentry } = this;
      if (mount === this.rootMount && dentry === this.rootDentry) return this.flags & LOOKUP_BENEATH ? -EXDEV : 0;
      if (dentry !== mount.root) {
        this.dentry = dentry.parent ?? dentry;
        break;
      }
      if (mount.parent === null) return 0;
      if (this.flags & LOOKUP_NO_XDEV) return -EXDEV;
      this.dentry = mount.mountpoint!;
      this.mount = mount.parent;
    }
    return this.dentry.mountedHere === 0 ? 0 : this.intoMounts();
  }

  /** Follows a link: 0: its target is what is to be walked now; 1: a magic link, the place has been reached. */
  follow(link: Dentry): number {
    if (++this.links > MAX_LINKS) return -ELOOP;
    const { task, flags } = this;
    if (flags & LOOKUP_NO_SYMLINKS) return -ELOOP;
    const magic = link.inode.followMagic(task);
    if (magic !== null) {
      if (typeof magic === "number") return magic;
      if (flags & LOOKUP_NO_MAGICLINKS) return -ELOOP;
      if (flags & LOOKUP_SCOPED) return -EXDEV;
      if (flags & LOOKUP_NO_XDEV && magic.mount !== this.mount) return -EXDEV;
      this.mount = magic.mount;
      this.dentry = magic.dentry;
      this.fresh = null;
      return 1;
    }
    const target = link.inode.readlink(task);
    if (typeof target === "number") return target;
    if (target.length === 0) return -ENOENT;
    if (this.pos < this.text.length) {
      this.rests ??= [];
      this.rests.push(this.text.substring(this.pos));
    }
    this.text = target;
    this.pos = 0;
    if (target.charCodeAt(0) === SLASH) {
      if (flags & LOOKUP_BENEATH) return -EXDEV;
      if (flags & LOOKUP_NO_XDEV && (!this.rootKnown || this.rootMount !== this.mount)) return -EXDEV;
      this.rootKnown = true;
      this.mount = this.rootMount;
      this.dentry = this.rootDentry;
    }
    return 0;
  }

  /** The last component is "." or "..": goes there. */
  toEndOfDots(): number {
    return this.kind === LAST_DOTDOT ? this.up() : 0;
  }

  /** Walks to the very end. */
  toEnd(): number {
    const follow = (this.flags & LOOKUP_FOLLOW) !== 0;
    for (;;) {
      let result = this.toParent();
      if (result < 0) return result;
      if (this.kind !== LAST_NORM) {
        result = this.toEndOfDots();
        if (result < 0) return result;
        break;
      }
      const child = this.child(this.name, true);
      if (typeof child === "number") return child;
      if (child.inode.type === S_IFLNK && (follow || this.trailing)) {
        result = this.follow(child);
        if (result < 0) return result;
        if (result === 1) break;
        continue;
      }
      result = this.enter(child);
      if (result < 0) return result;
      break;
    }
    if ((this.trailing || this.flags & LOOKUP_DIRECTORY) && this.dentry.inode.type !== S_IFDIR) return -ENOTDIR;
    return 0;
  }
}

perCall(Walk);
