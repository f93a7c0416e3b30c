/**
 * The channel to a host process that stands for a guest's process, or for a whole container (src/native/waiter.stub.c): it
 * gets one byte, the exit code; when its end closes before, somebody has killed it, and what it stands for goes too. What
 * it says are numbers of signals that the host's side of a terminal has made.
 */
import type { Kernel } from "../kernel/kernel.ts";
import { closeFd, readNoWait, writeNoWait } from "../native/host.ts";
import type { HostWatcher } from "../native/poller.ts";

const POLLIN = 1;
const POLLHUP = 16;
const EAGAIN = 11;
/** INT, QUIT, TSTP, WINCH: a terminal makes no others. */
const FROM_TERMINAL: ReadonlySet<number> = new Set([2, 3, 20, 28]);

export class WaiterChannel implements HostWatcher {
  readonly essential = true;
  private open = true;

  /** Owns `fd`. */
  constructor(
    private readonly kernel: Kernel,
    private readonly fd: number,
    private readonly onClosed: () => void,
    private readonly onSignal: (signo: number) => void,
  ) {
    kernel.poller.watch(fd, POLLIN | POLLHUP, this);
  }
  hostReady(): void {
    const said = new Uint8Array(64);
    const n = readNoWait(this.fd, said, said.length);
    if (n === -EAGAIN) return;
    if (n <= 0) {
      this.close();
      this.onClosed();
      return;
    }
    for (const signo of said.subarray(0, n)) if (FROM_TERMINAL.has(signo)) this.onSignal(signo);
  }
  tell(code: number): void {
    if (!this.open) return;
    // Whatever was sent as a channel: the kernel does not wait for it.
    writeNoWait(this.fd, Uint8Array.of(code), 1);
    this.close();
  }
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.kernel.poller.unwatch(this.fd);
    closeFd(this.fd);
  }
}
