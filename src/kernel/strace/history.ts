/** The last system calls of all tasks, for the report of a guest crash: a ring of plain numbers, cheap to keep. */
import { errnoName } from "../abi/errno.ts";
import { SYSCALL_NAMES } from "../abi/syscall-numbers.ts";

const SIZE = 1024;

export class CallHistory {
  private readonly threads = new Int32Array(SIZE);
  private readonly numbers = new Int16Array(SIZE);
  private readonly results = new Float64Array(SIZE);
  private next = 0;

  /** `thread`: a task's serial number, since several containers may have the same thread ids. */
  record(thread: number, nr: number, result: number): void {
    const at = this.next & (SIZE - 1);
    this.threads[at] = thread;
    this.numbers[at] = nr;
    this.results[at] = result;
    this.next++;
  }

  /** The last `count` calls of a thread, oldest first, as "name = result". */
  of(thread: number, count: number): string[] {
    const lines: string[] = [];
    for (let i = this.next - 1; i >= 0 && i >= this.next - SIZE && lines.length < count; i--) {
      const at = i & (SIZE - 1);
      if (this.threads[at] !== thread) continue;
      const result = this.results[at]!;
      const nr = this.numbers[at]!;
      lines.push(
        `${SYSCALL_NAMES[nr] ?? nr} = ${result < 0 && result > -4096 ? `-1 ${errnoName(-result)}` : result <= -512 ? "?" : result}`,
      );
    }
    return lines.reverse();
  }
}
