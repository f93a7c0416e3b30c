/** ELF headers: those of real programs with parts changed. What is taken must be such that loading it stays in bounds. */
import { readFileSync } from "node:fs";
import { loadSpan, parseElf } from "../../../src/kernel/loader/elf.ts";
import type { ParserFuzzer } from "../parser-run.ts";

const samples = [process.execPath, "/bin/sh", "/bin/true", "/lib64/ld-linux-x86-64.so.2"].map(
  (path) => new Uint8Array(readFileSync(path).subarray(0, 65536)),
);
let text = "";

export const fuzzer: ParserFuzzer = {
  one(random) {
    const bytes = random.spoil(random.pick(samples).subarray(0, 4096), random.oneIn(3) ? 64 : 64 + 56 * 12);
    text = Buffer.from(bytes.subarray(0, 760)).toString("hex");
    const head = bytes.subarray(0, random.oneIn(10) ? random.below(256) : 256);
    const elf = parseElf(head, (dst, offset) => {
      if (!(offset >= 0)) throw new RangeError(`reads at ${offset}`);
      if (dst.length > 65536) throw new RangeError(`reads ${dst.length} bytes of headers`);
      const part = bytes.subarray(Math.min(offset, bytes.length), Math.min(offset + dst.length, bytes.length));
      dst.set(part);
      return part.length;
    });
    if (typeof elf === "number") {
      if (elf >= 0 || elf < -4095) throw new RangeError(`refused with ${elf}`);
      return;
    }
    const span = loadSpan(elf);
    if (
      !Number.isSafeInteger(span.start) ||
      !Number.isSafeInteger(span.end) ||
      span.end > 2 ** 47 + 4096 ||
      span.start > span.end
    )
      throw new RangeError(`would be loaded from ${span.start} to ${span.end}`);
    if (!(span.align > 0)) throw new RangeError(`aligned to ${span.align}`);
  },
  last: () => text,
  meant: () => false,
};
