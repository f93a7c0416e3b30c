/** Where the kernel's log goes; boot gives it a sink. Lines carry seconds since the sandbox started, as dmesg does. */
import { clockMonotonicNs } from "../native/host.ts";

export class KernelLog {
  private readonly start = clockMonotonicNs();
  constructor(
    private readonly sink: (line: string) => void,
    readonly debugging: boolean,
  ) {}
  private line(level: string, text: string): void {
    const seconds = (clockMonotonicNs() - this.start) / 1e9;
    this.sink(`[${seconds.toFixed(6).padStart(12)}] ${level}${text}\n`);
  }
  debug(text: string): void {
    if (this.debugging) this.line("", text);
  }
  info(text: string): void {
    if (this.debugging) this.line("", text);
  }
  warn(text: string): void {
    this.line("warning: ", text);
  }
  error(text: string): void {
    this.line("error: ", text);
  }
}
