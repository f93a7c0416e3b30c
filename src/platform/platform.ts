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
   * values take effect with `resumeWithRegisters`. A copy that was taken at the stop: the guest cannot change it, but chose
   * what it says.
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
   * Has a thread whose stop was an interrupt carry out the next instruction, and no more: `regs` are what it leaves. False
   * when that cannot be done (a system call, a fault): the thread is where it was. Also while all stand still.
   */
  singleStep(): boolean;
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
  /** The floating-point state of the stopped thread, as saveFpState writes it; -errno. */
  fp(): Uint8Array | number;
  /**
   * Loads such a state, of a thread on a processor whose areas lie as here (fp-image.ts): -EINVAL for one that does not fit,
   * that names what the processor has not, or that no processor would have written; then nothing has changed.
   */
  setFp(image: Uint8Array): number;
  /**
   * A new context, which has not run, becomes one that looks as a saved one did: registers, segment bases, floating-point
   * state. It is not reported as started any more; the next resume loads everything, `resumeWithResult` with its result in
   * rax. What `regs` say of segments and flags is taken as far as a signal handler's return could set it. -EINVAL.
   */
  adopt(regs: Uint32Array, fp: Uint8Array): number;
  /** Sets a segment base (arch_prctl). */
  setFsBase(value: number): number;
  setGsBase(value: number): number;
  /** Reads them from the thread. */
  getFsBase(): number;
  getGsBase(): number;

  /** Ends the host thread; the context is unusable afterwards. */
  destroy(): void;
}

/** What a stopped context can be made anew from. */
export interface ContextState {
  /** As Context.regs, with segment bases. */
  regs: Uint32Array;
  /** As Context.fp gives it. */
  fp: Uint8Array;
}

/** Host memory that can be mapped into guests: a host file descriptor (memfd, file) owned by the caller. */
export interface HostMemory {
  readonly fd: number;
  /** The same memory by a descriptor that cannot write: all that a process gets which may not write through its mapping. */
  readonly readFd: number;
}

/**
 * Where the host processes of one container's address spaces live: in the container's cgroups, from their first
 * instruction. fork keeps the home of its address space.
 */
export interface Home {
  /**
   * Keeps its guest threads from running until `resume`: none runs, and no stop of one is reported but STOP_GONE. Others go
   * on. Its address spaces can be worked on meanwhile as far as their threads have not been running: what a thread that
   * was stopped by the pause is asked to do is done after it (see Platform.serveOthers).
   */
  pause(): void;
  resume(): void;
  /**
   * Ends what is left in it, and lets go of its descriptors. Its address spaces are reported as gone, and are their
   * owner's to destroy. The platform's own home ends with the platform: of it only the guests go.
   */
  destroy(): void;
}

/** A mapping of many: see AddressSpace.mapMany. */
export interface MapRun {
  addr: number;
  length: number;
  prot: number;
  /** In the memory that is mapped. */
  offset: number;
}

/** A copy of a guest's memory as it was at one moment, which costs what is changed of the original meanwhile. */
export interface Snapshot {
  /**
   * Pages in a range that are the process' own: anonymous memory that has been written, copies of pages of files, either of
   * them swapped out. Pairs of start and end, in order; or -errno: the host does not tell (it shows no /proc here). Where the
   * host is older than Linux 6.7 it takes 10 to 40 ns a page of the range, mapped or not: large ranges are to be asked in parts.
   */
  changed(addr: number, length: number): number[] | number;
  /** Copies memory, whatever its protection: the number of bytes, short at a page that is not there; -errno. */
  read(addr: number, dst: Uint8Array, offset: number, length: number): number;
  /** Copies it to a file that has a hole there: pages of zeros, and those that are not there, stay holes. `length`, or -errno. */
  copyTo(fd: number, offset: number, addr: number, length: number): number;
  destroy(): void;
}

/** Areas that fork would treat in a way of their own, as pairs of start and end. */
export interface ForkAdvice {
  /** MADV_DONTFORK. */
  left: readonly number[];
  /** MADV_WIPEONFORK. */
  wiped: readonly number[];
}

export interface AddressSpace {
  readonly home: Home;
  /** Lowest and one past the highest address that a guest may map. */
  readonly minAddress: number;
  readonly maxAddress: number;
  /** Address of the vDSO image (AT_SYSINFO_EHDR), 0 when there is none. The same on every host that has one. */
  readonly vdso: number;
  /** Host process id of the stub, in the sandbox's pid namespace. */
  readonly hostPid: number;
  /** The stopped context that operations run on. */
  executor: Context | null;
  /** An operation of one of its tasks takes long (see Platform.serveOthers): none of them is to be served meanwhile. */
  readonly busy?: boolean;

