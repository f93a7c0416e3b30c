/**
 * The systrap platform: guest threads are host threads of stub processes; their system calls are trapped by seccomp and
 * reach us through mailboxes in shared memory (src/native/mailbox.h, src/native/systrap.stub.c).
 *
 * The host kernel is the MMU: mappings, copy-on-write and faults of guest memory are the stub process' own.
 * Invariant: a word read from a mailbox is hostile input. Host pids that a stub reports are used only after isChild().
 */

import { systrapStub } from "../../generated/native-blobs.ts";
import { encodeCString } from "../../kernel/abi/bytes.ts";
import { EAGAIN, EFAULT, ESRCH } from "../../kernel/abi/errno.ts";
import {
  closeFd,
  epollCreate,
  epollCtl,
  eventfd,
  ftruncate,
  killProcess,
  mapShared,
  memfdCreate,
  openat2,
  schedSetaffinity,
  sendmsg,
  socketpair,
  vmRead,
  vmWrite,
  waitChild,
  writeFd,
} from "../../native/host.ts";
import { memoryAt } from "../../native/library.ts";
import {
  childrenPending,
  closeWindow,
  isChild,
  openWindow,
  reserveWindows,
  signalThread,
  spawnStub,
  waitForCommands,
  waitForStub,
  wakeStub,
  watchChildren,
} from "../../native/systrap.ts";
import {
  type AddressSpace,
  type Context,
  type Fault,
  type HostMemory,
  type Platform,
  type PrefetchSpec,
  STOP_FAULT,
  STOP_GONE,
  STOP_INTERRUPT,
  STOP_STARTED,
  STOP_SYSCALL,
} from "../platform.ts";
import * as M from "./mailbox.ts";

/** Windows: guest threads alive at once in the sandbox. */
const WINDOWS = 16384;
/** A stub that does not carry out commands for this long is killed. */
const SYNC_TIMEOUT_NS = 10e9;

/** How long a stub spins for its reply, in TSC cycles. */
const STUB_SPIN_CYCLES = 60_000;

/** Longer reads of guest memory go by process_vm_readv: one copy less. */
const COPY_IN_MAX = 8192;

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
/** The host signal that interrupts guest code, see the stub. */
const SIGUSR1 = 10;
const POLLIN = 1;

/** One window's views, made once and used for slot after slot. */
class Window {
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u8: Uint8Array;
  readonly regs: Uint32Array;
  constructor(
    readonly index: number,
    readonly address: number,
  ) {
    const memory = memoryAt(address, M.SLOT_SIZE);
    this.u32 = new Uint32Array(memory);
    this.i32 = new Int32Array(memory);
    this.u8 = new Uint8Array(memory);
    this.regs = new Uint32Array(memory, M.W_REGS * 4, 54);
  }
}

export interface SystrapOptions {
  /** Descriptor of an empty directory to be the stubs' root; -1 keeps the root. */
  emptyRoot: number;
  /** CLONE_NEW* for the stubs. */
  namespaces: number;
  /** The kernel's poller, to sleep on. */
  pollerFd: number;
}

export class SystrapPlatform implements Platform {
  readonly name = "systrap";
  private readonly base: number;
  private readonly windows: Window[] = [];
  private readonly freeWindows: Window[] = [];
  private windowCount = 0;
  private readonly infoView: DataView;
  private readonly info: number;
  private readonly doorbell: number;
  private readonly epoll: number;
  /** Window numbers of threads that run guest code. */
  private readonly active = new Int32Array(WINDOWS);
  private activeCount = 0;
  private scanStart = 0;
  /** Contexts by window number. */
  private readonly contexts: (SystrapContext | null)[] = [];
  private readonly spaces = new Map<number, SystrapSpace>();
  /** Contexts whose process is gone, to be reported. */
  private readonly gone: SystrapContext[] = [];
  /** An empty stub process that is only ever forked. */
  private zygote: SystrapContext;
  readonly vdso: number;
  readonly fpStateSize: number;
  /** Scratch for descriptor passing. */
  readonly fdPair = new Int32Array(2);
  readonly oneByte = new Uint8Array(1);

