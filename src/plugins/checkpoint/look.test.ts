/** inspect, check, diff, export, reseal: on images whose objects are as src/kernel/state writes them. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RuntimeError } from "../../core/errors.ts";
import { parseFlags } from "../../core/go-flags.ts";
import type { SavedProcess } from "../../core/sandbox.ts";
import { Bench } from "../../core/testing.ts";
import { pwrite } from "../../native/host.ts";
import { contentsOf, SavedFiles } from "./files.ts";
import type { SparsePart } from "./format.ts";
import checkpoint from "./index.ts";
import { processTree } from "./inspect.ts";
import { ProgressLine } from "./progress.ts";
import { Image } from "./read.ts";
import { tarEnd, tarEntry } from "./tar.ts";
import { container, MIB, memoryOf, sandboxManifest, writeImage, writeMemory, writePages } from "./testing.ts";
import { ImageWriter } from "./write.ts";

let bench: Bench;
let directory: string;
let place: string;
beforeEach(async () => {
  bench = new Bench();
  await bench.open(checkpoint);
  directory = mkdtempSync(join(tmpdir(), "runts-look-"));
  place = join(directory, "img");
});
afterEach(async () => {
  await bench.close();
  rmSync(directory, { recursive: true, force: true });
});

async function image(...argv: string[]): Promise<unknown> {
  const known = bench.registry.commands.get("image")!;
  const declaration = "load" in known ? await known.load() : known;
  const { values, positionals } = parseFlags(declaration.flags ?? {}, argv, { who: "test" });
  bench.output = "";
  return declaration.run(bench.context, values as never, positionals);
}
const refusal = (...argv: string[]): Promise<string> =>
  image(...argv).then(
    () => "it was done",
    (error: RuntimeError) => error.message,
  );

const to = (id: number) => ({ "@": id });
const DIRECTORY = 0o040755;
const FILE = 0o100644;
const LINK = 0o120777;
const node = (mode: number, more: object = {}) => ({
  type: "tmpfs-node",
  v: 1,
  $type: mode & 0o170000,
  mode,
  uid: 5,
  gid: 6,
  mtimeSec: 1_000_000_000,
  entries: null,
  content: null,
  target: "",
  rdev: 0,
  ...more,
});

const content = (size: number, more: object = {}) => ({
  type: "memory-content",
  v: 1,
  size,
  fd: null,
  first: null,
  rest: null,
  ...more,
});

/** A kernel whose container has a tmpfs on /dev/shm, and an overlay as its root. */
function objects(changes: Record<number, object> = {}): string {
  const lines: Record<number, object> = {
    1: { type: "kernel", v: 1, mounts: to(2) },
    2: { type: "mount-table", v: 1, all: to(3) },
    3: { type: "set", items: [to(4), to(5), to(6)] },
    // The root: an overlay.
    4: { type: "mount", v: 1, $id: 1, fs: to(10), root: to(40), parent: null, mountpoint: null },
    // On /dev/shm.
    5: { type: "mount", v: 1, $id: 2, fs: to(11), root: to(41), parent: to(4), mountpoint: to(43) },
    // A file system of the host, which the image has nothing of.
    6: { type: "mount", v: 1, $id: 3, fs: to(99), root: to(42), parent: to(4), mountpoint: to(42) },
    10: { type: "overlay-fs", v: 1, root: to(20) },
    11: { type: "tmpfs", v: 1, $type: "tmpfs", root: to(30) },
    40: { type: "dentry", v: 1, name: "", parent: to(40) },
    41: { type: "dentry", v: 1, name: "", parent: to(41) },
    42: { type: "dentry", v: 1, name: "dev", parent: to(40) },
    43: { type: "dentry", v: 1, name: "shm", parent: to(42) },
    // The overlay: a new file, a name that was taken away, a directory that is only walked through.
    20: { type: "overlay-node", v: 1, upper: null, dataInUpper: false, entries: to(21) },
    21: {
      type: "map",
      entries: [
        ["new", to(22)],
        ["gone", null],
        ["etc", to(24)],
        ["chmod-only", to(27)],
      ],
    },
    22: { type: "overlay-node", v: 1, upper: to(23), dataInUpper: true, entries: null },
    23: node(FILE, { content: to(50) }),
    24: { type: "overlay-node", v: 1, upper: null, dataInUpper: false, entries: to(25) },
    25: { type: "map", entries: [["hosts", to(26)]] },
    26: { type: "overlay-node", v: 1, upper: to(28), dataInUpper: true, entries: null },
    27: { type: "overlay-node", v: 1, upper: to(29), dataInUpper: false, entries: null },
    28: node(FILE, { content: to(60) }),
    29: node(FILE),
    // The tmpfs: a directory with a file of two names, a link; a file with a hole and a chunk in the pages; odd names.
    30: node(0o041777, {
      entries: [
        ...["d", to(70), 2],
        ...["link", to(71), 3],
        ...["sparse", to(72), 4],
        ...["../../evil", to(73), 5],
        ...["\udcff-not-utf8", to(73), 6],
        ...["promoted", to(74), 7],
      ],
    }),
    70: node(DIRECTORY, { entries: ["a", to(73), 2, "b", to(73), 3] }),
    71: node(LINK, { target: "d/a" }),
    72: node(FILE, { content: to(52) }),
    73: node(FILE, { content: to(60) }),
    74: node(FILE, { content: to(55) }),
    // In the line itself.
    50: content(6, { first: { mask: 1, length: 256, base64: Buffer.from("hello\n\0\0\0").toString("base64") } }),
    60: content(0),
    // A hole of 64 KiB, then what lies in the pages at 64 KiB.
    52: content(65536 + 5000, { rest: [[1, { mask: 3, length: 5000, at: 65536 }]] }),
    // All of it in the pages.
    55: content(7, { fd: { at: 131072, length: 7, seals: 0 } }),
    ...changes,
  };
  return Object.entries(lines)
    .map(([id, line]) => `${JSON.stringify({ id: Number(id), ...line })}\n`)
    .join("");
}

