/**
 * A platform without guests, for unit tests of handlers: memory is a sparse set of JavaScript pages, contexts are just
 * registers. `call` runs a declared system call the way the kernel would.
 */

import type { AddressSpace, Context, Fault, HostMemory, Platform, PrefetchSpec } from "../../platform/platform.ts";
import { REG, REG_COUNT, STOP_STARTED } from "../../platform/platform.ts";
import { EFAULT } from "../abi/errno.ts";
import type { SyscallDeclaration } from "../syscall.ts";
import type { Task } from "../task/task.ts";

const PAGE = 4096;

export class FakeSpace implements AddressSpace {
  readonly minAddress = 0x10000;
  readonly maxAddress = 0x7ff000000000;
  readonly vdso = 0;
  readonly hostPid = 0;
  executor: Context | null = null;
  private pages = new Map<number, Uint8Array>();

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
  fork(): Context {
    const space = new FakeSpace();
    for (const [at, page] of this.pages) space.pages.set(at, page.slice());
    return new FakeContext(space);
  }
  createContext(): Context {
    return new FakeContext(this);
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
  destroy(): void {
    this.pages.clear();
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
  createAddressSpace(): Context {
    return new FakeContext(new FakeSpace());
  }
  wait(_timeoutNs: number): Context | null {
    return null;
  }
  setPrefetch(_nr: number, _specs: readonly PrefetchSpec[]): void {}
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
