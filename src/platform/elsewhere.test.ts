/**
 * A small guest with several threads is saved in the middle of its work and built anew, on the same and on the other platform:
 * it goes on where it was. Between, the first platform is gone; what passes is plain data, and a file of pages.
 */
import { expect, test } from "bun:test";
import { closeFd, ftruncate, memfdCreate } from "../native/host.ts";
import { HostPoller } from "../native/poller.ts";
import { cpuFeatures } from "./cpu-features.ts";
import { type AddressSpace, type Context, type MapRun, type Platform, REG, STOP_SYSCALL } from "./platform.ts";
import { PtracePlatform } from "./ptrace/ptrace.ts";
import { SystrapPlatform } from "./systrap/systrap.ts";
import { bytesAt, CALL, CODE, DATA, EXEC, EXIT, get, made, PAGE, READ, set, start, WRITE } from "./testing/guests.ts";
import { nextStop } from "./testing/stops.ts";

const PLATFORMS: Readonly<Record<string, (pollerFd: number) => Platform>> = {
  systrap: (pollerFd) => new SystrapPlatform({ pollerFd }),
  "systrap, impatient": (pollerFd) => new SystrapPlatform({ pollerFd, patienceNs: 0 }),
  ptrace: (pollerFd) => new PtracePlatform({ pollerFd }),
};

/** Works on xmm1, ymm3, a word of memory, and a word by way of its fs base, r13 times; then tells what has come of it. */
const WORKER = [
  ...[0x66, 0x49, 0x0f, 0x6e, 0xc6], // movq %r14, %xmm0
  ...[0x66, 0x49, 0x0f, 0x6e, 0xd7], // movq %r15, %xmm2
  ...[0xc4, 0xe2, 0x7d, 0x59, 0xd2], // vpbroadcastq %xmm2, %ymm2
  ...[0xc5, 0xf1, 0xef, 0xc9], // vpxor %xmm1, %xmm1, %xmm1
  ...[0xc5, 0xe5, 0xef, 0xdb], // vpxor %ymm3, %ymm3, %ymm3
  ...[0xf0, 0xff, 0x45, 0x00], // lock incl (%rbp): it has begun
  // 1:
  ...[0xc5, 0xf1, 0xd4, 0xc8], // vpaddq %xmm0, %xmm1, %xmm1
  ...[0xc5, 0xe5, 0xd4, 0xda], // vpaddq %ymm2, %ymm3, %ymm3
  ...[0xf0, 0xff, 0x03], // lock incl (%rbx)
  ...[0x64, 0x4c, 0x03, 0x24, 0x25, 8, 0, 0, 0], // add %fs:8, %r12
  ...[0x65, 0x48, 0x03, 0x0c, 0x25, 16, 0, 0, 0], // add %gs:16, %rcx
  ...[0x49, 0xff, 0xcd], // dec %r13
  ...[0x75, 0xde], // jnz 1b
  ...[0x66, 0x48, 0x0f, 0x7e, 0xcf], // movq %xmm1, %rdi
  ...[0xc4, 0xe3, 0x7d, 0x39, 0xdc, 0x01], // vextracti128 $1, %ymm3, %xmm4
  ...[0x66, 0x48, 0x0f, 0x7e, 0xe6], // movq %xmm4, %rsi
  ...[0x4c, 0x89, 0xe2], // mov %r12, %rdx
  ...[0x49, 0x89, 0xca], // mov %rcx, %r10
  ...CALL(1),
  ...EXIT,
];
/** Sits in a call, and then tells its result, xmm5, and a word by way of its fs base. */
const SLEEPER_AT = 512;
const SLEEPER = [
  ...[0x66, 0x49, 0x0f, 0x6e, 0xee], // movq %r14, %xmm5
  ...CALL(35),
  ...[0x48, 0x89, 0xc7], // mov %rax, %rdi
  ...[0x66, 0x48, 0x0f, 0x7e, 0xee], // movq %xmm5, %rsi
  ...[0x64, 0x48, 0x8b, 0x14, 0x25, 8, 0, 0, 0], // mov %fs:8, %rdx
  ...CALL(1),
  ...EXIT,
];
/** Enough to be in the middle of it. */
const TURNS = 4_000_000;
const WORKERS = 3;

