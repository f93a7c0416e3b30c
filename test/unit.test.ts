import { expect, test } from "bun:test";
import { outcomeOf, readReport } from "./unit.ts";

const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="9" failures="1" skipped="1" time="1">
  <testsuite name="src/a.test.ts" file="src/a.test.ts" tests="4" assertions="9" failures="0" skipped="0" time="1">
    <testsuite name="inside" file="src/a.test.ts" line="3" tests="1" assertions="1" failures="0" skipped="0" time="1">
    </testsuite>
  </testsuite>
  <testsuite name="src/b.test.ts" file="src/b.test.ts" tests="3" assertions="9" failures="1" skipped="0" time="1">
  </testsuite>
  <testsuite name="src/c.test.ts" file="src/c.test.ts" tests="2" assertions="9" failures="0" skipped="1" time="1">
  </testsuite>
</testsuites>`;
const output =
  "\nsrc/a.test.ts:\n(pass) fine\n\nsrc/b.test.ts:\nexpected 1\n(fail) broken\n\nsrc/c.test.ts:\n(skip) x\n";

test("each file has the outcome that the report gives it", () => {
  const run = { files: readReport(report), status: 1, output };
  expect(outcomeOf("src/a.test.ts", run)).toEqual({ kind: "pass" });
  expect(outcomeOf("src/b.test.ts", run)).toEqual({
    kind: "fail",
    detail: "expected 1\n(fail) broken",
  });
  expect(outcomeOf("src/c.test.ts", run)).toEqual({ kind: "skip", reason: "1 of 2 tests skip themselves" });
});

test("a file that is not in the report has failed", () =>
  expect(outcomeOf("src/d.test.ts", { files: readReport(""), status: 134, output: "crash" })).toEqual({
    kind: "fail",
    detail: "not in the report of bun test, which ended with 134\ncrash",
  }));

test("a failure outside of any test is everybody's", () => {
  const files = readReport(report.replace('failures="1" skipped="0"', 'failures="0" skipped="0"'));
  expect(outcomeOf("src/a.test.ts", { files, status: 1, output }).kind).toBe("fail");
});
