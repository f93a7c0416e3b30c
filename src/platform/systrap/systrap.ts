/**
 * The systrap platform: guest threads are host threads of stub processes; their system calls are trapped by seccomp and
 * reach us through mailboxes in shared memory (src/native/mailbox.h, src/native/systrap.stub.c).
 *
 * The host kernel is the MMU: mappings, copy-on-write and faults of guest memory are the stub process' own.
 *
 * Invariants: a word read from a mailbox is hostile input. What decides anything is copied out once per stop (registers,
 * what was brought along) and read there; answers go through the decoders of answers.ts; a process id that a stub reports
 * counts only with the host's word for it (sy_adopt). A stub that says what no honest one would is killed, with whatever
 * it has forked behind our back: its process group.
 *
 * Commands are answered in microseconds, by honest stubs. When one takes longer, others are served meanwhile (slow-commands.ts):
 * the kernel runs turns for other tasks from within the call that waits. Threads of the same address space are held back
 * until then.
 */

import { systrapStub } from "../../generated/native-blobs.ts";
import { encodeCString } from "../../kernel/abi/bytes.ts";
import { EAGAIN, EBUSY, ESRCH } from "../../kernel/abi/errno.ts";
import {
  clockMonotonicNs,
  closeFd,
  ftruncate,
  killProcess,
  mapShared,
  memfdCreate,
  openat2,
  waitChild,
} from "../../native/host.ts";
import { memoryAt } from "../../native/library.ts";
import {
  adoptChild,
  childrenPending,
  closeWindow,
  openWindow,
  reapChild,
  reserveWindows,
  waitForCommands,
  waitForStub,
  watchChildren,
} from "../../native/systrap.ts";
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
} from "../platform.ts";
import type { StubSnapshot } from "../snapshot.ts";
import { checker, makeDoorbell, startStub } from "../stub-process.ts";
import { HostVdso, VDSO_BASE, type VdsoRange } from "../vdso.ts";
import { asCount } from "./answers.ts";
import { makeChannel } from "./channel.ts";
import { SystrapContext } from "./context.ts";
import { SystrapHome } from "./home.ts";
import * as M from "./mailbox.ts";
import { ANSWER_MAX_NS, PATIENCE_NS, SlowCommands } from "./slow-commands.ts";
import { SystrapSpace } from "./space.ts";
import { Window } from "./window.ts";

/** Windows: guest threads alive at once in the sandbox. */
const WINDOWS = 16384;
/** How long a stub spins for its reply, in TSC cycles. */
const STUB_SPIN_CYCLES = 60_000;

/** A context that is to stop and does not for so long is killed; of many, so long after the last one that did. */
const STOP_MAX_NS = 5e9;
/** All together, as a multiple of that; and what each has at least, however late it is. */
const STOP_PARTS = 6;
const STOP_LEAST_NS = 1e6;

const SIGKILL = 9;

const check = checker("systrap");

/** Where the first stub has put the host's vDSO, said in its mailbox before anything of a guest is near. */
function vdsoRanges({ u32 }: Window): VdsoRange[] {
  const ranges: VdsoRange[] = [];
  const moved = u32[M.W_RESULT] !== 0 || u32[M.W_RESULT + 1] !== 0;
  for (let i = 0; moved && i < M.OUTS_MAX; i++) {
    const at = M.W_OUTS + i * M.SEGMENT_WORDS;
    const size = u32[at + 3]!;
    if (size !== 0) ranges.push({ offset: u32[at]! + u32[at + 1]! * 4294967296 - VDSO_BASE, size });
  }
  return ranges;
}

export interface SystrapOptions {
  /** The kernel's poller, to sleep on. */
  pollerFd: number;
  /** PATIENCE_NS of its own, for tests: with 0 every command is one that takes long. */
  patienceNs?: number;
  /** STOP_MAX_NS of its own, for tests. */
  stopMaxNs?: number;
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
  /** Copies of address spaces, by process id. */
  readonly snapshots = new Map<number, StubSnapshot>();
  /** Contexts whose process is gone, to be reported. */
  private readonly gone: SystrapContext[] = [];
  readonly ownHome: SystrapHome;
  readonly homes = new Set<SystrapHome>();
  /** Those that are to get a spare when there is nothing else to do. */
  readonly wanting = new Set<SystrapHome>();
  readonly vdso: HostVdso;
  readonly fpStateSize: number;
  /** Bytes of it that count. */
  readonly fpImageSize: number;
  /** Set by the kernel, see Platform. */
  serveOthers: ((timeoutNs: number) => void) | null = null;
  onKill: ((hostPid: number, why: string) => void) | null = null;
  /** Commands that take long. */
  readonly slow = new SlowCommands(this);
  /** Scratch for descriptor passing. */
  readonly fdPair = new Int32Array(2);
  readonly oneByte = new Uint8Array(1);
  readonly word = new Int32Array(1);

