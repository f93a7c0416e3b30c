/**
 * tmpfs: a file system in memory, bounded in bytes and inodes.
 *
 * Source: tmpfs(5). Also the upper layer's storage of overlays, and what memfd_create(2) makes files in.
 */
import { ENOSPC } from "../../abi/errno.ts";
import { S_IFDIR, TMPFS_MAGIC } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { FileSystem, type NewNode, type StatFs } from "../../vfs/inode.ts";
import { PAGE, type PageBudget } from "./content.ts";
import { TmpfsNode } from "./node.ts";

export interface TmpfsOptions {
  /** Bytes. */
  size?: number;
  inodes?: number;
  /** Of the root directory. */
  mode?: number;
  uid?: number;
  gid?: number;
  /** "tmpfs", "devtmpfs"… */
  type?: string;
}

const DEFAULT_SIZE = 2 ** 31;
const DEFAULT_INODES = 1 << 20;

export class Tmpfs extends FileSystem implements PageBudget {
  override readonly type: string;
  override readonly root: TmpfsNode;
  /** Limits, which a remount may change. */
  maxPages: number;
  maxInodes: number;
  usedPages = 0;
  usedInodes = 0;
  private lastIno = 0;

  constructor(
    readonly kernel: Kernel,
    options: TmpfsOptions = {},
  ) {
    super();
    this.type = options.type ?? "tmpfs";
    this.source = this.type;
    this.dev = kernel.devices.anonymous();
    this.maxPages = Math.ceil((options.size ?? DEFAULT_SIZE) / PAGE);
    this.maxInodes = options.inodes ?? DEFAULT_INODES;
    this.root = new TmpfsNode(this, ++this.lastIno, S_IFDIR, {
      mode: options.mode ?? 0o1777,
      uid: options.uid ?? 0,
      gid: options.gid ?? 0,
    });
    this.root.parent = this.root;
    this.usedInodes = 1;
  }

  newNode(type: number, node: NewNode, rdev: number, ino?: number): TmpfsNode | number {
    if (this.usedInodes >= this.maxInodes) return -ENOSPC;
    this.usedInodes++;
    return new TmpfsNode(this, ino ?? ++this.lastIno, type, node, rdev);
  }
  /** A node is gone. */
  forget(_node: TmpfsNode): void {
    this.usedInodes--;
  }

  charge(pages: number): number {
    const granted = Math.max(0, Math.min(pages, this.maxPages - this.usedPages));
    this.usedPages += granted;
    return granted;
  }
  refund(pages: number): void {
    this.usedPages -= pages;
  }

  override statfs(): StatFs {
    const free = Math.max(0, this.maxPages - this.usedPages);
    return {
      type: TMPFS_MAGIC,
      bsize: PAGE,
      blocks: this.maxPages,
      bfree: free,
      bavail: free,
      files: this.maxInodes,
      ffree: Math.max(0, this.maxInodes - this.usedInodes),
      namelen: 255,
      flags: 0,
    };
  }

  /** Memory files of the host outlive their JavaScript objects: give them back. */
  override release(): void {
    const pending: TmpfsNode[] = [this.root];
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (node.entries !== null) for (const entry of node.entries.values()) pending.push(entry.node);
      else if (node.holders === 0) node.content?.free();
    }
  }
}
