/** An address space on ptrace: a stub process. Its threads are sent through the stub's cells to change its mappings. */
import { EAGAIN, EFAULT, EINVAL, ESRCH } from "../../kernel/abi/errno.ts";
import type { SYSCALL_NUMBERS } from "../../kernel/abi/syscall-numbers.ts";
import { killProcess, setNice, vmRead, vmWrite } from "../../native/host.ts";
import * as P from "../../native/ptrace.ts";
import { adviseImage, ImageRanges, type ImageSpace, placed, remapImage } from "../image-ranges.ts";
import type { Context, ForkAdvice, HostMemory, MapRun, Snapshot } from "../platform.ts";
import { StubSnapshot, withForkAdvice } from "../snapshot.ts";
import { NICE_MAX } from "../stub-process.ts";
import type { PtraceContext } from "./context.ts";
import type { PtraceHome } from "./home.ts";
import * as L from "./layout.ts";
import type { PtracePlatform } from "./ptrace.ts";

/** Guest threads alive at once in one address space. */
const SPACE_THREADS_MAX = 4096;

const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;
const SIGKILL = 9;

export class PtraceSpace implements ImageSpace {
  /** Where its anonymous memory lies in a file: what was mapped by mapMany. */
  image = new ImageRanges();
  readonly minAddress = 0x10000;
  readonly maxAddress = L.GUEST_END;
  executor: Context | null = null;
  readonly contexts = new Set<PtraceContext>();
  /** The process has been waited for: its id may belong to another. */
  private gone = false;
  /** The first thread has ended or is about to: its id does not lead to the memory any more. */
  leaderLeft = false;

  constructor(
    readonly platform: PtracePlatform,
    readonly hostPid: number,
    readonly home: PtraceHome,
  ) {}

  /** See HostVdso. */
  placed: Uint8Array | null = null;
  /** Its threads do not run at present, whatever the kernel says, and their stops are not reported. */
  get held(): boolean {
    return this.home.paused || this.platform.quiet;
  }

  get vdso(): number {
    return this.platform.vdso.addressIn(this);
  }
  vdsoImage(): Uint8Array {
    return this.platform.vdso.imageIn(this);
  }
  placeVdso(image: Uint8Array): number {
    return this.platform.vdso.place(this, image);
  }

  reaped(): void {
    this.gone = true;
  }

  /** The stopped thread that is sent through the stub. */
  private get hand(): PtraceContext | null {
    if (this.executor !== null) return this.executor as PtraceContext;
    for (const ctx of this.contexts) if (!ctx.running) return ctx;
    return null;
  }
  private call(name: keyof typeof SYSCALL_NUMBERS, ...args: number[]): number {
    return this.hand?.call(name, ...args) ?? -ESRCH;
  }

