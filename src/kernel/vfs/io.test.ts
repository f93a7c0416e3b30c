import { describe, expect, test } from "bun:test";
import { EFAULT, EINVAL } from "../abi/errno.ts";
import { BAD, MEMORY, TaskKit } from "../testing/task-kit.ts";
import { IOV_MAX, importIovec, MAX_RW_COUNT, UserIo } from "./io.ts";

function take(io: UserIo, n: number): string {
  const out = new Uint8Array(n);
  const got = io.take(out, 0, n);
  return got < 0 ? String(got) : Buffer.from(out).toString("latin1", 0, got);
}

describe("UserIo", () => {
  const kit = new TaskKit();
  kit.put(MEMORY, "0123456789");
  const parts = () => new UserIo(kit.task.mm, [MEMORY, 2, MEMORY + 5, 0, MEMORY + 4, 3, MEMORY + 9, 1]);

  test("reads over the borders of segments", () => {
    const io = parts();
    expect(io.remaining).toBe(6);
    expect([take(io, 1), take(io, 3), take(io, 10), take(io, 1)]).toEqual(["0", "145", "69", ""]);
  });
  test("skips and goes back", () => {
    const io = parts();
    io.skip(3);
    expect(take(io, 2)).toBe("56");
    io.rewind(4);
    expect([io.remaining, take(io, 9)]).toEqual([5, "14569"]);
    io.rewind(6);
    expect(take(io, 9)).toBe("014569");
  });
  test("ends where it is limited", () => {
    const io = parts();
    io.limit(4);
    expect([take(io, 9), io.remaining]).toEqual(["0145", 0]);
  });
  test("moves what lies before a bad address", () => {
    const io = new UserIo(kit.task.mm, [MEMORY, 3, BAD, 3]);
    expect(io.usable(6, false)).toBe(3);
    expect([take(io, 6), take(io, 1)]).toEqual(["012", String(-EFAULT)]);
  });
});

describe("importIovec", () => {
  const kit = new TaskKit();
  const at = MEMORY + 4096;
  test("refuses bad counts, lengths and addresses", () => {
    expect(importIovec(kit.task.mm, at, -1)).toBe(-EINVAL);
    expect(importIovec(kit.task.mm, at, IOV_MAX + 1)).toBe(-EINVAL);
    expect(importIovec(kit.task.mm, BAD, 1)).toBe(-EFAULT);
    kit.put64(at, MEMORY, 2 ** 63);
    expect(importIovec(kit.task.mm, at, 1)).toBe(-EINVAL);
    kit.put64(at, 2 ** 47, 1);
    expect(importIovec(kit.task.mm, at, 1)).toBe(-EFAULT);
  });
  test("cuts the total to MAX_RW_COUNT", () => {
    kit.put64(at, MEMORY, MAX_RW_COUNT - 1, MEMORY, 10);
    expect((importIovec(kit.task.mm, at, 2) as UserIo).remaining).toBe(MAX_RW_COUNT);
  });
});
