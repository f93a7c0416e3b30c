import { expect, test } from "bun:test";
import { getpid, killProcess, pread, userName } from "./host.ts";

test("a number that does not fit an int is refused, not cut", () => {
  // Cut to 32 bits this would be our own process.
  for (const pid of [2 ** 32 + getpid(), -(2 ** 32) + getpid(), 2 ** 31, 1.5, Number.NaN])
    expect(() => killProcess(pid, 0)).toThrow("does not fit");
  expect(killProcess(getpid(), 0)).toBe(0);
  // Sizes and offsets are doubles.
  expect(pread(-1, new Uint8Array(1), 1, 2 ** 40)).toBe(-9);
});

test("a user's name is the host's, whatever the environment says", () => {
  const before = process.env["USER"];
  process.env["USER"] = "somebody";
  try {
    const out = Buffer.alloc(16);
    expect(out.toString("latin1", 0, userName(0, out, out.length))).toBe("root");
    expect(userName(0, out, 3)).toBe(-34);
    expect(userName(0xfffffffe, out, out.length)).toBe(-2);
  } finally {
    if (before === undefined) delete process.env["USER"];
    else process.env["USER"] = before;
  }
});
