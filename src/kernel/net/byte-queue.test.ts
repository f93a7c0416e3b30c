import { expect, test } from "bun:test";
import { KernelIo } from "../vfs/io.ts";
import { ByteQueue } from "./byte-queue.ts";

const table = Uint8Array.from({ length: 150_256 }, (_, i) => (i * 7) & 255);
const pattern = (length: number, seed: number): Uint8Array => {
  const from = (seed * 13) & 255;
  return table.subarray(from, from + length);
};

test("bytes come out as they went in, whatever the sizes", () => {
  const queue = new ByteQueue();
  let seed = 1;
  let expected = new Uint8Array(0);
  const random = (limit: number): number => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % limit;
  };
  for (let step = 0; step < 3000; step++) {
    const what = random(10);
    if (what < 5) {
      const bytes = pattern(random(what === 0 ? 150000 : 3000), step);
      expect(queue.push(new KernelIo(bytes), bytes.length)).toBe(bytes.length);
      expected = Buffer.concat([expected, bytes]);
    } else if (what < 6) {
      const n = random(expected.length + 1);
      queue.dropLast(n);
      expected = expected.subarray(0, expected.length - n);
    } else {
      const offset = random(expected.length + 1);
      const want = Math.min(random(20000), expected.length - offset);
      const out = new Uint8Array(want);
      expect(queue.peek(new KernelIo(out), offset, want)).toBe(want);
      expect(Buffer.compare(out, expected.subarray(offset, offset + want))).toBe(0);
      const n = random(Math.min(expected.length, 60000) + 1);
      queue.drop(n);
      expected = expected.subarray(n);
    }
    expect(queue.bytes).toBe(expected.length);
  }
});
