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
import { EAGAIN, ESRCH } from "../../kernel/abi/errno.ts";
import {
  clockMonotonicNs,
  closeFd,
  epollCreate,
  epollCtl,
  killProcess,
  recvmsg,
  sendmsg,
  socketpair,
  waitChild,
} from "../../native/host.ts";
import * as P from "../../native/ptrace.ts";
import { cpuFeatures } from "../cpu-features.ts";
import { opened } from "../home.ts";
import {
  type Context,
  type ContextState,
  type CpuFeatures,
  type Home,
  type Platform,
  type PrefetchSpec,
  STOP_GONE,
  STOP_INTERRUPT,
  STOP_STARTED,
} from "../platform.ts";
import { withBases } from "../saved-registers.ts";
import type { StubSnapshot } from "../snapshot.ts";
import { checker, makeDoorbell, startStub } from "../stub-process.ts";
import { HostVdso } from "../vdso.ts";
import { LONG_RUN_NS, PtraceContext } from "./context.ts";
import { installFilter, prepareStub } from "./first-stub.ts";
import { PtraceHome } from "./home.ts";
import { PtraceSpace } from "./space.ts";

/** Guest threads alive at once in the sandbox. */
const THREADS_MAX = 16384;
/** A context that is to stop and does not for so long is killed; of many, so long after the last one that did. */
const STOP_MAX_NS = 5e9;
/** All together, as a multiple of that; how long is slept at once. */
const STOP_PARTS = 6;
const STOP_LOOK_NS = 5e7;
const POLLIN = 1;
const EPOLL_CTL_ADD = 1;
const SIGKILL = 9;
const SIGTRAP = 5;
const MSG_DONTWAIT = 0x40;
const FAULT_SIGNALS = new Set([4, SIGTRAP, 7, 8, 11]);

const check = checker("ptrace");

export interface PtraceOptions {
  /** The kernel's poller, to sleep on. */
  pollerFd: number;
  /** Do without the seccomp filter, as on a host that refuses it. */
  withoutFilter?: boolean;
}

export class PtracePlatform implements Platform {
  readonly name = "ptrace";
  readonly vdso: HostVdso;
  readonly fpStateSize: number;
  /** Bytes of it that count. */
  readonly fpImageSize: number;
  /** Set by the kernel, see Platform. */
  onKill: ((hostPid: number, why: string) => void) | null = null;
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
  /** Copies of address spaces, by process id. */
  readonly snapshots = new Map<number, StubSnapshot>();
  /** Contexts that have stopped, or are ready for their first resume, and that nobody has been told of. */
  readonly ready: PtraceContext[] = [];
  readonly ownHome: PtraceHome;
  readonly homes = new Set<PtraceHome>();
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
    ({ doorbell: this.doorbell, epoll: this.epoll } = makeDoorbell(options.pollerFd, check));
    P.watchTracees(this.doorbell);
    this.cpus = P.usableCpus();
    const pair = new Int32Array(2);
    // Sequenced packets: one message, one descriptor.
    check(socketpair(5, pair), "make a socket pair");
    this.socket = pair[0]!;
    this.stubSocket = pair[1]!;

