/**
 * The ptrace platform: guest threads are host threads of stub processes, traced by us. It needs nothing of the host but
 * ptrace, and works where seccomp traps do not.
 *
 * Guest code runs under PTRACE_SYSEMU (ptrace(2)): each of its system calls stops it before the host looks at the call.
 * What has to be done in the guest's own process (mappings, forks, atomic operations) is done by a stopped thread that is
 * sent through a cell of the stub (src/native/ptrace.stub.c) and takes all it needs from registers. The host kernel is
 * the MMU, as on systrap; mailboxes and signal handlers of systrap are not needed here, so the stub is one of its own.
 *
 * Two fences. The first is SYSEMU: no instruction of a guest can make the host do a call. The second is a seccomp filter
 * under which a stub may make only the calls of its cells, from its cells; SYSEMU stops come before seccomp, so guests
 * never meet it. Where the host refuses filters, the first fence stands alone. PTRACE_O_EXITKILL ends the stubs with us.
 *
 * Invariants: only the thread that made the platform may use it (ptrace knows one tracer thread). A host thread id stays
 * taken until we have waited for its end, so the id names one thread for as long as it is in `threads`.
 * Gaps: si_addr, trap number and error code are exact; the rest of the host's siginfo (pkey, bounds) is not passed on. A
 * stub that the host freezes (cgroup freezer) while it does something for us freezes the kernel with it.
 */

import { ptraceStub } from "../../generated/native-blobs.ts";
import { encodeCString } from "../../kernel/abi/bytes.ts";
import { EAGAIN, EFAULT, EINVAL, EPERM, ESRCH } from "../../kernel/abi/errno.ts";
import { SYSCALL_NUMBERS } from "../../kernel/abi/syscall-numbers.ts";
import {
  clockNs,
  closeFd,
  epollCreate,
  epollCtl,
  eventfd,
  killProcess,
  memfdCreate,
  recvmsg,
  schedSetaffinity,
  sendmsg,
  socketpair,
  vmRead,
  vmWrite,
  waitChild,
  writeFd,
} from "../../native/host.ts";
import * as P from "../../native/ptrace.ts";
import { spawnStub } from "../../native/systrap.ts";
import {
  type AddressSpace,
  type Context,
  type Fault,
  type HostMemory,
  type Platform,
  type PrefetchSpec,
  REG,
  REG_COUNT,
  STOP_FAULT,
  STOP_GONE,
  STOP_INTERRUPT,
  STOP_STARTED,
  STOP_SYSCALL,
} from "../platform.ts";

/** One past the highest address that guests may map: the stub lies there (see its link flags). */
const GUEST_END = 0x7fe000000000;
/** The host's vDSO and its data are moved here, out of the guest's range. */
const VDSO_BASE = 0x7fe020000000;
const MAX_HOST_ADDRESS = 0x7ffffffff000;
/** Guest threads alive at once in the sandbox, and in one address space. */
const THREADS_MAX = 16384;
const SPACE_THREADS_MAX = 4096;

/** Cells of the stub. */
const CELL_LOAD = 2;
const CELL_CAS = 3;
const CELL_FETCH = 4;
const CELL_HANDLER = 9;
const CELL_RESTORER = 10;
const CELL_SIZE = 128;

/** The stub's scratch area: structures for system calls, mincore's answer, the signal stack. */
const SCRATCH_MESSAGE = 0;
const SCRATCH_IOVEC = 64;
const SCRATCH_BYTE = 80;
const SCRATCH_CONTROL = 96;
const SCRATCH_ALTSTACK = 128;
const SCRATCH_SETUP = 1024;
const SCRATCH_MINCORE = 8192;
const MINCORE_MAX = 32768;
const SCRATCH_STACK = 65536;
const STACK_SIZE = 65536;

const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;
const SIGKILL = 9;
const SIGCHLD = 17;
const SIGTRAP = 5;
const SIGSEGV = 11;
const SIGBUS = 7;
const POLLIN = 1;
const MSG_DONTWAIT = 0x40;

/** CLONE_PTRACE: traced from birth, without an extra stop of the parent. */
const CLONE_PTRACE = 0x2000;
/** VM, FS, FILES, SIGHAND, THREAD, SYSVSEM. */
const THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | CLONE_PTRACE;
/** CLONE_PARENT: we are the parent of every stub process. */
const FORK_FLAGS = 0x8000 | CLONE_PTRACE | SIGCHLD;

