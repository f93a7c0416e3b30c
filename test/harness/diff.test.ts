import { expect, test } from "bun:test";
import { unifiedDiff } from "./diff.ts";

const body = (a: string, b: string) => unifiedDiff(a, b).split("\n").slice(2).join("\n");

test("a changed line shows both sides with context", () => {
  expect(body("1\n2\n3\n4\n5\n6\n7", "1\n2\n3\nfour\n5\n6\n7")).toBe("@@\n 2\n 3\n-4\n+four\n 5\n 6");
});

test("missing and additional lines", () => {
  expect(body("a\nb\nc", "a\nc")).toBe(" a\n-b\n c");
  expect(body("a\nc", "a\nb\nc")).toBe(" a\n+b\n c");
  expect(body("", "x")).toBe("-\n+x");
});

test("two places far apart are two pieces", () => {
  const a = Array.from({ length: 30 }, (_, i) => `${i}`);
  const b = [...a];
  b[3] = "x";
  b[25] = "y";
  expect(body(a.join("\n"), b.join("\n")).match(/@@/g)?.length).toBe(2);
});

test("a long difference is cut", () => {
  const many = Array.from({ length: 500 }, (_, i) => `${i}`).join("\n");
  expect(unifiedDiff(many, "", 2, 20).split("\n").length).toBe(21);
});
