/**
 * mmap, munmap, mprotect, brk, msync, mincore, madvise, mlock and family.
 *
 * Manual pages: mmap(2), mprotect(2), brk(2), msync(2), mincore(2), madvise(2), mlock(2).
 * Gaps: MAP_LOCKED and mlock keep the flag but do not pin host memory; MAP_HUGETLB is refused; MAP_GROWSDOWN maps a
 * fixed area.
 */

import { EACCES, EBADF, EEXIST, EFAULT, EINVAL, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM } from "../abi/errno.ts";
import { O_PATH } from "../abi/fcntl.ts";
import {
  MADV_COLD,
  MADV_DOFORK,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_KEEPONFORK,
  MADV_PAGEOUT,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_REMOVE,
  MADV_WIPEONFORK,
} from "../abi/mman.ts";
import { addr, fd, flags, int, long, off, outStruct, size } from "../args.ts";
import { pageDown, pageUp } from "../mm/mm.ts";
import { SharedMemoryFile } from "../mm/shared-memory.ts";
import {
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  VMA_DONTFORK,
  VMA_LOCKED,
  VMA_NEVER_WRITE,
  VMA_WIPEONFORK,
} from "../mm/vma.ts";
import { Slice } from "../slice.ts";
import { syscall } from "../syscall.ts";
import { RLIMIT_AS, RLIMIT_DATA } from "../task/rlimits.ts";
import type { Task } from "../task/task.ts";
import { MNT_NOEXEC } from "../vfs/dentry.ts";
import type { File } from "../vfs/file.ts";

const F_SEAL_WRITE = 8;
const F_SEAL_FUTURE_WRITE = 16;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_SHARED_VALIDATE = 3;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_32BIT = 0x40;
const MAP_GROWSDOWN = 0x100;
const MAP_LOCKED = 0x2000;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
const MAP_STACK = 0x20000;
const MAP_HUGETLB = 0x40000;
const MAP_SYNC = 0x80000;
const MAP_FIXED_NOREPLACE = 0x100000;
const PROT_GROWSDOWN = 0x01000000;
const PROT_GROWSUP = 0x02000000;
const prots = flags({ PROT_NONE: 0, PROT_READ, PROT_WRITE, PROT_EXEC });
const mapFlags = flags({
  MAP_SHARED_VALIDATE,
  MAP_SHARED,
  MAP_PRIVATE,
  MAP_FIXED,
  MAP_ANONYMOUS,
  MAP_32BIT,
  MAP_GROWSDOWN,
  MAP_LOCKED,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_STACK,
  MAP_HUGETLB,
  MAP_SYNC,
  MAP_FIXED_NOREPLACE,
});

/** Would `more` bytes pass RLIMIT_AS? */
export function overAddressLimit(task: Task, more: number): boolean {
  return task.mm.total + more > task.process.rlimits[RLIMIT_AS]!.soft;
}

/** Linux' heuristic (vm.overcommit_memory=0): a single request for more than all memory is refused. */
function overcommits(task: Task, length: number): boolean {
  return length > task.kernel.hostInfo.memTotal * 1024;
}

