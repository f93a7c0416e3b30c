/**
 * Slices: how a call whose work grows with a number from the guest leaves the others their turns.
 *
 * The kernel is one thread, so a handler that copies a gibibyte stops everybody. A handler with such a loop counts on a
 * slice of time and gives way when it is over, with its progress as plain data in `task.restart`:
 *
 *   const slice = new Slice(task.kernel);
 *   for (let moved = task.restart?.moved ?? 0; moved < count; moved += step(moved)) {
 *     if (!slice.over) continue;
 *     task.progress().moved = moved;
 *     const result = task.giveWay();
 *     return result === BLOCKED ? result : moved;   // Not BLOCKED: the task is to die.
 *   }
 *
 * Such calls wait in `Kernel.longCalls`, apart from those that were woken: one of them has a slice whenever no guest
 * waits to be served, or some tens were. So calls that take microseconds wait for one slice at most, however many long
 * ones there are. Slices of ends (`Kernel.endings`) and theirs take turns. Nothing between two looks at `over` may take
 * more than some tens of microseconds.
 */
import type { Kernel } from "./kernel.ts";
import { perCall } from "./state/registry.ts";

/** How long one slice lasts. A few times what it costs to leave a call and come back to it. */
const SLICE_NS = 2e6;

export class Slice {
  private readonly end: number;
  constructor(private readonly kernel: Kernel) {
    this.end = kernel.now() + SLICE_NS;
  }
  private begun = false;
  /** Not at the first look: a slice does something, however late it comes to it, so that no call starves. */
  get over(): boolean {
    if (!this.begun) {
      this.begun = true;
      return false;
    }
    return this.kernel.now() >= this.end;
  }
}

/** Work that no call waits for, done in slices when no guest waits to be served (Kernel.chores). */
export interface Chore {
  /** Goes on for a slice; true when it is done. */
  step(slice: Slice): boolean;
}

perCall(Slice);
