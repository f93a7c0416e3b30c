/**
 * tmpfs: a file system in memory, bounded in bytes and inodes; all of them together in both.
 *
 * Source: tmpfs(5). Also the upper layer's storage of overlays, and what memfd_create(2) makes files in.
 */
import { EINVAL, ENOSPC } from "../../abi/errno.ts";
import { S_IFDIR, TMPFS_MAGIC } from "../../abi/stat.ts";
import type { Kernel } from "../../kernel.ts";
import { persistent } from "../../state/registry.ts";
import { FileSystem, type NewNode, type StatFs } from "../../vfs/inode.ts";
import { PAGE, type PageBudget } from "./content.ts";
import { TmpfsNode } from "./node.ts";

export interface TmpfsOptions {
  /** Bytes; half of the memory by default. */
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
/** What an inode and its name take of our own memory, in pages. */
const INODE_PAGES = 0.25;
/** Part of the memory that all file systems in memory may fill. */
const ALL_PART = 0.75;

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
    const memory = kernel.hostInfo.memTotal * 1024;
    this.maxPages = Math.ceil((options.size ?? (memory > 0 ? memory / 2 : DEFAULT_SIZE)) / PAGE);
    this.maxInodes = options.inodes ?? DEFAULT_INODES;
    this.root = new TmpfsNode(this, ++this.lastIno, S_IFDIR, {
      mode: options.mode ?? 0o1777,
      uid: options.uid ?? 0,
      gid: options.gid ?? 0,
    });
    this.root.parent = this.root;
    this.usedInodes = 1;
  }

  /** mount(2) MS_REMOUNT: new limits, which must hold what is there. */
  reconfigure(options: TmpfsOptions): number {
    const pages = options.size === undefined ? this.maxPages : Math.ceil(options.size / PAGE);
    const inodes = options.inodes ?? this.maxInodes;
    if (pages < this.usedPages || inodes < this.usedInodes) return -EINVAL;
    this.maxPages = pages;
    this.maxInodes = inodes;
    return 0;
  }

  /** Shown in /proc/self/mounts. */
  get options(): string {
    const { mode, uid, gid } = this.root;
    const shown = [`size=${this.maxPages * (PAGE / 1024)}k`];
    if (this.maxInodes !== DEFAULT_INODES) shown.push(`nr_inodes=${this.maxInodes}`);
    if ((mode & 0o7777) !== 0o1777) shown.push(`mode=${(mode & 0o7777).toString(8)}`);
    if (uid !== 0) shown.push(`uid=${uid}`);
    if (gid !== 0) shown.push(`gid=${gid}`);
    return shown.join(",");
  }

  /** Takes the room of an inode, or (Linux does the same) of another name of one. */
  takeInode(): boolean {
    const { memoryFiles } = this.kernel;
    if (this.usedInodes >= this.maxInodes || memoryFiles.pages + INODE_PAGES > this.allPages) return false;
    this.usedInodes++;
    memoryFiles.pages += INODE_PAGES;
    return true;
  }
  giveInode(): void {
    this.usedInodes--;
    this.kernel.memoryFiles.pages -= INODE_PAGES;
  }
  /** Pages of all such file systems together: however many there are, the sandbox keeps some memory. */
  private get allPages(): number {
    const memory = this.kernel.hostInfo.memTotal * 1024;
    return Math.ceil((memory > 0 ? memory * ALL_PART : DEFAULT_SIZE) / PAGE);
  }

  newNode(type: number, node: NewNode, rdev: number, ino?: number): TmpfsNode | number {
    if (!this.takeInode()) return -ENOSPC;
    return new TmpfsNode(this, ino ?? ++this.lastIno, type, node, rdev);
  }
  /** A node is gone. */
  forget(_node: TmpfsNode): void {
    this.giveInode();
  }

  charge(pages: number): number {
    const { memoryFiles } = this.kernel;
    const free = Math.min(this.maxPages - this.usedPages, Math.floor(this.allPages - memoryFiles.pages));
    const granted = Math.max(0, Math.min(pages, free));
    this.usedPages += granted;
    memoryFiles.pages += granted;
    return granted;
  }
  refund(pages: number): void {
    this.usedPages -= pages;
    this.kernel.memoryFiles.pages -= pages;
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
  /** What is still open somewhere goes when that is closed. */
  released = false;
  override release(): void {
    this.released = true;
    const pending: TmpfsNode[] = [this.root];
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (node.entries !== null) for (const entry of node.entries.values()) pending.push(entry.node);
      else if (node.holders === 0) node.content?.free();
    }
  }
}

persistent("tmpfs", Tmpfs);
