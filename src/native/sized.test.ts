import { expect, test } from "bun:test";
import { closeFd, memfdCreate, pread, pwrite, vmRead } from "./host.ts";
import { addressOf } from "./library.ts";

test("bytes are never read or written beyond the memory that was given, nor at a number that is no memory of ours", () => {
  const fd = memfdCreate(Buffer.from("sized\0"), 1);
  const bytes = new Uint8Array(16);
  expect(pwrite(fd, bytes, 16, 0)).toBe(16);
  expect(pread(fd, bytes, 16, 0)).toBe(16);
  expect(pread(fd, addressOf(bytes), 16, 0)).toBe(16);
  expect(pread(fd, null, 0, 0)).toBe(0);
  for (const [memory, length] of [
    [bytes, 17],
    [bytes.subarray(8), 9],
    [addressOf(bytes), 17],
    [addressOf(bytes) + 8, 8],
    [0x7000_0000_0000, 1],
    [null, 1],
    [bytes, Number.NaN],
    ["text" as unknown as Uint8Array, 1],
  ] as const) {
    expect(() => pread(fd, memory, length, 0)).toThrow("h_pread: no memory of that size");
    expect(() => pwrite(fd, memory, length, 0)).toThrow("h_pwrite: no memory of that size");
    expect(() => vmRead(process.pid, 4096, memory, length)).toThrow("no memory of that size");
  }
  closeFd(fd);
});
