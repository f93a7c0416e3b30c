/**
 * The home of a container's address spaces on systrap: an empty stub process that is only ever forked (the zygote), and one
 * that is ready for who comes next (the spare), so that execve after vfork need not wait for one.
 *
 * Both are in the container's cgroups, whose limits hold them up or kill them: who waits for a zygote waits not for long,
 * and gets a stub that was made by another home's and moved.
 */
import { EAGAIN, ESRCH, ETIMEDOUT } from "../../kernel/abi/errno.ts";
import { waitForCommands } from "../../native/systrap.ts";
import { StubHome } from "../home.ts";
import { type Channel, closeChannel } from "./channel.ts";
import type { SystrapContext } from "./context.ts";
import { ANSWER_MAX_NS } from "./slow-commands.ts";
import type { SystrapSpace } from "./space.ts";
import type { SystrapPlatform } from "./systrap.ts";

/**
 * How long the kernel waits for the zygote of a container, which may have used up its share of the processors. Our own
 * zygote shares our processors: whatever holds it up holds us up as well.
 */
const ZYGOTE_NS = 5e7;

export class SystrapHome extends StubHome<SystrapSpace> {
  zygote: SystrapContext | null = null;
  /** An empty stub for who comes next. */
  spare: SystrapContext | null = null;
  /** The zygote has been told to fork. */
  private forking: Channel | null = null;
  /** It did not answer in time: not to be waited for again before it has. */
  private slow = false;
  /** Threads that have stopped while it is paused, to be reported afterwards. */
  readonly stopped: SystrapContext[] = [];

  constructor(
    private readonly platform: SystrapPlatform,
    procs: readonly number[],
  ) {
    super(procs);
  }

  /** An empty stub, not looked at. -errno when there is none to be had. */
  newStub(): SystrapContext | number {
    const { spare } = this;
    if (spare !== null) {
      this.spare = null;
      return spare;
    }
    let made = this.fork();
    if (made === -ESRCH && this.zygote === null) {
      const replaced = this.newZygote();
      made = replaced < 0 ? replaced : this.fork();
    }
    return made ?? this.forkElsewhere();
  }
  /** The first zygote, or one in place of those that have died. 0 or -errno. */
  newZygote(): number {
    const made = this.forkElsewhere();
    if (typeof made === "number") return made;
    this.zygote = made;
    return 0;
  }
  /** An empty stub made by the zygote of another home, and moved into the cgroups of this one. */
  private forkElsewhere(): SystrapContext | number {
    for (const other of this.platform.homes) {
      if (other === this || !this.canTakeFrom(other)) continue;
      const made = other.fork(this);
      if (made === null || made === -ESRCH) continue;
      if (typeof made === "number") return made;
      const placed = this.place(made.addressSpace.hostPid);
      if (placed === 0) return made;
      made.addressSpace.destroy();
      return placed;
    }
    return -EAGAIN;
  }
  /** Has the zygote fork, for `whose`. null: it takes long; what it then has made becomes the spare. -ESRCH: there is none. */
  private fork(whose: SystrapHome = this): SystrapContext | number | null {
    const { platform } = this;
    const patience = this === platform.ownHome ? ANSWER_MAX_NS : this.slow ? 0 : ZYGOTE_NS;
    // What was to be the spare goes to another.
    if (this.forking !== null && whose !== this) platform.wanting.add(this);
    for (;;) {
      const ordered = this.orderFork(patience);
      if (ordered !== 0) return ordered;
      const come = this.awaitZygote(patience);
      if (come === 0) return this.takeFork(whose);
      if (come === -ETIMEDOUT) {
        platform.activate(this.zygote!);
        return null;
      }
    }
  }
  /** Tells the zygote to fork, unless it is about to. 0; -errno, -ESRCH without one; null: it does not come to its mailbox. */
  private orderFork(patience: number): number | null {
    while (this.forking === null) {
      const { zygote } = this;
      if (zygote === null) return -ESRCH;
      const come = this.awaitZygote(patience);
      if (come === -ETIMEDOUT) return null;
      if (come < 0) continue;
      zygote.arrived();
      zygote.addressSpace.executor = zygote;
      const channel = zygote.addressSpace.orderFork();
      if (channel === -ESRCH) continue;
      if (typeof channel === "number") return channel;
      this.forking = channel;
    }
    return 0;
  }
  /** Waits until the zygote is at its mailbox. 0, -ETIMEDOUT, or -ESRCH: it has died, and the spare has its place. */
  private awaitZygote(patience: number): number {
    const { window, addressSpace } = this.zygote!;
    const come = addressSpace.condemned ? -ESRCH : waitForCommands(window.address, addressSpace.hostPid, patience);
    this.slow = come === -ETIMEDOUT;
    if (come < 0 && !this.slow) this.loseZygote();
    return come;
  }
  /** The zygote has forked. */
  private takeFork(whose: SystrapHome): SystrapContext | number {
    const { platform } = this;
    const zygote = this.zygote!;
    const channel = this.forking!;
    this.forking = null;
    this.slow = false;
    platform.deactivate(zygote);
    const made = zygote.addressSpace.takeFork(channel, whose);
    if (typeof made === "number") return made;
    platform.deactivate(made);
    return made;
  }

  /** There is nothing else to do: a spare is begun. The zygote's event ends it. */
  beginSpare(): void {
    if (this.spare !== null) return;
    if (this.zygote === null) this.newZygote();
    if (this.orderFork(0) === 0) this.platform.activate(this.zygote!);
  }
  /** The zygote is at its mailbox, and nobody has waited for it. */
  endSpare(): void {
    if (this.forking === null) return;
    const made = this.takeFork(this);
    if (typeof made !== "number") this.spare = made;
  }

  /** A process has ended. Was it zygote or spare, of which nobody need be told? */
  lost(space: SystrapSpace): boolean {
    if (this.zygote?.addressSpace === space) this.loseZygote();
    else if (this.spare?.addressSpace === space) {
      this.spare = null;
      space.destroy();
    } else return false;
    return true;
  }
  /** The zygote has died: the spare has its place. */
  private loseZygote(): void {
    if (this.forking !== null) closeChannel(this.forking);
    this.forking = null;
    this.zygote?.addressSpace.destroy();
    this.zygote = this.spare;
    this.spare = null;
  }

  pause(): void {
    this.paused = true;
    // Who stands still anyway has still to answer: stopped as soon as that is over.
    if (!this.platform.quiet) for (const space of this.spaces) space.freeze();
  }
  resume(): void {
    this.paused = false;
    this.platform.slow.resumed(this);
    for (const space of this.spaces) space.thaw();
    for (const ctx of this.stopped.splice(0)) this.platform.lookAgain(ctx);
  }

  destroy(): void {
    if (this.destroyed) return;
    for (const space of this.spaces) space.kill("its container is gone");
    this.platform.wanting.delete(this);
    if (this === this.platform.ownHome) return;
    this.destroyed = true;
    this.platform.homes.delete(this);
    this.spare?.addressSpace.destroy();
    this.spare = null;
    this.loseZygote();
    this.closeFiles();
  }
}