/**
 * A round trip costs 8 µs when guest and kernel are on one CPU and 50 µs when one must wake the other's (measured on a
 * virtual machine). So a thread that calls often is kept on the CPU that the kernel runs on, and one that computes is
 * let go, to run beside others.
 */
const SHORT_RUN_NS = 200_000;
const LONG_RUN_NS = 1e6;
/** Short runs in a row that make a thread one that calls often. */
const HOT = 3;
const CLOCK_MONOTONIC = 1;

const FAULT_SIGNALS = new Set([4, SIGTRAP, SIGBUS, 8, SIGSEGV]);
const USER_CS = 0x33;

export interface PtraceOptions {
  /** Descriptor of an empty directory to be the stubs' root; -1 keeps the root. */
  emptyRoot: number;
  /** CLONE_NEW* for the stubs. */
  namespaces: number;
  /** The kernel's poller, to sleep on. */
  pollerFd: number;
  /** Do without the seccomp filter, as on a host that refuses it. */
  withoutFilter?: boolean;
}

export class PtracePlatform implements Platform {
  readonly name = "ptrace";
  readonly vdso: number;
  readonly fpStateSize: number;
  /** The second fence stands. */
  readonly filtered: boolean;
  /** Address of the stub's scratch area, the same in every stub process. */
  readonly scratch: number;
  private readonly doorbell: number;
  private readonly epoll: number;
  /** Memory objects go to stubs through one socket: what is sent is received at once, by the stub it is meant for. */
  private readonly socket: number;
  /** The stubs' end, to take back what was sent to a stub that died before it could receive. */
  private readonly stubSocket: number;
  private readonly threads = new Map<number, PtraceContext>();
  private readonly spaces = new Map<number, PtraceSpace>();
  /** Contexts that are ready for their first resume. */
  private readonly started: PtraceContext[] = [];
  /** An empty stub process that is only ever forked. */
  private readonly zygote: PtraceContext;
  private readonly stopped = new Int32Array(2);
  private readonly one = new Int32Array(1);
  private readonly oneByte = new Uint8Array(1);
  /** Threads that are kept on one CPU, and how many of them run. */
  readonly pinned = new Set<PtraceContext>();
  pinnedRunning = 0;
  readonly cpus: number;
  private nextSweep = 0;
  readonly args = new Float64Array(7);
  readonly info = new Float64Array(3);

  constructor(options: PtraceOptions) {
    this.doorbell = check(eventfd(0, 0o4000), "make an eventfd");
    this.epoll = check(epollCreate(), "make an epoll instance");
    check(epollCtl(this.epoll, 1, this.doorbell, POLLIN, 0), "watch the doorbell");
    check(epollCtl(this.epoll, 1, options.pollerFd, POLLIN, 1), "watch the poller");
    P.watchTracees(this.doorbell);
    this.cpus = P.usableCpus();
    const pair = new Int32Array(2);
    // Sequenced packets: one message, one descriptor.
    check(socketpair(5, pair), "make a socket pair");
    this.socket = pair[0]!;
    this.stubSocket = pair[1]!;

    const stub = check(memfdCreate(encodeCString("runts-stub"), 1), "make the stub file");
    const bytes = Buffer.from(ptraceStub, "base64");
    for (let done = 0; done < bytes.length; )
      done += check(writeFd(stub, bytes.subarray(done), bytes.length - done), "write the stub");
    const theirs = this.stubSocket;
    const pid = check(
      spawnStub(stub, theirs, theirs, theirs, theirs, options.emptyRoot, options.namespaces),
      "start the stub process",
    );
    closeFd(stub);
    const seized = P.seize(pid);
    if (seized < 0) {
      killProcess(pid, SIGKILL);
      waitChild(pid, 0, this.stopped);
      throw new Error(`ptrace: the host does not let us trace our own child (errno ${-seized}): see yama/ptrace_scope`);
    }
    check(sendmsg(this.socket, this.oneByte, 1, this.one, 0, 0), "speak to the stub");
    if (P.waitReady(pid, this.info) < 0) throw new Error("ptrace: the stub process did not start");
    const stack = this.info[1]!;
    const cells = this.info[2]!;
    this.scratch = this.info[0]!;
    if (P.checkEmulation(pid) < 0) {
      killProcess(pid, SIGKILL);
      throw new Error("ptrace: the host cannot keep system calls of traced programs from running (no PTRACE_SYSEMU)");
    }
    this.fpStateSize = Math.ceil(P.fpSize(pid) / 64) * 64;
    const space = new PtraceSpace(this, pid);
    this.spaces.set(pid, space);
    this.zygote = this.addContext(space, pid);
    space.executor = this.zygote;
    this.vdso = this.prepareStub(space, stack, cells);
    this.filtered = options.withoutFilter !== true && this.installFilter();
  }

