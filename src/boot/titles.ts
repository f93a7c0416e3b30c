/**
 * What the host's ps and `docker top` show for a stub process: the arguments of the program that runs in it.
 *
 * A stub is started with arguments of TITLE_SIZE bytes in all (src/native/systrap.c), which lie on its own stack, beyond
 * the guest's range; every stub is a fork of the first, so they are at one address. After an execve the kernel writes
 * there. Longer command lines are cut. A guest could write there too: it is a name for people, nothing is decided by it.
 * Source: proc_pid_cmdline(5); fields arg_start and arg_end of proc_pid_stat(5).
 */
import { readStubFile } from "../kernel/fs/proc/usage.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { vmWrite } from "../native/host.ts";

const TITLE_SIZE = 256;
const ARG_START = 48;
const ARG_END = 49;

export function titleStubs(kernel: Kernel): void {
  let address = -1;
  kernel.execObservers.push((task, argv) => {
    const pid = task.mm.space.hostPid;
    if (address < 0) {
      const stat = readStubFile(kernel, pid, "stat");
      // The second field is the name, which may hold anything.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const [start, end] = [Number(fields[ARG_START - 3]), Number(fields[ARG_END - 3])];
      address = end - start === TITLE_SIZE ? start : 0;
    }
    if (address === 0) return;
    const title = new Uint8Array(TITLE_SIZE);
    let at = 0;
    for (const arg of argv) {
      if (at >= TITLE_SIZE - 1) break;
      const part = arg.subarray(0, TITLE_SIZE - 1 - at);
      title.set(part, at);
      at += part.length + 1;
    }
    vmWrite(pid, address, title, TITLE_SIZE);
  });
}
