/**
 * The platform interface: how the kernel runs guest code and reaches guest memory, without knowing how.
 *
 * A Platform makes AddressSpaces (one per guest mm) and Contexts (one per guest thread). The kernel decides what is
 * mapped where (its VMA list is the truth); an AddressSpace only carries it out. Everything here is synchronous and
 * returns `>= 0` or `-errno`.
 *
 * Invariant: operations of an AddressSpace that change mappings, and atomic operations, need one of its threads to be
 * stopped; `executor` names it (the kernel sets it to the context it is serving). Reads and writes of memory do not.
 */

/** What stopped a guest thread. */
export const STOP_SYSCALL = 1;
/** A processor exception: see `fault`. */
export const STOP_FAULT = 2;
/** `interrupt()` took effect. */
export const STOP_INTERRUPT = 3;
/** A new context is ready for its first `resume`. */
export const STOP_STARTED = 4;
/** The host thread or process is gone (killed from outside, or by its own doing). */
export const STOP_GONE = 5;

/** Index of each register in a register file, in 64-bit units: the order of Linux' user_regs_struct. */
export const REG = {
  r15: 0,
  r14: 1,
  r13: 2,
  r12: 3,
  rbp: 4,
  rbx: 5,
  r11: 6,
  r10: 7,
  r9: 8,
  r8: 9,
  rax: 10,
  rcx: 11,
  rdx: 12,
  rsi: 13,
  rdi: 14,
  origRax: 15,
  rip: 16,
  cs: 17,
  eflags: 18,
  rsp: 19,
  ss: 20,
  fsBase: 21,
  gsBase: 22,
  ds: 23,
  es: 24,
  fs: 25,
  gs: 26,
} as const;
export const REG_COUNT = 27;

/** A processor exception as the host's signal frame or the vCPU reported it. */
export interface Fault {
  /** Signal number Linux raises for it (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP). */
  signo: number;
  /** si_code. */
  code: number;
  /** si_addr: the faulting address. */
  addr: number;
  /** x86 exception vector (14 = page fault). */
  trapno: number;
  /** x86 error code; for page faults bit 1 = write, bit 4 = instruction fetch. */
  errorCode: number;
}

/** One guest thread on this platform. */
export interface Context {
  readonly addressSpace: AddressSpace;
  /**
   * General registers of the stopped thread, REG_COUNT 64-bit values as pairs of u32 (low, high), see REG. Written
   * values take effect with `resume(true)`. Hostile input: the guest can change them at any time.
   */
  readonly regs: Uint32Array;
  /** STOP_* of the last stop. */
  stop: number;
  /** Valid after STOP_FAULT. */
  readonly fault: Fault;
  /** The kernel's own: the task that this context runs. */
  owner: unknown;
  /** Host thread that the guest thread runs on, where there is one: for its processor time. */
  readonly hostTid?: number;
  /** Binds the thread to host CPUs, one bit each; what the host refuses is not done. */
  setAffinity?(mask: Uint8Array): void;

  /** Let the thread run with rax = result after a syscall (all other registers untouched). */
  resumeWithResult(result: number): void;
  /** Let the thread run; load every general register from `regs`. */
  resumeWithRegisters(): void;
  /** Ask a running thread to stop soon (STOP_INTERRUPT). Harmless when it is stopped already. */
  interrupt(): void;
  /**
   * The syscall of this stop blocks: the thread should sleep rather than spin for the answer. A hint only.
   */
  parked(): void;

  /** Bytes that saveFpState writes, at most. A multiple of 64. */
  readonly fpStateSize: number;
  /** Writes the thread's floating-point state (XSAVE format with Linux' fpx_sw_bytes) to 64-byte aligned guest memory. */
  saveFpState(addr: number): number;
  /** Loads the floating-point state from guest memory (XSAVE or, without magic, FXSAVE format). -EFAULT, -EINVAL. */
  restoreFpState(addr: number): number;
  /** Back to the state after execve. */
  resetFpState(): void;
  /** Sets a segment base (arch_prctl). */
  setFsBase(value: number): number;
  setGsBase(value: number): number;
  /** Reads them from the thread. */
  getFsBase(): number;
  getGsBase(): number;

  /** Ends the host thread; the context is unusable afterwards. */
  destroy(): void;
}