export const mmap = syscall(
  "mmap",
  { addr, length: size, prot: prots, flags: mapFlags, fd, offset: off },
  (task, { addr: hint, length: asked, prot, flags, fd, offset }) => {
    const mm = task.mm;
    if (offset % 4096 !== 0) return -EINVAL;
    const kind = flags & 3;
    let file: File | null = null;
    if (!(flags & MAP_ANONYMOUS)) {
      file = task.files.get(fd) ?? null;
      if (file === null || file.flags & O_PATH) return -EBADF;
    }
    if (asked === 0) return -EINVAL;
    const length = pageUp(asked);
    if (length > mm.space.maxAddress) return -ENOMEM;
    if (file !== null && offset + length > 2 ** 63) return -EOVERFLOW;
    if (kind === 0 || (kind === MAP_SHARED_VALIDATE && file !== null && flags & MAP_SYNC))
      return kind === 0 ? -EINVAL : -EOPNOTSUPP;
    if (flags & MAP_HUGETLB) return -ENOMEM;
    const shared = kind !== MAP_PRIVATE;
    let at: number;
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
      if (hint % 4096 !== 0) return -EINVAL;
      if (!mm.validRange(hint, length)) return -ENOMEM;
      if (hint < mm.space.minAddress) return -EPERM;
      if (flags & MAP_FIXED_NOREPLACE && !mm.vmas.free(hint, hint + length)) return -EEXIST;
      at = hint;
    } else {
      at = flags & MAP_32BIT ? mm.findLowPlace(length) : mm.findPlace(pageDown(hint), length);
      if (at < 0) return at;
    }
    if (overAddressLimit(task, length)) return -ENOMEM;
    const counts = file === null ? shared || (prot & PROT_WRITE) !== 0 : !shared && (prot & PROT_WRITE) !== 0;
    if (counts && !(flags & MAP_NORESERVE) && overcommits(task, length)) return -ENOMEM;
    let areaFlags = flags & MAP_LOCKED ? VMA_LOCKED : 0;
    const access = prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
    let result: number;
    if (file !== null) {
      if (!file.readable) return -EACCES;
      if (shared && access & PROT_WRITE && !file.writable) return -EACCES;
      if (access & PROT_EXEC && file.path !== null && file.path.mount.flags & MNT_NOEXEC) return -EPERM;
      const ready = file.prepareMapping(task);
      if (ready !== 0) return ready;
      const sealed =
        shared && file.writable && (Math.max(0, file.seals()) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) !== 0;
      if (sealed && access & PROT_WRITE) return -EPERM;
      if (sealed) areaFlags |= VMA_NEVER_WRITE;
      const memory = file.mapMemory(shared, file.writable && !sealed);
      if (typeof memory === "number") return memory;
      result = mm.mapFixed(at, length, access, shared, file.retain(), memory, offset, "", areaFlags);
    } else if (shared) {
      const anonymous = SharedMemoryFile.create(length, task.cred.euid);
      if (typeof anonymous === "number") return anonymous;
      result = mm.mapFixed(at, length, access, true, anonymous, anonymous.memory, 0, "", areaFlags);
    } else {
      if (access & PROT_WRITE && mm.total + length > task.process.rlimits[RLIMIT_DATA]!.soft) return -ENOMEM;
      result = mm.mapFixed(at, length, access, false, null, null, 0, "", areaFlags);
    }
    return result < 0 ? result : at;
  },
);

export const munmap = syscall("munmap", { addr, length: size }, (task, { addr: at, length }) => {
  if (at % 4096 !== 0 || length === 0 || !task.mm.validRange(at, length)) return -EINVAL;
  return task.mm.unmap(at, pageUp(length));
});

export const mprotect = syscall("mprotect", { addr, length: size, prot: prots }, (task, { addr: at, length, prot }) => {
  const grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
  if (grows === (PROT_GROWSDOWN | PROT_GROWSUP) || at % 4096 !== 0) return -EINVAL;
  // A long, unlike most flags: the high half counts.
  if (task.argHi(2) !== 0) return -EINVAL;
  const access = prot & ~grows;
  if (access & ~(PROT_READ | PROT_WRITE | PROT_EXEC | 8)) return -EINVAL;
  if (length === 0) return 0;
  if (!task.mm.validRange(at, length)) return -ENOMEM;
  const whole = pageUp(length);
  for (const vma of task.mm.vmas.overlapping(at, at + whole))
    if (access & PROT_WRITE && vma.shared && vma.file !== null)
      if (!vma.file.writable || vma.flags & VMA_NEVER_WRITE) return -EACCES;
  return task.mm.protect(at, whole, access & 7);
});

export const brk = syscall("brk", { addr }, (task, { addr: want }) => {
  const mm = task.mm;
  if (want > mm.brk && (overAddressLimit(task, want - mm.brk) || overcommits(task, want - mm.brk))) return mm.brk;
  return mm.setBrk(want, task.process.rlimits[RLIMIT_DATA]!.soft);
});

/** Every page of a range is mapped? */
function mapped(task: Task, at: number, length: number): boolean {
  let next = at;
  for (const vma of task.mm.vmas.overlapping(at, at + length)) {
    if (vma.start > next) return false;
    next = vma.end;
  }
  return next >= at + length;
}

/** Bytes of guest memory that one command to the host covers, where the host's work grows with them. */
const HOST_PART = 64 << 20;
/** The same where every page may have to be made. */
const POPULATE_PART = 8 << 20;

/**
 * Has the host do something to a range, part after part, as far as the slice goes: 0,
 * -errno, or BLOCKED between two parts. `base` is where the whole call's range begins.
 */
function inParts(
  task: Task,
  slice: Slice,
  base: number,
  range: { start: number; end: number },
  part: number,
  step: (start: number, length: number) => number,
): number {
  // Not what an earlier run of the call has done.
  let start = Math.max(range.start, base + (task.restart?.moved ?? 0));
  while (start < range.end) {
    if (slice.over) {
      task.progress().moved = start - base;
      return task.giveWay();
    }
    // Cut where huge pages may begin.
    const end = Math.min(range.end, (Math.floor(start / part) + 1) * part);
    const result = step(start, end - start);
    if (result < 0) return result;
    start = end;
  }
  return 0;
}

