/** The home of a container's address spaces on ptrace: an empty stub process in its cgroups, that is only ever forked. */
import { EAGAIN, ESRCH } from "../../kernel/abi/errno.ts";
import { StubHome } from "../home.ts";
import type { PtraceContext } from "./context.ts";
import { FORK_FLAGS } from "./layout.ts";
import type { PtracePlatform } from "./ptrace.ts";
import type { PtraceSpace } from "./space.ts";

export class PtraceHome extends StubHome<PtraceSpace> {
  /** An empty stub process that is only ever forked. */
  zygote: PtraceContext | null = null;
  /** Threads that have stopped while it is paused, to be reported afterwards. */
  readonly stopped: PtraceContext[] = [];
  /** Threads that are to run afterwards. */
  readonly resumed: PtraceContext[] = [];

  constructor(
    private readonly platform: PtracePlatform,
    procs: readonly number[],
  ) {
    super(procs);
  }

  /** An empty stub. -errno when there is none to be had. */
  newStub(): PtraceContext | number {
    let made = this.fork();
    if (made === -ESRCH) {
      const replaced = this.newZygote();
      made = replaced < 0 ? replaced : this.fork();
    }
    return made;
  }
  /** Has the zygote fork, for `whose`. -ESRCH: there is no zygote any more. */
  private fork(whose: PtraceHome = this): PtraceContext | number {
    const { zygote } = this;
    if (zygote === null) return -ESRCH;
    if (this.platform.full) return -EAGAIN;
    const pid = zygote.call("clone", FORK_FLAGS, 0, 0, 0, 0);
    if (pid !== -ESRCH) return pid < 0 ? pid : zygote.addressSpace.takeFork(zygote, pid, whose);
    // Its end will be reported, and concerns nobody.
    zygote.addressSpace.destroy();
    this.zygote = null;
    return -ESRCH;
  }
  /** The first zygote, or one in place of one that has died: made by another home's, and moved. 0 or -errno. */
  newZygote(): number {
    for (const other of this.platform.homes) {
      if (other === this || !this.canTakeFrom(other)) continue;
      const made = other.fork(this);
      if (made === -ESRCH) continue;
      if (typeof made === "number") return made;
      const placed = this.place(made.addressSpace.hostPid);
      if (placed === 0) this.zygote = made;
      else made.addressSpace.destroy();
      return placed;
    }
    return -EAGAIN;
  }

  pause(): void {
    this.paused = true;
    for (const ctx of this.platform.ready.filter((each) => each.addressSpace.home === this)) ctx.list(this.stopped);
    this.interrupt();
  }
  /** A stop signal would be one of the guest's: its threads are interrupted, and kept. */
  interrupt(): void {
    for (const space of this.spaces) for (const ctx of space.contexts) ctx.interrupt();
  }
  resume(): void {
    this.paused = false;
    this.release();
  }
  /** What was kept is reported, what was to run runs. */
  release(): void {
    for (const ctx of this.stopped.splice(0)) ctx.list(this.platform.ready);
    for (const ctx of this.resumed.splice(0)) {
      ctx.listed = null;
      ctx.resumeWithRegisters();
    }
  }

  destroy(): void {
    if (this.destroyed) return;
    for (const space of this.spaces) space.kill("its container is gone");
    if (this === this.platform.ownHome) return;
    this.destroyed = true;
    this.platform.homes.delete(this);
    this.zygote?.addressSpace.destroy();
    this.zygote = null;
    this.closeFiles();
  }
}