  constructor(options: SystrapOptions) {
    this.base = check(reserveWindows(WINDOWS), "reserve mailbox windows");
    this.doorbell = check(eventfd(0, 0o4000), "make an eventfd");
    this.epoll = check(epollCreate(), "make an epoll instance");
    check(epollCtl(this.epoll, 1, this.doorbell, POLLIN, 0), "watch the doorbell");
    check(epollCtl(this.epoll, 1, options.pollerFd, POLLIN, 1), "watch the poller");
    const infoFd = check(memfdCreate(encodeCString("runts-info"), 1), "make the info page");
    check(ftruncate(infoFd, M.INFO_SIZE), "size the info page");
    this.info = check(mapShared(infoFd, 0, M.INFO_SIZE), "map the info page");
    this.infoView = new DataView(memoryAt(this.info, M.INFO_SIZE));
    this.infoView.setUint32(4, STUB_SPIN_CYCLES, true);
    check(watchChildren(this.doorbell), "watch for child processes");

    // The stubs get the info page by a read-only descriptor: they could not make it writable.
    const readOnlyInfo = check(
      openat2(-100, encodeCString(`/proc/self/fd/${infoFd}`), 0, 0, 0),
      "reopen the info page",
    );
    closeFd(infoFd);
    const stub = check(memfdCreate(encodeCString("runts-stub"), 1), "make the stub file");
    const bytes = Buffer.from(systrapStub, "base64");
    for (let done = 0; done < bytes.length; )
      done += check(writeFd(stub, bytes.subarray(done), bytes.length - done), "write the stub");
    const channel = this.makeChannel();
    if (typeof channel === "number") throw new Error(`systrap: cannot make a mailbox (errno ${-channel})`);
    const { ours, theirs, mailbox } = channel;
    const pid = check(
      spawnStub(stub, theirs, this.doorbell, mailbox, readOnlyInfo, options.emptyRoot, options.namespaces),
      "start the stub process",
    );
    closeFd(stub);
    closeFd(theirs);
    closeFd(readOnlyInfo);
    const space = new SystrapSpace(this, pid, ours, mailbox);
    this.spaces.set(pid, space);
    this.zygote = this.openContext(space, 0);
    if (waitForCommands(this.zygote.window.address, pid, SYNC_TIMEOUT_NS) < 0) {
      const status = new Int32Array(2);
      waitChild(pid, 1, status);
      throw new Error(
        `the systrap stub did not start (wait status 0x${status[1]!.toString(16)}): does the host allow seccomp filters?`,
      );
    }
    this.deactivate(this.zygote);
    this.vdso = this.zygote.window.u32[M.W_RESULT]! + this.zygote.window.u32[M.W_RESULT + 1]! * 4294967296;
    space.executor = this.zygote;
    this.fpStateSize = Math.ceil(Math.max(512, this.zygote.command(M.OP_FP_SIZE)) / 64) * 64;
  }

  /** A socket pair and a mailbox file for one stub process; -errno when the host has no more descriptors. */
  makeChannel(): { ours: number; theirs: number; mailbox: number } | number {
    const pair = new Int32Array(2);
    // Sequenced packets: one message, one set of descriptors.
    const paired = socketpair(5, pair);
    if (paired < 0) return paired;
    const [ours, theirs] = [pair[0]!, pair[1]!];
    const mailbox = memfdCreate(MAILBOX_NAME, 1);
    const sized = mailbox < 0 ? mailbox : ftruncate(mailbox, M.SLOTS_MAX * M.SLOT_SIZE);
    if (sized < 0) {
      closeFd(ours);
      closeFd(theirs);
      if (mailbox >= 0) closeFd(mailbox);
      return sized;
    }
    return { ours, theirs, mailbox };
  }

