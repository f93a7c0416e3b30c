/**
 * A host directory (or a single file) as a file system.
 *
 * Every access goes by one component relative to the descriptor of its directory, with links never followed by the host
 * (openat2 RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS): whatever guest or host do meanwhile, nothing outside the root can
 * be reached. Devices, FIFOs and sockets of the host are shown but never opened as such.
 *
 * Freshness: the last component of a path is always looked up on the host; a directory in the middle of a path is
 * trusted for a second. Attributes are read when asked for. Descriptors are cached, sizes never.
 *
 * Source: openat2(2), statx(2). Known gaps: O_TMPFILE is not supported; access control lists are not shown.
 */

import { openDirectory, syncHost } from "../../../native/files.ts";
import { closeFd, fstatfs } from "../../../native/host.ts";
import { addressOf } from "../../../native/library.ts";
import { encodeName } from "../../abi/bytes.ts";
import { EBADF, errnoName } from "../../abi/errno.ts";
import { S_IFDIR } from "../../abi/stat.ts";
import type { Container } from "../../container.ts";
import type { Kernel } from "../../kernel.ts";
import type { Tree } from "../../state/host.ts";
import { persistent } from "../../state/registry.ts";
import type { Restore } from "../../state/restore.ts";
import { HostStat } from "../../vfs/host-stat.ts";
import { FileSystem, type StatFs } from "../../vfs/inode.ts";
import { HostDevice } from "./host-device.ts";
import { HostNode } from "./node.ts";

export interface HostFsOptions {
  /** Nothing is changed on the host: EROFS. */
  readonly?: boolean;
}

/** Directory descriptors kept open. */
const DIRECTORIES_MAX = 4096;
const TRUST_NS = 1e9;

/** Inode numbers above 2^53 do not fit a number: the same folding as in files.c. */
export function foldIno(lo: number, hi: number): number {
  return ((hi ^ (hi >>> 21)) & 0x1fffff) * 4294967296 + lo;
}

const nameBytes = new Uint8Array(4104);
const nameAddress = addressOf(nameBytes);
/** An empty C string, behind the longest name. */
export const EMPTY_NAME = nameAddress + 4100;

/** Address of a component as a C string, until the next call. */
export function cname(name: string): number {
  const length = name.length;
  for (let i = 0; i < length; i++) {
    const c = name.charCodeAt(i);
    if (c >= 0x80) {
      const bytes = encodeName(name);
      nameBytes.set(bytes);
      nameBytes[bytes.length] = 0;
      return nameAddress;
    }
    nameBytes[i] = c;
  }
  nameBytes[length] = 0;
  return nameAddress;
}

/** A host tree, by the container that it was opened for: that may have another name than it had when it was saved. */
export interface OwnTree {
  readonly container: Pick<Container, "id">;
  readonly which: Tree["which"];
}

export class HostFs extends FileSystem {
  override readonly type = "hostfs";
  override readonly revalidates = true;
  override readonly trustDirectoriesNs = TRUST_NS;
  override readonly root: HostNode;
  readonly readonly: boolean;
  /** What was looked at last. */
  readonly seen = new HostStat();
  /** Which of a container's trees it shows; null: none that could be had again (boot/rootfs.ts). */
  tree: OwnTree | null = null;
  private readonly devices = new Map<number, HostDevice>();
  private lastDevice: HostDevice;
  /** Directories with an open descriptor, in the order in which the hand goes round. */
  private ring: HostNode[] = [];
  private hand = 0;

  /** Takes over `rootFd`: an O_PATH descriptor of a directory, or a descriptor of a file to be shown alone. */
  constructor(
    readonly kernel: Kernel,
    public rootFd: number,
    options: HostFsOptions = {},
  ) {
    super();
    this.readonly = options.readonly ?? false;
    this.dev = kernel.devices.anonymous();
    const result = this.seen.read(rootFd);
    if (result < 0) throw new Error(`cannot read the attributes of a host directory: ${errnoName(-result)}`);
    this.lastDevice = new HostDevice(this, this.seen.device, this.dev);
    this.devices.set(this.lastDevice.number, this.lastDevice);
    this.root = new HostNode(this, this.lastDevice, null, "", this.seen);
    this.root.fd = rootFd;
  }

  /**
   * The device of what was looked at last. Several host file systems may be mounted below the root. `known`: what it had in
   * the kernel that was saved, if that has not been found yet.
   */
  deviceSeen(known: HostDevice | null = null): HostDevice {
    const number = this.seen.device;
    if (number === this.lastDevice.number) return this.lastDevice;
    let device = this.devices.get(number);
    if (device === undefined) {
      if (known !== null && known.number < 0) {
        device = known;
        device.bind(number);
      } else device = new HostDevice(this, number, this.kernel.devices.anonymous());
      this.devices.set(number, device);
    }
    this.lastDevice = device;
    return device;
  }

