/**
 * A platform without guests, for unit tests of handlers: memory is a sparse set of JavaScript pages, contexts are just
 * registers. `call` runs a declared system call the way the kernel would.
 */

import { pwrite } from "../../native/host.ts";
import type {
  AddressSpace,
  Context,
  ContextState,
  CpuFeatures,
  Fault,
  Home,
  HostMemory,
  MapRun,
  Platform,
  PrefetchSpec,
  Snapshot,
} from "../../platform/platform.ts";
import { REG, REG_COUNT, STOP_STARTED } from "../../platform/platform.ts";
import { EFAULT, EINVAL } from "../abi/errno.ts";
import type { SyscallDeclaration } from "../syscall.ts";
import type { Task } from "../task/task.ts";

const PAGE = 4096;

export class FakeHome implements Home {
  pause(): void {}
  resume(): void {}
  destroy(): void {}
}

export class FakeSpace implements AddressSpace {
  readonly minAddress = 0x10000;
  readonly maxAddress = 0x7ff000000000;
  readonly vdso = 0;
  readonly hostPid = 0;
  executor: Context | null = null;
  private pages = new Map<number, Uint8Array>();

  constructor(readonly home: Home = new FakeHome()) {}

  map(addr: number, length: number, _prot: number, _shared: boolean, _memory: HostMemory | null): number {
    for (let at = addr; at < addr + length; at += PAGE) this.pages.set(at, new Uint8Array(PAGE));
    return 0;
  }
  unmap(addr: number, length: number): number {
    for (let at = addr; at < addr + length; at += PAGE) this.pages.delete(at);
    return 0;
  }
  protect(): number {
    return 0;
  }
  remap(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number {
    for (let i = 0; i < newLength; i += PAGE) {
      const page = i < oldLength ? this.pages.get(oldAddr + i) : undefined;
      this.pages.set(newAddr + i, page ?? new Uint8Array(PAGE));
      if (page && newAddr !== oldAddr) this.pages.delete(oldAddr + i);
    }
    return 0;
  }
  advise(): number {
    return 0;
  }
  sync(): number {
    return 0;
  }
  reset(): number {
    this.pages.clear();
    return 0;
  }
  vdsoImage(): Uint8Array {
    return new Uint8Array(0);
  }
  placeVdso(image: Uint8Array): number {
    return image.length === 0 ? 0 : -EINVAL;
  }
  fork(): Context {
    const space = new FakeSpace(this.home);
    for (const [at, page] of this.pages) space.pages.set(at, page.slice());
    return new FakeContext(space);
  }
  createContext(): Context {
    return new FakeContext(this);
  }
  mapMany(runs: readonly MapRun[], memory: HostMemory): number {
    for (const { addr, length, prot } of runs) this.map(addr, length, prot, false, memory);
    return 0;
  }
  snapshot(): Snapshot {
    const copy = new FakeSpace(this.home);
    this.copyTo(copy);
    return new FakeSnapshot(copy);
  }
  /** Where there are pages, as pairs of start and end. */
  pagesIn(addr: number, length: number): number[] {
    const found: number[] = [];
    for (const at of [...this.pages.keys()].sort((a, b) => a - b)) {
      if (at + PAGE <= addr || at >= addr + length) continue;
      if (found.at(-1) === at) found.pop();
      else found.push(at);
      found.push(at + PAGE);
    }
    return found;
  }
  /** Copies every page, as fork does. */
  protected copyTo(space: FakeSpace): void {
    for (const [at, page] of this.pages) space.pages.set(at, page.slice());
  }
  private move(addr: number, buffer: Uint8Array, offset: number, length: number, write: boolean): number {
    let done = 0;
    while (done < length) {
      const at = addr + done;
      const page = this.pages.get(at - (at % PAGE));
      if (!page) break;
      const start = at % PAGE;
      const n = Math.min(PAGE - start, length - done);
      if (write) page.set(buffer.subarray(offset + done, offset + done + n), start);
      else buffer.set(page.subarray(start, start + n), offset + done);
      done += n;
    }
    return done === 0 && length > 0 ? -EFAULT : done;
  }
  read(addr: number, dst: Uint8Array, offset: number, length: number): number {
    return this.move(addr, dst, offset, length, false);
  }
  write(addr: number, src: Uint8Array, offset: number, length: number): number {
    return this.move(addr, src, offset, length, true);
  }
  loadU32(addr: number): number {
    const bytes = new Uint8Array(4);
    return this.read(addr, bytes, 0, 4) < 4 ? -EFAULT : new DataView(bytes.buffer).getUint32(0, true);
  }
  private storeU32(addr: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.write(addr, bytes, 0, 4);
  }
  compareExchangeU32(addr: number, expected: number, desired: number): number {
    const old = this.loadU32(addr);
    if (old === expected) this.storeU32(addr, desired);
    return old;
  }
  fetchOpU32(addr: number, op: number, operand: number): number {
    const old = this.loadU32(addr);
    if (old < 0) return old;
    const next = [operand, old + operand, old | operand, old & ~operand, old ^ operand][op]!;
    this.storeU32(addr, next >>> 0);
    return old;
  }
  kill(): void {}
  destroy(): void {
    this.pages.clear();
  }
}

class FakeSnapshot implements Snapshot {
  constructor(private readonly copy: FakeSpace) {}
  changed(addr: number, length: number): number[] {
    return this.copy.pagesIn(addr, length);
  }
  read(addr: number, dst: Uint8Array, offset: number, length: number): number {
    return this.copy.read(addr, dst, offset, length);
  }
  copyTo(fd: number, offset: number, addr: number, length: number): number {
    const page = new Uint8Array(PAGE);
    for (let done = 0; done < length; done += PAGE)
      if (this.copy.read(addr + done, page, 0, PAGE) === PAGE) pwrite(fd, page, PAGE, offset + done);
    return length;
  }
  destroy(): void {
    this.copy.destroy();
  }
}

export class FakeContext implements Context {
  readonly regs = new Uint32Array(REG_COUNT * 2);
  stop = STOP_STARTED;
  readonly fault: Fault = { signo: 0, code: 0, addr: 0, trapno: 0, errorCode: 0 };
  owner: unknown = null;
  readonly fpStateSize = 576;
  /** What the last resume gave, for assertions. */
  resumed: number | "registers" | null = null;
  interrupted = 0;
  constructor(readonly addressSpace: FakeSpace) {
    addressSpace.executor = this;
  }
  resumeWithResult(result: number): void {
    this.resumed = result;
  }
  resumeWithRegisters(): void {
    this.resumed = "registers";
  }
  singleStep(): boolean {
    return false;
  }
  interrupt(): void {
    this.interrupted++;
  }
  parked(): void {}
  saveFpState(): number {
    return 0;
  }
  restoreFpState(): number {
    return 0;
  }
  resetFpState(): void {}
  private image = new Uint8Array(this.fpStateSize);
  fp(): Uint8Array {
    return this.image.slice();
  }
  setFp(image: Uint8Array): number {
    if (image.length !== this.fpStateSize) return -EINVAL;
    this.image = image.slice();
    return 0;
  }
  adopt(regs: Uint32Array, fp: Uint8Array): number {
    this.regs.set(regs);
    return this.setFp(fp);
  }
  setFsBase(): number {
    return 0;
  }
  setGsBase(): number {
    return 0;
  }
  getFsBase(): number {
    return 0;
  }
  getGsBase(): number {
    return 0;
  }
  destroy(): void {}
}

export class FakePlatform implements Platform {
  readonly name = "fake";
  readonly ownHome = new FakeHome();
  createHome(): Home {
    return new FakeHome();
  }
  createAddressSpace(home: Home = this.ownHome): Context {
    return new FakeContext(new FakeSpace(home));
  }
  wait(_timeoutNs: number): Context | null {
    return null;
  }
  quiesce(): number {
    return 0;
  }
  states(contexts: readonly Context[]): (ContextState | number)[] {
    return contexts.map((ctx) => ({ regs: ctx.regs.slice(), fp: ctx.fp() as Uint8Array }));
  }
  unquiesce(): void {}
  cpuFeatures(): CpuFeatures {
    return { xfeatures: 3, words: ["sse", "sse2"], areas: [] };
  }
  setPrefetch(_nr: number, _specs: readonly PrefetchSpec[]): void {}
  withholdClock(): number {
    return 0;
  }
  shutdown(): void {}
}

const ARGS = [REG.rdi, REG.rsi, REG.rdx, REG.r10, REG.r8, REG.r9];

/** Runs a system call of `task` with the given arguments; the handler's result. */
export function call(task: Task, declaration: SyscallDeclaration, ...args: number[]): number {
  const regs = task.ctx!.regs;
  for (let i = 0; i < 6; i++) {
    const value = args[i] ?? 0;
    regs[ARGS[i]! * 2] = value >>> 0;
    regs[ARGS[i]! * 2 + 1] = Math.floor(value / 4294967296) >>> 0;
  }
  regs[REG.origRax * 2] = declaration.nr;
  task.syscallNr = declaration.nr;
  return declaration.invoke(task);
}
