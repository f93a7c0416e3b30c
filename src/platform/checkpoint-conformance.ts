/** What every platform must do for a checkpoint: standing still, state by buffer, adopted contexts, snapshots of memory. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { MADV_DONTFORK, MADV_WIPEONFORK } from "../kernel/abi/mman.ts";
import { closeFd, ftruncate, lseek, memfdCreate, pread, pwrite } from "../native/host.ts";
import { HostPoller } from "../native/poller.ts";
import { withoutScan } from "../native/snapshot.ts";
import {
  type Context,
  type Home,
  type MapRun,
  type Platform,
  REG,
  type Snapshot,
  STOP_FAULT,
  STOP_GONE,
  STOP_INTERRUPT,
  STOP_STARTED,
  STOP_SYSCALL,
} from "./platform.ts";
import {
  bytesAt,
  CALL,
  CODE,
  COUNT,
  DATA,
  EXEC,
  EXIT,
  get,
  LOOP,
  MOV_RDI_RAX,
  made,
  PAGE,
  READ,
  set,
  start,
  WRITE,
} from "./testing/guests.ts";
import { nextStop } from "./testing/stops.ts";

const EINVAL = 22;
const EFAULT = 14;
const ESRCH = 3;
const SEEK_DATA = 3;
const FAR = 0x10000000;
/** lock incl (%rbx) */
const COUNT_ONCE = COUNT.slice(0, 3);

