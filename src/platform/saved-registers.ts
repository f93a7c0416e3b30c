/** Register files of saved contexts: how one is taken whole, and what of one from an image a context may take on. */
import { EINVAL } from "../kernel/abi/errno.ts";
import { type Context, REG, REG_COUNT } from "./platform.ts";

/** What a signal handler's return may set of the flags, as Linux has it: AC, OF, DF, TF, SF, ZF, AF, PF, CF and RF. */
const FLAGS = 0x50dd5;
/** The bit that is always set, and interrupts, which user code never has off. */
const FLAGS_FIXED = 0x202;
const CODE = 0x33;
/** Of 32-bit code. */
const CODE32 = 0x23;
const STACK = 0x2b;
/** Segment bases lie below: the end of what user code can reach. */
const MAX_HOST_ADDRESS = 0x7ffffffff000;

/** A copy of a stopped context's registers with its segment bases, which `regs` need not have. */
export function withBases(ctx: Context): Uint32Array {
  const regs = ctx.regs.slice();
  put(regs, REG.fsBase, ctx.getFsBase());
  put(regs, REG.gsBase, ctx.getGsBase());
  return regs;
}

/** A copy of saved registers with what no program could have set taken out; -EINVAL for what cannot be set right. */
export function adoptable(saved: Uint32Array): Uint32Array | number {
  if (saved.length !== REG_COUNT * 2) return -EINVAL;
  const regs = saved.slice();
  for (const base of [REG.fsBase, REG.gsBase]) if (read(regs, base) >= MAX_HOST_ADDRESS) return -EINVAL;
  put(regs, REG.cs, read(regs, REG.cs) === CODE32 ? CODE32 : CODE);
  put(regs, REG.ss, STACK);
  put(regs, REG.eflags, (regs[REG.eflags * 2]! & FLAGS) | FLAGS_FIXED);
  for (const segment of [REG.ds, REG.es, REG.fs, REG.gs]) {
    const selector = read(regs, segment);
    // Those of user code, or none.
    put(regs, segment, selector <= 0xffff && (selector & 3) === 3 ? selector : 0);
  }
  return regs;
}

function read(regs: Uint32Array, reg: number): number {
  return regs[reg * 2]! + regs[reg * 2 + 1]! * 4294967296;
}
function put(regs: Uint32Array, reg: number, value: number): void {
  regs[reg * 2] = value >>> 0;
  regs[reg * 2 + 1] = Math.floor(value / 4294967296) >>> 0;
}
