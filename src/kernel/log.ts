/**
 * Where the kernel's log goes; boot gives it a sink. Lines carry seconds since the sandbox started, as dmesg does.
 * Bounded: BURST lines, then PER_SECOND; what is left out is counted.
 */
import { clockMonotonicNs } from "../native/host.ts";

/** Lines that may come at once, and per second from then on: guests cause many of them, and files and pipes fill up. */
const BURST = 4096;
const PER_SECOND = 256;
/** Characters of a line. */
const LINE_MAX = 8192;

export class KernelLog {
  private readonly start = clockMonotonicNs();
  private budget = BURST;
  private refilled = this.start;
  private leftOut = 0;
  constructor(
    private readonly sink: (line: string) => void,
    readonly debugging: boolean,
  ) {}
  private line(level: string, text: string): void {
    const now = clockMonotonicNs();
    this.budget = Math.min(BURST, this.budget + ((now - this.refilled) / 1e9) * PER_SECOND);
    this.refilled = now;
    if (this.budget < 1) {
      this.leftOut++;
      return;
    }
    this.budget--;
    const when = `[${((now - this.start) / 1e9).toFixed(6).padStart(12)}] `;
    if (this.leftOut > 0) this.sink(`${when}warning: ${this.leftOut} lines were left out\n`);
    this.leftOut = 0;
    this.sink(`${when}${level}${text.length > LINE_MAX ? `${text.slice(0, LINE_MAX)}…` : text}\n`);
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