async function write(path: string, text = objects(), sandbox = sandboxManifest(), value = 7): Promise<void> {
  const writer = ImageWriter.begin(path, { container, replace: false });
  writeSync(writer.objects, text);
  writePages(writer.pages, MIB, [0], value);
  pwrite(writer.pages, Buffer.alloc(5000, 0x41), 5000, 65536);
  pwrite(writer.pages, Buffer.from("mapped\n"), 7, 131072);
  writeMemory(writer.memory(sandbox.spaces), 0);
  await writer.finish(sandbox, "none");
}

const EXPECTED_SPARSE = Buffer.concat([Buffer.alloc(65536), Buffer.alloc(5000, 0x41)]);

test("files in memory and of upper layers, with what was taken away", async () => {
  await write(place);
  const opened = Image.open(place);
  const files = [...new SavedFiles(opened.objects, await opened.pages()).all()];
  const byPath = new Map(files.map((file) => [Buffer.from(file.path).toString("latin1"), file]));
  expect([...byPath.keys()]).toEqual([
    "new",
    ".wh.gone",
    "etc/hosts",
    "dev/shm",
    "dev/shm/d",
    "dev/shm/d/a",
    "dev/shm/d/b",
    "dev/shm/link",
    "dev/shm/sparse",
    "dev/shm/\xff-not-utf8",
    "dev/shm/promoted",
  ]);
  const contents = (path: string) => Buffer.concat([...contentsOf(byPath.get(path)!)]);
  expect(contents("new").toString()).toBe("hello\n");
  expect(contents("dev/shm/sparse").equals(EXPECTED_SPARSE)).toBe(true);
  expect(contents("dev/shm/promoted").toString()).toBe("mapped\n");
  expect(byPath.get("dev/shm/d/a")!.node).toBe(byPath.get("dev/shm/d/b")!.node);
  opened.close();
});

test("rings of directories have an end; a gigantic sparse file is compared quickly, and is no archive", async () => {
  const ring = {
    70: node(DIRECTORY, { entries: ["a", to(70), 2, "b", to(70), 3] }),
    55: content(2 ** 46, { fd: { at: 131072, length: 7, seals: 0 } }),
    // Entries that are none.
    25: { type: "map", entries: [{}, 5, null, ["hosts", to(26)]] },
  };
  await write(place, objects(ring));
  const opened = Image.open(place);
  expect([...new SavedFiles(opened.objects, await opened.pages()).all()].length).toBe(11);
  opened.close();
  const other = join(directory, "other");
  await write(other, objects({ ...ring, 50: content(6) }));
  await image("diff", "--format", "json", place, other);
  expect(JSON.parse(bench.output).files).toEqual({ added: [], removed: [], changed: ["/new"] });
  expect(await refusal("export", "--output", join(directory, "a.tar"), place)).toMatch(
    /promoted: 70368744177664 bytes/,
  );
});