export function checkpointConformance(name: string, makePlatform: (pollerFd: number) => Platform): void {
  describe(`${name}: checkpoint`, () => {
    const poller = new HostPoller();
    let platform: Platform;
    beforeAll(() => {
      platform = makePlatform(poller.fd);
    });
    const guests: Context[] = [];
    const snapshots: Snapshot[] = [];
    afterEach(() => {
      platform.unquiesce();
      for (const { addressSpace } of guests.splice(0)) addressSpace.destroy();
      for (const snapshot of snapshots.splice(0)) snapshot.destroy();
    });
    afterAll(() => {
      platform.shutdown();
      poller.close();
    });

    function expectNext(ctx: Context): void {
      if (nextStop(platform) !== ctx) throw new Error("another context stopped first");
    }
    function guestIn(home: Home, ...code: number[]): Context {
      const ctx = made(platform.createAddressSpace(home));
      guests.push(ctx);
      expectNext(ctx);
      const space = ctx.addressSpace;
      space.executor = ctx;
      expect(space.map(CODE, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      expect(space.write(CODE, Uint8Array.from(code), 0, code.length)).toBe(code.length);
      space.flush?.();
      expect(space.protect(CODE, PAGE, READ | EXEC)).toBe(0);
      expect(space.map(DATA, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      start(ctx, CODE);
      set(ctx, REG.rbx, DATA);
      return ctx;
    }
    const guest = (...code: number[]): Context => guestIn(platform.ownHome, ...code);
    function go(ctx: Context): Context {
      ctx.resumeWithRegisters();
      expectNext(ctx);
      ctx.addressSpace.executor = ctx;
      return ctx;
    }
    function thread(of: Context, rip: number): Context {
      of.addressSpace.executor = of;
      const ctx = made(of.addressSpace.createContext());
      expectNext(ctx);
      start(ctx, rip);
      set(ctx, REG.rbx, DATA);
      return ctx;
    }
    function take(ctx: Context, advice?: Parameters<Context["addressSpace"]["snapshot"]>[0]): Snapshot {
      const snapshot = made(ctx.addressSpace.snapshot(advice));
      snapshots.push(snapshot);
      return snapshot;
    }
    const counted = ({ addressSpace }: Context): number => addressSpace.loadU32(DATA);
    function until(what: string, holds: () => boolean): void {
      for (const end = performance.now() + 20e3; !holds(); ) {
        if (performance.now() > end) throw new Error(`in vain: ${what}`);
        const ctx = platform.wait(2e6);
        if (ctx === null) continue;
        expect(ctx.stop).toBe(STOP_INTERRUPT);
        ctx.resumeWithRegisters();
      }
    }
    /** It makes this call; whoever else stops meanwhile was interrupted, and goes on. */
    function stopsFor(ctx: Context, nr: number): void {
      for (let at = nextStop(platform); at !== ctx || at.stop === STOP_INTERRUPT; at = nextStop(platform)) {
        expect(at.stop).toBe(STOP_INTERRUPT);
        at.resumeWithRegisters();
      }
      expect([ctx.stop, get(ctx, REG.origRax)]).toEqual([STOP_SYSCALL, nr]);
    }
    /** Lets guests run that count once and stop, and has nobody look at their stops. */
    function runAlone(...all: Context[]): void {
      for (const ctx of all) ctx.resumeWithRegisters();
      for (const end = performance.now() + 20e3; all.some((ctx) => counted(ctx) === 0); Bun.sleepSync(1))
        if (performance.now() > end) throw new Error("it does not run");
      // What is left is one instruction or two.
      Bun.sleepSync(30);
    }

    // Standing still.

    test("everything stops, nothing is reported, and all of it comes afterwards", () => {
      const counter = guest(...COUNT);
      const second = thread(counter, CODE);
      // A call that nobody has looked at; a fault; one that is stopped already.
      const caller = guest(...COUNT_ONCE, ...CALL(39), ...MOV_RDI_RAX, ...EXIT);
      const faulty = guest(...COUNT_ONCE, 0x8b, 0x00, ...EXIT);
      set(faulty, REG.rax, 0x1234);
      const blocked = go(guest(...CALL(39), ...MOV_RDI_RAX, ...EXIT));
      for (const ctx of [counter, second]) ctx.resumeWithRegisters();
      until("it counts", () => counted(counter) > 1000);
      runAlone(caller, faulty);
      expect(platform.quiesce()).toBe(0);
      expect(platform.quiesce()).toBe(0);
      const seen = counted(counter);
      for (const ctx of [counter, second]) {
        expect(ctx.stop).toBe(STOP_INTERRUPT);
        expect([CODE, CODE + 3]).toContain(get(ctx, REG.rip));
        expect(get(ctx, REG.rbx)).toBe(DATA);
      }
      expect([caller.stop, get(caller, REG.origRax), get(caller, REG.rip)]).toEqual([STOP_SYSCALL, 39, CODE + 10]);
      // The first fault of a thread may have to be met twice.
      expect([STOP_FAULT, STOP_INTERRUPT]).toContain(faulty.stop);
      expect([faulty.fault.addr, get(faulty, REG.rip)]).toEqual([0x1234, CODE + 3]);
      expect(platform.wait(20e6) === null).toBe(true);
      expect(counted(counter)).toBe(seen);
      // What is asked of them meanwhile does not change what they stopped with.
      for (const ctx of [counter, second, caller, faulty, blocked]) expect(typeof ctx.fp()).toBe("object");
      counter.addressSpace.executor = counter;
      expect(counter.addressSpace.map(FAR, PAGE, READ, false, null, 0)).toBe(0);
      platform.unquiesce();
      const stops = new Map<Context, number>();
      while (stops.size < 4) {
        const ctx = nextStop(platform);
        expect(stops.has(ctx)).toBe(false);
        if (ctx === faulty && ctx.stop === STOP_INTERRUPT) ctx.resumeWithRegisters();
        else stops.set(ctx, ctx.stop);
      }
      expect([counter, second, caller, faulty].map((ctx) => stops.get(ctx))).toEqual([
        STOP_INTERRUPT,
        STOP_INTERRUPT,
        STOP_SYSCALL,
        STOP_FAULT,
      ]);
      expect(platform.wait(10e6) === null).toBe(true);
      expect(get(caller, REG.origRax)).toBe(39);
      for (const ctx of [counter, second]) ctx.resumeWithRegisters();
      until("it goes on", () => counted(counter) > seen);
      for (const ctx of [caller, blocked]) {
        ctx.resumeWithResult(77);
        stopsFor(ctx, 60);
        expect(get(ctx, REG.rdi)).toBe(77);
      }
    });

    test("it goes on after many rounds of it, as if nothing had been", () => {
      // mov $39, %eax; syscall; inc %rbp; jmp
      const ctx = guest(...CALL(39), 0x48, 0xff, 0xc5, 0xeb, 0xf4);
      ctx.resumeWithRegisters();
      let calls = 0;
      for (let round = 0; round < 200; round++) {
        if (round % 2 === 0) {
          expect(platform.quiesce()).toBe(0);
          platform.unquiesce();
        }
        expectNext(ctx);
        if (ctx.stop === STOP_SYSCALL) {
          expect(get(ctx, REG.rbp)).toBe(calls++);
          // Let run just before everything stops again.
          ctx.resumeWithResult(0);
        } else ctx.resumeWithRegisters();
      }
      expect(calls).toBeGreaterThan(49);
    });

    test("what is let run meanwhile runs afterwards", () => {
      const ctx = go(guest(...CALL(39), ...MOV_RDI_RAX, ...EXIT));
      const other = guest(...COUNT);
      expect(platform.quiesce()).toBe(0);
      ctx.resumeWithResult(5);
      other.resumeWithRegisters();
      expect(platform.wait(20e6) === null).toBe(true);
      expect(counted(other)).toBe(0);
      expect(get(ctx, REG.rax)).toBe(5);
      platform.unquiesce();
      stopsFor(ctx, 60);
      expect(get(ctx, REG.rdi)).toBe(5);
      until("the other runs", () => counted(other) > 0);
    });

    test("new contexts that have not run are kept too", () => {
      const ctx = go(guest(...CALL(56), ...EXIT));
      const space = ctx.addressSpace;
      const resumed = made(space.createContext());
      set(resumed, REG.rax, 0);
      const waiting = made(space.createContext());
      const child = made(space.fork());
      guests.push(child);
      resumed.resumeWithRegisters();
      expect(platform.quiesce()).toBe(0);
      // It may have come as far as its call.
      expect(get(resumed, REG.rip)).toBe(resumed.stop === STOP_SYSCALL ? CODE + 14 : CODE + 7);
      expect([waiting.stop, child.stop]).toEqual([STOP_STARTED, STOP_STARTED]);
      expect(platform.wait(5e6) === null).toBe(true);
      platform.unquiesce();
      const seen = new Set<Context>();
      for (let i = 0; i < 4 && seen.size < 3; i++) {
        const at = nextStop(platform);
        if (at === resumed && at.stop === STOP_INTERRUPT) at.resumeWithRegisters();
        else seen.add(at);
      }
      expect([resumed, waiting, child].every((each) => seen.has(each))).toBe(true);
      expect([resumed.stop, get(resumed, REG.origRax)]).toEqual([STOP_SYSCALL, 60]);
    });

    test("a paused home shows its registers, and stays paused", () => {
      const home = made(platform.createHome([]));
      const ctx = guestIn(home, ...COUNT);
      ctx.resumeWithRegisters();
      const caller = guestIn(home, ...COUNT_ONCE, ...CALL(39), ...EXIT);
      until("it counts", () => counted(ctx) > 1000);
      runAlone(caller);
      home.pause();
      // One that is let run during the pause.
      const third = go2(home);
      expect(platform.quiesce()).toBe(0);
      const seen = counted(ctx);
      expect(seen).toBeGreaterThan(1000);
      expect([CODE, CODE + 3]).toContain(get(ctx, REG.rip));
      expect([caller.stop, get(caller, REG.origRax)]).toEqual([STOP_SYSCALL, 39]);
      expect(get(third, REG.rip)).toBe(CODE);
      expect(typeof ctx.fp()).toBe("object");
      const copy = take(ctx);
      expect(copy.changed(DATA, PAGE)).toEqual([DATA, DATA + PAGE]);
      platform.unquiesce();
      expect(platform.wait(30e6) === null).toBe(true);
      expect([counted(ctx), counted(third)]).toEqual([seen, 0]);
      home.resume();
      stopsFor(caller, 39);
      until("it goes on", () => counted(ctx) > seen && counted(third) > 0);
      home.destroy();
      for (const each of [ctx, caller, third]) each.addressSpace.destroy();
    });
    /** A guest that is made and let run in a paused home. */
    function go2(home: Home): Context {
      const ctx = made(platform.createAddressSpace(home));
      guests.push(ctx);
      const space = ctx.addressSpace;
      space.executor = ctx;
      expect(space.map(CODE, PAGE, READ | WRITE | EXEC, false, null, 0)).toBe(0);
      expect(space.write(CODE, Uint8Array.from(COUNT), 0, COUNT.length)).toBe(COUNT.length);
      space.flush?.();
      expect(space.map(DATA, PAGE, READ | WRITE, false, null, 0)).toBe(0);
      start(ctx, CODE);
      set(ctx, REG.rbx, DATA);
      ctx.resumeWithRegisters();
      return ctx;
    }

    test("a pause that begins or ends meanwhile counts afterwards", () => {
      const home = made(platform.createHome([]));
      const ctx = guestIn(home, ...COUNT);
      ctx.resumeWithRegisters();
      until("it counts", () => counted(ctx) > 100);
      expect(platform.quiesce()).toBe(0);
      home.pause();
      expect(typeof ctx.fp()).toBe("object");
      platform.unquiesce();
      const seen = counted(ctx);
      expect(platform.wait(20e6) === null).toBe(true);
      expect(counted(ctx)).toBe(seen);
      expect(platform.quiesce()).toBe(0);
      home.resume();
      expect(platform.wait(5e6) === null).toBe(true);
      expect(counted(ctx)).toBe(seen);
      platform.unquiesce();
      until("it goes on", () => counted(ctx) > seen);
      ctx.addressSpace.destroy();
      home.destroy();
    });

    test("one that is killed meanwhile is reported afterwards", () => {
      const running = guest(...COUNT);
      running.resumeWithRegisters();
      const stopped = go(guest(...CALL(39)));
      expect(platform.quiesce()).toBe(0);
      for (const { addressSpace } of [running, stopped]) process.kill(addressSpace.hostPid, "SIGKILL");
      for (const end = performance.now() + 200; performance.now() < end; )
        expect(platform.wait(20e6) === null).toBe(true);
      expect(platform.states([running, stopped]).every((state) => (state as number) < 0)).toBe(true);
      for (const ctx of [running, stopped]) {
        expect(ctx.fp()).toBeLessThan(0);
        expect(ctx.addressSpace.snapshot()).toBeLessThan(0);
      }
      platform.unquiesce();
      const gone = new Set<Context>();
      while (gone.size < 2) {
        const ctx = nextStop(platform);
        if (ctx.stop === STOP_GONE) gone.add(ctx);
        else ctx.resumeWithRegisters();
      }
      expect([running, stopped].every((ctx) => gone.has(ctx))).toBe(true);
    });

    test("hundreds of threads stop together", () => {
      const first = guest(...COUNT);
      const all = [first];
      for (let i = 0; i < 200; i++) all.push(thread(first, CODE));
      for (const ctx of all) ctx.resumeWithRegisters();
      const begin = performance.now();
      expect(platform.quiesce()).toBe(0);
      expect(performance.now() - begin).toBeLessThan(5000);
      const seen = counted(first);
      const states = platform.states(all);
      all.forEach((ctx, i) => {
        const { regs, fp } = made(states[i]!);
        expect([CODE, CODE + 3]).toContain(regs[REG.rip * 2]!);
        expect(regs.slice(0, REG.fsBase * 2)).toEqual(ctx.regs.slice(0, REG.fsBase * 2));
        expect(fp.length).toBeGreaterThanOrEqual(512);
      });
      platform.unquiesce();
      const reported = new Set<Context>();
      for (let i = 0; i < all.length; i++) reported.add(nextStop(platform));
      expect(reported.size).toBe(all.length);
      expect(counted(first)).toBe(seen);
    });

    // Floating-point state, registers.

    /** movq %rbx, %xmm7; getpid; movq %xmm7, %rdi; exit */
    const VECTOR = [0x66, 0x48, 0x0f, 0x6e, 0xfb, ...CALL(39), 0x66, 0x48, 0x0f, 0x7e, 0xff, ...EXIT];

    test("floating-point state by buffer is that of a frame in guest memory", () => {
      const ctx = guest(...VECTOR);
      set(ctx, REG.rbx, 0x123456789abc);
      go(ctx);
      const space = ctx.addressSpace;
      const image = made(ctx.fp());
      expect([...image.subarray(160 + 7 * 16, 166 + 7 * 16)]).toEqual([0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12]);
      expect(space.map(FAR, 8 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
      expect(ctx.saveFpState(FAR)).toBe(0);
      expect(Buffer.compare(bytesAt(space, FAR, image.length), image)).toBe(0);
      const view = new DataView(image.buffer);
      if (image.length > 512) {
        expect(view.getUint32(464, true)).toBe(0x46505853);
        expect(view.getUint32(468, true)).toBe(image.length);
        const { xfeatures, areas } = platform.cpuFeatures();
        expect(view.getUint32(472, true) + view.getUint32(476, true) * 4294967296).toBe(xfeatures);
        let size = 576;
        for (let i = 0; i < areas.length; i += 3) size = Math.max(size, areas[i + 1]! + areas[i + 2]!);
        expect(image.length).toBe(size + 4);
      }
      image.set([1, 2, 3, 0, 0, 0], 160 + 7 * 16);
      expect(ctx.setFp(image)).toBe(0);
      ctx.resumeWithResult(0);
      expectNext(ctx);
      expect(get(ctx, REG.rdi)).toBe(0x030201);
    });

    test("a state that no processor has written is refused, and changes nothing", () => {
      const ctx = guest(...VECTOR);
      set(ctx, REG.rbx, 0x7777);
      go(ctx);
      const image = made(ctx.fp());
      const changed = (...changes: [number, ...number[]][]): Uint8Array => {
        const copy = image.slice();
        copy.set([9], 160 + 7 * 16);
        for (const [at, ...bytes] of changes) copy.set(bytes, at);
        return copy;
      };
      const bad = [new Uint8Array(0), image.subarray(0, 100), changed([24, 0xff, 0xff, 0xff, 0xff])];
      if (image.length > 512)
        bad.push(
          image.subarray(0, 512),
          image.subarray(0, image.length - 1),
          new Uint8Array(image.length + 64),
          changed([464, 0, 0, 0, 0]),
          changed([480, 0, 0, 0, 0]),
          changed([480, 0xff, 0xff, 0xff, 0xff]),
          changed([image.length - 4, 0, 0, 0, 0]),
          // Components that no processor has, the compacted form, reserved bytes of the header.
          changed([512 + 6, 0x40]),
          changed([512 + 7, 0x80]),
          changed([512 + 4, 0x10]),
          changed([512 + 2, 0x06]),
          changed([520 + 7, 0x80]),
          changed([528, 1]),
          changed([575, 1]),
        );
      for (const each of bad) expect(ctx.setFp(each)).toBe(-EINVAL);
      ctx.resumeWithResult(0);
      expectNext(ctx);
      expect(get(ctx, REG.rdi)).toBe(0x7777);
    });

    test("random states load or are refused, and do no harm", () => {
      const ctx = go(guest(...VECTOR));
      const image = made(ctx.fp());
      let seed = 12345;
      const random = (below: number): number => {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        return Math.floor((seed / 4294967296) * below);
      };
      for (let round = 0; round < 300; round++) {
        const copy = image.slice();
        for (let i = random(8); i >= 0; i--)
          copy[random(2) === 0 ? random(copy.length) : 464 + random(112)] = random(256);
        expect([0, -EINVAL]).toContain(ctx.setFp(copy));
      }
      expect(ctx.setFp(image)).toBe(0);
      set(ctx, REG.rip, CODE + 12);
      go(ctx);
      expect(ctx.stop).toBe(STOP_SYSCALL);
    });

    test("an adopted context goes on where the saved one was", () => {
      // mov %fs:8, %rsi; movq %xmm7, %rdi; exit
      const rest = [0x64, 0x48, 0x8b, 0x34, 0x25, 8, 0, 0, 0, 0x66, 0x48, 0x0f, 0x7e, 0xff, ...EXIT];
      const ctx = guest(0x66, 0x48, 0x0f, 0x6e, 0xfb, ...CALL(39), ...rest);
      for (const reg of [0, 1, 2, 3, 4, 7, 8, 9, 12, 13, 19]) set(ctx, reg, 0x7000_0000_0000 + reg);
      set(ctx, REG.rbx, 0xabcdef012345);
      expect(ctx.setFsBase(DATA + 0x100)).toBe(0);
      expect(ctx.setGsBase(DATA + 0x200)).toBe(0);
      go(ctx);
      const { regs, fp } = made(platform.states([ctx])[0]!);
      expect(Buffer.compare(made(ctx.fp()), fp)).toBe(0);
      const other = guest(...Array<number>(12).fill(0x90), ...rest);
      const space = other.addressSpace;
      space.write(DATA + 0x108, Uint8Array.of(0x44, 0x33), 0, 2);
      space.flush?.();
      // The first context of its space, a further one, and one that nobody has seen yet.
      const second = made(space.createContext());
      for (const adopter of [other, second]) {
        expect(adopter.adopt(regs, fp)).toBe(0);
        expect([adopter.getFsBase(), adopter.getGsBase()]).toEqual([DATA + 0x100, DATA + 0x200]);
      }
      expect(platform.wait(20e6) === null).toBe(true);
      // Between, things are done in it, and everything stops.
      expect(space.map(FAR, PAGE, READ, false, null, 0)).toBe(0);
      expect(platform.quiesce()).toBe(0);
      platform.unquiesce();
      expect(platform.wait(10e6) === null).toBe(true);
      for (const adopter of [other, second]) {
        adopter.resumeWithResult(-4);
        expectNext(adopter);
        expect([adopter.stop, get(adopter, REG.origRax)]).toEqual([STOP_SYSCALL, 60]);
        expect([get(adopter, REG.rdi), get(adopter, REG.rsi)]).toEqual([0xabcdef012345, 0x3344]);
        for (const reg of [0, 1, 2, 3, 4, 7, 8, 9, 12, 19])
          expect([reg, get(adopter, reg)]).toEqual([reg, 0x7000_0000_0000 + reg]);
      }
      // The result of the call, in full.
      set(other, REG.rip, CODE + 12 + rest.length - 7);
      const third = thread(other, CODE);
      const from = Uint32Array.from(regs);
      from[REG.rip * 2] = CODE + 12 + rest.length - 2;
      expect(third.adopt(from, fp)).toBe(0);
      third.resumeWithResult(-4);
      expectNext(third);
      expect([third.regs[REG.origRax * 2]! | 0, third.stop]).toEqual([-4, STOP_SYSCALL]);
    });

    test("registers that no program could have are put right or refused", () => {
      const ctx = guest(...CALL(39), ...LOOP);
      const fp = made(ctx.fp());
      const regs = (changes: Record<number, [number, number]>): Uint32Array => {
        const made = new Uint32Array(54);
        made[REG.rip * 2] = CODE;
        for (const [reg, [low, high]] of Object.entries(changes)) made.set([low, high], Number(reg) * 2);
        return made;
      };
      expect(ctx.adopt(new Uint32Array(10), fp)).toBe(-EINVAL);
      expect(ctx.adopt(regs({ [REG.fsBase]: [0, 0x8000] }), fp)).toBe(-EINVAL);
      expect(ctx.adopt(regs({ [REG.gsBase]: [0, 0xffffffff] }), fp)).toBe(-EINVAL);
      expect(ctx.adopt(regs({}), fp.subarray(1))).toBe(-EINVAL);
      // Of the kernel's code segment, with I/O privilege, virtual 8086 mode, interrupts off, strange selectors.
      const odd = regs({
        [REG.cs]: [0x10, 0],
        [REG.ss]: [0x18, 0],
        [REG.eflags]: [0x3f3045, 0],
        [REG.ds]: [0x18, 0],
        [REG.fs]: [0xffff_fff0, 1],
      });
      expect(ctx.adopt(odd, fp)).toBe(0);
      ctx.resumeWithRegisters();
      expectNext(ctx);
      expect([ctx.stop, get(ctx, REG.origRax), get(ctx, REG.cs), get(ctx, REG.ss)]).toEqual([
        STOP_SYSCALL,
        39,
        0x33,
        0x2b,
      ]);
      expect(get(ctx, REG.eflags) & 0x1b7000).toBe(0);
      expect(get(ctx, REG.eflags) & 0x200).toBe(0x200);
      // 32-bit code is there for every program: inc %eax, which is a prefix in 64-bit code; ud2.
      const narrow = thread(ctx, CODE);
      const space = ctx.addressSpace;
      space.executor = ctx;
      expect(space.map(FAR, PAGE, READ | WRITE | EXEC, false, null, 0)).toBe(0);
      space.executor = null;
      expect(space.write(FAR, Uint8Array.of(0x40, 0x0f, 0x0b), 0, 3)).toBe(3);
      expect(narrow.adopt(regs({ [REG.cs]: [0x23, 0], [REG.rip]: [FAR, 0], [REG.rax]: [6, 0] }), fp)).toBe(0);
      narrow.resumeWithRegisters();
      expectNext(narrow);
      expect([narrow.stop, narrow.fault.signo, get(narrow, REG.cs)]).toEqual([STOP_FAULT, 4, 0x23]);
      expect([get(narrow, REG.rip), get(narrow, REG.rax)]).toEqual([FAR + 1, 7]);
      // A non-canonical place to go on is a fault of the guest's.
      const far = thread(ctx, CODE);
      expect(far.adopt(regs({ [REG.rip]: [0, 0x8000_0000] }), fp)).toBe(0);
      far.resumeWithRegisters();
      expectNext(far);
      expect([far.stop, far.fault.signo]).toEqual([STOP_FAULT, 11]);
    });

    test("the processor's features are those that /proc/cpuinfo shows", async () => {
      const { words, xfeatures } = platform.cpuFeatures();
      const shown = new Set((await Bun.file("/proc/cpuinfo").text()).match(/^flags\s*: (.*)$/m)![1]!.split(" "));
      expect(words).toContain("sse2");
      // The host may have switched some off for itself; nothing else is named.
      expect(words.filter((word) => !shown.has(word)).length).toBeLessThan(4);
      expect(xfeatures & 3).toBe(3);
      expect((xfeatures & 4) !== 0).toBe(shown.has("avx"));
    });

    // Snapshots.

    /** A file of memory with something on each page. */
    function fileOf(pages: number, first = 1): number {
      const fd = memfdCreate(Buffer.from("conformance\0"), 1);
      ftruncate(fd, pages * PAGE);
      for (let i = 0; i < pages; i++) pwrite(fd, Uint8Array.of((first + i) & 255, (first + i) >> 8), 2, i * PAGE);
      return fd;
    }

    for (const scan of [true, false])
      test(`a snapshot tells which pages are the process' own${scan ? "" : ", on an older host"}`, () => {
        withoutScan(scan ? 0 : 1);
        const ctx = go(guest(...CALL(39), ...EXIT));
        const space = ctx.addressSpace;
        const fd = fileOf(8);
        const readOnly = { fd: -1, readFd: fd };
        const [anon, file, shared, none] = [FAR, FAR + 0x100000, FAR + 0x200000, FAR + 0x300000];
        expect(space.map(anon, 64 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
        expect(space.map(file, 8 * PAGE, READ | WRITE, false, readOnly, 0)).toBe(0);
        expect(space.map(shared, 8 * PAGE, READ | WRITE, true, { fd, readFd: fd }, 0, true)).toBe(0);
        expect(space.map(none, 4 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
        // Huge, and never touched.
        expect(space.map(0x100000000000, 2 ** 40, READ | WRITE, false, null, 0)).toBe(0);
        space.executor = null;
        const put = (at: number, value: number): void => {
          expect(space.write(at, Uint8Array.of(value), 0, 1)).toBe(1);
        };
        for (const page of [1, 2, 3, 10, 63]) put(anon + page * PAGE + 5, page);
        // Read, which leaves nothing of its own; copied on write.
        bytesAt(space, file, 8 * PAGE);
        put(file + 3 * PAGE, 99);
        bytesAt(space, shared, 8 * PAGE);
        put(shared + PAGE, 98);
        put(none + PAGE, 97);
        space.executor = ctx;
        expect(space.protect(none, 4 * PAGE, 0)).toBe(0);
        const copy = take(ctx);
        const ranges = (at: number, pages: number): [number, number][] => {
          const found = made(copy.changed(at, pages * PAGE));
          const list: [number, number][] = [];
          for (let i = 0; i < found.length; i += 2) list.push([(found[i]! - at) / PAGE, (found[i + 1]! - at) / PAGE]);
          return list;
        };
        expect(ranges(anon, 64)).toEqual([
          [1, 4],
          [10, 11],
          [63, 64],
        ]);
        expect(ranges(anon, 3)).toEqual([[1, 3]]);
        expect(ranges(anon + 4 * PAGE, 6)).toEqual([]);
        expect(ranges(file, 8)).toEqual([[3, 4]]);
        expect(ranges(shared, 8)).toEqual([]);
        expect(ranges(none, 4)).toEqual([[1, 2]]);
        expect(ranges(0x100000000000, scan ? 2 ** 28 : 2 ** 20)).toEqual([]);
        // Neither the stub's memory nor the host's, whatever is asked.
        const all = made(copy.changed(scan ? 0 : space.maxAddress - 2 ** 30, 2 ** 48));
        expect(all.every((at) => at <= space.maxAddress)).toBe(true);
        expect(copy.changed(space.maxAddress, 2 ** 40)).toEqual([]);
        // Read whatever its protection.
        const bytes = new Uint8Array(4 * PAGE);
        expect(copy.read(none, bytes, 0, bytes.length)).toBe(bytes.length);
        expect([bytes[0], bytes[PAGE], bytes[2 * PAGE]]).toEqual([0, 97, 0]);
        expect(copy.read(anon + PAGE, bytes, 1, 3 * PAGE)).toBe(3 * PAGE);
        expect([bytes[0], bytes[6], bytes[6 + PAGE], bytes[6 + 2 * PAGE]]).toEqual([0, 1, 2, 3]);
        expect(copy.read(CODE - PAGE, bytes, 0, PAGE)).toBe(-EFAULT);
        expect(copy.read(DATA, bytes, 0, 2 * PAGE)).toBe(PAGE);
        expect(() => copy.read(DATA, bytes, 1, bytes.length)).toThrow("small");
        withoutScan(0);
        closeFd(fd);
      });

    test("a snapshot stays as it was while the guest goes on, and after its end", () => {
      const ctx = guest(...COUNT);
      ctx.resumeWithRegisters();
      until("it counts", () => counted(ctx) > 1000);
      expect(platform.quiesce()).toBe(0);
      const copy = take(ctx);
      const seen = counted(ctx);
      platform.unquiesce();
      until("it goes on", () => counted(ctx) > seen + 1000);
      const word = new Uint32Array(1);
      const look = (): number => {
        expect(copy.read(DATA, new Uint8Array(word.buffer), 0, 4)).toBe(4);
        return word[0]!;
      };
      expect(look()).toBe(seen);
      // A copy of the same memory later, beside it.
      expect(platform.quiesce()).toBe(0);
      const later = take(ctx);
      const then = counted(ctx);
      platform.unquiesce();
      ctx.addressSpace.destroy();
      for (let i = 0; i < 10; i++) expect(platform.wait(5e6) === null).toBe(true);
      expect(look()).toBe(seen);
      expect(later.read(DATA, new Uint8Array(word.buffer), 0, 4)).toBe(4);
      expect(word[0]).toBe(then);
    });

    test("what a guest keeps from its forks is in a snapshot, and still not in its forks", () => {
      const ctx = go(guest(...CALL(57), ...EXIT));
      const space = ctx.addressSpace;
      const [left, wiped] = [FAR, FAR + 0x100000];
      for (const at of [left, wiped]) expect(space.map(at, 2 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
      space.executor = null;
      for (const at of [left, wiped]) space.write(at + PAGE, Uint8Array.of(5), 0, 1);
      space.executor = ctx;
      expect(space.advise(left, 2 * PAGE, MADV_DONTFORK)).toBe(0);
      expect(space.advise(wiped, 2 * PAGE, MADV_WIPEONFORK)).toBe(0);
      const copy = take(ctx, { left: [left, left + 2 * PAGE], wiped: [wiped, wiped + 2 * PAGE] });
      const byte = new Uint8Array(1);
      for (const at of [left, wiped]) {
        expect(copy.changed(at, 2 * PAGE)).toEqual([at + PAGE, at + 2 * PAGE]);
        expect(copy.read(at + PAGE, byte, 0, 1)).toBe(1);
        expect(byte[0]).toBe(5);
      }
      const child = made(space.fork());
      guests.push(child);
      expect(child.addressSpace.read(left + PAGE, byte, 0, 1)).toBe(-EFAULT);
      expect(child.addressSpace.read(wiped + PAGE, byte, 0, 1)).toBe(1);
      expect(byte[0]).toBe(0);
    });

    test("a snapshot is copied to a file, with holes for what is nothing", () => {
      const ctx = go(guest(...CALL(39), ...EXIT));
      const space = ctx.addressSpace;
      expect(space.map(FAR, 1024 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
      expect(space.map(FAR + 1026 * PAGE, 6 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
      space.executor = null;
      for (const page of [3, 300, 301, 1023]) space.write(FAR + page * PAGE + 7, Uint8Array.of(page & 255), 0, 1);
      // Written, and zero.
      space.write(FAR + 500 * PAGE, new Uint8Array(PAGE), 0, PAGE);
      space.write(FAR + 1030 * PAGE, Uint8Array.of(44), 0, 1);
      space.executor = ctx;
      const copy = take(ctx);
      const fd = memfdCreate(Buffer.from("conformance\0"), 1);
      ftruncate(fd, 2000 * PAGE);
      expect(copy.copyTo(fd, 16 * PAGE, FAR, 1032 * PAGE)).toBe(1032 * PAGE);
      const byte = new Uint8Array(1);
      for (const page of [3, 300, 301, 1023]) {
        pread(fd, byte, 1, (16 + page) * PAGE + 7);
        expect(byte[0]).toBe(page & 255);
      }
      pread(fd, byte, 1, (16 + 1030) * PAGE);
      expect(byte[0]).toBe(44);
      expect(lseek(fd, 0, SEEK_DATA)).toBe((16 + 3) * PAGE);
      expect(lseek(fd, (16 + 4) * PAGE, SEEK_DATA)).toBe((16 + 300) * PAGE);
      expect(lseek(fd, (16 + 302) * PAGE, SEEK_DATA)).toBe((16 + 1023) * PAGE);
      closeFd(fd);
      expect(copy.copyTo(fd, 0, FAR, PAGE)).toBe(0 + PAGE);
      expect(copy.copyTo(fd, 0, FAR + 3 * PAGE, PAGE)).toBe(-9);
    });

    test("snapshots leave neither processes nor descriptors, and their end is nobody's", () => {
      const ctx = go(guest(...CALL(39), ...MOV_RDI_RAX, ...EXIT));
      for (let i = 0; i < 10; i++) expect(platform.wait(5e6) === null).toBe(true);
      const count = (): number => readdirSync("/proc/self/fd").length;
      const before = count();
      for (let round = 0; round < 30; round++) {
        const copy = made(ctx.addressSpace.snapshot());
        const byte = new Uint8Array(1);
        expect(copy.read(CODE, byte, 0, 1)).toBe(1);
        expect(byte[0]).toBe(0xb8);
        expect(made(copy.changed(CODE, PAGE))).toEqual([CODE, CODE + PAGE]);
        if (round % 3 === 0) {
          // The host's doing.
          for (const pid of stoppedCopies()) process.kill(pid, "SIGKILL");
          for (let i = 0; i < 50 && copy.read(CODE, byte, 0, 1) !== -ESRCH; i++)
            expect(platform.wait(5e6) === null).toBe(true);
          expect(copy.read(CODE, byte, 0, 1)).toBe(-ESRCH);
          expect(copy.changed(CODE, PAGE)).toBe(-ESRCH);
        }
        copy.destroy();
        copy.destroy();
        expect(copy.changed(CODE, PAGE)).toBe(-ESRCH);
        expect(platform.wait(0) === null).toBe(true);
      }
      until("all have ended", () => stoppedCopies().length === 0);
      expect(count()).toBeLessThanOrEqual(before);
      ctx.resumeWithResult(1);
      expectNext(ctx);
      expect(get(ctx, REG.origRax)).toBe(60);

      /** Children of ours that hold a copy of the guest: they have its name, and are none of the guests. */
      function stoppedCopies(): number[] {
        return (platform as unknown as { snapshots: Map<number, unknown> }).snapshots.keys().toArray();
      }
    });

    // Many mappings at once.

    for (const threads of [1, 2])
      test(`one file is mapped in thousands of places, beside ${threads - 1} threads`, () => {
        const pages = 5000;
        const fd = fileOf(pages);
        const ctx = guest(...EXIT);
        const space = ctx.addressSpace;
        if (threads > 1) thread(ctx, CODE);
        space.executor = ctx;
        const runs: MapRun[] = [];
        for (let i = 0; i < pages; i++)
          runs.push({
            addr: FAR + 2 * i * PAGE,
            length: PAGE,
            prot: i % 2 === 0 ? READ : READ | WRITE,
            offset: (pages - 1 - i) * PAGE,
          });
        expect(space.mapMany(runs, { fd: -1, readFd: fd })).toBe(0);
        expect(space.mapMany([], { fd: -1, readFd: fd })).toBe(0);
        space.executor = null;
        for (const i of [0, 1, 999, 2047, 2048, 2049, 4999]) {
          const [low, high] = bytesAt(space, FAR + 2 * i * PAGE, 2);
          expect(low! + high! * 256).toBe(pages - i);
          expect(space.read(FAR + (2 * i + 1) * PAGE, new Uint8Array(1), 0, 1)).toBe(-EFAULT);
          expect(space.write(FAR + 2 * i * PAGE, Uint8Array.of(0), 0, 1)).toBe(i % 2 === 0 ? -EFAULT : 1);
        }
        // Private: the file has not changed.
        const byte = new Uint8Array(1);
        pread(fd, byte, 1, (pages - 2) * PAGE);
        expect(byte[0]).toBe((pages - 1) & 255);
        space.executor = ctx;
        // The first that cannot be ends it; and then all is as before.
        const good = runs.slice(0, 3);
        expect(space.mapMany([good[0]!, { ...good[1]!, offset: 100 }, good[2]!], { fd: -1, readFd: fd })).toBe(-EINVAL);
        expect(space.mapMany(good, { fd: -1, readFd: -9 })).toBe(-9);
        for (const bad of [
          { addr: space.maxAddress },
          { addr: space.maxAddress - PAGE, length: 2 * PAGE },
          { addr: 0 },
          { addr: 0x7fe000000000 },
          { addr: -PAGE },
          { addr: Number.NaN },
          { length: 0 },
          { length: 2 ** 60 },
          { offset: -PAGE },
          { prot: 0x1000 },
        ])
          expect(space.mapMany([good[0]!, { ...good[1]!, ...bad }], { fd: -1, readFd: fd })).toBe(-EINVAL);
        expect(space.mapMany(good, { fd: -1, readFd: fd })).toBe(0);
        expect(space.map(DATA, PAGE, READ, true, { fd, readFd: fd }, 0)).toBe(0);
        expect(bytesAt(space, DATA, 1)[0]).toBe(1);
        closeFd(fd);
        expect(go(ctx).stop).toBe(STOP_SYSCALL);
      });

    /** A guest with sixteen pages of a file as its anonymous memory, on every page but the fourth of each four. */
    function restored(): { ctx: Context; fd: number; first: (page: number, at?: number) => number } {
      const fd = fileOf(64);
      const ctx = go(guest(...CALL(57), ...EXIT));
      const space = ctx.addressSpace;
      expect(space.map(FAR, 16 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
      const runs = [0, 4, 8, 12].map((page) => ({
        addr: FAR + page * PAGE,
        length: 3 * PAGE,
        prot: READ | WRITE,
        offset: page * PAGE,
      }));
      expect(space.mapMany(runs, { fd: -1, readFd: fd })).toBe(0);
      const first = (page: number, at = FAR): number => bytesAt(space, at + page * PAGE, 1)[0]!;
      expect([0, 1, 2, 3, 4].map((page) => first(page))).toEqual([1, 2, 3, 0, 5]);
      return { ctx, fd, first };
    }
    const NINE = [0, 1, 2, 3, 4, 5, 6, 7, 8];

    for (const [what, advice] of [
      ["MADV_DONTNEED", 4],
      ["MADV_FREE", 8],
    ] as const)
      test(`an image's pages are zero after ${what}`, () => {
        const { ctx, fd, first } = restored();
        const space = ctx.addressSpace;
        expect(space.protect(FAR + 5 * PAGE, PAGE, READ)).toBe(0);
        expect(space.advise(FAR + PAGE, 5 * PAGE, advice)).toBe(0);
        expect(NINE.map((page) => first(page))).toEqual([1, 0, 0, 0, 0, 0, 7, 0, 9]);
        space.executor = null;
        expect(space.write(FAR + 5 * PAGE, Uint8Array.of(1), 0, 1)).toBe(-EFAULT);
        expect(space.write(FAR + 4 * PAGE, Uint8Array.of(1), 0, 1)).toBe(1);
        closeFd(fd);
      });

    test("an image's pages move, shrink and grow as anonymous memory does", () => {
      const { ctx, fd, first } = restored();
      const space = ctx.addressSpace;
      const to = FAR + 0x100000;
      // Grown in place: zeros, not what comes next in the file.
      expect(space.unmap(FAR + 7 * PAGE, 9 * PAGE)).toBe(0);
      expect(space.remap(FAR, 7 * PAGE, FAR, 9 * PAGE)).toBe(0);
      expect(NINE.map((page) => first(page))).toEqual([1, 2, 3, 0, 5, 6, 7, 0, 0]);
      // Moved, of many mappings on the host, and grown; what was there goes.
      expect(space.map(to + 2 * PAGE, 2 * PAGE, READ, false, null, 0)).toBe(0);
      expect(space.remap(FAR, 7 * PAGE, to, 8 * PAGE)).toBe(0);
      expect(NINE.slice(0, 8).map((page) => first(page, to))).toEqual([1, 2, 3, 0, 5, 6, 7, 0]);
      expect(space.read(FAR, new Uint8Array(1), 0, 1)).toBe(-EFAULT);
      expect(space.read(to + 8 * PAGE, new Uint8Array(1), 0, 1)).toBe(-EFAULT);
      // Where the last part is none of the image's.
      expect(space.remap(to, 8 * PAGE, FAR + 0x200000, 9 * PAGE)).toBe(0);
      expect(NINE.map((page) => first(page, FAR + 0x200000))).toEqual([1, 2, 3, 0, 5, 6, 7, 0, 0]);
      // Smaller, at once moved; and what was given up is zero when it grows again.
      expect(space.remap(FAR + 0x200000, 9 * PAGE, to, 2 * PAGE)).toBe(0);
      expect(space.remap(to, 2 * PAGE, to, PAGE)).toBe(0);
      expect(space.remap(to, PAGE, to, 3 * PAGE)).toBe(0);
      expect([0, 1, 2].map((page) => first(page, to))).toEqual([1, 0, 0]);
      expect(made(take(ctx).changed(to, 3 * PAGE))).toEqual([to, to + PAGE]);
      // They are memory of its own in a fork too, which goes its own way.
      const child = made(space.fork());
      guests.push(child);
      expect(child.addressSpace.advise(to, PAGE, 4)).toBe(0);
      expect([bytesAt(child.addressSpace, to, 1)[0], first(0, to)]).toEqual([0, 1]);
      closeFd(fd);
    });

    test("an image's pages are saved again, changed or not", () => {
      const { ctx, fd } = restored();
      const space = ctx.addressSpace;
      space.executor = null;
      for (const page of [1, 3, 9]) expect(space.write(FAR + page * PAGE, Uint8Array.of(200 + page), 0, 1)).toBe(1);
      space.executor = ctx;
      expect(space.unmap(FAR + 5 * PAGE, PAGE)).toBe(0);
      expect(space.protect(FAR + 12 * PAGE, PAGE, 0)).toBe(0);
      const copy = take(ctx);
      const pages = made(copy.changed(FAR, 16 * PAGE)).map((at) => (at - FAR) / PAGE);
      expect(pages).toEqual([0, 5, 6, 7, 8, 11, 12, 15]);
      const bytes = new Uint8Array(16 * PAGE);
      expect(copy.read(FAR, bytes, 0, 5 * PAGE)).toBe(5 * PAGE);
      expect(copy.read(FAR + 6 * PAGE, bytes, 6 * PAGE, 10 * PAGE)).toBe(10 * PAGE);
      const firsts = Array.from({ length: 16 }, (_, page) => bytes[page * PAGE]);
      expect(firsts).toEqual([1, 201, 3, 203, 5, 0, 7, 0, 9, 209, 11, 0, 13, 14, 15, 0]);
      // As after execve: nothing of it is left.
      expect(space.reset()).toBe(0);
      expect(space.map(FAR, 16 * PAGE, READ | WRITE, false, null, 0)).toBe(0);
      expect(take(ctx).changed(FAR, 16 * PAGE)).toEqual([]);
      closeFd(fd);
    });

    test("an image's pages may be wiped in forks", () => {
      const { ctx, fd, first } = restored();
      const space = ctx.addressSpace;
      expect(space.protect(FAR + 4 * PAGE, PAGE, 0)).toBe(0);
      expect(space.advise(FAR, 6 * PAGE, MADV_WIPEONFORK)).toBe(0);
      expect([0, 1, 2, 3, 5, 6].map((page) => first(page))).toEqual([1, 2, 3, 0, 6, 7]);
      expect(space.read(FAR + 4 * PAGE, new Uint8Array(1), 0, 1)).toBe(-EFAULT);
      expect(space.protect(FAR + 4 * PAGE, PAGE, READ)).toBe(0);
      expect(first(4)).toBe(5);
      const child = made(space.fork());
      guests.push(child);
      expect([0, 5, 6].map((page) => bytesAt(child.addressSpace, FAR + page * PAGE, 1)[0])).toEqual([0, 0, 7]);
      closeFd(fd);
    });
  });
}
