/** Views of a mailbox slot, through which the kernel speaks to one thread of a stub. */
import { memoryAt } from "../../native/library.ts";
import * as M from "./mailbox.ts";

/** One window's views, made once and used for slot after slot. */
export class Window {
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u8: Uint8Array;
  readonly regs: Uint32Array;
  constructor(
    readonly index: number,
    readonly address: number,
  ) {
    const memory = memoryAt(address, M.SLOT_SIZE);
    this.u32 = new Uint32Array(memory);
    this.i32 = new Int32Array(memory);
    this.u8 = new Uint8Array(memory);
    this.regs = new Uint32Array(memory, M.W_REGS * 4, 54);
  }
}

/** Writes a number as a u64 into two words. */
export function put(u32: Uint32Array, at: number, value: number): void {
  u32[at] = value >>> 0;
  u32[at + 1] = Math.floor(value / 4294967296) >>> 0;
}
