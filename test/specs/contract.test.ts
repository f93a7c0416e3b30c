/** docs/contract.md is complete: every row has a test that names it, or a reason why there is none. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const NUMBERED = 76;
const NAMED = [
  "3.1-spellings",
  "3.1-globals",
  "3.1-create",
  "3.1-exec",
  "3.1-delete-kill",
  "3.1-events",
  "3.1-ps-list",
  "3.1-update",
  "3.1-checkpoint",
  "3.1-restore",
  "3.1-version",
  "3.1-features",
  "3.1-conmon-create",
  "3.1-conmon-exec",
  "3.1-conmon-restore",
  "3.1-podman",
  "3.1-cri-o",
  "3.1-gvisor-shim",
  "3.2-pid-file",
  "3.2-pid",
  "3.2-parent-death",
  "3.2-log",
  "3.2-places",
  "3.2-console-socket",
  "3.2-state",
  "3.2-stats",
  "3.2-features",
  "3.2-exit-codes",
  "3.3-does-not-exist",
  "3.3-not-running",
  "3.3-docker-126",
  "3.3-docker-127",
  "3.3-podman",
  "3.3-runc",
  "3.3-name",
  "3.4-delete",
  "3.4-kill",
  "3.4-kill-stopped",
  "3.4-run-keep",
  "3.4-preserve-fds",
  "3.4-hook-order",
  "3.4-hook-fields",
  "3.4-invalid-values",
  "3.4-crun",
  "3.4-bench",
];

/** The rows that a test's text names: "row 7", "rows 2 to 4, 9", "CONTRACT 75", "3.2-pid". */
function rowsOf(text: string): Set<string> {
  const found = new Set<string>(text.match(/\b3\.[1-4]-[a-z0-9]+(?:-[a-z0-9]+)*/g) ?? []);
  for (const [, list] of text.matchAll(/\b(?:rows?|CONTRACT) (\d+(?:(?:, | and | to )\d+)*)/g))
    for (const [, from, to = from] of list!.matchAll(/(\d+)(?: to (\d+))?/g))
      for (let row = Number(from); row <= Number(to); row++) found.add(String(row));
  return found;
}

const rows = readFileSync(join(ROOT, "docs/contract.md"), "utf8")
  .split("\n")
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .filter((cells) => cells.length === 5 && /^\d/.test(cells[1]!))
  .map(([, row, owed, shown]) => ({ row: row!, owed: owed!, shown: shown! }));

/** Files that the last column names. */
function testsOf(shown: string): string[] {
  return [...shown.matchAll(/`((?:specs|src|test)\/[^` ]+)`/g)].map(([, name]) =>
    name!.startsWith("specs/") ? `test/${name}.steps` : name!,
  );
}

test("every row is there, once and in order", () => {
  const all = [...Array.from({ length: NUMBERED }, (_, i) => String(i + 1)), ...NAMED];
  expect(rows.map(({ row }) => row)).toEqual(all);
});

describe("each row names tests that name it, or says why there is none", () => {
  for (const { row, owed, shown } of rows)
    test(row, () => {
      expect(owed).not.toBe("");
      const files = testsOf(shown);
      if (files.length === 0) expect(shown).toMatch(/^(Later|Otherwise)[:,;]/);
      for (const file of files) {
        expect(`${file}: ${existsSync(join(ROOT, file))}`).toBe(`${file}: true`);
        expect(`${file} names ${[...rowsOf(readFileSync(join(ROOT, file), "utf8"))].join(" ")} `).toContain(` ${row} `);
      }
    });
});

test("rows in a text", () =>
  expect([...rowsOf("(rows 2 to 4, 9 and 12; 3.2-pid-file, row 7, CONTRACT 75)")]).toEqual(
    "3.2-pid-file 2 3 4 9 12 7 75".split(" "),
  ));