  map(
    addr: number,
    length: number,
    prot: number,
    shared: boolean,
    memory: HostMemory | null,
    offset: number,
    mayWrite = false,
  ): number {
    let flags = MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE);
    let result: number;
    if (memory === null) {
      flags |= MAP_ANONYMOUS;
      result = this.call("mmap", addr, length, prot, flags, -1, 0);
    } else {
      const { hand, platform } = this;
      if (hand === null) return -ESRCH;
      const fd = mayWrite ? memory.fd : memory.readFd;
      const sent = fd < 0 ? fd : platform.send(fd);
      if (sent < 0) return sent;
      const { args } = platform;
      args[0] = addr;
      args[1] = length;
      args[2] = prot;
      args[3] = flags;
      args[4] = offset;
      args[5] = platform.scratch + L.SCRATCH_MESSAGE;
      hand.displaced = true;
      result = P.mapIn(hand.tid, args);
      if (result < 0) platform.takeBack();
    }
    if (result >= 0) this.image.drop(addr, addr + length);
    return result < 0 ? (result === P.LOST ? -ESRCH : result) : 0;
  }
  mapMany(runs: readonly MapRun[], memory: HostMemory): number {
    const { hand, platform } = this;
    if (hand === null) return -ESRCH;
    if (runs.length === 0) return 0;
    if (!placed(this, runs)) return -EINVAL;
    const fd = memory.readFd;
    const sent = fd < 0 ? fd : platform.send(fd);
    if (sent < 0) return sent;
    const list = new Float64Array(runs.length * 4);
    runs.forEach(({ addr, length, prot, offset }, i) => {
      list.set([addr, length, prot, offset], i * 4);
    });
    const flags = MAP_FIXED | MAP_PRIVATE | MAP_NORESERVE;
    hand.comeNear();
    hand.displaced = true;
    // A list in its memory could be changed by another thread of its own.
    const room = this.contexts.size === 1 ? L.MAPPINGS_MAX : 0;
    const { scratch } = platform;
    const result = P.mapManyIn(
      hand.tid,
      list,
      runs.length,
      flags,
      scratch + L.SCRATCH_MESSAGE,
      scratch + L.SCRATCH_MINCORE,
      room,
    );
    if (result < 0) platform.takeBack();
    else for (const { addr, length, prot } of runs) this.image.add({ start: addr, end: addr + length, prot });
    return result === P.LOST ? -ESRCH : result;
  }
  unmap(addr: number, length: number): number {
    this.image.drop(addr, addr + length);
    return this.call("munmap", addr, length);
  }
  protect(addr: number, length: number, prot: number): number {
    const result = this.call("mprotect", addr, length, prot);
    if (result === 0 && !this.image.empty) this.image.protect(addr, addr + length, prot);
    return result;
  }
  remap(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number {
    return remapImage(this, oldAddr, oldLength, newAddr, newLength);
  }
  remapHost(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number {
    const flags = newAddr === oldAddr ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
    const result = this.call("mremap", oldAddr, oldLength, newLength, flags, newAddr);
    return result < 0 ? result : 0;
  }
  advise(addr: number, length: number, advice: number): number {
    return adviseImage(this, addr, length, advice);
  }
  adviseHost(addr: number, length: number, advice: number): number {
    return this.call("madvise", addr, length, advice);
  }
  sync(addr: number, length: number, flags: number): number {
    return this.call("msync", addr, length, flags);
  }
  mincore(addr: number, length: number, dst: Uint8Array): number {
    const pages = Math.ceil(length / 4096);
    const answer = this.platform.scratch + L.SCRATCH_MINCORE;
    for (let done = 0; done < pages; ) {
      const count = Math.min(pages - done, L.MINCORE_MAX);
      const result = this.call("mincore", addr + done * 4096, count * 4096, answer);
      if (result < 0) return result;
      if (this.read(answer, dst, done, count) !== count) return -EFAULT;
      done += count;
    }
    return 0;
  }
  reset(): number {
    const { hand } = this;
    hand?.forgetSegments();
    const result = this.unmap(this.minAddress, this.maxAddress - this.minAddress);
    return result < 0 || this.placed === null ? result : this.placeVdso(this.platform.vdso.image);
  }

  fork(): Context | number {
    const { platform, hand } = this;
    if (platform.full) return -EAGAIN;
    if (hand === null) return -ESRCH;
    const pid = hand.call("clone", L.FORK_FLAGS, 0, 0, 0, 0);
    if (pid < 0) return pid === -ESRCH ? -EAGAIN : pid;
    const made = this.takeFork(hand, pid, this.home);
    if (typeof made === "number") return made;
    this.home.spaces.add(made.addressSpace);
    platform.announce(made);
    return made;
  }
  snapshot(advice?: ForkAdvice): Snapshot | number {
    const { platform, hand } = this;
    if (this.gone || hand === null) return -ESRCH;
    return withForkAdvice(this, advice, () => {
      const pid = hand.call("clone", L.FORK_FLAGS, 0, 0, 0, 0);
      if (pid < 0) return pid;
      const made = new StubSnapshot(pid, this.minAddress, this.maxAddress, false, this.image.copy());
      platform.snapshots.set(pid, made);
      // From here on it is stopped, for good.
      if (P.waitNewborn(pid) >= 0) return made;
      made.destroy();
      return -EAGAIN;
    });
  }
  /** A process that `parent` has forked. */
  takeFork(parent: PtraceContext, pid: number, home: PtraceHome): PtraceContext | number {
    const space = new PtraceSpace(this.platform, pid, home);
    space.placed = this.placed;
    this.platform.addSpace(space);
    const made = this.adopt(parent, space, pid);
    if (typeof made === "number") return made;
    space.executor = made;
    made.hasSignalStack = parent.hasSignalStack;
    if (!this.image.empty) space.image = this.image.copy();
    return made;
  }

  createContext(): Context | number {
    const { platform, hand } = this;
    if (platform.full || this.contexts.size >= SPACE_THREADS_MAX) return -EAGAIN;
    if (hand === null) return -ESRCH;
    const tid = hand.call("clone", L.THREAD_FLAGS, 0, 0, 0, 0);
    if (tid < 0) return tid === -ESRCH ? -EAGAIN : tid;
    const made = this.adopt(hand, this, tid);
    if (typeof made !== "number") platform.announce(made);
    return made;
  }

  /** A host thread that `parent` has made. Its floating-point state is the parent's already. */
  private adopt(parent: PtraceContext, space: PtraceSpace, tid: number): PtraceContext | number {
    if (P.waitNewborn(tid) < 0) return -EAGAIN;
    const ctx = this.platform.addContext(space, tid);
    ctx.inherit(parent);
    return ctx;
  }

  /** A thread id that leads to the memory: the process id does so only as long as its first thread lives. */
  private get memoryTid(): number {
    if (!this.leaderLeft) return this.hostPid;
    for (const ctx of this.contexts) return ctx.tid;
    return this.hostPid;
  }
  private transfer(
    call: (pid: number, remote: number, local: Uint8Array, n: number) => number,
    addr: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): number {
    if (this.gone) return -ESRCH;
    const part = offset === 0 ? buffer : buffer.subarray(offset);
    const n = call(this.memoryTid, addr, part, length);
    return n < 0 ? (n === -ESRCH ? -ESRCH : -EFAULT) : n;
  }
  read(addr: number, dst: Uint8Array, offset: number, length: number): number {
    return this.transfer(vmRead, addr, dst, offset, length);
  }
  write(addr: number, src: Uint8Array, offset: number, length: number): number {
    return this.transfer(vmWrite, addr, src, offset, length);
  }

  private readonly word = new Uint32Array(1);
  private readonly word8 = new Uint8Array(this.word.buffer);
  private atomic(cell: number, addr: number, a: number, b: number): number {
    const { hand } = this;
    if (hand === null) return -EFAULT;
    hand.displaced = true;
    const result = P.atomicIn(hand.tid, cell, addr, a, b);
    return result < 0 ? -EFAULT : result;
  }
  loadU32(addr: number): number {
    // An aligned word is copied whole.
    if ((addr & 3) === 0) return this.read(addr, this.word8, 0, 4) < 4 ? -EFAULT : this.word[0]!;
    return this.atomic(L.CELL_LOAD, addr, 0, 0);
  }
  compareExchangeU32(addr: number, expected: number, desired: number): number {
    return this.atomic(L.CELL_CAS, addr, expected, desired);
  }
  fetchOpU32(addr: number, op: number, operand: number): number {
    if (op < 0 || op > 4) return -EINVAL;
    return this.atomic(L.CELL_FETCH + op, addr, op === 3 ? ~operand >>> 0 : operand, 0);
  }

  kill(why: string): void {
    if (this.gone) return;
    this.platform.onKill?.(this.hostPid, why);
    killProcess(this.hostPid, SIGKILL);
  }

  destroy(large = false): void {
    if (large && !this.gone) for (const ctx of this.contexts) setNice(false, ctx.tid, NICE_MAX);
    if (!this.gone) killProcess(this.hostPid, SIGKILL);
    for (const ctx of [...this.contexts]) this.platform.drop(ctx);
    this.home.spaces.delete(this);
    this.executor = null;
  }
}
