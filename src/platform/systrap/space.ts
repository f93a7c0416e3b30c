/** An address space on systrap: a stub process. Mappings are its own, made by commands that one of its threads carries out. */
import { EAGAIN, ECONNRESET, EFAULT, EINVAL, EPIPE, ESRCH } from "../../kernel/abi/errno.ts";
import { clockMonotonicNs, closeFd, ioctl, killProcess, sendmsg, setNice, vmRead, vmWrite } from "../../native/host.ts";
import { signalThread } from "../../native/systrap.ts";
import { adviseImage, ImageRanges, type ImageSpace, placed, remapImage } from "../image-ranges.ts";
import {
  type Context,
  type ForkAdvice,
  type HostMemory,
  type MapRun,
  type Snapshot,
  STOP_SYSCALL,
} from "../platform.ts";
import { StubSnapshot, withForkAdvice } from "../snapshot.ts";
import { NICE_MAX } from "../stub-process.ts";
import { asPid, asPlaced, asStatus, asWord } from "./answers.ts";
import { type Channel, closeChannel, makeChannel } from "./channel.ts";
import type { SystrapContext } from "./context.ts";
import type { SystrapHome } from "./home.ts";
import * as M from "./mailbox.ts";
import type { SystrapPlatform } from "./systrap.ts";
import type { Window } from "./window.ts";

const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;
const SIGKILL = 9;
const SIGCONT = 18;
const SIGSTOP = 19;
const MSG_DONTWAIT = 0x40;
/** Bytes that the other end of a socket has not taken yet. */
const SIOCOUTQ = 0x5411;

/** Longer reads of guest memory go by process_vm_readv: one copy less. */
const COPY_IN_MAX = 8192;

/** A thread that was told to exit. */
interface Leaving {
  readonly window: Window;
  readonly tid: number;
  /** CLOCK_MONOTONIC, ns. */
  readonly since: number;
}
/** So many are looked at, and so long may each take. */
const LEAVING_MANY = 64;
const LEAVE_NS = 5e9;

export class SystrapSpace implements ImageSpace {
  /** Where its anonymous memory lies in a file: what was mapped by mapMany. */
  image = new ImageRanges();
  readonly minAddress = 0x10000;
  readonly maxAddress = M.GUEST_END;
  executor: Context | null = null;
  readonly contexts: (SystrapContext | null)[] = [];
  /** Its process has been waited for. */
  dead = false;
  /** Its process has been killed, or is dead: nothing is asked of it any more. */
  condemned = false;
  /** A call of one of its tasks waits for a slow command: see SystrapPlatform.outlast. */
  busy = false;
  /** When a command of it last took long, CLOCK_MONOTONIC ns. */
  lateAt = Number.NEGATIVE_INFINITY;

  constructor(
    readonly platform: SystrapPlatform,
    readonly hostPid: number,
    private readonly socket: number,
    readonly mailbox: number,
    readonly home: SystrapHome,
  ) {}

  /** Stopped by SIGSTOP, since its home is paused. */
  frozen = false;
  freeze(): void {
    if (this.frozen || this.dead) return;
    this.frozen = true;
    killProcess(-this.hostPid, SIGSTOP);
  }
  thaw(): void {
    if (!this.frozen || this.dead) return;
    this.frozen = false;
    killProcess(-this.hostPid, SIGCONT);
  }

  /** Kills a stub that is not ours any more, and what it has forked. -ESRCH, for callers to return. */
  condemn(why: string): number {
    if (!this.condemned) {
      this.condemned = true;
      this.platform.onKill?.(this.hostPid, why);
      killProcess(-this.hostPid, SIGKILL);
    }
    return -ESRCH;
  }
  kill(why: string): void {
    if (!this.dead) this.condemn(why);
  }

  /** See HostVdso. */
  placed: Uint8Array | null = null;
  get vdso(): number {
    return this.platform.vdso.addressIn(this);
  }
  vdsoImage(): Uint8Array {
    return this.platform.vdso.imageIn(this);
  }
  placeVdso(image: Uint8Array): number {
    return this.platform.vdso.place(this, image);
  }