/** Host memory that can be mapped into guests: a host file descriptor (memfd, file) owned by the caller. */
export interface HostMemory {
  readonly fd: number;
}

export interface AddressSpace {
  /** Lowest and one past the highest address that a guest may map. */
  readonly minAddress: number;
  readonly maxAddress: number;
  /** Address of the vDSO image (AT_SYSINFO_EHDR), 0 when there is none. */
  readonly vdso: number;
  /** Host process id of the stub (in the sandbox's pid namespace), for logs. */
  readonly hostPid: number;
  /** The stopped context that operations run on. */
  executor: Context | null;

  /** Maps fixed at addr (replacing what is there). `memory` null: private anonymous. `shared` maps memory MAP_SHARED. */
  map(addr: number, length: number, prot: number, shared: boolean, memory: HostMemory | null, offset: number): number;
  unmap(addr: number, length: number): number;
  protect(addr: number, length: number, prot: number): number;
  /** Moves or resizes a mapping to exactly newAddr (may equal oldAddr). */
  remap(oldAddr: number, oldLength: number, newAddr: number, newLength: number): number;
  /** madvise(2) with host meaning (MADV_DONTNEED, MADV_FREE, MADV_REMOVE, hugepage hints, fork hints…). */
  advise(addr: number, length: number, advice: number): number;
  /** msync(2). */
  sync(addr: number, length: number, flags: number): number;
  /** mincore(2) into dst. */
  mincore?(addr: number, length: number, dst: Uint8Array): number;

  /** Drops every guest mapping (execve). Other contexts of this address space must be gone. */
  reset(): number;
  /** A copy-on-write copy with one context that is a copy of the executor, stopped (STOP_STARTED). -errno on failure. */
  fork(): Context | number;
  /** A new thread in this address space, registers and floating-point state copied from the executor. -errno on failure. */
  createContext(): Context | number;

  /** Copies guest memory at addr to dst; the number of bytes copied (short at a bad page), -EFAULT when none could be. */
  read(addr: number, dst: Uint8Array, dstOffset: number, length: number): number;
  /** Copies src to guest memory; the same result. Honours page protection. */
  write(addr: number, src: Uint8Array, srcOffset: number, length: number): number;
  /**
   * Writes may be kept back until the thread goes on; this carries them out now. Needed before another thread may see
   * the effect of the call (thread ids in clone, futex words).
   */
  flush?(): void;
  /** What was brought along with the current call is not asked any more: somebody has changed guest memory since. */
  forgetPrefetched?(): void;
  /** The NUL-terminated string at addr (with its NUL), if the platform brought it along with the current call. */
  prefetchedString?(addr: number): Uint8Array | null;
  /** Atomic operations on an aligned u32 of guest memory: the old value (0..2^32-1), or -EFAULT. */
  loadU32(addr: number): number;
  compareExchangeU32(addr: number, expected: number, desired: number): number;
  /** FUTEX_WAKE_OP's arithmetic: op is FUTEX_OP_* 0..4 (set, add, or, andn, xor). */
  fetchOpU32(addr: number, op: number, operand: number): number;

  /** Kills the host process. */
  destroy(): void;
}

/** Fills in what `poll` found. */
export interface Platform {
  readonly name: string;
  /** An empty address space with one stopped context (STOP_STARTED). */
  createAddressSpace(): Context | number;
  /**
   * Waits until a context stops or a host descriptor of the poller is ready.
   *
   * @param timeoutNs 0 polls, -1 waits for ever.
   * @returns a stopped context, or null: look at the host poller, timers and queues.
   */
  wait(timeoutNs: number): Context | null;
  /** Registers which guest memory a syscall reads, so that the platform may bring it along. Call before guests run. */
  setPrefetch(nr: number, specs: readonly PrefetchSpec[]): void;
  /** Keeps every guest thread from running until `resume`; no other call of the platform comes in between. */
  pause?(): void;
  resume?(): void;
  /** Ends every guest process. */
  shutdown(): void;
}

/** Guest memory that a syscall reads: a hint, never a promise. */
export interface PrefetchSpec {
  /** Argument (0..5) that holds the address. */
  arg: number;
  /** "string": NUL-terminated, at most 4096 bytes. Otherwise bytes: a fixed size, or the value of argument `lengthArg`. */
  kind: "string" | "fixed" | "length";
  size?: number;
  lengthArg?: number;
}