const MS_ASYNC = 1;
const MS_INVALIDATE = 2;
const MS_SYNC = 4;
export const msync = syscall(
  "msync",
  { addr, length: size, flags: flags({ MS_ASYNC, MS_INVALIDATE, MS_SYNC }) },
  (task, { addr: at, length, flags }) => {
    if (flags & ~7 || at % 4096 !== 0 || (flags & MS_ASYNC && flags & MS_SYNC)) return -EINVAL;
    if (length === 0) return 0;
    if (!task.mm.validRange(at, length) || !mapped(task, at, pageUp(length))) return -ENOMEM;
    const range = { start: at, end: at + pageUp(length) };
    return inParts(task, new Slice(task.kernel), at, range, HOST_PART, (start, size) =>
      task.mm.space.sync(start, size, flags),
    );
  },
);

/** Bytes of guest memory that one look of mincore covers. */
const MINCORE_PART = 64 << 20;

export const mincore = syscall(
  "mincore",
  { addr, length: size, vec: outStruct() },
  (task, { addr: at, length, vec }) => {
    if (at % 4096 !== 0) return -EINVAL;
    if (!task.mm.validRange(at, length)) return -ENOMEM;
    const whole = pageUp(length);
    if (whole === 0) return 0;
    if (!mapped(task, at, whole)) return -ENOMEM;
    const slice = new Slice(task.kernel);
    for (let done = task.restart?.moved ?? 0; done < whole; ) {
      const length = Math.min(MINCORE_PART, whole - done);
      const pages = new Uint8Array(length / 4096);
      // A platform that cannot tell has all pages in memory, as far as anybody sees.
      pages.fill(1);
      const result = task.mm.space.mincore?.(at + done, length, pages) ?? 0;
      if (result < 0) return result;
      if (task.mm.writeBytes(vec + done / 4096, pages) < 0) return -EFAULT;
      done += length;
      if (done < whole && slice.over) {
        task.progress().moved = done;
        return task.giveWay();
      }
    }
    return 0;
  },
);

/** Advice that is only about speed: NORMAL, RANDOM, SEQUENTIAL, WILLNEED, MERGEABLE.., HUGEPAGE.., DONTDUMP, DODUMP. */
const HINTS = new Set([0, 1, 2, 3, 12, 13, 14, 15, 16, 17]);
export const madvise = syscall("madvise", { addr, length: size, advice: int }, (task, { addr: at, length, advice }) => {
  const known =
    HINTS.has(advice) || (advice >= 8 && advice <= 11) || advice === MADV_DONTNEED || (advice >= 18 && advice <= 24);
  if (!known || at % 4096 !== 0) return -EINVAL;
  const whole = pageUp(length);
  if (length > 0 && (whole === 0 || !task.mm.validRange(at, whole))) return -EINVAL;
  if (whole === 0) return 0;
  const mm = task.mm;
  const hole = mapped(task, at, whole) ? 0 : -ENOMEM;
  const areas = mm.vmas.overlapping(at, at + whole);
  const setFlags = (set: number, clear: number): void => {
    mm.vmas.splitAt(at);
    mm.vmas.splitAt(at + whole);
    mm.vmas.change(at, at + whole, (vma) => {
      vma.flags = (vma.flags | set) & ~clear;
    });
    mm.mergeRange(at, at + whole);
  };
  switch (advice) {
    case MADV_DONTFORK:
    case MADV_DOFORK:
    case MADV_WIPEONFORK:
    case MADV_KEEPONFORK: {
      if (advice === MADV_WIPEONFORK && areas.some((vma) => vma.file !== null || vma.shared)) return -EINVAL;
      // The host forks for us, so it must know as well.
      const result = mm.space.advise(at, whole, advice);
      if (result < 0 && result !== -ENOMEM) return result;
      if (advice === MADV_DONTFORK) setFlags(VMA_DONTFORK, 0);
      else if (advice === MADV_DOFORK) setFlags(0, VMA_DONTFORK);
      else if (advice === MADV_WIPEONFORK) setFlags(VMA_WIPEONFORK, 0);
      else setFlags(0, VMA_WIPEONFORK);
      return hole;
    }
    case MADV_FREE:
      if (areas.some((vma) => vma.file !== null)) return -EINVAL;
      break;
    case MADV_REMOVE:
      if (areas.some((vma) => !vma.shared || vma.file === null)) return -EINVAL;
      if (areas.some((vma) => !vma.file!.writable)) return -EACCES;
      break;
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
      if (advice === MADV_DONTNEED && areas.some((vma) => vma.flags & VMA_LOCKED)) return -EINVAL;
      break;
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
      break;
    default:
      return hole;
  }
  const slice = new Slice(task.kernel);
  const part = advice === MADV_POPULATE_READ || advice === MADV_POPULATE_WRITE ? POPULATE_PART : HOST_PART;
  for (const vma of areas) {
    const range = { start: Math.max(vma.start, at), end: Math.min(vma.end, at + whole) };
    const result = inParts(task, slice, at, range, part, (start, size) => mm.space.advise(start, size, advice));
    if (result !== 0) return result;
  }
  return hole;
});