  /** Everything that the first stub does once and its forks inherit. Returns the vDSO's address. */
  private prepareStub(space: PtraceSpace, stack: number, cells: number): number {
    const { zygote, scratch } = this;
    const at = scratch + SCRATCH_SETUP;
    zygote.call("close_range", 4, 0xffffffff, 0);
    this.exemptFromMercy(at);
    const vdso = this.moveVdso(auxiliary(space, stack), at);

    // The message header for descriptors, with its buffers; the signal stack.
    const words = new Float64Array(32);
    words[SCRATCH_MESSAGE / 8 + 2] = scratch + SCRATCH_IOVEC;
    words[SCRATCH_MESSAGE / 8 + 3] = 1;
    words[SCRATCH_MESSAGE / 8 + 4] = scratch + SCRATCH_CONTROL;
    words[SCRATCH_MESSAGE / 8 + 5] = 24;
    words[SCRATCH_IOVEC / 8] = scratch + SCRATCH_BYTE;
    words[SCRATCH_IOVEC / 8 + 1] = 1;
    words[SCRATCH_ALTSTACK / 8] = scratch + SCRATCH_STACK;
    words[SCRATCH_ALTSTACK / 8 + 2] = STACK_SIZE;
    poke(space, scratch, words);
    // SA_SIGINFO, SA_ONSTACK, SA_NODEFER, SA_RESTORER
    poke(
      space,
      at,
      Float64Array.of(cells + CELL_HANDLER * CELL_SIZE, 0x4c000004, cells + CELL_RESTORER * CELL_SIZE, 0),
    );
    for (const signo of [SIGSEGV, SIGBUS]) check(zygote.call("rt_sigaction", signo, at, 0, 8), "set signal handlers");

    // No privileges.
    poke(space, at, Float64Array.of(0x20080522, 0, 0, 0, 0));
    check(zygote.call("capset", at, at + 8), "drop the stub's capabilities");
    P.noCoreDumps(space.hostPid);
    return vdso;
  }

  /** When the host runs out of memory, guests go first. */
  private exemptFromMercy(at: number): void {
    const { zygote } = this;
    const path = encodeCString("/proc/self/oom_score_adj");
    zygote.addressSpace.write(at, path, 0, path.length);
    const fd = zygote.call("openat", -100, at, 1, 0);
    if (fd < 0) return;
    const text = Buffer.from("1000");
    zygote.addressSpace.write(at, text, 0, text.length);
    zygote.call("write", fd, at, text.length);
    zygote.call("close", fd);
  }

  /**
   * Moves the vDSO and its data pages above the guest's range, keeping their distances: newer hosts put them among the
   * other mappings, where execve would drop them. Returns its address, or 0 when it cannot be kept.
   */
  private moveVdso(vdso: number, at: number): number {
    const { zygote } = this;
    if (vdso === 0) return 0;
    const path = encodeCString("/proc/self/maps");
    zygote.addressSpace.write(at, path, 0, path.length);
    const fd = zygote.call("openat", -100, at, 0, 0);
    if (fd < 0) return 0;
    let text = "";
    const chunk = new Uint8Array(2048);
    for (;;) {
      const n = zygote.call("read", fd, at, chunk.length);
      if (n <= 0 || text.length > 65536) break;
      zygote.addressSpace.read(at, chunk, 0, n);
      text += Buffer.from(chunk.subarray(0, n)).toString("latin1");
    }
    zygote.call("close", fd);
    const found = [...text.matchAll(/^([0-9a-f]+)-([0-9a-f]+) .*\[(?:vdso|vvar\w*)\]$/gm)];
    const ranges = found.map((m) => ({ start: Number.parseInt(m[1]!, 16), end: Number.parseInt(m[2]!, 16) }));
    const lowest = Math.min(...ranges.map((range) => range.start));
    if (ranges.length === 0 || vdso < lowest) return 0;
    for (const { start, end } of ranges) {
      const size = end - start;
      const moved = zygote.call("mremap", start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, VDSO_BASE + start - lowest);
      if (moved < 0) return 0;
    }
    return VDSO_BASE + vdso - lowest;
  }

