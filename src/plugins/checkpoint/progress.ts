/** How far a large image is, on a terminal. */
import { writeSync } from "node:fs";
import { isatty } from "node:tty";

/** Smaller ones are done before anybody wonders. */
const SHOWN_FROM = 100e6;
const INTERVAL_MS = 100;
const STDERR = 2;

export class ProgressLine {
  private last = 0;
  private shown = false;

  constructor(
    private readonly verb: string,
    private readonly show = isatty(STDERR),
    private readonly write: (text: string) => void = (text) => writeSync(STDERR, text),
  ) {}

  /** `total`: 0 when it is not known. */
  at(bytes: number, total: number): void {
    if (!this.show || Math.max(bytes, total) < SHOWN_FROM) return;
    if (bytes === total) {
      this.end();
      return;
    }
    const now = performance.now();
    if (this.shown && now - this.last < INTERVAL_MS) return;
    this.last = now;
    this.shown = true;
    const share = total > 0 ? ` ${Math.floor((100 * bytes) / total)} %` : "";
    this.write(`\r\x1b[K${this.verb}: ${size(bytes)}${share}`);
  }

  end(): void {
    if (this.shown) this.write("\r\x1b[K");
    this.shown = false;
  }
}

/** "12.3 MB". */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}
