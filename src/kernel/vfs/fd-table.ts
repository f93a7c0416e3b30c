/**
 * Descriptor tables: numbers to open files, with close-on-exec flags.
 *
 * Source: dup(2), fcntl(2), close_range(2). Bounded by RLIMIT_NOFILE, which callers pass in.
 */
import { EBADF, EMFILE } from "../abi/errno.ts";
import type { File } from "./file.ts";

const O_PATH = 0o10000000;

/** Numbers in a new table, and the unit in which it grows. */
const SMALL = 64;
const UNIT = 128;

/** What a program finds that a shell has started: shells keep a descriptor at 255. */
const INHERITED = 256;

/** Room that a table makes when it needs number `fd`. */
function capacityFor(fd: number): number {
  let units = 1;
  while (units * UNIT <= fd) units *= 2;
  return units * UNIT;
}

export class FdTable {
  /** Tasks that share it (CLONE_FILES). */
  users = 1;
  private files: (File | undefined)[] = [];
  private cloexec = new Set<number>();
  /** No free number below this. */
  private lowestFree = 0;
  /** Numbers that Linux' table would have room for by now: select looks no further. */
  capacity = INHERITED;

  /** The open file at fd, whatever it is (O_PATH too). */
  get(fd: number): File | undefined {
    return this.files[fd];
  }
  /** The open file at fd for input, output and the like: what O_PATH opened does not count. */
  getOpen(fd: number): File | undefined {
    const file = this.files[fd];
    return file !== undefined && (file.flags & O_PATH) === 0 ? file : undefined;
  }

  /** Puts file at the lowest free number >= min; takes over the caller's reference. -EMFILE when limit is reached. */
  install(file: File, closeOnExec: boolean, limit: number, min = 0): number {
    let fd = Math.max(min, this.lowestFree);
    while (this.files[fd] !== undefined) fd++;
    if (fd >= limit) return -EMFILE;
    if (min <= this.lowestFree) this.lowestFree = fd + 1;
    if (fd >= this.capacity) this.capacity = capacityFor(fd);
    this.files[fd] = file;
    if (closeOnExec) this.cloexec.add(fd);
    else this.cloexec.delete(fd);
    return fd;
  }

  /** How many numbers below `limit` are free, counted up to `enough`. */
  countFree(limit: number, enough: number): number {
    let free = 0;
    for (let fd = this.lowestFree; fd < limit && free < enough; fd++) if (this.files[fd] === undefined) free++;
    return free;
  }

  /** Puts file at exactly fd and returns what was there, for the caller to close. Takes over the caller's reference. */
  replace(fd: number, file: File, closeOnExec: boolean): File | undefined {
    const old = this.files[fd];
    if (fd >= this.capacity) this.capacity = capacityFor(fd);
    this.files[fd] = file;
    if (closeOnExec) this.cloexec.add(fd);
    else this.cloexec.delete(fd);
    return old;
  }

  /** Takes fd out; the caller drops the reference (and POSIX locks). */
  remove(fd: number): File | number {
    const file = this.files[fd];
    if (file === undefined) return -EBADF;
    this.files[fd] = undefined;
    this.cloexec.delete(fd);
    if (fd < this.lowestFree) this.lowestFree = fd;
    if (fd === this.files.length - 1) {
      let n = fd;
      while (n > 0 && this.files[n - 1] === undefined) n--;
      this.files.length = n;
    }
    return file;
  }

  isCloexec(fd: number): boolean {
    return this.cloexec.has(fd);
  }
  setCloexec(fd: number, on: boolean): void {
    if (on) this.cloexec.add(fd);
    else this.cloexec.delete(fd);
  }

  /** Open descriptors in ascending order. */
  *entries(): Generator<[number, File]> {
    for (let fd = 0; fd < this.files.length; fd++) {
      const file = this.files[fd];
      if (file !== undefined) yield [fd, file];
    }
  }
  get count(): number {
    let n = 0;
    for (const file of this.files) if (file !== undefined) n++;
    return n;
  }
  /** One past the highest open descriptor. */
  get end(): number {
    return this.files.length;
  }

  /**
   * Takes out every descriptor of [first, last] for `drop` to close (close_range, execve's close-on-exec with
   * `onlyCloexec`), in ascending order.
   */
  removeRange(first: number, last: number, onlyCloexec: boolean, drop: (file: File) => void): void {
    const end = Math.min(last, this.files.length - 1);
    for (let fd = first; fd <= end; fd++) {
      if (this.files[fd] === undefined || (onlyCloexec && !this.cloexec.has(fd))) continue;
      drop(this.remove(fd) as File);
    }
  }

  /** fork without CLONE_FILES. */
  copy(): FdTable {
    const table = new FdTable();
    table.files = this.files.slice();
    table.cloexec = new Set(this.cloexec);
    table.lowestFree = this.lowestFree;
    table.capacity = SMALL;
    if (this.end > SMALL) table.capacity = capacityFor(this.end - 1);
    for (const file of table.files) file?.retain();
    return table;
  }
}