test("export: an archive that the host's tar unpacks to the same", async () => {
  await write(place, objects(), sandboxManifest({ spaces: 3 }));
  const archive = join(directory, "a.tar");
  await image("export", "--output", archive, place);
  expect(statSync(archive).mode & 0o777).toBe(0o600);
  const out = join(directory, "out");
  mkdirSync(out);
  const untarred = Bun.spawnSync(["tar", "-C", out, "-xf", archive]);
  expect([untarred.exitCode, untarred.stderr.toString()]).toEqual([0, ""]);
  for (const part of ["manifest.json", "objects.jsonl", "pages", "memory/0", "memory/1", "memory/2"])
    expect(readFileSync(join(out, "image", part)).equals(readFileSync(join(place, part)))).toBe(true);
  Image.open(join(out, "image")).close();
  expect(readFileSync(join(out, "files/new"), "utf8")).toBe("hello\n");
  expect(readFileSync(join(out, "files/dev/shm/sparse")).equals(EXPECTED_SPARSE)).toBe(true);
  expect(statSync(join(out, "files/dev/shm/d/a")).ino).toBe(statSync(join(out, "files/dev/shm/d/b")).ino);
  expect(statSync(join(out, "files/new")).mtimeMs).toBe(1e12);
  const listing = Bun.spawnSync(["tar", "-tvf", archive]).stdout.toString();
  expect(listing).toMatch(/^lrwxrwxrwx 5\/6 .*files\/dev\/shm\/link -> d\/a$/m);
  expect(listing).toMatch(/^drwxr-xr-x 5\/6 .*files\/dev\/shm\/d\/$/m);
});

test("an archive's long names, large numbers, devices and fifos", async () => {
  const entry = (path: string, more: object = {}) => ({
    path: Buffer.from(path),
    mode: FILE,
    uid: 0,
    gid: 0,
    mtimeSec: 5,
    size: 0,
    target: new Uint8Array(0),
    device: 0,
    contents: () => [],
    ...more,
  });
  const long = `${"d/".repeat(60)}${"n".repeat(200)}`;
  const archive = join(directory, "a.tar");
  const bytes = [
    ...tarEntry(entry(long, { uid: 5_000_000, size: 3, contents: () => [Buffer.from("abc")] })),
    ...tarEntry(entry("l", { mode: LINK, target: Buffer.from(long) })),
    ...tarEntry(entry("null", { mode: 0o020666, device: 0x103 })),
    ...tarEntry(entry("fifo", { mode: 0o010600 })),
    ...tarEntry(entry("socket", { mode: 0o140600 })),
    tarEnd(),
  ];
  writeFileSync(archive, Buffer.concat(bytes));
  const listed = Bun.spawnSync(["tar", "-tvf", archive, "--numeric-owner"]);
  expect([listed.exitCode, listed.stderr.toString()]).toEqual([0, ""]);
  const lines = listed.stdout.toString().trim().split("\n");
  expect(lines.length).toBe(4);
  expect(lines[0]).toMatch(new RegExp(`^-rw-r--r-- 5000000/0 +3 .* ${long}$`));
  expect(lines[1]).toEndWith(` l -> ${long}`);
  expect(lines[2]).toMatch(/^crw-rw-rw- 0\/0 +1,3 .* null$/);
  expect(lines[3]).toMatch(/^prw------- .* fifo$/);
});

