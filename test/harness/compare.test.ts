import { expect, test } from "bun:test";
import { compareResults } from "./compare.ts";
import type { Result } from "./process.ts";

const result = (status: number, stdout = "out\n", timedOut = false): Result => ({
  stdout,
  stderr: "why",
  status,
  timedOut,
  ms: 1,
});
const compare = (host: Result, guest: Result) => compareResults("guest/none", "systrap", host, guest);

test("what ends with 0 and prints the same passes", () => expect(compare(result(0), result(0)).kind).toBe("pass"));

test("another status or other output fails", () => {
  expect(compare(result(0), result(1)).kind).toBe("fail");
  expect(compare(result(0), result(0, "other\n")).kind).toBe("fail");
});

for (const status of [1, 98, 127, 139])
  test(`${status} on the host and in the guest is no equality`, () =>
    expect(compare(result(status), result(status))).toEqual({
      kind: "fail",
      detail: `the oracle could not run: status ${status} on the host\nwhy`,
    }));

test("no end on the host is none either", () => expect(compare(result(0, "", true), result(0, "")).kind).toBe("fail"));

test("a program that is to end with another status must do so on both sides", () => {
  const ends = (host: number, guest: number) =>
    compareResults("programs/none", "systrap", result(host), result(guest), 6).kind;
  expect([ends(6, 6), ends(0, 0), ends(6, 0), ends(7, 7)]).toEqual(["pass", "fail", "fail", "fail"]);
});
