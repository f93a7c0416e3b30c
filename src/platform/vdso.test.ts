/**
 * What every platform must do with the vDSO. Images of other hosts are made from the host's own: its functions are
 * moved.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { clockMonotonicNs } from "../native/host.ts";
import { HostPoller } from "../native/poller.ts";
import {
  type AddressSpace,
  type Context,
  type Platform,
  REG,
  STOP_FAULT,
  STOP_INTERRUPT,
  STOP_SYSCALL,
} from "./platform.ts";
import { PtracePlatform } from "./ptrace/ptrace.ts";
import { SystrapPlatform } from "./systrap/systrap.ts";
import { nextStop } from "./testing/stops.ts";
import { leaveVdso, VDSO_BASE, vdsoFunctions, vdsoSize } from "./vdso.ts";

const CODE = 0x400000;
const DATA = 0x600000;
const PAGE = 4096;
const EINVAL = 22;
const READ = 1;
const WRITE = 2;
const EXEC = 4;
const TRAP_FLAG = 0x100;
const CLOCK_MONOTONIC = 1;
const CLOCK_GETTIME = 228;
const GETRANDOM = 318;
const EXIT = 60;
/** call *%rbx; mov %rax, %rdi; mov $60, %eax; syscall */
const CALL_RBX = [0xff, 0xd3, 0x48, 0x89, 0xc7, 0xb8, EXIT, 0, 0, 0, 0x0f, 0x05];
/** mov %r12, %rdi; mov %r13, %rsi; call *%rbx; add $1, %r14; jmp */
const CALL_LOOP = [0x4c, 0x89, 0xe7, 0x4c, 0x89, 0xee, 0xff, 0xd3, 0x49, 0x83, 0xc6, 1, 0xeb, 0xf2];
/** rdi, rsi, rdx. */
const ARGUMENTS: Record<string, number[]> = {
  clock_gettime: [CLOCK_MONOTONIC, DATA, 0],
  clock_getres: [CLOCK_MONOTONIC, DATA, 0],
  gettimeofday: [DATA, 0, 0],
  time: [0, 0, 0],
  getcpu: [DATA, DATA + 8, 0],
  getrandom: [DATA, 8, 0],
};

/**
 * An image with a page more, in which the functions are, `from` there; breakpoints stand in their places. Every entry of
 * the table of symbols that means one of them is changed.
 */
function foreign(own: Uint8Array, from = own.length): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(own.length + PAGE).fill(0xcc);
  image.set(own);
  const view = new DataView(image.buffer);
  const offsets = [...new Set(vdsoFunctions(own)!.map(([, offset]) => offset))];
  for (let at = 0; at + 24 <= own.length; at += 8) {
    const index = offsets.indexOf(view.getUint32(at + 8, true));
    const isFunction = (image[at + 4]! & 15) === 2 && view.getUint32(at + 12, true) === 0;
    if (index < 0 || !isFunction || view.getUint16(at + 6, true) === 0) continue;
    const to = from + index * 64;
    view.setUint32(at + 8, to >>> 0, true);
    view.setUint32(at + 12, Math.floor(to / 4294967296) >>> 0, true);
  }
  return image;
}

function get(ctx: Context, reg: number): number {
  return ctx.regs[reg * 2]! + ctx.regs[reg * 2 + 1]! * 4294967296;
}
function set(ctx: Context, reg: number, value: number): void {
  ctx.regs[reg * 2] = value >>> 0;
  ctx.regs[reg * 2 + 1] = Math.floor(value / 4294967296);
}
function made(ctx: Context | number): Context {
  if (typeof ctx === "number") throw new Error(`errno ${-ctx}`);
  return ctx;
}
function wordAt(space: AddressSpace, addr: number): number {
  const bytes = new DataView(bytesAt(space, addr, 8).buffer);
  return bytes.getUint32(0, true) + bytes.getUint32(4, true) * 4294967296;
}
function bytesAt(space: AddressSpace, addr: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  if (space.read(addr, bytes, 0, length) !== length) throw new Error(`cannot read 0x${addr.toString(16)}`);
  return bytes;
}
/** Lets it run for a moment. */
function interruptSoon(platform: Platform, ctx: Context): Context {
  const early = platform.wait(200_000);
  if (early !== null) return early;
  ctx.interrupt();
  return nextStop(platform);
}
const offsetOf = (image: Uint8Array, wanted: string): number =>
  vdsoFunctions(image)!.find(([name]) => name === wanted)![1];

