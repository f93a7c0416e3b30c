/**
 * Inodes of host descriptors that guests inherit: stdio of `runts do`, descriptors passed to a container.
 *
 * Source: fstat(2), proc_pid_fd(5) for what /proc/self/fd shows and opening it anew does. They live in a file system that
 * is mounted nowhere. Gap: opening /proc/self/fd/N of a pipe or socket gives the same end again.
 */
import { ST, ST_LENGTH, statHost } from "../../../native/files.ts";
import { closeFd, dup, fcntl, ftruncate, readlinkat } from "../../../native/host.ts";
import { decodeName, encodeCString } from "../../abi/bytes.ts";
import { EACCES, EINVAL, EPERM } from "../../abi/errno.ts";
import { O_ACCMODE, O_APPEND, O_DIRECT, O_LARGEFILE, O_NONBLOCK, O_RDWR } from "../../abi/fcntl.ts";
import { ANON_INODE_FS_MAGIC, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import { type AttrChanges, FileSystem, Inode, type Stat, type StatFs } from "../../vfs/inode.ts";
import { HostPlainFile } from "./plain-file.ts";
import { HostStreamFile } from "./stream-file.ts";

const F_GETFL = 3;
const EMPTY = encodeCString("");
const out = new Float64Array(ST_LENGTH);
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
    return {
      type: ANON_INODE_FS_MAGIC,
      bsize: 4096,
      blocks: 0,
      bfree: 0,
      bavail: 0,
      files: 0,
      ffree: 0,
      namelen: 255,
      flags: 0,
    };
  }
}

/**
 * A socket of the host's is shown as a pipe: it can be read, written and waited for, and no socket call applies to it.
 * Programs ask fstat(2) which calls they may use (libuv drops what is written to a "socket" that has no name).
 */
const shownMode = (mode: number): number => ((mode & S_IFMT) === S_IFSOCK ? S_IFIFO | 0o600 : mode);

/** One inherited host descriptor. Closes it when the last file that uses it is gone. */
export class HostFdNode extends Inode {
  readonly ino: number;
  readonly type: number;
  constructor(
    readonly fs: FileSystem,
    readonly kernel: Kernel,
    readonly fd: number,
  ) {
    super();
    statHost(fd, EMPTY, out);
    this.ino = out[ST.ino]!;
    this.type = shownMode(out[ST.mode]!) & S_IFMT;
  }

  /** Status flags of the host's open file. */
  get hostFlags(): number {
    return Math.max(0, fcntl(this.fd, F_GETFL, 0)) & SHOWN;
  }

  override getattr(): Stat | number {
    const result = statHost(this.fd, EMPTY, out);
    if (result < 0) return result;
    const time = (at: number) => ({ sec: out[at]!, nsec: out[at + 1]! });
    return {
      dev: this.fs.dev,
      ino: this.ino,
      mode: shownMode(out[ST.mode]!),
      nlink: out[ST.nlink]!,
      uid: out[ST.uid]!,
      gid: out[ST.gid]!,
      rdev: out[ST.rdev]!,
      size: out[ST.size]!,
      blksize: out[ST.blksize]!,
      blocks: out[ST.blocks]!,
      atime: time(ST.atime),
      mtime: time(ST.mtime),
      ctime: time(ST.ctime),
    };
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
    if (this.type === S_IFREG || this.type === S_IFDIR) return new HostPlainFile(this, this.fd, flags, true);
    return new HostStreamFile(this, this.fd, flags);
  }

  /** /proc/self/fd/N: a regular file gets a position of its own. */
  override open(_path: Path, flags: number, _task: Task): File | number {
    const have = this.hostFlags & O_ACCMODE;
    if (have !== O_RDWR && have !== (flags & O_ACCMODE)) return -EACCES;
    const fd = dup(this.fd);
    if (fd < 0) return fd;
    const node = new HostFdNode(this.fs, this.kernel, fd);
    if (this.type === S_IFREG || this.type === S_IFDIR) return new HostPlainFile(node, fd, flags, false);
    return new HostStreamFile(node, fd, flags);
  }

  override evict(): void {
    closeFd(this.fd);
  }
}

/** A guest's open file over an inherited host descriptor, which it takes over. `flags` default to the host's. */
export function openHostFd(kernel: Kernel, fd: number, flags?: number): File {
  const node = new HostFdFs(kernel, (fs) => new HostFdNode(fs, kernel, fd)).root as HostFdNode;
  return node.openInherited(flags ?? node.hostFlags);
}
