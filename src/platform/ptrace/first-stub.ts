/** What the first stub process does once on ptrace, and its forks inherit: all by calls that it is made to make. */
import { encodeCString } from "../../kernel/abi/bytes.ts";
import * as P from "../../native/ptrace.ts";
import type { Check } from "../stub-process.ts";
import { VDSO_BASE, type VdsoRange } from "../vdso.ts";
import type { PtraceContext } from "./context.ts";
import * as L from "./layout.ts";
import type { PtraceSpace } from "./space.ts";

const MREMAP_MAYMOVE = 1;
const MREMAP_FIXED = 2;
const SIGBUS = 7;
const SIGSEGV = 11;
/** A stub's descriptor of /proc, at its start only: see spawn_child in src/native/sandbox.c. */
const FD_PROC = 7;

/** Everything that the first stub does once and its forks inherit. Returns where the host's vDSO is now. */
export function prepareStub(zygote: PtraceContext, stack: number, cells: number, check: Check): VdsoRange[] {
  const { scratch } = zygote.addressSpace.platform;
  const space = zygote.addressSpace;
  const at = scratch + L.SCRATCH_SETUP;
  const vdso = moveVdso(zygote, auxiliary(space, stack), at);
  zygote.call("close_range", 4, 0xffffffff, 0);

  // The message header for descriptors, with its buffers; the signal stack.
  const words = new Float64Array(32);
  words[L.SCRATCH_MESSAGE / 8 + 2] = scratch + L.SCRATCH_IOVEC;
  words[L.SCRATCH_MESSAGE / 8 + 3] = 1;
  words[L.SCRATCH_MESSAGE / 8 + 4] = scratch + L.SCRATCH_CONTROL;
  words[L.SCRATCH_MESSAGE / 8 + 5] = 24;
  words[L.SCRATCH_IOVEC / 8] = scratch + L.SCRATCH_BYTE;
  words[L.SCRATCH_IOVEC / 8 + 1] = 1;
  words[L.SCRATCH_ALTSTACK / 8] = scratch + L.SCRATCH_STACK;
  words[L.SCRATCH_ALTSTACK / 8 + 2] = L.STACK_SIZE;
  poke(space, scratch, words);
  // SA_SIGINFO, SA_ONSTACK, SA_NODEFER, SA_RESTORER
  poke(
    space,
    at,
    Float64Array.of(cells + L.CELL_HANDLER * L.CELL_SIZE, 0x4c000004, cells + L.CELL_RESTORER * L.CELL_SIZE, 0),
  );
  for (const signo of [SIGSEGV, SIGBUS]) check(zygote.call("rt_sigaction", signo, at, 0, 8), "set signal handlers");
  return vdso;
}

/**
 * Moves the vDSO above the guest's range, to VDSO_BASE on every host, and its data pages with it, keeping their distances:
 * newer hosts put them among the other mappings, where execve would drop them. Empty when it cannot be kept.
 */
function moveVdso(zygote: PtraceContext, vdso: number, at: number): VdsoRange[] {
  if (vdso === 0) return [];
  const path = encodeCString("self/maps");
  zygote.addressSpace.write(at, path, 0, path.length);
  const fd = zygote.call("openat", FD_PROC, at, 0, 0);
  if (fd < 0) return [];
  let text = "";
  const chunk = new Uint8Array(2048);
  for (;;) {
    const n = zygote.call("read", fd, at, chunk.length);
    if (n <= 0 || text.length > 65536) break;
    zygote.addressSpace.read(at, chunk, 0, n);
    text += Buffer.from(chunk.subarray(0, n)).toString("latin1");
  }
  zygote.call("close", fd);
  const found = [...text.matchAll(/^([0-9a-f]+)-([0-9a-f]+) .*\[(?:vdso|vvar\w*)\]$/gm)];
  const ranges = found.map(([, start, end]) => {
    const from = Number.parseInt(start!, 16);
    return { offset: from - vdso, size: Number.parseInt(end!, 16) - from };
  });
  if (!ranges.some(({ offset }) => offset === 0)) return [];
  for (const { offset, size } of ranges) {
    const to = VDSO_BASE + offset;
    if (zygote.call("mremap", vdso + offset, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) < 0) return [];
  }
  return ranges;
}

/** The second fence, see ptrace.ts. False: the host refuses it. */
export function installFilter(zygote: PtraceContext): boolean {
  const at = zygote.addressSpace.platform.scratch + L.SCRATCH_SETUP;
  if (P.writeFilter(zygote.tid, at, L.THREAD_FLAGS, L.FORK_FLAGS) < 0) return false;
  if (zygote.call("prctl", 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0) < 0) return false;
  // SECCOMP_FILTER_FLAG_SPEC_ALLOW: guests cost no speculation barriers.
  return zygote.call("seccomp", 1, 4, at) === 0;
}

/** Writes numbers as u64. */
function poke(space: PtraceSpace, addr: number, words: Float64Array): void {
  const bytes = Buffer.alloc(words.length * 8);
  words.forEach((word, i) => {
    bytes.writeUInt32LE(word >>> 0, i * 8);
    bytes.writeUInt32LE(Math.floor(word / 4294967296), i * 8 + 4);
  });
  if (space.write(addr, bytes, 0, bytes.length) !== bytes.length) throw new Error("ptrace: cannot write to the stub");
}

/** The vDSO's address from the auxiliary vector of a process that has just been started, or 0. */
function auxiliary(space: PtraceSpace, stack: number): number {
  const bytes = new Uint8Array(8192);
  const n = space.read(stack, bytes, 0, bytes.length);
  const view = new DataView(bytes.buffer);
  const word = (i: number): number => view.getUint32(i * 8, true) + view.getUint32(i * 8 + 4, true) * 4294967296;
  const words = Math.floor(Math.max(n, 0) / 8);
  if (words === 0) return 0;
  let i = 1 + word(0) + 1;
  while (i < words && word(i) !== 0) i++;
  for (i++; i + 1 < words && word(i) !== 0; i += 2) if (word(i) === 33 /* AT_SYSINFO_EHDR */) return word(i + 1);
  return 0;
}
