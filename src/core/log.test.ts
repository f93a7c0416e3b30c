import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RuntimeError, describe as text } from "./errors.ts";
import { createLog, formatLine } from "./log.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "runts-log-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("--log (what containerd and Podman read)", () => {
  test("JSON lines with level, msg and time, appended (row 74)", () => {
    const path = join(directory, "log.json");
    writeFileSync(path, '{"level":"info","msg":"before","time":"x"}\n');
    const log = createLog({ path, format: "json", debug: false });
    log.debug("not shown");
    log.warn('a "quoted" warning\nin two lines');
    const lines = readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      ["info", "before"],
      ["warning", 'a "quoted" warning\nin two lines'],
    ]);
    expect(lines[1].time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });
  test("the same message many times is many lines", () => {
    const path = join(directory, "log.json");
    const log = createLog({ path, format: "json", debug: true });
    for (let i = 0; i < 20; i++) log.debug("again");
    expect(readFileSync(path, "utf8").trimEnd().split("\n").length).toBe(20);
  });
  test("logrus' text", () =>
    expect(formatLine("text", "error", 'no "x"', new Date(0))).toBe(
      'time="1970-01-01T00:00:00Z" level=error msg="no \\"x\\""\n',
    ));
  test("a file that cannot be opened is named", () =>
    expect(() => createLog({ path: "/nowhere/log", format: "json", debug: false })).toThrow(
      "cannot open the log file /nowhere/log",
    ));
});

test("an error with its causes, once each", () => {
  const inner = Object.assign(new Error("ENOENT: no such file or directory, open '/x'"), {
    code: "ENOENT",
    syscall: "open",
    path: "/x",
  });
  const outer = new RuntimeError("host", "cannot read /x", { cause: new Error("step", { cause: inner }) });
  expect(text(outer)).toBe("cannot read /x: step: open /x: no such file or directory");
});
