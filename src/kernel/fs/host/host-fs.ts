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

import { openDirectory, ST, ST_LENGTH, statHost, syncHost } from "../../../native/files.ts";
import { closeFd, fstatfs } from "../../../native/host.ts";
import { addressOf } from "../../../native/library.ts";
import { encodeName } from "../../abi/bytes.ts";
import { errnoName } from "../../abi/errno.ts";
import { S_IFDIR } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { FileSystem, type StatFs } from "../../vfs/inode.ts";
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

/** What is known of one host device below the root. */
export class HostDevice {
  /** Nodes that must keep their identity: open or watched ones, and files with several names. */
  readonly nodes = new Map<number, HostNode>();
  constructor(
    readonly number: number,
    /** st_dev as guests see it. */
    readonly guest: number,
  ) {}
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

export class HostFs extends FileSystem {
  override readonly type = "hostfs";
  override readonly revalidates = true;
  override readonly trustDirectoriesNs = TRUST_NS;
  override readonly root: HostNode;
  readonly readonly: boolean;
  /** Attributes as `statHost` left them, and whose they are. */
  readonly out = new Float64Array(ST_LENGTH);
  readonly outAddress = addressOf(this.out);
  outOwner: HostNode | null = null;
  private readonly devices = new Map<number, HostDevice>();
  private lastDevice: HostDevice;
  /** Directories with an open descriptor, in the order in which the hand goes round. */
  private ring: HostNode[] = [];
  private hand = 0;

  /** Takes over `rootFd`: an O_PATH descriptor of a directory, or a descriptor of a file to be shown alone. */
  constructor(
    readonly kernel: Kernel,
    readonly rootFd: number,
    options: HostFsOptions = {},
  ) {
    super();
    this.readonly = options.readonly ?? false;
    this.dev = kernel.devices.anonymous();
    const result = statHost(rootFd, EMPTY_NAME, this.outAddress);
    if (result < 0) throw new Error(`cannot read the attributes of a host directory: ${errnoName(-result)}`);
    // Modes are given exactly.
    if (!this.readonly) process.umask(0);
    this.lastDevice = new HostDevice(this.out[ST.dev]!, this.dev);
    this.devices.set(this.lastDevice.number, this.lastDevice);
    this.root = new HostNode(this, this.lastDevice, null, "", this.out);
    this.root.fd = rootFd;
  }

  /** The device of the attributes in `out`. Several host file systems may be mounted below the root. */
  deviceOfOut(): HostDevice {
    const number = this.out[ST.dev]!;
    if (number === this.lastDevice.number) return this.lastDevice;
    let device = this.devices.get(number);
    if (device === undefined) {
      device = new HostDevice(number, this.kernel.devices.anonymous());
      this.devices.set(number, device);
    }
    this.lastDevice = device;
    return device;
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

  override release(): void {
    for (const node of this.ring) node.dropDirectory();
    this.ring = [];
    closeFd(this.rootFd);
    this.root.fd = -1;
  }
}
