import { expect, test } from "bun:test";
import { asAddress, asCount, asPid, asPlaced, asStatus, asWord, type Decode } from "./answers.ts";

/** Decodes a 64-bit answer. */
function given(decode: Decode, answer: bigint, limit = 0): number | null {
  const bits = BigInt.asUintN(64, answer);
  return decode(Number(bits & 0xffffffffn), Number(bits >> 32n), limit);
}

const FORGED = [2n ** 32n + 77n, 2n ** 63n, 2n ** 31n, -4096n, -(2n ** 40n), 2n ** 53n + 1n];

test("a status is 0 or an errno", () => {
  expect([0n, -1n, -4095n].map((a) => given(asStatus, a))).toEqual([0, -1, -4095]);
  for (const answer of [1n, ...FORGED]) expect(given(asStatus, answer)).toBeNull();
});

test("a process id is one that Linux could give", () => {
  expect([2n, 2147483647n, -11n].map((a) => given(asPid, a))).toEqual([2, 2147483647, -11]);
  for (const answer of [0n, 1n, ...FORGED]) expect(given(asPid, answer)).toBeNull();
});

test("a count does not pass what was asked for", () => {
  expect([0n, 100n, -14n].map((a) => given(asCount, a, 100))).toEqual([0, 100, -14]);
  for (const answer of [101n, ...FORGED]) expect(given(asCount, answer, 100)).toBeNull();
});

test("a mapping is where it was to be", () => {
  const at = 0x7fdf00001000;
  expect([BigInt(at), -12n].map((a) => given(asPlaced, a, at))).toEqual([0, -12]);
  for (const answer of [0n, BigInt(at) + 1n, BigInt(at) + 2n ** 63n, ...FORGED])
    expect(given(asPlaced, answer, at)).toBeNull();
});

test("a word has 32 bits, an address 47", () => {
  expect([0n, 0xffffffffn, -14n].map((a) => given(asWord, a))).toEqual([0, 0xffffffff, -14]);
  for (const answer of [2n ** 32n, 2n ** 63n, -4096n]) expect(given(asWord, answer)).toBeNull();
  expect([0n, 0x7fffffffffffn, -1n].map((a) => given(asAddress, a))).toEqual([0, 0x7fffffffffff, -1]);
  for (const answer of [2n ** 47n, 2n ** 63n, -4096n]) expect(given(asAddress, answer)).toBeNull();
});