  /** The stopped thread that commands run on. */
  private get hand(): SystrapContext {
    return this.executor as SystrapContext;
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
    if (memory === null) flags |= MAP_ANONYMOUS;
    else {
      const fd = mayWrite ? memory.fd : memory.readFd;
      const sent = fd < 0 ? fd : this.send(fd, -1);
      if (sent < 0) return sent;
    }
    const brings = memory === null ? 0 : 1;
    const result = this.hand.command(asPlaced, addr, M.OP_MMAP, addr, length, prot, flags, brings, offset);
    if (result === 0) this.image.drop(addr, addr + length);
    return brings === 1 ? this.taken(result) : result;
  }
  mapMany(runs: readonly MapRun[], memory: HostMemory): number {
    const { hand } = this;
    if (!placed(this, runs)) return -EINVAL;
    if (this.condemned || !hand.ready()) return -ESRCH;
    hand.flushOuts();
    const { u8 } = hand.window;
    const list = new DataView(u8.buffer, M.OUT_OFFSET, M.OUT_SIZE);
    const many = M.OUT_SIZE / M.MAPPING_SIZE;
    for (let done = 0; done < runs.length; done += many) {
      const part = runs.slice(done, done + many);
      part.forEach(({ addr, length, prot, offset }, i) => {
        [addr, length, offset].forEach((value, j) => {
          list.setUint32(i * M.MAPPING_SIZE + j * 8, value >>> 0, true);
          list.setUint32(i * M.MAPPING_SIZE + j * 8 + 4, Math.floor(value / 4294967296), true);
        });
        list.setUint32(i * M.MAPPING_SIZE + 24, prot, true);
        list.setUint32(i * M.MAPPING_SIZE + 28, MAP_FIXED | MAP_PRIVATE | MAP_NORESERVE, true);
      });
      const fd = memory.readFd;
      const sent = fd < 0 ? fd : this.send(fd, -1);
      if (sent < 0) return sent;
      const result = this.taken(hand.command(asStatus, 0, M.OP_MMAP_MANY, part.length));
      if (result < 0) return result;
    }
    for (const { addr, length, prot } of runs) this.image.add({ start: addr, end: addr + length, prot });
    return 0;
  }
  unmap(addr: number, length: number): number {
    this.image.drop(addr, addr + length);
    return this.hand.command(asStatus, 0, M.OP_MUNMAP, addr, length);
  }
  protect(addr: number, length: number, prot: number): number {
    const result = this.hand.command(asStatus, 0, M.OP_MPROTECT, addr, length, prot);
    if (result === 0 && !this.image.empty) this.image.protect(addr, addr + length, prot);
    return result;
  }
  remap(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number {
    return remapImage(this, oldAddr, oldLength, newAddr, newLength);
  }
  remapHost(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number {
    const flags = newAddr === oldAddr ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
    return this.hand.command(asPlaced, newAddr, M.OP_MREMAP, oldAddr, oldLength, newLength, flags, newAddr);
  }
  advise(addr: number, length: number, advice: number): number {
    return adviseImage(this, addr, length, advice);
  }
  adviseHost(addr: number, length: number, advice: number): number {
    return this.hand.command(asStatus, 0, M.OP_MADVISE, addr, length, advice);
  }
  sync(addr: number, length: number, flags: number): number {
    return this.hand.command(asStatus, 0, M.OP_MSYNC, addr, length, flags);
  }
  mincore(addr: number, length: number, dst: Uint8Array): number {
    const pages = Math.ceil(length / 4096);
    // The answer comes through the out area, so no output may be waiting there.
    this.hand.flushOuts();
    for (let done = 0; done < pages; ) {
      const count = Math.min(pages - done, M.OUT_SIZE);
      const result = this.hand.command(asStatus, 0, M.OP_MINCORE, addr + done * 4096, count * 4096);
      if (result < 0) return result;
      dst.set(this.hand.window.u8.subarray(M.OUT_OFFSET, M.OUT_OFFSET + count), done);
      done += count;
    }
    return 0;
  }

  reset(): number {
    const result = this.unmap(this.minAddress, this.maxAddress - this.minAddress);
    return result < 0 || this.placed === null ? result : this.placeVdso(this.platform.vdso.image);
  }

  /** Sends one or two descriptors to the stub, which has taken all earlier ones: that never waits. */
  private send(a: number, b: number): number {
    if (this.condemned) return -ESRCH;
    const fds = this.platform.fdPair;
    fds[0] = a;
    fds[1] = b;
    const sent = sendmsg(this.socket, this.platform.oneByte, 1, fds, b < 0 ? 1 : 2, MSG_DONTWAIT);
    if (sent === -EAGAIN) return this.condemn("it does not take its descriptors");
    if (sent === -EPIPE || sent === -ECONNRESET) return this.condemn("its process has ended");
    return sent < 0 ? sent : 0;
  }
  /** The command that went with a descriptor is done: the descriptor has been taken, or the stub is not honest. */
  private taken(result: number): number {
    const left = this.platform.word;
    if (this.condemned || ioctl(this.socket, SIOCOUTQ, left) < 0 || left[0] !== 0)
      return this.condemn("it does not take its descriptors");
    return result;
  }

  fork(): Context | number {
    const channel = this.prepareFork();
    if (typeof channel === "number") return channel;
    const made = this.takeFork(channel, this.home, this.hand.command(asPid, 0, M.OP_FORK));
    if (typeof made === "number") return made;
    this.home.spaces.add(made.addressSpace);
    // Its parent had made it when it was stopped itself.
    if (this.home.paused) made.addressSpace.freeze();
    return made;
  }
  snapshot(advice?: ForkAdvice): Snapshot | number {
    const { platform, executor } = this;
    const hand = this.contexts.find((ctx) => ctx && ctx.activeAt < 0 && !ctx.owes && !ctx.dismissed);
    if (this.condemned || hand == null) return -ESRCH;
    for (const ctx of this.contexts) ctx?.flushOuts();
    this.executor = hand;
    try {
      return withForkAdvice(this, advice, () => {
        const channel = this.prepareFork();
        if (typeof channel === "number") return channel;
        const pid = this.acceptFork(hand.command(asPid, 0, M.OP_FORK));
        closeChannel(channel);
        if (pid < 0) return pid;
        // It waits at a mailbox that nobody has, and would do so if it were not stopped: an honest one.
        killProcess(-pid, SIGSTOP);
        const made = new StubSnapshot(pid, this.minAddress, this.maxAddress, true, this.image.copy());
        platform.snapshots.set(pid, made);
        return made;
      });
    } finally {
      this.executor = executor;
    }
  }

  /** Gives the stub what it needs for a fork. */
  private prepareFork(): Channel | number {
    const { platform } = this;
    if (platform.full) return -EAGAIN;
    this.hand.flushOuts();
    const channel = makeChannel();
    if (typeof channel === "number") return -EAGAIN;
    const sent = this.send(channel.mailbox, channel.theirs);
    if (sent === 0) return channel;
    closeChannel(channel);
    return sent;
  }
  /** Tells the stub to fork, and does not wait for it. */
  orderFork(): Channel | number {
    const channel = this.prepareFork();
    if (typeof channel !== "number") this.hand.order(M.OP_FORK);
    return channel;
  }
  /** What the stub says to have forked, with the host's word for it: a pid, or -errno. */
  private acceptFork(answer: number): number {
    const pid = this.taken(answer);
    if (pid <= 0) return pid;
    return this.platform.acceptPid(pid, this.hostPid) ?? this.condemn("it did not fork what it says");
  }
  /** The stub has forked. `answer`: what it says of it. */
  takeFork(channel: Channel, home: SystrapHome, answer = this.hand.answer(asPid, 0)): SystrapContext | number {
    const { platform } = this;
    const { ours, theirs, mailbox } = channel;
    const parent = this.hand;
    const pid = this.acceptFork(answer);
    closeFd(theirs);
    if (pid < 0 || platform.full) {
      if (pid > 0) killProcess(-pid, SIGKILL);
      closeFd(ours);
      closeFd(mailbox);
      return pid < 0 ? pid : -EAGAIN;
    }
    const space = new SystrapSpace(platform, pid, ours, mailbox, home);
    space.placed = this.placed;
    platform.addSpace(space);
    const ctx = platform.openContext(space, parent.slot);
    space.executor = ctx;
    ctx.tid = pid;
    ctx.stage(parent.regs);
    if (!this.image.empty) space.image = this.image.copy();
    return ctx;
  }

  createContext(): Context | number {
    if (this.platform.full) return -EAGAIN;
    const slot = this.freeSlot();
    if (slot < 0) return -EAGAIN;
    const parent = this.hand;
    const ctx = this.platform.openContext(this, slot);
    // A slot that was used before says "exited" or holds an old event.
    ctx.window.u32[M.W_EVENT] = 0;
    Atomics.store(ctx.window.i32, M.W_STATE, M.STATE_RUNNING);
    let tid = parent.command(asPid, 0, M.OP_THREAD, slot);
    // Signal 0 asks whether this is a thread of that process.
    if (tid > 0 && signalThread(this.hostPid, tid, 0) < 0) tid = this.condemn("it did not make the thread it says");
    if (tid < 0) {
      this.contexts[slot] = null;
      this.platform.closeContext(ctx);
      return tid;
    }
    ctx.tid = tid;
    // As after clone(2): a copy of the parent's registers.
    ctx.stage(parent.regs);
    return ctx;
  }

  /** A slot that no thread runs on. */
  private freeSlot(): number {
    for (let slot = 0; slot < M.SLOTS_MAX; slot++) {
      const left = this.leaving.get(slot);
      if (left !== undefined && !this.hasLeft(slot, left)) continue;
      if (this.contexts[slot] == null) return slot;
    }
    return -1;
  }
  /** Has the thread left its stack? Then its window is free again. Its own word is enough; else the host is asked. */
  private hasLeft(slot: number, left: Leaving): boolean {
    if (Atomics.load(left.window.i32, M.W_STATE) !== M.STATE_EXITED && signalThread(this.hostPid, left.tid, 0) === 0)
      return false;
    this.leaving.delete(slot);
    this.platform.releaseWindow(left.window);
    return true;
  }
  /** A thread was told to exit. Windows are few: one that does not go in its time is not an honest one. */
  leave(ctx: SystrapContext): void {
    const now = clockMonotonicNs();
    this.leaving.set(ctx.slot, { window: ctx.window, tid: ctx.tid, since: now });
    if (this.leaving.size % LEAVING_MANY !== 0 || this.condemned) return;
    // The first thread stays until its process goes.
    for (const [slot, left] of this.leaving)
      if (left.tid !== this.hostPid && !this.hasLeft(slot, left) && now - left.since >= LEAVE_NS)
        this.condemn("its threads do not end");
  }
  /** Slots of threads that were told to exit. */
  private readonly leaving = new Map<number, Leaving>();
  /** Contexts that will be told to exit when they come to their mailbox. */
  readonly dismissed = new Set<SystrapContext>();

  read(addr: number, dst: Uint8Array, offset: number, length: number): number {
    const hand = this.executor as SystrapContext | null;
    if (this.condemned) return -ESRCH;
    if (hand !== null && !hand.owes) {
      if (hand.outs > 0 && hand.overlapsOuts(addr, length)) hand.flushOuts();
      if (hand.brought > 0) {
        const n = hand.readBrought(addr, dst, offset, length);
        if (n > 0) return n;
      }
      // Its own thread is waiting for us: asking it is cheaper than process_vm_readv.
      if (length <= COPY_IN_MAX && hand.outUsed + length <= M.OUT_SIZE && !hand.late) {
        const n = hand.copyIn(addr, dst, offset, length);
        if (n !== null) return n;
      }
    }
    return this.transfer(vmRead, addr, dst, offset, length);
  }

  flush(): void {
    (this.executor as SystrapContext | null)?.flushOuts();
  }

  forgetPrefetched(): void {
    const hand = this.executor as SystrapContext | null;
    if (hand !== null) hand.brought = 0;
  }
  prefetchedString(addr: number): Uint8Array | null {
    const hand = this.executor as SystrapContext | null;
    return hand === null || hand.brought === 0 ? null : hand.broughtString(addr);
  }

  write(addr: number, src: Uint8Array, offset: number, length: number): number {
    const hand = this.executor as SystrapContext | null;
    if (
      hand !== null &&
      hand.stop === STOP_SYSCALL &&
      !hand.owes &&
      !hand.late &&
      hand.queueOut(addr, src, offset, length)
    )
      return length;
    if (hand !== null && hand.outs > 0 && hand.overlapsOuts(addr, length)) hand.flushOuts();
    return this.transfer(vmWrite, addr, src, offset, length);
  }

  private transfer(
    call: (pid: number, remote: number, local: Uint8Array, n: number) => number,
    addr: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): number {
    const part = offset === 0 ? buffer : buffer.subarray(offset);
    const n = call(this.hostPid, addr, part, length);
    return n < 0 ? (n === -ESRCH ? -ESRCH : -EFAULT) : n;
  }

  loadU32(addr: number): number {
    const n = this.read(addr, this.word8, 0, 4);
    return n < 4 ? -EFAULT : this.word[0]!;
  }
  private readonly word = new Uint32Array(1);
  private readonly word8 = new Uint8Array(this.word.buffer);
  compareExchangeU32(addr: number, expected: number, desired: number, alone = false): number {
    const { platform } = this;
    const { serveOthers } = platform;
    if (alone) platform.serveOthers = null;
    try {
      return this.hand.command(asWord, 0, M.OP_CAS, addr, expected, desired);
    } finally {
      platform.serveOthers = serveOthers;
    }
  }
  fetchOpU32(addr: number, op: number, operand: number): number {
    return this.hand.command(asWord, 0, M.OP_FETCH, addr, op, operand);
  }

  destroy(large = false): void {
    if (large && !this.dead) setNice(true, this.hostPid, NICE_MAX);
    if (!this.dead) killProcess(-this.hostPid, SIGKILL);
    this.condemned = true;
    this.home.spaces.delete(this);
    for (const ctx of this.contexts) if (ctx) this.platform.closeContext(ctx);
    for (const ctx of this.dismissed) this.platform.forget(ctx);
    for (const { window } of this.leaving.values()) this.platform.releaseWindow(window);
    this.contexts.length = 0;
    this.dismissed.clear();
    this.leaving.clear();
    if (this.socketOpen) {
      this.socketOpen = false;
      closeFd(this.socket);
      closeFd(this.mailbox);
    }
  }
  private socketOpen = true;
}