  private installFilter(): boolean {
    const at = this.scratch + SCRATCH_SETUP;
    const { zygote } = this;
    if (P.writeFilter(zygote.tid, at, THREAD_FLAGS, FORK_FLAGS) < 0) return false;
    if (zygote.call("prctl", 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0) < 0) return false;
    // SECCOMP_FILTER_FLAG_SPEC_ALLOW: guests cost no speculation barriers.
    return zygote.call("seccomp", 1, 4, at) === 0;
  }

  createAddressSpace(): Context | number {
    const space = this.zygote.addressSpace;
    space.executor = this.zygote;
    return space.fork();
  }

  /** Reading guest memory costs one host call; nothing is gained by bringing it along. */
  setPrefetch(_nr: number, _specs: readonly PrefetchSpec[]): void {}

  wait(timeoutNs: number): Context | null {
    const fresh = this.started.pop();
    if (fresh !== undefined) {
      fresh.announced = false;
      return fresh;
    }
    if (this.pinnedRunning > 0) {
      const now = clockNs(CLOCK_MONOTONIC);
      if (now >= this.nextSweep) this.unpinBusy(now);
      if (this.pinnedRunning > 0 && (timeoutNs < 0 || timeoutNs > LONG_RUN_NS)) return this.waitFor(LONG_RUN_NS);
    }
    return this.waitFor(timeoutNs);
  }

  /** Lets threads go that have not called for a while. */
  private unpinBusy(now: number): void {
    this.nextSweep = now + LONG_RUN_NS;
    for (const ctx of this.pinned) if (ctx.running && now - ctx.resumedAt >= LONG_RUN_NS) ctx.unpin();
  }

  private waitFor(timeoutNs: number): Context | null {
    let timeout = timeoutNs;
    while (P.waitForTracee(this.stopped, this.epoll, timeout) === 1) {
      const ctx = this.onStatus(this.stopped[0]!, this.stopped[1]!);
      if (ctx !== null) return ctx;
      // Something that concerns nobody. Not to sleep past the timeout, it is not begun again.
      if (timeout > 0) timeout = 0;
    }
    return null;
  }

  /** A host thread has changed its state: the context that the kernel should hear of. */
  private onStatus(tid: number, status: number): Context | null {
    const ctx = this.threads.get(tid);
    if ((status & 0xff) !== 0x7f) {
      this.threads.delete(tid);
      this.spaces.get(tid)?.reaped();
      this.spaces.delete(tid);
      if (ctx === undefined || ctx.leaving) return null;
      this.forget(ctx);
      ctx.stop = STOP_GONE;
      return ctx;
    }
    if (ctx === undefined) return null;
    if (ctx.leaving) {
      P.continueThread(tid);
      return null;
    }
    ctx.halted();
    const signo = (status >> 8) & 0xff;
    const event = status >> 16;
    if (signo === (SIGTRAP | 0x80)) return ctx.onSyscall() ? ctx : null;
    if (event !== 0) {
      // Anything but a trap is a group stop, which guests know only from their own kernel.
      if (signo === SIGTRAP) return ctx.take(STOP_INTERRUPT) ? ctx : null;
    } else if (FAULT_SIGNALS.has(signo) && P.signalInfo(tid, this.info) === 1) {
      if (ctx.onFault(signo)) return ctx;
      return null;
    }
    // A signal from outside the sandbox is not for the guest.
    ctx.leave();
    P.resumePlain(tid);
    return null;
  }

  get full(): boolean {
    return this.threads.size >= THREADS_MAX;
  }

