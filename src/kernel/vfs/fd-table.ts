/**
 * Descriptor tables: numbers to open files, with close-on-exec flags.
 *
 * Source: dup(2), fcntl(2), close_range(2). Bounded by RLIMIT_NOFILE, which callers
 * pass in, and by FILES_MAX and PAGES_MAX for all of them together.
 */

import { EBADF, EMFILE, ENFILE } from "../abi/errno.ts";
import { O_PATH } from "../abi/fcntl.ts";
import { persistent } from "../state/registry.ts";
import { type File, openFiles } from "./file.ts";

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

/** Numbers in a page of the table: one high number costs a page, not a million places. */
const PAGE_BITS = 6;
const PAGE_SIZE = 1 << PAGE_BITS;

/** Open files in all (fs.file-max), and pages of all tables: 4 million descriptors. */
const FILES_MAX = 1 << 18;
const PAGES_MAX = 1 << 16;
/** A table with so many is spared: what one process takes is not refused to the others. */
const FEW = 256;
const inUse = { pages: 0 };

export class FdTable {
  /** Tasks that share it (CLONE_FILES). */
  users = 1;
  private pages: ((File | undefined)[] | undefined)[] = [];
  /** One past the highest open descriptor. */
  end = 0;
  private cloexec = new Set<number>();
  /** No free number below this. */
  private lowestFree = 0;
  /** Numbers that Linux' table would have room for by now: select looks no further. */
  capacity = INHERITED;

  /** The open file at fd, whatever it is (O_PATH too). */
  get(fd: number): File | undefined {
    return this.pages[fd >> PAGE_BITS]?.[fd & (PAGE_SIZE - 1)];
  }
  private put(fd: number, file: File | undefined): void {
    const at = fd >> PAGE_BITS;
    while (this.pages.length <= at) this.pages.push(undefined);
    let page = this.pages[at];
    if (page === undefined) {
      page = new Array<File | undefined>(PAGE_SIZE).fill(undefined);
      this.pages[at] = page;
      inUse.pages++;
    }
    page[fd & (PAGE_SIZE - 1)] = file;
    if (file !== undefined && fd >= this.end) this.end = fd + 1;
  }
  /** The open file at fd for input, output and the like: what O_PATH opened does not count. */
  getOpen(fd: number): File | undefined {
    const file = this.get(fd);
    return file !== undefined && (file.flags & O_PATH) === 0 ? file : undefined;
  }

  /** Puts file at the lowest free number >= min; takes over the caller's reference. -EMFILE when limit is reached. */
  install(file: File, closeOnExec: boolean, limit: number, min = 0): number {
    let fd = Math.max(min, this.lowestFree);
    while (fd < this.end && this.get(fd) !== undefined) fd++;
    if (fd >= limit) return -EMFILE;
    if (this.end > FEW && (openFiles.count > FILES_MAX || inUse.pages >= PAGES_MAX)) return -ENFILE;
    if (min <= this.lowestFree) this.lowestFree = fd + 1;
    if (fd >= this.capacity) this.capacity = capacityFor(fd);
    this.put(fd, file);
    if (closeOnExec) this.cloexec.add(fd);
    else this.cloexec.delete(fd);
    return fd;
  }

  /** How many numbers below `limit` are free, counted up to `enough`. */
  countFree(limit: number, enough: number): number {
    let free = 0;
    for (let fd = this.lowestFree; fd < limit && free < enough; fd++) if (this.get(fd) === undefined) free++;
    return free;
  }

  /** Puts file at exactly fd and returns what was there, for the caller to close. Takes over the caller's reference. */
  replace(fd: number, file: File, closeOnExec: boolean): File | undefined {
    const old = this.get(fd);
    if (fd >= this.capacity) this.capacity = capacityFor(fd);
    this.put(fd, file);
    if (closeOnExec) this.cloexec.add(fd);
    else this.cloexec.delete(fd);
    return old;
  }

  /** Takes fd out; the caller drops the reference (and POSIX locks). */
  remove(fd: number): File | number {
    const file = this.get(fd);
    if (file === undefined) return -EBADF;
    this.put(fd, undefined);
    this.cloexec.delete(fd);
    if (fd < this.lowestFree) this.lowestFree = fd;
    if (fd === this.end - 1) this.shrink();
    return file;
  }

  /** Finds the highest open descriptor anew; pages beyond it go. */
  private shrink(): void {
    // From where it was: nothing is open beyond it.
    const was = this.end - 1;
    for (let at = was >> PAGE_BITS; at >= 0; at--) {
      const page = this.pages[at];
      if (page !== undefined)
        for (let i = at === was >> PAGE_BITS ? was & (PAGE_SIZE - 1) : PAGE_SIZE - 1; i >= 0; i--)
          if (page[i] !== undefined) {
            this.cut(at + 1);
            this.end = at * PAGE_SIZE + i + 1;
            return;
          }
    }
    this.cut(0);
    this.end = 0;
  }
  private cut(length: number): void {
    for (let at = length; at < this.pages.length; at++) if (this.pages[at] !== undefined) inUse.pages--;
    this.pages.length = length;
  }

  /** Is there room for a copy? Forks of a process with a million descriptors could fill all memory. */
  get mayCopy(): boolean {
    return this.end <= FEW || inUse.pages + this.pages.length <= PAGES_MAX;
  }

  /** In a restored kernel. */
  countAgain(): void {
    for (const page of this.pages) if (page !== undefined) inUse.pages++;
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
    for (let at = 0; at < this.pages.length; at++) {
      if (this.pages[at] === undefined) continue;
      for (let i = 0; i < PAGE_SIZE; i++) {
        const file = this.pages[at]?.[i];
        if (file !== undefined) yield [at * PAGE_SIZE + i, file];
      }
    }
  }
  get count(): number {
    let n = 0;
    for (const _entry of this.entries()) n++;
    return n;
  }

  /**
   * Takes out every descriptor of [first, last] for `drop` to close (close_range, execve's close-on-exec with
   * `onlyCloexec`), in ascending order.
   */
  removeRange(first: number, last: number, onlyCloexec: boolean, drop: (file: File) => void): void {
    const end = Math.min(last, this.end - 1);
    if (onlyCloexec) {
      const marked = [...this.cloexec].filter((fd) => fd >= first && fd <= end).sort((a, b) => a - b);
      for (const fd of marked) if (this.get(fd) !== undefined) drop(this.remove(fd) as File);
      return;
    }
    for (const [fd] of this.entries()) if (fd >= first && fd <= end) drop(this.remove(fd) as File);
  }

  /** fork without CLONE_FILES. */
  copy(): FdTable {
    const table = new FdTable();
    table.pages = this.pages.map((page) => page?.slice());
    table.end = this.end;
    for (const page of table.pages) if (page !== undefined) inUse.pages++;
    table.cloexec = new Set(this.cloexec);
    table.lowestFree = this.lowestFree;
    table.capacity = SMALL;
    if (this.end > SMALL) table.capacity = capacityFor(this.end - 1);
    for (const page of table.pages) if (page !== undefined) for (const file of page) file?.retain();
    return table;
  }
}

persistent("fd-table", FdTable, { reopen: (table) => table.countAgain() });