    const theirs = this.stubSocket;
    const pid = startStub(ptraceStub, [theirs, theirs, theirs, theirs], check);
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
    this.fpImageSize = P.fpSize(pid);
    this.fpStateSize = Math.ceil(this.fpImageSize / 64) * 64;
    this.ownHome = new PtraceHome(this, []);
    this.homes.add(this.ownHome);
    const space = new PtraceSpace(this, pid, this.ownHome);
    this.spaces.set(pid, space);
    const zygote = this.addContext(space, pid);
    space.executor = zygote;
    this.ownHome.zygote = zygote;
    this.vdso = HostVdso.of(space, prepareStub(zygote, stack, cells, check));
    this.filtered = options.withoutFilter !== true && installFilter(zygote);
  }

  withholdClock(): number {
    this.vdso.withheld = true;
    // All others are its forks.
    return this.ownHome.zygote!.addressSpace.placeVdso(this.vdso.image);
  }

  createHome(procs: readonly number[]): Home | number {
    return opened(new PtraceHome(this, procs), this.homes);
  }

  createAddressSpace(home: Home): Context | number {
    const at = home as PtraceHome;
    if (at.destroyed) return -ESRCH;
    const made = at.newStub();
    if (typeof made === "number") return made === -ESRCH ? -EAGAIN : made;
    at.spaces.add(made.addressSpace);
    this.announce(made);
    return made;
  }
  /** Reading guest memory costs one host call; nothing is gained by bringing it along. */
  setPrefetch(_nr: number, _specs: readonly PrefetchSpec[]): void {}

  wait(timeoutNs: number): Context | null {
    if (this.quiet) return this.waitFor(timeoutNs);
    const ready = this.ready.shift();
    if (ready !== undefined) {
      ready.listed = null;
      return ready;
    }
    if (this.pinnedRunning > 0) {
      const now = clockMonotonicNs();
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

  private waitFor(timeoutNs: number, epoll = this.epoll): Context | null {
    let timeout = timeoutNs;
    while (P.waitForTracee(this.stopped, epoll, timeout) === 1) {
      const ctx = this.onStatus(this.stopped[0]!, this.stopped[1]!);
      if (ctx !== null && !this.quiet && (ctx.stop === STOP_GONE || !ctx.addressSpace.home.paused)) return ctx;
      // An end is told as soon as anything is.
      ctx?.list(ctx.stop === STOP_GONE ? this.ready : ctx.addressSpace.home.stopped);
      // Something that concerns nobody. Not to sleep past the timeout, it is not begun again.
      if (timeout > 0) timeout = 0;
    }
    return null;
  }

  // Standing still.

  /** Every context is stopped, and none is reported. */
  quiet = false;

  quiesce(): number {
    if (this.quiet) return 0;
    this.quiet = true;
    const running: PtraceContext[] = [];
    for (const home of this.homes) {
      home.interrupt();
      for (const space of home.spaces) for (const ctx of space.contexts) if (ctx.running) running.push(ctx);
    }
    // Not the kernel's descriptors: nobody looks at them meanwhile.
    const epoll = epollCreate();
    if (epoll >= 0) epollCtl(epoll, EPOLL_CTL_ADD, this.doorbell, POLLIN, 0);
    // On a busy host each that stops is a sign that others will.
    const last = clockMonotonicNs() + STOP_PARTS * STOP_MAX_NS;
    let end = clockMonotonicNs() + STOP_MAX_NS;
    for (const ctx of running) {
      if (!ctx.running) continue;
      let left = 0;
      do {
        left = Math.min(end, last) - clockMonotonicNs();
        this.waitFor(Math.max(0, Math.min(left, STOP_LOOK_NS)), epoll);
      } while (ctx.running && left > 0);
      if (!ctx.running) end = clockMonotonicNs() + STOP_MAX_NS;
    }
    if (epoll >= 0) closeFd(epoll);
    for (const ctx of running) if (ctx.running) ctx.addressSpace.kill("a thread of it does not stop");
    return 0;
  }

  states(contexts: readonly Context[]): (ContextState | number)[] {
    return contexts.map((ctx) => {
      const fp = ctx.fp();
      if (typeof fp === "number") return fp;
      return { regs: withBases(ctx), fp };
    });
  }

  unquiesce(): void {
    if (!this.quiet) return;
    this.quiet = false;
    for (const home of this.homes) if (!home.paused) home.release();
  }

  cpuFeatures(): CpuFeatures {
    return cpuFeatures();
  }

  /** A host thread has changed its state: the context that the kernel should hear of. */
  private onStatus(tid: number, status: number): PtraceContext | null {
    const ctx = this.threads.get(tid);
    if ((status & 0xff) !== 0x7f) {
      this.threads.delete(tid);
      this.spaces.get(tid)?.reaped();
      this.spaces.delete(tid);
      this.snapshots.get(tid)?.reaped();
      this.snapshots.delete(tid);
      if (ctx === undefined || ctx.leaving) return null;
      this.forget(ctx);
      const { home } = ctx.addressSpace;
      if (home.zygote === ctx) {
        home.zygote = null;
        return null;
      }
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
    if (ctx.addressSpace.held) return ctx.take(STOP_INTERRUPT) ? ctx : null;
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
    const { home } = ctx.addressSpace;
    ctx.stop = STOP_STARTED;
    ctx.list(home.paused ? home.stopped : this.ready);
  }
  /** The kernel is not to hear of this context any more. */
  forget(ctx: PtraceContext): void {
    ctx.halted();
    this.pinned.delete(ctx);
    ctx.addressSpace.contexts.delete(ctx);
    if (ctx.addressSpace.executor === ctx) ctx.addressSpace.executor = null;
    ctx.unlist();
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
    for (const snapshot of this.snapshots.values()) snapshot.destroy();
    // A leader's end is reported when all threads of its process have been waited for.
    while (this.spaces.size + this.snapshots.size > 0) {
      if (waitChild(-1, 0, out) !== 1) break;
      if ((out[1]! & 0xff) === 0x7f) continue;
      this.spaces.delete(out[0]!);
      this.snapshots.delete(out[0]!);
    }
    this.spaces.clear();
    this.snapshots.clear();
    this.threads.clear();
    this.ready.length = 0;
    for (const home of this.homes) home.destroy();
    for (const fd of [this.epoll, this.doorbell, this.socket, this.stubSocket]) closeFd(fd);
  }
}
