/**
 * What the host says about a stub's thread that owes us an answer: whether it can be on its way to one.
 *
 * A thread that carries out a command is in the stub's code for microseconds and for the rest in the one system call
 * that was asked for, or waits for a processor. It does not compute, and it does not sleep on a futex: both are proof
 * that somebody else than the stub's program decides. Work of the host's for it (a fork that copies page tables, a
 * mapping given back) is bounded by the memory that the process has.
 *
 * Source: proc_pid_stat(5), proc_pid_syscall(5).
 */
import { encodeCString } from "../../kernel/abi/bytes.ts";
import { ENOENT, ESRCH } from "../../kernel/abi/errno.ts";
import { SYSCALL_NUMBERS } from "../../kernel/abi/syscall-numbers.ts";
import { closeFd, openat2, pread } from "../../native/host.ts";

/** Clock ticks of 10 ms (USER_HZ). */
const TICK_NS = 1e7;
/** Processor time in user mode that nothing honest needs. */
const USER_MAX_NS = 5e7;
/** Time in the host's kernel: this much, and a second per SYSTEM_BYTES_PER_S of memory. */
const SYSTEM_MIN_NS = 3e8;
const SYSTEM_BYTES_PER_S = 2 ** 31;
const PAGE = 4096;
/** Calls in which a hostile thread can sleep for as long as it likes. */
const SLEEPS = new Set<number>([SYSCALL_NUMBERS.futex, SYSCALL_NUMBERS.recvmsg]);

const buffer = new Uint8Array(1024);

interface Sample {
  state: string;
  userNs: number;
  systemNs: number;
  residentBytes: number;
}

/** "": there is no such thing. null: it cannot be told. */
function readProc(path: string): string | null {
  const fd = openat2(-100, encodeCString(path), 0, 0, 0);
  if (fd < 0) return fd === -ENOENT || fd === -ESRCH ? "" : null;
  const n = pread(fd, buffer, buffer.length, 0);
  closeFd(fd);
  return n > 0 ? Buffer.from(buffer.buffer, 0, n).toString("latin1") : "";
}

/** "gone", or null when it cannot be told. */
function sampleOf(pid: number, tid: number): Sample | "gone" | null {
  const text = readProc(`/proc/${pid}/task/${tid}/stat`);
  if (text === "") return "gone";
  if (text === null) return null;
  // The second field is a name, which may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    state: fields[0]!,
    userNs: Number(fields[11]) * TICK_NS,
    systemNs: Number(fields[12]) * TICK_NS,
    residentBytes: Number(fields[21]) * PAGE,
  };
}

/** Follows one thread from the moment that it owes an answer. */
export class ThreadWatch {
  private readonly first: Sample | "gone" | null;
  private most = 0;
  private asleep = 0;

  constructor(
    private readonly pid: number,
    private readonly tid: number,
  ) {
    this.first = sampleOf(pid, tid);
  }

  /** Looks again; why the thread cannot be honest, or null. To be asked every few milliseconds. */
  verdict(): string | null {
    const { first } = this;
    // Without /proc nothing is known: time alone decides.
    if (first === null || first === "gone") return null;
    const now = sampleOf(this.pid, this.tid);
    if (now === null) return null;
    if (now === "gone" || now.state === "Z" || now.state === "X") return "its thread has ended";
    this.most = Math.max(this.most, now.residentBytes, first.residentBytes);
    if (now.userNs - first.userNs >= USER_MAX_NS) return "it computes";
    if (now.systemNs - first.systemNs >= SYSTEM_MIN_NS + (this.most / SYSTEM_BYTES_PER_S) * 1e9)
      return "it makes calls that it was not asked for";
    if (
      now.state === "S" &&
      SLEEPS.has(Number.parseInt(readProc(`/proc/${this.pid}/task/${this.tid}/syscall`) ?? "", 10))
    )
      this.asleep++;
    else this.asleep = 0;
    // Once may be the moment before our wake-up reached it.
    return this.asleep >= 3 ? "it sleeps" : null;
  }
}
