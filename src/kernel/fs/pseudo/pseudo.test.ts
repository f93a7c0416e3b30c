import { describe, expect, test } from "bun:test";
import type { Task } from "../../task/task.ts";
import { TaskKit } from "../../testing/task-kit.ts";
import { Dentry, Mount } from "../../vfs/dentry.ts";
import { KernelIo } from "../../vfs/io.ts";
import { type ComputedEntry, PseudoDirectory, type PseudoDirectoryFile } from "./directory.ts";
import { PseudoFs } from "./node.ts";
import { GeneratedFile, type PseudoTextFile, parseNumber } from "./text.ts";

class TestFs extends PseudoFs {
  override readonly root: PseudoDirectory = new PseudoDirectory(this);
  protected override grow(): void {}
}

/** Entries that come and go, as processes do. */
class Numbers extends PseudoDirectory {
  constructor(
    fs: PseudoFs,
    readonly alive: Set<number>,
  ) {
    super(fs);
  }
  protected override *listComputed(_task: Task, from: number): Iterable<ComputedEntry> {
    for (const key of [...this.alive].sort((a, b) => a - b))
      if (key >= from) yield { key, name: String(key), ino: 1000 + key, type: 0o040000 };
  }
}

function world() {
  const { kernel, task } = new TaskKit();
  const fs = new TestFs(kernel, "test", 1);
  const dentry = new Dentry("", null, fs.root);
  const mount = new Mount(1, fs, dentry, null, null, 0);
  return { fs, task, path: { mount, dentry } };
}

describe("directories of pseudo file systems", () => {
  test("list on correctly while computed entries come and go", () => {
    const { fs, task, path } = world();
    const alive = new Set([1, 5, 9]);
    const directory = new Numbers(fs, alive);
    directory.add("fixed", new GeneratedFile(fs, () => ""));
    const file = directory.open(path, 0, task) as PseudoDirectoryFile;
    const seen: string[] = [];
    /** Room for two entries, as with a small getdents buffer. */
    const step = () => {
      let room = 2;
      file.readdir(task, (name) => room-- > 0 && seen.push(name) > 0);
    };
    step();
    step();
    alive.delete(1);
    alive.delete(5);
    alive.add(7);
    for (let i = 0; i < 4; i++) step();
    expect(seen).toEqual([".", "..", "fixed", "1", "7", "9"]);
  });
});

describe("generated files", () => {
  test("a read further on sees the text that the read at 0 made", () => {
    const { fs, task, path } = world();
    let version = 1;
    const node = new GeneratedFile(fs, () => `text ${version}`);
    const file = node.open(path, 0, task) as PseudoTextFile;
    const read = (offset: number, length: number) => {
      const buffer = new Uint8Array(length);
      const n = file.read(task, new KernelIo(buffer), offset);
      return Buffer.from(buffer.buffer, 0, n).toString();
    };
    expect(read(0, 5)).toBe("text ");
    version = 2;
    expect(read(5, 10)).toBe("1");
    expect(read(6, 10)).toBe("");
    expect(read(0, 10)).toBe("text 2");
  });

  const numbers: [text: string, value: number | null][] = [
    ["12\n", 12],
    [" -5 ", -5],
    ["0x1f", 31],
    ["017", 15],
    ["12x", null],
    ["", null],
  ];
  for (const [text, value] of numbers)
    test(`${JSON.stringify(text)} is ${value}`, () => expect(parseNumber(text)).toBe(value));
});