function vdsoConformance(name: string, makePlatform: (pollerFd: number) => Platform): void {
  describe(`${name}: vDSO`, () => {
    const poller = new HostPoller();
    let platform: Platform;
    beforeAll(() => {
      platform = makePlatform(poller.fd);
    });
    const guests: Context[] = [];
    afterEach(() => {
      for (const { addressSpace } of guests.splice(0)) addressSpace.destroy();
    });
    afterAll(() => {
      platform.shutdown();
      poller.close();
    });

    function guest(): Context {
      const ctx = made(platform.createAddressSpace(platform.ownHome));
      guests.push(ctx);
      if (nextStop(platform) !== ctx) throw new Error("another context stopped first");
      ctx.addressSpace.executor = ctx;
      load(ctx.addressSpace);
      return ctx;
    }
    function load(space: AddressSpace): void {
      expect(space.map(CODE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      expect(space.write(CODE, Uint8Array.from(CALL_RBX), 0, CALL_RBX.length)).toBe(CALL_RBX.length);
      space.flush?.();
      expect(space.protect(CODE, PAGE, READ | EXEC)).toBe(0);
      expect(space.map(DATA, PAGE, READ | WRITE, false, null, 0)).toBe(0);
    }
    function prepare(ctx: Context, address: number, values: readonly number[]): void {
      ctx.regs.fill(0);
      set(ctx, REG.eflags, 0x200);
      set(ctx, REG.rip, CODE);
      set(ctx, REG.rsp, DATA + PAGE - 64);
      set(ctx, REG.rbx, address);
      [REG.rdi, REG.rsi, REG.rdx].forEach((reg, i) => {
        set(ctx, reg, values[i]!);
      });
    }
    function go(ctx: Context): void {
      ctx.resumeWithRegisters();
      arrived(ctx);
    }
    function arrived(ctx: Context): void {
      if (nextStop(platform) !== ctx) throw new Error("another context stopped first");
      ctx.addressSpace.executor = ctx;
    }
    /** Runs it to its end as a kernel would: what it is given for the call, and which calls it made for it. */
    function finish(ctx: Context): { result: number; calls: number[] } {
      const space = ctx.addressSpace;
      const calls: number[] = [];
      go(ctx);
      for (;;) {
        const number = get(ctx, REG.origRax);
        if (ctx.stop !== STOP_SYSCALL) throw new Error(`stop ${ctx.stop}, signal ${ctx.fault.signo}`);
        if (number === EXIT) return { result: get(ctx, REG.rdi), calls };
        calls.push(number);
        if (number === CLOCK_GETTIME) {
          const now = clockMonotonicNs();
          const words = new DataView(new ArrayBuffer(16));
          words.setUint32(0, Math.floor(now / 1e9), true);
          words.setUint32(8, now % 1e9, true);
          space.write(get(ctx, REG.rsi), new Uint8Array(words.buffer), 0, 16);
        }
        ctx.resumeWithResult(0);
        arrived(ctx);
      }
    }
    function call(ctx: Context, address: number, values: readonly number[]): { result: number; calls: number[] } {
      prepare(ctx, address, values);
      return finish(ctx);
    }
    /** Says what CLOCK_MONOTONIC is. */
    function readClock(ctx: Context, address: number): { calls: number[] } {
      const space = ctx.addressSpace;
      const before = clockMonotonicNs();
      const { result, calls } = call(ctx, address, ARGUMENTS["clock_gettime"]!);
      const read = wordAt(space, DATA) * 1e9 + wordAt(space, DATA + 8);
      expect([result, read >= before, read <= clockMonotonicNs()]).toEqual([0, true, true]);
      return { calls };
    }

    test("the image is whole, at the address that it has on every host", () => {
      const ctx = guest();
      const { vdso } = ctx.addressSpace;
      const image = ctx.addressSpace.vdsoImage();
      if (vdso === 0) return expect(image.length).toBe(0);
      expect([vdso, image.length % PAGE, vdsoSize(image)]).toEqual([VDSO_BASE, 0, image.length]);
      expect(Buffer.compare(bytesAt(ctx.addressSpace, vdso, image.length), image)).toBe(0);
      expect(readClock(ctx, vdso + offsetOf(image, "clock_gettime")).calls.length).toBeLessThan(2);
    });

    test("in an image of another host the functions are where it says, and lead to the host's", () => {
      const ctx = guest();
      const space = ctx.addressSpace;
      const own = space.vdsoImage();
      if (own.length === 0) return;
      const ownClock = VDSO_BASE + offsetOf(own, "clock_gettime");
      // Where the host has no clock that can be read so, the host's function makes the call.
      const { calls: usual } = readClock(ctx, ownClock);
      const other = foreign(own);
      const functions = vdsoFunctions(other)!;
      expect(new Set(functions.map(([each]) => each)).size).toBeGreaterThanOrEqual(5);
      expect(space.placeVdso(other)).toBe(0);
      expect([space.vdso, Buffer.compare(space.vdsoImage(), other)]).toEqual([VDSO_BASE, 0]);
      for (const [each, offset] of functions) {
        expect(offset).toBeGreaterThanOrEqual(own.length);
        const { result, calls } = call(ctx, VDSO_BASE + offset, ARGUMENTS[each]!);
        const sec = wordAt(space, DATA);
        if (each === "clock_gettime") expect(readClock(ctx, VDSO_BASE + offset)).toEqual({ calls: usual });
        else if (each === "gettimeofday" && calls.length === 0)
          expect([result, Math.abs(sec - Date.now() / 1000) < 10]).toEqual([0, true]);
        else if (each === "time") expect(Math.abs(result - Date.now() / 1000)).toBeLessThan(10);
        else if (each === "clock_getres") expect([result, sec, wordAt(space, DATA + 8)]).toEqual([0, 0, 1]);
        else if (each === "getcpu") expect([result, calls]).toEqual([0, []]);
        // Its state is in memory that the image has brought: it is no good.
        else if (each === "getrandom") expect(calls).toEqual([GETRANDOM]);
      }
      const otherClock = VDSO_BASE + offsetOf(other, "clock_gettime");

      // A fork has it as well; execve puts the host's back.
      const child = made(space.fork());
      if (nextStop(platform) !== child) throw new Error("another context stopped first");
      const forked = child.addressSpace;
      forked.executor = child;
      expect(Buffer.compare(forked.vdsoImage(), other)).toBe(0);
      expect(readClock(child, otherClock)).toEqual({ calls: usual });
      expect(forked.reset()).toBe(0);
      expect(Buffer.compare(forked.vdsoImage(), own)).toBe(0);
      expect(Buffer.compare(bytesAt(forked, VDSO_BASE, own.length), own)).toBe(0);
      load(forked);
      expect(readClock(child, ownClock)).toEqual({ calls: usual });
      forked.destroy();

      // Back and forth, where it all began.
      space.executor = ctx;
      expect(readClock(ctx, otherClock)).toEqual({ calls: usual });
      space.executor = ctx;
      for (const [image, clock] of [
        [own, ownClock],
        [other, otherClock],
        [foreign(other), VDSO_BASE + offsetOf(foreign(other), "clock_gettime")],
        [other, otherClock],
      ] as const) {
        expect(space.placeVdso(image)).toBe(0);
        expect(readClock(ctx, clock)).toEqual({ calls: usual });
      }
    });

    test("asked for its state, getrandom of a placed image has none", () => {
      const ctx = guest();
      const own = ctx.addressSpace.vdsoImage();
      if (!vdsoFunctions(own)?.some(([each]) => each === "getrandom")) return;
      const other = foreign(own);
      expect(ctx.addressSpace.placeVdso(other)).toBe(0);
      prepare(ctx, VDSO_BASE + offsetOf(other, "getrandom"), [0, 0, 0]);
      ctx.regs.fill(0xffffffff, REG.r8 * 2, REG.r8 * 2 + 2);
      expect(finish(ctx).calls).toEqual([]);
      expect([ctx.regs[REG.rdi * 2]! | 0, ctx.regs[REG.rdi * 2 + 1]! | 0]).toEqual([-38, -1]);
    });

    test("what is no image is refused, and nothing changes", () => {
      const ctx = guest();
      const space = ctx.addressSpace;
      const own = space.vdsoImage();
      const odd: Uint8Array[] = [
        new Uint8Array(PAGE),
        Uint8Array.of(0x7f, 0x45, 0x4c, 0x46),
        new Uint8Array(64 * PAGE),
      ];
      if (own.length > 0) {
        odd.push(own.subarray(0, own.length - 1), foreign(own, 2 ** 31), foreign(own, 2 ** 52));
        // The last function has no room for a jump.
        const many = new Set(vdsoFunctions(own)!.map(([, offset]) => offset)).size;
        odd.push(foreign(own, own.length + PAGE - 4 - 64 * (many - 1)));
      }
      for (const image of odd) expect(space.placeVdso(image)).toBe(-EINVAL);
      expect(space.vdsoImage() === own).toBe(true);
      if (own.length > 0) readClock(ctx, VDSO_BASE + offsetOf(own, "clock_gettime"));
    });

    test("who was inside the vDSO at the save comes out of it with the right time", () => {
      const own = guest().addressSpace.vdsoImage();
      if (own.length === 0) return;
      // The same code in the same place, but not the host's.
      const other = new Uint8Array(own.length + PAGE);
      other.set(own);
      const clock = VDSO_BASE + offsetOf(own, "clock_gettime");
      let tried = 0;
      for (let steps = 1; ; steps++) {
        const ctx = guest();
        prepare(ctx, clock, ARGUMENTS["clock_gettime"]!);
        for (let i = 0; i < steps; i++) {
          set(ctx, REG.eflags, get(ctx, REG.eflags) | TRAP_FLAG);
          go(ctx);
          if (ctx.stop === STOP_SYSCALL) break;
          expect([ctx.stop, ctx.fault.signo, ctx.fault.code]).toEqual([STOP_FAULT, 5, 2]);
        }
        set(ctx, REG.eflags, get(ctx, REG.eflags) & ~TRAP_FLAG);
        const rip = get(ctx, REG.rip);
        // It is back, or in a call, which is none of the old code's affair.
        if (rip < VDSO_BASE || ctx.stop === STOP_SYSCALL) break;
        // Within the jump: see the gap in vdso.ts.
        if (rip === clock || rip >= clock + 5) {
          const asked = clockMonotonicNs();
          expect(ctx.addressSpace.placeVdso(other)).toBe(0);
          expect(finish(ctx).result).toBe(0);
          const read = wordAt(ctx.addressSpace, DATA) * 1e9 + wordAt(ctx.addressSpace, DATA + 8);
          // It may have read the clock before it was stopped, so often as steps were made.
          expect([steps, Math.abs(read - asked) < 30e9]).toEqual([steps, true]);
          tried++;
        }
        ctx.addressSpace.destroy();
        guests.splice(guests.indexOf(ctx), 1);
      }
      expect(tried).toBeGreaterThan(5);
    }, 120_000);
  });

  test(`${name}: who is interrupted inside the vDSO is taken out of it, and goes on`, () => {
    const poller = new HostPoller();
    const platform = makePlatform(poller.fd);
    try {
      const ctx = made(platform.createAddressSpace(platform.ownHome));
      if (nextStop(platform) !== ctx) throw new Error("another context stopped first");
      const space = ctx.addressSpace;
      space.executor = ctx;
      if (space.vdso === 0) return;
      const code = CALL_LOOP;
      expect(space.map(CODE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      expect(space.write(CODE, Uint8Array.from(code), 0, code.length)).toBe(code.length);
      space.flush?.();
      expect(space.protect(CODE, PAGE, READ | EXEC)).toBe(0);
      expect(space.map(DATA, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      const own = space.vdsoImage();
      let seen = 0;
      for (const image of [own, foreign(own)]) {
        expect(space.placeVdso(image)).toBe(0);
        ctx.regs.fill(0);
        set(ctx, REG.eflags, 0x200);
        set(ctx, REG.rip, CODE);
        set(ctx, REG.rsp, DATA + PAGE - 64);
        set(ctx, REG.rbx, VDSO_BASE + offsetOf(image, "clock_gettime"));
        set(ctx, REG.r12, CLOCK_MONOTONIC);
        set(ctx, REG.r13, DATA);
        let rounds = 0;
        for (let i = 0; i < 50; i++) {
          ctx.resumeWithRegisters();
          let stopped = interruptSoon(platform, ctx);
          // Where the host's own function makes a call.
          while (stopped.stop === STOP_SYSCALL) {
            expect(get(ctx, REG.origRax)).toBe(CLOCK_GETTIME);
            ctx.resumeWithResult(0);
            stopped = interruptSoon(platform, ctx);
          }
          space.executor = ctx;
          expect([stopped === ctx, ctx.stop, ctx.fault.signo]).toEqual([true, STOP_INTERRUPT, 0]);
          if (get(ctx, REG.rip) < VDSO_BASE) continue;
          const out = leaveVdso(ctx);
          const rip = get(ctx, REG.rip);
          if (!out) expect([...bytesAt(space, rip, 2)]).toEqual([0x0f, 0x05]);
          else expect([rip, get(ctx, REG.eflags) & TRAP_FLAG, get(ctx, REG.rax)]).toEqual([CODE + 8, 0, 0]);
          if (out) seen++;
          expect(get(ctx, REG.r14)).toBeGreaterThanOrEqual(rounds);
          rounds = get(ctx, REG.r14);
          expect(Math.abs(wordAt(space, DATA) - clockMonotonicNs() / 1e9)).toBeLessThan(20);
        }
        expect(rounds).toBeGreaterThan(10);
      }
      expect(seen).toBeGreaterThan(3);
    } finally {
      platform.shutdown();
      poller.close();
    }
  });

  test(`${name}: while all stand still, those inside the vDSO are taken out of it, and go on afterwards`, () => {
    const poller = new HostPoller();
    const platform = makePlatform(poller.fd);
    try {
      const guests: Context[] = [];
      for (let i = 0; i < 3; i++) {
        const ctx = made(platform.createAddressSpace(platform.ownHome));
        if (nextStop(platform) !== ctx) throw new Error("another context stopped first");
        const space = ctx.addressSpace;
        space.executor = ctx;
        if (space.vdso === 0) return;
        expect(space.map(CODE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
        expect(space.write(CODE, Uint8Array.from(CALL_LOOP), 0, CALL_LOOP.length)).toBe(CALL_LOOP.length);
        space.flush?.();
        expect(space.protect(CODE, PAGE, READ | EXEC)).toBe(0);
        expect(space.map(DATA, PAGE, READ | WRITE, false, null, 0)).toBe(0);
        ctx.regs.fill(0);
        set(ctx, REG.eflags, 0x200);
        set(ctx, REG.rip, CODE);
        set(ctx, REG.rsp, DATA + PAGE - 64);
        set(ctx, REG.rbx, VDSO_BASE + offsetOf(space.vdsoImage(), "clock_getres"));
        set(ctx, REG.r12, CLOCK_MONOTONIC);
        set(ctx, REG.r13, DATA);
        guests.push(ctx);
      }
      for (const ctx of guests) ctx.resumeWithRegisters();
      let out = 0;
      let last = 0;
      for (let round = 0; round < 60; round++) {
        expect(platform.wait(1e6)).toBe(null);
        expect(platform.quiesce()).toBe(0);
        for (const ctx of guests) {
          expect([ctx.stop, ctx.fault.signo]).toEqual([STOP_INTERRUPT, 0]);
          if (get(ctx, REG.rip) < VDSO_BASE) continue;
          expect(leaveVdso(ctx)).toBe(true);
          expect([get(ctx, REG.rip), get(ctx, REG.eflags) & TRAP_FLAG]).toEqual([CODE + 8, 0]);
          out++;
        }
        const progress = guests.reduce((sum, ctx) => sum + get(ctx, REG.r14), 0);
        expect(progress).toBeGreaterThanOrEqual(last);
        last = progress;
        platform.unquiesce();
        for (let told = 0; told < guests.length; told++) {
          const ctx = nextStop(platform);
          expect([guests.includes(ctx), ctx.stop]).toEqual([true, STOP_INTERRUPT]);
          ctx.resumeWithRegisters();
        }
      }
      expect([out > 3, last > 100]).toEqual([true, true]);
    } finally {
      platform.shutdown();
      poller.close();
    }
  });

  test("what cannot be stepped over is left where it is", () => {
    const poller = new HostPoller();
    const platform = makePlatform(poller.fd);
    try {
      const ctx = made(platform.createAddressSpace(platform.ownHome));
      if (nextStop(platform) !== ctx) throw new Error("another context stopped first");
      const space = ctx.addressSpace;
      space.executor = ctx;
      // jmp self; mov $60, %eax; syscall; mov (%rax), %rax
      const code = [0xeb, 0xfe, 0xb8, EXIT, 0, 0, 0, 0x0f, 0x05, 0x48, 0x8b, 0x00];
      expect(space.map(CODE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      expect(space.write(CODE, Uint8Array.from(code), 0, code.length)).toBe(code.length);
      space.flush?.();
      ctx.regs.fill(0);
      set(ctx, REG.eflags, 0x200);
      set(ctx, REG.rip, CODE);
      expect(space.protect(CODE, PAGE, READ | EXEC)).toBe(0);
      ctx.resumeWithRegisters();
      ctx.interrupt();
      expect(nextStop(platform) === ctx).toBe(true);
      expect(ctx.stop).toBe(STOP_INTERRUPT);
      expect([ctx.singleStep(), get(ctx, REG.rip)]).toEqual([true, CODE]);
      set(ctx, REG.rip, CODE + 2);
      expect([ctx.singleStep(), get(ctx, REG.rip), get(ctx, REG.rax)]).toEqual([true, CODE + 7, EXIT]);
      expect([ctx.singleStep(), get(ctx, REG.rip), get(ctx, REG.rax)]).toEqual([false, CODE + 7, EXIT]);
      set(ctx, REG.rip, CODE + 9);
      set(ctx, REG.rcx, 77);
      expect([ctx.singleStep(), get(ctx, REG.rip), get(ctx, REG.rcx)]).toEqual([false, CODE + 9, 77]);
      // And goes on from there.
      ctx.resumeWithRegisters();
      expect(nextStop(platform) === ctx).toBe(true);
      expect([ctx.stop, ctx.fault.signo, ctx.fault.addr]).toEqual([STOP_FAULT, 11, EXIT]);
      set(ctx, REG.rip, CODE + 7);
      ctx.resumeWithRegisters();
      expect(nextStop(platform) === ctx).toBe(true);
      expect([ctx.stop, get(ctx, REG.origRax), get(ctx, REG.rcx)]).toEqual([STOP_SYSCALL, EXIT, CODE + 9]);
    } finally {
      platform.shutdown();
      poller.close();
    }
  });

  test(`${name}: a clock that is withheld is a call, in every vDSO`, () => {
    const poller = new HostPoller();
    const platform = makePlatform(poller.fd);
    try {
      expect(platform.withholdClock()).toBe(0);
      const ctx = made(platform.createAddressSpace(platform.ownHome));
      const space = ctx.addressSpace;
      const stop = (): Context => {
        const stopped = nextStop(platform);
        stopped.addressSpace.executor = stopped;
        return stopped;
      };
      expect(stop() === ctx).toBe(true);
      const own = space.vdsoImage();
      if (own.length === 0) return;
      const other = foreign(own);
      for (const image of [own, other, own, null]) {
        if (image !== null) expect(space.placeVdso(image)).toBe(0);
        expect(space.reset()).toBe(0);
        if (image === other) expect(space.placeVdso(other)).toBe(0);
        const current = space.vdsoImage();
        expect(Buffer.compare(current, image ?? own)).toBe(0);
        expect(space.map(CODE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
        expect(space.write(CODE, Uint8Array.from(CALL_RBX), 0, CALL_RBX.length)).toBe(CALL_RBX.length);
        space.flush?.();
        expect(space.protect(CODE, PAGE, READ | EXEC)).toBe(0);
        expect(space.map(DATA, PAGE, READ | WRITE, false, null, 0)).toBe(0);
        ctx.regs.fill(0);
        set(ctx, REG.eflags, 0x200);
        set(ctx, REG.rip, CODE);
        set(ctx, REG.rsp, DATA + PAGE - 64);
        set(ctx, REG.rbx, VDSO_BASE + offsetOf(current, "clock_gettime"));
        set(ctx, REG.rdi, CLOCK_MONOTONIC);
        set(ctx, REG.rsi, DATA);
        ctx.resumeWithRegisters();
        expect(stop() === ctx).toBe(true);
        expect([ctx.stop, get(ctx, REG.origRax), get(ctx, REG.rdi), get(ctx, REG.rsi)]).toEqual([
          STOP_SYSCALL,
          CLOCK_GETTIME,
          CLOCK_MONOTONIC,
          DATA,
        ]);
        ctx.resumeWithResult(0);
        expect(stop() === ctx).toBe(true);
        expect(get(ctx, REG.origRax)).toBe(EXIT);
      }
    } finally {
      platform.shutdown();
      poller.close();
    }
  });
}

test("functions are found by either table of hashes, and there are none without", () => {
  const poller = new HostPoller();
  const platform = new SystrapPlatform({ pollerFd: poller.fd });
  try {
    const image = platform.vdso.image.slice();
    if (image.length === 0) return;
    const expected = vdsoFunctions(image);
    const view = new DataView(image.buffer);
    const HASHES = [4, 0x6ffffef5];
    const tags = new Map<number, number>();
    for (let at = 0; at + 16 <= image.length; at += 8)
      for (const tag of HASHES)
        if (
          view.getUint32(at, true) === tag &&
          view.getUint32(at + 4, true) === 0 &&
          view.getUint32(at + 12, true) === 0
        )
          if (view.getUint32(at + 8, true) < image.length && view.getUint32(at + 8, true) > 0x40) tags.set(tag, at);
    // Some hosts have but one.
    expect(tags.size).toBeGreaterThan(0);
    for (const [tag, at] of tags) {
      view.setUint32(at, 0x6fffff00, true);
      const without = vdsoFunctions(image);
      if (tags.size === 2) expect(new Set(without!.map(String))).toEqual(new Set(expected!.map(String)));
      else expect(without).toEqual([]);
      view.setUint32(at, tag, true);
    }
    for (const at of tags.values()) view.setUint32(at, 0x6fffff00, true);
    expect(vdsoFunctions(image)).toEqual([]);
  } finally {
    platform.shutdown();
    poller.close();
  }
});

vdsoConformance("systrap", (pollerFd) => new SystrapPlatform({ pollerFd }));
vdsoConformance("systrap, impatient", (pollerFd) => new SystrapPlatform({ pollerFd, patienceNs: 0 }));
vdsoConformance("ptrace", (pollerFd) => new PtracePlatform({ pollerFd }));
