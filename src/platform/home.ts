/** What the homes of every platform share: see Home in platform.ts. */
import { closeFd, writeFd } from "../native/host.ts";
import type { Home } from "./platform.ts";

/** Adds a home to those that there are and makes its first stub: the home, or -errno and it is gone. */
export function opened<H extends { newZygote(): number; destroy(): void }>(home: H, homes: Set<H>): H | number {
  homes.add(home);
  const made = home.newZygote();
  if (made === 0) return home;
  home.destroy();
  return made;
}

/** `S`: the platform's address spaces. */
export abstract class StubHome<S> implements Home {
  /** Those that have been given out: all but zygote and spare. */
  readonly spaces = new Set<S>();
  paused = false;
  destroyed = false;

  /** `procs`: open cgroup.procs files, one of each hierarchy; none: the sandbox's own cgroups. */
  constructor(readonly procs: readonly number[]) {}

  /** Moves a process into the home's cgroups. 0 or -errno. */
  place(pid: number): number {
    // The number is one of the writer's pid namespace, which is ours: cgroups(7).
    const text = Buffer.from(`${pid}`);
    for (const fd of this.procs) {
      const written = writeFd(fd, text, text.length);
      if (written < 0) return written;
    }
    return 0;
  }
  /** May a process that was born in `other` become one of this home? There is no way back into cgroups without a file of theirs. */
  canTakeFrom(other: StubHome<S>): boolean {
    return this.procs.length > 0 || other.procs.length === 0;
  }
  protected closeFiles(): void {
    for (const fd of this.procs) closeFd(fd);
  }

  abstract pause(): void;
  abstract resume(): void;
  abstract destroy(): void;
}