  /** The node that somebody holds of a file there. */
  heldNode(device: number, ino: number): HostNode | undefined {
    return this.devices.get(device)?.nodes.get(ino);
  }

  /** A directory has got a descriptor: another one may have to give up its own. */
  keep(node: HostNode): void {
    node.fdRecent = true;
    if (this.ring.length < DIRECTORIES_MAX) {
      this.ring.push(node);
      return;
    }
    for (;;) {
      this.hand = this.hand + 1 < this.ring.length ? this.hand + 1 : 0;
      const old = this.ring[this.hand]!;
      if (old.fd >= 0 && old.fdRecent) {
        old.fdRecent = false;
        continue;
      }
      old.dropDirectory();
      this.ring[this.hand] = node;
      return;
    }
  }

  /** A removed directory that nobody uses: what is left of it on the host goes. */
  forget(node: HostNode): void {
    node.dropDirectory();
    const at = this.ring.indexOf(node);
    if (at < 0) return;
    const last = this.ring.pop()!;
    if (last !== node) this.ring[at] = last;
  }

  override statfs(): StatFs {
    const v = new Float64Array(9);
    const result = fstatfs(this.rootFd, v);
    if (result < 0) v.fill(0);
    const [type, bsize, blocks, bfree, bavail, files, ffree, namelen, flags] = v as unknown as number[];
    return {
      type: type!,
      bsize: bsize!,
      blocks: blocks!,
      bfree: bfree!,
      bavail: bavail!,
      files: files!,
      ffree: ffree!,
      namelen: namelen!,
      flags: flags!,
    };
  }

  override sync(): number {
    if (this.readonly || this.root.type !== S_IFDIR) return 0;
    const fd = openDirectory(this.rootFd, cname("."), 0);
    if (fd < 0) return fd;
    const result = syncHost(fd);
    closeFd(fd);
    return result;
  }

  /** Another file system has changed directories that this one may show. */
  distrust(): void {
    this.distrusted = this.kernel.now() + TRUST_NS;
  }
  private distrusted = 0;
  override distrustedUntil(): number {
    return this.distrusted;
  }

  override release(): void {
    for (const node of this.ring) node.dropDirectory();
    this.ring = [];
    for (const { files } of this.devices.values()) files?.leave(this);
    this.root.fd = -1;
    this.released = true;
    if (!this.root.inUse) this.closeRoot();
  }
  /** Released; a single file that is still open somewhere keeps its descriptor. */
  released = false;
  closeRoot(): void {
    if (this.rootFd >= 0) closeFd(this.rootFd);
    this.rootFd = -1;
  }

  /** Where a file of it is, for people: "root/etc/passwd of c1". */
  describe(path: string): string {
    const { tree } = this;
    if (tree === null) return path;
    return `${tree.which === "root" ? "root" : `mount ${tree.which}`}${path} of ${tree.container.id}`;
  }
  /** In a restored kernel, before any of its files: shows what takes the place of its tree. */
  reopen({ host }: Restore): void {
    if (this.rootFd !== TO_OPEN) return;
    const { tree } = this;
    const fd = tree === null ? -EBADF : host.tree({ container: tree.container.id, which: tree.which });
    if (fd < 0) throw new Error(`${this.describe("")}: ${errnoName(-fd)}`);
    this.rootFd = fd;
    const result = this.seen.read(fd);
    if (result < 0) throw new Error(`${this.describe("")}: ${errnoName(-result)}`);
    if (this.seen.type !== this.root.type)
      throw new Error(`${this.describe("")}: it was a ${this.root.type === S_IFDIR ? "directory" : "file"}`);
    if (!this.released) this.root.fd = fd;
    this.root.adopt();
  }
}

/** `rootFd` in a restored kernel until the tree has been opened. */
const TO_OPEN = -2;

persistent("host-fs", HostFs, {
  transient: { devices: () => new Map(), ring: () => [], hand: () => 0, distrusted: () => 0 },
  as: {
    rootFd: {
      save(fd: number, fs) {
        if (fd >= 0 && fs.tree === null) throw new Error("is a host directory of none of the container's trees");
        return fd >= 0;
      },
      restore: (open: boolean) => (open ? TO_OPEN : -1),
    },
  },
  reopen: (fs, restore) => fs.reopen(restore),
});
