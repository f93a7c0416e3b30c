import { describe, expect, test } from "bun:test";
import { compareLines, parseSteps } from "./specs.ts";

describe("expected output", () => {
  const cases: [string[], string, boolean][] = [
    [["a", "b"], "a\nb\n", true],
    [["a"], "a\nb\n", false],
    [["a", "b"], "a\n", false],
    [[], "", true],
    [[], "a\n", false],
    [["/a+/"], "aaa\n", true],
    [["/a+/"], "xaaa\n", false],
    [["a", "…", "z"], "a\nb\nc\nz\n", true],
    [["a", "…", "z"], "a\nz\n", true],
    [["a", "…"], "b\n", false],
  ];
  for (const [expected, output, same] of cases)
    test(`${JSON.stringify(expected)} for ${JSON.stringify(output)}: ${same}`, () =>
      expect(compareLines(expected, output) === null).toBe(same));
});

test("steps", () => {
  const text = 'Prose.\n\n  % {"a": 1}\n  $ cmd one\n  > more\n  out\n  ! err\n  = 3\n\nProse.\n  $ two\n';
  expect(parseSteps(text)).toEqual([
    { line: 3, command: "", stdout: [], stderr: [], status: 0, config: { a: 1 } },
    { line: 4, command: "cmd one\nmore", stdout: ["out"], stderr: ["err"], status: 3 },
    { line: 11, command: "two", stdout: [], stderr: [], status: 0 },
  ]);
});