describe("inspect", () => {
  test("the process tree, memory by kind, open files, sockets, parts", async () => {
    await writeImage(place);
    await image("inspect", place);
    const shown = bench.output.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z, by runts \S+/, "WHEN").replaceAll(directory, "");
    expect(shown).toBe(`image       /img
container   c, bundle /b
created     WHEN on systrap
uptime      00:00:06
processor   x86-64, 2 features

PID     THREADS  COMMAND
1       1        sh -c true
7       4          python3

memory
  private  3.00 MB
  shared   4.10 kB
  files    8.19 kB

open files
  tmpfs  2
  pipe   1

sockets
  tcp  1

parts
  manifest.json  format 1
  objects.jsonl  60 B, 2 objects
  pages          3.15 MB, ${shown.match(/pages {10}3.15 MB, (.*) on disk/)?.[1]} on disk
  memory         331.8 kB, ${shown.match(/memory {9}331.8 kB, (.*) on disk/)?.[1]} on disk, 2 address spaces

objects
  kernel  1
  task    1
`);
  });
  test("as JSON", async () => {
    await writeImage(place, { compression: "zstd" });
    await image("inspect", "--format", "json", place);
    const value = JSON.parse(bench.output);
    expect(value.sandbox).toEqual(sandboxManifest({ spaces: 2 }));
    expect(value.objects).toEqual({ kernel: 1, task: 1 });
    expect(value.parts.packed.content).toEqual({ bytes: 3 * MIB + 4096, digest: expect.any(String) });
    const digest = expect.any(String);
    expect(value.parts.memory).toMatchObject(
      [0, 1].map((space) => ({ content: { bytes: memoryOf(space, 7).size, digest } })),
    );
    expect(value.parts.memory.some(({ content }: SparsePart) => "extents" in content!)).toBe(false);
    const blocks = [0, 1].map((space) => statSync(join(place, `memory/${space}.zst`)).blocks * 512);
    expect(value.bytesOnDisk.memory).toBe(blocks[0]! + blocks[1]!);
  });
  test("what an image says cannot speak to the terminal; rings of parents have an end", async () => {
    const processes: SavedProcess[] = [
      { pid: 1, ppid: 2, comm: "a", args: ["\x1b]0;title\x07\u202e"], threads: 1 },
      { pid: 2, ppid: 1, comm: "b", args: [], threads: 1 },
      { pid: 3, ppid: 3, comm: "c", args: ["own parent"], threads: 1 },
    ];
    expect(processTree(processes).length).toBe(3);
    const summary = { ...sandboxManifest().summary, processes };
    await writeImage(place, { sandbox: sandboxManifest({ summary }) });
    await image("inspect", place);
    expect(bench.output).toContain("\\u{1b}]0;title\\u{7}\\u{202e}");
    for (const char of ["\u001b", "\u0007", "\u202e"]) expect(bench.output).not.toContain(char);
  });
});

describe("check", () => {
  test("an image that is whole", async () => {
    await writeImage(place);
    expect(await image("check", place)).toBe(0);
    expect(bench.output).toBe(`${place}: the image is whole\n`);
    writeFileSync(join(place, "notes"), "");
    expect(await image("check", place)).toBe(0);
    expect(bench.log.lines).toEqual(["warning: notes is no part of the image"]);
  });
  test("what is wrong, with status 1", async () => {
    await writeImage(place);
    const pages = readFileSync(join(place, "pages"));
    pages[65536]! ^= 1;
    writeFileSync(join(place, "pages"), pages);
    expect(await image("check", place)).toBe(1);
    expect(await image("check", join(directory, "none"))).toBe(1);
    expect(bench.output).toBe("");
    expect(bench.log.lines).toEqual([
      `error: image ${place}: pages: damaged: its checksum is another`,
      `error: image ${directory}/none: it does not exist`,
    ]);
  });
  test("all parts of memory that are damaged, a line each", async () => {
    for (const compression of ["none", "zstd"] as const) {
      await writeImage(place, { spaces: 3, compression });
      const name = (space: number) => `memory/${space}${compression === "none" ? "" : ".zst"}`;
      for (const space of [0, 2]) {
        const bytes = readFileSync(join(place, name(space)));
        bytes[20]! ^= 1;
        writeFileSync(join(place, name(space)), bytes);
      }
      bench.log.lines.length = 0;
      expect(await image("check", place)).toBe(1);
      expect(bench.log.lines).toEqual(
        [0, 2].map((space) => `error: image ${place}: ${name(space)}: damaged: its checksum is another`),
      );
      expect(await refusal("export", "--output", join(directory, "a.tar"), place)).toMatch(/: memory\/0.*: damaged/);
      expect(await refusal("diff", place, place)).toMatch(/: memory\/0.*: damaged/);
    }
  });
  test("objects that are no lines of JSON, although their checksum is right", async () => {
    for (const [text, says] of [
      ["{\n", /objects.jsonl: line 1: not valid JSON/],
      ['{"id":1,"type":"a"}\n[]\n', /objects.jsonl: line 2: expected an object with id and type/],
    ] as const) {
      await write(place, text);
      expect(await image("check", place)).toBe(1);
      expect(bench.log.lines.at(-1)).toMatch(says);
    }
  });
});

