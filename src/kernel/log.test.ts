import { expect, test } from "bun:test";
import { KernelLog } from "./log.ts";

test("a flood of lines is cut off and counted; a long line is cut", () => {
  const lines: string[] = [];
  const log = new KernelLog((line) => lines.push(line), true);
  log.warn("x".repeat(1 << 20));
  expect(lines[0]!.length).toBeLessThan(9000);
  for (let i = 0; i < 100_000; i++) log.debug(`line ${i}`);
  expect(lines.length).toBeLessThan(10_000);
  expect(lines.length).toBeGreaterThan(4000);
  Bun.sleepSync(50);
  log.error("and then");
  expect(lines.at(-2)).toMatch(/warning: \d+ lines were left out/);
  expect(lines.at(-1)).toMatch(/error: and then/);
});
