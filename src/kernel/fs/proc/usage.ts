/**
 * Memory use and processor time of guests, as far as the host tells.
 *
 * The guest's memory is the memory of its stub process, so the host's /proc (HostInfo.procFd) has the truth. Without it
 * memory use is estimated: what is mapped and may be written counts as used.
 */
import { clockGet, closeFd, openat2, readFd } from "../../../native/host.ts";
import { encodeCString } from "../../abi/bytes.ts";
import type { Kernel } from "../../kernel.ts";
import type { Mm } from "../../mm/mm.ts";
import { PROT_EXEC, PROT_WRITE, VMA_GROWSDOWN } from "../../mm/vma.ts";

const buffer = new Uint8Array(65536);

/** Text of a file of the stub's /proc directory; "" when the host gives none. */
export function readStubFile(kernel: Kernel, hostPid: number, name: string, limit = buffer.length): string {
  const { procFd } = kernel.hostInfo;
  if (procFd < 0 || hostPid <= 0) return "";
  const fd = openat2(procFd, encodeCString(`${hostPid}/${name}`), 0, 0, 0);
  if (fd < 0) return "";
  const space = limit <= buffer.length ? buffer : new Uint8Array(limit);
  let have = 0;
  while (have < limit) {
    const n = readFd(fd, space.subarray(have), limit - have);
    if (n <= 0) break;
    have += n;
  }
  closeFd(fd);
  return Buffer.from(space.buffer, 0, have).toString("latin1");
}

/** Sizes in bytes. */
export interface MemoryUse {
  size: number;
  resident: number;
  /** The resident part that is backed by files or shared. */
  shared: number;
  /** Private writable areas. */
  data: number;
  stack: number;
  /** The program's own code, and that of its libraries. */
  text: number;
  libraries: number;
  locked: number;
}

/** Range of the program's code. */
export function codeRange(mm: Mm, executable: unknown): { start: number; end: number } {
  for (const vma of mm.vmas)
    if (vma.prot & PROT_EXEC && vma.file !== null && vma.file.inode !== null && vma.file.inode === executable)
      return { start: vma.start, end: vma.end };
  return { start: 0, end: 0 };
}

const VMA_LOCKED = 4;

export function memoryUse(kernel: Kernel, mm: Mm, executable: unknown): MemoryUse {
  const use: MemoryUse = {
    size: mm.total,
    resident: 0,
    shared: 0,
    data: 0,
    stack: 0,
    text: 0,
    libraries: 0,
    locked: 0,
  };
  let exec = 0;
  let sharedSize = 0;
  for (const vma of mm.vmas) {
    if (vma.name === "[stack]" || vma.flags & VMA_GROWSDOWN) use.stack += vma.length;
    else if (vma.prot & PROT_WRITE && !vma.shared) use.data += vma.length;
    else if (vma.prot & PROT_EXEC) exec += vma.length;
    if (vma.shared) sharedSize += vma.length;
    if (vma.flags & VMA_LOCKED) use.locked += vma.length;
  }
  const code = codeRange(mm, executable);
  use.text = Math.min(code.end - code.start, exec);
  use.libraries = exec - use.text;
  const statm = readStubFile(kernel, mm.space.hostPid, "statm").split(" ");
  if (statm.length >= 3) {
    use.resident = Math.min(Number(statm[1]) * 4096, use.size);
    use.shared = Math.min(Number(statm[2]) * 4096, use.resident);
  } else {
    use.resident = Math.min(use.size, use.data + use.stack + exec + sharedSize);
    use.shared = Math.min(use.resident, exec + sharedSize);
  }
  return use;
}

const clockOut = new Float64Array(2);
/** Processor time of the process behind an address space, ns: the host counts it per stub process. */
export function stubCpuTime(mm: Mm): number {
  const pid = mm.space.hostPid;
  // The clock id of another process' CPU time: see clock_getcpuclockid(3).
  if (pid <= 0 || clockGet((~pid << 3) | 2, clockOut) < 0) return 0;
  return clockOut[0]! * 1e9 + clockOut[1]!;
}