describe("diff", () => {
  test("processes, files, pages, sockets", async () => {
    const other = join(directory, "other");
    await write(place);
    const [first, second] = sandboxManifest().summary.processes;
    const summary = {
      ...sandboxManifest().summary,
      processes: [
        { ...first!, threads: 2 },
        { ...second!, pid: 8 },
      ],
      sockets: { tcp: 3 },
    };
    const changed = {
      50: content(6),
      21: {
        type: "map",
        entries: [
          ["new", to(22)],
          ["etc", to(24)],
        ],
      },
      25: {
        type: "map",
        entries: [
          ["hosts", to(26)],
          ["more", to(26)],
        ],
      },
    };
    await write(other, objects(changed), sandboxManifest({ summary }), 9);
    await image("diff", "--format", "json", place, other);
    expect(JSON.parse(bench.output)).toMatchObject({
      processes: {
        added: [{ pid: 8 }],
        removed: [{ pid: 7 }],
        changed: [{ before: { threads: 1 }, after: { threads: 2 } }],
      },
      files: { added: ["/etc/more"], removed: ["/.wh.gone"], changed: ["/new"] },
      pages: { common: 3, before: 1, after: 1 },
      sockets: { tcp: { before: 1, after: 3 } },
      openFiles: {},
      objects: {},
    });
    await image("diff", place, other);
    expect(bench.output).toBe(`processes
- 7 python3
+ 8 python3
  1 sh -c true: threads 1 -> 2
files in memory
- /.wh.gone
+ /etc/more
  /new
memory
  pages: 3 in both, - 1, + 1 (4.10 kB)
open files and sockets
  sockets tcp: 1 -> 3
`);
  });
  test("pages of all address spaces count, wherever they are; packed ones, too", async () => {
    const other = join(directory, "other");
    for (const compression of ["none", "zstd"] as const) {
      await writeImage(place, { spaces: 3, compression });
      // One address space fewer: the two pages of memory that the third had.
      await writeImage(other, { spaces: 2 });
      await image("diff", "--format", "json", place, other);
      expect(JSON.parse(bench.output).pages).toEqual({ common: 8, before: 2, after: 0 });
    }
    const writer = ImageWriter.begin(other, { container, replace: false });
    const moved = writer.memory(2);
    // What one had the other has now.
    writeMemory([moved[1]!, moved[0]!], 0);
    writePages(writer.pages, 4 * MIB, [65536, 0, MIB, 3 * MIB]);
    await writer.finish(sandboxManifest({ spaces: 2 }), "none");
    await writeImage(place, { spaces: 2 });
    await image("diff", "--format", "json", place, other);
    expect(JSON.parse(bench.output).pages).toEqual({ common: 8, before: 0, after: 0 });
  });
  test("an image and itself", async () => {
    await write(place);
    await image("diff", place, place);
    expect(bench.output).toBe("memory\n  pages: 4 in both, - 0, + 0 (0 B)\n");
  });
});

test("reseal: who edits objects makes the checksum right afterwards", async () => {
  await writeImage(place);
  const path = join(place, "objects.jsonl");
  writeFileSync(path, readFileSync(path, "utf8").replace('"v":1', '"v":1,"edited":true'));
  expect(await refusal("inspect", place)).toMatch(/objects.jsonl: 14 bytes too long/);
  await image("reseal", place);
  expect(await image("check", place)).toBe(0);
  const manifest = join(place, "manifest.json");
  writeFileSync(manifest, readFileSync(manifest, "utf8").replace('"overlay": "none"', '"overlay": "memory"'));
  expect(await refusal("inspect", place)).toMatch(/manifest.json: damaged/);
  await image("reseal", place);
  expect(await image("check", place)).toBe(0);
  const memory = join(place, "memory/1");
  writeFileSync(memory, Buffer.concat([readFileSync(memory), Buffer.from("more")]));
  expect(await refusal("inspect", place)).toMatch(/memory\/1: 4 bytes too long/);
  await image("reseal", place);
  expect(await image("check", place)).toBe(0);
  const opened = Image.open(place);
  expect(opened.container.overlay).toBe("memory");
  opened.close();
});

test("unknown actions, and too many directories", async () => {
  expect(await refusal("mend", place)).toMatch(/unknown action "mend" \(there are: inspect, check/);
  expect(await refusal("toString", place)).toMatch(/unknown action/);
  expect(await refusal("diff", place)).toMatch(/takes two directories/);
  expect(await refusal("inspect", place, place)).toMatch(/takes one directory/);
});

test("progress: on a terminal, of what is large, and gone in the end", () => {
  const written: string[] = [];
  const line = new ProgressLine("saving", true, (text) => written.push(text));
  line.at(5e6, 0);
  line.at(5e6, 50e6);
  expect(written).toEqual([]);
  line.at(50e6, 200e6);
  line.at(51e6, 200e6);
  expect(written).toEqual(["\r\x1b[Ksaving: 50.0 MB 25 %"]);
  line.at(200e6, 200e6);
  expect(written.at(-1)).toBe("\r\x1b[K");
  const silent = new ProgressLine("saving", false, (text) => written.push(text));
  silent.at(50e6, 200e6);
  expect(written.length).toBe(2);
});