  addContext(space: PtraceSpace, tid: number): PtraceContext {
    const ctx = new PtraceContext(space, tid);
    this.threads.set(tid, ctx);
    space.contexts.add(ctx);
    return ctx;
  }
  addSpace(space: PtraceSpace): void {
    this.spaces.set(space.hostPid, space);
  }
  announce(ctx: PtraceContext): void {
    ctx.stop = STOP_STARTED;
    ctx.announced = true;
    this.started.push(ctx);
  }
  /** Nobody need be told any more that it is ready. */
  unannounce(ctx: PtraceContext): void {
    if (!ctx.announced) return;
    ctx.announced = false;
    this.started.splice(this.started.indexOf(ctx), 1);
  }
  /** The kernel is not to hear of this context any more. */
  forget(ctx: PtraceContext): void {
    ctx.halted();
    this.pinned.delete(ctx);
    ctx.addressSpace.contexts.delete(ctx);
    if (ctx.addressSpace.executor === ctx) ctx.addressSpace.executor = null;
    this.unannounce(ctx);
  }
  /** Its end, when it comes, concerns nobody. */
  drop(ctx: PtraceContext): void {
    this.forget(ctx);
    this.threads.delete(ctx.tid);
  }

  /** Sends a descriptor, to be received at once. */
  send(fd: number): number {
    this.one[0] = fd;
    const sent = sendmsg(this.socket, this.oneByte, 1, this.one, 1, MSG_DONTWAIT);
    return sent < 0 ? sent : 0;
  }
  /** Takes back a descriptor whose receiver is gone. */
  takeBack(): void {
    const fds = new Int32Array(4);
    const count = Int32Array.of(4);
    if (recvmsg(this.stubSocket, this.oneByte, 1, fds, count, MSG_DONTWAIT) < 0) return;
    for (let i = 0; i < count[0]!; i++) closeFd(fds[i]!);
  }

  shutdown(): void {
    const out = new Int32Array(2);
    for (const space of this.spaces.values()) killProcess(space.hostPid, SIGKILL);
    // A leader's end is reported when all threads of its process have been waited for.
    while (this.spaces.size > 0) {
      if (waitChild(-1, 0, out) !== 1) break;
      if ((out[1]! & 0xff) !== 0x7f) this.spaces.delete(out[0]!);
    }
    this.spaces.clear();
    this.threads.clear();
    this.started.length = 0;
    for (const fd of [this.epoll, this.doorbell, this.socket, this.stubSocket]) closeFd(fd);
  }
}

class PtraceSpace implements AddressSpace {
  readonly minAddress = 0x10000;
  readonly maxAddress = GUEST_END;
  executor: Context | null = null;
  readonly contexts = new Set<PtraceContext>();
  /** The process has been waited for: its id may belong to another. */
  private gone = false;
  /** The first thread has ended or is about to: its id does not lead to the memory any more. */
  leaderLeft = false;

  constructor(
    readonly platform: PtracePlatform,
    readonly hostPid: number,
  ) {}

