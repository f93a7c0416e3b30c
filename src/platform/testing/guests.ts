/** Guests of tests of platforms: pieces of machine code, and the hands that a kernel would have on them. */
import { type AddressSpace, type Context, REG } from "../platform.ts";

export const CODE = 0x400000;
export const DATA = 0x600000;
export const PAGE = 4096;
export const READ = 1;
export const WRITE = 2;
export const EXEC = 4;

// Machine code.
const bytes32 = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24];
export const MOV_EAX = (n: number): number[] => [0xb8, ...bytes32(n)];
export const SYSCALL = [0x0f, 0x05];
export const CALL = (nr: number): number[] => [...MOV_EAX(nr), ...SYSCALL];
export const MOV_RDI_RAX = [0x48, 0x89, 0xc7];
export const LOOP = [0xeb, 0xfe];
export const EXIT = CALL(60);
/** lock incl (%rbx), for ever. */
export const COUNT = [0xf0, 0xff, 0x03, 0xeb, 0xfb];

export function made<T extends object>(result: T | number): T {
  if (typeof result === "number") throw new Error(`not made: ${result}`);
  return result;
}
export function set(ctx: Context, reg: number, value: number): void {
  ctx.regs[reg * 2] = value >>> 0;
  ctx.regs[reg * 2 + 1] = Math.floor(value / 4294967296);
}
export function get(ctx: Context, reg: number): number {
  return ctx.regs[reg * 2]! + ctx.regs[reg * 2 + 1]! * 4294967296;
}
export function start(ctx: Context, rip: number): void {
  ctx.regs.fill(0);
  set(ctx, REG.rip, rip);
  set(ctx, REG.eflags, 0x200);
}
export function bytesAt(space: AddressSpace, addr: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  const n = space.read(addr, bytes, 0, length);
  if (n !== length) throw new Error(`read ${n} of ${length} bytes at 0x${addr.toString(16)}`);
  return bytes;
}
