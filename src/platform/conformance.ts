/**
 * What every platform must do: one table of cases, run by the test of each. Small pieces of machine code stand in for
 * guests, and the test for the kernel.
 */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { openSync, readdirSync, readFileSync } from "node:fs";
import { MADV_DONTFORK, MADV_DONTNEED } from "../kernel/abi/mman.ts";
import { closeFd, ftruncate, memfdCreate, pread, pwrite } from "../native/host.ts";
import { HostPoller } from "../native/poller.ts";
import {
  type AddressSpace,
  type Context,
  type Home,
  type Platform,
  REG,
  STOP_FAULT,
  STOP_GONE,
  STOP_INTERRUPT,
  STOP_STARTED,
  STOP_SYSCALL,
} from "./platform.ts";
import { mayMakeCgroups, withCgroups } from "./testing/cgroups.ts";
import {
  bytesAt,
  CALL,
  CODE,
  DATA,
  EXEC,
  EXIT,
  get,
  LOOP,
  MOV_EAX,
  MOV_RDI_RAX,
  made,
  PAGE,
  READ,
  set,
  start,
  WRITE,
} from "./testing/guests.ts";
import { nextStop } from "./testing/stops.ts";

const EFAULT = 14;

/**
 * `makePlatform` gets the descriptor of a poller to sleep on. `deaf`: signals that somebody on the host sends to a stub
 * are kept from it (SIGKILL is not).
 */
