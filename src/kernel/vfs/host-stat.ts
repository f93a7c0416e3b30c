/**
 * Attributes of a file of the host, as they were read last: one buffer for many reads.
 *
 * Source: statx(2). Invariant: `owner` is set only right after a read of its attributes; the next read takes it away.
 */
import { ST, ST_LENGTH, statHost } from "../../native/files.ts";
import { addressOf } from "../../native/library.ts";
import { S_IFMT } from "../abi/stat.ts";
import { remade } from "../state/registry.ts";
import type { Inode, Stat, Timespec } from "./inode.ts";

export class HostStat {
  /** With a zero behind the attributes: the empty name, which means the descriptor itself. */
  private readonly out = new Float64Array(ST_LENGTH + 1);
  private readonly address = addressOf(this.out);
  private readonly emptyName = this.address + ST_LENGTH * 8;
  /** Whose attributes these are, while nothing has changed them since; set by whoever has read them. */
  owner: Inode | null = null;

  /** Reads those of a name in a directory (links are not followed) or of the descriptor itself; 0 or -errno. */
  read(fd: number, name = this.emptyName): number {
    this.owner = null;
    return statHost(fd, name, this.address);
  }

  get mode(): number {
    return this.out[ST.mode]!;
  }
  /** S_IFMT bits. */
  get type(): number {
    return this.out[ST.mode]! & S_IFMT;
  }
  get nlink(): number {
    return this.out[ST.nlink]!;
  }
  get uid(): number {
    return this.out[ST.uid]!;
  }
  get gid(): number {
    return this.out[ST.gid]!;
  }
  get ino(): number {
    return this.out[ST.ino]!;
  }
  get size(): number {
    return this.out[ST.size]!;
  }
  /** The host's device that the file is on. */
  get device(): number {
    return this.out[ST.dev]!;
  }

  private time(at: number): Timespec {
    return { sec: this.out[at]!, nsec: this.out[at + 1]! };
  }
  /** Birth time, where the host knows it. */
  get btime(): Timespec | null {
    return this.out[ST.hasBtime] === 1 ? this.time(ST.btime) : null;
  }
  /** What stat(2) shows of it, with the device that guests see; without the birth time. */
  show(dev: number): Stat {
    const { out } = this;
    return {
      dev,
      ino: out[ST.ino]!,
      mode: out[ST.mode]!,
      nlink: out[ST.nlink]!,
      uid: out[ST.uid]!,
      gid: out[ST.gid]!,
      rdev: out[ST.rdev]!,
      size: out[ST.size]!,
      blksize: out[ST.blksize]!,
      blocks: out[ST.blocks]!,
      atime: this.time(ST.atime),
      mtime: this.time(ST.mtime),
      ctime: this.time(ST.ctime),
    };
  }
}

// Only what it holds between two reads is of interest to anybody, and that is nothing.
remade("host-stat", HostStat, { key: () => ({}), make: () => new HostStat() });
