/** The numbers of pseudo terminals: /dev/pts/N. Source: pty(7). Bounded: kernel.pty.max. */
import { ENOSPC } from "../abi/errno.ts";
import { persistent } from "../state/registry.ts";
import type { Tty } from "./tty.ts";

/** As Linux' kernel.pty.max. */
export const PTY_MAX = 4096;

export class PtyTable {
  private readonly slots: (Tty | undefined)[] = [];
  count = 0;

  /** Makes a terminal with the lowest free number; -ENOSPC. */
  add<T extends Tty>(make: (index: number) => T): T | number {
    let index = 0;
    while (this.slots[index] !== undefined) index++;
    if (index >= PTY_MAX) return -ENOSPC;
    const tty = make(index);
    this.slots[index] = tty;
    this.count++;
    return tty;
  }
  get(index: number): Tty | undefined {
    return this.slots[index];
  }
  remove(index: number): void {
    if (this.slots[index] === undefined) return;
    this.slots[index] = undefined;
    this.count--;
  }
  *entries(from = 0): Generator<[number, Tty]> {
    for (let i = from; i < this.slots.length; i++) {
      const tty = this.slots[i];
      if (tty !== undefined) yield [i, tty];
    }
  }
}

persistent("pty-table", PtyTable);