/** The areas of the guest, as its kernel would know them. */
const AREAS = [
  { addr: CODE, pages: 1, prot: READ | EXEC },
  { addr: DATA, pages: 8, prot: READ | WRITE },
  { addr: 0x10000000, pages: 4096, prot: READ | WRITE },
  { addr: 0x20000000, pages: 4, prot: 0 },
] as const;

interface SavedThread {
  regs: Uint32Array;
  fp: Uint8Array;
  /** It sits in a call that the kernel is to answer. */
  blocked: boolean;
}
interface Saved {
  threads: SavedThread[];
  pages: number;
  runs: MapRun[];
}

const word = (worker: number): number => DATA + worker * PAGE;
const tls = (thread: number): number => DATA + 4 * PAGE + thread * 64;
const BEGUN = DATA + 7 * PAGE;

function next(platform: Platform, ctx: Context): void {
  if (nextStop(platform) !== ctx) throw new Error("another context stopped first");
}
function put64(space: AddressSpace, addr: number, value: number): void {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(value >>> 0);
  bytes.writeUInt32LE(Math.floor(value / 4294967296), 4);
  expect(space.write(addr, bytes, 0, 8)).toBe(8);
}

/** Builds the guest, lets it work for a while, and saves it. */
function save(platform: Platform): Saved {
  const first = made(platform.createAddressSpace(platform.ownHome));
  next(platform, first);
  const space = first.addressSpace;
  space.executor = first;
  for (const { addr, pages } of AREAS) expect(space.map(addr, pages * PAGE, READ | WRITE, false, null, 0)).toBe(0);
  space.executor = null;
  expect(space.write(CODE, Uint8Array.from(WORKER), 0, WORKER.length)).toBe(WORKER.length);
  expect(space.write(CODE + SLEEPER_AT, Uint8Array.from(SLEEPER), 0, SLEEPER.length)).toBe(SLEEPER.length);
  // Thousands of pages with a gap between each two; one that nobody may look at.
  for (let i = 0; i < 2000; i++) put64(space, 0x10000000 + 2 * i * PAGE, 7 * i);
  put64(space, 0x20000000 + PAGE, 0x1234);
  space.executor = first;
  for (const { addr, pages, prot } of AREAS) expect(space.protect(addr, pages * PAGE, prot)).toBe(0);
  const all = [first];
  while (all.length < WORKERS + 1) {
    const thread = made(space.createContext());
    next(platform, thread);
    all.push(thread);
  }
  all.forEach((ctx, i) => {
    start(ctx, i < WORKERS ? CODE : CODE + SLEEPER_AT);
    set(ctx, REG.r14, 3 + i);
    set(ctx, REG.r15, 2 ** 31 + i);
    set(ctx, REG.r13, TURNS);
    set(ctx, REG.rbx, word(i));
    set(ctx, REG.rbp, BEGUN);
    space.executor = ctx;
    expect(ctx.setFsBase(tls(i))).toBe(0);
    expect(ctx.setGsBase(tls(i) + 8)).toBe(0);
    space.executor = null;
    put64(space, tls(i) + 8, 11 + i);
    put64(space, tls(i) + 24, 2 ** 20 + i);
  });
  const sleeper = all.at(-1)!;
  sleeper.resumeWithRegisters();
  next(platform, sleeper);
  sleeper.parked();
  for (const ctx of all.slice(0, WORKERS)) ctx.resumeWithRegisters();
  for (const end = performance.now() + 20e3; space.loadU32(BEGUN) < WORKERS; )
    if (performance.now() > end) throw new Error("they do not begin");

  expect(platform.quiesce()).toBe(0);
  const states = platform.states(all);
  const threads = all.map((ctx, i): SavedThread => {
    const { regs, fp } = made(states[i]!);
    const blocked = ctx === sleeper;
    if (!blocked && ctx.stop === STOP_SYSCALL) {
      // Nobody has served it: as before the call.
      regs[REG.rip * 2]! -= 2;
      regs.set(regs.subarray(REG.origRax * 2, REG.origRax * 2 + 2), REG.rax * 2);
    }
    return { regs, fp, blocked };
  });
  const left = threads.map(({ regs }) => regs[REG.r13 * 2]!);
  expect(left.some((turns) => turns > 0 && turns < TURNS)).toBe(true);
  const snapshot = made(space.snapshot());
  platform.unquiesce();

  // The original goes on meanwhile, and is gone before its memory is saved.
  const ran = nextStop(platform);
  ran.resumeWithRegisters();
  space.destroy();
  const pages = memfdCreate(Buffer.from("pages\0"), 1);
  const runs: MapRun[] = [];
  let size = 0;
  for (const { addr, pages: count, prot } of AREAS) {
    const changed = made(snapshot.changed(addr, count * PAGE));
    for (let i = 0; i < changed.length; i += 2) {
      const length = changed[i + 1]! - changed[i]!;
      ftruncate(pages, size + length);
      expect(snapshot.copyTo(pages, size, changed[i]!, length)).toBe(length);
      runs.push({ addr: changed[i]!, length, prot, offset: size });
      size += length;
    }
  }
  snapshot.destroy();
  return { threads, pages, runs };
}