  createAddressSpace(): Context | number {
    this.wantSpare = true;
    const { spare } = this;
    if (spare !== null && !spare.addressSpace.dead) {
      this.spare = null;
      this.activate(spare);
      return spare;
    }
    return this.forkZygote();
  }
  private forkZygote(): Context | number {
    this.zygote.addressSpace.executor = this.zygote;
    return this.zygote.addressSpace.fork();
  }
  /** An address space made when there was nothing else to do: execve after vfork need not wait for one. */
  private spare: SystrapContext | null = null;
  private wantSpare = false;

  setPrefetch(nr: number, specs: readonly PrefetchSpec[]): void {
    specs.slice(0, 3).forEach((spec, i) => {
      const at = M.INFO_PREFETCH + (nr * 3 + i) * M.SPEC_SIZE;
      this.infoView.setUint8(at, spec.kind === "string" ? 1 : spec.kind === "fixed" ? 2 : 3);
      this.infoView.setUint8(at + 1, spec.arg);
      this.infoView.setUint8(at + 2, spec.lengthArg ?? 0);
      this.infoView.setUint32(at + 4, spec.size ?? 0, true);
    });
  }

  wait(timeoutNs: number): Context | null {
    if (childrenPending() !== 0) this.reap();
    const dead = this.gone.pop();
    if (dead !== undefined) {
      dead.stop = STOP_GONE;
      return dead;
    }
    let at = this.look(this.spare === null && this.wantSpare ? 0 : timeoutNs);
    if (at < 0 && timeoutNs !== 0 && this.spare === null && this.wantSpare) {
      const made = this.forkZygote();
      if (typeof made === "number") this.wantSpare = false;
      else {
        this.spare = made as SystrapContext;
        this.deactivate(this.spare);
      }
      at = this.look(timeoutNs);
    }
    if (at < 0) return null;
    this.scanStart = at;
    const ctx = this.contexts[this.active[at]!]!;
    this.deactivate(ctx);
    const u32 = ctx.window.u32;
    ctx.outs = 0;
    ctx.outUsed = 0;
    ctx.started();
    switch (u32[M.W_EVENT]) {
      case 1:
        ctx.stop = STOP_SYSCALL;
        break;
      case 2:
        ctx.stop = STOP_FAULT;
        ctx.fault.signo = u32[M.W_FAULT_SIGNO]! & 63;
        ctx.fault.code = ctx.window.i32[M.W_FAULT_CODE]!;
        ctx.fault.addr = u32[M.W_FAULT_ADDR]! + u32[M.W_FAULT_ADDR + 1]! * 4294967296;
        ctx.fault.trapno = u32[M.W_FAULT_TRAPNO]!;
        ctx.fault.errorCode = u32[M.W_FAULT_ERROR]!;
        if (!FAULT_SIGNALS.has(ctx.fault.signo)) ctx.fault.signo = 11;
        break;
      case 4:
        ctx.stop = STOP_STARTED;
        break;
      default:
        ctx.stop = STOP_INTERRUPT;
    }
    return ctx;
  }

  /** Waits for a stopped thread: its place in `active`, or -1. */
  private look(timeoutNs: number): number {
    return waitForStub(
      this.base,
      this.active,
      this.activeCount,
      this.scanStart,
      this.info,
      this.epoll,
      this.doorbell,
      timeoutNs,
    );
  }

  /** Collects ended stub processes; their living contexts are reported as gone. */
  private reap(): void {
    const out = new Int32Array(2);
    while (waitChild(-1, 1, out) === 1) {
      const space = this.spaces.get(out[0]!);
      if (space === undefined) continue;
      this.spaces.delete(out[0]!);
      space.dead = true;
      for (const ctx of space.contexts) {
        if (ctx === null || ctx === undefined) continue;
        this.deactivate(ctx);
        this.gone.push(ctx);
      }
    }
  }

