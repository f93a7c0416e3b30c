/** The value of a setsockopt(2) call: guest memory, read only as far as an option needs it. */
import type { Mm } from "../mm/mm.ts";
import { perCall } from "../state/registry.ts";

export class OptionValue {
  constructor(
    private readonly mm: Mm,
    private readonly addr: number,
    readonly length: number,
  ) {}

  /** The first four bytes as an int; null: EFAULT. The caller has checked `length`. */
  int(): number | null {
    const view = this.mm.readStruct(this.addr, 4);
    return view === null ? null : view.getInt32(0, true);
  }

  /** The first `count` bytes; null: EFAULT. */
  bytes(count: number): Uint8Array | null {
    const bytes = new Uint8Array(count);
    return this.mm.readBytes(this.addr, bytes) < 0 ? null : bytes;
  }
}

perCall(OptionValue);
