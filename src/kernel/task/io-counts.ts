/** Input and output of a process, as /proc/PID/io counts it: calls, and the bytes they moved. Source: proc_pid_io(5). */
import { SYSCALL_NUMBERS, type SyscallName } from "../abi/syscall-numbers.ts";
import { persistent } from "../state/registry.ts";

const READ = 1;
const WRITE = 2;
const READS: readonly SyscallName[] = ["read", "pread64", "readv", "preadv", "preadv2"];
const WRITES: readonly SyscallName[] = ["write", "pwrite64", "writev", "pwritev", "pwritev2"];
/** Both: what is read from one file is written to the other. */
const COPIES: readonly SyscallName[] = ["sendfile", "splice", "copy_file_range"];

/** By call number: READ, WRITE, both, or 0. */
export const TRANSFERS = new Uint8Array(512);
for (const name of READS) TRANSFERS[SYSCALL_NUMBERS[name]] = READ;
for (const name of WRITES) TRANSFERS[SYSCALL_NUMBERS[name]] = WRITE;
for (const name of COPIES) TRANSFERS[SYSCALL_NUMBERS[name]] = READ | WRITE;

export class IoCounts {
  reads = 0;
  readBytes = 0;
  writes = 0;
  writtenBytes = 0;

  /** A call of this kind has ended. */
  count(kind: number, result: number): void {
    const bytes = result > 0 ? result : 0;
    if (kind & READ) {
      this.reads++;
      this.readBytes += bytes;
    }
    if (kind & WRITE) {
      this.writes++;
      this.writtenBytes += bytes;
    }
  }
}

persistent("io-counts", IoCounts);