  readonly patience: number;
  private readonly stopMax: number;

  constructor(options: SystrapOptions) {
    this.patience = options.patienceNs ?? PATIENCE_NS;
    this.stopMax = options.stopMaxNs ?? STOP_MAX_NS;
    this.base = check(reserveWindows(WINDOWS), "reserve mailbox windows");
    ({ doorbell: this.doorbell, epoll: this.epoll } = makeDoorbell(options.pollerFd, check));
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
    const channel = makeChannel();
    if (typeof channel === "number") throw new Error(`systrap: cannot make a mailbox (errno ${-channel})`);
    const { ours, theirs, mailbox } = channel;
    const pid = startStub(systrapStub, [theirs, this.doorbell, mailbox, readOnlyInfo], check);
    closeFd(theirs);
    closeFd(readOnlyInfo);
    this.ownHome = new SystrapHome(this, []);
    this.homes.add(this.ownHome);
    const space = new SystrapSpace(this, pid, ours, mailbox, this.ownHome);
    this.spaces.set(pid, space);
    const zygote = this.openContext(space, 0);
    zygote.tid = pid;
    if (waitForCommands(zygote.window.address, pid, ANSWER_MAX_NS) < 0) {
      const status = new Int32Array(2);
      waitChild(pid, 1, status);
      throw new Error(
        `the systrap stub did not start (wait status 0x${status[1]!.toString(16)}): does the host allow seccomp filters?`,
      );
    }
    this.deactivate(zygote);
    space.executor = zygote;
    this.vdso = HostVdso.of(space, vdsoRanges(zygote.window));
    this.fpImageSize = Math.max(512, zygote.command(asCount, 16384, M.OP_FP_SIZE));
    this.fpStateSize = Math.ceil(this.fpImageSize / 64) * 64;
    this.ownHome.zygote = zygote;
  }

  withholdClock(): number {
    this.vdso.withheld = true;
    // All others are its forks.
    return this.ownHome.zygote!.addressSpace.placeVdso(this.vdso.image);
  }

  createHome(procs: readonly number[]): Home | number {
    return opened(new SystrapHome(this, procs), this.homes);
  }

