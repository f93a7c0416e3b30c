/**
 * Inodes of host descriptors that guests inherit: stdio of `runts do`, descriptors passed to a container.
 *
 * Source: fstat(2), proc_pid_fd(5) for what /proc/self/fd shows and opening it anew does. They live in a file system that
 * is mounted nowhere. Gap: opening /proc/self/fd/N of a pipe or socket gives the same end again.
 */
import { forGuest } from "../../../native/guest-descriptors.ts";
import { closeFd, dup, fcntl, ftruncate, readlinkat } from "../../../native/host.ts";
import { decodeName, encodeCString } from "../../abi/bytes.ts";
import { EACCES, EINVAL, EPERM } from "../../abi/errno.ts";
import { F_GETFL, O_ACCMODE, O_APPEND, O_DIRECT, O_LARGEFILE, O_NONBLOCK, O_RDWR } from "../../abi/fcntl.ts";
import { ANON_INODE_FS_MAGIC, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK } from "../../abi/stat.ts";
import type { Container } from "../../container.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import type { Restore } from "../../state/restore.ts";
import type { Task } from "../../task/task.ts";
import { realtimeNow } from "../../time/clock.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import { HostStat } from "../../vfs/host-stat.ts";
import { type AttrChanges, FileSystem, Inode, type Stat, type StatFs, uncounted } from "../../vfs/inode.ts";
import { HostPlainFile } from "./plain-file.ts";
import { HostStreamFile } from "./stream-file.ts";

const seen = new HostStat();
const linkText = new Uint8Array(4096);
/** Status flags of the host's open file that the guest sees. */
const SHOWN = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_LARGEFILE;

class HostFdFs extends FileSystem {
  override readonly type = "hostfd";
  override readonly root: Inode;
  constructor(kernel: Kernel, first: (fs: HostFdFs) => Inode) {
    super();
    this.dev = kernel.devices.anonymous();
    this.root = first(this);
  }
  override statfs(): StatFs {
    return uncounted(ANON_INODE_FS_MAGIC);
  }
}

/**
 * A socket of the host's is shown as a pipe: it can be read, written and waited for, and no socket call applies to it.
 * Programs ask fstat(2) which calls they may use (libuv drops what is written to a "socket" that has no name).
 */
const shownMode = (mode: number): number => ((mode & S_IFMT) === S_IFSOCK ? S_IFIFO | 0o600 : mode);

/** Which of its container's descriptors it is: the first process got it under this number. */
export interface Inherited {
  readonly container: Pick<Container, "id">;
  readonly fd: number;
}

/** What a restore has been given, each once. */
const given = new WeakMap<Restore, Map<string, number>>();

/** What takes the place of a descriptor, of its own for each who had it; -errno. */
function inheritedAgain({ container: { id }, fd }: Inherited, restore: Restore): number {
  let known = given.get(restore);
  if (known === undefined) {
    known = new Map();
    given.set(restore, known);
  }
  const name = `${fd} of ${id}`;
  const first = known.get(name);
  if (first !== undefined) return first < 0 ? first : forGuest(dup(first));
  const own = restore.host.inherited(id, fd);
  known.set(name, own);
  return own;
}

/** One inherited host descriptor. Closes it when the last file that uses it is gone. */
export class HostFdNode extends Inode {
  readonly ino: number;
  type: number;
  constructor(
    readonly fs: FileSystem,
    readonly kernel: Kernel,
    /** Negative in a restored kernel that has none in its place: the end of a file for who reads it. */
    public fd: number,
    /** null: that of a process that was brought in, which cannot be had again. */
    readonly origin: Inherited | null = null,
  ) {
    super();
    seen.read(fd);
    this.ino = seen.ino;
    this.type = shownMode(seen.mode) & S_IFMT;
  }

  /** Status flags of the host's open file. */
  get hostFlags(): number {
    return Math.max(0, fcntl(this.fd, F_GETFL, 0)) & SHOWN;
  }

