/** The platform alone: small pieces of machine code stand in for guests. */
import { afterAll, describe, expect, test } from "bun:test";
import { HostPoller } from "../../native/poller.ts";
import { type Context, REG, STOP_FAULT, STOP_INTERRUPT, STOP_STARTED, STOP_SYSCALL } from "../platform.ts";
import { SystrapPlatform } from "./systrap.ts";

const CODE = 0x400000;
const DATA = 0x600000;
const poller = new HostPoller();
const platform = new SystrapPlatform({ emptyRoot: -1, namespaces: 0, pollerFd: poller.fd });
afterAll(() => platform.shutdown());

function next(): Context {
  for (let i = 0; i < 100; i++) {
    const ctx = platform.wait(100e6);
    if (ctx) return ctx;
  }
  throw new Error("nothing stopped");
}
function set(ctx: Context, reg: number, value: number): void {
  ctx.regs[reg * 2] = value >>> 0;
  ctx.regs[reg * 2 + 1] = Math.floor(value / 4294967296);
}
function get(ctx: Context, reg: number): number {
  return ctx.regs[reg * 2]! + ctx.regs[reg * 2 + 1]! * 4294967296;
}
/** A stopped guest with code and a data page. */
function guest(...code: number[]): Context {
  const ctx = platform.createAddressSpace();
  if (typeof ctx === "number") throw new Error(`createAddressSpace: ${ctx}`);
  expect(next()).toBe(ctx);
  expect(ctx.stop).toBe(STOP_STARTED);
  const space = ctx.addressSpace;
  space.executor = ctx;
  expect(space.map(CODE, 4096, 3, false, null, 0)).toBe(0);
  expect(space.map(DATA, 4096, 3, false, null, 0)).toBe(0);
  expect(space.write(CODE, Uint8Array.from(code), 0, code.length)).toBe(code.length);
  expect(space.protect(CODE, 4096, 5)).toBe(0);
  ctx.regs.fill(0);
  set(ctx, REG.rip, CODE);
  set(ctx, REG.eflags, 0x200);
  return ctx;
}
const MOV_EAX = (n: number) => [0xb8, n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24];
const SYSCALL = [0x0f, 0x05];

describe("systrap", () => {
  test("a system call stops with its number and arguments, and gets its result", () => {
    const ctx = guest(...MOV_EAX(39), ...SYSCALL, 0x48, 0x89, 0xc7, ...MOV_EAX(60), ...SYSCALL);
    ctx.resumeWithRegisters();
    expect(next()).toBe(ctx);
    expect(ctx.stop).toBe(STOP_SYSCALL);
    expect(get(ctx, REG.origRax)).toBe(39);
    ctx.resumeWithResult(123456789012);
    expect(next()).toBe(ctx);
    expect(get(ctx, REG.origRax)).toBe(60);
    expect(get(ctx, REG.rdi)).toBe(123456789012);
    ctx.addressSpace.destroy();
  });

  test("a fault tells signal, code and address", () => {
    // mov (%rax), %rax with rax = 0x1234
    const ctx = guest(...MOV_EAX(0x1234), 0x48, 0x8b, 0x00);
    ctx.resumeWithRegisters();
    expect(next().stop).toBe(STOP_FAULT);
    expect([ctx.fault.signo, ctx.fault.code, ctx.fault.addr, ctx.fault.trapno]).toEqual([11, 1, 0x1234, 14]);
    ctx.addressSpace.destroy();
  });

  test("an endless loop can be interrupted", () => {
    const ctx = guest(0xeb, 0xfe);
    ctx.resumeWithRegisters();
    expect(platform.wait(5e6)).toBe(null);
    ctx.interrupt();
    expect(next().stop).toBe(STOP_INTERRUPT);
    expect(get(ctx, REG.rip)).toBe(CODE);
    ctx.addressSpace.destroy();
  });

  test("a forked address space is a copy of its own", () => {
    const ctx = guest(...MOV_EAX(57), ...SYSCALL, ...MOV_EAX(60), ...SYSCALL);
    ctx.resumeWithRegisters();
    next();
    const space = ctx.addressSpace;
    space.executor = ctx;
    space.write(DATA, Uint8Array.of(1, 2, 3, 4), 0, 4);
    const child = space.fork();
    if (typeof child === "number") throw new Error(`fork: ${child}`);
    expect(get(child, REG.rip)).toBe(get(ctx, REG.rip));
    child.addressSpace.write(DATA, Uint8Array.of(9), 0, 1);
    const seen = new Uint8Array(4);
    space.read(DATA, seen, 0, 4);
    expect([...seen]).toEqual([1, 2, 3, 4]);
    child.addressSpace.read(DATA, seen, 0, 4);
    expect([...seen]).toEqual([9, 2, 3, 4]);
    set(child, REG.rax, 0);
    expect(next()).toBe(child);
    child.resumeWithRegisters();
    expect(next()).toBe(child);
    expect(get(child, REG.origRax)).toBe(60);
    child.addressSpace.destroy();
    space.destroy();
  });

  test("a second thread shares memory; atomics work; it can be ended and its slot used again", () => {
    const ctx = guest(...MOV_EAX(56), ...SYSCALL, ...MOV_EAX(60), ...SYSCALL);
    ctx.resumeWithRegisters();
    next();
    const space = ctx.addressSpace;
    for (let round = 0; round < 20; round++) {
      space.executor = ctx;
      const thread = space.createContext();
      if (typeof thread === "number") throw new Error(`createContext: ${thread}`);
      set(thread, REG.rax, 7);
      expect(next()).toBe(thread);
      thread.resumeWithRegisters();
      expect(next()).toBe(thread);
      expect(get(thread, REG.origRax)).toBe(60);
      space.executor = thread;
      expect(space.fetchOpU32(DATA, 1, 5)).toBe(round * 5);
      thread.destroy();
    }
    space.executor = ctx;
    expect(space.compareExchangeU32(DATA, 100, 1)).toBe(100);
    expect(space.loadU32(DATA)).toBe(1);
    space.destroy();
  });

  test("floating-point state goes to guest memory and back", () => {
    const ctx = guest(...MOV_EAX(39), ...SYSCALL, ...MOV_EAX(60), ...SYSCALL);
    ctx.resumeWithRegisters();
    next();
    ctx.addressSpace.executor = ctx;
    expect(ctx.saveFpState(DATA)).toBe(0);
    const fp = new Uint8Array(ctx.fpStateSize);
    ctx.addressSpace.read(DATA, fp, 0, fp.length);
    expect(new DataView(fp.buffer).getUint16(0, true)).toBe(0x37f);
    expect(new DataView(fp.buffer).getUint32(24, true)).toBe(0x1f80);
    expect(ctx.restoreFpState(DATA)).toBe(0);
    expect(ctx.restoreFpState(0x1000)).toBe(-14);
    ctx.addressSpace.destroy();
  });

  test("a stub killed from outside is reported", () => {
    const ctx = guest(0xeb, 0xfe);
    ctx.resumeWithRegisters();
    process.kill(ctx.addressSpace.hostPid, "SIGKILL");
    expect(next().stop).toBe(5);
  });
});