  /**
   * Maps fixed at addr (replacing what is there). `memory` null: private anonymous. `shared` maps memory MAP_SHARED.
   * `mayWrite`: the guest may write to the memory itself through this mapping, now or after mprotect (VM_MAYWRITE).
   */
  map(
    addr: number,
    length: number,
    prot: number,
    shared: boolean,
    memory: HostMemory | null,
    offset: number,
    mayWrite?: boolean,
  ): number;
  /**
   * Maps an image's pages in many places, privately: 0, or the first -errno, and the rest is not done; then the address space is
   * to be given up. -EINVAL for places where no guest may map. What is mapped is anonymous memory to the guest, and is treated
   * as such from here on: MADV_DONTNEED, mremap, fork, a snapshot's `changed`. `prot` is that of the area.
   */
  mapMany(runs: readonly MapRun[], memory: HostMemory): number;
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
  /**
   * A snapshot, while every thread is stopped. What is in areas that the guest keeps from its forks is in it as well: they
   * are named. -EAGAIN, -ENOMEM: the limits of its container do not allow one more process.
   */
  snapshot(advice?: ForkAdvice): Snapshot | number;

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
  /** Bytes that begin with the NUL-terminated string at addr, if the platform brought it along with the current call. */
  prefetchedString?(addr: number): Uint8Array | null;
  /**
   * Atomic operations on an aligned u32 of guest memory: the old value (0..2^32-1), or -EFAULT. `alone`: nobody is served
   * meanwhile (Platform.serveOthers), however long it takes; for what must not come between two looks at the kernel's tables.
   */
  loadU32(addr: number): number;
  compareExchangeU32(addr: number, expected: number, desired: number, alone?: boolean): number;
  /** FUTEX_WAKE_OP's arithmetic: op is FUTEX_OP_* 0..4 (set, add, or, andn, xor). */
  fetchOpU32(addr: number, op: number, operand: number): number;

  /** The vDSO as its programs know it: the host's, or what has been placed. Empty when there is none. Not to be changed. */
  vdsoImage(): Uint8Array;
  /**
   * Puts an image that programs of another host know in place of the host's, with jumps to the host's functions: see
   * vdso.ts. 0; -EINVAL for what is no such image; after another error the address space is of no use. `reset` puts
   * the host's back.
   */
  placeVdso(image: Uint8Array): number;

  /** Kills the host process; contexts of it that are left are reported with STOP_GONE. */
  kill(why: string): void;
  /**
   * Kills the host process, and lets go of everything. `large`: taking its memory down keeps the host busy for
   * milliseconds; others go before it.
   */
  destroy(large?: boolean): void;
}

export interface Platform {
  readonly name: string;
  /** That of the sandbox process: its cgroups. */
  readonly ownHome: Home;
  /**
   * A home in the cgroups that `procs` leads to: cgroup.procs files, open for writing, one of each hierarchy. None: in the
   * sandbox's own. They are the home's from here on, and closed by it, also when there is none (-errno).
   */
  createHome(procs: readonly number[]): Home | number;
  /** An empty address space with one stopped context (STOP_STARTED). */
  createAddressSpace(home: Home): Context | number;
  /**
   * Waits until a context stops or a host descriptor of the poller is ready.
   *
   * @param timeoutNs 0 polls, -1 waits for ever.
   * @returns a stopped context, or null: look at the host poller, timers and queues.
   */
  wait(timeoutNs: number): Context | null;
  /**
   * Set by the kernel: runs one turn for tasks of other address spaces, waiting at most so long for something to do. A
   * platform calls it from within an operation that a guest's process takes long to carry out. Until the operation
   * returns it reports no stop of that address space.
   */
  serveOthers?: ((timeoutNs: number) => void) | null;
  /** Gives up every operation that `serveOthers` is being called from within. */
  abandon?(): void;
  /** Set by the kernel: told when a guest's process is killed since it did what no honest one does, for the log. */
  onKill?: ((hostPid: number, why: string) => void) | null;
  /**
   * Stops every context, paused or not, and keeps what they stop with: until `unquiesce`, `wait` reports nothing. Then `stop`,
   * `regs` and `fault` say of each that was running how it stopped. One that does not stop within five seconds (of the last that
   * did) is killed, and its memory and state are out of reach (-ESRCH). 0; -EBUSY, and nothing has changed: an operation takes long and is half done
   * (Platform.serveOthers), ask again in a turn of its own.
   */
  quiesce(): number;
  /**
   * Registers and floating-point state of stopped contexts, each what `adopt` takes, or -errno: for all of them in about the
   * time that the slowest takes.
   */
  states(contexts: readonly Context[]): (ContextState | number)[];
  /** Lets them go on: each stop that was kept is reported now, what was resumed meanwhile as an interrupt. */
  unquiesce(): void;
  /** What the processor has that a guest may rely on. */
  cpuFeatures(): CpuFeatures;
  /** Registers which guest memory a syscall reads, so that the platform may bring it along. Call before guests run. */
  setPrefetch(nr: number, specs: readonly PrefetchSpec[]): void;
  /** The host's clocks are not those of guests: their vDSO does not read them. Before there is any guest. 0 or -errno. */
  withholdClock(): number;
  /** Ends every guest process. */
  shutdown(): void;
}

export interface CpuFeatures {
  /** Components of extended state that the host lets programs use: XCR0, without those that a program has to ask for. */
  xfeatures: number;
  /** Instructions, by the names of /proc/cpuinfo's flags, as CPUID tells guests. */
  words: string[];
  /** Where each component of extended state from 2 on lies in `Context.fp`'s images: number, offset, size. */
  areas: number[];
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
