import { describe, expect, test } from "bun:test";
import { bitMask, rangeList } from "./status.ts";

describe("sets of processors as proc writes them", () => {
  const cases: { cpus: number[]; count: number; list: string; mask: string }[] = [
    { cpus: [0], count: 1, list: "0", mask: "1" },
    { cpus: [0, 1], count: 2, list: "0-1", mask: "3" },
    { cpus: [0, 2, 3, 7], count: 8, list: "0,2-3,7", mask: "8d" },
    { cpus: [0, 33], count: 40, list: "0,33", mask: "02,00000001" },
    { cpus: [31, 32], count: 64, list: "31-32", mask: "00000001,80000000" },
  ];
  for (const { cpus, count, list, mask } of cases)
    test(`${list} of ${count}`, () => {
      expect(rangeList(cpus)).toBe(list);
      expect(bitMask(cpus, count)).toBe(mask);
    });
});