// Locking: kept as a flag; the host pages guest memory as it sees fit.

function setLocked(task: Task, start: number, end: number, lock: boolean): void {
  task.mm.vmas.change(start, end, (vma) => {
    vma.flags = lock ? vma.flags | VMA_LOCKED : vma.flags & ~VMA_LOCKED;
  });
}

function lockRange(task: Task, at: number, length: number, lock: boolean): number {
  const start = pageDown(at);
  const whole = pageUp(length + (at - start));
  if (whole === 0) return 0;
  if (!task.mm.validRange(start, whole)) return -EINVAL;
  const hole = !mapped(task, start, whole);
  task.mm.vmas.splitAt(start);
  task.mm.vmas.splitAt(start + whole);
  setLocked(task, start, start + whole, lock);
  task.mm.mergeRange(start, start + whole);
  return hole ? -ENOMEM : 0;
}
export const mlock = syscall("mlock", { addr, length: size }, (task, { addr: at, length }) =>
  lockRange(task, at, length, true),
);
export const mlock2 = syscall("mlock2", { addr, length: size, flags: int }, (task, { addr: at, length, flags }) =>
  flags & ~1 ? -EINVAL : lockRange(task, at, length, true),
);
export const munlock = syscall("munlock", { addr, length: size }, (task, { addr: at, length }) =>
  lockRange(task, at, length, false),
);
export const mlockall = syscall("mlockall", { flags: int }, (task, { flags }) => {
  if (flags === 0 || flags & ~7 || flags === 4) return -EINVAL;
  if (flags & 1) setLocked(task, 0, Number.POSITIVE_INFINITY, true);
  return 0;
});
export const munlockall = syscall("munlockall", {}, (task) => {
  setLocked(task, 0, Number.POSITIVE_INFINITY, false);
  return 0;
});

const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;
const MREMAP_DONTUNMAP = 4;
export const mremap = syscall(
  "mremap",
  {
    oldAddr: addr,
    oldLength: size,
    newLength: size,
    flags: flags({ MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP }),
    newAddr: addr,
  },
  (task, { oldAddr, oldLength, newLength, flags, newAddr }) => {
    const mm = task.mm;
    if (
      task.argHi(3) !== 0 ||
      flags & ~7 ||
      (flags & MREMAP_FIXED && !(flags & MREMAP_MAYMOVE)) ||
      oldAddr % 4096 !== 0
    )
      return -EINVAL;
    if (flags & MREMAP_DONTUNMAP && !(flags & MREMAP_MAYMOVE && pageUp(oldLength) === pageUp(newLength)))
      return -EINVAL;
    const from = pageUp(oldLength);
    const to = pageUp(newLength);
    if (to === 0) return -EINVAL;
    const vma = mm.vmas.find(oldAddr);
    if (vma === undefined) return -EFAULT;
    if (from === 0 && !vma.shared) return -EINVAL;
    if (oldAddr + from > vma.end) return -EFAULT;
    if (to > from && overAddressLimit(task, to - from)) return -ENOMEM;

    if (flags & MREMAP_FIXED) {
      if (newAddr % 4096 !== 0 || !mm.validRange(newAddr, to)) return -EINVAL;
      if (newAddr < oldAddr + from && oldAddr < newAddr + to) return -EINVAL;
    } else {
      if (to <= from && from > 0 && !(flags & MREMAP_DONTUNMAP)) {
        if (to < from) {
          const result = mm.unmap(oldAddr + to, from - to);
          if (result < 0) return result;
        }
        return oldAddr;
      }
      // In place, if what follows is free.
      const free = oldAddr + from === vma.end && mm.vmas.free(vma.end, oldAddr + to) && mm.validRange(oldAddr, to);
      if (free && from > 0 && !(flags & MREMAP_DONTUNMAP)) {
        const result = mm.space.remap(oldAddr, from, oldAddr, to);
        if (result >= 0) {
          mm.total += to - from;
          mm.vmas.resize(oldAddr, oldAddr + to);
          mm.mergeRange(vma.start, oldAddr + to);
          return oldAddr;
        }
      }
      if (!(flags & MREMAP_MAYMOVE)) return -ENOMEM;
      const place = mm.findPlace(0, to);
      if (place < 0) return place;
      newAddr = place;
    }
    return mm.move(oldAddr, from, newAddr, to, (flags & MREMAP_DONTUNMAP) !== 0);
  },
);

export const remap_file_pages = syscall(
  "remap_file_pages",
  { addr, size, prot: int, pgoff: long, flags: int },
  () => -EINVAL,
);
