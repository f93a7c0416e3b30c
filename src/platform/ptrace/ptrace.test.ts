/** The ptrace platform alone, with and without the seccomp filter, and what a hostile guest might try on it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeFd, ftruncate, memfdCreate, pwrite } from "../../native/host.ts";
import { HostPoller } from "../../native/poller.ts";
import { checkpointConformance } from "../checkpoint-conformance.ts";
import { platformConformance } from "../conformance.ts";
import { type Context, REG, STOP_FAULT, STOP_SYSCALL } from "../platform.ts";
import { nextStop } from "../testing/stops.ts";
import { PtracePlatform } from "./ptrace.ts";

for (const withoutFilter of [false, true])
  platformConformance(
    withoutFilter ? "ptrace without seccomp" : "ptrace",
    (pollerFd) => new PtracePlatform({ pollerFd, withoutFilter }),
    { deaf: true },
  );

for (const withoutFilter of [false, true])
  checkpointConformance(
    withoutFilter ? "ptrace without seccomp" : "ptrace",
    (pollerFd) => new PtracePlatform({ pollerFd, withoutFilter }),
  );

const STUB = 0x7fe000000000;
const DATA = 0x600000;
const PAGE = 4096;

describe("a hostile guest on ptrace", () => {
  const poller = new HostPoller();
  let platform: PtracePlatform;
  beforeAll(() => {
    platform = new PtracePlatform({ pollerFd: poller.fd });
  });
  afterAll(() => {
    platform.shutdown();
    poller.close();
  });
  const next = (): Context => nextStop(platform);
  function guest(): Context {
    const ctx = platform.createAddressSpace(platform.ownHome);
    if (typeof ctx === "number") throw new Error(`no context: ${ctx}`);
    next();
    ctx.addressSpace.executor = ctx;
    ctx.regs.fill(0);
    return ctx;
  }
  function set(ctx: Context, reg: number, value: number): void {
    ctx.regs[reg * 2] = value >>> 0;
    ctx.regs[reg * 2 + 1] = Math.floor(value / 4294967296);
  }
  /** Addresses of the `syscall` instructions in the stub. */
  function syscallInstructions(ctx: Context): number[] {
    const found: number[] = [];
    const page = new Uint8Array(PAGE);
    for (let at = STUB; at < STUB + 4 * PAGE; at += PAGE)
      if (ctx.addressSpace.read(at, page, 0, PAGE) === PAGE)
        for (let i = 0; i + 1 < PAGE; i++) if (page[i] === 0x0f && page[i + 1] === 0x05) found.push(at + i);
    return found;
  }

  test("the second fence stands here", () => expect(platform.filtered).toBe(true));

  test("jumping to the stub's own system calls is a system call like any other", () => {
    const places = syscallInstructions(guest());
    expect(places.length).toBeGreaterThan(3);
    for (const at of places) {
      const ctx = guest();
      set(ctx, REG.rip, at);
      // exit_group: were it done, the process would be gone.
      set(ctx, REG.rax, 231);
      ctx.resumeWithRegisters();
      expect(next() === ctx).toBe(true);
      expect([ctx.stop, ctx.regs[REG.origRax * 2]]).toEqual([STOP_SYSCALL, 231]);
      ctx.addressSpace.destroy();
    }
  });

  test("a guest that runs into the end of a cell gets a breakpoint, and is still in hand", () => {
    const ctx = guest();
    set(ctx, REG.rip, syscallInstructions(ctx)[1]!);
    set(ctx, REG.rax, 39);
    ctx.resumeWithRegisters();
    next();
    ctx.resumeWithResult(0);
    expect(next() === ctx).toBe(true);
    expect([ctx.stop, ctx.fault.signo]).toEqual([STOP_FAULT, 5]);
    expect(ctx.addressSpace.map(DATA, PAGE, 3, false, null, 0)).toBe(0);
    ctx.addressSpace.destroy();
  });

  test("spoiling the scratch area spoils nothing but the guest's own mappings", () => {
    const fd = memfdCreate(Buffer.from("hostile\0"), 1);
    ftruncate(fd, PAGE);
    pwrite(fd, Uint8Array.of(99), 1, 0);
    for (const [length, fill] of [
      [PAGE, 0xff],
      [PAGE, 0],
      [24, 0x41],
      [120, 0x10],
    ] as const) {
      const ctx = guest();
      const space = ctx.addressSpace;
      expect(space.write(platform.scratch, new Uint8Array(length).fill(fill), 0, length)).toBe(length);
      const mapped = space.map(DATA, PAGE, 1, true, { fd, readFd: fd }, 0);
      if (mapped === 0) {
        const seen = new Uint8Array(1);
        space.read(DATA, seen, 0, 1);
        expect(seen[0]).toBe(99);
      } else expect(mapped).toBeLessThan(0);
      // A fault on a spoilt signal stack is still a fault.
      set(ctx, REG.rip, 0x1000);
      ctx.resumeWithRegisters();
      expect(next() === ctx).toBe(true);
      expect([ctx.stop, ctx.fault.signo, ctx.fault.addr]).toEqual([STOP_FAULT, 11, 0x1000]);
      // Nobody else gets what this one did not take.
      const other = guest();
      const own = memfdCreate(Buffer.from("other\0"), 1);
      ftruncate(own, PAGE);
      pwrite(own, Uint8Array.of(7), 1, 0);
      expect(other.addressSpace.map(DATA, PAGE, 1, true, { fd: own, readFd: own }, 0)).toBe(0);
      const seen = new Uint8Array(1);
      other.addressSpace.read(DATA, seen, 0, 1);
      expect(seen[0]).toBe(7);
      closeFd(own);
      other.addressSpace.destroy();
      space.destroy();
    }
    closeFd(fd);
  });
});
