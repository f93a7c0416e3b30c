/** The numbers of pseudo terminals: /dev/pts/N. Source: pty(7). Bounded: kernel.pty.max. */
import { ENOSPC } from "../abi/errno.ts";
import type { Tty } from "./tty.ts";

/** As Linux' kernel.pty.max. */
export const PTY_MAX = 4096;

export class PtyTable {
  private readonly slots: (Tty | undefined)[] = [];
  count = 0;
  /** Changes with every terminal that comes or goes, for directory times. */
  changes = 0;

  /** Gives a terminal the lowest free number; -ENOSPC. */
  add(tty: Tty): number {
    let index = 0;
    while (this.slots[index] !== undefined) index++;
    if (index >= PTY_MAX) return -ENOSPC;
    this.slots[index] = tty;
    this.count++;
    this.changes++;
    return index;
  }
  get(index: number): Tty | undefined {
    return this.slots[index];
  }
  remove(index: number): void {
    if (this.slots[index] === undefined) return;
    this.slots[index] = undefined;
    this.count--;
    this.changes++;
  }
  *entries(from = 0): Generator<[number, Tty]> {
    for (let i = from; i < this.slots.length; i++) {
      const tty = this.slots[i];
      if (tty !== undefined) yield [i, tty];
    }
  }
}
