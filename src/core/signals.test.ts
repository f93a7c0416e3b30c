import { describe, expect, test } from "bun:test";
import { parseDuration } from "./duration.ts";
import { exitCodeOf, parseSignal } from "./signals.ts";

describe("signals by name and number (CONTRACT row 70)", () => {
  const cases: [string, number][] = [
    ["TERM", 15],
    ["SIGTERM", 15],
    ["sigterm", 15],
    ["15", 15],
    ["9", 9],
    ["0", 0],
    ["RTMIN", 34],
    ["SIGRTMIN+3", 37],
    ["RTMAX-1", 63],
  ];
  for (const [text, number] of cases) test(text, () => expect(parseSignal(text)).toBe(number));
  for (const text of ["", "BOGUS", "65", "-1", "1.5", "RTMIN+40", "SIG", "9x"])
    test(`"${text}" is none`, () => expect(() => parseSignal(text)).toThrow(`unknown signal "${text}"`));
});

test("exit statuses (CONTRACT row 24)", () => {
  expect(exitCodeOf({ exitCode: 3, signal: 0 })).toBe(3);
  expect(exitCodeOf({ exitCode: 0, signal: 9 })).toBe(137);
});

describe("intervals: Go's durations and gVisor's seconds", () => {
  const cases: [string, number | null][] = [
    ["5s", 5000],
    ["250ms", 250],
    ["1m30s", 90_000],
    ["1.5h", 5_400_000],
    ["5", 5000],
    ["", null],
    ["s", null],
    ["5x", null],
    ["-5s", null],
    ["5s ", null],
  ];
  for (const [text, ms] of cases) test(`"${text}"`, () => expect(parseDuration(text)).toBe(ms));
});
