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
  // What was pushed, one after the other, and which part of it the queue should hold: cheaper than copies at each step.
  const pushed = Buffer.alloc(64 << 20);
  let start = 0;
  let end = 0;
  const random = (limit: number): number => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % limit;
  };
  for (let step = 0; step < 3000; step++) {
    const what = random(10);
    if (what < 5) {
      const bytes = pattern(random(what === 0 ? 150000 : 3000), step);
      expect(queue.push(new KernelIo(bytes), bytes.length)).toBe(bytes.length);
      pushed.set(bytes, end);
      end += bytes.length;
    } else if (what < 6) {
      const n = random(end - start + 1);
      queue.dropLast(n);
      end -= n;
    } else {
      const offset = random(end - start + 1);
      const want = Math.min(random(20000), end - start - offset);
      const out = new Uint8Array(want);
      expect(queue.peek(new KernelIo(out), offset, want)).toBe(want);
      expect(pushed.compare(out, 0, want, start + offset, start + offset + want)).toBe(0);
      const n = random(Math.min(end - start, 60000) + 1);
      queue.drop(n);
      start += n;
    }
    expect(queue.bytes).toBe(end - start);
  }
});