  // Windows and the list of running threads.

  openContext(space: SystrapSpace, slot: number): SystrapContext {
    let window = this.freeWindows.pop();
    if (window === undefined) {
      window = new Window(this.windowCount, this.base + this.windowCount * M.SLOT_SIZE);
      this.windows.push(window);
      this.windowCount++;
    }
    check(openWindow(window.address, space.mailbox, slot), "open a mailbox window");
    const ctx = new SystrapContext(space, window, slot);
    this.contexts[window.index] = ctx;
    space.contexts[slot] = ctx;
    this.activate(ctx);
    return ctx;
  }

  get full(): boolean {
    return this.freeWindows.length === 0 && this.windowCount >= WINDOWS;
  }

  closeContext(ctx: SystrapContext): void {
    if (this.contexts[ctx.window.index] !== ctx) return;
    this.forget(ctx);
    this.releaseWindow(ctx.window);
  }

  /** The context is no more; its window may still be in use. */
  forget(ctx: SystrapContext): void {
    this.deactivate(ctx);
    this.contexts[ctx.window.index] = null;
    const waiting = this.gone.indexOf(ctx);
    if (waiting >= 0) this.gone.splice(waiting, 1);
  }

  releaseWindow(window: Window): void {
    closeWindow(window.address);
    this.freeWindows.push(window);
  }

  activate(ctx: SystrapContext): void {
    if (ctx.activeAt >= 0) return;
    ctx.activeAt = this.activeCount;
    this.active[this.activeCount++] = ctx.window.index;
  }

  deactivate(ctx: SystrapContext): void {
    const at = ctx.activeAt;
    if (at < 0) return;
    ctx.activeAt = -1;
    const last = this.active[--this.activeCount]!;
    if (at < this.activeCount) {
      this.active[at] = last;
      this.contexts[last]!.activeAt = at;
    }
  }

  addSpace(space: SystrapSpace): void {
    this.spaces.set(space.hostPid, space);
  }
  /** Is this a new process of ours, safe to treat as a stub? */
  acceptPid(pid: number): boolean {
    return !this.spaces.has(pid) && isChild(pid) === 1;
  }

  pause(): void {
    for (const space of this.spaces.values()) killProcess(space.hostPid, SIGSTOP);
  }
  resume(): void {
    for (const space of this.spaces.values()) killProcess(space.hostPid, SIGCONT);
  }

  shutdown(): void {
    for (const space of this.spaces.values()) killProcess(space.hostPid, SIGKILL);
    const out = new Int32Array(2);
    for (const pid of this.spaces.keys()) waitChild(pid, 0, out);
    this.spaces.clear();
  }
}

const MAILBOX_NAME = encodeCString("runts-mailbox");
const FAULT_SIGNALS = new Set([4, 5, 7, 8, 11]);

class SystrapSpace implements AddressSpace {
  readonly minAddress = 0x10000;
  readonly maxAddress = M.GUEST_END;
  executor: Context | null = null;
  readonly contexts: (SystrapContext | null)[] = [];
  dead = false;

  constructor(
    readonly platform: SystrapPlatform,
    readonly hostPid: number,
    private readonly socket: number,
    readonly mailbox: number,
  ) {}

  get vdso(): number {
    return this.platform.vdso;
  }

  /** The stopped thread that commands run on. */
  private get hand(): SystrapContext {
    return this.executor as SystrapContext;
  }