  createAddressSpace(home: Home): Context | number {
    const at = home as SystrapHome;
    if (at.destroyed) return -ESRCH;
    // Those that have died are not given out any more.
    if (childrenPending() !== 0) this.reap();
    const made = at.newStub();
    if (typeof made === "number") return made === -ESRCH ? -EAGAIN : made;
    at.spaces.add(made.addressSpace);
    this.wanting.add(at);
    this.activate(made);
    return made;
  }
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
    if (this.quiet) {
      this.wakeUp(timeoutNs);
      return null;
    }
    this.slow.takeUp();
    if (this.gone.length > 0) {
      // A task that waits for its stub hears of its end by itself.
      const at = this.gone.findIndex((ctx) => !ctx.addressSpace.busy);
      if (at >= 0) {
        const dead = this.gone.splice(at, 1)[0]!;
        dead.stop = STOP_GONE;
        return dead;
      }
    }
    let at = this.look(this.wanting.size > 0 ? 0 : timeoutNs);
    if (at < 0 && timeoutNs !== 0 && this.wanting.size > 0) {
      for (const home of this.wanting) {
        this.wanting.delete(home);
        home.beginSpare();
      }
      at = this.look(timeoutNs);
    }
    if (at < 0) return null;
    const ctx = this.found(at);
    if (ctx === null) return null;
    const { home } = ctx.addressSpace;
    if (ctx.deferred !== 0) {
      ctx.resumeDeferred();
      return null;
    }
    if (home.paused) {
      home.stopped.push(ctx);
      return null;
    }
    if (this.slow.postpone(ctx)) return null;
    if (ctx.kept) ctx.report();
    else ctx.takeStop();
    return ctx;
  }

  /** Whoever is at its mailbox there; null: nothing that anybody need hear of. */
  private found(at: number): SystrapContext | null {
    // Behind it: what was found comes back at the end of the list, and must not be found again before the others.
    this.scanStart = at + 1;
    const ctx = this.contexts[this.active[at]!]!;
    this.deactivate(ctx);
    const { home } = ctx.addressSpace;
    if (home.zygote === ctx) home.endSpare();
    else if (ctx.owes) ctx.owes = false;
    else if (ctx.dismissed) ctx.sendOff();
    else return ctx;
    return null;
  }

  // Standing still.

  /** Every context is stopped, and none is reported. */
  quiet = false;

  quiesce(): number {
    if (this.quiet) return 0;
    if (this.slow.busy) return -EBUSY;
    if (childrenPending() !== 0) this.reap();
    this.slow.takeUp();
    this.slow.quietNs = 0;
    this.quiet = true;
    for (const home of this.homes) for (const ctx of home.stopped.splice(0)) this.lookAgain(ctx);
    const awaited: SystrapContext[] = [];
    for (let i = 0; i < this.activeCount; i++) {
      const ctx = this.contexts[this.active[i]!]!;
      if (ctx.addressSpace.home.zygote !== ctx && !ctx.dismissed && !ctx.addressSpace.condemned) awaited.push(ctx);
    }
    // All are asked, then all are waited for.
    for (const ctx of awaited) if (!ctx.atMailbox()) ctx.callIn();
    // Whom a pause has stopped has the signal before its next instruction.
    for (const home of this.homes) for (const space of home.spaces) space.thaw();
    // On a busy host each that comes is a sign that others will.
    const last = clockMonotonicNs() + STOP_PARTS * this.stopMax;
    let end = clockMonotonicNs() + this.stopMax;
    for (const ctx of awaited) {
      const space = ctx.addressSpace;
      if (space.condemned) continue;
      const left = Math.max(STOP_LEAST_NS, Math.min(end, last) - clockMonotonicNs());
      const waited = waitForCommands(ctx.window.address, space.hostPid, left);
      if (waited < 0) {
        space.condemn(waited === -ESRCH ? "its process has ended" : "a thread of it does not stop");
        continue;
      }
      end = clockMonotonicNs() + this.stopMax;
      this.deactivate(ctx);
      ctx.keep();
    }
    // Output of calls is in guest memory.
    for (const space of this.spaces.values()) for (const ctx of space.contexts) ctx?.flushOuts();
    return 0;
  }

  states(contexts: readonly Context[]): (ContextState | number)[] {
    // Asked first, since each has to be woken.
    const all = contexts as readonly SystrapContext[];
    const ordered = all.map((ctx) => ctx.orderState());
    return all.map((ctx, i) => (ordered[i]! < 0 ? ordered[i]! : ctx.takeState()));
  }

  unquiesce(): void {
    if (!this.quiet) return;
    this.quiet = false;
    for (const home of this.homes) if (home.paused) for (const space of home.spaces) space.freeze();
    for (const ctx of this.contexts) if (ctx?.kept) this.lookAgain(ctx);
  }

  /** What `wait` does meanwhile: waits for the host's descriptors alone. */
  private wakeUp(timeoutNs: number): void {
    const at = this.look(timeoutNs);
    const ctx = at < 0 ? null : this.found(at);
    ctx?.keep();
  }

  cpuFeatures(): CpuFeatures {
    return cpuFeatures();
  }

  /** It has stopped, and was not reported: now it may be. */
  lookAgain(ctx: SystrapContext): void {
    if (this.has(ctx) && !ctx.addressSpace.dead) this.activate(ctx);
  }
  has(ctx: SystrapContext): boolean {
    return this.contexts[ctx.window.index] === ctx;
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
    while (reapChild(out) === 1) {
      const space = this.spaces.get(out[0]!);
      this.snapshots.get(out[0]!)?.reaped();
      this.snapshots.delete(out[0]!);
      if (space === undefined) continue;
      this.spaces.delete(out[0]!);
      space.dead = true;
      space.condemned = true;
      if (space.home.lost(space)) continue;
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
    if (!this.has(ctx)) return;
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
  /** A new process that the stub `parent` says to have forked: its pid; -EAGAIN, it has died; null, it is not. */
  acceptPid(pid: number, parent: number): number | null {
    const adopted = this.spaces.has(pid) || this.snapshots.has(pid) ? 0 : adoptChild(pid, parent);
    return adopted === 1 ? pid : adopted < 0 ? -EAGAIN : null;
  }

  abandon(): void {
    this.slow.abandon();
  }

  shutdown(): void {
    for (const space of this.spaces.values()) killProcess(-space.hostPid, SIGKILL);
    const out = new Int32Array(2);
    for (const [pid, snapshot] of this.snapshots) {
      snapshot.destroy();
      waitChild(pid, 0, out);
    }
    this.snapshots.clear();
    for (const [pid, space] of this.spaces) {
      waitChild(pid, 0, out);
      space.dead = true;
    }
    this.spaces.clear();
    for (const home of this.homes) home.destroy();
  }
}
