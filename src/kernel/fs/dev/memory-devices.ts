/**
 * The devices of major number 1: null, zero, full, random, urandom.
 *
 * Source: null(4), full(4), random(4). Random bytes are the host kernel's.
 */
import { closeOfUser, guestMemfd, ofUser } from "../../../native/guest-descriptors.ts";
import { ftruncate, getrandom } from "../../../native/host.ts";
import type { HostMemory } from "../../../platform/platform.ts";
import { encodeCString } from "../../abi/bytes.ts";
import { EFAULT, EINVAL, ENODEV, ENOSPC, ENOTTY, EPERM, errnoName } from "../../abi/errno.ts";
import type { Kernel } from "../../kernel.ts";
import { loadPieces, type Piece, storePieces } from "../../state/pieces.ts";
import { persistent } from "../../state/registry.ts";
import { CAP_SYS_ADMIN, capable } from "../../task/credentials.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { File } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";

/** What they have in common: writes vanish, the position stays at 0. */
class NullFile extends File {
  override get pollable(): boolean {
    return false;
  }
  override readonly seekable = true;
  constructor(flags: number, path: Path) {
    super(flags, path, path.dentry.inode);
  }
  override read(_task: Task, _io: Io, _offset: number): number {
    return 0;
  }
  override write(_task: Task, io: Io, _offset: number): number {
    // Linux does not even look at the bytes.
    const n = io.remaining;
    io.skip(n);
    return n;
  }
  override size(): number {
    return 0;
  }
  override seek(): number {
    return 0;
  }
  override truncate(): number {
    return -EINVAL;
  }
}

const ZEROES = new Uint8Array(65536);
/** A mapping may begin anywhere in the device: the memory behind it is as long as an address space. */
const MAPPING_SIZE = 2 ** 46;

/** What a mapping begins in; a private one takes no more of it than it changes. */
class ZeroMemory implements HostMemory {
  constructor(
    readonly uid: number,
    readonly fd: number,
  ) {}
  static make(uid: number): ZeroMemory | number {
    const fd = ofUser(uid, guestMemfd(NAME, 1));
    if (fd < 0) return fd;
    if (ftruncate(fd, MAPPING_SIZE) >= 0) return new ZeroMemory(uid, fd);
    closeOfUser(fd);
    return -ENODEV;
  }
  get readFd(): number {
    return this.fd;
  }
}
const NAME = encodeCString("zero");

class ZeroFile extends NullFile {
  /** Memory of its mappings, each one's own. */
  private readonly mapped: ZeroMemory[] = [];
  constructor(
    flags: number,
    path: Path,
    private readonly uid: number,
  ) {
    super(flags, path);
  }

  override read(_task: Task, io: Io): number {
    let done = 0;
    while (io.remaining > 0) {
      const want = Math.min(io.remaining, ZEROES.length);
      const n = io.put(ZEROES, 0, want);
      if (n < 0) return done > 0 ? done : n;
      done += n;
      if (n < want) break;
    }
    return done;
  }
  override mapMemory(): HostMemory | number {
    const memory = ZeroMemory.make(this.uid);
    if (typeof memory !== "number") this.mapped.push(memory);
    return memory;
  }
  override onRelease(): void {
    for (const { fd } of this.mapped) closeOfUser(fd);
  }
}

class FullFile extends ZeroFile {
  override write(_task: Task, io: Io): number {
    return io.remaining === 0 ? 0 : -ENOSPC;
  }
  override mapMemory(): number {
    return -ENODEV;
  }
}

const RNDGETENTCNT = 0x80045200;
const RNDADDTOENTCNT = 0x40045201;
const RNDADDENTROPY = 0x40085203;
const RNDZAPENTCNT = 0x5204;
const RNDCLEARPOOL = 0x5206;
const RNDRESEEDCRNG = 0x5207;

class RandomFile extends NullFile {
  override get pollable(): boolean {
    return true;
  }
  override read(_task: Task, io: Io): number {
    const chunk = new Uint8Array(Math.min(io.remaining, 65536));
    let done = 0;
    while (io.remaining > 0) {
      const want = Math.min(io.remaining, chunk.length);
      const got = getrandom(chunk, want);
      if (got <= 0) return done > 0 ? done : got;
      const n = io.put(chunk, 0, got);
      if (n < 0) return done > 0 ? done : n;
      done += n;
      if (n < got) break;
    }
    return done;
  }
  override ioctl(task: Task, request: number, arg: number): number {
    switch (request >>> 0) {
      case RNDGETENTCNT:
        return task.mm.writeU32(arg, 256) < 0 ? -EFAULT : 0;
      case RNDADDTOENTCNT:
      case RNDADDENTROPY:
      case RNDZAPENTCNT:
      case RNDCLEARPOOL:
      case RNDRESEEDCRNG:
        return capable(task.cred, CAP_SYS_ADMIN) ? 0 : -EPERM;
      default:
        return -ENOTTY;
    }
  }
}

export function registerMemoryDevices(kernel: Kernel): void {
  const { devices } = kernel;
  devices.registerChar(1, 3, (path, flags) => new NullFile(flags, path));
  devices.registerChar(1, 5, (path, flags, task) => new ZeroFile(flags, path, task.cred.fsuid));
  devices.registerChar(1, 7, (path, flags, task) => new FullFile(flags, path, task.cred.fsuid));
  devices.registerChar(1, 8, (path, flags) => new RandomFile(flags, path));
  devices.registerChar(1, 9, (path, flags) => new RandomFile(flags, path));
}

persistent("null-file", NullFile);
persistent("zero-memory", ZeroMemory, {
  as: {
    fd: {
      save: (fd: number, _memory, { sink }) => storePieces(fd, sink),
      restore(pieces: Piece[], { uid }, { host }) {
        const made = ZeroMemory.make(uid);
        if (typeof made === "number") throw new Error(`a mapping of /dev/zero: ${errnoName(-made)}`);
        loadPieces(made.fd, pieces, host.pages);
        return made.fd;
      },
    },
  },
});
persistent("zero-file", ZeroFile);
persistent("full-file", FullFile);
persistent("random-file", RandomFile);
