/**
 * Commands that take long: others are served within the call that waits, and who cannot be honest is killed. Commands are
 * answered in microseconds by honest stubs that get a processor.
 */
import { ESRCH, ETIMEDOUT } from "../../kernel/abi/errno.ts";
import { clockMonotonicNs } from "../../native/host.ts";
import { waitForCommands } from "../../native/systrap.ts";
import type { SystrapContext } from "./context.ts";
import type { SystrapHome } from "./home.ts";
import { ThreadWatch } from "./host-thread.ts";
import type { SystrapPlatform } from "./systrap.ts";

/** How long the kernel waits for a command with nothing else to do: most take microseconds. Then others have their turn. */
export const PATIENCE_NS = 2e6;
/** A stub that does not carry out commands for this long is killed, whatever it does meanwhile. */
export const ANSWER_MAX_NS = 10e9;
/** How often a stub that owes an answer is looked at. */
const LOOK_EVERY_NS = 5e6;
/** Others wait this long at most for a later command when an earlier one has been answered. */
const UNWIND_NS = 2e7;
/**
 * Calls half done lie on one stack, and end in its order: it stays low. Beyond so many the last one is waited for alone, and
 * for so long.
 */
const OUTSTANDING_MAX = 32;
const GIVE_UP_NS = 5e8;
/**
 * While the platform stands still nobody is served: all commands of that time together may take so long, and then each this
 * long.
 */
const QUIET_MAX_NS = 10e9;
const QUIET_EACH_NS = 1e8;
/** Who was late so recently is not served within other calls: whoever is late each time would pile up on them. */
const LATE_NS = 1e9;

/** A command that takes long. */
interface Owed {
  readonly ctx: SystrapContext;
  /** CLOCK_MONOTONIC, ns. */
  begin: number;
  readonly watch: ThreadWatch;
}

export class SlowCommands {
  /** Innermost last. */
  private readonly owed: Owed[] = [];
  /** Stopped, and not to be served before no call is half done. */
  private readonly postponed: SystrapContext[] = [];

  constructor(private readonly platform: SystrapPlatform) {}

  /**
   * A stub takes longer than the kernel waits over a command: serves others until it has answered. False: it is not going to,
   * and has been killed. May be entered again from within, by a task that is served meanwhile.
   */
  outlast(ctx: SystrapContext): boolean {
    const { platform } = this;
    const space = ctx.addressSpace;
    const begin = clockMonotonicNs();
    if (platform.quiet) return this.outlastQuietly(ctx, begin);
    const { executor, busy } = space;
    // Its other threads do not get ahead of a call that has been half done.
    const held: SystrapContext[] = [];
    for (const other of space.contexts)
      if (other && other !== ctx && other.activeAt >= 0 && !other.owes) {
        platform.deactivate(other);
        other.held = true;
        held.push(other);
      }
    ctx.owes = true;
    space.busy = true;
    const owed: Owed = { ctx, begin, watch: new ThreadWatch(space.hostPid, ctx.tid) };
    this.owed.push(owed);
    // A thread that has just been made is waited for anyway.
    const listed = ctx.activeAt >= 0;
    platform.activate(ctx);
    let looked = begin;
    while (ctx.owes && !space.condemned) {
      const now = clockMonotonicNs();
      if (now - looked >= LOOK_EVERY_NS) {
        looked = now;
        this.judge(now);
        continue;
      }
      // Whoever has been answered can go on only when we have: then no new work, for a while.
      const unwinding = now - begin < UNWIND_NS && this.owed.some((outer) => outer !== owed && !outer.ctx.owes);
      if (platform.serveOthers === null || unwinding || (this.owed.length > OUTSTANDING_MAX && !space.home.paused)) {
        const waited = waitForCommands(ctx.window.address, space.hostPid, PATIENCE_NS);
        if (waited === 0) ctx.owes = false;
        else if (waited === -ESRCH) space.condemn("its process has ended");
      } else platform.serveOthers(LOOK_EVERY_NS);
    }
    this.owed.splice(this.owed.indexOf(owed), 1);
    space.lateAt = clockMonotonicNs();
    if (listed && platform.has(ctx) && !space.condemned) platform.activate(ctx);
    else platform.deactivate(ctx);
    const answered = !ctx.owes;
    ctx.owes = false;
    space.busy = busy;
    space.executor = executor;
    for (const other of held) {
      other.held = false;
      if (!space.condemned && space.contexts[other.slot] === other) platform.activate(other);
    }
    return answered && !space.condemned;
  }

  /** The same while nobody else may be served. */
  private outlastQuietly(ctx: SystrapContext, begin: number): boolean {
    const { addressSpace: space } = ctx;
    const watch = new ThreadWatch(space.hostPid, ctx.tid);
    const end = begin + Math.max(QUIET_EACH_NS, QUIET_MAX_NS - this.quietNs);
    let waited = -ETIMEDOUT;
    let why: string | null = null;
    while (waited === -ETIMEDOUT && why === null && clockMonotonicNs() < end) {
      waited = waitForCommands(ctx.window.address, space.hostPid, LOOK_EVERY_NS);
      if (waited === -ETIMEDOUT) why = watch.verdict();
    }
    const took = clockMonotonicNs() - begin;
    this.quietNs += took;
    if (waited === 0) return true;
    if (waited === -ESRCH) space.condemn("its process has ended");
    else space.condemn(why !== null ? `it does not answer: ${why}` : `no answer for ${(took / 1e9).toFixed(1)} s`);
    return false;
  }
  /** What commands have taken since the platform has stood still, beyond its patience. */
  quietNs = 0;

  /** Gives up those that cannot be honest, or take too long. */
  private judge(now: number): void {
    const { platform } = this;
    const crowded = this.owed.length > OUTSTANDING_MAX;
    for (const { ctx, begin, watch } of this.owed) {
      if (ctx.owes && ctx.atMailbox()) {
        ctx.owes = false;
        // Its call goes on when those within it are over: until then its answer must not be taken for a stop.
        platform.deactivate(ctx);
      }
      if (!ctx.owes || ctx.addressSpace.condemned) continue;
      // It cannot answer before it is resumed, which somebody who is served meanwhile will do.
      if (ctx.addressSpace.home.paused && platform.serveOthers !== null) continue;
      const why = watch.verdict();
      if (why !== null) ctx.addressSpace.condemn(`it does not answer: ${why}`);
      else if (now - begin >= (crowded ? GIVE_UP_NS : ANSWER_MAX_NS))
        ctx.addressSpace.condemn(`no answer for ${((now - begin) / 1e9).toFixed(1)} s`);
    }
  }

  /** A stop that is not reported before no call is half done: of a process that was late just now. */
  postpone(ctx: SystrapContext): boolean {
    if (this.owed.length === 0 || ctx.addressSpace.lateAt <= clockMonotonicNs() - LATE_NS) return false;
    this.postponed.push(ctx);
    return true;
  }
  /** No call is half done any more? Then what was put off may be reported. */
  takeUp(): void {
    if (this.postponed.length > 0 && this.owed.length === 0)
      for (const ctx of this.postponed.splice(0)) this.platform.lookAgain(ctx);
  }

  /** Is a call half done? */
  get busy(): boolean {
    return this.owed.length > 0;
  }

  /** Gives up every command that is waited for. */
  abandon(): void {
    for (const { ctx } of this.owed) ctx.addressSpace.condemn("the sandbox ends");
  }

  /** A home's stubs could not answer while it was paused. */
  resumed(home: SystrapHome): void {
    const now = clockMonotonicNs();
    for (const owed of this.owed) if (owed.ctx.addressSpace.home === home) owed.begin = now;
  }
}