  map(addr: number, length: number, prot: number, shared: boolean, memory: HostMemory | null, offset: number): number {
    let flags = MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE);
    if (memory === null) flags |= MAP_ANONYMOUS;
    else {
      const sent = this.send(memory.fd, -1);
      if (sent < 0) return sent;
    }
    const result = this.hand.command(M.OP_MMAP, addr, length, prot, flags, memory === null ? 0 : 1, offset);
    return result < 0 ? result : 0;
  }
  unmap(addr: number, length: number): number {
    return this.hand.command(M.OP_MUNMAP, addr, length);
  }
  protect(addr: number, length: number, prot: number): number {
    return this.hand.command(M.OP_MPROTECT, addr, length, prot);
  }
  remap(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number {
    const flags = newAddr === oldAddr ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
    const result = this.hand.command(M.OP_MREMAP, oldAddr, oldLength, newLength, flags, newAddr);
    return result < 0 ? result : 0;
  }
  advise(addr: number, length: number, advice: number): number {
    return this.hand.command(M.OP_MADVISE, addr, length, advice);
  }
  sync(addr: number, length: number, flags: number): number {
    return this.hand.command(M.OP_MSYNC, addr, length, flags);
  }
  mincore(addr: number, length: number, dst: Uint8Array): number {
    const pages = Math.ceil(length / 4096);
    // The answer comes through the out area, so no output may be waiting there.
    this.hand.flushOuts();
    for (let done = 0; done < pages; ) {
      const count = Math.min(pages - done, M.OUT_SIZE);
      const result = this.hand.command(M.OP_MINCORE, addr + done * 4096, count * 4096);
      if (result < 0) return result;
      dst.set(this.hand.window.u8.subarray(M.OUT_OFFSET, M.OUT_OFFSET + count), done);
      done += count;
    }
    return 0;
  }

  reset(): number {
    return this.unmap(this.minAddress, this.maxAddress - this.minAddress);
  }

  /** Sends one or two descriptors to the stub. */
  private send(a: number, b: number): number {
    const fds = this.platform.fdPair;
    fds[0] = a;
    fds[1] = b;
    const sent = sendmsg(this.socket, this.platform.oneByte, 1, fds, b < 0 ? 1 : 2, 0);
    return sent < 0 ? sent : 0;
  }

  fork(): Context | number {
    const platform = this.platform;
    if (platform.full) return -EAGAIN;
    const parent = this.hand;
    parent.flushOuts();
    const channel = platform.makeChannel();
    if (typeof channel === "number") return -EAGAIN;
    const { ours, theirs, mailbox } = channel;
    const sent = this.send(mailbox, theirs);
    const pid = sent < 0 ? sent : parent.command(M.OP_FORK);
    closeFd(theirs);
    if (pid < 0 || !platform.acceptPid(pid)) {
      closeFd(ours);
      closeFd(mailbox);
      return pid < 0 ? pid : -EAGAIN;
    }
    const space = new SystrapSpace(platform, pid, ours, mailbox);
    platform.addSpace(space);
    const ctx = platform.openContext(space, parent.slot);
    space.executor = ctx;
    ctx.tid = pid;
    ctx.stage(parent.regs);
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
    const tid = parent.command(M.OP_THREAD, slot);
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

  /** A slot whose thread has surely left its stack. */
  private freeSlot(): number {
    for (let slot = 0; slot < M.SLOTS_MAX; slot++) {
      if (this.contexts[slot] === null && this.leaving.has(slot)) {
        const old = this.leaving.get(slot)!;
        if (Atomics.load(old.i32, M.W_STATE) !== M.STATE_EXITED) continue;
        this.leaving.delete(slot);
        this.platform.releaseWindow(old);
        return slot;
      }
      if (this.contexts[slot] == null) return slot;
    }
    return -1;
  }
  /** Slots of threads that were told to exit, with the windows on them. */
  readonly leaving = new Map<number, Window>();

  read(addr: number, dst: Uint8Array, offset: number, length: number): number {
    const hand = this.executor as SystrapContext | null;
    if (hand !== null) {
      if (hand.outs > 0 && hand.overlapsOuts(addr, length)) hand.flushOuts();
      const u32 = hand.window.u32;
      const count = u32[M.W_NPREFETCH]!;
      for (let i = 0; i < count && i < M.PREFETCH_MAX; i++) {
        const at = M.W_PREFETCH + i * M.SEGMENT_WORDS;
        const start = u32[at]! + u32[at + 1]! * 4294967296;
        const skip = addr - start;
        if (skip < 0) continue;
        const from = u32[at + 2]!;
        const size = u32[at + 3]!;
        if (from < M.IN_OFFSET || from + size > M.OUT_OFFSET || skip + length > size) continue;
        dst.set(hand.window.u8.subarray(from + skip, from + skip + length), offset);
        return length;
      }
      // Its own thread is waiting for us: asking it is cheaper than process_vm_readv.
      if (length <= COPY_IN_MAX && hand.outUsed + length <= M.OUT_SIZE) {
        const from = M.OUT_OFFSET + hand.outUsed;
        const n = hand.command(M.OP_COPY_IN, addr, length, from);
        if (n > 0 && n <= length) dst.set(hand.window.u8.subarray(from, from + n), offset);
        return n > length ? -EFAULT : n;
      }
    }
    return this.transfer(vmRead, addr, dst, offset, length);
  }

  flush(): void {
    (this.executor as SystrapContext | null)?.flushOuts();
  }

  forgetPrefetched(): void {
    const hand = this.executor as SystrapContext | null;
    if (hand !== null) hand.window.u32[M.W_NPREFETCH] = 0;
  }
  prefetchedString(addr: number): Uint8Array | null {
    const hand = this.executor as SystrapContext | null;
    if (hand === null) return null;
    const { u32, u8 } = hand.window;
    const count = u32[M.W_NPREFETCH]!;
    for (let i = 0; i < count && i < M.PREFETCH_MAX; i++) {
      const at = M.W_PREFETCH + i * M.SEGMENT_WORDS;
      if (u32[at]! + u32[at + 1]! * 4294967296 !== addr) continue;
      const from = u32[at + 2]!;
      const size = u32[at + 3]!;
      if (from < M.IN_OFFSET || size === 0 || from + size > M.OUT_OFFSET) continue;
      return u8[from + size - 1] === 0 ? u8.subarray(from, from + size) : null;
    }
    return null;
  }

  write(addr: number, src: Uint8Array, offset: number, length: number): number {
    const hand = this.executor as SystrapContext | null;
    if (hand !== null && hand.stop === STOP_SYSCALL && hand.queueOut(addr, src, offset, length)) return length;
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
  compareExchangeU32(addr: number, expected: number, desired: number): number {
    return this.hand.command(M.OP_CAS, addr, expected, desired);
  }
  fetchOpU32(addr: number, op: number, operand: number): number {
    return this.hand.command(M.OP_FETCH, addr, op, operand);
  }

  destroy(): void {
    if (!this.dead) killProcess(this.hostPid, SIGKILL);
    for (const ctx of this.contexts) if (ctx) this.platform.closeContext(ctx);
    for (const window of this.leaving.values()) this.platform.releaseWindow(window);
    this.contexts.length = 0;
    this.leaving.clear();
    if (this.socketOpen) {
      this.socketOpen = false;
      closeFd(this.socket);
      closeFd(this.mailbox);
    }
  }
  private socketOpen = true;
}

class SystrapContext implements Context {
  stop = STOP_STARTED;
  readonly fault: Fault = { signo: 0, code: 0, addr: 0, trapno: 0, errorCode: 0 };
  owner: unknown = null;
  /** Place in the platform's list of running threads, or -1. */
  activeAt = -1;
  /** Host thread id, for tgkill: harmless when wrong, since the process is named too. */
  tid = 0;
  /** Output queued for the stub to copy. */
  outs = 0;
  outUsed = 0;

  constructor(
    readonly addressSpace: SystrapSpace,
    readonly window: Window,
    readonly slot: number,
  ) {}

  /**
   * Registers of a thread that has been made but has not yet come to its mailbox. Waiting for it would cost a wake-up on
   * another CPU; its maker goes on meanwhile.
   */
  private staged: Uint32Array | null = null;
  private stagedFsBase = -1;

  stage(regs: Uint32Array): void {
    this.staged = regs.slice();
  }

  /** The thread has come to its mailbox: gives it what was staged. */
  started(): void {
    const { staged } = this;
    if (staged === null) return;
    this.staged = null;
    this.window.regs.set(staged);
    const fsBase = this.stagedFsBase;
    this.stagedFsBase = -1;
    if (fsBase >= 0) this.setFsBase(fsBase);
  }

  get regs(): Uint32Array {
    return this.staged ?? this.window.regs;
  }
  setAffinity(mask: Uint8Array): void {
    // A wrong thread id, if the stub reports one, moves a thread of the sandbox to another CPU: no more.
    schedSetaffinity(this.hostTid, mask, mask.length);
  }
  get hostTid(): number {
    return this.tid !== 0 ? this.tid : this.window.u32[M.W_TID]!;
  }
  get fpStateSize(): number {
    return this.addressSpace.platform.fpStateSize;
  }

  private reply(kind: number): void {
    const { u32, i32 } = this.window;
    u32[M.W_REPLY] = kind;
    u32[M.W_NOUTS] = this.outs;
    Atomics.store(i32, M.W_STATE, M.STATE_REPLY);
    if (Atomics.load(i32, M.W_STUB_SLEEPING) !== 0) wakeStub(this.window.address);
  }

  /** It runs again: nothing more may be done on its hands. */
  private leave(): void {
    const space = this.addressSpace;
    if (this.staged !== null) this.command(M.OP_FP_SIZE);
    if (space.executor === this) space.executor = null;
    space.platform.activate(this);
  }

  resumeWithResult(result: number): void {
    this.leave();
    const u32 = this.window.u32;
    u32[M.W_RESULT] = result >>> 0;
    u32[M.W_RESULT + 1] = Math.floor(result / 4294967296) >>> 0;
    this.reply(M.REPLY_RESULT);
  }

  resumeWithRegisters(): void {
    this.leave();
    this.reply(M.REPLY_REGS);
  }

  interrupt(): void {
    if (this.activeAt < 0) return;
    signalThread(this.addressSpace.hostPid, this.hostTid, SIGUSR1);
  }

  parked(): void {
    if (this.outs > 0) this.flushOuts();
    if (this.addressSpace.executor === this) this.addressSpace.executor = null;
    this.window.u32[M.W_PARK] = 1;
  }

  /** Runs one command on this stopped thread and waits for its result. A stub that does not answer is killed. */
  command(op: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    const space = this.addressSpace;
    if (space.dead) return -ESRCH;
    if (this.staged !== null) {
      if (waitForCommands(this.window.address, space.hostPid, SYNC_TIMEOUT_NS) < 0) {
        killProcess(space.hostPid, SIGKILL);
        return -ESRCH;
      }
      this.started();
    }
    const { u32, i32 } = this.window;
    const at = M.W_COMMANDS;
    u32[at] = op;
    put(u32, at + 2, a0);
    put(u32, at + 4, a1);
    put(u32, at + 6, a2);
    put(u32, at + 8, a3);
    put(u32, at + 10, a4);
    put(u32, at + 12, a5);
    u32[M.W_NCOMMANDS] = 1;
    u32[M.W_PARK] = 0;
    u32[M.W_REPLY] = M.REPLY_COMMANDS;
    Atomics.store(i32, M.W_STATE, M.STATE_REPLY);
    if (Atomics.load(i32, M.W_STUB_SLEEPING) !== 0) wakeStub(this.window.address);
    const waited = waitForCommands(this.window.address, space.hostPid, SYNC_TIMEOUT_NS);
    if (waited < 0) {
      killProcess(space.hostPid, SIGKILL);
      return -ESRCH;
    }
    return u32[at + 14]! + i32[at + 15]! * 4294967296;
  }

  /** Leaves output for the stub to copy with the reply; false when there is no room. */
  queueOut(addr: number, src: Uint8Array, offset: number, length: number): boolean {
    if (this.outs >= M.OUTS_MAX || this.outUsed + length > M.OUT_SIZE) return false;
    const from = M.OUT_OFFSET + this.outUsed;
    if (length <= 16) for (let i = 0; i < length; i++) this.window.u8[from + i] = src[offset + i]!;
    else this.window.u8.set(offset === 0 && src.length === length ? src : src.subarray(offset, offset + length), from);
    const at = M.W_OUTS + this.outs * M.SEGMENT_WORDS;
    const u32 = this.window.u32;
    put(u32, at, addr);
    u32[at + 2] = from;
    u32[at + 3] = length;
    this.outs++;
    this.outUsed = (this.outUsed + length + 7) & ~7;
    this.outRanges[2 * (this.outs - 1)] = addr;
    this.outRanges[2 * (this.outs - 1) + 1] = length;
    return true;
  }
  /** What is queued, in the kernel's own memory. */
  private readonly outRanges = new Float64Array(2 * M.OUTS_MAX);

  overlapsOuts(addr: number, length: number): boolean {
    for (let i = 0; i < this.outs; i++) {
      const start = this.outRanges[2 * i]!;
      if (addr < start + this.outRanges[2 * i + 1]! && start < addr + length) return true;
    }
    return false;
  }

  /** Writes queued output now. */
  flushOuts(): void {
    let used = 0;
    for (let i = 0; i < this.outs; i++) {
      const length = this.outRanges[2 * i + 1]!;
      const from = M.OUT_OFFSET + used;
      vmWrite(this.addressSpace.hostPid, this.outRanges[2 * i]!, this.window.u8.subarray(from, from + length), length);
      used = (used + length + 7) & ~7;
    }
    this.outs = 0;
    this.outUsed = 0;
  }

  saveFpState(addr: number): number {
    this.flushOuts();
    const result = this.command(M.OP_SAVE_FP, addr);
    return result < 0 ? result : 0;
  }
  restoreFpState(addr: number): number {
    this.flushOuts();
    return this.command(M.OP_LOAD_FP, addr);
  }
  resetFpState(): void {
    this.command(M.OP_RESET_FP);
  }
  setFsBase(value: number): number {
    if (this.staged !== null) {
      this.stagedFsBase = value;
      return 0;
    }
    return this.command(M.OP_SET_FS, value);
  }
  setGsBase(value: number): number {
    return this.command(M.OP_SET_GS, value);
  }
  getFsBase(): number {
    return this.command(M.OP_GET_FS);
  }
  getGsBase(): number {
    return this.command(M.OP_GET_GS);
  }

  destroy(): void {
    const space = this.addressSpace;
    if (space.contexts[this.slot] !== this) return;
    space.contexts[this.slot] = null;
    if (space.executor === this) space.executor = null;
    if (space.dead) {
      space.platform.closeContext(this);
      return;
    }
    // It must have come to its mailbox to be told anything there.
    if (this.staged !== null) this.command(M.OP_FP_SIZE);
    space.platform.forget(this);
    space.leaving.set(this.slot, this.window);
    this.flushOuts();
    // The first thread stays, asleep, until the process goes: without it the process id leads to no memory any more.
    if (this.tid === space.hostPid) this.window.u32[M.W_PARK] = 1;
    else this.reply(M.REPLY_EXIT);
  }
}

/** Writes a number as a u64 into two words. */
function put(u32: Uint32Array, at: number, value: number): void {
  u32[at] = value >>> 0;
  u32[at + 1] = Math.floor(value / 4294967296) >>> 0;
}

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`systrap: cannot ${what} (errno ${-result})`);
  return result;
}
