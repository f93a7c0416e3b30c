/** Complete, synchronous writes: the last line before an exit is the one that matters. */
import { writeSync } from "node:fs";

/** Writes all of `text`, patiently where the other side is slow. False when the reader went away. */
export function writeFd(fd: number, text: string | Uint8Array): boolean {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EAGAIN") Bun.sleepSync(1);
      else if (code !== "EINTR") return false;
    }
  }
  return true;
}
