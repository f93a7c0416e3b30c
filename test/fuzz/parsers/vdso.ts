/** Images of a vDSO, as a saved sandbox brings them: the host's own with parts changed. What is taken has functions inside it. */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { vdsoFunctions, vdsoSize } from "../../../src/platform/vdso.ts";
import type { ParserFuzzer } from "../parser-run.ts";

function hostImage(): Uint8Array {
  const line = /^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$/m.exec(readFileSync("/proc/self/maps", "latin1"));
  // A host without one: then only nonsense is read.
  if (line === null) return new Uint8Array(8192);
  const start = Number.parseInt(line[1]!, 16);
  const image = new Uint8Array(Number.parseInt(line[2]!, 16) - start);
  const fd = openSync("/proc/self/mem", "r");
  readSync(fd, image, 0, image.length, start);
  closeSync(fd);
  return image;
}
const sample = hostImage();
let text = "";

export const fuzzer: ParserFuzzer = {
  one(random) {
    // Headers, tables of symbols, and all of it.
    const image = random.spoil(sample, random.pick([64, 64 + 56 * 4, 2048, sample.length]));
    const part = random.oneIn(10) ? image.subarray(0, random.below(image.length)) : image;
    text = Buffer.from(part.subarray(0, 1536)).toString("hex");
    const size = vdsoSize(part);
    if (!(size >= 0 && size <= 65536 && size % 4096 === 0)) throw new RangeError(`is ${size} bytes long`);
    const found = vdsoFunctions(part);
    if (found !== null && found.length > 256) throw new RangeError(`has ${found.length} functions`);
  },
  last: () => text,
  meant: () => false,
};
