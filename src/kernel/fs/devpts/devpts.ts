/**
 * devpts: the nodes of pseudo terminals, /dev/pts/N, and ptmx.
 *
 * Source: pts(4), Linux Documentation/filesystems/devpts.rst. Gap: all instances of a container show the same terminals.
 */
import { EINVAL, ENOENT, EPERM } from "../../abi/errno.ts";
import { DEVPTS_SUPER_MAGIC, makedev, S_IFCHR } from "../../abi/stat.ts";
import type { Container } from "../../container.ts";
import { persistent, remade } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { HostTty } from "../../tty/host-tty.ts";
import { openMaster, PtySlave } from "../../tty/pty.ts";
import type { PtyTable } from "../../tty/pty-table.ts";
import { Dentry, type Path } from "../../vfs/dentry.ts";
import type { File } from "../../vfs/file.ts";
import type { AttrChanges, Inode, Stat } from "../../vfs/inode.ts";
import { type ComputedEntry, PseudoDirectory } from "../pseudo/directory.ts";
import { byPlace, type Owner, PseudoFs, PseudoInode } from "../pseudo/node.ts";

export interface DevPtsOptions {
  /** Group and mode of new terminals; by default the opener's group and 0620. */
  gid?: number;
  mode?: number;
  ptmxMode?: number;
}

/** Inode numbers: 1 the root, 2 ptmx, from 3 on the terminals, as on Linux. */
const FIRST_INO = 3;
const PTMX_MODE = 0o666;

export class DevPts extends PseudoFs {
  override root!: PtsDirectory;
  readonly options: string;
  readonly ptys: PtyTable;

  constructor(
    container: Container,
    readonly settings: DevPtsOptions = {},
  ) {
    super(container.kernel, "devpts", DEVPTS_SUPER_MAGIC);
    this.ptys = container.ptys;
    const { gid, mode = 0o620, ptmxMode = PTMX_MODE } = settings;
    this.options = `${gid === undefined ? "" : `gid=${gid},`}mode=${mode.toString(8)},ptmxmode=${ptmxMode.toString(8).padStart(3, "0")}`;
    this.grow();
  }

  protected override grow(): void {
    this.root = new PtsDirectory(this);
    this.root.add("ptmx", new PtmxInode(this, this.settings.ptmxMode ?? PTMX_MODE));
  }

  /** From mount options as in "gid=5,mode=620,ptmxmode=0666,newinstance". */
  static fromOptions(container: Container, options: readonly string[]): DevPts | number {
    const settings: DevPtsOptions = {};
    for (const option of options) {
      const [name, value = ""] = option.split("=", 2);
      const number = Number.parseInt(value, name === "gid" || name === "uid" ? 10 : 8);
      if (name === "newinstance" || name === "") continue;
      if (Number.isNaN(number)) return -EINVAL;
      if (name === "gid") settings.gid = number;
      else if (name === "mode") settings.mode = number & 0o777;
      else if (name === "ptmxmode") settings.ptmxMode = number & 0o777;
      else if (name !== "uid" && name !== "max") return -EINVAL;
    }
    return new DevPts(container, settings);
  }

  /** The place of a terminal below a mount of this file system. */
  place(mount: Path["mount"], index: number): Path | null {
    const name = String(index);
    const known = mount.root.children?.get(name);
    const inode = this.root.terminal(index);
    if (inode === null) return null;
    if (known !== undefined && known.inode instanceof PtsInode && known.inode.standsFor(inode))
      return { mount, dentry: known };
    const dentry = new Dentry(name, mount.root, inode);
    mount.root.attach(dentry);
    return { mount, dentry };
  }
}

class PtsDirectory extends PseudoDirectory {
  constructor(override readonly fs: DevPts) {
    super(fs, 0o755);
  }
  terminal(index: number): PtsInode | null {
    const tty = this.fs.ptys.get(index);
    if (!(tty instanceof PtySlave || tty instanceof HostTty)) return null;
    return tty instanceof PtySlave && !tty.masterOpen ? null : new PtsInode(this.fs, tty);
  }
  protected override lookupComputed(name: string): Inode | number | null {
    if (!/^(0|[1-9]\d{0,6})$/.test(name)) return null;
    return this.terminal(Number(name)) ?? -ENOENT;
  }
  protected override *listComputed(_task: Task, from: number): Iterable<ComputedEntry> {
    for (const [index] of this.fs.ptys.entries(from))
      if (this.terminal(index) !== null)
        yield { key: index, name: String(index), ino: FIRST_INO + index, type: S_IFCHR };
  }
  override create(): number {
    return -EPERM;
  }
}

class PtmxInode extends PseudoInode {
  constructor(
    override readonly fs: DevPts,
    mode: number,
  ) {
    super(fs, S_IFCHR, mode);
  }
  override getattr(): Stat | number {
    const attr = super.getattr();
    return typeof attr === "number" ? attr : { ...attr, rdev: makedev(5, 2) };
  }
  override open(path: Path, flags: number, task: Task): File | number {
    return openMaster(this.fs.ptys, path, flags, task);
  }
}

class PtsInode extends PseudoInode {
  constructor(
    override readonly fs: DevPts,
    readonly tty: PtySlave | HostTty,
  ) {
    super(fs, S_IFCHR, 0, FIRST_INO + tty.index);
    const { gid, mode } = fs.settings;
    if (tty.fresh) {
      tty.fresh = false;
      if (gid !== undefined) tty.gid = gid;
      if (mode !== undefined) tty.mode = mode;
    }
  }
  override standsFor(other: Inode): boolean {
    return other instanceof PtsInode && other.tty === this.tty;
  }
  override owner(): Owner {
    return this.tty;
  }
  override getattr(): Stat | number {
    const attr = super.getattr();
    return typeof attr === "number" ? attr : { ...attr, mode: S_IFCHR | this.tty.mode, rdev: this.tty.rdev };
  }
  override setattr(changes: AttrChanges): number {
    if (changes.mode !== undefined) this.tty.mode = changes.mode & 0o7777;
    if (changes.uid !== undefined) this.tty.uid = changes.uid;
    if (changes.gid !== undefined) this.tty.gid = changes.gid;
    return 0;
  }
  override open(path: Path, flags: number, task: Task): File | number {
    return this.tty.open(path, flags, task);
  }
}

persistent("devpts", DevPts);
remade("pts-directory", PtsDirectory, byPlace());
remade("ptmx-inode", PtmxInode, byPlace());
persistent("pts-inode", PtsInode);