  get vdso(): number {
    return this.platform.vdso;
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

  map(addr: number, length: number, prot: number, shared: boolean, memory: HostMemory | null, offset: number): number {
    let flags = MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE);
    let result: number;
    if (memory === null) {
      flags |= MAP_ANONYMOUS;
      result = this.call("mmap", addr, length, prot, flags, -1, 0);
    } else {
      const { hand, platform } = this;
      if (hand === null) return -ESRCH;
      const sent = platform.send(memory.fd);
      if (sent < 0) return sent;
      const { args } = platform;
      args[0] = addr;
      args[1] = length;
      args[2] = prot;
      args[3] = flags;
      args[4] = offset;
      args[5] = platform.scratch + SCRATCH_MESSAGE;
      hand.displaced = true;
      result = P.mapIn(hand.tid, args);
      if (result < 0) platform.takeBack();
    }
    return result < 0 ? (result === P.LOST ? -ESRCH : result) : 0;
  }
  unmap(addr: number, length: number): number {
    return this.call("munmap", addr, length);
  }
  protect(addr: number, length: number, prot: number): number {
    return this.call("mprotect", addr, length, prot);
  }
  remap(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number {
    const flags = newAddr === oldAddr ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
    const result = this.call("mremap", oldAddr, oldLength, newLength, flags, newAddr);
    return result < 0 ? result : 0;
  }
  advise(addr: number, length: number, advice: number): number {
    return this.call("madvise", addr, length, advice);
  }
  sync(addr: number, length: number, flags: number): number {
    return this.call("msync", addr, length, flags);
  }
  mincore(addr: number, length: number, dst: Uint8Array): number {
    const pages = Math.ceil(length / 4096);
    const answer = this.platform.scratch + SCRATCH_MINCORE;
    for (let done = 0; done < pages; ) {
      const count = Math.min(pages - done, MINCORE_MAX);
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
    return this.unmap(this.minAddress, this.maxAddress - this.minAddress);
  }

  fork(): Context | number {
    const { platform, hand } = this;
    if (platform.full) return -EAGAIN;
    if (hand === null) return -ESRCH;
    const pid = hand.call("clone", FORK_FLAGS, 0, 0, 0, 0);
    if (pid < 0) return pid === -ESRCH ? -EAGAIN : pid;
    const space = new PtraceSpace(platform, pid);
    platform.addSpace(space);
    return this.adopt(hand, space, pid);
  }

  createContext(): Context | number {
    const { platform, hand } = this;
    if (platform.full || this.contexts.size >= SPACE_THREADS_MAX) return -EAGAIN;
    if (hand === null) return -ESRCH;
    const tid = hand.call("clone", THREAD_FLAGS, 0, 0, 0, 0);
    if (tid < 0) return tid === -ESRCH ? -EAGAIN : tid;
    return this.adopt(hand, this, tid);
  }

  /** A host thread that `parent` has made. Its floating-point state is the parent's already. */
  private adopt(parent: PtraceContext, space: PtraceSpace, tid: number): Context | number {
    const { platform } = this;
    if (P.waitNewborn(tid) < 0) return -EAGAIN;
    const ctx = platform.addContext(space, tid);
    ctx.inherit(parent);
    if (space !== this) {
      space.executor = ctx;
      ctx.hasSignalStack = parent.hasSignalStack;
    }
    platform.announce(ctx);
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
    return this.atomic(CELL_LOAD, addr, 0, 0);
  }
  compareExchangeU32(addr: number, expected: number, desired: number): number {
    return this.atomic(CELL_CAS, addr, expected, desired);
  }
  fetchOpU32(addr: number, op: number, operand: number): number {
    if (op < 0 || op > 4) return -EINVAL;
    return this.atomic(CELL_FETCH + op, addr, op === 3 ? ~operand >>> 0 : operand, 0);
  }

  destroy(): void {
    if (!this.gone) killProcess(this.hostPid, SIGKILL);
    for (const ctx of [...this.contexts]) this.platform.drop(ctx);
    this.executor = null;
  }
}

class PtraceContext implements Context {
  stop = STOP_STARTED;
  readonly fault: Fault = { signo: 0, code: 0, addr: 0, trapno: 0, errorCode: 0 };
  owner: unknown = null;
  readonly regs = new Uint32Array(REG_COUNT * 2);
  /** Segment bases and selectors, which programs own and the kernel leaves alone. */
  private readonly segments = new Uint32Array((REG_COUNT - REG.fsBase) * 2);
  running = false;
  /** It waits in the list of those that are ready for their first resume. */
  announced = false;
  /** It was told to end. */
  leaving = false;
  /** Its host registers are not those of the stop: it was sent through the stub, or has not run yet. */
  displaced = true;
  hasSignalStack = false;
  /** The CPU that it is kept on, or -1; its latest short runs; when it was last let run. */
  private cpu = -1;
  private heat = 1;
  /** The guest has chosen CPUs itself. */
  private bound = false;
  resumedAt = 0;

  constructor(
    readonly addressSpace: PtraceSpace,
    readonly tid: number,
  ) {}

  get hostTid(): number {
    return this.tid;
  }
  get fpStateSize(): number {
    return this.addressSpace.platform.fpStateSize;
  }

  /** A system call made by this thread. A thread that is gone gives -ESRCH. */
  call(name: keyof typeof SYSCALL_NUMBERS, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    const { args } = this.addressSpace.platform;
    args[0] = SYSCALL_NUMBERS[name];
    args[1] = a0;
    args[2] = a1;
    args[3] = a2;
    args[4] = a3;
    args[5] = a4;
    args[6] = a5;
    this.displaced = true;
    const result = P.callIn(this.tid, args);
    return result === P.LOST ? -ESRCH : result;
  }

  /** As a new thread has it of its maker. */
  inherit(from: PtraceContext): void {
    this.regs.set(from.regs);
    this.segments.set(from.segments);
    this.cpu = from.cpu;
    this.bound = from.bound;
    if (this.cpu >= 0) this.addressSpace.platform.pinned.add(this);
  }
  forgetSegments(): void {
    this.segments.fill(0);
  }

  /** It has stopped: takes its registers. False: it has been killed meanwhile, and its end will be reported. */
  take(stop: number): boolean {
    const { regs } = this;
    if (P.getRegs(this.tid, regs) < 0) return false;
    this.stop = stop;
    this.displaced = false;
    for (let i = 0; i < this.segments.length; i++) this.segments[i] = regs[REG.fsBase * 2 + i]!;
    return true;
  }

  onSyscall(): boolean {
    if (!this.take(STOP_SYSCALL)) return false;
    const { regs } = this;
    // The `syscall` instruction leaves its return address in rcx. Without it this was int 0x80 or the like, whose
    // numbers mean other calls.
    if (
      regs[REG.rcx * 2] !== regs[REG.rip * 2] ||
      regs[REG.rcx * 2 + 1] !== regs[REG.rip * 2 + 1] ||
      regs[REG.cs * 2] !== USER_CS
    ) {
      regs[REG.origRax * 2] = 0xffffffff;
      regs[REG.origRax * 2 + 1] = 0xffffffff;
    }
    return true;
  }

  /** A signal of the processor's; the platform has its siginfo. False: nobody need hear of it. */
  onFault(signo: number): boolean {
    const { platform } = this.addressSpace;
    const { fault } = this;
    fault.signo = signo;
    fault.code = platform.info[1]!;
    fault.addr = platform.info[2]!;
    if (!this.take(STOP_FAULT)) return false;
    if (signo !== SIGSEGV && signo !== SIGBUS) {
      fault.trapno = TRAPS[signo]!;
      if (signo === SIGTRAP && (fault.code === 2 || fault.code === 4)) fault.trapno = 1;
      if (signo === 8 && fault.code !== 1) fault.trapno = this.simdFault() ? 19 : 16;
      fault.errorCode = 0;
      return true;
    }
    if (!this.hasSignalStack) {
      // Given its signal stack it runs into the same fault again, which can then be told whole.
      this.hasSignalStack = true;
      this.call("sigaltstack", platform.scratch + SCRATCH_ALTSTACK, 0);
      this.resumeWithRegisters();
      return false;
    }
    this.displaced = true;
    const told = P.trapInfo(this.tid, signo, platform.info);
    if (told === P.LOST) return false;
    fault.trapno = told === 0 ? platform.info[0]! : 14;
    fault.errorCode = told === 0 ? platform.info[1]! : 4;
    return true;
  }
  /** Is an SSE instruction at rip, rather than one of x87? */
  private simdFault(): boolean {
    const { regs } = this;
    const code = new Uint8Array(1);
    const at = regs[REG.rip * 2]! + regs[REG.rip * 2 + 1]! * 4294967296;
    return this.addressSpace.read(at, code, 0, 1) === 1 && (code[0]! & 0xf8) !== 0xd8 && code[0] !== 0x9b;
  }

  /** It is about to run guest code. */
  leave(): void {
    const { platform } = this.addressSpace;
    if (this.addressSpace.executor === this) this.addressSpace.executor = null;
    platform.unannounce(this);
    this.running = true;
    if (platform.cpus < 2) return;
    if (this.heat >= HOT && !this.bound) {
      const cpu = P.currentCpu();
      if (cpu !== this.cpu) {
        this.cpu = cpu;
        P.pinThread(this.tid, cpu);
        platform.pinned.add(this);
      }
    }
    if (this.cpu >= 0) platform.pinnedRunning++;
    this.resumedAt = clockNs(CLOCK_MONOTONIC);
  }
  /** It has stopped running guest code. */
  halted(): void {
    if (!this.running) return;
    this.running = false;
    const { platform } = this.addressSpace;
    if (platform.cpus < 2) return;
    if (this.cpu >= 0) platform.pinnedRunning--;
    const ran = clockNs(CLOCK_MONOTONIC) - this.resumedAt;
    if (ran < SHORT_RUN_NS) {
      if (this.heat < HOT) this.heat++;
    } else this.heat = ran < LONG_RUN_NS ? this.heat >> 1 : 0;
  }
  setAffinity(mask: Uint8Array): void {
    if (this.cpu >= 0) this.unpin();
    let count = 0;
    for (const byte of mask) for (let bits = byte; bits !== 0; bits &= bits - 1) count++;
    this.bound = schedSetaffinity(this.tid, mask, mask.length) === 0 && count < this.addressSpace.platform.cpus;
  }
  /** It computes: it may run anywhere. */
  unpin(): void {
    const { platform } = this.addressSpace;
    platform.pinned.delete(this);
    if (this.running) platform.pinnedRunning--;
    this.cpu = -1;
    this.heat = 0;
    P.pinThread(this.tid, -1);
  }
  resumeWithResult(result: number): void {
    if (this.displaced) {
      this.regs[REG.rax * 2] = result >>> 0;
      this.regs[REG.rax * 2 + 1] = Math.floor(result / 4294967296) >>> 0;
      this.resumeWithRegisters();
      return;
    }
    this.leave();
    P.resumeResult(this.tid, result);
  }
  resumeWithRegisters(): void {
    this.leave();
    const { regs, segments } = this;
    for (let i = 0; i < segments.length; i++) regs[REG.fsBase * 2 + i] = segments[i]!;
    P.resumeWith(this.tid, regs);
  }
  interrupt(): void {
    if (this.running) P.interruptThread(this.tid);
  }
  parked(): void {
    if (this.addressSpace.executor === this) this.addressSpace.executor = null;
  }

  saveFpState(addr: number): number {
    return P.fpSave(this.tid, addr);
  }
  restoreFpState(addr: number): number {
    return P.fpLoad(this.tid, addr);
  }
  resetFpState(): void {
    P.fpReset(this.tid);
  }

  private setBase(at: number, value: number): number {
    if (value >= MAX_HOST_ADDRESS) return -EPERM;
    this.segments[at] = value >>> 0;
    this.segments[at + 1] = Math.floor(value / 4294967296);
    this.displaced = true;
    return 0;
  }
  setFsBase(value: number): number {
    return this.setBase(0, value);
  }
  setGsBase(value: number): number {
    return this.setBase(2, value);
  }
  getFsBase(): number {
    return this.segments[0]! + this.segments[1]! * 4294967296;
  }
  getGsBase(): number {
    return this.segments[2]! + this.segments[3]! * 4294967296;
  }

  destroy(): void {
    const space = this.addressSpace;
    if (!space.contexts.has(this)) return;
    space.platform.forget(this);
    this.leaving = true;
    this.owner = null;
    if (this.tid === space.hostPid) space.leaderLeft = true;
    P.exitThread(this.tid);
  }
}

/** x86 exception vectors of signals that have but one, mostly: #UD, #BP, #DE. */
const TRAPS: Record<number, number> = { 4: 6, 5: 3, 8: 0 };

/** Writes numbers as u64. */
function poke(space: PtraceSpace, addr: number, words: Float64Array): void {
  const bytes = Buffer.alloc(words.length * 8);
  words.forEach((word, i) => {
    bytes.writeUInt32LE(word >>> 0, i * 8);
    bytes.writeUInt32LE(Math.floor(word / 4294967296), i * 8 + 4);
  });
  if (space.write(addr, bytes, 0, bytes.length) !== bytes.length) throw new Error("ptrace: cannot write to the stub");
}

/** The vDSO's address from the auxiliary vector of a process that has just been started, or 0. */
function auxiliary(space: PtraceSpace, stack: number): number {
  const bytes = new Uint8Array(8192);
  const n = space.read(stack, bytes, 0, bytes.length);
  const view = new DataView(bytes.buffer);
  const word = (i: number): number => view.getUint32(i * 8, true) + view.getUint32(i * 8 + 4, true) * 4294967296;
  const words = Math.floor(Math.max(n, 0) / 8);
  if (words === 0) return 0;
  let i = 1 + word(0) + 1;
  while (i < words && word(i) !== 0) i++;
  for (i++; i + 1 < words && word(i) !== 0; i += 2) if (word(i) === 33 /* AT_SYSINFO_EHDR */) return word(i + 1);
  return 0;
}

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`ptrace: cannot ${what} (errno ${-result})`);
  return result;
}