export function platformConformance(
  name: string,
  makePlatform: (pollerFd: number) => Platform,
  { deaf = false }: { deaf?: boolean } = {},
): void {
  describe(name, () => {
    const poller = new HostPoller();
    let platform: Platform;
    beforeAll(() => {
      platform = makePlatform(poller.fd);
    });
    /** A case that fails leaves its guests behind: they must not stop in the next one. */
    const guests: Context[] = [];
    afterEach(() => {
      for (const { addressSpace } of guests.splice(0)) addressSpace.destroy();
    });
    afterAll(() => {
      platform.shutdown();
      poller.close();
    });

    const next = (): Context => nextStop(platform);
    function expectNext(ctx: Context): void {
      // No matcher: on failure it would print the contexts whole.
      if (next() !== ctx) throw new Error("another context stopped first");
    }
    /** A stopped guest with code and a data page. */
    function guest(...code: number[]): Context {
      return guestIn(platform.ownHome, ...code);
    }
    function guestIn(home: Home, ...code: number[]): Context {
      const ctx = made(platform.createAddressSpace(home));
      guests.push(ctx);
      expectNext(ctx);
      expect(ctx.stop).toBe(STOP_STARTED);
      const space = ctx.addressSpace;
      space.executor = ctx;
      load(space, code);
      expect(space.map(DATA, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      start(ctx, CODE);
      return ctx;
    }
    function load(space: AddressSpace, code: number[]): void {
      expect(space.map(CODE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      expect(space.write(CODE, Uint8Array.from(code), 0, code.length)).toBe(code.length);
      space.flush?.();
      expect(space.protect(CODE, PAGE, READ | EXEC)).toBe(0);
    }
    /** Runs a guest to its next stop and makes it the one to work with. */
    function go(ctx: Context): Context {
      ctx.resumeWithRegisters();
      const stopped = next();
      stopped.addressSpace.executor = stopped;
      return stopped;
    }

    test("a system call stops with its number and arguments, and gets its result", () => {
      const ctx = guest(...CALL(39), ...MOV_RDI_RAX, ...EXIT);
      expect(go(ctx) === ctx).toBe(true);
      expect(ctx.stop).toBe(STOP_SYSCALL);
      expect(get(ctx, REG.origRax)).toBe(39);
      expect(get(ctx, REG.rip)).toBe(CODE + 7);
      ctx.resumeWithResult(123456789012);
      expectNext(ctx);
      expect(get(ctx, REG.origRax)).toBe(60);
      expect(get(ctx, REG.rdi)).toBe(123456789012);
      ctx.addressSpace.destroy();
    });

    test("a negative result arrives whole", () => {
      const ctx = guest(...CALL(39), ...MOV_RDI_RAX, ...EXIT);
      go(ctx);
      ctx.resumeWithResult(-514);
      next();
      expect([ctx.regs[REG.rdi * 2]! | 0, ctx.regs[REG.rdi * 2 + 1]! | 0]).toEqual([-514, -1]);
      ctx.addressSpace.destroy();
    });

    test("int 0x80 is no system call that we know", () => {
      const ctx = guest(...MOV_EAX(20), 0xcd, 0x80, ...EXIT);
      go(ctx);
      if (ctx.stop === STOP_FAULT) {
        // A host without calls of 32-bit programs (ia32_emulation=0): the interrupt is none that may be raised.
        expect(ctx.fault.signo).toBe(11);
        return ctx.addressSpace.destroy();
      }
      expect(ctx.stop).toBe(STOP_SYSCALL);
      expect(ctx.regs[REG.origRax * 2]).toBe(0xffffffff);
      ctx.resumeWithResult(-38);
      next();
      expect(get(ctx, REG.origRax)).toBe(60);
      ctx.addressSpace.destroy();
    });

    test("all registers can be set; a system call changes none but its own", () => {
      const ctx = guest(...CALL(39), ...EXIT);
      const values = new Map<number, number>();
      for (const reg of [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 14, 19]) values.set(reg, 0x10000 * (reg + 1) + 7);
      for (const [reg, value] of values) set(ctx, reg, value);
      go(ctx);
      for (const [reg, value] of values) expect([reg, get(ctx, reg)]).toEqual([reg, value]);
      ctx.addressSpace.protect(DATA, PAGE, READ);
      ctx.resumeWithResult(0);
      next();
      expect(get(ctx, REG.origRax)).toBe(60);
      for (const [reg, value] of values) expect([reg, get(ctx, reg)]).toEqual([reg, value]);
      ctx.addressSpace.destroy();
    });

    test("a fault tells signal, code, address and how", () => {
      // mov (%rax), %rax with rax = 0x1234; then mov %rax, (%rbx) with rbx in a read-only page
      const ctx = guest(...MOV_EAX(0x1234), 0x48, 0x8b, 0x00, 0x48, 0x89, 0x03);
      for (let round = 0; round < 2; round++) {
        set(ctx, REG.rip, CODE);
        expect(go(ctx).stop).toBe(STOP_FAULT);
        const { fault } = ctx;
        expect([fault.signo, fault.code, fault.addr, fault.trapno]).toEqual([11, 1, 0x1234, 14]);
        // User mode, read, not present.
        expect(fault.errorCode & 0x1f).toBe(4);
      }
      ctx.addressSpace.write(DATA, Uint8Array.of(1), 0, 1);
      ctx.addressSpace.protect(DATA, PAGE, READ);
      set(ctx, REG.rip, CODE + 8);
      set(ctx, REG.rbx, DATA + 8);
      expect(go(ctx).stop).toBe(STOP_FAULT);
      expect([ctx.fault.signo, ctx.fault.code, ctx.fault.addr]).toEqual([11, 2, DATA + 8]);
      expect(ctx.fault.errorCode & 6).toBe(6);
      expect(get(ctx, REG.rip)).toBe(CODE + 8);
      // Made writable, the same instruction goes through.
      ctx.addressSpace.protect(DATA, PAGE, READ | WRITE);
      expect(go(ctx).stop).toBe(STOP_FAULT);
      expect(ctx.addressSpace.loadU32(DATA + 8)).toBe(0x1234);
      ctx.addressSpace.destroy();
    });

    test("a division by zero, a bad instruction and a breakpoint are faults", () => {
      // xor %ecx,%ecx; div %ecx; ud2; int3
      const ctx = guest(0x31, 0xc9, 0xf7, 0xf1, 0x0f, 0x0b, 0xcc);
      go(ctx);
      expect([ctx.stop, ctx.fault.signo, ctx.fault.code, ctx.fault.addr]).toEqual([STOP_FAULT, 8, 1, CODE + 2]);
      expect(ctx.fault.trapno).toBe(0);
      set(ctx, REG.rip, CODE + 4);
      go(ctx);
      expect([ctx.stop, ctx.fault.signo, ctx.fault.code, ctx.fault.trapno]).toEqual([STOP_FAULT, 4, 2, 6]);
      set(ctx, REG.rip, CODE + 6);
      go(ctx);
      expect([ctx.stop, ctx.fault.signo, ctx.fault.code, ctx.fault.trapno]).toEqual([STOP_FAULT, 5, 0x80, 3]);
      expect(get(ctx, REG.rip)).toBe(CODE + 7);
      ctx.addressSpace.destroy();
    });

    test("an endless loop can be interrupted, again and again", () => {
      const ctx = guest(...LOOP);
      ctx.resumeWithRegisters();
      for (let round = 0; round < 20; round++) {
        expect(platform.wait(2e6) === null).toBe(true);
        ctx.interrupt();
        expectNext(ctx);
        expect(ctx.stop).toBe(STOP_INTERRUPT);
        expect(get(ctx, REG.rip)).toBe(CODE);
        ctx.resumeWithRegisters();
      }
      ctx.addressSpace.destroy();
    });

    test("an interrupt that comes before a new thread has run is not lost", () => {
      const ctx = guest(...CALL(56), ...LOOP);
      expect(go(ctx) === ctx).toBe(true);
      const space = ctx.addressSpace;
      for (let round = 0; round < 200; round++) {
        space.executor = ctx;
        const thread = made(space.createContext());
        start(thread, CODE + 7);
        thread.resumeWithRegisters();
        // From none at all to some tens of microseconds on its way.
        for (const until = performance.now() + (round % 20) * 0.004; performance.now() < until; );
        thread.interrupt();
        expectNext(thread);
        expect([thread.stop, get(thread, REG.rip)]).toEqual([STOP_INTERRUPT, CODE + 7]);
        thread.destroy();
      }
      space.destroy();
    });

    test("an interrupt that comes too late does no harm", () => {
      const ctx = guest(...CALL(39), ...MOV_RDI_RAX, ...EXIT);
      go(ctx);
      ctx.interrupt();
      ctx.addressSpace.protect(DATA, PAGE, READ);
      ctx.interrupt();
      ctx.resumeWithResult(77);
      // At most it stops once more in between.
      if (next().stop === STOP_INTERRUPT) go(ctx);
      expect(ctx.stop).toBe(STOP_SYSCALL);
      expect([get(ctx, REG.origRax), get(ctx, REG.rdi)]).toEqual([60, 77]);
      ctx.addressSpace.destroy();
    });

    test("interrupts race with system calls without losing one", () => {
      // 1: mov $39, %eax; syscall; inc %rbx; jmp 1b
      const ctx = guest(...CALL(39), 0x48, 0xff, 0xc3, 0xeb, 0xf4);
      ctx.resumeWithRegisters();
      let calls = 0;
      for (let round = 0; round < 300; round++) {
        if (round % 3 !== 0) ctx.interrupt();
        expectNext(ctx);
        if (ctx.stop === STOP_SYSCALL) {
          expect(get(ctx, REG.rbx)).toBe(calls++);
          ctx.resumeWithResult(0);
        } else {
          expect(ctx.stop).toBe(STOP_INTERRUPT);
          ctx.resumeWithRegisters();
        }
      }
      expect(calls).toBeGreaterThan(49);
      ctx.addressSpace.destroy();
    });

    if (deaf)
      test("signals from outside reach neither the guest nor what it does for the kernel", () => {
        const ctx = guest(...CALL(39), ...LOOP);
        go(ctx);
        const { addressSpace } = ctx;
        const bother = (): void => {
          for (const signal of ["SIGTERM", "SIGSTOP", "SIGSEGV", "SIGTRAP", "SIGCONT", "SIGUSR1"] as const)
            process.kill(addressSpace.hostPid, signal);
        };
        bother();
        expect(addressSpace.protect(DATA, PAGE, READ)).toBe(0);
        expect(addressSpace.fetchOpU32(DATA, 0, 1)).toBe(-EFAULT);
        bother();
        const child = made(addressSpace.fork());
        expectNext(child);
        child.addressSpace.destroy();
        ctx.resumeWithResult(5);
        for (let round = 0; round < 5; round++) {
          bother();
          // SIGCONT may show as an interrupt.
          while (platform.wait(5e6) !== null) {
            expect(ctx.stop).toBe(STOP_INTERRUPT);
            ctx.resumeWithRegisters();
          }
        }
        ctx.interrupt();
        expectNext(ctx);
        expect([ctx.stop, get(ctx, REG.rip), get(ctx, REG.rax)]).toEqual([STOP_INTERRUPT, CODE + 7, 5]);
        addressSpace.destroy();
      });

    test("a forked address space is a copy of its own", () => {
      const ctx = guest(...CALL(57), ...EXIT);
      go(ctx);
      const space = ctx.addressSpace;
      space.write(DATA, Uint8Array.of(1, 2, 3, 4), 0, 4);
      space.flush?.();
      const child = made(space.fork());
      expect(get(child, REG.rip)).toBe(get(ctx, REG.rip));
      child.addressSpace.write(DATA, Uint8Array.of(9), 0, 1);
      child.addressSpace.flush?.();
      expect([...bytesAt(space, DATA, 4)]).toEqual([1, 2, 3, 4]);
      expect([...bytesAt(child.addressSpace, DATA, 4)]).toEqual([9, 2, 3, 4]);
      set(child, REG.rax, 0);
      expectNext(child);
      expect(go(child) === child).toBe(true);
      expect(get(child, REG.origRax)).toBe(60);
      expect(child.addressSpace.unmap(DATA, PAGE)).toBe(0);
      expect(child.addressSpace.read(DATA, new Uint8Array(4), 0, 4)).toBe(-EFAULT);
      expect([...bytesAt(space, DATA, 4)]).toEqual([1, 2, 3, 4]);
      child.addressSpace.destroy();
      space.destroy();
    });

    test("a new context may be resumed before it is reported, and then stops once", () => {
      const ctx = guest(...CALL(57), ...EXIT);
      go(ctx);
      const child = made(ctx.addressSpace.fork());
      set(child, REG.rax, 0);
      child.resumeWithRegisters();
      expectNext(child);
      expect([child.stop, get(child, REG.origRax)]).toEqual([STOP_SYSCALL, 60]);
      expect(platform.wait(10e6) === null).toBe(true);
      child.addressSpace.destroy();
    });

    test("a second thread shares memory; atomics work; it can be ended and made again", () => {
      const ctx = guest(...CALL(56), ...EXIT);
      go(ctx);
      const space = ctx.addressSpace;
      for (let round = 0; round < 20; round++) {
        space.executor = ctx;
        const thread = made(space.createContext());
        set(thread, REG.rax, 7);
        expectNext(thread);
        expect(go(thread) === thread).toBe(true);
        expect(get(thread, REG.origRax)).toBe(60);
        expect(space.fetchOpU32(DATA, 1, 5)).toBe(round * 5);
        thread.destroy();
      }
      space.executor = ctx;
      expect(space.compareExchangeU32(DATA, 100, 1)).toBe(100);
      expect(space.loadU32(DATA)).toBe(1);
      space.destroy();
    });

    test("atomic operations are those of FUTEX_WAKE_OP, and fail on bad memory", () => {
      const ctx = guest(...EXIT);
      const space = ctx.addressSpace;
      space.executor = ctx;
      const word = (): number => space.loadU32(DATA);
      expect(space.fetchOpU32(DATA, 0, 0xfffffff0)).toBe(0);
      expect(word()).toBe(0xfffffff0);
      expect(space.fetchOpU32(DATA, 1, 0x11)).toBe(0xfffffff0);
      expect(word()).toBe(1);
      expect(space.fetchOpU32(DATA, 2, 0x80000006)).toBe(1);
      expect(word()).toBe(0x80000007);
      expect(space.fetchOpU32(DATA, 3, 5)).toBe(0x80000007);
      expect(word()).toBe(0x80000002);
      expect(space.fetchOpU32(DATA, 4, 0xffffffff)).toBe(0x80000002);
      expect(word()).toBe(0x7ffffffd);
      expect(space.compareExchangeU32(DATA, 3, 4)).toBe(0x7ffffffd);
      expect(space.compareExchangeU32(DATA, 0x7ffffffd, 4)).toBe(0x7ffffffd);
      expect(word()).toBe(4);
      for (const addr of [0x1000, CODE]) {
        for (let op = 0; op < 5; op++) expect([addr, op, space.fetchOpU32(addr, op, 1)]).toEqual([addr, op, -EFAULT]);
        expect(space.compareExchangeU32(addr, 0, 1)).toBe(-EFAULT);
      }
      expect(space.loadU32(0x1000)).toBe(-EFAULT);
      space.destroy();
    });

    test("fork while another thread runs", () => {
      // The new thread spins at CODE+14 on behalf of the guest; the first one forks.
      const ctx = guest(...CALL(57), ...EXIT, ...LOOP);
      go(ctx);
      const space = ctx.addressSpace;
      const thread = made(space.createContext());
      set(thread, REG.rip, CODE + 14);
      expectNext(thread);
      thread.resumeWithRegisters();
      for (let round = 0; round < 5; round++) {
        space.executor = ctx;
        const child = made(space.fork());
        set(child, REG.rax, 0);
        expectNext(child);
        go(child);
        expect([child.stop, get(child, REG.origRax)]).toEqual([STOP_SYSCALL, 60]);
        child.addressSpace.destroy();
      }
      thread.interrupt();
      expectNext(thread);
      expect(thread.stop).toBe(STOP_INTERRUPT);
      space.destroy();
    });

    test("an address space outlives its first thread", () => {
      const ctx = guest(...CALL(56), ...EXIT);
      go(ctx);
      const space = ctx.addressSpace;
      const thread = made(space.createContext());
      expectNext(thread);
      expect(go(thread) === thread).toBe(true);
      ctx.destroy();
      // Long enough for the host thread to be really gone.
      Bun.sleepSync(20);
      space.executor = thread;
      expect(space.write(DATA, Uint8Array.of(5, 0, 0, 0), 0, 4)).toBe(4);
      space.flush?.();
      expect(space.fetchOpU32(DATA, 1, 1)).toBe(5);
      expect(space.map(DATA + PAGE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      const child = made(space.fork());
      expectNext(child);
      expect(child.addressSpace.loadU32(DATA)).toBe(6);
      thread.resumeWithResult(0);
      child.resumeWithRegisters();
      child.addressSpace.destroy();
      space.destroy();
    });

    test("many threads run and stop independently", () => {
      // add %rbx-th word: lock incl (%rbx); getpid; exit
      const ctx = guest(0xf0, 0xff, 0x03, ...CALL(39), ...EXIT);
      const space = ctx.addressSpace;
      set(ctx, REG.rbx, DATA);
      const all = [ctx];
      for (let i = 0; i < 60; i++) {
        space.executor = ctx;
        const thread = made(space.createContext());
        expectNext(thread);
        all.push(thread);
      }
      for (const thread of all) thread.resumeWithRegisters();
      const calls = new Map<Context, number>();
      for (let i = 0; i < all.length * 2; i++) {
        const thread = next();
        expect(thread.stop).toBe(STOP_SYSCALL);
        const call = get(thread, REG.origRax);
        expect([39, 60]).toContain(call);
        calls.set(thread, (calls.get(thread) ?? 0) + call);
        if (call === 39) thread.resumeWithResult(0);
      }
      expect(calls.size).toBe(all.length);
      for (const seen of calls.values()) expect(seen).toBe(99);
      expect(space.loadU32(DATA)).toBe(all.length);
      space.destroy();
    });

    test("mapping: anonymous, private and shared files, offsets, errors", () => {
      const fd = memfdCreate(Buffer.from("conformance\0"), 1);
      ftruncate(fd, 2 * PAGE);
      const ctx = guest(...EXIT);
      const space = ctx.addressSpace;
      space.executor = ctx;
      pwrite(fd, Uint8Array.of(11), 1, 0);
      pwrite(fd, Uint8Array.of(22), 1, PAGE);
      const at = DATA + 0x100000;
      expect(space.map(at, PAGE, READ | WRITE, true, { fd, readFd: fd }, PAGE, true)).toBe(0);
      expect(space.map(at + PAGE, PAGE, READ | WRITE, false, { fd, readFd: fd }, 0)).toBe(0);
      expect(bytesAt(space, at, 1)[0]).toBe(22);
      expect(bytesAt(space, at + PAGE, 1)[0]).toBe(11);
      space.write(at, Uint8Array.of(33), 0, 1);
      space.write(at + PAGE, Uint8Array.of(44), 0, 1);
      space.flush?.();
      const seen = new Uint8Array(1);
      pread(fd, seen, 1, PAGE);
      expect(seen[0]).toBe(33);
      pread(fd, seen, 1, 0);
      expect(seen[0]).toBe(11);
      expect(space.sync(at, PAGE, 4)).toBe(0);
      // A bad offset, then good ones again: nothing is left over.
      expect(space.map(at, PAGE, READ, true, { fd, readFd: fd }, 100)).toBe(-22);
      for (let i = 0; i < 50; i++) expect(space.map(at, PAGE, READ, true, { fd, readFd: fd }, 0)).toBe(0);
      expect(bytesAt(space, at, 1)[0]).toBe(11);
      // It stays mapped after we have let go of it.
      closeFd(fd);
      expect(bytesAt(space, at, 1)[0]).toBe(11);
      // Beyond the end of the file: SIGBUS. mov (%rax), %eax
      load(space, [0x8b, 0x00]);
      expect(space.map(at, 2 * PAGE, READ, false, null, 0)).toBe(0);
      space.destroy();
    });

    test("reading beyond the end of a mapped file is SIGBUS", () => {
      const fd = memfdCreate(Buffer.from("conformance\0"), 1);
      ftruncate(fd, PAGE);
      const ctx = guest(0x8b, 0x00, ...EXIT);
      ctx.addressSpace.executor = ctx;
      const at = DATA + 0x100000;
      expect(ctx.addressSpace.map(at, 2 * PAGE, READ, true, { fd, readFd: fd }, 0)).toBe(0);
      set(ctx, REG.rax, at + PAGE + 4);
      go(ctx);
      expect([ctx.stop, ctx.fault.signo, ctx.fault.code, ctx.fault.addr]).toEqual([STOP_FAULT, 7, 2, at + PAGE + 4]);
      expect(ctx.addressSpace.loadU32(at + PAGE)).toBe(-EFAULT);
      expect(ctx.addressSpace.fetchOpU32(at + PAGE, 1, 1)).toBe(-EFAULT);
      closeFd(fd);
      ctx.addressSpace.destroy();
    });

    test("remap moves and grows, and keeps the contents", () => {
      const ctx = guest(...EXIT);
      const space = ctx.addressSpace;
      space.executor = ctx;
      const to = DATA + 0x200000;
      space.write(DATA, Uint8Array.of(7, 8), 0, 2);
      space.flush?.();
      expect(space.remap(DATA, PAGE, to, 3 * PAGE)).toBe(0);
      expect(space.read(DATA, new Uint8Array(1), 0, 1)).toBe(-EFAULT);
      expect([...bytesAt(space, to, 2)]).toEqual([7, 8]);
      expect(bytesAt(space, to + 2 * PAGE, 1)[0]).toBe(0);
      expect(space.remap(to, 3 * PAGE, to, PAGE)).toBe(0);
      expect(space.read(to + PAGE, new Uint8Array(1), 0, 1)).toBe(-EFAULT);
      expect(space.remap(DATA, PAGE, to + PAGE, PAGE)).toBe(-EFAULT);
      space.destroy();
    });

    test("advise and mincore mean what they mean on the host", () => {
      const ctx = guest(...EXIT);
      const space = ctx.addressSpace;
      space.executor = ctx;
      expect(space.map(DATA + PAGE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      space.write(DATA, Uint8Array.of(7), 0, 1);
      space.write(DATA + PAGE, Uint8Array.of(8), 0, 1);
      space.flush?.();
      const resident = new Uint8Array(3).fill(0xee);
      expect(space.mincore?.(DATA, 2 * PAGE, resident)).toBe(0);
      expect([...resident]).toEqual([1, 1, 0xee]);
      expect(space.advise(DATA, PAGE, MADV_DONTNEED)).toBe(0);
      expect(space.mincore?.(DATA, 2 * PAGE, resident)).toBe(0);
      expect([...resident]).toEqual([0, 1, 0xee]);
      expect(bytesAt(space, DATA, 1)[0]).toBe(0);
      expect(space.advise(DATA, PAGE, 12345)).toBe(-22);
      expect(space.advise(DATA + PAGE, PAGE, MADV_DONTFORK)).toBe(0);
      const child = made(space.fork());
      expect(child.addressSpace.read(DATA + PAGE, new Uint8Array(1), 0, 1)).toBe(-EFAULT);
      expectNext(child);
      child.addressSpace.destroy();
      space.destroy();
    });

    test("copying stops at bad pages and honours protection", () => {
      const ctx = guest(...EXIT);
      const space = ctx.addressSpace;
      const both = new Uint8Array(2 * PAGE).fill(3);
      // Not within a call: written at once.
      expect(space.write(DATA, both, 0, both.length)).toBe(PAGE);
      expect(space.read(DATA, both, 0, both.length)).toBe(PAGE);
      expect(space.read(DATA + PAGE, both, 0, 1)).toBe(-EFAULT);
      expect(space.write(CODE, both, 0, 1)).toBe(-EFAULT);
      expect(space.read(0x7fffffff0000, both, 0, 1)).toBe(-EFAULT);
      space.destroy();
    });

    test("reset drops every mapping, and the thread starts anew", () => {
      const ctx = guest(...CALL(59), ...EXIT);
      go(ctx);
      const space = ctx.addressSpace;
      expect(space.map(0x7f0000000000, PAGE, READ, false, null, 0)).toBe(0);
      ctx.setFsBase(0x1234000);
      expect(space.reset()).toBe(0);
      for (const at of [CODE, DATA, 0x7f0000000000]) expect(space.read(at, new Uint8Array(1), 0, 1)).toBe(-EFAULT);
      load(space, [...CALL(12), ...EXIT]);
      ctx.resetFpState();
      ctx.setFsBase(0);
      ctx.regs.fill(0);
      start(ctx, CODE);
      go(ctx);
      expect([ctx.stop, get(ctx, REG.origRax)]).toEqual([STOP_SYSCALL, 12]);
      expect(ctx.getFsBase()).toBe(0);
      expect(get(ctx, REG.rbx)).toBe(0);
      space.destroy();
    });

    test("null segment selectors do not trip the platform", () => {
      // mov $1, %eax; mov %eax, %ds; mov $2, %eax; mov %eax, %es; getpid; int3
      const ctx = guest(...MOV_EAX(1), 0x8e, 0xd8, ...MOV_EAX(2), 0x8e, 0xc0, ...CALL(39), 0xcc);
      go(ctx);
      expect([ctx.stop, get(ctx, REG.origRax)]).toEqual([STOP_SYSCALL, 39]);
      ctx.addressSpace.protect(DATA, PAGE, READ);
      go(ctx);
      expect([ctx.stop, ctx.fault.signo]).toEqual([STOP_FAULT, 5]);
      ctx.addressSpace.destroy();
    });

    test("the vDSO is there in every guest, above what it may map", () => {
      const ctx = guest(...EXIT);
      const { vdso, maxAddress } = ctx.addressSpace;
      if (vdso !== 0) {
        expect(vdso).toBeGreaterThanOrEqual(maxAddress);
        expect([...bytesAt(ctx.addressSpace, vdso, 4)]).toEqual([0x7f, 0x45, 0x4c, 0x46]);
      }
      ctx.addressSpace.destroy();
    });

    test("segment bases", () => {
      // mov %fs:8, %rdi; exit
      const ctx = guest(...CALL(39), 0x64, 0x48, 0x8b, 0x3c, 0x25, 8, 0, 0, 0, ...EXIT);
      go(ctx);
      const space = ctx.addressSpace;
      expect(ctx.setFsBase(DATA)).toBe(0);
      expect(ctx.setGsBase(DATA + 16)).toBe(0);
      expect(ctx.setFsBase(0x800000000000)).toBe(-1);
      expect([ctx.getFsBase(), ctx.getGsBase()]).toEqual([DATA, DATA + 16]);
      space.write(DATA + 8, Uint8Array.of(0x44, 0x33), 0, 2);
      const thread = made(space.createContext());
      const child = made(space.fork());
      thread.setFsBase(DATA + 100);
      expect([next(), next()].includes(child)).toBe(true);
      expect([thread.getFsBase(), child.getFsBase(), child.getGsBase()]).toEqual([DATA + 100, DATA, DATA + 16]);
      ctx.resumeWithResult(0);
      expectNext(ctx);
      expect(get(ctx, REG.rdi)).toBe(0x3344);
      child.addressSpace.destroy();
      space.destroy();
    });

    test("floating-point state goes to guest memory and back", () => {
      const ctx = guest(...CALL(39), ...EXIT);
      go(ctx);
      const space = ctx.addressSpace;
      expect(ctx.fpStateSize % 64).toBe(0);
      expect(ctx.saveFpState(DATA)).toBe(0);
      const view = new DataView(bytesAt(space, DATA, Math.min(PAGE, ctx.fpStateSize)).buffer);
      expect(view.getUint16(0, true)).toBe(0x37f);
      expect(view.getUint32(24, true)).toBe(0x1f80);
      if (ctx.fpStateSize > 512) {
        // struct _fpx_sw_bytes, and the magic number behind the area.
        expect(view.getUint32(464, true)).toBe(0x46505853);
        const size = view.getUint32(480, true);
        expect(view.getUint32(468, true)).toBe(size + 4);
        expect(size + 4).toBeLessThanOrEqual(ctx.fpStateSize);
        expect(view.getUint32(472, true) & 3).toBe(3);
        if (size + 4 <= view.byteLength) expect(view.getUint32(size, true)).toBe(0x46505845);
      }
      expect(ctx.restoreFpState(DATA)).toBe(0);
      expect(ctx.restoreFpState(0x1000)).toBe(-EFAULT);
      expect(ctx.saveFpState(0x1000)).toBe(-EFAULT);
      space.destroy();
    });

    test("vector registers survive calls and commands, and follow their saved state", () => {
      // movq %rbx, %xmm7; getpid; movq %xmm7, %rdi; exit
      const ctx = guest(0x66, 0x48, 0x0f, 0x6e, 0xfb, ...CALL(39), 0x66, 0x48, 0x0f, 0x7e, 0xff, ...EXIT);
      const space = ctx.addressSpace;
      set(ctx, REG.rbx, 0x123456789abc);
      go(ctx);
      expect(space.map(DATA + PAGE, 4 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
      const thread = made(space.createContext());
      const child = made(space.fork());
      expect([next(), next()].includes(child)).toBe(true);
      expect(ctx.saveFpState(DATA)).toBe(0);
      // xmm7 in the FXSAVE part.
      expect([...bytesAt(space, DATA + 160 + 7 * 16, 6)]).toEqual([0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12]);
      ctx.resumeWithResult(0);
      expectNext(ctx);
      expect(get(ctx, REG.rdi)).toBe(0x123456789abc);
      // A new thread and a fork have it too.
      for (const copy of [thread, child]) {
        set(copy, REG.rax, 0);
        expect(go(copy) === copy).toBe(true);
        expect([get(copy, REG.origRax), get(copy, REG.rdi)]).toEqual([60, 0x123456789abc]);
      }
      // Changed in memory and loaded.
      space.executor = ctx;
      const changed = bytesAt(space, DATA, 512);
      changed.set([1, 2, 3, 0, 0, 0, 0, 0], 160 + 7 * 16);
      space.executor = null;
      expect(space.write(DATA, changed, 0, 464)).toBe(464);
      space.executor = ctx;
      expect(ctx.restoreFpState(DATA)).toBe(0);
      set(ctx, REG.rip, CODE + 12);
      go(ctx);
      expect(get(ctx, REG.rdi)).toBe(0x030201);
      // The legacy format, without magic; what the processor refuses, Linux refuses, and nothing changes.
      const legacy = (mxcsr: number[]): number => {
        changed.fill(0, 464);
        changed.set([4, 0, 0], 160 + 7 * 16);
        changed.set(mxcsr, 24);
        space.executor = null;
        expect(space.write(DATA, changed, 0, 512)).toBe(512);
        space.executor = ctx;
        return ctx.restoreFpState(DATA);
      };
      expect(legacy([0xff, 0xff, 0xff, 0xff])).toBe(-22);
      set(ctx, REG.rip, CODE + 12);
      go(ctx);
      expect(get(ctx, REG.rdi)).toBe(0x030201);
      expect(legacy([0x80, 0x1f, 0, 0])).toBe(0);
      set(ctx, REG.rip, CODE + 12);
      go(ctx);
      expect(get(ctx, REG.rdi)).toBe(4);
      // After execve.
      ctx.resetFpState();
      set(ctx, REG.rip, CODE + 12);
      go(ctx);
      expect(get(ctx, REG.rdi)).toBe(0);
      child.addressSpace.destroy();
      space.destroy();
    });

    test("a stub killed from outside is reported, running or stopped", () => {
      const running = guest(...LOOP);
      running.resumeWithRegisters();
      process.kill(running.addressSpace.hostPid, "SIGKILL");
      expectNext(running);
      expect(running.stop).toBe(STOP_GONE);
      running.addressSpace.destroy();

      const stopped = guest(...CALL(39));
      go(stopped);
      process.kill(stopped.addressSpace.hostPid, "SIGKILL");
      expectNext(stopped);
      expect(stopped.stop).toBe(STOP_GONE);
      expect(stopped.addressSpace.map(DATA, PAGE, READ, false, null, 0)).toBeLessThan(0);
      expect(stopped.addressSpace.read(DATA, new Uint8Array(1), 0, 1)).toBeLessThan(0);
      stopped.addressSpace.destroy();
      // Nobody else is the worse for it.
      const other = guest(...EXIT);
      expect(go(other).stop).toBe(STOP_SYSCALL);
      other.addressSpace.destroy();
    });

    test("a stub that dies while commands run costs nobody else anything", () => {
      const fd = memfdCreate(Buffer.from("conformance\0"), 1);
      ftruncate(fd, PAGE);
      pwrite(fd, Uint8Array.of(99), 1, 0);
      for (let round = 0; round < 5; round++) {
        const victim = guest(...CALL(39));
        go(victim);
        process.kill(victim.addressSpace.hostPid, "SIGKILL");
        expect(victim.addressSpace.map(DATA, PAGE, READ, true, { fd, readFd: fd }, 0)).toBeLessThan(0);
        victim.addressSpace.destroy();
        const other = guest(...EXIT);
        expect(other.addressSpace.map(DATA, PAGE, READ, true, { fd, readFd: fd }, 0)).toBe(0);
        expect(bytesAt(other.addressSpace, DATA, 1)[0]).toBe(99);
        other.addressSpace.destroy();
      }
      closeFd(fd);
    });

    // Homes.

    function homeOf(procs: readonly number[] = []): Home {
      const home = platform.createHome(procs);
      if (typeof home === "number") throw new Error(`no home: ${home}`);
      return home;
    }
    /** A pause may show afterwards, as an interrupt of what it has stopped. */
    function goOn(ctx: Context | null): void {
      if (ctx === null) return;
      expect(ctx.stop).toBe(STOP_INTERRUPT);
      ctx.resumeWithRegisters();
    }
    function expectCall(ctx: Context, nr: number): void {
      for (let at = next(); at !== ctx || at.stop === STOP_INTERRUPT; at = next()) goOn(at);
      expect([ctx.stop, get(ctx, REG.origRax)]).toEqual([STOP_SYSCALL, nr]);
    }
    /** Waits until something is so, and lets the platform see to its children meanwhile. */
    function until(what: string, holds: () => boolean): void {
      for (const end = performance.now() + 20e3; !holds(); ) {
        if (performance.now() > end) throw new Error(`in vain: ${what}`);
        goOn(platform.wait(2e6));
      }
    }
    /** A guest that counts in its data page. lock incl (%rbx); jmp back */
    function counter(home: Home): Context {
      const ctx = guestIn(home, 0xf0, 0xff, 0x03, 0xeb, 0xfb);
      set(ctx, REG.rbx, DATA);
      return ctx;
    }
    const counted = ({ addressSpace }: Context): number => addressSpace.loadU32(DATA);
    /** Does it count? Looked at for long enough to tell on a busy host. */
    function counts(ctx: Context): boolean {
      const before = counted(ctx);
      for (const end = performance.now() + 300; performance.now() < end; ) {
        if (counted(ctx) !== before) return true;
        Bun.sleepSync(5);
      }
      return false;
    }

    test("an address space knows its home, and so does its fork", () => {
      const home = homeOf();
      const ctx = guestIn(home, ...CALL(57), ...EXIT);
      expect(guest(...EXIT).addressSpace.home).toBe(platform.ownHome);
      go(ctx);
      const child = made(ctx.addressSpace.fork());
      expectNext(child);
      expect([ctx.addressSpace.home === home, child.addressSpace.home === home]).toEqual([true, true]);
      child.addressSpace.destroy();
      ctx.addressSpace.destroy();
      home.destroy();
    });

    test("one home is paused, and others run on", () => {
      const home = homeOf();
      const [paused, other] = [counter(home), counter(platform.ownHome)];
      const thread = made(paused.addressSpace.createContext());
      start(thread, CODE);
      set(thread, REG.rbx, DATA);
      for (const ctx of [paused, thread, other]) ctx.resumeWithRegisters();
      until("both count", () => counted(paused) > 0 && counted(other) > 0);
      for (let round = 0; round < 3; round++) {
        home.pause();
        until("it stands still", () => !counts(paused));
        expect([counts(other), counts(paused)]).toEqual([true, false]);
        // Who is interrupted meanwhile is reported when it is over.
        if (round === 1) for (const ctx of [paused, thread]) ctx.interrupt();
        other.interrupt();
        expectNext(other);
        other.resumeWithRegisters();
        expect(platform.wait(10e6) === null).toBe(true);
        home.resume();
        let interrupted = 0;
        for (const end = performance.now() + (round === 1 ? 20e3 : 50); performance.now() < end && interrupted < 2; ) {
          const ctx = platform.wait(10e6);
          if (ctx === null) continue;
          expect(ctx === paused || ctx === thread).toBe(true);
          goOn(ctx);
          interrupted++;
        }
        if (round === 1) expect(interrupted).toBe(2);
        until("it goes on", () => counts(paused));
      }
      paused.addressSpace.destroy();
      other.addressSpace.destroy();
      home.destroy();
    });

    test("what stops during a pause is reported after it; what is let run runs after it", () => {
      const home = homeOf();
      const ctx = guestIn(home, ...CALL(39), ...CALL(40), ...EXIT);
      const running = counter(home);
      running.resumeWithRegisters();
      ctx.resumeWithRegisters();
      // The call is made now, and nobody has looked at it when the pause begins.
      Bun.sleepSync(20);
      home.pause();
      expect(platform.wait(20e6) === null).toBe(true);
      const other = guest(...CALL(39));
      expect(go(other) === other).toBe(true);
      home.resume();
      expectCall(ctx, 39);
      home.pause();
      ctx.resumeWithResult(7);
      expect(platform.wait(20e6) === null).toBe(true);
      home.resume();
      expectCall(ctx, 40);
      // Made during a pause: it can be worked on, and does not run.
      home.pause();
      const born = made(platform.createAddressSpace(home));
      guests.push(born);
      born.addressSpace.executor = born;
      load(born.addressSpace, [0xf0, 0xff, 0x03, 0xeb, 0xfb]);
      expect(born.addressSpace.map(DATA, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      start(born, CODE);
      set(born, REG.rbx, DATA);
      born.resumeWithRegisters();
      expect([platform.wait(20e6) === null, counted(born)]).toEqual([true, 0]);
      home.resume();
      for (const end = performance.now() + 20e3; counted(born) === 0 && performance.now() < end; ) {
        goOn(platform.wait(5e6));
      }
      expect(counted(born)).toBeGreaterThan(0);
      for (const each of [ctx, running, born, other]) each.addressSpace.destroy();
      home.destroy();
    });

    test("a guest that is killed during a pause is reported at once", () => {
      const home = homeOf();
      const ctx = counter(home);
      ctx.resumeWithRegisters();
      home.pause();
      process.kill(ctx.addressSpace.hostPid, "SIGKILL");
      expectNext(ctx);
      expect(ctx.stop).toBe(STOP_GONE);
      ctx.addressSpace.destroy();
      home.resume();
      home.destroy();
    });

    test("a home that is destroyed takes all that is in it along, and leaves no descriptor", () => {
      const count = () => readdirSync("/proc/self/fd").length;
      const other = guest(...CALL(39));
      // Time for spares.
      for (let i = 0; i < 10; i++) expect(platform.wait(5e6) === null).toBe(true);
      const before = [count(), ownChildren().length];
      for (let round = 0; round < 10; round++) {
        const home = homeOf([openSync("/dev/null", "w"), openSync("/dev/null", "w")]);
        const ctx = counter(home);
        ctx.resumeWithRegisters();
        // Time for a spare.
        for (let i = 0; i < 5; i++) expect(platform.wait(2e6) === null).toBe(true);
        if (round % 2 === 1) home.pause();
        home.destroy();
        expectNext(ctx);
        expect(ctx.stop).toBe(STOP_GONE);
        ctx.addressSpace.destroy();
        expect(platform.createAddressSpace(home)).toBeLessThan(0);
      }
      until("its processes have ended", () => ownChildren().length <= before[1]!);
      until("its descriptors are closed", () => count() <= before[0]!);
      expect(go(other).stop).toBe(STOP_SYSCALL);
      other.addressSpace.destroy();
    });

    test("a home that cannot be is an error, and its files are closed", () => {
      for (let i = 0; i < 10; i++) expect(platform.wait(5e6) === null).toBe(true);
      const before = readdirSync("/proc/self/fd").length;
      const children = ownChildren().length;
      // Not open for writing.
      expect(platform.createHome([openSync("/dev/null", "w"), openSync("/dev/null", "r")])).toBe(-9);
      until("its process has ended", () => ownChildren().length <= children);
      expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before);
    });

    test.skipIf(!mayMakeCgroups())("a home's processes are in its cgroups from the first", () => {
      withCgroups((open, members) => {
        const home = homeOf(open());
        // The zygote alone.
        const zygote = members();
        expect(zygote.length).toBe(1);
        const ctx = made(platform.createAddressSpace(home));
        guests.push(ctx);
        expect(members().sort()).toEqual([zygote[0]!, ctx.addressSpace.hostPid].sort());
        expectNext(ctx);
        const space = ctx.addressSpace;
        space.executor = ctx;
        load(space, CALL(57));
        start(ctx, CODE);
        go(ctx);
        const child = made(space.fork());
        expect(members()).toContain(child.addressSpace.hostPid);
        expectNext(child);
        const outside = guest(...EXIT);
        expect(members()).not.toContain(outside.addressSpace.hostPid);
        child.addressSpace.destroy();
        space.destroy();
        home.destroy();
        until("nobody is left", () => members().length === 0);
      });
    });

    test.skipIf(!mayMakeCgroups())("zygote and spare that are killed are replaced", () => {
      withCgroups((open, members) => {
        const home = homeOf(open());
        const others = homeOf();
        const ctx = guestIn(home, ...CALL(39), ...EXIT);
        for (let round = 0; round < 4; round++) {
          for (let i = 0; i < 5; i++) expect(platform.wait(2e6) === null).toBe(true);
          const victims = members().filter((pid) => pid !== ctx.addressSpace.hostPid);
          expect(victims.length).toBeGreaterThan(0);
          for (const pid of victims) process.kill(pid, "SIGKILL");
          // Both before they have been waited for and after.
          if (round % 2 === 1) until("they have ended", () => victims.every((pid) => !members().includes(pid)));
          else Bun.sleepSync(20);
          const born = guestIn(home, ...CALL(39), ...EXIT);
          expect(members()).toContain(born.addressSpace.hostPid);
          expect(go(born).stop).toBe(STOP_SYSCALL);
          born.addressSpace.destroy();
          const other = guestIn(others, ...CALL(39));
          expect(go(other).stop).toBe(STOP_SYSCALL);
          other.addressSpace.destroy();
        }
        // Its guests have not noticed.
        expect(go(ctx).stop).toBe(STOP_SYSCALL);
        ctx.addressSpace.destroy();
        for (const each of [home, others]) each.destroy();
        until("nobody is left", () => members().length === 0);
      });
    });

    test.skipIf(!mayMakeCgroups())("a zygote that gets no processor holds nobody up", () => {
      withCgroups((open, members) => {
        const home = homeOf(open());
        const [zygote] = members();
        process.kill(zygote!, "SIGSTOP");
        const begin = performance.now();
        const two = [0, 1].map(() => guestIn(home, ...CALL(39), ...EXIT));
        expect(performance.now() - begin).toBeLessThan(3000);
        for (const ctx of two) {
          expect(members()).toContain(ctx.addressSpace.hostPid);
          expect(go(ctx).stop).toBe(STOP_SYSCALL);
        }
        process.kill(zygote!, "SIGCONT");
        for (let i = 0; i < 5; i++) expect(platform.wait(2e6) === null).toBe(true);
        two.push(guestIn(home, ...CALL(39), ...EXIT));
        expect(go(two[2]!).stop).toBe(STOP_SYSCALL);
        for (const ctx of two) ctx.addressSpace.destroy();
        home.destroy();
        until("nobody is left", () => members().length === 0);
      });
    });

    test("hundreds of processes come and go", () => {
      for (let round = 0; round < 300; round++) {
        const ctx = made(platform.createAddressSpace(platform.ownHome));
        expectNext(ctx);
        ctx.addressSpace.destroy();
      }
      expect(platform.wait(20e6) === null).toBe(true);
    });
  });
}

/** Processes that this one has made, zombies included. */
function ownChildren(): number[] {
  const found = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8");
  return found.split(" ").filter(Boolean).map(Number);
}
