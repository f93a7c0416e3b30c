/**
 * A frozen copy of a guest's memory: a fork of its stub process that never runs guest code, and is looked at from outside.
 *
 * Invariant: the process id stays taken until `reaped` is called, by whoever has waited for its end. Nothing that the
 * process does is waited for, and nothing that it says is asked: its memory and its page tables are read from the host.
 */

import { encodeCString } from "../kernel/abi/bytes.ts";
import { ESRCH } from "../kernel/abi/errno.ts";
import { MADV_DOFORK, MADV_DONTFORK, MADV_KEEPONFORK, MADV_WIPEONFORK } from "../kernel/abi/mman.ts";
import { closeFd, killProcess, openat2, setNice } from "../native/host.ts";
import { changedPages, copyMemory, readMemory } from "../native/snapshot.ts";
import type { ImageRanges } from "./image-ranges.ts";
import type { AddressSpace, ForkAdvice, Snapshot } from "./platform.ts";
import { NICE_MAX } from "./stub-process.ts";

const AT_FDCWD = -100;
const SIGKILL = 9;
const PAGE = 4096;
/** Ranges that one look at the page tables brings. */
const RANGES_MAX = 4096;

/** Forks with everything in the fork, whatever a guest has advised about its own forks. */
export function withForkAdvice<T>(
  space: AddressSpace,
  advice: ForkAdvice | undefined,
  fork: () => T | number,
): T | number {
  if (advice === undefined) return fork();
  const set = (areas: readonly number[], what: number): number => {
    let result = 0;
    for (let i = 0; i + 1 < areas.length; i += 2) {
      const one = space.advise(areas[i]!, areas[i + 1]! - areas[i]!, what);
      if (one < 0) result = one;
    }
    return result;
  };
  const left = set(advice.left, MADV_DOFORK);
  const kept = left < 0 ? left : set(advice.wiped, MADV_KEEPONFORK);
  const made = kept < 0 ? kept : fork();
  set(advice.left, MADV_DONTFORK);
  set(advice.wiped, MADV_WIPEONFORK);
  return made;
}

const ranges = new Float64Array(2 * RANGES_MAX);
const next = new Float64Array(1);

export class StubSnapshot implements Snapshot {
  private ended = false;
  /** Of its /proc directory: -1, not opened yet. */
  private pagemap = -1;
  private memory = -1;

  /** `group`: it leads a process group, and what it has forked goes with it. `first` to `last`: where guests may map. */
  constructor(
    readonly pid: number,
    private readonly first: number,
    private readonly last: number,
    private readonly group: boolean,
    /** What the guest takes for memory of its own, and lies in a file as long as it is not written to. */
    private readonly image: ImageRanges,
  ) {}

  changed(addr: number, length: number): number[] | number {
    if (this.ended) return -ESRCH;
    if (this.pagemap < 0) this.pagemap = this.open("pagemap");
    if (this.pagemap < 0) return this.pagemap;
    const found: number[] = [];
    const add = (start: number, end: number): void => {
      if (found.length > 0 && found.at(-1)! >= start) found.push(Math.max(end, found.pop()!));
      else found.push(start, end);
    };
    const end = Math.min(Math.ceil((addr + length) / PAGE) * PAGE, this.last);
    const begin = Math.max(Math.floor(addr / PAGE) * PAGE, this.first);
    const image = this.image.within(begin, end);
    let taken = 0;
    for (let at = begin; at < end; ) {
      const count = changedPages(this.pagemap, at, end, ranges, RANGES_MAX, next);
      if (count < 0) return count;
      for (let i = 0; i < count; i++) {
        const start = ranges[2 * i]!;
        for (; image[taken] !== undefined && image[taken]!.start <= start; taken++)
          add(image[taken]!.start, image[taken]!.end);
        add(start, ranges[2 * i + 1]!);
      }
      if (next[0]! <= at) break;
      at = next[0]!;
    }
    for (; taken < image.length; taken++) add(image[taken]!.start, image[taken]!.end);
    return found;
  }

  read(addr: number, dst: Uint8Array, offset: number, length: number): number {
    if (this.ended) return -ESRCH;
    if (length > dst.length - offset) throw new RangeError("a snapshot is read into too small a buffer");
    const part = offset === 0 ? dst : dst.subarray(offset);
    return readMemory(this.pid, this.openMemory(), addr, part, length);
  }

  copyTo(fd: number, offset: number, addr: number, length: number): number {
    if (this.ended) return -ESRCH;
    return copyMemory(this.pid, this.openMemory(), addr, length, fd, offset);
  }

  /** -1 where there is no such file: then what only it can read cannot be read. */
  private openMemory(): number {
    if (this.memory === -1) this.memory = this.open("mem");
    return Math.max(-1, this.memory);
  }
  private open(name: string): number {
    return openat2(AT_FDCWD, encodeCString(`/proc/${this.pid}/${name}`), 0, 0, 0);
  }

  /** The process has been waited for: its id may be another's. */
  reaped(): void {
    this.ended = true;
  }

  destroy(): void {
    for (const fd of [this.pagemap, this.memory]) if (fd >= 0) closeFd(fd);
    this.pagemap = this.memory = -1;
    if (this.ended) return;
    // Taking down its memory takes the host a while: others go before it.
    setNice(this.group, this.pid, NICE_MAX);
    killProcess(this.group ? -this.pid : this.pid, SIGKILL);
    this.ended = true;
  }
}