  override getattr(): Stat | number {
    if (this.fd < 0) return this.attributesGone();
    const result = seen.read(this.fd);
    if (result < 0) return result;
    const stat = seen.show(this.fs.dev);
    stat.ino = this.ino;
    stat.mode = shownMode(stat.mode);
    return stat;
  }
  private attributesGone(): Stat {
    const { ino, type, fs } = this;
    const now = realtimeNow();
    const times = { atime: now, mtime: now, ctime: now };
    const none = { uid: 0, gid: 0, rdev: 0, size: 0, blocks: 0, blksize: 4096 };
    return { dev: fs.dev, ino, mode: type | 0o600, nlink: 1, ...none, ...times };
  }
  /** In a restored kernel: what its new host has in the place of the descriptor. */
  reopen(restore: Restore): void {
    if (this.fd !== TO_OPEN) return;
    this.fd = -1;
    if (this.origin !== null) this.fd = Math.max(-1, inheritedAgain(this.origin, restore));
    if (this.fd >= 0 && seen.read(this.fd) === 0) this.type = shownMode(seen.mode) & S_IFMT;
  }
  /** Does it have a position and never block? */
  get isPlain(): boolean {
    return this.type === S_IFREG || this.type === S_IFDIR;
  }

  /** In bytes, or -errno. */
  size(): number {
    if (this.fd < 0) return 0;
    const result = seen.read(this.fd);
    return result < 0 ? result : seen.size;
  }

  /** Only the size of a file that was passed for writing: owner, mode and times are the host's. */
  override setattr(changes: AttrChanges): number {
    const { size, ...others } = changes;
    if (Object.values(others).some((value) => value !== undefined)) return -EPERM;
    if (size === undefined) return 0;
    if (this.type !== S_IFREG || (this.hostFlags & O_ACCMODE) === 0) return -EINVAL;
    return ftruncate(this.fd, size);
  }

  /** Where the host says that it is, or what it is: "pipe:[12]", "/tmp/out". */
  describe(): string {
    const { procFd } = this.kernel.hostInfo;
    const n = procFd < 0 ? -1 : readlinkat(procFd, encodeCString(`self/fd/${this.fd}`), linkText, linkText.length);
    return n > 0 ? decodeName(linkText, 0, n).replace(/^socket:/, "pipe:") : `hostfd:[${this.ino}]`;
  }

  /** The file as inherited: it shares its position with whoever passed it. `flags`: access mode and status flags. */
  openInherited(flags: number): File {
    return this.isPlain ? new HostPlainFile(this, flags, true) : new HostStreamFile(this, flags);
  }

  /** /proc/self/fd/N: a regular file gets a position of its own. */
  override open(_path: Path, flags: number, _task: Task): File | number {
    const have = this.hostFlags & O_ACCMODE;
    if (have !== O_RDWR && have !== (flags & O_ACCMODE)) return -EACCES;
    const fd = forGuest(dup(this.fd));
    if (fd < 0) return fd;
    const node = new HostFdNode(this.fs, this.kernel, fd, this.origin);
    return node.isPlain ? new HostPlainFile(node, flags, false) : new HostStreamFile(node, flags);
  }

  override evict(): void {
    if (this.fd >= 0) closeFd(this.fd);
  }
}

/** A guest's open file over an inherited host descriptor, which it takes over. `flags` default to the host's. */
export function openHostFd(kernel: Kernel, fd: number, flags?: number, origin: Inherited | null = null): File {
  const node = new HostFdFs(kernel, (fs) => new HostFdNode(fs, kernel, fd, origin)).root as HostFdNode;
  return node.openInherited(flags ?? node.hostFlags);
}

/** `fd` in a restored kernel until its host has been asked for another. */
const TO_OPEN = -2;

persistent("hostfd-fs", HostFdFs);
persistent("hostfd-node", HostFdNode, {
  transient: { fd: () => TO_OPEN },
  reopen: (node, restore) => node.reopen(restore),
});