/** Builds it anew, and lets it end. */
function restore(platform: Platform, { threads, pages, runs }: Saved): void {
  const first = made(platform.createAddressSpace(platform.ownHome));
  const space = first.addressSpace;
  space.executor = first;
  for (const { addr, pages: count, prot } of AREAS) expect(space.map(addr, count * PAGE, prot, false, null, 0)).toBe(0);
  expect(runs.length).toBeGreaterThan(1000);
  expect(space.mapMany(runs, { fd: -1, readFd: pages })).toBe(0);
  const all = threads.map((_, i) => (i === 0 ? first : made(space.createContext())));
  all.forEach((ctx, i) => {
    expect(ctx.adopt(threads[i]!.regs, threads[i]!.fp)).toBe(0);
  });
  // Nothing has run, and nothing is told.
  expect(platform.wait(5e6) === null).toBe(true);
  all.forEach((ctx, i) => {
    if (threads[i]!.blocked) ctx.resumeWithResult(-4);
    else ctx.resumeWithRegisters();
  });
  const told = new Map<Context, number[]>();
  for (let left = all.length * 2; left > 0; left--) {
    const ctx = nextStop(platform);
    expect(ctx.stop).toBe(STOP_SYSCALL);
    const nr = get(ctx, REG.origRax);
    if (nr === 60) continue;
    expect(nr).toBe(1);
    told.set(
      ctx,
      [REG.rdi, REG.rsi, REG.rdx, REG.r10].map((reg) => get(ctx, reg)),
    );
    ctx.resumeWithResult(0);
  }
  all.forEach((ctx, i) => {
    if (threads[i]!.blocked) {
      expect(told.get(ctx)!.slice(1, 3)).toEqual([3 + i, 11 + i]);
      expect([ctx.regs[REG.rdi * 2]! | 0, ctx.regs[REG.rdi * 2 + 1]! | 0]).toEqual([-4, -1]);
      return;
    }
    expect(told.get(ctx)).toEqual([TURNS * (3 + i), TURNS * (2 ** 31 + i), TURNS * (11 + i), TURNS * (2 ** 20 + i)]);
    expect(space.loadU32(word(i))).toBe(TURNS);
  });
  space.executor = null;
  for (const i of [0, 1, 777, 1999])
    expect(new DataView(bytesAt(space, 0x10000000 + 2 * i * PAGE, 8).buffer).getUint32(0, true)).toBe(7 * i);
  expect(space.read(0x20000000 + PAGE, new Uint8Array(1), 0, 1)).toBeLessThan(0);
  space.executor = all[0]!;
  expect(space.protect(0x20000000, 4 * PAGE, READ)).toBe(0);
  expect(new DataView(bytesAt(space, 0x20000000 + PAGE, 8).buffer).getUint32(0, true)).toBe(0x1234);
  space.destroy();
}

for (const [from, makeFirst] of Object.entries(PLATFORMS))
  for (const [to, makeSecond] of Object.entries(PLATFORMS))
    test.skipIf(!cpuFeatures().words.includes("avx2"))(`${from} to ${to}`, () => {
      const poller = new HostPoller();
      let saved: Saved;
      const first = makeFirst(poller.fd);
      try {
        saved = save(first);
      } finally {
        first.shutdown();
      }
      const second = makeSecond(poller.fd);
      try {
        restore(second, saved);
      } finally {
        second.shutdown();
        poller.close();
        closeFd(saved.pages);
      }
    });
